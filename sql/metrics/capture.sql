-- Captures the changes of the shop's tables by triggers.

CREATE OR REPLACE FUNCTION retention._capture_changes() RETURNS trigger
  LANGUAGE c VOLATILE
  AS 'MODULE_PATHNAME', 'retention_capture_changes';
COMMENT ON FUNCTION retention._capture_changes() IS
  'Trigger, after a statement, or after a row that replication writes: notes the customers whose '
  'rows changed. Arguments: the columns of their keys; then, after an empty one, pairs of a number '
  'of tracked_via and a column of orders'' ids.';

CREATE OR REPLACE FUNCTION retention._parts(relation regclass) RETURNS SETOF regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE part AS (
    SELECT relation::oid AS oid
    UNION
    SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid)
  SELECT oid::regclass FROM part
$$;
COMMENT ON FUNCTION retention._parts(regclass) IS
  'A table with its partitions, or with the tables that inherit from it.';

-- Numbers that triggers can carry: an argument with a name, or an oid, would not survive a rename,
-- or a dump.
CREATE OR REPLACE VIEW retention.tracked AS
  SELECT t.tgrelid::regclass AS relation,
         a.list[:a.customers] AS customer_id_columns,
         (SELECT count(*) FROM retention._parts(t.tgrelid) AS part
          WHERE NOT EXISTS (SELECT FROM pg_trigger q
                            WHERE q.tgrelid = part AND q.tgfoid = t.tgfoid AND q.tgname = t.tgname))
           AS untracked_partitions,
         ARRAY(SELECT a.list[i + 1]
               FROM generate_series(a.customers + 2, cardinality(a.list), 2) AS i
               ORDER BY i) AS order_id_columns,
         ARRAY(SELECT v.relation
               FROM generate_series(a.customers + 2, cardinality(a.list), 2) AS i
               LEFT JOIN retention.tracked_via v ON v.via_id = a.list[i]::text::integer
               ORDER BY i) AS via
  FROM pg_trigger t,
       LATERAL (SELECT ARRAY(
                  SELECT convert_from(decode(c.name, 'escape'), getdatabaseencoding())::name
                  FROM unnest(string_to_array(encode(t.tgargs, 'escape'), E'\\000'))
                         WITH ORDINALITY AS c (name, number)
                  WHERE c.number <= t.tgnargs ORDER BY c.number) AS list) AS arguments,
       LATERAL (SELECT list, coalesce(array_position(list, '') - 1, cardinality(list)) AS customers)
         AS a
  WHERE t.tgfoid = 'retention._capture_changes'::regproc AND t.tgname = 'retention_insert';
COMMENT ON VIEW retention.tracked IS
  'Tables whose changes are captured, partitions each by themselves.';
COMMENT ON COLUMN retention.tracked.relation IS 'The table.';
COMMENT ON COLUMN retention.tracked.customer_id_columns IS
  'Columns that hold the keys of customers.';
COMMENT ON COLUMN retention.tracked.untracked_partitions IS
  'Partitions made since then, where only what is written through the table itself is captured: '
  'call track again.';
COMMENT ON COLUMN retention.tracked.order_id_columns IS
  'Columns that hold the ids of orders, whose customers are looked up.';
COMMENT ON COLUMN retention.tracked.via IS
  'For each of these columns, the relation in which its orders are looked up.';

CREATE OR REPLACE FUNCTION retention._tables_below(relation regclass)
  RETURNS TABLE (below regclass, kind "char")
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE read AS (
    SELECT relation::oid AS oid
    UNION
    SELECT d.refobjid
    FROM read JOIN pg_rewrite r ON r.ev_class = read.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_class'::regclass)
  SELECT c.oid::regclass, c.relkind FROM read JOIN pg_class c ON c.oid = read.oid
$$;
COMMENT ON FUNCTION retention._tables_below(regclass) IS
  'A relation, and all that a view reads, directly or through other views.';

CREATE OR REPLACE FUNCTION retention._check_owner(relation regclass) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(pg_has_role(retention._caller(), retention._owner(relation),
                                               'USAGE'),
    format('%s belongs to another role', relation),
    format('Its owner %s can do that, or a member of that role.', retention._owner(relation)),
    'insufficient_privilege');
END
$$;
COMMENT ON FUNCTION retention._check_owner(regclass) IS
  'An error unless the caller may do what a table''s owner may.';

CREATE OR REPLACE FUNCTION retention._check_trackable(relation regclass) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation_kind "char" := (SELECT relkind FROM pg_class WHERE oid = relation);
  tables text := (SELECT string_agg(format('SELECT retention.track(%L, ''...'');', below), ' '
                                    ORDER BY below::text)
                  FROM retention._tables_below(relation) WHERE kind IN ('r', 'p'));
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, 'the relation to track must not be null',
                                   '', 'null_value_not_allowed');
  PERFORM retention._reject_unless(relation_kind IN ('r', 'p'),
                                   format('%s is not a table: its changes cannot be captured',
                                          relation),
    CASE WHEN relation_kind = 'v' AND tables IS NOT NULL
      THEN format('Track the tables that it reads, by their column of the customer''s key: %s',
                  tables)
         ELSE 'Its changes are found by refresh.' END, 'wrong_object_type');
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention._parts(relation) AS part
                                               JOIN pg_class c ON c.oid = part
                                               WHERE c.relkind = 'f'),
    format('%s has a partition that is a foreign table: triggers that see whole statements would '
           'refuse its rows', relation),
    'Its changes are found by refresh; of the other partitions, tracked each by itself, what is '
    'written into them directly is captured.', 'wrong_object_type');
END
$$;
COMMENT ON FUNCTION retention._check_trackable(regclass) IS
  'Rejects what is not a table, with what to do instead.';

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
COMMENT ON FUNCTION retention._drop_triggers(regclass) IS
  'Drops the capturing triggers of a table and its partitions; returns their number.';

CREATE OR REPLACE FUNCTION retention._make_trigger(
    relation regclass, arguments text, name text, event text, level text, firing text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
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
COMMENT ON FUNCTION retention._make_trigger(regclass, text, text, text, text, text) IS
  'Makes one capturing trigger, with these arguments; firing: by whom it is fired.';

CREATE OR REPLACE FUNCTION retention._make_triggers(relation regclass, arguments text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._make_trigger(
    relation, arguments, made.name, made.event, made.level, made.firing)
  FROM (VALUES
    ('retention_insert', 'INSERT', 'REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', ''),
    ('retention_update', 'UPDATE',
     'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT', ''),
    ('retention_delete', 'DELETE', 'REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT', ''),
    -- Replication fires this one too, as often as a TRUNCATE that somebody gave.
    ('retention_truncate', 'TRUNCATE', 'FOR EACH STATEMENT', 'ALWAYS'))
    AS made (name, event, level, firing)
$$;
COMMENT ON FUNCTION retention._make_triggers(regclass, text) IS
  'Makes the triggers that capture the statements on one table.';

CREATE OR REPLACE FUNCTION retention._make_replica_trigger(relation regclass, arguments text)
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- Partitions get a parent's trigger under its name, and may be tracked by themselves.
  SELECT retention._make_trigger(relation, arguments,
    CASE c.relkind WHEN 'p' THEN 'retention_replica_parts' ELSE 'retention_replica' END,
    'INSERT OR UPDATE OR DELETE', 'FOR EACH ROW', 'REPLICA')
  FROM pg_class c WHERE c.oid = relation
$$;
COMMENT ON FUNCTION retention._make_replica_trigger(regclass, text) IS
  'Makes the trigger that captures what a subscription writes into a table and its partitions, '
  'those made later too. It fires for nobody else.';

CREATE OR REPLACE FUNCTION retention._has_column(relation regclass, column_name name)
  RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_attribute a
                 WHERE a.attrelid = relation AND a.attname = column_name
                   AND a.attnum > 0 AND NOT a.attisdropped)
$$;
COMMENT ON FUNCTION retention._has_column(regclass, name) IS 'Whether a relation has a column.';

CREATE OR REPLACE FUNCTION retention._sources_via(via regclass) RETURNS SETOF retention.source
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s FROM retention.source s
  WHERE s.relation = via AND s.kind = 'order' AND s.order_id IS NOT NULL ORDER BY s.source_id
$$;
COMMENT ON FUNCTION retention._sources_via(regclass) IS
  'The sources by whose columns the customers of a relation''s orders are found.';

CREATE OR REPLACE FUNCTION retention._orders_query(source retention.source, order_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('SELECT DISTINCT k FROM (SELECT %I::text AS k FROM %s WHERE %s) AS o WHERE %s',
    (source).customer_id, (source).relation,
    retention._keys_condition((source).relation, (source).order_id, order_ids, is_exact => false),
    retention._key_condition('k'))
$$;
COMMENT ON FUNCTION retention._orders_query(retention.source, text[]) IS
  'The query for the customers of some orders of a source.';

CREATE OR REPLACE FUNCTION retention._via_hint(relation regclass) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(
    'A table that only knows its order is tracked through that: '
    'SELECT retention.track(%L, via => %L%s);', relation,
    coalesce((SELECT s.relation::text FROM retention.source s
              WHERE s.kind = 'order' AND s.order_id IS NOT NULL AND s.relation <> _via_hint.relation
              ORDER BY s.source_id LIMIT 1), '...'),
    CASE WHEN retention._has_column(relation, 'order_id') THEN '' ELSE ', order_id => ''...''' END)
$$;
COMMENT ON FUNCTION retention._via_hint(regclass) IS
  'How to track a table that has no column of the customer''s key.';

CREATE OR REPLACE FUNCTION retention._are_comparable(type regtype, other regtype) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT type = other OR 'S' IN (a.typcategory, b.typcategory)
      OR a.typcategory = 'N' AND b.typcategory = 'N'
  FROM pg_type a, pg_type b WHERE a.oid = type AND b.oid = other
$$;
COMMENT ON FUNCTION retention._are_comparable(regtype, regtype) IS
  'Whether keys of two types can be the same ones: text may be any, numbers are written alike.';

CREATE OR REPLACE FUNCTION retention._check_via(relation regclass, order_id name, via regclass)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  type regtype;
  source retention.source;
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention._sources_via(via)),
    format('%s is no source of orders with an order id: whose they are is not known', via),
    coalesce((SELECT 'Such sources are ' || string_agg(DISTINCT s.relation::text, ', ') || '.'
              FROM retention.source s WHERE s.kind = 'order' AND s.order_id IS NOT NULL),
             format('SELECT retention.add_source(%L, order_id => ''...'');', via)),
    'object_not_in_prerequisite_state');
  PERFORM retention._reject_unless(relation <> via,
    format('%s cannot be tracked via itself', via), format('SELECT retention.track(%L);', via));
  type := retention._column_type(relation, 'order_id', order_id);
  FOR source IN SELECT * FROM retention._sources_via(via) LOOP
    PERFORM retention._reject_unless(
      retention._are_comparable(type, retention._column_type(via, 'order_id', source.order_id)),
      format('column "%s" of %s has type %s, and column "%s" of %s type %s: no id is of both',
             order_id, relation, type, source.order_id, via,
             retention._column_type(via, 'order_id', source.order_id)),
      'Name the column that has the order''s id with order_id => ''...''.', 'datatype_mismatch');
    PERFORM retention._check_readable(via, ARRAY[source.customer_id, source.order_id]);
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._check_via(regclass, name, regclass) IS
  'An error unless the customers of a table''s rows can be found by their order, and the caller '
  'may read of whom those orders are.';

CREATE OR REPLACE FUNCTION retention._warn_of_via(via regclass) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source retention.source;
BEGIN
  IF NOT EXISTS (SELECT FROM retention._tables_below(_warn_of_via.via) AS b
                 JOIN retention.tracked t ON t.relation = b.below
                 WHERE t.customer_id_columns <> '{}') THEN
    RAISE WARNING '% is not tracked: orders that come, go, or change hands are found by refresh',
        via
      USING HINT = format('Track its orders too, or for a view the tables that it reads: '
                          'SELECT retention.track(%L);', via);
  END IF;
  FOR source IN SELECT * FROM retention._sources_via(via) LOOP
    IF retention._scans_a_table(retention._orders_query(source, '{0}'), via) THEN
      RAISE WARNING '% is read in full for every change: no index finds an order by "%"',
          via, source.order_id
        USING HINT = format('For a table: CREATE INDEX ON %s (%I);', via, source.order_id);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._warn_of_via(regclass) IS
  'Warns where orders that tables are tracked through are not tracked themselves, or slow to find.';

CREATE OR REPLACE FUNCTION retention._via_id(via regclass) RETURNS integer
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO retention.tracked_via (relation) SELECT via
    WHERE via IS NOT NULL
      AND NOT EXISTS (SELECT FROM retention.tracked_via v WHERE v.relation = via)
    ON CONFLICT DO NOTHING;
  SELECT v.via_id FROM retention.tracked_via v WHERE v.relation = via
$$;
COMMENT ON FUNCTION retention._via_id(regclass) IS
  'The number of a relation through which tables are tracked; null for null.';

CREATE OR REPLACE FUNCTION retention._customer_columns(relation regclass, customer_id name)
  RETURNS name[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(
    SELECT s.customer_id FROM retention.source s WHERE s.relation = _customer_columns.relation
    UNION SELECT c FROM retention.tracked t, unnest(t.customer_id_columns) AS c
      -- not those that are gone
      WHERE t.relation = _customer_columns.relation AND retention._has_column(t.relation, c)
    UNION SELECT customer_id WHERE customer_id IS NOT NULL
    ORDER BY 1)
$$;
COMMENT ON FUNCTION retention._customer_columns(regclass, name) IS
  'The columns of customers'' keys by which a table is to be tracked: those of sources, those by '
  'which it is, and another one.';

CREATE OR REPLACE FUNCTION retention._order_columns(
    relation regclass, order_id name, via_id integer)
  RETURNS name[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT ARRAY(
    SELECT unnest(ARRAY[pair.via_id::text::name, pair.order_id])
    FROM (SELECT v.via_id, o.order_id
          FROM retention.tracked t, unnest(t.order_id_columns, t.via) AS o (order_id, via)
          JOIN retention.tracked_via v ON v.relation = o.via
          WHERE t.relation = _order_columns.relation
            AND retention._has_column(t.relation, o.order_id)
            AND EXISTS (SELECT FROM retention._sources_via(o.via))
          UNION SELECT _order_columns.via_id, _order_columns.order_id
            WHERE _order_columns.via_id IS NOT NULL
          ORDER BY via_id, order_id) AS pair)
$$;
COMMENT ON FUNCTION retention._order_columns(regclass, name, integer) IS
  'The columns of orders'' ids by which a table is to be tracked, likewise, each after the number '
  'of the relation that has the orders.';

CREATE OR REPLACE FUNCTION retention._check_keys(
    relation regclass, customer_columns name[], order_columns name[])
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing name := (SELECT c FROM unnest(customer_columns) AS c
                   WHERE NOT retention._has_column(relation, c) LIMIT 1);
BEGIN
  PERFORM retention._reject_unless(cardinality(customer_columns || order_columns) > 0,
    format('%s is not a source: its column of the customer''s key is not known', relation),
    format('SELECT retention.track(%L, ''customer_id''); names it. ', relation)
      || retention._via_hint(relation));
  PERFORM retention._reject_unless(missing IS NULL,
    format('column "%s" of %s does not exist', missing, relation),
    'Name the column with customer_id => ''...''. ' || retention._via_hint(relation),
    'undefined_column');
END
$$;
COMMENT ON FUNCTION retention._check_keys(regclass, name[], name[]) IS
  'An error where nothing tells whose rows of a table change.';

CREATE OR REPLACE FUNCTION retention.track(
    relation regclass, customer_id name DEFAULT NULL, via regclass DEFAULT NULL,
    order_id name DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  customer_columns name[];
  order_columns name[];
  arguments text;
BEGIN
  PERFORM retention._check_trackable(relation);
  PERFORM retention._check_owner(relation);
  PERFORM retention._reject_unless(order_id IS NULL OR via IS NOT NULL,
    format('by "%s" alone the customers of %s are not found', order_id, relation),
    'Name the relation that has the orders with via => ''...''.');
  order_id := coalesce(order_id, 'order_id');
  PERFORM retention._check_via(relation, order_id, via) WHERE via IS NOT NULL;
  customer_columns := retention._customer_columns(relation, customer_id);
  order_columns := retention._order_columns(relation, order_id, retention._via_id(via));
  PERFORM retention._check_keys(relation, customer_columns, order_columns);
  SELECT string_agg(quote_literal(a.argument), ', ' ORDER BY a.number) INTO arguments
    FROM unnest(customer_columns || ''::name || order_columns)
           WITH ORDINALITY AS a (argument, number)
    WHERE a.argument <> '' OR order_columns <> '{}';
  PERFORM retention._drop_triggers(relation);
  PERFORM retention._make_triggers(part, arguments) FROM retention._parts(relation) AS part;
  PERFORM retention._make_replica_trigger(part, arguments)
    FROM retention._parts(relation) AS part JOIN pg_class c ON c.oid = part
    WHERE part = relation OR NOT c.relispartition;
  PERFORM retention._warn_of_via(via) WHERE via IS NOT NULL;
END
$$;
COMMENT ON FUNCTION retention.track(regclass, name, regclass, name) IS
  'Captures the changes of a table from now on, for process_changes: whose rows are inserted, '
  'updated or deleted. The column of the customer''s key is needed where the table is not a source '
  'itself. A table that only knows its order is tracked via the source that has the orders: its '
  'column order_id, which is called so unless another name is given, leads to the customers. Call '
  'it again after adding partitions that are written directly. Needs to own the table, and to be '
  'able to read whose the orders are.';

CREATE OR REPLACE FUNCTION retention._track_source(relation regclass, customer_id name) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM retention.tracked t
                 WHERE t.relation = _track_source.relation
                   AND customer_id <> ALL (t.customer_id_columns)) THEN
    RETURN;
  ELSIF pg_has_role(retention._caller(), retention._owner(relation), 'USAGE') THEN
    PERFORM retention.track(relation);
  ELSE
    RAISE WARNING '% is tracked, but not by column "%"', relation, customer_id
      USING HINT = format('Its owner has to track it again: SELECT retention.track(%L);', relation);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._track_source(regclass, name) IS
  'Of a table that is tracked already, has the keys of a new source captured too, or warns that '
  'they are not.';

CREATE OR REPLACE FUNCTION retention.untrack(relation regclass) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.tracked t
                                           WHERE t.relation = untrack.relation),
    format('%s is not tracked', coalesce(relation::text, 'null')),
    'retention.tracked lists the tables that are.', 'undefined_object');
  PERFORM retention._check_owner(relation);
  PERFORM retention._drop_triggers(relation);
END
$$;
COMMENT ON FUNCTION retention.untrack(regclass) IS
  'Ends the capture of a table''s changes; refresh goes on finding them.';
