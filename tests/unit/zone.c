/* zone.c: src/math/zone against a search from the end of the table, and days found by stepping. */
#include "math/zone.h"

#include "check.h"

#define HOUR (MICROSECONDS_PER_DAY / 24)
#define MOST_SPANS 40

/* What PostgreSQL's timestamps span: 4714-11-24 BC up to, without, 294277-01-01. */
#define FIRST_TIMESTAMP INT64_C(-211813488000000000)
#define END_TIMESTAMP INT64_C(9223371331200000000)

static const int beyond_hours = -5;

static int64_t
offset_beyond(const void *rules, int64_t at)
{
	CHECK(rules == &beyond_hours);
	return (at / HOUR % 2 == 0 ? beyond_hours : beyond_hours - 1) * HOUR;
}

static int64_t
naive_offset(const Zone *zone, int64_t at)
{
	if (at >= zone->until)
		return offset_beyond(zone->rules, at);
	for (int i = zone->count - 1; i > 0; i--)
	{
		if (at >= zone->spans[i].from)
			return zone->spans[i].offset;
	}
	return zone->spans[0].offset;
}

/* The day whose midnights enclose the instant's local time. */
static void
check_day(Zone *zone, int64_t at)
{
	__int128	local = (__int128) at + naive_offset(zone, at);
	__int128	day = zone_day(zone, at);

	CHECK(day * MICROSECONDS_PER_DAY <= local && local < (day + 1) * MICROSECONDS_PER_DAY);
}

/* Around every boundary to the microsecond, and the local midnights next to it. */
static void
check_boundaries(Zone *zone)
{
	int			boundaries = zone->until < INT64_MAX ? zone->count + 1 : zone->count;

	for (int i = 1; i < boundaries; i++)
	{
		int64_t		from = i < zone->count ? zone->spans[i].from : zone->until;

		for (int step = -2; step <= 2; step++)
		{
			check_day(zone, from + step);
			check_day(zone,
					  from - (from + zone->spans[i - 1].offset) % MICROSECONDS_PER_DAY + step);
			check_day(zone, from + step * HOUR);
		}
	}
}

static void
check_anywhere(Zone *zone)
{
	for (int i = 0; i < 2000; i++)
	{
		int64_t		at = check_between(-200 * 365, 200 * 365) * MICROSECONDS_PER_DAY;

		check_day(zone, at);
		check_day(zone, at + check_between(-MICROSECONDS_PER_DAY, MICROSECONDS_PER_DAY));
	}
	check_day(zone, FIRST_TIMESTAMP);
	check_day(zone, END_TIMESTAMP - 1);
	check_day(zone, FIRST_TIMESTAMP);
}

/* Half-yearly changes give or take a few minutes, to any offset from -15:59:59 to +15:59:59. */
static void
random_zone(Zone *zone, ZoneSpan *spans)
{
	zone->count = (int) check_between(1, MOST_SPANS);
	zone->spans = spans;
	zone->last_used = 0;
	zone->rules = &beyond_hours;
	zone->offset_beyond = offset_beyond;
	for (int i = 0; i < zone->count; i++)
	{
		spans[i].from =
			((i - MOST_SPANS / 2) * 182 * 24 * 60 + check_between(0, 9999)) * (HOUR / 60);
		spans[i].offset = check_between(-57599, 57599) * (HOUR / 3600);
	}
	spans[0].from = INT64_MIN;
	zone->until = check_random() % 2 ? INT64_MAX : MOST_SPANS * 182 * MICROSECONDS_PER_DAY;
}

/* Known dates: 2000-01-01 is day 0, and each turn of a zone's clock is written out. */
static void
check_known(void)
{
	static const ZoneSpan spans[] = {{INT64_MIN, 0}, {10 * MICROSECONDS_PER_DAY, HOUR}};
	Zone		zone = {.spans = spans, .count = 2, .until = INT64_MAX};

	CHECK(zone_day(&zone, 0) == 0 && zone_day(&zone, -1) == -1);
	CHECK(zone_day(&zone, MICROSECONDS_PER_DAY - 1) == 0 &&
		  zone_day(&zone, MICROSECONDS_PER_DAY) == 1);
	CHECK(zone_day(&zone, -MICROSECONDS_PER_DAY) == -1 &&
		  zone_day(&zone, -MICROSECONDS_PER_DAY - 1) == -2);
	CHECK(zone_day(&zone, 11 * MICROSECONDS_PER_DAY - HOUR - 1) == 10);
	CHECK(zone_day(&zone, 11 * MICROSECONDS_PER_DAY - HOUR) == 11);
	CHECK(zone_day(&zone, FIRST_TIMESTAMP) == -2451545);
	CHECK(zone_day(&zone, END_TIMESTAMP - HOUR - 1) == 106751982);
	CHECK(zone_day(&zone, END_TIMESTAMP - 1) == 106751983);
}

int
main(void)
{
	check_known();
	for (int i = 0; i < 100; i++)
	{
		ZoneSpan	spans[MOST_SPANS];
		Zone		zone;

		random_zone(&zone, spans);
		check_anywhere(&zone);
		check_boundaries(&zone);
	}
	return 0;
}
