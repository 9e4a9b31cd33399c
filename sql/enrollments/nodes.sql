-- Takes travellers through a node.

CREATE OR REPLACE FUNCTION retention._pass_on(
    node retention.flow_node, moved retention._traveller[], as_of timestamptz)
  RETURNS retention._traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  most CONSTANT integer := 3;
  source text := (SELECT f.flow FROM retention.flow f WHERE f.flow_id = node.flow_id);
  -- Publishing refuses circles; but two flows can be published at once, and older versions run on.
  going_round bigint[] := retention._going_round(moved, as_of, most);
BEGIN
  INSERT INTO retention.flow_entry (flow_id, customer_id, event)
    SELECT f.flow_id, t.customer_id, t.event || jsonb_build_object('from_flow', source)
    FROM unnest(moved) AS t, retention.flow f
    WHERE f.flow = node.config ->> 'flow' AND f.status IN ('live', 'manual') AND NOT t.is_holdout
      AND NOT t.is_waiting AND t.outcome IS DISTINCT FROM 'error'
      AND t.enrollment_id <> ALL (going_round) ORDER BY t.enrollment_id;
  IF going_round <> '{}' THEN
    moved := (
      SELECT array_agg(
               CASE WHEN t.enrollment_id = ANY (going_round)
                    THEN retention._with_fields(t, 'node_id', node.node_id, 'outcome', 'error',
                           'error_code', '54000', 'reason',
                           format('came from other flows more than %s times within an hour: '
                                  'flows enter each other in a circle', most))
                    ELSE t END)
      FROM unnest(moved) AS t);
  END IF;
  RETURN moved;
END
$$;
COMMENT ON FUNCTION retention._pass_on(retention.flow_node, retention._traveller[], timestamptz) IS
  'Has travellers who came to a node of type enter_flow enter that flow with the next tick. '
  'Returns where they go on to themselves: to an error, where they go round in a circle.';

CREATE OR REPLACE FUNCTION retention._hold(held retention._traveller[], as_of timestamptz)
  RETURNS retention._traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problem record;
BEGIN
  IF held IS NULL THEN
    RETURN NULL;
  END IF;
  FOR problem IN
    SELECT n.node_id, n.node, f.flow,
           n.error_at + retention._retry_after(n.failures) <= as_of AS is_another,
           min(t.reason) AS reason, min(t.error_code) AS error_code, count(*) AS customers
    FROM unnest(held) AS t JOIN retention.flow_node n USING (node_id)
    JOIN retention.flow f ON f.flow_id = n.flow_id
    GROUP BY n.node_id, f.flow ORDER BY n.node_id
  LOOP
    RAISE WARNING '% customers wait at node "%" of flow "%": %', problem.customers, problem.node,
        problem.flow, problem.reason
      USING HINT = 'They are tried again, at first after a minute; retention.problem shows it.';
    UPDATE retention.flow_node n
      SET error = problem.reason, error_code = problem.error_code, error_at = as_of,
          failures = n.failures + CASE WHEN coalesce(problem.is_another, true) THEN 1 ELSE 0 END
      WHERE n.node_id = problem.node_id;
  END LOOP;
  RETURN (
    SELECT array_agg(retention._with_fields(t,
             'due_at', CASE WHEN t.is_waiting THEN t.due_at
                            ELSE as_of + retention._retry_after(n.failures) END,
             'outcome', NULL, 'reason', NULL, 'error_code', NULL,
             'is_changed', true, 'is_waiting', true, 'contact', NULL))
    FROM unnest(held) AS t JOIN retention.flow_node n USING (node_id));
END
$$;
COMMENT ON FUNCTION retention._hold(retention._traveller[], timestamptz) IS
  'Has travellers wait where an expression cannot be run, for now or any more, for longer from '
  'time to time, and says so.';

CREATE OR REPLACE FUNCTION retention._screen_statement(document jsonb) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN format($query$
    SELECT array_agg(retention._with_fields(t, 'outcome', coalesce((t).outcome, ends),
                                            'is_changed', (t).is_changed OR ends IS NOT NULL)),
           NULL::retention._queued_message[]
    FROM (SELECT person.traveller AS t,
                 CASE %s END AS ends
          FROM %s) AS screened$query$,
    concat_ws(' ',
      CASE WHEN document ? 'exit'
           THEN format(E'WHEN (\n%s\n) THEN ''exited''', document ->> 'exit') END,
      CASE WHEN document ? 'filter'
           THEN format(E'WHEN NOT (person.traveller).is_waiting AND (\n%s\n) IS NOT TRUE '
                       'THEN ''filtered''', document ->> 'filter') END),
    retention._person_query(coalesce(document ->> 'metric', 'orders')));
END
$$;
COMMENT ON FUNCTION retention._screen_statement(jsonb) IS
  'The statement that ends travellers ($1, with the keys $2) who fit the exit condition of a '
  'document as of $3, or are about to act and no longer fit its filter.';

CREATE OR REPLACE FUNCTION retention._screen_version(
    author regrole, document jsonb, travellers retention._traveller[], as_of timestamptz)
  RETURNS retention._traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  result record := retention._try_run(author, retention._screen_statement(document), travellers,
                                      as_of, NULL);
BEGIN
  RETURN result.moved || retention._hold(result.held, as_of);
END
$$;
COMMENT ON FUNCTION retention._screen_version(
  regrole, jsonb, retention._traveller[], timestamptz) IS
  'Ends those of a version who fit its exit condition, or are about to act and no longer fit its '
  'filter.';

CREATE OR REPLACE FUNCTION retention._screen(travellers retention._traveller[], as_of timestamptz)
  RETURNS retention._traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  screened retention._traveller[] := '{}';
  version record;
BEGIN
  FOR version IN
    SELECT f.owner_id, v.document, array_agg(n.node_id) AS nodes
    FROM (SELECT DISTINCT (t).node_id FROM (SELECT unnest(travellers)) AS u (t)) AS here
    JOIN retention.flow_node n USING (node_id)
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    JOIN retention.flow f ON f.flow_id = n.flow_id
    WHERE v.document ?| '{exit,filter}' GROUP BY v.flow_id, v.version, v.document, f.owner_id
  LOOP
    screened := screened || retention._screen_version(version.owner_id::regrole, version.document,
      ARRAY(SELECT t FROM (SELECT unnest(travellers)) AS u (t)
            WHERE (t).node_id = ANY (version.nodes) AND (t).outcome IS NULL), as_of);
    travellers := ARRAY(SELECT t FROM (SELECT unnest(travellers)) AS u (t)
                        WHERE (t).node_id <> ALL (version.nodes) OR (t).outcome IS NOT NULL);
  END LOOP;
  RETURN travellers || screened;
END
$$;
COMMENT ON FUNCTION retention._screen(retention._traveller[], timestamptz) IS
  'Ends those who have to leave: one statement for each version.';

CREATE OR REPLACE FUNCTION retention._node_statement(node retention.flow_node, metric text)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN format($sql$
    SELECT array_agg(retention._with_fields(t,
             'node_id', CASE WHEN waits OR ends IS NOT NULL THEN (t).node_id ELSE target END,
             'since', CASE WHEN waits THEN coalesce((t).since, $3) END,
             'due_at', CASE WHEN waits THEN due ELSE coalesce(due, least((t).due_at, $3)) END,
             'properties', CASE WHEN payload ? 'set'
                                THEN coalesce((t).properties, '{}') || (payload -> 'set')
                                ELSE (t).properties END,
             'outcome', CASE WHEN NOT waits THEN ends END,
             'reason', CASE WHEN NOT waits THEN payload ->> 'error' END,
             'error_code', CASE WHEN NOT waits AND payload ? 'error' THEN '22000' END,
             'by_settings', still_by_settings,
             'is_changed', (t).is_changed OR NOT waits OR (t).since IS NULL OR due <> (t).due_at
                           OR (t).by_settings IS DISTINCT FROM still_by_settings,
             'is_waiting', waits)),
           %s
    FROM (SELECT d.*, d.due IS NOT NULL AND d.due > $3 AS waits, $4[d.branch] AS target,
                 -- A wait_for's condition that has ceased to hold may wake again.
                 CASE WHEN d.due > $3 AND d.payload = 'true' THEN (d.t).by_settings END
                   AS still_by_settings,
                 CASE WHEN d.payload ? 'error' THEN 'error'
                      WHEN d.payload ? 'outcome' THEN d.payload ->> 'outcome'
                      WHEN $4[d.branch] IS NULL THEN 'completed' END AS ends
          FROM (SELECT person.traveller AS t, made.payload,
                       (%s)::integer AS branch, (%s)::timestamptz AS due
                FROM %s, LATERAL (SELECT (%s)::jsonb AS payload OFFSET 0) AS made
                -- so that each expression is evaluated once
                OFFSET 0) AS d) AS decided$sql$,
    CASE node.type WHEN 'message' THEN $sql$
           array_agg(ROW ((t).enrollment_id, (t).flow_id, (t).node_id, (t).customer_id, (t).due_at,
                          payload ->> 'reason', payload ->> 'address',
                          nullif(payload -> 'context', 'null'))::retention._queued_message)
             FILTER (WHERE NOT waits)$sql$
      ELSE 'NULL::retention._queued_message[]' END,
    node.branch, coalesce(node.due, 'NULL'), retention._person_query(metric),
    coalesce(node.payload, 'NULL'));
END
$$;
COMMENT ON FUNCTION retention._node_statement(retention.flow_node, text) IS
  'The statement that takes travellers ($1, with the keys $2) through a node as of $3: who waits '
  'stays, others go to the one of the targets $4 that their branch names, or end.';

CREATE OR REPLACE FUNCTION retention._note_barred(
    node retention.flow_node, metric text, travellers retention._traveller[])
  RETURNS retention._traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  kind record;
  listed retention._traveller[];
BEGIN
  IF node.status = 'draft' THEN
    RETURN ARRAY(SELECT retention._with_fields(t, 'reason', 'draft') FROM unnest(travellers) AS t);
  END IF;
  SELECT * INTO kind FROM retention._channels() c WHERE c.channel = node.config ->> 'channel';
  IF kind.address IS NULL OR NOT EXISTS (SELECT FROM retention.suppression s
                                         WHERE s.channel = kind.channel) THEN
    RETURN travellers;
  END IF;
  listed := (
    -- Planned for the list as it is: it may have grown to any size since the session began.
    SELECT q.listed
    FROM retention._query_as(quote_ident(current_user)::regrole,
      format('SELECT array_agg(t) FROM (SELECT unnest($1)) AS u (t) WHERE (%s) IS TRUE',
        retention._suppressed(quote_literal(kind.channel),
          format('((t).contact).%I', kind.address),
          retention._country('((t).contact).country', metric))),
      travellers) AS q (listed retention._traveller[]));
  IF listed IS NULL THEN
    RETURN travellers;
  END IF;
  RETURN (
    SELECT array_agg(CASE WHEN (t).enrollment_id IN (SELECT l.enrollment_id
                                                     FROM unnest(listed) AS l)
                          THEN retention._with_fields(t, 'reason', 'suppression list') ELSE t END)
    FROM (SELECT unnest(travellers)) AS u (t));
END
$$;
COMMENT ON FUNCTION retention._note_barred(retention.flow_node, text, retention._traveller[]) IS
  'Travellers at a message, with the reason why they get none where the engine has to tell: it is '
  'a draft, or their address is on the suppression list.';

CREATE OR REPLACE FUNCTION retention._step(
    node retention.flow_node, travellers retention._traveller[], as_of timestamptz,
    OUT moved retention._traveller[], OUT queued retention._queued_message[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  metric text := (SELECT coalesce(v.document ->> 'metric', 'orders') FROM retention.flow_version v
                  WHERE (v.flow_id, v.version) = (node.flow_id, node.version));
  author regrole := (SELECT f.owner_id FROM retention.flow f WHERE f.flow_id = node.flow_id);
  result record;
BEGIN
  IF node.type = 'coupon' THEN
    travellers := retention._issue_coupons(node, metric, travellers, as_of);
  ELSIF node.type = 'message' THEN
    travellers := retention._note_barred(node, metric, travellers);
  ELSIF node.type = 'wait_for' THEN
    travellers := retention._release_ordered(metric, travellers);
  END IF;
  result := retention._try_run(author, retention._node_statement(node, metric), travellers, as_of,
                               node.targets);
  moved := result.moved || retention._hold(result.held, as_of);
  queued := result.queued;
  IF node.type = 'enter_flow' THEN
    moved := retention._pass_on(node, moved, as_of);
  END IF;
  -- Those who wait for it are due by then; who passes before them says nothing of them.
  IF result.held IS NULL AND node.error_at + retention._retry_after(node.failures) <= as_of THEN
    UPDATE retention.flow_node n SET error = NULL, error_code = NULL, error_at = NULL, failures = 0
    WHERE n.node_id = node.node_id;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._step(retention.flow_node, retention._traveller[], timestamptz) IS
  'Takes travellers through one node, in one statement.';

CREATE OR REPLACE FUNCTION retention._end_delays(travellers retention._traveller[])
  RETURNS retention._traveller[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT array_agg(
             CASE WHEN n.type = 'delay' AND (t).since IS NOT NULL AND NOT (t).is_waiting
                       AND (t).outcome IS NULL AND n.targets[1] IS NOT NULL AND n.error IS NULL
                  THEN retention._with_fields(t, 'node_id', n.targets[1], 'since', NULL,
                                              'is_changed', true)
                  ELSE t END)
    FROM (SELECT unnest(travellers)) AS u (t)
    JOIN retention.flow_node n ON n.node_id = (t).node_id);
END
$$;
COMMENT ON FUNCTION retention._end_delays(retention._traveller[]) IS
  'Takes those on whose delay is over: there is nothing to ask at its node, unless it has an '
  'error to be cleared.';

CREATE OR REPLACE FUNCTION retention._travel(
    travellers retention._traveller[], as_of timestamptz, OUT arrived retention._traveller[],
    OUT queued retention._queued_message[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  on_the_way retention._traveller[];
  here retention._traveller[];
  node retention.flow_node;
  step record;
BEGIN
  arrived := '{}';
  queued := '{}';
  LOOP
    SELECT arrived || array_agg(t) FILTER (WHERE (t).is_waiting OR (t).outcome IS NOT NULL),
           on_the_way || array_agg(t) FILTER (WHERE NOT (t).is_waiting AND (t).outcome IS NULL)
      INTO arrived, on_the_way FROM (SELECT unnest(travellers)) AS u (t);
    -- In the order of their numbers, so that each is come to once.
    SELECT n.* INTO node FROM retention.flow_node n
    WHERE n.node_id = (SELECT min((t).node_id) FROM (SELECT unnest(on_the_way)) AS u (t));
    EXIT WHEN NOT FOUND;
    SELECT array_agg(t) FILTER (WHERE (t).node_id = node.node_id), array_agg(t)
      FILTER (WHERE (t).node_id <> node.node_id)
      INTO here, on_the_way FROM (SELECT unnest(on_the_way)) AS u (t);
    step := retention._step(node, here, as_of);
    travellers := step.moved;
    queued := queued || step.queued;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._travel(retention._traveller[], timestamptz) IS
  'Takes travellers on until all of them wait or have ended: one statement for each node at which '
  'anybody is.';
