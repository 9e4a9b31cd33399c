-- How far apart messages are kept, from a customer and from an address.

CREATE OR REPLACE FUNCTION retention._may_reach(state text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN state IN ('held', 'ready', 'leased', 'sent');
COMMENT ON FUNCTION retention._may_reach(text) IS
  'Whether a message in some state was sent, or still may be.';

CREATE OR REPLACE FUNCTION retention._apart(channel text, smart_sending jsonb) RETURNS interval
  -- Planned once a session, not for each tick.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF smart_sending = 'false' THEN
    RETURN NULL;
  END IF;
  RETURN coalesce(retention._span((smart_sending #>> '{}')::interval),
                  (SELECT c.apart FROM retention._channels() c WHERE c.channel = _apart.channel));
END
$$;
COMMENT ON FUNCTION retention._apart(text, jsonb) IS
  'How far apart smart sending keeps a message from the one before; null: it does not.';

CREATE OR REPLACE FUNCTION retention._last_reaching(
    customer_id text, channel text, until timestamptz)
  RETURNS timestamptz
  -- VOLATILE, so that it sees what the worker has committed that its caller has waited for. Planned
  -- once, by the index.
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_sort = off
AS $$
BEGIN
  RETURN (
    SELECT m.queued_at FROM retention.message m
    WHERE m.customer_id = _last_reaching.customer_id AND m.queued_at <= until
      AND m.channel = _last_reaching.channel AND retention._may_reach(m.state)
      AND NOT (SELECT coalesce((n.config -> 'transactional')::boolean, false)
               FROM retention.flow_node n WHERE n.node_id = m.node_id)
    ORDER BY m.queued_at DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION retention._last_reaching(text, text, timestamptz) IS
  'When a customer''s last message on a channel was written, up to a time, that was sent or still '
  'may be; transactional ones aside.';

CREATE OR REPLACE FUNCTION retention._counted_at(last retention.last_message, enough timestamptz)
  RETURNS timestamptz
  LANGUAGE sql VOLATILE
  -- Looked up only where it decides: what was cancelled, suppressed, or tried in vain does not
  -- count.
  RETURN CASE WHEN coalesce((last).queued_at <= enough, true) THEN (last).queued_at
              ELSE retention._last_reaching((last).customer_id, (last).channel, (last).queued_at)
                END;
COMMENT ON FUNCTION retention._counted_at(retention.last_message, timestamptz) IS
  'When the last message was written that smart sending counts; null: there is none.';

CREATE OR REPLACE FUNCTION retention._far_enough(asked retention._sending[], as_of timestamptz)
  RETURNS SETOF retention._sending
  -- How many rows pass is not known, as in _write_messages, so they are joined by hash.
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = auto
  SET enable_nestloop = off
AS $$
#variable_conflict use_column
BEGIN
  PERFORM retention._plan_for(cardinality(asked));
  RETURN QUERY
  WITH counted AS MATERIALIZED (
    SELECT a AS sending, a.customer_id, a.channel, a.apart,
           row_number() OVER (PARTITION BY a.customer_id, a.channel
                              ORDER BY a.enrollment_id, a.node_id) AS turn
    FROM unnest(asked) AS a),
  -- In the order of keys, so that workers do not wait for each other in a circle; they decide one
  -- after the other.
  granted AS (
    INSERT INTO retention.last_message AS l (customer_id, channel, queued_at, apart)
    SELECT c.customer_id, c.channel, as_of, min(coalesce(c.apart, '0')) FROM counted c
    GROUP BY c.customer_id, c.channel ORDER BY c.customer_id, c.channel
    ON CONFLICT (customer_id, channel) DO UPDATE
      SET queued_at = excluded.queued_at, apart = excluded.apart,
          previous_at = retention._counted_at(l, excluded.queued_at - excluded.apart)
      WHERE coalesce(retention._counted_at(l, excluded.queued_at - excluded.apart)
                       <= excluded.queued_at - excluded.apart, true)
    RETURNING customer_id, channel, previous_at),
  judged AS (
    SELECT c.*, c.apart IS NULL OR coalesce(
             -- It was looked up for the least of their times only.
             retention._counted_at((c.customer_id, c.channel, g.previous_at, NULL, NULL)
                                     ::retention.last_message, as_of - c.apart)
               <= as_of - c.apart, true) AS is_far
    FROM counted c JOIN granted g USING (customer_id, channel)),
  ranked AS (
    SELECT j.*, min(j.turn) FILTER (WHERE j.is_far)
                  OVER (PARTITION BY j.customer_id, j.channel) AS first
    FROM judged j)
  SELECT (r.sending).* FROM ranked r WHERE r.apart IS NULL OR r.turn = r.first;
END
$$;
COMMENT ON FUNCTION retention._far_enough(retention._sending[], timestamptz) IS
  'Decides smart sending, for some messages that are to be sent now: of several to one customer on '
  'one channel the first that is far enough from the last one goes, and those that go in any case. '
  'Returns these, and notes when the last one went.';

CREATE OR REPLACE FUNCTION retention._address_slot(flow_id integer, node text, address text)
  RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN hashtextextended(flow_id::text || ' ' || node || ' ' || address, 0);
COMMENT ON FUNCTION retention._address_slot(integer, text, text) IS
  'Where address_grant has the last message of a node to an address.';

CREATE OR REPLACE FUNCTION retention._holder(customer_id text) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN hashtextextended(customer_id, 0);
COMMENT ON FUNCTION retention._holder(text) IS 'The hash by which address_grant knows a customer.';

CREATE OR REPLACE FUNCTION retention._asked_grant(
    flow_id integer, node text, address text, customer_id text, message_id bigint,
    queued_at timestamptz, apart interval)
  RETURNS retention.address_grant
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ROW (retention._address_slot(flow_id, node, address), retention._holder(customer_id),
              message_id, queued_at, apart)::retention.address_grant;
COMMENT ON FUNCTION retention._asked_grant(
  integer, text, text, text, bigint, timestamptz, interval) IS
  'What a message asks of _one_per_address: its address, for so long.';

CREATE OR REPLACE FUNCTION retention._address_apart(message jsonb, document jsonb) RETURNS interval
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF coalesce((message -> 'one_per_address')::boolean, (document -> 'one_per_address')::boolean,
              message ->> 'channel' IN ('email', 'sms')
                AND NOT coalesce((message -> 'transactional')::boolean, false)) THEN
    RETURN retention._apart(message ->> 'channel', nullif(message -> 'smart_sending', 'false'));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._address_apart(jsonb, jsonb) IS
  'For how long a message of a flow''s document keeps others of its node from the same address; '
  'null: it does not. Webhooks have no such time.';

CREATE OR REPLACE FUNCTION retention._one_per_address(asked retention.address_grant[])
  RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  suppressed bigint[];
BEGIN
  IF asked IS NULL THEN
    RETURN NULL;
  END IF;
  -- In the order of keys, so that workers do not wait for each other in a circle; they decide one
  -- after the other.
  WITH granted AS (
    INSERT INTO retention.address_grant AS g
    SELECT DISTINCT ON (a.slot) a.* FROM unnest(asked) AS a ORDER BY a.slot, a.message_id
    ON CONFLICT (slot) DO UPDATE SET holder = excluded.holder, message_id = excluded.message_id,
    queued_at = excluded.queued_at, apart = excluded.apart
      WHERE g.holder = excluded.holder OR g.queued_at <= excluded.queued_at - excluded.apart
        OR NOT retention._is_reaching(g.message_id, g.slot)
    RETURNING g.slot, g.holder)
  SELECT array_agg(a.message_id) INTO suppressed
    FROM unnest(asked) AS a LEFT JOIN granted g USING (slot)
    WHERE a.holder IS DISTINCT FROM g.holder;
  IF suppressed IS NOT NULL THEN
    -- Of one that was leased just now no sender has heard.
    UPDATE retention.message m
      SET state = 'suppressed', reason = 'same address', subject = NULL, body = NULL, text = NULL,
          attempts = m.attempts - (m.state = 'leased')::integer
      WHERE m.message_id = ANY (suppressed);
  END IF;
  RETURN suppressed;
END
$$;
COMMENT ON FUNCTION retention._one_per_address(retention.address_grant[]) IS
  'Grants messages their addresses. Those whose address another customer''s message of the same '
  'node has been granted, within the time of smart sending, are suppressed. Returns them.';

CREATE OR REPLACE FUNCTION retention._is_reaching(message_id bigint, slot bigint) RETURNS boolean
  -- Found by index, whatever was planned when there were few, as in _last_reaching.
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM retention.message m
    WHERE m.message_id = _is_reaching.message_id AND retention._may_reach(m.state)
      AND retention._address_slot(m.flow_id, m.node, m.address) = slot);
END
$$;
COMMENT ON FUNCTION retention._is_reaching(bigint, bigint) IS
  'Whether a message was sent, or still may be, to the address that it was granted.';
