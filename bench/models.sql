-- The models that predictions are made with.
CREATE TABLE bench.model AS
  SELECT kind, retention.fit(kind, x, t_x, t) AS model
  FROM bench.customers, unnest(ARRAY['bgnbd', 'mbgnbd', 'paretonbd']) AS kind GROUP BY kind
  UNION ALL
  SELECT 'gammagamma', retention.fit('gammagamma', x, m) FROM bench.customers WHERE x > 0;
