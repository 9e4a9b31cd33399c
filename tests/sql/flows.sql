-- Flows: documents, versions, triggers, the outbox, coupons, reports.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA flows_test;
SET search_path = flows_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-03 10:00+00';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE TABLE orders (order_id integer, customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT i, i % 10, timestamptz '2024-06-01' - i * interval '5 days', i % 10 * 10 + 5 FROM generate_series(1, 60) i;
SELECT retention.add_source('orders', order_id => 'order_id', events => true);
CREATE TABLE refunds (LIKE orders INCLUDING ALL);
SELECT retention.add_source('refunds', order_id => 'order_id', kind => 'refund') > 0 AS refunds;
SELECT retention.track('orders');
CALL retention.refresh();
CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE historic_clv > 500;
SELECT retention.add_segment('spenders');
INSERT INTO retention.contact (customer_id, email, phone, email_consent, sms_consent, properties)
  SELECT i::text, format('c%s@example.com', i), format('+48%s', i), i <> 9, i <> 8, jsonb_build_object('first_name', 'N' || i) FROM generate_series(0, 9) i;
CREATE FUNCTION flow(name text, trigger jsonb, more jsonb, VARIADIC nodes jsonb[]) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('name', name, 'trigger', trigger, 'nodes', to_jsonb(nodes)) || more
$$;
CREATE FUNCTION go_live(document jsonb) RETURNS void LANGUAGE sql AS $$
  SELECT retention.publish(retention.create_flow(document));
  SELECT retention.set_status(document ->> 'name', 'live');
$$;
CREATE VIEW state AS SELECT flow, version, customer_id, node, since, due_at, outcome, reason FROM retention.flow_enrollment;
CREATE VIEW outbox AS SELECT node, customer_id, channel, state, reason, address, subject, body FROM retention.message;

-- Everything that is wrong with a document, at once.
SELECT * FROM retention.validate_flow('[]');
SELECT * FROM retention.validate_flow('{}');
SELECT * FROM retention.validate_flow($${"name": " ", "colour": "red", "trigger": {"type": "dream", "at": "25:00"}, "entry_filter": "historic_clv >", "filter": "1", "exit": "1 / 0 = 1",
  "reentry": "often", "concurrent": "yes", "holdout": 101, "time_zone": "Mars/Base", "quiet_hours": {"from": "9:00"}, "conversion_window": "-1 day", "metric": "none", "nodes": []}$$);
SELECT * FROM retention.validate_flow($${"name": "f", "trigger": {"type": "segment", "segment": "nobody", "change": "stayed"}, "nodes": [
  {"id": "a", "type": "message", "channel": "fax", "body": "{{ x", "status": "sent", "smart_sending": "0 days", "transactional": 1, "data": {"a": "1", "b": "nothing"}, "next": "z"},
  {"id": "b", "type": "delay", "for": "soon", "weekdays": ["Monday"], "at": "24:00", "until": "'x'::text"},
  {"id": "c", "type": "wait_for", "condition": "true; DROP TABLE orders", "timeout": "1 day"},
  {"id": "d", "type": "split", "branches": [{"when": "true) OR (true", "next": "a", "then": "b"}, 3]},
  {"id": "e", "type": "random_split", "arms": [{"name": "x", "share": "half"}]},
  {"id": "f", "type": "set_property", "set": ["x"]},
  {"id": "g", "type": "coupon", "pool": "none"},
  {"id": "h", "type": "enter_flow", "flow": "none"},
  {"id": "i", "type": "jump"}, {"type": "exit"}, "k"]}$$);
-- What only shows when each part is right.
SELECT * FROM retention.validate_flow($${"name": "f", "trigger": {"type": "rfm_group"}, "nodes": [
  {"id": "a", "type": "message", "channel": "email", "body": "x", "next": "b"},
  {"id": "b", "type": "random_split", "arms": [{"name": "x", "share": 50, "next": "c"}, {"name": "y", "share": 40}]},
  {"id": "c", "type": "delay", "next": "a"},
  {"id": "a", "type": "exit"},
  {"id": "e", "type": "message", "channel": "webhook", "body": "x"}]}$$);
SELECT * FROM failure($$SELECT retention.create_flow('{"name": "f", "trigger": {"type": "manual"}, "nodes": [{"id": "a", "type": "exit", "next": "a"}]}')$$);
SELECT f.* FROM unnest(ARRAY[
  $$SELECT retention.publish('none')$$, $$SELECT retention.publish(NULL)$$, $$SELECT retention.set_status('none', 'live')$$, $$SELECT retention.enroll('none', '1')$$,
  $$SELECT retention.describe_flow('none')$$, $$SELECT retention.drop_flow('none')$$, $$SELECT retention.suppress('fax', '1')$$, $$SELECT retention.claim_messages('fax')$$,
  $$SELECT retention.claim_messages('email', 0)$$, $$SELECT retention.claim_messages('email', 1, '0')$$, $$CALL retention.tick(batch => 0)$$, $$CALL retention.tick('infinity')$$,
  $$INSERT INTO retention.contact (customer_id, time_zone) VALUES ('x', 'Mars/Base')$$, $$SELECT retention.use_contacts('orders')$$,
  $$SELECT retention.add_coupon_pool('p', length => 3)$$, $$SELECT retention.add_coupon_pool('none', '{""}')$$, $$SELECT retention.use_contacts('pg_class')$$]) AS c, failure(c) AS f;
SELECT retention.use_contacts(NULL);

-- A flow from its draft to its end.
SELECT retention.create_flow(flow('first', '{"type": "manual"}', '{"reentry": "always"}',
  '{"id": "hello", "type": "message", "channel": "email", "subject": "Hi {{ person.first_name }}", "body": "<b>{{ person.first_name }}</b> {{ event.what }}", "next": "pause"}',
  '{"id": "pause", "type": "delay", "for": "1 day", "next": "end"}', '{"id": "end", "type": "exit", "outcome": "greeted"}'));
SELECT * FROM failure($$SELECT retention.set_status('first', 'live')$$) UNION ALL SELECT * FROM failure($$SELECT retention.enroll('first', '1')$$);
SELECT retention.publish('first'), retention.publish('first') AS again;
SELECT retention.set_status('first', 'live');
SELECT * FROM failure($$SELECT retention.set_status('first', 'running')$$) UNION ALL SELECT * FROM failure($$SELECT retention.set_status('first', 'live', 'pause')$$)
  UNION ALL SELECT * FROM failure($$SELECT retention.set_status('first', 'paused', 'hello')$$) UNION ALL SELECT * FROM failure($$SELECT retention.enroll('first', NULL)$$)
  UNION ALL SELECT * FROM failure($$SELECT retention.enroll('first', '1', '[]')$$);
SELECT count(retention.enroll('first', c, e)) AS enrolled FROM (VALUES ('1', '{"what": "<tea>"}'::jsonb), ('2', '{}'), ('9', '{"what": "x"}'), ('stranger', '{"what": "x"}')) AS v (c, e);
CALL retention.run_flows();
SELECT * FROM outbox ORDER BY customer_id;
SELECT * FROM state ORDER BY customer_id;
SET retention.as_of = '2024-06-04 10:00+00';
CALL retention.run_flows();
SELECT node, outcome, count(*) FROM state GROUP BY 1, 2;
SELECT * FROM failure($$SELECT retention.drop_flow('first')$$);

-- The outbox: leases, retries, death.
SET retention.as_of = '2024-06-03 10:30+00';
SELECT message_id, idempotency_key LIKE '%:hello' AS has_key, flow, customer_id, address, subject, body, attempt, lease_until FROM retention.claim_messages('email', 10, '10 minutes');
SELECT count(*) AS nothing_else FROM retention.claim_messages('email');
SET retention.as_of = '2024-06-03 10:40+00';
SELECT customer_id, attempt AS claimed_again FROM retention.claim_messages('email', 10, '10 minutes');
SELECT retention.fail(ARRAY(SELECT message_id FROM retention.message WHERE state = 'leased'), 'mailbox full') AS failed;
SELECT retention.fail(ARRAY(SELECT message_id FROM retention.message), 'not mine') AS failed_again;
SELECT customer_id, state, attempts, ready_at, last_error FROM retention.message WHERE attempts > 0;
DO $$
BEGIN
  FOR attempt IN 3 .. 12 LOOP
    PERFORM set_config('retention.as_of', (SELECT ready_at FROM retention.message WHERE attempts > 0)::text, false);
    UPDATE retention.message SET expires_at = 'infinity';
    PERFORM retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email')), format('attempt %s', attempt));
  END LOOP;
END $$;
SELECT customer_id, state, attempts, ready_at, last_error FROM retention.message WHERE attempts > 0;
SELECT retention.ack(ARRAY(SELECT message_id FROM retention.message WHERE state = 'dead')) AS sent_after_all;
SELECT array_agg(retention._retry_after(n, '6 hours')) FROM generate_series(1, 12) AS n;

-- What may be sent is looked at again when it is claimed.
SET retention.as_of = '2024-06-10 10:00+00';
SELECT go_live(flow('second', '{"type": "manual"}', '{"quiet_hours": {"from": "21:00", "until": "08:00"}}', '{"id": "note", "type": "message", "channel": "sms", "body": "{{ person.rfm_group }}", "lateness": "12 hours"}'));
SELECT count(retention.enroll('second', i::text)) AS enrolled FROM generate_series(0, 9) i;
CALL retention.run_flows();
UPDATE retention.contact SET sms_consent = false WHERE customer_id = '1';
UPDATE retention.contact SET phone = '+1' WHERE customer_id = '2';
SELECT retention.suppress('sms', ' +483', 'complained');
DELETE FROM retention.contact WHERE customer_id = '4';
SELECT retention.cancel(ARRAY(SELECT message_id FROM retention.message WHERE customer_id = '5' AND channel = 'sms'));
SELECT retention.set_status('second', 'paused');
SELECT count(*) AS paused FROM retention.claim_messages('sms', 1);
SELECT retention.set_status('second', 'live');
SELECT customer_id, address FROM retention.claim_messages('sms', 1);
SET retention.as_of = '2024-06-10 21:30+00';
SELECT count(*) AS quiet FROM retention.claim_messages('sms', 1);
SET retention.as_of = '2024-06-11 08:00+00';
SELECT count(*) AS late FROM retention.claim_messages('sms', 100);
SELECT customer_id, state, reason, attempts, address FROM retention.message WHERE node = 'note' ORDER BY customer_id;

-- What was claimed before a pause, or the end of its flow, is not sent after it.
SELECT go_live(flow('hook', '{"type": "manual"}', '{}', '{"id": "hook", "type": "message", "channel": "webhook", "url": "https://example.com/{{ person.first_name|urlencode }}", "body": "{{ event.x|default:\"<\" }}"}'));
SELECT count(retention.enroll('hook', c)) AS enrolled FROM unnest('{0,9}'::text[]) AS c;
CALL retention.run_flows();
SELECT address, body, context FROM retention.claim_messages('webhook', 10, '1 minute');
SELECT retention.set_status('hook', 'paused');
SET retention.as_of = '2024-06-11 08:01+00';
SELECT count(*) AS paused FROM retention.claim_messages('webhook');
SELECT state, reason, attempts FROM retention.message WHERE node = 'hook';
SELECT retention.set_status('hook', 'live');
SELECT count(*) AS claimed FROM retention.claim_messages('webhook', 1, '1 minute');
SELECT retention.set_status('hook', 'archived');
SET retention.as_of = '2024-06-11 08:02+00';
SELECT count(*) AS archived FROM retention.claim_messages('webhook');
SELECT state, reason, attempts FROM retention.message WHERE node = 'hook';

-- Manual: what is held is approved, late or not; a message of its own status.
SELECT go_live(flow('third', '{"type": "manual"}', '{}', '{"id": "a", "type": "message", "channel": "email", "subject": "a", "body": "a", "smart_sending": false, "next": "b"}',
  '{"id": "b", "type": "message", "channel": "email", "subject": "b", "body": "b", "smart_sending": "1 hour", "status": "manual", "next": "c"}',
  '{"id": "c", "type": "message", "channel": "email", "subject": "c", "body": "c", "transactional": true}'));
SELECT retention.set_status('third', 'manual'), retention.set_status('third', 'draft', 'c');
SELECT count(retention.enroll('third', c)) AS enrolled FROM unnest('{0,9}'::text[]) AS c;
CALL retention.run_flows();
SELECT * FROM outbox WHERE node IN ('a', 'b', 'c') ORDER BY customer_id, node;
SET retention.as_of = '2024-06-20 08:00+00';
SELECT retention.approve(ARRAY(SELECT message_id FROM retention.message WHERE state = 'held')) AS approved;
SELECT customer_id, subject FROM retention.claim_messages('email');

-- Triggers.
SELECT go_live(flow('on_' || replace(t ->> 'type', '_', '') || coalesce('_' || (t ->> 'change'), ''), t, '{"reentry": "always"}', '{"id": "wait", "type": "delay", "for": "100 days"}'))
FROM unnest(ARRAY['{"type": "segment", "segment": "spenders"}', '{"type": "segment", "segment": "spenders", "change": "left"}', '{"type": "rfm_group", "to": ["Champions", "Loyal"]}',
                  '{"type": "order"}', '{"type": "refund"}', '{"type": "date", "column": "last_order_at", "offset": "7 days", "at": "09:00"}',
                  '{"type": "schedule", "at": "12:00", "weekdays": ["monday"], "condition": "historic_number_of_orders > 6"}']::jsonb[]) AS t;
INSERT INTO orders VALUES (100, 1, '2024-06-20 09:00+00', 900), (101, 1, '2024-06-20 09:10+00', 1), (102, 77, '2024-06-20 09:20+00', 3);
SET retention.as_of = '2024-06-20 10:00+00';
CALL retention.process_changes();
CALL retention.run_flows();
SELECT flow, customer_id, event FROM retention.flow_enrollment WHERE flow LIKE 'on%' ORDER BY 1, 2;
DELETE FROM orders WHERE order_id = 100;
SET retention.as_of = '2024-06-24 12:00+00';
CALL retention.process_changes();
CALL retention.run_flows();
SELECT flow, customer_id, event FROM retention.flow_enrollment WHERE flow LIKE 'on%' AND entered_at = retention.now() ORDER BY 1, 2;
SET retention.as_of = '2024-06-27 10:00+00';
CALL retention.run_flows();
SELECT flow, customer_id, event FROM retention.flow_enrollment WHERE flow LIKE 'on%' AND entered_at = retention.now() ORDER BY 1, 2;
SELECT retention.backfill_flow('on_segment');
SELECT * FROM failure($$SELECT retention.backfill_flow('on_order')$$);

-- Versions: who is in a flow finishes its version, or is moved where told.
SELECT go_live(flow('fourth', '{"type": "manual"}', '{}', '{"id": "old", "type": "delay", "for": "10 days", "next": "gone"}', '{"id": "gone", "type": "delay", "for": "10 days"}'));
SELECT count(retention.enroll('fourth', c)) AS enrolled FROM unnest('{0,1}'::text[]) AS c;
CALL retention.run_flows();
SELECT retention.create_flow(flow('fourth', '{"type": "manual"}', '{}', '{"id": "new", "type": "delay", "for": "10 days", "next": "x"}', '{"id": "x", "type": "exit", "outcome": "moved"}'));
SELECT retention.describe_flow('fourth');
SELECT retention.publish('fourth');
SELECT retention.enroll('fourth', '2');
CALL retention.run_flows();
SELECT * FROM failure($$SELECT retention.migrate_flow('fourth', 1)$$) UNION ALL SELECT * FROM failure($$SELECT retention.migrate_flow('fourth', 9)$$)
  UNION ALL SELECT * FROM failure($$SELECT retention.migrate_flow('fourth', 1, '[]')$$);
SELECT retention.migrate_flow('fourth', 1, '{"old": "new"}');
SET retention.as_of = '2024-07-10 10:00+00';
CALL retention.run_flows();
SELECT version, customer_id, node, outcome FROM state WHERE flow = 'fourth' ORDER BY customer_id;
SELECT retention.set_status('on_order', 'archived');
SELECT outcome, count(*) FROM state WHERE flow = 'on_order' GROUP BY 1;

-- Coupons: imported ones, each once, until there are none; generated ones.
SELECT retention.add_coupon_pool('three', '{B,A,C}', valid_for => '30 days'), retention.add_coupon_pool('three', '{A,D}'), retention.add_coupon_pool('endless', prefix => 'TEA-', length => 12);
SELECT * FROM failure($$SELECT retention.add_coupon_pool('endless', '{A}')$$) UNION ALL SELECT * FROM failure($$SELECT retention.add_coupon_pool('three')$$)
  UNION ALL SELECT * FROM failure($$SELECT retention.add_coupon_pool('three', '{"",X}')$$);
SELECT go_live(flow('fifth', '{"type": "manual"}', '{}', '{"id": "code", "type": "coupon", "pool": "three", "next": "send", "else": "other"}',
  '{"id": "other", "type": "coupon", "pool": "endless", "next": "send"}',
  '{"id": "send", "type": "message", "channel": "email", "subject": "{{ coupon.code }}", "body": "{{ coupon.expires_at|default:\"for ever\" }}", "transactional": true}'));
SELECT count(retention.enroll('fifth', i::text)) AS enrolled FROM generate_series(0, 9) i;
CALL retention.run_flows();
SELECT subject ~ '^(A|B|C|D|TEA-[2-9A-HJ-NP-Z]{12})$' AS is_code, body, count(*), count(DISTINCT subject) FROM retention.message WHERE node = 'send' AND state = 'ready' GROUP BY 1, 2 ORDER BY 2;
SELECT go_live(flow('sixth', '{"type": "manual"}', '{}', '{"id": "code", "type": "coupon", "pool": "three"}'));
SELECT retention.enroll('sixth', '1');
CALL retention.run_flows();
SELECT customer_id, node, outcome FROM state WHERE flow = 'sixth';

-- Holdout, attribution, uplift. Newcombe (1998): 56 of 70 against 48 of 80 differ by 0.2, from 0.0524 to 0.3339.
SELECT go_live(flow('seventh', '{"type": "manual"}', '{"holdout": 50}', '{"id": "offer", "type": "message", "channel": "email", "subject": "x", "body": "x", "transactional": true}'));
INSERT INTO retention.contact (customer_id, email) SELECT 'u' || i, format('u%s@example.com', i) FROM generate_series(1, 400) i;
SELECT count(retention.enroll('seventh', 'u' || i)) AS enrolled FROM generate_series(1, 400) i;
CALL retention.run_flows();
SELECT state, reason, count(*) BETWEEN 150 AND 250 AS is_half FROM retention.message WHERE node = 'offer' GROUP BY 1, 2 ORDER BY 1;
SELECT bool_and(is_holdout = (retention.bucket(customer_id, 'seventh') < 5000)) AS by_bucket FROM retention.flow_enrollment WHERE flow = 'seventh';
SELECT retention.ack(ARRAY(SELECT message_id FROM retention.claim_messages('email', 1000))) > 150 AS sent;
WITH arm AS (SELECT customer_id, is_holdout, row_number() OVER (PARTITION BY is_holdout ORDER BY enrollment_id) AS number FROM retention.flow_enrollment WHERE flow = 'seventh'),
gone AS (DELETE FROM retention.enrollment e USING arm a WHERE e.customer_id = a.customer_id AND a.number > CASE WHEN a.is_holdout THEN 80 ELSE 70 END)
INSERT INTO retention.order_event (metric, source_id, kind, customer_id, order_id, occurred_at, amount, recorded_at, ordered_at, net_amount)
  SELECT 'orders', 1, 'order', customer_id, 'o' || customer_id, retention.now() + interval '7 days', 10, retention.now(), retention.now() + interval '7 days', 10 FROM arm WHERE number <= CASE WHEN is_holdout THEN 48 ELSE 56 END;
SELECT flow, treated, holdout, round(treated_rate::numeric, 4) AS treated_rate, round(holdout_rate::numeric, 4) AS holdout_rate, round(uplift::numeric, 4) AS uplift,
       round(uplift_low::numeric, 4) AS low, round(uplift_high::numeric, 4) AS high, round(revenue_uplift::numeric, 2) AS revenue_uplift,
       round(revenue_uplift_low::numeric, 3) AS revenue_low, round(revenue_uplift_high::numeric, 3) AS revenue_high FROM retention.flow_uplift WHERE flow = 'seventh';
SELECT flow, count(*), sum(amount) FROM retention.flow_attribution GROUP BY 1;
SELECT flow, entered, in_flow, outcomes, sent, waiting_messages, skipped FROM retention.flow_performance ORDER BY flow LIMIT 5;
SELECT node, type, waiting, sent, waiting_messages, ghosts, skipped, skipped_by_reason FROM retention.flow_step_performance WHERE flow IN ('first', 'second', 'third') ORDER BY flow, node;

-- A person is forgotten; counts stay.
SELECT retention.forget('1');
SELECT count(*) FROM retention.enrollment WHERE customer_id = '1' OR event::text LIKE '%tea%';
SELECT count(*) FROM retention.message m WHERE customer_id = '1' OR m::text LIKE '%c1@%';
SELECT flow, outcome, count(*) FROM retention.flow_enrollment WHERE customer_id IS NULL GROUP BY 1, 2 ORDER BY 1, 2;

-- A simulation leaves nothing behind.
CREATE TABLE before AS SELECT (SELECT count(*) FROM retention.message) AS messages, (SELECT count(*) FROM retention.enrollment) AS enrollments, (SELECT md5(string_agg(c::text, '' ORDER BY customer_id)) FROM retention.customer c) AS customers;
SELECT retention.create_flow(flow('eighth', '{"type": "order"}', '{"exit": "last_order_at > entered_at", "reentry": "always"}', '{"id": "thanks", "type": "message", "channel": "email", "subject": "x", "body": "{{ event.amount }}", "next": "wait"}',
  '{"id": "wait", "type": "delay", "for": "6 days", "next": "again"}', '{"id": "again", "type": "message", "channel": "email", "subject": "x", "body": "x"}'));
SELECT part, day, node, detail, customer_id, CASE part WHEN 'timeline' THEN NULL ELSE number END AS number FROM retention.simulate_flow('eighth', '2024-05-01', '2024-06-01', timelines => 2);
SELECT b.messages = (SELECT count(*) FROM retention.message) AND b.enrollments = (SELECT count(*) FROM retention.enrollment)
   AND b.customers = (SELECT md5(string_agg(c::text, '' ORDER BY customer_id)) FROM retention.customer c) AS unchanged, retention.now() FROM before b;
SELECT * FROM failure($$SELECT retention.simulate_flow('eighth', '2024-05-01', '2024-04-01')$$) UNION ALL SELECT * FROM failure($$SELECT retention.simulate_flow('eighth', '2024-05-01', '2024-06-01', '0')$$);
SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA flows_test CASCADE;
