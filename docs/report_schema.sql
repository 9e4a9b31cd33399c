-- Prints docs/report.schema.json: the document of retention.report, from the columns of its sections.
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

DO $$
DECLARE
  s record;
BEGIN
  FOR s IN SELECT * FROM retention._report_sections() LOOP
    EXECUTE format('CREATE TEMPORARY VIEW %I AS %s', 'section_' || s.section,
      replace(replace(replace(s.statement, '$1', 'timestamptz ''2024-01-01Z'''), '$2', 'timestamptz ''2025-01-01Z'''), '$3', '''orders'''));
  END LOOP;
END $$;

CREATE FUNCTION pg_temp.json_type(type regtype) RETURNS jsonb LANGUAGE sql AS $$
  SELECT CASE
    WHEN type IN ('smallint'::regtype, 'integer', 'bigint') THEN '{"type": ["integer", "null"]}'
    WHEN type IN ('numeric'::regtype, 'double precision') THEN '{"type": ["number", "null"]}'
    WHEN type = 'boolean'::regtype THEN '{"type": ["boolean", "null"]}'
    WHEN type = 'date'::regtype THEN '{"type": ["string", "null"], "format": "date"}'
    WHEN type = 'timestamptz'::regtype THEN '{"type": ["string", "null"], "format": "date-time"}'
    WHEN type = 'jsonb'::regtype THEN '{"type": ["object", "null"]}'
    WHEN type IN ('text[]'::regtype, 'name[]') THEN '{"type": ["array", "null"], "items": {"type": "string"}}'
    WHEN type = 'double precision[]'::regtype THEN '{"type": ["array", "null"], "items": {"type": ["number", "null"]}}'
    ELSE '{"type": ["string", "null"]}' END::jsonb
$$;

SELECT jsonb_pretty(jsonb_build_object(
  '$schema', 'https://json-schema.org/draft/2020-12/schema',
  'title', 'Document of retention.report, version 1',
  'description', 'reports.md describes it. Each section has an array of rows for the period, and, where it is compared, for the period before and that of a year ago.',
  'type', 'object', 'additionalProperties', false,
  'required', '["version", "metric", "time_zone", "made_at", "periods", "sections"]'::jsonb,
  'properties', jsonb_build_object(
    'version', '{"const": 1}'::jsonb, 'metric', '{"type": "string"}'::jsonb, 'time_zone', '{"type": "string"}'::jsonb,
    'made_at', '{"type": "string", "format": "date-time"}'::jsonb,
    'periods', '{"type": "object", "additionalProperties": false, "required": ["period", "before", "year_ago"], "properties":
      {"period": {"$ref": "#/$defs/span"}, "before": {"$ref": "#/$defs/span"}, "year_ago": {"$ref": "#/$defs/span"}}}'::jsonb,
    'sections', jsonb_build_object('type', 'object', 'additionalProperties', false,
      'required', (SELECT jsonb_agg(s.section ORDER BY s.number) FROM retention._report_sections() AS s),
      'properties', (SELECT jsonb_object_agg(s.section, jsonb_build_object('type', 'object', 'additionalProperties', false,
          'required', CASE WHEN s.is_compared THEN '["period", "before", "year_ago"]' ELSE '["period"]' END::jsonb,
          'properties', jsonb_build_object('period', r.rows) || CASE WHEN s.is_compared THEN jsonb_build_object('before', r.rows, 'year_ago', r.rows) ELSE '{}' END))
        FROM retention._report_sections() AS s,
             LATERAL (SELECT jsonb_build_object('type', 'array', 'items', jsonb_build_object('$ref', '#/$defs/' || s.section)) AS rows) AS r))),
  '$defs', (SELECT jsonb_object_agg(s.section, jsonb_build_object('type', 'object', 'additionalProperties', false,
      'required', c.names, 'properties', c.properties))
    FROM retention._report_sections() AS s,
         LATERAL (SELECT jsonb_agg(attname ORDER BY attnum) AS names, jsonb_object_agg(attname, pg_temp.json_type(atttypid)) AS properties
                  FROM pg_attribute WHERE attrelid = ('pg_temp.section_' || s.section)::regclass AND attnum > 0
                    AND attname NOT IN ('customer_ids', 'new_customer_ids', 'returning_customer_ids')) AS c)
    || '{"span": {"type": "object", "additionalProperties": false, "required": ["from", "to"],
         "properties": {"from": {"type": "string", "format": "date-time"}, "to": {"type": "string", "format": "date-time"}}}}'::jsonb));
