/*
 * summary_model.h: a customer's orders summarised by comparing every order with every other, for
 * summary.c.
 *
 * The model keeps no state and sorts nothing; it works in whole cents and long doubles.
 */
#ifndef RETENTION_SUMMARY_MODEL_H
#define RETENTION_SUMMARY_MODEL_H

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

typedef struct Model
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
} Model;

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
model_extremes(Model *model, const Order *order)
{
	int			first = model->orders++ == 0;

	if (first || order->at < model->first_at)
		model->first_at = order->at;
	if (first || order->at > model->last_at)
		model->last_at = order->at;
	if (first || order->day < model->first_day)
		model->first_day = order->day;
	if (first || order->day > model->last_day)
		model->last_day = order->day;
}

/* The mean first, then the squared distances from it. */
static inline void
model_gaps(Model *model, const Order *orders, int count)
{
	int64_t		gaps[MOST_ORDERS];
	int64_t		n = 0;
	long double sum = 0;
	long double squares = 0;

	for (int i = 0; i < count; i++)
	{
		if (!is_first_of_its_day(orders, i))
			continue;
		model->purchase_days++;
		gaps[n] = gap_after(orders, count, i);
		sum += gaps[n];
		n += gaps[n] > 0;
	}
	model->average_gap = n > 0 ? sum / n : 0;
	for (int64_t i = 0; i < n; i++)
		squares += (gaps[i] - model->average_gap) * (gaps[i] - model->average_gap);
	model->gap_sd = n > 1 ? sqrtl(squares / (n - 1)) : 0;
}

static inline Model
model_of(const Order *orders, int count)
{
	Model		model = {0};

	for (int i = 0; i < count; i++)
	{
		model.revenue += orders[i].cents;
		if (orders[i].cents > 0)
			model_extremes(&model, &orders[i]);
	}
	for (int i = 0; i < count; i++)
		model.repeat_total +=
			orders[i].cents > 0 && orders[i].day > model.first_day ? orders[i].cents : 0;
	model_gaps(&model, orders, count);
	return model;
}

#endif
