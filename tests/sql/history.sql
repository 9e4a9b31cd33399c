-- History: a simulated year of monthly refreshes, every move checked against plain SQL; causes; the past from the orders.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA history_test;
SET search_path = history_test;
SET TimeZone = 'Pacific/Auckland';
SET DateStyle = 'ISO, YMD';
\set SHOW_CONTEXT never
CREATE TABLE orders AS
  SELECT customer_id, ordered_at, amount FROM retention.simulate_orders(3000, '2021-06-01Z', '2024-01-02Z', 11);
CREATE TABLE refunds AS
  SELECT customer_id, ordered_at + interval '40 days' AS ordered_at, amount FROM orders WHERE customer_id % 13 = 0;
CREATE VIEW oracle_rows AS
  SELECT 'order' AS kind, customer_id::text, ordered_at AS at, amount, NULL::text AS order_id FROM orders
  UNION ALL SELECT 'refund', customer_id::text, ordered_at, amount, NULL FROM refunds;
\set ECHO none
\i tests/oracle/customer.sql
\set ECHO all
CREATE TABLE month (number integer PRIMARY KEY, as_of timestamptz);
INSERT INTO month SELECT m, (date '2023-01-01' + m * interval '1 month')::timestamp AT TIME ZONE 'Europe/Warsaw' FROM generate_series(0, 12) m;

-- What plain SQL makes of each month, and of each step from one to the next.
CREATE TABLE state AS
  SELECT m.number, m.as_of, o.* FROM month m, oracle_customer(m.as_of, 'Europe/Warsaw') AS o;
CREATE VIEW expected_move AS
  SELECT customer_id, m.as_of AS changed_at, b.rfm_group AS previous_rfm_group, a.rfm_group,
         b.r AS previous_r, b.f AS previous_f, b.m AS previous_m, a.r, a.f, a.m
  FROM (SELECT number AS month, * FROM state) AS a
       FULL JOIN (SELECT number + 1 AS month, * FROM state) AS b USING (month, customer_id)
       JOIN month m ON m.number = month
  WHERE m.number > 0 AND a.rfm_group IS DISTINCT FROM b.rfm_group;
CREATE VIEW actual_move AS
  SELECT metric, customer_id, changed_at, previous_rfm_group, rfm_group, previous_r::integer, previous_f::integer, previous_m::integer,
         r::integer, f::integer, m::integer FROM retention.rfm_change;

SELECT retention.add_metric('monthly', 'Europe/Warsaw'), retention.add_source('orders', metric => 'monthly') IS NOT NULL AS orders,
       retention.add_source('refunds', kind => 'refund', metric => 'monthly') IS NOT NULL AS refunds;
VACUUM orders, refunds;
CREATE TABLE kept AS SELECT 0 AS number, c.* FROM retention.customer c LIMIT 0;
DO $$
DECLARE
  day timestamptz;
BEGIN
  FOR n IN 0 .. 12 LOOP
    SELECT as_of INTO day FROM month WHERE number = n;
    CALL retention.refresh('monthly', as_of => day);
    INSERT INTO kept SELECT n, c.* FROM retention.customer c WHERE c.metric = 'monthly';
  END LOOP;
END $$;
SELECT count(*) > 1000 AS many,
       count(*) = (SELECT count(*) FROM expected_move) AS as_many_moves FROM actual_move WHERE metric = 'monthly';
SELECT count(*) AS differences FROM (
  (SELECT customer_id, changed_at, previous_rfm_group, rfm_group, previous_r, previous_f, previous_m, r, f, m FROM actual_move WHERE metric = 'monthly'
   EXCEPT ALL TABLE expected_move)
  UNION ALL
  (TABLE expected_move EXCEPT ALL
   SELECT customer_id, changed_at, previous_rfm_group, rfm_group, previous_r, previous_f, previous_m, r, f, m FROM actual_move WHERE metric = 'monthly')) AS d;
SELECT count(*) AS differing_months FROM month m
  WHERE EXISTS (SELECT customer_id, orders, revenue::text, r, f, m, rfm_group FROM kept k WHERE k.number = m.number
                EXCEPT SELECT customer_id, orders, revenue, r, f, m, rfm_group FROM state s WHERE s.number = m.number)
     OR (SELECT count(*) FROM kept k WHERE k.number = m.number) <> (SELECT count(*) FROM state s WHERE s.number = m.number);
-- The last move decides on previous_rfm_group and rfm_group_changed_at.
SELECT count(*) AS wrong FROM retention.customer c
  LEFT JOIN (SELECT DISTINCT ON (customer_id) * FROM expected_move ORDER BY customer_id, changed_at DESC) AS e USING (customer_id)
  WHERE c.metric = 'monthly'
    AND (c.previous_rfm_group, c.rfm_group_changed_at)
        IS DISTINCT FROM (e.previous_rfm_group, coalesce(e.changed_at, (SELECT as_of FROM month WHERE number = 0)));
SELECT count(*) AS wrong_sizes FROM month m JOIN retention.population p ON p.metric = 'monthly' AND p.as_of = m.as_of
  CROSS JOIN LATERAL jsonb_each_text(p.group_sizes) AS size
  WHERE size.value::bigint <> (SELECT count(*) FROM state s WHERE s.number = m.number AND s.rfm_group = size.key)
     OR p.customers <> (SELECT count(*) FROM state s WHERE s.number = m.number);
SELECT count(*) = 13 AS population, bool_and(NOT backfilled) AS real,
       bool_and((p.frequency_bounds, p.monetary_bounds) IS NOT DISTINCT FROM (SELECT (s.f_bounds, s.m_bounds) FROM state s WHERE s.as_of = p.as_of LIMIT 1)) AS bounds
  FROM retention.population p WHERE metric = 'monthly';
SELECT cause, count(*) > 0 AS some FROM retention.rfm_change WHERE metric = 'monthly' GROUP BY cause ORDER BY cause;
-- Causes: a new customer has ordered; no other may be named order whose orders are the same as a month before.
SELECT count(*) AS wrong_causes FROM retention.rfm_change e
  JOIN month m ON m.as_of = e.changed_at
  LEFT JOIN state a ON a.number = m.number AND a.customer_id = e.customer_id
  LEFT JOIN state b ON b.number = m.number - 1 AND b.customer_id = e.customer_id
  CROSS JOIN LATERAL (SELECT (a.orders, a.revenue) IS NOT DISTINCT FROM (b.orders, b.revenue) AS same_orders,
    oracle_score(a.orders, b.f_bounds) = b.f AND oracle_score(a.revenue::float8, b.m_bounds) = b.m AND a.r = b.r AS threshold_only) AS facts
  WHERE e.metric = 'monthly'
    AND NOT CASE e.cause WHEN 'order' THEN NOT same_orders
                         WHEN 'refund' THEN NOT same_orders AND a.revenue::numeric < b.revenue::numeric
                         WHEN 'time' THEN same_orders AND a.r < b.r
                         WHEN 'threshold' THEN (SELECT c.rfm_group FROM retention.rfm_cell c WHERE (c.scheme, c.r, c.f, c.m) =
                           ('standard', a.r, oracle_score(a.orders, b.f_bounds), oracle_score(a.revenue::float8, b.m_bounds))) = b.rfm_group
                         ELSE false END;

-- customer_at shows what the refreshes of those days gave.
SELECT count(*) AS differing_months FROM month m
  WHERE EXISTS (
    (SELECT customer_id, orders, purchase_days, first_order_at, last_order_at, revenue, repeat_value, average_order_value,
            average_days_between_orders, days_between_orders_sd, r, f, m, rfm_group FROM retention.customer_at('monthly', m.as_of)
     EXCEPT ALL
     SELECT customer_id, orders, purchase_days, first_order_at, last_order_at, revenue, repeat_value, average_order_value,
            average_days_between_orders, days_between_orders_sd, r, f, m, rfm_group FROM kept k WHERE k.number = m.number))
    OR (SELECT count(*) FROM retention.customer_at('monthly', m.as_of)) <> (SELECT count(*) FROM kept k WHERE k.number = m.number);
SELECT bool_and(days_since_last_order = (timestamptz '2023-07-01 00:00+02' AT TIME ZONE 'Europe/Warsaw')::date - (last_order_at AT TIME ZONE 'Europe/Warsaw')::date) AS days
  FROM retention.customer_at('monthly', '2023-07-01 00:00+02');

-- backfill_history makes of a metric that was only just made what the monthly refreshes made of the other.
SELECT retention.add_metric('late', 'Europe/Warsaw'), retention.add_source('orders', metric => 'late') IS NOT NULL AS orders,
       retention.add_source('refunds', kind => 'refund', metric => 'late') IS NOT NULL AS refunds;
SELECT as_of AS newest FROM month WHERE number = 12 \gset
SELECT as_of AS oldest FROM month WHERE number = 0 \gset
SELECT as_of AS middle FROM month WHERE number = 6 \gset
CALL retention.refresh('late', as_of => :'newest');
CREATE FUNCTION compare_history() RETURNS TABLE (what text, differences bigint) LANGUAGE sql AS $$
  SELECT 'moves', count(*) FROM (
    (SELECT customer_id, changed_at, cause, previous_rfm_group, rfm_group, previous_r, previous_f, previous_m, r, f, m FROM retention.rfm_change WHERE metric = 'late'
     EXCEPT ALL SELECT customer_id, changed_at, cause, previous_rfm_group, rfm_group, previous_r, previous_f, previous_m, r, f, m FROM retention.rfm_change WHERE metric = 'monthly')
    UNION ALL
    (SELECT customer_id, changed_at, cause, previous_rfm_group, rfm_group, previous_r, previous_f, previous_m, r, f, m FROM retention.rfm_change WHERE metric = 'monthly'
     EXCEPT ALL SELECT customer_id, changed_at, cause, previous_rfm_group, rfm_group, previous_r, previous_f, previous_m, r, f, m FROM retention.rfm_change WHERE metric = 'late')) AS a
  UNION ALL
  SELECT 'populations', count(*) FROM (
    (SELECT as_of, customers, orders, recency_limits, frequency_bounds, monetary_bounds, group_sizes FROM retention.population WHERE metric = 'monthly'
     EXCEPT ALL SELECT as_of, customers, orders, recency_limits, frequency_bounds, monetary_bounds, group_sizes FROM retention.population WHERE metric = 'late')
    UNION ALL
    (SELECT as_of, customers, orders, recency_limits, frequency_bounds, monetary_bounds, group_sizes FROM retention.population WHERE metric = 'late'
     EXCEPT ALL SELECT as_of, customers, orders, recency_limits, frequency_bounds, monetary_bounds, group_sizes FROM retention.population WHERE metric = 'monthly')) AS b
  UNION ALL
  SELECT 'customers', count(*) FROM (
    SELECT customer_id, orders, r, f, m, rfm_group, previous_rfm_group, rfm_group_changed_at FROM retention.customer WHERE metric = 'late'
    EXCEPT ALL SELECT customer_id, orders, r, f, m, rfm_group, previous_rfm_group, rfm_group_changed_at FROM retention.customer WHERE metric = 'monthly') AS c
$$;
SET TimeZone = 'Europe/Warsaw';
SELECT retention.backfill_history('late', :'oldest') = (SELECT count(*) FROM expected_move) AS moves;
SELECT * FROM compare_history();
SELECT count(*) FILTER (WHERE backfilled) AS backfilled, count(*) AS all FROM retention.population WHERE metric = 'late';
SELECT retention.backfill_history('late', :'middle');
-- In two parts, the later one first, and under little memory and another session's time zone.
SELECT retention.reset_metric('late');
CALL retention.refresh('late', as_of => :'newest');
SET work_mem = '64kB';
SET TimeZone = 'America/New_York';
SELECT retention.backfill_history('late', :'middle') > 0 AS some;
SELECT retention.backfill_history('late', :'oldest') > 0 AS some;
SELECT * FROM compare_history();
RESET work_mem;
SET TimeZone = 'Pacific/Auckland';
-- What comes after a backfilled history goes on from it.
INSERT INTO orders SELECT customer_id, timestamptz '2024-01-20', 500 FROM orders WHERE customer_id % 17 = 0 GROUP BY 1;
CALL retention.refresh('late', as_of => '2024-02-01Z');
CALL retention.refresh('monthly', as_of => '2024-02-01Z');
SELECT * FROM compare_history();
SELECT retention.backfill_history('late', '2025-01-01Z');
SELECT retention.backfill_history('late', '2022-01-01Z', step => '-1 month');
SELECT retention.backfill_history('late', '-infinity');
SELECT retention.backfill_history('nowhere', '2022-01-01Z');
SELECT retention.add_metric('fresh'), retention.add_source('orders', metric => 'fresh') IS NOT NULL AS orders;
SELECT retention.backfill_history('fresh', '2022-01-01Z');

-- The history window: orders leave it as time passes, and customers with them.
SELECT retention.drop_metric('late'), retention.drop_metric('monthly'), retention.drop_metric('fresh');
SELECT retention.add_metric('window', 'Europe/Warsaw', history => '6 months'), retention.add_source('orders', metric => 'window') IS NOT NULL AS orders,
       retention.add_source('refunds', kind => 'refund', metric => 'window') IS NOT NULL AS refunds;
CREATE FUNCTION window_verdict(day timestamptz) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s differ, bounds %s, %s', only_engine + only_oracle, same_bounds, CASE WHEN same > 100 THEN 'many agree' ELSE same::text END)
  FROM compare_with_oracle('window', day, 'Europe/Warsaw', (day AT TIME ZONE 'Europe/Warsaw' - interval '6 months') AT TIME ZONE 'Europe/Warsaw')
$$;
CALL retention.refresh('window', as_of => '2023-08-31 00:30+02');
SELECT window_verdict('2023-08-31 00:30+02');
VACUUM orders, refunds;
CALL retention.refresh('window', as_of => '2023-08-31 00:30+02');
CALL retention.refresh('window', as_of => '2023-10-31 00:30+01');
SELECT window_verdict('2023-10-31 00:30+01');
CALL retention.refresh('window', as_of => '2024-06-15 00:30+02');
SELECT window_verdict('2024-06-15 00:30+02');
SELECT l.path, l.before_history = (SELECT count(*) FROM oracle_rows WHERE at < (l.as_of AT TIME ZONE 'Europe/Warsaw' - interval '6 months') AT TIME ZONE 'Europe/Warsaw') AS before_history
  FROM retention.population l WHERE metric = 'window' ORDER BY refresh_id;
SELECT cause, count(*) > 0 AS some FROM retention.rfm_change WHERE metric = 'window' AND rfm_group IS NULL GROUP BY cause;

-- Causes, one by one. Frequency 2 and 4 orders, revenue 100 and 200.
CREATE TABLE cause (customer_id text, ordered_at date, amount numeric, order_id text);
CREATE TABLE cause_refund (LIKE cause);
SELECT retention.add_metric('cause', frequency_values => '{2,4}', monetary_values => '{100,200}'),
       retention.add_source('cause', order_id => 'order_id', metric => 'cause') IS NOT NULL AS orders,
       retention.add_source('cause_refund', order_id => 'order_id', kind => 'refund', metric => 'cause') IS NOT NULL AS refunds;
INSERT INTO cause
  SELECT name, '2024-01-01'::date + 10 * i, 30, i::text
  FROM unnest('{idle,orders again,orders much,gets a refund,refunded in full,order deleted,comes and goes,changes nothing}'::text[]) AS name, generate_series(1, 2) i;
CALL retention.refresh('cause', as_of => '2024-06-01');
INSERT INTO cause VALUES ('new', '2024-06-10', 10, 'x'), ('orders again', '2024-06-10', 40, 'x'), ('orders much', '2024-06-10', 500, 'x');
INSERT INTO cause_refund VALUES ('gets a refund', '2024-06-10', 30, '2'), ('refunded in full', '2024-06-10', -30, '1'), ('refunded in full', '2024-06-10', -30, '2');
DELETE FROM cause WHERE customer_id = 'order deleted' AND order_id = '2' OR customer_id = 'comes and goes';
CREATE VIEW latest AS
  SELECT customer_id, cause, concat(previous_r, previous_f, previous_m) AS before, concat(r, f, m) AS after, previous_rfm_group, rfm_group
  FROM retention.rfm_change WHERE metric = 'cause' AND changed_at = (SELECT max(as_of) FROM retention.population WHERE metric = 'cause');
CALL retention.refresh('cause', as_of => '2024-06-20');
SELECT * FROM latest ORDER BY customer_id;
-- Time alone.
CALL retention.refresh('cause', as_of => '2024-09-01');
SELECT * FROM latest ORDER BY customer_id;
-- Settings, and settings with an order.
INSERT INTO cause VALUES ('idle', '2024-09-05', 1000, 'y'), ('comes and goes', '2024-09-05', 1, 'y');
SELECT retention.alter_metric('cause', recency_limits => '{10,5}');
CALL retention.refresh('cause', as_of => '2024-09-06');
SELECT * FROM latest ORDER BY customer_id;
-- A session that writes intervals and numbers in another way is no change of settings.
SET IntervalStyle = 'iso_8601';
SET extra_float_digits = -5;
SET DateStyle = 'German';
CALL retention.refresh('cause', as_of => '2024-09-14');
RESET IntervalStyle;
RESET extra_float_digits;
SET DateStyle = 'ISO, YMD';
SELECT * FROM latest ORDER BY customer_id;
-- Thresholds: somebody else buys, and who did nothing falls behind; and who bought, but not enough to stay.
SELECT retention.reset_metric('cause'), retention.alter_metric('cause', recency_limits => '{3650,3649}');
UPDATE retention.metric SET frequency_values = NULL, monetary_values = NULL WHERE metric = 'cause';
TRUNCATE cause, cause_refund;
INSERT INTO cause SELECT 'c' || i, '2024-01-01', 10 * i FROM generate_series(1, 9) i;
CALL retention.refresh('cause', as_of => '2024-06-01');
SELECT customer_id, m, rfm_group FROM retention.customer WHERE metric = 'cause' ORDER BY customer_id;
INSERT INTO cause SELECT 'd' || i, '2024-06-02', 1000 FROM generate_series(1, 9) i;
INSERT INTO cause VALUES ('c7', '2024-06-02', 1, NULL);
CALL retention.refresh('cause', as_of => '2024-06-03');
SELECT * FROM latest ORDER BY customer_id;

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA history_test CASCADE;
