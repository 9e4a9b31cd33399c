-- Owners of what is read, and authors of flows, who mean harm: they get no other rights, see no
-- more, and stop nobody else.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA hostile_test;
SET search_path = hostile_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-03 10:00+00';
SET retention.progress = off;
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE ROLE retention_hostile_guest;
CREATE ROLE retention_hostile_admin;
SELECT retention.grant_access('retention_hostile_guest', 'operator'),
       retention.grant_access('retention_hostile_admin', 'admin');
GRANT CREATE, USAGE ON SCHEMA hostile_test TO retention_hostile_guest, retention_hostile_admin;
SELECT current_database() AS database \gset
GRANT CREATE ON DATABASE :"database" TO retention_hostile_guest;
CREATE TABLE orders (customer_id text, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT 'c' || i % 20, timestamptz '2024-05-01' + i * interval '1 hour', 5
  FROM generate_series(1, 100) i;
SELECT retention.add_source('orders') > 0 AS added, retention.track('orders');
CALL retention.refresh();

-- A view that collects, while its metric is being collected.
SET ROLE retention_hostile_guest;
CREATE FUNCTION peep() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT count(*) FROM retention.customer_at('orders')); END $$;
CREATE VIEW peeping AS
  SELECT 'p' || i AS customer_id, timestamptz '2024-05-01' AS ordered_at,
         (i + hostile_test.peep())::numeric AS amount
  FROM generate_series(1, 3) i;
RESET ROLE;
SELECT retention.add_metric('peeping'),
       retention.add_source('peeping', metric => 'peeping') > 0 AS added;
CALL retention.refresh('peeping');
SELECT customer_id, revenue FROM retention.customer WHERE metric = 'peeping' ORDER BY 1;
SELECT retention.drop_metric('peeping');

-- While a source of theirs is read, somebody renames the schema in which another role's table is,
-- and makes a view of its name.
CREATE SCHEMA retention_hostile_schema AUTHORIZATION retention_hostile_guest;
CREATE TABLE retention_hostile_schema.orders AS SELECT * FROM orders;
SET ROLE retention_hostile_guest;
CREATE TABLE witness (who name);
GRANT INSERT ON witness TO PUBLIC;
CREATE TABLE armed (is_armed boolean);
CREATE FUNCTION as_whom() RETURNS text LANGUAGE plpgsql AS $$
BEGIN INSERT INTO hostile_test.witness VALUES (current_user); RETURN 'c1'; END $$;
CREATE FUNCTION swap() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT is_armed FROM hostile_test.armed) THEN
    ALTER SCHEMA retention_hostile_schema RENAME TO retention_hostile_moved;
    CREATE SCHEMA retention_hostile_schema;
    GRANT USAGE ON SCHEMA retention_hostile_schema TO PUBLIC;
    CREATE VIEW retention_hostile_schema.orders AS
      SELECT hostile_test.as_whom() AS customer_id, now() AS ordered_at, 5::numeric AS amount;
  END IF;
  RETURN 'c2';
END $$;
CREATE VIEW swapping AS
  SELECT hostile_test.swap() AS customer_id, timestamptz '2024-05-01' AS ordered_at,
         5::numeric AS amount;
RESET ROLE;
SELECT retention.add_metric('swapping'),
       retention.add_source('swapping', metric => 'swapping') > 0 AS added,
       retention.add_source('retention_hostile_schema.orders', metric => 'swapping') > 0 AS added;
INSERT INTO armed VALUES (true);
SELECT state, message FROM failure($$CALL retention.refresh('swapping')$$);
SELECT statement, f.state, f.message
FROM unnest(ARRAY['SELECT 1 FROM orders', 'SELECT 1 FROM hostile_test.orders, hostile_test.armed',
                  'EXPLAIN SELECT (SELECT count(*) FROM hostile_test.armed)', 'SELECT (SELECT',
                  'SELECT count(*)::integer FROM hostile_test.orders']) AS statement,
  failure(format('SELECT * FROM retention._query_of(''hostile_test.orders'', %L) AS q (a integer)',
                 statement)) AS f;
SELECT count(*) FROM armed;
SELECT * FROM witness;
SELECT retention.drop_metric('swapping');

-- What shows its owner more than whoever adds it: the system's views, row security, a view that
-- reads with its reader's rights.
CREATE TABLE mine (customer_id text, ordered_at timestamptz, amount numeric);
ALTER TABLE mine ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON mine USING (customer_id = current_user);
CREATE VIEW invoked WITH (security_invoker) AS SELECT * FROM orders;
CREATE VIEW invoked_mine WITH (security_invoker = on) AS SELECT * FROM mine;
CREATE VIEW shown AS SELECT * FROM mine;
GRANT SELECT ON mine, invoked, invoked_mine, shown TO retention_hostile_admin;
SET ROLE retention_hostile_admin;
SELECT retention.add_metric('spying');
SELECT f.state, f.message FROM unnest('{mine,invoked,invoked_mine}'::text[]) AS relation,
  failure(format('SELECT retention.add_source(''hostile_test.%s'', metric => ''spying'')',
                 relation)) AS f;
SELECT state, message FROM failure($$SELECT retention.add_segment('hostile_test.invoked')$$);
SELECT state, message FROM failure($$SELECT retention.use_contacts('hostile_test.invoked_mine')$$);
SELECT state, message FROM failure($$SELECT retention.add_source('pg_catalog.pg_stat_activity', customer_id => 'query',
  ordered_at => 'query_start', amount => 'pid', metric => 'spying')$$);
-- Of what its owner shows to all alike anybody can make a source; and of their own.
SELECT retention.add_source('shown', metric => 'spying') > 0 AS added;
CREATE TABLE own_orders (customer_id text, ordered_at timestamptz, amount numeric);
ALTER TABLE own_orders ENABLE ROW LEVEL SECURITY;
SELECT retention.add_source('own_orders', metric => 'spying') > 0 AS added;
SELECT retention.drop_metric('spying');
RESET ROLE;

-- Errors of all codes stop what raises them, and nobody else.
CREATE TABLE fault (code text);
INSERT INTO fault VALUES (NULL);
CREATE FUNCTION fail() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  code text := (SELECT f.code FROM hostile_test.fault f);
BEGIN
  IF code IS NOT NULL THEN RAISE EXCEPTION 'a fault' USING ERRCODE = code; END IF;
  RETURN 'c1';
END $$;
CREATE VIEW bad AS SELECT hostile_test.fail() AS customer_id;
CREATE VIEW good AS SELECT customer_id FROM retention.customer WHERE metric = 'orders';
CREATE VIEW bad_orders AS
  SELECT hostile_test.fail() AS customer_id, timestamptz '2024-05-01' AS ordered_at, 5::numeric AS amount;
SELECT retention.add_segment('bad'), retention.add_segment('good'),
       retention.add_metric('bad'), retention.add_source('bad_orders', metric => 'bad') > 0 AS added;
CALL retention.refresh('bad');
CREATE PROCEDURE try(code text) LANGUAGE plpgsql AS $$
BEGIN
  UPDATE hostile_test.fault f SET code = try.code;
  INSERT INTO hostile_test.orders VALUES ('process ' || code, '2024-06-01', 5);
  CALL retention.process_changes();
  INSERT INTO hostile_test.orders VALUES ('refresh ' || code, '2024-06-01', 5);
  CALL retention.refresh();
END $$;
SET client_min_messages = error;
CALL try('22000');
CALL try('40001');
CALL try('40P01');
CALL try('57014');
CALL try('P0004');
CALL try('57P01');
SELECT customer_id FROM retention.segment_member WHERE segment = 'good' AND customer_id ~ ' ' ORDER BY 1;
SELECT kind, name, sqlstate, message FROM retention.problem ORDER BY 1;
SELECT relation, rows FROM retention.forget('process 57014');
CALL retention.refresh_all();
SET client_min_messages = warning;
-- In a transaction with a snapshot of its own they may say that it is outdated.
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE fault SET code = '40001';
CALL retention.process_changes();
ROLLBACK;
UPDATE fault SET code = NULL;

-- Jobs take turns by locks that nobody else can take.
BEGIN;
CALL retention.process_changes();
SELECT locktype, classid::regclass, objid::regclass, mode, count(*) FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype IN ('advisory', 'object') AND classid = 'pg_class'::regclass
GROUP BY 1, 2, 3, 4 ORDER BY 3::text;
COMMIT;

-- An expression is checked as it will be read, whatever the session makes of backslashes.
CREATE TABLE expression (text text);
INSERT INTO expression VALUES ($e$'\' <> '' ) OR (true --'$e$);
SET escape_string_warning = off;
SET standard_conforming_strings = off;
SELECT retention._check_expression(text) FROM expression;
SET standard_conforming_strings = on;
SELECT retention._check_expression(text) FROM expression;
SELECT retention._check_expression($e$'\' <> ''$e$);

-- Expressions start no job.
CREATE FUNCTION begin_anew(customer_id text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN PERFORM retention.enroll('anew', customer_id); RETURN true; END $$;
CREATE FUNCTION tick() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN PERFORM retention.run_flows_once(); RETURN true; END $$;
SELECT retention.create_flow(format($${"name": "%s", "trigger": {"type": "manual"}, "reentry": "always", "nodes": [
    {"id": "s", "type": "split", "branches": [{"when": "hostile_test.%s"}]}]}$$, v.flow, v.condition)::jsonb),
  retention.publish(v.flow), retention.set_status(v.flow, 'live'), retention.enroll(v.flow, 'c1')
FROM (VALUES ('anew', 'begin_anew(customer_id)'), ('ticking', 'tick()')) AS v (flow, condition);
SET client_min_messages = error;
CALL retention.run_flows();
SELECT kind, name, node, sqlstate, message FROM retention.problem WHERE kind = 'node' ORDER BY 2;

-- Of an error as much is kept as a reader needs.
CREATE FUNCTION loud() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '%', repeat('x', 100000); END $$;
SELECT retention.create_flow($${"name": "loud", "trigger": {"type": "manual"}, "nodes": [
    {"id": "s", "type": "split", "branches": [{"when": "hostile_test.loud()"}]}]}$$),
  retention.publish('loud'), retention.set_status('loud', 'live'), retention.enroll('loud', 'c1');
CALL retention.run_flows();
SELECT outcome, length(reason) FROM retention.flow_enrollment WHERE flow = 'loud';

-- A flow's owner is a role, not a name: another one that gets the name does not run it.
CREATE ROLE retention_hostile_author;
GRANT USAGE ON SCHEMA hostile_test TO retention_hostile_author;
SELECT retention.grant_access('retention_hostile_author', 'operator');
CREATE FUNCTION who_runs() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'run by %', current_user; END $$;
SET ROLE retention_hostile_author;
SELECT retention.create_flow($${"name": "whose", "trigger": {"type": "manual"}, "reentry": "always",
  "nodes": [{"id": "s", "type": "split", "branches": [{"when": "hostile_test.who_runs()"}]}]}$$),
  retention.publish('whose'), retention.set_status('whose', 'live');
RESET ROLE;
ALTER ROLE retention_hostile_author RENAME TO retention_hostile_renamed;
CREATE ROLE retention_hostile_author SUPERUSER;
SELECT retention.enroll('whose', 'c1');
CALL retention.run_flows();
SELECT owner, outcome, reason FROM retention.flow_enrollment e JOIN retention.flow f USING (flow)
  WHERE flow = 'whose';
SET ROLE retention_hostile_renamed;
SELECT retention.publish('whose');
RESET ROLE;
DROP OWNED BY retention_hostile_renamed;
DROP ROLE retention_hostile_renamed;
SELECT retention.enroll('whose', 'c2');
CALL retention.run_flows();
SELECT kind, node, sqlstate FROM retention.problem WHERE name = 'whose' AND kind <> 'enrollment';
SELECT retention.set_flow_owner('whose', 'retention_hostile_author');
CALL retention.run_flows(retention.now() + interval '10 minutes');
SELECT customer_id, reason FROM retention.flow_enrollment WHERE flow = 'whose' ORDER BY 1;

DROP EXTENSION retention CASCADE;
DROP SCHEMA hostile_test, retention_hostile_schema CASCADE;
DROP OWNED BY retention_hostile_guest, retention_hostile_admin CASCADE;
DROP ROLE retention_hostile_guest, retention_hostile_admin, retention_hostile_author;

-- A name that has to be quoted is a role's as well, the extension's owner's too.
CREATE ROLE "Retention Hostile Owner" SUPERUSER;
SET ROLE "Retention Hostile Owner";
CREATE EXTENSION retention;
SELECT * FROM retention.validate_flow($${"name": "quoted", "trigger": {"type": "manual"},
  "nodes": [{"id": "d", "type": "delay", "for": "1 hour"}]}$$);
DROP EXTENSION retention CASCADE;
RESET ROLE;
DROP ROLE "Retention Hostile Owner";
