-- How many have churned, in the past.

CREATE OR REPLACE FUNCTION retention._customer_rows(settings retention.metric, customer_id text)
  RETURNS TABLE (is_refund boolean, at timestamptz, amount numeric, order_id text)
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.kind = 'refund', q.*
  FROM retention.source s,
       retention._query_of(s.relation,
         format('SELECT s.at, s.amount, %s FROM (%s) AS s (customer_id, at, amount%s) WHERE %s',
           CASE WHEN s.order_id IS NULL THEN 'NULL::text' ELSE 's.order_id::text' END,
           retention._keyed_source_query(s, (settings).time_zone,
                                         ARRAY[_customer_rows.customer_id]),
           CASE WHEN s.order_id IS NOT NULL THEN ', order_id' END,
           retention._readable_condition('at', 'amount'))) AS q (at timestamptz, amount numeric,
               order_id text)
  WHERE s.metric = (settings).metric
$$;
COMMENT ON FUNCTION retention._customer_rows(retention.metric, text) IS
  'One customer''s rows of all of a metric''s sources.';

CREATE OR REPLACE FUNCTION retention._purchase_days(
    settings retention.metric, customer_id text, as_of timestamptz)
  RETURNS date[]
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH line AS (
    SELECT r.is_refund, r.at, CASE WHEN r.is_refund THEN -abs(r.amount) ELSE r.amount END AS amount,
           r.order_id,
           CASE WHEN r.order_id IS NULL THEN row_number() OVER () END AS single_order
    FROM retention._customer_rows(settings, customer_id) AS r
    WHERE r.at <= as_of AND r.at >= coalesce(retention._history_start(settings, as_of),
                                             '-infinity')),
  purchase AS (
    SELECT min(at) FILTER (WHERE NOT is_refund) AS at FROM line GROUP BY order_id, single_order
    HAVING sum(amount) > 0),
  purchase_day AS (
    SELECT DISTINCT (at AT TIME ZONE (settings).time_zone)::date AS day FROM purchase
    WHERE at IS NOT NULL)
  SELECT array_agg(day ORDER BY day) FROM purchase_day
$$;
COMMENT ON FUNCTION retention._purchase_days(retention.metric, text, timestamptz) IS
  'A customer''s days with an order of a net amount above zero, ascending, from the sources; null '
  'when there are none.';

CREATE OR REPLACE FUNCTION retention.churn_history(customer_id text, metric text DEFAULT 'orders')
  RETURNS TABLE (day date, x integer, days_since_last_order integer, p_alive double precision)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  settings retention.metric := retention._require_metric(metric);
  as_of timestamptz := retention.now();
  purchase retention.model := (SELECT p.purchase FROM retention.published_model p
                               WHERE p.metric = settings.metric);
  days date[];
BEGIN
  PERFORM retention._check_refresh(settings, NULL, as_of);
  PERFORM retention._reject_unless((purchase).kind IS NOT NULL,
                                   format('metric "%s" has no purchase model', metric),
    format('CALL retention.refresh(%L);', metric), 'object_not_in_prerequisite_state');
  days := retention._purchase_days(settings, customer_id, as_of);
  PERFORM retention._reject_unless(days IS NOT NULL,
    format('customer %s has no orders in metric "%s"', coalesce('"' || customer_id || '"', 'null'),
           metric),
    'Only orders with a net amount above zero count.', 'no_data_found');
  RETURN QUERY
    SELECT d.day, d.x, d.day - d.last_day, retention.p_alive(purchase, d.x, d.last_day - days[1],
        d.day - days[1])
    FROM (SELECT days[1] + age AS day, (count(b.day) OVER past)::integer - 1 AS x,
                 max(b.day) OVER past AS last_day
          FROM generate_series(0, retention._local_date(as_of, settings.time_zone) - days[1]) AS age
          LEFT JOIN unnest(days) AS b (day) ON b.day = days[1] + age
          WINDOW past AS (ORDER BY age)) AS d
    ORDER BY d.day;
END
$$;
COMMENT ON FUNCTION retention.churn_history(text, text) IS
  'A customer''s probability to be alive at the end of each day from the first order to today, by '
  'the metric''s present purchase model and the orders of the sources, less refunds.';
