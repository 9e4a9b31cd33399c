-- What process_changes takes from the log and what it leaves: orders ahead of the clock, tables that no metric reads, columns that are gone, keys that are too long.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA log_test;
SET search_path = log_test;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
\set SHOW_CONTEXT never
CREATE TABLE orders (id integer, customer_id integer, ordered_at timestamptz, amount numeric);
INSERT INTO orders SELECT i, 800 + i % 10, timestamptz '2024-05-31' - i * interval '3 days', 5 FROM generate_series(1, 100) i;
SET retention.as_of = '2024-06-12';
SELECT retention.add_metric('orders', frequency_values => '{2,4}', monetary_values => '{30,60}'), retention.add_source('orders', order_id => 'id', events => true) > 0 AS added, retention.track('orders');
CALL retention.refresh();

-- An order that is dated ahead of the clock, by a clock that goes wrong, is due when its time has come; one of next week is left to a refresh.
SET retention.as_of = '2024-06-12 12:00:00';
INSERT INTO orders VALUES (120, 800, '2024-06-12 12:00:01', 5), (121, 801, '2024-06-12 12:00:00', 5), (122, 802, '2024-06-20', 5), (123, NULL, '2024-06-12 12:00:01', 5), (124, 801, '2024-06-12 12:10', 5);
CALL retention.process_changes();
SELECT customer_id, orders FROM retention.customer WHERE customer_id IN ('800', '801', '802') ORDER BY 1;
SELECT relation, customer_ids, due_at FROM retention.change_log ORDER BY due_at;
SELECT ctid AS place FROM retention.change_log ORDER BY due_at LIMIT 1 \gset
CALL retention.process_changes();
SELECT ctid = :'place' AS untouched FROM retention.change_log ORDER BY due_at LIMIT 1;
SET retention.as_of = '2024-06-12 12:00:02';
CALL retention.process_changes();
SELECT customer_id, orders FROM retention.customer WHERE customer_id IN ('800', '801', '802') ORDER BY 1;
SELECT customer_id, order_id, recorded_at FROM retention.order_event ORDER BY event_id;
-- Also where everything is read, or taken for too much.
INSERT INTO orders VALUES (125, 803, '2024-06-12 12:10:01', 5);
SELECT retention.untrack('orders');
INSERT INTO retention.change_log VALUES ('orders', NULL, now());
CALL retention.process_changes();
SELECT customer_ids, due_at FROM retention.change_log ORDER BY due_at, customer_ids;
SELECT everything, customer_ids FROM retention._take_changes(0, '2024-06-12 12:00:02');
SELECT count(*) AS not_due FROM retention.change_log;
SET retention.as_of = '2024-06-12 12:11';
CALL retention.process_changes();
SELECT customer_id, orders FROM retention.customer WHERE customer_id IN ('800', '801', '802', '803') ORDER BY 1;
SELECT count(*) AS left_over FROM retention.change_log;
SELECT retention.track('orders');
-- Many notes of few customers are few customers.
INSERT INTO retention.change_log SELECT 'orders', ARRAY['1', (2 + i % 2)::text], now() FROM generate_series(1, 10) i;
BEGIN;
SELECT everything, relations, customer_ids FROM retention._take_changes(3, '2024-06-13');
ROLLBACK;
BEGIN;
SELECT everything, relations, customer_ids FROM retention._take_changes(2, '2024-06-13');
ROLLBACK;
TRUNCATE retention.change_log;

-- What truncates a table that no metric reads has the segments evaluated, and nothing else.
CREATE TABLE consent (customer_id integer, given boolean);
CREATE VIEW reachable AS SELECT customer_id FROM consent WHERE given;
INSERT INTO consent VALUES (1, true), (2, true);
CREATE TABLE parted (LIKE orders) PARTITION BY RANGE (ordered_at);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE VIEW over_parted AS SELECT * FROM parted;
SELECT retention.add_metric('parted'), retention.add_source('over_parted', metric => 'parted') > 0 AS added, retention.track('parted', 'customer_id'), retention.track('consent', 'customer_id'), retention.add_segment('reachable');
INSERT INTO parted VALUES (1, 1, '2024-05-01', 10), (2, 1, '2023-05-01', 10);
CALL retention.refresh('parted');
CALL retention.process_changes();
CREATE FUNCTION refreshed_by(statement text) RETURNS TABLE (refreshes bigint, members bigint, orders bigint) LANGUAGE plpgsql AS $$
DECLARE
  before bigint := (SELECT max(refresh_id) FROM retention.population);
BEGIN
  EXECUTE statement;
  CALL retention.process_changes();
  RETURN QUERY SELECT (SELECT count(*) FROM retention.population WHERE refresh_id > before), s.members, (SELECT c.orders FROM retention.customer c WHERE c.metric = 'parted') FROM retention.segment s;
END $$;
SELECT * FROM refreshed_by('TRUNCATE consent');
SELECT * FROM refreshed_by('TRUNCATE parted_1');
SELECT * FROM refreshed_by('INSERT INTO parted VALUES (1, 1, ''2024-05-01'', 10)');
SELECT * FROM refreshed_by('TRUNCATE parted_2; DROP TABLE parted_2');
-- A key's column that got another name, too.
ALTER TABLE consent RENAME customer_id TO customer;
CREATE OR REPLACE VIEW reachable AS SELECT customer AS customer_id FROM consent WHERE given;
SELECT * FROM refreshed_by('INSERT INTO consent VALUES (3, true)');
SELECT retention.track('consent', 'customer');
SELECT * FROM refreshed_by('INSERT INTO consent VALUES (4, true)');

-- A key that is too long stops nobody else's changes.
CREATE TABLE texts (id text, customer_id text, ordered_at timestamptz, amount numeric);
SELECT retention.add_metric('texts'), retention.add_source('texts', order_id => 'id', metric => 'texts', events => true) > 0 AS added, retention.track('texts');
CALL retention.refresh('texts');
INSERT INTO texts VALUES ('1', 'short', '2024-06-12 12:11', 5), ('2', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 70) i), '2024-06-12 12:11', 5),
  ((SELECT string_agg(md5(i::text), '') FROM generate_series(1, 90) i), 'ids', '2024-06-12 12:11', 5);
CALL retention.process_changes();
SELECT customer_id, orders FROM retention.customer WHERE metric = 'texts' ORDER BY 1;
SELECT customer_id, order_id FROM retention.order_event WHERE metric = 'texts';
SELECT count(*) AS left_over FROM retention.change_log;
SELECT retention.drop_metric('texts'), retention.drop_metric('parted'), retention.drop_segment('reachable');

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA log_test CASCADE;
