-- What models are fitted to: every customer, in whole days.
CREATE TABLE bench.customers AS
  SELECT retention.frequency(summary)::double precision AS x,
         retention.recency(summary) AS t_x,
         retention.age(summary) AS t,
         (summary).repeat_value::double precision AS m
  FROM (SELECT retention.order_summary(ordered_at, amount) AS summary FROM shop.orders GROUP BY customer_id) AS customer;

-- The same as often as it takes to have a million rows: what is predicted for.
CREATE TABLE bench.repeated AS
  SELECT c.*
  FROM generate_series(1, greatest(1, 1000000 / (SELECT count(*) FROM bench.customers))) AS time, bench.customers c
  ORDER BY time;

VACUUM (ANALYZE) bench.customers, bench.repeated;
INSERT INTO bench.size VALUES ('fit', (SELECT count(*) FROM bench.customers)), ('prediction', (SELECT count(*) FROM bench.repeated));
