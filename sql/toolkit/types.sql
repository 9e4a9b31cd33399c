-- The types of the toolkit.

CREATE TYPE retention.order_summary AS (
  orders                      bigint,
  purchase_days               integer,
  first_order_at              timestamptz,
  last_order_at               timestamptz,
  revenue                     numeric,
  repeat_value                numeric,
  average_order_value         numeric,
  average_days_between_orders double precision,
  days_between_orders_sd      double precision
);
COMMENT ON TYPE retention.order_summary IS
  'One customer''s orders in numbers: the result of the aggregate order_summary.';
COMMENT ON COLUMN retention.order_summary.orders IS 'Orders with an amount above zero.';
COMMENT ON COLUMN retention.order_summary.purchase_days IS 'Distinct local days with an order.';
COMMENT ON COLUMN retention.order_summary.first_order_at IS 'Time of the first order.';
COMMENT ON COLUMN retention.order_summary.last_order_at IS 'Time of the last order.';
COMMENT ON COLUMN retention.order_summary.revenue IS
  'Exact sum of all amounts, negative ones included.';
COMMENT ON COLUMN retention.order_summary.repeat_value IS
  'Mean order value of a purchase day after the first; null when there is none.';
COMMENT ON COLUMN retention.order_summary.average_order_value IS
  'revenue / orders; null without orders.';
COMMENT ON COLUMN retention.order_summary.average_days_between_orders IS
  'Mean days between purchase days; null for fewer than 2.';
COMMENT ON COLUMN retention.order_summary.days_between_orders_sd IS
  'Sample standard deviation of the days between purchase days; null for fewer than 3.';

CREATE TYPE retention.model AS (
  kind            text,
  parameters      double precision[],
  names           text[],
  standard_errors double precision[],
  covariance      double precision[],
  log_likelihood  double precision,
  n               double precision,
  iterations      integer,
  converged       boolean,
  gradient_norm   double precision,
  penalty         double precision
);
COMMENT ON TYPE retention.model IS
  'A purchase or spend model with its parameters: the result of fit and of make_model.';
COMMENT ON COLUMN retention.model.kind IS
  'bgnbd, mbgnbd, paretonbd (purchases) or gammagamma (spend).';
COMMENT ON COLUMN retention.model.parameters IS
  'r, alpha, a, b (bgnbd, mbgnbd); r, alpha, s, beta (paretonbd); p, q, v (gammagamma).';
COMMENT ON COLUMN retention.model.names IS 'Names of the parameters.';
COMMENT ON COLUMN retention.model.standard_errors IS
  'Standard errors of the parameters; null where the likelihood does not tell.';
COMMENT ON COLUMN retention.model.covariance IS
  'Covariance matrix of the parameters, the inverse of the negative Hessian.';
COMMENT ON COLUMN retention.model.log_likelihood IS
  'Log-likelihood at the maximum, without constant terms such as x!.';
COMMENT ON COLUMN retention.model.n IS 'Customers, or the sum of their weights.';
COMMENT ON COLUMN retention.model.iterations IS 'Evaluations of the likelihood.';
COMMENT ON COLUMN retention.model.converged IS
  'Whether the maximum was found. If not, parameters are the best that were seen.';
COMMENT ON COLUMN retention.model.gradient_norm IS
  'Largest derivative of the log-likelihood by a parameter''s logarithm: near 0 at the maximum.';
COMMENT ON COLUMN retention.model.penalty IS 'Weight of the prior: 0 for maximum likelihood.';

-- fit_state: a flat, versioned list of distinct observations. Its text is bytea's.
CREATE TYPE retention.fit_state;

CREATE OR REPLACE FUNCTION retention.fit_state_in(cstring) RETURNS retention.fit_state
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'byteain';
COMMENT ON FUNCTION retention.fit_state_in(cstring) IS 'Input function of fit_state.';

CREATE OR REPLACE FUNCTION retention.fit_state_out(retention.fit_state) RETURNS cstring
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'byteaout';
COMMENT ON FUNCTION retention.fit_state_out(retention.fit_state) IS 'Output function of fit_state.';

CREATE OR REPLACE FUNCTION retention.fit_state_receive(internal) RETURNS retention.fit_state
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bytearecv';
COMMENT ON FUNCTION retention.fit_state_receive(internal) IS 'Binary input function of fit_state.';

CREATE OR REPLACE FUNCTION retention.fit_state_send(retention.fit_state) RETURNS bytea
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'byteasend';
COMMENT ON FUNCTION retention.fit_state_send(retention.fit_state) IS
  'Binary output function of fit_state.';

CREATE TYPE retention.fit_state (
  INPUT = retention.fit_state_in, OUTPUT = retention.fit_state_out,
  RECEIVE = retention.fit_state_receive, SEND = retention.fit_state_send,
  LIKE = bytea
);
COMMENT ON TYPE retention.fit_state IS
  'The observations of a fit, equal ones made one: can be stored, sent to another server of the '
  'same byte order, merged and fitted.';
