-- Validates models on orders held out.

CREATE OR REPLACE VIEW retention.model_validation AS
  SELECT v.metric, v.calibration_end, v.holdout_end, (v.purchase).kind AS model,
         s.section, s.number, s.item, s.customers, s.actual, s.predicted, s.naive
  FROM retention.validation v JOIN retention.validation_result s USING (validation_id)
  WHERE v.validation_id = (SELECT max(l.validation_id) FROM retention.validation l
                           WHERE l.metric = v.metric)
  ORDER BY v.metric, array_position('{total,frequency,week,alive,order,measure}', s.section),
    s.number;
COMMENT ON VIEW retention.model_validation IS
  'Each metric''s latest run of validate_model: what happened in the holdout, what the models '
  'predicted, and what the naive rule "same as last period" did.';
COMMENT ON COLUMN retention.model_validation.metric IS 'Metric whose models were validated.';
COMMENT ON COLUMN retention.model_validation.calibration_end IS
  'The models knew orders up to then.';
COMMENT ON COLUMN retention.model_validation.holdout_end IS
  'The predictions were compared with orders up to then.';
COMMENT ON COLUMN retention.model_validation.model IS 'Name of the purchase model.';
COMMENT ON COLUMN retention.model_validation.section IS
  'total; frequency: orders per customer by repeat purchase days; week: orders; alive, order: '
  'share who ordered, by p_alive and by order_probability; measure: of the error per customer.';
COMMENT ON COLUMN retention.model_validation.number IS 'Place of the item in its section.';
COMMENT ON COLUMN retention.model_validation.item IS
  'What was compared: a total, repeat purchase days, the first day of a week, a range of '
  'probabilities, or a measure.';
COMMENT ON COLUMN retention.model_validation.customers IS 'How many customers the row is about.';
COMMENT ON COLUMN retention.model_validation.actual IS
  'What happened in the holdout; null for measures, and where there are no customers.';
COMMENT ON COLUMN retention.model_validation.predicted IS
  'What the models predicted; for measures, that of their predictions.';
COMMENT ON COLUMN retention.model_validation.naive IS
  'The same for the rule that everybody does what they did in the period of equal length before.';

CREATE OR REPLACE FUNCTION retention._local_days(
    settings retention.metric, "from" timestamptz, "to" timestamptz)
  RETURNS integer
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN retention._local_date("to", (settings).time_zone) - retention._local_date("from",
      (settings).time_zone);
COMMENT ON FUNCTION retention._local_days(retention.metric, timestamptz, timestamptz) IS
  'Days between two moments in the calendar of the metric''s zone.';

CREATE OR REPLACE FUNCTION retention._check_validation(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(isfinite(calibration_end) AND isfinite(holdout_end),
    format('calibration_end and holdout_end must be finite times, not %s and %s',
           coalesce(calibration_end::text, 'null'), coalesce(holdout_end::text, 'null')));
  PERFORM retention._reject_unless(calibration_end < holdout_end,
    format('calibration_end %s must lie before holdout_end %s', calibration_end, holdout_end),
    'The models are fitted to the orders up to calibration_end, and compared with those from then '
    'to holdout_end.');
  PERFORM retention._reject_unless(retention._local_days(settings, calibration_end,
                                                         holdout_end) > 0,
    format('the holdout from %s to %s is shorter than a day', calibration_end, holdout_end));
  PERFORM retention._reject_unless(holdout_end <= retention.now(),
    format('holdout_end %s lies after retention.now(), which is %s', holdout_end, retention.now()),
    'Only what has happened can be compared with a prediction.');
  PERFORM retention._check_refresh(settings, NULL, calibration_end);
END
$$;
COMMENT ON FUNCTION retention._check_validation(retention.metric, timestamptz, timestamptz) IS
  'Rejects a validation that cannot be done, with the reason.';

CREATE OR REPLACE FUNCTION retention._customers_at(
    settings retention.metric, as_of timestamptz, history_start timestamptz)
  RETURNS TABLE (
    customer_id text, purchase_days integer, first_order_at timestamptz, last_order_at timestamptz,
    revenue numeric, repeat_value numeric)
  LANGUAGE plpgsql ROWS 100000 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  settings.history := (as_of AT TIME ZONE settings.time_zone) - (history_start
      AT TIME ZONE settings.time_zone);
  PERFORM retention._read_metric(settings, as_of, NULL, NULL);
  RETURN QUERY
    SELECT customer_id, purchase_days, first_order_at, last_order_at, revenue, repeat_value
    FROM retention._collected(NULL, NULL);
END
$$;
COMMENT ON FUNCTION retention._customers_at(retention.metric, timestamptz, timestamptz) IS
  'Every customer as of a moment, by the orders from history_start on, so that what customers '
  'gain from one moment to another is what they ordered between.';

CREATE OR REPLACE FUNCTION retention._read_calibration(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz,
    history_start timestamptz)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_customers bigint;
  local_end timestamp := calibration_end AT TIME ZONE settings.time_zone;
  period_start timestamptz := (local_end - ((holdout_end
                                             AT TIME ZONE settings.time_zone) - local_end))
                                               AT TIME ZONE settings.time_zone;
BEGIN
  CREATE TEMPORARY TABLE retention_calibration ON COMMIT DROP AS
    SELECT c.customer_id, c.purchase_days, c.revenue,
           (c.purchase_days - 1)::double precision AS x,
           retention._local_days(settings, c.first_order_at,
                                 c.last_order_at)::double precision AS t_x,
           retention._local_days(settings, c.first_order_at,
                                 calibration_end)::double precision AS t,
           c.repeat_value::double precision AS m,
           greatest(c.purchase_days - coalesce(b.purchase_days, 0),
                    0)::double precision AS naive_orders,
           c.revenue - coalesce(b.revenue, 0) AS naive_revenue
    FROM retention._customers_at(settings, calibration_end, history_start) AS c
    LEFT JOIN retention._customers_at(settings, period_start, history_start) AS b
      USING (customer_id);
  GET DIAGNOSTICS found_customers = ROW_COUNT;
  PERFORM retention._reject_unless(found_customers > 0,
    format('metric "%s" has no customers on %s', settings.metric, calibration_end),
    'Choose a calibration_end which many orders lie before.', 'no_data_found');
  RETURN found_customers;
END
$$;
COMMENT ON FUNCTION retention._read_calibration(
  retention.metric, timestamptz, timestamptz, timestamptz) IS
  'Makes retention_calibration: what is known of customers at calibration_end, and what they did '
  'in the period before; returns their number.';

CREATE OR REPLACE FUNCTION retention._calibrate_purchase(settings retention.metric)
  RETURNS retention.model
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  state retention.fit_state := (SELECT retention.fit_state('mbgnbd', c.x, c.t_x, c.t)
                                FROM pg_temp.retention_calibration c);
BEGIN
  RETURN (SELECT f.model FROM retention._fit_purchases(settings.purchase_model, state) AS f
          WHERE f.chosen);
END
$$;
COMMENT ON FUNCTION retention._calibrate_purchase(retention.metric) IS
  'The purchase model that a refresh at calibration_end would have published.';

CREATE OR REPLACE FUNCTION retention._calibrate_spend() RETURNS retention.model
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT retention._fit_spend(retention.fit_state('gammagamma', c.x, c.m)
                                      FILTER (WHERE c.x > 0),
                                      (sum(c.revenue) / sum(c.purchase_days))::double precision)
          FROM pg_temp.retention_calibration c);
END
$$;
COMMENT ON FUNCTION retention._calibrate_spend() IS
  'The spend model that a refresh at calibration_end would have published.';

CREATE OR REPLACE FUNCTION retention._read_holdout(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz,
    history_start timestamptz,
    purchase retention.model, spend retention.model)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  horizon integer := retention._local_days(settings, calibration_end, holdout_end);
BEGIN
  CREATE TEMPORARY TABLE retention_holdout ON COMMIT DROP AS
    SELECT c.customer_id, c.x, c.naive_orders, c.naive_revenue,
           (c.naive_orders > 0)::integer::double precision AS naive_probability,
           gained.orders, coalesce(h.revenue, 0) - c.revenue AS revenue,
           (gained.orders > 0)::integer::double precision AS ordered,
           retention.p_alive(purchase, c.x, c.t_x, c.t) AS p_alive,
           retention.order_probability(purchase, c.x, c.t_x, c.t, horizon) AS order_probability,
           retention.expected_orders(purchase, c.x, c.t_x, c.t, horizon) AS expected_orders,
           retention.expected_spend(spend, c.x, c.m) AS expected_spend
    FROM pg_temp.retention_calibration c
    LEFT JOIN retention._customers_at(settings, holdout_end, history_start) AS h USING (customer_id)
    CROSS JOIN LATERAL (SELECT greatest(h.purchase_days - c.purchase_days,
                                        0)::double precision AS orders) AS gained;
END
$$;
COMMENT ON FUNCTION retention._read_holdout(
  retention.metric, timestamptz, timestamptz, timestamptz, retention.model, retention.model) IS
  'Makes retention_holdout: what the customers of retention_calibration did up to holdout_end, '
  'and what the models predicted.';

CREATE OR REPLACE FUNCTION retention._validate_totals() RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    SELECT NULL::bigint, 'total', item.number, item.name, found.customers, item.actual,
           item.predicted, item.naive
    FROM (SELECT count(*) AS customers,
                 sum(h.orders) AS orders, sum(h.expected_orders) AS expected_orders,
                 sum(h.naive_orders) AS naive_orders,
                 sum(h.revenue)::double precision AS revenue,
                 sum(h.expected_orders * h.expected_spend) AS expected_revenue,
                 sum(h.naive_revenue)::double precision AS naive_revenue,
                 sum(h.ordered) AS ordered, sum(h.order_probability) AS expected,
                 sum(h.naive_probability) AS naive
          FROM pg_temp.retention_holdout h) AS found,
         LATERAL (VALUES (1, 'orders', found.orders, found.expected_orders, found.naive_orders),
                         (2, 'revenue', found.revenue, found.expected_revenue, found.naive_revenue),
                         (3, 'customers who order', found.ordered, found.expected, found.naive))
           AS item (number, name, actual, predicted, naive);
END
$$;
COMMENT ON FUNCTION retention._validate_totals() IS 'Section total of a validation.';

CREATE OR REPLACE FUNCTION retention._validate_frequency() RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    SELECT NULL::bigint, 'frequency', class + 1, concat(class, CASE WHEN class = 7 THEN '+' END),
           count(h.x),
           avg(h.orders), avg(h.expected_orders), avg(h.naive_orders)
    FROM generate_series(0, 7) AS class
    LEFT JOIN pg_temp.retention_holdout h ON least(h.x, 7) = class
    GROUP BY class;
END
$$;
COMMENT ON FUNCTION retention._validate_frequency() IS 'Section frequency of a validation.';

CREATE OR REPLACE FUNCTION retention._validation_weeks(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz,
    OUT number integer, OUT ends_at timestamptz, OUT days integer)
  RETURNS SETOF record
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT week, CASE WHEN week * 7 < whole THEN (calibration_end
                                                AT TIME ZONE zone + week * interval '7 days')
                                                  AT TIME ZONE zone
                    ELSE holdout_end END,
         least(week * 7, whole)
  FROM (SELECT (settings).time_zone AS zone, retention._local_days(settings, calibration_end,
      holdout_end) AS whole) AS holdout,
       generate_series(1, (whole + 6) / 7) AS week
$$;
COMMENT ON FUNCTION retention._validation_weeks(retention.metric, timestamptz, timestamptz) IS
  'The weeks of a holdout: when they end, and how many days after calibration_end. The last one '
  'may be shorter.';

CREATE OR REPLACE FUNCTION retention._validate_weeks(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz,
    history_start timestamptz, purchase retention.model)
  RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  first_day date := retention._local_date(calibration_end, settings.time_zone);
  naive_per_day double precision := (SELECT sum(c.naive_orders)
                                     FROM pg_temp.retention_calibration c)
    / retention._local_days(settings, calibration_end, holdout_end);
BEGIN
  RETURN QUERY
    SELECT NULL::bigint, 'week', w.number, to_char(first_day + 7 * (w.number - 1), 'YYYY-MM-DD'),
           expected.customers,
           gained.orders - lag(gained.orders, 1, 0::double precision) OVER week,
           expected.orders - lag(expected.orders, 1, 0::double precision) OVER week,
           naive_per_day * (w.days - lag(w.days, 1, 0) OVER week)
    FROM retention._validation_weeks(settings, calibration_end, holdout_end) AS w,
         LATERAL (SELECT coalesce(sum(greatest(h.purchase_days - c.purchase_days, 0)),
                                  0)::double precision AS orders
                  FROM retention._customers_at(settings, w.ends_at, history_start) AS h
                  JOIN pg_temp.retention_calibration c USING (customer_id)) AS gained,
         LATERAL (SELECT count(*) AS customers,
                         sum(retention.expected_orders(purchase, c.x, c.t_x, c.t, w.days)) AS orders
                  FROM pg_temp.retention_calibration c) AS expected
    WINDOW week AS (ORDER BY w.number);
END
$$;
COMMENT ON FUNCTION retention._validate_weeks(
  retention.metric, timestamptz, timestamptz, timestamptz, retention.model) IS
  'Section week of a validation. Reads the sources as of each week''s end.';

CREATE OR REPLACE FUNCTION retention._validate_probabilities()
  RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    SELECT NULL::bigint, listed.section, listed.bin,
           concat(round((listed.bin - 1) / 10.0, 1), '-', round(listed.bin / 10.0, 1)),
           coalesce(found.customers, 0), found.actual, found.predicted, found.naive
    FROM (SELECT section, bin
          FROM unnest('{alive,order}'::text[]) AS section, generate_series(1, 10) AS bin) AS listed
    LEFT JOIN (
      SELECT p.section, p.bin, count(*) AS customers, avg(h.ordered) AS actual,
             avg(p.probability) AS predicted, avg(h.naive_probability) AS naive
      FROM pg_temp.retention_holdout h,
           LATERAL (SELECT v.section, v.probability,
                           least(floor(v.probability * 10), 9)::integer + 1 AS bin
                    FROM (VALUES ('alive', h.p_alive),
                          ('order', h.order_probability)) AS v (section, probability)) AS p
      GROUP BY p.section, p.bin) AS found USING (section, bin);
END
$$;
COMMENT ON FUNCTION retention._validate_probabilities() IS
  'Sections alive and order of a validation: ten ranges of each probability.';

CREATE OR REPLACE FUNCTION retention._validate_measures() RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    WITH scored AS (
      SELECT p.rule, p.probability, sum(h.ordered) AS positive, sum(1 - h.ordered) AS negative
      FROM pg_temp.retention_holdout h,
           LATERAL (VALUES ('predicted', h.order_probability),
                    ('naive', h.naive_probability)) AS p (rule, probability)
      GROUP BY p.rule, p.probability),
    ranked AS (
      -- Of two customers with equal probabilities, each counts as the likelier one by half.
      SELECT s.rule, s.positive, s.negative, sum(s.negative) OVER (PARTITION BY s.rule
          ORDER BY s.probability) - s.negative / 2 AS outranked
      FROM scored s),
    auc AS (
      SELECT r.rule, sum(r.positive * r.outranked) / nullif(sum(r.positive) * sum(r.negative),
                                                            0) AS area
      FROM ranked r GROUP BY r.rule)
    SELECT NULL::bigint, 'measure', item.number, item.name, found.customers, NULL::double precision,
           item.predicted, item.naive
    FROM (SELECT count(*) AS customers,
                 avg(abs(h.expected_orders - h.orders)) AS mae,
                 avg(abs(h.naive_orders - h.orders)) AS naive_mae,
                 sqrt(avg((h.expected_orders - h.orders) ^ 2)) AS rmse,
                 sqrt(avg((h.naive_orders - h.orders) ^ 2)) AS naive_rmse,
                 avg(h.expected_orders - h.orders) AS bias,
                 avg(h.naive_orders - h.orders) AS naive_bias,
                 avg((h.order_probability - h.ordered) ^ 2) AS brier,
                 avg((h.naive_probability - h.ordered) ^ 2) AS naive_brier
          FROM pg_temp.retention_holdout h) AS found,
         LATERAL (VALUES (1, 'MAE', found.mae, found.naive_mae),
                         (2, 'RMSE', found.rmse, found.naive_rmse),
                         (3, 'bias', found.bias, found.naive_bias),
                         (4, 'Brier score', found.brier, found.naive_brier),
                         (5, 'AUC', (SELECT a.area FROM auc a WHERE a.rule = 'predicted'),
                          (SELECT a.area FROM auc a WHERE a.rule = 'naive')))
           AS item (number, name, predicted, naive);
END
$$;
COMMENT ON FUNCTION retention._validate_measures() IS 'Section measure of a validation.';

CREATE OR REPLACE FUNCTION retention.validate_model(
    metric text, calibration_end timestamptz, holdout_end timestamptz DEFAULT retention.now())
  RETURNS TABLE (
    section text, number integer, item text, customers bigint,
    actual double precision, predicted double precision, naive double precision)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  settings retention.metric := retention._require_metric(metric);
  history_start timestamptz := retention._history_start(settings, calibration_end);
  found_customers bigint;
  purchase retention.model;
  spend retention.model;
  new_id bigint;
BEGIN
  PERFORM retention._check_validation(settings, calibration_end, holdout_end);
  found_customers := retention._read_calibration(settings, calibration_end, holdout_end,
                                                 history_start);
  purchase := retention._calibrate_purchase(settings);
  spend := retention._calibrate_spend();
  PERFORM retention._read_holdout(settings, calibration_end, holdout_end, history_start, purchase,
                                  spend);
  INSERT INTO retention.validation (metric, calibration_end, holdout_end, customers, purchase,
                                    spend)
    VALUES (settings.metric, calibration_end, holdout_end, found_customers, purchase, spend)
    RETURNING validation_id INTO new_id;
  INSERT INTO retention.validation_result
    SELECT new_id, s.section, s.number, s.item, s.customers, s.actual, s.predicted, s.naive
    FROM (SELECT * FROM retention._validate_totals()
          UNION ALL SELECT * FROM retention._validate_frequency()
          UNION ALL SELECT *
            FROM retention._validate_weeks(settings, calibration_end, holdout_end, history_start,
                                           purchase)
          UNION ALL SELECT * FROM retention._validate_probabilities()
          UNION ALL SELECT * FROM retention._validate_measures()) AS s;
  DROP TABLE pg_temp.retention_calibration, pg_temp.retention_holdout;
  RETURN QUERY
    SELECT v.section, v.number, v.item, v.customers, v.actual, v.predicted, v.naive
    FROM retention.model_validation v WHERE v.metric = settings.metric;
END
$$;
COMMENT ON FUNCTION retention.validate_model(text, timestamptz, timestamptz) IS
  'Fits the metric''s models to the orders up to calibration_end, predicts those from then to '
  'holdout_end, and compares with what happened and with the naive rule "same as last period". '
  'Keeps the result, which model_validation shows.';
