# The documentation shows what the extension really prints.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('docs');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'");
$node->start;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;

chdir $ENV{RETENTION_SOURCE} or die "RETENTION_SOURCE: $!";
for my $page ('README.md', glob('docs/*.md'))
{
	my $differences = `scripts/run_docs.pl $page 2>&1`;
	is($differences, '', "$page is up to date");
}

# Columns of a function have no comments: the page of reports has a row for each.
my $page = slurp_file('docs/reports.md');
my %functions = map { $_ => 1 } $page =~ /^(?:\| \[)?`(\w+)[(`]/mg;
my %told = map { $_ => 1 } map { /`(\w+)`/g } grep { /^\| `/ } split /\n/, $page;
my @columns = map { [ split /\|/ ] } split /\n/, $node->safe_psql('retention_docs', <<'SQL');
SELECT p.proname, a.name FROM pg_proc p, unnest(p.proargnames, p.proargmodes) AS a (name, mode)
WHERE p.pronamespace = 'retention'::regnamespace AND a.mode = 't' ORDER BY 1, 2
SQL
cmp_ok(scalar(grep { $functions{ $_->[0] } } @columns), '>', 100, 'reports have columns');
is(join(' ', map { "$_->[0].$_->[1]" } grep { $functions{ $_->[0] } && !$told{ $_->[1] } } @columns), '',
	'all of them are in docs/reports.md');

$node->stop;
done_testing();
