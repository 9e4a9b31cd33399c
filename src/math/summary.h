/*
 * summary.h: one customer's orders, summarised.
 *
 * The aggregate order_summary and the engine's collector both feed this one
 * accumulator, so they agree to the digit. Orders may come in any order, and
 * two partial summaries merge into what one pass would have given.
 */
#ifndef RETENTION_SUMMARY_H
#define RETENTION_SUMMARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "math/decimal.h"

/*
 * Sets the days within a summary: most customers have fewer purchase days than these, which need no
 * memory of their own. They fill up the 256 bytes that PostgreSQL's allocator would give to a
 * summary with none.
 */
#define SUMMARY_INLINE_DAYS 32

/* Tells how a summary gets memory: like realloc, never NULL. */
typedef struct DayAllocator
{
	void	   *(*reallocate) (void *context, void *old, size_t size);
	void	   *context;
} DayAllocator;

/*
 * Holds a summary under way. What an order touches comes first: with a million customers each cache
 * line counts.
 */
typedef struct OrderSummary
{
	int64_t		orders;			/* orders with a positive amount */
	int64_t		first_at;		/* of those, in microseconds */
	int64_t		last_at;
	Decimal		order_value;	/* of those */
	int32_t		first_day;		/* local days since 2000-01-01 */
	int32_t		latest_day;		/* the last one in days */
	int32_t		day_count;
	int32_t		day_capacity;
	int32_t    *days;			/* NULL while they fit inline */
	bool		days_sorted;	/* days ascend strictly */
	int32_t		inline_days[SUMMARY_INLINE_DAYS];
	Decimal		first_day_value;	/* of the orders on the first day */
	Decimal		adjustments;	/* amounts that are no orders, such as refunds */
} OrderSummary;

/* Holds the columns of SQL's order_summary that need arithmetic, in days. */
typedef struct PurchaseRhythm
{
	int32_t		purchase_days;	/* distinct local days with an order */
	int32_t		last_day;
	double		average_gap;	/* defined from 2 purchase days */
	double		gap_sd;			/* sample standard deviation, from 3 purchase days */
} PurchaseRhythm;

extern void summary_reset(OrderSummary *summary);
extern MathStatus summary_add_order(OrderSummary *summary, int64_t at, int32_t day,
									const Decimal *amount, const DayAllocator *allocator);
extern MathStatus summary_add_adjustment(OrderSummary *summary, const Decimal *amount);
extern MathStatus summary_merge(OrderSummary *into, const OrderSummary *from,
								const DayAllocator *allocator);
extern void summary_rhythm(OrderSummary *summary, PurchaseRhythm *rhythm);
extern MathStatus summary_revenue(const OrderSummary *summary, Decimal *total);
extern MathStatus summary_repeat_total(const OrderSummary *summary, Decimal *total);

/* Returns the distinct or yet unsorted purchase days. */
static inline int32_t *
summary_days(OrderSummary *summary)
{
	return summary->days != NULL ? summary->days : summary->inline_days;
}

#endif
