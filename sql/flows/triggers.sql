-- Triggers on flows.

CREATE TRIGGER note_inserted AFTER INSERT ON retention.contact
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._note_contacts();
COMMENT ON TRIGGER note_inserted ON retention.contact IS 'Has flows look again at these customers.';
CREATE TRIGGER note_updated AFTER UPDATE ON retention.contact
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._note_contacts();
COMMENT ON TRIGGER note_updated ON retention.contact IS 'Has flows look again at these customers.';

CREATE TRIGGER find_owner BEFORE INSERT OR UPDATE OF owner ON retention.flow
  FOR EACH ROW EXECUTE FUNCTION retention._find_owner();
COMMENT ON TRIGGER find_owner ON retention.flow IS 'Finds the owner by its name.';
