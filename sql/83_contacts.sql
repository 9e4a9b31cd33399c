-- Contacts: how customers are reached, and the row that conditions and templates see of a customer.

CREATE OR REPLACE FUNCTION retention._is_time_zone(name text) RETURNS boolean
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_is_time_zone';
COMMENT ON FUNCTION retention._is_time_zone(text) IS 'Whether a time zone has this name, and no abbreviation has it.';

CREATE OR REPLACE FUNCTION retention._channels()
  RETURNS TABLE (channel text, address name, consent name, apart interval)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES ('email', 'email'::name, 'email_consent'::name, interval '16 hours'),
         ('sms', 'phone', 'sms_consent', interval '24 hours'),
         ('push', 'push_token', 'push_consent', interval '24 hours'),
         ('webhook', NULL, NULL, NULL)
$$;
COMMENT ON FUNCTION retention._channels() IS
  'The channels: columns of the contact with the address and the consent, and how far apart smart sending keeps messages.';

CREATE OR REPLACE FUNCTION retention._check_contact() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(coalesce(retention._is_time_zone(NEW.time_zone), true),
    format('time zone "%s" of customer "%s" does not exist', NEW.time_zone, NEW.customer_id),
    'Names such as Europe/Warsaw are listed in pg_timezone_names.');
  PERFORM retention._reject_unless(octet_length(NEW.customer_id) <= 2000,
    format('customer_id "%s..." of a contact must have at most 2000 bytes, not %s', left(NEW.customer_id, 40), octet_length(NEW.customer_id)));
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_contact() IS 'Trigger: rejects time zones that do not exist, and keys that are too long.';

CREATE TRIGGER check_contact BEFORE INSERT OR UPDATE OF customer_id, time_zone ON retention.contact
  FOR EACH ROW WHEN (NEW.time_zone IS NOT NULL OR octet_length(NEW.customer_id) > 2000) EXECUTE FUNCTION retention._check_contact();
COMMENT ON TRIGGER check_contact ON retention.contact IS 'Rejects time zones that do not exist, and keys that are too long.';

CREATE OR REPLACE FUNCTION retention._flows_run() RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM retention.flow WHERE status IN ('live', 'manual', 'paused'))
$$;
COMMENT ON FUNCTION retention._flows_run() IS 'Whether any flow has to learn of customers who change.';

CREATE OR REPLACE FUNCTION retention._note_changed(customer_ids text[]) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- In rows of so many, which a tick takes one by one.
  INSERT INTO retention.changed_customers (customer_ids)
  SELECT customer_ids[i : i + 999] FROM generate_series(1, cardinality(customer_ids), 1000) AS i
  WHERE retention._flows_run()
$$;
COMMENT ON FUNCTION retention._note_changed(text[]) IS 'Has flows look again at some customers with the next tick. Costs nothing where no flow runs.';

CREATE OR REPLACE FUNCTION retention._note_contacts() RETURNS trigger
  -- Whoever may write contacts needs no other right.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._note_changed(array_agg(customer_id)) FROM changed;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._note_contacts() IS 'Trigger: has flows look again at customers whose contact has changed.';

CREATE TRIGGER note_inserted AFTER INSERT ON retention.contact
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._note_contacts();
COMMENT ON TRIGGER note_inserted ON retention.contact IS 'Has flows look again at these customers.';
CREATE TRIGGER note_updated AFTER UPDATE ON retention.contact
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._note_contacts();
COMMENT ON TRIGGER note_updated ON retention.contact IS 'Has flows look again at these customers.';

CREATE OR REPLACE FUNCTION retention.use_contacts(relation regclass) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM retention.contact_source;
  IF relation IS NOT NULL AND relation <> 'retention.contact'::regclass THEN
    PERFORM retention._column_type(relation, 'customer_id', 'customer_id');
    EXECUTE retention._contact_query(relation, '{}');
    INSERT INTO retention.contact_source VALUES (relation::text);
  END IF;
END
$$;
COMMENT ON FUNCTION retention.use_contacts(regclass) IS
  'Has flows read contacts from a view or table of the shop''s own: customer_id, and those columns of retention.contact that it has. Null: from retention.contact again. Changes of such a relation are seen when they are read: before every action, and by claim_messages.';

CREATE OR REPLACE FUNCTION retention._contact_relation() RETURNS regclass
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  name text := coalesce((SELECT relation_name FROM retention.contact_source), 'retention.contact');
  relation regclass := to_regclass(name);
BEGIN
  PERFORM retention._reject_unless(relation IS NOT NULL, format('relation %s, which has the contacts, does not exist', name),
    'Create it again, or name another one by use_contacts.', 'undefined_table');
  RETURN relation;
END
$$;
COMMENT ON FUNCTION retention._contact_relation() IS 'Where contacts are read from.';

CREATE OR REPLACE FUNCTION retention._contact_query(relation regclass, customer_ids text[]) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns text;
BEGIN
  IF relation = 'retention.contact'::regclass THEN
    RETURN 'SELECT * FROM retention.contact WHERE customer_id = ANY ($2)';
  END IF;
  SELECT string_agg(CASE WHEN theirs.attname IS NULL THEN format('ours.%I', c.attname)
                         ELSE format('theirs.%I::%s AS %1$I', c.attname, format_type(c.atttypid, NULL)) END, ', ' ORDER BY c.attnum)
    INTO columns
    FROM pg_attribute c
    LEFT JOIN pg_attribute theirs ON theirs.attrelid = relation AND theirs.attname = c.attname AND theirs.attnum > 0 AND NOT theirs.attisdropped
    WHERE c.attrelid = 'retention.contact'::regclass AND c.attnum > 0 AND NOT c.attisdropped AND c.attname NOT IN ('customer_id', 'properties');
  RETURN format('SELECT theirs.customer_id::text COLLATE "C" AS customer_id, %s, %s || coalesce(ours.properties, ''{}'') AS properties
                 FROM (SELECT * FROM %s WHERE %s) AS theirs
                 LEFT JOIN retention.contact ours ON ours.customer_id = theirs.customer_id::text COLLATE "C"',
    columns,
    CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation AND attname = 'properties' AND NOT attisdropped)
         THEN 'coalesce(theirs.properties::jsonb, ''{}'')' ELSE '''{}''' END,
    relation, retention._keys_condition(relation, 'customer_id', customer_ids));
END
$$;
COMMENT ON FUNCTION retention._contact_query(regclass, text[]) IS
  'The query that reads some customers'' contacts; $2 is their keys. Properties that flows have set are added to those of a relation of the shop''s own.';

CREATE OR REPLACE FUNCTION retention._person_columns() RETURNS TABLE (name name, origin text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT ON (attname) attname, CASE attrelid WHEN 'retention.profile'::regclass THEN 'profile' ELSE 'contact' END
  FROM pg_attribute
  WHERE attrelid IN ('retention.profile'::regclass, 'retention.contact'::regclass)
    AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('metric', 'customer_id', 'properties')
  ORDER BY attname, attrelid = 'retention.profile'::regclass
$$;
COMMENT ON FUNCTION retention._person_columns() IS 'What expressions can use of a customer, besides properties.';

CREATE OR REPLACE FUNCTION retention._merge_properties(properties jsonb, changes jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (coalesce(properties, '{}') || changes) - ARRAY(SELECT key FROM jsonb_each(changes) WHERE value = 'null');
COMMENT ON FUNCTION retention._merge_properties(jsonb, jsonb) IS 'Properties after some were set, or, by null, removed.';

CREATE OR REPLACE FUNCTION retention._person_query(metric text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- A unique key: the planner leaves the profile out where no expression uses it.
  SELECT format($query$(
    SELECT t AS traveller, t.customer_id, t.event, t.entered_at, coalesce(t.since, $3) AS since, %s,
           CASE WHEN t.properties IS NULL THEN coalesce((t.contact).properties, '{}') ELSE retention._merge_properties((t.contact).properties, t.properties) END AS properties
    FROM unnest($1::retention.traveller[]) AS t
    LEFT JOIN (SELECT * FROM retention.profile WHERE metric = %L AND customer_id = ANY ($2)) AS profile ON profile.customer_id = t.customer_id) AS person$query$,
    string_agg(format(CASE c.origin WHEN 'contact' THEN '(t.contact).%I' ELSE 'profile.%I' END, c.name), ', '), metric)
  FROM retention._person_columns() AS c
$$;
COMMENT ON FUNCTION retention._person_query(text) IS
  'What expressions of flows read: a row "person" for each traveller of $1, whose customers are $2, as of $3.';

CREATE OR REPLACE FUNCTION retention._normal_address(channel text, address text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE channel WHEN 'email' THEN lower(btrim(address)) ELSE btrim(address) END;
COMMENT ON FUNCTION retention._normal_address(text, text) IS 'An address as the suppression list has it.';

CREATE OR REPLACE FUNCTION retention.suppress(channel text, address text, reason text DEFAULT 'unsubscribed') RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention._channels() c WHERE c.channel = suppress.channel),
    format('channel %s does not exist', coalesce('"' || channel || '"', 'null')), 'The channels are email, sms, push and webhook.');
  PERFORM retention._check_length('the address to suppress', 'address', address);
  INSERT INTO retention.suppression VALUES (channel, retention._normal_address(channel, address), reason, retention.now()) ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION retention.suppress(text, text, text) IS 'Has an address get no message any more: after a bounce, a complaint, or when someone unsubscribes.';

CREATE OR REPLACE FUNCTION retention._unsendable(channel text, address text, has_consent text, is_transactional text, is_late text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format($expression$
    CASE WHEN coalesce(%2$s, '') = '' THEN 'no address'
         WHEN NOT %4$s AND %3$s IS NOT TRUE THEN 'no consent'
         WHEN EXISTS (SELECT FROM retention.suppression s WHERE s.channel = %1$s AND s.address = retention._normal_address(%1$s, %2$s)) THEN 'suppression list'
         WHEN %5$s THEN 'late' END$expression$, channel, address, has_consent, is_transactional, is_late)
$$;
COMMENT ON FUNCTION retention._unsendable(text, text, text, text, text) IS
  'The expression for why a message may not be sent, made of expressions; null: it may. Asked when it is written, and again when it is claimed.';
