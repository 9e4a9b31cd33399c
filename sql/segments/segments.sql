-- Adding, switching and refreshing segments.

CREATE OR REPLACE FUNCTION retention._require_segment(segment text) RETURNS retention.segment
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment;
BEGIN
  PERFORM retention._lock_all();
  SELECT * INTO stored FROM retention.segment s WHERE s.segment = _require_segment.segment;
  PERFORM retention._reject_unless(FOUND, format('segment %s does not exist',
                                                 coalesce('"' || segment || '"', 'null')),
    'add_segment makes it; retention.segment lists those there are.', 'undefined_object');
  RETURN stored;
END
$$;
COMMENT ON FUNCTION retention._require_segment(text) IS
  'A segment, which nobody else changes until the transaction ends, or an error.';

CREATE OR REPLACE FUNCTION retention.add_segment(
    relation regclass, segment text DEFAULT NULL, backfill boolean DEFAULT false)
  RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  added retention.segment;
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, 'the segment''s relation must not be null',
                                   '', 'null_value_not_allowed');
  PERFORM retention._column_type(relation, '', 'customer_id');
  PERFORM retention._check_readable(relation, '{customer_id}');
  segment := coalesce(segment, (SELECT relname FROM pg_class WHERE oid = relation));
  PERFORM retention._check_length('the name of a segment', 'name', segment);
  PERFORM retention._lock_all();
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.segment s
                                               WHERE s.segment = add_segment.segment),
    format('segment "%s" already exists', segment),
    'Give this one another name, as the second argument; or drop_segment first.',
    'duplicate_object');
  INSERT INTO retention.segment (segment, relation, relation_name, owner, definition, added_at)
    VALUES (segment, relation, relation::text, pg_get_userbyid(retention._owner(relation)),
            retention._definition(relation), retention.now())
    RETURNING * INTO added;
  PERFORM retention._update_members(added, CASE WHEN backfill THEN 'backfill' ELSE 'definition' END,
                                    retention.now());
  RETURN segment;
END
$$;
COMMENT ON FUNCTION retention.add_segment(regclass, text, boolean) IS
  'Makes a segment of a view or table with a column customer_id, named as it unless a name is '
  'given, and evaluates it. Its members start no flow, unless backfill is true. Returns the name.';

CREATE OR REPLACE FUNCTION retention.drop_segment(segment text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._require_segment(segment);
  PERFORM retention._set_evaluation('drop', retention.now());
  DELETE FROM retention.segment_member m WHERE m.segment = drop_segment.segment;
  PERFORM retention._set_evaluation(NULL, NULL);
  DELETE FROM retention.segment_day d WHERE d.segment = drop_segment.segment;
  DELETE FROM retention.segment s WHERE s.segment = drop_segment.segment;
END
$$;
COMMENT ON FUNCTION retention.drop_segment(text) IS
  'Removes a segment and its growth; its members leave. The view stays.';

CREATE OR REPLACE FUNCTION retention.alter_segment(
    segment text, enabled boolean, backfill boolean DEFAULT false)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.segment := retention._require_segment(segment);
BEGIN
  PERFORM retention._reject_unless(enabled IS NOT NULL, 'enabled must be true or false, not null',
    'true keeps the segment current, false leaves its members as they are.',
    'null_value_not_allowed');
  UPDATE retention.segment s SET enabled = alter_segment.enabled
    WHERE s.segment = alter_segment.segment;
  IF enabled THEN
    PERFORM retention._update_members(retention._current_segment(stored),
      CASE WHEN backfill THEN 'backfill' ELSE 'definition' END, retention.now());
  END IF;
END
$$;
COMMENT ON FUNCTION retention.alter_segment(text, boolean, boolean) IS
  'enabled => false leaves a segment''s members as they are, until true keeps it current again, '
  'from then on. Who entered meanwhile starts no flow, unless backfill is true.';

CREATE OR REPLACE FUNCTION retention.refresh_segment(segment text, backfill boolean DEFAULT false)
  RETURNS void
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
  'Evaluates a segment in full now. After its definition has changed, new members start no flow, '
  'unless backfill is true.';

CREATE OR REPLACE VIEW retention.segment_growth AS
  SELECT s.segment, days.day::date AS day, coalesce(d.entered, 0) AS entered,
         coalesce(d.leavers, 0) AS leavers,
         (sum(coalesce(d.entered, 0) - coalesce(d.leavers, 0)) OVER (PARTITION BY s.segment
             ORDER BY days.day))::bigint AS size
  FROM retention.segment s
  LEFT JOIN retention.metric m ON m.metric = 'orders'
  CROSS JOIN LATERAL generate_series((s.added_at
                                      AT TIME ZONE coalesce(m.time_zone, 'UTC'))::date::timestamp,
    greatest((retention.now() AT TIME ZONE coalesce(m.time_zone, 'UTC'))::date,
             (SELECT max(l.day) FROM retention.segment_day l
              WHERE l.segment = s.segment))::timestamp, interval '1 day') AS days (day)
  LEFT JOIN retention.segment_day d ON d.segment = s.segment AND d.day = days.day::date;
COMMENT ON VIEW retention.segment_growth IS
  'Each segment''s growth, a row a day since it was added.';
COMMENT ON COLUMN retention.segment_growth.segment IS 'Name of the segment.';
COMMENT ON COLUMN retention.segment_growth.day IS 'Day, in the time zone of metric "orders".';
COMMENT ON COLUMN retention.segment_growth.entered IS
  'Customers who entered on that day; those who come back count again.';
COMMENT ON COLUMN retention.segment_growth.leavers IS 'Customers who left on that day.';
COMMENT ON COLUMN retention.segment_growth.size IS 'Members at the end of the day.';
