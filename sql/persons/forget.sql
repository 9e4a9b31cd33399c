-- Erases a person.

CREATE OR REPLACE FUNCTION retention._person_rooms()
  RETURNS TABLE (relation text, mirrors_orders boolean, forget text, merge text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- In this order: what later ones look up stands first, and members who leave are noted by flows.
  SELECT * FROM retention._persons_in_outbox()
  UNION ALL SELECT * FROM retention._persons_in_contacts()
  UNION ALL SELECT * FROM retention._persons_in_segments()
  UNION ALL SELECT * FROM retention._persons_in_customers()
  UNION ALL SELECT * FROM retention._persons_in_metrics()
  UNION ALL SELECT * FROM retention._persons_in_flows()
$$;
COMMENT ON FUNCTION retention._person_rooms() IS
  'The tables that know customers, and the statements by which one is forgotten, or becomes '
  'another: $1 is the key, $2 the one that it becomes, or the engine''s time. What mirrors the '
  'shop''s orders stays while it has orders of that person, or they would be news once more.';

CREATE OR REPLACE FUNCTION retention._take_over_person(
    is_forgotten boolean, has_orders boolean, customer_id text, argument text)
  RETURNS TABLE (relation text, rows bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  room record;
BEGIN
  FOR room IN SELECT r.relation, CASE WHEN is_forgotten THEN r.forget ELSE r.merge END AS statement
              FROM retention._person_rooms() AS r
              WHERE NOT (is_forgotten AND has_orders AND r.mirrors_orders)
  LOOP
    CONTINUE WHEN room.statement IS NULL;
    relation := room.relation;
    IF room.statement LIKE 'SELECT%' THEN
      EXECUTE room.statement INTO rows USING customer_id;
    ELSE
      EXECUTE room.statement USING customer_id, argument;
      GET DIAGNOSTICS rows = ROW_COUNT;
    END IF;
    CONTINUE WHEN rows = 0;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._take_over_person(boolean, boolean, text, text) IS
  'Forgets a person, or makes it another, in every table. Returns how many rows of which.';

CREATE OR REPLACE FUNCTION retention._lock_persons() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._lock_all();
  -- Who is about to enter has been written then; and whoever looks at changes takes the same rows
  -- in another order.
  PERFORM retention._take_lock('retention.flow_entry');
END
$$;
COMMENT ON FUNCTION retention._lock_persons() IS
  'Waits for refresh, process_changes and those who enter flows, and has them wait: first their '
  'locks, in their order, then rows.';

CREATE OR REPLACE FUNCTION retention._sources_with(customer_ids text[]) RETURNS text[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source retention.source;
  zone text;
  is_there boolean;
  names text[] := '{}';
BEGIN
  FOR source IN SELECT * FROM retention.source s ORDER BY s.source_id LOOP
    zone := (SELECT m.time_zone FROM retention.metric m WHERE m.metric = source.metric);
    BEGIN
      SELECT q.is_there INTO is_there
        FROM retention._query_of(source.relation,
               format('SELECT EXISTS (%s)', retention._keyed_source_query(source, zone,
                   customer_ids))) AS q (is_there boolean);
    EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
      IF retention._ends_call(SQLSTATE) THEN
        RAISE;
      END IF;
      is_there := true; -- for all that is known
    END;
    IF is_there AND source.relation::text <> ALL (names) THEN
      names := names || source.relation::text;
    END IF;
  END LOOP;
  RETURN names;
END
$$;
COMMENT ON FUNCTION retention._sources_with(text[]) IS
  'The sources that have rows of some customers, or cannot be read.';

CREATE OR REPLACE FUNCTION retention._contact_of(customer_id text) RETURNS retention.contact
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT (c.moved[1]).contact
          FROM retention._with_contacts(ARRAY[retention._bystander(customer_id)],
                                        retention.now()) AS c);
END
$$;
COMMENT ON FUNCTION retention._contact_of(text) IS
  'The contact of one customer, wherever contacts are.';

CREATE OR REPLACE FUNCTION retention._addresses_of(customer_id text, contact retention.contact)
  RETURNS TABLE (channel text, address text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT a.channel, s.spelling
  FROM (SELECT c.channel, to_jsonb(contact) ->> c.address::text AS address
        FROM retention._channels() AS c
        UNION SELECT m.channel, m.address FROM retention.message m
          WHERE m.customer_id = _addresses_of.customer_id) AS a,
       unnest(retention._address_spellings(a.channel, a.address,
                                           coalesce((contact).country,
                                                    (SELECT m.country FROM retention.metric m
                                                     WHERE m.metric = 'orders')))) AS s (spelling)
  WHERE a.address <> ''
$$;
COMMENT ON FUNCTION retention._addresses_of(text, retention.contact) IS
  'Where a person is, or was, written to, in all spellings.';

CREATE OR REPLACE FUNCTION retention._forget_addresses(keep text, channels text[], addresses text[])
  RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  removed retention.suppression[];
BEGIN
  IF keep = 'address' THEN
    RETURN 0;
  END IF;
  WITH gone AS (
    DELETE FROM retention.suppression s USING unnest(channels, addresses) AS a (channel, address)
    WHERE s.channel = a.channel AND retention._normal_address(s.channel, s.address,
        NULL) COLLATE "C" = a.address RETURNING s.*)
  SELECT array_agg(g::retention.suppression) INTO removed FROM gone g;
  IF keep = 'hash' AND removed IS NOT NULL THEN
    INSERT INTO retention.secret (purpose, key)
      VALUES ('suppression', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
        ON CONFLICT DO NOTHING;
    -- Under every spelling: which of them is the normal one depends on the country that is known
    -- then.
    INSERT INTO retention.suppression (channel, address, reason, suppressed_at)
      SELECT a.channel, retention._keyed_hash((SELECT s.key FROM retention.secret s
                                               WHERE s.purpose = 'suppression'), a.address),
                                               min(r.reason), min(r.suppressed_at)
      FROM unnest(removed) AS r
      JOIN unnest(channels, addresses) AS a (channel, address) USING (channel)
      GROUP BY a.channel, a.address ON CONFLICT DO NOTHING;
  END IF;
  RETURN coalesce(cardinality(removed), 0);
END
$$;
COMMENT ON FUNCTION retention._forget_addresses(text, text[], text[]) IS
  'Takes addresses off the suppression list, or leaves only their keyed hashes there. Returns the '
  'number of rows.';

CREATE OR REPLACE FUNCTION retention._values_of(customer_id text, contact retention.contact)
  RETURNS text[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- What an error may quote. Short ones would be found in every text.
  SELECT array_agg(DISTINCT v.value)
  FROM (SELECT to_jsonb(contact) UNION ALL SELECT to_jsonb(_values_of.customer_id)
        UNION ALL SELECT e.event FROM retention.enrollment e
          WHERE e.customer_id = _values_of.customer_id
        UNION ALL SELECT m.context || to_jsonb(m.address) FROM retention.message m
          WHERE m.customer_id = _values_of.customer_id
        -- Not what is no person's: relations may be named so.
        UNION ALL SELECT to_jsonb(o) - '{metric,kind}'::text[] FROM retention.order_event o
          WHERE o.customer_id = _values_of.customer_id
        UNION ALL SELECT to_jsonb(c) - '{metric,rfm_group,previous_rfm_group}'::text[]
        FROM retention.customer c WHERE c.customer_id = _values_of.customer_id) AS d (document),
       jsonb_path_query(d.document,
                        'strict $.** ? (@.type() == "string" || @.type() == "number")') AS leaf,
       LATERAL (SELECT leaf #>> '{}') AS v (value)
  WHERE length(v.value) >= 4
$$;
COMMENT ON FUNCTION retention._values_of(text, retention.contact) IS
  'Texts and numbers that are known of a person.';

CREATE OR REPLACE FUNCTION retention._forget_errors(personal text[])
  RETURNS TABLE (relation text, rows bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  place record;
BEGIN
  -- The texts of errors, wherever a table has them.
  FOR place IN
    SELECT c.relname::text AS relation FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
      AND NOT a.attisdropped
      AND a.atttypid = 'text'::regtype AND a.attname = 'error' ORDER BY 1
  LOOP
    EXECUTE format($q$UPDATE retention.%I t
                   SET error = 'an error that quoted somebody who was forgotten'
                      WHERE EXISTS (SELECT FROM unnest($1) AS v WHERE strpos(t.error, v) > 0)$q$,
                      place.relation)
      USING personal;
    GET DIAGNOSTICS rows = ROW_COUNT;
    relation := place.relation;
    CONTINUE WHEN rows = 0;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._forget_errors(text[]) IS
  'Blots out the texts of errors that quote one of these. Returns how many rows of which table.';

CREATE OR REPLACE FUNCTION retention.forget(customer_id text, keep text DEFAULT 'hash')
  RETURNS TABLE (relation text, rows bigint)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  keys CONSTANT text[] := customer_id || ARRAY(SELECT m.customer_id FROM retention.merged_customer m
                                               WHERE m.merged_into = forget.customer_id);
  contact retention.contact;
  personal text[];
  enrollments bigint[];
  channels text[];
  addresses text[];
  sources text[];
  is_known boolean;
BEGIN
  PERFORM retention._reject_unless(keep IN ('hash', 'address', 'nothing'),
    format('keep must be hash, address or nothing, not %s', coalesce('"' || keep || '"', 'null')),
    'It is about addresses on the suppression list.');
  PERFORM retention._lock_persons();
  sources := retention._sources_with(keys);
  contact := retention._contact_of(customer_id);
  personal := retention._values_of(customer_id, contact);
  enrollments := ARRAY(SELECT e.enrollment_id FROM retention.enrollment e
                       WHERE e.customer_id = forget.customer_id);
  SELECT array_agg(a.channel), array_agg(a.address) INTO channels, addresses
  FROM retention._addresses_of(customer_id, contact) AS a;
  RETURN QUERY
    SELECT t.relation, sum(t.rows)::bigint
    FROM unnest(keys) AS k, retention._take_over_person(true, sources <> '{}', k,
                                                        retention.now()::text) AS t
    GROUP BY t.relation ORDER BY t.relation;
  is_known := FOUND;
  -- That they ended with the contact.
  DELETE FROM retention.consent_change c WHERE c.customer_id = ANY (keys);
  RETURN QUERY SELECT 'suppression', r.rows
    FROM retention._forget_addresses(keep, channels, addresses) AS r (rows) WHERE r.rows > 0;
  RETURN QUERY SELECT t.* FROM retention._forget_errors(personal) AS t;
  PERFORM retention._return_coupons(enrollments);
  -- Sizes of groups no longer hold: the next refresh has to count anew.
  UPDATE retention.source s SET fingerprint = NULL
  WHERE sources = '{}' AND is_known AND s.fingerprint IS NOT NULL;
  IF sources <> '{}' THEN
    RAISE NOTICE 'orders of customer "%" are still in %', customer_id,
        array_to_string(sources, ', ')
      USING HINT = 'What is known from them stays. Erase them there, CALL '
                   'retention.process_changes(), and forget the customer again.';
  ELSIF NOT is_known THEN
    RAISE NOTICE 'customer % is not known', coalesce('"' || customer_id || '"', 'null');
  END IF;
END
$$;
COMMENT ON FUNCTION retention.forget(text, text) IS
  'Removes a person from every table; ends enrollments and keeps rows without a name, for counts. '
  'Of addresses on the suppression list it keeps the keyed hash, the address, or nothing. Orders '
  'are the shop''s to erase, best before. Returns how many rows of which tables.';
