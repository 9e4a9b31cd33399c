-- Health: one list of what is wrong now.

CREATE OR REPLACE FUNCTION retention._problem_findings(reader name)
  RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.severity,
         format(k.what, p.name, p.node)
           || CASE WHEN p.version < f.version THEN format(', version %s', p.version) ELSE '' END,
         min(p.happened_at),
         CASE p.kind
           WHEN 'node' THEN (
             SELECT count(*) FROM retention.enrollment e JOIN retention.flow_node n USING (node_id)
             WHERE (n.flow_id, n.version, n.node) = (f.flow_id, p.version, p.node)
               AND e.flow_id = f.flow_id AND retention._is_held(n, e.since, e.due_at))
           WHEN 'entry' THEN (
             SELECT count(*) FROM retention.flow_entry e
             WHERE e.flow_id = f.flow_id AND e.error IS NOT NULL)
           ELSE sum(p.occurrences)::bigint END,
         retention._shown_error(
           (array_agg(p.message ORDER BY p.happened_at DESC NULLS LAST, p.message))[1],
           (array_agg(p.sqlstate ORDER BY p.happened_at DESC NULLS LAST, p.message))[1], reader),
         format(k.what_to_do, p.name, p.version)
  FROM retention.problem p JOIN (VALUES
    ('node', 'error', 'customers wait at node "%2$s" of flow "%1$s"',
     'Mend what its expression reads; it is tried again by itself, and at once by SELECT * FROM '
     'retention.retry(%1$L); where a new version mends it, they get there by SELECT '
     'retention.migrate_flow(%1$L, %2$s);'),
    ('flow', 'error', 'nobody can enter flow "%1$s"',
     'Mend its trigger or entry filter; it is tried again by itself, and at once by SELECT * FROM '
     'retention.retry(%1$L);'),
    ('segment', 'error', 'segment "%1$s" cannot be evaluated',
     'Mend its view; it is tried again by itself.'),
    ('metric', 'error', 'changes of metric "%1$s" cannot be processed',
     'Mend its sources; it is tried again by itself, and CALL retention.refresh(%1$L) reads all.'),
    ('entry', 'warning', 'the entry filter of flow "%1$s" fails for the moment',
     'It is tried again by itself, and at once by SELECT * FROM retention.retry(%1$L);'),
    ('enrollment', 'warning', 'enrollments have failed at node "%2$s" of flow "%1$s"',
     'Mend the values, or what the expression reads, then SELECT * FROM retention.retry(%1$L); '
     'where a new version mends the expression: BEGIN; SELECT * FROM retention.retry(%1$L); '
     'SELECT retention.migrate_flow(%1$L, %2$s); COMMIT;'))
    AS k (kind, severity, what, what_to_do) USING (kind)
  LEFT JOIN retention.flow f
    ON f.flow = p.name AND p.kind IN ('node', 'flow', 'entry', 'enrollment')
  -- What belongs to an archived flow is over.
  WHERE f.status IS DISTINCT FROM 'archived'
  GROUP BY k.severity, k.what, k.what_to_do, p.kind, p.name, p.node, p.version, f.flow_id, f.version
$$;
COMMENT ON FUNCTION retention._problem_findings(name) IS
  'What retention.problem has of others than messages, for each flow and node, segment and metric.';

CREATE OR REPLACE FUNCTION retention._message_findings(reader name)
  RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.severity, format(k.what, f.flow, m.node), min(m.queued_at), count(*),
         retention._shown_error((array_agg(m.last_error ORDER BY m.queued_at DESC))[1], NULL,
                                reader),
         format(k.what_to_do, f.flow)
  FROM retention.message m JOIN retention.flow f USING (flow_id) JOIN (VALUES
    ('error', 'warning', 'message "%2$s" of flow "%1$s" could not be rendered',
     'Mend the template, publish it, then SELECT * FROM retention.retry(%1$L);'),
    ('dead', 'warning', 'message "%2$s" of flow "%1$s" is dead: sending has failed for good',
     'Mend the sender or the addresses, then SELECT * FROM retention.retry(%1$L);'),
    ('ready', 'note', 'message "%2$s" of flow "%1$s" could not be sent yet',
     'It is tried again by itself, twelve times over about a day.'))
    AS k (state, severity, what, what_to_do) ON k.state = m.state
  WHERE (m.state IN ('error', 'dead') OR m.state = 'ready' AND m.last_error IS NOT NULL)
    -- Others can be neither mended nor sent.
    AND f.status <> 'archived' AND m.customer_id IS NOT NULL
  GROUP BY k.severity, k.what, k.what_to_do, f.flow, m.node
  UNION ALL
  SELECT 'error', format('messages of channel %s are ready, and no sender claims them', m.channel),
         min(m.ready_at), count(*), NULL, 'Start its sender: docs/senders.md.'
  FROM retention.message m
  WHERE m.state IN ('ready', 'leased') AND m.ready_at < retention.now() - interval '1 hour'
  GROUP BY m.channel HAVING NOT retention._is_copy()
$$;
COMMENT ON FUNCTION retention._message_findings(name) IS
  'Messages that failed, and those that nobody has claimed for an hour.';

CREATE OR REPLACE FUNCTION retention._flow_findings() RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH live AS (
    SELECT f.*, v.document, coalesce(v.document ->> 'metric', 'orders') AS metric
    FROM retention.flow f JOIN retention.flow_version v USING (flow_id, version)
    WHERE f.status IN ('live', 'manual'))
  SELECT 'error', format('customers of flow "%s" are overdue', l.flow), min(e.due_at), count(*),
         NULL::text, 'Have retention.run_flows() run every minute, by more workers if need be.'
  FROM live l JOIN retention.enrollment e USING (flow_id)
  WHERE e.due_at < retention.now() - interval '15 minutes'
  GROUP BY l.flow HAVING NOT retention._is_copy()
  UNION ALL
  SELECT 'warning', 'flows are live in a copy of the database where they were made live',
         min(l.running_since), count(*), string_agg(l.flow, ', ' ORDER BY l.flow),
         'Nothing is sent. Where it has taken the other''s place: SELECT retention.resume_here();'
  FROM live l HAVING count(*) > 0 AND retention._is_copy()
  UNION ALL
  SELECT 'error', format('flow "%s" cannot be started: no source records events', l.flow),
         l.running_since, NULL, format('trigger "%s" of metric "%s"', k.kind, l.metric), e.way_out
  FROM live l, LATERAL (SELECT l.document #>> '{trigger,type}') AS k (kind),
       retention._events_problem(k.kind, l.metric) AS e
  WHERE e.problem IS NOT NULL
  UNION ALL
  SELECT CASE WHEN c.free = 0 THEN 'error' ELSE 'warning' END,
         format('coupon pool "%s" is nearly empty', p.pool), NULL, c.free,
         format('%s of %s codes are left; flows: %s', c.free, c.imported, u.flows),
         format('SELECT retention.add_coupon_pool(%L, ARRAY[...]);', p.pool)
  FROM retention.coupon_pool p,
       LATERAL (SELECT string_agg(DISTINCT l.flow, ', ') AS flows
                FROM live l JOIN retention.flow_node n USING (flow_id, version)
                WHERE n.type = 'coupon' AND n.config ->> 'pool' = p.pool) AS u,
       LATERAL (SELECT count(*) FILTER (WHERE k.issued_at IS NULL) AS free, count(*) AS imported
                FROM retention.coupon k WHERE k.pool = p.pool AND u.flows IS NOT NULL) AS c
  WHERE p.length IS NULL AND u.flows IS NOT NULL AND (c.free < 10 OR c.free < 0.05 * c.imported)
$$;
COMMENT ON FUNCTION retention._flow_findings() IS
  'Flows that are live and do not run, cannot be started, or will soon have no coupons.';

CREATE OR REPLACE FUNCTION retention._metric_findings() RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning', format(CASE WHEN r.as_of IS NULL THEN 'metric "%s" was never refreshed'
                           ELSE 'metric "%s" was not refreshed for more than 2 days' END, m.metric),
         r.as_of, NULL::bigint, NULL::text,
         format('CALL retention.refresh(%L); and have retention.refresh_all() run every night.',
                m.metric)
  FROM retention.metric m,
       LATERAL (SELECT max(l.as_of) AS as_of, max(l.started_at) AS started_at
                FROM retention.population l WHERE l.metric = m.metric) AS r
  WHERE coalesce(r.as_of < retention.now() - interval '2 days'
                 OR r.started_at < now() - interval '2 days', true)
  UNION ALL
  SELECT 'warning', format('changes of metric "%s" are left to its next refresh', m.metric),
         p.as_of, NULL, NULL, format('CALL retention.refresh(%L);', m.metric)
  FROM retention.metric m, retention._last_refresh(m.metric) AS p WHERE p.stale
  UNION ALL
  SELECT 'warning',
         format('the model of %s could not be fitted for metric "%s"', f.purpose, m.metric),
         p.as_of, NULL, f.detail,
         'Predictions lean on customary values: see retention.readiness() and validate_model.'
  FROM retention.metric m CROSS JOIN LATERAL retention._last_refresh(m.metric) AS r
  LEFT JOIN retention.published_model p ON p.metric = m.metric,
  LATERAL (VALUES ('purchases', coalesce((p.purchase).converged, false), (p.purchase).kind),
                  ('spend', coalesce((p.spend).converged OR (p.spend).n = 0, false),
                   (p.spend).kind))
    AS f (purpose, is_fitted, detail)
  WHERE r.customers > 0 AND NOT f.is_fitted
  UNION ALL
  SELECT 'warning',
         format('rows of %s cannot be read, and do not count in metric "%s"', u.relation, u.metric),
         NULL, sum(u.row_count)::bigint, string_agg(DISTINCT u.reason, ', '),
         'SELECT * FROM retention.unreadable_row; mend these rows.'
  FROM retention.unreadable_row u GROUP BY u.relation, u.metric
$$;
COMMENT ON FUNCTION retention._metric_findings() IS
  'Metrics that are not up to date, have no models, or leave rows out.';

CREATE OR REPLACE FUNCTION retention._source_findings() RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'error', format('a source of metric "%s" is gone', s.metric), NULL::timestamptz,
         NULL::bigint, format('source %s, kind %s', s.source_id, s.kind),
         format('SELECT retention.drop_source(%s); and add what has taken its place.', s.source_id)
  FROM retention.source s WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relation)
  UNION ALL
  SELECT CASE WHEN n.names_orders THEN 'warning' ELSE 'note' END, n.problem, NULL, NULL,
         format('metric "%s"', (n.refunds).metric), n.way_out
  FROM retention._not_netted() AS n
  UNION ALL
  SELECT CASE WHEN s.is_indexed IS FALSE THEN 'warning' ELSE 'note' END,
         format('source %s has no index on "%s"', s.relation, s.customer_id), NULL,
         NULL, format('All of it is read for each change of metric "%s".', s.metric),
         format('CREATE INDEX ON %s (%I); for a view, on the tables below it.',
                s.relation, s.customer_id)
  FROM retention.source s JOIN pg_class c ON c.oid = s.relation
  -- What process_changes has found; else, of a table, what can be told at once.
  WHERE NOT coalesce(s.is_indexed, c.relkind NOT IN ('r', 'p', 'm') OR EXISTS (
    SELECT FROM pg_index i JOIN pg_attribute a ON (a.attrelid, a.attnum) = (i.indrelid, i.indkey[0])
    WHERE i.indrelid = s.relation AND i.indisvalid AND a.attname = s.customer_id))
  UNION ALL
  SELECT 'warning',
         format('%s partitions of %s are not tracked', t.untracked_partitions, t.relation),
         NULL, t.untracked_partitions, NULL, format('SELECT retention.track(%L);', t.relation)
  FROM retention.tracked t WHERE t.untracked_partitions > 0
$$;
COMMENT ON FUNCTION retention._source_findings() IS
  'Sources that are gone, or slow to read, refunds that are not netted, and partitions whose '
  'changes are not captured.';

CREATE OR REPLACE FUNCTION retention._queue_findings() RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'error', 'changes of orders and other tracked rows wait', min(l.changed_at),
         sum(coalesce(cardinality(coalesce(l.customer_ids, l.order_ids)), 1))::bigint, NULL::text,
         'Have retention.process_changes() run every minute: docs/operations.md.'
  FROM retention.change_log l
  WHERE l.changed_at < now() - interval '15 minutes'
    AND coalesce(l.due_at < retention.now() - interval '15 minutes', true) HAVING count(*) > 0
  UNION ALL
  SELECT 'error', 'customers who have changed wait for the flows', min(c.noted_at),
         sum(cardinality(c.customer_ids))::bigint, NULL,
         'Have retention.run_flows() run every minute: docs/operations.md.'
  FROM retention.changed_customers c
  WHERE c.noted_at < now() - interval '15 minutes' HAVING count(*) > 0 AND NOT retention._is_copy()
  UNION ALL
  SELECT 'warning', format('consumer "%s" has read nothing for a week', c.consumer), c.read_at,
         u.changes, 'changes that it has not read, which prune keeps',
         format('Start it; or SELECT retention.drop_consumer(%L);', c.consumer)
  FROM retention.segment_consumer c,
       LATERAL (SELECT count(*) AS changes, min(s.changed_at) AS oldest
                FROM retention.segment_change s WHERE s.change_id > c.position) AS u
  WHERE coalesce(c.read_at, u.oldest) < now() - interval '7 days'
$$;
COMMENT ON FUNCTION retention._queue_findings() IS
  'Changes that nobody processes, and consumers that do not read.';

CREATE OR REPLACE FUNCTION retention.health()
  RETURNS TABLE (
    severity text, what text, since timestamptz, how_often bigint, detail text, what_to_do text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH reader AS (SELECT r.rolname FROM pg_roles r WHERE r.oid = retention._caller())
  SELECT f.*
  FROM (SELECT p.* FROM reader r, retention._problem_findings(r.rolname) AS p
        UNION ALL SELECT m.* FROM reader r, retention._message_findings(r.rolname) AS m
        UNION ALL SELECT * FROM retention._flow_findings()
        UNION ALL SELECT * FROM retention._metric_findings()
        UNION ALL SELECT * FROM retention._source_findings()
        UNION ALL SELECT * FROM retention._queue_findings()) AS f
  ORDER BY array_position('{error,warning,note}', f.severity), f.what COLLATE "C"
$$;
COMMENT ON FUNCTION retention.health() IS
  'What is wrong, the worst first: errors stop something for all, warnings for some or soon, '
  'notes can wait. Since when, how many customers, messages, rows or codes it is about (of a flow '
  'that nobody can enter, a segment or a metric, how often it has failed in a row), and what to '
  'do. No row: all is well. scripts/health.sh asks it for a monitor.';
