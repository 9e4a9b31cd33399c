-- The type of a scale.

CREATE TYPE retention.chart_scale AS (
  low    double precision,
  high   double precision,
  starts double precision,
  ends   double precision,
  step   double precision
);
COMMENT ON TYPE retention.chart_scale IS
  'Where values lie in a chart. Made by chart_scale and chart_steps.';
COMMENT ON COLUMN retention.chart_scale.low IS 'The value that lies at starts.';
COMMENT ON COLUMN retention.chart_scale.high IS 'The value that lies at ends.';
COMMENT ON COLUMN retention.chart_scale.starts IS
  'Place of low: per cent of the width from the left, or pixels from the top.';
COMMENT ON COLUMN retention.chart_scale.ends IS 'Place of high.';
COMMENT ON COLUMN retention.chart_scale.step IS 'From one tick to the next, as a value.';
