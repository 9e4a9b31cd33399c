/*
 * job_settings.c: the one list of settings that what the engine reads and
 * writes depends on. Everything that is stored must come out the same whoever
 * runs the job, and names must mean the same.
 */
#include "base/job_settings.h"

#include "fmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/timeout.h"

static const char *const job_settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"xmlbinary", "base64"},
	{"xmloption", "content"},
	{"lc_numeric", "C"},
	{"lc_time", "C"},
	{"quote_all_identifiers", "off"},
	{"standard_conforming_strings", "on"},
	{"array_nulls", "on"},
	{"transform_null_equals", "off"},
	{"row_security", "on"}
};

/*
 * Sets what a job needs until the enclosing level of settings ends: that of
 * NewGUCNestLevel, of a function with a SET clause, or of a subtransaction.
 */
void
pin_job_settings(void)
{
	for (int i = 0; i < lengthof(job_settings); i++)
		(void) set_config_option(job_settings[i][0], job_settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

PG_FUNCTION_INFO_V1(retention_pin_settings);

/*
 * _pin_settings() -> void: for a function that has a SET clause, which makes
 * the level at whose end the settings are as they were before.
 */
Datum
retention_pin_settings(PG_FUNCTION_ARGS)
{
	pin_job_settings();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(retention_renew_timeout);

/*
 * _renew_timeout() -> boolean: for whoever goes on after an error in a part of
 * a statement. Whether statement_timeout was up; then it runs anew, as the
 * server starts it but once for each statement of the client.
 */
Datum
retention_renew_timeout(PG_FUNCTION_ARGS)
{
	bool		is_up = StatementTimeout > 0 && !get_timeout_active(STATEMENT_TIMEOUT);

	if (is_up)
		enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
	PG_RETURN_BOOL(is_up);
}
