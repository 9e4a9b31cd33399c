-- What else uses the attributes of customers, as those tell who run it.

CREATE TABLE retention.registered_use (
  kind          text COLLATE "C" NOT NULL,
  name          text COLLATE "C" NOT NULL,
  segment       text COLLATE "C",
  attributes    name[] NOT NULL,
  registered_at timestamptz NOT NULL,
  PRIMARY KEY (kind, name)
);
COMMENT ON TABLE retention.registered_use IS
  'Forms, pages, exports and other things outside that use a segment or attributes of customers. '
  'Made by register_use; clv_usage lists them.';
COMMENT ON COLUMN retention.registered_use.kind IS 'What it is, such as form.';
COMMENT ON COLUMN retention.registered_use.name IS 'Its name.';
COMMENT ON COLUMN retention.registered_use.segment IS 'Segment that it is shown to; may be null.';
COMMENT ON COLUMN retention.registered_use.attributes IS 'Columns of profile that it uses itself.';
COMMENT ON COLUMN retention.registered_use.registered_at IS
  'Engine''s time at which it was registered, or changed.';
SELECT pg_extension_config_dump('retention.registered_use', '');
