# Random flows in random worlds: after every tick the engine shows what a slow reference interpreter of the documents says.
# The worlds and the interpreter are in tests/oracle, in Python; this makes the server, and test results of what is printed.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = "$ENV{RETENTION_SOURCE}/tests/oracle";

# Modules that the system installs are the system's Python's, which need not be the first.
my ($python) = grep { system(qq{$_ -c "import psycopg2, zoneinfo" >/dev/null 2>&1}) == 0 } ('python3', '/usr/bin/python3');

plan skip_all => 'python3 or its module psycopg2 is not installed'
  unless defined $python;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nfsync = off\nautovacuum = off");
$node->start;

local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
local $ENV{PYTHONDONTWRITEBYTECODE} = 1;

open(my $results, '-|', "$python $directory/flow_properties.py 2>&1") or die "cannot run python3: $!";
while (my $line = <$results>)
{
	chomp $line;
	if ($line =~ /^(not )?ok - (.*)/)
	{
		ok(!$1, $2);
	}
	elsif ($line =~ /^# (.*)/)
	{
		note($1);
	}
	else
	{
		diag($line =~ s/^! //r);
	}
}
ok(close($results), 'all worlds were played to their ends');

$node->stop;
done_testing();
