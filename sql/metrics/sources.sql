-- Sources: the relations of the shop that orders are read from.

CREATE OR REPLACE FUNCTION retention._base_type(type regtype) RETURNS regtype
  LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  base regtype := type;
BEGIN
  WHILE base IS NOT NULL LOOP
    type := base;
    base := (SELECT t.typbasetype FROM pg_type t WHERE t.oid = type AND t.typtype = 'd');
  END LOOP;
  RETURN type;
END
$$;
COMMENT ON FUNCTION retention._base_type(regtype) IS 'The type under a domain.';

CREATE OR REPLACE FUNCTION retention._column_type(relation regclass, role text, column_name name)
  RETURNS regtype
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_type regtype;
BEGIN
  SELECT retention._base_type(atttypid) INTO found_type
    FROM pg_attribute WHERE attrelid = relation AND attname = column_name AND attnum > 0
      AND NOT attisdropped;
  PERFORM retention._reject_unless(FOUND,
    format('column "%s" of %s does not exist', column_name, relation),
    CASE role WHEN '' THEN format('Use a view of %s that has it.', relation)
              ELSE format('Name the column with %s => ''...''.', role) END, 'undefined_column');
  RETURN found_type;
END
$$;
COMMENT ON FUNCTION retention._column_type(regclass, text, name) IS
  'A column''s type, or an error that names the column, and the argument that could name another '
  'one; an empty one: none can.';

CREATE OR REPLACE FUNCTION retention._read_by_reader(relation regclass) RETURNS SETOF regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE read AS (
    SELECT relation::oid AS oid
    UNION
    SELECT d.refobjid
    FROM read JOIN pg_class v ON v.oid = read.oid AND v.relkind = 'v'
    CROSS JOIN LATERAL pg_options_to_table(v.reloptions) AS o
    JOIN pg_rewrite r ON r.ev_class = v.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_class'::regclass
    WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
  SELECT oid::regclass FROM read
$$;
COMMENT ON FUNCTION retention._read_by_reader(regclass) IS
  'A relation, and those that it reads with the rights of whoever reads it.';

CREATE OR REPLACE FUNCTION retention._depends_on_reader(relation regclass, reader regrole)
  RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.relrowsecurity
         AND NOT (SELECT a.rolbypassrls OR a.rolsuper FROM pg_roles a WHERE a.oid = reader)
      OR c.relkind = 'v' AND (
        c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        OR EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                     AND d.refclassid = 'pg_extension'::regclass AND e.extname <> 'retention'))
  FROM pg_class c WHERE c.oid = relation
$$;
COMMENT ON FUNCTION retention._depends_on_reader(regclass, regrole) IS
  'Whether a relation may show a reader less than its owner: by row security, or as a view of the '
  'system, or of another extension, which may ask who reads it.';

CREATE OR REPLACE FUNCTION retention._check_shown_alike(relation regclass, reader regrole)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner regrole := retention._owner(relation);
  withheld regclass;
BEGIN
  IF pg_has_role(reader, owner, 'USAGE') THEN
    RETURN;
  END IF;
  SELECT r INTO withheld FROM retention._read_by_reader(relation) AS r
    WHERE r <> relation AND NOT has_table_privilege(reader, r, 'SELECT')
      OR retention._depends_on_reader(r, reader) LIMIT 1;
  PERFORM retention._reject_unless(withheld IS NULL,
    format('%s may show its owner more than %s, for %s depends on who reads it',
           relation, reader, withheld),
    format('It is read with its owner''s rights: %s can add it, or a member of that role.', owner),
    'insufficient_privilege');
END
$$;
COMMENT ON FUNCTION retention._check_shown_alike(regclass, regrole) IS
  'An error where a relation, which is read with its owner''s rights, may show the owner more '
  'than somebody who can read it.';

CREATE OR REPLACE FUNCTION retention._check_readable(relation regclass, columns name[]) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  caller regrole := retention._caller();
  unreadable name;
BEGIN
  SELECT c INTO unreadable
    FROM unnest(columns) AS c JOIN pg_class ON pg_class.oid = relation
    WHERE NOT has_schema_privilege(caller, relnamespace, 'USAGE')
      OR NOT has_column_privilege(caller, relation, c::text, 'SELECT')
    LIMIT 1;
  PERFORM retention._reject_unless(unreadable IS NULL,
    format('no right to read column "%s" of %s', unreadable, relation),
    format('GRANT SELECT ON %s TO %s;', relation, caller), 'insufficient_privilege');
  PERFORM retention._check_shown_alike(relation, caller);
END
$$;
COMMENT ON FUNCTION retention._check_readable(regclass, name[]) IS
  'An error unless the caller may read these columns: what they have the engine read, others can '
  'see.';

CREATE OR REPLACE FUNCTION retention._check_type(
    relation regclass, column_name name, type regtype, allowed regtype[], hint text)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(type = ANY (allowed),
    format('column "%s" of %s has type %s, which cannot be used here', column_name, relation, type),
    hint, 'datatype_mismatch');
END
$$;
COMMENT ON FUNCTION retention._check_type(regclass, name, regtype, regtype[], text) IS
  'Rejects a column of an unsuitable type.';

CREATE OR REPLACE FUNCTION retention._check_source() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation_kind "char";
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.source');
  SELECT relkind INTO relation_kind FROM pg_class WHERE oid = NEW.relation;
  PERFORM retention._reject_unless(relation_kind IN ('r', 'p', 'v', 'm', 'f'),
    format('%s is not a table or view', NEW.relation), '', 'wrong_object_type');
  PERFORM retention._reject_unless(NEW.kind IN ('order', 'refund'),
    format('kind of source %s must be order or refund, not "%s"', NEW.relation, NEW.kind));
  PERFORM retention._column_type(NEW.relation, 'customer_id', NEW.customer_id);
  PERFORM retention._check_type(NEW.relation, NEW.ordered_at,
    retention._column_type(NEW.relation, 'ordered_at', NEW.ordered_at),
    '{timestamptz,timestamp,date}',
    'The time of an order is a timestamp or a date; convert it in a view.');
  PERFORM retention._check_type(NEW.relation, NEW.amount,
    retention._column_type(NEW.relation, 'amount', NEW.amount),
    '{numeric,smallint,integer,bigint,real,double precision,money}',
    'The amount is a number; convert it in a view.');
  IF NEW.order_id IS NOT NULL THEN
    PERFORM retention._column_type(NEW.relation, 'order_id', NEW.order_id);
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_source() IS
  'Trigger: checks a source''s relation and columns.';

CREATE OR REPLACE FUNCTION retention.add_source(
    relation regclass, customer_id name DEFAULT 'customer_id', ordered_at name DEFAULT 'ordered_at',
    amount name DEFAULT 'amount', order_id name DEFAULT NULL, kind text DEFAULT 'order',
    metric text DEFAULT 'orders',
    events boolean DEFAULT NULL)
  RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  new_id integer;
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, 'the source''s relation must not be null',
                                   '', 'null_value_not_allowed');
  PERFORM retention._reject_unless(
    NOT EXISTS (SELECT FROM retention.source s
                WHERE s.metric = add_source.metric AND s.relation = add_source.relation
                  AND s.kind = add_source.kind),
    format('%s is already a source of %ss for metric "%s"', relation, kind, metric),
    (SELECT CASE WHEN s.order_id IS NULL AND add_source.order_id IS NOT NULL
                 THEN 'To add the order id: ' || retention._add_again(
                   retention._with_fields(s, 'order_id', add_source.order_id))
                 ELSE format('SELECT retention.drop_source(%s); removes it.', s.source_id) END
     FROM retention.source s
     WHERE (s.metric, s.relation, s.kind)
           = (add_source.metric, add_source.relation, add_source.kind)), 'duplicate_object');
  PERFORM retention._reject_unless(
    kind IS DISTINCT FROM 'refund' OR EXISTS (SELECT FROM retention.source s
                                              WHERE s.metric = add_source.metric
                                                AND s.kind = 'order'),
    format('metric "%s" has no orders that %s could refund', metric, relation),
    'Add the source of its orders first.', 'object_not_in_prerequisite_state');
  events := coalesce(events, order_id IS NOT NULL);
  PERFORM retention._reject_unless(NOT events OR order_id IS NOT NULL,
    format('events of %s need the column of the order id', relation),
    'By the order id an order is told from a changed one: order_id => ''...''.');
  IF metric = 'orders' AND NOT EXISTS (SELECT FROM retention.metric e WHERE e.metric = 'orders')
    THEN
    PERFORM retention.add_metric('orders');
  END IF;
  PERFORM retention._require_metric(metric);
  INSERT INTO retention.source (metric, relation, kind, customer_id, ordered_at, amount, order_id,
                                events_from)
    VALUES (metric, relation, kind, customer_id, ordered_at, amount, order_id, CASE
            WHEN events THEN retention.now() END)
    RETURNING source_id INTO new_id;
  PERFORM retention._check_readable(relation,
                                    array_remove(ARRAY[customer_id, ordered_at, amount, order_id],
                                                 NULL));
  PERFORM retention._track_source(relation, customer_id);
  PERFORM retention._warn_not_netted(relation, metric);
  RETURN new_id;
END
$$;
COMMENT ON FUNCTION retention.add_source(regclass, name, name, name, name, text, text, boolean) IS
  'Makes a table or view a source of a metric''s orders, or of refunds; returns its source_id. '
  'The first one makes the metric "orders". With events, process_changes records new orders in '
  'order_event; they are on, unless set to false, where there is an order_id. A table that is '
  'tracked already is tracked by this column too, which needs to own it.';

CREATE OR REPLACE FUNCTION retention._warn_not_netted(relation regclass, metric text) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fault record;
BEGIN
  FOR fault IN SELECT n.* FROM retention._not_netted(metric) AS n LOOP
    IF fault.names_orders THEN
      RAISE WARNING '%', fault.problem USING HINT = fault.way_out;
    ELSIF (fault.refunds).relation = relation THEN
      -- Some shops do not know of which order a refund is.
      RAISE NOTICE '%', fault.problem USING HINT = fault.way_out;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._warn_not_netted(regclass, text) IS
  'Warns, when a source was added, of refunds that are not netted against orders.';

CREATE OR REPLACE FUNCTION retention.drop_source(source_id integer) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM retention.source s WHERE s.source_id = drop_source.source_id;
  PERFORM retention._reject_unless(FOUND, format('source %s does not exist',
                                                 coalesce(source_id::text, 'null')),
    'retention.source lists those there are.', 'undefined_object');
  -- Nobody processes changes of a metric that reads nothing, so nobody would clear these.
  DELETE FROM retention.metric_error e
    WHERE NOT EXISTS (SELECT FROM retention.source s WHERE s.metric = e.metric);
END
$$;
COMMENT ON FUNCTION retention.drop_source(integer) IS
  'Removes a source; its customers go at the next refresh.';
