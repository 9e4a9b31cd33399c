-- validate_model against an oracle in plain SQL, and small cases; churn_history against p_alive of the order days.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA validation_test;
SET search_path = validation_test;
SET TimeZone = 'Pacific/Auckland';
SET DateStyle = 'ISO, YMD';
SET retention.as_of = '2024-12-31 23:00+00';
\set SHOW_CONTEXT never

-- Small cases, to be checked by hand: calibrated up to March, April and May are held out, the period before is February and March.
CREATE TABLE small (customer_id text, ordered_at timestamp, amount numeric, order_id text);
CREATE TABLE small_refund (LIKE small);
SELECT retention.add_metric('small', 'Europe/Warsaw'),
       retention.add_source('small', order_id => 'order_id', metric => 'small') IS NOT NULL AS orders,
       retention.add_source('small_refund', order_id => 'order_id', kind => 'refund', metric => 'small') IS NOT NULL AS refunds;
INSERT INTO small VALUES
  ('as before', '2024-01-10', 10, 'a1'), ('as before', '2024-02-10', 10, 'a2'), ('as before', '2024-04-10', 10, 'a3'),
  ('comes back', '2024-01-10', 20, 'b1'), ('comes back', '2024-04-03', 30, 'b2'), ('comes back', '2024-05-30', 40, 'b3'),
  ('lapsed', '2024-01-10', 10, 'c1'), ('lapsed', '2024-02-10', 10, 'c2'), ('lapsed', '2024-03-10', 10, 'c3'),
  ('at the edges', '2024-03-31 23:59:59', 10, 'd1'), ('at the edges', '2024-04-01 00:00:01', 10, 'd2'),
  ('at the edges', '2024-05-31 23:59:59', 10, 'd3'), ('at the edges', '2024-06-01 00:00:01', 10, 'd4'),
  ('twice a day', '2024-03-30 10:00', 10, 'e1'), ('twice a day', '2024-04-20 10:00', 10, 'e2'), ('twice a day', '2024-04-20 20:00', 10, 'e3'),
  ('new', '2024-04-20', 1000, 'f1'),
  ('refunded in holdout', '2024-01-10', 10, 'g1'), ('refunded in holdout', '2024-03-01', 10, 'g2'), ('refunded in holdout', '2024-05-01', 10, 'g3'),
  ('refunded for good', '2024-03-05', 7, 'h1'),
  ('very frequent', '2024-01-01', 5, 'i');
INSERT INTO small SELECT 'very frequent', date '2024-01-02' + i, 5, 'i' || i FROM generate_series(0, 13) i;
INSERT INTO small_refund VALUES
  ('refunded in holdout', '2024-04-20', 10, 'g2'), ('refunded for good', '2024-04-20', 7, 'h1'), ('as before', '2024-04-20', 3, 'a3');
SELECT section, item, customers, round(actual::numeric, 4) AS actual, predicted > 0 AS predicted, round(naive::numeric, 4) AS naive
  FROM retention.validate_model('small', '2024-04-01 00:00+02', '2024-06-01 00:00+02') WHERE section IN ('total', 'frequency', 'week');
SELECT section, sum(customers) AS customers, sum(customers * actual) AS ordered, sum(customers * naive) AS naive, bool_and(predicted BETWEEN 0 AND 1) AS valid,
       bool_and(customers > 0 OR num_nulls(actual, predicted, naive) = 3) AS nulls
  FROM retention.model_validation WHERE section IN ('alive', 'order') GROUP BY section ORDER BY section;
-- Naive errors: as before 0, comes back -2, lapsed 2, at the edges -1, twice a day 0, refunded 1 and 1, very frequent 0.
SELECT item, customers, actual, num_nulls(predicted) AS unknown, round(naive::numeric, 4) AS naive
  FROM retention.model_validation WHERE section = 'measure';
SELECT metric, customers, (purchase).kind IS NOT NULL AS purchase, (spend).kind AS spend FROM retention.validation;

-- The oracle: everything from the orders as of the days concerned, by definition.
CREATE TABLE orders AS
  SELECT customer_id, order_id, ordered_at, amount FROM retention.simulate_orders(1500, '2022-01-01Z', '2024-12-01Z', 5);
CREATE TABLE refunds AS
  SELECT customer_id, order_id, ordered_at + interval '20 days' AS ordered_at, CASE WHEN order_id % 3 = 0 THEN amount ELSE amount / 2 END AS amount
  FROM orders WHERE order_id % 9 = 0;
CREATE VIEW oracle_rows AS
  SELECT 'order' AS kind, customer_id::text, ordered_at AS at, amount, order_id::text FROM orders
  UNION ALL SELECT 'refund', customer_id::text, ordered_at, amount, order_id::text FROM refunds;
\set ECHO none
\i tests/oracle/customer.sql
\set ECHO all
CREATE FUNCTION make_expected(calibration_end timestamptz, holdout_end timestamptz, zone text, history_start timestamptz, kinds text[]) RETURNS void
  LANGUAGE plpgsql AS $$
DECLARE
  first_day date := (calibration_end AT TIME ZONE zone)::date;
  whole integer := (holdout_end AT TIME ZONE zone)::date - first_day;
  before timestamptz := (calibration_end AT TIME ZONE zone - (holdout_end AT TIME ZONE zone - calibration_end AT TIME ZONE zone)) AT TIME ZONE zone;
BEGIN
  DROP TABLE IF EXISTS known, purchase, spend, person, weekly, expected;
  CREATE TABLE known AS
    SELECT f.*, f.purchase_days - 1 AS x, (f.last_order_at AT TIME ZONE zone)::date - (f.first_order_at AT TIME ZONE zone)::date AS t_x,
           first_day - (f.first_order_at AT TIME ZONE zone)::date AS t
    FROM oracle_facts(calibration_end, zone, history_start) AS f;
  CREATE TABLE purchase AS
    SELECT retention.fit(kind, x, t_x, t) AS model FROM known, unnest(kinds) AS kind GROUP BY kind;
  DELETE FROM purchase p WHERE (p.model).log_likelihood < (SELECT max((b.model).log_likelihood) FROM purchase b);
  CREATE TABLE spend AS SELECT retention.fit('gammagamma', x, repeat_value) AS model FROM known WHERE x > 0;
  CREATE TABLE person AS
    SELECT k.*, greatest(coalesce(h.purchase_days, 0) - k.purchase_days, 0) AS bought, coalesce(h.revenue, 0) - k.revenue AS paid,
           k.purchase_days - coalesce(b.purchase_days, 0) AS naive, k.revenue - coalesce(b.revenue, 0) AS naive_paid,
           retention.expected_orders(p.model, x, t_x, t, whole) AS expected, retention.p_alive(p.model, x, t_x, t) AS alive,
           retention.order_probability(p.model, x, t_x, t, whole) AS probability, retention.expected_spend(s.model, x, coalesce(k.repeat_value, 0)) AS value
    FROM known k LEFT JOIN oracle_facts(holdout_end, zone, history_start) AS h USING (customer_id)
    LEFT JOIN oracle_facts(before, zone, history_start) AS b USING (customer_id), purchase p, spend s;
  UPDATE person SET naive = 0 WHERE naive < 0;
  CREATE TABLE weekly AS
    SELECT n, w.days, (SELECT sum(greatest(h.purchase_days - k.purchase_days, 0)) FROM oracle_facts(w.until, zone, history_start) AS h JOIN known k USING (customer_id)) AS bought,
           (SELECT sum(retention.expected_orders(p.model, x, t_x, t, w.days)) FROM known, purchase p) AS expected
    FROM generate_series(0, ceil(whole / 7.0)::integer) AS n,
         LATERAL (SELECT least(7 * n, whole) AS days, CASE WHEN 7 * n < whole THEN (calibration_end AT TIME ZONE zone + 7 * n * interval '1 day') AT TIME ZONE zone
                                                          ELSE holdout_end END AS until) AS w;
  CREATE TABLE expected AS
    SELECT 'total' AS section, 1 AS number, count(*) AS customers, sum(bought)::float8 AS actual, sum(expected) AS predicted, sum(naive)::float8 AS naive FROM person
    UNION ALL SELECT 'total', 2, count(*), sum(paid), sum(expected * value), sum(naive_paid) FROM person
    UNION ALL SELECT 'total', 3, count(*), count(*) FILTER (WHERE bought > 0), sum(probability), count(*) FILTER (WHERE naive > 0) FROM person
    UNION ALL SELECT 'frequency', 1 + CASE WHEN x >= 7 THEN 7 ELSE x END, count(*), avg(bought), avg(expected), avg(naive) FROM person GROUP BY 2
    UNION ALL SELECT 'week', a.n, (SELECT count(*) FROM person), a.bought - b.bought, a.expected - b.expected, (SELECT sum(naive) FROM person) * (a.days - b.days) / whole::float8
      FROM weekly a JOIN weekly b ON b.n = a.n - 1
    UNION ALL SELECT 'alive', least(width_bucket(alive, 0, 1, 10), 10), count(*), avg((bought > 0)::integer), avg(alive), avg((naive > 0)::integer) FROM person GROUP BY 2
    UNION ALL SELECT 'order', least(width_bucket(probability, 0, 1, 10), 10), count(*), avg((bought > 0)::integer), avg(probability), avg((naive > 0)::integer) FROM person GROUP BY 2
    UNION ALL SELECT 'measure', 1, count(*), NULL, sum(abs(expected - bought)) / count(*), sum(abs(naive - bought)::float8) / count(*) FROM person
    UNION ALL SELECT 'measure', 2, count(*), NULL, sqrt(sum((expected - bought) ^ 2) / count(*)), sqrt(sum((naive - bought) ^ 2) / count(*)) FROM person
    UNION ALL SELECT 'measure', 3, count(*), NULL, (sum(expected) - sum(bought)) / count(*), (sum(naive) - sum(bought))::float8 / count(*) FROM person
    UNION ALL SELECT 'measure', 4, count(*), NULL, sum(CASE WHEN bought > 0 THEN 1 - probability ELSE probability END ^ 2) / count(*),
                     count(*) FILTER (WHERE (bought > 0) <> (naive > 0))::float8 / count(*) FROM person
    -- How often a customer who ordered has the higher probability than one who did not.
    UNION ALL SELECT 'measure', 5, (SELECT count(*) FROM person), NULL, avg((sign(a.probability - b.probability) + 1) / 2), avg((sign((a.naive > 0)::integer - (b.naive > 0)::integer) + 1) / 2)
      FROM person a, person b WHERE a.bought > 0 AND b.bought = 0;
END
$$;
CREATE FUNCTION close(a double precision, b double precision) RETURNS boolean LANGUAGE sql AS $$
  SELECT CASE WHEN num_nulls(a, b) = 0 THEN abs(a - b) <= 1e-9 * greatest(abs(a), 1) ELSE num_nulls(a, b) = 2 END
$$;
CREATE FUNCTION verdict() RETURNS TABLE (section text, rows bigint, customers boolean, actual boolean, predicted boolean, naive boolean)
  LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    SELECT section, count(*), bool_and(v.customers = coalesce(e.customers, 0)), bool_and(close(v.actual, e.actual)),
           bool_and(close(v.predicted, e.predicted)), bool_and(close(v.naive, e.naive))
    FROM (SELECT * FROM retention.model_validation WHERE metric = 'simulated') AS v FULL JOIN expected e USING (section, number)
    GROUP BY section ORDER BY array_position('{total,frequency,week,alive,order,measure}', section);
END
$$;

SELECT retention.add_metric('simulated', 'America/New_York'),
       retention.add_source('orders', order_id => 'order_id', metric => 'simulated') IS NOT NULL AS orders,
       retention.add_source('refunds', order_id => 'order_id', kind => 'refund', metric => 'simulated') IS NOT NULL AS refunds;
SELECT count(*) FROM retention.validate_model('simulated', '2024-02-20 12:00-05', '2024-07-04 09:00-04');
SELECT make_expected('2024-02-20 12:00-05', '2024-07-04 09:00-04', 'America/New_York', '-infinity', '{mbgnbd,paretonbd}');
SELECT * FROM verdict();
-- By definition, the sections agree with each other.
SELECT close(sum(actual) FILTER (WHERE section = 'week'), sum(actual) FILTER (WHERE section = 'total' AND item = 'orders')) AS actual,
       close(sum(predicted) FILTER (WHERE section = 'week'), sum(predicted) FILTER (WHERE section = 'total' AND item = 'orders')) AS predicted,
       close(sum(naive) FILTER (WHERE section = 'week'), sum(naive) FILTER (WHERE section = 'total' AND item = 'orders')) AS naive
  FROM retention.model_validation WHERE metric = 'simulated';
-- The models tell the shop that they simulate better than the naive rule does.
SELECT item, CASE item WHEN 'AUC' THEN predicted > naive ELSE abs(predicted) < abs(naive) END AS better FROM retention.model_validation WHERE metric = 'simulated' AND section = 'measure';
SELECT abs(predicted / actual - 1) < 0.1 AS near FROM retention.model_validation WHERE metric = 'simulated' AND section = 'total' AND item = 'orders';

-- With a history window, it is that of calibration_end: orders do not leave it while the holdout goes on.
UPDATE retention.metric SET history = '1 year', purchase_model = 'paretonbd' WHERE metric = 'simulated';
SELECT count(*) FROM retention.validate_model('simulated', '2024-01-31 00:00-05', '2024-08-31 00:00-04');
SELECT make_expected('2024-01-31 00:00-05', '2024-08-31 00:00-04', 'America/New_York', '2023-01-31 00:00-05', '{paretonbd}');
SELECT * FROM verdict();
SELECT DISTINCT calibration_end, holdout_end, model FROM retention.model_validation WHERE metric = 'simulated';
SELECT metric, calibration_end, (purchase).kind = ANY ('{mbgnbd,paretonbd}') AS purchase, (spend).kind AS spend,
       v.customers = (SELECT DISTINCT r.customers FROM retention.validation_result r WHERE r.validation_id = v.validation_id AND section = 'total') AS customers
  FROM retention.validation v ORDER BY validation_id;

-- A holdout of a day; two validations in a transaction; a clock amid the orders.
UPDATE retention.metric SET history = NULL, purchase_model = 'auto' WHERE metric = 'simulated';
BEGIN;
SET LOCAL retention.as_of = '2023-06-02 00:00-04';
SELECT count(*), max(number) FILTER (WHERE section = 'week') AS weeks FROM retention.validate_model('simulated', '2023-05-01 00:00-04');
SELECT count(*), max(number) FILTER (WHERE section = 'week') AS weeks FROM retention.validate_model('simulated', '2023-06-01 00:00-04', '2023-06-02 00:00-04');
COMMIT;
SELECT make_expected('2023-06-01 00:00-04', '2023-06-02 00:00-04', 'America/New_York', '-infinity', '{mbgnbd,paretonbd}');
SELECT * FROM verdict();

-- No repeat buyer before calibration_end: revenue is predicted by the mean value of an order.
CREATE TABLE once AS SELECT i AS customer_id, date '2024-01-01' + i AS ordered_at, 10 + i % 3 AS amount FROM generate_series(1, 30) i;
INSERT INTO once VALUES (1, '2024-04-01', 10), (2, '2024-04-02', 10);
SELECT retention.add_metric('once'), retention.add_source('once', metric => 'once') IS NOT NULL AS orders;
SELECT retention.alter_metric('once', purchase_model => 'mbgnbd');
SELECT item, customers, actual, naive, predicted BETWEEN 0 AND 30 * 11 AS in_range
  FROM retention.validate_model('once', '2024-03-01Z', '2024-05-01Z') WHERE section = 'total';
SELECT (spend).kind, (spend).n, round(sum(r.predicted::numeric) FILTER (WHERE r.item = 'revenue') / sum(r.predicted::numeric) FILTER (WHERE r.item = 'orders'), 6) AS value_of_an_order
  FROM retention.validation v JOIN retention.validation_result r USING (validation_id) WHERE metric = 'once' GROUP BY 1, 2;
-- Nobody orders in the holdout, and nobody in the period before: AUC is not defined.
SELECT item, actual, predicted, naive FROM retention.validate_model('once', '2024-09-01Z', '2024-09-15Z') WHERE item = 'AUC';
-- Values so far apart that they would have no mean.
CREATE TABLE wild AS SELECT i AS customer_id, date '2024-01-01' + i % 7 + 10 * j AS ordered_at, 10.0 ^ (i % 8) AS amount FROM generate_series(1, 80) i, generate_series(0, i % 3) j;
SELECT retention.add_metric('wild'), retention.add_source('wild', metric => 'wild') IS NOT NULL AS orders;
SELECT retention.alter_metric('wild', purchase_model => 'bgnbd');
SELECT item, customers, actual, predicted > 0 AS predicted FROM retention.validate_model('wild', '2024-01-20Z', '2024-05-01Z') WHERE section = 'total';
SELECT (purchase).kind, (spend).kind FROM retention.validation WHERE metric = 'wild';

-- One customer will do.
SELECT item, customers, actual, naive, predicted BETWEEN 0 AND 20 AS in_range FROM retention.validate_model('once', '2024-01-02Z', '2024-05-01Z') WHERE section = 'total';

-- What cannot be validated.
SELECT * FROM retention.validate_model('nowhere', '2024-03-01Z', '2024-05-01Z');
SELECT * FROM retention.validate_model('once', '2024-05-01Z', '2024-03-01Z');
SELECT * FROM retention.validate_model('once', '2024-05-01Z', '2024-05-01Z');
SELECT * FROM retention.validate_model('once', '2024-05-01 08:00Z', '2024-05-01 20:00Z');
SELECT * FROM retention.validate_model('once', '2024-05-01Z', '2025-03-01Z');
SELECT * FROM retention.validate_model('once', '-infinity', '2024-05-01Z');
SELECT * FROM retention.validate_model('once', '2024-05-01Z', NULL);
SELECT * FROM retention.validate_model('once', '2023-05-01Z', '2024-05-01Z');
SELECT retention.add_metric('empty');
SELECT * FROM retention.validate_model('empty', '2024-03-01Z', '2024-05-01Z');

-- Operators validate, analysts read.
CREATE ROLE validation_operator;
CREATE ROLE validation_analyst;
SELECT retention.grant_access('validation_operator', 'operator'), retention.grant_access('validation_analyst', 'analyst');
GRANT USAGE ON SCHEMA validation_test TO validation_operator, validation_analyst;
GRANT SELECT ON once TO validation_operator;
SET ROLE validation_operator;
SELECT count(*) FROM retention.validate_model('once', '2024-03-01Z', '2024-05-01Z');
SET ROLE validation_analyst;
SELECT count(*) FROM retention.model_validation WHERE metric = 'once';
SELECT count(*) FROM retention.validate_model('once', '2024-03-01Z', '2024-05-01Z');
SELECT * FROM retention.churn_history('1', 'once');
RESET ROLE;
DROP OWNED BY validation_operator, validation_analyst;
DROP ROLE validation_operator, validation_analyst;

-- churn_history: every day of some customers of the simulated shop, whose refunds are in part and in full.
CALL retention.refresh('simulated');
CREATE TABLE model AS SELECT purchase FROM retention.published_model WHERE metric = 'simulated';
CREATE TABLE chosen AS SELECT customer_id FROM retention.customer WHERE metric = 'simulated' ORDER BY purchase_days DESC, customer_id LIMIT 10;
INSERT INTO chosen SELECT customer_id FROM (SELECT customer_id::text FROM refunds EXCEPT TABLE chosen ORDER BY 1 LIMIT 40) AS refunded
  WHERE EXISTS (SELECT FROM retention.customer c WHERE c.metric = 'simulated' AND c.customer_id = refunded.customer_id);
CREATE TABLE purchase_day AS
  SELECT DISTINCT customer_id, (at AT TIME ZONE 'America/New_York')::date AS day FROM oracle_orders(retention.now()) JOIN chosen USING (customer_id) WHERE is_order;
CREATE TABLE day_by_day AS
  SELECT f.customer_id, d::date AS day, f.first AS first_day, count(p.day) AS days, max(p.day) AS last_day
  FROM (SELECT customer_id, min(day) AS first FROM purchase_day GROUP BY 1) AS f
  CROSS JOIN generate_series(f.first::timestamp, '2024-12-31', '1 day') AS d
  JOIN purchase_day p ON p.customer_id = f.customer_id AND p.day <= d GROUP BY 1, 2, 3;
SELECT count(*) > 1000 AS many,
       bool_and((h.x, h.days_since_last_order) IS NOT DISTINCT FROM ((e.days - 1)::integer, e.day - e.last_day)) AS days,
       bool_and(h.p_alive = retention.p_alive(m.purchase, e.days - 1, e.last_day - e.first_day, e.day - e.first_day)) AS p_alive
  FROM (SELECT c.customer_id, h.* FROM chosen c, retention.churn_history(c.customer_id, 'simulated') AS h) AS h
  FULL JOIN day_by_day e USING (customer_id, day), model m;
SELECT count(*), bool_and(h.p_alive = p.p_alive AND h.days_since_last_order = p.days_since_last_order AND h.x = p.purchase_days - 1) AS as_in_profile
  FROM chosen c, LATERAL (SELECT * FROM retention.churn_history(c.customer_id, 'simulated') ORDER BY day DESC LIMIT 1) AS h, retention.profile p
  WHERE p.metric = 'simulated' AND p.customer_id = c.customer_id;

-- By hand: lines of one order, refunds in part, in full, ahead of the order, without an order, of another customer; what lies outside the history.
CREATE TABLE hand (customer_id integer, ordered_at timestamp, amount numeric, order_id integer);
CREATE TABLE hand_refund (buyer text, day date, credit money, order_id text);
CREATE TABLE hand_other (customer_id char(5), ordered_at timestamptz, amount real);
INSERT INTO hand VALUES
  (7, '2024-12-20 23:30', 10, 1), (7, '2024-12-21 00:30', 5, 1), (7, '2024-12-22', 10, 2), (7, '2024-12-23', 10, 3), (7, '2024-12-24', 10, NULL),
  (7, '2024-12-25', -10, NULL), (7, '2024-12-26', 10, 4), (7, '2025-01-01', 10, 5), (7, '2022-12-31', 10, 6), (7, NULL, 10, 7), (7, '2024-12-27', NULL, 8),
  (7, '2024-12-19', 10, 11), (8, '2024-12-30', 10, 9), (9, '2024-12-30', 10, 10);
INSERT INTO hand_refund VALUES
  ('7', '2024-12-28', 10, '2'), ('7', '2024-12-21', -4, '3'), ('7', '2024-12-28', 10, NULL), ('8', '2024-12-28', 10, '4'), ('9', '2024-12-28', 10, '10'), ('07', '2024-12-28', 10, '4'),
  ('7', '2024-12-20', -10, '11');
INSERT INTO hand_other VALUES ('7', '2024-12-28 23:30+01', 1), ('7', '2024-12-29 00:30+01', 1), ('07', '2024-12-30', 1), ('x', '2024-12-30', 1);
SELECT retention.add_metric('hand', 'Europe/Warsaw', history => '1 year'),
       retention.add_source('hand', order_id => 'order_id', metric => 'hand') IS NOT NULL AS hand,
       retention.add_source('hand_other', metric => 'hand') IS NOT NULL AS other,
       retention.add_source('hand_refund', 'buyer', 'day', 'credit', 'order_id', 'refund', 'hand') IS NOT NULL AS refunds;
SELECT * FROM retention.churn_history('7', 'hand');
INSERT INTO retention.published_model (metric, as_of, settings, purchase, spend, confidence)
  SELECT 'hand', retention.now(), '', retention.make_model('mbgnbd', '{0.55,22,0.8,4}'), retention.make_model('gammagamma', '{4,4,9}'), 'low';
SELECT day, x, days_since_last_order, round(p_alive::numeric, 4) AS p_alive FROM retention.churn_history('7', 'hand');
SELECT day, x, days_since_last_order FROM retention.churn_history('07', 'hand');
SELECT day, x, days_since_last_order FROM retention.churn_history('x', 'hand');
SELECT customer_id, day, x FROM retention.customer_at('hand') AS c, LATERAL (SELECT * FROM retention.churn_history(c.customer_id, 'hand') ORDER BY day DESC LIMIT 1) AS h
  WHERE x = c.purchase_days - 1 AND h.days_since_last_order = c.days_since_last_order ORDER BY 1;
SELECT day, x FROM retention.churn_history('9', 'hand');
SELECT day, x FROM retention.churn_history('7 ', 'hand');
SELECT day, x FROM retention.churn_history('99999999999', 'hand');
SELECT day, x FROM retention.churn_history(NULL, 'hand');
SELECT day, x FROM retention.churn_history('7');

-- It reads one customer's rows, by the index, whatever the type of the key.
CREATE FUNCTION uses_index(metric text, customer_id text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  plan json;
BEGIN
  EXECUTE 'EXPLAIN (FORMAT json) ' || (SELECT retention._keyed_source_query(s, 'UTC', ARRAY[uses_index.customer_id]) FROM retention.source s WHERE s.metric = uses_index.metric) INTO plan;
  RETURN plan::text LIKE '%keyed_key%';
END
$$;
CREATE FUNCTION try_key(type text, key text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  DROP TABLE IF EXISTS keyed;
  DELETE FROM retention.metric e WHERE e.metric = 'keyed';
  EXECUTE format('CREATE TABLE keyed (customer_id %s, ordered_at date, amount integer, order_id integer)', type);
  EXECUTE format('INSERT INTO keyed SELECT %L::%s, date ''2024-12-20'' + i, 5, i FROM generate_series(0, 3) i', key, type);
  INSERT INTO keyed SELECT NULL, date '2024-12-20', 5, i FROM generate_series(1, 2000) i;
  BEGIN
    CREATE INDEX keyed_key ON keyed (customer_id);
  EXCEPTION WHEN undefined_object THEN
    RETURN NULL;
  END;
  ANALYZE keyed;
  PERFORM retention.add_metric('keyed'), retention.add_source('keyed', order_id => 'order_id', metric => 'keyed');
  INSERT INTO retention.published_model
    SELECT 'keyed', as_of, settings, purchase, spend, confidence FROM retention.published_model WHERE metric = 'hand' ON CONFLICT DO NOTHING;
  RETURN (SELECT format('%s: %s days%s', c.customer_id, (SELECT max(h.x) FROM retention.churn_history(c.customer_id, 'keyed') AS h) + 1,
                        CASE WHEN uses_index('keyed', c.customer_id) THEN ', index' END) FROM retention.customer_at('keyed') AS c);
END
$$;
SELECT type, try_key(type, key) FROM (VALUES
  ('integer', '7'), ('bigint', '-7'), ('numeric(10,2)', '7.5'), ('text', E'it''s 7\\"'), ('varchar(10)', 'seven'), ('char(10)', 'seven'),
  ('uuid', '{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}'), ('date', '2024-02-03'), ('timestamptz', '2024-02-03 12:00+05'), ('bytea', '\x0102'), ('inet', '10.0.0.1'),
  ('float8', '0.1'), ('interval', '1 day'), ('text[]', '{a,"b c"}'), ('jsonb', '{"a":1}'), ('name', 'seven')) AS k (type, key);
-- A key that is no value of the source's type is nobody there; a type without equality is compared as text.
DROP TABLE keyed;
CREATE TABLE keyed (customer_id json, ordered_at date, amount integer, order_id integer);
INSERT INTO keyed VALUES ('{"a": 1}', '2024-12-20', 5, 1), ('{"a":1}', '2024-12-21', 5, 2);
DELETE FROM retention.metric WHERE metric = 'keyed';
SELECT retention.add_metric('keyed'), retention.add_source('keyed', order_id => 'order_id', metric => 'keyed') IS NOT NULL AS source;
INSERT INTO retention.published_model (metric, as_of, settings, purchase, spend, confidence)
  SELECT 'keyed', as_of, settings, purchase, spend, confidence FROM retention.published_model WHERE metric = 'hand';
SELECT day, x FROM retention.churn_history('{"a":1}', 'keyed') ORDER BY day LIMIT 1;
SELECT day, x FROM retention.churn_history('a', 'keyed');

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA validation_test CASCADE;
