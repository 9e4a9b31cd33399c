-- The page's model: how predictions did on what was held out, and what they rest on.

CREATE OR REPLACE FUNCTION retention._page_weeks(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH r AS MATERIALIZED (
    SELECT v.number, v.actual, v.predicted, v.item::date AS week
    FROM jsonb_to_recordset(document #> '{sections,validation,period}') AS v (
      section text, number integer, item text, actual double precision,
      predicted double precision)
    WHERE v.section = 'week'),
  -- The last week is not a whole one.
  whole AS (SELECT * FROM r WHERE number < (SELECT max(number) FROM r)),
  s AS MATERIALIZED (
    SELECT retention.chart_steps(max(number), 8, 100) AS x,
           retention.chart_scale(0, max(greatest(actual, predicted)), 206, 26) AS y FROM whole)
  SELECT retention._page_figure(look,
    retention._page_word(look, 'weeks_finding', retention._page_percent(look,
      (100 * abs(sum(r.predicted) / nullif(sum(r.actual), 0) - 1))::numeric)),
    retention._page_word(look, 'weeks_note'),
    retention.chart(
      retention.chart_left_axis(s.x, s.y, retention._page_labels(look, s.y),
                                retention._page_word(look, 'weeks_axis'))
      || retention.chart_line(s.x, s.y, array_agg(r.number), array_agg(r.actual), 'c2')
      || retention.chart_line(s.x, s.y, array_agg(r.number), array_agg(r.predicted), 'c1')
      || retention.chart_bottom_axis(s.x, s.y, array_agg(r.number), array_agg(
           CASE WHEN r.number % 13 = 1 THEN retention._page_day(look, r.week, 'short') END),
           retention._page_day(look, min(r.week), 'month') || ' - '
             || retention._page_day(look, max(r.week), 'month')),
      244, retention._page_word(look, 'weeks_note') || ' ' || string_agg(format('%s: %s, %s',
        r.week, retention._page_number(look, r.predicted::numeric),
        retention._page_number(look, r.actual::numeric)), '; ' ORDER BY r.number))
    || retention._page_legend('{c1,c2}', ARRAY[retention._page_word(look, 'predicted'),
                                               retention._page_word(look, 'actual')]),
    ARRAY[retention._page_word(look, 'week'), retention._page_word(look, 'predicted'),
          retention._page_word(look, 'actual')],
    jsonb_agg(jsonb_build_array(retention._page_day(look, r.week),
      retention._page_number(look, r.predicted::numeric),
      retention._page_number(look, r.actual::numeric)) ORDER BY r.number))
  FROM whole r, s GROUP BY s.x, s.y
$$;
COMMENT ON FUNCTION retention._page_weeks(jsonb, jsonb) IS
  'Orders predicted and come, week by week of the hold-out.';

CREATE OR REPLACE FUNCTION retention._page_calibration(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH r AS MATERIALIZED (
    SELECT v.number, v.item, v.customers, 100 * v.actual AS actual, 100 * v.predicted AS predicted
    FROM jsonb_to_recordset(document #> '{sections,validation,period}') AS v (
      section text, number integer, item text, customers double precision, actual double precision,
      predicted double precision)
    WHERE v.section = 'order' AND v.actual IS NOT NULL AND v.predicted IS NOT NULL),
  s AS (SELECT retention.chart_scale(0, 100, 8, 100) AS x,
               retention.chart_scale(0, 100, 206, 26) AS y)
  SELECT retention._page_figure(look,
    retention._page_word(look, 'calibration_finding', retention._page_number(look,
      (sum(r.customers * abs(r.actual - r.predicted)) / nullif(sum(r.customers), 0))::numeric,
      1)),
    retention._page_word(look, 'calibration_note'),
    retention.chart(
      retention.chart_left_axis(s.x, s.y, retention._page_labels(look, s.y, true),
                                retention._page_word(look, 'calibration_actual'))
      || retention.chart_line(s.x, s.y, '{0,100}', '{0,100}', 'c0 dashed')
      || retention.chart_line(s.x, s.y, array_agg(r.predicted ORDER BY r.number),
                              array_agg(r.actual ORDER BY r.number))
      || retention.chart_dots(s.x, s.y, array_agg(r.predicted), array_agg(r.actual), 'c1',
           array_agg(format('%s: %s, %s', r.item, retention._page_percent(look, r.actual::numeric),
                            retention._page_number(look, r.customers::numeric))))
      || retention.chart_bottom_axis(s.x, s.y, '{25,50,75,97}', ARRAY[
           retention._page_percent(look, 25, 0), retention._page_percent(look, 50, 0),
           retention._page_percent(look, 75, 0), retention._page_percent(look, 100, 0)],
           retention._page_word(look, 'calibration_predicted')),
      244, retention._page_word(look, 'calibration_note') || ' ' || string_agg(format('%s: %s',
        retention._page_percent(look, r.predicted::numeric),
        retention._page_percent(look, r.actual::numeric)), '; ' ORDER BY r.number)),
    ARRAY[retention._page_word(look, 'calibration_predicted'),
          retention._page_word(look, 'customers'), retention._page_word(look, 'predicted'),
          retention._page_word(look, 'actual')],
    jsonb_agg(jsonb_build_array(r.item, retention._page_number(look, r.customers::numeric),
      retention._page_percent(look, r.predicted::numeric),
      retention._page_percent(look, r.actual::numeric)) ORDER BY r.number))
  FROM r, s GROUP BY s.x, s.y
$$;
COMMENT ON FUNCTION retention._page_calibration(jsonb, jsonb) IS
  'Whether of those with a predicted probability as many ordered.';

CREATE OR REPLACE FUNCTION retention._page_card_facts(card jsonb, look jsonb)
  RETURNS TABLE (number integer, name text, fact text)
  LANGUAGE sql STABLE ROWS 7 SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    (1, 'history', concat_ws(' - ',
      retention._page_day(look, retention._page_local(look, card ->> 'first_order_at'), 'month'),
      retention._page_day(look, retention._page_local(look, card ->> 'last_order_at'), 'month'))),
    (2, 'customers', retention._page_number(look, (card ->> 'customers')::numeric)),
    (3, 'prediction_window', retention._page_word(look, 'so_many_days',
                                                  card ->> 'prediction_window')),
    (4, 'models', concat_ws(' + ', card ->> 'purchase_model', card ->> 'spend_model')),
    (5, 'fitted_at',
     retention._page_day(look, retention._page_local(look, card ->> 'fitted_at'))),
    (6, 'orders_off', retention._page_percent(look, (card ->> 'orders_percent_off')::numeric)),
    (7, 'revenue_off', retention._page_percent(look, (card ->> 'revenue_percent_off')::numeric)),
    (8, 'auc', retention._page_number(look, (card ->> 'auc')::numeric, 3))
$$;
COMMENT ON FUNCTION retention._page_card_facts(jsonb, jsonb) IS 'The lines of the model''s card.';

CREATE OR REPLACE FUNCTION retention._page_card(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._page_figure(look,
    retention._page_word(look, 'card_finding', retention._page_word(look,
      'confidence_' || (c.card ->> 'confidence'))),
    (SELECT string_agg(r.reason, '; ')
     FROM jsonb_array_elements_text(CASE jsonb_typeof(c.card -> 'reasons') WHEN 'array'
            THEN c.card -> 'reasons' ELSE '[]' END) AS r (reason)),
    (SELECT retention._page_tiles(retention._page_word(look, 'model'), string_agg(
              retention._page_tile(retention._page_word(look, f.name), f.fact), ''
              ORDER BY f.number), 'facts')
     FROM retention._page_card_facts(c.card, look) AS f WHERE f.fact IS NOT NULL),
    NULL, NULL, 'wide')
  FROM jsonb_array_elements(document #> '{sections,model_card,period}') AS c (card) LIMIT 1
$$;
COMMENT ON FUNCTION retention._page_card(jsonb, jsonb) IS 'What predictions rest on.';

CREATE OR REPLACE FUNCTION retention._page_model(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(concat(retention._page_weeks(document, look),
                       retention._page_calibration(document, look),
                       retention._page_card(document, look)), '')
$$;
COMMENT ON FUNCTION retention._page_model(jsonb, jsonb) IS 'How good predictions are.';
