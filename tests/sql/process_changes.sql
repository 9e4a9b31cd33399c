-- What process_changes does beside recomputing: order events, warnings, metrics that fail, the clock.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA process_test;
SET search_path = process_test;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE TABLE orders (id integer, customer_id integer, ordered_at timestamptz, amount numeric);
CREATE TABLE refunds (id integer, customer_id integer, ordered_at timestamptz, amount numeric);
SELECT failure($$SELECT retention.add_source('orders', events => true)$$);

-- The real clock: an order that is younger than the transaction of process_changes, and committed before, is not in the future.
INSERT INTO orders VALUES (1, 1, now() - interval '1 day', 10);
SELECT retention.add_source('orders', order_id => 'id', events => false) > 0 AS added, retention.track('orders');
SET client_min_messages = error;
BEGIN;
SELECT now() < clock_timestamp() AS later;
INSERT INTO orders VALUES (2, 1, clock_timestamp(), 5);
CALL retention.refresh();
INSERT INTO orders VALUES (3, 1, clock_timestamp(), 5);
CALL retention.process_changes();
COMMIT;
SELECT orders FROM retention.customer;
SELECT retention.reset_metric('orders'), retention.drop_metric('orders');
TRUNCATE orders;

-- Events: new orders, lines summed, each refund; no corrections, no old orders, nothing twice.
SET retention.as_of = '2024-06-01';
INSERT INTO orders VALUES (1, 1, '2024-05-01', 10), (2, 2, '2024-05-02', 20);
SELECT retention.add_source('orders', order_id => 'id', events => true) > 0 AS added, retention.add_source('refunds', order_id => 'id', kind => 'refund', events => true) > 0 AS added;
SELECT retention.track('orders'), retention.track('refunds');
CALL retention.refresh();
SET retention.as_of = '2024-06-10';
INSERT INTO orders VALUES (3, 1, '2024-06-09', 5), (3, 1, '2024-06-09', 6), (4, 3, '2024-06-09', 7), (5, 3, '2024-01-01', 8), (6, 3, '2024-06-09', 0), (1, 1, '2024-06-09', 2);
CALL retention.process_changes();
UPDATE orders SET amount = amount + 1;
INSERT INTO orders VALUES (3, 1, '2024-06-10', 50);
INSERT INTO refunds VALUES (3, 1, '2024-06-10', -2), (1, 1, '2024-06-10', 3);
CALL retention.process_changes();
INSERT INTO refunds VALUES (3, 1, '2024-06-09 12:00', 1);
CALL retention.process_changes();
SELECT kind, customer_id, order_id, occurred_at, amount, recorded_at FROM retention.order_event ORDER BY event_id;

-- One warning for a source without an index, and none when it has one.
INSERT INTO orders SELECT i, i, '2024-03-01', 1 FROM generate_series(100, 60000) i;
ANALYZE orders;
CALL retention.refresh();
SET client_min_messages = warning;
INSERT INTO orders VALUES (7, 1, '2024-06-09', 1);
CALL retention.process_changes();
INSERT INTO orders VALUES (8, 1, '2024-06-09', 1);
CALL retention.process_changes();
CREATE INDEX ON orders (customer_id);
INSERT INTO orders VALUES (9, 1, '2024-06-09', 1);
CALL retention.process_changes();
SELECT relation, is_indexed FROM retention.source ORDER BY 1;
-- Which indexes will do: those that begin with the customer.
CREATE TABLE indexed (id bigint, customer_id text, ordered_at timestamptz, amount numeric, "Cust omer" text);
INSERT INTO indexed SELECT i, 'c' || i % 1000, '2024-01-01', 1, 'c' || i % 1000 FROM generate_series(1, 30000) i;
ANALYZE indexed;
CREATE FUNCTION scans(columns text, method text DEFAULT 'btree', condition text DEFAULT $$customer_id = 'c7'$$) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  scans boolean;
BEGIN
  EXECUTE format('CREATE INDEX probe ON indexed USING %s (%s)', method, columns);
  scans := retention._scans_a_table(
    'SELECT id, amount FROM process_test.indexed WHERE ' || condition, 'indexed');
  DROP INDEX probe;
  RETURN scans;
END $$;
SELECT columns, scans(columns) FROM unnest(ARRAY['customer_id', 'customer_id, ordered_at', 'ordered_at, customer_id', 'id, customer_id, amount', 'id']) AS columns;
SELECT scans('customer_id', 'hash') AS hash, scans('"Cust omer"', 'btree', $$"Cust omer" = ANY ('{c7,c8}')$$) AS quoted, scans('upper(customer_id)', 'btree', $$upper(customer_id) = 'C7'$$) AS expression,
       scans('customer_id', 'btree', $$customer_id = 'c7' OR customer_id = 'c8'$$) AS alternatives;
TRUNCATE indexed;
SELECT scans('ordered_at, customer_id') AS a_small_table;
DROP TABLE indexed;

-- A metric that fails stops no other; its changes wait.
CREATE TABLE other (LIKE orders);
SELECT retention.add_metric('broken') AS metric, retention.add_source('other', metric => 'broken') > 0 AS added, retention.track('other', 'customer_id');
INSERT INTO other VALUES (1, 1, '2024-06-01', 1);
SET client_min_messages = error;
CALL retention.refresh('broken');
SET client_min_messages = warning;
ALTER TABLE other RENAME amount TO price;
INSERT INTO orders VALUES (10, 2, '2024-06-09', 1000);
CALL retention.process_changes();
SELECT orders, revenue FROM retention.customer WHERE metric = 'orders' AND customer_id = '2';
SELECT relation, customer_ids FROM retention.change_log;
-- What is put right before a refresh is caught up on.
INSERT INTO other VALUES (2, 1, '2024-06-02', 2);
CALL retention.process_changes();
SELECT kind, name, sqlstate, message, occurrences FROM retention.problem;
ALTER TABLE other RENAME price TO amount;
CALL retention.process_changes(retention.now() + interval '5 minutes');
SELECT count(*) AS problems FROM retention.problem;
SELECT metric, customer_id, orders FROM retention.customer WHERE customer_id IN ('1', '2') ORDER BY 1, 2;
SELECT count(*) AS left_over FROM retention.change_log;
-- Where everything may have changed, the metric waits for its refresh.
ALTER TABLE other RENAME amount TO price;
TRUNCATE other;
INSERT INTO orders VALUES (11, 2, '2024-06-09', 1000);
CALL retention.process_changes();
SELECT orders FROM retention.customer WHERE metric = 'orders' AND customer_id = '2';
SELECT metric, stale FROM retention.population ORDER BY refresh_id DESC LIMIT 3;
ALTER TABLE other RENAME price TO amount;
INSERT INTO other VALUES (3, 3, '2024-06-02', 2);
CALL retention.process_changes();
SELECT customer_id FROM retention.customer WHERE metric = 'broken';
SET client_min_messages = error;
CALL retention.refresh('broken');
SELECT customer_id FROM retention.customer WHERE metric = 'broken';
DROP TABLE other;
INSERT INTO orders VALUES (12, 2, '2024-06-09', 1000);
CALL retention.process_changes();
SELECT relation, customer_ids FROM retention.change_log;
SELECT orders FROM retention.customer WHERE metric = 'orders' AND customer_id = '2';
-- One with other sources waits too, and though they are gone again; its refresh finds the events.
SELECT retention.drop_metric('broken');
DELETE FROM retention.order_event;
CREATE TABLE more_orders (LIKE orders INCLUDING ALL);
SELECT FROM retention.add_source('more_orders');
INSERT INTO orders VALUES (13, 2, '2024-06-09', 1000);
CALL retention.process_changes();
SELECT orders FROM retention.customer WHERE metric = 'orders' AND customer_id = '2';
SELECT FROM retention.drop_source((SELECT max(source_id) FROM retention.source));
INSERT INTO orders VALUES (14, 2, '2024-06-09', 1000), (15, 2, '2024-06-11', 1000);
CALL retention.process_changes();
SELECT orders FROM retention.customer WHERE metric = 'orders' AND customer_id = '2';
CALL retention.refresh();
SELECT orders FROM retention.customer WHERE metric = 'orders' AND customer_id = '2';
SELECT customer_id, order_id, occurred_at, recorded_at FROM retention.order_event ORDER BY event_id;
-- With other settings nobody waits: orders go by the settings of the last refresh.
SELECT retention.alter_metric('orders', recency_limits => '{100,50}');
INSERT INTO orders VALUES (16, 1, '2024-04-01', 1000);
CALL retention.process_changes();
SELECT customer_id, orders, r FROM retention.customer WHERE metric = 'orders' AND customer_id IN ('1', '2');
CALL retention.refresh();
SELECT customer_id, orders, r FROM retention.customer WHERE metric = 'orders' AND customer_id IN ('1', '2');
SELECT retention.alter_metric('orders', reset => '{recency_limits}');
CALL retention.refresh();
-- An order of a later day is an order, and news, when its day has come.
DELETE FROM retention.order_event WHERE order_id <> '14';
SET retention.as_of = '2024-06-12';
CALL retention.refresh();
SELECT customer_id, order_id, occurred_at, recorded_at FROM retention.order_event WHERE order_id IN ('14', '15') ORDER BY event_id;
SET client_min_messages = warning;

-- Nothing reads a table in full when little changed.
VACUUM ANALYZE orders;
VACUUM ANALYZE retention.customer;
INSERT INTO retention.order_event (metric, source_id, kind, customer_id, order_id, occurred_at, amount, recorded_at)
  SELECT 'orders', 1, 'order', 'told ' || i, 'told ' || i, '2024-06-09', 5, '2024-06-09' FROM generate_series(1, 2000) i;
VACUUM ANALYZE retention.order_event;
CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND historic_clv > 0;
SELECT retention.add_segment('spenders');
VACUUM ANALYZE retention.segment_member;
VACUUM ANALYZE retention.segment_change;
\c
SET client_min_messages = error;
SET retention.as_of = '2024-06-10';
BEGIN;
INSERT INTO process_test.orders SELECT 200000 + i, 500 + i, '2024-06-09', 5 FROM generate_series(1, 10) i;
CALL retention.process_changes();
SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables
  WHERE seq_tup_read > 1000 OR schemaname IN ('retention', 'process_test') AND relname IN ('customer', 'orders', 'segment_member', 'segment_change', 'order_event')
  ORDER BY relname COLLATE "C";
ROLLBACK;
DROP EXTENSION retention CASCADE;
DROP SCHEMA process_test CASCADE;
