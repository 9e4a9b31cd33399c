-- Simulates a flow: the engine itself on a virtual clock over the shop's past orders, rolled back.

CREATE OR REPLACE FUNCTION retention._begin_simulation(
    flow text, metric text, "from" timestamptz, step interval)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  simulated integer := (SELECT f.flow_id FROM retention.flow f
                        WHERE f.flow = _begin_simulation.flow);
BEGIN
  PERFORM set_config('retention.as_of', "from"::text, true);
  PERFORM retention._lock_all();
  PERFORM retention.reset_metric(metric);
  DELETE FROM retention.order_event e WHERE e.metric = _begin_simulation.metric;
  UPDATE retention.source s SET events_from = "from"
  WHERE s.metric = _begin_simulation.metric AND s.order_id IS NOT NULL;
  DELETE FROM retention.message m WHERE m.flow_id = simulated;
  DELETE FROM retention.enrollment e WHERE e.flow_id = simulated;
  DELETE FROM retention.flow_entry e WHERE e.flow_id = simulated;
  DELETE FROM retention.last_message;
  DELETE FROM retention.address_grant;
  -- Nothing is sent by it, so it can be tried in copies.
  DELETE FROM retention.flow_home;
  PERFORM retention._refresh_customers(metric, true, "from");
  PERFORM retention._evaluate_segments('definition', "from");
  -- Orders are looked at at the end of each step only.
  UPDATE retention.flow f
    SET draft = jsonb_set(f.draft, '{trigger,max_age}', to_jsonb(
          coalesce(f.draft #>> '{trigger,max_age}', '3 days')::interval + step))
    WHERE f.flow = _begin_simulation.flow AND f.draft #>> '{trigger,type}' IN ('order', 'refund');
  PERFORM retention.publish(flow);
  UPDATE retention.flow f SET status = 'draft' WHERE f.flow_id = simulated;
  PERFORM retention.set_status(flow, 'live');
END
$$;
COMMENT ON FUNCTION retention._begin_simulation(text, text, timestamptz, interval) IS
  'Sets everything back to a past moment, with the flow''s draft going live.';

CREATE OR REPLACE FUNCTION retention._simulate_ticks(flow text, at timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM set_config('retention.as_of', at::text, true);
  WHILE (SELECT t.looked_at > 0 AND NOT t.was_cancelled FROM retention._tick(at, 5000, flow) AS t)
    LOOP
    NULL;
  END LOOP;
  -- Whatever is ready is sent at once.
  PERFORM retention.ack(ARRAY(SELECT m.message_id
                              FROM retention._channels() c,
                                   retention.claim_messages(c.channel, 1000000) AS m), at);
END
$$;
COMMENT ON FUNCTION retention._simulate_ticks(text, timestamptz) IS
  'What is due at a moment of a simulation: flow, sender.';

CREATE OR REPLACE FUNCTION retention._simulate_step(
    flow text, metric text, at timestamptz, until timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  due timestamptz;
BEGIN
  -- Between two looks at the orders: delays end when they are due, and quiet hours do.
  LOOP
    due := (SELECT least(f.fires_at, (SELECT min(e.due_at) FROM retention.enrollment e
                                      WHERE e.flow_id = f.flow_id)) FROM retention.flow f
                                      WHERE f.flow = flow);
    EXIT WHEN due >= until IS NOT FALSE;
    PERFORM retention._simulate_ticks(flow, greatest(due, at));
  END LOOP;
  PERFORM set_config('retention.as_of', until::text, true);
  PERFORM retention._refresh_customers(metric, true, until, allow_loss => true);
  PERFORM retention._evaluate_segments('refresh', until);
  PERFORM retention._simulate_ticks(flow, until);
END
$$;
COMMENT ON FUNCTION retention._simulate_step(text, text, timestamptz, timestamptz) IS
  'One step of a simulation: what is due meanwhile; then refresh, segments, flow, sender.';

CREATE OR REPLACE FUNCTION retention._simulation_rows(flow text, zone text, timelines integer)
  RETURNS TABLE (part text, day date, node text, detail text, customer_id text, number bigint)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH enrollment AS MATERIALIZED (SELECT e.* FROM retention.enrollment e
                                   JOIN retention.flow f USING (flow_id)
                                   WHERE f.flow = _simulation_rows.flow),
  message AS MATERIALIZED (SELECT m.* FROM retention.message m JOIN retention.flow f USING (flow_id)
                           WHERE f.flow = _simulation_rows.flow),
  chosen AS (SELECT e.enrollment_id, e.customer_id FROM enrollment e
             ORDER BY (SELECT count(*) FROM message m WHERE m.enrollment_id = e.enrollment_id) DESC,
               e.enrollment_id LIMIT timelines),
  row AS (
    SELECT 1 AS place, 'entries' AS part, (e.entered_at AT TIME ZONE zone)::date AS day,
           NULL::text AS node, CASE WHEN e.is_holdout THEN 'holdout' END AS detail,
           NULL::text AS customer_id, count(*) AS number,
           NULL::timestamptz AS at, 0 AS step
    FROM enrollment e GROUP BY day, detail
    UNION ALL
    SELECT 2, CASE WHEN m.state = 'sent' THEN 'messages' ELSE 'skips' END,
           (m.queued_at AT TIME ZONE zone)::date AS day, m.node, CASE
      WHEN m.state <> 'sent' THEN coalesce(m.reason, m.state) END AS detail, NULL, count(*), NULL, 0
    FROM message m GROUP BY 2, day, m.node, detail
    UNION ALL
    SELECT 3, 'orders', (a.occurred_at AT TIME ZONE zone)::date AS day, a.node, NULL, NULL,
           count(*), NULL, 0
    FROM retention.flow_attribution a WHERE a.flow = _simulation_rows.flow GROUP BY day, a.node
    UNION ALL
    SELECT 4, 'timeline', (t.at AT TIME ZONE zone)::date, t.node, t.detail, c.customer_id,
           c.enrollment_id, t.at, t.step
    FROM chosen c, LATERAL (
      SELECT e.entered_at AS at, NULL::text AS node, 'entered' AS detail, 1 AS step
      FROM enrollment e WHERE e.enrollment_id = c.enrollment_id
      UNION ALL SELECT m.queued_at, m.node, concat_ws(': ', m.state, m.reason), 2 FROM message m
        WHERE m.enrollment_id = c.enrollment_id
      UNION ALL SELECT e.finished_at, NULL, e.outcome, 3 FROM enrollment e
        WHERE e.enrollment_id = c.enrollment_id AND e.finished_at IS NOT NULL) AS t)
  SELECT r.part, r.day, r.node, r.detail, r.customer_id, r.number FROM row r
  ORDER BY r.place, CASE WHEN r.place = 4 THEN r.number END, r.at, r.step, r.day, r.part, r.node,
    r.detail
$$;
COMMENT ON FUNCTION retention._simulation_rows(text, text, integer) IS
  'What a simulation has brought about.';

CREATE OR REPLACE FUNCTION retention.simulate_flow(
    flow text, "from" timestamptz, "to" timestamptz, step interval DEFAULT '1 day',
    timelines integer DEFAULT 5)
  RETURNS TABLE (part text, day date, node text, detail text, customer_id text, number bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET client_min_messages = warning SET retention.progress = off
AS $$
#variable_conflict use_variable
DECLARE
  target retention.flow := retention._require_flow(flow);
  metric text := coalesce(target.draft ->> 'metric', 'orders');
  zone text := retention._flow_zone(target.draft);
  result jsonb;
  at timestamptz := "from";
  until timestamptz;
BEGIN
  PERFORM retention._check_needed_span('step', step);
  PERFORM retention._reject_unless(retention._in_calendar("from") AND retention._in_calendar("to"),
    format('from and to must be times in the years 1 to 9999, not %s and %s',
           coalesce("from"::text, 'null'), coalesce("to"::text, 'null')));
  PERFORM retention._reject_unless("from" < "to",
                                   format('the simulation ends at %s, before it starts at %s', "to",
                                          "from"));
  BEGIN
    PERFORM retention._begin_simulation(flow, metric, "from", step);
    LOOP
      until := retention._add_local(at, step, zone);
      EXIT WHEN until > "to";
      PERFORM retention._simulate_step(flow, metric, at, until);
      at := until;
    END LOOP;
    result := (SELECT jsonb_agg(to_jsonb(r))
               FROM retention._simulation_rows(flow, zone, timelines) AS r);
    RAISE EXCEPTION USING ERRCODE = 'RT001', MESSAGE = 'the simulation is rolled back';
  EXCEPTION WHEN SQLSTATE 'RT001' THEN
    NULL;
  END;
  RETURN QUERY SELECT r.*
    FROM jsonb_to_recordset(coalesce(result, '[]')) AS r (part text, day date, node text,
                                                          detail text, customer_id text,
                                                          number bigint);
END
$$;
COMMENT ON FUNCTION retention.simulate_flow(text, timestamptz, timestamptz, interval, integer) IS
  'What a flow''s draft would have done with the orders between two past moments, which are '
  'looked at step by step; what is due in between is done when it is due: the live engine on a '
  'virtual clock, rolled back. Rows: entries, messages by node, skips by reason and attributed '
  'orders, a day each; then the timelines of some enrollments (number is the enrollment). '
  'Contacts are today''s. Meanwhile refreshes and process_changes wait.';
