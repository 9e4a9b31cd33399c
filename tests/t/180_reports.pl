# Reports against plain SQL: every figure of the published reference, and the oracles that it was made by, on other
# data too. Neither is part of this project: RETENTION_SHARED and RETENTION_REFERENCE are the directories that have them.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($data, $reference) = @ENV{qw(RETENTION_SHARED RETENTION_REFERENCE)};
my %shops = (
	online_retail => 'customer_id text, order_id text, ordered_at timestamptz, amount numeric, kind text, lines integer, country text',
	cdnow_master  => 'customer_id text, order_id text, ordered_at timestamptz, amount numeric, kind text, quantity integer');

plan skip_all => 'RETENTION_SHARED names no directory of published data sets'
  unless defined $data && !grep { !-r "$data/$_.csv.gz" } keys %shops;
plan skip_all => 'RETENTION_REFERENCE names no directory of reference reports'
  unless defined $reference && -r "$reference/reports_online_retail.json" && -d "$reference/oracles";

my $node = PostgreSQL::Test::Cluster->new('reports');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION retention');

sub query { return $node->safe_psql('postgres', shift); }

foreach my $shop (sort keys %shops)
{
	query("CREATE TABLE $shop ($shops{$shop});
	       COPY $shop FROM PROGRAM 'gzip -dc $data/$shop.csv.gz' (FORMAT csv, HEADER);
	       CREATE VIEW ${shop}_order AS SELECT * FROM $shop WHERE kind = 'order';
	       CREATE VIEW ${shop}_refund AS SELECT * FROM $shop WHERE kind = 'refund';
	       -- Whatever a customer did, free and refunded too, as published tables of cohorts count.
	       CREATE VIEW ${shop}_any AS SELECT customer_id, ordered_at, 1 AS amount FROM $shop;
	       SELECT retention.add_metric('$shop'), retention.add_metric('${shop}_any');
	       SELECT retention.add_source('${shop}_order', order_id => 'order_id', metric => '$shop');
	       SELECT retention.add_source('${shop}_refund', order_id => 'order_id', kind => 'refund', metric => '$shop');
	       SELECT retention.add_source('${shop}_any', metric => '${shop}_any');");
}

# What each oracle and section of the reference is in our reports: each row as an object with the same keys. Where
# nothing is there to be summed, the oracle says null, and we 0.
my %reports = (
	'02_rfm_medians' => q{SELECT rfm_group, customers, percent, median_days_since_last_order AS median_days,
		median_orders, round(median_revenue, 3) AS median_revenue, revenue,
		array_to_json(frequency_bounds)::text AS frequency_bounds, array_to_json(monetary_bounds)::text AS monetary_bounds
		FROM retention.rfm_performance(:'as_of', :'metric')},
	'03_rfm_transitions' => q{SELECT from_group, to_group, customers FROM retention.rfm_transitions(:'from', :'to', :'metric')},
	'04_rfm_change' => q{SELECT rfm_group, at_start, at_end, added, dropped, percent_change
		FROM retention.rfm_distribution(:'from', :'to', :'metric')},
	'05_cohorts_published' => q{SELECT cohort::text, age, customers
		FROM retention.cohort_retention(metric => :'metric' || '_any', as_of => :'end') WHERE customers > 0},
	# The oracle has no rows for what did not happen.
	'06_cohorts' => q{SELECT cohort::text, age, customers, orders, revenue AS gross_revenue, net_revenue, cumulative_net_per_customer
		FROM retention.cohort_retention(metric => :'metric', as_of => :'end') WHERE orders > 0 OR net_revenue <> 0},
	'07_value_deciles' => q{SELECT decile, customers, revenue, percent, cumulative_percent, lowest AS least, highest AS most
		FROM retention.value_deciles(:'as_of', :'metric')},
	'08_repeat_rate' => q{SELECT order_number AS n, customers, went_on, percent, round(median_days::numeric, 3) AS median_days,
		median_calendar_days, eligible AS eligible_180, percent_within AS percent_180 FROM retention.repeat_rate(:'metric', :'end')},
	'09_new_returning' => q{SELECT period_start::text AS month, new_orders, returning_orders, customers, returning_customers,
		nullif(new_revenue, 0) AS new_revenue, returning_revenue, CASE WHEN new_orders > 0 THEN returning_percent END AS returning_percent,
		nullif(refunds, 0) AS refunds, nullif(guest_revenue, 0) AS guest_revenue
		FROM retention.new_and_returning(metric => :'metric', as_of => :'end') WHERE customers > 0},
	'10_new_returning_month' => q{SELECT period_start::text AS month, new_revenue, returning_revenue, new_customers, returning_customers
		FROM retention.new_and_returning(rule => 'first period', metric => :'metric', as_of => :'end') WHERE customers > 0});

sub fill
{
	my ($text, %values) = @_;
	$text =~ s/:'(\w+)'/'$values{$1}'/g;
	$text =~ s/:tbl/$values{tbl}/g;
	return $text;
}

# A null of the one is a null of the other, and 25.8 is 25.80.
my $compare = "SELECT (SELECT count(*) FROM wanted),
  coalesce((SELECT string_agg(row::text, ' ') FROM (TABLE wanted EXCEPT ALL TABLE found) AS a), ''),
  coalesce((SELECT string_agg(row::text, ' ') FROM (TABLE found EXCEPT ALL TABLE wanted) AS b), '')";

sub agrees
{
	my ($report, $wanted, $what, %values) = @_;
	my $found = fill($reports{$report}, %values);
	my ($rows, @differences) = split /\|/, query("WITH wanted (row) AS MATERIALIZED ($wanted),
	  found (row) AS MATERIALIZED (SELECT to_jsonb(f) FROM ($found) AS f) $compare"), -1;
	cmp_ok($rows, '>', 0, "$what has rows");
	is("@differences", ' ', $what);
}

# The published figures.
my %days = (metric => 'online_retail', end => '2011-12-10');
my $json = slurp_file("$reference/reports_online_retail.json");
query("CREATE TABLE reference AS SELECT \$json\$$json\$json\$::jsonb -> 'data' -> 'online_retail' AS data");
my @sections = (
	(map { [ '02_rfm_medians', "{rfm,$_}", as_of => $_ ] } qw(2011-06-10 2011-09-10 2011-12-10)),
	(map { [ "03_rfm_transitions", "{transitions,$_->[0]..$_->[1]}", from => $_->[0], to => $_->[1] ],
	       [ "04_rfm_change", "{change,$_->[0]..$_->[1]}", from => $_->[0], to => $_->[1] ] } [ '2011-09-10', '2011-12-10' ]),
	[ '05_cohorts_published', '{cohorts_published}' ], [ '06_cohorts', '{cohorts}' ],
	[ '07_value_deciles', '{value_deciles,2011-12-10}', as_of => '2011-12-10' ], [ '08_repeat_rate', '{repeat_rate}' ],
	[ '09_new_returning', '{new_returning_first_order}' ], [ '10_new_returning_month', '{new_returning_first_month}' ]);
foreach my $section (@sections)
{
	my ($report, $path, %moments) = @$section;
	agrees($report, "SELECT jsonb_array_elements(data #> '$path') FROM reference", "reference $path", %days, %moments);
}

# The oracles on both shops, at other moments.
foreach my $shop ([ 'online_retail', '2011-02-01', '2011-07-15 13:00', '2011-10-31' ],
	[ 'cdnow_master', '1997-06-01', '1997-11-15', '1998-07-01' ])
{
	my ($name, $from, $to, $end) = @$shop;
	# Oracles without a moment read all rows that they are given.
	query("CREATE OR REPLACE VIEW oracle_rows AS SELECT customer_id, order_id, ordered_at, amount, kind FROM $name WHERE ordered_at <= '$end'");
	foreach my $report (sort keys %reports)
	{
		my %values = (metric => $name, from => $from, to => $to, as_of => $to, end => $end, tbl => 'oracle_rows');
		my $oracle = fill(slurp_file("$reference/oracles/$report.sql"), %values);
		agrees($report, "SELECT to_jsonb(o) FROM ($oracle) AS o", "$report of $name", %values);
	}
}

$node->stop;
done_testing();
