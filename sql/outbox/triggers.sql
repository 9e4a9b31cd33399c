-- Triggers on messages.

CREATE TRIGGER release_coupon AFTER UPDATE OF state ON retention.message FOR EACH ROW
  WHEN (NEW.state IN ('suppressed', 'dead') AND NEW.state <> OLD.state
        AND OLD.context ? 'coupon') EXECUTE FUNCTION retention._release_coupon();
COMMENT ON TRIGGER release_coupon ON retention.message IS
  'Takes codes back from messages that will not be sent after all.';
