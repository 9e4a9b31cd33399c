-- Times of day and days of the week in a customer's zone.

CREATE OR REPLACE FUNCTION retention._zone(time_zone text, flow_zone text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN retention._is_time_zone(time_zone) THEN time_zone ELSE flow_zone END;
COMMENT ON FUNCTION retention._zone(text, text) IS
  'A customer''s time zone, where there is one of that name; else the flow''s.';

CREATE OR REPLACE FUNCTION retention._add_local(at timestamptz, span interval, zone text)
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

CREATE OR REPLACE FUNCTION retention._add_days(day date, span interval) RETURNS date
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN day BETWEEN date '0001-01-01'
    AND date '9999-12-31' THEN (day + retention._span(span))::date END;
COMMENT ON FUNCTION retention._add_days(date, interval) IS
  'The day so much later; null for one that is not in the calendar.';

CREATE OR REPLACE FUNCTION retention._next_local(
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

CREATE OR REPLACE FUNCTION retention._local_moment(moment date, zone text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN CASE WHEN moment > date '9999-12-31' THEN 'infinity'
    WHEN moment < date '0001-01-01' THEN '-infinity'
              ELSE moment::timestamp AT TIME ZONE zone END;
COMMENT ON FUNCTION retention._local_moment(date, text) IS
  'A date''s midnight in a zone; infinity after the year 9999, minus infinity before the year 1.';

CREATE OR REPLACE FUNCTION retention._local_moment(moment timestamp, zone text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN CASE WHEN moment >= timestamp '10000-01-01' THEN 'infinity'
              WHEN moment < timestamp '0001-01-01' THEN '-infinity' ELSE moment AT TIME ZONE zone
                END;
COMMENT ON FUNCTION retention._local_moment(timestamp, text) IS
  'A local time in a zone; infinity after the year 9999, minus infinity before the year 1.';

CREATE OR REPLACE FUNCTION retention._local_moment(moment timestamptz, zone text)
  RETURNS timestamptz
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN moment >= timestamptz '10000-01-01 00:00+00' THEN 'infinity'
              WHEN moment < timestamptz '0001-01-01 00:00+00' THEN '-infinity' ELSE moment END;
COMMENT ON FUNCTION retention._local_moment(timestamptz, text) IS
  'A time, as it is; infinity after the year 9999, minus infinity before the year 1.';

CREATE OR REPLACE FUNCTION retention._quiet_until(at timestamptz, starts time, ends time, zone text)
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

CREATE OR REPLACE FUNCTION retention._delay_end(
    since timestamptz, span interval, moment timestamptz, local_time time, weekdays integer[],
    zone text)
  RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN retention._next_local(greatest(since, retention._add_local(since, span, zone), moment),
                               local_time, weekdays, zone);
COMMENT ON FUNCTION retention._delay_end(
  timestamptz, interval, timestamptz, time, integer[], text) IS
  'When a delay ends that began at a time: after a span, not before a moment, then at the next '
  'local time, on one of some weekdays; each as far as it is given.';

CREATE OR REPLACE FUNCTION retention._moment_problem(moment timestamptz) RETURNS jsonb
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Not in SQL: what the moment is written as would be evaluated twice.
  RETURN CASE WHEN moment IS NULL THEN '{"error": "the time to wait for is null"}'::jsonb
              WHEN moment = 'infinity'
              THEN '{"error": "the time to wait for is infinite, or after the year 9999"}' END;
END
$$;
COMMENT ON FUNCTION retention._moment_problem(timestamptz) IS
  'What a node hands on where the moment to wait for is none; null where it is one.';

CREATE OR REPLACE FUNCTION retention._wait_end(
    waiting_since timestamptz, due_at timestamptz, wakes boolean, timeout_at timestamptz,
    as_of timestamptz)
  RETURNS timestamptz
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  -- Who has waited was due now, or at the timeout before; who only passes, when they came.
  RETURN CASE WHEN wakes OR timeout_at <= as_of
              THEN CASE WHEN waiting_since IS NOT NULL THEN least(as_of, timeout_at) END
              WHEN waiting_since IS NOT NULL AND due_at > as_of THEN due_at
              ELSE least(timeout_at, as_of + interval '1 day') END;
COMMENT ON FUNCTION retention._wait_end(
  timestamptz, timestamptz, boolean, timestamptz, timestamptz) IS
  'When somebody at a wait_for is looked at next, or was due who goes on; null: passes without '
  'waiting.';
