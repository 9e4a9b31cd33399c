-- Creating, publishing and dropping flows.

CREATE OR REPLACE FUNCTION retention._find_flow(flow text) RETURNS retention.flow
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_flow retention.flow;
BEGIN
  SELECT * INTO found_flow FROM retention.flow f WHERE f.flow = _find_flow.flow;
  PERFORM retention._reject_unless(FOUND, format('flow %s does not exist',
                                                 coalesce('"' || flow || '"', 'null')),
    'create_flow makes it; retention.flow lists those there are.', 'undefined_object');
  RETURN found_flow;
END
$$;
COMMENT ON FUNCTION retention._find_flow(text) IS 'A flow, or an error.';

CREATE OR REPLACE FUNCTION retention._require_flow(flow text) RETURNS retention.flow
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Waits for ticks that are at it, and has those that come wait.
  PERFORM FROM retention.flow f WHERE f.flow = _require_flow.flow FOR UPDATE;
  RETURN retention._find_flow(flow);
END
$$;
COMMENT ON FUNCTION retention._require_flow(text) IS
  'A flow, which nobody else changes until the transaction ends, or an error.';

CREATE OR REPLACE FUNCTION retention._require_valid(document jsonb, author regrole) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problems text[] := ARRAY(SELECT concat_ws(': ', nullif(p.path, ''), p.problem)
                           FROM retention._problems(document, author) AS p);
BEGIN
  PERFORM retention._reject_unless(problems = '{}', format('flow document: %s', problems[1]),
    'docs/flow_document.md describes the document; validate_flow lists the problems as rows.',
    -- One alone has been told.
    detail => CASE WHEN cardinality(problems) > 1
                   THEN E'Every problem:\n' || array_to_string(problems, E'\n') ELSE '' END);
END
$$;
COMMENT ON FUNCTION retention._require_valid(jsonb, regrole) IS
  'An error that names every problem of a document, where it has any.';

CREATE OR REPLACE FUNCTION retention.create_flow(document jsonb) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  author regrole := retention._caller();
BEGIN
  PERFORM retention._require_valid(document, author);
  INSERT INTO retention.flow AS f (flow, owner, draft)
    VALUES (document ->> 'name', pg_get_userbyid(author), document)
    ON CONFLICT (flow) DO UPDATE SET draft = excluded.draft WHERE retention._may_act_as(f.owner_id);
  PERFORM retention._reject_unless(FOUND, format('flow "%s" belongs to another role',
                                                 document ->> 'name'),
    'Its expressions run with its owner''s rights: only they can change them. set_flow_owner gives '
    'it to another role.',
    'insufficient_privilege');
  RETURN document ->> 'name';
END
$$;
COMMENT ON FUNCTION retention.create_flow(jsonb) IS
  'Checks a flow document as a whole and stores it as the draft of the flow that it names, which '
  'it makes where there is none. What runs goes on as published: publish makes a version of the '
  'draft. Returns the name.';

CREATE OR REPLACE FUNCTION retention._may_act_as(role oid) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- What belongs to nobody any more is taken over by a superuser.
  SELECT CASE WHEN EXISTS (SELECT FROM pg_roles WHERE oid = role)
              THEN pg_has_role(retention._caller(), role, 'USAGE')
              ELSE (SELECT rolsuper FROM pg_roles WHERE oid = retention._caller()) END
$$;
COMMENT ON FUNCTION retention._may_act_as(oid) IS 'Whether the caller has the rights of a role.';

CREATE OR REPLACE FUNCTION retention._find_owner() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.flow');
  NEW.owner_id := coalesce(to_regrole(quote_ident(NEW.owner)), 0);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._find_owner() IS
  'Trigger: a new row''s owner is the role of its name. A restored dump has the number of one that '
  'was elsewhere, which here may be another''s.';

CREATE OR REPLACE FUNCTION retention._follow_owners() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE retention.flow f SET owner = r.rolname
    FROM pg_roles r WHERE r.oid = f.owner_id AND r.rolname <> f.owner;
END
$$;
COMMENT ON FUNCTION retention._follow_owners() IS
  'Has flows show the names that their owners have now.';

CREATE OR REPLACE FUNCTION retention.set_flow_owner(flow text, role regrole) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
BEGIN
  PERFORM retention._check_role(role);
  PERFORM retention._reject_unless(retention._may_act_as(role),
                                   format('no right to act as %s', coalesce(role::text, 'null')),
    'The flow''s expressions will run with that role''s rights: be a member of it.',
    'insufficient_privilege');
  UPDATE retention.flow f SET owner = pg_get_userbyid(role) WHERE f.flow_id = target.flow_id;
END
$$;
COMMENT ON FUNCTION retention.set_flow_owner(text, regrole) IS
  'Has a flow''s expressions run with the rights of another role, which the caller is a member '
  'of: read them before.';

CREATE OR REPLACE FUNCTION retention._status_that_was_set(flow_id integer, node text)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(n.status, coalesce(n.config ->> 'status', 'live')) FROM retention.flow_node n
  WHERE (n.flow_id, n.node) = (_status_that_was_set.flow_id, _status_that_was_set.node)
  ORDER BY n.version DESC LIMIT 1
$$;
COMMENT ON FUNCTION retention._status_that_was_set(integer, text) IS
  'The status of a message where set_status has changed it from what the document said.';

CREATE OR REPLACE FUNCTION retention._write_nodes(flow_id integer, version integer, document jsonb)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  zone text := format('retention._zone(person.time_zone, %L)', retention._flow_zone(document));
BEGIN
  -- Numbers ascend along every way, so that a tick passes each node once.
  INSERT INTO retention.flow_node (flow_id, version, node, type, config, targets, branch, due,
                                   payload, status)
    SELECT _write_nodes.flow_id, _write_nodes.version, n.element ->> 'id', n.element ->> 'type',
           n.element, '{}', c.branch, c.due, c.payload,
           CASE n.element ->> 'type' WHEN 'message' THEN coalesce(
             retention._status_that_was_set(_write_nodes.flow_id, n.element ->> 'id'),
             n.element ->> 'status', 'live') END
    FROM retention._elements(document -> 'nodes') AS n
    JOIN retention._document_order(document) AS o ON o.node = n.element ->> 'id',
    LATERAL retention._compile_node(document, n.element, zone) AS c
    ORDER BY o.depth, n.number;
  UPDATE retention.flow_node n SET targets = edge.targets
    FROM (SELECT e.source, array_agg(t.node_id ORDER BY e.number) AS targets
          FROM retention._document_edges(document) AS e
          LEFT JOIN retention.flow_node t
            ON (t.flow_id, t.version, t.node) = (_write_nodes.flow_id, _write_nodes.version,
                                                 e.target)
          GROUP BY e.source) AS edge
    WHERE (n.flow_id, n.version, n.node) = (_write_nodes.flow_id, _write_nodes.version,
                                            edge.source);
END
$$;
COMMENT ON FUNCTION retention._write_nodes(integer, integer, jsonb) IS
  'Compiles the nodes of a version.';

CREATE OR REPLACE FUNCTION retention._check_events(
    kind text, metric text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(e.problem IS NULL, e.problem, e.way_out,
                                   'object_not_in_prerequisite_state')
    FROM retention._events_problem(kind, metric) AS e;
END
$$;
COMMENT ON FUNCTION retention._check_events(text, text) IS
  'An error where orders or refunds of a metric would start a flow, and none of them is recorded.';

CREATE OR REPLACE FUNCTION retention.publish(flow text) RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  published retention.flow := retention._require_flow(flow);
  current jsonb := (SELECT document FROM retention.flow_version v
                    WHERE v.flow_id = published.flow_id AND v.version = published.version);
  number integer := coalesce(published.version, 0) + 1;
BEGIN
  IF current = published.draft THEN
    RETURN published.version;
  END IF;
  PERFORM retention._pin_settings();
  PERFORM retention._require_valid(published.draft, published.owner_id::regrole);
  PERFORM retention._check_events(published.draft #>> '{trigger,type}',
                                  coalesce(published.draft ->> 'metric', 'orders'));
  INSERT INTO retention.flow_version VALUES (published.flow_id, number, published.draft,
                                             retention.now());
  PERFORM retention._write_nodes(published.flow_id, number, published.draft);
  UPDATE retention.flow f SET version = number WHERE f.flow_id = published.flow_id;
  IF published.status IN ('live', 'manual') AND (current -> 'trigger',
                                                 retention._flow_zone(current))
                                                   IS DISTINCT FROM (published.draft -> 'trigger',
                                                       retention._flow_zone(published.draft)) THEN
    PERFORM retention._start_trigger(published.flow_id);
  END IF;
  RETURN number;
END
$$;
COMMENT ON FUNCTION retention.publish(text) IS
  'Makes an immutable version of a flow''s draft, for those who enter from now on; whoever is in '
  'the flow finishes the version that they started. Publishing an unchanged draft does nothing. '
  'Returns the number of the version.';
