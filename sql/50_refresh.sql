-- The refresh: reads the sources, scores everybody, records what changed.

CREATE OR REPLACE FUNCTION retention._collect(
    queries text[], relations regclass[], refunds boolean[], stored_query text,
    as_of timestamptz, history_start timestamptz, time_zone text, recency_limits double precision[],
    frequency_percentiles double precision[], frequency_bounds double precision[],
    monetary_percentiles double precision[], monetary_bounds double precision[], groups text[])
  RETURNS retention.collection_report
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_collect';
COMMENT ON FUNCTION retention._collect(text[], regclass[], boolean[], text, timestamptz, timestamptz, text, double precision[], double precision[], double precision[], double precision[], double precision[], text[]) IS
  'Reads sources by queries, each with the rights of its relation''s owner, and keeps the scored customers for _collected or _load.';

CREATE OR REPLACE FUNCTION retention._collected(
    previous_frequency_bounds double precision[], previous_monetary_bounds double precision[],
    settings_changed boolean DEFAULT false, orders_until timestamptz DEFAULT NULL)
  RETURNS SETOF retention.customer_change
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_collected';
COMMENT ON FUNCTION retention._collected(double precision[], double precision[], boolean, timestamptz) IS
  'What _collect found to differ from the stored customers; orders is 0 for those that are to go. orders_until: where other settings decided on which orders count, when those were read.';

CREATE OR REPLACE FUNCTION retention._collected_loss(OUT customers bigint, OUT lost bigint)
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_collected_loss';
COMMENT ON FUNCTION retention._collected_loss() IS
  'How many stored customers _collect has compared with, and how many of them have lost all their orders, other than to time.';

CREATE OR REPLACE FUNCTION retention._load(state regclass, metric text, as_of timestamptz) RETURNS bigint
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_load';
COMMENT ON FUNCTION retention._load(regclass, text, timestamptz) IS
  'Writes what _collect found into an empty table like retention.customer; null, and nothing done, when it is not empty.';

CREATE OR REPLACE FUNCTION retention._time_expression(
    column_name name, type regtype, time_zone text)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(CASE type
    WHEN 'timestamptz'::regtype THEN '%1$I::timestamptz'
    -- A conversion that leaves the calendar is an error, which would stop all other rows.
    ELSE $case$CASE WHEN %1$I BETWEEN '4713-01-01 BC' AND '294275-12-31'
                      THEN %1$I::timestamp AT TIME ZONE %2$L
                    WHEN %1$I < '4713-01-01 BC' THEN '-infinity'
                    WHEN %1$I > '294275-12-31' THEN 'infinity' END$case$
    END, column_name, time_zone)
$$;
COMMENT ON FUNCTION retention._time_expression(name, regtype, text) IS
  'The expression that reads a column of times; infinite for dates and local times that are no '
  'instants.';

CREATE OR REPLACE FUNCTION retention._readable_condition(at text, amount text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN format($condition$%1$s >= timestamptz '4713-01-01 00:00+00 BC'
    AND %1$s < timestamptz 'infinity'
    AND %2$s > numeric '-1e38' AND %2$s < numeric '1e38'$condition$, at, amount);
COMMENT ON FUNCTION retention._readable_condition(text, text) IS
  'The condition by which queries of our own leave out the rows that _collect cannot read, of '
  'expressions for the time and the amount.';

CREATE OR REPLACE FUNCTION retention._source_query(source retention.source, time_zone text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._column_type(source.relation, 'amount', source.amount);
  PERFORM retention._column_type(source.relation, 'order_id', source.order_id)
    WHERE source.order_id IS NOT NULL;
  RETURN format('SELECT %s, %s, %I::numeric%s FROM %s',
    retention._key_expression(source.relation, source.customer_id),
    retention._time_expression(source.ordered_at,
      retention._column_type(source.relation, 'ordered_at', source.ordered_at), time_zone),
    source.amount,
    CASE WHEN source.order_id IS NULL THEN '' ELSE ', ' || retention._key_expression(source.relation, source.order_id) END,
    source.relation);
END
$$;
COMMENT ON FUNCTION retention._source_query(retention.source, text) IS
  'The query that reads a source: customer, time, amount and, where there is one, order id.';

CREATE OR REPLACE FUNCTION retention._keyed_source_query(source retention.source, time_zone text, customer_ids text[]) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._source_query(source, time_zone)
      || CASE WHEN customer_ids IS NULL THEN '' ELSE ' WHERE ' || retention._keys_condition((source).relation, (source).customer_id, customer_ids) END
$$;
COMMENT ON FUNCTION retention._keyed_source_query(retention.source, text, text[]) IS
  'The query that reads some customers'' rows of a source; with null, all rows.';

CREATE OR REPLACE FUNCTION retention._stored_query(state regclass, metric text, customer_ids text[]) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- Null where there is no such table.
  SELECT format('SELECT customer_id, orders, purchase_days, first_order_at, last_order_at, revenue, repeat_value, average_order_value,
                 average_days_between_orders, days_between_orders_sd, r, f, m, rfm_group FROM %s WHERE metric = %L', state, metric) 
      || CASE WHEN state IS NULL THEN NULL WHEN customer_ids IS NULL THEN '' ELSE format(' AND customer_id = ANY (%L::text[])', customer_ids) END
$$;
COMMENT ON FUNCTION retention._stored_query(regclass, text, text[]) IS
  'The query that reads a metric''s customers, all or some, from a table like retention.customer.';

CREATE OR REPLACE FUNCTION retention._groups(metric retention.metric) RETURNS text[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  groups text[];
  missing text;
BEGIN
  SELECT array_agg(c.rfm_group ORDER BY i, j, k), min(format('%s%s%s', i, j, k)) FILTER (WHERE c.rfm_group IS NULL)
    INTO groups, missing
    FROM generate_series(1, cardinality(metric.recency_limits) + 1) AS i
    CROSS JOIN generate_series(1, cardinality(metric.frequency_percentiles) + 1) AS j
    CROSS JOIN generate_series(1, cardinality(metric.monetary_percentiles) + 1) AS k
    LEFT JOIN retention.rfm_cell c ON (c.scheme, c.r, c.f, c.m) = (metric.scheme, i, j, k);
  PERFORM retention._reject_unless(missing IS NULL,
    format('scheme "%s" has no group for scores %s', metric.scheme, missing),
    'Add the missing combinations to retention.rfm_cell.', 'object_not_in_prerequisite_state');
  RETURN groups;
END
$$;
COMMENT ON FUNCTION retention._groups(retention.metric) IS 'The groups of a metric''s scheme in ascending order of r, f, m; an error when one is missing.';

CREATE OR REPLACE FUNCTION retention._settings(metric retention.metric) RETURNS text
  -- Settings are hashed as text, which must not depend on the session.
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres SET extra_float_digits = 1
  SET quote_all_identifiers = off
AS $$
  SELECT md5(concat_ws('|',
    -- Without the settings of predictions, which no score depends on.
    (metric.metric, metric.time_zone, metric.scheme, metric.recency_limits, metric.frequency_percentiles,
     metric.frequency_values, metric.monetary_percentiles, metric.monetary_values, metric.thresholds)::text,
    retention._groups(metric)))
    -- Which orders count stands apart, for _reads_alike. Nothing of this may depend on the database: it is restored.
    || '/' || md5(concat_ws('|', metric.history,
    (SELECT array_agg((s.source_id, s.kind, s.customer_id, s.ordered_at, s.amount, s.order_id)::text
                      ORDER BY s.source_id)
     FROM retention.source s WHERE s.metric = (_settings.metric).metric)))
$$;
COMMENT ON FUNCTION retention._settings(retention.metric) IS 'Fingerprint of all that decides on scores besides the orders.';

CREATE OR REPLACE FUNCTION retention._reads_alike(settings text, other_settings text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT split_part(settings, '/', 2) = split_part(other_settings, '/', 2)
$$;
COMMENT ON FUNCTION retention._reads_alike(text, text) IS 'Whether two fingerprints of settings have the same sources and history.';

CREATE OR REPLACE FUNCTION retention._last_refresh(metric text) RETURNS retention.population
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT p FROM retention.population p
    WHERE p.metric = _last_refresh.metric AND NOT p.backfilled ORDER BY p.refresh_id DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION retention._last_refresh(text) IS 'What the latest refresh published; null before the first.';

CREATE OR REPLACE FUNCTION retention._history_start(settings retention.metric, as_of timestamptz) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN ((as_of AT TIME ZONE (settings).time_zone) - (settings).history) AT TIME ZONE (settings).time_zone;
COMMENT ON FUNCTION retention._history_start(retention.metric, timestamptz) IS
  'The time from which on orders count, in the calendar of the metric''s zone; null: all count.';

CREATE OR REPLACE FUNCTION retention._read_metric(
    settings retention.metric, as_of timestamptz, state regclass, published retention.population, customer_ids text[] DEFAULT NULL)
  RETURNS retention.collection_report
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Some customers tell nothing of percentiles.
  frozen boolean := settings.thresholds = 'frozen' OR customer_ids IS NOT NULL;
  report retention.collection_report;
BEGIN
  SELECT collected.* INTO report
    FROM (SELECT array_agg(retention._keyed_source_query(s, settings.time_zone, customer_ids) ORDER BY s.source_id) AS queries,
                 array_agg(s.relation ORDER BY s.source_id) AS relations,
                 array_agg(s.kind = 'refund' ORDER BY s.source_id) AS refunds
          FROM retention.source s WHERE s.metric = settings.metric) AS sources,
         retention._collect(
           sources.queries, sources.relations, sources.refunds, retention._stored_query(state, settings.metric, customer_ids),
           as_of, retention._history_start(settings, as_of), settings.time_zone, settings.recency_limits,
           settings.frequency_percentiles,
           coalesce(settings.frequency_values, CASE WHEN frozen
             AND cardinality(published.frequency_bounds) = cardinality(settings.frequency_percentiles) THEN published.frequency_bounds END),
           settings.monetary_percentiles,
           coalesce(settings.monetary_values, CASE WHEN frozen
             AND cardinality(published.monetary_bounds) = cardinality(settings.monetary_percentiles) THEN published.monetary_bounds END),
           retention._groups(settings)) AS collected;
  RETURN report;
END
$$;
COMMENT ON FUNCTION retention._read_metric(retention.metric, timestamptz, regclass, retention.population, text[]) IS
  'Runs _collect with a metric''s settings and sources, for all or some customers; frozen thresholds are the published ones.';

CREATE OR REPLACE FUNCTION retention._apply(
    settings retention.metric, last retention.population, as_of timestamptz, state regclass, changes text,
    given retention.customer_change[] DEFAULT NULL)
  RETURNS retention.write_report
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  report retention.write_report;
BEGIN
  EXECUTE format($apply$
    WITH change AS MATERIALIZED (%s),
    gone AS (
      DELETE FROM %2$s c USING change n
      WHERE n.orders = 0 AND c.customer_id = n.customer_id AND c.metric = $4),
    written AS (
      INSERT INTO %2$s AS c
      SELECT $4, n.customer_id, n.orders, n.purchase_days, n.first_order_at, n.last_order_at,
             n.revenue, n.repeat_value, n.average_order_value, n.average_days_between_orders, n.days_between_orders_sd,
             n.r, n.f, n.m, n.rfm_group, NULL, $3, CASE WHEN NOT $5 THEN $3 END
      FROM change n WHERE n.orders > 0
      ON CONFLICT (customer_id, metric) DO UPDATE SET
        (orders, purchase_days, first_order_at, last_order_at,
         revenue, repeat_value, average_order_value, average_days_between_orders, days_between_orders_sd,
         r, f, m, rfm_group, previous_rfm_group, rfm_group_changed_at, last_order_known_at) =
        ROW (excluded.orders, excluded.purchase_days, excluded.first_order_at, excluded.last_order_at,
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
                  FROM (SELECT rfm_group, 1 FROM change UNION ALL SELECT previous_rfm_group, -1 FROM change) AS steps (name, step)
                  WHERE name IS NOT NULL GROUP BY name) AS deltas),
           (SELECT array_agg(n.customer_id) FROM change n
            WHERE $8 AND EXISTS (SELECT FROM retention.order_event e
                                 WHERE e.customer_id = n.customer_id AND e.metric = $4))
    FROM change
  $apply$, changes, state) INTO report USING settings, last, as_of, settings.metric, last IS NULL, given,
    -- process_changes notes all whom it looks at.
    given IS NULL AND state = 'retention.customer'::regclass AND retention._flows_run(),
    given IS NULL AND state = 'retention.customer'::regclass;
  RETURN report;
END
$$;
COMMENT ON FUNCTION retention._apply(retention.metric, retention.population, timestamptz, regclass, text, retention.customer_change[]) IS
  'Writes changed customers, given by a query with the columns of _collected, and their moves between groups, in one statement. The query''s parameters are the settings, the last refresh, as_of, and as $6 the given changes. A baseline has no moves.';

CREATE OR REPLACE FUNCTION retention._sources_unchanged(settings retention.metric, last retention.population, as_of timestamptz)
  RETURNS boolean
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    (last).settings = retention._settings(settings) AND NOT (last).stale
    AND ((last).next_order_at IS NULL OR (last).next_order_at > as_of)
    AND coalesce(retention._history_start(settings, as_of) <= (last).first_order_at, true)
    AND (SELECT bool_and(coalesce(retention._source_fingerprint(s, (settings).time_zone) = s.fingerprint, false))
         FROM retention.source s WHERE s.metric = (settings).metric), false)
$$;
COMMENT ON FUNCTION retention._sources_unchanged(retention.metric, retention.population, timestamptz) IS
  'Whether reading the sources again would give the same orders.';

CREATE OR REPLACE FUNCTION retention._publish(
    settings retention.metric, as_of timestamptz, backfilled boolean, report retention.collection_report, fingerprint text)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  new_id bigint;
BEGIN
  INSERT INTO retention.population (
      metric, as_of, backfilled, customers, orders, recency_limits, frequency_bounds, monetary_bounds,
      group_sizes, first_order_at, next_order_at, last_order_at, most_orders, settings)
    VALUES (
      settings.metric, as_of, backfilled, report.customers, report.orders, settings.recency_limits,
      report.frequency_bounds, report.monetary_bounds, report.group_sizes,
      report.first_order_at, report.next_order_at, report.last_order_at, report.most_orders, fingerprint)
    RETURNING refresh_id INTO new_id;
  RETURN new_id;
END
$$;
COMMENT ON FUNCTION retention._publish(retention.metric, timestamptz, boolean, retention.collection_report, text) IS
  'Records the thresholds and group sizes of a refresh, and the fingerprint of the settings that it went by; returns its id.';

CREATE OR REPLACE FUNCTION retention._changed_since(last retention.population, fingerprint text)
  RETURNS SETOF retention.customer_change
  LANGUAGE sql VOLATILE ROWS 1000 SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM retention._collected(
    (last).frequency_bounds, (last).monetary_bounds, (last).settings IS DISTINCT FROM fingerprint,
    CASE WHEN NOT retention._reads_alike((last).settings, fingerprint) THEN (last).as_of END)
$$;
COMMENT ON FUNCTION retention._changed_since(retention.population, text) IS
  'What _collect found to differ from the stored customers of the last refresh, by settings of this fingerprint.';

CREATE OR REPLACE FUNCTION retention._write_collected(
    settings retention.metric, last retention.population, as_of timestamptz, state regclass)
  RETURNS retention.write_report
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
        WHERE e.metric = settings.metric))::retention.write_report;
    END IF;
  END IF;
  RETURN retention._apply(settings, last, as_of, state,
    'SELECT * FROM retention._changed_since($2, retention._settings($1))');
END
$$;
COMMENT ON FUNCTION retention._write_collected(retention.metric, retention.population, timestamptz, regclass) IS
  'Writes what _collect found: in bulk into an empty table, else the differences.';

CREATE OR REPLACE FUNCTION retention._crossing_spans(limits double precision[], before date, today date) RETURNS SETOF tstzrange
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- A day more on each side covers all time zones; limits beyond three thousand years are never passed.
  SELECT unnest(range_agg(tstzrange((before - days - 1)::timestamp AT TIME ZONE 'UTC',
                                    (today - days + 1)::timestamp AT TIME ZONE 'UTC')))
  FROM unnest(limits) AS recency_limit, LATERAL (SELECT greatest(floor(recency_limit), -1)::integer AS days) AS whole
  WHERE before < today AND recency_limit < 1000000
$$;
COMMENT ON FUNCTION retention._crossing_spans(double precision[], date, date) IS
  'When those ordered last whose days since then pass a limit between two days.';

CREATE OR REPLACE FUNCTION retention._clock_changes(settings retention.metric, last retention.population, as_of timestamptz)
  RETURNS SETOF retention.customer_change
  LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  zone text := settings.time_zone;
  today date := (as_of AT TIME ZONE zone)::date;
  span tstzrange;
BEGIN
  -- A span at a time, so that each is a range of the index whatever the statistics say.
  FOR span IN SELECT retention._crossing_spans(settings.recency_limits, (last.as_of AT TIME ZONE zone)::date, today) LOOP
    RETURN QUERY
      SELECT c.customer_id, c.orders, c.purchase_days, c.first_order_at, c.last_order_at,
             c.revenue, c.repeat_value, c.average_order_value, c.average_days_between_orders, c.days_between_orders_sd,
             scored.r, c.f, c.m, cell.rfm_group, c.r, c.f, c.m, c.rfm_group, 'time'
      FROM retention.customer c
      CROSS JOIN LATERAL (
        SELECT retention.recency_score(today - (c.last_order_at AT TIME ZONE zone)::date, settings.recency_limits)::smallint AS r
        OFFSET 0) AS scored
      JOIN retention.rfm_cell cell ON (cell.scheme, cell.r, cell.f, cell.m) = (settings.scheme, scored.r, c.f, c.m)
      WHERE c.last_order_at >= lower(span) AND c.last_order_at < upper(span)
        AND c.metric = settings.metric AND scored.r <> c.r;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._clock_changes(retention.metric, retention.population, timestamptz) IS
  'The customers whose recency score changes because time has passed since the last refresh, found by index.';

CREATE OR REPLACE FUNCTION retention._add_sizes(sizes jsonb, deltas jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_object_agg(key, size)
  FROM (SELECT key, sum(value::bigint) AS size
        FROM (SELECT * FROM jsonb_each_text(sizes) UNION ALL SELECT * FROM jsonb_each_text(deltas)) AS all_sizes
        GROUP BY key) AS summed
$$;
COMMENT ON FUNCTION retention._add_sizes(jsonb, jsonb) IS 'Group sizes after some moves.';

CREATE OR REPLACE FUNCTION retention._unchanged_report(last retention.population) RETURNS retention.collection_report
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 0, 0, 0, 0, 0, 0, 0, (last).orders, (last).customers, 0, (last).first_order_at, (last).next_order_at,
         (last).frequency_bounds, (last).monetary_bounds, (last).group_sizes,
         (last).last_order_at, (last).most_orders, '[]'::jsonb, 0, NULL
$$;
COMMENT ON FUNCTION retention._unchanged_report(retention.population) IS 'The report of a refresh that needs to read nothing.';

CREATE OR REPLACE FUNCTION retention._check_refresh(settings retention.metric, last retention.population, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  dropped regclass;
BEGIN
  PERFORM retention._check_clock(as_of);
  PERFORM retention._reject_unless(
    EXISTS (SELECT FROM retention.source s WHERE s.metric = settings.metric AND s.kind = 'order'),
    format('metric "%s" has no source of orders', settings.metric), 'add_source names the table of orders.',
    'object_not_in_prerequisite_state');
  SELECT relation INTO dropped FROM retention.source s
    WHERE s.metric = settings.metric AND NOT EXISTS (SELECT FROM pg_class WHERE oid = s.relation);
  PERFORM retention._reject_unless(dropped IS NULL,
    format('a source of metric "%s" has been dropped (its oid was %s)', settings.metric, dropped),
    'drop_source removes it; retention.source shows its source_id.', 'undefined_table');
  PERFORM retention._source_query(s, settings.time_zone) FROM retention.source s WHERE s.metric = settings.metric;
  PERFORM retention._reject_unless(as_of >= coalesce(last.as_of, as_of),
    format('as_of %s lies before the last refresh of metric "%s", as of %s', as_of, settings.metric, last.as_of),
    'customer_at shows a past state, backfill_history records past ones, reset_metric starts anew.');
END
$$;
COMMENT ON FUNCTION retention._check_refresh(retention.metric, retention.population, timestamptz) IS
  'Rejects a refresh that cannot be done, with the reason.';

CREATE OR REPLACE FUNCTION retention._unreadable_count(unreadable jsonb) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(sum((u ->> 'row_count')::bigint), 0) FROM jsonb_array_elements(unreadable) AS u
$$;
COMMENT ON FUNCTION retention._unreadable_count(jsonb) IS 'How many rows a report could not read.';

CREATE OR REPLACE FUNCTION retention._warn_of_unreadable(metric text, unreadable jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF unreadable <> '[]' THEN
    RAISE WARNING 'metric "%": % rows are left out because they cannot be read',
        metric, retention._unreadable_count(unreadable)
      USING DETAIL = (
        SELECT string_agg(format('%s in %s: customer "%s"%s%s.', u ->> 'reason', u ->> 'relation',
                                 left(u ->> 'customer_id', 100),
                                 ', order "' || left(u ->> 'order_id', 100) || '"',
                                 ', ' || left(u ->> 'value', 100)), E'\n')
        FROM jsonb_array_elements(unreadable) AS u),
      HINT = 'retention.unreadable_row counts them by source and reason.';
  END IF;
END
$$;
COMMENT ON FUNCTION retention._warn_of_unreadable(text, jsonb) IS
  'Says what a refresh could not read, with an example for each reason.';

CREATE OR REPLACE FUNCTION retention._note_unreadable(metric text, met jsonb) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE retention.refresh_log l SET unreadable_since = (
      SELECT jsonb_agg(jsonb_set(latest.u, '{row_count}', to_jsonb(latest.total)))
      FROM (SELECT DISTINCT ON (u ->> 'relation', u ->> 'reason') u,
                   sum((u ->> 'row_count')::bigint) OVER kind AS total
            FROM jsonb_array_elements(l.unreadable_since || met) WITH ORDINALITY AS e (u, number)
            WINDOW kind AS (PARTITION BY u ->> 'relation', u ->> 'reason')
            ORDER BY u ->> 'relation', u ->> 'reason', number DESC) AS latest)
    WHERE met <> '[]'
      AND l.refresh_id = (SELECT max(r.refresh_id) FROM retention.refresh_log r
                          WHERE r.metric = _note_unreadable.metric AND r.path = 'rebuild')
$$;
COMMENT ON FUNCTION retention._note_unreadable(text, jsonb) IS
  'Adds what process_changes could not read to the log of the last refresh that has read the '
  'sources; the latest example stays.';

CREATE OR REPLACE FUNCTION retention._without_customer(unreadable jsonb, customer_id text)
  RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_agg(
           CASE WHEN u ->> 'customer_id' = _without_customer.customer_id
                THEN u || '{"customer_id": null, "order_id": null, "value": null}' ELSE u END
           ORDER BY number), '[]')
  FROM jsonb_array_elements(unreadable) WITH ORDINALITY AS e (u, number)
$$;
COMMENT ON FUNCTION retention._without_customer(jsonb, text) IS
  'Counts of unreadable rows without a customer''s example.';

CREATE OR REPLACE FUNCTION retention._forget_unreadable(customer_id text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  example CONSTANT jsonb := jsonb_build_array(jsonb_build_object('customer_id', customer_id));
  forgotten bigint;
BEGIN
  UPDATE retention.refresh_log l
    SET unreadable_rows = retention._without_customer(l.unreadable_rows, customer_id),
        unreadable_since = retention._without_customer(l.unreadable_since, customer_id)
    WHERE l.unreadable_rows @> example OR l.unreadable_since @> example;
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  RETURN forgotten;
END
$$;
COMMENT ON FUNCTION retention._forget_unreadable(text) IS
  'Removes a person from the examples of unreadable rows, and keeps the counts. Returns the '
  'number of refreshes that had one.';

CREATE OR REPLACE FUNCTION retention._log_refresh(
    id bigint, metric text, as_of timestamptz, path text, report retention.collection_report, written retention.write_report,
    started_at timestamptz, read_at timestamptz)
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.refresh_log (
      refresh_id, metric, as_of, path, started_at, read_duration, write_duration,
      rows_read, without_customer, without_time, without_amount, after_as_of, before_history, refund_rows,
      customers_without_orders, inserted, updated, deleted, transitions,
      unreadable, unreadable_rows, unmatched_refunds, unmatched_refund)
    VALUES (
      id, metric, as_of, path, started_at, read_at - started_at, clock_timestamp() - read_at,
      (report).rows_read, (report).without_customer, (report).without_time, (report).without_amount,
      (report).after_as_of, (report).before_history, (report).refund_rows, (report).customers_without_orders,
      (written).inserted, (written).updated, (written).deleted, (written).transitions,
      retention._unreadable_count((report).unreadable), (report).unreadable,
      (report).unmatched_refunds, (report).unmatched_refund)
$$;
COMMENT ON FUNCTION retention._log_refresh(bigint, text, timestamptz, text, retention.collection_report, retention.write_report, timestamptz, timestamptz) IS
  'Writes a row of refresh_log.';

CREATE OR REPLACE FUNCTION retention._reject_loss(
    settings retention.metric, customers bigint, lost bigint, smallest integer DEFAULT 20)
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A handful of customers says nothing about the sources.
  PERFORM retention._reject_unless(customers < smallest OR lost <= settings.loss_limit * customers,
    format('%s of %s customers of metric "%s" have no order any more and would be removed: more than its loss_limit, %s',
           lost, customers, settings.metric, settings.loss_limit),
    format('If a source is being loaded, wait for it. If they are to go: CALL retention.refresh(%L, allow_loss => true);', settings.metric),
    'configuration_limit_exceeded');
END
$$;
COMMENT ON FUNCTION retention._reject_loss(retention.metric, bigint, bigint, integer) IS
  'An error where too many of so many customers are lost, as after TRUNCATE or while a source is loaded. Of fewer than smallest any number may go.';

CREATE OR REPLACE FUNCTION retention._advance_clock(
    settings retention.metric, last retention.population, as_of timestamptz,
    OUT report retention.collection_report, OUT written retention.write_report, OUT read_at timestamptz)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  report := retention._unchanged_report(last);
  PERFORM retention._tell(format('metric "%s": the sources are unchanged since %s',
                                 settings.metric, last.as_of));
  read_at := clock_timestamp();
  written := retention._apply(settings, last, as_of, 'retention.customer',
                              'SELECT * FROM retention._clock_changes($1, $2, $3)');
  report.group_sizes := retention._add_sizes(report.group_sizes, coalesce(written.group_deltas, '{}'));
END
$$;
COMMENT ON FUNCTION retention._advance_clock(retention.metric, retention.population, timestamptz) IS
  'A refresh of sources that have not changed: what only time has changed. Also when it had read.';

CREATE OR REPLACE FUNCTION retention._rebuild(
    settings retention.metric, last retention.population, as_of timestamptz,
    fingerprint text, allow_loss boolean,
    OUT report retention.collection_report, OUT written retention.write_report, OUT read_at timestamptz)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Ahead of the snapshot that reads them, so that no change falls in between.
  -- Whether there still is an index is looked up anew.
  UPDATE retention.source s
    SET fingerprint = retention._source_fingerprint(s, settings.time_zone),
        is_indexed = nullif(s.is_indexed, true)
    WHERE s.metric = settings.metric;
  report := retention._read_metric(settings, as_of, 'retention.customer', last);
  PERFORM retention._tell(format('metric "%s": %s rows read, %s orders of %s customers',
                                 settings.metric, report.rows_read, report.orders, report.customers));
  PERFORM retention._warn_of_unreadable(settings.metric, report.unreadable);
  IF allow_loss IS NOT TRUE AND retention._reads_alike(_rebuild.fingerprint, last.settings) THEN
    PERFORM retention._reject_loss(settings, l.customers, l.lost)
      FROM retention._collected_loss() AS l;
  END IF;
  read_at := clock_timestamp();
  written := retention._write_collected(settings, last, as_of, 'retention.customer');
END
$$;
COMMENT ON FUNCTION retention._rebuild(retention.metric, retention.population, timestamptz, text, boolean) IS
  'A refresh that reads the sources, and writes who differs. Also when it had read them.';

CREATE OR REPLACE FUNCTION retention._refresh_customers(
    metric text, "full" boolean, as_of timestamptz, allow_loss boolean DEFAULT false)
  RETURNS timestamptz
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  started_at timestamptz := clock_timestamp();
  settings retention.metric;
  fingerprint text;
  last retention.population;
  path text := 'rebuild';
  settings_changed boolean;
  done record;
BEGIN
  PERFORM retention._require_metric(metric);
  PERFORM retention._lock_metric(metric), retention._take_turn(metric);
  settings := retention._require_metric(metric);
  -- Ahead of what reads by them: what is changed meanwhile is then found by the next refresh.
  fingerprint := retention._settings(settings);
  last := retention._last_refresh(metric);
  IF as_of = pg_catalog.now() THEN
    -- The transaction may have waited: what others have committed meanwhile is not in the future.
    as_of := greatest(clock_timestamp(), last.as_of);
  END IF;
  PERFORM retention._check_refresh(settings, last, as_of);
  settings_changed := last.settings IS DISTINCT FROM fingerprint;
  IF settings_changed THEN
    -- What time has brought about is not due to the settings.
    PERFORM retention._evaluate_segments('refresh', as_of);
  END IF;
  IF NOT "full" AND retention._sources_unchanged(settings, last, as_of) THEN
    path := 'clock';
    done := retention._advance_clock(settings, last, as_of);
  ELSE
    done := retention._rebuild(settings, last, as_of, fingerprint, allow_loss);
  END IF;
  PERFORM retention._tell(format(
    'metric "%s": %s customers added, %s changed, %s removed; %s moved between groups', metric,
    (done.written).inserted, (done.written).updated, (done.written).deleted, (done.written).transitions));
  PERFORM retention._log_refresh(
    retention._publish(settings, as_of, false, done.report, fingerprint),
    metric, as_of, path, done.report, done.written, started_at, done.read_at);
  PERFORM retention._refresh_models(settings, as_of);
  IF path = 'rebuild' THEN
    PERFORM retention._record_all_events(settings, as_of, (done.written).with_events);
  END IF;
  IF settings_changed THEN
    PERFORM retention._settle_segments(metric, last.as_of, as_of);
  END IF;
  RETURN as_of;
END
$$;
COMMENT ON FUNCTION retention._refresh_customers(text, boolean, timestamptz, boolean) IS
  'A refresh without the segments. Returns the clock that it went by.';

CREATE OR REPLACE PROCEDURE retention.refresh(
    metric text DEFAULT 'orders', "full" boolean DEFAULT false, as_of timestamptz DEFAULT retention.now(),
    allow_loss boolean DEFAULT false)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- For refresh_all, whose time may have been up for another metric.
  PERFORM retention._renew_timeout();
  as_of := retention._refresh_customers(metric, "full", as_of, allow_loss);
  DELETE FROM retention.metric_error e WHERE e.metric = refresh.metric;
  PERFORM retention._evaluate_segments('refresh', as_of);
END
$$;
COMMENT ON PROCEDURE retention.refresh(text, boolean, timestamptz, boolean) IS
  'Brings a metric''s customers, scores, groups and history, and all segments, up to as_of, in one transaction, and fits the models anew when they are due. Reads the sources, unless they have not changed since the last refresh; full => true reads them in any case. Where more than the metric''s loss_limit of its customers would be removed it fails, unless allow_loss is true.';
