-- The profile's predictions, and the models that refresh fits and publishes for them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA profile_test;
SET search_path = profile_test, pg_catalog;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';

CREATE TABLE orders AS
  SELECT customer_id, ordered_at, amount FROM retention.simulate_orders(2000, '2023-01-01', '2025-01-01', seed => 3,
    purchase => retention.make_model('mbgnbd', '{0.6, 30, 1, 4}'), spend => retention.make_model('gammagamma', '{6, 4, 15}'));
SELECT retention.add_metric('orders', 'America/New_York'), retention.add_source('orders') IS NOT NULL AS added;
SET retention.as_of = '2025-01-01 02:00+00';
CALL retention.refresh();

-- auto chooses the likelier of the models that doubt one-time buyers; every fit is kept.
SELECT purpose, (model).kind, chosen, (model).converged, (model).penalty, (model).n = (SELECT count(*) FROM retention.customer WHERE purpose = 'purchase' OR purchase_days > 1) AS all
FROM retention.fitted_model ORDER BY fit_id;
SELECT (SELECT (model).kind FROM retention.fitted_model WHERE purpose = 'purchase' ORDER BY (model).log_likelihood DESC LIMIT 1) = (purchase).kind AS likeliest,
       confidence FROM retention.published_model;
-- The models' parameters are in the intervals that the standard errors give.
SELECT bool_and(abs(ln(fitted / drawn)) < 4 * error / fitted) AS recovered
FROM retention.published_model, unnest((purchase).parameters || (spend).parameters, (purchase).standard_errors || (spend).standard_errors,
                                       '{0.6, 30, 1, 4, 6, 4, 15}'::float8[]) AS p (fitted, error, drawn)
WHERE (purchase).kind = 'mbgnbd';

-- Every predicted column is what the toolkit says of x, t_x and t in calendar days of the metric's zone.
CREATE VIEW expected AS
  SELECT c.customer_id, c.revenue, c.repeat_value, p.purchase, p.spend, p.confidence, c.purchase_days - 1 AS x,
         days.last - days.first AS t_x, days.today - days.first AS t, days.last, days.today
  FROM retention.customer c, retention.published_model p,
       LATERAL (SELECT (first_order_at AT TIME ZONE 'America/New_York')::date, (last_order_at AT TIME ZONE 'America/New_York')::date,
                       ('2025-01-01 02:00+00'::timestamptz AT TIME ZONE 'America/New_York')::date) AS days (first, last, today);
SELECT count(*) > 1900 AS customers,
       bool_and(p.p_alive = retention.p_alive(purchase, x, t_x, t)) AS p_alive,
       bool_and(p.churn_probability = 1 - p.p_alive) AS churn_probability,
       bool_and(p.churn_risk = CASE WHEN p.churn_probability < 0.33 THEN 'low' WHEN p.churn_probability < 0.66 THEN 'medium' ELSE 'high' END) AS churn_risk,
       bool_and(p.predicted_number_of_orders = retention.expected_orders(purchase, x, t_x, t, 365)) AS orders,
       bool_and(p.order_probability = retention.order_probability(purchase, x, t_x, t, 365)) AS probability,
       bool_and(abs(p.predicted_clv - p.predicted_number_of_orders * retention.expected_spend(spend, x, repeat_value::float8)) < 1e-9) AS predicted_clv,
       bool_and(abs(p.total_clv - revenue::float8 - p.predicted_clv) < 1e-9) AS total_clv,
       bool_and(p.expected_date_of_next_order = last + ceil(retention.next_order_days(purchase, x, t_x, t, "from" => 'last order'))::integer) AS expected_date,
       bool_and(p.next_order_earliest < p.expected_date_of_next_order AND p.expected_date_of_next_order < p.next_order_latest) AS around,
       bool_and(p.overdue = (today > p.next_order_latest)) AS overdue,
       bool_and(p.confidence = e.confidence) AS confidence
FROM retention.profile p JOIN expected e USING (customer_id);
SELECT count(DISTINCT churn_risk) AS risks, count(DISTINCT overdue) AS overdue, count(*) FILTER (WHERE p_alive = 1) AS certain FROM retention.profile;
-- Nothing is blank, and nothing moves but by the clock.
SELECT count(*) FILTER (WHERE num_nulls(predicted_clv, total_clv, predicted_number_of_orders, churn_probability, churn_risk, expected_date_of_next_order,
                                        next_order_earliest, next_order_latest, overdue, p_alive, order_probability, confidence) > 0) AS blank FROM retention.profile;
CREATE TABLE today AS SELECT customer_id, p_alive, expected_date_of_next_order, predicted_clv, total_clv FROM retention.profile;
SET retention.as_of = '2025-03-01';
SELECT bool_and(l.p_alive < t.p_alive) AS less_alive, bool_and(l.predicted_clv < t.predicted_clv) AS worth_less, bool_and(l.expected_date_of_next_order = t.expected_date_of_next_order) AS same_date
FROM retention.profile l JOIN today t USING (customer_id);
-- Back before the last orders: as of these.
SET retention.as_of = '2020-01-01';
SELECT count(*) = (SELECT count(*) FROM today) AS all, bool_and(p_alive BETWEEN 0 AND 1) AS valid FROM retention.profile;
SET retention.as_of = '2025-01-01 02:00+00';

-- Settings of the predictions count at once, and neither rescore nor refit.
SELECT retention.alter_metric('orders', prediction_window => 30, discount_rate => 0.2, churn_levels => '{0.1, 0.2}');
CREATE FUNCTION differences(OUT fewer_orders boolean, OUT discounted boolean, OUT risks boolean) LANGUAGE sql AS $$
  SELECT bool_and(abs(p.predicted_number_of_orders - retention.expected_orders(purchase, x, t_x, t, 30)) < 1e-12),
         bool_and(abs(p.predicted_clv - retention.clv(purchase, spend, x, t_x, t, repeat_value::float8, 30, 0.2)) < 1e-12),
         bool_and((p.churn_risk = 'high') = (p.churn_probability >= 0.2))
  FROM retention.profile p JOIN profile_test.expected e USING (customer_id)
$$;
SELECT * FROM differences();
CALL retention.refresh();
SELECT count(*) AS fits FROM retention.fitted_model;
SELECT retention.alter_metric('orders', prediction_window => 365, discount_rate => 0, churn_levels => '{0.33, 0.66}');
-- They are fitted anew when they are a week old, or another model is asked for, whatever else has changed.
CALL retention.refresh(as_of => '2025-01-08 01:59+00');
SELECT count(*) AS fits FROM retention.fitted_model;
CALL retention.refresh(as_of => '2025-01-08 02:00+00');
SELECT count(*) AS fits, max(as_of) FROM retention.fitted_model;
SELECT retention.alter_metric('orders', purchase_model => 'bgnbd');
CALL retention.refresh(as_of => '2025-01-09');
SELECT (model).kind, chosen FROM retention.fitted_model ORDER BY fit_id DESC LIMIT 2;
SELECT bool_and(p_alive = 1) AS certain FROM retention.profile WHERE purchase_days = 1;
SELECT retention.alter_metric('orders', purchase_model => 'auto', refit_interval => '0');
CALL retention.refresh(as_of => '2025-01-09');
SELECT (model).kind, chosen FROM retention.fitted_model ORDER BY fit_id DESC LIMIT 3;

-- Whoever does not ask for predictions does not pay for them: no other table is in the plan.
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT historic_clv, rfm_group, rfm_score FROM retention.profile WHERE customer_id = '7';
EXPLAIN (COSTS OFF) SELECT p_alive FROM retention.profile WHERE customer_id = '7';
EXPLAIN (COSTS OFF) SELECT days_since_last_order FROM retention.profile WHERE customer_id = '7';
RESET enable_seqscan;

-- Of very many customers a sample is fitted to, the same one each time.
SELECT customers BETWEEN 600 AND 740 AS a_third, customers = (retention.fit(purchases)).n AS fitted
FROM retention.metric m, retention._history_states(m, retention.now(), 3) WHERE m.metric = 'orders';

-- Confidence and its reasons.
SELECT * FROM retention.readiness();
SET retention.as_of = '2025-06-01';
CALL retention.refresh();
SELECT requirement FROM retention.readiness() WHERE NOT met;
SELECT DISTINCT confidence FROM retention.profile;

-- Thirty customers, none of whom has come back: a prediction for everyone, in which nobody should trust.
CREATE TABLE young AS SELECT i AS customer_id, timestamptz '2025-05-01' + i * interval '1 day' AS ordered_at, 20 + i AS amount FROM generate_series(1, 30) AS i;
SELECT retention.add_metric('young', loss_limit => 1), retention.add_source('young', metric => 'young') IS NOT NULL AS added;
CALL retention.refresh('young');
SELECT purpose, (model).kind, (model).converged, (model).penalty, (model).n FROM retention.fitted_model WHERE metric = 'young' ORDER BY fit_id;
SELECT count(*) AS customers, bool_and(predicted_clv > 0 AND predicted_clv < 1000) AS finite, bool_and(p_alive BETWEEN 0 AND 1) AS valid,
       bool_and(expected_date_of_next_order BETWEEN '2025-05-01' AND '2125-12-31') AS dates, min(confidence) AS confidence FROM retention.profile WHERE metric = 'young';
SELECT requirement, found FROM retention.readiness('young') WHERE NOT met;
-- One customer, all alike, none at all.
DELETE FROM young WHERE customer_id > 1;
SELECT retention.alter_metric('young', refit_interval => '0');
CALL retention.refresh('young');
SELECT p_alive BETWEEN 0 AND 1 AS valid, predicted_clv > 0 AS worth, confidence FROM retention.profile WHERE metric = 'young';
INSERT INTO young SELECT i, ordered_at, amount FROM young, generate_series(2, 50) AS i;
CALL retention.refresh('young');
SELECT count(*) AS customers, count(DISTINCT p_alive) AS kinds FROM retention.profile WHERE metric = 'young';
TRUNCATE young;
CALL retention.refresh('young');
SELECT count(*) AS published FROM retention.published_model WHERE metric = 'young';
SELECT count(*) AS customers FROM retention.profile WHERE metric = 'young';
-- Several metrics in one query, each by its own models.
INSERT INTO young SELECT i, timestamptz '2025-05-01' + i % 9 * interval '1 day' + j * interval '3 days', 5 FROM generate_series(1, 60) AS i, generate_series(0, i % 4) AS j;
CALL retention.refresh('young');
SELECT metric, bool_and(abs(p.p_alive - retention.p_alive(m.purchase, p.purchase_days - 1, last - first, greatest(today, last) - first)) < 1e-12) AS own
FROM retention.profile p JOIN retention.published_model m USING (metric) JOIN retention.metric s USING (metric),
     LATERAL (SELECT (first_order_at AT TIME ZONE s.time_zone)::date, (last_order_at AT TIME ZONE s.time_zone)::date,
                     (retention.now() AT TIME ZONE s.time_zone)::date) AS days (first, last, today)
WHERE metric = 'young' OR p.customer_id::integer < 100 GROUP BY metric ORDER BY metric;
-- Equal amounts: Gamma-Gamma's likelihood has no maximum, and a mean is still found.
SELECT (spend).penalty > 0 AS leaning, abs(retention.expected_spend(spend) - 5) < 2 AS mean FROM retention.published_model WHERE metric = 'young';
-- Models go with the metric.
SELECT retention.reset_metric('young');
SELECT count(*) AS fits FROM retention.fitted_model WHERE metric = 'young';
SELECT p_alive FROM retention.profile WHERE metric = 'young';

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA profile_test CASCADE;
