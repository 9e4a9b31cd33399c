-- All reports as one document.

CREATE OR REPLACE FUNCTION retention._report_start(
    metric text, "from" timestamptz, "to" timestamptz)
  RETURNS timestamptz
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce("from", ("to" AT TIME ZONE s.time_zone - interval '1 month')
                            AT TIME ZONE s.time_zone)
  FROM retention._require_metric(metric) AS s
$$;
COMMENT ON FUNCTION retention._report_start(text, timestamptz, timestamptz) IS
  'When the period of a report begins: a month before its end, unless that is said.';

CREATE OR REPLACE FUNCTION retention._report_periods(
    settings retention.metric, "from" timestamptz, "to" timestamptz)
  RETURNS TABLE (number integer, name text, begins_at timestamptz, ends_at timestamptz)
  LANGUAGE sql STABLE ROWS 4 SET search_path = pg_catalog, pg_temp
AS $$
  -- In the calendar: from one first of a month to another, the period before is a month too.
  SELECT p.number, p.name,
         (l.begins - p.back * l.span - p.years) AT TIME ZONE (settings).time_zone,
         (l.ends - p.back * l.span - p.years) AT TIME ZONE (settings).time_zone
  FROM (SELECT b, e, age(e, b) FROM (SELECT "from" AT TIME ZONE (settings).time_zone,
                                            "to" AT TIME ZONE (settings).time_zone) AS t (b, e))
         AS l (begins, ends, span),
       (VALUES (1, 'period', 0, interval '0'), (2, 'before', 1, interval '0'),
               (3, 'year_ago', 0, interval '1 year'),
               (4, 'before_year_ago', 1, interval '1 year')) AS p (number, name, back, years)
$$;
COMMENT ON FUNCTION retention._report_periods(retention.metric, timestamptz, timestamptz) IS
  'A period, the one before of the same length, and both a year ago.';

CREATE OR REPLACE FUNCTION retention._report_sections()
  RETURNS TABLE (number integer, section text, is_compared boolean, statement text)
  LANGUAGE sql IMMUTABLE ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    (1, 'changes', false, 'SELECT * FROM retention.report_changes($3, $1, $2)'),
    (2, 'totals', false, 'SELECT * FROM retention.period_totals($1, $2, $3)'),
    (3, 'groups', true, 'SELECT * FROM retention.rfm_distribution($1, $2, $3)'),
    (4, 'moves', false, 'SELECT * FROM retention.rfm_transitions($1, $2, $3)'),
    (5, 'performance', true, 'SELECT * FROM retention.rfm_performance($2, $3)'),
    (6, 'value', true, 'SELECT * FROM retention.value_deciles($2, $3)'),
    (7, 'predicted_value', false,
     'SELECT * FROM retention.predicted_value_distribution WHERE metric = $3'),
    (8, 'cohorts', false, 'SELECT * FROM retention.cohort_retention(metric => $3, as_of => $2)'),
    (9, 'repeat_rate', true, 'SELECT * FROM retention.repeat_rate($3, $2)'),
    (10, 'repeat_curve', false, 'SELECT * FROM retention.repeat_curve($3, $2)'),
    (11, 'new_and_returning', false,
     'SELECT * FROM retention.new_and_returning(metric => $3, as_of => $2)'),
    (12, 'forecast', false, 'SELECT * FROM retention.forecast(metric => $3, as_of => $2)'),
    (13, 'model_card', false, 'SELECT * FROM retention.clv_model_card WHERE metric = $3'),
    (14, 'validation', false, 'SELECT * FROM retention.model_validation WHERE metric = $3'),
    (15, 'examples', false, 'SELECT * FROM retention.clv_examples WHERE metric = $3'),
    (16, 'usage', false, 'SELECT * FROM retention.clv_usage()'),
    (17, 'flows', false, 'SELECT * FROM retention.flow_performance'),
    (18, 'flow_uplift', false, 'SELECT * FROM retention.flow_uplift')
$$;
COMMENT ON FUNCTION retention._report_sections() IS
  'The sections of the document: a name, whether it is also made for the periods to compare with, '
  'and the query that it is the rows of, of $1 the beginning, $2 the end, $3 the metric. Another '
  'section is another row.';

CREATE OR REPLACE FUNCTION retention._section_rows(
    statement text, "from" timestamptz, "to" timestamptz, metric text)
  RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rows jsonb;
BEGIN
  -- Without the keys of customers, which are not in a report.
  EXECUTE format('SELECT coalesce(jsonb_agg(to_jsonb(q) - %L::text[]), %L) FROM (%s) AS q',
                 '{customer_ids,new_customer_ids,returning_customer_ids}', '[]', statement)
    INTO rows USING "from", "to", metric;
  RETURN rows;
END
$$;
COMMENT ON FUNCTION retention._section_rows(text, timestamptz, timestamptz, text) IS
  'The rows of a section for a period, as an array of objects.';

CREATE OR REPLACE FUNCTION retention.report(
    metric text DEFAULT 'orders', "from" timestamptz DEFAULT NULL,
    "to" timestamptz DEFAULT retention.now())
  RETURNS jsonb
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  begins timestamptz := retention._report_start(metric, "from", "to");
  settings retention.metric := retention._begin_comparison(metric, begins, "to");
  periods jsonb;
  sections jsonb;
BEGIN
  PERFORM retention._pin_settings();
  SELECT jsonb_object_agg(p.name, jsonb_build_object('from', p.begins_at, 'to', p.ends_at))
    INTO periods FROM retention._report_periods(settings, begins, "to") AS p WHERE p.number <= 3;
  SELECT jsonb_object_agg(made.section, made.periods) INTO sections
    FROM (SELECT s.section, jsonb_object_agg(p.name, retention._section_rows(s.statement,
                   p.begins_at, p.ends_at, settings.metric)) AS periods
          FROM retention._report_sections() AS s
          JOIN retention._report_periods(settings, begins, "to") AS p
            ON p.number = 1 OR p.number <= 3 AND s.is_compared
          GROUP BY s.section) AS made;
  RETURN jsonb_build_object('version', 1, 'metric', settings.metric, 'time_zone',
                            settings.time_zone, 'made_at', retention.now(), 'periods', periods,
                            'sections', sections);
END
$$;
COMMENT ON FUNCTION retention.report(text, timestamptz, timestamptz) IS
  'All reports as one document, for a period that is a month up to now unless said otherwise, and '
  'what can be compared also for the period before and that of a year ago. docs/report.schema.json '
  'describes it. It names no customers, but the five examples.';
