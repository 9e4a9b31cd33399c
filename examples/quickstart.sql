-- Placeholder: shows the shop's customers.
SELECT customer_id, count(*) AS orders, sum(amount) AS revenue FROM shop.orders GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT 5;
