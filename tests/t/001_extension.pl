# The extension comes and goes as a whole.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

my $schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'retention'";

$node->safe_psql('postgres', 'CREATE EXTENSION retention');
is($node->safe_psql('postgres', $schemas), '1', 'CREATE EXTENSION makes the schema');
is( $node->safe_psql('postgres', 'SELECT retention.now() = now()'),
	't', 'the library can be loaded');

$node->safe_psql('postgres', 'DROP EXTENSION retention');
is($node->safe_psql('postgres', $schemas), '0', 'DROP EXTENSION leaves no schema');

$node->stop;
done_testing();
