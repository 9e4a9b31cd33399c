-- Whether the plan of a query has all of these words. To be run by \i tests/include/plan_has.sql
CREATE FUNCTION plan_has(query text, VARIADIC words text[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  line text;
  plan text := '';
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
    plan := plan || line || E'\n';
  END LOOP;
  RETURN (SELECT bool_and(plan LIKE '%' || word || '%') FROM unnest(words) AS word);
END $$;
