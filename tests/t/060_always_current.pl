# An oracle after every step of random histories: what process_changes leaves is what a full rebuild would.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nfsync = off\nautovacuum = off");
$node->start;

# What a refresh tells of itself goes to stderr.
sub query
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "SET search_path = always_test; $sql", on_error_stop => 1);

	$err = join "\n", grep { !/INFO:/ } split /\n/, $err;
	is($status, 0, "runs: $sql") or diag($err);
	return $out;
}

my ($status, $out, $err) = $node->psql('postgres', slurp_file("$ENV{RETENTION_SOURCE}/tests/oracle/always_current.sql"), on_error_stop => 1);
is($status, 0, 'two shops') or BAIL_OUT($err);

foreach my $seed (map { $_ / 100 } 1 .. 6)
{
	query("CALL play($seed, 50)");
	is(query("SELECT step, what, statements FROM problem WHERE seed = $seed LIMIT 3"), '', "history $seed: every step is as a rebuild");
}

is(query('SELECT count(*) > 500 FROM retention.rfm_change'), 't', 'customers moved');
is( query(q{SELECT count(*) > 500, string_agg(DISTINCT cause, ' ' ORDER BY cause) FROM retention.segment_change}),
	't|data definition order refresh refund', 'segments changed for all causes');
is(query(q{SELECT duplicate_rows > 0, null_rows > 0 FROM retention.segment WHERE segment = 'repeated'}), 't|t', 'duplicates and nulls were counted');
is(query(q{SELECT count(*) > 5, count(*) = count(DISTINCT (metric, source_id, order_id, customer_id)) FROM retention.order_event WHERE kind = 'order'}), 't|t', 'orders were recorded once');

# Views on the profile stand in the way of DROP EXTENSION, triggers do not.
query('DROP VIEW spenders, reachable, silent, buyers; DROP EXTENSION retention');
is(query(q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'retention%'}), '0', 'no trigger is left');
query('INSERT INTO "Orders" VALUES (1, 1, now(), 1)');

$node->stop;
done_testing();
