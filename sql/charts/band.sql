-- Bands: what lies between two lines, such as an interval.

CREATE OR REPLACE FUNCTION retention.chart_band(
    x retention.chart_scale, y retention.chart_scale, at double precision[],
    low double precision[], high double precision[], class text DEFAULT 'c1',
    hint text DEFAULT NULL)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(retention._chart_path('M' || string_agg(
           retention._chart_place(p.px) || ' ' || retention._chart_place(p.py), 'L'
           ORDER BY p.turn) || 'Z', 'band ' || class, hint), '')
  -- There along one line, back along the other.
  FROM (SELECT c.turn, retention.chart_at(x, b.place), retention.chart_at(y, c.value)
        FROM unnest(at, low, high) WITH ORDINALITY AS b (place, bottom, top, number),
             LATERAL (VALUES (b.number, b.top), (2 * cardinality(low) + 1 - b.number, b.bottom))
               AS c (turn, value)
        WHERE b.bottom IS NOT NULL AND b.top IS NOT NULL) AS p (turn, px, py)
  WHERE p.px + p.py IS NOT NULL
$$;
COMMENT ON FUNCTION retention.chart_band(
  retention.chart_scale, retention.chart_scale, double precision[], double precision[],
  double precision[], text, text) IS
  'What lies between two lines, as one shape. Points that lack a value are left out.';
