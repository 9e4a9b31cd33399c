\set ECHO none
-- Vacuums :tables, names with commas between, until all their pages are marked as visible to all:
-- somebody else's older snapshot, or who only looks at a page at this moment, lets VACUUM leave
-- pages unmarked. Gives up after a minute. To be run by
-- \set tables NAMES
-- \i tests/include/vacuum.sql
VACUUM :tables;
\if :{?vacuumed}
\else
\set vacuumed 0
\endif
SELECT :vacuumed + 1 AS vacuumed, :vacuumed < 600 AND EXISTS (
    SELECT FROM regexp_split_to_table(:'tables', ', *') AS name JOIN pg_class c ON c.oid = name::regclass
    WHERE c.relallvisible < c.relpages AND pg_sleep(0.1) IS NOT NULL) AS again \gset
\if :again \i tests/include/vacuum.sql \else \unset vacuumed \set ECHO all \endif
