-- fit: weights, states, merging, parallel plans, groups, penalty, and input that cannot be fitted.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retention;
CREATE SCHEMA test_fit;
SET search_path = test_fit, pg_catalog;
SET TimeZone = 'UTC';

-- A simulated shop by whole days, with a spend; weight is how often the row is meant.
CREATE TABLE customer (id bigint, x float8, t_x float8, t float8, m float8, shard integer, weight float8);
INSERT INTO customer
SELECT customer_id, count(*) - 1, max(day) - min(day), date '2024-01-01' - min(day), avg(amount), customer_id % 4, 1 + customer_id % 3
FROM (SELECT customer_id, ordered_at::date AS day, sum(amount) AS amount
      FROM retention.simulate_orders(4000, '2022-01-01', '2024-01-01', 11) GROUP BY 1, 2) AS day
GROUP BY customer_id;
ANALYZE customer;
CREATE TABLE purchase_model AS SELECT unnest('{bgnbd,mbgnbd,paretonbd}'::text[]) AS kind;
CREATE TABLE one_pass AS
  SELECT kind, retention.fit(kind, x, t_x, t) AS model FROM customer, purchase_model GROUP BY kind
  UNION ALL SELECT 'gammagamma', retention.fit('gammagamma', x + 1, m) FROM customer;

-- The result can be read: names beside parameters, and what is known of the fit.
SELECT (model).kind, (model).names, (model).n, (model).converged, (model).penalty FROM one_pass ORDER BY 1;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'retention.model'::regclass AND attnum > 0 ORDER BY attnum;
SELECT kind, name, parameter BETWEEN 1e-3 AND 1e3 AS parameter, se BETWEEN 1e-6 AND parameter AS standard_error, abs(se * se / (model).covariance[i][i] - 1) < 1e-12 AS variance
FROM one_pass, unnest((model).names, (model).parameters, (model).standard_errors) WITH ORDINALITY AS p(name, parameter, se, i) ORDER BY kind, i;
SELECT kind, cardinality((model).covariance) AS covariances,
       (SELECT bool_and(abs((model).covariance[i][j] - (model).covariance[j][i]) <= 1e-12 * (model).standard_errors[i] * (model).standard_errors[j] AND abs((model).covariance[i][j]) <= (model).standard_errors[i] * (model).standard_errors[j] * (1 + 1e-12))
        FROM generate_subscripts((model).parameters, 1) AS i, generate_subscripts((model).parameters, 1) AS j) AS symmetric,
       (model).iterations BETWEEN 1 AND 100 AS iterations, (model).gradient_norm BETWEEN 0 AND 1e-2 AS gradient_norm
FROM one_pass ORDER BY kind;
-- The log-likelihood is the sum of the customers', and no step away from the parameters raises it.
SELECT kind, abs(sum(retention.log_likelihood(model, x, t_x, t)) / min((model).log_likelihood) - 1) < 1e-12 AS sum_of_customers
FROM one_pass, customer WHERE kind <> 'gammagamma' GROUP BY kind ORDER BY kind;
WITH thousand AS (SELECT kind, retention.fit(kind, x, t_x, t) AS model FROM customer, purchase_model WHERE id <= 1000 GROUP BY kind),
  moved AS (SELECT kind, (model).log_likelihood AS most,
                   retention.make_model(kind, (SELECT array_agg(p * CASE WHEN n = i THEN 1 + step ELSE 1 END ORDER BY n) FROM unnest((model).parameters) WITH ORDINALITY AS p(p, n))) AS model
            FROM thousand, generate_series(1, 4) AS i, unnest('{-0.01,0.01}'::float8[]) AS step)
SELECT kind, count(*) AS steps, bool_and((SELECT sum(retention.log_likelihood(model, x, t_x, t)) FROM customer WHERE id <= 1000) < most) AS maximum
FROM moved GROUP BY kind ORDER BY kind;

-- Two fits of the same observations: 12 digits of the log-likelihood, parameters to 1e-9, and the rest accordingly.
CREATE FUNCTION deviation(a float8[], b float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN cardinality(a) = cardinality(b) THEN max(abs(one / other - 1)) END FROM unnest(a, b) AS element(one, other)
$$;
CREATE FUNCTION same(a retention.model, b retention.model) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce((a.kind, a.names, a.converged, a.penalty) = (b.kind, b.names, b.converged, b.penalty) AND a.converged AND a.n = b.n
                  AND deviation(ARRAY[a.log_likelihood], ARRAY[b.log_likelihood]) < 1e-12
                  AND deviation(a.parameters, b.parameters) < 1e-9 AND deviation(a.standard_errors, b.standard_errors) < 1e-6
                  AND deviation(a.covariance, b.covariance) < 1e-6, false)
$$;
SELECT kind, same(model, model) AS itself, same(model, (SELECT model FROM one_pass AS o WHERE o.kind <> one_pass.kind LIMIT 1)) AS another FROM one_pass ORDER BY kind;

-- Weighted rows are repeated rows; weights need not be whole numbers; equal rows may be one.
SELECT kind, same(retention.fit(kind, x, t_x, t, weight), (SELECT retention.fit(kind, x, t_x, t) FROM customer AS c, generate_series(1, c.weight::integer))) AS same
FROM customer, purchase_model GROUP BY kind ORDER BY kind;
SELECT same(retention.fit('gammagamma', x + 1, m, weight), (SELECT retention.fit('gammagamma', x + 1, m) FROM customer AS c, generate_series(1, c.weight::integer))) AS gammagamma FROM customer;
SELECT kind, same(retention.fit(kind, x, t_x, t, weight), (SELECT model FROM one_pass WHERE one_pass.kind = g.kind)) AS grouped,
       same(retention.fit(kind, x, t_x, t, weight / 2), (SELECT retention.fit(kind, x, t_x, t, 0.5) FROM customer)) AS halves, sum(weight) = max((SELECT (model).n FROM one_pass WHERE one_pass.kind = g.kind)) AS n
FROM (SELECT kind, x, t_x, t, count(*)::float8 AS weight FROM customer, purchase_model GROUP BY 1, 2, 3, 4) AS g GROUP BY kind ORDER BY kind;
SELECT deviation((half).parameters, (model).parameters) < 1e-9 AS same_parameters, abs((half).log_likelihood / (model).log_likelihood - 0.5) < 1e-12 AS half_the_likelihood,
       (half).n / (model).n AS n, round(((half).standard_errors[1] / (model).standard_errors[1])::numeric, 6) AS standard_error
FROM (SELECT retention.fit('bgnbd', x, t_x, t, 0.5) AS half FROM customer) AS h, one_pass WHERE kind = 'bgnbd';
-- The order of the rows plays no part.
SELECT kind, same(retention.fit(kind, x, t_x, t ORDER BY hashint8(id)), (SELECT model FROM one_pass WHERE one_pass.kind = m.kind)) AS same FROM customer, purchase_model AS m GROUP BY kind ORDER BY kind;

-- Rows with something missing, and rows of no weight, are ignored.
CREATE TABLE gaps AS SELECT x, t_x, t, 1.0::float8 AS weight FROM customer
  UNION ALL SELECT CASE n WHEN 1 THEN NULL ELSE x END, CASE n WHEN 2 THEN NULL ELSE t_x END, CASE n WHEN 3 THEN NULL ELSE t END,
                   CASE n WHEN 4 THEN NULL WHEN 5 THEN 0 ELSE 7 END FROM customer, generate_series(1, 5) AS n WHERE id < 50;
SELECT kind, same(retention.fit(kind, x, t_x, t, weight), (SELECT model FROM one_pass WHERE one_pass.kind = m.kind)) AS weighted,
       same(retention.fit(kind, x, t_x, t) FILTER (WHERE weight = 1 OR weight IS NOT NULL AND num_nulls(x, t_x, t) > 0), (SELECT model FROM one_pass WHERE one_pass.kind = m.kind)) AS unweighted
FROM gaps, purchase_model AS m GROUP BY kind ORDER BY kind;
SELECT same(retention.fit('gammagamma', x, m), (SELECT model FROM one_pass WHERE kind = 'gammagamma')) AS gammagamma
FROM (SELECT x + 1 AS x, m FROM customer UNION ALL SELECT NULL, m FROM customer UNION ALL SELECT x, NULL FROM customer) AS g;
SELECT same(retention.fit('gammagamma', x, m, weight), (SELECT model FROM one_pass WHERE kind = 'gammagamma')) AS gammagamma
FROM (SELECT x + 1 AS x, m, 1::float8 AS weight FROM customer UNION ALL SELECT NULL, m, 1 FROM customer UNION ALL SELECT x, NULL, 1 FROM customer UNION ALL SELECT x + 3, m, NULL FROM customer UNION ALL SELECT x + 4, m, 0 FROM customer) AS g;

-- States: of shards, one of them empty, merged; kept in a table, read back, sent as text and by COPY.
CREATE TABLE shard_state AS
  SELECT kind, shard, retention.fit_state(kind, x, t_x, t) AS state FROM customer, purchase_model GROUP BY kind, shard
  UNION ALL SELECT kind, 4, (SELECT retention.fit_state(kind, x, t_x, t) FROM customer WHERE false) FROM purchase_model
  UNION ALL SELECT 'gammagamma', shard, retention.fit_state('gammagamma', x + 1, m) FROM customer GROUP BY shard
  UNION ALL SELECT 'gammagamma', 4, retention.fit_state('gammagamma', x + 1, m) FROM customer WHERE false;
SELECT kind, count(*) AS states, pg_typeof(min(state::text)::retention.fit_state) AS type, same(retention.fit(retention.merge(state)), min(model::text)::retention.model) AS merged,
       same(retention.fit(retention.merge(state ORDER BY shard DESC)), min(model::text)::retention.model) AS backwards,
       same(retention.fit(retention.merge(state::text::retention.fit_state)), min(model::text)::retention.model) AS text
FROM shard_state JOIN one_pass USING (kind) GROUP BY kind ORDER BY kind;
SELECT kind, same(retention.fit(retention.fit_state(kind, x, t_x, t)), (SELECT model FROM one_pass WHERE one_pass.kind = m.kind)) AS unmerged,
       same(retention.fit(retention.fit_state(kind, x, t_x, t, weight)), retention.fit(kind, x, t_x, t, weight)) AS weighted FROM customer, purchase_model AS m GROUP BY kind ORDER BY kind;
SELECT same(retention.fit(retention.fit_state('gammagamma', x + 1, m, weight)), retention.fit('gammagamma', x + 1, m, weight)) AS gammagamma_weighted FROM customer;
-- Of two levels, and of a single state; a fit leaves its state as it was.
SELECT kind, same(retention.fit(retention.merge(merged)), min(model::text)::retention.model) AS two_levels
FROM (SELECT kind, shard % 2 AS half, retention.merge(state) AS merged FROM shard_state GROUP BY 1, 2) AS half JOIN one_pass USING (kind) GROUP BY kind ORDER BY kind;
SELECT kind, same(retention.fit(state), retention.fit(merged)) AS single, state::text = merged::text AS unchanged
FROM (SELECT kind, state FROM shard_state WHERE shard = 2) AS s, LATERAL (SELECT retention.merge(alone) AS merged FROM (VALUES (state)) AS v(alone)) AS m ORDER BY kind;
SELECT kind, same(first, second) AS again, before = after AS state_unchanged
FROM (SELECT kind, state::text AS before, retention.fit(state) AS first, retention.fit(state) AS second, state::text AS after FROM shard_state WHERE shard = 1) AS s ORDER BY kind;
CREATE TABLE read_back (kind text, shard integer, state retention.fit_state);
SELECT current_setting('data_directory') || '/test_fit.copy' AS file \gset
COPY shard_state TO :'file';
COPY read_back FROM :'file';
SELECT count(*) AS states, count(*) FILTER (WHERE r.state::text IS DISTINCT FROM s.state::text) AS different FROM shard_state AS s JOIN read_back AS r USING (kind, shard);
TRUNCATE read_back;
COPY shard_state TO :'file' (FORMAT binary);
COPY read_back FROM :'file' (FORMAT binary);
SELECT count(*) AS states, count(*) FILTER (WHERE r.state::text IS DISTINCT FROM s.state::text) AS different FROM shard_state AS s JOIN read_back AS r USING (kind, shard);
COPY (SELECT) TO :'file';
SELECT kind, same(retention.fit(retention.merge(state)), min(model::text)::retention.model) AS read_back FROM read_back JOIN one_pass USING (kind) GROUP BY kind ORDER BY kind;
-- Equal rows take one place in a state, so a large shop's state is small.
SELECT pg_column_size(many) < 1.2 * pg_column_size(once) AS compact
FROM (SELECT retention.fit_state('bgnbd', x, t_x, t) AS once FROM customer) AS o, (SELECT retention.fit_state('bgnbd', x, t_x, t) AS many FROM customer, generate_series(1, 20)) AS m;
-- One state fits every model of the same observations.
SELECT made.kind AS made_for, fitted.kind AS fitted, same(retention.fit(state, model => fitted.kind), model) AS same
FROM (SELECT kind, retention.merge(state) AS state FROM shard_state WHERE kind <> 'gammagamma' GROUP BY kind) AS made, one_pass AS fitted WHERE fitted.kind <> 'gammagamma' ORDER BY 1, 2;
-- Merging none, or what is null, gives null; a fit of null is null.
SELECT retention.merge(state) IS NULL AS merged_none FROM shard_state WHERE false;
SELECT retention.merge(NULL::retention.fit_state) IS NULL AS merged_null, retention.fit(NULL::retention.fit_state) IS NULL AS fit_null;
SELECT same(retention.fit(retention.merge(state)), (SELECT model FROM one_pass WHERE kind = 'mbgnbd')) AS nulls_ignored
FROM (SELECT state FROM shard_state WHERE kind = 'mbgnbd' UNION ALL SELECT NULL FROM generate_series(1, 3)) AS s;

-- Parallel is serial.
CREATE FUNCTION plan(query text) RETURNS TABLE (parallel boolean) LANGUAGE plpgsql AS $$
DECLARE
  line text;
  partial boolean := false;
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
    partial := partial OR line LIKE '%Partial%Aggregate%';
  END LOOP;
  RETURN QUERY SELECT partial;
END $$;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT kind, parallel FROM purchase_model, plan(format('SELECT retention.fit(%L, x, t_x, t), retention.fit_state(%1$L, x, t_x, t, weight), retention.fit(%1$L, x, t_x, t, weight) FROM customer', kind)) ORDER BY kind;
SELECT * FROM plan($$SELECT retention.fit('gammagamma', x + 1, m), retention.fit_state('gammagamma', x + 1, m, weight), retention.fit('gammagamma', x + 1, m, weight), retention.fit_state('gammagamma', x + 1, m) FROM customer$$);
SELECT * FROM plan('SELECT retention.merge(state) FROM shard_state');
CREATE TABLE parallel AS SELECT 'bgnbd' AS kind, retention.fit('bgnbd', x, t_x, t) AS model FROM customer;
INSERT INTO parallel SELECT 'bgnbd weighted', retention.fit('bgnbd', x, t_x, t, weight) FROM customer;
CREATE TABLE parallel_mbgnbd AS SELECT 'mbgnbd' AS kind, retention.fit('mbgnbd', x, t_x, t) AS model FROM customer;
CREATE TABLE parallel_paretonbd AS SELECT 'paretonbd' AS kind, retention.fit('paretonbd', x, t_x, t) AS model FROM customer;
CREATE TABLE parallel_gammagamma AS SELECT 'gammagamma' AS kind, retention.fit('gammagamma', x + 1, m) AS model FROM customer;
CREATE TABLE parallel_state AS SELECT 'mbgnbd' AS kind, retention.fit(retention.fit_state('mbgnbd', x, t_x, t)) AS model FROM customer;
CREATE TABLE parallel_merge AS SELECT 'paretonbd' AS kind, retention.fit(retention.merge(state)) AS model FROM shard_state WHERE kind = 'paretonbd';
SELECT kind, same(parallel.model, one_pass.model) AS same
FROM (SELECT * FROM parallel UNION ALL SELECT * FROM parallel_mbgnbd UNION ALL SELECT * FROM parallel_paretonbd UNION ALL SELECT * FROM parallel_gammagamma
      UNION ALL SELECT * FROM parallel_state UNION ALL SELECT * FROM parallel_merge) AS parallel JOIN one_pass USING (kind) ORDER BY kind;
-- Workers without a row.
SELECT same(retention.fit('bgnbd', x, t_x, t), (SELECT retention.fit('bgnbd', x, t_x, t ORDER BY id) FROM customer WHERE id <= 100)) AS few_rows FROM customer WHERE id <= 100;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SET max_parallel_workers_per_gather = 0;
SELECT same(model, retention.fit('bgnbd', x, t_x, t, weight)) AS weighted FROM customer, parallel WHERE kind = 'bgnbd weighted' GROUP BY model;

-- By group, in subtotals, and as a window function.
SELECT count(*) AS groups, count(DISTINCT (grouped).log_likelihood) AS different,
       bool_and(same(grouped, (SELECT retention.fit('mbgnbd', x, t_x, t) FROM customer AS c WHERE c.shard = g.shard))) AS same
FROM (SELECT shard, retention.fit('mbgnbd', x, t_x, t) AS grouped FROM customer GROUP BY shard) AS g;
SELECT shard IS NULL AS total, count(*) AS groups,
       bool_and(same(grouped, (SELECT retention.fit('bgnbd', x, t_x, t) FROM customer AS c WHERE c.shard = g.shard OR g.shard IS NULL))) AS same
FROM (SELECT shard, retention.fit('bgnbd', x, t_x, t) AS grouped FROM customer GROUP BY ROLLUP (shard)) AS g GROUP BY 1 ORDER BY 1;
SELECT kind, count(*) AS groups, bool_and(same(fit, (SELECT retention.fit(kind, x, t_x, t) FROM customer AS c WHERE c.shard = g.shard))) AS same
FROM (SELECT kind, shard, retention.fit(kind, x, t_x, t) AS fit FROM customer, purchase_model GROUP BY kind, shard) AS g GROUP BY kind ORDER BY kind;
SELECT count(*) AS rows, bool_and(same(partitioned, (SELECT retention.fit('bgnbd', x, t_x, t) FROM customer AS c WHERE c.shard = g.shard))) AS same
FROM (SELECT DISTINCT shard, retention.fit('bgnbd', x, t_x, t) OVER (PARTITION BY shard) AS partitioned FROM customer) AS g;
-- Running: the state goes on after each result.
SELECT count(*) AS rows, bool_and(same(running, (SELECT retention.fit('bgnbd', x, t_x, t) FROM customer AS c WHERE c.id <= r.id + 200))) AS same
FROM (SELECT id, retention.fit('bgnbd', x, t_x, t) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 200 FOLLOWING) AS running FROM customer WHERE id <= 240) AS r WHERE id <= 40;
SELECT same(retention.fit('bgnbd', x, t_x, t) FILTER (WHERE shard = 1), (SELECT retention.fit('bgnbd', x, t_x, t) FROM customer WHERE shard = 1)) AS filter,
       same(retention.fit('bgnbd', x::integer, t_x::integer, t::numeric), (SELECT model FROM one_pass WHERE kind = 'bgnbd')) AS other_types FROM customer;
SELECT same(retention.fit(DISTINCT 'bgnbd', x, t_x, t), (SELECT retention.fit('bgnbd', x, t_x, t) FROM (SELECT DISTINCT x, t_x, t FROM customer) AS d)) AS distinct FROM customer;

-- Other units of time: the likelihood changes by x ln 7, and parameters with the dimension of a time by a seventh.
SELECT kind, (weeks).converged, abs((weeks).log_likelihood - (days).log_likelihood - repeats * ln(7)) < 1e-6 AS log_likelihood,
       deviation((weeks).parameters, CASE kind WHEN 'paretonbd' THEN ARRAY[(days).parameters[1], (days).parameters[2] / 7, (days).parameters[3], (days).parameters[4] / 7]
                                     ELSE ARRAY[(days).parameters[1], (days).parameters[2] / 7, (days).parameters[3], (days).parameters[4]] END) < 1e-5 AS parameters
FROM (SELECT kind, retention.fit(kind, x, t_x / 7, t / 7) AS weeks, sum(x) AS repeats FROM customer, purchase_model GROUP BY kind) AS w JOIN (SELECT kind, model AS days FROM one_pass) AS d USING (kind) ORDER BY kind;

-- A small shop where nobody came back: no maximum exists, which is said and is no error; a penalty gives one.
CREATE FUNCTION finite(VARIADIC float8[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS
  $$SELECT bool_and(v > '-Infinity' AND v < 'Infinity') FROM unnest($1) AS v$$;
CREATE FUNCTION without_nan(model retention.model) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT count(*) = 0 FROM unnest(model.parameters || model.standard_errors || ARRAY(SELECT unnest(model.covariance)) || model.log_likelihood || model.gradient_norm) AS v WHERE v = 'NaN'
$$;
CREATE TABLE no_repeats AS SELECT retention.fit_state('bgnbd', 0, 0, 10 * n) AS state FROM generate_series(1, 30) AS n;
SELECT kind, (model).n, (model).converged, without_nan(model), finite(VARIADIC (model).parameters) AND 0 < ALL ((model).parameters) AS parameters, finite((model).log_likelihood) AS log_likelihood
FROM (SELECT kind, retention.fit(state, kind) AS model FROM purchase_model, no_repeats) AS f ORDER BY kind;
SELECT kind, (retention.fit(kind, 0, 0, 10 * n)).converged FROM purchase_model, generate_series(1, 30) AS n GROUP BY kind ORDER BY kind;
SELECT kind, penalty, (model).n, (model).converged, (model).penalty = penalty AS says_so, without_nan(model),
       finite(VARIADIC (model).parameters || (model).standard_errors || (model).log_likelihood) AND 0 < ALL ((model).parameters) AS finite,
       retention.p_alive(model, 0, 0, 100) BETWEEN 0 AND 1 AS p_alive, retention.expected_orders(model, 0, 0, 100, 365) BETWEEN 1e-6 AND 100 AS expected_orders
FROM (SELECT kind, penalty, retention.fit(state, kind, penalty) AS model FROM purchase_model, no_repeats, unnest('{0.1,1,10}'::float8[]) AS penalty) AS f ORDER BY kind, penalty;
-- Other small shops: two customers; nobody idle; no idle time at all; one customer with everything; the same spend twice.
CREATE TABLE small (what text, x float8, t_x float8, t float8);
INSERT INTO small VALUES ('two', 0, 0, 10), ('two', 0, 0, 20), ('one buyer', 0, 0, 10), ('one buyer', 5, 9, 10), ('never idle', 3, 30, 30), ('never idle', 4, 40, 40), ('never idle', 1, 10, 10),
  ('new', 0, 0, 0), ('new', 0, 0, 1), ('large', 0, 0, 30), ('large', 100000, 29, 30), ('long', 0, 0, 36500), ('long', 1, 36500, 36500), ('short', 1, 0.01, 0.04), ('short', 0, 0, 0.02);
INSERT INTO small SELECT 'regular', 10, 100, 100 + n % 2 FROM generate_series(1, 50) AS n;
SELECT what, count(*) AS fits, bool_and(without_nan(plain)) AS without_nan, bool_and(finite(VARIADIC (plain).parameters || (plain).log_likelihood) AND 0 < ALL ((plain).parameters)) AS parameters,
       bool_and((penalised).converged) AS penalised, bool_and(without_nan(penalised) AND finite(VARIADIC (penalised).parameters || (penalised).standard_errors || (penalised).log_likelihood)) AS finite
FROM (SELECT what, retention.fit(state, kind) AS plain, retention.fit(state, kind, 1) AS penalised FROM (SELECT what, retention.fit_state('bgnbd', x, t_x, t) AS state FROM small GROUP BY what) AS s, purchase_model) AS f
GROUP BY what ORDER BY what;
SELECT what, without_nan(plain), finite(VARIADIC (plain).parameters || (plain).log_likelihood) AND 0 < ALL ((plain).parameters) AS parameters,
       (penalised).converged, without_nan(penalised) AND finite(VARIADIC (penalised).parameters || (penalised).standard_errors || (penalised).log_likelihood) AS finite
FROM (SELECT what, retention.fit(retention.fit_state('gammagamma', x, m)) AS plain, retention.fit(retention.fit_state('gammagamma', x, m), penalty => 1) AS penalised
      FROM (VALUES ('two', 1, 10), ('two', 1, 20), ('one apart', 1, 10), ('one apart', 3, 10), ('wide', 1, 1e-6), ('wide', 100000, 1e9)) AS v(what, x, m) GROUP BY what) AS f ORDER BY what;
-- The penalty draws towards the same centre: the more the less the data count; none is the plain fit, and it matters little in a large shop.
SELECT kind, same(retention.fit(state, penalty => 0), model) AS none, deviation((retention.fit(state, penalty => 1e-9)).parameters, (model).parameters) < 1e-6 AS hardly_any,
       deviation((retention.fit(state, penalty => 1)).parameters, (model).parameters) BETWEEN 1e-9 AND 0.2 AS little, (retention.fit(state, penalty => 1)).log_likelihood < (model).log_likelihood AS likelihood_without_penalty
FROM (SELECT kind, retention.merge(state) AS state FROM shard_state GROUP BY kind) AS s JOIN one_pass USING (kind) ORDER BY kind;
SELECT kind, deviation((retention.fit(state, kind, 1e9)).parameters, (retention.fit(other, kind, 1e9)).parameters) < 1e-2 AS all_penalty
FROM purchase_model, no_repeats, (SELECT retention.merge(state) AS other FROM shard_state WHERE kind = 'bgnbd') AS o ORDER BY kind;

-- What cannot be fitted is an error that says why and what to do.
\i tests/include/failure.sql
\x
-- One row among good ones, for each model and for states.
SELECT value, failure.* FROM unnest(ARRAY['-1, 0, 10', 'NaN, 0, 10', 'Infinity, 0, 10', '1.5, 1, 10', '1, -1, 10', '1, NaN, 10', '1, Infinity, 10', '1, 1, -1', '1, 1, NaN', '1, 1, Infinity',
                                           '1, 11, 10', '0, 1, 10', '-1, -1, -1', '-Infinity, 0, 0']) AS value,
  failure(format('SELECT retention.fit(''bgnbd'', x, t_x, t) FROM (VALUES (2::float8, 5::float8, 10::float8), (0, 0, 7), (%s)) AS v(x, t_x, t)', regexp_replace(value, '(-?Infinity|NaN)', '''\1''', 'g')));
SELECT count(*) AS places, count(DISTINCT (state, message, detail, hint)) AS different, min(state) AS state
FROM purchase_model, unnest('{fit,fit_state}'::text[]) AS aggregate, unnest('{"",", 1"}'::text[]) AS weight,
     failure(format('SELECT retention.%s(%L, x, t_x, t%s) FROM (VALUES (2::float8, 5::float8, 10::float8), (0, 0, 7), (0, 1, 10)) AS v(x, t_x, t)', aggregate, kind, weight));
SELECT weight, failure.* FROM unnest('{-1,-1e-300,NaN,Infinity,-Infinity}'::text[]) AS weight,
  failure(format('SELECT retention.fit(''bgnbd'', x, t_x, t, w) FROM (VALUES (2::float8, 5::float8, 10::float8, 1::float8), (0, 0, 7, 1), (1, 1, 1, %L)) AS v(x, t_x, t, w)', weight));
SELECT value, failure.* FROM unnest('{"1, 0","1, -5","1, NaN","1, Infinity","0, 5","-1, 5","1.5, 5","NaN, 5","Infinity, 5"}'::text[]) AS value,
  failure(format('SELECT retention.fit(''gammagamma'', x, m) FROM (VALUES (2::float8, 5::float8), (1, 7), (%s)) AS v(x, m)', regexp_replace(value, '(Infinity|NaN)', '''\1''', 'g')));
SELECT weight, failure.* FROM unnest('{-1,NaN,Infinity}'::text[]) AS weight,
  failure(format('SELECT retention.fit(''gammagamma'', x, m, w) FROM (VALUES (2::float8, 5::float8, 1::float8), (1, 7, 1), (3, 4, %L)) AS v(x, m, w)', weight));
-- Fewer than two rows, none that counts, all equal.
SELECT what, failure.* FROM (VALUES
  ('no row', 'SELECT retention.fit(''bgnbd'', x, t_x, t) FROM test_fit.customer WHERE false'),
  ('one row', 'SELECT retention.fit(''bgnbd'', x, t_x, t) FROM test_fit.customer WHERE id = 1'),
  ('one row, heavy', 'SELECT retention.fit(''bgnbd'', x, t_x, t, 5) FROM test_fit.customer WHERE id = 1'),
  ('one row and nulls', 'SELECT retention.fit(''mbgnbd'', x, t_x, CASE WHEN id = 1 THEN t END) FROM test_fit.customer'),
  ('one row and no weight', 'SELECT retention.fit(''paretonbd'', x, t_x, t, CASE WHEN id = 1 THEN 1 ELSE 0 END) FROM test_fit.customer'),
  ('nulls', 'SELECT retention.fit(''bgnbd'', NULL, t_x, t) FROM test_fit.customer'),
  ('equal rows', 'SELECT retention.fit(''bgnbd'', 3, 5, 10) FROM test_fit.customer'),
  ('equal rows, weights', 'SELECT retention.fit(''bgnbd'', 3, 5, 10, weight) FROM test_fit.customer'),
  ('equal rows of a state', 'SELECT retention.fit(retention.fit_state(''bgnbd'', 3, 5, 10)) FROM test_fit.customer'),
  ('equal rows, penalty', 'SELECT retention.fit(retention.fit_state(''bgnbd'', 3, 5, 10), penalty => 1) FROM test_fit.customer'),
  ('equal rows, merged', 'SELECT retention.fit(retention.merge(s)) FROM (SELECT retention.fit_state(''bgnbd'', 3, 5, 10) AS s FROM test_fit.customer GROUP BY shard) AS s'),
  ('one row of spend', 'SELECT retention.fit(''gammagamma'', 1, 5)'),
  ('equal spend', 'SELECT retention.fit(''gammagamma'', 1, 5) FROM test_fit.customer'),
  ('one row of a state', 'SELECT retention.fit(retention.fit_state(''gammagamma'', 1, 5))'),
  ('no row of a state', 'SELECT retention.fit(retention.fit_state(''bgnbd'', x, t_x, t)) FROM test_fit.customer WHERE false')) AS bad(what, query), failure(query);
-- Models: unknown, null, of other observations, several at once.
SELECT what, failure.* FROM (VALUES
  ('unknown', 'SELECT retention.fit(''nbd'', x, t_x, t) FROM test_fit.customer'),
  ('upper case', 'SELECT retention.fit(''BGNBD'', x, t_x, t) FROM test_fit.customer'),
  ('empty', 'SELECT retention.fit('''', x, t_x, t) FROM test_fit.customer'),
  ('long', 'SELECT retention.fit(''mbgnbd_with_a_name_that_is_longer_than_any_model_may_have'', x, t_x, t) FROM test_fit.customer'),
  ('unknown, state', 'SELECT retention.fit_state(''nbd'', x, t_x, t) FROM test_fit.customer'),
  ('unknown, of a state', 'SELECT retention.fit(retention.fit_state(''bgnbd'', x, t_x, t), ''nbd'') FROM test_fit.customer'),
  ('null', 'SELECT retention.fit(NULL::text, x, t_x, t) FROM test_fit.customer'),
  ('null, state', 'SELECT retention.fit_state(NULL::text, x, t_x, t) FROM test_fit.customer'),
  ('several', 'SELECT retention.fit(CASE WHEN id % 2 = 0 THEN ''bgnbd'' ELSE ''mbgnbd'' END, x, t_x, t ORDER BY id) FROM test_fit.customer'),
  ('spend of purchases', 'SELECT retention.fit(''bgnbd'', x, m) FROM test_fit.customer'),
  ('purchases of spend', 'SELECT retention.fit(''gammagamma'', x, t_x, t, weight) FROM test_fit.customer'),
  ('another of a state', 'SELECT retention.fit(retention.fit_state(''bgnbd'', x, t_x, t), ''gammagamma'') FROM test_fit.customer'),
  ('another of a spend state', 'SELECT retention.fit(retention.fit_state(''gammagamma'', x + 1, m), ''bgnbd'') FROM test_fit.customer'),
  ('states of different observations', 'SELECT retention.merge(state ORDER BY kind DESC, shard) FROM test_fit.shard_state'),
  ('states of different models', 'SELECT retention.merge(state ORDER BY kind, shard) FROM test_fit.shard_state WHERE kind IN (''bgnbd'', ''mbgnbd'')'),
  ('negative penalty', 'SELECT retention.fit(state, penalty => -1) FROM test_fit.no_repeats'),
  ('penalty NaN', 'SELECT retention.fit(state, penalty => ''NaN'') FROM test_fit.no_repeats'),
  ('infinite penalty', 'SELECT retention.fit(state, penalty => ''Infinity'') FROM test_fit.no_repeats')) AS bad(what, query), failure(query);
-- make_model.
SELECT kind, parameters, failure.* FROM (VALUES ('bgnbd', '{1,2,3}'), ('bgnbd', '{1,2,3,4,5}'), ('paretonbd', '{}'), ('gammagamma', '{1,2,3,4}'), ('mbgnbd', '{1,2,3,0}'), ('mbgnbd', '{1,-2,3,4}'),
  ('paretonbd', '{1,NaN,3,4}'), ('paretonbd', '{1,2,Infinity,4}'), ('bgnbd', '{1,2,NULL,4}'), ('bgnbd', '{{1,2},{3,4}}'), ('nbd', '{1,2,3,4}')) AS bad(kind, parameters),
  failure(format('SELECT retention.make_model(%L, %L)', kind, parameters));
\x
SELECT retention.make_model(NULL, '{1,2,3,4}') IS NULL AS no_kind, retention.make_model('bgnbd', NULL) IS NULL AS no_parameters;
SELECT retention.make_model(kind, parameters) FROM (VALUES ('bgnbd', '{0.25,4.5,0.75,2.5}'::float8[]), ('mbgnbd', '{0.5,6,0.875,1.5}'), ('paretonbd', '{0.5,10,0.625,12}'), ('gammagamma', '{6.25,3.75,15.5}')) AS m(kind, parameters);
SELECT retention.make_model('bgnbd', '[0:3]={0.25,4.5,0.75,2.5}') = retention.make_model('bgnbd', '{0.25,4.5,0.75,2.5}') AS other_bounds;

-- Text and bytes that are no state are refused, and none of them does harm: cut short, lengthened, or with any byte changed.
CREATE TABLE tiny AS SELECT retention.fit_state('bgnbd', x, t_x, t)::text AS state FROM (VALUES (0, 0, 10), (2, 5, 20), (2, 7, 20)) AS v(x, t_x, t)
  UNION ALL SELECT retention.fit_state('gammagamma', x, m)::text FROM (VALUES (1, 10.5), (2, 5), (2, 7)) AS v(x, m);
CREATE FUNCTION outcome(state text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM retention.fit(retention.merge(s)) FROM (VALUES (state::retention.fit_state), (state::retention.fit_state)) AS v(s);
  RETURN 'fitted';
EXCEPTION WHEN OTHERS THEN
  RETURN CASE WHEN SQLSTATE LIKE '22%' THEN 'refused' ELSE SQLSTATE || ' ' || SQLERRM END;
END $$;
SELECT outcome(state) AS outcome, count(*) FROM tiny GROUP BY 1;
SELECT outcome(left(state, n)) AS outcome, count(*) > 0 FROM tiny, generate_series(0, length(state) - 1) AS n GROUP BY 1;
SELECT outcome(state || more) AS outcome, count(*) > 0 FROM tiny, unnest('{0,00,ff,x,\\x}'::text[]) AS more GROUP BY 1;
SELECT outcome, count(*) > 0 AS some
FROM tiny, generate_series(0, length(state) / 2 - 2) AS n, unnest('{1,2,128,255}'::integer[]) AS change,
     outcome(overlay(state PLACING lpad(to_hex(('x' || substr(state, 3 + 2 * n, 2))::bit(8)::integer # change), 2, '0') FROM 3 + 2 * n FOR 2)) GROUP BY 1 ORDER BY 1;
\x
SELECT left(text, 10) AS text, failure.* FROM unnest(ARRAY['', '\x', 'bgnbd', '\x00', '\x' || repeat('ff', 100), '\x' || repeat('00', 100)]) AS text, failure(format('SELECT retention.fit(%L::retention.fit_state)', text));
\x
DROP SCHEMA test_fit CASCADE;
