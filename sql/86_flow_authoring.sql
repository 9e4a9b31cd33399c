-- Authoring: from a document to a published version, its nodes compiled into expressions.

CREATE OR REPLACE FUNCTION retention._literal(value text, type text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s::%s', quote_nullable(value), type)
$$;
COMMENT ON FUNCTION retention._literal(text, text) IS 'A constant of a type, for an expression.';

CREATE OR REPLACE FUNCTION retention._record(columns text[]) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN columns = '{}' THEN '''{}''::jsonb' ELSE format('(SELECT to_jsonb(v) FROM (SELECT %s) AS v)', array_to_string(columns, ', ')) END
$$;
COMMENT ON FUNCTION retention._record(text[]) IS 'The expression for an object of these "expression AS name".';

CREATE OR REPLACE FUNCTION retention._named_expressions(expressions jsonb) RETURNS text[]
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(format(E'(\n%s\n) AS %I', value, key) ORDER BY key), '{}') FROM jsonb_each_text(coalesce(expressions, '{}'))
$$;
COMMENT ON FUNCTION retention._named_expressions(jsonb) IS 'An object of expressions as a list for SELECT.';

CREATE OR REPLACE FUNCTION retention._person_record(names text[]) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._record(coalesce(array_agg(format('%s AS %I',
    CASE WHEN n IN ('customer_id', 'properties') THEN format('person.%I', n)
         WHEN c.origin = 'contact' THEN format('person.%I', n)
         WHEN c.origin = 'profile' THEN format('coalesce(person.properties -> %L, to_jsonb(person.%I))', n, n)
         ELSE format('person.properties -> %L', n) END, n) ORDER BY n), '{}'))
  FROM unnest(names) AS n LEFT JOIN retention._person_columns() c ON c.name = n
$$;
COMMENT ON FUNCTION retention._person_record(text[]) IS 'The expression for what templates see as person, of the names that they use.';

CREATE OR REPLACE FUNCTION retention._context_expression(document jsonb, node jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH used AS MATERIALIZED (
    SELECT DISTINCT n.object, n.name
    FROM (VALUES ('subject'), ('body'), ('text'), ('url')) AS t (key), retention._template_names(node ->> t.key) AS n)
  SELECT retention._record(ARRAY(
    SELECT format('%s AS %I', part.expression, part.object)
    FROM (VALUES
      ('person', retention._person_record(ARRAY(SELECT name FROM used WHERE object = 'person' AND name IS NOT NULL))),
      ('event', 'person.event'),
      ('coupon', '(SELECT jsonb_build_object(''code'', c.code, ''expires_at'', c.expires_at) FROM retention.coupon c
                   WHERE c.enrollment_id = (person.traveller).enrollment_id ORDER BY c.issued_at DESC, c.node DESC LIMIT 1)'),
      ('data', retention._record(retention._named_expressions(node -> 'data'))),
      ('flow', retention._literal(jsonb_build_object('name', document -> 'name')::text, 'jsonb')),
      ('message', retention._literal(jsonb_build_object('id', node -> 'id')::text, 'jsonb'))) AS part (object, expression)
    WHERE part.object IN (SELECT object FROM used) ORDER BY part.object))
$$;
COMMENT ON FUNCTION retention._context_expression(jsonb, jsonb) IS 'The expression for what a message''s templates see: no more than they use.';

CREATE OR REPLACE FUNCTION retention._compile_message(flow_id integer, document jsonb, node jsonb, zone text, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '1',
    CASE WHEN document ? 'quiet_hours' AND NOT is_transactional THEN
      format('CASE WHEN made.payload ->> ''reason'' IS NULL THEN retention._quiet_until($3, %L, %L, %s) END',
             document #>> '{quiet_hours,from}', document #>> '{quiet_hours,until}', zone) END,
    format($sql$
      (SELECT jsonb_build_object('reason', m.reason, 'address', %1$s, 'context', CASE WHEN m.reason IS NULL THEN %2$s END)
       FROM (SELECT CASE
           WHEN (person.traveller).is_holdout THEN 'holdout'
           WHEN coalesce((SELECT s.status FROM retention.message_status s WHERE s.flow_id = %3$s AND s.node = %4$L), %5$L) = 'draft' THEN 'draft'
           ELSE %6$s
         END AS reason OFFSET 0) AS m)$sql$,
      CASE WHEN c.address IS NULL THEN 'NULL::text'
           ELSE format('retention._normal_address(%L, person.%I, %s)', c.channel, c.address, country) END,
      retention._context_expression(document, node), flow_id, node ->> 'id',
      coalesce(node ->> 'status', 'live'),
      retention._unsendable(quote_literal(c.channel), coalesce('person.' || c.address, '''url'''), coalesce('person.' || c.consent, 'true'),
        is_transactional::text, format('$3 > (person.traveller).due_at + %s', retention._literal(coalesce(node ->> 'lateness', '1 day'), 'interval')),
        -- Looked up before, with the engine's rights.
        '(person.traveller).reason IS NOT DISTINCT FROM ''suppression list'''))
  FROM retention._channels() c, (SELECT coalesce((node -> 'transactional')::boolean, false) AS is_transactional) AS flag,
       retention._country('person.country', coalesce(document ->> 'metric', 'orders')) AS country
  WHERE c.channel = node ->> 'channel'
$$;
COMMENT ON FUNCTION retention._compile_message(integer, jsonb, jsonb, text) IS
  'Compiles a message: why it may not be sent or what it is rendered with, and how long it waits for quiet hours to end.';

CREATE OR REPLACE FUNCTION retention._weekday_numbers(names jsonb) RETURNS integer[]
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(array_position(retention._weekdays(), e.element #>> '{}')) FROM retention._elements(names) AS e
$$;
COMMENT ON FUNCTION retention._weekday_numbers(jsonb) IS 'Names of weekdays as numbers, 1 for Monday; null for none.';

CREATE OR REPLACE FUNCTION retention._compile_delay(node jsonb, zone text, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '1',
    format('CASE WHEN (person.traveller).since IS NULL AND made.payload IS NULL THEN nullif(%s, $3) END',
      format(CASE WHEN node ?| '{at,weekdays}' THEN 'retention._next_local(%s, %s, %s, %s)' ELSE '%s' END,
        format('greatest(%s)', concat_ws(', ', '$3', CASE WHEN node ? 'for' THEN format('retention._add_local($3, %L, %s)', node ->> 'for', zone) END, moment)),
        retention._literal(node ->> 'at', 'time'), retention._literal(retention._weekday_numbers(node -> 'weekdays')::text, 'integer[]'), zone)),
    CASE WHEN moment IS NOT NULL THEN
      format($sql$CASE WHEN (person.traveller).since IS NULL THEN
               (SELECT CASE WHEN given.moment IS NULL THEN '{"error": "the time to wait for is null"}'::jsonb
                            WHEN given.moment = 'infinity'
                            THEN '{"error": "the time to wait for is infinite, or after the year 9999"}' END
                FROM (SELECT %s AS moment OFFSET 0) AS given) END$sql$, moment) END
  FROM (SELECT CASE WHEN node ? 'until' THEN format(E'retention._local_moment((\n%s\n), %s)', node ->> 'until', zone) END AS moment) AS given
$$;
COMMENT ON FUNCTION retention._compile_delay(jsonb, text) IS 'Compiles a delay.';

CREATE OR REPLACE FUNCTION retention._compile_wait(node jsonb, zone text, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'CASE WHEN made.payload = ''true'' THEN 1 ELSE 2 END',
    -- Who has waited was due now, or at the timeout before; who only passes, when they came.
    format('CASE WHEN made.payload = ''true'' OR %1$s <= $3 THEN CASE WHEN (person.traveller).since IS NOT NULL THEN least($3, %1$s) END
                 WHEN (person.traveller).since IS NOT NULL AND (person.traveller).due_at > $3 THEN (person.traveller).due_at
                 ELSE least(%1$s, $3 + interval ''1 day'') END',
      format('retention._add_local(person.since, %s, %s)', retention._literal(node ->> 'timeout', 'interval'), zone)),
    format(E'to_jsonb((\n%s\n) IS TRUE)', node ->> 'condition')
$$;
COMMENT ON FUNCTION retention._compile_wait(jsonb, text) IS 'Compiles a wait_for: looked at again after a day, at the timeout, and when the customer changes.';

CREATE OR REPLACE FUNCTION retention._compile_split(node jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('CASE %s ELSE %s END', string_agg(format(E'WHEN (\n%s\n) THEN %s', b.element ->> 'when', b.number + 1), ' ' ORDER BY b.number), count(*) + 1)
  FROM retention._elements(node -> 'branches') AS b
$$;
COMMENT ON FUNCTION retention._compile_split(jsonb) IS 'The expression for the branch of a split.';

CREATE OR REPLACE FUNCTION retention._compile_arms(flow text, node jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('(SELECT CASE %s END FROM retention.bucket(person.customer_id, %L) AS b)',
                string_agg(format('WHEN b < %s THEN %s', 100 * a.share, a.number + 1), ' ' ORDER BY a.number),
                flow || '/' || (node ->> 'id'))
  FROM (SELECT number, sum((element ->> 'share')::numeric) OVER (ORDER BY number) AS share FROM retention._elements(node -> 'arms')) AS a
$$;
COMMENT ON FUNCTION retention._compile_arms(text, jsonb) IS 'The expression for the arm of a random split: always the same for a customer.';

CREATE OR REPLACE FUNCTION retention._compile_coupon(node jsonb, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- _issue_coupons has said who went without.
  SELECT format('CASE WHEN %s THEN 2 ELSE 1 END', went_without), NULL,
         CASE WHEN NOT node ? 'else' THEN format('CASE WHEN %s THEN ''{"outcome": "exhausted"}''::jsonb END', went_without) END
  FROM (VALUES ('coalesce((person.traveller).reason = ''exhausted'', false)')) AS c (went_without)
$$;
COMMENT ON FUNCTION retention._compile_coupon(jsonb) IS 'Compiles a coupon, which has been issued, where there was one, before the expressions are run.';

CREATE OR REPLACE FUNCTION retention._compile_node(flow_id integer, document jsonb, node jsonb, zone text, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  branch := '1';
  CASE node ->> 'type'
    WHEN 'message' THEN SELECT c.* INTO branch, due, payload FROM retention._compile_message(flow_id, document, node, zone) AS c;
    WHEN 'delay' THEN SELECT c.* INTO branch, due, payload FROM retention._compile_delay(node, zone) AS c;
    WHEN 'wait_for' THEN SELECT c.* INTO branch, due, payload FROM retention._compile_wait(node, zone) AS c;
    WHEN 'coupon' THEN SELECT c.* INTO branch, due, payload FROM retention._compile_coupon(node) AS c;
    WHEN 'split' THEN branch := retention._compile_split(node);
    WHEN 'random_split' THEN branch := retention._compile_arms(document ->> 'name', node);
    WHEN 'set_property' THEN payload := format('jsonb_build_object(''set'', %s)', retention._record(retention._named_expressions(node -> 'set')));
    WHEN 'exit' THEN payload := retention._literal(jsonb_build_object('outcome', coalesce(node ->> 'outcome', 'completed'))::text, 'jsonb');
    WHEN 'enter_flow' THEN NULL;
  END CASE;
END
$$;
COMMENT ON FUNCTION retention._compile_node(integer, jsonb, jsonb, text) IS
  'The expressions of a node: which branch a customer takes, until when it waits here, and what it hands on.';

CREATE OR REPLACE FUNCTION retention._flow_zone(document jsonb) RETURNS text
  LANGUAGE sql STABLE
  RETURN coalesce(document ->> 'time_zone', (SELECT m.time_zone FROM retention.metric m WHERE m.metric = coalesce(document ->> 'metric', 'orders')), 'UTC');
COMMENT ON FUNCTION retention._flow_zone(jsonb) IS 'The time zone of a flow.';

CREATE OR REPLACE FUNCTION retention._find_flow(flow text) RETURNS retention.flow
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_flow retention.flow;
BEGIN
  SELECT * INTO found_flow FROM retention.flow f WHERE f.flow = _find_flow.flow;
  PERFORM retention._reject_unless(FOUND, format('flow %s does not exist', coalesce('"' || flow || '"', 'null')),
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
COMMENT ON FUNCTION retention._require_flow(text) IS 'A flow, which nobody else changes until the transaction ends, or an error.';

CREATE OR REPLACE FUNCTION retention._require_valid(document jsonb, author regrole) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problems text[] := ARRAY(SELECT btrim(concat_ws(' ', nullif(p.path, ''), p.problem)) FROM retention._problems(document, author) AS p);
BEGIN
  PERFORM retention._reject_unless(problems = '{}', format('flow document: %s', problems[1]),
    'docs/flow_document.md describes the document; validate_flow lists the problems as rows.',
    detail => E'Every problem:\n' || array_to_string(problems, E'\n'));
END
$$;
COMMENT ON FUNCTION retention._require_valid(jsonb, regrole) IS 'An error that names every problem of a document, where it has any.';

CREATE OR REPLACE FUNCTION retention.create_flow(document jsonb) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  author regrole := retention._caller();
BEGIN
  PERFORM retention._require_valid(document, author);
  INSERT INTO retention.flow AS f (flow, owner, draft) VALUES (document ->> 'name', pg_get_userbyid(author), document)
    ON CONFLICT (flow) DO UPDATE SET draft = excluded.draft WHERE retention._may_act_as(f.owner_id);
  PERFORM retention._reject_unless(FOUND, format('flow "%s" belongs to another role', document ->> 'name'),
    'Its expressions run with its owner''s rights: only they can change them. set_flow_owner gives it to another role.',
    'insufficient_privilege');
  RETURN document ->> 'name';
END
$$;
COMMENT ON FUNCTION retention.create_flow(jsonb) IS
  'Checks a flow document as a whole and stores it as the draft of the flow that it names, which it makes where there is none. What runs goes on as published: publish makes a version of the draft. Returns the name.';

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

CREATE TRIGGER find_owner BEFORE INSERT OR UPDATE OF owner ON retention.flow
  FOR EACH ROW EXECUTE FUNCTION retention._find_owner();
COMMENT ON TRIGGER find_owner ON retention.flow IS 'Finds the owner by its name.';

CREATE OR REPLACE FUNCTION retention._follow_owners() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE retention.flow f SET owner = r.rolname
    FROM pg_roles r WHERE r.oid = f.owner_id AND r.rolname <> f.owner;
END
$$;
COMMENT ON FUNCTION retention._follow_owners() IS 'Has flows show the names that their owners have now.';

CREATE OR REPLACE FUNCTION retention.set_flow_owner(flow text, role regrole) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
BEGIN
  PERFORM retention._reject_unless(retention._may_act_as(role), format('no right to act as %s', coalesce(role::text, 'null')),
    'The flow''s expressions will run with that role''s rights: be a member of it.', 'insufficient_privilege');
  UPDATE retention.flow f SET owner = pg_get_userbyid(role) WHERE f.flow_id = target.flow_id;
END
$$;
COMMENT ON FUNCTION retention.set_flow_owner(text, regrole) IS
  'Has a flow''s expressions run with the rights of another role, which the caller is a member of: read them before.';

CREATE OR REPLACE FUNCTION retention._write_nodes(flow_id integer, version integer, document jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  zone text := format('retention._zone(person.time_zone, %L)', retention._flow_zone(document));
BEGIN
  -- Numbers ascend along every way, so that a tick passes each node once.
  INSERT INTO retention.flow_node (flow_id, version, node, type, config, targets, branch, due, payload)
    SELECT _write_nodes.flow_id, _write_nodes.version, n.element ->> 'id', n.element ->> 'type', n.element, '{}', c.branch, c.due, c.payload
    FROM retention._elements(document -> 'nodes') AS n
    JOIN retention._document_order(document) AS o ON o.node = n.element ->> 'id',
    LATERAL retention._compile_node(_write_nodes.flow_id, document, n.element, zone) AS c
    ORDER BY o.depth, n.number;
  UPDATE retention.flow_node n SET targets = edge.targets
    FROM (SELECT e.source, array_agg(t.node_id ORDER BY e.number) AS targets
          FROM retention._document_edges(document) AS e
          LEFT JOIN retention.flow_node t
            ON (t.flow_id, t.version, t.node) = (_write_nodes.flow_id, _write_nodes.version, e.target)
          GROUP BY e.source) AS edge
    WHERE (n.flow_id, n.version, n.node) = (_write_nodes.flow_id, _write_nodes.version, edge.source);
END
$$;
COMMENT ON FUNCTION retention._write_nodes(integer, integer, jsonb) IS 'Compiles the nodes of a version.';

CREATE OR REPLACE FUNCTION retention._events_problem(
    kind text, metric text, OUT problem text, OUT way_out text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source retention.source;
BEGIN
  IF kind IN ('order', 'refund') THEN
    -- One that records comes first.
    SELECT * INTO source FROM retention.source s
      WHERE s.metric = _events_problem.metric AND s.kind = _events_problem.kind
      ORDER BY s.events_from IS NULL, s.source_id LIMIT 1;
    IF source.events_from IS NULL THEN
      problem := format('trigger "%s" would start nothing: no source of metric "%s" records '
                        '%1$ss as events', kind, metric);
      way_out := CASE WHEN FOUND THEN retention._add_again(source, true)
        ELSE format('SELECT retention.add_source(%s);', concat_ws(', ', '''...''',
          'order_id => ''...''', 'kind => ' || quote_literal(nullif(kind, 'order')),
          'metric => ' || quote_literal(nullif(metric, 'orders')))) END;
    END IF;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._events_problem(text, text) IS
  'What is wrong where orders or refunds of a metric would start a flow, and none of them is '
  'recorded, and the way out; null: nothing.';

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
  current jsonb := (SELECT document FROM retention.flow_version v WHERE v.flow_id = published.flow_id AND v.version = published.version);
  number integer := coalesce(published.version, 0) + 1;
BEGIN
  IF current = published.draft THEN
    RETURN published.version;
  END IF;
  PERFORM retention._pin_settings();
  PERFORM retention._require_valid(published.draft, published.owner_id::regrole);
  PERFORM retention._check_events(published.draft #>> '{trigger,type}', coalesce(published.draft ->> 'metric', 'orders'));
  INSERT INTO retention.flow_version VALUES (published.flow_id, number, published.draft, retention.now());
  PERFORM retention._write_nodes(published.flow_id, number, published.draft);
  UPDATE retention.flow f SET version = number WHERE f.flow_id = published.flow_id;
  IF published.status IN ('live', 'manual') AND (current -> 'trigger', retention._flow_zone(current)) IS DISTINCT FROM (published.draft -> 'trigger', retention._flow_zone(published.draft)) THEN
    PERFORM retention._start_trigger(published.flow_id);
  END IF;
  RETURN number;
END
$$;
COMMENT ON FUNCTION retention.publish(text) IS
  'Makes an immutable version of a flow''s draft, for those who enter from now on; whoever is in the flow finishes the version that they started. Publishing an unchanged draft does nothing. Returns the number of the version.';

CREATE OR REPLACE FUNCTION retention._hold_messages(flow_id integer) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- Those that a claim or a sender is at are left to it: a claim goes by the status once this is over.
  UPDATE retention.message m SET state = 'held', reason = 'pause'
  FROM (SELECT r.message_id FROM retention.message r WHERE r.flow_id = _hold_messages.flow_id AND r.state = 'ready' FOR UPDATE SKIP LOCKED) AS chosen
  WHERE m.message_id = chosen.message_id
$$;
COMMENT ON FUNCTION retention._hold_messages(integer) IS 'Holds a flow''s messages that nobody has claimed.';

CREATE OR REPLACE FUNCTION retention._release_messages(flow_id integer) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH changed AS (
    UPDATE retention.message m SET state = 'ready', reason = NULL
    WHERE m.flow_id = _release_messages.flow_id AND m.state = 'held' AND m.reason = 'pause'
    RETURNING m.channel)
  SELECT pg_notify('retention_message', c.channel) FROM (SELECT DISTINCT channel FROM changed) AS c
$$;
COMMENT ON FUNCTION retention._release_messages(integer) IS 'Lets those of a flow''s messages go that were held during a pause, and tells who listens.';

CREATE OR REPLACE FUNCTION retention._archive(flow_id integer) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- As in _hold_messages.
  UPDATE retention.message m SET state = 'suppressed', reason = 'archived'
    FROM (SELECT r.message_id FROM retention.message r WHERE r.flow_id = _archive.flow_id AND r.state IN ('held', 'ready') FOR UPDATE SKIP LOCKED) AS chosen
    WHERE m.message_id = chosen.message_id;
  UPDATE retention.enrollment e SET due_at = NULL, finished_at = retention.now(), outcome = 'archived'
    WHERE e.flow_id = _archive.flow_id AND e.due_at IS NOT NULL;
  SELECT retention._return_coupons(array_agg(c.enrollment_id))
    FROM retention.coupon c JOIN retention.enrollment e USING (enrollment_id) WHERE e.flow_id = _archive.flow_id;
  DELETE FROM retention.flow_entry e WHERE e.flow_id = _archive.flow_id;
$$;
COMMENT ON FUNCTION retention._archive(integer) IS 'Ends a flow''s enrollments, and its messages that nobody has claimed.';

CREATE OR REPLACE FUNCTION retention._set_message_status(target retention.flow, status text, node text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(status IN ('draft', 'manual', 'live'),
    format('status of a message must be draft, manual or live, not %s', coalesce('"' || status || '"', 'null')));
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.flow_node n WHERE (n.flow_id, n.node, n.type) = (target.flow_id, _set_message_status.node, 'message')),
    format('flow "%s" has no message "%s"', target.flow, node), 'publish makes the nodes of a draft; describe_flow shows them.', 'undefined_object');
  INSERT INTO retention.message_status VALUES (target.flow_id, node, status)
    ON CONFLICT ON CONSTRAINT message_status_pkey DO UPDATE SET status = excluded.status;
END
$$;
COMMENT ON FUNCTION retention._set_message_status(retention.flow, text, text) IS 'Sets the status of one message of a flow, in all versions.';

CREATE OR REPLACE FUNCTION retention._here() RETURNS text
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_here';
COMMENT ON FUNCTION retention._here() IS
  'Which database this is: a renamed one, and a promoted standby, stays the same; a restored dump is another one.';

CREATE OR REPLACE FUNCTION retention._is_copy() RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM retention.flow_home h WHERE h.here <> retention._here());
END
$$;
COMMENT ON FUNCTION retention._is_copy() IS 'Whether this is a copy of the database in which flows were made live.';

CREATE OR REPLACE FUNCTION retention._check_home() RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(NOT retention._is_copy(),
    'flows were made live in another database: this one is a copy of it, or has taken its place',
    'Nothing is sent from here until an admin says so: SELECT retention.resume_here(); docs/operations.md tells of copies.',
    'object_not_in_prerequisite_state');
END
$$;
COMMENT ON FUNCTION retention._check_home() IS 'An error in a copy of the database in which flows were made live.';

CREATE OR REPLACE FUNCTION retention.resume_here() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.flow_home (here, decided_at) VALUES (retention._here(), retention.now())
    ON CONFLICT (only_one) DO UPDATE SET here = excluded.here, decided_at = excluded.decided_at
$$;
COMMENT ON FUNCTION retention.resume_here() IS
  'Has flows run, and messages sent, in this database from now on: after it was restored for good, or in a copy, where flows that are not to run were paused before.';

CREATE OR REPLACE FUNCTION retention.set_status(flow text, status text, node text DEFAULT NULL) RETURNS void
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
    format('status of a flow must be draft, manual, live, paused or archived, not %s', coalesce('"' || status || '"', 'null')));
  PERFORM retention._reject_unless(target.version IS NOT NULL OR status = 'draft',
    format('flow "%s" has not been published', flow), format('SELECT retention.publish(%L);', flow), 'object_not_in_prerequisite_state');
  UPDATE retention.flow f SET status = set_status.status WHERE f.flow_id = target.flow_id;
  IF status IN ('live', 'manual') AND target.status NOT IN ('live', 'manual') THEN
    PERFORM retention._check_home();
    INSERT INTO retention.flow_home (here, decided_at) VALUES (retention._here(), retention.now()) ON CONFLICT DO NOTHING;
    PERFORM retention._start_trigger(target.flow_id), retention._release_messages(target.flow_id);
    -- Who has changed meanwhile may have to exit, or has what they wait for.
    PERFORM retention._note_changed(ARRAY(SELECT DISTINCT e.customer_id FROM retention.enrollment e WHERE e.flow_id = target.flow_id AND e.due_at > retention.now()));
  ELSIF status IN ('paused', 'draft') THEN
    PERFORM retention._hold_messages(target.flow_id);
  ELSIF status = 'archived' THEN
    PERFORM retention._archive(target.flow_id);
  END IF;
  PERFORM retention._tell_reach(target.flow_id) WHERE status IN ('live', 'manual');
END
$$;
COMMENT ON FUNCTION retention.set_status(text, text, text) IS
  'Sets the status of a flow: draft, manual, live, paused or archived; or, with a node, of one message: draft, manual or live. Of a flow that is live or manual by now it tells how many contacts can be written to.';

CREATE OR REPLACE FUNCTION retention.migrate_flow(flow text, from_version integer, nodes jsonb DEFAULT '{}') RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
  unmapped text;
  migrated bigint;
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.flow_version v WHERE (v.flow_id, v.version) = (target.flow_id, from_version)),
    format('flow "%s" has no version %s', flow, coalesce(from_version::text, 'null')), 'retention.flow_version lists those there are.', 'undefined_object');
  PERFORM retention._reject_unless(jsonb_typeof(nodes) = 'object', 'nodes must be an object: {"old node": "new node"}');
  SELECT string_agg(format('"%s"', old.node), ', ' ORDER BY old.node) INTO unmapped
    FROM retention.flow_node old
    WHERE (old.flow_id, old.version) = (target.flow_id, from_version)
      AND EXISTS (SELECT FROM retention.enrollment e WHERE e.node_id = old.node_id AND e.flow_id = old.flow_id AND e.due_at IS NOT NULL)
      AND NOT EXISTS (SELECT FROM retention.flow_node new WHERE (new.flow_id, new.version, new.node) = (target.flow_id, target.version, coalesce(nodes ->> old.node, old.node)));
  PERFORM retention._reject_unless(unmapped IS NULL, format('customers wait at nodes that version %s of flow "%s" has not: %s', target.version, flow, unmapped),
    'Map each to a node of that version: nodes => ''{"old node": "new node"}''.');
  UPDATE retention.enrollment e SET node_id = new.node_id, since = CASE WHEN new.type = old.type THEN e.since END
    FROM retention.flow_node old
    JOIN retention.flow_node new ON new.flow_id = old.flow_id AND new.version = target.version AND new.node = coalesce(nodes ->> old.node, old.node)
    WHERE (old.flow_id, old.version) = (target.flow_id, from_version) AND e.flow_id = target.flow_id AND e.node_id = old.node_id AND e.due_at IS NOT NULL;
  GET DIAGNOSTICS migrated = ROW_COUNT;
  RETURN migrated;
END
$$;
COMMENT ON FUNCTION retention.migrate_flow(text, integer, jsonb) IS
  'Moves those who are in a version of a flow to its published one: from each node to the one of the same name, or that nodes maps it to. When they are due stays as it is, and no message that was written is written again. Returns their number.';

CREATE OR REPLACE FUNCTION retention.drop_flow(flow text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
BEGIN
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.enrollment e WHERE e.flow_id = target.flow_id),
    format('flow "%s" has enrollments, which tell what customers were sent', flow), format('SELECT retention.set_status(%L, ''archived'');', flow), 'object_in_use');
  DELETE FROM retention.flow_entry e WHERE e.flow_id = target.flow_id;
  DELETE FROM retention.message_status s WHERE s.flow_id = target.flow_id;
  DELETE FROM retention.flow_node n WHERE n.flow_id = target.flow_id;
  DELETE FROM retention.flow_version v WHERE v.flow_id = target.flow_id;
  DELETE FROM retention.flow f WHERE f.flow_id = target.flow_id;
END
$$;
COMMENT ON FUNCTION retention.drop_flow(text) IS 'Removes a flow that nobody has ever entered.';
