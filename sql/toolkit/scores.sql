-- RFM scores, and the bounds that they are given by.

CREATE OR REPLACE FUNCTION retention.rfm_score(value double precision, bounds double precision[])
  RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_rfm_score';
COMMENT ON FUNCTION retention.rfm_score(double precision, double precision[]) IS
  '1 + the number of inclusive lower bounds that the value reaches; a null bound is never reached.';

CREATE OR REPLACE FUNCTION retention.recency_score(days double precision, limits double precision[])
  RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_recency_score';
COMMENT ON FUNCTION retention.recency_score(double precision, double precision[]) IS
  '1 + the number of inclusive upper limits that the days since the last order meet.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_transition(
    internal, double precision, double precision[])
  RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_transition';
COMMENT ON FUNCTION retention.percentile_bounds_transition(
  internal, double precision, double precision[]) IS
  'Transition function of percentile_bounds.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_combine(internal, internal) RETURNS internal
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_combine';
COMMENT ON FUNCTION retention.percentile_bounds_combine(internal, internal) IS
  'Combine function of percentile_bounds.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_serialize(internal) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_serialize';
COMMENT ON FUNCTION retention.percentile_bounds_serialize(internal) IS
  'Serialization function of percentile_bounds.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_deserialize(bytea, internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_deserialize';
COMMENT ON FUNCTION retention.percentile_bounds_deserialize(bytea, internal) IS
  'Deserialization function of percentile_bounds.';

CREATE OR REPLACE FUNCTION retention.percentile_bounds_final(internal) RETURNS double precision[]
  LANGUAGE c IMMUTABLE PARALLEL SAFE
  AS 'MODULE_PATHNAME', 'retention_percentile_bounds_final';
COMMENT ON FUNCTION retention.percentile_bounds_final(internal) IS
  'Final function of percentile_bounds.';

CREATE OR REPLACE AGGREGATE retention.percentile_bounds(value double precision,
                                                        fractions double precision[]) (
  SFUNC = retention.percentile_bounds_transition, STYPE = internal, SSPACE = 16384,
  FINALFUNC = retention.percentile_bounds_final,
  COMBINEFUNC = retention.percentile_bounds_combine,
  SERIALFUNC = retention.percentile_bounds_serialize,
  DESERIALFUNC = retention.percentile_bounds_deserialize,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention.percentile_bounds(double precision, double precision[]) IS
  'For each fraction p, the smallest value strictly above percentile_disc(p), null where there is '
  'none: the inclusive lower bounds that rfm_score takes.';
