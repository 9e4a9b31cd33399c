-- Reads the sources, and sums up each customer's orders.

CREATE OR REPLACE FUNCTION retention._collect(
    sources retention._collected_source[], stored_query text, as_of timestamptz,
    history_start timestamptz, time_zone text, rules retention._score_rules)
  RETURNS retention._collection_report
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_collect_sources';
COMMENT ON FUNCTION retention._collect(
  retention._collected_source[], text, timestamptz, timestamptz, text, retention._score_rules) IS
  'Reads sources, each with the rights of its relation''s owner, and keeps the scored customers '
  'for _collected or _load. stored_query reads those to compare with; null: none.';

CREATE OR REPLACE FUNCTION retention._collected(
    previous_frequency_bounds double precision[], previous_monetary_bounds double precision[],
    settings_changed boolean DEFAULT false, orders_until timestamptz DEFAULT NULL)
  RETURNS SETOF retention._customer_change
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_collected';
COMMENT ON FUNCTION retention._collected(
  double precision[], double precision[], boolean, timestamptz) IS
  'What _collect found to differ from the stored customers; orders is 0 for those that are to go. '
  'orders_until: when the orders were last read, where other settings decided on which of them '
  'count.';

CREATE OR REPLACE FUNCTION retention._collected_loss(OUT customers bigint, OUT lost bigint)
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_collected_loss';
COMMENT ON FUNCTION retention._collected_loss() IS
  'How many stored customers _collect has compared with, and how many of them have lost all their '
  'orders, other than to time.';

CREATE OR REPLACE FUNCTION retention._stored_query(state regclass, metric text, customer_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- Null where there is no such table.
  SELECT format('SELECT customer_id, orders, purchase_days, first_order_at, last_order_at, '
                'revenue, repeat_value, average_order_value,
                 average_days_between_orders, days_between_orders_sd, r, f, m, rfm_group
                 FROM %s WHERE metric = %L', state, metric)
   
      || CASE WHEN state IS NULL THEN NULL WHEN customer_ids IS NULL THEN ''
        ELSE format(' AND customer_id = ANY (%L::text[])', customer_ids) END
$$;
COMMENT ON FUNCTION retention._stored_query(regclass, text, text[]) IS
  'The query that reads a metric''s customers, all or some, from a table like retention.customer.';

CREATE OR REPLACE FUNCTION retention._history_start(settings retention.metric, as_of timestamptz)
  RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN ((as_of AT TIME ZONE (settings).time_zone) - (settings).history)
    AT TIME ZONE (settings).time_zone;
COMMENT ON FUNCTION retention._history_start(retention.metric, timestamptz) IS
  'The time from which on orders count, in the calendar of the metric''s zone; null: all count.';

CREATE OR REPLACE FUNCTION retention._metric_rules(
    settings retention.metric, published retention.population, is_frozen boolean)
  RETURNS retention._score_rules
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rules retention._score_rules;
BEGIN
  rules.recency_limits := settings.recency_limits;
  rules.frequency_percentiles := settings.frequency_percentiles;
  rules.frequency_bounds := settings.frequency_values;
  rules.monetary_percentiles := settings.monetary_percentiles;
  rules.monetary_bounds := settings.monetary_values;
  rules.groups := retention._groups(settings);
  -- Published bounds of fewer or more percentiles are not these.
  IF is_frozen AND cardinality(published.frequency_bounds)
                   = cardinality(settings.frequency_percentiles) THEN
    rules.frequency_bounds := coalesce(rules.frequency_bounds, published.frequency_bounds);
  END IF;
  IF is_frozen AND cardinality(published.monetary_bounds)
                   = cardinality(settings.monetary_percentiles) THEN
    rules.monetary_bounds := coalesce(rules.monetary_bounds, published.monetary_bounds);
  END IF;
  RETURN rules;
END
$$;
COMMENT ON FUNCTION retention._metric_rules(retention.metric, retention.population, boolean) IS
  'How a metric''s customers are scored; frozen thresholds are the published ones.';

CREATE OR REPLACE FUNCTION retention._read_metric(
    settings retention.metric, as_of timestamptz, state regclass, published retention.population,
    customer_ids text[] DEFAULT NULL)
  RETURNS retention._collection_report
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Some customers tell nothing of percentiles.
  is_frozen boolean := settings.thresholds = 'frozen' OR customer_ids IS NOT NULL;
  sources retention._collected_source[] := (
    SELECT array_agg(ROW(retention._keyed_source_query(s, settings.time_zone, customer_ids),
                         s.relation, s.kind = 'refund')::retention._collected_source
                     ORDER BY s.source_id)
    FROM retention.source s WHERE s.metric = settings.metric);
BEGIN
  RETURN retention._collect(
    sources => sources,
    stored_query => retention._stored_query(state, settings.metric, customer_ids),
    as_of => as_of,
    history_start => retention._history_start(settings, as_of),
    time_zone => settings.time_zone,
    rules => retention._metric_rules(settings, published, is_frozen));
END
$$;
COMMENT ON FUNCTION retention._read_metric(
  retention.metric, timestamptz, regclass, retention.population, text[]) IS
  'Runs _collect with a metric''s settings and sources, for all or some customers; frozen '
  'thresholds are the published ones.';
