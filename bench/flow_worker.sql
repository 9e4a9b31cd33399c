-- One worker: ticks until nothing is due, and records what it used.
SET retention.as_of = '2025-01-01';
SELECT bench.own_cpu() AS cpu, extract(epoch FROM clock_timestamp()) AS started, pg_current_wal_insert_lsn() AS wal \gset
CALL retention.run_flows();
INSERT INTO bench.worker (side, run, seconds, cpu, wal_mb)
  VALUES (:'side', :run, extract(epoch FROM clock_timestamp()) - :started, bench.own_cpu() - :cpu, (pg_current_wal_insert_lsn() - :'wal') / 1048576);
