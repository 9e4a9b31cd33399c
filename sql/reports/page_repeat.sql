-- The page's repeat purchase: the way to the second order, and from one order to the next.

CREATE OR REPLACE FUNCTION retention._page_curve(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH r AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(document #> '{sections,repeat_curve,period}') AS c (
      days integer, share double precision, share_low double precision,
      share_high double precision)
    WHERE c.days <= 365),
  -- Every fifth day is enough for the eye.
  p AS MATERIALIZED (
    SELECT DISTINCT ON (d.day) d.day, 100 * r.share AS share, 100 * r.share_low AS low,
           100 * r.share_high AS high
    FROM generate_series(0, (SELECT max(days) FROM r), 5) AS d (day) JOIN r ON r.days <= d.day
    ORDER BY d.day, r.days DESC),
  s AS MATERIALIZED (
    SELECT retention.chart_scale(0, 365, 8, 100, 6) AS x,
           retention.chart_scale(0, max(high), 206, 26) AS y FROM p),
  w AS (SELECT ROW(0, 365, 8, 100, 60)::retention.chart_scale AS x, s.y FROM s)
  SELECT retention._page_figure(look,
    coalesce((SELECT retention._page_word(look, 'curve_half', min(r.days)::text) FROM r
              WHERE r.share >= 0.5 HAVING count(*) > 0),
             retention._page_word(look, 'curve_some', retention._page_percent(look,
               max(p.share)::numeric, 0), max(p.day)::text)),
    retention._page_word(look, 'curve_note'),
    retention.chart(
      retention.chart_left_axis(w.x, w.y, retention._page_labels(look, w.y, true),
                                retention._page_word(look, 'share_of_customers'))
      || retention.chart_band(w.x, w.y, array_agg(p.day), array_agg(p.low), array_agg(p.high))
      || retention.chart_line(w.x, w.y, array_agg(p.day), array_agg(p.share))
      || retention.chart_bottom_axis(w.x, w.y, '{30,90,180,270,360}', '{30,90,180,270,360}',
                                     retention._page_word(look, 'days_since_first')),
      244, retention._page_word(look, 'curve_note') || ' ' || string_agg(format('%s: %s', p.day,
        retention._page_percent(look, p.share::numeric)), '; ' ORDER BY p.day)
        FILTER (WHERE p.day % 30 = 0)),
    ARRAY[retention._page_word(look, 'days'), retention._page_word(look, 'share'),
          retention._page_word(look, 'interval_95')],
    jsonb_agg(jsonb_build_array(p.day, retention._page_percent(look, p.share::numeric),
      format('%s - %s', retention._page_percent(look, p.low::numeric),
             retention._page_percent(look, p.high::numeric))) ORDER BY p.day)
      FILTER (WHERE p.day % 15 = 0))
  FROM p, w GROUP BY w.x, w.y
$$;
COMMENT ON FUNCTION retention._page_curve(jsonb, jsonb) IS
  'The share that has ordered again by so many days, with its interval.';

CREATE OR REPLACE FUNCTION retention._page_rates(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH r AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(document #> '{sections,repeat_rate,period}') AS c (
      order_number integer, customers numeric, went_on numeric, percent numeric,
      median_days numeric)
    WHERE c.order_number <= 10),
  s AS MATERIALIZED (
    SELECT retention.chart_steps(max(order_number), 8, 100) AS x,
           retention.chart_scale(0, 100, 206, 26) AS y FROM r)
  SELECT retention._page_figure(look,
    retention._page_word(look, 'rates_finding', retention._page_percent(look,
      max(r.percent) FILTER (WHERE r.order_number = 1), 0), retention._page_percent(look,
      max(r.percent) FILTER (WHERE r.order_number = 2), 0)),
    retention._page_word(look, 'rates_note'),
    retention.chart(
      retention.chart_left_axis(s.x, s.y, retention._page_labels(look, s.y, true),
                                retention._page_word(look, 'share_of_customers'))
      || retention.chart_bar(s.x, s.y, array_agg(r.order_number), array_agg(r.percent), NULL, 'c3',
           array_agg(retention._page_percent(look, r.percent)))
      || retention.chart_bottom_axis(s.x, s.y, array_agg(r.order_number),
           array_agg(r.order_number::text), retention._page_word(look, 'rates_axis')),
      244, retention._page_word(look, 'rates_note') || ' ' || string_agg(format('%s: %s',
        r.order_number, retention._page_percent(look, r.percent)), '; ' ORDER BY r.order_number)),
    ARRAY[retention._page_word(look, 'order_number'), retention._page_word(look, 'customers'),
          retention._page_word(look, 'went_on'), retention._page_word(look, 'share'),
          retention._page_word(look, 'median_days')],
    jsonb_agg(jsonb_build_array(r.order_number, retention._page_number(look, r.customers),
      retention._page_number(look, r.went_on), retention._page_percent(look, r.percent),
      retention._page_number(look, r.median_days, 1)) ORDER BY r.order_number))
  FROM r, s GROUP BY s.x, s.y
$$;
COMMENT ON FUNCTION retention._page_rates(jsonb, jsonb) IS
  'How many go on from one order to the next.';

CREATE OR REPLACE FUNCTION retention._page_repeat(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(concat(retention._page_curve(document, look),
                       retention._page_rates(document, look)), '')
$$;
COMMENT ON FUNCTION retention._page_repeat(jsonb, jsonb) IS 'Who orders again, and when.';
