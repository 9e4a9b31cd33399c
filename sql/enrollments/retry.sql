-- Failures that have been mended: enrollments and messages go on.

CREATE OR REPLACE FUNCTION retention._travellers_of(enrollment_ids bigint[], as_of timestamptz)
  RETURNS retention._traveller[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(
    SELECT retention._with_fields(retention._as_traveller(e, false),
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
  'The last coupon node that everybody at a node has come through; null: there is none.';

CREATE OR REPLACE FUNCTION retention._issue_again(
    at integer, enrollment_ids bigint[], as_of timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  issuer retention.flow_node := retention._coupon_before(at);
  known record;
  served retention._traveller[];
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
  'Issues codes anew to enrollments at a node, from which they were taken back, where messages '
  'show them. Returns those for whom there is none.';

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
  'Enrollments that have ended with an error since a time, and whose customers have not entered '
  'again.';

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
  'Those of some enrollments, which failed as soon as they had entered, whom the entry filter '
  'does not let in.';

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

CREATE OR REPLACE FUNCTION retention._failed_messages(flow retention.flow, since timestamptz)
  RETURNS retention._failed_message[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(
    SELECT ROW (m.message_id, m.enrollment_id, coalesce(p.node_id, m.node_id), m.node_id,
                m.customer_id, m.address, m.context, m.state = 'dead' AND NOT lost.is_so,
                lost.is_so)::retention._failed_message
    FROM retention.message m JOIN retention.enrollment e USING (enrollment_id)
    LEFT JOIN retention.flow_node p
      ON (p.flow_id, p.version, p.node, p.type) = (m.flow_id, flow.version, m.node, 'message')
      AND p.config ->> 'channel' = m.channel
    JOIN retention.flow_node w ON w.node_id = m.node_id,
    LATERAL (SELECT m.context #>> '{coupon,code}' IS NOT NULL AND NOT EXISTS (
               SELECT FROM retention.coupon k WHERE k.enrollment_id = m.enrollment_id
                 AND k.code = m.context #>> '{coupon,code}') AS is_so) AS lost
    WHERE m.flow_id = flow.flow_id AND m.state IN ('error', 'dead') AND m.customer_id IS NOT NULL
      AND coalesce(e.outcome NOT IN ('archived', 'merged', 'forgotten'), true)
      AND w.status <> 'draft'
      -- It died when it would have had to wait again.
      AND coalesce(_failed_messages.since <= CASE m.state WHEN 'error' THEN m.queued_at
                     ELSE m.ready_at - retention._retry_after(m.attempts, '6 hours') END, true)
    ORDER BY m.message_id FOR UPDATE OF m);
END
$$;
COMMENT ON FUNCTION retention._failed_messages(retention.flow, timestamptz) IS
  'Messages of a flow that have failed since a time: those that could not be rendered, and the '
  'dead ones.';

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
    failed retention._failed_message[], flow_id integer, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  here record;
  queued retention._queued_message[];
BEGIN
  FOR here IN
    SELECT f.written_by, array_agg(f.enrollment_id) AS enrollment_ids
    FROM unnest(failed) AS f WHERE f.lacks_code GROUP BY 1 ORDER BY 1
  LOOP
    PERFORM retention._issue_again(here.written_by, here.enrollment_ids, as_of);
  END LOOP;
  SELECT array_agg(ROW (f.enrollment_id, flow_id, f.node_id, f.customer_id, as_of, NULL, f.address,
                        coalesce(f.context, '{}') || coalesce(code.shown, '{}'))
                     ::retention._queued_message ORDER BY f.message_id)
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
COMMENT ON FUNCTION retention._render_again(retention._failed_message[], integer, timestamptz) IS
  'Renders messages anew from their contexts, with a new code where the one they had was taken '
  'back; those that get none stay as they are.';

CREATE OR REPLACE FUNCTION retention._is_held(
    node retention.flow_node, since timestamptz, due_at timestamptz)
  RETURNS boolean
  LANGUAGE sql IMMUTABLE
  -- Others wait there as the node means it, such as for the end of a delay.
  RETURN (node).error IS NOT NULL AND due_at IS NOT NULL
         AND (since IS NULL OR (node).type = 'wait_for'
              OR due_at = (node).error_at + retention._retry_after((node).failures));
COMMENT ON FUNCTION retention._is_held(retention.flow_node, timestamptz, timestamptz) IS
  'Whether an enrollment waits at its node because an expression cannot be run.';

CREATE OR REPLACE FUNCTION retention._end_waiting(
    flow retention.flow, since timestamptz, as_of timestamptz)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  nodes integer[] := ARRAY(
    SELECT n.node_id FROM retention.flow_node n
    WHERE n.flow_id = flow.flow_id AND n.error IS NOT NULL
      AND coalesce(n.error_at >= _end_waiting.since, true));
  nobody_enters CONSTANT boolean := flow.error IS NOT NULL
    AND coalesce(flow.error_at >= _end_waiting.since, true);
  held bigint;
  listed bigint;
BEGIN
  UPDATE retention.enrollment e SET due_at = least(e.due_at, as_of)
    FROM retention.flow_node n
    WHERE n.node_id = ANY (nodes) AND e.node_id = n.node_id AND e.flow_id = flow.flow_id
      AND retention._is_held(n, e.since, e.due_at);
  GET DIAGNOSTICS held = ROW_COUNT;
  -- What still cannot be run has an error again after the next tick.
  UPDATE retention.flow_node n
    SET error = NULL, error_code = NULL, error_at = NULL, failures = 0
    WHERE n.node_id = ANY (nodes);
  UPDATE retention.flow f SET error = NULL, error_code = NULL, error_at = NULL, failures = 0
    WHERE f.flow_id = flow.flow_id AND nobody_enters;
  UPDATE retention.flow_entry e SET due_at = least(e.due_at, as_of)
    WHERE e.flow_id = flow.flow_id
      AND (nobody_enters OR e.error IS NOT NULL AND coalesce(
             e.due_at - retention._retry_after(e.failures) >= _end_waiting.since, true));
  GET DIAGNOSTICS listed = ROW_COUNT;
  RETURN held + listed + CASE WHEN nobody_enters THEN retention._count_stream(flow) ELSE 0 END;
END
$$;
COMMENT ON FUNCTION retention._end_waiting(retention.flow, timestamptz, timestamptz) IS
  'Has customers be tried now who wait at nodes of a flow, or to enter it, since what failed '
  'there. Returns their number.';

CREATE OR REPLACE FUNCTION retention.retry(flow text, since timestamptz DEFAULT NULL)
  RETURNS TABLE (enrollments bigint, messages bigint, waiting bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  as_of CONSTANT timestamptz := retention.now();
  target retention.flow := retention._require_flow(flow);
  restarted bigint[];
  failed retention._failed_message[];
BEGIN
  -- Not within an expression of a flow.
  PERFORM retention._caller(), retention._pin_settings();
  PERFORM retention._check_clock(since, 'since') WHERE since IS NOT NULL;
  PERFORM retention._reject_unless(target.status <> 'archived',
    format('flow "%s" is archived', flow),
    format('SELECT retention.set_status(%L, ''live'');', flow),
    'object_not_in_prerequisite_state');
  waiting := retention._end_waiting(target, since, as_of);
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
  'Once it is mended: has those whose enrollments in a flow ended with an error, since a time or '
  'ever, go on at the node where they failed, unless they have entered again meanwhile; renders '
  'messages anew that could not be rendered, with the template of now; and has dead ones be sent '
  'once more. Whoever waits at a node, or to enter, where an expression could not be run is tried '
  'with the next tick, rather than after some time. Returns how many there were of each.';
