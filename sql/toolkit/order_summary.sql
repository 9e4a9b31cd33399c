-- Order summaries: what one customer's orders come to.

CREATE OR REPLACE FUNCTION retention.order_summary_transition(internal, timestamptz, numeric)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_transition';
COMMENT ON FUNCTION retention.order_summary_transition(internal, timestamptz, numeric) IS
  'Transition function of order_summary.';

CREATE OR REPLACE FUNCTION retention.order_summary_transition(internal, timestamptz, numeric, text)
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_transition';
COMMENT ON FUNCTION retention.order_summary_transition(internal, timestamptz, numeric, text) IS
  'Transition function of order_summary.';

CREATE OR REPLACE FUNCTION retention.order_summary_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_combine';
COMMENT ON FUNCTION retention.order_summary_combine(internal, internal) IS
  'Combine function of order_summary.';

CREATE OR REPLACE FUNCTION retention.order_summary_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_serialize';
COMMENT ON FUNCTION retention.order_summary_serialize(internal) IS
  'Serialization function of order_summary.';

CREATE OR REPLACE FUNCTION retention.order_summary_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_order_summary_deserialize';
COMMENT ON FUNCTION retention.order_summary_deserialize(bytea, internal) IS
  'Deserialization function of order_summary.';

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
  'Summarises one customer''s orders, with days of UTC. Rows with a null time or amount are '
  'ignored; NaN, infinity and infinite times are errors; amounts of zero and below change revenue '
  'only.';

CREATE OR REPLACE AGGREGATE retention.order_summary(ordered_at timestamptz, amount numeric,
                                                    time_zone text) (
  SFUNC = retention.order_summary_transition, STYPE = internal, SSPACE = 256,
  FINALFUNC = retention.order_summary_final,
  COMBINEFUNC = retention.order_summary_combine,
  SERIALFUNC = retention.order_summary_serialize,
  DESERIALFUNC = retention.order_summary_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.order_summary(timestamptz, numeric, text) IS
  'Summarises one customer''s orders, with days of the given time zone. Rows with a null time or '
  'amount are ignored; NaN, infinity and infinite times are errors; amounts of zero and below '
  'change revenue only.';

CREATE OR REPLACE FUNCTION retention.frequency(summary retention.order_summary) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN (summary).purchase_days > 0 THEN (summary).purchase_days - 1 END;
COMMENT ON FUNCTION retention.frequency(retention.order_summary) IS
  'x of the purchase models: repeat purchase days; null without orders.';

CREATE OR REPLACE FUNCTION retention.recency(summary retention.order_summary)
  RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN (summary).purchase_days > 1
              THEN round((summary).average_days_between_orders * ((summary).purchase_days - 1))
              WHEN (summary).purchase_days = 1 THEN 0 END;
COMMENT ON FUNCTION retention.recency(retention.order_summary) IS
  't_x of the purchase models: local days from the first to the last purchase day; null without '
  'orders.';

CREATE OR REPLACE FUNCTION retention.age(
    summary retention.order_summary, as_of timestamptz DEFAULT retention.now(),
    time_zone text DEFAULT 'UTC')
  RETURNS double precision
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN (as_of AT TIME ZONE time_zone)::date
         - ((summary).first_order_at AT TIME ZONE time_zone)::date;
COMMENT ON FUNCTION retention.age(retention.order_summary, timestamptz, text) IS
  'T of the purchase models: local days from the first purchase day to as_of, in the time zone '
  'that the summary was made with; null without orders.';
