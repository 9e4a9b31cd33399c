-- Coupons: issued to who can be written to, back when nobody has seen them, never twice.
\set ECHO none
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION IF NOT EXISTS retention;
SET retention.as_of = '2024-06-03 10:00+00';
CREATE FUNCTION go_live(name text, VARIADIC nodes jsonb[]) RETURNS void LANGUAGE sql AS $$
  SELECT FROM retention.create_flow(jsonb_build_object('name', name, 'trigger', '{"type": "manual"}'::jsonb, 'nodes', to_jsonb(nodes)));
  SELECT FROM retention.publish(name);
  SELECT FROM retention.set_status(name, 'live');
$$;
CREATE FUNCTION coupon(pool text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', 'code', 'type', 'coupon', 'pool', pool, 'next', 'm') || more
$$;
CREATE FUNCTION message(more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT '{"id": "m", "type": "message", "channel": "email", "subject": "s", "body": "{{ coupon.code }}", "smart_sending": false}'::jsonb || more
$$;
CREATE PROCEDURE enter(name text, keys text) LANGUAGE sql AS $$
  SELECT FROM (SELECT retention.enroll(name, k) FROM unnest(keys::text[]) AS k) AS e;
$$;
CREATE VIEW outbox AS
  SELECT f.flow, e.customer_id, coalesce(m.state, e.outcome) AS state, m.reason, m.body, c.code FROM retention.enrollment e JOIN retention.flow f USING (flow_id)
  LEFT JOIN retention.message m USING (enrollment_id) LEFT JOIN retention.coupon c USING (enrollment_id) ORDER BY f.flow_id, length(e.customer_id), e.customer_id, m.message_id;
CREATE VIEW free AS SELECT pool, array_agg(code ORDER BY code) AS codes FROM retention.coupon WHERE issued_at IS NULL GROUP BY pool;
INSERT INTO retention.contact (customer_id, email, email_consent) SELECT i::text, 'c' || i || '@example.com', i <= 10 FROM generate_series(1, 12) AS i;
\set ECHO queries

-- 11 has no consent, nobody has 99's address, 3 is on the list: the codes are for the others.
SELECT retention.add_coupon_pool('three', '{A,B,C}'), retention.suppress('email', 'c3@example.com');
SELECT go_live('first', coupon('three'), message());
CALL enter('first', '{11,99,3,1,2}');
CALL retention.run_flows();
SELECT * FROM outbox;
SELECT * FROM free;
-- Without else who finds none ends; who cannot be written to goes on as ever.
CALL enter('first', '{4,5,12}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE customer_id IN ('4', '5', '12');
-- Back by a cancelled message, one that is dead, one that is suppressed when it is claimed; what a sender has had and lost is not free again.
SELECT retention.cancel(ARRAY(SELECT message_id FROM retention.message WHERE customer_id = '1'));
SELECT * FROM free;
SELECT customer_id FROM retention.claim_messages('email', 1);
UPDATE retention.contact SET email_consent = false WHERE customer_id = '4';
SELECT customer_id FROM retention.claim_messages('email');
SELECT * FROM free;
SET retention.as_of = '2024-06-05 10:00+00';
SELECT customer_id FROM retention.claim_messages('email');
SELECT customer_id, state, reason, attempts FROM retention.message WHERE body IS NOT NULL ORDER BY customer_id;
SELECT * FROM free;
SELECT go_live('dead', coupon('three'), message());
CALL enter('dead', '{6}');
CALL retention.run_flows();
SELECT * FROM free;
SELECT retention.fail(ARRAY(SELECT message_id FROM retention.claim_messages('email')), '550', permanent => true);
SELECT * FROM free;
CALL enter('dead', '{7}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow = 'dead';
-- Revived, it would show a code that somebody else may have.
UPDATE retention.message SET state = 'ready', ready_at = retention.now(), expires_at = 'infinity' WHERE state = 'dead';
SELECT customer_id, body FROM retention.claim_messages('email');
SELECT * FROM outbox WHERE flow = 'dead';

-- Smart sending, drafts, an exit before the message, archiving; a later message that shows it keeps it.
SELECT retention.add_coupon_pool('five', '{P,Q,R,S,T}');
SELECT go_live('smart', coupon('five'), message('{"smart_sending": "9 days"}')), go_live('draft', coupon('five'), message('{"status": "draft"}')),
       go_live('unseen', coupon('five'), message('{"body": "no code"}')),
       go_live('twice', coupon('five'), message('{"smart_sending": "9 days", "next": "wait"}'), '{"id": "wait", "type": "delay", "for": "2 days", "next": "again"}', message('{"id": "again"}'));
CALL enter('smart', '{7,8}');
CALL enter('draft', '{8}');
CALL enter('unseen', '{8}');
CALL enter('twice', '{7}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow IN ('smart', 'draft', 'unseen', 'twice');
SELECT * FROM free;
SET retention.as_of = '2024-06-07 10:00+00';
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow = 'twice';
SELECT retention.set_status('twice', 'archived'), retention.set_status('smart', 'archived');
SELECT * FROM outbox WHERE flow IN ('twice', 'smart');
SELECT * FROM free;

-- Generated codes: one that is there already is drawn anew; those that go back are deleted.
SELECT retention.add_coupon_pool('random', prefix => 'X', length => 6);
CREATE OR REPLACE FUNCTION retention._random_code(length integer) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT chr(65 + floor(random() * 4)::integer)';
INSERT INTO retention.coupon (pool, code, issued_at) VALUES ('random', 'XA', now());
SELECT go_live('random', coupon('random', '{"else": "m"}'), message('{"body": "{{ coupon.code|default:\"none\" }}"}'));
CALL enter('random', '{1,2,5,7,11}');
CALL retention.run_flows();
SELECT state, reason, (body = 'none') AS none, body = code AS shown, count(*) FROM outbox WHERE flow = 'random' GROUP BY 1, 2, 3, 4 ORDER BY 3;
SELECT code FROM retention.coupon WHERE pool = 'random' ORDER BY code;
SELECT retention.cancel(ARRAY(SELECT message_id FROM retention.message WHERE body LIKE 'X%'));
SELECT code FROM retention.coupon WHERE pool = 'random' ORDER BY code;

SET client_min_messages = warning;
DROP EXTENSION retention CASCADE;
DROP FUNCTION go_live, coupon, message;
DROP PROCEDURE enter;
