-- What is forgotten here with a metric, or a person.

CREATE OR REPLACE FUNCTION retention._strike_out(relation regclass, customer_id text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  struck bigint;
BEGIN
  EXECUTE format('UPDATE %s SET customer_ids = array_remove(customer_ids, $1) WHERE $1 = ANY '
                 '(customer_ids)', relation) USING customer_id;
  GET DIAGNOSTICS struck = ROW_COUNT;
  EXECUTE format('DELETE FROM %s WHERE customer_ids = ''{}''', relation);
  RETURN struck;
END
$$;
COMMENT ON FUNCTION retention._strike_out(regclass, text) IS
  'Takes a key out of a table''s column customer_ids. Returns the number of rows that had it.';

CREATE OR REPLACE FUNCTION retention._persons_in_metrics()
  RETURNS TABLE (relation text, mirrors_orders boolean, forget text, merge text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('change_log', true, $q$SELECT retention._strike_out('retention.change_log', $1)$q$, NULL)
$$;
COMMENT ON FUNCTION retention._persons_in_metrics() IS
  'The tables of metrics that know customers, as _person_rooms has them.';

CREATE OR REPLACE FUNCTION retention._forget_metric_in_metrics(metric text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM retention.metric_error e WHERE e.metric = _forget_metric_in_metrics.metric;
$$;
COMMENT ON FUNCTION retention._forget_metric_in_metrics(text) IS
  'Deletes what metrics have of a metric besides its settings and sources.';
