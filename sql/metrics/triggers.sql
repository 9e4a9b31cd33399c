-- Triggers on metrics, sources and schemes.

CREATE TRIGGER check_metric BEFORE INSERT OR UPDATE ON retention.metric
  FOR EACH ROW EXECUTE FUNCTION retention._check_metric();
COMMENT ON TRIGGER check_metric ON retention.metric IS 'Rejects settings that cannot be scored by.';

CREATE TRIGGER check_source BEFORE INSERT OR UPDATE OF relation, kind, customer_id, ordered_at,
amount, order_id ON retention.source
  FOR EACH ROW EXECUTE FUNCTION retention._check_source();
COMMENT ON TRIGGER check_source ON retention.source IS
  'Rejects relations and columns that cannot be read.';

CREATE TRIGGER keep_cell BEFORE INSERT OR UPDATE ON retention.rfm_cell
  FOR EACH ROW EXECUTE FUNCTION retention._keep_cell();
COMMENT ON TRIGGER keep_cell ON retention.rfm_cell IS
  'Marks edited cells, so that dumps keep them.';
