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

CREATE TRIGGER note_consent_gone AFTER DELETE ON retention.contact
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT
  EXECUTE FUNCTION retention._note_consent_gone();
COMMENT ON TRIGGER note_consent_gone ON retention.contact IS 'Keeps that consents are gone.';

CREATE TRIGGER note_consent_again AFTER INSERT ON retention.contact
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
  EXECUTE FUNCTION retention._note_consent_again();
COMMENT ON TRIGGER note_consent_again ON retention.contact IS 'Keeps that consents are other ones.';

CREATE TRIGGER find_by_name BEFORE INSERT ON retention.contact_source
  FOR EACH ROW EXECUTE FUNCTION retention._find_by_name();
COMMENT ON TRIGGER find_by_name ON retention.contact_source IS 'Finds the relation by its name.';

CREATE TRIGGER check_suppression BEFORE INSERT OR UPDATE ON retention.suppression
  FOR EACH ROW EXECUTE FUNCTION retention._check_suppression();
COMMENT ON TRIGGER check_suppression ON retention.suppression IS
  'Rejects what holds nobody''s messages back.';
