-- Segments, their members and the queue of changes.

CREATE TABLE retention.segment (
  segment        text COLLATE "C" PRIMARY KEY CHECK (segment <> ''),
  number         integer GENERATED ALWAYS AS IDENTITY,
  relation       regclass NOT NULL,
  relation_name  text NOT NULL,
  owner          name NOT NULL,
  enabled        boolean NOT NULL DEFAULT true,
  definition     text NOT NULL,
  pending        text CHECK (pending IN ('definition', 'settings', 'refresh')),
  added_at       timestamptz NOT NULL,
  evaluated_at   timestamptz,
  members        bigint NOT NULL DEFAULT 0,
  duplicate_rows bigint NOT NULL DEFAULT 0,
  null_rows      bigint NOT NULL DEFAULT 0,
  error          text,
  error_code     text,
  error_at       timestamptz,
  failures       integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE retention.segment IS
  'Relations whose customers are kept as members. Made by add_segment.';
COMMENT ON COLUMN retention.segment.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment.number IS 'Segments are evaluated in this order.';
COMMENT ON COLUMN retention.segment.relation IS
  'View or table whose column customer_id says who is in.';
COMMENT ON COLUMN retention.segment.relation_name IS
  'Its name, by which it is found again when its owner has dropped and created it anew, or a dump '
  'was restored; while it is there, it is followed under any name.';
COMMENT ON COLUMN retention.segment.owner IS
  'Role that owns it, with whose rights it is read. Another role''s relation of the same name is '
  'not taken for it.';
COMMENT ON COLUMN retention.segment.enabled IS
  'Whether the segment is kept current; a disabled one stays as it was.';
COMMENT ON COLUMN retention.segment.definition IS
  'Fingerprint of the view, and of the views and functions below it, as last evaluated, after the '
  'major version of the server that wrote it.';
COMMENT ON COLUMN retention.segment.pending IS
  'Cause of the changes that its next evaluation, in full, will find, where a segment that its '
  'view reads has changed other than by single customers; else null.';
COMMENT ON COLUMN retention.segment.added_at IS 'Engine''s time at which it was added.';
COMMENT ON COLUMN retention.segment.evaluated_at IS
  'Engine''s time of the last evaluation in full.';
COMMENT ON COLUMN retention.segment.members IS 'Number of members.';
COMMENT ON COLUMN retention.segment.duplicate_rows IS
  'Rows of the last evaluation in full that repeated a customer.';
COMMENT ON COLUMN retention.segment.null_rows IS
  'Rows of the last evaluation in full without a customer, or with a key of more than 2,000 '
  'bytes.';
COMMENT ON COLUMN retention.segment.error IS
  'Why the last evaluation failed; null when it did not.';
COMMENT ON COLUMN retention.segment.error_code IS 'SQLSTATE of that failure.';
COMMENT ON COLUMN retention.segment.error_at IS 'Engine''s time of that failure.';
COMMENT ON COLUMN retention.segment.failures IS
  'How often evaluation has failed in a row; process_changes tries again after a minute, then '
  'two, four, up to an hour.';

CREATE TABLE retention.segment_member (
  segment     text COLLATE "C" NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  entered_at  timestamptz NOT NULL,
  PRIMARY KEY (segment, customer_id)
);
COMMENT ON TABLE retention.segment_member IS
  'Who is in which segment. Its triggers write segment_change: of members that leave or are '
  'deleted, and of those whom the engine enters. Rows inserted by hand are not told to the queue, '
  'as a restored dump''s must not be; they stay until the segment''s next evaluation.';
COMMENT ON COLUMN retention.segment_member.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_member.customer_id IS
  'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.segment_member.entered_at IS
  'Engine''s time at which the customer entered.';

CREATE TABLE retention.segment_change (
  change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  segment     text COLLATE "C" NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  change      text NOT NULL CHECK (change IN ('entered', 'left')),
  cause       text NOT NULL CHECK (cause IN ('order', 'refund', 'data', 'refresh', 'settings',
                                             'definition', 'backfill', 'drop', 'manual')),
  as_of       timestamptz NOT NULL,
  changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX segment_change_customer ON retention.segment_change (customer_id);
COMMENT ON TABLE retention.segment_change IS
  'The queue: who entered and left segments, in the order in which it was committed. Read by '
  'read_segment_changes.';
COMMENT ON COLUMN retention.segment_change.change_id IS
  'Number of the change. Ascending in the order of commits.';
COMMENT ON COLUMN retention.segment_change.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_change.customer_id IS
  'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.segment_change.change IS 'entered or left.';
COMMENT ON COLUMN retention.segment_change.cause IS
  'order, refund: the customer''s orders changed; data: other tracked data did; refresh: time '
  'passed, thresholds moved, or anything else that a refresh found; settings: those of a metric '
  'were changed; definition: the segment was added, changed or enabled, backfill: the same, for '
  'flows to start; drop: it was dropped; manual: someone deleted the member.';
COMMENT ON COLUMN retention.segment_change.as_of IS 'Engine''s time of the change.';
COMMENT ON COLUMN retention.segment_change.changed_at IS 'Real time at which the row was written.';

CREATE TABLE retention.segment_day (
  segment  text COLLATE "C" NOT NULL,
  day      date NOT NULL,
  entered  bigint NOT NULL,
  leavers  bigint NOT NULL,
  PRIMARY KEY (segment, day)
);
COMMENT ON TABLE retention.segment_day IS
  'How many entered and left each segment, by day; kept when the queue is pruned. segment_growth '
  'shows it.';
COMMENT ON COLUMN retention.segment_day.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_day.day IS 'Day, in the time zone of metric "orders".';
COMMENT ON COLUMN retention.segment_day.entered IS 'Customers who entered.';
COMMENT ON COLUMN retention.segment_day.leavers IS 'Customers who left.';

CREATE TABLE retention.segment_consumer (
  consumer text PRIMARY KEY CHECK (consumer <> ''),
  position bigint NOT NULL,
  read_at  timestamptz
);
COMMENT ON TABLE retention.segment_consumer IS
  'Who reads the queue, and how far. Made by add_consumer.';
COMMENT ON COLUMN retention.segment_consumer.consumer IS 'Name of the consumer.';
COMMENT ON COLUMN retention.segment_consumer.position IS 'Last change_id that was read.';
COMMENT ON COLUMN retention.segment_consumer.read_at IS 'Real time of the last read.';

SELECT pg_extension_config_dump('retention.segment', '');
SELECT pg_extension_config_dump('retention.segment_number_seq', '');
SELECT pg_extension_config_dump('retention.segment_member', '');
SELECT pg_extension_config_dump('retention.segment_change', '');
SELECT pg_extension_config_dump('retention.segment_change_change_id_seq', '');
SELECT pg_extension_config_dump('retention.segment_day', '');
SELECT pg_extension_config_dump('retention.segment_consumer', '');
