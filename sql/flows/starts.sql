-- Triggers of flows: the stream that each starts by, and when it fires.

CREATE OR REPLACE FUNCTION retention._stream(type text)
  RETURNS TABLE (relation regclass, id name, query text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- $2 is the trigger, $3 the metric.
  SELECT v.relation, v.id, v.query
  FROM (VALUES
    ('segment', 'retention.segment_change'::regclass, 'change_id'::name, $q$
      SELECT change_id AS position, customer_id, as_of AS at,
             segment = $2 ->> 'segment' AND change = coalesce($2 ->> 'change', 'entered')
               AND cause NOT IN ('definition', 'drop', 'settings') AS fits,
             jsonb_build_object('segment', segment, 'change', change, 'cause', cause, 'as_of',
                                as_of) AS event
      FROM retention.segment_change$q$),
    ('rfm_group', 'retention.rfm_change', 'change_id', $q$
      SELECT change_id AS position, customer_id, changed_at AS at,
             cause <> 'settings' AND coalesce($2 -> 'from' ? previous_rfm_group, NOT $2 ? 'from')
               AND coalesce($2 -> 'to' ? rfm_group, NOT $2 ? 'to') AS fits,
             jsonb_build_object('from', previous_rfm_group, 'to', rfm_group, 'cause', cause,
                                'as_of', changed_at) AS event
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
  'Where a trigger''s events come from: a table, its column of ascending numbers, and the query '
  'for its rows; no row for triggers of time, or by hand.';

CREATE OR REPLACE FUNCTION retention._next_firing(trigger jsonb, after timestamptz, zone text)
  RETURNS timestamptz
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN trigger ->> 'type' IN ('date', 'schedule') THEN
    retention._next_local(after + interval '1 microsecond',
                          coalesce(trigger ->> 'at', '00:00')::time,
                          retention._weekday_numbers(trigger -> 'weekdays'), zone) END
$$;
COMMENT ON FUNCTION retention._next_firing(jsonb, timestamptz, text) IS
  'When a trigger of dates, or a schedule, fires next after a time; null for others.';

CREATE OR REPLACE FUNCTION retention._start_trigger(flow_id integer) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  document jsonb := (SELECT v.document FROM retention.flow f
                     JOIN retention.flow_version v USING (flow_id, version)
                     WHERE f.flow_id = _start_trigger.flow_id);
  stream record;
  last_position bigint;
BEGIN
  SELECT * INTO stream FROM retention._stream(document #>> '{trigger,type}');
  IF FOUND THEN
    -- Numbers ascend in the order of commits only under the locks that writers hold: all that is
    -- not seen yet has a greater one.
    EXECUTE format('SELECT coalesce(max(%I), 0) FROM %s', stream.id, stream.relation)
      INTO last_position;
  END IF;
  UPDATE retention.flow f
    SET running_since = retention.now(), trigger_position = last_position, error = NULL,
        error_code = NULL, error_at = NULL, failures = 0,
        fires_at = retention._next_firing(document -> 'trigger', retention.now(),
                                          retention._flow_zone(document))
    WHERE f.flow_id = _start_trigger.flow_id;
END
$$;
COMMENT ON FUNCTION retention._start_trigger(integer) IS
  'Has a flow start with what happens from now on.';
