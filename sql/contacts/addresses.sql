-- Addresses: one way to compare them, for contacts, the suppression list and claims.

CREATE OR REPLACE FUNCTION retention._normal_address(channel text, address text, country text)
  RETURNS text
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_normal_address';
COMMENT ON FUNCTION retention._normal_address(text, text, text) IS
  'An address in the one way that all are compared in: mail in small letters, telephone numbers '
  'in E.164 where their country is known, else as digits.';

CREATE OR REPLACE FUNCTION retention._address_spellings(channel text, address text, country text)
  RETURNS text[]
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_address_spellings';
COMMENT ON FUNCTION retention._address_spellings(text, text, text) IS
  'The normal address, and what is made of its other spellings where their country is not known.';

CREATE OR REPLACE FUNCTION retention._country(own text, metric text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('coalesce(%s, (SELECT m.country FROM retention.metric m WHERE m.metric = %L))', own,
                metric)
$$;
COMMENT ON FUNCTION retention._country(text, text) IS
  'The expression for the country of a national telephone number: the contact''s own, by an '
  'expression, or that of a metric.';

CREATE OR REPLACE FUNCTION retention._keyed_hash(key bytea, address text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_keyed_hash';
COMMENT ON FUNCTION retention._keyed_hash(bytea, text) IS
  'What forget leaves of a suppressed address; null without a key.';

CREATE OR REPLACE FUNCTION retention._secret_key(purpose text) RETURNS bytea
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.key FROM retention.secret s WHERE s.purpose = _secret_key.purpose
$$;
COMMENT ON FUNCTION retention._secret_key(text) IS
  'A random key, which nobody but the owner may read; null while there is none.';

CREATE OR REPLACE FUNCTION retention._suppressed(channel text, address text, country text)
  RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- The key is read once a statement: while there is none, nobody was forgotten who has an address
  -- on the list.
  SELECT format($expression$
    EXISTS (SELECT FROM retention.suppression listed
            WHERE listed.channel = %1$s
              AND retention._normal_address(listed.channel, listed.address,
                                            NULL) COLLATE "C" = ANY (
                retention._address_spellings(%1$s, %2$s, %3$s)
                || CASE WHEN (SELECT retention._secret_key('suppression')) IS NOT NULL
                        THEN retention._keyed_hash((SELECT retention._secret_key('suppression')),
                                                   retention._normal_address(%1$s, %2$s, %3$s))
                                                     END))$expression$,
    channel, address, country)
$$;
COMMENT ON FUNCTION retention._suppressed(text, text, text) IS
  'The expression for whether an address is on the suppression list, in any spelling or as a '
  'hash, made of expressions.';

CREATE OR REPLACE FUNCTION retention.suppress(
    channel text, address text, reason text DEFAULT 'unsubscribed', country text DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_channel(channel);
  PERFORM retention._check_length('the address to suppress', 'address', address);
  PERFORM retention._check_country('country', country);
  PERFORM retention._reject_unless(
    retention._normal_address(channel, address, country) ~ CASE channel
      WHEN 'email' THEN E'^[^<>\\s]+@[^<>\\s@]+$' WHEN 'sms' THEN '^[+]?[0-9]+$' ELSE '' END,
    format('"%s" is no address of channel %s', left(address, 200), channel),
    'A line of the list that is no address would hold nobody''s messages back.');
  country := coalesce(country, (SELECT m.country FROM retention.metric m
                                WHERE m.metric = 'orders'));
  INSERT INTO retention.suppression
    VALUES (channel, retention._normal_address(channel, address, country), reason, retention.now())
      ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION retention.suppress(text, text, text, text) IS
  'Has an address get no message any more, however contacts write it: after a bounce, a '
  'complaint, or when someone unsubscribes. The country is that of a national telephone number; '
  'null: that of metric "orders".';

CREATE OR REPLACE FUNCTION retention._unsendable(
    channel text, address text, has_consent text, is_transactional text, is_late text,
    is_listed text)
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
  'The expression for why a message may not be sent, made of expressions; null: it may. Asked '
  'when it is written, and again when it is claimed.';
