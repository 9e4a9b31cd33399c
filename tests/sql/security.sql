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
CREATE VIEW buyers AS SELECT customer_id FROM orders;
SET retention.as_of = '2023-06-20';
SELECT retention.track('orders'), retention.add_segment('buyers'), retention.add_consumer('crm', from_start => true);
CREATE ROLE retention_test_nobody;
CREATE ROLE retention_test_analyst;
CREATE ROLE retention_test_operator;
CREATE ROLE retention_test_admin;
CREATE ROLE retention_test_writer;
GRANT USAGE ON SCHEMA security_test TO PUBLIC;
GRANT SELECT ON orders, buyers TO retention_test_operator, retention_test_admin;
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
  ('SELECT count(*) FROM retention.rfm_change'), ('SELECT count(*) FROM retention.population'), ('SELECT count(*) FROM retention.metric'),
  ('SELECT * FROM retention.explain_score(''1'')'), ('SELECT * FROM retention.readiness()'), ('SELECT retention.rfm_group(1, 1, 1)'),
  ('CALL retention.refresh(as_of => ''2023-07-01'')'), ('CALL retention.refresh(full => true, as_of => ''2024-07-01'')'),
  ('SELECT count(*) FROM retention.customer_at(as_of => ''2023-07-01'')'),
  ('SELECT retention.backfill_history(''orders'', ''2023-03-01'')'),
  ('SELECT retention.alter_metric(''orders'', history => ''9 years'')'), ('SELECT retention.add_metric(''more'')'), ('SELECT retention.drop_metric(''orders'')'),
  ('SELECT retention.reset_metric(''orders'')'), ('SELECT retention.drop_source(99)'),
  ('UPDATE retention.rfm_cell SET rfm_group = rfm_group'), ('DELETE FROM retention.metric WHERE metric = ''none'''),
  ('UPDATE retention.source SET amount = amount'), ('DELETE FROM retention.customer WHERE false'), ('UPDATE retention.population SET settings = settings WHERE false'),
  ('TRUNCATE retention.customer'), ('DROP TABLE retention.customer CASCADE'),
  ('SELECT retention._relation_fingerprint(''security_test.orders'', ''{}'')'), ('SELECT retention._collected(NULL, NULL, false)'),
  ('SELECT retention.grant_access(''retention_test_nobody'', ''admin'')'),
  -- Keeping current: what changed and who is where can be read by all, is made so by operators, and set up by admins, of tables by their owners.
  ('SELECT count(*) FROM retention.change_log'), ('SELECT count(untracked_partitions) FROM retention.tracked'), ('SELECT count(*) FROM retention.order_event'),
  ('SELECT count(*) FROM retention.segment'), ('SELECT count(*) FROM retention.segment_member'), ('SELECT count(*) FROM retention.segment_change'),
  ('SELECT count(*) FROM retention.segment_consumer'), ('SELECT sum(size) FROM retention.segment_growth'), ('SELECT count(*) FROM retention.segment_day'),
  ('CALL retention.process_changes(''2023-07-01'')'), ('SELECT retention.refresh_segment(''buyers'')'), ('SELECT * FROM retention.read_segment_changes(''crm'')'),
  ('SELECT retention.prune()'), ('CALL retention.refresh_all()'),
  ('SELECT retention.track(''security_test.orders'')'), ('SELECT retention.untrack(''security_test.orders'')'),
  ('CREATE TEMPORARY TABLE own (customer_id text); SELECT retention.track(''own'', ''customer_id''); INSERT INTO own VALUES (1); SELECT retention.untrack(''own'')'),
  ('CREATE TEMPORARY TABLE own (customer_id text); CREATE TRIGGER own AFTER INSERT ON own EXECUTE FUNCTION retention._capture_changes(''customer_id'')'),
  ('SELECT retention.add_segment(''security_test.buyers'', ''more'')'), ('SELECT retention.drop_segment(''buyers'')'),
  ('SELECT retention.alter_segment(''buyers'', false)'), ('SELECT retention.alter_segment(''buyers'', true)'),
  ('SELECT retention.add_consumer(''ads'')'), ('SELECT retention.drop_consumer(''crm'')'), ('SELECT retention.schedule()'), ('SELECT retention.unschedule()'),
  ('INSERT INTO retention.change_log VALUES (''pg_class'', ''{1}'', now())'), ('TRUNCATE retention.change_log'),
  ('INSERT INTO retention.segment_member VALUES (''buyers'', ''x'', now())'), ('DELETE FROM retention.segment_member'),
  ('INSERT INTO retention.segment_change (segment, customer_id, change, cause, as_of) VALUES (''buyers'', ''x'', ''left'', ''manual'', now())'),
  ('DELETE FROM retention.order_event'), ('DELETE FROM retention.segment_day'), ('UPDATE retention.segment SET members = members'),
  ('UPDATE retention.segment SET relation = ''pg_class'''), ('UPDATE retention.segment SET relation_name = ''pg_class'''), ('UPDATE retention.segment SET enabled = false'), ('UPDATE retention.segment_consumer SET consumer = ''me'''),
  ('DELETE FROM retention.segment'), ('UPDATE retention.segment_consumer SET position = 0'), ('DELETE FROM retention.segment_consumer'),
  ('SELECT setval(''retention.segment_change_change_id_seq'', 1)'), ('SELECT retention._capture_changes()'),
  ('SELECT retention._try_metric(''orders'', ''2023-07-01'', ''{1}'', now())'), ('SELECT retention._evaluate_segments(''order'', ''2023-07-01'')'),
  ('SELECT retention._take_changes(1, now())'), ('SELECT * FROM retention._compare_keys(''SELECT 1::text'', ''SELECT 2::text'', 1, ''pg_class'')');
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

-- An operator has a segment follow its view.
DROP VIEW buyers;
CREATE VIEW buyers AS SELECT customer_id FROM orders;
GRANT SELECT ON buyers TO retention_test_operator, retention_test_admin;
SET ROLE retention_test_operator;
CALL retention.process_changes();
RESET ROLE;
SELECT relation, error FROM retention.segment;

-- Sources are read with their owners' rights: an operator needs none on them, and cannot read others through the extension.
CREATE TABLE secret AS TABLE orders;
SELECT retention.add_metric('secret'), retention.add_source('secret', metric => 'secret') IS NOT NULL AS added;
SET ROLE retention_test_operator;
SELECT failure($$CALL retention.refresh('secret', as_of => '2023-07-01')$$) AS refresh, failure($$SELECT retention.customer_at('secret', '2023-07-01')$$) AS customer_at;
SELECT failure($$SELECT retention._collect('{SELECT customer_id\, ordered_at\, amount FROM security_test.secret}', '{security_test.secret}', '{f}', NULL, '2023-07-01', NULL, 'UTC', '{1}', '{0.5}', NULL, '{0.5}', NULL, '{a,b,c,d,e,f,g,h}')$$) AS directly;
SET ROLE retention_test_admin;
SELECT failure($$SELECT retention.add_source('secret')$$) AS add_source;
RESET ROLE;

-- Nor in a segment, whose view is read with the rights of its owner; and who loses the right is warned, and the rest goes on.
GRANT CREATE ON SCHEMA security_test TO retention_test_admin;
GRANT SELECT ON secret TO retention_test_admin;
SET ROLE retention_test_admin;
CREATE VIEW secret_buyers AS SELECT customer_id FROM secret;
SELECT retention.add_segment('secret_buyers');
RESET ROLE;
CALL retention.refresh('secret');
REVOKE SELECT ON secret FROM retention_test_admin;
INSERT INTO orders VALUES (77, '2023-05-31', 10);
SELECT retention.track('secret');
INSERT INTO secret VALUES (78, '2023-05-31', 10);
SET ROLE retention_test_admin;
SELECT retention.add_segment('secret');
SELECT retention.add_segment('secret_buyers', 'again');
SELECT retention.refresh_segment('secret_buyers');
CALL retention.process_changes();
RESET ROLE;
SELECT segment, customer_id FROM retention.segment_member WHERE customer_id IN ('77', '78');
SELECT metric, customer_id FROM retention.customer WHERE customer_id IN ('77', '78');
SELECT segment, members, error FROM retention.segment ORDER BY number;
-- What could not be read waits until it may be.
GRANT SELECT ON secret TO retention_test_admin;
SET retention.as_of = '2023-06-21';
SET ROLE retention_test_admin;
CALL retention.process_changes();
RESET ROLE;
SELECT segment, customer_id FROM retention.segment_member WHERE customer_id IN ('77', '78') ORDER BY customer_id;
SELECT metric, customer_id FROM retention.customer WHERE customer_id IN ('77', '78') ORDER BY customer_id;

-- Operators and functions of the caller's search path are not called, nor are temporary tables taken for the engine's.
CREATE SCHEMA trap;
-- Traps with the very signatures of PostgreSQL's operators, and of the functions that the engine's sources name: they would be preferred.
-- Whoever springs one draws a number, which stays though the error may be caught.
CREATE SEQUENCE trap.sprung;
DO $$
DECLARE
  shadow record;
  number integer := 0;
  sources CONSTANT text := (SELECT string_agg(prosrc, ' ') FROM pg_proc WHERE pronamespace = 'retention'::regnamespace);
  body CONSTANT text := 'LANGUAGE plpgsql AS ''BEGIN PERFORM pg_catalog.nextval(''''trap.sprung''''); RAISE EXCEPTION ''''trapped''''; END''';
BEGIN
  FOR shadow IN
    SELECT oprname, oprleft::regtype AS l, oprright::regtype AS r, oprresult::regtype AS result FROM pg_operator o
    WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND NOT EXISTS (
      SELECT FROM pg_type t WHERE t.oid IN (oprleft, oprright, oprresult) AND t.typtype = 'p' AND t.typname NOT LIKE 'any%')
      AND oprkind = 'b' AND oprname IN ('=', '<>', '<', '<=', '>', '>=', '+', '-', '*', '/', '%', '||', '<@', '@>', '&&', '~', '~~', '!~~')
  LOOP
    number := number + 1;
    EXECUTE format('CREATE FUNCTION trap.spring_%s(%s, %s) RETURNS %s %s', number, shadow.l, shadow.r, shadow.result, body);
    EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = trap.spring_%s)', shadow.oprname, shadow.l, shadow.r, number);
  END LOOP;
  FOR shadow IN
    SELECT format('%I(%s)', proname, oidvectortypes(proargtypes)) AS call, pg_get_function_result(p.oid) AS result FROM pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND prokind <> 'p' AND NOT EXISTS (
      SELECT FROM pg_type t WHERE (t.oid = ANY (proargtypes) OR t.oid = prorettype) AND t.typtype = 'p' AND (t.typname NOT LIKE 'any%' AND t.typname <> 'void' OR t.typname = 'any'))
      AND strpos(sources, p.proname || '(') > 0 AND sources ~ ('\m' || p.proname || '\(')
      -- count(*) is no call of a function.
      AND p.pronargs > 0 AND p.proargmodes IS NULL AND proname <> 'nextval'
  LOOP
    EXECUTE format('CREATE FUNCTION trap.%s RETURNS %s %s', shadow.call, shadow.result, body);
  END LOOP;
END $$;
SELECT count(*) FILTER (WHERE proname LIKE 'spring%') > 300 AS operators, count(*) FILTER (WHERE proname NOT LIKE 'spring%') > 100 AS functions
  FROM pg_proc WHERE pronamespace = 'trap'::regnamespace;
CREATE FUNCTION trap.count(text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.nextval('trap.sprung'); RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION trap.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.nextval('trap.sprung'); RAISE EXCEPTION 'trapped'; END $$;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
GRANT USAGE ON SEQUENCE trap.sprung TO PUBLIC;
CREATE TEMPORARY TABLE customer (LIKE retention.customer);
CREATE TEMPORARY TABLE pg_class (oid oid, relkind "char");
CREATE TEMPORARY TABLE pg_trigger (LIKE pg_catalog.pg_trigger);
CREATE TEMPORARY TABLE change_log (LIKE retention.change_log);
CREATE TEMPORARY TABLE segment (LIKE retention.segment);
CREATE TEMPORARY TABLE source (LIKE retention.source);
SET search_path = trap, pg_temp, pg_catalog, security_test;
-- They work.
SELECT 1 = 1;
SELECT format('%s'::text, 'x'::text);
SELECT retention.add_source('security_test.secret') IS NOT NULL AS added;
CALL retention.refresh(as_of => '2023-07-02');
CALL retention.refresh(as_of => '2024-07-03');
SELECT count(*) AS customers FROM retention.customer_at(as_of => '2023-07-02');
SELECT retention.backfill_history('orders', '2023-05-01') IS NOT NULL AS backfilled;
SELECT count(*) AS explained FROM retention.explain_score('1');
SELECT count(*) AS ready FROM retention.readiness();
SELECT count(days_since_last_order) AS profiles FROM retention.profile;
SELECT (retention.order_summary('2023-01-01', 5)).orders, retention.age(retention.order_summary('2023-01-01', 5), '2023-01-03') AS age,
       retention.frequency(retention.order_summary('2023-01-01', 5)) AS frequency, retention.recency(retention.order_summary('2023-01-01', 5)) AS recency,
       retention.rfm_group(3, 3, 3) AS best;
SELECT retention.alter_metric('orders', time_zone => 'Europe/Warsaw', history => '10 years');
SET retention.as_of = '2024-07-04';
CALL retention.refresh_all();
SELECT retention.track('security_test.orders'), retention.untrack('security_test.secret'), retention.track('security_test.secret', 'customer_id');
CREATE VIEW security_test.champions AS SELECT customer_id FROM retention.profile WHERE rfm_group IS NOT NULL;
SELECT retention.add_segment('security_test.champions', 'champions', backfill => true), retention.add_consumer('ads');
-- A writer who may do nothing but insert is captured, and sees and writes nothing of it.
RESET search_path;
GRANT INSERT ON security_test.orders TO retention_test_writer;
SET ROLE retention_test_writer;
SET search_path = trap, pg_temp, pg_catalog, security_test;
INSERT INTO security_test.orders VALUES (79, '2024-07-01', 5), (80, '2024-07-01', 5);
SELECT relation FROM retention.change_log;
RESET ROLE;
GRANT USAGE ON SCHEMA retention TO retention_test_writer;
SET ROLE retention_test_writer;
INSERT INTO security_test.orders VALUES (80, '2024-07-02', 5);
SELECT relation FROM retention.change_log;
INSERT INTO retention.change_log VALUES (NULL, NULL, '2024-07-01');
DELETE FROM retention.change_log;
SELECT customer_id FROM security_test.orders;
RESET ROLE;
SELECT relation, customer_ids FROM retention.change_log;
CALL retention.process_changes();
SELECT segment, customer_id, change, cause FROM retention.read_segment_changes('ads');
DELETE FROM security_test.secret;
CALL retention.process_changes();
SELECT retention.refresh_segment('champions'), retention.alter_segment('champions', false), retention.alter_segment('champions', true);
SELECT relation, customer_id_columns, untracked_partitions FROM retention.tracked ORDER BY relation::text;
SELECT segment, day, entered FROM retention.segment_growth WHERE segment IS NULL;
SELECT retention.prune() IS NOT NULL AS pruned;
SELECT retention.drop_segment('champions'), retention.drop_consumer('ads'), retention.untrack('security_test.orders');
SELECT retention.drop_source(source_id) FROM retention.source ORDER BY source_id DESC LIMIT 1;
SELECT retention.drop_metric('orders');
SELECT last_value AS sprung_above FROM trap.sprung;
RESET search_path;

SET client_min_messages = error;
DROP OWNED BY retention_test_nobody, retention_test_analyst, retention_test_operator, retention_test_admin, retention_test_writer CASCADE;
DROP EXTENSION retention CASCADE;
DROP SCHEMA security_test, trap CASCADE;
DROP TABLE pg_temp.customer, pg_temp.pg_class, pg_temp.pg_trigger, pg_temp.change_log, pg_temp.segment, pg_temp.source;
DROP ROLE retention_test_nobody, retention_test_analyst, retention_test_operator, retention_test_admin, retention_test_writer;
