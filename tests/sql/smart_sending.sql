-- Smart sending counts what was sent or still may be; one address gets one message of a node.
\set ECHO none
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION IF NOT EXISTS retention;
SET retention.as_of = '2024-06-03 10:00+00';
CREATE FUNCTION go_live(name text, more jsonb DEFAULT '{}', keys jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS $$
  SELECT FROM retention.create_flow(jsonb_build_object('name', name, 'trigger', '{"type": "manual"}'::jsonb, 'nodes',
           jsonb_build_array('{"id": "m", "type": "message", "channel": "email", "subject": "s", "body": "b"}'::jsonb || more)) || keys);
  SELECT FROM retention.publish(name);
  SELECT FROM retention.set_status(name, 'live');
$$;
CREATE VIEW outbox AS
  SELECT f.flow, customer_id, state, reason FROM retention.message m JOIN retention.flow f USING (flow_id) ORDER BY f.flow_id, length(customer_id), customer_id;
CREATE PROCEDURE enter(name text, keys text) LANGUAGE sql AS $$
  SELECT FROM (SELECT retention.enroll(name, k) FROM unnest(keys::text[]) AS k) AS e;
$$;
INSERT INTO retention.contact (customer_id, email, email_consent) SELECT i::text, 'c' || i || '@example.com', true FROM generate_series(1, 12) AS i;
\set ECHO queries

-- Every way in which a message ends unsent; 1 and 2 were sent, or still may be.
SELECT go_live('first', '{"lateness": "1 hour"}');
CALL enter('first', '{1,2,3,4,5,6,7,8}');
CALL retention.run_flows();
SELECT retention.cancel(ARRAY(SELECT message_id FROM retention.message WHERE customer_id = '3'));
UPDATE retention.contact SET email_consent = false WHERE customer_id = '4';
SELECT retention.suppress('email', 'C5@example.com');
SELECT retention.ack(ARRAY(SELECT message_id FROM retention.claim_messages('email', 1)));
SELECT customer_id FROM retention.claim_messages('email', 10);
UPDATE retention.message SET state = 'held', reason = 'approval' WHERE customer_id = '2';
SELECT retention.fail(ARRAY(SELECT message_id FROM retention.message WHERE customer_id = '6'), '550', permanent => true);
SET retention.as_of = '2024-06-03 12:00+00';
SELECT count(*) AS late FROM retention.claim_messages('email', 10);
UPDATE retention.contact SET email_consent = true;
DELETE FROM retention.suppression;
SELECT * FROM outbox;
SELECT go_live('second');
CALL enter('second', '{1,2,3,4,5,6,7,8}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow = 'second';
-- What was archived; what was revived counts again.
SELECT retention.set_status('second', 'archived');
UPDATE retention.message SET state = 'ready', ready_at = retention.now(), expires_at = 'infinity' WHERE state = 'dead';
SELECT go_live('third', '{"smart_sending": "20 hours"}');
CALL enter('third', '{1,3,6,7}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow IN ('second', 'third');
-- The one before an unsent one counts, if it was sent: 1 at 10:00.
SET retention.as_of = '2024-06-04 01:00+00';
SELECT go_live('fourth', '{"smart_sending": "1 hour"}');
CALL enter('fourth', '{1,9}');
CALL retention.run_flows();
SELECT retention.cancel(ARRAY(SELECT message_id FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow = 'fourth'));
SELECT go_live('fifth');
CALL enter('fifth', '{1,9}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow IN ('fourth', 'fifth');

-- One address: 1 and 2 are written alike. Another flow's message is another one; so is a transactional one, one a day later, and what the flow allows.
SET retention.as_of = '2024-07-01 10:00+00';
UPDATE retention.contact SET email = 'Family@example.com' WHERE customer_id IN ('1', '2');
UPDATE retention.contact SET email = ' family@EXAMPLE.com' WHERE customer_id = '3';
SELECT go_live('news'), go_live('more', '{"smart_sending": false}'), go_live('receipt', '{"transactional": true}'),
       go_live('all', '{"smart_sending": false}', '{"one_per_address": false, "reentry": "always"}'),
       go_live('each', '{"smart_sending": false, "one_per_address": true, "transactional": true}', '{"one_per_address": false}');
CALL enter('news', '{2,1,3,4}');
CALL enter('more', '{1,2,4}');
CALL enter('receipt', '{1,2}');
CALL enter('all', '{1,2}');
CALL enter('each', '{1,2}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow IN ('news', 'more', 'receipt', 'all', 'each');
-- Not by what was not sent, and not by one's own.
SELECT retention.cancel(ARRAY(SELECT message_id FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE f.flow = 'more' AND customer_id = '1'));
CALL enter('more', '{3}');
CALL enter('all', '{1}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow IN ('more', 'all');
-- The address changes before the claim.
SET retention.as_of = '2024-07-03 10:00+00';
SELECT go_live('later');
CALL enter('later', '{5,6,7}');
CALL retention.run_flows();
UPDATE retention.contact SET email = 'c5@example.com' WHERE customer_id = '6';
SELECT flow, customer_id, address FROM retention.claim_messages('email', 100) WHERE flow = 'later';
SELECT * FROM outbox WHERE flow = 'later';
-- After the time of smart sending, it is another message.
SELECT go_live('again', '{"smart_sending": "1 hour"}', '{"reentry": "always"}');
CALL enter('again', '{1,2}');
CALL retention.run_flows();
SET retention.as_of = '2024-07-03 11:00+00';
CALL enter('again', '{2}');
CALL retention.run_flows();
SELECT * FROM outbox WHERE flow = 'again';

SET client_min_messages = warning;
DROP EXTENSION retention CASCADE;
DROP FUNCTION go_live;
DROP PROCEDURE enter;
