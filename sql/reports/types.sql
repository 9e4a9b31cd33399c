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
