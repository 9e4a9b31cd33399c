-- Roles: who may read, run and configure.

CREATE OR REPLACE FUNCTION retention._access_level(routine name) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    WHEN routine IN ('add_metric', 'alter_metric', 'drop_metric', 'reset_metric', 'add_source', 'drop_source', 'grant_access',
                     'track', 'untrack', '_capture_changes', '_drop_triggers', '_make_triggers',
                     '_make_trigger', '_make_replica_trigger', 'add_segment', 'drop_segment',
                     'enable_segment', 'disable_segment', 'add_consumer', 'drop_consumer', 'schedule', 'unschedule',
                     'create_flow', 'publish', 'set_status', 'migrate_flow', 'drop_flow', 'add_coupon_pool', 'import_coupons', 'use_contacts', 'simulate_flow') THEN 3
    WHEN routine IN ('_bounds_sentence', '_limits_sentence', '_reject_unless', '_require_metric', '_last_refresh',
                     '_local_date', '_double', '_readiness', '_parts', '_is_time_zone', '_wilson',
                     '_p_alive', '_expected_orders', '_order_probability', '_clv', '_next_order_days') THEN 1
    WHEN routine IN ('refresh', 'refresh_all', 'process_changes', 'refresh_segment', 'read_segment_changes', 'prune',
                     'backfill_history', 'customer_at', 'validate_model', 'churn_history', 'validate_flow', 'describe_flow', 'enroll', 'backfill_flow',
                     'tick', 'run_flows', 'claim_messages', 'ack', 'fail', 'approve', 'cancel', 'suppress', 'forget') OR left(routine, 1) = '_' THEN 2
    ELSE 1
  END;
COMMENT ON FUNCTION retention._access_level(name) IS 'Who may call a routine: 1 whoever may use the schema, 2 operators, 3 admins.';

CREATE OR REPLACE FUNCTION retention.grant_access(role regrole, level text) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rank integer := array_position('{analyst,operator,admin}', level);
  statement text;
BEGIN
  PERFORM retention._reject_unless(rank IS NOT NULL,
    format('access level %s does not exist', coalesce('"' || level || '"', 'null')), 'The levels are analyst, operator and admin.');
  FOR statement IN
    SELECT format(given.grants, role)
    FROM (VALUES
      (1, 'GRANT USAGE ON SCHEMA retention TO %s'),
      (1, 'GRANT SELECT ON ALL TABLES IN SCHEMA retention TO %s'),
      (2, 'GRANT INSERT, UPDATE, DELETE ON retention.customer, retention.rfm_change, retention.population, retention.refresh_log,
          retention.fitted_model, retention.published_model, retention.validation, retention.validation_result,
          retention.change_log, retention.order_event, retention.segment_member, retention.segment_change, retention.segment_day TO %s'),
      (2, 'GRANT INSERT, UPDATE, DELETE ON retention.contact, retention.suppression, retention.flow_entry, retention.changed_customers,
          retention.enrollment, retention.message, retention.last_message, retention.coupon TO %s'),
      (2, 'GRANT USAGE ON SEQUENCE retention.enrollment_enrollment_id_seq TO %s'),
      (2, 'GRANT UPDATE (trigger_position, fires_at, error, error_at) ON retention.flow TO %s'),
      (2, 'GRANT UPDATE (error, error_at) ON retention.flow_node TO %s'),
      (2, 'GRANT UPDATE (fingerprint, is_indexed) ON retention.source TO %s'),
      -- What a segment reads they may have it follow, and not change: its trigger sees to that.
      (2, 'GRANT UPDATE (relation, relation_name, definition, pending, members, duplicate_rows, null_rows, evaluated_at, error, error_at, failures) ON retention.segment TO %s'),
      (2, 'GRANT UPDATE (position, read_at) ON retention.segment_consumer TO %s'),
      (3, 'GRANT INSERT, UPDATE, DELETE ON retention.metric, retention.source, retention.rfm_cell,
          retention.segment, retention.segment_consumer, retention.contact_source, retention.flow, retention.flow_version,
          retention.flow_node, retention.message_status, retention.coupon_pool TO %s')
    ) AS given (needs, grants)
    WHERE given.needs <= rank
    UNION ALL
    SELECT format('GRANT EXECUTE ON ROUTINE %s TO %s', oid::regprocedure, role)
    FROM pg_proc
    WHERE pronamespace = 'retention'::regnamespace AND retention._access_level(proname) BETWEEN 2 AND rank
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention.grant_access(regrole, text) IS
  'Gives a role what it needs: analyst reads; operator also refreshes, processes changes and reads the queue, and needs SELECT on the sources; admin also configures.';
