-- Axes: ticks with labels, lines across, a unit.

CREATE OR REPLACE FUNCTION retention.chart_left_axis(
    x retention.chart_scale, y retention.chart_scale, labels text[], unit text DEFAULT NULL)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  -- Labels stand on their lines, left of the marks: they need no margin of their own.
  SELECT string_agg(format('<line class="%s" x1="0" x2="%s%%" y1="%s" y2="%3$s"/>',
                      CASE t.value WHEN 0 THEN 'base' ELSE 'grid' END,
                      retention._chart_place((x).ends), retention._chart_place(p.place))
                    || retention.chart_label(0, p.place - 4, labels[t.number], 'tick'), ''
                    ORDER BY t.number)
         || coalesce(retention.chart_label(0, (y).ends - 20, unit, 'unit'), '')
  FROM unnest(retention.chart_ticks(y)) WITH ORDINALITY AS t (value, number),
       LATERAL retention.chart_at(y, t.value) AS p (place)
$$;
COMMENT ON FUNCTION
  retention.chart_left_axis(retention.chart_scale, retention.chart_scale, text[], text) IS
  'Lines across at the ticks of y with these labels, as far as x goes, and the unit above.';

CREATE OR REPLACE FUNCTION retention.chart_bottom_axis(
    x retention.chart_scale, y retention.chart_scale, at double precision[], labels text[],
    unit text DEFAULT NULL)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(retention.chart_label(p.place, (y).starts + 17, labels[t.number],
           'tick middle' || CASE WHEN t.number % 2 = 0 AND cardinality(at) > 8
                                 THEN ' alternate' ELSE '' END, 16), '' ORDER BY t.number), '')
         || coalesce(retention.chart_label((x).ends, (y).starts + 34, unit, 'unit end'), '')
  FROM unnest(at) WITH ORDINALITY AS t (value, number),
       LATERAL retention.chart_at(x, t.value) AS p (place)
  WHERE labels[t.number] IS NOT NULL
$$;
COMMENT ON FUNCTION retention.chart_bottom_axis(
  retention.chart_scale, retention.chart_scale, double precision[], text[], text) IS
  'Labels below y at these values of x, without those that are null, and the unit below them. Of '
  'more than eight, every second is of class "alternate", to be left out where there is no room.';
