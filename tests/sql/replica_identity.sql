-- Every table of the extension can be published: a replica can tell which row was changed.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS retention;

SELECT c.oid::regclass AS cannot_be_published
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retention')
  AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
  AND NOT (c.relreplident = 'd'
             AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
           OR c.relreplident = 'i'
           OR c.relreplident = 'f' AND NOT EXISTS (
             -- json and point, for example, cannot be compared
             SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               AND NOT EXISTS (
                 SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'btree'
                 WHERE o.opcdefault
                   AND (o.opcintype = a.atttypid
                        OR t.typcategory = 'A' AND o.opcintype = 'anyarray'::regtype
                        OR EXISTS (SELECT FROM pg_cast WHERE castsource = a.atttypid
                                   AND casttarget = o.opcintype AND castmethod = 'b')))));
-- Those that cost writers no index are known by all of a row.
SELECT c.oid::regclass AS full_rows FROM pg_class c
  WHERE c.relnamespace = 'retention'::regnamespace AND c.relreplident = 'f'
  ORDER BY c.oid::regclass::text;

DROP EXTENSION retention CASCADE;
