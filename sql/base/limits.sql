-- Bounds of names, texts, spans and moments, checked in one way.

CREATE OR REPLACE FUNCTION retention._most(what text) RETURNS integer
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

CREATE OR REPLACE FUNCTION retention._length(what text, value text) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN what IN ('name', 'text', 'condition') THEN char_length(value)
              ELSE octet_length(value) END;
COMMENT ON FUNCTION retention._length(text, text) IS
  'How long a text is, in the unit that its limit has.';

CREATE OR REPLACE FUNCTION retention._length_problem(what text, value text) RETURNS text
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

CREATE OR REPLACE FUNCTION retention._check_length(
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

CREATE OR REPLACE FUNCTION retention._in_calendar(at timestamptz) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN at >= timestamptz '0001-01-01 00:00+00' AND at < timestamptz '10000-01-01 00:00+00';
COMMENT ON FUNCTION retention._in_calendar(timestamptz) IS
  'Whether a time is in the years 1 to 9999: to such a one, and to a local time of it, every '
  'interval that is allowed can be added.';

CREATE OR REPLACE FUNCTION retention._check_clock(as_of timestamptz, whose text DEFAULT 'as_of')
  RETURNS void
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(isfinite(as_of),
    format('%s must be a finite time, not %s', whose, coalesce(as_of::text, 'null')));
  PERFORM retention._reject_unless(retention._in_calendar(as_of),
    format('%s must be in the years 1 to 9999, not %s', whose, as_of));
END
$$;
COMMENT ON FUNCTION retention._check_clock(timestamptz, text) IS
  'An error unless a job can go by this time.';

CREATE OR REPLACE FUNCTION retention._is_mixed(span interval) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN isfinite(span) THEN
    ARRAY[sign(extract(year FROM span) * 12 + extract(month FROM span)),
          sign(extract(day FROM span)),
          sign(extract(epoch FROM span - date_trunc('day', span)))] @> '{-1,1}'::numeric[]
    ELSE false END;
COMMENT ON FUNCTION retention._is_mixed(interval) IS
  'Whether months, days and time of an interval have different signs, so that it leads on from '
  'some days, and back from others.';

CREATE OR REPLACE FUNCTION retention._span(span interval) RETURNS interval
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

CREATE OR REPLACE FUNCTION retention._span_problem(span interval, at_least integer) RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN at_least > 0 AND span <= interval '0' THEN format('must be longer than 0, not %s', span)
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

CREATE OR REPLACE FUNCTION retention._check_span(
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

CREATE OR REPLACE FUNCTION retention._check_needed_span(whose text, span interval) RETURNS void
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(span IS NOT NULL, format('%s must not be null', whose), '',
                                   'null_value_not_allowed');
  PERFORM retention._check_span(whose, span, 1);
END
$$;
COMMENT ON FUNCTION retention._check_needed_span(text, interval) IS
  'An error unless an interval is there, longer than nothing, and one that is allowed.';

CREATE OR REPLACE FUNCTION retention._check_days(whose text, span interval, hint text) RETURNS void
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

CREATE OR REPLACE FUNCTION retention._is_time_zone(name text) RETURNS boolean
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_is_time_zone';
COMMENT ON FUNCTION retention._is_time_zone(text) IS
  'Whether a time zone has this name, and no abbreviation has it.';

CREATE OR REPLACE FUNCTION retention._check_country(whose text, country text) RETURNS void
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(coalesce(country ~ '^[A-Za-z]{2}$', true),
    format('%s must be two letters of ISO 3166, not "%s"', whose, country), 'Such as PL or US.');
END
$$;
COMMENT ON FUNCTION retention._check_country(text, text) IS
  'An error unless a country is null, or can be one''s code.';

CREATE OR REPLACE FUNCTION retention._is_listed_zone(name text) RETURNS boolean
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
