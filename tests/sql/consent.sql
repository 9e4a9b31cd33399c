-- Consent: every change is kept with time and source, goes with the person, and nothing else is kept; who may see addresses.
SET client_min_messages = warning;
SET retention.progress = off;
\set VERBOSITY terse
CREATE EXTENSION IF NOT EXISTS retention;
SET retention.as_of = '2024-06-03 10:00+00';
SET application_name = 'import';
INSERT INTO retention.contact (customer_id, email, phone, email_consent, sms_consent)
  VALUES ('1', 'one@example.com', '+48111', true, true), ('2', 'two@example.com', NULL, true, NULL), ('3', 'three@example.com', NULL, false, NULL);
SELECT count(*) FROM retention.consent_change;
SET application_name = 'preference page';
SET retention.as_of = '2024-06-04 12:00+00';
UPDATE retention.contact SET email_consent = false WHERE customer_id = '1';
-- Again, with another column, by an upsert; several at once, one of which is as it was.
UPDATE retention.contact SET email_consent = false, locale = 'pl' WHERE customer_id = '1';
SET application_name = '';
SET retention.as_of = '2024-06-05 12:00+00';
INSERT INTO retention.contact (customer_id, email_consent, sms_consent, push_consent) VALUES ('1', NULL, false, NULL), ('2', true, true, NULL)
  ON CONFLICT (customer_id) DO UPDATE SET email_consent = excluded.email_consent, sms_consent = excluded.sms_consent, push_consent = excluded.push_consent;
SELECT customer_id, channel, agreed, changed_at AT TIME ZONE 'UTC' AS changed_at, changed_by = session_user AS by_us, source FROM retention.consent_change ORDER BY change_id;
-- Properties that flows set are no consent.
UPDATE retention.contact SET properties = '{"a": 1}', email = 'other@example.com';
SELECT count(*) FROM retention.consent_change;
-- Who unsubscribed, and when.
SELECT customer_id, channel, max(changed_at) AT TIME ZONE 'UTC' AS unsubscribed_at FROM retention.consent_change c
  WHERE agreed IS NOT TRUE AND NOT EXISTS (
    SELECT FROM retention.consent_change l WHERE (l.customer_id, l.channel) = (c.customer_id, c.channel) AND l.change_id > c.change_id AND l.agreed)
  GROUP BY customer_id, channel ORDER BY 1, 2;
-- Contacts that are deleted and inserted again: what differs from what was known last is a change; what is as before is none.
CREATE VIEW kept AS SELECT customer_id, channel, agreed, changed_at AT TIME ZONE 'UTC' AS changed_at, source
  FROM retention.consent_change WHERE customer_id LIKE 'd%' ORDER BY change_id;
SET application_name = 'crm sync';
INSERT INTO retention.contact (customer_id, email_consent, sms_consent) SELECT 'd' || i, true, false FROM generate_series(1, 4) AS i;
SELECT count(*) AS of_new_customers FROM kept;
BEGIN;
DELETE FROM retention.contact WHERE customer_id LIKE 'd%';
INSERT INTO retention.contact (customer_id, email_consent, sms_consent) VALUES ('d1', true, false), ('d2', false, false), ('d3', NULL, true);
COMMIT;
SELECT * FROM kept;
SET retention.as_of = '2024-06-06 12:00+00';
DELETE FROM retention.contact WHERE customer_id = 'd1';
SET retention.as_of = '2024-06-07 12:00+00';
INSERT INTO retention.contact (customer_id, email_consent) VALUES ('d1', true), ('d2', true), ('d4', NULL), ('d5', true)
  ON CONFLICT (customer_id) DO UPDATE SET email_consent = excluded.email_consent;
SELECT * FROM kept;
-- Who unsubscribed: by the latest change of each, of those who are still there.
SELECT customer_id, channel, changed_at::date AS since, source
FROM (SELECT DISTINCT ON (customer_id, channel) * FROM retention.consent_change ORDER BY customer_id, channel, change_id DESC) AS latest
WHERE agreed IS NOT TRUE AND customer_id IN (SELECT customer_id FROM retention.contact) ORDER BY change_id;
-- Nobody's, once they are forgotten; and one person's, once they are merged.
SELECT count(*) FROM retention.forget('d1');
SELECT retention.merge_customers('d2', 'd3');
SELECT * FROM kept;
DELETE FROM retention.contact WHERE customer_id LIKE 'd%';
DELETE FROM retention.consent_change WHERE customer_id LIKE 'd%';
SET application_name = '';
-- A merger is a change where the stricter consent is another one; what was kept follows the person.
SELECT relation, rows FROM retention.merge_customers('1', '2') WHERE relation LIKE '%cons%';
SELECT customer_id, channel, agreed FROM retention.consent_change ORDER BY change_id;
SELECT rows FROM retention.forget('2') WHERE relation = 'consent_change';
SELECT count(*) FROM retention.consent_change;
-- Who reads, sees no address and no message, unless that is granted.
CREATE ROLE consent_analyst;
CREATE ROLE consent_marketer;
SELECT retention.grant_access('consent_analyst', 'analyst'), retention.grant_access('consent_marketer', 'analyst', addresses => true);
SET ROLE consent_analyst;
SELECT customer_id, email_consent, time_zone FROM retention.contact;
SELECT email FROM retention.contact;
SELECT * FROM retention.contact;
SELECT properties FROM retention.contact;
SELECT count(*), count(state), count(queued_at), count(customer_id) FROM retention.message;
SELECT address FROM retention.message;
SELECT * FROM retention.reachable('email') ORDER BY 1;
SELECT context FROM retention.message;
SELECT address FROM retention.suppression;
SELECT channel, reason, suppressed_at FROM retention.suppression;
SELECT count(*) FROM retention.consent_change;
SELECT count(*) FROM retention.flow_performance;
UPDATE retention.consent_change SET agreed = true;
SET ROLE consent_marketer;
SELECT customer_id, email FROM retention.contact;
SELECT count(m.address) FROM retention.message m, retention.suppression s WHERE m.address = s.address;
UPDATE retention.contact SET email = NULL;
RESET ROLE;
-- No column with an address is forgotten here: all that are not listed as harmless are hidden.
SELECT c.oid::regclass AS relation, string_agg(attname, ', ' ORDER BY attnum) AS hidden
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind IN ('r', 'v') AND NOT has_column_privilege('consent_analyst', c.oid, a.attname, 'SELECT')
  GROUP BY c.oid ORDER BY c.oid::regclass::text COLLATE "C";
DROP OWNED BY consent_analyst, consent_marketer;
DROP ROLE consent_analyst, consent_marketer;
DROP EXTENSION retention CASCADE;
