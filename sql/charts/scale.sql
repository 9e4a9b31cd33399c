-- Scales: where a value lies.

CREATE OR REPLACE FUNCTION retention.chart_scale(
    low double precision, high double precision, starts double precision, ends double precision,
    ticks integer DEFAULT 5)
  RETURNS retention.chart_scale
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ROW(floor(v.low / s.step) * s.step, ceil(v.high / s.step) * s.step, starts, ends,
             s.step)::retention.chart_scale
  FROM (SELECT b.low, CASE WHEN b.high > b.low THEN b.high ELSE b.low + 1 END
        FROM (VALUES (coalesce(low, 0), coalesce(high, 1))) AS b (low, high)) AS v (low, high),
       LATERAL (SELECT (v.high - v.low) / greatest(ticks, 1)) AS r (rough),
       LATERAL (SELECT power(10, floor(log(r.rough)))) AS p (power),
       -- The smallest round number that is not below it.
       LATERAL (SELECT min(p.power * m) FROM unnest(ARRAY[1, 2, 2.5, 5, 10]) AS m
                WHERE p.power * m >= r.rough * 0.999999) AS s (step)
$$;
COMMENT ON FUNCTION retention.chart_scale(
  double precision, double precision, double precision, double precision, integer) IS
  'A scale that has the values from low to high between two places, widened to round numbers that '
  'about so many ticks are apart.';

CREATE OR REPLACE FUNCTION retention.chart_steps(
    number integer, starts double precision, ends double precision)
  RETURNS retention.chart_scale
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ROW(0.5, greatest(number, 1) + 0.5, starts, ends, 1)::retention.chart_scale
$$;
COMMENT ON FUNCTION retention.chart_steps(integer, double precision, double precision) IS
  'A scale of things side by side, which are 1, 2 and so on up to their number.';

CREATE OR REPLACE FUNCTION retention.chart_at(
    scale retention.chart_scale, value double precision)
  RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (scale).starts + ((scale).ends - (scale).starts) * (value - (scale).low)
                          / ((scale).high - (scale).low)
  WHERE value NOT IN ('NaN', 'Infinity', '-Infinity')
$$;
COMMENT ON FUNCTION retention.chart_at(retention.chart_scale, double precision) IS
  'The place of a value; null of what has none.';

CREATE OR REPLACE FUNCTION retention.chart_ticks(scale retention.chart_scale)
  RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg((scale).low + n * (scale).step ORDER BY n)
  FROM generate_series(0, least(round(((scale).high - (scale).low) / (scale).step), 100)::integer)
         AS n
$$;
COMMENT ON FUNCTION retention.chart_ticks(retention.chart_scale) IS
  'The values that a scale has ticks at.';
