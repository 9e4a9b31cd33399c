/*
 * clock.c: the engine's one clock.
 *
 * Everything that depends on time takes it from retention.now(), so that tests
 * and replays can set it: SET retention.as_of = '2024-12-31 23:00+00'.
 */
#include "toolkit/clock.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/datetime.h"
#include "utils/guc.h"

/* Holds the setting's text, and its value as of the time it was set. */
static char *as_of_text = NULL;
static TimestampTz as_of_value;

/* Parses an absolute, finite timestamp; false where the text is none. */
static bool
parse_as_of(const char *text, TimestampTz *value)
{
	char	   *field[MAXDATEFIELDS];
	int			type[MAXDATEFIELDS];
	char		work[MAXDATELEN + MAXDATEFIELDS];
	int			fields;
	int			kind;
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;

	return ParseDateTime(text, work, sizeof(work), field, type, MAXDATEFIELDS, &fields) == 0 &&
		decode_date_time(field, type, fields, &kind, &tm, &fsec, &offset) == 0 &&
		kind == DTK_DATE &&
		tm2timestamp(&tm, fsec, &offset, value) == 0;
}

/*
 * Replaces the setting's text by the same instant in UTC, so that it means the
 * same whatever TimeZone is set to later, or in a parallel worker.
 */
static bool
store_as_of(char **newval, void **extra, TimestampTz value)
{
	struct pg_tm tm;
	fsec_t		fsec;
	char		text[MAXDATELEN + 1];
	char	   *canonical = guc_malloc(LOG, sizeof(text));
	TimestampTz *stored = guc_malloc(LOG, sizeof(*stored));

	if (canonical == NULL || stored == NULL ||
		timestamp2tm(value, NULL, &tm, &fsec, NULL, NULL) != 0)
		return false;
	tm.tm_isdst = 0;			/* below zero, the zone would be left out */
	EncodeDateTime(&tm, fsec, true, 0, "UTC", USE_ISO_DATES, text);
	strcpy(canonical, text);
	guc_free(*newval);
	*newval = canonical;
	*stored = value;
	*extra = stored;
	return true;
}

static bool
check_as_of(char **newval, void **extra, GucSource source)
{
	TimestampTz value;

	if (*newval == NULL || **newval == '\0')
		return true;
	if (parse_as_of(*newval, &value))
		return store_as_of(newval, extra, value);
	GUC_check_errdetail("\"%s\" is not a timestamp.", *newval);
	GUC_check_errhint(
		"Write it with its zone, as in '2024-12-31 23:00+00', or '' for the real time.");
	return false;
}

static void
assign_as_of(const char *newval, void *extra)
{
	if (extra != NULL)
		as_of_value = *(TimestampTz *) extra;
}

/* Defines the setting retention.as_of. */
void
clock_define_setting(void)
{
	DefineCustomStringVariable("retention.as_of",
							   "The time that retention.now() returns.",
							   "Empty for the transaction's own time.",
							   &as_of_text, "", PGC_USERSET, 0,
							   check_as_of, assign_as_of, NULL);
}

/*
 * Returns the engine's time: the setting retention.as_of when set, else the time at which the
 * transaction started.
 */
TimestampTz
clock_now(void)
{
	if (as_of_text != NULL && as_of_text[0] != '\0')
		return as_of_value;
	return GetCurrentTransactionStartTimestamp();
}

PG_FUNCTION_INFO_V1(retention_now);

/* now() -> timestamptz: the engine's time. */
Datum
retention_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(clock_now());
}
