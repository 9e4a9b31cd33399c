-- The names that there are, each with its kind in front, for orphans.py.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
LOAD 'retention';
SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'retention'::regnamespace
UNION SELECT 'builtin ' || proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
UNION SELECT 'relation ' || relname FROM pg_class WHERE relnamespace = 'retention'::regnamespace
UNION SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'retention'::regnamespace
UNION SELECT 'column ' || a.attname
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  WHERE c.relnamespace = 'retention'::regnamespace AND a.attnum > 0
UNION SELECT 'setting ' || split_part(name, '.', 2) FROM pg_settings WHERE name LIKE 'retention.%'
-- Steps of aggregates, what types are read and written by, triggers: the server calls these.
UNION SELECT 'called ' || p.proname FROM pg_proc p
  WHERE p.pronamespace = 'retention'::regnamespace AND (
    EXISTS (SELECT FROM pg_aggregate a WHERE p.oid IN (
      a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn))
    OR EXISTS (SELECT FROM pg_type t WHERE p.oid IN (
      t.typinput, t.typoutput, t.typreceive, t.typsend))
    OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid))
-- What is in a list of access levels is public.
UNION SELECT 'public ' || proname FROM pg_proc
  WHERE pronamespace = 'retention'::regnamespace AND left(proname, 1) <> '_'
-- Names of C functions that SQL calls.
UNION SELECT 'c_function ' || prosrc FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.pronamespace = 'retention'::regnamespace AND l.lanname = 'c';
