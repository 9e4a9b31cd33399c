-- What PostgreSQL itself offers: four numbers a customer. The outer counts make sure that all are computed.
SELECT count(orders), count(first_order_at), count(last_order_at), count(revenue)
FROM (
  SELECT customer_id,
         count(*) AS orders,
         min(ordered_at) AS first_order_at,
         max(ordered_at) AS last_order_at,
         sum(amount) AS revenue
  FROM shop.orders
  GROUP BY customer_id) AS customer;
