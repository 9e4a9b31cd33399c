-- Drops what is too old to be asked for.

CREATE OR REPLACE FUNCTION retention.prune(keep interval DEFAULT '90 days') RETURNS bigint
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  oldest timestamptz := retention.now() - retention._span(keep);
  changes bigint;
  events bigint;
BEGIN
  PERFORM retention._reject_unless(keep >= retention._event_window(),
                                   format('at least %s have to be kept, not %s',
                                          retention._event_window(), coalesce(keep::text, 'null')),
    'Orders of that age can still be news.');
  PERFORM retention._check_span('keep', keep, 1);
  -- From the oldest row on, up to the first one that has to stay.
  DELETE FROM retention.segment_change c
    WHERE c.change_id < coalesce((SELECT n.change_id FROM retention.segment_change n
                                  WHERE n.as_of >= oldest
                                  ORDER BY n.change_id LIMIT 1), 9223372036854775807)
      AND c.change_id <= coalesce((SELECT min(position) FROM retention.segment_consumer),
                                  9223372036854775807);
  GET DIAGNOSTICS changes = ROW_COUNT;
  -- Known and dated so long ago, whatever the time zone, that it would not be news again.
  DELETE FROM retention.order_event e
    WHERE e.occurred_at < oldest - interval '1 day'
      AND greatest(e.recorded_at, e.ordered_at) < oldest - interval '1 day';
  GET DIAGNOSTICS events = ROW_COUNT;
  RETURN changes + events;
END
$$;
COMMENT ON FUNCTION retention.prune(interval) IS
  'Removes older changes from the queue, as far as every consumer has read them, and older order '
  'events. Returns the number of rows.';
