-- Privileges at install. Reading needs USAGE on the schema, which nobody has
-- but the owner: grant_access gives it. The toolkit stays open to all who have it.

DO $$
DECLARE
  routine regprocedure;
BEGIN
  FOR routine IN
    SELECT oid::regprocedure FROM pg_proc
    WHERE pronamespace = 'retention'::regnamespace
      AND (left(proname, 1) = '_'
           OR proname IN ('add_metric', 'alter_metric', 'drop_metric', 'reset_metric', 'add_source', 'drop_source',
                          'refresh', 'backfill_history', 'customer_at', 'grant_access'))
      AND proname NOT IN ('_bounds_sentence', '_limits_sentence', '_reject_unless', '_require_metric', '_last_refresh')
  LOOP
    EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
  END LOOP;
END
$$;
