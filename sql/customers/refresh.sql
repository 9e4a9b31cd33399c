-- The steps of a refresh.

CREATE OR REPLACE FUNCTION retention._last_refresh(metric text) RETURNS retention.population
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT p FROM retention.population p
    WHERE p.metric = _last_refresh.metric AND NOT p.backfilled ORDER BY p.refresh_id DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION retention._last_refresh(text) IS
  'What the latest refresh published; null before the first.';

CREATE OR REPLACE FUNCTION retention._applied_settings(
    settings retention.metric, last retention.population)
  RETURNS retention.metric
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- How much may be lost is asked when it is.
  applied retention.metric := jsonb_populate_record(settings, last.applied - 'loss_limit');
BEGIN
  RETURN CASE WHEN retention._settings(applied) = last.settings THEN applied END;
END
$$;
COMMENT ON FUNCTION retention._applied_settings(retention.metric, retention.population) IS
  'The settings that the last refresh went by. Null where there was none, or its sources or the '
  'groups of its scheme, which are not kept, were other ones.';

CREATE OR REPLACE FUNCTION retention._check_refresh(
    settings retention.metric, last retention.population, as_of timestamptz)
  RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  dropped regclass;
BEGIN
  PERFORM retention._check_clock(as_of);
  PERFORM retention._reject_unless(
    EXISTS (SELECT FROM retention.source s WHERE s.metric = settings.metric AND s.kind = 'order'),
    format('metric "%s" has no source of orders', settings.metric),
    'add_source names the table of orders.',
    'object_not_in_prerequisite_state');
  SELECT relation INTO dropped FROM retention.source s
    WHERE s.metric = settings.metric AND NOT EXISTS (SELECT FROM pg_class WHERE oid = s.relation);
  PERFORM retention._reject_unless(dropped IS NULL,
    format('a source of metric "%s" has been dropped (its oid was %s)', settings.metric, dropped),
    'drop_source removes it; retention.source shows its source_id.', 'undefined_table');
  PERFORM retention._source_query(s, settings.time_zone) FROM retention.source s
    WHERE s.metric = settings.metric;
  PERFORM retention._reject_unless(as_of >= coalesce(last.as_of, as_of),
    format('as_of %s lies before the last refresh of metric "%s", as of %s', as_of, settings.metric,
           last.as_of),
    'customer_at shows a past state, backfill_history records past ones, reset_metric starts '
    'anew.');
END
$$;
COMMENT ON FUNCTION retention._check_refresh(retention.metric, retention.population, timestamptz) IS
  'Rejects a refresh that cannot be done, with the reason.';

CREATE OR REPLACE FUNCTION retention._log_refresh(
    id bigint, path text, report retention.collection_report, written retention.write_report,
    started_at timestamptz, read_at timestamptz)
  RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE retention.population p SET
    path = _log_refresh.path, started_at = _log_refresh.started_at,
    read_duration = read_at - _log_refresh.started_at, write_duration = clock_timestamp() - read_at,
    rows_read = (report).rows_read, without_customer = (report).without_customer,
    without_time = (report).without_time, without_amount = (report).without_amount,
    after_as_of = (report).after_as_of, before_history = (report).before_history,
    refund_rows = (report).refund_rows,
    customers_without_orders = (report).customers_without_orders,
    inserted = (written).inserted, updated = (written).updated, deleted = (written).deleted,
    transitions = (written).transitions,
    unreadable = retention._unreadable_count((report).unreadable),
    unreadable_rows = (report).unreadable, unreadable_since = '[]',
    unmatched_refunds = (report).unmatched_refunds, unmatched_refund = (report).unmatched_refund
  WHERE p.refresh_id = id
$$;
COMMENT ON FUNCTION retention._log_refresh(
  bigint, text, retention.collection_report, retention.write_report, timestamptz, timestamptz) IS
  'Adds to what a refresh has published what it read and wrote.';

CREATE OR REPLACE FUNCTION retention._rebuild(
    settings retention.metric, last retention.population, as_of timestamptz,
    fingerprint text, allow_loss boolean,
    OUT report retention.collection_report, OUT written retention.write_report,
    OUT read_at timestamptz)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Ahead of the snapshot that reads them, so that no change falls in between.
  -- Whether there still is an index is looked up anew.
  UPDATE retention.source s
    SET fingerprint = retention._source_fingerprint(s, settings.time_zone),
        is_indexed = nullif(s.is_indexed, true)
    WHERE s.metric = settings.metric;
  report := retention._read_metric(settings, as_of, 'retention.customer', last);
  PERFORM retention._tell(format('metric "%s": %s rows read, %s orders of %s customers',
                                 settings.metric, report.rows_read, report.orders,
                                 report.customers));
  PERFORM retention._warn_of_unreadable(settings.metric, report.unreadable);
  IF allow_loss IS NOT TRUE AND retention._reads_alike(_rebuild.fingerprint, last.settings) THEN
    PERFORM retention._reject_loss(settings, l.customers, l.lost)
      FROM retention._collected_loss() AS l;
  END IF;
  read_at := clock_timestamp();
  written := retention._write_collected(settings, last, as_of, 'retention.customer');
END
$$;
COMMENT ON FUNCTION retention._rebuild(
  retention.metric, retention.population, timestamptz, text, boolean) IS
  'A refresh that reads the sources, and writes who differs. Also when it had read them.';
