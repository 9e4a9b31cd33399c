-- What is forgotten here with a person.

CREATE OR REPLACE FUNCTION retention._persons_in_flows()
  RETURNS TABLE (relation text, mirrors_orders boolean, forget text, merge text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('enrollment', false,
     $q$UPDATE retention.enrollment SET customer_id = NULL, event = '{}', reason = NULL,
     due_at = NULL,
          outcome = coalesce(outcome, 'forgotten'),
          finished_at = coalesce(finished_at, $2::timestamptz) WHERE customer_id = $1$q$,
     'UPDATE retention.enrollment SET customer_id = $2 WHERE customer_id = $1'),
    ('coupon', false, 'UPDATE retention.coupon SET customer_id = NULL WHERE customer_id = $1',
     'UPDATE retention.coupon SET customer_id = $2 WHERE customer_id = $1'),
    ('flow_entry', false, 'DELETE FROM retention.flow_entry WHERE customer_id = $1',
     'UPDATE retention.flow_entry SET customer_id = $2 WHERE customer_id = $1'),
    ('changed_customers', false,
     $q$SELECT retention._strike_out('retention.changed_customers', $1)$q$, NULL)
$$;
COMMENT ON FUNCTION retention._persons_in_flows() IS
  'The tables of flows that know customers, as _person_rooms has them.';
