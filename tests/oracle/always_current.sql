-- A random history of two shops, for t/060_always_current.pl: after every step, process_changes must have left what a
-- full rebuild would. CALL play(seed, steps) writes what is wrong to the table problem.
CREATE EXTENSION retention;
CREATE SCHEMA always_test;
SET search_path = always_test;
CREATE TABLE problem (seed double precision, step integer, statements text, what text);

-- Two shops: one with numbers for keys, the other partitioned, with keys as text, and lines; refunds of both; and who may be written to.
CREATE TABLE "Orders" ("Order" bigint, customer_id bigint, ordered_at timestamptz, amount numeric);
CREATE INDEX ON "Orders" (customer_id);
CREATE TABLE line (order_id bigint, person text, day date, price numeric, free boolean) PARTITION BY RANGE (day);
CREATE TABLE line_2023 PARTITION OF line FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE line_later PARTITION OF line FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
CREATE INDEX ON line (person);
CREATE VIEW paid AS SELECT order_id, person, day, price FROM line WHERE NOT free;
CREATE TABLE refund (customer text, order_id bigint, refunded_at timestamptz, amount numeric);
CREATE INDEX ON refund (customer);
CREATE TABLE consent (customer_id bigint PRIMARY KEY, email boolean);

SELECT retention.add_metric('orders', frequency_values => '{2,5}', monetary_values => '{50,200}') IS NOT NULL
   AND retention.add_metric('lines', time_zone => 'Pacific/Auckland', history => '1 year', frequency_values => '{3,6}', monetary_values => '{20,90}') IS NOT NULL AS made;
SELECT retention.add_source('"Orders"', order_id => 'Order', events => true) > 0
   AND retention.add_source('paid', 'person', 'day', 'price', 'order_id') > 0
   AND retention.add_source('refund', 'customer', 'refunded_at', order_id => 'order_id', kind => 'refund') > 0
   AND retention.add_source('paid', 'person', 'day', 'price', 'order_id', metric => 'lines') > 0 AS added;
SELECT retention.track('"Orders"'), retention.track('line', 'person'), retention.track('refund'), retention.track('consent', 'customer_id');

CREATE VIEW spenders AS SELECT customer_id FROM retention.profile WHERE metric = 'orders' AND m >= 2;
CREATE VIEW reachable AS SELECT p.customer_id FROM retention.profile p JOIN consent c ON c.customer_id::text = p.customer_id AND c.email WHERE p.metric = 'orders';
CREATE VIEW silent AS SELECT m.customer_id FROM retention.segment_member m WHERE m.segment = 'spenders'
  AND NOT EXISTS (SELECT FROM consent c WHERE c.customer_id::text = m.customer_id AND c.email);
CREATE VIEW repeated AS SELECT CASE WHEN customer_id % 7 > 0 THEN customer_id END AS customer_id FROM "Orders" WHERE amount > 20;
CREATE VIEW buyers AS SELECT * FROM retention.profile WHERE rfm_group IN ('Champions', 'Loyal', 'Recent');

-- What is wrong now, in one line; nothing when all is well.
CREATE FUNCTION wrong() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  name text;
  differing bigint;
BEGIN
  CREATE TEMPORARY TABLE kept ON COMMIT DROP AS TABLE retention.customer;
  CREATE TEMPORARY TABLE members ON COMMIT DROP AS SELECT segment, customer_id FROM retention.segment_member;
  BEGIN
    CALL retention.refresh('orders', full => true);
    CALL retention.refresh('lines', full => true);
    SELECT count(*) INTO differing FROM (
      (TABLE kept EXCEPT ALL TABLE retention.customer) UNION ALL (TABLE retention.customer EXCEPT ALL TABLE kept)) AS d;
    SELECT differing + count(*) INTO differing FROM (
      (TABLE members EXCEPT ALL SELECT segment, customer_id FROM retention.segment_member)
      UNION ALL (SELECT segment, customer_id FROM retention.segment_member EXCEPT ALL TABLE members)) AS d;
    RAISE EXCEPTION USING MESSAGE = differing, ERRCODE = 'RT000';
  EXCEPTION WHEN SQLSTATE 'RT000' THEN
    IF sqlerrm <> '0' THEN
      RETURN NEXT format('%s rows differ from a full rebuild', sqlerrm);
    END IF;
  END;
  FOREACH name IN ARRAY '{spenders,reachable,silent,repeated,buyers}'::text[] LOOP
    EXECUTE format($q$SELECT count(*) FROM (
        (SELECT DISTINCT customer_id::text FROM %1$I WHERE customer_id IS NOT NULL EXCEPT SELECT customer_id FROM retention.segment_member WHERE segment = %1$L)
        UNION ALL (SELECT customer_id FROM retention.segment_member WHERE segment = %1$L EXCEPT SELECT customer_id::text FROM %1$I)) AS d$q$, name) INTO differing;
    IF differing > 0 THEN
      RETURN NEXT format('%s members of %s differ from the view', differing, name);
    END IF;
  END LOOP;
  RETURN QUERY
    SELECT 'the queue leads to other members than there are'
    WHERE EXISTS (
      (SELECT segment, customer_id FROM retention.segment_change GROUP BY 1, 2 HAVING sum(CASE change WHEN 'entered' THEN 1 ELSE -1 END) = 1
       EXCEPT TABLE members) UNION ALL (TABLE members EXCEPT
       SELECT segment, customer_id FROM retention.segment_change GROUP BY 1, 2 HAVING sum(CASE change WHEN 'entered' THEN 1 ELSE -1 END) = 1));
  RETURN QUERY
    SELECT format('%s of %s %s twice', customer_id, segment, change)
    FROM (SELECT *, lag(change) OVER (PARTITION BY segment, customer_id ORDER BY change_id) AS previous FROM retention.segment_change) AS c WHERE change = previous;
  RETURN QUERY
    SELECT format('history of %s ends elsewhere', coalesce(c.customer_id, h.customer_id))
    FROM (SELECT DISTINCT ON (metric, customer_id) * FROM retention.rfm_change ORDER BY metric, customer_id, change_id DESC) AS h
    LEFT JOIN kept c USING (metric, customer_id) WHERE h.rfm_group IS DISTINCT FROM c.rfm_group;
  RETURN QUERY
    SELECT format('moved because of %s', cause) FROM retention.rfm_change WHERE cause NOT IN ('order', 'refund', 'time');
  DROP TABLE kept, members;
END $$;

-- One statement of a shop's day, made of random numbers.
CREATE FUNCTION statement(kind integer, now timestamptz) RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT format((ARRAY[
    'INSERT INTO "Orders" SELECT %s + i, %s + i %% 3, %L::timestamptz - %s * interval ''1 day'', %s FROM generate_series(0, %6$s) i',
    'INSERT INTO "Orders" VALUES (%s, %s, %L::timestamptz - %s %% 4 * interval ''9 days'', %s)',
    'INSERT INTO line SELECT %s, %s, %L::date - %s, %s, i = 2 FROM generate_series(0, %6$s) i',
    'INSERT INTO line_2023 VALUES (%s, ''né "%s"'', ''2023-01-01''::date + %4$s %% 365, %5$s, false)',
    'UPDATE "Orders" SET amount = amount - %5$s WHERE customer_id = %2$s',
    'UPDATE "Orders" SET ordered_at = ordered_at - %4$s * interval ''1 day'' WHERE "Order" %% 10 = %6$s AND customer_id < %2$s',
    'UPDATE "Orders" SET customer_id = %2$s WHERE "Order" %% 40 = %4$s %% 40',
    'UPDATE line SET day = day + 200 WHERE person = %2$L AND day < %3$L::date - 200',
    'UPDATE line SET free = NOT free WHERE order_id %% 5 = %6$s',
    'DELETE FROM "Orders" WHERE customer_id = %2$s AND amount < %5$s',
    'DELETE FROM line WHERE person = %2$L',
    'INSERT INTO refund SELECT customer_id::text, "Order", %3$L::timestamptz, CASE WHEN %6$s = 0 THEN -1 ELSE amount END FROM "Orders" WHERE "Order" %% 30 = %4$s %% 30',
    'DELETE FROM refund WHERE order_id %% 4 = %6$s',
    'INSERT INTO refund VALUES (%2$L, 1, %3$L::timestamptz, 3)',
    'INSERT INTO consent VALUES (%2$s, true) ON CONFLICT (customer_id) DO UPDATE SET email = NOT consent.email',
    'DELETE FROM consent WHERE customer_id %% 5 = %6$s',
    'TRUNCATE consent', 'TRUNCATE line_2023', 'TRUNCATE "Orders"'])[kind],
    (random() * 1e9)::bigint, (random() * 60)::int, now, (random() * 400)::int, round((random() * 60)::numeric, 2), (random() * 4)::int)
$$;

CREATE PROCEDURE play(seed double precision, steps integer) LANGUAGE plpgsql AS $$
DECLARE
  today timestamptz := greatest(timestamptz '2024-12-01', (SELECT max(as_of) FROM retention.population));
  kind integer;
  statements text;
BEGIN
  PERFORM setseed(seed), set_config('retention.as_of', today::text, false);
  FOR step IN 1 .. steps LOOP
    statements := '';
    -- Several statements in some transactions; truncating is rare; some transactions fail.
    FOR statement IN 1 .. 1 + (random() * random() * 3)::integer LOOP
      kind := 1 + floor(random() * CASE WHEN random() < 0.05 THEN 19 ELSE 16 END)::integer;
      statements := concat_ws('; ', statements, statement(kind, today));
    END LOOP;
    EXECUTE statements;
    IF random() < 0.1 THEN
      ROLLBACK;
    ELSE
      COMMIT;
    END IF;
    IF random() < 0.1 THEN
      today := today + interval '40 days';
      PERFORM set_config('retention.as_of', today::text, false);
      CALL retention.refresh('orders');
      CALL retention.refresh('lines');
    END IF;
    CALL retention.process_changes();
    INSERT INTO problem SELECT seed, step, statements, wrong();
    COMMIT;
  END LOOP;
END $$;

SET retention.as_of = '2024-12-01';
INSERT INTO "Orders" SELECT i, i % 50, timestamptz '2024-12-01' - i * interval '3 days', i % 40 + 1 FROM generate_series(1, 200) i;
INSERT INTO line SELECT 1000 + i / 2, i % 30, date '2024-11-30' - i * 3, i % 20 + 1, i % 9 = 0 FROM generate_series(1, 200) i;
INSERT INTO consent SELECT i, i % 2 = 0 FROM generate_series(1, 40) i;
CALL retention.refresh('orders');
CALL retention.refresh('lines');
SELECT count(retention.add_segment(s)) AS segments FROM unnest('{spenders,reachable,silent,repeated,buyers}'::regclass[]) AS s;
