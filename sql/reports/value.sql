-- Value: who brings the revenue.

CREATE OR REPLACE FUNCTION retention.value_deciles(
    as_of timestamptz DEFAULT retention.now(), metric text DEFAULT 'orders',
    members boolean DEFAULT false)
  RETURNS TABLE (
    decile integer, customers bigint, revenue numeric, percent numeric,
    cumulative_percent numeric, lowest numeric, highest numeric, customer_ids text[])
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._begin_report(metric, as_of);
BEGIN
  PERFORM retention._read_metric(settings, as_of, NULL, retention._last_refresh(settings.metric));
  RETURN QUERY
    SELECT d.decile, count(*), sum(d.revenue),
           retention._percent(sum(d.revenue), sum(sum(d.revenue)) OVER ()),
           retention._percent(sum(sum(d.revenue)) OVER (ORDER BY d.decile),
                              sum(sum(d.revenue)) OVER ()),
           min(d.revenue), max(d.revenue),
           retention._in_order(array_agg(d.customer_id) FILTER (WHERE members))
    FROM (SELECT c.customer_id, c.revenue,
                 ntile(10) OVER (ORDER BY c.revenue DESC, c.customer_id COLLATE "C") AS decile
          FROM retention._collected(NULL, NULL) AS c) AS d
    GROUP BY d.decile ORDER BY d.decile;
END
$$;
COMMENT ON FUNCTION retention.value_deciles(timestamptz, text, boolean) IS
  'Customers in ten parts of equal number by revenue, less refunds, as of a moment, the best '
  'first: their revenue, its share of all, alone and with the parts before, and its lowest and '
  'highest. With members, who they are.';
