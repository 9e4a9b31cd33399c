-- The outbox: messages are written at the end of a tick, and claimed by senders. Coupons.

CREATE OR REPLACE FUNCTION retention._apart(channel text, smart_sending jsonb) RETURNS interval
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN smart_sending = 'false' THEN NULL ELSE coalesce(retention._span((smart_sending #>> '{}')::interval), (SELECT c.apart FROM retention._channels() c WHERE c.channel = _apart.channel)) END
$$;
COMMENT ON FUNCTION retention._apart(text, jsonb) IS 'How far apart smart sending keeps a message from the one before; null: it does not.';

CREATE OR REPLACE FUNCTION retention._write_messages(queued retention.queued_message[], as_of timestamptz) RETURNS void
  -- Planned for so many messages as there are; how many pass a filter is not known, so they are joined by hash.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET enable_nestloop = off SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
  channels text[];
BEGIN
  WITH node AS MATERIALIZED (
    SELECT n.node_id, n.node, n.config ->> 'channel' AS channel, n.config ->> 'subject' AS subject, n.config ->> 'body' AS body,
           n.config ->> 'text' AS text, n.config ->> 'url' AS url,
           coalesce((n.config -> 'transactional')::boolean, false) AS is_transactional,
           retention._apart(n.config ->> 'channel', n.config -> 'smart_sending') AS apart,
           retention._span(coalesce(n.config ->> 'lateness', '1 day')::interval) AS lateness,
           f.status = 'manual' OR coalesce(s.status, n.config ->> 'status') = 'manual' AS needs_approval
    FROM retention.flow_node n JOIN retention.flow f ON f.flow_id = n.flow_id
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
    ON CONFLICT (customer_id, channel) DO UPDATE SET queued_at = excluded.queued_at, apart = excluded.apart, previous_at = l.queued_at
      WHERE l.queued_at <= excluded.queued_at - excluded.apart
    RETURNING customer_id, channel, previous_at),
  -- Of several to one customer on one channel the first that is far enough from the last one goes, and those that go in any case.
  apart AS (
    SELECT c.enrollment_id, c.node_id
    FROM (SELECT c.*, min(c.turn) FILTER (WHERE c.is_far) OVER (PARTITION BY c.customer_id, c.channel) AS first
          FROM (SELECT c.*, c.apart IS NULL OR coalesce(g.previous_at <= as_of - c.apart, true) AS is_far FROM counted c JOIN granted g USING (customer_id, channel)) AS c) AS c
    WHERE c.apart IS NULL OR c.turn = c.first),
  decided AS (
    SELECT w.*, CASE WHEN w.reason IS NOT NULL OR w.error IS NOT NULL OR w.is_transactional OR w.apart IS NULL THEN w.reason
                     WHEN (w.enrollment_id, w.node_id) NOT IN (SELECT a.enrollment_id, a.node_id FROM apart a) THEN 'smart sending' END AS skipped
    FROM written w OFFSET 0),
  inserted AS (
    INSERT INTO retention.message (enrollment_id, flow_id, node_id, queued_at, ready_at, expires_at, node, channel, state, reason, customer_id, address,
                                   subject, body, text, context)
    SELECT d.enrollment_id, d.flow_id, d.node_id, as_of, as_of, d.due_at + d.lateness, d.node, d.channel, state.name,
           CASE WHEN state.name = 'held' THEN 'approval' ELSE coalesce(d.error, d.skipped) END, d.customer_id, coalesce(d.url, d.address),
           CASE WHEN state.is_kept THEN d.subject END, CASE WHEN state.is_kept THEN d.body END, CASE WHEN state.is_kept THEN d.text END, d.context
    FROM decided d,
    LATERAL (SELECT CASE WHEN d.skipped = 'holdout' THEN 'ghost' WHEN d.skipped IS NOT NULL THEN 'suppressed' WHEN d.error IS NOT NULL THEN 'error'
                         WHEN d.needs_approval THEN 'held' ELSE 'ready' END) AS chosen (name),
    LATERAL (SELECT chosen.name, chosen.name IN ('held', 'ready')) AS state (name, is_kept)
    ORDER BY d.enrollment_id, d.node_id
    ON CONFLICT (enrollment_id, node) DO NOTHING
    RETURNING channel, state)
  SELECT array_agg(DISTINCT i.channel) INTO channels FROM inserted i WHERE i.state = 'ready';
  PERFORM pg_notify('retention_message', c) FROM unnest(channels) AS c;
END
$$;
COMMENT ON FUNCTION retention._write_messages(retention.queued_message[], timestamptz) IS
  'Renders messages and writes them to the outbox, ready, held or not to be sent, with the reason; and tells who listens.';

CREATE OR REPLACE FUNCTION retention._lease(channel text, taken bigint[], lease interval) RETURNS bigint[]
  -- Messages and contacts are looked up by key, however many more there are.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
  customer_ids text[] := ARRAY(SELECT DISTINCT m.customer_id FROM retention.message m WHERE m.message_id = ANY (taken));
  kind record;
  leased bigint[];
BEGIN
  SELECT * INTO kind FROM retention._channels() c WHERE c.channel = _lease.channel;
  EXECUTE format($query$
    WITH contact AS MATERIALIZED (%1$s),
    rule AS MATERIALIZED (
      SELECT n.node_id, f.status, coalesce((n.config -> 'transactional')::boolean, false) AS is_transactional,
             (v.document #>> '{quiet_hours,from}')::time AS quiet_from, (v.document #>> '{quiet_hours,until}')::time AS quiet_until, retention._flow_zone(v.document) AS zone
      FROM retention.flow_node n JOIN retention.flow f USING (flow_id) JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
      WHERE n.node_id IN (SELECT m.node_id FROM retention.message m WHERE m.message_id = ANY ($1))
      -- Who changes a status waits until this is over, and the other way round.
      FOR KEY SHARE OF f),
    -- Consent, address, time and quiet hours as they are now.
    found AS MATERIALIZED (
      SELECT m.message_id, %2$s AS address, r.status IN ('paused', 'draft') AS is_paused, CASE r.status WHEN 'archived' THEN 'archived' ELSE %3$s END AS reason,
             CASE WHEN NOT r.is_transactional THEN retention._quiet_until($3, r.quiet_from, r.quiet_until, retention._zone(c.time_zone, r.zone)) END AS quiet_until
      FROM retention.message m JOIN rule r USING (node_id) LEFT JOIN contact c ON c.customer_id = m.customer_id
      WHERE m.message_id = ANY ($1)),
    decided AS (
      SELECT f.*, CASE WHEN f.reason IS NOT NULL THEN 'suppressed' WHEN f.is_paused THEN 'held' WHEN f.quiet_until > $3 THEN 'ready' ELSE 'leased' END AS state
      FROM found f OFFSET 0),
    written AS (
      UPDATE retention.message m
      SET state = d.state, reason = CASE d.state WHEN 'held' THEN 'pause' ELSE d.reason END, address = coalesce(d.address, m.address),
          ready_at = CASE d.state WHEN 'leased' THEN $3 + $4 WHEN 'ready' THEN d.quiet_until ELSE m.ready_at END,
          attempts = m.attempts + (d.state = 'leased')::integer
      FROM decided d WHERE m.message_id = d.message_id
      RETURNING m.message_id, m.state)
    SELECT array_agg(w.message_id) FROM written w WHERE w.state = 'leased'$query$,
    retention._contact_query(retention._contact_relation(), customer_ids), coalesce('c.' || quote_ident(kind.address), 'm.address'),
    retention._unsendable('m.channel', coalesce('c.' || quote_ident(kind.address), 'm.address'), coalesce('c.' || quote_ident(kind.consent), 'true'), 'r.is_transactional', '$3 > m.expires_at'))
    INTO leased USING taken, customer_ids, retention.now(), lease;
  RETURN leased;
END
$$;
COMMENT ON FUNCTION retention._lease(text, bigint[], interval) IS
  'Leases those of some locked messages that may be sent, to the address that the contact has now. Of the others it says why not, or until when they wait. Returns the leased ones.';

CREATE OR REPLACE FUNCTION retention.claim_messages(channel text, "limit" integer DEFAULT 100, lease interval DEFAULT '5 minutes')
  RETURNS SETOF retention.claimed_message
  LANGUAGE plpgsql ROWS 100 SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $$
DECLARE
  claimed bigint[] := '{}';
  taken bigint[];
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention._channels() c WHERE c.channel = claim_messages.channel),
    format('channel %s does not exist', coalesce('"' || channel || '"', 'null')), 'The channels are email, sms, push and webhook.');
  PERFORM retention._reject_unless("limit" > 0, format('limit must be 1 or more, not %s', coalesce("limit"::text, 'null')));
  PERFORM retention._check_span('lease', coalesce(lease, '0'), 1);
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
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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

CREATE OR REPLACE FUNCTION retention._retry_after(attempts integer) RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN attempts < 12 THEN least(interval '1 minute' * 2 ^ (attempts - 1), interval '6 hours') END;
COMMENT ON FUNCTION retention._retry_after(integer) IS 'How long to wait after so many failed attempts; null: it was the last one.';

CREATE OR REPLACE FUNCTION retention.fail(message_ids bigint[], error text, permanent boolean DEFAULT false) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failed bigint;
BEGIN
  UPDATE retention.message m
    SET state = CASE WHEN permanent OR retention._retry_after(m.attempts) IS NULL THEN 'dead' ELSE 'ready' END,
        ready_at = retention.now() + coalesce(retention._retry_after(m.attempts), '0'), last_error = error
    WHERE m.message_id = ANY (message_ids) AND m.state = 'leased';
  GET DIAGNOSTICS failed = ROW_COUNT;
  RETURN failed;
END
$$;
COMMENT ON FUNCTION retention.fail(bigint[], text, boolean) IS
  'Says that claimed messages could not be sent: they are ready again after a minute, then two, four, up to six hours; after twelve attempts, or when the failure is permanent, they are dead. Returns their number.';

CREATE OR REPLACE FUNCTION retention.approve(message_ids bigint[]) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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

CREATE OR REPLACE FUNCTION retention._random_code(length integer) RETURNS text
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- From a strong source, by 32 characters that are not taken for each other.
  SELECT string_agg(substr('23456789ABCDEFGHJKLMNPQRSTUVWXYZ', 1 + get_byte(random.bytes, i) % 32, 1), '' ORDER BY i)
  FROM (SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) || sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) AS bytes) AS random,
       generate_series(0, length - 1) AS i
$$;
COMMENT ON FUNCTION retention._random_code(integer) IS 'A code that cannot be guessed.';

CREATE OR REPLACE FUNCTION retention._issue_coupons(node retention.flow_node, travellers retention.traveller[], as_of timestamptz) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source retention.coupon_pool;
BEGIN
  SELECT * INTO source FROM retention.coupon_pool p WHERE p.pool = node.config ->> 'pool';
  -- Whoever has one already, from an attempt before, or an older version, keeps it.
  travellers := ARRAY(SELECT t FROM unnest(travellers) AS t
                      WHERE NOT t.is_holdout AND NOT EXISTS (SELECT FROM retention.coupon c WHERE (c.enrollment_id, c.node) = (t.enrollment_id, node.node))
                      ORDER BY t.enrollment_id);
  IF source.length IS NOT NULL THEN
    INSERT INTO retention.coupon (pool, code, enrollment_id, node, customer_id, issued_at, expires_at)
      SELECT source.pool, source.prefix || retention._random_code(source.length), t.enrollment_id, node.node, t.customer_id, as_of, as_of + retention._span(source.valid_for)
      FROM unnest(travellers) AS t;
  ELSE
    WITH free AS MATERIALIZED (
      SELECT c.code FROM retention.coupon c WHERE c.pool = source.pool AND c.issued_at IS NULL
      ORDER BY c.code LIMIT cardinality(travellers) FOR UPDATE SKIP LOCKED)
    UPDATE retention.coupon c SET enrollment_id = t.enrollment_id, node = _issue_coupons.node.node, customer_id = t.customer_id, issued_at = as_of, expires_at = as_of + retention._span(source.valid_for)
      FROM (SELECT code, row_number() OVER (ORDER BY code) AS number FROM free) AS f
      JOIN unnest(travellers) WITH ORDINALITY AS t (enrollment_id, flow_id, node_id, is_holdout, entered_at, since, due_at, customer_id, event,
                                                    properties, outcome, reason, is_new, is_changed, is_waiting, contact, number) USING (number)
      WHERE c.pool = source.pool AND c.code = f.code;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._issue_coupons(retention.flow_node, retention.traveller[], timestamptz) IS
  'Issues a code to each traveller as far as there are any. No code is issued twice: whoever takes one has locked it.';

CREATE OR REPLACE FUNCTION retention.forget(customer_id text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Who is about to enter has been written then; and whoever looks at changes takes the same rows in another order.
  PERFORM pg_advisory_xact_lock('retention.flow_entry'::regclass::oid::integer, 0);
  UPDATE retention.enrollment e
    SET customer_id = NULL, event = '{}', reason = NULL, due_at = NULL,
        outcome = coalesce(e.outcome, 'forgotten'), finished_at = coalesce(e.finished_at, retention.now())
    WHERE e.customer_id = forget.customer_id;
  UPDATE retention.message m
    SET customer_id = NULL, address = NULL, subject = NULL, body = NULL, text = NULL, context = NULL, last_error = NULL,
        state = CASE WHEN m.state IN ('held', 'ready', 'leased') THEN 'suppressed' ELSE m.state END,
        reason = CASE WHEN m.state IN ('held', 'ready', 'leased') THEN 'forgotten' WHEN m.state = 'error' THEN NULL ELSE m.reason END
    WHERE m.customer_id = forget.customer_id;
  UPDATE retention.coupon c SET customer_id = NULL WHERE c.customer_id = forget.customer_id;
  DELETE FROM retention.contact c WHERE c.customer_id = forget.customer_id;
  DELETE FROM retention.last_message l WHERE l.customer_id = forget.customer_id;
  DELETE FROM retention.flow_entry e WHERE e.customer_id = forget.customer_id;
END
$$;
COMMENT ON FUNCTION retention.forget(text) IS
  'Erases a person from flows: contact, events, rendered messages and what they were rendered with; ends the enrollments, and keeps rows without a name, for counts. Orders are the shop''s to erase; process_changes or refresh then removes the customer.';
