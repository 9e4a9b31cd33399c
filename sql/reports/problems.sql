-- What has gone wrong and is not mended.

CREATE OR REPLACE FUNCTION retention._shown_error(error text, code text, reader name)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN has_column_privilege(reader, 'retention.message', 'last_error', 'SELECT')
              THEN error
              -- Mail addresses, also as urls, mails and pages encode them, places of webhooks,
              -- tokens of devices and telephone numbers; and the value that a fault of data quotes.
              ELSE regexp_replace(regexp_replace(error,
                E'\\S*(?:@|%40|=40|&#0*64;|&#x0*40;|&commat;)\\S*|\\w+://\\S+|[\\w:-]{32,}'
                '|[+]?\\d(?:[ ().-]*\\d){6,}', '(...)', 'gi'),
                CASE WHEN code LIKE '22%' THEN '()"[^"]*"' ELSE '(: )"[^"]*"' END,
                E'\\1"..."', 'g') END
$$;
COMMENT ON FUNCTION retention._shown_error(text, text, name) IS
  'The text of an error as a role may see it: without addresses, and the values that the server '
  'quotes, unless it was given these.';

CREATE OR REPLACE VIEW retention.problem AS
  SELECT 'enrollment' AS kind, f.flow AS name, n.version, n.node, e.customer_id,
         max(e.finished_at) AS happened_at,
         e.error_code AS sqlstate,
         retention._shown_error(e.reason, e.error_code, current_user) AS message,
         count(*) AS occurrences, NULL::timestamptz AS next_try_at
  FROM retention.enrollment e JOIN retention.flow_node n USING (node_id)
  JOIN retention.flow f ON f.flow_id = e.flow_id
  WHERE e.outcome = 'error' AND e.reason IS NOT NULL
  GROUP BY f.flow, n.version, n.node, e.customer_id, e.error_code, e.reason
  UNION ALL
  SELECT 'message', f.flow, n.version, m.node, m.customer_id, max(m.queued_at), NULL,
         retention._shown_error(m.last_error, NULL, current_user), count(*),
         min(m.ready_at) FILTER (WHERE m.state = 'ready')
  FROM retention.message m JOIN retention.flow_node n USING (node_id)
  JOIN retention.flow f ON f.flow_id = m.flow_id
  WHERE m.state IN ('error', 'dead') OR m.state = 'ready' AND m.last_error IS NOT NULL
  GROUP BY f.flow, n.version, m.node, m.customer_id, m.last_error
  UNION ALL
  SELECT 'entry', f.flow, f.version, NULL, e.customer_id,
         max(e.due_at - retention._retry_after(e.failures)),
         e.error_code, retention._shown_error(e.error, e.error_code, current_user),
         sum(e.failures), min(e.due_at)
  FROM retention.flow_entry e JOIN retention.flow f USING (flow_id) WHERE e.error IS NOT NULL
  GROUP BY f.flow, f.version, e.customer_id, e.error_code, e.error
  UNION ALL
  SELECT 'node', f.flow, n.version, n.node, NULL, n.error_at, n.error_code,
         retention._shown_error(n.error, n.error_code, current_user), n.failures,
         n.error_at + retention._retry_after(n.failures)
  FROM retention.flow_node n JOIN retention.flow f USING (flow_id) WHERE n.error IS NOT NULL
  UNION ALL
  SELECT 'flow', f.flow, f.version, NULL, NULL, f.error_at, f.error_code,
         retention._shown_error(f.error, f.error_code, current_user), f.failures,
         f.error_at + retention._retry_after(f.failures)
  FROM retention.flow f WHERE f.error IS NOT NULL
  UNION ALL
  SELECT 'segment', s.segment, NULL, NULL, NULL, s.error_at, s.error_code,
         retention._shown_error(s.error, s.error_code, current_user), s.failures,
         s.error_at + retention._retry_after(s.failures)
  FROM retention.segment s WHERE s.error IS NOT NULL
  UNION ALL
  SELECT 'metric', e.metric, NULL, NULL, NULL, e.error_at, e.error_code,
         retention._shown_error(e.error, e.error_code, current_user), e.failures,
         e.error_at + retention._retry_after(e.failures)
  FROM retention.metric_error e;
COMMENT ON VIEW retention.problem IS
  'What has gone wrong, and is not mended: for single customers, and for whole nodes, flows, '
  'segments and metrics, which are tried again.';
COMMENT ON COLUMN retention.problem.kind IS
  'entry, enrollment, message: of one customer; node, flow, segment, metric: of all.';
COMMENT ON COLUMN retention.problem.name IS 'Name of the flow, segment or metric.';
COMMENT ON COLUMN retention.problem.version IS 'Version of the flow.';
COMMENT ON COLUMN retention.problem.node IS 'Id of the node.';
COMMENT ON COLUMN retention.problem.customer_id IS 'The shop''s key of the customer; null: of all.';
COMMENT ON COLUMN retention.problem.happened_at IS 'Engine''s time of the last occurrence.';
COMMENT ON COLUMN retention.problem.sqlstate IS 'SQLSTATE of the error, where there is one.';
COMMENT ON COLUMN retention.problem.message IS
  'What went wrong; addresses in it are left out for whoever may not see them.';
COMMENT ON COLUMN retention.problem.occurrences IS 'How often.';
COMMENT ON COLUMN retention.problem.next_try_at IS 'When it is tried again; null: not by itself.';
