-- How long a fit goes on after it was told to stop, at eleven moments: of the customers in whole days, and with exact times, which are
-- all different. A timeout's request is the same as that of pg_cancel_backend.
CREATE TABLE bench.cancelled (times text, milliseconds double precision);
CREATE TABLE bench.exact_customers AS
  SELECT x, CASE WHEN x > 0 THEN t_x * (0.9 + 0.1 * random()) ELSE 0 END AS t_x, t + random() AS t FROM bench.customers;

CREATE FUNCTION bench.fit_for(table_name regclass, milliseconds integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  LOOP
    EXECUTE format('SELECT retention.fit(''paretonbd'', x, t_x, t) FROM %s', table_name);
  END LOOP;
EXCEPTION WHEN query_canceled THEN
  INSERT INTO bench.cancelled
    SELECT table_name, extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000 - milliseconds;
END
$$;

SELECT format('SET statement_timeout = %s; SELECT bench.fit_for(%L, %1$s); SET statement_timeout = 0;', milliseconds, table_name)
FROM unnest('{bench.customers,bench.exact_customers}'::text[]) AS table_name, generate_series(70, 770, 70) AS milliseconds
\gexec
SELECT format('Fit of %s cancelled: at most %s ms after the request, in %s tries (goal: 100)', times, ceil(max(milliseconds)), count(*))
FROM bench.cancelled GROUP BY times ORDER BY times;
