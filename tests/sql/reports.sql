-- Reports against plain SQL written from the words of their definitions, on small random shops, whose totals agree across
-- reports; then members, dates, choices, rights and hostile names.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA reports_test;
SET search_path = reports_test;
SET TimeZone = 'Pacific/Auckland';
SET DateStyle = 'ISO, YMD';
\set SHOW_CONTEXT never
\i tests/include/failure.sql

-- A shop: orders of one row or two lines, some of no id, some of guests; refunds of a part, of all, of nothing that is known.
CREATE TABLE row_of_shop (kind text, customer_id text, at timestamptz, amount numeric, order_id text, country text);
CREATE FUNCTION new_shop(seed integer) RETURNS void LANGUAGE sql AS $$
  TRUNCATE row_of_shop;
  WITH o AS (
    SELECT *, hashtextextended(order_id::text, seed) AS dice, round(amount / 3, 2) AS part,
           CASE WHEN customer_id % 17 = 0 THEN (ARRAY[NULL, '', E' \t'])[1 + order_id % 3] ELSE 'c' || customer_id END AS who
    FROM retention.simulate_orders(80, '2023-01-01Z', '2024-06-20Z', seed)),
  line AS (
    SELECT 'order' AS kind, who, ordered_at AS at, amount - part AS amount, order_id::text AS id, dice, customer_id FROM o
    -- The second line comes later, some in another month.
    UNION ALL SELECT 'order', who, ordered_at + (dice & 3) * interval '9 days', part, order_id::text, dice, customer_id
      FROM o WHERE dice % 3 = 0
    UNION ALL SELECT 'refund', who, ordered_at + interval '20 days', CASE WHEN dice % 2 = 0 THEN amount ELSE -part END,
        CASE WHEN dice % 5 <> 3 THEN order_id::text END, dice, customer_id
      FROM o WHERE dice % 5 IN (1, 2, 3)
    UNION ALL SELECT 'refund', 'nobody' || dice % 7, ordered_at, 5, order_id::text, dice, customer_id FROM o WHERE dice % 23 = 0
    UNION ALL SELECT 'order', who, ordered_at, 0, 'free' || order_id, dice, customer_id FROM o WHERE dice % 29 = 0)
  INSERT INTO row_of_shop
    SELECT kind, who, at, amount, CASE WHEN dice % 11 <> 0 THEN id END, (ARRAY['PL', 'DE', NULL])[1 + abs(dice) % 3] FROM line;
  -- One order twice in the same instant.
  INSERT INTO row_of_shop SELECT kind, customer_id, at, amount, order_id || 'a', country FROM row_of_shop
    WHERE kind = 'order' AND order_id IS NOT NULL ORDER BY order_id, at, amount LIMIT 5;
$$;
CREATE VIEW shop_order AS SELECT * FROM row_of_shop WHERE kind = 'order';
CREATE VIEW shop_refund AS SELECT * FROM row_of_shop WHERE kind = 'refund';
SELECT retention.add_metric('shop', 'Europe/Warsaw'),
       retention.add_source('shop_order', ordered_at => 'at', order_id => 'order_id', metric => 'shop') IS NOT NULL AS orders,
       retention.add_source('shop_refund', ordered_at => 'at', order_id => 'order_id', kind => 'refund', metric => 'shop') IS NOT NULL AS refunds;

-- The words: rows of an order id are one order, at the time of its first row, and it counts if more than nothing is left of it.
-- Of two in the same instant the first one is that of the lesser id, or, without one, of the lesser amount.
CREATE VIEW plain_row AS
  SELECT *, CASE WHEN btrim(customer_id, E' \t') <> '' THEN customer_id END AS who,
         CASE WHEN kind = 'refund' THEN -abs(amount) ELSE amount END AS money, coalesce(order_id, format('row %s %s', to_char(amount, '000000.00'), ctid)) AS id
  FROM row_of_shop;
CREATE FUNCTION plain_order(as_of timestamptz) RETURNS TABLE (who text, id text, at timestamptz, gross numeric, net numeric, country text)
  LANGUAGE sql STABLE AS $$
  SELECT r.who, r.id, min(r.at) FILTER (WHERE r.kind = 'order'), sum(r.money) FILTER (WHERE r.kind = 'order'), sum(r.money),
         min(r.country) FILTER (WHERE r.kind = 'order')
  FROM plain_row r WHERE r.at <= as_of AND r.who IS NOT NULL GROUP BY 1, 2
$$;
CREATE FUNCTION plain_counted(as_of timestamptz) RETURNS TABLE (who text, id text, at timestamptz, gross numeric, country text, number bigint, day date)
  LANGUAGE sql STABLE AS $$
  WITH o AS MATERIALIZED (SELECT * FROM plain_order(as_of) AS p WHERE p.net > 0 AND p.at IS NOT NULL)
  SELECT o.who, o.id, o.at, o.gross, o.country,
         (SELECT count(*) FROM o b WHERE b.who = o.who AND (b.at < o.at OR b.at = o.at AND b.id COLLATE "C" <= o.id COLLATE "C")),
         (o.at AT TIME ZONE 'Europe/Warsaw')::date
  FROM o
$$;
-- Refunds come off when they are made; of what was refunded in full there was neither an order nor a refund.
CREATE FUNCTION plain_money(as_of timestamptz) RETURNS TABLE (who text, day date, money numeric, is_order boolean)
  LANGUAGE sql STABLE AS $$
  WITH o AS MATERIALIZED (SELECT * FROM plain_order(as_of))
  SELECT o.who, (o.at AT TIME ZONE 'Europe/Warsaw')::date, CASE WHEN o.net > 0 THEN o.gross ELSE o.net END, o.net > 0
  FROM o WHERE o.at IS NOT NULL
  UNION ALL
  SELECT r.who, (r.at AT TIME ZONE 'Europe/Warsaw')::date, r.money, false
  FROM plain_row r JOIN o USING (who, id) WHERE r.kind = 'refund' AND r.at <= as_of AND (o.at IS NULL OR o.net > 0)
$$;

CREATE FUNCTION plain_cohorts(period text, is_divided boolean, as_of timestamptz)
  RETURNS TABLE (cohort date, country text, period_start date, customers bigint, orders bigint, revenue numeric, net numeric, cumulative numeric)
  LANGUAGE sql STABLE AS $$
  WITH o AS MATERIALIZED (SELECT *, date_trunc(period, day)::date AS p FROM plain_counted(as_of)),
  first AS MATERIALIZED (SELECT who, p AS cohort, CASE WHEN is_divided THEN country END AS country FROM o WHERE number = 1),
  m AS MATERIALIZED (SELECT first.*, date_trunc(period, day)::date AS p, money FROM plain_money(as_of) JOIN first USING (who)),
  cell AS (
    SELECT DISTINCT cohort, country, p FROM m
    UNION
    SELECT cohort, country, generate_series(cohort, (as_of AT TIME ZONE 'Europe/Warsaw')::date,
      (CASE period WHEN 'quarter' THEN '3 month' ELSE '1 ' || period END)::interval)::date FROM first)
  SELECT c.cohort, c.country, c.p,
         (SELECT count(DISTINCT o.who) FROM o JOIN first USING (who) WHERE first.cohort = c.cohort AND first.country IS NOT DISTINCT FROM c.country AND o.p = c.p),
         (SELECT count(*) FROM o JOIN first USING (who) WHERE first.cohort = c.cohort AND first.country IS NOT DISTINCT FROM c.country AND o.p = c.p),
         (SELECT coalesce(sum(o.gross), 0) FROM o JOIN first USING (who) WHERE first.cohort = c.cohort AND first.country IS NOT DISTINCT FROM c.country AND o.p = c.p),
         (SELECT coalesce(sum(m.money), 0) FROM m WHERE m.cohort = c.cohort AND m.country IS NOT DISTINCT FROM c.country AND m.p = c.p),
         (SELECT coalesce(sum(m.money), 0) FROM m WHERE m.cohort = c.cohort AND m.country IS NOT DISTINCT FROM c.country AND m.p <= c.p)
  FROM cell c
$$;
-- Kaplan and Meier, a day after the other.
CREATE FUNCTION plain_curve(as_of timestamptz) RETURNS TABLE (days integer, at_risk bigint, went_on bigint, share numeric)
  LANGUAGE plpgsql STABLE AS $$
DECLARE
  stayed double precision := 1;
BEGIN
  FOR days, went_on, at_risk IN
    WITH o AS MATERIALIZED (SELECT * FROM plain_counted(as_of)),
    wait AS MATERIALIZED (
      SELECT coalesce(b.day, (as_of AT TIME ZONE 'Europe/Warsaw')::date) - a.day AS days, b.who IS NOT NULL AS went_on
      FROM o a LEFT JOIN o b ON b.who = a.who AND b.number = 2 WHERE a.number = 1)
    SELECT w.days, count(*) FILTER (WHERE w.went_on), (SELECT count(*) FROM wait l WHERE l.days >= w.days) FROM wait w GROUP BY w.days ORDER BY w.days
  LOOP
    stayed := stayed * (1 - went_on::double precision / at_risk);
    share := round((1 - stayed)::numeric, 9);
    RETURN NEXT;
  END LOOP;
END $$;

-- Each comparison: rows of ours, and rows that only one of the two has.
CREATE TABLE comparison (report text, seed integer, rows bigint, differences bigint);
CREATE PROCEDURE compare(report text, seed integer, ours text, plain text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('INSERT INTO comparison WITH ours AS MATERIALIZED (%s), plain AS MATERIALIZED (%s)
    SELECT %L, %s, (SELECT count(*) FROM ours), (SELECT count(*) FROM (TABLE ours EXCEPT ALL TABLE plain) AS a)
      + (SELECT count(*) FROM (TABLE plain EXCEPT ALL TABLE ours) AS b)', ours, plain, report, seed);
END $$;
CREATE PROCEDURE compare_all(seed integer, early text, late text) LANGUAGE plpgsql AS $$
DECLARE
  kind record;
BEGIN
  PERFORM new_shop(seed);
  FOR kind IN SELECT * FROM (VALUES ('week', 'country'), ('month', NULL), ('quarter', 'country'), ('year', NULL)) AS k (period, divided_by) LOOP
    CALL compare('cohort_retention ' || kind.period, seed,
      format('SELECT cohort, by_value, period_start, customers, orders, revenue, net_revenue, cumulative_net_revenue
              FROM retention.cohort_retention(%L, %L, ''shop'', %L)', kind.period, kind.divided_by, late),
      format('SELECT * FROM plain_cohorts(%L, %L, %L)', kind.period, kind.divided_by IS NOT NULL, late));
  END LOOP;
  CALL compare('repeat_rate', seed, format('SELECT order_number, customers, went_on, round(median_days::numeric, 6), median_calendar_days, eligible,
      percent_within FROM retention.repeat_rate(''shop'', %L, 5, 60)', late),
    format($sql$WITH o AS MATERIALIZED (SELECT * FROM plain_counted(%L)), last AS (SELECT max(at) AS at FROM o),
      step AS (SELECT a.number, a.at, a.day, b.at AS next_at, b.day AS next_day, a.at <= last.at - 60 * interval '24 hours' AS old
               FROM last, o a LEFT JOIN o b ON b.who = a.who AND b.number = a.number + 1 WHERE a.number <= 5)
      SELECT number::integer, count(*), count(next_at), round((percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM next_at - at)::float8 / 86400))::numeric, 6),
             percentile_cont(0.5) WITHIN GROUP (ORDER BY next_day - day), count(*) FILTER (WHERE old),
             round(100.0 * count(*) FILTER (WHERE old AND next_at <= at + 60 * interval '24 hours') / nullif(count(*) FILTER (WHERE old), 0), 3)
      FROM step GROUP BY 1$sql$, late));
  CALL compare('repeat_curve', seed, format('SELECT days, at_risk, went_on, round(share::numeric, 9) FROM retention.repeat_curve(''shop'', %L)', late),
    format('SELECT * FROM plain_curve(%L)', late));
  FOR kind IN SELECT * FROM (VALUES ('month', 'first order'), ('week', 'first period'), ('quarter', 'first period')) AS k (period, rule) LOOP
    CALL compare('new_and_returning ' || kind.rule, seed,
      format('SELECT period_start, customers, new_customers, returning_customers, new_orders, returning_orders, new_revenue, returning_revenue, refunds
              FROM retention.new_and_returning(%L, %L, ''shop'', %L) WHERE customers > 0', kind.period, kind.rule, late),
      format($sql$WITH o AS MATERIALIZED (SELECT *, date_trunc(%1$L, day)::date AS p FROM plain_counted(%3$L)),
        k AS (SELECT o.*, CASE WHEN %2$L = 'first order' THEN o.number = 1
                ELSE o.p = (SELECT f.p FROM o f WHERE f.who = o.who AND f.number = 1) END AS new FROM o)
        SELECT p, count(DISTINCT who), count(DISTINCT who) FILTER (WHERE new), count(DISTINCT who) FILTER (WHERE NOT new), count(*) FILTER (WHERE new),
          count(*) FILTER (WHERE NOT new), coalesce(sum(gross) FILTER (WHERE new), 0), coalesce(sum(gross) FILTER (WHERE NOT new), 0),
          (SELECT coalesce(sum(m.money), 0) FROM plain_money(%3$L) AS m WHERE NOT m.is_order AND date_trunc(%1$L, m.day)::date = k.p)
        FROM k GROUP BY p$sql$, kind.period, kind.rule, late));
  END LOOP;
  CALL compare('rfm_transitions', seed, format('SELECT from_group, to_group, customers FROM retention.rfm_transitions(%L, %L, ''shop'')', early, late),
    format('SELECT coalesce(a.rfm_group, ''Never purchased''), coalesce(b.rfm_group, ''No orders''), count(*)
      FROM retention.customer_at(''shop'', %L) AS a FULL JOIN retention.customer_at(''shop'', %L) AS b USING (customer_id) GROUP BY 1, 2', early, late));
  CALL compare('rfm_distribution', seed, format('SELECT rfm_group, at_start, at_end, added, dropped FROM retention.rfm_distribution(%L, %L, ''shop'')', early, late),
    format('WITH t AS (SELECT * FROM retention.rfm_transitions(%L, %L, ''shop''))
      SELECT g.rfm_group, (SELECT coalesce(sum(customers), 0)::bigint FROM t WHERE from_group = g.rfm_group),
        (SELECT coalesce(sum(customers), 0)::bigint FROM t WHERE to_group = g.rfm_group),
        (SELECT coalesce(sum(customers), 0)::bigint FROM t WHERE to_group = g.rfm_group AND from_group <> to_group),
        (SELECT coalesce(sum(customers), 0)::bigint FROM t WHERE from_group = g.rfm_group AND from_group <> to_group)
      FROM (SELECT DISTINCT rfm_group FROM retention.rfm_cell WHERE scheme = ''standard'') AS g
      WHERE EXISTS (SELECT FROM t WHERE g.rfm_group IN (from_group, to_group))', early, late));
  CALL compare('rfm_performance', seed, format('SELECT rfm_group, customers, median_days_since_last_order, median_orders, median_revenue, revenue
      FROM retention.rfm_performance(%L, ''shop'')', late),
    format('SELECT rfm_group, count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY days_since_last_order), percentile_cont(0.5) WITHIN GROUP (ORDER BY orders),
      (percentile_cont(0.5) WITHIN GROUP (ORDER BY revenue::float8))::numeric, sum(revenue) FROM retention.customer_at(''shop'', %L) GROUP BY 1', late));
  CALL compare('rfm_history', seed, format('SELECT as_of, rfm_group, customers FROM retention.rfm_history(''1 month'', %L, %L, ''shop'') WHERE customers > 0',
      early, late),
    format('SELECT d, c.rfm_group, count(*) FROM (SELECT (%L::timestamptz AT TIME ZONE ''Europe/Warsaw'' - n * interval ''1 month'') AT TIME ZONE ''Europe/Warsaw'' AS d
      FROM generate_series(0, 60) AS n) AS m, retention.customer_at(''shop'', d) AS c WHERE d >= %L GROUP BY 1, 2', late, early));
  CALL compare('value_deciles', seed, format('SELECT decile, customers, revenue, lowest, highest FROM retention.value_deciles(%L, ''shop'')', late),
    format('WITH c AS (SELECT customer_id, revenue, row_number() OVER (ORDER BY revenue DESC, customer_id COLLATE "C") - 1 AS place, count(*) OVER () AS n
              FROM retention.customer_at(''shop'', %L)),
        -- The first n %% 10 parts have one more.
        d AS (SELECT *, CASE WHEN place < (n %% 10) * (n / 10 + 1) THEN place / (n / 10 + 1) ELSE n %% 10 + (place - (n %% 10) * (n / 10 + 1)) / (n / 10) END + 1 AS decile FROM c)
      SELECT decile::integer, count(*), sum(revenue), min(revenue), max(revenue) FROM d GROUP BY 1', late));
END $$;
DO $$ BEGIN
  FOR seed IN 1 .. 4 LOOP
    CALL compare_all(seed, '2023-06-01 12:00Z', '2024-03-15 01:30Z');
    CALL compare_all(seed + 100, '2023-02-01Z', '2024-05-31 22:00Z');
  END LOOP;
END $$;
SELECT report, count(*) AS shops, sum(rows) > 20 AS has_rows, sum(differences) AS differences FROM comparison GROUP BY report ORDER BY report COLLATE "C";

-- Totals agree across reports, whatever the shop and the moment, and members are those who are counted.
CREATE FUNCTION totals(late timestamptz) RETURNS TABLE (report text, customers numeric, orders numeric, net numeric, gross numeric) LANGUAGE sql STABLE AS $$
  SELECT 'customer_at', count(*), sum(orders), sum(revenue), NULL::numeric FROM retention.customer_at('shop', late)
  UNION ALL SELECT 'rfm_performance', sum(customers), NULL, sum(revenue), NULL FROM retention.rfm_performance(late, 'shop')
  UNION ALL SELECT 'rfm_distribution', sum(at_end), NULL, NULL, NULL FROM retention.rfm_distribution(late - interval '99 days', late, 'shop')
  UNION ALL SELECT 'rfm_transitions', sum(customers) FILTER (WHERE to_group <> 'No orders'), NULL, NULL, NULL
    FROM retention.rfm_transitions(late - interval '99 days', late, 'shop')
  UNION ALL SELECT 'value_deciles', sum(customers), NULL, sum(revenue), NULL FROM retention.value_deciles(late, 'shop')
  UNION ALL SELECT 'cohort_retention', sum(customers) FILTER (WHERE age = 0), sum(orders), sum(net_revenue), sum(revenue)
    FROM retention.cohort_retention('week', 'country', 'shop', late)
  UNION ALL SELECT 'cohort_retention cumulated', sum(cohort_size), NULL, sum(cumulative_net_revenue), NULL
    FROM (SELECT DISTINCT ON (cohort) * FROM retention.cohort_retention('month', NULL, 'shop', late) ORDER BY cohort, age DESC) AS last
  UNION ALL SELECT 'repeat_rate', max(customers), sum(customers), NULL, NULL FROM retention.repeat_rate('shop', late, 1000)
  UNION ALL SELECT 'repeat_curve', sum(went_on + censored), NULL, NULL, NULL FROM retention.repeat_curve('shop', late)
  UNION ALL SELECT 'new_and_returning', sum(new_customers), sum(new_orders + returning_orders),
      sum(new_revenue + returning_revenue + refunds) - (SELECT coalesce(sum(m.money), 0) FROM plain_money(late) AS m
        WHERE m.who NOT IN (SELECT c.customer_id FROM retention.customer_at('shop', late) AS c)), sum(new_revenue + returning_revenue)
    FROM retention.new_and_returning('day', 'first order', 'shop', late)
  UNION ALL SELECT 'new_and_returning by period', sum(new_customers), sum(new_orders + returning_orders), NULL, sum(new_revenue + returning_revenue)
    FROM retention.new_and_returning('quarter', 'first period', 'shop', late)
$$;
CREATE FUNCTION counted_members(late timestamptz) RETURNS TABLE (report text, customers bigint, customer_ids text[]) LANGUAGE sql STABLE AS $$
  SELECT 'rfm_performance', customers, customer_ids FROM retention.rfm_performance(late, 'shop', true)
  UNION ALL SELECT 'rfm_distribution', at_end, customer_ids FROM retention.rfm_distribution(late - interval '99 days', late, 'shop', true)
  UNION ALL SELECT 'rfm_transitions', customers, customer_ids FROM retention.rfm_transitions(late - interval '99 days', late, 'shop', true)
  UNION ALL SELECT 'value_deciles', customers, customer_ids FROM retention.value_deciles(late, 'shop', true)
  UNION ALL SELECT 'cohort_retention', customers, customer_ids FROM retention.cohort_retention('month', 'country', 'shop', late, true)
  UNION ALL SELECT 'repeat_rate', customers, customer_ids FROM retention.repeat_rate('shop', late, members => true)
  UNION ALL SELECT 'repeat_curve', went_on, customer_ids FROM retention.repeat_curve('shop', late, members => true)
  UNION ALL SELECT 'new', new_customers, new_customer_ids FROM retention.new_and_returning('month', 'first order', 'shop', late, true)
  UNION ALL SELECT 'returning', returning_customers, returning_customer_ids FROM retention.new_and_returning('month', 'first order', 'shop', late, true)
$$;
CREATE TABLE total AS SELECT 0 AS seed, NULL::timestamptz AS late, t.* FROM totals('2024-01-01Z') AS t LIMIT 0;
CREATE TABLE member AS SELECT 0 AS seed, m.* FROM counted_members('2024-01-01Z') AS m LIMIT 0;
DO $$ BEGIN
  FOR seed IN 201 .. 206 LOOP
    PERFORM new_shop(seed);
    INSERT INTO total SELECT seed, d.late, t.* FROM (VALUES ('2023-02-11 05:00Z'::timestamptz), ('2023-11-30 23:30Z'), ('2024-06-19Z')) AS d (late), totals(d.late) AS t;
    INSERT INTO member SELECT seed, m.* FROM counted_members('2024-02-29Z') AS m;
  END LOOP;
END $$;
SELECT count(DISTINCT (seed, late)) AS shops, min(customers) > 3 AS has_customers FROM total;
SELECT count(*) AS that_disagree FROM (
  SELECT FROM total GROUP BY seed, late HAVING count(DISTINCT customers) <> 1 OR count(DISTINCT orders) <> 1 OR count(DISTINCT net) <> 1 OR count(DISTINCT gross) <> 1) AS d;
SELECT report, sum(customers) > 100 AS many, count(*) FILTER (WHERE customers <> coalesce(cardinality(customer_ids), 0)) AS that_disagree,
       count(*) FILTER (WHERE cardinality(customer_ids) <> (SELECT count(DISTINCT id) FROM unnest(customer_ids) AS id)) AS repeated
FROM member GROUP BY report ORDER BY report COLLATE "C";
-- Members are told only when asked for.
SELECT count(customer_ids) AS told FROM retention.rfm_performance('2024-01-01Z', 'shop');

-- Lines of an order in two sources, and a table whose orders have one row each, are the same as one view of all.
CREATE VIEW half_order AS SELECT * FROM shop_order WHERE extract(epoch FROM at)::bigint % 2 = 0;
CREATE VIEW other_order AS SELECT * FROM shop_order WHERE extract(epoch FROM at)::bigint % 2 = 1;
CREATE TABLE whole_order (who bigint, order_id text PRIMARY KEY, at date, amount real);
INSERT INTO whole_order SELECT customer_id, order_id, ordered_at, amount FROM retention.simulate_orders(50, '2023-01-01Z', '2024-01-01Z', 9);
CREATE VIEW whole_view AS TABLE whole_order;
SELECT retention.add_metric('halves', 'Europe/Warsaw'), retention.add_metric('table'), retention.add_metric('view');
SELECT retention.add_source('half_order', ordered_at => 'at', order_id => 'order_id', metric => 'halves') IS NOT NULL
   AND retention.add_source('other_order', ordered_at => 'at', order_id => 'order_id', metric => 'halves') IS NOT NULL
   AND retention.add_source('shop_refund', ordered_at => 'at', order_id => 'order_id', kind => 'refund', metric => 'halves') IS NOT NULL
   AND retention.add_source('whole_order', 'who', 'at', order_id => 'order_id', metric => 'table') IS NOT NULL
   AND retention.add_source('whole_view', 'who', 'at', order_id => 'order_id', metric => 'view') IS NOT NULL AS added;
CREATE FUNCTION differing_cohorts(one text, other text) RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM (SELECT * FROM retention.cohort_retention('month', NULL, one, '2024-01-01Z', true)) AS a
    FULL JOIN (SELECT * FROM retention.cohort_retention('month', NULL, other, '2024-01-01Z', true)) AS b USING (cohort, age)
  WHERE a IS DISTINCT FROM b $$;
SELECT differing_cohorts('shop', 'halves') AS halves, differing_cohorts('table', 'view') AS tables,
       differing_cohorts('shop', 'table') > 0 AS others_differ;
-- A history that slides is that of customer_at.
SELECT retention.alter_metric('shop', history => '90 days');
SELECT max(customers) = (SELECT count(*) FROM retention.customer_at('shop', '2024-01-01Z')) AS same_customers,
       sum(customers) = (SELECT sum(orders) FROM retention.customer_at('shop', '2024-01-01Z')) AS same_orders
FROM retention.repeat_rate('shop', '2024-01-01Z', 1000);

-- Before the first order there is nobody, and no error.
SELECT (SELECT count(*) FROM retention.rfm_transitions('2000-01-01Z', '2001-01-01Z', 'shop')) + (SELECT count(*) FROM retention.rfm_performance('2001-01-01Z', 'shop'))
     + (SELECT count(*) FROM retention.value_deciles('2001-01-01Z', 'shop')) + (SELECT count(*) FROM retention.cohort_retention(metric => 'shop', as_of => '2001-01-01Z'))
     + (SELECT count(*) FROM retention.repeat_rate('shop', '2001-01-01Z')) + (SELECT count(*) FROM retention.repeat_curve('shop', '2001-01-01Z'))
     + (SELECT count(*) FROM retention.new_and_returning(metric => 'shop', as_of => '2001-01-01Z')) AS rows,
       (SELECT count(orders) FROM retention.forecast('1 month', '10 days', 'shop', '2001-01-01Z')) AS forecasts;

-- What cannot be asked.
SELECT command, f.state, f.message, f.hint
FROM unnest(ARRAY[
  $$SELECT retention.rfm_distribution('2024-01-01', '2023-01-01', 'shop')$$,
  $$SELECT retention.rfm_transitions('infinity', metric => 'shop')$$,
  $$SELECT retention.rfm_transitions(NULL, metric => 'shop')$$,
  $$SELECT retention.rfm_performance('-infinity', 'shop')$$,
  $$SELECT retention.rfm_performance(metric => 'none')$$,
  $$SELECT retention.rfm_performance(metric => NULL)$$,
  $$SELECT retention.rfm_history('0', metric => 'shop')$$,
  $$SELECT retention.rfm_history('1 second', '2024-01-01Z', '2024-02-01Z', 'shop')$$,
  $$SELECT retention.cohort_retention('fortnight', metric => 'shop')$$,
  $$SELECT retention.cohort_retention(NULL, metric => 'shop')$$,
  $$SELECT retention.cohort_retention(by => 'colour', metric => 'shop')$$,
  $$SELECT retention.new_and_returning(rule => 'first', metric => 'shop')$$,
  $$SELECT retention.repeat_rate('shop', most => 0)$$,
  $$SELECT retention.repeat_rate('shop', within => NULL)$$,
  $$SELECT retention.repeat_curve('shop', order_number => 0)$$,
  $$SELECT retention.forecast('1 day', '1 month', 'shop')$$,
  $$SELECT retention.forecast('90 years', '1 day', 'shop')$$,
  $$SELECT retention.forecast('-1 year', '1 month', 'shop')$$,
  $$SELECT retention.forecast(NULL, '1 month', 'shop')$$,
  $$SELECT retention.forecast('1 year', '5', 'shop')$$]) AS command, failure(command) AS f;

-- Names do nothing, and values are shown to whoever may read them only.
SET client_min_messages = error;
DROP ROLE IF EXISTS retention_reports_analyst;
CREATE ROLE retention_reports_analyst;
SET client_min_messages = warning;
SELECT retention.grant_access('retention_reports_analyst', 'analyst');
GRANT USAGE ON SCHEMA reports_test TO retention_reports_analyst;
CREATE TABLE "or'der""s; $1" ("wh""o" text, "wh'en $2" timestamptz, "; how much" numeric, "i'd" text, "by ""'$1 %I" text);
INSERT INTO "or'der""s; $1" VALUES ('O''Hara"', '2024-01-01Z', 5, '1', 'a''"b'), ('O''Hara"', '2024-02-01Z', 5, '2', NULL), ('$1', '2024-01-05Z', 5, '3', '%s');
SELECT retention.add_metric('it''s "$1"'),
  retention.add_source('"or''der""s; $1"', 'wh"o', 'wh''en $2', '; how much', 'i''d', metric => 'it''s "$1"') IS NOT NULL AS added;
SET ROLE retention_reports_analyst;
SELECT cohort, by_value, age, customers, customer_ids FROM retention.cohort_retention('month', NULL, 'it''s "$1"', '2024-02-20Z', true);
SELECT f.* FROM failure($$SELECT retention.cohort_retention('month', 'by "''$1 %I', 'it''s "$1"', '2024-02-20Z')$$) AS f;
RESET ROLE;
GRANT SELECT ("by ""'$1 %I") ON "or'der""s; $1" TO retention_reports_analyst;
SET ROLE retention_reports_analyst;
SELECT cohort, by_value, age, is_complete, customers, customer_ids FROM retention.cohort_retention('month', 'by "''$1 %I', 'it''s "$1"', '2024-02-20Z', true);
SELECT rfm_group, at_start, at_end, customer_ids FROM retention.rfm_distribution('2024-01-03Z', '2024-02-20Z', 'it''s "$1"', true);
RESET ROLE;
-- A segment of those whom a report tells.
CREATE VIEW came_back AS
  SELECT unnest(customer_ids) AS customer_id FROM retention.repeat_rate('it''s "$1"', members => true) WHERE order_number = 2;
SET retention.as_of = '2024-03-01Z';
SELECT retention.add_segment('came_back');
SELECT segment, customer_id FROM retention.segment_member;

RESET ROLE;
DROP OWNED BY retention_reports_analyst;
DROP ROLE retention_reports_analyst;
DROP EXTENSION retention CASCADE;
DROP SCHEMA reports_test CASCADE;
