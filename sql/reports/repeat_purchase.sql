-- How many order again, and after how long.

CREATE OR REPLACE FUNCTION retention.repeat_rate(
    metric text DEFAULT 'orders', as_of timestamptz DEFAULT retention.now(),
    most integer DEFAULT 12, within integer DEFAULT 180, members boolean DEFAULT false)
  RETURNS TABLE (
    order_number integer, customers bigint, went_on bigint, percent numeric,
    median_days double precision, median_calendar_days double precision, eligible bigint,
    percent_within numeric, customer_ids text[])
  -- Orders are hashed, or sorted once: by what the customers' windows need.
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_mergejoin = off
AS $$
DECLARE
  settings retention.metric := retention._begin_report(metric, as_of);
  -- Of hours: days of another length, where clocks are changed, are none here.
  span interval := within * interval '24 hours';
BEGIN
  PERFORM retention._check_number('most', most, 1, 1000);
  PERFORM retention._check_number('within', within, 1, 36500);
  RETURN QUERY
    SELECT o.number::integer, count(*), count(o.next_at),
           retention._percent(count(o.next_at), count(*)),
           percentile_cont(0.5) WITHIN GROUP (
             ORDER BY extract(epoch FROM o.next_at - o.at)::double precision / 86400),
           percentile_cont(0.5) WITHIN GROUP (
             ORDER BY retention._local_days(settings, o.at, o.next_at)),
           count(*) FILTER (WHERE o.is_eligible),
           retention._percent(count(*) FILTER (WHERE o.is_eligible AND o.next_at <= o.at + span),
                              count(*) FILTER (WHERE o.is_eligible)),
           retention._in_order(array_agg(o.customer_id) FILTER (WHERE members))
    FROM (SELECT e.customer_id, e.number, e.at, e.next_at, e.at <= max(e.at) OVER () - span
                   AS is_eligible
          FROM retention._numbered_entries(settings, as_of, 'day') AS e
          WHERE e.is_order AND e.customer_id IS NOT NULL) AS o
    WHERE o.number <= most GROUP BY o.number ORDER BY o.number;
END
$$;
COMMENT ON FUNCTION retention.repeat_rate(text, timestamptz, integer, integer, boolean) IS
  'By the number of an order: customers who came so far, how many went on to the next one, and '
  'the median days that it took them, exact and of the calendar. eligible are those whose order '
  'was at least "within" days before the last one of all, percent_within the share of them who '
  'went on within these. With members, who came so far: less those of the next number, who '
  'stopped there.';

CREATE OR REPLACE FUNCTION retention.repeat_curve(
    metric text DEFAULT 'orders', as_of timestamptz DEFAULT retention.now(),
    order_number integer DEFAULT 1, members boolean DEFAULT false)
  RETURNS TABLE (
    days integer, at_risk bigint, went_on bigint, censored bigint, share double precision,
    share_low double precision, share_high double precision, customer_ids text[])
  -- Orders are hashed, or sorted once: by what the customers' windows need.
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_mergejoin = off
AS $$
DECLARE
  settings retention.metric := retention._begin_report(metric, as_of);
BEGIN
  PERFORM retention._check_number('order_number', order_number, 1, 1000000);
  RETURN QUERY
    WITH day AS (
      SELECT retention._local_days(settings, e.at, coalesce(e.next_at, as_of)) AS days,
             count(e.next_at) AS went_on, count(*) - count(e.next_at) AS censored,
             array_agg(e.customer_id) FILTER (WHERE members AND e.next_at IS NOT NULL)
               AS customer_ids
      FROM retention._numbered_entries(settings, as_of, 'day') AS e
      WHERE e.number = order_number AND e.customer_id IS NOT NULL GROUP BY 1),
    risk AS (
      SELECT d.*, sum(d.went_on + d.censored) OVER (ORDER BY d.days DESC) AS at_risk FROM day d),
    curve AS (
      -- The product of those who stayed away, by its logarithm; nobody has, once all went on.
      SELECT r.*, CASE WHEN bool_or(r.went_on = r.at_risk) OVER up_to THEN 0
                    ELSE exp(sum(ln(1 - r.went_on::double precision
                                    / nullif(r.at_risk, r.went_on))) OVER up_to) END AS stayed,
             sqrt(sum(r.went_on::double precision / r.at_risk
                      / nullif(r.at_risk - r.went_on, 0)) OVER up_to) AS error
      FROM risk r WINDOW up_to AS (ORDER BY r.days))
    SELECT c.days, c.at_risk::bigint, c.went_on, c.censored, 1 - c.stayed,
           1 - coalesce(c.stayed ^ exp(-1.959963984540054 * w.width), c.stayed),
           1 - coalesce(c.stayed ^ exp(1.959963984540054 * w.width), c.stayed),
           retention._in_order(c.customer_ids)
    FROM curve c,
         LATERAL (SELECT CASE WHEN c.stayed > 0 AND c.stayed < 1
                         THEN c.error / -ln(c.stayed) END AS width) AS w
    ORDER BY c.days;
END
$$;
COMMENT ON FUNCTION retention.repeat_curve(text, timestamptz, integer, boolean) IS
  'The share of customers who have gone on from an order, the first unless another number is '
  'given, to the next one, by days since: of all, also those who have not had that long yet '
  '(Kaplan and Meier 1958), with its 95 % interval (Greenwood''s error of log(-log)). at_risk: '
  'whose next order is not earlier; censored: for whom these days have not passed yet. With '
  'members, who went on after so many days.';
