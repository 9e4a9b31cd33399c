-- The tables of what bench/run has measured.
\pset footer off
\pset null '-'
\echo
\echo 'Medians of three runs that took turns (capture: of thirty); ratios are to the row whose ratio is 1. cpu: processor seconds of the'
\echo 'backend and its workers. wal_mb: write-ahead log. memory_mb: peak of the backend alone, without shared memory. spread: how much longer'
\echo 'the slowest run took than the fastest; where it is large, something else used the machine, and cpu_ratio says'
\echo 'more than ratio.'
\echo
SELECT comparison, workers, work_mem, side,
       round(seconds::numeric, 3) AS seconds, round(ratio::numeric, 3) AS ratio,
       round(cpu::numeric, 3) AS cpu, round(cpu_ratio::numeric, 3) AS cpu_ratio,
       round(wal_mb::numeric) AS wal_mb, round(memory_mb::numeric) AS memory_mb, round(100 * spread::numeric) || ' %' AS spread
FROM bench.ratio
ORDER BY comparison, work_mem DESC, workers, measured;

SELECT to_regclass('bench.model') IS NOT NULL AS fitted,
       EXISTS (SELECT FROM bench.lifetimes) AS by_lifetimes,
       EXISTS (SELECT FROM bench.cost WHERE comparison = 'prediction') AS predicted \gset

\if :fitted
\echo 'Models'
SELECT kind, (model).n AS customers, (model).iterations, (model).converged, round((model).log_likelihood::numeric, 3) AS log_likelihood,
       (SELECT string_agg(name || ' ' || round(value::numeric, 4), ', ' ORDER BY number)
        FROM unnest((model).names, (model).parameters) WITH ORDINALITY AS p (name, value, number)) AS parameters
FROM bench.model;
\endif

\if :by_lifetimes
\echo 'Processor seconds of lifetimes against those of the fits above; what it fitted to fewer customers is scaled'
SELECT l.kind, l.rows AS customers, round(l.cpu::numeric, 2) AS lifetimes_cpu, round(m.cpu::numeric, 3) AS cpu,
       round((l.cpu * model_rows / l.rows / m.cpu)::numeric, 1) AS ratio
FROM bench.lifetimes l
JOIN bench.median m ON m.side = 'fit ' || l.kind
JOIN (SELECT kind, (model).n AS model_rows FROM bench.model) AS fitted USING (kind);
\endif

\if :predicted
\echo 'Predictions: processor microseconds for each customer, above those of the same query without them'
SELECT substr(side, strpos(side, ' ') + 1) AS prediction,
       round(max(cpu_microseconds) FILTER (WHERE side LIKE 'mbgnbd %')::numeric, 3) AS mbgnbd,
       round(max(cpu_microseconds) FILTER (WHERE side LIKE 'bgnbd %')::numeric, 3) AS bgnbd,
       round(max(cpu_microseconds) FILTER (WHERE side LIKE 'paretonbd %')::numeric, 3) AS paretonbd,
       round(max(cpu_microseconds) FILTER (WHERE side LIKE 'gammagamma %')::numeric, 3) AS gammagamma
FROM bench.cost WHERE comparison = 'prediction'
GROUP BY prediction ORDER BY min(measured);
\endif

SELECT EXISTS (SELECT FROM bench.measurement WHERE comparison = 'flows') AS flowed \gset
\if :flowed
\echo 'Flows: customers through message and delay, and messages claimed and acknowledged'
SELECT m.comparison, m.side, round(s.rows / m.seconds) AS a_second, round(s.rows / m.cpu) AS a_cpu_second, round(m.wal_mb * 1048576 / s.rows) AS wal_bytes_each
FROM bench.median m JOIN bench.size s USING (comparison) WHERE m.comparison IN ('flows', 'claims') ORDER BY m.measured;
\endif

\echo 'Goals: ratios by time; costs (s a million, us each) by processor time'
SELECT g.goal, r.workers, r.work_mem, round(r.result::numeric, 3) AS result, round(r.by_cpu::numeric, 3) AS by_cpu,
       g.at_most, g.unit, CASE WHEN r.result <= g.at_most THEN 'reached' ELSE 'NOT reached' END AS verdict
FROM bench.goal g JOIN bench.result r USING (comparison, side, unit)
ORDER BY g.number, r.work_mem DESC, r.workers;
