-- Processes the changes that were captured.

CREATE OR REPLACE FUNCTION retention._warn_without_index(
    source retention.source, time_zone text, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  scans boolean := retention._scans_a_table(
    retention._keyed_source_query(source, time_zone, customer_ids[1:1]), source.relation);
BEGIN
  IF scans AND source.is_indexed IS NOT FALSE THEN
    RAISE WARNING '% is read in full for every change: no index finds a customer''s rows by "%"',
        source.relation, source.customer_id
      USING HINT = format('For a table: CREATE INDEX ON %s (%I);', source.relation,
                          source.customer_id);
  END IF;
  UPDATE retention.source s SET is_indexed = NOT scans
  WHERE s.source_id = source.source_id AND s.is_indexed IS DISTINCT FROM NOT scans;
END
$$;
COMMENT ON FUNCTION retention._warn_without_index(retention.source, text, text[]) IS
  'Warns, once, of a source whose customers can only be found by reading all of it.';

CREATE OR REPLACE FUNCTION retention._note_orders_ahead(
    settings retention.metric, as_of timestamptz, next_order_at timestamptz, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  furthest timestamptz := as_of + interval '1 day';
BEGIN
  IF next_order_at > furthest IS NOT FALSE THEN
    RETURN;
  END IF;
  INSERT INTO retention.change_log (customer_ids, due_at, changed_at)
    SELECT ahead.*, clock_timestamp()
    FROM (SELECT ARRAY[q.customer_id], q.at
          FROM retention.source s, retention._query_of(s.relation, format($query$
            SELECT customer_id::text, min(at) FROM (%s) AS s (customer_id, at)
            WHERE at > $1 AND at <= $2 AND %s GROUP BY 1$query$,
            retention._keyed_source_query(s, settings.time_zone, customer_ids),
            retention._key_condition('customer_id::text')),
            as_of, furthest) AS q (customer_id text, at timestamptz)
          WHERE s.metric = settings.metric
          EXCEPT SELECT l.customer_ids, l.due_at FROM retention.change_log l) AS ahead;
END
$$;
COMMENT ON FUNCTION retention._note_orders_ahead(
  retention.metric, timestamptz, timestamptz, text[]) IS
  'Has customers processed again when their orders are due that are dated ahead of the clock, by '
  'a day at most: not every clock in a shop is right. next_order_at: the first one that was met; '
  'null customers: all.';

CREATE OR REPLACE FUNCTION retention._process_metric(
    settings retention.metric, last retention.population, as_of timestamptz, customer_ids text[])
  RETURNS retention._customer_change[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changes retention._customer_change[];
  report retention._collection_report;
BEGIN
  PERFORM retention._take_turn(settings.metric);
  PERFORM retention._warn_without_index(s, settings.time_zone, customer_ids)
    FROM retention.source s WHERE s.metric = settings.metric AND s.is_indexed IS NOT TRUE;
  PERFORM retention._record_events(settings, as_of, customer_ids)
    WHERE EXISTS (SELECT FROM retention.source s
                  WHERE s.metric = settings.metric AND s.events_from IS NOT NULL);
  report := retention._read_metric(settings, as_of, 'retention.customer', last, customer_ids);
  -- Ahead of all that reads sources again: a view there may collect too.
  changes := ARRAY(
    SELECT c FROM retention._collected(last.frequency_bounds, last.monetary_bounds) AS c);
  PERFORM retention._note_unreadable(settings.metric, report.unreadable);
  PERFORM retention._note_orders_ahead(settings, as_of, report.next_order_at, customer_ids);
  IF cardinality(changes) > 0 THEN
    PERFORM retention._apply(settings, last, as_of, 'retention.customer',
                             'SELECT * FROM unnest($6)', changes);
    -- Group sizes of the last refresh no longer hold: the next one has to count anew.
    UPDATE retention.source s SET fingerprint = NULL
    WHERE s.metric = settings.metric AND s.fingerprint IS NOT NULL;
  END IF;
  RETURN changes;
END
$$;
COMMENT ON FUNCTION retention._process_metric(
  retention.metric, retention.population, timestamptz, text[]) IS
  'Recomputes some customers from the sources, scores them by the published bounds, and writes '
  'what has changed, which it returns.';

CREATE OR REPLACE FUNCTION retention._leave_to_refresh(last retention.population) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE retention.population p SET stale = true
  WHERE p.refresh_id = (last).refresh_id AND NOT p.stale
$$;
COMMENT ON FUNCTION retention._leave_to_refresh(retention.population) IS
  'Has a metric wait for its next refresh, which reads everything, even if what stood in the way '
  'is undone before.';
