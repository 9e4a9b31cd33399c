-- Order events: what is news, once, and what has become of it; the flows that they start; orders with dates only.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA event_test;
SET search_path = event_test;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET retention.progress = off;
SET retention.as_of = '2024-06-01';
CREATE TABLE orders (id text, customer_id text, ordered_at timestamptz, amount double precision);
CREATE TABLE refunds (id text, customer_id text, refunded_on date, amount numeric);
INSERT INTO orders SELECT 'old' || i, 'c' || i % 4, '2024-05-20', 10 FROM generate_series(0, 7) i;
SELECT retention.add_source('orders', order_id => 'id', events => true),
       retention.add_source('refunds', ordered_at => 'refunded_on', order_id => 'id', kind => 'refund', events => true);
SELECT retention.track('orders'), retention.track('refunds');
CALL retention.refresh();
CREATE VIEW events AS
  SELECT event_id AS event, kind, customer_id, order_id, number, occurred_at::date AS told_on, amount AS told, recorded_at::date AS recorded, ordered_at, net_amount AS net FROM retention.order_event;
CREATE PROCEDURE pass(moment timestamptz) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('retention.as_of', moment::text, false);
  CALL retention.process_changes();
  CALL retention.tick();
END $$;
CREATE FUNCTION go_live(document jsonb) RETURNS void LANGUAGE sql AS $$
  SELECT retention.create_flow(document || '{"reentry": "always", "concurrent": true, "nodes": [{"id": "end", "type": "exit"}]}');
  SELECT retention.publish(document ->> 'name');
  SELECT retention.set_status(document ->> 'name', 'live');
$$;
SELECT go_live('{"name": "ordered", "trigger": {"type": "order"}}'), go_live('{"name": "refunded", "trigger": {"type": "refund"}}'),
       go_live('{"name": "late", "trigger": {"type": "order", "max_age": "8 days"}}');

-- Two orders at once are the third and, after one without an id, the fifth; one that was paid back at once is none, and no news; blank keys are none.
INSERT INTO orders VALUES ('10', 'c1', '2024-06-02 11:00', 20), ('9', 'c1', '2024-06-02 10:00', 15), ('11', 'c1', '2024-06-02 09:00', 30);
INSERT INTO refunds VALUES ('11', 'c1', '2024-06-02', 30);
INSERT INTO orders VALUES (' ', 'c0', '2024-06-02', 5), ('12', ' ', '2024-06-02', 5), (NULL, 'c1', '2024-06-02 10:30', 5),
  ('13', 'c0', '2024-06-01 20:00', 5);
CALL pass('2024-06-02 12:00');
SELECT * FROM events ORDER BY event;
SELECT flow, customer_id, event FROM retention.flow_enrollment ORDER BY flow, enrollment_id;

-- A corrected amount, a moved date, a part paid back, another customer: no news. The order is what it is now.
UPDATE orders SET amount = 25 WHERE id = '10';
UPDATE orders SET ordered_at = '2024-06-03 10:00', customer_id = 'c2' WHERE id = '9';
INSERT INTO refunds VALUES ('10', 'c1', '2024-06-03', 4);
CALL pass('2024-06-03 12:00');
SELECT * FROM events ORDER BY event;
-- Deleted, and back.
CREATE TABLE kept AS TABLE orders;
DELETE FROM orders;
CALL pass('2024-06-03 13:00');
SELECT event, order_id, ordered_at, net FROM events ORDER BY event;
INSERT INTO orders TABLE kept;
CALL pass('2024-06-03 14:00');
SELECT event, order_id, ordered_at, net FROM events ORDER BY event;

-- Whose change is processed first makes no difference, not even the one of who has it now alone.
UPDATE orders SET customer_id = 'c3' WHERE id IN ('9', '10');
UPDATE refunds SET customer_id = 'c3' WHERE id = '10';
DELETE FROM retention.change_log;
INSERT INTO retention.change_log (customer_ids, changed_at) VALUES ('{c3}', retention.now());
CALL pass('2024-06-03 15:00');
SELECT event, customer_id, order_id, ordered_at, net FROM events ORDER BY event;
UPDATE orders SET customer_id = 'c4' WHERE id = '9';
DELETE FROM retention.change_log;
INSERT INTO retention.change_log (customer_ids, changed_at) VALUES ('{c3}', retention.now());
CALL pass('2024-06-03 16:00');
SELECT event, customer_id, order_id, ordered_at, net FROM events WHERE order_id = '9';
INSERT INTO retention.change_log (customer_ids, changed_at) VALUES ('{c4}', retention.now());
CALL pass('2024-06-03 17:00');
SELECT event, customer_id, order_id, ordered_at, net FROM events WHERE order_id = '9';
-- Where customers number their orders each for themselves, another's is another order.
INSERT INTO orders VALUES ('9', 'c0', '2024-06-03 17:30', 7);
CALL pass('2024-06-03 18:00');
SELECT event, customer_id, order_id, number, ordered_at, net FROM events WHERE order_id = '9' ORDER BY event;

-- Another time zone, another type: no news, of orders of the day that the source was added on neither.
INSERT INTO orders VALUES ('14', 'c2', '2024-05-31 23:00', 7);
CALL pass('2024-06-03 19:00');
CREATE TABLE before AS SELECT event FROM events;
SELECT retention.alter_metric('orders', time_zone => 'America/New_York');
CALL retention.refresh();
SELECT retention.alter_metric('orders', time_zone => 'Pacific/Auckland');
CALL retention.refresh();
ALTER TABLE refunds ALTER refunded_on TYPE timestamp;
CALL retention.refresh(full => true);
SELECT retention.alter_metric('orders', time_zone => 'UTC');
ALTER TABLE orders ALTER ordered_at TYPE timestamp;
CALL retention.refresh(full => true);
SELECT events.* FROM events WHERE event NOT IN (SELECT event FROM before);
-- A second refund of the order is news, and the first one is not.
INSERT INTO refunds VALUES ('10', 'c3', '2024-06-02 09:00', 1);
CALL pass('2024-06-03 20:00');
SELECT event, kind, order_id, told, ordered_at, net FROM events WHERE kind = 'refund' ORDER BY event;

-- An import: of what is older than three days nobody is told, unless the flow says otherwise.
TRUNCATE retention.enrollment;
INSERT INTO orders VALUES ('i' || 1, 'c1', '2024-06-03', 8), ('i' || 2, 'c1', '2024-06-07 12:00', 8), ('i' || 3, 'c1', '2024-06-07 11:59', 8);
CALL pass('2024-06-10 12:00');
SELECT flow, event ->> 'order_id' AS order_id FROM retention.flow_enrollment ORDER BY flow, enrollment_id;
SELECT * FROM retention.validate_flow('{"name": "x", "trigger": {"type": "refund", "max_age": "-1 day"}, "nodes": [{"id": "end", "type": "exit"}]}');

-- What prune removes is not news again.
SELECT count(*) AS events FROM retention.order_event;
SET retention.as_of = '2024-07-04';
UPDATE orders SET ordered_at = '2024-06-20' WHERE id = '10';
CALL retention.process_changes();
SELECT retention.prune('30 days');
SELECT order_id, ordered_at FROM events ORDER BY event;
CALL retention.refresh(full => true);
SELECT count(*) AS events FROM retention.order_event;

-- Dates only: an order of the day is after what happened on the day before it was known, and before what happened since.
ALTER TABLE orders ALTER ordered_at TYPE date;
SELECT retention.alter_metric('orders', time_zone => 'Europe/Warsaw');
SET retention.as_of = '2024-07-10 06:00+02';
CALL retention.refresh(full => true);
CREATE FUNCTION leaves(name text, condition text) RETURNS void LANGUAGE sql AS $$
  SELECT retention.create_flow(jsonb_build_object('name', name, 'trigger', '{"type": "manual"}'::jsonb, 'exit', condition, 'reentry', 'always', 'nodes',
    '[{"id": "wait", "type": "wait_for", "condition": "last_order_at > since", "timeout": "1 day", "next": "rest"}, {"id": "rest", "type": "delay", "for": "3 days"}]'::jsonb));
  SELECT retention.publish(name);
  SELECT retention.set_status(name, 'live');
$$;
SELECT leaves('last', 'last_order_at > entered_at'), leaves('first', 'first_order_at > entered_at'), leaves('none', 'false'), go_live('{"name": "thanks", "trigger": {"type": "order"}}');
INSERT INTO orders VALUES ('20', 'c1', '2024-07-10', 9), ('20', 'n1', '2024-07-10', 9);
CALL pass('2024-07-10 09:00+02');
SELECT retention.enroll(f, c) FROM unnest('{last,first,none}'::text[]) AS f, unnest('{c1,c2,n1,n2}'::text[]) AS c;
CALL pass('2024-07-10 10:00+02');
SELECT flow, customer_id, node, outcome FROM retention.flow_enrollment WHERE flow IN ('last', 'first', 'none', 'thanks') ORDER BY flow, customer_id;
INSERT INTO orders VALUES ('21', 'c1', '2024-07-10', 9), ('22', 'c2', '2024-07-10', 9), ('23', 'n1', '2024-07-09', 9), ('24', 'n2', '2024-07-10', 9);
CALL pass('2024-07-10 13:00+02');
SELECT flow, customer_id, node, outcome FROM retention.flow_enrollment WHERE flow IN ('last', 'first', 'none', 'thanks') ORDER BY flow, customer_id;
SELECT customer_id, order_id, occurred_at, ordered_at FROM retention.order_event WHERE order_id LIKE '2_' ORDER BY event_id;
DROP EXTENSION retention CASCADE;
\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA event_test CASCADE;
