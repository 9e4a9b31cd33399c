-- retention.now() and its setting. The setting belongs to the session and to nothing in the database.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
-- Without the setting, the transaction's time; it stays the same within the transaction.
SELECT retention.now() = pg_catalog.now() AS transaction_time;
BEGIN;
SELECT pg_sleep(0.01);
SELECT retention.now() = pg_catalog.now() AND retention.now() < clock_timestamp() AS transaction_time;
COMMIT;

-- With it, an instant: the session's TimeZone and DateStyle count when it is set, and not later.
SET retention.as_of = '2024-12-31 23:00+00';
SELECT retention.now() = '2024-12-31 23:00+00' AS as_set;
SET TimeZone = 'Asia/Tokyo';
SET retention.as_of = '2024-07-01 09:00';
SET TimeZone = 'UTC';
SHOW retention.as_of;
SELECT retention.now() = '2024-07-01 00:00+00' AS zone_of_its_setting;
SET DateStyle = 'SQL, DMY';
SET retention.as_of = '02/07/2024 12:30:00.123456 Europe/Warsaw';
SHOW retention.as_of;
SET DateStyle = 'SQL, MDY';
SELECT retention.now() = '2024-07-02 10:30:00.123456+00' AS style_of_its_setting;
SET DateStyle = 'ISO, YMD';

-- Every timestamp survives its text, which is what a parallel worker reads, in whatever zone.
SET TimeZone = 'Asia/Kathmandu';
SELECT text AS as_of, set_config('retention.as_of', text, false) AS setting, retention.now() = text::timestamptz AS same
FROM (VALUES ('2024-02-29 00:00'), ('0044-03-15 12:00:00+00 BC'), ('4714-11-24 00:00:00+00 BC'),
             ('294276-12-31 23:59:59.999999+00'), ('2024-06-30 23:59:60+00'), ('2000-01-01 00:00:00.000001-15:30')) AS example(text);
CREATE FUNCTION pg_temp.set_and_read(text) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('retention.as_of', $1, true);
  ASSERT current_setting('retention.as_of')::timestamptz = retention.now();
  RETURN retention.now();
END $$;
SELECT count(*) AS instants, count(*) FILTER (WHERE pg_temp.set_and_read(at::text) <> at) AS wrong
FROM generate_series(-210000000000, 9000000000000, 9999999999) AS seconds,
     LATERAL (SELECT 'epoch'::timestamptz + seconds * interval '1.000001 second' AS at) AS instant;

-- It is undone and limited like any setting.
SET retention.as_of = '2024-01-01';
BEGIN;
SET LOCAL retention.as_of = '2024-02-01';
SELECT retention.now() = '2024-02-01' AS local;
SAVEPOINT here;
SET retention.as_of = '2024-03-01';
SELECT retention.now() = '2024-03-01' AS inner;
ROLLBACK TO here;
SELECT retention.now() = '2024-02-01' AS local;
ROLLBACK;
SELECT retention.now() = '2024-01-01' AS session;
CREATE FUNCTION pg_temp.on_leap_day() RETURNS timestamptz LANGUAGE sql SET retention.as_of = '2024-02-29' AS 'SELECT retention.now()';
SELECT pg_temp.on_leap_day() = '2024-02-29' AS of_the_function, retention.now() = '2024-01-01' AS of_the_session;

-- A parallel worker has the leader's time, set or not.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE TABLE clock_rows AS SELECT g FROM generate_series(1, 1000) AS g;
ALTER TABLE clock_rows SET (parallel_workers = 2);
SET parallel_leader_participation = off;
SELECT count(*) FROM clock_rows WHERE retention.now() = '2024-01-01'::timestamptz + g * interval '0';
RESET retention.as_of;
BEGIN;
SELECT count(*) FROM clock_rows WHERE retention.now() = pg_catalog.now() + g * interval '0';
COMMIT;
DROP TABLE clock_rows;

-- What is no finite instant is refused and leaves the setting as it was.
SET retention.as_of = '2024-05-05';
SET retention.as_of = 'yesterday-ish';
SET retention.as_of = 'infinity';
SET retention.as_of = '-infinity';
SET retention.as_of = '2024-02-30';
SET retention.as_of = '300000-01-01';
SET retention.as_of = '10:00';
DO $$
BEGIN
  PERFORM set_config('retention.as_of', '2024-01-01 00:00 Atlantis/Capital', false);
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING '%', SQLSTATE;
END $$;
SHOW retention.as_of;
SELECT retention.now() = '2024-05-05' AS unchanged;

-- A misspelt setting is refused too.
DO $$
BEGIN
  PERFORM set_config('retention.as_off', '2024-01-01', false);
  ASSERT false, 'not refused';
EXCEPTION WHEN invalid_name THEN
  NULL;
END $$;

-- Empty means unset.
SET retention.as_of = '';
SELECT retention.now() = pg_catalog.now() AS transaction_time;
SET retention.as_of = '2024-05-05';
RESET retention.as_of;
SELECT retention.now() = pg_catalog.now() AS transaction_time;
-- The other setting: whether steps are told of, also where it is set before the module is loaded.
SHOW retention.progress;
SELECT retention._tell('told');
SET retention.progress = off;
SELECT retention._tell('not told');
SET retention.progress = perhaps;
\c
SELECT retention._tell('told before the module is loaded');
SET retention.progress = off;
SELECT retention._tell('not told before the module is loaded');
SELECT retention.now() IS NOT NULL AS loaded;
SELECT retention._tell('not told');
