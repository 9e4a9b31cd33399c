# The server is killed under load while flows run: nobody is lost, stuck or entered twice, and no message or coupon is doubled.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Time::HiRes qw(time);
use Test::More;

my $crashes = $ENV{RETENTION_CRASHES} || 30;
my $seed = $ENV{RETENTION_SEED} || int(time) % 100000;
srand $seed;
note("RETENTION_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jit = off\ntimezone = 'UTC'\nmax_connections = 40\ndeadlock_timeout = '100ms'");
$node->start;

sub query { return $node->safe_psql('postgres', shift); }

# Who gets what is a function of the data, but for "pausable", which misses what happens while it is paused.
query(<<'SQL');
ALTER DATABASE postgres SET retention.as_of = '2024-06-01';
SET retention.as_of = '2024-06-01';
CREATE EXTENSION retention;
CREATE TABLE orders (order_id integer GENERATED ALWAYS AS IDENTITY, customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders (customer_id, ordered_at, amount) SELECT i % 150, timestamptz '2024-05-30' - i % 500 * interval '1 day', i % 50 + 1 FROM generate_series(1, 2000) i;
SELECT retention.add_metric('orders', frequency_values => '{20,30}', monetary_values => '{600,1000}');
SELECT retention.add_source('orders', order_id => 'order_id', events => true);
SELECT retention.track('orders');
CALL retention.refresh();
CALL retention.process_changes();
CREATE VIEW odd AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND historic_number_of_orders % 2 = 1;
SELECT retention.add_segment('odd');
INSERT INTO retention.contact (customer_id, email, phone, email_consent, sms_consent) SELECT i, i || '@example.com', '+48' || i, true, true FROM generate_series(0, 180) i;
SELECT retention.add_coupon_pool('codes', ARRAY(SELECT 'C' || i FROM generate_series(1, 30000) i));

CREATE FUNCTION mail(id text, next text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql
  RETURN jsonb_strip_nulls(jsonb_build_object('id', id, 'type', 'message', 'channel', 'email', 'subject', 's', 'body', id, 'smart_sending', false, 'lateness', '90 days', 'next', next)) || more;
CREATE FUNCTION launch(name text, trigger jsonb, more jsonb, VARIADIC nodes jsonb[]) RETURNS void LANGUAGE sql AS $$
  SELECT retention.create_flow(jsonb_build_object('name', name, 'trigger', trigger, 'reentry', 'always', 'nodes', to_jsonb(nodes)) || more), retention.publish(name)
$$;
-- Followers with an amount of 13 end in an error.
SELECT launch('followers', '{"type": "manual"}', '{"concurrent": true}',
  '{"id": "odd?", "type": "split", "branches": [{"when": "1 / ((event ->> ''amount'')::numeric - 13) IS NOT NULL", "next": "thanks"}]}', mail('thanks', NULL));
SELECT launch('buyers', '{"type": "order"}', '{"concurrent": true}',
  mail('hello', 'wait'), '{"id": "wait", "type": "delay", "for": "30 minutes", "next": "large?"}', '{"id": "large?", "type": "split", "branches": [{"when": "(event ->> ''amount'')::numeric >= 50", "next": "coupon"}], "else": "plain"}',
  '{"id": "coupon", "type": "coupon", "pool": "codes", "next": "code"}', mail('code', 'later', '{"body": "{{ coupon.code }}"}'), mail('plain', 'later'),
  mail('later', 'pass on'), '{"id": "pass on", "type": "enter_flow", "flow": "followers"}');
SELECT launch('waiters', '{"type": "manual"}', '{"concurrent": true, "exit": "properties ? ''left''"}',
  '{"id": "pause", "type": "delay", "for": "10 minutes", "next": "touch"}', '{"id": "touch", "type": "set_property", "set": {"touched": "true"}, "next": "wait"}',
  '{"id": "wait", "type": "wait_for", "condition": "(properties ->> ''score'')::integer >= 60", "timeout": "90 minutes", "next": "yes", "else": "no"}', mail('yes', NULL), mail('no', NULL));
SELECT launch(name, '{"type": "order"}', '{}', '{"id": "wait", "type": "delay", "for": "10 minutes", "next": "news"}', mail('news', NULL, '{"channel": "sms", "smart_sending": "3 hours"}')) FROM (VALUES ('first news'), ('second news')) AS v (name);
SELECT launch('odd', '{"type": "segment", "segment": "odd"}', '{"concurrent": true}', mail('welcome', NULL));
-- The names of its delay differ from version to version.
CREATE FUNCTION pausable(version integer) RETURNS void LANGUAGE sql AS $$
  SELECT launch('pausable', '{"type": "order"}', jsonb_build_object('concurrent', true, 'description', 'version ' || version), mail('hello', 'wait ' || version % 2),
    jsonb_build_object('id', 'wait ' || version % 2, 'type', 'delay', 'for', '30 minutes', 'next', 'later'), mail('later', NULL))
$$;
SELECT pausable(1);
SELECT retention.set_status(flow, 'live') FROM retention.flow ORDER BY flow;

CREATE TABLE asked (customer_id text);
CREATE TABLE delivery (idempotency_key text, attempt integer);
CREATE TABLE acknowledged (message_id bigint);
CREATE FUNCTION ask(customer_id integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO asked VALUES (customer_id);
  PERFORM retention.enroll('waiters', customer_id::text);
END $$;
-- A sender's two transactions.
CREATE FUNCTION take(channel text) RETURNS text LANGUAGE sql AS $$
  WITH taken AS (SELECT * FROM retention.claim_messages(channel, 5)), noted AS (INSERT INTO delivery SELECT idempotency_key, attempt FROM taken)
  SELECT format('%L::bigint[]', coalesce(array_agg(message_id), '{}')) FROM taken
$$;
CREATE FUNCTION report(taken bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF random() < 0.3 THEN
    PERFORM retention.fail(taken, 'busy');
  ELSE
    PERFORM retention.ack(taken);
    INSERT INTO acknowledged SELECT unnest(taken);
  END IF;
END $$;
CREATE FUNCTION administer(choice integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  current integer;
BEGIN
  SELECT version INTO current FROM retention.flow WHERE flow = 'pausable' FOR UPDATE;
  IF choice < 2 THEN
    PERFORM retention.set_status('pausable', CASE choice WHEN 0 THEN 'paused' ELSE 'live' END);
  ELSE
    PERFORM pausable(current + 1);
    PERFORM retention.migrate_flow('pausable', current, jsonb_build_object('wait ' || current % 2, 'wait ' || (current + 1) % 2));
  END IF;
END $$;
SQL

# The load, on few customers, so that clients meet. They take one of these after the other, at random, by weight.
my @load = (
	[ 6, "\\set a random(0, 160)\n\\set minutes random(0, 40)\n\\set amount random(1, 99)\n"
		. "INSERT INTO orders (customer_id, ordered_at, amount) SELECT :a, current_setting('retention.as_of')::timestamptz - :minutes * interval '1 minute', :amount FROM generate_series(1, 1 + :a % 2);\n" ],
	[ 5, "\\set a random(0, 180)\nSELECT ask(:a);\n" ],
	[ 4, "\\set a random(0, 180)\n\\set more random(0, 9)\n"
		. "UPDATE retention.contact SET email_consent = :more > 2, properties = properties || jsonb_build_object('score', coalesce((properties ->> 'score')::integer, 0) + :more)"
		. " || CASE WHEN :a > 150 AND :more = 0 THEN '{\"left\": true}' ELSE '{}' END::jsonb WHERE customer_id = ':a';\n" ],
	[ 3, "CALL retention.process_changes();\n" ],
	[ 6, "CALL retention.run_flows(batch => 20);\n" ],
	[ 1, "CALL retention.refresh(full => true);\n" ],
	[ 4, "SELECT take('email') AS taken \\gset\nSELECT report(:taken);\n" ],
	[ 2, "SELECT take('sms') AS taken \\gset\nSELECT report(:taken);\n" ],
	[ 1, "\\set choice random(0, 2)\nSELECT administer(:choice);\n" ]);
my $directory = PostgreSQL::Test::Utils::tempdir();
append_to_file("$directory/$_.sql", $load[$_][1]) foreach 0 .. $#load;

# Waits until so many more messages have been written and taken, at random, then kills.
sub crash
{
	my ($number) = @_;
	my ($out, $err, $log) = ('', '', -s $node->logfile);
	my $progress = '(SELECT (SELECT count(*) FROM retention.message) + (SELECT count(*) FROM delivery))';
	my $wanted = query("SELECT $progress") + 100 + int(rand 600);
	my $load = IPC::Run::start([ 'pgbench', '-n', '-T', '60', '-c', 14, '-j', 2, (map { ('-f', "$directory/$_.sql\@$load[$_][0]") } 0 .. $#load), '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \undef, '>', \$out, '2>', \$err);

	$node->poll_query_until('postgres', "SELECT $progress >= $wanted") or die 'the load does nothing';
	$node->stop('immediate');
	$load->finish;
	is(join("\n", grep { /ERROR:|WARNING:  (?!terminating)/ } split /\n/, slurp_file($node->logfile, $log)), '', "crash $number: nobody met a deadlock, nor any other error");
	$node->start;
}

# What differs, where nothing should: the settled state, and plain SQL over orders, contacts and enrollments.
my $sent = "state NOT IN ('suppressed', 'error', 'ghost')";
my %differing = (
	'each order made one enrollment' => both_ways("SELECT e.event ->> 'order_id', e.customer_id FROM retention.flow_enrollment e WHERE flow = 'buyers'", 'SELECT order_id::text, customer_id::text FROM orders WHERE order_id > 2000'),
	'each who was enrolled made one enrollment' => both_ways("SELECT customer_id FROM retention.flow_enrollment WHERE flow = 'waiters'", 'SELECT customer_id FROM asked'),
	'each who entered the segment made one enrollment' => both_ways("SELECT customer_id, (event ->> 'as_of')::timestamptz FROM retention.flow_enrollment WHERE flow = 'odd'",
		"SELECT customer_id, as_of FROM retention.segment_change WHERE segment = 'odd' AND change = 'entered' AND cause <> 'definition'"),
	'no order made two enrollments of one flow' => "SELECT FROM retention.enrollment WHERE event ? 'order_id' GROUP BY flow_id, event ->> 'order_id' HAVING count(*) > 1",
	'buyers have the messages that their order asks for' => both_ways("SELECT enrollment_id, m.node FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow = 'buyers'",
		"SELECT e.enrollment_id, n.node FROM orders o JOIN retention.flow_enrollment e ON e.flow = 'buyers' AND e.event ->> 'order_id' = o.order_id::text,"
		  . " LATERAL (VALUES ('hello', 0), ('code', CASE WHEN o.amount >= 50 THEN 30 END), ('plain', CASE WHEN o.amount < 50 THEN 30 END), ('later', 30)) AS n (node, minutes)"
		  . " WHERE e.entered_at <= retention.now() - n.minutes * interval '1 minute'"),
	'followers are those who got through' => both_ways("SELECT event ->> 'order_id', outcome, m.node FROM retention.flow_enrollment e LEFT JOIN retention.message m USING (enrollment_id) WHERE flow = 'followers'",
		"SELECT event ->> 'order_id', CASE (event ->> 'amount')::numeric WHEN 13 THEN 'error' ELSE 'completed' END, CASE WHEN (event ->> 'amount')::numeric <> 13 THEN 'thanks' END FROM retention.flow_enrollment WHERE flow = 'buyers' AND outcome = 'completed'"),
	'waiters have the message of their outcome' => both_ways("SELECT enrollment_id, m.node FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow = 'waiters'",
		"SELECT enrollment_id, CASE WHEN finished_at < entered_at + interval '150 minutes' OR (c.properties ->> 'score')::integer >= 60 AND EXISTS (SELECT FROM retention.message m WHERE (m.enrollment_id, m.node) = (e.enrollment_id, 'yes')) THEN 'yes' ELSE 'no' END"
		  . " FROM retention.flow_enrollment e JOIN retention.contact c USING (customer_id) WHERE flow = 'waiters' AND outcome = 'completed'"),
	'nobody waits for what has come, or has left' => "SELECT FROM retention.flow_enrollment e JOIN retention.contact c USING (customer_id) WHERE flow = 'waiters' AND outcome IS NULL AND (node = 'wait' AND (c.properties ->> 'score')::integer >= 60 OR c.properties ? 'left')",
	'properties were set' => "SELECT FROM retention.flow_enrollment e JOIN retention.contact c USING (customer_id) WHERE flow = 'waiters' AND (outcome = 'completed' OR node = 'wait') AND NOT c.properties ? 'touched'",
	'who went through a flow with pauses and versions has its messages' => "SELECT FROM retention.flow_enrollment e WHERE flow = 'pausable'"
	  . " AND (SELECT string_agg(node, ' ' ORDER BY node) FROM retention.message m WHERE m.enrollment_id = e.enrollment_id) IS DISTINCT FROM CASE WHEN outcome IS NULL THEN 'hello' ELSE 'hello later' END",
	'who is in it is in its last version' => "SELECT FROM retention.flow_enrollment e JOIN retention.flow f USING (flow) WHERE flow = 'pausable' AND outcome IS NULL AND e.version <> f.version",
	'nobody is stuck' => "SELECT FROM retention.enrollment WHERE due_at <= retention.now() OR (outcome IS NULL) <> (due_at IS NOT NULL) OR outcome NOT IN ('completed', 'exited', 'error')",
	'nothing is left to do' => 'SELECT FROM retention.flow_entry UNION ALL SELECT FROM retention.changed_customers UNION ALL SELECT FROM retention.flow WHERE error IS NOT NULL UNION ALL SELECT FROM retention.flow_node WHERE error IS NOT NULL UNION ALL SELECT FROM retention.message WHERE state = \'held\'',
	'keys of messages are distinct' => 'SELECT FROM retention.message GROUP BY idempotency_key HAVING count(*) > 1',
	'news keep apart' => "SELECT FROM (SELECT queued_at - lag(queued_at) OVER (PARTITION BY customer_id ORDER BY queued_at, message_id) AS apart FROM retention.message WHERE channel = 'sms' AND $sent) AS m WHERE apart < interval '3 hours'",
	'news are skipped only for others' => "SELECT FROM retention.message m WHERE channel = 'sms' AND state = 'suppressed' AND NOT EXISTS (SELECT FROM retention.message o WHERE o.customer_id = m.customer_id AND o.channel = 'sms' AND o.state <> 'suppressed'"
	  . " AND o.queued_at > m.queued_at - interval '3 hours' AND o.queued_at <= m.queued_at)",
	'coupons went to who is owed one' => both_ways('SELECT enrollment_id, node, customer_id FROM retention.coupon WHERE issued_at IS NOT NULL', "SELECT enrollment_id, 'coupon', customer_id FROM retention.message WHERE node = 'code'"
	  # Others' codes have gone back: no sender has had them.
	  . " AND state <> 'dead' AND ($sent OR attempts > 0)"),
	'no message has the coupon of another' => "SELECT FROM retention.message m JOIN retention.coupon c USING (enrollment_id) WHERE m.node = 'code' AND m.body <> c.code",
	'each attempt was made once' => 'SELECT FROM delivery GROUP BY idempotency_key, attempt HAVING count(*) > 1',
	'what was acknowledged is sent, and nothing else' => both_ways("SELECT message_id FROM retention.message WHERE state = 'sent'", 'SELECT DISTINCT message_id FROM acknowledged'),
	'what was sent had been claimed' => "SELECT FROM retention.message WHERE state = 'sent' AND idempotency_key NOT IN (SELECT idempotency_key FROM delivery)");

sub both_ways
{
	my ($a, $b) = @_;
	return "($a EXCEPT ALL $b) UNION ALL ($b EXCEPT ALL $a)";
}

my $oracle = join "\nUNION ALL\n", map { "SELECT '$_: ' || count(*) FROM ($differing{$_}) AS differing HAVING count(*) > 0" } sort keys %differing;

foreach my $number (1 .. $crashes)
{
	query("ALTER DATABASE postgres SET retention.as_of = '" . query("SELECT timestamptz '2024-06-01' + $number * interval '1 hour'") . "'");
	crash($number);
	query("SELECT retention.set_status('pausable', 'live'); CALL retention.process_changes(); CALL retention.run_flows()");
	is(query($oracle), '', "crash $number: all is as it should be");
}
note(query("SELECT format('%s enrollments, %s messages, %s deliveries, %s versions', (SELECT count(*) FROM retention.enrollment), (SELECT count(*) FROM retention.message), (SELECT count(*) FROM delivery), (SELECT count(*) FROM retention.flow_version))"));
note(query("SELECT string_agg(format('%s %s %s', flow, outcome, n), ', ') FROM (SELECT flow, outcome, count(*) AS n FROM retention.flow_enrollment GROUP BY 1, 2 ORDER BY 1, 2) AS c"));
note(query("SELECT string_agg(format('%s %s: %s', state, reason, n), ', ') FROM (SELECT state, reason, count(*) AS n FROM retention.message GROUP BY 1, 2 ORDER BY 1, 2) AS c"));

$node->stop;
done_testing();
