# Published data sets: every column of retention.customer equals plain SQL's result.
# The data are not part of this project: RETENTION_SHARED is the directory that has them.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = $ENV{RETENTION_SHARED};
my @sets = qw(online_retail cdnow_master retail_case_study_returns);
my %columns = (
	online_retail => 'customer_id text, order_id text, ordered_at timestamp, amount numeric, kind text, lines integer, country text',
	cdnow_master  => 'customer_id text, order_id text, ordered_at date, amount numeric, kind text, quantity integer',
	retail_case_study_returns =>
	  'customer_id integer, order_id bigint, ordered_at date, amount numeric, kind text, product text, quantity integer, channel text');

plan skip_all => 'RETENTION_SHARED names no directory of published data sets'
  unless defined $data;
plan skip_all => "$data has not all of the data sets"
  if grep { !-r "$data/$_.csv.gz" } @sets;

my $source = $ENV{RETENTION_SOURCE} // '.';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION retention');

# The oracle reads oracle_rows, which stands for one data set after the other.
my $oracle = slurp_file("$source/tests/oracle/customer.sql");
$node->safe_psql('postgres', "CREATE TABLE oracle_rows (kind text, customer_id text, at timestamptz, amount numeric, order_id text);\n$oracle");

sub query { return $node->safe_psql('postgres', shift); }

# Refreshes the metric and compares it with the oracle's customers.
sub agrees
{
	my ($set, $metric, $zone, $as_of, $order_id) = @_;

	query("TRUNCATE oracle_rows; INSERT INTO oracle_rows
	  SELECT kind, customer_id::text, ordered_at::timestamp AT TIME ZONE '$zone', amount, $order_id FROM $set; ANALYZE oracle_rows");
	query("CALL retention.refresh('$metric', as_of => '$as_of')");
	my $customers = query("SELECT count(*) FROM retention.customer WHERE metric = '$metric'");
	cmp_ok($customers, '>', 1000, "$metric has customers");
	is(query("SELECT * FROM compare_with_oracle('$metric', '$as_of', '$zone')"),
		"$customers|0|0|t", "$metric equals plain SQL");
	return $customers;
}

foreach my $set (@sets)
{
	my $zone = $set eq 'online_retail' ? 'Europe/London' : 'UTC';

	query("CREATE TABLE $set ($columns{$set})");
	query("COPY $set FROM PROGRAM 'gzip -dc $data/$set.csv.gz' (FORMAT csv, HEADER)");
	my $has_refunds = query("SELECT bool_or(kind = 'refund') FROM $set") eq 't';
	is($has_refunds ? 1 : 0, $set eq 'cdnow_master' ? 0 : 1, "$set has the refunds that are expected");
	my $as_of = query("SELECT (max(ordered_at)::date + 1)::timestamp AT TIME ZONE '$zone' FROM $set");
	foreach my $kind (qw(order refund))
	{
		# Bookkeeping entries of online_retail are neither; they have no customer.
		my $rows = $kind eq 'refund' ? "kind = 'refund'" : "kind <> 'refund'";
		query("CREATE VIEW ${set}_$kind AS SELECT customer_id, order_id, ordered_at, amount FROM $set WHERE $rows");
	}
	foreach my $netted (0, 1)
	{
		my $metric = $set . ($netted ? '_netted' : '_plain');
		my $order_id = $netted ? "order_id => 'order_id'," : '';

		query("SELECT retention.add_metric('$metric', '$zone')");
		foreach my $kind ($has_refunds ? qw(order refund) : qw(order))
		{
			query("SELECT retention.add_source('${set}_$kind', $order_id kind => '$kind', metric => '$metric')");
		}
		agrees($set, $metric, $zone, $as_of, $netted ? 'order_id::text' : 'NULL');
		is(query("SELECT rows_read FROM retention.population WHERE metric = '$metric'"),
			query("SELECT count(*) FROM $set"), "$metric read all rows");
	}
}

# Lines become orders where they share an order id.
cmp_ok(query("SELECT sum(orders) FROM retention.customer WHERE metric = 'retail_case_study_returns_netted'"), '<=',
	query("SELECT sum(orders) FROM retention.customer WHERE metric = 'retail_case_study_returns_plain'"),
	'netting by order id leaves no more orders');

# What is known of the published data.
is( query("SELECT rows_read, without_customer, without_time, without_amount, after_as_of
           FROM retention.population WHERE metric = 'online_retail_netted'"),
	'25900|3710|0|0|0', 'online_retail: the rows without a customer are counted');
is( query("SELECT customers_without_orders FROM retention.population WHERE metric = 'online_retail_netted'"),
	query("SELECT count(*) FROM (SELECT customer_id FROM online_retail WHERE customer_id IS NOT NULL
           GROUP BY 1 HAVING NOT bool_or(kind = 'order' AND amount > 0)) AS none"),
	'online_retail: those without an order are counted');
is( query("SELECT count(*), count(c.customer_id)
           FROM (SELECT customer_id FROM online_retail WHERE customer_id IS NOT NULL
                 GROUP BY 1 HAVING bool_and(kind = 'refund')) AS refunded
           LEFT JOIN retention.customer c ON c.metric = 'online_retail_netted' AND c.customer_id = refunded.customer_id"),
	'33|0', 'online_retail: 33 customers have refunds only, and are none');
is( query("SELECT count(*), bool_and(rfm_group <> 'Champions') FROM retention.customer
           WHERE customer_id = '16446' AND metric LIKE 'online_retail%'"),
	'2|t', 'online_retail: the order that was cancelled after 12 minutes makes no Champion');

# The second time, nothing is written.
my $last = query("SELECT max(as_of) FROM retention.population WHERE metric = 'online_retail_netted'");
query("CALL retention.refresh('online_retail_netted', true, '$last')");
is( query("SELECT path, inserted, updated, deleted, transitions FROM retention.population
           WHERE metric = 'online_retail_netted' ORDER BY refresh_id DESC LIMIT 1"),
	'rebuild|0|0|0|0', 'a second reading finds no difference');

$node->stop;
done_testing();
