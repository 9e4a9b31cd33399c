-- The past: customers as of any moment, and their changes of group.

CREATE OR REPLACE FUNCTION retention.customer_at(
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

CREATE OR REPLACE FUNCTION retention.preview_settings(
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
  -- Nothing takes effect, as alter_metric would have it.
  LANGUAGE plpgsql SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp
  SET client_min_messages = warning
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

CREATE OR REPLACE FUNCTION retention._first_record(metric text) RETURNS retention.population
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

CREATE OR REPLACE FUNCTION retention._record_past(
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

CREATE OR REPLACE FUNCTION retention.backfill_history(
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
  PERFORM retention._check_clock("to", 'to') WHERE "to" IS NOT NULL;
  PERFORM retention._reject_unless("from" <= coalesce("to", "from"),
                                   format('the history to backfill ends on %s, before %s', "to",
                                          "from"));
  PERFORM retention._check_needed_span('step', step);
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
