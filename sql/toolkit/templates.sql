-- Templates of messages, and the buckets of experiments.

CREATE OR REPLACE FUNCTION retention.render(
    template text, context jsonb, escape boolean DEFAULT true)
  RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_render';
COMMENT ON FUNCTION retention.render(text, jsonb, boolean) IS
  'A message from a template such as "Dear {{ person.first_name|default:''you'' }}" and a context '
  'of values. Values are escaped for HTML unless escape is false. What is missing without a '
  'default is an error.';

CREATE OR REPLACE FUNCTION retention._try_render(
    template text, context jsonb, escape boolean, OUT rendered text, OUT error text)
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_try_render';
COMMENT ON FUNCTION retention._try_render(text, jsonb, boolean) IS
  'What render gives, or why it cannot: the error''s text where render raises it.';

CREATE OR REPLACE FUNCTION retention.template_variables(template text) RETURNS text[]
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_template_variables';
COMMENT ON FUNCTION retention.template_variables(text) IS
  'The paths that a template reads from its context, each once, sorted; what is read of a loop''s '
  'items belongs to the path of the array. An error if the template does not parse.';

CREATE OR REPLACE FUNCTION retention.bucket(key text, salt text) RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_bucket';
COMMENT ON FUNCTION retention.bucket(text, text) IS
  'A key''s bucket from 0 to 9999, independent for every salt: the first four bytes of the '
  'SHA-256 of salt, a zero byte and key, both in UTF-8, as a big-endian number modulo 10000. The '
  'same on every server.';
