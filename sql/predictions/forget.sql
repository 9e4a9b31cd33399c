-- What is forgotten here with a metric.

CREATE OR REPLACE FUNCTION retention._forget_metric_in_predictions(metric text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM retention.fitted_model e WHERE e.metric = _forget_metric_in_predictions.metric;
  DELETE FROM retention.published_model e WHERE e.metric = _forget_metric_in_predictions.metric;
  DELETE FROM retention.validation_result r USING retention.validation e
    WHERE e.metric = _forget_metric_in_predictions.metric AND r.validation_id = e.validation_id;
  DELETE FROM retention.validation e WHERE e.metric = _forget_metric_in_predictions.metric;
$$;
COMMENT ON FUNCTION retention._forget_metric_in_predictions(text) IS
  'Deletes what predictions have of a metric besides its settings and sources.';
