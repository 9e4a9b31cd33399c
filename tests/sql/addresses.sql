-- Addresses: one way to compare them, however they are written.
-- Every spelling has a row: the number, the country that it is dialled in where the number does not say it, and what it is.
\set ECHO none
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE EXTENSION IF NOT EXISTS retention;
SET client_min_messages = notice;
SET retention.as_of = '2024-06-03 10:00+00';
\set ECHO queries

CREATE TABLE spelling (number text, country text, normal text);
INSERT INTO spelling VALUES
  ('+48600100200', NULL, '+48600100200'), ('+48 600 100 200', NULL, '+48600100200'), ('+48-600-100-200', NULL, '+48600100200'),
  ('(+48) 600100200', NULL, '+48600100200'), ('0048600100200', NULL, '+48600100200'), ('00 48 600 100 200', NULL, '+48600100200'),
  ('+48.600.100.200', NULL, '+48600100200'), ('+48/600/100/200', NULL, '+48600100200'), ('+48(600)100-200', NULL, '+48600100200'),
  ('+48 (0) 600 100 200', NULL, '+48600100200'), ('tel:+48600100200', NULL, '+48600100200'), ('TEL: +48 600 100 200', NULL, '+48600100200'),
  (E'\t+48 600\n100 200 ', NULL, '+48600100200'), (U&'+48\00A0600\00A0100\00A0200', NULL, '+48600100200'), (U&'\200E+48 600 100 200\200B', NULL, '+48600100200'),
  (U&'\202A+48600100200\202C', NULL, '+48600100200'), (U&'\FF0B\FF14\FF18 600 100 200', NULL, '+48600100200'), (U&'+48\2011600\2013100\2212200', NULL, '+48600100200'),
  (U&'+\0664\0668600100200', NULL, '+48600100200'), (U&'+\06F4\06F8600100200', NULL, '+48600100200'), (U&'+48\2007600\202F100\3000200', NULL, '+48600100200'),
  ('+ 48 600 100 200', NULL, '+48600100200'), ('+0048 600100200', NULL, '+48600100200'), ('+48 600~100~200', NULL, '+48600100200'),
  ('600100200', 'PL', '+48600100200'), ('600 100 200', 'PL', '+48600100200'), ('600-100-200', 'pl', '+48600100200'), ('0600100200', 'PL', '+48600100200'),
  ('48600100200', 'PL', '+48600100200'), ('48 600 100 200', 'PL', '+48600100200'), ('0048 600100200', 'PL', '+48600100200'), ('0048 600100200', 'DE', '+48600100200'),
  ('011 48 600 100 200', 'US', '+48600100200'), ('8 10 48 600 100 200', 'RU', '+48600100200'), ('0011 48 600 100 200', 'AU', '+48600100200'), ('010 48 600 100 200', 'JP', '+48600100200'),
  ('+44 (0)20 7946 0958', NULL, '+442079460958'), ('+44 020 7946 0958', NULL, '+442079460958'), ('+44(0)2079460958', NULL, '+442079460958'),
  ('020 7946 0958', 'GB', '+442079460958'), ('(020) 7946-0958', 'GB', '+442079460958'), ('20 7946 0958', 'GB', '+442079460958'), ('0044 20 7946 0958', 'GB', '+442079460958'),
  ('00 44 (0) 20 7946 0958', 'FR', '+442079460958'), ('07911 123456', 'GB', '+447911123456'), ('447911123456', 'GB', '+447911123456'), ('7911 123456', 'GG', '+447911123456'),
  ('(212) 555-0100', 'US', '+12125550100'), ('1-212-555-0100', 'US', '+12125550100'), ('1 (212) 555 0100', 'CA', '+12125550100'), ('+1 212.555.0100', NULL, '+12125550100'),
  ('212/555/0100', 'US', '+12125550100'), ('12125550100', 'US', '+12125550100'), ('001 212 555 0100', 'DE', '+12125550100'),
  ('0151 23456789', 'DE', '+4915123456789'), ('0151/23456789', 'DE', '+4915123456789'), ('4915123456789', 'DE', '+4915123456789'), ('+49 (0)151 2345-6789', NULL, '+4915123456789'),
  ('0049 (0)151 23456789', NULL, '+4915123456789'), ('030 901820', 'DE', '+4930901820'), ('4921 12345', 'DE', '+49492112345'),
  ('06 12 34 56 78', 'FR', '+33612345678'), ('+33 (0)6.12.34.56.78', NULL, '+33612345678'), ('612345678', 'FR', '+33612345678'), ('33612345678', 'FR', '+33612345678'),
  ('06 1234 5678', 'IT', '+390612345678'), ('+39 06 1234 5678', NULL, '+390612345678'), ('+39 (0)6 1234 5678', NULL, '+390612345678'), ('347 1234567', 'IT', '+393471234567'),
  ('39 347 1234567', 'IT', '+393471234567'), ('3912345678', 'IT', '+393912345678'), ('0039 347 1234567', 'IT', '+393471234567'),
  ('8 (912) 345-67-89', 'RU', '+79123456789'), ('+7 912 345 67 89', NULL, '+79123456789'), ('+7 8 912 345 67 89', NULL, '+79123456789'), ('912 345-67-89', 'RU', '+79123456789'), ('8 701 234 5678', 'KZ', '+77012345678'),
  ('06 20 123 4567', 'HU', '+36201234567'), ('20/123-4567', 'HU', '+36201234567'), ('+36 06 20 123 4567', NULL, '+36201234567'), ('06-1-234-5678', 'HU', '+3612345678'),
  ('0412 345 678', 'AU', '+61412345678'), ('090-1234-5678', 'JP', '+819012345678'), ('(11) 91234-5678', 'BR', '+5511912345678'), ('5511912345678', 'BR', '+5511912345678'),
  ('011 91234-5678', 'BR', '+5511912345678'), ('098765 43210', 'IN', '+919876543210'), ('91 98765 43210', 'IN', '+919876543210'), ('0664 1234567', 'AT', '+436641234567'),
  ('079 123 45 67', 'CH', '+41791234567'), ('070-123 45 67', 'SE', '+46701234567'), ('040 1234567', 'FI', '+358401234567'), ('20 12 34 56', 'DK', '+4520123456'),
  ('8 612 34567', 'LT', '+37061234567'), ('067 123 4567', 'UA', '+380671234567'), ('0532 123 45 67', 'TR', '+905321234567'), ('600 12 34 56', 'ES', '+34600123456'),
  ('777 123 456', 'CZ', '+420777123456'), ('087 123 4567', 'IE', '+353871234567'), ('01 23 45 67 89', 'CI', '+2250123456789'), ('+225 01 23 45 67 89', NULL, '+2250123456789'),
  -- What cannot be told stays its digits; what is no number stays a text.
  ('600 100 200', NULL, '600100200'), ('0600-100-200', NULL, '0600100200'), ('600 100 200', 'XX', '600100200'), ('123', 'PL', '123'),
  ('+1234567890123456789', NULL, '+1234567890123456789'), ('1-800-FLOWERS', 'US', '1-800-FLOWERS'), (' ', 'PL', ''), ('', NULL, '');
SELECT count(*) > 100 AS many FROM spelling;
SELECT s.*, retention._normal_address('sms', number, country) AS found FROM spelling s WHERE normal IS DISTINCT FROM retention._normal_address('sms', number, country);
-- What is normal stays so.
SELECT s.* FROM spelling s WHERE normal IS DISTINCT FROM retention._normal_address('sms', normal, country) AND normal LIKE '+%';

-- Bytes, for psql finds letters without a width as wide as its version does.
SELECT encode(convert_to(a, 'UTF8'), 'escape') AS written, retention._normal_address('email', a, NULL) AS normal
  FROM unnest(ARRAY[' Ann@Example.COM ', E'\tann@example.com\n', U&'\FEFFann@example.com\200B', U&'\00A0\2003ann@example.com\00A0', 'a.n.n+shop@gmail.com', 'Ann Lee <ann@example.com>', '']) AS a;
SELECT retention._normal_address('email', NULL, 'PL') AS nothing, retention._normal_address(NULL, 'a', 'PL') AS nowhere,
       retention._normal_address('push', ' Token-A ', NULL) AS token;

-- The list, written by whom and how ever, is compared with contacts, whoever wrote them.
CREATE FUNCTION on_list(channel text, address text, country text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  found boolean;
BEGIN
  EXECUTE 'SELECT ' || retention._suppressed('$1', '$2', '$3') INTO found USING channel, address, country;
  RETURN found;
END
$$;
CREATE FUNCTION unmatched(listed text, country text) RETURNS TABLE (number text, in_country text) LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM retention.suppression;
  INSERT INTO retention.suppression VALUES ('sms', listed, 'by hand', now());
  RETURN QUERY SELECT s.number, s.country FROM spelling s WHERE s.normal = '+48600100200' AND on_list('sms', s.number, coalesce(s.country, unmatched.country)) IS NOT TRUE;
END
$$;
SELECT w.*, u.* FROM unnest('{+48600100200,+48 600-100-200,0048600100200,48600100200}'::text[]) AS w, unmatched(w, NULL) AS u;
-- A national number on the list is found by those whose country is known.
SELECT w.*, u.* FROM unnest('{600100200,600 100 200}'::text[]) AS w, unmatched(w, 'PL') AS u WHERE u.in_country = 'PL' OR u.in_country IS NULL;
SELECT on_list('sms', '+48600100201', 'PL') AS another, on_list('email', '600100200', NULL) AS other_channel, on_list('sms', '', 'PL') AS no_number;
DELETE FROM retention.suppression;
SELECT retention.suppress('sms', '600 100 200', country => 'PL'), retention.suppress('email', U&' Ann@EXAMPLE.com\200B');
SELECT channel, address FROM retention.suppression ORDER BY 1;
SELECT on_list('sms', '(+48) 600 100 200', NULL) AS sms, on_list('email', ' ANN@example.com', NULL) AS email, on_list('email', 'a.nn@example.com', NULL) AS dots;

-- Found by index, however long the list is.
INSERT INTO retention.suppression SELECT 'sms', '+4860' || i, 'imported', now() FROM generate_series(1000000, 1020000) AS i;
ANALYZE retention.suppression;
SET enable_seqscan = on;
DO $$
DECLARE
  line text;
  plan text := '';
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) SELECT ' || retention._suppressed('''sms''', 'number', 'country') || ' FROM spelling' LOOP
    plan := plan || line;
  END LOOP;
  RAISE NOTICE 'by index: %, in full: %', plan LIKE '%suppression_normal%', plan LIKE '%Seq Scan on suppression%';
END
$$;

-- The same in flows: at the decision, and at the claim. A country of the contact's, or the metric's.
CREATE TABLE orders (customer_id text, ordered_at timestamptz, amount numeric);
SELECT retention.add_source('orders') > 0 AS added;
SELECT retention.alter_metric('orders', country => 'DE');
SELECT retention.create_flow('{"name": "note", "trigger": {"type": "manual"}, "nodes": [{"id": "m", "type": "message", "channel": "sms", "body": "b", "smart_sending": false}]}'),
       retention.publish('note'), retention.set_status('note', 'live');
DELETE FROM retention.suppression;
SELECT retention.suppress('sms', '+49 151 1'), retention.suppress('sms', '0151 23456789');
INSERT INTO retention.contact (customer_id, phone, sms_consent, country) VALUES
  ('1', '0151 23456789', true, NULL), ('2', '+49 (0)151 23456789', true, NULL), ('3', '600 100 200', true, 'PL'), ('4', '0600 100 300', true, 'pl'), ('5', '0170 1234567', true, NULL);
SELECT retention.enroll('note', i::text) FROM generate_series(1, 5) AS i;
CALL retention.run_flows();
SELECT customer_id, address, state, reason FROM retention.message ORDER BY customer_id;
SELECT retention.suppress('sms', '600100200', 'STOP', 'PL');
SELECT customer_id, address FROM retention.claim_messages('sms');
SELECT retention.alter_metric('orders', country => 'Germany');

SET client_min_messages = warning;
DROP EXTENSION retention CASCADE;
DROP TABLE orders, spelling;
DROP FUNCTION on_list, unmatched;
