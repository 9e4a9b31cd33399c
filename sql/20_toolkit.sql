-- The toolkit: pure functions and aggregates that any query can use.

CREATE OR REPLACE FUNCTION retention.order_summary_transition(internal, timestamptz, numeric) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_transition';
COMMENT ON FUNCTION retention.order_summary_transition(internal, timestamptz, numeric) IS 'Transition function of order_summary.';

CREATE OR REPLACE FUNCTION retention.order_summary_transition(internal, timestamptz, numeric, text) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_transition';
COMMENT ON FUNCTION retention.order_summary_transition(internal, timestamptz, numeric, text) IS 'Transition function of order_summary.';

CREATE OR REPLACE FUNCTION retention.order_summary_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_combine';
COMMENT ON FUNCTION retention.order_summary_combine(internal, internal) IS 'Combine function of order_summary.';

CREATE OR REPLACE FUNCTION retention.order_summary_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_serialize';
COMMENT ON FUNCTION retention.order_summary_serialize(internal) IS 'Serialization function of order_summary.';

CREATE OR REPLACE FUNCTION retention.order_summary_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_deserialize';
COMMENT ON FUNCTION retention.order_summary_deserialize(bytea, internal) IS 'Deserialization function of order_summary.';

CREATE OR REPLACE FUNCTION retention.order_summary_final(internal) RETURNS retention.order_summary
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_final';
COMMENT ON FUNCTION retention.order_summary_final(internal) IS 'Final function of order_summary.';

CREATE OR REPLACE AGGREGATE retention.order_summary(ordered_at timestamptz, amount numeric) (
  SFUNC = retention.order_summary_transition, STYPE = internal, SSPACE = 256,
  FINALFUNC = retention.order_summary_final,
  COMBINEFUNC = retention.order_summary_combine,
  SERIALFUNC = retention.order_summary_serialize,
  DESERIALFUNC = retention.order_summary_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.order_summary(timestamptz, numeric) IS
  'Summarises one customer''s orders, with days of UTC. Rows with a null time or amount are ignored; NaN, infinity and infinite times are errors; amounts of zero and below change revenue only.';

CREATE OR REPLACE AGGREGATE retention.order_summary(ordered_at timestamptz, amount numeric, timezone text) (
  SFUNC = retention.order_summary_transition, STYPE = internal, SSPACE = 256,
  FINALFUNC = retention.order_summary_final,
  COMBINEFUNC = retention.order_summary_combine,
  SERIALFUNC = retention.order_summary_serialize,
  DESERIALFUNC = retention.order_summary_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.order_summary(timestamptz, numeric, text) IS
  'Summarises one customer''s orders, with days of the given time zone. Rows with a null time or amount are ignored; NaN, infinity and infinite times are errors; amounts of zero and below change revenue only.';

CREATE OR REPLACE FUNCTION retention.frequency(summary retention.order_summary) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN (summary).purchase_days > 0 THEN (summary).purchase_days - 1 END;
COMMENT ON FUNCTION retention.frequency(retention.order_summary) IS
  'x of the purchase models: repeat purchase days; null without orders.';

CREATE OR REPLACE FUNCTION retention.recency(summary retention.order_summary) RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN (summary).purchase_days > 1
              THEN round((summary).average_days_between_orders * ((summary).purchase_days - 1))
              WHEN (summary).purchase_days = 1 THEN 0 END;
COMMENT ON FUNCTION retention.recency(retention.order_summary) IS
  't_x of the purchase models: local days from the first to the last purchase day; null without orders.';

CREATE OR REPLACE FUNCTION retention.age(
    summary retention.order_summary, as_of timestamptz DEFAULT retention.now(), timezone text DEFAULT 'UTC')
  RETURNS double precision
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN (as_of AT TIME ZONE timezone)::date - ((summary).first_order_at AT TIME ZONE timezone)::date;
COMMENT ON FUNCTION retention.age(retention.order_summary, timestamptz, text) IS
  'T of the purchase models: local days from the first purchase day to as_of, in the time zone that the summary was made with; null without orders.';

CREATE OR REPLACE FUNCTION retention.rfm_score(value double precision, bounds double precision[]) RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_rfm_score';
COMMENT ON FUNCTION retention.rfm_score(double precision, double precision[]) IS
  '1 + the number of inclusive lower bounds that the value reaches; a null bound is never reached.';

CREATE OR REPLACE FUNCTION retention.recency_score(days double precision, limits double precision[]) RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_recency_score';
COMMENT ON FUNCTION retention.recency_score(double precision, double precision[]) IS
  '1 + the number of inclusive upper limits that the days since the last order meet.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_transition(internal, double precision, double precision[]) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_transition';
COMMENT ON FUNCTION retention.percentile_bounds_transition(internal, double precision, double precision[]) IS 'Transition function of percentile_bounds.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_combine';
COMMENT ON FUNCTION retention.percentile_bounds_combine(internal, internal) IS 'Combine function of percentile_bounds.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_serialize';
COMMENT ON FUNCTION retention.percentile_bounds_serialize(internal) IS 'Serialization function of percentile_bounds.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_deserialize';
COMMENT ON FUNCTION retention.percentile_bounds_deserialize(bytea, internal) IS 'Deserialization function of percentile_bounds.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_final(internal) RETURNS double precision[]
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_final';
COMMENT ON FUNCTION retention.percentile_bounds_final(internal) IS 'Final function of percentile_bounds.';

CREATE OR REPLACE AGGREGATE retention.percentile_bounds(value double precision, fractions double precision[]) (
  SFUNC = retention.percentile_bounds_transition, STYPE = internal, SSPACE = 16384,
  FINALFUNC = retention.percentile_bounds_final,
  COMBINEFUNC = retention.percentile_bounds_combine,
  SERIALFUNC = retention.percentile_bounds_serialize,
  DESERIALFUNC = retention.percentile_bounds_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.percentile_bounds(double precision, double precision[]) IS
  'For each fraction p, the smallest value strictly above percentile_disc(p), null where there is none: the inclusive lower bounds that rfm_score takes.';

CREATE OR REPLACE FUNCTION retention.simulate_orders(
    customers bigint, "from" timestamptz, "to" timestamptz, seed bigint DEFAULT 1,
    r double precision DEFAULT 0.55, alpha double precision DEFAULT 22,
    a double precision DEFAULT 0.8, b double precision DEFAULT 4,
    p double precision DEFAULT 6.25, q double precision DEFAULT 3.74, v double precision DEFAULT 15.44)
  RETURNS TABLE (customer_id bigint, order_id bigint, ordered_at timestamptz, amount numeric)
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10000
  AS 'MODULE_PATHNAME', 'retention_simulate_orders';
COMMENT ON FUNCTION retention.simulate_orders(bigint, timestamptz, timestamptz, bigint,
    double precision, double precision, double precision, double precision,
    double precision, double precision, double precision) IS
  'The orders of a simulated shop: BG/NBD purchases (r, alpha in days, a, b) and Gamma-Gamma amounts (p, q, v). The same rows for the same arguments on every platform.';
