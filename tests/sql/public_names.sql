-- The public names: what people can call, and what they can read. All else begins with an underscore.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
\pset format unaligned
\pset tuples_only on
-- Functions of the engine and the toolkit, each once, however many arguments it takes in how many ways; without the aggregates' own steps.
SELECT string_agg(name, ' ' ORDER BY name) FROM (
  SELECT DISTINCT p.proname COLLATE "C" AS name FROM pg_proc p
  WHERE p.pronamespace = 'retention'::regnamespace AND p.proname !~ '^_' AND NOT EXISTS (
    SELECT FROM pg_aggregate a, unnest(ARRAY[a.aggtransfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggfinalfn]) AS step WHERE step = p.oid)
    AND NOT EXISTS (SELECT FROM pg_type t WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend))) AS f;
SELECT string_agg(c.relname, ' ' ORDER BY c.relname COLLATE "C") FROM pg_class c WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind = 'v';
SELECT string_agg(c.relname, ' ' ORDER BY c.relname COLLATE "C") FROM pg_class c WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind IN ('r', 'p');
SELECT string_agg(t.typname, ' ' ORDER BY t.typname COLLATE "C") FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
  WHERE t.typnamespace = 'retention'::regnamespace AND t.typelem = 0 AND coalesce(c.relkind = 'c', true);
DROP EXTENSION retention;
