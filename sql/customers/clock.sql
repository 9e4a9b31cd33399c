-- Moves customers whom time alone moves.

CREATE OR REPLACE FUNCTION retention._crossing_spans(
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
  'The spans of time in which the last orders lie whose age in days passes a limit between two '
  'days.';

CREATE OR REPLACE FUNCTION retention._clock_changes(
    settings retention.metric, last retention.population, as_of timestamptz)
  RETURNS SETOF retention._customer_change
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

CREATE OR REPLACE FUNCTION retention._advance_clock(
    settings retention.metric, last retention.population, as_of timestamptz,
    OUT report retention._collection_report, OUT written retention._write_report,
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
