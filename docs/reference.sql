-- The reference tables of docs/reference.md: everything public, from its comment.
\pset format unaligned
\pset tuples_only on

SELECT E'\n## Functions, procedures and aggregates\n\n| call | result | what it does |\n|---|---|---|';
SELECT format('| `%s(%s)` | %s | %s |', proname,
              pg_get_function_arguments(p.oid),
              CASE prokind WHEN 'p' THEN '`CALL`' ELSE format('`%s`', pg_get_function_result(p.oid)) END,
              replace(obj_description(p.oid, 'pg_proc'), '|', '\|'))
FROM pg_proc p
WHERE pronamespace = 'retention'::regnamespace AND left(proname, 1) <> '_' AND prorettype <> 'internal'::regtype
  AND NOT EXISTS (SELECT FROM pg_aggregate a WHERE p.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn))
  AND NOT EXISTS (SELECT FROM pg_type t WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend))
ORDER BY proname, pg_get_function_arguments(p.oid);

SELECT E'\n## Tables and views\n\n| name | kind | what it holds |\n|---|---|---|';
SELECT format('| `%s` | %s | %s |', relname, CASE relkind WHEN 'r' THEN 'table' ELSE 'view' END, obj_description(oid, 'pg_class'))
FROM pg_class WHERE relnamespace = 'retention'::regnamespace AND relkind IN ('r', 'v')
ORDER BY relname;

SELECT format(E'\n### %s\n\n| column | type | what it means |\n|---|---|---|\n%s', relname,
              (SELECT string_agg(format('| `%s` | `%s` | %s |', attname, format_type(atttypid, atttypmod), col_description(c.oid, attnum)),
                                 E'\n' ORDER BY attnum)
               FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped))
FROM pg_class c
WHERE relnamespace = 'retention'::regnamespace
  AND (relkind = 'r' OR relname IN ('order_summary', 'model', 'profile', 'model_validation'))
ORDER BY relkind = 'c', relname;
