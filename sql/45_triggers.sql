-- Triggers. Run once, when their functions exist.

CREATE TRIGGER check_metric BEFORE INSERT OR UPDATE ON retention.metric
  FOR EACH ROW EXECUTE FUNCTION retention._check_metric();
COMMENT ON TRIGGER check_metric ON retention.metric IS 'Rejects settings that cannot be scored by.';

-- Of the row views read any setting: the zone of days, the number of scores.
CREATE TRIGGER note_new_settings AFTER UPDATE ON retention.metric FOR EACH ROW
  WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION retention._note_settings();
COMMENT ON TRIGGER note_new_settings ON retention.metric IS 'Has segments know why customers move.';

CREATE TRIGGER note_old_settings BEFORE UPDATE ON retention.metric FOR EACH ROW
  WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION retention._note_settings();
COMMENT ON TRIGGER note_old_settings ON retention.metric IS 'Has segments be as the settings of before make them.';

CREATE TRIGGER drop_sources AFTER DELETE ON retention.metric
  FOR EACH ROW EXECUTE FUNCTION retention._drop_sources();
COMMENT ON TRIGGER drop_sources ON retention.metric IS 'Removes what a dropped metric had.';

CREATE TRIGGER check_source BEFORE INSERT OR UPDATE OF relation, kind, customer_id, ordered_at, amount, order_id ON retention.source
  FOR EACH ROW EXECUTE FUNCTION retention._check_source();
COMMENT ON TRIGGER check_source ON retention.source IS 'Rejects relations and columns that cannot be read.';

CREATE TRIGGER keep_cell BEFORE INSERT OR UPDATE ON retention.rfm_cell
  FOR EACH ROW EXECUTE FUNCTION retention._keep_cell();
COMMENT ON TRIGGER keep_cell ON retention.rfm_cell IS 'Marks edited cells, so that dumps keep them.';
