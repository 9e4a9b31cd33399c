-- Statuses of flows and of messages; migrating enrollments to a new version.

CREATE OR REPLACE FUNCTION retention._archive(flow_id integer) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- As in _hold_messages.
  UPDATE retention.message m SET state = 'suppressed', reason = 'archived'
    FROM (SELECT r.message_id FROM retention.message r
          WHERE r.flow_id = _archive.flow_id AND r.state IN ('held', 'ready')
            FOR UPDATE SKIP LOCKED) AS chosen
    WHERE m.message_id = chosen.message_id;
  UPDATE retention.enrollment e SET due_at = NULL, finished_at = retention.now(),
      outcome = 'archived'
    WHERE e.flow_id = _archive.flow_id AND e.due_at IS NOT NULL;
  SELECT retention._return_coupons(array_agg(c.enrollment_id))
    FROM retention.coupon c JOIN retention.enrollment e USING (enrollment_id)
    WHERE e.flow_id = _archive.flow_id;
  DELETE FROM retention.flow_entry e WHERE e.flow_id = _archive.flow_id;
$$;
COMMENT ON FUNCTION retention._archive(integer) IS
  'Ends a flow''s enrollments, and its messages that nobody has claimed.';

CREATE OR REPLACE FUNCTION retention._set_message_status(
    target retention.flow, status text, node text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(status IN ('draft', 'manual', 'live'),
    format('status of a message must be draft, manual or live, not %s',
           coalesce('"' || status || '"', 'null')));
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.flow_node n
                                           WHERE (n.flow_id, n.node, n.type) = (target.flow_id,
                                               _set_message_status.node, 'message')),
    format('flow "%s" has no message "%s"', target.flow, node),
    'publish makes the nodes of a draft; describe_flow shows them.', 'undefined_object');
  UPDATE retention.flow_node n SET status = _set_message_status.status
  WHERE (n.flow_id, n.node, n.type) = (target.flow_id, _set_message_status.node, 'message');
END
$$;
COMMENT ON FUNCTION retention._set_message_status(retention.flow, text, text) IS
  'Sets the status of one message of a flow, in all versions.';

CREATE OR REPLACE FUNCTION retention.set_status(flow text, status text, node text DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
BEGIN
  IF node IS NOT NULL THEN
    PERFORM retention._set_message_status(target, status, node);
    RETURN;
  END IF;
  PERFORM retention._reject_unless(status IN ('draft', 'manual', 'live', 'paused', 'archived'),
    format('status of a flow must be draft, manual, live, paused or archived, not %s',
           coalesce('"' || status || '"', 'null')));
  PERFORM retention._reject_unless(target.version IS NOT NULL OR status = 'draft',
    format('flow "%s" has not been published', flow), format('SELECT retention.publish(%L);', flow),
    'object_not_in_prerequisite_state');
  PERFORM retention._check_home() WHERE status IN ('live', 'manual');
  UPDATE retention.flow f SET status = set_status.status WHERE f.flow_id = target.flow_id;
  IF status IN ('live', 'manual') AND target.status NOT IN ('live', 'manual') THEN
    INSERT INTO retention.flow_home (here, decided_at) VALUES (retention._here(), retention.now())
    ON CONFLICT DO NOTHING;
    PERFORM retention._start_trigger(target.flow_id), retention._release_messages(target.flow_id);
    -- Who has changed meanwhile may have to exit, or has what they wait for.
    PERFORM retention._note_changed(ARRAY(SELECT DISTINCT e.customer_id FROM retention.enrollment e
                                          WHERE e.flow_id = target.flow_id
                                            AND e.due_at > retention.now()));
  ELSIF status IN ('paused', 'draft') THEN
    PERFORM retention._hold_messages(target.flow_id);
  ELSIF status = 'archived' THEN
    PERFORM retention._archive(target.flow_id);
  END IF;
  PERFORM retention._tell_reach(target.flow_id) WHERE status IN ('live', 'manual');
END
$$;
COMMENT ON FUNCTION retention.set_status(text, text, text) IS
  'Sets the status of a flow: draft, manual, live, paused or archived; or, with a node, of one '
  'message: draft, manual or live. Of a flow that is live or manual by now it tells how many '
  'contacts can be written to.';

CREATE OR REPLACE FUNCTION retention.migrate_flow(
    flow text, from_version integer, nodes jsonb DEFAULT '{}')
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
  unmapped text;
  migrated bigint;
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.flow_version v
                                           WHERE (v.flow_id, v.version) = (target.flow_id,
                                               from_version)),
    format('flow "%s" has no version %s', flow, coalesce(from_version::text, 'null')),
    'retention.flow_version lists those there are.', 'undefined_object');
  PERFORM retention._reject_unless(jsonb_typeof(nodes) = 'object',
                                   'nodes must be an object: {"old node": "new node"}');
  SELECT string_agg(format('"%s"', old.node), ', ' ORDER BY old.node) INTO unmapped
    FROM retention.flow_node old
    WHERE (old.flow_id, old.version) = (target.flow_id, from_version)
      AND EXISTS (SELECT FROM retention.enrollment e
                  WHERE e.node_id = old.node_id AND e.flow_id = old.flow_id
                    AND e.due_at IS NOT NULL)
      AND NOT EXISTS (SELECT FROM retention.flow_node new
                      WHERE (new.flow_id, new.version, new.node) = (target.flow_id, target.version,
                          coalesce(nodes ->> old.node, old.node)));
  PERFORM retention._reject_unless(unmapped IS NULL,
                                   format('customers wait at nodes that version %s of flow "%s" '
                                          'has not: %s', target.version, flow, unmapped),
    'Map each to a node of that version: nodes => ''{"old node": "new node"}''.');
  UPDATE retention.enrollment e
    SET node_id = new.node_id, since = CASE WHEN new.type = old.type THEN e.since END,
        by_settings = CASE WHEN new.config -> 'condition' = old.config -> 'condition'
                           THEN e.by_settings END
    FROM retention.flow_node old
    JOIN retention.flow_node new ON new.flow_id = old.flow_id AND new.version = target.version
      AND new.node = coalesce(nodes ->> old.node, old.node)
    WHERE (old.flow_id, old.version) = (target.flow_id, from_version) AND e.flow_id = target.flow_id
      AND e.node_id = old.node_id AND e.due_at IS NOT NULL;
  GET DIAGNOSTICS migrated = ROW_COUNT;
  RETURN migrated;
END
$$;
COMMENT ON FUNCTION retention.migrate_flow(text, integer, jsonb) IS
  'Moves those who are in a version of a flow to its published one: from each node to the one of '
  'the same name, or that nodes maps it to. When they are due stays as it is, and no message that '
  'was written is written again. Returns their number.';

CREATE OR REPLACE FUNCTION retention.drop_flow(flow text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
BEGIN
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.enrollment e
                                               WHERE e.flow_id = target.flow_id),
    format('flow "%s" has enrollments, which tell what customers were sent', flow),
    format('SELECT retention.set_status(%L, ''archived'');', flow), 'object_in_use');
  DELETE FROM retention.flow_entry e WHERE e.flow_id = target.flow_id;
  DELETE FROM retention.flow_node n WHERE n.flow_id = target.flow_id;
  DELETE FROM retention.flow_version v WHERE v.flow_id = target.flow_id;
  DELETE FROM retention.flow f WHERE f.flow_id = target.flow_id;
END
$$;
COMMENT ON FUNCTION retention.drop_flow(text) IS 'Removes a flow that nobody has ever entered.';
