-- Scoring schemes: which scores belong to which group.

CREATE OR REPLACE FUNCTION retention._scheme_levels(
    scheme text, OUT r integer, OUT f integer, OUT m integer)
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT max(c.r), max(c.f), max(c.m) FROM retention.rfm_cell c
  WHERE c.scheme = _scheme_levels.scheme
$$;
COMMENT ON FUNCTION retention._scheme_levels(text) IS
  'How many scores each dimension of a scheme has; nulls for an unknown scheme.';

CREATE OR REPLACE FUNCTION retention._require_scheme(
    scheme text, OUT r integer, OUT f integer, OUT m integer)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT levels.* INTO r, f, m FROM retention._scheme_levels(scheme) AS levels;
  PERFORM retention._reject_unless(r IS NOT NULL, format('scheme "%s" does not exist', scheme),
    'Schemes are kept in retention.rfm_cell; "standard" and "quintile" are always there.',
    'undefined_object');
END
$$;
COMMENT ON FUNCTION retention._require_scheme(text) IS
  'How many scores each dimension of a scheme has, or an error.';

CREATE OR REPLACE FUNCTION retention.rfm_group(
    r integer, f integer, m integer, scheme text DEFAULT 'standard')
  RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN (SELECT c.rfm_group FROM retention.rfm_cell c
          WHERE c.scheme = rfm_group.scheme AND c.r = rfm_group.r AND c.f = rfm_group.f
            AND c.m = rfm_group.m);
COMMENT ON FUNCTION retention.rfm_group(integer, integer, integer, text) IS
  'The group of a combination of scores in a scheme of retention.rfm_cell; null when it has no '
  'such cell.';

CREATE OR REPLACE FUNCTION retention._keep_cell() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.rfm_cell');
  PERFORM retention._reject_unless(
    coalesce(least(NEW.r, NEW.f, NEW.m) >= 1 AND greatest(NEW.r, NEW.f, NEW.m) <= 10, true),
    format('scores of scheme "%s" must be from 1 to 10, not %s, %s and %s',
           NEW.scheme, NEW.r, NEW.f, NEW.m), '', 'numeric_value_out_of_range');
  PERFORM retention._check_length('the name of a group', 'name', NEW.rfm_group);
  IF TG_OP = 'UPDATE' THEN
    NEW.builtin := false;
  ELSE
    DELETE FROM retention.rfm_cell c
      WHERE c.builtin AND (c.scheme, c.r, c.f, c.m) = (NEW.scheme, NEW.r, NEW.f, NEW.m);
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION retention._keep_cell() IS
  'Trigger: an edited cell replaces the shipped one, also when a dump is restored.';

CREATE OR REPLACE FUNCTION retention._groups(metric retention.metric) RETURNS text[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  groups text[];
  missing text;
BEGIN
  SELECT array_agg(c.rfm_group ORDER BY i, j, k), min(format('%s%s%s', i, j, k))
    FILTER (WHERE c.rfm_group IS NULL)
    INTO groups, missing
    FROM generate_series(1, cardinality(metric.recency_limits) + 1) AS i
    CROSS JOIN generate_series(1, cardinality(metric.frequency_percentiles) + 1) AS j
    CROSS JOIN generate_series(1, cardinality(metric.monetary_percentiles) + 1) AS k
    LEFT JOIN retention.rfm_cell c ON (c.scheme, c.r, c.f, c.m) = (metric.scheme, i, j, k);
  PERFORM retention._reject_unless(missing IS NULL,
    format('scheme "%s" has no group for scores %s', metric.scheme, missing),
    'Add the missing combinations to retention.rfm_cell.', 'object_not_in_prerequisite_state');
  RETURN groups;
END
$$;
COMMENT ON FUNCTION retention._groups(retention.metric) IS
  'The groups of a metric''s scheme in ascending order of r, f, m; an error when one is missing.';
