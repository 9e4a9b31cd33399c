# pg_dump and restore keep settings, edited cells, customers, history, segments, the queue and its consumers, flows with all that is under way; DROP EXTENSION leaves nothing.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE shop');

sub shop { return $node->safe_psql('shop', shift); }
sub copy { return $node->safe_psql('copy', shift); }

shop(<<'SQL');
CREATE EXTENSION retention;
CREATE SCHEMA "My shop";
CREATE TABLE "My shop".orders (customer_id bigint, ordered_at timestamptz, amount numeric, order_id bigint);
CREATE TABLE public.refunds (customer_id bigint, ordered_at timestamptz, amount numeric, order_id bigint);
INSERT INTO "My shop".orders SELECT customer_id, ordered_at, amount, order_id
  FROM retention.simulate_orders(500, '2022-01-01', '2024-01-01', 5);
INSERT INTO refunds SELECT customer_id, ordered_at + interval '1 day', amount, order_id FROM "My shop".orders WHERE order_id % 10 = 0;
CREATE VIEW "My shop"."all orders" AS SELECT * FROM "My shop".orders;
CREATE MATERIALIZED VIEW "My shop".by_matview AS SELECT * FROM "My shop".orders WHERE customer_id < 100;
CREATE VIEW at_risk_champions AS SELECT customer_id FROM retention.champions;
SET retention.as_of = '2023-11-15';
SELECT retention.add_source('"My shop".orders', order_id => 'order_id', events => true),
       retention.add_source('refunds', order_id => 'order_id', kind => 'refund');
SELECT retention.alter_metric('orders', time_zone => 'Europe/Warsaw');
UPDATE retention.rfm_cell SET rfm_group = 'Big fish' WHERE scheme = 'standard' AND (r, f, m) = (3, 3, 3);
INSERT INTO retention.rfm_cell (scheme, r, f, m, rfm_group) SELECT 'own', r, 1, 1, 'Group ' || r FROM generate_series(1, 4) r;
SELECT retention.add_metric('own', scheme => 'own', recency_limits => '{300,200,100}', history => '18 months'),
       retention.add_source('"My shop"."all orders"', metric => 'own'), retention.add_source('"My shop".by_matview', metric => 'own');
RESET retention.as_of;
CALL retention.refresh(as_of => '2023-10-01');
CALL retention.refresh(as_of => '2023-11-01');
CALL retention.refresh(as_of => '2023-12-01');
SELECT retention.backfill_history('orders', '2023-07-01');
SET retention.as_of = '2023-12-01';
SELECT count(*) FROM retention.validate_model('orders', '2023-09-01');
CALL retention.refresh('own', as_of => '2023-12-01');
CREATE VIEW public.spenders AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND m >= 2;
CREATE TABLE "My shop".items ("order" integer);
SELECT retention.track('"My shop".orders'), retention.track('"My shop".items', via => '"My shop".orders', order_id => 'order'), retention.add_consumer('crm'), retention.add_consumer('idle'), retention.add_segment('spenders'), retention.add_segment('at_risk_champions');
INSERT INTO "My shop".orders SELECT i, '2023-11-30', 1000, 900000 + i FROM generate_series(1, 50) i;
CALL retention.process_changes();
SELECT count(*) FROM retention.read_segment_changes('crm', 20);
DELETE FROM "My shop".orders WHERE customer_id = 7;
-- What their oids were must not matter: one view is made anew, and found before the dump; one is after it; one has another name; one is gone.
CREATE VIEW public.recreated AS SELECT customer_id FROM public.spenders;
CREATE VIEW public.made_anew AS SELECT customer_id FROM public.spenders;
CREATE VIEW public.renamed AS SELECT customer_id FROM public.spenders;
CREATE VIEW public.gone AS SELECT customer_id FROM public.spenders;
SELECT retention.add_segment('recreated'), retention.add_segment('made_anew'), retention.add_segment('renamed'), retention.add_segment('gone');
DROP VIEW public.recreated;
CREATE VIEW public.recreated AS SELECT customer_id FROM public.spenders;
ALTER VIEW public.renamed RENAME TO other_name;
CALL retention.process_changes(); -- finds both, and that customer 7 has left
-- A flow under way in two versions, with everything that it needs.
INSERT INTO retention.contact (customer_id, email, email_consent, time_zone, properties)
  SELECT i::text, i || '@example.com', i % 7 > 0, 'Europe/Warsaw', jsonb_build_object('name', E'O''N\\t' || i) FROM generate_series(1, 60) i;
CREATE VIEW public.people AS SELECT customer_id, email, email_consent, properties FROM retention.contact;
SELECT retention.use_contacts('people'), retention.suppress('email', '3@example.com'), retention.add_coupon_pool('codes', '{A,B,C}', valid_for => '1 month'), retention.add_coupon_pool('random', prefix => 'X');
SELECT retention.create_flow('{"name": "letters", "trigger": {"type": "segment", "segment": "spenders"}, "reentry": "1 day", "nodes": [
  {"id": "a", "type": "message", "channel": "email", "subject": "{{ person.name }}", "body": "{{ person.rfm_group|default:\"-\" }}", "next": "b"},
  {"id": "b", "type": "delay", "for": "3 days", "next": "c"}, {"id": "c", "type": "coupon", "pool": "codes", "next": "d"},
  {"id": "d", "type": "message", "channel": "email", "subject": "{{ coupon.code }}", "body": "x"}]}');
SELECT retention.publish('letters'), retention.set_status('letters', 'live');
SELECT retention.enroll('letters', i::text) FROM generate_series(1, 5) i;
CALL retention.tick();
SELECT retention.create_flow(jsonb_set(draft, '{nodes,1,for}', '"4 days"')) FROM retention.flow;
SELECT retention.publish('letters'), retention.set_status('letters', 'manual', 'd');
SELECT retention.enroll('letters', i::text) FROM generate_series(6, 10) i;
CALL retention.tick();
SELECT count(*) FROM retention.claim_messages('email', 3);
SELECT retention.enroll('letters', i::text) FROM generate_series(11, 15) i;
DROP VIEW public.made_anew, public.gone;
CREATE VIEW public.made_anew AS SELECT customer_id FROM public.spenders;
DELETE FROM "My shop".orders WHERE customer_id = 8;
INSERT INTO "My shop".items SELECT order_id FROM "My shop".orders WHERE customer_id = 9 LIMIT 2;
REFRESH MATERIALIZED VIEW "My shop".by_matview; -- as a restore does
VACUUM;
SQL

my @tables = qw(metric source customer rfm_change population rfm_cell
	fitted_model published_model validation validation_result
	change_log tracked_via order_event segment segment_member segment_change segment_day segment_consumer
	contact contact_source suppression flow flow_version flow_node flow_entry enrollment message last_message coupon_pool coupon);
my %columns = (
	segment => "segment, number, CASE WHEN segment NOT IN ('made_anew', 'gone') THEN relation::text END, relation_name, enabled, definition, pending, added_at, evaluated_at, members, error",
	source => 'source_id, metric, relation::text, kind, customer_id, ordered_at, amount, order_id');

# A table's rows as one checksum.
sub contents
{
	my ($database, $table) = @_;
	my $columns = $columns{$table} // '*';
	return $node->safe_psql($database,
		"SELECT count(*) || ' ' || md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")) FROM (SELECT $columns FROM retention.$table) AS t");
}

sub restored_well
{
	my ($how) = @_;
	foreach my $table (@tables)
	{
		is(contents('copy', $table), contents('shop', $table), "$how: retention.$table is as it was");
	}
	is(copy("SELECT rfm_group, builtin FROM retention.rfm_cell WHERE scheme = 'standard' AND (r, f, m) = (3, 3, 3)"),
		'Big fish|f', "$how: the edited cell is kept");
	is(copy("SELECT count(*) FROM retention.rfm_cell WHERE builtin"), '151', "$how: the others are as shipped");
	is(copy('SELECT count(*) > 0 FROM at_risk_champions'), shop('SELECT count(*) > 0 FROM at_risk_champions'), "$how: views over ours work");
}

my $dump = $node->basedir . '/shop.sql';
command_ok([ 'pg_dump', '-d', $node->connstr('shop'), '-f', $dump ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump ], 'restore by psql');
restored_well('plain');

is(shop('SELECT count(*) > 10, bool_and(recorded_at = \'2023-12-01\') FROM retention.order_event'), 't|t', 'there are events');
is(copy("SELECT string_agg(concat_ws(' ', segment, relation), ', ' ORDER BY number) FROM retention.segment WHERE segment IN ('recreated', 'made_anew', 'renamed', 'gone')"),
	'recreated recreated, made_anew made_anew, renamed other_name, gone -', 'segments read what has their names here');

# What was waiting is processed, and the consumer reads on, as if nothing had happened.
foreach my $database (qw(shop copy))
{
	$node->safe_psql($database, "SET retention.as_of = '2023-12-01'; CALL retention.process_changes()");
}
is(contents('copy', 'customer'), contents('shop', 'customer'), 'changes that were waiting are processed');
my $unread = "SELECT count(*), min(change_id), max(change_id), string_agg(DISTINCT cause, ' ') FROM retention.read_segment_changes('crm')";
is(copy($unread), shop($unread), 'the consumer reads on');
is(copy("SELECT cause, change, segment FROM retention.segment_change WHERE customer_id = '8' AND segment = 'spenders' ORDER BY change_id DESC LIMIT 1"), 'refund|left|spenders', 'new changes follow');
is(copy("SELECT segment, error FROM retention.segment WHERE error IS NOT NULL"), 'gone|relation public.gone of segment "gone" does not exist', 'no segment but that whose view is gone fails');
is(contents('copy', 'order_event'), contents('shop', 'order_event'), 'no event is recorded again');
copy('INSERT INTO "My shop".orders VALUES (9, \'2023-11-30\', 5, 1)');
is(copy('SELECT relation, customer_ids FROM retention.change_log'), '"My shop".orders|{9}', 'the triggers are there');
copy('DELETE FROM retention.change_log; INSERT INTO "My shop".items SELECT order_id FROM "My shop".orders WHERE customer_id = 10');
is(copy("SELECT customer_ids FROM retention._take_changes(100, '2023-12-01')"), '{10}', 'also of a table that only knows its order');
copy('SELECT retention.track(\'"My shop".items\')');
is(copy('SELECT order_id_columns, via FROM retention.tracked WHERE relation = \'"My shop".items\'::regclass'), '{order}|{"\"My shop\".orders"}', 'which goes on being tracked via them');
copy("SET retention.as_of = '2023-12-01'; DELETE FROM \"My shop\".orders WHERE order_id = 1 AND amount = 5; CALL retention.process_changes()");

# A copy writes to nobody, whoever asks, until an admin says so; a renamed database is no copy.
my $error = 'ERROR:  flows were made live in another database: this one is a copy of it, or has taken its place';
foreach my $attempt (
	'CALL retention.run_flows()', 'CALL retention.tick()', 'SELECT retention.run_flows_once()', q{SELECT retention.set_status('letters', 'paused'), retention.set_status('letters', 'live')})
{
	like(($node->psql('copy', $attempt))[2], qr/$error/, "not from a copy: $attempt");
}
is(copy(q{SELECT count(*) FROM retention.claim_messages('email')}), '0', 'nor are messages claimed');
$node->safe_psql('postgres', 'ALTER DATABASE shop RENAME TO renamed; ALTER DATABASE renamed RENAME TO shop');
copy('SELECT retention.resume_here()');

# Flows go on where they were, by both versions.
foreach my $database (qw(shop copy))
{
	$node->safe_psql($database, "SET retention.as_of = '2023-12-10'; CALL retention.run_flows()");
}
is(contents('copy', $_), contents('shop', $_), "flows go on after the restore: $_") foreach qw(enrollment message flow_entry flow last_message);
is( copy("SELECT version, node, outcome, count(*) FROM retention.flow_enrollment WHERE customer_id::integer <= 15 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"), <<'ROWS' =~ s/\n$//r, 'who was in a version finished it');
1|c|exhausted|1
1|d|completed|4
2|b||5
2|c|exhausted|4
2|d|completed|1
ROWS

# The refresh goes on where it was: ids continue, and nothing but time has passed.
foreach my $database (qw(shop copy))
{
	$node->safe_psql($database, "CALL retention.refresh(as_of => '2024-01-01'); CALL retention.refresh('own', as_of => '2024-01-01')");
}
is(contents('copy', 'customer'), contents('shop', 'customer'), 'a refresh after the restore gives the same customers');
is( copy("SELECT count(*), count(DISTINCT cause), min(cause) FROM retention.rfm_change WHERE changed_at = '2024-01-01' AND metric = 'own'"),
	shop("SELECT count(*), count(DISTINCT cause), min(cause) FROM retention.rfm_change WHERE changed_at = '2024-01-01' AND metric = 'own'"),
	'and the same moves with the same causes');
is( copy("SELECT count(*) FROM retention.rfm_change WHERE cause = 'settings'"), '0', 'a restore is no change of settings');
is( copy('SELECT bool_and(a.refresh_id > b.last) FROM retention.population a, (SELECT max(refresh_id) AS last FROM retention.population WHERE as_of < \'2024-01-01\' AND NOT backfilled) AS b WHERE a.as_of = \'2024-01-01\''),
	't', 'numbers of refreshes go on');
is( copy("SELECT path FROM retention.population WHERE as_of = '2024-01-01' AND metric = 'orders'"), 'rebuild', 'the first refresh reads the sources');
copy(q{SELECT retention.add_source('"My shop".by_matview')});
is(copy('SELECT count(DISTINCT source_id) = count(*) FROM retention.source'), 't', 'numbers of sources go on');

# The custom format, in parallel, over an extension that is there already in part.
$node->safe_psql('postgres', 'DROP DATABASE copy');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('shop'), '-f', "$dump.custom" ], 'pg_dump -Fc');
command_ok([ 'pg_restore', '-j', '2', '-e', '-d', $node->connstr('copy'), "$dump.custom" ], 'pg_restore -j2');
restored_well('custom');
copy("SELECT retention.simulate_flow('letters', '2023-11-01', '2023-11-05')");

# Gone as a whole; the triggers need no CASCADE, views over ours do.
copy('DROP EXTENSION retention CASCADE');
is(copy("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'retention%'"), '0', 'no trigger is left');
is( copy("SELECT count(*) FROM pg_namespace WHERE nspname = 'retention'"), '0', 'DROP EXTENSION leaves no schema');
is( copy("SELECT count(*) FROM pg_proc WHERE probin LIKE '%retention%' OR prosrc LIKE '%retention.%'"), '0', 'nor functions');
is( copy("SELECT count(*) FROM pg_class WHERE relname LIKE 'retention%' OR relname = 'rfm_cell'"), '0', 'nor tables');
is( copy('SELECT count(*) FROM "My shop".orders'), shop('SELECT count(*) FROM "My shop".orders'), 'and the shop is as it was');
copy('CREATE EXTENSION retention');
is(copy('SELECT count(*) FROM retention.metric'), '0', 'it can be made anew');

$node->stop;
done_testing();
