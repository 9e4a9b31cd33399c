-- A shop's orders, in the order in which they came in. About 10 a customer in three years.
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
  order_id    bigint NOT NULL,
  customer_id bigint NOT NULL,
  ordered_at  timestamptz NOT NULL,
  amount      numeric NOT NULL
);
-- Customers come in chunks only because a function's rows are kept until the last one is there.
INSERT INTO shop.orders
  SELECT row_number() OVER (ORDER BY o.ordered_at), (chunk - 1) * (:customers / :chunks) + o.customer_id, o.ordered_at, o.amount
  FROM generate_series(1, :chunks) AS chunk,
       LATERAL retention.simulate_orders(:customers / :chunks, '2022-01-01', '2025-01-01', seed => chunk,
                                         r => 0.6, alpha => 20, a => 0.5, b => 6.5) AS o;
VACUUM (ANALYZE) shop.orders;

SELECT retention.add_source('shop.orders');
ALTER DATABASE :"DBNAME" SET retention.as_of = '2025-01-01';
