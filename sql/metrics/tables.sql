-- Metrics, their sources and scoring schemes.

CREATE TABLE retention.rfm_cell (
  scheme    text NOT NULL,
  r         smallint NOT NULL CHECK (r BETWEEN 1 AND 10),
  f         smallint NOT NULL CHECK (f BETWEEN 1 AND 10),
  m         smallint NOT NULL CHECK (m BETWEEN 1 AND 10),
  rfm_group text NOT NULL CHECK (rfm_group <> ''),
  builtin   boolean NOT NULL DEFAULT false,
  PRIMARY KEY (scheme, r, f, m)
);
COMMENT ON TABLE retention.rfm_cell IS
  'Which group each combination of scores belongs to, by scheme. Editable; a changed cell takes '
  'effect at the next refresh.';
COMMENT ON COLUMN retention.rfm_cell.scheme IS 'Name of the scheme.';
COMMENT ON COLUMN retention.rfm_cell.r IS 'Recency score.';
COMMENT ON COLUMN retention.rfm_cell.f IS 'Frequency score.';
COMMENT ON COLUMN retention.rfm_cell.m IS 'Monetary score.';
COMMENT ON COLUMN retention.rfm_cell.rfm_group IS 'Group of this combination of scores.';
COMMENT ON COLUMN retention.rfm_cell.builtin IS 'As the extension shipped it: not part of a dump.';

INSERT INTO retention.rfm_cell (scheme, r, f, m, rfm_group, builtin)
  SELECT scheme, substr(cell, 1, 1)::smallint, substr(cell, 2, 1)::smallint,
         substr(cell, 3, 1)::smallint, rfm_group, true
  FROM (VALUES
    ('standard', 'Champions', '333 332 323'),
    ('standard', 'Loyal', '321 322 331 232 233'),
    ('standard', 'Recent', '311 312 313 222 223'),
    ('standard', 'Needs Attention', '213 221 123 132 133'),
    ('standard', 'At Risk', '231 212 122 131 211'),
    ('standard', 'Inactive', '111 112 113 121'),
    ('quintile', 'Champions', '555 554 544 545 454 455 445'),
    ('quintile', 'Loyal Customers', '543 444 435 355 354 345 344 335'),
    ('quintile', 'Potential Loyalists',
     '553 551 552 541 542 533 532 531 452 451 442 441 431 453 433 432 423 353 352 351 342 341 333 '
     '323'),
    ('quintile', 'New Customers', '512 511 422 421 412 411 311'),
    ('quintile', 'Promising', '525 524 523 522 521 515 514 513 425 424 413 414 415 315 314 313'),
    ('quintile', 'Need Attention', '535 534 443 434 343 334 325 324'),
    ('quintile', 'About To Sleep', '331 321 312 221 213 231 241 251'),
    ('quintile', 'At Risk',
     '255 254 245 244 253 252 243 242 235 234 225 224 153 152 145 143 142 135 134 133 125 124'),
    ('quintile', 'Can''t Lose Them', '155 154 144 214 215 115 114 113'),
    ('quintile', 'Hibernating', '332 322 233 232 223 222 132 123 122 212 211'),
    ('quintile', 'Lost', '111 112 121 131 141 151')
  ) AS grouped (scheme, rfm_group, cells), unnest(string_to_array(cells, ' ')) AS cell;

CREATE TABLE retention.metric (
  metric                text PRIMARY KEY CHECK (metric <> ''),
  time_zone             text NOT NULL,
  history               interval,
  scheme                text NOT NULL,
  recency_limits        double precision[] NOT NULL,
  frequency_percentiles double precision[] NOT NULL,
  frequency_values      double precision[],
  monetary_percentiles  double precision[] NOT NULL,
  monetary_values       double precision[],
  thresholds            text NOT NULL,
  purchase_model        text NOT NULL,
  prediction_window     integer NOT NULL,
  discount_rate         double precision NOT NULL,
  churn_levels          double precision[] NOT NULL,
  refit_interval        interval NOT NULL,
  loss_limit            double precision NOT NULL,
  country               text
);
COMMENT ON TABLE retention.metric IS
  'What counts as an order and how customers are scored. Made by add_metric or the first '
  'add_source; every change is checked.';
COMMENT ON COLUMN retention.metric.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.metric.time_zone IS
  'Zone whose calendar days count, as in pg_timezone_names.';
COMMENT ON COLUMN retention.metric.history IS 'Only orders of the last so long count; null: all.';
COMMENT ON COLUMN retention.metric.scheme IS 'Cells of retention.rfm_cell that name the groups.';
COMMENT ON COLUMN retention.metric.recency_limits IS
  'Days since the last order, descending; each limit that is met adds 1 to r.';
COMMENT ON COLUMN retention.metric.frequency_percentiles IS
  'Fractions of customers at which f rises, ascending.';
COMMENT ON COLUMN retention.metric.frequency_values IS
  'Numbers of orders at which f rises, ascending; null: by percentiles.';
COMMENT ON COLUMN retention.metric.monetary_percentiles IS
  'Fractions of customers at which m rises, ascending.';
COMMENT ON COLUMN retention.metric.monetary_values IS
  'Revenues at which m rises, ascending; null: by percentiles.';
COMMENT ON COLUMN retention.metric.thresholds IS
  'moving: percentiles are taken anew at each refresh; frozen: those of the last refresh stay.';
COMMENT ON COLUMN retention.metric.purchase_model IS
  'auto: the likelier one of mbgnbd and paretonbd; or one of bgnbd, mbgnbd, paretonbd.';
COMMENT ON COLUMN retention.metric.prediction_window IS
  'Days that predicted_clv, predicted_number_of_orders and order_probability look ahead.';
COMMENT ON COLUMN retention.metric.discount_rate IS
  'How much less money is worth a year later, for predicted_clv: 0.1 is ten per cent.';
COMMENT ON COLUMN retention.metric.churn_levels IS
  'Churn probabilities from which the churn risk is medium and high.';
COMMENT ON COLUMN retention.metric.refit_interval IS
  'Age at which a refresh replaces the fitted models.';
COMMENT ON COLUMN retention.metric.loss_limit IS
  'Share of the customers that one refresh or process_changes may remove; more is an error, '
  'unless allow_loss is true. 1: all.';

CREATE TABLE retention.metric_turn (
  metric text PRIMARY KEY,
  turn   bigint NOT NULL
);
COMMENT ON TABLE retention.metric_turn IS
  'How often each metric''s customers were written. Who writes them updates this row first, so '
  'that PostgreSQL stops whoever does not see what the one before has written. Stays when a '
  'metric is dropped.';
COMMENT ON COLUMN retention.metric_turn.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.metric_turn.turn IS 'Number of the latest turn.';
COMMENT ON COLUMN retention.metric.country IS
  'Country of national telephone numbers whose contact has none: two letters of ISO 3166; null: '
  'they stay as they are.';

CREATE TABLE retention.source (
  source_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- No foreign key: a parallel restore loads the extension's tables in any order.
  metric      text NOT NULL,
  relation    regclass NOT NULL,
  kind        text NOT NULL,
  customer_id name NOT NULL,
  ordered_at  name NOT NULL,
  amount      name NOT NULL,
  order_id    name,
  fingerprint text,
  events_from timestamptz,
  is_indexed  boolean,
  UNIQUE (metric, relation, kind)
);
COMMENT ON TABLE retention.source IS
  'Relations that hold a metric''s orders and refunds, and which columns are what. Made by '
  'add_source.';
COMMENT ON COLUMN retention.source.source_id IS 'Number of the source.';
COMMENT ON COLUMN retention.source.metric IS 'Metric that the source belongs to.';
COMMENT ON COLUMN retention.source.relation IS 'Table or view that is read.';
COMMENT ON COLUMN retention.source.kind IS 'order or refund.';
COMMENT ON COLUMN retention.source.customer_id IS 'Column of the customer''s key.';
COMMENT ON COLUMN retention.source.ordered_at IS 'Column of the time of the order or refund.';
COMMENT ON COLUMN retention.source.amount IS 'Column of the amount.';
COMMENT ON COLUMN retention.source.order_id IS
  'Column by which refunds are netted against orders, and lines joined to orders; may be null.';
COMMENT ON COLUMN retention.source.fingerprint IS
  'State of the relation that the last refresh has read; null when it cannot be told.';
COMMENT ON COLUMN retention.source.events_from IS
  'Orders dated from then on are recorded in order_event; null: none.';
COMMENT ON COLUMN retention.source.is_indexed IS
  'Whether process_changes finds a customer''s rows by index; null before it has looked.';

-- What pg_dump saves besides CREATE EXTENSION.
SELECT pg_extension_config_dump('retention.rfm_cell', 'WHERE NOT builtin');
SELECT pg_extension_config_dump('retention.metric', '');
SELECT pg_extension_config_dump('retention.source', '');
SELECT pg_extension_config_dump('retention.source_source_id_seq', '');

-- Written by C code, which knows its columns; without an index, so that writers only append.
-- Replicas know a row by all of it, which costs writers nothing: only what process_changes deletes
-- is written to the write-ahead log in full.
CREATE TABLE retention.change_log (
  relation     regclass,
  customer_ids text[],
  changed_at   timestamptz NOT NULL,
  due_at       timestamptz,
  order_ids    text[],
  via_id       integer
) WITH (toast_tuple_target = 8160);
COMMENT ON TABLE retention.change_log IS
  'Customers whose rows in tracked tables have changed since the last process_changes. Written by '
  'the triggers of track.';
COMMENT ON COLUMN retention.change_log.relation IS
  'Table that changed; null where process_changes has put customers back whom it could not '
  'process, or not yet.';
COMMENT ON COLUMN retention.change_log.customer_ids IS
  'Keys of the customers, each once; null, and no order_ids: anything may have changed.';
COMMENT ON COLUMN retention.change_log.changed_at IS 'Time of the transaction that changed them.';
COMMENT ON COLUMN retention.change_log.due_at IS
  'Engine''s time from which on they are to be processed, that of an order dated ahead of the '
  'clock; null: at once.';
COMMENT ON COLUMN retention.change_log.order_ids IS
  'Ids of orders, of a table that only knows its order; process_changes looks up whose they are.';
COMMENT ON COLUMN retention.change_log.via_id IS
  'Where these orders are looked up: a number of tracked_via.';
ALTER TABLE retention.change_log ALTER customer_ids SET STORAGE MAIN,
  ALTER order_ids SET STORAGE MAIN, REPLICA IDENTITY FULL;

SELECT pg_extension_config_dump('retention.change_log', '');

CREATE TABLE retention.metric_error (
  metric     text PRIMARY KEY,
  error      text NOT NULL,
  error_code text NOT NULL,
  error_at   timestamptz NOT NULL,
  failures   integer NOT NULL DEFAULT 1
);
COMMENT ON TABLE retention.metric_error IS
  'Why the changes of a metric''s customers could not be processed the last time, or the metric '
  'not be read; no row: they were.';
COMMENT ON COLUMN retention.metric_error.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.metric_error.error IS 'What went wrong.';
COMMENT ON COLUMN retention.metric_error.error_code IS 'SQLSTATE of that error.';
COMMENT ON COLUMN retention.metric_error.error_at IS 'Engine''s time of that error.';
COMMENT ON COLUMN retention.metric_error.failures IS
  'How often in a row; what failed is tried again after a minute, then two, four, up to an hour.';

CREATE TABLE retention.tracked_via (
  via_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  relation regclass NOT NULL UNIQUE
);
COMMENT ON TABLE retention.tracked_via IS
  'Relations of orders through which tables are tracked that only know their order.';
COMMENT ON COLUMN retention.tracked_via.via_id IS 'Number, as the triggers and change_log have it.';
COMMENT ON COLUMN retention.tracked_via.relation IS 'The relation, a source of orders.';

SELECT pg_extension_config_dump('retention.tracked_via', '');
SELECT pg_extension_config_dump('retention.tracked_via_via_id_seq', '');
