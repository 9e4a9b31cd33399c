# The jobs, with the real pg_cron.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($sharedir) = run_command([ 'pg_config', '--sharedir' ]);
plan skip_all => 'pg_cron is not installed' unless -e "$sharedir/extension/pg_cron.control";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_cron'
cron.database_name = 'shop'
cron.use_background_workers = on
max_worker_processes = 20
jit = off
fsync = off
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');

sub query { return $node->safe_psql('shop', shift); }

query('CREATE EXTENSION retention');
my (undef, undef, $error) = $node->psql('shop', 'SELECT retention.schedule()');
like($error, qr/ERROR:  pg_cron is not installed in database "shop"\nHINT:  CREATE EXTENSION pg_cron/, 'without pg_cron, an error says what to do');

query(<<'SQL');
CREATE EXTENSION pg_cron;
CREATE TABLE orders (customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT i % 20, now() - i * interval '1 day', i FROM generate_series(1, 100) i;
SELECT retention.add_source('orders'), retention.track('orders');
CALL retention.refresh();
SELECT retention.schedule(refresh => '0 2 * * *');
INSERT INTO orders VALUES (99, now(), 5);
SQL
my $jobs = q{SELECT jobname, schedule, command, database FROM cron.job ORDER BY jobname};
is(query($jobs), <<'LIST' =~ s/\n$//r, 'four jobs');
retention process_changes|* * * * *|DO $$BEGIN SET retention.progress = off; CALL retention.process_changes(); END$$|shop
retention prune|45 4 * * *|SELECT retention.prune()|shop
retention refresh|0 2 * * *|DO $$BEGIN SET retention.progress = off; CALL retention.refresh_all(); END$$|shop
retention run_flows|* * * * *|CALL retention.run_flows()|shop
LIST
query(q{SELECT retention.schedule(prune => NULL)});
is(query($jobs), <<'LIST' =~ s/\n$//r, 'again: other times, and one job less');
retention process_changes|* * * * *|DO $$BEGIN SET retention.progress = off; CALL retention.process_changes(); END$$|shop
retention refresh|15 3 * * *|DO $$BEGIN SET retention.progress = off; CALL retention.refresh_all(); END$$|shop
retention run_flows|* * * * *|CALL retention.run_flows()|shop
LIST

# The smallest step of pg_cron's clock is a minute.
ok($node->poll_query_until('shop', q{SELECT EXISTS (SELECT FROM retention.customer WHERE customer_id = '99')}), 'an order is processed by the job');
foreach my $job (qw(process_changes run_flows))
{
	ok( $node->poll_query_until('shop', qq{SELECT count(*) > 0 FROM cron.job_run_details WHERE command LIKE '%CALL retention.$job()%' AND status = 'succeeded'}),
		"$job tells of its success");
}
query('SELECT retention.unschedule()');
is(query($jobs), '', 'no job is left');
is(query('CALL retention.refresh_all(); SELECT count(*) FROM retention.population'), '2', 'refresh_all refreshes');

# One metric that fails does not keep the others from being refreshed.
query(q{CREATE TABLE gone (LIKE orders); SELECT retention.add_metric('a'), retention.add_source('gone', metric => 'a'); DROP TABLE gone});
(undef, undef, $error) = $node->psql('shop', 'CALL retention.refresh_all()');
like($error, qr/ERROR:  1 of 2 metrics could not be refreshed: metric "a": a source of metric "a" has been dropped/, 'a metric that fails is named');
is(query('SELECT count(*) FROM retention.population'), '3', 'the other one is refreshed');
query(q{INSERT INTO orders VALUES (98, now(), 5); CALL retention.process_changes()});
is(query(q{SELECT count(*) FROM retention.customer WHERE customer_id = '98'}), '1', 'and its changes are processed');

$node->stop;
done_testing();
