-- Marks of charts: scales, and that what is drawn lies where the values are.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
\pset format unaligned

-- A scale begins and ends at round numbers around its values.
SELECT v.low, v.high, round(s.low::numeric, 6) AS scale_low, round(s.high::numeric, 6) AS scale_high, round(s.step::numeric, 6) AS step,
       (SELECT array_agg(trim_scale(round(t::numeric, 6)) ORDER BY t) FROM unnest(retention.chart_ticks(s)) AS t) AS ticks
FROM (VALUES (0, 2176), (0, 83), (-3.5, 12), (0, 0), (5, 5), (0.002, 0.019), (1e9, 7.3e9), (NULL::float8, NULL)) AS v (low, high),
     retention.chart_scale(v.low, v.high, 200, 20) AS s;
-- Its ends lie where it was told, and what has no place has none.
SELECT retention.chart_at(s, s.low) = 200 AS starts, retention.chart_at(s, s.high) = 20 AS ends, retention.chart_at(s, (s.low + s.high) / 2) = 110 AS middle,
       retention.chart_at(s, NULL) IS NULL AND retention.chart_at(s, 'NaN') IS NULL AND retention.chart_at(s, '-Infinity') IS NULL AS nowhere
FROM retention.chart_scale(0, 83, 200, 20) AS s;
-- At random: all values within, at most so many ticks and one more, none of them far from the values.
SELECT bool_and(s.low <= v.low AND s.high >= v.high) AS within, bool_and(cardinality(retention.chart_ticks(s)) BETWEEN 2 AND 8) AS few,
       bool_and(s.low > v.low - s.step AND s.high < v.high + s.step) AS close
FROM (SELECT r * n, r * n + m FROM (SELECT sin(i) * 10 ^ (i % 9), 1 + cos(i), 10 ^ (i % 7) * (1.1 + cos(i * i)) FROM generate_series(1, 500) AS i) AS x (r, n, m)) AS v (low, high),
     retention.chart_scale(v.low, v.high, 0, 100) AS s;

-- Each mark, over three things of which one has no value.
SELECT m.mark FROM retention.chart_steps(3, 10, 100) AS x, retention.chart_scale(0, 10, 200, 20) AS y, LATERAL (VALUES
  (1, retention.chart_bar(x, y, '{1,2,3}', '{10,NULL,-5}', NULL, 'c2', '{ten,none,"<five>"}')),
  (2, retention.chart_bar(x, y, '{1}', '{10}', '{4}')),
  (3, retention.chart_line(x, y, '{1,2,3}', '{10,5,NaN}', 'dashed')),
  (4, retention.chart_line(x, y, '{1,2,3}', '{10,NULL,5}')),
  (5, retention.chart_dots(x, y, '{1,2,3}', '{10,NULL,5}', 'c3', '{a,b,c}')),
  (6, retention.chart_band(x, y, '{1,2,3}', '{1,2,3}', '{9,8,7}')),
  (7, retention.chart_cell(x, retention.chart_steps(2, 0, 40), '{1,2,3}', '{1,1,2}', '{0,9,NULL}', '{a,b,c}')),
  (8, retention.chart_ribbon(1, 99, '{0}', '{50}', '{10}', '{c1}', '{"from & to"}')),
  (9, retention.chart_left_axis(x, retention.chart_scale(0, 10, 200, 20, 2), '{none,some,all}', 'of "it"')),
  (10, retention.chart_bottom_axis(x, y, '{1,2,3}', '{a,NULL,c}', 'unit')),
  (11, retention.chart_label(1, 2, 'a rather long label', 'end', 10)),
  (12, retention.chart_bar(x, y, '{}', '{}') || retention.chart_line(x, y, '{}', '{}') || retention.chart_dots(x, y, NULL, NULL) || retention.chart_band(x, y, '{}', '{}', '{}')),
  (13, retention.chart('<rect/>', 100, 'says "what" it shows', 'mine'))) AS m (number, mark) ORDER BY m.number;
-- Shades are ten, the lowest and highest value in the first and last.
SELECT array_agg(retention.chart_shade(v, 0, 50) ORDER BY v) FROM generate_series(-10, 60, 5) AS v;
SELECT retention.chart_shade(1, 1, 1) AS one_value, retention.chart_shade(NULL, 0, 1) IS NULL AS none;

-- Whatever a text is, it is a text: as XML reads it, it is what it was.
CREATE TABLE pg_temp.hostile AS SELECT number, raw FROM unnest(ARRAY[
  '<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', '''--></style></svg><b>', '&lt;b&gt; &amp; &#60;', ']]>', E'tab\tand\nline', repeat('x', 5000), '',
  U&'\202Eright to left\202C', U&'\05E9\05DC\05D5\05DD', U&'\00E9\0142\FFFD', '%s %1$s {{ name }} \u0041', E'bell\a, escape\x1b, delete\x7f']) WITH ORDINALITY AS t (raw, number);
SELECT number, left(retention.html_text(raw), 60) AS written FROM pg_temp.hostile WHERE raw ~ '^[ -~]*$' ORDER BY 1;
SELECT bool_and((xpath('string(/a)', a))[1]::text IS NOT NULL) AS parsed,
       bool_and(unescaped = regexp_replace(raw, '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f]', '', 'g')) AS same,
       bool_and(retention.html_text(raw) !~ '[<>"'']') AS no_marks, retention.html_text(NULL) IS NULL AS nothing
FROM pg_temp.hostile, LATERAL (SELECT format('<a b="%s">%1$s</a>', retention.html_text(raw))::xml) AS x (a),
     LATERAL (SELECT replace(replace(replace(replace(replace(retention.html_text(raw), '&lt;', '<'), '&gt;', '>'), '&quot;', '"'), '&#39;', ''''), '&amp;', '&')) AS u (unescaped);
-- So in every mark that takes texts.
SELECT bool_and(xml_is_well_formed_document(format('<svg>%s</svg>', m.mark)) AND m.mark !~* '<(script|img|style|b)|onerror=\S*alert\(1\)>') AS harmless
FROM pg_temp.hostile AS h, retention.chart_steps(1, 10, 100) AS x, retention.chart_scale(0, 10, 200, 20) AS y, LATERAL (VALUES
  (retention.chart_bar(x, y, '{1}', '{10}', NULL, h.raw, ARRAY[h.raw])), (retention.chart_line(x, y, '{1,2}', '{10,5}', h.raw, h.raw)),
  (retention.chart_dots(x, y, '{1}', '{10}', h.raw, ARRAY[h.raw])), (retention.chart_band(x, y, '{1}', '{1}', '{9}', h.raw, h.raw)),
  (retention.chart_cell(x, y, '{1}', '{1}', '{0}', ARRAY[h.raw], ARRAY[h.raw])), (retention.chart_ribbon(1, 99, '{0}', '{50}', '{10}', ARRAY[h.raw], ARRAY[h.raw])),
  (retention.chart_left_axis(x, y, ARRAY[h.raw], h.raw)), (retention.chart_bottom_axis(x, y, '{1}', ARRAY[h.raw], h.raw)),
  (retention.chart_label(1, 2, h.raw, h.raw)), (retention.chart(retention.chart_label(1, 2, 'x'), 100, h.raw, h.raw))) AS m (mark);
-- The styles have no way out of their element.
SELECT retention.chart_style() !~ '[<&]' AS chart_style, retention.chart_cell_style() !~ '[<&]' AS cell_style,
       (SELECT count(*) FROM regexp_matches(retention.chart_cell_style(), '\.h\d\{', 'g')) AS shades;
DROP EXTENSION retention;
