-- Contacts of the shop's own: what their columns may be, which is checked before anybody is read.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA contact_types_test;
SET search_path = contact_types_test;
\set SHOW_CONTEXT never
\i tests/include/failure.sql

CREATE DOMAIN address AS varchar(200);
CREATE DOMAIN yes_or_no AS boolean;
CREATE TYPE language AS ENUM ('pl', 'en');
-- Whether a column of a type is taken, and what is read of its value; else the error.
CREATE FUNCTION taken(name text, type text, value text) RETURNS TABLE (answer text, hint text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TABLE client (customer_id integer, %I %s)', name, type);
  EXECUTE format('INSERT INTO client VALUES (7, %L)', value);
  SELECT CASE WHEN f.message = 'no error' THEN NULL ELSE f.state || ' ' || f.message END, f.hint INTO answer, hint
    FROM failure($f$SELECT retention.use_contacts('client')$f$) AS f;
  IF answer IS NULL THEN
    SELECT 'read as ' || (to_jsonb(c.contact) ->> name) INTO answer FROM retention._their_contacts('{7}') AS c;
  END IF;
  PERFORM retention.use_contacts(NULL);
  DROP TABLE client;
  RETURN NEXT;
END $$;
SELECT t.name, t.type, a.* FROM (VALUES
  ('email', 'text', 'a@example.com'), ('email', 'address', 'a@example.com'), ('email', 'char(13)', 'a@example.com'), ('email', 'name', 'a@example.com'),
  ('email', 'integer', '7'), ('email', 'jsonb', '"a@example.com"'), ('email', 'text[]', '{a@example.com}'), ('email', 'bytea', 'a'),
  ('phone', 'varchar', '+48600100200'), ('phone', 'bigint', '48600100200'), ('phone', 'numeric', '48600100200'), ('push_token', 'uuid', '00000000-0000-0000-0000-00000000000a'), ('email', 'uuid', NULL), ('push_token', 'bigint', '7'),
  ('time_zone', 'text', 'Europe/Warsaw'), ('time_zone', 'interval', '1 hour'), ('time_zone', 'integer', '1'),
  ('locale', 'language', 'pl'), ('locale', 'integer', '1'), ('country', 'char(2)', 'PL'), ('country', 'smallint', '616'),
  ('email_consent', 'boolean', 'true'), ('email_consent', 'yes_or_no', 'false'), ('email_consent', 'text', 'maybe'), ('email_consent', 'integer', '2'),
  ('sms_consent', 'timestamptz', '2024-01-01'), ('push_consent', 'numeric(1)', '1'),
  ('properties', 'jsonb', '{"a": 1}'), ('properties', 'json', '{"a": 1}'), ('properties', 'text', '{"a": 1'), ('other', 'point', NULL)) AS t (name, type, value),
  taken(t.name, t.type, t.value) AS a;
-- The first of several; what was used before is used on; a column that was dropped is none.
CREATE TABLE client (customer_id uuid, email text, phone integer, email_consent integer);
CREATE VIEW good AS SELECT customer_id, email FROM client;
SELECT retention.use_contacts('good');
SELECT * FROM failure($$SELECT retention.use_contacts('client')$$);
SELECT relation FROM retention.contact_source;
ALTER TABLE client DROP phone, DROP email_consent;
SELECT retention.use_contacts('client');
ALTER TABLE client RENAME customer_id TO id;
SELECT * FROM failure($$SELECT retention.use_contacts('client')$$);

DROP EXTENSION retention;
SET client_min_messages = error;
DROP SCHEMA contact_types_test CASCADE;
