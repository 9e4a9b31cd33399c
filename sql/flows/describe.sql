-- A flow in words.

CREATE OR REPLACE FUNCTION retention._describe_type(node jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE node ->> 'type'
    WHEN 'message' THEN concat_ws(' ', node ->> 'channel',
                                  format('"%s"',
                                         coalesce(node ->> 'subject', left(node ->> 'body', 40))),
                                         '(' || (node ->> 'status') || ')')
    WHEN 'delay' THEN concat_ws(' ', 'wait', node ->> 'for', 'until ' || (node ->> 'until'),
      'on ' || (SELECT string_agg(e.element #>> '{}', ', ')
                FROM retention._elements(node -> 'weekdays') AS e), 'at ' || (node ->> 'at'))
    WHEN 'wait_for' THEN format('wait for %s, at most %s', node ->> 'condition', node ->> 'timeout')
    WHEN 'set_property' THEN 'set ' || (SELECT string_agg(format('%s = %s', key, value), ', '
                                                          ORDER BY key)
                                                            FROM jsonb_each_text(node -> 'set'))
    WHEN 'coupon' THEN 'coupon of ' || (node ->> 'pool')
    WHEN 'enter_flow' THEN 'enter flow ' || (node ->> 'flow')
    WHEN 'exit' THEN 'exit: ' || coalesce(node ->> 'outcome', 'completed')
    ELSE replace(node ->> 'type', '_', ' ') END
$$;
COMMENT ON FUNCTION retention._describe_type(jsonb) IS 'What a node does, in words.';

CREATE OR REPLACE FUNCTION retention._branch_names(node jsonb) RETURNS text[]
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE node ->> 'type'
    WHEN 'split' THEN ARRAY(SELECT 'if ' || (b.element ->> 'when')
                            FROM retention._elements(node -> 'branches') AS b
                            ORDER BY b.number) || 'else'::text
    WHEN 'random_split' THEN ARRAY(SELECT format('%s, %s %%', a.element ->> 'name',
                                                 a.element ->> 'share')
                                                   FROM retention._elements(node -> 'arms') AS a
                                                 ORDER BY a.number)
    WHEN 'wait_for' THEN '{when it holds,at the timeout}'
    WHEN 'coupon' THEN '{issued,none left}' END
$$;
COMMENT ON FUNCTION retention._branch_names(jsonb) IS
  'What the branches of a node are called; null where there is only one.';

CREATE OR REPLACE FUNCTION retention._describe_nodes(
    document jsonb, start text, depth integer, seen text[], OUT lines text[], OUT visited text[])
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  node jsonb;
  branches text[];
  edge record;
  below record;
BEGIN
  lines := '{}';
  visited := seen;
  WHILE start IS NOT NULL LOOP
    node := (SELECT n.element FROM retention._elements(document -> 'nodes') AS n
             WHERE n.element ->> 'id' = start);
    IF start = ANY (visited) THEN
      lines := lines || format('%s-> %s', repeat('  ', depth), start);
      RETURN;
    END IF;
    lines := lines || format('%s%s: %s', repeat('  ', depth), start,
                             retention._describe_type(node));
    visited := visited || start;
    branches := retention._branch_names(node);
    EXIT WHEN branches IS NOT NULL;
    start := node ->> 'next';
  END LOOP;
  FOR edge IN SELECT e.target, e.number FROM retention._document_edges(document) AS e
    WHERE e.source = start AND branches IS NOT NULL ORDER BY e.number LOOP
    lines := lines || format('%s  %s:%s', repeat('  ', depth), branches[edge.number], CASE
                             WHEN edge.target IS NULL THEN ' end' ELSE '' END);
    below := retention._describe_nodes(document, edge.target, depth + 2, visited);
    lines := lines || below.lines;
    visited := below.visited;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._describe_nodes(jsonb, text, integer, text[]) IS
  'The lines that describe the nodes from one on; those seen before are only named.';

CREATE OR REPLACE FUNCTION retention.describe_flow(flow text) RETURNS text
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := retention._find_flow(flow);
  document jsonb;
  started_by text;
BEGIN
  document := coalesce((SELECT v.document FROM retention.flow_version v
                        WHERE (v.flow_id, v.version) = (target.flow_id, target.version)),
                        target.draft);
  started_by := (SELECT string_agg(format('%s %s', key, value), ', ' ORDER BY key <> 'type', key)
                 FROM jsonb_each_text(document -> 'trigger'));
  RETURN array_to_string(
    ARRAY[format('%s (%s%s%s)', flow, target.status, ', version ' || target.version, CASE
                 WHEN target.version IS NOT NULL
                   AND document <> target.draft THEN ', with an unpublished draft' END),
          '  started by: ' || started_by]
    || ARRAY(SELECT format('  %s: %s', replace(k, '_', ' '), document ->> k)
             FROM unnest('{entry_filter,filter,exit,reentry,concurrent,holdout,'
                     'quiet_hours}'::text[]) AS k
              WHERE document ? k)
    || (SELECT n.lines
        FROM retention._describe_nodes(document, document #>> '{nodes,0,id}', 1, '{}') AS n),
             E'\n');
END
$$;
COMMENT ON FUNCTION retention.describe_flow(text) IS
  'A flow as published, or else its draft, as a tree in text.';
