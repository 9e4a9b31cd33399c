-- Customers who have changed, and may have to be woken.

CREATE OR REPLACE FUNCTION retention._flows_run() RETURNS boolean
  LANGUAGE sql STABLE
  RETURN EXISTS (SELECT FROM retention.flow WHERE status IN ('live', 'manual', 'paused'));
COMMENT ON FUNCTION retention._flows_run() IS
  'Whether any flow has to learn of customers who change.';

CREATE OR REPLACE FUNCTION retention._note_changed(customer_ids text[]) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  -- In rows of so many, which a tick takes one by one.
  IF customer_ids <> '{}' AND retention._flows_run() THEN
    INSERT INTO retention.changed_customers (customer_ids)
      SELECT customer_ids[i : i + 999]
      FROM generate_series(1, cardinality(customer_ids), 1000) AS i;
  END IF;
END
$$;
COMMENT ON FUNCTION retention._note_changed(text[]) IS
  'Has flows look again at some customers with the next tick. Costs nothing where no flow runs.';

CREATE OR REPLACE FUNCTION retention._note_contacts() RETURNS trigger
  -- Whoever may write contacts needs no other right.
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._check_trigger(TG_RELID, 'retention.contact');
  PERFORM retention._note_changed(array_agg(customer_id)) FROM changed;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION retention._note_contacts() IS
  'Trigger: has flows look again at customers whose contact has changed.';
