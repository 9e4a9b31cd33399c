/* order_summary.h: a summary as the columns of SQL's order_summary type. */
#ifndef RETENTION_ORDER_SUMMARY_H
#define RETENTION_ORDER_SUMMARY_H

#include "pg_compat.h"

#include "math/summary.h"

/* Names the columns of the type retention.order_summary, in its order. */
typedef enum SummaryColumn
{
	COLUMN_ORDERS,
	COLUMN_PURCHASE_DAYS,
	COLUMN_FIRST_ORDER_AT,
	COLUMN_LAST_ORDER_AT,
	COLUMN_REVENUE,
	COLUMN_REPEAT_VALUE,
	COLUMN_AVERAGE_ORDER_VALUE,
	COLUMN_AVERAGE_DAYS,
	COLUMN_DAYS_SD,
	SUMMARY_COLUMNS
} SummaryColumn;

/* Holds what the columns are made of: a finished summary. */
typedef struct SummaryFacts
{
	int64		orders;
	int64		first_at;
	int64		last_at;
	Decimal		revenue;
	Decimal		repeat_total;
	PurchaseRhythm rhythm;
} SummaryFacts;

extern MathStatus summary_finish(OrderSummary *summary, SummaryFacts *facts);
extern void summary_columns(const SummaryFacts *facts, Datum *values, bool *nulls);
extern void *summary_reallocate(void *context, void *old, size_t size);

#endif
