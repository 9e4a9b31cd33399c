-- Tables of the engine. Run once: an upgrade alters them.

CREATE TABLE retention.rfm_cell (
  scheme    text NOT NULL,
  r         smallint NOT NULL CHECK (r BETWEEN 1 AND 10),
  f         smallint NOT NULL CHECK (f BETWEEN 1 AND 10),
  m         smallint NOT NULL CHECK (m BETWEEN 1 AND 10),
  rfm_group text NOT NULL CHECK (rfm_group <> ''),
  builtin   boolean NOT NULL DEFAULT false,
  PRIMARY KEY (scheme, r, f, m)
);
COMMENT ON TABLE retention.rfm_cell IS 'Which group each combination of scores belongs to, by scheme. Editable; a changed cell takes effect at the next refresh.';
COMMENT ON COLUMN retention.rfm_cell.scheme IS 'Name of the scheme.';
COMMENT ON COLUMN retention.rfm_cell.r IS 'Recency score.';
COMMENT ON COLUMN retention.rfm_cell.f IS 'Frequency score.';
COMMENT ON COLUMN retention.rfm_cell.m IS 'Monetary score.';
COMMENT ON COLUMN retention.rfm_cell.rfm_group IS 'Group of this combination of scores.';
COMMENT ON COLUMN retention.rfm_cell.builtin IS 'As the extension shipped it: not part of a dump.';

INSERT INTO retention.rfm_cell (scheme, r, f, m, rfm_group, builtin)
  SELECT scheme, substr(cell, 1, 1)::smallint, substr(cell, 2, 1)::smallint, substr(cell, 3, 1)::smallint, rfm_group, true
  FROM (VALUES
    ('standard', 'Champions', '333 332 323'),
    ('standard', 'Loyal', '321 322 331 232 233'),
    ('standard', 'Recent', '311 312 313 222 223'),
    ('standard', 'Needs Attention', '213 221 123 132 133'),
    ('standard', 'At Risk', '231 212 122 131 211'),
    ('standard', 'Inactive', '111 112 113 121'),
    ('quintile', 'Champions', '555 554 544 545 454 455 445'),
    ('quintile', 'Loyal Customers', '543 444 435 355 354 345 344 335'),
    ('quintile', 'Potential Loyalists', '553 551 552 541 542 533 532 531 452 451 442 441 431 453 433 432 423 353 352 351 342 341 333 323'),
    ('quintile', 'New Customers', '512 511 422 421 412 411 311'),
    ('quintile', 'Promising', '525 524 523 522 521 515 514 513 425 424 413 414 415 315 314 313'),
    ('quintile', 'Need Attention', '535 534 443 434 343 334 325 324'),
    ('quintile', 'About To Sleep', '331 321 312 221 213 231 241 251'),
    ('quintile', 'At Risk', '255 254 245 244 253 252 243 242 235 234 225 224 153 152 145 143 142 135 134 133 125 124'),
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
COMMENT ON TABLE retention.metric IS 'What counts as an order and how customers are scored. Made by add_metric or the first add_source; every change is checked.';
COMMENT ON COLUMN retention.metric.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.metric.time_zone IS 'Zone whose calendar days count, as in pg_timezone_names.';
COMMENT ON COLUMN retention.metric.history IS 'Only orders of the last so long count; null: all.';
COMMENT ON COLUMN retention.metric.scheme IS 'Cells of retention.rfm_cell that name the groups.';
COMMENT ON COLUMN retention.metric.recency_limits IS 'Days since the last order, descending; each limit that is met adds 1 to r.';
COMMENT ON COLUMN retention.metric.frequency_percentiles IS 'Fractions of customers at which f rises, ascending.';
COMMENT ON COLUMN retention.metric.frequency_values IS 'Numbers of orders at which f rises, ascending; null: by percentiles.';
COMMENT ON COLUMN retention.metric.monetary_percentiles IS 'Fractions of customers at which m rises, ascending.';
COMMENT ON COLUMN retention.metric.monetary_values IS 'Revenues at which m rises, ascending; null: by percentiles.';
COMMENT ON COLUMN retention.metric.thresholds IS 'moving: percentiles are taken anew at each refresh; frozen: those of the last refresh stay.';
COMMENT ON COLUMN retention.metric.purchase_model IS 'auto: the likelier one of mbgnbd and paretonbd; or one of bgnbd, mbgnbd, paretonbd.';
COMMENT ON COLUMN retention.metric.prediction_window IS 'Days that predicted_clv, predicted_number_of_orders and order_probability look ahead.';
COMMENT ON COLUMN retention.metric.discount_rate IS 'How much less money is worth a year later, for predicted_clv: 0.1 is ten per cent.';
COMMENT ON COLUMN retention.metric.churn_levels IS 'Churn probabilities from which the churn risk is medium and high.';
COMMENT ON COLUMN retention.metric.refit_interval IS 'Age at which a refresh replaces the fitted models.';
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
COMMENT ON COLUMN retention.metric.country IS 'Country of national telephone numbers whose contact has none: two letters of ISO 3166; null: they stay as they are.';

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
COMMENT ON TABLE retention.source IS 'Relations that hold a metric''s orders and refunds, and which columns are what. Made by add_source.';
COMMENT ON COLUMN retention.source.source_id IS 'Number of the source.';
COMMENT ON COLUMN retention.source.metric IS 'Metric that the source belongs to.';
COMMENT ON COLUMN retention.source.relation IS 'Table or view that is read.';
COMMENT ON COLUMN retention.source.kind IS 'order or refund.';
COMMENT ON COLUMN retention.source.customer_id IS 'Column of the customer''s key.';
COMMENT ON COLUMN retention.source.ordered_at IS 'Column of the time of the order or refund.';
COMMENT ON COLUMN retention.source.amount IS 'Column of the amount.';
COMMENT ON COLUMN retention.source.order_id IS 'Column by which refunds are netted against orders, and lines joined to orders; may be null.';
COMMENT ON COLUMN retention.source.fingerprint IS 'State of the relation that the last refresh has read; null when it cannot be told.';
COMMENT ON COLUMN retention.source.events_from IS 'Orders dated from then on are recorded in order_event; null: none.';
COMMENT ON COLUMN retention.source.is_indexed IS 'Whether process_changes finds a customer''s rows by index; null before it has looked.';

CREATE TABLE retention.customer (
  metric                      text NOT NULL,
  customer_id                 text COLLATE "C" NOT NULL,
  orders                      bigint NOT NULL,
  purchase_days               integer NOT NULL,
  first_order_at              timestamptz NOT NULL,
  last_order_at               timestamptz NOT NULL,
  revenue                     numeric NOT NULL,
  repeat_value                numeric,
  average_order_value         numeric NOT NULL,
  average_days_between_orders double precision,
  days_between_orders_sd      double precision,
  r                           smallint NOT NULL,
  f                           smallint NOT NULL,
  m                           smallint NOT NULL,
  rfm_group                   text NOT NULL,
  previous_rfm_group          text,
  rfm_group_changed_at        timestamptz NOT NULL,
  last_order_known_at         timestamptz,
  PRIMARY KEY (customer_id, metric)
) WITH (fillfactor = 50);
CREATE INDEX customer_last_order_at ON retention.customer (last_order_at);
COMMENT ON TABLE retention.customer IS 'Everybody with an order, per metric: what happened, and the scores and group as of the last refresh, or of the last order that process_changes has found since. Written by these only.';
COMMENT ON COLUMN retention.customer.metric IS 'Metric by which the orders are counted.';
COMMENT ON COLUMN retention.customer.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.customer.orders IS 'Orders with a net amount above zero.';
COMMENT ON COLUMN retention.customer.purchase_days IS 'Distinct days with an order, in the metric''s time zone.';
COMMENT ON COLUMN retention.customer.first_order_at IS 'Time of the first order.';
COMMENT ON COLUMN retention.customer.last_order_at IS 'Time of the last order.';
COMMENT ON COLUMN retention.customer.revenue IS 'Exact sum of all amounts less refunds.';
COMMENT ON COLUMN retention.customer.repeat_value IS 'Mean order value of a purchase day after the first; null when there is none.';
COMMENT ON COLUMN retention.customer.average_order_value IS 'revenue / orders.';
COMMENT ON COLUMN retention.customer.average_days_between_orders IS 'Mean days between purchase days; null for fewer than 2.';
COMMENT ON COLUMN retention.customer.days_between_orders_sd IS 'Sample standard deviation of the days between purchase days; null for fewer than 3.';
COMMENT ON COLUMN retention.customer.r IS 'Recency score, 1 for the longest absence.';
COMMENT ON COLUMN retention.customer.f IS 'Frequency score, 1 for the fewest orders.';
COMMENT ON COLUMN retention.customer.m IS 'Monetary score, 1 for the least revenue.';
COMMENT ON COLUMN retention.customer.rfm_group IS 'Group of the scores in the metric''s scheme.';
COMMENT ON COLUMN retention.customer.previous_rfm_group IS 'Group before the last change; null when there was none.';
COMMENT ON COLUMN retention.customer.rfm_group_changed_at IS 'Clock of the refresh that put the customer in this group.';
COMMENT ON COLUMN retention.customer.last_order_known_at IS
  'Clock of the refresh, or process_changes, that found the last order; null: the first refresh.';

CREATE TABLE retention.rfm_change (
  change_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric             text NOT NULL,
  customer_id        text COLLATE "C" NOT NULL,
  changed_at         timestamptz NOT NULL,
  cause              text NOT NULL CHECK (cause IN ('order', 'time', 'threshold', 'refund', 'settings')),
  previous_rfm_group text,
  rfm_group          text,
  previous_r         smallint,
  previous_f         smallint,
  previous_m         smallint,
  r                  smallint,
  f                  smallint,
  m                  smallint
);
CREATE INDEX rfm_change_customer ON retention.rfm_change (customer_id, changed_at);
CREATE INDEX rfm_change_changed_at ON retention.rfm_change (changed_at);
COMMENT ON TABLE retention.rfm_change IS 'Every move of a customer between groups, with its cause. The first refresh of a metric is the baseline and writes none.';
COMMENT ON COLUMN retention.rfm_change.change_id IS 'Number of the move, ascending within a customer.';
COMMENT ON COLUMN retention.rfm_change.metric IS 'Metric that the customer is scored by.';
COMMENT ON COLUMN retention.rfm_change.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.rfm_change.changed_at IS 'Clock of the refresh that found the move.';
COMMENT ON COLUMN retention.rfm_change.cause IS 'order, refund: the customer''s orders changed; time: days passed; threshold: the bounds moved, without which the group would be the same; settings: the metric was changed.';
COMMENT ON COLUMN retention.rfm_change.previous_rfm_group IS 'Null for a new customer.';
COMMENT ON COLUMN retention.rfm_change.rfm_group IS 'Null for a customer who has no order any more.';
COMMENT ON COLUMN retention.rfm_change.previous_r IS 'Recency score before the move.';
COMMENT ON COLUMN retention.rfm_change.previous_f IS 'Frequency score before the move.';
COMMENT ON COLUMN retention.rfm_change.previous_m IS 'Monetary score before the move.';
COMMENT ON COLUMN retention.rfm_change.r IS 'Recency score after the move.';
COMMENT ON COLUMN retention.rfm_change.f IS 'Frequency score after the move.';
COMMENT ON COLUMN retention.rfm_change.m IS 'Monetary score after the move.';

CREATE TABLE retention.population (
  refresh_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric           text NOT NULL,
  as_of            timestamptz NOT NULL,
  backfilled       boolean NOT NULL DEFAULT false,
  customers        bigint NOT NULL,
  orders           bigint NOT NULL,
  recency_limits   double precision[] NOT NULL,
  frequency_bounds double precision[] NOT NULL,
  monetary_bounds  double precision[] NOT NULL,
  group_sizes      jsonb NOT NULL,
  first_order_at   timestamptz,
  next_order_at    timestamptz,
  last_order_at    timestamptz,
  most_orders      bigint NOT NULL,
  settings         text NOT NULL,
  stale            boolean NOT NULL DEFAULT false
);
CREATE INDEX population_metric ON retention.population (metric, refresh_id);
COMMENT ON TABLE retention.population IS 'One row per refresh: the thresholds that it published, and how many customers each group had.';
COMMENT ON COLUMN retention.population.refresh_id IS 'Number of the refresh, as in refresh_log.';
COMMENT ON COLUMN retention.population.metric IS 'Metric that was refreshed.';
COMMENT ON COLUMN retention.population.customers IS 'Customers with an order.';
COMMENT ON COLUMN retention.population.orders IS 'Orders that counted.';
COMMENT ON COLUMN retention.population.recency_limits IS 'Days up to which r is 2, 3, ...';
COMMENT ON COLUMN retention.population.as_of IS 'Clock of the refresh.';
COMMENT ON COLUMN retention.population.backfilled IS 'Written by backfill_history, not by a refresh of that time.';
COMMENT ON COLUMN retention.population.frequency_bounds IS 'Orders needed for f of 2, 3, ...; null: nobody is above that percentile.';
COMMENT ON COLUMN retention.population.monetary_bounds IS 'Revenue needed for m of 2, 3, ...; null: nobody is above that percentile.';
COMMENT ON COLUMN retention.population.group_sizes IS 'Customers per group.';
COMMENT ON COLUMN retention.population.first_order_at IS 'First order or refund that counted.';
COMMENT ON COLUMN retention.population.next_order_at IS 'First order or refund dated after as_of; null when there is none.';
COMMENT ON COLUMN retention.population.last_order_at IS 'Last order that counted.';
COMMENT ON COLUMN retention.population.most_orders IS 'Orders of the most frequent customer.';
COMMENT ON COLUMN retention.population.settings IS 'Fingerprint of the metric''s settings, sources and groups.';
COMMENT ON COLUMN retention.population.stale IS 'Changes since then were left to the next refresh, which has to read everything.';

CREATE TABLE retention.refresh_log (
  refresh_id               bigint PRIMARY KEY,
  metric                   text NOT NULL,
  as_of                    timestamptz NOT NULL,
  path                     text NOT NULL CHECK (path IN ('rebuild', 'clock')),
  started_at               timestamptz NOT NULL,
  read_duration            interval NOT NULL,
  write_duration           interval NOT NULL,
  rows_read                bigint NOT NULL,
  without_customer         bigint NOT NULL,
  without_time             bigint NOT NULL,
  without_amount           bigint NOT NULL,
  after_as_of              bigint NOT NULL,
  before_history           bigint NOT NULL,
  refund_rows              bigint NOT NULL,
  customers_without_orders bigint NOT NULL,
  inserted                 bigint NOT NULL,
  updated                  bigint NOT NULL,
  deleted                  bigint NOT NULL,
  transitions              bigint NOT NULL,
  unreadable               bigint NOT NULL,
  unreadable_rows          jsonb NOT NULL,
  unreadable_since         jsonb NOT NULL DEFAULT '[]',
  unmatched_refunds        bigint NOT NULL,
  unmatched_refund         text
);
COMMENT ON TABLE retention.refresh_log IS 'One row per refresh: what was read, what was skipped and why, what was written, how long it took.';
COMMENT ON COLUMN retention.refresh_log.refresh_id IS 'Number of the refresh, as in population.';
COMMENT ON COLUMN retention.refresh_log.metric IS 'Metric that was refreshed.';
COMMENT ON COLUMN retention.refresh_log.as_of IS 'Clock of the refresh.';
COMMENT ON COLUMN retention.refresh_log.started_at IS 'Real time at which it started.';
COMMENT ON COLUMN retention.refresh_log.read_duration IS 'Time to read the sources and to find the thresholds.';
COMMENT ON COLUMN retention.refresh_log.write_duration IS 'Time to write the customers and their moves.';
COMMENT ON COLUMN retention.refresh_log.path IS 'rebuild: the sources were read; clock: nothing had changed but the time.';
COMMENT ON COLUMN retention.refresh_log.rows_read IS 'Rows of all sources.';
COMMENT ON COLUMN retention.refresh_log.without_customer IS
  'Rows skipped because the customer is null, or the key empty or blank.';
COMMENT ON COLUMN retention.refresh_log.without_time IS 'Rows skipped because the time is null.';
COMMENT ON COLUMN retention.refresh_log.without_amount IS 'Rows skipped because the amount is null.';
COMMENT ON COLUMN retention.refresh_log.after_as_of IS 'Rows skipped because they are dated after the refresh''s clock.';
COMMENT ON COLUMN retention.refresh_log.before_history IS 'Rows skipped because they are older than the metric''s history.';
COMMENT ON COLUMN retention.refresh_log.refund_rows IS 'Rows of refund sources that counted.';
COMMENT ON COLUMN retention.refresh_log.customers_without_orders IS 'Customers whose rows add up to no order, such as those with refunds only.';
COMMENT ON COLUMN retention.refresh_log.inserted IS 'Customers added.';
COMMENT ON COLUMN retention.refresh_log.updated IS 'Customers whose facts, scores or group changed.';
COMMENT ON COLUMN retention.refresh_log.deleted IS 'Customers removed, having no order any more.';
COMMENT ON COLUMN retention.refresh_log.transitions IS 'Moves between groups written to rfm_change.';
COMMENT ON COLUMN retention.refresh_log.unreadable IS 'Rows left out because they cannot be read.';
COMMENT ON COLUMN retention.refresh_log.unreadable_rows IS
  'The same by source and reason, each with an example: an array of objects with the columns of '
  'unreadable_row.';
COMMENT ON COLUMN retention.refresh_log.unreadable_since IS
  'What process_changes has met since, likewise; a row is counted each time that its customer is '
  'read.';
COMMENT ON COLUMN retention.refresh_log.unmatched_refunds IS
  'Refunds, and negative rows, whose order id no order of their customer has: they reduce revenue '
  'only. Orders before the history or after the clock are none.';
COMMENT ON COLUMN retention.refresh_log.unmatched_refund IS
  'Such an order id, as an example; null: there is none.';

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
COMMENT ON COLUMN retention.fitted_model.purpose IS 'purchase: when customers order; spend: for how much.';
COMMENT ON COLUMN retention.fitted_model.model IS 'The model, with its parameters and how the fit went.';
COMMENT ON COLUMN retention.fitted_model.chosen IS 'Whether predictions were made by it: of several purchase models, the likeliest one.';
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
COMMENT ON TABLE retention.published_model IS 'The models that a metric''s predictions are made by, one row a metric. Written by refresh only.';
COMMENT ON COLUMN retention.published_model.metric IS 'Name of the metric.';
COMMENT ON COLUMN retention.published_model.as_of IS 'Clock of the refresh that fitted them.';
COMMENT ON COLUMN retention.published_model.settings IS 'Fingerprint of the settings that they were fitted under.';
COMMENT ON COLUMN retention.published_model.purchase IS 'When customers order; times in days.';
COMMENT ON COLUMN retention.published_model.spend IS 'For how much they order.';
COMMENT ON COLUMN retention.published_model.confidence IS 'Whether predictions can be relied on; readiness gives the reasons.';
COMMENT ON COLUMN retention.published_model.is_off IS
  'Whether the last back-test, by validate_model, was off by more than a third. Then churn_risk is null.';

-- What pg_dump saves besides CREATE EXTENSION.
SELECT pg_extension_config_dump('retention.rfm_cell', 'WHERE NOT builtin');
SELECT pg_extension_config_dump('retention.metric', '');
SELECT pg_extension_config_dump('retention.source', '');
SELECT pg_extension_config_dump('retention.source_source_id_seq', '');
SELECT pg_extension_config_dump('retention.customer', '');
SELECT pg_extension_config_dump('retention.rfm_change', '');
SELECT pg_extension_config_dump('retention.rfm_change_change_id_seq', '');
SELECT pg_extension_config_dump('retention.population', '');
SELECT pg_extension_config_dump('retention.population_refresh_id_seq', '');
SELECT pg_extension_config_dump('retention.refresh_log', '');
SELECT pg_extension_config_dump('retention.fitted_model', '');
SELECT pg_extension_config_dump('retention.fitted_model_fit_id_seq', '');
SELECT pg_extension_config_dump('retention.published_model', '');
