-- What today's customers are expected to order, and how that went a year ago.

CREATE OR REPLACE FUNCTION retention._past_histories(settings retention.metric, as_of timestamptz)
  RETURNS retention.past_history[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(h.history)
  FROM (SELECT ROW (c.purchase_days - 1, span.t_x, span.t, c.m, count(*) * p.share,
                    sum(c.revenue) * p.share)::retention.past_history AS history
        -- So many customers tell the total to a few parts in a thousand.
        FROM (SELECT ceil(greatest((retention._last_refresh((settings).metric)).customers, 1)
                          / 2e5)::bigint AS share) AS p,
             LATERAL (SELECT a.*, retention._double(a.repeat_value) AS m
                      FROM retention._customers_at(settings, as_of,
                             retention._history_start(settings, as_of)) AS a) AS c,
             LATERAL (SELECT retention._local_days(settings, c.first_order_at, c.last_order_at)
                               AS t_x,
                             retention._local_days(settings, c.first_order_at, as_of) AS t) AS span
        WHERE p.share = 1 OR hashtextextended(c.customer_id, 0) % p.share = 0
        GROUP BY c.purchase_days, span.t_x, span.t, c.m, p.share) AS h
$$;
COMMENT ON FUNCTION retention._past_histories(retention.metric, timestamptz) IS
  'The histories of all customers as of a moment, those that are the same together; of very many '
  'customers, a part that stands for all. Null: there is nobody.';

CREATE OR REPLACE FUNCTION retention._models_at(
    settings retention.metric, as_of timestamptz, histories retention.past_history[],
    OUT purchase retention.model, OUT spend retention.model)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  published retention.published_model := (
    SELECT p FROM retention.published_model p
    WHERE p.metric = settings.metric AND p.as_of <= _models_at.as_of);
BEGIN
  purchase := published.purchase;
  spend := published.spend;
  IF published.metric IS NULL AND histories IS NOT NULL THEN
    purchase := (
      SELECT f.model
      FROM retention._fit_purchases(settings.purchase_model,
             (SELECT retention.fit_state('mbgnbd', h.x, h.t_x, h.t, h.customers)
              FROM unnest(histories) AS h)) AS f WHERE f.chosen);
    spend := (SELECT retention._fit_spend(
                retention.fit_state('gammagamma', h.x, h.m, h.customers) FILTER (WHERE h.x > 0),
                sum(h.revenue) / sum((h.x + 1) * h.customers)) FROM unnest(histories) AS h);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._models_at(
  retention.metric, timestamptz, retention.past_history[]) IS
  'The models that are published, where they were by then; else such as would have been.';

CREATE OR REPLACE FUNCTION retention._forecast_at(
    settings retention.metric, as_of timestamptz, days integer[])
  RETURNS TABLE (
    number integer, orders double precision, orders_variance double precision,
    revenue double precision, revenue_variance double precision)
  LANGUAGE plpgsql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  histories retention.past_history[] := retention._past_histories(settings, as_of);
  models record := retention._models_at(settings, as_of, histories);
BEGIN
  RETURN QUERY
    WITH total AS (
      SELECT s.number::integer AS number, sum(h.customers * e.orders) AS orders,
             sum(h.customers * e.orders * v.spend) AS revenue,
             sum(h.customers * e.orders * v.spend ^ 2) AS squares,
             sum(h.customers * v.doubt * e.orders ^ 2) AS orders_doubt,
             sum(h.customers * v.doubt * (e.orders * v.spend) ^ 2) AS revenue_doubt
      FROM unnest(histories) AS h,
           LATERAL (SELECT retention.expected_spend(models.spend, h.x, h.m) AS spend,
                           greatest(retention.p_alive(models.purchase, h.x, h.t_x, h.t), 1e-12)
                             AS alive OFFSET 0) AS a,
           -- Whether one is alive, and how often one orders then, is not known: of the square of
           -- what is expected, this much is variance, besides that of counting.
           LATERAL (SELECT a.spend, (1 / ((models.purchase).parameters[1] + h.x) + 1) / a.alive - 1
                             AS doubt OFFSET 0) AS v,
           unnest(days) WITH ORDINALITY AS s (days, number),
           LATERAL (SELECT retention.expected_orders(models.purchase, h.x, h.t_x, h.t, s.days)
                             AS expected OFFSET 0) AS o,
           -- What is next to nothing has no square.
           LATERAL (SELECT CASE WHEN o.expected > 1e-9 THEN o.expected ELSE 0 END AS orders) AS e
      GROUP BY s.number),
    step AS (
      SELECT t.number, t.orders - lag(t.orders, 1, 0::double precision) OVER up AS orders,
             t.revenue - lag(t.revenue, 1, 0::double precision) OVER up AS revenue,
             t.squares - lag(t.squares, 1, 0::double precision) OVER up AS squares,
             last_value(t.orders_doubt) OVER every / nullif(last_value(t.orders) OVER every, 0) ^ 2
               AS orders_doubt,
             last_value(t.revenue_doubt) OVER every
               / nullif(last_value(t.revenue) OVER every, 0) ^ 2 AS revenue_doubt
      FROM total t
      WINDOW up AS (ORDER BY t.number), every AS (ORDER BY t.number
             ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING))
    SELECT s.number, s.orders, s.orders + coalesce(s.orders_doubt, 0) * s.orders ^ 2, s.revenue,
           s.squares * (1 + 1 / (models.spend).parameters[1])
             + coalesce(s.revenue_doubt, 0) * s.revenue ^ 2
    FROM step s;
END
$$;
COMMENT ON FUNCTION retention._forecast_at(retention.metric, timestamptz, integer[]) IS
  'What the customers of a moment are expected to order and to spend in steps that end so many '
  'days later, and the variance of it, as far as the models know.';

CREATE OR REPLACE FUNCTION retention._came(
    settings retention.metric, as_of timestamptz, bounds timestamptz[])
  RETURNS TABLE (number integer, orders bigint, revenue numeric)
  LANGUAGE sql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp
  SET enable_mergejoin = off
AS $$
  SELECT width_bucket(e.at - interval '1 microsecond', bounds),
         -- Days with an order, as the models count.
         count(*) FILTER (WHERE e.starts_period), sum(e.net)
  FROM retention._numbered_entries(settings, as_of, 'day') AS e
  WHERE e.customer_id IS NOT NULL AND e.first_at <= bounds[1] AND e.at > bounds[1]
    AND e.at <= bounds[cardinality(bounds)]
  GROUP BY 1
$$;
COMMENT ON FUNCTION retention._came(retention.metric, timestamptz, timestamptz[]) IS
  'What the customers of the first of some moments ordered from each of them to the next.';

CREATE OR REPLACE FUNCTION retention._half_width(
    mean double precision, variance double precision, error double precision)
  RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- Models are taken to be off by 5 per cent, as if that had been seen twice; then by what was
  -- seen. Quantiles of the normal and of Student's distribution with 2 or 3 degrees of freedom.
  SELECT sqrt(1.2815515655446 ^ 2 * variance
              + (CASE WHEN error IS NULL THEN 1.8856180831641 * 0.05
                   ELSE 1.6377443536962 * sqrt((2 * 0.05 ^ 2 + error ^ 2) / 3) END * mean) ^ 2)
$$;
COMMENT ON FUNCTION retention._half_width(double precision, double precision, double precision) IS
  'Half the width of an interval that holds what comes in 80 of 100 cases, of its mean, its '
  'variance by the models, and by which part of it these were off before; null: that is not known.';

CREATE OR REPLACE FUNCTION retention._step_ends(
    settings retention.metric, as_of timestamptz, horizon interval, step interval)
  RETURNS timestamptz[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  today timestamp := as_of AT TIME ZONE settings.time_zone;
BEGIN
  PERFORM retention._check_days('horizon', horizon, ''), retention._check_days('step', step, '');
  PERFORM retention._check_needed_span('horizon', horizon),
    retention._check_needed_span('step', step);
  PERFORM retention._reject_unless(today + step <= today + horizon,
    format('step %s is longer than horizon %s', step, horizon));
  PERFORM retention._reject_unless(today + 400 * step >= today + horizon,
    format('a horizon of %s has more than 400 steps of %s', horizon, step),
    'Use longer steps.');
  RETURN ARRAY(
    SELECT (today + n * step) AT TIME ZONE settings.time_zone FROM generate_series(0, 400) AS n
    WHERE today + n * step <= today + horizon ORDER BY n);
END
$$;
COMMENT ON FUNCTION retention._step_ends(retention.metric, timestamptz, interval, interval) IS
  'A moment, and the ends of the whole steps from then on, in the calendar of the metric''s zone.';

CREATE OR REPLACE FUNCTION retention._step_days(settings retention.metric, ends timestamptz[])
  RETURNS integer[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(retention._local_days(settings, ends[1], ends[n]) ORDER BY n)
  FROM generate_series(2, cardinality(ends)) AS n
$$;
COMMENT ON FUNCTION retention._step_days(retention.metric, timestamptz[]) IS
  'How many days after the first of some moments the others are.';

CREATE OR REPLACE FUNCTION retention.forecast(
    horizon interval DEFAULT '1 year', step interval DEFAULT '1 month',
    metric text DEFAULT 'orders', as_of timestamptz DEFAULT retention.now())
  RETURNS TABLE (
    number integer, starts_at timestamptz, ends_at timestamptz,
    orders double precision, orders_low double precision, orders_high double precision,
    revenue double precision, revenue_low double precision, revenue_high double precision,
    year_ago_starts_at timestamptz,
    year_ago_orders double precision, year_ago_orders_low double precision,
    year_ago_orders_high double precision, year_ago_actual_orders bigint,
    year_ago_revenue double precision, year_ago_revenue_low double precision,
    year_ago_revenue_high double precision, year_ago_actual_revenue numeric)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._begin_report(metric, as_of);
  ends timestamptz[] := retention._step_ends(settings, as_of, horizon, step);
  past_ends timestamptz[] := retention._step_ends(settings,
    (as_of AT TIME ZONE settings.time_zone - interval '1 year') AT TIME ZONE settings.time_zone,
    horizon, step);
BEGIN
  RETURN QUERY
    WITH past AS MATERIALIZED (
      SELECT f.*, CASE WHEN past_ends[f.number + 1] <= as_of THEN coalesce(c.orders, 0) END AS came,
             CASE WHEN past_ends[f.number + 1] <= as_of THEN coalesce(c.revenue, 0) END AS earned
      FROM retention._forecast_at(settings, past_ends[1],
                                  retention._step_days(settings, past_ends)) AS f
      LEFT JOIN retention._came(settings, as_of, past_ends) AS c USING (number)),
    seen AS MATERIALIZED (
      -- Of the whole time of which it is known.
      SELECT sum(p.came) / nullif(sum(p.orders) FILTER (WHERE p.came IS NOT NULL), 0) - 1
               AS orders_error,
             sum(p.earned)::double precision
               / nullif(sum(p.revenue) FILTER (WHERE p.came IS NOT NULL), 0) - 1 AS revenue_error
      FROM past p)
    SELECT n.number, ends[n.number], ends[n.number + 1],
           f.orders, greatest(f.orders - w.orders, 0), f.orders + w.orders,
           f.revenue, greatest(f.revenue - w.revenue, 0), f.revenue + w.revenue,
           past_ends[n.number],
           p.orders, greatest(p.orders - w.past_orders, 0), p.orders + w.past_orders, p.came,
           p.revenue, greatest(p.revenue - w.past_revenue, 0), p.revenue + w.past_revenue, p.earned
    FROM generate_series(1, cardinality(ends) - 1) AS n (number)
    CROSS JOIN seen e
    LEFT JOIN retention._forecast_at(settings, as_of, retention._step_days(settings, ends)) AS f
      USING (number)
    LEFT JOIN past p USING (number)
    CROSS JOIN LATERAL (
      SELECT retention._half_width(f.orders, f.orders_variance, e.orders_error) AS orders,
             retention._half_width(f.revenue, f.revenue_variance, e.revenue_error) AS revenue,
             retention._half_width(p.orders, p.orders_variance, NULL) AS past_orders,
             retention._half_width(p.revenue, p.revenue_variance, NULL) AS past_revenue) AS w
    ORDER BY n.number;
END
$$;
COMMENT ON FUNCTION retention.forecast(interval, interval, text, timestamptz) IS
  'What the customers of today, without those still to come, are expected to order, as days with '
  'an order, and to spend in each step of the horizon, with the interval that holds it in 80 of '
  '100 cases. And the same forecast as it would have been made a year ago, from the orders up to '
  'then, with what came of it; by how much that was off widens today''s intervals.';
