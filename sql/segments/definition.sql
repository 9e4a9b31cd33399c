-- The definition of a segment's view, by which it is seen to have changed.

CREATE OR REPLACE FUNCTION retention._objects_below(relation regclass)
  RETURNS TABLE (class regclass, object oid)
  -- Planned once a session, rather than for each segment, as _definition is.
  LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH RECURSIVE read AS (
      SELECT 'pg_class'::regclass::oid AS class, relation::oid AS object
      UNION
      SELECT d.refclassid, d.refobjid
      FROM read
      LEFT JOIN pg_rewrite r
        ON read.class = 'pg_class'::regclass AND r.ev_class = read.object AND r.ev_type = '1'
      -- What a view uses, its rule does.
      JOIN pg_depend d ON (d.classid, d.objid) = (
        CASE read.class WHEN 'pg_class'::regclass THEN 'pg_rewrite'::regclass ELSE read.class END,
        CASE read.class WHEN 'pg_class'::regclass THEN r.oid ELSE read.object END)
      WHERE d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass)
        -- What belongs to an extension, such as our profile, changes with its version.
        AND NOT EXISTS (
          SELECT FROM pg_depend e
          WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e'))
    SELECT class::regclass, object FROM read;
END
$$;
COMMENT ON FUNCTION retention._objects_below(regclass) IS
  'A relation, and the relations, functions and operators that it uses if it is a view, or a view '
  'below it does, as far as PostgreSQL knows: not what the text of a function names. Without '
  'those of extensions.';

CREATE OR REPLACE FUNCTION retention._function_definition(function regprocedure) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT concat_ws(' ', function, l.lanname, p.prosrc, pg_get_function_sqlbody(p.oid), p.probin,
                   p.proconfig, p.prosecdef, a.aggtransfn, a.aggfinalfn, a.agginitval)
  FROM pg_proc p
  JOIN pg_language l ON l.oid = p.prolang
  LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
  WHERE p.oid = function
$$;
COMMENT ON FUNCTION retention._function_definition(regprocedure) IS
  'What a function or an aggregate does, as text.';

CREATE OR REPLACE FUNCTION retention._definition(relation regclass) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan
  -- Views are hashed as text, which must not depend on the session.
  SET DateStyle = 'ISO, YMD' SET IntervalStyle = postgres SET extra_float_digits = 1
    SET bytea_output = hex SET TimeZone = 'UTC'
  SET lc_monetary = 'C' SET quote_all_identifiers = off SET standard_conforming_strings = on
AS $$
BEGIN
  RETURN (
    SELECT retention._stamped(md5(string_agg(part.text, E'\n' ORDER BY part.text)))
    FROM retention._objects_below(relation) AS below
    LEFT JOIN pg_class c ON below.class = 'pg_class'::regclass AND c.oid = below.object
    LEFT JOIN pg_operator o ON below.class = 'pg_operator'::regclass AND o.oid = below.object
    CROSS JOIN LATERAL (
      SELECT CASE WHEN c.relkind IN ('v', 'm')
                  THEN concat(c.oid::regclass, ' ', pg_get_viewdef(c.oid))
                  WHEN c.oid IS NOT NULL THEN c.oid::regclass::text
                  WHEN o.oid IS NOT NULL THEN concat(o.oid::regoperator, ' ', o.oprcode)
                  ELSE retention._function_definition(below.object)
             END COLLATE "C" AS text) AS part);
END
$$;
COMMENT ON FUNCTION retention._definition(regclass) IS
  'Stamped fingerprint of a view, of the views below it, and of the functions that these call.';

CREATE OR REPLACE FUNCTION retention._find_by_name() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- In the schema there are none but our own.
  PERFORM retention._reject_unless(TG_TABLE_SCHEMA = 'retention',
    'this trigger function works on tables of retention only', '', 'trigger_protocol_violated');
  NEW.relation := coalesce(to_regclass(NEW.relation_name), 0);
  NEW.owner := coalesce(pg_get_userbyid(retention._owner(NEW.relation)), NEW.owner);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._find_by_name() IS
  'Trigger: a new row''s relation is that of its name. A restored dump has the oid that it had '
  'elsewhere, which here may be another relation''s.';
