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

CREATE FUNCTION retention.now() RETURNS timestamptz
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_now';
COMMENT ON FUNCTION retention.now() IS
  'The engine''s clock: the setting retention.as_of when set, else the transaction''s time.';
-- Bounds of names, texts, spans and moments, checked in one way.

CREATE FUNCTION retention._most(what text) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE what
    WHEN 'name' THEN 200          -- of flows, nodes, segments and the like, in characters
    WHEN 'text' THEN 10000        -- what is for readers, in characters
    WHEN 'condition' THEN 20000   -- an expression, in characters
    WHEN 'column' THEN 63         -- a name that becomes one of SQL, in bytes
    WHEN 'key' THEN 2000          -- a customer's, in bytes: has to fit an index, as MAX_KEY_LENGTH
    WHEN 'address' THEN 2000      -- in bytes: has to fit an index
    WHEN 'event' THEN 65536       -- what enroll hands over, in bytes: a tick has thousands at once
    WHEN 'document' THEN 10000000 -- a flow's, in bytes
    WHEN 'steps' THEN 1000        -- nodes, branches and arms of a flow, in all
    WHEN 'expressions' THEN 50    -- of one node: data of its message, properties that it sets
    WHEN 'variables' THEN 400     -- of one template
    END;
COMMENT ON FUNCTION retention._most(text) IS
  'How long something may be, or how many there may be of it.';

CREATE FUNCTION retention._length(what text, value text) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN what IN ('name', 'text', 'condition') THEN char_length(value)
              ELSE octet_length(value) END;
COMMENT ON FUNCTION retention._length(text, text) IS
  'How long a text is, in the unit that its limit has.';

CREATE FUNCTION retention._length_problem(what text, value text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    WHEN btrim(value, E' \t\n\r') = '' THEN 'must not be empty'
    WHEN retention._length(what, value) > retention._most(what) THEN
      -- Not by format, which is not immutable: a call for each row is to be inlined.
      'must have at most ' || retention._most(what)::text
      || CASE WHEN what IN ('name', 'text', 'condition') THEN ' characters' ELSE ' bytes' END
      || ', not ' || retention._length(what, value)::text
    END;
COMMENT ON FUNCTION retention._length_problem(text, text) IS
  'What is wrong with a text that must neither be empty nor too long; null: nothing.';

CREATE FUNCTION retention._check_length(
    whose text, what text, value text, hint text DEFAULT '')
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problem text := coalesce(retention._length_problem(what, value),
                           CASE WHEN value IS NULL THEN 'must not be null' END);
BEGIN
  PERFORM retention._reject_unless(problem IS NULL, format('%s %s', whose, problem), hint,
    CASE WHEN value IS NULL THEN 'null_value_not_allowed' ELSE 'invalid_parameter_value' END);
END
$$;
COMMENT ON FUNCTION retention._check_length(text, text, text, text) IS
  'An error unless a text is there, and neither empty nor too long.';

CREATE FUNCTION retention._in_calendar(at timestamptz) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN at >= timestamptz '0001-01-01 00:00+00' AND at < timestamptz '10000-01-01 00:00+00';
COMMENT ON FUNCTION retention._in_calendar(timestamptz) IS
  'Whether a time is in the years 1 to 9999: to such a one, and to a local time of it, every '
  'interval that is allowed can be added.';

CREATE FUNCTION retention._check_clock(as_of timestamptz) RETURNS void
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(isfinite(as_of),
    format('as_of must be a finite time, not %s', coalesce(as_of::text, 'null')));
  PERFORM retention._reject_unless(retention._in_calendar(as_of),
    format('as_of must be in the years 1 to 9999, not %s', as_of));
END
$$;
COMMENT ON FUNCTION retention._check_clock(timestamptz) IS
  'An error unless a job can go by this time.';

CREATE FUNCTION retention._is_mixed(span interval) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN isfinite(span) THEN
    ARRAY[sign(extract(year FROM span) * 12 + extract(month FROM span)),
          sign(extract(day FROM span)),
          sign(extract(epoch FROM span - date_trunc('day', span)))] @> '{-1,1}'::numeric[]
    ELSE false END;
COMMENT ON FUNCTION retention._is_mixed(interval) IS
  'Whether months, days and time of an interval have different signs, so that it leads on from '
  'some days, and back from others.';

CREATE FUNCTION retention._span(span interval) RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    WHEN span > interval '100 years' THEN interval '100 years'
    WHEN span < interval '-100 years' THEN interval '-100 years'
    WHEN retention._is_mixed(span)
      THEN make_interval(secs => extract(epoch FROM span)::double precision)
    ELSE span END;
COMMENT ON FUNCTION retention._span(interval) IS
  'An interval; or, for one that is not allowed, something near it that can be added to every '
  'time of the calendar.';

CREATE FUNCTION retention._span_problem(span interval, at_least integer) RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN at_least > 0 AND span <= interval '0' THEN format('must be longer than %s', span)
    WHEN at_least = 0 AND span < interval '0' THEN format('must not be negative, but is %s', span)
    WHEN span NOT BETWEEN interval '-100 years' AND interval '100 years'
      THEN format('must be at most 100 years, not %s', span)
    WHEN retention._is_mixed(span)
      THEN format('must not lead both forth and back, as %s does', span)
    END
$$;
COMMENT ON FUNCTION retention._span_problem(interval, integer) IS
  'What is wrong with an interval; null: nothing. At least -1: it may be negative; 0: nothing; 1: '
  'longer than that.';

CREATE FUNCTION retention._check_span(
    whose text, span interval, at_least integer, hint text DEFAULT '')
  RETURNS void
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problem text := retention._span_problem(span, at_least);
BEGIN
  PERFORM retention._reject_unless(problem IS NULL, format('%s %s', whose, problem), hint);
END
$$;
COMMENT ON FUNCTION retention._check_span(text, interval, integer, text) IS
  'An error unless an interval is null, or can be added to every time of the calendar.';

CREATE FUNCTION retention._check_days(whose text, span interval, hint text) RETURNS void
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_span(whose, span, 1, hint);
  PERFORM retention._reject_unless(coalesce(span >= interval '1 day', true),
    format('%s must be a day at least, not %s', whose, span),
    format('A number alone is one of seconds: write ''%s days''. %s',
           extract(epoch FROM span)::numeric::double precision, hint));
END
$$;
COMMENT ON FUNCTION retention._check_days(text, interval, text) IS
  'An error unless an interval is one that is allowed, and a day at least; null is none.';

CREATE FUNCTION retention._is_time_zone(name text) RETURNS boolean
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_is_time_zone';
COMMENT ON FUNCTION retention._is_time_zone(text) IS
  'Whether a time zone has this name, and no abbreviation has it.';

CREATE FUNCTION retention._is_listed_zone(name text) RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- The list is read from files; plain names need not be looked for in it.
  IF name ~ '^[A-Za-z_]+(/[A-Za-z_-]+)*$' AND retention._is_time_zone(name) THEN
    RETURN true;
  END IF;
  RETURN EXISTS (SELECT FROM pg_timezone_names n WHERE lower(n.name) = lower(_is_listed_zone.name));
END
$$;
COMMENT ON FUNCTION retention._is_listed_zone(text) IS
  'Whether pg_timezone_names lists a zone of this name. POSIX rules such as +02 are zones too, '
  'but not what they look like.';
-- Rights: who called, and running what others own as them.

CREATE FUNCTION retention._pin_settings() RETURNS void
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_pin_settings';
COMMENT ON FUNCTION retention._pin_settings() IS
  'Sets what a job''s results depend on, until the calling function ends, which needs a SET '
  'clause: dates, numbers and names are read and written alike whoever runs it.';

CREATE FUNCTION retention._renew_timeout() RETURNS boolean
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_renew_timeout';
COMMENT ON FUNCTION retention._renew_timeout() IS
  'Gives a statement whose time is up, by statement_timeout, as much again, for it would not be '
  'ended once more. Whether it was.';

CREATE FUNCTION retention._query_as(
    role regrole, statement text, VARIADIC arguments "any")
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_as';
COMMENT ON FUNCTION retention._query_as(regrole, text, VARIADIC "any") IS
  'The rows of a statement that is run with a role''s rights, in a security-restricted operation: '
  'of what others own nothing is run in any other way.';

CREATE FUNCTION retention._query_as(role regrole, statement text)
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_as';
COMMENT ON FUNCTION retention._query_as(regrole, text) IS
  'The same for a statement without arguments.';

CREATE FUNCTION retention._query_kept(
    role regrole, statement text, VARIADIC arguments "any")
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_kept';
COMMENT ON FUNCTION retention._query_kept(regrole, text, VARIADIC "any") IS
  'As _query_as, by a plan that is made once a session: for statements that are run again and '
  'again over few rows.';

CREATE FUNCTION retention._query_of(
    relation regclass, statement text, VARIADIC arguments "any")
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_of';
COMMENT ON FUNCTION retention._query_of(regclass, text, VARIADIC "any") IS
  'As _query_as, with the rights of a relation''s owner, the rows of a statement that names this '
  'relation and no other: an error where its name means another one by the time it is run.';

CREATE FUNCTION retention._query_of(relation regclass, statement text)
  RETURNS SETOF record
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_query_of';
COMMENT ON FUNCTION retention._query_of(regclass, text) IS
  'The same for a statement without arguments.';

CREATE FUNCTION retention._caller() RETURNS regrole
  LANGUAGE c STABLE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_caller';
COMMENT ON FUNCTION retention._caller() IS
  'Who called a function that runs as its owner: the role that is logged in, or was chosen by SET '
  'ROLE. An error in whatever runs with another''s rights.';

CREATE FUNCTION retention._with_fields(
    "row" anyelement, VARIADIC names_and_values "any")
  RETURNS anyelement
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_with_fields';
COMMENT ON FUNCTION retention._with_fields(anyelement, VARIADIC "any") IS
  'A row with some of its fields changed: their names, and after each its new value.';

CREATE FUNCTION retention._take_lock(
    relation regclass, number integer DEFAULT 0, waits boolean DEFAULT true)
  RETURNS boolean
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_take_lock';
COMMENT ON FUNCTION retention._take_lock(regclass, integer, boolean) IS
  'Takes a lock by which jobs take turns, until the transaction ends; false where another one has '
  'it, and it is not to be waited for. Advisory locks can be taken by any role, for ever.';

CREATE FUNCTION retention._owner(relation regclass) RETURNS regrole
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT relowner::regrole FROM pg_class WHERE oid = relation
$$;
COMMENT ON FUNCTION retention._owner(regclass) IS
  'Who owns a relation, and whose rights it is read with; null where it is gone.';

CREATE FUNCTION retention._same_relation(
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

CREATE FUNCTION retention._check_trigger(
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
-- Errors: how they are raised, which sort each is of, and when what failed is tried again.

CREATE FUNCTION retention._error_sort(code text) RETURNS text
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

CREATE FUNCTION retention._reason(message text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN left(message, 1000);
COMMENT ON FUNCTION retention._reason(text) IS
  'As much of an error''s message as is kept, for each of the many customers who may meet it: what '
  'others wrote may be of any length.';

CREATE FUNCTION retention._ends_call(code text) RETURNS boolean
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

CREATE FUNCTION retention._retry_after(
    failures integer, longest interval DEFAULT '1 hour')
  RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN least(interval '1 minute' * 2 ^ least(greatest(failures, 1) - 1, 20), longest);
COMMENT ON FUNCTION retention._retry_after(integer, interval) IS
  'How long to wait after so many failures in a row: a minute, then two, four, up to the longest.';

CREATE FUNCTION retention._reject_unless(
    valid boolean, message text, hint text DEFAULT '', code text DEFAULT 'invalid_parameter_value',
    detail text DEFAULT '')
  RETURNS void
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_reject_unless';
COMMENT ON FUNCTION retention._reject_unless(boolean, text, text, text, text) IS
  'Raises an error unless the condition holds: what is wrong, and what to do, without our '
  'functions'' context.';

CREATE FUNCTION retention._tells() RETURNS boolean
  LANGUAGE sql STABLE
  -- A session that has not loaded the module yet knows no default of the setting.
  RETURN coalesce(current_setting('retention.progress', true)::boolean, true);
COMMENT ON FUNCTION retention._tells() IS 'Whether the client is told what was done.';

CREATE FUNCTION retention._tell(message text, level text DEFAULT 'info') RETURNS void
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
-- The types of the toolkit.

CREATE TYPE retention.order_summary AS (
  orders                      bigint,
  purchase_days               integer,
  first_order_at              timestamptz,
  last_order_at               timestamptz,
  revenue                     numeric,
  repeat_value                numeric,
  average_order_value         numeric,
  average_days_between_orders double precision,
  days_between_orders_sd      double precision
);
COMMENT ON TYPE retention.order_summary IS
  'One customer''s orders in numbers: the result of the aggregate order_summary.';
COMMENT ON COLUMN retention.order_summary.orders IS 'Orders with an amount above zero.';
COMMENT ON COLUMN retention.order_summary.purchase_days IS 'Distinct local days with an order.';
COMMENT ON COLUMN retention.order_summary.first_order_at IS 'Time of the first order.';
COMMENT ON COLUMN retention.order_summary.last_order_at IS 'Time of the last order.';
COMMENT ON COLUMN retention.order_summary.revenue IS
  'Exact sum of all amounts, negative ones included.';
COMMENT ON COLUMN retention.order_summary.repeat_value IS
  'Mean order value of a purchase day after the first; null when there is none.';
COMMENT ON COLUMN retention.order_summary.average_order_value IS
  'revenue / orders; null without orders.';
COMMENT ON COLUMN retention.order_summary.average_days_between_orders IS
  'Mean days between purchase days; null for fewer than 2.';
COMMENT ON COLUMN retention.order_summary.days_between_orders_sd IS
  'Sample standard deviation of the days between purchase days; null for fewer than 3.';

CREATE TYPE retention.model AS (
  kind            text,
  parameters      double precision[],
  names           text[],
  standard_errors double precision[],
  covariance      double precision[],
  log_likelihood  double precision,
  n               double precision,
  iterations      integer,
  converged       boolean,
  gradient_norm   double precision,
  penalty         double precision
);
COMMENT ON TYPE retention.model IS
  'A purchase or spend model with its parameters: the result of fit and of make_model.';
COMMENT ON COLUMN retention.model.kind IS
  'bgnbd, mbgnbd, paretonbd (purchases) or gammagamma (spend).';
COMMENT ON COLUMN retention.model.parameters IS
  'r, alpha, a, b (bgnbd, mbgnbd); r, alpha, s, beta (paretonbd); p, q, v (gammagamma).';
COMMENT ON COLUMN retention.model.names IS 'Names of the parameters.';
COMMENT ON COLUMN retention.model.standard_errors IS
  'Standard errors of the parameters; null where the likelihood does not tell.';
COMMENT ON COLUMN retention.model.covariance IS
  'Covariance matrix of the parameters, the inverse of the negative Hessian.';
COMMENT ON COLUMN retention.model.log_likelihood IS
  'Log-likelihood at the maximum, without constant terms such as x!.';
COMMENT ON COLUMN retention.model.n IS 'Customers, or the sum of their weights.';
COMMENT ON COLUMN retention.model.iterations IS 'Evaluations of the likelihood.';
COMMENT ON COLUMN retention.model.converged IS
  'Whether the maximum was found. If not, parameters are the best that were seen.';
COMMENT ON COLUMN retention.model.gradient_norm IS
  'Largest derivative of the log-likelihood by a parameter''s logarithm: near 0 at the maximum.';
COMMENT ON COLUMN retention.model.penalty IS 'Weight of the prior: 0 for maximum likelihood.';

-- fit_state: a flat, versioned list of distinct observations. Its text is bytea's.
CREATE TYPE retention.fit_state;

CREATE FUNCTION retention.fit_state_in(cstring) RETURNS retention.fit_state
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'byteain';
COMMENT ON FUNCTION retention.fit_state_in(cstring) IS 'Input function of fit_state.';

CREATE FUNCTION retention.fit_state_out(retention.fit_state) RETURNS cstring
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'byteaout';
COMMENT ON FUNCTION retention.fit_state_out(retention.fit_state) IS 'Output function of fit_state.';

CREATE FUNCTION retention.fit_state_receive(internal) RETURNS retention.fit_state
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bytearecv';
COMMENT ON FUNCTION retention.fit_state_receive(internal) IS 'Binary input function of fit_state.';

CREATE FUNCTION retention.fit_state_send(retention.fit_state) RETURNS bytea
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'byteasend';
COMMENT ON FUNCTION retention.fit_state_send(retention.fit_state) IS
  'Binary output function of fit_state.';

CREATE TYPE retention.fit_state (
  INPUT = retention.fit_state_in, OUTPUT = retention.fit_state_out,
  RECEIVE = retention.fit_state_receive, SEND = retention.fit_state_send,
  LIKE = bytea
);
COMMENT ON TYPE retention.fit_state IS
  'The observations of a fit, equal ones made one: can be stored, sent to another server of the '
  'same byte order, merged and fitted.';
-- Order summaries: what one customer's orders come to.

CREATE FUNCTION retention.order_summary_transition(internal, timestamptz, numeric)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_transition';
COMMENT ON FUNCTION retention.order_summary_transition(internal, timestamptz, numeric) IS
  'Transition function of order_summary.';

CREATE FUNCTION retention.order_summary_transition(internal, timestamptz, numeric, text)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_transition';
COMMENT ON FUNCTION retention.order_summary_transition(internal, timestamptz, numeric, text) IS
  'Transition function of order_summary.';

CREATE FUNCTION retention.order_summary_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_combine';
COMMENT ON FUNCTION retention.order_summary_combine(internal, internal) IS
  'Combine function of order_summary.';

CREATE FUNCTION retention.order_summary_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_serialize';
COMMENT ON FUNCTION retention.order_summary_serialize(internal) IS
  'Serialization function of order_summary.';

CREATE FUNCTION retention.order_summary_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_deserialize';
COMMENT ON FUNCTION retention.order_summary_deserialize(bytea, internal) IS
  'Deserialization function of order_summary.';

CREATE FUNCTION retention.order_summary_final(internal) RETURNS retention.order_summary
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_final';
COMMENT ON FUNCTION retention.order_summary_final(internal) IS 'Final function of order_summary.';

CREATE AGGREGATE retention.order_summary(ordered_at timestamptz, amount numeric) (
  SFUNC = retention.order_summary_transition, STYPE = internal, SSPACE = 256,
  FINALFUNC = retention.order_summary_final,
  COMBINEFUNC = retention.order_summary_combine,
  SERIALFUNC = retention.order_summary_serialize,
  DESERIALFUNC = retention.order_summary_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.order_summary(timestamptz, numeric) IS
  'Summarises one customer''s orders, with days of UTC. Rows with a null time or amount are '
  'ignored; NaN, infinity and infinite times are errors; amounts of zero and below change revenue '
  'only.';

CREATE AGGREGATE retention.order_summary(ordered_at timestamptz, amount numeric,
                                                    timezone text) (
  SFUNC = retention.order_summary_transition, STYPE = internal, SSPACE = 256,
  FINALFUNC = retention.order_summary_final,
  COMBINEFUNC = retention.order_summary_combine,
  SERIALFUNC = retention.order_summary_serialize,
  DESERIALFUNC = retention.order_summary_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.order_summary(timestamptz, numeric, text) IS
  'Summarises one customer''s orders, with days of the given time zone. Rows with a null time or '
  'amount are ignored; NaN, infinity and infinite times are errors; amounts of zero and below '
  'change revenue only.';

CREATE FUNCTION retention.frequency(summary retention.order_summary) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN (summary).purchase_days > 0 THEN (summary).purchase_days - 1 END;
COMMENT ON FUNCTION retention.frequency(retention.order_summary) IS
  'x of the purchase models: repeat purchase days; null without orders.';

CREATE FUNCTION retention.recency(summary retention.order_summary)
  RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN (summary).purchase_days > 1
              THEN round((summary).average_days_between_orders * ((summary).purchase_days - 1))
              WHEN (summary).purchase_days = 1 THEN 0 END;
COMMENT ON FUNCTION retention.recency(retention.order_summary) IS
  't_x of the purchase models: local days from the first to the last purchase day; null without '
  'orders.';

CREATE FUNCTION retention.age(
    summary retention.order_summary, as_of timestamptz DEFAULT retention.now(),
    timezone text DEFAULT 'UTC')
  RETURNS double precision
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN (as_of AT TIME ZONE timezone)::date - ((summary).first_order_at
                                                AT TIME ZONE timezone)::date;
COMMENT ON FUNCTION retention.age(retention.order_summary, timestamptz, text) IS
  'T of the purchase models: local days from the first purchase day to as_of, in the time zone '
  'that the summary was made with; null without orders.';
-- RFM scores, and the bounds that they are given by.

CREATE FUNCTION retention.rfm_score(value double precision, bounds double precision[])
  RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_rfm_score';
COMMENT ON FUNCTION retention.rfm_score(double precision, double precision[]) IS
  '1 + the number of inclusive lower bounds that the value reaches; a null bound is never reached.';

CREATE FUNCTION retention.recency_score(days double precision, limits double precision[])
  RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_recency_score';
COMMENT ON FUNCTION retention.recency_score(double precision, double precision[]) IS
  '1 + the number of inclusive upper limits that the days since the last order meet.';

CREATE FUNCTION retention.percentile_bounds_transition(
    internal, double precision, double precision[])
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_transition';
COMMENT ON FUNCTION retention.percentile_bounds_transition(
  internal, double precision, double precision[]) IS
  'Transition function of percentile_bounds.';

CREATE FUNCTION retention.percentile_bounds_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_combine';
COMMENT ON FUNCTION retention.percentile_bounds_combine(internal, internal) IS
  'Combine function of percentile_bounds.';

CREATE FUNCTION retention.percentile_bounds_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_serialize';
COMMENT ON FUNCTION retention.percentile_bounds_serialize(internal) IS
  'Serialization function of percentile_bounds.';

CREATE FUNCTION retention.percentile_bounds_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_deserialize';
COMMENT ON FUNCTION retention.percentile_bounds_deserialize(bytea, internal) IS
  'Deserialization function of percentile_bounds.';

CREATE FUNCTION retention.percentile_bounds_final(internal) RETURNS double precision[]
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_final';
COMMENT ON FUNCTION retention.percentile_bounds_final(internal) IS
  'Final function of percentile_bounds.';

CREATE AGGREGATE retention.percentile_bounds(value double precision,
                                                        fractions double precision[]) (
  SFUNC = retention.percentile_bounds_transition, STYPE = internal, SSPACE = 16384,
  FINALFUNC = retention.percentile_bounds_final,
  COMBINEFUNC = retention.percentile_bounds_combine,
  SERIALFUNC = retention.percentile_bounds_serialize,
  DESERIALFUNC = retention.percentile_bounds_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.percentile_bounds(double precision, double precision[]) IS
  'For each fraction p, the smallest value strictly above percentile_disc(p), null where there is '
  'none: the inclusive lower bounds that rfm_score takes.';
-- Purchase and spend models: fitting, merging and asking them.

CREATE FUNCTION retention.fit_transition(
    internal, text, double precision, double precision)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_transition';
COMMENT ON FUNCTION retention.fit_transition(internal, text, double precision, double precision) IS
  'Transition function of fit and fit_state.';

CREATE FUNCTION retention.fit_transition(
    internal, text, double precision, double precision, double precision)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_transition';
COMMENT ON FUNCTION retention.fit_transition(
  internal, text, double precision, double precision, double precision) IS
  'Transition function of fit and fit_state.';

CREATE FUNCTION retention.fit_transition(
    internal, text, double precision, double precision, double precision, double precision)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_transition';
COMMENT ON FUNCTION retention.fit_transition(
  internal, text, double precision, double precision, double precision, double precision) IS
  'Transition function of fit and fit_state.';

CREATE FUNCTION retention.fit_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_combine';
COMMENT ON FUNCTION retention.fit_combine(internal, internal) IS
  'Combine function of fit, fit_state and merge.';

CREATE FUNCTION retention.fit_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_serialize';
COMMENT ON FUNCTION retention.fit_serialize(internal) IS
  'Serialization function of fit, fit_state and merge.';

CREATE FUNCTION retention.fit_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_deserialize';
COMMENT ON FUNCTION retention.fit_deserialize(bytea, internal) IS
  'Deserialization function of fit, fit_state and merge.';

CREATE FUNCTION retention.fit_final(internal) RETURNS retention.model
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_final';
COMMENT ON FUNCTION retention.fit_final(internal) IS 'Final function of fit.';

CREATE FUNCTION retention.fit_state_final(internal) RETURNS retention.fit_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_serialize';
COMMENT ON FUNCTION retention.fit_state_final(internal) IS 'Final function of fit_state and merge.';

CREATE FUNCTION retention.merge_transition(internal, retention.fit_state)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_merge_transition';
COMMENT ON FUNCTION retention.merge_transition(internal, retention.fit_state) IS
  'Transition function of merge.';

CREATE AGGREGATE retention.fit(model text, x double precision, m double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit(text, double precision, double precision) IS
  'Fits a model of spend to customers x purchases of mean value m by maximum likelihood. Rows '
  'with a null are left out.';

CREATE AGGREGATE retention.fit_state(model text, x double precision,
                                                m double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_state_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit_state(text, double precision, double precision) IS
  'The observations to fit a model of spend to customers x purchases of mean value m with, to be '
  'stored, merged, and fitted by fit(fit_state).';

CREATE AGGREGATE retention.fit(model text, x double precision, t_x double precision,
                                          t double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit(text, double precision, double precision, double precision) IS
  'Fits a model of purchases to customers x, t_x, t; or one of spend to x, m, weight by maximum '
  'likelihood. Rows with a null are left out.';

CREATE AGGREGATE retention.fit_state(model text, x double precision,
                                                t_x double precision, t double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_state_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit_state(
  text, double precision, double precision, double precision) IS
  'The observations to fit a model of purchases to customers x, t_x, t; or one of spend to x, m, '
  'weight with, to be stored, merged, and fitted by fit(fit_state).';

CREATE AGGREGATE retention.fit(model text, x double precision, t_x double precision,
                                          t double precision, weight double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit(
  text, double precision, double precision, double precision, double precision) IS
  'Fits a model of purchases to customers x, t_x, t, of whom each row is as many as its weight by '
  'maximum likelihood. Rows with a null are left out.';

CREATE AGGREGATE retention.fit_state(model text, x double precision,
                                                t_x double precision, t double precision,
                                                weight double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_state_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit_state(
  text, double precision, double precision, double precision, double precision) IS
  'The observations to fit a model of purchases to customers x, t_x, t, of whom each row is as '
  'many as its weight with, to be stored, merged, and fitted by fit(fit_state).';

CREATE AGGREGATE retention.merge(state retention.fit_state) (
  SFUNC = retention.merge_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_state_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.merge(retention.fit_state) IS
  'The observations of several states together, as from several servers. Nulls are left out.';

CREATE FUNCTION retention.fit(
    state retention.fit_state, model text DEFAULT NULL, penalty double precision DEFAULT 0)
  RETURNS retention.model
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_stored';
COMMENT ON FUNCTION retention.fit(retention.fit_state, text, double precision) IS
  'Fits the state''s model, or another one of the same observations. penalty weighs a prior '
  'centred on customary parameters (times in days), so that small shops have a fit too: 1 counts '
  'little beside a hundred customers.';

CREATE FUNCTION retention.models()
  RETURNS TABLE (kind text, purpose text, parameters text[])
  LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 4
  AS 'MODULE_PATHNAME', 'retention_models';
COMMENT ON FUNCTION retention.models() IS
  'The models there are: what they are of, purchase or spend, and the names of their parameters.';

CREATE FUNCTION retention.make_model(kind text, parameters double precision[])
  RETURNS retention.model
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_make_model';
COMMENT ON FUNCTION retention.make_model(text, double precision[]) IS
  'A model with known parameters: r, alpha, a, b (bgnbd, mbgnbd); r, alpha, s, beta (paretonbd); '
  'p, q, v (gammagamma); each from 1e-12 to 1e12, times and money (alpha, beta, v) to 1e40.';

CREATE FUNCTION retention.p_alive(
    model retention.model, x double precision, t_x double precision, t double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_p_alive';
COMMENT ON FUNCTION retention.p_alive(
  retention.model, double precision, double precision, double precision) IS
  'Probability that a customer has not left for good.';

CREATE FUNCTION retention.log_likelihood(
    model retention.model, x double precision, t_x double precision, t double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_log_likelihood';
COMMENT ON FUNCTION retention.log_likelihood(
  retention.model, double precision, double precision, double precision) IS
  'Log-likelihood of one customer, without the term x!.';

CREATE FUNCTION retention.expected_orders(
    model retention.model, x double precision, t_x double precision, t double precision,
    horizon double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_expected_orders';
COMMENT ON FUNCTION retention.expected_orders(
  retention.model, double precision, double precision, double precision, double precision) IS
  'Expected purchases within the horizon.';

CREATE FUNCTION retention.expected_orders(
    model retention.model, horizon double precision)
  RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention.expected_orders(model, 0, 0, 0, horizon);
COMMENT ON FUNCTION retention.expected_orders(retention.model, double precision) IS
  'Of a new customer, from the first purchase on: expected purchases within the horizon.';

CREATE FUNCTION retention.order_probability(
    model retention.model, x double precision, t_x double precision, t double precision,
    horizon double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_probability';
COMMENT ON FUNCTION retention.order_probability(
  retention.model, double precision, double precision, double precision, double precision) IS
  'Probability of at least one purchase within the horizon.';

CREATE FUNCTION retention.order_probability(
    model retention.model, horizon double precision)
  RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention.order_probability(model, 0, 0, 0, horizon);
COMMENT ON FUNCTION retention.order_probability(retention.model, double precision) IS
  'Of a new customer, from the first purchase on: probability of at least one purchase within the '
  'horizon.';

CREATE FUNCTION retention.order_distribution(
    model retention.model, x double precision, t_x double precision, t double precision,
    horizon double precision, most integer)
  RETURNS double precision[]
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_distribution';
COMMENT ON FUNCTION retention.order_distribution(
  retention.model, double precision, double precision, double precision, double precision,
  integer) IS
  'Probabilities of 0, 1, ..., most purchases within the horizon.';

CREATE FUNCTION retention.order_distribution(
    model retention.model, horizon double precision, most integer)
  RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention.order_distribution(model, 0, 0, 0, horizon, most);
COMMENT ON FUNCTION retention.order_distribution(retention.model, double precision, integer) IS
  'Of a new customer, from the first purchase on: probabilities of 0, 1, ..., most purchases '
  'within the horizon.';

CREATE FUNCTION retention.discounted_orders(
    model retention.model, x double precision, t_x double precision, t double precision,
    horizon double precision, rate double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_discounted_orders';
COMMENT ON FUNCTION retention.discounted_orders(
  retention.model, double precision, double precision, double precision, double precision,
  double precision) IS
  'Expected purchases within the horizon, which may be infinite, one at time s from now counting '
  'e^(-rate s).';

CREATE FUNCTION retention.next_order_days(
    model retention.model, x double precision, t_x double precision, t double precision,
    quantile double precision DEFAULT 0.5, "from" text DEFAULT 'now')
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_next_order_days';
COMMENT ON FUNCTION retention.next_order_days(
  retention.model, double precision, double precision, double precision, double precision, text) IS
  'Time to the next purchase of a customer who stays: from now, or from the ''last order'' as it '
  'looked then. The median, unless another quantile is asked for.';

CREATE FUNCTION retention.expected_spend(
    model retention.model, x double precision, m double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_expected_spend';
COMMENT ON FUNCTION retention.expected_spend(retention.model, double precision, double precision) IS
  'Expected mean value of a customer''s future purchases, after x purchases of mean value m; m '
  'may be null where x is 0.';

CREATE FUNCTION retention.expected_spend(model retention.model) RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention.expected_spend(model, 0, NULL);
COMMENT ON FUNCTION retention.expected_spend(retention.model) IS
  'Expected mean value of a new customer''s purchases.';

CREATE FUNCTION retention.clv(
    purchase retention.model, spend retention.model, x double precision, t_x double precision,
    t double precision, m double precision, horizon double precision DEFAULT 365,
    discount double precision DEFAULT 0)
  RETURNS double precision
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_clv';
COMMENT ON FUNCTION retention.clv(
  retention.model, retention.model, double precision, double precision, double precision,
  double precision, double precision, double precision) IS
  'Expected value of a customer''s purchases within the horizon (days; may be infinite), '
  'discounted by a rate a year; m may be null where x is 0.';
-- Orders drawn from a model, for trials.

CREATE FUNCTION retention.simulate_orders(
    customers bigint, "from" timestamptz, "to" timestamptz, seed bigint DEFAULT 1,
    r double precision DEFAULT 0.55, alpha double precision DEFAULT 22,
    a double precision DEFAULT 0.8, b double precision DEFAULT 4,
    p double precision DEFAULT 6.25, q double precision DEFAULT 3.74,
    v double precision DEFAULT 15.44)
  RETURNS TABLE (customer_id bigint, order_id bigint, ordered_at timestamptz, amount numeric)
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10000
  AS 'MODULE_PATHNAME', 'retention_simulate_orders';
COMMENT ON FUNCTION retention.simulate_orders(
  bigint, timestamptz, timestamptz, bigint, double precision, double precision, double precision,
  double precision, double precision, double precision, double precision) IS
  'The orders of a simulated shop: BG/NBD purchases (r, alpha in days, a, b) and Gamma-Gamma '
  'amounts (p, q, v). The same rows for the same arguments on every platform.';

CREATE FUNCTION retention.simulate_orders(
    customers bigint, "from" timestamptz, "to" timestamptz, seed bigint, purchase retention.model,
    spend retention.model)
  RETURNS TABLE (customer_id bigint, order_id bigint, ordered_at timestamptz, amount numeric)
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10000
  AS 'MODULE_PATHNAME', 'retention_simulate_orders_of_models';
COMMENT ON FUNCTION retention.simulate_orders(
  bigint, timestamptz, timestamptz, bigint, retention.model, retention.model) IS
  'The orders of a simulated shop: purchases by any purchase model, in days, and amounts by '
  'Gamma-Gamma. Up to a million orders of a customer.';
-- Templates of messages, and the buckets of experiments.

CREATE FUNCTION retention.render(
    template text, context jsonb, escape boolean DEFAULT true)
  RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_render';
COMMENT ON FUNCTION retention.render(text, jsonb, boolean) IS
  'A message from a template such as "Dear {{ person.first_name|default:''you'' }}" and a context '
  'of values. Values are escaped for HTML unless escape is false. What is missing without a '
  'default is an error.';

CREATE FUNCTION retention._try_render(
    template text, context jsonb, escape boolean, OUT rendered text, OUT error text)
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_try_render';
COMMENT ON FUNCTION retention._try_render(text, jsonb, boolean) IS
  'What render gives, or why it cannot: the error''s text where render raises it.';

CREATE FUNCTION retention.template_variables(template text) RETURNS text[]
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_template_variables';
COMMENT ON FUNCTION retention.template_variables(text) IS
  'The paths that a template reads from its context, each once, sorted; what is read of a loop''s '
  'items belongs to the path of the array. An error if the template does not parse.';

CREATE FUNCTION retention.bucket(key text, salt text) RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_bucket';
COMMENT ON FUNCTION retention.bucket(text, text) IS
  'A key''s bucket from 0 to 9999, independent for every salt: the first four bytes of the '
  'SHA-256 of salt, a zero byte and key, both in UTF-8, as a big-endian number modulo 10000. The '
  'same on every server.';
-- Metrics, their sources and scoring schemes.

CREATE TABLE retention.rfm_cell (
  scheme    text NOT NULL,
  r         smallint NOT NULL CHECK (r BETWEEN 1 AND 10),
  f         smallint NOT NULL CHECK (f BETWEEN 1 AND 10),
  m         smallint NOT NULL CHECK (m BETWEEN 1 AND 10),
  rfm_group text NOT NULL CHECK (rfm_group <> ''),
  builtin   boolean NOT NULL DEFAULT false,
  PRIMARY KEY (scheme, r, f, m)
);
COMMENT ON TABLE retention.rfm_cell IS
  'Which group each combination of scores belongs to, by scheme. Editable; a changed cell takes '
  'effect at the next refresh.';
COMMENT ON COLUMN retention.rfm_cell.scheme IS 'Name of the scheme.';
COMMENT ON COLUMN retention.rfm_cell.r IS 'Recency score.';
COMMENT ON COLUMN retention.rfm_cell.f IS 'Frequency score.';
COMMENT ON COLUMN retention.rfm_cell.m IS 'Monetary score.';
COMMENT ON COLUMN retention.rfm_cell.rfm_group IS 'Group of this combination of scores.';
COMMENT ON COLUMN retention.rfm_cell.builtin IS 'As the extension shipped it: not part of a dump.';

INSERT INTO retention.rfm_cell (scheme, r, f, m, rfm_group, builtin)
  SELECT scheme, substr(cell, 1, 1)::smallint, substr(cell, 2, 1)::smallint,
         substr(cell, 3, 1)::smallint, rfm_group, true
  FROM (VALUES
    ('standard', 'Champions', '333 332 323'),
    ('standard', 'Loyal', '321 322 331 232 233'),
    ('standard', 'Recent', '311 312 313 222 223'),
    ('standard', 'Needs Attention', '213 221 123 132 133'),
    ('standard', 'At Risk', '231 212 122 131 211'),
    ('standard', 'Inactive', '111 112 113 121'),
    ('quintile', 'Champions', '555 554 544 545 454 455 445'),
    ('quintile', 'Loyal Customers', '543 444 435 355 354 345 344 335'),
    ('quintile', 'Potential Loyalists',
     '553 551 552 541 542 533 532 531 452 451 442 441 431 453 433 432 423 353 352 351 342 341 333 '
     '323'),
    ('quintile', 'New Customers', '512 511 422 421 412 411 311'),
    ('quintile', 'Promising', '525 524 523 522 521 515 514 513 425 424 413 414 415 315 314 313'),
    ('quintile', 'Need Attention', '535 534 443 434 343 334 325 324'),
    ('quintile', 'About To Sleep', '331 321 312 221 213 231 241 251'),
    ('quintile', 'At Risk',
     '255 254 245 244 253 252 243 242 235 234 225 224 153 152 145 143 142 135 134 133 125 124'),
    ('quintile', 'Can''t Lose Them', '155 154 144 214 215 115 114 113'),
    ('quintile', 'Hibernating', '332 322 233 232 223 222 132 123 122 212 211'),
    ('quintile', 'Lost', '111 112 121 131 141 151')
  ) AS grouped (scheme, rfm_group, cells), unnest(string_to_array(cells, ' ')) AS cell;

CREATE TABLE retention.metric (
  metric                text PRIMARY KEY CHECK (metric <> ''),
  time_zone             text NOT NULL,
  history               interval,
  scheme                text NOT NULL,
  recency_limits        double precision[] NOT NULL,
  frequency_percentiles double precision[] NOT NULL,
  frequency_values      double precision[],
  monetary_percentiles  double precision[] NOT NULL,
  monetary_values       double precision[],
  thresholds            text NOT NULL,
  purchase_model        text NOT NULL,
  prediction_window     integer NOT NULL,
  discount_rate         double precision NOT NULL,
  churn_levels          double precision[] NOT NULL,
  refit_interval        interval NOT NULL,
  loss_limit            double precision NOT NULL,
  country               text
);
COMMENT ON TABLE retention.metric IS
  'What counts as an order and how customers are scored. Made by add_metric or the first '
  'add_source; every change is checked.';
COMMENT ON COLUMN retention.metric.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.metric.time_zone IS
  'Zone whose calendar days count, as in pg_timezone_names.';
COMMENT ON COLUMN retention.metric.history IS 'Only orders of the last so long count; null: all.';
COMMENT ON COLUMN retention.metric.scheme IS 'Cells of retention.rfm_cell that name the groups.';
COMMENT ON COLUMN retention.metric.recency_limits IS
  'Days since the last order, descending; each limit that is met adds 1 to r.';
COMMENT ON COLUMN retention.metric.frequency_percentiles IS
  'Fractions of customers at which f rises, ascending.';
COMMENT ON COLUMN retention.metric.frequency_values IS
  'Numbers of orders at which f rises, ascending; null: by percentiles.';
COMMENT ON COLUMN retention.metric.monetary_percentiles IS
  'Fractions of customers at which m rises, ascending.';
COMMENT ON COLUMN retention.metric.monetary_values IS
  'Revenues at which m rises, ascending; null: by percentiles.';
COMMENT ON COLUMN retention.metric.thresholds IS
  'moving: percentiles are taken anew at each refresh; frozen: those of the last refresh stay.';
COMMENT ON COLUMN retention.metric.purchase_model IS
  'auto: the likelier one of mbgnbd and paretonbd; or one of bgnbd, mbgnbd, paretonbd.';
COMMENT ON COLUMN retention.metric.prediction_window IS
  'Days that predicted_clv, predicted_number_of_orders and order_probability look ahead.';
COMMENT ON COLUMN retention.metric.discount_rate IS
  'How much less money is worth a year later, for predicted_clv: 0.1 is ten per cent.';
COMMENT ON COLUMN retention.metric.churn_levels IS
  'Churn probabilities from which the churn risk is medium and high.';
COMMENT ON COLUMN retention.metric.refit_interval IS
  'Age at which a refresh replaces the fitted models.';
COMMENT ON COLUMN retention.metric.loss_limit IS
  'Share of the customers that one refresh or process_changes may remove; more is an error, '
  'unless allow_loss is true. 1: all.';

CREATE TABLE retention.metric_turn (
  metric text PRIMARY KEY,
  turn   bigint NOT NULL
);
COMMENT ON TABLE retention.metric_turn IS
  'How often each metric''s customers were written. Who writes them updates this row first, so '
  'that PostgreSQL stops whoever does not see what the one before has written. Stays when a '
  'metric is dropped.';
COMMENT ON COLUMN retention.metric_turn.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.metric_turn.turn IS 'Number of the latest turn.';
COMMENT ON COLUMN retention.metric.country IS
  'Country of national telephone numbers whose contact has none: two letters of ISO 3166; null: '
  'they stay as they are.';

CREATE TABLE retention.source (
  source_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- No foreign key: a parallel restore loads the extension's tables in any order.
  metric      text NOT NULL,
  relation    regclass NOT NULL,
  kind        text NOT NULL,
  customer_id name NOT NULL,
  ordered_at  name NOT NULL,
  amount      name NOT NULL,
  order_id    name,
  fingerprint text,
  events_from timestamptz,
  is_indexed  boolean,
  UNIQUE (metric, relation, kind)
);
COMMENT ON TABLE retention.source IS
  'Relations that hold a metric''s orders and refunds, and which columns are what. Made by '
  'add_source.';
COMMENT ON COLUMN retention.source.source_id IS 'Number of the source.';
COMMENT ON COLUMN retention.source.metric IS 'Metric that the source belongs to.';
COMMENT ON COLUMN retention.source.relation IS 'Table or view that is read.';
COMMENT ON COLUMN retention.source.kind IS 'order or refund.';
COMMENT ON COLUMN retention.source.customer_id IS 'Column of the customer''s key.';
COMMENT ON COLUMN retention.source.ordered_at IS 'Column of the time of the order or refund.';
COMMENT ON COLUMN retention.source.amount IS 'Column of the amount.';
COMMENT ON COLUMN retention.source.order_id IS
  'Column by which refunds are netted against orders, and lines joined to orders; may be null.';
COMMENT ON COLUMN retention.source.fingerprint IS
  'State of the relation that the last refresh has read; null when it cannot be told.';
COMMENT ON COLUMN retention.source.events_from IS
  'Orders dated from then on are recorded in order_event; null: none.';
COMMENT ON COLUMN retention.source.is_indexed IS
  'Whether process_changes finds a customer''s rows by index; null before it has looked.';

-- What pg_dump saves besides CREATE EXTENSION.
SELECT pg_extension_config_dump('retention.rfm_cell', 'WHERE NOT builtin');
SELECT pg_extension_config_dump('retention.metric', '');
SELECT pg_extension_config_dump('retention.source', '');
SELECT pg_extension_config_dump('retention.source_source_id_seq', '');

-- Written by C code, which knows its columns; without an index, so that writers only append.
-- Replicas know a row by all of it, which costs writers nothing: only what process_changes deletes
-- is written to the write-ahead log in full.
CREATE TABLE retention.change_log (
  relation     regclass,
  customer_ids text[],
  changed_at   timestamptz NOT NULL,
  due_at       timestamptz,
  order_ids    text[],
  via_id       integer
) WITH (toast_tuple_target = 8160);
COMMENT ON TABLE retention.change_log IS
  'Customers whose rows in tracked tables have changed since the last process_changes. Written by '
  'the triggers of track.';
COMMENT ON COLUMN retention.change_log.relation IS
  'Table that changed; null where process_changes has put customers back whom it could not '
  'process, or not yet.';
COMMENT ON COLUMN retention.change_log.customer_ids IS
  'Keys of the customers, each once; null, and no order_ids: anything may have changed.';
COMMENT ON COLUMN retention.change_log.changed_at IS 'Time of the transaction that changed them.';
COMMENT ON COLUMN retention.change_log.due_at IS
  'Engine''s time from which on they are to be processed, that of an order dated ahead of the '
  'clock; null: at once.';
COMMENT ON COLUMN retention.change_log.order_ids IS
  'Ids of orders, of a table that only knows its order; process_changes looks up whose they are.';
COMMENT ON COLUMN retention.change_log.via_id IS
  'Where these orders are looked up: a number of tracked_via.';
ALTER TABLE retention.change_log ALTER customer_ids SET STORAGE MAIN,
  ALTER order_ids SET STORAGE MAIN, REPLICA IDENTITY FULL;

SELECT pg_extension_config_dump('retention.change_log', '');

CREATE TABLE retention.metric_error (
  metric     text PRIMARY KEY,
  error      text NOT NULL,
  error_code text NOT NULL,
  error_at   timestamptz NOT NULL,
  failures   integer NOT NULL DEFAULT 1
);
COMMENT ON TABLE retention.metric_error IS
  'Why the changes of a metric''s customers could not be processed the last time, or the metric '
  'not be read; no row: they were.';
COMMENT ON COLUMN retention.metric_error.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.metric_error.error IS 'What went wrong.';
COMMENT ON COLUMN retention.metric_error.error_code IS 'SQLSTATE of that error.';
COMMENT ON COLUMN retention.metric_error.error_at IS 'Engine''s time of that error.';
COMMENT ON COLUMN retention.metric_error.failures IS
  'How often in a row; what failed is tried again after a minute, then two, four, up to an hour.';
-- Scoring schemes: which scores belong to which group.

CREATE FUNCTION retention._scheme_levels(
    scheme text, OUT r integer, OUT f integer, OUT m integer)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT max(c.r), max(c.f), max(c.m) FROM retention.rfm_cell c
  WHERE c.scheme = _scheme_levels.scheme
$$;
COMMENT ON FUNCTION retention._scheme_levels(text) IS
  'How many scores each dimension of a scheme has; nulls for an unknown scheme.';

CREATE FUNCTION retention._require_scheme(
    scheme text, OUT r integer, OUT f integer, OUT m integer)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT levels.* INTO r, f, m FROM retention._scheme_levels(scheme) AS levels;
  PERFORM retention._reject_unless(r IS NOT NULL, format('scheme "%s" does not exist', scheme),
    'Schemes are kept in retention.rfm_cell; "standard" and "quintile" are always there.',
    'undefined_object');
END
$$;
COMMENT ON FUNCTION retention._require_scheme(text) IS
  'How many scores each dimension of a scheme has, or an error.';

CREATE FUNCTION retention.rfm_group(
    r integer, f integer, m integer, scheme text DEFAULT 'standard')
  RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN (SELECT c.rfm_group FROM retention.rfm_cell c
          WHERE c.scheme = rfm_group.scheme AND c.r = rfm_group.r AND c.f = rfm_group.f
            AND c.m = rfm_group.m);
COMMENT ON FUNCTION retention.rfm_group(integer, integer, integer, text) IS
  'The group of a combination of scores in a scheme of retention.rfm_cell; null when it has no '
  'such cell.';

CREATE FUNCTION retention._keep_cell() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.rfm_cell');
  IF TG_OP = 'UPDATE' THEN
    NEW.builtin := false;
  ELSE
    DELETE FROM retention.rfm_cell c
      WHERE c.builtin AND (c.scheme, c.r, c.f, c.m) = (NEW.scheme, NEW.r, NEW.f, NEW.m);
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._keep_cell() IS
  'Trigger: an edited cell replaces the shipped one, also when a dump is restored.';

CREATE FUNCTION retention._groups(metric retention.metric) RETURNS text[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  groups text[];
  missing text;
BEGIN
  SELECT array_agg(c.rfm_group ORDER BY i, j, k), min(format('%s%s%s', i, j, k))
    FILTER (WHERE c.rfm_group IS NULL)
    INTO groups, missing
    FROM generate_series(1, cardinality(metric.recency_limits) + 1) AS i
    CROSS JOIN generate_series(1, cardinality(metric.frequency_percentiles) + 1) AS j
    CROSS JOIN generate_series(1, cardinality(metric.monetary_percentiles) + 1) AS k
    LEFT JOIN retention.rfm_cell c ON (c.scheme, c.r, c.f, c.m) = (metric.scheme, i, j, k);
  PERFORM retention._reject_unless(missing IS NULL,
    format('scheme "%s" has no group for scores %s', metric.scheme, missing),
    'Add the missing combinations to retention.rfm_cell.', 'object_not_in_prerequisite_state');
  RETURN groups;
END
$$;
COMMENT ON FUNCTION retention._groups(retention.metric) IS
  'The groups of a metric''s scheme in ascending order of r, f, m; an error when one is missing.';
-- Metrics: what counts as an order, and how it is scored.

CREATE FUNCTION retention._check_thresholds(
    metric text, setting text, list double precision[], levels integer,
    descending boolean DEFAULT false, at_least double precision DEFAULT '-Infinity')
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(
    coalesce(array_ndims(list), 1) = 1 AND array_position(list, NULL) IS NULL
      AND array_position(list, 'NaN') IS NULL,
    format('%s of metric "%s" must be a plain list of numbers', setting, metric));
  PERFORM retention._reject_unless(
    cardinality(list) = levels - 1,
    format('%s of metric "%s" has %s thresholds, but needs %s', setting, metric, cardinality(list),
           levels - 1),
    format('%s scores are told apart by %s thresholds.', levels, levels - 1));
  PERFORM retention._reject_unless(
    (SELECT coalesce(bool_and(t > '-Infinity' AND t < 'Infinity' AND t >= at_least), true)
     FROM unnest(list) AS t),
    format('%s of metric "%s" must be finite%s, not %s', setting, metric,
           CASE WHEN at_least = 0 THEN ' and not negative' ELSE '' END, list),
    CASE WHEN descending THEN 'They are days since the last order.' ELSE '' END,
    'numeric_value_out_of_range');
  PERFORM retention._reject_unless(
    (SELECT coalesce(bool_and(CASE WHEN descending THEN list[i] > list[i + 1]
                              ELSE list[i] < list[i + 1] END), true)
     FROM generate_series(1, cardinality(list) - 1) AS i),
    format('%s of metric "%s" must be strictly %s, not %s', setting, metric,
           CASE WHEN descending THEN 'decreasing' ELSE 'increasing' END, list),
    'The first threshold separates score 1 from 2, the next one 2 from 3, and so on.');
END
$$;
COMMENT ON FUNCTION retention._check_thresholds(
  text, text, double precision[], integer, boolean, double precision) IS
  'Checks a list of thresholds: their number, their order, that all are finite and not too small.';

CREATE FUNCTION retention._check_percentiles(
    metric text, setting text, list double precision[], levels integer)
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_thresholds(metric, setting, list, levels);
  PERFORM retention._reject_unless(
    (SELECT coalesce(bool_and(p >= 0 AND p <= 1), true) FROM unnest(list) AS p),
    format('%s of metric "%s" must lie between 0 and 1, not %s', setting, metric, list),
    'A third is 1/3.0.', 'numeric_value_out_of_range');
END
$$;
COMMENT ON FUNCTION retention._check_percentiles(text, text, double precision[], integer) IS
  'Checks a list of percentiles: as thresholds, and between 0 and 1.';

CREATE FUNCTION retention._check_predictions(settings retention.metric) RETURNS void
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(
    settings.purchase_model = 'auto' OR EXISTS (SELECT FROM retention.models()
                                                WHERE kind = settings.purchase_model
                                                  AND purpose = 'purchase'),
    format('purchase_model of metric "%s" must be auto or a model of purchases, not "%s"',
           settings.metric, settings.purchase_model),
    'retention.models() lists the models.');
  PERFORM retention._reject_unless(settings.prediction_window BETWEEN 1 AND 36525,
    format('prediction_window of metric "%s" must be from 1 to 36525 days, not %s', settings.metric,
           settings.prediction_window));
  PERFORM retention._reject_unless(settings.discount_rate >= 0
                                   AND settings.discount_rate < 'Infinity',
    format('discount_rate of metric "%s" must be 0 or more, not %s', settings.metric,
           settings.discount_rate), 'Ten per cent a year is 0.1.');
  PERFORM retention._check_percentiles(settings.metric, 'churn_levels', settings.churn_levels, 3);
  PERFORM retention._check_span(format('refit_interval of metric "%s"', settings.metric),
                                settings.refit_interval, 0);
END
$$;
COMMENT ON FUNCTION retention._check_predictions(retention.metric) IS
  'Checks the settings that predictions are made by.';

CREATE FUNCTION retention._check_metric() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  levels record;
  missing name;
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.metric');
  PERFORM retention._reject_unless(TG_OP = 'INSERT' OR NEW.metric = OLD.metric,
    format('metric "%s" cannot be renamed', OLD.metric),
    'Its customers and history have the name too.', 'feature_not_supported');
  PERFORM retention._check_length('the name of a metric', 'name', NEW.metric);
  SELECT a.attname INTO missing FROM pg_attribute a
    WHERE a.attrelid = 'retention.metric'::regclass AND a.attnotnull AND a.attnum > 0
      AND to_jsonb(NEW) ->> a.attname IS NULL ORDER BY a.attnum LIMIT 1;
  PERFORM retention._reject_unless(missing IS NULL,
    format('%s of metric "%s" must not be null', missing, NEW.metric),
    format('SELECT retention.alter_metric(%L, reset => ''{%s}''); takes it back to its default.',
           NEW.metric, missing), 'null_value_not_allowed');
  -- A restored dump brings metrics before the cells of its own schemes: nothing to compare with
  -- yet.
  SELECT coalesce(r, cardinality(NEW.recency_limits) + 1) AS r,
         coalesce(f, cardinality(NEW.frequency_percentiles) + 1) AS f,
         coalesce(m, cardinality(NEW.monetary_percentiles) + 1) AS m
    INTO levels FROM retention._scheme_levels(NEW.scheme);
  PERFORM retention._reject_unless(
    retention._is_listed_zone(NEW.time_zone),
    format('time zone "%s" of metric "%s" does not exist', NEW.time_zone, NEW.metric),
    'Names such as Europe/Warsaw are listed in pg_timezone_names.');
  PERFORM retention._reject_unless(coalesce(NEW.country ~ '^[A-Za-z]{2}$', true),
    format('country of metric "%s" must be two letters of ISO 3166, not "%s"', NEW.metric,
           NEW.country), 'Such as PL or US.');
  PERFORM retention._check_days(format('history of metric "%s"', NEW.metric), NEW.history,
                                'alter_metric(..., reset => ''{history}'') counts all orders.');
  PERFORM retention._reject_unless(NEW.thresholds IN ('moving', 'frozen'),
    format('thresholds of metric "%s" must be moving or frozen, not "%s"', NEW.metric,
           NEW.thresholds));
  PERFORM retention._check_thresholds(NEW.metric, 'recency_limits', NEW.recency_limits, levels.r,
                                      descending => true,
                                       at_least => 0);
  PERFORM retention._check_percentiles(NEW.metric, 'frequency_percentiles',
                                       NEW.frequency_percentiles, levels.f);
  PERFORM retention._check_percentiles(NEW.metric, 'monetary_percentiles', NEW.monetary_percentiles,
                                       levels.m);
  IF NEW.frequency_values IS NOT NULL THEN
    PERFORM retention._check_thresholds(NEW.metric, 'frequency_values', NEW.frequency_values,
                                        levels.f, at_least => 0);
  END IF;
  IF NEW.monetary_values IS NOT NULL THEN
    PERFORM retention._check_thresholds(NEW.metric, 'monetary_values', NEW.monetary_values,
                                        levels.m);
  END IF;
  PERFORM retention._reject_unless(NEW.loss_limit BETWEEN 0 AND 1,
    format('loss_limit of metric "%s" must lie between 0 and 1, not %s', NEW.metric,
           coalesce(NEW.loss_limit::text, 'null')),
    'It is a share of the customers: half of them are 0.5; 1 allows any loss.',
    'numeric_value_out_of_range');
  PERFORM retention._check_predictions(NEW);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_metric() IS
  'Trigger: checks every setting of a metric as a whole.';

CREATE FUNCTION retention._default_limits(levels integer) RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE levels WHEN 3 THEN ARRAY[365, 180]::double precision[]
                     WHEN 5 THEN ARRAY[365, 180, 90, 30]::double precision[] END;
COMMENT ON FUNCTION retention._default_limits(integer) IS
  'Customary recency limits in days, where there are any for this number of scores.';

CREATE FUNCTION retention._default_percentiles(levels integer) RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ARRAY(SELECT (i::double precision / levels) FROM generate_series(1, levels - 1) AS i
               ORDER BY i);
COMMENT ON FUNCTION retention._default_percentiles(integer) IS
  'Percentiles that cut a population into equal parts.';

CREATE FUNCTION retention.add_metric(
    metric text, time_zone text DEFAULT 'UTC', history interval DEFAULT NULL,
    scheme text DEFAULT 'standard',
    recency_limits double precision[] DEFAULT NULL,
    frequency_percentiles double precision[] DEFAULT NULL,
    frequency_values double precision[] DEFAULT NULL,
    monetary_percentiles double precision[] DEFAULT NULL,
    monetary_values double precision[] DEFAULT NULL,
    thresholds text DEFAULT 'moving',
    purchase_model text DEFAULT 'auto', prediction_window integer DEFAULT 365,
    discount_rate double precision DEFAULT 0,
    churn_levels double precision[] DEFAULT '{0.33, 0.66}',
    refit_interval interval DEFAULT '7 days',
    loss_limit double precision DEFAULT 0.5, country text DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  customary retention.metric;
BEGIN
  PERFORM retention._reject_unless(
    NOT EXISTS (SELECT FROM retention.metric e WHERE e.metric = add_metric.metric),
    format('metric "%s" already exists', metric), 'alter_metric changes it.', 'duplicate_object');
  customary := retention._default_settings(scheme);
  INSERT INTO retention.metric VALUES (
    metric, time_zone, history, scheme,
    coalesce(recency_limits, customary.recency_limits),
    coalesce(frequency_percentiles, customary.frequency_percentiles), frequency_values,
    coalesce(monetary_percentiles, customary.monetary_percentiles), monetary_values,
    thresholds, purchase_model, prediction_window, discount_rate, churn_levels, refit_interval,
    loss_limit,
    country);
  RETURN metric;
END
$$;
COMMENT ON FUNCTION retention.add_metric(
  text, text, interval, text, double precision[], double precision[], double precision[],
  double precision[], double precision[], text, text, integer, double precision, double precision[],
  interval, double precision, text) IS
  'Makes a metric. What is left out gets the scheme''s customary thresholds.';

CREATE FUNCTION retention._require_metric(metric text) RETURNS retention.metric
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_metric retention.metric;
BEGIN
  SELECT * INTO found_metric FROM retention.metric e WHERE e.metric = _require_metric.metric;
  PERFORM retention._reject_unless(FOUND, format('metric %s does not exist',
                                                 coalesce('"' || metric || '"', 'null')),
    'add_metric or add_source makes it; retention.metric lists those there are.',
    'undefined_object');
  RETURN found_metric;
END
$$;
COMMENT ON FUNCTION retention._require_metric(text) IS 'A metric''s settings, or an error.';

CREATE FUNCTION retention._default_settings(scheme text) RETURNS retention.metric
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  levels record := retention._require_scheme(scheme);
BEGIN
  RETURN ROW (NULL, 'UTC', NULL, scheme, coalesce(retention._default_limits(levels.r), '{}'),
              retention._default_percentiles(levels.f), NULL,
              retention._default_percentiles(levels.m), NULL,
              'moving', 'auto', 365, 0, '{0.33,0.66}', '7 days', 0.5, NULL)::retention.metric;
END
$$;
COMMENT ON FUNCTION retention._default_settings(text) IS
  'What add_metric makes of a scheme, with all else left out.';

CREATE FUNCTION retention._without_settings(
    settings retention.metric, scheme text, reset text[])
  RETURNS retention.metric
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  resets_scheme CONSTANT boolean := coalesce('scheme' = ANY (reset), false);
  defaults jsonb := to_jsonb(retention._default_settings(
    coalesce(scheme, CASE WHEN resets_scheme THEN 'standard' ELSE settings.scheme END)));
  unknown text;
BEGIN
  IF resets_scheme THEN
    -- Its thresholds are as many as it has scores.
    reset := reset
      || '{recency_limits,frequency_percentiles,frequency_values,monetary_percentiles,'
          'monetary_values}';
  END IF;
  SELECT coalesce('"' || r || '"', 'null') INTO unknown
    FROM unnest(reset) AS r WHERE (r = 'metric' OR NOT defaults ? r) IS NOT FALSE LIMIT 1;
  PERFORM retention._reject_unless(unknown IS NULL,
                                   format('metric "%s" has no setting %s that could be reset',
                                          settings.metric, unknown),
    format('The settings are %s.', (
      SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a
      WHERE a.attrelid = 'retention.metric'::regclass AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attname <> 'metric')));
  RETURN jsonb_populate_record(settings, (SELECT jsonb_object_agg(d.key, d.value)
                                          FROM jsonb_each(defaults) AS d
                                          WHERE d.key = ANY (reset)));
END
$$;
COMMENT ON FUNCTION retention._without_settings(retention.metric, text, text[]) IS
  'A metric''s settings after those of these names were taken back to what a scheme, by default '
  'its own, has by default.';

CREATE FUNCTION retention.alter_metric(
    metric text, time_zone text DEFAULT NULL, history interval DEFAULT NULL,
    scheme text DEFAULT NULL,
    recency_limits double precision[] DEFAULT NULL,
    frequency_percentiles double precision[] DEFAULT NULL,
    frequency_values double precision[] DEFAULT NULL,
    monetary_percentiles double precision[] DEFAULT NULL,
    monetary_values double precision[] DEFAULT NULL,
    thresholds text DEFAULT NULL,
    purchase_model text DEFAULT NULL, prediction_window integer DEFAULT NULL,
    discount_rate double precision DEFAULT NULL,
    churn_levels double precision[] DEFAULT NULL, refit_interval interval DEFAULT NULL,
    loss_limit double precision DEFAULT NULL, country text DEFAULT NULL, reset text[] DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kept retention.metric := retention._without_settings(retention._require_metric(metric), scheme,
                                                       reset);
  levels record;
BEGIN
  SELECT r, f, m INTO levels FROM retention._scheme_levels(NULL);
  IF alter_metric.scheme IS NOT NULL THEN
    levels := retention._require_scheme(alter_metric.scheme);
  END IF;
  UPDATE retention.metric e SET
    time_zone = coalesce(alter_metric.time_zone, kept.time_zone),
    history = coalesce(alter_metric.history, kept.history),
    scheme = coalesce(alter_metric.scheme, kept.scheme),
    recency_limits = coalesce(alter_metric.recency_limits, retention._default_limits(levels.r),
                              kept.recency_limits),
    frequency_percentiles = coalesce(alter_metric.frequency_percentiles,
      CASE WHEN levels.f IS NOT NULL THEN retention._default_percentiles(levels.f) END,
      kept.frequency_percentiles),
    frequency_values = coalesce(alter_metric.frequency_values, kept.frequency_values),
    monetary_percentiles = coalesce(alter_metric.monetary_percentiles,
      CASE WHEN levels.m IS NOT NULL THEN retention._default_percentiles(levels.m) END,
      kept.monetary_percentiles),
    monetary_values = coalesce(alter_metric.monetary_values, kept.monetary_values),
    thresholds = coalesce(alter_metric.thresholds, kept.thresholds),
    purchase_model = coalesce(alter_metric.purchase_model, kept.purchase_model),
    prediction_window = coalesce(alter_metric.prediction_window, kept.prediction_window),
    discount_rate = coalesce(alter_metric.discount_rate, kept.discount_rate),
    churn_levels = coalesce(alter_metric.churn_levels, kept.churn_levels),
    refit_interval = coalesce(alter_metric.refit_interval, kept.refit_interval),
    loss_limit = coalesce(alter_metric.loss_limit, kept.loss_limit),
    country = coalesce(alter_metric.country, kept.country)
  WHERE e.metric = alter_metric.metric;
END
$$;
COMMENT ON FUNCTION retention.alter_metric(
  text, text, interval, text, double precision[], double precision[], double precision[],
  double precision[], double precision[], text, text, integer, double precision, double precision[],
  interval, double precision, text, text[]) IS
  'Changes the settings that are given, and takes those that are named in reset back to their '
  'defaults; a new scheme brings its customary thresholds. Takes effect at the next refresh, and '
  'until then changes of orders wait; prediction_window, discount_rate, churn_levels, loss_limit '
  'and, for what counts days, time_zone do at once. Starts no flow, and wakes nobody who waits in '
  'one; preview_settings shows before who would move.';

CREATE FUNCTION retention._lock_metric(metric text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._take_lock('retention.metric', hashtext(metric))
$$;
COMMENT ON FUNCTION retention._lock_metric(text) IS
  'Makes whatever writes a metric''s customers and history take turns, until the transaction '
  'ends.';

CREATE FUNCTION retention._take_turn(metric text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.metric_turn AS t (metric, turn) VALUES (metric, 1)
    ON CONFLICT (metric) DO UPDATE SET turn = t.turn + 1
$$;
COMMENT ON FUNCTION retention._take_turn(text) IS
  'Called, under the lock of the metric, before anything of it is written: a serialization error '
  'where the transaction''s snapshot is older than what was written last.';

CREATE FUNCTION retention._add_again(
    source retention.source, events boolean DEFAULT NULL)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- The column of the order id is guessed by its name.
  SELECT format('SELECT retention.drop_source(%s); SELECT retention.add_source(%s);',
    (source).source_id, concat_ws(', ', quote_literal((source).relation::text),
      'customer_id => ' || quote_literal(nullif((source).customer_id, 'customer_id')),
      'ordered_at => ' || quote_literal(nullif((source).ordered_at, 'ordered_at')),
      'amount => ' || quote_literal(nullif((source).amount, 'amount')),
      'order_id => ' || quote_literal(coalesce((source).order_id, (
        SELECT a.attname FROM pg_attribute a
        WHERE a.attrelid = (source).relation AND a.attname = 'order_id' AND NOT a.attisdropped),
        '...')),
      'kind => ' || quote_literal(nullif((source).kind, 'order')),
      'metric => ' || quote_literal(nullif((source).metric, 'orders')),
      'events => ' || events::text))
$$;
COMMENT ON FUNCTION retention._add_again(retention.source, boolean) IS
  'The statements that add a source once more with its columns, and with the order id. For hints.';

CREATE FUNCTION retention._not_netted(metric text DEFAULT NULL)
  RETURNS TABLE (refunds retention.source, names_orders boolean, problem text, way_out text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r, r.order_id IS NOT NULL,
         format(CASE WHEN r.order_id IS NULL
                     THEN 'refunds of %1$s are not netted against their orders: they have no '
                          'order_id'
                     ELSE 'refunds of %1$s are not netted against their orders: %2$s, with the '
                          'orders of metric "%3$s", has no order_id' END,
                r.relation, (o.orders).relation, r.metric),
         format('They reduce the revenue, and no order. %s', retention._add_again(
           CASE WHEN r.order_id IS NULL THEN r ELSE o.orders END))
  FROM retention.source r, LATERAL (
    -- One is enough: of which orders the refunds are is not known.
    SELECT s AS orders FROM retention.source s WHERE (s.metric, s.kind) = (r.metric, 'order')
    ORDER BY s.order_id IS NULL, s.source_id LIMIT 1) AS o
  WHERE r.kind = 'refund' AND r.metric = coalesce(_not_netted.metric, r.metric)
    AND (r.order_id IS NULL OR (o.orders).order_id IS NULL)
$$;
COMMENT ON FUNCTION retention._not_netted(text) IS
  'Sources of refunds, of a metric or of all, that cannot be netted against orders for want of an '
  'order id: their own, or that of all orders.';

CREATE FUNCTION retention._warn_not_netted(relation regclass, metric text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found record;
BEGIN
  FOR found IN SELECT n.* FROM retention._not_netted(metric) AS n LOOP
    IF found.names_orders THEN
      RAISE WARNING '%', found.problem USING HINT = found.way_out;
    ELSIF (found.refunds).relation = relation THEN
      -- Some shops do not know of which order a refund is.
      RAISE NOTICE '%', found.problem USING HINT = found.way_out;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._warn_not_netted(regclass, text) IS
  'Warns, when a source was added, of refunds that are not netted against orders.';

CREATE FUNCTION retention._settings(metric retention.metric) RETURNS text
  -- Settings are hashed as text, which must not depend on the session.
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres
  SET extra_float_digits = 1
  SET quote_all_identifiers = off
AS $$
  SELECT md5(concat_ws('|',
    -- Without the settings of predictions, which no score depends on.
    (metric.metric, metric.time_zone, metric.scheme, metric.recency_limits,
     metric.frequency_percentiles,
     metric.frequency_values, metric.monetary_percentiles, metric.monetary_values,
     metric.thresholds)::text,
    retention._groups(metric)))
    -- Which orders count stands apart, for _reads_alike. Nothing of this may depend on the
    -- database: it is restored.
    || '/' || md5(concat_ws('|', metric.history,
    (SELECT array_agg((s.source_id, s.kind, s.customer_id, s.ordered_at, s.amount, s.order_id)::text
                      ORDER BY s.source_id)
     FROM retention.source s WHERE s.metric = (_settings.metric).metric)))
$$;
COMMENT ON FUNCTION retention._settings(retention.metric) IS
  'Fingerprint of all that decides on scores besides the orders.';

CREATE FUNCTION retention._reads_alike(settings text, other_settings text)
  RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT split_part(settings, '/', 2) = split_part(other_settings, '/', 2)
$$;
COMMENT ON FUNCTION retention._reads_alike(text, text) IS
  'Whether two fingerprints of settings have the same sources and history.';
-- Sources: the relations of the shop that orders are read from.

CREATE FUNCTION retention._base_type(type regtype) RETURNS regtype
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  base regtype := type;
BEGIN
  WHILE base IS NOT NULL LOOP
    type := base;
    base := (SELECT t.typbasetype FROM pg_type t WHERE t.oid = type AND t.typtype = 'd');
  END LOOP;
  RETURN type;
END
$$;
COMMENT ON FUNCTION retention._base_type(regtype) IS 'The type under a domain.';

CREATE FUNCTION retention._column_type(relation regclass, role text, column_name name)
  RETURNS regtype
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_type regtype;
BEGIN
  SELECT retention._base_type(atttypid) INTO found_type
    FROM pg_attribute WHERE attrelid = relation AND attname = column_name AND attnum > 0
      AND NOT attisdropped;
  PERFORM retention._reject_unless(FOUND,
    format('column "%s" of %s does not exist', column_name, relation),
    format('Name the column with %s => ''...''.', role), 'undefined_column');
  RETURN found_type;
END
$$;
COMMENT ON FUNCTION retention._column_type(regclass, text, name) IS
  'A column''s type, or an error that names the column.';

CREATE FUNCTION retention._read_by_reader(relation regclass) RETURNS SETOF regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE read AS (
    SELECT relation::oid AS oid
    UNION
    SELECT d.refobjid
    FROM read JOIN pg_class v ON v.oid = read.oid AND v.relkind = 'v'
    CROSS JOIN LATERAL pg_options_to_table(v.reloptions) AS o
    JOIN pg_rewrite r ON r.ev_class = v.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_class'::regclass
    WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
  SELECT oid::regclass FROM read
$$;
COMMENT ON FUNCTION retention._read_by_reader(regclass) IS
  'A relation, and those that it reads with the rights of whoever reads it.';

CREATE FUNCTION retention._depends_on_reader(relation regclass, reader regrole)
  RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.relrowsecurity
         AND NOT (SELECT a.rolbypassrls OR a.rolsuper FROM pg_roles a WHERE a.oid = reader)
      OR c.relkind = 'v' AND (
        c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        OR EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                     AND d.refclassid = 'pg_extension'::regclass AND e.extname <> 'retention'))
  FROM pg_class c WHERE c.oid = relation
$$;
COMMENT ON FUNCTION retention._depends_on_reader(regclass, regrole) IS
  'Whether a relation may show a reader less than its owner: by row security, or as a view of the '
  'system, or of another extension, which may ask who reads it.';

CREATE FUNCTION retention._check_shown_alike(relation regclass, reader regrole)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner regrole := retention._owner(relation);
  withheld regclass;
BEGIN
  IF pg_has_role(reader, owner, 'USAGE') THEN
    RETURN;
  END IF;
  SELECT r INTO withheld FROM retention._read_by_reader(relation) AS r
    WHERE r <> relation AND NOT has_table_privilege(reader, r, 'SELECT')
      OR retention._depends_on_reader(r, reader) LIMIT 1;
  PERFORM retention._reject_unless(withheld IS NULL,
    format('%s may show its owner more than %s, for %s depends on who reads it',
           relation, reader, withheld),
    format('It is read with its owner''s rights: %s can add it, or a member of that role.', owner),
    'insufficient_privilege');
END
$$;
COMMENT ON FUNCTION retention._check_shown_alike(regclass, regrole) IS
  'An error where a relation, which is read with its owner''s rights, may show the owner more '
  'than somebody who can read it.';

CREATE FUNCTION retention._check_readable(relation regclass, columns name[]) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  caller regrole := retention._caller();
  unreadable name;
BEGIN
  SELECT c INTO unreadable
    FROM unnest(columns) AS c JOIN pg_class ON pg_class.oid = relation
    WHERE NOT has_schema_privilege(caller, relnamespace, 'USAGE')
      OR NOT has_column_privilege(caller, relation, c::text, 'SELECT')
    LIMIT 1;
  PERFORM retention._reject_unless(unreadable IS NULL,
    format('no right to read column "%s" of %s', unreadable, relation),
    format('GRANT SELECT ON %s TO %s;', relation, caller), 'insufficient_privilege');
  PERFORM retention._check_shown_alike(relation, caller);
END
$$;
COMMENT ON FUNCTION retention._check_readable(regclass, name[]) IS
  'An error unless the caller may read these columns: what they have the engine read, others can '
  'see.';

CREATE FUNCTION retention._check_type(
    relation regclass, column_name name, type regtype, allowed regtype[], hint text)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(type = ANY (allowed),
    format('column "%s" of %s has type %s, which cannot be used here', column_name, relation, type),
    hint, 'datatype_mismatch');
END
$$;
COMMENT ON FUNCTION retention._check_type(regclass, name, regtype, regtype[], text) IS
  'Rejects a column of an unsuitable type.';

CREATE FUNCTION retention._check_source() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation_kind "char";
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.source');
  SELECT relkind INTO relation_kind FROM pg_class WHERE oid = NEW.relation;
  PERFORM retention._reject_unless(relation_kind IN ('r', 'p', 'v', 'm', 'f'),
    format('%s is not a table or view', NEW.relation), '', 'wrong_object_type');
  PERFORM retention._reject_unless(NEW.kind IN ('order', 'refund'),
    format('kind of source %s must be order or refund, not "%s"', NEW.relation, NEW.kind));
  PERFORM retention._column_type(NEW.relation, 'customer_id', NEW.customer_id);
  PERFORM retention._check_type(NEW.relation, NEW.ordered_at,
    retention._column_type(NEW.relation, 'ordered_at', NEW.ordered_at),
    '{timestamptz,timestamp,date}',
    'The time of an order is a timestamp or a date; convert it in a view.');
  PERFORM retention._check_type(NEW.relation, NEW.amount,
    retention._column_type(NEW.relation, 'amount', NEW.amount),
    '{numeric,smallint,integer,bigint,real,double precision,money}',
    'The amount is a number; convert it in a view.');
  IF NEW.order_id IS NOT NULL THEN
    PERFORM retention._column_type(NEW.relation, 'order_id', NEW.order_id);
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_source() IS
  'Trigger: checks a source''s relation and columns.';

CREATE FUNCTION retention.add_source(
    relation regclass, customer_id name DEFAULT 'customer_id', ordered_at name DEFAULT 'ordered_at',
    amount name DEFAULT 'amount', order_id name DEFAULT NULL, kind text DEFAULT 'order',
    metric text DEFAULT 'orders',
    events boolean DEFAULT NULL)
  RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  new_id integer;
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, 'the source''s relation must not be null',
                                   '', 'null_value_not_allowed');
  PERFORM retention._reject_unless(
    NOT EXISTS (SELECT FROM retention.source s
                WHERE s.metric = add_source.metric AND s.relation = add_source.relation
                  AND s.kind = add_source.kind),
    format('%s is already a source of %ss for metric "%s"', relation, kind, metric),
    (SELECT CASE WHEN s.order_id IS NULL AND add_source.order_id IS NOT NULL
                 THEN 'To add the order id: ' || retention._add_again(
                   retention._with_fields(s, 'order_id', add_source.order_id))
                 ELSE format('SELECT retention.drop_source(%s); removes it.', s.source_id) END
     FROM retention.source s
     WHERE (s.metric, s.relation, s.kind)
           = (add_source.metric, add_source.relation, add_source.kind)), 'duplicate_object');
  PERFORM retention._reject_unless(
    kind IS DISTINCT FROM 'refund' OR EXISTS (SELECT FROM retention.source s
                                              WHERE s.metric = add_source.metric
                                                AND s.kind = 'order'),
    format('metric "%s" has no orders that %s could refund', metric, relation),
    'Add the source of its orders first.', 'object_not_in_prerequisite_state');
  events := coalesce(events, order_id IS NOT NULL);
  PERFORM retention._reject_unless(NOT events OR order_id IS NOT NULL,
    format('events of %s need the column of the order id', relation),
    'By the order id an order is told from a changed one: order_id => ''...''.');
  IF metric = 'orders' AND NOT EXISTS (SELECT FROM retention.metric e WHERE e.metric = 'orders')
    THEN
    PERFORM retention.add_metric('orders');
  END IF;
  PERFORM retention._require_metric(metric);
  INSERT INTO retention.source (metric, relation, kind, customer_id, ordered_at, amount, order_id,
                                events_from)
    VALUES (metric, relation, kind, customer_id, ordered_at, amount, order_id, CASE
            WHEN events THEN retention.now() END)
    RETURNING source_id INTO new_id;
  PERFORM retention._check_readable(relation,
                                    array_remove(ARRAY[customer_id, ordered_at, amount, order_id],
                                                 NULL));
  PERFORM retention._track_source(relation, customer_id);
  PERFORM retention._warn_not_netted(relation, metric);
  RETURN new_id;
END
$$;
COMMENT ON FUNCTION retention.add_source(regclass, name, name, name, name, text, text, boolean) IS
  'Makes a table or view a source of a metric''s orders, or of refunds; returns its source_id. '
  'The first one makes the metric "orders". With events, process_changes records new orders in '
  'order_event; they are on, unless set to false, where there is an order_id. A table that is '
  'tracked already is tracked by this column too, which needs to own it.';

CREATE FUNCTION retention.drop_source(source_id integer) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM retention.source s WHERE s.source_id = drop_source.source_id;
  PERFORM retention._reject_unless(FOUND, format('source %s does not exist',
                                                 coalesce(source_id::text, 'null')),
    'retention.source lists those there are.', 'undefined_object');
  -- Nobody processes changes of a metric that reads nothing, so nobody would clear these.
  DELETE FROM retention.metric_error e
    WHERE NOT EXISTS (SELECT FROM retention.source s WHERE s.metric = e.metric);
END
$$;
COMMENT ON FUNCTION retention.drop_source(integer) IS
  'Removes a source; its customers go at the next refresh.';
-- Customers' keys of any type, compared so that an index serves.

CREATE FUNCTION retention._key_type(relation regclass, column_name name) RETURNS regtype
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN type = ANY ('{smallint,integer,bigint,uuid,text,varchar}'::regtype[]) THEN type
    ELSE 'text'::regtype END
  FROM (SELECT retention._column_type(relation, 'customer_id', column_name) AS type) AS found
$$;
COMMENT ON FUNCTION retention._key_type(regclass, name) IS
  'The type that a column of keys is read as: its own where C code knows how to write that, else '
  'text.';

CREATE FUNCTION retention._key_expression(relation regclass, column_name name)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I::%s', column_name, retention._key_type(relation, column_name))
$$;
COMMENT ON FUNCTION retention._key_expression(regclass, name) IS
  'The expression that reads a column of keys.';

CREATE FUNCTION retention._key_condition(key text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  -- What is_usable_key says in C.
  RETURN format($condition$octet_length(%1$s) <= %2$s
    AND btrim(%1$s, E' \t\n\x0B\f\r') <> ''$condition$, key, retention._most('key'));
COMMENT ON FUNCTION retention._key_condition(text) IS
  'The condition that a key, given as an expression of text, is a customer''s: not too long for '
  'an index, and not blank as guests are written.';

CREATE FUNCTION retention._equality(type regtype) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    (SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
     FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod AND a.amname = 'btree'
     JOIN pg_amop e ON e.amopfamily = c.opcfamily AND e.amopstrategy = 3
       AND e.amoplefttype = c.opcintype AND e.amoprighttype = c.opcintype
     JOIN pg_operator o ON o.oid = e.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
     WHERE c.opcdefault AND c.opcintype = type), '=')
$$;
COMMENT ON FUNCTION retention._equality(regtype) IS
  'The operator that a type''s indexes compare by, wherever its extension is installed.';

CREATE FUNCTION retention._is_of_type(
    value text, type text, author regrole DEFAULT quote_ident(current_user)::regrole)
  RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM FROM retention._query_as(author, format('SELECT %L::%s IS NULL', value,
                                                  type)) AS q (is_null boolean);
  RETURN true;
EXCEPTION WHEN data_exception THEN
  RETURN false;
END
$$;
COMMENT ON FUNCTION retention._is_of_type(text, text, regrole) IS
  'Whether a text, such as a key, can be a value of a type, whose author''s rights it is tried '
  'with.';

CREATE FUNCTION retention._typed_keys(
    customer_ids text[], type text, is_exact boolean, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  typed text;
  query text := format($query$
    SELECT coalesce(array_agg(k::%1$s), '{}')::text FROM unnest($1) AS k
    WHERE NOT $2 OR k::%1$s::text = k$query$, type);
BEGIN
  SELECT q.keys INTO typed
    FROM retention._query_as(author, query, customer_ids, is_exact) AS q (keys text);
  RETURN typed;
EXCEPTION WHEN data_exception THEN
  -- Another source's keys may be no values of this type.
  SELECT q.keys INTO typed
    FROM retention._query_as(author, query,
           ARRAY(SELECT k FROM unnest(customer_ids) AS k
                 WHERE retention._is_of_type(k, type, author)), is_exact) AS q (keys text);
  RETURN typed;
END
$$;
COMMENT ON FUNCTION retention._typed_keys(text[], text, boolean, regrole) IS
  'Keys as an array of a type, without those that are no values of it; where exact, also without '
  'those that the type would write otherwise: 007 is the number 7, but not the same customer.';

CREATE FUNCTION retention._is_deterministic(relation regclass, column_name name)
  RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.collisdeterministic FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
  WHERE a.attrelid = relation AND a.attname = column_name
$$;
COMMENT ON FUNCTION retention._is_deterministic(regclass, name) IS
  'Whether only equal bytes are equal in a column of text.';

CREATE FUNCTION retention._keys_condition(
    relation regclass, column_name name, customer_ids text[], is_exact boolean DEFAULT true)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  base_type regtype := retention._column_type(relation, 'customer_id', column_name);
  type text := format_type(base_type, -1);
  author regrole := retention._owner(relation);
  exact text := format('%I::text COLLATE "C" = ANY (%L::text[])', column_name, customer_ids);
BEGIN
  IF base_type = ANY ('{smallint,integer,bigint,uuid}'::regtype[]) THEN
    RETURN format('%I = ANY (%L::%s[])', column_name,
                  retention._typed_keys(customer_ids, type, is_exact, author), type);
  END IF;
  IF base_type = ANY ('{text,varchar}'::regtype[])
    AND retention._is_deterministic(relation, column_name) THEN
    RETURN format('%I = ANY (%L::text[])', column_name, customer_ids);
  ELSIF EXISTS (SELECT FROM pg_type WHERE oid = base_type AND typcategory = 'A') THEN
    RETURN exact; -- there are no arrays of arrays
  END IF;
  -- The first comparison can use an index, the second one decides: values that the type, or its
  -- collation, has for equal may be two customers.
  PERFORM FROM retention._query_as(author, format('SELECT NULL::%1$s %2$s NULL::%1$s', type,
                                                  retention._equality(base_type)))
    AS q (is_equal boolean);
  RETURN format('%I %s ANY (%L::%s[])', column_name, retention._equality(base_type),
                retention._typed_keys(customer_ids, type, false, author), type)
      || CASE WHEN is_exact THEN ' AND ' || exact ELSE '' END;
EXCEPTION WHEN undefined_function THEN
  RETURN exact;
END
$$;
COMMENT ON FUNCTION retention._keys_condition(regclass, name, text[], boolean) IS
  'The condition that finds the rows of some keys in a relation, by index where the column has '
  'one. Not exact: also those that the column''s type, or its collation, has for equal.';

CREATE FUNCTION retention._is_by_index(node jsonb) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- By a later column of an index, all of the index is read. Of an expression only the plan knows
  -- how it is written.
  SELECT coalesce(bool_or(i.indkey[0] = 0 OR strpos(found.condition, format('.%I ', a.attname)) > 0
                          OR strpos(found.condition, format('.%I)', a.attname)) > 0), false)
  FROM (SELECT jsonb_path_query_first(node, '$.**."Index Name"') #>> '{}' AS index,
               coalesce(node->>'Index Cond', node->>'Recheck Cond') AS condition) AS found
  JOIN pg_index i ON i.indexrelid = to_regclass(format('%I.%I', node->>'Schema', found.index))
  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
  WHERE found.condition IS NOT NULL
$$;
COMMENT ON FUNCTION retention._is_by_index(jsonb) IS
  'Whether a node of a plan finds its rows by the first column of an index.';

CREATE FUNCTION retention._scans_a_table(query text, relation regclass) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  plan jsonb;
BEGIN
  SELECT q.plan INTO plan
    FROM retention._query_of(relation, 'EXPLAIN (VERBOSE, FORMAT JSON) ' || query) AS q (plan json);
  -- A few pages are read as fast in full.
  RETURN EXISTS (
    SELECT FROM jsonb_path_query(plan,
                                 'strict $.** ? (@."Node Type" like_regex "^(Seq|Index|Index '
                                 'Only|Bitmap Heap) Scan$")') AS node
    WHERE pg_relation_size(to_regclass(format('%I.%I', node->>'Schema',
                                              node->>'Relation Name'))) > 128 * 8192
      AND NOT retention._is_by_index(node));
END
$$;
COMMENT ON FUNCTION retention._scans_a_table(text, regclass) IS
  'Whether a query cannot do without reading a table of more than a megabyte in full, or an index '
  'of it.';
-- Fingerprints: whether a relation is the same as when it was last read.

CREATE FUNCTION retention._relation_fingerprint(relation regclass, columns name[])
  RETURNS text
  LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
  AS 'MODULE_PATHNAME', 'retention_relation_fingerprint';
COMMENT ON FUNCTION retention._relation_fingerprint(regclass, name[]) IS
  'Equal for two moments between which neither the rows of a table nor what these columns are has '
  'changed, without reading it; null when this cannot be told.';

CREATE FUNCTION retention._is_fixed(function oid) RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    -- Those named depend on settings which jobs pin, and on types which _text_fingerprint looks
    -- into.
    SELECT l.lanname IN ('internal', 'c') AND (p.provolatile = 'i' OR p.oid = ANY (
      '{array_out,record_out,range_out,multirange_out,enum_out,'
       'date_out,timestamp_out,timestamptz_out,interval_out}'::regproc[]::oid[]))
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid = function);
END
$$;
COMMENT ON FUNCTION retention._is_fixed(oid) IS
  'Whether a function that writes values as text is compiled, and looks at nothing but its '
  'argument. What one in another language does, or calls, may change any time.';

CREATE FUNCTION retention._types_within(type regtype) RETURNS SETOF regtype
  LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY WITH RECURSIVE part AS (
    SELECT type::oid AS oid
    UNION
    SELECT below.oid
    FROM part JOIN pg_type t ON t.oid = part.oid
    CROSS JOIN LATERAL (
      VALUES (t.typbasetype), (t.typelem)
      UNION ALL SELECT a.atttypid FROM pg_attribute a
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL SELECT r.rngsubtype FROM pg_range r
        WHERE t.oid IN (r.rngtypid, r.rngmultitypid)) AS below (oid)
    WHERE below.oid <> 0)
  SELECT part.oid::regtype FROM part;
END
$$;
COMMENT ON FUNCTION retention._types_within(regtype) IS
  'A type, and those that it is made of: below a domain, of elements, attributes and bounds.';

CREATE FUNCTION retention._text_fingerprint(type regtype) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN (WITH writer AS (
    SELECT t.oid AS type, t.typoutput::oid AS function,
           (SELECT array_agg((e.oid, e.enumlabel)::text ORDER BY e.oid) FROM pg_enum e
            WHERE e.enumtypid = t.oid)::text AS labels,
           (SELECT array_agg(a.attnum ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0
              AND NOT a.attisdropped)::text AS attributes
    FROM retention._types_within(_text_fingerprint.type) AS part JOIN pg_type t ON t.oid = part
    UNION ALL
    SELECT c.castsource, nullif(c.castfunc, 0), c.castmethod::text, NULL
    FROM pg_cast c WHERE c.castsource = retention._base_type(_text_fingerprint.type)
      AND c.casttarget = 'text'::regtype)
  SELECT CASE WHEN bool_and(w.function IS NULL OR retention._is_fixed(w.function))
              THEN string_agg(concat_ws(':', w.type, w.function, p.prosrc, p.probin, w.labels,
                                        w.attributes), ' '
                              ORDER BY w.type, w.function) END
  FROM writer w LEFT JOIN pg_proc p ON p.oid = w.function);
END
$$;
COMMENT ON FUNCTION retention._text_fingerprint(regtype) IS
  'Equal for two moments at which values of a type, such as keys, are written as the same text: '
  'its cast, its labels; null when this cannot be told.';

CREATE FUNCTION retention._is_read_elsewhere(query text, relation regclass)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  plan jsonb;
BEGIN
  SELECT q.plan INTO plan
    FROM retention._query_of(relation, 'EXPLAIN (FORMAT JSON) ' || query) AS q (plan json);
  RETURN jsonb_path_exists(plan,
                           'strict $.**."Node Type" ? (@ like_regex "^(Foreign|Custom) Scan$")');
END
$$;
COMMENT ON FUNCTION retention._is_read_elsewhere(text, regclass) IS
  'Whether a query reads rows that are not in the tables that it names: on other servers, or in '
  'an extension''s own storage.';

CREATE FUNCTION retention._source_fingerprint(source retention.source, time_zone text)
  RETURNS text
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns CONSTANT name[] := array_remove(ARRAY[source.customer_id, source.ordered_at,
                                                source.amount, source.order_id], NULL);
  rows_fingerprint text := retention._relation_fingerprint(source.relation, columns);
  written text := retention._text_fingerprint(retention._column_type(source.relation, 'customer_id',
      source.customer_id));
BEGIN
  IF source.order_id IS NOT NULL THEN
    written := written || ' ' || retention._text_fingerprint(retention._column_type(source.relation,
        'order_id', source.order_id));
  END IF;
  IF retention._column_type(source.relation, 'amount', source.amount) = 'money'::regtype THEN
    -- It says how many digits of money are cents.
    written := written || ' ' || current_setting('lc_monetary');
  END IF;
  RETURN CASE WHEN rows_fingerprint || written IS NULL THEN NULL
              WHEN NOT retention._is_read_elsewhere(
                retention._source_query(source, time_zone), source.relation)
              THEN rows_fingerprint || md5(written) END;
END
$$;
COMMENT ON FUNCTION retention._source_fingerprint(retention.source, text) IS
  'Equal for two moments at which reading a source would give the same; null when this cannot be '
  'told, as of views, and of what other servers or other storage than the heap keep.';

CREATE FUNCTION retention._stamped(fingerprint text) RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT current_setting('server_version_num')::integer / 10000 || ':' || fingerprint
$$;
COMMENT ON FUNCTION retention._stamped(text) IS
  'A fingerprint of what the server writes as text, with its major version: another one may write '
  'the same otherwise.';

CREATE FUNCTION retention._is_redefined(stored text, found text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT stored <> found AND split_part(stored, ':', 1) = split_part(found, ':', 1)
$$;
COMMENT ON FUNCTION retention._is_redefined(text, text) IS
  'Whether two stamped fingerprints are known to be of different definitions; those of different '
  'major versions tell nothing.';
-- The query that reads a source.

CREATE FUNCTION retention._time_expression(
    column_name name, type regtype, time_zone text)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(CASE type
    WHEN 'timestamptz'::regtype THEN '%1$I::timestamptz'
    -- A conversion that leaves the calendar is an error, which would stop all other rows.
    ELSE $case$CASE WHEN %1$I BETWEEN '4713-01-01 BC' AND '294275-12-31'
                      THEN %1$I::timestamp AT TIME ZONE %2$L
                    WHEN %1$I < '4713-01-01 BC' THEN '-infinity'
                    WHEN %1$I > '294275-12-31' THEN 'infinity' END$case$
    END, column_name, time_zone)
$$;
COMMENT ON FUNCTION retention._time_expression(name, regtype, text) IS
  'The expression that reads a column of times; infinite for dates and local times that are no '
  'instants.';

CREATE FUNCTION retention._readable_condition(at text, amount text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN format($condition$%1$s >= timestamptz '4713-01-01 00:00+00 BC'
    AND %1$s < timestamptz 'infinity'
    AND %2$s > numeric '-1e38' AND %2$s < numeric '1e38'$condition$, at, amount);
COMMENT ON FUNCTION retention._readable_condition(text, text) IS
  'The condition by which queries of our own leave out the rows that _collect cannot read, of '
  'expressions for the time and the amount.';

CREATE FUNCTION retention._source_query(source retention.source, time_zone text)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._column_type(source.relation, 'amount', source.amount);
  PERFORM retention._column_type(source.relation, 'order_id', source.order_id)
    WHERE source.order_id IS NOT NULL;
  RETURN format('SELECT %s, %s, %I::numeric%s FROM %s',
    retention._key_expression(source.relation, source.customer_id),
    retention._time_expression(source.ordered_at,
      retention._column_type(source.relation, 'ordered_at', source.ordered_at), time_zone),
    source.amount,
    CASE WHEN source.order_id IS NULL THEN '' ELSE ', '
      || retention._key_expression(source.relation, source.order_id) END,
    source.relation);
END
$$;
COMMENT ON FUNCTION retention._source_query(retention.source, text) IS
  'The query that reads a source: customer, time, amount and, where there is one, order id.';

CREATE FUNCTION retention._keyed_source_query(
    source retention.source, time_zone text, customer_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._source_query(source, time_zone)
      || CASE WHEN customer_ids IS NULL THEN '' ELSE ' WHERE '
        || retention._keys_condition((source).relation, (source).customer_id, customer_ids) END
$$;
COMMENT ON FUNCTION retention._keyed_source_query(retention.source, text, text[]) IS
  'The query that reads some customers'' rows of a source; with null, all rows.';
-- Captures the changes of the shop's tables by triggers.

CREATE FUNCTION retention._capture_changes() RETURNS trigger
  LANGUAGE c VOLATILE
  AS 'MODULE_PATHNAME', 'retention_capture_changes';
COMMENT ON FUNCTION retention._capture_changes() IS
  'Trigger, after a statement, or after a row that replication writes: notes the customers whose '
  'rows changed. Arguments: the columns of their keys; then, after an empty one, pairs of a number '
  'of tracked_via and a column of orders'' ids.';

CREATE FUNCTION retention._parts(relation regclass) RETURNS SETOF regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE part AS (
    SELECT relation::oid AS oid
    UNION
    SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid)
  SELECT oid::regclass FROM part
$$;
COMMENT ON FUNCTION retention._parts(regclass) IS
  'A table with its partitions, or with the tables that inherit from it.';

-- Numbers that triggers can carry: an argument with a name, or an oid, would not survive a rename,
-- or a dump.
CREATE TABLE retention.tracked_via (
  via_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  relation regclass NOT NULL UNIQUE
);
COMMENT ON TABLE retention.tracked_via IS
  'Relations of orders through which tables are tracked that only know their order.';
COMMENT ON COLUMN retention.tracked_via.via_id IS 'Number, as the triggers and change_log have it.';
COMMENT ON COLUMN retention.tracked_via.relation IS 'The relation, a source of orders.';

SELECT pg_extension_config_dump('retention.tracked_via', '');
SELECT pg_extension_config_dump('retention.tracked_via_via_id_seq', '');

CREATE VIEW retention.tracked AS
  SELECT t.tgrelid::regclass AS relation,
         a.list[:a.customers] AS customer_id_columns,
         (SELECT count(*) FROM retention._parts(t.tgrelid) AS part
          WHERE NOT EXISTS (SELECT FROM pg_trigger q
                            WHERE q.tgrelid = part AND q.tgfoid = t.tgfoid AND q.tgname = t.tgname))
           AS untracked_partitions,
         ARRAY(SELECT a.list[i + 1]
               FROM generate_series(a.customers + 2, cardinality(a.list), 2) AS i
               ORDER BY i) AS order_id_columns,
         ARRAY(SELECT v.relation
               FROM generate_series(a.customers + 2, cardinality(a.list), 2) AS i
               LEFT JOIN retention.tracked_via v ON v.via_id = a.list[i]::text::integer
               ORDER BY i) AS via
  FROM pg_trigger t,
       LATERAL (SELECT ARRAY(
                  SELECT convert_from(decode(c.name, 'escape'), getdatabaseencoding())::name
                  FROM unnest(string_to_array(encode(t.tgargs, 'escape'), E'\\000'))
                         WITH ORDINALITY AS c (name, number)
                  WHERE c.number <= t.tgnargs ORDER BY c.number) AS list) AS arguments,
       LATERAL (SELECT list, coalesce(array_position(list, '') - 1, cardinality(list)) AS customers)
         AS a
  WHERE t.tgfoid = 'retention._capture_changes'::regproc AND t.tgname = 'retention_insert';
COMMENT ON VIEW retention.tracked IS
  'Tables whose changes are captured, partitions each by themselves.';
COMMENT ON COLUMN retention.tracked.relation IS 'The table.';
COMMENT ON COLUMN retention.tracked.customer_id_columns IS
  'Columns that hold the keys of customers.';
COMMENT ON COLUMN retention.tracked.untracked_partitions IS
  'Partitions made since then, where only what is written through the table itself is captured: '
  'call track again.';
COMMENT ON COLUMN retention.tracked.order_id_columns IS
  'Columns that hold the ids of orders, whose customers are looked up.';
COMMENT ON COLUMN retention.tracked.via IS
  'For each of these columns, the relation in which its orders are looked up.';

CREATE FUNCTION retention._tables_below(relation regclass)
  RETURNS TABLE (below regclass, kind "char")
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE read AS (
    SELECT relation::oid AS oid
    UNION
    SELECT d.refobjid
    FROM read JOIN pg_rewrite r ON r.ev_class = read.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_class'::regclass)
  SELECT c.oid::regclass, c.relkind FROM read JOIN pg_class c ON c.oid = read.oid
$$;
COMMENT ON FUNCTION retention._tables_below(regclass) IS
  'A relation, and all that a view reads, directly or through other views.';

CREATE FUNCTION retention._check_owner(relation regclass) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(pg_has_role(retention._caller(), retention._owner(relation),
                                               'USAGE'),
    format('%s belongs to another role', relation),
    format('Its owner %s can do that, or a member of that role.', retention._owner(relation)),
    'insufficient_privilege');
END
$$;
COMMENT ON FUNCTION retention._check_owner(regclass) IS
  'An error unless the caller may do what a table''s owner may.';

CREATE FUNCTION retention._check_trackable(relation regclass) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation_kind "char" := (SELECT relkind FROM pg_class WHERE oid = relation);
  tables text := (SELECT string_agg(format('SELECT retention.track(%L, ''...'');', below), ' '
                                    ORDER BY below::text)
                  FROM retention._tables_below(relation) WHERE kind IN ('r', 'p'));
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, 'the relation to track must not be null',
                                   '', 'null_value_not_allowed');
  PERFORM retention._reject_unless(relation_kind IN ('r', 'p'),
                                   format('%s is not a table: its changes cannot be captured',
                                          relation),
    CASE WHEN relation_kind = 'v' AND tables IS NOT NULL
      THEN format('Track the tables that it reads, by their column of the customer''s key: %s',
                  tables)
         ELSE 'Its changes are found by refresh.' END, 'wrong_object_type');
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention._parts(relation) AS part
                                               JOIN pg_class c ON c.oid = part
                                               WHERE c.relkind = 'f'),
    format('%s has a partition that is a foreign table: triggers that see whole statements would '
           'refuse its rows', relation),
    'Its changes are found by refresh; of the other partitions, tracked each by itself, what is '
    'written into them directly is captured.', 'wrong_object_type');
END
$$;
COMMENT ON FUNCTION retention._check_trackable(regclass) IS
  'Rejects what is not a table, with what to do instead.';

CREATE FUNCTION retention._drop_triggers(relation regclass) RETURNS integer
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  trigger record;
  dropped integer := 0;
BEGIN
  FOR trigger IN
    SELECT tgrelid::regclass AS relation, tgname
    FROM retention._parts(relation) AS part
    -- Partitions get the trigger for rows from their parent, and lose it with that one.
    JOIN pg_trigger ON tgrelid = part AND tgfoid = 'retention._capture_changes'::regproc
                       AND tgparentid = 0
  LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', trigger.tgname, trigger.relation);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$$;
COMMENT ON FUNCTION retention._drop_triggers(regclass) IS
  'Drops the capturing triggers of a table and its partitions; returns their number.';

CREATE FUNCTION retention._make_trigger(
    relation regclass, arguments text, name text, event text, level text, firing text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format(
    'CREATE TRIGGER %I AFTER %s ON %s %s EXECUTE FUNCTION retention._capture_changes(%s)',
    name, event, relation, level, arguments);
  -- So that DROP EXTENSION takes it along.
  EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION retention', name, relation);
  -- Partitions have copies of a trigger for rows, and none of one for statements.
  EXECUTE format('ALTER TABLE %s %s ENABLE %s TRIGGER %I',
                 CASE level WHEN 'FOR EACH ROW' THEN '' ELSE 'ONLY' END, relation, firing, name);
END
$$;
COMMENT ON FUNCTION retention._make_trigger(regclass, text, text, text, text, text) IS
  'Makes one capturing trigger, with these arguments; firing: by whom it is fired.';

CREATE FUNCTION retention._make_triggers(relation regclass, arguments text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._make_trigger(
    relation, arguments, made.name, made.event, made.level, made.firing)
  FROM (VALUES
    ('retention_insert', 'INSERT', 'REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', ''),
    ('retention_update', 'UPDATE',
     'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT', ''),
    ('retention_delete', 'DELETE', 'REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT', ''),
    -- Replication fires this one too, as often as a TRUNCATE that somebody gave.
    ('retention_truncate', 'TRUNCATE', 'FOR EACH STATEMENT', 'ALWAYS'))
    AS made (name, event, level, firing)
$$;
COMMENT ON FUNCTION retention._make_triggers(regclass, text) IS
  'Makes the triggers that capture the statements on one table.';

CREATE FUNCTION retention._make_replica_trigger(relation regclass, arguments text)
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- Partitions get a parent's trigger under its name, and may be tracked by themselves.
  SELECT retention._make_trigger(relation, arguments,
    CASE c.relkind WHEN 'p' THEN 'retention_replica_parts' ELSE 'retention_replica' END,
    'INSERT OR UPDATE OR DELETE', 'FOR EACH ROW', 'REPLICA')
  FROM pg_class c WHERE c.oid = relation
$$;
COMMENT ON FUNCTION retention._make_replica_trigger(regclass, text) IS
  'Makes the trigger that captures what a subscription writes into a table and its partitions, '
  'those made later too. It fires for nobody else.';

CREATE FUNCTION retention._has_column(relation regclass, column_name name)
  RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_attribute a
                 WHERE a.attrelid = relation AND a.attname = column_name
                   AND a.attnum > 0 AND NOT a.attisdropped)
$$;
COMMENT ON FUNCTION retention._has_column(regclass, name) IS 'Whether a relation has a column.';

CREATE FUNCTION retention._sources_via(via regclass) RETURNS SETOF retention.source
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s FROM retention.source s
  WHERE s.relation = via AND s.kind = 'order' AND s.order_id IS NOT NULL ORDER BY s.source_id
$$;
COMMENT ON FUNCTION retention._sources_via(regclass) IS
  'The sources by whose columns the customers of a relation''s orders are found.';

CREATE FUNCTION retention._orders_query(source retention.source, order_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('SELECT DISTINCT k FROM (SELECT %I::text AS k FROM %s WHERE %s) AS o WHERE %s',
    (source).customer_id, (source).relation,
    retention._keys_condition((source).relation, (source).order_id, order_ids, is_exact => false),
    retention._key_condition('k'))
$$;
COMMENT ON FUNCTION retention._orders_query(retention.source, text[]) IS
  'The query for the customers of some orders of a source.';

CREATE FUNCTION retention._via_hint(relation regclass) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(
    'A table that only knows its order is tracked through that: '
    'SELECT retention.track(%L, via => %L%s);', relation,
    coalesce((SELECT s.relation::text FROM retention.source s
              WHERE s.kind = 'order' AND s.order_id IS NOT NULL AND s.relation <> _via_hint.relation
              ORDER BY s.source_id LIMIT 1), '...'),
    CASE WHEN retention._has_column(relation, 'order_id') THEN '' ELSE ', order_id => ''...''' END)
$$;
COMMENT ON FUNCTION retention._via_hint(regclass) IS
  'How to track a table that has no column of the customer''s key.';

CREATE FUNCTION retention._are_comparable(type regtype, other regtype) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT type = other OR 'S' IN (a.typcategory, b.typcategory)
      OR a.typcategory = 'N' AND b.typcategory = 'N'
  FROM pg_type a, pg_type b WHERE a.oid = type AND b.oid = other
$$;
COMMENT ON FUNCTION retention._are_comparable(regtype, regtype) IS
  'Whether keys of two types can be the same ones: text may be any, numbers are written alike.';

CREATE FUNCTION retention._check_via(relation regclass, order_id name, via regclass)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  type regtype;
  source retention.source;
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention._sources_via(via)),
    format('%s is no source of orders with an order id: whose they are is not known', via),
    coalesce((SELECT 'Such sources are ' || string_agg(DISTINCT s.relation::text, ', ') || '.'
              FROM retention.source s WHERE s.kind = 'order' AND s.order_id IS NOT NULL),
             format('SELECT retention.add_source(%L, order_id => ''...'');', via)),
    'object_not_in_prerequisite_state');
  PERFORM retention._reject_unless(relation <> via,
    format('%s cannot be tracked via itself', via), format('SELECT retention.track(%L);', via));
  type := retention._column_type(relation, 'order_id', order_id);
  FOR source IN SELECT * FROM retention._sources_via(via) LOOP
    PERFORM retention._reject_unless(
      retention._are_comparable(type, retention._column_type(via, 'order_id', source.order_id)),
      format('column "%s" of %s has type %s, and column "%s" of %s type %s: no id is of both',
             order_id, relation, type, source.order_id, via,
             retention._column_type(via, 'order_id', source.order_id)),
      'Name the column that has the order''s id with order_id => ''...''.', 'datatype_mismatch');
    PERFORM retention._check_readable(via, ARRAY[source.customer_id, source.order_id]);
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._check_via(regclass, name, regclass) IS
  'An error unless the customers of a table''s rows can be found by their order, and the caller '
  'may read of whom those orders are.';

CREATE FUNCTION retention._warn_of_via(via regclass) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source retention.source;
BEGIN
  IF NOT EXISTS (SELECT FROM retention._tables_below(_warn_of_via.via) AS b
                 JOIN retention.tracked t ON t.relation = b.below
                 WHERE t.customer_id_columns <> '{}') THEN
    RAISE WARNING '% is not tracked: orders that come, go, or change hands are found by refresh',
        via
      USING HINT = format('Track its orders too, or for a view the tables that it reads: '
                          'SELECT retention.track(%L);', via);
  END IF;
  FOR source IN SELECT * FROM retention._sources_via(via) LOOP
    IF retention._scans_a_table(retention._orders_query(source, '{0}'), via) THEN
      RAISE WARNING '% is read in full for every change: no index finds an order by "%"',
          via, source.order_id
        USING HINT = format('For a table: CREATE INDEX ON %s (%I);', via, source.order_id);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._warn_of_via(regclass) IS
  'Warns where orders that tables are tracked through are not tracked themselves, or slow to find.';

CREATE FUNCTION retention._via_id(via regclass) RETURNS integer
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.tracked_via (relation) SELECT via
    WHERE via IS NOT NULL
      AND NOT EXISTS (SELECT FROM retention.tracked_via v WHERE v.relation = via)
    ON CONFLICT DO NOTHING;
  SELECT v.via_id FROM retention.tracked_via v WHERE v.relation = via
$$;
COMMENT ON FUNCTION retention._via_id(regclass) IS
  'The number of a relation through which tables are tracked; null for null.';

CREATE FUNCTION retention._customer_columns(relation regclass, customer_id name)
  RETURNS name[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(
    SELECT s.customer_id FROM retention.source s WHERE s.relation = _customer_columns.relation
    UNION SELECT c FROM retention.tracked t, unnest(t.customer_id_columns) AS c
      -- not those that are gone
      WHERE t.relation = _customer_columns.relation AND retention._has_column(t.relation, c)
    UNION SELECT customer_id WHERE customer_id IS NOT NULL
    ORDER BY 1)
$$;
COMMENT ON FUNCTION retention._customer_columns(regclass, name) IS
  'The columns of customers'' keys by which a table is to be tracked: those of sources, those by '
  'which it is, and another one.';

CREATE FUNCTION retention._order_columns(
    relation regclass, order_id name, via_id integer)
  RETURNS name[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(
    SELECT unnest(ARRAY[pair.via_id::text::name, pair.order_id])
    FROM (SELECT v.via_id, o.order_id
          FROM retention.tracked t, unnest(t.order_id_columns, t.via) AS o (order_id, via)
          JOIN retention.tracked_via v ON v.relation = o.via
          WHERE t.relation = _order_columns.relation
            AND retention._has_column(t.relation, o.order_id)
            AND EXISTS (SELECT FROM retention._sources_via(o.via))
          UNION SELECT _order_columns.via_id, _order_columns.order_id
            WHERE _order_columns.via_id IS NOT NULL
          ORDER BY via_id, order_id) AS pair)
$$;
COMMENT ON FUNCTION retention._order_columns(regclass, name, integer) IS
  'The columns of orders'' ids by which a table is to be tracked, likewise, each after the number '
  'of the relation that has the orders.';

CREATE FUNCTION retention._check_keys(
    relation regclass, customer_columns name[], order_columns name[])
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing name := (SELECT c FROM unnest(customer_columns) AS c
                   WHERE NOT retention._has_column(relation, c) LIMIT 1);
BEGIN
  PERFORM retention._reject_unless(cardinality(customer_columns || order_columns) > 0,
    format('%s is not a source: its column of the customer''s key is not known', relation),
    format('SELECT retention.track(%L, ''customer_id''); names it. ', relation)
      || retention._via_hint(relation));
  PERFORM retention._reject_unless(missing IS NULL,
    format('column "%s" of %s does not exist', missing, relation),
    'Name the column with customer_id => ''...''. ' || retention._via_hint(relation),
    'undefined_column');
END
$$;
COMMENT ON FUNCTION retention._check_keys(regclass, name[], name[]) IS
  'An error where nothing tells whose rows of a table change.';

CREATE FUNCTION retention.track(
    relation regclass, customer_id name DEFAULT NULL, via regclass DEFAULT NULL,
    order_id name DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  customer_columns name[];
  order_columns name[];
  arguments text;
BEGIN
  PERFORM retention._check_trackable(relation);
  PERFORM retention._check_owner(relation);
  PERFORM retention._reject_unless(order_id IS NULL OR via IS NOT NULL,
    format('by "%s" alone the customers of %s are not found', order_id, relation),
    'Name the relation that has the orders with via => ''...''.');
  order_id := coalesce(order_id, 'order_id');
  PERFORM retention._check_via(relation, order_id, via) WHERE via IS NOT NULL;
  customer_columns := retention._customer_columns(relation, customer_id);
  order_columns := retention._order_columns(relation, order_id, retention._via_id(via));
  PERFORM retention._check_keys(relation, customer_columns, order_columns);
  SELECT string_agg(quote_literal(a.argument), ', ' ORDER BY a.number) INTO arguments
    FROM unnest(customer_columns || ''::name || order_columns)
           WITH ORDINALITY AS a (argument, number)
    WHERE a.argument <> '' OR order_columns <> '{}';
  PERFORM retention._drop_triggers(relation);
  PERFORM retention._make_triggers(part, arguments) FROM retention._parts(relation) AS part;
  PERFORM retention._make_replica_trigger(part, arguments)
    FROM retention._parts(relation) AS part JOIN pg_class c ON c.oid = part
    WHERE part = relation OR NOT c.relispartition;
  PERFORM retention._warn_of_via(via) WHERE via IS NOT NULL;
END
$$;
COMMENT ON FUNCTION retention.track(regclass, name, regclass, name) IS
  'Captures the changes of a table from now on, for process_changes: whose rows are inserted, '
  'updated or deleted. The column of the customer''s key is needed where the table is not a source '
  'itself. A table that only knows its order is tracked via the source that has the orders: its '
  'column order_id, which is called so unless another name is given, leads to the customers. Call '
  'it again after adding partitions that are written directly. Needs to own the table, and to be '
  'able to read whose the orders are.';

CREATE FUNCTION retention._track_source(relation regclass, customer_id name) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM retention.tracked t
                 WHERE t.relation = _track_source.relation
                   AND customer_id <> ALL (t.customer_id_columns)) THEN
    RETURN;
  ELSIF pg_has_role(retention._caller(), retention._owner(relation), 'USAGE') THEN
    PERFORM retention.track(relation);
  ELSE
    RAISE WARNING '% is tracked, but not by column "%"', relation, customer_id
      USING HINT = format('Its owner has to track it again: SELECT retention.track(%L);', relation);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._track_source(regclass, name) IS
  'Of a table that is tracked already, has the keys of a new source captured too, or warns that '
  'they are not.';

CREATE FUNCTION retention.untrack(relation regclass) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.tracked t
                                           WHERE t.relation = untrack.relation),
    format('%s is not tracked', coalesce(relation::text, 'null')),
    'retention.tracked lists the tables that are.', 'undefined_object');
  PERFORM retention._check_owner(relation);
  PERFORM retention._drop_triggers(relation);
END
$$;
COMMENT ON FUNCTION retention.untrack(regclass) IS
  'Ends the capture of a table''s changes; refresh goes on finding them.';
-- Triggers on metrics, sources and schemes.

CREATE TRIGGER check_metric BEFORE INSERT OR UPDATE ON retention.metric
  FOR EACH ROW EXECUTE FUNCTION retention._check_metric();
COMMENT ON TRIGGER check_metric ON retention.metric IS 'Rejects settings that cannot be scored by.';

CREATE TRIGGER check_source BEFORE INSERT OR UPDATE OF relation, kind, customer_id, ordered_at,
amount, order_id ON retention.source
  FOR EACH ROW EXECUTE FUNCTION retention._check_source();
COMMENT ON TRIGGER check_source ON retention.source IS
  'Rejects relations and columns that cannot be read.';

CREATE TRIGGER keep_cell BEFORE INSERT OR UPDATE ON retention.rfm_cell
  FOR EACH ROW EXECUTE FUNCTION retention._keep_cell();
COMMENT ON TRIGGER keep_cell ON retention.rfm_cell IS
  'Marks edited cells, so that dumps keep them.';
-- Customers, their changes of group, refreshes, and the log of changed rows.

-- Internal: what a refresh passes from step to step.
CREATE TYPE retention.collection_report AS (
  rows_read                bigint,
  without_customer         bigint,
  without_time             bigint,
  without_amount           bigint,
  after_as_of              bigint,
  before_history           bigint,
  refund_rows              bigint,
  orders                   bigint,
  customers                bigint,
  customers_without_orders bigint,
  first_order_at           timestamptz,
  next_order_at            timestamptz,
  frequency_bounds         double precision[],
  monetary_bounds          double precision[],
  group_sizes              jsonb,
  last_order_at            timestamptz,
  most_orders              bigint,
  unreadable               jsonb,
  unmatched_refunds        bigint,
  unmatched_refund         text
);
COMMENT ON TYPE retention.collection_report IS
  'What a refresh read, skipped and found; see the columns of population and refresh_log.';

CREATE TYPE retention.write_report AS (
  inserted     bigint,
  updated      bigint,
  deleted      bigint,
  transitions  bigint,
  group_deltas jsonb,
  with_events  text[]
);
COMMENT ON TYPE retention.write_report IS
  'What a refresh wrote; see the columns of refresh_log. with_events: who of those that changed '
  'have order events.';

CREATE TYPE retention.customer_change AS (
  customer_id                 text,
  orders                      bigint,
  purchase_days               integer,
  first_order_at              timestamptz,
  last_order_at               timestamptz,
  revenue                     numeric,
  repeat_value                numeric,
  average_order_value         numeric,
  average_days_between_orders double precision,
  days_between_orders_sd      double precision,
  r                           smallint,
  f                           smallint,
  m                           smallint,
  rfm_group                   text,
  previous_r                  smallint,
  previous_f                  smallint,
  previous_m                  smallint,
  previous_rfm_group          text,
  cause                       text
);
COMMENT ON TYPE retention.customer_change IS
  'A customer who differs from what retention.customer has: the new facts and scores, the '
  'previous scores, and why they differ. orders is 0 for one to be removed.';

CREATE TABLE retention.customer (
  metric                      text NOT NULL,
  customer_id                 text COLLATE "C" NOT NULL,
  orders                      bigint NOT NULL,
  purchase_days               integer NOT NULL,
  first_order_at              timestamptz NOT NULL,
  last_order_at               timestamptz NOT NULL,
  revenue                     numeric NOT NULL,
  repeat_value                numeric,
  average_order_value         numeric NOT NULL,
  average_days_between_orders double precision,
  days_between_orders_sd      double precision,
  r                           smallint NOT NULL,
  f                           smallint NOT NULL,
  m                           smallint NOT NULL,
  rfm_group                   text NOT NULL,
  previous_rfm_group          text,
  rfm_group_changed_at        timestamptz NOT NULL,
  last_order_known_at         timestamptz,
  PRIMARY KEY (customer_id, metric)
) WITH (fillfactor = 50);
CREATE INDEX customer_last_order_at ON retention.customer (last_order_at);
COMMENT ON TABLE retention.customer IS
  'Everybody with an order, per metric: what happened, and the scores and group as of the last '
  'refresh, or of the last order that process_changes has found since. Written by these only.';
COMMENT ON COLUMN retention.customer.metric IS 'Metric by which the orders are counted.';
COMMENT ON COLUMN retention.customer.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.customer.orders IS 'Orders with a net amount above zero.';
COMMENT ON COLUMN retention.customer.purchase_days IS
  'Distinct days with an order, in the metric''s time zone.';
COMMENT ON COLUMN retention.customer.first_order_at IS 'Time of the first order.';
COMMENT ON COLUMN retention.customer.last_order_at IS 'Time of the last order.';
COMMENT ON COLUMN retention.customer.revenue IS 'Exact sum of all amounts less refunds.';
COMMENT ON COLUMN retention.customer.repeat_value IS
  'Mean order value of a purchase day after the first; null when there is none.';
COMMENT ON COLUMN retention.customer.average_order_value IS 'revenue / orders.';
COMMENT ON COLUMN retention.customer.average_days_between_orders IS
  'Mean days between purchase days; null for fewer than 2.';
COMMENT ON COLUMN retention.customer.days_between_orders_sd IS
  'Sample standard deviation of the days between purchase days; null for fewer than 3.';
COMMENT ON COLUMN retention.customer.r IS 'Recency score, 1 for the longest absence.';
COMMENT ON COLUMN retention.customer.f IS 'Frequency score, 1 for the fewest orders.';
COMMENT ON COLUMN retention.customer.m IS 'Monetary score, 1 for the least revenue.';
COMMENT ON COLUMN retention.customer.rfm_group IS 'Group of the scores in the metric''s scheme.';
COMMENT ON COLUMN retention.customer.previous_rfm_group IS
  'Group before the last change; null when there was none.';
COMMENT ON COLUMN retention.customer.rfm_group_changed_at IS
  'Clock of the refresh that put the customer in this group.';
COMMENT ON COLUMN retention.customer.last_order_known_at IS
  'Clock of the refresh, or process_changes, that found the last order; null: the first refresh.';

CREATE TABLE retention.rfm_change (
  change_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric             text NOT NULL,
  customer_id        text COLLATE "C" NOT NULL,
  changed_at         timestamptz NOT NULL,
  cause              text NOT NULL CHECK (cause IN ('order', 'time', 'threshold', 'refund',
                                                    'settings')),
  previous_rfm_group text,
  rfm_group          text,
  previous_r         smallint,
  previous_f         smallint,
  previous_m         smallint,
  r                  smallint,
  f                  smallint,
  m                  smallint
);
CREATE INDEX rfm_change_customer ON retention.rfm_change (customer_id, changed_at);
CREATE INDEX rfm_change_changed_at ON retention.rfm_change (changed_at);
COMMENT ON TABLE retention.rfm_change IS
  'Every move of a customer between groups, with its cause. The first refresh of a metric is the '
  'baseline and writes none.';
COMMENT ON COLUMN retention.rfm_change.change_id IS
  'Number of the move, ascending within a customer.';
COMMENT ON COLUMN retention.rfm_change.metric IS 'Metric that the customer is scored by.';
COMMENT ON COLUMN retention.rfm_change.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.rfm_change.changed_at IS 'Clock of the refresh that found the move.';
COMMENT ON COLUMN retention.rfm_change.cause IS
  'order, refund: the customer''s orders changed; time: days passed; threshold: the bounds moved, '
  'without which the group would be the same; settings: the metric was changed.';
COMMENT ON COLUMN retention.rfm_change.previous_rfm_group IS 'Null for a new customer.';
COMMENT ON COLUMN retention.rfm_change.rfm_group IS
  'Null for a customer who has no order any more.';
COMMENT ON COLUMN retention.rfm_change.previous_r IS 'Recency score before the move.';
COMMENT ON COLUMN retention.rfm_change.previous_f IS 'Frequency score before the move.';
COMMENT ON COLUMN retention.rfm_change.previous_m IS 'Monetary score before the move.';
COMMENT ON COLUMN retention.rfm_change.r IS 'Recency score after the move.';
COMMENT ON COLUMN retention.rfm_change.f IS 'Frequency score after the move.';
COMMENT ON COLUMN retention.rfm_change.m IS 'Monetary score after the move.';

CREATE TABLE retention.population (
  refresh_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric           text NOT NULL,
  as_of            timestamptz NOT NULL,
  backfilled       boolean NOT NULL DEFAULT false,
  customers        bigint NOT NULL,
  orders           bigint NOT NULL,
  recency_limits   double precision[] NOT NULL,
  frequency_bounds double precision[] NOT NULL,
  monetary_bounds  double precision[] NOT NULL,
  group_sizes      jsonb NOT NULL,
  first_order_at   timestamptz,
  next_order_at    timestamptz,
  last_order_at    timestamptz,
  most_orders      bigint NOT NULL,
  settings         text NOT NULL,
  stale            boolean NOT NULL DEFAULT false
);
CREATE INDEX population_metric ON retention.population (metric, refresh_id);
COMMENT ON TABLE retention.population IS
  'One row per refresh: the thresholds that it published, and how many customers each group had.';
COMMENT ON COLUMN retention.population.refresh_id IS 'Number of the refresh, as in refresh_log.';
COMMENT ON COLUMN retention.population.metric IS 'Metric that was refreshed.';
COMMENT ON COLUMN retention.population.customers IS 'Customers with an order.';
COMMENT ON COLUMN retention.population.orders IS 'Orders that counted.';
COMMENT ON COLUMN retention.population.recency_limits IS 'Days up to which r is 2, 3, ...';
COMMENT ON COLUMN retention.population.as_of IS 'Clock of the refresh.';
COMMENT ON COLUMN retention.population.backfilled IS
  'Written by backfill_history, not by a refresh of that time.';
COMMENT ON COLUMN retention.population.frequency_bounds IS
  'Orders needed for f of 2, 3, ...; null: nobody is above that percentile.';
COMMENT ON COLUMN retention.population.monetary_bounds IS
  'Revenue needed for m of 2, 3, ...; null: nobody is above that percentile.';
COMMENT ON COLUMN retention.population.group_sizes IS 'Customers per group.';
COMMENT ON COLUMN retention.population.first_order_at IS 'First order or refund that counted.';
COMMENT ON COLUMN retention.population.next_order_at IS
  'First order or refund dated after as_of; null when there is none.';
COMMENT ON COLUMN retention.population.last_order_at IS 'Last order that counted.';
COMMENT ON COLUMN retention.population.most_orders IS 'Orders of the most frequent customer.';
COMMENT ON COLUMN retention.population.settings IS
  'Fingerprint of the metric''s settings, sources and groups.';
COMMENT ON COLUMN retention.population.stale IS
  'Changes since then were left to the next refresh, which has to read everything.';

CREATE TABLE retention.refresh_log (
  refresh_id               bigint PRIMARY KEY,
  metric                   text NOT NULL,
  as_of                    timestamptz NOT NULL,
  path                     text NOT NULL CHECK (path IN ('rebuild', 'clock')),
  started_at               timestamptz NOT NULL,
  read_duration            interval NOT NULL,
  write_duration           interval NOT NULL,
  rows_read                bigint NOT NULL,
  without_customer         bigint NOT NULL,
  without_time             bigint NOT NULL,
  without_amount           bigint NOT NULL,
  after_as_of              bigint NOT NULL,
  before_history           bigint NOT NULL,
  refund_rows              bigint NOT NULL,
  customers_without_orders bigint NOT NULL,
  inserted                 bigint NOT NULL,
  updated                  bigint NOT NULL,
  deleted                  bigint NOT NULL,
  transitions              bigint NOT NULL,
  unreadable               bigint NOT NULL,
  unreadable_rows          jsonb NOT NULL,
  unreadable_since         jsonb NOT NULL DEFAULT '[]',
  unmatched_refunds        bigint NOT NULL,
  unmatched_refund         text
);
COMMENT ON TABLE retention.refresh_log IS
  'One row per refresh: what was read, what was skipped and why, what was written, how long it '
  'took.';
COMMENT ON COLUMN retention.refresh_log.refresh_id IS 'Number of the refresh, as in population.';
COMMENT ON COLUMN retention.refresh_log.metric IS 'Metric that was refreshed.';
COMMENT ON COLUMN retention.refresh_log.as_of IS 'Clock of the refresh.';
COMMENT ON COLUMN retention.refresh_log.started_at IS 'Real time at which it started.';
COMMENT ON COLUMN retention.refresh_log.read_duration IS
  'Time to read the sources and to find the thresholds.';
COMMENT ON COLUMN retention.refresh_log.write_duration IS
  'Time to write the customers and their moves.';
COMMENT ON COLUMN retention.refresh_log.path IS
  'rebuild: the sources were read; clock: nothing had changed but the time.';
COMMENT ON COLUMN retention.refresh_log.rows_read IS 'Rows of all sources.';
COMMENT ON COLUMN retention.refresh_log.without_customer IS
  'Rows skipped because the customer is null, or the key empty or blank.';
COMMENT ON COLUMN retention.refresh_log.without_time IS 'Rows skipped because the time is null.';
COMMENT ON COLUMN retention.refresh_log.without_amount IS
  'Rows skipped because the amount is null.';
COMMENT ON COLUMN retention.refresh_log.after_as_of IS
  'Rows skipped because they are dated after the refresh''s clock.';
COMMENT ON COLUMN retention.refresh_log.before_history IS
  'Rows skipped because they are older than the metric''s history.';
COMMENT ON COLUMN retention.refresh_log.refund_rows IS 'Rows of refund sources that counted.';
COMMENT ON COLUMN retention.refresh_log.customers_without_orders IS
  'Customers whose rows add up to no order, such as those with refunds only.';
COMMENT ON COLUMN retention.refresh_log.inserted IS 'Customers added.';
COMMENT ON COLUMN retention.refresh_log.updated IS
  'Customers whose facts, scores or group changed.';
COMMENT ON COLUMN retention.refresh_log.deleted IS 'Customers removed, having no order any more.';
COMMENT ON COLUMN retention.refresh_log.transitions IS
  'Moves between groups written to rfm_change.';
COMMENT ON COLUMN retention.refresh_log.unreadable IS 'Rows left out because they cannot be read.';
COMMENT ON COLUMN retention.refresh_log.unreadable_rows IS
  'The same by source and reason, each with an example: an array of objects with the columns of '
  'unreadable_row.';
COMMENT ON COLUMN retention.refresh_log.unreadable_since IS
  'What process_changes has met since, likewise; a row is counted each time that its customer is '
  'read.';
COMMENT ON COLUMN retention.refresh_log.unmatched_refunds IS
  'Refunds, and negative rows, whose order id no order of their customer has: they reduce revenue '
  'only. Orders before the history or after the clock are none.';
COMMENT ON COLUMN retention.refresh_log.unmatched_refund IS
  'Such an order id, as an example; null: there is none.';
SELECT pg_extension_config_dump('retention.customer', '');
SELECT pg_extension_config_dump('retention.rfm_change', '');
SELECT pg_extension_config_dump('retention.rfm_change_change_id_seq', '');
SELECT pg_extension_config_dump('retention.population', '');
SELECT pg_extension_config_dump('retention.population_refresh_id_seq', '');
SELECT pg_extension_config_dump('retention.refresh_log', '');

CREATE TABLE retention.order_event (
  event_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric      text NOT NULL,
  source_id   integer NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('order', 'refund')),
  customer_id text COLLATE "C" NOT NULL,
  order_id    text COLLATE "C" NOT NULL,
  occurred_at timestamptz NOT NULL,
  amount      numeric NOT NULL,
  recorded_at timestamptz NOT NULL,
  number      bigint,
  ordered_at  timestamptz,
  net_amount  numeric
);
CREATE INDEX order_event_customer ON retention.order_event (customer_id, order_id);
CREATE INDEX order_event_order ON retention.order_event (order_id, source_id);
CREATE INDEX order_event_occurred_at ON retention.order_event USING brin (occurred_at);
COMMENT ON TABLE retention.order_event IS
  'New orders and refunds of sources that were added with events => true: as they were told, once '
  'each, and as they are now. Written by process_changes and refresh.';
COMMENT ON COLUMN retention.order_event.event_id IS
  'Number of the event. Ascending in the order of commits.';
COMMENT ON COLUMN retention.order_event.metric IS 'Metric of the source.';
COMMENT ON COLUMN retention.order_event.source_id IS 'Source that had the order or refund first.';
COMMENT ON COLUMN retention.order_event.kind IS 'order or refund.';
COMMENT ON COLUMN retention.order_event.customer_id IS
  'The shop''s key, as text, of the customer who has the order now.';
COMMENT ON COLUMN retention.order_event.order_id IS 'The shop''s key of the order, as text.';
COMMENT ON COLUMN retention.order_event.occurred_at IS
  'Time of the order, or of the refund, as it was told.';
COMMENT ON COLUMN retention.order_event.amount IS
  'What the order came to when it was told, refunds deducted; of a refund the sum given back, '
  'positive.';
COMMENT ON COLUMN retention.order_event.recorded_at IS 'Engine''s time at which it was found.';
COMMENT ON COLUMN retention.order_event.number IS
  'Which order of its customer it was, by time, counted among those of the metric''s history; '
  'null for refunds.';
COMMENT ON COLUMN retention.order_event.ordered_at IS
  'Its time as it is now; where the source has dates only, the moment of that day at which it '
  'became known. Null: it is gone.';
COMMENT ON COLUMN retention.order_event.net_amount IS
  'What it comes to now, refunds deducted: above zero for an order that counts. Null: it is gone.';

SELECT pg_extension_config_dump('retention.order_event', '');
SELECT pg_extension_config_dump('retention.order_event_event_id_seq', '');

-- Internal: what is read of the sources, and what it comes to.
CREATE TYPE retention.order_line AS (
  source_id   integer,
  kind        text,
  is_day      boolean,
  news_from   timestamptz,
  customer_id text COLLATE "C",
  order_id    text COLLATE "C",
  at          timestamptz,
  amount      numeric,
  number      bigint
);
COMMENT ON TYPE retention.order_line IS
  'A row of a source, or an order or refund that rows add up to. is_day: of its time only the day '
  'is known; news_from: from when on it would be news, null for never.';
-- Reads the sources, and sums up each customer's orders.

CREATE FUNCTION retention._collect(
    queries text[], relations regclass[], refunds boolean[], stored_query text,
    as_of timestamptz, history_start timestamptz, time_zone text, recency_limits double precision[],
    frequency_percentiles double precision[], frequency_bounds double precision[],
    monetary_percentiles double precision[], monetary_bounds double precision[], groups text[])
  RETURNS retention.collection_report
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_collect';
COMMENT ON FUNCTION retention._collect(
  text[], regclass[], boolean[], text, timestamptz, timestamptz, text, double precision[],
  double precision[], double precision[], double precision[], double precision[], text[]) IS
  'Reads sources by queries, each with the rights of its relation''s owner, and keeps the scored '
  'customers for _collected or _load.';

CREATE FUNCTION retention._collected(
    previous_frequency_bounds double precision[], previous_monetary_bounds double precision[],
    settings_changed boolean DEFAULT false, orders_until timestamptz DEFAULT NULL)
  RETURNS SETOF retention.customer_change
  LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_collected';
COMMENT ON FUNCTION retention._collected(
  double precision[], double precision[], boolean, timestamptz) IS
  'What _collect found to differ from the stored customers; orders is 0 for those that are to go. '
  'orders_until: where other settings decided on which orders count, when those were read.';

CREATE FUNCTION retention._collected_loss(OUT customers bigint, OUT lost bigint)
  LANGUAGE c VOLATILE PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_collected_loss';
COMMENT ON FUNCTION retention._collected_loss() IS
  'How many stored customers _collect has compared with, and how many of them have lost all their '
  'orders, other than to time.';

CREATE FUNCTION retention._stored_query(state regclass, metric text, customer_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- Null where there is no such table.
  SELECT format('SELECT customer_id, orders, purchase_days, first_order_at, last_order_at, '
                'revenue, repeat_value, average_order_value,
                 average_days_between_orders, days_between_orders_sd, r, f, m, rfm_group
                 FROM %s WHERE metric = %L', state, metric)
   
      || CASE WHEN state IS NULL THEN NULL WHEN customer_ids IS NULL THEN ''
        ELSE format(' AND customer_id = ANY (%L::text[])', customer_ids) END
$$;
COMMENT ON FUNCTION retention._stored_query(regclass, text, text[]) IS
  'The query that reads a metric''s customers, all or some, from a table like retention.customer.';

CREATE FUNCTION retention._history_start(settings retention.metric, as_of timestamptz)
  RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN ((as_of AT TIME ZONE (settings).time_zone) - (settings).history)
    AT TIME ZONE (settings).time_zone;
COMMENT ON FUNCTION retention._history_start(retention.metric, timestamptz) IS
  'The time from which on orders count, in the calendar of the metric''s zone; null: all count.';

CREATE FUNCTION retention._read_metric(
    settings retention.metric, as_of timestamptz, state regclass, published retention.population,
    customer_ids text[] DEFAULT NULL)
  RETURNS retention.collection_report
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- Some customers tell nothing of percentiles.
  frozen boolean := settings.thresholds = 'frozen' OR customer_ids IS NOT NULL;
  report retention.collection_report;
BEGIN
  SELECT collected.* INTO report
    FROM (SELECT array_agg(retention._keyed_source_query(s, settings.time_zone, customer_ids)
                           ORDER BY s.source_id) AS queries,
                 array_agg(s.relation ORDER BY s.source_id) AS relations,
                 array_agg(s.kind = 'refund' ORDER BY s.source_id) AS refunds
          FROM retention.source s WHERE s.metric = settings.metric) AS sources,
         retention._collect(
           sources.queries, sources.relations, sources.refunds,
           retention._stored_query(state, settings.metric, customer_ids),
           as_of, retention._history_start(settings, as_of), settings.time_zone,
           settings.recency_limits,
           settings.frequency_percentiles,
           coalesce(settings.frequency_values, CASE WHEN frozen
             AND cardinality(published.frequency_bounds)
                 = cardinality(settings.frequency_percentiles) THEN published.frequency_bounds END),
           settings.monetary_percentiles,
           coalesce(settings.monetary_values, CASE WHEN frozen
             AND cardinality(published.monetary_bounds) = cardinality(settings.monetary_percentiles)
               THEN published.monetary_bounds END),
           retention._groups(settings)) AS collected;
  RETURN report;
END
$$;
COMMENT ON FUNCTION retention._read_metric(
  retention.metric, timestamptz, regclass, retention.population, text[]) IS
  'Runs _collect with a metric''s settings and sources, for all or some customers; frozen '
  'thresholds are the published ones.';
-- Writes what was collected, and publishes the bounds.

CREATE FUNCTION retention._load(state regclass, metric text, as_of timestamptz)
  RETURNS bigint
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
  AS 'MODULE_PATHNAME', 'retention_load';
COMMENT ON FUNCTION retention._load(regclass, text, timestamptz) IS
  'Writes what _collect found into an empty table like retention.customer; null, and nothing '
  'done, when it is not empty.';

CREATE FUNCTION retention._apply(
    settings retention.metric, last retention.population, as_of timestamptz, state regclass,
    changes text,
    given retention.customer_change[] DEFAULT NULL)
  RETURNS retention.write_report
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  report retention.write_report;
BEGIN
  EXECUTE format($apply$
    WITH change AS MATERIALIZED (%s),
    gone AS (
      DELETE FROM %2$s c USING change n
      WHERE n.orders = 0 AND c.customer_id = n.customer_id AND c.metric = $4),
    written AS (
      INSERT INTO %2$s AS c
      SELECT $4, n.customer_id, n.orders, n.purchase_days, n.first_order_at, n.last_order_at,
             n.revenue, n.repeat_value, n.average_order_value, n.average_days_between_orders,
             n.days_between_orders_sd,
             n.r, n.f, n.m, n.rfm_group, NULL, $3, CASE WHEN NOT $5 THEN $3 END
      FROM change n WHERE n.orders > 0
      ON CONFLICT (customer_id, metric) DO UPDATE SET
        (orders, purchase_days, first_order_at, last_order_at,
         revenue, repeat_value, average_order_value, average_days_between_orders,
         days_between_orders_sd,
         r, f, m, rfm_group, previous_rfm_group, rfm_group_changed_at, last_order_known_at) =
        ROW (excluded.orders, excluded.purchase_days, excluded.first_order_at,
             excluded.last_order_at,
         excluded.revenue, excluded.repeat_value, excluded.average_order_value,
         excluded.average_days_between_orders, excluded.days_between_orders_sd,
         excluded.r, excluded.f, excluded.m, excluded.rfm_group,
         CASE WHEN c.rfm_group = excluded.rfm_group THEN c.previous_rfm_group ELSE c.rfm_group END,
         CASE WHEN c.rfm_group = excluded.rfm_group THEN c.rfm_group_changed_at ELSE $3 END,
         -- Another order of the last day, or a later day: by less than one it moves with the zone.
         CASE WHEN excluded.orders > c.orders AND excluded.purchase_days = c.purchase_days
                OR excluded.last_order_at >= c.last_order_at + interval '23 hours'
              THEN $3 ELSE c.last_order_known_at END)),
    moved AS (
      INSERT INTO retention.rfm_change (
        metric, customer_id, changed_at, cause, previous_rfm_group, rfm_group,
        previous_r, previous_f, previous_m, r, f, m)
      SELECT $4, n.customer_id, $3, n.cause, n.previous_rfm_group, n.rfm_group,
             n.previous_r, n.previous_f, n.previous_m, n.r, n.f, n.m
      FROM change n WHERE n.previous_rfm_group IS DISTINCT FROM n.rfm_group AND NOT $5
      ORDER BY n.customer_id COLLATE "C"),
    noted AS (
      INSERT INTO retention.changed_customers (customer_ids)
      -- Whom settings move has done nothing: flows are not told.
      SELECT array_agg(n.customer_id)
      FROM (SELECT customer_id, row_number() OVER () / 1000 AS batch
            FROM change WHERE cause <> 'settings') AS n
      WHERE $7 GROUP BY n.batch)
    SELECT count(*) FILTER (WHERE previous_r IS NULL),
           count(*) FILTER (WHERE previous_r IS NOT NULL AND orders > 0),
           count(*) FILTER (WHERE orders = 0),
           count(*) FILTER (WHERE previous_rfm_group IS DISTINCT FROM rfm_group AND NOT $5),
           (SELECT jsonb_object_agg(name, delta)
            FROM (SELECT name, sum(step) AS delta
                  FROM (SELECT rfm_group, 1 FROM change UNION ALL SELECT previous_rfm_group, -1
                        FROM change) AS steps (name, step)
                  WHERE name IS NOT NULL GROUP BY name) AS deltas),
           (SELECT array_agg(n.customer_id) FROM change n
            WHERE $8 AND EXISTS (SELECT FROM retention.order_event e
                                 WHERE e.customer_id = n.customer_id AND e.metric = $4))
    FROM change
  $apply$, changes, state) INTO report USING settings, last, as_of, settings.metric, last IS NULL,
  given,
    -- process_changes notes all whom it looks at.
    given IS NULL AND state = 'retention.customer'::regclass AND retention._flows_run(),
    given IS NULL AND state = 'retention.customer'::regclass;
  RETURN report;
END
$$;
COMMENT ON FUNCTION retention._apply(
  retention.metric, retention.population, timestamptz, regclass, text,
  retention.customer_change[]) IS
  'Writes changed customers, given by a query with the columns of _collected, and their moves '
  'between groups, in one statement. The query''s parameters are the settings, the last refresh, '
  'as_of, and as $6 the given changes. A baseline has no moves.';

CREATE FUNCTION retention._sources_unchanged(
    settings retention.metric, last retention.population, as_of timestamptz)
  RETURNS boolean
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    (last).settings = retention._settings(settings) AND NOT (last).stale
    AND ((last).next_order_at IS NULL OR (last).next_order_at > as_of)
    AND coalesce(retention._history_start(settings, as_of) <= (last).first_order_at, true)
    AND (SELECT bool_and(coalesce(retention._source_fingerprint(s,
        (settings).time_zone) = s.fingerprint, false))
         FROM retention.source s WHERE s.metric = (settings).metric), false)
$$;
COMMENT ON FUNCTION retention._sources_unchanged(
  retention.metric, retention.population, timestamptz) IS
  'Whether reading the sources again would give the same orders.';

CREATE FUNCTION retention._publish(
    settings retention.metric, as_of timestamptz, backfilled boolean,
    report retention.collection_report, fingerprint text)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  new_id bigint;
BEGIN
  INSERT INTO retention.population (
      metric, as_of, backfilled, customers, orders, recency_limits, frequency_bounds,
      monetary_bounds,
      group_sizes, first_order_at, next_order_at, last_order_at, most_orders, settings)
    VALUES (
      settings.metric, as_of, backfilled, report.customers, report.orders, settings.recency_limits,
      report.frequency_bounds, report.monetary_bounds, report.group_sizes,
      report.first_order_at, report.next_order_at, report.last_order_at, report.most_orders,
      fingerprint)
    RETURNING refresh_id INTO new_id;
  RETURN new_id;
END
$$;
COMMENT ON FUNCTION retention._publish(
  retention.metric, timestamptz, boolean, retention.collection_report, text) IS
  'Records the thresholds and group sizes of a refresh, and the fingerprint of the settings that '
  'it went by; returns its id.';

CREATE FUNCTION retention._changed_since(last retention.population, fingerprint text)
  RETURNS SETOF retention.customer_change
  LANGUAGE sql VOLATILE ROWS 1000 SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM retention._collected(
    (last).frequency_bounds, (last).monetary_bounds, (last).settings IS DISTINCT FROM fingerprint,
    CASE WHEN NOT retention._reads_alike((last).settings, fingerprint) THEN (last).as_of END)
$$;
COMMENT ON FUNCTION retention._changed_since(retention.population, text) IS
  'What _collect found to differ from the stored customers of the last refresh, by settings of '
  'this fingerprint.';

CREATE FUNCTION retention._write_collected(
    settings retention.metric, last retention.population, as_of timestamptz, state regclass)
  RETURNS retention.write_report
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  loaded bigint;
BEGIN
  IF last IS NULL THEN
    loaded := retention._load(state, settings.metric, as_of);
    IF loaded IS NOT NULL THEN
      RETURN ROW (loaded, 0, 0, 0, NULL, ARRAY(
        SELECT DISTINCT e.customer_id FROM retention.order_event e
        WHERE e.metric = settings.metric))::retention.write_report;
    END IF;
  END IF;
  RETURN retention._apply(settings, last, as_of, state,
    'SELECT * FROM retention._changed_since($2, retention._settings($1))');
END
$$;
COMMENT ON FUNCTION retention._write_collected(
  retention.metric, retention.population, timestamptz, regclass) IS
  'Writes what _collect found: in bulk into an empty table, else the differences.';

CREATE FUNCTION retention._add_sizes(sizes jsonb, deltas jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_object_agg(key, size)
  FROM (SELECT key, sum(value::bigint) AS size
        FROM (SELECT * FROM jsonb_each_text(sizes) UNION ALL SELECT *
              FROM jsonb_each_text(deltas)) AS all_sizes
        GROUP BY key) AS summed
$$;
COMMENT ON FUNCTION retention._add_sizes(jsonb, jsonb) IS 'Group sizes after some moves.';

CREATE FUNCTION retention._unchanged_report(last retention.population)
  RETURNS retention.collection_report
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 0, 0, 0, 0, 0, 0, 0, (last).orders, (last).customers, 0, (last).first_order_at,
         (last).next_order_at,
         (last).frequency_bounds, (last).monetary_bounds, (last).group_sizes,
         (last).last_order_at, (last).most_orders, '[]'::jsonb, 0, NULL
$$;
COMMENT ON FUNCTION retention._unchanged_report(retention.population) IS
  'The report of a refresh that needs to read nothing.';

CREATE FUNCTION retention._reject_loss(
    settings retention.metric, customers bigint, lost bigint, smallest integer DEFAULT 20)
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A handful of customers says nothing about the sources.
  PERFORM retention._reject_unless(customers < smallest OR lost <= settings.loss_limit * customers,
    format('%s of %s customers of metric "%s" have no order any more and would be removed: more '
           'than its loss_limit, %s',
           lost, customers, settings.metric, settings.loss_limit),
    format('If a source is being loaded, wait for it. If they are to go: CALL '
           'retention.refresh(%L, allow_loss => true);', settings.metric),
    'configuration_limit_exceeded');
END
$$;
COMMENT ON FUNCTION retention._reject_loss(retention.metric, bigint, bigint, integer) IS
  'An error where too many of so many customers are lost, as after TRUNCATE or while a source is '
  'loaded. Of fewer than smallest any number may go.';
-- Moves customers whom time alone moves.

CREATE FUNCTION retention._crossing_spans(
    limits double precision[], before date, today date)
  RETURNS SETOF tstzrange
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- A day more on each side covers all time zones; limits beyond three thousand years are never
  -- passed.
  SELECT unnest(range_agg(tstzrange((before - days - 1)::timestamp AT TIME ZONE 'UTC',
                                    (today - days + 1)::timestamp AT TIME ZONE 'UTC')))
  FROM unnest(limits) AS recency_limit, LATERAL (SELECT greatest(floor(recency_limit),
      -1)::integer AS days) AS whole
  WHERE before < today AND recency_limit < 1000000
$$;
COMMENT ON FUNCTION retention._crossing_spans(double precision[], date, date) IS
  'When those ordered last whose days since then pass a limit between two days.';

CREATE FUNCTION retention._clock_changes(
    settings retention.metric, last retention.population, as_of timestamptz)
  RETURNS SETOF retention.customer_change
  LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  zone text := settings.time_zone;
  today date := (as_of AT TIME ZONE zone)::date;
  span tstzrange;
BEGIN
  -- A span at a time, so that each is a range of the index whatever the statistics say.
  FOR span IN SELECT retention._crossing_spans(settings.recency_limits,
                                               (last.as_of AT TIME ZONE zone)::date, today) LOOP
    RETURN QUERY
      SELECT c.customer_id, c.orders, c.purchase_days, c.first_order_at, c.last_order_at,
             c.revenue, c.repeat_value, c.average_order_value, c.average_days_between_orders,
             c.days_between_orders_sd,
             scored.r, c.f, c.m, cell.rfm_group, c.r, c.f, c.m, c.rfm_group, 'time'
      FROM retention.customer c
      CROSS JOIN LATERAL (
        SELECT retention.recency_score(today - (c.last_order_at AT TIME ZONE zone)::date,
                                       settings.recency_limits)::smallint AS r
        OFFSET 0) AS scored
      JOIN retention.rfm_cell cell ON (cell.scheme, cell.r, cell.f, cell.m) = (settings.scheme,
          scored.r, c.f, c.m)
      WHERE c.last_order_at >= lower(span) AND c.last_order_at < upper(span)
        AND c.metric = settings.metric AND scored.r <> c.r;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._clock_changes(retention.metric, retention.population, timestamptz) IS
  'The customers whose recency score changes because time has passed since the last refresh, '
  'found by index.';

CREATE FUNCTION retention._advance_clock(
    settings retention.metric, last retention.population, as_of timestamptz,
    OUT report retention.collection_report, OUT written retention.write_report,
    OUT read_at timestamptz)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  report := retention._unchanged_report(last);
  PERFORM retention._tell(format('metric "%s": the sources are unchanged since %s',
                                 settings.metric, last.as_of));
  read_at := clock_timestamp();
  written := retention._apply(settings, last, as_of, 'retention.customer',
                              'SELECT * FROM retention._clock_changes($1, $2, $3)');
  report.group_sizes := retention._add_sizes(report.group_sizes,
                                             coalesce(written.group_deltas, '{}'));
END
$$;
COMMENT ON FUNCTION retention._advance_clock(retention.metric, retention.population, timestamptz) IS
  'A refresh of sources that have not changed: what only time has changed. Also when it had read.';
-- Rows of sources that cannot be read.

CREATE FUNCTION retention._unreadable_count(unreadable jsonb) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(sum((u ->> 'row_count')::bigint), 0) FROM jsonb_array_elements(unreadable) AS u
$$;
COMMENT ON FUNCTION retention._unreadable_count(jsonb) IS 'How many rows a report could not read.';

CREATE FUNCTION retention._warn_of_unreadable(metric text, unreadable jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF unreadable <> '[]' THEN
    RAISE WARNING 'metric "%": % rows are left out because they cannot be read',
        metric, retention._unreadable_count(unreadable)
      USING DETAIL = (
        SELECT string_agg(format('%s in %s: customer "%s"%s%s.', u ->> 'reason', u ->> 'relation',
                                 left(u ->> 'customer_id', 100),
                                 ', order "' || left(u ->> 'order_id', 100) || '"',
                                 ', ' || left(u ->> 'value', 100)), E'\n')
        FROM jsonb_array_elements(unreadable) AS u),
      HINT = 'retention.unreadable_row counts them by source and reason.';
  END IF;
END
$$;
COMMENT ON FUNCTION retention._warn_of_unreadable(text, jsonb) IS
  'Says what a refresh could not read, with an example for each reason.';

CREATE FUNCTION retention._note_unreadable(metric text, met jsonb) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE retention.refresh_log l SET unreadable_since = (
      SELECT jsonb_agg(jsonb_set(latest.u, '{row_count}', to_jsonb(latest.total)))
      FROM (SELECT DISTINCT ON (u ->> 'relation', u ->> 'reason') u,
                   sum((u ->> 'row_count')::bigint) OVER kind AS total
            FROM jsonb_array_elements(l.unreadable_since || met) WITH ORDINALITY AS e (u, number)
            WINDOW kind AS (PARTITION BY u ->> 'relation', u ->> 'reason')
            ORDER BY u ->> 'relation', u ->> 'reason', number DESC) AS latest)
    WHERE met <> '[]'
      AND l.refresh_id = (SELECT max(r.refresh_id) FROM retention.refresh_log r
                          WHERE r.metric = _note_unreadable.metric AND r.path = 'rebuild')
$$;
COMMENT ON FUNCTION retention._note_unreadable(text, jsonb) IS
  'Adds what process_changes could not read to the log of the last refresh that has read the '
  'sources; the latest example stays.';

CREATE FUNCTION retention._without_customer(unreadable jsonb, customer_id text)
  RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_agg(
           CASE WHEN u ->> 'customer_id' = _without_customer.customer_id
                THEN u || '{"customer_id": null, "order_id": null, "value": null}' ELSE u END
           ORDER BY number), '[]')
  FROM jsonb_array_elements(unreadable) WITH ORDINALITY AS e (u, number)
$$;
COMMENT ON FUNCTION retention._without_customer(jsonb, text) IS
  'Counts of unreadable rows without a customer''s example.';

CREATE FUNCTION retention._forget_unreadable(customer_id text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  example CONSTANT jsonb := jsonb_build_array(jsonb_build_object('customer_id', customer_id));
  forgotten bigint;
BEGIN
  UPDATE retention.refresh_log l
    SET unreadable_rows = retention._without_customer(l.unreadable_rows, customer_id),
        unreadable_since = retention._without_customer(l.unreadable_since, customer_id)
    WHERE l.unreadable_rows @> example OR l.unreadable_since @> example;
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  RETURN forgotten;
END
$$;
COMMENT ON FUNCTION retention._forget_unreadable(text) IS
  'Removes a person from the examples of unreadable rows, and keeps the counts. Returns the '
  'number of refreshes that had one.';

CREATE VIEW retention.unreadable_row AS
  SELECT l.metric, found.by AS found_by, u.relation, u.reason, u.row_count,
         u.customer_id, u.order_id, u.value
  FROM retention.refresh_log l,
       LATERAL (VALUES ('refresh', l.unreadable_rows),
                       ('process_changes', l.unreadable_since)) AS found (by, unreadable),
       LATERAL jsonb_to_recordset(found.unreadable)
         AS u (relation text, reason text, row_count bigint,
               customer_id text, order_id text, value text)
  WHERE l.refresh_id IN (SELECT max(r.refresh_id) FROM retention.refresh_log r
                         WHERE r.path = 'rebuild' GROUP BY r.metric);
COMMENT ON VIEW retention.unreadable_row IS
  'Rows of sources that are left out because they cannot be read, by metric, source and reason, '
  'each with an example: those of the last refresh that has read the sources, and those that '
  'process_changes has met since. All other rows count as if these were not there.';
COMMENT ON COLUMN retention.unreadable_row.metric IS 'Metric that the rows belong to.';
COMMENT ON COLUMN retention.unreadable_row.found_by IS 'refresh, or process_changes since.';
COMMENT ON COLUMN retention.unreadable_row.relation IS
  'The source; for a sum, all sources of the metric.';
COMMENT ON COLUMN retention.unreadable_row.reason IS
  'time out of range: infinite, or before 4713 BC; amount not finite: NaN or infinity; amount too '
  'long: more than 38 digits; key too long: more than 2,000 bytes; sum too long: the amounts of a '
  'customer, who is left out, add up to more than 38 digits.';
COMMENT ON COLUMN retention.unreadable_row.row_count IS
  'Number of rows; process_changes counts one each time that its customer is read.';
COMMENT ON COLUMN retention.unreadable_row.customer_id IS
  'The shop''s key of the example''s customer, as text, cut to 2,000 bytes.';
COMMENT ON COLUMN retention.unreadable_row.order_id IS
  'The shop''s key of the example''s order; null where the source has none, and for a sum.';
COMMENT ON COLUMN retention.unreadable_row.value IS
  'What cannot be read: the time, the amount, or the length of the key; null for a sum.';
-- The steps of a refresh.

CREATE FUNCTION retention._last_refresh(metric text) RETURNS retention.population
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT p FROM retention.population p
    WHERE p.metric = _last_refresh.metric AND NOT p.backfilled ORDER BY p.refresh_id DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION retention._last_refresh(text) IS
  'What the latest refresh published; null before the first.';

CREATE FUNCTION retention._check_refresh(
    settings retention.metric, last retention.population, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  dropped regclass;
BEGIN
  PERFORM retention._check_clock(as_of);
  PERFORM retention._reject_unless(
    EXISTS (SELECT FROM retention.source s WHERE s.metric = settings.metric AND s.kind = 'order'),
    format('metric "%s" has no source of orders', settings.metric),
    'add_source names the table of orders.',
    'object_not_in_prerequisite_state');
  SELECT relation INTO dropped FROM retention.source s
    WHERE s.metric = settings.metric AND NOT EXISTS (SELECT FROM pg_class WHERE oid = s.relation);
  PERFORM retention._reject_unless(dropped IS NULL,
    format('a source of metric "%s" has been dropped (its oid was %s)', settings.metric, dropped),
    'drop_source removes it; retention.source shows its source_id.', 'undefined_table');
  PERFORM retention._source_query(s, settings.time_zone) FROM retention.source s
    WHERE s.metric = settings.metric;
  PERFORM retention._reject_unless(as_of >= coalesce(last.as_of, as_of),
    format('as_of %s lies before the last refresh of metric "%s", as of %s', as_of, settings.metric,
           last.as_of),
    'customer_at shows a past state, backfill_history records past ones, reset_metric starts '
    'anew.');
END
$$;
COMMENT ON FUNCTION retention._check_refresh(retention.metric, retention.population, timestamptz) IS
  'Rejects a refresh that cannot be done, with the reason.';

CREATE FUNCTION retention._log_refresh(
    id bigint, metric text, as_of timestamptz, path text, report retention.collection_report,
    written retention.write_report,
    started_at timestamptz, read_at timestamptz)
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.refresh_log (
      refresh_id, metric, as_of, path, started_at, read_duration, write_duration,
      rows_read, without_customer, without_time, without_amount, after_as_of, before_history,
      refund_rows,
      customers_without_orders, inserted, updated, deleted, transitions,
      unreadable, unreadable_rows, unmatched_refunds, unmatched_refund)
    VALUES (
      id, metric, as_of, path, started_at, read_at - started_at, clock_timestamp() - read_at,
      (report).rows_read, (report).without_customer, (report).without_time, (report).without_amount,
      (report).after_as_of, (report).before_history, (report).refund_rows,
      (report).customers_without_orders,
      (written).inserted, (written).updated, (written).deleted, (written).transitions,
      retention._unreadable_count((report).unreadable), (report).unreadable,
      (report).unmatched_refunds, (report).unmatched_refund)
$$;
COMMENT ON FUNCTION retention._log_refresh(
  bigint, text, timestamptz, text, retention.collection_report, retention.write_report, timestamptz,
  timestamptz) IS
  'Writes a row of refresh_log.';

CREATE FUNCTION retention._rebuild(
    settings retention.metric, last retention.population, as_of timestamptz,
    fingerprint text, allow_loss boolean,
    OUT report retention.collection_report, OUT written retention.write_report,
    OUT read_at timestamptz)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Ahead of the snapshot that reads them, so that no change falls in between.
  -- Whether there still is an index is looked up anew.
  UPDATE retention.source s
    SET fingerprint = retention._source_fingerprint(s, settings.time_zone),
        is_indexed = nullif(s.is_indexed, true)
    WHERE s.metric = settings.metric;
  report := retention._read_metric(settings, as_of, 'retention.customer', last);
  PERFORM retention._tell(format('metric "%s": %s rows read, %s orders of %s customers',
                                 settings.metric, report.rows_read, report.orders,
                                 report.customers));
  PERFORM retention._warn_of_unreadable(settings.metric, report.unreadable);
  IF allow_loss IS NOT TRUE AND retention._reads_alike(_rebuild.fingerprint, last.settings) THEN
    PERFORM retention._reject_loss(settings, l.customers, l.lost)
      FROM retention._collected_loss() AS l;
  END IF;
  read_at := clock_timestamp();
  written := retention._write_collected(settings, last, as_of, 'retention.customer');
END
$$;
COMMENT ON FUNCTION retention._rebuild(
  retention.metric, retention.population, timestamptz, text, boolean) IS
  'A refresh that reads the sources, and writes who differs. Also when it had read them.';
-- Orders as events, by which flows start.

CREATE FUNCTION retention._event_window() RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN interval '30 days';
COMMENT ON FUNCTION retention._event_window() IS
  'How old an order can be, and still be news. Events are kept for longer, so that none is '
  'recorded twice.';

CREATE FUNCTION retention._order_moment(
    day timestamptz, known_at timestamptz, time_zone text)
  RETURNS timestamptz
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN least(
    greatest(day, known_at),
    ((day AT TIME ZONE time_zone)::date + 1)::timestamp AT TIME ZONE time_zone
      - interval '1 microsecond');
COMMENT ON FUNCTION retention._order_moment(timestamptz, timestamptz, text) IS
  'When an order happened of which only the day is known, given by its midnight: when it became '
  'known, as far as that is on that day. So an order is after what had happened on its day before '
  'anyone knew of it.';

CREATE FUNCTION retention._has_days(source retention.source) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce((SELECT retention._base_type(a.atttypid) = 'date'::regtype FROM pg_attribute a
                   WHERE a.attrelid = (source).relation AND a.attname = (source).ordered_at
                     AND a.attnum > 0 AND NOT a.attisdropped), false)
$$;
COMMENT ON FUNCTION retention._has_days(retention.source) IS
  'Whether a source has dates without a time of day.';

CREATE FUNCTION retention._move_events_from() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.metric');
  -- Times without a zone are all moved: what was no news before must not become it.
  UPDATE retention.source s
    SET events_from = s.events_from AT TIME ZONE OLD.time_zone AT TIME ZONE NEW.time_zone
    FROM pg_attribute a
    WHERE s.metric = NEW.metric AND s.events_from IS NOT NULL
      AND a.attrelid = s.relation AND a.attname = s.ordered_at
      AND retention._base_type(a.atttypid) <> 'timestamptz'::regtype;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._move_events_from() IS
  'Trigger: has the same orders be news in another time zone.';

CREATE FUNCTION retention._lines_query(
    source retention.source, time_zone text, customer_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format($query$
    SELECT customer_id::text AS customer_id, %s AS order_id, at, amount FROM (%s) AS s (%s)
    WHERE %s AND %s$query$,
    given.expression, retention._keyed_source_query(source, time_zone, customer_ids),
    'customer_id, at, amount' || given.name,
    retention._key_condition('customer_id::text'), retention._readable_condition('at', 'amount'))
  FROM (VALUES (false, 'NULL::text', ''), (true, 'order_id::text', ', order_id'))
    AS given (has_id, expression, name)
  WHERE given.has_id = ((source).order_id IS NOT NULL)
$$;
COMMENT ON FUNCTION retention._lines_query(retention.source, text, text[]) IS
  'The query for those rows of a source, of some customers or, with null, of all, that can be an '
  'order or refund, or part of one.';

CREATE FUNCTION retention._read_rows(
    source retention.source, time_zone text, as_of timestamptz, customer_ids text[])
  RETURNS retention.order_line[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  is_day boolean := retention._has_days(source);
  news_from timestamptz := CASE WHEN source.events_from IS NOT NULL
    THEN greatest(source.events_from, as_of - retention._event_window()) END;
BEGIN
  RETURN ARRAY(
    SELECT ROW (source.source_id, source.kind, is_day, news_from,
                l.customer_id, l.order_id, l.at, l.amount, NULL)::retention.order_line
    FROM retention._query_of(source.relation,
           format('SELECT * FROM (%s) AS line WHERE at <= $1',
                  retention._lines_query(source, time_zone, customer_ids)), as_of)
      AS l (customer_id text, order_id text, at timestamptz, amount numeric));
END
$$;
COMMENT ON FUNCTION retention._read_rows(retention.source, text, timestamptz, text[]) IS
  'The rows of some customers in a source, up to as_of.';

CREATE FUNCTION retention._oldest_event() RETURNS timestamptz
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- A day more for another time zone.
  SELECT coalesce((SELECT e.recorded_at - retention._event_window() - interval '1 day'
                   FROM retention.order_event e ORDER BY e.event_id LIMIT 1), 'infinity')
$$;
COMMENT ON FUNCTION retention._oldest_event() IS
  'A time before which no order had an event when it was recorded.';

CREATE FUNCTION retention._net_orders(
    lines retention.order_line[], history_start timestamptz, since timestamptz, order_ids text[])
  RETURNS retention.order_line[]
  -- Planned for so many as there are.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
  RETURN (
    WITH line AS MATERIALIZED (SELECT * FROM unnest(lines)),
    netted AS MATERIALIZED (
      -- Of several sources the first one that has events.
      SELECT coalesce(min(l.source_id) FILTER (WHERE l.kind = 'order' AND l.news_from IS NOT NULL),
                      min(l.source_id) FILTER (WHERE l.kind = 'order')) AS source_id,
             bool_and(l.is_day) FILTER (WHERE l.kind = 'order') AS is_day,
             min(l.news_from) FILTER (WHERE l.kind = 'order') AS news_from,
             l.customer_id, l.order_id, min(l.at) FILTER (WHERE l.kind = 'order') AS at,
             sum(CASE l.kind WHEN 'order' THEN l.amount ELSE -abs(l.amount) END) AS amount
      FROM line l WHERE l.order_id IS NOT NULL
      GROUP BY l.customer_id, l.order_id
      HAVING min(l.at) FILTER (WHERE l.kind = 'order') IS NOT NULL
      UNION ALL
      SELECT l.source_id, l.is_day, NULL, l.customer_id, NULL, l.at, l.amount
      FROM line l WHERE l.order_id IS NULL AND l.kind = 'order'),
    -- Numbers are those of news, so that only the latest orders have to be sorted.
    older AS (
      SELECT n.customer_id, count(*) FILTER (
        WHERE n.at < since AND n.amount > 0
          AND n.at >= coalesce(history_start, '-infinity')) AS orders
      FROM netted n GROUP BY n.customer_id),
    item AS (
      SELECT n.source_id, 'order', n.is_day, n.news_from, n.customer_id, n.order_id, n.at, n.amount,
             o.orders + count(*) FILTER (
               WHERE n.amount > 0 AND n.at >= coalesce(history_start, '-infinity'))
               OVER (PARTITION BY n.customer_id ORDER BY n.at, octet_length(n.order_id), n.order_id
                     ROWS UNBOUNDED PRECEDING)
      FROM netted n JOIN older o USING (customer_id) WHERE n.at >= since
      UNION ALL
      SELECT n.source_id, 'order', n.is_day, n.news_from, n.customer_id, n.order_id, n.at, n.amount,
             NULL
      FROM netted n WHERE n.at < since
      UNION ALL
      SELECT min(l.source_id), 'refund', bool_and(l.is_day), min(l.news_from),
             l.customer_id, l.order_id, l.at, abs(sum(l.amount)), NULL
      FROM line l WHERE l.kind = 'refund' GROUP BY l.customer_id, l.order_id, l.at)
    -- Blank keys tell no order from another, and the index has no room for longer ones.
    SELECT array_agg(ROW (i.*)::retention.order_line) FROM item i
    WHERE btrim(i.order_id) <> '' AND octet_length(i.order_id) <= 500
      AND (i.at >= since OR i.order_id IN (SELECT o FROM unnest(order_ids) AS o)));
END
$$;
COMMENT ON FUNCTION retention._net_orders(
  retention.order_line[], timestamptz, timestamptz, text[]) IS
  'The orders that rows of some customers add up to, as retention.customer counts them, and their '
  'refunds: all with one time are one. Only those since a time, and those with some ids.';

CREATE FUNCTION retention._is_time_of(
    at timestamptz, is_day boolean, ordered_at timestamptz, time_zone text)
  RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN at = ordered_at
      OR is_day AND (at AT TIME ZONE time_zone)::date = (ordered_at AT TIME ZONE time_zone)::date;
COMMENT ON FUNCTION retention._is_time_of(timestamptz, boolean, timestamptz, text) IS
  'Whether an event has the time of a refund, by its precision.';

CREATE FUNCTION retention._told_orders(customer_ids text[]) RETURNS text[]
  -- As in _other_holders.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
AS $$
BEGIN
  RETURN ARRAY(
    SELECT e.order_id FROM retention.order_event e WHERE e.customer_id = ANY (customer_ids));
END
$$;
COMMENT ON FUNCTION retention._told_orders(text[]) IS
  'Ids of the orders of some customers that have events.';

CREATE FUNCTION retention._other_holders(
    settings retention.metric, items retention.order_line[])
  RETURNS text[]
  -- Looked up by key, however few there are; planned for so many as there are.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
AS $$
DECLARE
  oldest timestamptz := retention._oldest_event();
  customer_ids text[] := ARRAY(SELECT DISTINCT i.customer_id FROM unnest(items) AS i);
BEGIN
  -- A few will do: an order id that many have at once is of many orders, none of which has moved.
  RETURN (
    SELECT array_agg(DISTINCT other.customer_id)
    FROM unnest(items) AS i,
    LATERAL (
      SELECT e.customer_id FROM retention.order_event e
      WHERE (e.order_id, e.source_id, e.kind) = (i.order_id, i.source_id, i.kind)
        AND e.ordered_at IS NOT NULL AND e.customer_id <> i.customer_id LIMIT 3) AS other
    WHERE i.at >= oldest AND other.customer_id <> ALL (customer_ids)
      AND NOT EXISTS (
        SELECT FROM retention.order_event e
        WHERE (e.customer_id, e.order_id, e.kind) = (i.customer_id, i.order_id, i.kind)
          AND e.metric = settings.metric));
END
$$;
COMMENT ON FUNCTION retention._other_holders(retention.metric, retention.order_line[]) IS
  'Customers who had, as far as is known, orders that others have now: they have to be looked at '
  'too, whether they have them still.';

CREATE FUNCTION retention._own_events(
    settings retention.metric, customer_ids text[], items retention.order_line[])
  RETURNS TABLE (event_id bigint, place bigint)
  -- As in _other_holders.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH present AS MATERIALIZED (
      SELECT i.*, row_number() OVER () AS place FROM unnest(items) AS i),
    held AS MATERIALIZED (
      SELECT e.* FROM retention.order_event e
      WHERE e.customer_id = ANY (customer_ids) AND e.metric = settings.metric),
    same AS MATERIALIZED (
      SELECT p.place, h.event_id FROM present p JOIN held h USING (kind, customer_id, order_id)
      WHERE kind = 'refund'
        AND retention._is_time_of(p.at, p.is_day, h.ordered_at, settings.time_zone)),
    turns AS (
      SELECT p.*, row_number() OVER (
        PARTITION BY kind, customer_id, order_id
        ORDER BY place NOT IN (SELECT s.place FROM same s), at) AS turn
      FROM present p),
    held_turns AS (
      SELECT h.*, row_number() OVER (
        PARTITION BY kind, customer_id, order_id
        ORDER BY event_id NOT IN (SELECT s.event_id FROM same s), ordered_at, event_id) AS turn
      FROM held h)
    SELECT h.event_id, p.place
    FROM turns p FULL JOIN held_turns h USING (kind, customer_id, order_id, turn);
END
$$;
COMMENT ON FUNCTION retention._own_events(retention.metric, text[], retention.order_line[]) IS
  'Which of some customers'' orders and refunds, by their place in items, their events are of. Of '
  'an order''s refunds those of the same time belong together, of the others, whose dates have '
  'changed, the earliest, and so on.';

CREATE FUNCTION retention._match_events(
    settings retention.metric, customer_ids text[], items retention.order_line[])
  RETURNS TABLE (event_id bigint, place bigint)
  -- As in _other_holders.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH own AS MATERIALIZED (SELECT * FROM retention._own_events(settings, customer_ids, items)),
    lacking AS MATERIALIZED (
      SELECT place, i.kind, i.source_id, i.order_id, row_number() OVER (
        PARTITION BY i.kind, i.source_id, i.order_id ORDER BY i.at, i.customer_id) AS turn
      FROM own o
      JOIN (SELECT i.*, row_number() OVER () AS place FROM unnest(items) AS i) AS i USING (place)
      WHERE o.event_id IS NULL AND i.at >= (SELECT retention._oldest_event())),
    free AS (
      SELECT e.event_id, kind, source_id, order_id, row_number() OVER (
        PARTITION BY kind, source_id, order_id ORDER BY e.ordered_at, e.event_id) AS turn
      FROM (SELECT DISTINCT kind, source_id, order_id FROM lacking) AS l
      JOIN retention.order_event e USING (kind, source_id, order_id)
      LEFT JOIN own o ON o.event_id = e.event_id
      WHERE e.metric = settings.metric AND o.place IS NULL
        AND (o.event_id IS NOT NULL OR e.ordered_at IS NULL)),
    moved AS MATERIALIZED (
      SELECT f.event_id, l.place FROM lacking l JOIN free f USING (kind, source_id, order_id, turn))
    SELECT o.event_id, o.place FROM own o
    WHERE (o.event_id IN (SELECT m.event_id FROM moved m)
           OR o.place IN (SELECT m.place FROM moved m)) IS NOT TRUE
    UNION ALL TABLE moved;
END
$$;
COMMENT ON FUNCTION retention._match_events(retention.metric, text[], retention.order_line[]) IS
  'Which order or refund each event is of, wherever its date, amount, and customer have gone: of '
  'an order that its customer does not have, the same order of another one. No place: it is gone; '
  'no event: it has none.';

CREATE FUNCTION retention._write_events(
    settings retention.metric, as_of timestamptz, customer_ids text[], items retention.order_line[])
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
  WITH matched AS MATERIALIZED (
    SELECT m.event_id, i.*, coalesce(e.recorded_at, as_of) AS known_at,
           e.customer_id AS held_by, e.ordered_at AS held_at, e.net_amount AS held_amount
    FROM retention._match_events(settings, customer_ids, items) AS m
    LEFT JOIN (SELECT i.*, row_number() OVER () AS place FROM unnest(items) AS i) AS i USING (place)
    LEFT JOIN retention.order_event e USING (event_id)),
  dated AS (
    SELECT m.*, coalesce(m.customer_id, m.held_by) AS holder,
           CASE WHEN m.is_day THEN retention._order_moment(m.at, m.known_at, settings.time_zone)
                ELSE m.at END AS moment
    FROM matched m),
  corrected AS (
    UPDATE retention.order_event e
    SET customer_id = d.holder, ordered_at = d.moment, net_amount = d.amount
    FROM dated d
    WHERE e.event_id = d.event_id
      AND (d.held_by, d.held_at, d.held_amount) IS DISTINCT FROM (d.holder, d.moment, d.amount))
  INSERT INTO retention.order_event (
      metric, source_id, kind, customer_id, order_id,
      occurred_at, amount, recorded_at, number, ordered_at, net_amount)
    SELECT settings.metric, d.source_id, d.kind, d.customer_id, d.order_id,
           d.at, d.amount, as_of, d.number, d.moment, d.amount
    FROM dated d
    WHERE d.event_id IS NULL AND d.amount > 0 AND d.at >= d.news_from
    ORDER BY d.at, d.customer_id, octet_length(d.order_id), d.order_id
$$;
COMMENT ON FUNCTION retention._write_events(
  retention.metric, timestamptz, text[], retention.order_line[]) IS
  'Corrects the events of some customers by their orders and refunds, and records those that are '
  'news.';

CREATE FUNCTION retention._record_events(
    settings retention.metric, as_of timestamptz, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  history_start timestamptz := retention._history_start(settings, as_of);
  since timestamptz := least(retention._oldest_event(), as_of - retention._event_window());
  source retention.source;
  lines retention.order_line[];
  items retention.order_line[];
  others text[] := customer_ids;
BEGIN
  customer_ids := '{}';
  FOR pass IN 1 .. 2 LOOP
    customer_ids := customer_ids || others;
    FOR source IN
      SELECT * FROM retention.source s
      WHERE s.metric = settings.metric AND (s.kind = 'order' OR s.order_id IS NOT NULL)
      ORDER BY s.source_id
    LOOP
      lines := lines || retention._read_rows(source, settings.time_zone, as_of, others);
    END LOOP;
    items := retention._net_orders(lines, history_start, since,
                                   retention._told_orders(customer_ids));
    others := retention._other_holders(settings, items);
    EXIT WHEN others IS NULL;
  END LOOP;
  PERFORM retention._write_events(settings, as_of, customer_ids, items);
END
$$;
COMMENT ON FUNCTION retention._record_events(retention.metric, timestamptz, text[]) IS
  'Brings the events of some customers up to date, and of those whose orders they have taken over.';

CREATE FUNCTION retention._unrecorded(
    source retention.source, time_zone text, as_of timestamptz)
  RETURNS text[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  since timestamptz := greatest(source.events_from, as_of - retention._event_window());
  is_day boolean := retention._has_days(source);
  batch record;
  customer_ids text[] := '{}';
BEGIN
  FOR batch IN
    SELECT q.* FROM retention._query_of(source.relation, format($query$
      SELECT array_agg(customer_id), array_agg(order_id), array_agg(at)
      FROM (SELECT *, row_number() OVER () / 10000 AS number
            FROM (%s) AS line WHERE at BETWEEN $1 AND $2) AS recent
      GROUP BY number$query$, retention._lines_query(source, time_zone, NULL)), since, as_of)
      AS q (customer_ids text[], order_ids text[], times timestamptz[])
  LOOP
    customer_ids := customer_ids || ARRAY(
      SELECT DISTINCT n.customer_id
      FROM (SELECT customer_id COLLATE "C" AS customer_id, order_id COLLATE "C" AS order_id, at
            FROM unnest(batch.customer_ids, batch.order_ids, batch.times)
              AS u (customer_id, order_id, at)) AS n
      WHERE NOT EXISTS (
        SELECT FROM retention.order_event e
        WHERE (e.customer_id, e.order_id) = (n.customer_id, n.order_id)
          AND (e.metric, e.kind) = (source.metric, source.kind)
          AND (e.kind = 'order' OR retention._is_time_of(n.at, is_day, e.ordered_at, time_zone))));
  END LOOP;
  RETURN customer_ids;
END
$$;
COMMENT ON FUNCTION retention._unrecorded(retention.source, text, timestamptz) IS
  'Customers with an order or refund in a source that would be news, and has no event.';

CREATE FUNCTION retention._record_all_events(
    settings retention.metric, as_of timestamptz, changed text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  batch CONSTANT integer := 10000;
  source retention.source;
  customer_ids text[] := changed;
BEGIN
  FOR source IN
    SELECT * FROM retention.source s
    WHERE s.metric = settings.metric AND s.events_from IS NOT NULL ORDER BY s.source_id
  LOOP
    customer_ids := customer_ids || retention._unrecorded(source, settings.time_zone, as_of);
  END LOOP;
  customer_ids := ARRAY(SELECT DISTINCT k COLLATE "C" FROM unnest(customer_ids) AS k);
  FOR start IN 1 .. cardinality(customer_ids) BY batch LOOP
    -- Numbers are drawn under this lock, so that their order is that of the commits.
    PERFORM retention._lock_queue();
    PERFORM retention._record_events(settings, as_of, customer_ids[start : start + batch - 1]);
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._record_all_events(retention.metric, timestamptz, text[]) IS
  'Records what is news in the sources of a metric, and brings the events of customers who have '
  'changed up to date.';
-- Processes the changes that were captured.

CREATE FUNCTION retention._warn_without_index(
    source retention.source, time_zone text, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  scans boolean := retention._scans_a_table(
    retention._keyed_source_query(source, time_zone, customer_ids[1:1]), source.relation);
BEGIN
  IF scans AND source.is_indexed IS NOT FALSE THEN
    RAISE WARNING '% is read in full for every change: no index finds a customer''s rows by "%"',
        source.relation, source.customer_id
      USING HINT = format('For a table: CREATE INDEX ON %s (%I);', source.relation,
                          source.customer_id);
  END IF;
  UPDATE retention.source s SET is_indexed = NOT scans
  WHERE s.source_id = source.source_id AND s.is_indexed IS DISTINCT FROM NOT scans;
END
$$;
COMMENT ON FUNCTION retention._warn_without_index(retention.source, text, text[]) IS
  'Warns, once, of a source whose customers can only be found by reading all of it.';

CREATE FUNCTION retention._note_orders_ahead(
    settings retention.metric, as_of timestamptz, next_order_at timestamptz, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  furthest timestamptz := as_of + interval '1 day';
BEGIN
  IF next_order_at > furthest IS NOT FALSE THEN
    RETURN;
  END IF;
  INSERT INTO retention.change_log (customer_ids, due_at, changed_at)
    SELECT ahead.*, clock_timestamp()
    FROM (SELECT ARRAY[q.customer_id], q.at
          FROM retention.source s, retention._query_of(s.relation, format($query$
            SELECT customer_id::text, min(at) FROM (%s) AS s (customer_id, at)
            WHERE at > $1 AND at <= $2 AND %s GROUP BY 1$query$,
            retention._keyed_source_query(s, settings.time_zone, customer_ids),
            retention._key_condition('customer_id::text')),
            as_of, furthest) AS q (customer_id text, at timestamptz)
          WHERE s.metric = settings.metric
          EXCEPT SELECT l.customer_ids, l.due_at FROM retention.change_log l) AS ahead;
END
$$;
COMMENT ON FUNCTION retention._note_orders_ahead(
  retention.metric, timestamptz, timestamptz, text[]) IS
  'Has customers processed again when their orders are due that are dated ahead of the clock, by '
  'a day at most: not every clock in a shop is right. next_order_at: the first one that was met; '
  'null customers: all.';

CREATE FUNCTION retention._process_metric(
    settings retention.metric, last retention.population, as_of timestamptz, customer_ids text[])
  RETURNS retention.customer_change[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changes retention.customer_change[];
  report retention.collection_report;
BEGIN
  PERFORM retention._take_turn(settings.metric);
  PERFORM retention._warn_without_index(s, settings.time_zone, customer_ids)
    FROM retention.source s WHERE s.metric = settings.metric AND s.is_indexed IS NOT TRUE;
  PERFORM retention._record_events(settings, as_of, customer_ids)
    WHERE EXISTS (SELECT FROM retention.source s
                  WHERE s.metric = settings.metric AND s.events_from IS NOT NULL);
  report := retention._read_metric(settings, as_of, 'retention.customer', last, customer_ids);
  -- Ahead of all that reads sources again: a view there may collect too.
  changes := ARRAY(
    SELECT c FROM retention._collected(last.frequency_bounds, last.monetary_bounds) AS c);
  PERFORM retention._note_unreadable(settings.metric, report.unreadable);
  PERFORM retention._note_orders_ahead(settings, as_of, report.next_order_at, customer_ids);
  IF cardinality(changes) > 0 THEN
    PERFORM retention._apply(settings, last, as_of, 'retention.customer',
                             'SELECT * FROM unnest($6)', changes);
    -- Group sizes of the last refresh no longer hold: the next one has to count anew.
    UPDATE retention.source s SET fingerprint = NULL
    WHERE s.metric = settings.metric AND s.fingerprint IS NOT NULL;
  END IF;
  RETURN changes;
END
$$;
COMMENT ON FUNCTION retention._process_metric(
  retention.metric, retention.population, timestamptz, text[]) IS
  'Recomputes some customers from the sources, scores them by the published bounds, and writes '
  'what has changed, which it returns.';

CREATE FUNCTION retention._leave_to_refresh(last retention.population) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE retention.population p SET stale = true
  WHERE p.refresh_id = (last).refresh_id AND NOT p.stale
$$;
COMMENT ON FUNCTION retention._leave_to_refresh(retention.population) IS
  'Has a metric wait for its next refresh, which reads everything, even if what stood in the way '
  'is undone before.';
-- The past: customers as of any moment, and their changes of group.

CREATE FUNCTION retention.customer_at(
    metric text DEFAULT 'orders', as_of timestamptz DEFAULT retention.now())
  RETURNS TABLE (
    customer_id text, orders bigint, purchase_days integer, first_order_at timestamptz,
    last_order_at timestamptz,
    revenue numeric, repeat_value numeric, average_order_value numeric,
    average_days_between_orders double precision, days_between_orders_sd double precision,
    days_since_last_order integer, r smallint, f smallint, m smallint, rfm_group text)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  settings retention.metric := retention._require_metric(metric);
BEGIN
  PERFORM retention._check_refresh(settings, NULL, as_of);
  PERFORM retention._read_metric(settings, as_of, NULL, retention._last_refresh(metric));
  RETURN QUERY
    SELECT c.customer_id, c.orders, c.purchase_days, c.first_order_at, c.last_order_at,
           c.revenue, c.repeat_value, c.average_order_value, c.average_days_between_orders,
           c.days_between_orders_sd,
           (customer_at.as_of AT TIME ZONE settings.time_zone)::date - (c.last_order_at
               AT TIME ZONE settings.time_zone)::date,
           c.r, c.f, c.m, c.rfm_group
    FROM retention._collected(NULL, NULL) AS c;
END
$$;
COMMENT ON FUNCTION retention.customer_at(text, timestamptz) IS
  'Every customer as of a past moment: what a refresh at that time would have found in today''s '
  'orders up to then.';

CREATE FUNCTION retention.preview_settings(
    metric text, time_zone text DEFAULT NULL, history interval DEFAULT NULL,
    scheme text DEFAULT NULL,
    recency_limits double precision[] DEFAULT NULL,
    frequency_percentiles double precision[] DEFAULT NULL,
    frequency_values double precision[] DEFAULT NULL,
    monetary_percentiles double precision[] DEFAULT NULL,
    monetary_values double precision[] DEFAULT NULL,
    thresholds text DEFAULT NULL, reset text[] DEFAULT NULL)
  RETURNS TABLE (customer_id text, previous_rfm_group text, rfm_group text, previous_r smallint,
                 previous_f smallint,
                 previous_m smallint, r smallint, f smallint, m smallint)
  LANGUAGE plpgsql SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last retention.population := retention._last_refresh(metric);
  settings retention.metric;
BEGIN
  BEGIN
    PERFORM retention.alter_metric(preview_settings.metric, time_zone, history, scheme,
                                   recency_limits, frequency_percentiles,
      frequency_values, monetary_percentiles, monetary_values, thresholds, reset => reset);
    settings := retention._require_metric(metric);
    -- As of the last refresh: since then time alone has moved some.
    PERFORM retention._check_refresh(settings, last, coalesce(last.as_of, retention.now()));
    PERFORM retention._read_metric(settings, coalesce(last.as_of, retention.now()),
                                   'retention.customer', last);
    RETURN QUERY
      SELECT c.customer_id, c.previous_rfm_group, c.rfm_group, c.previous_r, c.previous_f,
             c.previous_m, c.r, c.f, c.m
      FROM retention._changed_since(last, retention._settings(settings)) AS c
      WHERE c.rfm_group IS DISTINCT FROM c.previous_rfm_group AND c.cause = 'settings'
      ORDER BY c.customer_id COLLATE "C";
    -- Nothing of it is to stay.
    RAISE EXCEPTION USING ERRCODE = 'RTPRV', MESSAGE = 'previewed';
  EXCEPTION WHEN SQLSTATE 'RTPRV' THEN
    NULL;
  END;
END
$$;
COMMENT ON FUNCTION retention.preview_settings(
  text, text, interval, text, double precision[], double precision[], double precision[],
  double precision[], double precision[], text, text[]) IS
  'Who would have moved to another group by the last refresh if alter_metric had changed these '
  'settings before it; rfm_group is null for those who would have no order that counts. Reads the '
  'sources, and changes nothing.';

CREATE FUNCTION retention._first_record(metric text) RETURNS retention.population
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  first retention.population;
BEGIN
  SELECT p.* INTO first FROM retention.population p WHERE p.metric = _first_record.metric
  ORDER BY p.as_of, p.refresh_id LIMIT 1;
  PERFORM retention._reject_unless(FOUND, format('metric "%s" has never been refreshed', metric),
    format('CALL retention.refresh(%L);', metric), 'object_not_in_prerequisite_state');
  RETURN first;
END
$$;
COMMENT ON FUNCTION retention._first_record(text) IS
  'The earliest refresh, or backfilled state, that is recorded; an error when there is none.';

CREATE FUNCTION retention._record_past(
    settings retention.metric, before retention.population, as_of timestamptz, state regclass,
    frozen retention.population)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  report retention.collection_report := retention._read_metric(settings, as_of, state, frozen);
  written retention.write_report := retention._write_collected(settings, before, as_of, state);
BEGIN
  IF as_of < frozen.as_of THEN
    PERFORM retention._publish(settings, as_of, true, report, retention._settings(settings));
  END IF;
  RETURN written.transitions;
END
$$;
COMMENT ON FUNCTION retention._record_past(
  retention.metric, retention.population, timestamptz, regclass, retention.population) IS
  'One step of backfill_history: refreshes a table of its own as of a past moment; returns the '
  'number of moves.';

CREATE FUNCTION retention.backfill_history(
    metric text, "from" timestamptz, "to" timestamptz DEFAULT NULL, step interval DEFAULT '1 month')
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._require_metric(metric);
  first retention.population;
  before retention.population;
  moments timestamptz[];
  moment timestamptz;
  moves bigint := 0;
BEGIN
  PERFORM retention._lock_metric(metric);
  PERFORM retention._take_turn(metric);
  first := retention._first_record(metric);
  PERFORM retention._check_refresh(settings, NULL, "from");
  PERFORM retention._reject_unless("from" < first.as_of,
    format('history of metric "%s" is recorded from %s on: nothing to backfill from %s', metric,
           first.as_of, "from"));
  PERFORM retention._reject_unless("from" <= coalesce("to", "from"),
                                   format('the history to backfill ends on %s, before %s', "to",
                                          "from"));
  PERFORM retention._check_span('step', coalesce(step, '0'), 1);
  -- Steps in the calendar of the metric's zone.
  SELECT array_agg(past AT TIME ZONE settings.time_zone ORDER BY past) INTO moments
    FROM generate_series("from" AT TIME ZONE settings.time_zone,
                         least("to", first.as_of) AT TIME ZONE settings.time_zone, step) AS past
    WHERE past AT TIME ZONE settings.time_zone < first.as_of;
  CREATE TEMPORARY TABLE retention_backfill (LIKE retention.customer INCLUDING ALL) ON COMMIT DROP;
  -- The last step leads over to what is recorded already.
  FOREACH moment IN ARRAY moments || first.as_of LOOP
    moves := moves + retention._record_past(settings, before, moment, 'pg_temp.retention_backfill',
                                            first);
    SELECT p.* INTO before FROM retention.population p
    WHERE p.metric = settings.metric AND p.as_of = moment ORDER BY p.refresh_id DESC LIMIT 1;
  END LOOP;
  UPDATE retention.customer c
    SET previous_rfm_group = s.previous_rfm_group, rfm_group_changed_at = s.rfm_group_changed_at
    FROM pg_temp.retention_backfill s
    WHERE c.metric = settings.metric AND c.customer_id = s.customer_id AND c.rfm_group = s.rfm_group
      AND c.previous_rfm_group IS NULL AND c.rfm_group_changed_at = first.as_of
      AND (s.previous_rfm_group IS NOT NULL OR s.rfm_group_changed_at < first.as_of);
  DROP TABLE pg_temp.retention_backfill;
  RETURN moves;
END
$$;
COMMENT ON FUNCTION retention.backfill_history(text, timestamptz, timestamptz, interval) IS
  'Records past states from the orders, a step at a time, up to the first one that is recorded: '
  'population and rfm_change as if refresh had run then. Returns the number of moves written.';
-- Triggers on sources that concern events.

CREATE TRIGGER move_events_from AFTER UPDATE ON retention.metric
  FOR EACH ROW WHEN (OLD.time_zone <> NEW.time_zone) EXECUTE FUNCTION retention._move_events_from();
COMMENT ON TRIGGER move_events_from ON retention.metric IS
  'Has the same orders be news in another time zone.';
-- Fitted models, and what validation has found.

CREATE TABLE retention.fitted_model (
  fit_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric        text NOT NULL,
  as_of         timestamptz NOT NULL,
  purpose       text NOT NULL CHECK (purpose IN ('purchase', 'spend')),
  model         retention.model NOT NULL,
  chosen        boolean NOT NULL,
  duration      interval NOT NULL
);
CREATE INDEX fitted_model_metric ON retention.fitted_model (metric, as_of);
COMMENT ON TABLE retention.fitted_model IS 'Every fit of a model to a metric''s customers.';
COMMENT ON COLUMN retention.fitted_model.fit_id IS 'Number of the fit.';
COMMENT ON COLUMN retention.fitted_model.metric IS 'Metric whose customers it was fitted to.';
COMMENT ON COLUMN retention.fitted_model.as_of IS 'Clock of the refresh that fitted it.';
COMMENT ON COLUMN retention.fitted_model.purpose IS
  'purchase: when customers order; spend: for how much.';
COMMENT ON COLUMN retention.fitted_model.model IS
  'The model, with its parameters and how the fit went.';
COMMENT ON COLUMN retention.fitted_model.chosen IS
  'Whether predictions were made by it: of several purchase models, the likeliest one.';
COMMENT ON COLUMN retention.fitted_model.duration IS 'Time that the fit took.';

CREATE TABLE retention.published_model (
  metric     text PRIMARY KEY,
  as_of      timestamptz NOT NULL,
  settings   text NOT NULL,
  purchase   retention.model NOT NULL,
  spend      retention.model NOT NULL,
  confidence text NOT NULL CHECK (confidence IN ('high', 'medium', 'low')),
  is_off     boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE retention.published_model IS
  'The models that a metric''s predictions are made by, one row a metric. Written by refresh '
  'only.';
COMMENT ON COLUMN retention.published_model.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.published_model.as_of IS 'Clock of the refresh that fitted them.';
COMMENT ON COLUMN retention.published_model.settings IS
  'Fingerprint of the settings that they were fitted under.';
COMMENT ON COLUMN retention.published_model.purchase IS 'When customers order; times in days.';
COMMENT ON COLUMN retention.published_model.spend IS 'For how much they order.';
COMMENT ON COLUMN retention.published_model.confidence IS
  'Whether predictions can be relied on; readiness gives the reasons.';
COMMENT ON COLUMN retention.published_model.is_off IS
  'Whether the last back-test, by validate_model, was off by more than a third. Then churn_risk '
  'is null.';
SELECT pg_extension_config_dump('retention.fitted_model', '');
SELECT pg_extension_config_dump('retention.fitted_model_fit_id_seq', '');
SELECT pg_extension_config_dump('retention.published_model', '');

CREATE TABLE retention.validation (
  validation_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric          text NOT NULL,
  calibration_end timestamptz NOT NULL,
  holdout_end     timestamptz NOT NULL,
  validated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  customers       bigint NOT NULL,
  purchase        retention.model NOT NULL,
  spend           retention.model NOT NULL
);
CREATE INDEX validation_metric ON retention.validation (metric, validation_id);
COMMENT ON TABLE retention.validation IS
  'One row per run of validate_model: what was held out, and the models that predicted it.';
COMMENT ON COLUMN retention.validation.validation_id IS 'Number of the run.';
COMMENT ON COLUMN retention.validation.metric IS 'Metric whose models were validated.';
COMMENT ON COLUMN retention.validation.calibration_end IS 'The models knew orders up to then.';
COMMENT ON COLUMN retention.validation.holdout_end IS
  'The predictions were compared with orders up to then.';
COMMENT ON COLUMN retention.validation.validated_at IS 'Real time of the run.';
COMMENT ON COLUMN retention.validation.customers IS 'Customers with an order by calibration_end.';
COMMENT ON COLUMN retention.validation.purchase IS 'Purchase model, fitted as of calibration_end.';
COMMENT ON COLUMN retention.validation.spend IS 'Spend model, fitted as of calibration_end.';

CREATE TABLE retention.validation_result (
  validation_id bigint NOT NULL,
  section       text NOT NULL CHECK (section IN ('total', 'frequency', 'week', 'alive', 'order',
                                                 'measure')),
  number        integer NOT NULL,
  item          text NOT NULL,
  customers     bigint NOT NULL,
  actual        double precision,
  predicted     double precision,
  naive         double precision,
  PRIMARY KEY (validation_id, section, number)
);
COMMENT ON TABLE retention.validation_result IS
  'What the runs of validate_model found; model_validation shows the latest.';
COMMENT ON COLUMN retention.validation_result.validation_id IS 'Run in retention.validation.';
COMMENT ON COLUMN retention.validation_result.section IS
  'total; frequency: orders per customer by repeat purchase days; week: orders; alive, order: '
  'share who ordered, by p_alive and by order_probability; measure: of the error per customer.';
COMMENT ON COLUMN retention.validation_result.number IS 'Place of the item in its section.';
COMMENT ON COLUMN retention.validation_result.item IS
  'What was compared: a total, repeat purchase days, the first day of a week, a range of '
  'probabilities, or a measure.';
COMMENT ON COLUMN retention.validation_result.customers IS 'How many customers the row is about.';
COMMENT ON COLUMN retention.validation_result.actual IS
  'What happened in the holdout; null for measures, and where there are no customers.';
COMMENT ON COLUMN retention.validation_result.predicted IS
  'What the models predicted; for measures, that of their predictions.';
COMMENT ON COLUMN retention.validation_result.naive IS
  'The same for the rule that everybody does what they did in the period of equal length before.';

SELECT pg_extension_config_dump('retention.validation', '');
SELECT pg_extension_config_dump('retention.validation_validation_id_seq', '');
SELECT pg_extension_config_dump('retention.validation_result', '');
-- Fits a metric's models, and judges them by a back-test.

CREATE FUNCTION retention._local_date(at timestamptz, time_zone text) RETURNS date
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_local_date';
COMMENT ON FUNCTION retention._local_date(timestamptz, text) IS
  'The calendar day in a time zone, as AT TIME ZONE gives it.';

CREATE FUNCTION retention._double(amount numeric) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_double';
COMMENT ON FUNCTION retention._double(numeric) IS
  'An amount of up to 38 digits as a floating-point number, many times as fast as the cast.';

CREATE FUNCTION retention._fit(state retention.fit_state, kind text)
  RETURNS retention.model
  -- Parallel plans may have no part in it: it catches an error, which takes a subtransaction.
  LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fitted retention.model;
  weight double precision := 1;
BEGIN
  BEGIN
    fitted := retention.fit(state, kind);
  EXCEPTION WHEN invalid_parameter_value THEN
    NULL; -- too few customers, or all alike
  END;
  -- Without a maximum lean on customary parameters; also where the mean spend would be infinite.
  WHILE fitted.converged IS NOT TRUE AND weight < 1e6 OR kind = 'gammagamma'
    AND fitted.parameters[2] < 1.05 LOOP
    fitted := retention.fit(state, kind, weight);
    weight := weight * 10;
  END LOOP;
  RETURN fitted;
END
$$;
COMMENT ON FUNCTION retention._fit(retention.fit_state, text) IS
  'Fits by maximum likelihood, or with a prior where the likelihood has no maximum that can be '
  'used.';

CREATE FUNCTION retention._candidate_models(purchase_model text) RETURNS text[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  -- BG/NBD takes everybody who ordered once for alive: it is used only when asked for.
  RETURN CASE purchase_model WHEN 'auto' THEN '{mbgnbd,paretonbd}' ELSE ARRAY[purchase_model] END;
COMMENT ON FUNCTION retention._candidate_models(text) IS
  'The purchase models to fit for a setting of purchase_model.';

CREATE FUNCTION retention._fit_purchases(purchase_model text, state retention.fit_state)
  RETURNS TABLE (model retention.model, duration interval, chosen boolean)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kinds text[] := retention._candidate_models(purchase_model);
  fits retention.model[];
  durations interval[];
  started_at timestamptz;
BEGIN
  FOR i IN 1 .. cardinality(kinds) LOOP
    started_at := clock_timestamp();
    fits[i] := retention._fit(state, kinds[i]);
    durations[i] := clock_timestamp() - started_at;
  END LOOP;
  RETURN QUERY
    SELECT fits[i], durations[i], row_number() OVER (ORDER BY (fits[i]).penalty,
                                                     (fits[i]).log_likelihood DESC) = 1
    FROM generate_subscripts(kinds, 1) AS i ORDER BY i;
END
$$;
COMMENT ON FUNCTION retention._fit_purchases(text, retention.fit_state) IS
  'Fits the purchase models that a setting of purchase_model asks for, and chooses the likeliest.';

CREATE FUNCTION retention._fit_spend(
    state retention.fit_state, mean_value double precision)
  RETURNS retention.model
  LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fitted retention.model;
BEGIN
  IF state IS NOT NULL THEN
    RETURN retention._fit(state, 'gammagamma');
  END IF;
  -- Nobody has come back: customary shapes, and the mean of the first purchase days.
  fitted := retention.make_model('gammagamma', ARRAY[4, 4, greatest(mean_value, 1e-6) * 3 / 4]);
  fitted.n := 0;
  fitted.converged := false;
  RETURN fitted;
END
$$;
COMMENT ON FUNCTION retention._fit_spend(retention.fit_state, double precision) IS
  'Fits the spend model; without data, makes one of the mean value of a purchase day.';

CREATE FUNCTION retention._back_test(
    metric text, OUT until text, OUT predicted numeric, OUT actual numeric, OUT off_by numeric,
    OUT tolerance numeric, OUT is_off boolean)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  tolerance := 0.33;
  SELECT to_char(v.holdout_end AT TIME ZONE m.time_zone, 'YYYY-MM-DD'), round(r.predicted::numeric),
         r.actual::numeric
    INTO until, predicted, actual
    FROM retention.validation v
    JOIN retention.metric m ON m.metric = v.metric
      AND m.purchase_model IN ('auto', (v.purchase).kind)
    JOIN retention.validation_result r USING (validation_id)
    WHERE v.validation_id = (SELECT max(l.validation_id) FROM retention.validation l
                             WHERE l.metric = _back_test.metric)
      AND (r.section, r.item) = ('total', 'orders');
  off_by := round(abs(predicted - actual) / greatest(actual, 1), 2);
  is_off := off_by > tolerance;
END
$$;
COMMENT ON FUNCTION retention._back_test(text) IS
  'The orders of a metric''s last validate_model, where it was of a model that its settings '
  'allow; nulls: there is none. Whether they were off by more than is tolerated.';

CREATE FUNCTION retention._readiness(settings retention.metric, as_of timestamptz)
  RETURNS TABLE (requirement text, needed numeric, found numeric, met boolean)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT gate.requirement, gate.needed, gate.found,
         coalesce(CASE WHEN gate.at_most THEN gate.found <= gate.needed
                  ELSE gate.found >= gate.needed END, false)
  FROM retention._last_refresh(settings.metric) AS found,
       LATERAL (SELECT retention._local_date(_readiness.as_of,
                                             (_readiness.settings).time_zone) AS today) AS clock,
       LATERAL (SELECT today - retention._local_date(found.first_order_at,
                                                     settings.time_zone) AS history,
                       today - retention._local_date(found.last_order_at,
                                                     settings.time_zone) AS silence) AS days,
       (SELECT count(*) FILTER (WHERE (model).converged AND (model).penalty = 0) AS models
        FROM retention.published_model p, unnest(ARRAY[p.purchase, p.spend]) AS model
        WHERE p.metric = settings.metric) AS fits,
       LATERAL (VALUES ('customers with an order', 500::numeric,
                        coalesce(found.customers, 0)::numeric, false),
                       ('days since the first order', 180, days.history, false),
                       ('days since the last order, at most', 30, days.silence, true),
                       ('orders of the most frequent customer', 3, found.most_orders, false),
                       ('models fitted to the orders alone', 2, fits.models, false))
         AS gate (requirement, needed, found, at_most)
  UNION ALL
  SELECT format('back-test up to %s, %s orders predicted and %s came: off by a third at most',
                b.until, b.predicted, b.actual),
         b.tolerance, b.off_by, NOT b.is_off
  FROM retention._back_test((_readiness.settings).metric) AS b WHERE b.until IS NOT NULL
$$;
COMMENT ON FUNCTION retention._readiness(retention.metric, timestamptz) IS
  'The rows of readiness as of a moment, from what the last refresh found.';

CREATE FUNCTION retention._confidence(settings retention.metric, as_of timestamptz)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN bool_and(met) THEN 'high'
              WHEN count(*) FILTER (WHERE NOT met) <= 2 AND bool_and(met)
                FILTER (WHERE requirement ~ '^(models|back-test) ') THEN 'medium'
              ELSE 'low' END
  FROM retention._readiness(settings, as_of)
$$;
COMMENT ON FUNCTION retention._confidence(retention.metric, timestamptz) IS
  'high: every requirement of readiness is met; medium: all but two, and the models are fitted, '
  'and right by their last back-test; low: else.';

CREATE FUNCTION retention._judge_models(
    settings retention.metric, as_of timestamptz, was_off boolean)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  test record := retention._back_test(settings.metric);
  now_off boolean := coalesce(test.is_off, false);
BEGIN
  UPDATE retention.published_model p SET confidence = fresh.confidence, is_off = now_off
    FROM (SELECT retention._confidence(settings, as_of) AS confidence) AS fresh
    WHERE p.metric = settings.metric AND (p.confidence, p.is_off) <> (fresh.confidence, now_off);
  IF now_off IS DISTINCT FROM coalesce(was_off, false) THEN
    -- Nobody has gained or lost a risk by what they did.
    PERFORM retention._mark_settings();
  END IF;
  IF now_off AND was_off IS NOT TRUE THEN
    RAISE WARNING 'metric "%": its models are off: of the orders up to % they had predicted %, and '
                  '% came',
        settings.metric, test.until, test.predicted, test.actual
      USING HINT = 'churn_risk is null until validate_model finds them right; docs/models.md tells '
                   'when models mislead.';
  END IF;
END
$$;
COMMENT ON FUNCTION retention._judge_models(retention.metric, timestamptz, boolean) IS
  'Says of the published models how far to rely on them, and warns, once, where their back-test '
  'was off by more than a third.';

CREATE FUNCTION retention._history_states(
    settings retention.metric, as_of timestamptz, share bigint,
    OUT customers bigint, OUT purchases retention.fit_state, OUT spends retention.fit_state,
    OUT mean_value double precision)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT count(*), retention.fit_state('mbgnbd', x, t_x, t),
         retention.fit_state('gammagamma', x, m) FILTER (WHERE x > 0),
         sum(revenue) / sum(x + 1)
  FROM (SELECT c.purchase_days - 1 AS x, recency.t_x,
               greatest(retention._local_date(as_of, settings.time_zone)
                        - retention._local_date(c.first_order_at, settings.time_zone),
                        recency.t_x) AS t,
               retention._double(c.repeat_value) AS m, retention._double(c.revenue) AS revenue
        FROM retention.customer c,
             LATERAL (SELECT coalesce(round(c.average_days_between_orders * (c.purchase_days - 1)),
                                      0) AS t_x) AS recency
        WHERE c.metric = settings.metric
          -- Ten million customers say all that parameters depend on; a state has to fit into 1 GB.
          AND (share = 1 OR hashtextextended(c.customer_id, 0) % share = 0)) AS history
$$;
COMMENT ON FUNCTION retention._history_states(retention.metric, timestamptz, bigint) IS
  'What a metric''s models are fitted to, as of a moment, in one scan of its customers: of all, '
  'or of one in `share`.';

CREATE FUNCTION retention._fit_models(
    settings retention.metric, as_of timestamptz, fingerprint text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  share bigint := ceil(greatest((retention._last_refresh(settings.metric)).customers, 1) / 1e7);
  states record;
  started_at timestamptz;
  purchase retention.model;
  spend retention.model;
BEGIN
  DELETE FROM retention.published_model p WHERE p.metric = settings.metric;
  SELECT * INTO states FROM retention._history_states(settings, as_of, share);
  IF states.customers = 0 THEN
    RETURN;
  END IF;
  WITH fitted AS (
    INSERT INTO retention.fitted_model (metric, as_of, purpose, model, duration, chosen)
    SELECT settings.metric, as_of, 'purchase', f.*
    FROM retention._fit_purchases(settings.purchase_model, states.purchases) AS f
    RETURNING model, chosen)
  SELECT (model).* INTO purchase FROM fitted WHERE chosen;
  started_at := clock_timestamp();
  spend := retention._fit_spend(states.spends, states.mean_value);
  INSERT INTO retention.fitted_model (metric, as_of, purpose, model, duration, chosen)
    VALUES (settings.metric, as_of, 'spend', spend, clock_timestamp() - started_at, true);
  INSERT INTO retention.published_model VALUES (settings.metric, as_of, fingerprint, purchase,
                                                spend, 'low');
  PERFORM retention._tell(format('metric "%s": model %s fitted to %s customers, %s to %s of them',
                                 settings.metric, purchase.kind, purchase.n, spend.kind, spend.n));
END
$$;
COMMENT ON FUNCTION retention._fit_models(retention.metric, timestamptz, text) IS
  'Fits a metric''s models to its customers as of a moment, records the fits, and publishes the '
  'chosen ones.';

CREATE FUNCTION retention._refresh_models(settings retention.metric, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- The refresh has just published the fingerprint of the rest.
  fingerprint text := md5(settings.purchase_model
                          || (retention._last_refresh(settings.metric)).settings);
  was_off boolean := (SELECT p.is_off FROM retention.published_model p
                      WHERE p.metric = settings.metric);
BEGIN
  IF NOT EXISTS (SELECT FROM retention.published_model p
                 WHERE p.metric = settings.metric AND p.settings = fingerprint
                   AND p.as_of + settings.refit_interval > _refresh_models.as_of) THEN
    IF EXISTS (SELECT FROM retention.published_model p
               WHERE p.metric = settings.metric AND p.settings <> fingerprint) THEN
      PERFORM retention._mark_settings();
    END IF;
    PERFORM retention._fit_models(settings, as_of, fingerprint);
  END IF;
  PERFORM retention._judge_models(settings, as_of, was_off);
END
$$;
COMMENT ON FUNCTION retention._refresh_models(retention.metric, timestamptz) IS
  'Fits the models when they are older than the refit interval or the settings have changed, and '
  'judges them.';
-- Validates models on orders held out.

CREATE VIEW retention.model_validation AS
  SELECT v.metric, v.calibration_end, v.holdout_end, (v.purchase).kind AS model,
         s.section, s.number, s.item, s.customers, s.actual, s.predicted, s.naive
  FROM retention.validation v JOIN retention.validation_result s USING (validation_id)
  WHERE v.validation_id = (SELECT max(l.validation_id) FROM retention.validation l
                           WHERE l.metric = v.metric)
  ORDER BY v.metric, array_position('{total,frequency,week,alive,order,measure}', s.section),
    s.number;
COMMENT ON VIEW retention.model_validation IS
  'Each metric''s latest run of validate_model: what happened in the holdout, what the models '
  'predicted, and what the naive rule "same as last period" did.';
COMMENT ON COLUMN retention.model_validation.metric IS 'Metric whose models were validated.';
COMMENT ON COLUMN retention.model_validation.calibration_end IS
  'The models knew orders up to then.';
COMMENT ON COLUMN retention.model_validation.holdout_end IS
  'The predictions were compared with orders up to then.';
COMMENT ON COLUMN retention.model_validation.model IS 'Name of the purchase model.';
COMMENT ON COLUMN retention.model_validation.section IS
  'total; frequency: orders per customer by repeat purchase days; week: orders; alive, order: '
  'share who ordered, by p_alive and by order_probability; measure: of the error per customer.';
COMMENT ON COLUMN retention.model_validation.number IS 'Place of the item in its section.';
COMMENT ON COLUMN retention.model_validation.item IS
  'What was compared: a total, repeat purchase days, the first day of a week, a range of '
  'probabilities, or a measure.';
COMMENT ON COLUMN retention.model_validation.customers IS 'How many customers the row is about.';
COMMENT ON COLUMN retention.model_validation.actual IS
  'What happened in the holdout; null for measures, and where there are no customers.';
COMMENT ON COLUMN retention.model_validation.predicted IS
  'What the models predicted; for measures, that of their predictions.';
COMMENT ON COLUMN retention.model_validation.naive IS
  'The same for the rule that everybody does what they did in the period of equal length before.';

CREATE FUNCTION retention._local_days(
    settings retention.metric, "from" timestamptz, "to" timestamptz)
  RETURNS integer
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN retention._local_date("to", (settings).time_zone) - retention._local_date("from",
      (settings).time_zone);
COMMENT ON FUNCTION retention._local_days(retention.metric, timestamptz, timestamptz) IS
  'Days between two moments in the calendar of the metric''s zone.';

CREATE FUNCTION retention._check_validation(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(isfinite(calibration_end) AND isfinite(holdout_end),
    format('calibration_end and holdout_end must be finite times, not %s and %s',
           coalesce(calibration_end::text, 'null'), coalesce(holdout_end::text, 'null')));
  PERFORM retention._reject_unless(calibration_end < holdout_end,
    format('calibration_end %s must lie before holdout_end %s', calibration_end, holdout_end),
    'The models are fitted to the orders up to calibration_end, and compared with those from then '
    'to holdout_end.');
  PERFORM retention._reject_unless(retention._local_days(settings, calibration_end,
                                                         holdout_end) > 0,
    format('the holdout from %s to %s is shorter than a day', calibration_end, holdout_end));
  PERFORM retention._reject_unless(holdout_end <= retention.now(),
    format('holdout_end %s lies after retention.now(), which is %s', holdout_end, retention.now()),
    'Only what has happened can be compared with a prediction.');
  PERFORM retention._check_refresh(settings, NULL, calibration_end);
END
$$;
COMMENT ON FUNCTION retention._check_validation(retention.metric, timestamptz, timestamptz) IS
  'Rejects a validation that cannot be done, with the reason.';

CREATE FUNCTION retention._customers_at(
    settings retention.metric, as_of timestamptz, history_start timestamptz)
  RETURNS TABLE (
    customer_id text, purchase_days integer, first_order_at timestamptz, last_order_at timestamptz,
    revenue numeric, repeat_value numeric)
  LANGUAGE plpgsql ROWS 100000 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  settings.history := (as_of AT TIME ZONE settings.time_zone) - (history_start
      AT TIME ZONE settings.time_zone);
  PERFORM retention._read_metric(settings, as_of, NULL, NULL);
  RETURN QUERY
    SELECT customer_id, purchase_days, first_order_at, last_order_at, revenue, repeat_value
    FROM retention._collected(NULL, NULL);
END
$$;
COMMENT ON FUNCTION retention._customers_at(retention.metric, timestamptz, timestamptz) IS
  'Every customer as of a moment, by the orders from history_start on, so that what customers '
  'gain from one moment to another is what they ordered between.';

CREATE FUNCTION retention._read_calibration(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz,
    history_start timestamptz)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_customers bigint;
  local_end timestamp := calibration_end AT TIME ZONE settings.time_zone;
  period_start timestamptz := (local_end - ((holdout_end
                                             AT TIME ZONE settings.time_zone) - local_end))
                                               AT TIME ZONE settings.time_zone;
BEGIN
  CREATE TEMPORARY TABLE retention_calibration ON COMMIT DROP AS
    SELECT c.customer_id, c.purchase_days, c.revenue,
           (c.purchase_days - 1)::double precision AS x,
           retention._local_days(settings, c.first_order_at,
                                 c.last_order_at)::double precision AS t_x,
           retention._local_days(settings, c.first_order_at,
                                 calibration_end)::double precision AS t,
           c.repeat_value::double precision AS m,
           greatest(c.purchase_days - coalesce(b.purchase_days, 0),
                    0)::double precision AS naive_orders,
           c.revenue - coalesce(b.revenue, 0) AS naive_revenue
    FROM retention._customers_at(settings, calibration_end, history_start) AS c
    LEFT JOIN retention._customers_at(settings, period_start, history_start) AS b
      USING (customer_id);
  GET DIAGNOSTICS found_customers = ROW_COUNT;
  PERFORM retention._reject_unless(found_customers > 0,
    format('metric "%s" has no customers on %s', settings.metric, calibration_end),
    'Choose a calibration_end which many orders lie before.', 'no_data_found');
  RETURN found_customers;
END
$$;
COMMENT ON FUNCTION retention._read_calibration(
  retention.metric, timestamptz, timestamptz, timestamptz) IS
  'Makes retention_calibration: what is known of customers at calibration_end, and what they did '
  'in the period before; returns their number.';

CREATE FUNCTION retention._calibrate_purchase(settings retention.metric)
  RETURNS retention.model
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  state retention.fit_state := (SELECT retention.fit_state('mbgnbd', c.x, c.t_x, c.t)
                                FROM pg_temp.retention_calibration c);
BEGIN
  RETURN (SELECT f.model FROM retention._fit_purchases(settings.purchase_model, state) AS f
          WHERE f.chosen);
END
$$;
COMMENT ON FUNCTION retention._calibrate_purchase(retention.metric) IS
  'The purchase model that a refresh at calibration_end would have published.';

CREATE FUNCTION retention._calibrate_spend() RETURNS retention.model
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT retention._fit_spend(retention.fit_state('gammagamma', c.x, c.m)
                                      FILTER (WHERE c.x > 0),
                                      (sum(c.revenue) / sum(c.purchase_days))::double precision)
          FROM pg_temp.retention_calibration c);
END
$$;
COMMENT ON FUNCTION retention._calibrate_spend() IS
  'The spend model that a refresh at calibration_end would have published.';

CREATE FUNCTION retention._read_holdout(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz,
    history_start timestamptz,
    purchase retention.model, spend retention.model)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  horizon integer := retention._local_days(settings, calibration_end, holdout_end);
BEGIN
  CREATE TEMPORARY TABLE retention_holdout ON COMMIT DROP AS
    SELECT c.customer_id, c.x, c.naive_orders, c.naive_revenue,
           (c.naive_orders > 0)::integer::double precision AS naive_probability,
           gained.orders, coalesce(h.revenue, 0) - c.revenue AS revenue,
           (gained.orders > 0)::integer::double precision AS ordered,
           retention.p_alive(purchase, c.x, c.t_x, c.t) AS p_alive,
           retention.order_probability(purchase, c.x, c.t_x, c.t, horizon) AS order_probability,
           retention.expected_orders(purchase, c.x, c.t_x, c.t, horizon) AS expected_orders,
           retention.expected_spend(spend, c.x, c.m) AS expected_spend
    FROM pg_temp.retention_calibration c
    LEFT JOIN retention._customers_at(settings, holdout_end, history_start) AS h USING (customer_id)
    CROSS JOIN LATERAL (SELECT greatest(h.purchase_days - c.purchase_days,
                                        0)::double precision AS orders) AS gained;
END
$$;
COMMENT ON FUNCTION retention._read_holdout(
  retention.metric, timestamptz, timestamptz, timestamptz, retention.model, retention.model) IS
  'Makes retention_holdout: what the customers of retention_calibration did up to holdout_end, '
  'and what the models predicted.';

CREATE FUNCTION retention._validate_totals() RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    SELECT NULL::bigint, 'total', item.number, item.name, found.customers, item.actual,
           item.predicted, item.naive
    FROM (SELECT count(*) AS customers,
                 sum(h.orders) AS orders, sum(h.expected_orders) AS expected_orders,
                 sum(h.naive_orders) AS naive_orders,
                 sum(h.revenue)::double precision AS revenue,
                 sum(h.expected_orders * h.expected_spend) AS expected_revenue,
                 sum(h.naive_revenue)::double precision AS naive_revenue,
                 sum(h.ordered) AS ordered, sum(h.order_probability) AS expected,
                 sum(h.naive_probability) AS naive
          FROM pg_temp.retention_holdout h) AS found,
         LATERAL (VALUES (1, 'orders', found.orders, found.expected_orders, found.naive_orders),
                         (2, 'revenue', found.revenue, found.expected_revenue, found.naive_revenue),
                         (3, 'customers who order', found.ordered, found.expected, found.naive))
           AS item (number, name, actual, predicted, naive);
END
$$;
COMMENT ON FUNCTION retention._validate_totals() IS 'Section total of a validation.';

CREATE FUNCTION retention._validate_frequency() RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    SELECT NULL::bigint, 'frequency', class + 1, concat(class, CASE WHEN class = 7 THEN '+' END),
           count(h.x),
           avg(h.orders), avg(h.expected_orders), avg(h.naive_orders)
    FROM generate_series(0, 7) AS class
    LEFT JOIN pg_temp.retention_holdout h ON least(h.x, 7) = class
    GROUP BY class;
END
$$;
COMMENT ON FUNCTION retention._validate_frequency() IS 'Section frequency of a validation.';

CREATE FUNCTION retention._validation_weeks(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz,
    OUT number integer, OUT ends_at timestamptz, OUT days integer)
  RETURNS SETOF record
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT week, CASE WHEN week * 7 < whole THEN (calibration_end
                                                AT TIME ZONE zone + week * interval '7 days')
                                                  AT TIME ZONE zone
                    ELSE holdout_end END,
         least(week * 7, whole)
  FROM (SELECT (settings).time_zone AS zone, retention._local_days(settings, calibration_end,
      holdout_end) AS whole) AS holdout,
       generate_series(1, (whole + 6) / 7) AS week
$$;
COMMENT ON FUNCTION retention._validation_weeks(retention.metric, timestamptz, timestamptz) IS
  'The weeks of a holdout: when they end, and how many days after calibration_end. The last one '
  'may be shorter.';

CREATE FUNCTION retention._validate_weeks(
    settings retention.metric, calibration_end timestamptz, holdout_end timestamptz,
    history_start timestamptz, purchase retention.model)
  RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  first_day date := retention._local_date(calibration_end, settings.time_zone);
  naive_per_day double precision := (SELECT sum(c.naive_orders)
                                     FROM pg_temp.retention_calibration c)
    / retention._local_days(settings, calibration_end, holdout_end);
BEGIN
  RETURN QUERY
    SELECT NULL::bigint, 'week', w.number, to_char(first_day + 7 * (w.number - 1), 'YYYY-MM-DD'),
           expected.customers,
           gained.orders - lag(gained.orders, 1, 0::double precision) OVER week,
           expected.orders - lag(expected.orders, 1, 0::double precision) OVER week,
           naive_per_day * (w.days - lag(w.days, 1, 0) OVER week)
    FROM retention._validation_weeks(settings, calibration_end, holdout_end) AS w,
         LATERAL (SELECT coalesce(sum(greatest(h.purchase_days - c.purchase_days, 0)),
                                  0)::double precision AS orders
                  FROM retention._customers_at(settings, w.ends_at, history_start) AS h
                  JOIN pg_temp.retention_calibration c USING (customer_id)) AS gained,
         LATERAL (SELECT count(*) AS customers,
                         sum(retention.expected_orders(purchase, c.x, c.t_x, c.t, w.days)) AS orders
                  FROM pg_temp.retention_calibration c) AS expected
    WINDOW week AS (ORDER BY w.number);
END
$$;
COMMENT ON FUNCTION retention._validate_weeks(
  retention.metric, timestamptz, timestamptz, timestamptz, retention.model) IS
  'Section week of a validation. Reads the sources as of each week''s end.';

CREATE FUNCTION retention._validate_probabilities()
  RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    SELECT NULL::bigint, listed.section, listed.bin,
           concat(round((listed.bin - 1) / 10.0, 1), '-', round(listed.bin / 10.0, 1)),
           coalesce(found.customers, 0), found.actual, found.predicted, found.naive
    FROM (SELECT section, bin
          FROM unnest('{alive,order}'::text[]) AS section, generate_series(1, 10) AS bin) AS listed
    LEFT JOIN (
      SELECT p.section, p.bin, count(*) AS customers, avg(h.ordered) AS actual,
             avg(p.probability) AS predicted, avg(h.naive_probability) AS naive
      FROM pg_temp.retention_holdout h,
           LATERAL (SELECT v.section, v.probability,
                           least(floor(v.probability * 10), 9)::integer + 1 AS bin
                    FROM (VALUES ('alive', h.p_alive),
                          ('order', h.order_probability)) AS v (section, probability)) AS p
      GROUP BY p.section, p.bin) AS found USING (section, bin);
END
$$;
COMMENT ON FUNCTION retention._validate_probabilities() IS
  'Sections alive and order of a validation: ten ranges of each probability.';

CREATE FUNCTION retention._validate_measures() RETURNS SETOF retention.validation_result
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    WITH scored AS (
      SELECT p.rule, p.probability, sum(h.ordered) AS positive, sum(1 - h.ordered) AS negative
      FROM pg_temp.retention_holdout h,
           LATERAL (VALUES ('predicted', h.order_probability),
                    ('naive', h.naive_probability)) AS p (rule, probability)
      GROUP BY p.rule, p.probability),
    ranked AS (
      -- Of two customers with equal probabilities, each counts as the likelier one by half.
      SELECT s.rule, s.positive, s.negative, sum(s.negative) OVER (PARTITION BY s.rule
          ORDER BY s.probability) - s.negative / 2 AS outranked
      FROM scored s),
    auc AS (
      SELECT r.rule, sum(r.positive * r.outranked) / nullif(sum(r.positive) * sum(r.negative),
                                                            0) AS area
      FROM ranked r GROUP BY r.rule)
    SELECT NULL::bigint, 'measure', item.number, item.name, found.customers, NULL::double precision,
           item.predicted, item.naive
    FROM (SELECT count(*) AS customers,
                 avg(abs(h.expected_orders - h.orders)) AS mae,
                 avg(abs(h.naive_orders - h.orders)) AS naive_mae,
                 sqrt(avg((h.expected_orders - h.orders) ^ 2)) AS rmse,
                 sqrt(avg((h.naive_orders - h.orders) ^ 2)) AS naive_rmse,
                 avg(h.expected_orders - h.orders) AS bias,
                 avg(h.naive_orders - h.orders) AS naive_bias,
                 avg((h.order_probability - h.ordered) ^ 2) AS brier,
                 avg((h.naive_probability - h.ordered) ^ 2) AS naive_brier
          FROM pg_temp.retention_holdout h) AS found,
         LATERAL (VALUES (1, 'MAE', found.mae, found.naive_mae),
                         (2, 'RMSE', found.rmse, found.naive_rmse),
                         (3, 'bias', found.bias, found.naive_bias),
                         (4, 'Brier score', found.brier, found.naive_brier),
                         (5, 'AUC', (SELECT a.area FROM auc a WHERE a.rule = 'predicted'),
                          (SELECT a.area FROM auc a WHERE a.rule = 'naive')))
           AS item (number, name, predicted, naive);
END
$$;
COMMENT ON FUNCTION retention._validate_measures() IS 'Section measure of a validation.';

CREATE FUNCTION retention.validate_model(
    metric text, calibration_end timestamptz, holdout_end timestamptz DEFAULT retention.now())
  RETURNS TABLE (
    section text, number integer, item text, customers bigint,
    actual double precision, predicted double precision, naive double precision)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  settings retention.metric := retention._require_metric(metric);
  history_start timestamptz := retention._history_start(settings, calibration_end);
  found_customers bigint;
  purchase retention.model;
  spend retention.model;
  new_id bigint;
BEGIN
  PERFORM retention._check_validation(settings, calibration_end, holdout_end);
  found_customers := retention._read_calibration(settings, calibration_end, holdout_end,
                                                 history_start);
  purchase := retention._calibrate_purchase(settings);
  spend := retention._calibrate_spend();
  PERFORM retention._read_holdout(settings, calibration_end, holdout_end, history_start, purchase,
                                  spend);
  INSERT INTO retention.validation (metric, calibration_end, holdout_end, customers, purchase,
                                    spend)
    VALUES (settings.metric, calibration_end, holdout_end, found_customers, purchase, spend)
    RETURNING validation_id INTO new_id;
  INSERT INTO retention.validation_result
    SELECT new_id, s.section, s.number, s.item, s.customers, s.actual, s.predicted, s.naive
    FROM (SELECT * FROM retention._validate_totals()
          UNION ALL SELECT * FROM retention._validate_frequency()
          UNION ALL SELECT *
            FROM retention._validate_weeks(settings, calibration_end, holdout_end, history_start,
                                           purchase)
          UNION ALL SELECT * FROM retention._validate_probabilities()
          UNION ALL SELECT * FROM retention._validate_measures()) AS s;
  DROP TABLE pg_temp.retention_calibration, pg_temp.retention_holdout;
  RETURN QUERY
    SELECT v.section, v.number, v.item, v.customers, v.actual, v.predicted, v.naive
    FROM retention.model_validation v WHERE v.metric = settings.metric;
END
$$;
COMMENT ON FUNCTION retention.validate_model(text, timestamptz, timestamptz) IS
  'Fits the metric''s models to the orders up to calibration_end, predicts those from then to '
  'holdout_end, and compares with what happened and with the naive rule "same as last period". '
  'Keeps the result, which model_validation shows.';
-- How many have churned, in the past.

CREATE FUNCTION retention._customer_rows(settings retention.metric, customer_id text)
  RETURNS TABLE (is_refund boolean, at timestamptz, amount numeric, order_id text)
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.kind = 'refund', q.*
  FROM retention.source s,
       retention._query_of(s.relation,
         format('SELECT s.at, s.amount, %s FROM (%s) AS s (customer_id, at, amount%s) WHERE %s',
           CASE WHEN s.order_id IS NULL THEN 'NULL::text' ELSE 's.order_id::text' END,
           retention._keyed_source_query(s, (settings).time_zone,
                                         ARRAY[_customer_rows.customer_id]),
           CASE WHEN s.order_id IS NOT NULL THEN ', order_id' END,
           retention._readable_condition('at', 'amount'))) AS q (at timestamptz, amount numeric,
               order_id text)
  WHERE s.metric = (settings).metric
$$;
COMMENT ON FUNCTION retention._customer_rows(retention.metric, text) IS
  'One customer''s rows of all of a metric''s sources.';

CREATE FUNCTION retention._purchase_days(
    settings retention.metric, customer_id text, as_of timestamptz)
  RETURNS date[]
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH line AS (
    SELECT r.is_refund, r.at, CASE WHEN r.is_refund THEN -abs(r.amount) ELSE r.amount END AS amount,
           r.order_id,
           CASE WHEN r.order_id IS NULL THEN row_number() OVER () END AS single_order
    FROM retention._customer_rows(settings, customer_id) AS r
    WHERE r.at <= as_of AND r.at >= coalesce(retention._history_start(settings, as_of),
                                             '-infinity')),
  purchase AS (
    SELECT min(at) FILTER (WHERE NOT is_refund) AS at FROM line GROUP BY order_id, single_order
    HAVING sum(amount) > 0),
  purchase_day AS (
    SELECT DISTINCT (at AT TIME ZONE (settings).time_zone)::date AS day FROM purchase
    WHERE at IS NOT NULL)
  SELECT array_agg(day ORDER BY day) FROM purchase_day
$$;
COMMENT ON FUNCTION retention._purchase_days(retention.metric, text, timestamptz) IS
  'A customer''s days with an order of a net amount above zero, ascending, from the sources; null '
  'when there are none.';

CREATE FUNCTION retention.churn_history(customer_id text, metric text DEFAULT 'orders')
  RETURNS TABLE (day date, x integer, days_since_last_order integer, p_alive double precision)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  settings retention.metric := retention._require_metric(metric);
  as_of timestamptz := retention.now();
  purchase retention.model := (SELECT p.purchase FROM retention.published_model p
                               WHERE p.metric = settings.metric);
  days date[];
BEGIN
  PERFORM retention._check_refresh(settings, NULL, as_of);
  PERFORM retention._reject_unless((purchase).kind IS NOT NULL,
                                   format('metric "%s" has no purchase model', metric),
    format('CALL retention.refresh(%L);', metric), 'object_not_in_prerequisite_state');
  days := retention._purchase_days(settings, customer_id, as_of);
  PERFORM retention._reject_unless(days IS NOT NULL,
    format('customer %s has no orders in metric "%s"', coalesce('"' || customer_id || '"', 'null'),
           metric),
    'Only orders with a net amount above zero count.', 'no_data_found');
  RETURN QUERY
    SELECT d.day, d.x, d.day - d.last_day, retention.p_alive(purchase, d.x, d.last_day - days[1],
        d.day - days[1])
    FROM (SELECT days[1] + age AS day, (count(b.day) OVER past)::integer - 1 AS x,
                 max(b.day) OVER past AS last_day
          FROM generate_series(0, retention._local_date(as_of, settings.time_zone) - days[1]) AS age
          LEFT JOIN unnest(days) AS b (day) ON b.day = days[1] + age
          WINDOW past AS (ORDER BY age)) AS d
    ORDER BY d.day;
END
$$;
COMMENT ON FUNCTION retention.churn_history(text, text) IS
  'A customer''s probability to be alive at the end of each day from the first order to today, by '
  'the metric''s present purchase model and the orders of the sources, less refunds.';
-- The profile: a row per customer, with everything that is known and predicted.

CREATE FUNCTION retention._p_alive(
    purchase retention.model, purchase_days integer, average_days double precision,
    first_order_at timestamptz, time_zone text)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_p_alive';
COMMENT ON FUNCTION retention._p_alive(
  retention.model, integer, double precision, timestamptz, text) IS
  'p_alive of a stored customer.';

CREATE FUNCTION retention._expected_orders(
    purchase retention.model, purchase_days integer, average_days double precision,
    first_order_at timestamptz, time_zone text, days integer)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_expected_orders';
COMMENT ON FUNCTION retention._expected_orders(
  retention.model, integer, double precision, timestamptz, text, integer) IS
  'expected_orders of a stored customer.';

CREATE FUNCTION retention._order_probability(
    purchase retention.model, purchase_days integer, average_days double precision,
    first_order_at timestamptz, time_zone text, days integer)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_order_probability';
COMMENT ON FUNCTION retention._order_probability(
  retention.model, integer, double precision, timestamptz, text, integer) IS
  'order_probability of a stored customer.';

CREATE FUNCTION retention._clv(
    purchase retention.model, purchase_days integer, average_days double precision,
    first_order_at timestamptz, time_zone text, days integer,
    spend retention.model, discount double precision, repeat_value numeric)
  RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_clv';
COMMENT ON FUNCTION retention._clv(
  retention.model, integer, double precision, timestamptz, text, integer, retention.model,
  double precision, numeric) IS
  'clv of a stored customer.';

CREATE FUNCTION retention._next_order_days(
    purchase retention.model, purchase_days integer, average_days double precision,
    quantile double precision)
  RETURNS integer
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_profile_next_order_days';
COMMENT ON FUNCTION retention._next_order_days(
  retention.model, integer, double precision, double precision) IS
  'Whole days from the last order of a stored customer to the next one, at most a hundred years.';

CREATE VIEW retention.profile AS
  -- The joins are to unique keys: the planner leaves them out where no column needs them.
  SELECT c.metric, c.customer_id,
         c.revenue AS historic_clv,
         retention._clv(p.purchase, c.purchase_days, c.average_days_between_orders,
                        c.first_order_at, s.time_zone,
                        s.prediction_window, p.spend, s.discount_rate,
                        c.repeat_value) AS predicted_clv,
         retention._double(c.revenue)
           + retention._clv(p.purchase, c.purchase_days, c.average_days_between_orders,
                            c.first_order_at, s.time_zone,
                            s.prediction_window, p.spend, s.discount_rate,
                            c.repeat_value) AS total_clv,
         c.orders AS historic_number_of_orders,
         retention._expected_orders(p.purchase, c.purchase_days, c.average_days_between_orders,
                                    c.first_order_at, s.time_zone,
                                    s.prediction_window) AS predicted_number_of_orders,
         c.average_order_value,
         c.average_days_between_orders,
         c.days_between_orders_sd,
         1 - retention._p_alive(p.purchase, c.purchase_days, c.average_days_between_orders,
                                c.first_order_at, s.time_zone) AS churn_probability,
         CASE WHEN NOT p.is_off THEN ('{low,medium,high}'::text[])[1 + width_bucket(
           1 - retention._p_alive(p.purchase, c.purchase_days, c.average_days_between_orders,
                                  c.first_order_at, s.time_zone),
           s.churn_levels)] END AS churn_risk,
         retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders,
                                        0.5) AS expected_date_of_next_order,
         retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders,
                                        0.1) AS next_order_earliest,
         retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders,
                                        0.9) AS next_order_latest,
         retention._local_date(retention.now(),
                               s.time_zone) > retention._local_date(c.last_order_at, s.time_zone)
           + retention._next_order_days(p.purchase, c.purchase_days, c.average_days_between_orders,
                                        0.9) AS overdue,
         c.purchase_days,
         c.first_order_at,
         c.last_order_at,
         retention._local_date(retention.now(),
                               s.time_zone) - retention._local_date(c.last_order_at,
                                   s.time_zone) AS days_since_last_order,
         c.r, c.f, c.m,
         concat(c.r, c.f, c.m) AS rfm_score,
         c.rfm_group,
         c.previous_rfm_group,
         c.rfm_group_changed_at,
         retention._p_alive(p.purchase, c.purchase_days, c.average_days_between_orders,
                            c.first_order_at, s.time_zone) AS p_alive,
         retention._order_probability(p.purchase, c.purchase_days, c.average_days_between_orders,
                                      c.first_order_at, s.time_zone,
                                      s.prediction_window) AS order_probability,
         p.confidence
  FROM retention.customer c
  LEFT JOIN retention.metric s ON s.metric = c.metric
  LEFT JOIN retention.published_model p ON p.metric = c.metric;
COMMENT ON VIEW retention.profile IS
  'One row per metric and customer, under the names marketers know. Predictions are computed when '
  'they are read, from the facts, the published models and retention.now().';
COMMENT ON COLUMN retention.profile.metric IS 'Metric by which the orders are counted.';
COMMENT ON COLUMN retention.profile.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.profile.historic_clv IS 'Exact revenue so far, less refunds.';
COMMENT ON COLUMN retention.profile.predicted_clv IS
  'Expected value of the orders of the next prediction_window days, discounted by the metric''s '
  'discount_rate.';
COMMENT ON COLUMN retention.profile.total_clv IS 'historic_clv + predicted_clv.';
COMMENT ON COLUMN retention.profile.predicted_number_of_orders IS
  'Expected days with an order in the next prediction_window days.';
COMMENT ON COLUMN retention.profile.churn_probability IS '1 - p_alive.';
COMMENT ON COLUMN retention.profile.churn_risk IS
  'low, medium or high: where churn_probability lies among the metric''s churn_levels; null where '
  'the last back-test of the models was off by more than a third.';
COMMENT ON COLUMN retention.profile.expected_date_of_next_order IS
  'Day by which half of such customers order again, if they stay; counted from the last order, it '
  'moves with the next one only. At most a hundred years later.';
COMMENT ON COLUMN retention.profile.next_order_earliest IS
  'Day by which one in ten of such customers has ordered again.';
COMMENT ON COLUMN retention.profile.next_order_latest IS
  'Day by which nine in ten of such customers have ordered again.';
COMMENT ON COLUMN retention.profile.overdue IS 'Today is past next_order_latest.';
COMMENT ON COLUMN retention.profile.historic_number_of_orders IS
  'Orders with a net amount above zero.';
COMMENT ON COLUMN retention.profile.average_order_value IS
  'historic_clv / historic_number_of_orders.';
COMMENT ON COLUMN retention.profile.average_days_between_orders IS
  'Mean days between purchase days; null for fewer than 2.';
COMMENT ON COLUMN retention.profile.days_between_orders_sd IS
  'Sample standard deviation of the days between purchase days; null for fewer than 3.';
COMMENT ON COLUMN retention.profile.purchase_days IS
  'Distinct days with an order, in the metric''s time zone.';
COMMENT ON COLUMN retention.profile.first_order_at IS 'Time of the first order.';
COMMENT ON COLUMN retention.profile.last_order_at IS 'Time of the last order.';
COMMENT ON COLUMN retention.profile.days_since_last_order IS
  'Calendar days from the last order to retention.now(), in the metric''s time zone.';
COMMENT ON COLUMN retention.profile.r IS
  'Recency score as of the last refresh, 1 for the longest absence.';
COMMENT ON COLUMN retention.profile.f IS 'Frequency score, 1 for the fewest orders.';
COMMENT ON COLUMN retention.profile.m IS 'Monetary score, 1 for the least revenue.';
COMMENT ON COLUMN retention.profile.rfm_score IS 'The three scores together, such as 333.';
COMMENT ON COLUMN retention.profile.rfm_group IS 'Group of the scores, as of the last refresh.';
COMMENT ON COLUMN retention.profile.previous_rfm_group IS
  'Group before the last change; null when there was none.';
COMMENT ON COLUMN retention.profile.rfm_group_changed_at IS
  'Clock of the refresh that put the customer in this group.';
COMMENT ON COLUMN retention.profile.p_alive IS
  'Probability, now, that the customer has not left for good.';
COMMENT ON COLUMN retention.profile.order_probability IS
  'Probability of an order in the next prediction_window days.';
COMMENT ON COLUMN retention.profile.confidence IS
  'Whether predictions can be relied on: high, medium or low; readiness gives the reasons.';
-- Explains scores, and what predictions can be trusted.

CREATE FUNCTION retention._bounds_sentence(
    what text, unit text, value numeric, bounds double precision[], score integer)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s %s%s: ', what, value, unit)
      || concat_ws(' and ', 'at least ' || bounds[score - 1]::numeric, 'less than '
                   || bounds[score]::numeric,
                   CASE WHEN num_nulls(bounds[score - 1], bounds[score]) = 2 THEN 'like everybody'
                     END)
      || format(' scores %s of %s.', score, cardinality(bounds) + 1)
$$;
COMMENT ON FUNCTION retention._bounds_sentence(text, text, numeric, double precision[], integer) IS
  'Says why a value has its score.';

CREATE FUNCTION retention._limits_sentence(
    days integer, limits double precision[], score integer)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('Last ordered %s days ago: ', days)
      || concat_ws(' and ', 'more than ' || limits[score], 'at most ' || limits[score - 1])
      || format(' scores %s of %s.', score, cardinality(limits) + 1)
$$;
COMMENT ON FUNCTION retention._limits_sentence(integer, double precision[], integer) IS
  'Says why an absence has its score.';

CREATE FUNCTION retention.explain_score(customer_id text, metric text DEFAULT 'orders')
  RETURNS TABLE (dimension text, value numeric, bounds double precision[], rank bigint,
                 score integer, sentence text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  settings retention.metric := retention._require_metric(metric);
  published retention.population := retention._last_refresh(metric);
  found_customer retention.customer;
  days integer;
BEGIN
  SELECT c.* INTO found_customer FROM retention.customer c
    WHERE c.metric = explain_score.metric AND c.customer_id = explain_score.customer_id;
  PERFORM retention._reject_unless(FOUND, format('customer "%s" has no orders in metric "%s"',
                                                 customer_id, metric),
    'Customers appear with the first refresh after their first order.', 'no_data_found');
  -- process_changes may have seen a later order.
  days := greatest(0,
                   (published.as_of
                    AT TIME ZONE settings.time_zone)::date - (found_customer.last_order_at
                        AT TIME ZONE settings.time_zone)::date);
  RETURN QUERY
    SELECT 'recency', days::numeric, published.recency_limits,
           (SELECT 1 + count(*) FROM retention.customer c
            WHERE c.metric = settings.metric AND c.last_order_at > found_customer.last_order_at),
           found_customer.r::integer, retention._limits_sentence(days, published.recency_limits,
               found_customer.r)
    UNION ALL
    SELECT 'frequency', found_customer.orders, published.frequency_bounds,
           (SELECT 1 + count(*) FROM retention.customer c
            WHERE c.metric = settings.metric AND c.orders > found_customer.orders),
           found_customer.f, retention._bounds_sentence('Placed', CASE found_customer.orders
                                                        WHEN 1 THEN ' order' ELSE ' orders' END,
             found_customer.orders, published.frequency_bounds, found_customer.f)
    UNION ALL
    SELECT 'monetary', found_customer.revenue, published.monetary_bounds,
           (SELECT 1 + count(*) FROM retention.customer c
            WHERE c.metric = settings.metric AND c.revenue > found_customer.revenue),
           found_customer.m, retention._bounds_sentence('Spent', '', found_customer.revenue,
                                                        published.monetary_bounds,
                                                        found_customer.m);
END
$$;
COMMENT ON FUNCTION retention.explain_score(text, text) IS
  'A row per dimension as of the last refresh: value, bounds, rank (1 is the best of all '
  'customers), score, and a sentence that says why.';

CREATE FUNCTION retention.readiness(metric text DEFAULT 'orders')
  RETURNS TABLE (requirement text, needed numeric, found numeric, met boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM retention._readiness(retention._require_metric(metric), retention.now())
$$;
COMMENT ON FUNCTION retention.readiness(text) IS
  'Whether there is enough history to trust scores and predictions: the customary requirements, '
  'and what was found. The column confidence of profile sums them up.';
-- Ready-made segments.

CREATE VIEW retention.champions AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Champions';
COMMENT ON VIEW retention.champions IS 'Customers of metric "orders" in group Champions.';

CREATE VIEW retention.loyal AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Loyal';
COMMENT ON VIEW retention.loyal IS 'Customers of metric "orders" in group Loyal.';

CREATE VIEW retention.recent AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Recent';
COMMENT ON VIEW retention.recent IS 'Customers of metric "orders" in group Recent.';

CREATE VIEW retention.needs_attention AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Needs Attention';
COMMENT ON VIEW retention.needs_attention IS
  'Customers of metric "orders" in group Needs Attention.';

CREATE VIEW retention.at_risk AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'At Risk';
COMMENT ON VIEW retention.at_risk IS 'Customers of metric "orders" in group At Risk.';

CREATE VIEW retention.inactive AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Inactive';
COMMENT ON VIEW retention.inactive IS 'Customers of metric "orders" in group Inactive.';

CREATE VIEW retention.loyal_customers AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Loyal Customers';
COMMENT ON VIEW retention.loyal_customers IS
  'Customers of metric "orders" in group Loyal Customers.';

CREATE VIEW retention.potential_loyalists AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Potential Loyalists';
COMMENT ON VIEW retention.potential_loyalists IS
  'Customers of metric "orders" in group Potential Loyalists.';

CREATE VIEW retention.new_customers AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'New Customers';
COMMENT ON VIEW retention.new_customers IS 'Customers of metric "orders" in group New Customers.';

CREATE VIEW retention.promising AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Promising';
COMMENT ON VIEW retention.promising IS 'Customers of metric "orders" in group Promising.';

CREATE VIEW retention.need_attention AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Need Attention';
COMMENT ON VIEW retention.need_attention IS 'Customers of metric "orders" in group Need Attention.';

CREATE VIEW retention.about_to_sleep AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'About To Sleep';
COMMENT ON VIEW retention.about_to_sleep IS 'Customers of metric "orders" in group About To Sleep.';

CREATE VIEW retention.cant_lose_them AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Can''t Lose Them';
COMMENT ON VIEW retention.cant_lose_them IS
  'Customers of metric "orders" in group Can''t Lose Them.';

CREATE VIEW retention.hibernating AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Hibernating';
COMMENT ON VIEW retention.hibernating IS 'Customers of metric "orders" in group Hibernating.';

CREATE VIEW retention.lost AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group = 'Lost';
COMMENT ON VIEW retention.lost IS 'Customers of metric "orders" in group Lost.';

CREATE VIEW retention.win_back AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND rfm_group IN ('At Risk', 'Needs Attention', 'Need Attention',
                                            'Can''t Lose Them');
COMMENT ON VIEW retention.win_back IS
  'Customers of metric "orders" who were good ones and are drifting away: at risk, or in need of '
  'attention.';

CREATE VIEW retention.one_time_buyers AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND historic_number_of_orders = 1;
COMMENT ON VIEW retention.one_time_buyers IS 'Customers of metric "orders" with exactly one order.';

CREATE VIEW retention.overdue AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND overdue;
COMMENT ON VIEW retention.overdue IS
  'Customers of metric "orders" who should have ordered again by now: nine in ten of such '
  'customers would have.';

CREATE VIEW retention.churn_risk_high AS SELECT * FROM retention.profile
  WHERE metric = 'orders' AND churn_risk = 'high';
COMMENT ON VIEW retention.churn_risk_high IS 'Customers of metric "orders" who have probably left.';

CREATE VIEW retention.vip AS
  SELECT p.* FROM retention.profile p
  -- By the bounds that the scores were given by: the settings may have changed since.
  WHERE p.metric = 'orders'
    AND (p.f, p.m) = (SELECT cardinality(l.frequency_bounds) + 1, cardinality(l.monetary_bounds) + 1
                      FROM retention.population l WHERE l.metric = 'orders' AND NOT l.backfilled
                      ORDER BY l.refresh_id DESC LIMIT 1);
COMMENT ON VIEW retention.vip IS
  'Customers of metric "orders" with the highest score for frequency and for revenue.';

CREATE VIEW retention.due_soon AS
  SELECT p.* FROM retention.profile p JOIN retention.metric s USING (metric)
  WHERE p.metric = 'orders'
    AND p.expected_date_of_next_order - retention._local_date(retention.now(),
        s.time_zone) BETWEEN 0 AND 7;
COMMENT ON VIEW retention.due_soon IS
  'Customers of metric "orders" whose next order is expected within the next seven days.';
-- Segments, their members and the queue of changes.

CREATE TABLE retention.segment (
  segment        text COLLATE "C" PRIMARY KEY CHECK (segment <> ''),
  number         integer GENERATED ALWAYS AS IDENTITY,
  relation       regclass NOT NULL,
  relation_name  text NOT NULL,
  owner          name NOT NULL,
  enabled        boolean NOT NULL DEFAULT true,
  definition     text NOT NULL,
  pending        text CHECK (pending IN ('definition', 'settings', 'refresh')),
  added_at       timestamptz NOT NULL,
  evaluated_at   timestamptz,
  members        bigint NOT NULL DEFAULT 0,
  duplicate_rows bigint NOT NULL DEFAULT 0,
  null_rows      bigint NOT NULL DEFAULT 0,
  error          text,
  error_code     text,
  error_at       timestamptz,
  failures       integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE retention.segment IS
  'Relations whose customers are kept as members. Made by add_segment.';
COMMENT ON COLUMN retention.segment.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment.number IS 'Segments are evaluated in this order.';
COMMENT ON COLUMN retention.segment.relation IS
  'View or table whose column customer_id says who is in.';
COMMENT ON COLUMN retention.segment.relation_name IS
  'Its name, by which it is found again when its owner has dropped and created it anew, or a dump '
  'was restored; while it is there, it is followed under any name.';
COMMENT ON COLUMN retention.segment.owner IS
  'Role that owns it, with whose rights it is read. Another role''s relation of the same name is '
  'not taken for it.';
COMMENT ON COLUMN retention.segment.enabled IS
  'Whether the segment is kept current; a disabled one stays as it was.';
COMMENT ON COLUMN retention.segment.definition IS
  'Fingerprint of the view, and of the views and functions below it, as last evaluated, after the '
  'major version of the server that wrote it.';
COMMENT ON COLUMN retention.segment.pending IS
  'Cause of the changes that its next evaluation, in full, will find, where a segment that its '
  'view reads has changed other than by single customers; else null.';
COMMENT ON COLUMN retention.segment.added_at IS 'Engine''s time at which it was added.';
COMMENT ON COLUMN retention.segment.evaluated_at IS
  'Engine''s time of the last evaluation in full.';
COMMENT ON COLUMN retention.segment.members IS 'Number of members.';
COMMENT ON COLUMN retention.segment.duplicate_rows IS
  'Rows of the last evaluation in full that repeated a customer.';
COMMENT ON COLUMN retention.segment.null_rows IS
  'Rows of the last evaluation in full without a customer, or with a key of more than 2,000 '
  'bytes.';
COMMENT ON COLUMN retention.segment.error IS
  'Why the last evaluation failed; null when it did not.';
COMMENT ON COLUMN retention.segment.error_code IS 'SQLSTATE of that failure.';
COMMENT ON COLUMN retention.segment.error_at IS 'Engine''s time of that failure.';
COMMENT ON COLUMN retention.segment.failures IS
  'How often evaluation has failed in a row; process_changes tries again after a minute, then '
  'two, four, up to an hour.';

CREATE TABLE retention.segment_member (
  segment     text COLLATE "C" NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  entered_at  timestamptz NOT NULL,
  PRIMARY KEY (segment, customer_id)
);
COMMENT ON TABLE retention.segment_member IS
  'Who is in which segment. Its triggers write segment_change: of members that leave or are '
  'deleted, and of those whom the engine enters. Rows inserted by hand are not told to the queue, '
  'as a restored dump''s must not be; they stay until the segment''s next evaluation.';
COMMENT ON COLUMN retention.segment_member.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_member.customer_id IS
  'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.segment_member.entered_at IS
  'Engine''s time at which the customer entered.';

CREATE TABLE retention.segment_change (
  change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  segment     text COLLATE "C" NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  change      text NOT NULL CHECK (change IN ('entered', 'left')),
  cause       text NOT NULL CHECK (cause IN ('order', 'refund', 'data', 'refresh', 'settings',
                                             'definition', 'backfill', 'drop', 'manual')),
  as_of       timestamptz NOT NULL,
  changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX segment_change_customer ON retention.segment_change (customer_id);
COMMENT ON TABLE retention.segment_change IS
  'The queue: who entered and left segments, in the order in which it was committed. Read by '
  'read_segment_changes.';
COMMENT ON COLUMN retention.segment_change.change_id IS
  'Number of the change. Ascending in the order of commits.';
COMMENT ON COLUMN retention.segment_change.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_change.customer_id IS
  'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.segment_change.change IS 'entered or left.';
COMMENT ON COLUMN retention.segment_change.cause IS
  'order, refund: the customer''s orders changed; data: other tracked data did; refresh: time '
  'passed, thresholds moved, or anything else that a refresh found; settings: those of a metric '
  'were changed; definition: the segment was added, changed or enabled, backfill: the same, for '
  'flows to start; drop: it was dropped; manual: someone deleted the member.';
COMMENT ON COLUMN retention.segment_change.as_of IS 'Engine''s time of the change.';
COMMENT ON COLUMN retention.segment_change.changed_at IS 'Real time at which the row was written.';

CREATE TABLE retention.segment_day (
  segment  text COLLATE "C" NOT NULL,
  day      date NOT NULL,
  joined   bigint NOT NULL,
  departed bigint NOT NULL,
  PRIMARY KEY (segment, day)
);
COMMENT ON TABLE retention.segment_day IS
  'How many entered and left each segment, by day; kept when the queue is pruned. segment_growth '
  'shows it.';
COMMENT ON COLUMN retention.segment_day.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_day.day IS 'Day, in the time zone of metric "orders".';
COMMENT ON COLUMN retention.segment_day.joined IS 'Customers who entered.';
COMMENT ON COLUMN retention.segment_day.departed IS 'Customers who left.';

CREATE TABLE retention.segment_consumer (
  consumer text PRIMARY KEY CHECK (consumer <> ''),
  position bigint NOT NULL,
  read_at  timestamptz
);
COMMENT ON TABLE retention.segment_consumer IS
  'Who reads the queue, and how far. Made by add_consumer.';
COMMENT ON COLUMN retention.segment_consumer.consumer IS 'Name of the consumer.';
COMMENT ON COLUMN retention.segment_consumer.position IS 'Last change_id that was read.';
COMMENT ON COLUMN retention.segment_consumer.read_at IS 'Real time of the last read.';

SELECT pg_extension_config_dump('retention.segment', '');
SELECT pg_extension_config_dump('retention.segment_number_seq', '');
SELECT pg_extension_config_dump('retention.segment_member', '');
SELECT pg_extension_config_dump('retention.segment_change', '');
SELECT pg_extension_config_dump('retention.segment_change_change_id_seq', '');
SELECT pg_extension_config_dump('retention.segment_day', '');
SELECT pg_extension_config_dump('retention.segment_consumer', '');
-- The queue: who entered and left, why, and in which order it is read.

CREATE FUNCTION retention._lock_queue() RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._take_lock('retention.segment_change')
$$;
COMMENT ON FUNCTION retention._lock_queue() IS
  'Makes whatever writes members and the queue take turns, until the transaction ends. Numbers of '
  'changes are drawn under this lock, so they ascend in the order of commits, and who has read up '
  'to one has missed none.';

CREATE FUNCTION retention._lock_all() RETURNS text[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  locked text[] := '{}';
  metrics text[];
BEGIN
  LOOP
    -- Again, for metrics that were added while others were waited for.
    metrics := ARRAY(SELECT DISTINCT s.metric FROM retention.source s ORDER BY 1);
    EXIT WHEN metrics <@ locked;
    PERFORM retention._lock_metric(m) FROM unnest(metrics) AS m;
    locked := metrics;
  END LOOP;
  PERFORM retention._lock_queue();
  RETURN metrics;
END
$$;
COMMENT ON FUNCTION retention._lock_all() IS
  'Takes the locks of all metrics that have a source, which it returns, and then the queue''s: in '
  'this order, as a refresh does, so that nobody waits in a circle.';

CREATE FUNCTION retention._views_above(relation regclass) RETURNS SETOF regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE reader AS (
    SELECT relation::oid AS oid
    UNION
    SELECT r.ev_class
    FROM reader JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = reader.oid
      AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid)
  SELECT oid::regclass FROM reader
$$;
COMMENT ON FUNCTION retention._views_above(regclass) IS
  'A relation, and all views that read it, directly or through other views.';

CREATE FUNCTION retention._graver_cause(cause text, other text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN 'definition' IN (cause, other) THEN 'definition'
    WHEN 'settings' IN (cause, other) THEN 'settings'
              ELSE coalesce(cause, other) END;
COMMENT ON FUNCTION retention._graver_cause(text, text) IS
  'The one of two causes, of an evaluation in full, that starts less; null: none.';

CREATE FUNCTION retention._mark_settings() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._lock_queue();
  UPDATE retention.segment s SET pending = retention._graver_cause(s.pending, 'settings')
  WHERE s.evaluated_at IS NOT NULL;
END
$$;
COMMENT ON FUNCTION retention._mark_settings() IS
  'Has all segments evaluated in full: what differs then is due to the settings of a metric, '
  'which start no flow.';

CREATE FUNCTION retention._mark_readers(segments text[], cause text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- Only later ones, so that no two can mark each other forever. What starts no flow here starts
  -- none there.
  UPDATE retention.segment s
    SET pending = retention._graver_cause(s.pending, CASE
                                          WHEN cause IN ('refresh', 'settings') THEN cause
                                            ELSE 'definition' END)
    WHERE s.number > (SELECT min(c.number) FROM retention.segment c
                      WHERE c.segment = ANY (segments))
      AND s.relation IN (SELECT retention._views_above('retention.segment_member'))
$$;
COMMENT ON FUNCTION retention._mark_readers(text[], text) IS
  'Has the segments that read members, and were added later, evaluated in full: anybody may have '
  'entered or left these ones.';

CREATE FUNCTION retention._queue_changes() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entered boolean := TG_OP = 'INSERT';
  cause text := nullif(current_setting('retention_engine.cause', true), '');
  at timestamptz;
  zone text;
  segments text[];
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.segment_member');
  segments := ARRAY(SELECT DISTINCT c.segment FROM changed c);
  -- A restored dump brings the members, and the queue by itself.
  IF entered AND cause IS NULL OR segments = '{}' THEN
    RETURN NULL;
  END IF;
  at := coalesce(nullif(current_setting('retention_engine.as_of', true), '')::timestamptz,
                 retention.now());
  zone := coalesce((SELECT time_zone FROM retention.metric WHERE metric = 'orders'), 'UTC');
  INSERT INTO retention.segment_change (segment, customer_id, change, cause, as_of)
    SELECT c.segment, c.customer_id, CASE WHEN entered THEN 'entered' ELSE 'left' END,
           coalesce(cause, 'manual'), at
    FROM changed c ORDER BY c.segment, c.customer_id;
  INSERT INTO retention.segment_day AS d (segment, day, joined, departed)
    SELECT c.segment, (at AT TIME ZONE zone)::date, count(*) FILTER (WHERE entered), count(*)
      FILTER (WHERE NOT entered)
    FROM changed c GROUP BY c.segment
    ON CONFLICT (segment, day) DO UPDATE SET joined = d.joined + excluded.joined,
    departed = d.departed + excluded.departed;
  UPDATE retention.segment s SET members = s.members + CASE WHEN entered THEN c.count
    ELSE -c.count END
    FROM (SELECT changed.segment, count(*) FROM changed GROUP BY 1) AS c
    WHERE s.segment = c.segment;
  -- Whose orders or data changed is evaluated in all segments.
  IF cause IN ('order', 'refund', 'data') IS NOT TRUE THEN
    PERFORM retention._mark_readers(segments, cause);
  END IF;
  PERFORM pg_notify('retention_segment', s) FROM unnest(segments) AS s;
  -- Whom settings or definitions move has done nothing.
  IF coalesce(cause, 'manual') NOT IN ('settings', 'definition') AND retention._flows_run() THEN
    PERFORM retention._note_changed(ARRAY(SELECT DISTINCT c.customer_id FROM changed c));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._queue_changes() IS
  'Trigger: writes the members that were inserted or deleted to the queue, counts them, and tells '
  'who listens, and the segments that read these.';

CREATE FUNCTION retention._take_turns() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.segment_member');
  PERFORM retention._lock_queue();
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._take_turns() IS
  'Trigger: locks the queue before any row, so that nobody who has the one waits for the other.';

CREATE FUNCTION retention._refuse_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.segment_member');
  PERFORM retention._reject_unless(false, format('%s of %s would bypass the queue', TG_OP,
                                                 TG_RELID::regclass),
    'DELETE removes members and tells the queue.', 'feature_not_supported');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._refuse_change() IS
  'Trigger: rejects changes that the queue could not show.';
-- Consumers of the queue outside the database.

CREATE FUNCTION retention.add_consumer(consumer text, from_start boolean DEFAULT false)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_length('the name of a consumer', 'name', consumer);
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.segment_consumer c
                                               WHERE c.consumer = add_consumer.consumer),
    format('consumer "%s" already exists', consumer), 'drop_consumer removes it.',
    'duplicate_object');
  INSERT INTO retention.segment_consumer (consumer, position)
    VALUES (consumer, CASE WHEN from_start THEN 0
            ELSE coalesce((SELECT max(change_id) FROM retention.segment_change), 0) END);
END
$$;
COMMENT ON FUNCTION retention.add_consumer(text, boolean) IS
  'Makes a reader of the queue, who starts with the next change, or with the oldest one that is '
  'kept.';

CREATE FUNCTION retention.drop_consumer(consumer text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM retention.segment_consumer c WHERE c.consumer = drop_consumer.consumer;
  PERFORM retention._reject_unless(FOUND, format('consumer %s does not exist',
                                                 coalesce('"' || consumer || '"', 'null')),
    'retention.segment_consumer lists those there are.', 'undefined_object');
END
$$;
COMMENT ON FUNCTION retention.drop_consumer(text) IS
  'Removes a reader of the queue; prune no longer waits for it.';

CREATE FUNCTION retention.read_segment_changes(
    consumer text, "limit" integer DEFAULT 1000)
  RETURNS SETOF retention.segment_change
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  read_up_to bigint;
  last_id bigint;
BEGIN
  PERFORM retention._reject_unless("limit" > 0,
                                   format('limit must be 1 or more, not %s',
                                          coalesce("limit"::text, 'null')));
  SELECT position INTO read_up_to FROM retention.segment_consumer c
  WHERE c.consumer = read_segment_changes.consumer FOR UPDATE;
  PERFORM retention._reject_unless(FOUND, format('consumer %s does not exist',
                                                 coalesce('"' || consumer || '"', 'null')),
    'add_consumer makes it.', 'undefined_object');
  SELECT max(change_id) INTO last_id
    FROM (SELECT change_id FROM retention.segment_change WHERE change_id > read_up_to
          ORDER BY change_id LIMIT "limit") AS next;
  IF last_id IS NULL THEN
    RETURN;
  END IF;
  UPDATE retention.segment_consumer c SET position = last_id, read_at = clock_timestamp()
  WHERE c.consumer = read_segment_changes.consumer;
  RETURN QUERY
    SELECT s.* FROM retention.segment_change s
    WHERE s.change_id > read_up_to AND s.change_id <= last_id ORDER BY s.change_id;
END
$$;
COMMENT ON FUNCTION retention.read_segment_changes(text, integer) IS
  'The next changes for a consumer, whose position moves in the same transaction: what is rolled '
  'back is read again, what is committed never.';
-- The definition of a segment's view, by which it is seen to have changed.

CREATE FUNCTION retention._objects_below(relation regclass)
  RETURNS TABLE (class regclass, object oid)
  -- Planned once a session, rather than for each segment, as _definition is.
  LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH RECURSIVE read AS (
      SELECT 'pg_class'::regclass::oid AS class, relation::oid AS object
      UNION
      SELECT d.refclassid, d.refobjid
      FROM read
      LEFT JOIN pg_rewrite r
        ON read.class = 'pg_class'::regclass AND r.ev_class = read.object AND r.ev_type = '1'
      -- What a view uses, its rule does.
      JOIN pg_depend d ON (d.classid, d.objid) = (
        CASE read.class WHEN 'pg_class'::regclass THEN 'pg_rewrite'::regclass ELSE read.class END,
        CASE read.class WHEN 'pg_class'::regclass THEN r.oid ELSE read.object END)
      WHERE d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass)
        -- What belongs to an extension, such as our profile, changes with its version.
        AND NOT EXISTS (
          SELECT FROM pg_depend e
          WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e'))
    SELECT class::regclass, object FROM read;
END
$$;
COMMENT ON FUNCTION retention._objects_below(regclass) IS
  'A relation, and the relations, functions and operators that it uses if it is a view, or a view '
  'below it does, as far as PostgreSQL knows: not what the text of a function names. Without '
  'those of extensions.';

CREATE FUNCTION retention._function_definition(function regprocedure) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT concat_ws(' ', function, l.lanname, p.prosrc, pg_get_function_sqlbody(p.oid), p.probin,
                   p.proconfig, p.prosecdef, a.aggtransfn, a.aggfinalfn, a.agginitval)
  FROM pg_proc p
  JOIN pg_language l ON l.oid = p.prolang
  LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
  WHERE p.oid = function
$$;
COMMENT ON FUNCTION retention._function_definition(regprocedure) IS
  'What a function or an aggregate does, as text.';

CREATE FUNCTION retention._definition(relation regclass) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan
  -- Views are hashed as text, which must not depend on the session.
  SET DateStyle = 'ISO, YMD' SET IntervalStyle = postgres SET extra_float_digits = 1
    SET bytea_output = hex SET TimeZone = 'UTC'
  SET lc_monetary = 'C' SET quote_all_identifiers = off SET standard_conforming_strings = on
AS $$
BEGIN
  RETURN (
    SELECT retention._stamped(md5(string_agg(part.text, E'\n' ORDER BY part.text)))
    FROM retention._objects_below(relation) AS below
    LEFT JOIN pg_class c ON below.class = 'pg_class'::regclass AND c.oid = below.object
    LEFT JOIN pg_operator o ON below.class = 'pg_operator'::regclass AND o.oid = below.object
    CROSS JOIN LATERAL (
      SELECT CASE WHEN c.relkind IN ('v', 'm')
                  THEN concat(c.oid::regclass, ' ', pg_get_viewdef(c.oid))
                  WHEN c.oid IS NOT NULL THEN c.oid::regclass::text
                  WHEN o.oid IS NOT NULL THEN concat(o.oid::regoperator, ' ', o.oprcode)
                  ELSE retention._function_definition(below.object)
             END COLLATE "C" AS text) AS part);
END
$$;
COMMENT ON FUNCTION retention._definition(regclass) IS
  'Stamped fingerprint of a view, of the views below it, and of the functions that these call.';

CREATE FUNCTION retention._find_by_name() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- In the schema there are none but our own.
  PERFORM retention._reject_unless(TG_TABLE_SCHEMA = 'retention',
    'this trigger function works on tables of retention only', '', 'trigger_protocol_violated');
  NEW.relation := coalesce(to_regclass(NEW.relation_name), 0);
  NEW.owner := coalesce(pg_get_userbyid(retention._owner(NEW.relation)), NEW.owner);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._find_by_name() IS
  'Trigger: a new row''s relation is that of its name. A restored dump has the number of one that '
  'was gone, which here may be another''s.';
-- Evaluates segments, and updates their members.

CREATE FUNCTION retention._compare_keys(
    found text, stored text, expected bigint, relation regclass,
    OUT customer_id text, OUT entered boolean, OUT members bigint, OUT duplicate_rows bigint,
    OUT null_rows bigint)
  RETURNS SETOF record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_compare_keys';
COMMENT ON FUNCTION retention._compare_keys(text, text, bigint, regclass) IS
  'The keys that only one of two queries returns, entered where it is the first, which is run '
  'with the rights of the relation''s owner; and a row without a key, which counts the keys of '
  'the first one, rows that repeat one, and nulls. About so many rows are expected of both.';

CREATE FUNCTION retention._update_members(
    evaluated retention.segment, cause text, as_of timestamptz, customer_ids text[] DEFAULT NULL)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_query text := format('SELECT %s FROM %s',
                             retention._key_expression(evaluated.relation, 'customer_id'),
                             evaluated.relation);
  stored_query text := format('SELECT customer_id FROM retention.segment_member WHERE segment = %L',
                              evaluated.segment);
  report record;
BEGIN
  IF customer_ids IS NOT NULL THEN
    found_query := found_query || ' WHERE ' || retention._keys_condition(evaluated.relation,
        'customer_id', customer_ids);
    stored_query := stored_query || format(' AND customer_id = ANY (%L::text[])', customer_ids);
  END IF;
  PERFORM set_config('retention_engine.cause', cause, true),
          set_config('retention_engine.as_of', as_of::text, true);
  WITH difference AS MATERIALIZED (SELECT *
                                   FROM retention._compare_keys(found_query, stored_query,
                                       2 * coalesce(cardinality(customer_ids), evaluated.members),
                                       evaluated.relation)),
  gone AS (
    DELETE FROM retention.segment_member m USING difference d
    WHERE NOT d.entered AND m.segment = evaluated.segment AND m.customer_id = d.customer_id),
  entered AS (
    INSERT INTO retention.segment_member (segment, customer_id, entered_at)
    SELECT evaluated.segment, d.customer_id, as_of FROM difference d WHERE d.entered
    ORDER BY d.customer_id COLLATE "C")
  SELECT count(*) FILTER (WHERE d.entered) AS entered, count(*)
    FILTER (WHERE NOT d.entered) AS gone,
         max(d.members) AS members, max(d.duplicate_rows) AS duplicate_rows,
         max(d.null_rows) AS null_rows
    INTO report FROM difference d;
  PERFORM set_config('retention_engine.cause', '', true);
  IF customer_ids IS NULL THEN
    UPDATE retention.segment s SET members = report.members, duplicate_rows = report.duplicate_rows,
        null_rows = report.null_rows,
        definition = evaluated.definition, pending = NULL,
        evaluated_at = as_of, error = NULL, error_code = NULL, error_at = NULL, failures = 0
      WHERE s.segment = evaluated.segment;
    IF report.entered + report.gone > 0 THEN
      PERFORM retention._tell(format('segment "%s": %s entered, %s left, %s members',
                                     evaluated.segment, report.entered, report.gone,
                                     report.members));
    END IF;
  END IF;
  RETURN report.entered + report.gone;
END
$$;
COMMENT ON FUNCTION retention._update_members(retention.segment, text, timestamptz, text[]) IS
  'Makes a segment''s members those of its relation: all, or of some customers only. Returns how '
  'many entered and left.';

CREATE FUNCTION retention._current_segment(stored retention.segment)
  RETURNS retention.segment
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  current regclass := retention._same_relation(stored.relation, stored.relation_name, stored.owner);
  present text;
BEGIN
  PERFORM retention._reject_unless(current IS NOT NULL,
                                   format('relation %s of segment "%s" does not exist',
                                          stored.relation_name, stored.segment),
    format('Its owner "%s" can create it again; or drop_segment, and add_segment another one.',
           stored.owner), 'undefined_table');
  IF (current, current::text, pg_get_userbyid(retention._owner(current)))
     IS DISTINCT FROM (stored.relation, stored.relation_name, stored.owner) THEN
    UPDATE retention.segment s
      SET relation = current, relation_name = current,
          owner = pg_get_userbyid(retention._owner(current))
      WHERE s.segment = stored.segment RETURNING * INTO stored;
  END IF;
  present := retention._definition(stored.relation);
  IF present <> stored.definition AND NOT retention._is_redefined(stored.definition, present) THEN
    -- The server is of another major version: moving there is no redefinition.
    UPDATE retention.segment s SET definition = present WHERE s.segment = stored.segment;
  END IF;
  stored.definition := present;
  RETURN stored;
END
$$;
COMMENT ON FUNCTION retention._current_segment(retention.segment) IS
  'A segment with the relation that it now reads, which is kept, and that relation''s fingerprint.';

CREATE FUNCTION retention._evaluate_segment(
    segment text, cause text, as_of timestamptz, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment;
  evaluated retention.segment;
  cause_in_full text;
  reason text;
  code text;
BEGIN
  SELECT * INTO stored FROM retention.segment s WHERE s.segment = _evaluate_segment.segment;
  evaluated := retention._current_segment(stored);
  cause_in_full := CASE
    WHEN retention._is_redefined(stored.definition, evaluated.definition) THEN 'definition'
    -- Others' orders, which are still to be told of, are not due to settings.
    WHEN stored.pending = 'settings' AND cardinality(customer_ids) > 0 THEN NULL
    WHEN stored.pending IS NOT NULL THEN stored.pending
    WHEN customer_ids IS NULL THEN cause
    WHEN stored.error IS NOT NULL THEN 'refresh' END;
  IF cause_in_full IS NOT NULL THEN
    PERFORM retention._update_members(evaluated, cause_in_full, as_of);
  ELSIF cardinality(customer_ids) > 0 THEN
    PERFORM retention._update_members(evaluated, cause, as_of, customer_ids);
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
  IF retention._ends_call(code) THEN
    RAISE;
  END IF;
  reason := retention._reason(reason);
  RAISE WARNING 'segment "%" could not be evaluated: %', segment, reason
    USING HINT = 'Its members stay as they are. It is tried again by process_changes and refresh.';
  UPDATE retention.segment s SET error = reason, error_code = code, error_at = as_of,
      failures = s.failures + 1
    WHERE s.segment = _evaluate_segment.segment;
END
$$;
COMMENT ON FUNCTION retention._evaluate_segment(text, text, timestamptz, text[]) IS
  'Brings a segment''s members up to date: of all, where that is asked for, or its definition has '
  'changed, or a segment below it, or it had failed; else of some customers. A failure is '
  'reported, and is that segment''s alone.';

CREATE FUNCTION retention._evaluate_segments(
    cause text, as_of timestamptz, customer_ids text[] DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  clock text := coalesce(current_setting('retention.as_of', true), '');
  segment text;
BEGIN
  PERFORM retention._pin_settings();
  PERFORM retention._lock_queue();
  -- Views tell the time by the same clock.
  PERFORM set_config('retention.as_of', as_of::text, true);
  FOR segment IN
    SELECT s.segment FROM retention.segment s
    WHERE s.enabled AND (s.error IS NULL OR customer_ids IS NULL
                         OR as_of >= s.error_at + retention._retry_after(s.failures))
    ORDER BY s.number
  LOOP
    PERFORM retention._evaluate_segment(segment, cause, as_of, customer_ids);
  END LOOP;
  PERFORM set_config('retention.as_of', clock, true);
END
$$;
COMMENT ON FUNCTION retention._evaluate_segments(text, timestamptz, text[]) IS
  'Brings all enabled segments up to date, for all customers or some.';

CREATE FUNCTION retention._settle_segments(
    metric text, since timestamptz, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._evaluate_segments('refresh', as_of, ARRAY(
    SELECT c.customer_id FROM retention.customer c
    WHERE c.metric = _settle_segments.metric AND c.last_order_known_at = as_of
      AND c.last_order_at > since));
  PERFORM retention._mark_settings(), retention._evaluate_segments('settings', as_of);
END
$$;
COMMENT ON FUNCTION retention._settle_segments(text, timestamptz, timestamptz) IS
  'After a refresh by other settings: those who have ordered since the one before are evaluated; '
  'what else differs is due to the settings.';
-- Adding, switching and refreshing segments.

CREATE TRIGGER find_by_name BEFORE INSERT ON retention.segment
  FOR EACH ROW EXECUTE FUNCTION retention._find_by_name();
COMMENT ON TRIGGER find_by_name ON retention.segment IS 'Finds the relation by its name.';

CREATE FUNCTION retention._require_segment(segment text) RETURNS retention.segment
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment;
BEGIN
  PERFORM retention._lock_all();
  SELECT * INTO stored FROM retention.segment s WHERE s.segment = _require_segment.segment;
  PERFORM retention._reject_unless(FOUND, format('segment %s does not exist',
                                                 coalesce('"' || segment || '"', 'null')),
    'add_segment makes it; retention.segment lists those there are.', 'undefined_object');
  RETURN stored;
END
$$;
COMMENT ON FUNCTION retention._require_segment(text) IS
  'A segment, which nobody else changes until the transaction ends, or an error.';

CREATE FUNCTION retention.add_segment(
    relation regclass, segment text DEFAULT NULL, backfill boolean DEFAULT false)
  RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  added retention.segment;
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, 'the segment''s relation must not be null',
                                   '', 'null_value_not_allowed');
  PERFORM retention._column_type(relation, 'customer_id', 'customer_id');
  PERFORM retention._check_readable(relation, '{customer_id}');
  segment := coalesce(segment, (SELECT relname FROM pg_class WHERE oid = relation));
  PERFORM retention._check_length('the name of a segment', 'name', segment);
  PERFORM retention._lock_all();
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.segment s
                                               WHERE s.segment = add_segment.segment),
    format('segment "%s" already exists', segment),
    'Give this one another name, as the second argument; or drop_segment first.',
    'duplicate_object');
  INSERT INTO retention.segment (segment, relation, relation_name, owner, definition, added_at)
    VALUES (segment, relation, relation::text, pg_get_userbyid(retention._owner(relation)),
            retention._definition(relation), retention.now())
    RETURNING * INTO added;
  PERFORM retention._update_members(added, CASE WHEN backfill THEN 'backfill' ELSE 'definition' END,
                                    retention.now());
  RETURN segment;
END
$$;
COMMENT ON FUNCTION retention.add_segment(regclass, text, boolean) IS
  'Makes a segment of a view or table with a column customer_id, named as it unless a name is '
  'given, and evaluates it. Its members start no flow, unless backfill is true. Returns the name.';

CREATE FUNCTION retention.drop_segment(segment text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._require_segment(segment);
  PERFORM set_config('retention_engine.cause', 'drop', true),
          set_config('retention_engine.as_of', retention.now()::text, true);
  DELETE FROM retention.segment_member m WHERE m.segment = drop_segment.segment;
  PERFORM set_config('retention_engine.cause', '', true);
  DELETE FROM retention.segment_day d WHERE d.segment = drop_segment.segment;
  DELETE FROM retention.segment s WHERE s.segment = drop_segment.segment;
END
$$;
COMMENT ON FUNCTION retention.drop_segment(text) IS
  'Removes a segment and its growth; its members leave. The view stays.';

CREATE FUNCTION retention.disable_segment(segment text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._require_segment(segment);
  UPDATE retention.segment s SET enabled = false WHERE s.segment = disable_segment.segment;
END
$$;
COMMENT ON FUNCTION retention.disable_segment(text) IS
  'Leaves a segment''s members as they are until it is enabled again.';

CREATE FUNCTION retention.enable_segment(segment text, backfill boolean DEFAULT false)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment := retention._require_segment(segment);
BEGIN
  UPDATE retention.segment s SET enabled = true WHERE s.segment = enable_segment.segment;
  PERFORM retention._update_members(retention._current_segment(stored), CASE
                                    WHEN backfill THEN 'backfill' ELSE 'definition' END,
                                    retention.now());
END
$$;
COMMENT ON FUNCTION retention.enable_segment(text, boolean) IS
  'Keeps a disabled segment current again, from now on. Who entered meanwhile starts no flow, '
  'unless backfill is true.';

CREATE FUNCTION retention.refresh_segment(segment text, backfill boolean DEFAULT false)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment := retention._require_segment(segment);
  evaluated retention.segment := retention._current_segment(stored);
BEGIN
  PERFORM retention._update_members(evaluated,
    CASE WHEN backfill THEN 'backfill'
         WHEN retention._is_redefined(stored.definition, evaluated.definition) THEN 'definition'
         ELSE 'refresh' END, retention.now());
END
$$;
COMMENT ON FUNCTION retention.refresh_segment(text, boolean) IS
  'Evaluates a segment in full now. After its definition has changed, new members start no flow, '
  'unless backfill is true.';

CREATE VIEW retention.segment_growth AS
  SELECT s.segment, days.day::date AS day, coalesce(d.joined, 0) AS joined,
         coalesce(d.departed, 0) AS "left",
         (sum(coalesce(d.joined, 0) - coalesce(d.departed, 0)) OVER (PARTITION BY s.segment
             ORDER BY days.day))::bigint AS size
  FROM retention.segment s
  LEFT JOIN retention.metric m ON m.metric = 'orders'
  CROSS JOIN LATERAL generate_series((s.added_at
                                      AT TIME ZONE coalesce(m.time_zone, 'UTC'))::date::timestamp,
    greatest((retention.now() AT TIME ZONE coalesce(m.time_zone, 'UTC'))::date,
             (SELECT max(l.day) FROM retention.segment_day l
              WHERE l.segment = s.segment))::timestamp, interval '1 day') AS days (day)
  LEFT JOIN retention.segment_day d ON d.segment = s.segment AND d.day = days.day::date;
COMMENT ON VIEW retention.segment_growth IS
  'Each segment''s growth, a row a day since it was added.';
COMMENT ON COLUMN retention.segment_growth.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_growth.day IS 'Day, in the time zone of metric "orders".';
COMMENT ON COLUMN retention.segment_growth.joined IS
  'Customers who entered on that day; those who come back count again.';
COMMENT ON COLUMN retention.segment_growth."left" IS 'Customers who left on that day.';
COMMENT ON COLUMN retention.segment_growth.size IS 'Members at the end of the day.';
-- Triggers on members and on views.

CREATE TRIGGER take_turns BEFORE INSERT OR DELETE ON retention.segment_member
  FOR EACH STATEMENT EXECUTE FUNCTION retention._take_turns();
COMMENT ON TRIGGER take_turns ON retention.segment_member IS
  'Makes whoever changes members by hand wait for process_changes, and the other way round.';

CREATE TRIGGER queue_entered AFTER INSERT ON retention.segment_member
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._queue_changes();
COMMENT ON TRIGGER queue_entered ON retention.segment_member IS 'Writes new members to the queue.';

CREATE TRIGGER queue_left AFTER DELETE ON retention.segment_member
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._queue_changes();
COMMENT ON TRIGGER queue_left ON retention.segment_member IS 'Writes removed members to the queue.';

CREATE TRIGGER refuse_change BEFORE UPDATE OF segment, customer_id
  OR TRUNCATE ON retention.segment_member
  FOR EACH STATEMENT EXECUTE FUNCTION retention._refuse_change();
COMMENT ON TRIGGER refuse_change ON retention.segment_member IS
  'Rejects changes that the queue could not show.';
-- Contacts, consents, the suppression list, and who was merged into whom.

CREATE TABLE retention.contact (
  customer_id   text COLLATE "C" PRIMARY KEY,
  email         text,
  phone         text,
  push_token    text,
  time_zone     text,
  locale        text,
  email_consent boolean,
  sms_consent   boolean,
  push_consent  boolean,
  properties    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
  country       text CHECK (country ~ '^[A-Za-z]{2}$')
);
COMMENT ON TABLE retention.contact IS
  'How customers are reached, and what they agreed to. Filled by the shop; or use_contacts names '
  'a relation of the shop''s own, and this has only the properties that flows have set.';
COMMENT ON COLUMN retention.contact.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.contact.email IS 'Address for channel email.';
COMMENT ON COLUMN retention.contact.phone IS 'Address for channel sms.';
COMMENT ON COLUMN retention.contact.push_token IS 'Address for channel push.';
COMMENT ON COLUMN retention.contact.time_zone IS
  'Name of the customer''s time zone; null: the flow''s.';
COMMENT ON COLUMN retention.contact.locale IS 'Language, for templates.';
COMMENT ON COLUMN retention.contact.email_consent IS
  'Whether the customer agreed to emails; null: no.';
COMMENT ON COLUMN retention.contact.sms_consent IS
  'Whether the customer agreed to text messages; null: no.';
COMMENT ON COLUMN retention.contact.push_consent IS
  'Whether the customer agreed to push notifications; null: no.';
COMMENT ON COLUMN retention.contact.properties IS
  'Whatever else is known, for templates and conditions.';
COMMENT ON COLUMN retention.contact.country IS
  'Country of a national telephone number: two letters of ISO 3166; null: the metric''s.';

CREATE TABLE retention.consent_change (
  change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer_id text COLLATE "C" NOT NULL,
  channel     text NOT NULL,
  agreed      boolean,
  changed_at  timestamptz NOT NULL,
  changed_by  name NOT NULL,
  source      text
);
CREATE INDEX consent_change_customer ON retention.consent_change (customer_id);
COMMENT ON TABLE retention.consent_change IS
  'Every change of a consent in retention.contact. What a contact had when it was inserted is no '
  'change.';
COMMENT ON COLUMN retention.consent_change.change_id IS 'Number of the change.';
COMMENT ON COLUMN retention.consent_change.customer_id IS
  'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.consent_change.channel IS 'email, sms or push.';
COMMENT ON COLUMN retention.consent_change.agreed IS
  'The consent from then on; null counts as false.';
COMMENT ON COLUMN retention.consent_change.changed_at IS 'Engine''s time of the change.';
COMMENT ON COLUMN retention.consent_change.changed_by IS 'The role that was logged in.';
COMMENT ON COLUMN retention.consent_change.source IS
  'The application_name of its session, such as the preference page or the import that changed it.';

CREATE TABLE retention.contact_source (
  relation      regclass NOT NULL,
  relation_name text NOT NULL,
  owner         name NOT NULL
);
CREATE UNIQUE INDEX contact_source_one ON retention.contact_source ((true));
ALTER TABLE retention.contact_source REPLICA IDENTITY FULL;
COMMENT ON TABLE retention.contact_source IS
  'The relation of the shop''s own that has the contacts; no row: retention.contact. Written by '
  'use_contacts.';
COMMENT ON COLUMN retention.contact_source.relation IS
  'View or table with customer_id and any of the columns of retention.contact.';
COMMENT ON COLUMN retention.contact_source.relation_name IS 'Its name, as in segment.';
COMMENT ON COLUMN retention.contact_source.owner IS
  'Role that owns it, with whose rights it is read, as in segment.';

CREATE TABLE retention.suppression (
  channel       text COLLATE "C" NOT NULL,
  address       text COLLATE "C" NOT NULL,
  reason        text NOT NULL,
  suppressed_at timestamptz NOT NULL,
  PRIMARY KEY (address, channel)
);
COMMENT ON TABLE retention.suppression IS
  'Addresses that get no message any more, whatever a contact says. Written by suppress.';
COMMENT ON COLUMN retention.suppression.channel IS 'email, sms, push or webhook.';
COMMENT ON COLUMN retention.suppression.address IS
  'The address, in whatever spelling; or, of somebody forgotten, its keyed hash.';
COMMENT ON COLUMN retention.suppression.reason IS 'Why, such as bounced, complained, unsubscribed.';
COMMENT ON COLUMN retention.suppression.suppressed_at IS 'Engine''s time since when.';

CREATE TABLE retention.secret (
  purpose text COLLATE "C" PRIMARY KEY,
  key     bytea NOT NULL
);
COMMENT ON TABLE retention.secret IS
  'Random keys. Made when they are first needed; only the owner may read them.';
COMMENT ON COLUMN retention.secret.purpose IS
  'suppression: of the hashes that forget leaves of addresses.';
COMMENT ON COLUMN retention.secret.key IS 'The key: 32 bytes.';

CREATE TABLE retention.merged_customer (
  customer_id text COLLATE "C" PRIMARY KEY,
  merged_into text COLLATE "C" NOT NULL,
  merged_at   timestamptz NOT NULL
);
CREATE INDEX merged_customer_into ON retention.merged_customer (merged_into);
COMMENT ON TABLE retention.merged_customer IS
  'Keys that were given up for another one of the same person. Written by merge_customers.';
COMMENT ON COLUMN retention.merged_customer.customer_id IS 'The key that was given up.';
COMMENT ON COLUMN retention.merged_customer.merged_into IS 'The key of the person now.';
COMMENT ON COLUMN retention.merged_customer.merged_at IS
  'Engine''s time at which they were merged.';

SELECT pg_extension_config_dump('retention.contact', '');
SELECT pg_extension_config_dump('retention.consent_change', '');
SELECT pg_extension_config_dump('retention.consent_change_change_id_seq', '');
SELECT pg_extension_config_dump('retention.contact_source', '');
SELECT pg_extension_config_dump('retention.suppression', '');
SELECT pg_extension_config_dump('retention.secret', '');
SELECT pg_extension_config_dump('retention.merged_customer', '');
-- Addresses: one way to compare them, for contacts, the suppression list and claims.

CREATE FUNCTION retention._normal_address(channel text, address text, country text)
  RETURNS text
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_normal_address';
COMMENT ON FUNCTION retention._normal_address(text, text, text) IS
  'An address in the one way that all are compared in: mail in small letters, telephone numbers '
  'in E.164 where their country is known, else as digits.';

CREATE FUNCTION retention._address_spellings(channel text, address text, country text)
  RETURNS text[]
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_address_spellings';
COMMENT ON FUNCTION retention._address_spellings(text, text, text) IS
  'The normal address, and what is made of its other spellings where their country is not known.';

CREATE FUNCTION retention._country(own text, metric text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('coalesce(%s, (SELECT m.country FROM retention.metric m WHERE m.metric = %L))', own,
                metric)
$$;
COMMENT ON FUNCTION retention._country(text, text) IS
  'The expression for the country of a national telephone number: the contact''s own, by an '
  'expression, or that of a metric.';

CREATE FUNCTION retention._keyed_hash(key bytea, address text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_keyed_hash';
COMMENT ON FUNCTION retention._keyed_hash(bytea, text) IS
  'What forget leaves of a suppressed address; null without a key.';

CREATE FUNCTION retention._secret_key(purpose text) RETURNS bytea
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.key FROM retention.secret s WHERE s.purpose = _secret_key.purpose
$$;
COMMENT ON FUNCTION retention._secret_key(text) IS
  'A random key, which nobody but the owner may read; null while there is none.';

CREATE FUNCTION retention._suppressed(channel text, address text, country text)
  RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- The key is read once a statement: while there is none, nobody was forgotten who has an address
  -- on the list.
  SELECT format($expression$
    EXISTS (SELECT FROM retention.suppression listed
            WHERE listed.channel = %1$s
              AND retention._normal_address(listed.channel, listed.address,
                                            NULL) COLLATE "C" = ANY (
                retention._address_spellings(%1$s, %2$s, %3$s)
                || CASE WHEN (SELECT retention._secret_key('suppression')) IS NOT NULL
                        THEN retention._keyed_hash((SELECT retention._secret_key('suppression')),
                                                   retention._normal_address(%1$s, %2$s, %3$s))
                                                     END))$expression$,
    channel, address, country)
$$;
COMMENT ON FUNCTION retention._suppressed(text, text, text) IS
  'The expression for whether an address is on the suppression list, in any spelling or as a '
  'hash, made of expressions.';

CREATE FUNCTION retention.suppress(
    channel text, address text, reason text DEFAULT 'unsubscribed', country text DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention._channels() c
                                           WHERE c.channel = suppress.channel),
    format('channel %s does not exist', coalesce('"' || channel || '"', 'null')),
    'The channels are email, sms, push and webhook.');
  PERFORM retention._check_length('the address to suppress', 'address', address);
  country := coalesce(country, (SELECT m.country FROM retention.metric m
                                WHERE m.metric = 'orders'));
  INSERT INTO retention.suppression
    VALUES (channel, retention._normal_address(channel, address, country), reason, retention.now())
      ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION retention.suppress(text, text, text, text) IS
  'Has an address get no message any more, however contacts write it: after a bounce, a '
  'complaint, or when someone unsubscribes. The country is that of a national telephone number; '
  'null: that of metric "orders".';

CREATE FUNCTION retention._unsendable(
    channel text, address text, has_consent text, is_transactional text, is_late text,
    is_listed text)
  RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format($expression$
    CASE WHEN coalesce(retention._normal_address(%1$s, %2$s, NULL), '') = '' THEN 'no address'
         WHEN NOT %4$s AND %3$s IS NOT TRUE THEN 'no consent'
         WHEN %6$s THEN 'suppression list'
         WHEN %5$s THEN 'late' END$expression$,
    channel, address, has_consent, is_transactional, is_late, is_listed)
$$;
COMMENT ON FUNCTION retention._unsendable(text, text, text, text, text, text) IS
  'The expression for why a message may not be sent, made of expressions; null: it may. Asked '
  'when it is written, and again when it is claimed.';
-- Contacts: where customers are written to.

CREATE FUNCTION retention._channels()
  RETURNS TABLE (channel text, address name, consent name, apart interval)
  -- Planned with the query that calls it.
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  VALUES ('email', 'email'::name, 'email_consent'::name, interval '16 hours'),
         ('sms', 'phone', 'sms_consent', interval '24 hours'),
         ('push', 'push_token', 'push_consent', interval '24 hours'),
         ('webhook', NULL, NULL, NULL);
END;
COMMENT ON FUNCTION retention._channels() IS
  'The channels: columns of the contact with the address and the consent, and how far apart smart '
  'sending keeps messages.';

CREATE FUNCTION retention._check_contact() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.contact');
  PERFORM retention._reject_unless(coalesce(retention._is_time_zone(NEW.time_zone), true),
    format('time zone "%s" of customer "%s" does not exist', NEW.time_zone, NEW.customer_id),
    'Names such as Europe/Warsaw are listed in pg_timezone_names.');
  PERFORM retention._check_length(
      format('customer_id "%s..." of a contact', left(NEW.customer_id, 40)), 'key', NEW.customer_id)
    WHERE octet_length(NEW.customer_id) > retention._most('key');
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_contact() IS
  'Trigger: rejects time zones that do not exist, and keys that are too long.';

CREATE FUNCTION retention._note_consent() RETURNS trigger
  -- Whoever may write contacts needs no other right.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.contact');
  INSERT INTO retention.consent_change
      (customer_id, channel, agreed, changed_at, changed_by, source)
    SELECT NEW.customer_id, c.channel, c.agreed, retention.now(), session_user,
           nullif(current_setting('application_name'), '')
    FROM (VALUES ('email', OLD.email_consent, NEW.email_consent),
                 ('sms', OLD.sms_consent, NEW.sms_consent),
                 ('push', OLD.push_consent, NEW.push_consent)) AS c (channel, before, agreed)
    WHERE c.before IS DISTINCT FROM c.agreed;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._note_consent() IS
  'Trigger: keeps when a consent was given or taken back, and by whom.';

CREATE TRIGGER find_by_name BEFORE INSERT ON retention.contact_source
  FOR EACH ROW EXECUTE FUNCTION retention._find_by_name();
COMMENT ON TRIGGER find_by_name ON retention.contact_source IS 'Finds the relation by its name.';

CREATE FUNCTION retention._contact_columns()
  RETURNS TABLE (name name, type text, number smallint)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT attname, format_type(atttypid, NULL), attnum FROM pg_attribute
  WHERE attrelid = 'retention.contact'::regclass AND attnum > 0 AND NOT attisdropped
$$;
COMMENT ON FUNCTION retention._contact_columns() IS 'The columns of a contact.';

CREATE FUNCTION retention._contact_hint(column_name name, type text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    WHEN type = 'boolean' THEN 'A consent is boolean: only true is one.'
    WHEN type = 'jsonb' THEN 'Properties are an object of type jsonb or json.'
    WHEN column_name = 'time_zone' THEN 'A time zone is text: its name, such as Europe/Warsaw.'
    WHEN column_name = 'country' THEN 'A country is text: two letters of ISO 3166, such as PL.'
    WHEN column_name = 'locale' THEN 'A locale is text, such as pl or pl_PL.'
    WHEN column_name = 'phone'
      THEN 'A telephone number is text: as a number it would lose its plus, or its zeros.'
    ELSE 'An address is text.' END
    || ' Convert it in a view, or leave the column out.';
COMMENT ON FUNCTION retention._contact_hint(name, text) IS
  'What a column of contacts has to be, by its name and type in retention.contact.';

CREATE FUNCTION retention._check_contact_types(relation regclass) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(false,
      format('column "%s" of %s has type %s, which cannot be used here',
             c.name, relation, format_type(a.atttypid, a.atttypmod)),
      retention._contact_hint(c.name, c.type), 'datatype_mismatch')
    FROM retention._contact_columns() AS c
    JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name
      AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = retention._base_type(a.atttypid)
    WHERE c.name <> 'customer_id'
      AND NOT CASE c.type WHEN 'boolean' THEN t.oid = 'boolean'::regtype
                          WHEN 'jsonb' THEN t.oid IN ('jsonb'::regtype, 'json'::regtype)
                          -- Strings of any sort, and enums, are written as text.
                          ELSE t.typcategory IN ('S', 'E')
                            OR c.name = 'push_token' AND t.oid = 'uuid'::regtype END
    ORDER BY c.number;
END
$$;
COMMENT ON FUNCTION retention._check_contact_types(regclass) IS
  'An error where a relation of contacts has a column whose values could not be read, or not be '
  'told: a cast would fail for some customer only, when a message is due.';

CREATE FUNCTION retention.use_contacts(relation regclass) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._pin_settings();
  DELETE FROM retention.contact_source;
  IF relation IS NULL OR relation = 'retention.contact'::regclass THEN
    RETURN;
  END IF;
  PERFORM retention._reject_unless(retention._has_column(relation, 'customer_id'),
    format('column "customer_id" of %s does not exist', relation),
    'Name it so in a view: contacts are found by the customer''s key.', 'undefined_column');
  PERFORM retention._check_contact_types(relation);
  PERFORM retention._check_readable(relation, ARRAY(
    SELECT c.name FROM retention._contact_columns() c
    JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name));
  INSERT INTO retention.contact_source VALUES (relation, relation::text,
                                               pg_get_userbyid(retention._owner(relation)));
  PERFORM FROM retention._their_contacts('{}');
  PERFORM retention._tell(
      format('contacts are read from %s: %s', relation,
             string_agg(c.name, ', ' ORDER BY c.number)
               FILTER (WHERE retention._has_column(relation, c.name)))
      || coalesce('; it has no ' || string_agg(c.name, ', ' ORDER BY c.number)
                    FILTER (WHERE NOT retention._has_column(relation, c.name)), ''), 'notice')
    FROM retention._contact_columns() c WHERE c.name <> 'properties';
END
$$;
COMMENT ON FUNCTION retention.use_contacts(regclass) IS
  'Has flows read contacts from a view or table of the shop''s own, with its owner''s rights: '
  'customer_id, and those columns of retention.contact that it has; what it lacks is null, and of '
  'retention.contact the properties count that flows have set, and nothing else. Null: from '
  'retention.contact again. Changes of such a relation are seen when they are read: before every '
  'action, and by claim_messages.';

CREATE FUNCTION retention._contact_relation() RETURNS regclass
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source retention.contact_source;
  relation regclass;
BEGIN
  SELECT * INTO source FROM retention.contact_source;
  IF NOT FOUND THEN
    RETURN 'retention.contact';
  END IF;
  relation := retention._same_relation(source.relation, source.relation_name, source.owner);
  PERFORM retention._reject_unless(relation IS NOT NULL,
                                   format('relation %s, which has the contacts, does not exist',
                                          source.relation_name),
    format('Its owner "%s" can create it again; or name another one by use_contacts.',
           source.owner), 'undefined_table');
  RETURN relation;
END
$$;
COMMENT ON FUNCTION retention._contact_relation() IS 'Where contacts are read from.';

CREATE FUNCTION retention._their_query(relation regclass, customer_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('SELECT %s FROM %s WHERE %s',
    string_agg(format(CASE WHEN a.attname IS NULL THEN 'NULL::%2$s' ELSE '%1$I::%2$s' END, c.name,
                      c.type), ', ' ORDER BY c.number),
    relation, CASE WHEN customer_ids IS NULL THEN 'true'
                   ELSE retention._keys_condition(relation, 'customer_id', customer_ids) END)
  FROM retention._contact_columns() c
  LEFT JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name AND a.attnum > 0
    AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION retention._their_query(regclass, text[]) IS
  'The query for some customers'' contacts in a relation of the shop''s own, or, with null, for '
  'all; null for the columns that it lacks.';

CREATE FUNCTION retention._their_contacts(customer_ids text[])
  RETURNS TABLE (customer_id text, contact retention.contact, rows bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation regclass := retention._contact_relation();
  columns text;
  fields text;
BEGIN
  -- What flows have set is added to the properties of theirs; nothing else of ours counts.
  SELECT string_agg(format('%I %s', c.name, c.type), ', ' ORDER BY c.number),
         string_agg(CASE WHEN c.name = 'properties'
                         THEN 'coalesce(theirs.properties, ''{}'') || coalesce(ours.properties, '
                              '''{}'')'
                         ELSE format('theirs.%I', c.name) END, ', ' ORDER BY c.number)
    INTO columns, fields
    FROM retention._contact_columns() c;
  RETURN QUERY EXECUTE format($query$
    SELECT theirs.customer_id COLLATE "C", (array_agg(ROW (%s)::retention.contact))[1], count(*)
    FROM retention._query_of($1, $2) AS theirs (%s)
    LEFT JOIN retention.contact ours ON ours.customer_id = theirs.customer_id COLLATE "C"
    GROUP BY 1$query$, fields, columns)
    USING relation, retention._their_query(relation, customer_ids);
END
$$;
COMMENT ON FUNCTION retention._their_contacts(text[]) IS
  'Some customers'' contacts, or, with null, all, in a relation of the shop''s own, read with its '
  'owner''s rights, and how many rows each has, for only one can be meant.';

CREATE FUNCTION retention._contact_query(customer_ids text DEFAULT '$2') RETURNS text
  LANGUAGE sql STABLE
  RETURN CASE WHEN EXISTS (SELECT FROM retention.contact_source)
    THEN format('SELECT * FROM retention._their_contacts(%s)', coalesce(customer_ids, 'NULL'))
    ELSE 'SELECT c.customer_id, c AS contact, 1 AS rows FROM retention.contact c'
         || coalesce(' WHERE c.customer_id = ANY (' || customer_ids || ')', '') END;
COMMENT ON FUNCTION retention._contact_query(text) IS
  'The query for the contacts of customers, whose keys are an expression, or, with null, of all: '
  'key, contact, and how many rows there are.';
-- Triggers and indexes of contacts.

CREATE TRIGGER check_contact BEFORE INSERT OR UPDATE OF customer_id, time_zone ON retention.contact
  FOR EACH ROW WHEN (NEW.time_zone IS NOT NULL OR octet_length(NEW.customer_id) > 2000)
  EXECUTE FUNCTION retention._check_contact();
COMMENT ON TRIGGER check_contact ON retention.contact IS
  'Rejects time zones that do not exist, and keys that are too long.';

CREATE TRIGGER note_consent
  AFTER UPDATE OF email_consent, sms_consent, push_consent ON retention.contact FOR EACH ROW
  WHEN ((OLD.email_consent, OLD.sms_consent, OLD.push_consent)
        IS DISTINCT FROM (NEW.email_consent, NEW.sms_consent, NEW.push_consent))
  EXECUTE FUNCTION retention._note_consent();
COMMENT ON TRIGGER note_consent ON retention.contact IS 'Keeps changes of consent.';

-- Rows may be written by hand, in any spelling.
CREATE INDEX suppression_normal ON retention.suppression (channel,
                                                          (retention._normal_address(channel,
                                                              address, NULL) COLLATE "C"));
-- Flows, their versions and nodes, and the enrollments of customers.

CREATE TABLE retention.flow (
  flow_id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  flow             text COLLATE "C" NOT NULL UNIQUE,
  owner            name NOT NULL,
  owner_id         oid NOT NULL DEFAULT 0,
  status           text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'manual', 'live',
      'paused', 'archived')),
  draft            jsonb NOT NULL,
  version          integer,
  running_since    timestamptz,
  trigger_position bigint,
  fires_at         timestamptz,
  error            text,
  error_code       text,
  error_at         timestamptz,
  failures         integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE retention.flow IS 'Flows, with their status. Made by create_flow.';
COMMENT ON COLUMN retention.flow.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.flow.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow.owner IS
  'Role with whose rights its expressions are run: who made it, or was made its owner by '
  'set_flow_owner.';
COMMENT ON COLUMN retention.flow.owner_id IS
  'That role by its number, which a renamed one keeps, and another one of the same name has not; '
  '0: there is none of the name.';
COMMENT ON COLUMN retention.flow.status IS
  'draft, manual, live, paused or archived. Changed by set_status.';
COMMENT ON COLUMN retention.flow.draft IS
  'The document as last given to create_flow; publish makes a version of it.';
COMMENT ON COLUMN retention.flow.version IS
  'Version that new enrollments run; null before the first publish.';
COMMENT ON COLUMN retention.flow.running_since IS
  'Engine''s time since when it is live or manual: what happened before starts nothing.';
COMMENT ON COLUMN retention.flow.trigger_position IS
  'Last change or event that has been looked at, by the trigger''s own numbers.';
COMMENT ON COLUMN retention.flow.fires_at IS 'When a trigger of dates or a schedule is due next.';
COMMENT ON COLUMN retention.flow.error IS
  'Why nobody can enter: the trigger or the entry filter cannot be run any more; null: they can.';
COMMENT ON COLUMN retention.flow.error_code IS 'SQLSTATE of that error.';
COMMENT ON COLUMN retention.flow.error_at IS 'Engine''s time of that error.';
COMMENT ON COLUMN retention.flow.failures IS
  'How often in a row; it is tried again after a minute, then two, four, up to an hour.';

CREATE TABLE retention.flow_home (
  only_one   boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  here       text NOT NULL,
  decided_at timestamptz NOT NULL
);
COMMENT ON TABLE retention.flow_home IS
  'The database in which flows run and messages are sent. Written when the first flow goes live, '
  'and by resume_here.';
COMMENT ON COLUMN retention.flow_home.only_one IS 'There is one row at most.';
COMMENT ON COLUMN retention.flow_home.here IS
  'Identifier of the cluster and number of the database: a restored copy has others.';
COMMENT ON COLUMN retention.flow_home.decided_at IS 'Engine''s time since when.';

CREATE TABLE retention.flow_version (
  flow_id      integer NOT NULL,
  version      integer NOT NULL,
  document     jsonb NOT NULL,
  published_at timestamptz NOT NULL,
  PRIMARY KEY (flow_id, version)
);
COMMENT ON TABLE retention.flow_version IS
  'Published documents, which never change. Written by publish.';
COMMENT ON COLUMN retention.flow_version.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.flow_version.version IS 'Number of the version, from 1.';
COMMENT ON COLUMN retention.flow_version.document IS 'The document.';
COMMENT ON COLUMN retention.flow_version.published_at IS 'Engine''s time of its publication.';

CREATE TABLE retention.flow_node (
  node_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  flow_id  integer NOT NULL,
  version  integer NOT NULL,
  node     text COLLATE "C" NOT NULL,
  type     text NOT NULL,
  config   jsonb NOT NULL,
  targets  integer[] NOT NULL,
  branch   text,
  due      text,
  payload  text,
  error      text,
  error_code text,
  error_at   timestamptz,
  failures   integer NOT NULL DEFAULT 0,
  UNIQUE (flow_id, version, node)
);
COMMENT ON TABLE retention.flow_node IS
  'The nodes of published versions, compiled. Written by publish.';
COMMENT ON COLUMN retention.flow_node.node_id IS
  'Number of the node: in each version greater than those of all nodes that lead to it.';
COMMENT ON COLUMN retention.flow_node.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.flow_node.version IS 'Number of the version.';
COMMENT ON COLUMN retention.flow_node.node IS 'Its id in the document.';
COMMENT ON COLUMN retention.flow_node.type IS
  'message, delay, wait_for, split, random_split, set_property, coupon, enter_flow or exit.';
COMMENT ON COLUMN retention.flow_node.config IS 'The node as it stands in the document.';
COMMENT ON COLUMN retention.flow_node.targets IS
  'Numbers of the nodes that its branches lead to; null: the end.';
COMMENT ON COLUMN retention.flow_node.branch IS 'Expression for which branch a customer takes.';
COMMENT ON COLUMN retention.flow_node.due IS
  'Expression for how long a customer waits here; null or past: not at all.';
COMMENT ON COLUMN retention.flow_node.payload IS
  'Expression for what the node hands on: a message''s context, properties to set.';
COMMENT ON COLUMN retention.flow_node.error IS
  'Why customers wait here: an expression that cannot be run, for now or any more; null when it '
  'can.';
COMMENT ON COLUMN retention.flow_node.error_code IS 'SQLSTATE of that error.';
COMMENT ON COLUMN retention.flow_node.error_at IS 'Engine''s time of that error.';
COMMENT ON COLUMN retention.flow_node.failures IS
  'How often in a row; they are tried again after a minute, then two, four, up to an hour.';

CREATE TABLE retention.message_status (
  flow_id integer NOT NULL,
  node    text COLLATE "C" NOT NULL,
  status  text NOT NULL CHECK (status IN ('draft', 'manual', 'live')),
  PRIMARY KEY (flow_id, node)
);
COMMENT ON TABLE retention.message_status IS
  'Statuses of single messages that differ from their documents. Written by set_status.';
COMMENT ON COLUMN retention.message_status.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.message_status.node IS 'Id of the message''s node.';
COMMENT ON COLUMN retention.message_status.status IS 'draft, manual or live.';

CREATE TABLE retention.flow_entry (
  flow_id     integer NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  event       jsonb NOT NULL,
  number      bigint GENERATED ALWAYS AS IDENTITY,
  due_at      timestamptz,
  error       text,
  error_code  text,
  failures    integer NOT NULL DEFAULT 0,
  PRIMARY KEY (flow_id, number)
);
COMMENT ON TABLE retention.flow_entry IS
  'Who is to enter a flow with the next tick: by enroll, from another flow, by a date or a '
  'schedule.';
COMMENT ON COLUMN retention.flow_entry.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.flow_entry.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.flow_entry.event IS 'What the flow will see as its event.';
COMMENT ON COLUMN retention.flow_entry.number IS 'They enter in this order.';
COMMENT ON COLUMN retention.flow_entry.due_at IS
  'When it is tried again, where the entry filter could not be run for this customer; null: now.';
COMMENT ON COLUMN retention.flow_entry.error IS 'Why it could not be run.';
COMMENT ON COLUMN retention.flow_entry.error_code IS 'SQLSTATE of that error.';
COMMENT ON COLUMN retention.flow_entry.failures IS
  'How often in a row; it is tried again after a minute, then two, four, up to an hour.';

CREATE TABLE retention.changed_customers (
  customer_ids text[] NOT NULL,
  noted_at     timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE retention.changed_customers REPLICA IDENTITY FULL;
COMMENT ON TABLE retention.changed_customers IS
  'Customers who have changed since the last tick, so that flows look again whether they wait for '
  'it or have to exit. Written while any flow runs.';
COMMENT ON COLUMN retention.changed_customers.customer_ids IS 'Keys of customers.';
COMMENT ON COLUMN retention.changed_customers.noted_at IS 'Real time at which they were noted.';

CREATE TABLE retention.enrollment (
  enrollment_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  flow_id       integer NOT NULL,
  node_id       integer NOT NULL,
  is_holdout    boolean NOT NULL,
  entered_at    timestamptz NOT NULL,
  since         timestamptz,
  due_at        timestamptz,
  finished_at   timestamptz,
  customer_id   text COLLATE "C",
  outcome       text,
  reason        text,
  error_code    text,
  event         jsonb NOT NULL
);
CREATE INDEX enrollment_due ON retention.enrollment (flow_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX enrollment_customer ON retention.enrollment (customer_id, flow_id);
CREATE INDEX enrollment_failed ON retention.enrollment (flow_id) WHERE outcome = 'error';
COMMENT ON TABLE retention.enrollment IS
  'Customers in flows: where each one is, and how it ended. flow_enrollment shows it with names.';
COMMENT ON COLUMN retention.enrollment.enrollment_id IS 'Number of the enrollment.';
COMMENT ON COLUMN retention.enrollment.flow_id IS 'Number of the flow.';
COMMENT ON COLUMN retention.enrollment.node_id IS 'Node at which the customer waits, or was last.';
COMMENT ON COLUMN retention.enrollment.is_holdout IS
  'Whether the customer passes through without messages.';
COMMENT ON COLUMN retention.enrollment.entered_at IS
  'Engine''s time at which the customer entered.';
COMMENT ON COLUMN retention.enrollment.since IS
  'Since when the customer waits at this node; null: comes to it when due.';
COMMENT ON COLUMN retention.enrollment.due_at IS 'When it goes on; null: ended.';
COMMENT ON COLUMN retention.enrollment.finished_at IS 'Engine''s time at which it ended.';
COMMENT ON COLUMN retention.enrollment.customer_id IS
  'The shop''s key of the customer, as text; null after forget.';
COMMENT ON COLUMN retention.enrollment.outcome IS
  'How it ended: completed, exited, filtered, exhausted, archived, forgotten, error, or what an '
  'exit node says.';
COMMENT ON COLUMN retention.enrollment.reason IS 'Of an error: what went wrong.';
COMMENT ON COLUMN retention.enrollment.error_code IS 'Of an error: its SQLSTATE.';
COMMENT ON COLUMN retention.enrollment.event IS 'What started it.';

CREATE TABLE retention.coupon_pool (
  pool      text COLLATE "C" PRIMARY KEY CHECK (pool <> ''),
  prefix    text,
  length    integer CHECK (length BETWEEN 6 AND 40),
  valid_for interval CHECK (retention._span_problem(valid_for, 1) IS NULL)
);
COMMENT ON TABLE retention.coupon_pool IS
  'Where coupon nodes take codes from. Made by add_coupon_pool.';
COMMENT ON COLUMN retention.coupon_pool.pool IS 'Name of the pool.';
COMMENT ON COLUMN retention.coupon_pool.prefix IS 'What generated codes begin with.';
COMMENT ON COLUMN retention.coupon_pool.length IS
  'Random letters and digits of a generated code; null: codes are imported.';
COMMENT ON COLUMN retention.coupon_pool.valid_for IS
  'How long a code is valid after it was issued; null: for ever.';

CREATE TABLE retention.coupon (
  pool          text COLLATE "C" NOT NULL,
  code          text COLLATE "C" NOT NULL,
  enrollment_id bigint,
  node          text COLLATE "C",
  customer_id   text COLLATE "C",
  issued_at     timestamptz,
  expires_at    timestamptz,
  PRIMARY KEY (pool, code),
  UNIQUE (enrollment_id, node)
);
CREATE INDEX coupon_free ON retention.coupon (pool, code) WHERE issued_at IS NULL;
COMMENT ON TABLE retention.coupon IS
  'Codes: imported ones that are free, and those that were issued, each once.';
COMMENT ON COLUMN retention.coupon.pool IS 'Pool of the code.';
COMMENT ON COLUMN retention.coupon.code IS 'The code.';
COMMENT ON COLUMN retention.coupon.enrollment_id IS 'Enrollment that it was issued to.';
COMMENT ON COLUMN retention.coupon.node IS 'Node that issued it.';
COMMENT ON COLUMN retention.coupon.customer_id IS
  'The shop''s key of the customer; null after forget.';
COMMENT ON COLUMN retention.coupon.issued_at IS 'Engine''s time of issue; null: free.';
COMMENT ON COLUMN retention.coupon.expires_at IS 'Until when it is valid; null: for ever.';

-- Internal: what a tick passes from step to step.
CREATE TYPE retention.traveller AS (
  enrollment_id bigint,
  flow_id       integer,
  node_id       integer,
  is_holdout    boolean,
  entered_at    timestamptz,
  since         timestamptz,
  due_at        timestamptz,
  customer_id   text,
  event         jsonb,
  properties    jsonb,
  outcome       text,
  reason        text,
  error_code    text,
  is_new        boolean,
  is_changed    boolean,
  is_waiting    boolean,
  contact       retention.contact
);
COMMENT ON TYPE retention.traveller IS
  'An enrollment on its way through a tick: its row, properties that were set, whether it has to '
  'be written, whether it waits, and its customer''s contact.';

CREATE TYPE retention.queued_message AS (
  enrollment_id bigint,
  flow_id       integer,
  node_id       integer,
  customer_id   text,
  due_at        timestamptz,
  reason        text,
  address       text,
  context       jsonb
);
COMMENT ON TYPE retention.queued_message IS
  'A message that a node has decided on in a tick, to be rendered and written at its end.';

CREATE VIEW retention.flow_enrollment AS
  SELECT f.flow, n.version, e.enrollment_id, e.customer_id, n.node, e.entered_at, e.since, e.due_at,
         e.is_holdout, e.event, e.outcome, e.reason, e.finished_at
  FROM retention.enrollment e
  JOIN retention.flow_node n USING (node_id)
  JOIN retention.flow f ON f.flow_id = e.flow_id;
COMMENT ON VIEW retention.flow_enrollment IS
  'Customers in flows: where each one is, and how it ended.';
COMMENT ON COLUMN retention.flow_enrollment.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow_enrollment.version IS 'Version that the customer goes through.';
COMMENT ON COLUMN retention.flow_enrollment.enrollment_id IS 'Number of the enrollment.';
COMMENT ON COLUMN retention.flow_enrollment.customer_id IS
  'The shop''s key of the customer; null after forget.';
COMMENT ON COLUMN retention.flow_enrollment.node IS
  'Id of the node at which the customer waits, or was last.';
COMMENT ON COLUMN retention.flow_enrollment.entered_at IS
  'Engine''s time at which the customer entered.';
COMMENT ON COLUMN retention.flow_enrollment.since IS 'Since when the customer waits at this node.';
COMMENT ON COLUMN retention.flow_enrollment.due_at IS 'When it goes on; null: ended.';
COMMENT ON COLUMN retention.flow_enrollment.is_holdout IS
  'Whether the customer passes through without messages.';
COMMENT ON COLUMN retention.flow_enrollment.event IS 'What started it.';
COMMENT ON COLUMN retention.flow_enrollment.outcome IS 'How it ended; null while it runs.';
COMMENT ON COLUMN retention.flow_enrollment.reason IS 'Of an error: what went wrong.';
COMMENT ON COLUMN retention.flow_enrollment.finished_at IS 'Engine''s time at which it ended.';
SELECT pg_extension_config_dump('retention.flow', '');
SELECT pg_extension_config_dump('retention.flow_home', '');
SELECT pg_extension_config_dump('retention.flow_flow_id_seq', '');
SELECT pg_extension_config_dump('retention.flow_version', '');
SELECT pg_extension_config_dump('retention.flow_node', '');
SELECT pg_extension_config_dump('retention.flow_node_node_id_seq', '');
SELECT pg_extension_config_dump('retention.message_status', '');
SELECT pg_extension_config_dump('retention.flow_entry', '');
SELECT pg_extension_config_dump('retention.flow_entry_number_seq', '');
SELECT pg_extension_config_dump('retention.changed_customers', '');
SELECT pg_extension_config_dump('retention.enrollment', '');
SELECT pg_extension_config_dump('retention.enrollment_enrollment_id_seq', '');
SELECT pg_extension_config_dump('retention.coupon_pool', '');
SELECT pg_extension_config_dump('retention.coupon', '');
-- Customers who have changed, and may have to be woken.

CREATE FUNCTION retention._flows_run() RETURNS boolean
  LANGUAGE sql STABLE
  RETURN EXISTS (SELECT FROM retention.flow WHERE status IN ('live', 'manual', 'paused'));
COMMENT ON FUNCTION retention._flows_run() IS
  'Whether any flow has to learn of customers who change.';

CREATE FUNCTION retention._note_changed(customer_ids text[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  -- In rows of so many, which a tick takes one by one.
  IF customer_ids <> '{}' AND retention._flows_run() THEN
    INSERT INTO retention.changed_customers (customer_ids)
      SELECT customer_ids[i : i + 999]
      FROM generate_series(1, cardinality(customer_ids), 1000) AS i;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._note_changed(text[]) IS
  'Has flows look again at some customers with the next tick. Costs nothing where no flow runs.';

CREATE FUNCTION retention._note_contacts() RETURNS trigger
  -- Whoever may write contacts needs no other right.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.contact');
  PERFORM retention._note_changed(array_agg(customer_id)) FROM changed;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._note_contacts() IS
  'Trigger: has flows look again at customers whose contact has changed.';
-- Times of day and days of the week in a customer's zone.

CREATE FUNCTION retention._zone(time_zone text, flow_zone text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN retention._is_time_zone(time_zone) THEN time_zone ELSE flow_zone END;
COMMENT ON FUNCTION retention._zone(text, text) IS
  'A customer''s time zone, where there is one of that name; else the flow''s.';

CREATE FUNCTION retention._add_local(at timestamptz, span interval, zone text)
  RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  -- Without days the local time is left alone: of the hour that comes twice it would be taken for
  -- the second.
  RETURN CASE
    WHEN NOT retention._in_calendar(at) THEN at
    WHEN date_trunc('day', retention._span(span)) = interval '0' THEN at + retention._span(span)
    ELSE ((at AT TIME ZONE zone) + date_trunc('day', retention._span(span))) AT TIME ZONE zone
         + (retention._span(span) - date_trunc('day', retention._span(span))) END;
COMMENT ON FUNCTION retention._add_local(timestamptz, interval, text) IS
  'A time later by months and days of the zone''s calendar, and by real hours.';

CREATE FUNCTION retention._add_days(day date, span interval) RETURNS date
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN day BETWEEN date '0001-01-01'
    AND date '9999-12-31' THEN (day + retention._span(span))::date END;
COMMENT ON FUNCTION retention._add_days(date, interval) IS
  'The day so much later; null for one that is not in the calendar.';

CREATE FUNCTION retention._next_local(
    at timestamptz, local_time time, weekdays integer[], zone text)
  RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN CASE WHEN local_time IS NULL AND weekdays IS NULL OR NOT retention._in_calendar(at) THEN at
    ELSE (
    SELECT min(moment)
    FROM (SELECT CASE WHEN local_time IS NULL THEN greatest(at, day AT TIME ZONE zone)
                 ELSE (day + local_time) AT TIME ZONE zone END AS moment
          FROM generate_series(date_trunc('day', at AT TIME ZONE zone),
                               date_trunc('day', at AT TIME ZONE zone) + interval '8 days',
                               interval '1 day') AS day
          WHERE weekdays IS NULL OR extract(isodow FROM day) = ANY (weekdays)) AS candidate
    WHERE moment >= at) END;
COMMENT ON FUNCTION retention._next_local(timestamptz, time, integer[], text) IS
  'The first moment from a time on that has this local time, on one of these weekdays (1 is '
  'Monday); null: any.';

CREATE FUNCTION retention._local_moment(moment date, zone text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN CASE WHEN moment > date '9999-12-31' THEN 'infinity'
    WHEN moment < date '0001-01-01' THEN '-infinity'
              ELSE moment::timestamp AT TIME ZONE zone END;
COMMENT ON FUNCTION retention._local_moment(date, text) IS
  'A date''s midnight in a zone; infinity after the year 9999, minus infinity before the year 1.';

CREATE FUNCTION retention._local_moment(moment timestamp, zone text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN CASE WHEN moment >= timestamp '10000-01-01' THEN 'infinity'
              WHEN moment < timestamp '0001-01-01' THEN '-infinity' ELSE moment AT TIME ZONE zone
                END;
COMMENT ON FUNCTION retention._local_moment(timestamp, text) IS
  'A local time in a zone; infinity after the year 9999, minus infinity before the year 1.';

CREATE FUNCTION retention._local_moment(moment timestamptz, zone text)
  RETURNS timestamptz
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN moment >= timestamptz '10000-01-01 00:00+00' THEN 'infinity'
              WHEN moment < timestamptz '0001-01-01 00:00+00' THEN '-infinity' ELSE moment END;
COMMENT ON FUNCTION retention._local_moment(timestamptz, text) IS
  'A time, as it is; infinity after the year 9999, minus infinity before the year 1.';

CREATE FUNCTION retention._quiet_until(at timestamptz, starts time, ends time, zone text)
  RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  -- Without a subquery, so that it becomes part of the statement that calls it.
  RETURN CASE WHEN NOT retention._in_calendar(at) THEN NULL
              WHEN CASE WHEN starts <= ends THEN (at AT TIME ZONE zone)::time >= starts
                AND (at AT TIME ZONE zone)::time < ends
                        ELSE (at AT TIME ZONE zone)::time >= starts
                          OR (at AT TIME ZONE zone)::time < ends END
              THEN ((at AT TIME ZONE zone)::date + CASE
                    WHEN (at AT TIME ZONE zone)::time >= ends THEN 1 ELSE 0 END + ends)
                      AT TIME ZONE zone END;
COMMENT ON FUNCTION retention._quiet_until(timestamptz, time, time, text) IS
  'When the quiet hours end in which a time lies; null: it lies in none.';
-- The row that conditions and templates see of a customer.

CREATE FUNCTION retention._person_columns() RETURNS TABLE (name name, origin text)
  LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT DISTINCT ON (attname) attname, CASE attrelid
    WHEN 'retention.profile'::regclass THEN 'profile' ELSE 'contact' END
  FROM pg_attribute
  WHERE attrelid IN ('retention.profile'::regclass, 'retention.contact'::regclass)
    AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('metric', 'customer_id', 'properties')
  ORDER BY attname, attrelid = 'retention.profile'::regclass;
END;
COMMENT ON FUNCTION retention._person_columns() IS
  'What expressions can use of a customer, besides properties.';

CREATE FUNCTION retention._merge_properties(properties jsonb, changes jsonb)
  RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (coalesce(properties, '{}') || changes) - ARRAY(SELECT key FROM jsonb_each(changes)
                                                         WHERE value = 'null');
COMMENT ON FUNCTION retention._merge_properties(jsonb, jsonb) IS
  'Properties after some were set, or, by null, removed.';

CREATE FUNCTION retention._profile_query(metric text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns text;
BEGIN
  IF NOT EXISTS (
    SELECT FROM retention.source s
    WHERE s.metric = _profile_query.metric AND s.kind = 'order' AND retention._has_days(s))
  THEN
    RETURN format(
      'SELECT * FROM retention.profile WHERE metric = %L AND customer_id = ANY ($2)', metric);
  END IF;
  SELECT string_agg(format(CASE WHEN attname IN ('first_order_at', 'last_order_at') THEN
           'CASE WHEN p.%1$I = c.last_order_at AND p.%1$I = date_trunc(''day'', p.%1$I, m.time_zone)
                 THEN retention._order_moment(p.%1$I, c.last_order_known_at, m.time_zone)
                 ELSE p.%1$I END AS %1$I'
           ELSE 'p.%I' END, attname), ', ' ORDER BY attnum) INTO columns
    FROM pg_attribute WHERE attrelid = 'retention.profile'::regclass AND attnum > 0;
  RETURN format('SELECT %s FROM retention.profile p
                 LEFT JOIN retention.customer c
                   ON (c.customer_id, c.metric) = (p.customer_id, p.metric)
                 LEFT JOIN retention.metric m ON m.metric = p.metric
                 WHERE p.metric = %L AND p.customer_id = ANY ($2)', columns, metric);
END
$$;
COMMENT ON FUNCTION retention._profile_query(text) IS
  'The query for the profiles, by a metric, of the customers $2. Where sources have dates only, '
  'orders are dated by when they became known, so that they can be compared with times.';

CREATE FUNCTION retention._person_query(metric text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A unique key: the planner leaves the profile out where no expression uses it.
  RETURN (SELECT format($query$(
    SELECT t AS traveller, t.customer_id, t.event, t.entered_at, coalesce(t.since, $3) AS since, %s,
           CASE WHEN t.properties IS NULL THEN coalesce((t.contact).properties, '{}')
             ELSE retention._merge_properties((t.contact).properties,
                                              t.properties) END AS properties
    FROM unnest($1::retention.traveller[]) AS t
    LEFT JOIN (%s) AS profile ON profile.customer_id = t.customer_id) AS person$query$,
    string_agg(format(CASE c.origin WHEN 'contact' THEN '(t.contact).%I' ELSE 'profile.%I' END,
                      c.name), ', '),
    retention._profile_query(metric))
    FROM retention._person_columns() AS c);
END
$$;
COMMENT ON FUNCTION retention._person_query(text) IS
  'What expressions of flows read: a row "person" for each traveller of $1, whose customers are '
  '$2, as of $3.';
-- The document of a flow, and everything that can be wrong with it.

CREATE FUNCTION retention._check_expression(expression text) RETURNS void
  LANGUAGE c IMMUTABLE STRICT
  AS 'MODULE_PATHNAME', 'retention_check_expression';
COMMENT ON FUNCTION retention._check_expression(text) IS
  'An error unless a text is exactly one SQL expression.';

CREATE FUNCTION retention._document_keys()
  RETURNS TABLE (object text, key text, kind text, is_required boolean)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('flow', 'name', 'name', true), ('flow', 'description', 'text', false),
    ('flow', 'trigger', 'object', true),
    ('flow', 'entry_filter', 'condition', false), ('flow', 'filter', 'condition', false),
    ('flow', 'exit', 'condition', false),
    ('flow', 'reentry', 'reentry', false), ('flow', 'concurrent', 'boolean', false),
    ('flow', 'holdout', 'per cent', false),
    ('flow', 'time_zone', 'time zone', false), ('flow', 'quiet_hours', 'object', false),
    ('flow', 'conversion_window', 'interval', false),
    ('flow', 'metric', 'metric', false), ('flow', 'one_per_address', 'boolean', false),
    ('flow', 'nodes', 'objects', true),
    ('quiet_hours', 'from', 'time', true), ('quiet_hours', 'until', 'time', true),
    ('trigger segment', 'segment', 'segment', true),
    ('trigger segment', 'change', 'entered or left', false),
    ('trigger rfm_group', 'from', 'groups', false), ('trigger rfm_group', 'to', 'groups', false),
    ('trigger date', 'column', 'date column', true), ('trigger date', 'offset', 'offset', false),
    ('trigger date', 'at', 'time', false),
    ('trigger schedule', 'at', 'time', true), ('trigger schedule', 'weekdays', 'weekdays', false),
    ('trigger schedule', 'condition', 'condition', false),
    ('trigger order', 'max_age', 'interval', false),
    ('trigger refund', 'max_age', 'interval', false),
    ('trigger manual', NULL, NULL, false),
    ('node message', 'channel', 'channel', true), ('node message', 'subject', 'template', false),
    ('node message', 'body', 'template', true),
    ('node message', 'text', 'template', false), ('node message', 'url', 'template', false),
    ('node message', 'data', 'expressions', false),
    ('node message', 'status', 'message status', false),
    ('node message', 'transactional', 'boolean', false),
    ('node message', 'smart_sending', 'smart sending', false),
    ('node message', 'one_per_address', 'boolean', false),
    ('node message', 'lateness', 'interval', false), ('node message', 'next', 'node', false),
    ('node delay', 'for', 'interval', false), ('node delay', 'until', 'moment', false),
    ('node delay', 'weekdays', 'weekdays', false),
    ('node delay', 'at', 'time', false), ('node delay', 'next', 'node', false),
    ('node wait_for', 'condition', 'condition', true),
    ('node wait_for', 'timeout', 'interval', true),
    ('node wait_for', 'next', 'node', false), ('node wait_for', 'else', 'node', false),
    ('node split', 'branches', 'objects', true), ('node split', 'else', 'node', false),
    ('branch', 'when', 'condition', true), ('branch', 'next', 'node', false),
    ('node random_split', 'arms', 'objects', true),
    ('arm', 'name', 'name', true), ('arm', 'share', 'per cent', true),
    ('arm', 'next', 'node', false),
    ('node set_property', 'set', 'expressions', true), ('node set_property', 'next', 'node', false),
    ('node coupon', 'pool', 'coupon pool', true), ('node coupon', 'next', 'node', false),
    ('node coupon', 'else', 'node', false),
    ('node enter_flow', 'flow', 'flow', true), ('node enter_flow', 'next', 'node', false),
    ('node exit', 'outcome', 'name', false)
$$;
COMMENT ON FUNCTION retention._document_keys() IS
  'The objects of a flow document, and what each may have under which key.';

CREATE FUNCTION retention._elements(list jsonb)
  RETURNS TABLE (element jsonb, number integer)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT e.value, (e.number - 1)::integer
  FROM jsonb_array_elements(CASE jsonb_typeof(list) WHEN 'array' THEN list ELSE '[]'
                            END) WITH ORDINALITY AS e (value, number)
$$;
COMMENT ON FUNCTION retention._elements(jsonb) IS
  'The elements of an array, counted from 0; none of anything else.';

CREATE FUNCTION retention._document_objects(document jsonb)
  RETURNS TABLE (path text, object text, value jsonb)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '', 'flow', document
  UNION ALL SELECT 'trigger', 'trigger ' || coalesce(document #>> '{trigger,type}', ''),
  document -> 'trigger' WHERE document ? 'trigger'
  UNION ALL SELECT 'quiet_hours', 'quiet_hours', document -> 'quiet_hours'
    WHERE document ? 'quiet_hours'
  UNION ALL SELECT format('nodes[%s]', n.number), 'node ' || coalesce(n.element ->> 'type', ''),
  n.element FROM retention._elements(document -> 'nodes') AS n
  UNION ALL
  SELECT format('nodes[%s].%s[%s]', n.number, list.key, part.number), list.object, part.element
  FROM retention._elements(document -> 'nodes') AS n
  JOIN (VALUES ('split', 'branches', 'branch'), ('random_split', 'arms', 'arm')) AS list (type, key,
      object) ON list.type = n.element ->> 'type',
  LATERAL retention._elements(n.element -> list.key) AS part
$$;
COMMENT ON FUNCTION retention._document_objects(jsonb) IS
  'All objects of a document, with their paths and what they are.';

CREATE FUNCTION retention._expression_problem(
    expression text, wrapper text, metric text, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  reason text := retention._length_problem('condition', expression);
BEGIN
  IF reason IS NOT NULL THEN
    RETURN reason;
  END IF;
  PERFORM retention._check_expression(expression);
  PERFORM FROM retention._query_as(author,
      format(wrapper, E'(\n' || expression || E'\n)', retention._person_query(metric)),
      '{}'::retention.traveller[], '{}'::text[], retention.now()) AS q (nothing boolean);
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT;
  RETURN reason;
END
$$;
COMMENT ON FUNCTION retention._expression_problem(text, text, text, regrole) IS
  'Why an expression does not compile as part of a query, with the rights of its author; null: it '
  'does.';

CREATE FUNCTION retention._template_names(template text)
  RETURNS TABLE (object text, name text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT part[1], coalesce(part[2], part[3])
  FROM unnest(retention.template_variables(template)) AS v,
  -- A name can stand in quotes.
  regexp_match(v, '^([^.]+)(?:[.](?:"([^"]*)"|([^.]*)))?') AS part
$$;
COMMENT ON FUNCTION retention._template_names(text) IS
  'The objects that a template uses, and what it uses of them.';

CREATE FUNCTION retention._template_problem(template text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  reason text;
BEGIN
  -- What it uses of a person becomes columns of a query.
  RETURN (
    SELECT CASE WHEN count(*) > retention._most('variables')
                THEN format('must use at most %s variables, not %s', retention._most('variables'),
                            count(*))
                ELSE min(format('person."%s": the name %s', left(n.name, 100),
                                retention._length_problem('column', n.name)))
                       FILTER (WHERE n.object = 'person'
                               AND retention._length_problem('column', n.name) IS NOT NULL) END
    FROM retention._template_names(template) AS n);
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT;
  RETURN reason;
END
$$;
COMMENT ON FUNCTION retention._template_problem(text) IS
  'Why a template does not parse; null: it does.';

CREATE FUNCTION retention._interval_problem(value text, at_least integer, otherwise text)
  RETURNS text
  -- As a tick reads it, and reports do, whatever the session's style is.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres
AS $$
BEGIN
  RETURN (
    SELECT CASE
      -- PostgreSQL takes it for seconds, which nobody means.
      WHEN value ~ '^[ @P+-]*[0-9.]*[1-9][0-9.]* *$'
        THEN format('needs a unit, as in "%s days"', btrim(value))
      WHEN NOT retention._is_of_type(value, 'interval')
        OR sign(extract(epoch FROM value::interval)) < at_least THEN otherwise
      ELSE retention._span_problem(value::interval, at_least) END);
END
$$;
COMMENT ON FUNCTION retention._interval_problem(text, integer, text) IS
  'What is wrong with the text of an interval, as in _span_problem; where it is none, or too '
  'short, otherwise.';

CREATE FUNCTION retention._weekdays() RETURNS text[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ARRAY['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'];
COMMENT ON FUNCTION retention._weekdays() IS 'Names of the weekdays, from Monday.';

CREATE FUNCTION retention._text_problem(
    kind text, value text, document jsonb, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT CASE kind
      WHEN 'text' THEN retention._length_problem(kind, value)
      WHEN 'name' THEN retention._length_problem(kind, value)
      WHEN 'template' THEN retention._template_problem(value)
      WHEN 'condition' THEN retention._expression_problem(value,
                                                          'SELECT true FROM %2$s WHERE %1$s LIMIT '
                                                          '0', metric, author)
      -- Where no aggregate can stand, as none can at a node.
      WHEN 'moment' THEN retention._expression_problem(value,
                                                       'SELECT true FROM %2$s WHERE '
                                                       'retention._local_moment(%1$s, ''UTC'') IS '
                                                       'NULL LIMIT 0', metric, author)
      WHEN 'interval' THEN retention._interval_problem(value, 0,
                                                       'must be an interval that is not negative, '
                                                       'such as "3 days"')
      WHEN 'offset' THEN retention._interval_problem(value, -1,
                                                     'must be an interval, such as "-3 days"')
      WHEN 'reentry' THEN CASE WHEN value NOT IN ('never', 'always') THEN
        retention._interval_problem(value, 1,
                                    'must be "never", "always" or an interval, such as "90 '
                                    'days"') END
      WHEN 'smart sending' THEN retention._interval_problem(value, 1,
                                                            'must be an interval, such as "16 '
                                                            'hours", or false')
      WHEN 'time' THEN CASE WHEN value !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'
        THEN 'must be a time of day, such as "09:30"' END
      WHEN 'time zone' THEN CASE WHEN NOT retention._is_time_zone(value)
        THEN 'must be a name that pg_timezone_names lists, such as "Europe/Warsaw"' END
      WHEN 'entered or left' THEN CASE WHEN value NOT IN ('entered', 'left')
        THEN 'must be "entered" or "left"' END
      WHEN 'message status' THEN CASE WHEN value NOT IN ('draft', 'manual', 'live')
        THEN 'must be "draft", "manual" or "live"' END
      WHEN 'channel' THEN CASE WHEN value NOT IN (SELECT channel FROM retention._channels())
        THEN 'must be "email", "sms", "push" or "webhook"' END
      WHEN 'metric' THEN CASE WHEN NOT EXISTS (SELECT FROM retention.metric m
                                               WHERE m.metric = value)
                                                 THEN format('metric "%s" does not exist',
                                                     value) END
      WHEN 'segment' THEN CASE WHEN NOT EXISTS (SELECT FROM retention.segment s
                                                WHERE s.segment = value)
                                                  THEN format('segment "%s" does not exist: '
                                                            'add_segment makes it', value) END
      WHEN 'coupon pool' THEN CASE WHEN NOT EXISTS (SELECT FROM retention.coupon_pool p
                                                    WHERE p.pool = value)
                                                      THEN format('coupon pool "%s" does not '
                                                            'exist: add_coupon_pool makes it',
                                                            value) END
      WHEN 'flow' THEN CASE WHEN value <> document ->> 'name'
        AND NOT EXISTS (SELECT FROM retention.flow f WHERE f.flow = value)
        THEN format('flow "%s" does not exist', value) END
      WHEN 'node' THEN CASE WHEN NOT jsonb_path_exists(document, '$.nodes[*] ? (@.id == $id)',
                                                       jsonb_build_object('id', value))
                       THEN format('node "%s" does not exist', value) END
      WHEN 'date column' THEN CASE WHEN NOT EXISTS (SELECT FROM pg_attribute
                                                    WHERE attrelid = 'retention.profile'::regclass
                                                      AND attname = value AND attnum > 0
                                                      AND atttypid IN ('date'::regtype,
                                                          'timestamptz'::regtype))
                                                            THEN 'must be a column of '
                                                            'retention.profile with dates or '
                                                            'times' END
      END
    FROM (SELECT coalesce(document ->> 'metric', 'orders') AS metric) AS flow);
END
$$;
COMMENT ON FUNCTION retention._text_problem(text, text, jsonb, regrole) IS
  'What is wrong with a text of some kind; null: nothing.';

CREATE FUNCTION retention._list_problem(kind text, list jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN jsonb_typeof(list) <> 'array' OR list = '[]' THEN 'must be an array that is not empty'
    WHEN EXISTS (SELECT FROM retention._elements(list) AS e
                 WHERE jsonb_typeof(e.element) <> CASE kind WHEN 'objects' THEN 'object'
                   ELSE 'string' END)
      THEN format('must have nothing but %s', CASE kind WHEN 'objects' THEN 'objects' ELSE 'texts'
                  END)
    WHEN kind = 'weekdays' THEN
      (SELECT format('%s is not a weekday', min(e.element::text))
       FROM retention._elements(list) AS e
       WHERE e.element #>> '{}' <> ALL (retention._weekdays()) HAVING count(*) > 0)
    WHEN kind = 'groups' THEN
      (SELECT format('group %s is in no scheme', min(e.element::text))
       FROM retention._elements(list) AS e
       WHERE e.element #>> '{}' NOT IN (SELECT rfm_group FROM retention.rfm_cell)
       HAVING count(*) > 0)
  END
$$;
COMMENT ON FUNCTION retention._list_problem(text, jsonb) IS
  'What is wrong with an array of some kind; null: nothing.';

CREATE FUNCTION retention._expressions_problem(
    expressions jsonb, metric text, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT CASE WHEN jsonb_typeof(expressions) <> 'object' THEN 'must be an object of expressions'
                WHEN count(*) > retention._most('expressions')
                  THEN format('must have at most %s expressions', retention._most('expressions'))
                ELSE min(format('%s: %s', left(e.key, 100), p.problem))
                  FILTER (WHERE p.problem IS NOT NULL) END
    FROM (SELECT * FROM jsonb_each(CASE jsonb_typeof(expressions) WHEN 'object' THEN expressions
                                   ELSE '{}' END)
          LIMIT retention._most('expressions') + 1) AS e,
    LATERAL (
      SELECT CASE
        WHEN retention._length_problem('column', e.key) IS NOT NULL THEN 'its name '
          || retention._length_problem('column', e.key)
        WHEN jsonb_typeof(e.value) <> 'string' THEN 'must be a text'
        -- As in _record, and where no aggregate over the customers can stand.
        ELSE retention._expression_problem(e.value #>> '{}',
          'SELECT true FROM %2$s WHERE (SELECT to_jsonb(v) FROM (SELECT %1$s AS value) AS v) IS '
          'NULL LIMIT 0', metric, author) END AS problem) AS p);
END
$$;
COMMENT ON FUNCTION retention._expressions_problem(jsonb, text, regrole) IS
  'What is wrong with an object of expressions; null: nothing.';

CREATE FUNCTION retention._value_problem(
    kind text, value jsonb, document jsonb, author regrole)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT CASE
      WHEN kind IN ('objects', 'groups', 'weekdays') THEN retention._list_problem(kind, value)
      WHEN kind = 'object' THEN CASE WHEN jsonb_typeof(value) <> 'object'
        THEN 'must be an object' END
      WHEN kind = 'boolean' THEN CASE WHEN jsonb_typeof(value) <> 'boolean'
        THEN 'must be true or false' END
      WHEN kind = 'smart sending' AND value = 'false' THEN NULL
      WHEN kind = 'per cent' THEN CASE WHEN jsonb_typeof(value) <> 'number'
        OR (value #>> '{}')::numeric NOT BETWEEN 0 AND 100 THEN 'must be a number from 0 to 100' END
      WHEN kind = 'expressions' THEN retention._expressions_problem(value,
          coalesce(document ->> 'metric', 'orders'), author)
      WHEN jsonb_typeof(value) <> 'string' THEN 'must be a text'
      ELSE retention._text_problem(kind, value #>> '{}', document, author)
    END);
END
$$;
COMMENT ON FUNCTION retention._value_problem(text, jsonb, jsonb, regrole) IS
  'What is wrong with a value of a document; null: nothing.';

CREATE FUNCTION retention._size_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '', p.problem
  FROM (SELECT retention._length_problem('document', document::text) AS problem) AS p
  WHERE p.problem IS NOT NULL
  UNION ALL
  SELECT 'nodes', format('must have at most %s nodes, branches and arms in all, not %s',
                         retention._most('steps'), count(*))
  FROM retention._document_objects(document) AS o WHERE o.object ~ '^(node |branch$|arm$)'
  HAVING count(*) > retention._most('steps')
$$;
COMMENT ON FUNCTION retention._size_problems(jsonb) IS
  'What is too large of a document to be looked at any further.';

CREATE FUNCTION retention._key_problems(document jsonb, author regrole)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH object AS MATERIALIZED (
    SELECT o.*, jsonb_typeof(o.value) = 'object' AS is_object,
           EXISTS (SELECT FROM retention._document_keys() k WHERE k.object = o.object) AS is_known
    FROM retention._document_objects(document) AS o),
  -- What triggers and nodes have besides the keys of their type.
  allowed AS MATERIALIZED (
    SELECT * FROM retention._document_keys() WHERE key IS NOT NULL
    UNION ALL SELECT DISTINCT k.object, 'type', 'any', true FROM retention._document_keys() k
      WHERE k.object ~ '^(trigger|node) '
    UNION ALL SELECT DISTINCT k.object, 'id', 'name', true FROM retention._document_keys() k
      WHERE k.object ~ '^node ')
  SELECT o.path, 'must be an object' FROM object o WHERE NOT o.is_object
  UNION ALL
  SELECT o.path || '.type', format('must be one of %s',
                                   (SELECT string_agg(DISTINCT format('"%s"',
                                       substr(k.object, strpos(k.object, ' ') + 1)), ', ')
                                                          FROM retention._document_keys() k
                                                          WHERE split_part(k.object, ' ',
                                                              1) = split_part(o.object, ' ', 1)))
  FROM object o WHERE o.is_object AND NOT o.is_known
  UNION ALL
  SELECT concat_ws('.', nullif(o.path, ''), a.key), 'is missing' FROM object o
  JOIN allowed a USING (object)
  WHERE a.is_required AND o.is_object AND NOT o.value ? a.key
  UNION ALL
  SELECT concat_ws('.', nullif(o.path, ''), left(given.key, 100)), found.problem
  FROM object o CROSS JOIN LATERAL jsonb_each(CASE WHEN o.is_object THEN o.value ELSE '{}'
                                              END) AS given
  LEFT JOIN allowed a ON a.object = o.object AND a.key = given.key
  CROSS JOIN LATERAL (SELECT CASE WHEN a.key IS NULL THEN 'is not a key here'
                                  WHEN a.kind <> 'any'
                                    THEN retention._value_problem(a.kind, given.value, document,
                                        author) END AS problem OFFSET 0) AS found
  WHERE o.is_known AND found.problem IS NOT NULL
$$;
COMMENT ON FUNCTION retention._key_problems(jsonb, regrole) IS
  'Keys of a document that are unknown, missing, or have a value that is none of their kind.';

CREATE FUNCTION retention._document_edges(document jsonb)
  RETURNS TABLE (source text, target text, number integer)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- Branches are counted from 1, in the order in which they are compiled.
  SELECT n.element ->> 'id', e.target, (row_number() OVER (PARTITION BY n.number
                                                           ORDER BY e.place, e.number))::integer
  FROM retention._elements(document -> 'nodes') AS n,
  LATERAL (
    SELECT part.element ->> 'next' AS target, 1 AS place, part.number
    FROM retention._elements(n.element -> CASE n.element ->> 'type' WHEN 'split' THEN 'branches'
                             ELSE 'arms' END) AS part
    UNION ALL SELECT n.element ->> 'next', 2, 0
      WHERE n.element ->> 'type' NOT IN ('split', 'random_split', 'exit')
    UNION ALL SELECT n.element ->> 'else', 3, 0
      WHERE n.element ->> 'type' IN ('split', 'wait_for', 'coupon')) AS e
$$;
COMMENT ON FUNCTION retention._document_edges(jsonb) IS
  'Where the branches of each node lead; null: to the end.';

CREATE FUNCTION retention._document_order(document jsonb)
  RETURNS TABLE (node text, depth integer)
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  ids text[] := ARRAY(SELECT n.element ->> 'id' FROM retention._elements(document -> 'nodes') AS n
                      ORDER BY n.number);
  sources integer[];
  targets integer[];
  depths integer[] := '{0}';
  is_settled boolean := false;
BEGIN
  SELECT coalesce(array_agg(array_position(ids, e.source)), '{}'),
         array_agg(array_position(ids, e.target)) INTO sources, targets
    FROM retention._document_edges(document) AS e WHERE e.target IS NOT NULL;
  -- A way of more steps than there are nodes goes round in a circle.
  WHILE NOT is_settled LOOP
    is_settled := true;
    FOR i IN 1 .. cardinality(sources) LOOP
      IF least(depths[sources[i]], cardinality(ids)) >= coalesce(depths[targets[i]], 0)
        AND depths[sources[i]] IS NOT NULL THEN
        depths[targets[i]] := least(depths[sources[i]], cardinality(ids)) + 1;
        is_settled := false;
      END IF;
    END LOOP;
  END LOOP;
  RETURN QUERY SELECT ids[i], depths[i] FROM generate_subscripts(ids, 1) AS i
    WHERE depths[i] IS NOT NULL;
END
$$;
COMMENT ON FUNCTION retention._document_order(jsonb) IS
  'The nodes that can be reached, with the length of the longest way there: more than their '
  'number where they lie on or behind a circle.';

CREATE FUNCTION retention._graph_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE node AS MATERIALIZED (
    SELECT n.element ->> 'id' AS id, format('nodes[%s]', n.number) AS path, n.number, o.depth
    FROM retention._elements(document -> 'nodes') AS n LEFT
    JOIN retention._document_order(document) AS o ON o.node = n.element ->> 'id'),
  -- On a circle or behind one.
  suspect AS MATERIALIZED (
    SELECT e.source, e.target FROM retention._document_edges(document) AS e
    JOIN node n ON n.id = e.target
    WHERE n.depth > (SELECT count(*) FROM node)),
  way AS (
    SELECT s.source AS start, s.target AS node FROM suspect s
    UNION SELECT w.start, s.target FROM way w JOIN suspect s ON s.source = w.node)
  SELECT n.path || '.id', format('node "%s" is there already', n.id) FROM node n
  WHERE n.number > (SELECT min(o.number) FROM node o WHERE o.id = n.id)
  UNION ALL
  SELECT n.path, format('node "%s" cannot be reached', n.id) FROM node n WHERE n.depth IS NULL
  UNION ALL
  SELECT n.path, format('node "%s" leads back to itself', n.id) FROM node n
  WHERE n.id IN (SELECT w.start FROM way w WHERE w.node = w.start)
$$;
COMMENT ON FUNCTION retention._graph_problems(jsonb) IS
  'Nodes of a document that have the same id, cannot be reached, or lead back to themselves.';

CREATE FUNCTION retention._rule_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT n.path || rule.key, rule.problem
  FROM retention._document_objects(document) AS n
  JOIN (VALUES ('node message', '.subject', 'is needed for an email'),
        ('node message', '.url', 'is needed for a webhook'),
               ('node delay', '', 'needs at least one of for, until, weekdays, at'),
               ('trigger rfm_group', '', 'needs at least one of from, to'),
               ('node random_split', '.arms', 'the shares must add up to 100')) AS rule (object,
                   key, problem) USING (object)
  WHERE CASE rule.problem
    WHEN 'is needed for an email' THEN n.value ->> 'channel' = 'email' AND NOT n.value ? 'subject'
    WHEN 'is needed for a webhook' THEN n.value ->> 'channel' = 'webhook' AND NOT n.value ? 'url'
    WHEN 'needs at least one of for, until, weekdays, at'
      THEN NOT n.value ?| '{for,until,weekdays,at}'
    WHEN 'needs at least one of from, to' THEN NOT n.value ?| '{from,to}'
    ELSE (SELECT sum((a.element ->> 'share')::numeric) <> 100
          FROM retention._elements(n.value -> 'arms') AS a
          WHERE jsonb_typeof(a.element -> 'share') = 'number') END
$$;
COMMENT ON FUNCTION retention._rule_problems(jsonb) IS
  'What is wrong with objects of a document as a whole.';

CREATE FUNCTION retention._word_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s.%s', n.path, t.key), found.problem
  FROM retention._document_objects(document) AS n
  CROSS JOIN (VALUES ('subject'), ('body'), ('text'), ('url')) AS t (key)
  CROSS JOIN LATERAL retention._template_names(n.value ->> t.key) AS w
  CROSS JOIN LATERAL (
    SELECT CASE
      WHEN w.object NOT IN ('person', 'event', 'coupon', 'data', 'flow', 'message')
        THEN format('there is no "%s" in a message: the words are person, event, coupon, data, '
                    'flow and message', left(w.object, 100))
      WHEN w.name IS NOT NULL AND NOT CASE w.object
             WHEN 'data' THEN coalesce(n.value -> 'data' ? w.name, false)
             WHEN 'coupon' THEN w.name IN ('code', 'expires_at')
             WHEN 'flow' THEN w.name = 'name'
             WHEN 'message' THEN w.name = 'id'
             ELSE true END
        THEN format('%s has no "%s"', w.object, left(w.name, 100)) END AS problem) AS found
  WHERE n.object = 'node message' AND found.problem IS NOT NULL
$$;
COMMENT ON FUNCTION retention._word_problems(jsonb) IS
  'Words of templates that no message has. What a person or an event has is not known before it '
  'is sent.';

CREATE FUNCTION retention._problems(document jsonb, author regrole)
  RETURNS TABLE (path text, problem text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._pin_settings();
  IF jsonb_typeof(document) IS DISTINCT FROM 'object' THEN
    RETURN QUERY SELECT '', 'must be an object';
    RETURN;
  END IF;
  RETURN QUERY SELECT p.* FROM retention._size_problems(document) AS p;
  IF NOT FOUND THEN
    RETURN QUERY SELECT p.* FROM retention._key_problems(document, author) AS p
      ORDER BY p.path COLLATE "C", p.problem;
  END IF;
  IF NOT FOUND THEN
    RETURN QUERY SELECT p.* FROM retention._graph_problems(document) AS p
      UNION ALL SELECT p.* FROM retention._rule_problems(document) AS p
      UNION ALL SELECT p.* FROM retention._word_problems(document) AS p
      UNION ALL SELECT p.* FROM retention._circle_problems(document) AS p ORDER BY 1, 2;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._problems(jsonb, regrole) IS
  'Everything that is wrong with a flow document, whose expressions have the rights of its author.';

CREATE FUNCTION retention.validate_flow(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM retention._problems(document, retention._caller())
$$;
COMMENT ON FUNCTION retention.validate_flow(jsonb) IS
  'Everything that is wrong with a flow document, with the place of each problem; no row: nothing '
  'is.';
-- Flows that enter each other: allowed only where every way round takes time.

CREATE FUNCTION retention._published(flow text) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT v.document FROM retention.flow f JOIN retention.flow_version v USING (flow_id, version)
  WHERE f.flow = _published.flow
$$;
COMMENT ON FUNCTION retention._published(text) IS
  'The document of a flow as published; null where there is none.';

CREATE FUNCTION retention._lets_in_again(document jsonb) RETURNS boolean
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres
AS $$
  SELECT CASE coalesce(document ->> 'reentry', 'never') WHEN 'never' THEN false
    WHEN 'always' THEN true
              ELSE (document ->> 'reentry')::interval < interval '1 hour' END
$$;
COMMENT ON FUNCTION retention._lets_in_again(jsonb) IS
  'Whether a customer may enter a flow again within an hour.';

CREATE FUNCTION retention._leads_to(document jsonb, draft jsonb)
  RETURNS TABLE (path text, flow text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres
AS $$
  WITH RECURSIVE node AS MATERIALIZED (
    SELECT n.number, n.element, n.element ->> 'id' AS id
    FROM retention._elements(document -> 'nodes') AS n),
  edge AS MATERIALIZED (
    SELECT e.source, e.target
    FROM retention._document_edges(document) AS e JOIN node n ON n.id = e.source
    WHERE n.element ->> 'type' <> 'delay'
      OR ((n.element ->> 'for')::interval >= interval '1 hour') IS NOT TRUE),
  reached AS (
    SELECT document #>> '{nodes,0,id}' AS id
    UNION SELECT e.target FROM reached r JOIN edge e ON e.source = r.id)
  SELECT format('nodes[%s].flow', n.number), n.element ->> 'flow'
  FROM node n
  WHERE n.element ->> 'type' = 'enter_flow' AND n.id IN (SELECT r.id FROM reached r)
    AND retention._lets_in_again(CASE n.element ->> 'flow' WHEN draft ->> 'name' THEN draft
                                 ELSE retention._published(n.element ->> 'flow') END)
$$;
COMMENT ON FUNCTION retention._leads_to(jsonb, jsonb) IS
  'The flows that a customer may be brought into within an hour of entering one, again and again: '
  'no delay of that length is on the way. A draft stands for what is published of it.';

CREATE FUNCTION retention._way_back(start text, draft jsonb) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  goal text := draft ->> 'name';
  ways jsonb := jsonb_build_object(start, format('"%s"', start));
  reached text[] := ARRAY[start];
BEGIN
  -- In rounds, and to each flow once: there may be very many ways.
  WHILE NOT ways ? goal AND cardinality(reached) > 0 LOOP
    WITH next AS (
      SELECT DISTINCT ON (l.flow) l.flow, format('%s -> "%s"', ways ->> r.flow, l.flow) AS way
      FROM unnest(reached) AS r (flow), retention._leads_to(retention._published(r.flow),
                                                            draft) AS l
      WHERE NOT ways ? l.flow ORDER BY l.flow, r.flow)
    SELECT coalesce(array_agg(n.flow), '{}'), ways
      || coalesce(jsonb_object_agg(n.flow, n.way), '{}')
      INTO reached, ways FROM next n;
  END LOOP;
  RETURN ways ->> goal;
END
$$;
COMMENT ON FUNCTION retention._way_back(text, jsonb) IS
  'Through which published flows a customer gets from one to that of a draft within an hour; '
  'null: not at all.';

CREATE FUNCTION retention._circle_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT l.path, format('leads back here within an hour: "%s" -> %s', document ->> 'name', w.way)
  FROM retention._leads_to(document, document) AS l,
  LATERAL (SELECT retention._way_back(l.flow, document) AS way OFFSET 0) AS w
  WHERE w.way IS NOT NULL AND retention._lets_in_again(document)
$$;
COMMENT ON FUNCTION retention._circle_problems(jsonb) IS
  'Nodes from which a customer gets back to the start of a document, through whichever flows, '
  'again and again, with no delay of an hour on the way.';

CREATE FUNCTION retention._going_round(
    travellers retention.traveller[], as_of timestamptz, most integer)
  RETURNS bigint[]
  -- By customer, however many enrollments there are.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
BEGIN
  RETURN ARRAY(
    SELECT t.enrollment_id
    FROM (SELECT c.*, count(*) FILTER (WHERE c.is_new)
                        OVER (PARTITION BY c.customer_id ORDER BY c.enrollment_id) AS turn
          FROM unnest(travellers) AS c WHERE c.event ? 'from_flow') AS t
    WHERE t.turn + (SELECT count(*) FROM retention.enrollment e
                    WHERE e.customer_id = t.customer_id AND e.flow_id = t.flow_id
                      AND e.enrollment_id < t.enrollment_id
                      AND e.entered_at > as_of - interval '1 hour'
                      AND e.event ? 'from_flow') > most);
END
$$;
COMMENT ON FUNCTION retention._going_round(retention.traveller[], timestamptz, integer) IS
  'Those enrollments among travellers at a node whose customer has come to their flow from others '
  'more than so often within an hour.';
-- Compiles a document's nodes to expressions.

CREATE FUNCTION retention._literal(value text, type text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s::%s', quote_nullable(value), type)
$$;
COMMENT ON FUNCTION retention._literal(text, text) IS 'A constant of a type, for an expression.';

CREATE FUNCTION retention._record(columns text[]) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN columns = '{}' THEN '''{}''::jsonb'
    ELSE format('(SELECT to_jsonb(v) FROM (SELECT %s) AS v)', array_to_string(columns, ', ')) END
$$;
COMMENT ON FUNCTION retention._record(text[]) IS
  'The expression for an object of these "expression AS name".';

CREATE FUNCTION retention._named_expressions(expressions jsonb) RETURNS text[]
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(format(E'(\n%s\n) AS %I', value, key) ORDER BY key), '{}')
  FROM jsonb_each_text(coalesce(expressions, '{}'))
$$;
COMMENT ON FUNCTION retention._named_expressions(jsonb) IS
  'An object of expressions as a list for SELECT.';

CREATE FUNCTION retention._person_record(names text[]) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._record(coalesce(array_agg(format('%s AS %I',
    CASE WHEN n IN ('customer_id', 'properties') THEN format('person.%I', n)
         WHEN c.origin = 'contact' THEN format('person.%I', n)
         WHEN c.origin = 'profile'
           THEN format('coalesce(person.properties -> %L, to_jsonb(person.%I))', n, n)
         ELSE format('person.properties -> %L', n) END, n) ORDER BY n), '{}'))
  FROM unnest(names) AS n LEFT JOIN retention._person_columns() c ON c.name = n
$$;
COMMENT ON FUNCTION retention._person_record(text[]) IS
  'The expression for what templates see as person, of the names that they use.';

CREATE FUNCTION retention._context_expression(document jsonb, node jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH used AS MATERIALIZED (
    SELECT DISTINCT n.object, n.name
    FROM (VALUES ('subject'), ('body'), ('text'), ('url')) AS t (key),
         retention._template_names(node ->> t.key) AS n)
  SELECT retention._record(ARRAY(
    SELECT format('%s AS %I', part.expression, part.object)
    FROM (VALUES
      ('person', retention._person_record(ARRAY(SELECT name FROM used
                                                WHERE object = 'person' AND name IS NOT NULL))),
      ('event', 'person.event'),
      ('coupon',
       '(SELECT jsonb_build_object(''code'', c.code, ''expires_at'', c.expires_at) FROM '
       'retention.coupon c
                   WHERE c.enrollment_id = (person.traveller).enrollment_id
                    ORDER BY c.issued_at DESC, c.node DESC LIMIT 1)'),
      ('data', retention._record(retention._named_expressions(node -> 'data'))),
      ('flow', retention._literal(jsonb_build_object('name', document -> 'name')::text, 'jsonb')),
      ('message', retention._literal(jsonb_build_object('id', node -> 'id')::text,
                                     'jsonb'))) AS part (object, expression)
    WHERE part.object IN (SELECT object FROM used) ORDER BY part.object))
$$;
COMMENT ON FUNCTION retention._context_expression(jsonb, jsonb) IS
  'The expression for what a message''s templates see: no more than they use.';

CREATE FUNCTION retention._compile_message(
    flow_id integer, document jsonb, node jsonb, zone text, OUT branch text, OUT due text,
    OUT payload text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '1',
    CASE WHEN document ? 'quiet_hours' AND NOT is_transactional THEN
      format('CASE WHEN made.payload ->> ''reason'' IS NULL THEN retention._quiet_until($3, %L, '
             '%L, %s) END',
             document #>> '{quiet_hours,from}', document #>> '{quiet_hours,until}', zone) END,
    format($sql$
      (SELECT jsonb_build_object('reason', m.reason, 'address', %1$s, 'context', CASE
                                 WHEN m.reason IS NULL THEN %2$s END)
       FROM (SELECT CASE
           WHEN (person.traveller).is_holdout THEN 'holdout'
           WHEN coalesce((SELECT s.status FROM retention.message_status s
                          WHERE s.flow_id = %3$s AND s.node = %4$L), %5$L) = 'draft' THEN 'draft'
           ELSE %6$s
         END AS reason OFFSET 0) AS m)$sql$,
      CASE WHEN c.address IS NULL THEN 'NULL::text'
           ELSE format('retention._normal_address(%L, person.%I, %s)', c.channel, c.address,
                       country) END,
      retention._context_expression(document, node), flow_id, node ->> 'id',
      coalesce(node ->> 'status', 'live'),
      retention._unsendable(quote_literal(c.channel), coalesce('person.' || c.address, '''url'''),
                            coalesce('person.' || c.consent, 'true'),
        is_transactional::text, format('$3 > (person.traveller).due_at + %s',
                                       retention._literal(coalesce(node ->> 'lateness', '1 day'),
                                                          'interval')),
        -- Looked up before, with the engine's rights.
        '(person.traveller).reason IS NOT DISTINCT FROM ''suppression list'''))
  FROM retention._channels() c, (SELECT coalesce((node -> 'transactional')::boolean,
                                                 false) AS is_transactional) AS flag,
       retention._country('person.country', coalesce(document ->> 'metric', 'orders')) AS country
  WHERE c.channel = node ->> 'channel'
$$;
COMMENT ON FUNCTION retention._compile_message(integer, jsonb, jsonb, text) IS
  'Compiles a message: why it may not be sent or what it is rendered with, and how long it waits '
  'for quiet hours to end.';

CREATE FUNCTION retention._weekday_numbers(names jsonb) RETURNS integer[]
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(array_position(retention._weekdays(), e.element #>> '{}'))
  FROM retention._elements(names) AS e
$$;
COMMENT ON FUNCTION retention._weekday_numbers(jsonb) IS
  'Names of weekdays as numbers, 1 for Monday; null for none.';

CREATE FUNCTION retention._compile_delay(
    node jsonb, zone text, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '1',
    format('CASE WHEN (person.traveller).since IS NULL AND made.payload IS NULL THEN nullif(%s, '
           '$3) END',
      format(CASE WHEN node ?| '{at,weekdays}' THEN 'retention._next_local(%s, %s, %s, %s)'
             ELSE '%s' END,
        format('greatest(%s)', concat_ws(', ', '$3', CASE
                                         WHEN node ? 'for'
                                           THEN format('retention._add_local($3, %L, %s)',
                                                       node ->> 'for', zone) END, moment)),
        retention._literal(node ->> 'at', 'time'),
        retention._literal(retention._weekday_numbers(node -> 'weekdays')::text, 'integer[]'),
        zone)),
    CASE WHEN moment IS NOT NULL THEN
      format($sql$CASE WHEN (person.traveller).since IS NULL THEN
               (SELECT CASE WHEN given.moment IS NULL
                       THEN '{"error": "the time to wait for is null"}'::jsonb
                            WHEN given.moment = 'infinity'
                            THEN '{"error": "the time to wait for is infinite, or after the year '
                                 '9999"}' END
                FROM (SELECT %s AS moment OFFSET 0) AS given) END$sql$, moment) END
  FROM (SELECT CASE WHEN node ? 'until' THEN format(E'retention._local_moment((\n%s\n), %s)',
                                                    node ->> 'until', zone) END AS moment) AS given
$$;
COMMENT ON FUNCTION retention._compile_delay(jsonb, text) IS 'Compiles a delay.';

CREATE FUNCTION retention._compile_wait(
    node jsonb, zone text, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'CASE WHEN made.payload = ''true'' THEN 1 ELSE 2 END',
    -- Who has waited was due now, or at the timeout before; who only passes, when they came.
    format('CASE WHEN made.payload = ''true'' OR %1$s <= $3 THEN CASE WHEN '
           '(person.traveller).since IS NOT NULL THEN least($3, %1$s) END
                 WHEN (person.traveller).since IS NOT NULL AND (person.traveller).due_at > $3
                    THEN (person.traveller).due_at
                 ELSE least(%1$s, $3 + interval ''1 day'') END',
      format('retention._add_local(person.since, %s, %s)',
             retention._literal(node ->> 'timeout', 'interval'), zone)),
    format(E'to_jsonb((\n%s\n) IS TRUE)', node ->> 'condition')
$$;
COMMENT ON FUNCTION retention._compile_wait(jsonb, text) IS
  'Compiles a wait_for: looked at again after a day, at the timeout, and when the customer '
  'changes.';

CREATE FUNCTION retention._compile_split(node jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('CASE %s ELSE %s END', string_agg(format(E'WHEN (\n%s\n) THEN %s',
                                                         b.element ->> 'when', b.number + 1), ' '
                                                           ORDER BY b.number), count(*) + 1)
  FROM retention._elements(node -> 'branches') AS b
$$;
COMMENT ON FUNCTION retention._compile_split(jsonb) IS 'The expression for the branch of a split.';

CREATE FUNCTION retention._compile_arms(flow text, node jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('(SELECT CASE %s END FROM retention.bucket(person.customer_id, %L) AS b)',
                string_agg(format('WHEN b < %s THEN %s', 100 * a.share, a.number + 1), ' '
                           ORDER BY a.number),
                flow || '/' || (node ->> 'id'))
  FROM (SELECT number, sum((element ->> 'share')::numeric) OVER (ORDER BY number) AS share
        FROM retention._elements(node -> 'arms')) AS a
$$;
COMMENT ON FUNCTION retention._compile_arms(text, jsonb) IS
  'The expression for the arm of a random split: always the same for a customer.';

CREATE FUNCTION retention._compile_coupon(
    node jsonb, OUT branch text, OUT due text, OUT payload text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- _issue_coupons has said who went without.
  SELECT format('CASE WHEN %s THEN 2 ELSE 1 END', went_without), NULL,
         CASE WHEN NOT node ? 'else'
           THEN format('CASE WHEN %s THEN ''{"outcome": "exhausted"}''::jsonb END',
                       went_without) END
  FROM (VALUES ('coalesce((person.traveller).reason = ''exhausted'', false)')) AS c (went_without)
$$;
COMMENT ON FUNCTION retention._compile_coupon(jsonb) IS
  'Compiles a coupon, which has been issued, where there was one, before the expressions are run.';

CREATE FUNCTION retention._compile_node(
    flow_id integer, document jsonb, node jsonb, zone text, OUT branch text, OUT due text,
    OUT payload text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  branch := '1';
  CASE node ->> 'type'
    WHEN 'message' THEN SELECT c.* INTO branch, due, payload
      FROM retention._compile_message(flow_id, document, node, zone) AS c;
    WHEN 'delay' THEN SELECT c.* INTO branch, due, payload
      FROM retention._compile_delay(node, zone) AS c;
    WHEN 'wait_for' THEN SELECT c.* INTO branch, due, payload
      FROM retention._compile_wait(node, zone) AS c;
    WHEN 'coupon' THEN SELECT c.* INTO branch, due, payload
      FROM retention._compile_coupon(node) AS c;
    WHEN 'split' THEN branch := retention._compile_split(node);
    WHEN 'random_split' THEN branch := retention._compile_arms(document ->> 'name', node);
    WHEN 'set_property' THEN payload := format('jsonb_build_object(''set'', %s)',
      retention._record(retention._named_expressions(node -> 'set')));
    WHEN 'exit' THEN payload := retention._literal(jsonb_build_object('outcome',
        coalesce(node ->> 'outcome', 'completed'))::text, 'jsonb');
    WHEN 'enter_flow' THEN NULL;
  END CASE;
END
$$;
COMMENT ON FUNCTION retention._compile_node(integer, jsonb, jsonb, text) IS
  'The expressions of a node: which branch a customer takes, until when it waits here, and what '
  'it hands on.';

CREATE FUNCTION retention._flow_zone(document jsonb) RETURNS text
  LANGUAGE sql STABLE
  RETURN coalesce(document ->> 'time_zone', (SELECT m.time_zone FROM retention.metric m
                                             WHERE m.metric = coalesce(document ->> 'metric',
                                                 'orders')), 'UTC');
COMMENT ON FUNCTION retention._flow_zone(jsonb) IS 'The time zone of a flow.';
-- Runs a flow's expressions over travellers, and finds those who make them fail.

CREATE FUNCTION retention._are_few(rows integer) RETURNS boolean
  LANGUAGE sql IMMUTABLE
  RETURN coalesce(rows, 0) <= 100;
COMMENT ON FUNCTION retention._are_few(integer) IS
  'Whether it would take longer to plan a statement for so many rows than to run it.';

CREATE FUNCTION retention._plan_for(rows integer) RETURNS text
  LANGUAGE sql VOLATILE
  RETURN set_config('plan_cache_mode', CASE WHEN retention._are_few(rows) THEN 'force_generic_plan'
                    ELSE 'force_custom_plan' END, true);
COMMENT ON FUNCTION retention._plan_for(integer) IS
  'Has the statements of a function, whose SET clause ends it, planned for so many rows; where '
  'these are few, once a session.';

CREATE FUNCTION retention._run(
    author regrole, statement text, travellers retention.traveller[], as_of timestamptz,
    targets integer[],
    OUT moved retention.traveller[], OUT queued retention.queued_message[])
  -- Customers are looked up by key, however many more there are, and in the backend that holds the
  -- locks.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
  SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
  customer_ids text[] := ARRAY(SELECT (t).customer_id FROM (SELECT unnest(travellers)) AS u (t));
BEGIN
  -- For few travellers it would take longer to plan it than to run it.
  IF retention._are_few(cardinality(travellers)) THEN
    SELECT q.moved, q.queued INTO moved, queued
      FROM retention._query_kept(author, statement, travellers, customer_ids, as_of, targets)
        AS q (moved retention.traveller[], queued retention.queued_message[]);
  ELSE
    SELECT q.moved, q.queued INTO moved, queued
      FROM retention._query_as(author, statement, travellers, customer_ids, as_of, targets)
        AS q (moved retention.traveller[], queued retention.queued_message[]);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._run(regrole, text, retention.traveller[], timestamptz, integer[]) IS
  'Runs a statement over travellers with the rights of its author. It returns them as they are '
  'afterwards, and the messages that they are to get.';

CREATE FUNCTION retention._fails_without_rows(
    author regrole, statement text, as_of timestamptz, targets integer[])
  RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._run(author, statement, '{}', as_of, targets);
  RETURN false;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  PERFORM retention._renew_timeout();
  RETURN true;
END
$$;
COMMENT ON FUNCTION retention._fails_without_rows(regrole, text, timestamptz, integer[]) IS
  'Whether a statement fails whoever it is run for: it names what is not there.';

CREATE FUNCTION retention._run_in_parts(
    author regrole, statement text, travellers retention.traveller[], as_of timestamptz,
    targets integer[], give_up_at timestamptz,
    OUT moved retention.traveller[], OUT queued retention.queued_message[],
    OUT failed retention.traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(travellers) / 2;
  code text;
  message text;
  one record;
  other record;
BEGIN
  SELECT r.moved, r.queued INTO moved, queued
  FROM retention._run(author, statement, travellers, as_of, targets) AS r;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
  PERFORM retention._renew_timeout();
  give_up_at := coalesce(give_up_at, clock_timestamp() + interval '2 seconds');
  IF middle = 0 OR retention._error_sort(code) = 'passing' AND clock_timestamp() > give_up_at
     OR retention._error_sort(code) <> 'value'
     AND retention._fails_without_rows(author, statement, as_of, targets) THEN
    failed := retention._failed(travellers, code, message);
    RETURN;
  END IF;
  one := retention._run_in_parts(author, statement, travellers[:middle], as_of, targets,
                                 give_up_at);
  other := retention._run_in_parts(author, statement, travellers[middle + 1:], as_of, targets,
                                   give_up_at);
  moved := one.moved || other.moved;
  queued := one.queued || other.queued;
  failed := one.failed || other.failed;
END
$$;
COMMENT ON FUNCTION retention._run_in_parts(
  regrole, text, retention.traveller[], timestamptz, integer[], timestamptz) IS
  'Runs a statement over travellers, where it fails over halves of them, down to each one who '
  'makes it fail. What fails for all, by its names, is not divided; nor, for longer than a '
  'moment, what passes, such as waiting for a server.';

CREATE FUNCTION retention._failed(
    travellers retention.traveller[], code text, message text)
  RETURNS retention.traveller[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(retention._with_fields(t, 'outcome', 'error', 'reason',
                                          retention._reason(message),
                                          'error_code', code, 'is_changed', true))
  FROM unnest(travellers) AS t
$$;
COMMENT ON FUNCTION retention._failed(retention.traveller[], text, text) IS
  'Travellers who end with an error.';

CREATE FUNCTION retention._try_run(
    author regrole, statement text, travellers retention.traveller[], as_of timestamptz,
    targets integer[],
    OUT moved retention.traveller[], OUT queued retention.queued_message[],
    OUT held retention.traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  result record := retention._run_in_parts(author, statement, travellers, as_of, targets, NULL);
  -- Names that are missing for some only are those of their own values; so is the syntax of a
  -- single one's.
  is_for_all boolean := cardinality(result.failed) = cardinality(travellers)
    AND (cardinality(travellers) > 1 OR (result.failed[1]).error_code <> '42601');
BEGIN
  queued := result.queued;
  SELECT result.moved || array_agg(t) FILTER (WHERE NOT waits), array_agg(t) FILTER (WHERE waits)
    INTO moved, held
    FROM unnest(result.failed) AS t,
    LATERAL (SELECT CASE retention._error_sort(t.error_code)
                      WHEN 'passing' THEN true WHEN 'broken' THEN is_for_all
                        ELSE false END AS waits) AS sort;
END
$$;
COMMENT ON FUNCTION retention._try_run(
  regrole, text, retention.traveller[], timestamptz, integer[]) IS
  'Runs a statement over travellers. Those whose values make it fail end with the outcome error; '
  'held are those who have to wait, for it fails for the moment, or for all: it names what is not '
  'there.';

CREATE FUNCTION retention._bystander(customer_id text) RETURNS retention.traveller
  LANGUAGE sql STABLE
  RETURN retention._with_fields(NULL::retention.traveller, 'customer_id', customer_id);
COMMENT ON FUNCTION retention._bystander(text) IS
  'A customer who is in no flow, whose contact is to be looked up.';

CREATE FUNCTION retention._with_contacts(
    travellers retention.traveller[], as_of timestamptz,
    OUT moved retention.traveller[], OUT held retention.traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT r.moved, r.held INTO moved, held
    FROM retention._try_run(quote_ident(current_user)::regrole, format($query$
      SELECT array_agg(
               CASE WHEN c.rows > 1
                    THEN retention._with_fields(t,
                      'outcome', 'error', 'error_code', '21000', 'is_changed', true, 'reason',
                      format('there are %%s contacts of customer "%%s"', c.rows, c.customer_id))
                    ELSE retention._with_fields(t, 'contact', c.contact) END),
             NULL::retention.queued_message[]
      FROM unnest($1) AS t LEFT JOIN (%s) AS c ON c.customer_id = t.customer_id$query$,
      retention._contact_query()), travellers, as_of, NULL) AS r;
END
$$;
COMMENT ON FUNCTION retention._with_contacts(retention.traveller[], timestamptz) IS
  'Travellers with their customers'' contacts as they are now; those whose contact cannot be read '
  'end with an error, or are held.';

CREATE FUNCTION retention._fitting(
    author regrole, metric text, condition text, travellers retention.traveller[],
    as_of timestamptz,
    OUT fitting retention.traveller[], OUT held retention.traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known record;
  result record;
BEGIN
  IF condition IS NULL OR travellers IS NULL THEN
    fitting := travellers;
    RETURN;
  END IF;
  known := retention._with_contacts(travellers, as_of);
  result := retention._try_run(author,
    -- OFFSET keeps the condition to these customers: it may fail for others.
    format($query$
      SELECT array_agg(t ORDER BY (t).enrollment_id), NULL::retention.queued_message[]
      FROM (SELECT person.traveller AS t, (
%s
) AS fits FROM %s OFFSET 0) AS asked WHERE fits$query$, condition, retention._person_query(metric)),
    ARRAY(SELECT t FROM unnest(known.moved) AS t WHERE t.outcome IS NULL), as_of, NULL);
  held := known.held || result.held;
  PERFORM retention._reject_unless(cardinality(held) IS DISTINCT FROM cardinality(travellers),
    (held[1]).reason, '', (held[1]).error_code);
  fitting := result.moved || ARRAY(SELECT t FROM unnest(known.moved) AS t
                                   WHERE t.outcome IS NOT NULL);
END
$$;
COMMENT ON FUNCTION retention._fitting(regrole, text, text, retention.traveller[], timestamptz) IS
  'Those who fit a condition; who fails it by an error is kept, with that outcome. held are those '
  'of whom it cannot be told for the moment; an error where these are all.';
-- Triggers of flows: the stream that each starts by, and when it fires.

CREATE FUNCTION retention._stream(type text)
  RETURNS TABLE (relation regclass, id name, query text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- $2 is the trigger, $3 the metric.
  SELECT v.relation, v.id, v.query
  FROM (VALUES
    ('segment', 'retention.segment_change'::regclass, 'change_id'::name, $q$
      SELECT change_id AS position, customer_id, as_of AS at,
             segment = $2 ->> 'segment' AND change = coalesce($2 ->> 'change', 'entered')
               AND cause NOT IN ('definition', 'drop', 'settings') AS fits,
             jsonb_build_object('segment', segment, 'change', change, 'cause', cause, 'as_of',
                                as_of) AS event
      FROM retention.segment_change$q$),
    ('rfm_group', 'retention.rfm_change', 'change_id', $q$
      SELECT change_id AS position, customer_id, changed_at AS at,
             cause <> 'settings' AND coalesce($2 -> 'from' ? previous_rfm_group, NOT $2 ? 'from')
               AND coalesce($2 -> 'to' ? rfm_group, NOT $2 ? 'to') AS fits,
             jsonb_build_object('from', previous_rfm_group, 'to', rfm_group, 'cause', cause,
                                'as_of', changed_at) AS event
      FROM retention.rfm_change WHERE metric = $3$q$),
    ('order', 'retention.order_event', 'event_id', $q$
      SELECT event_id AS position, customer_id, ordered_at AS at,
             metric = $3 AND kind = $2 ->> 'type' AND net_amount > 0
               AND recorded_at <= ordered_at + coalesce($2 ->> 'max_age', '3 days')::interval
               AS fits,
             jsonb_strip_nulls(jsonb_build_object(
               'order_id', order_id, 'amount', amount, 'occurred_at', occurred_at,
               'number', number)) AS event
      FROM retention.order_event$q$)) AS v (type, relation, id, query)
  WHERE v.type = CASE _stream.type WHEN 'refund' THEN 'order' ELSE _stream.type END
$$;
COMMENT ON FUNCTION retention._stream(text) IS
  'Where a trigger''s events come from: a table, its column of ascending numbers, and the query '
  'for its rows; no row for triggers of time, or by hand.';

CREATE FUNCTION retention._next_firing(trigger jsonb, after timestamptz, zone text)
  RETURNS timestamptz
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN trigger ->> 'type' IN ('date', 'schedule') THEN
    retention._next_local(after + interval '1 microsecond',
                          coalesce(trigger ->> 'at', '00:00')::time,
                          retention._weekday_numbers(trigger -> 'weekdays'), zone) END
$$;
COMMENT ON FUNCTION retention._next_firing(jsonb, timestamptz, text) IS
  'When a trigger of dates, or a schedule, fires next after a time; null for others.';

CREATE FUNCTION retention._start_trigger(flow_id integer) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  document jsonb := (SELECT v.document FROM retention.flow f
                     JOIN retention.flow_version v USING (flow_id, version)
                     WHERE f.flow_id = _start_trigger.flow_id);
  stream record;
  last_position bigint;
BEGIN
  SELECT * INTO stream FROM retention._stream(document #>> '{trigger,type}');
  IF FOUND THEN
    -- Numbers ascend in the order of commits only under the locks that writers hold: all that is
    -- not seen yet has a greater one.
    EXECUTE format('SELECT coalesce(max(%I), 0) FROM %s', stream.id, stream.relation)
      INTO last_position;
  END IF;
  UPDATE retention.flow f
    SET running_since = retention.now(), trigger_position = last_position, error = NULL,
        error_code = NULL, error_at = NULL, failures = 0,
        fires_at = retention._next_firing(document -> 'trigger', retention.now(),
                                          retention._flow_zone(document))
    WHERE f.flow_id = _start_trigger.flow_id;
END
$$;
COMMENT ON FUNCTION retention._start_trigger(integer) IS
  'Has a flow start with what happens from now on.';
-- The database in which flows are live: a copy sends nothing.

CREATE FUNCTION retention._here() RETURNS text
  LANGUAGE c STABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_here';
COMMENT ON FUNCTION retention._here() IS
  'Which database this is: a renamed one, and a promoted standby, stays the same; a restored dump '
  'is another one.';

CREATE FUNCTION retention._is_copy() RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM retention.flow_home h WHERE h.here <> retention._here());
END
$$;
COMMENT ON FUNCTION retention._is_copy() IS
  'Whether this is a copy of the database in which flows were made live.';

CREATE FUNCTION retention._check_home() RETURNS void
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

CREATE FUNCTION retention.resume_here() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.flow_home (here, decided_at) VALUES (retention._here(), retention.now())
    ON CONFLICT (only_one) DO UPDATE SET here = excluded.here, decided_at = excluded.decided_at
$$;
COMMENT ON FUNCTION retention.resume_here() IS
  'Has flows run, and messages sent, in this database from now on: after it was restored for '
  'good, or in a copy, where flows that are not to run were paused before.';
-- Creating, publishing and dropping flows.

CREATE FUNCTION retention._find_flow(flow text) RETURNS retention.flow
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_flow retention.flow;
BEGIN
  SELECT * INTO found_flow FROM retention.flow f WHERE f.flow = _find_flow.flow;
  PERFORM retention._reject_unless(FOUND, format('flow %s does not exist',
                                                 coalesce('"' || flow || '"', 'null')),
    'create_flow makes it; retention.flow lists those there are.', 'undefined_object');
  RETURN found_flow;
END
$$;
COMMENT ON FUNCTION retention._find_flow(text) IS 'A flow, or an error.';

CREATE FUNCTION retention._require_flow(flow text) RETURNS retention.flow
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Waits for ticks that are at it, and has those that come wait.
  PERFORM FROM retention.flow f WHERE f.flow = _require_flow.flow FOR UPDATE;
  RETURN retention._find_flow(flow);
END
$$;
COMMENT ON FUNCTION retention._require_flow(text) IS
  'A flow, which nobody else changes until the transaction ends, or an error.';

CREATE FUNCTION retention._require_valid(document jsonb, author regrole) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problems text[] := ARRAY(SELECT btrim(concat_ws(' ', nullif(p.path, ''), p.problem))
                           FROM retention._problems(document, author) AS p);
BEGIN
  PERFORM retention._reject_unless(problems = '{}', format('flow document: %s', problems[1]),
    'docs/flow_document.md describes the document; validate_flow lists the problems as rows.',
    detail => E'Every problem:\n' || array_to_string(problems, E'\n'));
END
$$;
COMMENT ON FUNCTION retention._require_valid(jsonb, regrole) IS
  'An error that names every problem of a document, where it has any.';

CREATE FUNCTION retention.create_flow(document jsonb) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  author regrole := retention._caller();
BEGIN
  PERFORM retention._require_valid(document, author);
  INSERT INTO retention.flow AS f (flow, owner, draft)
    VALUES (document ->> 'name', pg_get_userbyid(author), document)
    ON CONFLICT (flow) DO UPDATE SET draft = excluded.draft WHERE retention._may_act_as(f.owner_id);
  PERFORM retention._reject_unless(FOUND, format('flow "%s" belongs to another role',
                                                 document ->> 'name'),
    'Its expressions run with its owner''s rights: only they can change them. set_flow_owner gives '
    'it to another role.',
    'insufficient_privilege');
  RETURN document ->> 'name';
END
$$;
COMMENT ON FUNCTION retention.create_flow(jsonb) IS
  'Checks a flow document as a whole and stores it as the draft of the flow that it names, which '
  'it makes where there is none. What runs goes on as published: publish makes a version of the '
  'draft. Returns the name.';

CREATE FUNCTION retention._may_act_as(role oid) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- What belongs to nobody any more is taken over by a superuser.
  SELECT CASE WHEN EXISTS (SELECT FROM pg_roles WHERE oid = role)
              THEN pg_has_role(retention._caller(), role, 'USAGE')
              ELSE (SELECT rolsuper FROM pg_roles WHERE oid = retention._caller()) END
$$;
COMMENT ON FUNCTION retention._may_act_as(oid) IS 'Whether the caller has the rights of a role.';

CREATE FUNCTION retention._find_owner() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.flow');
  NEW.owner_id := coalesce(to_regrole(quote_ident(NEW.owner)), 0);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._find_owner() IS
  'Trigger: a new row''s owner is the role of its name. A restored dump has the number of one that '
  'was elsewhere, which here may be another''s.';

CREATE FUNCTION retention._follow_owners() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE retention.flow f SET owner = r.rolname
    FROM pg_roles r WHERE r.oid = f.owner_id AND r.rolname <> f.owner;
END
$$;
COMMENT ON FUNCTION retention._follow_owners() IS
  'Has flows show the names that their owners have now.';

CREATE FUNCTION retention.set_flow_owner(flow text, role regrole) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
BEGIN
  PERFORM retention._reject_unless(retention._may_act_as(role),
                                   format('no right to act as %s', coalesce(role::text, 'null')),
    'The flow''s expressions will run with that role''s rights: be a member of it.',
    'insufficient_privilege');
  UPDATE retention.flow f SET owner = pg_get_userbyid(role) WHERE f.flow_id = target.flow_id;
END
$$;
COMMENT ON FUNCTION retention.set_flow_owner(text, regrole) IS
  'Has a flow''s expressions run with the rights of another role, which the caller is a member '
  'of: read them before.';

CREATE FUNCTION retention._write_nodes(flow_id integer, version integer, document jsonb)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  zone text := format('retention._zone(person.time_zone, %L)', retention._flow_zone(document));
BEGIN
  -- Numbers ascend along every way, so that a tick passes each node once.
  INSERT INTO retention.flow_node (flow_id, version, node, type, config, targets, branch, due,
                                   payload)
    SELECT _write_nodes.flow_id, _write_nodes.version, n.element ->> 'id', n.element ->> 'type',
           n.element, '{}', c.branch, c.due, c.payload
    FROM retention._elements(document -> 'nodes') AS n
    JOIN retention._document_order(document) AS o ON o.node = n.element ->> 'id',
    LATERAL retention._compile_node(_write_nodes.flow_id, document, n.element, zone) AS c
    ORDER BY o.depth, n.number;
  UPDATE retention.flow_node n SET targets = edge.targets
    FROM (SELECT e.source, array_agg(t.node_id ORDER BY e.number) AS targets
          FROM retention._document_edges(document) AS e
          LEFT JOIN retention.flow_node t
            ON (t.flow_id, t.version, t.node) = (_write_nodes.flow_id, _write_nodes.version,
                                                 e.target)
          GROUP BY e.source) AS edge
    WHERE (n.flow_id, n.version, n.node) = (_write_nodes.flow_id, _write_nodes.version,
                                            edge.source);
END
$$;
COMMENT ON FUNCTION retention._write_nodes(integer, integer, jsonb) IS
  'Compiles the nodes of a version.';

CREATE FUNCTION retention._events_problem(
    kind text, metric text, OUT problem text, OUT way_out text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source retention.source;
BEGIN
  IF kind IN ('order', 'refund') THEN
    -- One that records comes first.
    SELECT * INTO source FROM retention.source s
      WHERE s.metric = _events_problem.metric AND s.kind = _events_problem.kind
      ORDER BY s.events_from IS NULL, s.source_id LIMIT 1;
    IF source.events_from IS NULL THEN
      problem := format('trigger "%s" would start nothing: no source of metric "%s" records '
                        '%1$ss as events', kind, metric);
      way_out := CASE WHEN FOUND THEN retention._add_again(source, true)
        ELSE format('SELECT retention.add_source(%s);', concat_ws(', ', '''...''',
          'order_id => ''...''', 'kind => ' || quote_literal(nullif(kind, 'order')),
          'metric => ' || quote_literal(nullif(metric, 'orders')))) END;
    END IF;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._events_problem(text, text) IS
  'What is wrong where orders or refunds of a metric would start a flow, and none of them is '
  'recorded, and the way out; null: nothing.';

CREATE FUNCTION retention._check_events(
    kind text, metric text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(e.problem IS NULL, e.problem, e.way_out,
                                   'object_not_in_prerequisite_state')
    FROM retention._events_problem(kind, metric) AS e;
END
$$;
COMMENT ON FUNCTION retention._check_events(text, text) IS
  'An error where orders or refunds of a metric would start a flow, and none of them is recorded.';

CREATE FUNCTION retention.publish(flow text) RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  published retention.flow := retention._require_flow(flow);
  current jsonb := (SELECT document FROM retention.flow_version v
                    WHERE v.flow_id = published.flow_id AND v.version = published.version);
  number integer := coalesce(published.version, 0) + 1;
BEGIN
  IF current = published.draft THEN
    RETURN published.version;
  END IF;
  PERFORM retention._pin_settings();
  PERFORM retention._require_valid(published.draft, published.owner_id::regrole);
  PERFORM retention._check_events(published.draft #>> '{trigger,type}',
                                  coalesce(published.draft ->> 'metric', 'orders'));
  INSERT INTO retention.flow_version VALUES (published.flow_id, number, published.draft,
                                             retention.now());
  PERFORM retention._write_nodes(published.flow_id, number, published.draft);
  UPDATE retention.flow f SET version = number WHERE f.flow_id = published.flow_id;
  IF published.status IN ('live', 'manual') AND (current -> 'trigger',
                                                 retention._flow_zone(current))
                                                   IS DISTINCT FROM (published.draft -> 'trigger',
                                                       retention._flow_zone(published.draft)) THEN
    PERFORM retention._start_trigger(published.flow_id);
  END IF;
  RETURN number;
END
$$;
COMMENT ON FUNCTION retention.publish(text) IS
  'Makes an immutable version of a flow''s draft, for those who enter from now on; whoever is in '
  'the flow finishes the version that they started. Publishing an unchanged draft does nothing. '
  'Returns the number of the version.';
-- A flow in words.

CREATE FUNCTION retention._describe_type(node jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE node ->> 'type'
    WHEN 'message' THEN concat_ws(' ', node ->> 'channel',
                                  format('"%s"',
                                         coalesce(node ->> 'subject', left(node ->> 'body', 40))),
                                         '(' || (node ->> 'status') || ')')
    WHEN 'delay' THEN concat_ws(' ', 'wait', node ->> 'for', 'until ' || (node ->> 'until'),
      'on ' || (SELECT string_agg(e.element #>> '{}', ', ')
                FROM retention._elements(node -> 'weekdays') AS e), 'at ' || (node ->> 'at'))
    WHEN 'wait_for' THEN format('wait for %s, at most %s', node ->> 'condition', node ->> 'timeout')
    WHEN 'set_property' THEN 'set ' || (SELECT string_agg(format('%s = %s', key, value), ', '
                                                          ORDER BY key)
                                                            FROM jsonb_each_text(node -> 'set'))
    WHEN 'coupon' THEN 'coupon of ' || (node ->> 'pool')
    WHEN 'enter_flow' THEN 'enter flow ' || (node ->> 'flow')
    WHEN 'exit' THEN 'exit: ' || coalesce(node ->> 'outcome', 'completed')
    ELSE replace(node ->> 'type', '_', ' ') END
$$;
COMMENT ON FUNCTION retention._describe_type(jsonb) IS 'What a node does, in words.';

CREATE FUNCTION retention._branch_names(node jsonb) RETURNS text[]
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE node ->> 'type'
    WHEN 'split' THEN ARRAY(SELECT 'if ' || (b.element ->> 'when')
                            FROM retention._elements(node -> 'branches') AS b
                            ORDER BY b.number) || 'else'::text
    WHEN 'random_split' THEN ARRAY(SELECT format('%s, %s %%', a.element ->> 'name',
                                                 a.element ->> 'share')
                                                   FROM retention._elements(node -> 'arms') AS a
                                                 ORDER BY a.number)
    WHEN 'wait_for' THEN '{when it holds,at the timeout}'
    WHEN 'coupon' THEN '{issued,none left}' END
$$;
COMMENT ON FUNCTION retention._branch_names(jsonb) IS
  'What the branches of a node are called; null where there is only one.';

CREATE FUNCTION retention._describe_nodes(
    document jsonb, start text, depth integer, seen text[], OUT lines text[], OUT visited text[])
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  node jsonb;
  branches text[];
  edge record;
  below record;
BEGIN
  lines := '{}';
  visited := seen;
  WHILE start IS NOT NULL LOOP
    node := (SELECT n.element FROM retention._elements(document -> 'nodes') AS n
             WHERE n.element ->> 'id' = start);
    IF start = ANY (visited) THEN
      lines := lines || format('%s-> %s', repeat('  ', depth), start);
      RETURN;
    END IF;
    lines := lines || format('%s%s: %s', repeat('  ', depth), start,
                             retention._describe_type(node));
    visited := visited || start;
    branches := retention._branch_names(node);
    EXIT WHEN branches IS NOT NULL;
    start := node ->> 'next';
  END LOOP;
  FOR edge IN SELECT e.target, e.number FROM retention._document_edges(document) AS e
    WHERE e.source = start AND branches IS NOT NULL ORDER BY e.number LOOP
    lines := lines || format('%s  %s:%s', repeat('  ', depth), branches[edge.number], CASE
                             WHEN edge.target IS NULL THEN ' end' ELSE '' END);
    below := retention._describe_nodes(document, edge.target, depth + 2, visited);
    lines := lines || below.lines;
    visited := below.visited;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._describe_nodes(jsonb, text, integer, text[]) IS
  'The lines that describe the nodes from one on; those seen before are only named.';

CREATE FUNCTION retention.describe_flow(flow text) RETURNS text
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._find_flow(flow);
  document jsonb;
  started_by text;
BEGIN
  document := coalesce((SELECT v.document FROM retention.flow_version v
                        WHERE (v.flow_id, v.version) = (target.flow_id, target.version)),
                        target.draft);
  started_by := (SELECT string_agg(format('%s %s', key, value), ', ' ORDER BY key <> 'type', key)
                 FROM jsonb_each_text(document -> 'trigger'));
  RETURN array_to_string(
    ARRAY[format('%s (%s%s%s)', flow, target.status, ', version ' || target.version, CASE
                 WHEN target.version IS NOT NULL
                   AND document <> target.draft THEN ', with an unpublished draft' END),
          '  started by: ' || started_by]
    || ARRAY(SELECT format('  %s: %s', replace(k, '_', ' '), document ->> k)
             FROM unnest('{entry_filter,filter,exit,reentry,concurrent,holdout,'
                     'quiet_hours}'::text[]) AS k
              WHERE document ? k)
    || (SELECT n.lines
        FROM retention._describe_nodes(document, document #>> '{nodes,0,id}', 1, '{}') AS n),
             E'\n');
END
$$;
COMMENT ON FUNCTION retention.describe_flow(text) IS
  'A flow as published, or else its draft, as a tree in text.';
-- Triggers on flows.

CREATE TRIGGER note_inserted AFTER INSERT ON retention.contact
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._note_contacts();
COMMENT ON TRIGGER note_inserted ON retention.contact IS 'Has flows look again at these customers.';
CREATE TRIGGER note_updated AFTER UPDATE ON retention.contact
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._note_contacts();
COMMENT ON TRIGGER note_updated ON retention.contact IS 'Has flows look again at these customers.';

CREATE TRIGGER find_owner BEFORE INSERT OR UPDATE OF owner ON retention.flow
  FOR EACH ROW EXECUTE FUNCTION retention._find_owner();
COMMENT ON TRIGGER find_owner ON retention.flow IS 'Finds the owner by its name.';
-- Messages and coupons.

CREATE TABLE retention.message (
  message_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  enrollment_id   bigint NOT NULL,
  flow_id         integer NOT NULL,
  node_id         integer NOT NULL,
  attempts        integer NOT NULL DEFAULT 0,
  queued_at       timestamptz NOT NULL,
  ready_at        timestamptz,
  expires_at      timestamptz,
  sent_at         timestamptz,
  node            text COLLATE "C" NOT NULL,
  channel         text COLLATE "C" NOT NULL,
  state           text COLLATE "C" NOT NULL
                  CHECK (state IN ('held', 'ready', 'leased', 'sent', 'dead', 'suppressed', 'ghost',
                                   'error')),
  reason          text,
  customer_id     text COLLATE "C",
  address         text,
  idempotency_key text GENERATED ALWAYS AS (enrollment_id::text || ':' || node) STORED,
  subject         text,
  body            text,
  text            text,
  context         jsonb,
  last_error      text,
  UNIQUE (enrollment_id, node)
) WITH (fillfactor = 70);
CREATE INDEX message_claim ON retention.message (channel, ready_at, message_id)
  WHERE state IN ('ready', 'leased');
CREATE INDEX message_customer ON retention.message (customer_id, queued_at);
CREATE INDEX message_failed ON retention.message (flow_id) WHERE state IN ('error', 'dead');
COMMENT ON TABLE retention.message IS
  'The outbox: one row for each enrollment and message, also for those that were not sent, with '
  'the reason.';
COMMENT ON COLUMN retention.message.message_id IS 'Number of the message.';
COMMENT ON COLUMN retention.message.enrollment_id IS 'Enrollment that it belongs to.';
COMMENT ON COLUMN retention.message.flow_id IS 'Flow that it belongs to.';
COMMENT ON COLUMN retention.message.node_id IS 'Node of the version that wrote it.';
COMMENT ON COLUMN retention.message.attempts IS 'How often it was claimed.';
COMMENT ON COLUMN retention.message.queued_at IS 'Engine''s time at which it was written.';
COMMENT ON COLUMN retention.message.ready_at IS
  'From when on it can be claimed; while leased, again.';
COMMENT ON COLUMN retention.message.expires_at IS 'Until when it may be sent.';
COMMENT ON COLUMN retention.message.sent_at IS 'When it was sent, as its sender says.';
COMMENT ON COLUMN retention.message.node IS 'Id of its node.';
COMMENT ON COLUMN retention.message.channel IS 'email, sms, push or webhook.';
COMMENT ON COLUMN retention.message.state IS
  'held: waits for approve, or for the end of a pause; ready; leased: claimed by a sender; sent; '
  'dead: sending failed for good; suppressed: not to be sent; ghost: not sent, for its customer '
  'is in the holdout; error: it could not be written.';
COMMENT ON COLUMN retention.message.reason IS 'Why it is held, suppressed or in error.';
COMMENT ON COLUMN retention.message.customer_id IS
  'The shop''s key of the customer, as text; null after forget.';
COMMENT ON COLUMN retention.message.address IS 'Where it goes.';
COMMENT ON COLUMN retention.message.idempotency_key IS
  'enrollment:node, by which a receiver can tell a repeated message.';
COMMENT ON COLUMN retention.message.subject IS 'Rendered subject.';
COMMENT ON COLUMN retention.message.body IS 'Rendered body: of an email HTML.';
COMMENT ON COLUMN retention.message.text IS
  'Rendered plain text of an email, where the node has one.';
COMMENT ON COLUMN retention.message.context IS 'What the templates were rendered with.';
COMMENT ON COLUMN retention.message.last_error IS 'What the last failed attempt said.';

CREATE TABLE retention.last_message (
  customer_id text COLLATE "C" NOT NULL,
  channel     text COLLATE "C" NOT NULL,
  queued_at   timestamptz NOT NULL,
  apart       interval NOT NULL,
  previous_at timestamptz,
  PRIMARY KEY (customer_id, channel)
) WITH (fillfactor = 70);
COMMENT ON TABLE retention.last_message IS
  'When each customer last got a message on each channel: what smart sending goes by.';
COMMENT ON COLUMN retention.last_message.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.last_message.channel IS 'email, sms, push or webhook.';
COMMENT ON COLUMN retention.last_message.queued_at IS 'Engine''s time of that message.';
COMMENT ON COLUMN retention.last_message.previous_at IS
  'Engine''s time of the one before; null: there was none.';
COMMENT ON COLUMN retention.last_message.apart IS
  'How far apart from the one before that message had to be.';

CREATE TYPE retention.claimed_message AS (
  message_id      bigint,
  idempotency_key text,
  flow            text,
  node            text,
  customer_id     text,
  channel         text,
  address         text,
  subject         text,
  body            text,
  text            text,
  context         jsonb,
  attempt         integer,
  lease_until     timestamptz
);
COMMENT ON TYPE retention.claimed_message IS
  'A message that a sender has claimed: the result of claim_messages.';
COMMENT ON COLUMN retention.claimed_message.message_id IS
  'Number of the message, for ack and fail.';
COMMENT ON COLUMN retention.claimed_message.idempotency_key IS
  'enrollment:node, by which a receiver can tell a repeated message.';
COMMENT ON COLUMN retention.claimed_message.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.claimed_message.node IS 'Id of the message''s node.';
COMMENT ON COLUMN retention.claimed_message.customer_id IS
  'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.claimed_message.channel IS 'email, sms, push or webhook.';
COMMENT ON COLUMN retention.claimed_message.address IS 'Where it goes, as the contact has it now.';
COMMENT ON COLUMN retention.claimed_message.subject IS 'Rendered subject.';
COMMENT ON COLUMN retention.claimed_message.body IS 'Rendered body: of an email HTML.';
COMMENT ON COLUMN retention.claimed_message.text IS
  'Rendered plain text of an email, where the node has one.';
COMMENT ON COLUMN retention.claimed_message.context IS 'What the templates were rendered with.';
COMMENT ON COLUMN retention.claimed_message.attempt IS 'Which attempt to send it this is.';
COMMENT ON COLUMN retention.claimed_message.lease_until IS 'Until when others leave it alone.';

CREATE TABLE retention.address_grant (
  slot       bigint PRIMARY KEY,
  holder     bigint NOT NULL,
  message_id bigint NOT NULL,
  queued_at  timestamptz NOT NULL,
  apart      interval NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE retention.address_grant IS
  'Whose message of a flow went last to an address: what one_per_address goes by.';
COMMENT ON COLUMN retention.address_grant.slot IS
  'Hash of the flow, its message''s node and the address.';
COMMENT ON COLUMN retention.address_grant.holder IS 'Hash of the customer''s key.';
COMMENT ON COLUMN retention.address_grant.message_id IS 'The message.';
COMMENT ON COLUMN retention.address_grant.queued_at IS 'Engine''s time of that message.';
COMMENT ON COLUMN retention.address_grant.apart IS
  'How far apart from the one before that message had to be.';
SELECT pg_extension_config_dump('retention.message', '');
SELECT pg_extension_config_dump('retention.message_message_id_seq', '');
SELECT pg_extension_config_dump('retention.last_message', '');
SELECT pg_extension_config_dump('retention.address_grant', '');

CREATE TYPE retention.failed_message AS (
  message_id    bigint,
  enrollment_id bigint,
  node_id       integer,
  written_by    integer,
  customer_id   text,
  address       text,
  context       jsonb,
  is_rendered   boolean,
  lacks_code    boolean
);
COMMENT ON TYPE retention.failed_message IS
  'A message in error, or dead: the node that writes it now, and the one that did; whether its '
  'text can stay, and whether its code was taken back.';
-- How far apart messages are kept, from a customer and from an address.

CREATE FUNCTION retention._may_reach(state text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN state IN ('held', 'ready', 'leased', 'sent');
COMMENT ON FUNCTION retention._may_reach(text) IS
  'Whether a message in some state was sent, or still may be.';

CREATE FUNCTION retention._apart(channel text, smart_sending jsonb) RETURNS interval
  -- Planned once a session, not for each tick.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF smart_sending = 'false' THEN
    RETURN NULL;
  END IF;
  RETURN coalesce(retention._span((smart_sending #>> '{}')::interval),
                  (SELECT c.apart FROM retention._channels() c WHERE c.channel = _apart.channel));
END
$$;
COMMENT ON FUNCTION retention._apart(text, jsonb) IS
  'How far apart smart sending keeps a message from the one before; null: it does not.';

CREATE FUNCTION retention._last_reaching(
    customer_id text, channel text, until timestamptz)
  RETURNS timestamptz
  -- VOLATILE, so that it sees what the worker has committed that its caller has waited for. Planned
  -- once, by the index.
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_sort = off
AS $$
BEGIN
  RETURN (
    SELECT m.queued_at FROM retention.message m
    WHERE m.customer_id = _last_reaching.customer_id AND m.queued_at <= until
      AND m.channel = _last_reaching.channel AND retention._may_reach(m.state)
      AND NOT (SELECT coalesce((n.config -> 'transactional')::boolean, false)
               FROM retention.flow_node n WHERE n.node_id = m.node_id)
    ORDER BY m.queued_at DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION retention._last_reaching(text, text, timestamptz) IS
  'When a customer''s last message on a channel was written, up to a time, that was sent or still '
  'may be; transactional ones aside.';

CREATE FUNCTION retention._counted_at(last retention.last_message, enough timestamptz)
  RETURNS timestamptz
  LANGUAGE sql VOLATILE
  -- Looked up only where it decides: what was cancelled, suppressed, or tried in vain does not
  -- count.
  RETURN CASE WHEN coalesce((last).queued_at <= enough, true) THEN (last).queued_at
              ELSE retention._last_reaching((last).customer_id, (last).channel, (last).queued_at)
                END;
COMMENT ON FUNCTION retention._counted_at(retention.last_message, timestamptz) IS
  'When the last message was written that smart sending counts; null: there is none.';

CREATE FUNCTION retention._address_slot(flow_id integer, node text, address text)
  RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN hashtextextended(flow_id::text || ' ' || node || ' ' || address, 0);
COMMENT ON FUNCTION retention._address_slot(integer, text, text) IS
  'Where address_grant has the last message of a node to an address.';

CREATE FUNCTION retention._holder(customer_id text) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN hashtextextended(customer_id, 0);
COMMENT ON FUNCTION retention._holder(text) IS 'As what address_grant knows a customer.';

CREATE FUNCTION retention._address_apart(message jsonb, document jsonb) RETURNS interval
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF coalesce((message -> 'one_per_address')::boolean, (document -> 'one_per_address')::boolean,
              message ->> 'channel' IN ('email', 'sms')
                AND NOT coalesce((message -> 'transactional')::boolean, false)) THEN
    RETURN retention._apart(message ->> 'channel', nullif(message -> 'smart_sending', 'false'));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._address_apart(jsonb, jsonb) IS
  'For how long a message of a flow''s document keeps others of its node from the same address; '
  'null: it does not. Webhooks have no such time.';

CREATE FUNCTION retention._one_per_address(asked retention.address_grant[])
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  suppressed bigint[];
BEGIN
  IF asked IS NULL THEN
    RETURN NULL;
  END IF;
  -- In the order of keys, so that workers do not wait for each other in a circle; they decide one
  -- after the other.
  WITH granted AS (
    INSERT INTO retention.address_grant AS g
    SELECT DISTINCT ON (a.slot) a.* FROM unnest(asked) AS a ORDER BY a.slot, a.message_id
    ON CONFLICT (slot) DO UPDATE SET holder = excluded.holder, message_id = excluded.message_id,
    queued_at = excluded.queued_at, apart = excluded.apart
      WHERE g.holder = excluded.holder OR g.queued_at <= excluded.queued_at - excluded.apart
        OR NOT retention._is_reaching(g.message_id, g.slot)
    RETURNING g.slot, g.holder)
  SELECT array_agg(a.message_id) INTO suppressed
    FROM unnest(asked) AS a LEFT JOIN granted g USING (slot)
    WHERE a.holder IS DISTINCT FROM g.holder;
  IF suppressed IS NOT NULL THEN
    -- Of one that was leased just now no sender has heard.
    UPDATE retention.message m
      SET state = 'suppressed', reason = 'same address', subject = NULL, body = NULL, text = NULL,
          attempts = m.attempts - (m.state = 'leased')::integer
      WHERE m.message_id = ANY (suppressed);
  END IF;
  RETURN suppressed;
END
$$;
COMMENT ON FUNCTION retention._one_per_address(retention.address_grant[]) IS
  'Grants messages their addresses. Those whose address another customer''s message of the same '
  'node has been granted, within the time of smart sending, are suppressed. Returns them.';

CREATE FUNCTION retention._is_reaching(message_id bigint, slot bigint) RETURNS boolean
  -- As _last_reaching.
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM retention.message m
    WHERE m.message_id = _is_reaching.message_id AND retention._may_reach(m.state)
      AND retention._address_slot(m.flow_id, m.node, m.address) = slot);
END
$$;
COMMENT ON FUNCTION retention._is_reaching(bigint, bigint) IS
  'Whether a message was sent, or still may be, to the address that it was granted.';
-- Writes messages, holds and releases them.

CREATE FUNCTION retention._hold_messages(flow_id integer) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- Those that a claim or a sender is at are left to it: a claim goes by the status once this is
  -- over.
  UPDATE retention.message m SET state = 'held', reason = 'pause'
  FROM (SELECT r.message_id FROM retention.message r
        WHERE r.flow_id = _hold_messages.flow_id AND r.state = 'ready'
          FOR UPDATE SKIP LOCKED) AS chosen
  WHERE m.message_id = chosen.message_id
$$;
COMMENT ON FUNCTION retention._hold_messages(integer) IS
  'Holds a flow''s messages that nobody has claimed.';

CREATE FUNCTION retention._release_messages(flow_id integer) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH changed AS (
    UPDATE retention.message m SET state = 'ready', reason = NULL
    WHERE m.flow_id = _release_messages.flow_id AND m.state = 'held' AND m.reason = 'pause'
    RETURNING m.channel)
  SELECT pg_notify('retention_message', c.channel) FROM (SELECT DISTINCT channel FROM changed) AS c
$$;
COMMENT ON FUNCTION retention._release_messages(integer) IS
  'Lets those of a flow''s messages go that were held during a pause, and tells who listens.';

CREATE FUNCTION retention._write_messages(
    queued retention.queued_message[], as_of timestamptz)
  RETURNS void
  -- How many pass a filter is not known, so they are joined by hash.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = auto
  SET enable_nestloop = off SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
  channels text[];
  asked retention.address_grant[];
BEGIN
  IF coalesce(queued, '{}') = '{}' THEN
    RETURN;
  END IF;
  PERFORM retention._plan_for(cardinality(queued));
  WITH node AS MATERIALIZED (
    SELECT n.node_id, n.node, n.config ->> 'channel' AS channel, n.config ->> 'subject' AS subject,
           n.config ->> 'body' AS body,
           n.config ->> 'text' AS text, n.config ->> 'url' AS url,
           coalesce((n.config -> 'transactional')::boolean, false) AS is_transactional,
           retention._apart(n.config ->> 'channel', n.config -> 'smart_sending') AS apart,
           retention._lateness(n.config) AS lateness,
           retention._address_apart(n.config, v.document) AS address_apart,
           f.status = 'manual' OR coalesce(s.status,
                                           n.config ->> 'status') = 'manual' AS needs_approval
    FROM retention.flow_node n JOIN retention.flow f ON f.flow_id = n.flow_id
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    LEFT JOIN retention.message_status s ON (s.flow_id, s.node) = (n.flow_id, n.node)
    WHERE n.node_id IN (SELECT q.node_id FROM unnest(queued) AS q)),
  written AS MATERIALIZED (
    SELECT q.*, n.node, n.channel, n.is_transactional, n.apart, n.lateness, n.needs_approval,
           subject.rendered AS subject, body.rendered AS body, text.rendered AS text,
           url.rendered AS url,
           CASE WHEN q.reason IS NULL THEN coalesce(subject.error, body.error, text.error,
                                                    url.error) END AS error
    FROM unnest(queued) AS q JOIN node n USING (node_id)
    LEFT JOIN LATERAL retention._try_render(n.subject, q.context,
                                            false) AS subject ON q.reason IS NULL
    LEFT JOIN LATERAL retention._try_render(n.body, q.context,
                                            n.channel = 'email') AS body ON q.reason IS NULL
    LEFT JOIN LATERAL retention._try_render(n.text, q.context, false) AS text ON q.reason IS NULL
      AND n.text IS NOT NULL
    LEFT JOIN LATERAL retention._try_render(n.url, q.context, false) AS url ON q.reason IS NULL
      AND n.url IS NOT NULL),
  counted AS MATERIALIZED (
    SELECT w.customer_id, w.channel, w.enrollment_id, w.node_id, w.apart,
           row_number() OVER (PARTITION BY w.customer_id, w.channel
                              ORDER BY w.enrollment_id, w.node_id) AS turn
    FROM written w WHERE w.reason IS NULL AND w.error IS NULL AND NOT w.is_transactional),
  -- In the order of keys, so that workers do not wait for each other in a circle; they decide one
  -- after the other.
  granted AS (
    INSERT INTO retention.last_message AS l (customer_id, channel, queued_at, apart)
    SELECT c.customer_id, c.channel, as_of, min(coalesce(c.apart, '0')) FROM counted c
    GROUP BY c.customer_id, c.channel ORDER BY c.customer_id, c.channel
    ON CONFLICT (customer_id, channel) DO UPDATE
      SET queued_at = excluded.queued_at, apart = excluded.apart,
          previous_at = retention._counted_at(l, excluded.queued_at - excluded.apart)
      WHERE coalesce(retention._counted_at(l, excluded.queued_at - excluded.apart)
                       <= excluded.queued_at - excluded.apart, true)
    RETURNING customer_id, channel, previous_at),
  -- Of several to one customer on one channel the first that is far enough from the last one goes,
  -- and those that go in any case.
  apart AS (
    SELECT c.enrollment_id, c.node_id
    FROM (SELECT c.*, min(c.turn) FILTER (WHERE c.is_far)
                        OVER (PARTITION BY c.customer_id, c.channel) AS first
          FROM (SELECT c.*, c.apart IS NULL OR coalesce(
                         -- It was looked up for the least of their times only.
                         retention._counted_at(
                           (c.customer_id, c.channel, g.previous_at, NULL, NULL)
                             ::retention.last_message, as_of - c.apart)
                         <= as_of - c.apart, true) AS is_far
                FROM counted c JOIN granted g USING (customer_id, channel)) AS c) AS c
    WHERE c.apart IS NULL OR c.turn = c.first),
  decided AS (
    SELECT w.*, CASE WHEN w.reason IS NOT NULL OR w.error IS NOT NULL OR w.is_transactional
      OR w.apart IS NULL THEN w.reason
                     WHEN (w.enrollment_id, w.node_id) NOT IN (SELECT a.enrollment_id, a.node_id
                         FROM apart a) THEN 'smart sending' END AS skipped
    FROM written w OFFSET 0),
  inserted AS (
    INSERT INTO retention.message (enrollment_id, flow_id, node_id, queued_at, ready_at, expires_at,
                                   node, channel, state, reason, last_error,
                                   customer_id, address, subject, body, text, context)
    SELECT d.enrollment_id, d.flow_id, d.node_id, as_of, as_of, d.due_at + d.lateness, d.node,
           d.channel, state.name,
           CASE state.name WHEN 'held' THEN 'approval' WHEN 'error' THEN 'cannot be rendered'
             ELSE d.skipped END, d.error, d.customer_id, coalesce(d.url, d.address),
           CASE WHEN state.is_kept THEN d.subject END, CASE WHEN state.is_kept THEN d.body END, CASE
             WHEN state.is_kept THEN d.text END, d.context
    FROM decided d,
    LATERAL (SELECT CASE WHEN d.skipped = 'holdout' THEN 'ghost'
                    WHEN d.skipped IS NOT NULL THEN 'suppressed'
                      WHEN d.error IS NOT NULL THEN 'error'
                         WHEN d.needs_approval THEN 'held' ELSE 'ready' END) AS chosen (name),
    LATERAL (SELECT chosen.name, chosen.name IN ('held', 'ready')) AS state (name, is_kept)
    ORDER BY d.enrollment_id, d.node_id
    ON CONFLICT (enrollment_id, node) DO NOTHING
    RETURNING message_id, flow_id, node_id, node, channel, state, customer_id, address)
  SELECT array_agg(DISTINCT i.channel) FILTER (WHERE i.state = 'ready'),
         array_agg(retention._asked_grant(i.flow_id, i.node, i.address, i.customer_id, i.message_id,
                                          as_of, n.address_apart))
           FILTER (WHERE n.address_apart IS NOT NULL)
    INTO channels, asked FROM inserted i JOIN node n USING (node_id)
      WHERE retention._may_reach(i.state);
  PERFORM retention._one_per_address(asked);
  PERFORM pg_notify('retention_message', c) FROM unnest(channels) AS c;
END
$$;
COMMENT ON FUNCTION retention._write_messages(retention.queued_message[], timestamptz) IS
  'Renders messages and writes them to the outbox, ready, held or not to be sent, with the '
  'reason; and tells who listens.';

CREATE FUNCTION retention._contacts_of_messages(message_ids bigint[])
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known record;
BEGIN
  IF NOT EXISTS (SELECT FROM retention.contact_source) THEN
    RETURN NULL;
  END IF;
  known := retention._with_contacts(
    ARRAY(SELECT retention._bystander(m.customer_id) FROM retention.message m
          WHERE m.message_id = ANY (message_ids) AND m.customer_id IS NOT NULL
          GROUP BY m.customer_id), retention.now());
  PERFORM retention._reject_unless(known.held IS NULL OR known.moved IS NOT NULL,
                                   'contacts cannot be read: ' || (known.held[1]).reason,
    'Messages stay ready meanwhile.', (known.held[1]).error_code);
  RETURN known.moved || known.held;
END
$$;
COMMENT ON FUNCTION retention._contacts_of_messages(bigint[]) IS
  'The contacts of the customers of messages in a relation of the shop''s own, as of travellers: '
  'those that cannot be read have an outcome and a reason. An error where none can be read; null '
  'where contacts are our own.';
-- What senders call: messages are claimed, and acknowledged or failed.

CREATE FUNCTION retention._asked_grant(
    flow_id integer, node text, address text, customer_id text, message_id bigint,
    queued_at timestamptz, apart interval)
  RETURNS retention.address_grant
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ROW (retention._address_slot(flow_id, node, address), retention._holder(customer_id),
              message_id, queued_at, apart)::retention.address_grant;
COMMENT ON FUNCTION retention._asked_grant(
  integer, text, text, text, bigint, timestamptz, interval) IS
  'What a message asks of _one_per_address: its address, for so long.';

CREATE FUNCTION retention._lateness(message jsonb) RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention._span(coalesce(message ->> 'lateness', '1 day')::interval);
COMMENT ON FUNCTION retention._lateness(jsonb) IS
  'How late a message of a flow''s document may be sent.';

CREATE FUNCTION retention._lease(channel text, taken bigint[], lease interval)
  RETURNS bigint[]
  -- Messages and contacts are looked up by key, however many more there are.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
  SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
  contacts retention.traveller[] := retention._contacts_of_messages(taken);
  country CONSTANT text := 'coalesce((t.contact).country, r.country)';
  address text;
  kind record;
  leased bigint[];
  asked retention.address_grant[];
  suppressed bigint[];
BEGIN
  SELECT * INTO kind FROM retention._channels() c WHERE c.channel = _lease.channel;
  address := coalesce('(t.contact).' || quote_ident(kind.address), 'm.address');
  EXECUTE format($query$
    WITH rule AS MATERIALIZED (
      SELECT n.node_id, f.status, coalesce((n.config -> 'transactional')::boolean,
                                           false) AS is_transactional,
             (v.document #>> '{quiet_hours,from}')::time AS quiet_from,
             (v.document #>> '{quiet_hours,until}')::time AS quiet_until,
             retention._flow_zone(v.document) AS zone,
             retention._address_apart(n.config, v.document) AS address_apart,
             (SELECT s.country FROM retention.metric s
              WHERE s.metric = coalesce(v.document ->> 'metric', 'orders')) AS country
      FROM retention.flow_node n JOIN retention.flow f USING (flow_id)
      JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
      WHERE n.node_id IN (SELECT m.node_id FROM retention.message m WHERE m.message_id = ANY ($1))
      -- Who changes a status waits until this is over, and the other way round.
      FOR KEY SHARE OF f),
    -- Consent, address, time and quiet hours as they are now.
    found AS MATERIALIZED (
      SELECT m.message_id, %1$s AS address, CASE WHEN %1$s
        IS DISTINCT FROM m.address THEN r.address_apart END AS address_apart,
             r.status IN ('paused', 'draft') AS is_paused,
             CASE WHEN r.status = 'archived' THEN 'archived' WHEN t.outcome IS NULL
               OR $3 > m.expires_at THEN coalesce(%2$s, %3$s) END AS reason,
             CASE WHEN t.outcome IS NOT NULL THEN $3 + interval '1 hour'
                  WHEN NOT r.is_transactional
                    THEN retention._quiet_until($3, r.quiet_from, r.quiet_until,
                                                retention._zone((t.contact).time_zone,
                                                    r.zone)) END AS quiet_until,
             t.reason AS contact_error
      FROM retention.message m JOIN rule r USING (node_id)
      LEFT JOIN %4$s AS t ON t.customer_id = m.customer_id
      WHERE m.message_id = ANY ($1)),
    decided AS (
      SELECT f.*, CASE WHEN f.reason IS NOT NULL THEN 'suppressed' WHEN f.is_paused THEN 'held'
        WHEN f.quiet_until > $3 THEN 'ready' ELSE 'leased' END AS state
      FROM found f OFFSET 0),
    written AS (
      UPDATE retention.message m
      SET state = d.state, reason = CASE d.state WHEN 'held' THEN 'pause'
        WHEN 'suppressed' THEN d.reason END, address = coalesce(d.address, m.address),
          ready_at = CASE d.state WHEN 'leased' THEN $3 + $4 WHEN 'ready' THEN d.quiet_until
            ELSE m.ready_at END,
          attempts = m.attempts + (d.state = 'leased')::integer,
          last_error = coalesce(d.contact_error, m.last_error)
      FROM decided d WHERE m.message_id = d.message_id
      RETURNING m.message_id, m.state, m.flow_id, m.node, m.address, m.customer_id, d.address_apart)
    SELECT coalesce(array_agg(w.message_id), '{}'),
           array_agg(retention._asked_grant(w.flow_id, w.node, w.address, w.customer_id,
                                            w.message_id,
                                            $3, w.address_apart))
             FILTER (WHERE w.address_apart IS NOT NULL)
    FROM written w WHERE w.state = 'leased'$query$,
    format('retention._normal_address(m.channel, %s, %s)', address, country),
    retention._unsendable('m.channel', address,
                          coalesce('(t.contact).' || quote_ident(kind.consent), 'true'),
                          'r.is_transactional',
                          '$3 > m.expires_at',
                          retention._suppressed('m.channel', address, country)),
    -- Of a message that was revived: somebody else may have its code by now.
    $q$CASE WHEN m.context #>> '{coupon,code}' IS NOT NULL
                 AND NOT EXISTS (SELECT FROM retention.coupon k
                                 WHERE k.enrollment_id = m.enrollment_id
                                   AND k.code = m.context #>> '{coupon,code}')
            THEN 'coupon is gone' END$q$,
    -- Our own can be joined, and there is one of each customer.
    CASE WHEN contacts IS NULL
         THEN '(SELECT c.customer_id, c AS contact, NULL AS outcome, NULL AS reason FROM '
              'retention.contact c)'
         ELSE 'unnest($2)' END)
    INTO leased, asked USING taken, contacts, retention.now(), lease;
  -- Another customer may have an address that is new.
  suppressed := retention._one_per_address(asked);
  RETURN ARRAY(SELECT l FROM unnest(leased) AS l WHERE l <> ALL (coalesce(suppressed, '{}')));
END
$$;
COMMENT ON FUNCTION retention._lease(text, bigint[], interval) IS
  'Leases those of some locked messages that may be sent, to the address that the contact has '
  'now. Of the others it says why not, or until when they wait. Returns the leased ones.';

CREATE FUNCTION retention.claim_messages(
    channel text, "limit" integer DEFAULT 100, lease interval DEFAULT '5 minutes')
  RETURNS SETOF retention.claimed_message
  LANGUAGE plpgsql ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET TimeZone = 'UTC'
AS $$
DECLARE
  claimed bigint[] := '{}';
  taken bigint[];
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention._channels() c
                                           WHERE c.channel = claim_messages.channel),
    format('channel %s does not exist', coalesce('"' || channel || '"', 'null')),
    'The channels are email, sms, push and webhook.');
  PERFORM retention._reject_unless("limit" > 0,
                                   format('limit must be 1 or more, not %s',
                                          coalesce("limit"::text, 'null')));
  PERFORM retention._check_span('lease', coalesce(lease, '0'), 1);
  IF retention._is_copy() THEN
    RAISE WARNING 'no message is claimed: flows were made live in another database, of which this '
                  'one is a copy, or has taken its place'
      USING HINT = 'An admin can have messages sent from here: SELECT retention.resume_here(); '
                   'docs/operations.md tells of copies.';
    RETURN;
  END IF;
  LOOP
    -- One whose lease has run out is there again: its sender may have died.
    taken := ARRAY(
      SELECT m.message_id FROM retention.message m
      WHERE m.channel = claim_messages.channel AND m.state IN ('ready', 'leased')
        AND m.ready_at <= retention.now()
      ORDER BY m.ready_at, m.message_id LIMIT "limit" - cardinality(claimed)
        FOR UPDATE SKIP LOCKED);
    EXIT WHEN taken = '{}';
    claimed := claimed || retention._lease(channel, taken, lease);
    EXIT WHEN cardinality(claimed) >= "limit";
  END LOOP;
  RETURN QUERY
    SELECT m.message_id, m.idempotency_key, f.flow, m.node, m.customer_id, m.channel, m.address,
           m.subject, m.body, m.text, m.context, m.attempts, m.ready_at
    FROM retention.message m JOIN retention.flow f USING (flow_id)
    WHERE m.message_id = ANY (claimed) ORDER BY m.message_id;
END
$$;
COMMENT ON FUNCTION retention.claim_messages(text, integer, interval) IS
  'The next messages of a channel that are ready, for a sender, which has until the end of the '
  'lease to ack or fail them. Consent, suppression, lateness and quiet hours are checked once '
  'more. Commit before sending.';

CREATE FUNCTION retention.ack(
    message_ids bigint[], sent_at timestamptz DEFAULT retention.now())
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  acknowledged bigint;
BEGIN
  -- Also when the lease has run out meanwhile: it has been sent.
  UPDATE retention.message m SET state = 'sent', reason = NULL, sent_at = ack.sent_at,
      last_error = NULL
    WHERE m.message_id = ANY (message_ids) AND m.attempts > 0
      AND (m.state IN ('ready', 'leased', 'held', 'dead') OR m.reason = 'forgotten');
  GET DIAGNOSTICS acknowledged = ROW_COUNT;
  RETURN acknowledged;
END
$$;
COMMENT ON FUNCTION retention.ack(bigint[], timestamptz) IS
  'Says that claimed messages have been sent. Returns how many were not known to be.';

CREATE FUNCTION retention._most_attempts() RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN 12;
COMMENT ON FUNCTION retention._most_attempts() IS
  'How often it is tried to send a message: over about a day.';

CREATE FUNCTION retention.fail(
    message_ids bigint[], error text, permanent boolean DEFAULT false)
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failed bigint;
BEGIN
  UPDATE retention.message m
    SET state = CASE WHEN permanent OR m.attempts >= retention._most_attempts() THEN 'dead'
      ELSE 'ready' END,
        ready_at = retention.now() + retention._retry_after(m.attempts, '6 hours'),
        last_error = error
    WHERE m.message_id = ANY (message_ids) AND m.state = 'leased';
  GET DIAGNOSTICS failed = ROW_COUNT;
  RETURN failed;
END
$$;
COMMENT ON FUNCTION retention.fail(bigint[], text, boolean) IS
  'Says that claimed messages could not be sent: they are ready again after a minute, then two, '
  'four, up to six hours; after twelve attempts, or when the failure is permanent, they are dead. '
  'Returns their number.';

CREATE FUNCTION retention.approve(message_ids bigint[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  approved bigint;
BEGIN
  -- From now on they are as late as they were when they were held.
  UPDATE retention.message m SET state = 'ready', reason = NULL, ready_at = retention.now(),
      expires_at = m.expires_at + (retention.now() - m.queued_at)
    WHERE m.message_id = ANY (message_ids) AND m.state = 'held' AND m.reason = 'approval';
  GET DIAGNOSTICS approved = ROW_COUNT;
  PERFORM pg_notify('retention_message', c.channel)
    FROM (SELECT DISTINCT m.channel FROM retention.message m
          WHERE m.message_id = ANY (message_ids) AND m.state = 'ready') AS c;
  RETURN approved;
END
$$;
COMMENT ON FUNCTION retention.approve(bigint[]) IS
  'Lets messages go that were held for approval. Returns their number.';

CREATE FUNCTION retention.cancel(message_ids bigint[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  cancelled bigint;
BEGIN
  UPDATE retention.message m SET state = 'suppressed', reason = 'cancelled'
    WHERE m.message_id = ANY (message_ids) AND m.state IN ('held', 'ready');
  GET DIAGNOSTICS cancelled = ROW_COUNT;
  RETURN cancelled;
END
$$;
COMMENT ON FUNCTION retention.cancel(bigint[]) IS
  'Has messages not be sent that are held or ready. Returns their number.';
-- Coupons: pools, and issuing codes.

CREATE FUNCTION retention._random_code(length integer) RETURNS text
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- From a strong source, by 32 characters that are not taken for each other.
  SELECT string_agg(substr('23456789ABCDEFGHJKLMNPQRSTUVWXYZ', 1 + get_byte(random.bytes, i) % 32,
                           1), '' ORDER BY i)
  FROM (SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
               || sha256(uuid_send(gen_random_uuid())
                         || uuid_send(gen_random_uuid())) AS bytes) AS random,
       generate_series(0, length - 1) AS i
$$;
COMMENT ON FUNCTION retention._random_code(integer) IS 'A code that cannot be guessed.';

CREATE FUNCTION retention._uses_coupon(message jsonb) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT
                 FROM (VALUES ('subject'), ('body'), ('text'), ('url')) AS t (key),
                      unnest(retention.template_variables(message ->> t.key)) AS v
                 WHERE v ~ '^coupon([.]|$)')
$$;
COMMENT ON FUNCTION retention._uses_coupon(jsonb) IS
  'Whether a message''s templates show a coupon.';

CREATE FUNCTION retention._coupon_messages(node_id integer)
  RETURNS SETOF retention.flow_node
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE way AS (
    SELECT _coupon_messages.node_id
    UNION SELECT unnest(n.targets) FROM way JOIN retention.flow_node n USING (node_id))
  SELECT n.* FROM way JOIN retention.flow_node n USING (node_id)
  WHERE n.type = 'message' AND retention._uses_coupon(n.config)
$$;
COMMENT ON FUNCTION retention._coupon_messages(integer) IS
  'The messages that show a coupon, at a node and behind it.';

CREATE FUNCTION retention._coupon_condition(node retention.flow_node, metric text)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    string_agg(DISTINCT format('(%s) IS NULL',
                               retention._unsendable(quote_literal(c.channel), address.expression,
        coalesce('(t.contact).' || c.consent, 'true'),
        coalesce(m.config ->> 'transactional', 'false'), 'false',
        retention._suppressed(quote_literal(c.channel), address.expression,
          retention._country('(t.contact).country', metric)))), ' OR ')
      FILTER (WHERE coalesce(s.status, m.config ->> 'status', 'live') <> 'draft'),
    (count(*) = 0)::text)
  FROM retention._coupon_messages(node.node_id) AS m
  JOIN retention._channels() AS c ON c.channel = m.config ->> 'channel'
  CROSS JOIN LATERAL (SELECT coalesce('(t.contact).' || c.address,
                                      $x$'url'$x$) AS expression) AS address
  LEFT JOIN retention.message_status s ON (s.flow_id, s.node) = (m.flow_id, m.node)
$$;
COMMENT ON FUNCTION retention._coupon_condition(retention.flow_node, text) IS
  'The condition that a traveller t can be written to by one of the messages that show the coupon '
  'of a node; where there is none, all can.';

CREATE FUNCTION retention._generate_coupons(
    source retention.coupon_pool, node text, travellers retention.traveller[], as_of timestamptz)
  RETURNS void
  -- OFFSET has each traveller's code looked up by key, however many there are, and whatever was
  -- planned when there were few.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
BEGIN
  -- A code that is there already is drawn anew; a pool that is as good as full gives no more.
  FOR attempt IN 1 .. 20 LOOP
    INSERT INTO retention.coupon (pool, code, enrollment_id, node, customer_id, issued_at,
                                  expires_at)
      SELECT source.pool, source.prefix || retention._random_code(source.length), t.enrollment_id,
             _generate_coupons.node, t.customer_id, as_of, as_of + retention._span(source.valid_for)
      FROM unnest(travellers) AS t
      ON CONFLICT ON CONSTRAINT coupon_pkey DO NOTHING;
    travellers := ARRAY(SELECT t FROM unnest(travellers) AS t
                        WHERE NOT EXISTS (SELECT FROM retention.coupon c
                                          WHERE (c.enrollment_id, c.node) = (t.enrollment_id,
                                              _generate_coupons.node) OFFSET 0));
    EXIT WHEN travellers = '{}';
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._generate_coupons(
  retention.coupon_pool, text, retention.traveller[], timestamptz) IS
  'Issues a new code to each traveller.';

CREATE FUNCTION retention._hand_out_coupons(
    source retention.coupon_pool, node text, travellers retention.traveller[], as_of timestamptz)
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH free AS MATERIALIZED (
    SELECT c.code FROM retention.coupon c WHERE c.pool = (source).pool AND c.issued_at IS NULL
    ORDER BY c.code LIMIT cardinality(travellers) FOR UPDATE SKIP LOCKED)
  UPDATE retention.coupon c
    SET enrollment_id = t.enrollment_id, node = _hand_out_coupons.node, customer_id = t.customer_id,
        issued_at = as_of, expires_at = as_of + retention._span((source).valid_for)
    FROM (SELECT code, row_number() OVER (ORDER BY code) AS number FROM free) AS f
    JOIN (SELECT u.enrollment_id, u.customer_id,
                 row_number() OVER (ORDER BY u.enrollment_id) AS number
                   FROM unnest(travellers) AS u) AS t USING (number)
    WHERE c.pool = (source).pool AND c.code = f.code
$$;
COMMENT ON FUNCTION retention._hand_out_coupons(
  retention.coupon_pool, text, retention.traveller[], timestamptz) IS
  'Issues imported codes as far as there are any. No code is issued twice: whoever takes one has '
  'locked it.';

CREATE FUNCTION retention._issue_coupons(
    node retention.flow_node, metric text, travellers retention.traveller[], as_of timestamptz)
  RETURNS retention.traveller[]
  -- As _generate_coupons.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  source retention.coupon_pool;
  asking retention.traveller[];
BEGIN
  SELECT * INTO source FROM retention.coupon_pool p WHERE p.pool = node.config ->> 'pool';
  -- Whoever has one already, from an attempt before, or an older version, keeps it. Who cannot be
  -- written to goes on without.
  EXECUTE format('SELECT coalesce(array_agg(t ORDER BY t.enrollment_id), ''{}'') FROM unnest($1) '
                 'AS t
                  WHERE NOT t.is_holdout AND NOT EXISTS (
                    SELECT FROM retention.coupon c
                    WHERE (c.enrollment_id, c.node) = (t.enrollment_id, $2) OFFSET 0) AND (%s)',
                 retention._coupon_condition(node, metric))
    INTO asking USING travellers, node.node;
  IF source.length IS NOT NULL THEN
    PERFORM retention._generate_coupons(source, node.node, asking, as_of);
  ELSE
    PERFORM retention._hand_out_coupons(source, node.node, asking, as_of);
  END IF;
  RETURN (
    SELECT array_agg(retention._with_fields(t, 'reason', CASE WHEN n.lacks_code THEN 'exhausted'
                                            END))
    FROM unnest(travellers) AS t,
         LATERAL (SELECT t.enrollment_id IN (
                    SELECT a.enrollment_id FROM unnest(asking) AS a
                    WHERE NOT EXISTS (SELECT FROM retention.coupon c
                                      WHERE (c.enrollment_id, c.node) = (a.enrollment_id, node.node)
                                      OFFSET 0)) AS lacks_code) AS n);
END
$$;
COMMENT ON FUNCTION retention._issue_coupons(
  retention.flow_node, text, retention.traveller[], timestamptz) IS
  'Issues a code to each traveller who can be written to. Those for whom there is none have the '
  'reason "exhausted" afterwards.';

CREATE FUNCTION retention._return_coupons(enrollment_ids bigint[]) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH issued AS MATERIALIZED (
    SELECT c.pool, c.code, p.length IS NULL AS is_imported, e.enrollment_id, e.node_id, e.due_at,
           issuer.node_id AS issuer_id
    FROM retention.coupon c JOIN retention.coupon_pool p USING (pool)
    JOIN retention.enrollment e USING (enrollment_id)
    JOIN retention.flow_node here ON here.node_id = e.node_id
    JOIN retention.flow_node issuer
      ON (issuer.flow_id, issuer.version, issuer.node) = (here.flow_id, here.version, c.node)
    WHERE c.enrollment_id = ANY (enrollment_ids)),
  -- What templates show is asked once for each node, not for each customer.
  ahead AS MATERIALIZED (
    SELECT n.node_id, m.config
    FROM (SELECT i.node_id FROM issued i UNION SELECT i.issuer_id FROM issued i) AS n,
         retention._coupon_messages(n.node_id) AS m),
  showing AS MATERIALIZED (
    SELECT n.node_id FROM retention.flow_node n
    WHERE n.node_id IN (SELECT m.node_id FROM issued i
                        JOIN retention.message m USING (enrollment_id))
      AND retention._uses_coupon(n.config)),
  needless AS MATERIALIZED (
    SELECT i.pool, i.code, i.is_imported FROM issued i
    -- It was given for a message, and none that shows it was sent, or still may be: nobody has seen
    -- it.
    WHERE EXISTS (SELECT FROM ahead a WHERE a.node_id = i.issuer_id)
      AND NOT EXISTS (
        SELECT FROM retention.message m
        WHERE m.enrollment_id = i.enrollment_id AND m.node_id IN (SELECT s.node_id FROM showing s)
          AND coalesce(m.context #>> '{coupon,code}' = i.code, m.context IS NULL)
          AND (retention._may_reach(m.state) OR m.attempts > 0 AND m.state <> 'dead'))
      -- Nor will one be written: on the channels of those that are left the customer cannot be
      -- written to.
      AND (i.due_at IS NULL OR NOT EXISTS (
        SELECT FROM ahead b
        WHERE b.node_id = i.node_id AND NOT EXISTS (
          SELECT FROM retention.message m
          WHERE m.enrollment_id = i.enrollment_id AND m.channel = b.config ->> 'channel'
            AND (m.reason IN ('no address', 'suppression list')
                 OR m.reason = 'no consent'
                 AND NOT coalesce((b.config -> 'transactional')::boolean, false)))))),
  deleted AS (
    DELETE FROM retention.coupon c USING needless n
    WHERE (c.pool, c.code) = (n.pool, n.code) AND NOT n.is_imported)
  UPDATE retention.coupon c SET enrollment_id = NULL, node = NULL, customer_id = NULL,
      issued_at = NULL, expires_at = NULL
    FROM needless n WHERE (c.pool, c.code) = (n.pool, n.code) AND n.is_imported
$$;
COMMENT ON FUNCTION retention._return_coupons(bigint[]) IS
  'Takes codes back from enrollments that need them no more, and whose customers have not seen '
  'them: imported ones are free again.';

CREATE FUNCTION retention._release_coupon() RETURNS trigger
  -- Whoever may write messages needs no other right.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.message');
  PERFORM retention._return_coupons(ARRAY[NEW.enrollment_id]);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._release_coupon() IS
  'Trigger: takes the code back that a message would have shown.';

CREATE FUNCTION retention.import_coupons(pool text, codes text[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  imported bigint;
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.coupon_pool p
                                           WHERE p.pool = import_coupons.pool AND p.length IS NULL),
    format('coupon pool %s does not exist, or generates its codes',
           coalesce('"' || pool || '"', 'null')), 'add_coupon_pool makes it.', 'undefined_object');
  PERFORM retention._check_length('a code', 'name', c)
    FROM unnest(codes) AS c
    WHERE coalesce(c, '') = '' OR retention._length_problem('name', c) IS NOT NULL;
  INSERT INTO retention.coupon (pool, code) SELECT import_coupons.pool, c FROM unnest(codes) AS c
  ORDER BY c ON CONFLICT ON CONSTRAINT coupon_pkey DO NOTHING;
  GET DIAGNOSTICS imported = ROW_COUNT;
  RETURN imported;
END
$$;
COMMENT ON FUNCTION retention.import_coupons(text, text[]) IS
  'Adds codes to a pool; those that it has, or had, are left out. Returns how many were new.';

CREATE FUNCTION retention.add_coupon_pool(
    pool text, codes text[] DEFAULT NULL, prefix text DEFAULT '', length integer DEFAULT 10,
    valid_for interval DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.coupon_pool p
                                               WHERE p.pool = add_coupon_pool.pool),
    format('coupon pool "%s" already exists', pool), 'import_coupons adds codes to it.',
    'duplicate_object');
  PERFORM retention._check_length('the name of a coupon pool', 'name', pool);
  PERFORM retention._check_length('prefix', 'name', coalesce(nullif(prefix, ''), 'none'));
  PERFORM retention._check_span('valid_for', valid_for, 1,
                                'Leave it out for codes that are valid for ever.');
  PERFORM retention._reject_unless(codes IS NOT NULL OR length BETWEEN 6 AND 40,
                                   format('generated codes have 6 to 40 random characters, not %s',
                                          coalesce(length::text, 'null')));
  INSERT INTO retention.coupon_pool VALUES (pool, coalesce(prefix, ''), CASE
                                            WHEN codes IS NULL THEN length END, valid_for);
  IF codes IS NOT NULL THEN
    PERFORM retention.import_coupons(pool, codes);
  END IF;
  RETURN pool;
END
$$;
COMMENT ON FUNCTION retention.add_coupon_pool(text, text[], text, integer, interval) IS
  'Makes a pool of coupons: of the codes given, or of codes that are generated when they are '
  'issued, a prefix and so many random letters and digits. Returns its name.';
-- How many a flow can write to: told when it goes live.

CREATE FUNCTION retention._message_kinds(flow retention.flow)
  RETURNS TABLE (name text, expression text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- Each channel once, and once more where it has messages that need no consent besides others.
  SELECT m.channel || CASE WHEN m.is_transactional THEN ', transactional' ELSE '' END,
         format('CASE WHEN t.rows > 1 THEN ''several contacts'' ELSE %s END',
           retention._unsendable(quote_literal(c.channel), address.expression,
             '(t.contact).' || c.consent, m.is_transactional::text, 'false',
             CASE WHEN EXISTS (SELECT FROM retention.suppression s WHERE s.channel = c.channel)
                  THEN retention._suppressed(quote_literal(c.channel), address.expression,
                         retention._country('(t.contact).country', m.metric)) ELSE 'false' END))
  FROM (SELECT DISTINCT n.config ->> 'channel' AS channel,
               coalesce((n.config -> 'transactional')::boolean, false) AS is_transactional,
               coalesce(v.document ->> 'metric', 'orders') AS metric
        FROM retention.flow_node n JOIN retention.flow_version v USING (flow_id, version)
        LEFT JOIN retention.message_status s USING (flow_id, node)
        WHERE (n.flow_id, n.version) = ((flow).flow_id, (flow).version) AND n.type = 'message'
          AND coalesce(s.status, n.config ->> 'status', 'live') <> 'draft') AS m
  JOIN retention._channels() AS c ON c.channel = m.channel AND c.address IS NOT NULL,
  LATERAL (SELECT '(t.contact).' || c.address AS expression) AS address
$$;
COMMENT ON FUNCTION retention._message_kinds(retention.flow) IS
  'The channels of a flow''s messages that have addresses, and the expression for why a contact t '
  'cannot be written to by each.';

CREATE FUNCTION retention._count_reach(flow retention.flow)
  RETURNS TABLE (name text, contacts bigint, reachable bigint, others text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names text[];
  expressions text;
BEGIN
  SELECT array_agg(k.name ORDER BY k.name), string_agg(k.expression, ', ' ORDER BY k.name)
    INTO names, expressions FROM retention._message_kinds(flow) AS k;
  IF names IS NULL THEN
    RETURN;
  END IF;
  -- Contacts are scanned once: those with the same reasons on all channels are one row.
  RETURN QUERY EXECUTE format($query$
    WITH same AS MATERIALIZED (
      SELECT t.reasons, count(*) AS contacts
      FROM (SELECT ARRAY[%s]::text[] AS reasons FROM (%s) AS t) AS t GROUP BY t.reasons),
    reason AS (
      SELECT k.number, k.name, s.reasons[k.number] AS reason, sum(s.contacts)::bigint AS contacts
      FROM unnest($1) WITH ORDINALITY AS k (name, number) LEFT JOIN same s ON true GROUP BY 1, 2, 3)
    SELECT r.name, coalesce(sum(r.contacts), 0)::bigint,
           coalesce(sum(r.contacts) FILTER (WHERE r.reason IS NULL), 0)::bigint,
           string_agg(format('%%s: %%s', r.reason, r.contacts), ', '
                      ORDER BY r.contacts DESC, r.reason) FILTER (WHERE r.reason IS NOT NULL)
    FROM reason r GROUP BY r.number, r.name ORDER BY r.number$query$, expressions,
    retention._contact_query(NULL))
    USING names;
END
$$;
COMMENT ON FUNCTION retention._count_reach(retention.flow) IS
  'How many contacts there are for each channel of a flow, how many can be written to, and why '
  'others cannot.';

CREATE FUNCTION retention._tell_reach(flow_id integer) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := (SELECT f FROM retention.flow f WHERE f.flow_id = _tell_reach.flow_id);
  failure text;
BEGIN
  IF retention._tells() THEN
    PERFORM retention._pin_settings();
    PERFORM retention._tell(
        format('flow "%s": %s of %s contacts can be written to by %s%s', target.flow, r.reachable,
               r.contacts, r.name, '; ' || r.others), 'notice')
      FROM retention._count_reach(target) AS r;
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT;
  IF retention._ends_call(SQLSTATE) THEN
    RAISE;
  END IF;
  RAISE WARNING 'who can be written to by flow "%" could not be counted: %', target.flow, failure
    USING HINT = 'Its status is set all the same.';
END
$$;
COMMENT ON FUNCTION retention._tell_reach(integer) IS
  'Tells how many contacts a flow can write to. A failure is a warning.';
-- Triggers on messages.

CREATE TRIGGER release_coupon AFTER UPDATE OF state ON retention.message FOR EACH ROW
  WHEN (NEW.state IN ('suppressed', 'dead') AND NEW.state <> OLD.state
        AND OLD.context ? 'coupon') EXECUTE FUNCTION retention._release_coupon();
COMMENT ON TRIGGER release_coupon ON retention.message IS
  'Takes codes back from messages that will not be sent after all.';
-- Reads what is new in the stream that a flow starts by.

CREATE FUNCTION retention._candidates(
    flow_id integer, start integer, customer_ids text[], events jsonb[], as_of timestamptz)
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT array_agg(retention._with_fields(NULL::retention.traveller,
             'enrollment_id', nextval('retention.enrollment_enrollment_id_seq'),
             'flow_id', flow_id, 'node_id', start, 'is_holdout', false, 'entered_at', as_of,
             'due_at', as_of, 'customer_id', c.customer_id, 'event', c.event,
             'is_new', true, 'is_changed', true, 'is_waiting', false) ORDER BY c.number)
    FROM unnest(customer_ids, events) WITH ORDINALITY AS c (customer_id, event, number)
    -- Others cannot be written; only rows put in by hand have them.
    WHERE retention._length_problem('key', c.customer_id) IS NULL AND c.customer_id IS NOT NULL);
END
$$;
COMMENT ON FUNCTION retention._candidates(integer, integer, text[], jsonb[], timestamptz) IS
  'Customers who would enter a flow, numbered in the order of what started it.';

CREATE FUNCTION retention._fire_date(
    flow_id integer, trigger jsonb, metric text, zone text, fired_on date)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  column_name name := trigger ->> 'column';
BEGIN
  -- The day alone: those whose date has passed already are not made up for.
  EXECUTE format($query$
    INSERT INTO retention.flow_entry (flow_id, customer_id, event)
    SELECT $1, p.customer_id, jsonb_build_object('column', $2, 'date', d.date)
    FROM retention.profile p, LATERAL (SELECT %s AS date OFFSET 0) AS d
    WHERE p.metric = $3 AND retention._add_days(d.date, $4) = $5 ORDER BY p.customer_id$query$,
    format(CASE retention._column_type('retention.profile', 'column', column_name)
           WHEN 'date'::regtype THEN 'p.%I' ELSE '(p.%I AT TIME ZONE %L)::date' END, column_name,
           zone))
    USING flow_id, column_name, metric, coalesce(trigger ->> 'offset', '0')::interval, fired_on;
END
$$;
COMMENT ON FUNCTION retention._fire_date(integer, jsonb, text, text, date) IS
  'Has those enter whose date it is.';

CREATE FUNCTION retention._fire_schedule(
    flow retention.flow, trigger jsonb, metric text, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  customer_ids text[];
  asked record;
BEGIN
  FOR customer_ids IN
    SELECT array_agg(c.customer_id)
    FROM (SELECT customer_id, row_number() OVER (ORDER BY customer_id) / 10000 AS batch
          FROM retention.customer e WHERE e.metric = _fire_schedule.metric) AS c
    GROUP BY c.batch ORDER BY c.batch
  LOOP
    asked := retention._fitting(flow.owner_id::regrole, metric, trigger ->> 'condition',
                                retention._candidates(flow.flow_id, NULL, customer_ids, NULL,
                                                      as_of), as_of);
    INSERT INTO retention.flow_entry (flow_id, customer_id, event)
      SELECT t.flow_id, t.customer_id, jsonb_build_object('scheduled_for', flow.fires_at)
      FROM unnest(asked.fitting) AS t WHERE t.outcome IS NULL ORDER BY t.customer_id;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._fire_schedule(retention.flow, jsonb, text, timestamptz) IS
  'Has everybody enter who fits a schedule''s condition.';

CREATE FUNCTION retention._fire_when_due(
    flow retention.flow, document jsonb, as_of timestamptz)
  RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  trigger jsonb := document -> 'trigger';
  zone text := retention._flow_zone(document);
  metric text := coalesce(document ->> 'metric', 'orders');
BEGIN
  IF flow.fires_at IS NULL OR flow.fires_at > as_of THEN
    RETURN false;
  END IF;
  -- What was missed by more than a day is left out.
  IF flow.fires_at > as_of - interval '1 day' THEN
    IF trigger ->> 'type' = 'date' THEN
      PERFORM retention._fire_date(flow.flow_id, trigger, metric, zone,
                                   (flow.fires_at AT TIME ZONE zone)::date);
    ELSE
      PERFORM retention._fire_schedule(flow, trigger, metric, as_of);
    END IF;
  END IF;
  UPDATE retention.flow f SET fires_at = retention._next_firing(trigger,
      greatest(flow.fires_at, as_of - interval '1 day'), zone) WHERE f.flow_id = flow.flow_id;
  RETURN true;
END
$$;
COMMENT ON FUNCTION retention._fire_when_due(retention.flow, jsonb, timestamptz) IS
  'Fires a trigger of dates, or a schedule, when its time has come.';

CREATE FUNCTION retention._read_stream(
    flow retention.flow, document jsonb, batch integer, OUT customer_ids text[], OUT events jsonb[],
    OUT looked_at bigint)
  -- What comes after the last position is little, which is not known of tables that were never
  -- analysed.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  stream record;
  last_position bigint;
BEGIN
  looked_at := 0;
  SELECT * INTO stream FROM retention._stream(document #>> '{trigger,type}');
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- Looks at many changes, for most are other flows', and stops where the batch is full.
  EXECUTE format($query$
    WITH looked_at AS MATERIALIZED (SELECT * FROM (%s) AS s WHERE position > $1
                                    ORDER BY position LIMIT 50000),
    fitting AS (SELECT * FROM looked_at WHERE fits AND at >= $4 ORDER BY position LIMIT $5),
    reach AS (SELECT CASE WHEN count(*) < $5 THEN (SELECT max(position) FROM looked_at)
                     ELSE max(position) END AS position FROM fitting)
    SELECT (SELECT array_agg(customer_id ORDER BY position) FROM fitting),
           (SELECT array_agg(event ORDER BY position) FROM fitting),
           reach.position, (SELECT count(*) FROM looked_at WHERE position <= reach.position)
             FROM reach$query$, stream.query)
    INTO customer_ids, events, last_position, looked_at
    USING flow.trigger_position, document -> 'trigger', coalesce(document ->> 'metric', 'orders'),
        flow.running_since, batch;
  IF looked_at > 0 THEN
    UPDATE retention.flow f SET trigger_position = last_position WHERE f.flow_id = flow.flow_id;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._read_stream(retention.flow, jsonb, integer) IS
  'The next events that start a flow, at most a batch; how many were looked at for them.';
-- Those who enter a flow.

CREATE FUNCTION retention._postpone(
    flow retention.flow, held retention.traveller[], failures jsonb, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF held IS NULL THEN
    RETURN;
  END IF;
  RAISE WARNING '% customers wait to enter flow "%": %', cardinality(held), flow.flow,
      (held[1]).reason
    USING HINT = 'They are tried again, at first after a minute; retention.problem shows them.';
  INSERT INTO retention.flow_entry (flow_id, customer_id, event, due_at, error, error_code,
                                    failures)
    SELECT flow.flow_id, t.customer_id, t.event, as_of + retention._retry_after(n.failures),
           t.reason, t.error_code, n.failures
    FROM unnest(held) AS t,
    LATERAL (SELECT 1 + coalesce((_postpone.failures ->> t.customer_id)::integer,
                                 0) AS failures) AS n
    ORDER BY t.enrollment_id;
END
$$;
COMMENT ON FUNCTION retention._postpone(
  retention.flow, retention.traveller[], jsonb, timestamptz) IS
  'Has customers enter later of whom it cannot be told now whether they may; failures has how '
  'often that was so before.';

CREATE FUNCTION retention._admit(
    flow retention.flow, document jsonb, candidates retention.traveller[], as_of timestamptz)
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off
AS $$
BEGIN
  RETURN (WITH rule AS (
    SELECT coalesce(document ->> 'reentry', 'never') AS reentry,
           coalesce((document -> 'concurrent')::boolean, false) AS is_concurrent,
           100 * coalesce((document ->> 'holdout')::numeric, 0) AS held_out),
  candidate AS (
    SELECT c AS traveller, row_number() OVER (PARTITION BY c.customer_id
                                              ORDER BY c.enrollment_id) AS turn
    FROM unnest(candidates) AS c),
  admitted AS (
    SELECT c.traveller, r.held_out FROM candidate c, rule r
    WHERE (c.turn = 1 OR r.is_concurrent AND r.reentry = 'always')
      AND NOT EXISTS (
        SELECT FROM retention.enrollment e
        WHERE e.customer_id = (c.traveller).customer_id AND e.flow_id = (flow).flow_id
          AND (NOT r.is_concurrent AND e.due_at IS NOT NULL
               OR r.reentry = 'never'
               OR r.reentry <> 'always' AND e.entered_at > as_of - CASE
                 WHEN r.reentry NOT IN ('never', 'always') THEN retention._span(r.reentry::interval)
                 END)
        -- so that each one's are looked up by key, however many others there are
        OFFSET 0)
    ORDER BY (c.traveller).enrollment_id)
  SELECT array_agg(retention._with_fields(a.traveller, 'is_holdout',
           retention.bucket((a.traveller).customer_id, (flow).flow) < a.held_out))
  FROM admitted a);
END
$$;
COMMENT ON FUNCTION retention._admit(retention.flow, jsonb, retention.traveller[], timestamptz) IS
  'Those of the candidates whom the rules of reentry let in; and who of them is in the holdout.';

CREATE FUNCTION retention._came_by_merger(customer_id text, event jsonb) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- What a key that was given up loses with its orders, and what the other one has by them that it
  -- had before.
  SELECT event ?| '{segment,to}' AND (
    EXISTS (SELECT FROM retention.merged_customer m
            WHERE m.customer_id = _came_by_merger.customer_id)
    OR EXISTS (SELECT FROM retention.merged_customer m,
                      unnest(ARRAY[m.customer_id, m.merged_into]) AS k (customer_id)
               WHERE m.merged_into = _came_by_merger.customer_id
                 AND (EXISTS (SELECT FROM retention.segment_change c
                              WHERE c.customer_id = k.customer_id
                                AND c.segment = event ->> 'segment' AND c.change = 'left'
                                AND event ->> 'change' = 'entered'
                                AND c.as_of = (event ->> 'as_of')::timestamptz)
                   OR EXISTS (SELECT FROM retention.rfm_change c
                              WHERE c.customer_id = k.customer_id AND c.rfm_group IS NULL
                                AND c.previous_rfm_group = event ->> 'to'
                                AND c.changed_at = (event ->> 'as_of')::timestamptz))))
$$;
COMMENT ON FUNCTION retention._came_by_merger(text, jsonb) IS
  'Whether an event only says that orders went from one key of a person to the other.';

CREATE FUNCTION retention._follow_merged(INOUT customer_ids text[], INOUT events jsonb[])
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF customer_ids IS NOT NULL AND EXISTS (SELECT FROM retention.merged_customer) THEN
    SELECT array_agg(coalesce(m.merged_into, c.customer_id) ORDER BY c.number),
           array_agg(c.event ORDER BY c.number)
      INTO customer_ids, events
      FROM unnest(customer_ids, events) WITH ORDINALITY AS c (customer_id, event, number)
      LEFT JOIN retention.merged_customer m USING (customer_id)
      WHERE NOT retention._came_by_merger(c.customer_id, c.event);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._follow_merged(text[], jsonb[]) IS
  'What has happened to keys that were given up has happened to their persons; that they were is '
  'no news.';

CREATE FUNCTION retention._enter(
    flow retention.flow, as_of timestamptz, batch integer, OUT entered retention.traveller[],
    OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  document jsonb := (SELECT v.document FROM retention.flow_version v
                     WHERE (v.flow_id, v.version) = (flow.flow_id, flow.version));
  start integer := (SELECT n.node_id FROM retention.flow_node n
                    WHERE (n.flow_id, n.version, n.node) = (flow.flow_id, flow.version,
                                                            document #>> '{nodes,0,id}'));
  has_fired boolean := retention._fire_when_due(flow, document, as_of);
  stream record := retention._read_stream(flow, document, batch);
  listed record;
  started record;
  asked record;
BEGIN
  -- Whoever was put down by now, and nobody else.
  WITH next AS (SELECT e.ctid FROM retention.flow_entry e
                WHERE e.flow_id = flow.flow_id AND coalesce(e.due_at <= as_of, true)
                ORDER BY e.number LIMIT batch - coalesce(cardinality(stream.customer_ids), 0)),
  gone AS (DELETE FROM retention.flow_entry e USING next WHERE e.ctid = next.ctid RETURNING e.*)
  SELECT array_agg(g.customer_id ORDER BY g.number) AS customer_ids,
         array_agg(g.event ORDER BY g.number) AS events,
         jsonb_object_agg(g.customer_id, g.failures) FILTER (WHERE g.failures > 0) AS failures
           INTO listed FROM gone g;
  looked_at := stream.looked_at + coalesce(cardinality(listed.customer_ids),
                                           0) + has_fired::integer;
  SELECT f.* INTO started
  FROM retention._follow_merged(stream.customer_ids || listed.customer_ids, stream.events
                                || listed.events) AS f;
  entered := retention._candidates(flow.flow_id, start, started.customer_ids, started.events,
                                   as_of);
  asked := retention._fitting(flow.owner_id::regrole, coalesce(document ->> 'metric', 'orders'),
                              document ->> 'entry_filter', entered, as_of);
  entered := retention._admit(flow, document, asked.fitting, as_of);
  PERFORM retention._postpone(flow, asked.held, listed.failures, as_of);
  IF flow.error IS NOT NULL THEN
    UPDATE retention.flow f SET error = NULL, error_code = NULL, error_at = NULL, failures = 0
    WHERE f.flow_id = flow.flow_id;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._enter(retention.flow, timestamptz, integer) IS
  'Those who enter a flow now, at most a batch; how many events were looked at for them.';

CREATE FUNCTION retention._try_enter(
    flow retention.flow, as_of timestamptz, batch integer, OUT entered retention.traveller[],
    OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  code text;
  failure text;
BEGIN
  SELECT e.entered, e.looked_at INTO entered, looked_at
  FROM retention._enter(flow, as_of, batch) AS e;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, failure = MESSAGE_TEXT;
  PERFORM retention._renew_timeout();
  failure := retention._reason(failure);
  RAISE WARNING 'nobody can enter flow "%": %', flow.flow, failure
    USING HINT = 'What started it meanwhile is kept, and tried again, at first after a minute.';
  UPDATE retention.flow f SET error = failure, error_code = code, error_at = as_of,
      failures = f.failures + 1 WHERE f.flow_id = flow.flow_id;
  looked_at := 0;
END
$$;
COMMENT ON FUNCTION retention._try_enter(retention.flow, timestamptz, integer) IS
  'As _enter. A failure is reported, and is that flow''s alone.';

CREATE FUNCTION retention.enroll(flow text, customer_id text, event jsonb DEFAULT '{}')
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._find_flow(flow);
BEGIN
  -- In expressions a flow could enter itself for ever; they have nodes of type enter_flow.
  PERFORM retention._caller();
  PERFORM retention._reject_unless(target.status IN ('live', 'manual'),
                                   format('flow "%s" is not running, but %s', flow, target.status),
    format('SELECT retention.set_status(%L, ''live'');', flow), 'object_not_in_prerequisite_state');
  PERFORM retention._check_length('the customer to enroll', 'key', customer_id,
    'Enroll by the shop''s key of the customer, as the orders have it.');
  PERFORM retention._reject_unless(jsonb_typeof(event) = 'object',
                                   format('event must be an object, not %s',
                                          coalesce(event::text, 'null')));
  PERFORM retention._check_length('event', 'event', event::text,
    'Hand over keys by which conditions and templates find the rest.');
  INSERT INTO retention.flow_entry (flow_id, customer_id, event)
    VALUES (target.flow_id, customer_id, event);
END
$$;
COMMENT ON FUNCTION retention.enroll(text, text, jsonb) IS
  'Has a customer enter a flow with the next tick, as far as its entry filter and its rule of '
  'reentry allow.';

CREATE FUNCTION retention.backfill_flow(flow text) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
  trigger jsonb := (SELECT v.document -> 'trigger' FROM retention.flow_version v
                    WHERE (v.flow_id, v.version) = (target.flow_id, target.version));
  listed bigint;
BEGIN
  PERFORM retention._reject_unless(trigger ->> 'type' = 'segment'
                                   AND coalesce(trigger ->> 'change', 'entered') = 'entered',
    format('flow "%s" is not started by entering a segment', flow),
    'enroll has single customers enter.', 'object_not_in_prerequisite_state');
  PERFORM retention._reject_unless(target.status IN ('live', 'manual'),
                                   format('flow "%s" is not running, but %s', flow, target.status),
                                   '', 'object_not_in_prerequisite_state');
  INSERT INTO retention.flow_entry (flow_id, customer_id, event)
    SELECT target.flow_id, m.customer_id, jsonb_build_object('segment', m.segment, 'change',
        'entered', 'cause', 'backfill', 'as_of', m.entered_at)
    FROM retention.segment_member m WHERE m.segment = trigger ->> 'segment' ORDER BY m.customer_id;
  GET DIAGNOSTICS listed = ROW_COUNT;
  RETURN listed;
END
$$;
COMMENT ON FUNCTION retention.backfill_flow(text) IS
  'Has those enter a flow with the next tick who are in its segment already. Returns their '
  'number.';
-- Takes travellers through a node.

CREATE FUNCTION retention._pass_on(
    node retention.flow_node, moved retention.traveller[], as_of timestamptz)
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  most CONSTANT integer := 3;
  source text := (SELECT f.flow FROM retention.flow f WHERE f.flow_id = node.flow_id);
  -- Publishing refuses circles; but two flows can be published at once, and older versions run on.
  going_round bigint[] := retention._going_round(moved, as_of, most);
BEGIN
  INSERT INTO retention.flow_entry (flow_id, customer_id, event)
    SELECT f.flow_id, t.customer_id, t.event || jsonb_build_object('from_flow', source)
    FROM unnest(moved) AS t, retention.flow f
    WHERE f.flow = node.config ->> 'flow' AND f.status IN ('live', 'manual') AND NOT t.is_holdout
      AND NOT t.is_waiting AND t.outcome IS DISTINCT FROM 'error'
      AND t.enrollment_id <> ALL (going_round) ORDER BY t.enrollment_id;
  IF going_round <> '{}' THEN
    moved := (
      SELECT array_agg(
               CASE WHEN t.enrollment_id = ANY (going_round)
                    THEN retention._with_fields(t, 'node_id', node.node_id, 'outcome', 'error',
                           'error_code', '54000', 'reason',
                           format('came from other flows more than %s times within an hour: '
                                  'flows enter each other in a circle', most))
                    ELSE t END)
      FROM unnest(moved) AS t);
  END IF;
  RETURN moved;
END
$$;
COMMENT ON FUNCTION retention._pass_on(retention.flow_node, retention.traveller[], timestamptz) IS
  'Has travellers who came to a node of type enter_flow enter that flow with the next tick. '
  'Returns where they go on to themselves: to an error, where they go round in a circle.';

CREATE FUNCTION retention._hold(held retention.traveller[], as_of timestamptz)
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problem record;
BEGIN
  IF held IS NULL THEN
    RETURN NULL;
  END IF;
  FOR problem IN
    SELECT n.node_id, n.node, f.flow,
           n.error_at + retention._retry_after(n.failures) <= as_of AS is_another,
           min(t.reason) AS reason, min(t.error_code) AS error_code, count(*) AS customers
    FROM unnest(held) AS t JOIN retention.flow_node n USING (node_id)
    JOIN retention.flow f ON f.flow_id = n.flow_id
    GROUP BY n.node_id, f.flow ORDER BY n.node_id
  LOOP
    RAISE WARNING '% customers wait at node "%" of flow "%": %', problem.customers, problem.node,
        problem.flow, problem.reason
      USING HINT = 'They are tried again, at first after a minute; retention.problem shows it.';
    UPDATE retention.flow_node n
      SET error = problem.reason, error_code = problem.error_code, error_at = as_of,
          failures = n.failures + CASE WHEN coalesce(problem.is_another, true) THEN 1 ELSE 0 END
      WHERE n.node_id = problem.node_id;
  END LOOP;
  RETURN (
    SELECT array_agg(retention._with_fields(t,
             'due_at', CASE WHEN t.is_waiting THEN t.due_at
                            ELSE as_of + retention._retry_after(n.failures) END,
             'outcome', NULL, 'reason', NULL, 'error_code', NULL,
             'is_changed', true, 'is_waiting', true, 'contact', NULL))
    FROM unnest(held) AS t JOIN retention.flow_node n USING (node_id));
END
$$;
COMMENT ON FUNCTION retention._hold(retention.traveller[], timestamptz) IS
  'Has travellers wait where an expression cannot be run, for now or any more, for longer from '
  'time to time, and says so.';

CREATE FUNCTION retention._screen_version(
    author regrole, document jsonb, travellers retention.traveller[], as_of timestamptz)
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  checks text;
  result record;
BEGIN
  checks := concat_ws(' ',
    CASE WHEN document ? 'exit'
         THEN format(E'WHEN (\n%s\n) THEN ''exited''', document ->> 'exit') END,
    CASE WHEN document ? 'filter'
         THEN format(E'WHEN NOT (person.traveller).is_waiting AND (\n%s\n) IS NOT TRUE '
                     'THEN ''filtered''', document ->> 'filter') END);
  result := retention._try_run(author,
    format($query$
      SELECT array_agg(retention._with_fields(t, 'outcome', coalesce((t).outcome, ends),
                                              'is_changed', (t).is_changed OR ends IS NOT NULL)),
             NULL::retention.queued_message[]
      FROM (SELECT person.traveller AS t, CASE %s END AS ends FROM %s) AS screened$query$,
      checks, retention._person_query(coalesce(document ->> 'metric', 'orders'))),
    travellers, as_of, NULL);
  RETURN result.moved || retention._hold(result.held, as_of);
END
$$;
COMMENT ON FUNCTION retention._screen_version(regrole, jsonb, retention.traveller[], timestamptz) IS
  'Ends those of a version who fit its exit condition, or are about to act and no longer fit its '
  'filter.';

CREATE FUNCTION retention._screen(travellers retention.traveller[], as_of timestamptz)
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  screened retention.traveller[] := '{}';
  version record;
BEGIN
  FOR version IN
    SELECT f.owner_id, v.document, array_agg(n.node_id) AS nodes
    FROM (SELECT DISTINCT (t).node_id FROM (SELECT unnest(travellers)) AS u (t)) AS here
    JOIN retention.flow_node n USING (node_id)
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    JOIN retention.flow f ON f.flow_id = n.flow_id
    WHERE v.document ?| '{exit,filter}' GROUP BY v.flow_id, v.version, v.document, f.owner_id
  LOOP
    screened := screened || retention._screen_version(version.owner_id::regrole, version.document,
      ARRAY(SELECT t FROM (SELECT unnest(travellers)) AS u (t)
            WHERE (t).node_id = ANY (version.nodes) AND (t).outcome IS NULL), as_of);
    travellers := ARRAY(SELECT t FROM (SELECT unnest(travellers)) AS u (t)
                        WHERE (t).node_id <> ALL (version.nodes) OR (t).outcome IS NOT NULL);
  END LOOP;
  RETURN travellers || screened;
END
$$;
COMMENT ON FUNCTION retention._screen(retention.traveller[], timestamptz) IS
  'Ends those who have to leave: one statement for each version.';

CREATE FUNCTION retention._node_statement(node retention.flow_node, metric text)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN format($sql$
    SELECT array_agg(retention._with_fields(t,
             'node_id', CASE WHEN waits OR ends IS NOT NULL THEN (t).node_id ELSE target END,
             'since', CASE WHEN waits THEN coalesce((t).since, $3) END,
             'due_at', CASE WHEN waits THEN due ELSE coalesce(due, least((t).due_at, $3)) END,
             'properties', CASE WHEN payload ? 'set'
                                THEN coalesce((t).properties, '{}') || (payload -> 'set')
                                ELSE (t).properties END,
             'outcome', CASE WHEN NOT waits THEN ends END,
             'reason', CASE WHEN NOT waits THEN payload ->> 'error' END,
             'error_code', CASE WHEN NOT waits AND payload ? 'error' THEN '22000' END,
             'is_changed', (t).is_changed OR NOT waits OR (t).since IS NULL OR due <> (t).due_at,
             'is_waiting', waits)),
           %s
    FROM (SELECT d.*, d.due IS NOT NULL AND d.due > $3 AS waits, $4[d.branch] AS target,
                 CASE WHEN d.payload ? 'error' THEN 'error'
                      WHEN d.payload ? 'outcome' THEN d.payload ->> 'outcome'
                      WHEN $4[d.branch] IS NULL THEN 'completed' END AS ends
          FROM (SELECT person.traveller AS t, made.payload,
                       (%s)::integer AS branch, (%s)::timestamptz AS due
                FROM %s, LATERAL (SELECT (%s)::jsonb AS payload OFFSET 0) AS made
                -- so that each expression is evaluated once
                OFFSET 0) AS d) AS decided$sql$,
    CASE node.type WHEN 'message' THEN $sql$
           array_agg(ROW ((t).enrollment_id, (t).flow_id, (t).node_id, (t).customer_id, (t).due_at,
                          payload ->> 'reason', payload ->> 'address',
                          nullif(payload -> 'context', 'null'))::retention.queued_message)
             FILTER (WHERE NOT waits)$sql$
      ELSE 'NULL::retention.queued_message[]' END,
    node.branch, coalesce(node.due, 'NULL'), retention._person_query(metric),
    coalesce(node.payload, 'NULL'));
END
$$;
COMMENT ON FUNCTION retention._node_statement(retention.flow_node, text) IS
  'The statement that takes travellers ($1, with the keys $2) through a node as of $3: who waits '
  'stays, others go to the one of the targets $4 that their branch names, or end.';

CREATE FUNCTION retention._note_listed(
    node retention.flow_node, metric text, travellers retention.traveller[])
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  kind record;
  listed retention.traveller[];
BEGIN
  SELECT * INTO kind FROM retention._channels() c WHERE c.channel = node.config ->> 'channel';
  IF kind.address IS NULL OR NOT EXISTS (SELECT FROM retention.suppression s
                                         WHERE s.channel = kind.channel) THEN
    RETURN travellers;
  END IF;
  listed := (
    -- Planned for the list as it is: it may have grown to any size since the session began.
    SELECT q.listed
    FROM retention._query_as(quote_ident(current_user)::regrole,
      format('SELECT array_agg(t) FROM (SELECT unnest($1)) AS u (t) WHERE (%s) IS TRUE',
        retention._suppressed(quote_literal(kind.channel),
          format('((t).contact).%I', kind.address),
          retention._country('((t).contact).country', metric))),
      travellers) AS q (listed retention.traveller[]));
  IF listed IS NULL THEN
    RETURN travellers;
  END IF;
  RETURN (
    SELECT array_agg(CASE WHEN (t).enrollment_id IN (SELECT l.enrollment_id
                                                     FROM unnest(listed) AS l)
                          THEN retention._with_fields(t, 'reason', 'suppression list') ELSE t END)
    FROM (SELECT unnest(travellers)) AS u (t));
END
$$;
COMMENT ON FUNCTION retention._note_listed(retention.flow_node, text, retention.traveller[]) IS
  'Travellers at a message: those whose address is on the suppression list have that for a reason.';

CREATE FUNCTION retention._step(
    node retention.flow_node, travellers retention.traveller[], as_of timestamptz,
    OUT moved retention.traveller[], OUT queued retention.queued_message[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  metric text := (SELECT coalesce(v.document ->> 'metric', 'orders') FROM retention.flow_version v
                  WHERE (v.flow_id, v.version) = (node.flow_id, node.version));
  author regrole := (SELECT f.owner_id FROM retention.flow f WHERE f.flow_id = node.flow_id);
  result record;
BEGIN
  IF node.type = 'coupon' THEN
    travellers := retention._issue_coupons(node, metric, travellers, as_of);
  ELSIF node.type = 'message' THEN
    travellers := retention._note_listed(node, metric, travellers);
  END IF;
  result := retention._try_run(author, retention._node_statement(node, metric), travellers, as_of,
                               node.targets);
  moved := result.moved || retention._hold(result.held, as_of);
  queued := result.queued;
  IF node.type = 'enter_flow' THEN
    moved := retention._pass_on(node, moved, as_of);
  END IF;
  -- Those who wait for it are due by then; who passes before them says nothing of them.
  IF result.held IS NULL AND node.error_at + retention._retry_after(node.failures) <= as_of THEN
    UPDATE retention.flow_node n SET error = NULL, error_code = NULL, error_at = NULL, failures = 0
    WHERE n.node_id = node.node_id;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._step(retention.flow_node, retention.traveller[], timestamptz) IS
  'Takes travellers through one node, in one statement.';

CREATE FUNCTION retention._end_delays(travellers retention.traveller[])
  RETURNS retention.traveller[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT array_agg(
             CASE WHEN n.type = 'delay' AND (t).since IS NOT NULL AND NOT (t).is_waiting
                       AND (t).outcome IS NULL AND n.targets[1] IS NOT NULL AND n.error IS NULL
                  THEN retention._with_fields(t, 'node_id', n.targets[1], 'since', NULL,
                                              'is_changed', true)
                  ELSE t END)
    FROM (SELECT unnest(travellers)) AS u (t)
    JOIN retention.flow_node n ON n.node_id = (t).node_id);
END
$$;
COMMENT ON FUNCTION retention._end_delays(retention.traveller[]) IS
  'Takes those on whose delay is over: there is nothing to ask at its node, unless it has an '
  'error to be cleared.';

CREATE FUNCTION retention._travel(
    travellers retention.traveller[], as_of timestamptz, OUT arrived retention.traveller[],
    OUT queued retention.queued_message[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  on_the_way retention.traveller[];
  here retention.traveller[];
  node retention.flow_node;
  step record;
BEGIN
  arrived := '{}';
  queued := '{}';
  LOOP
    SELECT arrived || array_agg(t) FILTER (WHERE (t).is_waiting OR (t).outcome IS NOT NULL),
           on_the_way || array_agg(t) FILTER (WHERE NOT (t).is_waiting AND (t).outcome IS NULL)
      INTO arrived, on_the_way FROM (SELECT unnest(travellers)) AS u (t);
    -- In the order of their numbers, so that each is come to once.
    SELECT n.* INTO node FROM retention.flow_node n
    WHERE n.node_id = (SELECT min((t).node_id) FROM (SELECT unnest(on_the_way)) AS u (t));
    EXIT WHEN NOT FOUND;
    SELECT array_agg(t) FILTER (WHERE (t).node_id = node.node_id), array_agg(t)
      FILTER (WHERE (t).node_id <> node.node_id)
      INTO here, on_the_way FROM (SELECT unnest(on_the_way)) AS u (t);
    step := retention._step(node, here, as_of);
    travellers := step.moved;
    queued := queued || step.queued;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._travel(retention.traveller[], timestamptz) IS
  'Takes travellers on until all of them wait or have ended: one statement for each node at which '
  'anybody is.';
-- The tick: takes those who are due, or have changed, through the nodes, and writes each of them
-- once.

CREATE FUNCTION retention._traveller(enrollment retention.enrollment, is_waiting boolean)
  RETURNS retention.traveller
  LANGUAGE sql STABLE
  RETURN retention._with_fields(NULL::retention.traveller,
    'enrollment_id', enrollment.enrollment_id, 'flow_id', enrollment.flow_id,
    'node_id', enrollment.node_id, 'is_holdout', enrollment.is_holdout,
    'entered_at', enrollment.entered_at, 'since', enrollment.since, 'due_at', enrollment.due_at,
    'customer_id', enrollment.customer_id, 'event', enrollment.event,
    'is_new', false, 'is_changed', false, 'is_waiting', is_waiting);
COMMENT ON FUNCTION retention._traveller(retention.enrollment, boolean) IS
  'An enrollment as a traveller.';

CREATE FUNCTION retention._due(flows retention.flow[], as_of timestamptz, batch integer)
  RETURNS retention.traveller[]
  -- In the order of the index: there may be millions more that are due than one batch takes.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_sort = off
  SET enable_bitmapscan = off SET enable_seqscan = off
AS $$
DECLARE
  flow retention.flow;
  due retention.traveller[] := '{}';
BEGIN
  FOREACH flow IN ARRAY flows LOOP
    EXIT WHEN cardinality(due) >= batch;
    -- Those whom another worker has are left to it.
    due := due || ARRAY(
      SELECT retention._traveller(e, false)
      FROM retention.enrollment e
      WHERE e.flow_id = flow.flow_id AND e.due_at <= as_of
      ORDER BY e.due_at LIMIT batch - cardinality(due) FOR UPDATE SKIP LOCKED);
  END LOOP;
  RETURN due;
END
$$;
COMMENT ON FUNCTION retention._due(retention.flow[], timestamptz, integer) IS
  'The enrollments of some flows that are due, at most a batch, locked.';

CREATE FUNCTION retention._woken(
    flows retention.flow[], as_of timestamptz, rows integer, OUT woken retention.traveller[],
    OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  customer_ids text[];
BEGIN
  WITH next AS (SELECT c.ctid FROM retention.changed_customers c LIMIT rows),
  gone AS (DELETE FROM retention.changed_customers c USING next WHERE c.ctid = next.ctid
           RETURNING c.customer_ids)
  SELECT array_agg(DISTINCT k), count(k) INTO customer_ids, looked_at
  FROM gone, unnest(gone.customer_ids) AS k;
  -- Whom another worker has is waited for, though they seem to be due until it is done: it may have
  -- looked before the change.
  woken := ARRAY(
    -- Locked in one go, and only then looked at; by customer, not by the index of those who are
    -- due.
    WITH locked AS MATERIALIZED (
      SELECT e AS enrollment FROM retention.enrollment e
      WHERE e.customer_id = ANY (customer_ids) AND e.outcome IS NULL
        AND e.flow_id IN (SELECT f.flow_id FROM unnest(flows) AS f)
      ORDER BY e.enrollment_id FOR UPDATE)
    SELECT retention._traveller(l.enrollment, n.type <> 'wait_for')
    FROM locked l
    JOIN retention.flow_node n ON n.node_id = (l.enrollment).node_id
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    WHERE (l.enrollment).due_at > as_of AND (n.type = 'wait_for' OR v.document ? 'exit'));
END
$$;
COMMENT ON FUNCTION retention._woken(retention.flow[], timestamptz, integer) IS
  'Enrollments that are not due, of customers who have changed: those that wait for something, or '
  'might have to exit.';

CREATE FUNCTION retention._intake(
    flows retention.flow[], as_of timestamptz, batch integer, OUT travellers retention.traveller[],
    OUT looked_at bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  flow retention.flow;
  woken record;
  entry record;
BEGIN
  travellers := '{}';
  looked_at := 0;
  -- One worker at a time, so that whoever enters has been written before changes of theirs are
  -- looked at.
  IF NOT retention._take_lock('retention.flow_entry', waits => false) THEN
    RETURN;
  END IF;
  -- As they are now: the worker before may have moved their positions since they were read.
  flows := ARRAY(SELECT f FROM retention.flow f
                 WHERE f.flow_id IN (SELECT g.flow_id FROM unnest(flows) AS g) ORDER BY f.flow_id);
  woken := retention._woken(flows, as_of, 1 + batch / 1000);
  travellers := travellers || woken.woken;
  looked_at := woken.looked_at;
  FOREACH flow IN ARRAY flows LOOP
    EXIT WHEN cardinality(travellers) >= batch;
    CONTINUE WHEN flow.error_at + retention._retry_after(flow.failures) > as_of;
    entry := retention._try_enter(flow, as_of, batch - cardinality(travellers));
    travellers := travellers || entry.entered;
    looked_at := looked_at + entry.looked_at;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._intake(retention.flow[], timestamptz, integer) IS
  'Those who enter, and those who have changed; how many events and changes were looked at for '
  'them.';

CREATE FUNCTION retention._write_enrollments(
    travellers retention.traveller[], as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = auto
  SET enable_seqscan = off
AS $$
DECLARE
  moved bigint[] := ARRAY(SELECT (t).enrollment_id FROM (SELECT unnest(travellers)) AS u (t)
                          WHERE NOT (t).is_new AND (t).is_changed);
BEGIN
  PERFORM retention._plan_for(cardinality(travellers));
  INSERT INTO retention.enrollment (enrollment_id, flow_id, node_id, is_holdout, entered_at, since,
                                    due_at, finished_at, customer_id, outcome, reason, error_code,
                                    event)
    SELECT t.enrollment_id, t.flow_id, t.node_id, t.is_holdout, t.entered_at, CASE
      WHEN t.outcome IS NULL THEN t.since END,
           CASE WHEN t.outcome IS NULL THEN t.due_at END, CASE WHEN t.outcome IS NOT NULL THEN as_of
             END, t.customer_id, t.outcome, t.reason, t.error_code, t.event
    FROM unnest(travellers) AS t WHERE t.is_new;
  UPDATE retention.enrollment e
    SET node_id = t.node_id, since = CASE WHEN t.outcome IS NULL THEN t.since END, due_at = CASE
      WHEN t.outcome IS NULL THEN t.due_at END,
        finished_at = CASE WHEN t.outcome IS NOT NULL THEN as_of END, outcome = t.outcome,
        reason = t.reason, error_code = t.error_code
    FROM unnest(travellers) AS t
    WHERE e.enrollment_id = t.enrollment_id AND e.enrollment_id = ANY (moved);
END
$$;
COMMENT ON FUNCTION retention._write_enrollments(retention.traveller[], timestamptz) IS
  'Writes those who have moved, each once.';

CREATE FUNCTION retention._write_properties(travellers retention.traveller[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM (SELECT unnest(travellers)) AS u (t) WHERE (t).properties IS NOT NULL)
    THEN
    RETURN;
  END IF;
  -- In the order of keys, so that workers do not wait for each other in a circle. First those who
  -- have no contact yet: a null is to remove, not to be stored.
  INSERT INTO retention.contact (customer_id)
    SELECT DISTINCT t.customer_id FROM unnest(travellers) AS t WHERE t.properties IS NOT NULL
    ORDER BY t.customer_id
    ON CONFLICT (customer_id) DO NOTHING;
  INSERT INTO retention.contact AS c (customer_id, properties)
    SELECT t.customer_id, jsonb_object_agg(p.key, p.value ORDER BY t.node_id, t.enrollment_id)
    FROM unnest(travellers) AS t, jsonb_each(t.properties) AS p
    GROUP BY t.customer_id ORDER BY t.customer_id
    ON CONFLICT (customer_id) DO UPDATE SET properties = retention._merge_properties(c.properties,
        excluded.properties);
END
$$;
COMMENT ON FUNCTION retention._write_properties(retention.traveller[]) IS
  'Writes the properties that flows have set to the contacts.';

CREATE FUNCTION retention._settle_coupons(
    travellers retention.traveller[], queued retention.queued_message[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  issuing integer[] := ARRAY(SELECT n.flow_id FROM retention.flow_node n WHERE n.type = 'coupon');
BEGIN
  IF issuing <> '{}' THEN
    PERFORM retention._return_coupons(array_agg(DISTINCT c.enrollment_id))
      FROM (SELECT t.enrollment_id, t.flow_id FROM unnest(travellers) AS t WHERE t.is_changed
            UNION ALL SELECT q.enrollment_id, q.flow_id FROM unnest(queued) AS q) AS c
      WHERE c.flow_id = ANY (issuing) HAVING count(*) > 0;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._settle_coupons(retention.traveller[], retention.queued_message[]) IS
  'After a tick: codes go back from those who have ended, are past the messages, or whose '
  'messages were not written.';

CREATE FUNCTION retention._advance(travellers retention.traveller[], as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known record := retention._with_contacts(travellers, as_of);
  journey record;
BEGIN
  journey := retention._travel(
    retention._end_delays(retention._screen(known.moved || retention._hold(known.held, as_of),
                                            as_of)), as_of);
  PERFORM retention._write_messages(journey.queued, as_of);
  PERFORM retention._write_properties(journey.arrived);
  PERFORM retention._write_enrollments(journey.arrived, as_of);
  PERFORM retention._settle_coupons(journey.arrived, journey.queued);
END
$$;
COMMENT ON FUNCTION retention._advance(retention.traveller[], timestamptz) IS
  'Takes travellers on as far as they get now, and writes what comes of it.';

CREATE FUNCTION retention._try_advance(
    travellers retention.traveller[], as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(travellers) / 2;
  code text;
  message text;
BEGIN
  PERFORM retention._advance(travellers, as_of);
EXCEPTION WHEN assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
  IF retention._error_sort(code) = 'passing' THEN
    RAISE;
  ELSIF middle > 0 THEN
    travellers := ARRAY(SELECT t FROM unnest(travellers) AS t ORDER BY t.flow_id, t.enrollment_id);
    PERFORM retention._try_advance(travellers[:middle], as_of),
            retention._try_advance(travellers[middle + 1:], as_of);
  ELSE
    PERFORM retention._write_enrollments(retention._failed(travellers, code, message), as_of);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._try_advance(retention.traveller[], timestamptz) IS
  'As _advance. Where that fails in spite of all, halves of the travellers are tried, and the one '
  'who makes it fail ends with an error.';

CREATE FUNCTION retention._tick(
    as_of timestamptz, batch integer, only_flow text DEFAULT NULL, OUT looked_at bigint,
    OUT was_cancelled boolean)
  -- JIT would take a hundred times as long as the statements: plans count as dear where ways to
  -- join are switched off.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  clock text := coalesce(current_setting('retention.as_of', true), '');
  flows retention.flow[];
  intake record;
  travellers retention.traveller[];
BEGIN
  PERFORM retention._check_clock(as_of);
  PERFORM retention._check_home();
  -- A tick within an expression would take the same customers on.
  PERFORM retention._caller();
  PERFORM retention._reject_unless(batch > 0,
                                   format('batch must be 1 or more, not %s',
                                          coalesce(batch::text, 'null')));
  PERFORM retention._pin_settings();
  PERFORM set_config('retention.as_of', as_of::text, true);
  PERFORM retention._follow_owners();
  -- Who changes a status waits until this is over.
  flows := ARRAY(SELECT f FROM retention.flow f
                 WHERE f.status IN ('live', 'manual') AND f.flow = coalesce(only_flow, f.flow)
                 ORDER BY f.flow_id FOR KEY SHARE);
  intake := retention._intake(flows, as_of, batch);
  travellers := intake.travellers || retention._due(flows, as_of,
                                                    batch - cardinality(intake.travellers));
  IF cardinality(travellers) > 0 THEN
    PERFORM retention._try_advance(travellers, as_of);
  END IF;
  was_cancelled := EXISTS (SELECT FROM retention.flow_node n
                           WHERE n.error_code = '57014' AND n.error_at = as_of
                           UNION ALL SELECT FROM retention.flow f
                             WHERE f.error_code = '57014' AND f.error_at = as_of);
  PERFORM set_config('retention.as_of', clock, true);
  looked_at := intake.looked_at + cardinality(travellers);
END
$$;
COMMENT ON FUNCTION retention._tick(timestamptz, integer, text) IS
  'One tick, of all flows or of one. How much there was to do: 0 when nothing is due; and whether '
  'an expression was cancelled, or took too long.';

CREATE FUNCTION retention.run_flows_once(
    as_of timestamptz DEFAULT retention.now(), batch integer DEFAULT 5000, OUT looked_at bigint,
    OUT was_cancelled boolean)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT t.looked_at, t.was_cancelled INTO looked_at, was_cancelled
  FROM retention._tick(as_of, batch) AS t;
END
$$;
COMMENT ON FUNCTION retention.run_flows_once(timestamptz, integer) IS
  'Takes at most a batch of customers through their flows: those who enter, who are due, and who '
  'have changed. In one transaction; several at once share the work. Returns how much there was '
  'to do, and whether an expression was cancelled or took too long.';

CREATE PROCEDURE retention.tick(
    as_of timestamptz DEFAULT retention.now(), batch integer DEFAULT 5000)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._tick(as_of, batch);
END
$$;
COMMENT ON PROCEDURE retention.tick(timestamptz, integer) IS 'As run_flows_once, by CALL.';

CREATE PROCEDURE retention.run_flows(
    as_of timestamptz DEFAULT NULL, batch integer DEFAULT 5000)
  -- It commits, so it cannot pin search_path: every name and operator is qualified.
  LANGUAGE plpgsql
AS $$
DECLARE
  looked_at pg_catalog.int8 := 1;
  was_cancelled pg_catalog.bool := false;
BEGIN
  -- In a transaction block this fails, and does so before the first tick rather than after it.
  COMMIT;
  WHILE looked_at OPERATOR(pg_catalog.>) 0 AND NOT was_cancelled LOOP
    SELECT t.looked_at, t.was_cancelled INTO looked_at, was_cancelled
      FROM retention.run_flows_once(COALESCE(as_of, retention.now()), batch) AS t;
    COMMIT;
  END LOOP;
  PERFORM retention._reject_unless(NOT was_cancelled,
                                   'an expression of a flow was cancelled, or took too long',
    'Its customers wait, others go on with the next call; retention.problem shows where.',
    'query_canceled');
END
$$;
COMMENT ON PROCEDURE retention.run_flows(timestamptz, integer) IS
  'Ticks until nothing is due, each in a transaction of its own, so not inside one.';
-- Statuses of flows and of messages; migrating enrollments to a new version.

CREATE FUNCTION retention._archive(flow_id integer) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- As in _hold_messages.
  UPDATE retention.message m SET state = 'suppressed', reason = 'archived'
    FROM (SELECT r.message_id FROM retention.message r
          WHERE r.flow_id = _archive.flow_id AND r.state IN ('held', 'ready')
            FOR UPDATE SKIP LOCKED) AS chosen
    WHERE m.message_id = chosen.message_id;
  UPDATE retention.enrollment e SET due_at = NULL, finished_at = retention.now(),
      outcome = 'archived'
    WHERE e.flow_id = _archive.flow_id AND e.due_at IS NOT NULL;
  SELECT retention._return_coupons(array_agg(c.enrollment_id))
    FROM retention.coupon c JOIN retention.enrollment e USING (enrollment_id)
    WHERE e.flow_id = _archive.flow_id;
  DELETE FROM retention.flow_entry e WHERE e.flow_id = _archive.flow_id;
$$;
COMMENT ON FUNCTION retention._archive(integer) IS
  'Ends a flow''s enrollments, and its messages that nobody has claimed.';

CREATE FUNCTION retention._set_message_status(
    target retention.flow, status text, node text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(status IN ('draft', 'manual', 'live'),
    format('status of a message must be draft, manual or live, not %s',
           coalesce('"' || status || '"', 'null')));
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.flow_node n
                                           WHERE (n.flow_id, n.node, n.type) = (target.flow_id,
                                               _set_message_status.node, 'message')),
    format('flow "%s" has no message "%s"', target.flow, node),
    'publish makes the nodes of a draft; describe_flow shows them.', 'undefined_object');
  INSERT INTO retention.message_status VALUES (target.flow_id, node, status)
    ON CONFLICT ON CONSTRAINT message_status_pkey DO UPDATE SET status = excluded.status;
END
$$;
COMMENT ON FUNCTION retention._set_message_status(retention.flow, text, text) IS
  'Sets the status of one message of a flow, in all versions.';

CREATE FUNCTION retention.set_status(flow text, status text, node text DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
BEGIN
  IF node IS NOT NULL THEN
    PERFORM retention._set_message_status(target, status, node);
    RETURN;
  END IF;
  PERFORM retention._reject_unless(status IN ('draft', 'manual', 'live', 'paused', 'archived'),
    format('status of a flow must be draft, manual, live, paused or archived, not %s',
           coalesce('"' || status || '"', 'null')));
  PERFORM retention._reject_unless(target.version IS NOT NULL OR status = 'draft',
    format('flow "%s" has not been published', flow), format('SELECT retention.publish(%L);', flow),
    'object_not_in_prerequisite_state');
  UPDATE retention.flow f SET status = set_status.status WHERE f.flow_id = target.flow_id;
  IF status IN ('live', 'manual') AND target.status NOT IN ('live', 'manual') THEN
    PERFORM retention._check_home();
    INSERT INTO retention.flow_home (here, decided_at) VALUES (retention._here(), retention.now())
    ON CONFLICT DO NOTHING;
    PERFORM retention._start_trigger(target.flow_id), retention._release_messages(target.flow_id);
    -- Who has changed meanwhile may have to exit, or has what they wait for.
    PERFORM retention._note_changed(ARRAY(SELECT DISTINCT e.customer_id FROM retention.enrollment e
                                          WHERE e.flow_id = target.flow_id
                                            AND e.due_at > retention.now()));
  ELSIF status IN ('paused', 'draft') THEN
    PERFORM retention._hold_messages(target.flow_id);
  ELSIF status = 'archived' THEN
    PERFORM retention._archive(target.flow_id);
  END IF;
  PERFORM retention._tell_reach(target.flow_id) WHERE status IN ('live', 'manual');
END
$$;
COMMENT ON FUNCTION retention.set_status(text, text, text) IS
  'Sets the status of a flow: draft, manual, live, paused or archived; or, with a node, of one '
  'message: draft, manual or live. Of a flow that is live or manual by now it tells how many '
  'contacts can be written to.';

CREATE FUNCTION retention.migrate_flow(
    flow text, from_version integer, nodes jsonb DEFAULT '{}')
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
  unmapped text;
  migrated bigint;
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.flow_version v
                                           WHERE (v.flow_id, v.version) = (target.flow_id,
                                               from_version)),
    format('flow "%s" has no version %s', flow, coalesce(from_version::text, 'null')),
    'retention.flow_version lists those there are.', 'undefined_object');
  PERFORM retention._reject_unless(jsonb_typeof(nodes) = 'object',
                                   'nodes must be an object: {"old node": "new node"}');
  SELECT string_agg(format('"%s"', old.node), ', ' ORDER BY old.node) INTO unmapped
    FROM retention.flow_node old
    WHERE (old.flow_id, old.version) = (target.flow_id, from_version)
      AND EXISTS (SELECT FROM retention.enrollment e
                  WHERE e.node_id = old.node_id AND e.flow_id = old.flow_id
                    AND e.due_at IS NOT NULL)
      AND NOT EXISTS (SELECT FROM retention.flow_node new
                      WHERE (new.flow_id, new.version, new.node) = (target.flow_id, target.version,
                          coalesce(nodes ->> old.node, old.node)));
  PERFORM retention._reject_unless(unmapped IS NULL,
                                   format('customers wait at nodes that version %s of flow "%s" '
                                          'has not: %s', target.version, flow, unmapped),
    'Map each to a node of that version: nodes => ''{"old node": "new node"}''.');
  UPDATE retention.enrollment e SET node_id = new.node_id, since = CASE
    WHEN new.type = old.type THEN e.since END
    FROM retention.flow_node old
    JOIN retention.flow_node new ON new.flow_id = old.flow_id AND new.version = target.version
      AND new.node = coalesce(nodes ->> old.node, old.node)
    WHERE (old.flow_id, old.version) = (target.flow_id, from_version) AND e.flow_id = target.flow_id
      AND e.node_id = old.node_id AND e.due_at IS NOT NULL;
  GET DIAGNOSTICS migrated = ROW_COUNT;
  RETURN migrated;
END
$$;
COMMENT ON FUNCTION retention.migrate_flow(text, integer, jsonb) IS
  'Moves those who are in a version of a flow to its published one: from each node to the one of '
  'the same name, or that nodes maps it to. When they are due stays as it is, and no message that '
  'was written is written again. Returns their number.';

CREATE FUNCTION retention.drop_flow(flow text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._require_flow(flow);
BEGIN
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.enrollment e
                                               WHERE e.flow_id = target.flow_id),
    format('flow "%s" has enrollments, which tell what customers were sent', flow),
    format('SELECT retention.set_status(%L, ''archived'');', flow), 'object_in_use');
  DELETE FROM retention.flow_entry e WHERE e.flow_id = target.flow_id;
  DELETE FROM retention.message_status s WHERE s.flow_id = target.flow_id;
  DELETE FROM retention.flow_node n WHERE n.flow_id = target.flow_id;
  DELETE FROM retention.flow_version v WHERE v.flow_id = target.flow_id;
  DELETE FROM retention.flow f WHERE f.flow_id = target.flow_id;
END
$$;
COMMENT ON FUNCTION retention.drop_flow(text) IS 'Removes a flow that nobody has ever entered.';
-- Failures that have been mended: enrollments and messages go on.

CREATE FUNCTION retention._travellers_of(enrollment_ids bigint[], as_of timestamptz)
  RETURNS retention.traveller[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(
    SELECT retention._with_fields(retention._traveller(e, false),
                                  'since', NULL, 'due_at', as_of, 'is_changed', true)
    FROM retention.enrollment e WHERE e.enrollment_id = ANY (enrollment_ids)
    ORDER BY e.enrollment_id);
END
$$;
COMMENT ON FUNCTION retention._travellers_of(bigint[], timestamptz) IS
  'Enrollments as travellers that come to their nodes now.';

CREATE FUNCTION retention._coupon_before(node_id integer) RETURNS retention.flow_node
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE node AS MATERIALIZED (
    SELECT n.*, n.node = v.document #>> '{nodes,0,id}' AS is_start
    FROM retention.flow_node here
    JOIN retention.flow_node n ON (n.flow_id, n.version) = (here.flow_id, here.version)
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (here.flow_id, here.version)
    WHERE here.node_id = _coupon_before.node_id),
  -- The ways that are left without the one on which a coupon node has handed out a code.
  way AS (
    SELECT c.node_id AS without, s.node_id FROM node c, node s
    WHERE c.type = 'coupon' AND s.is_start
    UNION
    SELECT w.without, t.target FROM way w JOIN node n ON n.node_id = w.node_id,
         unnest(n.targets) WITH ORDINALITY AS t (target, number)
    WHERE t.target IS NOT NULL AND (n.node_id <> w.without OR t.number > 1))
  SELECT c FROM retention.flow_node c
  WHERE c.node_id IN (SELECT w.without FROM way w)
    AND c.node_id NOT IN (SELECT w.without FROM way w WHERE w.node_id = _coupon_before.node_id)
  ORDER BY c.node_id DESC LIMIT 1
$$;
COMMENT ON FUNCTION retention._coupon_before(integer) IS
  'The last coupon node whose code all have been offered who are at a node; null: there is none.';

CREATE FUNCTION retention._issue_again(
    at integer, enrollment_ids bigint[], as_of timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  issuer retention.flow_node := retention._coupon_before(at);
  known record;
  served retention.traveller[];
BEGIN
  IF issuer.node_id IS NULL OR NOT EXISTS (SELECT FROM retention._coupon_messages(at)) THEN
    RETURN '{}';
  END IF;
  known := retention._with_contacts(retention._travellers_of(enrollment_ids, as_of), as_of);
  served := retention._issue_coupons(issuer, coalesce((
      SELECT v.document ->> 'metric' FROM retention.flow_version v
      WHERE (v.flow_id, v.version) = (issuer.flow_id, issuer.version)), 'orders'),
    ARRAY(SELECT t FROM unnest(known.moved) AS t WHERE t.outcome IS NULL), as_of);
  RETURN ARRAY(SELECT e FROM unnest(enrollment_ids) AS e
               EXCEPT SELECT t.enrollment_id FROM unnest(served) AS t WHERE t.reason IS NULL);
END
$$;
COMMENT ON FUNCTION retention._issue_again(integer, bigint[], timestamptz) IS
  'Issues codes anew to enrollments at a node, from which they were taken back, where messages '
  'show them. Returns those for whom there is none.';

CREATE FUNCTION retention._failed_enrollments(flow retention.flow, since timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  is_concurrent CONSTANT boolean := coalesce((
    SELECT (v.document -> 'concurrent')::boolean FROM retention.flow_version v
    WHERE (v.flow_id, v.version) = (flow.flow_id, flow.version)), false);
BEGIN
  RETURN ARRAY(
    SELECT e.enrollment_id FROM retention.enrollment e
    WHERE e.flow_id = flow.flow_id AND e.outcome = 'error' AND e.customer_id IS NOT NULL
      AND e.finished_at >= coalesce(_failed_enrollments.since, '-infinity')
      -- Who has entered again is on the way by that.
      AND (is_concurrent OR NOT EXISTS (
        SELECT FROM retention.enrollment other
        WHERE other.customer_id = e.customer_id AND other.flow_id = e.flow_id
          AND (other.due_at IS NOT NULL
               OR (other.entered_at, other.enrollment_id) > (e.entered_at, e.enrollment_id))))
    ORDER BY e.enrollment_id FOR UPDATE OF e);
END
$$;
COMMENT ON FUNCTION retention._failed_enrollments(retention.flow, timestamptz) IS
  'Enrollments that have ended with an error since a time, and whose customers have not entered '
  'again.';

CREATE FUNCTION retention._not_admitted(
    flow retention.flow, enrollment_ids bigint[], as_of timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  document jsonb := (SELECT v.document FROM retention.flow_version v
                     WHERE (v.flow_id, v.version) = (flow.flow_id, flow.version));
  -- It may be the filter that failed: they have not left the first node, nor waited there.
  asked bigint[] := ARRAY(
    SELECT e.enrollment_id FROM retention.enrollment e JOIN retention.flow_node n USING (node_id)
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    WHERE e.enrollment_id = ANY (enrollment_ids) AND e.finished_at = e.entered_at
      AND n.node = v.document #>> '{nodes,0,id}');
  answer record;
BEGIN
  IF asked = '{}' OR NOT document ? 'entry_filter' THEN
    RETURN '{}';
  END IF;
  answer := retention._fitting(flow.owner_id::regrole, coalesce(document ->> 'metric', 'orders'),
    document ->> 'entry_filter', retention._travellers_of(asked, as_of), as_of);
  RETURN ARRAY(SELECT e FROM unnest(asked) AS e
               EXCEPT SELECT t.enrollment_id FROM unnest(answer.fitting) AS t
                      WHERE t.outcome IS NULL);
END
$$;
COMMENT ON FUNCTION retention._not_admitted(retention.flow, bigint[], timestamptz) IS
  'Those of some enrollments, which failed as soon as they had entered, whom the entry filter '
  'does not let in.';

CREATE FUNCTION retention._retry_enrollments(
    flow retention.flow, since timestamptz, as_of timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  chosen bigint[] := retention._failed_enrollments(flow, since);
  here record;
  restarted bigint[];
BEGIN
  chosen := ARRAY(SELECT c FROM unnest(chosen) AS c
                  WHERE c <> ALL (retention._not_admitted(flow, chosen, as_of)));
  FOR here IN
    SELECT e.node_id, array_agg(e.enrollment_id ORDER BY e.enrollment_id) AS enrollment_ids
    FROM retention.enrollment e WHERE e.enrollment_id = ANY (chosen) GROUP BY 1 ORDER BY 1
  LOOP
    chosen := ARRAY(SELECT unnest(chosen) EXCEPT
                    SELECT unnest(retention._issue_again(here.node_id, here.enrollment_ids,
                                                         as_of)));
  END LOOP;
  WITH changed AS (
    UPDATE retention.enrollment e
      SET due_at = as_of, finished_at = NULL, outcome = NULL, reason = NULL, error_code = NULL
      WHERE e.enrollment_id = ANY (chosen) RETURNING e.enrollment_id)
  SELECT coalesce(array_agg(c.enrollment_id), '{}') INTO restarted FROM changed c;
  RETURN restarted;
END
$$;
COMMENT ON FUNCTION retention._retry_enrollments(retention.flow, timestamptz, timestamptz) IS
  'Has failed enrollments of a flow go on where they failed. Returns them.';

CREATE FUNCTION retention._failed_messages(flow retention.flow, since timestamptz)
  RETURNS retention.failed_message[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(
    SELECT ROW (m.message_id, m.enrollment_id, coalesce(p.node_id, m.node_id), m.node_id,
                m.customer_id, m.address, m.context, m.state = 'dead' AND NOT lost.is_so,
                lost.is_so)::retention.failed_message
    FROM retention.message m JOIN retention.enrollment e USING (enrollment_id)
    LEFT JOIN retention.flow_node p
      ON (p.flow_id, p.version, p.node, p.type) = (m.flow_id, flow.version, m.node, 'message')
      AND p.config ->> 'channel' = m.channel
    LEFT JOIN retention.message_status s ON (s.flow_id, s.node) = (m.flow_id, m.node),
    LATERAL (SELECT m.context #>> '{coupon,code}' IS NOT NULL AND NOT EXISTS (
               SELECT FROM retention.coupon k WHERE k.enrollment_id = m.enrollment_id
                 AND k.code = m.context #>> '{coupon,code}') AS is_so) AS lost
    WHERE m.flow_id = flow.flow_id AND m.state IN ('error', 'dead') AND m.customer_id IS NOT NULL
      AND coalesce(e.outcome NOT IN ('archived', 'merged', 'forgotten'), true)
      AND coalesce(s.status, p.config ->> 'status', 'live') <> 'draft'
      -- It died when it would have had to wait again.
      AND coalesce(_failed_messages.since <= CASE m.state WHEN 'error' THEN m.queued_at
                     ELSE m.ready_at - retention._retry_after(m.attempts, '6 hours') END, true)
    ORDER BY m.message_id FOR UPDATE OF m);
END
$$;
COMMENT ON FUNCTION retention._failed_messages(retention.flow, timestamptz) IS
  'Messages of a flow that have failed since a time: those that could not be rendered, and the '
  'dead ones.';

CREATE FUNCTION retention._revive(message_ids bigint[], as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  channels text[];
  asked retention.address_grant[];
BEGIN
  WITH revived AS (
    UPDATE retention.message m
      SET state = 'ready', reason = NULL, attempts = 0, ready_at = as_of, last_error = NULL,
          -- As late as when it was written, however often it was revived.
          expires_at = as_of + least(m.expires_at - m.queued_at,
            retention._lateness(n.config))
      FROM retention.flow_node n JOIN retention.flow_version v
        ON (v.flow_id, v.version) = (n.flow_id, n.version)
      WHERE m.message_id = ANY (message_ids) AND n.node_id = m.node_id
      RETURNING m.*, retention._address_apart(n.config, v.document) AS address_apart)
  SELECT array_agg(DISTINCT r.channel),
         array_agg(retention._asked_grant(r.flow_id, r.node, r.address, r.customer_id, r.message_id,
                                          r.queued_at, r.address_apart))
           FILTER (WHERE r.address_apart IS NOT NULL)
    INTO channels, asked FROM revived r;
  PERFORM retention._one_per_address(asked);
  PERFORM pg_notify('retention_message', c) FROM unnest(channels) AS c;
END
$$;
COMMENT ON FUNCTION retention._revive(bigint[], timestamptz) IS
  'Has dead messages be ready once more, as they were rendered, and tells who listens.';

CREATE FUNCTION retention._render_again(
    failed retention.failed_message[], flow_id integer, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  here record;
  queued retention.queued_message[];
BEGIN
  FOR here IN
    SELECT f.written_by, array_agg(f.enrollment_id) AS enrollment_ids
    FROM unnest(failed) AS f WHERE f.lacks_code GROUP BY 1 ORDER BY 1
  LOOP
    PERFORM retention._issue_again(here.written_by, here.enrollment_ids, as_of);
  END LOOP;
  SELECT array_agg(ROW (f.enrollment_id, flow_id, f.node_id, f.customer_id, as_of, NULL, f.address,
                        coalesce(f.context, '{}') || coalesce(code.shown, '{}'))
                     ::retention.queued_message ORDER BY f.message_id)
    INTO queued
    FROM unnest(failed) AS f
    LEFT JOIN LATERAL (
      SELECT jsonb_build_object('coupon', jsonb_build_object(
               'code', c.code, 'expires_at', c.expires_at)) AS shown
      FROM retention.coupon c WHERE f.lacks_code AND c.enrollment_id = f.enrollment_id
      ORDER BY c.issued_at DESC, c.node DESC LIMIT 1) AS code ON true
    WHERE NOT f.lacks_code OR code.shown IS NOT NULL;
  -- Written as if it were for the first time, by the rules that hold for all.
  DELETE FROM retention.message m USING unnest(queued) AS q, retention.flow_node n
    WHERE n.node_id = q.node_id AND (m.enrollment_id, m.node) = (q.enrollment_id, n.node);
  PERFORM retention._write_messages(queued, as_of);
END
$$;
COMMENT ON FUNCTION retention._render_again(retention.failed_message[], integer, timestamptz) IS
  'Renders messages anew from their contexts, with a new code where the one they had was taken '
  'back; those that get none stay as they are.';

CREATE FUNCTION retention.retry(flow text, since timestamptz DEFAULT NULL)
  RETURNS TABLE (enrollments bigint, messages bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  as_of CONSTANT timestamptz := retention.now();
  target retention.flow := retention._require_flow(flow);
  restarted bigint[];
  failed retention.failed_message[];
BEGIN
  -- Not within an expression of a flow.
  PERFORM retention._caller(), retention._pin_settings();
  PERFORM retention._reject_unless(target.status <> 'archived',
    format('flow "%s" is archived', flow),
    format('SELECT retention.set_status(%L, ''live'');', flow),
    'object_not_in_prerequisite_state');
  restarted := retention._retry_enrollments(target, since, as_of);
  failed := retention._failed_messages(target, since);
  PERFORM retention._revive(
    ARRAY(SELECT f.message_id FROM unnest(failed) AS f WHERE f.is_rendered), as_of);
  PERFORM retention._render_again(
    ARRAY(SELECT f FROM unnest(failed) AS f WHERE NOT f.is_rendered), target.flow_id, as_of);
  -- Of those that could not be written after all.
  PERFORM retention._return_coupons(
    restarted || ARRAY(SELECT f.enrollment_id FROM unnest(failed) AS f));
  enrollments := cardinality(restarted);
  messages := (
    SELECT count(*) FROM unnest(failed) AS f JOIN retention.flow_node n ON n.node_id = f.written_by
    JOIN retention.message m ON (m.enrollment_id, m.node) = (f.enrollment_id, n.node)
    WHERE retention._may_reach(m.state));
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION retention.retry(text, timestamptz) IS
  'Once it is mended: has those whose enrollments in a flow ended with an error, since a time or '
  'ever, go on at the node where they failed, unless they have entered again meanwhile; renders '
  'messages anew that could not be rendered, with the template of now; and has dead ones be sent '
  'once more. Returns how many there were of each.';
-- Erases a person.

CREATE FUNCTION retention._person_rooms()
  RETURNS TABLE (relation text, mirrors_orders boolean, forget text, merge text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- $1 is the key; $2 the one that it becomes, or the engine's time. In this order: what later ones
  -- look up stands first.
  -- Rows that mirror the shop's orders stay while it has orders of that person, or they would be
  -- news once more.
  VALUES
    ('enrollment', false,
     $q$UPDATE retention.enrollment SET customer_id = NULL, event = '{}', reason = NULL,
     due_at = NULL,
          outcome = coalesce(outcome, 'forgotten'),
          finished_at = coalesce(finished_at, $2::timestamptz) WHERE customer_id = $1$q$,
     'UPDATE retention.enrollment SET customer_id = $2 WHERE customer_id = $1'),
    ('address_grant', false,
     $q$DELETE FROM retention.address_grant g USING retention.message m
        WHERE m.customer_id = $1 AND g.slot = retention._address_slot(m.flow_id, m.node, m.address)
          AND g.holder = retention._holder($1)$q$,
     $q$UPDATE retention.address_grant g SET holder = retention._holder($2) FROM retention.message m
        WHERE m.customer_id = $1 AND g.slot = retention._address_slot(m.flow_id, m.node, m.address)
          AND g.holder = retention._holder($1)$q$),
    ('message', false,
     $q$UPDATE retention.message SET customer_id = NULL, address = NULL, subject = NULL,
     body = NULL, text = NULL, context = NULL, last_error = NULL,
          state = CASE WHEN state IN ('held', 'ready', 'leased') THEN 'suppressed' ELSE state END,
          reason = CASE WHEN state IN ('held', 'ready', 'leased') THEN 'forgotten' ELSE reason END
            WHERE customer_id = $1$q$,
     'UPDATE retention.message SET customer_id = $2 WHERE customer_id = $1'),
    ('last_message', false, 'DELETE FROM retention.last_message WHERE customer_id = $1',
     $q$WITH gone AS (DELETE FROM retention.last_message WHERE customer_id = $1 RETURNING *)
        INSERT INTO retention.last_message AS l (customer_id, channel, queued_at, apart,
                                                 previous_at)
          SELECT $2, g.channel, g.queued_at, g.apart, g.previous_at FROM gone g
        ON CONFLICT (customer_id, channel) DO UPDATE
          SET queued_at = greatest(l.queued_at, excluded.queued_at),
              previous_at = least(l.queued_at, excluded.queued_at)$q$),
    ('coupon', false, 'UPDATE retention.coupon SET customer_id = NULL WHERE customer_id = $1',
     'UPDATE retention.coupon SET customer_id = $2 WHERE customer_id = $1'),
    ('flow_entry', false, 'DELETE FROM retention.flow_entry WHERE customer_id = $1',
     'UPDATE retention.flow_entry SET customer_id = $2 WHERE customer_id = $1'),
    ('contact', false, 'DELETE FROM retention.contact WHERE customer_id = $1', NULL),
    ('consent_change', false, 'DELETE FROM retention.consent_change WHERE customer_id = $1',
     'UPDATE retention.consent_change SET customer_id = $2 WHERE customer_id = $1'),
    ('merged_customer', false,
     'DELETE FROM retention.merged_customer WHERE $1 IN (customer_id, merged_into)', NULL),
    ('segment_member', true, 'DELETE FROM retention.segment_member WHERE customer_id = $1', NULL),
    ('segment_change', false, 'DELETE FROM retention.segment_change WHERE customer_id = $1',
     'UPDATE retention.segment_change SET customer_id = $2 WHERE customer_id = $1'),
    ('rfm_change', false, 'DELETE FROM retention.rfm_change WHERE customer_id = $1',
     'UPDATE retention.rfm_change SET customer_id = $2 WHERE customer_id = $1'),
    ('order_event', true, 'DELETE FROM retention.order_event WHERE customer_id = $1',
     'UPDATE retention.order_event SET customer_id = $2 WHERE customer_id = $1'),
    ('change_log', true, $q$SELECT retention._strike_out('retention.change_log', $1)$q$, NULL),
    ('customer', true, 'DELETE FROM retention.customer WHERE customer_id = $1', NULL),
    ('refresh_log', false, 'SELECT retention._forget_unreadable($1)', NULL),
    -- Last: members who leave are noted there.
    ('changed_customers', false, $q$SELECT retention._strike_out('retention.changed_customers',
        $1)$q$, NULL)
$$;
COMMENT ON FUNCTION retention._person_rooms() IS
  'The tables that know customers, and the statements by which one is forgotten, or becomes '
  'another.';

CREATE FUNCTION retention._strike_out(relation regclass, customer_id text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  struck bigint;
BEGIN
  EXECUTE format('UPDATE %s SET customer_ids = array_remove(customer_ids, $1) WHERE $1 = ANY '
                 '(customer_ids)', relation) USING customer_id;
  GET DIAGNOSTICS struck = ROW_COUNT;
  EXECUTE format('DELETE FROM %s WHERE customer_ids = ''{}''', relation);
  RETURN struck;
END
$$;
COMMENT ON FUNCTION retention._strike_out(regclass, text) IS
  'Takes a key out of a table''s column customer_ids. Returns the number of rows that had it.';

CREATE FUNCTION retention._take_over_person(
    is_forgotten boolean, has_orders boolean, customer_id text, argument text)
  RETURNS TABLE (relation text, rows bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  room record;
BEGIN
  FOR room IN SELECT r.relation, CASE WHEN is_forgotten THEN r.forget ELSE r.merge END AS statement
              FROM retention._person_rooms() AS r
              WHERE NOT (is_forgotten AND has_orders AND r.mirrors_orders)
  LOOP
    CONTINUE WHEN room.statement IS NULL;
    relation := room.relation;
    IF room.statement LIKE 'SELECT%' THEN
      EXECUTE room.statement INTO rows USING customer_id;
    ELSE
      EXECUTE room.statement USING customer_id, argument;
      GET DIAGNOSTICS rows = ROW_COUNT;
    END IF;
    CONTINUE WHEN rows = 0;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._take_over_person(boolean, boolean, text, text) IS
  'Forgets a person, or makes it another, in every table. Returns how many rows of which.';

CREATE FUNCTION retention._lock_persons() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._lock_all();
  -- Who is about to enter has been written then; and whoever looks at changes takes the same rows
  -- in another order.
  PERFORM retention._take_lock('retention.flow_entry');
END
$$;
COMMENT ON FUNCTION retention._lock_persons() IS
  'Waits for refresh, process_changes and those who enter flows, and has them wait: first their '
  'locks, in their order, then rows.';

CREATE FUNCTION retention._sources_with(customer_ids text[]) RETURNS text[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source retention.source;
  zone text;
  is_there boolean;
  names text[] := '{}';
BEGIN
  FOR source IN SELECT * FROM retention.source s ORDER BY s.source_id LOOP
    zone := (SELECT m.time_zone FROM retention.metric m WHERE m.metric = source.metric);
    BEGIN
      SELECT q.is_there INTO is_there
        FROM retention._query_of(source.relation,
               format('SELECT EXISTS (%s)', retention._keyed_source_query(source, zone,
                   customer_ids))) AS q (is_there boolean);
    EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
      IF retention._ends_call(SQLSTATE) THEN
        RAISE;
      END IF;
      is_there := true; -- for all that is known
    END;
    IF is_there AND source.relation::text <> ALL (names) THEN
      names := names || source.relation::text;
    END IF;
  END LOOP;
  RETURN names;
END
$$;
COMMENT ON FUNCTION retention._sources_with(text[]) IS
  'The sources that have rows of some customers, or cannot be read.';

CREATE FUNCTION retention._contact_of(customer_id text) RETURNS retention.contact
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT (c.moved[1]).contact
          FROM retention._with_contacts(ARRAY[retention._bystander(customer_id)],
                                        retention.now()) AS c);
END
$$;
COMMENT ON FUNCTION retention._contact_of(text) IS
  'The contact of one customer, wherever contacts are.';

CREATE FUNCTION retention._addresses_of(customer_id text, contact retention.contact)
  RETURNS TABLE (channel text, address text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT a.channel, s.spelling
  FROM (SELECT c.channel, to_jsonb(contact) ->> c.address::text AS address
        FROM retention._channels() AS c
        UNION SELECT m.channel, m.address FROM retention.message m
          WHERE m.customer_id = _addresses_of.customer_id) AS a,
       unnest(retention._address_spellings(a.channel, a.address,
                                           coalesce((contact).country,
                                                    (SELECT m.country FROM retention.metric m
                                                     WHERE m.metric = 'orders')))) AS s (spelling)
  WHERE a.address <> ''
$$;
COMMENT ON FUNCTION retention._addresses_of(text, retention.contact) IS
  'Where a person is, or was, written to, in all spellings.';

CREATE FUNCTION retention._forget_addresses(keep text, channels text[], addresses text[])
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  removed retention.suppression[];
BEGIN
  IF keep = 'address' THEN
    RETURN 0;
  END IF;
  WITH gone AS (
    DELETE FROM retention.suppression s USING unnest(channels, addresses) AS a (channel, address)
    WHERE s.channel = a.channel AND retention._normal_address(s.channel, s.address,
        NULL) COLLATE "C" = a.address RETURNING s.*)
  SELECT array_agg(g::retention.suppression) INTO removed FROM gone g;
  IF keep = 'hash' AND removed IS NOT NULL THEN
    INSERT INTO retention.secret (purpose, key)
      VALUES ('suppression', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
        ON CONFLICT DO NOTHING;
    -- Under every spelling: which of them is the normal one depends on the country that is known
    -- then.
    INSERT INTO retention.suppression (channel, address, reason, suppressed_at)
      SELECT a.channel, retention._keyed_hash((SELECT s.key FROM retention.secret s
                                               WHERE s.purpose = 'suppression'), a.address),
                                               min(r.reason), min(r.suppressed_at)
      FROM unnest(removed) AS r
      JOIN unnest(channels, addresses) AS a (channel, address) USING (channel)
      GROUP BY a.channel, a.address ON CONFLICT DO NOTHING;
  END IF;
  RETURN coalesce(cardinality(removed), 0);
END
$$;
COMMENT ON FUNCTION retention._forget_addresses(text, text[], text[]) IS
  'Takes addresses off the suppression list, or leaves only their keyed hashes there. Returns the '
  'number of rows.';

CREATE FUNCTION retention._values_of(customer_id text, contact retention.contact)
  RETURNS text[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- What an error may quote. Short ones would be found in every text.
  SELECT array_agg(DISTINCT v.value)
  FROM (SELECT to_jsonb(contact) UNION ALL SELECT to_jsonb(_values_of.customer_id)
        UNION ALL SELECT e.event FROM retention.enrollment e
          WHERE e.customer_id = _values_of.customer_id
        UNION ALL SELECT m.context || to_jsonb(m.address) FROM retention.message m
          WHERE m.customer_id = _values_of.customer_id
        UNION ALL SELECT to_jsonb(o) FROM retention.order_event o
          WHERE o.customer_id = _values_of.customer_id
        UNION ALL SELECT to_jsonb(c) FROM retention.customer c
          WHERE c.customer_id = _values_of.customer_id) AS d (document),
       jsonb_path_query(d.document,
                        'strict $.** ? (@.type() == "string" || @.type() == "number")') AS leaf,
       LATERAL (SELECT leaf #>> '{}') AS v (value)
  WHERE length(v.value) >= 4
$$;
COMMENT ON FUNCTION retention._values_of(text, retention.contact) IS
  'Texts and numbers that are known of a person.';

CREATE FUNCTION retention._forget_errors(personal text[])
  RETURNS TABLE (relation text, rows bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  place record;
BEGIN
  -- The texts of errors, wherever a table has them.
  FOR place IN
    SELECT c.relname::text AS relation FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
      AND NOT a.attisdropped
      AND a.atttypid = 'text'::regtype AND a.attname = 'error' ORDER BY 1
  LOOP
    EXECUTE format($q$UPDATE retention.%I t
                   SET error = 'an error that quoted somebody who was forgotten'
                      WHERE EXISTS (SELECT FROM unnest($1) AS v WHERE strpos(t.error, v) > 0)$q$,
                      place.relation)
      USING personal;
    GET DIAGNOSTICS rows = ROW_COUNT;
    relation := place.relation;
    CONTINUE WHEN rows = 0;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._forget_errors(text[]) IS
  'Blots out the texts of errors that quote one of these. Returns how many rows of which table.';

CREATE FUNCTION retention.forget(customer_id text, keep text DEFAULT 'hash')
  RETURNS TABLE (relation text, rows bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  keys CONSTANT text[] := customer_id || ARRAY(SELECT m.customer_id FROM retention.merged_customer m
                                               WHERE m.merged_into = forget.customer_id);
  contact retention.contact;
  personal text[];
  enrollments bigint[];
  channels text[];
  addresses text[];
  sources text[];
  is_known boolean;
BEGIN
  PERFORM retention._reject_unless(keep IN ('hash', 'address', 'nothing'),
    format('keep must be hash, address or nothing, not %s', coalesce('"' || keep || '"', 'null')),
    'It is about addresses on the suppression list.');
  PERFORM retention._lock_persons();
  sources := retention._sources_with(keys);
  contact := retention._contact_of(customer_id);
  personal := retention._values_of(customer_id, contact);
  enrollments := ARRAY(SELECT e.enrollment_id FROM retention.enrollment e
                       WHERE e.customer_id = forget.customer_id);
  SELECT array_agg(a.channel), array_agg(a.address) INTO channels, addresses
  FROM retention._addresses_of(customer_id, contact) AS a;
  RETURN QUERY
    SELECT t.relation, sum(t.rows)::bigint
    FROM unnest(keys) AS k, retention._take_over_person(true, sources <> '{}', k,
                                                        retention.now()::text) AS t
    GROUP BY t.relation ORDER BY t.relation;
  is_known := FOUND;
  RETURN QUERY SELECT 'suppression', r.rows
    FROM retention._forget_addresses(keep, channels, addresses) AS r (rows) WHERE r.rows > 0;
  RETURN QUERY SELECT t.* FROM retention._forget_errors(personal) AS t;
  PERFORM retention._return_coupons(enrollments);
  -- Sizes of groups no longer hold: the next refresh has to count anew.
  UPDATE retention.source s SET fingerprint = NULL
  WHERE sources = '{}' AND is_known AND s.fingerprint IS NOT NULL;
  IF sources <> '{}' THEN
    RAISE NOTICE 'orders of customer "%" are still in %', customer_id,
        array_to_string(sources, ', ')
      USING HINT = 'What is known from them stays. Erase them there, CALL '
                   'retention.process_changes(), and forget the customer again.';
  ELSIF NOT is_known THEN
    RAISE NOTICE 'customer % is not known', coalesce('"' || customer_id || '"', 'null');
  END IF;
END
$$;
COMMENT ON FUNCTION retention.forget(text, text) IS
  'Removes a person from every table; ends enrollments and keeps rows without a name, for counts. '
  'Of addresses on the suppression list it keeps the keyed hash, the address, or nothing. Orders '
  'are the shop''s to erase, best before. Returns how many rows of which tables.';
-- Makes two customers one.

CREATE FUNCTION retention._merged_consent(
    ours boolean, theirs boolean, our_address text, their_address text)
  RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  -- A no wins. A yes goes with the address that it was given for.
  RETURN CASE WHEN ours IS FALSE OR theirs IS FALSE THEN false
              WHEN our_address IS NULL OR our_address = their_address THEN coalesce(ours, theirs)
              ELSE ours END;
COMMENT ON FUNCTION retention._merged_consent(boolean, boolean, text, text) IS
  'The stricter of two consents; the addresses are normal ones.';

CREATE FUNCTION retention._merge_contacts("from" text, "into" text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  theirs retention.contact;
BEGIN
  DELETE FROM retention.contact c WHERE c.customer_id = "from" RETURNING c.* INTO theirs;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  theirs.customer_id := "into";
  INSERT INTO retention.contact AS c SELECT (theirs).*
    ON CONFLICT (customer_id) DO UPDATE SET
      email_consent = retention._merged_consent(c.email_consent, theirs.email_consent,
                                                retention._normal_address('email', c.email, NULL),
                                                retention._normal_address('email', theirs.email,
                                                    NULL)),
      sms_consent = retention._merged_consent(c.sms_consent, theirs.sms_consent,
                                              retention._normal_address('sms', c.phone, c.country),
                                              retention._normal_address('sms', theirs.phone,
                                                  theirs.country)),
      push_consent = retention._merged_consent(c.push_consent, theirs.push_consent, c.push_token,
                                               theirs.push_token),
      email = coalesce(c.email, theirs.email), phone = coalesce(c.phone, theirs.phone),
      push_token = coalesce(c.push_token, theirs.push_token),
      country = CASE WHEN c.phone IS NULL THEN coalesce(theirs.country, c.country) ELSE c.country
        END,
      time_zone = coalesce(c.time_zone, theirs.time_zone),
      locale = coalesce(c.locale, theirs.locale), properties = theirs.properties || c.properties;
  RETURN 1;
END
$$;
COMMENT ON FUNCTION retention._merge_contacts(text, text) IS
  'Fills what one contact lacks from another, which it removes; the stricter consent holds.';

CREATE FUNCTION retention._end_doubles(customer_id text) RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  ended bigint[];
BEGIN
  WITH double AS (
    SELECT e.enrollment_id, row_number() OVER (PARTITION BY e.flow_id
                                               ORDER BY e.entered_at, e.enrollment_id) AS number
    FROM retention.enrollment e JOIN retention.flow f USING (flow_id)
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (f.flow_id, f.version)
    WHERE e.customer_id = _end_doubles.customer_id AND e.due_at IS NOT NULL
      AND NOT coalesce((v.document -> 'concurrent')::boolean, false)),
  changed AS (
    UPDATE retention.enrollment e SET due_at = NULL, finished_at = retention.now(),
        outcome = 'merged'
    FROM double d WHERE e.enrollment_id = d.enrollment_id AND d.number > 1
    RETURNING e.enrollment_id)
  SELECT array_agg(c.enrollment_id) INTO ended FROM changed c;
  UPDATE retention.message m SET state = 'suppressed', reason = 'merged'
  WHERE m.enrollment_id = ANY (ended) AND m.state IN ('held', 'ready');
  PERFORM retention._return_coupons(ended);
  RETURN ended;
END
$$;
COMMENT ON FUNCTION retention._end_doubles(text) IS
  'Of several enrollments that run in a flow, ends all but the first, and what they would have '
  'sent.';

CREATE FUNCTION retention.merge_customers("from" text, "into" text)
  RETURNS TABLE (relation text, rows bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moved record;
BEGIN
  PERFORM retention._reject_unless("from" <> '' AND "into" <> '',
                                   'the keys to merge must not be null or empty', '',
                                   'null_value_not_allowed');
  PERFORM retention._reject_unless("from" <> "into",
                                   format('customer "%s" cannot be merged into itself', "into"),
                                   'from is the key that is given up, into the one that stays.');
  PERFORM retention._lock_persons();
  relation := 'contact';
  rows := retention._merge_contacts("from", "into");
  IF rows > 0 THEN
    RETURN NEXT;
  END IF;
  -- What became known twice, as the orders had moved already, is kept once.
  DELETE FROM retention.order_event e USING retention.order_event k
    WHERE e.customer_id = "from" AND k.customer_id = "into"
      AND (k.source_id, k.kind, k.order_id) = (e.source_id, e.kind, e.order_id)
      AND (e.kind = 'order' OR k.occurred_at = e.occurred_at);
  FOR moved IN SELECT t.* FROM retention._take_over_person(false, false, "from", "into") AS t LOOP
    relation := moved.relation;
    rows := moved.rows;
    RETURN NEXT;
  END LOOP;
  PERFORM retention._end_doubles("into");
  IF rows = 0 AND relation = 'contact' AND NOT EXISTS (SELECT FROM retention.merged_customer m
                                                       WHERE m.customer_id = "from")
     AND NOT EXISTS (SELECT FROM retention.customer c WHERE c.customer_id = "from") THEN
    RAISE NOTICE 'nothing is known of customer "%"', "from"
      USING HINT = 'From now on it is taken for the other one.';
  END IF;
  DELETE FROM retention.merged_customer m WHERE m.customer_id = "into";
  UPDATE retention.merged_customer m SET merged_into = "into" WHERE m.merged_into = "from";
  INSERT INTO retention.merged_customer VALUES ("from", "into", retention.now())
    ON CONFLICT ON CONSTRAINT merged_customer_pkey DO UPDATE SET merged_into = excluded.merged_into;
  PERFORM retention._note_changed(ARRAY["into"]);
END
$$;
COMMENT ON FUNCTION retention.merge_customers(text, text) IS
  'Says that two keys are one person: what is known of the first becomes the second''s, nothing '
  'of it is news, and whatever still comes under the first key is taken for the second''s. Orders '
  'follow by the shop''s own UPDATE, before or after. Returns how many rows of which tables.';
-- Refresh: customers, models and segments, brought up to date in one transaction.

CREATE FUNCTION retention._refresh_customers(
    metric text, "full" boolean, as_of timestamptz, allow_loss boolean DEFAULT false)
  RETURNS timestamptz
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  started_at timestamptz := clock_timestamp();
  settings retention.metric;
  fingerprint text;
  last retention.population;
  path text := 'rebuild';
  settings_changed boolean;
  done record;
BEGIN
  PERFORM retention._require_metric(metric);
  PERFORM retention._lock_metric(metric), retention._take_turn(metric);
  settings := retention._require_metric(metric);
  -- Ahead of what reads by them: what is changed meanwhile is then found by the next refresh.
  fingerprint := retention._settings(settings);
  last := retention._last_refresh(metric);
  IF as_of = pg_catalog.now() THEN
    -- The transaction may have waited: what others have committed meanwhile is not in the future.
    as_of := greatest(clock_timestamp(), last.as_of);
  END IF;
  PERFORM retention._check_refresh(settings, last, as_of);
  settings_changed := last.settings IS DISTINCT FROM fingerprint;
  IF settings_changed THEN
    -- What time has brought about is not due to the settings.
    PERFORM retention._evaluate_segments('refresh', as_of);
  END IF;
  IF NOT "full" AND retention._sources_unchanged(settings, last, as_of) THEN
    path := 'clock';
    done := retention._advance_clock(settings, last, as_of);
  ELSE
    done := retention._rebuild(settings, last, as_of, fingerprint, allow_loss);
  END IF;
  PERFORM retention._tell(format(
    'metric "%s": %s customers added, %s changed, %s removed; %s moved between groups', metric,
    (done.written).inserted, (done.written).updated, (done.written).deleted,
    (done.written).transitions));
  PERFORM retention._log_refresh(
    retention._publish(settings, as_of, false, done.report, fingerprint),
    metric, as_of, path, done.report, done.written, started_at, done.read_at);
  PERFORM retention._refresh_models(settings, as_of);
  IF path = 'rebuild' THEN
    PERFORM retention._record_all_events(settings, as_of, (done.written).with_events);
  END IF;
  IF settings_changed THEN
    PERFORM retention._settle_segments(metric, last.as_of, as_of);
  END IF;
  RETURN as_of;
END
$$;
COMMENT ON FUNCTION retention._refresh_customers(text, boolean, timestamptz, boolean) IS
  'A refresh without the segments. Returns the clock that it went by.';

CREATE PROCEDURE retention.refresh(
    metric text DEFAULT 'orders', "full" boolean DEFAULT false,
    as_of timestamptz DEFAULT retention.now(),
    allow_loss boolean DEFAULT false)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- For refresh_all, whose time may have been up for another metric.
  PERFORM retention._renew_timeout();
  as_of := retention._refresh_customers(metric, "full", as_of, allow_loss);
  DELETE FROM retention.metric_error e WHERE e.metric = refresh.metric;
  PERFORM retention._evaluate_segments('refresh', as_of);
END
$$;
COMMENT ON PROCEDURE retention.refresh(text, boolean, timestamptz, boolean) IS
  'Brings a metric''s customers, scores, groups and history, and all segments, up to as_of, in '
  'one transaction, and fits the models anew when they are due. Reads the sources, unless they '
  'have not changed since the last refresh; full => true reads them in any case. Where more than '
  'the metric''s loss_limit of its customers would be removed it fails, unless allow_loss is '
  'true.';

CREATE PROCEDURE retention.refresh_all()
  -- It commits, so it cannot pin search_path: every name and operator is qualified.
  LANGUAGE plpgsql
AS $$
DECLARE
  metrics CONSTANT pg_catalog.text[] := COALESCE((
    SELECT pg_catalog.array_agg(DISTINCT s.metric) FROM retention.source AS s
    WHERE s.kind OPERATOR(pg_catalog.=) 'order'), '{}');
  metric pg_catalog.text;
  failures pg_catalog.text[];
BEGIN
  -- In a transaction block this fails, and does so before the first metric rather than after it.
  COMMIT;
  FOREACH metric IN ARRAY metrics LOOP
    BEGIN
      CALL retention.refresh(metric);
    EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
      -- As _ends_call, which is not the caller's to use: somebody has cancelled all of it.
      IF SQLSTATE OPERATOR(pg_catalog.=) '57014'
         AND (pg_catalog.current_setting('statement_timeout') OPERATOR(pg_catalog.=) '0'
              OR pg_catalog.clock_timestamp() OPERATOR(pg_catalog.<) (
                   pg_catalog.statement_timestamp() OPERATOR(pg_catalog.+)
                   pg_catalog.current_setting('statement_timeout')::pg_catalog."interval")) THEN
        RAISE;
      END IF;
      failures := pg_catalog.array_append(failures,
                                          pg_catalog.format('metric "%s": %s', metric, SQLERRM));
    END;
    COMMIT;
  END LOOP;
  PERFORM retention._reject_unless(failures IS NULL,
    pg_catalog.format('%s of %s metrics could not be refreshed: %s',
                      pg_catalog.cardinality(failures),
                      pg_catalog.cardinality(metrics), pg_catalog.array_to_string(failures, '; ')),
    'The others are. refresh does one metric.', 'object_not_in_prerequisite_state');
END
$$;
COMMENT ON PROCEDURE retention.refresh_all() IS
  'Refreshes every metric that has a source of orders, each in a transaction of its own, so not '
  'inside one. Those that fail are named in one error at the end.';
-- Keeping current: brings the customers that the triggers have noted up to date.

CREATE FUNCTION retention._note_metric_error(
    metric text, code text, message text, as_of timestamptz)
  RETURNS integer
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.metric_error AS e VALUES (metric, message, code, as_of)
    ON CONFLICT ON CONSTRAINT metric_error_pkey DO UPDATE
      SET error = excluded.error, error_code = excluded.error_code, error_at = excluded.error_at,
          failures = e.failures + 1
  RETURNING failures
$$;
COMMENT ON FUNCTION retention._note_metric_error(text, text, text, timestamptz) IS
  'Records that a metric has failed; returns how often in a row.';

CREATE FUNCTION retention._process_settled(
    settings retention.metric, as_of timestamptz, customer_ids text[])
  RETURNS retention.customer_change[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last retention.population := retention._last_refresh(settings.metric);
BEGIN
  IF last IS NULL OR last.stale THEN
    RETURN NULL;
  END IF;
  as_of := greatest(as_of, last.as_of);
  PERFORM retention._check_refresh(settings, last, as_of);
  IF last.settings <> retention._settings(settings) THEN
    PERFORM retention._leave_to_refresh(last);
    RETURN NULL;
  END IF;
  RETURN retention._process_metric(settings, last, as_of, customer_ids);
END
$$;
COMMENT ON FUNCTION retention._process_settled(retention.metric, timestamptz, text[]) IS
  'Processes some customers of a metric that has been refreshed with its present settings; others '
  'are left to the refresh.';

CREATE FUNCTION retention._has_tried_enough(
    code text, give_up_at timestamptz, failed_before integer)
  RETURNS boolean
  LANGUAGE sql VOLATILE
  -- A busy server must not have a few customers' faults stop the others.
  RETURN clock_timestamp() > give_up_at
     AND (failed_before >= 16 OR retention._error_sort(code) <> 'value');
COMMENT ON FUNCTION retention._has_tried_enough(text, timestamptz, integer) IS
  'Whether customers whose rows fail are no longer looked for: the time for it is up, and there '
  'are many of them, or the fault is not their own.';

CREATE FUNCTION retention._try_metric(
    metric text, as_of timestamptz, customer_ids text[], give_up_at timestamptz DEFAULT NULL,
    failed_before integer DEFAULT 0,
    OUT changes retention.customer_change[], OUT failed text[], OUT message text, OUT code text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(customer_ids) / 2;
  one record;
  other record;
BEGIN
  changes := retention._process_settled(retention._require_metric(metric), as_of, customer_ids);
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
  message := retention._reason(message);
  IF retention._ends_call(code) THEN
    RAISE;
  ELSIF middle = 0 OR retention._has_tried_enough(code, give_up_at, failed_before) THEN
    failed := customer_ids;
    RETURN;
  END IF;
  -- Some customer's own rows: the others are done without, unless there are too many such
  -- customers.
  give_up_at := coalesce(give_up_at, clock_timestamp() + interval '1 second');
  one := retention._try_metric(metric, as_of, customer_ids[:middle], give_up_at, failed_before);
  other := retention._try_metric(metric, as_of, customer_ids[middle + 1:], give_up_at,
                                 failed_before + coalesce(cardinality(one.failed), 0));
  changes := one.changes || other.changes;
  failed := one.failed || other.failed;
  message := coalesce(one.message, other.message);
  code := coalesce(one.code, other.code);
END
$$;
COMMENT ON FUNCTION retention._try_metric(text, timestamptz, text[], timestamptz, integer) IS
  'Processes some customers of one metric. failed are those that could not be, and why.';

CREATE FUNCTION retention._keep_failed(
    metric text, as_of timestamptz, failed text[], message text, code text, oldest timestamptz,
    hint text DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failures integer;
BEGIN
  IF failed IS NULL THEN
    DELETE FROM retention.metric_error e WHERE e.metric = _keep_failed.metric;
    RETURN;
  END IF;
  failures := retention._note_metric_error(metric, code, message, as_of);
  RAISE WARNING 'changes of % customers of metric "%", such as "%", could not be processed: %',
      cardinality(failed), metric, failed[1], message
    USING HINT = concat_ws(' ',
                           'They stay in retention.change_log and are tried again, all others are '
                           'processed; retention.problem shows it.', nullif(hint, ''));
  INSERT INTO retention.change_log (customer_ids, changed_at, due_at)
    VALUES (failed, oldest, as_of + retention._retry_after(failures));
END
$$;
COMMENT ON FUNCTION retention._keep_failed(
  text, timestamptz, text[], text, text, timestamptz, text) IS
  'Puts customers back into the log whose changes could not be processed, to be tried again '
  'later, and says so. Null: there were none.';

CREATE FUNCTION retention._count_lost(
    settings retention.metric, last retention.population, as_of timestamptz, customer_ids text[],
    give_up_at timestamptz DEFAULT NULL, failed_before integer DEFAULT 0,
    OUT lost bigint, OUT failed integer)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(customer_ids) / 2;
  one record;
  other record;
BEGIN
  PERFORM retention._read_metric(settings, as_of, 'retention.customer', last, customer_ids);
  lost := (retention._collected_loss()).lost;
  failed := 0;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  IF retention._ends_call(SQLSTATE) THEN
    RAISE;
  END IF;
  IF middle = 0 OR retention._has_tried_enough(SQLSTATE, give_up_at, failed_before) THEN
    lost := 0;
    failed := cardinality(customer_ids);
    RETURN;
  END IF;
  give_up_at := coalesce(give_up_at, clock_timestamp() + interval '1 second');
  one := retention._count_lost(settings, last, as_of, customer_ids[:middle], give_up_at,
                               failed_before);
  other := retention._count_lost(settings, last, as_of, customer_ids[middle + 1:], give_up_at,
                                 failed_before + one.failed);
  lost := one.lost + other.lost;
  failed := one.failed + other.failed;
END
$$;
COMMENT ON FUNCTION retention._count_lost(
  retention.metric, retention.population, timestamptz, text[], timestamptz, integer) IS
  'How many of some customers have no order any more; and of how many the rows cannot be read, '
  'who are not lost.';

CREATE FUNCTION retention._check_loss(
    metric text, as_of timestamptz, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._require_metric(metric);
  last retention.population := retention._last_refresh(metric);
  lost bigint;
BEGIN
  -- As a rule too few have changed for too many to be lost, and nothing has to be read.
  IF last IS NULL OR last.stale OR cardinality(customer_ids) <= settings.loss_limit * last.customers
     OR last.settings <> retention._settings(settings) THEN
    RETURN;
  END IF;
  PERFORM retention._check_refresh(settings, NULL, as_of);
  lost := (retention._count_lost(settings, last, greatest(as_of, last.as_of),
                                 customer_ids)).lost;
  IF lost > 0 THEN
    PERFORM retention._reject_loss(settings, (SELECT count(*) FROM retention.customer c
                                              WHERE c.metric = settings.metric), lost);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._check_loss(text, timestamptz, text[]) IS
  'An error where processing these customers, all that have changed, would remove more of the '
  'metric''s than its limit.';

CREATE FUNCTION retention._may_process(
    metric text, as_of timestamptz, customer_ids text[], oldest timestamptz)
  RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  reason text;
  code text;
  hint text;
BEGIN
  PERFORM retention._check_loss(metric, as_of, customer_ids);
  RETURN true;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, code = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
  reason := retention._reason(reason);
  IF retention._ends_call(code) THEN
    RAISE;
  END IF;
  PERFORM retention._keep_failed(metric, as_of, customer_ids, reason, code, oldest, hint);
  RETURN false;
END
$$;
COMMENT ON FUNCTION retention._may_process(text, timestamptz, text[], timestamptz) IS
  'Whether a metric may process these customers, which is decided for all of them before any; '
  'else they are kept, with a warning.';

CREATE FUNCTION retention._process_customers(
    metrics text[], as_of timestamptz, customer_ids text[], oldest timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  changes retention.customer_change[] := '{}';
  affected record;
  metric text;
  result record;
BEGIN
  FOREACH metric IN ARRAY metrics LOOP
    result := retention._try_metric(metric, as_of, customer_ids);
    PERFORM retention._keep_failed(metric, as_of, result.failed, result.message, result.code,
                                   oldest);
    changes := changes || result.changes;
  END LOOP;
  PERFORM retention._note_changed(customer_ids);
  FOR affected IN
    SELECT coalesce(c.cause, 'data') AS cause, array_agg(k) AS customer_ids
    FROM unnest(customer_ids) AS k
    LEFT JOIN (SELECT customer_id, min(cause) AS cause FROM unnest(changes)
               WHERE cause IN ('order', 'refund') GROUP BY 1) AS c ON c.customer_id = k
    GROUP BY 1 ORDER BY 1
  LOOP
    PERFORM retention._evaluate_segments(affected.cause, as_of, affected.customer_ids);
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._process_customers(text[], timestamptz, text[], timestamptz) IS
  'Brings some customers up to date: by each metric, then in all segments, which learn whether it '
  'was an order, a refund, or other data that changed.';

CREATE FUNCTION retention._try_refresh(metric text, as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last retention.population := retention._last_refresh(metric);
  reason text;
  code text;
  hint text;
BEGIN
  -- A composite value IS NOT NULL only if none of its columns is null.
  IF NOT last IS NULL THEN
    PERFORM retention._refresh_customers(metric, true, greatest(as_of, last.as_of));
    PERFORM retention._note_orders_ahead(retention._require_metric(_try_refresh.metric), p.as_of,
                                         p.next_order_at, NULL)
                                           FROM retention._last_refresh(_try_refresh.metric) AS p;
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, code = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
  reason := retention._reason(reason);
  IF retention._ends_call(code) THEN
    RAISE;
  END IF;
  RAISE WARNING 'metric "%" could not be rebuilt: %', metric, reason
    USING HINT = concat_ws(' ', 'Its next refresh reads everything.', nullif(hint, ''));
  PERFORM retention._note_metric_error(metric, code, reason, as_of),
          retention._leave_to_refresh(last);
END
$$;
COMMENT ON FUNCTION retention._try_refresh(text, timestamptz) IS
  'Rebuilds one metric that was refreshed before. A failure is reported, and is that metric''s '
  'alone.';

CREATE FUNCTION retention._process_everything(metrics text[], as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._try_refresh(m, as_of) FROM unnest(metrics) AS m;
  PERFORM retention._evaluate_segments('refresh', as_of);
END
$$;
COMMENT ON FUNCTION retention._process_everything(text[], timestamptz) IS
  'What process_changes does when so much may have changed that reading all is less work.';

CREATE FUNCTION retention._is_below_source(relation regclass) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT EXISTS (SELECT FROM pg_class WHERE oid = relation)
      OR EXISTS (SELECT
                 FROM retention.source s, retention._tables_below(s.relation) AS t,
                      retention._parts(t.below) AS part WHERE part = _is_below_source.relation)
$$;
COMMENT ON FUNCTION retention._is_below_source(regclass) IS
  'Whether a metric reads a table, by itself or through views and as a partition; one that is '
  'gone may have been such a partition.';

CREATE FUNCTION retention._customers_of_orders(
    source retention.source, order_ids text[], give_up_at timestamptz,
    OUT customer_ids text[], OUT failed text[], OUT message text)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(order_ids) / 2;
  one record;
  other record;
BEGIN
  SELECT array_agg(q.customer_id) INTO customer_ids
    FROM retention._query_of(source.relation, retention._orders_query(source, order_ids))
      AS q (customer_id text);
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  message := retention._reason(SQLERRM);
  IF retention._ends_call(SQLSTATE) THEN
    RAISE;
  ELSIF middle = 0 OR clock_timestamp() > give_up_at THEN
    failed := order_ids;
    RETURN;
  END IF;
  -- Some order's own row: the others are done without.
  give_up_at := coalesce(give_up_at, clock_timestamp() + interval '1 second');
  one := retention._customers_of_orders(source, order_ids[:middle], give_up_at);
  other := retention._customers_of_orders(source, order_ids[middle + 1:], give_up_at);
  customer_ids := one.customer_ids || other.customer_ids;
  failed := one.failed || other.failed;
  message := coalesce(one.message, other.message);
END
$$;
COMMENT ON FUNCTION retention._customers_of_orders(retention.source, text[], timestamptz) IS
  'Whose some orders of a source are. failed are those that could not be looked up, and why.';

CREATE FUNCTION retention._look_up_orders(
    via_id integer, source retention.source, order_ids text[], as_of timestamptz,
    oldest timestamptz)
  RETURNS text[]
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  batch CONSTANT integer := 10000;
  customer_ids text[] := '{}';
  buyers record;
BEGIN
  FOR start IN 1 .. cardinality(order_ids) BY batch LOOP
    buyers := retention._customers_of_orders(source, order_ids[start : start + batch - 1], NULL);
    customer_ids := customer_ids || buyers.customer_ids;
    IF buyers.failed IS NOT NULL THEN
      RAISE WARNING 'whose orders of %, such as "%", have changed could not be looked up: %',
          source.relation, left(buyers.failed[1], 100), buyers.message
        USING HINT = 'They stay in retention.change_log and are tried again.';
      INSERT INTO retention.change_log (order_ids, via_id, changed_at, due_at)
        VALUES (buyers.failed, via_id, oldest, as_of + retention._retry_after(1));
    END IF;
  END LOOP;
  RETURN customer_ids;
END
$$;
COMMENT ON FUNCTION retention._look_up_orders(
  integer, retention.source, text[], timestamptz, timestamptz) IS
  'Whose these orders are, by a source. Those that cannot be looked up go back into the log, with '
  'a warning.';

CREATE FUNCTION retention._take_orders(
    orders jsonb, as_of timestamptz, oldest timestamptz,
    OUT customer_ids text[], OUT everything boolean)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  noted record;
  source retention.source;
BEGIN
  customer_ids := '{}';
  FOR noted IN
    SELECT o.key::integer AS via_id, v.relation,
           ARRAY(SELECT jsonb_array_elements_text(o.value)) AS order_ids
    FROM jsonb_each(orders) AS o LEFT JOIN retention.tracked_via v ON v.via_id = o.key::integer
  LOOP
    FOR source IN SELECT * FROM retention._sources_via(noted.relation) LOOP
      customer_ids := customer_ids || retention._look_up_orders(
        noted.via_id, source, noted.order_ids, as_of, oldest);
    END LOOP;
    IF NOT FOUND THEN
      everything := true;
      RAISE WARNING 'whose orders change is not known, and all is read anew each time: % is no '
                    'source of orders with an order id any more',
          coalesce(noted.relation::text, 'null')
        USING HINT = 'Add it again, or untrack what retention.tracked lists with it, and track '
                     'that '
                     'via another source.';
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._take_orders(jsonb, timestamptz, timestamptz) IS
  'The customers of orders, by number of tracked_via; or that anybody''s may be concerned, where '
  'that is no source any more.';

CREATE FUNCTION retention._are_more_changes(most bigint) RETURNS boolean
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT sum(cardinality(coalesce(l.customer_ids, l.order_ids)))
          FROM retention.change_log l) > most
     AND (SELECT count(DISTINCT k COLLATE "C")
          FROM retention.change_log l, unnest(coalesce(l.customer_ids, l.order_ids)) AS k) > most;
END
$$;
COMMENT ON FUNCTION retention._are_more_changes(bigint) IS
  'Whether the log has more customers and orders than this.';

CREATE FUNCTION retention._take_changes(
    most bigint, as_of timestamptz, OUT everything boolean, OUT relations regclass[],
    OUT customer_ids text[], OUT oldest timestamptz)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  orders jsonb;
  buyers record;
BEGIN
  IF retention._are_more_changes(most) THEN
    DELETE FROM retention.change_log l WHERE coalesce(l.due_at <= as_of, true);
    everything := true;
    RETURN;
  END IF;
  -- Whatever has been committed by now, and nothing else, is taken: what is committed later stays
  -- for the next time.
  WITH gone AS (DELETE FROM retention.change_log l WHERE coalesce(l.due_at <= as_of, true)
                RETURNING *)
  SELECT array_agg(DISTINCT g.relation)
           FILTER (WHERE g.customer_ids IS NULL AND g.order_ids IS NULL),
         array_agg(DISTINCT k COLLATE "C") FILTER (WHERE k IS NOT NULL), min(g.changed_at),
         (SELECT jsonb_object_agg(o.via_id, to_jsonb(o.ids))
          FROM (SELECT n.via_id, array_agg(DISTINCT i COLLATE "C") AS ids
                FROM gone n, unnest(n.order_ids) AS i GROUP BY n.via_id) AS o)
    INTO relations, customer_ids, oldest, orders
    FROM gone g LEFT JOIN LATERAL unnest(g.customer_ids) AS k ON true;
  everything := (SELECT bool_or(retention._is_below_source(r)) FROM unnest(relations) AS r);
  IF orders IS NOT NULL THEN
    buyers := retention._take_orders(orders, as_of, oldest);
    everything := everything OR buyers.everything;
    SELECT array_agg(DISTINCT k COLLATE "C") INTO customer_ids
      FROM unnest(customer_ids || buyers.customer_ids) AS k;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._take_changes(bigint, timestamptz) IS
  'Empties the log, but for what is not due yet, and returns whose changes it had, and the tables '
  'of which anything may have changed; or that everything may have, or too much to go through it.';

CREATE FUNCTION retention._warn_of_gone_columns(relations regclass[]) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  gone record;
BEGIN
  FOR gone IN
    SELECT t.relation, c.name, CASE WHEN c.via IS NULL
             THEN format('Name the column that the customer''s key is in now: '
                         'SELECT retention.track(%L, ''...'');', t.relation)
             ELSE format('Name the column that the order''s id is in now: '
                         'SELECT retention.track(%L, via => %L, order_id => ''...'');',
                         t.relation, c.via) END AS hint
    FROM retention.tracked t, LATERAL (
      SELECT k, NULL::regclass FROM unnest(t.customer_id_columns) AS k
      UNION ALL SELECT * FROM unnest(t.order_id_columns, t.via)) AS c (name, via)
    WHERE t.relation = ANY (relations) AND NOT retention._has_column(t.relation, c.name)
    ORDER BY t.relation::text, c.name
  LOOP
    RAISE WARNING 'whose rows of % change is not known: it has no column "%" any more, and all is '
                  'read anew each time',
        gone.relation, gone.name
      USING HINT = gone.hint;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._warn_of_gone_columns(regclass[]) IS
  'Warns of tables whose column of the customer''s key, or of the order''s id, was dropped or '
  'renamed since they are tracked.';

CREATE PROCEDURE retention.process_changes(as_of timestamptz DEFAULT retention.now())
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  batch CONSTANT integer := 10000;
  metrics text[];
  taken record;
BEGIN
  PERFORM retention._check_clock(as_of);
  metrics := retention._lock_all();
  -- From some share of all customers on, one read of everything is less work than finding each by
  -- index.
  taken := retention._take_changes(greatest(100000,
                                            (SELECT max(p.customers) / 10
                                             FROM unnest(metrics) AS m,
                                                  retention._last_refresh(m) AS p)), as_of);
  PERFORM retention._warn_of_gone_columns(taken.relations) WHERE taken.relations IS NOT NULL;
  IF as_of = pg_catalog.now() THEN
    -- Whatever was taken has been committed by now, and must not be in the future.
    as_of := clock_timestamp();
  END IF;
  IF taken.everything THEN
    PERFORM retention._process_everything(metrics, as_of);
  ELSIF taken.customer_ids IS NULL AND taken.relations IS NULL THEN
    -- Segments may have been redefined, or wait for another try.
    PERFORM retention._evaluate_segments('data', as_of, '{}');
  END IF;
  IF taken.customer_ids IS NOT NULL THEN
    metrics := ARRAY(SELECT m FROM unnest(metrics) AS m
                     WHERE retention._may_process(m, as_of, taken.customer_ids, taken.oldest));
  END IF;
  FOR start IN 1 .. coalesce(cardinality(taken.customer_ids), 0) BY batch LOOP
    PERFORM retention._process_customers(metrics, as_of,
                                         taken.customer_ids[start : start + batch - 1],
                                         taken.oldest);
  END LOOP;
  IF NOT taken.everything THEN
    -- Tables that only segments read, such as consent, may have changed for anybody.
    PERFORM retention._evaluate_segments('refresh', as_of);
  END IF;
  -- Now that whose orders have changed are told of, the rest is due to the settings.
  PERFORM retention._evaluate_segments('data', as_of, '{}')
    WHERE EXISTS (SELECT FROM retention.segment s WHERE s.pending = 'settings');
END
$$;
COMMENT ON PROCEDURE retention.process_changes(timestamptz) IS
  'Brings the customers that the triggers of track have noted up to date: facts, scores, groups, '
  'history, segments and order events, in one transaction. Others are left alone: what time alone '
  'changes is found by refresh.';

CREATE PROCEDURE retention.process_changes(metric text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A time that is written as a text comes here, too.
  IF retention._is_of_type(metric, 'timestamptz')
    AND NOT EXISTS (SELECT FROM retention.metric m WHERE m.metric = process_changes.metric) THEN
    CALL retention.process_changes(metric::timestamptz);
  ELSE
    PERFORM retention._require_metric(metric);
    CALL retention.process_changes();
  END IF;
END
$$;
COMMENT ON PROCEDURE retention.process_changes(text) IS
  'The same by the name of a metric, as refresh has it: changes are those of customers, and every '
  'metric is brought up to date by them.';
-- What changed settings do, and metrics that start anew or are dropped.

CREATE FUNCTION retention._note_settings() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.metric');
  -- In the order of everybody else. What time has brought about by now is not due to the settings.
  PERFORM retention._lock_all(),
          retention._evaluate_segments(CASE TG_WHEN WHEN 'BEFORE' THEN 'refresh' ELSE 'settings'
                                       END, retention.now());
  PERFORM retention._tell(format('metric "%s": what was changed takes effect with CALL '
                                 'retention.refresh(%L); changes of its orders wait until then',
                                 NEW.metric, NEW.metric), 'notice')
    FROM retention._last_refresh(NEW.metric) AS l
    WHERE TG_WHEN = 'AFTER' AND l.settings <> retention._settings(NEW);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._note_settings() IS
  'Trigger, before and after settings that take effect at once: whoever enters or leaves segments '
  'by them does so by the settings.';

CREATE FUNCTION retention._drop_sources() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.metric');
  DELETE FROM retention.source s WHERE s.metric = OLD.metric;
  -- Kept when a metric is reset, so that no order starts a flow twice.
  DELETE FROM retention.order_event e WHERE e.metric = OLD.metric;
  PERFORM retention._forget_metric(OLD.metric);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._drop_sources() IS
  'Trigger: a metric''s sources, and all that came of them, go with it.';

CREATE FUNCTION retention.drop_metric(metric text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._require_metric(metric);
  -- Before the row is, in the order of everybody else.
  PERFORM retention._lock_all(), retention._lock_metric(metric);
  DELETE FROM retention.metric e WHERE e.metric = drop_metric.metric;
END
$$;
COMMENT ON FUNCTION retention.drop_metric(text) IS
  'Drops a metric with its sources, customers and history.';

CREATE FUNCTION retention._forget_metric(metric text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._lock_all(), retention._lock_metric(metric);
  PERFORM retention._take_turn(metric);
  DELETE FROM retention.customer e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.rfm_change e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.refresh_log e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.population e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.fitted_model e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.published_model e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.validation_result r USING retention.validation e
    WHERE e.metric = _forget_metric.metric AND r.validation_id = e.validation_id;
  DELETE FROM retention.validation e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.metric_error e WHERE e.metric = _forget_metric.metric;
  PERFORM retention._mark_settings();
END
$$;
COMMENT ON FUNCTION retention._forget_metric(text) IS
  'Deletes what refreshes and process_changes have made of a metric.';

CREATE FUNCTION retention.reset_metric(metric text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._require_metric(metric);
  PERFORM retention._forget_metric(metric);
END
$$;
COMMENT ON FUNCTION retention.reset_metric(text) IS
  'Forgets a metric''s customers and history, and keeps its settings and sources.';
-- Drops what is too old to be asked for.

CREATE FUNCTION retention.prune(keep interval DEFAULT '90 days') RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  oldest timestamptz := retention.now() - retention._span(keep);
  changes bigint;
  events bigint;
BEGIN
  PERFORM retention._reject_unless(keep >= retention._event_window(),
                                   format('at least %s have to be kept, not %s',
                                          retention._event_window(), coalesce(keep::text, 'null')),
    'Orders of that age can still be news.');
  PERFORM retention._check_span('keep', keep, 1);
  -- From the oldest row on, up to the first one that has to stay.
  DELETE FROM retention.segment_change c
    WHERE c.change_id < coalesce((SELECT n.change_id FROM retention.segment_change n
                                  WHERE n.as_of >= oldest
                                  ORDER BY n.change_id LIMIT 1), 9223372036854775807)
      AND c.change_id <= coalesce((SELECT min(position) FROM retention.segment_consumer),
                                  9223372036854775807);
  GET DIAGNOSTICS changes = ROW_COUNT;
  -- Known and dated so long ago, whatever the time zone, that it would not be news again.
  DELETE FROM retention.order_event e
    WHERE e.occurred_at < oldest - interval '1 day'
      AND greatest(e.recorded_at, e.ordered_at) < oldest - interval '1 day';
  GET DIAGNOSTICS events = ROW_COUNT;
  RETURN changes + events;
END
$$;
COMMENT ON FUNCTION retention.prune(interval) IS
  'Removes older changes from the queue, as far as every consumer has read them, and older order '
  'events. Returns the number of rows.';
-- The schedule of the jobs with pg_cron.

CREATE FUNCTION retention._jobs(
    refresh text, process_changes text, prune text, run_flows text)
  RETURNS TABLE (job text, schedule text, command text)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $body$
  -- Nobody reads what a job tells: in one statement, for refresh_all commits.
  VALUES ('retention refresh', refresh,
          'DO $$BEGIN SET retention.progress = off; CALL retention.refresh_all(); END$$'),
         ('retention process_changes', process_changes,
          'DO $$BEGIN SET retention.progress = off; CALL retention.process_changes(); END$$'),
         ('retention prune', prune, 'SELECT retention.prune()'),
         ('retention run_flows', run_flows, 'CALL retention.run_flows()')
$body$;
COMMENT ON FUNCTION retention._jobs(text, text, text, text) IS
  'The jobs that schedule makes, with their schedules.';

CREATE FUNCTION retention.schedule(
    refresh text DEFAULT '15 3 * * *', process_changes text DEFAULT '* * * * *',
    prune text DEFAULT '45 4 * * *',
    run_flows text DEFAULT '* * * * *')
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron'),
    format('pg_cron is not installed in database "%s"', current_database()),
    'CREATE EXTENSION pg_cron; or, where another database has it, call cron.schedule_in_database '
    'there; or run the loop of docs/operations.md.',
    'object_not_in_prerequisite_state');
  PERFORM cron.unschedule(c.jobid)
    FROM retention._jobs(refresh, process_changes, prune, run_flows) j
    JOIN cron.job c ON c.jobname = j.job
    WHERE j.schedule IS NULL AND c.username = current_user AND c.database = current_database();
  -- By name, so that a job that is there already keeps its number and its log.
  PERFORM cron.schedule(j.job, j.schedule, j.command)
    FROM retention._jobs(refresh, process_changes, prune, run_flows) j WHERE j.schedule IS NOT NULL;
END
$$;
COMMENT ON FUNCTION retention.schedule(text, text, text, text) IS
  'Has pg_cron run refresh_all, process_changes, prune and run_flows, as the caller, at these '
  'times; null: not at all. Again: replaces the times. pg_cron reads times in GMT.';

CREATE FUNCTION retention.unschedule() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention.schedule(NULL, NULL, NULL, NULL);
END
$$;
COMMENT ON FUNCTION retention.unschedule() IS 'Removes the jobs that the caller made by schedule.';
-- Triggers on the settings of metrics.

-- Of the row views read any setting: the zone of days, the number of scores.
CREATE TRIGGER note_new_settings AFTER UPDATE ON retention.metric FOR EACH ROW
  WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION retention._note_settings();
COMMENT ON TRIGGER note_new_settings ON retention.metric IS 'Has segments know why customers move.';

CREATE TRIGGER note_old_settings BEFORE UPDATE ON retention.metric FOR EACH ROW
  WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION retention._note_settings();
COMMENT ON TRIGGER note_old_settings ON retention.metric IS
  'Has segments be as the settings of before make them.';

CREATE TRIGGER drop_sources AFTER DELETE ON retention.metric
  FOR EACH ROW EXECUTE FUNCTION retention._drop_sources();
COMMENT ON TRIGGER drop_sources ON retention.metric IS 'Removes what a dropped metric had.';
-- What flows have earned: attribution, performance, uplift.

CREATE VIEW retention.flow_attribution AS
  SELECT e.event_id, e.order_id, e.customer_id, e.ordered_at AS occurred_at, e.net_amount AS amount,
         touch.flow, touch.node, touch.message_id, touch.sent_at
  FROM retention.order_event e
  CROSS JOIN LATERAL (
    SELECT f.flow, m.node, m.message_id, m.sent_at
    FROM retention.message m
    JOIN retention.flow f ON f.flow_id = m.flow_id
    JOIN retention.flow_node n ON n.node_id = m.node_id
    JOIN retention.flow_version v ON v.flow_id = n.flow_id AND v.version = n.version
    WHERE m.customer_id = e.customer_id AND m.state = 'sent' AND m.sent_at < e.ordered_at
      AND NOT coalesce((n.config -> 'transactional')::boolean, false)
      AND m.sent_at >= e.ordered_at - retention._span(coalesce(v.document ->> 'conversion_window',
          '7 days')::interval)
      AND e.metric = coalesce(v.document ->> 'metric', 'orders')
    ORDER BY m.sent_at DESC, m.message_id DESC LIMIT 1) AS touch
  WHERE e.kind = 'order' AND e.net_amount > 0;
COMMENT ON VIEW retention.flow_attribution IS
  'Orders, as they are now, that followed a message within its flow''s conversion window, each '
  'with the last such message that was no transactional one. Of sources with events => true.';
COMMENT ON COLUMN retention.flow_attribution.event_id IS 'Number of the order''s event.';
COMMENT ON COLUMN retention.flow_attribution.order_id IS 'The shop''s key of the order.';
COMMENT ON COLUMN retention.flow_attribution.customer_id IS 'The shop''s key of the customer.';
COMMENT ON COLUMN retention.flow_attribution.occurred_at IS
  'Time of the order; where its source has dates only, the moment of that day at which it became '
  'known.';
COMMENT ON COLUMN retention.flow_attribution.amount IS 'Amount of the order, refunds deducted.';
COMMENT ON COLUMN retention.flow_attribution.flow IS 'Flow of the last message before the order.';
COMMENT ON COLUMN retention.flow_attribution.node IS 'Node of that message.';
COMMENT ON COLUMN retention.flow_attribution.message_id IS 'Number of that message.';
COMMENT ON COLUMN retention.flow_attribution.sent_at IS 'When it was sent.';

CREATE VIEW retention.flow_performance AS
  SELECT f.flow, f.status, f.version, coalesce(e.entered, 0)::bigint AS entered,
         coalesce(e.in_flow, 0)::bigint AS in_flow, coalesce(e.holdout, 0)::bigint AS holdout,
         coalesce(e.outcomes, '{}') AS outcomes, coalesce(m.sent, 0) AS sent,
         coalesce(m.waiting_messages, 0) AS waiting_messages, coalesce(m.skipped, 0) AS skipped,
         coalesce(a.orders, 0) AS attributed_orders, coalesce(a.revenue, 0) AS attributed_revenue
  FROM retention.flow f
  LEFT JOIN (
    SELECT o.flow_id, sum(o.entered) AS entered, sum(o.in_flow) AS in_flow,
           sum(o.holdout) AS holdout,
           jsonb_object_agg(o.outcome, o.entered) FILTER (WHERE o.outcome IS NOT NULL) AS outcomes
    FROM (SELECT flow_id, outcome, count(*) AS entered, count(*)
                 FILTER (WHERE due_at IS NOT NULL) AS in_flow, count(*)
                   FILTER (WHERE is_holdout) AS holdout
          FROM retention.enrollment GROUP BY flow_id, outcome) AS o
    GROUP BY o.flow_id) AS e USING (flow_id)
  LEFT JOIN (
    SELECT flow_id, count(*) FILTER (WHERE state = 'sent') AS sent, count(*)
      FILTER (WHERE state IN ('held', 'ready', 'leased')) AS waiting_messages,
           count(*) FILTER (WHERE state IN ('suppressed', 'error', 'dead')) AS skipped
    FROM retention.message GROUP BY flow_id) AS m USING (flow_id)
  LEFT JOIN (SELECT flow, count(*) AS orders, sum(amount) AS revenue FROM retention.flow_attribution
             GROUP BY flow) AS a USING (flow);
COMMENT ON VIEW retention.flow_performance IS
  'What each flow did: who entered and how it ended, messages, and the orders that followed them.';
COMMENT ON COLUMN retention.flow_performance.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow_performance.status IS 'Status of the flow.';
COMMENT ON COLUMN retention.flow_performance.version IS 'Version that new enrollments run.';
COMMENT ON COLUMN retention.flow_performance.entered IS 'Enrollments ever.';
COMMENT ON COLUMN retention.flow_performance.in_flow IS 'Enrollments that have not ended.';
COMMENT ON COLUMN retention.flow_performance.holdout IS 'Enrollments in the holdout.';
COMMENT ON COLUMN retention.flow_performance.outcomes IS 'How many ended how.';
COMMENT ON COLUMN retention.flow_performance.sent IS 'Messages sent.';
COMMENT ON COLUMN retention.flow_performance.waiting_messages IS 'Messages held, ready or claimed.';
COMMENT ON COLUMN retention.flow_performance.skipped IS 'Messages suppressed, dead or in error.';
COMMENT ON COLUMN retention.flow_performance.attributed_orders IS 'Orders of flow_attribution.';
COMMENT ON COLUMN retention.flow_performance.attributed_revenue IS 'Their amounts.';

CREATE VIEW retention.flow_step_performance AS
  SELECT f.flow, n.version, n.node, n.type, coalesce(e.waiting, 0) AS waiting,
         coalesce(m.sent, 0)::bigint AS sent,
         coalesce(m.waiting_messages, 0)::bigint AS waiting_messages,
         coalesce(m.ghosts, 0)::bigint AS ghosts, coalesce(m.skipped, 0)::bigint AS skipped,
         coalesce(m.skipped_by_reason, '{}') AS skipped_by_reason, n.error
  FROM retention.flow f
  JOIN retention.flow_node n USING (flow_id)
  LEFT JOIN (SELECT node_id, count(*) AS waiting FROM retention.enrollment WHERE due_at IS NOT NULL
             GROUP BY node_id) AS e USING (node_id)
  LEFT JOIN (
    SELECT node_id, sum(messages) FILTER (WHERE state = 'sent') AS sent, sum(messages)
      FILTER (WHERE state IN ('held', 'ready', 'leased')) AS waiting_messages,
           sum(messages) FILTER (WHERE state = 'ghost') AS ghosts, sum(messages)
             FILTER (WHERE state IN ('suppressed', 'error', 'dead')) AS skipped,
           jsonb_object_agg(skip, messages) FILTER (WHERE skip IS NOT NULL) AS skipped_by_reason
    FROM (SELECT node_id, state, CASE state WHEN 'suppressed' THEN reason WHEN 'error' THEN 'error'
                 WHEN 'dead' THEN 'dead' END AS skip, count(*) AS messages
          FROM retention.message GROUP BY 1, 2, 3) AS counted
    GROUP BY node_id) AS m USING (node_id)
  -- In the order in which they are come to.
  ORDER BY n.node_id;
COMMENT ON VIEW retention.flow_step_performance IS
  'What each node did: who waits there, messages sent, and those that were not, by reason.';
COMMENT ON COLUMN retention.flow_step_performance.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow_step_performance.version IS 'Version that the node belongs to.';
COMMENT ON COLUMN retention.flow_step_performance.node IS 'Id of the node.';
COMMENT ON COLUMN retention.flow_step_performance.type IS 'Type of the node.';
COMMENT ON COLUMN retention.flow_step_performance.waiting IS 'Customers who wait at the node.';
COMMENT ON COLUMN retention.flow_step_performance.sent IS 'Messages sent.';
COMMENT ON COLUMN retention.flow_step_performance.waiting_messages IS
  'Messages held, ready or claimed.';
COMMENT ON COLUMN retention.flow_step_performance.ghosts IS
  'Messages that customers in the holdout would have got.';
COMMENT ON COLUMN retention.flow_step_performance.skipped IS
  'Messages suppressed, dead or in error.';
COMMENT ON COLUMN retention.flow_step_performance.skipped_by_reason IS 'These by reason.';
COMMENT ON COLUMN retention.flow_step_performance.error IS
  'Why customers wait here who should not; null: nothing is wrong.';

CREATE FUNCTION retention._wilson(
    converted bigint, customers bigint, OUT low double precision, OUT high double precision)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (middle - half) / (1 + zz / n), (middle + half) / (1 + zz / n)
  FROM (SELECT p + zz / (2 * n) AS middle, sqrt(zz * (p * (1 - p) / n + zz / (4 * n * n))) AS half,
               n, zz
        FROM (SELECT converted::double precision / customers AS p, customers::double precision AS n,
                     1.959963984540054 ^ 2 AS zz WHERE customers > 0) AS given) AS parts
$$;
COMMENT ON FUNCTION retention._wilson(bigint, bigint) IS
  'The 95 % interval of a share (Wilson 1927).';

CREATE VIEW retention.flow_uplift AS
  WITH followed AS (
    -- Once, however many enrollments the order followed.
    SELECT DISTINCT e.flow_id, e.customer_id, o.event_id, o.net_amount
    FROM retention.enrollment e
    JOIN retention.flow_node n USING (node_id)
    JOIN retention.flow_version v ON v.flow_id = n.flow_id AND v.version = n.version
    JOIN retention.order_event o
      ON o.customer_id = e.customer_id AND o.kind = 'order' AND o.net_amount > 0
      AND o.metric = coalesce(v.document ->> 'metric', 'orders') AND o.ordered_at > e.entered_at
      AND o.ordered_at
          <= e.entered_at + retention._span(coalesce(v.document ->> 'conversion_window',
                                                     '7 days')::interval)),
  customer AS (
    SELECT e.flow_id, e.customer_id, e.is_holdout, f.revenue IS NOT NULL AS converted,
           coalesce(f.revenue, 0)::double precision AS revenue
    FROM (SELECT flow_id, customer_id, bool_or(is_holdout) AS is_holdout FROM retention.enrollment
          WHERE customer_id IS NOT NULL GROUP BY flow_id, customer_id) AS e
    LEFT JOIN (SELECT flow_id, customer_id, sum(net_amount) AS revenue
               FROM followed GROUP BY flow_id, customer_id) AS f USING (flow_id, customer_id)),
  arm AS (
    SELECT flow_id, count(*) FILTER (WHERE NOT is_holdout) AS treated, count(*)
      FILTER (WHERE NOT is_holdout AND converted) AS treated_converted,
           count(*) FILTER (WHERE is_holdout) AS holdout, count(*)
             FILTER (WHERE is_holdout AND converted) AS holdout_converted,
           avg(revenue) FILTER (WHERE NOT is_holdout) AS treated_revenue, avg(revenue)
             FILTER (WHERE is_holdout) AS holdout_revenue,
           sqrt(var_samp(revenue) FILTER (WHERE NOT is_holdout) / nullif(count(*)
               FILTER (WHERE NOT is_holdout), 0)
              + var_samp(revenue) FILTER (WHERE is_holdout) / nullif(count(*)
                  FILTER (WHERE is_holdout), 0)) AS revenue_error
    FROM customer GROUP BY flow_id),
  share AS (
    SELECT a.*, treated_converted::double precision / nullif(treated, 0) AS treated_rate,
           holdout_converted::double precision / nullif(holdout, 0) AS holdout_rate,
           t.low AS treated_low, t.high AS treated_high, h.low AS holdout_low,
           h.high AS holdout_high
    FROM arm a LEFT JOIN LATERAL retention._wilson(treated_converted, treated) AS t ON true LEFT
    JOIN LATERAL retention._wilson(holdout_converted, holdout) AS h ON true)
  SELECT f.flow, s.treated, s.holdout, s.treated_rate, s.holdout_rate,
         s.treated_rate - s.holdout_rate AS uplift,
         s.treated_rate - s.holdout_rate 
           - sqrt((s.treated_rate - s.treated_low) ^ 2 + (s.holdout_high - s.holdout_rate) ^ 2)
           AS uplift_low,
         s.treated_rate - s.holdout_rate 
           + sqrt((s.treated_high - s.treated_rate) ^ 2 + (s.holdout_rate - s.holdout_low) ^ 2)
           AS uplift_high,
         s.treated_revenue, s.holdout_revenue,
         s.treated_revenue - s.holdout_revenue AS revenue_uplift,
         s.treated_revenue - s.holdout_revenue 
           - 1.959963984540054 * s.revenue_error AS revenue_uplift_low,
         s.treated_revenue - s.holdout_revenue 
           + 1.959963984540054 * s.revenue_error AS revenue_uplift_high
  FROM share s JOIN retention.flow f USING (flow_id);
COMMENT ON VIEW retention.flow_uplift IS
  'What each flow achieved: customers who ordered within the conversion window after they '
  'entered, treated against holdout, each order once, as it is now. The interval of the '
  'difference of shares is Newcombe''s (1998, method 10).';
COMMENT ON COLUMN retention.flow_uplift.flow IS 'Name of the flow.';
COMMENT ON COLUMN retention.flow_uplift.treated IS 'Customers who entered and were not held out.';
COMMENT ON COLUMN retention.flow_uplift.holdout IS 'Customers in the holdout.';
COMMENT ON COLUMN retention.flow_uplift.treated_rate IS 'Share of the treated who ordered.';
COMMENT ON COLUMN retention.flow_uplift.holdout_rate IS 'Share of the holdout who ordered.';
COMMENT ON COLUMN retention.flow_uplift.uplift IS
  'The difference of these shares; null without a holdout.';
COMMENT ON COLUMN retention.flow_uplift.uplift_low IS 'Lower end of its 95 % interval.';
COMMENT ON COLUMN retention.flow_uplift.uplift_high IS 'Upper end of its 95 % interval.';
COMMENT ON COLUMN retention.flow_uplift.treated_revenue IS
  'Mean revenue of the treated within the window.';
COMMENT ON COLUMN retention.flow_uplift.holdout_revenue IS
  'Mean revenue of the holdout within the window.';
COMMENT ON COLUMN retention.flow_uplift.revenue_uplift IS 'The difference of these means.';
COMMENT ON COLUMN retention.flow_uplift.revenue_uplift_low IS 'Lower end of its 95 % interval.';
COMMENT ON COLUMN retention.flow_uplift.revenue_uplift_high IS 'Upper end of its 95 % interval.';
-- What has gone wrong and is not mended.

CREATE FUNCTION retention._shown_error(error text, reader name) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN has_column_privilege(reader, 'retention.message', 'last_error', 'SELECT')
              THEN error
              -- Mail addresses, places of webhooks, tokens of devices and telephone numbers.
              ELSE regexp_replace(error,
                '\S*@\S*|\w+://\S+|[\w:-]{32,}|\+?\d(?:[ ().-]*\d){6,}', '(...)', 'g') END
$$;
COMMENT ON FUNCTION retention._shown_error(text, name) IS
  'The text of an error as a role may see it: without addresses unless it was given these.';

CREATE VIEW retention.problem AS
  SELECT 'enrollment' AS kind, f.flow AS name, n.version, n.node, e.customer_id,
         max(e.finished_at) AS happened_at,
         e.error_code AS sqlstate, retention._shown_error(e.reason, current_user) AS message,
         count(*) AS occurrences, NULL::timestamptz AS next_try_at
  FROM retention.enrollment e JOIN retention.flow_node n USING (node_id)
  JOIN retention.flow f ON f.flow_id = e.flow_id
  WHERE e.outcome = 'error' AND e.reason IS NOT NULL
  GROUP BY f.flow, n.version, n.node, e.customer_id, e.error_code, e.reason
  UNION ALL
  SELECT 'message', f.flow, n.version, m.node, m.customer_id, max(m.queued_at), NULL,
         retention._shown_error(m.last_error, current_user), count(*),
         min(m.ready_at) FILTER (WHERE m.state = 'ready')
  FROM retention.message m JOIN retention.flow_node n USING (node_id)
  JOIN retention.flow f ON f.flow_id = m.flow_id
  WHERE m.state IN ('error', 'dead') OR m.state = 'ready' AND m.last_error IS NOT NULL
  GROUP BY f.flow, n.version, m.node, m.customer_id, m.last_error
  UNION ALL
  SELECT 'entry', f.flow, f.version, NULL, e.customer_id,
         max(e.due_at - retention._retry_after(e.failures)),
         e.error_code, retention._shown_error(e.error, current_user), sum(e.failures), min(e.due_at)
  FROM retention.flow_entry e JOIN retention.flow f USING (flow_id) WHERE e.error IS NOT NULL
  GROUP BY f.flow, f.version, e.customer_id, e.error_code, e.error
  UNION ALL
  SELECT 'node', f.flow, n.version, n.node, NULL, n.error_at, n.error_code,
         retention._shown_error(n.error, current_user), n.failures,
         n.error_at + retention._retry_after(n.failures)
  FROM retention.flow_node n JOIN retention.flow f USING (flow_id) WHERE n.error IS NOT NULL
  UNION ALL
  SELECT 'flow', f.flow, f.version, NULL, NULL, f.error_at, f.error_code,
         retention._shown_error(f.error, current_user), f.failures,
         f.error_at + retention._retry_after(f.failures)
  FROM retention.flow f WHERE f.error IS NOT NULL
  UNION ALL
  SELECT 'segment', s.segment, NULL, NULL, NULL, s.error_at, s.error_code,
         retention._shown_error(s.error, current_user), s.failures,
         s.error_at + retention._retry_after(s.failures)
  FROM retention.segment s WHERE s.error IS NOT NULL
  UNION ALL
  SELECT 'metric', e.metric, NULL, NULL, NULL, e.error_at, e.error_code,
         retention._shown_error(e.error, current_user), e.failures,
         e.error_at + retention._retry_after(e.failures)
  FROM retention.metric_error e;
COMMENT ON VIEW retention.problem IS
  'What has gone wrong, and is not mended: for single customers, and for whole nodes, flows, '
  'segments and metrics, which are tried again.';
COMMENT ON COLUMN retention.problem.kind IS
  'entry, enrollment, message: of one customer; node, flow, segment, metric: of all.';
COMMENT ON COLUMN retention.problem.name IS 'Name of the flow, segment or metric.';
COMMENT ON COLUMN retention.problem.version IS 'Version of the flow.';
COMMENT ON COLUMN retention.problem.node IS 'Id of the node.';
COMMENT ON COLUMN retention.problem.customer_id IS 'The shop''s key of the customer; null: of all.';
COMMENT ON COLUMN retention.problem.happened_at IS 'Engine''s time of the last occurrence.';
COMMENT ON COLUMN retention.problem.sqlstate IS 'SQLSTATE of the error, where there is one.';
COMMENT ON COLUMN retention.problem.message IS
  'What went wrong; addresses in it are left out for whoever may not see them.';
COMMENT ON COLUMN retention.problem.occurrences IS 'How often.';
COMMENT ON COLUMN retention.problem.next_try_at IS 'When it is tried again; null: not by itself.';
-- Simulates a flow: the engine itself on a virtual clock over the shop's past orders, rolled back.

CREATE FUNCTION retention._begin_simulation(
    flow text, metric text, "from" timestamptz, step interval)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  simulated integer := (SELECT f.flow_id FROM retention.flow f
                        WHERE f.flow = _begin_simulation.flow);
BEGIN
  PERFORM set_config('retention.as_of', "from"::text, true);
  PERFORM retention._lock_all();
  PERFORM retention.reset_metric(metric);
  DELETE FROM retention.order_event e WHERE e.metric = _begin_simulation.metric;
  UPDATE retention.source s SET events_from = "from"
  WHERE s.metric = _begin_simulation.metric AND s.order_id IS NOT NULL;
  DELETE FROM retention.message m WHERE m.flow_id = simulated;
  DELETE FROM retention.enrollment e WHERE e.flow_id = simulated;
  DELETE FROM retention.flow_entry e WHERE e.flow_id = simulated;
  DELETE FROM retention.last_message;
  DELETE FROM retention.address_grant;
  -- Nothing is sent by it, so it can be tried in copies.
  DELETE FROM retention.flow_home;
  PERFORM retention._refresh_customers(metric, true, "from");
  PERFORM retention._evaluate_segments('definition', "from");
  -- Orders are looked at at the end of each step only.
  UPDATE retention.flow f
    SET draft = jsonb_set(f.draft, '{trigger,max_age}', to_jsonb(
          coalesce(f.draft #>> '{trigger,max_age}', '3 days')::interval + step))
    WHERE f.flow = _begin_simulation.flow AND f.draft #>> '{trigger,type}' IN ('order', 'refund');
  PERFORM retention.publish(flow);
  UPDATE retention.flow f SET status = 'draft' WHERE f.flow_id = simulated;
  PERFORM retention.set_status(flow, 'live');
END
$$;
COMMENT ON FUNCTION retention._begin_simulation(text, text, timestamptz, interval) IS
  'Sets everything back to a past moment, with the flow''s draft going live.';

CREATE FUNCTION retention._simulate_ticks(flow text, at timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM set_config('retention.as_of', at::text, true);
  WHILE (SELECT t.looked_at > 0 AND NOT t.was_cancelled FROM retention._tick(at, 5000, flow) AS t)
    LOOP
    NULL;
  END LOOP;
  -- Whatever is ready is sent at once.
  PERFORM retention.ack(ARRAY(SELECT m.message_id
                              FROM retention._channels() c,
                                   retention.claim_messages(c.channel, 1000000) AS m), at);
END
$$;
COMMENT ON FUNCTION retention._simulate_ticks(text, timestamptz) IS
  'What is due at a moment of a simulation: flow, sender.';

CREATE FUNCTION retention._simulate_step(
    flow text, metric text, at timestamptz, until timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  due timestamptz;
BEGIN
  -- Between two looks at the orders: delays end when they are due, and quiet hours do.
  LOOP
    due := (SELECT least(f.fires_at, (SELECT min(e.due_at) FROM retention.enrollment e
                                      WHERE e.flow_id = f.flow_id)) FROM retention.flow f
                                      WHERE f.flow = flow);
    EXIT WHEN due >= until IS NOT FALSE;
    PERFORM retention._simulate_ticks(flow, greatest(due, at));
  END LOOP;
  PERFORM set_config('retention.as_of', until::text, true);
  PERFORM retention._refresh_customers(metric, true, until, allow_loss => true);
  PERFORM retention._evaluate_segments('refresh', until);
  PERFORM retention._simulate_ticks(flow, until);
END
$$;
COMMENT ON FUNCTION retention._simulate_step(text, text, timestamptz, timestamptz) IS
  'One step of a simulation: what is due meanwhile; then refresh, segments, flow, sender.';

CREATE FUNCTION retention._simulation_rows(flow text, zone text, timelines integer)
  RETURNS TABLE (part text, day date, node text, detail text, customer_id text, number bigint)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH enrollment AS MATERIALIZED (SELECT e.* FROM retention.enrollment e
                                   JOIN retention.flow f USING (flow_id)
                                   WHERE f.flow = _simulation_rows.flow),
  message AS MATERIALIZED (SELECT m.* FROM retention.message m JOIN retention.flow f USING (flow_id)
                           WHERE f.flow = _simulation_rows.flow),
  chosen AS (SELECT e.enrollment_id, e.customer_id FROM enrollment e
             ORDER BY (SELECT count(*) FROM message m WHERE m.enrollment_id = e.enrollment_id) DESC,
               e.enrollment_id LIMIT timelines),
  row AS (
    SELECT 1 AS place, 'entries' AS part, (e.entered_at AT TIME ZONE zone)::date AS day,
           NULL::text AS node, CASE WHEN e.is_holdout THEN 'holdout' END AS detail,
           NULL::text AS customer_id, count(*) AS number,
           NULL::timestamptz AS at, 0 AS step
    FROM enrollment e GROUP BY day, detail
    UNION ALL
    SELECT 2, CASE WHEN m.state = 'sent' THEN 'messages' ELSE 'skips' END,
           (m.queued_at AT TIME ZONE zone)::date AS day, m.node, CASE
      WHEN m.state <> 'sent' THEN coalesce(m.reason, m.state) END AS detail, NULL, count(*), NULL, 0
    FROM message m GROUP BY 2, day, m.node, detail
    UNION ALL
    SELECT 3, 'orders', (a.occurred_at AT TIME ZONE zone)::date AS day, a.node, NULL, NULL,
           count(*), NULL, 0
    FROM retention.flow_attribution a WHERE a.flow = _simulation_rows.flow GROUP BY day, a.node
    UNION ALL
    SELECT 4, 'timeline', (t.at AT TIME ZONE zone)::date, t.node, t.detail, c.customer_id,
           c.enrollment_id, t.at, t.step
    FROM chosen c, LATERAL (
      SELECT e.entered_at AS at, NULL::text AS node, 'entered' AS detail, 1 AS step
      FROM enrollment e WHERE e.enrollment_id = c.enrollment_id
      UNION ALL SELECT m.queued_at, m.node, concat_ws(': ', m.state, m.reason), 2 FROM message m
        WHERE m.enrollment_id = c.enrollment_id
      UNION ALL SELECT e.finished_at, NULL, e.outcome, 3 FROM enrollment e
        WHERE e.enrollment_id = c.enrollment_id AND e.finished_at IS NOT NULL) AS t)
  SELECT r.part, r.day, r.node, r.detail, r.customer_id, r.number FROM row r
  ORDER BY r.place, CASE WHEN r.place = 4 THEN r.number END, r.at, r.step, r.day, r.part, r.node,
    r.detail
$$;
COMMENT ON FUNCTION retention._simulation_rows(text, text, integer) IS
  'What a simulation has brought about.';

CREATE FUNCTION retention.simulate_flow(
    flow text, "from" timestamptz, "to" timestamptz, step interval DEFAULT '1 day',
    timelines integer DEFAULT 5)
  RETURNS TABLE (part text, day date, node text, detail text, customer_id text, number bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET client_min_messages = warning SET retention.progress = off
AS $$
#variable_conflict use_variable
DECLARE
  target retention.flow := retention._require_flow(flow);
  metric text := coalesce(target.draft ->> 'metric', 'orders');
  zone text := retention._flow_zone(target.draft);
  result jsonb;
  at timestamptz := "from";
  until timestamptz;
BEGIN
  PERFORM retention._check_span('step', coalesce(step, '0'), 1);
  PERFORM retention._reject_unless(retention._in_calendar("from") AND retention._in_calendar("to"),
    format('from and to must be times in the years 1 to 9999, not %s and %s',
           coalesce("from"::text, 'null'), coalesce("to"::text, 'null')));
  PERFORM retention._reject_unless("from" < "to",
                                   format('the simulation ends at %s, before it starts at %s', "to",
                                          "from"));
  BEGIN
    PERFORM retention._begin_simulation(flow, metric, "from", step);
    LOOP
      until := retention._add_local(at, step, zone);
      EXIT WHEN until > "to";
      PERFORM retention._simulate_step(flow, metric, at, until);
      at := until;
    END LOOP;
    result := (SELECT jsonb_agg(to_jsonb(r))
               FROM retention._simulation_rows(flow, zone, timelines) AS r);
    RAISE EXCEPTION USING ERRCODE = 'RT001', MESSAGE = 'the simulation is rolled back';
  EXCEPTION WHEN SQLSTATE 'RT001' THEN
    NULL;
  END;
  RETURN QUERY SELECT r.*
    FROM jsonb_to_recordset(coalesce(result, '[]')) AS r (part text, day date, node text,
                                                          detail text, customer_id text,
                                                          number bigint);
END
$$;
COMMENT ON FUNCTION retention.simulate_flow(text, timestamptz, timestamptz, interval, integer) IS
  'What a flow''s draft would have done with the orders between two past moments, which are '
  'looked at step by step; what is due in between is done when it is due: the live engine on a '
  'virtual clock, rolled back. Rows: entries, messages by node, skips by reason and attributed '
  'orders, a day each; then the timelines of some enrollments (number is the enrollment). '
  'Contacts are today''s. Meanwhile refreshes and process_changes wait.';
-- Health: one list of what is wrong now.

CREATE TYPE retention.finding AS (
  severity   text,
  what       text,
  since      timestamptz,
  how_often  bigint,
  detail     text,
  what_to_do text
);
COMMENT ON TYPE retention.finding IS 'A row of health.';

CREATE FUNCTION retention._problem_findings(reader name)
  RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.severity, format(k.what, p.name, p.node), min(p.happened_at), sum(p.occurrences)::bigint,
         retention._shown_error(
           (array_agg(p.message ORDER BY p.happened_at DESC NULLS LAST, p.message))[1], reader),
         format(k.what_to_do, p.name)
  FROM retention.problem p JOIN (VALUES
    ('node', 'error', 'customers wait at node "%2$s" of flow "%1$s"',
     'Mend what its expression names; it is tried again by itself.'),
    ('flow', 'error', 'nobody can enter flow "%1$s"',
     'Mend its trigger or entry filter; it is tried again by itself.'),
    ('segment', 'error', 'segment "%1$s" cannot be evaluated',
     'Mend its view; it is tried again by itself.'),
    ('metric', 'error', 'changes of metric "%1$s" cannot be processed',
     'Mend its sources; it is tried again by itself, and CALL retention.refresh(%1$L) reads all.'),
    ('entry', 'warning', 'the entry filter of flow "%1$s" fails for the moment',
     'It is tried again by itself.'),
    ('enrollment', 'warning', 'enrollments have failed at node "%2$s" of flow "%1$s"',
     'Mend the values or the expression, then SELECT * FROM retention.retry(%1$L);'))
    AS k (kind, severity, what, what_to_do) USING (kind)
  -- What belongs to an archived flow is over.
  WHERE NOT (p.kind IN ('node', 'flow', 'entry', 'enrollment')
             AND (SELECT f.status FROM retention.flow f WHERE f.flow = p.name) = 'archived')
  GROUP BY k.severity, k.what, k.what_to_do, p.name, p.node
$$;
COMMENT ON FUNCTION retention._problem_findings(name) IS
  'What retention.problem has of others than messages, for each flow and node, segment and metric.';

CREATE FUNCTION retention._message_findings(reader name)
  RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.severity, format(k.what, f.flow, m.node), min(m.queued_at), count(*),
         retention._shown_error((array_agg(m.last_error ORDER BY m.queued_at DESC))[1], reader),
         format(k.what_to_do, f.flow)
  FROM retention.message m JOIN retention.flow f USING (flow_id) JOIN (VALUES
    ('error', 'warning', 'message "%2$s" of flow "%1$s" could not be rendered',
     'Mend the template, publish it, then SELECT * FROM retention.retry(%1$L);'),
    ('dead', 'warning', 'message "%2$s" of flow "%1$s" is dead: sending has failed for good',
     'Mend the sender or the addresses, then SELECT * FROM retention.retry(%1$L);'),
    ('ready', 'note', 'message "%2$s" of flow "%1$s" could not be sent yet',
     'It is tried again by itself, twelve times over about a day.'))
    AS k (state, severity, what, what_to_do) ON k.state = m.state
  WHERE (m.state IN ('error', 'dead') OR m.state = 'ready' AND m.last_error IS NOT NULL)
    -- Others can be neither mended nor sent.
    AND f.status <> 'archived' AND m.customer_id IS NOT NULL
  GROUP BY k.severity, k.what, k.what_to_do, f.flow, m.node
  UNION ALL
  SELECT 'error', format('messages of channel %s are ready, and no sender claims them', m.channel),
         min(m.ready_at), count(*), NULL, 'Start its sender: docs/senders.md.'
  FROM retention.message m
  WHERE m.state IN ('ready', 'leased') AND m.ready_at < retention.now() - interval '1 hour'
  GROUP BY m.channel HAVING NOT retention._is_copy()
$$;
COMMENT ON FUNCTION retention._message_findings(name) IS
  'Messages that failed, and those that nobody has claimed for an hour.';

CREATE FUNCTION retention._flow_findings() RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH live AS (
    SELECT f.*, v.document, coalesce(v.document ->> 'metric', 'orders') AS metric
    FROM retention.flow f JOIN retention.flow_version v USING (flow_id, version)
    WHERE f.status IN ('live', 'manual'))
  SELECT 'error', format('customers of flow "%s" are overdue', l.flow), min(e.due_at), count(*),
         NULL::text, 'Have retention.run_flows() run every minute, by more workers if need be.'
  FROM live l JOIN retention.enrollment e USING (flow_id)
  WHERE e.due_at < retention.now() - interval '15 minutes'
  GROUP BY l.flow HAVING NOT retention._is_copy()
  UNION ALL
  SELECT 'warning', 'flows are live in a copy of the database where they were made live',
         min(l.running_since), count(*), string_agg(l.flow, ', ' ORDER BY l.flow),
         'Nothing is sent. Where it has taken the other''s place: SELECT retention.resume_here();'
  FROM live l HAVING count(*) > 0 AND retention._is_copy()
  UNION ALL
  SELECT 'error', format('flow "%s" cannot be started: no source records events', l.flow),
         l.running_since, NULL, format('trigger "%s" of metric "%s"', k.kind, l.metric), e.way_out
  FROM live l, LATERAL (SELECT l.document #>> '{trigger,type}') AS k (kind),
       retention._events_problem(k.kind, l.metric) AS e
  WHERE e.problem IS NOT NULL
  UNION ALL
  SELECT CASE WHEN c.free = 0 THEN 'error' ELSE 'warning' END,
         format('coupon pool "%s" is nearly empty', p.pool), NULL, c.free,
         format('%s of %s codes are left; flows: %s', c.free, c.imported, u.flows),
         format('SELECT retention.import_coupons(%L, ARRAY[...]);', p.pool)
  FROM retention.coupon_pool p,
       LATERAL (SELECT string_agg(DISTINCT l.flow, ', ') AS flows
                FROM live l JOIN retention.flow_node n USING (flow_id, version)
                WHERE n.type = 'coupon' AND n.config ->> 'pool' = p.pool) AS u,
       LATERAL (SELECT count(*) FILTER (WHERE k.issued_at IS NULL) AS free, count(*) AS imported
                FROM retention.coupon k WHERE k.pool = p.pool AND u.flows IS NOT NULL) AS c
  WHERE p.length IS NULL AND u.flows IS NOT NULL AND (c.free < 10 OR c.free < 0.05 * c.imported)
$$;
COMMENT ON FUNCTION retention._flow_findings() IS
  'Flows that are live and do not run, cannot be started, or will soon have no coupons.';

CREATE FUNCTION retention._metric_findings() RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'warning', format(CASE WHEN r.as_of IS NULL THEN 'metric "%s" was never refreshed'
                           ELSE 'metric "%s" was not refreshed for more than 2 days' END, m.metric),
         r.as_of, NULL::bigint, NULL::text,
         format('CALL retention.refresh(%L); and have retention.refresh_all() run every night.',
                m.metric)
  FROM retention.metric m,
       LATERAL (SELECT max(l.as_of) AS as_of, max(l.started_at) AS started_at
                FROM retention.refresh_log l WHERE l.metric = m.metric) AS r
  WHERE coalesce(r.as_of < retention.now() - interval '2 days'
                 OR r.started_at < now() - interval '2 days', true)
  UNION ALL
  SELECT 'warning', format('changes of metric "%s" are left to its next refresh', m.metric),
         p.as_of, NULL, NULL, format('CALL retention.refresh(%L);', m.metric)
  FROM retention.metric m, retention._last_refresh(m.metric) AS p WHERE p.stale
  UNION ALL
  SELECT 'warning',
         format('the model of %s could not be fitted for metric "%s"', f.purpose, m.metric),
         p.as_of, NULL, f.detail,
         'Predictions lean on customary values: see retention.readiness() and validate_model.'
  FROM retention.metric m CROSS JOIN LATERAL retention._last_refresh(m.metric) AS r
  LEFT JOIN retention.published_model p ON p.metric = m.metric,
  LATERAL (VALUES ('purchases', coalesce((p.purchase).converged, false), (p.purchase).kind),
                  ('spend', coalesce((p.spend).converged OR (p.spend).n = 0, false),
                   (p.spend).kind))
    AS f (purpose, is_fitted, detail)
  WHERE r.customers > 0 AND NOT f.is_fitted
  UNION ALL
  SELECT 'warning',
         format('rows of %s cannot be read, and do not count in metric "%s"', u.relation, u.metric),
         NULL, sum(u.row_count)::bigint, string_agg(DISTINCT u.reason, ', '),
         'SELECT * FROM retention.unreadable_row; mend these rows.'
  FROM retention.unreadable_row u GROUP BY u.relation, u.metric
$$;
COMMENT ON FUNCTION retention._metric_findings() IS
  'Metrics that are not up to date, have no models, or leave rows out.';

CREATE FUNCTION retention._source_findings() RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'error', format('a source of metric "%s" is gone', s.metric), NULL::timestamptz,
         NULL::bigint, format('source %s, kind %s', s.source_id, s.kind),
         format('SELECT retention.drop_source(%s); and add what has taken its place.', s.source_id)
  FROM retention.source s WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relation)
  UNION ALL
  SELECT CASE WHEN n.names_orders THEN 'warning' ELSE 'note' END, n.problem, NULL, NULL,
         format('metric "%s"', (n.refunds).metric), n.way_out
  FROM retention._not_netted() AS n
  UNION ALL
  SELECT CASE WHEN s.is_indexed IS FALSE THEN 'warning' ELSE 'note' END,
         format('source %s has no index on "%s"', s.relation, s.customer_id), NULL,
         NULL, format('All of it is read for each change of metric "%s".', s.metric),
         format('CREATE INDEX ON %s (%I); for a view, on the tables below it.',
                s.relation, s.customer_id)
  FROM retention.source s JOIN pg_class c ON c.oid = s.relation
  -- What process_changes has found; else, of a table, what can be told at once.
  WHERE NOT coalesce(s.is_indexed, c.relkind NOT IN ('r', 'p', 'm') OR EXISTS (
    SELECT FROM pg_index i JOIN pg_attribute a ON (a.attrelid, a.attnum) = (i.indrelid, i.indkey[0])
    WHERE i.indrelid = s.relation AND i.indisvalid AND a.attname = s.customer_id))
  UNION ALL
  SELECT 'warning',
         format('%s partitions of %s are not tracked', t.untracked_partitions, t.relation),
         NULL, t.untracked_partitions, NULL, format('SELECT retention.track(%L);', t.relation)
  FROM retention.tracked t WHERE t.untracked_partitions > 0
$$;
COMMENT ON FUNCTION retention._source_findings() IS
  'Sources that are gone, or slow to read, refunds that are not netted, and partitions whose '
  'changes are not captured.';

CREATE FUNCTION retention._queue_findings() RETURNS SETOF retention.finding
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 'error', 'changes of orders and other tracked rows wait', min(l.changed_at),
         sum(coalesce(cardinality(coalesce(l.customer_ids, l.order_ids)), 1))::bigint, NULL::text,
         'Have retention.process_changes() run every minute: docs/operations.md.'
  FROM retention.change_log l
  WHERE l.changed_at < now() - interval '15 minutes'
    AND coalesce(l.due_at < retention.now() - interval '15 minutes', true) HAVING count(*) > 0
  UNION ALL
  SELECT 'error', 'customers who have changed wait for the flows', min(c.noted_at),
         sum(cardinality(c.customer_ids))::bigint, NULL,
         'Have retention.run_flows() run every minute: docs/operations.md.'
  FROM retention.changed_customers c
  WHERE c.noted_at < now() - interval '15 minutes' HAVING count(*) > 0 AND NOT retention._is_copy()
  UNION ALL
  SELECT 'warning', format('consumer "%s" has read nothing for a week', c.consumer), c.read_at,
         u.changes, 'changes that it has not read, which prune keeps',
         format('Start it; or SELECT retention.drop_consumer(%L);', c.consumer)
  FROM retention.segment_consumer c,
       LATERAL (SELECT count(*) AS changes, min(s.changed_at) AS oldest
                FROM retention.segment_change s WHERE s.change_id > c.position) AS u
  WHERE coalesce(c.read_at, u.oldest) < now() - interval '7 days'
$$;
COMMENT ON FUNCTION retention._queue_findings() IS
  'Changes that nobody processes, and consumers that do not read.';

CREATE FUNCTION retention.health()
  RETURNS TABLE (
    severity text, what text, since timestamptz, how_often bigint, detail text, what_to_do text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH reader AS (SELECT r.rolname FROM pg_roles r WHERE r.oid = retention._caller())
  SELECT f.*
  FROM (SELECT p.* FROM reader r, retention._problem_findings(r.rolname) AS p
        UNION ALL SELECT m.* FROM reader r, retention._message_findings(r.rolname) AS m
        UNION ALL SELECT * FROM retention._flow_findings()
        UNION ALL SELECT * FROM retention._metric_findings()
        UNION ALL SELECT * FROM retention._source_findings()
        UNION ALL SELECT * FROM retention._queue_findings()) AS f
  ORDER BY array_position('{error,warning,note}', f.severity), f.what COLLATE "C"
$$;
COMMENT ON FUNCTION retention.health() IS
  'What is wrong, the worst first: errors stop something for all, warnings for some or soon, '
  'notes can wait. Since when, how many customers, messages, rows or codes it is about, and what '
  'to do. No row: all is well. scripts/health.sh asks it for a monitor.';
-- Roles: who may read, run and configure.

CREATE FUNCTION retention._access_level(routine name) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    -- Pure functions that views and the expressions of flows are made of.
    WHEN routine IN (
      '_reject_unless', '_local_date', '_double', '_parts', '_is_time_zone', '_wilson',
      '_p_alive', '_expected_orders', '_order_probability', '_clv', '_next_order_days',
      '_merge_properties', '_retry_after', '_zone', '_add_local', '_next_local', '_local_moment',
      '_quiet_until', '_add_days',
      '_normal_address', '_address_spellings', '_in_calendar', '_span', '_is_mixed',
      '_order_moment',
      '_access_level', '_jobs', '_readable', '_shown_error', '_with_fields') THEN 0
    WHEN left(routine, 1) = '_' THEN NULL
    WHEN routine IN ('explain_score', 'readiness', 'validate_flow', 'describe_flow', 'health')
      THEN 1
    WHEN routine IN (
      'refresh', 'refresh_all', 'process_changes', 'refresh_segment', 'read_segment_changes',
      'prune',
      'backfill_history', 'customer_at', 'validate_model', 'churn_history',
      'create_flow', 'publish', 'set_status', 'migrate_flow', 'drop_flow', 'simulate_flow',
      'enroll', 'backfill_flow', 'retry',
      'tick', 'run_flows', 'run_flows_once', 'claim_messages', 'ack', 'fail', 'approve', 'cancel',
      'suppress',
      'forget', 'merge_customers') THEN 2
    WHEN routine IN (
      'add_metric', 'alter_metric', 'preview_settings', 'drop_metric', 'reset_metric', 'add_source',
      'drop_source', 'grant_access',
      'track', 'untrack', 'add_segment', 'drop_segment', 'enable_segment', 'disable_segment',
      'add_consumer', 'drop_consumer', 'schedule', 'unschedule', 'set_flow_owner',
      'add_coupon_pool', 'import_coupons', 'use_contacts', 'resume_here') THEN 3
    ELSE 0
  END;
COMMENT ON FUNCTION retention._access_level(name) IS
  'Who may call a routine: 0 whoever may use the schema, 1 analysts, 2 operators, 3 admins; null '
  'nobody, for it is internal.';

CREATE FUNCTION retention._readable()
  RETURNS TABLE (relation regclass, kept_back name[], shown text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.oid::regclass, array_agg(a.attname) FILTER (WHERE k.is_kept_back),
         string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
           FILTER (WHERE NOT k.is_kept_back)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid,
  LATERAL (VALUES (
    (c.relname, a.attname) IN (
      ('contact', 'email'), ('contact', 'phone'), ('contact', 'push_token'),
      ('contact', 'properties'), ('suppression', 'address'),
      ('message', 'address'), ('message', 'subject'), ('message', 'body'), ('message', 'text'),
      ('message', 'context'), ('message', 'last_error'),
      -- Whatever those have written who enroll.
      ('enrollment', 'event'), ('flow_enrollment', 'event'), ('flow_entry', 'event'),
      -- What has failed may quote the values it was about: retention.problem shows it without.
      ('enrollment', 'reason'), ('flow_enrollment', 'reason'))
    OR c.relkind = 'r' AND a.attname = 'error'
  )) AS k (is_kept_back)
  WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
    AND c.relname <> 'secret' AND a.attnum > 0 AND NOT a.attisdropped
  GROUP BY c.oid
$$;
COMMENT ON FUNCTION retention._readable() IS
  'The relations that can be read; the columns that show where somebody is written to, or what a '
  'message says; and the others.';

CREATE FUNCTION retention.grant_access(
    role regrole, level text, addresses boolean DEFAULT false)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rank integer := array_position('{analyst,operator,admin}', level);
  statement text;
BEGIN
  PERFORM retention._reject_unless(rank IS NOT NULL,
    format('access level %s does not exist', coalesce('"' || level || '"', 'null')),
    'The levels are analyst, operator and admin.');
  PERFORM retention._reject_unless(
    pg_has_role((SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'retention'), 'USAGE'),
    format('role "%s" cannot give access', current_user),
    'Whoever created the extension, or is a member of that role, can.', 'insufficient_privilege');
  -- What a higher level gave before is taken away.
  EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA retention FROM %s', role);
  EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA retention FROM %s', role);
  FOR statement IN
    SELECT format(given.grants, role)
    FROM (VALUES
      (1, 'GRANT USAGE ON SCHEMA retention TO %s'),
      (1, (SELECT format('GRANT SELECT ON %s TO %%s', string_agg(r.relation::text, ', '))
           FROM retention._readable() r WHERE r.kept_back IS NULL OR addresses OR rank > 1)),
      (1, (SELECT string_agg(format('GRANT SELECT (%s) ON %s TO %%1$s', r.shown, r.relation), '; ')
           FROM retention._readable() r WHERE r.kept_back IS NOT NULL)),
      -- Everything else is written by functions, which check what they get.
      (2, 'GRANT INSERT, UPDATE, DELETE ON retention.contact, retention.suppression TO %s'),
      (2, 'GRANT INSERT, DELETE ON retention.segment_member TO %s'),
      (3, 'GRANT INSERT, UPDATE, DELETE ON retention.metric, retention.rfm_cell TO %s')
    ) AS given (needs, grants)
    WHERE given.needs <= rank
    UNION ALL
    SELECT format('GRANT EXECUTE ON ROUTINE %s TO %s', oid::regprocedure, role)
    FROM pg_proc
    WHERE pronamespace = 'retention'::regnamespace
      AND retention._access_level(proname) BETWEEN 1 AND rank
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention.grant_access(regrole, text, boolean) IS
  'Gives a role what it needs, and takes what it was given before: analyst reads, but no '
  'addresses of customers and no messages, unless addresses is true; operator also runs the jobs, '
  'reads the queue, and writes and runs flows; admin also configures. None of them needs a right '
  'on the tables of the shop: these are read with their owners'' rights.';
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
      EXECUTE format('CREATE FUNCTION retention.%1$I(%2$s) RETURNS %3$s LANGUAGE sql %4$s BEGIN '
                     'ATOMIC SELECT %5$sretention.%1$I(%6$s); END',
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
