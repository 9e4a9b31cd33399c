-- Changes what cannot be replaced, from 0.1.0 to 0.2.0. README.md says what goes where.

ALTER TYPE retention.collection_report RENAME TO _collection_report;
ALTER TYPE retention.write_report RENAME TO _write_report;
ALTER TYPE retention.customer_change RENAME TO _customer_change;
ALTER TYPE retention.order_line RENAME TO _order_line;
ALTER TYPE retention.traveller RENAME TO _traveller;
ALTER TYPE retention.queued_message RENAME TO _queued_message;
ALTER TYPE retention.failed_message RENAME TO _failed_message;

DROP FUNCTION IF EXISTS retention._check_clock(timestamptz),
  retention.enable_segment(text, boolean), retention.disable_segment(text),
  retention.retry(text, timestamptz),
  retention.add_coupon_pool(text, text[], text, integer, interval),
  retention.import_coupons(text, text[]),
  retention._compile_node(integer, jsonb, jsonb, text),
  retention._compile_message(integer, jsonb, jsonb, text),
  retention._note_listed(retention.flow_node, text, retention._traveller[]),
  retention._log_refresh(
    bigint, text, timestamptz, text, retention._collection_report, retention._write_report,
    timestamptz, timestamptz),
  retention._take_lock(regclass, integer, boolean),
  retention._traveller(retention.enrollment, boolean);
DROP FUNCTION IF EXISTS retention.age(retention.order_summary, timestamptz, text);
DROP AGGREGATE IF EXISTS retention.order_summary(timestamptz, numeric, text);
DROP VIEW IF EXISTS retention.about_to_sleep, retention.cant_lose_them, retention.hibernating,
  retention.lost, retention.loyal_customers, retention.need_attention, retention.new_customers,
  retention.potential_loyalists, retention.promising;
DROP FUNCTION IF EXISTS retention._collect(
  text[], regclass[], boolean[], text, timestamptz, timestamptz, text, double precision[],
  double precision[], double precision[], double precision[], double precision[], text[]);

ALTER TABLE retention.segment_day RENAME joined TO entered;
ALTER TABLE retention.segment_day RENAME departed TO leavers;
ALTER VIEW retention.segment_growth RENAME joined TO entered;
ALTER VIEW retention.segment_growth RENAME "left" TO leavers;
ALTER TABLE retention.population
  ADD applied jsonb NOT NULL DEFAULT '{}',
  ADD path text CHECK (path IN ('rebuild', 'clock')),
  ADD started_at timestamptz,
  ADD read_duration interval,
  ADD write_duration interval,
  ADD rows_read bigint,
  ADD without_customer bigint,
  ADD without_time bigint,
  ADD without_amount bigint,
  ADD after_as_of bigint,
  ADD before_history bigint,
  ADD refund_rows bigint,
  ADD customers_without_orders bigint,
  ADD inserted bigint,
  ADD updated bigint,
  ADD deleted bigint,
  ADD transitions bigint,
  ADD unreadable bigint,
  ADD unreadable_rows jsonb,
  ADD unreadable_since jsonb,
  ADD unmatched_refunds bigint,
  ADD unmatched_refund text;
ALTER TABLE retention.enrollment ADD by_settings boolean, ADD settings_at timestamptz;
ALTER TABLE retention.flow_node ADD status text CHECK (status IN ('draft', 'manual', 'live'));
ALTER TYPE retention._traveller ADD ATTRIBUTE by_settings boolean;
ALTER TABLE retention.suppression ALTER suppressed_at SET DEFAULT retention.now();

CREATE TYPE retention._message_rule AS (
  node_id          integer,
  node             text,
  channel          text,
  subject          text,
  body             text,
  text             text,
  url              text,
  is_transactional boolean,
  apart            interval,
  address_apart    interval,
  lateness         interval,
  needs_approval   boolean
);
CREATE TYPE retention._sending AS (
  customer_id   text,
  channel       text,
  enrollment_id bigint,
  node_id       integer,
  apart         interval
);
CREATE TYPE retention._collected_source AS (
  query     text,
  relation  regclass,
  is_refund boolean
);
CREATE TYPE retention._score_rules AS (
  recency_limits        double precision[],
  frequency_percentiles double precision[],
  frequency_bounds      double precision[],
  monetary_percentiles  double precision[],
  monetary_bounds       double precision[],
  groups                text[]
);
CREATE TYPE retention.chart_scale AS (
  low    double precision,
  high   double precision,
  starts double precision,
  ends   double precision,
  step   double precision
);

CREATE TYPE retention._past_history AS (
  x         double precision,
  t_x       double precision,
  t         double precision,
  m         double precision,
  customers double precision,
  revenue   double precision
);

CREATE TABLE retention.registered_use (
  kind          text COLLATE "C" NOT NULL,
  name          text COLLATE "C" NOT NULL,
  segment       text COLLATE "C",
  attributes    name[] NOT NULL,
  registered_at timestamptz NOT NULL,
  PRIMARY KEY (kind, name)
);
SELECT pg_extension_config_dump('retention.registered_use', '');

-- [functions and views]

DROP FUNCTION IF EXISTS retention._shown_error(text, name);

-- What a refresh read and wrote stands beside what it published.
UPDATE retention.population p
  SET (path, started_at, read_duration, write_duration, rows_read, without_customer,
       without_time, without_amount, after_as_of, before_history, refund_rows,
       customers_without_orders,
       inserted, updated, deleted, transitions, unreadable, unreadable_rows,
       unreadable_since, unmatched_refunds, unmatched_refund)
    = (l.path, l.started_at, l.read_duration, l.write_duration, l.rows_read, l.without_customer,
       l.without_time, l.without_amount, l.after_as_of, l.before_history, l.refund_rows,
       l.customers_without_orders,
       l.inserted, l.updated, l.deleted, l.transitions, l.unreadable, l.unreadable_rows,
       l.unreadable_since, l.unmatched_refunds, l.unmatched_refund)
  FROM retention.refresh_log l WHERE l.refresh_id = p.refresh_id;
DROP TABLE retention.refresh_log;

-- Settings that have not changed since are those that the refresh went by.
UPDATE retention.population p SET applied = retention._kept_settings(m)
  FROM retention.metric m WHERE m.metric = p.metric AND p.settings = retention._settings(m);

UPDATE retention.flow_node n
  SET status = coalesce((SELECT s.status FROM retention.message_status s
                         WHERE (s.flow_id, s.node) = (n.flow_id, n.node)),
                        n.config ->> 'status', 'live')
  WHERE n.type = 'message';
DROP TABLE retention.message_status;

-- These are compiled otherwise.
UPDATE retention.flow_node n SET branch = c.branch, due = c.due, payload = c.payload
  FROM retention.flow_node o JOIN retention.flow_version v USING (flow_id, version), LATERAL
    retention._compile_node(v.document, o.config, format(
      'retention._zone(person.time_zone, %L)', retention._flow_zone(v.document))) AS c
  WHERE n.node_id = o.node_id AND n.type IN ('message', 'delay', 'wait_for');

-- What check_suppression refuses had no effect, and a dump with it could not be restored.
DELETE FROM retention.suppression s
  WHERE NOT EXISTS (SELECT FROM retention._channels() c WHERE c.channel = s.channel)
     OR octet_length(s.address) > retention._most('address');

DROP TRIGGER check_contact ON retention.contact;
CREATE TRIGGER check_contact
  BEFORE INSERT OR UPDATE OF customer_id, time_zone, country, properties ON retention.contact
  -- The function is called for few rows only.
  FOR EACH ROW WHEN (
    NEW.time_zone IS NOT NULL OR octet_length(NEW.customer_id) > 2000 OR NEW.customer_id IS NULL
    OR NEW.country !~ '^[A-Za-z]{2}$' OR jsonb_typeof(NEW.properties) IS DISTINCT FROM 'object')
  EXECUTE FUNCTION retention._check_contact();
COMMENT ON TRIGGER check_contact ON retention.contact IS
  'Rejects time zones that do not exist, keys that are too long, and what is no country or no '
  'object.';

CREATE TRIGGER note_consent_gone AFTER DELETE ON retention.contact
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT
  EXECUTE FUNCTION retention._note_consent_gone();
COMMENT ON TRIGGER note_consent_gone ON retention.contact IS 'Keeps that consents are gone.';

CREATE TRIGGER note_consent_again AFTER INSERT ON retention.contact
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
  EXECUTE FUNCTION retention._note_consent_again();
COMMENT ON TRIGGER note_consent_again ON retention.contact IS 'Keeps that consents are other ones.';

CREATE TRIGGER check_suppression BEFORE INSERT OR UPDATE ON retention.suppression
  FOR EACH ROW EXECUTE FUNCTION retention._check_suppression();
COMMENT ON TRIGGER check_suppression ON retention.suppression IS
  'Rejects what holds nobody''s messages back.';

COMMENT ON TRIGGER note_new_settings ON retention.metric IS
  'Has segments know why customers move, and nobody who waits be woken by it.';
