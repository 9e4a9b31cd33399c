-- A row of a source that cannot be read stops only itself; a customer whose sums cannot be held
-- stops nobody else.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
SET client_min_messages = warning;
CREATE SCHEMA unreadable_test;
SET search_path = unreadable_test;
SET TimeZone = 'UTC';
SET extra_float_digits = 0;
SET retention.as_of = '2024-06-01';

-- Good rows, and bad ones of each kind in tables of each type; they share customers.
CREATE TABLE instant (customer_id text, ordered_at timestamptz, amount numeric, order_id integer);
CREATE TABLE local (customer_id text, ordered_at timestamp, amount double precision, order_id uuid);
CREATE TABLE day (customer_id bigint, ordered_at date, amount real);
CREATE TABLE refund (customer_id text, ordered_at timestamptz, amount numeric, order_id integer);
INSERT INTO instant SELECT i % 97, timestamptz '2022-01-01' + i * interval '7 hours', i % 50 + 1, i
  FROM generate_series(1, 2000) i;
INSERT INTO local SELECT i % 89, timestamp '2022-01-01' + i * interval '7 hours', i % 50 + 0.5,
  md5(i::text)::uuid FROM generate_series(1, 2000) i;
INSERT INTO day SELECT i % 83, date '2022-01-01' + i % 700, i % 50 + 0.25
  FROM generate_series(1, 2000) i;
INSERT INTO refund SELECT customer_id, ordered_at + interval '1 day', 3, order_id FROM instant
  WHERE order_id % 10 = 0;
-- At the very ends of what can be read.
INSERT INTO instant VALUES ('edge', '4713-01-01 00:00+00 BC', 1e37, 5001),
  ('edge', '2024-05-31', 9e37, 5002), ('small', '2024-05-31', 1e-36, 5003);
INSERT INTO local VALUES ('edge day', '4713-01-02 BC', 1, NULL);
INSERT INTO day VALUES (4713, '4713-01-02 BC', 1);
CREATE TABLE good AS
  SELECT 'order' AS kind, customer_id, ordered_at, amount, order_id::text FROM instant
  UNION ALL SELECT 'order', customer_id, ordered_at AT TIME ZONE 'Europe/Warsaw', amount::numeric,
    order_id::text FROM local
  UNION ALL SELECT 'order', customer_id::text, ordered_at::timestamp AT TIME ZONE 'Europe/Warsaw',
    amount::numeric, NULL FROM day
  UNION ALL SELECT 'refund', customer_id, ordered_at, amount, order_id::text FROM refund;
CREATE VIEW good_orders AS SELECT * FROM good WHERE kind = 'order';
CREATE VIEW good_refunds AS SELECT * FROM good WHERE kind = 'refund';

CREATE TABLE bad (source text, reason text, customer text, at text, amount text,
                  id text, value text);
INSERT INTO bad VALUES
  ('instant', 'amount not finite', '1', '2024-01-01', 'NaN', '6001', 'NaN'),
  ('instant', 'amount not finite', '2', '2024-01-01', 'Infinity', '6002', NULL),
  ('instant', 'amount not finite', 'nobody else', '2024-01-01', '-Infinity', '6003', NULL),
  ('instant', 'amount too long', '3', '2024-01-01', '1' || repeat('0', 40), '6004',
   '1' || repeat('0', 40)),
  ('instant', 'amount too long', '3', '2024-01-01', '-1e1000', NULL, NULL),
  ('instant', 'amount too long', '4', '2024-01-01', '1e-37', '6005', NULL),
  ('instant', 'amount too long', '4', '2024-01-01', '9234567890123456789.01234567890123456789',
   '6006', NULL),
  ('instant', 'time out of range', '5', 'infinity', '1', NULL, 'infinity'),
  ('instant', 'time out of range', '5', '-infinity', '1', '6007', NULL),
  ('instant', 'time out of range', '6', '4713-01-01 00:00+00:00:01 BC', '1', '6008', NULL),
  ('instant', 'key too long', repeat('ż', 1000) || 'x', '2024-01-01', '1', '6009', '2001 bytes'),
  ('instant', 'key too long', repeat('x', 9000), '2024-01-01', '1', '6010', NULL),
  ('local', 'amount not finite', '1', '2024-01-01', 'NaN', NULL, 'NaN'),
  ('local', 'amount too long', '1', '2024-01-01', '1e300', NULL, '1' || repeat('0', 300)),
  ('local', 'time out of range', '2', '294276-12-31 23:59:59', '1', NULL, NULL),
  ('local', 'time out of range', '2', '4714-11-24 BC', '1', NULL, NULL),
  ('local', 'time out of range', '2', 'infinity', '1', NULL, NULL),
  ('day', 'time out of range', '1', '5874897-12-31', '1', NULL, 'infinity'),
  ('day', 'time out of range', '1', '4714-11-24 BC', '1', NULL, NULL),
  ('day', 'time out of range', '9', '-infinity', '1', NULL, NULL),
  ('day', 'amount not finite', '9', '2024-01-01', '-Infinity', NULL, '-Infinity'),
  ('refund', 'amount not finite', '10', '2024-01-01', 'NaN', '10', 'NaN'),
  ('refund', 'time out of range', '10', 'infinity', '1', '10', 'infinity');
-- Customers whose amounts cannot be added: in one source, over several, of one order, of refunds,
-- and because of decimals.
CREATE TABLE unbearable (source text, customer text, at text, amount text, id text);
INSERT INTO unbearable VALUES ('instant', 'sum', '2024-01-01', '9e37', '7001'),
  ('instant', 'sum', '2024-01-02', '9e37', '7002'),
  ('instant', 'order', '2024-01-01', '9e37', '7003'),
  ('instant', 'order', '2024-01-01', '9e37', '7003'),
  ('instant', 'sources', '2024-01-01', '9e37', '7004'),
  ('local', 'sources', '2024-01-01', '9e37', NULL),
  ('refund', 'sources', '2024-01-01', '9e37', '7005'),
  ('refund', 'refunds', '2024-01-01', '9e37', '7006'),
  ('refund', 'refunds', '2024-01-01', '9e37', '7007'),
  ('instant', 'refunds', '2024-01-01', '1', NULL),
  ('instant', 'decimals', '2024-01-01', '1e30', '7008'),
  ('instant', 'decimals', '2024-01-01', '1e-20', '7009');

CREATE PROCEDURE spoil() LANGUAGE plpgsql AS $$
DECLARE
  row record;
BEGIN
  FOR row IN SELECT source, customer, at, amount, id FROM bad
             UNION ALL SELECT * FROM unbearable LOOP
    IF row.source = 'day' THEN
      EXECUTE format('INSERT INTO day VALUES (%L, %L, %L)', row.customer, row.at, row.amount);
    ELSE
      EXECUTE format('INSERT INTO %I VALUES (%L, %L, %L, %L)', row.source, row.customer, row.at,
        row.amount, row.id);
    END IF;
  END LOOP;
END $$;
CREATE FUNCTION make_metric(metric text, with_bad boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM retention.add_metric(metric, 'Europe/Warsaw');
  IF with_bad THEN
    PERFORM retention.add_source('instant', order_id => 'order_id', metric => metric),
      retention.add_source('local', order_id => 'order_id', metric => metric),
      retention.add_source('day', metric => metric),
      retention.add_source('refund', order_id => 'order_id', kind => 'refund', metric => metric);
  ELSE
    PERFORM retention.add_source('good_orders', order_id => 'order_id', metric => metric),
      retention.add_source('good_refunds', order_id => 'order_id', kind => 'refund',
                           metric => metric);
  END IF;
END $$;
-- How the customers of two metrics differ.
CREATE FUNCTION difference(one text, other text) RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM (
    (SELECT to_jsonb(c) - 'metric' - 'rfm_group_changed_at' - 'previous_rfm_group' AS c
      FROM retention.customer c WHERE metric = one EXCEPT ALL
     SELECT to_jsonb(c) - 'metric' - 'rfm_group_changed_at' - 'previous_rfm_group'
       FROM retention.customer c WHERE metric = other)
    UNION ALL
    (SELECT to_jsonb(c) - 'metric' - 'rfm_group_changed_at' - 'previous_rfm_group'
      FROM retention.customer c WHERE metric = other EXCEPT ALL
     SELECT to_jsonb(c) - 'metric' - 'rfm_group_changed_at' - 'previous_rfm_group'
       FROM retention.customer c WHERE metric = one)) AS d
$$;
SET client_min_messages = warning;
SET retention.progress = off;
SELECT make_metric('good', false), make_metric('spoilt', true);
CALL retention.refresh('good');

-- The oracle: the same without the bad rows, and without the customers who cannot be added.
CALL retention.refresh('spoilt');
SELECT difference('good', 'spoilt') AS differ,
  (SELECT unreadable FROM retention.population WHERE metric = 'spoilt') AS unreadable,
  (SELECT count(*) FROM retention.unreadable_row) AS kinds;
CREATE INDEX ON instant (customer_id);
CREATE INDEX ON local (customer_id);
CREATE INDEX ON day (customer_id);
CREATE INDEX ON refund (customer_id);
SELECT retention.track(relation) FROM retention.source WHERE metric = 'spoilt';
CALL spoil();
CALL retention.process_changes();
SELECT difference('good', 'spoilt') AS differ_after_process_changes;
SELECT replace(relation, 'unreadable_test.', '') AS relation, reason, row_count,
  left(customer_id, 20) AS customer_id, order_id, left(value, 50) AS value
  FROM retention.unreadable_row WHERE found_by = 'process_changes' ORDER BY relation, reason;
-- Full: counted by reason, with the first one as an example, or one that was expected to be it.
\set VERBOSITY terse
CALL retention.refresh('spoilt', full => true);
\set VERBOSITY default
SELECT difference('good', 'spoilt') AS differ_after_refresh;
SELECT coalesce(b.source, replace(u.relation, 'unreadable_test.', '')) AS relation,
  coalesce(b.reason, u.reason) AS reason, u.row_count, u.row_count = b.rows AS as_many,
  left(u.customer_id, 20) AS customer_id, u.order_id, left(u.value, 50) AS value
  FROM (SELECT source, reason, count(*) AS rows FROM bad GROUP BY source, reason) AS b
  FULL JOIN (SELECT * FROM retention.unreadable_row
             WHERE metric = 'spoilt' AND found_by = 'refresh') AS u
  ON u.relation = 'unreadable_test.' || b.source AND u.reason = b.reason
  ORDER BY 1, 2;
SELECT count(DISTINCT customer) AS unbearable, count(*) AS rows FROM unbearable;
SELECT unreadable, without_customer, without_time, without_amount FROM retention.population
  WHERE metric = 'spoilt' ORDER BY refresh_id DESC LIMIT 1;
SELECT count(*) AS met_since FROM retention.unreadable_row WHERE found_by = 'process_changes';
-- What process_changes meets adds up; examples are the latest.
INSERT INTO instant VALUES ('1', '2024-05-01', 5, 8001);
CALL retention.process_changes();
INSERT INTO instant VALUES ('1', '2024-05-01', 5, 8002), ('2', '2024-05-01', 5, 8003);
CALL retention.process_changes();
SELECT replace(relation, 'unreadable_test.', '') AS relation, reason, row_count, customer_id,
  order_id, left(value, 50) AS value FROM retention.unreadable_row
  WHERE found_by = 'process_changes' ORDER BY relation, reason;
-- A person who is forgotten is no example any more.
SELECT retention._forget_unreadable('1');
SELECT count(*) FILTER (WHERE customer_id = '1') AS named,
  count(*) FILTER (WHERE num_nonnulls(customer_id, order_id, value) = 0) > 3 AS nameless
  FROM retention.unreadable_row;
SELECT count(*) FROM retention.customer
  WHERE metric = 'spoilt' AND customer_id IN (SELECT customer FROM unbearable);
-- Whoever can be added again is back.
DELETE FROM instant WHERE order_id = 7002;
CALL retention.process_changes();
SELECT orders, revenue FROM retention.customer WHERE metric = 'spoilt' AND customer_id = 'sum';
-- History, validation and a customer's own days leave the same rows out.
SELECT count(*) = (SELECT count(*) FROM retention.customer WHERE metric = 'spoilt') AS as_many
  FROM retention.customer_at('spoilt');
SELECT retention.backfill_history('spoilt', '2024-01-01', step => '3 months') >= 0 AS backfilled;
SELECT count(*) > 0 AS validated FROM retention.validate_model('spoilt', '2024-01-01');
SELECT customer_id, max(x) + 1 = max(c.purchase_days) AS same_days
  FROM retention.customer c, LATERAL retention.churn_history(c.customer_id, 'spoilt') AS h
  WHERE c.metric = 'spoilt' AND c.customer_id IN ('1', '2', '3', '5', '10')
  GROUP BY customer_id ORDER BY 1;
-- Every column of the profile can be read of everybody.
SELECT count(to_jsonb(p)) = count(*) AS readable, bool_and(predicted_clv < 'Infinity') AS finite
  FROM retention.profile p WHERE metric = 'spoilt';
-- A quotient of more digits than exact decimals hold.
SELECT retention._double(123456789012345678901234567890.123456789012345678901234567890) AS double,
  retention._double('NaN') AS nan, retention._double(1e200) AS large;

-- Guests, however imports write them, are nobody: in sources, in segments, in the log of changes.
CREATE TABLE guest (customer_id text, ordered_at timestamptz, amount numeric);
INSERT INTO guest SELECT k, '2024-05-01', 5
  FROM unnest(ARRAY['', ' ', E'\t\r\n\f\x0B ', NULL, 'v', ' c', 'c ', E'\u00a0']) AS k;
CREATE INDEX ON guest (customer_id);
SELECT retention.add_metric('guest'), retention.track('guest', 'customer_id'),
  retention.add_source('guest', metric => 'guest') IS NOT NULL AS added;
CALL retention.refresh('guest');
SELECT rows_read, without_customer, unreadable FROM retention.population WHERE metric = 'guest';
CREATE VIEW guests AS SELECT customer_id FROM guest;
SELECT retention.add_segment('guests');
SELECT members, null_rows FROM retention.segment;
INSERT INTO guest SELECT k, '2024-06-01 12:00', 5
  FROM unnest(ARRAY['', ' ', E'\x0B', repeat('x', 2001), 'd', 'v']) AS k;
SELECT customer_ids FROM retention.change_log;
CALL retention.process_changes();
SELECT customer_ids, due_at FROM retention.change_log ORDER BY 1;
SELECT quote_literal(customer_id) AS customer FROM retention.customer WHERE metric = 'guest'
  ORDER BY customer_id;

-- Where a view's own expression fails for one row, its customer waits; the others are processed.
CREATE TABLE noted (customer_id integer, ordered_at timestamptz, amount text);
CREATE INDEX ON noted (customer_id);
CREATE VIEW converted AS SELECT customer_id, ordered_at, amount::numeric AS amount FROM noted;
SELECT retention.add_metric('noted'), retention.track('noted', 'customer_id'),
  retention.add_source('converted', metric => 'noted') IS NOT NULL AS added;
INSERT INTO noted SELECT i, '2024-05-01', '5' FROM generate_series(1, 1000) i;
CALL retention.refresh('noted');
INSERT INTO noted SELECT i, '2024-05-02', CASE WHEN i IN (300, 777) THEN 'n/a' ELSE '6' END
  FROM generate_series(1, 1000) i;
UPDATE retention.change_log SET due_at = NULL;
CALL retention.process_changes();
SELECT orders, count(*) FROM retention.customer WHERE metric = 'noted' GROUP BY 1 ORDER BY 1;
SELECT customer_ids FROM retention.change_log WHERE due_at < retention.now() + interval '10 minutes';
UPDATE noted SET amount = '6' WHERE amount = 'n/a';
UPDATE retention.change_log SET due_at = NULL;
CALL retention.process_changes();
SELECT orders, count(*) FROM retention.customer WHERE metric = 'noted' GROUP BY 1 ORDER BY 1;
-- Where it fails for everybody, it is not tried for each.
INSERT INTO noted SELECT i, '2024-05-03', 'n/a' FROM generate_series(1, 1000) i;
UPDATE retention.change_log SET due_at = NULL;
CALL retention.process_changes();
SELECT cardinality(customer_ids) FROM retention.change_log WHERE due_at < retention.now() + interval '10 minutes';

-- The aggregate still says what it cannot add.
SELECT retention.order_summary('2024-01-01', 'NaN');
SELECT retention.order_summary('infinity', 1);

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA unreadable_test CASCADE;
