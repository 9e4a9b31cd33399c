/* summary.c: src/math/summary against plain_summary.h. */
#include "math/summary.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "plain_summary.h"

#define MOST_PARTS 5

static void *
reallocate(void *context, void *old, size_t size)
{
	void	   *result = realloc(old, size);

	(*(int64_t *) context)++;
	CHECK(result != NULL);
	return result;
}

static int64_t allocations;
static const DayAllocator allocator = {reallocate, &allocations};

/* Cents are written with 2 to 4 decimals or as whole units, in scales that differ. */
static void
add_order(OrderSummary *summary, const Order *order)
{
	Decimal		amount = {(int128_type) order->cents * 100, 4, 2};

	if (order->cents % 100 == 0 && order->at % 2 == 0)
		amount = (Decimal) {order->cents / 100, 0, 0};
	else if (order->at % 7 == 0)
		amount = (Decimal) {(int128_type) order->cents * 1000000, 8, 2};
	if (order->cents > 0)
		CHECK(summary_add_order(summary, order->at, order->day, &amount, &allocator) == MATH_OK);
	else
		CHECK(summary_add_adjustment(summary, &amount) == MATH_OK);
}

static void
check_cents(const Decimal *decimal, int64_t cents)
{
	int128_type expected = cents;

	for (int i = 0; i < decimal->scale; i++)
		expected *= 10;
	CHECK(decimal->mantissa * 100 == expected);
}

static int
is_close(double actual, long double expected)
{
	return fabsl(actual - expected) <= 1e-12L * fabsl(expected);
}

static void
check_summary(OrderSummary *summary, const PlainSummary *plain)
{
	Decimal		revenue;
	Decimal		repeat_total;
	PurchaseRhythm rhythm;

	summary_rhythm(summary, &rhythm);
	CHECK(summary_revenue(summary, &revenue) == MATH_OK);
	CHECK(summary_repeat_total(summary, &repeat_total) == MATH_OK);
	check_cents(&revenue, plain->revenue);
	check_cents(&repeat_total, plain->repeat_total);
	CHECK(summary->orders == plain->orders && rhythm.purchase_days == plain->purchase_days);
	if (plain->orders > 0)
	{
		CHECK(summary->first_at == plain->first_at && summary->last_at == plain->last_at);
		CHECK(summary->first_day == plain->first_day && rhythm.last_day == plain->last_day);
	}
	CHECK(is_close(rhythm.average_gap, plain->average_gap));
	CHECK(is_close(rhythm.gap_sd, plain->gap_sd));
}

/* Orders of up to `days` days, many on the same; one in `adjustments` is a refund. */
static void
random_orders(Order *orders, int count, int64_t days, int adjustments)
{
	for (int i = 0; i < count; i++)
	{
		orders[i].day = (int32_t) check_between(-days / 2, days - days / 2 - 1);
		orders[i].at =
			orders[i].day * INT64_C(86400000000) + check_between(0, 3) * INT64_C(21600000001);
		orders[i].cents = check_random() % adjustments == 0 ? -check_between(0, 5000)
															: check_between(1, 100000000);
		orders[i].part = (int) check_between(0, MOST_PARTS - 1);
	}
}

/*
 * Each part into a summary of its own, some of them empty, and those into the first, which may be
 * empty too.
 */
static void
check_merge(const Order *orders, int count, const PlainSummary *plain)
{
	OrderSummary parts[MOST_PARTS] = {{0}};
	int			used = (int) check_between(1, MOST_PARTS);

	for (int i = 0; i < MOST_PARTS; i++)
		summary_reset(&parts[i]);
	for (int i = 0; i < count; i++)
		add_order(&parts[orders[i].part % used], &orders[i]);
	for (int i = MOST_PARTS - 1; i > 0; i--)
	{
		OrderSummary before = parts[i];

		CHECK(summary_merge(&parts[0], &parts[i], &allocator) == MATH_OK);
		CHECK(memcmp(&before, &parts[i], sizeof(before)) == 0);
	}
	check_summary(&parts[0], plain);
	for (int i = 0; i < MOST_PARTS; i++)
		free(parts[i].days);
}

/* The room of the summary before is used again; a result in between must change nothing. */
static void
check_history(OrderSummary *reused, int count, int64_t days, int adjustments)
{
	Order		orders[MOST_ORDERS];
	PurchaseRhythm rhythm;
	PlainSummary plain;

	random_orders(orders, count, days, adjustments);
	plain = plain_summary(orders, count);
	summary_reset(reused);
	for (int i = 0; i < count; i++)
	{
		add_order(reused, &orders[i]);
		if (i == count / 2)
			summary_rhythm(reused, &rhythm);
	}
	check_summary(reused, &plain);
	check_merge(orders, count, &plain);
}

/*
 * Memory follows the distinct days: with few of them, room is made a few times however many orders
 * come.
 */
static void
check_memory(void)
{
	OrderSummary summary = {0};
	const Decimal one = {1, 0, 0};
	const int	distinct = 3 * SUMMARY_INLINE_DAYS;

	summary_reset(&summary);
	allocations = 0;
	for (int64_t i = 0; i < 200000; i++)
		CHECK(summary_add_order(&summary, i, (int32_t) (i * 7 % distinct), &one, &allocator) ==
			  MATH_OK);
	CHECK(allocations <= 4 && summary.day_capacity <= 4 * distinct);
	free(summary.days);
}

static void
check_overflow(void)
{
	OrderSummary a = {0};
	OrderSummary b = {0};
	const Decimal large = {(int128_type) 1 << 126, 0, 0};

	summary_reset(&a);
	summary_reset(&b);
	CHECK(summary_add_order(&a, 1, 1, &large, &allocator) == MATH_OK);
	CHECK(summary_add_order(&b, 1, 2, &large, &allocator) == MATH_OK);
	CHECK(summary_merge(&a, &b, &allocator) == MATH_OVERFLOW);
	CHECK(summary_add_order(&b, 1, 3, &large, &allocator) == MATH_OVERFLOW);
}

int
main(void)
{
	OrderSummary reused = {0};

	for (int count = 0; count <= 60; count++)
	{
		for (int i = 0; i < 20; i++)
			check_history(&reused, count, i == 0 ? 100000000 : check_between(1, 2 * count + 2),
						  (int) check_between(2, 9));
	}
	check_history(&reused, 300, 40, 20);
	check_history(&reused, 2000, 2000000, 1000);
	check_history(&reused, MOST_ORDERS, 2000, 20);
	check_history(&reused, 50, 10, 1);
	check_memory();
	check_overflow();
	free(reused.days);
	return 0;
}
