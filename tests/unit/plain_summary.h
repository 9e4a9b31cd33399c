/*
 * plain_summary.h: a customer's orders summarised by comparing every order with every other, for
 * summary.c.
 *
 * It keeps no state and sorts nothing; it works in whole cents and long doubles.
 */
#ifndef RETENTION_PLAIN_SUMMARY_H
#define RETENTION_PLAIN_SUMMARY_H

#include <math.h>
#include <stdint.h>

#define MOST_ORDERS 3000

typedef struct Order
{
	int64_t		at;
	int32_t		day;
	int64_t		cents;			/* not above zero: an adjustment */
	int			part;
} Order;

typedef struct PlainSummary
{
	int64_t		orders;
	int64_t		purchase_days;
	int64_t		first_at;
	int64_t		last_at;
	int64_t		first_day;
	int64_t		last_day;
	int64_t		revenue;
	int64_t		repeat_total;
	long double average_gap;
	long double gap_sd;
} PlainSummary;

static inline int
is_first_of_its_day(const Order *orders, int at)
{
	for (int i = 0; i < at; i++)
	{
		if (orders[i].cents > 0 && orders[i].day == orders[at].day)
			return 0;
	}
	return orders[at].cents > 0;
}

/* Days from this order's day to the next with an order, 0 when there is none. */
static inline int64_t
gap_after(const Order *orders, int count, int at)
{
	int64_t		nearest = 0;

	for (int i = 0; i < count; i++)
	{
		int64_t		gap = (int64_t) orders[i].day - orders[at].day;

		if (orders[i].cents > 0 && gap > 0 && (nearest == 0 || gap < nearest))
			nearest = gap;
	}
	return nearest;
}

static inline void
add_extremes(PlainSummary *plain, const Order *order)
{
	int			first = plain->orders++ == 0;

	if (first || order->at < plain->first_at)
		plain->first_at = order->at;
	if (first || order->at > plain->last_at)
		plain->last_at = order->at;
	if (first || order->day < plain->first_day)
		plain->first_day = order->day;
	if (first || order->day > plain->last_day)
		plain->last_day = order->day;
}

/* The mean first, then the squared distances from it. */
static inline void
add_gaps(PlainSummary *plain, const Order *orders, int count)
{
	int64_t		gaps[MOST_ORDERS];
	int64_t		n = 0;
	long double sum = 0;
	long double squares = 0;

	for (int i = 0; i < count; i++)
	{
		if (!is_first_of_its_day(orders, i))
			continue;
		plain->purchase_days++;
		gaps[n] = gap_after(orders, count, i);
		sum += gaps[n];
		n += gaps[n] > 0;
	}
	plain->average_gap = n > 0 ? sum / n : 0;
	for (int64_t i = 0; i < n; i++)
		squares += (gaps[i] - plain->average_gap) * (gaps[i] - plain->average_gap);
	plain->gap_sd = n > 1 ? sqrtl(squares / (n - 1)) : 0;
}

static inline PlainSummary
plain_summary(const Order *orders, int count)
{
	PlainSummary plain = {0};

	for (int i = 0; i < count; i++)
	{
		plain.revenue += orders[i].cents;
		if (orders[i].cents > 0)
			add_extremes(&plain, &orders[i]);
	}
	for (int i = 0; i < count; i++)
		plain.repeat_total +=
			orders[i].cents > 0 && orders[i].day > plain.first_day ? orders[i].cents : 0;
	add_gaps(&plain, orders, count);
	return plain;
}

#endif
