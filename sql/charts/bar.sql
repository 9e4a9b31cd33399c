-- Bars: upright, from one value to another.

CREATE OR REPLACE FUNCTION retention.chart_bar(
    x retention.chart_scale, y retention.chart_scale, at double precision[],
    value double precision[], base double precision[] DEFAULT NULL, class text DEFAULT 'c1',
    hint text[] DEFAULT NULL, width double precision DEFAULT 0.7)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(format(
           '<rect class="bar %s" x="%s%%" y="%s" width="%s%%" height="%s" rx="1.5">%s</rect>',
           retention.html_text(class), retention._chart_place(p.x0),
           retention._chart_place(least(p.y0, p.y1)), retention._chart_place(p.x1 - p.x0),
           retention._chart_place(greatest(abs(p.y1 - p.y0), 0.5)),
           retention._chart_hint(hint[b.number])), '' ORDER BY b.number), '')
  FROM unnest(at, value) WITH ORDINALITY AS b (at, value, number),
       LATERAL (SELECT retention.chart_at(x, b.at - width / 2),
                       retention.chart_at(x, b.at + width / 2),
                       retention.chart_at(y, coalesce(base[b.number], 0)),
                       retention.chart_at(y, b.value)) AS p (x0, x1, y0, y1)
  WHERE p.x0 IS NOT NULL AND p.y1 IS NOT NULL
$$;
COMMENT ON FUNCTION retention.chart_bar(
  retention.chart_scale, retention.chart_scale, double precision[], double precision[],
  double precision[], text, text[], double precision) IS
  'A bar for each value, from its base, 0 unless given. The width is in steps of x. A value that '
  'is null has none.';
