-- The page's value: how it is spread over customers, past and to come.

CREATE OR REPLACE FUNCTION retention._page_deciles(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH d AS MATERIALIZED (
    SELECT v.*, y.percent AS year_ago
    FROM jsonb_to_recordset(document #> '{sections,value,period}') AS v (
           decile integer, customers numeric, revenue numeric, percent numeric,
           cumulative_percent numeric, lowest numeric, highest numeric)
    LEFT JOIN (
      SELECT a.* FROM jsonb_to_recordset(document #> '{sections,value,year_ago}')
                        AS a (decile integer, percent numeric)
      -- Where the shop had orders long enough before, as its totals know.
      WHERE document #> '{sections,totals,period}' @> '[{"period": "year_ago", "is_known": true}]')
      AS y USING (decile)),
  s AS MATERIALIZED (
    SELECT retention.chart_steps(max(decile), 8, 100) AS x,
           retention.chart_scale(least(min(percent), 0), max(greatest(percent, year_ago)), 206, 26)
             AS y FROM d)
  SELECT retention._page_figure(look,
    retention._page_word(look, 'deciles_finding', retention._page_percent(look,
      max(d.percent) FILTER (WHERE d.decile = 1), 0)),
    retention._page_word(look, 'deciles_note'),
    retention.chart(
      retention.chart_left_axis(s.x, s.y, retention._page_labels(look, s.y, true),
                                retention._page_word(look, 'share_of_revenue'))
      || retention.chart_bar(s.x, s.y, array_agg(d.decile), array_agg(d.percent), NULL, 'c1',
           array_agg(d.decile || ': ' || retention._page_percent(look, d.percent)))
      || retention.chart_dots(s.x, s.y, array_agg(d.decile), array_agg(d.year_ago), 'c2')
      || retention.chart_bottom_axis(s.x, s.y, array_agg(d.decile), array_agg(d.decile::text),
                                     retention._page_word(look, 'deciles_axis')),
      244, retention._page_word(look, 'deciles_note') || ' '
        || string_agg(d.decile || ': ' || retention._page_percent(look, d.percent), '; '
                      ORDER BY d.decile))
    || retention._page_legend('{c1,c2}', ARRAY[retention._page_word(look, 'this_period'),
                                               retention._page_word(look, 'a_year_ago')]),
    ARRAY[retention._page_word(look, 'tenth'), retention._page_word(look, 'customers'),
          retention._page_word(look, 'revenue'), retention._page_word(look, 'share_of_revenue'),
          retention._page_word(look, 'a_year_ago'), retention._page_word(look, 'lowest')],
    jsonb_agg(jsonb_build_array(d.decile, retention._page_number(look, d.customers),
      retention._page_money(look, d.revenue), retention._page_percent(look, d.percent),
      retention._page_percent(look, d.year_ago), retention._page_money(look, d.lowest))
      ORDER BY d.decile))
  FROM d, s GROUP BY s.x, s.y
$$;
COMMENT ON FUNCTION retention._page_deciles(jsonb, jsonb) IS
  'What each tenth of customers brings.';

CREATE OR REPLACE FUNCTION retention._page_predicted(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH b AS MATERIALIZED (
    SELECT v.*, row_number() OVER w AS number,
           sum(v.percent) OVER (ORDER BY v.bin DESC) AS best,
           sum(v.percent_of_predicted) OVER (ORDER BY v.bin DESC) AS best_brings,
           CASE WHEN v.below_value IS NULL THEN retention._page_short(look, v.from_value) || '+'
                ELSE '<' || retention._page_short(look, v.below_value) END AS label
    FROM jsonb_to_recordset(document #> '{sections,predicted_value,period}') AS v (
      bin integer, customers numeric, percent numeric, from_value double precision,
      below_value double precision, predicted_clv numeric, percent_of_predicted numeric)
    WINDOW w AS (ORDER BY v.bin)),
  s AS MATERIALIZED (
    SELECT retention.chart_steps(max(number)::integer, 8, 100) AS x,
           retention.chart_scale(0, max(greatest(percent, percent_of_predicted)), 206, 26) AS y
    FROM b)
  SELECT retention._page_figure(look,
    (SELECT retention._page_word(look, 'predicted_finding',
              retention._page_percent(look, f.best, 0),
              retention._page_percent(look, f.best_brings, 0))
     FROM b AS f ORDER BY abs(f.best - 20) LIMIT 1),
    retention._page_word(look, 'predicted_note'),
    retention.chart(
      retention.chart_left_axis(s.x, s.y, retention._page_labels(look, s.y, true),
                                retention._page_word(look, 'share'))
      || retention.chart_bar(s.x, s.y, array_agg(b.number - 0.19), array_agg(b.percent), NULL, 'c0',
           array_agg(retention._page_percent(look, b.percent)), 0.36)
      || retention.chart_bar(s.x, s.y, array_agg(b.number + 0.19),
           array_agg(b.percent_of_predicted), NULL, 'c3',
           array_agg(retention._page_percent(look, b.percent_of_predicted)), 0.36)
      || retention.chart_bottom_axis(s.x, s.y, array_agg(b.number), array_agg(b.label),
                                     retention._page_word(look, 'predicted_axis')),
      244, retention._page_word(look, 'predicted_note') || ' ' || string_agg(format('%s: %s, %s',
        b.label, retention._page_percent(look, b.percent),
        retention._page_percent(look, b.percent_of_predicted)), '; ' ORDER BY b.bin))
    || retention._page_legend('{c0,c3}', ARRAY[retention._page_word(look, 'of_customers'),
                                               retention._page_word(look, 'of_predicted')]),
    ARRAY[retention._page_word(look, 'predicted_axis'), retention._page_word(look, 'customers'),
          retention._page_word(look, 'of_customers'), retention._page_word(look, 'predicted'),
          retention._page_word(look, 'of_predicted')],
    jsonb_agg(jsonb_build_array(b.label, retention._page_number(look, b.customers),
      retention._page_percent(look, b.percent), retention._page_money(look, b.predicted_clv),
      retention._page_percent(look, b.percent_of_predicted)) ORDER BY b.bin))
  FROM b, s GROUP BY s.x, s.y
$$;
COMMENT ON FUNCTION retention._page_predicted(jsonb, jsonb) IS
  'How what is predicted is spread over customers.';

CREATE OR REPLACE FUNCTION retention._page_value(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(concat(retention._page_deciles(document, look),
                       retention._page_predicted(document, look)), '')
$$;
COMMENT ON FUNCTION retention._page_value(jsonb, jsonb) IS 'How value is spread over customers.';
