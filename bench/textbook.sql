-- RFM as textbooks and blogs have it: one GROUP BY, three ntile windows, labels by CASE.
CREATE TABLE bench.textbook AS
WITH summary AS (
  SELECT customer_id,
         count(*) AS orders,
         max(ordered_at) AS last_order_at,
         sum(amount) AS revenue
  FROM shop.orders
  GROUP BY customer_id),
scored AS (
  SELECT *,
         ntile(3) OVER (ORDER BY last_order_at) AS r,
         ntile(3) OVER (ORDER BY orders) AS f,
         ntile(3) OVER (ORDER BY revenue) AS m
  FROM summary)
SELECT *,
       CASE WHEN 100 * r + 10 * f + m IN (333, 332, 323) THEN 'Champions'
            WHEN 100 * r + 10 * f + m IN (321, 322, 331, 232, 233) THEN 'Loyal'
            WHEN 100 * r + 10 * f + m IN (311, 312, 313, 222, 223) THEN 'Recent'
            WHEN 100 * r + 10 * f + m IN (213, 221, 123, 132, 133) THEN 'Needs Attention'
            WHEN 100 * r + 10 * f + m IN (231, 212, 122, 131, 211) THEN 'At Risk'
            ELSE 'Inactive'
       END AS rfm_group
FROM scored;
