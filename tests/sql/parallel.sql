-- Whatever is marked PARALLEL SAFE is: nothing in it may start a subtransaction, write, or call what is not safe.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA test_parallel;
SET search_path = test_parallel, pg_catalog;
CREATE TABLE labelled AS
  SELECT p.oid, p.proname, p.oid::regprocedure AS routine, l.lanname AS language, p.prosrc AS body, p.proparallel = 's' AS safe
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'retention'::regnamespace AND p.prokind = 'f';
SELECT count(*) > 100 AS safe FROM labelled WHERE safe;
SELECT routine, word[1] AS does FROM labelled, regexp_matches(body, '\m(WHEN OTHERS|EXCEPTION WHEN|EXCEPTION\n|INSERT INTO|UPDATE retention|DELETE FROM|set_config|EXECUTE|nextval|pg_advisory)', 'gi') AS word
  WHERE safe AND language = 'plpgsql';
-- What they call by name (_jobs only writes down what is to be called).
SELECT DISTINCT caller.routine, called.routine AS calls FROM labelled caller, regexp_matches(caller.body, 'retention\.(\w+)\(', 'g') AS name JOIN labelled called ON called.proname = name[1]
  WHERE caller.safe AND caller.language IN ('sql', 'plpgsql') AND caller.proname <> '_jobs' AND NOT called.safe;
SELECT caller.routine, called.oid::regprocedure AS calls FROM labelled caller JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = caller.oid AND d.refclassid = 'pg_proc'::regclass
  JOIN pg_proc called ON called.oid = d.refobjid WHERE caller.safe AND called.proparallel <> 's';
-- Aggregates go by what they are made of.
SELECT a.aggfnoid, f.oid::regprocedure AS uses FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid, unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn]) AS part JOIN pg_proc f ON f.oid = part
  WHERE p.pronamespace = 'retention'::regnamespace AND p.proparallel = 's' AND f.proparallel <> 's';

-- In plans that are made parallel whether they gain or not, everything answers as it does in others.
CREATE TABLE orders AS SELECT customer_id, order_id, ordered_at, amount FROM retention.simulate_orders(300, '2023-01-01', '2024-01-01', seed => 5);
SET retention.as_of = '2024-01-01';
SET retention.progress = off;
SELECT retention.add_metric('parallel') IS NULL AS metric, retention.add_source('orders', metric => 'parallel', order_id => 'order_id') > 0 AS source;
CALL retention.refresh('parallel');
SELECT count(*) > 50 AS validated FROM retention.validate_model('parallel', '2023-09-01');
CREATE FUNCTION forced(state text) RETURNS text LANGUAGE sql AS $$
  SELECT set_config(CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'debug_parallel_query' ELSE 'force_parallel_mode' END, state, false)
$$;
CREATE TABLE question (number integer GENERATED ALWAYS AS IDENTITY, query text, serial text, parallel text);
INSERT INTO question (query) SELECT format('SELECT * FROM %s', oid::regclass) FROM pg_class WHERE relnamespace = 'retention'::regnamespace AND relkind = 'v' ORDER BY relname COLLATE "C";
INSERT INTO question (query) VALUES
  ('SELECT (retention.order_summary(ordered_at, amount, ''Europe/Warsaw'')).* FROM orders'), ('SELECT retention.percentile_bounds(amount, ''{0.1,0.5}'') FROM orders'),
  ('SELECT retention.fit_state(''mbgnbd'', n % 3, n % 3, 9) FROM generate_series(1, 9) AS n'),
  ('SELECT section, item, round(actual::numeric, 9) AS actual, round(predicted::numeric, 9) AS predicted FROM retention.validate_model(''parallel'', ''2023-09-01'')'),
  ('SELECT * FROM retention.customer_at(''parallel'', ''2023-06-01'')'), ('SELECT * FROM retention.churn_history(''5'', ''parallel'')'),
  ('SELECT * FROM retention.explain_score(''5'', ''parallel'')'), ('SELECT * FROM retention.readiness(''parallel'')'),
  ('SELECT retention.render(''{{ a }}'', jsonb_build_object(''a'', customer_id)), retention.bucket(customer_id::text, ''x''), retention.now() FROM orders');
CREATE FUNCTION answer(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found text;
BEGIN
  EXECUTE format('CREATE TEMPORARY TABLE answered ON COMMIT DROP AS %s', query);
  SELECT concat(count(*), ' ', md5(string_agg(a::text, E'\n' ORDER BY a::text COLLATE "C"))) INTO found FROM answered AS a;
  DROP TABLE answered;
  RETURN found;
EXCEPTION WHEN OTHERS THEN
  RETURN SQLERRM;
END $$;
SELECT forced('off');
UPDATE question SET serial = answer(query);
SELECT forced('on');
DO $$
DECLARE
  q record;
BEGIN
  FOR q IN SELECT number, query FROM question ORDER BY number LOOP
    UPDATE question SET parallel = answer(q.query) WHERE number = q.number;
  END LOOP;
END $$;
SELECT forced('off');
SELECT count(*) > 30 AS questions FROM question;
SELECT query, serial FROM question WHERE serial !~ '^\d+ ';
SELECT query, serial, parallel FROM question WHERE serial IS DISTINCT FROM parallel;
RESET retention.as_of;
SELECT retention.drop_metric('parallel');
DROP SCHEMA test_parallel CASCADE;
