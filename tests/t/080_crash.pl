# The server is killed under load, time and again: no change is lost, none is doubled, and consumers have read each once.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Time::HiRes qw(time);
use Test::More;

my $crashes = $ENV{RETENTION_CRASHES} || 20;
my $seed = $ENV{RETENTION_SEED} || int(time) % 100000;
srand $seed;
note("RETENTION_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nmax_connections = 40\nrestart_after_crash = on\nretention.as_of = '2024-06-01'");
$node->start;

sub query { return $node->safe_psql('postgres', shift); }

query(<<'SQL');
CREATE EXTENSION retention;
CREATE TABLE orders (customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT i % 200, timestamptz '2024-05-31' - i % 500 * interval '1 day', i % 50 + 1 FROM generate_series(1, 2000) i;
SELECT retention.add_metric('orders', frequency_values => '{10,14}', monetary_values => '{240,400}');
SELECT retention.add_source('orders');
SELECT retention.track('orders');
CREATE TABLE others (LIKE orders);
INSERT INTO others SELECT * FROM orders LIMIT 100;
SELECT retention.add_metric('others'), retention.add_source('others', metric => 'others');
CALL retention.refresh('others');
CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND historic_clv > 250;
CREATE VIEW even AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND historic_number_of_orders % 2 = 0;
CALL retention.refresh();
SELECT retention.add_consumer('crm'), retention.add_consumer('ads');
SELECT retention.add_segment('spenders'), retention.add_segment('even');
CREATE TABLE seen (consumer text, number integer GENERATED ALWAYS AS IDENTITY, change_id bigint, segment text, customer_id text, change text);
SQL

# The load: writers in transactions of several statements, and the jobs. Each script is a pgbench client.
my $directory = PostgreSQL::Test::Utils::tempdir();
my %script = (
	write => <<'SQL',
\set a random(0, 220)
\set b random(0, 220)
\set amount random(1, 90)
BEGIN;
INSERT INTO orders SELECT :a, timestamptz '2024-05-31' - :b * interval '1 hour', :amount FROM generate_series(1, 1 + :b % 2);
UPDATE orders SET customer_id = :b, amount = amount + 1 WHERE ctid = ANY (ARRAY(SELECT ctid FROM orders WHERE customer_id = :a LIMIT 1 FOR UPDATE SKIP LOCKED));
DELETE FROM orders WHERE ctid = ANY (ARRAY(SELECT ctid FROM orders WHERE customer_id = :b LIMIT 2 FOR UPDATE SKIP LOCKED));
COMMIT;
SQL
	process => "CALL retention.process_changes();\n",
	refresh => "CALL retention.refresh(full => true);\n",
	others  => "CALL retention.refresh('others', full => true);\n",
	crm     => "INSERT INTO seen (consumer, change_id, segment, customer_id, change) SELECT 'crm', change_id, segment, customer_id, change FROM retention.read_segment_changes('crm', 7);\n",
	ads     => "INSERT INTO seen (consumer, change_id, segment, customer_id, change) SELECT 'ads', change_id, segment, customer_id, change FROM retention.read_segment_changes('ads', 50);\n");
append_to_file("$directory/$_.sql", $script{$_}) foreach keys %script;

sub start_load
{
	my @clients;

	foreach my $load ([ 'write', 4 ], [ 'process', 2 ], [ 'refresh', 1 ], [ 'others', 1 ], [ 'crm', 2 ], [ 'ads', 1 ])
	{
		my ($name, $count) = @$load;
		my $client = { name => $name, out => '', err => '' };

		$client->{handle} = IPC::Run::start(
			[ 'pgbench', '-n', '-T', '60', '-c', $count, '-f', "$directory/$name.sql", '-h', $node->host, '-p', $node->port, 'postgres' ],
			'<', \undef, '>', \$client->{out}, '2>', \$client->{err});
		push @clients, $client;
	}
	return @clients;
}

# Waits until so many more transactions have passed, at random, then kills.
sub crash
{
	my ($number) = @_;
	my @clients = start_load();
	my $start = query('SELECT count(*) FROM seen');
	my $wanted = 20 + int(rand 300);

	$node->poll_query_until('postgres', "SELECT (SELECT count(*) FROM seen) > $start + $wanted") or die 'the load does nothing';
	$node->stop('immediate');
	foreach my $client (@clients)
	{
		$client->{handle}->finish;
	}
	# pgbench says nothing of deadlocks: the server does.
	is(join("\n", grep { /ERROR:/ } split /\n/, slurp_file($node->logfile)), '', "crash $number: nobody met a deadlock, nor any other error");
	$node->start;
}

# All that is waiting is processed and read; then everything has to agree.
sub settle
{
	query('CALL retention.process_changes()');
	query($script{$_} =~ s/, (7|50)\)/, 1000000)/r) foreach qw(crm ads);
}

sub compare
{
	my ($name, $differing) = @_;
	is(query("SELECT count(*) FROM ($differing) AS differing"), '0', $name);
}

sub both_ways
{
	my ($a, $b) = @_;
	return "($a EXCEPT ALL $b) UNION ALL ($b EXCEPT ALL $a)";
}

my $replay = "SELECT segment, customer_id FROM %s GROUP BY 1, 2 HAVING sum(CASE change WHEN 'entered' THEN 1 ELSE -1 END) = 1";

foreach my $number (1 .. $crashes)
{
	crash($number);
	settle();
	compare("crash $number: customers are those of the orders",
		both_ways(q{SELECT customer_id, orders, revenue, last_order_at FROM retention.customer WHERE metric = 'orders'},
			'SELECT customer_id::text, count(*), sum(amount), max(ordered_at) FROM orders GROUP BY 1'));
	foreach my $segment (qw(spenders even))
	{
		compare("crash $number: members of $segment are those of the view",
			both_ways("SELECT customer_id FROM retention.segment_member WHERE segment = '$segment'", "SELECT customer_id FROM $segment"));
	}
	foreach my $consumer (qw(crm ads))
	{
		compare("crash $number: $consumer has read each change once",
			both_ways("SELECT change_id, segment, customer_id, change FROM seen WHERE consumer = '$consumer'", 'SELECT change_id, segment, customer_id, change FROM retention.segment_change'));
		compare("crash $number: what $consumer has read leads to the members",
			both_ways(sprintf($replay, "(SELECT * FROM seen WHERE consumer = '$consumer') AS s"), 'SELECT segment, customer_id FROM retention.segment_member'));
	}
	compare("crash $number: nobody entered or left twice",
		"SELECT FROM (SELECT change, lag(change) OVER (PARTITION BY segment, customer_id ORDER BY change_id) AS previous FROM retention.segment_change) AS c WHERE change = previous");
}
note(query("SELECT format('%s changes, %s orders, %s refreshes', (SELECT count(*) FROM retention.segment_change), (SELECT count(*) FROM orders), (SELECT count(*) FROM retention.population))"));

$node->stop;
done_testing();
