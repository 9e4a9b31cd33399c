-- The tick: takes those who are due, or have changed, through the nodes, and writes each of them once.

CREATE OR REPLACE FUNCTION retention._due(flows retention.flow[], as_of timestamptz, batch integer) RETURNS retention.traveller[]
  -- In the order of the index: there may be millions more that are due than one batch takes.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off
AS $$
DECLARE
  flow retention.flow;
  due retention.traveller[] := '{}';
BEGIN
  FOREACH flow IN ARRAY flows LOOP
    EXIT WHEN cardinality(due) >= batch;
    -- Those whom another worker has are left to it.
    due := due || ARRAY(
      SELECT ROW (e.enrollment_id, e.flow_id, e.node_id, e.is_holdout, e.entered_at, e.since, e.due_at, e.customer_id, e.event,
                  NULL, NULL, NULL, false, false, false, NULL)::retention.traveller
      FROM retention.enrollment e
      WHERE e.flow_id = flow.flow_id AND e.due_at <= as_of
      ORDER BY e.due_at LIMIT batch - cardinality(due) FOR UPDATE SKIP LOCKED);
  END LOOP;
  RETURN due;
END
$$;
COMMENT ON FUNCTION retention._due(retention.flow[], timestamptz, integer) IS 'The enrollments of some flows that are due, at most a batch, locked.';

CREATE OR REPLACE FUNCTION retention._woken(flows retention.flow[], as_of timestamptz, rows integer, OUT woken retention.traveller[], OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  customer_ids text[];
BEGIN
  WITH next AS (SELECT c.ctid FROM retention.changed_customers c LIMIT rows),
  gone AS (DELETE FROM retention.changed_customers c USING next WHERE c.ctid = next.ctid RETURNING c.customer_ids)
  SELECT array_agg(DISTINCT k), count(k) INTO customer_ids, looked_at FROM gone, unnest(gone.customer_ids) AS k;
  -- Whom another worker has is waited for, though they seem to be due until it is done: it may have looked before the change.
  woken := ARRAY(
    -- Locked in one go, and only then looked at; by customer, not by the index of those who are due.
    WITH locked AS MATERIALIZED (
      SELECT * FROM retention.enrollment e
      WHERE e.customer_id = ANY (customer_ids) AND e.outcome IS NULL AND e.flow_id IN (SELECT f.flow_id FROM unnest(flows) AS f)
      ORDER BY e.enrollment_id FOR UPDATE)
    SELECT ROW (e.enrollment_id, e.flow_id, e.node_id, e.is_holdout, e.entered_at, e.since, e.due_at, e.customer_id, e.event,
                NULL, NULL, NULL, false, false, n.type <> 'wait_for', NULL)::retention.traveller
    FROM locked e
    JOIN retention.flow_node n USING (node_id)
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    WHERE e.due_at > as_of AND (n.type = 'wait_for' OR v.document ? 'exit'));
END
$$;
COMMENT ON FUNCTION retention._woken(retention.flow[], timestamptz, integer) IS
  'Enrollments that are not due, of customers who have changed: those that wait for something, or might have to exit.';

CREATE OR REPLACE FUNCTION retention._intake(flows retention.flow[], as_of timestamptz, batch integer, OUT travellers retention.traveller[], OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  flow retention.flow;
  woken record;
  entry record;
BEGIN
  travellers := '{}';
  looked_at := 0;
  -- One worker at a time, so that whoever enters has been written before changes of theirs are looked at.
  IF NOT pg_try_advisory_xact_lock('retention.flow_entry'::regclass::oid::integer, 0) THEN
    RETURN;
  END IF;
  -- As they are now: the worker before may have moved their positions since they were read.
  flows := ARRAY(SELECT f FROM retention.flow f WHERE f.flow_id IN (SELECT g.flow_id FROM unnest(flows) AS g) ORDER BY f.flow_id);
  woken := retention._woken(flows, as_of, 1 + batch / 1000);
  travellers := travellers || woken.woken;
  looked_at := woken.looked_at;
  FOREACH flow IN ARRAY flows LOOP
    EXIT WHEN cardinality(travellers) >= batch;
    entry := retention._try_enter(flow, as_of, batch - cardinality(travellers));
    travellers := travellers || entry.entered;
    looked_at := looked_at + entry.looked_at;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._intake(retention.flow[], timestamptz, integer) IS 'Those who enter, and those who have changed; how many events and changes were looked at for them.';

CREATE OR REPLACE FUNCTION retention._mark_broken(travellers retention.traveller[], problem text, as_of timestamptz) RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE WARNING 'customers wait in flows: %', problem USING HINT = 'They are tried again every five minutes; retention.flow_node shows where.';
  UPDATE retention.flow_node n SET error = problem, error_at = as_of WHERE n.node_id IN (SELECT t.node_id FROM unnest(travellers) AS t);
  RETURN (
    SELECT array_agg(ROW (t.enrollment_id, t.flow_id, t.node_id, t.is_holdout, t.entered_at, t.since, CASE WHEN t.is_waiting THEN t.due_at ELSE as_of + interval '5 minutes' END, t.customer_id, t.event,
                          t.properties, t.outcome, t.reason, t.is_new, true, true, NULL)::retention.traveller)
    FROM unnest(travellers) AS t);
END
$$;
COMMENT ON FUNCTION retention._mark_broken(retention.traveller[], text, timestamptz) IS 'Has travellers wait a while where an expression cannot be run any more.';

CREATE OR REPLACE FUNCTION retention._screen_version(document jsonb, travellers retention.traveller[], as_of timestamptz) RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  checks text;
  result record;
BEGIN
  checks := concat_ws(' ', CASE WHEN document ? 'exit' THEN format(E'WHEN (\n%s\n) THEN ''exited''', document ->> 'exit') END,
                           CASE WHEN document ? 'filter' THEN format(E'WHEN NOT (person.traveller).is_waiting AND (\n%s\n) IS NOT TRUE THEN ''filtered''', document ->> 'filter') END);
  result := retention._try_run(
    format('SELECT array_agg(%s), NULL::retention.queued_message[] FROM (SELECT person.traveller AS t, CASE %s END AS ends FROM %s) AS screened',
      retention._changed_traveller('{"outcome": "coalesce((t).outcome, ends)", "is_changed": "(t).is_changed OR ends IS NOT NULL"}'), checks,
      retention._person_query(coalesce(document ->> 'metric', 'orders'))),
    travellers, as_of, NULL);
  RETURN CASE WHEN result.problem IS NULL THEN result.moved ELSE retention._mark_broken(travellers, result.problem, as_of) END;
END
$$;
COMMENT ON FUNCTION retention._screen_version(jsonb, retention.traveller[], timestamptz) IS
  'Ends those of a version who fit its exit condition, or are about to act and no longer fit its filter.';

CREATE OR REPLACE FUNCTION retention._screen(travellers retention.traveller[], as_of timestamptz) RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  screened retention.traveller[] := '{}';
  version record;
BEGIN
  FOR version IN
    SELECT v.document, array_agg(n.node_id) AS nodes
    FROM (SELECT DISTINCT t.node_id FROM unnest(travellers) AS t) AS here
    JOIN retention.flow_node n USING (node_id) JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    WHERE v.document ?| '{exit,filter}' GROUP BY v.flow_id, v.version, v.document
  LOOP
    screened := screened || retention._screen_version(version.document, ARRAY(SELECT t FROM unnest(travellers) AS t WHERE t.node_id = ANY (version.nodes)), as_of);
    travellers := ARRAY(SELECT t FROM unnest(travellers) AS t WHERE t.node_id <> ALL (version.nodes));
  END LOOP;
  RETURN travellers || screened;
END
$$;
COMMENT ON FUNCTION retention._screen(retention.traveller[], timestamptz) IS 'Ends those who have to leave: one statement for each version.';

CREATE OR REPLACE FUNCTION retention._node_statement(node retention.flow_node, metric text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format($sql$
    SELECT array_agg(%s), %s
    FROM (SELECT d.*, d.due IS NOT NULL AND d.due > $3 AS waits, $4[d.branch] AS target,
                 CASE WHEN d.payload ? 'error' THEN 'error' WHEN d.payload ? 'outcome' THEN d.payload ->> 'outcome' WHEN $4[d.branch] IS NULL THEN 'completed' END AS ends
          FROM (SELECT person.traveller AS t, made.payload, (%s)::integer AS branch, (%s)::timestamptz AS due
                FROM %s, LATERAL (SELECT (%s)::jsonb AS payload OFFSET 0) AS made
                -- so that each expression is evaluated once
                OFFSET 0) AS d) AS decided$sql$,
    retention._changed_traveller('{
      "node_id": "CASE WHEN waits OR ends IS NOT NULL THEN (t).node_id ELSE target END",
      "since": "CASE WHEN waits THEN coalesce((t).since, $3) END",
      "due_at": "CASE WHEN waits THEN due ELSE coalesce(due, least((t).due_at, $3)) END",
      "properties": "CASE WHEN payload ? ''set'' THEN coalesce((t).properties, ''{}'') || (payload -> ''set'') ELSE (t).properties END",
      "outcome": "CASE WHEN NOT waits THEN ends END", "reason": "CASE WHEN NOT waits THEN payload ->> ''error'' END",
      "is_changed": "(t).is_changed OR NOT waits OR (t).since IS NULL OR due <> (t).due_at", "is_waiting": "waits"}'),
    CASE node.type WHEN 'message' THEN $sql$array_agg(ROW ((t).enrollment_id, (t).flow_id, (t).node_id, (t).customer_id, (t).due_at,
        payload ->> 'reason', payload ->> 'address', nullif(payload -> 'context', 'null'))::retention.queued_message) FILTER (WHERE NOT waits)$sql$
      ELSE 'NULL::retention.queued_message[]' END,
    node.branch, coalesce(node.due, 'NULL'), retention._person_query(metric), coalesce(node.payload, 'NULL'))
$$;
COMMENT ON FUNCTION retention._node_statement(retention.flow_node, text) IS
  'The statement that takes travellers ($1, with the keys $2) through a node as of $3: who waits stays, others go to the one of the targets $4 that their branch names, or end.';

CREATE OR REPLACE FUNCTION retention._step(
    node retention.flow_node, travellers retention.traveller[], as_of timestamptz, OUT moved retention.traveller[], OUT queued retention.queued_message[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  metric text := (SELECT coalesce(v.document ->> 'metric', 'orders') FROM retention.flow_version v WHERE (v.flow_id, v.version) = (node.flow_id, node.version));
  problem text;
BEGIN
  IF node.type = 'coupon' THEN
    PERFORM retention._issue_coupons(node, travellers, as_of);
  END IF;
  SELECT r.* INTO moved, queued, problem
    FROM retention._try_run(retention._node_statement(node, metric), travellers, as_of, node.targets) AS r;
  IF problem IS NOT NULL THEN
    moved := retention._mark_broken(travellers, problem, as_of);
    queued := NULL;
    RETURN;
  END IF;
  IF node.type = 'enter_flow' THEN
    moved := retention._pass_on(node, travellers, moved, as_of);
  END IF;
  IF node.error IS NOT NULL THEN
    UPDATE retention.flow_node n SET error = NULL, error_at = NULL WHERE n.node_id = node.node_id;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._step(retention.flow_node, retention.traveller[], timestamptz) IS 'Takes travellers through one node, in one statement.';

CREATE OR REPLACE FUNCTION retention._end_delays(travellers retention.traveller[]) RETURNS retention.traveller[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
  RETURN (
    SELECT array_agg(CASE WHEN n.type = 'delay' AND t.since IS NOT NULL AND NOT t.is_waiting AND t.outcome IS NULL AND n.targets[1] IS NOT NULL AND n.error IS NULL
      THEN ROW (t.enrollment_id, t.flow_id, n.targets[1], t.is_holdout, t.entered_at, NULL, t.due_at, t.customer_id, t.event, t.properties, NULL, NULL, t.is_new, true, false, t.contact)::retention.traveller
      ELSE t END)
    FROM unnest(travellers) AS t JOIN retention.flow_node n USING (node_id));
END
$$;
COMMENT ON FUNCTION retention._end_delays(retention.traveller[]) IS 'Takes those on whose delay is over: there is nothing to ask at its node, unless it has an error to be cleared.';

CREATE OR REPLACE FUNCTION retention._travel(
    travellers retention.traveller[], as_of timestamptz, OUT arrived retention.traveller[], OUT queued retention.queued_message[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  on_the_way retention.traveller[];
  here retention.traveller[];
  node retention.flow_node;
  step record;
BEGIN
  arrived := '{}';
  queued := '{}';
  LOOP
    SELECT arrived || array_agg(t) FILTER (WHERE t.is_waiting OR t.outcome IS NOT NULL),
           on_the_way || array_agg(t) FILTER (WHERE NOT t.is_waiting AND t.outcome IS NULL)
      INTO arrived, on_the_way FROM unnest(travellers) AS t;
    -- In the order of their numbers, so that each is come to once.
    SELECT n.* INTO node FROM retention.flow_node n WHERE n.node_id = (SELECT min(t.node_id) FROM unnest(on_the_way) AS t);
    EXIT WHEN NOT FOUND;
    SELECT array_agg(t) FILTER (WHERE t.node_id = node.node_id), array_agg(t) FILTER (WHERE t.node_id <> node.node_id)
      INTO here, on_the_way FROM unnest(on_the_way) AS t;
    step := retention._step(node, here, as_of);
    travellers := step.moved;
    queued := queued || step.queued;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._travel(retention.traveller[], timestamptz) IS 'Takes travellers on until all of them wait or have ended: one statement for each node at which anybody is.';

CREATE OR REPLACE FUNCTION retention._write_enrollments(travellers retention.traveller[], as_of timestamptz) RETURNS void
  -- Planned for so many as there are.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
  moved bigint[] := ARRAY(SELECT t.enrollment_id FROM unnest(travellers) AS t WHERE NOT t.is_new AND t.is_changed);
BEGIN
  INSERT INTO retention.enrollment (enrollment_id, flow_id, node_id, is_holdout, entered_at, since, due_at, finished_at, customer_id, outcome, reason, event)
    SELECT t.enrollment_id, t.flow_id, t.node_id, t.is_holdout, t.entered_at, CASE WHEN t.outcome IS NULL THEN t.since END,
           CASE WHEN t.outcome IS NULL THEN t.due_at END, CASE WHEN t.outcome IS NOT NULL THEN as_of END, t.customer_id, t.outcome, t.reason, t.event
    FROM unnest(travellers) AS t WHERE t.is_new;
  UPDATE retention.enrollment e
    SET node_id = t.node_id, since = CASE WHEN t.outcome IS NULL THEN t.since END, due_at = CASE WHEN t.outcome IS NULL THEN t.due_at END,
        finished_at = CASE WHEN t.outcome IS NOT NULL THEN as_of END, outcome = t.outcome, reason = t.reason
    FROM unnest(travellers) AS t
    WHERE e.enrollment_id = t.enrollment_id AND e.enrollment_id = ANY (moved);
END
$$;
COMMENT ON FUNCTION retention._write_enrollments(retention.traveller[], timestamptz) IS 'Writes those who have moved, each once.';

CREATE OR REPLACE FUNCTION retention._write_properties(travellers retention.traveller[]) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- In the order of keys, so that workers do not wait for each other in a circle. First those who have no contact yet: a null is to remove, not to be stored.
  INSERT INTO retention.contact (customer_id)
    SELECT DISTINCT t.customer_id FROM unnest(travellers) AS t WHERE t.properties IS NOT NULL ORDER BY t.customer_id
    ON CONFLICT (customer_id) DO NOTHING;
  INSERT INTO retention.contact AS c (customer_id, properties)
    SELECT t.customer_id, jsonb_object_agg(p.key, p.value ORDER BY t.node_id, t.enrollment_id)
    FROM unnest(travellers) AS t, jsonb_each(t.properties) AS p
    GROUP BY t.customer_id ORDER BY t.customer_id
    ON CONFLICT (customer_id) DO UPDATE SET properties = retention._merge_properties(c.properties, excluded.properties);
$$;
COMMENT ON FUNCTION retention._write_properties(retention.traveller[]) IS 'Writes the properties that flows have set to the contacts.';

CREATE OR REPLACE FUNCTION retention._tick(as_of timestamptz, batch integer, only_flow text DEFAULT NULL) RETURNS bigint
  -- JIT would take a hundred times as long as the statements: plans count as dear where ways to join are switched off.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, YMD' SET IntervalStyle = postgres SET TimeZone = 'UTC' SET jit = off
AS $$
DECLARE
  clock text := current_setting('retention.as_of');
  flows retention.flow[];
  intake record;
  travellers retention.traveller[];
  journey record;
BEGIN
  PERFORM retention._reject_unless(isfinite(as_of), format('as_of must be a finite time, not %s', coalesce(as_of::text, 'null')));
  PERFORM retention._reject_unless(batch > 0, format('batch must be 1 or more, not %s', coalesce(batch::text, 'null')));
  PERFORM set_config('retention.as_of', as_of::text, true);
  -- Who changes a status waits until this is over.
  flows := ARRAY(SELECT f FROM retention.flow f WHERE f.status IN ('live', 'manual') AND f.flow = coalesce(only_flow, f.flow) ORDER BY f.flow_id FOR KEY SHARE);
  intake := retention._intake(flows, as_of, batch);
  travellers := intake.travellers || retention._due(flows, as_of, batch - cardinality(intake.travellers));
  IF cardinality(travellers) > 0 THEN
    journey := retention._travel(retention._end_delays(retention._screen(retention._with_contacts(travellers), as_of)), as_of);
    PERFORM retention._write_messages(journey.queued, as_of);
    PERFORM retention._write_properties(journey.arrived);
    PERFORM retention._write_enrollments(journey.arrived, as_of);
  END IF;
  PERFORM set_config('retention.as_of', clock, true);
  RETURN intake.looked_at + cardinality(travellers);
END
$$;
COMMENT ON FUNCTION retention._tick(timestamptz, integer, text) IS 'One tick, of all flows or of one. Returns how much there was to do: 0 when nothing is due.';

CREATE OR REPLACE PROCEDURE retention.tick(as_of timestamptz DEFAULT retention.now(), batch integer DEFAULT 5000)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._tick(as_of, batch);
END
$$;
COMMENT ON PROCEDURE retention.tick(timestamptz, integer) IS
  'Takes at most a batch of customers through their flows: those who enter, who are due, and who have changed. In one transaction; several at once share the work.';

CREATE OR REPLACE PROCEDURE retention.run_flows(as_of timestamptz DEFAULT NULL, batch integer DEFAULT 5000)
  -- It commits, so it cannot pin search_path: every name and operator is qualified.
  LANGUAGE plpgsql
AS $$
BEGIN
  -- In a transaction block this fails, and does so before the first tick rather than after it.
  COMMIT;
  WHILE retention._tick(COALESCE(as_of, retention.now()), batch) OPERATOR(pg_catalog.>) 0 LOOP
    COMMIT;
  END LOOP;
END
$$;
COMMENT ON PROCEDURE retention.run_flows(timestamptz, integer) IS 'Ticks until nothing is due, each in a transaction of its own, so not inside one.';
