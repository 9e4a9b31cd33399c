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
  wal_mb     double precision,
  memory_mb  double precision
);
COMMENT ON COLUMN bench.measurement.cpu IS 'Seconds of processor time of the backend and of its parallel workers.';
COMMENT ON COLUMN bench.measurement.wal_mb IS 'Write-ahead log written by the server meanwhile.';
COMMENT ON COLUMN bench.measurement.memory_mb IS 'Peak memory of the backend alone, without shared memory.';

CREATE FUNCTION bench.process_fields(process text) RETURNS text[] LANGUAGE sql VOLATILE
RETURN string_to_array(substring(pg_read_file('/proc/' || process || '/stat') FROM '\) (.*)'), ' ');
COMMENT ON FUNCTION bench.process_fields(text) IS 'Fields of /proc/PID/stat from the third on.';

-- In nanoseconds where the kernel counts them, else in hundredths of a second. Workers are the server's children, not
-- the backend's: their times are added to its own when they have ended.
CREATE FUNCTION bench.cpu_seconds() RETURNS double precision LANGUAGE sql VOLATILE
RETURN (
  SELECT coalesce(nullif(split_part(pg_read_file('/proc/self/schedstat', 0, 100, true), ' ', 1), '0')::bigint / 1e9,
                  (own[12]::bigint + own[13]::bigint) / 100.0)
       + (server[14]::bigint + server[15]::bigint) / 100.0
  FROM bench.process_fields('self') AS own, bench.process_fields(own[2]) AS server);

CREATE FUNCTION bench.own_cpu() RETURNS double precision LANGUAGE sql VOLATILE
RETURN split_part(pg_read_file('/proc/self/schedstat', 0, 100, true), ' ', 1)::bigint / 1e9;
COMMENT ON FUNCTION bench.own_cpu() IS 'Seconds of processor time of the backend alone, where others run beside it.';

CREATE TABLE bench.worker (side text, run integer, seconds double precision, cpu double precision, wal_mb double precision);
COMMENT ON TABLE bench.worker IS 'What each of several workers used.';

CREATE FUNCTION bench.start() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_sleep(0.2); -- the previous session may still be ending
  PERFORM set_config('bench.wal', pg_current_wal_insert_lsn()::text, false);
  PERFORM set_config('bench.cpu', bench.cpu_seconds()::text, false);
  PERFORM set_config('bench.started_at', clock_timestamp()::text, false);
END
$$;

CREATE FUNCTION bench.elapsed() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  stopped_at timestamptz := clock_timestamp();
BEGIN
  RETURN format('%s,%s,%s', extract(epoch FROM stopped_at - current_setting('bench.started_at')::timestamptz),
                bench.cpu_seconds() - current_setting('bench.cpu')::double precision,
                (pg_current_wal_insert_lsn() - current_setting('bench.wal')::pg_lsn) / 1048576);
END
$$;
COMMENT ON FUNCTION bench.elapsed() IS 'Wall time and processor time since bench.start(), in seconds, and write-ahead log in MB.';

CREATE VIEW bench.median AS
  SELECT comparison, workers, work_mem, side,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS seconds,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu) AS cpu,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY wal_mb) AS wal_mb,
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
                                 WHEN 'percentiles' THEN 'three ntile windows'
                                 WHEN 'fit' THEN 'bare scan of customers'
                                 WHEN 'profile' THEN 'customer_facts'
                                 WHEN 'segments' THEN 'twenty counts'
                                 WHEN 'rewrite' THEN 'new table'
                                 WHEN 'render' THEN 'message_replace'
                                 WHEN 'flows' THEN 'few live, 1 at work'
                                 WHEN 'claims' THEN 'few live'
                                 WHEN 'changes' THEN 'process 1,000 of a tenth'
                                 ELSE replace(comparison, 'capture', 'untracked') END;

CREATE TABLE bench.size (comparison text, rows double precision);
COMMENT ON TABLE bench.size IS 'How many customers a comparison''s sides compute.';

-- What a prediction or message costs: what the side takes more than the same query without it.
CREATE VIEW bench.cost AS
  SELECT m.*, (m.seconds - without.seconds) / size.rows * 1e6 AS microseconds, (m.cpu - without.cpu) / size.rows * 1e6 AS cpu_microseconds
  FROM bench.median m
  JOIN bench.median without USING (comparison, workers, work_mem)
  JOIN bench.size USING (comparison)
  WHERE m.side !~ '^no (prediction|message)' AND m.side NOT LIKE '%_facts'
    AND without.side = CASE WHEN comparison = 'profile' THEN 'profile_facts'
                            WHEN comparison = 'render' THEN 'no message'
                            WHEN m.side ~ 'spend|clv' THEN 'no prediction, m read'
                            ELSE 'no prediction' END;

CREATE TABLE bench.lifetimes (kind text, rows double precision, cpu double precision);
COMMENT ON TABLE bench.lifetimes IS 'Fits by the Python package lifetimes: customers read and processor seconds.';

-- What goals are about, in each of their units. Costs are in processor time: other users of the machine matter less.
CREATE VIEW bench.result AS
  SELECT comparison, workers, work_mem, side, 'ratio' AS unit, ratio AS result, cpu_ratio AS by_cpu FROM bench.ratio
  UNION ALL
  SELECT comparison, workers, work_mem, side, 's a million', cpu * 1e6 / rows, cpu * 1e6 / rows
  FROM bench.median JOIN bench.size USING (comparison)
  UNION ALL
  SELECT comparison, workers, work_mem, side, 'us each', cpu_microseconds, cpu_microseconds FROM bench.cost
  UNION ALL
  SELECT comparison, workers, work_mem, side, 'cpu ratio', cpu_ratio, cpu_ratio FROM bench.ratio
  UNION ALL
  SELECT comparison, workers, work_mem, side, 'seconds', seconds, cpu FROM bench.median;

CREATE TABLE bench.goal (
  number     integer GENERATED ALWAYS AS IDENTITY,
  goal       text,
  comparison text,
  side       text,
  unit       text,
  at_most    double precision
);
INSERT INTO bench.goal (goal, comparison, side, unit, at_most) VALUES
  ('order_summary against count, min, max, sum', 'aggregate', 'order_summary', 'ratio', 0.8),
  ('first refresh against the textbook query', 'refresh', 'first refresh', 'ratio', 0.2),
  ('full refresh against the textbook query', 'refresh', 'full refresh', 'ratio', 0.2),
  ('nothing changed, vacuumed, against the textbook query', 'refresh', 'nothing changed, vacuumed', 'ratio', 0.05),
  ('nothing changed, not vacuumed, against the textbook query', 'refresh', 'nothing changed, not vacuumed', 'ratio', 0.05),
  ('fit of bgnbd, scan included', 'fit', 'fit bgnbd', 's a million', 0.7),
  ('fit of mbgnbd, scan included', 'fit', 'fit mbgnbd', 's a million', 0.7),
  ('fit of paretonbd, scan included', 'fit', 'fit paretonbd', 's a million', 3),
  ('fit of gammagamma, scan included', 'fit', 'fit gammagamma', 's a million', 0.35);
INSERT INTO bench.goal (goal, comparison, side, unit, at_most)
  SELECT goal || ' by ' || kind, 'prediction', concat_ws(' ', kind, prediction), 'us each', at_most
  FROM (VALUES ('probability alive', 'p_alive', 0.15), ('orders in a year', 'expected_orders 365', 0.6)) AS p (goal, prediction, at_most),
       (VALUES ('mbgnbd'), ('bgnbd'), ('paretonbd')) AS m (kind);
INSERT INTO bench.goal (goal, comparison, side, unit, at_most) VALUES
  ('whole row of profile, without its facts', 'profile', 'profile_row', 'us each', 3),
  ('facts of profile against the same of customer', 'profile', 'profile_facts', 'ratio', 1.15),
  ('full evaluation of 20 segments against counting their views', 'segments', 'twenty evaluations', 'ratio', 2),
  ('process_changes, 1,000 customers, 20 segments', 'changes', 'process 1,000', 'seconds', 0.5),
  ('the same against a shop of a tenth of the customers', 'changes', 'process 1,000', 'ratio', 1.5),
  ('from commit to queue, one customer, 20 segments', 'changes', 'process one', 'seconds', 1),
  ('tracked inserts of single rows', 'capture 1', 'tracked 1', 'cpu ratio', 1.15),
  ('tracked inserts of 100 rows a statement', 'capture 100', 'tracked 100', 'cpu ratio', 1.2),
  ('tracked inserts of 10,000 rows a statement', 'capture 10000', 'tracked 10000', 'cpu ratio', 1.2),
  ('message of 2 kB rendered, its errors raised', 'render', 'message_render', 'us each', 10),
  ('message of 2 kB rendered, its errors returned', 'render', 'message_try_render', 'us each', 10),
  ('message and delay, 20,000 customers a second of one processor', 'flows', 'few live, 1 at work', 's a million', 50),
  ('the same of two workers', 'flows', 'few live, 2 at work', 's a million', 50),
  ('the same where a hundred times as many wait', 'flows', 'many live, 1 at work', 's a million', 50),
  ('the same where a hundred times as many wait against few', 'flows', 'many live, 1 at work', 'cpu ratio', 1.2),
  ('messages claimed and acknowledged, 20,000 a second', 'claims', 'few live', 's a million', 50),
  ('the same where a hundred times as many wait', 'claims', 'many live', 's a million', 50);
