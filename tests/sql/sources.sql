-- Sources: what is rejected and how, and what is read of each kind of relation.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA sources_test;
SET search_path = sources_test;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE DOMAIN money_like AS numeric(20, 2);
CREATE DOMAIN deep AS money_like;
CREATE TYPE pair AS (a text, b text);
CREATE TABLE orders (customer_id bigint, ordered_at timestamptz, amount numeric, order_id uuid, note text, gone text, flag boolean, pair pair,
                     day date, local timestamp, clock time, price money_like, deep_price deep, floating real, "Amount (€)" double precision);
ALTER TABLE orders DROP COLUMN gone;
CREATE TABLE refunds (customer_id bigint, ordered_at timestamptz, amount numeric);
CREATE INDEX orders_index ON orders (customer_id);
CREATE SEQUENCE numbers;
CREATE TABLE "Quoted ""Table""; --" AS TABLE orders;

\pset format unaligned
\pset fieldsep ' | '
SELECT f.state, f.message, f.hint FROM (VALUES
  (1, $$SELECT retention.add_source(NULL)$$),
  (2, $$SELECT retention.add_source('nowhere')$$),
  (3, $$SELECT retention.add_source('orders_index')$$),
  (4, $$SELECT retention.add_source('numbers')$$),
  (5, $$SELECT retention.add_source('pair')$$),
  (6, $$SELECT retention.add_source('orders', customer_id => 'customer')$$),
  (7, $$SELECT retention.add_source('orders', customer_id => 'gone')$$),
  (8, $$SELECT retention.add_source('orders', customer_id => 'ctid')$$),
  (9, $$SELECT retention.add_source('orders', customer_id => 'CUSTOMER_ID')$$),
  (10, $$SELECT retention.add_source('orders', ordered_at => 'created_at')$$),
  (11, $$SELECT retention.add_source('orders', amount => 'total')$$),
  (12, $$SELECT retention.add_source('orders', order_id => 'id')$$),
  (13, $$SELECT retention.add_source('orders', ordered_at => 'note')$$),
  (14, $$SELECT retention.add_source('orders', ordered_at => 'clock')$$),
  (15, $$SELECT retention.add_source('orders', ordered_at => 'amount')$$),
  (16, $$SELECT retention.add_source('orders', amount => 'note')$$),
  (17, $$SELECT retention.add_source('orders', amount => 'flag')$$),
  (18, $$SELECT retention.add_source('orders', amount => 'ordered_at')$$),
  (19, $$SELECT retention.add_source('orders', kind => 'return')$$),
  (21, $$SELECT retention.add_source('orders', metric => 'nope')$$),
  (23, $$SELECT retention.add_source('refunds', kind => 'refund')$$),
  (24, $$SELECT retention.add_source('"Quoted ""Table""; --"', amount => '"; DROP TABLE x; --')$$),
  (25, $$SELECT retention.drop_source(99)$$),
  (27, $$CALL retention.refresh()$$)) AS c (n, command), failure(command) AS f ORDER BY n;
SELECT count(*) AS metrics, (SELECT count(*) FROM retention.source) AS sources FROM retention.metric;

-- The first source makes the metric orders; a relation may be a source once for each metric and kind.
SELECT retention.add_source('orders', order_id => 'order_id') IS NOT NULL AS added;
SELECT metric, time_zone, scheme FROM retention.metric;
SELECT f.state, f.message, f.hint FROM (VALUES
  (1, $$SELECT retention.add_source('orders')$$),
  (2, $$SELECT retention.add_source('orders', amount => 'price')$$),
  (3, $$INSERT INTO retention.source (metric, relation, kind, customer_id, ordered_at, amount) VALUES ('orders', 'orders', 'order', 'customer_id', 'ordered_at', 'amount')$$),
  (4, $$INSERT INTO retention.source (metric, relation, kind, customer_id, ordered_at, amount) VALUES ('orders', 'refunds', 'gift', 'customer_id', 'ordered_at', 'amount')$$),
  (5, $$INSERT INTO retention.source (metric, relation, kind, customer_id, ordered_at, amount) VALUES ('orders', 'refunds', 'refund', 'customer', 'ordered_at', 'amount')$$),
  (7, $$UPDATE retention.source SET amount = 'note'$$),
  (8, $$UPDATE retention.source SET order_id = 'x'$$),
  (9, $$UPDATE retention.source SET relation = 'numbers'$$)) AS c (n, command), failure(command) AS f ORDER BY n;

-- Rights are checked with the column's name, and again by the refresh.
CREATE ROLE retention_test_reader;
GRANT USAGE ON SCHEMA retention, sources_test TO retention_test_reader;
SELECT retention.grant_access('retention_test_reader', 'admin');
GRANT SELECT (customer_id, ordered_at) ON refunds TO retention_test_reader;
SET ROLE retention_test_reader;
SELECT f.state, f.message, f.hint FROM (VALUES
  (1, $$SELECT retention.add_source('refunds', kind => 'refund')$$),
  (2, $$CALL retention.refresh(as_of => '2024-01-01')$$)) AS c (n, command), failure(command) AS f ORDER BY n;
RESET ROLE;
GRANT SELECT ON refunds, orders TO retention_test_reader;
SET ROLE retention_test_reader;
SELECT f.state, f.message, f.hint FROM (VALUES
  (1, $$SELECT retention.add_source('refunds', kind => 'refund')$$),
  (2, $$CALL retention.refresh(as_of => '2024-01-01')$$)) AS c (n, command), failure(command) AS f ORDER BY n;
RESET ROLE;
\pset format aligned

-- Every kind of relation and column can be read; two metrics may share one.
CREATE VIEW order_view AS TABLE orders;
CREATE MATERIALIZED VIEW order_matview AS TABLE orders;
CREATE TEMPORARY TABLE temporary_orders AS TABLE orders;
CREATE UNLOGGED TABLE unlogged_orders AS TABLE orders;
CREATE TABLE child (extra text) INHERITS (refunds);
INSERT INTO orders (customer_id, ordered_at, amount, day, local, price, deep_price, floating, "Amount (€)")
  VALUES (1, '2023-06-01 12:00', 10, '2023-06-01', '2023-06-01 12:00', 10.10, 10.20, 0.1, 0.30000000000000004);
INSERT INTO unlogged_orders TABLE orders;
INSERT INTO temporary_orders TABLE orders;
INSERT INTO "Quoted ""Table""; --" TABLE orders;
REFRESH MATERIALIZED VIEW order_matview;
CREATE FUNCTION read_as(relation regclass, VARIADIC columns text[]) RETURNS TABLE (customer text, last_order_at timestamptz, revenue numeric) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM retention.add_metric('probe', 'Asia/Tokyo');
  PERFORM retention.add_source(relation, columns[1], columns[2], columns[3], metric => 'probe');
  RETURN QUERY SELECT c.customer_id, c.last_order_at, c.revenue FROM retention.customer_at('probe', '2024-01-01') c ORDER BY 1;
  PERFORM retention.drop_metric('probe');
END $$;
SELECT * FROM read_as('order_view', 'customer_id', 'ordered_at', 'amount');
SELECT * FROM read_as('order_matview', 'customer_id', 'day', 'price');
SELECT * FROM read_as('temporary_orders', 'customer_id', 'local', 'deep_price');
SELECT * FROM read_as('unlogged_orders', 'day', 'ordered_at', 'floating');
SELECT * FROM read_as('"Quoted ""Table""; --"', 'local', 'ordered_at', 'Amount (€)');
SELECT * FROM read_as('orders', 'price', 'ordered_at', 'customer_id');
INSERT INTO child VALUES (5, '2023-01-01', 5, 'of a child');
SELECT * FROM read_as('refunds', 'customer_id', 'ordered_at', 'amount');
-- A key is the same customer whatever the session's DateStyle.
SET DateStyle = 'German';
SELECT customer FROM read_as('orders', 'day', 'ordered_at', 'amount');
SET DateStyle = 'ISO, YMD';

-- A source that is gone is said to be; so is a column, and one whose type has changed.
CALL retention.refresh(as_of => '2024-01-01');
DROP VIEW order_view;
ALTER TABLE orders RENAME amount TO total;
SELECT state, message, hint FROM failure($$CALL retention.refresh(as_of => '2024-01-01')$$);
ALTER TABLE orders RENAME total TO amount;
DROP TABLE orders CASCADE;
SELECT state, regexp_replace(message, '\d+', 'N') AS message, hint FROM failure($$CALL retention.refresh(as_of => '2024-01-01')$$);
SELECT state, regexp_replace(message, '\d+', 'N') AS message FROM failure($$SELECT * FROM retention.customer_at('orders', '2024-01-01')$$);
SELECT customers FROM retention.population ORDER BY refresh_id DESC LIMIT 1;
SELECT retention.drop_source(min(source_id)) FROM retention.source WHERE kind = 'order';
SELECT state, message, hint FROM failure($$CALL retention.refresh(as_of => '2024-01-01')$$);
SELECT retention.add_source('"Quoted ""Table""; --"') IS NOT NULL AS added;
CALL retention.refresh(as_of => '2024-01-01');

SET client_min_messages = error;
DROP OWNED BY retention_test_reader;
DROP EXTENSION retention CASCADE;
DROP SCHEMA sources_test CASCADE;
DROP ROLE retention_test_reader;
