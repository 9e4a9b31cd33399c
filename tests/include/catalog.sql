-- Prints what the extension is made of: each line an object, what is told of it, and that. Two
-- databases that print the same cannot be told apart by those who use the extension.
\pset format unaligned
\pset tuples_only on
SET search_path = pg_catalog;
CREATE TEMPORARY VIEW member AS
  SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
  WHERE e.extname = 'retention' AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';
CREATE TEMPORARY VIEW relation AS
  SELECT c.* FROM pg_class c
  WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind NOT IN ('i', 'I', 't');
CREATE FUNCTION pg_temp.rights(acl aclitem[]) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat(coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'), ' ',
                           a.privilege_type), ', '
                    ORDER BY a.grantee, a.privilege_type)
  FROM aclexplode(acl) AS a
$$;

SELECT concat(o.type, ' ', o.identity, ' | ', told.what, ' | ',
              replace(told.definition, E'\n', E'\\n')) COLLATE "C" AS line
FROM (
  -- What are members, which comments they have, and who has which rights.
  SELECT m.classid, m.objid, 0 AS number, 'member' AS what, '' AS definition FROM member m
  UNION ALL
  SELECT d.classoid, d.objoid, d.objsubid, 'comment', d.description
  FROM pg_description d JOIN member m ON (m.classid, m.objid) = (d.classoid, d.objoid)
  UNION ALL
  SELECT d.classoid, d.objoid, d.objsubid, 'comment', d.description
  FROM pg_description d
  JOIN pg_trigger t ON (d.classoid, d.objoid) = ('pg_trigger'::regclass, t.oid)
  JOIN relation c ON c.oid = t.tgrelid
  UNION ALL
  SELECT i.classoid, i.objoid, i.objsubid, 'initial rights', pg_temp.rights(i.initprivs)
  FROM pg_init_privs i JOIN member m ON (m.classid, m.objid) = (i.classoid, i.objoid)
  UNION ALL
  SELECT 'pg_namespace'::regclass, n.oid, 0, 'rights',
         concat(n.nspowner::regrole, ': ',
                pg_temp.rights(coalesce(n.nspacl, acldefault('n', n.nspowner))))
  FROM pg_namespace n WHERE n.nspname = 'retention'
  -- Routines.
  UNION ALL
  SELECT 'pg_proc'::regclass, p.oid, 0, told.*
  FROM pg_proc p LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid,
  LATERAL (VALUES
    ('definition', CASE p.prokind WHEN 'a' THEN
       concat_ws(' ', pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), a)
     ELSE pg_get_functiondef(p.oid) END),
    ('settings', concat_ws(' ', p.provolatile, p.proparallel, p.proisstrict, p.procost, p.prorows)),
    ('rights', concat(p.proowner::regrole, ': ', pg_temp.rights(coalesce(
       p.proacl, acldefault('f', p.proowner)))))) AS told (what, definition)
  WHERE p.pronamespace = 'retention'::regnamespace
  -- Relations, and row types.
  UNION ALL
  SELECT 'pg_class'::regclass, c.oid, 0, told.*
  FROM relation c,
  LATERAL (VALUES
    ('settings', concat_ws(' ', c.relkind, c.relpersistence, c.relreplident, c.relrowsecurity,
                           c.relforcerowsecurity, c.reloptions)),
    ('rights', concat(c.relowner::regrole, ': ', pg_temp.rights(coalesce(
       c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))))),
    ('view', CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END),
    ('sequence', (SELECT format('%s of %s', (s.seqtypid::regtype, s.seqstart, s.seqincrement,
                                             s.seqmax, s.seqmin, s.seqcache, s.seqcycle),
                                (SELECT string_agg(concat_ws(' ', d.deptype, pg_describe_object(
                                          d.refclassid, d.refobjid, d.refobjsubid)), ', '
                                          ORDER BY d.refobjid, d.refobjsubid)
                                 FROM pg_depend d
                                 WHERE (d.classid, d.objid) = ('pg_class'::regclass, c.oid)
                                   AND d.deptype IN ('a', 'i')))
                  FROM pg_sequence s WHERE s.seqrelid = c.oid)),
    ('dumped', (SELECT coalesce(nullif(e.extcondition[array_position(e.extconfig, c.oid)], ''),
                                'all')
                FROM pg_extension e
                WHERE e.extname = 'retention' AND c.oid = ANY (e.extconfig)))
    ) AS told (what, definition)
  WHERE told.definition IS NOT NULL
  -- Columns, in their order: rows are also written without their names.
  UNION ALL
  SELECT 'pg_class'::regclass, c.oid, 0, concat('column ', a.place),
         concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                   nullif(a.attcollation, 0)::regcollation, CASE WHEN a.attnotnull THEN 'NOT NULL'
                   END, a.attidentity, a.attgenerated, a.attstorage, a.attcompression,
                   -- Some servers keep options of their own beside those that can be given.
                   ARRAY(SELECT o FROM unnest(a.attoptions) AS o WHERE o LIKE 'n\_distinct%'),
                   pg_get_expr(d.adbin, d.adrelid), pg_temp.rights(a.attacl))
  FROM relation c
  JOIN (SELECT a.*, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS place
        FROM pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped) AS a ON a.attrelid = c.oid
  LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
  -- Constraints, indexes, triggers.
  UNION ALL
  SELECT 'pg_constraint'::regclass, k.oid, 0, 'definition',
         concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated)
  FROM pg_constraint k WHERE k.connamespace = 'retention'::regnamespace
  UNION ALL
  SELECT 'pg_class'::regclass, i.indexrelid, 0, 'definition',
         concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisreplident,
                   i.indisclustered)
  FROM pg_index i JOIN relation c ON c.oid = i.indrelid
  UNION ALL
  SELECT 'pg_trigger'::regclass, t.oid, 0, 'definition',
         concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
  FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
  UNION ALL
  SELECT 'pg_policy'::regclass, p.oid, 0, 'definition',
         concat_ws(' ', p.polcmd, p.polroles, pg_get_expr(p.polqual, p.polrelid),
                   pg_get_expr(p.polwithcheck, p.polrelid))
  FROM pg_policy p JOIN relation c ON c.oid = p.polrelid
  -- Types, but those of rows and arrays.
  UNION ALL
  SELECT 'pg_type'::regclass, t.oid, 0, 'definition',
         concat_ws(' ', t.typtype, t.typlen, t.typbyval, t.typalign, t.typstorage, t.typcategory,
                   t.typinput, t.typoutput, t.typreceive, t.typsend, t.typnotnull,
                   nullif(t.typbasetype, 0)::regtype, t.typdefault, pg_temp.rights(t.typacl),
                   (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e
                    WHERE e.enumtypid = t.oid))
  FROM pg_type t WHERE t.typnamespace = 'retention'::regnamespace AND t.typrelid = 0
    AND t.typelem = 0
  UNION ALL
  SELECT 'pg_extension'::regclass, e.oid, 0, told.*
  FROM pg_extension e,
  LATERAL (VALUES ('version', e.extversion), ('schema', e.extnamespace::regnamespace::text))
    AS told (what, definition)
  WHERE e.extname = 'retention'
) AS told
CROSS JOIN LATERAL pg_identify_object(told.classid, told.objid, told.number) AS o
ORDER BY line;
