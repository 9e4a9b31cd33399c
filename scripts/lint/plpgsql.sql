-- What plpgsql_check finds, as a JSON object a line: the function's name and body, the line in it,
-- what is wrong. Of warnings those that tell of faults: what is never read or set, dynamic SQL that
-- is put together from texts.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE EXTENSION plpgsql_check;

-- What functions make themselves while they run, or another extension has made.
CREATE TEMPORARY TABLE retention_backfill (LIKE retention.customer);
CREATE TEMPORARY TABLE retention_calibration (
  customer_id text, purchase_days integer, revenue numeric, x double precision,
  t_x double precision, t double precision, m double precision, naive_orders double precision,
  naive_revenue numeric);
CREATE TEMPORARY TABLE retention_holdout (
  customer_id text, x double precision, naive_orders double precision, naive_revenue numeric,
  naive_probability double precision, orders double precision, revenue numeric,
  ordered double precision, p_alive double precision, order_probability double precision,
  expected_orders double precision, expected_spend double precision);
CREATE SCHEMA cron;
CREATE TABLE cron.job (jobid bigint, jobname text, schedule text, command text, username text,
  database text);
CREATE FUNCTION cron.schedule(text, text, text) RETURNS bigint RETURN 0;
CREATE FUNCTION cron.unschedule(bigint) RETURNS boolean RETURN true;

-- A trigger's function is checked for each table and each event that it is there for.
SELECT json_build_object('name', p.proname, 'body', p.prosrc, 'line', coalesce(c.lineno, 1),
                         'what', concat_ws(': ', c.message, c.detail))
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
LEFT JOIN pg_trigger t ON t.tgfoid = p.oid AND t.tgparentid = 0
CROSS JOIN LATERAL plpgsql_check_function_tb(
  p.oid, coalesce(t.tgrelid, 0), fatal_errors => false, other_warnings => true,
  extra_warnings => true, performance_warnings => false, security_warnings => true,
  oldtable => t.tgoldtable, newtable => t.tgnewtable) AS c
WHERE p.pronamespace = 'retention'::regnamespace
  AND (p.prorettype <> 'trigger'::regtype OR t.oid IS NOT NULL)
  -- That the literal '{}' begins as a text is no fault, nor what a parameter is called.
  AND c.detail IS DISTINCT FROM 'The reserved keyword was used as parameter name.'
  AND coalesce(c.detail, '') !~ '^cast "text" value to "[^"]*\[\]" type$'
  -- What EXECUTE returns cannot be seen, and a function may have several results.
  AND coalesce(c.detail, '') !~ '^cannot (to )?determine result of dynamic SQL'
  AND c.message !~ '^cannot determinate a result of dynamic SQL|^composite OUT variable'
UNION ALL
-- A trigger's function that no trigger calls is not checked, so there must be none.
SELECT json_build_object('name', p.proname, 'body', p.prosrc, 'line', 1,
                         'what', 'no trigger calls it')
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
WHERE p.pronamespace = 'retention'::regnamespace AND p.prorettype = 'trigger'::regtype
  AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid);
