-- Fitted models, and what validation has found.

CREATE TABLE retention.fitted_model (
  fit_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric        text NOT NULL,
  as_of         timestamptz NOT NULL,
  purpose       text NOT NULL CHECK (purpose IN ('purchase', 'spend')),
  model         retention.model NOT NULL,
  chosen        boolean NOT NULL,
  duration      interval NOT NULL
);
CREATE INDEX fitted_model_metric ON retention.fitted_model (metric, as_of);
COMMENT ON TABLE retention.fitted_model IS 'Every fit of a model to a metric''s customers.';
COMMENT ON COLUMN retention.fitted_model.fit_id IS 'Number of the fit.';
COMMENT ON COLUMN retention.fitted_model.metric IS 'Metric whose customers it was fitted to.';
COMMENT ON COLUMN retention.fitted_model.as_of IS 'Clock of the refresh that fitted it.';
COMMENT ON COLUMN retention.fitted_model.purpose IS
  'purchase: when customers order; spend: for how much.';
COMMENT ON COLUMN retention.fitted_model.model IS
  'The model, with its parameters and how the fit went.';
COMMENT ON COLUMN retention.fitted_model.chosen IS
  'Whether predictions were made by it: of several purchase models, the likeliest one.';
COMMENT ON COLUMN retention.fitted_model.duration IS 'Time that the fit took.';

CREATE TABLE retention.published_model (
  metric     text PRIMARY KEY,
  as_of      timestamptz NOT NULL,
  settings   text NOT NULL,
  purchase   retention.model NOT NULL,
  spend      retention.model NOT NULL,
  confidence text NOT NULL CHECK (confidence IN ('high', 'medium', 'low')),
  is_off     boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE retention.published_model IS
  'The models that a metric''s predictions are made by, one row a metric. Written by refresh '
  'only.';
COMMENT ON COLUMN retention.published_model.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.published_model.as_of IS 'Clock of the refresh that fitted them.';
COMMENT ON COLUMN retention.published_model.settings IS
  'Fingerprint of the settings that they were fitted under.';
COMMENT ON COLUMN retention.published_model.purchase IS 'When customers order; times in days.';
COMMENT ON COLUMN retention.published_model.spend IS 'For how much they order.';
COMMENT ON COLUMN retention.published_model.confidence IS
  'Whether predictions can be relied on; readiness gives the reasons.';
COMMENT ON COLUMN retention.published_model.is_off IS
  'Whether the last back-test, by validate_model, was off by more than a third. Then churn_risk '
  'is null.';
SELECT pg_extension_config_dump('retention.fitted_model', '');
SELECT pg_extension_config_dump('retention.fitted_model_fit_id_seq', '');
SELECT pg_extension_config_dump('retention.published_model', '');

CREATE TABLE retention.validation (
  validation_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric          text NOT NULL,
  calibration_end timestamptz NOT NULL,
  holdout_end     timestamptz NOT NULL,
  validated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  customers       bigint NOT NULL,
  purchase        retention.model NOT NULL,
  spend           retention.model NOT NULL
);
CREATE INDEX validation_metric ON retention.validation (metric, validation_id);
COMMENT ON TABLE retention.validation IS
  'One row per run of validate_model: what was held out, and the models that predicted it.';
COMMENT ON COLUMN retention.validation.validation_id IS 'Number of the run.';
COMMENT ON COLUMN retention.validation.metric IS 'Metric whose models were validated.';
COMMENT ON COLUMN retention.validation.calibration_end IS 'The models knew orders up to then.';
COMMENT ON COLUMN retention.validation.holdout_end IS
  'The predictions were compared with orders up to then.';
COMMENT ON COLUMN retention.validation.validated_at IS 'Real time of the run.';
COMMENT ON COLUMN retention.validation.customers IS 'Customers with an order by calibration_end.';
COMMENT ON COLUMN retention.validation.purchase IS 'Purchase model, fitted as of calibration_end.';
COMMENT ON COLUMN retention.validation.spend IS 'Spend model, fitted as of calibration_end.';

CREATE TABLE retention.validation_result (
  validation_id bigint NOT NULL,
  section       text NOT NULL CHECK (section IN ('total', 'frequency', 'week', 'alive', 'order',
                                                 'measure')),
  number        integer NOT NULL,
  item          text NOT NULL,
  customers     bigint NOT NULL,
  actual        double precision,
  predicted     double precision,
  naive         double precision,
  PRIMARY KEY (validation_id, section, number)
);
COMMENT ON TABLE retention.validation_result IS
  'What the runs of validate_model found; model_validation shows the latest.';
COMMENT ON COLUMN retention.validation_result.validation_id IS 'Run in retention.validation.';
COMMENT ON COLUMN retention.validation_result.section IS
  'total; frequency: orders per customer by repeat purchase days; week: orders; alive, order: '
  'share who ordered, by p_alive and by order_probability; measure: of the error per customer.';
COMMENT ON COLUMN retention.validation_result.number IS 'Place of the item in its section.';
COMMENT ON COLUMN retention.validation_result.item IS
  'What was compared: a total, repeat purchase days, the first day of a week, a range of '
  'probabilities, or a measure.';
COMMENT ON COLUMN retention.validation_result.customers IS 'How many customers the row is about.';
COMMENT ON COLUMN retention.validation_result.actual IS
  'What happened in the holdout; null for measures, and where there are no customers.';
COMMENT ON COLUMN retention.validation_result.predicted IS
  'What the models predicted; for measures, that of their predictions.';
COMMENT ON COLUMN retention.validation_result.naive IS
  'The same for the rule that everybody does what they did in the period of equal length before.';

SELECT pg_extension_config_dump('retention.validation', '');
SELECT pg_extension_config_dump('retention.validation_validation_id_seq', '');
SELECT pg_extension_config_dump('retention.validation_result', '');
