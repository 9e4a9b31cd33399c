-- The page's totals, with how they have changed.

CREATE OR REPLACE FUNCTION retention._page_totals(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH total AS (
    SELECT * FROM jsonb_to_recordset(document #> '{sections,totals,period}') AS t (
      period text, is_known boolean, customers numeric, new_customers numeric, orders numeric,
      revenue numeric)),
  figure AS (
    SELECT f.number, f.name, f.is_money,
           max(f.value) FILTER (WHERE t.period = 'period') AS now,
           max(f.value) FILTER (WHERE t.period = 'before' AND t.is_known) AS before,
           max(f.value) FILTER (WHERE t.period = 'year_ago' AND t.is_known) AS year_ago
    FROM total t, LATERAL (VALUES (1, 'revenue', true, t.revenue), (2, 'orders', false, t.orders),
      (3, 'customers', false, t.customers), (4, 'new_customers', false, t.new_customers),
      (5, 'order_value', true, t.revenue / nullif(t.orders, 0)))
      AS f (number, name, is_money, value)
    GROUP BY f.number, f.name, f.is_money)
  SELECT retention._page_tiles(retention._page_word(look, 'title_totals'), string_agg(
    retention._page_tile(retention._page_word(look, f.name),
      CASE WHEN f.is_money THEN retention._page_money(look, f.now)
           ELSE retention._page_number(look, f.now) END,
      c.before || ' ' || retention.html_text(retention._page_word(look, 'to_before')),
      c.year_ago || ' ' || retention.html_text(retention._page_word(look, 'to_year_ago'))), ''
    ORDER BY f.number))
  FROM figure f, LATERAL (SELECT retention._page_change(look, f.before, f.now, true),
                                 retention._page_change(look, f.year_ago, f.now, true))
                   AS c (before, year_ago)
$$;
COMMENT ON FUNCTION retention._page_totals(jsonb, jsonb) IS
  'What was ordered, against the period before and a year ago.';
