-- The functions that take a customer's key, for keys of other types.

DO $$
DECLARE
  function record;
  type regtype;
BEGIN
  -- Types are written, and operators found, as in functions of ours, whoever creates the extension.
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
          pg_catalog.set_config('quote_all_identifiers', 'off', true);
  FOR function IN
    SELECT p.proname, keys.names, array_position(p.proargnames, keys.names[1]) - 1 AS position,
           pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,
           CASE p.provolatile WHEN 'v' THEN 'VOLATILE' ELSE 'STABLE' END AS volatility,
           CASE WHEN p.proretset THEN '* FROM ' ELSE '' END AS rows,
           obj_description(p.oid, 'pg_proc') AS comment,
           (SELECT string_agg(format(CASE WHEN a.name = ANY (keys.names) THEN '%I::text' ELSE '%I'
                                     END, a.name), ', ' ORDER BY a.number)
            FROM unnest(p.proargnames[:p.pronargs]) WITH ORDINALITY AS a (name, number)) AS call
    FROM (VALUES ('{customer_id}'::text[]), ('{from,into}')) AS keys (names)
    JOIN pg_proc p ON p.pronamespace = 'retention'::regnamespace AND p.prokind = 'f'
      AND left(p.proname, 1) <> '_'
      AND p.proargnames[:p.pronargs] @> keys.names
      AND p.proargtypes[array_position(p.proargnames, keys.names[1]) - 1] = 'text'::regtype
  LOOP
    FOREACH type IN ARRAY '{bigint,uuid}'::regtype[] LOOP
      EXECUTE format('CREATE OR REPLACE FUNCTION retention.%1$I(%2$s) RETURNS %3$s '
                     'LANGUAGE sql %4$s BEGIN ATOMIC SELECT %5$sretention.%1$I(%6$s); END',
        function.proname,
        regexp_replace(function.arguments, format('(^|, )("?(?:%s)"?) text',
                                                  array_to_string(function.names, '|')), E'\\1\\2 '
                                                    || type, 'g'),
        function.result, function.volatility, function.rows, function.call);
      EXECUTE format('COMMENT ON FUNCTION %s IS %L',
        (SELECT p.oid::regprocedure FROM pg_proc p
         WHERE p.pronamespace = 'retention'::regnamespace AND p.proname = function.proname
           AND p.proargtypes[function.position] = type),
        function.comment);
    END LOOP;
  END LOOP;
END
$$;
