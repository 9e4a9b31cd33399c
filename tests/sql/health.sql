-- What is live can work, and what is wrong can be seen.
SET client_min_messages = error;
SET TimeZone = 'UTC';
SET retention.progress = off;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA health_test;
SET search_path = health_test;
SET retention.as_of = '2024-06-01 12:00+00';
CREATE FUNCTION failure(command text) RETURNS TABLE (message text, hint text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  RETURN NEXT;
END $$;
CREATE FUNCTION draft(name text, more jsonb, VARIADIC nodes jsonb[]) RETURNS text LANGUAGE sql AS $$
  SELECT retention.create_flow(
    jsonb_build_object('name', name, 'trigger', '{"type": "manual"}'::jsonb, 'nodes', to_jsonb(nodes))
    || more)
$$;
CREATE FUNCTION mail(id text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'type', 'message', 'channel', 'email', 'subject', 'S',
                            'body', 'B', 'smart_sending', false) || more
$$;

-- A trigger of orders or refunds needs a source that records them.
CREATE TABLE orders (order_id integer, customer_id text, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
CREATE TABLE refunds (LIKE orders INCLUDING ALL);
SELECT draft('order', '{"trigger": {"type": "order"}}', mail('m')),
       draft('refund', '{"trigger": {"type": "refund"}}', mail('m')),
       draft('web', '{"metric": "web", "trigger": {"type": "order"}}', mail('m')) FROM retention.add_metric('web');
SELECT * FROM failure($$SELECT retention.publish('order')$$);
SELECT retention.add_source('orders', order_id => 'order_id', events => false) AS source \gset
SELECT * FROM failure($$SELECT retention.publish('order')$$);
SELECT retention.drop_source(:source);
SELECT retention.add_source('orders', order_id => 'order_id') > 0 AS added;
SELECT retention.publish('order');
SELECT * FROM failure($$SELECT retention.publish('refund')$$);
SELECT retention.add_source('refunds', order_id => 'order_id', kind => 'refund') > 0 AS added;
SELECT retention.publish('refund');
SELECT * FROM failure($$SELECT retention.publish('web')$$);
SELECT retention.add_source('orders', order_id => 'order_id', events => false, metric => 'web') > 0 AS silent,
       retention.add_source('refunds', order_id => 'order_id', metric => 'web') > 0 AS telling;
SELECT retention.publish('web');

-- What failed goes on when it is mended, and nothing is sent twice.
CREATE FUNCTION go_live(name text, more jsonb, VARIADIC nodes jsonb[]) RETURNS void LANGUAGE sql AS $$
  SELECT FROM draft(name, more, VARIADIC nodes);
  SELECT FROM retention.publish(name);
  SELECT FROM retention.set_status(name, 'live');
$$;
CREATE FUNCTION message_of(name text)
RETURNS TABLE (customer_id text, state text, reason text, attempts integer, body text, expires_at timestamptz)
LANGUAGE sql AS $$
  SELECT m.customer_id, m.state, m.reason, m.attempts, m.body, m.expires_at
  FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow = name
  ORDER BY length(m.customer_id), m.customer_id COLLATE "C", m.message_id
$$;
CREATE PROCEDURE enter(name text, keys text) LANGUAGE sql AS $$
  SELECT FROM (SELECT retention.enroll(name, k) FROM unnest(keys::text[]) AS k) AS e;
$$;
CREATE TABLE sent (message_id bigint, idempotency_key text, body text);
CREATE PROCEDURE send(most integer DEFAULT 100) LANGUAGE sql AS $$
  WITH claimed AS (INSERT INTO sent SELECT message_id, idempotency_key, body
                   FROM retention.claim_messages('email', most) RETURNING message_id)
  SELECT retention.ack(array_agg(message_id)) FROM claimed;
$$;
INSERT INTO retention.contact (customer_id, email, email_consent, properties)
  SELECT 'c' || i, format('c%s@example.com', i), true, jsonb_build_object('n', i % 3)
  FROM generate_series(1, 12) AS i;

-- An expression that divides by zero for 3, 6 and 9; 6 enters again before it is mended.
SELECT go_live('divides', '{"reentry": "always"}', mail('first', '{"next": "s"}'),
  '{"id": "s", "type": "split", "branches": [{"when": "12 / (properties ->> ''n'')::integer > 6", "next": "m"}], "else": "m"}',
  mail('m', '{"body": "{{ person.properties.n }}"}'));
CALL enter('divides', '{c1,c3,c6}');
CALL retention.run_flows();
CALL send();
SET retention.as_of = '2024-06-02 12:00+00';
CALL enter('divides', '{c9}');
CALL retention.run_flows();
CALL send();
SELECT customer_id, node, outcome, reason FROM retention.flow_enrollment WHERE flow = 'divides' ORDER BY 1, 2;
UPDATE retention.contact SET properties = '{"n": 4}' WHERE customer_id IN ('c3', 'c6', 'c9');
CALL enter('divides', '{c6}');
CALL retention.run_flows();
SET retention.as_of = '2024-06-03 12:00+00';
SELECT * FROM retention.retry('divides', '2024-06-02');
SELECT customer_id, node, outcome, reason, finished_at, due_at FROM retention.flow_enrollment WHERE flow = 'divides' AND customer_id > 'c2' ORDER BY enrollment_id;
CALL retention.run_flows();
SELECT * FROM retention.retry('divides');
SELECT * FROM retention.retry('divides');
CALL retention.run_flows();
CALL send();
SELECT customer_id, node, outcome, finished_at FROM retention.flow_enrollment WHERE flow = 'divides' AND customer_id > 'c2' ORDER BY enrollment_id;
SELECT customer_id, state, body FROM message_of('divides');

-- The same in a filter of entry: who does not fit does not go on.
SELECT go_live('filters', '{"entry_filter": "12 / (properties ->> ''n'')::integer = 3"}', mail('m'));
UPDATE retention.contact SET properties = '{"n": 0}' WHERE customer_id IN ('c3', 'c6', 'c9');
CALL enter('filters', '{c3,c6,c9,c1}');
CALL retention.run_flows();
UPDATE retention.contact SET properties = '{"n": 4}' WHERE customer_id = 'c3';
UPDATE retention.contact SET properties = '{"n": 3}' WHERE customer_id = 'c6';
SELECT * FROM retention.retry('filters');
CALL retention.run_flows();
SELECT customer_id, outcome, reason FROM retention.flow_enrollment WHERE flow = 'filters' ORDER BY 1;
CALL send();

-- A filter of entry that reads what is gone: nobody enters, and those who are about to are counted.
CREATE TABLE wanted AS SELECT 'c1' AS customer_id;
SELECT go_live('reads', '{"entry_filter": "EXISTS (SELECT FROM health_test.wanted w WHERE w.customer_id = person.customer_id)"}', mail('m'));
ALTER TABLE wanted RENAME TO hidden;
CALL enter('reads', '{c1,c2}');
CALL retention.run_flows();
ALTER TABLE hidden RENAME TO wanted;
SELECT * FROM retention.retry('reads', '2024-06-04');
SELECT * FROM retention.retry('reads');
SELECT * FROM retention.retry('reads');
CALL retention.run_flows();
SELECT customer_id, outcome FROM retention.flow_enrollment WHERE flow = 'reads' ORDER BY 1;
SELECT FROM retention.add_segment('wanted');
SELECT go_live('joins', '{"trigger": {"type": "segment", "segment": "wanted"}, "entry_filter": "EXISTS (SELECT FROM health_test.wanted)"}', mail('m'));
INSERT INTO wanted VALUES ('c2'), ('c3');
SELECT retention._evaluate_segments('refresh', retention.now());
ALTER TABLE wanted RENAME TO hidden;
CALL retention.run_flows();
SELECT * FROM retention.retry('joins');
SELECT retention.set_status('joins', 'archived'), retention.set_status('reads', 'archived'), retention.drop_segment('wanted');
DROP TABLE hidden;

-- A template that misses a value, until it is given another one.
SELECT go_live('misses', '{}', mail('m', '{"body": "Dear {{ person.properties.name }}"}'));
CALL enter('misses', '{c1,c2,c3}');
UPDATE retention.contact SET properties = '{"name": "Ann"}' WHERE customer_id = 'c1';
CALL retention.run_flows();
SELECT * FROM message_of('misses');
SELECT * FROM retention.retry('misses');
SELECT draft('misses', '{}', mail('m', '{"body": "Dear {{ person.properties.name|default:''you'' }}"}')), retention.publish('misses');
-- One of them is to have nothing of the sort any more.
SELECT count(*) > 0 AS forgotten FROM retention.forget('c3');
SET retention.as_of = '2024-06-05 12:00+00';
SELECT * FROM retention.retry('misses', '2024-06-04');
SELECT * FROM retention.retry('misses');
SELECT * FROM message_of('misses');
SELECT * FROM retention.retry('misses');
CALL send();

-- Messages that are dead: 550 of the sender, that was mended.
SELECT go_live('dies', '{}', mail('m', '{"lateness": "3 hours"}'));
CALL enter('dies', '{c1,c2,c4}');
CALL retention.run_flows();
CALL send(1);
SELECT retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email')), '550', permanent => true);
SET retention.as_of = '2024-06-06 12:00+00';
SELECT * FROM retention.retry('dies', '2024-06-06 11:00+00');
SELECT * FROM retention.retry('dies', '2024-06-05 11:00+00');
SELECT * FROM message_of('dies');
SELECT retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email')), '550', permanent => true);
SET retention.as_of = '2024-06-09 12:00+00';
SELECT * FROM retention.retry('dies');
SELECT * FROM message_of('dies');
CALL send();

-- Codes that went back meanwhile, and to others: new ones, as long as there are any.
SELECT retention.add_coupon_pool('pool', '{A,B,C,D,E}');
SELECT go_live('codes', '{}', '{"id": "c", "type": "coupon", "pool": "pool", "next": "d"}',
  '{"id": "d", "type": "delay", "for": "1 hour", "next": "s"}',
  '{"id": "s", "type": "split", "branches": [{"when": "12 / (properties ->> ''n'')::integer > 6", "next": "m"}], "else": "m"}',
  mail('m', '{"body": "{{ coupon.code }}"}'));
UPDATE retention.contact SET properties = '{"n": 0}' WHERE customer_id IN ('c5', 'c6', 'c7');
UPDATE retention.contact SET properties = '{"n": 1}' WHERE customer_id NOT IN ('c5', 'c6', 'c7');
CALL enter('codes', '{c1,c5,c6,c7}');
CALL retention.run_flows();
SET retention.as_of = '2024-06-09 14:00+00';
CALL retention.run_flows();
SELECT retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email')), '550', permanent => true);
SELECT customer_id, outcome FROM retention.flow_enrollment WHERE flow = 'codes' ORDER BY 1;
SELECT count(*) AS free FROM retention.coupon WHERE issued_at IS NULL;
CALL enter('codes', '{c2,c4}');
CALL retention.run_flows();
SET retention.as_of = '2024-06-09 16:00+00';
CALL retention.run_flows();
CALL send();
UPDATE retention.contact SET properties = '{"n": 1}';
-- Three codes are left, for four.
SELECT * FROM retention.retry('codes');
SELECT customer_id, outcome FROM retention.flow_enrollment WHERE flow = 'codes' ORDER BY 1;
SELECT customer_id, state, attempts, body FROM message_of('codes');
SELECT retention.add_coupon_pool('pool', '{F}');
SELECT * FROM retention.retry('codes');
CALL retention.run_flows();
SELECT customer_id, state, attempts, body FROM message_of('codes');
CALL send();
SELECT customer_id, code FROM retention.coupon ORDER BY code;

-- Whatever happened: no message and no code went to a sender twice, and each sent code is its customer's own.
SELECT count(*) AS sent, count(DISTINCT idempotency_key) AS keys FROM sent;
SELECT m.state, count(*) FROM sent s JOIN retention.message m USING (message_id) GROUP BY 1;
SELECT count(*) AS codes, count(DISTINCT s.body) AS different, count(k.code) AS own
FROM sent s JOIN retention.message m USING (message_id) JOIN retention.flow f USING (flow_id)
LEFT JOIN retention.coupon k ON (k.enrollment_id, k.code) = (m.enrollment_id, s.body) WHERE f.flow = 'codes';
SELECT retention.set_status('codes', 'archived');
SELECT * FROM failure($$SELECT retention.retry('codes')$$) UNION ALL SELECT * FROM failure($$SELECT retention.retry('none')$$);

-- What is wrong is in one list, each trouble by itself; a shop where all is well has none.
DROP EXTENSION retention CASCADE;
CREATE EXTENSION retention;
DROP TABLE orders, refunds;
SET retention.as_of = '2024-06-01 12:00+00';
CREATE TABLE orders (order_id integer, customer_id text, ordered_at timestamptz, amount numeric);
CREATE INDEX orders_customer ON orders (customer_id);
INSERT INTO orders SELECT i, 'c' || round(60 * power((i % 97) / 97.0, 2)), timestamptz '2024-05-31' - i * interval '17 hours', 10 + i % 13
FROM generate_series(1, 600) AS i;
SELECT retention.add_source('orders', order_id => 'order_id') AS source \gset
SELECT retention.track('orders');
CALL retention.refresh();
CREATE TABLE helper (customer_id text, n integer);
CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE historic_clv / (SELECT coalesce(max(n), 1) FROM helper) > 100;
SELECT retention.add_segment('spenders'), retention.add_consumer('crm');
SELECT count(*) >= 0 AS read FROM retention.read_segment_changes('crm');
INSERT INTO retention.contact (customer_id, email, email_consent) SELECT 'c' || i, format('c%s@example.com', i), true FROM generate_series(1, 12) AS i;
SELECT retention.add_coupon_pool('pool', ARRAY(SELECT 'C' || i FROM generate_series(1, 400) AS i)), retention.add_coupon_pool('other', '{}');
SELECT go_live('coupons', '{}', '{"id": "c", "type": "coupon", "pool": "pool", "next": "m"}', mail('m', '{"body": "{{ coupon.code }}"}')),
       go_live('bought', '{"trigger": {"type": "order"}}', mail('m', '{"body": "{{ event.amount }} {{ person.locale }}"}')),
       go_live('broken', '{}', '{"id": "s", "type": "split", "branches": [{"when": "EXISTS (SELECT FROM health_test.helper h WHERE 1 / h.n > 0 AND h.customer_id = person.customer_id)", "next": "m"}], "else": "d"}',
               mail('m', '{"next": "d"}'), '{"id": "d", "type": "delay", "for": "1 day"}');
SELECT * FROM retention.health();
CREATE FUNCTION work(name text, keys text[], later interval DEFAULT '0') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM retention.enroll(name, k) FROM unnest(keys) AS k WHERE name <> '';
  PERFORM retention.run_flows_once();
  PERFORM set_config('retention.as_of', (retention.now() + later)::text, true);
END $$;
-- Makes a trouble, looks, and takes it back.
CREATE FUNCTION finds(trouble text) RETURNS SETOF retention.finding LANGUAGE plpgsql AS $$
DECLARE
  found retention.finding[];
BEGIN
  BEGIN
    EXECUTE trouble;
    found := ARRAY(SELECT h::retention.finding FROM retention.health() AS h);
    RAISE EXCEPTION USING ERRCODE = 'P9999';
  EXCEPTION WHEN SQLSTATE 'P9999' THEN NULL;
  END;
  RETURN QUERY SELECT * FROM unnest(found);
END $$;
CREATE TABLE trouble (number integer GENERATED ALWAYS AS IDENTITY, command text);
INSERT INTO trouble (command) VALUES
  ($$SELECT retention.add_metric('new')$$),
  ($$SELECT set_config('retention.as_of', '2024-06-03 12:01+00', true)$$),
  ($$UPDATE retention.population SET started_at = started_at - interval '49 hours'$$),
  ($$UPDATE retention.published_model SET purchase.converged = false$$),
  ($$UPDATE retention.published_model SET spend.converged = false, spend.n = 0$$),
  ($$DELETE FROM retention.published_model$$),
  ($$INSERT INTO orders VALUES (0, 'c1', '2024-05-31', 'NaN'), (-1, 'c2', '2024-05-31', 'NaN'); CALL retention.refresh()$$),
  ($$UPDATE retention.population SET stale = true$$),
  ($$INSERT INTO retention.change_log SELECT NULL, '{c1,c2}', now() - i * interval '10 minutes' FROM generate_series(1, 3) AS i$$),
  ($$INSERT INTO retention.change_log VALUES (NULL, '{c1,c2}', now() - interval '1 hour', retention.now() + interval '1 minute')$$),
  ($$INSERT INTO retention.changed_customers VALUES ('{c1,c2,c3}', now() - interval '16 minutes'), ('{c4}', now())$$),
  ($$SELECT work('coupons', '{c1,c2}', '61 minutes')$$),
  ($$SELECT work('coupons', '{c1,c2}', '59 minutes')$$),
  ($$SELECT work('coupons', '{c1,c2,c3}'), retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email', 2)), '550', true)$$),
  ($$SELECT work('coupons', '{c1}'), retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email')), '450')$$),
  ($$SELECT work('coupons', '{c1,c2,c3}'), retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email', 2)), '550', true); SELECT retention.set_status('coupons', 'archived')$$),
  ($$SELECT work('coupons', '{c1,c2,c3}'), retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email', 2)), '550', true); SELECT FROM retention.forget('c1')$$),
  ($$SELECT work('bought', '{c1,c2}')$$),
  ($$INSERT INTO helper SELECT 'c' || i, i % 2 FROM generate_series(1, 4) AS i; SELECT work('broken', '{c1,c2,c3,c4,c5}')$$),
  ($$DROP TABLE helper CASCADE; SELECT work('broken', '{c1,c2}')$$),
  ($$DROP TABLE helper CASCADE; CALL retention.process_changes()$$),
  ($$SELECT work('broken', '{c1}', '25 hours')$$),
  ($$UPDATE retention.coupon SET issued_at = now() WHERE code > 'C1'; UPDATE retention.coupon SET issued_at = NULL WHERE code LIKE 'C2_'$$),
  ($$UPDATE retention.coupon SET issued_at = now() WHERE code NOT LIKE 'C2_' AND code NOT LIKE 'C3_'$$),
  ($$DELETE FROM retention.coupon WHERE code NOT LIKE 'C2_'$$),
  ($$DELETE FROM retention.coupon WHERE code NOT LIKE 'C2_' OR code = 'C20'$$),
  ($$UPDATE retention.coupon SET issued_at = now()$$),
  ($$UPDATE retention.coupon SET issued_at = now(); SELECT retention.set_status('coupons', 'paused')$$),
  ($$UPDATE retention.flow_home SET here = 'elsewhere'; SELECT set_config('retention.as_of', '2024-06-02 12:01+00', true)$$),
  ($$SELECT work('coupons', '{c1}', '2 hours'); UPDATE retention.flow_home SET here = 'elsewhere'$$),
  ($$DROP TABLE orders CASCADE$$),
  ($$UPDATE retention.source SET events_from = NULL$$),
  ($$DROP INDEX orders_customer$$),
  ($$UPDATE retention.source SET is_indexed = false$$),
  ($$UPDATE retention.segment_consumer SET read_at = now() - interval '8 days'$$),
  ($$UPDATE retention.segment_consumer SET read_at = NULL, position = 0; UPDATE retention.segment_change SET changed_at = now() - interval '8 days' WHERE change_id <= 2$$);
SELECT t.number, f.severity, f.what, f.how_often, f.detail FROM trouble t LEFT JOIN LATERAL finds(t.command) AS f ON true ORDER BY t.number, f.what COLLATE "C";
-- All that there is, the worst first, also for whoever only reads.
SELECT count(*) AS statements FROM (SELECT number, what_to_do FROM trouble, finds(command)) AS f WHERE what_to_do IS NULL;
INSERT INTO retention.change_log SELECT NULL, '{c1}', now() - interval '1 hour';
SELECT retention.add_metric('new'), work('coupons', '{c1}'), retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email')), '450');
CREATE ROLE health_test_analyst;
SELECT retention.grant_access('health_test_analyst', 'analyst');
SET ROLE health_test_analyst;
SELECT severity, what, how_often, detail, what_to_do FROM retention.health();
RESET ROLE;
-- Who sees no addresses sees none in what failed either.
SELECT work('bought', '{c2}'), work('coupons', '{c3,c4,c5}');
SELECT count(retention.fail(ARRAY[c.message_id], said)) AS failed FROM retention.claim_messages('email') AS c,
  LATERAL (SELECT format('550 <%s>: no such user, ask +48 600-100 200 or https://mx.example.com/why?u=%s (device %s)', c.address, c.customer_id, repeat('aB3', 12)) AS said) AS s;
UPDATE retention.segment SET error = 'invalid input syntax for type integer: "c1@example.com"', error_code = '22P02', error_at = retention.now();
CREATE VIEW said AS
  SELECT 'problem' AS place, message AS text FROM retention.problem UNION SELECT 'health', detail FROM retention.health() WHERE severity <> 'error' OR what LIKE 'segment%';
GRANT USAGE ON SCHEMA health_test TO health_test_analyst;
GRANT SELECT ON said TO health_test_analyst;
SELECT place, text FROM said WHERE text ~ '@' ORDER BY 1, 2;
SET ROLE health_test_analyst;
SELECT DISTINCT place, text FROM said WHERE text ~ '\(\.\.\.\)|@' ORDER BY 1, 2;
RESET ROLE;
SELECT e.code, retention._shown_error(e.error, e.code, 'health_test_analyst') AS shown FROM (VALUES
  ('22P02', 'invalid input syntax for type integer: "N6"'), ('22003', 'value "99999999999" is out of range for type integer'),
  ('22007', 'time zone "N6" not recognized'), (NULL, 'GET /u?m=ann%40example.com failed: "Ann"'), (NULL, 'RCPT ann=40example.com; ann&#64;example.com, ann&#x40;example.com'),
  ('42P01', 'relation "shop.consent" does not exist'), (NULL, 'there is no variable "name"')) AS e (code, error);
SET ROLE health_test_analyst;
SELECT count(*) FROM retention.enrollment WHERE reason IS NOT NULL;
SELECT count(*) FROM retention.segment WHERE error IS NOT NULL;
RESET ROLE;
DROP VIEW said;

-- Who waits is counted, and tried at once by retry; who only waits for a delay to end is not.
CREATE TABLE stock AS SELECT 1 AS left_over;
SELECT go_live('waits', '{}', '{"id": "s", "type": "split", "branches": [{"when": "exists (SELECT FROM health_test.stock)", "next": "m"}], "else": "m"}',
  mail('m', '{"next": "d"}'), '{"id": "d", "type": "delay", "for": "3 days"}'), go_live('barred', '{"entry_filter": "exists (SELECT FROM health_test.stock)"}', mail('m'));
SELECT retention.enroll('waits', 'w1');
CALL retention.run_flows();
ALTER TABLE stock RENAME TO away;
SELECT retention.enroll('waits', k), retention.enroll('barred', k) FROM unnest('{w2,w3,w4}'::text[]) AS k;
CALL retention.run_flows();
CREATE FUNCTION waits() RETURNS TABLE (severity text, what text, how_often bigint, what_to_do text) LANGUAGE sql AS $$
  SELECT severity, what, how_often, what_to_do FROM retention.health() WHERE what ~ 'waits|barred' AND what !~ 'overdue|sender'
$$;
SELECT * FROM waits();
SELECT * FROM retention.retry('waits', retention.now() + interval '1 minute');
SELECT * FROM retention.retry('waits');
CALL retention.run_flows();
SELECT * FROM waits();
ALTER TABLE away RENAME TO stock;
SELECT * FROM retention.retry('waits'), retention.retry('barred') AS b (e, m, w);
CALL retention.run_flows();
SELECT count(*) AS findings FROM waits();
SELECT f.flow, f.customer_id, f.node, f.due_at - retention.now() AS waits_for FROM retention.flow_enrollment f WHERE flow = 'waits' ORDER BY 2;
SELECT count(*) AS entered FROM retention.flow_enrollment WHERE flow = 'barred';
-- An expression that a new version mends: the way that health tells is one that works.
SELECT go_live('mends', '{}', '{"id": "s", "type": "split", "branches": [{"when": "1 / (length(customer_id) - 2) > 0", "next": "m"}], "else": "m"}', mail('m'));
SELECT retention.enroll('mends', 'w1');
CALL retention.run_flows();
SELECT draft('mends', '{}', '{"id": "s", "type": "split", "branches": [{"when": "true", "next": "m"}], "else": "m"}', mail('m')), retention.publish('mends');
SELECT what, how_often, what_to_do FROM retention.health() WHERE what ~ 'mends';
SELECT * FROM retention.retry('mends');
CALL retention.run_flows();
SELECT version, node, outcome FROM retention.flow_enrollment WHERE flow = 'mends';
BEGIN; SELECT * FROM retention.retry('mends'); SELECT retention.migrate_flow('mends', 1); COMMIT;
CALL retention.run_flows();
SELECT version, node, outcome FROM retention.flow_enrollment WHERE flow = 'mends';
SELECT retention.set_status(f, 'archived') FROM unnest('{waits,barred,mends}'::text[]) AS f;

-- Who goes live learns how many can be written to: those who are, when all enter.
SELECT retention.suppress('email', 'S3@example.com', 'bounced');
INSERT INTO retention.contact (customer_id, email, phone, email_consent, sms_consent)
  SELECT 's' || i, CASE WHEN i % 4 > 0 THEN 's' || i || '@example.com' END, CASE WHEN i % 5 = 0 THEN '+4860010010' || i % 10 END, i % 3 < 2, i % 2 = 0
  FROM generate_series(1, 40) AS i;
SELECT draft('reach', '{}', mail('e', '{"next": "t"}'), mail('t', '{"transactional": true, "next": "s"}'),
  '{"id": "s", "type": "message", "channel": "sms", "body": "b", "smart_sending": false, "one_per_address": false, "next": "d"}',
  '{"id": "d", "type": "message", "channel": "push", "body": "b", "status": "draft", "next": "w"}',
  '{"id": "w", "type": "message", "channel": "webhook", "url": "https://example.com", "body": "b"}'), retention.publish('reach');
CREATE VIEW reached AS
  SELECT m.node, count(*) FILTER (WHERE m.reason IS NULL) AS reachable, string_agg(DISTINCT m.reason, ', ') AS others
  FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow = 'reach' GROUP BY m.node ORDER BY m.node;
SET client_min_messages = notice;
SELECT retention.set_status('reach', 'live');
SET retention.progress = on;
SELECT retention.set_status('reach', 'manual');
SELECT retention.set_status('reach', 'live');
SELECT count(retention.enroll('reach', c.customer_id)) AS contacts FROM retention.contact AS c;
CALL retention.run_flows();
SELECT * FROM reached;
SELECT retention.set_status('reach', 'paused'), retention.set_status('coupons', 'live', 'm');
SET client_min_messages = warning;
SELECT retention.set_status('reach', 'live');
-- A relation of the shop's own is read as its owner, and what fails there stops nothing.
CREATE TABLE people AS SELECT customer_id, email, email_consent FROM retention.contact WHERE customer_id > 's2';
INSERT INTO people SELECT * FROM people WHERE customer_id = 's5';
CREATE ROLE health_test_owner;
GRANT USAGE ON SCHEMA health_test TO health_test_owner;
ALTER TABLE people OWNER TO health_test_owner;
SELECT reason, count(*) FROM retention.reachable('email') GROUP BY 1 ORDER BY 1;
SELECT retention.use_contacts('people');
SELECT * FROM retention.reachable('sms') ORDER BY 1;
SELECT reason, count(*) FROM retention.reachable('email') GROUP BY 1 ORDER BY 1;
SELECT * FROM failure($$SELECT * FROM retention.reachable('webhook')$$);
SELECT * FROM failure($$SELECT * FROM retention.reachable(NULL)$$);
SET client_min_messages = notice;
SELECT retention.set_status('reach', 'live');
REVOKE USAGE ON SCHEMA health_test FROM health_test_owner;
SELECT retention.set_status('reach', 'manual');
SELECT status FROM retention.flow WHERE flow = 'reach';
SET client_min_messages = error;
DROP TABLE people;
DROP ROLE health_test_owner;
SET client_min_messages = warning;
DROP OWNED BY health_test_analyst;
DROP ROLE health_test_analyst;
DROP EXTENSION retention CASCADE;
