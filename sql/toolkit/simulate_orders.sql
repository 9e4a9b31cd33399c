-- Orders drawn from a model, for trials.

CREATE OR REPLACE FUNCTION retention.simulate_orders(
    customers bigint, "from" timestamptz, "to" timestamptz, seed bigint DEFAULT 1,
    r double precision DEFAULT 0.55, alpha double precision DEFAULT 22,
    a double precision DEFAULT 0.8, b double precision DEFAULT 4,
    p double precision DEFAULT 6.25, q double precision DEFAULT 3.74,
    v double precision DEFAULT 15.44)
  RETURNS TABLE (customer_id bigint, order_id bigint, ordered_at timestamptz, amount numeric)
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10000
  AS 'MODULE_PATHNAME', 'retention_simulate_orders';
COMMENT ON FUNCTION retention.simulate_orders(
  bigint, timestamptz, timestamptz, bigint, double precision, double precision, double precision,
  double precision, double precision, double precision, double precision) IS
  'The orders of a simulated shop: BG/NBD purchases (r, alpha in days, a, b) and Gamma-Gamma '
  'amounts (p, q, v). The same rows for the same arguments on every platform.';

CREATE OR REPLACE FUNCTION retention.simulate_orders(
    customers bigint, "from" timestamptz, "to" timestamptz, seed bigint, purchase retention.model,
    spend retention.model)
  RETURNS TABLE (customer_id bigint, order_id bigint, ordered_at timestamptz, amount numeric)
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10000
  AS 'MODULE_PATHNAME', 'retention_simulate_orders_of_models';
COMMENT ON FUNCTION retention.simulate_orders(
  bigint, timestamptz, timestamptz, bigint, retention.model, retention.model) IS
  'The orders of a simulated shop: purchases by any purchase model, in days, and amounts by '
  'Gamma-Gamma. Up to a million orders of a customer.';
