-- The page of reports: its sections, its languages, and that nothing in it is more than a text.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA report_page_test;
SET search_path = report_page_test;
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'ISO, YMD';
SET retention.progress = off;
SET retention.as_of = '2024-12-01Z';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE TABLE orders AS SELECT * FROM retention.simulate_orders(800, '2022-06-01Z', '2024-12-01Z', 3);
SELECT retention.add_source('orders', order_id => 'order_id');
CALL retention.refresh();
SELECT count(*) > 20 AS validated FROM retention.validate_model('orders', '2024-01-01Z');
SELECT retention.add_segment('retention.churn_risk_high');
SELECT retention.create_flow('{"name": "We miss you", "trigger": {"type": "segment", "segment": "churn_risk_high"}, "nodes": [{"id": "x", "type": "exit"}]}'),
       retention.publish('We miss you');
CREATE TABLE made AS SELECT document, retention.report_page(document, currency => 'EUR') AS page FROM retention.report('orders', '2024-09-01Z') AS document;
CREATE FUNCTION tree(page text) RETURNS xml LANGUAGE sql AS $$ SELECT replace(page, '<!DOCTYPE html>', '')::xml $$;
CREATE FUNCTION said(page text, path text) RETURNS TABLE (number bigint, said text) LANGUAGE sql AS $$
  SELECT n, CASE WHEN x::text ~ '^<' THEN (xpath('string(/*)', x))[1]::text ELSE x::text END FROM unnest(xpath(path, tree(page))) WITH ORDINALITY AS t (x, n) $$;

-- It is the same from the document as at once, whatever the session's zone and way to write dates.
SELECT page = retention.report_html('orders', '2024-09-01Z', currency => 'EUR') AS same FROM made;
SET TimeZone = 'America/New_York';
SET DateStyle = 'SQL, DMY';
SELECT page = retention.report_page(document, 'en', 'EUR') AS same FROM made;
SET DateStyle = 'ISO, YMD';
-- One root, no script, nothing that is fetched or run; only its own style.
SELECT octet_length(page) BETWEEN 60000 AND 130000 AS size, page ~ '^<!DOCTYPE html><html lang="en">' AS doctype, (SELECT count(*) FROM said(page, '//script|//link|//img|//iframe|//object|//form|//base')) AS active,
       (SELECT count(*) FROM said(page, '//@*[starts-with(name(), "on") or name() = "src" or name() = "style"]')) AS attributes,
       (SELECT count(*) FROM said(page, '//@href[not(starts-with(., "#"))]')) AS links, page ~* 'url\(|@import|https?:' AS asks FROM made;
SELECT s.said FROM made, said(page, '//meta[@http-equiv]/@content') AS s;
-- Sections, figures and charts. Each chart says what it shows, and has its data beside it.
SELECT s.said FROM made, said(page, '//h1|//h2|//h3') AS s ORDER BY s.number;
SELECT (SELECT count(*) FROM said(page, '//*[@role="img"]')) AS charts, (SELECT count(*) FROM said(page, '//*[@role="img"][string-length(@aria-label) > 80]')) AS told,
       (SELECT count(*) FROM said(page, '//figure[.//*[@role="img"]]/details//table[count(.//tr) > 3]')) AS with_data,
       (SELECT count(*) FROM said(page, '//section[not(@id = preceding::a/@href) and concat("#", @id) = //nav//a/@href]')) AS linked,
       (SELECT count(*) FROM said(page, '//section')) AS sections FROM made;
-- Every row of the document that a chart is of has its mark.
SELECT (SELECT count(*) FROM said(page, '//section[@id="groups"]//table[contains(@class, "tiles")]//tr')) = jsonb_array_length(document #> '{sections,groups,period}') AS groups,
       (SELECT count(*) FROM said(page, '//*[contains(@class, "ribbon")]')) = jsonb_array_length(document #> '{sections,moves,period}') AS moves,
       (SELECT count(*) FROM said(page, '//section[@id="value"]//figure[1]//*[contains(@class, "bar c1")]')) AS deciles,
       (SELECT count(*) FROM said(page, '//section[@id="forecast"]//figure[1]//*[contains(@class, "dot")]')) AS months,
       (SELECT count(*) FROM said(page, '//*[contains(@class, "band")]')) AS bands FROM made;
-- The bars of tenths are as high as these are much.
SELECT bool_and(abs(b.height - (d.row ->> 'percent')::numeric * b1.height / (document #>> '{sections,value,period,0,percent}')::numeric) < 0.6) AS measured
FROM made, jsonb_array_elements(document #> '{sections,value,period}') WITH ORDINALITY AS d (row, number),
     LATERAL (SELECT said::numeric, number FROM said(page, '//section[@id="value"]//figure[1]//*[contains(@class, "bar c1")]/@height')) AS b (height, number),
     LATERAL (SELECT said::numeric FROM said(page, '//section[@id="value"]//figure[1]//*[contains(@class, "bar c1")][1]/@height')) AS b1 (height)
WHERE b.number = d.number;
-- The ribbons of a side are as thick as its customers are many, and none lies over another.
SELECT bool_and(abs(p.thickness * s.customers - 372 * p.customers) < 0.01) AS measured,
       bool_and(p.from_y >= p.f_before - 0.001 AND p.to_y >= p.t_before - 0.001) AS apart
FROM (SELECT m.*, coalesce(max(from_y + thickness) OVER (ORDER BY from_y ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS f_before,
             coalesce(max(to_y + thickness) OVER (ORDER BY to_y ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS t_before
      FROM made, retention._page_move_places(document, 420) AS m) AS p,
     (SELECT sum((m ->> 'customers')::numeric) FROM made, jsonb_array_elements(document #> '{sections,moves,period}') AS m) AS s (customers);

-- A document without a section has a page without it; one without any says so.
SELECT s.section, (SELECT count(*) FROM said(retention.report_page(jsonb_set(document, '{sections}', '{}'::jsonb)), '//section')) AS none,
       (SELECT count(*) FROM said(retention.report_page(document #- ARRAY['sections', s.section]), '//section')) AS sections
FROM made, retention._report_sections() AS s ORDER BY s.number;
SELECT s.said FROM said(retention.report_html('orders', '2001-01-01Z', '2001-02-01Z'), '//main//h2|//main/p') AS s;

-- Words, numbers, money and days in each language; every word has all of them.
SELECT l.language, l.currency, n.n AS number, m.m AS money, p.p AS percent, d.d AS day, retention._page_short(look, 1234567) AS million, retention._page_short(look, 45600) AS thousand
FROM (VALUES ('en', 'EUR'), ('en', NULL), ('en', 'PLN'), ('pl', 'PLN'), ('fr', 'EUR'), ('fr', 'CHF'), ('pl', '%s<')) AS l (language, currency),
     LATERAL (SELECT retention._page_look(l.language, l.currency, 'UTC')) AS k (look), LATERAL (SELECT retention._page_number(look, -1234567.891, 2)) AS n (n),
     LATERAL (SELECT retention._page_money(look, 9876543.2)) AS m (m), LATERAL (SELECT retention._page_percent(look, 12.34)) AS p (p),
     LATERAL (SELECT retention._page_day(look, '2024-02-29 12:00')) AS d (d);
SELECT count(*) > 100 AS many, count(*) = count(DISTINCT name) AS distinct_names, bool_and(english <> '' AND polish <> '' AND french <> '') AS all_there,
       bool_and((SELECT count(DISTINCT x[1]) FROM regexp_matches(english, '%\d\$s', 'g') AS x) = ALL (ARRAY[(SELECT count(DISTINCT x[1]) FROM regexp_matches(polish, '%\d\$s', 'g') AS x), (SELECT count(DISTINCT x[1]) FROM regexp_matches(french, '%\d\$s', 'g') AS x)])) AS same_places
FROM retention._page_words();
SELECT s.said FROM made, said(retention.report_page(document, 'pl', 'PLN'), '//h1|//h2|//h3|//ol//p') AS s ORDER BY s.number;
SELECT s.said FROM made, said(retention.report_page(document, 'fr', 'EUR'), '//h1|//h2|//h3|//ol//p') AS s ORDER BY s.number;
SELECT f.* FROM unnest(ARRAY[
  $$SELECT retention.report_html(language => 'de')$$,
  $$SELECT retention.report_html(language => NULL)$$,
  $$SELECT retention.report_html(currency => 'a currency without end')$$,
  $$SELECT retention.report_html('nothing')$$]) AS command, failure(command) AS f;

-- Whatever names are, they are shown and do nothing: all texts of the document are hostile now.
CREATE FUNCTION hostile(document jsonb, suffix text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN CASE jsonb_typeof(document)
    WHEN 'object' THEN (SELECT jsonb_object_agg(key, CASE WHEN jsonb_typeof(value) = 'string' AND key IN ('period', 'section', 'item', 'version') OR value #>> '{}' ~ '^\d{4}-\d\d-\d\d' THEN value ELSE hostile(value, suffix) END) FROM jsonb_each(document))
    WHEN 'array' THEN (SELECT coalesce(jsonb_agg(hostile(value, suffix) ORDER BY n), '[]') FROM jsonb_array_elements(document) WITH ORDINALITY AS e (value, n))
    WHEN 'string' THEN to_jsonb((document #>> '{}') || suffix) ELSE document END;
END $$;
SELECT h.number, (SELECT count(*) FROM said(p.page, '//script|//img|//b|//*[@onload]')) AS active, p.page ~* '<(script|img|b )' AS tags,
       (SELECT count(*) FROM said(p.page, '//section')) = (SELECT count(*) FROM said(made.page, '//section')) AS all_sections,
       (SELECT count(*) FROM said(p.page, '//section[@id="groups"]//table[1]//th') AS s WHERE s.said = replace(replace(retention.html_text('Champions' || h.suffix), '&quot;', '"'), '&#39;', '''')) AS shown,
       (SELECT count(*) FROM said(p.page, '//*[contains(@class, "ribbon")]')) = (SELECT count(*) FROM said(made.page, '//*[contains(@class, "ribbon")]')) AS all_marks
FROM made, unnest(ARRAY['<script>alert(1)</script>', '"><img src=x onerror="alert(1)">', ''' onload=''alert(1)', '</title></style></svg><b onload=1>', ' &lt;b&gt;&amp;', ' %s %1$s', repeat(' very long', 300),
  repeat('W', 3000), U&'\202E\05E9\05DC\05D5\05DD']) WITH ORDINALITY AS h (suffix, number),
     LATERAL (SELECT retention.report_page(jsonb_set(hostile(document, h.suffix), '{time_zone}', '"UTC"'))) AS p (page) ORDER BY h.number;

-- As mail it is small, and all of tables with their styles in them.
SELECT l.language, octet_length(mail) BETWEEN 5000 AND 100000 AS small, mail !~* '<(style|svg|script|img|link)' AS plain, xml_is_well_formed_document(replace(mail, '<!DOCTYPE html>', '')) AS well_formed,
       (SELECT string_agg(s.said, ', ' ORDER BY s.number) FROM said(mail, '//h2') AS s) AS parts, (SELECT string_agg(s.said, ' ' ORDER BY s.number) FROM (SELECT * FROM said(mail, '//td//table//table[1]//td') LIMIT 4) AS s) AS first_line
FROM unnest('{en,pl,fr}'::text[]) AS l (language), LATERAL (SELECT retention.report_mail('orders', '2024-09-01Z', language => l.language, currency => 'EUR')) AS m (mail);

-- Analysts may have it, and need nothing of what it is made of.
CREATE ROLE report_page_reader;
SELECT retention.grant_access('report_page_reader', 'analyst');
GRANT SELECT ON made TO report_page_reader;
GRANT USAGE ON SCHEMA report_page_test TO report_page_reader;
SET ROLE report_page_reader;
SELECT page = retention.report_page(document, 'en', 'EUR') AS same FROM made;
SELECT page = retention.report_html('orders', '2024-09-01Z', currency => 'EUR') AS same FROM made;
SELECT length(retention.chart(retention.chart_bar(retention.chart_steps(2, 0, 100), retention.chart_scale(0, 5, 90, 10), '{1,2}', '{3,5}'), 100, 'two bars')) > 100 AS drawn;
RESET ROLE;
DROP OWNED BY report_page_reader;
DROP ROLE report_page_reader;
DROP EXTENSION retention CASCADE;
DROP SCHEMA report_page_test CASCADE;
