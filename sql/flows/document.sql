-- The document of a flow, and everything that can be wrong with it.

CREATE OR REPLACE FUNCTION retention._check_expression(expression text) RETURNS void
  LANGUAGE c IMMUTABLE STRICT
  AS 'MODULE_PATHNAME', 'retention_check_expression';
COMMENT ON FUNCTION retention._check_expression(text) IS
  'An error unless a text is exactly one SQL expression.';

CREATE OR REPLACE FUNCTION retention._document_keys()
  RETURNS TABLE (object text, key text, kind text, is_required boolean)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('flow', 'name', 'name', true), ('flow', 'description', 'text', false),
    ('flow', 'trigger', 'object', true),
    ('flow', 'entry_filter', 'condition', false), ('flow', 'filter', 'condition', false),
    ('flow', 'exit', 'condition', false),
    ('flow', 'reentry', 'reentry', false), ('flow', 'concurrent', 'boolean', false),
    ('flow', 'holdout', 'per cent', false),
    ('flow', 'time_zone', 'time zone', false), ('flow', 'quiet_hours', 'object', false),
    ('flow', 'conversion_window', 'interval', false),
    ('flow', 'metric', 'metric', false), ('flow', 'one_per_address', 'boolean', false),
    ('flow', 'nodes', 'objects', true),
    ('quiet_hours', 'from', 'time', true), ('quiet_hours', 'until', 'time', true),
    ('trigger segment', 'segment', 'segment', true),
    ('trigger segment', 'change', 'entered or left', false),
    ('trigger rfm_group', 'from', 'groups', false), ('trigger rfm_group', 'to', 'groups', false),
    ('trigger date', 'column', 'date column', true), ('trigger date', 'offset', 'offset', false),
    ('trigger date', 'at', 'time', false),
    ('trigger schedule', 'at', 'time', true), ('trigger schedule', 'weekdays', 'weekdays', false),
    ('trigger schedule', 'condition', 'condition', false),
    ('trigger order', 'max_age', 'interval', false),
    ('trigger refund', 'max_age', 'interval', false),
    ('trigger manual', NULL, NULL, false),
    ('node message', 'channel', 'channel', true), ('node message', 'subject', 'template', false),
    ('node message', 'body', 'template', true),
    ('node message', 'text', 'template', false), ('node message', 'url', 'template', false),
    ('node message', 'data', 'expressions', false),
    ('node message', 'status', 'message status', false),
    ('node message', 'transactional', 'boolean', false),
    ('node message', 'smart_sending', 'smart sending', false),
    ('node message', 'one_per_address', 'boolean', false),
    ('node message', 'lateness', 'interval', false), ('node message', 'next', 'node', false),
    ('node delay', 'for', 'interval', false), ('node delay', 'until', 'moment', false),
    ('node delay', 'weekdays', 'weekdays', false),
    ('node delay', 'at', 'time', false), ('node delay', 'next', 'node', false),
    ('node wait_for', 'condition', 'condition', true),
    ('node wait_for', 'timeout', 'interval', true),
    ('node wait_for', 'next', 'node', false), ('node wait_for', 'else', 'node', false),
    ('node split', 'branches', 'objects', true), ('node split', 'else', 'node', false),
    ('branch', 'when', 'condition', true), ('branch', 'next', 'node', false),
    ('node random_split', 'arms', 'objects', true),
    ('arm', 'name', 'name', true), ('arm', 'share', 'per cent', true),
    ('arm', 'next', 'node', false),
    ('node set_property', 'set', 'expressions', true), ('node set_property', 'next', 'node', false),
    ('node coupon', 'pool', 'coupon pool', true), ('node coupon', 'next', 'node', false),
    ('node coupon', 'else', 'node', false),
    ('node enter_flow', 'flow', 'flow', true), ('node enter_flow', 'next', 'node', false),
    ('node exit', 'outcome', 'name', false)
$$;
COMMENT ON FUNCTION retention._document_keys() IS
  'The objects of a flow document, and what each may have under which key.';

CREATE OR REPLACE FUNCTION retention._elements(list jsonb)
  RETURNS TABLE (element jsonb, number integer)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT e.value, (e.number - 1)::integer
  FROM jsonb_array_elements(CASE jsonb_typeof(list) WHEN 'array' THEN list ELSE '[]'
                            END) WITH ORDINALITY AS e (value, number)
$$;
COMMENT ON FUNCTION retention._elements(jsonb) IS
  'The elements of an array, counted from 0; none of anything else.';

CREATE OR REPLACE FUNCTION retention._document_objects(document jsonb)
  RETURNS TABLE (path text, object text, value jsonb)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '', 'flow', document
  UNION ALL SELECT 'trigger', 'trigger ' || coalesce(document #>> '{trigger,type}', ''),
  document -> 'trigger' WHERE document ? 'trigger'
  UNION ALL SELECT 'quiet_hours', 'quiet_hours', document -> 'quiet_hours'
    WHERE document ? 'quiet_hours'
  UNION ALL SELECT format('nodes[%s]', n.number), 'node ' || coalesce(n.element ->> 'type', ''),
  n.element FROM retention._elements(document -> 'nodes') AS n
  UNION ALL
  SELECT format('nodes[%s].%s[%s]', n.number, list.key, part.number), list.object, part.element
  FROM retention._elements(document -> 'nodes') AS n
  JOIN (VALUES ('split', 'branches', 'branch'), ('random_split', 'arms', 'arm')) AS list (type, key,
      object) ON list.type = n.element ->> 'type',
  LATERAL retention._elements(n.element -> list.key) AS part
$$;
COMMENT ON FUNCTION retention._document_objects(jsonb) IS
  'All objects of a document, with their paths and what they are.';

CREATE OR REPLACE FUNCTION retention._expression_problem(
    expression text, wrapper text, metric text, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  reason text := retention._length_problem('condition', expression);
BEGIN
  IF reason IS NOT NULL THEN
    RETURN reason;
  END IF;
  PERFORM retention._check_expression(expression);
  PERFORM FROM retention._query_as(author,
      format(wrapper, E'(\n' || expression || E'\n)', retention._person_query(metric)),
      '{}'::retention._traveller[], '{}'::text[], retention.now()) AS q (nothing boolean);
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT;
  RETURN reason;
END
$$;
COMMENT ON FUNCTION retention._expression_problem(text, text, text, regrole) IS
  'Why an expression does not compile as part of a query, with the rights of its author; null: it '
  'does.';

CREATE OR REPLACE FUNCTION retention._template_names(template text)
  RETURNS TABLE (object text, name text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT part[1], coalesce(part[2], part[3])
  FROM unnest(retention.template_variables(template)) AS v,
  -- A name can stand in quotes.
  regexp_match(v, '^([^.]+)(?:[.](?:"([^"]*)"|([^.]*)))?') AS part
$$;
COMMENT ON FUNCTION retention._template_names(text) IS
  'The objects that a template uses, and what it uses of them.';

CREATE OR REPLACE FUNCTION retention._template_problem(template text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  reason text;
BEGIN
  -- What it uses of a person becomes columns of a query.
  RETURN (
    SELECT CASE WHEN count(*) > retention._most('variables')
                THEN format('must use at most %s variables, not %s', retention._most('variables'),
                            count(*))
                ELSE min(format('person."%s": the name %s', left(n.name, 100),
                                retention._length_problem('column', n.name)))
                       FILTER (WHERE n.object = 'person'
                               AND retention._length_problem('column', n.name) IS NOT NULL) END
    FROM retention._template_names(template) AS n);
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT;
  RETURN reason;
END
$$;
COMMENT ON FUNCTION retention._template_problem(text) IS
  'Why a template does not parse; null: it does.';

CREATE OR REPLACE FUNCTION retention._interval_problem(value text, at_least integer, otherwise text)
  RETURNS text
  -- As a tick reads it, and reports do, whatever the session's style is.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres
AS $$
BEGIN
  RETURN (
    SELECT CASE
      -- PostgreSQL takes it for seconds, which nobody means.
      WHEN value ~ '^[ @P+-]*[0-9.]*[1-9][0-9.]* *$'
        THEN format('needs a unit, as in "%s days"', btrim(value))
      WHEN NOT retention._is_of_type(value, 'interval')
        OR sign(extract(epoch FROM value::interval)) < at_least THEN otherwise
      ELSE retention._span_problem(value::interval, at_least) END);
END
$$;
COMMENT ON FUNCTION retention._interval_problem(text, integer, text) IS
  'What is wrong with the text of an interval, as in _span_problem; where it is none, or too '
  'short, otherwise.';

CREATE OR REPLACE FUNCTION retention._weekdays() RETURNS text[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ARRAY['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'];
COMMENT ON FUNCTION retention._weekdays() IS 'Names of the weekdays, from Monday.';

CREATE OR REPLACE FUNCTION retention._text_problem(
    kind text, value text, document jsonb, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT CASE kind
      WHEN 'text' THEN retention._length_problem(kind, value)
      WHEN 'name' THEN retention._length_problem(kind, value)
      WHEN 'template' THEN retention._template_problem(value)
      WHEN 'condition' THEN retention._expression_problem(value,
                                                          'SELECT true FROM %2$s WHERE %1$s LIMIT '
                                                          '0', metric, author)
      -- Where no aggregate can stand, as none can at a node.
      WHEN 'moment' THEN retention._expression_problem(value,
                                                       'SELECT true FROM %2$s WHERE '
                                                       'retention._local_moment(%1$s, ''UTC'') IS '
                                                       'NULL LIMIT 0', metric, author)
      WHEN 'interval' THEN retention._interval_problem(value, 0,
                                                       'must be an interval that is not negative, '
                                                       'such as "3 days"')
      WHEN 'offset' THEN retention._interval_problem(value, -1,
                                                     'must be an interval, such as "-3 days"')
      WHEN 'reentry' THEN CASE WHEN value NOT IN ('never', 'always') THEN
        retention._interval_problem(value, 1,
                                    'must be "never", "always" or an interval, such as "90 '
                                    'days"') END
      WHEN 'smart sending' THEN retention._interval_problem(value, 1,
                                                            'must be an interval, such as "16 '
                                                            'hours", or false')
      WHEN 'time' THEN CASE WHEN value !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'
        THEN 'must be a time of day, such as "09:30"' END
      WHEN 'time zone' THEN CASE WHEN NOT retention._is_time_zone(value)
        THEN 'must be a name that pg_timezone_names lists, such as "Europe/Warsaw"' END
      WHEN 'entered or left' THEN CASE WHEN value NOT IN ('entered', 'left')
        THEN 'must be "entered" or "left"' END
      WHEN 'message status' THEN CASE WHEN value NOT IN ('draft', 'manual', 'live')
        THEN 'must be "draft", "manual" or "live"' END
      WHEN 'channel' THEN CASE WHEN value NOT IN (SELECT channel FROM retention._channels())
        THEN 'must be "email", "sms", "push" or "webhook"' END
      WHEN 'metric' THEN CASE WHEN NOT EXISTS (SELECT FROM retention.metric m
                                               WHERE m.metric = value)
                                                 THEN format('metric "%s" does not exist',
                                                     value) END
      WHEN 'segment' THEN CASE WHEN NOT EXISTS (SELECT FROM retention.segment s
                                                WHERE s.segment = value)
                                                  THEN format('segment "%s" does not exist: '
                                                            'add_segment makes it', value) END
      WHEN 'coupon pool' THEN CASE WHEN NOT EXISTS (SELECT FROM retention.coupon_pool p
                                                    WHERE p.pool = value)
                                                      THEN format('coupon pool "%s" does not '
                                                            'exist: add_coupon_pool makes it',
                                                            value) END
      WHEN 'flow' THEN CASE WHEN value <> document ->> 'name'
        AND NOT EXISTS (SELECT FROM retention.flow f WHERE f.flow = value)
        THEN format('flow "%s" does not exist', value) END
      WHEN 'node' THEN CASE WHEN NOT jsonb_path_exists(document, '$.nodes[*] ? (@.id == $id)',
                                                       jsonb_build_object('id', value))
                       THEN format('node "%s" does not exist', value) END
      WHEN 'date column' THEN CASE WHEN NOT EXISTS (SELECT FROM pg_attribute
                                                    WHERE attrelid = 'retention.profile'::regclass
                                                      AND attname = value AND attnum > 0
                                                      AND atttypid IN ('date'::regtype,
                                                          'timestamptz'::regtype))
                                                            THEN 'must be a column of '
                                                            'retention.profile with dates or '
                                                            'times' END
      END
    FROM (SELECT coalesce(document ->> 'metric', 'orders') AS metric) AS flow);
END
$$;
COMMENT ON FUNCTION retention._text_problem(text, text, jsonb, regrole) IS
  'What is wrong with a text of some kind; null: nothing.';

CREATE OR REPLACE FUNCTION retention._list_problem(kind text, list jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN jsonb_typeof(list) <> 'array' OR list = '[]' THEN 'must be an array that is not empty'
    WHEN EXISTS (SELECT FROM retention._elements(list) AS e
                 WHERE jsonb_typeof(e.element) <> CASE kind WHEN 'objects' THEN 'object'
                   ELSE 'string' END)
      THEN format('must have nothing but %s', CASE kind WHEN 'objects' THEN 'objects' ELSE 'texts'
                  END)
    WHEN kind = 'weekdays' THEN
      (SELECT format('%s is not a weekday', min(e.element::text))
       FROM retention._elements(list) AS e
       WHERE e.element #>> '{}' <> ALL (retention._weekdays()) HAVING count(*) > 0)
    WHEN kind = 'groups' THEN
      (SELECT format('group %s is in no scheme', min(e.element::text))
       FROM retention._elements(list) AS e
       WHERE e.element #>> '{}' NOT IN (SELECT rfm_group FROM retention.rfm_cell)
       HAVING count(*) > 0)
  END
$$;
COMMENT ON FUNCTION retention._list_problem(text, jsonb) IS
  'What is wrong with an array of some kind; null: nothing.';

CREATE OR REPLACE FUNCTION retention._expressions_problem(
    expressions jsonb, metric text, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT CASE WHEN jsonb_typeof(expressions) <> 'object' THEN 'must be an object of expressions'
                WHEN count(*) > retention._most('expressions')
                  THEN format('must have at most %s expressions', retention._most('expressions'))
                ELSE min(format('%s: %s', left(e.key, 100), p.problem))
                  FILTER (WHERE p.problem IS NOT NULL) END
    FROM (SELECT * FROM jsonb_each(CASE jsonb_typeof(expressions) WHEN 'object' THEN expressions
                                   ELSE '{}' END)
          LIMIT retention._most('expressions') + 1) AS e,
    LATERAL (
      SELECT CASE
        WHEN retention._length_problem('column', e.key) IS NOT NULL THEN 'its name '
          || retention._length_problem('column', e.key)
        WHEN jsonb_typeof(e.value) <> 'string' THEN 'must be a text'
        -- As in _record, and where no aggregate over the customers can stand.
        ELSE retention._expression_problem(e.value #>> '{}',
          'SELECT true FROM %2$s WHERE (SELECT to_jsonb(v) FROM (SELECT %1$s AS value) AS v) IS '
          'NULL LIMIT 0', metric, author) END AS problem) AS p);
END
$$;
COMMENT ON FUNCTION retention._expressions_problem(jsonb, text, regrole) IS
  'What is wrong with an object of expressions; null: nothing.';

CREATE OR REPLACE FUNCTION retention._value_problem(
    kind text, value jsonb, document jsonb, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT CASE
      WHEN kind IN ('objects', 'groups', 'weekdays') THEN retention._list_problem(kind, value)
      WHEN kind = 'object' THEN CASE WHEN jsonb_typeof(value) <> 'object'
        THEN 'must be an object' END
      WHEN kind = 'boolean' THEN CASE WHEN jsonb_typeof(value) <> 'boolean'
        THEN 'must be true or false' END
      WHEN kind = 'smart sending' AND value = 'false' THEN NULL
      WHEN kind = 'per cent' THEN CASE WHEN jsonb_typeof(value) <> 'number'
        OR (value #>> '{}')::numeric NOT BETWEEN 0 AND 100 THEN 'must be a number from 0 to 100' END
      WHEN kind = 'expressions' THEN retention._expressions_problem(value,
          coalesce(document ->> 'metric', 'orders'), author)
      WHEN jsonb_typeof(value) <> 'string' THEN 'must be a text'
      ELSE retention._text_problem(kind, value #>> '{}', document, author)
    END);
END
$$;
COMMENT ON FUNCTION retention._value_problem(text, jsonb, jsonb, regrole) IS
  'What is wrong with a value of a document; null: nothing.';

CREATE OR REPLACE FUNCTION retention._size_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '', p.problem
  FROM (SELECT retention._length_problem('document', document::text) AS problem) AS p
  WHERE p.problem IS NOT NULL
  UNION ALL
  SELECT 'nodes', format('must have at most %s nodes, branches and arms in all, not %s',
                         retention._most('steps'), count(*))
  FROM retention._document_objects(document) AS o WHERE o.object ~ '^(node |branch$|arm$)'
  HAVING count(*) > retention._most('steps')
$$;
COMMENT ON FUNCTION retention._size_problems(jsonb) IS
  'What is too large of a document to be looked at any further.';

CREATE OR REPLACE FUNCTION retention._key_problems(document jsonb, author regrole)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH object AS MATERIALIZED (
    SELECT o.*, jsonb_typeof(o.value) = 'object' AS is_object,
           EXISTS (SELECT FROM retention._document_keys() k WHERE k.object = o.object) AS is_known
    FROM retention._document_objects(document) AS o),
  -- What triggers and nodes have besides the keys of their type.
  allowed AS MATERIALIZED (
    SELECT * FROM retention._document_keys() WHERE key IS NOT NULL
    UNION ALL SELECT DISTINCT k.object, 'type', 'any', true FROM retention._document_keys() k
      WHERE k.object ~ '^(trigger|node) '
    UNION ALL SELECT DISTINCT k.object, 'id', 'name', true FROM retention._document_keys() k
      WHERE k.object ~ '^node ')
  SELECT o.path, 'must be an object' FROM object o WHERE NOT o.is_object
  UNION ALL
  SELECT o.path || '.type', format('must be one of %s',
                                   (SELECT string_agg(DISTINCT format('"%s"',
                                       substr(k.object, strpos(k.object, ' ') + 1)), ', ')
                                                          FROM retention._document_keys() k
                                                          WHERE split_part(k.object, ' ',
                                                              1) = split_part(o.object, ' ', 1)))
  FROM object o WHERE o.is_object AND NOT o.is_known
  UNION ALL
  SELECT concat_ws('.', nullif(o.path, ''), a.key), 'is missing' FROM object o
  JOIN allowed a USING (object)
  WHERE a.is_required AND o.is_object AND NOT o.value ? a.key
  UNION ALL
  SELECT concat_ws('.', nullif(o.path, ''), left(given.key, 100)), found.problem
  FROM object o CROSS JOIN LATERAL jsonb_each(CASE WHEN o.is_object THEN o.value ELSE '{}'
                                              END) AS given
  LEFT JOIN allowed a ON a.object = o.object AND a.key = given.key
  CROSS JOIN LATERAL (SELECT CASE WHEN a.key IS NULL THEN 'is not a key here'
                                  WHEN a.kind <> 'any'
                                    THEN retention._value_problem(a.kind, given.value, document,
                                        author) END AS problem OFFSET 0) AS found
  WHERE o.is_known AND found.problem IS NOT NULL
$$;
COMMENT ON FUNCTION retention._key_problems(jsonb, regrole) IS
  'Keys of a document that are unknown, missing, or have a value that is none of their kind.';

CREATE OR REPLACE FUNCTION retention._document_edges(document jsonb)
  RETURNS TABLE (source text, target text, number integer)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- Branches are counted from 1, in the order in which they are compiled.
  SELECT n.element ->> 'id', e.target, (row_number() OVER (PARTITION BY n.number
                                                           ORDER BY e.place, e.number))::integer
  FROM retention._elements(document -> 'nodes') AS n,
  LATERAL (
    SELECT part.element ->> 'next' AS target, 1 AS place, part.number
    FROM retention._elements(n.element -> CASE n.element ->> 'type' WHEN 'split' THEN 'branches'
                             ELSE 'arms' END) AS part
    UNION ALL SELECT n.element ->> 'next', 2, 0
      WHERE n.element ->> 'type' NOT IN ('split', 'random_split', 'exit')
    UNION ALL SELECT n.element ->> 'else', 3, 0
      WHERE n.element ->> 'type' IN ('split', 'wait_for', 'coupon')) AS e
$$;
COMMENT ON FUNCTION retention._document_edges(jsonb) IS
  'Where the branches of each node lead; null: to the end.';

CREATE OR REPLACE FUNCTION retention._document_order(document jsonb)
  RETURNS TABLE (node text, depth integer)
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  ids text[] := ARRAY(SELECT n.element ->> 'id' FROM retention._elements(document -> 'nodes') AS n
                      ORDER BY n.number);
  sources integer[];
  targets integer[];
  depths integer[] := '{0}';
  is_settled boolean := false;
BEGIN
  SELECT coalesce(array_agg(array_position(ids, e.source)), '{}'),
         array_agg(array_position(ids, e.target)) INTO sources, targets
    FROM retention._document_edges(document) AS e WHERE e.target IS NOT NULL;
  -- A way of more steps than there are nodes goes round in a circle.
  WHILE NOT is_settled LOOP
    is_settled := true;
    FOR i IN 1 .. cardinality(sources) LOOP
      IF least(depths[sources[i]], cardinality(ids)) >= coalesce(depths[targets[i]], 0)
        AND depths[sources[i]] IS NOT NULL THEN
        depths[targets[i]] := least(depths[sources[i]], cardinality(ids)) + 1;
        is_settled := false;
      END IF;
    END LOOP;
  END LOOP;
  RETURN QUERY SELECT ids[i], depths[i] FROM generate_subscripts(ids, 1) AS i
    WHERE depths[i] IS NOT NULL;
END
$$;
COMMENT ON FUNCTION retention._document_order(jsonb) IS
  'The nodes that can be reached, with the length of the longest way there: more than their '
  'number where they lie on or behind a circle.';

CREATE OR REPLACE FUNCTION retention._graph_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE node AS MATERIALIZED (
    SELECT n.element ->> 'id' AS id, format('nodes[%s]', n.number) AS path, n.number, o.depth
    FROM retention._elements(document -> 'nodes') AS n LEFT
    JOIN retention._document_order(document) AS o ON o.node = n.element ->> 'id'),
  -- On a circle or behind one.
  suspect AS MATERIALIZED (
    SELECT e.source, e.target FROM retention._document_edges(document) AS e
    JOIN node n ON n.id = e.target
    WHERE n.depth > (SELECT count(*) FROM node)),
  way AS (
    SELECT s.source AS start, s.target AS node FROM suspect s
    UNION SELECT w.start, s.target FROM way w JOIN suspect s ON s.source = w.node)
  SELECT n.path || '.id', format('node "%s" is there already', n.id) FROM node n
  WHERE n.number > (SELECT min(o.number) FROM node o WHERE o.id = n.id)
  UNION ALL
  SELECT n.path, format('node "%s" cannot be reached', n.id) FROM node n WHERE n.depth IS NULL
  UNION ALL
  SELECT n.path, format('node "%s" leads back to itself', n.id) FROM node n
  WHERE n.id IN (SELECT w.start FROM way w WHERE w.node = w.start)
$$;
COMMENT ON FUNCTION retention._graph_problems(jsonb) IS
  'Nodes of a document that have the same id, cannot be reached, or lead back to themselves.';

CREATE OR REPLACE FUNCTION retention._rule_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT n.path || rule.key, rule.problem
  FROM retention._document_objects(document) AS n
  JOIN (VALUES ('node message', '.subject', 'is needed for an email'),
        ('node message', '.url', 'is needed for a webhook'),
               ('node delay', '', 'needs at least one of for, until, weekdays, at'),
               ('trigger rfm_group', '', 'needs at least one of from, to'),
               ('node random_split', '.arms', 'the shares must add up to 100')) AS rule (object,
                   key, problem) USING (object)
  WHERE CASE rule.problem
    WHEN 'is needed for an email' THEN n.value ->> 'channel' = 'email' AND NOT n.value ? 'subject'
    WHEN 'is needed for a webhook' THEN n.value ->> 'channel' = 'webhook' AND NOT n.value ? 'url'
    WHEN 'needs at least one of for, until, weekdays, at'
      THEN NOT n.value ?| '{for,until,weekdays,at}'
    WHEN 'needs at least one of from, to' THEN NOT n.value ?| '{from,to}'
    ELSE (SELECT sum((a.element ->> 'share')::numeric) <> 100
          FROM retention._elements(n.value -> 'arms') AS a
          WHERE jsonb_typeof(a.element -> 'share') = 'number') END
$$;
COMMENT ON FUNCTION retention._rule_problems(jsonb) IS
  'What is wrong with objects of a document as a whole.';

CREATE OR REPLACE FUNCTION retention._word_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s.%s', n.path, t.key), found.problem
  FROM retention._document_objects(document) AS n
  CROSS JOIN (VALUES ('subject'), ('body'), ('text'), ('url')) AS t (key)
  CROSS JOIN LATERAL retention._template_names(n.value ->> t.key) AS w
  CROSS JOIN LATERAL (
    SELECT CASE
      WHEN w.object NOT IN ('person', 'event', 'coupon', 'data', 'flow', 'message')
        THEN format('there is no "%s" in a message: the words are person, event, coupon, data, '
                    'flow and message', left(w.object, 100))
      WHEN w.name IS NOT NULL AND NOT CASE w.object
             WHEN 'data' THEN coalesce(n.value -> 'data' ? w.name, false)
             WHEN 'coupon' THEN w.name IN ('code', 'expires_at')
             WHEN 'flow' THEN w.name = 'name'
             WHEN 'message' THEN w.name = 'id'
             ELSE true END
        THEN format('%s has no "%s"', w.object, left(w.name, 100)) END AS problem) AS found
  WHERE n.object = 'node message' AND found.problem IS NOT NULL
$$;
COMMENT ON FUNCTION retention._word_problems(jsonb) IS
  'Words of templates that no message has. What a person or an event has is not known before it '
  'is sent.';

CREATE OR REPLACE FUNCTION retention._problems(document jsonb, author regrole)
  RETURNS TABLE (path text, problem text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._pin_settings();
  IF jsonb_typeof(document) IS DISTINCT FROM 'object' THEN
    RETURN QUERY SELECT '', 'must be an object';
    RETURN;
  END IF;
  RETURN QUERY SELECT p.* FROM retention._size_problems(document) AS p;
  IF NOT FOUND THEN
    RETURN QUERY SELECT p.* FROM retention._key_problems(document, author) AS p
      ORDER BY p.path COLLATE "C", p.problem;
  END IF;
  IF NOT FOUND THEN
    RETURN QUERY SELECT p.* FROM retention._graph_problems(document) AS p
      UNION ALL SELECT p.* FROM retention._rule_problems(document) AS p
      UNION ALL SELECT p.* FROM retention._word_problems(document) AS p
      UNION ALL SELECT p.* FROM retention._circle_problems(document) AS p ORDER BY 1, 2;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._problems(jsonb, regrole) IS
  'Everything that is wrong with a flow document, whose expressions have the rights of its author.';

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

CREATE OR REPLACE FUNCTION retention.validate_flow(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM retention._problems(document, retention._caller())
  UNION ALL
  -- What publish asks besides.
  SELECT 'trigger', concat_ws(': ', e.problem, e.way_out)
  FROM retention._events_problem(document #>> '{trigger,type}',
                                 coalesce(document ->> 'metric', 'orders')) AS e
  WHERE e.problem IS NOT NULL
$$;
COMMENT ON FUNCTION retention.validate_flow(jsonb) IS
  'Everything that is wrong with a flow document, with the place of each problem; no row: nothing '
  'is.';
