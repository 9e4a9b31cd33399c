-- Who waits for a condition when settings change: what only settings make hold wakes nobody.

CREATE OR REPLACE FUNCTION retention._holding(
    node retention.flow_node, enrollment_ids bigint[], as_of timestamptz)
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  metric text := (SELECT coalesce(v.document ->> 'metric', 'orders') FROM retention.flow_version v
                  WHERE (v.flow_id, v.version) = (node.flow_id, node.version));
  author regrole := (SELECT f.owner_id FROM retention.flow f WHERE f.flow_id = node.flow_id);
  known record := retention._with_contacts(ARRAY(
    SELECT retention._traveller(e, true) FROM retention.enrollment e
    WHERE e.enrollment_id = ANY (enrollment_ids) AND e.node_id = node.node_id
      AND e.due_at IS NOT NULL), as_of);
  asked record := retention._try_run(
    author, retention._fitting_statement(node.config ->> 'condition', metric),
    ARRAY(SELECT t FROM unnest(known.moved) AS t WHERE t.outcome IS NULL), as_of, NULL);
BEGIN
  RETURN ARRAY(SELECT t.enrollment_id FROM unnest(asked.moved) AS t WHERE t.outcome IS NULL);
END
$$;
COMMENT ON FUNCTION retention._holding(retention.flow_node, bigint[], timestamptz) IS
  'Which of some enrollments at a wait_for its condition holds for; none of those of whom that '
  'cannot be told.';

CREATE OR REPLACE FUNCTION retention._note_holding(
    node retention.flow_node, enrollment_ids bigint[], by_settings boolean, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  holding bigint[];
BEGIN
  -- In the order in which ticks lock them.
  PERFORM FROM retention.enrollment e WHERE e.enrollment_id = ANY (enrollment_ids)
    ORDER BY e.enrollment_id FOR UPDATE;
  holding := retention._holding(node, enrollment_ids, as_of);
  UPDATE retention.enrollment e
    SET by_settings = CASE WHEN h.id IS NOT NULL THEN _note_holding.by_settings END,
        due_at = CASE WHEN h.id IS NOT NULL AND NOT _note_holding.by_settings
                      THEN least(e.due_at, as_of) ELSE e.due_at END
    FROM unnest(enrollment_ids) AS c (id) LEFT JOIN unnest(holding) AS h (id) USING (id)
    -- What was found before stays for as long as the condition holds.
    WHERE e.enrollment_id = c.id AND (e.by_settings IS NULL) = (h.id IS NOT NULL);
END
$$;
COMMENT ON FUNCTION retention._note_holding(
  retention.flow_node, bigint[], boolean, timestamptz) IS
  'Notes, for enrollments at a wait_for, whether its condition holds by settings or by itself; by '
  'itself it lets them go on with the next tick.';

CREATE OR REPLACE FUNCTION retention._note_waiting(by_settings boolean, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  clock text := coalesce(current_setting('retention.as_of', true), '');
  waiting record;
BEGIN
  PERFORM retention._pin_settings(), set_config('retention.as_of', as_of::text, true);
  FOR waiting IN
    SELECT n AS node, e.enrollment_ids
    FROM retention.flow_node n, LATERAL (
      SELECT array_agg(w.enrollment_id) AS enrollment_ids
      FROM (SELECT enrollment_id, row_number() OVER (ORDER BY enrollment_id) / 1000 AS batch
            FROM retention.enrollment
            WHERE flow_id = n.flow_id AND node_id = n.node_id AND due_at IS NOT NULL
              AND since IS NOT NULL) AS w
      GROUP BY w.batch) AS e
    WHERE n.type = 'wait_for' ORDER BY n.node_id
  LOOP
    PERFORM retention._note_holding(waiting.node, waiting.enrollment_ids, by_settings, as_of);
  END LOOP;
  PERFORM set_config('retention.as_of', clock, true);
END
$$;
COMMENT ON FUNCTION retention._note_waiting(boolean, timestamptz) IS
  'Called before and after settings change: has all who wait for a condition go on if it holds '
  'before, and stay if it does only afterwards.';
