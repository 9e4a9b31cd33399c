-- The orders of all sources as reports need them: netted, numbered, each in its period.

CREATE OR REPLACE FUNCTION retention._check_by(settings retention.metric, by name) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relations regclass[];
  withheld regclass;
BEGIN
  IF by IS NULL THEN
    RETURN;
  END IF;
  SELECT array_agg(s.relation ORDER BY s.source_id) INTO relations FROM retention.source s
    WHERE s.metric = settings.metric AND s.kind = 'order' AND retention._has_column(s.relation, by);
  PERFORM retention._reject_unless(relations IS NOT NULL,
    format('no source of metric "%s" has a column "%s"', settings.metric, by),
    'retention.source lists the sources. Where one is a view, add the column to it.',
    'undefined_column');
  -- The rows are read with their owner's rights, the values are shown to whoever asks.
  SELECT r.relation INTO withheld FROM unnest(relations) AS r (relation)
    WHERE NOT has_column_privilege(retention._caller()::oid, r.relation::oid, by::text, 'SELECT');
  PERFORM retention._reject_unless(withheld IS NULL,
    format('permission denied for column "%s" of %s', by, withheld),
    format('GRANT SELECT (%I) ON %s TO whoever is to see its values.', by, withheld),
    'insufficient_privilege');
END
$$;
COMMENT ON FUNCTION retention._check_by(retention.metric, name) IS
  'An error unless a source of orders has the column to report by, and whoever asks may read it.';

CREATE OR REPLACE FUNCTION retention._entries_query(
    source retention.source, time_zone text, by name)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key_type regtype := retention._key_type(source.relation, source.customer_id);
BEGIN
  RETURN format(
    'SELECT %s, at, amount, order_id, label
     FROM (SELECT %I::text, %s, %I::numeric, %s, %s FROM %s)
       AS s (customer_id, at, amount, order_id, label)
     WHERE at <= $1 AND at >= $2 AND %s',
    CASE WHEN key_type IN ('text', 'varchar')
      THEN format('CASE WHEN %s THEN customer_id END', retention._key_condition('customer_id'))
      ELSE 'customer_id' END,
    source.customer_id,
    retention._time_expression(source.ordered_at,
      retention._column_type(source.relation, 'ordered_at', source.ordered_at), time_zone),
    source.amount,
    CASE WHEN source.order_id IS NULL THEN 'NULL::text' ELSE format('%I::text', source.order_id)
    END,
    CASE WHEN source.kind = 'order' AND retention._has_column(source.relation, by)
      THEN format('%I::text', by) ELSE 'NULL::text' END,
    source.relation, retention._readable_condition('at', 'amount'));
END
$$;
COMMENT ON FUNCTION retention._entries_query(retention.source, text, name) IS
  'The query for the rows of a source from $2 to $1, with the column to report by; guests have no '
  'customer.';

CREATE OR REPLACE FUNCTION retention._entries(
    settings retention.metric, as_of timestamptz, by name)
  RETURNS TABLE (
    customer_id text, at timestamptz, order_id text, gross numeric, net numeric, is_order boolean,
    label text)
  LANGUAGE sql STABLE ROWS 1000000
BEGIN ATOMIC
  WITH line AS (
    SELECT q.customer_id, q.at, q.order_id, q.label, s.kind = 'refund' AS is_refund,
           CASE s.kind WHEN 'refund' THEN -abs(q.amount) ELSE q.amount END AS amount,
           CASE WHEN q.order_id IS NULL THEN row_number() OVER () END AS single
    FROM retention.source s,
         retention._query_of(s.relation,
           retention._entries_query(s, (settings).time_zone, by), as_of,
           coalesce(retention._history_start(settings, as_of), '-infinity'))
           AS q (customer_id text, at timestamptz, amount numeric, order_id text, label text)
    WHERE s.metric = (settings).metric),
  netted AS (
    SELECT l.customer_id, l.order_id, min(l.at) FILTER (WHERE NOT l.is_refund) AS at,
           sum(l.amount) FILTER (WHERE NOT l.is_refund) AS gross, sum(l.amount) AS net,
           min(l.label) AS label,
           array_agg(l.at) FILTER (WHERE l.is_refund) AS refunded_at,
           array_agg(l.amount) FILTER (WHERE l.is_refund) AS refunds
    FROM line l GROUP BY l.customer_id, l.order_id, l.single)
  -- An order and its refunds, each at its own time; what is refunded in full was no order, nor
  -- money.
  SELECT n.customer_id, e.at, n.order_id, e.gross, e.net, e.is_order, n.label
  FROM netted n
  CROSS JOIN LATERAL (
    SELECT n.at, CASE WHEN n.net > 0 THEN n.gross ELSE 0 END AS gross,
           CASE WHEN n.net > 0 THEN n.gross ELSE n.net END AS net, n.net > 0 AS is_order
    WHERE n.at IS NOT NULL
    UNION ALL
    SELECT r.at, 0, r.amount, false
    FROM unnest(n.refunded_at, n.refunds) AS r (at, amount) WHERE n.at IS NULL OR n.net > 0) AS e;
END;
COMMENT ON FUNCTION retention._entries(retention.metric, timestamptz, name) IS
  'What customers ordered and what was refunded, up to a moment, by the rules of the metric: '
  'gross is an order''s amount, net what each row adds to revenue; guests have no customer_id. '
  'With the least value that an order has in the column to report by.';

CREATE OR REPLACE FUNCTION retention._numbered_entries(
    settings retention.metric, as_of timestamptz, period text, by name DEFAULT NULL)
  RETURNS TABLE (
    customer_id text, at timestamptz, gross numeric, net numeric, is_order boolean, number bigint,
    next_at timestamptz, period_start date, first_period date, first_label text,
    starts_period boolean)
  LANGUAGE sql STABLE ROWS 1000000
BEGIN ATOMIC
  SELECT e.customer_id, e.at, e.gross, e.net, e.is_order,
         CASE WHEN e.is_order THEN row_number() OVER own END,
         lead(CASE WHEN e.is_order THEN e.at END) OVER own, e.period_start,
         first_value(CASE WHEN e.is_order THEN e.period_start END) OVER own,
         first_value(e.label) OVER own,
         e.is_order AND lag(e.period_start) OVER own IS DISTINCT FROM e.period_start
  FROM (SELECT *, retention._period_start(retention._local_date(n.at, (settings).time_zone),
                                          period) AS period_start
        FROM retention._entries(settings, as_of, by) AS n) AS e
  -- A customer's orders as they came, and then what is none.
  WINDOW own AS (PARTITION BY e.customer_id ORDER BY e.is_order DESC, e.at,
                 e.order_id COLLATE "C");
END;
COMMENT ON FUNCTION retention._numbered_entries(retention.metric, timestamptz, text, name) IS
  'The same with the number of each order of its customer, the time of the next one, the first '
  'day of its period, the customer''s first period and label, and whether it is the customer''s '
  'first order of its period.';
