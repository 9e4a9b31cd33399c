-- The tick: takes those who are due, or have changed, through the nodes, and writes each of them
-- once.

CREATE OR REPLACE FUNCTION retention._as_traveller(
    enrollment retention.enrollment, is_waiting boolean)
  RETURNS retention._traveller
  LANGUAGE sql STABLE
  RETURN retention._with_fields(NULL::retention._traveller,
    'enrollment_id', enrollment.enrollment_id, 'flow_id', enrollment.flow_id,
    'node_id', enrollment.node_id, 'is_holdout', enrollment.is_holdout,
    'entered_at', enrollment.entered_at, 'since', enrollment.since, 'due_at', enrollment.due_at,
    'customer_id', enrollment.customer_id, 'event', enrollment.event,
    'by_settings', enrollment.by_settings,
    'is_new', false, 'is_changed', false, 'is_waiting', is_waiting);
COMMENT ON FUNCTION retention._as_traveller(retention.enrollment, boolean) IS
  'An enrollment as a traveller.';

CREATE OR REPLACE FUNCTION retention._due(flows retention.flow[], as_of timestamptz, batch integer)
  RETURNS retention._traveller[]
  -- In the order of the index: there may be millions more that are due than one batch takes.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_sort = off
  SET enable_bitmapscan = off SET enable_seqscan = off
AS $$
DECLARE
  flow retention.flow;
  due retention._traveller[] := '{}';
BEGIN
  FOREACH flow IN ARRAY flows LOOP
    EXIT WHEN cardinality(due) >= batch;
    -- Those whom another worker has are left to it.
    due := due || ARRAY(
      SELECT retention._as_traveller(e, false)
      FROM retention.enrollment e
      WHERE e.flow_id = flow.flow_id AND e.due_at <= as_of
      ORDER BY e.due_at LIMIT batch - cardinality(due) FOR UPDATE SKIP LOCKED);
  END LOOP;
  RETURN due;
END
$$;
COMMENT ON FUNCTION retention._due(retention.flow[], timestamptz, integer) IS
  'The enrollments of some flows that are due, at most a batch, locked.';

CREATE OR REPLACE FUNCTION retention._woken(
    flows retention.flow[], as_of timestamptz, rows integer, OUT woken retention._traveller[],
    OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  customer_ids text[];
BEGIN
  WITH next AS (SELECT c.ctid FROM retention.changed_customers c LIMIT rows),
  gone AS (DELETE FROM retention.changed_customers c USING next WHERE c.ctid = next.ctid
           RETURNING c.customer_ids)
  SELECT array_agg(DISTINCT k), count(k) INTO customer_ids, looked_at
    FROM gone, unnest(gone.customer_ids) AS k;
  -- Whom another worker has is waited for, though they seem to be due until it is done: it may have
  -- looked before the change.
  woken := ARRAY(
    -- Locked in one go, and only then looked at; by customer, not by the index of those who are
    -- due.
    WITH locked AS MATERIALIZED (
      SELECT e AS enrollment FROM retention.enrollment e
      WHERE e.customer_id = ANY (customer_ids) AND e.outcome IS NULL
        AND e.flow_id IN (SELECT f.flow_id FROM unnest(flows) AS f)
      ORDER BY e.enrollment_id FOR UPDATE)
    SELECT retention._as_traveller(l.enrollment, n.type <> 'wait_for')
    FROM locked l
    JOIN retention.flow_node n ON n.node_id = (l.enrollment).node_id
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    WHERE (l.enrollment).due_at > as_of AND (n.type = 'wait_for' OR v.document ? 'exit'));
END
$$;
COMMENT ON FUNCTION retention._woken(retention.flow[], timestamptz, integer) IS
  'Enrollments that are not due, of customers who have changed: those that wait for something, or '
  'might have to exit.';

CREATE OR REPLACE FUNCTION retention._intake(
    flows retention.flow[], as_of timestamptz, batch integer, OUT travellers retention._traveller[],
    OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  flow retention.flow;
  woken record;
  entry record;
BEGIN
  travellers := '{}';
  looked_at := 0;
  -- One worker at a time, so that whoever enters has been written before changes of theirs are
  -- looked at.
  IF NOT retention._take_lock('retention.flow_entry', waits => false) THEN
    RETURN;
  END IF;
  -- As they are now: the worker before may have moved their positions since they were read.
  flows := ARRAY(SELECT f FROM retention.flow f
                 WHERE f.flow_id IN (SELECT g.flow_id FROM unnest(flows) AS g) ORDER BY f.flow_id);
  woken := retention._woken(flows, as_of, 1 + batch / 1000);
  travellers := travellers || woken.woken;
  looked_at := woken.looked_at;
  FOREACH flow IN ARRAY flows LOOP
    EXIT WHEN cardinality(travellers) >= batch;
    CONTINUE WHEN flow.error_at + retention._retry_after(flow.failures) > as_of;
    entry := retention._try_enter(flow, as_of, batch - cardinality(travellers));
    travellers := travellers || entry.entered;
    looked_at := looked_at + entry.looked_at;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._intake(retention.flow[], timestamptz, integer) IS
  'Those who enter, and those who have changed; how many events and changes were looked at for '
  'them.';

CREATE OR REPLACE FUNCTION retention._write_enrollments(
    travellers retention._traveller[], as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = auto
  SET enable_seqscan = off
AS $$
DECLARE
  moved bigint[] := ARRAY(SELECT (t).enrollment_id FROM (SELECT unnest(travellers)) AS u (t)
                          WHERE NOT (t).is_new AND (t).is_changed);
BEGIN
  PERFORM retention._plan_for(cardinality(travellers));
  INSERT INTO retention.enrollment (enrollment_id, flow_id, node_id, is_holdout, entered_at, since,
                                    due_at, finished_at, customer_id, outcome, reason, error_code,
                                    event)
    SELECT t.enrollment_id, t.flow_id, t.node_id, t.is_holdout, t.entered_at, CASE
      WHEN t.outcome IS NULL THEN t.since END,
           CASE WHEN t.outcome IS NULL THEN t.due_at END, CASE WHEN t.outcome IS NOT NULL THEN as_of
             END, t.customer_id, t.outcome, t.reason, t.error_code, t.event
    FROM unnest(travellers) AS t WHERE t.is_new;
  UPDATE retention.enrollment e
    SET node_id = t.node_id, since = CASE WHEN t.outcome IS NULL THEN t.since END, due_at = CASE
      WHEN t.outcome IS NULL THEN t.due_at END,
        finished_at = CASE WHEN t.outcome IS NOT NULL THEN as_of END, outcome = t.outcome,
        reason = t.reason, error_code = t.error_code, by_settings = t.by_settings
    FROM unnest(travellers) AS t
    WHERE e.enrollment_id = t.enrollment_id AND e.enrollment_id = ANY (moved);
END
$$;
COMMENT ON FUNCTION retention._write_enrollments(retention._traveller[], timestamptz) IS
  'Writes those who have moved, each once.';

CREATE OR REPLACE FUNCTION retention._write_properties(travellers retention._traveller[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM (SELECT unnest(travellers)) AS u (t) WHERE (t).properties IS NOT NULL)
    THEN
    RETURN;
  END IF;
  -- In the order of keys, so that workers do not wait for each other in a circle. First those who
  -- have no contact yet: a null is to remove, not to be stored.
  INSERT INTO retention.contact (customer_id)
    SELECT DISTINCT t.customer_id FROM unnest(travellers) AS t WHERE t.properties IS NOT NULL
    ORDER BY t.customer_id
    ON CONFLICT (customer_id) DO NOTHING;
  INSERT INTO retention.contact AS c (customer_id, properties)
    SELECT t.customer_id, jsonb_object_agg(p.key, p.value ORDER BY t.node_id, t.enrollment_id)
    FROM unnest(travellers) AS t, jsonb_each(t.properties) AS p
    GROUP BY t.customer_id ORDER BY t.customer_id
    ON CONFLICT (customer_id) DO UPDATE SET properties = retention._merge_properties(c.properties,
        excluded.properties);
END
$$;
COMMENT ON FUNCTION retention._write_properties(retention._traveller[]) IS
  'Writes the properties that flows have set to the contacts.';

CREATE OR REPLACE FUNCTION retention._settle_coupons(
    travellers retention._traveller[], queued retention._queued_message[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  issuing integer[] := ARRAY(SELECT n.flow_id FROM retention.flow_node n WHERE n.type = 'coupon');
BEGIN
  IF issuing <> '{}' THEN
    PERFORM retention._return_coupons(array_agg(DISTINCT c.enrollment_id))
      FROM (SELECT t.enrollment_id, t.flow_id FROM unnest(travellers) AS t WHERE t.is_changed
            UNION ALL SELECT q.enrollment_id, q.flow_id FROM unnest(queued) AS q) AS c
      WHERE c.flow_id = ANY (issuing) HAVING count(*) > 0;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._settle_coupons(
  retention._traveller[], retention._queued_message[]) IS
  'After a tick: codes go back from those who have ended, are past the messages, or whose '
  'messages were not written.';

CREATE OR REPLACE FUNCTION retention._advance(travellers retention._traveller[], as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known record := retention._with_contacts(travellers, as_of);
  journey record;
BEGIN
  journey := retention._travel(
    retention._end_delays(retention._screen(known.moved || retention._hold(known.held, as_of),
                                            as_of)), as_of);
  PERFORM retention._write_messages(journey.queued, as_of);
  PERFORM retention._write_properties(journey.arrived);
  PERFORM retention._write_enrollments(journey.arrived, as_of);
  PERFORM retention._settle_coupons(journey.arrived, journey.queued);
END
$$;
COMMENT ON FUNCTION retention._advance(retention._traveller[], timestamptz) IS
  'Takes travellers on as far as they get now, and writes what comes of it.';

CREATE OR REPLACE FUNCTION retention._try_advance(
    travellers retention._traveller[], as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(travellers) / 2;
  code text;
  message text;
BEGIN
  PERFORM retention._advance(travellers, as_of);
EXCEPTION WHEN assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
  IF retention._error_sort(code) = 'passing' THEN
    RAISE;
  ELSIF middle > 0 THEN
    travellers := ARRAY(SELECT t FROM unnest(travellers) AS t ORDER BY t.flow_id, t.enrollment_id);
    PERFORM retention._try_advance(travellers[:middle], as_of),
            retention._try_advance(travellers[middle + 1:], as_of);
  ELSE
    PERFORM retention._write_enrollments(retention._failed(travellers, code, message), as_of);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._try_advance(retention._traveller[], timestamptz) IS
  'As _advance. Where that fails in spite of all, halves of the travellers are tried, and the one '
  'who makes it fail ends with an error.';

CREATE OR REPLACE FUNCTION retention._tick(
    as_of timestamptz, batch integer, only_flow text DEFAULT NULL, OUT looked_at bigint,
    OUT was_cancelled boolean)
  -- JIT would take a hundred times as long as the statements: plans count as dear where ways to
  -- join are switched off.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  clock text := coalesce(current_setting('retention.as_of', true), '');
  flows retention.flow[];
  intake record;
  travellers retention._traveller[];
BEGIN
  PERFORM retention._check_clock(as_of);
  PERFORM retention._check_home();
  -- A tick within an expression would take the same customers on.
  PERFORM retention._caller();
  PERFORM retention._reject_unless(batch > 0,
                                   format('batch must be 1 or more, not %s',
                                          coalesce(batch::text, 'null')));
  PERFORM retention._pin_settings();
  -- While settings change, those who wait are looked at.
  PERFORM retention._take_lock('retention.enrollment', shares => true);
  PERFORM set_config('retention.as_of', as_of::text, true);
  PERFORM retention._follow_owners();
  -- Who changes a status waits until this is over.
  flows := ARRAY(SELECT f FROM retention.flow f
                 WHERE f.status IN ('live', 'manual') AND f.flow = coalesce(only_flow, f.flow)
                 ORDER BY f.flow_id FOR KEY SHARE);
  intake := retention._intake(flows, as_of, batch);
  travellers := intake.travellers || retention._due(flows, as_of,
                                                    batch - cardinality(intake.travellers));
  IF cardinality(travellers) > 0 THEN
    PERFORM retention._try_advance(travellers, as_of);
  END IF;
  was_cancelled := EXISTS (SELECT FROM retention.flow_node n
                           WHERE n.error_code = '57014' AND n.error_at = as_of
                           UNION ALL SELECT FROM retention.flow f
                             WHERE f.error_code = '57014' AND f.error_at = as_of);
  PERFORM set_config('retention.as_of', clock, true);
  looked_at := intake.looked_at + cardinality(travellers);
END
$$;
COMMENT ON FUNCTION retention._tick(timestamptz, integer, text) IS
  'One tick, of all flows or of one. How much there was to do: 0 when nothing is due; and whether '
  'an expression was cancelled, or took too long.';

CREATE OR REPLACE FUNCTION retention.run_flows_once(
    as_of timestamptz DEFAULT retention.now(), batch integer DEFAULT 5000, OUT looked_at bigint,
    OUT was_cancelled boolean)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT t.looked_at, t.was_cancelled INTO looked_at, was_cancelled
  FROM retention._tick(as_of, batch) AS t;
END
$$;
COMMENT ON FUNCTION retention.run_flows_once(timestamptz, integer) IS
  'Takes at most a batch of customers through their flows: those who enter, who are due, and who '
  'have changed. In one transaction; several at once share the work. Returns how much there was '
  'to do, and whether an expression was cancelled or took too long.';

CREATE OR REPLACE PROCEDURE retention.tick(
    as_of timestamptz DEFAULT retention.now(), batch integer DEFAULT 5000)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._tick(as_of, batch);
END
$$;
COMMENT ON PROCEDURE retention.tick(timestamptz, integer) IS 'As run_flows_once, by CALL.';

CREATE OR REPLACE PROCEDURE retention.run_flows(
    as_of timestamptz DEFAULT NULL, batch integer DEFAULT 5000)
  -- It commits, so it cannot pin search_path: every name and operator is qualified.
  LANGUAGE plpgsql
AS $$
DECLARE
  looked_at pg_catalog.int8 := 1;
  was_cancelled pg_catalog.bool := false;
BEGIN
  -- In a transaction block this fails, and does so before the first tick rather than after it.
  COMMIT;
  WHILE looked_at OPERATOR(pg_catalog.>) 0 AND NOT was_cancelled LOOP
    SELECT t.looked_at, t.was_cancelled INTO looked_at, was_cancelled
      FROM retention.run_flows_once(COALESCE(as_of, retention.now()), batch) AS t;
    COMMIT;
  END LOOP;
  PERFORM retention._reject_unless(NOT was_cancelled,
                                   'an expression of a flow was cancelled, or took too long',
    'Its customers wait, others go on with the next call; retention.problem shows where.',
    'query_canceled');
END
$$;
COMMENT ON PROCEDURE retention.run_flows(timestamptz, integer) IS
  'Ticks until nothing is due, each in a transaction of its own, so not inside one.';
