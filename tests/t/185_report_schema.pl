# docs/report.schema.json is that of the sections there are, and documents are as it says.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = $ENV{RETENTION_SOURCE} or die "RETENTION_SOURCE is not set";
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', "jit = off\nfsync = off\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION retention;
CREATE TABLE orders AS SELECT * FROM retention.simulate_orders(600, '2022-06-01Z', '2024-12-01Z', 5);
SELECT retention.add_source('orders', order_id => 'order_id');
SET retention.as_of = '2024-12-01Z';
CALL retention.refresh();
SELECT count(*) FROM retention.validate_model('orders', '2024-01-01Z');
SELECT retention.add_segment('retention.churn_risk_high'), retention.register_use('form', 'form', 'churn_risk_high');
SELECT retention.create_flow('{"name": "f", "trigger": {"type": "segment", "segment": "churn_risk_high"}, "nodes": [{"id": "x", "type": "exit"}]}'),
       retention.publish('f');
SQL

my $written = slurp_file("$source/docs/report.schema.json");
my ($printed, $errors) = run_command([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-f', "$source/docs/report_schema.sql" ]);
is($errors, '', 'the schema can be printed');
is($printed, $written =~ s/\n\z//r, 'and is that of docs/: make docs writes it');

my ($python) = grep { system("$_ -c 'from jsonschema import Draft202012Validator' >/dev/null 2>&1") == 0 } qw(python3 /usr/bin/python3);
SKIP:
{
	skip 'there is no Python with jsonschema', 4 unless $python;
	my $script = <<'PYTHON';
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
for error in Draft202012Validator(schema).iter_errors(json.load(open(sys.argv[2]))):
    print(list(error.absolute_path), error.message)
PYTHON
	my $file = PostgreSQL::Test::Utils::tempdir() . '/document.json';
	# With rows in every section, and with none; and two that are wrong.
	my %documents = (
		'of a shop' => "retention.report('orders', '2024-11-01Z', '2024-12-01Z')",
		'of nobody' => "retention.report('orders', '2001-01-01Z', '2001-02-01Z')",
		'without a section, wrong' => "retention.report('orders', '2001-01-01Z', '2001-02-01Z') #- '{sections,groups}'",
		'of another version, wrong' => "retention.report('orders', '2001-01-01Z', '2001-02-01Z') || '{\"version\": 2}'");
	foreach my $name (sort keys %documents)
	{
		open my $out, '>', $file or die "$file: $!";
		print $out $node->safe_psql('postgres', "SET retention.as_of = '2024-12-01Z'; SELECT $documents{$name}");
		close $out;
		my ($faults, $errors) = run_command([ $python, '-c', $script, "$source/docs/report.schema.json", $file ]);
		$faults = $faults eq '' ? 'valid' : 'wrong' if $name =~ /wrong/ || $faults eq '';
		is($faults . $errors, $name =~ /wrong/ ? 'wrong' : 'valid', "a document $name is judged rightly");
	}
}

$node->stop;
done_testing();
