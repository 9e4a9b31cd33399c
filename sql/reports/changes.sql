-- What moved most between two moments, in sentences, and why.

CREATE OR REPLACE FUNCTION retention._amount(amount numeric) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT replace(btrim(to_char(round(amount), 'FM999,999,999,999,999,999,990')), ',', ' ')
$$;
COMMENT ON FUNCTION retention._amount(numeric) IS 'A whole number as sentences have it.';

CREATE OR REPLACE FUNCTION retention._change_text(before numeric, after numeric) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT concat(
    CASE WHEN after = before THEN format('stayed at %s', retention._amount(after))
      ELSE format('%s from %s to %s', CASE WHEN after > before THEN 'rose' ELSE 'fell' END,
                  retention._amount(before), retention._amount(after)) END,
    CASE WHEN after <> before AND before <> 0
      THEN format(' (%s %%)', to_char(retention._percent(after - before, before, 1),
                                      'FMSG999999990.0')) END)
$$;
COMMENT ON FUNCTION retention._change_text(numeric, numeric) IS
  'How a number has changed, as sentences have it.';

CREATE OR REPLACE FUNCTION retention.period_totals(
    "from" timestamptz, "to" timestamptz DEFAULT retention.now(), metric text DEFAULT 'orders')
  RETURNS TABLE (
    period text, starts_at timestamptz, ends_at timestamptz, is_known boolean, customers bigint,
    new_customers bigint, orders bigint, revenue numeric, net_revenue numeric)
  LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 4 SET search_path = pg_catalog, pg_temp
  SET enable_mergejoin = off
AS $$
DECLARE
  settings retention.metric := retention._begin_comparison(metric, "from", "to");
BEGIN
  RETURN QUERY
    WITH entry AS MATERIALIZED (
      SELECT n.name, e.customer_id, e.is_order, e.number = 1 AS is_new, e.gross, e.net,
             min(e.at) OVER () AS since
      FROM retention._numbered_entries(settings, "to", 'day') AS e
      -- Those that are in none say since when orders are known.
      LEFT JOIN retention._report_periods(settings, "from", "to") AS n
        ON e.at > n.begins_at AND e.at <= n.ends_at
      WHERE e.customer_id IS NOT NULL)
    SELECT p.name, p.begins_at, p.ends_at,
           coalesce((SELECT min(l.since) FROM entry l) <= p.begins_at, false),
           count(DISTINCT e.customer_id) FILTER (WHERE e.is_order),
           count(*) FILTER (WHERE e.is_new), count(*) FILTER (WHERE e.is_order),
           coalesce(sum(e.gross), 0), coalesce(sum(e.net), 0)
    FROM retention._report_periods(settings, "from", "to") AS p LEFT JOIN entry e USING (name)
    GROUP BY p.number, p.name, p.begins_at, p.ends_at ORDER BY p.number;
END
$$;
COMMENT ON FUNCTION retention.period_totals(timestamptz, timestamptz, text) IS
  'What was ordered after "from" and up to "to", in the period before of the same length, and in '
  'both a year ago: customers who ordered, new ones, orders, revenue, and that less refunds made '
  'then. is_known: whether orders are known since before it began.';

CREATE OR REPLACE FUNCTION retention._sizes_by_old_bounds(
    metric text, "from" timestamptz, "to" timestamptz)
  RETURNS TABLE (rfm_group text, customers bigint)
  LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._require_metric(metric);
  last retention.population := retention._last_refresh(metric);
  before retention._collection_report := retention._read_metric(settings, "from", NULL, last);
  after retention._collection_report;
BEGIN
  settings.frequency_values := before.frequency_bounds;
  settings.monetary_values := before.monetary_bounds;
  after := retention._read_metric(settings, "to", NULL, last);
  RETURN QUERY SELECT s.key, s.value::bigint FROM jsonb_each_text(after.group_sizes) AS s;
END
$$;
COMMENT ON FUNCTION retention._sizes_by_old_bounds(text, timestamptz, timestamptz) IS
  'How large the groups would be by the orders of one moment and the bounds of an earlier one.';

CREATE OR REPLACE FUNCTION retention._group_changes(
    metric text, "from" timestamptz, "to" timestamptz)
  RETURNS TABLE (weight numeric, subject text, sentence text, query text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH move AS MATERIALIZED (
    SELECT * FROM retention.rfm_transitions("from", "to", metric)),
  side AS (
    SELECT s.name, s.other, s.came, m.customers,
           row_number() OVER (PARTITION BY s.name, s.came ORDER BY m.customers DESC,
                              s.other COLLATE "C") AS place
    FROM move m, LATERAL (VALUES (m.to_group, m.from_group, true),
                                 (m.from_group, m.to_group, false)) AS s (name, other, came)
    WHERE m.from_group <> m.to_group),
  changed AS (
    SELECT d.name, coalesce(sum(m.customers) FILTER (WHERE m.from_group = d.name), 0) AS before,
           coalesce(sum(m.customers) FILTER (WHERE m.to_group = d.name), 0) AS after
    FROM (SELECT from_group FROM move UNION SELECT to_group FROM move) AS d (name)
    JOIN move m ON d.name IN (m.from_group, m.to_group)
    WHERE d.name NOT IN ('Never purchased', 'No orders') GROUP BY d.name)
  SELECT abs(c.after - c.before) / nullif((SELECT sum(m.customers) FROM move m), 0), c.name,
         concat(format('Customers in %s %s.', c.name, retention._change_text(c.before, c.after)),
           CASE WHEN i.other = 'Never purchased'
                THEN format(' Most who came are new (%s).', retention._amount(i.customers))
                WHEN i.other IS NOT NULL
                THEN format(' Most who came had been %s (%s).', i.other,
                            retention._amount(i.customers)) END,
           CASE WHEN o.other IS NOT NULL
                THEN format(' Most who left became %s (%s).', o.other,
                            retention._amount(o.customers)) END,
           CASE WHEN coalesce(f.customers, 0) <> c.after
                THEN format(' Had no bound of scores moved, there would be %s.',
                            retention._amount(coalesce(f.customers, 0))) END),
         format('SELECT * FROM retention.rfm_transitions(%L, %L, %L) WHERE %L IN (from_group, '
                'to_group)', "from", "to", metric, c.name)
  FROM changed c
  LEFT JOIN retention._sizes_by_old_bounds(metric, "from", "to") AS f ON f.rfm_group = c.name
  LEFT JOIN side i ON i.name = c.name AND i.came AND i.place = 1
  LEFT JOIN side o ON o.name = c.name AND NOT o.came AND o.place = 1
  WHERE c.after <> c.before
$$;
COMMENT ON FUNCTION retention._group_changes(text, timestamptz, timestamptz) IS
  'Which groups grew and shrank, and where their customers came from and went.';

CREATE OR REPLACE FUNCTION retention._threshold_changes(
    metric text, "from" timestamptz, "to" timestamptz)
  RETURNS TABLE (weight numeric, subject text, sentence text, query text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT 0.1 * abs(a.bound / b.bound - 1)::numeric, t.subject,
         format('The %s needed for %s = %s %s: %s', t.what, t.score, a.number + 1,
                retention._change_text(b.bound::numeric, a.bound::numeric),
                CASE WHEN a.bound > b.bound THEN 'who did nothing may have lost a score by it.'
                  ELSE 'who did nothing may have gained a score by it.' END),
         format('SELECT DISTINCT as_of, %I FROM unnest(%L::timestamptz[]) AS as_of, '
                'retention.rfm_performance(as_of, %L)', t.subject, ARRAY["from", "to"], metric)
  FROM (SELECT x.* FROM retention.rfm_performance("to", metric) AS x LIMIT 1) AS p,
       (SELECT x.* FROM retention.rfm_performance("from", metric) AS x LIMIT 1) AS q,
       LATERAL (VALUES ('frequency_bounds', 'orders', 'f', q.frequency_bounds, p.frequency_bounds),
                       ('monetary_bounds', 'revenue', 'm', q.monetary_bounds, p.monetary_bounds))
         AS t (subject, what, score, before, after),
       LATERAL unnest(t.after) WITH ORDINALITY AS a (bound, number)
  JOIN LATERAL unnest(t.before) WITH ORDINALITY AS b (bound, number) ON b.number = a.number
  WHERE a.bound <> b.bound AND b.bound <> 0
$$;
COMMENT ON FUNCTION retention._threshold_changes(text, timestamptz, timestamptz) IS
  'Which bounds of scores moved.';

CREATE OR REPLACE FUNCTION retention._season_text(
    now numeric, before numeric, year_ago numeric, before_year_ago numeric)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT concat(
    CASE WHEN before_year_ago > 0 THEN
      format(' A year ago the figure %s between the same periods: %s.',
             retention._change_text(before_year_ago, year_ago),
             CASE WHEN sign(now - before) = sign(year_ago - before_year_ago)
               THEN 'the season has a part in it' ELSE 'it is not the season' END) END,
    CASE WHEN year_ago > 0 THEN
      format(' In a year it %s.', retention._change_text(year_ago, now)) END)
$$;
COMMENT ON FUNCTION retention._season_text(numeric, numeric, numeric, numeric) IS
  'How a change compares with the same one a year ago; nulls: that is not known.';

CREATE OR REPLACE FUNCTION retention._total_changes(
    metric text, "from" timestamptz, "to" timestamptz)
  RETURNS TABLE (weight numeric, subject text, sentence text, query text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH compared AS (
    SELECT v.subject, v.named, max(v.value) FILTER (WHERE t.period = 'period') AS now,
           max(v.value) FILTER (WHERE t.period = 'before' AND t.is_known) AS before,
           max(v.value) FILTER (WHERE t.period = 'year_ago' AND t.is_known) AS year_ago,
           max(v.value) FILTER (WHERE t.period = 'before_year_ago' AND t.is_known)
             AS before_year_ago
    FROM retention.period_totals("from", "to", metric) AS t,
         LATERAL (VALUES ('revenue', 'Revenue', t.revenue), ('orders', 'Orders', t.orders),
                         ('new_customers', 'New customers', t.new_customers))
           AS v (subject, named, value)
    GROUP BY 1, 2)
  SELECT abs(c.now / nullif(c.before, 0) - 1), c.subject,
         concat(c.named, ' ', retention._change_text(c.before, c.now),
                ', from the period before.',
                retention._season_text(c.now, c.before, c.year_ago, c.before_year_ago)),
         format('SELECT period, %I FROM retention.period_totals(%L, %L, %L)', c.subject, "from",
                "to", metric)
  FROM compared c WHERE c.before IS NOT NULL
$$;
COMMENT ON FUNCTION retention._total_changes(text, timestamptz, timestamptz) IS
  'How what was ordered compares with the period before, and whether a year ago it did likewise.';

CREATE OR REPLACE FUNCTION retention.report_changes(
    metric text DEFAULT 'orders', "from" timestamptz DEFAULT NULL,
    "to" timestamptz DEFAULT retention.now())
  RETURNS TABLE (number integer, subject text, sentence text, query text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  begins timestamptz := retention._report_start(metric, "from", "to");
BEGIN
  PERFORM retention._begin_comparison(metric, begins, "to");
  RETURN QUERY
    SELECT (row_number() OVER (ORDER BY c.weight DESC NULLS LAST, c.subject COLLATE "C",
                               c.sentence COLLATE "C"))::integer,
           c.subject, c.sentence, c.query
    -- As a share of what was before; of groups, of all customers.
    FROM (SELECT * FROM retention._group_changes(metric, begins, "to")
          UNION ALL SELECT * FROM retention._threshold_changes(metric, begins, "to")
          UNION ALL SELECT * FROM retention._total_changes(metric, begins, "to")) AS c
    ORDER BY 1;
END
$$;
COMMENT ON FUNCTION retention.report_changes(text, timestamptz, timestamptz) IS
  'What has moved most between two moments, a month apart unless "from" says otherwise, in '
  'sentences: groups, and where their customers came from and went; the bounds of scores; orders '
  'and revenue, and whether it is the season. Each with the query that proves it.';
