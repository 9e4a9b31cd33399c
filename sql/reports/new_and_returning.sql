-- New and returning customers, by period.

CREATE OR REPLACE FUNCTION retention.new_and_returning(
    period text DEFAULT 'month', rule text DEFAULT 'first order', metric text DEFAULT 'orders',
    as_of timestamptz DEFAULT retention.now(), members boolean DEFAULT false)
  RETURNS TABLE (
    period_start date, is_complete boolean, customers bigint, new_customers bigint,
    returning_customers bigint, new_orders bigint, returning_orders bigint, new_revenue numeric,
    returning_revenue numeric, returning_percent numeric, refunds numeric, guest_orders bigint,
    guest_revenue numeric, new_customer_ids text[], returning_customer_ids text[])
  -- Orders are hashed, or sorted once: by what the customers' windows need.
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_mergejoin = off
AS $$
DECLARE
  settings retention.metric := retention._begin_report(metric, as_of);
BEGIN
  PERFORM retention._check_period(period);
  PERFORM retention._check_choice('rule', rule, 'first order', 'first period');
  RETURN QUERY
    WITH judged AS (
      SELECT e.*, e.customer_id IS NULL AS is_guest,
             e.customer_id IS NOT NULL AND e.is_order AS counts,
             CASE rule WHEN 'first order' THEN e.number = 1
                       ELSE e.period_start = e.first_period END AS is_new
      FROM retention._numbered_entries(settings, as_of, period) AS e),
    told AS (
      -- By the first rule a customer may be both new and returning in a period.
      SELECT j.*, j.counts AND j.is_new AND j.starts_period AS is_new_customer,
             j.counts AND NOT j.is_new AND (j.starts_period OR j.number = 2) AS is_returning
      FROM judged j),
    summed AS (
      SELECT t.period_start, count(*) FILTER (WHERE t.counts AND t.starts_period) AS customers,
             count(*) FILTER (WHERE t.is_new_customer) AS new_customers,
             count(*) FILTER (WHERE t.is_returning) AS returning_customers,
             count(*) FILTER (WHERE t.counts AND t.is_new) AS new_orders,
             count(*) FILTER (WHERE t.counts AND NOT t.is_new) AS returning_orders,
             coalesce(sum(t.gross) FILTER (WHERE t.counts AND t.is_new), 0) AS new_revenue,
             coalesce(sum(t.gross) FILTER (WHERE t.counts AND NOT t.is_new), 0)
               AS returning_revenue,
             coalesce(sum(t.net - t.gross) FILTER (WHERE NOT t.is_guest), 0) AS refunds,
             count(*) FILTER (WHERE t.is_guest AND t.is_order) AS guest_orders,
             coalesce(sum(t.gross) FILTER (WHERE t.is_guest), 0) AS guest_revenue,
             array_agg(t.customer_id) FILTER (WHERE members AND t.is_new_customer) AS new_ids,
             array_agg(t.customer_id) FILTER (WHERE members AND t.is_returning) AS returning_ids
      FROM told t GROUP BY t.period_start)
    SELECT s.period_start, retention._is_over(settings, s.period_start, period, as_of),
           s.customers, s.new_customers, s.returning_customers, s.new_orders, s.returning_orders,
           s.new_revenue, s.returning_revenue,
           retention._percent(s.returning_revenue, s.new_revenue + s.returning_revenue), s.refunds,
           s.guest_orders, s.guest_revenue, retention._in_order(s.new_ids),
           retention._in_order(s.returning_ids)
    FROM summed s ORDER BY s.period_start;
END
$$;
COMMENT ON FUNCTION retention.new_and_returning(text, text, text, timestamptz, boolean) IS
  'Orders and revenue of new and of returning customers by period (day, week, month, quarter, '
  'year). rule: "first order" takes a customer''s first order for new and all others for '
  'returning; "first period" all orders of the period of the first one for new. Refunds are apart, '
  'in their own period, and so are guests, who are no customers. With members, who they are.';
