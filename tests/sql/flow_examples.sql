-- The reference flows of examples/flows, on a small shop, for four weeks of a virtual clock.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE SCHEMA shop;
CREATE TABLE shop.orders (order_id text, customer_id text, ordered_at timestamptz NOT NULL, amount numeric NOT NULL, kind text NOT NULL DEFAULT 'order');
INSERT INTO shop.orders SELECT order_id, customer_id, ordered_at, amount, 'order' FROM retention.simulate_orders(2500, '2022-01-01', '2025-01-01', seed => 11);
INSERT INTO shop.orders SELECT order_id, customer_id, ordered_at + interval '5 days', amount, 'refund' FROM shop.orders WHERE order_id::bigint % 20 = 7;
\set ECHO none
\i examples/flow_shop.sql
\set ECHO all
CREATE VIEW shop.purchases AS SELECT * FROM shop.orders WHERE kind = 'order';
CREATE VIEW shop.refunds AS SELECT * FROM shop.orders WHERE kind = 'refund';
SELECT retention.add_source('shop.purchases', order_id => 'order_id', events => true) AS orders,
       retention.add_source('shop.refunds', order_id => 'order_id', kind => 'refund', events => true) AS refunds;
SELECT retention.track('shop.orders', 'customer_id');
CALL retention.refresh();

-- What a flow needs and is not there is named.
\set document `cat examples/flows/win_back.json`
SELECT * FROM retention.validate_flow(:'document');
SELECT retention.add_segment('retention.win_back');
SELECT retention.add_coupon_pool('win_back', codes => '{BACK-1,BACK-2,BACK-3,BACK-4}', valid_for => '14 days');
SELECT retention.add_coupon_pool('churn_25', prefix => 'VIP-', valid_for => '21 days');
SELECT retention.add_coupon_pool('churn_15', prefix => 'HI-', valid_for => '21 days');
SELECT retention.create_flow(:'document');
\set document `cat examples/flows/post_purchase.json`
SELECT retention.create_flow(:'document');
\set document `cat examples/flows/replenishment.json`
SELECT retention.create_flow(:'document');
\set document `cat examples/flows/churn.json`
SELECT retention.create_flow(:'document');
SELECT flow, retention.publish(flow) AS version, retention.describe_flow(flow) FROM retention.flow ORDER BY flow;
SELECT count(retention.set_status(flow, 'live')) FROM retention.flow;
SELECT count(retention.enroll('churn', customer_id)) > 50 AS enrolled FROM retention.profile
  WHERE rfm_group = 'Inactive' AND (historic_clv >= 100 OR retention.bucket(customer_id, 'some') < 1000);

CALL shop.pass('28 days', '12 hours', answered => 0.1);
SELECT retention.now();
ANALYZE shop.orders;

SELECT flow, entered > 0 AS entered, in_flow > 0 AS in_flow, holdout > 0 AS holdout, ARRAY(SELECT jsonb_object_keys(outcomes) AS outcome ORDER BY outcome) AS outcomes, waiting_messages
  FROM retention.flow_performance ORDER BY flow;
SELECT f.flow, m.node, m.state, m.reason, count(*) > 0 AS some FROM retention.message m JOIN retention.flow f USING (flow_id) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
-- Of each node the first message, as text.
SELECT DISTINCT ON (f.flow, m.node) f.flow, m.node, m.customer_id, m.queued_at, m.subject, CASE WHEN m.node NOT IN ('offer_25', 'offer_15', 'last_call') THEN regexp_replace(m.text, 'BACK-[0-9]', 'BACK-0') END AS text
  FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE m.state = 'sent' ORDER BY f.flow, m.node, m.queued_at, m.customer_id \gx
SELECT body FROM retention.message WHERE node = 'thanks_first' AND state = 'sent' ORDER BY queued_at, customer_id LIMIT 1 \gset
\echo :body

CREATE VIEW shop.journey AS
  SELECT f.flow, e.enrollment_id, e.customer_id, e.entered_at, e.finished_at, e.outcome, e.is_holdout, e.event, m.node, m.state, m.queued_at, m.context, m.body, m.text,
         m.expires_at - interval '1 day' AS due_at, coalesce(c.time_zone, 'UTC') AS zone
  FROM retention.flow f JOIN retention.enrollment e USING (flow_id) LEFT JOIN retention.message m USING (enrollment_id) LEFT JOIN retention.contact c ON c.customer_id = e.customer_id;

-- Every order is thanked for once, at once, whatever was agreed to: by what kind of order it is.
SELECT bool_and(j.queued_at - o.recorded_at = '0') AS at_once, count(*) = count(DISTINCT j.event ->> 'order_id') AS once, count(*) = (SELECT count(*) FROM retention.order_event WHERE kind = 'order') AS all_orders,
       bool_and(j.node = CASE WHEN before.orders = 0 THEN 'thanks_first' WHEN o.amount >= 75 THEN 'thanks_large' ELSE 'thanks_again' END) AS by_kind
  FROM shop.journey j JOIN retention.order_event o ON o.order_id = j.event ->> 'order_id' AND o.kind = 'order',
  LATERAL (SELECT count(*) AS orders FROM shop.orders b WHERE b.customer_id = j.customer_id AND b.kind = 'order' AND b.ordered_at < o.occurred_at AND b.order_id <> o.order_id
             AND NOT EXISTS (SELECT FROM shop.orders r WHERE r.order_id = b.order_id AND r.kind = 'refund' AND r.amount = b.amount AND r.ordered_at <= j.queued_at)) AS before
  WHERE j.flow = 'post_purchase' AND j.node LIKE 'thanks%';
-- The review is due at ten in the morning there, the first time that it is ten once ten days have passed.
SELECT count(*) > 100 AS many, count(DISTINCT zone) AS zones, bool_and((due_at AT TIME ZONE zone)::time = '10:00') AS at_ten,
       bool_and((due_at AT TIME ZONE zone) - (entered_at AT TIME ZONE zone) BETWEEN interval '10 days' AND interval '11 days') AS after_ten_days
  FROM shop.journey WHERE flow = 'post_purchase' AND node = 'review';
-- Nobody is asked about what was sent back.
SELECT count(*) FILTER (WHERE outcome = 'returned') > 0 AS some_returned, count(*) FILTER (WHERE outcome = 'returned' AND node = 'review') AS asked FROM shop.journey WHERE flow = 'post_purchase';
-- What is offered has never been bought, up to then, and is not on the order itself; where nothing is left nothing is sent.
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE l.product_id IS NOT NULL) AS bought_before, min(jsonb_array_length(j.context #> '{data,products}')) AS least, max(jsonb_array_length(j.context #> '{data,products}')) AS most
  FROM shop.journey j CROSS JOIN jsonb_array_elements(j.context #> '{data,products}') AS p
  LEFT JOIN (shop.order_lines l JOIN shop.orders o USING (order_id, customer_id)) ON l.customer_id = j.customer_id AND l.product_id = p ->> 'product_id' AND o.ordered_at <= j.queued_at
  WHERE j.node = 'cross_sell' AND j.state = 'sent';
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE node = 'cross_sell') AS sent FROM shop.journey WHERE flow = 'post_purchase' AND outcome = 'nothing left';
-- Reminders go out three days before the day that the customer was expected back; again the day after it.
SELECT count(*) > 10 AS many, bool_and((event ->> 'date')::date - entered_at::date = 3) AS three_days_before, bool_and(node <> 'running_low' OR (due_at AT TIME ZONE zone) = (event ->> 'date')::date + interval '1 day 10 hours') AS the_day_after
  FROM shop.journey WHERE flow = 'replenishment';
-- Only regular customers.
SELECT bool_and(p.purchase_days >= 3) AS regular FROM shop.journey j JOIN retention.profile p USING (customer_id) WHERE flow = 'replenishment';
-- Whoever orders leaves with the tick that follows, and gets nothing more.
SELECT count(*) > 5 AS many, bool_and(j.finished_at = left_at.recorded_at) AS at_once, bool_or(j.queued_at >= j.finished_at) AS written_to_afterwards
  FROM shop.journey j, LATERAL (SELECT min(o.recorded_at) AS recorded_at FROM retention.order_event o WHERE o.customer_id = j.customer_id AND o.kind = 'order' AND o.occurred_at > j.entered_at) AS left_at
  WHERE j.flow IN ('win_back', 'replenishment') AND j.outcome = 'exited';
SELECT count(*) FROM shop.journey j WHERE j.flow IN ('win_back', 'replenishment') AND j.outcome IS DISTINCT FROM 'exited'
  AND EXISTS (SELECT FROM retention.order_event o WHERE o.customer_id = j.customer_id AND o.kind = 'order' AND o.occurred_at > j.entered_at AND o.recorded_at < coalesce(j.finished_at, 'infinity'));
-- No code twice; the greater the customer the greater the coupon; a pool that is empty ends the flow.
SELECT count(*) > 10 AS many, count(*) = count(DISTINCT code) AS distinct_codes, count(*) = count(DISTINCT (enrollment_id, node)) AS one_each FROM retention.coupon WHERE issued_at IS NOT NULL;
SELECT c.pool, count(*) > 0 AS some, bool_and(CASE c.pool WHEN 'churn_25' THEN at_issue.revenue >= 100 ELSE at_issue.revenue >= 40 AND at_issue.revenue < 100 END) AS by_value
  FROM retention.coupon c, LATERAL (SELECT a.revenue FROM retention.customer_at('orders', c.issued_at) AS a WHERE a.customer_id = c.customer_id) AS at_issue
  WHERE c.pool LIKE 'churn%' GROUP BY c.pool ORDER BY c.pool;
SELECT bool_and(j.body LIKE '%' || c.code || '%' AND j.text LIKE '%' || c.code || '%') AS shown FROM shop.journey j JOIN retention.coupon c USING (enrollment_id) WHERE j.node LIKE 'offer%' AND j.state = 'sent';
SELECT count(*) > 0 AS exhausted FROM shop.journey WHERE outcome = 'exhausted';
-- Who orders within the time is won back.
SELECT j.outcome, count(*) > 0 AS some, bool_and(o.orders > 0) AS ordered FROM (SELECT DISTINCT enrollment_id, customer_id, entered_at, finished_at, outcome FROM shop.journey WHERE flow = 'churn' AND outcome IS NOT NULL) AS j,
  LATERAL (SELECT count(*) AS orders FROM retention.order_event o WHERE o.customer_id = j.customer_id AND o.kind = 'order' AND o.occurred_at > j.entered_at AND o.occurred_at <= j.finished_at) AS o GROUP BY j.outcome ORDER BY j.outcome;
-- Nobody is in the one and the other; the holdout gets nothing; nobody without consent gets what is not transactional; no message in quiet hours.
SELECT count(*) FROM shop.journey a JOIN shop.journey b USING (customer_id) WHERE a.flow = 'churn' AND b.flow = 'win_back' AND a.entered_at = b.entered_at;
SELECT bool_and(state = 'ghost' OR node IS NULL) AS ghosts FROM shop.journey WHERE is_holdout;
SELECT count(*) FROM retention.message m JOIN retention.contact c USING (customer_id) WHERE m.state = 'sent' AND NOT c.email_consent AND m.node NOT LIKE 'thanks%';
SELECT count(*) FROM retention.message m JOIN retention.flow f USING (flow_id) JOIN retention.contact c USING (customer_id)
  WHERE m.state = 'sent' AND f.draft ? 'quiet_hours' AND (m.sent_at AT TIME ZONE coalesce(c.time_zone, 'UTC'))::time NOT BETWEEN '09:00' AND '19:59:59';
-- Nothing is wrong, and each message was written in both forms.
SELECT count(*) FILTER (WHERE state IN ('error', 'dead')) AS failed, bool_and(body LIKE '<!doctype html>%</html>' AND text <> '' AND body !~ '[{}]{2}' AND text !~ '[{}%]{2}') FILTER (WHERE state = 'sent') AS in_both_forms FROM retention.message;

SET client_min_messages = error;
DROP SCHEMA shop CASCADE;
DROP EXTENSION retention;
