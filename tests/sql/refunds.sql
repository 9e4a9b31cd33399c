-- Refunds and order lines: small cases whose results can be seen at a glance.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA refunds_test;
SET search_path = refunds_test;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
CREATE TABLE orders (customer_id text, ordered_at timestamptz, amount numeric, order_id text);
CREATE TABLE refunds (LIKE orders);
-- Whoever forgets an order id is told, for nothing is netted without it.
CREATE TABLE bills (nr integer, who text, booked timestamptz, total numeric);
CREATE FUNCTION unnetted() RETURNS TABLE (severity text, what text, what_to_do text) LANGUAGE sql AS $$
  SELECT severity, what, what_to_do FROM retention.health() WHERE what ~ 'netted'
$$;
SET client_min_messages = notice;
SELECT retention.add_source('bills', customer_id => 'who', ordered_at => 'booked', amount => 'total') > 0 AS bills,
       retention.add_source('refunds', order_id => 'order_id', kind => 'refund') > 0 AS refunds;
SELECT * FROM unnetted();
SELECT retention.add_source('bills', order_id => 'nr');
SELECT retention.add_source('bills');
-- What the hint says works.
SELECT what_to_do AS way_out FROM unnetted() \gset
SELECT replace(regexp_replace(:'way_out', '^[^.]*\. ', ''), '...', 'nr') AS way_out \gset
:way_out
SELECT * FROM unnetted();
SELECT retention.drop_source(source_id) FROM retention.source WHERE kind = 'refund';
SELECT retention.add_source('refunds', kind => 'refund') > 0 AS refunds;
SELECT * FROM unnetted();
SELECT retention.drop_metric('orders');
SET client_min_messages = warning;
SELECT retention.add_source('orders', order_id => 'order_id') IS NOT NULL AS orders,
       retention.add_source('refunds', order_id => 'order_id', kind => 'refund') IS NOT NULL AS refunds;

INSERT INTO orders VALUES
  ('two lines, one order',       '2024-01-01 10:00', 10, 'a'), ('two lines, one order',     '2024-01-01 12:00', 5.00, 'a'),
  ('same id, two customers',     '2024-01-01', 10, 'a'),       ('its other customer',       '2024-01-01', 20, 'a'),
  ('no id, two orders',          '2024-01-01', 10, NULL),      ('no id, two orders',        '2024-01-01', 10, NULL),
  ('empty id is an id',          '2024-01-01', 10, ''),        ('empty id is an id',        '2024-01-01', 10, ''),
  ('refunded in part',           '2024-01-01', 10, 'b'),
  ('refunded, positive amount',  '2024-01-01', 10, 'c'),       ('refunded, positive amount', '2024-02-01', 7, 'd'),
  ('refunded in two steps',      '2024-01-01', 10, 'e'),       ('refunded in two steps',    '2024-02-01', 7, 'f'),
  ('refunded in full: no order', '2024-01-01', 10, 'g'),
  ('refunded too much',          '2024-01-01', 10, 'h'),       ('refunded too much',        '2024-02-01', 7, 'i'),
  ('refunded before the order',  '2024-01-05', 10, 'j'),
  ('refund of another id',       '2024-01-01', 10, 'k'),
  ('refund of another customer', '2024-01-01', 10, 'l'),
  ('refund without id',          '2024-01-01', 10, 'm'),
  ('refund above all revenue',   '2024-01-01', 10, 'n'),
  ('discount line',              '2024-01-01 09:00', -3, 'o'), ('discount line',            '2024-01-01 10:00', 10, 'o'),
  ('free line makes the time',   '2024-01-01 09:00', 0, 'p'),  ('free line makes the time', '2024-01-03 10:00', 10, 'p'),
  ('negative rows are no order', '2024-01-01', -3, NULL),      ('negative rows are no order', '2024-01-02', 10, NULL),
  ('free order only',            '2024-01-01', 0, 'q'),
  ('lines cancel out',           '2024-01-01', 10, 'r'),       ('lines cancel out', '2024-01-01', -10, 'r'), ('lines cancel out', '2024-01-03', 1, 's'),
  ('refund after as_of',         '2024-01-01', 10, 't'),
  ('long ids differ at the end', '2024-01-01', 10, repeat('x', 100) || 'a'), ('long ids differ at the end', '2024-01-01', 20, repeat('x', 100) || 'b'),
  ('16 bytes and 17',            '2024-01-01', 10, repeat('y', 16)), ('16 bytes and 17', '2024-01-01', 20, repeat('y', 17)),
  ('id in capitals is another',  '2024-01-01', 10, 'u'),
  (NULL, '2024-01-01', 10, 'z'), ('no time', NULL, 10, 'z'), ('no amount', '2024-01-01', NULL, 'z');
INSERT INTO refunds VALUES
  ('refunded in part', '2024-01-10', -4, 'b'),
  ('refunded, positive amount', '2024-01-10', 10, 'c'),
  ('refunded in two steps', '2024-01-10', 4, 'e'), ('refunded in two steps', '2024-01-11', -6, 'e'),
  ('refunded in full: no order', '2024-01-10', -10, 'g'),
  ('refunded too much', '2024-01-10', -12, 'h'),
  ('refunded before the order', '2024-01-02', -4, 'j'),
  ('refund of another id', '2024-01-10', -10, 'K'),
  ('somebody else', '2024-01-10', -10, 'l'),
  ('refund without id', '2024-01-10', -10, NULL),
  ('refund above all revenue', '2024-01-10', 99, 'nn'),
  ('refund after as_of', '2024-06-30', 10, 't'),
  ('long ids differ at the end', '2024-01-02', 10, repeat('x', 100) || 'a'),
  ('16 bytes and 17', '2024-01-02', 10, repeat('y', 16)),
  ('id in capitals is another', '2024-01-02', 10, 'U'),
  ('refund of nothing', '2024-01-10', 0, 'b'), (NULL, '2024-01-10', 4, 'b');
CALL retention.refresh(as_of => '2024-06-01');
SELECT customer_id, orders, purchase_days AS days, first_order_at, last_order_at, revenue, round(repeat_value, 2) AS repeat_value,
       round(average_order_value, 2) AS average FROM retention.customer ORDER BY customer_id;
SELECT rows_read, without_customer, without_time, without_amount, after_as_of, refund_rows, customers_without_orders, unmatched_refunds FROM retention.population;
CREATE VIEW oracle_rows AS
  SELECT 'order' AS kind, customer_id, ordered_at AS at, amount, order_id FROM orders UNION ALL SELECT 'refund', * FROM refunds;
\set ECHO none
\i tests/oracle/customer.sql
\set ECHO all
SELECT only_engine, only_oracle, same_bounds FROM compare_with_oracle('orders', '2024-06-01');

-- The refund comes due, another is withdrawn, an order is.
DELETE FROM refunds WHERE customer_id = 'refunded in full: no order';
DELETE FROM orders WHERE customer_id = 'refunded in part';
CALL retention.refresh(as_of => '2024-07-01');
SELECT only_engine, only_oracle, same_bounds FROM compare_with_oracle('orders', '2024-07-01');
SELECT customer_id, cause, previous_rfm_group, rfm_group FROM retention.rfm_change
  WHERE previous_rfm_group IS NULL OR rfm_group IS NULL ORDER BY customer_id;

-- Two sources of orders with keys of different types share customers and order ids.
CREATE TABLE web_orders (customer_id bigint, ordered_at date, amount money, order_id uuid);
CREATE TABLE till_refunds (customer_id integer, ordered_at date, amount smallint, order_id varchar(50));
INSERT INTO web_orders VALUES (7, '2024-03-01', 12.50::numeric::money, '00000000-0000-0000-0000-00000000000a'), (7, '2024-03-02', 1::money, NULL);
INSERT INTO orders VALUES ('7', '2024-03-05', 8, '00000000-0000-0000-0000-00000000000a');
INSERT INTO till_refunds VALUES (7, '2024-03-06', 5, '00000000-0000-0000-0000-00000000000a');
SELECT retention.add_source('web_orders', order_id => 'order_id') IS NOT NULL AS web,
       retention.add_source('till_refunds', order_id => 'order_id', kind => 'refund') IS NOT NULL AS till;
CALL retention.refresh(as_of => '2024-07-01');
SELECT orders, purchase_days, first_order_at, last_order_at, revenue FROM retention.customer WHERE customer_id = '7';

-- Refunds whose order id no order of their customer has are counted, with one such id.
SET retention.progress = off;
SELECT retention.drop_metric('orders');
CREATE TABLE sales (customer_id text, order_id text, ordered_at date, amount numeric);
CREATE TABLE credits (LIKE sales);
SELECT retention.add_source('sales', order_id => 'order_id') > 0 AS sales,
       retention.add_source('credits', order_id => 'order_id', kind => 'refund') > 0 AS credits;
CREATE FUNCTION unmatched() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  CALL retention.refresh(full => true, as_of => '2024-07-01');
  RETURN (SELECT concat_ws(' ', refund_rows, unmatched_refunds, coalesce(unmatched_refund, 'none'))
          FROM retention.population ORDER BY refresh_id DESC LIMIT 1);
END $$;
INSERT INTO sales VALUES ('a', '1', '2024-01-01', 10), ('a', '2', '2024-01-01', 0), ('a', '3', '2024-01-01', -4), ('a', NULL, '2024-01-01', -4);
INSERT INTO credits VALUES ('a', '1', '2024-01-02', 4), ('a', '2', '2024-01-02', 1), ('a', NULL, '2024-01-02', 1);
SELECT unmatched() AS only_the_negative_row;
DELETE FROM sales WHERE order_id = '3';
SELECT unmatched() AS all_match;
INSERT INTO credits VALUES ('a', '1-R', '2024-01-02', 4), ('a', '1-R', '2024-01-03', 4);
SELECT unmatched() AS short_id;
-- An id of another customer's; those that are told apart by their hash alone, and are shown as they are.
UPDATE credits SET customer_id = 'b', order_id = '1' WHERE order_id = '1-R';
SELECT unmatched() AS of_another;
UPDATE credits SET order_id = '00000000-0000-0000-0000-00000000000a' WHERE customer_id = 'b';
SELECT unmatched() AS long_id;
UPDATE credits SET order_id = '客客客客客16' WHERE customer_id = 'b';
SELECT unmatched() AS of_17_bytes;
DELETE FROM credits WHERE customer_id = 'b';
INSERT INTO sales VALUES ('b', repeat('7', 20), '2024-01-01', -4.00000001);
SELECT unmatched() AS negative_and_wide;
INSERT INTO sales VALUES ('b', repeat('7', 20), '2024-01-01', 4);
SELECT unmatched() AS now_of_an_order;
-- What is left out altogether is not counted: as of now, by the history, and with a customer whose sums are too long.
INSERT INTO credits VALUES ('b', 'later', '2024-07-02', 4), ('c', 'x', '2024-01-01', 9e37), ('c', 'y', '2024-01-01', 9e37);
INSERT INTO sales VALUES ('b', 'old', '2022-01-01', 10);
INSERT INTO credits VALUES ('b', 'old', '2024-01-01', 10);
SELECT unmatched() AS none;
SELECT retention.alter_metric('orders', history => '1 year');
SELECT unmatched() AS of_an_order_before_the_history;
-- Exact, also where rows go to files; a refresh that reads nothing counts nothing.
TRUNCATE sales, credits;
INSERT INTO sales SELECT i % 5000, CASE WHEN i % 3 = 0 THEN md5(i::text) ELSE i::text END, '2024-01-01', CASE WHEN i % 11 = 0 THEN -1 ELSE i % 7 END
  FROM generate_series(1, 60000) i;
INSERT INTO credits SELECT i % 5000, CASE WHEN i % 3 = 0 THEN md5(i::text) ELSE i::text END, '2024-01-02', i % 5 - 2
  FROM generate_series(1, 120000, 7) i;
SET work_mem = '64kB';
SELECT unmatched() IS NOT NULL AS refreshed;
SELECT unmatched_refunds = (
    SELECT count(*) FROM (SELECT * FROM sales WHERE amount < 0 UNION ALL SELECT * FROM credits) AS r
    WHERE NOT EXISTS (SELECT FROM sales s WHERE (s.customer_id, s.order_id) = (r.customer_id, r.order_id) AND s.amount >= 0)) AS exact,
  unmatched_refunds > 5000 AS many, EXISTS (
    SELECT FROM credits c WHERE c.order_id = l.unmatched_refund UNION ALL SELECT FROM sales s WHERE s.order_id = l.unmatched_refund) AS is_there
  FROM retention.population l ORDER BY refresh_id DESC LIMIT 1;
RESET work_mem;
VACUUM sales, credits;
CALL retention.refresh(as_of => '2024-07-01');
CALL retention.refresh(as_of => '2024-07-01');
SELECT path, unmatched_refunds, unmatched_refund FROM retention.population ORDER BY refresh_id DESC LIMIT 1;

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA refunds_test CASCADE;
