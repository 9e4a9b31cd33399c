-- Which rule decides about a message, and what becomes of codes: cases that the reference interpreter of flows has found.
\set ECHO none
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION IF NOT EXISTS retention;
SET timezone = 'UTC';
SET retention.as_of = '2024-06-03 22:00+00';
CREATE FUNCTION go_live(name text, more jsonb, VARIADIC nodes jsonb[]) RETURNS void LANGUAGE sql AS $$
  SELECT FROM retention.create_flow(jsonb_build_object('name', name, 'trigger', '{"type": "manual"}'::jsonb, 'nodes', to_jsonb(nodes)) || more);
  SELECT FROM retention.publish(name);
  SELECT FROM retention.set_status(name, 'live');
$$;
CREATE FUNCTION message(more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT '{"id": "m", "type": "message", "channel": "email", "subject": "s", "body": "b", "smart_sending": false}'::jsonb || more
$$;
CREATE PROCEDURE enter(name text, keys text) LANGUAGE sql AS $$
  SELECT FROM (SELECT retention.enroll(name, k) FROM unnest(keys::text[]) AS k) AS e;
$$;
CREATE VIEW outbox AS
  SELECT f.flow, e.customer_id, coalesce(m.node, n.node) AS node, e.outcome, m.state, m.reason, m.address, m.attempts FROM retention.enrollment e JOIN retention.flow f USING (flow_id)
  JOIN retention.flow_node n ON n.node_id = e.node_id
  LEFT JOIN retention.message m USING (enrollment_id) ORDER BY f.flow_id, length(e.customer_id), e.customer_id, m.message_id;
INSERT INTO retention.contact (customer_id, email, phone, email_consent) SELECT i::text, 'c' || i || '@example.com', '+4860010020' || i, true FROM generate_series(1, 8) AS i;
SELECT retention.suppress('email', 'c1@example.com');
\set ECHO queries

-- The suppression list comes before lateness, quiet hours, and what expressions of the message say.
SELECT go_live('quiet', '{"quiet_hours": {"from": "21:00", "until": "08:00"}}', message()),
       go_live('late', '{}', '{"id": "d", "type": "delay", "for": "1 hour", "next": "m"}', message()),
       go_live('data', '{}', message('{"body": "{{ data.x }}", "data": {"x": "1 / (length(customer_id) - 1)"}}'));
CALL enter('quiet', '{1,2}');
CALL enter('late', '{1,2}');
CALL enter('data', '{1,2}');
CALL retention.run_flows();
SELECT * FROM outbox;
SET retention.as_of = '2024-06-10 22:00+00';
CALL retention.run_flows();
SELECT * FROM outbox;

-- What was tried in vain does not count, whichever message goes along.
SELECT go_live('first', '{}', message('{"smart_sending": "50 hours"}')),
       go_live('second', '{}', message('{"smart_sending": "50 hours", "next": "n"}'), message('{"id": "n"}'));
CALL enter('first', '{3}');
CALL retention.run_flows();
SELECT retention.fail(ARRAY(SELECT message_id FROM retention.message WHERE customer_id = '3'), 'x', permanent => true)
FROM (SELECT count(*) FROM retention.claim_messages('email')) AS c;
SET retention.as_of = '2024-06-11 22:00+00';
CALL enter('second', '{3}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE customer_id = '3';

-- A code stays for a message on another channel, and goes back from those who wait but are past all that show it.
SELECT retention.add_coupon_pool('five', '{P,Q,R,S,T}');
SELECT go_live('channels', '{}', '{"id": "c", "type": "coupon", "pool": "five", "next": "t"}', message('{"id": "t", "channel": "sms", "next": "d"}'),
               '{"id": "d", "type": "delay", "for": "1 hour", "next": "m"}', message('{"body": "{{ coupon.code }}"}')),
       go_live('past', '{}', '{"id": "c", "type": "coupon", "pool": "five", "next": "s"}',
               '{"id": "s", "type": "split", "branches": [{"when": "customer_id = ''5''", "next": "d"}], "else": "m"}', message('{"body": "{{ coupon.code }}"}'),
               '{"id": "d", "type": "delay", "for": "1 hour"}');
CALL enter('channels', '{4}');
CALL enter('past', '{5,6}');
CALL retention.run_flows();
SELECT customer_id, node, code FROM retention.coupon ORDER BY code;
SET retention.as_of = '2024-06-11 23:00+00';
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow IN ('channels', 'past');

-- One per address: webhooks have no time within which; an address that a message was not sent to after all is free;
-- and what no sender has had was no attempt.
SELECT go_live('hook', '{"one_per_address": true}', message('{"channel": "webhook", "url": "https://example.com"}')), go_live('one', '{}', message());
CALL enter('hook', '{7,8}');
CALL enter('one', '{7,8}');
CALL retention.run_flows();
UPDATE retention.contact SET email = 'c8@example.com' WHERE customer_id = '7';
SELECT customer_id, address FROM retention.claim_messages('email');
SELECT * FROM outbox WHERE flow IN ('hook', 'one');
INSERT INTO retention.contact (customer_id, email, email_consent) VALUES ('9', 'c9@example.com', true), ('10', 'C9@example.com', true);
CALL enter('one', '{9}');
CALL retention.run_flows();
UPDATE retention.contact SET email = 'new@example.com' WHERE customer_id = '9';
SELECT customer_id, address FROM retention.claim_messages('email');
CALL enter('one', '{10}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE customer_id IN ('9', '10');

-- An address of blanks is none, when the message is written and when it is claimed.
INSERT INTO retention.contact (customer_id, email, email_consent)
  VALUES ('11', E' \t', true), ('12', 'c12@example.com', true);
CALL enter('one', '{11,12}');
CALL retention.run_flows();
UPDATE retention.contact SET email = '  ' WHERE customer_id = '12';
SELECT customer_id, address FROM retention.claim_messages('email');
SELECT * FROM outbox WHERE customer_id IN ('11', '12');

SET client_min_messages = warning;
DROP EXTENSION retention CASCADE;
DROP FUNCTION go_live, message;
DROP PROCEDURE enter;
