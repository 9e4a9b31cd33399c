-- Customers, their changes of group, refreshes, and the log of changed rows.

-- Internal: what a refresh passes from step to step.
CREATE TYPE retention.collection_report AS (
  rows_read                bigint,
  without_customer         bigint,
  without_time             bigint,
  without_amount           bigint,
  after_as_of              bigint,
  before_history           bigint,
  refund_rows              bigint,
  orders                   bigint,
  customers                bigint,
  customers_without_orders bigint,
  first_order_at           timestamptz,
  next_order_at            timestamptz,
  frequency_bounds         double precision[],
  monetary_bounds          double precision[],
  group_sizes              jsonb,
  last_order_at            timestamptz,
  most_orders              bigint,
  unreadable               jsonb,
  unmatched_refunds        bigint,
  unmatched_refund         text
);
COMMENT ON TYPE retention.collection_report IS
  'What a refresh read, skipped and found; see the columns of population.';

CREATE TYPE retention.write_report AS (
  inserted     bigint,
  updated      bigint,
  deleted      bigint,
  transitions  bigint,
  group_deltas jsonb,
  with_events  text[]
);
COMMENT ON TYPE retention.write_report IS
  'What a refresh wrote; see the columns of population. with_events: who of those that changed '
  'have order events.';

CREATE TYPE retention.customer_change AS (
  customer_id                 text,
  orders                      bigint,
  purchase_days               integer,
  first_order_at              timestamptz,
  last_order_at               timestamptz,
  revenue                     numeric,
  repeat_value                numeric,
  average_order_value         numeric,
  average_days_between_orders double precision,
  days_between_orders_sd      double precision,
  r                           smallint,
  f                           smallint,
  m                           smallint,
  rfm_group                   text,
  previous_r                  smallint,
  previous_f                  smallint,
  previous_m                  smallint,
  previous_rfm_group          text,
  cause                       text
);
COMMENT ON TYPE retention.customer_change IS
  'A customer who differs from what retention.customer has: the new facts and scores, the '
  'previous scores, and why they differ. orders is 0 for one to be removed.';

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
COMMENT ON TABLE retention.customer IS
  'Everybody with an order, per metric: what happened, and the scores and group as of the last '
  'refresh, or of the last order that process_changes has found since. Written by these only.';
COMMENT ON COLUMN retention.customer.metric IS 'Metric by which the orders are counted.';
COMMENT ON COLUMN retention.customer.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.customer.orders IS 'Orders with a net amount above zero.';
COMMENT ON COLUMN retention.customer.purchase_days IS
  'Distinct days with an order, in the metric''s time zone.';
COMMENT ON COLUMN retention.customer.first_order_at IS 'Time of the first order.';
COMMENT ON COLUMN retention.customer.last_order_at IS 'Time of the last order.';
COMMENT ON COLUMN retention.customer.revenue IS 'Exact sum of all amounts less refunds.';
COMMENT ON COLUMN retention.customer.repeat_value IS
  'Mean order value of a purchase day after the first; null when there is none.';
COMMENT ON COLUMN retention.customer.average_order_value IS 'revenue / orders.';
COMMENT ON COLUMN retention.customer.average_days_between_orders IS
  'Mean days between purchase days; null for fewer than 2.';
COMMENT ON COLUMN retention.customer.days_between_orders_sd IS
  'Sample standard deviation of the days between purchase days; null for fewer than 3.';
COMMENT ON COLUMN retention.customer.r IS 'Recency score, 1 for the longest absence.';
COMMENT ON COLUMN retention.customer.f IS 'Frequency score, 1 for the fewest orders.';
COMMENT ON COLUMN retention.customer.m IS 'Monetary score, 1 for the least revenue.';
COMMENT ON COLUMN retention.customer.rfm_group IS 'Group of the scores in the metric''s scheme.';
COMMENT ON COLUMN retention.customer.previous_rfm_group IS
  'Group before the last change; null when there was none.';
COMMENT ON COLUMN retention.customer.rfm_group_changed_at IS
  'Clock of the refresh that put the customer in this group.';
COMMENT ON COLUMN retention.customer.last_order_known_at IS
  'Clock of the refresh, or process_changes, that found the last order; null: the first refresh.';

CREATE TABLE retention.rfm_change (
  change_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric             text NOT NULL,
  customer_id        text COLLATE "C" NOT NULL,
  changed_at         timestamptz NOT NULL,
  cause              text NOT NULL CHECK (cause IN ('order', 'time', 'threshold', 'refund',
                                                    'settings')),
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
COMMENT ON TABLE retention.rfm_change IS
  'Every move of a customer between groups, with its cause. The first refresh of a metric is the '
  'baseline and writes none.';
COMMENT ON COLUMN retention.rfm_change.change_id IS
  'Number of the move, ascending within a customer.';
COMMENT ON COLUMN retention.rfm_change.metric IS 'Metric that the customer is scored by.';
COMMENT ON COLUMN retention.rfm_change.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.rfm_change.changed_at IS 'Clock of the refresh that found the move.';
COMMENT ON COLUMN retention.rfm_change.cause IS
  'order, refund: the customer''s orders changed; time: days passed; threshold: the bounds moved, '
  'without which the group would be the same; settings: the metric was changed.';
COMMENT ON COLUMN retention.rfm_change.previous_rfm_group IS 'Null for a new customer.';
COMMENT ON COLUMN retention.rfm_change.rfm_group IS
  'Null for a customer who has no order any more.';
COMMENT ON COLUMN retention.rfm_change.previous_r IS 'Recency score before the move.';
COMMENT ON COLUMN retention.rfm_change.previous_f IS 'Frequency score before the move.';
COMMENT ON COLUMN retention.rfm_change.previous_m IS 'Monetary score before the move.';
COMMENT ON COLUMN retention.rfm_change.r IS 'Recency score after the move.';
COMMENT ON COLUMN retention.rfm_change.f IS 'Frequency score after the move.';
COMMENT ON COLUMN retention.rfm_change.m IS 'Monetary score after the move.';

CREATE TABLE retention.population (
  refresh_id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric                   text NOT NULL,
  as_of                    timestamptz NOT NULL,
  backfilled               boolean NOT NULL DEFAULT false,
  customers                bigint NOT NULL,
  orders                   bigint NOT NULL,
  recency_limits           double precision[] NOT NULL,
  frequency_bounds         double precision[] NOT NULL,
  monetary_bounds          double precision[] NOT NULL,
  group_sizes              jsonb NOT NULL,
  first_order_at           timestamptz,
  next_order_at            timestamptz,
  last_order_at            timestamptz,
  most_orders              bigint NOT NULL,
  settings                 text NOT NULL,
  stale                    boolean NOT NULL DEFAULT false,
  applied                  jsonb NOT NULL DEFAULT '{}',
  path                     text CHECK (path IN ('rebuild', 'clock')),
  started_at               timestamptz,
  read_duration            interval,
  write_duration           interval,
  rows_read                bigint,
  without_customer         bigint,
  without_time             bigint,
  without_amount           bigint,
  after_as_of              bigint,
  before_history           bigint,
  refund_rows              bigint,
  customers_without_orders bigint,
  inserted                 bigint,
  updated                  bigint,
  deleted                  bigint,
  transitions              bigint,
  unreadable               bigint,
  unreadable_rows          jsonb,
  unreadable_since         jsonb,
  unmatched_refunds        bigint,
  unmatched_refund         text
);
CREATE INDEX population_metric ON retention.population (metric, refresh_id);
COMMENT ON TABLE retention.population IS
  'One row per refresh: the thresholds that it published, how many customers each group had; and, '
  'but of those that were backfilled, what was read, what was skipped and why, what was written, '
  'how long it took.';
COMMENT ON COLUMN retention.population.refresh_id IS 'Number of the refresh.';
COMMENT ON COLUMN retention.population.metric IS 'Metric that was refreshed.';
COMMENT ON COLUMN retention.population.customers IS 'Customers with an order.';
COMMENT ON COLUMN retention.population.orders IS 'Orders that counted.';
COMMENT ON COLUMN retention.population.recency_limits IS 'Days up to which r is 2, 3, ...';
COMMENT ON COLUMN retention.population.as_of IS 'Clock of the refresh.';
COMMENT ON COLUMN retention.population.backfilled IS
  'Written by backfill_history, not by a refresh of that time.';
COMMENT ON COLUMN retention.population.frequency_bounds IS
  'Orders needed for f of 2, 3, ...; null: nobody is above that percentile.';
COMMENT ON COLUMN retention.population.monetary_bounds IS
  'Revenue needed for m of 2, 3, ...; null: nobody is above that percentile.';
COMMENT ON COLUMN retention.population.group_sizes IS 'Customers per group.';
COMMENT ON COLUMN retention.population.first_order_at IS 'First order or refund that counted.';
COMMENT ON COLUMN retention.population.next_order_at IS
  'First order or refund dated after as_of; null when there is none.';
COMMENT ON COLUMN retention.population.last_order_at IS 'Last order that counted.';
COMMENT ON COLUMN retention.population.most_orders IS 'Orders of the most frequent customer.';
COMMENT ON COLUMN retention.population.settings IS
  'Fingerprint of the metric''s settings, sources and groups.';
COMMENT ON COLUMN retention.population.stale IS
  'Changes since then were left to the next refresh, which has to read everything.';
COMMENT ON COLUMN retention.population.applied IS
  'The metric''s settings that it went by: changes of orders go by them until the next refresh.';
COMMENT ON COLUMN retention.population.started_at IS 'Real time at which it started.';
COMMENT ON COLUMN retention.population.read_duration IS
  'Time to read the sources and to find the thresholds.';
COMMENT ON COLUMN retention.population.write_duration IS
  'Time to write the customers and their moves.';
COMMENT ON COLUMN retention.population.path IS
  'rebuild: the sources were read; clock: nothing had changed but the time.';
COMMENT ON COLUMN retention.population.rows_read IS 'Rows of all sources.';
COMMENT ON COLUMN retention.population.without_customer IS
  'Rows skipped because the customer is null, or the key empty or blank.';
COMMENT ON COLUMN retention.population.without_time IS 'Rows skipped because the time is null.';
COMMENT ON COLUMN retention.population.without_amount IS
  'Rows skipped because the amount is null.';
COMMENT ON COLUMN retention.population.after_as_of IS
  'Rows skipped because they are dated after the refresh''s clock.';
COMMENT ON COLUMN retention.population.before_history IS
  'Rows skipped because they are older than the metric''s history.';
COMMENT ON COLUMN retention.population.refund_rows IS 'Rows of refund sources that counted.';
COMMENT ON COLUMN retention.population.customers_without_orders IS
  'Customers whose rows add up to no order, such as those with refunds only.';
COMMENT ON COLUMN retention.population.inserted IS 'Customers added.';
COMMENT ON COLUMN retention.population.updated IS
  'Customers whose facts, scores or group changed.';
COMMENT ON COLUMN retention.population.deleted IS 'Customers removed, having no order any more.';
COMMENT ON COLUMN retention.population.transitions IS
  'Moves between groups written to rfm_change.';
COMMENT ON COLUMN retention.population.unreadable IS 'Rows left out because they cannot be read.';
COMMENT ON COLUMN retention.population.unreadable_rows IS
  'The same by source and reason, each with an example: an array of objects with the columns of '
  'unreadable_row.';
COMMENT ON COLUMN retention.population.unreadable_since IS
  'What process_changes has met since, likewise; a row is counted each time that its customer is '
  'read.';
COMMENT ON COLUMN retention.population.unmatched_refunds IS
  'Refunds, and negative rows, whose order id no order of their customer has: they reduce revenue '
  'only. Orders before the history or after the clock are none.';
COMMENT ON COLUMN retention.population.unmatched_refund IS
  'Such an order id, as an example; null: there is none.';


SELECT pg_extension_config_dump('retention.customer', '');
SELECT pg_extension_config_dump('retention.rfm_change', '');
SELECT pg_extension_config_dump('retention.rfm_change_change_id_seq', '');
SELECT pg_extension_config_dump('retention.population', '');
SELECT pg_extension_config_dump('retention.population_refresh_id_seq', '');

CREATE TABLE retention.order_event (
  event_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric      text NOT NULL,
  source_id   integer NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('order', 'refund')),
  customer_id text COLLATE "C" NOT NULL,
  order_id    text COLLATE "C" NOT NULL,
  occurred_at timestamptz NOT NULL,
  amount      numeric NOT NULL,
  recorded_at timestamptz NOT NULL,
  number      bigint,
  ordered_at  timestamptz,
  net_amount  numeric
);
CREATE INDEX order_event_customer ON retention.order_event (customer_id, order_id);
CREATE INDEX order_event_order ON retention.order_event (order_id, source_id);
CREATE INDEX order_event_occurred_at ON retention.order_event USING brin (occurred_at);
COMMENT ON TABLE retention.order_event IS
  'New orders and refunds of sources that were added with events => true: as they were told, once '
  'each, and as they are now. Written by process_changes and refresh.';
COMMENT ON COLUMN retention.order_event.event_id IS
  'Number of the event. Ascending in the order of commits.';
COMMENT ON COLUMN retention.order_event.metric IS 'Metric of the source.';
COMMENT ON COLUMN retention.order_event.source_id IS 'Source that had the order or refund first.';
COMMENT ON COLUMN retention.order_event.kind IS 'order or refund.';
COMMENT ON COLUMN retention.order_event.customer_id IS
  'The shop''s key, as text, of the customer who has the order now.';
COMMENT ON COLUMN retention.order_event.order_id IS 'The shop''s key of the order, as text.';
COMMENT ON COLUMN retention.order_event.occurred_at IS
  'Time of the order, or of the refund, as it was told.';
COMMENT ON COLUMN retention.order_event.amount IS
  'What the order came to when it was told, refunds deducted; of a refund the sum given back, '
  'positive.';
COMMENT ON COLUMN retention.order_event.recorded_at IS 'Engine''s time at which it was found.';
COMMENT ON COLUMN retention.order_event.number IS
  'Which order of its customer it was, by time, counted among those of the metric''s history; '
  'null for refunds.';
COMMENT ON COLUMN retention.order_event.ordered_at IS
  'Its time as it is now; where the source has dates only, the moment of that day at which it '
  'became known. Null: it is gone.';
COMMENT ON COLUMN retention.order_event.net_amount IS
  'What it comes to now, refunds deducted: above zero for an order that counts. Null: it is gone.';

SELECT pg_extension_config_dump('retention.order_event', '');
SELECT pg_extension_config_dump('retention.order_event_event_id_seq', '');

-- Internal: what is read of the sources, and what it comes to.
CREATE TYPE retention.order_line AS (
  source_id   integer,
  kind        text,
  is_day      boolean,
  news_from   timestamptz,
  customer_id text COLLATE "C",
  order_id    text COLLATE "C",
  at          timestamptz,
  amount      numeric,
  number      bigint
);
COMMENT ON TYPE retention.order_line IS
  'A row of a source, or an order or refund that rows add up to. is_day: of its time only the day '
  'is known; news_from: from when on it would be news, null for never.';
