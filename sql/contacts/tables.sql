-- Contacts, consents, the suppression list, and who was merged into whom.

CREATE TABLE retention.contact (
  customer_id   text COLLATE "C" PRIMARY KEY,
  email         text,
  phone         text,
  push_token    text,
  time_zone     text,
  locale        text,
  email_consent boolean,
  sms_consent   boolean,
  push_consent  boolean,
  properties    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
  country       text CHECK (country ~ '^[A-Za-z]{2}$')
);
COMMENT ON TABLE retention.contact IS
  'How customers are reached, and what they agreed to. Filled by the shop; or use_contacts names '
  'a relation of the shop''s own, and this has only the properties that flows have set.';
COMMENT ON COLUMN retention.contact.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.contact.email IS 'Address for channel email.';
COMMENT ON COLUMN retention.contact.phone IS 'Address for channel sms.';
COMMENT ON COLUMN retention.contact.push_token IS 'Address for channel push.';
COMMENT ON COLUMN retention.contact.time_zone IS
  'Name of the customer''s time zone; null: the flow''s.';
COMMENT ON COLUMN retention.contact.locale IS 'Language, for templates.';
COMMENT ON COLUMN retention.contact.email_consent IS
  'Whether the customer agreed to emails; null: no.';
COMMENT ON COLUMN retention.contact.sms_consent IS
  'Whether the customer agreed to text messages; null: no.';
COMMENT ON COLUMN retention.contact.push_consent IS
  'Whether the customer agreed to push notifications; null: no.';
COMMENT ON COLUMN retention.contact.properties IS
  'Whatever else is known, for templates and conditions.';
COMMENT ON COLUMN retention.contact.country IS
  'Country of a national telephone number: two letters of ISO 3166; null: the metric''s.';

CREATE TABLE retention.consent_change (
  change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer_id text COLLATE "C" NOT NULL,
  channel     text NOT NULL,
  agreed      boolean,
  changed_at  timestamptz NOT NULL,
  changed_by  name NOT NULL,
  source      text
);
CREATE INDEX consent_change_customer ON retention.consent_change (customer_id);
COMMENT ON TABLE retention.consent_change IS
  'Every change of a consent in retention.contact, and that it ended with its contact. What a new '
  'customer''s contact had when it was inserted is no change.';
COMMENT ON COLUMN retention.consent_change.change_id IS 'Number of the change.';
COMMENT ON COLUMN retention.consent_change.customer_id IS
  'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.consent_change.channel IS 'email, sms or push.';
COMMENT ON COLUMN retention.consent_change.agreed IS
  'The consent from then on; null counts as false: there is none, or no contact any more.';
COMMENT ON COLUMN retention.consent_change.changed_at IS 'Engine''s time of the change.';
COMMENT ON COLUMN retention.consent_change.changed_by IS 'The role that was logged in.';
COMMENT ON COLUMN retention.consent_change.source IS
  'The application_name of its session, such as the preference page or the import that changed it.';

CREATE TABLE retention.contact_source (
  relation      regclass NOT NULL,
  relation_name text NOT NULL,
  owner         name NOT NULL
);
CREATE UNIQUE INDEX contact_source_one ON retention.contact_source ((true));
ALTER TABLE retention.contact_source REPLICA IDENTITY FULL;
COMMENT ON TABLE retention.contact_source IS
  'The relation of the shop''s own that has the contacts; no row: retention.contact. Written by '
  'use_contacts.';
COMMENT ON COLUMN retention.contact_source.relation IS
  'View or table with customer_id and any of the columns of retention.contact.';
COMMENT ON COLUMN retention.contact_source.relation_name IS 'Its name, as in segment.';
COMMENT ON COLUMN retention.contact_source.owner IS
  'Role that owns it, with whose rights it is read, as in segment.';

CREATE TABLE retention.suppression (
  channel       text COLLATE "C" NOT NULL,
  address       text COLLATE "C" NOT NULL,
  reason        text NOT NULL,
  suppressed_at timestamptz NOT NULL DEFAULT retention.now(),
  PRIMARY KEY (address, channel)
);
COMMENT ON TABLE retention.suppression IS
  'Addresses that get no message any more, whatever a contact says. Written by suppress.';
COMMENT ON COLUMN retention.suppression.channel IS 'email, sms, push or webhook.';
COMMENT ON COLUMN retention.suppression.address IS
  'The address, in whatever spelling; or, of somebody forgotten, its keyed hash.';
COMMENT ON COLUMN retention.suppression.reason IS 'Why, such as bounced, complained, unsubscribed.';
COMMENT ON COLUMN retention.suppression.suppressed_at IS 'Engine''s time since when.';

CREATE TABLE retention.secret (
  purpose text COLLATE "C" PRIMARY KEY,
  key     bytea NOT NULL
);
COMMENT ON TABLE retention.secret IS
  'Random keys. Made when they are first needed; only the owner may read them.';
COMMENT ON COLUMN retention.secret.purpose IS
  'suppression: of the hashes that forget leaves of addresses.';
COMMENT ON COLUMN retention.secret.key IS 'The key: 32 bytes.';

CREATE TABLE retention.merged_customer (
  customer_id text COLLATE "C" PRIMARY KEY,
  merged_into text COLLATE "C" NOT NULL,
  merged_at   timestamptz NOT NULL
);
CREATE INDEX merged_customer_into ON retention.merged_customer (merged_into);
COMMENT ON TABLE retention.merged_customer IS
  'Keys that were given up for another one of the same person. Written by merge_customers.';
COMMENT ON COLUMN retention.merged_customer.customer_id IS 'The key that was given up.';
COMMENT ON COLUMN retention.merged_customer.merged_into IS 'The key of the person now.';
COMMENT ON COLUMN retention.merged_customer.merged_at IS
  'Engine''s time at which they were merged.';

SELECT pg_extension_config_dump('retention.contact', '');
SELECT pg_extension_config_dump('retention.consent_change', '');
SELECT pg_extension_config_dump('retention.consent_change_change_id_seq', '');
SELECT pg_extension_config_dump('retention.contact_source', '');
SELECT pg_extension_config_dump('retention.suppression', '');
SELECT pg_extension_config_dump('retention.secret', '');
SELECT pg_extension_config_dump('retention.merged_customer', '');
