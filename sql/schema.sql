-- The schema, and the clock: every function takes the moment as of which it works from
-- retention.now().

\echo Use "CREATE EXTENSION retention" to load this file. \quit
-- The schema is created here, not by the control file, so that it is a member
-- of the extension and goes with DROP EXTENSION.
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL check_function_bodies = true;

CREATE SCHEMA retention;
COMMENT ON SCHEMA retention IS
  'Customer retention: RFM groups, purchase models and predictions, from the shop''s own order '
  'tables.';

CREATE OR REPLACE FUNCTION retention.now() RETURNS timestamptz
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_now';
COMMENT ON FUNCTION retention.now() IS
  'The engine''s clock: the setting retention.as_of when set, else the transaction''s time.';
