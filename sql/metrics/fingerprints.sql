-- Fingerprints: whether a relation is the same as when it was last read.

CREATE OR REPLACE FUNCTION retention._relation_fingerprint(relation regclass, columns name[])
  RETURNS text
  LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
  AS 'MODULE_PATHNAME', 'retention_relation_fingerprint';
COMMENT ON FUNCTION retention._relation_fingerprint(regclass, name[]) IS
  'Equal for two moments between which neither the rows of a table nor what these columns are has '
  'changed, without reading it; null when this cannot be told.';

CREATE OR REPLACE FUNCTION retention._is_fixed(function oid) RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    -- Those named depend on settings which jobs pin, and on types which _text_fingerprint looks
    -- into.
    SELECT l.lanname IN ('internal', 'c') AND (p.provolatile = 'i' OR p.oid = ANY (
      '{array_out,record_out,range_out,multirange_out,enum_out,'
       'date_out,timestamp_out,timestamptz_out,interval_out}'::regproc[]::oid[]))
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid = function);
END
$$;
COMMENT ON FUNCTION retention._is_fixed(oid) IS
  'Whether a function that writes values as text is compiled, and looks at nothing but its '
  'argument. What one in another language does, or calls, may change any time.';

CREATE OR REPLACE FUNCTION retention._types_within(type regtype) RETURNS SETOF regtype
  LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY WITH RECURSIVE part AS (
    SELECT type::oid AS oid
    UNION
    SELECT below.oid
    FROM part JOIN pg_type t ON t.oid = part.oid
    CROSS JOIN LATERAL (
      VALUES (t.typbasetype), (t.typelem)
      UNION ALL SELECT a.atttypid FROM pg_attribute a
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL SELECT r.rngsubtype FROM pg_range r
        WHERE t.oid IN (r.rngtypid, r.rngmultitypid)) AS below (oid)
    WHERE below.oid <> 0)
  SELECT part.oid::regtype FROM part;
END
$$;
COMMENT ON FUNCTION retention._types_within(regtype) IS
  'A type, and those that it is made of: below a domain, of elements, attributes and bounds.';

CREATE OR REPLACE FUNCTION retention._text_fingerprint(type regtype) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (WITH writer AS (
    SELECT t.oid AS type, t.typoutput::oid AS function,
           (SELECT array_agg((e.oid, e.enumlabel)::text ORDER BY e.oid) FROM pg_enum e
            WHERE e.enumtypid = t.oid)::text AS labels,
           (SELECT array_agg(a.attnum ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0
              AND NOT a.attisdropped)::text AS attributes
    FROM retention._types_within(_text_fingerprint.type) AS part JOIN pg_type t ON t.oid = part
    UNION ALL
    SELECT c.castsource, nullif(c.castfunc, 0), c.castmethod::text, NULL
    FROM pg_cast c WHERE c.castsource = retention._base_type(_text_fingerprint.type)
      AND c.casttarget = 'text'::regtype)
  SELECT CASE WHEN bool_and(w.function IS NULL OR retention._is_fixed(w.function))
              THEN string_agg(concat_ws(':', w.type, w.function, p.prosrc, p.probin, w.labels,
                                        w.attributes), ' '
                              ORDER BY w.type, w.function) END
  FROM writer w LEFT JOIN pg_proc p ON p.oid = w.function);
END
$$;
COMMENT ON FUNCTION retention._text_fingerprint(regtype) IS
  'Equal for two moments at which values of a type, such as keys, are written as the same text: '
  'its cast, its labels; null when this cannot be told.';

CREATE OR REPLACE FUNCTION retention._is_read_elsewhere(query text, relation regclass)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  plan jsonb;
BEGIN
  SELECT q.plan INTO plan
    FROM retention._query_of(relation, 'EXPLAIN (FORMAT JSON) ' || query) AS q (plan json);
  RETURN jsonb_path_exists(plan,
                           'strict $.**."Node Type" ? (@ like_regex "^(Foreign|Custom) Scan$")');
END
$$;
COMMENT ON FUNCTION retention._is_read_elsewhere(text, regclass) IS
  'Whether a query reads rows that are not in the tables that it names: on other servers, or in '
  'an extension''s own storage.';

CREATE OR REPLACE FUNCTION retention._source_fingerprint(source retention.source, time_zone text)
  RETURNS text
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns CONSTANT name[] := array_remove(ARRAY[source.customer_id, source.ordered_at,
                                                source.amount, source.order_id], NULL);
  rows_fingerprint text := retention._relation_fingerprint(source.relation, columns);
  written text := retention._text_fingerprint(retention._column_type(source.relation, 'customer_id',
      source.customer_id));
BEGIN
  IF source.order_id IS NOT NULL THEN
    written := written || ' ' || retention._text_fingerprint(retention._column_type(source.relation,
        'order_id', source.order_id));
  END IF;
  IF retention._column_type(source.relation, 'amount', source.amount) = 'money'::regtype THEN
    -- It says how many digits of money are cents.
    written := written || ' ' || current_setting('lc_monetary');
  END IF;
  RETURN CASE WHEN rows_fingerprint || written IS NULL THEN NULL
              WHEN NOT retention._is_read_elsewhere(
                retention._source_query(source, time_zone), source.relation)
              THEN rows_fingerprint || md5(written) END;
END
$$;
COMMENT ON FUNCTION retention._source_fingerprint(retention.source, text) IS
  'Equal for two moments at which reading a source would give the same; null when this cannot be '
  'told, as of views, and of what other servers or other storage than the heap keep.';

CREATE OR REPLACE FUNCTION retention._stamped(fingerprint text) RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT current_setting('server_version_num')::integer / 10000 || ':' || fingerprint
$$;
COMMENT ON FUNCTION retention._stamped(text) IS
  'A fingerprint of what the server writes as text, with its major version: another one may write '
  'the same otherwise.';

CREATE OR REPLACE FUNCTION retention._is_redefined(stored text, found text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT stored <> found AND split_part(stored, ':', 1) = split_part(found, ':', 1)
$$;
COMMENT ON FUNCTION retention._is_redefined(text, text) IS
  'Whether two stamped fingerprints are known to be of different definitions; those of different '
  'major versions tell nothing.';
