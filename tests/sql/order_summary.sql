-- order_summary against the same numbers in plain SQL.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
CREATE SCHEMA test_summary;
SET search_path = test_summary, pg_catalog;

CREATE TABLE placed (customer text, ordered_at timestamptz, amount numeric);
CREATE TYPE summary_text AS (
  customer text, orders bigint, purchase_days integer, first_order_at timestamptz, last_order_at timestamptz,
  revenue text, repeat_value text, average_order_value text,
  average_days_between_orders double precision, days_between_orders_sd double precision);

-- The plain SQL: what the columns' definitions say. Amounts as text, so that their decimals count too.
CREATE FUNCTION expected(zone text) RETURNS SETOF summary_text LANGUAGE sql STABLE AS $$
  WITH valid AS (
    SELECT customer, ordered_at, amount, (ordered_at AT TIME ZONE zone)::date AS day
    FROM placed WHERE ordered_at IS NOT NULL AND amount IS NOT NULL),
  purchase AS (
    SELECT *, min(day) OVER (PARTITION BY customer) AS first_day FROM valid WHERE amount > 0),
  revenue AS (
    SELECT customer, sum(amount) AS revenue FROM valid GROUP BY customer),
  total AS (
    SELECT customer, count(*) AS orders, count(DISTINCT day)::integer AS purchase_days,
           min(ordered_at) AS first_order_at, max(ordered_at) AS last_order_at,
           sum(amount) - sum(amount) FILTER (WHERE day = first_day) AS repeat_total
    FROM purchase GROUP BY customer),
  gap AS (
    SELECT customer, (day - lag(day) OVER (PARTITION BY customer ORDER BY day))::numeric AS gap
    FROM (SELECT DISTINCT customer, day FROM purchase) AS purchase_day),
  rhythm AS (
    SELECT customer, count(gap) AS gaps, sum(gap) AS sum, sum(gap * gap) AS squares FROM gap GROUP BY customer)
  SELECT customer, CASE WHEN revenue IS NOT NULL THEN coalesce(orders, 0) END,
         CASE WHEN revenue IS NOT NULL THEN coalesce(purchase_days, 0) END,
         first_order_at, last_order_at, revenue::text,
         (repeat_total / nullif(gaps, 0))::text, (revenue / orders)::text, sum::float8 / nullif(gaps, 0),
         CASE WHEN gaps > 1 THEN sqrt((gaps * squares - sum * sum)::float8 / (gaps * (gaps - 1))::float8) END
  FROM (SELECT DISTINCT customer FROM placed) AS customer
       LEFT JOIN revenue USING (customer) LEFT JOIN total USING (customer) LEFT JOIN rhythm USING (customer)
$$;

CREATE FUNCTION columns(customer text, s retention.order_summary) RETURNS summary_text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT customer, s.orders, s.purchase_days, s.first_order_at, s.last_order_at, s.revenue::text, s.repeat_value::text,
         s.average_order_value::text, s.average_days_between_orders, s.days_between_orders_sd
$$;
CREATE FUNCTION actual(zone text) RETURNS SETOF summary_text LANGUAGE sql STABLE AS $$
  SELECT columns(customer, retention.order_summary(ordered_at, amount, zone)) FROM placed GROUP BY customer
$$;
\set ECHO none
\i tests/include/differs.sql
\set ECHO all
-- Counts the rows that are not in both, in every zone given.
CREATE FUNCTION differences(VARIADIC zones text[])
  RETURNS TABLE (zone text, customers bigint, with_sd bigint, differ bigint) LANGUAGE sql AS $$
  SELECT zone, c.customers, c.with_sd, differs(format('SELECT * FROM expected(%L)', zone), format('SELECT * FROM actual(%L)', zone))
  FROM unnest(zones) AS zone, LATERAL (SELECT count(*) AS customers, count(days_between_orders_sd) AS with_sd FROM actual(zone)) AS c
$$;

-- The plain SQL itself, by an example worked out by hand: days 1, 3, 7 and 13, gaps 2, 4 and 6.
INSERT INTO placed VALUES
  ('anna', '2024-05-03 12:00+00', 10.5), ('anna', '2024-05-01 08:00+00', 20), ('anna', '2024-05-01 21:30+00', 5),
  ('anna', '2024-05-07 00:00+00', 4.25), ('anna', '2024-05-13 23:59:59+00', 1), ('anna', '2024-05-14 00:00+00', -2), ('anna', NULL, 3), ('anna', '2024-01-01', NULL);
SELECT * FROM expected('UTC');
SELECT * FROM actual('UTC');
SELECT retention.order_summary(ordered_at, amount) FROM placed;

-- A simulated shop, with refunds, free orders, missing values and amounts of other precision.
TRUNCATE placed;
INSERT INTO placed
SELECT customer_id, CASE WHEN order_id % 97 <> 0 THEN ordered_at END,
       CASE WHEN order_id % 89 = 0 THEN NULL WHEN order_id % 13 = 0 THEN -amount WHEN order_id % 17 = 0 THEN 0.000
            WHEN order_id % 19 = 0 THEN amount / 7 WHEN order_id % 23 = 0 THEN trunc(amount) ELSE amount END
FROM retention.simulate_orders(3000, '2020-01-01', '2024-01-01');
SELECT * FROM differences('UTC', 'Europe/Warsaw', 'America/Los_Angeles', 'Pacific/Kiritimati');

-- The session's zone has no part in it.
CREATE TABLE before AS SELECT actual('Europe/Warsaw');
SET TimeZone = 'Pacific/Apia';
SELECT differs($$SELECT actual('Europe/Warsaw')$$, 'TABLE before');
SELECT differs('SELECT columns(customer, retention.order_summary(ordered_at, amount)) FROM placed GROUP BY customer', $$SELECT actual('UTC')$$);
SET TimeZone = 'UTC';

-- Nor has the order of the rows.
SELECT differs($$SELECT columns(customer, retention.order_summary(ordered_at, amount, 'Europe/Warsaw' ORDER BY md5(ordered_at::text)))
                 FROM placed GROUP BY customer$$, 'TABLE before');
SELECT differs($$SELECT columns(customer, retention.order_summary(ordered_at, amount, 'Europe/Warsaw' ORDER BY ordered_at DESC NULLS FIRST, amount))
                 FROM placed GROUP BY customer$$, 'TABLE before');

-- Days with changes of the clock, by the quarter of an hour and around every local midnight by the microsecond.
CREATE TABLE zone_day (zone text, day date);
INSERT INTO zone_day VALUES
  ('Europe/Warsaw', '2024-03-31'), ('Europe/Warsaw', '2024-10-27'), ('Europe/Warsaw', '1915-08-04'),
  ('America/New_York', '2024-03-10'), ('America/New_York', '2024-11-03'), ('America/New_York', '1883-11-18'),
  ('Asia/Kathmandu', '1985-12-31'), ('Asia/Kathmandu', '1986-01-01'), ('Pacific/Apia', '2011-12-30'),
  ('America/Sao_Paulo', '2018-11-04'), ('America/Sao_Paulo', '2018-02-18'), ('Australia/Lord_Howe', '2024-04-07'),
  ('Africa/Casablanca', '2024-03-10'), ('America/Juneau', '1867-10-18'), ('Asia/Manila', '1844-12-31'),
  ('Europe/Lisbon', '2199-12-31'), ('Europe/Lisbon', '2200-03-30'), ('Australia/Sydney', '2500-10-03'), ('UTC', '2000-01-01');
TRUNCATE placed;
INSERT INTO placed
SELECT zone || day, (day - 1)::timestamp AT TIME ZONE 'UTC' + minutes * interval '1 minute', 1 + minutes % 7
FROM zone_day, generate_series(0, 4 * 1440, 15) AS minutes;
INSERT INTO placed
SELECT zone || ' midnights ' || day || pace, (day + days)::timestamp AT TIME ZONE zone + pace * micro * interval '1 microsecond', 2 + micro
FROM zone_day, generate_series(-3, 3) AS days, generate_series(-1, 1) AS micro, (VALUES (1), (1000000), (3600000000)) AS p(pace);
SELECT zone, (d).* FROM (SELECT DISTINCT zone, differences(zone) AS d FROM zone_day) AS z ORDER BY zone COLLATE "C";
SELECT * FROM differences('EST5EDT,M3.2.0,M11.1.0', '<+0330>-3:30', 'Etc/GMT+12');

-- Amounts: 30 digits, 12 decimals, all that fits into 38 digits; zero, negative, cancelled out.
TRUNCATE placed;
INSERT INTO placed
SELECT customer, '2024-01-01'::timestamptz + (ordinal * ordinal) * interval '1 day', amount::numeric
FROM (VALUES
  ('30 digits', '{123456789012345678901234567890,987654321098765432109876543210,1,-5}'),
  ('12 decimals', '{0.000000000001,1.234567890123,99999.999999999999,0.100000000000}'),
  ('30 digits and 8 decimals', '{123456789012345678901234567890.12345678,0.00000001}'),
  ('38 nines', '{99999999999999999999999999999999999999}'),
  ('38 nines, 12 of them decimals', '{99999999999999999999999999.999999999999}'),
  ('minus 38 nines', '{1,-99999999999999999999999999999999999999}'),
  ('the largest', '{170141183460469231731687303715884105726,1}'),
  ('scales', '{5,5.0,5.00,5.000,5.0000000000}'), ('trailing zeros', '{10000,10000.00,100000000,1e20,100000000000000000000.0}'),
  ('zero only', '{0,0.00}'), ('negative only', '{-1.50,-2}'), ('zero and an order', '{0.0000,3}'), ('cancelled', '{7.25,-7.25}'),
  ('cancelled with decimals', '{7.25,-7.250000}'), ('net below zero', '{10.00,-30.005}'), ('repeat only', '{1,2,3}'),
  ('thirds', '{1,1,1,2}'), ('tiny', '{1e-30,2e-30,1e-30}'), ('very tiny', '{1e-990}'), ('smaller than any quotient', '{4e-1001}'),
  ('rounded to the last place', '{5e-1001}'), ('many decimals shown', ('{0.' || repeat('0', 40) || ',1,2}')::text),
  ('more than are shown', ('{0.' || repeat('0', 2000) || ',1,2}')::text), ('cents', '{0.01,0.01,0.01}'),
  ('halves', '{0.5,0.25,0.125,0.0625,0.03125,0.015625}'), ('base 10000', '{9999,0.0001,10000,9999.9999}')
) AS example(customer, amounts), unnest(amounts::text[]) WITH ORDINALITY AS a(amount, ordinal);
INSERT INTO placed VALUES ('nulls only', NULL, NULL), ('nulls only', '2024-01-01', NULL), ('nulls only', NULL, 1);
SELECT * FROM differences('UTC');
INSERT INTO placed
SELECT 'random ' || g % 400, '2024-01-01'::timestamptz + (g % 53) * interval '7 hours',
       ((hashint8(g) % 100 - 20)::numeric * power(10::numeric, hashint8(g + 10000) % 9) + hashint8(g + 20000) % 10000)
         / power(10::numeric, abs(hashint8(g + 30000) % 10))
FROM generate_series(1, 3000) AS g;
UPDATE placed SET amount = round(amount, abs(hashint8(length(amount::text)) % 9)) WHERE customer LIKE 'random%';
-- with_sd depends on the version's numeric power.
SELECT zone, customers, differ FROM differences('UTC', 'Asia/Tokyo');

-- Amounts are stored at odd addresses, and with the long header or the short one.
CREATE TABLE stored (flag boolean, amount numeric, other boolean, amount2 numeric);
INSERT INTO stored SELECT true, g + 0.25, false, -g FROM generate_series(1, 10) AS g;
INSERT INTO stored VALUES (true, ('0.' || repeat('0', 16000) || '1')::numeric, false, NULL);
SELECT (retention.order_summary('2024-01-01', amount)).revenue = sum(amount) AS sum,
       (retention.order_summary('2024-01-01', amount2)).revenue = sum(amount2) AS sum2
FROM stored WHERE amount > 0.25;
SELECT (retention.order_summary('2024-01-01', amount)).revenue = sum(amount) AS sum FROM stored WHERE amount < 0.25;

-- Far-off times: BC, the year 10,000, the first and last timestamps; the same instant twice.
TRUNCATE placed;
INSERT INTO placed
SELECT customer, ordered_at, 1.5
FROM (VALUES ('bc', '0044-03-15 23:30+00 BC'), ('bc', '0001-12-31 23:59:59.999999+00 BC'), ('bc', '0001-01-01 00:00+00'),
             ('future', '9999-12-31 23:59:59.999999+00'), ('future', '10000-01-01 00:00+00'), ('future', '10000-07-01 23:15+00'),
             ('future', '10000-07-02 00:15+00'), ('ends', '4713-01-02 00:00+00 BC'), ('ends', '294276-12-31 12:00+00'), ('ends', '2024-01-01'),
             ('epoch', '1999-12-31 23:59:59.999999+00'), ('epoch', '2000-01-01 00:00+00'), ('epoch', '2000-01-01 00:00:00.000001+00'),
             ('twice', '2024-01-01 10:00+00'), ('twice', '2024-01-01 10:00+00'),
             ('leap', '2024-02-28'), ('leap', '2024-02-29'), ('leap', '2024-03-01'), ('century', '1900-02-28'), ('century', '1900-03-01')
) AS example(customer, at), LATERAL (SELECT at::timestamptz AS ordered_at) AS instant;
SELECT * FROM differences('UTC', 'Europe/Warsaw', 'America/Sao_Paulo', 'Asia/Kathmandu');
SELECT (s).orders, (s).purchase_days, (s).first_order_at, (s).last_order_at
FROM (SELECT retention.order_summary(ordered_at, 1) AS s
      FROM (VALUES ('4714-11-24 00:00+00 BC'::timestamptz), ('294276-12-31 23:59:59.999999+00')) AS v(ordered_at)) AS row;

-- Nothing at all and nothing that counts give null, a refund alone does not.
SELECT retention.order_summary(ordered_at, amount) IS NULL AS nothing,
       (SELECT retention.order_summary(NULL::timestamptz, 1) IS NULL) AS nothing_counts,
       (SELECT retention.order_summary('2024-01-01', -1.50)) AS refund FROM placed WHERE false;

-- As a window function, with FILTER and DISTINCT, and in subtotals: one state gives several results.
TRUNCATE placed;
INSERT INTO placed SELECT g % 3, '2024-01-01'::timestamptz + (g * 37 % 101) * interval '10 hours', g % 11 - 1.5 FROM generate_series(1, 120) AS g;
WITH numbered AS (SELECT *, row_number() OVER (ORDER BY amount, ordered_at, customer) AS n FROM placed)
SELECT count(*) AS rows,
       count(*) FILTER (WHERE columns('', running) IS DISTINCT FROM
         (SELECT columns('', retention.order_summary(ordered_at, amount)) FROM numbered AS u WHERE u.n <= w.n)) AS different
FROM (SELECT n, retention.order_summary(ordered_at, amount) OVER (ORDER BY n) AS running FROM numbered) AS w;
SELECT columns('', retention.order_summary(ordered_at, amount) FILTER (WHERE customer = '1')) =
       columns('', (SELECT retention.order_summary(ordered_at, amount) FROM placed WHERE customer = '1')) AS filter,
       columns('', retention.order_summary(DISTINCT ordered_at, amount)) =
       columns('', (SELECT retention.order_summary(ordered_at, amount) FROM (SELECT DISTINCT ordered_at, amount FROM placed) AS d)) AS distinct
FROM placed;
SELECT count(*) AS rows, count(*) FILTER (WHERE columns('', s) IS DISTINCT FROM
         (SELECT columns('', retention.order_summary(ordered_at, amount)) FROM placed AS p WHERE p.customer = r.customer OR r.customer IS NULL)) AS different
FROM (SELECT customer, retention.order_summary(ordered_at, amount) AS s FROM placed GROUP BY ROLLUP (customer)) AS r;

-- frequency, recency and age are days of the same calendar.
TRUNCATE placed;
INSERT INTO placed SELECT customer_id, ordered_at, amount FROM retention.simulate_orders(500, '2023-01-01', '2024-01-01', 3);
SELECT zone, count(*) AS customers, bool_and(x = days - 1) AS x, bool_and(t_x = last - first) AS t_x, bool_and(t = '2024-02-01'::date - first) AS t
FROM (VALUES ('UTC'), ('Asia/Tokyo'), ('America/Anchorage')) AS z(zone),
     LATERAL (SELECT retention.frequency(s) AS x, retention.recency(s) AS t_x, days, first, last,
                     retention.age(s, '2024-02-01'::timestamp AT TIME ZONE zone, zone) AS t
              FROM (SELECT retention.order_summary(ordered_at, amount, zone) AS s, count(DISTINCT (ordered_at AT TIME ZONE zone)::date) AS days,
                           min((ordered_at AT TIME ZONE zone)::date) AS first, max((ordered_at AT TIME ZONE zone)::date) AS last
                    FROM placed GROUP BY customer) AS summary) AS number
GROUP BY zone ORDER BY zone;
SET retention.as_of = '2024-01-11 00:00+00';
SELECT retention.frequency(s), retention.recency(s), retention.age(s), retention.age(s, time_zone => 'America/New_York') AS age_in_new_york,
       retention.age(s, '2024-01-02') AS age_then
FROM (SELECT retention.order_summary('2024-01-01 12:00+00', 1) AS s) AS one;
RESET retention.as_of;
SELECT retention.frequency(s), retention.recency(s), retention.age(s) FROM (SELECT retention.order_summary('2024-01-01', -1) AS s) AS refund;
SELECT retention.frequency(NULL), retention.recency(NULL), retention.age(NULL);

-- Any zone name that is accepted means what AT TIME ZONE means by it: the last order is never after the present.
CREATE FUNCTION last_order_is_now(zone text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RETURN bool_and(retention.recency(s) = retention.age(s, (s).last_order_at, zone))
    FROM (SELECT retention.order_summary(ordered_at, 1, zone) AS s
          FROM unnest('{1850-01-01 00:00+00,2024-01-01 12:00+00}'::timestamptz[]) AS first,
               unnest('{2024-07-01 04:30+00,2024-07-01 10:30+00,2024-07-01 16:30+00,2024-07-01 22:30+00,2250-07-01 22:30+00}'::timestamptz[]) AS last,
               unnest(ARRAY[first, last]) AS ordered_at
          GROUP BY first, last) AS summary;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN NULL;
END $$;
SELECT count(*) > 300 AS zones, count(*) FILTER (WHERE name LIKE '%/%' AND agrees IS NULL) AS refused, count(*) FILTER (WHERE NOT agrees) AS different
FROM (SELECT name, last_order_is_now(name) AS agrees
      FROM (SELECT name FROM pg_timezone_names WHERE name !~ '^(posix|right)/' UNION SELECT abbrev FROM pg_timezone_abbrevs) AS z) AS zone;
SELECT zone, last_order_is_now(zone) FROM (VALUES ('europe/warsaw'), ('UTC'), ('GMT'), ('UTC+2'), ('<-02>2')) AS z(zone);

-- Orders that name their zones in turn take no more memory than those of one zone.
CREATE FUNCTION bytes_used(zones text[]) RETURNS bigint LANGUAGE sql AS $$
  SELECT bytes
  FROM (SELECT retention.order_summary('2024-01-01', 1, zones[1 + g % cardinality(zones)]) AS s FROM generate_series(1, 20000) AS g) AS summary,
       LATERAL (SELECT sum(total_bytes)::bigint AS bytes FROM pg_backend_memory_contexts WHERE (s).orders = 20000) AS memory
$$;
SELECT abs(bytes_used('{Europe/Warsaw,America/New_York,Asia/Tokyo}') - bytes_used('{Europe/Warsaw}')) < 1000000 AS no_more;
-- Each order's own zone counts, however alike their names are. The second, fourth and last are of 2 January, the others of 1 January.
SELECT string_agg(purchase_days::text, ' ' ORDER BY n) AS running
FROM (SELECT n, (retention.order_summary('2024-01-01 23:30+00', 1, zone) OVER (ORDER BY n)).purchase_days
      FROM unnest('{UTC,UTC-2,UTC,UTC-2}'::text[]) WITH ORDINALITY AS z(zone, n)) AS row;
SELECT (retention.order_summary('2024-01-01 23:30+00', n, zone)).repeat_value = 2 + 4 + 7 AS own_zones
FROM unnest('{UTC,UTC-2,Europe/London,Europe/Warsaw,Europe/London,UTC,UTC-2}'::text[]) WITH ORDINALITY AS z(zone, n);

-- What cannot be summarised is an error that says why.
CREATE FUNCTION failure(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  detail text;
  hint text;
BEGIN
  EXECUTE query;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN SQLSTATE || ' ' || SQLERRM || coalesce(E'\n  ' || nullif(detail, ''), '') || coalesce(E'\n  ' || nullif(hint, ''), '');
END $$;
\pset format unaligned
SELECT replace(failure(format('SELECT retention.order_summary(%s)', arguments)), repeat('x', 1000), 'x...') AS error
FROM (VALUES ($$'2024-01-01', 'NaN'$$), ($$'2024-01-01', 'Infinity'$$), ($$'2024-01-01', '-Infinity'$$), ($$'infinity', 1$$), ($$'-infinity', -1$$),
             ($$'2024-01-01', 1, 'Europe/Atlantis'$$), ($$'2024-01-01', 1, NULL$$), ($$'2024-01-01', 1, ''$$),
             ($$'2024-01-01', 1, 'PST'$$), ($$'2024-01-01', 1, 'CET'$$), ($$'2024-01-01', 1, repeat('x', 1000)$$),
             ($$'2024-01-01', 1e39$$), ($$'2024-01-01', -1e38 * 2$$), ($$'2024-01-01', 123456789012345678901234567890.1234567890$$),
             ($$'2024-01-01', 1e100$$), ($$'2024-01-01', repeat('9', 40000)::numeric$$)) AS bad(arguments);
\pset format aligned
INSERT INTO stored SELECT false, string_agg(abs(hashint8(g))::text, '')::numeric, false, NULL FROM generate_series(1, 5000) AS g;
SELECT pg_column_size(amount) > 10000 AS out_of_line, failure('SELECT retention.order_summary(''2024-01-01'', amount) FROM test_summary.stored WHERE NOT flag') LIKE '22003%' AS too_large
FROM stored WHERE NOT flag;
-- Sums that need more than 38 digits, from amounts that do not; in one pass and where partial states meet.
SELECT failure('SELECT retention.order_summary(''2024-01-01'', a) FROM unnest(ARRAY[99999999999999999999999999999999999999, 99999999999999999999999999999999999999]) AS a') LIKE '22003%' AS sum,
       failure('SELECT retention.order_summary(''2024-01-01'', a) FROM unnest(ARRAY[1e36, 0.00000001]) AS a') LIKE '22003%' AS digits_apart;
-- The support functions are for the aggregate alone.
SELECT bool_and(failure(format('SELECT %s(%s)', oid::regproc, array_to_string(array_fill('NULL'::text, ARRAY[pronargs]), ',')))
                ~ '^(42883 function .* does not exist|0A000 cannot accept a value of type internal)') AS refused
FROM pg_proc WHERE pronamespace = 'retention'::regnamespace AND proname LIKE 'order\_summary\_%' AND 'internal'::regtype = ANY (proargtypes);

-- Parallel and partitioned plans give the serial result.
CREATE TABLE many (id bigint, customer text, ordered_at timestamptz, amount numeric, zone text);
INSERT INTO many
SELECT order_id, CASE WHEN order_id % 7 = 0 THEN 0 ELSE customer_id % 300 END, CASE WHEN order_id % 101 <> 0 THEN ordered_at END,
       CASE WHEN order_id % 11 = 0 THEN -amount WHEN order_id % 19 = 0 THEN amount / 7 ELSE amount END,
       CASE WHEN order_id % 5 = 0 THEN 'Asia/Tokyo' ELSE 'Europe/Warsaw' END
FROM retention.simulate_orders(6000, '2010-01-01', '2024-01-01', 7) ORDER BY md5(order_id::text);
INSERT INTO many SELECT -g, 'nulls ' || g % 3, NULL, g, 'UTC' FROM generate_series(1, 1000) AS g;
INSERT INTO many SELECT -g, 'refunds ' || g % 3, '2024-01-01', -g, 'UTC' FROM generate_series(1, 1000) AS g;
CREATE TABLE parted (LIKE many) PARTITION BY HASH (id);
CREATE TABLE parted0 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE parted2 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO parted SELECT * FROM many;
ANALYZE many;
ANALYZE parted;
CREATE VIEW of_many AS SELECT columns(customer, retention.order_summary(ordered_at, amount, zone)) AS row FROM many GROUP BY customer;
CREATE VIEW of_parted AS SELECT columns(customer, retention.order_summary(ordered_at, amount, zone)) AS row FROM parted GROUP BY customer;
\i tests/include/plan_has.sql
SET max_parallel_workers_per_gather = 0;
CREATE TABLE serial AS SELECT * FROM of_many;
SELECT count(*) AS customers, max((row).purchase_days) > 1000 AS long_history, min((row).orders) AS fewest FROM serial;
SELECT plan_has('SELECT * FROM test_summary.of_many', 'Finalize') AS parallel;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 1;
SELECT plan_has('SELECT * FROM test_summary.of_many', 'Finalize', 'Gather', 'Partial', 'Parallel Seq Scan') AS parallel;
SELECT differs('TABLE of_many', 'TABLE serial');
SET max_parallel_workers_per_gather = 2;
ALTER TABLE many SET (parallel_workers = 2);
SELECT plan_has('SELECT * FROM test_summary.of_many', 'Finalize', 'Gather', 'Workers Planned: 2', 'Partial', 'Parallel Seq Scan') AS parallel;
SELECT differs('TABLE of_many', 'TABLE serial');
SET parallel_leader_participation = off;
SELECT differs('TABLE of_many', 'TABLE serial');
SET max_parallel_workers_per_gather = 0;
SET enable_partitionwise_aggregate = on;
SELECT plan_has('SELECT * FROM test_summary.of_parted', 'Finalize', 'Append', 'Partial') AND NOT plan_has('SELECT * FROM test_summary.of_parted', 'Gather') AS partitionwise;
SELECT differs('TABLE of_parted', 'TABLE serial');
SET max_parallel_workers_per_gather = 2;
SELECT plan_has('SELECT * FROM test_summary.of_parted', 'Finalize', 'Append', 'Partial', 'Gather') AS both;
SELECT differs('TABLE of_parted', 'TABLE serial');
-- Partial sums that fit, but not together.
SET max_parallel_workers_per_gather = 0;
TRUNCATE parted;
INSERT INTO parted SELECT g, 'rich', '2024-01-01', 9e37, 'UTC' FROM generate_series(1, 2) AS g;
SELECT count(*) AS rows, count(DISTINCT tableoid) AS partitions FROM parted;
SELECT failure('SELECT * FROM test_summary.of_parted') LIKE '22003%' AS too_large;

DROP SCHEMA test_summary CASCADE;
