/* zone.h: the calendar day of an instant in a time zone, by table. */
#ifndef RETENTION_ZONE_H
#define RETENTION_ZONE_H

#include <stdint.h>

#define MICROSECONDS_PER_DAY INT64_C(86400000000)

/*
 * Says that from this instant on local time is the instant plus the offset (both in microseconds).
 */
typedef struct ZoneSpan
{
	int64_t		from;
	int64_t		offset;
} ZoneSpan;

/*
 * Holds spans in ascending order; the first reaches back for ever. From `until` on the table ends
 * and offset_beyond is asked.
 */
typedef struct Zone
{
	const ZoneSpan *spans;
	int			count;
	int			last_used;
	int64_t		until;
	int64_t		(*offset_beyond) (const void *rules, int64_t at);
	const void *rules;
} Zone;

extern int64_t zone_find_offset(Zone *zone, int64_t at);

/*
 * Computes the days since 2000-01-01 of the local date at an instant (microseconds since 2000-01-01
 * UTC).
 */
static inline int32_t
zone_day(Zone *zone, int64_t at)
{
	const ZoneSpan *span = &zone->spans[zone->last_used];
	int64_t		next = zone->last_used + 1 < zone->count ? span[1].from : zone->until;
	int64_t		local;
	int64_t		day;

	local = at + (at >= span->from && at < next ? span->offset : zone_find_offset(zone, at));
	day = local / MICROSECONDS_PER_DAY;
	return (int32_t) (local % MICROSECONDS_PER_DAY < 0 ? day - 1 : day);
}

#endif
