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

$node->stop;
done_testing();
