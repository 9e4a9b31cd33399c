-- Triggers on the settings of metrics.

-- Views may read any setting of the row: the zone of days, the number of scores.
CREATE TRIGGER note_new_settings AFTER UPDATE ON retention.metric FOR EACH ROW
  WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION retention._note_settings();
COMMENT ON TRIGGER note_new_settings ON retention.metric IS
  'Has segments know why customers move, and nobody who waits be woken by it.';

CREATE TRIGGER note_old_settings BEFORE UPDATE ON retention.metric FOR EACH ROW
  WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION retention._note_settings();
COMMENT ON TRIGGER note_old_settings ON retention.metric IS
  'Has segments be as the settings of before make them.';

CREATE TRIGGER drop_sources AFTER DELETE ON retention.metric
  FOR EACH ROW EXECUTE FUNCTION retention._drop_sources();
COMMENT ON TRIGGER drop_sources ON retention.metric IS 'Removes what a dropped metric had.';
