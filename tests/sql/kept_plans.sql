-- Statements that are planned once a session: what they read may change, and whose rights they have is looked at each time.
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION IF NOT EXISTS retention;
CREATE ROLE kept_one;
CREATE ROLE kept_other;
CREATE SCHEMA kept_test;
GRANT USAGE ON SCHEMA kept_test TO kept_one, kept_other;
CREATE TABLE kept_test.number AS SELECT n FROM generate_series(1, 3) AS n;
GRANT SELECT ON kept_test.number TO kept_one, kept_other;
CREATE FUNCTION ask(role regrole, statement text, argument integer) RETURNS text LANGUAGE sql
  RETURN (SELECT string_agg(q.answer, ', ') FROM retention._query_kept(role, statement, argument) AS q (answer text));
\set asked 'SELECT current_user || '' '' || n FROM kept_test.number WHERE n >= $1 ORDER BY n'
SELECT ask('kept_one', :'asked', 2), ask('kept_other', :'asked', 2), ask('kept_one', :'asked', 3);
-- It becomes a view, of another type.
DROP TABLE kept_test.number;
SELECT ask('kept_one', :'asked', 2);
CREATE VIEW kept_test.number AS SELECT n::numeric AS n, 'more' AS more FROM generate_series(5, 6) AS n;
SELECT ask('kept_one', :'asked', 2);
GRANT SELECT ON kept_test.number TO kept_one;
SELECT ask('kept_one', :'asked', 2);
SELECT ask('kept_other', :'asked', 2);
REVOKE SELECT ON kept_test.number FROM kept_one;
SELECT ask('kept_one', :'asked', 2);
GRANT SELECT ON kept_test.number TO kept_one, kept_other;
-- Row security is that of the role.
DROP VIEW kept_test.number;
CREATE TABLE kept_test.number AS SELECT n, CASE WHEN n < 3 THEN 'kept_one' ELSE 'kept_other' END AS owner FROM generate_series(1, 4) AS n;
ALTER TABLE kept_test.number ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON kept_test.number USING (owner = current_user);
GRANT SELECT ON kept_test.number TO kept_one, kept_other;
SELECT ask('kept_one', :'asked', 1), ask('kept_other', :'asked', 1), ask('kept_one', :'asked', 1);
-- The columns have to be those that are expected, and errors leave nothing behind.
SELECT * FROM retention._query_kept('kept_one', 'SELECT $1', 1) AS q (answer text);
SELECT ask('kept_one', 'SELECT (1 / $1)::text', 0);
SELECT ask('kept_one', 'SELECT (1 / $1)::text', 1);
SELECT ask('kept_one', 'SELEKT', 1);
SELECT ask(4000000, 'SELECT $1::text', 1);
SELECT ask('kept_one', NULL, 1);
-- A type is made anew by the same name.
CREATE TYPE kept_test.pair AS (a integer, b integer);
SELECT q.answer FROM retention._query_kept('kept_one', 'SELECT (($1).a + ($1).b)::text', ROW (1, 2)::kept_test.pair) AS q (answer text);
DROP TYPE kept_test.pair;
CREATE TYPE kept_test.pair AS (b integer, a numeric);
SELECT q.answer FROM retention._query_kept('kept_one', 'SELECT (($1).a + ($1).b)::text', ROW (1, 2.5)::kept_test.pair) AS q (answer text);
SELECT q.answer FROM retention._query_kept('kept_one', 'SELECT $1::text', 1) AS q (answer text);
SELECT q.answer FROM retention._query_kept('kept_one', 'SELECT $1::text', 1.5, 2) AS q (answer text);
-- More than a session keeps; those from before are planned anew.
SELECT count(*), sum(ask('kept_one', format('SELECT ($1 + %s)::text', i), 1)::integer) FROM generate_series(1, 1000) AS i;
SELECT ask('kept_one', :'asked', 1);
-- Within another's statement none is kept: it may throw away the plan by which that one is run.
GRANT EXECUTE ON FUNCTION retention._query_kept(regrole, text, "any") TO kept_one;
GRANT USAGE ON SCHEMA retention TO kept_one;
SELECT ask('kept_one', $$SELECT count(*) || ' ' || sum(length(public.ask('kept_one', format('SELECT ($1 + %s)::text', i), $1))) FROM generate_series(1, 1000) AS i$$, 1);
DROP FUNCTION ask;
DROP SCHEMA kept_test CASCADE;
REVOKE ALL ON SCHEMA retention FROM kept_one;
REVOKE ALL ON FUNCTION retention._query_kept(regrole, text, "any") FROM kept_one;
DROP ROLE kept_one, kept_other;
