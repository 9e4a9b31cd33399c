-- Health: what has failed goes on when it is mended, and what is wrong is in one list.

CREATE OR REPLACE FUNCTION retention._travellers_of(enrollment_ids bigint[], as_of timestamptz)
  RETURNS retention.traveller[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(
    SELECT retention._with_fields(retention._traveller(e, false),
                                  'since', NULL, 'due_at', as_of, 'is_changed', true)
    FROM retention.enrollment e WHERE e.enrollment_id = ANY (enrollment_ids)
    ORDER BY e.enrollment_id);
END
$$;
COMMENT ON FUNCTION retention._travellers_of(bigint[], timestamptz) IS
  'Enrollments as travellers that come to their nodes now.';

CREATE OR REPLACE FUNCTION retention._coupon_before(node_id integer) RETURNS retention.flow_node
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE node AS MATERIALIZED (
    SELECT n.*, n.node = v.document #>> '{nodes,0,id}' AS is_start
    FROM retention.flow_node here
    JOIN retention.flow_node n ON (n.flow_id, n.version) = (here.flow_id, here.version)
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (here.flow_id, here.version)
    WHERE here.node_id = _coupon_before.node_id),
  -- The ways that are left without the one on which a coupon node has handed out a code.
  way AS (
    SELECT c.node_id AS without, s.node_id FROM node c, node s
    WHERE c.type = 'coupon' AND s.is_start
    UNION
    SELECT w.without, t.target FROM way w JOIN node n ON n.node_id = w.node_id,
         unnest(n.targets) WITH ORDINALITY AS t (target, number)
    WHERE t.target IS NOT NULL AND (n.node_id <> w.without OR t.number > 1))
  SELECT c FROM retention.flow_node c
  WHERE c.node_id IN (SELECT w.without FROM way w)
    AND c.node_id NOT IN (SELECT w.without FROM way w WHERE w.node_id = _coupon_before.node_id)
  ORDER BY c.node_id DESC LIMIT 1
$$;
COMMENT ON FUNCTION retention._coupon_before(integer) IS
  'The last coupon node whose code all have been offered who are at a node; null: there is none.';

CREATE OR REPLACE FUNCTION retention._issue_again(
    at integer, enrollment_ids bigint[], as_of timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  issuer retention.flow_node := retention._coupon_before(at);
  known record;
  served retention.traveller[];
BEGIN
  IF issuer.node_id IS NULL OR NOT EXISTS (SELECT FROM retention._coupon_messages(at)) THEN
    RETURN '{}';
  END IF;
  known := retention._with_contacts(retention._travellers_of(enrollment_ids, as_of), as_of);
  served := retention._issue_coupons(issuer, coalesce((
      SELECT v.document ->> 'metric' FROM retention.flow_version v
      WHERE (v.flow_id, v.version) = (issuer.flow_id, issuer.version)), 'orders'),
    ARRAY(SELECT t FROM unnest(known.moved) AS t WHERE t.outcome IS NULL), as_of);
  RETURN ARRAY(SELECT e FROM unnest(enrollment_ids) AS e
               EXCEPT SELECT t.enrollment_id FROM unnest(served) AS t WHERE t.reason IS NULL);
END
$$;
COMMENT ON FUNCTION retention._issue_again(integer, bigint[], timestamptz) IS
  'Issues codes anew to enrollments at a node, from which they were taken back, where messages show '
  'them. Returns those for whom there is none.';

CREATE OR REPLACE FUNCTION retention._failed_enrollments(flow retention.flow, since timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  is_concurrent CONSTANT boolean := coalesce((
    SELECT (v.document -> 'concurrent')::boolean FROM retention.flow_version v
    WHERE (v.flow_id, v.version) = (flow.flow_id, flow.version)), false);
BEGIN
  RETURN ARRAY(
    SELECT e.enrollment_id FROM retention.enrollment e
    WHERE e.flow_id = flow.flow_id AND e.outcome = 'error' AND e.customer_id IS NOT NULL
      AND e.finished_at >= coalesce(_failed_enrollments.since, '-infinity')
      -- Who has entered again is on the way by that.
      AND (is_concurrent OR NOT EXISTS (
        SELECT FROM retention.enrollment other
        WHERE other.customer_id = e.customer_id AND other.flow_id = e.flow_id
          AND (other.due_at IS NOT NULL
               OR (other.entered_at, other.enrollment_id) > (e.entered_at, e.enrollment_id))))
    ORDER BY e.enrollment_id FOR UPDATE OF e);
END
$$;
COMMENT ON FUNCTION retention._failed_enrollments(retention.flow, timestamptz) IS
  'Enrollments that have ended with an error since a time, and whose customers have not entered again.';

CREATE OR REPLACE FUNCTION retention._not_admitted(
    flow retention.flow, enrollment_ids bigint[], as_of timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  document jsonb := (SELECT v.document FROM retention.flow_version v
                     WHERE (v.flow_id, v.version) = (flow.flow_id, flow.version));
  -- It may be the filter that failed: they have not left the first node, nor waited there.
  asked bigint[] := ARRAY(
    SELECT e.enrollment_id FROM retention.enrollment e JOIN retention.flow_node n USING (node_id)
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    WHERE e.enrollment_id = ANY (enrollment_ids) AND e.finished_at = e.entered_at
      AND n.node = v.document #>> '{nodes,0,id}');
  answer record;
BEGIN
  IF asked = '{}' OR NOT document ? 'entry_filter' THEN
    RETURN '{}';
  END IF;
  answer := retention._fitting(flow.owner_id::regrole, coalesce(document ->> 'metric', 'orders'),
    document ->> 'entry_filter', retention._travellers_of(asked, as_of), as_of);
  RETURN ARRAY(SELECT e FROM unnest(asked) AS e
               EXCEPT SELECT t.enrollment_id FROM unnest(answer.fitting) AS t
                      WHERE t.outcome IS NULL);
END
$$;
COMMENT ON FUNCTION retention._not_admitted(retention.flow, bigint[], timestamptz) IS
  'Those of some enrollments, which failed as soon as they had entered, whom the entry filter does not let in.';

CREATE OR REPLACE FUNCTION retention._retry_enrollments(
    flow retention.flow, since timestamptz, as_of timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  chosen bigint[] := retention._failed_enrollments(flow, since);
  here record;
  restarted bigint[];
BEGIN
  chosen := ARRAY(SELECT c FROM unnest(chosen) AS c
                  WHERE c <> ALL (retention._not_admitted(flow, chosen, as_of)));
  FOR here IN
    SELECT e.node_id, array_agg(e.enrollment_id ORDER BY e.enrollment_id) AS enrollment_ids
    FROM retention.enrollment e WHERE e.enrollment_id = ANY (chosen) GROUP BY 1 ORDER BY 1
  LOOP
    chosen := ARRAY(SELECT unnest(chosen) EXCEPT
                    SELECT unnest(retention._issue_again(here.node_id, here.enrollment_ids,
                                                         as_of)));
  END LOOP;
  WITH changed AS (
    UPDATE retention.enrollment e
      SET due_at = as_of, finished_at = NULL, outcome = NULL, reason = NULL, error_code = NULL
      WHERE e.enrollment_id = ANY (chosen) RETURNING e.enrollment_id)
  SELECT coalesce(array_agg(c.enrollment_id), '{}') INTO restarted FROM changed c;
  RETURN restarted;
END
$$;
COMMENT ON FUNCTION retention._retry_enrollments(retention.flow, timestamptz, timestamptz) IS
  'Has failed enrollments of a flow go on where they failed. Returns them.';

CREATE TYPE retention.failed_message AS (
  message_id    bigint,
  enrollment_id bigint,
  node_id       integer,
  written_by    integer,
  customer_id   text,
  address       text,
  context       jsonb,
  is_rendered   boolean,
  lacks_code    boolean
);
COMMENT ON TYPE retention.failed_message IS
  'A message in error, or dead: the node that writes it now, and the one that did; whether its text can stay, and whether its code was taken back.';

CREATE OR REPLACE FUNCTION retention._failed_messages(flow retention.flow, since timestamptz)
  RETURNS retention.failed_message[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(
    SELECT ROW (m.message_id, m.enrollment_id, coalesce(p.node_id, m.node_id), m.node_id,
                m.customer_id, m.address, m.context, m.state = 'dead' AND NOT lost.is_so,
                lost.is_so)::retention.failed_message
    FROM retention.message m JOIN retention.enrollment e USING (enrollment_id)
    LEFT JOIN retention.flow_node p
      ON (p.flow_id, p.version, p.node, p.type) = (m.flow_id, flow.version, m.node, 'message')
      AND p.config ->> 'channel' = m.channel
    LEFT JOIN retention.message_status s ON (s.flow_id, s.node) = (m.flow_id, m.node),
    LATERAL (SELECT m.context #>> '{coupon,code}' IS NOT NULL AND NOT EXISTS (
               SELECT FROM retention.coupon k WHERE k.enrollment_id = m.enrollment_id
                 AND k.code = m.context #>> '{coupon,code}') AS is_so) AS lost
    WHERE m.flow_id = flow.flow_id AND m.state IN ('error', 'dead') AND m.customer_id IS NOT NULL
      AND coalesce(e.outcome NOT IN ('archived', 'merged', 'forgotten'), true)
      AND coalesce(s.status, p.config ->> 'status', 'live') <> 'draft'
      -- It died when it would have had to wait again.
      AND coalesce(_failed_messages.since <= CASE m.state WHEN 'error' THEN m.queued_at
                     ELSE m.ready_at - retention._retry_after(m.attempts, '6 hours') END, true)
    ORDER BY m.message_id FOR UPDATE OF m);
END
$$;
COMMENT ON FUNCTION retention._failed_messages(retention.flow, timestamptz) IS
  'Messages of a flow that have failed since a time: those that could not be rendered, and the dead ones.';

CREATE OR REPLACE FUNCTION retention._revive(message_ids bigint[], as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  channels text[];
  asked retention.address_grant[];
BEGIN
  WITH revived AS (
    UPDATE retention.message m
      SET state = 'ready', reason = NULL, attempts = 0, ready_at = as_of, last_error = NULL,
          -- As late as when it was written, however often it was revived.
          expires_at = as_of + least(m.expires_at - m.queued_at,
            retention._lateness(n.config))
      FROM retention.flow_node n JOIN retention.flow_version v
        ON (v.flow_id, v.version) = (n.flow_id, n.version)
      WHERE m.message_id = ANY (message_ids) AND n.node_id = m.node_id
      RETURNING m.*, retention._address_apart(n.config, v.document) AS address_apart)
  SELECT array_agg(DISTINCT r.channel),
         array_agg(retention._asked_grant(r.flow_id, r.node, r.address, r.customer_id, r.message_id,
                                          r.queued_at, r.address_apart))
           FILTER (WHERE r.address_apart IS NOT NULL)
    INTO channels, asked FROM revived r;
  PERFORM retention._one_per_address(asked);
  PERFORM pg_notify('retention_message', c) FROM unnest(channels) AS c;
END
$$;
COMMENT ON FUNCTION retention._revive(bigint[], timestamptz) IS
  'Has dead messages be ready once more, as they were rendered, and tells who listens.';

CREATE OR REPLACE FUNCTION retention._render_again(
    failed retention.failed_message[], flow_id integer, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  here record;
  queued retention.queued_message[];
BEGIN
  FOR here IN
    SELECT f.written_by, array_agg(f.enrollment_id) AS enrollment_ids
    FROM unnest(failed) AS f WHERE f.lacks_code GROUP BY 1 ORDER BY 1
  LOOP
    PERFORM retention._issue_again(here.written_by, here.enrollment_ids, as_of);
  END LOOP;
  SELECT array_agg(ROW (f.enrollment_id, flow_id, f.node_id, f.customer_id, as_of, NULL, f.address,
                        coalesce(f.context, '{}') || coalesce(code.shown, '{}'))
                     ::retention.queued_message ORDER BY f.message_id)
    INTO queued
    FROM unnest(failed) AS f
    LEFT JOIN LATERAL (
      SELECT jsonb_build_object('coupon', jsonb_build_object(
               'code', c.code, 'expires_at', c.expires_at)) AS shown
      FROM retention.coupon c WHERE f.lacks_code AND c.enrollment_id = f.enrollment_id
      ORDER BY c.issued_at DESC, c.node DESC LIMIT 1) AS code ON true
    WHERE NOT f.lacks_code OR code.shown IS NOT NULL;
  -- Written as if it were for the first time, by the rules that hold for all.
  DELETE FROM retention.message m USING unnest(queued) AS q, retention.flow_node n
    WHERE n.node_id = q.node_id AND (m.enrollment_id, m.node) = (q.enrollment_id, n.node);
  PERFORM retention._write_messages(queued, as_of);
END
$$;
COMMENT ON FUNCTION retention._render_again(retention.failed_message[], integer, timestamptz) IS
  'Renders messages anew from their contexts, with a new code where the one they had was taken back; those that get none stay as they are.';

CREATE OR REPLACE FUNCTION retention.retry(flow text, since timestamptz DEFAULT NULL)
  RETURNS TABLE (enrollments bigint, messages bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  as_of CONSTANT timestamptz := retention.now();
  target retention.flow := retention._require_flow(flow);
  restarted bigint[];
  failed retention.failed_message[];
BEGIN
  -- Not within an expression of a flow.
  PERFORM retention._caller(), retention._pin_settings();
  PERFORM retention._reject_unless(target.status <> 'archived',
    format('flow "%s" is archived', flow),
    format('SELECT retention.set_status(%L, ''live'');', flow),
    'object_not_in_prerequisite_state');
  restarted := retention._retry_enrollments(target, since, as_of);
  failed := retention._failed_messages(target, since);
  PERFORM retention._revive(
    ARRAY(SELECT f.message_id FROM unnest(failed) AS f WHERE f.is_rendered), as_of);
  PERFORM retention._render_again(
    ARRAY(SELECT f FROM unnest(failed) AS f WHERE NOT f.is_rendered), target.flow_id, as_of);
  -- Of those that could not be written after all.
  PERFORM retention._return_coupons(
    restarted || ARRAY(SELECT f.enrollment_id FROM unnest(failed) AS f));
  enrollments := cardinality(restarted);
  messages := (
    SELECT count(*) FROM unnest(failed) AS f JOIN retention.flow_node n ON n.node_id = f.written_by
    JOIN retention.message m ON (m.enrollment_id, m.node) = (f.enrollment_id, n.node)
    WHERE retention._may_reach(m.state));
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION retention.retry(text, timestamptz) IS
  'Once it is mended: has those whose enrollments in a flow ended with an error, since a time or ever, go on at the node where they failed, unless they have entered again meanwhile; renders messages anew that could not be rendered, with the template of now; and has dead ones be sent once more. Returns how many there were of each.';

-- One list of what is wrong.

CREATE TYPE retention.finding AS (
  severity   text,
  what       text,
  since      timestamptz,
  how_often  bigint,
  detail     text,
  what_to_do text
);
COMMENT ON TYPE retention.finding IS 'A row of health.';

CREATE OR REPLACE FUNCTION retention._problem_findings(reader name)
  RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.severity, format(k.what, p.name, p.node), min(p.happened_at), sum(p.occurrences)::bigint,
         retention._shown_error(
           (array_agg(p.message ORDER BY p.happened_at DESC NULLS LAST, p.message))[1], reader),
         format(k.what_to_do, p.name)
  FROM retention.problem p JOIN (VALUES
    ('node', 'error', 'customers wait at node "%2$s" of flow "%1$s"',
     'Mend what its expression names; it is tried again by itself.'),
    ('flow', 'error', 'nobody can enter flow "%1$s"',
     'Mend its trigger or entry filter; it is tried again by itself.'),
    ('segment', 'error', 'segment "%1$s" cannot be evaluated',
     'Mend its view; it is tried again by itself.'),
    ('metric', 'error', 'changes of metric "%1$s" cannot be processed',
     'Mend its sources; it is tried again by itself, and CALL retention.refresh(%1$L) reads all.'),
    ('entry', 'warning', 'the entry filter of flow "%1$s" fails for the moment',
     'It is tried again by itself.'),
    ('enrollment', 'warning', 'enrollments have failed at node "%2$s" of flow "%1$s"',
     'Mend the values or the expression, then SELECT * FROM retention.retry(%1$L);'))
    AS k (kind, severity, what, what_to_do) USING (kind)
  -- What belongs to an archived flow is over.
  WHERE NOT (p.kind IN ('node', 'flow', 'entry', 'enrollment')
             AND (SELECT f.status FROM retention.flow f WHERE f.flow = p.name) = 'archived')
  GROUP BY k.severity, k.what, k.what_to_do, p.name, p.node
$$;
COMMENT ON FUNCTION retention._problem_findings(name) IS
  'What retention.problem has of others than messages, for each flow and node, segment and metric.';

CREATE OR REPLACE FUNCTION retention._message_findings(reader name)
  RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.severity, format(k.what, f.flow, m.node), min(m.queued_at), count(*),
         retention._shown_error((array_agg(m.last_error ORDER BY m.queued_at DESC))[1], reader),
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
         format('SELECT retention.import_coupons(%L, ARRAY[...]);', p.pool)
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
                FROM retention.refresh_log l WHERE l.metric = m.metric) AS r
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
  'What is wrong, the worst first: errors stop something for all, warnings for some or soon, notes can wait. Since when, how many customers, messages, rows or codes it is about, and what to do. No row: all is well. scripts/health.sh asks it for a monitor.';

-- Whom a flow can reach: told when it goes live.

CREATE OR REPLACE FUNCTION retention._message_kinds(flow retention.flow)
  RETURNS TABLE (name text, expression text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- Each channel once, and once more where it has messages that need no consent besides others.
  SELECT m.channel || CASE WHEN m.is_transactional THEN ', transactional' ELSE '' END,
         format('CASE WHEN t.rows > 1 THEN ''several contacts'' ELSE %s END',
           retention._unsendable(quote_literal(c.channel), address.expression,
             '(t.contact).' || c.consent, m.is_transactional::text, 'false',
             CASE WHEN EXISTS (SELECT FROM retention.suppression s WHERE s.channel = c.channel)
                  THEN retention._suppressed(quote_literal(c.channel), address.expression,
                         retention._country('(t.contact).country', m.metric)) ELSE 'false' END))
  FROM (SELECT DISTINCT n.config ->> 'channel' AS channel,
               coalesce((n.config -> 'transactional')::boolean, false) AS is_transactional,
               coalesce(v.document ->> 'metric', 'orders') AS metric
        FROM retention.flow_node n JOIN retention.flow_version v USING (flow_id, version)
        LEFT JOIN retention.message_status s USING (flow_id, node)
        WHERE (n.flow_id, n.version) = ((flow).flow_id, (flow).version) AND n.type = 'message'
          AND coalesce(s.status, n.config ->> 'status', 'live') <> 'draft') AS m
  JOIN retention._channels() AS c ON c.channel = m.channel AND c.address IS NOT NULL,
  LATERAL (SELECT '(t.contact).' || c.address AS expression) AS address
$$;
COMMENT ON FUNCTION retention._message_kinds(retention.flow) IS
  'The channels of a flow''s messages that have addresses, and the expression for why a contact t cannot be written to by each.';

CREATE OR REPLACE FUNCTION retention._count_reach(flow retention.flow)
  RETURNS TABLE (name text, contacts bigint, reachable bigint, others text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names text[];
  expressions text;
BEGIN
  SELECT array_agg(k.name ORDER BY k.name), string_agg(k.expression, ', ' ORDER BY k.name)
    INTO names, expressions FROM retention._message_kinds(flow) AS k;
  IF names IS NULL THEN
    RETURN;
  END IF;
  -- Contacts are scanned once: those with the same reasons on all channels are one row.
  RETURN QUERY EXECUTE format($query$
    WITH same AS MATERIALIZED (
      SELECT t.reasons, count(*) AS contacts
      FROM (SELECT ARRAY[%s]::text[] AS reasons FROM (%s) AS t) AS t GROUP BY t.reasons),
    reason AS (
      SELECT k.number, k.name, s.reasons[k.number] AS reason, sum(s.contacts)::bigint AS contacts
      FROM unnest($1) WITH ORDINALITY AS k (name, number) LEFT JOIN same s ON true GROUP BY 1, 2, 3)
    SELECT r.name, coalesce(sum(r.contacts), 0)::bigint,
           coalesce(sum(r.contacts) FILTER (WHERE r.reason IS NULL), 0)::bigint,
           string_agg(format('%%s: %%s', r.reason, r.contacts), ', '
                      ORDER BY r.contacts DESC, r.reason) FILTER (WHERE r.reason IS NOT NULL)
    FROM reason r GROUP BY r.number, r.name ORDER BY r.number$query$, expressions,
    retention._contact_query(NULL))
    USING names;
END
$$;
COMMENT ON FUNCTION retention._count_reach(retention.flow) IS
  'How many contacts there are for each channel of a flow, how many can be written to, and why others cannot.';

CREATE OR REPLACE FUNCTION retention._tell_reach(flow_id integer) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := (SELECT f FROM retention.flow f WHERE f.flow_id = _tell_reach.flow_id);
  failure text;
BEGIN
  IF retention._tells() THEN
    PERFORM retention._pin_settings();
    PERFORM retention._tell(
        format('flow "%s": %s of %s contacts can be written to by %s%s', target.flow, r.reachable,
               r.contacts, r.name, '; ' || r.others), 'notice')
      FROM retention._count_reach(target) AS r;
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT;
  IF retention._ends_call(SQLSTATE) THEN
    RAISE;
  END IF;
  RAISE WARNING 'who can be written to by flow "%" could not be counted: %', target.flow, failure
    USING HINT = 'Its status is set all the same.';
END
$$;
COMMENT ON FUNCTION retention._tell_reach(integer) IS
  'Tells how many contacts a flow can write to. A failure is a warning.';
