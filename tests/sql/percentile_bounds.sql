-- percentile_bounds against percentile_disc and the least value above it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA test_bounds;
SET search_path = test_bounds, pg_catalog;

-- One to three orders each: the bounds read "2+ orders" and "3+ orders".
SELECT retention.percentile_bounds(orders, ARRAY[0.5, 0.8]) FROM unnest('{1,1,1,1,1,2,2,2,3,3}'::float8[]) AS orders;
-- Customers of equal value score equally, and the top third is what is above the second third.
SELECT value, retention.rfm_score(value, bounds) AS score, count(*)
FROM unnest('{1,1,1,1,2,2,3,3,3,4}'::float8[]) AS value,
     (SELECT retention.percentile_bounds(v, ARRAY[1/3.0, 2/3.0]) AS bounds FROM unnest('{1,1,1,1,2,2,3,3,3,4}'::float8[]) AS v) AS b
GROUP BY 1, 2 ORDER BY 1;

CREATE TABLE sample (kind text, value float8);
INSERT INTO sample
SELECT kind, CASE kind WHEN 'ties' THEN g % 4 WHEN 'rising' THEN g WHEN 'falling' THEN -g WHEN 'cents' THEN abs(hashint8(g) % 100000) / 100.0
                       WHEN 'powers' THEN (CASE WHEN g % 2 = 0 THEN -1 ELSE 1 END) * power(10::float8, g % 600 - 300)
                       WHEN 'nulls' THEN CASE WHEN g % 3 = 0 THEN g % 10 END END
FROM unnest('{ties,rising,falling,cents,powers,nulls}'::text[]) AS kind, generate_series(1, 1000) AS g;
INSERT INTO sample SELECT 'ends', unnest('{-Infinity,-1.7976931348623157e308,-5e-324,-0,0,5e-324,1.7976931348623157e308,Infinity,Infinity}'::float8[]);
INSERT INTO sample VALUES ('one', 5), ('two', 5), ('two', 6), ('same', 7), ('same', 7), ('same', 7), ('infinite', 'Infinity'), ('infinite', '-Infinity'), ('null', NULL);
INSERT INTO sample SELECT 'n' || n, g FROM generate_series(1, 12) AS n, generate_series(1, n) AS g;

-- The plain SQL: for every kind and fraction.
CREATE FUNCTION expected(fractions float8[]) RETURNS TABLE (kind text, bounds float8[]) LANGUAGE sql AS $$
  SELECT kind, array_agg((SELECT min(value) FROM sample AS above
                          WHERE above.kind = percentile.kind AND above.value > percentile.value) ORDER BY ordinal)
  FROM (SELECT kind, ordinal, percentile_disc(fraction) WITHIN GROUP (ORDER BY value) AS value
        FROM sample, unnest(fractions) WITH ORDINALITY AS f(fraction, ordinal) GROUP BY kind, ordinal, fraction) AS percentile
  GROUP BY kind
$$;
CREATE FUNCTION differences(fractions float8[]) RETURNS TABLE (kinds bigint, bounds bigint, nulls bigint, different bigint) LANGUAGE sql AS $$
  SELECT count(*), sum(cardinality(actual.bounds)), sum(cardinality(array_positions(actual.bounds, NULL))),
         count(*) FILTER (WHERE actual.bounds IS DISTINCT FROM expected.bounds)
  FROM (SELECT kind, retention.percentile_bounds(value, fractions) AS bounds FROM sample GROUP BY kind) AS actual
       FULL JOIN expected(fractions) AS expected USING (kind)
$$;
SELECT * FROM differences(ARRAY[1/3.0, 2/3.0]);
SELECT * FROM differences('{0,1,0.5,0.999,0.001,1e-300,0.9999999999999999}');
SELECT * FROM differences((SELECT array_agg(i / 31.0) FROM generate_series(0, 31) AS i));
SELECT * FROM differences((SELECT array_agg(i / 20.0 ORDER BY i DESC) FROM generate_series(1, 20) AS i));
SELECT * FROM differences('{0.2,0.4,0.6,0.8}');
SELECT * FROM differences('{0.5}');

-- A bound of zero is shown as 0 whichever zero comes first.
SELECT retention.percentile_bounds(value, '{0}') FROM unnest('{-1,-0,0}'::float8[]) AS value;
-- Nothing at all gives null; nothing but nulls, null bounds; no fractions, no bounds.
SELECT retention.percentile_bounds(value, '{0.5}') IS NULL AS nothing FROM sample WHERE false;
SELECT retention.percentile_bounds(value, '{0.5,0.9}') AS nulls_only, retention.percentile_bounds(value, '{}') AS no_fractions FROM sample WHERE value IS NULL;

-- As a window function, in subtotals and with FILTER and DISTINCT.
SELECT value, retention.percentile_bounds(value, '{0,0.5}') OVER (ORDER BY value, n ROWS UNBOUNDED PRECEDING) FROM unnest('{3,1,2,2,1}'::float8[]) WITH ORDINALITY AS v(value, n);
SELECT grouping(kind) AS total, count(*) FILTER (WHERE bounds = direct) AS same, count(*) AS rows
FROM (SELECT kind, retention.percentile_bounds(value, '{0.3}') AS bounds FROM sample GROUP BY ROLLUP (kind)) AS r,
     LATERAL (SELECT retention.percentile_bounds(value, '{0.3}') AS direct FROM sample AS s WHERE s.kind = r.kind OR r.kind IS NULL) AS d
GROUP BY ROLLUP (kind) HAVING grouping(kind) = 1;
SELECT retention.percentile_bounds(DISTINCT value, '{0.5}') AS distinct, retention.percentile_bounds(value, '{0.5}') FILTER (WHERE value < 3) AS filter,
       retention.percentile_bounds(value::integer, '{0.5}') AS integers FROM sample WHERE kind = 'ties';

-- What cannot be a fraction or a value is an error that says why.
CREATE FUNCTION failure(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  hint text;
BEGIN
  EXECUTE query;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
  RETURN SQLSTATE || ' ' || SQLERRM || coalesce('. ' || nullif(hint, ''), '');
END $$;
SELECT arguments, failure(format('SELECT retention.percentile_bounds(%s)', arguments)) AS error
FROM (VALUES ($$'NaN', '{0.5}'$$), ($$1, '{33}'$$), ($$1, '{-0.01}'$$), ($$1, '{1.0000000000000002}'$$), ($$1, '{0.5,NaN}'$$), ($$1, '{Infinity}'$$),
             ($$1, NULL$$), ($$NULL, NULL$$), ($$1, '{0.5,NULL}'$$), ($$1, '{{0.1,0.2}}'$$), ($$1, array_fill(0.5::float8, ARRAY[33])$$),
             ($$1, array_fill(0.5::float8, ARRAY[32])$$)) AS bad(arguments);
SELECT bool_and(failure(format('SELECT %s(%s)', oid::regproc, array_to_string(array_fill('NULL'::text, ARRAY[pronargs]), ',')))
                ~ '^(42883 function .* does not exist|0A000 cannot accept a value of type internal)') AS refused
FROM pg_proc WHERE pronamespace = 'retention'::regnamespace AND proname LIKE 'percentile\_bounds\_%' AND 'internal'::regtype = ANY (proargtypes);

-- Parallel and partitioned plans give the serial result.
CREATE TABLE many (id bigint, kind integer, value float8);
INSERT INTO many SELECT g, CASE WHEN g % 3 = 0 THEN 0 ELSE g % 50 END, CASE WHEN g % 7 = 0 THEN NULL ELSE hashint8(g) % 1000 END FROM generate_series(1, 30000) AS g;
INSERT INTO many SELECT g, -1, NULL FROM generate_series(1, 1000) AS g;
CREATE TABLE parted (LIKE many) PARTITION BY HASH (id);
CREATE TABLE parted0 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE parted2 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO parted SELECT * FROM many;
ANALYZE many;
ANALYZE parted;
CREATE VIEW of_many AS SELECT kind, retention.percentile_bounds(value, '{0,0.3,0.6,1}') AS bounds FROM many GROUP BY kind;
CREATE VIEW of_all AS SELECT retention.percentile_bounds(value, '{0,0.3,0.6,1}') AS bounds FROM many;
CREATE VIEW of_parted AS SELECT kind, retention.percentile_bounds(value, '{0,0.3,0.6,1}') AS bounds FROM parted GROUP BY kind;
\i tests/include/plan_has.sql
\set ECHO none
\i tests/include/differs.sql
\set ECHO all
SET max_parallel_workers_per_gather = 0;
CREATE TABLE serial AS SELECT * FROM of_many;
CREATE TABLE serial_all AS SELECT * FROM of_all;
SELECT count(*) AS kinds, count(*) FILTER (WHERE bounds[1] IS NULL) AS without_bounds FROM serial;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 1;
SELECT plan_has('SELECT * FROM test_bounds.of_many', 'Finalize', 'Gather', 'Partial', 'Parallel Seq Scan') AS parallel;
SELECT differs('TABLE of_many', 'TABLE serial');
SET max_parallel_workers_per_gather = 2;
ALTER TABLE many SET (parallel_workers = 2);
SELECT plan_has('SELECT * FROM test_bounds.of_many', 'Finalize', 'Gather', 'Workers Planned: 2', 'Partial', 'Parallel Seq Scan') AS parallel,
       plan_has('SELECT * FROM test_bounds.of_all', 'Finalize', 'Gather', 'Workers Planned: 2', 'Partial', 'Parallel Seq Scan') AS parallel_all;
SELECT differs('TABLE of_many', 'TABLE serial');
SELECT bounds = (SELECT bounds FROM serial_all) AS same FROM of_all;
SET parallel_leader_participation = off;
SELECT differs('TABLE of_many', 'TABLE serial');
SELECT bounds = (SELECT bounds FROM serial_all) AS same FROM of_all;
SET max_parallel_workers_per_gather = 0;
SET enable_partitionwise_aggregate = on;
SELECT plan_has('SELECT * FROM test_bounds.of_parted', 'Finalize', 'Append', 'Partial') AND NOT plan_has('SELECT * FROM test_bounds.of_parted', 'Gather') AS partitionwise;
SELECT differs('TABLE of_parted', 'TABLE serial');

DROP SCHEMA test_bounds CASCADE;
