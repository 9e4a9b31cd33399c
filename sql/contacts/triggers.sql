-- Triggers and indexes of contacts.

CREATE TRIGGER check_contact
  BEFORE INSERT OR UPDATE OF customer_id, time_zone, country, properties ON retention.contact
  -- The function is called for few rows only.
  FOR EACH ROW WHEN (
    NEW.time_zone IS NOT NULL OR octet_length(NEW.customer_id) > 2000 OR NEW.customer_id IS NULL
    OR NEW.country !~ '^[A-Za-z]{2}$' OR jsonb_typeof(NEW.properties) IS DISTINCT FROM 'object')
  EXECUTE FUNCTION retention._check_contact();
COMMENT ON TRIGGER check_contact ON retention.contact IS
  'Rejects time zones that do not exist, keys that are too long, and what is no country or no '
  'object.';

CREATE TRIGGER note_consent
  AFTER UPDATE OF email_consent, sms_consent, push_consent ON retention.contact FOR EACH ROW
  WHEN ((OLD.email_consent, OLD.sms_consent, OLD.push_consent)
        IS DISTINCT FROM (NEW.email_consent, NEW.sms_consent, NEW.push_consent))
  EXECUTE FUNCTION retention._note_consent();
COMMENT ON TRIGGER note_consent ON retention.contact IS 'Keeps changes of consent.';

-- Rows may be written by hand, in any spelling.
CREATE INDEX suppression_normal ON retention.suppression (channel,
                                                          (retention._normal_address(channel,
                                                              address, NULL) COLLATE "C"));
