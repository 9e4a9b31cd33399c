-- Rows of sources that cannot be read.

CREATE OR REPLACE FUNCTION retention._unreadable_count(unreadable jsonb) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(sum((u ->> 'row_count')::bigint), 0) FROM jsonb_array_elements(unreadable) AS u
$$;
COMMENT ON FUNCTION retention._unreadable_count(jsonb) IS 'How many rows a report could not read.';

CREATE OR REPLACE FUNCTION retention._warn_of_unreadable(metric text, unreadable jsonb) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF unreadable <> '[]' THEN
    RAISE WARNING 'metric "%": % rows are left out because they cannot be read',
        metric, retention._unreadable_count(unreadable)
      USING DETAIL = (
        SELECT string_agg(format('%s in %s: customer "%s"%s%s.', u ->> 'reason', u ->> 'relation',
                                 left(u ->> 'customer_id', 100),
                                 ', order "' || left(u ->> 'order_id', 100) || '"',
                                 ', ' || left(u ->> 'value', 100)), E'\n')
        FROM jsonb_array_elements(unreadable) AS u),
      HINT = 'retention.unreadable_row counts them by source and reason.';
  END IF;
END
$$;
COMMENT ON FUNCTION retention._warn_of_unreadable(text, jsonb) IS
  'Says what a refresh could not read, with an example for each reason.';

CREATE OR REPLACE FUNCTION retention._note_unreadable(metric text, met jsonb) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE retention.population l SET unreadable_since = (
      SELECT jsonb_agg(jsonb_set(latest.u, '{row_count}', to_jsonb(latest.total)))
      FROM (SELECT DISTINCT ON (u ->> 'relation', u ->> 'reason') u,
                   sum((u ->> 'row_count')::bigint) OVER kind AS total
            FROM jsonb_array_elements(l.unreadable_since || met) WITH ORDINALITY AS e (u, number)
            WINDOW kind AS (PARTITION BY u ->> 'relation', u ->> 'reason')
            ORDER BY u ->> 'relation', u ->> 'reason', number DESC) AS latest)
    WHERE met <> '[]'
      AND l.refresh_id = (SELECT max(r.refresh_id) FROM retention.population r
                          WHERE r.metric = _note_unreadable.metric AND r.path = 'rebuild')
$$;
COMMENT ON FUNCTION retention._note_unreadable(text, jsonb) IS
  'Adds what process_changes could not read to the last refresh that has read the '
  'sources; the latest example stays.';

CREATE OR REPLACE FUNCTION retention._without_customer(unreadable jsonb, customer_id text)
  RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_agg(
           CASE WHEN u ->> 'customer_id' = _without_customer.customer_id
                THEN u || '{"customer_id": null, "order_id": null, "value": null}' ELSE u END
           ORDER BY number), '[]')
  FROM jsonb_array_elements(unreadable) WITH ORDINALITY AS e (u, number)
$$;
COMMENT ON FUNCTION retention._without_customer(jsonb, text) IS
  'Counts of unreadable rows without a customer''s example.';

CREATE OR REPLACE FUNCTION retention._forget_unreadable(customer_id text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  example CONSTANT jsonb := jsonb_build_array(jsonb_build_object('customer_id', customer_id));
  forgotten bigint;
BEGIN
  UPDATE retention.population l
    SET unreadable_rows = retention._without_customer(l.unreadable_rows, customer_id),
        unreadable_since = retention._without_customer(l.unreadable_since, customer_id)
    WHERE l.unreadable_rows @> example OR l.unreadable_since @> example;
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  RETURN forgotten;
END
$$;
COMMENT ON FUNCTION retention._forget_unreadable(text) IS
  'Removes a person from the examples of unreadable rows, and keeps the counts. Returns the '
  'number of refreshes that had one.';

CREATE OR REPLACE VIEW retention.unreadable_row AS
  SELECT l.metric, found.by AS found_by, u.relation, u.reason, u.row_count,
         u.customer_id, u.order_id, u.value
  FROM retention.population l,
       LATERAL (VALUES ('refresh', l.unreadable_rows),
                       ('process_changes', l.unreadable_since)) AS found (by, unreadable),
       LATERAL jsonb_to_recordset(found.unreadable)
         AS u (relation text, reason text, row_count bigint,
               customer_id text, order_id text, value text)
  WHERE l.refresh_id IN (SELECT max(r.refresh_id) FROM retention.population r
                         WHERE r.path = 'rebuild' GROUP BY r.metric);
COMMENT ON VIEW retention.unreadable_row IS
  'Rows of sources that are left out because they cannot be read, by metric, source and reason, '
  'each with an example: those of the last refresh that has read the sources, and those that '
  'process_changes has met since. All other rows count as if these were not there.';
COMMENT ON COLUMN retention.unreadable_row.metric IS 'Metric that the rows belong to.';
COMMENT ON COLUMN retention.unreadable_row.found_by IS 'refresh, or process_changes since.';
COMMENT ON COLUMN retention.unreadable_row.relation IS
  'The source; for a sum, all sources of the metric.';
COMMENT ON COLUMN retention.unreadable_row.reason IS
  'time out of range: infinite, or before 4713 BC; amount not finite: NaN or infinity; amount too '
  'long: more than 38 digits; key too long: more than 2,000 bytes; sum too long: the amounts of a '
  'customer, who is left out, add up to more than 38 digits.';
COMMENT ON COLUMN retention.unreadable_row.row_count IS
  'Number of rows; process_changes counts one each time that its customer is read.';
COMMENT ON COLUMN retention.unreadable_row.customer_id IS
  'The shop''s key of the example''s customer, as text, cut to 2,000 bytes.';
COMMENT ON COLUMN retention.unreadable_row.order_id IS
  'The shop''s key of the example''s order; null where the source has none, and for a sum.';
COMMENT ON COLUMN retention.unreadable_row.value IS
  'What cannot be read: the time, the amount, or the length of the key; null for a sum.';
