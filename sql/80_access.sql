-- Roles: who may read, run and configure.

CREATE OR REPLACE FUNCTION retention.grant_access(role regrole, level text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  levels CONSTANT text[] := '{analyst,operator,admin}';
  rank integer := array_position(levels, level);
  statement text;
BEGIN
  PERFORM retention._reject_unless(rank IS NOT NULL,
    format('access level "%s" does not exist', level), 'The levels are analyst, operator and admin.');
  FOR statement IN
    SELECT format(given.grants, role)
    FROM (VALUES
      (1, 'GRANT USAGE ON SCHEMA retention TO %s'),
      (1, 'GRANT SELECT ON ALL TABLES IN SCHEMA retention TO %s'),
      (2, 'GRANT INSERT, UPDATE, DELETE ON retention.customer, retention.rfm_change, retention.population, retention.refresh_log TO %s'),
      (2, 'GRANT UPDATE (fingerprint) ON retention.source TO %s'),
      (2, 'GRANT USAGE ON ALL SEQUENCES IN SCHEMA retention TO %s'),
      (2, 'GRANT EXECUTE ON ALL ROUTINES IN SCHEMA retention TO %s'),
      (3, 'GRANT INSERT, UPDATE, DELETE ON retention.metric, retention.source, retention.rfm_cell TO %s')
    ) AS given (needs, grants)
    WHERE given.needs <= rank
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention.grant_access(regrole, text) IS
  'Gives a role what it needs: analyst reads; operator also refreshes, and needs SELECT on the sources; admin also configures.';
