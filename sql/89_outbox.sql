-- The outbox: messages are written at the end of a tick, and claimed by senders. Coupons.

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
COMMENT ON FUNCTION retention._apart(text, jsonb) IS 'How far apart smart sending keeps a message from the one before; null: it does not.';

CREATE OR REPLACE FUNCTION retention._last_reaching(customer_id text, channel text, until timestamptz) RETURNS timestamptz
  -- VOLATILE, so that it sees what the worker has committed that its caller has waited for. Planned once, by the index.
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_sort = off
AS $$
BEGIN
  RETURN (
    SELECT m.queued_at FROM retention.message m
    WHERE m.customer_id = _last_reaching.customer_id AND m.queued_at <= until AND m.channel = _last_reaching.channel AND retention._may_reach(m.state)
      AND NOT (SELECT coalesce((n.config -> 'transactional')::boolean, false) FROM retention.flow_node n WHERE n.node_id = m.node_id)
    ORDER BY m.queued_at DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION retention._last_reaching(text, text, timestamptz) IS
  'When a customer''s last message on a channel was written, up to a time, that was sent or still may be; transactional ones aside.';

CREATE OR REPLACE FUNCTION retention._counted_at(last retention.last_message, enough timestamptz) RETURNS timestamptz
  LANGUAGE sql VOLATILE
  -- Looked up only where it decides: what was cancelled, suppressed, or tried in vain does not count.
  RETURN CASE WHEN coalesce((last).queued_at <= enough, true) THEN (last).queued_at
              ELSE retention._last_reaching((last).customer_id, (last).channel, (last).queued_at) END;
COMMENT ON FUNCTION retention._counted_at(retention.last_message, timestamptz) IS
  'When the last message was written that smart sending counts; null: there is none.';

CREATE OR REPLACE FUNCTION retention._address_slot(flow_id integer, node text, address text) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN hashtextextended(flow_id::text || ' ' || node || ' ' || address, 0);
COMMENT ON FUNCTION retention._address_slot(integer, text, text) IS 'Where address_grant has the last message of a node to an address.';

CREATE OR REPLACE FUNCTION retention._holder(customer_id text) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN hashtextextended(customer_id, 0);
COMMENT ON FUNCTION retention._holder(text) IS 'As what address_grant knows a customer.';

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

CREATE OR REPLACE FUNCTION retention._lateness(message jsonb) RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention._span(coalesce(message ->> 'lateness', '1 day')::interval);
COMMENT ON FUNCTION retention._lateness(jsonb) IS
  'How late a message of a flow''s document may be sent.';

CREATE OR REPLACE FUNCTION retention._address_apart(message jsonb, document jsonb) RETURNS interval
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF coalesce((message -> 'one_per_address')::boolean, (document -> 'one_per_address')::boolean,
              message ->> 'channel' IN ('email', 'sms') AND NOT coalesce((message -> 'transactional')::boolean, false)) THEN
    RETURN retention._apart(message ->> 'channel', nullif(message -> 'smart_sending', 'false'));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._address_apart(jsonb, jsonb) IS
  'For how long a message of a flow''s document keeps others of its node from the same address; null: it does not. Webhooks have no such time.';

CREATE OR REPLACE FUNCTION retention._one_per_address(asked retention.address_grant[]) RETURNS bigint[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  suppressed bigint[];
BEGIN
  IF asked IS NULL THEN
    RETURN NULL;
  END IF;
  -- In the order of keys, so that workers do not wait for each other in a circle; they decide one after the other.
  WITH granted AS (
    INSERT INTO retention.address_grant AS g
    SELECT DISTINCT ON (a.slot) a.* FROM unnest(asked) AS a ORDER BY a.slot, a.message_id
    ON CONFLICT (slot) DO UPDATE SET holder = excluded.holder, message_id = excluded.message_id, queued_at = excluded.queued_at, apart = excluded.apart
      WHERE g.holder = excluded.holder OR g.queued_at <= excluded.queued_at - excluded.apart OR NOT retention._is_reaching(g.message_id, g.slot)
    RETURNING g.slot, g.holder)
  SELECT array_agg(a.message_id) INTO suppressed
    FROM unnest(asked) AS a LEFT JOIN granted g USING (slot) WHERE a.holder IS DISTINCT FROM g.holder;
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
  'Grants messages their addresses. Those whose address another customer''s message of the same node has been granted, within the time of smart sending, are suppressed. Returns them.';

CREATE OR REPLACE FUNCTION retention._is_reaching(message_id bigint, slot bigint) RETURNS boolean
  -- As _last_reaching.
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
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

CREATE OR REPLACE FUNCTION retention._write_messages(queued retention.queued_message[], as_of timestamptz) RETURNS void
  -- How many pass a filter is not known, so they are joined by hash.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = auto SET enable_nestloop = off SET work_mem = '64MB'
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
  WITH node AS MATERIALIZED (
    SELECT n.node_id, n.node, n.config ->> 'channel' AS channel, n.config ->> 'subject' AS subject, n.config ->> 'body' AS body,
           n.config ->> 'text' AS text, n.config ->> 'url' AS url,
           coalesce((n.config -> 'transactional')::boolean, false) AS is_transactional,
           retention._apart(n.config ->> 'channel', n.config -> 'smart_sending') AS apart,
           retention._lateness(n.config) AS lateness,
           retention._address_apart(n.config, v.document) AS address_apart,
           f.status = 'manual' OR coalesce(s.status, n.config ->> 'status') = 'manual' AS needs_approval
    FROM retention.flow_node n JOIN retention.flow f ON f.flow_id = n.flow_id
    JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
    LEFT JOIN retention.message_status s ON (s.flow_id, s.node) = (n.flow_id, n.node)
    WHERE n.node_id IN (SELECT q.node_id FROM unnest(queued) AS q)),
  written AS MATERIALIZED (
    SELECT q.*, n.node, n.channel, n.is_transactional, n.apart, n.lateness, n.needs_approval,
           subject.rendered AS subject, body.rendered AS body, text.rendered AS text, url.rendered AS url,
           CASE WHEN q.reason IS NULL THEN coalesce(subject.error, body.error, text.error, url.error) END AS error
    FROM unnest(queued) AS q JOIN node n USING (node_id)
    LEFT JOIN LATERAL retention._try_render(n.subject, q.context, false) AS subject ON q.reason IS NULL
    LEFT JOIN LATERAL retention._try_render(n.body, q.context, n.channel = 'email') AS body ON q.reason IS NULL
    LEFT JOIN LATERAL retention._try_render(n.text, q.context, false) AS text ON q.reason IS NULL AND n.text IS NOT NULL
    LEFT JOIN LATERAL retention._try_render(n.url, q.context, false) AS url ON q.reason IS NULL AND n.url IS NOT NULL),
  counted AS MATERIALIZED (
    SELECT w.customer_id, w.channel, w.enrollment_id, w.node_id, w.apart, row_number() OVER (PARTITION BY w.customer_id, w.channel ORDER BY w.enrollment_id, w.node_id) AS turn
    FROM written w WHERE w.reason IS NULL AND w.error IS NULL AND NOT w.is_transactional),
  -- In the order of keys, so that workers do not wait for each other in a circle; they decide one after the other.
  granted AS (
    INSERT INTO retention.last_message AS l (customer_id, channel, queued_at, apart)
    SELECT c.customer_id, c.channel, as_of, min(coalesce(c.apart, '0')) FROM counted c GROUP BY c.customer_id, c.channel ORDER BY c.customer_id, c.channel
    ON CONFLICT (customer_id, channel) DO UPDATE
      SET queued_at = excluded.queued_at, apart = excluded.apart, previous_at = retention._counted_at(l, excluded.queued_at - excluded.apart)
      WHERE coalesce(retention._counted_at(l, excluded.queued_at - excluded.apart) <= excluded.queued_at - excluded.apart, true)
    RETURNING customer_id, channel, previous_at),
  -- Of several to one customer on one channel the first that is far enough from the last one goes, and those that go in any case.
  apart AS (
    SELECT c.enrollment_id, c.node_id
    FROM (SELECT c.*, min(c.turn) FILTER (WHERE c.is_far) OVER (PARTITION BY c.customer_id, c.channel) AS first
          FROM (SELECT c.*, c.apart IS NULL OR coalesce(
                         -- It was looked up for the least of their times only.
                         retention._counted_at((c.customer_id, c.channel, g.previous_at, NULL, NULL)::retention.last_message,
                                               as_of - c.apart) <= as_of - c.apart, true) AS is_far
                FROM counted c JOIN granted g USING (customer_id, channel)) AS c) AS c
    WHERE c.apart IS NULL OR c.turn = c.first),
  decided AS (
    SELECT w.*, CASE WHEN w.reason IS NOT NULL OR w.error IS NOT NULL OR w.is_transactional OR w.apart IS NULL THEN w.reason
                     WHEN (w.enrollment_id, w.node_id) NOT IN (SELECT a.enrollment_id, a.node_id FROM apart a) THEN 'smart sending' END AS skipped
    FROM written w OFFSET 0),
  inserted AS (
    INSERT INTO retention.message (enrollment_id, flow_id, node_id, queued_at, ready_at, expires_at, node, channel, state, reason, last_error,
                                   customer_id, address, subject, body, text, context)
    SELECT d.enrollment_id, d.flow_id, d.node_id, as_of, as_of, d.due_at + d.lateness, d.node, d.channel, state.name,
           CASE state.name WHEN 'held' THEN 'approval' WHEN 'error' THEN 'cannot be rendered' ELSE d.skipped END, d.error, d.customer_id, coalesce(d.url, d.address),
           CASE WHEN state.is_kept THEN d.subject END, CASE WHEN state.is_kept THEN d.body END, CASE WHEN state.is_kept THEN d.text END, d.context
    FROM decided d,
    LATERAL (SELECT CASE WHEN d.skipped = 'holdout' THEN 'ghost' WHEN d.skipped IS NOT NULL THEN 'suppressed' WHEN d.error IS NOT NULL THEN 'error'
                         WHEN d.needs_approval THEN 'held' ELSE 'ready' END) AS chosen (name),
    LATERAL (SELECT chosen.name, chosen.name IN ('held', 'ready')) AS state (name, is_kept)
    ORDER BY d.enrollment_id, d.node_id
    ON CONFLICT (enrollment_id, node) DO NOTHING
    RETURNING message_id, flow_id, node_id, node, channel, state, customer_id, address)
  SELECT array_agg(DISTINCT i.channel) FILTER (WHERE i.state = 'ready'),
         array_agg(retention._asked_grant(i.flow_id, i.node, i.address, i.customer_id, i.message_id,
                                          as_of, n.address_apart))
           FILTER (WHERE n.address_apart IS NOT NULL)
    INTO channels, asked FROM inserted i JOIN node n USING (node_id) WHERE retention._may_reach(i.state);
  PERFORM retention._one_per_address(asked);
  PERFORM pg_notify('retention_message', c) FROM unnest(channels) AS c;
END
$$;
COMMENT ON FUNCTION retention._write_messages(retention.queued_message[], timestamptz) IS
  'Renders messages and writes them to the outbox, ready, held or not to be sent, with the reason; and tells who listens.';

CREATE OR REPLACE FUNCTION retention._contacts_of_messages(message_ids bigint[]) RETURNS retention.traveller[]
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
          WHERE m.message_id = ANY (message_ids) AND m.customer_id IS NOT NULL GROUP BY m.customer_id), retention.now());
  PERFORM retention._reject_unless(known.held IS NULL OR known.moved IS NOT NULL, 'contacts cannot be read: ' || (known.held[1]).reason,
    'Messages stay ready meanwhile.', (known.held[1]).error_code);
  RETURN known.moved || known.held;
END
$$;
COMMENT ON FUNCTION retention._contacts_of_messages(bigint[]) IS
  'The contacts of the customers of messages in a relation of the shop''s own, as of travellers: those that cannot be read have an outcome and a reason. An error where none can be read; null where contacts are our own.';

CREATE OR REPLACE FUNCTION retention._lease(channel text, taken bigint[], lease interval) RETURNS bigint[]
  -- Messages and contacts are looked up by key, however many more there are.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
  contacts retention.traveller[] := retention._contacts_of_messages(taken);
  country CONSTANT text := 'coalesce((t.contact).country, r.country)';
  address text;
  kind record;
  leased bigint[];
  asked retention.address_grant[];
  suppressed bigint[];
BEGIN
  SELECT * INTO kind FROM retention._channels() c WHERE c.channel = _lease.channel;
  address := coalesce('(t.contact).' || quote_ident(kind.address), 'm.address');
  EXECUTE format($query$
    WITH rule AS MATERIALIZED (
      SELECT n.node_id, f.status, coalesce((n.config -> 'transactional')::boolean, false) AS is_transactional,
             (v.document #>> '{quiet_hours,from}')::time AS quiet_from, (v.document #>> '{quiet_hours,until}')::time AS quiet_until, retention._flow_zone(v.document) AS zone,
             retention._address_apart(n.config, v.document) AS address_apart,
             (SELECT s.country FROM retention.metric s WHERE s.metric = coalesce(v.document ->> 'metric', 'orders')) AS country
      FROM retention.flow_node n JOIN retention.flow f USING (flow_id) JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
      WHERE n.node_id IN (SELECT m.node_id FROM retention.message m WHERE m.message_id = ANY ($1))
      -- Who changes a status waits until this is over, and the other way round.
      FOR KEY SHARE OF f),
    -- Consent, address, time and quiet hours as they are now.
    found AS MATERIALIZED (
      SELECT m.message_id, %1$s AS address, CASE WHEN %1$s IS DISTINCT FROM m.address THEN r.address_apart END AS address_apart,
             r.status IN ('paused', 'draft') AS is_paused,
             CASE WHEN r.status = 'archived' THEN 'archived' WHEN t.outcome IS NULL OR $3 > m.expires_at THEN coalesce(%2$s, %3$s) END AS reason,
             CASE WHEN t.outcome IS NOT NULL THEN $3 + interval '1 hour'
                  WHEN NOT r.is_transactional THEN retention._quiet_until($3, r.quiet_from, r.quiet_until, retention._zone((t.contact).time_zone, r.zone)) END AS quiet_until,
             t.reason AS contact_error
      FROM retention.message m JOIN rule r USING (node_id)
      LEFT JOIN %4$s AS t ON t.customer_id = m.customer_id
      WHERE m.message_id = ANY ($1)),
    decided AS (
      SELECT f.*, CASE WHEN f.reason IS NOT NULL THEN 'suppressed' WHEN f.is_paused THEN 'held' WHEN f.quiet_until > $3 THEN 'ready' ELSE 'leased' END AS state
      FROM found f OFFSET 0),
    written AS (
      UPDATE retention.message m
      SET state = d.state, reason = CASE d.state WHEN 'held' THEN 'pause' WHEN 'suppressed' THEN d.reason END, address = coalesce(d.address, m.address),
          ready_at = CASE d.state WHEN 'leased' THEN $3 + $4 WHEN 'ready' THEN d.quiet_until ELSE m.ready_at END,
          attempts = m.attempts + (d.state = 'leased')::integer, last_error = coalesce(d.contact_error, m.last_error)
      FROM decided d WHERE m.message_id = d.message_id
      RETURNING m.message_id, m.state, m.flow_id, m.node, m.address, m.customer_id, d.address_apart)
    SELECT coalesce(array_agg(w.message_id), '{}'),
           array_agg(retention._asked_grant(w.flow_id, w.node, w.address, w.customer_id, w.message_id,
                                            $3, w.address_apart))
             FILTER (WHERE w.address_apart IS NOT NULL)
    FROM written w WHERE w.state = 'leased'$query$,
    format('retention._normal_address(m.channel, %s, %s)', address, country),
    retention._unsendable('m.channel', address, coalesce('(t.contact).' || quote_ident(kind.consent), 'true'), 'r.is_transactional',
                          '$3 > m.expires_at', retention._suppressed('m.channel', address, country)),
    -- Of a message that was revived: somebody else may have its code by now.
    $q$CASE WHEN m.context #>> '{coupon,code}' IS NOT NULL
                 AND NOT EXISTS (SELECT FROM retention.coupon k WHERE k.enrollment_id = m.enrollment_id AND k.code = m.context #>> '{coupon,code}')
            THEN 'coupon is gone' END$q$,
    -- Our own can be joined, and there is one of each customer.
    CASE WHEN contacts IS NULL
         THEN '(SELECT c.customer_id, c AS contact, NULL AS outcome, NULL AS reason FROM retention.contact c)'
         ELSE 'unnest($2)' END)
    INTO leased, asked USING taken, contacts, retention.now(), lease;
  -- Another customer may have an address that is new.
  suppressed := retention._one_per_address(asked);
  RETURN ARRAY(SELECT l FROM unnest(leased) AS l WHERE l <> ALL (coalesce(suppressed, '{}')));
END
$$;
COMMENT ON FUNCTION retention._lease(text, bigint[], interval) IS
  'Leases those of some locked messages that may be sent, to the address that the contact has now. Of the others it says why not, or until when they wait. Returns the leased ones.';

CREATE OR REPLACE FUNCTION retention.claim_messages(channel text, "limit" integer DEFAULT 100, lease interval DEFAULT '5 minutes')
  RETURNS SETOF retention.claimed_message
  LANGUAGE plpgsql ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $$
DECLARE
  claimed bigint[] := '{}';
  taken bigint[];
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention._channels() c WHERE c.channel = claim_messages.channel),
    format('channel %s does not exist', coalesce('"' || channel || '"', 'null')), 'The channels are email, sms, push and webhook.');
  PERFORM retention._reject_unless("limit" > 0, format('limit must be 1 or more, not %s', coalesce("limit"::text, 'null')));
  PERFORM retention._check_span('lease', coalesce(lease, '0'), 1);
  IF retention._is_copy() THEN
    RAISE WARNING 'no message is claimed: flows were made live in another database, of which this one is a copy, or has taken its place'
      USING HINT = 'An admin can have messages sent from here: SELECT retention.resume_here(); docs/operations.md tells of copies.';
    RETURN;
  END IF;
  LOOP
    -- One whose lease has run out is there again: its sender may have died.
    taken := ARRAY(
      SELECT m.message_id FROM retention.message m
      WHERE m.channel = claim_messages.channel AND m.state IN ('ready', 'leased') AND m.ready_at <= retention.now()
      ORDER BY m.ready_at, m.message_id LIMIT "limit" - cardinality(claimed) FOR UPDATE SKIP LOCKED);
    EXIT WHEN taken = '{}';
    claimed := claimed || retention._lease(channel, taken, lease);
    EXIT WHEN cardinality(claimed) >= "limit";
  END LOOP;
  RETURN QUERY
    SELECT m.message_id, m.idempotency_key, f.flow, m.node, m.customer_id, m.channel, m.address, m.subject, m.body, m.text, m.context, m.attempts, m.ready_at
    FROM retention.message m JOIN retention.flow f USING (flow_id) WHERE m.message_id = ANY (claimed) ORDER BY m.message_id;
END
$$;
COMMENT ON FUNCTION retention.claim_messages(text, integer, interval) IS
  'The next messages of a channel that are ready, for a sender, which has until the end of the lease to ack or fail them. Consent, suppression, lateness and quiet hours are checked once more. Commit before sending.';

CREATE OR REPLACE FUNCTION retention.ack(message_ids bigint[], sent_at timestamptz DEFAULT retention.now()) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  acknowledged bigint;
BEGIN
  -- Also when the lease has run out meanwhile: it has been sent.
  UPDATE retention.message m SET state = 'sent', reason = NULL, sent_at = ack.sent_at, last_error = NULL
    WHERE m.message_id = ANY (message_ids) AND m.attempts > 0 AND (m.state IN ('ready', 'leased', 'held', 'dead') OR m.reason = 'forgotten');
  GET DIAGNOSTICS acknowledged = ROW_COUNT;
  RETURN acknowledged;
END
$$;
COMMENT ON FUNCTION retention.ack(bigint[], timestamptz) IS 'Says that claimed messages have been sent. Returns how many were not known to be.';

CREATE OR REPLACE FUNCTION retention._most_attempts() RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN 12;
COMMENT ON FUNCTION retention._most_attempts() IS 'How often it is tried to send a message: over about a day.';

CREATE OR REPLACE FUNCTION retention.fail(message_ids bigint[], error text, permanent boolean DEFAULT false) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failed bigint;
BEGIN
  UPDATE retention.message m
    SET state = CASE WHEN permanent OR m.attempts >= retention._most_attempts() THEN 'dead' ELSE 'ready' END,
        ready_at = retention.now() + retention._retry_after(m.attempts, '6 hours'), last_error = error
    WHERE m.message_id = ANY (message_ids) AND m.state = 'leased';
  GET DIAGNOSTICS failed = ROW_COUNT;
  RETURN failed;
END
$$;
COMMENT ON FUNCTION retention.fail(bigint[], text, boolean) IS
  'Says that claimed messages could not be sent: they are ready again after a minute, then two, four, up to six hours; after twelve attempts, or when the failure is permanent, they are dead. Returns their number.';

CREATE OR REPLACE FUNCTION retention.approve(message_ids bigint[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  approved bigint;
BEGIN
  -- From now on they are as late as they were when they were held.
  UPDATE retention.message m SET state = 'ready', reason = NULL, ready_at = retention.now(), expires_at = m.expires_at + (retention.now() - m.queued_at)
    WHERE m.message_id = ANY (message_ids) AND m.state = 'held' AND m.reason = 'approval';
  GET DIAGNOSTICS approved = ROW_COUNT;
  PERFORM pg_notify('retention_message', c.channel) FROM (SELECT DISTINCT m.channel FROM retention.message m WHERE m.message_id = ANY (message_ids) AND m.state = 'ready') AS c;
  RETURN approved;
END
$$;
COMMENT ON FUNCTION retention.approve(bigint[]) IS 'Lets messages go that were held for approval. Returns their number.';

CREATE OR REPLACE FUNCTION retention.cancel(message_ids bigint[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  cancelled bigint;
BEGIN
  UPDATE retention.message m SET state = 'suppressed', reason = 'cancelled'
    WHERE m.message_id = ANY (message_ids) AND m.state IN ('held', 'ready');
  GET DIAGNOSTICS cancelled = ROW_COUNT;
  RETURN cancelled;
END
$$;
COMMENT ON FUNCTION retention.cancel(bigint[]) IS 'Has messages not be sent that are held or ready. Returns their number.';

-- Coupons.

CREATE OR REPLACE FUNCTION retention.import_coupons(pool text, codes text[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  imported bigint;
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention.coupon_pool p WHERE p.pool = import_coupons.pool AND p.length IS NULL),
    format('coupon pool %s does not exist, or generates its codes', coalesce('"' || pool || '"', 'null')), 'add_coupon_pool makes it.', 'undefined_object');
  PERFORM retention._check_length('a code', 'name', c)
    FROM unnest(codes) AS c WHERE coalesce(c, '') = '' OR retention._length_problem('name', c) IS NOT NULL;
  INSERT INTO retention.coupon (pool, code) SELECT import_coupons.pool, c FROM unnest(codes) AS c ORDER BY c ON CONFLICT ON CONSTRAINT coupon_pkey DO NOTHING;
  GET DIAGNOSTICS imported = ROW_COUNT;
  RETURN imported;
END
$$;
COMMENT ON FUNCTION retention.import_coupons(text, text[]) IS 'Adds codes to a pool; those that it has, or had, are left out. Returns how many were new.';

CREATE OR REPLACE FUNCTION retention.add_coupon_pool(
    pool text, codes text[] DEFAULT NULL, prefix text DEFAULT '', length integer DEFAULT 10, valid_for interval DEFAULT NULL)
  RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.coupon_pool p WHERE p.pool = add_coupon_pool.pool),
    format('coupon pool "%s" already exists', pool), 'import_coupons adds codes to it.', 'duplicate_object');
  PERFORM retention._check_length('the name of a coupon pool', 'name', pool);
  PERFORM retention._check_length('prefix', 'name', coalesce(nullif(prefix, ''), 'none'));
  PERFORM retention._check_span('valid_for', valid_for, 1, 'Leave it out for codes that are valid for ever.');
  PERFORM retention._reject_unless(codes IS NOT NULL OR length BETWEEN 6 AND 40, format('generated codes have 6 to 40 random characters, not %s', coalesce(length::text, 'null')));
  INSERT INTO retention.coupon_pool VALUES (pool, coalesce(prefix, ''), CASE WHEN codes IS NULL THEN length END, valid_for);
  IF codes IS NOT NULL THEN
    PERFORM retention.import_coupons(pool, codes);
  END IF;
  RETURN pool;
END
$$;
COMMENT ON FUNCTION retention.add_coupon_pool(text, text[], text, integer, interval) IS
  'Makes a pool of coupons: of the codes given, or of codes that are generated when they are issued, a prefix and so many random letters and digits. Returns its name.';
