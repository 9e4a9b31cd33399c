-- An oracle for order events and the reports of flows: after every step of random histories they say what plain SQL
-- makes of the shop's tables: corrected, deleted, refunded, moved to other dates and other customers.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA attribution_test;
SET search_path = attribution_test;
SET TimeZone = 'UTC';
SET retention.progress = off;

-- One shop, and two metrics of it: by the time of orders, and by their day.
CREATE TABLE orders (id integer, customer_id text, ordered_at timestamptz, amount numeric);
CREATE TABLE refunds (id integer, customer_id text, refunded_at timestamptz, amount numeric);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON refunds (customer_id);
CREATE VIEW order_days AS SELECT id, customer_id, (ordered_at AT TIME ZONE 'Europe/Warsaw')::date AS day, amount FROM orders;
CREATE VIEW refund_days AS SELECT id, customer_id, (refunded_at AT TIME ZONE 'Europe/Warsaw')::date AS day, amount FROM refunds;
SET retention.as_of = '2024-06-01';
SELECT retention.add_metric('orders', refit_interval => '3000 days'),
       retention.add_metric('days', time_zone => 'Europe/Warsaw', refit_interval => '3000 days');
SELECT count(retention.add_source(relation, ordered_at => ordered_at, order_id => 'id', kind => kind, metric => metric, events => true))
FROM (VALUES ('orders'::regclass, 'ordered_at'::name, 'order', 'orders'), ('refunds', 'refunded_at', 'refund', 'orders'),
             ('order_days', 'day', 'order', 'days'), ('refund_days', 'day', 'refund', 'days')) AS s (relation, ordered_at, kind, metric);
SELECT retention.track('orders'), retention.track('refunds');
INSERT INTO orders SELECT -i, 'c' || i, '2024-05-01', 1 FROM generate_series(1, 12) i;
CALL retention.refresh('orders');
CALL retention.refresh('days');
INSERT INTO retention.contact (customer_id, email, email_consent) SELECT 'c' || i, format('c%s@example.com', i), true FROM generate_series(1, 12) i;
SELECT retention.create_flow(format('{"name": "%1$s flow", "metric": "%1$s", "trigger": {"type": "manual"}, "reentry": "always", "concurrent": true, "holdout": 40,
  "conversion_window": "5 days", "nodes": [{"id": "mail", "type": "message", "channel": "email", "subject": "s", "body": "b", "smart_sending": false}]}', m)::jsonb),
  retention.publish(m || ' flow'), retention.set_status(m || ' flow', 'live') FROM unnest('{orders,days}'::text[]) AS m;

-- What counts now, from the shop's tables alone; of days the moment at which the engine says it has learned of it.
CREATE FUNCTION counted() RETURNS TABLE (metric text, order_id text, customer_id text, at timestamptz, amount numeric) LANGUAGE sql STABLE AS $$
  WITH dated AS (
    SELECT 'orders' AS metric, o.*, o.ordered_at AS at FROM orders o
    UNION ALL SELECT 'days', o.*, (o.ordered_at AT TIME ZONE 'Europe/Warsaw')::date::timestamp AT TIME ZONE 'Europe/Warsaw' FROM orders o),
  netted AS (
    SELECT d.metric, d.id, d.customer_id, min(d.at) AS at,
           sum(d.amount) - coalesce((SELECT sum(abs(r.amount)) FROM refunds r WHERE r.id = d.id AND r.customer_id = d.customer_id AND r.refunded_at <= retention.now()), 0) AS amount
    FROM dated d WHERE d.ordered_at <= retention.now() GROUP BY d.metric, d.id, d.customer_id)
  SELECT n.metric, n.id::text, n.customer_id,
         CASE n.metric WHEN 'days' THEN (
           SELECT CASE WHEN (e.recorded_at AT TIME ZONE 'Europe/Warsaw')::date > (n.at AT TIME ZONE 'Europe/Warsaw')::date
                         THEN (((n.at AT TIME ZONE 'Europe/Warsaw')::date + 1)::timestamp - interval '1 microsecond') AT TIME ZONE 'Europe/Warsaw'
                       WHEN (e.recorded_at AT TIME ZONE 'Europe/Warsaw')::date < (n.at AT TIME ZONE 'Europe/Warsaw')::date THEN n.at
                       ELSE e.recorded_at END
           FROM retention.order_event e WHERE e.metric = 'days' AND e.kind = 'order' AND e.order_id = n.id::text) ELSE n.at END, n.amount
  FROM netted n WHERE n.amount > 0 AND n.id > 0
$$;
\set ECHO none
\i tests/include/differs.sql
\set ECHO all
CREATE FUNCTION wrong() RETURNS SETOF text LANGUAGE sql AS $$
  WITH live AS MATERIALIZED (SELECT metric, order_id, customer_id, ordered_at, net_amount FROM retention.order_event WHERE kind = 'order' AND net_amount > 0),
  truth AS MATERIALIZED (SELECT * FROM counted()),
  entered AS MATERIALIZED (
    SELECT e.flow, replace(e.flow, ' flow', '') AS metric, e.customer_id, e.entered_at, e.is_holdout FROM retention.flow_enrollment e),
  touched AS MATERIALIZED (
    SELECT t.order_id, t.customer_id, t.at, t.amount,
           (SELECT max(m.message_id) FROM retention.message m JOIN retention.flow f USING (flow_id)
            WHERE f.flow = t.metric || ' flow' AND m.customer_id = t.customer_id AND m.state = 'sent' AND m.sent_at < t.at AND m.sent_at + interval '5 days' >= t.at) AS message_id
    FROM truth t),
  person AS MATERIALIZED (
    SELECT p.*, (SELECT count(*) > 0 FROM truth t WHERE t.metric = p.metric AND t.customer_id = p.customer_id AND EXISTS (
                   SELECT FROM entered e WHERE e.flow = p.flow AND e.customer_id = p.customer_id AND t.at > e.entered_at AND t.at <= e.entered_at + interval '5 days')) AS converted,
           (SELECT coalesce(sum(t.amount), 0) FROM truth t WHERE t.metric = p.metric AND t.customer_id = p.customer_id AND EXISTS (
                   SELECT FROM entered e WHERE e.flow = p.flow AND e.customer_id = p.customer_id AND t.at > e.entered_at AND t.at <= e.entered_at + interval '5 days')) AS revenue
    FROM (SELECT DISTINCT flow, metric, customer_id, is_holdout FROM entered) AS p),
  uplift AS (
    SELECT flow, count(*) FILTER (WHERE NOT is_holdout) AS treated, count(*) FILTER (WHERE is_holdout) AS holdout,
           round(avg(converted::integer) FILTER (WHERE NOT is_holdout), 6) AS treated_rate, round(avg(converted::integer) FILTER (WHERE is_holdout), 6) AS holdout_rate,
           round(avg(revenue) FILTER (WHERE NOT is_holdout), 6) AS treated_revenue, round(avg(revenue) FILTER (WHERE is_holdout), 6) AS holdout_revenue
    FROM person GROUP BY flow),
  reported AS (
    SELECT flow, treated, holdout, round(treated_rate::numeric, 6), round(holdout_rate::numeric, 6), round(treated_revenue::numeric, 6), round(holdout_revenue::numeric, 6) FROM retention.flow_uplift)
  SELECT format('event %s', d) FROM ((TABLE live EXCEPT ALL TABLE truth) UNION ALL (TABLE truth EXCEPT ALL TABLE live)) AS d
  UNION ALL SELECT format('told twice: %s', min(order_id)) FROM retention.order_event WHERE kind = 'order' GROUP BY metric, order_id HAVING count(*) > 1
  UNION ALL
  SELECT format('attributed %s', d) FROM (
    (SELECT order_id, customer_id, occurred_at, amount, message_id FROM retention.flow_attribution EXCEPT ALL SELECT * FROM touched WHERE message_id IS NOT NULL)
    UNION ALL (SELECT * FROM touched WHERE message_id IS NOT NULL EXCEPT ALL SELECT order_id, customer_id, occurred_at, amount, message_id FROM retention.flow_attribution)) AS d
  UNION ALL SELECT format('uplift %s', d) FROM ((TABLE uplift EXCEPT ALL TABLE reported) UNION ALL (TABLE reported EXCEPT ALL TABLE uplift)) AS d
  UNION ALL
  SELECT format('refunds %s', d)
  FROM differs('SELECT id::text, customer_id, sum(abs(amount)) FROM refunds WHERE refunded_at <= retention.now() AND id > 0 GROUP BY 1, 2',
    $query$SELECT order_id, customer_id, sum(net_amount) FROM retention.order_event WHERE kind = 'refund' AND metric = 'orders' AND net_amount IS NOT NULL GROUP BY 1, 2$query$) AS d
  WHERE d > 0
$$;

-- Something that happens in the shop.
CREATE FUNCTION happening(now timestamptz) RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT format((ARRAY[
    'INSERT INTO orders SELECT greatest(max(id), 0) + 1, ''c%1$s'', %2$L::timestamptz - %3$s * interval ''1 hour'', %4$s FROM orders',
    'INSERT INTO orders SELECT m + i, ''c%1$s'', %2$L::timestamptz - (i * %3$s) * interval ''1 hour'', %4$s FROM (SELECT greatest(max(id), 0) AS m FROM orders) AS o, generate_series(1, 2) i',
    'UPDATE orders SET amount = %4$s WHERE id %% 5 = %5$s AND id > 0',
    'DELETE FROM orders WHERE id %% 9 = %5$s AND id > 0',
    'UPDATE orders SET customer_id = ''c%1$s'' WHERE id %% 6 = %5$s AND id > 0',
    'UPDATE refunds SET customer_id = ''c%1$s'' WHERE id %% 6 = %5$s',
    'WITH o AS (UPDATE orders SET customer_id = ''c%1$s'' WHERE id %% 6 = %5$s AND id > 0) UPDATE refunds SET customer_id = ''c%1$s'' WHERE id %% 6 = %5$s',
    'UPDATE orders SET ordered_at = least(ordered_at + %3$s * interval ''1 hour'', %2$L::timestamptz) WHERE id %% 7 = %5$s AND id > 0',
    'INSERT INTO refunds SELECT id, customer_id, %2$L::timestamptz - interval ''1 hour'', amount FROM orders WHERE id %% 8 = %5$s AND id > 0 AND ordered_at < %2$L::timestamptz - interval ''2 hours''',
    'INSERT INTO refunds SELECT id, customer_id, %2$L::timestamptz, -2 FROM orders WHERE id %% 4 = %5$s AND id > 0',
    'DELETE FROM refunds WHERE id %% 6 = %5$s'])[1 + floor(random() * 11)::integer],
    1 + floor(random() * 12)::integer, now, floor(random() * 40)::integer, 5 + floor(random() * 90)::integer, floor(random() * 4)::integer)
$$;
CREATE TABLE problem (step integer, statements text, what text);
CREATE PROCEDURE play(steps integer) LANGUAGE plpgsql AS $$
DECLARE
  today timestamptz := timestamptz '2024-06-06';
  statements text;
BEGIN
  FOR step IN 1 .. steps LOOP
    today := today + random() * interval '12 hours';
    PERFORM set_config('retention.as_of', today::text, false);
    statements := concat_ws('; ', happening(today), happening(today), CASE WHEN random() < 0.3 THEN happening(today) END);
    EXECUTE statements;
    IF random() < 0.2 AND statements !~ 'least' THEN
      -- Nobody has noted anything. A date in the middle, which changes nothing of a customer, would not be noticed.
      DELETE FROM retention.change_log;
      CALL retention.refresh('orders');
      CALL retention.refresh('days');
    ELSE
      CALL retention.process_changes();
    END IF;
    IF random() < 0.4 THEN
      PERFORM retention.enroll(m || ' flow', 'c' || 1 + floor(random() * 12)::integer) FROM unnest('{orders,days}'::text[]) AS m, generate_series(1, 3);
      CALL retention.tick();
      PERFORM retention.ack(array_agg(message_id)) FROM retention.claim_messages('email', 100);
    END IF;
    INSERT INTO problem SELECT step, statements, w FROM wrong() AS w;
  END LOOP;
END $$;
SELECT setseed(0.5);
CALL play(50);
SELECT step, statements, what FROM problem ORDER BY step LIMIT 3;
SELECT flow, count(*) > 5 AS attributed FROM retention.flow_attribution GROUP BY flow ORDER BY flow;
SELECT flow, treated > 1 AND holdout > 1 AND treated_rate > 0 AS has_rates FROM retention.flow_uplift ORDER BY flow;
SELECT kind, count(*) FILTER (WHERE net_amount IS NULL) > 3 AS gone, count(*) FILTER (WHERE net_amount <> amount) > 3 AS corrected FROM retention.order_event GROUP BY kind ORDER BY kind;

-- What was corrected step by step is what is found from nothing.
CREATE VIEW told AS SELECT event_id, customer_id, ordered_at, net_amount FROM retention.order_event WHERE kind = 'order' AND net_amount IS NOT NULL;
CREATE TABLE kept AS TABLE told;
UPDATE retention.order_event SET customer_id = 'nobody', ordered_at = NULL, net_amount = NULL;
SELECT retention.reset_metric('orders'), retention.reset_metric('days');
CALL retention.refresh('orders');
CALL retention.refresh('days');
SELECT differs('TABLE kept', 'TABLE told'), (SELECT count(*) > 20 FROM kept) AS many;
SELECT wrong();
DROP EXTENSION retention CASCADE;
\set VERBOSITY terse
SET client_min_messages = error;
DROP SCHEMA attribution_test CASCADE;
