-- The engine's models: fitted by refresh when they are due, and published for the profile.

CREATE OR REPLACE FUNCTION retention._local_date(at timestamptz, time_zone text) RETURNS date
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_local_date';
COMMENT ON FUNCTION retention._local_date(timestamptz, text) IS 'The calendar day in a time zone, as AT TIME ZONE gives it.';

CREATE OR REPLACE FUNCTION retention._fit(state retention.fit_state, kind text) RETURNS retention.model
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
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
  WHILE fitted.converged IS NOT TRUE AND weight < 1e6 OR kind = 'gammagamma' AND fitted.parameters[2] < 1.05 LOOP
    fitted := retention.fit(state, kind, weight);
    weight := weight * 10;
  END LOOP;
  RETURN fitted;
END
$$;
COMMENT ON FUNCTION retention._fit(retention.fit_state, text) IS
  'Fits by maximum likelihood, or with a prior where the likelihood has no maximum that can be used.';

CREATE OR REPLACE FUNCTION retention._candidates(purchase_model text) RETURNS text[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  -- BG/NBD takes everybody who ordered once for alive: it is used only when asked for.
  RETURN CASE purchase_model WHEN 'auto' THEN '{mbgnbd,paretonbd}' ELSE ARRAY[purchase_model] END;
COMMENT ON FUNCTION retention._candidates(text) IS 'The purchase models to fit for a setting of purchase_model.';

CREATE OR REPLACE FUNCTION retention._fit_purchases(metric text, as_of timestamptz, kinds text[], state retention.fit_state)
  RETURNS retention.model
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kind text;
  fitted retention.model;
  best retention.model;
  started_at timestamptz;
BEGIN
  FOREACH kind IN ARRAY kinds LOOP
    started_at := clock_timestamp();
    fitted := retention._fit(state, kind);
    INSERT INTO retention.fitted_model (metric, as_of, purpose, model, chosen, duration)
      VALUES (metric, as_of, 'purchase', fitted, false, clock_timestamp() - started_at);
    IF best IS NULL OR (fitted.penalty, -fitted.log_likelihood) < (best.penalty, -best.log_likelihood) THEN
      best := fitted;
    END IF;
  END LOOP;
  UPDATE retention.fitted_model f SET chosen = true
    WHERE f.metric = _fit_purchases.metric AND f.as_of = _fit_purchases.as_of AND f.purpose = 'purchase' AND (f.model).kind = best.kind;
  RETURN best;
END
$$;
COMMENT ON FUNCTION retention._fit_purchases(text, timestamptz, text[], retention.fit_state) IS
  'Fits the purchase models, records them, and returns the likeliest one.';

CREATE OR REPLACE FUNCTION retention._fit_spend(metric text, as_of timestamptz, state retention.fit_state, mean_value double precision)
  RETURNS retention.model
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  started_at timestamptz := clock_timestamp();
  fitted retention.model;
BEGIN
  IF state IS NULL THEN
    -- Nobody has come back: customary shapes, and the mean of the first orders.
    fitted := retention.make_model('gammagamma', ARRAY[4, 4, mean_value * 3 / 4]);
    fitted.n := 0;
    fitted.converged := false;
  ELSE
    fitted := retention._fit(state, 'gammagamma');
  END IF;
  INSERT INTO retention.fitted_model (metric, as_of, purpose, model, chosen, duration)
    VALUES (metric, as_of, 'spend', fitted, true, clock_timestamp() - started_at);
  RETURN fitted;
END
$$;
COMMENT ON FUNCTION retention._fit_spend(text, timestamptz, retention.fit_state, double precision) IS
  'Fits the spend model and records it.';

CREATE OR REPLACE FUNCTION retention._readiness(settings retention.metric, as_of timestamptz)
  RETURNS TABLE (requirement text, needed numeric, found numeric, met boolean)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT gate.requirement, gate.needed, gate.found,
         coalesce(CASE WHEN gate.at_most THEN gate.found <= gate.needed ELSE gate.found >= gate.needed END, false)
  FROM (SELECT count(*) AS customers, max(c.orders) AS most_orders,
               retention._local_date(as_of, settings.time_zone) - retention._local_date(min(c.first_order_at), settings.time_zone) AS history_days,
               retention._local_date(as_of, settings.time_zone) - retention._local_date(max(c.last_order_at), settings.time_zone) AS quiet_days
        FROM retention.customer c WHERE c.metric = settings.metric) AS facts,
       (SELECT count(*) FILTER (WHERE (model).converged AND (model).penalty = 0) AS models
        FROM retention.published_model p, unnest(ARRAY[p.purchase, p.spend]) AS model
        WHERE p.metric = settings.metric) AS fits,
       LATERAL (VALUES ('customers with an order', 500::numeric, facts.customers::numeric, false),
                       ('days since the first order', 180, facts.history_days, false),
                       ('days since the last order, at most', 30, facts.quiet_days, true),
                       ('orders of the most frequent customer', 3, facts.most_orders, false),
                       ('models fitted to the orders alone', 2, fits.models, false))
         AS gate (requirement, needed, found, at_most)
$$;
COMMENT ON FUNCTION retention._readiness(retention.metric, timestamptz) IS 'The rows of readiness as of a moment.';

CREATE OR REPLACE FUNCTION retention._confidence(settings retention.metric, as_of timestamptz) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN bool_and(met) THEN 'high'
              WHEN count(*) FILTER (WHERE NOT met) <= 2 AND bool_and(met) FILTER (WHERE requirement LIKE 'models %') THEN 'medium'
              ELSE 'low' END
  FROM retention._readiness(settings, as_of)
$$;
COMMENT ON FUNCTION retention._confidence(retention.metric, timestamptz) IS
  'high: every requirement of readiness is met; medium: all but two, and the models are fitted; low: else.';

CREATE OR REPLACE FUNCTION retention._fit_models(settings retention.metric, as_of timestamptz, fingerprint text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  data record;
  purchase retention.model;
  spend retention.model;
BEGIN
  SELECT retention.fit_state('mbgnbd', x, t_x, t) AS purchases,
         retention.fit_state('gammagamma', x, m) FILTER (WHERE x > 0) AS spends,
         avg(average_order_value) AS mean_value, count(*) AS customers
    INTO data
    FROM (SELECT c.purchase_days - 1 AS x, last_day - first_day AS t_x,
                 greatest(retention._local_date(as_of, settings.time_zone), last_day) - first_day AS t,
                 c.repeat_value AS m, c.average_order_value
          FROM retention.customer c,
               LATERAL (SELECT retention._local_date(c.first_order_at, settings.time_zone) AS first_day,
                               retention._local_date(c.last_order_at, settings.time_zone) AS last_day) AS days
          WHERE c.metric = settings.metric) AS history;
  DELETE FROM retention.published_model p WHERE p.metric = settings.metric;
  IF data.customers = 0 THEN
    RETURN;
  END IF;
  purchase := retention._fit_purchases(settings.metric, as_of, retention._candidates(settings.purchase_model), data.purchases);
  spend := retention._fit_spend(settings.metric, as_of, data.spends, greatest(data.mean_value, 1e-6));
  INSERT INTO retention.published_model VALUES (settings.metric, as_of, fingerprint, purchase, spend, 'low');
  RAISE INFO 'metric "%": model % fitted to % customers, % to % of them', settings.metric, purchase.kind, purchase.n, spend.kind, spend.n;
END
$$;
COMMENT ON FUNCTION retention._fit_models(retention.metric, timestamptz, text) IS
  'Fits a metric''s models to its customers as of a moment, and publishes them.';

CREATE OR REPLACE FUNCTION retention._refresh_models(settings retention.metric, as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fingerprint text := md5(settings.purchase_model || retention._settings(settings));
BEGIN
  IF NOT EXISTS (SELECT FROM retention.published_model p
                 WHERE p.metric = settings.metric AND p.settings = fingerprint
                   AND p.as_of + settings.refit_interval > _refresh_models.as_of) THEN
    PERFORM retention._fit_models(settings, as_of, fingerprint);
  END IF;
  UPDATE retention.published_model p SET confidence = fresh.confidence
    FROM (SELECT retention._confidence(settings, as_of) AS confidence) AS fresh
    WHERE p.metric = settings.metric AND p.confidence <> fresh.confidence;
END
$$;
COMMENT ON FUNCTION retention._refresh_models(retention.metric, timestamptz) IS
  'Fits the models when they are older than the refit interval or the settings have changed, and judges them.';
