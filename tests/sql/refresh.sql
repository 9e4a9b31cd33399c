-- The refresh against plain SQL (tests/oracle/customer.sql), on data with everything nasty in it.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA refresh_test;
SET search_path = refresh_test;
SET TimeZone = 'Asia/Kathmandu';
SET DateStyle = 'ISO, YMD';
\set SHOW_CONTEXT never

-- Sources of many kinds.
CREATE DOMAIN customer_key AS varchar(2100);
CREATE DOMAIN price AS numeric CHECK (value IS NULL OR value < 1e31);
CREATE TABLE by_integer (customer_id integer, ordered_at timestamptz, amount numeric, order_id integer);
CREATE TABLE by_uuid (customer uuid, at timestamp, total double precision, id uuid);
CREATE TABLE "Old ""Shop"" Orders" ("the Customer's" text, "DATE" date, "Amount €" price, "No." text);
CREATE TABLE by_domain (customer_id customer_key, ordered_at timestamptz, amount price, order_id customer_key);
CREATE TABLE by_numeric (customer_id numeric, ordered_at timestamptz, amount bigint, order_id numeric);
CREATE TABLE parted (customer_id varchar, ordered_at timestamp, amount integer, order_id bigint) PARTITION BY RANGE (ordered_at);
CREATE TABLE parted_old PARTITION OF parted FOR VALUES FROM (MINVALUE) TO ('2023-07-01');
CREATE TABLE parted_new PARTITION OF parted FOR VALUES FROM ('2023-07-01') TO (MAXVALUE);
CREATE TABLE base (customer_id char(8), ordered_at timestamptz, amount real, order_id smallint);
CREATE VIEW by_view AS SELECT customer_id, ordered_at, amount, order_id FROM base;
CREATE TABLE refunds (customer_id text, ordered_at timestamptz, amount numeric, order_id text);
CREATE TABLE blunt_refunds (customer_id text, ordered_at timestamp, amount numeric);

INSERT INTO by_integer
  SELECT customer_id, ordered_at, amount, CASE order_id % 3 WHEN 0 THEN NULL WHEN 1 THEN order_id ELSE order_id / 4 END
  FROM retention.simulate_orders(1500, '2022-01-01', '2024-03-31', 7);
INSERT INTO by_integer
  SELECT CASE WHEN i % 11 > 0 THEN i % 97 END, CASE WHEN i % 13 > 0 THEN timestamptz '2023-03-25 20:00Z' + i * interval '37 minutes' END,
         CASE WHEN i % 17 > 0 THEN (i % 31) - 5 END, CASE WHEN i % 7 > 0 THEN i % 50 END
  FROM generate_series(1, 4000) i;
INSERT INTO by_uuid
  SELECT md5((i % 300)::text)::uuid, timestamp '2022-10-29 22:00' + i * interval '53 minutes', (i % 101) / 4.0,
         CASE WHEN i % 5 > 0 THEN md5((i / 3)::text)::uuid END
  FROM generate_series(1, 6000) i;
INSERT INTO "Old ""Shop"" Orders"
  SELECT (i % 450)::text, date '2021-12-01' + i % 800, (i % 40) + 0.125, 'order number ' || i % 900 || ' of the old shop'
  FROM generate_series(1, 5000) i;
INSERT INTO by_domain VALUES
  ('', '2023-05-01', 10, ''), ('', '2023-05-02', 10, ''), (' ', '2023-05-01', 11, ' '),
  ('O''Neill', '2023-05-01', 12, ''''), ('"quoted"', '2023-05-01', 13, '"'), (E'two\nlines', '2023-05-01', 14, E'\n'),
  (E'tab\tand \\ slash', '2023-05-01', 15, '\'), ('żółć 中文 🎁', '2023-05-01', 16, 'ż'), ('; DROP TABLE x; --', '2023-05-01', 17, '$1'),
  ('%s %n {{x}}', '2023-05-01', 18, '%'), ('NULL', '2023-05-01', 19, 'NULL'), (repeat('k', 2000), '2023-05-01', 20, repeat('i', 2000)),
  (repeat('ż', 1000), '2023-05-01', 20, repeat('i', 1999) || 'j'),
  ('digits', '2023-05-01', 123456789012345678901234567890.12, 'a'), ('digits', '2023-05-03', 123456789012345678901234567890.1234, 'b'),
  ('tiny', '2023-06-03', 0.0000000000000001, 'c'), ('tiny', '2023-06-04', 0.00001, 'd'), ('minus', '2023-05-01', -5, NULL), ('zero', '2023-05-01', 0, NULL),
  ('dst', '2023-03-25 23:59:59+01', 1, NULL), ('dst', '2023-03-26 00:00+01', 2, NULL), ('dst', '2023-03-26 23:59+02', 3, NULL),
  ('dst', '2023-10-29 00:00+02', 4, NULL), ('dst', '2023-10-29 23:59+01', 5, NULL), ('dst', '2023-10-30 00:00+01', 6, NULL),
  ('ancient', '0044-03-15 12:00 BC', 7, NULL), ('ancient', '1883-11-18 17:00Z', 8, NULL);
INSERT INTO by_numeric SELECT 100 + i % 200 + 0.50, timestamptz '2023-09-01' + i * interval '5 hours', i % 9 - 2, i / 2 FROM generate_series(1, 1000) i;
INSERT INTO parted SELECT 'p' || i % 333, timestamp '2023-01-01' + i * interval '3 hours', i % 60, i / 3 FROM generate_series(1, 3000) i;
INSERT INTO base SELECT 'c' || i % 77, timestamptz '2023-02-02 22:30Z' + i * interval '11 hours', i % 23 + 0.25, i % 200 FROM generate_series(1, 900) i;
CREATE MATERIALIZED VIEW by_matview AS SELECT 'm' || customer_id AS customer_id, ordered_at, amount FROM by_integer WHERE customer_id % 5 = 0;
-- Refunds of either sign: of orders, of part of them, of other customers' orders, of none.
INSERT INTO refunds SELECT customer_id, ordered_at + interval '3 days', CASE order_id % 2 WHEN 0 THEN amount ELSE -amount END, order_id::text
  FROM by_integer WHERE order_id % 6 = 1;
INSERT INTO refunds SELECT customer_id, ordered_at - interval '1 day', amount / 3, order_id::text FROM by_integer WHERE order_id % 7 = 2;
INSERT INTO refunds SELECT (customer_id + 1)::text, ordered_at, amount, order_id::text FROM by_integer WHERE order_id % 50 = 3;
INSERT INTO refunds SELECT customer, at, total, upper(id::text) FROM by_uuid WHERE total > 20;
INSERT INTO refunds SELECT customer, at, total, id FROM by_uuid WHERE total < 3;
INSERT INTO refunds SELECT "the Customer's", "DATE", "Amount €", "No." FROM "Old ""Shop"" Orders" WHERE "Amount €" > 35;
INSERT INTO refunds SELECT customer_id, ordered_at, amount, order_id::text FROM by_numeric WHERE amount > 4;
INSERT INTO refunds VALUES ('refunds only', '2023-01-01', 5, 'x'), ('refunds only', '2023-01-01', 5, NULL), (NULL, '2023-01-01', 5, 'x');
INSERT INTO blunt_refunds SELECT customer_id, ordered_at, amount FROM parted WHERE order_id % 10 = 0;

CREATE FUNCTION make_metric(metric text, zone text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM retention.add_metric(metric, zone);
  PERFORM retention.add_source('by_integer', order_id => 'order_id', metric => metric),
          retention.add_source('by_uuid', 'customer', 'at', 'total', 'id', metric => metric),
          retention.add_source('"Old ""Shop"" Orders"', 'the Customer''s', 'DATE', 'Amount €', 'No.', metric => metric),
          retention.add_source('by_domain', order_id => 'order_id', metric => metric),
          retention.add_source('by_numeric', order_id => 'order_id', metric => metric),
          retention.add_source('parted', order_id => 'order_id', metric => metric),
          retention.add_source('by_view', order_id => 'order_id', metric => metric),
          retention.add_source('by_matview', metric => metric),
          retention.add_source('refunds', order_id => 'order_id', kind => 'refund', metric => metric),
          retention.add_source('blunt_refunds', kind => 'refund', metric => metric);
END $$;

-- What the oracle reads. Times without a zone are of zone.name.
CREATE TABLE zone (name text);
INSERT INTO zone VALUES ('UTC');
CREATE VIEW oracle_rows AS
  SELECT 'order' AS kind, customer_id::text, ordered_at AS at, amount, order_id::text FROM by_integer
  UNION ALL SELECT 'order', customer::text, at AT TIME ZONE name, total::numeric, id::text FROM by_uuid, zone
  UNION ALL SELECT 'order', "the Customer's", "DATE"::timestamp AT TIME ZONE name, "Amount €", "No." FROM "Old ""Shop"" Orders", zone
  UNION ALL SELECT 'order', CASE WHEN customer_id::text !~ '^ *$' THEN customer_id END,
                   ordered_at, amount, order_id FROM by_domain
  UNION ALL SELECT 'order', customer_id::text, ordered_at, amount, order_id::text FROM by_numeric
  UNION ALL SELECT 'order', customer_id, ordered_at AT TIME ZONE name, amount, order_id::text FROM parted, zone
  UNION ALL SELECT 'order', customer_id::text, ordered_at, amount::numeric, order_id::text FROM base
  UNION ALL SELECT 'order', customer_id, ordered_at, amount, NULL FROM by_matview
  UNION ALL SELECT 'refund', customer_id, ordered_at, amount, order_id FROM refunds
  UNION ALL SELECT 'refund', customer_id, ordered_at AT TIME ZONE name, amount, NULL FROM blunt_refunds, zone;
\set ECHO none
\i tests/oracle/customer.sql
\set ECHO all

CREATE FUNCTION verdict(metric text, as_of timestamptz) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s customers differ, bounds %s, %s', c.only_engine + c.only_oracle, CASE WHEN c.same_bounds THEN 'agree' ELSE 'DIFFER' END,
                CASE WHEN c.same > 1000 THEN 'many agree' ELSE c.same || ' agree' END)
  FROM zone z, compare_with_oracle(metric, as_of, z.name) AS c
$$;
CREATE FUNCTION last_path(metric text) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s: %s added, %s changed, %s removed, %s moved', l.path, l.inserted, l.updated, l.deleted, l.transitions)
  FROM retention.population l WHERE l.metric = last_path.metric ORDER BY l.refresh_id DESC LIMIT 1
$$;

-- Zones with daylight saving; the time of as_of counts rows up to and including it.
SELECT make_metric('Warsaw', 'Europe/Warsaw'), make_metric('São Paulo', 'America/Sao_Paulo'), make_metric('UTC', 'UTC');
CALL retention.refresh('UTC', as_of => '2024-01-10 12:00Z');
SELECT verdict('UTC', '2024-01-10 12:00Z');
UPDATE zone SET name = 'Europe/Warsaw';
CALL retention.refresh('Warsaw', as_of => '2023-10-29 22:59Z');
SELECT verdict('Warsaw', '2023-10-29 22:59Z');
CALL retention.refresh('Warsaw', as_of => '2023-10-29 23:00Z');
SELECT verdict('Warsaw', '2023-10-29 23:00Z');
UPDATE zone SET name = 'America/Sao_Paulo';
CALL retention.refresh('São Paulo', as_of => '2024-02-18 01:59:59.999999Z');
SELECT verdict('São Paulo', '2024-02-18 01:59:59.999999Z');
SELECT without_customer > 0 AS without_customer,
       without_customer = (SELECT count(*) FROM oracle_rows WHERE customer_id IS NULL) AS customer,
       without_time = (SELECT count(*) FROM oracle_rows WHERE customer_id IS NOT NULL AND at IS NULL) AS time,
       without_amount = (SELECT count(*) FROM oracle_rows WHERE num_nulls(customer_id, at) = 0 AND amount IS NULL) AS amount,
       after_as_of = (SELECT count(*) FROM oracle_rows WHERE num_nulls(customer_id, at, amount) = 0 AND at > as_of) AS after_as_of,
       rows_read = (SELECT count(*) FROM oracle_rows) AS rows_read,
       refund_rows = (SELECT count(*) FROM oracle_rows WHERE kind = 'refund' AND num_nulls(customer_id, at, amount) = 0 AND at <= as_of) AS refunds
  FROM retention.population WHERE metric = 'São Paulo';
SELECT p.customers = (SELECT count(*) FROM retention.customer c WHERE c.metric = p.metric) AS customers,
       p.orders = (SELECT sum(orders) FROM retention.customer c WHERE c.metric = p.metric) AS orders,
       NOT EXISTS (SELECT key, value::bigint FROM jsonb_each_text(p.group_sizes) WHERE value <> '0'
                   EXCEPT SELECT rfm_group, count(*) FROM retention.customer c WHERE c.metric = p.metric GROUP BY 1) AS sizes,
       p.next_order_at = (SELECT min(at) FROM oracle_rows WHERE at > p.as_of AND num_nulls(customer_id, amount) = 0) AS next_order
  FROM retention.population p WHERE metric = 'São Paulo';

-- Little memory: spilled and split partitions give the same, and so does the second reading, which writes nothing.
CREATE TABLE first_state AS SELECT * FROM retention.customer WHERE metric = 'São Paulo';
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
BEGIN;
CALL retention.refresh('São Paulo', true, '2024-02-18 01:59:59.999999Z');
SELECT last_path('São Paulo');
SELECT count(*) AS customers_written FROM retention.customer WHERE xmin = pg_current_xact_id()::xid;
COMMIT;
SELECT retention.reset_metric('São Paulo');
CALL retention.refresh('São Paulo', as_of => '2024-02-18 01:59:59.999999Z');
SELECT verdict('São Paulo', '2024-02-18 01:59:59.999999Z');
SELECT count(*) = 0 AS same_with_little_memory FROM (
  (TABLE first_state EXCEPT ALL SELECT * FROM retention.customer WHERE metric = 'São Paulo')
  UNION ALL (SELECT * FROM retention.customer WHERE metric = 'São Paulo' EXCEPT ALL TABLE first_state)) AS difference;
SELECT count(*) = 0 AS same_at FROM (
  SELECT customer_id, orders, revenue, r, f, m, rfm_group FROM retention.customer_at('São Paulo', '2024-02-18 01:59:59.999999Z')
  EXCEPT SELECT customer_id, orders, revenue, r, f, m, rfm_group FROM first_state) AS difference;
RESET work_mem;
RESET hash_mem_multiplier;

-- Changes of every kind, in rounds: what a refresh makes of them equals plain SQL, and a metric built anew.
CREATE PROCEDURE round_trip(number integer, as_of timestamptz) LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO by_integer SELECT (i * 7919 + number) % 2000, as_of - (i % 40) * interval '1 day', i % 90, i % 400 FROM generate_series(1, 200) i;
  DELETE FROM by_integer WHERE customer_id % 29 = number;
  UPDATE by_uuid SET total = total + number WHERE total BETWEEN number AND number + 0.5;
  UPDATE by_numeric SET customer_id = customer_id + 1 WHERE order_id % 31 = number;
  UPDATE parted SET ordered_at = ordered_at + interval '100 days' WHERE order_id % 37 = number;
  DELETE FROM refunds WHERE amount BETWEEN 2 * number AND 2 * number + 1;
  INSERT INTO refunds SELECT customer_id, as_of - interval '1 hour', amount, order_id::text FROM by_integer WHERE order_id % 41 = number;
  CALL retention.refresh('São Paulo', as_of => as_of);
END $$;
CALL round_trip(1, '2024-02-20 00:00Z');
SELECT verdict('São Paulo', '2024-02-20 00:00Z');
CALL round_trip(2, '2024-02-20 12:00Z');
SELECT verdict('São Paulo', '2024-02-20 12:00Z');
CALL round_trip(3, '2024-05-20 12:00Z');
SELECT verdict('São Paulo', '2024-05-20 12:00Z');
TRUNCATE by_uuid, base;
REFRESH MATERIALIZED VIEW by_matview;
CALL round_trip(4, '2024-09-20 12:00Z');
SELECT verdict('São Paulo', '2024-09-20 12:00Z');
CREATE TABLE incremental AS
  SELECT customer_id, orders, purchase_days, first_order_at, last_order_at, revenue::text, repeat_value::text, average_order_value::text,
         average_days_between_orders, days_between_orders_sd, r, f, m, rfm_group FROM retention.customer WHERE metric = 'São Paulo';
SELECT retention.reset_metric('São Paulo');
CALL retention.refresh('São Paulo', as_of => '2024-09-20 12:00Z');
SELECT count(*) AS differences FROM (
  SELECT customer_id, orders, purchase_days, first_order_at, last_order_at, revenue::text, repeat_value::text, average_order_value::text,
         average_days_between_orders, days_between_orders_sd, r, f, m, rfm_group FROM retention.customer WHERE metric = 'São Paulo'
  EXCEPT TABLE incremental) AS difference;
SELECT count(*) = (SELECT count(*) FROM incremental) AS same_number FROM retention.customer WHERE metric = 'São Paulo';

-- Path clock, only where nothing changed: tables that were vacuumed since.
SELECT retention.drop_metric('Warsaw'), retention.drop_metric('São Paulo'), retention.drop_metric('UTC');
DROP VIEW oracle_rows;
TRUNCATE zone;
INSERT INTO zone VALUES ('UTC');
CREATE TABLE shop (customer_id integer, ordered_at timestamptz, amount numeric, filler text) WITH (fillfactor = 50, autovacuum_enabled = false);
-- By name, also where another column has got it.
CREATE FUNCTION shop_rows() RETURNS TABLE (customer_id integer, ordered_at timestamptz, amount numeric) LANGUAGE sql AS
  $$ SELECT s.customer_id, s.ordered_at, s.amount FROM shop s $$;
CREATE TABLE branch (customer_id integer, ordered_at timestamptz, amount numeric) PARTITION BY LIST (customer_id);
CREATE TABLE branch_1 PARTITION OF branch FOR VALUES IN (1, 2, 3) WITH (autovacuum_enabled = false);
CREATE TABLE branch_2 (customer_id integer, ordered_at timestamptz, amount numeric) WITH (autovacuum_enabled = false);
INSERT INTO shop SELECT sqrt(4 * i)::integer, timestamptz '2024-01-01' + i * interval '1 hour', i % 50 + 1 FROM generate_series(1, 3000) i;
INSERT INTO branch VALUES (1, '2024-02-02', 1000), (2, '2024-02-02', 10);
INSERT INTO branch_2 VALUES (4, '2024-02-02', 500), (5, '2024-02-02', 10);
CREATE VIEW oracle_rows AS
  SELECT 'order' AS kind, customer_id::text, ordered_at AS at, amount, NULL::text AS order_id FROM shop_rows()
  UNION ALL SELECT 'order', customer_id::text, ordered_at, amount, NULL FROM branch;
SELECT retention.add_source('shop') IS NOT NULL AS shop, retention.add_source('branch') IS NOT NULL AS branch;
CREATE TABLE clock (today timestamptz);
INSERT INTO clock VALUES ('2024-06-01');
CREATE PROCEDURE pass(days integer, INOUT result text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
  day timestamptz;
BEGIN
  UPDATE clock SET today = today + days * interval '24 hours' RETURNING today INTO day;
  CALL retention.refresh(as_of => day);
  result := split_part(last_path('orders'), ':', 1) || ': ' || verdict('orders', day);
END $$;
CALL pass(0);
VACUUM shop, branch_1, branch_2;
CALL pass(0);
CALL pass(0);
CALL pass(100);
SELECT cause, count(*) > 0 AS some FROM retention.rfm_change GROUP BY cause;
BEGIN;
CALL pass(1);
SELECT count(*) AS customers_written FROM retention.customer WHERE xmin = pg_current_xact_id()::xid;
COMMIT;
CALL retention.refresh(full => true, as_of => (timestamptz '2024-06-01' + interval '2424 hours'));
SELECT last_path('orders');
-- inserted
INSERT INTO shop VALUES (5, '2024-06-02', 77);
CALL pass(1);
VACUUM shop;
CALL pass(1);
CALL pass(1);
-- inserted and vacuumed in between
INSERT INTO shop VALUES (6, '2024-06-02', 77);
VACUUM shop;
CALL pass(1);
CALL pass(1);
-- changed in place
UPDATE shop SET amount = amount + 1 WHERE customer_id = 6;
VACUUM shop;
CALL pass(1);
CALL pass(1);
-- deleted
DELETE FROM shop WHERE customer_id = 9;
VACUUM shop;
CALL pass(1);
CALL pass(1);
-- rolled back
BEGIN;
INSERT INTO shop VALUES (7, '2024-06-02', 77);
ROLLBACK;
CALL pass(1);
VACUUM shop;
CALL pass(1);
CALL pass(1);
-- in the refresh's own transaction
BEGIN;
UPDATE shop SET amount = amount + 2 WHERE customer_id = 10;
CALL pass(1);
DELETE FROM shop WHERE customer_id = 10;
CALL pass(1);
ROLLBACK;
VACUUM shop;
CALL pass(1);
CALL pass(1);
-- replaced by as many rows of the same size
CREATE TABLE shop_copy AS TABLE shop;
TRUNCATE shop;
INSERT INTO shop SELECT customer_id, ordered_at, amount + 1, filler FROM shop_copy;
VACUUM shop;
CALL pass(1);
CALL pass(1);
SELECT retention.alter_metric('orders', loss_limit => 1);
TRUNCATE shop;
CALL pass(1);
INSERT INTO shop SELECT customer_id, ordered_at, amount + 1, filler FROM shop_copy;
VACUUM shop;
CALL pass(1);
CALL pass(1);
-- a partition more, a partition less
ALTER TABLE branch ATTACH PARTITION branch_2 FOR VALUES IN (4, 5);
CALL pass(1);
CALL pass(1);
ALTER TABLE branch DETACH PARTITION branch_2;
CALL pass(1);
CALL pass(1);
-- an order of the future comes due
INSERT INTO shop SELECT 11, today + interval '30 days', 99 FROM clock;
VACUUM shop;
CALL pass(1);
CALL pass(1);
CALL pass(27);
CALL pass(1);
CALL pass(1);
-- columns under another name, and made anew
ALTER TABLE shop RENAME amount TO gross;
ALTER TABLE shop ADD COLUMN amount numeric DEFAULT 5;
VACUUM shop;
CALL pass(1);
CALL pass(1);
ALTER TABLE shop DROP COLUMN amount;
ALTER TABLE shop ADD COLUMN amount numeric DEFAULT 6;
CALL pass(1);
CALL pass(1);
ALTER TABLE shop DROP COLUMN amount;
ALTER TABLE shop RENAME gross TO amount;
CALL pass(1);
CALL pass(1);
-- a source more and a source less
CREATE TABLE extra AS SELECT 12 AS customer_id, timestamptz '2024-06-06' AS ordered_at, 5000 AS amount;
SELECT retention.add_source('extra') IS NOT NULL AS added;
DROP VIEW oracle_rows;
CREATE VIEW oracle_rows AS
  SELECT 'order' AS kind, customer_id::text, ordered_at AS at, amount, NULL::text AS order_id FROM shop_rows()
  UNION ALL SELECT 'order', customer_id::text, ordered_at, amount, NULL FROM branch
  UNION ALL SELECT 'order', customer_id::text, ordered_at, amount, NULL FROM extra WHERE EXISTS (SELECT FROM retention.source WHERE relation = 'extra'::regclass);
VACUUM extra;
CALL pass(1);
CALL pass(1);
SELECT retention.drop_source(source_id) FROM retention.source WHERE relation = 'extra'::regclass;
CALL pass(1);
CALL pass(1);
-- other settings, another cell
SELECT retention.alter_metric('orders', recency_limits => '{366,181}');
SELECT retention.alter_metric('orders', recency_limits => '{365,180}');
CALL pass(1);
UPDATE retention.rfm_cell SET rfm_group = 'Asleep' WHERE (scheme, r, f, m) = ('standard', 1, 1, 1);
CALL pass(1);
CALL pass(400);
-- views are read always
CREATE VIEW looks AS TABLE extra;
SELECT retention.add_source('looks') IS NOT NULL AS added;
DROP VIEW oracle_rows;
CREATE VIEW oracle_rows AS
  SELECT 'order' AS kind, customer_id::text, ordered_at AS at, amount, NULL::text AS order_id FROM shop_rows()
  UNION ALL SELECT 'order', customer_id::text, ordered_at, amount, NULL FROM branch
  UNION ALL SELECT 'order', customer_id::text, ordered_at, amount, NULL FROM extra;
CALL pass(1);
CALL pass(1);

-- What cannot be done is said clearly, and changes nothing.
CREATE TABLE odd (customer_id text, ordered_at timestamptz, amount numeric);
SELECT retention.add_metric('odd'), retention.add_source('odd', metric => 'odd') IS NOT NULL AS added;
CALL retention.refresh('odd', as_of => 'infinity');
CALL retention.refresh('odd', as_of => NULL);
CALL retention.refresh('nowhere');
CALL retention.refresh('odd', as_of => '2024-06-01');
CALL retention.refresh('odd', as_of => '2024-05-31');
SELECT customers, orders, frequency_bounds, monetary_bounds, group_sizes FROM retention.population WHERE metric = 'odd';
-- An error in a block that handles it leaves nothing behind for the next refresh, also where rows are in files.
INSERT INTO odd SELECT i, timestamptz '2024-01-01' + i % 100 * interval '1 day', 10 FROM generate_series(1, 20000) i;
CREATE VIEW odder AS
  SELECT 'last' AS customer_id, timestamptz '2024-01-01' AS ordered_at, 1 / (amount - 10) AS amount
  FROM odd;
SELECT retention.add_source('odder', metric => 'odd') IS NOT NULL AS added;
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
DO $$
BEGIN
  FOR i IN 1 .. 3 LOOP
    BEGIN
      CALL retention.refresh('odd', as_of => '2024-06-01');
    EXCEPTION WHEN division_by_zero THEN
      RAISE WARNING '%', sqlerrm;
    END;
  END LOOP;
  UPDATE odd SET amount = 11;
  CALL retention.refresh('odd', as_of => '2024-06-01');
END $$;
SELECT count(*) FROM retention.customer WHERE metric = 'odd';

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA refresh_test CASCADE;
