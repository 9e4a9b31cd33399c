-- The page's groups: tiles, and who moved between them.

CREATE OR REPLACE FUNCTION retention._page_group_order(document jsonb)
  RETURNS TABLE (name text, number bigint, class text)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT o.name, o.number, 'c' || CASE WHEN o.number > 90 THEN 0 ELSE (o.number - 1) % 7 + 1 END
  FROM (SELECT g.rfm_group, row_number() OVER (ORDER BY p.median_revenue DESC NULLS LAST,
                                               g.rfm_group)
        FROM jsonb_to_recordset(document #> '{sections,groups,period}') AS g (rfm_group text)
        LEFT JOIN jsonb_to_recordset(document #> '{sections,performance,period}')
          AS p (rfm_group text, median_revenue numeric) USING (rfm_group)
        UNION ALL
        -- Those of none, at either end of a move.
        SELECT m.name, 90 + row_number() OVER (ORDER BY m.name)
        FROM (SELECT unnest(ARRAY[x.from_group, x.to_group])
              FROM jsonb_to_recordset(document #> '{sections,moves,period}')
                     AS x (from_group text, to_group text)
              EXCEPT SELECT g.rfm_group
              FROM jsonb_to_recordset(document #> '{sections,groups,period}')
                     AS g (rfm_group text)) AS m (name)) AS o (name, number)
$$;
COMMENT ON FUNCTION retention._page_group_order(jsonb) IS
  'The groups, those that buy for most first, with a colour each.';

CREATE OR REPLACE FUNCTION retention._page_group_tiles(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._page_tiles(retention._page_word(look, 'title_groups'), string_agg(
    retention._page_tile(g.rfm_group, retention._page_number(look, g.at_end),
      retention._page_change(look, g.at_start, g.at_end) || ' '
        || retention.html_text(retention._page_word(look, 'in_period')),
      format('<svg class="meter" width="100%%" height="6" aria-hidden="true"><rect class="track" '
             'width="100%%" height="6" rx="3"/><rect class="%s" width="%s%%" height="6" rx="3"/>'
             '</svg>%s', o.class, round(greatest(p.percent_of_revenue, 0), 1),
             retention.html_text(retention._page_word(look, 'of_revenue',
               retention._page_percent(look, p.percent_of_revenue)))),
      retention.html_text(retention._page_word(look, 'group_medians',
        retention._page_number(look, p.median_orders),
        retention._page_money(look, p.median_revenue),
        retention._page_number(look, p.median_days_since_last_order)))), ''
    ORDER BY o.number))
  FROM jsonb_to_recordset(document #> '{sections,groups,period}')
         AS g (rfm_group text, at_start numeric, at_end numeric)
  JOIN retention._page_group_order(document) AS o ON o.name = g.rfm_group
  LEFT JOIN jsonb_to_recordset(document #> '{sections,performance,period}') AS p (
    rfm_group text, percent_of_revenue numeric, median_days_since_last_order numeric,
    median_orders numeric, median_revenue numeric) USING (rfm_group)
$$;
COMMENT ON FUNCTION retention._page_group_tiles(jsonb, jsonb) IS
  'A tile for each group: how many, how that has changed, what they bring and how they buy.';

CREATE OR REPLACE FUNCTION retention._page_move_places(document jsonb, height double precision)
  RETURNS TABLE (
    from_group text, to_group text, customers numeric, class text, from_y double precision,
    to_y double precision, thickness double precision)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- Each side is one pile of all customers, with a gap of 6 pixels between groups.
  SELECT m.from_group, m.to_group, m.customers,
         CASE WHEN m.from_group = m.to_group THEN 'c0' ELSE t.class END,
         m.f * s.unit + 6 * (m.f_rank - 1), m.t * s.unit + 6 * (m.t_rank - 1), m.customers * s.unit
  FROM (SELECT x.*, f.number AS f_number, t.number AS t_number,
               sum(x.customers) OVER (ORDER BY f.number, t.number) - x.customers AS f,
               sum(x.customers) OVER (ORDER BY t.number, f.number) - x.customers AS t,
               dense_rank() OVER (ORDER BY f.number) AS f_rank,
               dense_rank() OVER (ORDER BY t.number) AS t_rank
        FROM jsonb_to_recordset(document #> '{sections,moves,period}')
               AS x (from_group text, to_group text, customers numeric)
        JOIN retention._page_group_order(document) AS f ON f.name = x.from_group
        JOIN retention._page_group_order(document) AS t ON t.name = x.to_group) AS m
  JOIN retention._page_group_order(document) AS t ON t.name = m.to_group,
       LATERAL (SELECT (height - 48) / nullif((
         SELECT sum(y.customers)::double precision
         FROM jsonb_to_recordset(document #> '{sections,moves,period}') AS y (customers numeric)),
         0)) AS s (unit)
  ORDER BY m.f_number, m.t_number
$$;
COMMENT ON FUNCTION retention._page_move_places(jsonb, double precision) IS
  'Where each ribbon of those who moved begins and ends.';

CREATE OR REPLACE FUNCTION retention._page_move_ends(
    look jsonb, document jsonb, height double precision)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(format('<rect class="bar %s" x="%s%%" y="%s" width="1.2%%" height="%s">%s'
                           '</rect>', o.class, CASE WHEN e.is_left THEN 0 ELSE 98.8 END,
                           retention._chart_place(e.y), retention._chart_place(e.size),
                           retention._chart_hint(w.label))
           || CASE WHEN e.size > 13
                THEN retention.chart_label(CASE WHEN e.is_left THEN 2.2 ELSE 97.8 END,
                       e.y + e.size / 2 + 4, w.label,
                       'strong halo ' || CASE WHEN e.is_left THEN '' ELSE 'end' END, 30)
                ELSE '' END, '' ORDER BY e.is_left DESC, e.y)
  FROM (SELECT s.name, s.is_left, min(s.y), sum(p.thickness), sum(p.customers)
        FROM retention._page_move_places(document, height) AS p,
             LATERAL (VALUES (p.from_group, true, p.from_y), (p.to_group, false, p.to_y))
               AS s (name, is_left, y)
        GROUP BY s.name, s.is_left) AS e (name, is_left, y, size, customers)
  JOIN retention._page_group_order(document) AS o USING (name),
       LATERAL (SELECT retention._page_word(look, e.name) || ' '
                       || retention._page_number(look, e.customers)) AS w (label)
$$;
COMMENT ON FUNCTION retention._page_move_ends(jsonb, jsonb, double precision) IS
  'The groups at both sides of the ribbons.';

CREATE OR REPLACE FUNCTION retention._page_moves(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  WITH p AS MATERIALIZED (
    SELECT m.*, retention._page_word(look, 'move', retention._page_number(look, m.customers),
             retention._page_word(look, m.from_group), retention._page_word(look, m.to_group))
             AS sentence
    FROM retention._page_move_places(document, 420) AS m),
  most AS (
    SELECT * FROM p WHERE from_group <> to_group AND from_group <> 'Never purchased'
    ORDER BY customers DESC LIMIT 1)
  SELECT retention._page_figure(look,
           coalesce((SELECT retention._page_word(look, 'moves_finding',
                       retention._page_number(look, most.customers),
                       retention._page_word(look, most.from_group),
                       retention._page_word(look, most.to_group)) FROM most),
                    retention._page_word(look, 'moves_none')),
           retention._page_word(look, 'moves_note'),
           retention.chart(
             retention.chart_ribbon(1.2, 98.8, array_agg(p.from_y), array_agg(p.to_y),
                                    array_agg(p.thickness), array_agg(p.class),
                                    array_agg(p.sentence))
             || retention._page_move_ends(look, document, 420), 420,
             retention._page_word(look, 'moves_note') || ' ' || string_agg(p.sentence, '; '
               ORDER BY p.customers DESC), 'moves'),
           ARRAY[retention._page_word(look, 'from'), retention._page_word(look, 'to'),
                 retention._page_word(look, 'customers')],
           jsonb_agg(jsonb_build_array(retention._page_word(look, p.from_group),
             retention._page_word(look, p.to_group), retention._page_number(look, p.customers))),
           'wide')
  FROM p HAVING count(*) > 0
$$;
COMMENT ON FUNCTION retention._page_moves(jsonb, jsonb) IS
  'Ribbons from the group of each customer at the start to that at the end.';

CREATE OR REPLACE FUNCTION retention._page_groups(document jsonb, look jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT nullif(concat(retention._page_group_tiles(document, look),
                       retention._page_moves(document, look)), '')
$$;
COMMENT ON FUNCTION retention._page_groups(jsonb, jsonb) IS 'The groups, and who moved.';
