-- Explains scores, and what predictions can be trusted.

CREATE OR REPLACE FUNCTION retention._bounds_sentence(
    what text, unit text, value numeric, bounds double precision[], score integer)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s %s%s: ', what, value, unit)
      || concat_ws(' and ', 'at least ' || bounds[score - 1]::numeric, 'less than '
                   || bounds[score]::numeric,
                   CASE WHEN num_nulls(bounds[score - 1], bounds[score]) = 2 THEN 'like everybody'
                     END)
      || format(' scores %s of %s.', score, cardinality(bounds) + 1)
$$;
COMMENT ON FUNCTION retention._bounds_sentence(text, text, numeric, double precision[], integer) IS
  'Says why a value has its score.';

CREATE OR REPLACE FUNCTION retention._limits_sentence(
    days integer, limits double precision[], score integer)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('Last ordered %s days ago: ', days)
      || concat_ws(' and ', 'more than ' || limits[score], 'at most ' || limits[score - 1])
      || format(' scores %s of %s.', score, cardinality(limits) + 1)
$$;
COMMENT ON FUNCTION retention._limits_sentence(integer, double precision[], integer) IS
  'Says why an absence has its score.';

CREATE OR REPLACE FUNCTION retention.explain_score(customer_id text, metric text DEFAULT 'orders')
  RETURNS TABLE (dimension text, value numeric, bounds double precision[], rank bigint,
                 score integer, sentence text)
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
  PERFORM retention._reject_unless(FOUND, format('customer "%s" has no orders in metric "%s"',
                                                 customer_id, metric),
    'Customers appear with the first refresh after their first order.', 'no_data_found');
  -- process_changes may have seen a later order.
  days := greatest(0,
                   (published.as_of
                    AT TIME ZONE settings.time_zone)::date - (found_customer.last_order_at
                        AT TIME ZONE settings.time_zone)::date);
  RETURN QUERY
    SELECT 'recency', days::numeric, published.recency_limits,
           (SELECT 1 + count(*) FROM retention.customer c
            WHERE c.metric = settings.metric AND c.last_order_at > found_customer.last_order_at),
           found_customer.r::integer, retention._limits_sentence(days, published.recency_limits,
               found_customer.r)
    UNION ALL
    SELECT 'frequency', found_customer.orders, published.frequency_bounds,
           (SELECT 1 + count(*) FROM retention.customer c
            WHERE c.metric = settings.metric AND c.orders > found_customer.orders),
           found_customer.f, retention._bounds_sentence('Placed', CASE found_customer.orders
                                                        WHEN 1 THEN ' order' ELSE ' orders' END,
             found_customer.orders, published.frequency_bounds, found_customer.f)
    UNION ALL
    SELECT 'monetary', found_customer.revenue, published.monetary_bounds,
           (SELECT 1 + count(*) FROM retention.customer c
            WHERE c.metric = settings.metric AND c.revenue > found_customer.revenue),
           found_customer.m, retention._bounds_sentence('Spent', '', found_customer.revenue,
                                                        published.monetary_bounds,
                                                        found_customer.m);
END
$$;
COMMENT ON FUNCTION retention.explain_score(text, text) IS
  'A row per dimension as of the last refresh: value, bounds, rank (1 is the best of all '
  'customers), score, and a sentence that says why.';

CREATE OR REPLACE FUNCTION retention.readiness(metric text DEFAULT 'orders')
  RETURNS TABLE (requirement text, needed numeric, found numeric, met boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM retention._readiness(retention._require_metric(metric), retention.now())
$$;
COMMENT ON FUNCTION retention.readiness(text) IS
  'Whether there is enough history to trust scores and predictions: the customary requirements, '
  'and what was found. The column confidence of profile sums them up.';
