-- What is forgotten here with a person.

CREATE OR REPLACE FUNCTION retention._persons_in_segments()
  RETURNS TABLE (relation text, mirrors_orders boolean, forget text, merge text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('segment_member', true, 'DELETE FROM retention.segment_member WHERE customer_id = $1', NULL),
    ('segment_change', false, 'DELETE FROM retention.segment_change WHERE customer_id = $1',
     'UPDATE retention.segment_change SET customer_id = $2 WHERE customer_id = $1')
$$;
COMMENT ON FUNCTION retention._persons_in_segments() IS
  'The tables of segments that know customers, as _person_rooms has them.';
