-- Tertiles the textbook's way; the outer sums make sure that all are computed.
SELECT sum(r), sum(f), sum(m)
FROM (
  SELECT ntile(3) OVER (ORDER BY recency) AS r,
         ntile(3) OVER (ORDER BY frequency) AS f,
         ntile(3) OVER (ORDER BY monetary) AS m
  FROM bench.value) AS scored;
