-- What flows have earned: attribution, performance, uplift.

CREATE OR REPLACE VIEW retention.flow_attribution AS
  SELECT e.event_id, e.order_id, e.customer_id, e.ordered_at AS occurred_at, e.net_amount AS amount,
         touch.flow, touch.node, touch.message_id, touch.sent_at
  FROM retention.order_event e
  CROSS JOIN LATERAL (
    SELECT f.flow, m.node, m.message_id, m.sent_at
    FROM retention.message m
    JOIN retention.flow f ON f.flow_id = m.flow_id
    JOIN retention.flow_node n ON n.node_id = m.node_id
    JOIN retention.flow_version v ON v.flow_id = n.flow_id AND v.version = n.version
    WHERE m.customer_id = e.customer_id AND m.state = 'sent' AND m.sent_at < e.ordered_at
      AND NOT coalesce((n.config -> 'transactional')::boolean, false)
      AND m.sent_at >= e.ordered_at - retention._span(coalesce(v.document ->> 'conversion_window',
          '7 days')::interval)
      AND e.metric = coalesce(v.document ->> 'metric', 'orders')
    ORDER BY m.sent_at DESC, m.message_id DESC LIMIT 1) AS touch
  WHERE e.kind = 'order' AND e.net_amount > 0;
COMMENT ON VIEW retention.flow_attribution IS
  'Orders, as they are now, that followed a message within its flow''s conversion window, each '
  'with the last such message that was no transactional one. Of sources with events => true.';
COMMENT ON COLUMN retention.flow_attribution.event_id IS 'Number of the order''s event.';
COMMENT ON COLUMN retention.flow_attribution.order_id IS 'The shop''s key of the order.';
COMMENT ON COLUMN retention.flow_attribution.customer_id IS 'The shop''s key of the customer.';
COMMENT ON COLUMN retention.flow_attribution.occurred_at IS
  'Time of the order; where its source has dates only, the moment of that day at which it became '
  'known.';
COMMENT ON COLUMN retention.flow_attribution.amount IS 'Amount of the order, refunds deducted.';
COMMENT ON COLUMN retention.flow_attribution.flow IS 'Flow of the last message before the order.';
COMMENT ON COLUMN retention.flow_attribution.node IS 'Node of that message.';
COMMENT ON COLUMN retention.flow_attribution.message_id IS 'Number of that message.';
COMMENT ON COLUMN retention.flow_attribution.sent_at IS 'When it was sent.';

CREATE OR REPLACE VIEW retention.flow_performance AS
  SELECT f.flow, f.status, f.version, coalesce(e.entered, 0)::bigint AS entered,
         coalesce(e.in_flow, 0)::bigint AS in_flow, coalesce(e.holdout, 0)::bigint AS holdout,
         coalesce(e.outcomes, '{}') AS outcomes, coalesce(m.sent, 0) AS sent,
         coalesce(m.waiting_messages, 0) AS waiting_messages, coalesce(m.skipped, 0) AS skipped,
         coalesce(a.orders, 0) AS attributed_orders, coalesce(a.revenue, 0) AS attributed_revenue
  FROM retention.flow f
  LEFT JOIN (
    SELECT o.flow_id, sum(o.entered) AS entered, sum(o.in_flow) AS in_flow,
           sum(o.holdout) AS holdout,
           jsonb_object_agg(o.outcome, o.entered) FILTER (WHERE o.outcome IS NOT NULL) AS outcomes
    FROM (SELECT flow_id, outcome, count(*) AS entered, count(*)
                 FILTER (WHERE due_at IS NOT NULL) AS in_flow, count(*)
                   FILTER (WHERE is_holdout) AS holdout
          FROM retention.enrollment GROUP BY flow_id, outcome) AS o
    GROUP BY o.flow_id) AS e USING (flow_id)
  LEFT JOIN (
    SELECT flow_id, count(*) FILTER (WHERE state = 'sent') AS sent, count(*)
      FILTER (WHERE state IN ('held', 'ready', 'leased')) AS waiting_messages,
           count(*) FILTER (WHERE state IN ('suppressed', 'error', 'dead')) AS skipped
    FROM retention.message GROUP BY flow_id) AS m USING (flow_id)
  LEFT JOIN (SELECT flow, count(*) AS orders, sum(amount) AS revenue FROM retention.flow_attribution
             GROUP BY flow) AS a USING (flow);
COMMENT ON VIEW retention.flow_performance IS
  'What each flow did: who entered and how it ended, messages, and the orders that followed them.';
COMMENT ON COLUMN retention.flow_performance.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow_performance.status IS 'Status of the flow.';
COMMENT ON COLUMN retention.flow_performance.version IS 'Version that new enrollments run.';
COMMENT ON COLUMN retention.flow_performance.entered IS 'Enrollments ever.';
COMMENT ON COLUMN retention.flow_performance.in_flow IS 'Enrollments that have not ended.';
COMMENT ON COLUMN retention.flow_performance.holdout IS 'Enrollments in the holdout.';
COMMENT ON COLUMN retention.flow_performance.outcomes IS 'How many ended how.';
COMMENT ON COLUMN retention.flow_performance.sent IS 'Messages sent.';
COMMENT ON COLUMN retention.flow_performance.waiting_messages IS 'Messages held, ready or claimed.';
COMMENT ON COLUMN retention.flow_performance.skipped IS 'Messages suppressed, dead or in error.';
COMMENT ON COLUMN retention.flow_performance.attributed_orders IS 'Orders of flow_attribution.';
COMMENT ON COLUMN retention.flow_performance.attributed_revenue IS 'Their amounts.';

CREATE OR REPLACE VIEW retention.flow_step_performance AS
  SELECT f.flow, n.version, n.node, n.type, coalesce(e.waiting, 0) AS waiting,
         coalesce(m.sent, 0)::bigint AS sent,
         coalesce(m.waiting_messages, 0)::bigint AS waiting_messages,
         coalesce(m.ghosts, 0)::bigint AS ghosts, coalesce(m.skipped, 0)::bigint AS skipped,
         coalesce(m.skipped_by_reason, '{}') AS skipped_by_reason, n.error
  FROM retention.flow f
  JOIN retention.flow_node n USING (flow_id)
  LEFT JOIN (SELECT node_id, count(*) AS waiting FROM retention.enrollment WHERE due_at IS NOT NULL
             GROUP BY node_id) AS e USING (node_id)
  LEFT JOIN (
    SELECT node_id, sum(messages) FILTER (WHERE state = 'sent') AS sent, sum(messages)
      FILTER (WHERE state IN ('held', 'ready', 'leased')) AS waiting_messages,
           sum(messages) FILTER (WHERE state = 'ghost') AS ghosts, sum(messages)
             FILTER (WHERE state IN ('suppressed', 'error', 'dead')) AS skipped,
           jsonb_object_agg(skip, messages) FILTER (WHERE skip IS NOT NULL) AS skipped_by_reason
    FROM (SELECT node_id, state, CASE state WHEN 'suppressed' THEN reason WHEN 'error' THEN 'error'
                 WHEN 'dead' THEN 'dead' END AS skip, count(*) AS messages
          FROM retention.message GROUP BY 1, 2, 3) AS counted
    GROUP BY node_id) AS m USING (node_id)
  -- In the order in which they are come to.
  ORDER BY n.node_id;
COMMENT ON VIEW retention.flow_step_performance IS
  'What each node did: who waits there, messages sent, and those that were not, by reason.';
COMMENT ON COLUMN retention.flow_step_performance.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow_step_performance.version IS 'Version that the node belongs to.';
COMMENT ON COLUMN retention.flow_step_performance.node IS 'Id of the node.';
COMMENT ON COLUMN retention.flow_step_performance.type IS 'Type of the node.';
COMMENT ON COLUMN retention.flow_step_performance.waiting IS 'Customers who wait at the node.';
COMMENT ON COLUMN retention.flow_step_performance.sent IS 'Messages sent.';
COMMENT ON COLUMN retention.flow_step_performance.waiting_messages IS
  'Messages held, ready or claimed.';
COMMENT ON COLUMN retention.flow_step_performance.ghosts IS
  'Messages that customers in the holdout would have got.';
COMMENT ON COLUMN retention.flow_step_performance.skipped IS
  'Messages suppressed, dead or in error.';
COMMENT ON COLUMN retention.flow_step_performance.skipped_by_reason IS 'These by reason.';
COMMENT ON COLUMN retention.flow_step_performance.error IS
  'Why customers wait here who should not; null: nothing is wrong.';

CREATE OR REPLACE FUNCTION retention._wilson(
    converted bigint, customers bigint, OUT low double precision, OUT high double precision)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (middle - half) / (1 + zz / n), (middle + half) / (1 + zz / n)
  FROM (SELECT p + zz / (2 * n) AS middle, sqrt(zz * (p * (1 - p) / n + zz / (4 * n * n))) AS half,
               n, zz
        FROM (SELECT converted / n AS p, n, 1.959963984540054 ^ 2 AS zz
              FROM (SELECT nullif(customers, 0)::double precision) AS arm (n)) AS given) AS parts
$$;
COMMENT ON FUNCTION retention._wilson(bigint, bigint) IS
  'The 95 % interval of a share (Wilson 1927).';

CREATE OR REPLACE VIEW retention.flow_uplift AS
  WITH followed AS (
    -- Once, however many enrollments the order followed.
    SELECT DISTINCT e.flow_id, e.customer_id, o.event_id, o.net_amount
    FROM retention.enrollment e
    JOIN retention.flow_node n USING (node_id)
    JOIN retention.flow_version v ON v.flow_id = n.flow_id AND v.version = n.version
    JOIN retention.order_event o
      ON o.customer_id = e.customer_id AND o.kind = 'order' AND o.net_amount > 0
      AND o.metric = coalesce(v.document ->> 'metric', 'orders') AND o.ordered_at > e.entered_at
      AND o.ordered_at
          <= e.entered_at + retention._span(coalesce(v.document ->> 'conversion_window',
                                                     '7 days')::interval)),
  customer AS (
    SELECT e.flow_id, e.customer_id, e.is_holdout, f.revenue IS NOT NULL AS converted,
           coalesce(f.revenue, 0)::double precision AS revenue
    FROM (SELECT flow_id, customer_id, bool_or(is_holdout) AS is_holdout FROM retention.enrollment
          WHERE customer_id IS NOT NULL GROUP BY flow_id, customer_id) AS e
    LEFT JOIN (SELECT flow_id, customer_id, sum(net_amount) AS revenue
               FROM followed GROUP BY flow_id, customer_id) AS f USING (flow_id, customer_id)),
  arm AS (
    SELECT flow_id, count(*) FILTER (WHERE NOT is_holdout) AS treated, count(*)
      FILTER (WHERE NOT is_holdout AND converted) AS treated_converted,
           count(*) FILTER (WHERE is_holdout) AS holdout, count(*)
             FILTER (WHERE is_holdout AND converted) AS holdout_converted,
           avg(revenue) FILTER (WHERE NOT is_holdout) AS treated_revenue, avg(revenue)
             FILTER (WHERE is_holdout) AS holdout_revenue,
           sqrt(var_samp(revenue) FILTER (WHERE NOT is_holdout) / nullif(count(*)
               FILTER (WHERE NOT is_holdout), 0)
              + var_samp(revenue) FILTER (WHERE is_holdout) / nullif(count(*)
                  FILTER (WHERE is_holdout), 0)) AS revenue_error
    FROM customer GROUP BY flow_id),
  share AS (
    SELECT a.*, treated_converted::double precision / nullif(treated, 0) AS treated_rate,
           holdout_converted::double precision / nullif(holdout, 0) AS holdout_rate,
           t.low AS treated_low, t.high AS treated_high, h.low AS holdout_low,
           h.high AS holdout_high
    FROM arm a LEFT JOIN LATERAL retention._wilson(treated_converted, treated) AS t ON true LEFT
    JOIN LATERAL retention._wilson(holdout_converted, holdout) AS h ON true)
  SELECT f.flow, s.treated, s.holdout, s.treated_rate, s.holdout_rate,
         s.treated_rate - s.holdout_rate AS uplift,
         s.treated_rate - s.holdout_rate 
           - sqrt((s.treated_rate - s.treated_low) ^ 2 + (s.holdout_high - s.holdout_rate) ^ 2)
           AS uplift_low,
         s.treated_rate - s.holdout_rate 
           + sqrt((s.treated_high - s.treated_rate) ^ 2 + (s.holdout_rate - s.holdout_low) ^ 2)
           AS uplift_high,
         s.treated_revenue, s.holdout_revenue,
         s.treated_revenue - s.holdout_revenue AS revenue_uplift,
         s.treated_revenue - s.holdout_revenue 
           - 1.959963984540054 * s.revenue_error AS revenue_uplift_low,
         s.treated_revenue - s.holdout_revenue 
           + 1.959963984540054 * s.revenue_error AS revenue_uplift_high
  FROM share s JOIN retention.flow f USING (flow_id);
COMMENT ON VIEW retention.flow_uplift IS
  'What each flow achieved: customers who ordered within the conversion window after they '
  'entered, treated against holdout, each order once, as it is now. The interval of the '
  'difference of shares is Newcombe''s (1998, method 10).';
COMMENT ON COLUMN retention.flow_uplift.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow_uplift.treated IS 'Customers who entered and were not held out.';
COMMENT ON COLUMN retention.flow_uplift.holdout IS 'Customers in the holdout.';
COMMENT ON COLUMN retention.flow_uplift.treated_rate IS 'Share of the treated who ordered.';
COMMENT ON COLUMN retention.flow_uplift.holdout_rate IS 'Share of the holdout who ordered.';
COMMENT ON COLUMN retention.flow_uplift.uplift IS
  'The difference of these shares; null without a holdout.';
COMMENT ON COLUMN retention.flow_uplift.uplift_low IS 'Lower end of its 95 % interval.';
COMMENT ON COLUMN retention.flow_uplift.uplift_high IS 'Upper end of its 95 % interval.';
COMMENT ON COLUMN retention.flow_uplift.treated_revenue IS
  'Mean revenue of the treated within the window.';
COMMENT ON COLUMN retention.flow_uplift.holdout_revenue IS
  'Mean revenue of the holdout within the window.';
COMMENT ON COLUMN retention.flow_uplift.revenue_uplift IS 'The difference of these means.';
COMMENT ON COLUMN retention.flow_uplift.revenue_uplift_low IS 'Lower end of its 95 % interval.';
COMMENT ON COLUMN retention.flow_uplift.revenue_uplift_high IS 'Upper end of its 95 % interval.';
