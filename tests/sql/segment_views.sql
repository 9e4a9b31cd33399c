-- Segments whose views are replaced, renamed, read in other sessions, or read other segments; members deleted by hand.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA views_test;
SET search_path = views_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-01';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE TABLE orders (customer_id integer, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT 1 + i % 20, timestamptz '2024-05-31' - i * interval '1 day', i % 20 * 10 + 5 FROM generate_series(1, 100) i;
SELECT retention.add_source('orders') > 0 AS added, retention.track('orders'), retention.add_consumer('crm');
CALL retention.refresh();
-- What is new in the queue.
CREATE FUNCTION news() RETURNS TABLE (segment text, change text, cause text, customers text) LANGUAGE sql AS $$
  SELECT segment, change, cause, string_agg(customer_id, ' ' ORDER BY change_id) FROM retention.read_segment_changes('crm', 100000) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
$$;

-- A definition is the same whoever looks at it.
SET quote_all_identifiers = off;
CREATE VIEW lately AS SELECT customer_id FROM orders WHERE ordered_at >= timestamptz '2024-03-01' AND ordered_at - interval '1 day 02:00' < '2024-05-29 12:00' AND amount > 0.1::float8 AND '\x01'::bytea <> '\x02' AND E'a\\b' <> '';
SELECT retention.add_segment('lately');
SELECT count(*) > 0 AS entered FROM news();
CREATE FUNCTION fingerprint(setting text, value text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config(setting, value, true);
  RETURN concat_ws(' ', retention._definition('lately'), retention._settings(m)) FROM retention.metric m;
END $$;
SELECT count(DISTINCT fingerprint(setting, value)) AS fingerprints FROM (VALUES ('TimeZone', 'UTC'), ('TimeZone', 'Asia/Tokyo'), ('DateStyle', 'German'), ('IntervalStyle', 'iso_8601'),
  ('extra_float_digits', '-4'), ('bytea_output', 'escape'), ('quote_all_identifiers', 'on'), ('standard_conforming_strings', 'off')) AS s (setting, value);
-- So an order goes on being the cause of what it does.
SET TimeZone = 'Asia/Tokyo';
SET IntervalStyle = 'sql_standard';
SET quote_all_identifiers = on;
INSERT INTO orders VALUES (50, '2024-05-01', 5);
CALL retention.process_changes();
SELECT * FROM news();
RESET IntervalStyle;
RESET quote_all_identifiers;
SET TimeZone = 'UTC';
INSERT INTO orders VALUES (51, '2024-05-01', 5);
CALL retention.process_changes();
SELECT * FROM news();
SELECT retention.drop_segment('lately');

-- A segment follows its view: dropped and made anew, by name ...
CREATE VIEW big AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 900;
SELECT retention.add_segment('big');
SELECT count(*) > 0 AS changed FROM news();
CREATE VIEW followed AS SELECT segment, relation_name, relation = to_regclass(relation_name) AS is_of_that_name, members, error FROM retention.segment ORDER BY number;
DROP VIEW big;
CREATE VIEW big AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 900;
CALL retention.process_changes();
SELECT * FROM followed;
-- ... renamed, ...
ALTER VIEW big RENAME TO "Large";
CALL retention.process_changes();
SELECT * FROM followed;
-- ... and made anew under the new name, ...
DROP VIEW "Large";
CREATE VIEW "Large" AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 900 AND customer_id <> '20';
SELECT retention.refresh_segment('big');
SELECT * FROM news();
-- ... and not another one that takes its name.
CREATE VIEW larger AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 900 AND customer_id <> '19';
ALTER VIEW "Large" RENAME TO smaller;
ALTER VIEW larger RENAME TO "Large";
CALL retention.refresh();
SELECT * FROM news();
SELECT * FROM followed;
-- What is gone is found again by its name, unless that is a stranger's now.
CREATE ROLE retention_test_stranger;
GRANT CREATE, USAGE ON SCHEMA views_test TO retention_test_stranger;
DROP VIEW smaller;
SET ROLE retention_test_stranger;
CREATE VIEW views_test.smaller AS SELECT '20'::text AS customer_id;
RESET ROLE;
CALL retention.refresh();
SELECT * FROM news();
SELECT segment, owner = current_user AS is_ours, error FROM retention.segment;
DROP OWNED BY retention_test_stranger;
DROP ROLE retention_test_stranger;
-- A number in a dump may be any table's here: only the name counts.
SELECT retention.drop_segment('big');
INSERT INTO retention.segment (segment, relation, relation_name, owner, definition, added_at)
  VALUES ('restored', 'orders', 'views_test.gone', current_user, '', retention.now());
CALL retention.process_changes();
SELECT segment, members, error FROM retention.segment;
SELECT retention.drop_segment('restored');

-- One view that fails by an assertion is only that segment's failure.
CREATE FUNCTION asserting(integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN ASSERT current_setting('test.fails', true) IS DISTINCT FROM 'yes', 'it fails'; RETURN true; END $$;
CREATE VIEW asserted AS SELECT customer_id FROM orders WHERE views_test.asserting(customer_id);
CREATE VIEW others AS SELECT customer_id FROM orders WHERE amount > 500;
SELECT retention.add_segment('asserted'), retention.add_segment('others');
SELECT count(*) > 0 AS entered FROM news();
SET test.fails = yes;
INSERT INTO orders VALUES (52, '2024-05-01', 501);
CALL retention.process_changes();
SELECT * FROM news();
INSERT INTO orders VALUES (53, '2024-05-01', 501);
CALL retention.refresh();
SELECT * FROM news();
-- Likewise of a metric.
CREATE VIEW asserted_orders AS SELECT * FROM orders WHERE views_test.asserting(customer_id);
RESET test.fails;
SELECT retention.drop_segment('asserted'), retention.drop_segment('others'), retention.add_metric('asserted'), retention.add_source('asserted_orders', metric => 'asserted') > 0 AS added;
CALL retention.refresh('asserted');
SET test.fails = yes;
INSERT INTO orders VALUES (54, '2024-05-01', 5);
CALL retention.process_changes();
SELECT metric FROM retention.customer WHERE customer_id = '54';
INSERT INTO retention.change_log VALUES (NULL, NULL, now());
CALL retention.process_changes();
CALL retention.refresh_all();
SELECT metric, stale FROM retention.population ORDER BY refresh_id DESC LIMIT 1;
RESET test.fails;
SELECT retention.drop_metric('asserted');
DROP VIEW asserted_orders;
SELECT count(*) > 0 AS left FROM news();

-- Segments of segments: when the lower one changes for more than those who have ordered, the upper one is evaluated in full.
CREATE VIEW upper_half AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 500;
CREATE VIEW silent AS SELECT customer_id FROM retention.segment_member WHERE segment = 'upper_half' AND customer_id <> '13';
CREATE VIEW via AS SELECT * FROM silent WHERE customer_id <> '14';
CREATE VIEW apart AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 900;
SELECT retention.add_segment(s::regclass) FROM unnest('{upper_half,apart,silent,via}'::text[]) AS s;
SELECT * FROM news();
-- Redefined: the upper ones do not take it for news either.
CREATE OR REPLACE VIEW upper_half AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 800;
CALL retention.process_changes();
SELECT * FROM news();
CREATE OR REPLACE VIEW upper_half AS SELECT customer_id FROM retention.profile WHERE historic_clv >= 900;
CALL retention.refresh();
SELECT * FROM news();
-- Brought up to date: it is news, for both.
SELECT retention.alter_segment('upper_half', false);
INSERT INTO orders SELECT i, '2024-05-31', 900 FROM generate_series(1, 3) i;
CALL retention.process_changes();
SELECT segment, change, cause, customers FROM news() WHERE segment <> 'apart';
SELECT retention.alter_segment('upper_half', true);
CALL retention.process_changes();
SELECT * FROM news();
ALTER TABLE orders DISABLE TRIGGER USER;
DELETE FROM orders WHERE customer_id <= 3 AND amount = 900;
ALTER TABLE orders ENABLE TRIGGER USER;
SELECT retention.alter_segment('silent', false);
SELECT retention.alter_segment('via', false);
CALL retention.refresh();
SELECT segment, change, cause, customers FROM news() WHERE segment <> 'apart';
SELECT retention.alter_segment('silent', true, backfill => true);
SELECT retention.alter_segment('via', true, backfill => true);
CREATE VIEW spared AS SELECT customer_id FROM orders WHERE customer_id IN (19, 20) AND amount < current_setting('test.most')::numeric;
SET test.most = 0;
SELECT retention.add_segment('spared');
CREATE VIEW not_spared AS SELECT customer_id FROM retention.segment_member m WHERE segment = 'upper_half' AND NOT EXISTS (SELECT FROM retention.segment_member s WHERE s.segment = 'spared' AND s.customer_id = m.customer_id);
SELECT retention.add_segment('not_spared');
SELECT count(*) > 0 AS entered FROM news();
SET test.most = 1000;
SELECT retention.refresh_segment('spared');
CALL retention.process_changes();
SELECT * FROM news();
-- Deleted by hand, and dropped: no news either.
DELETE FROM retention.segment_member WHERE segment = 'spared' AND customer_id = '19';
CALL retention.process_changes();
SELECT * FROM news();
SELECT retention.drop_segment('spared');
CALL retention.process_changes();
SELECT * FROM news();
SELECT retention.drop_segment('upper_half');
CALL retention.process_changes();
SELECT segment, members FROM retention.segment ORDER BY number;
SELECT count(*) > 0 AS left FROM news();
SELECT segment, pending FROM retention.segment WHERE pending IS NOT NULL;

-- Members deleted by hand are counted, and told.
SELECT retention.drop_segment(segment) FROM retention.segment;
CREATE VIEW dear AS SELECT customer_id FROM orders WHERE amount > 900;
SELECT retention.add_segment('apart'), retention.add_segment('dear');
SELECT count(*) > 0 AS changed FROM news();
DELETE FROM retention.segment_member WHERE customer_id IN ('19', '20');
SELECT segment, members, members = (SELECT count(*) FROM retention.segment_member m WHERE m.segment = s.segment) AS right FROM retention.segment s ORDER BY number;
INSERT INTO orders VALUES (19, '2024-05-31', 950), (20, '2024-05-31', 960), (4, '2024-05-31', 1000);
CALL retention.process_changes();
DELETE FROM orders WHERE customer_id = 18;
CALL retention.process_changes();
SELECT segment, members, members = (SELECT count(*) FROM retention.segment_member m WHERE m.segment = s.segment) AS right FROM retention.segment s ORDER BY number;
SELECT * FROM news();

-- Keys that are too long to be stored are skipped and counted.
CREATE TABLE listed (customer_id text);
INSERT INTO listed VALUES ('short'), (NULL), (repeat('x', 2001)), (repeat('ż', 1000));
SELECT retention.add_segment('listed'), retention.track('listed', 'customer_id');
SELECT members, null_rows FROM retention.segment WHERE segment = 'listed';
INSERT INTO listed VALUES ('brief'), (repeat('y', 2001));
CALL retention.process_changes();
SELECT members, null_rows, error FROM retention.segment WHERE segment = 'listed';

RESET retention.as_of;
SET client_min_messages = error;
DROP SCHEMA views_test CASCADE;
DROP EXTENSION retention;
