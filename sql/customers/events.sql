-- Orders as events, by which flows start.

CREATE OR REPLACE FUNCTION retention._event_window() RETURNS interval
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN interval '30 days';
COMMENT ON FUNCTION retention._event_window() IS
  'How old an order can be, and still be news. Events are kept for longer, so that none is '
  'recorded twice.';

CREATE OR REPLACE FUNCTION retention._order_moment(
    day timestamptz, known_at timestamptz, time_zone text)
  RETURNS timestamptz
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN least(
    greatest(day, known_at),
    ((day AT TIME ZONE time_zone)::date + 1)::timestamp AT TIME ZONE time_zone
      - interval '1 microsecond');
COMMENT ON FUNCTION retention._order_moment(timestamptz, timestamptz, text) IS
  'When an order happened of which only the day is known, given by its midnight: when it became '
  'known, as far as that is on that day. So an order is after what had happened on its day before '
  'anyone knew of it.';

CREATE OR REPLACE FUNCTION retention._has_days(source retention.source) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce((SELECT retention._base_type(a.atttypid) = 'date'::regtype FROM pg_attribute a
                   WHERE a.attrelid = (source).relation AND a.attname = (source).ordered_at
                     AND a.attnum > 0 AND NOT a.attisdropped), false)
$$;
COMMENT ON FUNCTION retention._has_days(retention.source) IS
  'Whether a source has dates without a time of day.';

CREATE OR REPLACE FUNCTION retention._move_events_from() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.metric');
  -- Times without a zone are all moved: what was no news before must not become it.
  UPDATE retention.source s
    SET events_from = s.events_from AT TIME ZONE OLD.time_zone AT TIME ZONE NEW.time_zone
    FROM pg_attribute a
    WHERE s.metric = NEW.metric AND s.events_from IS NOT NULL
      AND a.attrelid = s.relation AND a.attname = s.ordered_at
      AND retention._base_type(a.atttypid) <> 'timestamptz'::regtype;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._move_events_from() IS
  'Trigger: has the same orders be news in another time zone.';

CREATE OR REPLACE FUNCTION retention._lines_query(
    source retention.source, time_zone text, customer_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format($query$
    SELECT customer_id::text AS customer_id, %s AS order_id, at, amount FROM (%s) AS s (%s)
    WHERE %s AND %s$query$,
    given.expression, retention._keyed_source_query(source, time_zone, customer_ids),
    'customer_id, at, amount' || given.name,
    retention._key_condition('customer_id::text'), retention._readable_condition('at', 'amount'))
  FROM (VALUES (false, 'NULL::text', ''), (true, 'order_id::text', ', order_id'))
    AS given (has_id, expression, name)
  WHERE given.has_id = ((source).order_id IS NOT NULL)
$$;
COMMENT ON FUNCTION retention._lines_query(retention.source, text, text[]) IS
  'The query for those rows of a source, of some customers or, with null, of all, that can be an '
  'order or refund, or part of one.';

CREATE OR REPLACE FUNCTION retention._read_rows(
    source retention.source, time_zone text, as_of timestamptz, customer_ids text[])
  RETURNS retention._order_line[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  is_day boolean := retention._has_days(source);
  news_from timestamptz := CASE WHEN source.events_from IS NOT NULL
    THEN greatest(source.events_from, as_of - retention._event_window()) END;
BEGIN
  RETURN ARRAY(
    SELECT ROW (source.source_id, source.kind, is_day, news_from,
                l.customer_id, l.order_id, l.at, l.amount, NULL)::retention._order_line
    FROM retention._query_of(source.relation,
           format('SELECT * FROM (%s) AS line WHERE at <= $1',
                  retention._lines_query(source, time_zone, customer_ids)), as_of)
      AS l (customer_id text, order_id text, at timestamptz, amount numeric));
END
$$;
COMMENT ON FUNCTION retention._read_rows(retention.source, text, timestamptz, text[]) IS
  'The rows of some customers in a source, up to as_of.';

CREATE OR REPLACE FUNCTION retention._oldest_event() RETURNS timestamptz
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- A day more for another time zone.
  SELECT coalesce((SELECT e.recorded_at - retention._event_window() - interval '1 day'
                   FROM retention.order_event e ORDER BY e.event_id LIMIT 1), 'infinity')
$$;
COMMENT ON FUNCTION retention._oldest_event() IS
  'A time before which no order had an event when it was recorded.';

CREATE OR REPLACE FUNCTION retention._net_orders(
    lines retention._order_line[], history_start timestamptz, since timestamptz, order_ids text[])
  RETURNS retention._order_line[]
  -- Planned for so many as there are.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
  RETURN (
    WITH line AS MATERIALIZED (SELECT * FROM unnest(lines)),
    netted AS MATERIALIZED (
      -- Of several sources the first one that has events.
      SELECT coalesce(min(l.source_id) FILTER (WHERE l.kind = 'order' AND l.news_from IS NOT NULL),
                      min(l.source_id) FILTER (WHERE l.kind = 'order')) AS source_id,
             bool_and(l.is_day) FILTER (WHERE l.kind = 'order') AS is_day,
             min(l.news_from) FILTER (WHERE l.kind = 'order') AS news_from,
             l.customer_id, l.order_id, min(l.at) FILTER (WHERE l.kind = 'order') AS at,
             sum(CASE l.kind WHEN 'order' THEN l.amount ELSE -abs(l.amount) END) AS amount
      FROM line l WHERE l.order_id IS NOT NULL
      GROUP BY l.customer_id, l.order_id
      HAVING min(l.at) FILTER (WHERE l.kind = 'order') IS NOT NULL
      UNION ALL
      SELECT l.source_id, l.is_day, NULL, l.customer_id, NULL, l.at, l.amount
      FROM line l WHERE l.order_id IS NULL AND l.kind = 'order'),
    -- Numbers are those of news, so that only the latest orders have to be sorted.
    older AS (
      SELECT n.customer_id, count(*) FILTER (
        WHERE n.at < since AND n.amount > 0
          AND n.at >= coalesce(history_start, '-infinity')) AS orders
      FROM netted n GROUP BY n.customer_id),
    item AS (
      SELECT n.source_id, 'order', n.is_day, n.news_from, n.customer_id, n.order_id, n.at, n.amount,
             o.orders + count(*) FILTER (
               WHERE n.amount > 0 AND n.at >= coalesce(history_start, '-infinity'))
               OVER (PARTITION BY n.customer_id ORDER BY n.at, octet_length(n.order_id), n.order_id
                     ROWS UNBOUNDED PRECEDING)
      FROM netted n JOIN older o USING (customer_id) WHERE n.at >= since
      UNION ALL
      SELECT n.source_id, 'order', n.is_day, n.news_from, n.customer_id, n.order_id, n.at, n.amount,
             NULL
      FROM netted n WHERE n.at < since
      UNION ALL
      SELECT min(l.source_id), 'refund', bool_and(l.is_day), min(l.news_from),
             l.customer_id, l.order_id, l.at, abs(sum(l.amount)), NULL
      FROM line l WHERE l.kind = 'refund' GROUP BY l.customer_id, l.order_id, l.at)
    -- Blank keys tell no order from another, and the index has no room for longer ones.
    SELECT array_agg(ROW (i.*)::retention._order_line) FROM item i
    WHERE btrim(i.order_id) <> '' AND octet_length(i.order_id) <= 500
      AND (i.at >= since OR i.order_id IN (SELECT o FROM unnest(order_ids) AS o)));
END
$$;
COMMENT ON FUNCTION retention._net_orders(
  retention._order_line[], timestamptz, timestamptz, text[]) IS
  'The orders that rows of some customers add up to, as retention.customer counts them, and their '
  'refunds: all with one time are one. Only those since a time, and those with some ids.';

CREATE OR REPLACE FUNCTION retention._is_time_of(
    at timestamptz, is_day boolean, ordered_at timestamptz, time_zone text)
  RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN at = ordered_at
      OR is_day AND (at AT TIME ZONE time_zone)::date = (ordered_at AT TIME ZONE time_zone)::date;
COMMENT ON FUNCTION retention._is_time_of(timestamptz, boolean, timestamptz, text) IS
  'Whether an event has the time of a refund, by its precision.';

CREATE OR REPLACE FUNCTION retention._told_orders(customer_ids text[]) RETURNS text[]
  -- As in _other_holders.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
AS $$
BEGIN
  RETURN ARRAY(
    SELECT e.order_id FROM retention.order_event e WHERE e.customer_id = ANY (customer_ids));
END
$$;
COMMENT ON FUNCTION retention._told_orders(text[]) IS
  'Ids of the orders of some customers that have events.';

CREATE OR REPLACE FUNCTION retention._other_holders(
    settings retention.metric, items retention._order_line[])
  RETURNS text[]
  -- Looked up by key, however few there are; planned for so many as there are.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
AS $$
DECLARE
  oldest timestamptz := retention._oldest_event();
  customer_ids text[] := ARRAY(SELECT DISTINCT i.customer_id FROM unnest(items) AS i);
BEGIN
  -- A few will do: an order id that many have at once is of many orders, none of which has moved.
  RETURN (
    SELECT array_agg(DISTINCT other.customer_id)
    FROM unnest(items) AS i,
    LATERAL (
      SELECT e.customer_id FROM retention.order_event e
      WHERE (e.order_id, e.source_id, e.kind) = (i.order_id, i.source_id, i.kind)
        AND e.ordered_at IS NOT NULL AND e.customer_id <> i.customer_id LIMIT 3) AS other
    WHERE i.at >= oldest AND other.customer_id <> ALL (customer_ids)
      AND NOT EXISTS (
        SELECT FROM retention.order_event e
        WHERE (e.customer_id, e.order_id, e.kind) = (i.customer_id, i.order_id, i.kind)
          AND e.metric = settings.metric));
END
$$;
COMMENT ON FUNCTION retention._other_holders(retention.metric, retention._order_line[]) IS
  'The customers who had orders that others have now, as far as is known: they are looked at too, '
  'for they may have lost them.';

CREATE OR REPLACE FUNCTION retention._own_events(
    settings retention.metric, customer_ids text[], items retention._order_line[])
  RETURNS TABLE (event_id bigint, place bigint)
  -- As in _other_holders.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH present AS MATERIALIZED (
      SELECT i.*, row_number() OVER () AS place FROM unnest(items) AS i),
    held AS MATERIALIZED (
      SELECT e.* FROM retention.order_event e
      WHERE e.customer_id = ANY (customer_ids) AND e.metric = settings.metric),
    same AS MATERIALIZED (
      SELECT p.place, h.event_id FROM present p JOIN held h USING (kind, customer_id, order_id)
      WHERE kind = 'refund'
        AND retention._is_time_of(p.at, p.is_day, h.ordered_at, settings.time_zone)),
    turns AS (
      SELECT p.*, row_number() OVER (
        PARTITION BY kind, customer_id, order_id
        ORDER BY place NOT IN (SELECT s.place FROM same s), at) AS turn
      FROM present p),
    held_turns AS (
      SELECT h.*, row_number() OVER (
        PARTITION BY kind, customer_id, order_id
        ORDER BY event_id NOT IN (SELECT s.event_id FROM same s), ordered_at, event_id) AS turn
      FROM held h)
    SELECT h.event_id, p.place
    FROM turns p FULL JOIN held_turns h USING (kind, customer_id, order_id, turn);
END
$$;
COMMENT ON FUNCTION retention._own_events(retention.metric, text[], retention._order_line[]) IS
  'Which of some customers'' orders and refunds, by their place in items, their events are of. Of '
  'an order''s refunds those of the same time belong together, of the others, whose dates have '
  'changed, the earliest, and so on.';

CREATE OR REPLACE FUNCTION retention._match_events(
    settings retention.metric, customer_ids text[], items retention._order_line[])
  RETURNS TABLE (event_id bigint, place bigint)
  -- As in _other_holders.
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET plan_cache_mode = force_custom_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH own AS MATERIALIZED (SELECT * FROM retention._own_events(settings, customer_ids, items)),
    lacking AS MATERIALIZED (
      SELECT place, i.kind, i.source_id, i.order_id, row_number() OVER (
        PARTITION BY i.kind, i.source_id, i.order_id ORDER BY i.at, i.customer_id) AS turn
      FROM own o
      JOIN (SELECT i.*, row_number() OVER () AS place FROM unnest(items) AS i) AS i USING (place)
      WHERE o.event_id IS NULL AND i.at >= (SELECT retention._oldest_event())),
    free AS (
      SELECT e.event_id, kind, source_id, order_id, row_number() OVER (
        PARTITION BY kind, source_id, order_id ORDER BY e.ordered_at, e.event_id) AS turn
      FROM (SELECT DISTINCT kind, source_id, order_id FROM lacking) AS l
      JOIN retention.order_event e USING (kind, source_id, order_id)
      LEFT JOIN own o ON o.event_id = e.event_id
      WHERE e.metric = settings.metric AND o.place IS NULL
        AND (o.event_id IS NOT NULL OR e.ordered_at IS NULL)),
    moved AS MATERIALIZED (
      SELECT f.event_id, l.place FROM lacking l JOIN free f USING (kind, source_id, order_id, turn))
    SELECT o.event_id, o.place FROM own o
    WHERE (o.event_id IN (SELECT m.event_id FROM moved m)
           OR o.place IN (SELECT m.place FROM moved m)) IS NOT TRUE
    UNION ALL TABLE moved;
END
$$;
COMMENT ON FUNCTION retention._match_events(retention.metric, text[], retention._order_line[]) IS
  'Which order or refund each event is of, wherever its date, amount, and customer have gone: of '
  'an order that its customer does not have, the same order of another one. No place: it is gone; '
  'no event: it has none.';

CREATE OR REPLACE FUNCTION retention._write_events(
    settings retention.metric, as_of timestamptz, customer_ids text[],
    items retention._order_line[])
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
  WITH matched AS MATERIALIZED (
    SELECT m.event_id, i.*, coalesce(e.recorded_at, as_of) AS known_at,
           e.customer_id AS held_by, e.ordered_at AS held_at, e.net_amount AS held_amount
    FROM retention._match_events(settings, customer_ids, items) AS m
    LEFT JOIN (SELECT i.*, row_number() OVER () AS place FROM unnest(items) AS i) AS i USING (place)
    LEFT JOIN retention.order_event e USING (event_id)),
  dated AS (
    SELECT m.*, coalesce(m.customer_id, m.held_by) AS holder,
           CASE WHEN m.is_day THEN retention._order_moment(m.at, m.known_at, settings.time_zone)
                ELSE m.at END AS moment
    FROM matched m),
  corrected AS (
    UPDATE retention.order_event e
    SET customer_id = d.holder, ordered_at = d.moment, net_amount = d.amount
    FROM dated d
    WHERE e.event_id = d.event_id
      AND (d.held_by, d.held_at, d.held_amount) IS DISTINCT FROM (d.holder, d.moment, d.amount))
  INSERT INTO retention.order_event (
      metric, source_id, kind, customer_id, order_id,
      occurred_at, amount, recorded_at, number, ordered_at, net_amount)
    SELECT settings.metric, d.source_id, d.kind, d.customer_id, d.order_id,
           d.at, d.amount, as_of, d.number, d.moment, d.amount
    FROM dated d
    WHERE d.event_id IS NULL AND d.amount > 0 AND d.at >= d.news_from
    ORDER BY d.at, d.customer_id, octet_length(d.order_id), d.order_id
$$;
COMMENT ON FUNCTION retention._write_events(
  retention.metric, timestamptz, text[], retention._order_line[]) IS
  'Corrects the events of some customers by their orders and refunds, and records those that are '
  'news.';

CREATE OR REPLACE FUNCTION retention._record_events(
    settings retention.metric, as_of timestamptz, customer_ids text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  history_start timestamptz := retention._history_start(settings, as_of);
  since timestamptz := least(retention._oldest_event(), as_of - retention._event_window());
  source retention.source;
  lines retention._order_line[];
  items retention._order_line[];
  others text[] := customer_ids;
BEGIN
  customer_ids := '{}';
  FOR pass IN 1 .. 2 LOOP
    customer_ids := customer_ids || others;
    FOR source IN
      SELECT * FROM retention.source s
      WHERE s.metric = settings.metric AND (s.kind = 'order' OR s.order_id IS NOT NULL)
      ORDER BY s.source_id
    LOOP
      lines := lines || retention._read_rows(source, settings.time_zone, as_of, others);
    END LOOP;
    items := retention._net_orders(lines, history_start, since,
                                   retention._told_orders(customer_ids));
    others := retention._other_holders(settings, items);
    EXIT WHEN others IS NULL;
  END LOOP;
  PERFORM retention._write_events(settings, as_of, customer_ids, items);
END
$$;
COMMENT ON FUNCTION retention._record_events(retention.metric, timestamptz, text[]) IS
  'Brings the events of some customers up to date, and of those whose orders they have taken over.';

CREATE OR REPLACE FUNCTION retention._unrecorded(
    source retention.source, time_zone text, as_of timestamptz)
  RETURNS text[]
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  since timestamptz := greatest(source.events_from, as_of - retention._event_window());
  is_day boolean := retention._has_days(source);
  batch record;
  customer_ids text[] := '{}';
BEGIN
  FOR batch IN
    SELECT q.* FROM retention._query_of(source.relation, format($query$
      SELECT array_agg(customer_id), array_agg(order_id), array_agg(at)
      FROM (SELECT *, row_number() OVER () / 10000 AS number
            FROM (%s) AS line WHERE at BETWEEN $1 AND $2) AS recent
      GROUP BY number$query$, retention._lines_query(source, time_zone, NULL)), since, as_of)
      AS q (customer_ids text[], order_ids text[], times timestamptz[])
  LOOP
    customer_ids := customer_ids || ARRAY(
      SELECT DISTINCT n.customer_id
      FROM (SELECT customer_id COLLATE "C" AS customer_id, order_id COLLATE "C" AS order_id, at
            FROM unnest(batch.customer_ids, batch.order_ids, batch.times)
              AS u (customer_id, order_id, at)) AS n
      WHERE NOT EXISTS (
        SELECT FROM retention.order_event e
        WHERE (e.customer_id, e.order_id) = (n.customer_id, n.order_id)
          AND (e.metric, e.kind) = (source.metric, source.kind)
          AND (e.kind = 'order' OR retention._is_time_of(n.at, is_day, e.ordered_at, time_zone))));
  END LOOP;
  RETURN customer_ids;
END
$$;
COMMENT ON FUNCTION retention._unrecorded(retention.source, text, timestamptz) IS
  'Customers with an order or refund in a source that would be news, and has no event.';

CREATE OR REPLACE FUNCTION retention._record_all_events(
    settings retention.metric, as_of timestamptz, changed text[])
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  batch CONSTANT integer := 10000;
  source retention.source;
  customer_ids text[] := changed;
BEGIN
  FOR source IN
    SELECT * FROM retention.source s
    WHERE s.metric = settings.metric AND s.events_from IS NOT NULL ORDER BY s.source_id
  LOOP
    customer_ids := customer_ids || retention._unrecorded(source, settings.time_zone, as_of);
  END LOOP;
  customer_ids := ARRAY(SELECT DISTINCT k COLLATE "C" FROM unnest(customer_ids) AS k);
  FOR start IN 1 .. cardinality(customer_ids) BY batch LOOP
    -- Numbers are drawn under this lock, so that their order is that of the commits.
    PERFORM retention._lock_queue();
    PERFORM retention._record_events(settings, as_of, customer_ids[start : start + batch - 1]);
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention._record_all_events(retention.metric, timestamptz, text[]) IS
  'Records what is news in the sources of a metric, and brings the events of customers who have '
  'changed up to date.';
