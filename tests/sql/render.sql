-- Templates with the values of a jsonb; buckets.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA test_render;
SET search_path = test_render, pg_catalog;
\set SHOW_CONTEXT never
\set QUIET 1
\i tests/include/failure.sql

-- What templates make of one context.
CREATE TABLE context (context jsonb);
INSERT INTO context VALUES ($${
  "person": {"first_name": "Zoë", "full name": "Zoë \"Z\" O'Neil", "email": "zoe+tea@example.com", "points": 1200, "balance": -0.005, "vip": true,
             "middle_name": "", "title": null, "joined": "2024-02-29", "last_order_at": "2025-01-31T23:05:09.5+05:30", "tags": ["tea", "", null, 3, "<b>"]},
  "items": [{"name": "Green tea", "price": 12.5, "sizes": ["S", "M"]}, {"name": "Cups <6>", "price": 39.995, "sizes": []}, {"name": "Pot", "price": 1e2}],
  "nothing": [], "big": 123456789012345678901234567890.1250, "tiny": 0.00000000000000000001, "html": "<script>alert('x')</script>",
  "url": "https://example.com/?a=1&b=\"2\"", "0": "zero", "loop": "outer", "in": "in", "żółw": "turtle", "a": {"1": "one", "b-c": "d"}
}$$);
CREATE TABLE template (number integer GENERATED ALWAYS AS IDENTITY, template text);
INSERT INTO template (template) VALUES
  -- Paths.
  ('Dear {{ person.first_name }}, {{person.points}} {{ person.vip }} {{ items.0.name }}/{{ items.2.price }}'), ('{{ person."full name" }} {{ a.1 }} {{ a.b-c }} {{ żółw }} {{ loop }}'),
  ('{{ big }} {{ tiny }} {{ person.balance }}'), ('{ {{ a."b-c" }} } }} %} #} {'),
  -- Escaping; literal text is left alone.
  ('<p>{{ html }}</p>'), ('{{ html|safe }}'), ('{{ html|safe|escape }}'), ('<a href="{{ url }}">'), ('{{ person."full name"|upper }}'), ('{{ missing|default:"<i>" }}'),
  -- Filters.
  ('{{ person.middle_name|default:"-" }}{{ person.title|default:''none'' }}{{ person.nobody|default:0 }}{{ person.first_name|default:"x" }}{{ person.middle_name }}'),
  ('{{ person.first_name|upper }} {{ person.first_name|lower }} {{ żółw|capitalize }} {{ person.vip|upper }}'),
  ('{{ items.0.price|round:2 }} {{ items.1.price|round:2 }} {{ items.2.price|round:2 }} {{ items.0.price|round }} {{ person.balance|round:2 }} {{ person.balance|round:1 }} {{ big|round:3 }} {{ tiny|round:20 }} {{ tiny|round:19 }}'),
  ('{{ person.last_order_at|date:"YYYY-MM-DD HH24:MI:SS" }} {{ person.last_order_at|date:"FMHH12:MI am, Dy, FMDDth Mon YY" }} {{ person.joined|date:''Day, Month FMDD "of the year" YYYY'' }} {{ person.joined|date:"HH24:MI" }}'),
  ('{{ person.email|urlencode }} {{ person.first_name|urlencode }} {{ person.points|urlencode }}'),
  ('{{ person.first_name|length }} {{ person.tags|length }} {{ a|length }} {{ person.middle_name|length }}'),
  ('{{ person.tags|join:", " }} {{ items.0.sizes|join:"" }} {{ nothing|join:"," }}'), ('{{ person.tags|first }} {{ person.tags|last }} {{ nothing|first|default:"none" }} {{ items.0.sizes|last|lower }}'),
  ('{{ html|truncate:12 }} {{ person.first_name|truncate:4 }} {{ items.0.name|truncate:8 }}'),
  -- Conditions.
  ('{% if person.vip %}vip{% else %}not{% endif %} {% if person.middle_name %}middle{% elif person.title %}title{% elif person.points > 1000 %}points{% else %}none{% endif %}'),
  ('{% if person.nobody %}1{% endif %}{% if not person.nobody.at.all %}2{% endif %}{% if person.title == null %}3{% endif %}{% if person.nobody != null %}4{% endif %}{% if person.nobody < 5 or person.nobody >= 5 %}5{% endif %}'),
  ('{% if items.0.price == 12.50 and person.points != "1200" and items.2.price == 100 %}equal{% endif %} {% if "tea" in person.tags and 3.0 in person.tags and "t" not in person.tags %}in{% endif %} {% if "script" in html %}part{% endif %}'),
  ('{% if person.joined >= "2024-01-01" and person.joined < "2025-01-01" %}in 2024{% endif %} {% if (person.vip or missing) and not (person.points < 10) %}both{% endif %} {% if items|length == 3 and items.0.name|upper == "GREEN TEA" %}filtered{% endif %}'),
  ('{% if nothing %}1{% endif %}{% if person.balance %}2{% endif %}{% if true and not false and "a" and 1 and -0.5 %}3{% endif %}{% if "" or 0 or 0.00 or null %}4{% endif %}{% if a.b-c == "d" %}5{% endif %}'),
  -- Loops.
  ('{% for item in items %}{{ loop.index }}. {{ item.name }}{% for size in item.sizes %} {{ size }}{% if not loop.last %},{% endif %}{% empty %} one size{% endfor %}{% if loop.first %} (new){% endif %}; {% endfor %}'),
  ('{% for item in items limit:2 %}{{ item.name }}{% if not loop.last %}, {% endif %}{% endfor %}'), ('{% for item in nothing %}x{% empty %}empty{% endfor %} {% for item in missing %}x{% empty %}none{% endfor %}{% for item in nothing %}x{% endfor %}'),
  ('{% for items in items %}{{ items.name|first_letter }}{% endfor %}'), ('{% for items in items %}{{ items.price|round }} {% endfor %}{{ items.0.name }}'),
  -- Comments, raw text and white space.
  ('a{# {{ missing }} {% if #}b{% raw %}{{ person }} {% if %} {# {% endraw %}c'), (E'a  {{- person.points -}}  b {%- if true -%} \n c {%- endif %} d {#- e -#} f'),
  (E'{%\n  if person.vip\n  and person.points > 1\n%}lines{% endif\n%}'), (''), ('{{person.first_name}}'), (E'Zażółć 漢字 🎉 {{ person.first_name }}\n');
SELECT number, template, coalesce(rendered, 'ERROR ' || error) AS rendered FROM template, context, LATERAL retention._try_render(template, context, true) ORDER BY number
\pset format unaligned
\pset fieldsep ': '
\gx
\pset format aligned
-- Without escaping, for subjects and text messages.
SELECT retention.render('{{ html }} {{ html|escape }}', context, false), retention.render('{{ url }}', context, escape => false) AS url FROM context;
-- Null arguments give null.
SELECT retention.render(NULL, '{}') IS NULL AS template, retention.render('', NULL) IS NULL AS context, retention.render('', '{}', NULL) IS NULL AS escape,
       retention._try_render(NULL, '{}', true) IS NULL AS try, retention.template_variables(NULL) IS NULL AS variables;

-- What is wrong with a template, or with a context for it.
CREATE TABLE fault (number integer GENERATED ALWAYS AS IDENTITY, template text, context jsonb DEFAULT '{"a": 1, "b": {"c": "x"}, "list": [1, 2], "name": "Ann"}');
INSERT INTO fault (template) VALUES
  -- Values.
  (E'Dear {{ name }},\n\nżółw {{ person.first_name }}'), ('{{ b.c.d }}'), ('{{ b.x|upper|truncate:10 }}'), ('{{ list.2 }}'), ('{{ list.x }}'), ('{{ list }}'), ('{{ b }}'), ('{{ b|upper }}'), ('{% for i in b %}{% endfor %}'), ('{% for i in a %}{% empty %}{% endfor %}'),
  ('{% for i in none.at.all %}{% endfor %}'), ('{% for i in list %}{{ i.name }}{% endfor %}'), ('{% if a < name %}{% endif %}'), ('{% if list >= list %}{% endif %}'), ('{% if true < false %}{% endif %}'), ('{% if a in name %}{% endif %}'), ('{% if a in b %}{% endif %}'), ('{% if name in a %}{% endif %}'),
  ('{{ name|round:2 }}'), ('{{ name|join:"," }}'), ('{{ a|length }}'), ('{{ name|first }}'), ('{{ name|date:"YYYY" }}'), ('{{ a|date:"YYYY" }}'), ('{{ list|urlencode }}'),
  -- Tags and expressions.
  ('{{ name'), ('{{ name }'), ('{{ name }}{{'), ('{% if a'), ('{# a'), ('{% raw %}{% end raw %}'), ('{{ }}'), ('{{ name name }}'), ('{{ "name" }}'), ('{{ 1 }}'), ('{{ true }}'), ('{{ .name }}'), ('{{ name. }}'), ('{{ name..x }}'), ('{{ b . c }}'), ('{{ name"x" }}'), ('{{ name; }}'), ('{{ a + 1 }}'), ('{{ żółw✓ }}'), ('{{ name|default:"x }}'),
  ('{% %}'), ('{% iff a %}'), ('{% if %}{% endif %}'), ('{% if a %}'), ('{% if a %}{% else %}{% else %}{% endif %}'), ('{% if a %}{% else %}{% elif a %}{% endif %}'), ('{% else %}'), ('{% endif %}'), ('{% endraw %}'), ('{% if a %}{% endfor %}'), ('{% for i in list %}{% if a %}{% endfor %}{% endif %}'), ('{% if a %}{% empty %}{% endif %}'), ('{% endif x %}'),
  ('{% if a == %}{% endif %}'), ('{% if a = 1 %}{% endif %}'), ('{% if a == 1 == 1 %}{% endif %}'), ('{% if (a %}{% endif %}'), ('{% if a) %}{% endif %}'), ('{% if a and %}{% endif %}'), ('{% if not %}{% endif %}'), ('{% if a not b %}{% endif %}'), ('{% if a && b %}{% endif %}'), ('{% if in in b %}{% endif %}'),
  ('{% for %}{% endfor %}'), ('{% for i %}{% endfor %}'), ('{% for i of list %}{% endfor %}'), ('{% for i in %}{% endfor %}'), ('{% for i in [1] %}{% endfor %}'), ('{% for in in list %}{% endfor %}'), ('{% for loop in list %}{% endfor %}'), ('{% for i in list|default:"x" %}{% endfor %}'), ('{% for i in list limit 2 %}{% endfor %}'), ('{% for i in list limit:-1 %}{% endfor %}'), ('{% for i in list limit:1.5 %}{% endfor %}'), ('{% for i in list limit:1000000 %}{% endfor %}'), ('{% for i in list reversed %}{% endfor %}'),
  ('{% for i in list %}{% else %}{% endfor %}'), ('{% for i in list %}{% empty %}{% empty %}{% endfor %}'), ('{% for i in list %}{{ loop }}{% endfor %}'), ('{% for i in list %}{{ loop.length }}{% endfor %}'), ('{% for i in list %}{% for j in loop.x %}{% endfor %}{% endfor %}'), ('{% for i in list %}'),
  -- Filters.
  ('{{ name|shout }}'), ('{{ name| }}'), ('{{ name|"x" }}'), ('{{ name|default }}'), ('{{ name|default: }}'), ('{{ name|default:b.c }}'), ('{{ name|default:true }}'), ('{{ name|upper:"x" }}'), ('{{ name|truncate }}'), ('{{ name|truncate:3 }}'), ('{{ name|truncate:"9" }}'), ('{{ name|truncate:9.5 }}'), ('{{ name|truncate:99999999999 }}'), ('{{ a|round:-1 }}'), ('{{ a|round:31 }}'), ('{{ list|join:1 }}'), ('{{ list|join }}'),
  ('{{ name|date }}'), ('{{ name|date:2 }}'), ('{{ name|date:"yyyy-mm-dd" }}'), ('{{ name|date:"%Y-%m-%d" }}'), ('{{ name|date:"DD.MM.YYYY at HH24" }}'), ('{{ name|date:"FM" }}'), ('{{ name|date:''"open'' }}'), ('{{ name|Upper }}');
INSERT INTO fault (template, context) VALUES ('x', '[]'), ('x', '"text"'), ('x', '7'), ('x', 'null'), ('{{ x', '[]');
INSERT INTO fault (template, context)
  SELECT '{{ d|date:"YYYY" }}', jsonb_build_object('d', d)
  FROM unnest(ARRAY['', '2025', '2025-1-1', '2025-13-01', '2025-00-10', '2025-04-31', '1900-02-29', '0000-01-01', '2025-01-01x', '2025-01-01T', '2025-01-01T24:00', '2025-01-01T10:60', '2025-01-01T10:00:60', '2025-01-01 10:00:00+1', '2025-01-01 10:00 UTC', '2025-01-01T10:00:00.', '2025-01-01 BC', 'infinity', '2025-01-01T10:00:00+02:00:']) AS d;
SELECT number, template, error FROM fault, LATERAL retention._try_render(template, context, true) ORDER BY number;
SELECT count(*) AS faults, count(rendered) AS rendered FROM fault, LATERAL retention._try_render(template, context, true);
-- The same as errors.
SELECT number, state, message = concat(CASE state WHEN '42601' THEN 'template does not parse: ' ELSE 'template cannot be rendered: ' END, error) AS same, detail, hint
FROM fault, LATERAL retention._try_render(template, context, true), LATERAL failure(format('SELECT retention.render(%L, %L)', template, context)) WHERE number IN (1, 6, 9, 13, 19, 23, 25, 26, 46, 90, 115) ORDER BY number;
SELECT retention.render(E'Dear {{ name|default:"you" }},\nyour points: {{ points }}', '{}');
SELECT retention.render('{% if name %}', '{}');
SELECT retention.template_variables('{{ name|nope }}');

-- Dates that are: leap days, all forms of time and zone, years beyond four digits.
SELECT d, retention.render('{{ d|date:"Dy FMDDth Month YYYY HH24:MI:SS" }}', jsonb_build_object('d', d))
FROM unnest(ARRAY['2000-02-29', '2024-12-31T23:59:59Z', '2025-01-01 00:00', '2025-01-01T12:30:45.123456+00', '2025-03-30T02:30:00-09:30', '2025-06-02 10:00:00+0530', '2025-06-03 10:00:00+05:30:15', '0001-01-01', '12025-01-01', '9999-12-31']) AS d;
-- As to_char writes them, for every day of many years and every hour.
SELECT count(*) AS days, count(*) FILTER (WHERE retention.render('{{ d|date:"YYYY YY MM DD HH24 HH12 MI SS Mon Dy AM FMDDth FMMM Month Day MONTH day" }}', jsonb_build_object('d', d)) <>
                                                to_char(d, 'YYYY YY MM DD HH24 HH12 MI SS Mon Dy AM FMDDth FMMM FMMonth FMDay FMMONTH FMday')) AS different
FROM generate_series(timestamp '1890-01-01', '2110-01-01', interval '1 day 1 hour 1 minute 1 second') AS d;
-- As round() rounds, for numbers of all sizes.
SELECT count(*) AS numbers, count(*) FILTER (WHERE retention.render(format('{{ n|round:%s }}', scale), jsonb_build_object('n', n)) <> round(n, scale)::text) AS different
FROM (SELECT (hashint8(g)::numeric * power(10::numeric, g % 40 - 25)) AS n, abs(g) % 12 AS scale FROM generate_series(-3000, 3000) AS g
      UNION ALL SELECT m * power(10::numeric, -e) * 0.5, s FROM generate_series(-21, 21) AS m, generate_series(0, 5) AS e, generate_series(0, 5) AS s) AS number;
-- And numbers and texts compare as in SQL.
SELECT count(*) AS pairs, count(*) FILTER (WHERE retention.render('{% if a < b %}<{% elif a == b %}={% else %}>{% endif %}', jsonb_build_object('a', a, 'b', b), false) <> CASE WHEN a < b THEN '<' WHEN a = b THEN '=' ELSE '>' END) AS different
FROM unnest('{0,0.0,-0.1,-0.10,1,1.000,1.0001,-1,10,9.99,1e30,1e-30,-1e30,123.45,123.4500001}'::numeric[]) AS a, unnest('{0,0.00,-0.1,1,1.0001,-1,10,9.99,1e30,1e-30,-1e30,123.45}'::numeric[]) AS b;
SELECT count(*) AS pairs, count(*) FILTER (WHERE retention.render('{% if a < b %}<{% elif a == b %}={% else %}>{% endif %}{% if a in b %}+{% endif %}', jsonb_build_object('a', a, 'b', b), false) <>
                                                 CASE WHEN a COLLATE "C" < b THEN '<' WHEN a = b THEN '=' ELSE '>' END || CASE WHEN strpos(b, a) > 0 THEN '+' ELSE '' END) AS different
FROM unnest('{"",a,A,ab,b,ż,"2025-01-01",aab,abab}'::text[]) AS a, unnest('{"",a,aab,ż,zż,"2025-01-02",ababab,aaab}'::text[]) AS b;

-- Hostile values: they come out as text, whatever is in them.
SELECT value, retention.render('<p title="{{ v }}">{{ v|truncate:40 }}</p>', jsonb_build_object('v', value)) AS rendered
FROM unnest(ARRAY['<script>alert(1)</script>', '" onmouseover="x', ''' -- ; DROP TABLE x', '{{ v }}{% for i in v %}', '&amp; &', E'\\ \t \n', '漢字🎉ż', '{# #}']) AS value;
-- And what was escaped is what XML reads back.
SELECT count(*) FILTER (WHERE replace(replace(replace(replace(replace(rendered, '&lt;', '<'), '&gt;', '>'), '&quot;', '"'), '&#39;', ''''), '&amp;', '&') = value) AS same,
       count(*) FILTER (WHERE rendered ~ '[<>"'']') AS raw, count(*) AS values
FROM (SELECT value, retention.render('{{ v }}', jsonb_build_object('v', value)) AS rendered
      FROM (SELECT repeat(chr(1 + g % 300) || '<&>"''' || chr(8364), g) AS value FROM generate_series(1, 400) AS g) AS v) AS r;
SELECT length(retention.render('{{ v }}', jsonb_build_object('v', repeat('ż<', 5000)))) AS long_value, length(retention.render('{{ v|truncate:1000 }}', jsonb_build_object('v', repeat('ż<', 5000)), false)) AS truncated;

-- Limits: on them, and beyond.
CREATE TABLE extreme (number integer GENERATED ALWAYS AS IDENTITY, what text, template text, context jsonb);
INSERT INTO extreme (what, template, context) VALUES
  ('32 blocks', repeat('{% if a %}', 32) || 'x' || repeat('{% endif %}', 32), '{"a": 1}'), ('33 blocks', repeat('{% if a %}', 33) || repeat('{% endif %}', 33), '{"a": 1}'),
  ('32 loops', repeat('{% for i in a %}', 32) || '{{ i }}{{ loop.index }}' || repeat('{% endfor %}', 32), '{"a": [7]}'), ('60,000 blocks', repeat('{% for i in a %}', 60000), '{}'),
  ('32 parentheses', '{% if ' || repeat('not (a == (', 16) || 'a' || repeat('))', 16) || ' %}x{% else %}y{% endif %}', '{"a": 1}'), ('33 parentheses', '{% if ' || repeat('(', 33) || 'a' || repeat(')', 33) || ' %}{% endif %}', '{}'),
  ('many not', '{% if ' || repeat('not ', 100001) || 'a %}x{% endif %}', '{}'), ('many or', '{% if ' || repeat('a or ', 50000) || 'b %}x{% endif %}', '{"b": 1}'),
  ('template of 1 MB', repeat('x', 1048576), '{}'), ('longer template', repeat('x', 1048577), '{}'), ('output of 1 MB', repeat('{{ v }}', 16), jsonb_build_object('v', repeat('x', 65536))),
  ('longer output', repeat('{{ v }}', 16) || 'x', jsonb_build_object('v', repeat('x', 65536))), ('escaped output', repeat('{{ v }}', 4), jsonb_build_object('v', repeat('"', 65536))),
  ('100,000 turns', '{% for i in a %}{% endfor %}', jsonb_build_object('a', (SELECT jsonb_agg(g) FROM generate_series(1, 100000) AS g))), ('more turns', E'\n {% for i in a %}{% endfor %}', jsonb_build_object('a', (SELECT jsonb_agg(g) FROM generate_series(1, 100001) AS g))),
  ('turns in turns', '{% for i in a %}{% for j in a %}{% for k in a %}{% endfor %}{% endfor %}{% endfor %}', jsonb_build_object('a', (SELECT jsonb_agg(g) FROM generate_series(1, 1000) AS g))), ('limit', '{% for i in a limit:3 %}{{ i }}{% endfor %}', jsonb_build_object('a', (SELECT jsonb_agg(g) FROM generate_series(1, 1000000) AS g))),
  ('in a large array', '{% for i in a limit:1000 %}{% if 0 in a %}{% endif %}{% endfor %}', jsonb_build_object('a', (SELECT jsonb_agg(g) FROM generate_series(1, 1000) AS g))), ('much work', '{% for i in a %}{% if v|upper|lower|urlencode == "x" %}{% endif %}{% endfor %}', jsonb_build_object('a', (SELECT jsonb_agg(g) FROM generate_series(1, 1000) AS g), 'v', repeat('ż', 50000))),
  ('long searches', '{% for i in a %}{% if w in v %}{% endif %}{% endfor %}', jsonb_build_object('a', (SELECT jsonb_agg(g) FROM generate_series(1, 1000) AS g), 'v', repeat('a', 100000), 'w', repeat('a', 50000) || 'b')), ('long number', '{% for i in a %}{% if n > 1 %}{% endif %}{% endfor %}{{ n|round:2 }}', jsonb_build_object('n', power(10::numeric, 100000), 'a', '[1, 2, 3]'::jsonb)),
  ('long path', '{{ ' || repeat('a.', 100000) || 'a }}', '{"a": {"a": 1}}'), ('long name', '{{ ' || repeat('ż', 100000) || ' }}', '{}'), ('many braces', repeat('{', 1000000), '{}'), ('many tags', repeat('{{a}}', 200000), '{"a": 1}'), ('deep context', '{{ a.0.0.0.0.0|first|first|first }}', format('{"a": %s1%s}', repeat('[', 8), repeat(']', 8))::jsonb),
  ('many filters', '{{ a' || repeat('|upper', 100000) || ' }}', '{"a": "x"}');
SELECT number, what, CASE WHEN length(rendered) > 40 THEN length(rendered) || ' characters' ELSE rendered END AS rendered, error FROM extreme, LATERAL retention._try_render(template, context, true) ORDER BY number;
SELECT (failure(format('SELECT retention.render(%L, %L)', template, context))).* FROM extreme WHERE what = 'more turns';

-- The paths that a template reads.
SELECT template, retention.template_variables(template) FROM (VALUES
  ('Dear {{ person.first_name|default:"you" }}, {{ person.first_name|upper }}: {% for item in event.items %}{{ item.name }}{{ loop.index }}{% for tag in item.tags %}{{ tag }}{{ shop.name }}{% endfor %}{% endfor %}'),
  ('{% if a.b > 1 and "x" in c or not d %}{{ e }}{% elif f.0.g %}{{ person."full name" }}{% endif %}{# {{ no }} #}{% raw %}{{ no }}{% endraw %}'),
  ('{% for i in a %}{{ i }}{% empty %}{{ i }}{{ loop }}{% endfor %}'), ('no variables'), (''), ('{{ ż }}{{ z }}{{ Z }}{{ a.b }}{{ a }}{{ a-b }}')) AS t (template);

-- Many templates in one statement, more than are kept, in any order; broken ones among them.
SELECT count(*) AS rendered, count(DISTINCT template) AS templates,
       count(*) FILTER (WHERE rendered IS DISTINCT FROM CASE WHEN t < 28 THEN format('%s: %s.', t, n) END OR (error IS NULL) <> (t < 28)) AS wrong
FROM (SELECT n, t, template, (result).* FROM (SELECT n, t, template, retention._try_render(template, jsonb_build_object('n', n), true) AS result
      FROM generate_series(1, 20000) AS n, LATERAL (SELECT abs(hashint4(n)) % 30 AS t) AS h, LATERAL (SELECT format('%s: {{ n }}%s', t, CASE WHEN t < 28 THEN '.' ELSE '{{' END) AS template) AS c OFFSET 0) AS r) AS s;
-- The same in PL/pgSQL, where errors leave what is kept as it was.
DO $$
DECLARE
  right_ones integer := 0;
  errors integer := 0;
BEGIN
  FOR n IN 1 .. 300 LOOP
    BEGIN
      IF retention.render(CASE n % 3 WHEN 0 THEN '{{ n }}' WHEN 1 THEN '{{ m }}' ELSE '{{ n' END, jsonb_build_object('n', n)) = n::text THEN
        right_ones := right_ones + 1;
      END IF;
    EXCEPTION WHEN null_value_not_allowed OR syntax_error THEN
      errors := errors + 1;
    END;
  END LOOP;
  RAISE WARNING '% right, % errors', right_ones, errors;
END $$;
-- From stored values: compressed, out of line, with short headers.
CREATE TABLE stored (template text, context jsonb);
ALTER TABLE stored ALTER template SET STORAGE EXTERNAL;
INSERT INTO stored VALUES ('{{ a }}', '{"a": 1}'), (repeat('{{ a }}, ', 1000), '{"a": 1}'), ('{{ a|length }}', jsonb_build_object('a', repeat('x', 100000))), ('{{ a|join:"" }}', jsonb_build_object('a', (SELECT jsonb_agg(md5(g::text)) FROM generate_series(1, 1000) AS g)));
SELECT length(template) AS template, pg_column_size(context) > 2000 AS large, left(md5(retention.render(template, context)), 8) AS rendered FROM stored;
-- In parallel plans too.
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT count(*), count(DISTINCT retention.render(template, context)) AS distinct FROM (SELECT * FROM stored, generate_series(1, 10)) AS s;
RESET max_parallel_workers_per_gather; RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
-- An immutable function: it may be indexed.
CREATE INDEX ON stored (left(retention.render('{{ a }}', '{"a": 1}'), 10));
-- A statement with a time limit ends within a long rendering.
SET statement_timeout = '100ms';
SELECT count(retention.render('{% for i in a %}{% endfor %}' || g, jsonb_build_object('a', (SELECT jsonb_agg(i) FROM generate_series(1, 90000) AS i)))) FROM generate_series(1, 10000) AS g;
RESET statement_timeout;

-- Buckets: fixed for all time.
SELECT left(key, 10) AS key, salt, retention.bucket(key, salt) FROM (VALUES ('', ''), ('a', ''), ('', 'a'), ('a', 'b'), ('b', 'a'), ('ab', 'c'), ('a', 'bc'), ('1010', 'welcome:holdout'), ('żółw 🐢', 'ż'), (repeat('x', 1000), 'long')) AS b (key, salt);
SELECT count(*) FILTER (WHERE retention.bucket(key, salt) <> ('x' || left(encode(sha256(convert_to(salt, 'UTF8') || '\x00' || convert_to(key, 'UTF8')), 'hex'), 8))::bit(32)::bigint % 10000) AS different,
       min(retention.bucket(key, salt)) AS lowest, max(retention.bucket(key, salt)) AS highest
FROM (SELECT g::text AS key, (g % 7)::text AS salt FROM generate_series(1, 50000) AS g) AS k;
SELECT retention.bucket(NULL, 'x') IS NULL AS no_key, retention.bucket('x', NULL) IS NULL AS no_salt;
-- Evenly: chi-square of a hundred classes, 99 degrees of freedom, is between 60 and 150 but for one in ten thousand; so it is for pairs of salts, which are independent.
SELECT salt, sum((n - 2000) ^ 2 / 2000) BETWEEN 60 AND 150 AS even
FROM (SELECT salt, retention.bucket(g::text, salt) / 100 AS class, count(*) AS n FROM generate_series(1, 200000) AS g, unnest('{a,b,holdout,""}'::text[]) AS salt GROUP BY 1, 2) AS c GROUP BY salt ORDER BY salt;
SELECT sum((n - 2000) ^ 2 / 2000) BETWEEN 60 AND 150 AS independent, count(*) AS classes
FROM (SELECT retention.bucket(g::text, 'a') / 1000 AS first, retention.bucket(g::text, 'b') / 1000 AS second, count(*) AS n FROM generate_series(1, 200000) AS g GROUP BY 1, 2) AS c;
-- What json writes is what PostgreSQL reads.
SELECT bool_and(retention.render('[{{ x|json }}]', jsonb_build_object('x', x))::jsonb = jsonb_build_array(x)) AS is_json, string_agg(retention.render('{{ x|json }}', jsonb_build_object('x', x)), ' ')
FROM unnest(ARRAY['"\" \\ / \b\f\n\r\t \u001f \u2028 <script>''&"', '"żółw ☃ 𝄞"', '""', '1.50', '-0.001', 'true', 'null']::jsonb[]) AS x;
DROP SCHEMA test_render CASCADE;
