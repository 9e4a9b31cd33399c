-- Groups: how many are in each, who moved, what each is worth, and how it came about.

CREATE OR REPLACE FUNCTION retention._groups_at(settings retention.metric, as_of timestamptz)
  RETURNS TABLE (customer_id text, rfm_group text)
  LANGUAGE plpgsql STABLE ROWS 1000000 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._read_metric(settings, as_of, NULL, retention._last_refresh(settings.metric));
  RETURN QUERY SELECT c.customer_id, c.rfm_group FROM retention._collected(NULL, NULL) AS c;
END
$$;
COMMENT ON FUNCTION retention._groups_at(retention.metric, timestamptz) IS
  'Every customer''s group as of a moment, as customer_at has it.';

CREATE OR REPLACE FUNCTION retention._moves(
    settings retention.metric, "from" timestamptz, "to" timestamptz, members boolean)
  RETURNS TABLE (before text, after text, customers bigint, customer_ids text[])
  LANGUAGE sql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp
AS $$
  SELECT b.rfm_group, a.rfm_group, count(*),
         retention._in_order(array_agg(customer_id) FILTER (WHERE members))
  FROM retention._groups_at(settings, "from") AS b
  FULL JOIN retention._groups_at(settings, "to") AS a USING (customer_id) GROUP BY 1, 2
$$;
COMMENT ON FUNCTION retention._moves(retention.metric, timestamptz, timestamptz, boolean) IS
  'How many went from which group to which; null: they had no order, or have none any more.';

CREATE OR REPLACE FUNCTION retention.rfm_transitions(
    "from" timestamptz, "to" timestamptz DEFAULT retention.now(), metric text DEFAULT 'orders',
    members boolean DEFAULT false)
  RETURNS TABLE (from_group text, to_group text, customers bigint, percent numeric,
                 customer_ids text[])
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._begin_comparison(metric, "from", "to");
BEGIN
  RETURN QUERY
    SELECT coalesce(m.before, 'Never purchased'), coalesce(m.after, 'No orders'), m.customers,
           retention._percent(m.customers, sum(m.customers) OVER (PARTITION BY m.before), 2),
           m.customer_ids
    FROM retention._moves(settings, "from", "to", members) AS m
    ORDER BY m.before COLLATE "C", m.after COLLATE "C";
END
$$;
COMMENT ON FUNCTION retention.rfm_transitions(timestamptz, timestamptz, text, boolean) IS
  'How many customers went from which group to which between two moments, and how many per cent of '
  'from_group these are. Who had no order yet comes from "Never purchased", who has none left, for '
  'it was refunded, goes to "No orders". With members, who they are.';

CREATE OR REPLACE FUNCTION retention.rfm_distribution(
    "from" timestamptz, "to" timestamptz DEFAULT retention.now(), metric text DEFAULT 'orders',
    members boolean DEFAULT false)
  RETURNS TABLE (
    rfm_group text, at_start bigint, at_end bigint, added bigint, dropped bigint,
    percent_change numeric, percent_at_start numeric, percent_at_end numeric, customer_ids text[])
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._begin_comparison(metric, "from", "to");
BEGIN
  RETURN QUERY
    WITH move AS MATERIALIZED (
      SELECT * FROM retention._moves(settings, "from", "to", members)),
    counted AS (
      SELECT g.name, coalesce(sum(m.customers) FILTER (WHERE m.before = g.name), 0) AS before,
             coalesce(sum(m.customers) FILTER (WHERE m.after = g.name), 0) AS after,
             coalesce(sum(m.customers) FILTER (WHERE m.before = m.after), 0) AS stayed
      FROM (SELECT before FROM move UNION SELECT after FROM move) AS g (name)
      JOIN move m ON g.name IN (m.before, m.after) GROUP BY g.name)
    SELECT c.name, c.before::bigint, c.after::bigint, (c.after - c.stayed)::bigint,
           (c.before - c.stayed)::bigint, retention._percent(c.after - c.before, c.before, 2),
           retention._percent(c.before, sum(c.before) OVER (), 2),
           retention._percent(c.after, sum(c.after) OVER (), 2),
           retention._in_order((SELECT array_agg(id) FROM move m, unnest(m.customer_ids) AS id
                                WHERE m.after = c.name))
    FROM counted c ORDER BY c.name COLLATE "C";
END
$$;
COMMENT ON FUNCTION retention.rfm_distribution(timestamptz, timestamptz, text, boolean) IS
  'The groups at two moments: customers at the start and at the end, those added and dropped '
  'between, the change in per cent, and the share of all customers. A group that nobody is in at '
  'either has no row. With members, who is in it at the end; rfm_transitions tells who came and '
  'went.';

CREATE OR REPLACE FUNCTION retention.rfm_performance(
    as_of timestamptz DEFAULT retention.now(), metric text DEFAULT 'orders',
    members boolean DEFAULT false)
  RETURNS TABLE (
    rfm_group text, customers bigint, percent numeric,
    median_days_since_last_order double precision, median_orders double precision,
    median_revenue numeric, revenue numeric,
    percent_of_revenue numeric, frequency_bounds double precision[],
    monetary_bounds double precision[], customer_ids text[])
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  settings retention.metric := retention._begin_report(metric, as_of);
  today date := retention._local_date(as_of, settings.time_zone);
  report retention._collection_report := retention._read_metric(settings, as_of, NULL,
    retention._last_refresh(settings.metric));
BEGIN
  RETURN QUERY
    SELECT c.rfm_group, count(*), retention._percent(count(*), sum(count(*)) OVER (), 2),
           percentile_cont(0.5) WITHIN GROUP (
             ORDER BY today - retention._local_date(c.last_order_at, settings.time_zone)),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY c.orders),
           (percentile_cont(0.5) WITHIN GROUP (ORDER BY retention._double(c.revenue)))::numeric,
           sum(c.revenue), retention._percent(sum(c.revenue), sum(sum(c.revenue)) OVER (), 2),
           report.frequency_bounds, report.monetary_bounds,
           retention._in_order(array_agg(c.customer_id) FILTER (WHERE members))
    FROM retention._collected(NULL, NULL) AS c GROUP BY c.rfm_group
    ORDER BY c.rfm_group COLLATE "C";
END
$$;
COMMENT ON FUNCTION retention.rfm_performance(timestamptz, text, boolean) IS
  'What each group is worth as of a moment: customers, the medians of days since the last order, '
  'of orders and of revenue, and the share of all revenue; and the bounds that the scores were '
  'given by. With members, who they are.';

CREATE OR REPLACE FUNCTION retention.rfm_history(
    step interval DEFAULT '1 month', "from" timestamptz DEFAULT NULL,
    "to" timestamptz DEFAULT retention.now(), metric text DEFAULT 'orders')
  RETURNS TABLE (as_of timestamptz, rfm_group text, customers bigint, percent numeric)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  begins timestamptz := coalesce("from", "to" - interval '1 year');
  settings retention.metric := retention._begin_comparison(metric, begins, "to");
  moment timestamptz;
  report retention._collection_report;
BEGIN
  PERFORM retention._check_needed_span('step', step);
  PERFORM retention._reject_unless(begins + 400 * step >= "to",
    format('from %s to %s are more than 400 steps of %s', begins, "to", step),
    'The orders are read once for each step.');
  -- Back from the end, in the calendar of the metric's zone.
  FOR moment IN
    SELECT past.moment
    FROM (SELECT ("to" AT TIME ZONE settings.time_zone - n * step) AT TIME ZONE settings.time_zone
          FROM generate_series(0, 400) AS n) AS past (moment)
    WHERE past.moment >= begins ORDER BY past.moment
  LOOP
    report := retention._read_metric(settings, moment, NULL,
                                    retention._last_refresh(settings.metric));
    RETURN QUERY
      SELECT moment, s.key, s.value::bigint,
             retention._percent(s.value::bigint, sum(s.value::bigint) OVER (), 2)
      FROM jsonb_each_text(report.group_sizes) AS s ORDER BY s.key COLLATE "C";
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention.rfm_history(interval, timestamptz, timestamptz, text) IS
  'The size of each group at each step back from the end, for a year unless "from" says since '
  'when: by the orders as they are today, which are read once for each step. rfm_performance, as '
  'of such a moment, tells who is in a group.';
