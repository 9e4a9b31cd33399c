-- Reads the sources, and sums up each customer's orders.

CREATE OR REPLACE FUNCTION retention._collect(
    queries text[], relations regclass[], refunds boolean[], stored_query text,
    as_of timestamptz, history_start timestamptz, time_zone text, recency_limits double precision[],
    frequency_percentiles double precision[], frequency_bounds double precision[],
    monetary_percentiles double precision[], monetary_bounds double precision[], groups text[])
  RETURNS retention.collection_report
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_collect';
COMMENT ON FUNCTION retention._collect(
  text[], regclass[], boolean[], text, timestamptz, timestamptz, text, double precision[],
  double precision[], double precision[], double precision[], double precision[], text[]) IS
  'Reads sources by queries, each with the rights of its relation''s owner, and keeps the scored '
  'customers for _collected or _load.';

CREATE OR REPLACE FUNCTION retention._collected(
    previous_frequency_bounds double precision[], previous_monetary_bounds double precision[],
    settings_changed boolean DEFAULT false, orders_until timestamptz DEFAULT NULL)
  RETURNS SETOF retention.customer_change
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_collected';
COMMENT ON FUNCTION retention._collected(
  double precision[], double precision[], boolean, timestamptz) IS
  'What _collect found to differ from the stored customers; orders is 0 for those that are to go. '
  'orders_until: where other settings decided on which orders count, when those were read.';

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

CREATE OR REPLACE FUNCTION retention._read_metric(
    settings retention.metric, as_of timestamptz, state regclass, published retention.population,
    customer_ids text[] DEFAULT NULL)
  RETURNS retention.collection_report
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Some customers tell nothing of percentiles.
  frozen boolean := settings.thresholds = 'frozen' OR customer_ids IS NOT NULL;
  report retention.collection_report;
BEGIN
  SELECT collected.* INTO report
    FROM (SELECT array_agg(retention._keyed_source_query(s, settings.time_zone, customer_ids)
                           ORDER BY s.source_id) AS queries,
                 array_agg(s.relation ORDER BY s.source_id) AS relations,
                 array_agg(s.kind = 'refund' ORDER BY s.source_id) AS refunds
          FROM retention.source s WHERE s.metric = settings.metric) AS sources,
         retention._collect(
           sources.queries, sources.relations, sources.refunds,
           retention._stored_query(state, settings.metric, customer_ids),
           as_of, retention._history_start(settings, as_of), settings.time_zone,
           settings.recency_limits,
           settings.frequency_percentiles,
           coalesce(settings.frequency_values, CASE WHEN frozen
             AND cardinality(published.frequency_bounds)
                 = cardinality(settings.frequency_percentiles) THEN published.frequency_bounds END),
           settings.monetary_percentiles,
           coalesce(settings.monetary_values, CASE WHEN frozen
             AND cardinality(published.monetary_bounds) = cardinality(settings.monetary_percentiles)
               THEN published.monetary_bounds END),
           retention._groups(settings)) AS collected;
  RETURN report;
END
$$;
COMMENT ON FUNCTION retention._read_metric(
  retention.metric, timestamptz, regclass, retention.population, text[]) IS
  'Runs _collect with a metric''s settings and sources, for all or some customers; frozen '
  'thresholds are the published ones.';
