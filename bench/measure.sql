-- What bench/run measures with, and the tables that it prints.
CREATE SCHEMA bench;

CREATE TABLE bench.measurement (
  number     integer GENERATED ALWAYS AS IDENTITY,
  comparison text,
  workers    integer,
  work_mem   text,
  side       text,
  seconds    double precision,
  cpu        double precision,
  memory_mb  double precision
);
COMMENT ON COLUMN bench.measurement.cpu IS 'Seconds of processor time of the backend and of its parallel workers.';
COMMENT ON COLUMN bench.measurement.memory_mb IS 'Peak memory of the backend alone, without shared memory.';

CREATE FUNCTION bench.process_fields(process text) RETURNS text[] LANGUAGE sql VOLATILE
RETURN string_to_array(substring(pg_read_file('/proc/' || process || '/stat') FROM '\) (.*)'), ' ');
COMMENT ON FUNCTION bench.process_fields(text) IS 'Fields of /proc/PID/stat from the third on.';

-- Workers are the server's children, not the backend's: their times are added to its own when they have ended.
CREATE FUNCTION bench.cpu_seconds() RETURNS double precision LANGUAGE sql VOLATILE
RETURN (
  SELECT (own[12]::bigint + own[13]::bigint + server[14]::bigint + server[15]::bigint) / 100.0
  FROM bench.process_fields('self') AS own, bench.process_fields(own[2]) AS server);

CREATE FUNCTION bench.start() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_sleep(0.2); -- the previous session may still be ending
  PERFORM set_config('bench.cpu', bench.cpu_seconds()::text, false);
  PERFORM set_config('bench.started_at', clock_timestamp()::text, false);
END
$$;

CREATE FUNCTION bench.elapsed() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  stopped_at timestamptz := clock_timestamp();
BEGIN
  RETURN format('%s,%s', extract(epoch FROM stopped_at - current_setting('bench.started_at')::timestamptz),
                bench.cpu_seconds() - current_setting('bench.cpu')::double precision);
END
$$;
COMMENT ON FUNCTION bench.elapsed() IS 'Wall time and processor time since bench.start(), in seconds.';

CREATE VIEW bench.median AS
  SELECT comparison, workers, work_mem, side,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS seconds,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu) AS cpu,
         max(memory_mb) AS memory_mb,
         max(seconds) / min(seconds) - 1 AS spread,
         min(number) AS measured
  FROM bench.measurement GROUP BY comparison, workers, work_mem, side;

-- Each side against the comparison's reference.
CREATE VIEW bench.ratio AS
  SELECT m.*, m.seconds / r.seconds AS ratio, m.cpu / nullif(r.cpu, 0) AS cpu_ratio
  FROM bench.median m
  JOIN bench.median r USING (comparison, workers, work_mem)
  WHERE r.side = CASE comparison WHEN 'aggregate' THEN 'count, min, max, sum'
                                 WHEN 'refresh' THEN 'textbook RFM query'
                                 WHEN 'percentiles' THEN 'three ntile windows' END;

CREATE TABLE bench.goal (
  number     integer GENERATED ALWAYS AS IDENTITY,
  goal       text,
  comparison text,
  side       text,
  at_most    double precision
);
INSERT INTO bench.goal (goal, comparison, side, at_most) VALUES
  ('order_summary against count, min, max, sum', 'aggregate', 'order_summary', 0.8),
  ('first refresh against the textbook query', 'refresh', 'first refresh', 0.2),
  ('full refresh against the textbook query', 'refresh', 'full refresh', 0.2),
  ('nothing changed, vacuumed, against the textbook query', 'refresh', 'nothing changed, vacuumed', 0.05),
  ('nothing changed, not vacuumed, against the textbook query', 'refresh', 'nothing changed, not vacuumed', 0.05);
