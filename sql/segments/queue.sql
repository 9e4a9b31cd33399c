-- The queue: who entered and left, why, and in which order it is read.

CREATE OR REPLACE FUNCTION retention._lock_queue() RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._take_lock('retention.segment_change')
$$;
COMMENT ON FUNCTION retention._lock_queue() IS
  'Makes whatever writes members and the queue take turns, until the transaction ends. Numbers of '
  'changes are drawn under this lock, so they ascend in the order of commits, and who has read up '
  'to one has missed none.';

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
  'Takes the locks of all metrics that have a source, which it returns, and then the queue''s: in '
  'this order, as a refresh does, so that nobody waits in a circle.';

CREATE OR REPLACE FUNCTION retention._views_above(relation regclass) RETURNS SETOF regclass
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE reader AS (
    SELECT relation::oid AS oid
    UNION
    SELECT r.ev_class
    FROM reader JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = reader.oid
      AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid)
  SELECT oid::regclass FROM reader
$$;
COMMENT ON FUNCTION retention._views_above(regclass) IS
  'A relation, and all views that read it, directly or through other views.';

CREATE OR REPLACE FUNCTION retention._graver_cause(cause text, other text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN 'definition' IN (cause, other) THEN 'definition'
    WHEN 'settings' IN (cause, other) THEN 'settings'
              ELSE coalesce(cause, other) END;
COMMENT ON FUNCTION retention._graver_cause(text, text) IS
  'The one of two causes that starts fewer flows, for a segment that is to be evaluated in full; '
  'null where neither is given.';

CREATE OR REPLACE FUNCTION retention._mark_settings() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._lock_queue();
  UPDATE retention.segment s SET pending = retention._graver_cause(s.pending, 'settings')
  WHERE s.evaluated_at IS NOT NULL;
END
$$;
COMMENT ON FUNCTION retention._mark_settings() IS
  'Has all segments evaluated in full: what differs then is due to the settings of a metric, '
  'which start no flow.';

CREATE OR REPLACE FUNCTION retention._mark_readers(segments text[], cause text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- Only later ones, so that no two can mark each other forever. What starts no flow here starts
  -- none there.
  UPDATE retention.segment s
    SET pending = retention._graver_cause(s.pending, CASE
                                          WHEN cause IN ('refresh', 'settings') THEN cause
                                            ELSE 'definition' END)
    WHERE s.number > (SELECT min(c.number) FROM retention.segment c
                      WHERE c.segment = ANY (segments))
      AND s.relation IN (SELECT retention._views_above('retention.segment_member'))
$$;
COMMENT ON FUNCTION retention._mark_readers(text[], text) IS
  'Has the segments that read members, and were added later, evaluated in full: anybody may have '
  'entered or left these ones.';

CREATE OR REPLACE FUNCTION retention._set_evaluation(cause text, as_of timestamptz) RETURNS void
  LANGUAGE sql VOLATILE
BEGIN ATOMIC
  -- By JSON times are written alike in every session.
  SELECT set_config('retention_engine.evaluation',
                    coalesce(cause || ' ' || (to_jsonb(as_of) #>> '{}'), ''), true);
END;
COMMENT ON FUNCTION retention._set_evaluation(text, timestamptz) IS
  'Says, until it is called with nulls, why members are inserted and deleted, and as of when: the '
  'triggers that queue it cannot be given arguments.';

CREATE OR REPLACE FUNCTION retention._evaluation(OUT cause text, OUT as_of timestamptz)
  LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT e.said[1], e.said[2]::timestamptz
  FROM regexp_match(current_setting('retention_engine.evaluation', true),
                    '^([^ ]+) (.+)$') AS e (said);
END;
COMMENT ON FUNCTION retention._evaluation() IS
  'What _set_evaluation says; nulls where members are changed by hand.';

CREATE OR REPLACE FUNCTION retention._tell_of_members(
    segments text[], customer_ids text[], cause text)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Whose orders or data changed is evaluated in all segments.
  IF cause IN ('order', 'refund', 'data') IS NOT TRUE THEN
    PERFORM retention._mark_readers(segments, cause);
  END IF;
  PERFORM pg_notify('retention_segment', s) FROM unnest(segments) AS s;
  -- Whom settings or definitions move has done nothing.
  IF coalesce(cause, 'manual') NOT IN ('settings', 'definition') THEN
    PERFORM retention._note_changed(customer_ids);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._tell_of_members(text[], text[], text) IS
  'Tells whoever listens, the segments that read members, and flows, that members have changed.';

CREATE OR REPLACE FUNCTION retention._queue_changes() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  is_insert CONSTANT boolean := TG_OP = 'INSERT';
  said record := retention._evaluation();
  at CONSTANT timestamptz := coalesce(said.as_of, retention.now());
  today date;
  segments text[];
  customer_ids text[];
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.segment_member');
  SELECT array_agg(DISTINCT c.segment), array_agg(DISTINCT c.customer_id)
    INTO segments, customer_ids FROM changed c;
  -- A restored dump brings the members, and the queue by itself.
  IF is_insert AND said.cause IS NULL OR segments IS NULL THEN
    RETURN NULL;
  END IF;
  INSERT INTO retention.segment_change (segment, customer_id, change, cause, as_of)
    SELECT c.segment, c.customer_id, CASE WHEN is_insert THEN 'entered' ELSE 'left' END,
           coalesce(said.cause, 'manual'), at
    FROM changed c ORDER BY c.segment, c.customer_id;
  today := (at AT TIME ZONE coalesce(
    (SELECT m.time_zone FROM retention.metric m WHERE m.metric = 'orders'), 'UTC'))::date;
  INSERT INTO retention.segment_day AS d (segment, day, entered, leavers)
    SELECT c.segment, today, count(*) FILTER (WHERE is_insert),
           count(*) FILTER (WHERE NOT is_insert)
    FROM changed c GROUP BY c.segment
    ON CONFLICT (segment, day) DO UPDATE SET entered = d.entered + excluded.entered,
                                             leavers = d.leavers + excluded.leavers;
  UPDATE retention.segment s
    SET members = s.members + CASE WHEN is_insert THEN c.count ELSE -c.count END
    FROM (SELECT changed.segment, count(*) FROM changed GROUP BY 1) AS c
    WHERE s.segment = c.segment;
  PERFORM retention._tell_of_members(segments, customer_ids, said.cause);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._queue_changes() IS
  'Trigger: writes the members that were inserted or deleted to the queue, counts them, and tells '
  'who listens, and the segments that read these.';

CREATE OR REPLACE FUNCTION retention._take_turns() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.segment_member');
  PERFORM retention._lock_queue();
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._take_turns() IS
  'Trigger: locks the queue before any row, so that nobody who has the one waits for the other.';

CREATE OR REPLACE FUNCTION retention._refuse_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.segment_member');
  PERFORM retention._reject_unless(false, format('%s of %s would bypass the queue', TG_OP,
                                                 TG_RELID::regclass),
    'DELETE removes members and tells the queue.', 'feature_not_supported');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._refuse_change() IS
  'Trigger: rejects changes that the queue could not show.';
