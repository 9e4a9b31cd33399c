-- Limits of flow documents and settings: what is refused when it is given, and what the engine does where it got in.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA flow_limits_test;
SET search_path = flow_limits_test;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-03 10:00+00';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE TABLE orders (order_id integer, customer_id text, ordered_at timestamptz, amount numeric);
INSERT INTO orders SELECT i, 'c' || i % 10, timestamptz '2024-06-01' - i * interval '5 days', 5 FROM generate_series(1, 40) i;
SELECT retention.add_source('orders', order_id => 'order_id', events => true);
CALL retention.refresh();
INSERT INTO retention.contact (customer_id, email, email_consent) SELECT 'c' || i, format('c%s@example.com', i), true FROM generate_series(0, 9) i;
CREATE FUNCTION flow(name text, more jsonb, VARIADIC nodes jsonb[]) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('name', name, 'trigger', '{"type": "manual"}'::jsonb, 'nodes', to_jsonb(nodes)) || more
$$;
CREATE FUNCTION mail(id text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'type', 'message', 'channel', 'email', 'subject', 's', 'body', 'b') || more
$$;
CREATE FUNCTION go_live(document jsonb) RETURNS void LANGUAGE sql AS $$
  SELECT retention.publish(retention.create_flow(document));
  SELECT retention.set_status(document ->> 'name', 'live');
$$;
-- Long values are shown by their length.
CREATE FUNCTION short(message text) RETURNS text LANGUAGE sql AS $$ SELECT regexp_replace(message, '(x{30})x+', '\1...', 'g') $$;

-- Intervals: each key that takes one, and each thing that can be wrong with it.
SELECT k.key, v.value, coalesce(p.path, '') AS path, p.problem
FROM (VALUES ('conversion_window', 'flow'), ('reentry', 'flow'), ('offset', 'trigger'), ('lateness', 'message'), ('smart_sending', 'message'),
             ('for', 'delay'), ('timeout', 'wait')) AS k (key, place),
     unnest('{100 years,101 years,10000 years,178000000 years,1 month -40 days,-1 month 40 days,1 day -30 hours,-1 day,0,P1Y,soon,900000000000000 days}'::text[])
       WITH ORDINALITY AS v (value, number),
     LATERAL (SELECT jsonb_build_object(k.key, v.value) AS given) AS g,
     LATERAL (SELECT CASE k.place
       WHEN 'flow' THEN flow('f', g.given, mail('m'))
       WHEN 'trigger' THEN flow('f', jsonb_build_object('trigger', '{"type": "date", "column": "last_order_at"}' || g.given), mail('m'))
       WHEN 'message' THEN flow('f', '{}', mail('m', g.given))
       WHEN 'delay' THEN flow('f', '{}', '{"id": "d", "type": "delay"}' || g.given)
       ELSE flow('f', '{}', '{"id": "w", "type": "wait_for", "condition": "true"}' || g.given) END AS document) AS d
LEFT JOIN LATERAL retention.validate_flow(d.document) AS p ON true
ORDER BY k.place, k.key, v.number;
-- Whatever the style of the session.
SET IntervalStyle = sql_standard;
SELECT p.* FROM retention.validate_flow(flow('f', '{}', '{"id": "d", "type": "delay", "for": "-1 month 40 days"}')) AS p;
RESET IntervalStyle;

-- Lengths and numbers.
SELECT c.what, short(p.path) AS path, short(p.problem) AS problem
FROM (VALUES
  (1, 'name', flow(repeat('x', 201), '{}', mail('m'))),
  (2, 'names as long as allowed', flow(repeat('x', 200), '{}', mail(repeat('y', 200)))),
  (3, 'blank name', flow(E' \n', '{}', mail('m'))),
  (4, 'description', flow('f', jsonb_build_object('description', repeat('x', 10001)), mail('m'))),
  (5, 'node id', flow('f', '{}', mail(repeat('x', 3000)))),
  (6, 'arm', flow('f', '{}', jsonb_build_object('id', 'r', 'type', 'random_split', 'arms', jsonb_build_array(jsonb_build_object('name', repeat('x', 201), 'share', 100))))),
  (7, 'outcome', flow('f', '{}', jsonb_build_object('id', 'r', 'type', 'exit', 'outcome', repeat('x', 201)))),
  (8, 'condition', flow('f', jsonb_build_object('filter', repeat('x', 20001)), mail('m'))),
  (9, 'depth of an expression', flow('f', jsonb_build_object('filter', repeat('(1 + ', 3000) || '1' || repeat(')', 3000) || ' > 0'), mail('m'))),
  (10, 'template', flow('f', '{}', mail('m', jsonb_build_object('body', repeat('x', 1048577))))),
  (11, 'name of data', flow('f', '{}', mail('m', jsonb_build_object('data', jsonb_build_object(repeat('x', 64), '1'))))),
  (12, 'empty name of data', flow('f', '{}', mail('m', '{"data": {"": "1"}}'))),
  (13, 'properties', flow('f', '{}', jsonb_build_object('id', 's', 'type', 'set_property', 'set', (SELECT jsonb_object_agg('p' || i, '1') FROM generate_series(1, 51) i)))),
  (14, 'variables', flow('f', '{}', mail('m', jsonb_build_object('body', (SELECT string_agg(format('{{ person.p%s|default:"" }}', i), '') FROM generate_series(1, 401) i))))),
  (15, 'name of a variable', flow('f', '{}', mail('m', jsonb_build_object('body', '{{ person.' || repeat('x', 64) || '|default:"" }}')))),
  (16, 'empty name of a variable', flow('f', '{}', mail('m', '{"body": "{{ person.\"\"|default:\"\" }}"}'))),
  (17, 'nodes', flow('f', '{}', VARIADIC ARRAY(SELECT mail('m' || i) FROM generate_series(1, 1001) i))),
  (18, 'branches', flow('f', '{}', jsonb_build_object('id', 's', 'type', 'split', 'branches', (SELECT jsonb_agg('{"when": "true"}'::jsonb) FROM generate_series(1, 1000) i)))),
  (19, 'document', flow('f', '{}', VARIADIC ARRAY(SELECT mail('m' || i, jsonb_build_object('body', repeat('x', 1000000))) FROM generate_series(1, 10) i))),
  (20, 'unknown key', flow('f', jsonb_build_object(repeat('x', 1000), 1), mail('m'))),
  (21, 'share', flow('f', '{"holdout": 1e400}', '{"id": "r", "type": "random_split", "arms": [{"name": "a", "share": "NaN"}]}')),
  (22, 'time of day', flow('f', '{}', '{"id": "d", "type": "delay", "at": "24:00"}')),
  -- What compiles, and yet can stand at no node.
  (23, 'aggregate of customers', flow('f', '{}', '{"id": "d", "type": "delay", "until": "max(last_order_at)", "next": "s"}', '{"id": "s", "type": "set_property", "set": {"x": "max(historic_number_of_orders)", "y": "max(historic_clv)"}}')),
  (24, 'rows', flow('f', '{}', '{"id": "d", "type": "delay", "until": "generate_series(now(), now(), interval ''1 day'')"}'))
) AS c (number, what, document)
LEFT JOIN LATERAL retention.validate_flow(c.document) AS p ON true
ORDER BY c.number, p.path COLLATE "C";

-- A thousand nodes are looked at in a while, whatever the ways between them: diamonds, a ring.
SELECT retention.add_coupon_pool('three', '{A,B,C}');
SET statement_timeout = '60s';
CREATE TEMP TABLE big AS
  SELECT kind, flow('big', '{}', VARIADIC ARRAY(
    SELECT (jsonb_build_object('id', 'n' || i, 'type', 'coupon', 'pool', 'three', 'next', 'n' || CASE WHEN i < 1000 THEN i + 1 ELSE 1 END)
      || CASE WHEN kind = 'diamonds' THEN jsonb_build_object('else', 'n' || least(i + 2, 1000)) ELSE '{}' END)
      - CASE WHEN i = 1000 AND kind <> 'ring' THEN '{next,else}'::text[] ELSE '{}' END
    FROM generate_series(1, 1000) i)) AS document
  FROM unnest('{diamonds,ring}'::text[]) AS kind;
SELECT b.kind, count(p.path), min(p.problem) FROM big b LEFT JOIN LATERAL retention.validate_flow(b.document) AS p ON true GROUP BY 1 ORDER BY 1;
RESET statement_timeout;

-- Circles: refused, unless every way round takes an hour, or a flow on it lets nobody in again.
CREATE FUNCTION circle(name text, next text, more jsonb DEFAULT '{"reentry": "always"}', wait text DEFAULT '59 minutes') RETURNS jsonb LANGUAGE sql AS $$
  SELECT flow(name, more, '{"id": "s", "type": "split", "branches": [{"when": "true", "next": "d"}], "else": "w"}',
    jsonb_build_object('id', 'd', 'type', 'delay', 'for', wait, 'next', 'e'),
    '{"id": "w", "type": "wait_for", "condition": "true", "timeout": "2 days", "next": "l", "else": "l"}', '{"id": "l", "type": "delay", "for": "2 hours", "next": "e"}',
    jsonb_build_object('id', 'e', 'type', 'enter_flow', 'flow', next))
$$;
SELECT go_live(flow('last', '{"reentry": "always"}', mail('m')));
SELECT go_live(circle('third', 'last')), go_live(circle('second', 'third')), go_live(circle('first', 'second'));
SELECT c.what, p.path, p.problem
FROM (VALUES
  (1, 'itself', circle('self', 'self')),
  (2, 'itself, an hour later', circle('self', 'self', wait => '1 hour')),
  (3, 'itself, never again', circle('self', 'self', '{}')),
  (4, 'itself, after a minute', circle('self', 'self', '{"reentry": "1 minute"}')),
  (5, 'itself, after a day', circle('self', 'self', '{"reentry": "1 day"}')),
  (6, 'through three', circle('last', 'first')),
  (7, 'through three, slowly', circle('last', 'first', wait => '30 days')),
  (8, 'through three, never again', circle('last', 'first', '{}')),
  (9, 'none', circle('zeroth', 'first'))
) AS c (number, what, document)
LEFT JOIN LATERAL retention.validate_flow(c.document) AS p ON true
ORDER BY c.number;
SELECT retention.create_flow(circle('last', 'first', wait => '30 days')), retention.publish('last');
-- One of them gets faster.
SELECT state, message, detail FROM failure($$SELECT retention.create_flow(flow_limits_test.circle('last', 'first'))$$);

-- Settings.
SELECT short(c.command) AS command, f.state, short(f.message) AS message, f.hint
FROM unnest(ARRAY[
  $$SELECT retention.add_metric(repeat('x', 201))$$, $$SELECT retention.add_metric('m', history => '10000 years')$$, $$SELECT retention.add_metric('m', history => '1 month -40 days')$$,
  $$SELECT retention.alter_metric('orders', refit_interval => '178000000 years')$$, $$SELECT retention.add_consumer(repeat('x', 201))$$, $$SELECT retention.add_consumer(NULL)$$,
  $$SELECT retention.add_segment('retention.win_back', repeat('x', 201))$$, $$SELECT retention.add_segment('retention.win_back', E'\t')$$,
  $$SELECT retention.add_coupon_pool(repeat('x', 201))$$, $$SELECT retention.add_coupon_pool('p', prefix => repeat('x', 201))$$,
  $$SELECT retention.add_coupon_pool('p', valid_for => '10000 years')$$, $$SELECT retention.add_coupon_pool('p', valid_for => '-1 day')$$,
  $$SELECT retention.add_coupon_pool('p', ARRAY[repeat('x', 201)])$$, $$SELECT retention.add_coupon_pool('p', ARRAY['a', NULL])$$,
  $$SELECT retention.claim_messages('email', lease => '10000 years')$$, $$SELECT retention.claim_messages('email', lease => '1 day -25 hours')$$, $$SELECT retention.claim_messages('email', lease => NULL)$$,
  $$SELECT retention.prune('178000000 years')$$, $$SELECT retention.backfill_history('orders', '2024-01-01', '2024-02-01', '1 month -29 days')$$,
  $$SELECT retention.simulate_flow('last', '2024-01-15', '2024-02-15', '1 month -29 days')$$, $$SELECT retention.simulate_flow('last', '2024-01-15', 'infinity')$$,
  $$SELECT retention.enroll('last', NULL)$$, $$SELECT retention.enroll('last', '')$$, $$SELECT retention.enroll('last', E' \n')$$, $$SELECT retention.enroll('last', repeat('x', 2001))$$,
  $$SELECT retention.enroll('last', repeat('x', 2000))$$, $$SELECT retention.enroll('last', 'c1', jsonb_build_object('a', repeat('x', 70000)))$$,
  $$INSERT INTO retention.contact (customer_id) VALUES (repeat('x', 2001))$$, $$SELECT retention.suppress('email', repeat('x', 2001))$$, $$SELECT retention.suppress('email', ' ')$$
]) AS c (command), LATERAL failure(c.command) AS f;
DELETE FROM retention.flow_entry;
-- No prefix is none.
SELECT retention.add_coupon_pool('bare', prefix => NULL);
SELECT go_live(flow('bare', '{}', '{"id": "c", "type": "coupon", "pool": "bare"}')), retention.enroll('bare', 'c1');
CALL retention.run_flows();
SELECT c.pool, length(c.code) FROM retention.coupon c WHERE c.issued_at IS NOT NULL;
DROP EXTENSION retention CASCADE;
DROP SCHEMA flow_limits_test CASCADE;
