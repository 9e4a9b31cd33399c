-- Triggers on members and on views.

CREATE TRIGGER take_turns BEFORE INSERT OR DELETE ON retention.segment_member
  FOR EACH STATEMENT EXECUTE FUNCTION retention._take_turns();
COMMENT ON TRIGGER take_turns ON retention.segment_member IS
  'Makes whoever changes members by hand wait for process_changes, and the other way round.';

CREATE TRIGGER queue_entered AFTER INSERT ON retention.segment_member
  REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._queue_changes();
COMMENT ON TRIGGER queue_entered ON retention.segment_member IS 'Writes new members to the queue.';

CREATE TRIGGER queue_left AFTER DELETE ON retention.segment_member
  REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION retention._queue_changes();
COMMENT ON TRIGGER queue_left ON retention.segment_member IS 'Writes removed members to the queue.';

CREATE TRIGGER refuse_change BEFORE UPDATE OF segment, customer_id
  OR TRUNCATE ON retention.segment_member
  FOR EACH STATEMENT EXECUTE FUNCTION retention._refuse_change();
COMMENT ON TRIGGER refuse_change ON retention.segment_member IS
  'Rejects changes that the queue could not show.';

CREATE TRIGGER find_by_name BEFORE INSERT ON retention.segment
  FOR EACH ROW EXECUTE FUNCTION retention._find_by_name();
COMMENT ON TRIGGER find_by_name ON retention.segment IS 'Finds the relation by its name.';
