-- Refresh: customers, models and segments, brought up to date in one transaction.

CREATE OR REPLACE FUNCTION retention._refresh_by(
    settings retention.metric, last retention.population, "full" boolean, as_of timestamptz,
    allow_loss boolean)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  started_at timestamptz := clock_timestamp();
  -- Ahead of what reads by them: what is changed meanwhile is then found by the next refresh.
  fingerprint text := retention._settings(settings);
  path text := 'rebuild';
  done record;
BEGIN
  IF NOT "full" AND retention._sources_unchanged(settings, last, as_of) THEN
    path := 'clock';
    done := retention._advance_clock(settings, last, as_of);
  ELSE
    done := retention._rebuild(settings, last, as_of, fingerprint, allow_loss);
  END IF;
  PERFORM retention._tell(format(
    'metric "%s": %s customers added, %s changed, %s removed; %s moved between groups',
    settings.metric, (done.written).inserted, (done.written).updated, (done.written).deleted,
    (done.written).transitions));
  PERFORM retention._log_refresh(
    retention._publish(settings, as_of, false, done.report, fingerprint),
    path, done.report, done.written, started_at, done.read_at);
  IF path = 'rebuild' THEN
    PERFORM retention._record_all_events(settings, as_of, (done.written).with_events);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._refresh_by(
  retention.metric, retention.population, boolean, timestamptz, boolean) IS
  'Brings a metric''s customers, scores and groups up to as_of by some settings, and publishes '
  'what scores are given by.';

CREATE OR REPLACE FUNCTION retention._refresh_by_applied(
    applied retention.metric, settings retention.metric, last retention.population, "full" boolean,
    as_of timestamptz, allow_loss boolean)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF settings.thresholds = 'frozen' THEN
    -- As they were published when that was said.
    applied.thresholds := 'frozen';
    last.settings := retention._settings(applied);
  END IF;
  PERFORM retention._refresh_by(applied, last, "full", as_of, allow_loss);
  PERFORM retention._tell(format('metric "%s": settings have changed', settings.metric));
END
$$;
COMMENT ON FUNCTION retention._refresh_by_applied(
  retention.metric, retention.metric, retention.population, boolean, timestamptz, boolean) IS
  'A refresh by the settings of the last one, ahead of one by those of now.';

CREATE OR REPLACE FUNCTION retention._refresh_customers(
    metric text, "full" boolean, as_of timestamptz, allow_loss boolean DEFAULT false)
  RETURNS timestamptz
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric;
  applied retention.metric;
  last retention.population;
  settings_changed boolean;
  models_changed boolean;
BEGIN
  PERFORM retention._require_metric(metric);
  PERFORM retention._lock_metric(metric), retention._take_turn(metric);
  settings := retention._require_metric(metric);
  last := retention._last_refresh(metric);
  applied := retention._applied_settings(settings, last);
  IF as_of = pg_catalog.now() THEN
    -- The transaction may have waited: what others have committed meanwhile is not in the future.
    as_of := greatest(clock_timestamp(), last.as_of);
  END IF;
  PERFORM retention._check_refresh(settings, last, as_of);
  settings_changed := last.settings IS DISTINCT FROM retention._settings(settings);
  IF settings_changed THEN
    -- What time and orders have brought about is not due to the settings.
    IF applied.metric IS NOT NULL THEN
      PERFORM retention._refresh_by_applied(applied, settings, last, "full", as_of, allow_loss);
      last := retention._last_refresh(metric);
    END IF;
    PERFORM retention._evaluate_segments('refresh', as_of),
            retention._note_waiting(false, as_of);
  END IF;
  PERFORM retention._refresh_by(settings, last, "full", as_of, allow_loss);
  models_changed := retention._refresh_models(settings, as_of);
  PERFORM retention._mark_settings() WHERE models_changed;
  IF settings_changed THEN
    PERFORM retention._settle_segments(metric, last.as_of, as_of);
  END IF;
  PERFORM retention._note_waiting(true, as_of) WHERE settings_changed OR models_changed;
  RETURN as_of;
END
$$;
COMMENT ON FUNCTION retention._refresh_customers(text, boolean, timestamptz, boolean) IS
  'A refresh without the segments: by the settings of the one before, and then, where these are '
  'other ones, by the settings of now. Returns the clock that it went by.';

CREATE OR REPLACE PROCEDURE retention.refresh(
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

CREATE OR REPLACE PROCEDURE retention.refresh_all()
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
