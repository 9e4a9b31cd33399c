-- Reads what is new in the stream that a flow starts by.

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
COMMENT ON FUNCTION retention._candidates(integer, integer, text[], jsonb[], timestamptz) IS
  'Customers who would enter a flow, numbered in the order of what started it.';

CREATE OR REPLACE FUNCTION retention._fire_date(
    flow_id integer, trigger jsonb, metric text, zone text, fired_on date)
  RETURNS void
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
    format(CASE retention._column_type('retention.profile', 'column', column_name)
           WHEN 'date'::regtype THEN 'p.%I' ELSE '(p.%I AT TIME ZONE %L)::date' END, column_name,
           zone))
    USING flow_id, column_name, metric, coalesce(trigger ->> 'offset', '0')::interval, fired_on;
END
$$;
COMMENT ON FUNCTION retention._fire_date(integer, jsonb, text, text, date) IS
  'Has those enter whose date it is.';

CREATE OR REPLACE FUNCTION retention._fire_schedule(
    flow retention.flow, trigger jsonb, metric text, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  customer_ids text[];
  asked record;
BEGIN
  FOR customer_ids IN
    SELECT array_agg(c.customer_id)
    FROM (SELECT customer_id, row_number() OVER (ORDER BY customer_id) / 10000 AS batch
          FROM retention.customer e WHERE e.metric = _fire_schedule.metric) AS c
    GROUP BY c.batch ORDER BY c.batch
  LOOP
    asked := retention._fitting(flow.owner_id::regrole, metric, trigger ->> 'condition',
                                retention._candidates(flow.flow_id, NULL, customer_ids, NULL,
                                                      as_of), as_of);
    INSERT INTO retention.flow_entry (flow_id, customer_id, event)
      SELECT t.flow_id, t.customer_id, jsonb_build_object('scheduled_for', flow.fires_at)
      FROM unnest(asked.fitting) AS t WHERE t.outcome IS NULL ORDER BY t.customer_id;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._fire_schedule(retention.flow, jsonb, text, timestamptz) IS
  'Has everybody enter who fits a schedule''s condition.';

CREATE OR REPLACE FUNCTION retention._fire_when_due(
    flow retention.flow, document jsonb, as_of timestamptz)
  RETURNS boolean
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
      PERFORM retention._fire_date(flow.flow_id, trigger, metric, zone,
                                   (flow.fires_at AT TIME ZONE zone)::date);
    ELSE
      PERFORM retention._fire_schedule(flow, trigger, metric, as_of);
    END IF;
  END IF;
  UPDATE retention.flow f SET fires_at = retention._next_firing(trigger,
      greatest(flow.fires_at, as_of - interval '1 day'), zone) WHERE f.flow_id = flow.flow_id;
  RETURN true;
END
$$;
COMMENT ON FUNCTION retention._fire_when_due(retention.flow, jsonb, timestamptz) IS
  'Fires a trigger of dates, or a schedule, when its time has come.';

CREATE OR REPLACE FUNCTION retention._read_stream(
    flow retention.flow, document jsonb, batch integer, OUT customer_ids text[], OUT events jsonb[],
    OUT looked_at bigint)
  -- What comes after the last position is little, which is not known of tables that were never
  -- analysed.
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
    WITH looked_at AS MATERIALIZED (SELECT * FROM (%s) AS s WHERE position > $1
                                    ORDER BY position LIMIT 50000),
    fitting AS (SELECT * FROM looked_at WHERE fits AND at >= $4 ORDER BY position LIMIT $5),
    reach AS (SELECT CASE WHEN count(*) < $5 THEN (SELECT max(position) FROM looked_at)
                     ELSE max(position) END AS position FROM fitting)
    SELECT (SELECT array_agg(customer_id ORDER BY position) FROM fitting),
           (SELECT array_agg(event ORDER BY position) FROM fitting),
           reach.position, (SELECT count(*) FROM looked_at WHERE position <= reach.position)
             FROM reach$query$, stream.query)
    INTO customer_ids, events, last_position, looked_at
    USING flow.trigger_position, document -> 'trigger', coalesce(document ->> 'metric', 'orders'),
        flow.running_since, batch;
  IF looked_at > 0 THEN
    UPDATE retention.flow f SET trigger_position = last_position WHERE f.flow_id = flow.flow_id;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._read_stream(retention.flow, jsonb, integer) IS
  'The next events that start a flow, at most a batch; how many were looked at for them.';

CREATE OR REPLACE FUNCTION retention._count_stream(flow retention.flow) RETURNS bigint
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  document jsonb := (SELECT v.document FROM retention.flow_version v
                     WHERE (v.flow_id, v.version) = (flow.flow_id, flow.version));
  query text := (SELECT s.query FROM retention._stream(document #>> '{trigger,type}') AS s);
  events bigint := 0;
BEGIN
  IF query IS NOT NULL THEN
    EXECUTE format('SELECT count(*) FROM (%s) AS s WHERE position > $1 AND fits AND at >= $4',
                   query)
      INTO events
      USING flow.trigger_position, document -> 'trigger', coalesce(document ->> 'metric', 'orders'),
          flow.running_since;
  END IF;
  RETURN events;
END
$$;
COMMENT ON FUNCTION retention._count_stream(retention.flow) IS
  'How many events that start a flow have not been read yet.';
