-- Runs a flow's expressions over travellers, and finds those who make them fail.

CREATE OR REPLACE FUNCTION retention._are_few(rows integer) RETURNS boolean
  LANGUAGE sql IMMUTABLE
  RETURN coalesce(rows, 0) <= 100;
COMMENT ON FUNCTION retention._are_few(integer) IS
  'Whether it would take longer to plan a statement for so many rows than to run it.';

CREATE OR REPLACE FUNCTION retention._plan_for(rows integer) RETURNS text
  LANGUAGE sql VOLATILE
  RETURN set_config('plan_cache_mode', CASE WHEN retention._are_few(rows) THEN 'force_generic_plan'
                    ELSE 'force_custom_plan' END, true);
COMMENT ON FUNCTION retention._plan_for(integer) IS
  'Has the statements of the calling function planned for so many rows, or, where they are few, '
  'only once a session. It lasts until that function ends, which needs a SET clause for it.';

CREATE OR REPLACE FUNCTION retention._run(
    author regrole, statement text, travellers retention._traveller[], as_of timestamptz,
    targets integer[],
    OUT moved retention._traveller[], OUT queued retention._queued_message[])
  -- Customers are looked up by key, however many more there are, and in the backend that holds the
  -- locks.
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
  SET max_parallel_workers_per_gather = 0 SET jit = off
AS $$
DECLARE
  customer_ids text[] := ARRAY(SELECT (t).customer_id FROM (SELECT unnest(travellers)) AS u (t));
BEGIN
  -- For few travellers it would take longer to plan it than to run it.
  IF retention._are_few(cardinality(travellers)) THEN
    SELECT q.moved, q.queued INTO moved, queued
      FROM retention._query_kept(author, statement, travellers, customer_ids, as_of, targets)
        AS q (moved retention._traveller[], queued retention._queued_message[]);
  ELSE
    SELECT q.moved, q.queued INTO moved, queued
      FROM retention._query_as(author, statement, travellers, customer_ids, as_of, targets)
        AS q (moved retention._traveller[], queued retention._queued_message[]);
  END IF;
END
$$;
COMMENT ON FUNCTION retention._run(regrole, text, retention._traveller[], timestamptz, integer[]) IS
  'Runs a statement over travellers with the rights of its author. It returns them as they are '
  'afterwards, and the messages that they are to get.';

CREATE OR REPLACE FUNCTION retention._fails_without_rows(
    author regrole, statement text, as_of timestamptz, targets integer[])
  RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._run(author, statement, '{}', as_of, targets);
  RETURN false;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  PERFORM retention._renew_timeout();
  RETURN true;
END
$$;
COMMENT ON FUNCTION retention._fails_without_rows(regrole, text, timestamptz, integer[]) IS
  'Whether a statement fails whoever it is run for: it names what is not there.';

CREATE OR REPLACE FUNCTION retention._run_in_parts(
    author regrole, statement text, travellers retention._traveller[], as_of timestamptz,
    targets integer[], give_up_at timestamptz,
    OUT moved retention._traveller[], OUT queued retention._queued_message[],
    OUT failed retention._traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  middle integer := cardinality(travellers) / 2;
  code text;
  message text;
  one record;
  other record;
BEGIN
  SELECT r.moved, r.queued INTO moved, queued
  FROM retention._run(author, statement, travellers, as_of, targets) AS r;
EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
  PERFORM retention._renew_timeout();
  give_up_at := coalesce(give_up_at, clock_timestamp() + interval '2 seconds');
  IF middle = 0 OR retention._error_sort(code) = 'passing' AND clock_timestamp() > give_up_at
     OR retention._error_sort(code) <> 'value'
     AND retention._fails_without_rows(author, statement, as_of, targets) THEN
    failed := retention._failed(travellers, code, message);
    RETURN;
  END IF;
  one := retention._run_in_parts(author, statement, travellers[:middle], as_of, targets,
                                 give_up_at);
  other := retention._run_in_parts(author, statement, travellers[middle + 1:], as_of, targets,
                                   give_up_at);
  moved := one.moved || other.moved;
  queued := one.queued || other.queued;
  failed := one.failed || other.failed;
END
$$;
COMMENT ON FUNCTION retention._run_in_parts(
  regrole, text, retention._traveller[], timestamptz, integer[], timestamptz) IS
  'Runs a statement over travellers, where it fails over halves of them, down to each one who '
  'makes it fail. What fails for all, by its names, is not divided; nor, for longer than a '
  'moment, what passes, such as waiting for a server.';

CREATE OR REPLACE FUNCTION retention._failed(
    travellers retention._traveller[], code text, message text)
  RETURNS retention._traveller[]
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(retention._with_fields(t, 'outcome', 'error', 'reason',
                                          retention._reason(message),
                                          'error_code', code, 'is_changed', true))
  FROM unnest(travellers) AS t
$$;
COMMENT ON FUNCTION retention._failed(retention._traveller[], text, text) IS
  'Travellers who end with an error.';

CREATE OR REPLACE FUNCTION retention._try_run(
    author regrole, statement text, travellers retention._traveller[], as_of timestamptz,
    targets integer[],
    OUT moved retention._traveller[], OUT queued retention._queued_message[],
    OUT held retention._traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  result record := retention._run_in_parts(author, statement, travellers, as_of, targets, NULL);
  -- Names that are missing for some only are those of their own values; so is the syntax of a
  -- single one's.
  is_for_all boolean := cardinality(result.failed) = cardinality(travellers)
    AND (cardinality(travellers) > 1 OR (result.failed[1]).error_code <> '42601');
BEGIN
  queued := result.queued;
  SELECT result.moved || array_agg(t) FILTER (WHERE NOT waits), array_agg(t) FILTER (WHERE waits)
    INTO moved, held
    FROM unnest(result.failed) AS t,
    LATERAL (SELECT CASE retention._error_sort(t.error_code)
                      WHEN 'passing' THEN true WHEN 'broken' THEN is_for_all
                        ELSE false END AS waits) AS sort;
END
$$;
COMMENT ON FUNCTION retention._try_run(
  regrole, text, retention._traveller[], timestamptz, integer[]) IS
  'Runs a statement over travellers. Those whose values make it fail end with the outcome error; '
  'held are those who have to wait, for it fails for the moment, or for all: it names what is not '
  'there.';

CREATE OR REPLACE FUNCTION retention._bystander(customer_id text) RETURNS retention._traveller
  LANGUAGE sql STABLE
  RETURN retention._with_fields(NULL::retention._traveller, 'customer_id', customer_id);
COMMENT ON FUNCTION retention._bystander(text) IS
  'A customer who is in no flow, whose contact is to be looked up.';

CREATE OR REPLACE FUNCTION retention._with_contacts(
    travellers retention._traveller[], as_of timestamptz,
    OUT moved retention._traveller[], OUT held retention._traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  SELECT r.moved, r.held INTO moved, held
    FROM retention._try_run(quote_ident(current_user)::regrole, format($query$
      SELECT array_agg(
               CASE WHEN c.rows > 1
                    THEN retention._with_fields(t,
                      'outcome', 'error', 'error_code', '21000', 'is_changed', true, 'reason',
                      format('there are %%s contacts of customer "%%s"', c.rows, c.customer_id))
                    ELSE retention._with_fields(t, 'contact', c.contact) END),
             NULL::retention._queued_message[]
      FROM unnest($1) AS t LEFT JOIN (%s) AS c ON c.customer_id = t.customer_id$query$,
      retention._contact_query()), travellers, as_of, NULL) AS r;
END
$$;
COMMENT ON FUNCTION retention._with_contacts(retention._traveller[], timestamptz) IS
  'Travellers with their customers'' contacts as they are now; those whose contact cannot be read '
  'end with an error, or are held.';

CREATE OR REPLACE FUNCTION retention._fitting_statement(condition text, metric text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- OFFSET keeps the condition to these customers: it may fail for others.
  RETURN format($query$
    SELECT array_agg(t ORDER BY (t).enrollment_id), NULL::retention._queued_message[]
    FROM (SELECT person.traveller AS t, (
%s
) AS fits
          FROM %s OFFSET 0) AS asked
    WHERE fits$query$, condition, retention._person_query(metric));
END
$$;
COMMENT ON FUNCTION retention._fitting_statement(text, text) IS
  'The statement that returns the travellers ($1, with the keys $2) who fit a condition as of $3.';

CREATE OR REPLACE FUNCTION retention._fitting(
    author regrole, metric text, condition text, travellers retention._traveller[],
    as_of timestamptz,
    OUT fitting retention._traveller[], OUT held retention._traveller[])
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known record;
  result record;
BEGIN
  IF condition IS NULL OR travellers IS NULL THEN
    fitting := travellers;
    RETURN;
  END IF;
  known := retention._with_contacts(travellers, as_of);
  result := retention._try_run(author, retention._fitting_statement(condition, metric),
    ARRAY(SELECT t FROM unnest(known.moved) AS t WHERE t.outcome IS NULL), as_of, NULL);
  held := known.held || result.held;
  PERFORM retention._reject_unless(cardinality(held) IS DISTINCT FROM cardinality(travellers),
    (held[1]).reason, '', (held[1]).error_code);
  fitting := result.moved || ARRAY(SELECT t FROM unnest(known.moved) AS t
                                   WHERE t.outcome IS NOT NULL);
END
$$;
COMMENT ON FUNCTION retention._fitting(regrole, text, text, retention._traveller[], timestamptz) IS
  'Those who fit a condition; who fails it by an error is kept, with that outcome. held are those '
  'of whom it cannot be told for the moment; an error where these are all.';
