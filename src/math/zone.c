/* zone.c: the calendar day of an instant in a time zone; see zone.h. */
#include "math/zone.h"

/*
 * Finds the offset in force at an instant, by binary search. Remembers the span, as the next order
 * is most likely in the same one.
 */
int64_t
zone_find_offset(Zone *zone, int64_t at)
{
	int			low = 0;
	int			high = zone->count - 1;

	if (at >= zone->until)
		return zone->offset_beyond(zone->rules, at);
	while (low < high)
	{
		int			middle = low + (high - low + 1) / 2;

		if (zone->spans[middle].from <= at)
			low = middle;
		else
			high = middle - 1;
	}
	zone->last_used = low;
	return zone->spans[low].offset;
}
