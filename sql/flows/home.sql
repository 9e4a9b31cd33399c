-- The database in which flows are live: a copy sends nothing.

CREATE OR REPLACE FUNCTION retention._here() RETURNS text
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_here';
COMMENT ON FUNCTION retention._here() IS
  'Which database this is: a renamed one, and a promoted standby, stays the same; a restored dump '
  'is another one.';

CREATE OR REPLACE FUNCTION retention._is_copy() RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM retention.flow_home h WHERE h.here <> retention._here());
END
$$;
COMMENT ON FUNCTION retention._is_copy() IS
  'Whether this is a copy of the database in which flows were made live.';

CREATE OR REPLACE FUNCTION retention._check_home() RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(NOT retention._is_copy(),
    'flows were made live in another database: this one is a copy of it, or has taken its place',
    'Nothing is sent from here until an admin says so: SELECT retention.resume_here(); '
    'docs/operations.md tells of copies.',
    'object_not_in_prerequisite_state');
END
$$;
COMMENT ON FUNCTION retention._check_home() IS
  'An error in a copy of the database in which flows were made live.';

CREATE OR REPLACE FUNCTION retention.resume_here() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.flow_home (here, decided_at) VALUES (retention._here(), retention.now())
    ON CONFLICT (only_one) DO UPDATE SET here = excluded.here, decided_at = excluded.decided_at
$$;
COMMENT ON FUNCTION retention.resume_here() IS
  'Has flows run, and messages sent, in this database from now on: after it was restored for '
  'good, or in a copy, where flows that are not to run were paused before.';
