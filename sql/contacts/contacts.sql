-- Contacts: where customers are written to.

CREATE OR REPLACE FUNCTION retention._channels()
  RETURNS TABLE (channel text, address name, consent name, apart interval)
  -- Planned with the query that calls it.
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  VALUES ('email', 'email'::name, 'email_consent'::name, interval '16 hours'),
         ('sms', 'phone', 'sms_consent', interval '24 hours'),
         ('push', 'push_token', 'push_consent', interval '24 hours'),
         ('webhook', NULL, NULL, NULL);
END;
COMMENT ON FUNCTION retention._channels() IS
  'The channels: columns of the contact with the address and the consent, and how far apart smart '
  'sending keeps messages.';

CREATE OR REPLACE FUNCTION retention._check_contact() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.contact');
  PERFORM retention._reject_unless(coalesce(retention._is_time_zone(NEW.time_zone), true),
    format('time zone "%s" of customer "%s" does not exist', NEW.time_zone, NEW.customer_id),
    'Names such as Europe/Warsaw are listed in pg_timezone_names.');
  PERFORM retention._check_length(
      format('customer_id "%s..." of a contact', left(NEW.customer_id, 40)), 'key', NEW.customer_id)
    WHERE octet_length(NEW.customer_id) > retention._most('key');
  PERFORM retention._reject_unless(NEW.customer_id IS NOT NULL,
    'customer_id of a contact must not be null', '', 'null_value_not_allowed');
  PERFORM retention._check_country(format('country of customer "%s"', NEW.customer_id),
                                   NEW.country);
  PERFORM retention._reject_unless(jsonb_typeof(NEW.properties) = 'object',
    format('properties of customer "%s" must be an object, not %s', NEW.customer_id,
           coalesce(left(NEW.properties::text, 40), 'null')),
    'Such as {"first_name": "Ada"}; {} for none.');
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_contact() IS
  'Trigger: rejects time zones that do not exist, keys that are too long, and what is no country '
  'or no object.';

CREATE OR REPLACE FUNCTION retention._note_consent() RETURNS trigger
  -- Whoever may write contacts needs no other right.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.contact');
  INSERT INTO retention.consent_change
      (customer_id, channel, agreed, changed_at, changed_by, source)
    SELECT NEW.customer_id, c.channel, c.agreed, retention.now(), session_user,
           nullif(current_setting('application_name'), '')
    FROM (VALUES ('email', OLD.email_consent, NEW.email_consent),
                 ('sms', OLD.sms_consent, NEW.sms_consent),
                 ('push', OLD.push_consent, NEW.push_consent)) AS c (channel, before, agreed)
    WHERE c.before IS DISTINCT FROM c.agreed;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._note_consent() IS
  'Trigger: keeps when a consent was given or taken back, and by whom.';

CREATE OR REPLACE FUNCTION retention._note_consent_gone() RETURNS trigger
  -- Whoever may write contacts needs no other right.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.contact');
  INSERT INTO retention.consent_change
      (customer_id, channel, agreed, changed_at, changed_by, source)
    SELECT d.customer_id, c.channel, NULL, retention.now(), session_user,
           nullif(current_setting('application_name'), '')
    FROM changed d, LATERAL (
      VALUES ('email', d.email_consent), ('sms', d.sms_consent), ('push', d.push_consent))
      AS c (channel, agreed)
    WHERE c.agreed ORDER BY d.customer_id, c.channel;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._note_consent_gone() IS
  'Trigger: a consent ends with its contact, which may be inserted again without it.';

CREATE OR REPLACE FUNCTION retention._note_consent_again() RETURNS trigger
  -- Each one's changes are looked up by key, however many are imported.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.contact');
  IF NOT EXISTS (SELECT FROM retention.consent_change) THEN
    RETURN NULL;
  END IF;
  WITH different AS MATERIALIZED (
    SELECT n.customer_id, c.channel, c.agreed, known.change_id,
           -- Deleted in this transaction, and back as it was.
           known.agreed IS NULL AND known.changed_at = retention.now() AS is_undone
    FROM changed n CROSS JOIN LATERAL (
      SELECT DISTINCT ON (l.channel) l.* FROM retention.consent_change l
      WHERE l.customer_id = n.customer_id ORDER BY l.channel, l.change_id DESC) AS known
    CROSS JOIN LATERAL (
      VALUES ('email', n.email_consent), ('sms', n.sms_consent), ('push', n.push_consent))
      AS c (channel, agreed)
    WHERE c.channel = known.channel AND (known.agreed IS TRUE) <> (c.agreed IS TRUE)),
  undone AS (
    DELETE FROM retention.consent_change l USING different d
    WHERE d.is_undone AND l.change_id = d.change_id)
  INSERT INTO retention.consent_change
      (customer_id, channel, agreed, changed_at, changed_by, source)
    SELECT d.customer_id, d.channel, d.agreed, retention.now(), session_user,
           nullif(current_setting('application_name'), '')
    FROM different d WHERE NOT d.is_undone ORDER BY d.customer_id, d.channel
    -- While a dump is restored numbers are drawn from the start.
    ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._note_consent_again() IS
  'Trigger: keeps the consents of contacts that are inserted again where they differ from what '
  'was known last.';

CREATE OR REPLACE FUNCTION retention._contact_columns()
  RETURNS TABLE (name name, type text, number smallint)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT attname, format_type(atttypid, NULL), attnum FROM pg_attribute
  WHERE attrelid = 'retention.contact'::regclass AND attnum > 0 AND NOT attisdropped
$$;
COMMENT ON FUNCTION retention._contact_columns() IS 'The columns of a contact.';

CREATE OR REPLACE FUNCTION retention._contact_hint(column_name name, type text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    WHEN type = 'boolean' THEN 'A consent is boolean: only true is one.'
    WHEN type = 'jsonb' THEN 'Properties are an object of type jsonb or json.'
    WHEN column_name = 'time_zone' THEN 'A time zone is text: its name, such as Europe/Warsaw.'
    WHEN column_name = 'country' THEN 'A country is text: two letters of ISO 3166, such as PL.'
    WHEN column_name = 'locale' THEN 'A locale is text, such as pl or pl_PL.'
    WHEN column_name = 'phone'
      THEN 'A telephone number is text: as a number it would lose its plus, or its zeros.'
    ELSE 'An address is text.' END
    || ' Convert it in a view, or leave the column out.';
COMMENT ON FUNCTION retention._contact_hint(name, text) IS
  'What a column of contacts has to be, by its name and type in retention.contact.';

CREATE OR REPLACE FUNCTION retention._check_contact_types(relation regclass) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(false,
      format('column "%s" of %s has type %s, which cannot be used here',
             c.name, relation, format_type(a.atttypid, a.atttypmod)),
      retention._contact_hint(c.name, c.type), 'datatype_mismatch')
    FROM retention._contact_columns() AS c
    JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name
      AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = retention._base_type(a.atttypid)
    WHERE c.name <> 'customer_id'
      AND NOT CASE c.type WHEN 'boolean' THEN t.oid = 'boolean'::regtype
                          WHEN 'jsonb' THEN t.oid IN ('jsonb'::regtype, 'json'::regtype)
                          -- Strings of any sort, and enums, are written as text.
                          ELSE t.typcategory IN ('S', 'E')
                            OR c.name = 'push_token' AND t.oid = 'uuid'::regtype END
    ORDER BY c.number;
END
$$;
COMMENT ON FUNCTION retention._check_contact_types(regclass) IS
  'An error where a relation of contacts has a column whose values could not be read, or not be '
  'told: a cast would fail for some customer only, when a message is due.';

CREATE OR REPLACE FUNCTION retention.use_contacts(relation regclass) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._pin_settings();
  DELETE FROM retention.contact_source;
  IF relation IS NULL OR relation = 'retention.contact'::regclass THEN
    RETURN;
  END IF;
  PERFORM retention._reject_unless(retention._has_column(relation, 'customer_id'),
    format('column "customer_id" of %s does not exist', relation),
    'Name it so in a view: contacts are found by the customer''s key.', 'undefined_column');
  PERFORM retention._check_contact_types(relation);
  PERFORM retention._check_readable(relation, ARRAY(
    SELECT c.name FROM retention._contact_columns() c
    JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name));
  INSERT INTO retention.contact_source VALUES (relation, relation::text,
                                               pg_get_userbyid(retention._owner(relation)));
  PERFORM FROM retention._their_contacts('{}');
  PERFORM retention._tell(
      format('contacts are read from %s: %s', relation,
             string_agg(c.name, ', ' ORDER BY c.number)
               FILTER (WHERE retention._has_column(relation, c.name)))
      || coalesce('; it has no ' || string_agg(c.name, ', ' ORDER BY c.number)
                    FILTER (WHERE NOT retention._has_column(relation, c.name)), ''), 'notice')
    FROM retention._contact_columns() c WHERE c.name <> 'properties';
END
$$;
COMMENT ON FUNCTION retention.use_contacts(regclass) IS
  'Has flows read contacts from a view or table of the shop''s own, with its owner''s rights: '
  'customer_id, and those columns of retention.contact that it has; what it lacks is null, and of '
  'retention.contact the properties count that flows have set, and nothing else. Null: from '
  'retention.contact again. Changes of such a relation are seen when they are read: before every '
  'action, and by claim_messages.';

CREATE OR REPLACE FUNCTION retention._contact_relation() RETURNS regclass
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source retention.contact_source;
  relation regclass;
BEGIN
  SELECT * INTO source FROM retention.contact_source;
  IF NOT FOUND THEN
    RETURN 'retention.contact';
  END IF;
  relation := retention._same_relation(source.relation, source.relation_name, source.owner);
  PERFORM retention._reject_unless(relation IS NOT NULL,
                                   format('relation %s, which has the contacts, does not exist',
                                          source.relation_name),
    format('Its owner "%s" can create it again; or name another one by use_contacts.',
           source.owner), 'undefined_table');
  RETURN relation;
END
$$;
COMMENT ON FUNCTION retention._contact_relation() IS 'Where contacts are read from.';

CREATE OR REPLACE FUNCTION retention._their_query(relation regclass, customer_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('SELECT %s FROM %s WHERE %s',
    string_agg(format(CASE WHEN a.attname IS NULL THEN 'NULL::%2$s' ELSE '%1$I::%2$s' END, c.name,
                      c.type), ', ' ORDER BY c.number),
    relation, CASE WHEN customer_ids IS NULL THEN 'true'
                   ELSE retention._keys_condition(relation, 'customer_id', customer_ids) END)
  FROM retention._contact_columns() c
  LEFT JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name AND a.attnum > 0
    AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION retention._their_query(regclass, text[]) IS
  'The query for some customers'' contacts in a relation of the shop''s own, or, with null, for '
  'all; null for the columns that it lacks.';

CREATE OR REPLACE FUNCTION retention._their_contacts(customer_ids text[])
  RETURNS TABLE (customer_id text, contact retention.contact, rows bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation regclass := retention._contact_relation();
  columns text;
  fields text;
BEGIN
  -- What flows have set is added to the properties of theirs; nothing else of ours counts.
  SELECT string_agg(format('%I %s', c.name, c.type), ', ' ORDER BY c.number),
         string_agg(CASE WHEN c.name = 'properties'
                         THEN 'coalesce(theirs.properties, ''{}'') || coalesce(ours.properties, '
                              '''{}'')'
                         ELSE format('theirs.%I', c.name) END, ', ' ORDER BY c.number)
    INTO columns, fields
    FROM retention._contact_columns() c;
  RETURN QUERY EXECUTE format($query$
    SELECT theirs.customer_id COLLATE "C", (array_agg(ROW (%s)::retention.contact))[1], count(*)
    FROM retention._query_of($1, $2) AS theirs (%s)
    LEFT JOIN retention.contact ours ON ours.customer_id = theirs.customer_id COLLATE "C"
    GROUP BY 1$query$, fields, columns)
    USING relation, retention._their_query(relation, customer_ids);
END
$$;
COMMENT ON FUNCTION retention._their_contacts(text[]) IS
  'Some customers'' contacts, or, with null, all, in a relation of the shop''s own, read with its '
  'owner''s rights, and how many rows each has, for only one can be meant.';

CREATE OR REPLACE FUNCTION retention._contact_query(customer_ids text DEFAULT '$2') RETURNS text
  LANGUAGE sql STABLE
  RETURN CASE WHEN EXISTS (SELECT FROM retention.contact_source)
    THEN format('SELECT * FROM retention._their_contacts(%s)', coalesce(customer_ids, 'NULL'))
    ELSE 'SELECT c.customer_id, c AS contact, 1 AS rows FROM retention.contact c'
         || coalesce(' WHERE c.customer_id = ANY (' || customer_ids || ')', '') END;
COMMENT ON FUNCTION retention._contact_query(text) IS
  'The query for the contacts of customers, whose keys are an expression, or, with null, of all: '
  'key, contact, and how many rows there are.';

CREATE OR REPLACE FUNCTION retention._check_channel(channel text) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(
    EXISTS (SELECT FROM retention._channels() c WHERE c.channel = _check_channel.channel),
    format('channel %s does not exist', coalesce('"' || channel || '"', 'null')),
    'The channels are email, sms, push and webhook.');
END
$$;
COMMENT ON FUNCTION retention._check_channel(text) IS 'An error unless there is such a channel.';

CREATE OR REPLACE FUNCTION retention._check_suppression() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.suppression');
  PERFORM retention._check_channel(NEW.channel);
  PERFORM retention._check_length('the address to suppress', 'address', NEW.address);
  PERFORM retention._reject_unless(NEW.reason IS NOT NULL,
    'the reason of a suppression must not be null', 'Such as bounced, complained, unsubscribed.',
    'null_value_not_allowed');
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_suppression() IS
  'Trigger: rejects channels that do not exist, and rows without an address or a reason.';

