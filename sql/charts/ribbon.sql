-- Ribbons: what goes from one column to another, as wide as it is much.

CREATE OR REPLACE FUNCTION retention.chart_ribbon(
    from_x double precision, to_x double precision, from_y double precision[],
    to_y double precision[], thickness double precision[], class text[],
    hint text[] DEFAULT NULL)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(retention._chart_path(
           format('M%1$s %4$sC%3$s %4$s %3$s %5$s %2$s %5$sV%7$sC%3$s %7$s %3$s %6$s %1$s %6$sZ',
                  retention._chart_place(from_x), retention._chart_place(to_x),
                  retention._chart_place((from_x + to_x) / 2), retention._chart_place(r.from_y),
                  retention._chart_place(r.to_y), retention._chart_place(r.from_y + r.thickness),
                  retention._chart_place(r.to_y + r.thickness)),
           'ribbon ' || r.class, hint[r.number]), '' ORDER BY r.number), '')
  FROM unnest(from_y, to_y, thickness, class) WITH ORDINALITY
         AS r (from_y, to_y, thickness, class, number)
$$;
COMMENT ON FUNCTION retention.chart_ribbon(
  double precision, double precision, double precision[], double precision[], double precision[],
  text[], text[]) IS
  'A ribbon from each from_y at the per cent from_x to its to_y at to_x, of a thickness in pixels.';
