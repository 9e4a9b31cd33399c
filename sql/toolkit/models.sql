-- Purchase and spend models: fitting, merging and asking them.

CREATE OR REPLACE FUNCTION retention.fit_transition(
    internal, text, double precision, double precision)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_transition';
COMMENT ON FUNCTION retention.fit_transition(internal, text, double precision, double precision) IS
  'Transition function of fit and fit_state.';

CREATE OR REPLACE FUNCTION retention.fit_transition(
    internal, text, double precision, double precision, double precision)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_transition';
COMMENT ON FUNCTION retention.fit_transition(
  internal, text, double precision, double precision, double precision) IS
  'Transition function of fit and fit_state.';

CREATE OR REPLACE FUNCTION retention.fit_transition(
    internal, text, double precision, double precision, double precision, double precision)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_transition';
COMMENT ON FUNCTION retention.fit_transition(
  internal, text, double precision, double precision, double precision, double precision) IS
  'Transition function of fit and fit_state.';

CREATE OR REPLACE FUNCTION retention.fit_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_combine';
COMMENT ON FUNCTION retention.fit_combine(internal, internal) IS
  'Combine function of fit, fit_state and merge.';

CREATE OR REPLACE FUNCTION retention.fit_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_serialize';
COMMENT ON FUNCTION retention.fit_serialize(internal) IS
  'Serialization function of fit, fit_state and merge.';

CREATE OR REPLACE FUNCTION retention.fit_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_deserialize';
COMMENT ON FUNCTION retention.fit_deserialize(bytea, internal) IS
  'Deserialization function of fit, fit_state and merge.';

CREATE OR REPLACE FUNCTION retention.fit_final(internal) RETURNS retention.model
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_final';
COMMENT ON FUNCTION retention.fit_final(internal) IS 'Final function of fit.';

CREATE OR REPLACE FUNCTION retention.fit_state_final(internal) RETURNS retention.fit_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_serialize';
COMMENT ON FUNCTION retention.fit_state_final(internal) IS 'Final function of fit_state and merge.';

CREATE OR REPLACE FUNCTION retention.merge_transition(internal, retention.fit_state)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_merge_transition';
COMMENT ON FUNCTION retention.merge_transition(internal, retention.fit_state) IS
  'Transition function of merge.';

CREATE OR REPLACE AGGREGATE retention.fit(model text, x double precision, m double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit(text, double precision, double precision) IS
  'Fits a model of spend to customers x purchases of mean value m by maximum likelihood. Rows '
  'with a null are left out.';

CREATE OR REPLACE AGGREGATE retention.fit_state(model text, x double precision,
                                                m double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_state_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit_state(text, double precision, double precision) IS
  'The observations to fit a model of spend to customers x purchases of mean value m with, to be '
  'stored, merged, and fitted by fit(fit_state).';

CREATE OR REPLACE AGGREGATE retention.fit(model text, x double precision, t_x double precision,
                                          t double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit(text, double precision, double precision, double precision) IS
  'Fits a model of purchases to customers x, t_x, t; or one of spend to x, m, weight by maximum '
  'likelihood. Rows with a null are left out.';

CREATE OR REPLACE AGGREGATE retention.fit_state(model text, x double precision,
                                                t_x double precision, t double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_state_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit_state(
  text, double precision, double precision, double precision) IS
  'The observations to fit a model of purchases to customers x, t_x, t; or one of spend to x, m, '
  'weight with, to be stored, merged, and fitted by fit(fit_state).';

CREATE OR REPLACE AGGREGATE retention.fit(model text, x double precision, t_x double precision,
                                          t double precision, weight double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit(
  text, double precision, double precision, double precision, double precision) IS
  'Fits a model of purchases to customers x, t_x, t, of whom each row is as many as its weight by '
  'maximum likelihood. Rows with a null are left out.';

CREATE OR REPLACE AGGREGATE retention.fit_state(model text, x double precision,
                                                t_x double precision, t double precision,
                                                weight double precision) (
  SFUNC = retention.fit_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_state_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.fit_state(
  text, double precision, double precision, double precision, double precision) IS
  'The observations to fit a model of purchases to customers x, t_x, t, of whom each row is as '
  'many as its weight with, to be stored, merged, and fitted by fit(fit_state).';

CREATE OR REPLACE AGGREGATE retention.merge(state retention.fit_state) (
  SFUNC = retention.merge_transition, STYPE = internal, SSPACE = 65536,
  FINALFUNC = retention.fit_state_final,
  COMBINEFUNC = retention.fit_combine,
  SERIALFUNC = retention.fit_serialize,
  DESERIALFUNC = retention.fit_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.merge(retention.fit_state) IS
  'The observations of several states together, as from several servers. Nulls are left out.';

CREATE OR REPLACE FUNCTION retention.fit(
    state retention.fit_state, model text DEFAULT NULL, penalty double precision DEFAULT 0)
  RETURNS retention.model
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_fit_stored';
COMMENT ON FUNCTION retention.fit(retention.fit_state, text, double precision) IS
  'Fits the state''s model, or another one of the same observations. penalty weighs a prior '
  'centred on customary parameters (times in days), so that small shops have a fit too: 1 counts '
  'little beside a hundred customers.';

CREATE OR REPLACE FUNCTION retention.models()
  RETURNS TABLE (kind text, purpose text, parameters text[])
  LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 4
  AS 'MODULE_PATHNAME', 'retention_models';
COMMENT ON FUNCTION retention.models() IS
  'The models there are: what they are of, purchase or spend, and the names of their parameters.';

CREATE OR REPLACE FUNCTION retention.make_model(kind text, parameters double precision[])
  RETURNS retention.model
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_make_model';
COMMENT ON FUNCTION retention.make_model(text, double precision[]) IS
  'A model with known parameters: r, alpha, a, b (bgnbd, mbgnbd); r, alpha, s, beta (paretonbd); '
  'p, q, v (gammagamma); each from 1e-12 to 1e12, times and money (alpha, beta, v) to 1e40.';

CREATE OR REPLACE FUNCTION retention.p_alive(
    model retention.model, x double precision, t_x double precision, t double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_p_alive';
COMMENT ON FUNCTION retention.p_alive(
  retention.model, double precision, double precision, double precision) IS
  'Probability that a customer has not left for good.';

CREATE OR REPLACE FUNCTION retention.log_likelihood(
    model retention.model, x double precision, t_x double precision, t double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_log_likelihood';
COMMENT ON FUNCTION retention.log_likelihood(
  retention.model, double precision, double precision, double precision) IS
  'Log-likelihood of one customer, without the term x!.';

CREATE OR REPLACE FUNCTION retention.expected_orders(
    model retention.model, x double precision, t_x double precision, t double precision,
    horizon double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_expected_orders';
COMMENT ON FUNCTION retention.expected_orders(
  retention.model, double precision, double precision, double precision, double precision) IS
  'Expected purchases within the horizon.';

CREATE OR REPLACE FUNCTION retention.expected_orders(
    model retention.model, horizon double precision)
  RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention.expected_orders(model, 0, 0, 0, horizon);
COMMENT ON FUNCTION retention.expected_orders(retention.model, double precision) IS
  'Of a new customer, from the first purchase on: expected purchases within the horizon.';

CREATE OR REPLACE FUNCTION retention.order_probability(
    model retention.model, x double precision, t_x double precision, t double precision,
    horizon double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_probability';
COMMENT ON FUNCTION retention.order_probability(
  retention.model, double precision, double precision, double precision, double precision) IS
  'Probability of at least one purchase within the horizon.';

CREATE OR REPLACE FUNCTION retention.order_probability(
    model retention.model, horizon double precision)
  RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention.order_probability(model, 0, 0, 0, horizon);
COMMENT ON FUNCTION retention.order_probability(retention.model, double precision) IS
  'Of a new customer, from the first purchase on: probability of at least one purchase within the '
  'horizon.';

CREATE OR REPLACE FUNCTION retention.order_distribution(
    model retention.model, x double precision, t_x double precision, t double precision,
    horizon double precision, most integer)
  RETURNS double precision[]
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_distribution';
COMMENT ON FUNCTION retention.order_distribution(
  retention.model, double precision, double precision, double precision, double precision,
  integer) IS
  'Probabilities of 0, 1, ..., most purchases within the horizon.';

CREATE OR REPLACE FUNCTION retention.order_distribution(
    model retention.model, horizon double precision, most integer)
  RETURNS double precision[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention.order_distribution(model, 0, 0, 0, horizon, most);
COMMENT ON FUNCTION retention.order_distribution(retention.model, double precision, integer) IS
  'Of a new customer, from the first purchase on: probabilities of 0, 1, ..., most purchases '
  'within the horizon.';

CREATE OR REPLACE FUNCTION retention.discounted_orders(
    model retention.model, x double precision, t_x double precision, t double precision,
    horizon double precision, rate double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_discounted_orders';
COMMENT ON FUNCTION retention.discounted_orders(
  retention.model, double precision, double precision, double precision, double precision,
  double precision) IS
  'Expected purchases within the horizon, which may be infinite, one at time s from now counting '
  'e^(-rate s).';

CREATE OR REPLACE FUNCTION retention.next_order_days(
    model retention.model, x double precision, t_x double precision, t double precision,
    quantile double precision DEFAULT 0.5, "from" text DEFAULT 'now')
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_next_order_days';
COMMENT ON FUNCTION retention.next_order_days(
  retention.model, double precision, double precision, double precision, double precision, text) IS
  'Time to the next purchase of a customer who stays: from now, or from the ''last order'' as it '
  'looked then. The median, unless another quantile is asked for.';

CREATE OR REPLACE FUNCTION retention.expected_spend(
    model retention.model, x double precision, m double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_expected_spend';
COMMENT ON FUNCTION retention.expected_spend(retention.model, double precision, double precision) IS
  'Expected mean value of a customer''s future purchases, after x purchases of mean value m; m '
  'may be null where x is 0.';

CREATE OR REPLACE FUNCTION retention.expected_spend(model retention.model) RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN retention.expected_spend(model, 0, NULL);
COMMENT ON FUNCTION retention.expected_spend(retention.model) IS
  'Expected mean value of a new customer''s purchases.';

CREATE OR REPLACE FUNCTION retention.clv(
    purchase retention.model, spend retention.model, x double precision, t_x double precision,
    t double precision, m double precision, horizon double precision DEFAULT 365,
    discount double precision DEFAULT 0)
  RETURNS double precision
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_clv';
COMMENT ON FUNCTION retention.clv(
  retention.model, retention.model, double precision, double precision, double precision,
  double precision, double precision, double precision) IS
  'Expected value of a customer''s purchases within the horizon (days; may be infinite), '
  'discounted by a rate a year; m may be null where x is 0.';
