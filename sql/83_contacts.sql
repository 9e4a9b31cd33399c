-- Contacts: how customers are reached, and the row that conditions and templates see of a customer.

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
  'The channels: columns of the contact with the address and the consent, and how far apart smart sending keeps messages.';

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
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._check_contact() IS 'Trigger: rejects time zones that do not exist, and keys that are too long.';

CREATE TRIGGER check_contact BEFORE INSERT OR UPDATE OF customer_id, time_zone ON retention.contact
  FOR EACH ROW WHEN (NEW.time_zone IS NOT NULL OR octet_length(NEW.customer_id) > 2000)
  EXECUTE FUNCTION retention._check_contact();
COMMENT ON TRIGGER check_contact ON retention.contact IS 'Rejects time zones that do not exist, and keys that are too long.';

CREATE OR REPLACE FUNCTION retention._flows_run() RETURNS boolean
  LANGUAGE sql STABLE
  RETURN EXISTS (SELECT FROM retention.flow WHERE status IN ('live', 'manual', 'paused'));
COMMENT ON FUNCTION retention._flows_run() IS 'Whether any flow has to learn of customers who change.';

CREATE OR REPLACE FUNCTION retention._note_changed(customer_ids text[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  -- In rows of so many, which a tick takes one by one.
  IF customer_ids <> '{}' AND retention._flows_run() THEN
    INSERT INTO retention.changed_customers (customer_ids)
      SELECT customer_ids[i : i + 999] FROM generate_series(1, cardinality(customer_ids), 1000) AS i;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._note_changed(text[]) IS 'Has flows look again at some customers with the next tick. Costs nothing where no flow runs.';

CREATE OR REPLACE FUNCTION retention._note_contacts() RETURNS trigger
  -- Whoever may write contacts needs no other right.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.contact');
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

CREATE TRIGGER note_consent
  AFTER UPDATE OF email_consent, sms_consent, push_consent ON retention.contact FOR EACH ROW
  WHEN ((OLD.email_consent, OLD.sms_consent, OLD.push_consent)
        IS DISTINCT FROM (NEW.email_consent, NEW.sms_consent, NEW.push_consent))
  EXECUTE FUNCTION retention._note_consent();
COMMENT ON TRIGGER note_consent ON retention.contact IS 'Keeps changes of consent.';

CREATE TRIGGER find_by_name BEFORE INSERT ON retention.contact_source
  FOR EACH ROW EXECUTE FUNCTION retention._find_by_name();
COMMENT ON TRIGGER find_by_name ON retention.contact_source IS 'Finds the relation by its name.';

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
    SELECT c.name FROM retention._contact_columns() c JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name));
  INSERT INTO retention.contact_source VALUES (relation, relation::text, pg_get_userbyid(retention._owner(relation)));
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
  'Has flows read contacts from a view or table of the shop''s own, with its owner''s rights: customer_id, and those columns of retention.contact that it has; what it lacks is null, and of retention.contact the properties count that flows have set, and nothing else. Null: from retention.contact again. Changes of such a relation are seen when they are read: before every action, and by claim_messages.';

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
  PERFORM retention._reject_unless(relation IS NOT NULL, format('relation %s, which has the contacts, does not exist', source.relation_name),
    format('Its owner "%s" can create it again; or name another one by use_contacts.', source.owner), 'undefined_table');
  RETURN relation;
END
$$;
COMMENT ON FUNCTION retention._contact_relation() IS 'Where contacts are read from.';

CREATE OR REPLACE FUNCTION retention._their_query(relation regclass, customer_ids text[]) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('SELECT %s FROM %s WHERE %s',
    string_agg(format(CASE WHEN a.attname IS NULL THEN 'NULL::%2$s' ELSE '%1$I::%2$s' END, c.name, c.type), ', ' ORDER BY c.number),
    relation, CASE WHEN customer_ids IS NULL THEN 'true'
                   ELSE retention._keys_condition(relation, 'customer_id', customer_ids) END)
  FROM retention._contact_columns() c
  LEFT JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION retention._their_query(regclass, text[]) IS
  'The query for some customers'' contacts in a relation of the shop''s own, or, with null, for all; null for the columns that it lacks.';

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
                         THEN 'coalesce(theirs.properties, ''{}'') || coalesce(ours.properties, ''{}'')'
                         ELSE format('theirs.%I', c.name) END, ', ' ORDER BY c.number)
    INTO columns, fields
    FROM retention._contact_columns() c;
  RETURN QUERY EXECUTE format($query$
    SELECT theirs.customer_id COLLATE "C", (array_agg(ROW (%s)::retention.contact))[1], count(*)
    FROM retention._query_of($1, $2) AS theirs (%s)
    LEFT JOIN retention.contact ours ON ours.customer_id = theirs.customer_id COLLATE "C" GROUP BY 1$query$, fields, columns)
    USING relation, retention._their_query(relation, customer_ids);
END
$$;
COMMENT ON FUNCTION retention._their_contacts(text[]) IS
  'Some customers'' contacts, or, with null, all, in a relation of the shop''s own, read with its owner''s rights, and how many rows each has, for only one can be meant.';

CREATE OR REPLACE FUNCTION retention._contact_query(customer_ids text DEFAULT '$2') RETURNS text
  LANGUAGE sql STABLE
  RETURN CASE WHEN EXISTS (SELECT FROM retention.contact_source)
    THEN format('SELECT * FROM retention._their_contacts(%s)', coalesce(customer_ids, 'NULL'))
    ELSE 'SELECT c.customer_id, c AS contact, 1 AS rows FROM retention.contact c'
         || coalesce(' WHERE c.customer_id = ANY (' || customer_ids || ')', '') END;
COMMENT ON FUNCTION retention._contact_query(text) IS
  'The query for the contacts of customers, whose keys are an expression, or, with null, of all: key, contact, and how many rows there are.';

CREATE OR REPLACE FUNCTION retention._person_columns() RETURNS TABLE (name name, origin text)
  LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT DISTINCT ON (attname) attname, CASE attrelid WHEN 'retention.profile'::regclass THEN 'profile' ELSE 'contact' END
  FROM pg_attribute
  WHERE attrelid IN ('retention.profile'::regclass, 'retention.contact'::regclass)
    AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('metric', 'customer_id', 'properties')
  ORDER BY attname, attrelid = 'retention.profile'::regclass;
END;
COMMENT ON FUNCTION retention._person_columns() IS 'What expressions can use of a customer, besides properties.';

CREATE OR REPLACE FUNCTION retention._merge_properties(properties jsonb, changes jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (coalesce(properties, '{}') || changes) - ARRAY(SELECT key FROM jsonb_each(changes) WHERE value = 'null');
COMMENT ON FUNCTION retention._merge_properties(jsonb, jsonb) IS 'Properties after some were set, or, by null, removed.';

CREATE OR REPLACE FUNCTION retention._profile_query(metric text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  columns text;
BEGIN
  IF NOT EXISTS (
    SELECT FROM retention.source s
    WHERE s.metric = _profile_query.metric AND s.kind = 'order' AND retention._has_days(s))
  THEN
    RETURN format(
      'SELECT * FROM retention.profile WHERE metric = %L AND customer_id = ANY ($2)', metric);
  END IF;
  SELECT string_agg(format(CASE WHEN attname IN ('first_order_at', 'last_order_at') THEN
           'CASE WHEN p.%1$I = c.last_order_at AND p.%1$I = date_trunc(''day'', p.%1$I, m.time_zone)
                 THEN retention._order_moment(p.%1$I, c.last_order_known_at, m.time_zone)
                 ELSE p.%1$I END AS %1$I'
           ELSE 'p.%I' END, attname), ', ' ORDER BY attnum) INTO columns
    FROM pg_attribute WHERE attrelid = 'retention.profile'::regclass AND attnum > 0;
  RETURN format('SELECT %s FROM retention.profile p
                 LEFT JOIN retention.customer c
                   ON (c.customer_id, c.metric) = (p.customer_id, p.metric)
                 LEFT JOIN retention.metric m ON m.metric = p.metric
                 WHERE p.metric = %L AND p.customer_id = ANY ($2)', columns, metric);
END
$$;
COMMENT ON FUNCTION retention._profile_query(text) IS
  'The query for the profiles, by a metric, of the customers $2. Where sources have dates only, '
  'orders are dated by when they became known, so that they can be compared with times.';

CREATE OR REPLACE FUNCTION retention._person_query(metric text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A unique key: the planner leaves the profile out where no expression uses it.
  RETURN (SELECT format($query$(
    SELECT t AS traveller, t.customer_id, t.event, t.entered_at, coalesce(t.since, $3) AS since, %s,
           CASE WHEN t.properties IS NULL THEN coalesce((t.contact).properties, '{}') ELSE retention._merge_properties((t.contact).properties, t.properties) END AS properties
    FROM unnest($1::retention.traveller[]) AS t
    LEFT JOIN (%s) AS profile ON profile.customer_id = t.customer_id) AS person$query$,
    string_agg(format(CASE c.origin WHEN 'contact' THEN '(t.contact).%I' ELSE 'profile.%I' END, c.name), ', '),
    retention._profile_query(metric))
    FROM retention._person_columns() AS c);
END
$$;
COMMENT ON FUNCTION retention._person_query(text) IS
  'What expressions of flows read: a row "person" for each traveller of $1, whose customers are $2, as of $3.';

-- Addresses: one way to compare them, for contacts, the suppression list and claims.

CREATE OR REPLACE FUNCTION retention._normal_address(channel text, address text, country text) RETURNS text
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_normal_address';
COMMENT ON FUNCTION retention._normal_address(text, text, text) IS
  'An address in the one way that all are compared in: mail in small letters, telephone numbers in E.164 where their country is known, else as digits.';

CREATE OR REPLACE FUNCTION retention._address_spellings(channel text, address text, country text) RETURNS text[]
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_address_spellings';
COMMENT ON FUNCTION retention._address_spellings(text, text, text) IS
  'The normal address, and what is made of its other spellings where their country is not known.';

-- Rows may be written by hand, in any spelling.
CREATE INDEX suppression_normal ON retention.suppression (channel, (retention._normal_address(channel, address, NULL) COLLATE "C"));

CREATE OR REPLACE FUNCTION retention._country(own text, metric text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('coalesce(%s, (SELECT m.country FROM retention.metric m WHERE m.metric = %L))', own, metric)
$$;
COMMENT ON FUNCTION retention._country(text, text) IS
  'The expression for the country of a national telephone number: the contact''s own, by an expression, or that of a metric.';

CREATE OR REPLACE FUNCTION retention._keyed_hash(key bytea, address text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_keyed_hash';
COMMENT ON FUNCTION retention._keyed_hash(bytea, text) IS 'What forget leaves of a suppressed address; null without a key.';

CREATE OR REPLACE FUNCTION retention._secret_key(purpose text) RETURNS bytea
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.key FROM retention.secret s WHERE s.purpose = _secret_key.purpose
$$;
COMMENT ON FUNCTION retention._secret_key(text) IS 'A random key, which nobody but the owner may read; null while there is none.';

CREATE OR REPLACE FUNCTION retention._suppressed(channel text, address text, country text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- The key is read once a statement: while there is none, nobody was forgotten who has an address on the list.
  SELECT format($expression$
    EXISTS (SELECT FROM retention.suppression listed
            WHERE listed.channel = %1$s
              AND retention._normal_address(listed.channel, listed.address, NULL) COLLATE "C" = ANY (
                retention._address_spellings(%1$s, %2$s, %3$s)
                || CASE WHEN (SELECT retention._secret_key('suppression')) IS NOT NULL
                        THEN retention._keyed_hash((SELECT retention._secret_key('suppression')), retention._normal_address(%1$s, %2$s, %3$s)) END))$expression$,
    channel, address, country)
$$;
COMMENT ON FUNCTION retention._suppressed(text, text, text) IS
  'The expression for whether an address is on the suppression list, in any spelling or as a hash, made of expressions.';

CREATE OR REPLACE FUNCTION retention.suppress(
    channel text, address text, reason text DEFAULT 'unsubscribed', country text DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM retention._channels() c WHERE c.channel = suppress.channel),
    format('channel %s does not exist', coalesce('"' || channel || '"', 'null')), 'The channels are email, sms, push and webhook.');
  PERFORM retention._check_length('the address to suppress', 'address', address);
  country := coalesce(country, (SELECT m.country FROM retention.metric m WHERE m.metric = 'orders'));
  INSERT INTO retention.suppression
    VALUES (channel, retention._normal_address(channel, address, country), reason, retention.now()) ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION retention.suppress(text, text, text, text) IS
  'Has an address get no message any more, however contacts write it: after a bounce, a complaint, or when someone unsubscribes. The country is that of a national telephone number; null: that of metric "orders".';

CREATE OR REPLACE FUNCTION retention._unsendable(
    channel text, address text, has_consent text, is_transactional text, is_late text, is_listed text)
  RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format($expression$
    CASE WHEN coalesce(retention._normal_address(%1$s, %2$s, NULL), '') = '' THEN 'no address'
         WHEN NOT %4$s AND %3$s IS NOT TRUE THEN 'no consent'
         WHEN %6$s THEN 'suppression list'
         WHEN %5$s THEN 'late' END$expression$,
    channel, address, has_consent, is_transactional, is_late, is_listed)
$$;
COMMENT ON FUNCTION retention._unsendable(text, text, text, text, text, text) IS
  'The expression for why a message may not be sent, made of expressions; null: it may. Asked when it is written, and again when it is claimed.';
