-- What changed settings do, and metrics that start anew or are dropped.

CREATE OR REPLACE FUNCTION retention._note_settings() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  is_changed CONSTANT boolean := TG_WHEN = 'AFTER';
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.metric');
  IF EXISTS (SELECT FROM retention.segment) THEN
    -- In the order of everybody else. What time has brought about by now is not due to the
    -- settings.
    PERFORM retention._lock_all(), retention._evaluate_segments(
      CASE WHEN is_changed THEN 'settings' ELSE 'refresh' END, retention.now());
  END IF;
  PERFORM retention._note_waiting(is_changed, retention.now());
  PERFORM retention._tell(format('metric "%s": what was changed takes effect with CALL '
                                 'retention.refresh(%L)', NEW.metric, NEW.metric), 'notice')
    FROM retention._last_refresh(NEW.metric) AS l
    WHERE is_changed AND l.settings <> retention._settings(NEW);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._note_settings() IS
  'Trigger, before and after settings that take effect at once: whoever enters or leaves segments '
  'by them does so by the settings, and they wake nobody who waits.';

CREATE OR REPLACE FUNCTION retention._drop_sources() RETURNS trigger
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

CREATE OR REPLACE FUNCTION retention.drop_metric(metric text) RETURNS void
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

CREATE OR REPLACE FUNCTION retention._forget_metric(metric text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._lock_all(), retention._lock_metric(metric);
  PERFORM retention._take_turn(metric);
  PERFORM retention._forget_metric_in_customers(metric),
          retention._forget_metric_in_predictions(metric),
          retention._forget_metric_in_metrics(metric);
  PERFORM retention._mark_settings();
END
$$;
COMMENT ON FUNCTION retention._forget_metric(text) IS
  'Deletes what refreshes and process_changes have made of a metric.';

CREATE OR REPLACE FUNCTION retention.reset_metric(metric text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._require_metric(metric);
  PERFORM retention._forget_metric(metric);
END
$$;
COMMENT ON FUNCTION retention.reset_metric(text) IS
  'Forgets a metric''s customers and history, and keeps its settings and sources.';
