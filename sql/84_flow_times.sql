-- Local times of customers: delays and quiet hours. By AT TIME ZONE with the zone's name, so that daylight saving is right.

CREATE OR REPLACE FUNCTION retention._zone(time_zone text, flow_zone text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN retention._is_time_zone(time_zone) THEN time_zone ELSE flow_zone END;
COMMENT ON FUNCTION retention._zone(text, text) IS 'A customer''s time zone, where there is one of that name; else the flow''s.';

CREATE OR REPLACE FUNCTION retention._add_local(at timestamptz, span interval, zone text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  -- Without days the local time is left alone: of the hour that comes twice it would be taken for the second.
  RETURN CASE WHEN date_trunc('day', span) = interval '0' THEN at + span
              ELSE ((at AT TIME ZONE zone) + date_trunc('day', span)) AT TIME ZONE zone + (span - date_trunc('day', span)) END;
COMMENT ON FUNCTION retention._add_local(timestamptz, interval, text) IS
  'A time later by months and days of the zone''s calendar, and by real hours.';

CREATE OR REPLACE FUNCTION retention._next_local(at timestamptz, local_time time, weekdays integer[], zone text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN CASE WHEN local_time IS NULL AND weekdays IS NULL THEN at ELSE (
    SELECT min(moment)
    FROM (SELECT CASE WHEN local_time IS NULL THEN greatest(at, day AT TIME ZONE zone) ELSE (day + local_time) AT TIME ZONE zone END AS moment
          FROM generate_series(date_trunc('day', at AT TIME ZONE zone), date_trunc('day', at AT TIME ZONE zone) + interval '8 days', interval '1 day') AS day
          WHERE weekdays IS NULL OR extract(isodow FROM day) = ANY (weekdays)) AS candidate
    WHERE moment >= at) END;
COMMENT ON FUNCTION retention._next_local(timestamptz, time, integer[], text) IS
  'The first moment from a time on that has this local time, on one of these weekdays (1 is Monday); null: any.';

CREATE OR REPLACE FUNCTION retention._local_moment(moment date, zone text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment::timestamp AT TIME ZONE zone;
COMMENT ON FUNCTION retention._local_moment(date, text) IS 'A date''s midnight in a zone.';

CREATE OR REPLACE FUNCTION retention._local_moment(moment timestamp, zone text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment AT TIME ZONE zone;
COMMENT ON FUNCTION retention._local_moment(timestamp, text) IS 'A local time in a zone.';

CREATE OR REPLACE FUNCTION retention._local_moment(moment timestamptz, zone text) RETURNS timestamptz
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN moment;
COMMENT ON FUNCTION retention._local_moment(timestamptz, text) IS 'A time, as it is.';

CREATE OR REPLACE FUNCTION retention._quiet_until(at timestamptz, starts time, ends time, zone text) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  -- Without a subquery, so that it becomes part of the statement that calls it.
  RETURN CASE WHEN CASE WHEN starts <= ends THEN (at AT TIME ZONE zone)::time >= starts AND (at AT TIME ZONE zone)::time < ends
                        ELSE (at AT TIME ZONE zone)::time >= starts OR (at AT TIME ZONE zone)::time < ends END
              THEN ((at AT TIME ZONE zone)::date + CASE WHEN (at AT TIME ZONE zone)::time >= ends THEN 1 ELSE 0 END + ends) AT TIME ZONE zone END;
COMMENT ON FUNCTION retention._quiet_until(timestamptz, time, time, text) IS 'When the quiet hours end in which a time lies; null: it lies in none.';
