-- The page's forecast.

CREATE OR REPLACE FUNCTION retention._page_forecast_figure(
    document jsonb, look jsonb, what text, is_money boolean)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH r AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY v.number) AS number, v.expected, v.low, v.high, v.came,
           retention._page_local(look, f.row ->> 'starts_at') AS starts,
           retention._page_local(look, f.row ->> 'ends_at') AS ends
    FROM jsonb_array_elements(document #> '{sections,forecast,period}') AS f (row),
         LATERAL (SELECT (f.row ->> 'number')::integer, (f.row ->> what)::double precision,
                         (f.row ->> (what || '_low'))::double precision,
                         (f.row ->> (what || '_high'))::double precision,
                         (f.row ->> ('year_ago_actual_' || what))::double precision)
           AS v (number, expected, low, high, came)),
  s AS MATERIALIZED (
    SELECT retention.chart_steps(max(number)::integer, 8, 100) AS x,
           retention.chart_scale(0, max(greatest(high, came)), 206, 26) AS y FROM r)
  SELECT retention._page_figure(look,
    retention._page_word(look, what || '_forecast_finding',
      retention._page_amount(look, sum(r.expected)::numeric, is_money),
      retention._page_day(look, max(r.ends), 'month')),
    retention._page_word(look, 'forecast_note'),
    retention.chart(
      retention.chart_left_axis(s.x, s.y, retention._page_labels(look, s.y),
        CASE WHEN is_money THEN retention._page_word(look, 'revenue_axis',
                                                     retention._page_unit(look))
             ELSE retention._page_word(look, 'orders_axis') END)
      || retention.chart_band(s.x, s.y, array_agg(r.number), array_agg(r.low), array_agg(r.high))
      || retention.chart_line(s.x, s.y, array_agg(r.number), array_agg(r.expected))
      || retention.chart_dots(s.x, s.y, array_agg(r.number), array_agg(r.came), 'c2')
      || retention.chart_bottom_axis(s.x, s.y, array_agg(r.number), array_agg(
           retention._page_day(look, r.starts, 'name')),
           retention._page_day(look, min(r.starts), 'month') || ' - '
             || retention._page_day(look, max(r.starts), 'month')),
      244, retention._page_word(look, 'forecast_note') || ' ' || string_agg(format(
        '%s: %s (%s - %s)', retention._page_day(look, r.starts, 'month'),
        retention._page_amount(look, r.expected::numeric, is_money),
        retention._page_amount(look, r.low::numeric, is_money),
        retention._page_amount(look, r.high::numeric, is_money)), '; ' ORDER BY r.number))
    || retention._page_legend('{c1,c2}', ARRAY[retention._page_word(look, 'expected'),
                                               retention._page_word(look, 'came_year_ago')]),
    ARRAY[retention._page_word(look, 'month'), retention._page_word(look, 'expected'),
          retention._page_word(look, 'interval_80'), retention._page_word(look, 'came_year_ago')],
    jsonb_agg(jsonb_build_array(retention._page_day(look, r.starts, 'month'),
      retention._page_amount(look, r.expected::numeric, is_money),
      format('%s - %s', retention._page_amount(look, r.low::numeric, is_money),
             retention._page_amount(look, r.high::numeric, is_money)),
      retention._page_amount(look, r.came::numeric, is_money)) ORDER BY r.number))
  FROM r, s GROUP BY s.x, s.y HAVING sum(r.expected) IS NOT NULL
$$;
COMMENT ON FUNCTION retention._page_forecast_figure(jsonb, jsonb, text, boolean) IS
  'What is expected, with its interval, and what came a year ago.';

CREATE OR REPLACE FUNCTION retention._page_forecast(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(concat(retention._page_forecast_figure(document, look, 'orders', false),
                       retention._page_forecast_figure(document, look, 'revenue', true)), '')
$$;
COMMENT ON FUNCTION retention._page_forecast(jsonb, jsonb) IS
  'What the customers of today are expected to do.';
