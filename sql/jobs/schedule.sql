-- The schedule of the jobs with pg_cron.

CREATE OR REPLACE FUNCTION retention._jobs(
    refresh text, process_changes text, prune text, run_flows text)
  RETURNS TABLE (job text, schedule text, command text)
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $body$
  -- Nobody reads what a job tells: in one statement, for refresh_all commits.
  VALUES ('retention refresh', refresh,
          'DO $$BEGIN SET retention.progress = off; CALL retention.refresh_all(); END$$'),
         ('retention process_changes', process_changes,
          'DO $$BEGIN SET retention.progress = off; CALL retention.process_changes(); END$$'),
         ('retention prune', prune, 'SELECT retention.prune()'),
         ('retention run_flows', run_flows, 'CALL retention.run_flows()')
$body$;
COMMENT ON FUNCTION retention._jobs(text, text, text, text) IS
  'The jobs that schedule makes, with their schedules.';

CREATE OR REPLACE FUNCTION retention.schedule(
    refresh text DEFAULT '15 3 * * *', process_changes text DEFAULT '* * * * *',
    prune text DEFAULT '45 4 * * *',
    run_flows text DEFAULT '* * * * *')
  RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention._reject_unless(EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron'),
    format('pg_cron is not installed in database "%s"', current_database()),
    'CREATE EXTENSION pg_cron; or, where another database has it, call cron.schedule_in_database '
    'there; or run the loop of docs/operations.md.',
    'object_not_in_prerequisite_state');
  PERFORM cron.unschedule(c.jobid)
    FROM retention._jobs(refresh, process_changes, prune, run_flows) j
    JOIN cron.job c ON c.jobname = j.job
    WHERE j.schedule IS NULL AND c.username = current_user AND c.database = current_database();
  -- By name, so that a job that is there already keeps its number and its log.
  PERFORM cron.schedule(j.job, j.schedule, j.command)
    FROM retention._jobs(refresh, process_changes, prune, run_flows) j WHERE j.schedule IS NOT NULL;
END
$$;
COMMENT ON FUNCTION retention.schedule(text, text, text, text) IS
  'Has pg_cron run refresh_all, process_changes, prune and run_flows, as the caller, at these '
  'times; null: not at all. Again: replaces the times. pg_cron reads times in GMT.';

CREATE OR REPLACE FUNCTION retention.unschedule() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM retention.schedule(NULL, NULL, NULL, NULL);
END
$$;
COMMENT ON FUNCTION retention.unschedule() IS 'Removes the jobs that the caller made by schedule.';
