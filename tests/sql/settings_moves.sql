-- Settings move customers, and start no flow: by thresholds, by history, by zone, by predictions, taken back, after a reset.
\set ECHO none
SET client_min_messages = warning;
SET retention.progress = off;
\set VERBOSITY terse
CREATE EXTENSION IF NOT EXISTS retention;
SET retention.as_of = '2024-06-03 10:00+00';
CREATE SCHEMA moves_test;
SET search_path = moves_test;
CREATE TABLE orders (customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT i % 40, timestamptz '2024-06-01' - i * interval '1 day', 5 + i % 20 FROM generate_series(0, 299) i;
SELECT FROM retention.add_source('orders');
SELECT FROM retention.track('orders');
CALL retention.refresh();
CREATE VIEW drifting AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND rfm_group IN ('At Risk', 'Inactive', 'Needs Attention');
CREATE VIEW risky AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND churn_risk = 'high';
CREATE VIEW buyers AS SELECT customer_id FROM retention.profile WHERE metric = 'orders';
SELECT FROM unnest('{drifting,risky,buyers}'::regclass[]) AS s, retention.add_segment(s);
CREATE FUNCTION go_live(name text, trigger jsonb) RETURNS void LANGUAGE sql AS $$
  SELECT FROM retention.create_flow(jsonb_build_object('name', name, 'trigger', trigger, 'reentry', 'always', 'concurrent', true, 'nodes', '[{"id": "end", "type": "exit"}]'::jsonb));
  SELECT FROM retention.publish(name);
  SELECT FROM retention.set_status(name, 'live');
$$;
SELECT FROM (VALUES ('drifting', 'entered'), ('drifting', 'left'), ('risky', 'entered'), ('risky', 'left'), ('buyers', 'entered'), ('buyers', 'left')) AS s (segment, change),
  go_live(segment || ' ' || change, jsonb_build_object('type', 'segment', 'segment', segment, 'change', change));
SELECT FROM go_live('moved', '{"type": "rfm_group", "to": ["At Risk", "Needs Attention", "Inactive", "Loyal", "Champions", "Recent"]}');
CREATE TABLE seen (moves bigint DEFAULT 0, changes bigint DEFAULT 0, enrollments bigint DEFAULT 0);
INSERT INTO seen DEFAULT VALUES;
-- What has come since it was asked last: moves, changes of segments, and who has entered flows.
CREATE FUNCTION news() RETURNS TABLE (moves text, changes text, entered text) LANGUAGE plpgsql AS $$
DECLARE
  last seen;
BEGIN
  SELECT * INTO last FROM seen;
  UPDATE seen SET moves = (SELECT coalesce(max(change_id), 0) FROM retention.rfm_change), changes = (SELECT coalesce(max(change_id), 0) FROM retention.segment_change),
                  enrollments = (SELECT coalesce(max(enrollment_id), 0) FROM retention.enrollment);
  RETURN QUERY SELECT
    (SELECT string_agg(format('%s of %s', n, cause), ', ' ORDER BY cause) FROM (SELECT cause, CASE WHEN count(*) < 3 THEN count(*)::text ELSE 'many' END AS n FROM retention.rfm_change WHERE change_id > last.moves GROUP BY 1) AS m),
    (SELECT string_agg(format('%s %s by %s', segment, change, cause), ', ' ORDER BY segment, change, cause)
     FROM (SELECT DISTINCT segment, change, cause FROM retention.segment_change WHERE change_id > last.changes) AS c),
    (SELECT string_agg(format('%s: %s', flow, customer_id), ', ' ORDER BY flow, customer_id) FROM retention.flow_enrollment WHERE enrollment_id > last.enrollments);
END $$;
CREATE PROCEDURE night() LANGUAGE plpgsql AS $$ BEGIN CALL retention.refresh(); CALL retention.process_changes(); CALL retention.run_flows(); END $$;
CALL night();
SELECT * FROM news();
\set ECHO queries

SELECT retention.alter_metric('orders', recency_limits => '{40,20}');
CALL retention.process_changes();
CALL night();
SELECT * FROM news();
SELECT retention.alter_metric('orders', history => '60 days');
CALL night();
SELECT * FROM news();
SELECT retention.alter_metric('orders', reset => '{history}');
CALL night();
SELECT * FROM news();
-- Zones, schemes, values; and predictions, which take effect at once.
SELECT retention.alter_metric('orders', time_zone => 'Pacific/Auckland', frequency_values => '{3,9}', monetary_values => '{60,80}');
CALL night();
SELECT * FROM news();
SELECT retention.alter_metric('orders', churn_levels => '{0.001,0.002}');
CALL retention.process_changes();
CALL night();
SELECT * FROM news();
SELECT retention.alter_metric('orders', purchase_model => 'paretonbd', reset => '{churn_levels}');
CALL night();
SELECT DISTINCT cause FROM retention.segment_change WHERE segment = 'risky';
SELECT entered FROM news();
-- Orders that come meanwhile do start flows: of one who is new, and of one who is back.
SELECT retention.alter_metric('orders', recency_limits => '{100,50}', history => '200 days');
INSERT INTO orders VALUES (99, '2024-06-03 19:00+00', 500), (39, '2024-06-04 09:30+00', 5);
SET retention.as_of = '2024-06-04 10:00+00';
CALL night();
SELECT * FROM news();
-- A source that comes, or goes, is a setting.
CREATE TABLE more AS SELECT 200 + i AS customer_id, timestamptz '2024-05-01' + i * interval '1 hour' AS ordered_at, 7 AS amount FROM generate_series(1, 5) i;
SELECT retention.add_source('more') AS more \gset
CALL night();
SELECT * FROM news();
SELECT retention.drop_source(:more);
CALL retention.refresh(allow_loss => true);
CALL night();
SELECT * FROM news();
-- So is a reset, and the first refresh after it.
SELECT retention.reset_metric('orders');
CALL retention.process_changes();
CALL retention.run_flows();
SELECT moves, changes, entered FROM news();
CALL night();
SELECT changes, entered FROM news();
-- An order and other changes at once, while the settings are others: each has its own cause.
CREATE TABLE consent (customer_id integer, agreed boolean);
SELECT retention.track('consent', 'customer_id');
SELECT retention.alter_metric('orders', churn_levels => '{0.0001,0.0002}');
INSERT INTO orders VALUES (500, '2024-06-04 09:59+00', 5);
INSERT INTO consent VALUES (3, true);
CALL retention.process_changes();
CALL retention.run_flows();
SELECT * FROM news();
-- A preview is what happens then.
CREATE TABLE expected AS SELECT * FROM retention.preview_settings('orders', recency_limits => '{30,15}', history => '90 days', frequency_values => '{2,4}');
SELECT count(*) > 20 AS many, count(*) FILTER (WHERE rfm_group IS NULL) > 0 AS some_go FROM expected;
SELECT recency_limits, history, frequency_values FROM retention.metric;
SELECT retention.alter_metric('orders', recency_limits => '{30,15}', history => '90 days', frequency_values => '{2,4}');
SELECT coalesce(max(change_id), 0) AS last FROM retention.rfm_change \gset
CALL night();
SELECT count(*) AS differing FROM (SELECT customer_id, previous_rfm_group, rfm_group, previous_r, previous_f, previous_m, r, f, m FROM retention.rfm_change WHERE change_id > :last) AS c
  FULL JOIN expected e USING (customer_id, previous_rfm_group, previous_r, previous_f, previous_m) WHERE (c.rfm_group, c.r, c.f, c.m) IS DISTINCT FROM (e.rfm_group, e.r, e.f, e.m);
SELECT count(*) FROM retention.preview_settings('orders');
SELECT entered FROM news();
SELECT * FROM retention.preview_settings('orders', recency_limits => '{1,2}');
SELECT * FROM retention.preview_settings('nothing');
SELECT retention.alter_metric('orders', churn_levels => '{0.0001,0.0002}');
SELECT FROM news();
-- What time brings about after predictions were set otherwise is not due to that.
SELECT retention.alter_metric('orders', reset => '{churn_levels}');
SELECT changes FROM news();
SET retention.as_of = '2024-12-04 10:00+00';
CALL retention.refresh();
SELECT changes FROM news();
-- Checked settings, and the way back.
SELECT retention.alter_metric('orders', history => '30');
SELECT retention.alter_metric('orders', history => '23:59');
SELECT retention.alter_metric('orders', history => '1 day');
SELECT retention.alter_metric('orders', reset => '{histry}');
SELECT retention.alter_metric('orders', reset => '{metric}');
SELECT retention.alter_metric('orders', reset => '{NULL}');
SELECT retention.alter_metric('orders', loss_limit => 0.7, reset => (SELECT array_agg(attname) FROM pg_attribute WHERE attrelid = 'retention.metric'::regclass AND attnum > 1 AND attname <> 'loss_limit'));
SELECT loss_limit FROM retention.metric;
SELECT retention.alter_metric('orders', reset => '{loss_limit}');
SELECT retention.add_metric('fresh');
SELECT count(*) AS kinds FROM (SELECT DISTINCT to_jsonb(m) - 'metric' FROM retention.metric m) AS d;
SELECT retention.alter_metric('fresh', scheme => 'five', reset => '{recency_limits}');
SELECT retention.alter_metric('fresh', scheme => 'quintile');
SELECT retention.alter_metric('fresh', reset => '{scheme}');
SELECT count(*) AS kinds FROM (SELECT DISTINCT to_jsonb(m) - 'metric' FROM retention.metric m) AS d;
SELECT retention.alter_metric('fresh', time_zone => z) FROM unnest('{GMT,europe/warsaw,Etc/GMT+2,UTC}'::text[]) AS z;
SELECT retention.alter_metric('fresh', time_zone => '+02');
SELECT retention.alter_metric('fresh', time_zone => 'banana5');
\set ECHO none
DROP SCHEMA moves_test CASCADE;
DROP EXTENSION retention CASCADE;
