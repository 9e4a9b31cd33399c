-- Keeping current: process_changes recomputes the customers that the triggers have noted.

CREATE OR REPLACE FUNCTION retention._warn_without_index(source retention.source, time_zone text, customer_ids text[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  scans boolean := retention._scans_a_table(retention._keyed_source_query(source, time_zone, customer_ids[1:1]));
BEGIN
  IF scans AND source.is_indexed IS NOT FALSE THEN
    RAISE WARNING '% is read in full for every change: no index finds a customer''s rows by "%"', source.relation, source.customer_id
      USING HINT = format('For a table: CREATE INDEX ON %s (%I);', source.relation, source.customer_id);
  END IF;
  UPDATE retention.source s SET is_indexed = NOT scans WHERE s.source_id = source.source_id AND s.is_indexed IS DISTINCT FROM NOT scans;
END
$$;
COMMENT ON FUNCTION retention._warn_without_index(retention.source, text, text[]) IS 'Warns, once, of a source whose customers can only be found by reading all of it.';

CREATE OR REPLACE FUNCTION retention._note_orders_ahead(
    settings retention.metric, as_of timestamptz, next_order_at timestamptz, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  -- As in _read_metric.
  SET DateStyle = 'ISO, YMD' SET IntervalStyle = postgres SET extra_float_digits = 1 SET bytea_output = hex SET TimeZone = 'UTC'
AS $$
DECLARE
  furthest timestamptz := as_of + interval '1 day';
  source retention.source;
BEGIN
  IF next_order_at <= furthest THEN
    FOR source IN SELECT * FROM retention.source s WHERE s.metric = settings.metric LOOP
      EXECUTE format($query$
        INSERT INTO retention.change_log (customer_ids, due_at, changed_at)
        SELECT ahead.*, clock_timestamp()
        FROM (SELECT ARRAY[customer_id::text], min(at) FROM (%s) AS s (customer_id, at)
              WHERE at > $1 AND at <= $2 AND octet_length(customer_id::text) <= 2000 GROUP BY 1
              EXCEPT SELECT l.customer_ids, l.due_at FROM retention.change_log l) AS ahead
      $query$, retention._keyed_source_query(source, settings.time_zone, customer_ids)) USING as_of, furthest;
    END LOOP;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._note_orders_ahead(retention.metric, timestamptz, timestamptz, text[]) IS
  'Has customers processed again when their orders are due that are dated ahead of the clock, by a day at most: not every clock in a shop is right. next_order_at: the first one that was met; null customers: all.';

CREATE OR REPLACE FUNCTION retention._process_metric(settings retention.metric, last retention.population, as_of timestamptz, customer_ids text[])
  RETURNS retention.customer_change[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changes retention.customer_change[];
  report retention.collection_report;
BEGIN
  PERFORM retention._warn_without_index(s, settings.time_zone, customer_ids)
    FROM retention.source s WHERE s.metric = settings.metric AND s.is_indexed IS NOT TRUE;
  PERFORM retention._record_events(s, settings.time_zone, as_of, customer_ids)
    FROM retention.source s WHERE s.metric = settings.metric AND s.events_from IS NOT NULL;
  report := retention._read_metric(settings, as_of, 'retention.customer', last, customer_ids);
  PERFORM retention._note_orders_ahead(settings, as_of, report.next_order_at, customer_ids);
  changes := ARRAY(SELECT c FROM retention._collected(last.frequency_bounds, last.monetary_bounds, false) AS c);
  IF cardinality(changes) > 0 THEN
    PERFORM retention._apply(settings, last, as_of, 'retention.customer', 'SELECT * FROM unnest($6)', changes);
    -- Group sizes of the last refresh no longer hold: the next one has to count anew.
    UPDATE retention.source s SET fingerprint = NULL WHERE s.metric = settings.metric AND s.fingerprint IS NOT NULL;
  END IF;
  RETURN changes;
END
$$;
COMMENT ON FUNCTION retention._process_metric(retention.metric, retention.population, timestamptz, text[]) IS
  'Recomputes some customers from the sources, scores them by the published bounds, and writes what has changed, which it returns.';

CREATE OR REPLACE FUNCTION retention._leave_to_refresh(last retention.population) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE retention.population p SET stale = true WHERE p.refresh_id = (last).refresh_id AND NOT p.stale
$$;
COMMENT ON FUNCTION retention._leave_to_refresh(retention.population) IS
  'Has a metric wait for its next refresh, which reads everything, even if what stood in the way is undone before.';

CREATE OR REPLACE FUNCTION retention._try_metric(metric text, as_of timestamptz, customer_ids text[], oldest timestamptz)
  RETURNS retention.customer_change[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._require_metric(metric);
  last retention.population := retention._last_refresh(metric);
  reason text;
BEGIN
  IF last IS NULL OR last.stale THEN
    RETURN NULL;
  END IF;
  as_of := greatest(as_of, last.as_of);
  PERFORM retention._check_refresh(settings, last, as_of);
  IF last.settings <> retention._settings(settings) THEN
    PERFORM retention._leave_to_refresh(last);
    RETURN NULL;
  END IF;
  RETURN retention._process_metric(settings, last, as_of, customer_ids);
EXCEPTION
  WHEN transaction_rollback THEN
    RAISE;
  WHEN assert_failure OR OTHERS THEN
    GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT;
    RAISE WARNING 'changes of metric "%" could not be processed: %', metric, reason USING HINT = 'They stay in retention.change_log.';
    INSERT INTO retention.change_log (customer_ids, changed_at) VALUES (customer_ids, oldest);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._try_metric(text, timestamptz, text[], timestamptz) IS
  'Processes some customers of one metric. A failure is reported, and is that metric''s alone: the changes go back to the log.';

CREATE OR REPLACE FUNCTION retention._process_customers(metrics text[], as_of timestamptz, customer_ids text[], oldest timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changes retention.customer_change[] := '{}';
  affected record;
  metric text;
BEGIN
  FOREACH metric IN ARRAY metrics LOOP
    changes := changes || retention._try_metric(metric, as_of, customer_ids, oldest);
  END LOOP;
  PERFORM retention._note_changed(customer_ids);
  FOR affected IN
    SELECT coalesce(c.cause, 'data') AS cause, array_agg(k) AS customer_ids
    FROM unnest(customer_ids) AS k
    LEFT JOIN (SELECT customer_id, min(cause) AS cause FROM unnest(changes) WHERE cause IN ('order', 'refund') GROUP BY 1) AS c ON c.customer_id = k
    GROUP BY 1 ORDER BY 1
  LOOP
    PERFORM retention._evaluate_segments(affected.cause, as_of, affected.customer_ids);
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._process_customers(text[], timestamptz, text[], timestamptz) IS
  'Brings some customers up to date: by each metric, then in all segments, which learn whether it was an order, a refund, or other data that changed.';

CREATE OR REPLACE FUNCTION retention._try_refresh(metric text, as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last retention.population := retention._last_refresh(metric);
  reason text;
BEGIN
  -- A composite value IS NOT NULL only if none of its columns is null.
  IF NOT last IS NULL THEN
    PERFORM retention._refresh_customers(metric, true, greatest(as_of, last.as_of));
    PERFORM retention._note_orders_ahead(retention._require_metric(_try_refresh.metric), p.as_of, p.next_order_at, NULL) FROM retention._last_refresh(_try_refresh.metric) AS p;
  END IF;
EXCEPTION
  WHEN transaction_rollback THEN
    RAISE;
  WHEN assert_failure OR OTHERS THEN
    GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT;
    RAISE WARNING 'metric "%" could not be rebuilt: %', metric, reason USING HINT = 'Its next refresh reads everything.';
    PERFORM retention._leave_to_refresh(last);
END
$$;
COMMENT ON FUNCTION retention._try_refresh(text, timestamptz) IS 'Rebuilds one metric that was refreshed before. A failure is reported, and is that metric''s alone.';

CREATE OR REPLACE FUNCTION retention._process_everything(metrics text[], as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._try_refresh(m, as_of) FROM unnest(metrics) AS m;
  PERFORM retention._evaluate_segments('refresh', as_of);
END
$$;
COMMENT ON FUNCTION retention._process_everything(text[], timestamptz) IS 'What process_changes does when so much may have changed that reading all is less work.';

CREATE OR REPLACE FUNCTION retention._is_below_source(relation regclass) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT EXISTS (SELECT FROM pg_class WHERE oid = relation)
      OR EXISTS (SELECT FROM retention.source s, retention._tables_below(s.relation) AS t, retention._parts(t.below) AS part WHERE part = _is_below_source.relation)
$$;
COMMENT ON FUNCTION retention._is_below_source(regclass) IS
  'Whether a metric reads a table, by itself or through views and as a partition; one that is gone may have been such a partition.';

CREATE OR REPLACE FUNCTION retention._take_changes(
    most bigint, as_of timestamptz, OUT everything boolean, OUT relations regclass[], OUT customer_ids text[], OUT oldest timestamptz)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF (SELECT sum(cardinality(l.customer_ids)) FROM retention.change_log l) > most
     AND (SELECT count(DISTINCT k COLLATE "C") FROM retention.change_log l, unnest(l.customer_ids) AS k) > most THEN
    DELETE FROM retention.change_log l WHERE coalesce(l.due_at <= as_of, true);
    everything := true;
    RETURN;
  END IF;
  -- Whatever has been committed by now, and nothing else, is taken: what is committed later stays for the next time.
  WITH gone AS (DELETE FROM retention.change_log l WHERE coalesce(l.due_at <= as_of, true) RETURNING *)
  SELECT array_agg(DISTINCT g.relation) FILTER (WHERE g.customer_ids IS NULL), array_agg(DISTINCT k COLLATE "C") FILTER (WHERE k IS NOT NULL), min(g.changed_at)
    INTO relations, customer_ids, oldest
    FROM gone g LEFT JOIN LATERAL unnest(g.customer_ids) AS k ON true;
  everything := (SELECT bool_or(retention._is_below_source(r)) FROM unnest(relations) AS r);
END
$$;
COMMENT ON FUNCTION retention._take_changes(bigint, timestamptz) IS
  'Empties the log, but for what is not due yet, and returns whose changes it had, and the tables of which anything may have changed; or that everything may have, or too much to go through it.';

CREATE OR REPLACE FUNCTION retention._warn_of_gone_columns(relations regclass[]) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  gone record;
BEGIN
  FOR gone IN
    SELECT t.relation, c AS customer_id FROM retention.tracked t, unnest(t.customer_id_columns) AS c
    WHERE t.relation = ANY (relations)
      AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.relation AND a.attname = c AND NOT a.attisdropped)
    ORDER BY t.relation::text, c
  LOOP
    RAISE WARNING 'whose rows of % change is not known: it has no column "%" any more, and all is read anew each time', gone.relation, gone.customer_id
      USING HINT = format('Name the column that the customer''s key is in now: SELECT retention.track(%L, ''...'');', gone.relation);
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._warn_of_gone_columns(regclass[]) IS 'Warns of tables whose column of the customer''s key was dropped or renamed since they are tracked.';

CREATE OR REPLACE PROCEDURE retention.process_changes(as_of timestamptz DEFAULT retention.now())
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  batch CONSTANT integer := 10000;
  metrics text[];
  taken record;
BEGIN
  PERFORM retention._reject_unless(isfinite(as_of), format('as_of must be a finite time, not %s', coalesce(as_of::text, 'null')));
  metrics := retention._lock_all();
  -- From some share of all customers on, one read of everything is less work than finding each by index.
  taken := retention._take_changes(greatest(100000, (SELECT max(p.customers) / 10 FROM unnest(metrics) AS m, retention._last_refresh(m) AS p)), as_of);
  PERFORM retention._warn_of_gone_columns(taken.relations) WHERE taken.relations IS NOT NULL;
  IF as_of = pg_catalog.now() THEN
    -- Whatever was taken has been committed by now, and must not be in the future.
    as_of := clock_timestamp();
  END IF;
  IF taken.everything THEN
    PERFORM retention._process_everything(metrics, as_of);
  ELSIF taken.customer_ids IS NULL AND taken.relations IS NULL THEN
    -- Segments may have been redefined, or wait for another try.
    PERFORM retention._evaluate_segments('data', as_of, '{}');
  END IF;
  FOR start IN 1 .. coalesce(cardinality(taken.customer_ids), 0) BY batch LOOP
    PERFORM retention._process_customers(metrics, as_of, taken.customer_ids[start : start + batch - 1], taken.oldest);
  END LOOP;
  IF NOT taken.everything THEN
    -- Tables that only segments read, such as consent, may have changed for anybody.
    PERFORM retention._evaluate_segments('refresh', as_of);
  END IF;
END
$$;
COMMENT ON PROCEDURE retention.process_changes(timestamptz) IS
  'Brings the customers that the triggers of track have noted up to date: facts, scores, groups, history, segments and order events, in one transaction. Others are left alone: what time alone changes is found by refresh.';

CREATE OR REPLACE FUNCTION retention.prune(keep interval DEFAULT '90 days') RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  oldest timestamptz := retention.now() - retention._span(keep);
  changes bigint;
  events bigint;
BEGIN
  PERFORM retention._reject_unless(keep >= retention._event_window(), format('at least %s have to be kept, not %s', retention._event_window(), coalesce(keep::text, 'null')),
    'Orders of that age can still be news.');
  PERFORM retention._check_span('keep', keep, 1);
  -- From the oldest row on, up to the first one that has to stay.
  DELETE FROM retention.segment_change c
    WHERE c.change_id < coalesce((SELECT n.change_id FROM retention.segment_change n WHERE n.as_of >= oldest ORDER BY n.change_id LIMIT 1), 9223372036854775807)
      AND c.change_id <= coalesce((SELECT min(position) FROM retention.segment_consumer), 9223372036854775807);
  GET DIAGNOSTICS changes = ROW_COUNT;
  DELETE FROM retention.order_event e WHERE e.occurred_at < oldest;
  GET DIAGNOSTICS events = ROW_COUNT;
  RETURN changes + events;
END
$$;
COMMENT ON FUNCTION retention.prune(interval) IS
  'Removes older changes from the queue, as far as every consumer has read them, and older order events. Returns the number of rows.';
