-- Evaluates segments, and updates their members.

CREATE OR REPLACE FUNCTION retention._compare_keys(
    found text, stored text, expected bigint, relation regclass,
    OUT customer_id text, OUT entered boolean, OUT members bigint, OUT duplicate_rows bigint,
    OUT null_rows bigint)
  RETURNS SETOF record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1000
  AS 'MODULE_PATHNAME', 'retention_compare_keys';
COMMENT ON FUNCTION retention._compare_keys(text, text, bigint, regclass) IS
  'The keys that only one of two queries returns, entered where it is the first, which is run '
  'with the rights of the relation''s owner; and a row without a key, which counts the keys of '
  'the first one, rows that repeat one, and nulls. About so many rows are expected of both.';

CREATE OR REPLACE FUNCTION retention._update_members(
    evaluated retention.segment, cause text, as_of timestamptz, customer_ids text[] DEFAULT NULL)
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_query text := format('SELECT %s FROM %s',
                             retention._key_expression(evaluated.relation, 'customer_id'),
                             evaluated.relation);
  stored_query text := format('SELECT customer_id FROM retention.segment_member WHERE segment = %L',
                              evaluated.segment);
  report record;
BEGIN
  IF customer_ids IS NOT NULL THEN
    found_query := found_query || ' WHERE ' || retention._keys_condition(evaluated.relation,
        'customer_id', customer_ids);
    stored_query := stored_query || format(' AND customer_id = ANY (%L::text[])', customer_ids);
  END IF;
  PERFORM retention._set_evaluation(cause, as_of);
  WITH difference AS MATERIALIZED (SELECT *
                                   FROM retention._compare_keys(found_query, stored_query,
                                       2 * coalesce(cardinality(customer_ids), evaluated.members),
                                       evaluated.relation)),
  gone AS (
    DELETE FROM retention.segment_member m USING difference d
    WHERE NOT d.entered AND m.segment = evaluated.segment AND m.customer_id = d.customer_id),
  entered AS (
    INSERT INTO retention.segment_member (segment, customer_id, entered_at)
    SELECT evaluated.segment, d.customer_id, as_of FROM difference d WHERE d.entered
    ORDER BY d.customer_id COLLATE "C")
  SELECT count(*) FILTER (WHERE d.entered) AS entered, count(*)
    FILTER (WHERE NOT d.entered) AS gone,
         max(d.members) AS members, max(d.duplicate_rows) AS duplicate_rows,
         max(d.null_rows) AS null_rows
    INTO report FROM difference d;
  PERFORM retention._set_evaluation(NULL, NULL);
  IF customer_ids IS NULL THEN
    UPDATE retention.segment s SET members = report.members, duplicate_rows = report.duplicate_rows,
        null_rows = report.null_rows,
        definition = evaluated.definition, pending = NULL,
        evaluated_at = as_of, error = NULL, error_code = NULL, error_at = NULL, failures = 0
      WHERE s.segment = evaluated.segment;
    IF report.entered + report.gone > 0 THEN
      PERFORM retention._tell(format('segment "%s": %s entered, %s left, %s members',
                                     evaluated.segment, report.entered, report.gone,
                                     report.members));
    END IF;
  END IF;
  RETURN report.entered + report.gone;
END
$$;
COMMENT ON FUNCTION retention._update_members(retention.segment, text, timestamptz, text[]) IS
  'Makes a segment''s members those of its relation: all, or of some customers only. Returns how '
  'many entered and left.';

CREATE OR REPLACE FUNCTION retention._current_segment(stored retention.segment)
  RETURNS retention.segment
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  current regclass := retention._same_relation(stored.relation, stored.relation_name, stored.owner);
  present text;
BEGIN
  PERFORM retention._reject_unless(current IS NOT NULL,
                                   format('relation %s of segment "%s" does not exist',
                                          stored.relation_name, stored.segment),
    format('Its owner "%s" can create it again; or drop_segment, and add_segment another one.',
           stored.owner), 'undefined_table');
  IF (current, current::text, pg_get_userbyid(retention._owner(current)))
     IS DISTINCT FROM (stored.relation, stored.relation_name, stored.owner) THEN
    UPDATE retention.segment s
      SET relation = current, relation_name = current,
          owner = pg_get_userbyid(retention._owner(current))
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

CREATE OR REPLACE FUNCTION retention._evaluate_segment(
    segment text, cause text, as_of timestamptz, customer_ids text[])
  RETURNS void
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
  UPDATE retention.segment s SET error = reason, error_code = code, error_at = as_of,
      failures = s.failures + 1
    WHERE s.segment = _evaluate_segment.segment;
END
$$;
COMMENT ON FUNCTION retention._evaluate_segment(text, text, timestamptz, text[]) IS
  'Brings a segment''s members up to date: of all, where that is asked for, or its definition has '
  'changed, or a segment below it, or it had failed; else of some customers. A failure is '
  'reported, and is that segment''s alone.';

CREATE OR REPLACE FUNCTION retention._evaluate_segments(
    cause text, as_of timestamptz, customer_ids text[] DEFAULT NULL)
  RETURNS void
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
    WHERE s.enabled AND (s.error IS NULL OR customer_ids IS NULL
                         OR as_of >= s.error_at + retention._retry_after(s.failures))
    ORDER BY s.number
  LOOP
    PERFORM retention._evaluate_segment(segment, cause, as_of, customer_ids);
  END LOOP;
  PERFORM set_config('retention.as_of', clock, true);
END
$$;
COMMENT ON FUNCTION retention._evaluate_segments(text, timestamptz, text[]) IS
  'Brings all enabled segments up to date, for all customers or some.';

CREATE OR REPLACE FUNCTION retention._settle_segments(
    metric text, since timestamptz, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._evaluate_segments('refresh', as_of, ARRAY(
    SELECT c.customer_id FROM retention.customer c
    WHERE c.metric = _settle_segments.metric AND c.last_order_known_at = as_of
      AND c.last_order_at > since));
  PERFORM retention._mark_settings(), retention._evaluate_segments('settings', as_of);
END
$$;
COMMENT ON FUNCTION retention._settle_segments(text, timestamptz, timestamptz) IS
  'After a refresh by other settings: those who have ordered since the one before are evaluated; '
  'what else differs is due to the settings.';
