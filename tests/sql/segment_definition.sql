-- What counts as another definition of a segment: views and functions below it; and what does not: another server.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA definition_test;
SET search_path = definition_test;
SET retention.as_of = '2024-06-01';
SET retention.progress = off;
\set SHOW_CONTEXT never

CREATE TABLE person (customer_id integer, score integer);
INSERT INTO person SELECT i, i FROM generate_series(1, 100) i;
SELECT retention.track('person', 'customer_id');
-- Functions of every sort, and one below another.
CREATE FUNCTION inner_limit() RETURNS integer LANGUAGE sql STABLE RETURN 50;
CREATE FUNCTION outer_limit() RETURNS integer LANGUAGE sql STABLE BEGIN ATOMIC SELECT inner_limit(); END;
CREATE FUNCTION block_limit() RETURNS integer LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 50; END';
CREATE FUNCTION text_limit() RETURNS integer LANGUAGE sql STABLE AS 'SELECT definition_test.inner_limit()';
CREATE FUNCTION add_up(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE AGGREGATE total(integer) (SFUNC = add_up, STYPE = integer, INITCOND = '0');
CREATE FUNCTION exceeds(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > $2';
CREATE OPERATOR >>> (FUNCTION = exceeds, LEFTARG = integer, RIGHTARG = integer);
CREATE VIEW below AS SELECT customer_id, score FROM person WHERE score > block_limit();
CREATE VIEW by_sql AS SELECT customer_id FROM person WHERE score > outer_limit();
CREATE VIEW by_block AS SELECT customer_id FROM below;
CREATE VIEW by_text AS SELECT customer_id FROM person WHERE score > text_limit();
CREATE VIEW by_aggregate AS SELECT customer_id FROM person GROUP BY customer_id HAVING total(score) > 50;
CREATE VIEW by_operator AS SELECT customer_id FROM person WHERE score >>> 50;
SELECT retention.add_segment(segment::regclass) FROM unnest('{by_sql,by_block,by_text,by_aggregate,by_operator}'::text[]) AS segment;
-- Who has left or entered since it was asked last, and why; members are what the views say.
CREATE TABLE looked AS SELECT max(change_id) AS up_to FROM retention.segment_change;
CREATE PROCEDURE look() LANGUAGE plpgsql AS $$
DECLARE
  news text;
BEGIN
  CALL retention.process_changes();
  SELECT string_agg(format('%s: %s %s, %s', segment, count, change, cause), '; ' ORDER BY segment, change) INTO news
    FROM (SELECT segment, change, cause, count(*) FROM retention.segment_change, looked WHERE change_id > up_to GROUP BY 1, 2, 3) AS c;
  UPDATE looked SET up_to = (SELECT max(change_id) FROM retention.segment_change);
  RAISE WARNING '%', coalesce(news, 'nothing');
END $$;
SET client_min_messages = warning;
CALL look();
CREATE OR REPLACE FUNCTION block_limit() RETURNS integer LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 90; END';
CALL look();
CREATE OR REPLACE FUNCTION add_up(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2 / 2';
CALL look();
CREATE OR REPLACE FUNCTION exceeds(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > $2 + 10';
CALL look();
-- The text of a function names what PostgreSQL does not know of: that is found as time passing is, by a refresh.
CREATE OR REPLACE FUNCTION inner_limit() RETURNS integer LANGUAGE sql STABLE RETURN 60;
CALL look();
SELECT retention.refresh_segment('by_text');
CALL look();
-- Settings of a function are its definition; its price, and who may call it, are not.
ALTER FUNCTION block_limit() COST 5;
REVOKE ALL ON FUNCTION block_limit() FROM PUBLIC;
CALL look();
SELECT segment FROM retention.segment WHERE retention._is_redefined(definition, retention._definition(relation));
ALTER FUNCTION block_limit() SET work_mem = '1MB';
SELECT segment FROM retention.segment WHERE retention._is_redefined(definition, retention._definition(relation));
CALL look();

-- Another major version writes the same view otherwise: that is no redefinition, and who enters meanwhile enters for a reason of their own.
UPDATE retention.segment SET definition = '14:' || md5(segment);
INSERT INTO person VALUES (1000, 1000);
CALL look();
SELECT count(*) AS not_stamped FROM retention.segment WHERE definition <> retention._definition(relation);
UPDATE retention.segment SET definition = '14:' || md5(segment);
SELECT count(*) AS redefined FROM retention.segment WHERE retention._is_redefined(definition, retention._definition(relation));
INSERT INTO person VALUES (1001, 1001);
SELECT count(retention.refresh_segment(segment)) FROM retention.segment;
CALL look();
-- From then on a redefinition is one again, also of a segment of which nobody has been evaluated since.
UPDATE retention.segment SET definition = '14:' || md5(segment);
CALL look();
CREATE OR REPLACE VIEW by_sql AS SELECT customer_id FROM person WHERE score > outer_limit() + 20;
CALL look();

SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA definition_test CASCADE;
