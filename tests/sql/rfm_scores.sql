-- rfm_score and recency_score against counting by hand.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA test_scores;
SET search_path = test_scores, pg_catalog;

-- Lower bounds are inclusive, and so are upper limits.
SELECT value, retention.rfm_score(value, '{2,3}') AS score FROM unnest('{-Infinity,-1,0,1.9999999999999998,2,2.5,3,4,Infinity}'::float8[]) AS value;
SELECT days, retention.recency_score(days, '{365,180}') AS score
FROM unnest('{-1,0,179,180,180.00000000000003,365,365.00000000000006,366,Infinity}'::float8[]) AS days;

-- A null bound is never reached, a null limit never met; without bounds everything scores 1.
SELECT bounds, retention.rfm_score(1e9, bounds) AS rfm, retention.recency_score(-1e9, bounds) AS recency
FROM (VALUES ('{2,3}'::float8[]), ('{NULL,3}'), ('{2,NULL}'), ('{NULL,NULL}'), ('{NULL,NULL,1,NULL,2,NULL,NULL,NULL,3}'), ('{}'), (NULL)) AS b(bounds);
SELECT retention.rfm_score(NULL, '{1}') IS NULL AS no_value, retention.recency_score(NULL, '{1}') IS NULL AS no_days;

-- Infinite, repeated and unordered bounds count one by one; -0 is 0; the array may start anywhere; integers are cast.
SELECT retention.rfm_score('Infinity', '{-Infinity,Infinity}') AS three, retention.rfm_score(1e308, '{-Infinity,Infinity}') AS two,
       retention.rfm_score(2, '{2,2,2}') AS four, retention.rfm_score(2, '{3,1}') AS two, retention.rfm_score('-0', '{0}') AS two,
       retention.recency_score('-0', '{0}') AS two, retention.rfm_score(5, '[7:8]={1,2}') AS three, retention.rfm_score(3::bigint, '{1,2}') AS three,
       retention.rfm_score(19.99, ARRAY[10, 19.99]::numeric[]::float8[]) AS three;

-- Up to nine bounds, ten levels; as many as are reached, by plain SQL, for bounds of any kind.
SELECT count(*) AS cases,
       count(*) FILTER (WHERE retention.rfm_score(value, bounds) <> 1 + (SELECT count(*) FROM unnest(bounds) AS b WHERE value >= b)) AS rfm,
       count(*) FILTER (WHERE retention.recency_score(value, bounds) <> 1 + (SELECT count(*) FROM unnest(bounds) AS b WHERE value <= b)) AS recency,
       max(retention.rfm_score(value, bounds)) AS highest, min(retention.rfm_score(value, bounds)) AS lowest
FROM generate_series(1, 500) AS g,
     LATERAL (SELECT array_agg(nullif(hashint8(g * 10 + i) % 20, 3)::float8 / 4) AS bounds FROM generate_series(1, 1 + g % 9) AS i) AS b,
     generate_series(-6, 6, 0.25) AS n, LATERAL (SELECT n::float8 AS value) AS v;

-- From a stored array: out of line, or with a short header at an odd address.
CREATE TABLE threshold (flag boolean, bounds float8[]);
ALTER TABLE threshold ALTER bounds SET STORAGE EXTERNAL;
INSERT INTO threshold VALUES (true, '{1,2}'), (false, '{NULL,2,3}'), (true, '{}');
SELECT bounds, retention.rfm_score(2, bounds), retention.recency_score(2, bounds) FROM threshold;

-- What cannot be a bound is an error that says why.
CREATE FUNCTION failure(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE query;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT call, failure('SELECT retention.' || call) AS error
FROM (VALUES ($$rfm_score('NaN', '{1}')$$), ($$recency_score('NaN', '{1}')$$), ($$rfm_score(1, '{1,NaN}')$$), ($$recency_score(1, '{NaN}')$$),
             ($$rfm_score('NaN', '{}')$$), ($$rfm_score(1, '{{1,2},{3,4}}')$$), ($$recency_score(1, '{{1},{2}}')$$),
             ($$rfm_score(1, '{1,2,3,4,5,6,7,8,9,10}')$$), ($$recency_score(1, '{1,2,3,4,5,6,7,8,9,10}')$$),
             ($$rfm_score(1, array_fill(NULL::float8, ARRAY[10]))$$), ($$rfm_score(1, array_fill(1.0::float8, ARRAY[100000]))$$),
             ($$rfm_score(1, '{1,2,3,4,5,6,7,8,9}')$$)) AS bad(call);
DROP SCHEMA test_scores CASCADE;
