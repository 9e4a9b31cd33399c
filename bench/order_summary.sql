-- All nine numbers of order_summary. The outer counts make sure that all are computed.
SELECT count((s).orders), count((s).purchase_days), count((s).first_order_at), count((s).last_order_at),
       count((s).revenue), count((s).repeat_value), count((s).average_order_value),
       count((s).average_days_between_orders), count((s).days_between_orders_sd)
FROM (
  SELECT customer_id, retention.order_summary(ordered_at, amount) AS s
  FROM shop.orders
  GROUP BY customer_id) AS customer;
