-- Keeping current: brings the customers that the triggers have noted up to date.

CREATE OR REPLACE FUNCTION retention._note_metric_error(
    metric text, code text, message text, as_of timestamptz)
  RETURNS integer
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.metric_error AS e VALUES (metric, message, code, as_of)
    ON CONFLICT ON CONSTRAINT metric_error_pkey DO UPDATE
      SET error = excluded.error, error_code = excluded.error_code, error_at = excluded.error_at,
          failures = e.failures + 1
  RETURNING failures
$$;
COMMENT ON FUNCTION retention._note_metric_error(text, text, text, timestamptz) IS
  'Records that a metric has failed; returns how often in a row.';

CREATE OR REPLACE FUNCTION retention._process_settled(
    settings retention.metric, as_of timestamptz, customer_ids text[])
  RETURNS retention._customer_change[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last retention.population := retention._last_refresh(settings.metric);
BEGIN
  IF last IS NULL OR last.stale THEN
    RETURN NULL;
  END IF;
  as_of := greatest(as_of, last.as_of);
  PERFORM retention._check_refresh(settings, last, as_of);
  settings := retention._applied_settings(settings, last);
  IF settings.metric IS NULL THEN
    PERFORM retention._leave_to_refresh(last);
    RETURN NULL;
  END IF;
  RETURN retention._process_metric(settings, last, as_of, customer_ids);
END
$$;
COMMENT ON FUNCTION retention._process_settled(retention.metric, timestamptz, text[]) IS
  'Processes some customers of a metric by the settings that it was refreshed with; where its '
  'sources are other ones by now, they are left to the refresh.';

CREATE OR REPLACE FUNCTION retention._has_tried_enough(
    code text, give_up_at timestamptz, failed_before integer)
  RETURNS boolean
  LANGUAGE sql VOLATILE
  -- A busy server must not have a few customers' faults stop the others.
  RETURN clock_timestamp() > give_up_at
     AND (failed_before >= 16 OR retention._error_sort(code) <> 'value');
COMMENT ON FUNCTION retention._has_tried_enough(text, timestamptz, integer) IS
  'Whether customers whose rows fail are no longer looked for: the time for it is up, and there '
  'are many of them, or the fault is not their own.';

CREATE OR REPLACE FUNCTION retention._try_metric(
    metric text, as_of timestamptz, customer_ids text[], give_up_at timestamptz DEFAULT NULL,
    failed_before integer DEFAULT 0,
    OUT changes retention._customer_change[], OUT failed text[], OUT message text, OUT code text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(customer_ids) / 2;
  one record;
  other record;
BEGIN
  changes := retention._process_settled(retention._require_metric(metric), as_of, customer_ids);
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
  message := retention._reason(message);
  IF retention._ends_call(code) THEN
    RAISE;
  ELSIF middle = 0 OR retention._has_tried_enough(code, give_up_at, failed_before) THEN
    failed := customer_ids;
    RETURN;
  END IF;
  -- Some customer's own rows: the others are done without, unless there are too many such
  -- customers.
  give_up_at := coalesce(give_up_at, clock_timestamp() + interval '1 second');
  one := retention._try_metric(metric, as_of, customer_ids[:middle], give_up_at, failed_before);
  other := retention._try_metric(metric, as_of, customer_ids[middle + 1:], give_up_at,
                                 failed_before + coalesce(cardinality(one.failed), 0));
  changes := one.changes || other.changes;
  failed := one.failed || other.failed;
  message := coalesce(one.message, other.message);
  code := coalesce(one.code, other.code);
END
$$;
COMMENT ON FUNCTION retention._try_metric(text, timestamptz, text[], timestamptz, integer) IS
  'Processes some customers of one metric. failed are those that could not be, and why.';

CREATE OR REPLACE FUNCTION retention._keep_failed(
    metric text, as_of timestamptz, failed text[], message text, code text, oldest timestamptz,
    hint text DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failures integer;
BEGIN
  IF failed IS NULL THEN
    DELETE FROM retention.metric_error e WHERE e.metric = _keep_failed.metric;
    RETURN;
  END IF;
  failures := retention._note_metric_error(metric, code, message, as_of);
  RAISE WARNING 'changes of % customers of metric "%", such as "%", could not be processed: %',
      cardinality(failed), metric, failed[1], message
    USING HINT = concat_ws(' ',
                           'They stay in retention.change_log and are tried again, all others are '
                           'processed; retention.problem shows it.', nullif(hint, ''));
  INSERT INTO retention.change_log (customer_ids, changed_at, due_at)
    VALUES (failed, oldest, as_of + retention._retry_after(failures));
END
$$;
COMMENT ON FUNCTION retention._keep_failed(
  text, timestamptz, text[], text, text, timestamptz, text) IS
  'Puts customers back into the log whose changes could not be processed, to be tried again '
  'later, and says so. Null: there were none.';

CREATE OR REPLACE FUNCTION retention._count_lost(
    settings retention.metric, last retention.population, as_of timestamptz, customer_ids text[],
    give_up_at timestamptz DEFAULT NULL, failed_before integer DEFAULT 0,
    OUT lost bigint, OUT failed integer)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(customer_ids) / 2;
  one record;
  other record;
BEGIN
  PERFORM retention._read_metric(settings, as_of, 'retention.customer', last, customer_ids);
  lost := (retention._collected_loss()).lost;
  failed := 0;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  IF retention._ends_call(SQLSTATE) THEN
    RAISE;
  END IF;
  IF middle = 0 OR retention._has_tried_enough(SQLSTATE, give_up_at, failed_before) THEN
    lost := 0;
    failed := cardinality(customer_ids);
    RETURN;
  END IF;
  give_up_at := coalesce(give_up_at, clock_timestamp() + interval '1 second');
  one := retention._count_lost(settings, last, as_of, customer_ids[:middle], give_up_at,
                               failed_before);
  other := retention._count_lost(settings, last, as_of, customer_ids[middle + 1:], give_up_at,
                                 failed_before + one.failed);
  lost := one.lost + other.lost;
  failed := one.failed + other.failed;
END
$$;
COMMENT ON FUNCTION retention._count_lost(
  retention.metric, retention.population, timestamptz, text[], timestamptz, integer) IS
  'How many of some customers have no order any more; and of how many the rows cannot be read, '
  'who are not lost.';

CREATE OR REPLACE FUNCTION retention._check_loss(
    metric text, as_of timestamptz, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last retention.population := retention._last_refresh(metric);
  settings retention.metric := retention._applied_settings(retention._require_metric(metric), last);
  lost bigint;
BEGIN
  -- As a rule too few have changed for too many to be lost, and nothing has to be read.
  IF settings.metric IS NULL OR last.stale
     OR cardinality(customer_ids) <= settings.loss_limit * last.customers THEN
    RETURN;
  END IF;
  PERFORM retention._check_refresh(settings, NULL, as_of);
  lost := (retention._count_lost(settings, last, greatest(as_of, last.as_of),
                                 customer_ids)).lost;
  IF lost > 0 THEN
    PERFORM retention._reject_loss(settings, (SELECT count(*) FROM retention.customer c
                                              WHERE c.metric = settings.metric), lost);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._check_loss(text, timestamptz, text[]) IS
  'An error where processing these customers, all that have changed, would remove more of the '
  'metric''s than its limit.';

CREATE OR REPLACE FUNCTION retention._may_process(
    metric text, as_of timestamptz, customer_ids text[], oldest timestamptz)
  RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  reason text;
  code text;
  hint text;
BEGIN
  PERFORM retention._check_loss(metric, as_of, customer_ids);
  RETURN true;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, code = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
  reason := retention._reason(reason);
  IF retention._ends_call(code) THEN
    RAISE;
  END IF;
  PERFORM retention._keep_failed(metric, as_of, customer_ids, reason, code, oldest, hint);
  RETURN false;
END
$$;
COMMENT ON FUNCTION retention._may_process(text, timestamptz, text[], timestamptz) IS
  'Whether a metric may process these customers, which is decided for all of them before any; '
  'else they are kept, with a warning.';

CREATE OR REPLACE FUNCTION retention._process_customers(
    metrics text[], as_of timestamptz, customer_ids text[], oldest timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changes retention._customer_change[] := '{}';
  affected record;
  metric text;
  result record;
BEGIN
  FOREACH metric IN ARRAY metrics LOOP
    result := retention._try_metric(metric, as_of, customer_ids);
    PERFORM retention._keep_failed(metric, as_of, result.failed, result.message, result.code,
                                   oldest);
    changes := changes || result.changes;
  END LOOP;
  PERFORM retention._note_changed(customer_ids);
  FOR affected IN
    SELECT coalesce(c.cause, 'data') AS cause, array_agg(k) AS customer_ids
    FROM unnest(customer_ids) AS k
    LEFT JOIN (SELECT customer_id, min(cause) AS cause FROM unnest(changes)
               WHERE cause IN ('order', 'refund') GROUP BY 1) AS c ON c.customer_id = k
    GROUP BY 1 ORDER BY 1
  LOOP
    PERFORM retention._evaluate_segments(affected.cause, as_of, affected.customer_ids);
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._process_customers(text[], timestamptz, text[], timestamptz) IS
  'Brings some customers up to date: by each metric, then in all segments, which learn whether it '
  'was an order, a refund, or other data that changed.';

CREATE OR REPLACE FUNCTION retention._try_refresh(metric text, as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last retention.population := retention._last_refresh(metric);
  reason text;
  code text;
  hint text;
BEGIN
  -- A composite value IS NOT NULL only if none of its columns is null.
  IF NOT last IS NULL THEN
    PERFORM retention._refresh_customers(metric, true, greatest(as_of, last.as_of));
    PERFORM retention._note_orders_ahead(retention._require_metric(_try_refresh.metric), p.as_of,
                                         p.next_order_at, NULL)
                                           FROM retention._last_refresh(_try_refresh.metric) AS p;
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, code = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
  reason := retention._reason(reason);
  IF retention._ends_call(code) THEN
    RAISE;
  END IF;
  RAISE WARNING 'metric "%" could not be rebuilt: %', metric, reason
    USING HINT = concat_ws(' ', 'Its next refresh reads everything.', nullif(hint, ''));
  PERFORM retention._note_metric_error(metric, code, reason, as_of),
          retention._leave_to_refresh(last);
END
$$;
COMMENT ON FUNCTION retention._try_refresh(text, timestamptz) IS
  'Rebuilds one metric that was refreshed before. A failure is reported, and is that metric''s '
  'alone.';

CREATE OR REPLACE FUNCTION retention._process_everything(metrics text[], as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._try_refresh(m, as_of) FROM unnest(metrics) AS m;
  PERFORM retention._evaluate_segments('refresh', as_of);
END
$$;
COMMENT ON FUNCTION retention._process_everything(text[], timestamptz) IS
  'What process_changes does when so much may have changed that reading all is less work.';

CREATE OR REPLACE FUNCTION retention._is_below_source(relation regclass) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT EXISTS (SELECT FROM pg_class WHERE oid = relation)
      OR EXISTS (SELECT
                 FROM retention.source s, retention._tables_below(s.relation) AS t,
                      retention._parts(t.below) AS part WHERE part = _is_below_source.relation)
$$;
COMMENT ON FUNCTION retention._is_below_source(regclass) IS
  'Whether a metric reads a table, by itself or through views and as a partition; one that is '
  'gone may have been such a partition.';

CREATE OR REPLACE FUNCTION retention._customers_of_orders(
    source retention.source, order_ids text[], give_up_at timestamptz,
    OUT customer_ids text[], OUT failed text[], OUT message text)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(order_ids) / 2;
  one record;
  other record;
BEGIN
  SELECT array_agg(q.customer_id) INTO customer_ids
    FROM retention._query_of(source.relation, retention._orders_query(source, order_ids))
      AS q (customer_id text);
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  message := retention._reason(SQLERRM);
  IF retention._ends_call(SQLSTATE) THEN
    RAISE;
  ELSIF middle = 0 OR clock_timestamp() > give_up_at THEN
    failed := order_ids;
    RETURN;
  END IF;
  -- Some order's own row: the others are done without.
  give_up_at := coalesce(give_up_at, clock_timestamp() + interval '1 second');
  one := retention._customers_of_orders(source, order_ids[:middle], give_up_at);
  other := retention._customers_of_orders(source, order_ids[middle + 1:], give_up_at);
  customer_ids := one.customer_ids || other.customer_ids;
  failed := one.failed || other.failed;
  message := coalesce(one.message, other.message);
END
$$;
COMMENT ON FUNCTION retention._customers_of_orders(retention.source, text[], timestamptz) IS
  'Whose some orders of a source are. failed are those that could not be looked up, and why.';

CREATE OR REPLACE FUNCTION retention._look_up_orders(
    via_id integer, source retention.source, order_ids text[], as_of timestamptz,
    oldest timestamptz)
  RETURNS text[]
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  batch CONSTANT integer := 10000;
  customer_ids text[] := '{}';
  buyers record;
BEGIN
  FOR start IN 1 .. cardinality(order_ids) BY batch LOOP
    buyers := retention._customers_of_orders(source, order_ids[start : start + batch - 1], NULL);
    customer_ids := customer_ids || buyers.customer_ids;
    IF buyers.failed IS NOT NULL THEN
      RAISE WARNING 'whose orders of %, such as "%", have changed could not be looked up: %',
          source.relation, left(buyers.failed[1], 100), buyers.message
        USING HINT = 'They stay in retention.change_log and are tried again.';
      INSERT INTO retention.change_log (order_ids, via_id, changed_at, due_at)
        VALUES (buyers.failed, via_id, oldest, as_of + retention._retry_after(1));
    END IF;
  END LOOP;
  RETURN customer_ids;
END
$$;
COMMENT ON FUNCTION retention._look_up_orders(
  integer, retention.source, text[], timestamptz, timestamptz) IS
  'Whose these orders are, by a source. Those that cannot be looked up go back into the log, with '
  'a warning.';

CREATE OR REPLACE FUNCTION retention._take_orders(
    orders jsonb, as_of timestamptz, oldest timestamptz,
    OUT customer_ids text[], OUT everything boolean)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  noted record;
  source retention.source;
BEGIN
  customer_ids := '{}';
  FOR noted IN
    SELECT o.key::integer AS via_id, v.relation,
           ARRAY(SELECT jsonb_array_elements_text(o.value)) AS order_ids
    FROM jsonb_each(orders) AS o LEFT JOIN retention.tracked_via v ON v.via_id = o.key::integer
  LOOP
    FOR source IN SELECT * FROM retention._sources_via(noted.relation) LOOP
      customer_ids := customer_ids || retention._look_up_orders(
        noted.via_id, source, noted.order_ids, as_of, oldest);
    END LOOP;
    IF NOT FOUND THEN
      everything := true;
      RAISE WARNING 'whose orders change is not known, and all is read anew each time: % is no '
                    'source of orders with an order id any more',
          coalesce(noted.relation::text, 'null')
        USING HINT = 'Add it again, or untrack what retention.tracked lists with it, and track '
                     'that '
                     'via another source.';
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._take_orders(jsonb, timestamptz, timestamptz) IS
  'The customers of orders, by number of tracked_via; or that anybody''s may be concerned, where '
  'that is no source any more.';

CREATE OR REPLACE FUNCTION retention._are_more_changes(most bigint) RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT sum(cardinality(coalesce(l.customer_ids, l.order_ids)))
          FROM retention.change_log l) > most
     AND (SELECT count(DISTINCT k COLLATE "C")
          FROM retention.change_log l, unnest(coalesce(l.customer_ids, l.order_ids)) AS k) > most;
END
$$;
COMMENT ON FUNCTION retention._are_more_changes(bigint) IS
  'Whether the log has more customers and orders than this.';

CREATE OR REPLACE FUNCTION retention._take_changes(
    most bigint, as_of timestamptz, OUT everything boolean, OUT relations regclass[],
    OUT customer_ids text[], OUT oldest timestamptz)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  orders jsonb;
  buyers record;
BEGIN
  IF retention._are_more_changes(most) THEN
    DELETE FROM retention.change_log l WHERE coalesce(l.due_at <= as_of, true);
    everything := true;
    RETURN;
  END IF;
  -- Whatever has been committed by now, and nothing else, is taken: what is committed later stays
  -- for the next time.
  WITH gone AS (DELETE FROM retention.change_log l WHERE coalesce(l.due_at <= as_of, true)
                RETURNING *)
  SELECT array_agg(DISTINCT g.relation)
           FILTER (WHERE g.customer_ids IS NULL AND g.order_ids IS NULL),
         array_agg(DISTINCT k COLLATE "C") FILTER (WHERE k IS NOT NULL), min(g.changed_at),
         (SELECT jsonb_object_agg(o.via_id, to_jsonb(o.ids))
          FROM (SELECT n.via_id, array_agg(DISTINCT i COLLATE "C") AS ids
                FROM gone n, unnest(n.order_ids) AS i GROUP BY n.via_id) AS o)
    INTO relations, customer_ids, oldest, orders
    FROM gone g LEFT JOIN LATERAL unnest(g.customer_ids) AS k ON true;
  everything := (SELECT bool_or(retention._is_below_source(r)) FROM unnest(relations) AS r);
  IF orders IS NOT NULL THEN
    buyers := retention._take_orders(orders, as_of, oldest);
    everything := everything OR buyers.everything;
    SELECT array_agg(DISTINCT k COLLATE "C") INTO customer_ids
      FROM unnest(customer_ids || buyers.customer_ids) AS k;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._take_changes(bigint, timestamptz) IS
  'Empties the log, but for what is not due yet, and returns whose changes it had, and the tables '
  'of which anything may have changed; or that everything may have, or too much to go through it.';

CREATE OR REPLACE FUNCTION retention._warn_of_gone_columns(relations regclass[]) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  gone record;
BEGIN
  FOR gone IN
    SELECT t.relation, c.name, CASE WHEN c.via IS NULL
             THEN format('Name the column that the customer''s key is in now: '
                         'SELECT retention.track(%L, ''...'');', t.relation)
             ELSE format('Name the column that the order''s id is in now: '
                         'SELECT retention.track(%L, via => %L, order_id => ''...'');',
                         t.relation, c.via) END AS hint
    FROM retention.tracked t, LATERAL (
      SELECT k, NULL::regclass FROM unnest(t.customer_id_columns) AS k
      UNION ALL SELECT * FROM unnest(t.order_id_columns, t.via)) AS c (name, via)
    WHERE t.relation = ANY (relations) AND NOT retention._has_column(t.relation, c.name)
    ORDER BY t.relation::text, c.name
  LOOP
    RAISE WARNING 'whose rows of % change is not known: it has no column "%" any more, and all is '
                  'read anew each time',
        gone.relation, gone.name
      USING HINT = gone.hint;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._warn_of_gone_columns(regclass[]) IS
  'Warns of tables whose column of the customer''s key, or of the order''s id, was dropped or '
  'renamed since they are tracked.';

CREATE OR REPLACE PROCEDURE retention.process_changes(as_of timestamptz DEFAULT retention.now())
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  batch CONSTANT integer := 10000;
  metrics text[];
  taken record;
BEGIN
  PERFORM retention._check_clock(as_of);
  metrics := retention._lock_all();
  -- From some share of all customers on, one read of everything is less work than finding each by
  -- index.
  taken := retention._take_changes(greatest(100000,
                                            (SELECT max(p.customers) / 10
                                             FROM unnest(metrics) AS m,
                                                  retention._last_refresh(m) AS p)), as_of);
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
  IF taken.customer_ids IS NOT NULL THEN
    metrics := ARRAY(SELECT m FROM unnest(metrics) AS m
                     WHERE retention._may_process(m, as_of, taken.customer_ids, taken.oldest));
  END IF;
  FOR start IN 1 .. coalesce(cardinality(taken.customer_ids), 0) BY batch LOOP
    PERFORM retention._process_customers(metrics, as_of,
                                         taken.customer_ids[start : start + batch - 1],
                                         taken.oldest);
  END LOOP;
  IF NOT taken.everything THEN
    -- Tables that only segments read, such as consent, may have changed for anybody.
    PERFORM retention._evaluate_segments('refresh', as_of);
  END IF;
  -- Now that whose orders have changed are told of, the rest is due to the settings.
  PERFORM retention._evaluate_segments('data', as_of, '{}')
    WHERE EXISTS (SELECT FROM retention.segment s WHERE s.pending = 'settings');
END
$$;
COMMENT ON PROCEDURE retention.process_changes(timestamptz) IS
  'Brings the customers that the triggers of track have noted up to date: facts, scores, groups, '
  'history, segments and order events, in one transaction. Others are left alone: what time alone '
  'changes is found by refresh.';

CREATE OR REPLACE PROCEDURE retention.process_changes(metric text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A time that is written as a text comes here, too.
  IF retention._is_of_type(metric, 'timestamptz')
    AND NOT EXISTS (SELECT FROM retention.metric m WHERE m.metric = process_changes.metric) THEN
    CALL retention.process_changes(metric::timestamptz);
  ELSE
    PERFORM retention._require_metric(metric);
    CALL retention.process_changes();
  END IF;
END
$$;
COMMENT ON PROCEDURE retention.process_changes(text) IS
  'As process_changes(), for callers who name a metric as they do for refresh: changes are those '
  'of customers, and every metric is brought up to date by them.';
