-- Consumers of the queue outside the database.

CREATE OR REPLACE FUNCTION retention.add_consumer(consumer text, from_start boolean DEFAULT false)
  RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_length('the name of a consumer', 'name', consumer);
  PERFORM retention._reject_unless(NOT EXISTS (SELECT FROM retention.segment_consumer c
                                               WHERE c.consumer = add_consumer.consumer),
    format('consumer "%s" already exists', consumer), 'drop_consumer removes it.',
    'duplicate_object');
  INSERT INTO retention.segment_consumer (consumer, position)
    VALUES (consumer, CASE WHEN from_start THEN 0
            ELSE coalesce((SELECT max(change_id) FROM retention.segment_change), 0) END);
END
$$;
COMMENT ON FUNCTION retention.add_consumer(text, boolean) IS
  'Makes a reader of the queue, who starts with the next change, or with the oldest one that is '
  'kept.';

CREATE OR REPLACE FUNCTION retention.drop_consumer(consumer text) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM retention.segment_consumer c WHERE c.consumer = drop_consumer.consumer;
  PERFORM retention._reject_unless(FOUND, format('consumer %s does not exist',
                                                 coalesce('"' || consumer || '"', 'null')),
    'retention.segment_consumer lists those there are.', 'undefined_object');
END
$$;
COMMENT ON FUNCTION retention.drop_consumer(text) IS
  'Removes a reader of the queue; prune no longer waits for it.';

CREATE OR REPLACE FUNCTION retention.read_segment_changes(
    consumer text, "limit" integer DEFAULT 1000)
  RETURNS SETOF retention.segment_change
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  read_up_to bigint;
  last_id bigint;
BEGIN
  PERFORM retention._reject_unless("limit" > 0,
                                   format('limit must be 1 or more, not %s',
                                          coalesce("limit"::text, 'null')));
  SELECT position INTO read_up_to FROM retention.segment_consumer c
  WHERE c.consumer = read_segment_changes.consumer FOR UPDATE;
  PERFORM retention._reject_unless(FOUND, format('consumer %s does not exist',
                                                 coalesce('"' || consumer || '"', 'null')),
    'add_consumer makes it.', 'undefined_object');
  SELECT max(change_id) INTO last_id
    FROM (SELECT change_id FROM retention.segment_change WHERE change_id > read_up_to
          ORDER BY change_id LIMIT "limit") AS next;
  IF last_id IS NULL THEN
    RETURN;
  END IF;
  UPDATE retention.segment_consumer c SET position = last_id, read_at = clock_timestamp()
  WHERE c.consumer = read_segment_changes.consumer;
  RETURN QUERY
    SELECT s.* FROM retention.segment_change s
    WHERE s.change_id > read_up_to AND s.change_id <= last_id ORDER BY s.change_id;
END
$$;
COMMENT ON FUNCTION retention.read_segment_changes(text, integer) IS
  'The next changes for a consumer, whose position moves in the same transaction: what is rolled '
  'back is read again, what is committed never.';
