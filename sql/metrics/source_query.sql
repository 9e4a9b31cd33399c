-- The query that reads a source.

CREATE OR REPLACE FUNCTION retention._time_expression(
    column_name name, type regtype, time_zone text)
  RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(CASE type
    WHEN 'timestamptz'::regtype THEN '%1$I::timestamptz'
    -- A conversion that leaves the calendar is an error, which would stop all other rows.
    ELSE $case$CASE WHEN %1$I BETWEEN '4713-01-01 BC' AND '294275-12-31'
                      THEN %1$I::timestamp AT TIME ZONE %2$L
                    WHEN %1$I < '4713-01-01 BC' THEN '-infinity'
                    WHEN %1$I > '294275-12-31' THEN 'infinity' END$case$
    END, column_name, time_zone)
$$;
COMMENT ON FUNCTION retention._time_expression(name, regtype, text) IS
  'The expression that reads a column of times; infinite for dates and local times that are no '
  'instants.';

CREATE OR REPLACE FUNCTION retention._readable_condition(at text, amount text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN format($condition$%1$s >= timestamptz '4713-01-01 00:00+00 BC'
    AND %1$s < timestamptz 'infinity'
    AND %2$s > numeric '-1e38' AND %2$s < numeric '1e38'$condition$, at, amount);
COMMENT ON FUNCTION retention._readable_condition(text, text) IS
  'The condition by which queries of our own leave out the rows that _collect cannot read, of '
  'expressions for the time and the amount.';

CREATE OR REPLACE FUNCTION retention._source_query(source retention.source, time_zone text)
  RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._column_type(source.relation, 'amount', source.amount);
  PERFORM retention._column_type(source.relation, 'order_id', source.order_id)
    WHERE source.order_id IS NOT NULL;
  RETURN format('SELECT %s, %s, %I::numeric%s FROM %s',
    retention._key_expression(source.relation, source.customer_id),
    retention._time_expression(source.ordered_at,
      retention._column_type(source.relation, 'ordered_at', source.ordered_at), time_zone),
    source.amount,
    CASE WHEN source.order_id IS NULL THEN '' ELSE ', '
      || retention._key_expression(source.relation, source.order_id) END,
    source.relation);
END
$$;
COMMENT ON FUNCTION retention._source_query(retention.source, text) IS
  'The query that reads a source: customer, time, amount and, where there is one, order id.';

CREATE OR REPLACE FUNCTION retention._keyed_source_query(
    source retention.source, time_zone text, customer_ids text[])
  RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT retention._source_query(source, time_zone)
      || CASE WHEN customer_ids IS NULL THEN '' ELSE ' WHERE '
        || retention._keys_condition((source).relation, (source).customer_id, customer_ids) END
$$;
COMMENT ON FUNCTION retention._keyed_source_query(retention.source, text, text[]) IS
  'The query that reads some customers'' rows of a source; with null, all rows.';
