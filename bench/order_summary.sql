-- All nine numbers of order_summary: the final function makes the whole row, whatever is then read of it.
SELECT count(summary)
FROM (
  SELECT customer_id, retention.order_summary(ordered_at, amount) AS summary
  FROM shop.orders
  GROUP BY customer_id) AS customer;
