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

CREATE TYPE retention.past_history AS (
  x         double precision,
  t_x       double precision,
  t         double precision,
  m         double precision,
  customers double precision,
  revenue   double precision
);
COMMENT ON TYPE retention.past_history IS
  'What is known as of a moment of customers whose history is the same: repeat purchase days, days '
  'from the first to the last and until then, the mean value of a repeat purchase day; how many '
  'they are, and their revenue.';
