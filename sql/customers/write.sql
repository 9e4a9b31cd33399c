-- Writes what was collected, and publishes the bounds.

CREATE OR REPLACE FUNCTION retention._load(state regclass, metric text, as_of timestamptz)
  RETURNS bigint
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_load';
COMMENT ON FUNCTION retention._load(regclass, text, timestamptz) IS
  'Writes what _collect found into an empty table like retention.customer; null, and nothing '
  'done, when it is not empty.';

CREATE OR REPLACE FUNCTION retention._apply(
    settings retention.metric, last retention.population, as_of timestamptz, state regclass,
    changes text,
    given retention._customer_change[] DEFAULT NULL)
  RETURNS retention._write_report
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  report retention._write_report;
BEGIN
  EXECUTE format($apply$
    WITH change AS MATERIALIZED (%s),
    gone AS (
      DELETE FROM %2$s c USING change n
      WHERE n.orders = 0 AND c.customer_id = n.customer_id AND c.metric = $4),
    written AS (
      INSERT INTO %2$s AS c
      SELECT $4, n.customer_id, n.orders, n.purchase_days, n.first_order_at, n.last_order_at,
             n.revenue, n.repeat_value, n.average_order_value, n.average_days_between_orders,
             n.days_between_orders_sd,
             n.r, n.f, n.m, n.rfm_group, NULL, $3, CASE WHEN NOT $5 THEN $3 END
      FROM change n WHERE n.orders > 0
      ON CONFLICT (customer_id, metric) DO UPDATE SET
        (orders, purchase_days, first_order_at, last_order_at,
         revenue, repeat_value, average_order_value, average_days_between_orders,
         days_between_orders_sd,
         r, f, m, rfm_group, previous_rfm_group, rfm_group_changed_at, last_order_known_at) =
        ROW (excluded.orders, excluded.purchase_days, excluded.first_order_at,
             excluded.last_order_at,
         excluded.revenue, excluded.repeat_value, excluded.average_order_value,
         excluded.average_days_between_orders, excluded.days_between_orders_sd,
         excluded.r, excluded.f, excluded.m, excluded.rfm_group,
         CASE WHEN c.rfm_group = excluded.rfm_group THEN c.previous_rfm_group ELSE c.rfm_group END,
         CASE WHEN c.rfm_group = excluded.rfm_group THEN c.rfm_group_changed_at ELSE $3 END,
         -- Another order of the last day, or a later day: by less than one it moves with the zone.
         CASE WHEN excluded.orders > c.orders AND excluded.purchase_days = c.purchase_days
                OR excluded.last_order_at >= c.last_order_at + interval '23 hours'
              THEN $3 ELSE c.last_order_known_at END)),
    moved AS (
      INSERT INTO retention.rfm_change (
        metric, customer_id, changed_at, cause, previous_rfm_group, rfm_group,
        previous_r, previous_f, previous_m, r, f, m)
      SELECT $4, n.customer_id, $3, n.cause, n.previous_rfm_group, n.rfm_group,
             n.previous_r, n.previous_f, n.previous_m, n.r, n.f, n.m
      FROM change n WHERE n.previous_rfm_group IS DISTINCT FROM n.rfm_group AND NOT $5
      ORDER BY n.customer_id COLLATE "C"),
    noted AS (
      INSERT INTO retention.changed_customers (customer_ids)
      -- Whom settings move has done nothing: flows are not told.
      SELECT array_agg(n.customer_id)
      FROM (SELECT customer_id, row_number() OVER () / 1000 AS batch
            FROM change WHERE cause <> 'settings') AS n
      WHERE $7 GROUP BY n.batch)
    SELECT count(*) FILTER (WHERE previous_r IS NULL),
           count(*) FILTER (WHERE previous_r IS NOT NULL AND orders > 0),
           count(*) FILTER (WHERE orders = 0),
           count(*) FILTER (WHERE previous_rfm_group IS DISTINCT FROM rfm_group AND NOT $5),
           (SELECT jsonb_object_agg(name, delta)
            FROM (SELECT name, sum(step) AS delta
                  FROM (SELECT rfm_group, 1 FROM change UNION ALL SELECT previous_rfm_group, -1
                        FROM change) AS steps (name, step)
                  WHERE name IS NOT NULL GROUP BY name) AS deltas),
           (SELECT array_agg(n.customer_id) FROM change n
            WHERE $8 AND EXISTS (SELECT FROM retention.order_event e
                                 WHERE e.customer_id = n.customer_id AND e.metric = $4))
    FROM change
  $apply$, changes, state) INTO report USING settings, last, as_of, settings.metric, last IS NULL,
  given,
    -- process_changes notes all whom it looks at.
    given IS NULL AND state = 'retention.customer'::regclass AND retention._flows_run(),
    given IS NULL AND state = 'retention.customer'::regclass;
  RETURN report;
END
$$;
COMMENT ON FUNCTION retention._apply(
  retention.metric, retention.population, timestamptz, regclass, text,
  retention._customer_change[]) IS
  'Writes changed customers, given by a query with the columns of _collected, and their moves '
  'between groups, in one statement. The query''s parameters are the settings, the last refresh, '
  'as_of, and as $6 the given changes. A baseline has no moves.';

CREATE OR REPLACE FUNCTION retention._sources_unchanged(
    settings retention.metric, last retention.population, as_of timestamptz)
  RETURNS boolean
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    (last).settings = retention._settings(settings) AND NOT (last).stale
    AND ((last).next_order_at IS NULL OR (last).next_order_at > as_of)
    AND coalesce(retention._history_start(settings, as_of) <= (last).first_order_at, true)
    AND (SELECT bool_and(coalesce(retention._source_fingerprint(s,
        (settings).time_zone) = s.fingerprint, false))
         FROM retention.source s WHERE s.metric = (settings).metric), false)
$$;
COMMENT ON FUNCTION retention._sources_unchanged(
  retention.metric, retention.population, timestamptz) IS
  'Whether reading the sources again would give the same orders.';

CREATE OR REPLACE FUNCTION retention._publish(
    settings retention.metric, as_of timestamptz, backfilled boolean,
    report retention._collection_report, fingerprint text)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  new_id bigint;
BEGIN
  INSERT INTO retention.population (
      metric, as_of, backfilled, customers, orders, recency_limits, frequency_bounds,
      monetary_bounds,
      group_sizes, first_order_at, next_order_at, last_order_at, most_orders, settings, applied)
    VALUES (
      settings.metric, as_of, backfilled, report.customers, report.orders, settings.recency_limits,
      report.frequency_bounds, report.monetary_bounds, report.group_sizes,
      report.first_order_at, report.next_order_at, report.last_order_at, report.most_orders,
      fingerprint, retention._kept_settings(settings))
    RETURNING refresh_id INTO new_id;
  RETURN new_id;
END
$$;
COMMENT ON FUNCTION retention._publish(
  retention.metric, timestamptz, boolean, retention._collection_report, text) IS
  'Records the thresholds and group sizes of a refresh, and the settings that it went by, with '
  'their fingerprint; returns its id.';

CREATE OR REPLACE FUNCTION retention._changed_since(last retention.population, fingerprint text)
  RETURNS SETOF retention._customer_change
  LANGUAGE sql VOLATILE ROWS 1000 SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM retention._collected(
    (last).frequency_bounds, (last).monetary_bounds, (last).settings IS DISTINCT FROM fingerprint,
    CASE WHEN NOT retention._reads_alike((last).settings, fingerprint) THEN (last).as_of END)
$$;
COMMENT ON FUNCTION retention._changed_since(retention.population, text) IS
  'What _collect found to differ from the stored customers of the last refresh, by settings of '
  'this fingerprint.';

CREATE OR REPLACE FUNCTION retention._write_collected(
    settings retention.metric, last retention.population, as_of timestamptz, state regclass)
  RETURNS retention._write_report
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  loaded bigint;
BEGIN
  IF last IS NULL THEN
    loaded := retention._load(state, settings.metric, as_of);
    IF loaded IS NOT NULL THEN
      RETURN ROW (loaded, 0, 0, 0, NULL, ARRAY(
        SELECT DISTINCT e.customer_id FROM retention.order_event e
        WHERE e.metric = settings.metric))::retention._write_report;
    END IF;
  END IF;
  RETURN retention._apply(settings, last, as_of, state,
    'SELECT * FROM retention._changed_since($2, retention._settings($1))');
END
$$;
COMMENT ON FUNCTION retention._write_collected(
  retention.metric, retention.population, timestamptz, regclass) IS
  'Writes what _collect found: in bulk into an empty table, else the differences.';

CREATE OR REPLACE FUNCTION retention._add_sizes(sizes jsonb, deltas jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_object_agg(key, size)
  FROM (SELECT key, sum(value::bigint) AS size
        FROM (SELECT * FROM jsonb_each_text(sizes) UNION ALL SELECT *
              FROM jsonb_each_text(deltas)) AS all_sizes
        GROUP BY key) AS summed
$$;
COMMENT ON FUNCTION retention._add_sizes(jsonb, jsonb) IS 'Group sizes after some moves.';

CREATE OR REPLACE FUNCTION retention._unchanged_report(last retention.population)
  RETURNS retention._collection_report
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 0, 0, 0, 0, 0, 0, 0, (last).orders, (last).customers, 0, (last).first_order_at,
         (last).next_order_at,
         (last).frequency_bounds, (last).monetary_bounds, (last).group_sizes,
         (last).last_order_at, (last).most_orders, '[]'::jsonb, 0, NULL
$$;
COMMENT ON FUNCTION retention._unchanged_report(retention.population) IS
  'The report of a refresh that needs to read nothing.';

CREATE OR REPLACE FUNCTION retention._reject_loss(
    settings retention.metric, customers bigint, lost bigint, smallest integer DEFAULT 20)
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A handful of customers says nothing about the sources.
  PERFORM retention._reject_unless(customers < smallest OR lost <= settings.loss_limit * customers,
    format('%s of %s customers of metric "%s" have no order any more and would be removed: more '
           'than its loss_limit, %s',
           lost, customers, settings.metric, settings.loss_limit),
    format('If a source is being loaded, wait for it. If they are to go: CALL '
           'retention.refresh(%L, allow_loss => true);', settings.metric),
    'configuration_limit_exceeded');
END
$$;
COMMENT ON FUNCTION retention._reject_loss(retention.metric, bigint, bigint, integer) IS
  'An error where too many of so many customers are lost, as after TRUNCATE or while a source is '
  'loaded. Of fewer than smallest any number may go.';
