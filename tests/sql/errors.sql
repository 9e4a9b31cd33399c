-- What cannot be is said in one line, with the value and the way out, whoever's fault it is.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA errors_test;
SET search_path = errors_test;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';
SET retention.as_of = '2024-06-01 12:00+00';
SET retention.progress = off;
\i tests/include/failure.sql
CREATE FUNCTION go_live(name text, VARIADIC nodes jsonb[]) RETURNS void LANGUAGE sql AS $$
  SELECT FROM retention.create_flow(jsonb_build_object(
    'name', name, 'trigger', '{"type": "manual"}'::jsonb, 'reentry', 'always', 'nodes', to_jsonb(nodes)));
  SELECT FROM retention.publish(name);
  SELECT FROM retention.set_status(name, 'live');
$$;
CREATE TABLE orders (order_id integer, customer_id text, ordered_at timestamptz, amount numeric);
INSERT INTO orders SELECT i, 'c' || i % 10, timestamptz '2024-05-20' - i * interval '5 days', 5 FROM generate_series(1, 40) i;
SELECT retention.add_source('orders', order_id => 'order_id');
CALL retention.refresh();
INSERT INTO retention.contact (customer_id, email, email_consent) VALUES ('c1', 'c1@example.com', true), ('c2', 'c2@example.com', true);
SELECT go_live('f', '{"id": "a", "type": "message", "channel": "email", "subject": "S", "body": "B", "smart_sending": false}');
SELECT retention.enroll('f', 'c1'), retention.enroll('f', 'c2');
CALL retention.tick();
SELECT message_id FROM retention.claim_messages('email');

-- Times: finite, in the calendar, and such as can be.
\pset format unaligned
\pset fieldsep ' | '
SELECT c.command, f.state, f.message, f.hint FROM (VALUES
  (1, $$retention.ack('{1}', ?)$$), (2, $$retention.retry('f', ?)$$), (3, $$retention.customer_at('orders', ?)$$),
  (4, $$retention.backfill_history('orders', ?)$$), (5, $$retention.backfill_history('orders', '2023-06-01', ?)$$),
  (6, $$retention.validate_model('orders', ?)$$), (7, $$retention.validate_model('orders', '2024-01-01', ?)$$),
  (8, $$retention.simulate_flow('f', ?, '2024-05-01')$$), (9, $$retention.simulate_flow('f', '2024-05-01', ?)$$),
  (10, $$retention.run_flows_once(?)$$)) AS c (number, command),
  unnest('{infinity,-infinity,200000-01-01}'::text[]) WITH ORDINALITY AS v (value, turn),
  failure(format('SELECT FROM %s', replace(c.command, '?', format('%L::timestamptz', v.value)))) AS f
  ORDER BY c.number, v.turn;
SELECT f.* FROM (VALUES
  (1, $$SELECT retention.ack('{1}', NULL)$$), (2, $$SELECT retention.ack('{1}', '2024-06-02 12:01+00')$$),
  (3, $$SELECT retention.ack('{1}', '2024-05-31 11:59+00')$$), (4, $$SELECT retention.fail('{1}', NULL)$$),
  (5, $$SELECT retention.claim_messages('email', lease => '-1 day')$$), (6, $$SELECT retention.claim_messages('email', lease => NULL)$$),
  (7, $$SELECT retention.simulate_flow('f', '2024-05-01', '2024-05-02', step => '0')$$),
  (8, $$SELECT retention.simulate_flow('f', '2024-05-01', '2024-05-02', step => NULL)$$),
  (9, $$SELECT retention.backfill_history('orders', '2023-06-01', step => '-1 month')$$),
  (10, $$SELECT retention.backfill_history('orders', '2023-06-01', step => NULL)$$)) AS c (number, command), failure(c.command) AS f
  ORDER BY c.number;
SELECT message_id, state, sent_at FROM retention.message ORDER BY 1;
-- Clocks of senders may be wrong by less than a day.
SELECT retention.ack('{1}', '2024-06-02 11:00+00'), retention.ack('{2}', '2024-05-31 13:00+00'), retention.ack('{99}', '2024-01-01');
SELECT message_id, state, sent_at FROM retention.message ORDER BY 1;

-- Roles, the suppression list and contacts.
SELECT f.* FROM (VALUES
  (1, $$SELECT retention.grant_access(NULL, 'analyst')$$), (2, $$SELECT retention.grant_access(0::regrole, 'analyst')$$),
  (3, $$SELECT retention.set_flow_owner('f', NULL)$$), (4, $$SELECT retention.set_flow_owner('f', 0::regrole)$$), (5, $$SELECT retention.set_flow_owner('f', 999999::regrole)$$),
  (6, $$SELECT retention.suppress('email', 'a@b.cc', NULL)$$), (7, $$SELECT retention.suppress('email', 'no such')$$), (8, $$SELECT retention.suppress('sms', 'no such')$$), (23, $$SELECT retention.suppress('email', 'C <c@example.com>')$$),
  (9, $$SELECT retention.suppress('sms', '600 100 200', country => 'no such')$$), (10, $$SELECT retention.suppress('mail', 'a@b.cc')$$), (11, $$SELECT retention.suppress('email', ' ')$$),
  (12, $$INSERT INTO retention.suppression (channel, address, reason) VALUES ('mail', 'x', 'y')$$),
  (13, $$INSERT INTO retention.suppression (channel, address, reason) VALUES ('email', '', 'y')$$),
  (14, $$INSERT INTO retention.suppression (channel, address) VALUES ('email', 'x@y.zz')$$),
  (15, $$INSERT INTO retention.contact (customer_id, country) VALUES ('zz', 'Germany')$$), (16, $$INSERT INTO retention.contact (customer_id, time_zone) VALUES ('zz', 'Mars/X')$$),
  (17, $$INSERT INTO retention.contact (customer_id, properties) VALUES ('zz', '[]')$$), (18, $$UPDATE retention.contact SET properties = NULL$$),
  (19, $$INSERT INTO retention.contact (email) VALUES ('x@y.zz')$$), (20, $$UPDATE retention.contact SET country = 'D'$$),
  (21, $$INSERT INTO retention.rfm_cell VALUES ('own', 1, 11, 1, 'A')$$), (22, $$INSERT INTO retention.rfm_cell VALUES ('own', 1, 1, 1, '')$$)) AS c (number, command), failure(c.command) AS f
  ORDER BY c.number;
INSERT INTO retention.suppression (channel, address, reason) VALUES ('email', ' C2@Example.com ', 'bounced');
SELECT retention.suppress('sms', '+48 600 100 200'), retention.suppress('push', 'a token'), retention.suppress('email', 'C3@example.com ', country => 'PL');
SELECT channel, address, reason, suppressed_at FROM retention.suppression ORDER BY 1, 2;
INSERT INTO retention.contact (customer_id, country, time_zone) VALUES ('c3', 'pl', 'Europe/Warsaw');

-- Words: what is asked for is what there is, and each problem is told once.
CREATE TABLE people (id text, email text);
SELECT f.* FROM (VALUES
  (1, $$SELECT retention.use_contacts('people')$$), (2, $$SELECT retention.add_segment('people')$$), (3, $$SELECT retention.track('people', 'customer_id')$$),
  (4, $$SELECT retention.create_flow('{"name": "n", "metric": "nope", "trigger": {"type": "manual"}, "nodes": [{"id": "a", "type": "exit"}]}')$$),
  (5, $$SELECT retention.create_flow('{"name": "n", "metric": "nope", "trigger": {"type": "manuel"}, "nodes": [{"id": "a", "type": "exit"}]}')$$),
  (6, $$SELECT retention.create_flow('{"name": "n", "trigger": {"type": "manual"}, "nodes": [{"id": "a", "type": "message", "channel": "email", "subject": "S", "body": "{{ nobody.name }}"}]}')$$),
  (7, $$SELECT retention.create_flow('[]')$$)) AS c (number, command), failure(c.command) AS f
  ORDER BY c.number;
-- What publish refuses, validate_flow finds.
SELECT retention.add_metric('silent'), retention.add_source('orders', metric => 'silent') > 0 AS added;
SELECT p.* FROM retention.validate_flow('{"name": "n", "metric": "silent", "trigger": {"type": "order"}, "nodes": [{"id": "a", "type": "exit"}]}') AS p;
SELECT p.* FROM retention.validate_flow('{"name": "n", "trigger": {"type": "order"}, "nodes": [{"id": "a", "type": "exit"}]}') AS p;
SELECT p.* FROM retention.validate_flow(NULL) AS p UNION ALL SELECT p.* FROM retention.validate_flow('{}') AS p;
-- Who is not known, and where nobody is.
SET client_min_messages = notice;
SELECT retention.enroll('f', 'no such customer'), retention.enroll('f', 'c9'), retention.enroll('f', 'c3');
SET retention.progress = on;
BEGIN;
DELETE FROM retention.contact;
SELECT retention.set_status('f', 'manual');
ROLLBACK;
SET retention.progress = off;
SET client_min_messages = warning;
-- A copy of the database lets nothing go live, whatever it was before.
BEGIN;
SELECT retention.set_status('f', 'manual');
UPDATE retention.flow_home SET here = 'elsewhere';
SELECT state, message FROM failure($$SELECT retention.set_status('f', 'live')$$) UNION ALL SELECT state, message FROM failure($$SELECT retention.set_status('f', 'manual')$$);
SELECT status FROM retention.flow WHERE flow = 'f';
SELECT retention.set_status('f', 'paused');
ROLLBACK;

-- What others own and cannot be read: one line, their SQLSTATE, one hint, and nothing of our functions.
\pset format aligned
CREATE FUNCTION where_told(command text) RETURNS TABLE (state text, message text, hint text, context text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
  message := 'no error';
  RETURN NEXT;
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
  message := replace(message, current_user, 'OWNER');
  hint := replace(hint, current_user, 'OWNER');
  RETURN NEXT;
END $$;
CREATE FUNCTION their_error() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'theirs' USING ERRCODE = 'ZZ001', HINT = 'Their hint.'; END $$;
CREATE FUNCTION unqualified() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT customer_id FROM orders LIMIT 1); END $$;
CREATE VIEW by_zero AS SELECT customer_id, 1 / (order_id - 1) AS x FROM orders WHERE 1 / (order_id - 1) = 1;
CREATE VIEW theirs AS SELECT errors_test.their_error() AS customer_id;
CREATE VIEW lost AS SELECT errors_test.unqualified() AS customer_id;
CREATE TABLE typed (customer_id text, ordered_at timestamptz, amount text);
INSERT INTO typed VALUES ('a', '2024-05-01', '5');
CREATE VIEW parsed AS SELECT customer_id, ordered_at, amount::numeric FROM typed;
SELECT retention.add_metric('m'), retention.add_source('parsed', metric => 'm') > 0 AS added, retention.track('typed', 'customer_id');
CALL retention.refresh('m');
INSERT INTO typed VALUES ('a', '2024-05-02', 'x');
SELECT f.* FROM (VALUES
  (1, $$SELECT retention.add_segment('by_zero')$$), (2, $$SELECT retention.add_segment('theirs')$$), (3, $$SELECT retention.add_segment('lost')$$),
  (4, $$CALL retention.refresh('m')$$), (5, $$SELECT * FROM retention.preview_settings('m', recency_limits => '{9,8}')$$),
  (6, $$SELECT * FROM retention.customer_at('m')$$), (7, $$SELECT retention.validate_model('m', '2024-04-01')$$),
  (8, $$SELECT retention.backfill_history('m', '2024-01-01')$$)) AS c (number, command), where_told(c.command) AS f
  ORDER BY c.number;
SET client_min_messages = error;
CALL retention.process_changes();
SELECT kind, name, sqlstate, message FROM retention.problem;
SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA errors_test CASCADE;
