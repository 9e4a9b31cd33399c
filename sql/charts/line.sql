-- Lines through points, and the points.

CREATE OR REPLACE FUNCTION retention._chart_line(
    x retention.chart_scale, y retention.chart_scale, at double precision[],
    value double precision[])
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- Where a value is missing, the line begins anew.
  SELECT string_agg(CASE WHEN n.starts THEN 'M' ELSE 'L' END || retention._chart_place(n.px) || ' '
                    || retention._chart_place(n.py), '' ORDER BY n.number)
  FROM (SELECT l.number, p.px, p.py, lag(p.px + p.py) OVER (ORDER BY l.number) IS NULL
        FROM unnest(at, value) WITH ORDINALITY AS l (at, value, number),
             LATERAL (SELECT retention.chart_at(x, l.at), retention.chart_at(y, l.value))
               AS p (px, py)) AS n (number, px, py, starts)
  WHERE n.px + n.py IS NOT NULL
$$;
COMMENT ON FUNCTION retention._chart_line(
  retention.chart_scale, retention.chart_scale, double precision[], double precision[]) IS
  'The path through points.';

CREATE OR REPLACE FUNCTION retention.chart_line(
    x retention.chart_scale, y retention.chart_scale, at double precision[],
    value double precision[], class text DEFAULT 'c1', hint text DEFAULT NULL)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(retention._chart_path(retention._chart_line(x, y, at, value), 'line ' || class,
                                        hint), '')
$$;
COMMENT ON FUNCTION retention.chart_line(
  retention.chart_scale, retention.chart_scale, double precision[], double precision[], text,
  text) IS
  'A line through points, with a gap where a value is null. Class "dashed" is for what is only '
  'expected.';

CREATE OR REPLACE FUNCTION retention.chart_dots(
    x retention.chart_scale, y retention.chart_scale, at double precision[],
    value double precision[], class text DEFAULT 'c1', hint text[] DEFAULT NULL,
    radius double precision DEFAULT 4)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(format('<circle class="dot %s" cx="%s%%" cy="%s" r="%s">%s</circle>',
           retention.html_text(class), retention._chart_place(p.px), retention._chart_place(p.py),
           retention._chart_place(radius), retention._chart_hint(hint[l.number])), ''
           ORDER BY l.number), '')
  FROM unnest(at, value) WITH ORDINALITY AS l (at, value, number),
       LATERAL (SELECT retention.chart_at(x, l.at), retention.chart_at(y, l.value)) AS p (px, py)
  WHERE p.px + p.py IS NOT NULL
$$;
COMMENT ON FUNCTION retention.chart_dots(
  retention.chart_scale, retention.chart_scale, double precision[], double precision[], text,
  text[], double precision) IS
  'A dot at each point that has both values.';
