-- Flows: who may do what, hostile names and values, and traps in the search path.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA flow_security_test;
SET search_path = flow_security_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-03 10:00+00';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE ROLE retention_flow_nobody;
CREATE ROLE retention_flow_analyst;
CREATE ROLE retention_flow_operator;
CREATE ROLE retention_flow_admin;
CREATE ROLE retention_flow_writer;
SELECT retention.grant_access('retention_flow_analyst', 'analyst'), retention.grant_access('retention_flow_operator', 'operator'), retention.grant_access('retention_flow_admin', 'admin');
GRANT USAGE ON SCHEMA flow_security_test TO PUBLIC;
CREATE TABLE "Order's" (order_id text, "customer ""id""" text, ordered_at timestamptz, amount numeric);
CREATE INDEX ON "Order's" ("customer ""id""");
GRANT SELECT ON "Order's" TO retention_flow_operator, retention_flow_admin;
-- Keys with quotes, newlines, other scripts, much text, and what looks like SQL or a template.
CREATE TABLE hostile AS SELECT * FROM unnest(ARRAY['O''Neil "x"', E'two\nlines\ttab', '客户 ☃', repeat('k', 1500), '''); DROP TABLE "Order''s"; --', '{{ person.email }}', '$1', '\', '{}', 'NULL', '-- x']) WITH ORDINALITY AS h (key, number);
INSERT INTO "Order's" SELECT 'o' || number, key, '2024-06-01', number FROM hostile;
SELECT retention.add_source('"Order''s"', customer_id => 'customer "id"', order_id => 'order_id', events => true);
SELECT retention.track('"Order''s"');
CALL retention.refresh();
GRANT USAGE ON SCHEMA retention TO retention_flow_writer;
GRANT INSERT, UPDATE ON retention.contact TO retention_flow_writer;

-- The shop's own role fills contacts, and needs no other right.
SET ROLE retention_flow_writer;
INSERT INTO retention.contact (customer_id, email, email_consent, time_zone) VALUES ('x', 'x@example.com', true, 'Europe/Warsaw');
UPDATE retention.contact SET locale = 'pl';
SELECT * FROM failure($$INSERT INTO retention.contact (customer_id, time_zone) VALUES ('y', 'nowhere')$$);
SELECT state, message FROM failure($$SELECT * FROM retention.message$$) UNION ALL SELECT state, message FROM failure($$SELECT retention._note_changed('{x}')$$);
RESET ROLE;
INSERT INTO retention.contact (customer_id, email, email_consent, properties)
  SELECT key, number || '@example.com', true, jsonb_build_object('name', key, 'a.b', 1, '"', '<script>') FROM hostile;
SELECT retention.add_coupon_pool('it''s "free"', prefix => '%s''');

-- Who may do what.
SET ROLE retention_flow_admin;
SELECT retention.publish(retention.create_flow($${"name": "it's; \"quoted\" %s", "trigger": {"type": "manual"}, "reentry": "always", "exit": "last_order_at > entered_at -- comment", "holdout": 0,
  "nodes": [{"id": "a 'b' \"c\"", "type": "set_property", "set": {"a'; b": "'it''s' -- comment", "name": "properties ->> 'name'"}, "next": "c%s"},
            {"id": "c%s", "type": "coupon", "pool": "it's \"free\"", "next": "m$1"},
            {"id": "m$1", "type": "message", "channel": "email", "subject": "{{ coupon.code }}", "body": "{{ person.name }} {{ person.\"a'; b\"|default:\"-\" }} {{ data.\"d'\" }}", "data": {"d'": "'<' || E'\\'' || chr(10)"}, "next": "s"},
            {"id": "s", "type": "split", "branches": [{"when": "properties ->> 'name' = customer_id -- comment", "next": "d"}], "else": "w"},
            {"id": "d", "type": "delay", "for": "1 day", "next": "w"},
            {"id": "w", "type": "wait_for", "condition": "false", "timeout": "1 hour", "else": "z"},
            {"id": "z", "type": "exit", "outcome": "it's over"}]}$$));
SELECT retention.set_status(flow, 'live') FROM retention.flow;
RESET ROLE;
GRANT SELECT ON hostile TO retention_flow_operator;
SET ROLE retention_flow_operator;
SELECT count(retention.enroll(f.flow, h.key)) FROM retention.flow f, hostile h;
CALL retention.run_flows();
SELECT left(replace(customer_id, E'\n', '|'), 30) AS customer_id, state, reason, address, subject ~ '^%s''[2-9A-Z]{10}$' AS is_code, left(replace(body, E'\n', '|'), 60) AS body
FROM retention.claim_messages('email') JOIN retention.message USING (message_id, customer_id, address, subject, body) ORDER BY message_id;
SELECT retention.ack(ARRAY(SELECT message_id FROM retention.message WHERE state = 'leased')), count(*) FROM retention.message;
SELECT count(*) FROM retention.contact WHERE properties ->> 'a''; b' = 'it''s' AND properties ->> 'name' = customer_id;
SET retention.as_of = '2024-06-04 10:00+00';
CALL retention.run_flows();
SET retention.as_of = '2024-06-04 11:00+00';
CALL retention.run_flows();
SELECT flow, node, outcome, count(*) FROM retention.flow_enrollment GROUP BY 1, 2, 3;
SELECT sent, entered FROM retention.flow_performance;
SELECT retention.forget(key) FROM hostile WHERE number = 1;
SELECT retention.suppress('email', '3@example.com');
SELECT f.state, f.message FROM unnest(ARRAY[$$SELECT retention.create_flow('{}')$$, $$SELECT retention.publish('x')$$, $$SELECT retention.set_status('x', 'live')$$, $$SELECT retention.use_contacts(NULL)$$,
  $$SELECT retention.add_coupon_pool('p')$$, $$UPDATE retention.flow SET status = 'draft'$$, $$UPDATE retention.flow_node SET branch = '1'$$, $$DELETE FROM retention.flow_version$$,
  $$UPDATE retention.contact_source SET relation_name = 'pg_class'$$]) AS c, failure(c) AS f;
RESET ROLE;
SET ROLE retention_flow_analyst;
SELECT count(*) FROM retention.flow_step_performance;
SELECT retention.render('{{ x }}', '{"x": 1}'), retention.bucket('a', 'b') >= 0 AS is_bucket, retention.template_variables('{{ x }}');
SELECT f.state, f.message FROM unnest(ARRAY[$$CALL retention.tick()$$, $$SELECT retention.enroll('x', '1')$$, $$SELECT * FROM retention.claim_messages('email')$$, $$SELECT retention.forget('1')$$,
  $$SELECT retention.ack('{1}')$$, $$SELECT retention.create_flow('{}')$$, $$UPDATE retention.message SET state = 'sent'$$]) AS c, failure(c) AS f;
RESET ROLE;
SET ROLE retention_flow_nobody;
SELECT f.state, f.message FROM unnest(ARRAY[$$SELECT * FROM retention.flow$$, $$CALL retention.run_flows()$$]) AS c, failure(c) AS f;
RESET ROLE;

-- A caller's search path with everything that could be taken for PostgreSQL's own.
CREATE SCHEMA trap;
CREATE TABLE trap.sprung (what text);
GRANT ALL ON SCHEMA trap TO PUBLIC;
GRANT ALL ON trap.sprung TO PUBLIC;
DO $$
DECLARE
  call record;
BEGIN
  FOR call IN SELECT * FROM (VALUES ('now', ''), ('count', 'bigint'), ('lower', 'text'), ('sha256', 'bytea'), ('coalesce', 'bigint'), ('jsonb_build_object', 'text, jsonb'), ('cardinality', 'anyarray'),
                                    ('set_config', 'text, text, boolean'), ('pg_notify', 'text, text'), ('array_length', 'anyarray, integer'), ('unnest', 'anyarray')) AS v (name, arguments) LOOP
    EXECUTE format($f$CREATE FUNCTION trap.%I(%s) RETURNS integer LANGUAGE plpgsql AS $b$ BEGIN INSERT INTO trap.sprung VALUES (%L); RETURN 1; END $b$ $f$, call.name, call.arguments, call.name);
  END LOOP;
  CREATE FUNCTION trap.compare(bigint, integer) RETURNS boolean LANGUAGE plpgsql AS $b$ BEGIN INSERT INTO trap.sprung VALUES ('operator'); RETURN false; END $b$;
  CREATE OPERATOR trap.> (FUNCTION = trap.compare, LEFTARG = bigint, RIGHTARG = integer);
  CREATE OPERATOR trap.= (FUNCTION = trap.compare, LEFTARG = bigint, RIGHTARG = integer);
END $$;
CREATE TABLE trap.message (x integer);
CREATE TABLE trap.enrollment (x integer);
SET retention.as_of = '2024-06-05 10:00+00';
SET search_path = trap, pg_catalog;
SELECT retention.enroll(flow, 'x') FROM retention.flow;
SET ROLE retention_flow_operator;
CALL retention.run_flows();
CALL retention.tick();
SELECT message_id > 0 AS claimed FROM retention.claim_messages('email');
RESET ROLE;
SELECT * FROM trap.sprung;
SELECT node FROM retention.flow_enrollment WHERE customer_id = 'x';
SET search_path = flow_security_test;
-- A template in a value stays a value; an expression is one expression.
SELECT retention.render('{{ x }}', '{"x": "{{ y }}<b>"}');
SELECT e AS expression, p.problem FROM unnest(ARRAY['true) OR (true', 'true; DROP SCHEMA trap', '(SELECT true', 'true FROM pg_class', 'true AS x', 'true, true', '', '*', '1', 'true -- ok', 'true /* ok */', 'true /* not', 'true ORDER BY 1', 'true UNION SELECT false',
  'EXISTS (SELECT)', 'retention_no_function()', '$1 IS NULL']) AS e
LEFT JOIN LATERAL retention.validate_flow(jsonb_build_object('name', 'f', 'trigger', '{"type": "manual"}'::jsonb, 'nodes', '[{"id": "a", "type": "exit"}]'::jsonb, 'entry_filter', e)) AS p ON true;
SET client_min_messages = error;
DROP EXTENSION retention CASCADE;
DROP SCHEMA flow_security_test, trap CASCADE;
DROP ROLE retention_flow_nobody, retention_flow_analyst, retention_flow_operator, retention_flow_admin, retention_flow_writer;
