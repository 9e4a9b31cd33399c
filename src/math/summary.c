/* summary.c: one customer's orders, summarised; see summary.h. */
#include "math/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Empties a summary: zeroed memory, or a used one, whose room for days is kept. */
void
summary_reset(OrderSummary *summary)
{
	int32_t    *days = summary->days;
	int32_t		capacity = summary->day_capacity;

	memset(summary, 0, sizeof(*summary));
	summary->days_sorted = true;
	summary->days = days;
	summary->day_capacity = days != NULL ? capacity : SUMMARY_INLINE_DAYS;
}

static int
compare_days(const void *a, const void *b)
{
	int32_t		x = *(const int32_t *) a;
	int32_t		y = *(const int32_t *) b;

	return (x > y) - (x < y);
}

/*
 * Sorts the days. Customers with few purchase days are the rule, and insertion sort is best for
 * them.
 */
static void
sort_days(int32_t *days, int32_t count)
{
	if (count > 32)
	{
		qsort(days, count, sizeof(*days), compare_days);
		return;
	}
	for (int32_t i = 1; i < count; i++)
	{
		int32_t		day = days[i];
		int32_t		j = i;

		for (; j > 0 && days[j - 1] > day; j--)
			days[j] = days[j - 1];
		days[j] = day;
	}
}

/* Sorts the days and drops the repeated ones. */
static void
compact_days(OrderSummary *summary)
{
	int32_t    *days = summary_days(summary);
	int32_t		kept = 0;

	if (summary->days_sorted)
		return;
	sort_days(days, summary->day_count);
	for (int32_t i = 0; i < summary->day_count; i++)
	{
		if (kept == 0 || days[kept - 1] != days[i])
			days[kept++] = days[i];
	}
	summary->day_count = kept;
	summary->latest_day = days[kept - 1];
	summary->days_sorted = true;
}

/*
 * Makes room for one more day: first by dropping repeated days, so that memory
 * follows the distinct days, and by doubling where that frees less than half.
 */
static void
make_room(OrderSummary *summary, const DayAllocator *allocator)
{
	int32_t    *days;

	compact_days(summary);
	if (summary->day_count <= summary->day_capacity / 2)
		return;
	summary->day_capacity *= 2;
	days = allocator->reallocate(allocator->context, summary->days,
								 summary->day_capacity * sizeof(int32_t));
	if (summary->days == NULL)
		memcpy(days, summary->inline_days, sizeof(summary->inline_days));
	summary->days = days;
}

/* Adds a day. The latest one is kept apart: the usual next day needs no look at the others. */
static void
add_day(OrderSummary *summary, int32_t day, const DayAllocator *allocator)
{
	if (summary->day_count > 0 && day == summary->latest_day)
		return;
	if (summary->day_count == summary->day_capacity)
		make_room(summary, allocator);
	if (summary->day_count > 0 && day <= summary->latest_day)
		summary->days_sorted = false;
	summary_days(summary)[summary->day_count++] = day;
	summary->latest_day = day;
}

/* Adds the value of orders on a day to the first day's, should it be the first. */
static MathStatus
add_first_day_value(OrderSummary *summary, int32_t day, const Decimal *amount)
{
	if (summary->orders == 0 || day < summary->first_day)
	{
		summary->first_day = day;
		summary->first_day_value = *amount;
		return MATH_OK;
	}
	return day == summary->first_day ? decimal_add(&summary->first_day_value, amount) : MATH_OK;
}

/*
 * Counts an order: its instant, its local day, and its net amount, which is
 * above zero.
 */
MathStatus
summary_add_order(OrderSummary *summary, int64_t at, int32_t day,
				  const Decimal *amount, const DayAllocator *allocator)
{
	if (add_first_day_value(summary, day, amount) != MATH_OK ||
		decimal_add(&summary->order_value, amount) != MATH_OK)
		return MATH_OVERFLOW;
	if (summary->orders == 0 || at < summary->first_at)
		summary->first_at = at;
	if (summary->orders == 0 || at > summary->last_at)
		summary->last_at = at;
	summary->orders++;
	add_day(summary, day, allocator);
	return MATH_OK;
}

/* Adds to revenue alone: zero and negative amounts are no orders. */
MathStatus
summary_add_adjustment(OrderSummary *summary, const Decimal *amount)
{
	return decimal_add(&summary->adjustments, amount);
}

/* Adds another summary of the same customer, which stays untouched. */
MathStatus
summary_merge(OrderSummary *into, const OrderSummary *from, const DayAllocator *allocator)
{
	const int32_t *days = from->days != NULL ? from->days : from->inline_days;

	if (decimal_add(&into->adjustments, &from->adjustments) != MATH_OK)
		return MATH_OVERFLOW;
	if (from->orders == 0)
		return MATH_OK;
	if (add_first_day_value(into, from->first_day, &from->first_day_value) != MATH_OK ||
		decimal_add(&into->order_value, &from->order_value) != MATH_OK)
		return MATH_OVERFLOW;
	if (into->orders == 0 || from->first_at < into->first_at)
		into->first_at = from->first_at;
	if (into->orders == 0 || from->last_at > into->last_at)
		into->last_at = from->last_at;
	into->orders += from->orders;
	for (int32_t i = 0; i < from->day_count; i++)
		add_day(into, days[i], allocator);
	return MATH_OK;
}

/*
 * Computes the number of purchase days, and the mean and the sample standard deviation of the days
 * between them. The sums are integers, so the result does not depend on the order of the input:
 * sd^2 = (n sum g^2 - (sum g)^2) / (n (n-1)).
 */
void
summary_rhythm(OrderSummary *summary, PurchaseRhythm *rhythm)
{
	const int32_t *days;
	int128_type squares = 0;
	int64_t		span;
	int64_t		gaps;

	compact_days(summary);
	days = summary_days(summary);
	memset(rhythm, 0, sizeof(*rhythm));
	rhythm->purchase_days = summary->day_count;
	if (summary->day_count == 0)
		return;
	rhythm->last_day = days[summary->day_count - 1];
	gaps = summary->day_count - 1;
	span = (int64_t) rhythm->last_day - days[0];
	for (int64_t i = 0; i < gaps; i++)
	{
		int64_t		gap = (int64_t) days[i + 1] - days[i];

		squares += (int128_type) gap * gap;
	}
	if (gaps > 0)
		rhythm->average_gap = (double) span / (double) gaps;
	if (gaps > 1)
		rhythm->gap_sd = sqrt((double) (gaps * squares - (int128_type) span * span) /
							  ((double) gaps * (double) (gaps - 1)));
}

/* Computes the sum of all amounts, refunds among them; MATH_OVERFLOW beyond 38 digits. */
MathStatus
summary_revenue(const OrderSummary *summary, Decimal *total)
{
	*total = summary->order_value;
	return decimal_add(total, &summary->adjustments);
}

/*
 * Computes the value of the orders after the first purchase day: repeat_value times the repeat
 * days. MATH_OVERFLOW beyond 38 digits.
 */
MathStatus
summary_repeat_total(const OrderSummary *summary, Decimal *total)
{
	Decimal		first = summary->first_day_value;

	*total = summary->order_value;
	first.mantissa = -first.mantissa;
	return decimal_add(total, &first);
}
