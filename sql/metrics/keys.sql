-- Customers' keys of any type, compared so that an index serves.

CREATE OR REPLACE FUNCTION retention._key_type(relation regclass, column_name name) RETURNS regtype
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN type = ANY ('{smallint,integer,bigint,uuid,text,varchar}'::regtype[]) THEN type
    ELSE 'text'::regtype END
  FROM (SELECT retention._column_type(relation, 'customer_id', column_name) AS type) AS found
$$;
COMMENT ON FUNCTION retention._key_type(regclass, name) IS
  'The type that a column of keys is read as: its own where C code knows how to write that, else '
  'text.';

CREATE OR REPLACE FUNCTION retention._key_expression(relation regclass, column_name name)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I::%s', column_name, retention._key_type(relation, column_name))
$$;
COMMENT ON FUNCTION retention._key_expression(regclass, name) IS
  'The expression that reads a column of keys.';

CREATE OR REPLACE FUNCTION retention._key_condition(key text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  -- What is_usable_key says in C.
  RETURN format($condition$octet_length(%1$s) <= %2$s
    AND btrim(%1$s, E' \t\n\x0B\f\r') <> ''$condition$, key, retention._most('key'));
COMMENT ON FUNCTION retention._key_condition(text) IS
  'The condition that a key, given as an expression of text, is a customer''s: not too long for '
  'an index, and not blank as guests are written.';

CREATE OR REPLACE FUNCTION retention._equality(type regtype) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    (SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
     FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod AND a.amname = 'btree'
     JOIN pg_amop e ON e.amopfamily = c.opcfamily AND e.amopstrategy = 3
       AND e.amoplefttype = c.opcintype AND e.amoprighttype = c.opcintype
     JOIN pg_operator o ON o.oid = e.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
     WHERE c.opcdefault AND c.opcintype = type), '=')
$$;
COMMENT ON FUNCTION retention._equality(regtype) IS
  'The operator that a type''s indexes compare by, wherever its extension is installed.';

CREATE OR REPLACE FUNCTION retention._is_of_type(
    value text, type text, author regrole DEFAULT quote_ident(current_user)::regrole)
  RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM FROM retention._query_as(author, format('SELECT %L::%s IS NULL', value,
                                                  type)) AS q (is_null boolean);
  RETURN true;
EXCEPTION WHEN data_exception THEN
  RETURN false;
END
$$;
COMMENT ON FUNCTION retention._is_of_type(text, text, regrole) IS
  'Whether a text, such as a key, can be a value of a type, whose author''s rights it is tried '
  'with.';

CREATE OR REPLACE FUNCTION retention._typed_keys(
    customer_ids text[], type text, is_exact boolean, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  typed text;
  query text := format($query$
    SELECT coalesce(array_agg(k::%1$s), '{}')::text FROM unnest($1) AS k
    WHERE NOT $2 OR k::%1$s::text = k$query$, type);
BEGIN
  SELECT q.keys INTO typed
    FROM retention._query_as(author, query, customer_ids, is_exact) AS q (keys text);
  RETURN typed;
EXCEPTION WHEN data_exception THEN
  -- Another source's keys may be no values of this type.
  SELECT q.keys INTO typed
    FROM retention._query_as(author, query,
           ARRAY(SELECT k FROM unnest(customer_ids) AS k
                 WHERE retention._is_of_type(k, type, author)), is_exact) AS q (keys text);
  RETURN typed;
END
$$;
COMMENT ON FUNCTION retention._typed_keys(text[], text, boolean, regrole) IS
  'Keys as an array of a type, without those that are no values of it; where exact, also without '
  'those that the type would write otherwise: 007 is the number 7, but not the same customer.';

CREATE OR REPLACE FUNCTION retention._is_deterministic(relation regclass, column_name name)
  RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.collisdeterministic FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
  WHERE a.attrelid = relation AND a.attname = column_name
$$;
COMMENT ON FUNCTION retention._is_deterministic(regclass, name) IS
  'Whether only equal bytes are equal in a column of text.';

CREATE OR REPLACE FUNCTION retention._has_equality(type regtype, author regrole) RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM FROM retention._query_as(author, format('SELECT NULL::%1$s %2$s NULL::%1$s', type,
                                                  retention._equality(type)))
    AS q (is_equal boolean);
  RETURN true;
EXCEPTION WHEN undefined_function THEN
  RETURN false;
END
$$;
COMMENT ON FUNCTION retention._has_equality(regtype, regrole) IS
  'Whether values of a type can be compared, by its author.';

CREATE OR REPLACE FUNCTION retention._key_comparison(relation regclass, column_name name)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN type = ANY ('{smallint,integer,bigint,uuid}'::regtype[]) THEN 'values'
    WHEN type = ANY ('{text,varchar}'::regtype[])
      AND retention._is_deterministic(relation, column_name) THEN 'texts'
    -- There are no arrays of arrays.
    WHEN EXISTS (SELECT FROM pg_type WHERE oid = type AND typcategory = 'A')
      OR NOT retention._has_equality(type, retention._owner(relation)) THEN 'bytes'
    ELSE 'values, then bytes' END
  FROM (SELECT retention._column_type(relation, 'customer_id', column_name) AS type) AS found
$$;
COMMENT ON FUNCTION retention._key_comparison(regclass, name) IS
  'How keys in a column are compared so that an index serves: as values of its type, as texts, '
  'or by the bytes of their texts; and by both where the type, or its collation, has values for '
  'equal that may be two customers.';

CREATE OR REPLACE FUNCTION retention._keys_condition(
    relation regclass, column_name name, customer_ids text[], is_exact boolean DEFAULT true)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  base_type regtype := retention._column_type(relation, 'customer_id', column_name);
  type text := format_type(base_type, -1);
  comparison text := retention._key_comparison(relation, column_name);
  by_bytes text := format('%I::text COLLATE "C" = ANY (%L::text[])', column_name, customer_ids);
BEGIN
  IF comparison = 'texts' THEN
    RETURN format('%I = ANY (%L::text[])', column_name, customer_ids);
  ELSIF comparison = 'bytes' THEN
    RETURN by_bytes;
  END IF;
  RETURN format('%I %s ANY (%L::%s[])', column_name,
                CASE comparison WHEN 'values' THEN '=' ELSE retention._equality(base_type) END,
                retention._typed_keys(customer_ids, type, is_exact AND comparison = 'values',
                                      retention._owner(relation)), type)
      || CASE WHEN comparison = 'values, then bytes' AND is_exact THEN ' AND ' || by_bytes
         ELSE '' END;
END
$$;
COMMENT ON FUNCTION retention._keys_condition(regclass, name, text[], boolean) IS
  'The condition that finds the rows of some keys in a relation, by index where the column has '
  'one. Not exact: also those that the column''s type, or its collation, has for equal.';

CREATE OR REPLACE FUNCTION retention._is_by_index(node jsonb) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- By a later column of an index, all of the index is read. Of an expression only the plan knows
  -- how it is written.
  SELECT coalesce(bool_or(i.indkey[0] = 0 OR strpos(found.condition, format('.%I ', a.attname)) > 0
                          OR strpos(found.condition, format('.%I)', a.attname)) > 0), false)
  FROM (SELECT jsonb_path_query_first(node, '$.**."Index Name"') #>> '{}' AS index,
               coalesce(node->>'Index Cond', node->>'Recheck Cond') AS condition) AS found
  JOIN pg_index i ON i.indexrelid = to_regclass(format('%I.%I', node->>'Schema', found.index))
  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
  WHERE found.condition IS NOT NULL
$$;
COMMENT ON FUNCTION retention._is_by_index(jsonb) IS
  'Whether a node of a plan finds its rows by the first column of an index.';

CREATE OR REPLACE FUNCTION retention._scans_a_table(query text, relation regclass) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  plan jsonb;
BEGIN
  SELECT q.plan INTO plan
    FROM retention._query_of(relation, 'EXPLAIN (VERBOSE, FORMAT JSON) ' || query) AS q (plan json);
  -- A few pages are read as fast in full.
  RETURN EXISTS (
    SELECT FROM jsonb_path_query(plan,
                                 'strict $.** ? (@."Node Type" like_regex "^(Seq|Index|Index '
                                 'Only|Bitmap Heap) Scan$")') AS node
    WHERE pg_relation_size(to_regclass(format('%I.%I', node->>'Schema',
                                              node->>'Relation Name'))) > 128 * 8192
      AND NOT retention._is_by_index(node));
END
$$;
COMMENT ON FUNCTION retention._scans_a_table(text, regclass) IS
  'Whether a query cannot do without reading a table of more than a megabyte in full, or an index '
  'of it.';
