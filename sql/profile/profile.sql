-- The profile: a row per customer, with everything that is known and predicted.

CREATE OR REPLACE FUNCTION retention._p_alive(
    purchase retention.model, purchase_days integer, average_days double precision,
    first_order_at timestamptz, time_zone text)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_p_alive';
COMMENT ON FUNCTION retention._p_alive(
  retention.model, integer, double precision, timestamptz, text) IS
  'p_alive of a stored customer.';

CREATE OR REPLACE FUNCTION retention._expected_orders(
    purchase retention.model, purchase_days integer, average_days double precision,
    first_order_at timestamptz, time_zone text, days integer)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_expected_orders';
COMMENT ON FUNCTION retention._expected_orders(
  retention.model, integer, double precision, timestamptz, text, integer) IS
  'expected_orders of a stored customer.';

CREATE OR REPLACE FUNCTION retention._order_probability(
    purchase retention.model, purchase_days integer, average_days double precision,
    first_order_at timestamptz, time_zone text, days integer)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_order_probability';
COMMENT ON FUNCTION retention._order_probability(
  retention.model, integer, double precision, timestamptz, text, integer) IS
  'order_probability of a stored customer.';

CREATE OR REPLACE FUNCTION retention._clv(
    purchase retention.model, purchase_days integer, average_days double precision,
    first_order_at timestamptz, time_zone text, days integer,
    spend retention.model, discount double precision, repeat_value numeric)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_clv';
COMMENT ON FUNCTION retention._clv(
  retention.model, integer, double precision, timestamptz, text, integer, retention.model,
  double precision, numeric) IS
  'clv of a stored customer.';

CREATE OR REPLACE FUNCTION retention._next_order_days(
    purchase retention.model, purchase_days integer, average_days double precision,
    quantile double precision)
  RETURNS integer
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_next_order_days';
COMMENT ON FUNCTION retention._next_order_days(
  retention.model, integer, double precision, double precision) IS
  'Whole days from the last order of a stored customer to the next one, at most a hundred years.';

CREATE OR REPLACE VIEW retention.profile AS
  -- The joins are to unique keys: the planner leaves them out where no column needs them.
  SELECT c.metric, c.customer_id,
         c.revenue AS historic_clv,
         retention._clv(p.purchase, c.purchase_days, c.average_days_between_orders,
                        c.first_order_at, s.time_zone,
                        s.prediction_window, p.spend, s.discount_rate,
                        c.repeat_value) AS predicted_clv,
         retention._double(c.revenue)
           + retention._clv(p.purchase, c.purchase_days, c.average_days_between_orders,
                            c.first_order_at, s.time_zone,
                            s.prediction_window, p.spend, s.discount_rate,
                            c.repeat_value) AS total_clv,
         c.orders AS historic_number_of_orders,
         retention._expected_orders(p.purchase, c.purchase_days, c.average_days_between_orders,
                                    c.first_order_at, s.time_zone,
                                    s.prediction_window) AS predicted_number_of_orders,
         c.average_order_value,
         c.average_days_between_orders,
         c.days_between_orders_sd,
         1 - retention._p_alive(p.purchase, c.purchase_days, c.average_days_between_orders,
                                c.first_order_at, s.time_zone) AS churn_probability,
         CASE WHEN NOT p.is_off THEN ('{low,medium,high}'::text[])[1 + width_bucket(
           1 - retention._p_alive(p.purchase, c.purchase_days, c.average_days_between_orders,
                                  c.first_order_at, s.time_zone),
           s.churn_levels)] END AS churn_risk,
         retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders,
                                        0.5) AS expected_date_of_next_order,
         retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders,
                                        0.1) AS next_order_earliest,
         retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders,
                                        0.9) AS next_order_latest,
         retention._local_date(retention.now(),
                               s.time_zone) > retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders,
                                        0.9) AS overdue,
         c.purchase_days,
         c.first_order_at,
         c.last_order_at,
         retention._local_date(retention.now(),
                               s.time_zone) - retention._local_date(c.last_order_at,
                                   s.time_zone) AS days_since_last_order,
         c.r, c.f, c.m,
         concat(c.r, c.f, c.m) AS rfm_score,
         c.rfm_group,
         c.previous_rfm_group,
         c.rfm_group_changed_at,
         retention._p_alive(p.purchase, c.purchase_days, c.average_days_between_orders,
                            c.first_order_at, s.time_zone) AS p_alive,
         retention._order_probability(p.purchase, c.purchase_days, c.average_days_between_orders,
                                      c.first_order_at, s.time_zone,
                                      s.prediction_window) AS order_probability,
         p.confidence
  FROM retention.customer c
  LEFT JOIN retention.metric s ON s.metric = c.metric
  LEFT JOIN retention.published_model p ON p.metric = c.metric;
COMMENT ON VIEW retention.profile IS
  'One row per metric and customer, under the names marketers know. Predictions are computed when '
  'they are read, from the facts, the published models and retention.now().';
COMMENT ON COLUMN retention.profile.metric IS 'Metric by which the orders are counted.';
COMMENT ON COLUMN retention.profile.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.profile.historic_clv IS 'Exact revenue so far, less refunds.';
COMMENT ON COLUMN retention.profile.predicted_clv IS
  'Expected value of the orders of the next prediction_window days, discounted by the metric''s '
  'discount_rate.';
COMMENT ON COLUMN retention.profile.total_clv IS 'historic_clv + predicted_clv.';
COMMENT ON COLUMN retention.profile.predicted_number_of_orders IS
  'Expected days with an order in the next prediction_window days.';
COMMENT ON COLUMN retention.profile.churn_probability IS '1 - p_alive.';
COMMENT ON COLUMN retention.profile.churn_risk IS
  'low, medium or high: where churn_probability lies among the metric''s churn_levels; null where '
  'the last back-test of the models was off by more than a third.';
COMMENT ON COLUMN retention.profile.expected_date_of_next_order IS
  'Day by which half of such customers order again, if they stay; counted from the last order, it '
  'moves with the next one only. At most a hundred years later.';
COMMENT ON COLUMN retention.profile.next_order_earliest IS
  'Day by which one in ten of such customers has ordered again.';
COMMENT ON COLUMN retention.profile.next_order_latest IS
  'Day by which nine in ten of such customers have ordered again.';
COMMENT ON COLUMN retention.profile.overdue IS 'Today is past next_order_latest.';
COMMENT ON COLUMN retention.profile.historic_number_of_orders IS
  'Orders with a net amount above zero.';
COMMENT ON COLUMN retention.profile.average_order_value IS
  'historic_clv / historic_number_of_orders.';
COMMENT ON COLUMN retention.profile.average_days_between_orders IS
  'Mean days between purchase days; null for fewer than 2.';
COMMENT ON COLUMN retention.profile.days_between_orders_sd IS
  'Sample standard deviation of the days between purchase days; null for fewer than 3.';
COMMENT ON COLUMN retention.profile.purchase_days IS
  'Distinct days with an order, in the metric''s time zone.';
COMMENT ON COLUMN retention.profile.first_order_at IS 'Time of the first order.';
COMMENT ON COLUMN retention.profile.last_order_at IS 'Time of the last order.';
COMMENT ON COLUMN retention.profile.days_since_last_order IS
  'Calendar days from the last order to retention.now(), in the metric''s time zone.';
COMMENT ON COLUMN retention.profile.r IS
  'Recency score as of the last refresh, 1 for the longest absence.';
COMMENT ON COLUMN retention.profile.f IS 'Frequency score, 1 for the fewest orders.';
COMMENT ON COLUMN retention.profile.m IS 'Monetary score, 1 for the least revenue.';
COMMENT ON COLUMN retention.profile.rfm_score IS 'The three scores together, such as 333.';
COMMENT ON COLUMN retention.profile.rfm_group IS 'Group of the scores, as of the last refresh.';
COMMENT ON COLUMN retention.profile.previous_rfm_group IS
  'Group before the last change; null when there was none.';
COMMENT ON COLUMN retention.profile.rfm_group_changed_at IS
  'Clock of the refresh that put the customer in this group.';
COMMENT ON COLUMN retention.profile.p_alive IS
  'Probability, now, that the customer has not left for good.';
COMMENT ON COLUMN retention.profile.order_probability IS
  'Probability of an order in the next prediction_window days.';
COMMENT ON COLUMN retention.profile.confidence IS
  'Whether predictions can be relied on: high, medium or low; readiness gives the reasons.';
