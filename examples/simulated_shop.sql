-- A simulated shop of about 10,000 customers: three years of orders, some of
-- them by guests, some of them refunded in part or in full.
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
  order_id    text,
  customer_id text,
  ordered_at  timestamptz NOT NULL,
  amount      numeric NOT NULL,
  kind        text NOT NULL DEFAULT 'order'
);

INSERT INTO shop.orders
  SELECT order_id, CASE WHEN order_id % 50 > 0 THEN customer_id END, ordered_at, amount, 'order'
  FROM retention.simulate_orders(10000, '2022-01-01', '2025-01-01', seed => 7)
  ORDER BY ordered_at, order_id;

INSERT INTO shop.orders
  SELECT order_id, customer_id, ordered_at + interval '5 days',
         CASE WHEN order_id::bigint % 3 = 0 THEN amount ELSE round(amount / 2, 2) END, 'refund'
  FROM shop.orders
  WHERE order_id::bigint % 40 = 7 AND ordered_at < '2024-12-20'
  ORDER BY ordered_at, order_id;
