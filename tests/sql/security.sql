-- Who may do what: nobody, analysts, operators and admins; and objects in the search path that must not be called.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA security_test;
SET search_path = security_test;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
-- Says whether a command is allowed, and undoes what it did.
CREATE FUNCTION failure(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text;
BEGIN
  EXECUTE command;
  RAISE EXCEPTION USING MESSAGE = 'undo', ERRCODE = 'RT000';
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
  RETURN CASE state WHEN 'RT000' THEN 'allowed' WHEN '42501' THEN 'denied' ELSE state || ' ' || sqlerrm END;
END $$;
CREATE TABLE orders (customer_id integer, ordered_at timestamptz, amount numeric);
INSERT INTO orders SELECT i % 10, timestamptz '2023-01-01' + i * interval '1 day', 10 FROM generate_series(1, 100) i;
SELECT retention.add_source('orders') IS NOT NULL AS added;
CALL retention.refresh(as_of => '2023-06-01');
CREATE ROLE retention_test_nobody;
CREATE ROLE retention_test_analyst;
CREATE ROLE retention_test_operator;
CREATE ROLE retention_test_admin;
GRANT USAGE ON SCHEMA security_test TO PUBLIC;
GRANT SELECT ON orders TO retention_test_operator, retention_test_admin;
SELECT retention.grant_access('retention_test_analyst', 'analyst'), retention.grant_access('retention_test_operator', 'operator'),
       retention.grant_access('retention_test_admin', 'admin');
SELECT failure($$SELECT retention.grant_access('retention_test_nobody', 'root')$$);
SELECT failure($$SELECT retention.grant_access('retention_test_nobody', NULL)$$);

CREATE TABLE try (n integer GENERATED ALWAYS AS IDENTITY, command text);
INSERT INTO try (command) VALUES
  ('SELECT retention.now()'), ('SELECT retention.order_summary(now(), 1)'), ('SELECT retention.rfm_score(1, ''{1}'')'),
  ('SELECT count(*) FROM retention.customer'), ('SELECT count(*) FROM retention.profile'), ('SELECT count(*) FROM retention.champions'),
  ('SELECT count(predicted_clv + p_alive + order_probability), count(overdue), count(churn_risk) FROM retention.profile'),
  ('SELECT (retention.fit(''mbgnbd'', n % 3, n % 3, 9)).kind FROM generate_series(1, 9) AS n'), ('SELECT count(*) FROM retention.model_validation'),
  ('SELECT count(*) FROM retention.validate_model(''orders'', ''2023-06-01'', ''2023-06-20'')'), ('SELECT count(*) FROM retention.churn_history(''1'')'),
  ('UPDATE retention.published_model SET confidence = ''low'''), ('DELETE FROM retention.fitted_model WHERE false'),
  ('SELECT count(*) FROM retention.rfm_change'), ('SELECT count(*) FROM retention.refresh_log'), ('SELECT count(*) FROM retention.metric'),
  ('SELECT * FROM retention.explain_score(''1'')'), ('SELECT * FROM retention.readiness()'), ('SELECT retention.rfm_group(1, 1, 1)'),
  ('CALL retention.refresh(as_of => ''2023-07-01'')'), ('CALL retention.refresh(full => true, as_of => ''2024-07-01'')'),
  ('SELECT count(*) FROM retention.customer_at(as_of => ''2023-07-01'')'),
  ('SELECT retention.backfill_history(''orders'', ''2023-03-01'')'),
  ('SELECT retention.alter_metric(''orders'', history => ''9 years'')'), ('SELECT retention.add_metric(''more'')'), ('SELECT retention.drop_metric(''orders'')'),
  ('SELECT retention.reset_metric(''orders'')'), ('SELECT retention.drop_source(99)'),
  ('UPDATE retention.rfm_cell SET rfm_group = rfm_group'), ('DELETE FROM retention.metric WHERE metric = ''none'''),
  ('UPDATE retention.source SET amount = amount'), ('DELETE FROM retention.customer WHERE false'), ('UPDATE retention.population SET settings = settings WHERE false'),
  ('TRUNCATE retention.customer'), ('DROP TABLE retention.customer CASCADE'),
  ('SELECT retention._relation_fingerprint(''security_test.orders'')'), ('SELECT retention._collected(NULL, NULL, false)'),
  ('SELECT retention.grant_access(''retention_test_nobody'', ''admin'')');
GRANT SELECT ON try TO PUBLIC;
CREATE TABLE outcome (who text, n integer, result text);
GRANT INSERT ON outcome TO PUBLIC;
CREATE PROCEDURE attempt_all(who text) LANGUAGE plpgsql AS $$
DECLARE
  command record;
  results text[] := '{}';
BEGIN
  FOR command IN SELECT t.* FROM try t ORDER BY n LOOP
    results := results || failure(command.command);
  END LOOP;
  INSERT INTO outcome SELECT who, n, result FROM unnest(results) WITH ORDINALITY AS u (result, n);
END $$;
-- An admin may call grant_access, but only an owner has rights to give: all it says is that none were.
SET client_min_messages = error;
SET ROLE retention_test_nobody;
CALL attempt_all('nobody');
SET ROLE retention_test_analyst;
CALL attempt_all('analyst');
SET ROLE retention_test_operator;
CALL attempt_all('operator');
SET ROLE retention_test_admin;
CALL attempt_all('admin');
RESET ROLE;
SET client_min_messages = warning;
SELECT t.command, max(result) FILTER (WHERE who = 'nobody') AS nobody, max(result) FILTER (WHERE who = 'analyst') AS analyst,
       max(result) FILTER (WHERE who = 'operator') AS operator, max(result) FILTER (WHERE who = 'admin') AS admin
  FROM try t JOIN outcome USING (n) GROUP BY t.n, t.command ORDER BY t.n;

-- An operator without the right to read a source cannot read it through the extension.
CREATE TABLE secret AS TABLE orders;
SELECT retention.add_metric('secret'), retention.add_source('secret', metric => 'secret') IS NOT NULL AS added;
SET ROLE retention_test_operator;
SELECT failure($$CALL retention.refresh('secret', as_of => '2023-07-01')$$) AS refresh, failure($$SELECT retention.customer_at('secret', '2023-07-01')$$) AS customer_at;
SELECT failure($$SELECT retention._collect('{SELECT customer_id\, ordered_at\, amount FROM security_test.secret}', '{x}', '{f}', NULL, '2023-07-01', NULL, 'UTC', '{1}', '{0.5}', NULL, '{0.5}', NULL, '{a,b,c,d,e,f,g,h}')$$) AS directly;
SET ROLE retention_test_admin;
SELECT failure($$SELECT retention.add_source('secret')$$) AS add_source;
RESET ROLE;

-- Operators and functions of the caller's search path are not called, nor are temporary tables taken for the engine's.
CREATE SCHEMA trap;
CREATE FUNCTION trap.spring(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap.count(text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE OPERATOR trap.= (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = trap.spring);
CREATE OPERATOR trap.> (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = trap.spring);
CREATE OPERATOR trap.<= (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = trap.spring);
CREATE OPERATOR trap.- (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = trap.spring);
CREATE TEMPORARY TABLE customer (LIKE retention.customer);
CREATE TEMPORARY TABLE pg_class (oid oid, relkind "char");
SET search_path = trap, pg_temp, pg_catalog, security_test;
SELECT retention.add_source('security_test.secret') IS NOT NULL AS added;
CALL retention.refresh(as_of => '2023-07-02');
CALL retention.refresh(as_of => '2024-07-03');
SELECT count(*) AS customers FROM retention.customer_at(as_of => '2023-07-02');
SELECT retention.backfill_history('orders', '2023-05-01') >= 0 AS backfilled;
SELECT count(*) AS explained FROM retention.explain_score('1');
SELECT count(*) AS ready FROM retention.readiness();
SELECT count(*) FILTER (WHERE days_since_last_order > 0) AS profiles FROM retention.profile;
SELECT (retention.order_summary('2023-01-01', 5)).orders, retention.age(retention.order_summary('2023-01-01', 5), '2023-01-03') AS age,
       retention.frequency(retention.order_summary('2023-01-01', 5)) AS frequency, retention.recency(retention.order_summary('2023-01-01', 5)) AS recency,
       retention.rfm_group(3, 3, 3) AS best;
SELECT retention.alter_metric('orders', time_zone => 'Europe/Warsaw', history => '10 years');
SELECT retention.drop_source(max(source_id)) FROM retention.source;
SELECT retention.drop_metric('orders');
RESET search_path;

SET client_min_messages = error;
DROP OWNED BY retention_test_nobody, retention_test_analyst, retention_test_operator, retention_test_admin;
DROP EXTENSION retention CASCADE;
DROP SCHEMA security_test, trap CASCADE;
DROP TABLE pg_temp.customer, pg_temp.pg_class;
DROP ROLE retention_test_nobody, retention_test_analyst, retention_test_operator, retention_test_admin;
