-- Numbers that are not what they seem: models that their back-test shows to be off say so, once, and call nobody safe.
SET client_min_messages = warning;
SET retention.progress = off;
CREATE EXTENSION IF NOT EXISTS retention;
SET retention.as_of = '2024-01-01Z';
SET TimeZone = 'UTC';
-- Everybody ordered each month or so, until most went away half a year ago.
CREATE TABLE orders AS
  SELECT i AS customer_id, timestamptz '2023-01-01Z' + (i % 30 + n * (20 + i % 25)) * interval '1 day' AS ordered_at, 10 + i % 7 AS amount
  FROM generate_series(1, 600) i, generate_series(0, 16) n;
DELETE FROM orders WHERE ordered_at > '2024-01-01Z' OR customer_id % 4 > 0 AND ordered_at > '2023-07-01Z';
SELECT retention.add_source('orders') > 0 AS added;
CALL retention.refresh();
SELECT count(churn_risk) = count(*) AS all_have_a_risk FROM retention.profile;
SELECT count(*) FROM retention.readiness() WHERE requirement LIKE 'back-test%';
SELECT actual, predicted > 2 * actual AS far_too_many FROM retention.validate_model('orders', '2023-07-01Z') WHERE item = 'orders';
SELECT retention.add_segment('retention.churn_risk_high');
SELECT segment, change, cause, count(*) > 100 AS many FROM retention.segment_change GROUP BY 1, 2, 3;
-- The next refresh says so, and the one after it does not repeat it, also when the models are fitted anew.
SET retention.as_of = '2024-01-02Z';
CALL retention.refresh();
CALL retention.refresh();
SET retention.as_of = '2024-01-20Z';
CALL retention.refresh();
SELECT requirement, needed, found > 1 AS found_more, met FROM retention.readiness() WHERE requirement LIKE 'back-test%';
SELECT count(churn_risk) AS risks, count(p_alive) > 0 AS others_stay, min(confidence) AS confidence FROM retention.profile;
SELECT segment, change, cause, count(*) > 100 AS many FROM retention.segment_change GROUP BY 1, 2, 3 ORDER BY 2;
SELECT count(*) FROM retention.churn_risk_high;
-- Another metric is none of its business; another model, or a better test, takes it back.
SELECT retention.add_metric('other') AS metric, retention.add_source('orders', metric => 'other') > 0 AS added;
CALL retention.refresh('other');
SELECT count(churn_risk) > 0 AS risks FROM retention.profile WHERE metric = 'other';
SELECT (purchase).kind <> 'bgnbd' AS another FROM retention.published_model WHERE metric = 'orders';
SELECT retention.alter_metric('orders', purchase_model => 'bgnbd');
CALL retention.refresh();
SELECT count(churn_risk) > 0 AS risks FROM retention.profile WHERE metric = 'orders';
SELECT retention.alter_metric('orders', reset => '{purchase_model}');
SET client_min_messages = error;
CALL retention.refresh();
SELECT count(churn_risk) AS risks FROM retention.profile WHERE metric = 'orders';
SET client_min_messages = warning;
UPDATE retention.validation_result SET predicted = actual * 1.33 WHERE item = 'orders';
CALL retention.refresh();
SELECT count(churn_risk) > 0 AS risks FROM retention.profile WHERE metric = 'orders';
SELECT needed, found, met FROM retention.readiness() WHERE requirement LIKE 'back-test%';
UPDATE retention.validation_result SET predicted = 0.4, actual = 0 WHERE item = 'orders';
CALL retention.refresh();
SELECT needed, found, met FROM retention.readiness() WHERE requirement LIKE 'back-test%';
DROP EXTENSION retention CASCADE;
DROP TABLE orders;
