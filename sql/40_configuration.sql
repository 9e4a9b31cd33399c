-- Metrics and sources: what is counted, and how it is scored.

CREATE OR REPLACE FUNCTION retention._reject_unless(
    valid boolean, message text, hint text DEFAULT '', code text DEFAULT 'invalid_parameter_value',
    detail text DEFAULT '')
  RETURNS void
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_reject_unless';
COMMENT ON FUNCTION retention._reject_unless(boolean, text, text, text, text) IS
  'Raises an error unless the condition holds: what is wrong, and what to do, without our functions'' context.';

CREATE OR REPLACE FUNCTION retention._tells() RETURNS boolean
  LANGUAGE sql STABLE
  -- A session that has not loaded the module yet knows no default of the setting.
  RETURN coalesce(current_setting('retention.progress', true)::boolean, true);
COMMENT ON FUNCTION retention._tells() IS 'Whether the client is told what was done.';

CREATE OR REPLACE FUNCTION retention._tell(message text, level text DEFAULT 'info') RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT retention._tells() THEN
    RETURN;
  ELSIF level = 'notice' THEN
    RAISE NOTICE '%', message;
  ELSE
    RAISE INFO '%', message;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._tell(text, text) IS
  'Tells the client what was done, unless retention.progress is off; at level notice, client_min_messages can hold it back.';

CREATE OR REPLACE FUNCTION retention._check_thresholds(
    metric text, setting text, list double precision[], levels integer,
    descending boolean DEFAULT false, at_least double precision DEFAULT '-Infinity')
  RETURNS void
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(
    coalesce(array_ndims(list), 1) = 1 AND array_position(list, NULL) IS NULL AND array_position(list, 'NaN') IS NULL,
    format('%s of metric "%s" must be a plain list of numbers', setting, metric));
  PERFORM retention._reject_unless(
    cardinality(list) = levels - 1,
    format('%s of metric "%s" has %s thresholds, but needs %s', setting, metric, cardinality(list), levels - 1),
    format('%s scores are told apart by %s thresholds.', levels, levels - 1));
  PERFORM retention._reject_unless(
    (SELECT coalesce(bool_and(t > '-Infinity' AND t < 'Infinity' AND t >= at_least), true)
     FROM unnest(list) AS t),
    format('%s of metric "%s" must be finite%s, not %s', setting, metric,
           CASE WHEN at_least = 0 THEN ' and not negative' ELSE '' END, list),
    CASE WHEN descending THEN 'They are days since the last order.' ELSE '' END,
    'numeric_value_out_of_range');
  PERFORM retention._reject_unless(
    (SELECT coalesce(bool_and(CASE WHEN descending THEN list[i] > list[i + 1] ELSE list[i] < list[i + 1] END), true)
     FROM generate_series(1, cardinality(list) - 1) AS i),
    format('%s of metric "%s" must be strictly %s, not %s', setting, metric,
           CASE WHEN descending THEN 'decreasing' ELSE 'increasing' END, list),
    'The first threshold separates score 1 from 2, the next one 2 from 3, and so on.');
END
$$;
COMMENT ON FUNCTION retention._check_thresholds(
  text, text, double precision[], integer, boolean, double precision) IS
  'Checks a list of thresholds: their number, their order, that all are finite and not too small.';

CREATE OR REPLACE FUNCTION retention._check_percentiles(metric text, setting text, list double precision[], levels integer)
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

CREATE OR REPLACE FUNCTION retention._scheme_levels(scheme text, OUT r integer, OUT f integer, OUT m integer)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT max(c.r), max(c.f), max(c.m) FROM retention.rfm_cell c WHERE c.scheme = _scheme_levels.scheme
$$;
COMMENT ON FUNCTION retention._scheme_levels(text) IS 'How many scores each dimension of a scheme has; nulls for an unknown scheme.';

CREATE OR REPLACE FUNCTION retention._require_scheme(scheme text, OUT r integer, OUT f integer, OUT m integer)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT levels.* INTO r, f, m FROM retention._scheme_levels(scheme) AS levels;
  PERFORM retention._reject_unless(r IS NOT NULL, format('scheme "%s" does not exist', scheme),
    'Schemes are kept in retention.rfm_cell; "standard" and "quintile" are always there.', 'undefined_object');
END
$$;
COMMENT ON FUNCTION retention._require_scheme(text) IS 'How many scores each dimension of a scheme has, or an error.';

CREATE OR REPLACE FUNCTION retention._check_predictions(settings retention.metric) RETURNS void
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(
    settings.purchase_model = 'auto' OR EXISTS (SELECT FROM retention.models() WHERE kind = settings.purchase_model AND purpose = 'purchase'),
    format('purchase_model of metric "%s" must be auto or a model of purchases, not "%s"', settings.metric, settings.purchase_model),
    'retention.models() lists the models.');
  PERFORM retention._reject_unless(settings.prediction_window BETWEEN 1 AND 36525,
    format('prediction_window of metric "%s" must be from 1 to 36525 days, not %s', settings.metric, settings.prediction_window));
  PERFORM retention._reject_unless(settings.discount_rate >= 0 AND settings.discount_rate < 'Infinity',
    format('discount_rate of metric "%s" must be 0 or more, not %s', settings.metric, settings.discount_rate), 'Ten per cent a year is 0.1.');
  PERFORM retention._check_percentiles(settings.metric, 'churn_levels', settings.churn_levels, 3);
  PERFORM retention._check_span(format('refit_interval of metric "%s"', settings.metric), settings.refit_interval, 0);
END
$$;
COMMENT ON FUNCTION retention._check_predictions(retention.metric) IS 'Checks the settings that predictions are made by.';

CREATE OR REPLACE FUNCTION retention._check_metric() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  levels record;
  missing name;
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.metric');
  PERFORM retention._reject_unless(TG_OP = 'INSERT' OR NEW.metric = OLD.metric,
    format('metric "%s" cannot be renamed', OLD.metric), 'Its customers and history have the name too.', 'feature_not_supported');
  PERFORM retention._check_length('the name of a metric', 'name', NEW.metric);
  SELECT a.attname INTO missing FROM pg_attribute a
    WHERE a.attrelid = 'retention.metric'::regclass AND a.attnotnull AND a.attnum > 0
      AND to_jsonb(NEW) ->> a.attname IS NULL ORDER BY a.attnum LIMIT 1;
  PERFORM retention._reject_unless(missing IS NULL,
    format('%s of metric "%s" must not be null', missing, NEW.metric),
    format('SELECT retention.alter_metric(%L, reset => ''{%s}''); takes it back to its default.',
           NEW.metric, missing), 'null_value_not_allowed');
  -- A restored dump brings metrics before the cells of its own schemes: nothing to compare with yet.
  SELECT coalesce(r, cardinality(NEW.recency_limits) + 1) AS r,
         coalesce(f, cardinality(NEW.frequency_percentiles) + 1) AS f,
         coalesce(m, cardinality(NEW.monetary_percentiles) + 1) AS m
    INTO levels FROM retention._scheme_levels(NEW.scheme);
  PERFORM retention._reject_unless(
    retention._is_listed_zone(NEW.time_zone),
    format('time zone "%s" of metric "%s" does not exist', NEW.time_zone, NEW.metric),
    'Names such as Europe/Warsaw are listed in pg_timezone_names.');
  PERFORM retention._reject_unless(coalesce(NEW.country ~ '^[A-Za-z]{2}$', true),
    format('country of metric "%s" must be two letters of ISO 3166, not "%s"', NEW.metric, NEW.country), 'Such as PL or US.');
  PERFORM retention._check_days(format('history of metric "%s"', NEW.metric), NEW.history, 'alter_metric(..., reset => ''{history}'') counts all orders.');
  PERFORM retention._reject_unless(NEW.thresholds IN ('moving', 'frozen'),
    format('thresholds of metric "%s" must be moving or frozen, not "%s"', NEW.metric, NEW.thresholds));
  PERFORM retention._check_thresholds(NEW.metric, 'recency_limits', NEW.recency_limits, levels.r, descending => true,
                                       at_least => 0);
  PERFORM retention._check_percentiles(NEW.metric, 'frequency_percentiles', NEW.frequency_percentiles, levels.f);
  PERFORM retention._check_percentiles(NEW.metric, 'monetary_percentiles', NEW.monetary_percentiles, levels.m);
  IF NEW.frequency_values IS NOT NULL THEN
    PERFORM retention._check_thresholds(NEW.metric, 'frequency_values', NEW.frequency_values, levels.f, at_least => 0);
  END IF;
  IF NEW.monetary_values IS NOT NULL THEN
    PERFORM retention._check_thresholds(NEW.metric, 'monetary_values', NEW.monetary_values, levels.m);
  END IF;
  PERFORM retention._reject_unless(NEW.loss_limit BETWEEN 0 AND 1,
    format('loss_limit of metric "%s" must lie between 0 and 1, not %s', NEW.metric, coalesce(NEW.loss_limit::text, 'null')),
    'It is a share of the customers: half of them are 0.5; 1 allows any loss.', 'numeric_value_out_of_range');
  PERFORM retention._check_predictions(NEW);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_metric() IS 'Trigger: checks every setting of a metric as a whole.';

CREATE OR REPLACE FUNCTION retention._note_settings() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.metric');
  -- In the order of everybody else. What time has brought about by now is not due to the settings.
  PERFORM retention._lock_all(),
          retention._evaluate_segments(CASE TG_WHEN WHEN 'BEFORE' THEN 'refresh' ELSE 'settings' END, retention.now());
  PERFORM retention._tell(format('metric "%s": what was changed takes effect with CALL '
                                 'retention.refresh(%L); changes of its orders wait until then',
                                 NEW.metric, NEW.metric), 'notice')
    FROM retention._last_refresh(NEW.metric) AS l
    WHERE TG_WHEN = 'AFTER' AND l.settings <> retention._settings(NEW);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._note_settings() IS
  'Trigger, before and after settings that take effect at once: whoever enters or leaves segments by them does so by the settings.';

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

CREATE OR REPLACE FUNCTION retention._default_limits(levels integer) RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE levels WHEN 3 THEN ARRAY[365, 180]::double precision[]
                     WHEN 5 THEN ARRAY[365, 180, 90, 30]::double precision[] END;
COMMENT ON FUNCTION retention._default_limits(integer) IS 'Customary recency limits in days, where there are any for this number of scores.';

CREATE OR REPLACE FUNCTION retention._default_percentiles(levels integer) RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ARRAY(SELECT (i::double precision / levels) FROM generate_series(1, levels - 1) AS i ORDER BY i);
COMMENT ON FUNCTION retention._default_percentiles(integer) IS 'Percentiles that cut a population into equal parts.';

CREATE OR REPLACE FUNCTION retention.add_metric(
    metric text, time_zone text DEFAULT 'UTC', history interval DEFAULT NULL, scheme text DEFAULT 'standard',
    recency_limits double precision[] DEFAULT NULL,
    frequency_percentiles double precision[] DEFAULT NULL, frequency_values double precision[] DEFAULT NULL,
    monetary_percentiles double precision[] DEFAULT NULL, monetary_values double precision[] DEFAULT NULL,
    thresholds text DEFAULT 'moving',
    purchase_model text DEFAULT 'auto', prediction_window integer DEFAULT 365, discount_rate double precision DEFAULT 0,
    churn_levels double precision[] DEFAULT '{0.33, 0.66}', refit_interval interval DEFAULT '7 days',
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
    thresholds, purchase_model, prediction_window, discount_rate, churn_levels, refit_interval, loss_limit,
    country);
  RETURN metric;
END
$$;
COMMENT ON FUNCTION retention.add_metric(text, text, interval, text, double precision[], double precision[], double precision[], double precision[], double precision[], text,
    text, integer, double precision, double precision[], interval, double precision, text) IS
  'Makes a metric. What is left out gets the scheme''s customary thresholds.';

CREATE OR REPLACE FUNCTION retention._require_metric(metric text) RETURNS retention.metric
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_metric retention.metric;
BEGIN
  SELECT * INTO found_metric FROM retention.metric e WHERE e.metric = _require_metric.metric;
  PERFORM retention._reject_unless(FOUND, format('metric %s does not exist', coalesce('"' || metric || '"', 'null')),
    'add_metric or add_source makes it; retention.metric lists those there are.', 'undefined_object');
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
              retention._default_percentiles(levels.f), NULL, retention._default_percentiles(levels.m), NULL,
              'moving', 'auto', 365, 0, '{0.33,0.66}', '7 days', 0.5, NULL)::retention.metric;
END
$$;
COMMENT ON FUNCTION retention._default_settings(text) IS 'What add_metric makes of a scheme, with all else left out.';

CREATE OR REPLACE FUNCTION retention._without_settings(settings retention.metric, scheme text, reset text[]) RETURNS retention.metric
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
    reset := reset || '{recency_limits,frequency_percentiles,frequency_values,monetary_percentiles,monetary_values}';
  END IF;
  SELECT coalesce('"' || r || '"', 'null') INTO unknown
    FROM unnest(reset) AS r WHERE (r = 'metric' OR NOT defaults ? r) IS NOT FALSE LIMIT 1;
  PERFORM retention._reject_unless(unknown IS NULL, format('metric "%s" has no setting %s that could be reset', settings.metric, unknown),
    format('The settings are %s.', (
      SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a
      WHERE a.attrelid = 'retention.metric'::regclass AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attname <> 'metric')));
  RETURN jsonb_populate_record(settings, (SELECT jsonb_object_agg(d.key, d.value) FROM jsonb_each(defaults) AS d WHERE d.key = ANY (reset)));
END
$$;
COMMENT ON FUNCTION retention._without_settings(retention.metric, text, text[]) IS
  'A metric''s settings after those of these names were taken back to what a scheme, by default its own, has by default.';

CREATE OR REPLACE FUNCTION retention.alter_metric(
    metric text, time_zone text DEFAULT NULL, history interval DEFAULT NULL, scheme text DEFAULT NULL,
    recency_limits double precision[] DEFAULT NULL,
    frequency_percentiles double precision[] DEFAULT NULL, frequency_values double precision[] DEFAULT NULL,
    monetary_percentiles double precision[] DEFAULT NULL, monetary_values double precision[] DEFAULT NULL,
    thresholds text DEFAULT NULL,
    purchase_model text DEFAULT NULL, prediction_window integer DEFAULT NULL, discount_rate double precision DEFAULT NULL,
    churn_levels double precision[] DEFAULT NULL, refit_interval interval DEFAULT NULL,
    loss_limit double precision DEFAULT NULL, country text DEFAULT NULL, reset text[] DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kept retention.metric := retention._without_settings(retention._require_metric(metric), scheme, reset);
  levels record;
BEGIN
  SELECT r, f, m INTO levels FROM retention._scheme_levels(NULL);
  IF alter_metric.scheme IS NOT NULL THEN
    levels := retention._require_scheme(alter_metric.scheme);
  END IF;
  UPDATE retention.metric e SET
    time_zone = coalesce(alter_metric.time_zone, kept.time_zone),
    history = coalesce(alter_metric.history, kept.history),
    scheme = coalesce(alter_metric.scheme, kept.scheme),
    recency_limits = coalesce(alter_metric.recency_limits, retention._default_limits(levels.r), kept.recency_limits),
    frequency_percentiles = coalesce(alter_metric.frequency_percentiles,
      CASE WHEN levels.f IS NOT NULL THEN retention._default_percentiles(levels.f) END, kept.frequency_percentiles),
    frequency_values = coalesce(alter_metric.frequency_values, kept.frequency_values),
    monetary_percentiles = coalesce(alter_metric.monetary_percentiles,
      CASE WHEN levels.m IS NOT NULL THEN retention._default_percentiles(levels.m) END, kept.monetary_percentiles),
    monetary_values = coalesce(alter_metric.monetary_values, kept.monetary_values),
    thresholds = coalesce(alter_metric.thresholds, kept.thresholds),
    purchase_model = coalesce(alter_metric.purchase_model, kept.purchase_model),
    prediction_window = coalesce(alter_metric.prediction_window, kept.prediction_window),
    discount_rate = coalesce(alter_metric.discount_rate, kept.discount_rate),
    churn_levels = coalesce(alter_metric.churn_levels, kept.churn_levels),
    refit_interval = coalesce(alter_metric.refit_interval, kept.refit_interval),
    loss_limit = coalesce(alter_metric.loss_limit, kept.loss_limit),
    country = coalesce(alter_metric.country, kept.country)
  WHERE e.metric = alter_metric.metric;
END
$$;
COMMENT ON FUNCTION retention.alter_metric(text, text, interval, text, double precision[], double precision[], double precision[], double precision[], double precision[], text,
    text, integer, double precision, double precision[], interval, double precision, text, text[]) IS
  'Changes the settings that are given, and takes those that are named in reset back to their defaults; a new scheme brings its customary thresholds. Takes effect at the next refresh, and until then changes of orders wait; prediction_window, discount_rate, churn_levels, loss_limit and, for what counts days, time_zone do at once. Starts no flow, and wakes nobody who waits in one; preview_settings shows before who would move.';

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
COMMENT ON FUNCTION retention.drop_metric(text) IS 'Drops a metric with its sources, customers and history.';

CREATE OR REPLACE FUNCTION retention._lock_metric(metric text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._take_lock('retention.metric', hashtext(metric))
$$;
COMMENT ON FUNCTION retention._lock_metric(text) IS 'Makes whatever writes a metric''s customers and history take turns, until the transaction ends.';

CREATE OR REPLACE FUNCTION retention._take_turn(metric text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.metric_turn AS t (metric, turn) VALUES (metric, 1)
    ON CONFLICT (metric) DO UPDATE SET turn = t.turn + 1
$$;
COMMENT ON FUNCTION retention._take_turn(text) IS
  'Called, under the lock of the metric, before anything of it is written: a serialization error where the transaction''s snapshot is older than what was written last.';

CREATE OR REPLACE FUNCTION retention._forget_metric(metric text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._lock_all(), retention._lock_metric(metric);
  PERFORM retention._take_turn(metric);
  DELETE FROM retention.customer e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.rfm_change e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.refresh_log e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.population e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.fitted_model e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.published_model e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.validation_result r USING retention.validation e
    WHERE e.metric = _forget_metric.metric AND r.validation_id = e.validation_id;
  DELETE FROM retention.validation e WHERE e.metric = _forget_metric.metric;
  DELETE FROM retention.metric_error e WHERE e.metric = _forget_metric.metric;
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
COMMENT ON FUNCTION retention.reset_metric(text) IS 'Forgets a metric''s customers and history, and keeps its settings and sources.';

CREATE OR REPLACE FUNCTION retention._base_type(type regtype) RETURNS regtype
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  base regtype := type;
BEGIN
  WHILE base IS NOT NULL LOOP
    type := base;
    base := (SELECT t.typbasetype FROM pg_type t WHERE t.oid = type AND t.typtype = 'd');
  END LOOP;
  RETURN type;
END
$$;
COMMENT ON FUNCTION retention._base_type(regtype) IS 'The type under a domain.';

CREATE OR REPLACE FUNCTION retention._column_type(relation regclass, role text, column_name name) RETURNS regtype
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_type regtype;
BEGIN
  SELECT retention._base_type(atttypid) INTO found_type
    FROM pg_attribute WHERE attrelid = relation AND attname = column_name AND attnum > 0 AND NOT attisdropped;
  PERFORM retention._reject_unless(FOUND,
    format('column "%s" of %s does not exist', column_name, relation),
    format('Name the column with %s => ''...''.', role), 'undefined_column');
  RETURN found_type;
END
$$;
COMMENT ON FUNCTION retention._column_type(regclass, text, name) IS 'A column''s type, or an error that names the column.';

CREATE OR REPLACE FUNCTION retention._read_by_reader(relation regclass) RETURNS SETOF regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE read AS (
    SELECT relation::oid AS oid
    UNION
    SELECT d.refobjid
    FROM read JOIN pg_class v ON v.oid = read.oid AND v.relkind = 'v'
    CROSS JOIN LATERAL pg_options_to_table(v.reloptions) AS o
    JOIN pg_rewrite r ON r.ev_class = v.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_class'::regclass
    WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
  SELECT oid::regclass FROM read
$$;
COMMENT ON FUNCTION retention._read_by_reader(regclass) IS
  'A relation, and those that it reads with the rights of whoever reads it.';

CREATE OR REPLACE FUNCTION retention._depends_on_reader(relation regclass, reader regrole)
  RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.relrowsecurity
         AND NOT (SELECT a.rolbypassrls OR a.rolsuper FROM pg_roles a WHERE a.oid = reader)
      OR c.relkind = 'v' AND (
        c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        OR EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                     AND d.refclassid = 'pg_extension'::regclass AND e.extname <> 'retention'))
  FROM pg_class c WHERE c.oid = relation
$$;
COMMENT ON FUNCTION retention._depends_on_reader(regclass, regrole) IS
  'Whether a relation may show a reader less than its owner: by row security, or as a view of the '
  'system, or of another extension, which may ask who reads it.';

CREATE OR REPLACE FUNCTION retention._check_shown_alike(relation regclass, reader regrole)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner regrole := retention._owner(relation);
  withheld regclass;
BEGIN
  IF pg_has_role(reader, owner, 'USAGE') THEN
    RETURN;
  END IF;
  SELECT r INTO withheld FROM retention._read_by_reader(relation) AS r
    WHERE r <> relation AND NOT has_table_privilege(reader, r, 'SELECT')
      OR retention._depends_on_reader(r, reader) LIMIT 1;
  PERFORM retention._reject_unless(withheld IS NULL,
    format('%s may show its owner more than %s, for %s depends on who reads it',
           relation, reader, withheld),
    format('It is read with its owner''s rights: %s can add it, or a member of that role.', owner),
    'insufficient_privilege');
END
$$;
COMMENT ON FUNCTION retention._check_shown_alike(regclass, regrole) IS
  'An error where a relation, which is read with its owner''s rights, may show the owner more '
  'than somebody who can read it.';

CREATE OR REPLACE FUNCTION retention._check_readable(relation regclass, columns name[]) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  caller regrole := retention._caller();
  unreadable name;
BEGIN
  SELECT c INTO unreadable
    FROM unnest(columns) AS c JOIN pg_class ON pg_class.oid = relation
    WHERE NOT has_schema_privilege(caller, relnamespace, 'USAGE')
      OR NOT has_column_privilege(caller, relation, c::text, 'SELECT')
    LIMIT 1;
  PERFORM retention._reject_unless(unreadable IS NULL,
    format('no right to read column "%s" of %s', unreadable, relation),
    format('GRANT SELECT ON %s TO %s;', relation, caller), 'insufficient_privilege');
  PERFORM retention._check_shown_alike(relation, caller);
END
$$;
COMMENT ON FUNCTION retention._check_readable(regclass, name[]) IS
  'An error unless the caller may read these columns: what they have the engine read, others can see.';

CREATE OR REPLACE FUNCTION retention._check_type(
    relation regclass, column_name name, type regtype, allowed regtype[], hint text)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(type = ANY (allowed),
    format('column "%s" of %s has type %s, which cannot be used here', column_name, relation, type),
    hint, 'datatype_mismatch');
END
$$;
COMMENT ON FUNCTION retention._check_type(regclass, name, regtype, regtype[], text) IS 'Rejects a column of an unsuitable type.';

CREATE OR REPLACE FUNCTION retention._check_source() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation_kind "char";
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.source');
  SELECT relkind INTO relation_kind FROM pg_class WHERE oid = NEW.relation;
  PERFORM retention._reject_unless(relation_kind IN ('r', 'p', 'v', 'm', 'f'),
    format('%s is not a table or view', NEW.relation), '', 'wrong_object_type');
  PERFORM retention._reject_unless(NEW.kind IN ('order', 'refund'),
    format('kind of source %s must be order or refund, not "%s"', NEW.relation, NEW.kind));
  PERFORM retention._column_type(NEW.relation, 'customer_id', NEW.customer_id);
  PERFORM retention._check_type(NEW.relation, NEW.ordered_at,
    retention._column_type(NEW.relation, 'ordered_at', NEW.ordered_at), '{timestamptz,timestamp,date}',
    'The time of an order is a timestamp or a date; convert it in a view.');
  PERFORM retention._check_type(NEW.relation, NEW.amount,
    retention._column_type(NEW.relation, 'amount', NEW.amount), '{numeric,smallint,integer,bigint,real,double precision,money}',
    'The amount is a number; convert it in a view.');
  IF NEW.order_id IS NOT NULL THEN
    PERFORM retention._column_type(NEW.relation, 'order_id', NEW.order_id);
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_source() IS 'Trigger: checks a source''s relation and columns.';

CREATE OR REPLACE FUNCTION retention._add_again(source retention.source, events boolean DEFAULT NULL)
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
                     THEN 'refunds of %1$s are not netted against their orders: they have no order_id'
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

CREATE OR REPLACE FUNCTION retention._warn_not_netted(relation regclass, metric text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found record;
BEGIN
  FOR found IN SELECT n.* FROM retention._not_netted(metric) AS n LOOP
    IF found.names_orders THEN
      RAISE WARNING '%', found.problem USING HINT = found.way_out;
    ELSIF (found.refunds).relation = relation THEN
      -- Some shops do not know of which order a refund is.
      RAISE NOTICE '%', found.problem USING HINT = found.way_out;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._warn_not_netted(regclass, text) IS
  'Warns, when a source was added, of refunds that are not netted against orders.';

CREATE OR REPLACE FUNCTION retention.add_source(
    relation regclass, customer_id name DEFAULT 'customer_id', ordered_at name DEFAULT 'ordered_at',
    amount name DEFAULT 'amount', order_id name DEFAULT NULL, kind text DEFAULT 'order', metric text DEFAULT 'orders',
    events boolean DEFAULT NULL)
  RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  new_id integer;
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, 'the source''s relation must not be null', '', 'null_value_not_allowed');
  PERFORM retention._reject_unless(
    NOT EXISTS (SELECT FROM retention.source s
                WHERE s.metric = add_source.metric AND s.relation = add_source.relation AND s.kind = add_source.kind),
    format('%s is already a source of %ss for metric "%s"', relation, kind, metric),
    (SELECT CASE WHEN s.order_id IS NULL AND add_source.order_id IS NOT NULL
                 THEN 'To add the order id: ' || retention._add_again(
                   retention._with_fields(s, 'order_id', add_source.order_id))
                 ELSE format('SELECT retention.drop_source(%s); removes it.', s.source_id) END
     FROM retention.source s
     WHERE (s.metric, s.relation, s.kind)
           = (add_source.metric, add_source.relation, add_source.kind)), 'duplicate_object');
  PERFORM retention._reject_unless(
    kind IS DISTINCT FROM 'refund' OR EXISTS (SELECT FROM retention.source s WHERE s.metric = add_source.metric AND s.kind = 'order'),
    format('metric "%s" has no orders that %s could refund', metric, relation),
    'Add the source of its orders first.', 'object_not_in_prerequisite_state');
  events := coalesce(events, order_id IS NOT NULL);
  PERFORM retention._reject_unless(NOT events OR order_id IS NOT NULL,
    format('events of %s need the column of the order id', relation), 'By the order id an order is told from a changed one: order_id => ''...''.');
  IF metric = 'orders' AND NOT EXISTS (SELECT FROM retention.metric e WHERE e.metric = 'orders') THEN
    PERFORM retention.add_metric('orders');
  END IF;
  PERFORM retention._require_metric(metric);
  INSERT INTO retention.source (metric, relation, kind, customer_id, ordered_at, amount, order_id, events_from)
    VALUES (metric, relation, kind, customer_id, ordered_at, amount, order_id, CASE WHEN events THEN retention.now() END)
    RETURNING source_id INTO new_id;
  PERFORM retention._check_readable(relation, array_remove(ARRAY[customer_id, ordered_at, amount, order_id], NULL));
  PERFORM retention._track_source(relation, customer_id);
  PERFORM retention._warn_not_netted(relation, metric);
  RETURN new_id;
END
$$;
COMMENT ON FUNCTION retention.add_source(regclass, name, name, name, name, text, text, boolean) IS
  'Makes a table or view a source of a metric''s orders, or of refunds; returns its source_id. The first one makes the metric "orders". With events, process_changes records new orders in order_event; they are on, unless set to false, where there is an order_id. A table that is tracked already is tracked by this column too, which needs to own it.';

CREATE OR REPLACE FUNCTION retention.drop_source(source_id integer) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM retention.source s WHERE s.source_id = drop_source.source_id;
  PERFORM retention._reject_unless(FOUND, format('source %s does not exist', coalesce(source_id::text, 'null')),
    'retention.source lists those there are.', 'undefined_object');
  -- Nobody processes changes of a metric that reads nothing, so nobody would clear these.
  DELETE FROM retention.metric_error e
    WHERE NOT EXISTS (SELECT FROM retention.source s WHERE s.metric = e.metric);
END
$$;
COMMENT ON FUNCTION retention.drop_source(integer) IS 'Removes a source; its customers go at the next refresh.';

CREATE OR REPLACE FUNCTION retention.rfm_group(r integer, f integer, m integer, scheme text DEFAULT 'standard') RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN (SELECT c.rfm_group FROM retention.rfm_cell c
          WHERE c.scheme = rfm_group.scheme AND c.r = rfm_group.r AND c.f = rfm_group.f AND c.m = rfm_group.m);
COMMENT ON FUNCTION retention.rfm_group(integer, integer, integer, text) IS
  'The group of a combination of scores in a scheme of retention.rfm_cell; null when it has no such cell.';

CREATE OR REPLACE FUNCTION retention._keep_cell() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.rfm_cell');
  IF TG_OP = 'UPDATE' THEN
    NEW.builtin := false;
  ELSE
    DELETE FROM retention.rfm_cell c
      WHERE c.builtin AND (c.scheme, c.r, c.f, c.m) = (NEW.scheme, NEW.r, NEW.f, NEW.m);
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._keep_cell() IS 'Trigger: an edited cell replaces the shipped one, also when a dump is restored.';
