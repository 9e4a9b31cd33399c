-- Every member of the extension: the API, and its security, at a glance. Members named _... are internal.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
SET search_path = pg_catalog;
\pset format unaligned
\pset fieldsep ' | '
CREATE TEMPORARY VIEW member AS
  SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'retention'
  WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';

-- From 17 on row types are members too.
SELECT classid::regclass AS catalog, count(*) FROM member WHERE classid <> 'pg_type'::regclass GROUP BY classid ORDER BY classid::regclass::text COLLATE "C";

-- Routines: kind, language, volatility, parallel label, strictness, whose rights, settings, and whether everybody may call it.
SELECT format('%s%s', p.oid::regprocedure, CASE WHEN p.pronargdefaults > 0 THEN format(' [%s defaults]', p.pronargdefaults) END) AS routine,
       coalesce(pg_get_function_result(p.oid), '-') AS result,
       CASE p.prokind WHEN 'f' THEN 'function' WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE p.prokind::text END AS kind, l.lanname AS language,
       CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS volatility,
       CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END AS parallel,
       CASE WHEN p.proisstrict THEN 'strict' ELSE 'null too' END AS nulls,
       CASE WHEN p.prosecdef THEN 'DEFINER' ELSE 'invoker' END AS security,
       coalesce(array_to_string(p.proconfig, '; '), CASE WHEN p.prosqlbody IS NOT NULL THEN 'bound' WHEN l.lanname IN ('c', 'internal') THEN '-' ELSE 'NONE' END) AS settings,
       CASE WHEN has_function_privilege('public', p.oid, 'EXECUTE') THEN 'public' ELSE 'granted' END AS execute
  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid JOIN pg_language l ON l.oid = p.prolang
  ORDER BY p.proname LIKE '\_%', p.oid::regprocedure::text COLLATE "C";
-- What the arguments are called.
SELECT format('%s(%s)', p.proname, pg_get_function_arguments(p.oid)) AS call
  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
  WHERE p.proname NOT LIKE '\_%' AND p.prosrc NOT LIKE 'retention_%\_transition' AND pg_get_function_arguments(p.oid) NOT LIKE 'internal%'
  ORDER BY p.oid::regprocedure::text COLLATE "C";
-- Nothing runs with the caller's search path but a procedure that commits, which could not with a path of its own.
SELECT p.oid::regprocedure AS unpinned, p.prokind = 'p' AND p.prosrc ~ '\mCOMMIT;' AS commits
  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid JOIN pg_language l ON l.oid = p.prolang
  WHERE l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL
    AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c = 'search_path=pg_catalog, pg_temp')
  ORDER BY p.oid::regprocedure::text COLLATE "C";
-- And what such a procedure calls is of a schema that it names: all but keywords, and variables' own.
SELECT p.oid::regprocedure AS procedure, coalesce(called.name[1], called.name[2]) AS unqualified
  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid,
       regexp_matches(regexp_replace(p.prosrc, '''[^'']*''|--[^\n]*|\m(ERRCODE|HINT|DETAIL) =', '', 'g'), '(?<![.\w])(\w+)\(|(?<!\()(\s(?:=|<>|<|>|<=|>=|\|\||[-+*/])\s)', 'g') AS called (name)
  WHERE p.prokind = 'p' AND p.proconfig IS NULL AND coalesce(upper(called.name[1]), '') NOT IN ('COALESCE', 'OPERATOR');
-- Lists what runs with the extension's rights: what an analyst or an operator may call, and nothing internal.
SELECT p.oid::regprocedure AS as_owner FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid WHERE p.prosecdef
  ORDER BY p.oid::regprocedure::text COLLATE "C";

-- Relations with their columns; what pg_dump saves; who else may read or write.
SELECT c.relname AS relation, CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' ELSE c.relkind::text END AS kind,
       coalesce((SELECT CASE extcondition[array_position(extconfig, c.oid)] WHEN '' THEN 'all' ELSE extcondition[array_position(extconfig, c.oid)] END
                 FROM pg_extension WHERE extname = 'retention' AND c.oid = ANY (extconfig)), '-') AS dumped,
       coalesce(array_to_string(c.reloptions, ', '), '-') AS options,
       NOT EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = 0) AS private,
       CASE WHEN c.relkind <> 'S' THEN (SELECT string_agg(format('%s %s%s', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN '!' END), ', ' ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) END AS columns
  FROM pg_class c
  WHERE c.relkind IN ('r', 'v', 'S', 'c') AND (EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
        OR EXISTS (SELECT FROM member m JOIN pg_type t ON t.oid = m.objid AND m.classid = 'pg_type'::regclass WHERE t.typrelid = c.oid))
  ORDER BY c.relkind, c.relname COLLATE "C";
SELECT t.tgrelid::regclass AS "table", t.tgname AS trigger, pg_get_triggerdef(t.oid) AS definition
  FROM pg_trigger t JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = t.tgrelid WHERE NOT t.tgisinternal ORDER BY t.tgrelid::regclass::text COLLATE "C", t.tgname;
SELECT c.conrelid::regclass AS "table", c.conname, pg_get_constraintdef(c.oid) AS definition
  FROM pg_constraint c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.conrelid WHERE c.contype <> 'n' ORDER BY c.conrelid::regclass::text COLLATE "C", c.conname;
SELECT i.indexrelid::regclass AS index, pg_get_indexdef(i.indexrelid) AS definition
  FROM pg_index i JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = i.indrelid ORDER BY i.indexrelid::regclass::text COLLATE "C";

-- Everything has a comment: these have not.
SELECT pg_describe_object(m.classid, m.objid, 0) AS without_comment FROM member m
  WHERE obj_description(m.objid, m.classid::regclass::name) IS NULL
    AND NOT (m.classid = 'pg_class'::regclass AND (SELECT relkind = 'S' FROM pg_class WHERE oid = m.objid))
    AND NOT (m.classid = 'pg_type'::regclass AND (SELECT typelem <> 0 OR typrelid <> 0 AND (SELECT relkind <> 'c' FROM pg_class WHERE oid = typrelid) FROM pg_type WHERE oid = m.objid))
  ORDER BY 1;
SELECT c.relname AS relation, string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns_without_comment
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind IN ('r', 'v', 'c') AND col_description(c.oid, a.attnum) IS NULL
    -- The views of groups have the columns of profile.
    AND NOT (c.relkind = 'v' AND c.relname <> 'profile' AND EXISTS (SELECT FROM pg_attribute b WHERE b.attrelid = 'retention.profile'::regclass AND b.attname = a.attname))
  GROUP BY c.relname ORDER BY c.relname COLLATE "C";

DROP VIEW pg_temp.member;
RESET search_path;
DROP EXTENSION retention CASCADE;
