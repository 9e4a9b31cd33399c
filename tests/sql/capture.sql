-- What the triggers of track note: whose rows changed, each once a statement, whatever the key, the table and the writer.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA capture_test;
SET search_path = capture_test;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
\i tests/include/failure.sql

-- The customers noted since the last call, by statement; * for anything.
CREATE FUNCTION noted() RETURNS text LANGUAGE sql AS $$
  WITH gone AS (DELETE FROM retention.change_log RETURNING ctid AS place, *)
  SELECT string_agg(coalesce((SELECT string_agg(k, ' ' ORDER BY k COLLATE "C") FROM unnest(customer_ids) k), '*'), ' | ' ORDER BY place) FROM gone
$$;

CREATE TABLE "Or'der" (id integer PRIMARY KEY, "Cust ""omer" bigint, payer bigint, amount numeric);
SELECT retention.track('"Or''der"', 'Cust "omer');
SELECT * FROM retention.tracked;
INSERT INTO "Or'der" VALUES (1, 7, 70, 1), (2, 7, 70, 1), (3, 8, 80, 1), (4, NULL, 90, 1);
SELECT noted();
UPDATE "Or'der" SET "Cust ""omer" = 9 WHERE id = 3;
UPDATE "Or'der" SET amount = 2 WHERE id = 1;
UPDATE "Or'der" SET amount = 2 WHERE id = 99;
DELETE FROM "Or'der" WHERE id < 3;
SELECT noted();
INSERT INTO "Or'der" VALUES (3, 1, 1, 1), (5, 2, 2, 2) ON CONFLICT (id) DO UPDATE SET "Cust ""omer" = 10;
SELECT noted();
COPY "Or'der" FROM STDIN (FORMAT csv);
11,101,1,1
12,102,1,1
\.
SELECT noted();
-- Each statement of a WITH by itself; MERGE as what it does.
WITH gone AS (DELETE FROM "Or'der" WHERE id = 11 RETURNING *), made AS (INSERT INTO "Or'der" SELECT 13, 103, payer, amount FROM gone)
UPDATE "Or'der" SET "Cust ""omer" = 104 WHERE id = 12;
SELECT array_agg(DISTINCT k ORDER BY k) FROM unnest(string_to_array(replace(noted(), ' | ', ' '), ' ')) AS k;
MERGE INTO "Or'der" o USING (VALUES (12), (13), (14)) AS v (id) ON o.id = v.id
  WHEN MATCHED AND v.id = 12 THEN DELETE WHEN MATCHED THEN UPDATE SET "Cust ""omer" = 105 WHEN NOT MATCHED THEN INSERT VALUES (v.id, 106, 1, 1);
SELECT array_agg(DISTINCT k ORDER BY k) FROM unnest(string_to_array(replace(noted(), ' | ', ' '), ' ')) AS k;
BEGIN;
DELETE FROM "Or'der";
ROLLBACK;
TRUNCATE "Or'der";
SELECT noted();
-- 10,000 customers in rows of a bounded size.
INSERT INTO "Or'der" SELECT i, i % 10000, 1, 1 FROM generate_series(1, 30000) i;
SELECT count(*) > 10 AS some_rows, max(pg_column_size(customer_ids)) < 8000 AS bounded FROM retention.change_log;
SELECT cardinality(string_to_array(replace(noted(), ' | ', ' '), ' ')) >= 10000 AS all_noted;
-- A second column of customers.
SELECT retention.track('"Or''der"', 'payer');
SELECT customer_id_columns FROM retention.tracked;
UPDATE "Or'der" SET payer = 5 WHERE id = 77;
SELECT noted();
-- The shop goes on when the column is gone.
ALTER TABLE "Or'der" RENAME payer TO paid_by;
INSERT INTO "Or'der" VALUES (40000, 40, 41, 1);
SELECT noted();
SELECT retention.untrack('"Or''der"');
INSERT INTO "Or'der" VALUES (40001, 40, 41, 1);
SELECT noted();

-- Keys of all types, as the engine's own queries write them, whatever the session's settings.
CREATE DOMAIN code AS varchar(20);
CREATE TYPE channel AS ENUM ('web', 'pos');
-- Casts can be declared with the type modifier, and with whether they are explicit; and can be null.
CREATE TYPE pair AS (a integer, b integer);
CREATE FUNCTION pair_text(pair, integer, boolean) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN $2 = -1 AND $3 THEN format('(%s,%s)', ($1).a, ($1).b) ELSE format('%s, %s', $2, $3) END $$;
CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair, integer, boolean);
CREATE TYPE single AS (a integer);
CREATE FUNCTION single_text(single, integer) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN ($1).a > 0 THEN format('(%s)', ($1).a + $2 + 1) END $$;
CREATE CAST (single AS text) WITH FUNCTION single_text(single, integer);
CREATE FUNCTION note_key(type text, key text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found text;
  is_found boolean;
BEGIN
  EXECUTE format('CREATE TABLE keyed (customer_id %s)', type);
  PERFORM retention.track('keyed', 'customer_id');
  SET LOCAL DateStyle = 'German'; SET LOCAL IntervalStyle = iso_8601; SET LOCAL bytea_output = 'escape'; SET LOCAL extra_float_digits = 0; SET LOCAL TimeZone = 'Asia/Tokyo';
  EXECUTE format('INSERT INTO keyed VALUES (%L)', key);
  SELECT customer_ids[1] INTO found FROM retention.change_log;
  SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = postgres; SET LOCAL TimeZone = 'UTC'; SET LOCAL bytea_output = hex; SET LOCAL extra_float_digits = 1;
  EXECUTE format('SELECT count(*) = 1 FROM keyed WHERE %s AND customer_id::text = %L',
                 retention._keys_condition('keyed', 'customer_id', ARRAY[found, 'other']), found) INTO is_found;
  DELETE FROM retention.change_log;
  DROP TABLE keyed;
  RETURN format('%s%s', left(found, 30), CASE WHEN is_found THEN '' ELSE ' NOT FOUND' END);
EXCEPTION WHEN feature_not_supported OR undefined_function THEN
  RETURN sqlerrm;
END $$;
SELECT type, note_key(type, key) FROM (VALUES ('smallint', '7'), ('integer', '-7'), ('bigint', '9007199254740993'), ('numeric', '7.50'), ('text', 'it''s "7"\'), ('text', E'new\nline, {brace} \\ é 客'),
  ('varchar(9)', 'seven'), ('char(9)', 'seven'), ('code', 'a b'), ('uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'), ('date', '2024-02-03'), ('timestamptz', '2024-02-03 07:00+00'),
  ('interval', '1 day'), ('float8', '0.1'), ('bytea', '\x0102'), ('inet', '10.0.0.1'), ('boolean', 'true'), ('channel', 'pos'), ('name', 'seven'), ('pair', '(1,2)'), ('single', '(7)'), ('single', '(0)'),
  -- What is too long or blank is nobody's key.
  ('text', repeat('x', 2000)), ('text', repeat('x', 2001)), ('text', ''), ('text', E' \t\n'),
  ('text', E'\u00a0')) AS t (type, key);

-- Partitions: written through the table and directly, moved between; cascades; new partitions.
CREATE TABLE person (id bigint PRIMARY KEY);
INSERT INTO person SELECT generate_series(1, 9);
CREATE TABLE sale (customer_id bigint REFERENCES person ON DELETE CASCADE ON UPDATE CASCADE, day date) PARTITION BY RANGE (day);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
SELECT retention.track('sale', 'customer_id');
INSERT INTO sale VALUES (1, '2024-01-01'), (2, '2024-02-01');
INSERT INTO sale_1 VALUES (3, '2024-01-01');
UPDATE sale SET day = day + 31 WHERE customer_id = 1;
DELETE FROM person WHERE id = 2;
TRUNCATE sale_2;
SELECT noted();
CREATE TABLE sale_3 PARTITION OF sale FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');
SELECT relation, untracked_partitions FROM retention.tracked WHERE untracked_partitions > 0;
SELECT retention.track('sale');
INSERT INTO sale_3 VALUES (4, '2024-03-01');
SELECT noted();
UPDATE person SET id = 14 WHERE id = 4;
SELECT noted();
-- A partition that is detached goes on being tracked; one that is attached is, for what is written through the table.
ALTER TABLE sale DETACH PARTITION sale_3;
INSERT INTO sale_3 VALUES (5, '2024-03-01');
SELECT noted();
SELECT retention.untrack('sale_3');
ALTER TABLE sale ATTACH PARTITION sale_3 FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');
INSERT INTO sale VALUES (6, '2024-03-01');
INSERT INTO sale_3 VALUES (7, '2024-03-01');
SELECT noted(), (SELECT untracked_partitions FROM retention.tracked WHERE relation = 'sale'::regclass);

-- Inheriting tables; names of any letters; a column that got another name.
CREATE TABLE parent ("klé\n" bigint);
CREATE TABLE child () INHERITS (parent);
SELECT retention.track('parent', 'klé\n');
SELECT retention.track('parent', 'klé\n');
INSERT INTO child VALUES (11);
SELECT noted(), (SELECT string_agg(customer_id_columns::text, ' ') FROM retention.tracked WHERE relation IN ('parent'::regclass, 'child'::regclass)) AS columns;
ALTER TABLE parent RENAME "klé\n" TO customer;
INSERT INTO parent VALUES (12);
SELECT retention.track('parent', 'customer');
INSERT INTO parent VALUES (13);
SELECT noted();

-- A table that is tracked already and becomes a source: by its new column too, where whoever adds it may; else there is a warning.
CREATE TABLE bought (customer_id bigint, payer bigint, ordered_at timestamptz, amount numeric);
SELECT retention.track('bought', 'customer_id');
SELECT retention.add_source('bought', 'payer') > 0 AS added;
SELECT customer_id_columns FROM retention.tracked WHERE relation = 'bought'::regclass;
SELECT retention.add_source('bought', metric => retention.add_metric('more')) > 0 AS added;
SELECT retention.untrack('bought');
SELECT retention.drop_metric('orders'), retention.drop_metric('more'), retention.track('bought', 'customer_id');
CREATE ROLE retention_capture_admin;
SELECT retention.grant_access('retention_capture_admin', 'admin');
GRANT USAGE ON SCHEMA capture_test TO retention_capture_admin;
GRANT SELECT ON bought TO retention_capture_admin;
SET ROLE retention_capture_admin;
SELECT retention.add_source('bought', 'payer') > 0 AS added;
RESET ROLE;
SELECT retention.track('bought');
SELECT customer_id_columns FROM retention.tracked WHERE relation = 'bought'::regclass;
SELECT retention.drop_metric('orders'), retention.untrack('bought');
DROP OWNED BY retention_capture_admin;
DROP ROLE retention_capture_admin;

-- A writer needs no right on anything of ours.
CREATE ROLE retention_capture_writer;
GRANT USAGE ON SCHEMA capture_test TO retention_capture_writer;
GRANT INSERT ON sale TO retention_capture_writer;
SET ROLE retention_capture_writer;
INSERT INTO sale VALUES (5, '2024-01-05');
SELECT count(*) FROM retention.change_log;
RESET ROLE;
SELECT noted();

-- What cannot be tracked, and what to do instead.
CREATE VIEW sales AS SELECT * FROM sale;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM sale;
SELECT failure($$SELECT retention.track('sales')$$);
SELECT failure($$SELECT retention.track('counted', 'count')$$);
SELECT failure($$SELECT retention.track(NULL)$$);
SELECT failure($$SELECT retention.track('person')$$);
SELECT failure($$SELECT retention.track('person', 'nobody')$$);
SELECT failure($$SELECT retention.untrack('person')$$);
SELECT failure($$CREATE TRIGGER t BEFORE INSERT ON person FOR EACH ROW EXECUTE FUNCTION retention._capture_changes(); INSERT INTO person VALUES (99)$$);

-- A foreign partition could not take rows any more; the wrapper needs no code, for nothing is read.
CREATE FOREIGN DATA WRAPPER retention_test_wrapper;
CREATE SERVER retention_test_server FOREIGN DATA WRAPPER retention_test_wrapper;
CREATE TABLE spread (customer_id bigint, day date) PARTITION BY RANGE (day);
CREATE TABLE near PARTITION OF spread FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE further PARTITION OF spread FOR VALUES FROM ('2023-01-01') TO ('2024-01-01') PARTITION BY RANGE (day);
CREATE FOREIGN TABLE far PARTITION OF further FOR VALUES FROM ('2023-01-01') TO ('2023-02-01') SERVER retention_test_server;
SELECT failure($$SELECT retention.track('spread', 'customer_id')$$);
SELECT failure($$SELECT retention.track('far', 'customer_id')$$);
SELECT count(*) AS none FROM retention.tracked WHERE relation IN ('spread'::regclass, 'near'::regclass, 'further'::regclass);
SELECT retention.track('near', 'customer_id');
INSERT INTO near VALUES (1, '2024-01-01');
SELECT noted();
-- Not what is written through the whole: PostgreSQL fires the triggers of the table that a statement names.
INSERT INTO spread VALUES (2, '2024-01-01');
SELECT noted();
DROP FOREIGN DATA WRAPPER retention_test_wrapper CASCADE;

DROP OWNED BY retention_capture_writer;
DROP ROLE retention_capture_writer;
DROP EXTENSION retention;
INSERT INTO sale VALUES (6, '2024-01-05');
SELECT count(*) AS triggers_left FROM pg_trigger WHERE tgname LIKE 'retention%';
SET client_min_messages = error;
DROP SCHEMA capture_test CASCADE;
