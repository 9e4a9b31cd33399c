-- Change capture: triggers on the shop's tables note whose rows change, and process_changes reads what they noted.

-- Written by C code, which knows its columns; without an index, so that writers only append.
-- Replicas know a row by all of it, which costs writers nothing: only what process_changes deletes
-- is written to the write-ahead log in full.
CREATE TABLE retention.change_log (
  relation     regclass,
  customer_ids text[],
  changed_at   timestamptz NOT NULL,
  due_at       timestamptz
) WITH (toast_tuple_target = 8160);
COMMENT ON TABLE retention.change_log IS 'Customers whose rows in tracked tables have changed since the last process_changes. Written by the triggers of track.';
COMMENT ON COLUMN retention.change_log.relation IS 'Table that changed; null where process_changes has put customers back whom it could not process, or not yet.';
COMMENT ON COLUMN retention.change_log.customer_ids IS 'Keys of the customers, each once; null: anything may have changed.';
COMMENT ON COLUMN retention.change_log.changed_at IS 'Time of the transaction that changed them.';
COMMENT ON COLUMN retention.change_log.due_at IS 'Engine''s time from which on they are to be processed, that of an order dated ahead of the clock; null: at once.';
ALTER TABLE retention.change_log ALTER customer_ids SET STORAGE MAIN, REPLICA IDENTITY FULL;

SELECT pg_extension_config_dump('retention.change_log', '');

CREATE OR REPLACE FUNCTION retention._capture_changes() RETURNS trigger
  LANGUAGE c VOLATILE
  AS 'MODULE_PATHNAME', 'retention_capture_changes';
COMMENT ON FUNCTION retention._capture_changes() IS
  'Trigger, after a statement, or after a row that replication writes: notes the customers whose '
  'rows changed. Arguments: the columns of their keys.';

CREATE OR REPLACE FUNCTION retention._parts(relation regclass) RETURNS SETOF regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE part AS (
    SELECT relation::oid AS oid
    UNION
    SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid)
  SELECT oid::regclass FROM part
$$;
COMMENT ON FUNCTION retention._parts(regclass) IS 'A table with its partitions, or with the tables that inherit from it.';

CREATE OR REPLACE VIEW retention.tracked AS
  SELECT t.tgrelid::regclass AS relation,
         ARRAY(SELECT convert_from(decode(c.name, 'escape'), getdatabaseencoding())::name
               FROM unnest(string_to_array(encode(t.tgargs, 'escape'), E'\\000')) WITH ORDINALITY AS c (name, number)
               WHERE c.number <= t.tgnargs ORDER BY c.number) AS customer_id_columns,
         (SELECT count(*) FROM retention._parts(t.tgrelid) AS part
          WHERE NOT EXISTS (SELECT FROM pg_trigger q
                            WHERE q.tgrelid = part AND q.tgfoid = t.tgfoid AND q.tgname = t.tgname))
           AS untracked_partitions
  FROM pg_trigger t
  WHERE t.tgfoid = 'retention._capture_changes'::regproc AND t.tgname = 'retention_insert';
COMMENT ON VIEW retention.tracked IS 'Tables whose changes are captured, partitions each by themselves.';
COMMENT ON COLUMN retention.tracked.relation IS 'The table.';
COMMENT ON COLUMN retention.tracked.customer_id_columns IS 'Columns that hold the keys of customers.';
COMMENT ON COLUMN retention.tracked.untracked_partitions IS 'Partitions made since then, where only what is written through the table itself is captured: call track again.';

CREATE OR REPLACE FUNCTION retention._tables_below(relation regclass) RETURNS TABLE (below regclass, kind "char")
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE read AS (
    SELECT relation::oid AS oid
    UNION
    SELECT d.refobjid
    FROM read JOIN pg_rewrite r ON r.ev_class = read.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass)
  SELECT c.oid::regclass, c.relkind FROM read JOIN pg_class c ON c.oid = read.oid
$$;
COMMENT ON FUNCTION retention._tables_below(regclass) IS 'A relation, and all that a view reads, directly or through other views.';

CREATE OR REPLACE FUNCTION retention._check_owner(relation regclass) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(pg_has_role(retention._caller(), retention._owner(relation), 'USAGE'),
    format('%s belongs to another role', relation),
    format('Its owner %s can do that, or a member of that role.', retention._owner(relation)), 'insufficient_privilege');
END
$$;
COMMENT ON FUNCTION retention._check_owner(regclass) IS 'An error unless the caller may do what a table''s owner may.';

CREATE OR REPLACE FUNCTION retention._check_trackable(relation regclass) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation_kind "char" := (SELECT relkind FROM pg_class WHERE oid = relation);
  tables text := (SELECT string_agg(format('SELECT retention.track(%L, ''...'');', below), ' ' ORDER BY below::text)
                  FROM retention._tables_below(relation) WHERE kind IN ('r', 'p'));
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, 'the relation to track must not be null', '', 'null_value_not_allowed');
  PERFORM retention._reject_unless(relation_kind IN ('r', 'p'), format('%s is not a table: its changes cannot be captured', relation),
    CASE WHEN relation_kind = 'v' AND tables IS NOT NULL THEN format('Track the tables that it reads, by their column of the customer''s key: %s', tables)
         ELSE 'Its changes are found by refresh.' END, 'wrong_object_type');
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention._parts(relation) AS part JOIN pg_class c ON c.oid = part WHERE c.relkind = 'f'),
    format('%s has a partition that is a foreign table: triggers that see whole statements would refuse its rows', relation),
    'Its changes are found by refresh; of the other partitions, tracked each by itself, what is written into them directly is captured.', 'wrong_object_type');
END
$$;
COMMENT ON FUNCTION retention._check_trackable(regclass) IS 'Rejects what is not a table, with what to do instead.';

CREATE OR REPLACE FUNCTION retention._drop_triggers(relation regclass) RETURNS integer
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  trigger record;
  dropped integer := 0;
BEGIN
  FOR trigger IN
    SELECT tgrelid::regclass AS relation, tgname
    FROM retention._parts(relation) AS part
    -- Partitions get the trigger for rows from their parent, and lose it with that one.
    JOIN pg_trigger ON tgrelid = part AND tgfoid = 'retention._capture_changes'::regproc
                       AND tgparentid = 0
  LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', trigger.tgname, trigger.relation);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$$;
COMMENT ON FUNCTION retention._drop_triggers(regclass) IS 'Drops the capturing triggers of a table and its partitions; returns their number.';

CREATE OR REPLACE FUNCTION retention._make_trigger(
    relation regclass, columns name[], name text, event text, level text, firing text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  arguments text := (SELECT string_agg(quote_literal(c), ', ' ORDER BY c) FROM unnest(columns) AS c);
BEGIN
  EXECUTE format(
    'CREATE TRIGGER %I AFTER %s ON %s %s EXECUTE FUNCTION retention._capture_changes(%s)',
    name, event, relation, level, arguments);
  -- So that DROP EXTENSION takes it along.
  EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION retention', name, relation);
  -- Partitions have copies of a trigger for rows, and none of one for statements.
  EXECUTE format('ALTER TABLE %s %s ENABLE %s TRIGGER %I',
                 CASE level WHEN 'FOR EACH ROW' THEN '' ELSE 'ONLY' END, relation, firing, name);
END
$$;
COMMENT ON FUNCTION retention._make_trigger(regclass, name[], text, text, text, text) IS
  'Makes one capturing trigger; firing: by whom it is fired.';

CREATE OR REPLACE FUNCTION retention._make_triggers(relation regclass, columns name[]) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._make_trigger(relation, columns, made.name, made.event, made.level, made.firing)
  FROM (VALUES
    ('retention_insert', 'INSERT', 'REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', ''),
    ('retention_update', 'UPDATE',
     'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT', ''),
    ('retention_delete', 'DELETE', 'REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT', ''),
    -- Replication fires this one too, as often as a TRUNCATE that somebody gave.
    ('retention_truncate', 'TRUNCATE', 'FOR EACH STATEMENT', 'ALWAYS'))
    AS made (name, event, level, firing)
$$;
COMMENT ON FUNCTION retention._make_triggers(regclass, name[]) IS
  'Makes the triggers that capture the statements on one table.';

CREATE OR REPLACE FUNCTION retention._make_replica_trigger(relation regclass, columns name[])
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- Partitions get a parent's trigger under its name, and may be tracked by themselves.
  SELECT retention._make_trigger(relation, columns,
    CASE c.relkind WHEN 'p' THEN 'retention_replica_parts' ELSE 'retention_replica' END,
    'INSERT OR UPDATE OR DELETE', 'FOR EACH ROW', 'REPLICA')
  FROM pg_class c WHERE c.oid = relation
$$;
COMMENT ON FUNCTION retention._make_replica_trigger(regclass, name[]) IS
  'Makes the trigger that captures what a subscription writes into a table and its partitions, '
  'those made later too. It fires for nobody else.';

CREATE OR REPLACE FUNCTION retention.track(relation regclass, customer_id name DEFAULT NULL) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns name[];
  part regclass;
BEGIN
  PERFORM retention._check_trackable(relation);
  PERFORM retention._check_owner(relation);
  columns := ARRAY(SELECT s.customer_id FROM retention.source s WHERE s.relation = track.relation
                   UNION SELECT c FROM retention.tracked t, unnest(t.customer_id_columns) AS c WHERE t.relation = track.relation
                     -- not those that are gone
                     AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = track.relation AND a.attname = c AND NOT a.attisdropped)
                   UNION SELECT track.customer_id WHERE track.customer_id IS NOT NULL);
  PERFORM retention._reject_unless(cardinality(columns) > 0, format('%s is not a source: its column of the customer''s key is not known', relation),
    format('SELECT retention.track(%L, ''customer_id''); of tables that only know their order see docs/keeping_current.md.', relation));
  PERFORM retention._column_type(relation, 'customer_id', c) FROM unnest(columns) AS c;
  PERFORM retention._drop_triggers(relation);
  FOR part IN SELECT retention._parts(relation) LOOP
    PERFORM retention._make_triggers(part, columns);
    PERFORM retention._make_replica_trigger(part, columns)
      FROM pg_class c WHERE c.oid = part AND (part = relation OR NOT c.relispartition);
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention.track(regclass, name) IS
  'Captures the changes of a table from now on, for process_changes: whose rows are inserted, updated or deleted. The column of the customer''s key is needed where the table is not a source itself. Call it again after adding partitions that are written directly. Needs to own the table.';

CREATE OR REPLACE FUNCTION retention._track_source(relation regclass, customer_id name) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM retention.tracked t WHERE t.relation = _track_source.relation AND customer_id <> ALL (t.customer_id_columns)) THEN
    RETURN;
  ELSIF pg_has_role(retention._caller(), retention._owner(relation), 'USAGE') THEN
    PERFORM retention.track(relation);
  ELSE
    RAISE WARNING '% is tracked, but not by column "%"', relation, customer_id
      USING HINT = format('Its owner has to track it again: SELECT retention.track(%L);', relation);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._track_source(regclass, name) IS 'Of a table that is tracked already, has the keys of a new source captured too, or warns that they are not.';

CREATE OR REPLACE FUNCTION retention.untrack(relation regclass) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.tracked t WHERE t.relation = untrack.relation),
    format('%s is not tracked', coalesce(relation::text, 'null')), 'retention.tracked lists the tables that are.', 'undefined_object');
  PERFORM retention._check_owner(relation);
  PERFORM retention._drop_triggers(relation);
END
$$;
COMMENT ON FUNCTION retention.untrack(regclass) IS 'Ends the capture of a table''s changes; refresh goes on finding them.';
