-- Segments: members, the queue, and everything that can be wrong with a view.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA segments_test;
SET search_path = segments_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-01';
\set SHOW_CONTEXT never
\i tests/include/failure.sql

CREATE TABLE orders (customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT 1 + i % 20, timestamptz '2024-05-31' - i * interval '1 day', i % 20 * 10 + 5 FROM generate_series(1, 100) i;
INSERT INTO orders SELECT 100 + i % 30, timestamptz '2023-06-01' - i * interval '5 days', i % 9 + 1 FROM generate_series(1, 50) i;
SELECT retention.add_source('orders') > 0 AS added;
CALL retention.refresh();
SELECT retention.track('orders');

-- What a consumer sees.
CREATE FUNCTION news(consumer text DEFAULT 'crm', "limit" integer DEFAULT 1000) RETURNS TABLE (segment text, change text, cause text, customers text) LANGUAGE sql AS $$
  SELECT segment, change, cause, string_agg(customer_id, ' ' ORDER BY change_id) FROM retention.read_segment_changes(consumer, "limit") GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
$$;
SELECT retention.add_consumer('crm');
CREATE VIEW big AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 900;
CREATE VIEW "It's" AS SELECT CASE WHEN customer_id < 4 THEN customer_id WHEN customer_id = 4 THEN NULL END AS customer_id FROM orders WHERE customer_id <= 5 AND amount > 0;
SELECT retention.add_segment('big'), retention.add_segment('"It''s"', backfill => true), retention.add_segment('big', 'again');
SELECT * FROM news();
SELECT segment, relation, enabled, members, duplicate_rows, null_rows, error, failures FROM retention.segment ORDER BY number;

-- An order moves its customer; what is rolled back is read again.
INSERT INTO orders VALUES (3, '2024-05-31', 1000), (99, '2024-05-31', 5000);
CALL retention.process_changes();
BEGIN;
SELECT * FROM news();
ROLLBACK;
SELECT * FROM news("limit" => 3);
SELECT * FROM news("limit" => 3);
SELECT * FROM news();
DELETE FROM orders WHERE customer_id IN (3, 99) AND amount >= 1000;
CALL retention.process_changes();
SELECT * FROM news();

-- Redefined: in place, dropped and created again, and a view below it.
CREATE VIEW base AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 900;
CREATE OR REPLACE VIEW big AS SELECT customer_id FROM base WHERE customer_id <> '20';
INSERT INTO orders VALUES (1, '2024-05-31', 1);
CALL retention.process_changes();
SELECT * FROM news();
DROP VIEW big;
CREATE VIEW big AS SELECT customer_id FROM base WHERE customer_id <> '19';
CALL retention.refresh();
SELECT * FROM news();
CREATE OR REPLACE VIEW base AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 800;
SELECT retention.refresh_segment('big', backfill => true);
SELECT * FROM news();

-- Views that fail are reported and tried again, and the others go on.
CREATE VIEW dividing AS SELECT customer_id FROM orders WHERE 10 / (amount - 7) > 0;
SELECT retention.add_segment('dividing');
INSERT INTO orders VALUES (2, '2024-05-31', 7), (18, '2024-05-31', 2000);
CALL retention.process_changes();
SELECT segment, error, failures FROM retention.segment WHERE error IS NOT NULL;
SELECT segment, change, cause, customers FROM news() WHERE segment = 'big';
DELETE FROM orders WHERE amount = 7;
CALL retention.process_changes();
SELECT segment, error, failures FROM retention.segment WHERE error IS NOT NULL;
SET retention.as_of = '2024-06-01 00:01';
INSERT INTO orders VALUES (2, '2024-05-31', 8);
CALL retention.process_changes();
SELECT segment, error, failures FROM retention.segment WHERE error IS NOT NULL;
DROP VIEW dividing;
CALL retention.refresh();
SELECT retention.drop_segment('dividing');
SELECT count(*) > 0 AS left, count(DISTINCT cause) AS causes FROM retention.segment_change WHERE segment = 'dividing' AND change = 'left' AND cause = 'drop';
-- A view whose owner lost its rights.
CREATE ROLE retention_test_author;
GRANT USAGE, CREATE ON SCHEMA segments_test TO retention_test_author;
GRANT SELECT ON orders TO retention_test_author;
SET ROLE retention_test_author;
CREATE VIEW theirs AS SELECT customer_id FROM orders WHERE amount > 100;
RESET ROLE;
GRANT SELECT ON theirs TO CURRENT_USER;
SELECT retention.add_segment('theirs');
REVOKE SELECT ON orders FROM retention_test_author;
CALL retention.refresh();
SELECT retention.drop_segment('theirs');

-- Disabled, and enabled again.
SELECT count(*) > 0 AS read FROM retention.read_segment_changes('crm');
SELECT retention.alter_segment('again', false);
INSERT INTO orders VALUES (5, '2024-05-31', 3000);
CALL retention.process_changes();
SELECT * FROM news();
SELECT retention.alter_segment('again', true);
SELECT segment, change, cause, customers FROM news() WHERE segment = 'again';

-- The ready-made views are what they say.
SELECT view, retention.add_segment(view) AS segment FROM unnest('{retention.win_back,retention.vip,retention.one_time_buyers,retention.due_soon,retention.overdue,retention.churn_risk_high,retention.champions}'::regclass[]) AS view;
SELECT s.segment, s.members, s.members = (SELECT count(*) FROM retention.profile p WHERE CASE s.segment
    WHEN 'win_back' THEN rfm_group IN ('At Risk', 'Needs Attention') WHEN 'vip' THEN f = 3 AND m = 3 WHEN 'one_time_buyers' THEN historic_number_of_orders = 1
    WHEN 'due_soon' THEN expected_date_of_next_order BETWEEN '2024-06-01' AND '2024-06-08' WHEN 'overdue' THEN overdue
    WHEN 'churn_risk_high' THEN churn_risk = 'high' WHEN 'champions' THEN rfm_group = 'Champions' END) AS right
  FROM retention.segment s WHERE s.relation::text LIKE 'retention.%' ORDER BY 1;

-- Growth by day, pruning, and a consumer from the start.
SET retention.as_of = '2024-06-03';
DELETE FROM orders WHERE customer_id = 5;
CALL retention.process_changes();
SELECT * FROM retention.segment_growth WHERE segment = 'again' ORDER BY day;
SELECT retention.add_consumer('late', from_start => true);
SET retention.as_of = '2024-09-30';
SELECT retention.prune('100 days') AS nothing_for_late_has_not_read;
SELECT count(*) > 100 AS read FROM retention.read_segment_changes('late', 100000);
SELECT retention.prune('100 days') > 0 AS pruned;
SELECT count(*) AS unread_by_crm FROM retention.segment_change;
SELECT retention.drop_consumer('crm'), retention.prune('100 days') > 0 AS pruned;
SELECT count(*) AS left FROM retention.segment_change;
SELECT segment, size FROM retention.segment_growth WHERE day = '2024-09-30' AND segment IN ('again', 'big') ORDER BY 1;

-- Errors say what to do.
SELECT command, (failure(command)).* FROM unnest(ARRAY[
  $$SELECT retention.add_segment(NULL)$$, $$SELECT retention.add_segment('big')$$, $$SELECT retention.add_segment('pg_catalog.pg_class')$$, $$SELECT retention.drop_segment('none')$$,
  $$SELECT retention.alter_segment(NULL, true)$$, $$SELECT retention.add_consumer('late')$$, $$SELECT retention.drop_consumer('none')$$,
  $$SELECT retention.read_segment_changes('none')$$, $$SELECT retention.read_segment_changes('late', 0)$$, $$SELECT retention.prune('1 day')$$,
  $$UPDATE retention.segment_member SET customer_id = 'x'$$, $$TRUNCATE retention.segment_member$$, $$CALL retention.process_changes('infinity')$$]) AS command;

RESET retention.as_of;
DROP OWNED BY retention_test_author CASCADE;
DROP ROLE retention_test_author;
SET client_min_messages = error;
DROP SCHEMA segments_test CASCADE;
DROP EXTENSION retention;
