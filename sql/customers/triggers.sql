-- Triggers on sources that concern events.

CREATE TRIGGER move_events_from AFTER UPDATE ON retention.metric
  FOR EACH ROW WHEN (OLD.time_zone <> NEW.time_zone) EXECUTE FUNCTION retention._move_events_from();
COMMENT ON TRIGGER move_events_from ON retention.metric IS
  'Has the same orders be news in another time zone.';
