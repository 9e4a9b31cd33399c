-- A sender that does nothing but claim and acknowledge, 500 at a time.
SET retention.as_of = '2025-01-01';
DO $$
DECLARE
  ids bigint[];
BEGIN
  LOOP
    ids := ARRAY(SELECT message_id FROM retention.claim_messages('email', 500));
    COMMIT;
    EXIT WHEN ids = '{}';
    PERFORM retention.ack(ids);
    COMMIT;
  END LOOP;
END $$;
