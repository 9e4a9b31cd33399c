-- One document of all reports, what moved most in sentences that their own queries prove, and the totals of a period.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS retention CASCADE;
CREATE EXTENSION retention;
CREATE SCHEMA report_document_test;
SET search_path = report_document_test;
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'ISO, YMD';
SET retention.progress = off;
SET retention.as_of = '2024-12-01Z';
\set SHOW_CONTEXT never
\i tests/include/failure.sql
CREATE TABLE orders AS SELECT customer_id, order_id, ordered_at, amount, 'order' AS kind FROM retention.simulate_orders(800, '2022-06-01Z', '2024-12-01Z', 3);
-- Every November is busy, and somebody buys for much in the last one.
INSERT INTO orders SELECT customer_id, order_id + 1000000, ordered_at + interval '1 hour', amount, 'order' FROM orders WHERE extract(month FROM ordered_at AT TIME ZONE 'UTC') = 11;
INSERT INTO orders SELECT customer_id, order_id, ordered_at + interval '20 days', amount / 2, 'refund' FROM orders WHERE order_id % 9 = 0;
CREATE VIEW order_rows AS SELECT * FROM orders WHERE kind = 'order';
CREATE VIEW refund_rows AS SELECT * FROM orders WHERE kind = 'refund';
SELECT retention.add_metric('it''s'), retention.add_source('order_rows', order_id => 'order_id', metric => 'it''s') IS NOT NULL AS orders,
       retention.add_source('refund_rows', order_id => 'order_id', kind => 'refund', metric => 'it''s') IS NOT NULL AS refunds;
CALL retention.refresh('it''s');

-- The totals are those of plain SQL.
WITH o AS (SELECT customer_id, order_id, min(ordered_at) FILTER (WHERE kind = 'order') AS at, sum(amount) FILTER (WHERE kind = 'order') AS amount,
                  sum(CASE kind WHEN 'order' THEN amount ELSE -amount END) AS net FROM orders WHERE ordered_at <= '2024-12-01Z' GROUP BY 1, 2),
counted AS (SELECT *, row_number() OVER (PARTITION BY customer_id ORDER BY at) AS number FROM o WHERE at IS NOT NULL AND net > 0)
SELECT t.period, t.starts_at AT TIME ZONE 'UTC' AS starts_at, t.ends_at AT TIME ZONE 'UTC' AS ends_at, t.is_known, t.orders > 50 AS many,
       (t.customers, t.new_customers, t.orders, t.revenue) = (SELECT count(DISTINCT customer_id), count(*) FILTER (WHERE number = 1), count(*), sum(amount)
          FROM counted WHERE at > t.starts_at AND at <= t.ends_at) AS plain,
       t.net_revenue = t.revenue - (SELECT coalesce(sum(r.amount), 0) FROM orders r JOIN counted USING (customer_id, order_id)
                                    WHERE r.kind = 'refund' AND r.ordered_at > t.starts_at AND r.ordered_at <= t.ends_at) AS net
FROM retention.period_totals('2024-11-01Z', '2024-12-01Z', 'it''s') AS t;
SELECT period, is_known, orders FROM retention.period_totals('2023-06-15Z', '2023-12-15Z', 'it''s') WHERE NOT is_known;

-- What moved, and that the numbers of each sentence are those that its query finds.
SELECT number, subject, sentence FROM retention.report_changes('it''s', '2024-11-01Z', '2024-12-01Z');
CREATE FUNCTION found_by(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found text;
BEGIN
  EXECUTE format('SELECT string_agg(q::text, '' '') FROM (%s) AS q', query) INTO found;
  RETURN found;
END $$;
SELECT c.number, c.subject, count(*) > 1 AS has_numbers,
       bool_and(CASE WHEN c.subject ~ '_bounds$|^(orders|revenue|new_customers)$'
         THEN EXISTS (SELECT FROM regexp_matches(found_by(c.query), '[\d.]+', 'g') AS f WHERE round(f[1]::numeric) = replace(n[1], ' ', '')::numeric)
         ELSE found_by(c.query) IS NOT NULL END) AS proved
FROM retention.report_changes('it''s', '2024-11-01Z', '2024-12-01Z') AS c, regexp_matches(regexp_replace(c.sentence, '\([^)]*\)|needed for . = .', '', 'g'), '\d+(?: \d{3})*', 'g') AS n
GROUP BY c.number, c.subject ORDER BY c.number;
-- Of groups: from a number to a number, as rfm_distribution has them, and what they would be by the bounds of before.
SELECT c.subject, replace(substring(c.sentence FROM 'from ([\d ]+\d)'), ' ', '')::bigint = d.at_start AS before, replace(substring(c.sentence FROM ' to ([\d ]+\d)'), ' ', '')::bigint = d.at_end AS after
FROM retention.report_changes('it''s', '2024-11-01Z', '2024-12-01Z') AS c JOIN retention.rfm_distribution('2024-11-01Z', '2024-12-01Z', 'it''s') AS d ON d.rfm_group = c.subject ORDER BY 1;

-- The document has what the reports have.
CREATE TABLE made AS SELECT retention.report('it''s', '2024-11-01Z') AS document;
SELECT document - 'sections' FROM made;
SELECT s.section, s.is_compared, string_agg(p.key, ' ' ORDER BY p.key) AS periods, sum(jsonb_array_length(p.value)) > 0 AS has_rows
FROM retention._report_sections() AS s, made, jsonb_each(made.document #> ARRAY['sections', s.section]) AS p GROUP BY s.number, s.section, s.is_compared ORDER BY s.number;
SELECT count(*) FROM made, jsonb_object_keys(document -> 'sections');
SELECT (SELECT sum((r ->> 'at_end')::bigint) FROM jsonb_array_elements(document #> '{sections,groups,period}') AS r) AS at_end,
       (SELECT sum((r ->> 'customers')::bigint) FROM jsonb_array_elements(document #> '{sections,performance,period}') AS r) AS performance,
       (SELECT sum((r ->> 'customers')::bigint) FROM jsonb_array_elements(document #> '{sections,value,period}') AS r) AS value,
       (SELECT (r ->> 'customers')::bigint FROM jsonb_array_elements(document #> '{sections,repeat_rate,period}') AS r LIMIT 1) AS repeat_rate,
       (SELECT sum((r ->> 'at_start')::bigint) FROM jsonb_array_elements(document #> '{sections,groups,period}') AS r)
         = (SELECT sum((r ->> 'at_end')::bigint) FROM jsonb_array_elements(document #> '{sections,groups,before}') AS r) AS joins,
       document::text !~ 'customer_ids' AS names_nobody
FROM made;
-- It is the same in another zone, and of the month before now where nothing is said.
SET TimeZone = 'America/New_York';
SET DateStyle = 'SQL, DMY';
SELECT retention.report('it''s', '2024-11-01Z') = document AS same FROM made;
SET DateStyle = 'ISO, YMD';
SELECT retention.report('it''s') #> '{periods,period}' AS period;
SELECT f.* FROM unnest(ARRAY[
  $$SELECT retention.report()$$,
  $$SELECT retention.report('it''s', '2025-01-01Z')$$,
  $$SELECT retention.report('it''s', 'infinity')$$,
  $$SELECT retention.report('it''s', "to" => NULL)$$,
  $$SELECT retention.report_changes('it''s', '2025-01-01Z', '2024-01-01Z')$$]) AS command, failure(command) AS f;
-- Before anybody ordered there is nothing to tell.
SELECT count(*) FROM retention.report_changes('it''s', '2020-01-01Z', '2020-02-01Z');
SELECT count(*) FROM jsonb_object_keys(retention.report('it''s', '2020-01-01Z', '2020-02-01Z') -> 'sections');

DROP EXTENSION retention CASCADE;
DROP SCHEMA report_document_test CASCADE;
