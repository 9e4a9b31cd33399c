-- The page's tables: five examples, flows, where attributes are used, and what moved most.

CREATE OR REPLACE FUNCTION retention._page_examples(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._page_figure(look, retention._page_word(look, 'examples_finding'),
    retention._page_word(look, 'examples_note'),
    retention._page_tiles(retention._page_word(look, 'title_examples'), string_agg(
      retention._page_tile(retention._page_word(look, e.profile),
        retention._page_money(look, e.predicted_clv),
        retention.html_text(retention._page_word(look, 'example_predicted',
          retention._page_percent(look, 100 * e.churn_probability, 0))),
        '<bdi>' || retention.html_text(retention._page_word(look, 'example', e.customer_id))
          || '</bdi>',
        retention.html_text(retention._page_word(look, 'example_history',
          retention._page_number(look, e.historic_number_of_orders),
          retention._page_money(look, e.historic_clv))),
        retention.html_text(retention._page_word(look, 'example_customers',
          retention._page_number(look, e.customers)))), ''
      ORDER BY e.number), 'profiles'), NULL, NULL, 'wide')
  FROM jsonb_to_recordset(document #> '{sections,examples,period}') AS e (
    number integer, profile text, customers numeric, customer_id text,
    historic_number_of_orders numeric, historic_clv numeric, predicted_clv numeric,
    churn_probability numeric)
  HAVING count(*) > 0
$$;
COMMENT ON FUNCTION retention._page_examples(jsonb, jsonb) IS
  'Five typical customers and what is predicted of them.';

CREATE OR REPLACE FUNCTION retention._page_flows(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._page_figure(look,
    retention._page_word(look, 'flows_finding',
                         retention._page_money(look, coalesce(sum(f.attributed_revenue), 0)),
                         retention._page_number(look, sum(f.sent))),
    retention._page_word(look, 'flows_note'),
    retention._page_table(look, ARRAY[retention._page_word(look, 'flow'),
        retention._page_word(look, 'status'), retention._page_word(look, 'entered'),
        retention._page_word(look, 'sent'), retention._page_word(look, 'orders'),
        retention._page_word(look, 'earned'), retention._page_word(look, 'uplift')],
      jsonb_agg(jsonb_build_array(f.flow, retention._page_word(look, f.status),
        retention._page_number(look, f.entered), retention._page_number(look, f.sent),
        retention._page_number(look, f.attributed_orders),
        retention._page_money(look, f.attributed_revenue),
        retention._page_number(look, 100 * u.uplift, 1)
          || format(' (%s - %s)', retention._page_number(look, 100 * u.uplift_low, 1),
                    retention._page_number(look, 100 * u.uplift_high, 1)))
        ORDER BY f.attributed_revenue DESC NULLS LAST, f.flow)), NULL, NULL, 'wide')
  FROM jsonb_to_recordset(document #> '{sections,flows,period}') AS f (
         flow text, status text, entered numeric, sent numeric, attributed_orders numeric,
         attributed_revenue numeric)
  LEFT JOIN jsonb_to_recordset(document #> '{sections,flow_uplift,period}') AS u (
         flow text, uplift numeric, uplift_low numeric, uplift_high numeric) USING (flow)
  HAVING count(*) > 0
$$;
COMMENT ON FUNCTION retention._page_flows(jsonb, jsonb) IS
  'What flows sent and earned, and what customers who were held out did without.';

CREATE OR REPLACE FUNCTION retention._page_usage(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._page_figure(look,
    retention._page_word(look, 'usage_finding', count(DISTINCT u.attribute)::text,
                         count(DISTINCT (u.kind, u.name))::text),
    NULL,
    retention._page_table(look, ARRAY[retention._page_word(look, 'name'),
        retention._page_word(look, 'kind'), retention._page_word(look, 'attribute'),
        retention._page_word(look, 'through'), retention._page_word(look, 'customers'),
        retention._page_word(look, 'status')],
      jsonb_agg(jsonb_build_array(u.name, retention._page_word(look, u.kind), u.attribute,
        u.through_segment, retention._page_number(look, u.size),
        retention._page_word(look, u.status)) ORDER BY u.kind, u.name, u.attribute)),
    NULL, NULL, 'wide')
  FROM jsonb_to_recordset(document #> '{sections,usage,period}') AS u (
    attribute text, kind text, name text, through_segment text, size numeric, status text)
  HAVING count(*) > 0
$$;
COMMENT ON FUNCTION retention._page_usage(jsonb, jsonb) IS
  'Which segments, flows and others use which attribute.';

CREATE OR REPLACE FUNCTION retention._page_moved(document jsonb, look jsonb, subject text)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._page_word(look, 'moved', retention._page_word(look, subject),
           retention._page_number(look, m.before), retention._page_number(look, m.now),
           CASE WHEN m.now >= m.before THEN '+' ELSE '-' END
             || retention._page_percent(look, abs(100 * (m.now - m.before) / m.before)))
  FROM (SELECT g.at_start, g.at_end
        FROM jsonb_to_recordset(document #> '{sections,groups,period}')
               AS g (rfm_group text, at_start numeric, at_end numeric) WHERE g.rfm_group = subject
        UNION ALL
        SELECT max((t.row ->> subject)::numeric) FILTER (WHERE t.row ->> 'period' = 'before'),
               max((t.row ->> subject)::numeric) FILTER (WHERE t.row ->> 'period' = 'period')
        FROM jsonb_array_elements(document #> '{sections,totals,period}') AS t (row)
        WHERE subject IN ('orders', 'revenue', 'customers', 'new_customers'))
         AS m (before, now)
  WHERE m.before > 0 AND m.now IS NOT NULL LIMIT 1
$$;
COMMENT ON FUNCTION retention._page_moved(jsonb, jsonb, text) IS
  'How a total or a group has changed, in the language of the page; null of anything else.';

CREATE OR REPLACE FUNCTION retention._page_sentence(look jsonb, sentence text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- With numbers as the rest of the page has them; what comes first weighs most.
  SELECT format('<p><bdi><strong>%s</strong>%s</bdi></p>', retention.html_text(p.part[1]),
                ' ' || retention.html_text(p.part[2]))
  FROM regexp_replace(sentence, E'(\\d) (?=\\d{3}(?!\\d))', E'\\1' || (look ->> 'thousand'),
                      'g') AS n,
       regexp_replace(n, E'(\\d) %', E'\\1' || (look ->> 'gap') || '%', 'g') AS s,
       regexp_match(s, E'^(.*?\\.)(?: (.*))?$') AS p (part)
$$;
COMMENT ON FUNCTION retention._page_sentence(jsonb, text) IS 'A sentence of report_changes.';

CREATE OR REPLACE FUNCTION retention._page_told(document jsonb, look jsonb)
  RETURNS TABLE (number integer, query text, told text)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- The sentences of the document are in English.
  SELECT c.number, c.query, c.told
  FROM (SELECT r.number, r.query, CASE look ->> 'language' WHEN 'en' THEN r.sentence
                 ELSE retention._page_moved(document, look, r.subject) END
        FROM jsonb_to_recordset(document #> '{sections,changes,period}')
               AS r (number integer, subject text, sentence text, query text))
         AS c (number, query, told)
  WHERE c.told IS NOT NULL AND c.number <= 6
$$;
COMMENT ON FUNCTION retention._page_told(jsonb, jsonb) IS
  'What moved most, in the language of the page, with the queries that prove it.';

CREATE OR REPLACE FUNCTION retention._page_changes(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '<ol class="changes">' || string_agg(format(
           '<li>%s<details><summary>%s</summary><pre tabindex="0">%s</pre></details></li>',
           retention._page_sentence(look, c.told),
           retention.html_text(retention._page_word(look, 'proof')),
           retention.html_text(c.query)), '' ORDER BY c.number) || '</ol>'
  FROM retention._page_told(document, look) AS c
$$;
COMMENT ON FUNCTION retention._page_changes(jsonb, jsonb) IS
  'What moved most, in sentences, each with the query that proves it.';
