-- Where the attributes of customers are used.

CREATE OR REPLACE FUNCTION retention._attributes() RETURNS TABLE (name name, number smallint)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT attname, attnum FROM pg_attribute
  WHERE attrelid = 'retention.profile'::regclass AND attnum > 0
    AND attname NOT IN ('metric', 'customer_id')
$$;
COMMENT ON FUNCTION retention._attributes() IS
  'What is known and predicted of a customer: the columns of profile.';

CREATE OR REPLACE FUNCTION retention._passes_on(rule text, number smallint, type oid)
  RETURNS boolean
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- Of a query without others in its FROM: what it joins, filters and computes comes after its
  -- list of relations. Output columns that are a plain column are taken away.
  SELECT regexp_count(split_part(rule, ':jointree', 1), E'\\{QUERY') = 1
    AND regexp_replace(substr(rule, strpos(rule, ':jointree')),
          E'\\{TARGETENTRY :expr \\{VAR :varno \\d+ :varattno \\d+', '', 'g')
        !~ format(E'\\{VAR :varno \\d+ :varattno %s :vartype %s\\M', number, type)
$$;
COMMENT ON FUNCTION retention._passes_on(text, smallint, oid) IS
  'Whether a view, by the rule that it is, does nothing with the column of this number and type '
  'but show it. Where that cannot be told, it is taken to use it.';

CREATE OR REPLACE FUNCTION retention._view_attributes(relation regclass) RETURNS SETOF name
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE read AS (
    SELECT relation::oid AS reader, NULL::oid AS oid, NULL::integer AS number, NULL::oid AS rule
    UNION
    SELECT v.oid, d.refobjid, d.refobjsubid, r.oid
    FROM read p JOIN pg_class v ON v.oid = coalesce(p.oid, p.reader) AND v.relkind IN ('v', 'm')
      AND v.oid <> 'retention.profile'::regclass
    JOIN pg_rewrite r ON r.ev_class = v.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid)
  SELECT DISTINCT a.name
  FROM read u
  JOIN pg_rewrite w ON w.oid = u.rule
  JOIN pg_attribute c ON c.attrelid = u.oid AND (c.attnum = u.number OR u.number = 0)
  JOIN retention._attributes() a ON a.name = c.attname
  -- A column of profile, or of a view that shows it.
  WHERE (u.oid = 'retention.profile'::regclass OR EXISTS (
      SELECT FROM read b WHERE b.reader = u.oid AND b.oid = 'retention.profile'::regclass))
    AND NOT (retention._has_column(u.reader::regclass, a.name)
             AND retention._passes_on(w.ev_action::text, c.attnum, c.atttypid))
$$;
COMMENT ON FUNCTION retention._view_attributes(regclass) IS
  'The attributes that a view, or one below it, selects or computes by, rather than only shows.';

CREATE OR REPLACE FUNCTION retention._without_literals(expression text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT regexp_replace(expression, $re$'(?:[^']|'')*'|--[^\n]*$re$, ' ', 'g')
$$;
COMMENT ON FUNCTION retention._without_literals(text) IS
  'An expression without its texts and comments, for its names to be looked for.';

CREATE OR REPLACE FUNCTION retention._expression_attributes(expression text) RETURNS SETOF name
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.name
  FROM retention._without_literals(expression) AS e, retention._attributes() AS a
  -- A name of its own or of the person: of no other relation, no function, and no alias.
  WHERE e ~ format(E'(?<![\\w.])(?<!\\mAS\\s)(?:"?(?:person|profile)"?\\s*\\.\\s*)?'
                   '"?%s"?(?![\\w.(])',
                   a.name)
$$;
COMMENT ON FUNCTION retention._expression_attributes(text) IS
  'The attributes that an expression of a flow names.';

CREATE OR REPLACE FUNCTION retention._flow_attributes(flow_id integer, version integer)
  RETURNS SETOF name
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a
  FROM retention.flow_version v,
       unnest(ARRAY[v.document ->> 'entry_filter', v.document ->> 'filter', v.document ->> 'exit',
                    v.document #>> '{trigger,condition}']) AS condition,
       retention._expression_attributes(condition) AS a
  WHERE (v.flow_id, v.version) = (_flow_attributes.flow_id, _flow_attributes.version)
  UNION
  SELECT a
  FROM retention.flow_node n, unnest(ARRAY[n.branch, n.due, n.payload]) AS compiled,
       retention._expression_attributes(compiled) AS a
  WHERE (n.flow_id, n.version) = (_flow_attributes.flow_id, _flow_attributes.version)
  UNION
  -- What starts it.
  SELECT a.name
  FROM retention.flow_version v JOIN retention._attributes() AS a
    ON a.name = coalesce(v.document #>> '{trigger,column}', v.document #>> '{trigger,type}')
  WHERE (v.flow_id, v.version) = (_flow_attributes.flow_id, _flow_attributes.version)
$$;
COMMENT ON FUNCTION retention._flow_attributes(integer, integer) IS
  'The attributes that a version of a flow uses: in its conditions and nodes, as they were '
  'compiled, in what its messages say, and as what starts it.';

CREATE OR REPLACE FUNCTION retention._flow_channels(flow_id integer, version integer)
  RETURNS text[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT n.config ->> 'channel' ORDER BY n.config ->> 'channel'), '{}')
  FROM retention.flow_node n
  WHERE (n.flow_id, n.version) = (_flow_channels.flow_id, _flow_channels.version)
    AND n.type = 'message'
$$;
COMMENT ON FUNCTION retention._flow_channels(integer, integer) IS
  'The channels that a version of a flow writes on.';

CREATE OR REPLACE FUNCTION retention._users_of_attributes()
  RETURNS TABLE (
    kind text, name text, segment text, attributes name[], size bigint, status text,
    channels text[], changed_at timestamptz)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'segment', s.segment, NULL, ARRAY(SELECT retention._view_attributes(s.relation)),
         s.members, CASE WHEN s.error IS NOT NULL THEN 'error' WHEN s.enabled THEN 'live'
                      ELSE 'disabled' END,
         '{}'::text[], s.added_at
  FROM retention.segment s
  UNION ALL
  SELECT 'flow', f.flow, v.document #>> '{trigger,segment}',
         ARRAY(SELECT retention._flow_attributes(f.flow_id, f.version)),
         (SELECT count(*) FROM retention.enrollment e
          WHERE e.flow_id = f.flow_id AND e.due_at IS NOT NULL), f.status,
         retention._flow_channels(f.flow_id, f.version), v.published_at
  FROM retention.flow f JOIN retention.flow_version v USING (flow_id, version)
  UNION ALL
  SELECT u.kind, u.name, u.segment, u.attributes,
         (SELECT s.members FROM retention.segment s WHERE s.segment = u.segment), 'registered',
         '{}', u.registered_at
  FROM retention.registered_use u
$$;
COMMENT ON FUNCTION retention._users_of_attributes() IS
  'Everything that uses attributes of customers, or may: segments, published flows, and what was '
  'registered. What comes later is a branch here.';

CREATE OR REPLACE FUNCTION retention._check_attributes(attributes name[]) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  unknown name := (SELECT g.name FROM unnest(attributes) AS g (name)
                   WHERE g.name NOT IN (SELECT a.name FROM retention._attributes() AS a) LIMIT 1);
BEGIN
  PERFORM retention._reject_unless(unknown IS NULL,
    format('there is no attribute "%s" of customers', unknown),
    'Attributes are the columns of retention.profile.', 'undefined_column');
END
$$;
COMMENT ON FUNCTION retention._check_attributes(name[]) IS
  'An error unless these are columns of profile; nulls are left out.';

CREATE OR REPLACE FUNCTION retention.clv_usage(of_attribute name DEFAULT NULL)
  RETURNS TABLE (
    attribute name, kind text, name text, through_segment text, size bigint, status text,
    channels text[], changed_at timestamptz)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  PERFORM retention._check_attributes(ARRAY[of_attribute]);
  RETURN QUERY
    WITH used AS MATERIALIZED (SELECT * FROM retention._users_of_attributes())
    SELECT a.attribute, u.kind, u.name, a.through_segment, u.size, u.status, u.channels,
           u.changed_at
    FROM used u
    CROSS JOIN LATERAL (
      SELECT own AS attribute, NULL::text AS through_segment FROM unnest(u.attributes) AS own
      UNION ALL
      SELECT theirs, s.name FROM used s, unnest(s.attributes) AS theirs
      WHERE s.kind = 'segment' AND s.name = u.segment) AS a
    WHERE of_attribute IS NULL OR a.attribute = of_attribute
    ORDER BY a.attribute, u.kind COLLATE "C", u.name COLLATE "C", a.through_segment NULLS FIRST;
END
$$;
COMMENT ON FUNCTION retention.clv_usage(name) IS
  'Which segments, flows and registered uses use which attribute of customers, or one of them: by '
  'themselves, or through the segment that they start from or are shown to. With the members of '
  'the segment, or the customers in the flow, the status, the channels that are written on, and '
  'when it was added, published or registered.';

CREATE OR REPLACE FUNCTION retention.register_use(
    name text, kind text, segment text DEFAULT NULL, attributes name[] DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  PERFORM retention._check_length('name', 'name', name), retention._check_length('kind', 'name',
                                                                                 kind);
  PERFORM retention._check_attributes(attributes);
  PERFORM retention._reject_unless(kind NOT IN ('segment', 'flow'),
    format('a %s is found by itself', kind), 'Register what is outside of the database.');
  PERFORM retention._reject_unless(
    segment IS NULL OR EXISTS (SELECT FROM retention.segment s WHERE s.segment = segment),
    format('segment "%s" does not exist', segment),
    'add_segment makes it; retention.segment lists those there are.', 'undefined_object');
  attributes := array_remove(coalesce(attributes, '{}'), NULL);
  PERFORM retention._reject_unless(segment IS NOT NULL OR attributes <> '{}',
    format('%s "%s" uses no segment and no attributes', kind, name),
    'Say which, or call drop_use.');
  INSERT INTO retention.registered_use AS u
    VALUES (kind, name, segment, attributes, retention.now())
    ON CONFLICT ON CONSTRAINT registered_use_pkey DO UPDATE
    SET (segment, attributes, registered_at)
        = (excluded.segment, excluded.attributes, excluded.registered_at);
END
$$;
COMMENT ON FUNCTION retention.register_use(text, text, text, name[]) IS
  'Has clv_usage know that something outside, such as a form, uses a segment, or attributes of '
  'customers. Called again for the same name and kind, it changes that.';

CREATE OR REPLACE FUNCTION retention.drop_use(name text, kind text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM retention.registered_use u
  WHERE (u.kind, u.name) = (drop_use.kind, drop_use.name);
  PERFORM retention._reject_unless(FOUND,
    format('no %s %s is registered', coalesce(kind, 'null'),
           coalesce('"' || name || '"', 'null')),
    'retention.registered_use lists those there are.', 'undefined_object');
END
$$;
COMMENT ON FUNCTION retention.drop_use(text, text) IS
  'Forgets what register_use has registered.';
