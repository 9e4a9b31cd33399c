-- What is forgotten here with a metric, or a person.

CREATE OR REPLACE FUNCTION retention._persons_in_customers()
  RETURNS TABLE (relation text, mirrors_orders boolean, forget text, merge text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('rfm_change', false, 'DELETE FROM retention.rfm_change WHERE customer_id = $1',
     'UPDATE retention.rfm_change SET customer_id = $2 WHERE customer_id = $1'),
    ('order_event', true, 'DELETE FROM retention.order_event WHERE customer_id = $1',
     'UPDATE retention.order_event SET customer_id = $2 WHERE customer_id = $1'),
    ('customer', true, 'DELETE FROM retention.customer WHERE customer_id = $1', NULL),
    ('population', false, 'SELECT retention._forget_unreadable($1)', NULL)
$$;
COMMENT ON FUNCTION retention._persons_in_customers() IS
  'The tables of customers that know customers, as _person_rooms has them.';

CREATE OR REPLACE FUNCTION retention._forget_metric_in_customers(metric text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM retention.customer e WHERE e.metric = _forget_metric_in_customers.metric;
  DELETE FROM retention.rfm_change e WHERE e.metric = _forget_metric_in_customers.metric;
  DELETE FROM retention.population e WHERE e.metric = _forget_metric_in_customers.metric;
$$;
COMMENT ON FUNCTION retention._forget_metric_in_customers(text) IS
  'Deletes what customers have of a metric besides its settings and sources.';
