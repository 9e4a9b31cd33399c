# docs/flow.schema.json agrees with validate_flow: the same keys, and the same judgement of documents as far as a schema can see.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', "jit = off\nfsync = off");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION retention;
CREATE SCHEMA shop;
CREATE TABLE shop.orders (customer_id text, ordered_at timestamptz, amount numeric, order_id text);
CREATE TABLE shop.refunds (LIKE shop.orders);
CREATE TABLE shop.order_lines (order_id text, customer_id text, product_id text, name text, quantity integer);
CREATE TABLE shop.cross_sell (customer_id text, product_id text, name text, price numeric, url text, rank integer);
SELECT retention.add_source('shop.orders', order_id => 'order_id'), retention.add_source('shop.refunds', order_id => 'order_id', kind => 'refund');
SELECT retention.add_segment('retention.win_back');
SELECT retention.add_coupon_pool(pool) FROM unnest('{win_back,churn_25,churn_15}'::text[]) AS pool;
SQL

my $source = $ENV{RETENTION_SOURCE} or die "RETENTION_SOURCE is not set";
my $json = JSON::PP->new->canonical->utf8;
my $schema = $json->decode(slurp_file("$source/docs/flow.schema.json"));

# Every object of a document with its keys, as "object key", required ones with a star.
my %objects = (flow => $schema, map { s/^(trigger|node)_/$1 /r => $schema->{'$defs'}{$_} }
	  grep { exists $schema->{'$defs'}{$_}{properties} } keys %{ $schema->{'$defs'} });
my @in_schema;
for my $object (keys %objects)
{
	my %required = map { $_ => 1 } @{ $objects{$object}{required} };
	is(json_text($objects{$object}{additionalProperties}), 'false', "$object has no other keys");
	push @in_schema, map { "$object $_" . ($required{$_} ? '*' : '') } keys %{ $objects{$object}{properties} };
}
my @in_engine = split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT concat(object, ' ', key, CASE WHEN is_required THEN '*' END) FROM retention._document_keys() WHERE key IS NOT NULL
UNION SELECT object || ' type*' FROM retention._document_keys() WHERE object ~ '^(trigger|node) '
UNION SELECT object || ' id*' FROM retention._document_keys() WHERE object ~ '^node '
SQL
is_deeply([ sort @in_schema ], [ sort @in_engine ], 'the same objects have the same keys, and need the same ones');

sub json_text
{
	my ($value) = @_;
	return $json->allow_nonref->encode($value);
}

# Documents that are right, and changes that make one of them wrong.
my $message = '{"id": "a", "type": "message", "channel": "email", "subject": "s", "body": "b"%s}';
my $flow = '{"name": "x", "trigger": {"type": "manual"}, "nodes": [%s]%s}';
sub flow { return sprintf $flow, $_[0], $_[1] // '' }
sub message { return flow(sprintf $message, $_[0]) }
sub trigger { return flow(sprintf($message, '')) =~ s/\{"type": "manual"\}/$_[0]/r }

my %valid = (
	(map { $_ => slurp_file("$source/examples/flows/$_.json") } qw(win_back post_purchase replenishment churn)),
	'the least' => message(''),
	'everything of a flow' => flow(sprintf($message, ''), ', "description": "d", "entry_filter": "true", "filter": "email_consent", "exit": "false", "reentry": "1 day",
		"concurrent": true, "holdout": 12.5, "time_zone": "Europe/Warsaw", "quiet_hours": {"from": "21:00", "until": "08:00"}, "conversion_window": "7 days", "metric": "orders"'),
	'everything of a message' => message(', "text": "t", "url": "u", "data": {"x": "1"}, "status": "manual", "transactional": true, "smart_sending": "2 days", "lateness": "1 hour"'),
	'no smart sending' => message(', "smart_sending": false'),
	'a webhook' => flow('{"id": "a", "type": "message", "channel": "webhook", "url": "u", "body": "b"}'),
	'each way to wait' => flow('{"id": "a", "type": "delay", "for": "1 day", "next": "b"}, {"id": "b", "type": "delay", "until": "last_order_at", "next": "c"},
		{"id": "c", "type": "delay", "weekdays": ["monday"], "next": "d"}, {"id": "d", "type": "delay", "at": "09:30", "next": "e"},
		{"id": "e", "type": "wait_for", "condition": "true", "timeout": "1 day"}'),
	'each other node' => flow('{"id": "a", "type": "split", "branches": [{"when": "true", "next": "b"}], "else": "c"},
		{"id": "b", "type": "random_split", "arms": [{"name": "A", "share": 50, "next": "c"}, {"name": "B", "share": 50}]},
		{"id": "c", "type": "set_property", "set": {"x": "1"}, "next": "d"}, {"id": "d", "type": "coupon", "pool": "win_back", "next": "e", "else": "f"},
		{"id": "e", "type": "enter_flow", "flow": "x", "next": "f"}, {"id": "f", "type": "exit", "outcome": "done"}'),
	'a segment left' => trigger('{"type": "segment", "segment": "win_back", "change": "left"}'),
	'a move' => trigger('{"type": "rfm_group", "from": ["Champions"], "to": ["At Risk", "Inactive"]}'),
	'orders' => trigger('{"type": "order"}'),
	'refunds' => trigger('{"type": "refund"}'),
	'a date' => trigger('{"type": "date", "column": "last_order_at", "offset": "-3 days", "at": "09:00"}'),
	'a schedule' => trigger('{"type": "schedule", "at": "09:00", "weekdays": ["monday", "friday"], "condition": "true"}'),
);
my %invalid = (
	'not an object' => '[]',
	'an unknown key' => flow(sprintf($message, ''), ', "nmae": "x"'),
	'no name' => message('') =~ s/"name": "x", //r,
	'an empty name' => message('') =~ s/"name": "x"/"name": " "/r,
	'no trigger' => message('') =~ s/"trigger": \{"type": "manual"\}, //r,
	'no nodes' => flow(''),
	'nodes that are no array' => '{"name": "x", "trigger": {"type": "manual"}, "nodes": {}}',
	'a node that is no object' => flow('"a"'),
	'an unknown type of node' => flow('{"id": "a", "type": "mail"}'),
	'a node without a type' => flow('{"id": "a"}'),
	'a node without an id' => flow('{"type": "exit"}'),
	'an unknown type of trigger' => trigger('{"type": "orders"}'),
	'a key of another trigger' => trigger('{"type": "order", "segment": "win_back"}'),
	'a segment without its name' => trigger('{"type": "segment"}'),
	'a change that is none' => trigger('{"type": "segment", "segment": "win_back", "change": "joined"}'),
	'a move from and to nowhere' => trigger('{"type": "rfm_group"}'),
	'no groups' => trigger('{"type": "rfm_group", "to": []}'),
	'a schedule without its time' => trigger('{"type": "schedule"}'),
	'a time that is none' => trigger('{"type": "schedule", "at": "9:00"}'),
	'a time beyond the day' => trigger('{"type": "schedule", "at": "24:00"}'),
	'a weekday that is none' => trigger('{"type": "schedule", "at": "09:00", "weekdays": ["Mon"]}'),
	'quiet hours without an end' => flow(sprintf($message, ''), ', "quiet_hours": {"from": "21:00"}'),
	'a holdout above 100' => flow(sprintf($message, ''), ', "holdout": 101'),
	'a holdout that is text' => flow(sprintf($message, ''), ', "holdout": "10"'),
	'a number for an interval' => flow(sprintf($message, ''), ', "conversion_window": 7'),
	'a null' => flow(sprintf($message, ''), ', "filter": null'),
	'an empty condition' => flow(sprintf($message, ''), ', "filter": ""'),
	'an email without a subject' => message('') =~ s/"subject": "s", //r,
	'a webhook without a url' => message('') =~ s/"email"/"webhook"/r,
	'an unknown channel' => message('') =~ s/"email"/"letter"/r,
	'no body' => message('') =~ s/, "body": "b"//r,
	'a key of another node' => message(', "for": "1 day"'),
	'an unknown status' => message(', "status": "paused"'),
	'smart sending without a time' => message(', "smart_sending": true'),
	'data that is an array' => message(', "data": []'),
	'data that is no expression' => message(', "data": {"x": 1}'),
	'a delay for nothing' => flow('{"id": "a", "type": "delay"}'),
	'a wait without an end' => flow('{"id": "a", "type": "wait_for", "condition": "true"}'),
	'a split without branches' => flow('{"id": "a", "type": "split", "branches": []}'),
	'a branch without a condition' => flow('{"id": "a", "type": "split", "branches": [{}]}'),
	'a split that has next' => flow('{"id": "a", "type": "split", "branches": [{"when": "true"}], "next": "a"}'),
	'an arm without its share' => flow('{"id": "a", "type": "random_split", "arms": [{"name": "A"}]}'),
	'a blank name' => message('') =~ s/"name": "x"/"name": "\\n"/r,
	'a name too long' => message('') =~ s/"name": "x"/'"name": "' . ('x' x 201) . '"'/er,
	'an id too long' => message('') =~ s/"id": "a"/'"id": "' . ('a' x 201) . '"'/er,
	'a description too long' => flow(sprintf($message, ''), ', "description": "' . ('x' x 10001) . '"'),
	'a condition too long' => flow(sprintf($message, ''), ', "filter": "true' . (' ' x 20000) . '"'),
	'a template too long' => message('') =~ s/"body": "b"/'"body": "' . ('b' x 1048577) . '"'/er,
	'data without a name' => message(', "data": {"": "1"}'),
	'data whose name is too long' => message(', "data": {"' . ('x' x 64) . '": "1"}'),
	'too much data' => message(', "data": {' . join(', ', map { qq{"d$_": "1"} } 1 .. 51) . '}'),
	'too many nodes' => flow(join(', ', map { qq({"id": "n$_", "type": "exit"}) } 1 .. 1001)),
	'a coupon without its pool' => flow('{"id": "a", "type": "coupon"}'),
);
# What only the database can tell.
my %beyond = (
	'a segment that is not there' => trigger('{"type": "segment", "segment": "none"}'),
	'an expression that does not compile' => flow(sprintf($message, ''), ', "filter": "nobody > 1"'),
	'a template that does not parse' => message('') =~ s/"body": "b"/"body": "{{ x"/r,
	'a node that cannot be reached' => flow(sprintf($message, '') . ', {"id": "b", "type": "exit"}'),
	'a circle' => message(', "next": "a"'),
	'shares that add up to 90' => flow('{"id": "a", "type": "random_split", "arms": [{"name": "A", "share": 90}]}'),
	'an interval beyond the calendar' => message(', "smart_sending": "10000 years"'),
	'an interval of two signs' => flow('{"id": "a", "type": "delay", "for": "40 days -1 month"}'),
	'a circle of flows' => flow('{"id": "a", "type": "enter_flow", "flow": "x"}', ', "reentry": "always"'),
	'too many branches' => flow('{"id": "a", "type": "split", "branches": [' . join(', ', ('{"when": "true"}') x 1000) . ']}'),
	'an interval that is none' => flow(sprintf($message, ''), ', "reentry": "soon"'),
);

# What the engine says is wrong: nothing, or all of it.
sub problems
{
	my ($document) = @_;
	return $node->safe_psql('postgres', "SELECT string_agg(concat_ws(' ', path, problem), '; ') FROM retention.validate_flow(\$document\$$document\$document\$)");
}

is(problems($valid{$_}), '', "the engine takes: $_") for sort keys %valid;
isnt(problems($invalid{$_}), '', "the engine rejects: $_") for sort keys %invalid;
isnt(problems($beyond{$_}), '', "the engine rejects: $_") for sort keys %beyond;

# The same by the schema. Debian's module is not one of every Python that may come first in the PATH.
my ($python) = grep { system("$_ -c 'from jsonschema import Draft202012Validator' >/dev/null 2>&1") == 0 } qw(python3 /usr/bin/python3);
SKIP:
{
	skip 'there is no Python with jsonschema', 1 unless $python;
	my @names = ((sort keys %valid), (sort keys %invalid), (sort keys %beyond));
	my $script = <<'PYTHON';
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1], encoding='utf-8'))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for name, document in json.load(open(sys.argv[2], encoding='utf-8')):
    print(('valid' if validator.is_valid(json.loads(document)) else 'invalid') + ': ' + name)
PYTHON
	my $documents = PostgreSQL::Test::Utils::tempdir() . '/documents.json';
	open my $file, '>', $documents or die "$documents: $!";
	print $file json_text([ map { [ $_, text($valid{$_} // $invalid{$_} // $beyond{$_}) ] } @names ]);
	close $file;
	my ($out, $err) = run_command([ $python, '-c', $script, "$source/docs/flow.schema.json", $documents ]);
	is($err, '', 'the schema is one');
	my %judged = map { /^(\w+): (.*)$/ ? ($2 => $1) : () } split /\n/, $out;
	is($judged{$_}, 'valid', "the schema takes: $_") for sort keys %valid;
	is($judged{$_}, 'invalid', "the schema rejects: $_") for sort keys %invalid;
	is($judged{$_}, 'valid', "the schema cannot see: $_") for sort keys %beyond;
}

# Files are bytes; JSON::PP encodes characters.
sub text
{
	my ($bytes) = @_;
	utf8::decode($bytes);
	return $bytes;
}

$node->stop;
done_testing();
