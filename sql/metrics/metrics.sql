-- Metrics: what counts as an order, and how it is scored.

CREATE OR REPLACE FUNCTION retention._check_thresholds(
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

CREATE OR REPLACE FUNCTION retention._check_percentiles(
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

CREATE OR REPLACE FUNCTION retention._check_predictions(settings retention.metric) RETURNS void
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

CREATE OR REPLACE FUNCTION retention._check_settings(settings retention.metric) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  levels record;
  missing name;
BEGIN
  SELECT a.attname INTO missing FROM pg_attribute a
    WHERE a.attrelid = 'retention.metric'::regclass AND a.attnotnull AND a.attnum > 0
      AND to_jsonb(settings) ->> a.attname IS NULL ORDER BY a.attnum LIMIT 1;
  PERFORM retention._reject_unless(missing IS NULL,
    format('%s of metric "%s" must not be null', missing, settings.metric),
    format('SELECT retention.alter_metric(%L, reset => ''{%s}''); takes it back to its default.',
           settings.metric, missing), 'null_value_not_allowed');
  -- A restored dump brings metrics before the cells of its own schemes: nothing to compare with
  -- yet.
  SELECT coalesce(r, cardinality(settings.recency_limits) + 1) AS r,
         coalesce(f, cardinality(settings.frequency_percentiles) + 1) AS f,
         coalesce(m, cardinality(settings.monetary_percentiles) + 1) AS m
    INTO levels FROM retention._scheme_levels(settings.scheme);
  PERFORM retention._reject_unless(
    retention._is_listed_zone(settings.time_zone),
    format('time zone "%s" of metric "%s" does not exist', settings.time_zone, settings.metric),
    'Names such as Europe/Warsaw are listed in pg_timezone_names.');
  PERFORM retention._check_country(format('country of metric "%s"', settings.metric),
                                   settings.country);
  PERFORM retention._check_days(format('history of metric "%s"', settings.metric),
                                settings.history,
                                'alter_metric(..., reset => ''{history}'') counts all orders.');
  PERFORM retention._reject_unless(settings.thresholds IN ('moving', 'frozen'),
    format('thresholds of metric "%s" must be moving or frozen, not "%s"', settings.metric,
           settings.thresholds));
  PERFORM retention._check_thresholds(settings.metric, 'recency_limits', settings.recency_limits,
                                      levels.r, descending => true, at_least => 0),
    retention._check_percentiles(settings.metric, 'frequency_percentiles',
                                 settings.frequency_percentiles, levels.f),
    retention._check_percentiles(settings.metric, 'monetary_percentiles',
                                 settings.monetary_percentiles, levels.m);
  IF settings.frequency_values IS NOT NULL THEN
    PERFORM retention._check_thresholds(settings.metric, 'frequency_values',
                                        settings.frequency_values, levels.f, at_least => 0);
  END IF;
  IF settings.monetary_values IS NOT NULL THEN
    PERFORM retention._check_thresholds(settings.metric, 'monetary_values',
                                        settings.monetary_values, levels.m);
  END IF;
  PERFORM retention._reject_unless(settings.loss_limit BETWEEN 0 AND 1,
    format('loss_limit of metric "%s" must lie between 0 and 1, not %s', settings.metric,
           coalesce(settings.loss_limit::text, 'null')),
    'It is a share of the customers: half of them are 0.5; 1 allows any loss.',
    'numeric_value_out_of_range');
  PERFORM retention._check_predictions(settings);
END
$$;
COMMENT ON FUNCTION retention._check_settings(retention.metric) IS
  'Checks every setting of a metric, as a whole.';

CREATE OR REPLACE FUNCTION retention._check_metric() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.metric');
  PERFORM retention._reject_unless(TG_OP = 'INSERT' OR NEW.metric = OLD.metric,
    format('metric "%s" cannot be renamed', OLD.metric),
    'Its customers and history have the name too.', 'feature_not_supported');
  PERFORM retention._check_length('the name of a metric', 'name', NEW.metric);
  PERFORM retention._check_settings(NEW);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_metric() IS
  'Trigger: checks every setting of a metric as a whole.';

CREATE OR REPLACE FUNCTION retention._default_limits(levels integer) RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE levels WHEN 3 THEN ARRAY[365, 180]::double precision[]
                     WHEN 5 THEN ARRAY[365, 180, 90, 30]::double precision[] END;
COMMENT ON FUNCTION retention._default_limits(integer) IS
  'Customary recency limits in days, where there are any for this number of scores.';

CREATE OR REPLACE FUNCTION retention._default_percentiles(levels integer) RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ARRAY(SELECT (i::double precision / levels) FROM generate_series(1, levels - 1) AS i
               ORDER BY i);
COMMENT ON FUNCTION retention._default_percentiles(integer) IS
  'Percentiles that cut a population into equal parts.';

CREATE OR REPLACE FUNCTION retention.add_metric(
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

CREATE OR REPLACE FUNCTION retention._require_metric(metric text) RETURNS retention.metric
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

CREATE OR REPLACE FUNCTION retention._default_settings(scheme text) RETURNS retention.metric
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

CREATE OR REPLACE FUNCTION retention._without_settings(
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

CREATE OR REPLACE FUNCTION retention._customary_thresholds(scheme text) RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  levels record;
BEGIN
  IF scheme IS NULL THEN
    RETURN '{}'::jsonb;
  END IF;
  levels := retention._require_scheme(scheme);
  RETURN jsonb_strip_nulls(jsonb_build_object(
    'recency_limits', retention._default_limits(levels.r),
    'frequency_percentiles', retention._default_percentiles(levels.f),
    'monetary_percentiles', retention._default_percentiles(levels.m)));
END
$$;
COMMENT ON FUNCTION retention._customary_thresholds(text) IS
  'The settings that a scheme, where one is named, brings with it.';

CREATE OR REPLACE FUNCTION retention._altered_settings(
    metric text, given jsonb, reset text[])
  RETURNS retention.metric
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  scheme text := given ->> 'scheme';
  in_both text := (SELECT r FROM unnest(reset) AS r WHERE jsonb_strip_nulls(given) ? r LIMIT 1);
  altered retention.metric := retention._without_settings(retention._require_metric(metric), scheme,
                                                          reset);
BEGIN
  PERFORM retention._reject_unless(in_both IS NULL,
    format('%s of metric "%s" is to have a value, and to be reset', in_both, metric),
    'Leave out the one or the other.');
  RETURN jsonb_populate_record(
    altered, retention._customary_thresholds(scheme) || jsonb_strip_nulls(given));
END
$$;
COMMENT ON FUNCTION retention._altered_settings(text, jsonb, text[]) IS
  'A metric''s settings with those that are given and not null, after some were reset.';

CREATE OR REPLACE FUNCTION retention.alter_metric(
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
  -- To the last digit, whatever the session shows.
  SET extra_float_digits = 1 SET IntervalStyle = postgres
AS $$
DECLARE
  altered retention.metric := retention._altered_settings(metric, jsonb_build_object(
    'time_zone', time_zone, 'history', history, 'scheme', scheme,
    'recency_limits', recency_limits, 'frequency_percentiles', frequency_percentiles,
    'frequency_values', frequency_values, 'monetary_percentiles', monetary_percentiles,
    'monetary_values', monetary_values, 'thresholds', thresholds,
    'purchase_model', purchase_model, 'prediction_window', prediction_window,
    'discount_rate', discount_rate, 'churn_levels', churn_levels,
    'refit_interval', refit_interval, 'loss_limit', loss_limit, 'country', country), reset);
BEGIN
  UPDATE retention.metric e
    SET (metric, time_zone, history, scheme, recency_limits, frequency_percentiles,
         frequency_values, monetary_percentiles, monetary_values, thresholds, purchase_model,
         prediction_window, discount_rate, churn_levels, refit_interval, loss_limit, country)
      = ROW (altered.*)
    WHERE e.metric = alter_metric.metric;
END
$$;
COMMENT ON FUNCTION retention.alter_metric(
  text, text, interval, text, double precision[], double precision[], double precision[],
  double precision[], double precision[], text, text, integer, double precision, double precision[],
  interval, double precision, text, text[]) IS
  'Changes the settings that are given, and takes those that are named in reset back to their '
  'defaults; a new scheme brings its customary thresholds. Takes effect at the next refresh: until '
  'then changes of orders go by the settings before. prediction_window, discount_rate, '
  'churn_levels, loss_limit and, for what counts days, time_zone take effect at once. Starts no '
  'flow, and wakes nobody who waits in one; preview_settings shows before who would move.';

CREATE OR REPLACE FUNCTION retention._lock_metric(metric text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._take_lock('retention.metric', hashtext(metric))
$$;
COMMENT ON FUNCTION retention._lock_metric(text) IS
  'Makes whatever writes a metric''s customers and history take turns, until the transaction '
  'ends.';

CREATE OR REPLACE FUNCTION retention._take_turn(metric text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.metric_turn AS t (metric, turn) VALUES (metric, 1)
    ON CONFLICT (metric) DO UPDATE SET turn = t.turn + 1
$$;
COMMENT ON FUNCTION retention._take_turn(text) IS
  'Called, under the lock of the metric, before anything of it is written: a serialization error '
  'where the transaction''s snapshot is older than what was written last.';

CREATE OR REPLACE FUNCTION retention._add_again(
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

CREATE OR REPLACE FUNCTION retention._not_netted(metric text DEFAULT NULL)
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

CREATE OR REPLACE FUNCTION retention._settings(metric retention.metric) RETURNS text
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

CREATE OR REPLACE FUNCTION retention._kept_settings(metric retention.metric) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres
  SET extra_float_digits = 1
AS $$
  SELECT to_jsonb(metric)
$$;
COMMENT ON FUNCTION retention._kept_settings(retention.metric) IS
  'The settings as they are kept with what was done by them, to the last digit.';

CREATE OR REPLACE FUNCTION retention._reads_alike(settings text, other_settings text)
  RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT split_part(settings, '/', 2) = split_part(other_settings, '/', 2)
$$;
COMMENT ON FUNCTION retention._reads_alike(text, text) IS
  'Whether two fingerprints of settings have the same sources and history.';
