-- Who waits for a condition when settings change: what only settings make hold wakes nobody. Here
-- that is noted; _compile_wait (flows/compile.sql) decides by it.

CREATE OR REPLACE FUNCTION retention._ask_waiting(
    node retention.flow_node, enrollment_ids bigint[], as_of timestamptz,
    OUT holding bigint[], OUT untold bigint[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  metric text := (SELECT coalesce(v.document ->> 'metric', 'orders') FROM retention.flow_version v
                  WHERE (v.flow_id, v.version) = (node.flow_id, node.version));
  author regrole := (SELECT f.owner_id FROM retention.flow f WHERE f.flow_id = node.flow_id);
  known record := retention._with_contacts(ARRAY(
    SELECT retention._as_traveller(e, true) FROM retention.enrollment e
    WHERE e.enrollment_id = ANY (enrollment_ids) AND e.node_id = node.node_id
      AND e.due_at IS NOT NULL), as_of);
  asked record := retention._try_run(
    author, retention._fitting_statement(node.config ->> 'condition', metric),
    ARRAY(SELECT t FROM unnest(known.moved) AS t WHERE t.outcome IS NULL), as_of, NULL);
BEGIN
  holding := ARRAY(SELECT t.enrollment_id FROM unnest(asked.moved) AS t WHERE t.outcome IS NULL);
  untold := ARRAY(
    SELECT t.enrollment_id FROM unnest(known.moved || asked.moved) AS t
    WHERE t.outcome IS NOT NULL
    UNION ALL SELECT t.enrollment_id FROM unnest(known.held || asked.held) AS t);
END
$$;
COMMENT ON FUNCTION retention._ask_waiting(retention.flow_node, bigint[], timestamptz) IS
  'Which of some enrollments at a wait_for its condition holds for, and those of whom that cannot '
  'be told, for it fails.';

CREATE OR REPLACE FUNCTION retention._note_holding(
    node retention.flow_node, enrollment_ids bigint[], is_changed boolean, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  asked record;
BEGIN
  PERFORM FROM retention.enrollment e WHERE e.enrollment_id = ANY (enrollment_ids)
    ORDER BY e.enrollment_id FOR UPDATE;
  asked := retention._ask_waiting(node, enrollment_ids, as_of);
  UPDATE retention.enrollment e SET by_settings = look.by_settings, settings_at = as_of
    FROM (SELECT o.enrollment_id, CASE
            -- What held before stays so until it is looked at, though settings come and go.
            WHEN NOT o.by_settings THEN false
            WHEN h.id IS NOT NULL THEN coalesce(o.by_settings, is_changed)
            WHEN u.id IS NOT NULL THEN o.by_settings OR nullif(is_changed, false) END AS by_settings
          FROM retention.enrollment o LEFT JOIN unnest(asked.holding) AS h (id)
            ON h.id = o.enrollment_id
          LEFT JOIN unnest(asked.untold) AS u (id) ON u.id = o.enrollment_id
          WHERE o.enrollment_id = ANY (enrollment_ids)) AS look
    WHERE e.enrollment_id = look.enrollment_id
      AND e.by_settings IS DISTINCT FROM look.by_settings;
END
$$;
COMMENT ON FUNCTION retention._note_holding(
  retention.flow_node, bigint[], boolean, timestamptz) IS
  'Notes, for enrollments at a wait_for, whether its condition holds by settings, or held before '
  'they changed. Where that cannot be told it is as if it were by settings.';

CREATE OR REPLACE FUNCTION retention._note_waiting(is_changed boolean, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  clock text := coalesce(current_setting('retention.as_of', true), '');
  waiting record;
BEGIN
  IF NOT EXISTS (SELECT FROM retention.flow_node n WHERE n.type = 'wait_for') THEN
    RETURN;
  END IF;
  -- Ticks wait meanwhile: whoever comes to a node sees either the old settings, or the new ones.
  PERFORM retention._take_lock('retention.enrollment'), retention._pin_settings(),
          set_config('retention.as_of', as_of::text, true);
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
    PERFORM retention._note_holding(waiting.node, waiting.enrollment_ids, is_changed, as_of);
  END LOOP;
  PERFORM set_config('retention.as_of', clock, true);
END
$$;
COMMENT ON FUNCTION retention._note_waiting(boolean, timestamptz) IS
  'Called before and after settings change, so that whoever waits for a condition stays if it '
  'holds only afterwards.';

CREATE OR REPLACE FUNCTION retention._release_ordered(
    metric text, travellers retention._traveller[])
  RETURNS retention._traveller[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  marked bigint[] := ARRAY(SELECT t.enrollment_id FROM unnest(travellers) AS t
                           WHERE t.by_settings);
  ordered bigint[];
BEGIN
  IF marked = '{}' THEN
    RETURN travellers;
  END IF;
  ordered := ARRAY(
    SELECT e.enrollment_id FROM retention.enrollment e
    JOIN retention.customer c
      ON c.customer_id = e.customer_id AND c.metric = _release_ordered.metric
    WHERE e.enrollment_id = ANY (marked) AND c.last_order_known_at > e.settings_at);
  RETURN ARRAY(
    SELECT CASE WHEN o.id IS NULL THEN t ELSE retention._with_fields(t, 'by_settings', NULL) END
    FROM unnest(travellers) AS t LEFT JOIN unnest(ordered) AS o (id) ON o.id = t.enrollment_id);
END
$$;
COMMENT ON FUNCTION retention._release_ordered(text, retention._traveller[]) IS
  'Travellers at a wait_for: for whoever has ordered since settings made its condition hold, it '
  'holds by itself.';
