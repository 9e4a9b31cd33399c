-- Errors: how they are raised, which sort each is of, and when what failed is tried again.

CREATE OR REPLACE FUNCTION retention._error_sort(code text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    -- Connections, rollbacks, resources, states and locks, operators, the system, other servers.
    WHEN left(code, 2) IN ('08', '40', '53', '55', '57', '58', 'HV') THEN 'passing'
    -- Names that lead nowhere, types that do not fit, rights that are missing: the same for
    -- everybody.
    WHEN left(code, 2) = '42' OR code IN ('3F000', '3D000', '0A000') THEN 'broken'
    ELSE 'value' END
$$;
COMMENT ON FUNCTION retention._error_sort(text) IS
  'passing: whatever failed is tried again later as it is. broken: something is missing that '
  'everybody needs, and it waits until that is mended. value: what one customer or row has made '
  'it fail. By the SQLSTATE, here alone, for flows, segments, metrics, validation and senders.';

CREATE OR REPLACE FUNCTION retention._reason(message text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN left(message, 1000);
COMMENT ON FUNCTION retention._reason(text) IS
  'As much of an error''s message as is kept, for each of the many customers who may meet it: what '
  'others wrote may be of any length.';

CREATE OR REPLACE FUNCTION retention._ends_call(code text) RETURNS boolean
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN code = '57014' THEN NOT retention._renew_timeout()
              ELSE left(code, 2) = '40'
                AND current_setting('transaction_isolation') <> 'read committed' END
$$;
COMMENT ON FUNCTION retention._ends_call(text) IS
  'Whether an error is no part''s own, but ends the whole call: somebody has cancelled it, or its '
  'snapshot is too old. Where statement_timeout was up, what took so long fails, and the rest has '
  'as much time again.';

CREATE OR REPLACE FUNCTION retention._retry_after(
    failures integer, longest interval DEFAULT '1 hour')
  RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN least(interval '1 minute' * 2 ^ least(greatest(failures, 1) - 1, 20), longest);
COMMENT ON FUNCTION retention._retry_after(integer, interval) IS
  'How long to wait after so many failures in a row: a minute, then two, four, up to the longest.';

CREATE OR REPLACE FUNCTION retention._reject_unless(
    valid boolean, message text, hint text DEFAULT '', code text DEFAULT 'invalid_parameter_value',
    detail text DEFAULT '')
  RETURNS void
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_reject_unless';
COMMENT ON FUNCTION retention._reject_unless(boolean, text, text, text, text) IS
  'Raises an error unless the condition holds: what is wrong, and what to do, without our '
  'functions'' context.';

CREATE OR REPLACE FUNCTION retention._tells() RETURNS boolean
  LANGUAGE sql STABLE
  -- A session that has not loaded the module yet knows no default of the setting.
  RETURN coalesce(current_setting('retention.progress', true)::boolean, true);
COMMENT ON FUNCTION retention._tells() IS 'Whether the client is told what was done.';

CREATE OR REPLACE FUNCTION retention._tell(message text, level text DEFAULT 'info') RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT retention._tells() THEN
    RETURN;
  ELSIF level = 'notice' THEN
    RAISE NOTICE '%', message;
  ELSE
    RAISE INFO '%', message;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._tell(text, text) IS
  'Tells the client what was done, unless retention.progress is off; at level notice, '
  'client_min_messages can hold it back.';
