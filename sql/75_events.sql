-- Order events: orders and refunds that are news, for those who act on each of them.

CREATE TABLE retention.order_event (
  event_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  metric      text NOT NULL,
  source_id   integer NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('order', 'refund')),
  customer_id text COLLATE "C" NOT NULL,
  order_id    text COLLATE "C" NOT NULL,
  occurred_at timestamptz NOT NULL,
  amount      numeric NOT NULL,
  recorded_at timestamptz NOT NULL
);
CREATE INDEX order_event_customer ON retention.order_event (customer_id, order_id);
CREATE INDEX order_event_occurred_at ON retention.order_event USING brin (occurred_at);
COMMENT ON TABLE retention.order_event IS 'New orders and refunds of sources that were added with events => true, once each. Written by process_changes.';
COMMENT ON COLUMN retention.order_event.event_id IS 'Number of the event. Ascending in the order of commits.';
COMMENT ON COLUMN retention.order_event.metric IS 'Metric of the source.';
COMMENT ON COLUMN retention.order_event.source_id IS 'Source that has the order or refund.';
COMMENT ON COLUMN retention.order_event.kind IS 'order or refund.';
COMMENT ON COLUMN retention.order_event.customer_id IS 'The shop''s key of the customer, as text.';
COMMENT ON COLUMN retention.order_event.order_id IS 'The shop''s key of the order, as text.';
COMMENT ON COLUMN retention.order_event.occurred_at IS 'Time of the order, or of the refund.';
COMMENT ON COLUMN retention.order_event.amount IS 'Sum of the order''s lines; of a refund the sum given back, positive.';
COMMENT ON COLUMN retention.order_event.recorded_at IS 'Engine''s time at which it was found.';

SELECT pg_extension_config_dump('retention.order_event', '');
SELECT pg_extension_config_dump('retention.order_event_event_id_seq', '');

CREATE OR REPLACE FUNCTION retention._event_window() RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN interval '30 days';
COMMENT ON FUNCTION retention._event_window() IS 'How old an order can be, and still be news. Events are kept for longer, so that none is recorded twice.';

CREATE OR REPLACE FUNCTION retention._record_events(source retention.source, time_zone text, as_of timestamptz, customer_ids text[] DEFAULT NULL)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
  -- As in _read_metric.
  SET DateStyle = 'ISO, YMD' SET IntervalStyle = postgres SET extra_float_digits = 1 SET bytea_output = hex SET TimeZone = 'UTC'
AS $$
DECLARE
  batch CONSTANT integer := 10000;
  since timestamptz := greatest(source.events_from, as_of - retention._event_window());
  -- An order is news once, when its first line appears; each refund of it has its own time.
  is_recorded CONSTANT text := $condition$EXISTS (
    SELECT FROM retention.order_event e
    WHERE e.customer_id = n.customer_id AND e.order_id = n.order_id AND e.source_id = ($1).source_id
      AND (e.kind = 'order' OR e.occurred_at = n.at))$condition$;
  -- The keys of both have to fit an entry of the index.
  lines text := format($query$
    SELECT customer_id::text COLLATE "C" AS customer_id, order_id::text COLLATE "C" AS order_id, at, amount
    FROM (%s) AS s (customer_id, at, amount, order_id)
    WHERE octet_length(customer_id::text) <= 2000 AND octet_length(order_id::text) <= 500 AND amount IS NOT NULL$query$, retention._keyed_source_query(source, time_zone, customer_ids));
BEGIN
  IF customer_ids IS NULL THEN
    -- Numbers are drawn under this lock, so that their order is that of the commits.
    PERFORM retention._lock_queue();
    EXECUTE format('SELECT array_agg(DISTINCT n.customer_id) FROM (%s) AS n WHERE at BETWEEN $2 AND $3 AND NOT %s', lines, is_recorded)
      INTO customer_ids USING source, since, as_of;
    FOR start IN 1 .. coalesce(cardinality(customer_ids), 0) BY batch LOOP
      PERFORM retention._record_events(source, time_zone, as_of, customer_ids[start : start + batch - 1]);
    END LOOP;
    RETURN;
  END IF;
  EXECUTE format($query$
    INSERT INTO retention.order_event (metric, source_id, kind, customer_id, order_id, occurred_at, amount, recorded_at)
    SELECT ($1).metric, ($1).source_id, ($1).kind, n.customer_id, n.order_id, n.at, n.amount, $3
    FROM (SELECT customer_id, order_id, min(at) AS at,
                 CASE WHEN ($1).kind = 'refund' THEN abs(sum(amount)) ELSE sum(amount) END AS amount
          FROM (%s) AS line
          GROUP BY customer_id, order_id, CASE WHEN ($1).kind = 'refund' THEN at END
          HAVING min(at) BETWEEN $2 AND $3) AS n
    WHERE n.amount > 0 AND NOT %s
    ORDER BY n.at, n.customer_id, n.order_id
  $query$, lines, is_recorded) USING source, since, as_of;
END
$$;
COMMENT ON FUNCTION retention._record_events(retention.source, text, timestamptz, text[]) IS
  'Records those orders, or refunds, that are new: of some customers, or, with null, of all who have one.';
