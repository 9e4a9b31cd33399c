# scripts/health.sh says to a monitor by its exit status what retention.health() finds.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION retention');

# Runs the script, expects its exit status, and that its first line is like this.
sub health
{
	my ($status, $first, $name, @options) = @_;
	local %ENV = $node->_get_env();
	IPC::Run::run([ "$ENV{RETENTION_SOURCE}/scripts/health.sh", @options ], '>', \my $output, '2>', \my $errors);
	is($? >> 8, $status, "$name: exit status");
	like($output . $errors, $first, $name);
	return;
}

health(0, qr/\Aall is well\n\z/, 'nothing is wrong', 'postgres');
$node->safe_psql('postgres', q{SELECT retention.add_coupon_pool('codes', '{A}');
	SELECT retention.create_flow('{"name": "f", "trigger": {"type": "manual"}, "nodes": [
		{"id": "m", "type": "message", "channel": "webhook", "url": "https://example.com", "body": "b"}]}'),
		retention.publish('f'), retention.set_status('f', 'live'), retention.enroll('f', 'c1');
	CALL retention.tick()});
$node->safe_psql('postgres', q{SELECT retention.fail(array_agg(message_id), E'two\nlines') FROM retention.claim_messages('webhook')});
health(0, qr/\Anote: message "m" of flow "f" .* \(1\) since .*; two lines -> .*\n\z/, 'a note', '-d', 'postgres');
$node->safe_psql('postgres', q{SELECT retention.add_metric('m')});
health(1, qr/\Awarning: metric "m" was never refreshed -> .*\nnote: .*\n\z/, 'a warning', 'dbname=postgres');
$node->safe_psql('postgres', q{INSERT INTO retention.change_log VALUES (NULL, '{c1}', now() - interval '1 hour')});
health(2, qr/\Aerror: .*\nwarning: .*\nnote: .*\n\z/, 'an error', 'postgres');
health(0, qr/\Ascripts\/health.sh \[psql connection options\].*\n\nExit status: 0 [^\n]*\n\z/, "help by $_", $_, 'postgres')
  foreach qw(--help -?);
health(3, qr/template1|does not exist/, 'no extension', 'template1');
$node->stop;
health(3, qr/health could not be asked\n\z/, 'no server', 'postgres');
done_testing();
