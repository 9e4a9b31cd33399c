-- Entering: what starts a flow, and who may enter.

CREATE OR REPLACE FUNCTION retention._stream(type text) RETURNS TABLE (relation regclass, id name, query text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- $2 is the trigger, $3 the metric.
  SELECT v.relation, v.id, v.query
  FROM (VALUES
    ('segment', 'retention.segment_change'::regclass, 'change_id'::name, $q$
      SELECT change_id AS position, customer_id, as_of AS at,
             segment = $2 ->> 'segment' AND change = coalesce($2 ->> 'change', 'entered') AND cause NOT IN ('definition', 'drop', 'settings') AS fits,
             jsonb_build_object('segment', segment, 'change', change, 'cause', cause, 'as_of', as_of) AS event
      FROM retention.segment_change$q$),
    ('rfm_group', 'retention.rfm_change', 'change_id', $q$
      SELECT change_id AS position, customer_id, changed_at AS at,
             cause <> 'settings' AND coalesce($2 -> 'from' ? previous_rfm_group, NOT $2 ? 'from') AND coalesce($2 -> 'to' ? rfm_group, NOT $2 ? 'to') AS fits,
             jsonb_build_object('from', previous_rfm_group, 'to', rfm_group, 'cause', cause, 'as_of', changed_at) AS event
      FROM retention.rfm_change WHERE metric = $3$q$),
    ('order', 'retention.order_event', 'event_id', $q$
      SELECT event_id AS position, customer_id, ordered_at AS at,
             metric = $3 AND kind = $2 ->> 'type' AND net_amount > 0
               AND recorded_at <= ordered_at + coalesce($2 ->> 'max_age', '3 days')::interval
               AS fits,
             jsonb_strip_nulls(jsonb_build_object(
               'order_id', order_id, 'amount', amount, 'occurred_at', occurred_at,
               'number', number)) AS event
      FROM retention.order_event$q$)) AS v (type, relation, id, query)
  WHERE v.type = CASE _stream.type WHEN 'refund' THEN 'order' ELSE _stream.type END
$$;
COMMENT ON FUNCTION retention._stream(text) IS
  'Where a trigger''s events come from: a table, its column of ascending numbers, and the query for its rows; no row for triggers of time, or by hand.';

CREATE OR REPLACE FUNCTION retention._next_firing(trigger jsonb, after timestamptz, zone text) RETURNS timestamptz
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN trigger ->> 'type' IN ('date', 'schedule') THEN
    retention._next_local(after + interval '1 microsecond', coalesce(trigger ->> 'at', '00:00')::time, retention._weekday_numbers(trigger -> 'weekdays'), zone) END
$$;
COMMENT ON FUNCTION retention._next_firing(jsonb, timestamptz, text) IS 'When a trigger of dates, or a schedule, fires next after a time; null for others.';

CREATE OR REPLACE FUNCTION retention._start_trigger(flow_id integer) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  document jsonb := (SELECT v.document FROM retention.flow f JOIN retention.flow_version v USING (flow_id, version) WHERE f.flow_id = _start_trigger.flow_id);
  stream record;
  last_position bigint;
BEGIN
  SELECT * INTO stream FROM retention._stream(document #>> '{trigger,type}');
  IF FOUND THEN
    -- Numbers ascend in the order of commits only under the locks that writers hold: all that is not seen yet has a greater one.
    EXECUTE format('SELECT coalesce(max(%I), 0) FROM %s', stream.id, stream.relation) INTO last_position;
  END IF;
  UPDATE retention.flow f
    SET running_since = retention.now(), trigger_position = last_position, error = NULL, error_code = NULL, error_at = NULL, failures = 0,
        fires_at = retention._next_firing(document -> 'trigger', retention.now(), retention._flow_zone(document))
    WHERE f.flow_id = _start_trigger.flow_id;
END
$$;
COMMENT ON FUNCTION retention._start_trigger(integer) IS 'Has a flow start with what happens from now on.';

CREATE OR REPLACE FUNCTION retention._are_few(rows integer) RETURNS boolean
  LANGUAGE sql IMMUTABLE
  RETURN coalesce(rows, 0) <= 100;
COMMENT ON FUNCTION retention._are_few(integer) IS
  'Whether it would take longer to plan a statement for so many rows than to run it.';

CREATE OR REPLACE FUNCTION retention._plan_for(rows integer) RETURNS text
  LANGUAGE sql VOLATILE
  RETURN set_config('plan_cache_mode', CASE WHEN retention._are_few(rows) THEN 'force_generic_plan' ELSE 'force_custom_plan' END, true);
COMMENT ON FUNCTION retention._plan_for(integer) IS
  'Has the statements of a function, whose SET clause ends it, planned for so many rows; where these are few, once a session.';

CREATE OR REPLACE FUNCTION retention._run(
    author regrole, statement text, travellers retention.traveller[], as_of timestamptz, targets integer[],
    OUT moved retention.traveller[], OUT queued retention.queued_message[])
  -- Customers are looked up by key, however many more there are, and in the backend that holds the locks.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
  customer_ids text[] := ARRAY(SELECT (t).customer_id FROM (SELECT unnest(travellers)) AS u (t));
BEGIN
  -- For few travellers it would take longer to plan it than to run it.
  IF retention._are_few(cardinality(travellers)) THEN
    SELECT q.moved, q.queued INTO moved, queued
      FROM retention._query_kept(author, statement, travellers, customer_ids, as_of, targets)
        AS q (moved retention.traveller[], queued retention.queued_message[]);
  ELSE
    SELECT q.moved, q.queued INTO moved, queued
      FROM retention._query_as(author, statement, travellers, customer_ids, as_of, targets)
        AS q (moved retention.traveller[], queued retention.queued_message[]);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._run(regrole, text, retention.traveller[], timestamptz, integer[]) IS
  'Runs a statement over travellers with the rights of its author. It returns them as they are afterwards, and the messages that they are to get.';

CREATE OR REPLACE FUNCTION retention._fails_without_rows(author regrole, statement text, as_of timestamptz, targets integer[]) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._run(author, statement, '{}', as_of, targets);
  RETURN false;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  PERFORM retention._renew_timeout();
  RETURN true;
END
$$;
COMMENT ON FUNCTION retention._fails_without_rows(regrole, text, timestamptz, integer[]) IS
  'Whether a statement fails whoever it is run for: it names what is not there.';

CREATE OR REPLACE FUNCTION retention._run_in_parts(
    author regrole, statement text, travellers retention.traveller[], as_of timestamptz, targets integer[], give_up_at timestamptz,
    OUT moved retention.traveller[], OUT queued retention.queued_message[], OUT failed retention.traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(travellers) / 2;
  code text;
  message text;
  one record;
  other record;
BEGIN
  SELECT r.moved, r.queued INTO moved, queued FROM retention._run(author, statement, travellers, as_of, targets) AS r;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
  PERFORM retention._renew_timeout();
  give_up_at := coalesce(give_up_at, clock_timestamp() + interval '2 seconds');
  IF middle = 0 OR retention._error_sort(code) = 'passing' AND clock_timestamp() > give_up_at
     OR retention._error_sort(code) <> 'value' AND retention._fails_without_rows(author, statement, as_of, targets) THEN
    failed := retention._failed(travellers, code, message);
    RETURN;
  END IF;
  one := retention._run_in_parts(author, statement, travellers[:middle], as_of, targets, give_up_at);
  other := retention._run_in_parts(author, statement, travellers[middle + 1:], as_of, targets, give_up_at);
  moved := one.moved || other.moved;
  queued := one.queued || other.queued;
  failed := one.failed || other.failed;
END
$$;
COMMENT ON FUNCTION retention._run_in_parts(regrole, text, retention.traveller[], timestamptz, integer[], timestamptz) IS
  'Runs a statement over travellers, where it fails over halves of them, down to each one who makes it fail. '
  'What fails for all, by its names, is not divided; nor, for longer than a moment, what passes, such as waiting for a server.';

CREATE OR REPLACE FUNCTION retention._failed(
    travellers retention.traveller[], code text, message text)
  RETURNS retention.traveller[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(retention._with_fields(t, 'outcome', 'error', 'reason', retention._reason(message),
                                          'error_code', code, 'is_changed', true))
  FROM unnest(travellers) AS t
$$;
COMMENT ON FUNCTION retention._failed(retention.traveller[], text, text) IS 'Travellers who end with an error.';

CREATE OR REPLACE FUNCTION retention._try_run(
    author regrole, statement text, travellers retention.traveller[], as_of timestamptz, targets integer[],
    OUT moved retention.traveller[], OUT queued retention.queued_message[], OUT held retention.traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  result record := retention._run_in_parts(author, statement, travellers, as_of, targets, NULL);
  -- Names that are missing for some only are those of their own values; so is the syntax of a single one's.
  is_for_all boolean := cardinality(result.failed) = cardinality(travellers)
    AND (cardinality(travellers) > 1 OR (result.failed[1]).error_code <> '42601');
BEGIN
  queued := result.queued;
  SELECT result.moved || array_agg(t) FILTER (WHERE NOT waits), array_agg(t) FILTER (WHERE waits)
    INTO moved, held
    FROM unnest(result.failed) AS t,
    LATERAL (SELECT CASE retention._error_sort(t.error_code)
                      WHEN 'passing' THEN true WHEN 'broken' THEN is_for_all ELSE false END AS waits) AS sort;
END
$$;
COMMENT ON FUNCTION retention._try_run(regrole, text, retention.traveller[], timestamptz, integer[]) IS
  'Runs a statement over travellers. Those whose values make it fail end with the outcome error; '
  'held are those who have to wait, for it fails for the moment, or for all: it names what is not there.';

CREATE OR REPLACE FUNCTION retention._bystander(customer_id text) RETURNS retention.traveller
  LANGUAGE sql STABLE
  RETURN retention._with_fields(NULL::retention.traveller, 'customer_id', customer_id);
COMMENT ON FUNCTION retention._bystander(text) IS 'A customer who is in no flow, whose contact is to be looked up.';

CREATE OR REPLACE FUNCTION retention._with_contacts(
    travellers retention.traveller[], as_of timestamptz,
    OUT moved retention.traveller[], OUT held retention.traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT r.moved, r.held INTO moved, held
    FROM retention._try_run(quote_ident(current_user)::regrole, format($query$
      SELECT array_agg(
               CASE WHEN c.rows > 1
                    THEN retention._with_fields(t,
                      'outcome', 'error', 'error_code', '21000', 'is_changed', true, 'reason',
                      format('there are %%s contacts of customer "%%s"', c.rows, c.customer_id))
                    ELSE retention._with_fields(t, 'contact', c.contact) END),
             NULL::retention.queued_message[]
      FROM unnest($1) AS t LEFT JOIN (%s) AS c ON c.customer_id = t.customer_id$query$,
      retention._contact_query()), travellers, as_of, NULL) AS r;
END
$$;
COMMENT ON FUNCTION retention._with_contacts(retention.traveller[], timestamptz) IS
  'Travellers with their customers'' contacts as they are now; those whose contact cannot be read end with an error, or are held.';

CREATE OR REPLACE FUNCTION retention._fitting(
    author regrole, metric text, condition text, travellers retention.traveller[], as_of timestamptz,
    OUT fitting retention.traveller[], OUT held retention.traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known record;
  result record;
BEGIN
  IF condition IS NULL OR travellers IS NULL THEN
    fitting := travellers;
    RETURN;
  END IF;
  known := retention._with_contacts(travellers, as_of);
  result := retention._try_run(author,
    -- OFFSET keeps the condition to these customers: it may fail for others.
    format(E'SELECT array_agg(t ORDER BY (t).enrollment_id), NULL::retention.queued_message[] FROM (SELECT person.traveller AS t, (\n%s\n) AS fits FROM %s OFFSET 0) AS asked WHERE fits',
           condition, retention._person_query(metric)),
    ARRAY(SELECT t FROM unnest(known.moved) AS t WHERE t.outcome IS NULL), as_of, NULL);
  held := known.held || result.held;
  PERFORM retention._reject_unless(cardinality(held) IS DISTINCT FROM cardinality(travellers),
    (held[1]).reason, '', (held[1]).error_code);
  fitting := result.moved || ARRAY(SELECT t FROM unnest(known.moved) AS t WHERE t.outcome IS NOT NULL);
END
$$;
COMMENT ON FUNCTION retention._fitting(regrole, text, text, retention.traveller[], timestamptz) IS
  'Those who fit a condition; who fails it by an error is kept, with that outcome. held are those of whom '
  'it cannot be told for the moment; an error where these are all.';

CREATE OR REPLACE FUNCTION retention._postpone(
    flow retention.flow, held retention.traveller[], failures jsonb, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF held IS NULL THEN
    RETURN;
  END IF;
  RAISE WARNING '% customers wait to enter flow "%": %', cardinality(held), flow.flow, (held[1]).reason
    USING HINT = 'They are tried again, at first after a minute; retention.problem shows them.';
  INSERT INTO retention.flow_entry (flow_id, customer_id, event, due_at, error, error_code, failures)
    SELECT flow.flow_id, t.customer_id, t.event, as_of + retention._retry_after(n.failures),
           t.reason, t.error_code, n.failures
    FROM unnest(held) AS t,
    LATERAL (SELECT 1 + coalesce((_postpone.failures ->> t.customer_id)::integer, 0) AS failures) AS n
    ORDER BY t.enrollment_id;
END
$$;
COMMENT ON FUNCTION retention._postpone(retention.flow, retention.traveller[], jsonb, timestamptz) IS
  'Has customers enter later of whom it cannot be told now whether they may; failures has how often that was so before.';

CREATE OR REPLACE FUNCTION retention._candidates(
    flow_id integer, start integer, customer_ids text[], events jsonb[], as_of timestamptz)
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT array_agg(retention._with_fields(NULL::retention.traveller,
             'enrollment_id', nextval('retention.enrollment_enrollment_id_seq'),
             'flow_id', flow_id, 'node_id', start, 'is_holdout', false, 'entered_at', as_of,
             'due_at', as_of, 'customer_id', c.customer_id, 'event', c.event,
             'is_new', true, 'is_changed', true, 'is_waiting', false) ORDER BY c.number)
    FROM unnest(customer_ids, events) WITH ORDINALITY AS c (customer_id, event, number)
    -- Others cannot be written; only rows put in by hand have them.
    WHERE retention._length_problem('key', c.customer_id) IS NULL AND c.customer_id IS NOT NULL);
END
$$;
COMMENT ON FUNCTION retention._candidates(integer, integer, text[], jsonb[], timestamptz) IS 'Customers who would enter a flow, numbered in the order of what started it.';

CREATE OR REPLACE FUNCTION retention._fire_date(flow_id integer, trigger jsonb, metric text, zone text, fired_on date) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  column_name name := trigger ->> 'column';
BEGIN
  -- The day alone: those whose date has passed already are not made up for.
  EXECUTE format($query$
    INSERT INTO retention.flow_entry (flow_id, customer_id, event)
    SELECT $1, p.customer_id, jsonb_build_object('column', $2, 'date', d.date)
    FROM retention.profile p, LATERAL (SELECT %s AS date OFFSET 0) AS d
    WHERE p.metric = $3 AND retention._add_days(d.date, $4) = $5 ORDER BY p.customer_id$query$,
    format(CASE retention._column_type('retention.profile', 'column', column_name) WHEN 'date'::regtype THEN 'p.%I' ELSE '(p.%I AT TIME ZONE %L)::date' END, column_name, zone))
    USING flow_id, column_name, metric, coalesce(trigger ->> 'offset', '0')::interval, fired_on;
END
$$;
COMMENT ON FUNCTION retention._fire_date(integer, jsonb, text, text, date) IS 'Has those enter whose date it is.';

CREATE OR REPLACE FUNCTION retention._fire_schedule(flow retention.flow, trigger jsonb, metric text, as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  customer_ids text[];
  asked record;
BEGIN
  FOR customer_ids IN
    SELECT array_agg(c.customer_id)
    FROM (SELECT customer_id, row_number() OVER (ORDER BY customer_id) / 10000 AS batch FROM retention.customer e WHERE e.metric = _fire_schedule.metric) AS c
    GROUP BY c.batch ORDER BY c.batch
  LOOP
    asked := retention._fitting(flow.owner_id::regrole, metric, trigger ->> 'condition',
                                retention._candidates(flow.flow_id, NULL, customer_ids, NULL, as_of), as_of);
    INSERT INTO retention.flow_entry (flow_id, customer_id, event)
      SELECT t.flow_id, t.customer_id, jsonb_build_object('scheduled_for', flow.fires_at)
      FROM unnest(asked.fitting) AS t WHERE t.outcome IS NULL ORDER BY t.customer_id;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._fire_schedule(retention.flow, jsonb, text, timestamptz) IS 'Has everybody enter who fits a schedule''s condition.';

CREATE OR REPLACE FUNCTION retention._fire_when_due(flow retention.flow, document jsonb, as_of timestamptz) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  trigger jsonb := document -> 'trigger';
  zone text := retention._flow_zone(document);
  metric text := coalesce(document ->> 'metric', 'orders');
BEGIN
  IF flow.fires_at IS NULL OR flow.fires_at > as_of THEN
    RETURN false;
  END IF;
  -- What was missed by more than a day is left out.
  IF flow.fires_at > as_of - interval '1 day' THEN
    IF trigger ->> 'type' = 'date' THEN
      PERFORM retention._fire_date(flow.flow_id, trigger, metric, zone, (flow.fires_at AT TIME ZONE zone)::date);
    ELSE
      PERFORM retention._fire_schedule(flow, trigger, metric, as_of);
    END IF;
  END IF;
  UPDATE retention.flow f SET fires_at = retention._next_firing(trigger, greatest(flow.fires_at, as_of - interval '1 day'), zone) WHERE f.flow_id = flow.flow_id;
  RETURN true;
END
$$;
COMMENT ON FUNCTION retention._fire_when_due(retention.flow, jsonb, timestamptz) IS 'Fires a trigger of dates, or a schedule, when its time has come.';

CREATE OR REPLACE FUNCTION retention._read_stream(
    flow retention.flow, document jsonb, batch integer, OUT customer_ids text[], OUT events jsonb[], OUT looked_at bigint)
  -- What comes after the last position is little, which is not known of tables that were never analysed.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  stream record;
  last_position bigint;
BEGIN
  looked_at := 0;
  SELECT * INTO stream FROM retention._stream(document #>> '{trigger,type}');
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- Looks at many changes, for most are other flows', and stops where the batch is full.
  EXECUTE format($query$
    WITH looked_at AS MATERIALIZED (SELECT * FROM (%s) AS s WHERE position > $1 ORDER BY position LIMIT 50000),
    fitting AS (SELECT * FROM looked_at WHERE fits AND at >= $4 ORDER BY position LIMIT $5),
    reach AS (SELECT CASE WHEN count(*) < $5 THEN (SELECT max(position) FROM looked_at) ELSE max(position) END AS position FROM fitting)
    SELECT (SELECT array_agg(customer_id ORDER BY position) FROM fitting), (SELECT array_agg(event ORDER BY position) FROM fitting),
           reach.position, (SELECT count(*) FROM looked_at WHERE position <= reach.position) FROM reach$query$, stream.query)
    INTO customer_ids, events, last_position, looked_at
    USING flow.trigger_position, document -> 'trigger', coalesce(document ->> 'metric', 'orders'), flow.running_since, batch;
  IF looked_at > 0 THEN
    UPDATE retention.flow f SET trigger_position = last_position WHERE f.flow_id = flow.flow_id;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._read_stream(retention.flow, jsonb, integer) IS 'The next events that start a flow, at most a batch; how many were looked at for them.';

CREATE OR REPLACE FUNCTION retention._admit(flow retention.flow, document jsonb, candidates retention.traveller[], as_of timestamptz) RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
  RETURN (WITH rule AS (
    SELECT coalesce(document ->> 'reentry', 'never') AS reentry, coalesce((document -> 'concurrent')::boolean, false) AS is_concurrent,
           100 * coalesce((document ->> 'holdout')::numeric, 0) AS held_out),
  candidate AS (
    SELECT c AS traveller, row_number() OVER (PARTITION BY c.customer_id ORDER BY c.enrollment_id) AS turn
    FROM unnest(candidates) AS c),
  admitted AS (
    SELECT c.traveller, r.held_out FROM candidate c, rule r
    WHERE (c.turn = 1 OR r.is_concurrent AND r.reentry = 'always')
      AND NOT EXISTS (
        SELECT FROM retention.enrollment e
        WHERE e.customer_id = (c.traveller).customer_id AND e.flow_id = (flow).flow_id
          AND (NOT r.is_concurrent AND e.due_at IS NOT NULL
               OR r.reentry = 'never'
               OR r.reentry <> 'always' AND e.entered_at > as_of - CASE WHEN r.reentry NOT IN ('never', 'always') THEN retention._span(r.reentry::interval) END)
        -- so that each one's are looked up by key, however many others there are
        OFFSET 0)
    ORDER BY (c.traveller).enrollment_id)
  SELECT array_agg(retention._with_fields(a.traveller, 'is_holdout',
           retention.bucket((a.traveller).customer_id, (flow).flow) < a.held_out))
  FROM admitted a);
END
$$;
COMMENT ON FUNCTION retention._admit(retention.flow, jsonb, retention.traveller[], timestamptz) IS
  'Those of the candidates whom the rules of reentry let in; and who of them is in the holdout.';

CREATE OR REPLACE FUNCTION retention._came_by_merger(customer_id text, event jsonb) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- What a key that was given up loses with its orders, and what the other one has by them that it had before.
  SELECT event ?| '{segment,to}' AND (
    EXISTS (SELECT FROM retention.merged_customer m WHERE m.customer_id = _came_by_merger.customer_id)
    OR EXISTS (SELECT FROM retention.merged_customer m, unnest(ARRAY[m.customer_id, m.merged_into]) AS k (customer_id)
               WHERE m.merged_into = _came_by_merger.customer_id
                 AND (EXISTS (SELECT FROM retention.segment_change c
                              WHERE c.customer_id = k.customer_id AND c.segment = event ->> 'segment' AND c.change = 'left'
                                AND event ->> 'change' = 'entered' AND c.as_of = (event ->> 'as_of')::timestamptz)
                   OR EXISTS (SELECT FROM retention.rfm_change c
                              WHERE c.customer_id = k.customer_id AND c.rfm_group IS NULL AND c.previous_rfm_group = event ->> 'to'
                                AND c.changed_at = (event ->> 'as_of')::timestamptz))))
$$;
COMMENT ON FUNCTION retention._came_by_merger(text, jsonb) IS 'Whether an event only says that orders went from one key of a person to the other.';

CREATE OR REPLACE FUNCTION retention._follow_merged(INOUT customer_ids text[], INOUT events jsonb[])
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF customer_ids IS NOT NULL AND EXISTS (SELECT FROM retention.merged_customer) THEN
    SELECT array_agg(coalesce(m.merged_into, c.customer_id) ORDER BY c.number), array_agg(c.event ORDER BY c.number)
      INTO customer_ids, events
      FROM unnest(customer_ids, events) WITH ORDINALITY AS c (customer_id, event, number)
      LEFT JOIN retention.merged_customer m USING (customer_id)
      WHERE NOT retention._came_by_merger(c.customer_id, c.event);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._follow_merged(text[], jsonb[]) IS 'What has happened to keys that were given up has happened to their persons; that they were is no news.';

CREATE OR REPLACE FUNCTION retention._enter(flow retention.flow, as_of timestamptz, batch integer, OUT entered retention.traveller[], OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  document jsonb := (SELECT v.document FROM retention.flow_version v WHERE (v.flow_id, v.version) = (flow.flow_id, flow.version));
  start integer := (SELECT n.node_id FROM retention.flow_node n WHERE (n.flow_id, n.version, n.node) = (flow.flow_id, flow.version, document #>> '{nodes,0,id}'));
  has_fired boolean := retention._fire_when_due(flow, document, as_of);
  stream record := retention._read_stream(flow, document, batch);
  listed record;
  started record;
  asked record;
BEGIN
  -- Whoever was put down by now, and nobody else.
  WITH next AS (SELECT e.ctid FROM retention.flow_entry e WHERE e.flow_id = flow.flow_id AND coalesce(e.due_at <= as_of, true) ORDER BY e.number LIMIT batch - coalesce(cardinality(stream.customer_ids), 0)),
  gone AS (DELETE FROM retention.flow_entry e USING next WHERE e.ctid = next.ctid RETURNING e.*)
  SELECT array_agg(g.customer_id ORDER BY g.number) AS customer_ids, array_agg(g.event ORDER BY g.number) AS events,
         jsonb_object_agg(g.customer_id, g.failures) FILTER (WHERE g.failures > 0) AS failures INTO listed FROM gone g;
  looked_at := stream.looked_at + coalesce(cardinality(listed.customer_ids), 0) + has_fired::integer;
  SELECT f.* INTO started FROM retention._follow_merged(stream.customer_ids || listed.customer_ids, stream.events || listed.events) AS f;
  entered := retention._candidates(flow.flow_id, start, started.customer_ids, started.events, as_of);
  asked := retention._fitting(flow.owner_id::regrole, coalesce(document ->> 'metric', 'orders'), document ->> 'entry_filter', entered, as_of);
  entered := retention._admit(flow, document, asked.fitting, as_of);
  PERFORM retention._postpone(flow, asked.held, listed.failures, as_of);
  IF flow.error IS NOT NULL THEN
    UPDATE retention.flow f SET error = NULL, error_code = NULL, error_at = NULL, failures = 0 WHERE f.flow_id = flow.flow_id;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._enter(retention.flow, timestamptz, integer) IS 'Those who enter a flow now, at most a batch; how many events were looked at for them.';

CREATE OR REPLACE FUNCTION retention._try_enter(flow retention.flow, as_of timestamptz, batch integer, OUT entered retention.traveller[], OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  code text;
  failure text;
BEGIN
  SELECT e.entered, e.looked_at INTO entered, looked_at FROM retention._enter(flow, as_of, batch) AS e;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, failure = MESSAGE_TEXT;
  PERFORM retention._renew_timeout();
  failure := retention._reason(failure);
  RAISE WARNING 'nobody can enter flow "%": %', flow.flow, failure
    USING HINT = 'What started it meanwhile is kept, and tried again, at first after a minute.';
  UPDATE retention.flow f SET error = failure, error_code = code, error_at = as_of, failures = f.failures + 1 WHERE f.flow_id = flow.flow_id;
  looked_at := 0;
END
$$;
COMMENT ON FUNCTION retention._try_enter(retention.flow, timestamptz, integer) IS 'As _enter. A failure is reported, and is that flow''s alone.';

CREATE OR REPLACE FUNCTION retention.enroll(flow text, customer_id text, event jsonb DEFAULT '{}') RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._find_flow(flow);
BEGIN
  -- In expressions a flow could enter itself for ever; they have nodes of type enter_flow.
  PERFORM retention._caller();
  PERFORM retention._reject_unless(target.status IN ('live', 'manual'), format('flow "%s" is not running, but %s', flow, target.status),
    format('SELECT retention.set_status(%L, ''live'');', flow), 'object_not_in_prerequisite_state');
  PERFORM retention._check_length('the customer to enroll', 'key', customer_id,
    'Enroll by the shop''s key of the customer, as the orders have it.');
  PERFORM retention._reject_unless(jsonb_typeof(event) = 'object', format('event must be an object, not %s', coalesce(event::text, 'null')));
  PERFORM retention._check_length('event', 'event', event::text,
    'Hand over keys by which conditions and templates find the rest.');
  INSERT INTO retention.flow_entry (flow_id, customer_id, event) VALUES (target.flow_id, customer_id, event);
END
$$;
COMMENT ON FUNCTION retention.enroll(text, text, jsonb) IS 'Has a customer enter a flow with the next tick, as far as its entry filter and its rule of reentry allow.';

CREATE OR REPLACE FUNCTION retention.backfill_flow(flow text) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
  trigger jsonb := (SELECT v.document -> 'trigger' FROM retention.flow_version v WHERE (v.flow_id, v.version) = (target.flow_id, target.version));
  listed bigint;
BEGIN
  PERFORM retention._reject_unless(trigger ->> 'type' = 'segment' AND coalesce(trigger ->> 'change', 'entered') = 'entered',
    format('flow "%s" is not started by entering a segment', flow), 'enroll has single customers enter.', 'object_not_in_prerequisite_state');
  PERFORM retention._reject_unless(target.status IN ('live', 'manual'), format('flow "%s" is not running, but %s', flow, target.status), '', 'object_not_in_prerequisite_state');
  INSERT INTO retention.flow_entry (flow_id, customer_id, event)
    SELECT target.flow_id, m.customer_id, jsonb_build_object('segment', m.segment, 'change', 'entered', 'cause', 'backfill', 'as_of', m.entered_at)
    FROM retention.segment_member m WHERE m.segment = trigger ->> 'segment' ORDER BY m.customer_id;
  GET DIAGNOSTICS listed = ROW_COUNT;
  RETURN listed;
END
$$;
COMMENT ON FUNCTION retention.backfill_flow(text) IS 'Has those enter a flow with the next tick who are in its segment already. Returns their number.';
