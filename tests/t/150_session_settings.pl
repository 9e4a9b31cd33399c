# Installing and running depends on no setting of the session: the same shop and its flows under settings that other people have.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nautovacuum = off\nfsync = off\nmax_worker_processes = 16\nmax_parallel_workers = 16");
$node->start;

# The same orders everywhere, made before anything is set. Keys, times and values of types that are written in many ways.
my $shop = <<'SQL';
CREATE SCHEMA shop;
CREATE TABLE shop.orders (order_id bigint, customer_id text, number double precision, day date, ordered_at timestamptz, amount numeric, price double precision);
INSERT INTO shop.orders
  SELECT i, 'c' || i % 83, (i % 83) / 7.0, date '2023-01-01' + i % 83,
         timestamptz '2024-02-20 08:30+00' - (i * i % 701) * interval '1 day' - i * interval '7 minutes', 5 + i % 37 + 0.25, (5 + i % 37) / 3.0
  FROM generate_series(1, 900) AS i;
CREATE TABLE shop.refunds (order_id bigint, customer_id text, ordered_at timestamptz, amount numeric);
INSERT INTO shop.refunds SELECT order_id, customer_id, ordered_at + interval '3 days', amount FROM shop.orders WHERE order_id % 29 = 0;
CREATE TABLE shop.people (customer_id text, email text, phone text, time_zone text, email_consent boolean, sms_consent boolean, first_name text,
                          born date, score double precision, pause interval, mark bytea, tags text[], joined_at timestamptz);
INSERT INTO shop.people
  SELECT 'c' || i, 'c' || i || '@example.com', '+486000000' || 10 + i, 'America/New_York', i % 5 > 0, true, 'N' || i,
         date '1980-02-03' + i * 31, i / 7.0, i * interval '1 day 2 hours 3 minutes', decode(lpad(to_hex(i), 4, '0'), 'hex'),
         ARRAY['NULL', NULL, concat('t', i)], timestamptz '2024-01-02 03:04:05+00' + i * interval '1 hour'
  FROM generate_series(0, 82) AS i;
CREATE VIEW shop.contacts AS SELECT customer_id, email, phone, time_zone, email_consent, sms_consent, to_jsonb(p) AS properties FROM shop.people AS p;
CREATE VIEW shop.spenders AS SELECT customer_id, count(*) AS orders FROM shop.orders GROUP BY customer_id HAVING sum(price) > 70.5;
CREATE FUNCTION shop.trade() RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $$
  INSERT INTO shop.orders SELECT 10000 + i, concat('c', i % 90), i, '2024-02-02', '2024-02-02 14:00:00+00', 20.5 * i, 20.5 * i FROM generate_series(1, 25) AS i;
  DELETE FROM shop.orders WHERE customer_id IN ('c7', 'c8');
$$;
-- Whoever resolves a name here has not said which one is meant.
CREATE SCHEMA hostile;
DO $$
DECLARE
  operand text;
  sign text;
BEGIN
  FOREACH operand IN ARRAY '{text,integer,bigint,boolean,name,oid,jsonb,timestamptz,date,interval,numeric,double precision}'::text[] LOOP
    EXECUTE format('CREATE FUNCTION hostile.trap(%1$s, %1$s) RETURNS boolean LANGUAGE plpgsql AS ''BEGIN RAISE ''''a trap was taken for an operator''''; END''', operand);
    FOREACH sign IN ARRAY '{=,<>,<,>,<=,>=,+,-,*,||,->,->>,?}'::text[] LOOP
      EXECUTE format('CREATE OPERATOR hostile.%1$s (FUNCTION = hostile.trap, LEFTARG = %2$s, RIGHTARG = %2$s)', sign, operand);
    END LOOP;
  END LOOP;
END $$;
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''1999-01-01''';
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT timestamptz ''1999-01-01''';
CREATE FUNCTION hostile.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT ''trapped''::text';
CREATE FUNCTION hostile.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT ''trapped''::text';
CREATE FUNCTION hostile.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql AS 'SELECT ''0''::jsonb';
CREATE TABLE hostile.pg_class (trapped text);
CREATE TABLE hostile.customer (trapped text);
CREATE DOMAIN hostile.text AS pg_catalog.text CHECK (length(VALUE) < 0);
CREATE DOMAIN hostile.regclass AS pg_catalog.oid CHECK (VALUE = 0);
SQL

# Everything that a shop does, in one session; what functions return is kept as it is.
my $work = <<'SQL';
CREATE EXTENSION retention;
SET retention.as_of = '2024-02-01 00:00:00+00';
SELECT retention.add_source('shop.orders', order_id => 'order_id', events => true);
SELECT retention.add_source('shop.refunds', order_id => 'order_id', kind => 'refund', events => true);
SELECT retention.alter_metric('orders', time_zone => 'Europe/Warsaw', history => '2 years 1 mon 3 days');
SELECT retention.add_metric('numbers', discount_rate => 0.1), retention.add_source('shop.orders', customer_id => 'number', amount => 'price', metric => 'numbers');
SELECT retention.add_metric('days', recency_limits => '{200.5,100.25}'), retention.add_source('shop.orders', customer_id => 'day', amount => 'price', metric => 'days');
SELECT retention.track('shop.orders', 'customer_id');
SELECT retention.use_contacts('shop.contacts');
SELECT retention.add_segment('shop.spenders'), retention.add_segment('retention.win_back'), retention.add_consumer('crm');
CALL retention.refresh();
CALL retention.refresh('numbers');
CALL retention.refresh('days');
SELECT retention.backfill_history('orders', '2023-06-01 00:00:00+00', step => '2 months');
SELECT retention.add_coupon_pool('codes', '{A-1,A-2,A-3,A-4,A-5,A-6,A-7,A-8,A-9}', valid_for => '1 mon 2 days');
SELECT retention.create_flow($${"name": "letters", "trigger": {"type": "manual"}, "reentry": "1 day", "entry_filter": "historic_clv > 10 AND properties ->> 'first_name' ~ '^N\\d'",
  "exit": "last_order_at > entered_at", "quiet_hours": {"from": "21:00", "until": "08:00"}, "nodes": [
  {"id": "code", "type": "coupon", "pool": "codes", "next": "hello", "else": "hello"},
  {"id": "hello", "type": "message", "channel": "email", "subject": "{{ person.p_alive }} {{ person.days_since_last_order }} {{ coupon.code|default:\"-\" }}", "smart_sending": false,
   "body": "{{ person.last_order_at|date:\"DD Mon YYYY\" }} {{ person.average_days_between_orders|default:0 }} {{ person.expected_date_of_next_order }} {{ person.born }} {{ person.score }} {{ person.pause }} {{ person.mark }} {{ person.joined_at }} {{ person.tags|join:\",\" }}",
   "data": {"a": "p_alive::text", "b": "last_order_at::text", "c": "(now() - last_order_at)::text", "d": "(properties ->> 'born') || (properties ->> 'pause') || (properties ->> 'mark') || (properties ->> 'score')", "e": "'a\\b'"}, "next": "keep"},
  {"id": "keep", "type": "set_property", "set": {"alive": "p_alive", "seen": "retention.now()", "text": "p_alive::text || retention.now()::text"}, "next": "split"},
  {"id": "split", "type": "split", "branches": [{"when": "p_alive::text LIKE '%5%' OR retention.now()::text LIKE '%5%'", "next": "wait"}], "else": "arms"},
  {"id": "arms", "type": "random_split", "arms": [{"name": "x", "share": 50, "next": "wait"}, {"name": "y", "share": 50, "next": "text"}]},
  {"id": "wait", "type": "wait_for", "condition": "historic_number_of_orders > 20", "timeout": "2 days 03:00:00", "next": "text", "else": "text"},
  {"id": "text", "type": "message", "channel": "sms", "body": "{{ person.historic_clv }} {{ person.first_name }}", "smart_sending": "1 mon 02:00:00"}]}$$);
SELECT retention.create_flow($${"name": "thanks", "trigger": {"type": "order"}, "reentry": "always", "nodes": [
  {"id": "day", "type": "delay", "until": "last_order_at::date + 3", "at": "10:00", "next": "m"},
  {"id": "m", "type": "message", "channel": "email", "subject": "{{ event.amount }}", "body": "{{ event.ordered_at|default:\"-\" }} {{ person.predicted_clv }}"}]}$$);
SELECT retention.create_flow($${"name": "back", "trigger": {"type": "segment", "segment": "spenders"}, "nodes": [{"id": "m", "type": "message", "channel": "email", "subject": "x", "body": "{{ person.rfm_group }}"}]}$$);
SELECT retention.publish('letters'), retention.publish('thanks'), retention.publish('back');
SELECT retention.set_status('letters', 'live'), retention.set_status('thanks', 'live'), retention.set_status('back', 'live');
SELECT count(retention.enroll('letters', concat('c', i))) FROM generate_series(1, 20) AS i;
CALL retention.run_flows();
SET retention.as_of = '2024-02-02 15:00:00+00';
SELECT shop.trade();
CALL retention.process_changes();
CALL retention.run_flows();
CREATE TABLE shop.claimed AS SELECT * FROM retention.claim_messages('email', 10);
SELECT retention.ack('{1,2,3}'), retention.fail('{4,5}', 'try again');
CREATE TABLE shop.read AS SELECT * FROM retention.read_segment_changes('crm', 1000);
SET retention.as_of = '2024-02-12 15:00:00+00';
CALL retention.refresh_all();
CALL retention.run_flows();
SELECT retention.suppress('email', 'C9@Example.com'), retention.forget('c11');
CREATE TABLE shop.simulated AS SELECT * FROM retention.simulate_flow('thanks', '2023-11-01 00:00:00+00', '2023-11-04 00:00:00+00');
CREATE TABLE shop.validated AS SELECT * FROM retention.validate_model('orders', '2023-09-01 00:00:00+00');
CREATE TABLE shop.past AS SELECT * FROM retention.customer_at('orders', '2023-08-01 00:00:00+00');
CREATE TABLE shop.churn AS SELECT * FROM retention.churn_history('c5');
CREATE TABLE shop.explained AS SELECT * FROM retention.explain_score('c5');
CREATE TABLE shop.described AS SELECT retention.describe_flow('letters') AS letters, retention.describe_flow('thanks') AS thanks;
CREATE TABLE shop.ready AS SELECT * FROM retention.readiness();
CREATE TABLE shop.profile AS SELECT * FROM retention.profile;
CREATE TABLE shop.rendered AS SELECT retention.render('{{ a }} {{ b }}', jsonb_build_object('a', 0.1, 'b', 'x')) AS text;
SQL

# What differs from run to run, or from database to database, or follows the real clock; and random keys.
my $real_time = "'{started_at,read_duration,write_duration,duration,validated_at,changed_at,read_at,recorded_at,noticed_at,at,failed_at,last_at,first_at,idempotency_key,lease_until,noted_at,here}'::text[]";

# Settings that do not touch each other share a turn.
my $forced_plan = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
my @settings = (
	[ 'as they are', '' ],
	[ 'strings and strict plpgsql', <<'SQL' ],
SET standard_conforming_strings = off; SET escape_string_warning = on; SET backslash_quote = off;
LOAD 'plpgsql'; SET plpgsql.extra_errors = 'all'; SET plpgsql.extra_warnings = 'all'; SET plpgsql.variable_conflict = use_column;
SET transform_null_equals = on; SET array_nulls = off;
SQL
	[ 'formats, and a hostile schema first', <<'SQL' ],
SET DateStyle = 'SQL, DMY'; SET IntervalStyle = sql_standard; SET TimeZone = 'Pacific/Auckland'; SET extra_float_digits = -10; SET bytea_output = escape;
SET quote_all_identifiers = on; SET xmlbinary = hex; SET xmloption = document;
SET default_transaction_isolation = serializable; SET default_transaction_deferrable = on;
SET search_path = hostile, pg_catalog, public;
SQL
	[ 'other formats, and no schema', <<'SQL' ],
SET DateStyle = 'German'; SET IntervalStyle = iso_8601; SET TimeZone = 'America/Caracas'; SET extra_float_digits = 3; SET client_encoding = 'LATIN1';
SET check_function_bodies = off; SET plpgsql.variable_conflict = use_variable;
SET default_transaction_isolation = 'repeatable read'; SET row_security = off;
SET search_path = '';
SQL
	[ 'plans, and a hostile schema last', <<'SQL' ],
SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; SET enable_seqscan = off; SET enable_sort = off; SET join_collapse_limit = 1; SET from_collapse_limit = 1;
SET default_toast_compression = pglz; SET client_min_messages = error; SET default_statistics_target = 1; SET work_mem = '64kB'; SET synchronize_seqscans = off;
SET search_path = pg_catalog, public, hostile;
SQL
	[ 'parallel plans', <<"SQL" ]);
SET $forced_plan = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0;
SET plan_cache_mode = force_custom_plan; SET enable_nestloop = off; SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_hashagg = off;
SQL

# All rows of all tables of the extension, and of what its functions returned, read alike; numbers are what they are to ten digits.
sub contents
{
	my ($database) = @_;
	my $tables = $node->safe_psql($database, "SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('retention'::regnamespace, 'shop'::regnamespace) ORDER BY oid::regclass::text COLLATE \"C\"");

	return join "\n", map {
		my $table = $_;
		"$table:\n" . $node->safe_psql($database, <<"SQL");
			SET extra_float_digits = -5;
			SELECT kept FROM (SELECT (to_jsonb(t) - $real_time)::text AS kept FROM $table AS t) AS u ORDER BY kept COLLATE "C"
SQL
	} split /\n/, $tables;
}

# The first lines that only one of two texts has.
sub difference
{
	my ($got, $expected) = @_;
	my %count;

	$count{$_}++ for split /\n/, $got;
	$count{$_}-- for split /\n/, $expected;
	my @lines = sort grep { $count{$_} != 0 } keys %count;
	return join "\n", map { ($count{$_} > 0 ? '+ ' : '- ') . $_ } @lines > 12 ? @lines[ 0 .. 11 ] : @lines;
}

my $expected;
my $number = 0;
foreach my $case (@settings)
{
	my ($name, $set) = @$case;
	my $database = 'shop_' . $number++;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, $shop);
	my ($status, $out, $errors) = $node->psql($database, "$set$work", on_error_stop => 0);
	$errors = join "\n", grep { /ERROR|PANIC|WARNING/ } split /\n/, $errors;
	is($errors, '', "$name: nothing fails");
	my $contents = contents($database);
	$expected //= $contents;
	is(difference($contents, $expected), '', "$name: the same is written");
}
$node->stop;
done_testing();
