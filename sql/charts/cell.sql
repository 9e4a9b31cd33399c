-- Cells: a map of a number by two things.

CREATE OR REPLACE FUNCTION retention.chart_shade(
    value double precision, low double precision, high double precision)
  RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT greatest(least(floor(9.999 * coalesce((value - low) / nullif(high - low, 0), 0)), 9), 0)
         ::integer
  WHERE value IS NOT NULL
$$;
COMMENT ON FUNCTION retention.chart_shade(
  double precision, double precision, double precision) IS
  'Which of ten shades a value has, 0 the lowest: classes "h0" to "h9" of chart_cell_style.';

CREATE OR REPLACE FUNCTION retention.chart_cell(
    x retention.chart_scale, y retention.chart_scale, at double precision[],
    row_at double precision[], shade integer[], label text[], hint text[] DEFAULT NULL)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(format(
           '<g class="cell h%s"><rect x="%s%%" y="%s" width="%s%%" height="%s">%s</rect>%s</g>',
           c.shade, retention._chart_place(p.x0), retention._chart_place(least(p.y0, p.y1)),
           retention._chart_place(p.x1 - p.x0), retention._chart_place(abs(p.y1 - p.y0)),
           retention._chart_hint(hint[c.number]),
           retention.chart_label((p.x0 + p.x1) / 2, (p.y0 + p.y1) / 2 + 4, c.label, 'middle')),
           '' ORDER BY c.number), '')
  FROM unnest(at, row_at, shade, label) WITH ORDINALITY AS c (at, row_at, shade, label, number),
       LATERAL (SELECT retention.chart_at(x, c.at - 0.5), retention.chart_at(x, c.at + 0.5),
                       retention.chart_at(y, c.row_at - 0.5), retention.chart_at(y, c.row_at + 0.5))
         AS p (x0, x1, y0, y1)
  WHERE c.shade IS NOT NULL
$$;
COMMENT ON FUNCTION retention.chart_cell(
  retention.chart_scale, retention.chart_scale, double precision[], double precision[], integer[],
  text[], text[]) IS
  'A cell of a shade at each place of two scales of steps, with its label.';

CREATE OR REPLACE FUNCTION retention._shade_style(
    shade text, is_high boolean, low_ink text, high_ink text)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('background:%s;fill:%1$s;color:%s', shade,
                CASE WHEN is_high THEN high_ink ELSE low_ink END)
$$;
COMMENT ON FUNCTION retention._shade_style(text, boolean, text, text) IS
  'How one shade looks.';

CREATE OR REPLACE FUNCTION retention.chart_cell_style() RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- Letters are dark on the light shades and light on the dark ones, at least 4.5 to 1.
  SELECT string_agg(format('.h%s{%s}', s.number - 1, retention._shade_style(s.shade, s.number > 5,
                           '#17202b', '#fff')), '' ORDER BY s.number)
         || '@media screen and (prefers-color-scheme:dark){'
         || string_agg(format('.h%s{%s}', s.number - 1, retention._shade_style(s.dark,
                              s.number > 5, '#e8edf3', '#0b1119')), '' ORDER BY s.number) || '}'
  FROM unnest('{#f1f6fb,#e1ecf7,#cfe1f2,#b7d3ec,#98c1e3,#3473b0,#2b69a7,#215d9b,#17508b,#0d437b}'
                ::text[],
              '{#18232f,#1a2c3e,#1c364f,#1e4161,#214d75,#5d9fdf,#74b0e8,#8cc0ee,#a5d0f4,#bfe0fa}'
                ::text[]) WITH ORDINALITY AS s (shade, dark, number)
$$;
COMMENT ON FUNCTION retention.chart_cell_style() IS
  'How shades look in cells of charts and of tables, for a style element.';
