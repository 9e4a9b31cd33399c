-- Metrics: what is rejected and how, schemes and cells, fixed values, frozen thresholds.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA settings_test;
SET search_path = settings_test;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
\set SHOW_CONTEXT never
\i tests/include/failure.sql

-- The shipped schemes: every combination once.
SELECT scheme, count(*), count(DISTINCT (r, f, m)), min(r) || '-' || max(r) AS r, min(f) || '-' || max(f) AS f, min(m) || '-' || max(m) AS m,
       count(DISTINCT rfm_group) AS groups, bool_and(builtin) AS builtin FROM retention.rfm_cell GROUP BY scheme ORDER BY scheme;
SELECT r, f, m, rfm_group, retention.rfm_group(r, f, m) = rfm_group AS same FROM retention.rfm_cell WHERE scheme = 'standard' ORDER BY r DESC, f DESC, m DESC;
SELECT rfm_group, string_agg(concat(r, f, m), ' ' ORDER BY r DESC, f DESC, m DESC) AS cells FROM retention.rfm_cell WHERE scheme = 'quintile' GROUP BY 1 ORDER BY 1;
SELECT retention.rfm_group(5, 5, 5, 'quintile') AS best, retention.rfm_group(1, 1, 1, 'quintile') AS worst,
       retention.rfm_group(4, 4, 4) IS NULL AS no_such_score, retention.rfm_group(1, 1, 1, 'nope') IS NULL AS no_such_scheme,
       retention.rfm_group(NULL, 1, 1) IS NULL AS null_score;

-- Defaults.
SELECT retention.add_metric('standard'), retention.add_metric('five', scheme => 'quintile');
SELECT metric, time_zone, history, scheme, recency_limits, (SELECT array_agg(round(p::numeric, 4)) FROM unnest(frequency_percentiles) p) AS frequency,
       (SELECT array_agg(round(p::numeric, 4)) FROM unnest(monetary_percentiles) p) AS monetary, frequency_values, monetary_values, thresholds
  FROM retention.metric ORDER BY metric;

-- What add_metric, alter_metric and a direct change reject. The values in turn: a name, and what to set.
\pset format unaligned
\pset fieldsep ' | '
SELECT f.state, f.message, f.hint FROM (VALUES
  ($$SELECT retention.add_metric('standard')$$), ($$SELECT retention.add_metric('')$$), ($$SELECT retention.add_metric(NULL)$$),
  ($$SELECT retention.alter_metric('nope', time_zone => 'UTC')$$), ($$SELECT retention.drop_metric('nope')$$), ($$SELECT retention.reset_metric('nope')$$),
  ($$SELECT retention.add_metric('m', scheme => 'nope')$$), ($$SELECT retention.alter_metric('standard', scheme => 'nope')$$)) AS c (command), failure(command) AS f;
CREATE TABLE wrong (n integer GENERATED ALWAYS AS IDENTITY, setting text, value text);
INSERT INTO wrong (setting, value) VALUES
  ('time_zone', '''Europe/Warszawa'''), ('time_zone', ''''''), ('time_zone', '''posixrules-not'''),
  ('history', '''0'''), ('history', '''-1 day'''),
  ('thresholds', '''moved'''), ('thresholds', ''''''),
  ('recency_limits', '''{180,365}'''), ('recency_limits', '''{180,180}'''), ('recency_limits', '''{365}'''), ('recency_limits', '''{365,180,90}'''),
  ('recency_limits', '''{-1,-2}'''), ('recency_limits', '''{2,-0.5}'''), ('recency_limits', '''{Infinity,180}'''), ('recency_limits', '''{365,-Infinity}'''),
  ('frequency_values', '''{2,Infinity}'''), ('frequency_values', '''{-1,2}'''), ('monetary_values', '''{-Infinity,2}'''), ('monetary_values', '''{2,Infinity}'''),
  ('frequency_percentiles', '''{0.5,Infinity}'''), ('churn_levels', '''{-Infinity,0.5}'''),
  ('recency_limits', '''{}'''), ('recency_limits', '''{365,NULL}'''), ('recency_limits', '''{NaN,1}'''), ('recency_limits', '''{{365,180}}'''),
  ('frequency_percentiles', '''{0.6,0.3}'''), ('frequency_percentiles', '''{0.5,0.5}'''), ('frequency_percentiles', '''{-0.1,0.5}'''),
  ('frequency_percentiles', '''{0.5,1.1}'''), ('frequency_percentiles', '''{0.5}'''), ('frequency_percentiles', '''{0.5,NULL}'''), ('frequency_percentiles', '''{0.5,NaN}'''),
  ('monetary_percentiles', '''{0.6,0.3}'''), ('monetary_percentiles', '''{33,66}'''), ('monetary_percentiles', '''{0.2,0.4,0.6}'''),
  ('frequency_values', '''{5,2}'''), ('frequency_values', '''{2}'''), ('frequency_values', '''{2,NULL}'''), ('frequency_values', '''{2,2}'''),
  ('monetary_values', '''{500,100}'''), ('monetary_values', '''{1,2,3}'''), ('monetary_values', '''{NaN,NaN}'''),
  ('purchase_model', '''gammagamma'''), ('purchase_model', '''BGNBD'''), ('prediction_window', '0'), ('prediction_window', '36526'),
  ('discount_rate', '-0.1'), ('discount_rate', '''NaN'''), ('discount_rate', '''Infinity'''), ('refit_interval', '''-1 day'''), ('country', '''Poland'''),
  ('churn_levels', '''{0.5}'''), ('churn_levels', '''{0.6,0.3}'''), ('churn_levels', '''{0.5,1.5}'''), ('churn_levels', '''{0.5,NULL}''');
SELECT setting, value, f.state, f.message, f.hint FROM wrong, failure(format('SELECT retention.add_metric(%L, %I => %s)', 'm', setting, value)) AS f ORDER BY n;
-- The same by alter_metric and by UPDATE.
SELECT count(*) AS differing FROM wrong,
  LATERAL failure(format('SELECT retention.add_metric(%L, %I => %s)', 'standard2', setting, value)) AS a,
  LATERAL failure(format('SELECT retention.alter_metric(%L, %I => %s)', 'standard', setting, value)) AS b,
  LATERAL failure(format('UPDATE retention.metric SET %I = %s WHERE metric = %L', setting, value, 'standard')) AS c
  WHERE (a.state, replace(a.message, '"standard2"', '"standard"')) IS DISTINCT FROM (b.state, b.message) OR (b.state, b.message) IS DISTINCT FROM (c.state, c.message);
SELECT attname, (failure(format('UPDATE retention.metric SET %I = NULL WHERE metric = %L', attname, 'standard'))).state IS NOT NULL AS needed
  FROM pg_attribute WHERE attrelid = 'retention.metric'::regclass AND attnum > 0 ORDER BY attnum;
SELECT f.* FROM unnest('{time_zone,scheme,recency_limits,monetary_percentiles,churn_levels,loss_limit}'::text[]) AS setting,
  failure(format('UPDATE retention.metric SET %I = NULL WHERE metric = %L', setting, 'standard')) AS f;
SELECT f.* FROM failure($$SELECT retention.alter_metric('standard', reset => '{all}')$$) AS f;
BEGIN;
SELECT retention.alter_metric('standard', recency_limits => '{1,0}', monetary_values => '{-5,0}');
ROLLBACK;
SELECT failure($$UPDATE retention.metric SET scheme = 'quintile' WHERE metric = 'standard'$$);
SELECT failure($$UPDATE retention.rfm_cell SET rfm_group = '' WHERE scheme = 'standard' AND (r, f, m) = (1, 1, 1)$$);
\pset format aligned
SELECT count(*) AS metrics FROM retention.metric;

-- Changes by name; a new scheme brings its thresholds; settings that are not named stay.
SELECT retention.alter_metric('standard', time_zone => 'europe/warsaw', history => '2 years', monetary_values => '{100,500}');
SELECT retention.alter_metric('standard', frequency_percentiles => '{0.5,0.9}', thresholds => 'frozen');
SELECT time_zone, history, scheme, recency_limits, frequency_percentiles, monetary_values, thresholds FROM retention.metric WHERE metric = 'standard';
SELECT failure($$SELECT retention.alter_metric('standard', scheme => 'quintile')$$);
UPDATE retention.metric SET monetary_values = NULL, history = NULL WHERE metric = 'standard';
SELECT retention.alter_metric('standard', scheme => 'quintile');
SELECT scheme, recency_limits, cardinality(frequency_percentiles) AS f, cardinality(monetary_percentiles) AS m FROM retention.metric WHERE metric = 'standard';
SELECT retention.drop_metric('standard');

-- Scored by each.
CREATE TABLE orders AS SELECT customer_id, ordered_at, amount FROM retention.simulate_orders(2000, '2021-01-01', '2024-01-01', 3);
CREATE VIEW oracle_rows AS SELECT 'order' AS kind, customer_id::text, ordered_at AS at, amount, NULL::text AS order_id FROM orders;
\set ECHO none
\i tests/oracle/customer.sql
\set ECHO all
SELECT retention.add_source('orders') IS NOT NULL AS orders, retention.add_source('orders', metric => 'five') IS NOT NULL AS five;
CALL retention.refresh(as_of => '2024-01-01');
SELECT only_engine, only_oracle, same_bounds FROM compare_with_oracle('orders', '2024-01-01');
CALL retention.refresh('five', as_of => '2024-01-01');
SELECT only_engine, only_oracle, same_bounds
  FROM compare_with_oracle('five', '2024-01-01', 'UTC', '-infinity', 'quintile', '{365,180,90,30}', '{0.2,0.4,0.6,0.8}');
-- Fixed values, inclusive; other limits and percentiles, the extremes too.
SELECT retention.alter_metric('orders', frequency_values => '{2,4}', monetary_values => '{50,200.5}', recency_limits => '{400.5,0}');
CALL retention.refresh(as_of => '2024-01-01');
SELECT only_engine, only_oracle, same_bounds
  FROM compare_with_oracle('orders', '2024-01-01', limits => '{400.5,0}', f_bounds => '{2,4}', m_bounds => '{50,200.5}');
UPDATE retention.metric SET frequency_values = NULL, monetary_values = NULL WHERE metric = 'orders';
SELECT retention.alter_metric('orders', recency_limits => '{1e300,0}', frequency_percentiles => '{0,1}', monetary_percentiles => '{0,0.999}');
CALL retention.refresh(as_of => '2024-01-01');
SELECT r, min(f), max(f), (SELECT frequency_bounds[2] IS NULL FROM retention.population ORDER BY refresh_id DESC LIMIT 1) AS none_above_the_last
  FROM retention.customer WHERE metric = 'orders' GROUP BY r;
SELECT retention.alter_metric('orders', recency_limits => '{365,180}', frequency_percentiles => ARRAY[1/3.0, 2/3.0], monetary_percentiles => ARRAY[1/3.0, 2/3.0]);
-- Limits are inclusive, by local days, in the metric's zone.
CREATE TABLE limits (customer_id text, ordered_at timestamptz, amount numeric);
INSERT INTO limits SELECT 'd' || lpad(d::text, 3, '0'), (date '2024-01-01' - d + time '23:59:59') AT TIME ZONE 'America/Sao_Paulo', 1 FROM unnest('{1,179,180,181,364,365,366}'::integer[]) d;
SELECT retention.add_metric('limits', 'America/Sao_Paulo'), retention.add_source('limits', metric => 'limits') IS NOT NULL AS added;
CALL retention.refresh('limits', as_of => '2024-01-01 00:00:00-03');
SELECT customer_id, r FROM retention.customer WHERE metric = 'limits' ORDER BY 1;
SELECT string_agg(customer_id || ':' || r, ' ' ORDER BY customer_id) AS a_second_later_by_clock FROM retention.customer_at('limits', '2024-01-01 23:59:59-03');

-- Edited cells take effect; a cell that is missing is named.
UPDATE retention.rfm_cell SET rfm_group = 'Big fish' WHERE scheme = 'standard' AND (r, f, m) = (3, 3, 3);
SELECT builtin FROM retention.rfm_cell WHERE rfm_group = 'Big fish';
CALL retention.refresh(as_of => '2024-01-01');
SELECT count(*) > 0 AS renamed, bool_and(r = 3 AND f = 3 AND m = 3) AS those_only FROM retention.customer WHERE metric = 'orders' AND rfm_group = 'Big fish';
SELECT only_engine, only_oracle, same_bounds FROM compare_with_oracle('orders', '2024-01-01');
SELECT p.group_sizes ? 'Big fish' AS counted FROM retention.population p WHERE metric = 'orders' ORDER BY refresh_id DESC LIMIT 1;
DELETE FROM retention.rfm_cell WHERE scheme = 'standard' AND (r, f, m) = (2, 1, 3);
SELECT failure($$CALL retention.refresh(as_of => '2024-01-01')$$);
INSERT INTO retention.rfm_cell (scheme, r, f, m, rfm_group) VALUES ('standard', 2, 1, 3, 'Needs Attention');
INSERT INTO retention.rfm_cell (scheme, r, f, m, rfm_group) VALUES ('standard', 3, 3, 2, 'Champions');
SELECT failure($$INSERT INTO retention.rfm_cell (scheme, r, f, m, rfm_group) VALUES ('standard', 3, 3, 2, 'Champions')$$);
-- A scheme of one's own: two levels of recency, one of frequency, three of revenue.
INSERT INTO retention.rfm_cell (scheme, r, f, m, rfm_group) SELECT 'own', r, 1, m, format('%s %s', r, m) FROM generate_series(1, 2) r, generate_series(1, 3) m;
SELECT failure($$SELECT retention.alter_metric('orders', scheme => 'own')$$);
SELECT retention.alter_metric('orders', scheme => 'own', recency_limits => '{100}');
CALL retention.refresh(as_of => '2024-01-01');
SELECT bool_and(rfm_group = r || ' ' || m AND f = 1) AS grouped, count(DISTINCT rfm_group) AS groups FROM retention.customer WHERE metric = 'orders';
SELECT retention.alter_metric('orders', scheme => 'standard');

-- Frozen thresholds stay as published, whatever comes.
CALL retention.refresh(as_of => '2024-01-01');
SELECT retention.alter_metric('orders', thresholds => 'frozen');
CREATE TABLE published AS SELECT frequency_bounds, monetary_bounds FROM retention.population WHERE metric = 'orders' ORDER BY refresh_id DESC LIMIT 1;
INSERT INTO orders SELECT 10000 + i, '2024-01-02', 100000 FROM generate_series(1, 3000) i;
CALL retention.refresh(as_of => '2024-01-03');
SELECT only_engine, only_oracle, same_bounds FROM published p, compare_with_oracle('orders', '2024-01-03', f_bounds => p.frequency_bounds, m_bounds => p.monetary_bounds);
SELECT retention.alter_metric('orders', thresholds => 'moving');
CALL retention.refresh(as_of => '2024-01-03');
SELECT only_engine, only_oracle, same_bounds FROM compare_with_oracle('orders', '2024-01-03');
-- Frozen before the first refresh, and with another scheme: those of the first refresh with it.
SELECT retention.alter_metric('orders', thresholds => 'frozen', scheme => 'quintile');
CALL retention.refresh(as_of => '2024-01-03');
SELECT only_engine, only_oracle, same_bounds
  FROM compare_with_oracle('orders', '2024-01-03', 'UTC', '-infinity', 'quintile', '{365,180,90,30}', '{0.2,0.4,0.6,0.8}');
CREATE TABLE published_five AS SELECT frequency_bounds, monetary_bounds FROM retention.population WHERE metric = 'orders' ORDER BY refresh_id DESC LIMIT 1;
DELETE FROM orders WHERE customer_id > 10000;
CALL retention.refresh(as_of => '2024-01-04', allow_loss => true);
SELECT only_engine, only_oracle, same_bounds
  FROM published_five p, compare_with_oracle('orders', '2024-01-04', 'UTC', '-infinity', 'quintile', '{365,180,90,30}', f_bounds => p.frequency_bounds, m_bounds => p.monetary_bounds);

-- reset_metric forgets one metric's results, drop_metric all of one metric.
SELECT retention.reset_metric('orders');
SELECT m.metric, (SELECT count(*) FROM retention.source s WHERE s.metric = m.metric) AS sources,
       EXISTS (SELECT FROM retention.customer x WHERE x.metric = m.metric) AS customers, EXISTS (SELECT FROM retention.population x WHERE x.metric = m.metric) AS population,
       EXISTS (SELECT FROM retention.rfm_change x WHERE x.metric = m.metric) AS change
  FROM retention.metric m ORDER BY 1;
CALL retention.refresh(as_of => '2020-01-01');
SELECT retention.drop_metric('five'), retention.drop_metric('limits'), retention.drop_metric('orders');
SELECT count(*) AS left FROM (
  SELECT metric FROM retention.metric UNION ALL SELECT metric FROM retention.source UNION ALL SELECT metric FROM retention.customer UNION ALL
  SELECT metric FROM retention.population UNION ALL SELECT metric FROM retention.rfm_change) AS everything;
-- In every table that has metrics, also where somebody deletes the row; only the number of the turn stays.
CREATE FUNCTION rows_of(name text) RETURNS TABLE (relation text, rows bigint) LANGUAGE plpgsql AS $$
BEGIN
  FOR relation IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                  WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind = 'r' AND a.attname = 'metric'
                  ORDER BY c.relname COLLATE "C" LOOP
    EXECUTE format('SELECT count(*) FROM retention.%I WHERE metric = $1', relation) INTO rows USING name;
    IF rows > 0 THEN RETURN NEXT; END IF;
  END LOOP;
END $$;
CREATE TABLE typed (order_id integer, customer_id text, ordered_at timestamptz, amount text);
CREATE VIEW parsed AS SELECT order_id, customer_id, ordered_at, amount::numeric AS amount FROM typed;
CREATE FUNCTION broken(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE typed;
  INSERT INTO typed SELECT i, 'c' || i % 40, timestamptz '2020-01-01' + i * interval '11 days', '5' FROM generate_series(1, 132) AS i;
  PERFORM set_config('retention.as_of', '2022-01-01', true), retention.add_metric(name), retention.add_source('parsed', order_id => 'order_id', metric => name);
  PERFORM set_config('retention.as_of', '2024-01-01', true);
  PERFORM retention.track('typed', 'customer_id');
  CALL retention.refresh(name);
  PERFORM retention.validate_model(name, '2022-06-01', '2023-06-01');
  INSERT INTO typed VALUES (1000, 'c1', '2023-12-30', 'oops');
  CALL retention.process_changes();
END $$;
SET client_min_messages = error;
SET retention.progress = off;
SELECT broken('whole');
SELECT relation FROM rows_of('whole');
SELECT name, how_often FROM retention.problem, LATERAL (SELECT occurrences) AS o (how_often) WHERE kind = 'metric';
SELECT retention.drop_metric('whole');
SELECT relation FROM rows_of('whole');
SELECT broken('whole');
DELETE FROM retention.metric WHERE metric = 'whole';
SELECT relation FROM rows_of('whole');
SELECT broken('whole');
-- What was reset, or has no source any more, has nothing to be mended.
BEGIN;
SELECT retention.reset_metric('whole');
SELECT relation FROM rows_of('whole');
SELECT count(*) AS problems FROM retention.problem;
ROLLBACK;
SELECT retention.drop_source(source_id) FROM retention.source WHERE metric = 'whole';
SELECT count(*) AS problems FROM retention.problem;
SELECT count(*) AS findings FROM retention.health() WHERE what ~ 'cannot be processed';
SELECT retention.drop_metric('whole');

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA settings_test CASCADE;
