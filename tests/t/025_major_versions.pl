# Moving to another major version, by dump and restore or by pg_upgrade, is no redefinition of segments and leaves nothing to refresh.
# Every later one that is installed with its headers is tried; RETENTION_OTHER_PG_CONFIG names one instead.

use strict;
use warnings;
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub config { my ($pg_config, $what) = @_; chomp(my $value = `$pg_config --$what`); return $value; }

my $ours = `pg_config --version` =~ /(\d+)/ ? $1 : 0;
my @others = $ENV{RETENTION_OTHER_PG_CONFIG} // grep { m{/(\d+)/bin} && $1 > $ours && -e config($_, 'includedir-server') . '/postgres.h' } glob '/usr/lib/postgresql/*/bin/pg_config';
plan skip_all => "no later major version than $ours is installed with its headers" unless @others;

# A private copy of another PostgreSQL, with the extension; returns its directory of programs.
sub install
{
	my ($pg_config) = @_;
	my $private = PostgreSQL::Test::Utils::tempdir();

	system_or_bail('cp', '-R', '--parents', (map { config($pg_config, $_) } qw(bindir pkglibdir sharedir)), $private);
	system_or_bail('cp', '-R', $ENV{RETENTION_SOURCE}, "$private/source");
	system_or_bail("cd '$private/source' && make -s clean PG_CONFIG=$pg_config && make -s install PG_CONFIG=$pg_config with_llvm=no DESTDIR='$private'");
	return $private . config($pg_config, 'bindir');
}

sub make_shop
{
	my ($node) = @_;

	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION retention;
CREATE TABLE orders (dropped integer, order_id serial, customer_id integer, ordered_at timestamptz, amount numeric);
ALTER TABLE orders DROP COLUMN dropped;
CREATE INDEX ON orders (customer_id);
INSERT INTO orders (customer_id, ordered_at, amount) SELECT i % 100, timestamptz '2024-01-01' + i * interval '1 hour', i % 9 + 1 FROM generate_series(1, 1000) i;
SELECT retention.add_source('orders', order_id => 'order_id'), retention.track('orders'), retention.alter_metric('orders', frequency_values => '{3,11}', monetary_values => '{30,1000}');
CALL retention.refresh(as_of => '2024-06-01');
CREATE FUNCTION threshold() RETURNS integer LANGUAGE sql STABLE RETURN 1000;
CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND historic_clv > public.threshold();
SELECT retention.add_segment('spenders'), retention.add_segment('retention.champions');
SQL
}

# An order after the move: who enters enters for it, the metric waits for nothing, and from then on a redefinition is one.
sub check_moved
{
	my ($node, $how) = @_;
	my $query = sub { $node->safe_psql('postgres', "SET retention.as_of = '2024-06-02'; " . shift) };

	$query->("INSERT INTO orders (customer_id, ordered_at, amount) VALUES (7, '2024-06-01', 5000); CALL retention.process_changes()");
	is( $query->(q{SELECT string_agg(DISTINCT segment || ' ' || customer_id || ' ' || cause, ', ') FROM retention.segment_change WHERE change = 'entered'}),
		'champions 7 order, spenders 7 order', "$how: a customer enters for an order");
	is($query->('SELECT count(*) FROM retention.population WHERE stale'), '0', "$how: the metric does not wait for a refresh");
	is($query->('SELECT count(*) FROM retention.segment WHERE definition <> retention._definition(relation)'), '0', "$how: stamped anew");
	$query->('CREATE OR REPLACE FUNCTION threshold() RETURNS integer LANGUAGE sql STABLE RETURN 10; CALL retention.process_changes()');
	is($query->(q{SELECT count(*) > 10 FROM retention.segment_change WHERE segment = 'spenders' AND cause = 'definition'}), 't', "$how: redefined");
}

foreach my $pg_config (@others)
{
	my $bindir = install($pg_config);
	my ($major) = config($pg_config, 'version') =~ /(\d+)/;
	my @nodes = map { PostgreSQL::Test::Cluster->new("${_}_$major", $_ eq 'old' ? () : (install_path => dirname($bindir))) } qw(old restored upgraded);
	my ($old, $restored, $upgraded) = @nodes;

	foreach my $node (@nodes)
	{
		# From 18 on they are on unless asked, and pg_upgrade wants both alike.
		$node->init(extra => $node != $old && $major >= 18 ? ['--no-data-checksums'] : []);
		$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off");
	}
	$old->start;
	make_shop($old);
	$restored->start;
	$restored->command_ok([ 'sh', '-c', "'$bindir/pg_dump' -d '" . $old->connstr('postgres') . "' | '$bindir/psql' -X -q -v ON_ERROR_STOP=1 -d '" . $restored->connstr('postgres') . "'" ], "$major: restored");
	check_moved($restored, "$major, restored");
	$old->stop;
	$upgraded->command_ok([ "$bindir/pg_upgrade", '-b', config('pg_config', 'bindir'), '-B', $bindir, '-d', $old->data_dir, '-D', $upgraded->data_dir,
		'-p', $old->port, '-P', $upgraded->port, '-s', $old->host, '--no-sync' ], "$major: upgraded");
	$upgraded->start;
	check_moved($upgraded, "$major, upgraded");
	$_->stop foreach $restored, $upgraded;
}

done_testing();
