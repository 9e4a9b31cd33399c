-- The toolkit accepts what a shop can be, in any unit; answers within it are finite and quick, and all else is an error.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA test_limits;
SET search_path = test_limits, public;
\i tests/include/failure.sql
-- At the edges of the range, each of the parameters at either end.
CREATE TABLE edge AS
  SELECT m.kind, retention.make_model(m.kind, array_agg(CASE WHEN n.bits & 1 << p.number::integer - 1 = 0 THEN 1e-12
                                                             WHEN p.name IN ('alpha', 'beta', 'v') THEN 1e40 ELSE 1e12 END ORDER BY p.number)) AS model
  FROM retention.models() AS m, generate_series(0, (1 << cardinality(m.parameters)) - 1) AS n (bits), unnest(m.parameters) WITH ORDINALITY AS p (name, number)
  GROUP BY m.kind, n.bits;
CREATE TABLE history AS
  SELECT x::float8, t_x, t FROM unnest('{0,1,1000000}'::float8[]) AS x, unnest('{0,5e-324,365,1e20}'::float8[]) AS t_x, unnest('{0,5e-324,365,1e20}'::float8[]) AS t
  WHERE t_x <= t AND (x > 0 OR t_x = 0);
SET statement_timeout = '60s';
SELECT kind, count(*) AS answers, bool_and(retention.p_alive(model, x, t_x, t) BETWEEN 0 AND 1) AS p_alive,
       bool_and(abs(retention.log_likelihood(model, x, t_x, t)) < 'Infinity') AS log_likelihood,
       bool_and(retention.order_probability(model, x, t_x, t, horizon) BETWEEN 0 AND 1) AS order_probability,
       bool_and(retention.expected_orders(model, x, t_x, t, horizon) >= 0 AND retention.expected_orders(model, x, t_x, t, horizon) < 'Infinity') AS expected_orders,
       bool_and(retention.next_order_days(model, x, t_x, t) >= 0 AND retention.next_order_days(model, x, t_x, t) < 'Infinity') AS next_order_days,
       bool_and(0 <= ALL (retention.order_distribution(model, x, t_x, t, horizon, 1)) AND 1 >= ALL (retention.order_distribution(model, x, t_x, t, horizon, 1))) AS order_distribution
  FROM edge, history, unnest('{0,5e-324,36525,1e20}'::float8[]) AS horizon WHERE kind <> 'gammagamma' GROUP BY kind ORDER BY kind;
SELECT kind, bool_and(retention.discounted_orders(model, x, t_x, t, horizon, 0.0003) BETWEEN 0 AND 1e300) AS discounted_orders
  FROM edge, history, unnest('{36525,Infinity}'::float8[]) AS horizon WHERE kind <> 'gammagamma' AND (x, t) IN ((0, 0), (1, 365)) GROUP BY kind ORDER BY kind;
-- Beyond them.
SELECT failure.* FROM (VALUES ('{0,1,1,1}'), ('{9e-13,1,1,1}'), ('{1.1e12,1,1,1}'), ('{1,1.1e40,1,1}'), ('{1,1,1,1.1e12}'), ('{1e308,1e-308,1e308,1e308}')) AS bad (parameters),
  failure(format('SELECT retention.make_model(''mbgnbd'', %L)', parameters));
SELECT call, failure.state, failure.message FROM (VALUES
  ('expected_orders(model, 1000001, 1, 1, 1)'), ('expected_orders(model, 1, 1, 1.1e20, 1)'), ('expected_orders(model, 1, 1, 1, 1.1e20)'),
  ('discounted_orders(model, 1, 1, 1, ''Infinity'', 1e-19)'), ('order_distribution(model, 1, 10001)')) AS bad (call),
  failure(format('SELECT retention.%s FROM retention.make_model(''mbgnbd'', ''{1,1,1,1}'') AS model', call));
SELECT failure.* FROM failure('SELECT retention.expected_spend(retention.make_model(''gammagamma'', ''{1,2,1}''), 1, 1.1e40)');
SELECT failure.* FROM failure($$SELECT retention.fit('gammagamma', x, 1.1e40) FROM generate_series(1, 2) AS x$$);
SELECT failure.* FROM failure($$SELECT retention.fit('mbgnbd', x, 1, 1, 1.1e15) FROM generate_series(1, 2) AS x$$);
-- A fit stays within what it may be used for, whatever the unit.
SELECT unit, bool_and(retention.p_alive(retention.fit(state, kind, 1), 1, unit, 9 * unit) BETWEEN 0 AND 1) AS usable
  FROM unnest('{1e-300,1e-9,1,1e9,1e19}'::float8[]) AS unit,
       LATERAL (SELECT retention.fit_state('mbgnbd', n % 3, n % 3 * unit, 9 * unit) AS state FROM generate_series(1, 9) AS n) AS s,
       unnest('{bgnbd,mbgnbd,paretonbd}'::text[]) AS kind GROUP BY unit ORDER BY unit;
-- Shops that cannot be simulated, and one that takes too long.
SELECT failure.* FROM failure($$SELECT count(*) FROM retention.simulate_orders(1000000001, '2020-01-01', '2024-01-01')$$);
SELECT failure.state, failure.message, failure.hint
  FROM failure($$SELECT count(*) FROM retention.simulate_orders(1, '2020-01-01', '2024-01-01', r => 1e12, alpha => 1e-12, a => 1e-12)$$);
SET statement_timeout = '100ms';
SELECT count(*) FROM retention.simulate_orders(1000000000, '2020-01-01', '2024-01-01');
SET statement_timeout = '20ms';
SELECT array_agg(retention.order_distribution(retention.make_model('paretonbd', '{0.6, 30, 0.6, 100}'), n, 10000)) FROM generate_series(1, 2) AS n;
RESET statement_timeout;
DROP SCHEMA test_limits CASCADE;
