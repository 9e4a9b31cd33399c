-- Rights: which functions each level can call; what others own runs with their rights, and nothing of theirs with others'.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA rights_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-03 10:00+00';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE ROLE retention_rights_analyst;
CREATE ROLE retention_rights_operator;
CREATE ROLE retention_rights_admin;
CREATE ROLE retention_rights_owner;
SELECT retention.grant_access('retention_rights_analyst', 'analyst'), retention.grant_access('retention_rights_operator', 'operator'),
       retention.grant_access('retention_rights_admin', 'admin');

-- Each level calls what the one before does, and these.
SELECT lowest.level, string_agg(lowest.name, ', ' ORDER BY lowest.name COLLATE "C") AS may_call_too
FROM (SELECT DISTINCT p.proname AS name, CASE
        WHEN has_function_privilege('public', p.oid, 'EXECUTE') THEN '0 whoever may use the schema'
        WHEN has_function_privilege('retention_rights_analyst', p.oid, 'EXECUTE') THEN '1 analyst'
        WHEN has_function_privilege('retention_rights_operator', p.oid, 'EXECUTE') THEN '2 operator'
        WHEN has_function_privilege('retention_rights_admin', p.oid, 'EXECUTE') THEN '3 admin' END AS level
      FROM pg_proc p WHERE p.pronamespace = 'retention'::regnamespace) AS lowest
WHERE lowest.level IS NOT NULL GROUP BY lowest.level ORDER BY lowest.level;
-- What is in no list is nobody's, so that whoever adds a function has to say whose it is; and none has been forgotten.
SELECT retention._access_level('added_one_day') IS NULL AS is_denied;
SELECT p.oid::regprocedure AS forgotten FROM pg_proc p
WHERE p.pronamespace = 'retention'::regnamespace AND p.proname NOT LIKE '\_%' AND retention._access_level(p.proname) IS NULL;
-- Internal functions that anybody may call are pure: they read no table of the extension, and run as the caller.
SELECT p.oid::regprocedure AS internal, p.provolatile AS volatility, p.prosecdef AS as_owner
FROM pg_proc p WHERE p.pronamespace = 'retention'::regnamespace AND p.proname LIKE '\_%' AND has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY p.oid::regprocedure::text COLLATE "C";
-- What runs as the owner fixes its search path.
SELECT p.oid::regprocedure AS unpinned FROM pg_proc p
WHERE p.pronamespace = 'retention'::regnamespace AND p.prosecdef AND 'search_path=pg_catalog, pg_temp' <> ALL (coalesce(p.proconfig, '{}'));
-- What each level may write without a function.
SELECT r.role, string_agg(format('%s %s', c.relname, r.right), ', ' ORDER BY c.relname, r.right) AS may
FROM pg_class c, unnest('{retention_rights_analyst,retention_rights_operator,retention_rights_admin}'::text[]) AS role,
     unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) AS "right", LATERAL (SELECT role, "right") AS r
WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind IN ('r', 'p') AND has_table_privilege(r.role, c.oid, r.right)
GROUP BY r.role ORDER BY r.role;

-- Everything that a modest role can put where the engine runs it notes who it runs as.
CREATE TABLE rights_test.witness (place text, who name, PRIMARY KEY (place, who));
GRANT USAGE, CREATE ON SCHEMA rights_test TO retention_rights_operator, retention_rights_admin, retention_rights_owner;
GRANT SELECT, INSERT ON rights_test.witness TO PUBLIC;
CREATE FUNCTION rights_test.note(place text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO rights_test.witness VALUES (place, current_user) ON CONFLICT DO NOTHING;
  RETURN true;
EXCEPTION WHEN read_only_sql_transaction OR feature_not_supported THEN
  -- A query that only reads: an error tells the same.
  IF current_user <> 'retention_rights_owner' THEN RAISE EXCEPTION '% ran as %', place, current_user; END IF;
  RETURN true;
END $$;
SET ROLE retention_rights_owner;
CREATE TYPE rights_test.money_ AS (n numeric);
CREATE FUNCTION rights_test.to_numeric(rights_test.money_) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN IF current_user <> 'retention_rights_owner' THEN RAISE EXCEPTION 'a cast ran as %', current_user; END IF; RETURN ($1).n; END $$;
CREATE CAST (rights_test.money_ AS numeric) WITH FUNCTION rights_test.to_numeric(rights_test.money_);
CREATE TABLE rights_test.plain (customer_id text, ordered_at timestamptz, amount numeric, order_id text);
INSERT INTO rights_test.plain SELECT 'c' || i % 20, timestamptz '2023-06-01' + i * interval '1 day', i % 7 + 1, 'o' || i FROM generate_series(1, 300) i;
CREATE FUNCTION rights_test.own_rights(place text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN IF current_user <> 'retention_rights_owner' THEN RAISE EXCEPTION '% ran as %', place, current_user; END IF; RETURN true; END $$;
CREATE VIEW rights_test.orders AS SELECT * FROM rights_test.plain WHERE rights_test.own_rights('a source');
CREATE VIEW rights_test.buyers AS SELECT customer_id FROM rights_test.plain WHERE rights_test.own_rights('a segment');
CREATE VIEW rights_test.people AS SELECT DISTINCT customer_id, customer_id || '@example.com' AS email, rights_test.own_rights('a contact') AS email_consent FROM rights_test.plain;
RESET ROLE;
-- They are added by an admin who may read them, and by nobody else.
SET ROLE retention_rights_admin;
SELECT * FROM failure($$SELECT retention.add_source('rights_test.orders')$$);
SELECT * FROM failure($$SELECT retention.add_segment('rights_test.buyers')$$);
SELECT * FROM failure($$SELECT retention.use_contacts('rights_test.people')$$);
SELECT * FROM failure($$SELECT retention.track('rights_test.plain')$$);
RESET ROLE;
GRANT SELECT ON rights_test.orders, rights_test.buyers, rights_test.people TO retention_rights_admin;
SET ROLE retention_rights_admin;
SELECT retention.add_source('rights_test.orders', order_id => 'order_id', events => true) > 0 AS added;
CALL retention.refresh();
SELECT retention.add_segment('rights_test.buyers'), retention.use_contacts('rights_test.people');
RESET ROLE;
SELECT retention.track('rights_test.plain', 'customer_id');
SET ROLE retention_rights_owner;
INSERT INTO rights_test.plain VALUES ('c1', '2024-06-02', 5, 'new');
RESET ROLE;
SET ROLE retention_rights_operator;
CALL retention.process_changes();
CALL retention.refresh(full => true);
SELECT count(*) AS customers FROM retention.customer_at();
SELECT count(*) > 1 AS days FROM retention.churn_history('c1');
SELECT count(*) > 1 AS validated FROM retention.validate_model('orders', '2024-01-01');
-- An operator writes a flow, whose expressions have the operator's rights, whoever publishes and runs it.
SELECT retention.create_flow($${"name": "by_operator", "trigger": {"type": "manual"}, "reentry": "always", "entry_filter": "rights_test.note('entry_filter')",
  "filter": "rights_test.note('filter')", "exit": "NOT rights_test.note('exit')", "nodes": [
  {"id": "s", "type": "split", "branches": [{"when": "rights_test.note('split')", "next": "p"}]},
  {"id": "p", "type": "set_property", "set": {"a": "rights_test.note('set')"}, "next": "d"},
  {"id": "d", "type": "delay", "until": "CASE WHEN rights_test.note('delay') THEN date '2024-06-03' END", "next": "w"},
  {"id": "w", "type": "wait_for", "condition": "rights_test.note('wait_for')", "timeout": "1 day", "next": "m"},
  {"id": "m", "type": "message", "channel": "email", "subject": "{{ data.x }}", "body": "b", "data": {"x": "rights_test.note('data')"}}]}$$);
RESET ROLE;
SELECT retention.publish('by_operator'), retention.set_status('by_operator', 'live'), retention.enroll('by_operator', 'c1');
CALL retention.run_flows();
SELECT who, string_agg(place, ', ' ORDER BY place) AS places FROM rights_test.witness GROUP BY who;
SELECT state, address, subject FROM retention.message;
SET ROLE retention_rights_operator;
SELECT count(*) FROM retention.claim_messages('email');
RESET ROLE;
-- Nobody else gets an expression into that flow; who is made its owner can.
CREATE FUNCTION rights_test.replace_flow() RETURNS text LANGUAGE sql AS $$
  SELECT retention.create_flow('{"name": "by_operator", "trigger": {"type": "manual"}, "nodes": [{"id": "x", "type": "exit"}]}') $$;
SET ROLE retention_rights_admin;
SELECT * FROM failure('SELECT rights_test.replace_flow()');
SELECT * FROM failure($$SELECT retention.set_flow_owner('by_operator', 'retention_rights_operator')$$);
SELECT retention.set_flow_owner('by_operator', 'retention_rights_admin'), rights_test.replace_flow();
RESET ROLE;
SET ROLE retention_rights_operator;
SELECT * FROM failure('SELECT rights_test.replace_flow()');
RESET ROLE;
SELECT flow, owner FROM retention.flow;
-- Whoever runs with another's rights has no configuration changed: the caller there is not who is logged in.
CREATE TABLE rights_test.secret (customer_id text);
SET ROLE retention_rights_owner;
CREATE FUNCTION rights_test.takes_over() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN PERFORM retention.add_segment('rights_test.secret', 'taken'); RETURN true; END $$;
CREATE VIEW rights_test.trap AS SELECT customer_id FROM rights_test.plain WHERE rights_test.takes_over();
RESET ROLE;
SELECT retention.grant_access('retention_rights_owner', 'admin');
SELECT * FROM failure($$SELECT retention.add_segment('rights_test.trap')$$);
-- The C functions that run statements look at what they get.
SELECT * FROM failure($$SELECT * FROM retention._query_as('retention_rights_owner', 'SELECT 1, 2') AS q (a integer)$$);
SELECT * FROM failure($$SELECT * FROM retention._query_as('retention_rights_owner', 'SELECT 1') AS q (a text)$$);
SELECT * FROM failure($$SELECT * FROM retention._query_as(NULL, 'SELECT 1') AS q (a integer)$$);
SELECT * FROM failure($$SELECT * FROM retention._query_as('retention_rights_owner', 'SET ROLE none') AS q (a integer)$$);
SELECT q.* FROM retention._query_as('retention_rights_owner', 'SELECT current_user::text, current_setting(''search_path''), $1 + 1', 2) AS q (who text, path text, sum integer);
SELECT * FROM failure($$SELECT * FROM retention._compare_keys('SELECT 1, 2', 'SELECT ''x''', 1, 'rights_test.plain')$$);
SELECT * FROM failure($$SELECT * FROM retention._compare_keys('SELECT 1::float8', 'SELECT ''x''', 1, 'rights_test.plain')$$);
SELECT query, (failure(format($$SELECT retention._collect(ARRAY[ROW(%L, 'rights_test.plain', false)::retention._collected_source], %L, '2023-07-01', NULL, 'UTC', '({1},{0.5},,{0.5},,"{a,b,c,d,e,f,g,h}")')$$, query, stored))).*
FROM (VALUES ('SELECT 1::bigint', NULL), ('SELECT 1::bigint, 2, 3', NULL), ('SELECT 1::bigint, now(), 3::numeric, 4.5, 6', NULL), ('SELECT ''x''::text, now(), 1::numeric', 'SELECT 1')) AS v (query, stored);
SELECT * FROM failure($$SELECT retention._collect(ARRAY[ROW('SELECT 1', NULL, false)::retention._collected_source], NULL, '2023-07-01', NULL, 'UTC', '({1},{0.5},,{0.5},,"{a,b,c,d,e,f,g,h}")')$$);
SELECT * FROM failure($$SELECT retention._load('pg_am', 'x', now()) FROM retention._collect('{}', NULL, '2023-07-01', NULL, 'UTC', '({1},{0.5},,{0.5},,"{a,b,c,d,e,f,g,h}")')$$);
-- Trigger functions work on their own tables only.
CREATE TABLE rights_test.foreign_table (segment text, customer_id text);
SELECT p.proname, (failure(format($$CREATE TRIGGER t AFTER INSERT ON rights_test.foreign_table FOR EACH %s EXECUTE FUNCTION %s; INSERT INTO rights_test.foreign_table VALUES ('x', 'y')$$,
    CASE WHEN p.proname ~ 'note|take|queue|refuse' THEN 'STATEMENT' ELSE 'ROW' END, p.oid::regprocedure))).message
FROM pg_proc p WHERE p.pronamespace = 'retention'::regnamespace AND p.prorettype = 'trigger'::regtype AND p.proname NOT IN ('_capture_changes') ORDER BY 1;

-- Tables that nobody has thought about are shown to nobody: these are, and secret is not among them.
SELECT count(*) AS relations, count(*) FILTER (WHERE shown IS NULL) AS hidden FROM retention._readable();
BEGIN;
CREATE TABLE retention.thought_of_by_nobody (email text);
SELECT retention.grant_access('retention_rights_analyst', 'analyst');
SELECT has_any_column_privilege('retention_rights_analyst', 'retention.thought_of_by_nobody', 'SELECT') AS may_read;
ROLLBACK;
SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA rights_test CASCADE;
DROP OWNED BY retention_rights_analyst, retention_rights_operator, retention_rights_admin, retention_rights_owner CASCADE;
DROP ROLE retention_rights_analyst, retention_rights_operator, retention_rights_admin, retention_rights_owner;
