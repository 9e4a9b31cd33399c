# Shops simulated from known parameters, fitted: the truth lies where the standard errors say. And what it costs to count
# days instead of orders.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @seeds = (1 .. 5);
my %truth = (
	bgnbd      => '{0.55,22,0.8,4}',
	mbgnbd     => '{0.6,30,0.8,3}',
	paretonbd  => '{0.55,22,0.6,80}',
	gammagamma => '{6.25,3.74,15.44}');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION retention');

sub query { return $node->safe_psql('postgres', shift); }

query(<<"SQL");
CREATE TABLE truth (kind text PRIMARY KEY, parameters float8[]);
INSERT INTO truth VALUES @{[ join ', ', map { "('$_', '$truth{$_}')" } sort keys %truth ]};
CREATE TABLE fitted (simulated text, seed bigint, model retention.model);

-- The customers of a shop of two years, by exact times in days. Days that counted are counted apart.
CREATE FUNCTION customers(kind text, seed bigint, years integer)
  RETURNS TABLE (x float8, t_x float8, t float8, days float8, t_days float8, m float8) LANGUAGE sql AS \$\$
  SELECT count(*) - 1, extract(epoch FROM max(ordered_at) - min(ordered_at)) / 86400, extract(epoch FROM date '2022-01-01' + make_interval(years => years) - min(ordered_at)) / 86400,
         count(DISTINCT ordered_at::date) - 1, max(ordered_at)::date - min(ordered_at)::date, avg(amount)
  FROM retention.simulate_orders(20000, '2022-01-01', date '2022-01-01' + make_interval(years => years), seed,
         (SELECT retention.make_model(t.kind, t.parameters) FROM truth AS t WHERE t.kind = customers.kind),
         (SELECT retention.make_model(t.kind, t.parameters) FROM truth AS t WHERE t.kind = 'gammagamma'))
  GROUP BY customer_id
\$\$;
SQL

foreach my $kind (qw(bgnbd mbgnbd paretonbd))
{
	foreach my $seed (@seeds)
	{
		query(<<"SQL");
CREATE TEMP TABLE customer AS SELECT * FROM customers('$kind', $seed, 2);
INSERT INTO fitted SELECT '$kind', $seed, retention.fit('$kind', x, t_x, t) FROM customer
  UNION ALL SELECT '$kind', $seed, retention.fit('gammagamma', x + 1, m) FROM customer;
SQL
	}
}
is(query('SELECT count(*), bool_and((model).converged), min((model).n), max((model).n) FROM fitted'), '30|t|20000|20000', 'every fit converged');

# The 99 % interval of each parameter, on its logarithm.
query(<<'SQL');
CREATE VIEW recovered AS
  SELECT simulated, seed, (model).kind, name, parameter, se, actual, abs(ln(parameter / actual)) <= 2.5758 * se / parameter AS inside, ln(parameter / actual) * parameter / se AS z
  FROM fitted JOIN truth ON truth.kind = (model).kind, unnest((model).names, (model).parameters, (model).standard_errors, truth.parameters) AS p(name, parameter, se, actual);
SQL
note(query("SELECT kind, name, min(actual), round(avg(parameter)::numeric, 4), count(*) FILTER (WHERE inside), count(*), round(avg(z)::numeric, 2), round(stddev(z)::numeric, 2) FROM recovered GROUP BY 1, 2 ORDER BY 1, 2"));
foreach my $kind (sort keys %truth)
{
	my $expected = $kind eq 'gammagamma' ? 45 : 20;
	my ($count, $inside) = split /\|/, query("SELECT count(*), count(*) FILTER (WHERE inside) FROM recovered WHERE kind = '$kind'");

	is($count, $expected, "$kind: parameters were recovered");
	cmp_ok($inside, '>=', 0.95 * $expected, "$kind: at least 95 % of them with the truth inside the 99 % interval");
}
# The standard errors are neither too small nor so large that any truth would lie inside.
is( query('SELECT avg(z * z) BETWEEN 0.5 AND 2 FROM recovered'), 't',
	'deviations are as large as the standard errors say: mean square ' . query('SELECT round(avg(z * z)::numeric, 2) FROM recovered'));

# Days instead of orders: several orders of a day are one, and times are whole days. Predictions of a year by a model that was
# fitted to days, for customers counted in days, against those by exact times.
query(<<'SQL');
CREATE TABLE predicted (kind text, frequent boolean, customers bigint, merged bigint, exact float8, by_days float8);
SQL
foreach my $kind (qw(bgnbd mbgnbd paretonbd))
{
	query(<<"SQL");
INSERT INTO predicted
SELECT '$kind', x >= 20, count(*), sum(x - days), sum(retention.expected_orders(exact, x, t_x, t, 365)), sum(retention.expected_orders(by_days, days, t_days, ceil(t), 365))
FROM (SELECT model AS exact FROM fitted WHERE simulated = '$kind' AND (model).kind = '$kind' AND seed = 1) AS f,
     (SELECT retention.fit('$kind', days, t_days, ceil(t)) AS by_days FROM customers('$kind', 1, 2)) AS d, customers('$kind', 1, 2) GROUP BY 2
SQL
	note("$kind by days instead of orders, customers with "
		  . query("SELECT string_agg(format('%s repeat orders: %s %%', CASE WHEN frequent THEN '20 and more' ELSE 'up to 19' END, round((100 * (by_days / exact - 1))::numeric, 1)), ', ' ORDER BY frequent) FROM predicted WHERE kind = '$kind'"));
	is( query("SELECT frequent, customers > 300 AND merged > 300, CASE WHEN frequent THEN by_days / exact BETWEEN 0.9 AND 0.98 ELSE by_days / exact BETWEEN 0.94 AND 1 END FROM predicted WHERE kind = '$kind' ORDER BY 1"),
		"f|t|t\nt|t|t", "$kind: counting days predicts a few per cent too few orders of frequent customers");
}

$node->stop;
done_testing();
