-- "Nothing has changed" is said only when it is known: what a refresh leaves is what reading everything leaves, whatever has changed that is no row.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE EXTENSION postgres_fdw;
CREATE SCHEMA fingerprint_test;
SET search_path = fingerprint_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-01';
SET retention.progress = off;
\set SHOW_CONTEXT never

CREATE TYPE colour AS ENUM ('red', 'green', 'blue', 'grey');
CREATE TYPE pair AS (colour colour, number integer);
CREATE TYPE span AS RANGE (subtype = colour);
CREATE DOMAIN painted AS colour;
CREATE TYPE label AS (word text);
CREATE TABLE sale (
  id integer, other_id integer, ordered_at timestamp, amount numeric, other_amount numeric, money money, order_id varchar(10),
  colour colour, painted painted, pair pair, pairs pair[], span span, spans span_multirange, label label, relation regclass, day date)
  WITH (autovacuum_enabled = false);
INSERT INTO sale
  SELECT i % 40, i % 30, timestamp '2024-01-01 23:30' + i * interval '1 day', i, i + 1, i::money, i, c, c, (c, i % 2)::pair, ARRAY[(c, 1)::pair], span(c, c, '[]'),
         span_multirange(span(c, c, '[]')), ROW(c::text)::label, 'sale', date '2024-01-01' + i % 7
  FROM generate_series(0, 119) AS i, LATERAL (SELECT (enum_range(NULL::colour))[1 + i % 4] AS c) AS chosen;
-- Partitions, and a table with a child.
CREATE TABLE parted (id integer, ordered_at timestamptz, amount numeric, other numeric) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (1) WITH (autovacuum_enabled = false);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES IN (2) WITH (autovacuum_enabled = false);
CREATE TABLE parent (id integer, ordered_at timestamptz, amount numeric, other numeric) WITH (autovacuum_enabled = false);
CREATE TABLE child () INHERITS (parent) WITH (autovacuum_enabled = false);
INSERT INTO parted SELECT 1 + i % 2, '2024-01-01', i, -i FROM generate_series(1, 10) i;
INSERT INTO parent SELECT i, '2024-01-01', i, -i FROM generate_series(1, 10) i;
INSERT INTO child SELECT i, '2024-01-01', 2 * i, -i FROM generate_series(1, 10) i;
CREATE UNLOGGED TABLE unlogged AS TABLE parent;
CREATE MATERIALIZED VIEW seen AS TABLE parent;

CREATE FUNCTION add_metric(metric text, relation regclass, key name DEFAULT 'id', amount name DEFAULT 'amount', order_id name DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
  SELECT retention.add_metric(metric, 'America/New_York', loss_limit => 1), retention.add_source(relation, key, amount => amount, order_id => order_id, metric => metric)
$$;
SELECT add_metric(key, 'sale', key) FROM unnest('{id,colour,painted,pair,pairs,span,spans,label,relation,day}'::name[]) AS key;
SELECT add_metric('money', 'sale', amount => 'money'), add_metric('order_id', 'sale', order_id => 'order_id'), add_metric('painted_order', 'sale', order_id => 'painted'),
       add_metric('parted', 'parted'), add_metric('parent', 'parent'), add_metric('unlogged', 'unlogged'), add_metric('seen', 'seen');

-- What two refreshes do, and whether everything read anew says the same as the first.
CREATE PROCEDURE look(INOUT metrics text) LANGUAGE plpgsql AS $$
DECLARE
  one text;
  result text := '';
  before text;
  read_again boolean;
BEGIN
  FOREACH one IN ARRAY string_to_array(metrics, ' ') LOOP
    CALL retention.refresh(one);
    SELECT string_agg(c::text, ' ' ORDER BY c.customer_id) INTO before FROM retention.customer c WHERE c.metric = one;
    CALL retention.refresh(one);
    CALL retention.refresh(one, full => true);
    read_again := before IS DISTINCT FROM (SELECT string_agg(c::text, ' ' ORDER BY c.customer_id) FROM retention.customer c WHERE c.metric = one);
    result := result || format(E'%s: %s%s\n', one,
      (SELECT string_agg(path, ' ' ORDER BY refresh_id) FROM (SELECT l.* FROM retention.population l WHERE l.metric = one ORDER BY refresh_id DESC LIMIT 2 OFFSET 1) AS l),
      CASE WHEN read_again THEN ', STALE' ELSE '' END);
  END LOOP;
  metrics := rtrim(result, E'\n');
END $$;
\pset format unaligned
\pset tuples_only on
VACUUM sale, part_1, part_2, parent, child, unlogged, seen;
-- The first one reads, the second has nothing to: but for what is never known.
CALL look('id colour painted pair pairs span spans label relation day money order_id painted_order parted parent unlogged seen');

\echo -- A type that has the same bytes.
ALTER TABLE sale ALTER ordered_at TYPE timestamptz;
CALL look('id money');
ALTER TABLE sale ALTER order_id TYPE varchar(20);
CALL look('id order_id');
ALTER TABLE sale ALTER order_id TYPE text COLLATE "C";
CALL look('order_id');
ALTER TABLE sale ALTER other_id TYPE oid;
CALL look('id');
ALTER TABLE sale ALTER ordered_at TYPE timestamp;
CALL look('id');

\echo -- Labels, where keys are made of them.
ALTER TYPE colour RENAME VALUE 'red' TO 'crimson';
CALL look('id colour painted pair pairs span spans painted_order label');
ALTER TYPE colour RENAME VALUE 'grey' TO 'red';
ALTER TYPE colour RENAME VALUE 'crimson' TO 'grey';
CALL look('id colour painted pair pairs span spans painted_order');
ALTER TYPE colour ADD VALUE 'black';
CALL look('id colour');
ALTER TYPE pair DROP ATTRIBUTE number;
CALL look('id colour pair pairs');

\echo -- A cast: the function of one may change any time.
CREATE FUNCTION label_text(label) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper(($1).word)';
CREATE CAST (label AS text) WITH FUNCTION label_text(label);
CALL look('label');
CREATE OR REPLACE FUNCTION label_text(label) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(($1).word) || 1';
CALL look('label');
DROP CAST (label AS text);
CALL look('label');

\echo -- What a table is called is no row of the source.
ALTER TABLE sale RENAME TO sold;
CALL look('relation');
ALTER TABLE sold RENAME TO sale;
CALL look('relation id');

\echo -- How many digits of money are cents.
CALL look('money');
SET lc_monetary = 'POSIX';
CALL look('money');

\echo -- Columns that change names, in the table, in a partition, in a child.
ALTER TABLE sale RENAME amount TO swap;
ALTER TABLE sale RENAME other_amount TO amount;
ALTER TABLE sale RENAME swap TO other_amount;
CALL look('id');
ALTER TABLE parted DETACH PARTITION part_2;
CALL look('parted');
ALTER TABLE part_2 RENAME amount TO swap;
ALTER TABLE part_2 RENAME other TO amount;
ALTER TABLE part_2 RENAME swap TO other;
ALTER TABLE parted ATTACH PARTITION part_2 FOR VALUES IN (2);
CALL look('parted');
BEGIN;
ALTER TABLE parted DETACH PARTITION part_2;
ALTER TABLE part_2 RENAME amount TO swap;
ALTER TABLE part_2 RENAME other TO amount;
ALTER TABLE part_2 RENAME swap TO other;
ALTER TABLE parted ATTACH PARTITION part_2 FOR VALUES IN (2);
COMMIT;
CALL look('parted');
BEGIN;
ALTER TABLE child NO INHERIT parent;
ALTER TABLE child RENAME amount TO swap;
ALTER TABLE child RENAME other TO amount;
ALTER TABLE child RENAME swap TO other;
ALTER TABLE child INHERIT parent;
COMMIT;
CALL look('parent');
ALTER TABLE child NO INHERIT parent;
CALL look('parent');

\echo -- Owners; row security.
CREATE ROLE fingerprint_owner;
GRANT USAGE ON SCHEMA fingerprint_test TO fingerprint_owner;
ALTER TABLE sale OWNER TO fingerprint_owner;
CALL look('id');
ALTER TABLE part_1 ENABLE ROW LEVEL SECURITY;
CALL look('parted');
ALTER TABLE part_1 DISABLE ROW LEVEL SECURITY;
CALL look('parted');

\echo -- A materialised view is as it was when it was refreshed.
UPDATE parent SET amount = amount + 1;
CALL look('seen');
REFRESH MATERIALIZED VIEW seen;
CALL look('seen');

\echo -- What other servers keep.
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere;
CREATE FOREIGN TABLE far (id integer, ordered_at timestamptz, amount numeric) SERVER elsewhere;
CREATE VIEW far_and_near AS SELECT id FROM far UNION ALL SELECT id FROM parent;
SELECT retention._is_read_elsewhere('SELECT id FROM fingerprint_test.far_and_near', 'far_and_near'),
       retention._is_read_elsewhere('SELECT id FROM fingerprint_test.parent', 'parent'),
       retention._relation_fingerprint('far', '{id}') IS NULL;
CREATE TABLE far_part PARTITION OF parted FOR VALUES IN (3);
DROP TABLE far_part;
CREATE FOREIGN TABLE far_part PARTITION OF parted FOR VALUES IN (3) SERVER elsewhere;
SELECT retention._relation_fingerprint('parted', '{id}') IS NULL;

-- Settings are the same wherever they are restored: columns may have other numbers there, and relations other oids.
CREATE TABLE numbered (gone integer, id integer, ordered_at timestamptz, amount numeric);
ALTER TABLE numbered DROP COLUMN gone;
SELECT add_metric('numbered', 'numbered');
CREATE TEMP TABLE settings_before AS SELECT retention._settings(m) FROM retention.metric m WHERE metric = 'numbered';
CREATE TABLE numbered_anew (LIKE numbered);
DROP TABLE numbered;
ALTER TABLE numbered_anew RENAME TO numbered;
UPDATE retention.source SET relation = 'numbered' WHERE metric = 'numbered';
SELECT s._settings = retention._settings(m) FROM retention.metric m, settings_before s WHERE metric = 'numbered';

DROP EXTENSION retention CASCADE;
DROP EXTENSION postgres_fdw CASCADE;
DROP SCHEMA fingerprint_test CASCADE;
DROP OWNED BY fingerprint_owner;
DROP ROLE fingerprint_owner;
