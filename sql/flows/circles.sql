-- Flows that enter each other: allowed only where every way round takes time.

CREATE OR REPLACE FUNCTION retention._published(flow text) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT v.document FROM retention.flow f JOIN retention.flow_version v USING (flow_id, version)
  WHERE f.flow = _published.flow
$$;
COMMENT ON FUNCTION retention._published(text) IS
  'The document of a flow as published; null where there is none.';

CREATE OR REPLACE FUNCTION retention._lets_in_again(document jsonb) RETURNS boolean
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres
AS $$
  SELECT CASE coalesce(document ->> 'reentry', 'never') WHEN 'never' THEN false
    WHEN 'always' THEN true
              ELSE (document ->> 'reentry')::interval < interval '1 hour' END
$$;
COMMENT ON FUNCTION retention._lets_in_again(jsonb) IS
  'Whether a customer may enter a flow again within an hour.';

CREATE OR REPLACE FUNCTION retention._leads_to(document jsonb, draft jsonb)
  RETURNS TABLE (path text, flow text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres
AS $$
  WITH RECURSIVE node AS MATERIALIZED (
    SELECT n.number, n.element, n.element ->> 'id' AS id
    FROM retention._elements(document -> 'nodes') AS n),
  edge AS MATERIALIZED (
    SELECT e.source, e.target
    FROM retention._document_edges(document) AS e JOIN node n ON n.id = e.source
    WHERE n.element ->> 'type' <> 'delay'
      OR ((n.element ->> 'for')::interval >= interval '1 hour') IS NOT TRUE),
  reached AS (
    SELECT document #>> '{nodes,0,id}' AS id
    UNION SELECT e.target FROM reached r JOIN edge e ON e.source = r.id)
  SELECT format('nodes[%s].flow', n.number), n.element ->> 'flow'
  FROM node n
  WHERE n.element ->> 'type' = 'enter_flow' AND n.id IN (SELECT r.id FROM reached r)
    AND retention._lets_in_again(CASE n.element ->> 'flow' WHEN draft ->> 'name' THEN draft
                                 ELSE retention._published(n.element ->> 'flow') END)
$$;
COMMENT ON FUNCTION retention._leads_to(jsonb, jsonb) IS
  'The flows that a customer may be brought into within an hour of entering one, again and again: '
  'no delay of that length is on the way. A draft stands for what is published of it.';

CREATE OR REPLACE FUNCTION retention._way_back(start text, draft jsonb) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  goal text := draft ->> 'name';
  ways jsonb := jsonb_build_object(start, format('"%s"', start));
  reached text[] := ARRAY[start];
BEGIN
  -- In rounds, and to each flow once: there may be very many ways.
  WHILE NOT ways ? goal AND cardinality(reached) > 0 LOOP
    WITH next AS (
      SELECT DISTINCT ON (l.flow) l.flow, format('%s -> "%s"', ways ->> r.flow, l.flow) AS way
      FROM unnest(reached) AS r (flow), retention._leads_to(retention._published(r.flow),
                                                            draft) AS l
      WHERE NOT ways ? l.flow ORDER BY l.flow, r.flow)
    SELECT coalesce(array_agg(n.flow), '{}'), ways
      || coalesce(jsonb_object_agg(n.flow, n.way), '{}')
      INTO reached, ways FROM next n;
  END LOOP;
  RETURN ways ->> goal;
END
$$;
COMMENT ON FUNCTION retention._way_back(text, jsonb) IS
  'Through which published flows a customer gets from one to that of a draft within an hour; '
  'null: not at all.';

CREATE OR REPLACE FUNCTION retention._circle_problems(document jsonb)
  RETURNS TABLE (path text, problem text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT l.path, format('leads back here within an hour: "%s" -> %s', document ->> 'name', w.way)
  FROM retention._leads_to(document, document) AS l,
  LATERAL (SELECT retention._way_back(l.flow, document) AS way OFFSET 0) AS w
  WHERE w.way IS NOT NULL AND retention._lets_in_again(document)
$$;
COMMENT ON FUNCTION retention._circle_problems(jsonb) IS
  'Nodes from which a customer gets back to the start of a document, through whichever flows, '
  'again and again, with no delay of an hour on the way.';

CREATE OR REPLACE FUNCTION retention._going_round(
    travellers retention._traveller[], as_of timestamptz, most integer)
  RETURNS bigint[]
  -- By customer, however many enrollments there are.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
BEGIN
  RETURN ARRAY(
    SELECT t.enrollment_id
    FROM (SELECT c.*, count(*) FILTER (WHERE c.is_new)
                        OVER (PARTITION BY c.customer_id ORDER BY c.enrollment_id) AS turn
          FROM unnest(travellers) AS c WHERE c.event ? 'from_flow') AS t
    WHERE t.turn + (SELECT count(*) FROM retention.enrollment e
                    WHERE e.customer_id = t.customer_id AND e.flow_id = t.flow_id
                      AND e.enrollment_id < t.enrollment_id
                      AND e.entered_at > as_of - interval '1 hour'
                      AND e.event ? 'from_flow') > most);
END
$$;
COMMENT ON FUNCTION retention._going_round(retention._traveller[], timestamptz, integer) IS
  'Those enrollments among travellers at a node whose customer has come to their flow from others '
  'more than so often within an hour.';
