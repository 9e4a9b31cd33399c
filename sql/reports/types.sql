-- The types of reports.

CREATE TYPE retention.finding AS (
  severity   text,
  what       text,
  since      timestamptz,
  how_often  bigint,
  detail     text,
  what_to_do text
);
COMMENT ON TYPE retention.finding IS 'A row of health.';

CREATE TYPE retention._past_history AS (
  x         double precision,
  t_x       double precision,
  t         double precision,
  m         double precision,
  customers double precision,
  revenue   double precision
);
COMMENT ON TYPE retention._past_history IS
  'What is known as of a moment of customers whose history is the same.';
COMMENT ON COLUMN retention._past_history.x IS 'Repeat purchase days.';
COMMENT ON COLUMN retention._past_history.t_x IS 'Days from the first purchase day to the last.';
COMMENT ON COLUMN retention._past_history.t IS 'Days from the first purchase day until then.';
COMMENT ON COLUMN retention._past_history.m IS 'Mean value of a repeat purchase day.';
COMMENT ON COLUMN retention._past_history.customers IS 'How many customers there are.';
COMMENT ON COLUMN retention._past_history.revenue IS 'Their revenue.';
