-- The contents of retention.customer by plain SQL: what the engine has to agree with, without its functions.
-- To be run by \i tests/oracle/customer.sql, or by a TAP test, once there is a relation
--   oracle_rows (kind text, customer_id text, at timestamptz, amount numeric, order_id text)
-- in the search path with the rows of all of the metric's sources. history_start: rows before it do not count.

-- One row per order, of the rows that count. Revenue of what is no order: is_order is false.
CREATE FUNCTION oracle_orders(as_of timestamptz, history_start timestamptz DEFAULT '-infinity')
  RETURNS TABLE (customer_id text, at timestamptz, amount numeric, is_order boolean)
  LANGUAGE sql STABLE
AS $$
  WITH counted AS (
    SELECT o.customer_id, o.at, o.order_id, o.kind,
           CASE WHEN o.kind = 'refund' THEN -abs(o.amount) ELSE o.amount END AS amount
    FROM oracle_rows o
    WHERE num_nulls(o.customer_id, o.at, o.amount) = 0 AND o.at <= oracle_orders.as_of AND o.at >= history_start),
  netted AS (
    SELECT c.customer_id, min(c.at) FILTER (WHERE c.kind = 'order') AS at, sum(c.amount) AS amount
    FROM counted c WHERE c.order_id IS NOT NULL GROUP BY c.customer_id, c.order_id
    UNION ALL
    SELECT c.customer_id, CASE WHEN c.kind = 'order' THEN c.at END, c.amount
    FROM counted c WHERE c.order_id IS NULL)
  SELECT n.customer_id, n.at, n.amount, n.at IS NOT NULL AND n.amount > 0 FROM netted n
$$;

CREATE FUNCTION oracle_facts(as_of timestamptz, zone text, history_start timestamptz DEFAULT '-infinity')
  RETURNS TABLE (customer_id text, orders bigint, purchase_days integer, first_order_at timestamptz, last_order_at timestamptz,
                 revenue numeric, repeat_value numeric, average_order_value numeric,
                 average_days_between_orders numeric, days_between_orders_sd numeric, days_since integer)
  LANGUAGE sql STABLE SET enable_nestloop = off
AS $$
  WITH orders AS MATERIALIZED (
    SELECT o.*, (o.at AT TIME ZONE zone)::date AS day FROM oracle_orders(oracle_facts.as_of, history_start) o),
  days AS (
    SELECT o.customer_id, o.day, sum(o.amount) AS amount,
           o.day - lag(o.day) OVER (PARTITION BY o.customer_id ORDER BY o.day) AS gap
    FROM orders o WHERE o.is_order GROUP BY o.customer_id, o.day),
  rhythm AS (
    SELECT d.customer_id, count(*) AS purchase_days, sum(d.amount) FILTER (WHERE d.gap IS NOT NULL) AS repeats,
           avg(d.gap::numeric) AS mean, stddev_samp(d.gap::numeric) AS sd
    FROM days d GROUP BY d.customer_id),
  totals AS (
    SELECT o.customer_id, count(*) FILTER (WHERE o.is_order) AS orders, min(o.at) FILTER (WHERE o.is_order) AS first_at,
           max(o.at) FILTER (WHERE o.is_order) AS last_at, sum(o.amount) AS revenue
    FROM orders o GROUP BY o.customer_id)
  SELECT t.customer_id, t.orders, h.purchase_days::integer, t.first_at, t.last_at, t.revenue,
         h.repeats / nullif(h.purchase_days - 1, 0), t.revenue / t.orders, round(h.mean, 6), round(h.sd, 6),
         (oracle_facts.as_of AT TIME ZONE zone)::date - (t.last_at AT TIME ZONE zone)::date
  FROM totals t JOIN rhythm h USING (customer_id) WHERE t.orders > 0
$$;

CREATE FUNCTION oracle_bounds(sample double precision[], fractions double precision[]) RETURNS double precision[]
  LANGUAGE sql IMMUTABLE
AS $$
  SELECT array_agg((SELECT min(v) FROM unnest(sample) v WHERE v > cut) ORDER BY i)
  FROM (SELECT i, (SELECT percentile_disc(p) WITHIN GROUP (ORDER BY v) FROM unnest(sample) v) AS cut
        FROM unnest(fractions) WITH ORDINALITY AS f (p, i)) AS cuts
$$;

CREATE FUNCTION oracle_score(value double precision, bounds double precision[]) RETURNS integer
  LANGUAGE sql IMMUTABLE
AS $$ SELECT 1 + count(*) FILTER (WHERE value >= b)::integer FROM unnest(bounds) b $$;

-- Every column of retention.customer but the history's. Bounds that are given are taken instead of percentiles.
CREATE FUNCTION oracle_customer(
    as_of timestamptz, zone text DEFAULT 'UTC', history_start timestamptz DEFAULT '-infinity', scheme text DEFAULT 'standard',
    limits double precision[] DEFAULT '{365,180}',
    fractions double precision[] DEFAULT ARRAY[1/3::float8, 2/3::float8],
    INOUT f_bounds double precision[] DEFAULT NULL, INOUT m_bounds double precision[] DEFAULT NULL,
    OUT customer_id text, OUT orders bigint, OUT purchase_days integer, OUT first_order_at timestamptz,
    OUT last_order_at timestamptz, OUT revenue text, OUT repeat_value numeric, OUT average_order_value text,
    OUT average_days_between_orders numeric, OUT days_between_orders_sd numeric,
    OUT r integer, OUT f integer, OUT m integer, OUT rfm_group text)
  RETURNS SETOF record
  LANGUAGE sql STABLE SET enable_nestloop = off
AS $$
  WITH facts AS MATERIALIZED (
    SELECT * FROM oracle_facts(oracle_customer.as_of, zone, history_start)),
  published AS MATERIALIZED (
    SELECT coalesce(oracle_customer.f_bounds, oracle_bounds(array_agg(a.orders::float8), fractions)) AS f_bounds,
           coalesce(oracle_customer.m_bounds, oracle_bounds(array_agg(a.revenue::float8), fractions)) AS m_bounds FROM facts a),
  scored AS (
    SELECT a.*, p.f_bounds, p.m_bounds,
           1 + (SELECT count(*) FROM unnest(limits) l WHERE a.days_since <= l)::integer AS r,
           oracle_score(a.orders::float8, p.f_bounds) AS f, oracle_score(a.revenue::float8, p.m_bounds) AS m
    FROM facts a, published p)
  SELECT s.f_bounds, s.m_bounds, s.customer_id, s.orders, s.purchase_days, s.first_order_at, s.last_order_at, s.revenue::text, s.repeat_value,
         s.average_order_value::text, s.average_days_between_orders, s.days_between_orders_sd, s.r, s.f, s.m, c.rfm_group
  FROM scored s LEFT JOIN retention.rfm_cell c ON (c.scheme, c.r, c.f, c.m) = (oracle_customer.scheme, s.r, s.f, s.m)
$$;

-- The engine's rows in the same form.
CREATE FUNCTION engine_customer(
    metric text,
    OUT customer_id text, OUT orders bigint, OUT purchase_days integer, OUT first_order_at timestamptz,
    OUT last_order_at timestamptz, OUT revenue text, OUT repeat_value numeric, OUT average_order_value text,
    OUT average_days_between_orders numeric, OUT days_between_orders_sd numeric,
    OUT r integer, OUT f integer, OUT m integer, OUT rfm_group text)
  RETURNS SETOF record
  LANGUAGE sql STABLE
AS $$
  SELECT c.customer_id, c.orders, c.purchase_days, c.first_order_at, c.last_order_at, c.revenue::text, c.repeat_value,
         c.average_order_value::text, round(c.average_days_between_orders::numeric, 6), round(c.days_between_orders_sd::numeric, 6),
         c.r, c.f, c.m, c.rfm_group
  FROM retention.customer c WHERE c.metric = engine_customer.metric
$$;

-- Customers of which the two say different things: rows only here, and rows only there. And how many agree.
CREATE FUNCTION compare_with_oracle(
    metric text, as_of timestamptz, zone text DEFAULT 'UTC', history_start timestamptz DEFAULT '-infinity',
    scheme text DEFAULT 'standard', limits double precision[] DEFAULT '{365,180}',
    fractions double precision[] DEFAULT ARRAY[1/3::float8, 2/3::float8],
    f_bounds double precision[] DEFAULT NULL, m_bounds double precision[] DEFAULT NULL,
    OUT same bigint, OUT only_engine bigint, OUT only_oracle bigint, OUT same_bounds boolean)
  LANGUAGE sql SET enable_nestloop = off
AS $$
  WITH oracle_all AS MATERIALIZED (
    SELECT * FROM oracle_customer(as_of, zone, history_start, scheme, limits, fractions,
                                  compare_with_oracle.f_bounds, compare_with_oracle.m_bounds)),
  oracle AS MATERIALIZED (
    SELECT o.customer_id, o.orders, o.purchase_days, o.first_order_at, o.last_order_at, o.revenue, o.repeat_value,
           o.average_order_value, o.average_days_between_orders, o.days_between_orders_sd, o.r, o.f, o.m, o.rfm_group
    FROM oracle_all o),
  engine AS MATERIALIZED (SELECT * FROM engine_customer(compare_with_oracle.metric))
  SELECT (SELECT count(*) FROM (TABLE engine INTERSECT ALL TABLE oracle) AS a),
         (SELECT count(*) FROM (TABLE engine EXCEPT ALL TABLE oracle) AS b),
         (SELECT count(*) FROM (TABLE oracle EXCEPT ALL TABLE engine) AS c),
         (SELECT (p.frequency_bounds, p.monetary_bounds) IS NOT DISTINCT FROM (o.f_bounds, o.m_bounds)
          FROM retention.population p, (SELECT * FROM oracle_all LIMIT 1) AS o
          WHERE p.metric = compare_with_oracle.metric ORDER BY p.refresh_id DESC LIMIT 1)
$$;
