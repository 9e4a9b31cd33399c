-- The page: the document of reports as one HTML file.
--
-- Without scripts, and without requests: its policy allows nothing but its own styles. Every text
-- of the document is written by html_text.

CREATE OR REPLACE FUNCTION retention._page_sections()
  RETURNS TABLE (number integer, section text, statement text)
  LANGUAGE sql IMMUTABLE ROWS 12 SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    (1, 'totals', 'SELECT retention._page_totals($1, $2)'),
    (2, 'changes', 'SELECT retention._page_changes($1, $2)'),
    (3, 'groups', 'SELECT retention._page_groups($1, $2)'),
    (4, 'value', 'SELECT retention._page_value($1, $2)'),
    (5, 'cohorts', 'SELECT retention._page_cohorts($1, $2)'),
    (6, 'repeat', 'SELECT retention._page_repeat($1, $2)'),
    (7, 'new_and_returning', 'SELECT retention._page_new_and_returning($1, $2)'),
    (8, 'forecast', 'SELECT retention._page_forecast($1, $2)'),
    (9, 'flows', 'SELECT retention._page_flows($1, $2)'),
    (10, 'model', 'SELECT retention._page_model($1, $2)'),
    (11, 'examples', 'SELECT retention._page_examples($1, $2)'),
    (12, 'usage', 'SELECT retention._page_usage($1, $2)')
$$;
COMMENT ON FUNCTION retention._page_sections() IS
  'The sections of the page: a name, whose heading is the word title_NAME, and the statement that '
  'writes it from $1 the document and $2 how the page looks; null where the document has nothing '
  'of it. Another section is another row.';

CREATE OR REPLACE FUNCTION retention._page_section(statement text, document jsonb, look jsonb)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  written text;
BEGIN
  EXECUTE statement INTO written USING document, look;
  RETURN written;
END
$$;
COMMENT ON FUNCTION retention._page_section(text, jsonb, jsonb) IS 'Writes a section.';

CREATE OR REPLACE FUNCTION retention._page_span(look jsonb, span jsonb, word text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- A period that ends at midnight has its last day before.
  SELECT retention._page_word(look, word,
           retention._page_day(look, retention._page_local(look, span ->> 'from')),
           retention._page_day(look, retention._page_local(look, span ->> 'to')
                                     - interval '1 microsecond'))
$$;
COMMENT ON FUNCTION retention._page_span(jsonb, jsonb, text) IS 'From which day to which.';

CREATE OR REPLACE FUNCTION retention._page_head(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('<!DOCTYPE html><html lang="%s"><head><meta charset="utf-8"/>'
    '<meta http-equiv="Content-Security-Policy" content="default-src ''none''; '
    'style-src ''unsafe-inline''"/><meta name="viewport" content="width=device-width, '
    'initial-scale=1"/><meta name="color-scheme" content="light dark"/><title>%s</title>'
    '<style>%s</style></head><body>', look ->> 'language',
    retention.html_text(retention._page_word(look, 'page_title') || ': '
                        || (document ->> 'metric')), retention._page_style())
$$;
COMMENT ON FUNCTION retention._page_head(jsonb, jsonb) IS 'What stands before the page''s body.';

CREATE OR REPLACE FUNCTION retention._page_body(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH part AS MATERIALIZED (
    SELECT s.number, s.section, w.written,
           retention.html_text(retention._page_word(look, 'title_' || s.section)) AS title
    FROM retention._page_sections() AS s,
         LATERAL retention._page_section(s.statement, document, look) AS w (written)
    WHERE w.written IS NOT NULL)
  SELECT format('<header><p class="over"><bdi>%s</bdi></p><h1>%s</h1><p>%s</p><nav aria-label="%s">'
                '<ul>%s</ul></nav></header><main>%s</main>',
    retention.html_text(document ->> 'metric'),
    retention.html_text(retention._page_word(look, 'page_title')),
    retention.html_text(retention._page_span(look, document #> '{periods,period}', 'period') || ', '
      || retention._page_span(look, document #> '{periods,before}', 'compared')),
    retention.html_text(retention._page_word(look, 'sections')),
    string_agg(format('<li><a href="#%s">%s</a></li>', p.section, p.title), '' ORDER BY p.number),
    coalesce(string_agg(format('<section id="%s" aria-labelledby="h-%1$s"><h2 id="h-%1$s">%s</h2>'
      '<div class="grid">%s</div></section>', p.section, p.title, p.written), '' ORDER BY p.number),
      '<p>' || retention.html_text(retention._page_word(look, 'nothing')) || '</p>'))
  FROM part p
$$;
COMMENT ON FUNCTION retention._page_body(jsonb, jsonb) IS 'The page''s heading and sections.';

CREATE OR REPLACE FUNCTION retention.report_page(
    document jsonb, language text DEFAULT 'en', currency text DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  look jsonb := retention._page_look(language, currency, document ->> 'time_zone');
BEGIN
  PERFORM retention._pin_settings();
  RETURN concat(retention._page_head(document, look), retention._page_body(document, look),
    '<footer><bdi>', retention.html_text(retention._page_word(look, 'made_at',
      retention._page_day(look, retention._page_local(look, document ->> 'made_at')),
      document ->> 'metric', document ->> 'time_zone')), '</bdi></footer></body></html>');
END
$$;
COMMENT ON FUNCTION retention.report_page(jsonb, text, text) IS
  'A document that report made as one page of HTML, in en, pl or fr, amounts in a currency such as '
  'EUR. It has no script and asks nobody for anything.';

CREATE OR REPLACE FUNCTION retention.report_html(
    metric text DEFAULT 'orders', "from" timestamptz DEFAULT NULL,
    "to" timestamptz DEFAULT retention.now(), language text DEFAULT 'en',
    currency text DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Before the reports are made, which takes a while.
  PERFORM retention._page_look(language, currency, 'UTC');
  RETURN retention.report_page(retention.report(metric, "from", "to"), language, currency);
END
$$;
COMMENT ON FUNCTION retention.report_html(text, timestamptz, timestamptz, text, text) IS
  'All reports as one page of HTML, for a period that is a month up to now unless said otherwise: '
  'report as people read it.';
