-- A row with some fields changed, by name.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE TYPE pair AS (a integer, b text, c timestamptz, d integer[]);
SELECT retention._with_fields(NULL::pair, 'b', 'x'), retention._with_fields((1, 'y', NULL, NULL)::pair, 'a', NULL, 'd', '{1,2}'),
       retention._with_fields(NULL::pair, 'd', ARRAY[i], 'b', repeat('z', i), 'a', i) FROM generate_series(1, 2) AS i;
-- A column that was dropped is none.
CREATE TABLE dropped (a integer, gone text, b text);
ALTER TABLE dropped DROP COLUMN gone;
SELECT retention._with_fields(d, 'b', 'x') FROM (SELECT (1, 'y')::dropped AS d) AS s;
-- Errors name what is wrong.
DO $$
DECLARE
  call text;
BEGIN
  FOREACH call IN ARRAY ARRAY['NULL::pair, ''e'', 1', 'NULL::pair, ''a'', ''x''::text', 'NULL::pair, ''a''', 'NULL::pair, NULL, 1', '1, ''a'', 1',
                              'NULL::pair, ''a'', ''x''', 'NULL::pair, VARIADIC ARRAY[''a'', ''1'']', '(NULL::dropped), ''gone'', ''x''', 'NULL::pair, b, 1'] LOOP
    BEGIN
      EXECUTE format('SELECT retention._with_fields(%s) FROM (VALUES (''a''), (''a'')) AS v (b)', call);
      RAISE INFO '%: no error', call;
    EXCEPTION WHEN OTHERS THEN
      RAISE INFO '%: % %', call, SQLSTATE, SQLERRM;
    END;
  END LOOP;
END $$;
DROP TABLE dropped;
DROP TYPE pair;
DROP EXTENSION retention;
