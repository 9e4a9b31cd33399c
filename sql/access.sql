-- Roles: who may read, run and configure.

CREATE OR REPLACE FUNCTION retention._access_level(routine name) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    -- Pure functions that views and the expressions of flows are made of.
    WHEN routine IN (
      '_reject_unless', '_local_date', '_double', '_parts', '_is_time_zone', '_wilson',
      '_p_alive', '_expected_orders', '_order_probability', '_clv', '_next_order_days',
      '_merge_properties', '_retry_after', '_zone', '_add_local', '_next_local', '_local_moment',
      '_quiet_until', '_add_days', '_delay_end', '_moment_problem', '_wait_end',
      '_normal_address', '_address_spellings', '_in_calendar', '_span', '_is_mixed',
      '_order_moment',
      '_access_level', '_jobs', '_readable', '_shown_error', '_with_fields',
      '_parameters', '_profiles', '_range_condition', '_round_bounds') THEN 0
    -- Charts, with what they are made of.
    WHEN routine IN (
      'html_text', 'chart', 'chart_style', 'chart_label', 'chart_scale', 'chart_steps', 'chart_at',
      'chart_ticks', 'chart_left_axis', 'chart_bottom_axis', 'chart_bar', 'chart_line',
      'chart_dots', 'chart_band', 'chart_cell', 'chart_cell_style', 'chart_shade', 'chart_ribbon',
      '_chart_place', '_chart_hint', '_chart_path', '_chart_line', '_shade_style') THEN 0
    -- The toolkit, with the steps of its aggregates and what its type is read and written by.
    WHEN routine IN (
      'age', 'bucket', 'clv', 'discounted_orders', 'expected_orders', 'expected_spend',
      'frequency', 'log_likelihood', 'make_model', 'models', 'next_order_days', 'now',
      'order_distribution', 'order_probability', 'p_alive', 'recency', 'recency_score', 'render',
      'rfm_group', 'rfm_score', 'simulate_orders', 'template_variables',
      'fit', 'fit_transition', 'fit_combine', 'fit_serialize', 'fit_deserialize', 'fit_final',
      'fit_state', 'fit_state_final', 'merge', 'merge_transition',
      'fit_state_in', 'fit_state_out', 'fit_state_receive', 'fit_state_send',
      'order_summary', 'order_summary_transition', 'order_summary_combine',
      'order_summary_serialize', 'order_summary_deserialize', 'order_summary_final',
      'percentile_bounds', 'percentile_bounds_transition', 'percentile_bounds_combine',
      'percentile_bounds_serialize', 'percentile_bounds_deserialize',
      'percentile_bounds_final') THEN 0
    WHEN routine IN ('explain_score', 'readiness', 'validate_flow', 'describe_flow', 'flow_plan',
                     'health', 'reachable', 'rfm_distribution', 'rfm_transitions',
                     'rfm_performance', 'rfm_history', 'value_deciles', 'cohort_retention',
                     'repeat_rate', 'repeat_curve', 'new_and_returning', 'forecast',
                     'clv_usage', 'period_totals', 'report', 'report_changes',
                     'report_html', 'report_page', 'report_mail') THEN 1
    WHEN routine IN (
      'refresh', 'refresh_all', 'process_changes', 'refresh_segment', 'read_segment_changes',
      'prune',
      'backfill_history', 'customer_at', 'validate_model', 'churn_history',
      'create_flow', 'publish', 'set_status', 'migrate_flow', 'drop_flow', 'simulate_flow',
      'enroll', 'backfill_flow', 'retry',
      'tick', 'run_flows', 'run_flows_once', 'claim_messages', 'ack', 'fail', 'approve', 'cancel',
      'suppress',
      'forget', 'merge_customers', 'register_use', 'drop_use') THEN 2
    WHEN routine IN (
      'add_metric', 'alter_metric', 'preview_settings', 'drop_metric', 'reset_metric', 'add_source',
      'drop_source', 'grant_access',
      'track', 'untrack', 'add_segment', 'drop_segment', 'alter_segment',
      'add_consumer', 'drop_consumer', 'schedule', 'unschedule', 'set_flow_owner',
      'add_coupon_pool', 'use_contacts', 'resume_here') THEN 3
    -- What is in no list is nobody's.
  END;
COMMENT ON FUNCTION retention._access_level(name) IS
  'Who may call a routine: 0 whoever may use the schema, 1 analysts, 2 operators, 3 admins; null '
  'nobody, for it is internal, or in no list.';

CREATE OR REPLACE FUNCTION retention._readable()
  RETURNS TABLE (relation regclass, kept_back name[], shown text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.oid::regclass, array_agg(a.attname) FILTER (WHERE k.is_kept_back),
         string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
           FILTER (WHERE NOT k.is_kept_back)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid,
  LATERAL (VALUES (
    (c.relname, a.attname) IN (
      ('contact', 'email'), ('contact', 'phone'), ('contact', 'push_token'),
      ('contact', 'properties'), ('suppression', 'address'),
      ('message', 'address'), ('message', 'subject'), ('message', 'body'), ('message', 'text'),
      ('message', 'context'), ('message', 'last_error'),
      -- Whatever those have written who enroll.
      ('enrollment', 'event'), ('flow_enrollment', 'event'), ('flow_entry', 'event'),
      -- What has failed may quote the values it was about: retention.problem shows it without.
      ('enrollment', 'reason'), ('flow_enrollment', 'reason'))
    -- Errors; and all of tables but of these, so that one that is new has to be thought about.
    OR c.relkind = 'r' AND (a.attname = 'error' OR c.relname NOT IN (
      'address_grant', 'change_log', 'changed_customers', 'consent_change', 'contact',
      'contact_source', 'coupon', 'coupon_pool', 'customer', 'enrollment', 'fitted_model', 'flow',
      'flow_entry', 'flow_home', 'flow_node', 'flow_version', 'last_message', 'merged_customer',
      'message', 'metric', 'metric_error', 'metric_turn', 'order_event', 'population',
      'published_model', 'registered_use', 'rfm_cell', 'rfm_change', 'segment',
      'segment_change', 'segment_consumer', 'segment_day', 'segment_member', 'source',
      'suppression', 'tracked_via', 'validation', 'validation_result'))
  )) AS k (is_kept_back)
  WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
    AND c.relname <> 'secret' AND a.attnum > 0 AND NOT a.attisdropped
  GROUP BY c.oid
$$;
COMMENT ON FUNCTION retention._readable() IS
  'The relations that can be read; the columns that show where somebody is written to, or what a '
  'message says, and those of tables that are in no list; and the others.';

CREATE OR REPLACE FUNCTION retention.grant_access(
    role regrole, level text, addresses boolean DEFAULT false)
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rank integer := array_position('{analyst,operator,admin}', level);
  statement text;
BEGIN
  PERFORM retention._reject_unless(rank IS NOT NULL,
    format('access level %s does not exist', coalesce('"' || level || '"', 'null')),
    'The levels are analyst, operator and admin.');
  PERFORM retention._reject_unless(EXISTS (SELECT FROM pg_roles r WHERE r.oid = role),
    format('role %s does not exist', coalesce(role::oid::text, 'null')),
    'pg_roles lists those there are.', 'undefined_object');
  PERFORM retention._reject_unless(
    pg_has_role((SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'retention'), 'USAGE'),
    format('role "%s" cannot give access', current_user),
    'Whoever created the extension, or is a member of that role, can.', 'insufficient_privilege');
  -- What a higher level gave before is taken away.
  EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA retention FROM %s', role);
  EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA retention FROM %s', role);
  FOR statement IN
    SELECT format(given.grants, role)
    FROM (VALUES
      (1, 'GRANT USAGE ON SCHEMA retention TO %s'),
      (1, (SELECT format('GRANT SELECT ON %s TO %%s', string_agg(r.relation::text, ', '))
           FROM retention._readable() r WHERE r.kept_back IS NULL OR addresses OR rank > 1)),
      (1, (SELECT string_agg(format('GRANT SELECT (%s) ON %s TO %%1$s', r.shown, r.relation), '; ')
           FROM retention._readable() r
           WHERE r.kept_back IS NOT NULL AND r.shown IS NOT NULL)),
      -- Everything else is written by functions, which check what they get.
      (2, 'GRANT INSERT, UPDATE, DELETE ON retention.contact, retention.suppression TO %s'),
      (2, 'GRANT INSERT, DELETE ON retention.segment_member TO %s'),
      (3, 'GRANT INSERT, UPDATE, DELETE ON retention.metric, retention.rfm_cell TO %s')
    ) AS given (needs, grants)
    WHERE given.needs <= rank
    UNION ALL
    SELECT format('GRANT EXECUTE ON ROUTINE %s TO %s', oid::regprocedure, role)
    FROM pg_proc
    WHERE pronamespace = 'retention'::regnamespace
      AND retention._access_level(proname) BETWEEN 1 AND rank
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;
COMMENT ON FUNCTION retention.grant_access(regrole, text, boolean) IS
  'Gives a role what it needs, and takes what it was given before: analyst reads, but no '
  'addresses of customers and no messages, unless addresses is true; operator also runs the jobs, '
  'reads the queue, and writes and runs flows; admin also configures. None of them needs a right '
  'on the tables of the shop to run what is set up: these are read with their owners'' rights. '
  'Who adds a source, a segment or contacts must be able to read them.';
