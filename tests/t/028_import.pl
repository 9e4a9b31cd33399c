# examples/import.sql reads a file into a new table, tells what is wrong with the file before all else, and leaves a table
# that is there already as it is.

use strict;
use warnings;
use File::Temp qw(tempdir);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'python3 is not installed' if system("python3 -c 'import csv' >/dev/null 2>&1") != 0;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\nfsync = off");
$node->start;
my $directory = tempdir(CLEANUP => 1);
chdir $ENV{RETENTION_SOURCE} or die "$ENV{RETENTION_SOURCE}: $!";

sub write_file
{
	my ($name, $text) = @_;
	open my $file, '>', "$directory/$name" or die "$name: $!";
	print $file $text;
	close $file;
	return;
}

# Imports a file, expects psql's exit status, and that it says this.
sub import_file
{
	my ($file, $status, $said, $name) = @_;
	local %ENV = $node->_get_env();
	IPC::Run::run([ 'psql', '-X', '-q', '-v', "file=$directory/$file", '-f', 'examples/import.sql', 'postgres' ], '>', \my $output, '2>', \my $errors);
	is($? >> 8, $status, "$name: exit status");
	like($output . $errors, $said, $name);
	return;
}

write_file('good.csv', "customer_id,order_id,ordered_at,amount\n1,a,2025-01-31,5\n2,b,2025-02-28,-7\n");
write_file('bad.csv', "customer_id,order_id,ordered_at,amount\n1,a,2025-02-31,5\n");
import_file('bad.csv', 3, qr/2025-02-31/, 'a bad file');
is($node->safe_psql('postgres', q{SELECT to_regclass('shop.orders') IS NULL}), 't', 'nothing was made');
import_file('good.csv', 0, qr/Read: 1 order of 2 customers/, 'a good file');
is($node->safe_psql('postgres', 'SELECT string_agg(kind || amount, chr(44) ORDER BY order_id) FROM shop.orders'), 'order5,refund7', 'its rows');
import_file('good.csv', 3, qr/shop\.orders is there already, in database "postgres"\n.*HINT:.*add_source/s, 'a table that is there');
import_file('bad.csv', 3, qr/2025-02-31(?!.*there already)/s, 'a bad file comes first');
is($node->safe_psql('postgres', 'SELECT count(*) FROM shop.orders'), '2', 'the table is as it was');
done_testing();
