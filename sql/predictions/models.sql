-- Fits a metric's models, and judges them by a back-test.

CREATE OR REPLACE FUNCTION retention._local_date(at timestamptz, time_zone text) RETURNS date
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_local_date';
COMMENT ON FUNCTION retention._local_date(timestamptz, text) IS
  'The calendar day in a time zone, as AT TIME ZONE gives it.';

CREATE OR REPLACE FUNCTION retention._double(amount numeric) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_double';
COMMENT ON FUNCTION retention._double(numeric) IS
  'An amount of up to 38 digits as a floating-point number, many times as fast as the cast.';

CREATE OR REPLACE FUNCTION retention._fit(state retention.fit_state, kind text)
  RETURNS retention.model
  -- Parallel plans may have no part in it: it catches an error, which takes a subtransaction.
  LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fitted retention.model;
  weight double precision := 1;
BEGIN
  BEGIN
    fitted := retention.fit(state, kind);
  EXCEPTION WHEN invalid_parameter_value THEN
    NULL; -- too few customers, or all alike
  END;
  -- Without a maximum lean on customary parameters; also where the mean spend would be infinite.
  WHILE fitted.converged IS NOT TRUE AND weight < 1e6 OR kind = 'gammagamma'
    AND fitted.parameters[2] < 1.05 LOOP
    fitted := retention.fit(state, kind, weight);
    weight := weight * 10;
  END LOOP;
  RETURN fitted;
END
$$;
COMMENT ON FUNCTION retention._fit(retention.fit_state, text) IS
  'Fits by maximum likelihood, or with a prior where the likelihood has no maximum that can be '
  'used.';

CREATE OR REPLACE FUNCTION retention._candidate_models(purchase_model text) RETURNS text[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  -- BG/NBD takes everybody who ordered once for alive: it is used only when asked for.
  RETURN CASE purchase_model WHEN 'auto' THEN '{mbgnbd,paretonbd}' ELSE ARRAY[purchase_model] END;
COMMENT ON FUNCTION retention._candidate_models(text) IS
  'The purchase models to fit for a setting of purchase_model.';

CREATE OR REPLACE FUNCTION retention._fit_purchases(purchase_model text, state retention.fit_state)
  RETURNS TABLE (model retention.model, duration interval, chosen boolean)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kinds text[] := retention._candidate_models(purchase_model);
  fits retention.model[];
  durations interval[];
  started_at timestamptz;
BEGIN
  FOR i IN 1 .. cardinality(kinds) LOOP
    started_at := clock_timestamp();
    fits[i] := retention._fit(state, kinds[i]);
    durations[i] := clock_timestamp() - started_at;
  END LOOP;
  RETURN QUERY
    SELECT fits[i], durations[i], row_number() OVER (ORDER BY (fits[i]).penalty,
                                                     (fits[i]).log_likelihood DESC) = 1
    FROM generate_subscripts(kinds, 1) AS i ORDER BY i;
END
$$;
COMMENT ON FUNCTION retention._fit_purchases(text, retention.fit_state) IS
  'Fits the purchase models that a setting of purchase_model asks for, and chooses the likeliest.';

CREATE OR REPLACE FUNCTION retention._fit_spend(
    state retention.fit_state, mean_value double precision)
  RETURNS retention.model
  LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fitted retention.model;
BEGIN
  IF state IS NOT NULL THEN
    RETURN retention._fit(state, 'gammagamma');
  END IF;
  -- Nobody has come back: customary shapes, and the mean of the first purchase days.
  fitted := retention.make_model('gammagamma', ARRAY[4, 4, greatest(mean_value, 1e-6) * 3 / 4]);
  fitted.n := 0;
  fitted.converged := false;
  RETURN fitted;
END
$$;
COMMENT ON FUNCTION retention._fit_spend(retention.fit_state, double precision) IS
  'Fits the spend model; without data, makes one of the mean value of a purchase day.';

CREATE OR REPLACE FUNCTION retention._back_test(
    metric text, OUT until text, OUT predicted numeric, OUT actual numeric, OUT off_by numeric,
    OUT tolerance numeric, OUT is_off boolean)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  tolerance := 0.33;
  SELECT to_char(v.holdout_end AT TIME ZONE m.time_zone, 'YYYY-MM-DD'), round(r.predicted::numeric),
         r.actual::numeric
    INTO until, predicted, actual
    FROM retention.validation v
    JOIN retention.metric m ON m.metric = v.metric
      AND m.purchase_model IN ('auto', (v.purchase).kind)
    JOIN retention.validation_result r USING (validation_id)
    WHERE v.validation_id = (SELECT max(l.validation_id) FROM retention.validation l
                             WHERE l.metric = _back_test.metric)
      AND (r.section, r.item) = ('total', 'orders');
  off_by := round(abs(predicted - actual) / greatest(actual, 1), 2);
  is_off := off_by > tolerance;
END
$$;
COMMENT ON FUNCTION retention._back_test(text) IS
  'The orders of a metric''s last validate_model, where it was of a model that its settings '
  'allow; nulls: there is none. Whether they were off by more than is tolerated.';

CREATE OR REPLACE FUNCTION retention._readiness(settings retention.metric, as_of timestamptz)
  RETURNS TABLE (requirement text, needed numeric, found numeric, met boolean)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT gate.requirement, gate.needed, gate.found,
         coalesce(CASE WHEN gate.at_most THEN gate.found <= gate.needed
                  ELSE gate.found >= gate.needed END, false)
  FROM retention._last_refresh(settings.metric) AS found,
       LATERAL (SELECT retention._local_date(_readiness.as_of,
                                             (_readiness.settings).time_zone) AS today) AS clock,
       LATERAL (SELECT today - retention._local_date(found.first_order_at,
                                                     settings.time_zone) AS history,
                       today - retention._local_date(found.last_order_at,
                                                     settings.time_zone) AS silence) AS days,
       (SELECT count(*) FILTER (WHERE (model).converged AND (model).penalty = 0) AS models
        FROM retention.published_model p, unnest(ARRAY[p.purchase, p.spend]) AS model
        WHERE p.metric = settings.metric) AS fits,
       LATERAL (VALUES ('customers with an order', 500::numeric,
                        coalesce(found.customers, 0)::numeric, false),
                       ('days since the first order', 180, days.history, false),
                       ('days since the last order, at most', 30, days.silence, true),
                       ('orders of the most frequent customer', 3, found.most_orders, false),
                       ('models fitted to the orders alone', 2, fits.models, false))
         AS gate (requirement, needed, found, at_most)
  UNION ALL
  SELECT format('back-test up to %s, %s orders predicted and %s came: off by a third at most',
                b.until, b.predicted, b.actual),
         b.tolerance, b.off_by, NOT b.is_off
  FROM retention._back_test((_readiness.settings).metric) AS b WHERE b.until IS NOT NULL
$$;
COMMENT ON FUNCTION retention._readiness(retention.metric, timestamptz) IS
  'The rows of readiness as of a moment, from what the last refresh found.';

CREATE OR REPLACE FUNCTION retention._confidence(settings retention.metric, as_of timestamptz)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN bool_and(met) THEN 'high'
              WHEN count(*) FILTER (WHERE NOT met) <= 2 AND bool_and(met)
                FILTER (WHERE requirement ~ '^(models|back-test) ') THEN 'medium'
              ELSE 'low' END
  FROM retention._readiness(settings, as_of)
$$;
COMMENT ON FUNCTION retention._confidence(retention.metric, timestamptz) IS
  'high: every requirement of readiness is met; medium: all but two, and the models are fitted, '
  'and right by their last back-test; low: else.';

CREATE OR REPLACE FUNCTION retention._judge_models(
    settings retention.metric, as_of timestamptz, was_off boolean)
  RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  test record := retention._back_test(settings.metric);
  now_off boolean := coalesce(test.is_off, false);
BEGIN
  UPDATE retention.published_model p SET confidence = fresh.confidence, is_off = now_off
    FROM (SELECT retention._confidence(settings, as_of) AS confidence) AS fresh
    WHERE p.metric = settings.metric AND (p.confidence, p.is_off) <> (fresh.confidence, now_off);
  IF now_off AND was_off IS NOT TRUE THEN
    RAISE WARNING 'metric "%": its models are off: of the orders up to % they had predicted %, and '
                  '% came',
        settings.metric, test.until, test.predicted, test.actual
      USING HINT = 'churn_risk is null until validate_model finds them right; docs/models.md tells '
                   'when models mislead.';
  END IF;
  RETURN now_off IS DISTINCT FROM coalesce(was_off, false);
END
$$;
COMMENT ON FUNCTION retention._judge_models(retention.metric, timestamptz, boolean) IS
  'Says of the published models how far to rely on them, and warns, once, where their back-test '
  'was off by more than a third. Returns whether they are judged otherwise than before.';

CREATE OR REPLACE FUNCTION retention._history_states(
    settings retention.metric, as_of timestamptz, share bigint,
    OUT customers bigint, OUT purchases retention.fit_state, OUT spends retention.fit_state,
    OUT mean_value double precision)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT count(*), retention.fit_state('mbgnbd', x, t_x, t),
         retention.fit_state('gammagamma', x, m) FILTER (WHERE x > 0),
         sum(revenue) / sum(x + 1)
  FROM (SELECT c.purchase_days - 1 AS x, recency.t_x,
               greatest(retention._local_date(as_of, settings.time_zone)
                        - retention._local_date(c.first_order_at, settings.time_zone),
                        recency.t_x) AS t,
               retention._double(c.repeat_value) AS m, retention._double(c.revenue) AS revenue
        FROM retention.customer c,
             LATERAL (SELECT coalesce(round(c.average_days_between_orders * (c.purchase_days - 1)),
                                      0) AS t_x) AS recency
        WHERE c.metric = settings.metric
          -- Ten million customers say all that parameters depend on; a state has to fit into 1 GB.
          AND (share = 1 OR hashtextextended(c.customer_id, 0) % share = 0)) AS history
$$;
COMMENT ON FUNCTION retention._history_states(retention.metric, timestamptz, bigint) IS
  'What a metric''s models are fitted to, as of a moment, in one scan of its customers: of all, '
  'or of one in `share`.';

CREATE OR REPLACE FUNCTION retention._fit_models(
    settings retention.metric, as_of timestamptz, fingerprint text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  share bigint := ceil(greatest((retention._last_refresh(settings.metric)).customers, 1) / 1e7);
  states record;
  started_at timestamptz;
  purchase retention.model;
  spend retention.model;
BEGIN
  DELETE FROM retention.published_model p WHERE p.metric = settings.metric;
  SELECT * INTO states FROM retention._history_states(settings, as_of, share);
  IF states.customers = 0 THEN
    RETURN;
  END IF;
  WITH fitted AS (
    INSERT INTO retention.fitted_model (metric, as_of, purpose, model, duration, chosen)
    SELECT settings.metric, as_of, 'purchase', f.*
    FROM retention._fit_purchases(settings.purchase_model, states.purchases) AS f
    RETURNING model, chosen)
  SELECT (model).* INTO purchase FROM fitted WHERE chosen;
  started_at := clock_timestamp();
  spend := retention._fit_spend(states.spends, states.mean_value);
  INSERT INTO retention.fitted_model (metric, as_of, purpose, model, duration, chosen)
    VALUES (settings.metric, as_of, 'spend', spend, clock_timestamp() - started_at, true);
  INSERT INTO retention.published_model VALUES (settings.metric, as_of, fingerprint, purchase,
                                                spend, 'low');
  PERFORM retention._tell(format('metric "%s": model %s fitted to %s customers, %s to %s of them',
                                 settings.metric, purchase.kind, purchase.n, spend.kind, spend.n));
END
$$;
COMMENT ON FUNCTION retention._fit_models(retention.metric, timestamptz, text) IS
  'Fits a metric''s models to its customers as of a moment, records the fits, and publishes the '
  'chosen ones.';

CREATE OR REPLACE FUNCTION retention._refresh_models(settings retention.metric, as_of timestamptz)
  RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- The refresh has just published the fingerprint of the rest.
  fingerprint text := md5(settings.purchase_model
                          || (retention._last_refresh(settings.metric)).settings);
  was_off boolean := (SELECT p.is_off FROM retention.published_model p
                      WHERE p.metric = settings.metric);
  by_others CONSTANT boolean := EXISTS (
    SELECT FROM retention.published_model p
    WHERE p.metric = settings.metric AND p.settings <> fingerprint);
BEGIN
  IF NOT EXISTS (SELECT FROM retention.published_model p
                 WHERE p.metric = settings.metric AND p.settings = fingerprint
                   AND p.as_of + settings.refit_interval > _refresh_models.as_of) THEN
    PERFORM retention._fit_models(settings, as_of, fingerprint);
  END IF;
  RETURN retention._judge_models(settings, as_of, was_off) OR by_others;
END
$$;
COMMENT ON FUNCTION retention._refresh_models(retention.metric, timestamptz) IS
  'Fits the models when they are older than the refit interval or the settings have changed, and '
  'judges them. Returns whether other settings, or another judgement, have changed what they say: '
  'nobody has gained or lost a risk by what they did.';
