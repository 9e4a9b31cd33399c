-- simulate_orders: the same rows everywhere, of the shape promised, and as the models expect.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA test_simulate;
SET search_path = test_simulate, pg_catalog;

CREATE FUNCTION digest(customers bigint, "from" timestamptz, "to" timestamptz, seed bigint) RETURNS text LANGUAGE sql AS $$
  SELECT count(*) || ' ' || md5(string_agg(concat_ws(' ', customer_id, order_id, extract(epoch FROM ordered_at), amount), E'\n' ORDER BY order_id))
  FROM retention.simulate_orders(customers, "from", "to", seed)
$$;

-- These rows have been promised.
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SELECT * FROM retention.simulate_orders(3, '2024-01-01', '2024-12-31');
SELECT digest(1000, '2020-01-01', '2024-01-01', 1);
SELECT digest(1000, '2020-01-01', '2024-01-01', 2);
SELECT digest(1000, '2020-01-01', '2024-01-01', -9223372036854775808);
SELECT digest(200, '2023-12-31 12:34:56.789', '2023-12-31 23:59:59', 42);
SELECT digest(10000, '2000-01-01 BC', '2001-01-01', 7);
-- The session's settings have no part in them, the arguments all have.
SET TimeZone = 'Asia/Kathmandu';
SET DateStyle = 'SQL, DMY';
SET extra_float_digits = 0;
SELECT digest(1000, '2020-01-01 00:00+00', '2024-01-01 00:00+00', 1);
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
CREATE FUNCTION total(VARIADIC float8[]) RETURNS numeric LANGUAGE sql AS $$
  SELECT sum(amount * extract(epoch FROM ordered_at - '2020-01-01'))
  FROM retention.simulate_orders(100, '2020-01-01', '2024-01-01', $1[1]::bigint, $1[2], $1[3], $1[4], $1[5], $1[6], $1[7], $1[8])
$$;
SELECT count(DISTINCT total) AS different
FROM (VALUES (total(1, 0.55, 22, 0.8, 4, 6.25, 3.74, 15.44)), (total(2, 0.55, 22, 0.8, 4, 6.25, 3.74, 15.44)), (total(1, 0.56, 22, 0.8, 4, 6.25, 3.74, 15.44)),
             (total(1, 0.55, 23, 0.8, 4, 6.25, 3.74, 15.44)), (total(1, 0.55, 22, 0.9, 4, 6.25, 3.74, 15.44)), (total(1, 0.55, 22, 0.8, 5, 6.25, 3.74, 15.44)),
             (total(1, 0.55, 22, 0.8, 4, 6.5, 3.74, 15.44)), (total(1, 0.55, 22, 0.8, 4, 6.25, 3.75, 15.44)), (total(1, 0.55, 22, 0.8, 4, 6.25, 3.74, 15.5))) AS t(total);
SELECT total(1, 0.55, 22, 0.8, 4, 6.25, 3.74, 15.44) =
       (SELECT sum(amount * extract(epoch FROM ordered_at - '2020-01-01')) FROM retention.simulate_orders(100, '2020-01-01', '2024-01-01')) AS defaults;

-- More customers leave the first ones as they were; another start moves them all.
CREATE TABLE hundred AS SELECT * FROM retention.simulate_orders(100, '2020-01-01', '2024-01-01');
\set ECHO none
\i tests/include/differs.sql
\set ECHO all
SELECT differs('TABLE hundred', $$SELECT * FROM retention.simulate_orders(1000, '2020-01-01', '2024-01-01') WHERE customer_id <= 100$$);
SELECT differs($$SELECT customer_id, order_id, ordered_at + interval '400 days 0.25 second', amount FROM hundred$$,
               $$SELECT * FROM retention.simulate_orders(100, '2021-02-04 00:00:00.25', '2025-02-04 00:00:00.25')$$);

-- Every customer has an order; orders are numbered in sequence, by customer and time, to the second and the cent.
CREATE TABLE shop AS SELECT * FROM retention.simulate_orders(20000, '2022-01-01', '2024-01-01', 5);
SELECT count(DISTINCT customer_id) AS customers, min(customer_id) AS first, max(customer_id) AS last,
       min(order_id) = 1 AND max(order_id) = count(*) AND count(DISTINCT order_id) = count(*) AS numbered,
       bool_and(ordered_at >= '2022-01-01' AND ordered_at < '2024-01-01') AS within, bool_and(date_trunc('second', ordered_at) = ordered_at) AS seconds,
       bool_and(amount >= 0.01) AS above_zero, bool_and(scale(amount) = 2 AND amount::text = to_char(amount, 'FM999999999990.00')) AS cents
FROM shop;
SELECT bool_and((customer_id, ordered_at) >= (customer_before, ordered_before)) AS by_customer_and_time
FROM (SELECT *, lag(customer_id) OVER numbered AS customer_before, lag(ordered_at) OVER numbered AS ordered_before
      FROM shop WINDOW numbered AS (ORDER BY order_id)) AS row;

-- Means within 5 standard errors of the models': first orders, amounts, customers with one order.
CREATE FUNCTION near(mean float8, sd float8, count bigint, expected float8) RETURNS boolean LANGUAGE sql AS
  'SELECT sd / sqrt(count) < 0.02 * expected AND abs(mean - expected) < 5 * sd / sqrt(count)';
SELECT near(avg(first), stddev(first), count(*), 365) AS first_day, near(avg(value), stddev(value), count(*), 6.25 * 15.44 / 2.74) AS value,
       near(avg(once), stddev(once), count(*), 22 ^ 0.55 * ((22 + 730) ^ 0.45 - 22 ^ 0.45) / 0.45 / 730) AS once
FROM (SELECT extract(epoch FROM min(ordered_at) - '2022-01-01')::float8 / 86400 AS first, avg(amount)::float8 AS value, (count(*) = 1)::integer AS once
      FROM shop GROUP BY customer_id) AS customer;
-- Without dropout, r / alpha orders a day; with certain dropout, at most one repeat order.
SELECT near(avg(repeats), stddev(repeats), count(*), 2.0 / 50 * 365) AS all_stay
FROM (SELECT count(*) - 1 AS repeats FROM retention.simulate_orders(10000, '2022-01-01', '2024-01-01', r => 2, alpha => 50, a => 1, b => 1e12) GROUP BY customer_id) AS customer;
SELECT max(repeats) AS most, near(avg(repeats), stddev(repeats), count(*), 1 - 50.0 / 730 * ln(1 + 730 / 50.0)) AS all_leave
FROM (SELECT count(*) - 1 AS repeats FROM retention.simulate_orders(10000, '2022-01-01', '2024-01-01', r => 1, alpha => 50, a => 1e12, b => 1) GROUP BY customer_id) AS customer;
-- One customer's mean differs from another's: most of the amounts' variance is between customers.
SELECT round(regr_r2(later.amount, first.amount)::numeric, 1) BETWEEN 0.2 AND 0.9 AS spend_persists
FROM (SELECT customer_id, ln(amount) AS amount, row_number() OVER (PARTITION BY customer_id ORDER BY order_id) AS n FROM shop) AS first
     JOIN (SELECT customer_id, ln(amount) AS amount, row_number() OVER (PARTITION BY customer_id ORDER BY order_id) AS n FROM shop) AS later USING (customer_id)
WHERE first.n = 1 AND later.n = 2;

-- Called in other ways: in the select list, laterally, with few rows or none wanted.
SELECT count(*) = (SELECT count(*) FROM hundred) AS same FROM (SELECT retention.simulate_orders(100, '2020-01-01', '2024-01-01')) AS row;
SELECT seed, count(DISTINCT customer_id) AS customers FROM generate_series(1, 3) AS seed, LATERAL retention.simulate_orders(seed, '2020-01-01', '2024-01-01', seed) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM (SELECT FROM retention.simulate_orders(100, '2020-01-01', '2024-01-01') LIMIT 5) AS row;
SELECT count(*) FROM retention.simulate_orders(0, '2020-01-01', '2024-01-01');
SELECT count(*) FROM retention.simulate_orders(NULL, '2020-01-01', '2024-01-01');

-- The whole of time, the shortest of times, and parameters at their ends.
SELECT count(*) >= 10 AS orders, bool_and(ordered_at >= '4713-01-01 BC') AS within FROM retention.simulate_orders(10, '4713-01-01 BC', '294276-12-31 23:59:59.999999', a => 1e6, b => 1);
SELECT count(*) AS orders, bool_and(ordered_at = '2024-01-01') AS within FROM retention.simulate_orders(5, '2024-01-01', '2024-01-01 00:00:00.000001');
SELECT bool_and(amount = 0.01) AS least FROM retention.simulate_orders(100, '2020-01-01', '2024-01-01', v => 1e-12);
SELECT bool_and(amount = 1e13) AS most FROM retention.simulate_orders(100, '2020-01-01', '2024-01-01', v => 1e40);
SELECT count(*) AS once_each FROM retention.simulate_orders(100, '2020-01-01', '2024-01-01', r => 1e-12);
SELECT count(*) AS once_each FROM retention.simulate_orders(100, '2020-01-01', '2024-01-01', alpha => 1e40);

-- What cannot be simulated is an error that says why.
CREATE FUNCTION failure(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  detail text;
BEGIN
  EXECUTE query;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN SQLSTATE || ' ' || SQLERRM || coalesce('. ' || nullif(detail, ''), '');
END $$;
SELECT arguments, failure(format('SELECT FROM retention.simulate_orders(%s)', arguments)) AS error
FROM (VALUES ($$-1, '2020-01-01', '2024-01-01'$$), ($$1, '2024-01-01', '2020-01-01'$$), ($$1, '2024-01-01', '2024-01-01'$$),
             ($$1, '-infinity', '2024-01-01'$$), ($$1, '2024-01-01', 'infinity'$$)) AS bad(arguments);
SELECT parameter, value, failure(format('SELECT FROM retention.simulate_orders(1, ''2020-01-01'', ''2024-01-01'', %s => %L)', parameter, value)) AS error
FROM unnest('{r,alpha,a,b,p,q,v}'::text[]) AS parameter, unnest('{0,-1,NaN,Infinity}'::text[]) AS value ORDER BY parameter, value COLLATE "C";
DROP SCHEMA test_simulate CASCADE;
