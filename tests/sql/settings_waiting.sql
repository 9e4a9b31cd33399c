-- Who waits for a condition, with a change of settings and without: the same messages, unless the settings still rule out what
-- is waited for. Each case is a few steps, of which 'change' is left out the first time.
\set ECHO none
SET client_min_messages = error;
SET retention.progress = off;
\set VERBOSITY terse
CREATE EXTENSION IF NOT EXISTS retention;
SET TimeZone = 'UTC';
SET retention.as_of = '2024-06-03 12:00+00';
CREATE SCHEMA waiting_test;
SET search_path = waiting_test;
CREATE TABLE orders (order_id text PRIMARY KEY, customer_id text, ordered_at timestamptz, amount numeric);
INSERT INTO orders SELECT order_id, customer_id, ordered_at, amount FROM retention.simulate_orders(600, '2021-06-01', '2024-06-03');
-- Their last orders are 200 days ago, which is a recency score of 2.
INSERT INTO orders SELECT c || n, c, timestamptz '2023-11-16 12:00+00' - n * interval '40 days', 20 FROM unnest('{A,B}'::text[]) AS c, generate_series(0, 5) AS n;
CREATE INDEX ON orders (customer_id);
CREATE VIEW lapsed AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND r = 1;
SELECT FROM retention.add_source('orders', order_id => 'order_id'), retention.track('orders');
SELECT FROM unnest('{retention.churn_risk_high,lapsed}'::regclass[]) AS s, retention.add_segment(s);
CALL retention.refresh();
INSERT INTO retention.contact (customer_id, email, email_consent) SELECT customer_id, customer_id || '@example.com', true FROM retention.customer;
CREATE TABLE flag AS SELECT true AS is_set;
CREATE FUNCTION go_live(name text, start jsonb, VARIADIC nodes jsonb[]) RETURNS void LANGUAGE sql AS $$
  SELECT FROM retention.create_flow(jsonb_build_object('name', name, 'trigger', start, 'nodes', to_jsonb(nodes)));
  SELECT FROM retention.publish(name);
  SELECT FROM retention.set_status(name, 'live');
$$;
CREATE FUNCTION mail(id text) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'type', 'message', 'channel', 'email', 'subject', id, 'body', 'b');
$$;
CREATE FUNCTION run() RETURNS void LANGUAGE plpgsql AS $$ BEGIN WHILE (SELECT looked_at FROM retention.run_flows_once()) > 0 LOOP END LOOP; END $$;
CREATE FUNCTION at(t timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT set_config('retention.as_of', t::text, false) $$;
CREATE FUNCTION wait(condition text, who text[] DEFAULT '{A}') RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  PERFORM go_live('w', '{"type": "manual"}', jsonb_build_object('id', 'w', 'type', 'wait_for', 'condition', condition, 'timeout', '14 days', 'next', 'yes', 'else', 'no'),
    mail('yes') || '{"next": "end"}', '{"id": "end", "type": "exit"}', mail('no'));
  PERFORM retention.enroll('w', k) FROM unnest(who) AS k;
  PERFORM run();
END $$;
CREATE FUNCTION night() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL retention.refresh(); CALL retention.process_changes(); PERFORM run(); END $$;
CREATE FUNCTION buy(who text, day text, processed boolean DEFAULT true) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  PERFORM at(greatest(day::timestamptz, retention.now()) + interval '10 minutes');
  INSERT INTO orders VALUES (who || day, who, day::timestamptz, 20);
  IF processed THEN CALL retention.process_changes(); PERFORM run(); END IF;
END $$;
CREATE FUNCTION played(steps text[], OUT messages text) LANGUAGE plpgsql AS $$
DECLARE
  step text;
BEGIN
  FOREACH step IN ARRAY steps LOOP EXECUTE step; END LOOP;
  messages := (SELECT string_agg(format('%s %s', customer_id, subject), ', ' ORDER BY customer_id, message_id) FROM retention.message);
  RAISE EXCEPTION USING ERRCODE = 'RTWTG';
EXCEPTION WHEN SQLSTATE 'RTWTG' THEN
END $$;
CREATE FUNCTION alter(arguments text) RETURNS text LANGUAGE sql AS $$ SELECT format('SELECT retention.alter_metric(''orders'', %s)', arguments) $$;
CREATE TABLE story (number integer GENERATED ALWAYS AS IDENTITY, name text, steps text[]);
INSERT INTO story (name, steps) VALUES
  ('a limit makes it hold', ARRAY[$$SELECT wait('r = 3')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', $$SELECT at('2024-06-04 13:00+00')$$, 'SELECT run()']),
  ('and then an order', ARRAY[$$SELECT wait('r = 3')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', $$SELECT buy('A', '2024-06-03 13:00+00')$$, $$SELECT at('2024-06-04 13:00+00')$$, 'SELECT night()']),
  ('an order, then taken back', ARRAY[$$SELECT wait('r = 3')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', $$SELECT buy('A', '2024-06-03 11:00+00')$$, 'change:' || alter($$reset => '{recency_limits}'$$), 'SELECT night()']),
  ('orders between the change and its refresh', ARRAY[$$SELECT wait('r = 3', '{A,B}')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), $$SELECT buy('A', '2024-06-03 11:00+00')$$, 'SELECT night()', $$SELECT at('2024-06-04 13:00+00')$$, 'SELECT run()']),
  ('other models, and an order that the refresh finds', ARRAY[$$SELECT wait('last_order_at > entered_at')$$, 'change:' || alter($$purchase_model => 'bgnbd'$$), $$SELECT at('2024-06-03 18:00+00')$$, $$SELECT buy('A', '2024-06-03 17:00+00', false)$$, 'SELECT night()', $$SELECT at('2024-06-18 12:00+00')$$, 'SELECT run()']),
  ('other models, and a segment of theirs', ARRAY[$$SELECT wait('EXISTS (SELECT FROM retention.segment_member s WHERE s.segment = ''churn_risk_high'' AND s.customer_id = person.customer_id)', ARRAY(SELECT customer_id FROM retention.profile WHERE churn_risk <> 'high'))$$, 'change:' || alter($$purchase_model => 'bgnbd'$$), 'SELECT night()', $$SELECT at('2024-06-05 12:00+00')$$, 'SELECT run()']),
  ('nothing that a condition depends on, then an order before the daily look', ARRAY[$$SELECT wait('days_since_last_order >= 201')$$, $$SELECT at('2024-06-04 00:30+00')$$, 'change:' || alter('loss_limit => 0.9'), 'SELECT run()', $$SELECT buy('A', '2024-06-04 00:20+00')$$, $$SELECT at('2024-06-06 12:30+00')$$, 'SELECT run()']),
  ('the same with what it may depend on', ARRAY[$$SELECT wait('days_since_last_order >= 201')$$, $$SELECT at('2024-06-04 00:30+00')$$, 'change:' || alter('discount_rate => 0.5'), 'SELECT run()', $$SELECT buy('A', '2024-06-04 00:20+00')$$, $$SELECT at('2024-06-06 12:30+00')$$, 'SELECT run()']),
  ('time, before the change', ARRAY[$$SELECT wait('days_since_last_order >= 201')$$, $$SELECT at('2024-06-04 00:30+00')$$, 'change:' || alter('discount_rate => 0.5'), 'SELECT run()', $$SELECT at('2024-06-04 12:30+00')$$, 'SELECT run()']),
  ('there and back', ARRAY[$$SELECT wait('days_since_last_order > 200 AND churn_risk IS NOT NULL AND churn_risk <> ''high'' OR days_since_last_order > 200 AND churn_risk = ''high''')$$, $$SELECT at('2024-06-04 09:00+00')$$, 'change:' || alter($$churn_levels => '{0.001,0.002}'$$), 'change:' || alter($$reset => '{churn_levels}'$$), $$SELECT at('2024-06-04 13:00+00')$$, 'SELECT run()']),
  ('a condition that fails meanwhile', ARRAY[$$SELECT wait('r = 3 AND (SELECT is_set FROM waiting_test.flag)')$$, 'ALTER TABLE flag RENAME TO hidden', 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', 'change:' || alter('discount_rate => 0.5'), 'ALTER TABLE hidden RENAME TO flag', $$SELECT at('2024-06-05 12:00+00')$$, 'SELECT run()']),
  ('another version with another condition', ARRAY[$$SELECT wait('r = 3')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()',
    $$SELECT retention.create_flow(jsonb_set(v.document, '{nodes,0,condition}', '"last_order_at > ''2024-06-03''"')) FROM retention.flow_version v$$, $$SELECT retention.publish('w'), retention.migrate_flow('w', 1)$$, $$SELECT buy('A', '2024-06-03 11:00+00')$$]),
  ('a flow that is paused and goes on', ARRAY[$$SELECT wait('r = 3')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', $$SELECT retention.set_status('w', 'paused')$$, $$SELECT retention.set_status('w', 'live')$$, $$SELECT at('2024-06-05 12:00+00')$$, 'SELECT run()']),
  ('contacts that are written as they are', ARRAY[$$SELECT wait('r = 3')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', 'UPDATE retention.contact SET email = email', 'UPDATE orders SET amount = amount', 'CALL retention.process_changes()', 'SELECT run()']),
  ('an order that has not been looked at yet', ARRAY[$$SELECT wait('f = 3')$$, $$SELECT buy('A', '2024-06-03 11:58+00', false)$$, 'CALL retention.process_changes()', 'change:' || alter($$frequency_values => '{1,2}'$$), 'SELECT night()']),
  ('an order just before the daily look', ARRAY[$$SELECT wait('r = 3')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', $$SELECT buy('A', '2024-06-04 11:50+00')$$, 'SELECT run()']),
  ('an order before the timeout', ARRAY[$$SELECT wait('r = 3')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', $$SELECT buy('A', '2024-06-17 11:50+00', false)$$, 'CALL retention.process_changes()', $$SELECT at('2024-06-17 12:00+00')$$, 'SELECT run()']),
  ('an order during a pause', ARRAY[$$SELECT wait('r = 3')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', $$SELECT retention.set_status('w', 'paused')$$, $$SELECT buy('A', '2024-06-03 13:00+00')$$, $$SELECT retention.set_status('w', 'live')$$, $$SELECT at('2024-06-05 12:05+00')$$, 'SELECT run()']),
  ('an order, and the rest a day later', ARRAY[$$SELECT wait('r = 3 AND days_since_last_order > 0')$$, 'change:' || alter($$recency_limits => '{365,210}'$$), 'SELECT night()', $$SELECT buy('A', '2024-06-03 23:30+00')$$, $$SELECT at('2024-06-04 12:05+00')$$, 'SELECT run()']),
  ('a metric that is reset', ARRAY[$$SELECT wait('rfm_group IS NULL')$$, $$change:SELECT retention.reset_metric('orders')$$, $$SELECT at('2024-06-05 12:00+00')$$, 'SELECT run()', 'CALL retention.refresh()', 'SELECT run()']),
  ('the models'' judgement turns, and time', ARRAY[$$SELECT go_live('win_back', '{"type": "segment", "segment": "lapsed"}', mail('back'))$$,
    $$change:UPDATE retention.published_model SET is_off = NOT is_off$$, $$SELECT at('2024-06-20 12:00+00')$$, 'SELECT night()']);
\set ECHO queries
SELECT s.name, played(ARRAY(SELECT u FROM unnest(steps) AS u WHERE u NOT LIKE 'change:%')) AS without, played(ARRAY(SELECT replace(u, 'change:', '') FROM unnest(steps) AS u)) AS with_change FROM story s ORDER BY number;
\set ECHO none
DROP EXTENSION retention CASCADE;
DROP SCHEMA waiting_test CASCADE;
