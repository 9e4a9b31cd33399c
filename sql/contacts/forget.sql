-- What is forgotten here with a person.

CREATE OR REPLACE FUNCTION retention._persons_in_contacts()
  RETURNS TABLE (relation text, mirrors_orders boolean, forget text, merge text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('consent_change', false, 'DELETE FROM retention.consent_change WHERE customer_id = $1',
     'UPDATE retention.consent_change SET customer_id = $2 WHERE customer_id = $1'),
    ('contact', false, 'DELETE FROM retention.contact WHERE customer_id = $1', NULL),
    ('merged_customer', false,
     'DELETE FROM retention.merged_customer WHERE $1 IN (customer_id, merged_into)', NULL)
$$;
COMMENT ON FUNCTION retention._persons_in_contacts() IS
  'The tables of contacts that know customers, as _person_rooms has them.';
