-- What the predictions rest on, what they say of typical customers, and how they are spread.

CREATE OR REPLACE FUNCTION retention._parameters(model retention.model) RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_object_agg(p.name, jsonb_build_object('value', p.value,
                                                     'standard_error', p.standard_error))
  FROM unnest((model).names, (model).parameters, (model).standard_errors)
    AS p (name, value, standard_error)
$$;
COMMENT ON FUNCTION retention._parameters(retention.model) IS
  'The parameters of a model, each with its standard error.';

CREATE OR REPLACE VIEW retention.clv_model_card AS
  SELECT m.metric, l.as_of AS refreshed_at, l.customers, l.orders, l.first_order_at,
         l.last_order_at, m.prediction_window, m.discount_rate, p.as_of AS fitted_at,
         (p.purchase).kind AS purchase_model, (p.purchase).n AS purchase_customers,
         retention._parameters(p.purchase) AS purchase_parameters,
         (p.spend).kind AS spend_model, (p.spend).n AS spend_customers,
         retention._parameters(p.spend) AS spend_parameters,
         v.calibration_end, v.holdout_end, v.orders AS holdout_orders,
         v.predicted_orders AS holdout_predicted_orders,
         100 * (v.predicted_orders / nullif(v.orders, 0) - 1) AS orders_percent_off,
         v.revenue AS holdout_revenue, v.predicted_revenue AS holdout_predicted_revenue,
         100 * (v.predicted_revenue / nullif(v.revenue, 0) - 1) AS revenue_percent_off,
         v.mae, v.naive_mae, v.auc, p.confidence,
         ARRAY(SELECT format('%s: needed %s, found %s', r.requirement, r.needed,
                             coalesce(r.found::text, 'none'))
               FROM retention.readiness(m.metric) AS r WHERE NOT r.met) AS reasons
  FROM retention.metric m
  LEFT JOIN retention.published_model p ON p.metric = m.metric
  LEFT JOIN LATERAL (
    SELECT * FROM retention.population o WHERE o.metric = m.metric AND NOT o.backfilled
    ORDER BY o.refresh_id DESC LIMIT 1) AS l ON true
  LEFT JOIN (
    SELECT w.metric, w.calibration_end, w.holdout_end,
           max(w.actual) FILTER (WHERE w.item = 'orders') AS orders,
           max(w.predicted) FILTER (WHERE w.item = 'orders') AS predicted_orders,
           max(w.actual) FILTER (WHERE w.item = 'revenue') AS revenue,
           max(w.predicted) FILTER (WHERE w.item = 'revenue') AS predicted_revenue,
           max(w.predicted) FILTER (WHERE w.item = 'MAE') AS mae,
           max(w.naive) FILTER (WHERE w.item = 'MAE') AS naive_mae,
           max(w.predicted) FILTER (WHERE w.item = 'AUC') AS auc
    FROM retention.model_validation w WHERE w.section IN ('total', 'measure')
    GROUP BY 1, 2, 3) AS v ON v.metric = m.metric;
COMMENT ON VIEW retention.clv_model_card IS
  'What each metric''s predictions rest on: the history, the window, the models with their '
  'parameters, how they did on orders held out, and whether to rely on them.';
COMMENT ON COLUMN retention.clv_model_card.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.clv_model_card.refreshed_at IS 'Clock of the last refresh.';
COMMENT ON COLUMN retention.clv_model_card.customers IS 'Customers with an order.';
COMMENT ON COLUMN retention.clv_model_card.orders IS 'Orders that count.';
COMMENT ON COLUMN retention.clv_model_card.first_order_at IS 'Where the history begins.';
COMMENT ON COLUMN retention.clv_model_card.last_order_at IS 'Where the history ends.';
COMMENT ON COLUMN retention.clv_model_card.prediction_window IS 'Days that are predicted.';
COMMENT ON COLUMN retention.clv_model_card.discount_rate IS
  'How much less money is worth a year later.';
COMMENT ON COLUMN retention.clv_model_card.fitted_at IS
  'Clock of the refresh that fitted the models; null: there are none.';
COMMENT ON COLUMN retention.clv_model_card.purchase_model IS 'Model of when customers order.';
COMMENT ON COLUMN retention.clv_model_card.purchase_customers IS 'Customers it was fitted to.';
COMMENT ON COLUMN retention.clv_model_card.purchase_parameters IS
  'Its parameters, each with value and standard_error; times are days.';
COMMENT ON COLUMN retention.clv_model_card.spend_model IS 'Model of for how much they order.';
COMMENT ON COLUMN retention.clv_model_card.spend_customers IS
  'Customers it was fitted to: those who have come back.';
COMMENT ON COLUMN retention.clv_model_card.spend_parameters IS
  'Its parameters, each with value and standard_error.';
COMMENT ON COLUMN retention.clv_model_card.calibration_end IS
  'The last validate_model fitted to the orders up to then; null: there was none.';
COMMENT ON COLUMN retention.clv_model_card.holdout_end IS 'It compared with those up to then.';
COMMENT ON COLUMN retention.clv_model_card.holdout_orders IS
  'Days with an order, of customers known by calibration_end, that came.';
COMMENT ON COLUMN retention.clv_model_card.holdout_predicted_orders IS 'Those predicted.';
COMMENT ON COLUMN retention.clv_model_card.orders_percent_off IS
  'How many per cent too many were predicted.';
COMMENT ON COLUMN retention.clv_model_card.holdout_revenue IS 'Revenue that came from them.';
COMMENT ON COLUMN retention.clv_model_card.holdout_predicted_revenue IS 'That predicted.';
COMMENT ON COLUMN retention.clv_model_card.revenue_percent_off IS
  'How many per cent too much was predicted.';
COMMENT ON COLUMN retention.clv_model_card.mae IS
  'Mean absolute error of the orders of a customer.';
COMMENT ON COLUMN retention.clv_model_card.naive_mae IS
  'The same of the rule that everybody orders as in the period before.';
COMMENT ON COLUMN retention.clv_model_card.auc IS
  'How well those who ordered were told from others: 0.5 by chance, 1 always.';
COMMENT ON COLUMN retention.clv_model_card.confidence IS
  'high, medium or low, as in profile.';
COMMENT ON COLUMN retention.clv_model_card.reasons IS
  'The requirements of readiness that are not met.';

CREATE OR REPLACE FUNCTION retention._profiles()
  RETURNS TABLE (
    number integer, profile text, orders int8range, days int4range)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES (1, 'Three or more orders, the last within 90 days', '[3,]'::int8range,
          '[,90]'::int4range),
         (2, 'Two orders, the last within 90 days', '[2,2]', '[,90]'),
         (3, 'One order, within 60 days', '[1,1]', '[,60]'),
         (4, 'Three or more orders, the last over 180 days ago', '[3,]', '[181,]'),
         (5, 'One order, over 60 days ago', '[1,1]', '[61,]')
$$;
COMMENT ON FUNCTION retention._profiles() IS
  'The five profiles of customers that clv_examples shows one of each.';

CREATE OR REPLACE FUNCTION retention._range_condition(column_name name, span anyrange)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN lower_inf(span) THEN format('%I < %s', column_name, upper(span))
    WHEN upper_inf(span) THEN format('%I >= %s', column_name, lower(span))
    ELSE format('%1$I >= %2$s AND %1$I < %3$s', column_name, lower(span), upper(span)) END
$$;
COMMENT ON FUNCTION retention._range_condition(name, anyrange) IS
  'The condition that a column lies in a range.';

CREATE OR REPLACE VIEW retention.clv_examples AS
  SELECT m.metric, k.number, k.profile,
         format('metric = %L AND %s AND %s', m.metric,
                retention._range_condition('historic_number_of_orders', k.orders),
                retention._range_condition('days_since_last_order', k.days)) AS condition,
         coalesce(e.customers, 0) AS customers, p.customer_id, p.historic_number_of_orders,
         p.first_order_at, p.last_order_at, p.days_since_last_order, p.average_order_value,
         p.average_days_between_orders, p.historic_clv, p.predicted_clv, p.total_clv,
         p.predicted_number_of_orders, p.churn_probability, p.expected_date_of_next_order
  FROM retention.metric m
  CROSS JOIN retention._profiles() AS k
  LEFT JOIN (
    SELECT c.metric, c.customer_id, f.number,
           row_number() OVER (like_this ORDER BY c.revenue, c.customer_id) AS place,
           count(*) OVER like_this AS customers
    FROM retention.customer c
    JOIN retention.metric s USING (metric)
    JOIN retention._profiles() AS f
      ON c.orders <@ f.orders
      AND retention._local_date(retention.now(), s.time_zone)
          - retention._local_date(c.last_order_at, s.time_zone) <@ f.days
    WINDOW like_this AS (PARTITION BY c.metric, f.number)) AS e
    ON e.metric = m.metric AND e.number = k.number AND e.place = (e.customers + 1) / 2
  LEFT JOIN retention.profile p ON p.metric = e.metric AND p.customer_id = e.customer_id
  ORDER BY m.metric, k.number;
COMMENT ON VIEW retention.clv_examples IS
  'Five profiles of customers, with one of each: whose revenue is the median of their profile.';
COMMENT ON COLUMN retention.clv_examples.number IS 'Number of the profile.';
COMMENT ON COLUMN retention.clv_examples.profile IS 'Who they are.';
COMMENT ON COLUMN retention.clv_examples.condition IS
  'Condition on retention.profile that gives exactly these customers.';
COMMENT ON COLUMN retention.clv_examples.customers IS 'How many there are.';

CREATE OR REPLACE FUNCTION retention._round_bounds(highest double precision)
  RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(b.bound ORDER BY b.bound), '{}')
  FROM (SELECT (digit || 'e' || power)::double precision
        FROM generate_series(-3, 0) AS below,
             LATERAL (SELECT floor(log(highest::numeric))::integer + below AS power
                      WHERE highest > 0) AS p,
             unnest('{1,2,5}'::integer[]) AS digit) AS b (bound)
  WHERE b.bound <= highest
$$;
COMMENT ON FUNCTION retention._round_bounds(double precision) IS
  '1, 2 and 5 times the powers of ten that lead to a value: the last four.';

CREATE OR REPLACE VIEW retention.predicted_value_distribution AS
  WITH predicted AS MATERIALIZED (
    SELECT p.metric, p.predicted_clv FROM retention.profile p),
  bound AS MATERIALIZED (
    SELECT p.metric, retention._round_bounds(max(p.predicted_clv)) AS bounds FROM predicted p
    GROUP BY p.metric)
  SELECT c.metric, c.bin, coalesce(c.bounds[c.bin], 0) AS from_value,
         c.bounds[c.bin + 1] AS below_value, c.customers,
         round(100 * c.customers / sum(c.customers) OVER own, 3) AS percent, c.predicted_clv,
         100 * c.predicted_clv / nullif(sum(c.predicted_clv) OVER own, 0) AS percent_of_predicted,
         format('metric = %L AND predicted_clv >= %s', c.metric, coalesce(c.bounds[c.bin], 0))
           || coalesce(' AND predicted_clv < ' || c.bounds[c.bin + 1], '') AS condition
  FROM (SELECT b.metric, b.bounds, width_bucket(p.predicted_clv, b.bounds) AS bin,
               count(*) AS customers, sum(p.predicted_clv) AS predicted_clv
        FROM predicted p JOIN bound b USING (metric) WHERE p.predicted_clv IS NOT NULL
        GROUP BY 1, 2, 3) AS c
  WINDOW own AS (PARTITION BY c.metric)
  ORDER BY c.metric, c.bin;
COMMENT ON VIEW retention.predicted_value_distribution IS
  'How the value predicted of customers is spread: customers by round bounds.';
COMMENT ON COLUMN retention.predicted_value_distribution.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.predicted_value_distribution.bin IS 'Number of the span, from 0.';
COMMENT ON COLUMN retention.predicted_value_distribution.from_value IS
  'Lower bound of predicted_clv, inclusive.';
COMMENT ON COLUMN retention.predicted_value_distribution.below_value IS
  'Upper bound, exclusive; null: there is none.';
COMMENT ON COLUMN retention.predicted_value_distribution.customers IS 'How many there are.';
COMMENT ON COLUMN retention.predicted_value_distribution.percent IS 'Their share of all.';
COMMENT ON COLUMN retention.predicted_value_distribution.predicted_clv IS
  'What is predicted of them together.';
COMMENT ON COLUMN retention.predicted_value_distribution.percent_of_predicted IS
  'Its share of what is predicted of all.';
COMMENT ON COLUMN retention.predicted_value_distribution.condition IS
  'Condition on retention.profile that gives exactly these customers, at the same moment.';
