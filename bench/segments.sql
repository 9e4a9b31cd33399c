-- A shop that is kept current, with twenty segments, for bench/run.
CREATE INDEX orders_customer ON shop.orders (customer_id);
CALL retention.refresh();
VACUUM (ANALYZE) retention.customer;

CREATE TABLE bench.segment (name text, condition text);
INSERT INTO bench.segment
  SELECT 's' || to_char(row_number() OVER (), 'FM00'), condition
  FROM unnest(ARRAY[
    $$rfm_group = 'Champions'$$, $$rfm_group = 'Loyal'$$, $$rfm_group = 'Recent'$$, $$rfm_group = 'At Risk'$$, $$rfm_group = 'Needs Attention'$$,
    $$rfm_group = 'Inactive'$$, $$rfm_group IN ('At Risk', 'Needs Attention')$$, $$f = 3 AND m = 3$$, $$historic_number_of_orders = 1$$,
    $$historic_number_of_orders BETWEEN 2 AND 4$$, $$historic_clv > 1000$$, $$average_order_value > 100$$, $$days_since_last_order > 90$$,
    $$first_order_at > retention.now() - interval '30 days'$$, $$churn_risk = 'high'$$, $$overdue$$,
    $$expected_date_of_next_order BETWEEN '2025-01-01' AND '2025-01-08'$$, $$predicted_clv > 100$$, $$p_alive BETWEEN 0.3 AND 0.6 AND m = 3$$,
    $$rfm_group = 'Champions' AND churn_risk <> 'low'$$]) AS condition;
SELECT format('CREATE VIEW bench.%I AS SELECT customer_id FROM retention.profile WHERE metric = ''orders'' AND %s', name, condition) FROM bench.segment
\gexec
SELECT count(retention.add_segment(format('bench.%I', name)::regclass)) FROM bench.segment;
VACUUM (ANALYZE) retention.segment_member;
VACUUM (ANALYZE) retention.segment_change;
SELECT retention.track('shop.orders');

CREATE PROCEDURE bench.count_segments() LANGUAGE plpgsql AS $$
DECLARE
  view text;
BEGIN
  FOR view IN SELECT name FROM bench.segment LOOP
    EXECUTE format('SELECT count(*) FROM bench.%I', view);
  END LOOP;
END $$;

CREATE FUNCTION bench.change_customers(number integer) RETURNS void LANGUAGE sql AS $$
  INSERT INTO shop.orders (order_id, customer_id, ordered_at, amount)
    SELECT (SELECT max(order_id) FROM shop.orders) + i, 1 + (i * 7919::bigint) % 40000, '2024-12-31', 20 FROM generate_series(1, number) AS i
$$;

-- Tables to insert into, with a customer's index and without change capture or with it.
CREATE TABLE shop.untracked (LIKE shop.orders INCLUDING ALL);
ALTER TABLE shop.untracked ADD PRIMARY KEY (order_id);
CREATE TABLE shop.tracked (LIKE shop.untracked INCLUDING ALL);
SELECT retention.track('shop.tracked', 'customer_id');

-- Inserts new rows in statements of one size, each a transaction.
CREATE PROCEDURE bench.insert_rows(relation regclass, statements integer, rows integer) LANGUAGE plpgsql AS $$
DECLARE
  command text := format('INSERT INTO %s SELECT %%s + i, (%%s + i::bigint) * 7919 %%%% 100000, ''2024-12-31'', 12.5 FROM generate_series(1, %s) AS i', relation, rows);
  last bigint;
BEGIN
  EXECUTE format('SELECT coalesce(max(order_id), 0) FROM %s', relation) INTO last;
  FOR statement IN 1 .. statements LOOP
    IF rows = 1 THEN
      EXECUTE format('INSERT INTO %s VALUES ($1, $2, ''2024-12-31'', 12.5)', relation) USING last + statement, (last + statement) * 7919 % 100000;
    ELSE
      EXECUTE format(command, last, last);
      last := last + rows;
    END IF;
    COMMIT;
  END LOOP;
END $$;

-- In many short turns, so that whatever else the machine does falls on both alike.
CREATE PROCEDURE bench.compare_inserts(rows integer, statements integer) LANGUAGE plpgsql AS $$
DECLARE
  side text;
  cpu double precision;
  started_at timestamptz;
BEGIN
  FOR turn IN 1 .. 30 LOOP
    FOREACH side IN ARRAY '{untracked,tracked}'::text[] LOOP
      cpu := bench.cpu_seconds();
      started_at := clock_timestamp();
      CALL bench.insert_rows('shop.' || side, statements, rows);
      INSERT INTO bench.measurement (comparison, workers, work_mem, side, seconds, cpu)
        VALUES ('capture ' || rows, 0, current_setting('work_mem'), side || ' ' || rows,
                extract(epoch FROM clock_timestamp() - started_at), bench.cpu_seconds() - cpu);
      COMMIT;
    END LOOP;
  END LOOP;
END $$;
