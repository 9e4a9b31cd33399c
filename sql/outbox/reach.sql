-- How many a flow can write to: told when it goes live.

CREATE OR REPLACE FUNCTION retention._unreachable(
    channel text, is_transactional boolean, metric text)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('CASE WHEN t.rows > 1 THEN ''several contacts'' ELSE %s END',
           retention._unsendable(quote_literal(c.channel), a.expression,
             '(t.contact).' || c.consent, is_transactional::text, 'false',
             CASE WHEN EXISTS (SELECT FROM retention.suppression s WHERE s.channel = c.channel)
                  THEN retention._suppressed(quote_literal(c.channel), a.expression,
                         retention._country('(t.contact).country', metric)) ELSE 'false' END))
  FROM retention._channels() AS c,
       LATERAL (SELECT '(t.contact).' || c.address AS expression) AS a
  WHERE c.channel = _unreachable.channel AND c.address IS NOT NULL
$$;
COMMENT ON FUNCTION retention._unreachable(text, boolean, text) IS
  'The expression for why a contact t, of the query of contacts, cannot be written to on a '
  'channel; null where the channel knows no addresses of customers.';

CREATE OR REPLACE FUNCTION retention._message_kinds(flow retention.flow)
  RETURNS TABLE (name text, expression text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- Each channel once, and once more where it has messages that need no consent besides others.
  SELECT m.channel || CASE WHEN m.is_transactional THEN ', transactional' ELSE '' END,
         reached.expression
  FROM (SELECT DISTINCT n.config ->> 'channel' AS channel,
               coalesce((n.config -> 'transactional')::boolean, false) AS is_transactional,
               coalesce(v.document ->> 'metric', 'orders') AS metric
        FROM retention.flow_node n JOIN retention.flow_version v USING (flow_id, version)
        WHERE (n.flow_id, n.version) = ((flow).flow_id, (flow).version) AND n.type = 'message'
          AND n.status <> 'draft') AS m
  CROSS JOIN LATERAL retention._unreachable(m.channel, m.is_transactional, m.metric)
    AS reached (expression)
  WHERE reached.expression IS NOT NULL
$$;
COMMENT ON FUNCTION retention._message_kinds(retention.flow) IS
  'The channels of a flow''s messages that have addresses, and the expression for why a contact t '
  'cannot be written to by each.';

CREATE OR REPLACE FUNCTION retention._count_reach(flow retention.flow)
  RETURNS TABLE (name text, contacts bigint, reachable bigint, others text)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names text[];
  expressions text;
BEGIN
  SELECT array_agg(k.name ORDER BY k.name), string_agg(k.expression, ', ' ORDER BY k.name)
    INTO names, expressions FROM retention._message_kinds(flow) AS k;
  IF names IS NULL THEN
    RETURN;
  END IF;
  -- Contacts are scanned once: those with the same reasons on all channels are one row.
  RETURN QUERY EXECUTE format($query$
    WITH same AS MATERIALIZED (
      SELECT t.reasons, count(*) AS contacts
      FROM (SELECT ARRAY[%s]::text[] AS reasons FROM (%s) AS t) AS t GROUP BY t.reasons),
    reason AS (
      SELECT k.number, k.name, s.reasons[k.number] AS reason, sum(s.contacts)::bigint AS contacts
      FROM unnest($1) WITH ORDINALITY AS k (name, number) LEFT JOIN same s ON true GROUP BY 1, 2, 3)
    SELECT r.name, coalesce(sum(r.contacts), 0)::bigint,
           coalesce(sum(r.contacts) FILTER (WHERE r.reason IS NULL), 0)::bigint,
           string_agg(format('%%s: %%s', r.reason, r.contacts), ', '
                      ORDER BY r.contacts DESC, r.reason) FILTER (WHERE r.reason IS NOT NULL)
    FROM reason r GROUP BY r.number, r.name ORDER BY r.number$query$, expressions,
    retention._contact_query(NULL))
    USING names;
END
$$;
COMMENT ON FUNCTION retention._count_reach(retention.flow) IS
  'How many contacts there are for each channel of a flow, how many can be written to, and why '
  'others cannot.';

CREATE OR REPLACE FUNCTION retention._tell_reach(flow_id integer) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target retention.flow := (SELECT f FROM retention.flow f WHERE f.flow_id = _tell_reach.flow_id);
  failure text;
BEGIN
  IF retention._tells() THEN
    PERFORM retention._pin_settings();
    PERFORM retention._tell(
        CASE WHEN r.contacts = 0 THEN format(
               'flow "%s": there are no contacts, so nobody can be written to by %s: fill '
               'retention.contact, or have them read by SELECT retention.use_contacts(...)',
               target.flow, r.name)
             ELSE format('flow "%s": %s of %s contacts can be written to by %s%s', target.flow,
                         r.reachable, r.contacts, r.name, '; ' || r.others) END, 'notice')
      FROM retention._count_reach(target) AS r;
  END IF;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS failure = MESSAGE_TEXT;
  IF retention._ends_call(SQLSTATE) THEN
    RAISE;
  END IF;
  RAISE WARNING 'who can be written to by flow "%" could not be counted: %', target.flow, failure
    USING HINT = 'Its status is set all the same.';
END
$$;
COMMENT ON FUNCTION retention._tell_reach(integer) IS
  'Tells how many contacts a flow can write to. A failure is a warning.';

CREATE OR REPLACE FUNCTION retention.reachable(channel text, transactional boolean DEFAULT false)
  RETURNS TABLE (customer_id text, reason text)
  LANGUAGE plpgsql ROWS 1000 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  expression text := retention._unreachable(channel, coalesce(transactional, false), 'orders');
BEGIN
  PERFORM retention._check_channel(channel);
  PERFORM retention._reject_unless(expression IS NOT NULL,
    format('channel %s has no addresses of customers', channel), 'Its messages go to their url.');
  PERFORM retention._pin_settings();
  RETURN QUERY EXECUTE format('SELECT t.customer_id, %s FROM (%s) AS t',
                              expression, retention._contact_query(NULL));
END
$$;
COMMENT ON FUNCTION retention.reachable(text, boolean) IS
  'Who can be written to on a channel now: a row for each contact, wherever contacts are, with '
  'the reason why not: no address, no consent, suppression list, several contacts; null: yes. By '
  'the same rules as messages of flows. Addresses are not shown. Reads all contacts.';
