-- Prints what CREATE OR REPLACE cannot change of the extension's routines and views: each line a
-- kind, a name, and what must stay the same, or in a list may only get more.
\pset format unaligned
\pset tuples_only on
SET search_path = pg_catalog;
SELECT concat_ws(E'\t', CASE p.prokind WHEN 'a' THEN 'AGGREGATE' WHEN 'p' THEN 'PROCEDURE'
                                       ELSE 'FUNCTION' END,
                 p.oid::regprocedure,
                 json_build_object(
                   'result', coalesce(pg_get_function_result(p.oid), ''),
                   'names of arguments', coalesce(p.proargnames::text, ''),
                   'modes of arguments', coalesce(p.proargmodes::text, ''),
                   'kind of aggregate', coalesce((SELECT concat(a.aggkind, a.aggnumdirectargs)
                                         FROM pg_aggregate a WHERE a.aggfnoid = p.oid), ''),
                   'defaults', array_fill(''::text, ARRAY[p.pronargdefaults::integer])))
FROM pg_proc p WHERE p.pronamespace = 'retention'::regnamespace
UNION ALL
SELECT concat_ws(E'\t', 'VIEW', c.oid::regclass,
                 json_build_object(
                   'columns', array_agg(concat_ws(' ', a.attname,
                                                  format_type(a.atttypid, a.atttypmod),
                                                  nullif(a.attcollation, 0)::regcollation)
                                        ORDER BY a.attnum)))
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind = 'v'
GROUP BY c.oid;
