-- The page's new and returning customers.

CREATE OR REPLACE FUNCTION retention._page_new_and_returning(document jsonb, look jsonb)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH r AS MATERIALIZED (
    SELECT c.*, row_number() OVER (ORDER BY c.period_start) AS number,
           retention._page_day(look, c.period_start, 'month')
             || CASE WHEN c.is_complete THEN '' ELSE ' *' END AS label
    FROM (SELECT * FROM jsonb_to_recordset(document #> '{sections,new_and_returning,period}') AS x (
            period_start date, is_complete boolean, customers numeric, new_customers numeric,
            returning_customers numeric, new_revenue numeric, returning_revenue numeric)
          ORDER BY x.period_start DESC LIMIT 13) AS c),
  s AS MATERIALIZED (
    SELECT retention.chart_steps(max(number)::integer, 8, 100) AS x,
           retention.chart_scale(0, max(new_revenue + returning_revenue), 206, 26) AS y FROM r)
  SELECT retention._page_figure(look,
    retention._page_word(look, 'returning_finding', retention._page_percent(look,
      100 * sum(r.returning_revenue)
      / nullif(sum(r.returning_revenue + r.new_revenue), 0), 0)),
    retention._page_word(look, 'returning_note'),
    retention.chart(
      retention.chart_left_axis(s.x, s.y, retention._page_labels(look, s.y),
                                retention._page_word(look, 'revenue_axis',
                                                     retention._page_unit(look)))
      || retention.chart_bar(s.x, s.y, array_agg(r.number), array_agg(r.returning_revenue), NULL,
           'c1', array_agg(r.label || ': ' || retention._page_money(look, r.returning_revenue)))
      || retention.chart_bar(s.x, s.y, array_agg(r.number),
           array_agg(r.new_revenue + r.returning_revenue), array_agg(r.returning_revenue), 'c6',
           array_agg(r.label || ': ' || retention._page_money(look, r.new_revenue)))
      || retention.chart_bottom_axis(s.x, s.y, array_agg(r.number), array_agg(
           retention._page_day(look, r.period_start, 'name')
             || CASE WHEN r.is_complete THEN '' ELSE '*' END),
           retention._page_day(look, min(r.period_start), 'month') || ' - '
             || retention._page_day(look, max(r.period_start), 'month')),
      244, retention._page_word(look, 'returning_note') || ' ' || string_agg(format('%s: %s, %s',
        r.label, retention._page_money(look, r.returning_revenue),
        retention._page_money(look, r.new_revenue)), '; ' ORDER BY r.number))
    || retention._page_legend('{c1,c6}', ARRAY[retention._page_word(look, 'returning'),
                                               retention._page_word(look, 'new_ones')]),
    ARRAY[retention._page_word(look, 'month'), retention._page_word(look, 'returning'),
          retention._page_word(look, 'new_ones'), retention._page_word(look, 'customers'),
          retention._page_word(look, 'new_customers')],
    jsonb_agg(jsonb_build_array(r.label, retention._page_money(look, r.returning_revenue),
      retention._page_money(look, r.new_revenue), retention._page_number(look, r.customers),
      retention._page_number(look, r.new_customers)) ORDER BY r.number), 'wide')
  FROM r, s GROUP BY s.x, s.y
$$;
COMMENT ON FUNCTION retention._page_new_and_returning(jsonb, jsonb) IS
  'What new and returning customers brought, month by month.';
