-- What senders call: messages are claimed, and acknowledged or failed.

CREATE OR REPLACE FUNCTION retention._lease(channel text, taken bigint[], lease interval)
  RETURNS bigint[]
  -- Messages and contacts are looked up by key, however many more there are.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
  SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
  contacts retention._traveller[] := retention._contacts_of_messages(taken);
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
      SELECT n.node_id, f.status, coalesce((n.config -> 'transactional')::boolean,
                                           false) AS is_transactional,
             (v.document #>> '{quiet_hours,from}')::time AS quiet_from,
             (v.document #>> '{quiet_hours,until}')::time AS quiet_until,
             retention._flow_zone(v.document) AS zone,
             retention._address_apart(n.config, v.document) AS address_apart,
             (SELECT s.country FROM retention.metric s
              WHERE s.metric = coalesce(v.document ->> 'metric', 'orders')) AS country
      FROM retention.flow_node n JOIN retention.flow f USING (flow_id)
      JOIN retention.flow_version v ON (v.flow_id, v.version) = (n.flow_id, n.version)
      WHERE n.node_id IN (SELECT m.node_id FROM retention.message m WHERE m.message_id = ANY ($1))
      -- Who changes a status waits until this is over, and the other way round.
      FOR KEY SHARE OF f),
    -- Consent, address, time and quiet hours as they are now.
    found AS MATERIALIZED (
      SELECT m.message_id, %1$s AS address, CASE WHEN %1$s
        IS DISTINCT FROM m.address THEN r.address_apart END AS address_apart,
             r.status IN ('paused', 'draft') AS is_paused,
             CASE WHEN r.status = 'archived' THEN 'archived' WHEN t.outcome IS NULL
               OR $3 > m.expires_at THEN coalesce(%2$s, %3$s) END AS reason,
             CASE WHEN t.outcome IS NOT NULL THEN $3 + interval '1 hour'
                  WHEN NOT r.is_transactional
                    THEN retention._quiet_until($3, r.quiet_from, r.quiet_until,
                                                retention._zone((t.contact).time_zone,
                                                    r.zone)) END AS quiet_until,
             t.reason AS contact_error
      FROM retention.message m JOIN rule r USING (node_id)
      LEFT JOIN %4$s AS t ON t.customer_id = m.customer_id
      WHERE m.message_id = ANY ($1)),
    decided AS (
      SELECT f.*, CASE WHEN f.reason IS NOT NULL THEN 'suppressed' WHEN f.is_paused THEN 'held'
        WHEN f.quiet_until > $3 THEN 'ready' ELSE 'leased' END AS state
      FROM found f OFFSET 0),
    written AS (
      UPDATE retention.message m
      SET state = d.state, reason = CASE d.state WHEN 'held' THEN 'pause'
        WHEN 'suppressed' THEN d.reason END, address = coalesce(d.address, m.address),
          ready_at = CASE d.state WHEN 'leased' THEN $3 + $4 WHEN 'ready' THEN d.quiet_until
            ELSE m.ready_at END,
          attempts = m.attempts + (d.state = 'leased')::integer,
          last_error = coalesce(d.contact_error, m.last_error)
      FROM decided d WHERE m.message_id = d.message_id
      RETURNING m.message_id, m.state, m.flow_id, m.node, m.address, m.customer_id, d.address_apart)
    SELECT coalesce(array_agg(w.message_id), '{}'),
           array_agg(retention._asked_grant(w.flow_id, w.node, w.address, w.customer_id,
                                            w.message_id,
                                            $3, w.address_apart))
             FILTER (WHERE w.address_apart IS NOT NULL)
    FROM written w WHERE w.state = 'leased'$query$,
    format('retention._normal_address(m.channel, %s, %s)', address, country),
    retention._unsendable('m.channel', address,
                          coalesce('(t.contact).' || quote_ident(kind.consent), 'true'),
                          'r.is_transactional',
                          '$3 > m.expires_at',
                          retention._suppressed('m.channel', address, country)),
    -- Of a message that was revived: somebody else may have its code by now.
    $q$CASE WHEN m.context #>> '{coupon,code}' IS NOT NULL
                 AND NOT EXISTS (SELECT FROM retention.coupon k
                                 WHERE k.enrollment_id = m.enrollment_id
                                   AND k.code = m.context #>> '{coupon,code}')
            THEN 'coupon is gone' END$q$,
    -- Our own can be joined, and there is one of each customer.
    CASE WHEN contacts IS NULL
         THEN '(SELECT c.customer_id, c AS contact, NULL AS outcome, NULL AS reason FROM '
              'retention.contact c)'
         ELSE 'unnest($2)' END)
    INTO leased, asked USING taken, contacts, retention.now(), lease;
  -- Another customer may have an address that is new.
  suppressed := retention._one_per_address(asked);
  RETURN ARRAY(SELECT l FROM unnest(leased) AS l WHERE l <> ALL (coalesce(suppressed, '{}')));
END
$$;
COMMENT ON FUNCTION retention._lease(text, bigint[], interval) IS
  'Leases those of some locked messages that may be sent, to the address that the contact has '
  'now. Of the others it says why not, or until when they wait. Returns the leased ones.';

CREATE OR REPLACE FUNCTION retention.claim_messages(
    channel text, "limit" integer DEFAULT 100, lease interval DEFAULT '5 minutes')
  RETURNS SETOF retention.claimed_message
  LANGUAGE plpgsql ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET TimeZone = 'UTC'
AS $$
DECLARE
  claimed bigint[] := '{}';
  taken bigint[];
BEGIN
  PERFORM retention._check_channel(channel);
  PERFORM retention._reject_unless("limit" > 0,
                                   format('limit must be 1 or more, not %s',
                                          coalesce("limit"::text, 'null')));
  PERFORM retention._check_needed_span('lease', lease);
  IF retention._is_copy() THEN
    RAISE WARNING 'no message is claimed: flows were made live in another database, of which this '
                  'one is a copy, or has taken its place'
      USING HINT = 'An admin can have messages sent from here: SELECT retention.resume_here(); '
                   'docs/operations.md tells of copies.';
    RETURN;
  END IF;
  LOOP
    -- One whose lease has run out is there again: its sender may have died.
    taken := ARRAY(
      SELECT m.message_id FROM retention.message m
      WHERE m.channel = claim_messages.channel AND m.state IN ('ready', 'leased')
        AND m.ready_at <= retention.now()
      ORDER BY m.ready_at, m.message_id LIMIT "limit" - cardinality(claimed)
        FOR UPDATE SKIP LOCKED);
    EXIT WHEN taken = '{}';
    claimed := claimed || retention._lease(channel, taken, lease);
    EXIT WHEN cardinality(claimed) >= "limit";
  END LOOP;
  RETURN QUERY
    SELECT m.message_id, m.idempotency_key, f.flow, m.node, m.customer_id, m.channel, m.address,
           m.subject, m.body, m.text, m.context, m.attempts, m.ready_at
    FROM retention.message m JOIN retention.flow f USING (flow_id)
    WHERE m.message_id = ANY (claimed) ORDER BY m.message_id;
END
$$;
COMMENT ON FUNCTION retention.claim_messages(text, integer, interval) IS
  'The next messages of a channel that are ready, for a sender, which has until the end of the '
  'lease to ack or fail them. Consent, suppression, lateness and quiet hours are checked once '
  'more. Commit before sending.';

CREATE OR REPLACE FUNCTION retention.ack(
    message_ids bigint[], sent_at timestamptz DEFAULT retention.now())
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  acknowledged bigint;
  oldest timestamptz;
BEGIN
  PERFORM retention._check_clock(sent_at, 'sent_at');
  SELECT min(m.queued_at) INTO oldest FROM retention.message m
    WHERE m.message_id = ANY (message_ids);
  -- Clocks of senders differ, but not by more.
  PERFORM retention._reject_unless(
    sent_at <= retention.now() + interval '1 day'
      AND coalesce(sent_at >= oldest - interval '1 day', true),
    format('sent_at must be between when a message was written and now, not %s', sent_at),
    'Leave it out for now.');
  -- Also when the lease has run out meanwhile: it has been sent.
  UPDATE retention.message m SET state = 'sent', reason = NULL, sent_at = ack.sent_at,
      last_error = NULL
    WHERE m.message_id = ANY (message_ids) AND m.attempts > 0
      AND (m.state IN ('ready', 'leased', 'held', 'dead') OR m.reason = 'forgotten');
  GET DIAGNOSTICS acknowledged = ROW_COUNT;
  RETURN acknowledged;
END
$$;
COMMENT ON FUNCTION retention.ack(bigint[], timestamptz) IS
  'Says that claimed messages have been sent. Returns how many were not known to be.';

CREATE OR REPLACE FUNCTION retention._most_attempts() RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN 12;
COMMENT ON FUNCTION retention._most_attempts() IS
  'How often it is tried to send a message: over about a day.';

CREATE OR REPLACE FUNCTION retention.fail(
    message_ids bigint[], error text, permanent boolean DEFAULT false)
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  failed bigint;
BEGIN
  PERFORM retention._reject_unless(fail.error IS NOT NULL, 'the error must not be null',
    'Say what the sender was told: health shows it to whoever mends it.', 'null_value_not_allowed');
  UPDATE retention.message m
    SET state = CASE WHEN permanent OR m.attempts >= retention._most_attempts() THEN 'dead'
      ELSE 'ready' END,
        ready_at = retention.now() + retention._retry_after(m.attempts, '6 hours'),
        last_error = error
    WHERE m.message_id = ANY (message_ids) AND m.state = 'leased';
  GET DIAGNOSTICS failed = ROW_COUNT;
  RETURN failed;
END
$$;
COMMENT ON FUNCTION retention.fail(bigint[], text, boolean) IS
  'Says that claimed messages could not be sent: they are ready again after a minute, then two, '
  'four, up to six hours; after twelve attempts, or when the failure is permanent, they are dead. '
  'Returns their number.';

CREATE OR REPLACE FUNCTION retention.approve(message_ids bigint[]) RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  approved bigint;
BEGIN
  -- From now on they are as late as they were when they were held.
  UPDATE retention.message m SET state = 'ready', reason = NULL, ready_at = retention.now(),
      expires_at = m.expires_at + (retention.now() - m.queued_at)
    WHERE m.message_id = ANY (message_ids) AND m.state = 'held' AND m.reason = 'approval';
  GET DIAGNOSTICS approved = ROW_COUNT;
  PERFORM pg_notify('retention_message', c.channel)
    FROM (SELECT DISTINCT m.channel FROM retention.message m
          WHERE m.message_id = ANY (message_ids) AND m.state = 'ready') AS c;
  RETURN approved;
END
$$;
COMMENT ON FUNCTION retention.approve(bigint[]) IS
  'Lets messages go that were held for approval. Returns their number.';

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
COMMENT ON FUNCTION retention.cancel(bigint[]) IS
  'Has messages not be sent that are held or ready. Returns their number.';
