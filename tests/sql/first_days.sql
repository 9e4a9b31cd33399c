-- What a new user writes: words that no message has, numbers without a unit, keys as the shop has them, sources as the README adds them.
\set ECHO none
SET client_min_messages = warning;
SET retention.progress = off;
CREATE EXTENSION IF NOT EXISTS retention;
SET retention.as_of = '2024-06-03 10:00+00';
CREATE FUNCTION problems(message jsonb, more jsonb DEFAULT '{}') RETURNS TABLE (path text, problem text) LANGUAGE sql AS $$
  SELECT * FROM retention.validate_flow(jsonb_build_object('name', 'f', 'trigger', '{"type": "manual"}'::jsonb,
    'nodes', jsonb_build_array('{"id": "m", "type": "message", "channel": "email", "subject": "s", "body": "b"}'::jsonb || message)) || more)
$$;
SELECT FROM retention.add_coupon_pool('p');
\set ECHO queries

-- Errors say what is wrong and what to do, and not where in our functions it was noticed.
SELECT retention.create_flow('{"name": "f", "trigger": {"type": "manual"}, "nodes": []}');
SELECT retention.add_metric('orders', history => '30');
SELECT retention.enroll('none', 'c');
-- Words of templates.
SELECT * FROM problems('{"subject": "Hi {{ persn.first_name }}", "body": "{% if order.amount > 3 %}{{ person.anything }}{% endif %}", "text": "{{ coupon.code|default:\"none\" }}"}');
SELECT * FROM problems('{"subject": "{{ data.naem }} {{ data.name }} {{ data }}", "body": "{{ flow.id }} {{ flow.name }} {{ message.name }} {{ message.id }}", "data": {"name": "locale"}}');
SELECT * FROM problems('{"body": "{% for item in event.items %}{{ item.name }}{% endfor %}{{ person.properties.vip }}{{ event }}{{ person.\"first name\" }}"}');
SELECT * FROM retention.validate_flow('{"name": "c", "trigger": {"type": "manual"}, "nodes": [{"id": "c", "type": "coupon", "pool": "p", "next": "m"},
  {"id": "m", "type": "message", "channel": "email", "subject": "{{ coupon.cod }}", "body": "{{ coupon.code }} {{ coupon.expires_at }}"}]}') WHERE path LIKE '%subject';
-- Numbers without a unit would be seconds.
SELECT * FROM problems('{"smart_sending": "16", "lateness": " 2.5 "}', '{"reentry": "30"}');
SELECT * FROM retention.validate_flow('{"name": "d", "trigger": {"type": "order", "max_age": "3"}, "nodes": [{"id": "a", "type": "delay", "for": "0", "next": "b"}, {"id": "b", "type": "delay", "for": "7", "next": "c"},
  {"id": "c", "type": "wait_for", "condition": "true", "timeout": "90 minutes"}]}');
-- Keys as numbers and as uuids.
CREATE TABLE orders (customer_id bigint, order_id integer PRIMARY KEY, ordered_at timestamptz, amount numeric);
INSERT INTO orders SELECT i % 5, i, timestamptz '2024-06-01' - i * interval '9 days', 7 FROM generate_series(1, 20) i;
SELECT retention.add_source('orders', order_id => 'order_id') > 0 AS added, retention.track('orders');
CALL retention.refresh();
SELECT count(*) FROM retention.explain_score(3);
SELECT count(*) FROM retention.explain_score(customer_id => 3::bigint, metric => 'orders');
SELECT count(*) FROM retention.explain_score('3');
SELECT count(*) > 0 AS days FROM retention.churn_history(3::smallint);
SELECT retention.create_flow('{"name": "hello", "trigger": {"type": "order"}, "concurrent": true, "reentry": "always", "nodes": [{"id": "end", "type": "exit"}]}');
SELECT retention.publish('hello'), retention.set_status('hello', 'live');
SELECT retention.enroll('hello', 3), retention.enroll('hello', '5b2c6ae6-3c5e-4e56-9d65-0f0a3f9c9a11'::uuid, '{"from": "web"}'), retention.enroll('hello', '7');
SELECT customer_id, event FROM retention.flow_entry ORDER BY number;
SELECT count(*) FROM retention.merge_customers(4, 3);
SELECT merged_into FROM retention.merged_customer;
SELECT count(*) > 0 AS removed FROM retention.forget('5b2c6ae6-3c5e-4e56-9d65-0f0a3f9c9a11'::uuid);
SELECT customer_id FROM retention.flow_entry ORDER BY number;
SELECT p.oid::regprocedure AS function FROM pg_proc p
  WHERE p.pronamespace = 'retention'::regnamespace AND p.proargtypes::oid[] && '{uuid}'::regtype[]::oid[] ORDER BY 1;
-- A source with an order id records its orders from then on, and not those before.
INSERT INTO orders VALUES (1, 100, '2024-06-03 09:59+00', 5), (2, 101, '2024-06-03 10:00+00', 5);
CALL retention.process_changes('orders');
SELECT order_id FROM retention.order_event;
CALL retention.run_flows();
SELECT customer_id, outcome FROM retention.flow_enrollment ORDER BY customer_id;
SELECT events_from IS NOT NULL AS records FROM retention.source;
CREATE TABLE others AS TABLE orders;
SELECT retention.add_metric('none'), retention.add_source('others', order_id => 'order_id', events => false, metric => 'none') > 0 AS added;
SELECT retention.add_metric('without'), retention.add_source('others', metric => 'without') > 0 AS added;
SELECT metric FROM retention.source WHERE events_from IS NULL ORDER BY metric;
-- A metric's name, or a time.
CALL retention.process_changes('2024-06-03 11:00+00');
CALL retention.process_changes('ordres');
CALL retention.process_changes(NULL::text);
-- Which database is home: no copy is made by going live again.
SELECT count(*) FROM retention.flow_home;
UPDATE retention.flow_home SET here = 'elsewhere';
CALL retention.run_flows();
SELECT count(*) FROM retention.claim_messages('email');
SELECT retention.set_status('hello', 'paused');
SELECT retention.set_status('hello', 'live');
SELECT retention.resume_here();
SELECT retention.set_status('hello', 'live');
CALL retention.run_flows();
SELECT retention._is_copy();
\set ECHO none
DROP TABLE orders, others;
DROP EXTENSION retention CASCADE;
DROP FUNCTION problems;
