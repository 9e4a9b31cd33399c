-- What is live can work, and what is wrong can be seen.
SET client_min_messages = error;
SET TimeZone = 'UTC';
SET retention.progress = off;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA health_test;
SET search_path = health_test;
SET retention.as_of = '2024-06-01 12:00+00';
CREATE FUNCTION failure(command text) RETURNS TABLE (message text, hint text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  RETURN NEXT;
END $$;
CREATE FUNCTION draft(name text, more jsonb, VARIADIC nodes jsonb[]) RETURNS text LANGUAGE sql AS $$
  SELECT retention.create_flow(
    jsonb_build_object('name', name, 'trigger', '{"type": "manual"}'::jsonb, 'nodes', to_jsonb(nodes))
    || more)
$$;
CREATE FUNCTION mail(id text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'type', 'message', 'channel', 'email', 'subject', 'S',
                            'body', 'B', 'smart_sending', false) || more
$$;

-- A trigger of orders or refunds needs a source that records them.
CREATE TABLE orders (order_id integer, customer_id text, ordered_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
CREATE TABLE refunds (LIKE orders INCLUDING ALL);
SELECT draft('order', '{"trigger": {"type": "order"}}', mail('m')),
       draft('refund', '{"trigger": {"type": "refund"}}', mail('m')),
       draft('web', '{"metric": "web", "trigger": {"type": "order"}}', mail('m')) FROM retention.add_metric('web');
SELECT * FROM failure($$SELECT retention.publish('order')$$);
SELECT retention.add_source('orders', order_id => 'order_id', events => false) AS source \gset
SELECT * FROM failure($$SELECT retention.publish('order')$$);
SELECT retention.drop_source(:source);
SELECT retention.add_source('orders', order_id => 'order_id') > 0 AS added;
SELECT retention.publish('order');
SELECT * FROM failure($$SELECT retention.publish('refund')$$);
SELECT retention.add_source('refunds', order_id => 'order_id', kind => 'refund') > 0 AS added;
SELECT retention.publish('refund');
SELECT * FROM failure($$SELECT retention.publish('web')$$);
SELECT retention.add_source('orders', order_id => 'order_id', events => false, metric => 'web') > 0 AS silent,
       retention.add_source('refunds', order_id => 'order_id', metric => 'web') > 0 AS telling;
SELECT retention.publish('web');
