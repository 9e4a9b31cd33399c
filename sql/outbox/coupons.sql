-- Coupons: pools, and issuing codes.

CREATE OR REPLACE FUNCTION retention._random_code(length integer) RETURNS text
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- From a strong source, by 32 characters that are not taken for each other.
  SELECT string_agg(substr('23456789ABCDEFGHJKLMNPQRSTUVWXYZ', 1 + get_byte(random.bytes, i) % 32,
                           1), '' ORDER BY i)
  FROM (SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
               || sha256(uuid_send(gen_random_uuid())
                         || uuid_send(gen_random_uuid())) AS bytes) AS random,
       generate_series(0, length - 1) AS i
$$;
COMMENT ON FUNCTION retention._random_code(integer) IS 'A code that cannot be guessed.';

CREATE OR REPLACE FUNCTION retention._uses_coupon(message jsonb) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT
                 FROM (VALUES ('subject'), ('body'), ('text'), ('url')) AS t (key),
                      unnest(retention.template_variables(message ->> t.key)) AS v
                 WHERE v ~ '^coupon([.]|$)')
$$;
COMMENT ON FUNCTION retention._uses_coupon(jsonb) IS
  'Whether a message''s templates show a coupon.';

CREATE OR REPLACE FUNCTION retention._coupon_messages(node_id integer)
  RETURNS SETOF retention.flow_node
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE way AS (
    SELECT _coupon_messages.node_id
    UNION SELECT unnest(n.targets) FROM way JOIN retention.flow_node n USING (node_id))
  SELECT n.* FROM way JOIN retention.flow_node n USING (node_id)
  WHERE n.type = 'message' AND retention._uses_coupon(n.config)
$$;
COMMENT ON FUNCTION retention._coupon_messages(integer) IS
  'The messages that show a coupon, at a node and behind it.';

CREATE OR REPLACE FUNCTION retention._coupon_condition(node retention.flow_node, metric text)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    string_agg(DISTINCT format('(%s) IS NULL',
                               retention._unsendable(quote_literal(c.channel), address.expression,
        coalesce('(t.contact).' || c.consent, 'true'),
        coalesce(m.config ->> 'transactional', 'false'), 'false',
        retention._suppressed(quote_literal(c.channel), address.expression,
          retention._country('(t.contact).country', metric)))), ' OR ')
      FILTER (WHERE m.status <> 'draft'),
    (count(*) = 0)::text)
  FROM retention._coupon_messages(node.node_id) AS m
  JOIN retention._channels() AS c ON c.channel = m.config ->> 'channel'
  CROSS JOIN LATERAL (SELECT coalesce('(t.contact).' || c.address,
                                      $x$'url'$x$) AS expression) AS address
$$;
COMMENT ON FUNCTION retention._coupon_condition(retention.flow_node, text) IS
  'The condition that a traveller t can be written to by one of the messages that show the coupon '
  'of a node; where there is none, all can.';

CREATE OR REPLACE FUNCTION retention._generate_coupons(
    source retention.coupon_pool, node text, travellers retention._traveller[], as_of timestamptz)
  RETURNS void
  -- OFFSET has each traveller's code looked up by key, however many there are, and whatever was
  -- planned when there were few.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
BEGIN
  -- A code that is there already is drawn anew; a pool that is as good as full gives no more.
  FOR attempt IN 1 .. 20 LOOP
    INSERT INTO retention.coupon (pool, code, enrollment_id, node, customer_id, issued_at,
                                  expires_at)
      SELECT source.pool, source.prefix || retention._random_code(source.length), t.enrollment_id,
             _generate_coupons.node, t.customer_id, as_of, as_of + retention._span(source.valid_for)
      FROM unnest(travellers) AS t
      ON CONFLICT ON CONSTRAINT coupon_pkey DO NOTHING;
    travellers := ARRAY(SELECT t FROM unnest(travellers) AS t
                        WHERE NOT EXISTS (SELECT FROM retention.coupon c
                                          WHERE (c.enrollment_id, c.node) = (t.enrollment_id,
                                              _generate_coupons.node) OFFSET 0));
    EXIT WHEN travellers = '{}';
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._generate_coupons(
  retention.coupon_pool, text, retention._traveller[], timestamptz) IS
  'Issues a new code to each traveller.';

CREATE OR REPLACE FUNCTION retention._hand_out_coupons(
    source retention.coupon_pool, node text, travellers retention._traveller[], as_of timestamptz)
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH free AS MATERIALIZED (
    SELECT c.code FROM retention.coupon c WHERE c.pool = (source).pool AND c.issued_at IS NULL
    ORDER BY c.code LIMIT cardinality(travellers) FOR UPDATE SKIP LOCKED)
  UPDATE retention.coupon c
    SET enrollment_id = t.enrollment_id, node = _hand_out_coupons.node, customer_id = t.customer_id,
        issued_at = as_of, expires_at = as_of + retention._span((source).valid_for)
    FROM (SELECT code, row_number() OVER (ORDER BY code) AS number FROM free) AS f
    JOIN (SELECT u.enrollment_id, u.customer_id,
                 row_number() OVER (ORDER BY u.enrollment_id) AS number
                   FROM unnest(travellers) AS u) AS t USING (number)
    WHERE c.pool = (source).pool AND c.code = f.code
$$;
COMMENT ON FUNCTION retention._hand_out_coupons(
  retention.coupon_pool, text, retention._traveller[], timestamptz) IS
  'Issues imported codes as far as there are any. No code is issued twice: whoever takes one has '
  'locked it.';

CREATE OR REPLACE FUNCTION retention._issue_coupons(
    node retention.flow_node, metric text, travellers retention._traveller[], as_of timestamptz)
  RETURNS retention._traveller[]
  -- As _generate_coupons.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  source retention.coupon_pool;
  asking retention._traveller[];
BEGIN
  SELECT * INTO source FROM retention.coupon_pool p WHERE p.pool = node.config ->> 'pool';
  -- Whoever has one already, from an attempt before, or an older version, keeps it. Who cannot be
  -- written to goes on without.
  EXECUTE format('SELECT coalesce(array_agg(t ORDER BY t.enrollment_id), ''{}'') FROM unnest($1) '
                 'AS t
                  WHERE NOT t.is_holdout AND NOT EXISTS (
                    SELECT FROM retention.coupon c
                    WHERE (c.enrollment_id, c.node) = (t.enrollment_id, $2) OFFSET 0) AND (%s)',
                 retention._coupon_condition(node, metric))
    INTO asking USING travellers, node.node;
  IF source.length IS NOT NULL THEN
    PERFORM retention._generate_coupons(source, node.node, asking, as_of);
  ELSE
    PERFORM retention._hand_out_coupons(source, node.node, asking, as_of);
  END IF;
  RETURN (
    SELECT array_agg(retention._with_fields(t, 'reason', CASE WHEN n.lacks_code THEN 'exhausted'
                                            END))
    FROM unnest(travellers) AS t,
         LATERAL (SELECT t.enrollment_id IN (
                    SELECT a.enrollment_id FROM unnest(asking) AS a
                    WHERE NOT EXISTS (SELECT FROM retention.coupon c
                                      WHERE (c.enrollment_id, c.node) = (a.enrollment_id, node.node)
                                      OFFSET 0)) AS lacks_code) AS n);
END
$$;
COMMENT ON FUNCTION retention._issue_coupons(
  retention.flow_node, text, retention._traveller[], timestamptz) IS
  'Issues a code to each traveller who can be written to. Those for whom there is none have the '
  'reason "exhausted" afterwards.';

CREATE OR REPLACE FUNCTION retention._return_coupons(enrollment_ids bigint[]) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH issued AS MATERIALIZED (
    SELECT c.pool, c.code, p.length IS NULL AS is_imported, e.enrollment_id, e.node_id, e.due_at,
           issuer.node_id AS issuer_id
    FROM retention.coupon c JOIN retention.coupon_pool p USING (pool)
    JOIN retention.enrollment e USING (enrollment_id)
    JOIN retention.flow_node here ON here.node_id = e.node_id
    JOIN retention.flow_node issuer
      ON (issuer.flow_id, issuer.version, issuer.node) = (here.flow_id, here.version, c.node)
    WHERE c.enrollment_id = ANY (enrollment_ids)),
  -- What templates show is asked once for each node, not for each customer.
  ahead AS MATERIALIZED (
    SELECT n.node_id, m.config
    FROM (SELECT i.node_id FROM issued i UNION SELECT i.issuer_id FROM issued i) AS n,
         retention._coupon_messages(n.node_id) AS m),
  showing AS MATERIALIZED (
    SELECT n.node_id FROM retention.flow_node n
    WHERE n.node_id IN (SELECT m.node_id FROM issued i
                        JOIN retention.message m USING (enrollment_id))
      AND retention._uses_coupon(n.config)),
  needless AS MATERIALIZED (
    SELECT i.pool, i.code, i.is_imported FROM issued i
    -- It was given for a message, and none that shows it was sent, or still may be: nobody has seen
    -- it.
    WHERE EXISTS (SELECT FROM ahead a WHERE a.node_id = i.issuer_id)
      AND NOT EXISTS (
        SELECT FROM retention.message m
        WHERE m.enrollment_id = i.enrollment_id AND m.node_id IN (SELECT s.node_id FROM showing s)
          AND coalesce(m.context #>> '{coupon,code}' = i.code, m.context IS NULL)
          AND (retention._may_reach(m.state) OR m.attempts > 0 AND m.state <> 'dead'))
      -- Nor will one be written: on the channels of those that are left the customer cannot be
      -- written to.
      AND (i.due_at IS NULL OR NOT EXISTS (
        SELECT FROM ahead b
        WHERE b.node_id = i.node_id AND NOT EXISTS (
          SELECT FROM retention.message m
          WHERE m.enrollment_id = i.enrollment_id AND m.channel = b.config ->> 'channel'
            AND (m.reason IN ('no address', 'suppression list')
                 OR m.reason = 'no consent'
                 AND NOT coalesce((b.config -> 'transactional')::boolean, false)))))),
  deleted AS (
    DELETE FROM retention.coupon c USING needless n
    WHERE (c.pool, c.code) = (n.pool, n.code) AND NOT n.is_imported)
  UPDATE retention.coupon c SET enrollment_id = NULL, node = NULL, customer_id = NULL,
      issued_at = NULL, expires_at = NULL
    FROM needless n WHERE (c.pool, c.code) = (n.pool, n.code) AND n.is_imported
$$;
COMMENT ON FUNCTION retention._return_coupons(bigint[]) IS
  'Takes codes back from enrollments that need them no more, and whose customers have not seen '
  'them: imported ones are free again.';

CREATE OR REPLACE FUNCTION retention._release_coupon() RETURNS trigger
  -- Whoever may write messages needs no other right.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.message');
  PERFORM retention._return_coupons(ARRAY[NEW.enrollment_id]);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._release_coupon() IS
  'Trigger: takes the code back that a message would have shown.';

CREATE OR REPLACE FUNCTION retention._add_codes(pool text, codes text[]) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  added bigint;
BEGIN
  PERFORM retention._check_length('a code', 'name', c)
    FROM unnest(codes) AS c
    WHERE coalesce(c, '') = '' OR retention._length_problem('name', c) IS NOT NULL;
  INSERT INTO retention.coupon (pool, code) SELECT _add_codes.pool, c FROM unnest(codes) AS c
  ORDER BY c ON CONFLICT ON CONSTRAINT coupon_pkey DO NOTHING;
  GET DIAGNOSTICS added = ROW_COUNT;
  RETURN added;
END
$$;
COMMENT ON FUNCTION retention._add_codes(text, text[]) IS
  'Adds codes to a pool; those that it has, or had, are left out. Returns how many were new.';

CREATE OR REPLACE FUNCTION retention._check_same_pool(
    stored retention.coupon_pool, codes text[], valid_for interval)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(codes IS NOT NULL,
    format('coupon pool "%s" already exists', stored.pool),
    CASE WHEN stored.length IS NULL THEN 'codes => ... adds codes to it.'
         ELSE 'It generates its codes.' END, 'duplicate_object');
  PERFORM retention._reject_unless(stored.length IS NULL,
    format('coupon pool "%s" generates its codes', stored.pool),
    'A pool of another name can have codes of your own.', 'object_not_in_prerequisite_state');
  PERFORM retention._reject_unless(coalesce(valid_for = stored.valid_for, valid_for IS NULL),
    format('codes of coupon pool "%s" are valid for %s, not for %s', stored.pool,
           coalesce(stored.valid_for::text, 'ever'), valid_for),
    'Leave valid_for out, or add another pool.', 'object_not_in_prerequisite_state');
END
$$;
COMMENT ON FUNCTION retention._check_same_pool(retention.coupon_pool, text[], interval) IS
  'Rejects what cannot be added to a pool that there is already.';

CREATE OR REPLACE FUNCTION retention.add_coupon_pool(
    pool text, codes text[] DEFAULT NULL, prefix text DEFAULT '', length integer DEFAULT 10,
    valid_for interval DEFAULT NULL)
  RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored retention.coupon_pool;
BEGIN
  SELECT * INTO stored FROM retention.coupon_pool p WHERE p.pool = add_coupon_pool.pool;
  IF FOUND THEN
    PERFORM retention._check_same_pool(stored, codes, valid_for);
    RETURN retention._add_codes(pool, codes);
  END IF;
  PERFORM retention._check_length('the name of a coupon pool', 'name', pool);
  PERFORM retention._check_length('prefix', 'name', coalesce(nullif(prefix, ''), 'none'));
  PERFORM retention._check_span('valid_for', valid_for, 1,
                                'Leave it out for codes that are valid for ever.');
  PERFORM retention._reject_unless(codes IS NOT NULL OR length BETWEEN 6 AND 40,
                                   format('generated codes have 6 to 40 random characters, not %s',
                                          coalesce(length::text, 'null')));
  INSERT INTO retention.coupon_pool
    VALUES (pool, coalesce(prefix, ''), CASE WHEN codes IS NULL THEN length END, valid_for);
  RETURN retention._add_codes(pool, codes);
END
$$;
COMMENT ON FUNCTION retention.add_coupon_pool(text, text[], text, integer, interval) IS
  'Makes a pool of coupons: of the codes given, or of codes that are generated when they are '
  'issued, a prefix and so many random letters and digits. Adds codes to a pool that there is '
  'already; those that it has, or had, are left out. Returns how many codes were new.';
