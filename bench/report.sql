-- The tables of what bench/run has measured.
\pset footer off
\pset null '-'
\echo
\echo 'Medians of three runs that took turns; ratios are to the row whose ratio is 1. cpu: processor seconds of the'
\echo 'backend and its workers. memory_mb: peak of the backend alone, without shared memory. spread: how much longer'
\echo 'the slowest run took than the fastest; where it is large, something else used the machine, and cpu_ratio says'
\echo 'more than ratio.'
\echo
SELECT comparison, workers, work_mem, side,
       round(seconds::numeric, 3) AS seconds, round(ratio::numeric, 3) AS ratio,
       round(cpu::numeric, 2) AS cpu, round(cpu_ratio::numeric, 3) AS cpu_ratio,
       round(memory_mb::numeric) AS memory_mb, round(100 * spread::numeric) || ' %' AS spread
FROM bench.ratio
ORDER BY comparison, work_mem DESC, workers, measured;

\echo 'Goals'
SELECT g.goal, r.workers, r.work_mem, round(r.ratio::numeric, 3) AS ratio, round(r.cpu_ratio::numeric, 3) AS cpu_ratio,
       g.at_most, CASE WHEN r.ratio <= g.at_most THEN 'reached' ELSE 'NOT reached' END AS result
FROM bench.goal g JOIN bench.ratio r USING (comparison, side)
ORDER BY g.number, r.work_mem DESC, r.workers;
