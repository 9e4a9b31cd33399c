/* zone_table.c: PostgreSQL's time zones as tables for src/math/zone. */
#include "values/zone_table.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "parser/scansup.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define UNIX_TO_POSTGRES_SECONDS \
	((pg_time_t) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/*
 * Bounds what is tabulated: from before the first zones to past any order; later days are looked up
 * one by one.
 */
#define FIRST_TABULATED ((pg_time_t) -5364662400)	/* 1800-01-01 */
#define LAST_TABULATED ((pg_time_t) 7258118400)		/* 2200-01-01 */

/* Holds the zones named so far in this session, the latest first: every order may name another. */
typedef struct NamedZone
{
	struct NamedZone *next;
	Zone	   *zone;
	int			length;
	char		name[FLEXIBLE_ARRAY_MEMBER];
} NamedZone;

static NamedZone *named_zones = NULL;

static int64
to_microseconds(pg_time_t unix_seconds)
{
	return (unix_seconds - UNIX_TO_POSTGRES_SECONDS) * USECS_PER_SEC;
}

static int64_t
offset_by_rules(const void *rules, int64_t at)
{
	pg_time_t	seconds = at / USECS_PER_SEC - (at % USECS_PER_SEC < 0) + UNIX_TO_POSTGRES_SECONDS;

	return pg_localtime(&seconds, rules)->tm_gmtoff * USECS_PER_SEC;
}

/*
 * Tells whether AT TIME ZONE takes the name for an abbreviation that differs from the zone of that
 * name: CET is one hour ahead of UTC there, in summer too.
 */
static bool
is_ambiguous(const char *name, const pg_tz *rules)
{
	char	   *lower = downcase_truncate_identifier(name, strlen(name), false);
	int			kind;
	int			offset;
	long		fixed_offset;
	pg_tz	   *abbreviated;

	kind = decode_zone_abbreviation(lower, &offset, &abbreviated);
	return (kind == TZ || kind == DTZ || kind == DYNTZ) &&
		(kind == DYNTZ || !pg_get_timezone_offset(rules, &fixed_offset) || fixed_offset != offset);
}

/* Finds a zone by name; NULL where there is none. */
static pg_tz *
known_rules(const char *name)
{
	pg_tz	   *rules = pg_tzset(name);

	return rules == NULL || !pg_tz_acceptable(rules) || is_ambiguous(name, rules) ? NULL : rules;
}

/* Finds a zone by name, or raises an error. */
static pg_tz *
find_rules(const char *name)
{
	pg_tz	   *rules = known_rules(name);

	if (rules == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("time zone \"%s\" not recognized", name),
						errhint("Use a name such as Europe/Warsaw, as listed in pg_timezone_names, "
								"and no abbreviation.")));
	return rules;
}

/* Writes the zone's spans, or only counts them where spans is NULL. */
static int
list_spans(const pg_tz *rules, ZoneSpan *spans, int64_t *until)
{
	pg_time_t	at = FIRST_TABULATED;
	pg_time_t	boundary;
	long		before,
				after;
	int			is_dst;
	int			count = 0;
	int			found;

	found = pg_next_dst_boundary(&at, &before, &is_dst, &boundary, &after, &is_dst, rules);
	if (spans != NULL)
		spans[0] = (ZoneSpan) {PG_INT64_MIN, before * USECS_PER_SEC};
	for (count = 1; found > 0 && boundary < LAST_TABULATED; count++)
	{
		if (spans != NULL)
			spans[count] = (ZoneSpan) {to_microseconds(boundary), after * USECS_PER_SEC};
		at = boundary;
		found = pg_next_dst_boundary(&at, &before, &is_dst, &boundary, &after, &is_dst, rules);
	}
	*until = found > 0 ? to_microseconds(LAST_TABULATED) : PG_INT64_MAX;
	return count;
}

/* Makes the table of a named zone, in the given memory context. */
Zone *
zone_table(const char *name, MemoryContext context)
{
	pg_tz	   *rules = find_rules(name);
	Zone	   *zone = MemoryContextAllocZero(context, sizeof(Zone));
	int			count = list_spans(rules, NULL, &zone->until);
	ZoneSpan   *spans = MemoryContextAlloc(context, count * sizeof(ZoneSpan));

	zone->count = list_spans(rules, spans, &zone->until);
	zone->spans = spans;
	zone->offset_beyond = offset_by_rules;
	zone->rules = rules;
	return zone;
}

/* Returns the table of UTC, which needs no memory. */
Zone *
zone_utc(void)
{
	static const ZoneSpan span = {PG_INT64_MIN, 0};
	static Zone zone = {.spans = &span, .count = 1, .until = PG_INT64_MAX};

	return &zone;
}

static NamedZone *
new_named_zone(const text *name)
{
	int			length = VARSIZE_ANY_EXHDR(name);
	Zone	   *zone = zone_table(text_to_cstring(name), TopMemoryContext);
	NamedZone  *named = MemoryContextAlloc(TopMemoryContext, offsetof(NamedZone, name) + length);

	named->zone = zone;
	named->length = length;
	memcpy(named->name, VARDATA_ANY(name), length);
	return named;
}

/* Finds the table of a zone named by an argument, kept for the session. */
Zone *
zone_named(const text *name)
{
	NamedZone  *named = named_zones;
	NamedZone  *before = NULL;

	while (named != NULL && (named->length != VARSIZE_ANY_EXHDR(name) ||
							 memcmp(named->name, VARDATA_ANY(name), named->length) != 0))
	{
		before = named;
		named = named->next;
	}
	if (named == NULL)
		named = new_named_zone(name);
	else if (before != NULL)
		before->next = named->next;
	if (named != named_zones)
		named->next = named_zones;
	named_zones = named;
	return named->zone;
}

PG_FUNCTION_INFO_V1(retention_local_date);

/*
 * _local_date(at timestamptz, time_zone text) -> date: the calendar day in a zone; what AT TIME
 * ZONE gives, ten times as fast.
 */
Datum
retention_local_date(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);

	if (TIMESTAMP_NOT_FINITE(at))
		PG_RETURN_DATEADT(TIMESTAMP_IS_NOBEGIN(at) ? DATEVAL_NOBEGIN : DATEVAL_NOEND);
	PG_RETURN_DATEADT(zone_day(zone_named(PG_GETARG_TEXT_PP(1)), at));
}

PG_FUNCTION_INFO_V1(retention_is_time_zone);

/* _is_time_zone(name text) -> boolean: whether a zone has this name, and no abbreviation has it. */
Datum
retention_is_time_zone(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(known_rules(text_to_cstring(PG_GETARG_TEXT_PP(0))) != NULL);
}
