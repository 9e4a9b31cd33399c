-- Takes from PUBLIC what is not for everybody.

DO $$
DECLARE
  routine regprocedure;
BEGIN
  FOR routine IN
    SELECT oid FROM pg_proc
    WHERE pronamespace = 'retention'::regnamespace AND retention._access_level(proname)
      IS DISTINCT FROM 0
  LOOP
    EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
  END LOOP;
END
$$;
