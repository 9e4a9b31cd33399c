-- What reports are asked for: a metric, moments and periods, checked in one way.

CREATE OR REPLACE FUNCTION retention._begin_report(
    metric text, as_of timestamptz, whose text DEFAULT 'as_of')
  RETURNS retention.metric
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._require_metric(metric);
BEGIN
  PERFORM retention._check_clock(as_of, whose);
  PERFORM retention._check_refresh(settings, NULL, as_of);
  RETURN settings;
END
$$;
COMMENT ON FUNCTION retention._begin_report(text, timestamptz, text) IS
  'The settings of a metric that a report can be made of as of a moment, or an error.';

CREATE OR REPLACE FUNCTION retention._begin_comparison(
    metric text, "from" timestamptz, "to" timestamptz)
  RETURNS retention.metric
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._begin_report(metric, "to", 'to');
BEGIN
  PERFORM retention._check_clock("from", 'from');
  PERFORM retention._reject_unless("from" <= "to",
    format('from %s lies after to %s', "from", "to"), 'The earlier moment comes first.');
  RETURN settings;
END
$$;
COMMENT ON FUNCTION retention._begin_comparison(text, timestamptz, timestamptz) IS
  'The same for a report that compares two moments.';

CREATE OR REPLACE FUNCTION retention._check_choice(whose text, choice text, VARIADIC choices text[])
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(choice IS NOT NULL, format('%s must not be null', whose),
    format('One of: %s.', array_to_string(choices, ', ')), 'null_value_not_allowed');
  PERFORM retention._reject_unless(choice = ANY (choices),
    format('%s "%s" does not exist', whose, choice),
    format('One of: %s.', array_to_string(choices, ', ')));
END
$$;
COMMENT ON FUNCTION retention._check_choice(text, text, VARIADIC text[]) IS
  'An error unless a word is one of those that there are.';

CREATE OR REPLACE FUNCTION retention._check_number(
    whose text, number integer, at_least integer, at_most integer)
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(coalesce(number BETWEEN at_least AND at_most, false),
    format('%s must be from %s to %s, not %s', whose, at_least, at_most,
           coalesce(number::text, 'null')));
END
$$;
COMMENT ON FUNCTION retention._check_number(text, integer, integer, integer) IS
  'An error unless a number is in its bounds.';

CREATE OR REPLACE FUNCTION retention._check_period(period text) RETURNS void
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._check_choice('period', period, 'day', 'week', 'month', 'quarter', 'year')
$$;
COMMENT ON FUNCTION retention._check_period(text) IS 'An error unless there is such a period.';

CREATE OR REPLACE FUNCTION retention._period_start(day date, period text) RETURNS date
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE period WHEN 'day' THEN day ELSE date_trunc(period, day::timestamp)::date END;
COMMENT ON FUNCTION retention._period_start(date, text) IS
  'The first day of the period that a day is in.';

CREATE OR REPLACE FUNCTION retention._period_length(period text) RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE period WHEN 'day' THEN interval '1 day' WHEN 'week' THEN interval '7 days'
    WHEN 'month' THEN interval '1 month' WHEN 'quarter' THEN interval '3 months'
    WHEN 'year' THEN interval '1 year' END;
COMMENT ON FUNCTION retention._period_length(text) IS 'How long a period is.';

CREATE OR REPLACE FUNCTION retention._periods_between(before date, day date, period text)
  RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE period WHEN 'day' THEN day - before WHEN 'week' THEN (day - before) / 7
    ELSE ((extract(year FROM day) - extract(year FROM before)) * 12
          + extract(month FROM day) - extract(month FROM before))::integer
      / CASE period WHEN 'month' THEN 1 WHEN 'quarter' THEN 3 ELSE 12 END END;
COMMENT ON FUNCTION retention._periods_between(date, date, text) IS
  'How many periods lie between the first days of two.';

CREATE OR REPLACE FUNCTION retention._is_over(
    settings retention.metric, first_day date, period text, as_of timestamptz)
  RETURNS boolean
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN (first_day + retention._period_length(period)) AT TIME ZONE (settings).time_zone <= as_of;
COMMENT ON FUNCTION retention._is_over(retention.metric, date, text, timestamptz) IS
  'Whether a period, in the calendar of the metric''s zone, has ended by a moment.';

CREATE OR REPLACE FUNCTION retention._percent(
    part numeric, whole numeric, digits integer DEFAULT 3)
  RETURNS numeric
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN round(100 * part / nullif(whole, 0), digits);
COMMENT ON FUNCTION retention._percent(numeric, numeric, integer) IS
  'How many per cent a part is of the whole, to so many digits; null of nothing.';

CREATE OR REPLACE FUNCTION retention._in_order(customer_ids text[]) RETURNS text[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(id ORDER BY id COLLATE "C") FROM unnest(customer_ids) AS id
$$;
COMMENT ON FUNCTION retention._in_order(text[]) IS
  'Keys in their order. An aggregate that sorts would have all rows sorted that it is made of.';
