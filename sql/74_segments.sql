-- Segments: views whose customers are kept as members, and the queue of who entered and left.

CREATE TABLE retention.segment (
  segment        text COLLATE "C" PRIMARY KEY CHECK (segment <> ''),
  number         integer GENERATED ALWAYS AS IDENTITY,
  relation       regclass NOT NULL,
  relation_name  text NOT NULL,
  owner          name NOT NULL,
  enabled        boolean NOT NULL DEFAULT true,
  definition     text NOT NULL,
  pending        text CHECK (pending IN ('definition', 'settings', 'refresh')),
  added_at       timestamptz NOT NULL,
  evaluated_at   timestamptz,
  members        bigint NOT NULL DEFAULT 0,
  duplicate_rows bigint NOT NULL DEFAULT 0,
  null_rows      bigint NOT NULL DEFAULT 0,
  error          text,
  error_code     text,
  error_at       timestamptz,
  failures       integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE retention.segment IS 'Relations whose customers are kept as members. Made by add_segment.';
COMMENT ON COLUMN retention.segment.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment.number IS 'Segments are evaluated in this order.';
COMMENT ON COLUMN retention.segment.relation IS 'View or table whose column customer_id says who is in.';
COMMENT ON COLUMN retention.segment.relation_name IS 'Its name, by which it is found again when its owner has dropped and created it anew, or a dump was restored; while it is there, it is followed under any name.';
COMMENT ON COLUMN retention.segment.owner IS 'Role that owns it, with whose rights it is read. Another role''s relation of the same name is not taken for it.';
COMMENT ON COLUMN retention.segment.enabled IS 'Whether the segment is kept current; a disabled one stays as it was.';
COMMENT ON COLUMN retention.segment.definition IS
  'Fingerprint of the view, and of the views and functions below it, as last evaluated, after the '
  'major version of the server that wrote it.';
COMMENT ON COLUMN retention.segment.pending IS 'Cause of the changes that its next evaluation, in full, will find, where a segment that its view reads has changed other than by single customers; else null.';
COMMENT ON COLUMN retention.segment.added_at IS 'Engine''s time at which it was added.';
COMMENT ON COLUMN retention.segment.evaluated_at IS 'Engine''s time of the last evaluation in full.';
COMMENT ON COLUMN retention.segment.members IS 'Number of members.';
COMMENT ON COLUMN retention.segment.duplicate_rows IS 'Rows of the last evaluation in full that repeated a customer.';
COMMENT ON COLUMN retention.segment.null_rows IS 'Rows of the last evaluation in full without a customer, or with a key of more than 2,000 bytes.';
COMMENT ON COLUMN retention.segment.error IS 'Why the last evaluation failed; null when it did not.';
COMMENT ON COLUMN retention.segment.error_code IS 'SQLSTATE of that failure.';
COMMENT ON COLUMN retention.segment.error_at IS 'Engine''s time of that failure.';
COMMENT ON COLUMN retention.segment.failures IS 'How often evaluation has failed in a row; process_changes tries again after a minute, then two, four, up to an hour.';

CREATE TABLE retention.segment_member (
  segment     text COLLATE "C" NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  entered_at  timestamptz NOT NULL,
  PRIMARY KEY (segment, customer_id)
);
COMMENT ON TABLE retention.segment_member IS 'Who is in which segment. Its triggers write segment_change: of members that leave or are deleted, and of those whom the engine enters. Rows inserted by hand are not told to the queue, as a restored dump''s must not be; they stay until the segment''s next evaluation.';
COMMENT ON COLUMN retention.segment_member.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_member.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.segment_member.entered_at IS 'Engine''s time at which the customer entered.';

CREATE TABLE retention.segment_change (
  change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  segment     text COLLATE "C" NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  change      text NOT NULL CHECK (change IN ('entered', 'left')),
  cause       text NOT NULL CHECK (cause IN ('order', 'refund', 'data', 'refresh', 'settings', 'definition', 'backfill', 'drop', 'manual')),
  as_of       timestamptz NOT NULL,
  changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX segment_change_customer ON retention.segment_change (customer_id);
COMMENT ON TABLE retention.segment_change IS 'The queue: who entered and left segments, in the order in which it was committed. Read by read_segment_changes.';
COMMENT ON COLUMN retention.segment_change.change_id IS 'Number of the change. Ascending in the order of commits.';
COMMENT ON COLUMN retention.segment_change.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_change.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.segment_change.change IS 'entered or left.';
COMMENT ON COLUMN retention.segment_change.cause IS 'order, refund: the customer''s orders changed; data: other tracked data did; refresh: time passed, thresholds moved, or anything else that a refresh found; settings: those of a metric were changed; definition: the segment was added, changed or enabled, backfill: the same, for flows to start; drop: it was dropped; manual: someone deleted the member.';
COMMENT ON COLUMN retention.segment_change.as_of IS 'Engine''s time of the change.';
COMMENT ON COLUMN retention.segment_change.changed_at IS 'Real time at which the row was written.';

CREATE TABLE retention.segment_day (
  segment  text COLLATE "C" NOT NULL,
  day      date NOT NULL,
  joined   bigint NOT NULL,
  departed bigint NOT NULL,
  PRIMARY KEY (segment, day)
);
COMMENT ON TABLE retention.segment_day IS 'How many entered and left each segment, by day; kept when the queue is pruned. segment_growth shows it.';
COMMENT ON COLUMN retention.segment_day.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_day.day IS 'Day, in the time zone of metric "orders".';
COMMENT ON COLUMN retention.segment_day.joined IS 'Customers who entered.';
COMMENT ON COLUMN retention.segment_day.departed IS 'Customers who left.';

CREATE TABLE retention.segment_consumer (
  consumer text PRIMARY KEY CHECK (consumer <> ''),
  position bigint NOT NULL,
  read_at  timestamptz
);
COMMENT ON TABLE retention.segment_consumer IS 'Who reads the queue, and how far. Made by add_consumer.';
COMMENT ON COLUMN retention.segment_consumer.consumer IS 'Name of the consumer.';
COMMENT ON COLUMN retention.segment_consumer.position IS 'Last change_id that was read.';
COMMENT ON COLUMN retention.segment_consumer.read_at IS 'Real time of the last read.';

SELECT pg_extension_config_dump('retention.segment', '');
SELECT pg_extension_config_dump('retention.segment_number_seq', '');
SELECT pg_extension_config_dump('retention.segment_member', '');
SELECT pg_extension_config_dump('retention.segment_change', '');
SELECT pg_extension_config_dump('retention.segment_change_change_id_seq', '');
SELECT pg_extension_config_dump('retention.segment_day', '');
SELECT pg_extension_config_dump('retention.segment_consumer', '');

-- The queue.

CREATE OR REPLACE FUNCTION retention._lock_queue() RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._take_lock('retention.segment_change')
$$;
COMMENT ON FUNCTION retention._lock_queue() IS
  'Makes whatever writes members and the queue take turns, until the transaction ends. Numbers of changes are drawn under this lock, so they ascend in the order of commits, and who has read up to one has missed none.';

CREATE OR REPLACE FUNCTION retention._lock_all() RETURNS text[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  locked text[] := '{}';
  metrics text[];
BEGIN
  LOOP
    -- Again, for metrics that were added while others were waited for.
    metrics := ARRAY(SELECT DISTINCT s.metric FROM retention.source s ORDER BY 1);
    EXIT WHEN metrics <@ locked;
    PERFORM retention._lock_metric(m) FROM unnest(metrics) AS m;
    locked := metrics;
  END LOOP;
  PERFORM retention._lock_queue();
  RETURN metrics;
END
$$;
COMMENT ON FUNCTION retention._lock_all() IS
  'Takes the locks of all metrics that have a source, which it returns, and then the queue''s: in this order, as a refresh does, so that nobody waits in a circle.';

CREATE OR REPLACE FUNCTION retention._views_above(relation regclass) RETURNS SETOF regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE reader AS (
    SELECT relation::oid AS oid
    UNION
    SELECT r.ev_class
    FROM reader JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = reader.oid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid)
  SELECT oid::regclass FROM reader
$$;
COMMENT ON FUNCTION retention._views_above(regclass) IS 'A relation, and all views that read it, directly or through other views.';

CREATE OR REPLACE FUNCTION retention._graver_cause(cause text, other text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN 'definition' IN (cause, other) THEN 'definition' WHEN 'settings' IN (cause, other) THEN 'settings'
              ELSE coalesce(cause, other) END;
COMMENT ON FUNCTION retention._graver_cause(text, text) IS 'The one of two causes, of an evaluation in full, that starts less; null: none.';

CREATE OR REPLACE FUNCTION retention._mark_settings() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._lock_queue();
  UPDATE retention.segment s SET pending = retention._graver_cause(s.pending, 'settings') WHERE s.evaluated_at IS NOT NULL;
END
$$;
COMMENT ON FUNCTION retention._mark_settings() IS
  'Has all segments evaluated in full: what differs then is due to the settings of a metric, which start no flow.';

CREATE OR REPLACE FUNCTION retention._mark_readers(segments text[], cause text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- Only later ones, so that no two can mark each other forever. What starts no flow here starts none there.
  UPDATE retention.segment s
    SET pending = retention._graver_cause(s.pending, CASE WHEN cause IN ('refresh', 'settings') THEN cause ELSE 'definition' END)
    WHERE s.number > (SELECT min(c.number) FROM retention.segment c WHERE c.segment = ANY (segments))
      AND s.relation IN (SELECT retention._views_above('retention.segment_member'))
$$;
COMMENT ON FUNCTION retention._mark_readers(text[], text) IS
  'Has the segments that read members, and were added later, evaluated in full: anybody may have entered or left these ones.';

CREATE OR REPLACE FUNCTION retention._queue_changes() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entered boolean := TG_OP = 'INSERT';
  cause text := nullif(current_setting('retention_engine.cause', true), '');
  at timestamptz;
  zone text;
  segments text[];
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.segment_member');
  segments := ARRAY(SELECT DISTINCT c.segment FROM changed c);
  -- A restored dump brings the members, and the queue by itself.
  IF entered AND cause IS NULL OR segments = '{}' THEN
    RETURN NULL;
  END IF;
  at := coalesce(nullif(current_setting('retention_engine.as_of', true), '')::timestamptz, retention.now());
  zone := coalesce((SELECT time_zone FROM retention.metric WHERE metric = 'orders'), 'UTC');
  INSERT INTO retention.segment_change (segment, customer_id, change, cause, as_of)
    SELECT c.segment, c.customer_id, CASE WHEN entered THEN 'entered' ELSE 'left' END, coalesce(cause, 'manual'), at
    FROM changed c ORDER BY c.segment, c.customer_id;
  INSERT INTO retention.segment_day AS d (segment, day, joined, departed)
    SELECT c.segment, (at AT TIME ZONE zone)::date, count(*) FILTER (WHERE entered), count(*) FILTER (WHERE NOT entered)
    FROM changed c GROUP BY c.segment
    ON CONFLICT (segment, day) DO UPDATE SET joined = d.joined + excluded.joined, departed = d.departed + excluded.departed;
  UPDATE retention.segment s SET members = s.members + CASE WHEN entered THEN c.count ELSE -c.count END
    FROM (SELECT changed.segment, count(*) FROM changed GROUP BY 1) AS c WHERE s.segment = c.segment;
  -- Whose orders or data changed is evaluated in all segments.
  IF cause IN ('order', 'refund', 'data') IS NOT TRUE THEN
    PERFORM retention._mark_readers(segments, cause);
  END IF;
  PERFORM pg_notify('retention_segment', s) FROM unnest(segments) AS s;
  -- Whom settings or definitions move has done nothing.
  IF coalesce(cause, 'manual') NOT IN ('settings', 'definition') AND retention._flows_run() THEN
    PERFORM retention._note_changed(ARRAY(SELECT DISTINCT c.customer_id FROM changed c));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._queue_changes() IS 'Trigger: writes the members that were inserted or deleted to the queue, counts them, and tells who listens, and the segments that read these.';

CREATE OR REPLACE FUNCTION retention._take_turns() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.segment_member');
  PERFORM retention._lock_queue();
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._take_turns() IS 'Trigger: locks the queue before any row, so that nobody who has the one waits for the other.';

CREATE TRIGGER take_turns BEFORE INSERT OR DELETE ON retention.segment_member
  FOR EACH STATEMENT EXECUTE FUNCTION retention._take_turns();
COMMENT ON TRIGGER take_turns ON retention.segment_member IS 'Makes whoever changes members by hand wait for process_changes, and the other way round.';

CREATE TRIGGER queue_entered AFTER INSERT ON retention.segment_member
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._queue_changes();
COMMENT ON TRIGGER queue_entered ON retention.segment_member IS 'Writes new members to the queue.';

CREATE TRIGGER queue_left AFTER DELETE ON retention.segment_member
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._queue_changes();
COMMENT ON TRIGGER queue_left ON retention.segment_member IS 'Writes removed members to the queue.';

CREATE OR REPLACE FUNCTION retention._refuse_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.segment_member');
  PERFORM retention._reject_unless(false, format('%s of %s would bypass the queue', TG_OP, TG_RELID::regclass),
    'DELETE removes members and tells the queue.', 'feature_not_supported');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._refuse_change() IS 'Trigger: rejects changes that the queue could not show.';

CREATE TRIGGER refuse_change BEFORE UPDATE OF segment, customer_id OR TRUNCATE ON retention.segment_member
  FOR EACH STATEMENT EXECUTE FUNCTION retention._refuse_change();
COMMENT ON TRIGGER refuse_change ON retention.segment_member IS 'Rejects changes that the queue could not show.';

CREATE OR REPLACE FUNCTION retention.add_consumer(consumer text, from_start boolean DEFAULT false) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_length('the name of a consumer', 'name', consumer);
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.segment_consumer c WHERE c.consumer = add_consumer.consumer),
    format('consumer "%s" already exists', consumer), 'drop_consumer removes it.', 'duplicate_object');
  INSERT INTO retention.segment_consumer (consumer, position)
    VALUES (consumer, CASE WHEN from_start THEN 0 ELSE coalesce((SELECT max(change_id) FROM retention.segment_change), 0) END);
END
$$;
COMMENT ON FUNCTION retention.add_consumer(text, boolean) IS 'Makes a reader of the queue, who starts with the next change, or with the oldest one that is kept.';

CREATE OR REPLACE FUNCTION retention.drop_consumer(consumer text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM retention.segment_consumer c WHERE c.consumer = drop_consumer.consumer;
  PERFORM retention._reject_unless(FOUND, format('consumer %s does not exist', coalesce('"' || consumer || '"', 'null')),
    'retention.segment_consumer lists those there are.', 'undefined_object');
END
$$;
COMMENT ON FUNCTION retention.drop_consumer(text) IS 'Removes a reader of the queue; prune no longer waits for it.';

CREATE OR REPLACE FUNCTION retention.read_segment_changes(consumer text, "limit" integer DEFAULT 1000) RETURNS SETOF retention.segment_change
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  read_up_to bigint;
  last_id bigint;
BEGIN
  PERFORM retention._reject_unless("limit" > 0, format('limit must be 1 or more, not %s', coalesce("limit"::text, 'null')));
  SELECT position INTO read_up_to FROM retention.segment_consumer c WHERE c.consumer = read_segment_changes.consumer FOR UPDATE;
  PERFORM retention._reject_unless(FOUND, format('consumer %s does not exist', coalesce('"' || consumer || '"', 'null')),
    'add_consumer makes it.', 'undefined_object');
  SELECT max(change_id) INTO last_id
    FROM (SELECT change_id FROM retention.segment_change WHERE change_id > read_up_to ORDER BY change_id LIMIT "limit") AS next;
  IF last_id IS NULL THEN
    RETURN;
  END IF;
  UPDATE retention.segment_consumer c SET position = last_id, read_at = clock_timestamp() WHERE c.consumer = read_segment_changes.consumer;
  RETURN QUERY
    SELECT s.* FROM retention.segment_change s WHERE s.change_id > read_up_to AND s.change_id <= last_id ORDER BY s.change_id;
END
$$;
COMMENT ON FUNCTION retention.read_segment_changes(text, integer) IS
  'The next changes for a consumer, whose position moves in the same transaction: what is rolled back is read again, what is committed never.';

-- Evaluation.

CREATE OR REPLACE FUNCTION retention._objects_below(relation regclass)
  RETURNS TABLE (class regclass, object oid)
  -- Planned once a session, rather than for each segment, as _definition is.
  LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH RECURSIVE read AS (
      SELECT 'pg_class'::regclass::oid AS class, relation::oid AS object
      UNION
      SELECT d.refclassid, d.refobjid
      FROM read
      LEFT JOIN pg_rewrite r
        ON read.class = 'pg_class'::regclass AND r.ev_class = read.object AND r.ev_type = '1'
      -- What a view uses, its rule does.
      JOIN pg_depend d ON (d.classid, d.objid) = (
        CASE read.class WHEN 'pg_class'::regclass THEN 'pg_rewrite'::regclass ELSE read.class END,
        CASE read.class WHEN 'pg_class'::regclass THEN r.oid ELSE read.object END)
      WHERE d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass)
        -- What belongs to an extension, such as our profile, changes with its version.
        AND NOT EXISTS (
          SELECT FROM pg_depend e
          WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e'))
    SELECT class::regclass, object FROM read;
END
$$;
COMMENT ON FUNCTION retention._objects_below(regclass) IS
  'A relation, and the relations, functions and operators that it uses if it is a view, or a view '
  'below it does, as far as PostgreSQL knows: not what the text of a function names. Without those of extensions.';

CREATE OR REPLACE FUNCTION retention._function_definition(function regprocedure) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT concat_ws(' ', function, l.lanname, p.prosrc, pg_get_function_sqlbody(p.oid), p.probin,
                   p.proconfig, p.prosecdef, a.aggtransfn, a.aggfinalfn, a.agginitval)
  FROM pg_proc p
  JOIN pg_language l ON l.oid = p.prolang
  LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
  WHERE p.oid = function
$$;
COMMENT ON FUNCTION retention._function_definition(regprocedure) IS
  'What a function or an aggregate does, as text.';

CREATE OR REPLACE FUNCTION retention._definition(relation regclass) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan
  -- Views are hashed as text, which must not depend on the session.
  SET DateStyle = 'ISO, YMD' SET IntervalStyle = postgres SET extra_float_digits = 1 SET bytea_output = hex SET TimeZone = 'UTC'
  SET lc_monetary = 'C' SET quote_all_identifiers = off SET standard_conforming_strings = on
AS $$
BEGIN
  RETURN (
    SELECT retention._stamped(md5(string_agg(part.text, E'\n' ORDER BY part.text)))
    FROM retention._objects_below(relation) AS below
    LEFT JOIN pg_class c ON below.class = 'pg_class'::regclass AND c.oid = below.object
    LEFT JOIN pg_operator o ON below.class = 'pg_operator'::regclass AND o.oid = below.object
    CROSS JOIN LATERAL (
      SELECT CASE WHEN c.relkind IN ('v', 'm') THEN concat(c.oid::regclass, ' ', pg_get_viewdef(c.oid))
                  WHEN c.oid IS NOT NULL THEN c.oid::regclass::text
                  WHEN o.oid IS NOT NULL THEN concat(o.oid::regoperator, ' ', o.oprcode)
                  ELSE retention._function_definition(below.object) END COLLATE "C" AS text) AS part);
END
$$;
COMMENT ON FUNCTION retention._definition(regclass) IS
  'Stamped fingerprint of a view, of the views below it, and of the functions that these call.';

CREATE OR REPLACE FUNCTION retention._compare_keys(
    found text, stored text, expected bigint, relation regclass,
    OUT customer_id text, OUT entered boolean, OUT members bigint, OUT duplicate_rows bigint, OUT null_rows bigint)
  RETURNS SETOF record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_compare_keys';
COMMENT ON FUNCTION retention._compare_keys(text, text, bigint, regclass) IS
  'The keys that only one of two queries returns, entered where it is the first, which is run with the rights of the relation''s owner; and a row without a key, which counts the keys of the first one, rows that repeat one, and nulls. About so many rows are expected of both.';

CREATE OR REPLACE FUNCTION retention._update_members(
    evaluated retention.segment, cause text, as_of timestamptz, customer_ids text[] DEFAULT NULL)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_query text := format('SELECT %s FROM %s', retention._key_expression(evaluated.relation, 'customer_id'), evaluated.relation);
  stored_query text := format('SELECT customer_id FROM retention.segment_member WHERE segment = %L', evaluated.segment);
  report record;
BEGIN
  IF customer_ids IS NOT NULL THEN
    found_query := found_query || ' WHERE ' || retention._keys_condition(evaluated.relation, 'customer_id', customer_ids);
    stored_query := stored_query || format(' AND customer_id = ANY (%L::text[])', customer_ids);
  END IF;
  PERFORM set_config('retention_engine.cause', cause, true), set_config('retention_engine.as_of', as_of::text, true);
  WITH difference AS MATERIALIZED (SELECT * FROM retention._compare_keys(found_query, stored_query, 2 * coalesce(cardinality(customer_ids), evaluated.members), evaluated.relation)),
  gone AS (
    DELETE FROM retention.segment_member m USING difference d
    WHERE NOT d.entered AND m.segment = evaluated.segment AND m.customer_id = d.customer_id),
  entered AS (
    INSERT INTO retention.segment_member (segment, customer_id, entered_at)
    SELECT evaluated.segment, d.customer_id, as_of FROM difference d WHERE d.entered ORDER BY d.customer_id COLLATE "C")
  SELECT count(*) FILTER (WHERE d.entered) AS entered, count(*) FILTER (WHERE NOT d.entered) AS gone,
         max(d.members) AS members, max(d.duplicate_rows) AS duplicate_rows, max(d.null_rows) AS null_rows
    INTO report FROM difference d;
  PERFORM set_config('retention_engine.cause', '', true);
  IF customer_ids IS NULL THEN
    UPDATE retention.segment s SET members = report.members, duplicate_rows = report.duplicate_rows, null_rows = report.null_rows,
        definition = evaluated.definition, pending = NULL,
        evaluated_at = as_of, error = NULL, error_code = NULL, error_at = NULL, failures = 0
      WHERE s.segment = evaluated.segment;
    IF report.entered + report.gone > 0 THEN
      PERFORM retention._tell(format('segment "%s": %s entered, %s left, %s members', evaluated.segment, report.entered, report.gone, report.members));
    END IF;
  END IF;
  RETURN report.entered + report.gone;
END
$$;
COMMENT ON FUNCTION retention._update_members(retention.segment, text, timestamptz, text[]) IS
  'Makes a segment''s members those of its relation: all, or of some customers only. Returns how many entered and left.';

CREATE OR REPLACE FUNCTION retention._find_by_name() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- In the schema there are none but our own.
  PERFORM retention._reject_unless(TG_TABLE_SCHEMA = 'retention',
    'this trigger function works on tables of retention only', '', 'trigger_protocol_violated');
  NEW.relation := coalesce(to_regclass(NEW.relation_name), 0);
  NEW.owner := coalesce(pg_get_userbyid(retention._owner(NEW.relation)), NEW.owner);
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._find_by_name() IS
  'Trigger: a new row''s relation is that of its name. A restored dump has the number of one that was gone, which here may be another''s.';

CREATE TRIGGER find_by_name BEFORE INSERT ON retention.segment
  FOR EACH ROW EXECUTE FUNCTION retention._find_by_name();
COMMENT ON TRIGGER find_by_name ON retention.segment IS 'Finds the relation by its name.';

CREATE OR REPLACE FUNCTION retention._current_segment(stored retention.segment) RETURNS retention.segment
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  current regclass := retention._same_relation(stored.relation, stored.relation_name, stored.owner);
  present text;
BEGIN
  PERFORM retention._reject_unless(current IS NOT NULL, format('relation %s of segment "%s" does not exist', stored.relation_name, stored.segment),
    format('Its owner "%s" can create it again; or drop_segment, and add_segment another one.', stored.owner), 'undefined_table');
  IF (current, current::text, pg_get_userbyid(retention._owner(current)))
     IS DISTINCT FROM (stored.relation, stored.relation_name, stored.owner) THEN
    UPDATE retention.segment s
      SET relation = current, relation_name = current, owner = pg_get_userbyid(retention._owner(current))
      WHERE s.segment = stored.segment RETURNING * INTO stored;
  END IF;
  present := retention._definition(stored.relation);
  IF present <> stored.definition AND NOT retention._is_redefined(stored.definition, present) THEN
    -- The server is of another major version: moving there is no redefinition.
    UPDATE retention.segment s SET definition = present WHERE s.segment = stored.segment;
  END IF;
  stored.definition := present;
  RETURN stored;
END
$$;
COMMENT ON FUNCTION retention._current_segment(retention.segment) IS
  'A segment with the relation that it now reads, which is kept, and that relation''s fingerprint.';

CREATE OR REPLACE FUNCTION retention._evaluate_segment(segment text, cause text, as_of timestamptz, customer_ids text[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment;
  evaluated retention.segment;
  cause_in_full text;
  reason text;
  code text;
BEGIN
  SELECT * INTO stored FROM retention.segment s WHERE s.segment = _evaluate_segment.segment;
  evaluated := retention._current_segment(stored);
  cause_in_full := CASE
    WHEN retention._is_redefined(stored.definition, evaluated.definition) THEN 'definition'
    -- Others' orders, which are still to be told of, are not due to settings.
    WHEN stored.pending = 'settings' AND cardinality(customer_ids) > 0 THEN NULL
    WHEN stored.pending IS NOT NULL THEN stored.pending
    WHEN customer_ids IS NULL THEN cause
    WHEN stored.error IS NOT NULL THEN 'refresh' END;
  IF cause_in_full IS NOT NULL THEN
    PERFORM retention._update_members(evaluated, cause_in_full, as_of);
  ELSIF cardinality(customer_ids) > 0 THEN
    PERFORM retention._update_members(evaluated, cause, as_of, customer_ids);
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, code = RETURNED_SQLSTATE;
  IF retention._ends_call(code) THEN
    RAISE;
  END IF;
  reason := retention._reason(reason);
  RAISE WARNING 'segment "%" could not be evaluated: %', segment, reason
    USING HINT = 'Its members stay as they are. It is tried again by process_changes and refresh.';
  UPDATE retention.segment s SET error = reason, error_code = code, error_at = as_of, failures = s.failures + 1
    WHERE s.segment = _evaluate_segment.segment;
END
$$;
COMMENT ON FUNCTION retention._evaluate_segment(text, text, timestamptz, text[]) IS
  'Brings a segment''s members up to date: of all, where that is asked for, or its definition has changed, or a segment below it, or it had failed; else of some customers. A failure is reported, and is that segment''s alone.';

CREATE OR REPLACE FUNCTION retention._evaluate_segments(cause text, as_of timestamptz, customer_ids text[] DEFAULT NULL) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  clock text := coalesce(current_setting('retention.as_of', true), '');
  segment text;
BEGIN
  PERFORM retention._pin_settings();
  PERFORM retention._lock_queue();
  -- Views tell the time by the same clock.
  PERFORM set_config('retention.as_of', as_of::text, true);
  FOR segment IN
    SELECT s.segment FROM retention.segment s
    WHERE s.enabled AND (s.error IS NULL OR customer_ids IS NULL OR as_of >= s.error_at + retention._retry_after(s.failures))
    ORDER BY s.number
  LOOP
    PERFORM retention._evaluate_segment(segment, cause, as_of, customer_ids);
  END LOOP;
  PERFORM set_config('retention.as_of', clock, true);
END
$$;
COMMENT ON FUNCTION retention._evaluate_segments(text, timestamptz, text[]) IS 'Brings all enabled segments up to date, for all customers or some.';

CREATE OR REPLACE FUNCTION retention._settle_segments(metric text, since timestamptz, as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._evaluate_segments('refresh', as_of, ARRAY(
    SELECT c.customer_id FROM retention.customer c
    WHERE c.metric = _settle_segments.metric AND c.last_order_known_at = as_of AND c.last_order_at > since));
  PERFORM retention._mark_settings(), retention._evaluate_segments('settings', as_of);
END
$$;
COMMENT ON FUNCTION retention._settle_segments(text, timestamptz, timestamptz) IS
  'After a refresh by other settings: those who have ordered since the one before are evaluated; what else differs is due to the settings.';

CREATE OR REPLACE FUNCTION retention._require_segment(segment text) RETURNS retention.segment
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment;
BEGIN
  PERFORM retention._lock_all();
  SELECT * INTO stored FROM retention.segment s WHERE s.segment = _require_segment.segment;
  PERFORM retention._reject_unless(FOUND, format('segment %s does not exist', coalesce('"' || segment || '"', 'null')),
    'add_segment makes it; retention.segment lists those there are.', 'undefined_object');
  RETURN stored;
END
$$;
COMMENT ON FUNCTION retention._require_segment(text) IS 'A segment, which nobody else changes until the transaction ends, or an error.';

CREATE OR REPLACE FUNCTION retention.add_segment(relation regclass, segment text DEFAULT NULL, backfill boolean DEFAULT false) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  added retention.segment;
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, 'the segment''s relation must not be null', '', 'null_value_not_allowed');
  PERFORM retention._column_type(relation, 'customer_id', 'customer_id');
  PERFORM retention._check_readable(relation, '{customer_id}');
  segment := coalesce(segment, (SELECT relname FROM pg_class WHERE oid = relation));
  PERFORM retention._check_length('the name of a segment', 'name', segment);
  PERFORM retention._lock_all();
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.segment s WHERE s.segment = add_segment.segment),
    format('segment "%s" already exists', segment), 'Give this one another name, as the second argument; or drop_segment first.', 'duplicate_object');
  INSERT INTO retention.segment (segment, relation, relation_name, owner, definition, added_at)
    VALUES (segment, relation, relation::text, pg_get_userbyid(retention._owner(relation)), retention._definition(relation), retention.now())
    RETURNING * INTO added;
  PERFORM retention._update_members(added, CASE WHEN backfill THEN 'backfill' ELSE 'definition' END, retention.now());
  RETURN segment;
END
$$;
COMMENT ON FUNCTION retention.add_segment(regclass, text, boolean) IS
  'Makes a segment of a view or table with a column customer_id, named as it unless a name is given, and evaluates it. Its members start no flow, unless backfill is true. Returns the name.';

CREATE OR REPLACE FUNCTION retention.drop_segment(segment text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._require_segment(segment);
  PERFORM set_config('retention_engine.cause', 'drop', true), set_config('retention_engine.as_of', retention.now()::text, true);
  DELETE FROM retention.segment_member m WHERE m.segment = drop_segment.segment;
  PERFORM set_config('retention_engine.cause', '', true);
  DELETE FROM retention.segment_day d WHERE d.segment = drop_segment.segment;
  DELETE FROM retention.segment s WHERE s.segment = drop_segment.segment;
END
$$;
COMMENT ON FUNCTION retention.drop_segment(text) IS 'Removes a segment and its growth; its members leave. The view stays.';

CREATE OR REPLACE FUNCTION retention.disable_segment(segment text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._require_segment(segment);
  UPDATE retention.segment s SET enabled = false WHERE s.segment = disable_segment.segment;
END
$$;
COMMENT ON FUNCTION retention.disable_segment(text) IS 'Leaves a segment''s members as they are until it is enabled again.';

CREATE OR REPLACE FUNCTION retention.enable_segment(segment text, backfill boolean DEFAULT false) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment := retention._require_segment(segment);
BEGIN
  UPDATE retention.segment s SET enabled = true WHERE s.segment = enable_segment.segment;
  PERFORM retention._update_members(retention._current_segment(stored), CASE WHEN backfill THEN 'backfill' ELSE 'definition' END, retention.now());
END
$$;
COMMENT ON FUNCTION retention.enable_segment(text, boolean) IS
  'Keeps a disabled segment current again, from now on. Who entered meanwhile starts no flow, unless backfill is true.';

CREATE OR REPLACE FUNCTION retention.refresh_segment(segment text, backfill boolean DEFAULT false) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment := retention._require_segment(segment);
  evaluated retention.segment := retention._current_segment(stored);
BEGIN
  PERFORM retention._update_members(evaluated,
    CASE WHEN backfill THEN 'backfill'
         WHEN retention._is_redefined(stored.definition, evaluated.definition) THEN 'definition'
         ELSE 'refresh' END, retention.now());
END
$$;
COMMENT ON FUNCTION retention.refresh_segment(text, boolean) IS
  'Evaluates a segment in full now. After its definition has changed, new members start no flow, unless backfill is true.';

CREATE OR REPLACE VIEW retention.segment_growth AS
  SELECT s.segment, days.day::date AS day, coalesce(d.joined, 0) AS joined, coalesce(d.departed, 0) AS "left",
         (sum(coalesce(d.joined, 0) - coalesce(d.departed, 0)) OVER (PARTITION BY s.segment ORDER BY days.day))::bigint AS size
  FROM retention.segment s
  LEFT JOIN retention.metric m ON m.metric = 'orders'
  CROSS JOIN LATERAL generate_series((s.added_at AT TIME ZONE coalesce(m.time_zone, 'UTC'))::date::timestamp,
    greatest((retention.now() AT TIME ZONE coalesce(m.time_zone, 'UTC'))::date,
             (SELECT max(l.day) FROM retention.segment_day l WHERE l.segment = s.segment))::timestamp, interval '1 day') AS days (day)
  LEFT JOIN retention.segment_day d ON d.segment = s.segment AND d.day = days.day::date;
COMMENT ON VIEW retention.segment_growth IS 'Each segment''s growth, a row a day since it was added.';
COMMENT ON COLUMN retention.segment_growth.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_growth.day IS 'Day, in the time zone of metric "orders".';
COMMENT ON COLUMN retention.segment_growth.joined IS 'Customers who entered on that day; those who come back count again.';
COMMENT ON COLUMN retention.segment_growth."left" IS 'Customers who left on that day.';
COMMENT ON COLUMN retention.segment_growth.size IS 'Members at the end of the day.';
