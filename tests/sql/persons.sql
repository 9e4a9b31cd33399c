-- Persons: one who is forgotten is in no table; two keys that are merged are one person, and nothing is news.
\set ECHO none
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION IF NOT EXISTS retention;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-03 10:00+00';
CREATE TABLE orders (order_id text PRIMARY KEY, customer_id text, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT 'o' || i, 'c' || i % 20, '2024-05-01Z'::timestamptz - i * interval '1 day', 5 + i % 20 FROM generate_series(1, 200) AS i;
SELECT FROM retention.add_source('orders', order_id => 'order_id', events => true);
SELECT FROM retention.track('orders');
CREATE PROCEDURE work() LANGUAGE plpgsql SET client_min_messages = error AS $$ BEGIN CALL retention.process_changes(retention.now()); CALL retention.refresh(as_of => retention.now()); END $$;
CALL work();
CREATE FUNCTION go_live(document jsonb) RETURNS void LANGUAGE sql AS $$
  SELECT FROM retention.create_flow(document);
  SELECT FROM retention.publish(document ->> 'name');
  SELECT FROM retention.set_status(document ->> 'name', 'live');
$$;
-- Every row of every table that still shows one of these.
CREATE FUNCTION traces(VARIADIC texts text[]) RETURNS TABLE (relation text, number bigint) LANGUAGE plpgsql AS $$
BEGIN
  FOR relation IN SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind IN ('r', 'p', 'm') ORDER BY 1 LOOP
    EXECUTE format('SELECT count(*) FROM retention.%I AS t WHERE EXISTS (SELECT FROM unnest($1) AS x WHERE strpos(t::text, x) > 0)', relation) INTO number USING texts;
    CONTINUE WHEN number = 0;
    RETURN NEXT;
  END LOOP;
END
$$;
SET client_min_messages = notice;
\set ECHO queries

-- No table that knows customers is left out.
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
  WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind = 'r' AND a.attname IN ('customer_id', 'customer_ids', 'holder') AND c.relname <> 'source'
    AND c.relname NOT IN (SELECT r.relation FROM retention._person_rooms() AS r);

-- Alice is everywhere.
INSERT INTO retention.contact (customer_id, email, email_consent, phone, sms_consent, country, properties)
  VALUES ('alice-1', 'Alice@secret.example', true, '600 100 200', true, 'PL', '{"first_name": "Alicja", "city": "Secretville"}'), ('bob-1', 'bob@example.com', true, NULL, NULL, NULL, '{}');
SELECT retention.add_coupon_pool('pool', '{A1,A2}');
SELECT go_live('{"name": "breaks", "trigger": {"type": "order"}, "nodes": [{"id": "s", "type": "split", "branches": [{"when": "email::int > 3", "next": "m"}]}, {"id": "m", "type": "message", "channel": "email", "subject": "hi", "body": "x"}]}'),
       go_live('{"name": "greets", "trigger": {"type": "order"}, "nodes": [{"id": "c", "type": "coupon", "pool": "pool", "next": "m"}, {"id": "m", "type": "message", "channel": "email", "subject": "hi {{ person.email }}", "body": "{{ coupon.code }} {{ person.first_name }}", "next": "w"}, {"id": "w", "type": "wait_for", "condition": "false", "timeout": "9 days"}]}'),
       go_live('{"name": "texts", "trigger": {"type": "manual"}, "nodes": [{"id": "m", "type": "message", "channel": "sms", "body": "{{ person.city }}"}]}'),
       go_live('{"name": "broken", "trigger": {"type": "manual"}, "entry_filter": "1 / (length(email) - 20) > 0", "nodes": [{"id": "e", "type": "exit"}]}');
CREATE VIEW few AS SELECT customer_id FROM retention.profile WHERE historic_number_of_orders < 3;
SELECT retention.add_segment('few');
SET retention.as_of = '2024-06-04 10:00+00';
INSERT INTO orders VALUES ('x1', 'alice-1', '2023-05-01Z', 987.65), ('x2', 'alice-1', '2024-06-04 09:00Z', 987.65), ('x3', 'bob-1', '2024-06-04 09:00Z', 12);
CALL work();
SELECT retention.enroll('texts', 'alice-1', '{"note": "Secretville"}');
CALL retention.run_flows();
SELECT retention.enroll('broken', 'alice-1'), retention.enroll('texts', 'alice-1');
SELECT retention.ack(array_agg(message_id)) FROM retention.claim_messages('email', 1);
SELECT retention.fail(array_agg(message_id), 'no such user alice@secret.example') FROM retention.claim_messages('email');
SELECT retention.suppress('email', 'ALICE@secret.example', 'bounced'), retention.suppress('sms', '+48 600100200', 'STOP'), retention.suppress('sms', '+48 600100201');
INSERT INTO retention.suppression VALUES ('sms', '600-100-200', 'by hand', now());
UPDATE retention.segment SET error = 'invalid input syntax for type integer: "alice@secret.example"';
UPDATE retention.flow SET error = 'division by zero' WHERE flow = 'broken';
UPDATE orders SET amount = 987.65 WHERE order_id = 'x1';
SELECT * FROM traces('alice', 'Alice', 'Alicja', 'Secret', '987.65', '600100200');

-- While the shop has her orders, what they say stays.
BEGIN;
SELECT * FROM retention.forget('alice-1');
SELECT * FROM traces('alice', 'Alice', 'Alicja', 'Secret', '987.65', '600100200');
ROLLBACK;
-- They are erased, and nothing stays: not even what has not been processed yet.
DELETE FROM orders WHERE customer_id = 'alice-1';
BEGIN;
SELECT * FROM retention.forget('alice-1', keep => 'nothing');
SELECT * FROM traces('alice', 'Alice', 'Alicja', 'Secret', '987.65', '600100200');
SELECT count(*) AS others FROM retention.suppression;
CALL work();
SELECT * FROM traces('alice', 'Alice', 'Alicja', 'Secret', '987.65', '600100200');
ROLLBACK;
CALL work();
SELECT * FROM retention.forget('alice-1');
SELECT * FROM traces('alice', 'Alice', 'Alicja', 'Secret', '987.65', '600100200');
SELECT * FROM retention.forget('alice-1');
SELECT * FROM retention.forget('nobody');
SELECT retention.forget('bob-1', keep => 'all');
SELECT channel, left(address, 5) AS kind, length(address) AS length, reason, count(*) FROM retention.suppression GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
-- Bob is as he was, the code that was shown is nobody else's, and counts add up.
SELECT customer_id, state FROM retention.message WHERE customer_id IS NOT NULL;
SELECT * FROM retention.coupon ORDER BY code;
SELECT flow, error FROM retention.flow WHERE error IS NOT NULL;
SELECT segment, error FROM retention.segment WHERE error IS NOT NULL;
SELECT outcome, customer_id IS NULL AS nameless, count(*) FROM retention.enrollment GROUP BY 1, 2 ORDER BY 1, 2;
-- Whoever comes with one of these addresses gets nothing.
INSERT INTO retention.contact (customer_id, email, email_consent, phone, sms_consent, country) VALUES
  ('new-1', ' ALICE@Secret.example', true, '+48 600-100-200', true, NULL), ('new-2', NULL, NULL, '600100200', true, 'PL'), ('new-3', NULL, NULL, '600100202', true, 'PL');
SELECT retention.enroll('texts', k), retention.enroll('broken', k) FROM unnest('{new-1,new-2,new-3}'::text[]) AS k;
CALL retention.run_flows();
SELECT customer_id, channel, state, reason FROM retention.message WHERE customer_id LIKE 'new%' ORDER BY 1, 2;
-- HMAC-SHA256, test case 2 of RFC 4231.
SELECT retention._keyed_hash('Jefe', 'what do ya want for nothing?');

-- Two keys, one person. Each of four persons has an old key, g, and a new one, n: their orders move before or after, with process_changes between, or not.
\set ECHO none
SET client_min_messages = warning;
SELECT FROM retention.flow f, retention.set_status(f.flow, 'archived');
SET retention.as_of = '2024-07-01 10:00+00';
CREATE VIEW big AS SELECT customer_id FROM retention.profile WHERE total_clv >= 0 AND historic_clv > 500;
SELECT FROM retention.add_segment('big');
SELECT go_live(jsonb_build_object('name', f.name, 'trigger', f.trigger::jsonb, 'reentry', f.reentry, 'nodes', '[{"id": "m", "type": "message", "channel": "email", "subject": "s", "body": "b", "smart_sending": false, "next": "w"}, {"id": "w", "type": "delay", "for": "90 days"}]'::jsonb)
  || f.more::jsonb)
FROM (VALUES ('big', '{"type": "segment", "segment": "big"}', 'always', '{}'), ('champions', '{"type": "rfm_group", "to": ["Champions"]}', 'always', '{}'), ('once', '{"type": "manual"}', 'never', '{}'), ('many', '{"type": "manual"}', 'always', '{"concurrent": true}')) AS f (name, trigger, reentry, more);
SET client_min_messages = notice;
\set ECHO queries
INSERT INTO retention.contact (customer_id, email, email_consent, phone, sms_consent, country, locale, properties) VALUES
  ('g1', 'old1@example.com', true, '600 100 201', true, 'PL', 'pl', '{"a": 1, "b": 1}'), ('n1', 'new1@example.com', NULL, NULL, NULL, NULL, NULL, '{"b": 2}'),
  ('g2', 'old2@example.com', false, NULL, NULL, NULL, NULL, '{}'), ('n2', 'new2@example.com', true, '+48600100202', false, NULL, 'en', '{}'),
  ('g3', 'One@example.com', true, NULL, NULL, NULL, NULL, '{}'), ('n3', 'one@example.com', NULL, NULL, NULL, NULL, NULL, '{}'),
  ('g4', 'old4@example.com', true, NULL, NULL, NULL, NULL, '{"x": 1}');
INSERT INTO orders SELECT 'o' || k || '-' || i, 'g' || k, '2024-06-30Z'::timestamptz - i * interval '1 day', 400 FROM generate_series(1, 4) AS k, generate_series(1, 4) AS i;
CALL work();
CALL retention.run_flows();
SELECT retention.enroll('once', k), retention.enroll('many', k) FROM unnest('{g1,g2,g3,g4,n1}'::text[]) AS k;
CALL retention.run_flows();
SELECT flow, string_agg(customer_id, ' ' ORDER BY customer_id COLLATE "C") AS customers FROM retention.flow_enrollment WHERE flow IN ('big', 'champions', 'once', 'many') GROUP BY flow ORDER BY flow;
SELECT count(*) AS messages FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow IN ('big', 'champions', 'once', 'many');

SET retention.as_of = '2024-07-02 10:00+00';
-- 1: merged, and moved at once. 2: merged, time passes, moved. 3: moved, then merged. 4: moved, processed, then merged.
UPDATE orders SET customer_id = 'n3' WHERE customer_id = 'g3';
UPDATE orders SET customer_id = 'n4' WHERE customer_id = 'g4';
SELECT * FROM retention.merge_customers('g3', 'n3');
CALL work();
SELECT * FROM retention.merge_customers('g4', 'n4');
SELECT * FROM retention.merge_customers('g1', 'n1');
UPDATE orders SET customer_id = 'n1' WHERE customer_id = 'g1';
SELECT * FROM retention.merge_customers('g2', 'n2');
CALL work();
CALL retention.run_flows();
SET retention.as_of = '2024-07-03 10:00+00';
CALL work();
CALL retention.run_flows();
UPDATE orders SET customer_id = 'n2' WHERE customer_id = 'g2';
CALL work();
CALL retention.run_flows();
-- The old keys have no more than what their orders did when they went, and nobody has entered again, or was written to again.
SELECT * FROM traces('g1', 'g2', 'g3', 'g4') WHERE relation <> 'order_event';
SELECT flow, string_agg(customer_id, ' ' ORDER BY customer_id COLLATE "C") AS customers FROM retention.flow_enrollment WHERE flow IN ('big', 'champions', 'once', 'many') GROUP BY flow ORDER BY flow;
SELECT count(*) AS messages FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow IN ('big', 'champions', 'once', 'many');
SELECT flow, customer_id, outcome FROM retention.flow_enrollment WHERE outcome = 'merged';
SELECT customer_id, email, email_consent, phone, sms_consent, country, locale, properties FROM retention.contact WHERE customer_id LIKE 'n_' ORDER BY 1;
SELECT customer_id, orders FROM retention.customer WHERE customer_id ~ '^[gn]\d' ORDER BY 1;
-- What still comes under the old key is the new one's: its rule of reentry, its smart sending.
SELECT retention.enroll('once', 'g1'), retention.enroll('many', 'g1');
CALL retention.run_flows();
SELECT flow, customer_id, count(*) FROM retention.flow_enrollment WHERE customer_id ~ '1$' AND flow IN ('once', 'many') GROUP BY 1, 2 ORDER BY 1, 2;
-- Again, on, back, and what cannot be.
SELECT * FROM retention.merge_customers('g1', 'n1');
SELECT * FROM retention.merge_customers('n1', 'z1');
SELECT customer_id, merged_into FROM retention.merged_customer ORDER BY 1;
SELECT relation FROM retention.merge_customers('z1', 'n1');
SELECT customer_id, merged_into FROM retention.merged_customer ORDER BY 1;
SELECT retention.merge_customers('stranger', 'n1');
SELECT retention.merge_customers('n1', 'n1');
SELECT retention.merge_customers('n1', NULL);
-- Who was several is forgotten as one.
DELETE FROM orders WHERE customer_id = 'n1';
CALL work();
SELECT * FROM retention.forget('n1');
SELECT * FROM traces('g1', 'n1', 'z1', 'old1@', 'new1@');

SET client_min_messages = warning;
DROP EXTENSION retention CASCADE;
DROP TABLE orders CASCADE;
DROP PROCEDURE work;
DROP FUNCTION go_live, traces;
