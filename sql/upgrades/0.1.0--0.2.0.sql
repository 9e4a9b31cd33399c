-- Changes what cannot be replaced, from 0.1.0 to 0.2.0. README.md says what goes where.

DROP FUNCTION IF EXISTS retention._check_clock(timestamptz),
  retention.enable_segment(text, boolean), retention.disable_segment(text),
  retention.retry(text, timestamptz);
DROP VIEW IF EXISTS retention.about_to_sleep, retention.cant_lose_them, retention.hibernating,
  retention.lost, retention.loyal_customers, retention.need_attention, retention.new_customers,
  retention.potential_loyalists, retention.promising;

ALTER TABLE retention.suppression ALTER suppressed_at SET DEFAULT retention.now();

CREATE TYPE retention.message_rule AS (
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
CREATE TYPE retention.sending AS (
  customer_id   text,
  channel       text,
  enrollment_id bigint,
  node_id       integer,
  apart         interval
);
CREATE TYPE retention.past_history AS (
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
