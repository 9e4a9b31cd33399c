-- Takes from PUBLIC what is not for everybody, and gives it the rest. What is right already is left
-- alone: whatever a script of an extension grants or revokes has pg_dump take all the rights on
-- that object, also those that grant_access gave, for ones that come with the extension.

DO $$
DECLARE
  statement text;
BEGIN
  FOR statement IN
    SELECT format(CASE WHEN r.is_public THEN 'GRANT EXECUTE ON ROUTINE %s TO PUBLIC'
                       ELSE 'REVOKE ALL ON ROUTINE %s FROM PUBLIC' END, r.routine)
    FROM (SELECT p.oid::regprocedure AS routine,
                 retention._access_level(p.proname) IS NOT DISTINCT FROM 0 AS is_public,
                 has_function_privilege('public', p.oid, 'EXECUTE') AS was_public
          FROM pg_proc p WHERE p.pronamespace = 'retention'::regnamespace) AS r
    WHERE r.is_public <> r.was_public
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;
