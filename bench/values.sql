-- A million values in three dimensions: whole numbers with many ties, and two without.
CREATE TABLE bench.value AS
  SELECT floor(exp(2 * random()) ^ 2) AS frequency, exp(6 * random()) AS monetary, 1000 * random() AS recency
  FROM generate_series(1, 1000000);
VACUUM (ANALYZE) bench.value;
