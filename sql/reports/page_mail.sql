-- The page as mail programs show it: tables, styles in every element, no pictures.

CREATE OR REPLACE FUNCTION retention._mail_heading(title text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '<h2 style="margin:28px 0 8px;font-size:18px;color:#17202b">' || retention.html_text(title)
         || '</h2>'
$$;
COMMENT ON FUNCTION retention._mail_heading(text) IS 'The heading of a part of the mail.';

CREATE OR REPLACE FUNCTION retention._mail_table(heads text[], rows jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('<table width="100%%" cellpadding="0" cellspacing="0" style="border-collapse:'
                'collapse;font-size:14px"><tr>%s</tr>%s</table>',
    (SELECT string_agg(format('<th align="%s" style="padding:6px 4px;font-weight:normal;'
              'font-size:12px;color:#566270">%s</th>', CASE h.number WHEN 1 THEN 'left'
              ELSE 'right' END, retention.html_text(h.head)), '' ORDER BY h.number)
     FROM unnest(heads) WITH ORDINALITY AS h (head, number)),
    (SELECT string_agg('<tr>' || c.cells || '</tr>', '' ORDER BY r.number)
     FROM jsonb_array_elements(rows) WITH ORDINALITY AS r (cells, number),
          LATERAL (SELECT string_agg(format('<td align="%s" style="padding:6px 4px;'
                     'border-top:1px solid #e3e7ec"><bdi>%s</bdi></td>', CASE t.number WHEN 1
                     THEN 'left' ELSE 'right' END, coalesce(retention.html_text(
                       CASE WHEN length(t.cell) > 60 THEN left(t.cell, 59) || '...' ELSE t.cell END
                     ), '&#8211;')), '' ORDER BY t.number)
                   FROM jsonb_array_elements_text(r.cells) WITH ORDINALITY AS t (cell, number))
            AS c (cells)))
  WHERE rows IS NOT NULL
$$;
COMMENT ON FUNCTION retention._mail_table(text[], jsonb) IS
  'A table of these heads and rows, an array of arrays of texts.';

CREATE OR REPLACE FUNCTION retention._mail_change(look jsonb, before numeric, after numeric)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN after > before THEN '+' ELSE '' END
         || retention._page_percent(look, 100 * (after - before) / nullif(before, 0))
$$;
COMMENT ON FUNCTION retention._mail_change(jsonb, numeric, numeric) IS
  'By how much a number has changed, with its sign; null where that is not known.';

CREATE OR REPLACE FUNCTION retention._mail_totals(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._mail_table(ARRAY['', retention._page_word(look, 'this_period'),
           retention._page_word(look, 'to_before'), retention._page_word(look, 'to_year_ago')],
         jsonb_agg(jsonb_build_array(retention._page_word(look, f.name),
           retention._page_amount(look, f.now, f.name = 'revenue'),
           retention._mail_change(look, f.before, f.now),
           retention._mail_change(look, f.year_ago, f.now))
           ORDER BY f.number))
  FROM (SELECT n.number, n.name,
               max((t.row ->> n.name)::numeric) FILTER (WHERE t.period = 'period') AS now,
               max((t.row ->> n.name)::numeric) FILTER (WHERE t.period = 'before') AS before,
               max((t.row ->> n.name)::numeric) FILTER (WHERE t.period = 'year_ago') AS year_ago
        FROM unnest('{revenue,orders,customers,new_customers}'::text[]) WITH ORDINALITY
               AS n (name, number),
             LATERAL (SELECT r, r ->> 'period' FROM jsonb_array_elements(
                        document #> '{sections,totals,period}') AS r
                      WHERE r ->> 'period' = 'period' OR (r ->> 'is_known')::boolean)
               AS t (row, period)
        GROUP BY n.number, n.name) AS f
$$;
COMMENT ON FUNCTION retention._mail_totals(jsonb, jsonb) IS 'The totals, as a table for mail.';

CREATE OR REPLACE FUNCTION retention._mail_changes(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(replace(retention._page_sentence(look, c.told), '<p>',
                            '<p style="margin:0 0 10px;color:#566270">'), '' ORDER BY c.number)
  FROM retention._page_told(document, look) AS c
$$;
COMMENT ON FUNCTION retention._mail_changes(jsonb, jsonb) IS 'What moved most, for mail.';

CREATE OR REPLACE FUNCTION retention._mail_groups(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._mail_table(ARRAY['', retention._page_word(look, 'customers'),
           retention._page_word(look, 'in_period'), retention._page_word(look, 'share_of_revenue')],
         jsonb_agg(jsonb_build_array(g.rfm_group, retention._page_number(look, g.at_end),
           retention._mail_change(look, g.at_start, g.at_end),
           retention._page_percent(look, p.percent_of_revenue)) ORDER BY o.number))
  FROM jsonb_to_recordset(document #> '{sections,groups,period}')
         AS g (rfm_group text, at_start numeric, at_end numeric)
  JOIN retention._page_group_order(document) AS o ON o.name = g.rfm_group
  LEFT JOIN jsonb_to_recordset(document #> '{sections,performance,period}')
         AS p (rfm_group text, percent_of_revenue numeric) USING (rfm_group)
$$;
COMMENT ON FUNCTION retention._mail_groups(jsonb, jsonb) IS 'The groups, as a table for mail.';

CREATE OR REPLACE FUNCTION retention._mail_forecast(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._mail_table(ARRAY['', retention._page_word(look, 'orders'),
           retention._page_word(look, 'revenue'), retention._page_word(look, 'interval_80')],
         jsonb_agg(jsonb_build_array(
           retention._page_day(look, retention._page_local(look, f.starts_at), 'month'),
           retention._page_number(look, f.orders), retention._page_money(look, f.revenue),
           retention._page_money(look, f.revenue_low) || ' - '
             || retention._page_money(look, f.revenue_high)) ORDER BY f.number))
  FROM jsonb_to_recordset(document #> '{sections,forecast,period}') AS f (
    number integer, starts_at text, orders numeric, revenue numeric, revenue_low numeric,
    revenue_high numeric)
  WHERE f.number <= 6
$$;
COMMENT ON FUNCTION retention._mail_forecast(jsonb, jsonb) IS
  'What is expected of the next six months, as a table for mail.';

CREATE OR REPLACE FUNCTION retention._mail_body(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(retention._mail_heading(retention._page_word(look, 'title_' || p.section))
                    || p.written, '' ORDER BY p.number)
  FROM (VALUES (1, 'totals', retention._mail_totals(document, look)),
               (2, 'changes', retention._mail_changes(document, look)),
               (3, 'groups', retention._mail_groups(document, look)),
               (4, 'forecast', retention._mail_forecast(document, look)))
         AS p (number, section, written)
  WHERE p.written IS NOT NULL
$$;
COMMENT ON FUNCTION retention._mail_body(jsonb, jsonb) IS 'The parts of the mail.';

CREATE OR REPLACE FUNCTION retention.report_mail(
    metric text DEFAULT 'orders', "from" timestamptz DEFAULT NULL,
    "to" timestamptz DEFAULT retention.now(), language text DEFAULT 'en',
    currency text DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  look jsonb := retention._page_look(language, currency, 'UTC');
  document jsonb := retention.report(metric, "from", "to");
BEGIN
  PERFORM retention._pin_settings();
  look := jsonb_set(look, '{zone}', document -> 'time_zone');
  RETURN format('<!DOCTYPE html><html lang="%s"><head><meta charset="utf-8"/><title>%s</title>'
    '</head><body style="margin:0;background:#f3f5f8"><table width="100%%" cellpadding="16" '
    'style="font-family:Arial,sans-serif;font-size:14px;line-height:1.5;color:#17202b"><tr>'
    '<td align="center"><table width="600" cellpadding="24" style="max-width:100%%;'
    'background:#ffffff;text-align:left"><tr><td><h1 style="margin:0;font-size:24px">%2$s</h1>'
    '<p style="margin:4px 0 0;color:#566270">%s</p>%s</td></tr></table></td></tr></table></body>'
    '</html>', language,
    retention.html_text(retention._page_word(look, 'page_title') || ': ' || metric),
    retention.html_text(retention._page_span(look, document #> '{periods,period}', 'period')),
    coalesce(retention._mail_body(document, look), ''));
END
$$;
COMMENT ON FUNCTION retention.report_mail(text, timestamptz, timestamptz, text, text) IS
  'The most important of the reports in a form that mail programs show: tables, styles in every '
  'element, no pictures, and below 100 kB. For the arguments see report_html.';
