-- Those who enter a flow.

CREATE OR REPLACE FUNCTION retention._postpone(
    flow retention.flow, held retention._traveller[], failures jsonb, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF held IS NULL THEN
    RETURN;
  END IF;
  RAISE WARNING '% customers wait to enter flow "%": %', cardinality(held), flow.flow,
      (held[1]).reason
    USING HINT = 'They are tried again, at first after a minute; retention.problem shows them.';
  INSERT INTO retention.flow_entry (flow_id, customer_id, event, due_at, error, error_code,
                                    failures)
    SELECT flow.flow_id, t.customer_id, t.event, as_of + retention._retry_after(n.failures),
           t.reason, t.error_code, n.failures
    FROM unnest(held) AS t,
    LATERAL (SELECT 1 + coalesce((_postpone.failures ->> t.customer_id)::integer,
                                 0) AS failures) AS n
    ORDER BY t.enrollment_id;
END
$$;
COMMENT ON FUNCTION retention._postpone(
  retention.flow, retention._traveller[], jsonb, timestamptz) IS
  'Has customers enter later of whom it cannot be told now whether they may; failures has how '
  'often that was so before.';

CREATE OR REPLACE FUNCTION retention._admit(
    flow retention.flow, document jsonb, candidates retention._traveller[], as_of timestamptz)
  RETURNS retention._traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off
AS $$
BEGIN
  RETURN (WITH rule AS (
    SELECT coalesce(document ->> 'reentry', 'never') AS reentry,
           coalesce((document -> 'concurrent')::boolean, false) AS is_concurrent,
           100 * coalesce((document ->> 'holdout')::numeric, 0) AS held_out),
  candidate AS (
    SELECT c AS traveller, row_number() OVER (PARTITION BY c.customer_id
                                              ORDER BY c.enrollment_id) AS turn
    FROM unnest(candidates) AS c),
  admitted AS (
    SELECT c.traveller, r.held_out FROM candidate c, rule r
    WHERE (c.turn = 1 OR r.is_concurrent AND r.reentry = 'always')
      AND NOT EXISTS (
        SELECT FROM retention.enrollment e
        WHERE e.customer_id = (c.traveller).customer_id AND e.flow_id = (flow).flow_id
          AND (NOT r.is_concurrent AND e.due_at IS NOT NULL
               OR r.reentry = 'never'
               OR r.reentry <> 'always' AND e.entered_at > as_of - CASE
                 WHEN r.reentry NOT IN ('never', 'always') THEN retention._span(r.reentry::interval)
                 END)
        -- so that each one's are looked up by key, however many others there are
        OFFSET 0)
    ORDER BY (c.traveller).enrollment_id)
  SELECT array_agg(retention._with_fields(a.traveller, 'is_holdout',
           retention.bucket((a.traveller).customer_id, (flow).flow) < a.held_out))
  FROM admitted a);
END
$$;
COMMENT ON FUNCTION retention._admit(retention.flow, jsonb, retention._traveller[], timestamptz) IS
  'Those of the candidates whom the rules of reentry let in; and who of them is in the holdout.';

CREATE OR REPLACE FUNCTION retention._came_by_merger(customer_id text, event jsonb) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- What a key that was given up loses with its orders, and what the other one has by them that it
  -- had before.
  SELECT event ?| '{segment,to}' AND (
    EXISTS (SELECT FROM retention.merged_customer m
            WHERE m.customer_id = _came_by_merger.customer_id)
    OR EXISTS (SELECT FROM retention.merged_customer m,
                      unnest(ARRAY[m.customer_id, m.merged_into]) AS k (customer_id)
               WHERE m.merged_into = _came_by_merger.customer_id
                 AND (EXISTS (SELECT FROM retention.segment_change c
                              WHERE c.customer_id = k.customer_id
                                AND c.segment = event ->> 'segment' AND c.change = 'left'
                                AND event ->> 'change' = 'entered'
                                AND c.as_of = (event ->> 'as_of')::timestamptz)
                   OR EXISTS (SELECT FROM retention.rfm_change c
                              WHERE c.customer_id = k.customer_id AND c.rfm_group IS NULL
                                AND c.previous_rfm_group = event ->> 'to'
                                AND c.changed_at = (event ->> 'as_of')::timestamptz))))
$$;
COMMENT ON FUNCTION retention._came_by_merger(text, jsonb) IS
  'Whether an event only says that orders went from one key of a person to the other.';

CREATE OR REPLACE FUNCTION retention._follow_merged(INOUT customer_ids text[], INOUT events jsonb[])
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF customer_ids IS NOT NULL AND EXISTS (SELECT FROM retention.merged_customer) THEN
    SELECT array_agg(coalesce(m.merged_into, c.customer_id) ORDER BY c.number),
           array_agg(c.event ORDER BY c.number)
      INTO customer_ids, events
      FROM unnest(customer_ids, events) WITH ORDINALITY AS c (customer_id, event, number)
      LEFT JOIN retention.merged_customer m USING (customer_id)
      WHERE NOT retention._came_by_merger(c.customer_id, c.event);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._follow_merged(text[], jsonb[]) IS
  'What has happened to keys that were given up has happened to their persons; that they were is '
  'no news.';

CREATE OR REPLACE FUNCTION retention._enter(
    flow retention.flow, as_of timestamptz, batch integer, OUT entered retention._traveller[],
    OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  document jsonb := (SELECT v.document FROM retention.flow_version v
                     WHERE (v.flow_id, v.version) = (flow.flow_id, flow.version));
  start integer := (SELECT n.node_id FROM retention.flow_node n
                    WHERE (n.flow_id, n.version, n.node) = (flow.flow_id, flow.version,
                                                            document #>> '{nodes,0,id}'));
  has_fired boolean := retention._fire_when_due(flow, document, as_of);
  stream record := retention._read_stream(flow, document, batch);
  listed record;
  started record;
  asked record;
BEGIN
  -- Whoever was put down by now, and nobody else.
  WITH next AS (SELECT e.ctid FROM retention.flow_entry e
                WHERE e.flow_id = flow.flow_id AND coalesce(e.due_at <= as_of, true)
                ORDER BY e.number LIMIT batch - coalesce(cardinality(stream.customer_ids), 0)),
  gone AS (DELETE FROM retention.flow_entry e USING next WHERE e.ctid = next.ctid RETURNING e.*)
  SELECT array_agg(g.customer_id ORDER BY g.number) AS customer_ids,
         array_agg(g.event ORDER BY g.number) AS events,
         jsonb_object_agg(g.customer_id, g.failures) FILTER (WHERE g.failures > 0) AS failures
           INTO listed FROM gone g;
  looked_at := stream.looked_at + coalesce(cardinality(listed.customer_ids),
                                           0) + has_fired::integer;
  SELECT f.* INTO started
  FROM retention._follow_merged(stream.customer_ids || listed.customer_ids, stream.events
                                || listed.events) AS f;
  entered := retention._candidates(flow.flow_id, start, started.customer_ids, started.events,
                                   as_of);
  asked := retention._fitting(flow.owner_id::regrole, coalesce(document ->> 'metric', 'orders'),
                              document ->> 'entry_filter', entered, as_of);
  entered := retention._admit(flow, document, asked.fitting, as_of);
  PERFORM retention._postpone(flow, asked.held, listed.failures, as_of);
  IF flow.error IS NOT NULL THEN
    UPDATE retention.flow f SET error = NULL, error_code = NULL, error_at = NULL, failures = 0
    WHERE f.flow_id = flow.flow_id;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._enter(retention.flow, timestamptz, integer) IS
  'Those who enter a flow now, at most a batch; how many events were looked at for them.';

CREATE OR REPLACE FUNCTION retention._try_enter(
    flow retention.flow, as_of timestamptz, batch integer, OUT entered retention._traveller[],
    OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  code text;
  failure text;
BEGIN
  SELECT e.entered, e.looked_at INTO entered, looked_at
  FROM retention._enter(flow, as_of, batch) AS e;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, failure = MESSAGE_TEXT;
  PERFORM retention._renew_timeout();
  failure := retention._reason(failure);
  RAISE WARNING 'nobody can enter flow "%": %', flow.flow, failure
    USING HINT = 'What started it meanwhile is kept, and tried again, at first after a minute.';
  UPDATE retention.flow f SET error = failure, error_code = code, error_at = as_of,
      failures = f.failures + 1 WHERE f.flow_id = flow.flow_id;
  looked_at := 0;
END
$$;
COMMENT ON FUNCTION retention._try_enter(retention.flow, timestamptz, integer) IS
  'As _enter. A failure is reported, and is that flow''s alone.';

CREATE OR REPLACE FUNCTION retention.enroll(flow text, customer_id text, event jsonb DEFAULT '{}')
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._find_flow(flow);
BEGIN
  -- In expressions a flow could enter itself for ever; they have nodes of type enter_flow.
  PERFORM retention._caller();
  PERFORM retention._reject_unless(target.status IN ('live', 'manual'),
                                   format('flow "%s" is not running, but %s', flow, target.status),
    format('SELECT retention.set_status(%L, ''live'');', flow), 'object_not_in_prerequisite_state');
  PERFORM retention._check_length('the customer to enroll', 'key', customer_id,
    'Enroll by the shop''s key of the customer, as the orders have it.');
  PERFORM retention._reject_unless(jsonb_typeof(event) = 'object',
                                   format('event must be an object, not %s',
                                          coalesce(event::text, 'null')));
  PERFORM retention._check_length('event', 'event', event::text,
    'Hand over keys by which conditions and templates find the rest.');
  INSERT INTO retention.flow_entry (flow_id, customer_id, event)
    VALUES (target.flow_id, customer_id, event);
  IF NOT EXISTS (
    SELECT FROM retention.customer c WHERE c.customer_id = enroll.customer_id
    UNION ALL SELECT FROM retention.contact c WHERE c.customer_id = enroll.customer_id
    UNION ALL SELECT FROM retention.merged_customer m WHERE m.customer_id = enroll.customer_id
    -- Whom it knows is found out later.
    UNION ALL SELECT FROM retention.contact_source)
  THEN
    RAISE NOTICE 'customer "%" has neither an order nor a contact', left(customer_id, 100)
      USING HINT = 'They are enrolled all the same. Enroll by the shop''s key of the customer.';
  END IF;
END
$$;
COMMENT ON FUNCTION retention.enroll(text, text, jsonb) IS
  'Has a customer enter a flow with the next tick, as far as its entry filter and its rule of '
  'reentry allow. One who is not known is enrolled too, with a notice.';

CREATE OR REPLACE FUNCTION retention.backfill_flow(flow text) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
  trigger jsonb := (SELECT v.document -> 'trigger' FROM retention.flow_version v
                    WHERE (v.flow_id, v.version) = (target.flow_id, target.version));
  listed bigint;
BEGIN
  PERFORM retention._reject_unless(trigger ->> 'type' = 'segment'
                                   AND coalesce(trigger ->> 'change', 'entered') = 'entered',
    format('flow "%s" is not started by entering a segment', flow),
    'enroll has single customers enter.', 'object_not_in_prerequisite_state');
  PERFORM retention._reject_unless(target.status IN ('live', 'manual'),
                                   format('flow "%s" is not running, but %s', flow, target.status),
                                   '', 'object_not_in_prerequisite_state');
  INSERT INTO retention.flow_entry (flow_id, customer_id, event)
    SELECT target.flow_id, m.customer_id, jsonb_build_object('segment', m.segment, 'change',
        'entered', 'cause', 'backfill', 'as_of', m.entered_at)
    FROM retention.segment_member m WHERE m.segment = trigger ->> 'segment' ORDER BY m.customer_id;
  GET DIAGNOSTICS listed = ROW_COUNT;
  RETURN listed;
END
$$;
COMMENT ON FUNCTION retention.backfill_flow(text) IS
  'Has those enter a flow with the next tick who are in its segment already. Returns their '
  'number.';
