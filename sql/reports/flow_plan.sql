-- The statements that a flow is compiled to, so that a person can read what runs.

CREATE OR REPLACE FUNCTION retention._laid_out(statement text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- What all lines are indented by is of where the statement was written.
  SELECT btrim(string_agg(regexp_replace(l.line, format('^ {0,%s}', coalesce(m.indent, 0)), ''),
                          E'\n' ORDER BY l.number), E'\n')
  FROM regexp_split_to_table(statement, E'\n') WITH ORDINALITY AS l (line, number),
       (SELECT min(length(substring(o.line FROM '^ +'))) AS indent
        FROM regexp_split_to_table(statement, E'\n') AS o (line) WHERE o.line ~ '^ +[^ ]') AS m
$$;
COMMENT ON FUNCTION retention._laid_out(text) IS
  'A statement without the white space that all of its lines begin with.';

CREATE OR REPLACE FUNCTION retention.flow_plan(flow text)
  RETURNS TABLE (step text, runs text, statement text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._find_flow(flow);
  document jsonb := (SELECT v.document FROM retention.flow_version v
                     WHERE (v.flow_id, v.version) = (target.flow_id, target.version));
  metric text := coalesce(document ->> 'metric', 'orders');
BEGIN
  PERFORM retention._reject_unless(document IS NOT NULL,
    format('flow "%s" has no published version', flow),
    format('SELECT retention.publish(%L); compiles its draft.', flow),
    'object_not_in_prerequisite_state');
  RETURN QUERY
    SELECT 'entry_filter', 'for who may enter',
           retention._laid_out(retention._fitting_statement(document ->> 'entry_filter', metric))
      WHERE document ? 'entry_filter'
    UNION ALL
    SELECT 'exit, filter', 'for who is due, before any node',
           retention._laid_out(retention._screen_statement(document))
      WHERE document ?| '{exit,filter}';
  RETURN QUERY
    SELECT n.node, format('for who is at this node, of type %s', n.type),
           retention._laid_out(retention._node_statement(n, metric))
    FROM retention.flow_node n
    WHERE (n.flow_id, n.version) = (target.flow_id, target.version) ORDER BY n.node_id;
END
$$;
COMMENT ON FUNCTION retention.flow_plan(text) IS
  'The statements that the published version of a flow was compiled to, as they run, with the '
  'rights of its owner: for its filters, and for each node. $1 are customers on their way, $2 '
  'their keys, $3 the moment, $4 where the branches of the node lead.';
