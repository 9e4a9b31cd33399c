-- Rights: who called, and running what others own as them.

CREATE OR REPLACE FUNCTION retention._pin_settings() RETURNS void
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_pin_settings';
COMMENT ON FUNCTION retention._pin_settings() IS
  'Sets what a job''s results depend on, until the calling function ends, which needs a SET '
  'clause: dates, numbers and names are read and written alike whoever runs it.';

CREATE OR REPLACE FUNCTION retention._renew_timeout() RETURNS boolean
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_renew_timeout';
COMMENT ON FUNCTION retention._renew_timeout() IS
  'Gives a statement whose time is up, by statement_timeout, as much again, for it would not be '
  'ended once more. Whether it was.';

CREATE OR REPLACE FUNCTION retention._query_as(
    role regrole, statement text, VARIADIC arguments "any")
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_as';
COMMENT ON FUNCTION retention._query_as(regrole, text, VARIADIC "any") IS
  'The rows of a statement that is run with a role''s rights, in a security-restricted operation. '
  'Whatever others own is run this way only.';

CREATE OR REPLACE FUNCTION retention._query_as(role regrole, statement text)
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_as';
COMMENT ON FUNCTION retention._query_as(regrole, text) IS
  'The same for a statement without arguments.';

CREATE OR REPLACE FUNCTION retention._query_kept(
    role regrole, statement text, VARIADIC arguments "any")
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_kept';
COMMENT ON FUNCTION retention._query_kept(regrole, text, VARIADIC "any") IS
  'As _query_as, by a plan that is made once a session: for statements that are run again and '
  'again over few rows.';

CREATE OR REPLACE FUNCTION retention._query_of(
    relation regclass, statement text, VARIADIC arguments "any")
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_of';
COMMENT ON FUNCTION retention._query_of(regclass, text, VARIADIC "any") IS
  'As _query_as, with the rights of a relation''s owner, the rows of a statement that names this '
  'relation and no other: an error where its name means another one by the time it is run.';

CREATE OR REPLACE FUNCTION retention._query_of(relation regclass, statement text)
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_of';
COMMENT ON FUNCTION retention._query_of(regclass, text) IS
  'The same for a statement without arguments.';

CREATE OR REPLACE FUNCTION retention._caller() RETURNS regrole
  LANGUAGE c STABLE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_caller';
COMMENT ON FUNCTION retention._caller() IS
  'Who called a function that runs as its owner: the role that is logged in, or was chosen by SET '
  'ROLE. An error in whatever runs with another''s rights.';

CREATE OR REPLACE FUNCTION retention._check_role(role regrole) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(role IS NOT NULL, 'role must not be null', '',
                                   'null_value_not_allowed');
  PERFORM retention._reject_unless(EXISTS (SELECT FROM pg_roles r WHERE r.oid = role),
    format('role %s does not exist', role::oid), 'pg_roles lists those there are.',
    'undefined_object');
END
$$;
COMMENT ON FUNCTION retention._check_role(regrole) IS 'An error unless there is such a role.';

CREATE OR REPLACE FUNCTION retention._with_fields(
    "row" anyelement, VARIADIC names_and_values "any")
  RETURNS anyelement
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_with_fields';
COMMENT ON FUNCTION retention._with_fields(anyelement, VARIADIC "any") IS
  'A row with some of its fields changed: their names, and after each its new value.';

CREATE OR REPLACE FUNCTION retention._take_lock(
    relation regclass, number integer DEFAULT 0, waits boolean DEFAULT true,
    shares boolean DEFAULT false)
  RETURNS boolean
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_take_lock';
COMMENT ON FUNCTION retention._take_lock(regclass, integer, boolean, boolean) IS
  'Takes a lock by which jobs take turns, until the transaction ends; false where another one has '
  'it, and it is not to be waited for. Those who share it have it at once. Advisory locks can be '
  'taken by any role, for ever.';

CREATE OR REPLACE FUNCTION retention._owner(relation regclass) RETURNS regrole
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT relowner::regrole FROM pg_class WHERE oid = relation
$$;
COMMENT ON FUNCTION retention._owner(regclass) IS
  'Who owns a relation, and whose rights it is read with; null where it is gone.';

CREATE OR REPLACE FUNCTION retention._same_relation(
    relation regclass, relation_name text, owner name)
  RETURNS regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.oid::regclass FROM pg_class c
  WHERE c.oid = relation
     OR c.oid = to_regclass(relation_name) AND pg_get_userbyid(c.relowner) = owner
        AND NOT EXISTS (SELECT FROM pg_class WHERE oid = relation)
$$;
COMMENT ON FUNCTION retention._same_relation(regclass, text, name) IS
  'A relation that is remembered: itself as long as it is there, whatever it is called; then what '
  'its owner has made anew under its name. Null where there is neither: a stranger''s of that '
  'name is not taken for it.';

CREATE OR REPLACE FUNCTION retention._check_trigger(
    table_of_trigger oid, VARIADIC expected regclass[])
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(table_of_trigger = ANY (expected),
    format('this trigger function works on %s only', array_to_string(expected, ', ')), '',
    'trigger_protocol_violated');
END
$$;
COMMENT ON FUNCTION retention._check_trigger(oid, VARIADIC regclass[]) IS
  'An error where a trigger function of ours was put on another table than its own.';
