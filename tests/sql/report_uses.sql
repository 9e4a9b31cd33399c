-- What predictions rest on and where they are used: the model's card, examples, the spread of what is predicted, the forecast,
-- and which segments, flows and others use which attribute.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA report_uses_test;
SET search_path = report_uses_test;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET retention.progress = off;
SET retention.as_of = '2025-01-01Z';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE TABLE orders AS SELECT * FROM retention.simulate_orders(1500, '2022-01-01Z', '2025-01-01Z', 4, a => 0.5);
SELECT retention.add_source('orders', order_id => 'order_id') IS NOT NULL AS added, retention.add_metric('empty');

-- Before anything is fitted.
SELECT metric, customers, fitted_at, purchase_model, purchase_parameters, confidence, cardinality(reasons) FROM retention.clv_model_card ORDER BY metric;
SELECT metric, number, customers, customer_id FROM retention.clv_examples WHERE metric = 'orders';
CALL retention.refresh();
SELECT count(*) = 16 AS validated FROM retention.validate_model('orders', '2024-01-01Z') WHERE section IN ('total', 'measure', 'frequency');

-- The card says what is published and was validated.
SELECT c.metric, c.refreshed_at, c.customers = (SELECT count(*) FROM retention.customer) AS all_customers, c.orders = (SELECT count(*) FROM orders) AS all_orders,
       c.first_order_at = (SELECT min(ordered_at) FROM orders) AS since_first, c.last_order_at = (SELECT max(ordered_at) FROM orders) AS until_last,
       c.fitted_at, c.purchase_model, c.spend_model, c.confidence, c.reasons, round(c.orders_percent_off) BETWEEN -33 AND 33 AS near, c.auc > 0.5 AS tells
FROM retention.clv_model_card c ORDER BY metric;
SELECT k.key, (k.value ->> 'value')::float8 = (p.purchase).parameters[k.n] AS same, (k.value ->> 'standard_error')::float8 = (p.purchase).standard_errors[k.n] AS same_error
FROM retention.published_model p, retention.clv_model_card c,
     LATERAL (SELECT n, name AS key, c.purchase_parameters -> name AS value FROM unnest((p.purchase).names) WITH ORDINALITY AS u (name, n)) AS k
WHERE c.metric = p.metric ORDER BY k.n;
SELECT c.holdout_orders = v.actual AS actual, c.holdout_predicted_orders = v.predicted AS predicted
FROM retention.clv_model_card c JOIN retention.model_validation v USING (metric) WHERE (v.section, v.item) = ('total', 'orders');

-- Conditions give exactly those who are counted; an example is one of them.
CREATE FUNCTION count_by(condition text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  found bigint;
BEGIN
  EXECUTE 'SELECT count(*) FROM retention.profile WHERE ' || condition INTO found;
  RETURN found;
END $$;
SELECT e.number, e.profile, e.condition, e.customers > 10 AS many, e.customers = count_by(e.condition) AS exactly,
       count_by(format('(%s) AND customer_id = %L', e.condition, e.customer_id)) AS example,
       e.historic_clv = (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY c.revenue) FROM retention.customer c
                         WHERE CASE e.number WHEN 1 THEN c.orders >= 3 AND c.last_order_at >= '2024-10-03Z' WHEN 2 THEN c.orders = 2 AND c.last_order_at >= '2024-10-03Z'
                           WHEN 3 THEN c.orders = 1 AND c.last_order_at >= '2024-11-02Z' WHEN 4 THEN c.orders >= 3 AND c.last_order_at < '2024-07-05Z'
                           ELSE c.orders = 1 AND c.last_order_at < '2024-11-02Z' END) AS median
FROM retention.clv_examples e WHERE e.metric = 'orders' ORDER BY e.number;
SELECT count(*) BETWEEN 5 AND 13 AS bins, bool_and(customers = count_by(condition)) AS exactly, sum(customers) = (SELECT count(*) FROM retention.profile) AS all_customers,
       abs(sum(predicted_clv) / (SELECT sum(predicted_clv) FROM retention.profile) - 1) < 1e-9 AS all_value, round(sum(percent)) AS percent
FROM retention.predicted_value_distribution;

-- The forecast is what the profile says of everybody together; that of a year ago what validate_model found.
SELECT abs(sum(f.orders) / (SELECT sum(p.predicted_number_of_orders) FROM retention.profile p) - 1) < 1e-9 AS as_profile,
       abs(sum(f.revenue) / (SELECT sum(p.predicted_clv) FROM retention.profile p) - 1) < 1e-9 AS as_clv
FROM retention.forecast('365 days', '73 days') AS f;
SELECT abs(f.year_ago_orders / v.predicted - 1) < 1e-6 AS predicted, f.year_ago_actual_orders = v.actual AS actual,
       abs(f.year_ago_revenue / r.predicted - 1) < 1e-6 AS revenue, abs(f.year_ago_actual_revenue / r.actual::numeric - 1) < 1e-6 AS actual_revenue
FROM retention.forecast('1 year', '1 year') AS f, retention.model_validation v, retention.model_validation r
WHERE (v.section, v.item) = ('total', 'orders') AND (r.section, r.item) = ('total', 'revenue');
SELECT count(*) AS steps, min(starts_at) AS begins, max(ends_at) AS ends, bool_and(orders_low < orders AND orders < orders_high) AS orders_inside,
       bool_and(revenue_low < revenue AND revenue < revenue_high) AS revenue_inside, min(year_ago_starts_at) AS year_ago, count(year_ago_actual_orders) AS known
FROM retention.forecast('18 months');
-- Intervals hold what comes at least as often as they say: the models are right here, which they cannot know.
CREATE TABLE held AS SELECT 0 AS seed, 0 AS number, false AS orders, false AS revenue LIMIT 0;
DO $$ BEGIN
  FOR seed IN 1 .. 12 LOOP
    TRUNCATE orders;
    INSERT INTO orders SELECT * FROM retention.simulate_orders(500, '2022-01-01Z', '2025-01-01Z', seed, a => 0.5);
    INSERT INTO held SELECT seed, f.number, f.year_ago_actual_orders BETWEEN f.year_ago_orders_low AND f.year_ago_orders_high,
                            f.year_ago_actual_revenue BETWEEN f.year_ago_revenue_low AND f.year_ago_revenue_high FROM retention.forecast() AS f;
  END LOOP;
END $$;
SELECT count(*) AS steps, avg(orders::integer) BETWEEN 0.75 AND 0.97 AS orders, avg(revenue::integer) BETWEEN 0.75 AND 0.97 AS revenue FROM held;

-- Who uses what: what a view shows it does not use.
CREATE VIEW promising AS SELECT customer_id FROM retention.profile WHERE predicted_clv > 100 AND metric = 'orders';
CREATE VIEW renamed AS SELECT customer_id, total_clv AS value FROM retention.profile;
CREATE VIEW of_renamed AS SELECT customer_id FROM renamed WHERE value > 5;
CREATE VIEW nested AS SELECT customer_id FROM (SELECT customer_id, churn_probability FROM retention.profile) AS p WHERE churn_probability < 0.5;
CREATE VIEW "of 'view"" of ours" AS SELECT c.* FROM retention.champions c JOIN promising USING (customer_id) WHERE overdue;
CREATE VIEW nothing AS SELECT customer_id::text FROM orders WHERE amount > 10;
SELECT retention.add_segment(v::regclass, v) FROM unnest('{promising,of_renamed,nested,nothing,retention.due_soon,retention.vip}'::text[]) AS v;
SELECT retention.add_segment('"of ''view"" of ours"', 'ours');
SELECT retention.create_flow('{"name": "f", "trigger": {"type": "segment", "segment": "promising"}, "entry_filter": "churn_risk = ''low'' AND ''overdue'' <> ''x'' -- r",
  "nodes": [{"id": "m", "type": "message", "channel": "webhook", "url": "https://shop.example/", "body": "{{ person.average_order_value }} total_clv", "next": "s"},
            {"id": "s", "type": "split", "branches": [{"when": "f = 3 OR person.\"rfm_group\" = ''m''", "next": "x"}]}, {"id": "x", "type": "exit"}]}'),
  retention.create_flow('{"name": "by date", "trigger": {"type": "date", "column": "expected_date_of_next_order", "offset": "-3 days"},
  "nodes": [{"id": "x", "type": "exit"}]}'), retention.create_flow('{"name": "draft", "trigger": {"type": "manual"}, "exit": "m = 3", "nodes": [{"id": "x", "type": "exit"}]}');
SELECT retention.publish('f'), retention.publish('by date');
SELECT retention.register_use('newsletter', 'form', 'promising'), retention.register_use('account', 'page', attributes => '{overdue,r}');
SELECT attribute, kind, name, through_segment, status, channels, changed_at FROM retention.clv_usage();
SELECT size = (SELECT members FROM retention.segment WHERE segment = 'promising') AS size, kind FROM retention.clv_usage('predicted_clv') WHERE kind <> 'flow' AND name <> 'ours';
SELECT retention.register_use('account', 'page', 'promising', '{r,NULL}');
SELECT attribute, name, through_segment FROM retention.clv_usage() WHERE kind = 'page';
SELECT retention.drop_use('account', 'page');
SELECT kind, name, segment, attributes FROM retention.registered_use;
SELECT f.* FROM unnest(ARRAY[
  $$SELECT retention.clv_usage('colour')$$,
  $$SELECT retention.register_use('a', 'form', 'no such')$$,
  $$SELECT retention.register_use('a', 'form', attributes => '{r,metric}')$$,
  $$SELECT retention.register_use('a', 'form')$$,
  $$SELECT retention.register_use('a', 'flow', 'promising')$$,
  $$SELECT retention.register_use(' ', 'form', 'promising')$$,
  $$SELECT retention.register_use('a', NULL, 'promising')$$,
  $$SELECT retention.drop_use('account', 'page')$$]) AS command, failure(command) AS f;

DROP EXTENSION retention CASCADE;
DROP SCHEMA report_uses_test CASCADE;
