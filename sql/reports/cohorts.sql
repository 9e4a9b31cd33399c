-- Cohorts: what becomes of those who ordered first in the same period.

CREATE OR REPLACE FUNCTION retention._cohort_grid(
    settings retention.metric, as_of timestamptz, cohort date, period text)
  RETURNS SETOF date
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT day::date
  FROM generate_series(cohort::timestamp,
                       retention._local_date(as_of, (settings).time_zone)::timestamp,
                       retention._period_length(period)) AS day
$$;
COMMENT ON FUNCTION retention._cohort_grid(retention.metric, timestamptz, date, text) IS
  'The first days of a cohort''s periods up to a moment.';

CREATE OR REPLACE FUNCTION retention.cohort_retention(
    period text DEFAULT 'month', by name DEFAULT NULL, metric text DEFAULT 'orders',
    as_of timestamptz DEFAULT retention.now(), members boolean DEFAULT false)
  RETURNS TABLE (
    cohort date, by_value text, age integer, period_start date, is_complete boolean,
    cohort_size bigint, customers bigint, percent numeric, orders bigint, revenue numeric,
    net_revenue numeric, cumulative_net_revenue numeric, cumulative_net_per_customer numeric,
    customer_ids text[])
  -- Orders are hashed, or sorted once: by what the customers' windows need.
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_mergejoin = off
AS $$
DECLARE
  settings retention.metric := retention._begin_report(metric, as_of);
BEGIN
  PERFORM retention._check_period(period);
  PERFORM retention._check_by(settings, by);
  RETURN QUERY
    WITH cell AS MATERIALIZED (
      SELECT e.first_period, e.first_label, e.period_start,
             count(*) FILTER (WHERE e.starts_period) AS customers,
             count(*) FILTER (WHERE e.is_order) AS orders, sum(e.gross) AS gross, sum(e.net) AS net,
             array_agg(e.customer_id) FILTER (WHERE members AND e.starts_period) AS customer_ids
      FROM retention._numbered_entries(settings, as_of, period, by) AS e
      WHERE e.customer_id IS NOT NULL AND e.first_period IS NOT NULL GROUP BY 1, 2, 3),
    filled AS (
      -- A period in which a cohort did nothing has a row too.
      SELECT * FROM cell
      UNION ALL
      SELECT c.first_period, c.first_label, g.day, 0, 0, 0, 0, NULL
      FROM cell c, retention._cohort_grid(settings, as_of, c.first_period, period) AS g (day)
      WHERE c.period_start = c.first_period),
    summed AS (
      SELECT f.first_period, f.first_label, f.period_start, sum(f.customers)::bigint AS customers,
             sum(f.orders)::bigint AS orders, sum(f.gross) AS gross, sum(f.net) AS net,
             max(f.customer_ids) AS customer_ids
      FROM filled f GROUP BY 1, 2, 3)
    SELECT s.first_period, s.first_label,
           retention._periods_between(s.first_period, s.period_start, period), s.period_start,
           retention._is_over(settings, s.period_start, period, as_of), z.size, s.customers,
           retention._percent(s.customers, z.size), s.orders, s.gross, s.net, z.net,
           round(z.net / z.size, 2), retention._in_order(s.customer_ids)
    FROM (SELECT *, max(t.customers) FILTER (WHERE t.period_start = t.first_period) OVER cohort
                      AS size,
                 sum(t.net) OVER (cohort ORDER BY t.period_start) AS cumulative
          FROM summed t
          WINDOW cohort AS (PARTITION BY t.first_period, t.first_label)) AS s,
         LATERAL (VALUES (s.size, s.cumulative)) AS z (size, net)
    ORDER BY s.first_period, s.first_label COLLATE "C" NULLS FIRST, s.period_start;
END
$$;
COMMENT ON FUNCTION retention.cohort_retention(text, name, text, timestamptz, boolean) IS
  'What customers who ordered first in the same period (day, week, month, quarter, year) did in '
  'each period since: how many ordered, their orders, revenue, revenue less refunds in their own '
  'period, and that up to then. by: a column of the source, such as country or channel, whose '
  'value in the first order divides each cohort; it must be one that the caller may read. Refunds '
  'before the first order have a negative age. With members, who ordered.';
