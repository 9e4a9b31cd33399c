-- Writes messages, holds and releases them.

CREATE OR REPLACE FUNCTION retention._hold_messages(flow_id integer) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- Those that a claim or a sender is at are left to it: a claim goes by the status once this is
  -- over.
  UPDATE retention.message m SET state = 'held', reason = 'pause'
  FROM (SELECT r.message_id FROM retention.message r
        WHERE r.flow_id = _hold_messages.flow_id AND r.state = 'ready'
          FOR UPDATE SKIP LOCKED) AS chosen
  WHERE m.message_id = chosen.message_id
$$;
COMMENT ON FUNCTION retention._hold_messages(integer) IS
  'Holds a flow''s messages that nobody has claimed.';

CREATE OR REPLACE FUNCTION retention._release_messages(flow_id integer) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH changed AS (
    UPDATE retention.message m SET state = 'ready', reason = NULL
    WHERE m.flow_id = _release_messages.flow_id AND m.state = 'held' AND m.reason = 'pause'
    RETURNING m.channel)
  SELECT pg_notify('retention_message', c.channel) FROM (SELECT DISTINCT channel FROM changed) AS c
$$;
COMMENT ON FUNCTION retention._release_messages(integer) IS
  'Lets those of a flow''s messages go that were held during a pause, and tells who listens.';

CREATE OR REPLACE FUNCTION retention._lateness(message jsonb) RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention._span(coalesce(message ->> 'lateness', '1 day')::interval);
COMMENT ON FUNCTION retention._lateness(jsonb) IS
  'How late a message of a flow''s document may be sent.';

CREATE OR REPLACE FUNCTION retention._message_rules(node_ids integer[])
  RETURNS SETOF retention.message_rule
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT n.node_id, n.node, n.config ->> 'channel',
         n.config ->> 'subject', n.config ->> 'body', n.config ->> 'text', n.config ->> 'url',
         coalesce((n.config -> 'transactional')::boolean, false),
         retention._apart(n.config ->> 'channel', n.config -> 'smart_sending'),
         retention._address_apart(n.config, v.document),
         retention._lateness(n.config),
         f.status = 'manual' OR n.status = 'manual'
  FROM retention.flow_node n JOIN retention.flow f ON f.flow_id = n.flow_id
  JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
  WHERE n.node_id = ANY (node_ids)
$$;
COMMENT ON FUNCTION retention._message_rules(integer[]) IS
  'What message nodes say of their messages: templates, and how they are sent.';

CREATE OR REPLACE FUNCTION retention._write_messages(
    queued retention.queued_message[], as_of timestamptz)
  RETURNS void
  -- How many pass a filter is not known, so they are joined by hash.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = auto
  SET enable_nestloop = off SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
  channels text[];
  asked retention.address_grant[];
BEGIN
  IF coalesce(queued, '{}') = '{}' THEN
    RETURN;
  END IF;
  PERFORM retention._plan_for(cardinality(queued));
  WITH rule AS MATERIALIZED (
    SELECT * FROM retention._message_rules(
      ARRAY(SELECT DISTINCT q.node_id FROM unnest(queued) AS q))),
  -- Bodies may be of any size: they stay rows, which spill to disk.
  written AS MATERIALIZED (
    SELECT q.*, r.node, r.channel, r.is_transactional, r.apart, r.lateness, r.needs_approval,
           subject.rendered AS subject, body.rendered AS body, text.rendered AS text,
           url.rendered AS url,
           CASE WHEN q.reason IS NULL
                THEN coalesce(subject.error, body.error, text.error, url.error) END AS error
    FROM unnest(queued) AS q JOIN rule r USING (node_id)
    LEFT JOIN LATERAL retention._try_render(r.subject, q.context, false) AS subject
      ON q.reason IS NULL
    LEFT JOIN LATERAL retention._try_render(r.body, q.context, r.channel = 'email') AS body
      ON q.reason IS NULL
    LEFT JOIN LATERAL retention._try_render(r.text, q.context, false) AS text
      ON q.reason IS NULL AND r.text IS NOT NULL
    LEFT JOIN LATERAL retention._try_render(r.url, q.context, false) AS url
      ON q.reason IS NULL AND r.url IS NOT NULL),
  far_enough AS MATERIALIZED (
    SELECT f.enrollment_id, f.node_id
    FROM retention._far_enough(ARRAY(
      SELECT ROW (w.customer_id, w.channel, w.enrollment_id, w.node_id, w.apart)::retention.sending
      FROM written w WHERE w.reason IS NULL AND w.error IS NULL AND NOT w.is_transactional),
      as_of) AS f),
  -- Joined, so that it is asked also where nobody has to keep a distance: it notes who was written
  -- to.
  decided AS (
    SELECT w.*, CASE WHEN w.reason IS NULL AND w.error IS NULL AND NOT w.is_transactional
                          AND w.apart IS NOT NULL AND f.enrollment_id IS NULL
                     THEN 'smart sending' ELSE w.reason END AS skipped
    FROM written w LEFT JOIN far_enough f USING (enrollment_id, node_id) OFFSET 0),
  inserted AS (
    INSERT INTO retention.message (
      enrollment_id, flow_id, node_id, queued_at, ready_at, expires_at, node, channel,
      state, reason, last_error, customer_id, address, subject, body, text, context)
    SELECT d.enrollment_id, d.flow_id, d.node_id, as_of, as_of, d.due_at + d.lateness, d.node,
           d.channel, state.name,
           CASE state.name WHEN 'held' THEN 'approval' WHEN 'error' THEN 'cannot be rendered'
                ELSE d.skipped END,
           d.error, d.customer_id, coalesce(d.url, d.address),
           CASE WHEN state.is_kept THEN d.subject END, CASE WHEN state.is_kept THEN d.body END,
           CASE WHEN state.is_kept THEN d.text END, d.context
    FROM decided d,
    LATERAL (SELECT CASE WHEN d.skipped = 'holdout' THEN 'ghost'
                         WHEN d.skipped IS NOT NULL THEN 'suppressed'
                         WHEN d.error IS NOT NULL THEN 'error'
                         WHEN d.needs_approval THEN 'held' ELSE 'ready' END) AS chosen (name),
    LATERAL (SELECT chosen.name, chosen.name IN ('held', 'ready')) AS state (name, is_kept)
    ORDER BY d.enrollment_id, d.node_id
    ON CONFLICT (enrollment_id, node) DO NOTHING
    RETURNING message_id, flow_id, node_id, node, channel, state, customer_id, address)
  SELECT array_agg(DISTINCT i.channel) FILTER (WHERE i.state = 'ready'),
         array_agg(retention._asked_grant(i.flow_id, i.node, i.address, i.customer_id,
                                          i.message_id, as_of, r.address_apart))
           FILTER (WHERE r.address_apart IS NOT NULL)
    INTO channels, asked
    FROM inserted i JOIN rule r USING (node_id) WHERE retention._may_reach(i.state);
  PERFORM retention._one_per_address(asked);
  PERFORM pg_notify('retention_message', c) FROM unnest(channels) AS c;
END
$$;
COMMENT ON FUNCTION retention._write_messages(retention.queued_message[], timestamptz) IS
  'Renders messages and writes them to the outbox, ready, held or not to be sent, with the '
  'reason; and tells who listens.';

CREATE OR REPLACE FUNCTION retention._contacts_of_messages(message_ids bigint[])
  RETURNS retention.traveller[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known record;
BEGIN
  IF NOT EXISTS (SELECT FROM retention.contact_source) THEN
    RETURN NULL;
  END IF;
  known := retention._with_contacts(
    ARRAY(SELECT retention._bystander(m.customer_id) FROM retention.message m
          WHERE m.message_id = ANY (message_ids) AND m.customer_id IS NOT NULL
          GROUP BY m.customer_id), retention.now());
  PERFORM retention._reject_unless(known.held IS NULL OR known.moved IS NOT NULL,
                                   (known.held[1]).reason,
    'Messages stay ready meanwhile.', (known.held[1]).error_code);
  RETURN known.moved || known.held;
END
$$;
COMMENT ON FUNCTION retention._contacts_of_messages(bigint[]) IS
  'The contacts of the customers of messages in a relation of the shop''s own, as of travellers: '
  'those that cannot be read have an outcome and a reason. An error where none can be read; null '
  'where contacts are our own.';
