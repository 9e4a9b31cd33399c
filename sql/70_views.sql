-- What people and BI tools read.

-- The predicted columns of the profile: the toolkit's functions of the columns of customer, as of retention.now().

CREATE OR REPLACE FUNCTION retention._p_alive(
    purchase retention.model, purchase_days integer, average_days double precision, first_order_at timestamptz, time_zone text)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_p_alive';
COMMENT ON FUNCTION retention._p_alive(retention.model, integer, double precision, timestamptz, text) IS
  'p_alive of a stored customer.';

CREATE OR REPLACE FUNCTION retention._expected_orders(
    purchase retention.model, purchase_days integer, average_days double precision, first_order_at timestamptz, time_zone text, days integer)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_expected_orders';
COMMENT ON FUNCTION retention._expected_orders(retention.model, integer, double precision, timestamptz, text, integer) IS
  'expected_orders of a stored customer.';

CREATE OR REPLACE FUNCTION retention._order_probability(
    purchase retention.model, purchase_days integer, average_days double precision, first_order_at timestamptz, time_zone text, days integer)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_order_probability';
COMMENT ON FUNCTION retention._order_probability(retention.model, integer, double precision, timestamptz, text, integer) IS
  'order_probability of a stored customer.';

CREATE OR REPLACE FUNCTION retention._clv(
    purchase retention.model, purchase_days integer, average_days double precision, first_order_at timestamptz, time_zone text, days integer,
    spend retention.model, discount double precision, repeat_value numeric)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_clv';
COMMENT ON FUNCTION retention._clv(retention.model, integer, double precision, timestamptz, text, integer, retention.model, double precision, numeric) IS
  'clv of a stored customer.';

CREATE OR REPLACE FUNCTION retention._next_order_days(
    purchase retention.model, purchase_days integer, average_days double precision, quantile double precision)
  RETURNS integer
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_next_order_days';
COMMENT ON FUNCTION retention._next_order_days(retention.model, integer, double precision, double precision) IS
  'Whole days from the last order of a stored customer to the next one, at most a hundred years.';

CREATE OR REPLACE VIEW retention.profile AS
  -- The joins are to unique keys: the planner leaves them out where no column needs them.
  SELECT c.metric, c.customer_id,
         c.revenue AS historic_clv,
         retention._clv(p.purchase, c.purchase_days, c.average_days_between_orders, c.first_order_at, s.time_zone,
                        s.prediction_window, p.spend, s.discount_rate, c.repeat_value) AS predicted_clv,
         retention._double(c.revenue)
           + retention._clv(p.purchase, c.purchase_days, c.average_days_between_orders, c.first_order_at, s.time_zone,
                            s.prediction_window, p.spend, s.discount_rate, c.repeat_value) AS total_clv,
         c.orders AS historic_number_of_orders,
         retention._expected_orders(p.purchase, c.purchase_days, c.average_days_between_orders, c.first_order_at, s.time_zone,
                                    s.prediction_window) AS predicted_number_of_orders,
         c.average_order_value,
         c.average_days_between_orders,
         c.days_between_orders_sd,
         1 - retention._p_alive(p.purchase, c.purchase_days, c.average_days_between_orders, c.first_order_at, s.time_zone) AS churn_probability,
         CASE WHEN NOT p.is_off THEN ('{low,medium,high}'::text[])[1 + width_bucket(
           1 - retention._p_alive(p.purchase, c.purchase_days, c.average_days_between_orders, c.first_order_at, s.time_zone),
           s.churn_levels)] END AS churn_risk,
         retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders, 0.5) AS expected_date_of_next_order,
         retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders, 0.1) AS next_order_earliest,
         retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders, 0.9) AS next_order_latest,
         retention._local_date(retention.now(), s.time_zone) > retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders, 0.9) AS overdue,
         c.purchase_days,
         c.first_order_at,
         c.last_order_at,
         retention._local_date(retention.now(), s.time_zone) - retention._local_date(c.last_order_at, s.time_zone) AS days_since_last_order,
         c.r, c.f, c.m,
         concat(c.r, c.f, c.m) AS rfm_score,
         c.rfm_group,
         c.previous_rfm_group,
         c.rfm_group_changed_at,
         retention._p_alive(p.purchase, c.purchase_days, c.average_days_between_orders, c.first_order_at, s.time_zone) AS p_alive,
         retention._order_probability(p.purchase, c.purchase_days, c.average_days_between_orders, c.first_order_at, s.time_zone,
                                      s.prediction_window) AS order_probability,
         p.confidence
  FROM retention.customer c
  LEFT JOIN retention.metric s ON s.metric = c.metric
  LEFT JOIN retention.published_model p ON p.metric = c.metric;
COMMENT ON VIEW retention.profile IS 'One row per metric and customer, under the names marketers know. Predictions are computed when they are read, from the facts, the published models and retention.now().';
COMMENT ON COLUMN retention.profile.metric IS 'Metric by which the orders are counted.';
COMMENT ON COLUMN retention.profile.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.profile.historic_clv IS 'Exact revenue so far, less refunds.';
COMMENT ON COLUMN retention.profile.predicted_clv IS 'Expected value of the orders of the next prediction_window days, discounted by the metric''s discount_rate.';
COMMENT ON COLUMN retention.profile.total_clv IS 'historic_clv + predicted_clv.';
COMMENT ON COLUMN retention.profile.predicted_number_of_orders IS 'Expected days with an order in the next prediction_window days.';
COMMENT ON COLUMN retention.profile.churn_probability IS '1 - p_alive.';
COMMENT ON COLUMN retention.profile.churn_risk IS 'low, medium or high: where churn_probability lies among the metric''s churn_levels; null where the last back-test of the models was off by more than a third.';
COMMENT ON COLUMN retention.profile.expected_date_of_next_order IS 'Day by which half of such customers order again, if they stay; counted from the last order, it moves with the next one only. At most a hundred years later.';
COMMENT ON COLUMN retention.profile.next_order_earliest IS 'Day by which one in ten of such customers has ordered again.';
COMMENT ON COLUMN retention.profile.next_order_latest IS 'Day by which nine in ten of such customers have ordered again.';
COMMENT ON COLUMN retention.profile.overdue IS 'Today is past next_order_latest.';
COMMENT ON COLUMN retention.profile.historic_number_of_orders IS 'Orders with a net amount above zero.';
COMMENT ON COLUMN retention.profile.average_order_value IS 'historic_clv / historic_number_of_orders.';
COMMENT ON COLUMN retention.profile.average_days_between_orders IS 'Mean days between purchase days; null for fewer than 2.';
COMMENT ON COLUMN retention.profile.days_between_orders_sd IS 'Sample standard deviation of the days between purchase days; null for fewer than 3.';
COMMENT ON COLUMN retention.profile.purchase_days IS 'Distinct days with an order, in the metric''s time zone.';
COMMENT ON COLUMN retention.profile.first_order_at IS 'Time of the first order.';
COMMENT ON COLUMN retention.profile.last_order_at IS 'Time of the last order.';
COMMENT ON COLUMN retention.profile.days_since_last_order IS 'Calendar days from the last order to retention.now(), in the metric''s time zone.';
COMMENT ON COLUMN retention.profile.r IS 'Recency score as of the last refresh, 1 for the longest absence.';
COMMENT ON COLUMN retention.profile.f IS 'Frequency score, 1 for the fewest orders.';
COMMENT ON COLUMN retention.profile.m IS 'Monetary score, 1 for the least revenue.';
COMMENT ON COLUMN retention.profile.rfm_score IS 'The three scores together, such as 333.';
COMMENT ON COLUMN retention.profile.rfm_group IS 'Group of the scores, as of the last refresh.';
COMMENT ON COLUMN retention.profile.previous_rfm_group IS 'Group before the last change; null when there was none.';
COMMENT ON COLUMN retention.profile.rfm_group_changed_at IS 'Clock of the refresh that put the customer in this group.';
COMMENT ON COLUMN retention.profile.p_alive IS 'Probability, now, that the customer has not left for good.';
COMMENT ON COLUMN retention.profile.order_probability IS 'Probability of an order in the next prediction_window days.';
COMMENT ON COLUMN retention.profile.confidence IS 'Whether predictions can be relied on: high, medium or low; readiness gives the reasons.';

CREATE OR REPLACE FUNCTION retention._bounds_sentence(what text, unit text, value numeric, bounds double precision[], score integer)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s %s%s: ', what, value, unit)
      || concat_ws(' and ', 'at least ' || bounds[score - 1]::numeric, 'less than ' || bounds[score]::numeric,
                   CASE WHEN num_nulls(bounds[score - 1], bounds[score]) = 2 THEN 'like everybody' END)
      || format(' scores %s of %s.', score, cardinality(bounds) + 1)
$$;
COMMENT ON FUNCTION retention._bounds_sentence(text, text, numeric, double precision[], integer) IS 'Says why a value has its score.';

CREATE OR REPLACE FUNCTION retention._limits_sentence(days integer, limits double precision[], score integer) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('Last ordered %s days ago: ', days)
      || concat_ws(' and ', 'more than ' || limits[score], 'at most ' || limits[score - 1])
      || format(' scores %s of %s.', score, cardinality(limits) + 1)
$$;
COMMENT ON FUNCTION retention._limits_sentence(integer, double precision[], integer) IS 'Says why an absence has its score.';

CREATE OR REPLACE FUNCTION retention.explain_score(customer_id text, metric text DEFAULT 'orders')
  RETURNS TABLE (dimension text, value numeric, bounds double precision[], rank bigint, score integer, sentence text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  settings retention.metric := retention._require_metric(metric);
  published retention.population := retention._last_refresh(metric);
  found_customer retention.customer;
  days integer;
BEGIN
  SELECT c.* INTO found_customer FROM retention.customer c
    WHERE c.metric = explain_score.metric AND c.customer_id = explain_score.customer_id;
  PERFORM retention._reject_unless(FOUND, format('customer "%s" has no orders in metric "%s"', customer_id, metric),
    'Customers appear with the first refresh after their first order.', 'no_data_found');
  -- process_changes may have seen a later order.
  days := greatest(0, (published.as_of AT TIME ZONE settings.time_zone)::date - (found_customer.last_order_at AT TIME ZONE settings.time_zone)::date);
  RETURN QUERY
    SELECT 'recency', days::numeric, published.recency_limits,
           (SELECT 1 + count(*) FROM retention.customer c WHERE c.metric = settings.metric AND c.last_order_at > found_customer.last_order_at),
           found_customer.r::integer, retention._limits_sentence(days, published.recency_limits, found_customer.r)
    UNION ALL
    SELECT 'frequency', found_customer.orders, published.frequency_bounds,
           (SELECT 1 + count(*) FROM retention.customer c WHERE c.metric = settings.metric AND c.orders > found_customer.orders),
           found_customer.f, retention._bounds_sentence('Placed', CASE found_customer.orders WHEN 1 THEN ' order' ELSE ' orders' END,
             found_customer.orders, published.frequency_bounds, found_customer.f)
    UNION ALL
    SELECT 'monetary', found_customer.revenue, published.monetary_bounds,
           (SELECT 1 + count(*) FROM retention.customer c WHERE c.metric = settings.metric AND c.revenue > found_customer.revenue),
           found_customer.m, retention._bounds_sentence('Spent', '', found_customer.revenue, published.monetary_bounds, found_customer.m);
END
$$;
COMMENT ON FUNCTION retention.explain_score(text, text) IS
  'A row per dimension as of the last refresh: value, bounds, rank (1 is the best of all customers), score, and a sentence that says why.';

CREATE OR REPLACE FUNCTION retention.readiness(metric text DEFAULT 'orders')
  RETURNS TABLE (requirement text, needed numeric, found numeric, met boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM retention._readiness(retention._require_metric(metric), retention.now())
$$;
COMMENT ON FUNCTION retention.readiness(text) IS
  'Whether there is enough history to trust scores and predictions: the customary requirements, and what was found. The column confidence of profile sums them up.';

-- A view per group, ready to be a segment: first those of scheme standard, then those that only quintile has.

CREATE OR REPLACE VIEW retention.champions AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Champions';
COMMENT ON VIEW retention.champions IS 'Customers of metric "orders" in group Champions.';

CREATE OR REPLACE VIEW retention.loyal AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Loyal';
COMMENT ON VIEW retention.loyal IS 'Customers of metric "orders" in group Loyal.';

CREATE OR REPLACE VIEW retention.recent AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Recent';
COMMENT ON VIEW retention.recent IS 'Customers of metric "orders" in group Recent.';

CREATE OR REPLACE VIEW retention.needs_attention AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Needs Attention';
COMMENT ON VIEW retention.needs_attention IS 'Customers of metric "orders" in group Needs Attention.';

CREATE OR REPLACE VIEW retention.at_risk AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'At Risk';
COMMENT ON VIEW retention.at_risk IS 'Customers of metric "orders" in group At Risk.';

CREATE OR REPLACE VIEW retention.inactive AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Inactive';
COMMENT ON VIEW retention.inactive IS 'Customers of metric "orders" in group Inactive.';

CREATE OR REPLACE VIEW retention.loyal_customers AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Loyal Customers';
COMMENT ON VIEW retention.loyal_customers IS 'Customers of metric "orders" in group Loyal Customers.';

CREATE OR REPLACE VIEW retention.potential_loyalists AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Potential Loyalists';
COMMENT ON VIEW retention.potential_loyalists IS 'Customers of metric "orders" in group Potential Loyalists.';

CREATE OR REPLACE VIEW retention.new_customers AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'New Customers';
COMMENT ON VIEW retention.new_customers IS 'Customers of metric "orders" in group New Customers.';

CREATE OR REPLACE VIEW retention.promising AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Promising';
COMMENT ON VIEW retention.promising IS 'Customers of metric "orders" in group Promising.';

CREATE OR REPLACE VIEW retention.need_attention AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Need Attention';
COMMENT ON VIEW retention.need_attention IS 'Customers of metric "orders" in group Need Attention.';

CREATE OR REPLACE VIEW retention.about_to_sleep AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'About To Sleep';
COMMENT ON VIEW retention.about_to_sleep IS 'Customers of metric "orders" in group About To Sleep.';

CREATE OR REPLACE VIEW retention.cant_lose_them AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Can''t Lose Them';
COMMENT ON VIEW retention.cant_lose_them IS 'Customers of metric "orders" in group Can''t Lose Them.';

CREATE OR REPLACE VIEW retention.hibernating AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Hibernating';
COMMENT ON VIEW retention.hibernating IS 'Customers of metric "orders" in group Hibernating.';

CREATE OR REPLACE VIEW retention.lost AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group = 'Lost';
COMMENT ON VIEW retention.lost IS 'Customers of metric "orders" in group Lost.';

-- Ready-made segments that are more than a group.

CREATE OR REPLACE VIEW retention.win_back AS SELECT * FROM retention.profile WHERE metric = 'orders' AND rfm_group IN ('At Risk', 'Needs Attention', 'Need Attention', 'Can''t Lose Them');
COMMENT ON VIEW retention.win_back IS 'Customers of metric "orders" who were good ones and are drifting away: at risk, or in need of attention.';

CREATE OR REPLACE VIEW retention.one_time_buyers AS SELECT * FROM retention.profile WHERE metric = 'orders' AND historic_number_of_orders = 1;
COMMENT ON VIEW retention.one_time_buyers IS 'Customers of metric "orders" with exactly one order.';

CREATE OR REPLACE VIEW retention.overdue AS SELECT * FROM retention.profile WHERE metric = 'orders' AND overdue;
COMMENT ON VIEW retention.overdue IS 'Customers of metric "orders" who should have ordered again by now: nine in ten of such customers would have.';

CREATE OR REPLACE VIEW retention.churn_risk_high AS SELECT * FROM retention.profile WHERE metric = 'orders' AND churn_risk = 'high';
COMMENT ON VIEW retention.churn_risk_high IS 'Customers of metric "orders" who have probably left.';

CREATE OR REPLACE VIEW retention.vip AS
  SELECT p.* FROM retention.profile p
  -- By the bounds that the scores were given by: the settings may have changed since.
  WHERE p.metric = 'orders'
    AND (p.f, p.m) = (SELECT cardinality(l.frequency_bounds) + 1, cardinality(l.monetary_bounds) + 1
                      FROM retention.population l WHERE l.metric = 'orders' AND NOT l.backfilled
                      ORDER BY l.refresh_id DESC LIMIT 1);
COMMENT ON VIEW retention.vip IS 'Customers of metric "orders" with the highest score for frequency and for revenue.';

CREATE OR REPLACE VIEW retention.due_soon AS
  SELECT p.* FROM retention.profile p JOIN retention.metric s USING (metric)
  WHERE p.metric = 'orders'
    AND p.expected_date_of_next_order - retention._local_date(retention.now(), s.time_zone) BETWEEN 0 AND 7;
COMMENT ON VIEW retention.due_soon IS 'Customers of metric "orders" whose next order is expected within the next seven days.';

CREATE OR REPLACE VIEW retention.unreadable_row AS
  SELECT l.metric, found.by AS found_by, u.relation, u.reason, u.row_count,
         u.customer_id, u.order_id, u.value
  FROM retention.refresh_log l,
       LATERAL (VALUES ('refresh', l.unreadable_rows),
                       ('process_changes', l.unreadable_since)) AS found (by, unreadable),
       LATERAL jsonb_to_recordset(found.unreadable)
         AS u (relation text, reason text, row_count bigint,
               customer_id text, order_id text, value text)
  WHERE l.refresh_id IN (SELECT max(r.refresh_id) FROM retention.refresh_log r
                         WHERE r.path = 'rebuild' GROUP BY r.metric);
COMMENT ON VIEW retention.unreadable_row IS
  'Rows of sources that are left out because they cannot be read, by metric, source and reason, '
  'each with an example: those of the last refresh that has read the sources, and those that '
  'process_changes has met since. All other rows count as if these were not there.';
COMMENT ON COLUMN retention.unreadable_row.metric IS 'Metric that the rows belong to.';
COMMENT ON COLUMN retention.unreadable_row.found_by IS 'refresh, or process_changes since.';
COMMENT ON COLUMN retention.unreadable_row.relation IS
  'The source; for a sum, all sources of the metric.';
COMMENT ON COLUMN retention.unreadable_row.reason IS
  'time out of range: infinite, or before 4713 BC; amount not finite: NaN or infinity; amount too '
  'long: more than 38 digits; key too long: more than 2,000 bytes; sum too long: the amounts of a '
  'customer, who is left out, add up to more than 38 digits.';
COMMENT ON COLUMN retention.unreadable_row.row_count IS
  'Number of rows; process_changes counts one each time that its customer is read.';
COMMENT ON COLUMN retention.unreadable_row.customer_id IS
  'The shop''s key of the example''s customer, as text, cut to 2,000 bytes.';
COMMENT ON COLUMN retention.unreadable_row.order_id IS
  'The shop''s key of the example''s order; null where the source has none, and for a sum.';
COMMENT ON COLUMN retention.unreadable_row.value IS
  'What cannot be read: the time, the amount, or the length of the key; null for a sum.';
