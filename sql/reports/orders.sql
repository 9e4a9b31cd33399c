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

CREATE OR REPLACE FUNCTION retention._is_unique(relation regclass, column_name name)
  RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (
    SELECT FROM pg_index i JOIN pg_attribute a ON (a.attrelid, a.attnum) = (i.indrelid, i.indkey[0])
    WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = column_name)
$$;
COMMENT ON FUNCTION retention._is_unique(regclass, name) IS
  'Whether a table has every value of a column in one row only.';

CREATE OR REPLACE FUNCTION retention._dated_lines_query(
    source retention.source, time_zone text, by name)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key_type regtype := retention._key_type(source.relation, source.customer_id);
BEGIN
  RETURN format(
    'SELECT %s AS customer_id, order_id, at, amount, label
     FROM (SELECT %I::text, %s, %s, %I::numeric, %s FROM %s)
       AS s (customer_id, order_id, at, amount, label)
     WHERE at <= $1 AND at >= $2 AND %s',
    CASE WHEN key_type IN ('text', 'varchar')
      THEN format('CASE WHEN %s THEN customer_id END', retention._key_condition('customer_id'))
      ELSE 'customer_id' END,
    source.customer_id,
    CASE WHEN source.order_id IS NULL THEN 'NULL::text' ELSE format('%I::text', source.order_id)
    END,
    retention._time_expression(source.ordered_at,
      retention._column_type(source.relation, 'ordered_at', source.ordered_at), time_zone),
    source.amount,
    CASE WHEN retention._has_column(source.relation, by) THEN format('%I::text', by)
      ELSE 'NULL::text' END,
    source.relation, retention._readable_condition('at', 'amount'));
END
$$;
COMMENT ON FUNCTION retention._dated_lines_query(retention.source, text, name) IS
  'The query for the rows of a source from $2 to $1, with the column to report by; guests have no '
  'customer.';

CREATE OR REPLACE FUNCTION retention._orders_lines_query(
    source retention.source, time_zone text, by name)
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN source.kind = 'refund' OR source.order_id IS NULL
      OR retention._is_unique(source.relation, source.order_id) THEN lines
    -- Here the planner knows how many there are.
    ELSE format('SELECT customer_id, order_id, min(at), sum(amount), min(label)
                 FROM (SELECT *, CASE WHEN order_id IS NULL THEN row_number() OVER () END AS single
                       FROM (%s) AS l) AS m GROUP BY customer_id, order_id, single', lines) END
  FROM retention._dated_lines_query(source, time_zone, by) AS lines
$$;
COMMENT ON FUNCTION retention._orders_lines_query(retention.source, text, name) IS
  'The same with the lines of each order taken together: its first time, its amount, and the least '
  'value of the column to report by.';

CREATE OR REPLACE FUNCTION retention._lines(
    settings retention.metric, as_of timestamptz, kind text, by name)
  RETURNS TABLE (
    customer_id text, order_id text, at timestamptz, amount numeric, label text)
  LANGUAGE sql STABLE ROWS 1000000
BEGIN ATOMIC
  SELECT q.customer_id, q.order_id, q.at, q.amount, q.label
  FROM retention.source s,
       retention._query_of(s.relation,
         retention._orders_lines_query(s, (settings).time_zone, by), as_of,
         coalesce(retention._history_start(settings, as_of), '-infinity'))
         AS q (customer_id text, order_id text, at timestamptz, amount numeric, label text)
  WHERE s.metric = (settings).metric AND s.kind = _lines.kind;
END;
COMMENT ON FUNCTION retention._lines(retention.metric, timestamptz, text, name) IS
  'The orders, or the refunds, of all of a metric''s sources up to a moment.';

CREATE OR REPLACE FUNCTION retention._shares_orders(metric text) RETURNS boolean
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT count(*) > 1 FROM retention.source s
  WHERE s.metric = _shares_orders.metric AND s.kind = 'order' AND s.order_id IS NOT NULL
$$;
COMMENT ON FUNCTION retention._shares_orders(text) IS
  'Whether lines of an order may be in several sources.';

CREATE OR REPLACE FUNCTION retention._refunds(settings retention.metric, as_of timestamptz)
  RETURNS TABLE (
    customer_id text, order_id text, total numeric, at timestamptz, amount numeric)
  -- Fewer than orders: it is these that are kept in memory.
  LANGUAGE sql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp
AS $$
  SELECT g.customer_id, g.order_id, g.total, r.at, r.amount
  FROM (SELECT l.customer_id, l.order_id, sum(-abs(l.amount)) AS total,
               array_agg(l.at) AS refunded_at, array_agg(-abs(l.amount)) AS refunds
        FROM retention._lines(settings, as_of, 'refund', NULL) AS l GROUP BY 1, 2) AS g,
       unnest(NULL::timestamptz || g.refunded_at, 0::numeric || g.refunds) AS r (at, amount)
$$;
COMMENT ON FUNCTION retention._refunds(retention.metric, timestamptz) IS
  'For each order a row without a time, with what was refunded of it in all, and one of each '
  'refund.';

CREATE OR REPLACE FUNCTION retention._entries(
    settings retention.metric, as_of timestamptz, by name)
  RETURNS TABLE (
    customer_id text, at timestamptz, order_id text, gross numeric, net numeric, is_order boolean,
    label text)
  LANGUAGE sql STABLE ROWS 1000000
BEGIN ATOMIC
  WITH ordered AS (
    SELECT l.* FROM retention._lines(settings, as_of, 'order', by) AS l
    WHERE NOT retention._shares_orders((settings).metric)
    UNION ALL
    SELECT m.customer_id, m.order_id, min(m.at), sum(m.amount), min(m.label)
    FROM (SELECT l.*, CASE WHEN l.order_id IS NULL THEN row_number() OVER () END AS single
          FROM retention._lines(settings, as_of, 'order', by) AS l) AS m
    WHERE retention._shares_orders((settings).metric)
    GROUP BY m.customer_id, m.order_id, m.single)
  SELECT e.customer_id, e.at, e.order_id, CASE WHEN e.is_order THEN e.amount ELSE 0 END,
         CASE WHEN e.is_order THEN e.amount WHEN e.refunded_at IS NULL THEN e.net
           ELSE e.refund END,
         e.is_order, e.label
  FROM (SELECT p.*, p.refunded_at IS NULL AND p.net > 0 AS is_order
        FROM (SELECT coalesce(o.customer_id, r.customer_id) AS customer_id,
                     coalesce(r.at, o.at) AS at, coalesce(o.order_id, r.order_id) AS order_id,
                     o.at AS ordered_at, o.amount, r.at AS refunded_at, r.amount AS refund,
                     CASE WHEN r.total IS NULL THEN o.amount ELSE o.amount + r.total END AS net,
                     o.label
              FROM ordered o
              FULL JOIN retention._refunds(settings, as_of) AS r
                ON o.customer_id = r.customer_id AND o.order_id = r.order_id) AS p
        -- What is refunded in full was no order, nor money; a refund may be of no order.
        WHERE CASE WHEN p.refunded_at IS NULL THEN p.ordered_at IS NOT NULL
                ELSE p.ordered_at IS NULL OR p.net > 0 END) AS e;
END;
COMMENT ON FUNCTION retention._entries(retention.metric, timestamptz, name) IS
  'What customers ordered and what was refunded, up to a moment, by the rules of the metric: '
  'gross is an order''s amount, net what each row adds to revenue; guests have no customer_id. '
  'With the least value that an order has in the column to report by.';

CREATE OR REPLACE FUNCTION retention._numbered_entries(
    settings retention.metric, as_of timestamptz, period text, by name DEFAULT NULL)
  RETURNS TABLE (
    customer_id text, at timestamptz, gross numeric, net numeric, is_order boolean, number bigint,
    next_at timestamptz, first_at timestamptz, period_start date, first_period date,
    first_label text, starts_period boolean)
  LANGUAGE sql STABLE ROWS 1000000
BEGIN ATOMIC
  SELECT e.customer_id, e.at, e.gross, e.net, e.is_order,
         CASE WHEN e.is_order THEN row_number() OVER own END,
         lead(CASE WHEN e.is_order THEN e.at END) OVER own,
         first_value(CASE WHEN e.is_order THEN e.at END) OVER own, e.period_start,
         first_value(CASE WHEN e.is_order THEN e.period_start END) OVER own,
         first_value(e.label) OVER own,
         e.is_order AND lag(e.period_start) OVER own IS DISTINCT FROM e.period_start
  FROM (SELECT *, retention._period_start(retention._local_date(n.at, (settings).time_zone),
                                          period) AS period_start
        -- Computed once, not by each window.
        FROM retention._entries(settings, as_of, by) AS n OFFSET 0) AS e
  -- A customer's orders as they came, and then what is none.
  WINDOW own AS (PARTITION BY e.customer_id ORDER BY e.is_order DESC, e.at,
                 e.order_id COLLATE "C", e.gross);
END;
COMMENT ON FUNCTION retention._numbered_entries(retention.metric, timestamptz, text, name) IS
  'The same with the number of each order of its customer, the times of the next one and of the '
  'first one, the first day of its period, the customer''s first period and label, and whether it '
  'is the customer''s first order of its period.';
