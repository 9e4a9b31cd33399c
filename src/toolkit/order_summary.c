/*
 * order_summary.c: the aggregate order_summary(ordered_at, amount [, time_zone]).
 *
 * The state is one OrderSummary (src/math/summary.h). Partial states merge into
 * exactly what one pass gives: sums are integers, days are a set.
 */
#include "toolkit/order_summary.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "toolkit/aggregate.h"
#include "values/amount.h"
#include "values/zone_table.h"


/* Reallocates for a DayAllocator, in the memory context given as its context. */
void *
summary_reallocate(void *context, void *old, size_t size)
{
	return old == NULL ? MemoryContextAlloc(context, size) : repalloc_huge(old, size);
}

/* Rejects orders at no definite time, which cannot be counted by day. */
static void
reject_infinite_time(int64 at)
{
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("order time must be finite, not %s",
							   TIMESTAMP_IS_NOBEGIN(at) ? "-infinity" : "infinity"),
						errhint("Leave such rows out, for example by a view's WHERE.")));
}

static OrderSummary *
new_summary(MemoryContext context)
{
	OrderSummary *summary = MemoryContextAllocZero(context, sizeof(OrderSummary));

	summary_reset(summary);
	return summary;
}

/* Reads the zone named by the fourth argument, UTC where the aggregate has none. */
static Zone *
argument_zone(FunctionCallInfo fcinfo)
{
	if (PG_NARGS() < 4)
		return zone_utc();
	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("time zone must not be null")));
	return zone_named(PG_GETARG_TEXT_PP(3));
}

PG_FUNCTION_INFO_V1(retention_order_summary_transition);

/*
 * order_summary_transition(internal, timestamptz, numeric [, text]) -> internal.
 * A NULL time or amount leaves the state as it was; NaN, infinity and infinite
 * times are errors. Amounts of zero and below change revenue only.
 */
Datum
retention_order_summary_transition(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	DayAllocator allocator = {summary_reallocate, context};
	OrderSummary *summary = PG_ARGISNULL(0) ? NULL : (OrderSummary *) PG_GETARG_POINTER(0);
	Zone	   *zone = argument_zone(fcinfo);
	int64		at;
	Decimal		amount;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		if (summary == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(summary);
	}
	if (summary == NULL)
		summary = new_summary(context);
	at = PG_GETARG_TIMESTAMPTZ(1);
	reject_infinite_time(at);
	amount_read(PG_GETARG_DATUM(2), &amount);
	if (amount.mantissa > 0)
		amount_check(summary_add_order(summary, at, zone_day(zone, at), &amount, &allocator));
	else
		amount_check(summary_add_adjustment(summary, &amount));
	PG_RETURN_POINTER(summary);
}

PG_FUNCTION_INFO_V1(retention_order_summary_combine);

/* order_summary_combine(internal, internal) -> internal: merges the second into the first. */
Datum
retention_order_summary_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	DayAllocator allocator = {summary_reallocate, context};
	OrderSummary *into = PG_ARGISNULL(0) ? NULL : (OrderSummary *) PG_GETARG_POINTER(0);

	if (PG_ARGISNULL(1))
	{
		if (into == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(into);
	}
	if (into == NULL)
		into = new_summary(context);
	amount_check(summary_merge(into, (OrderSummary *) PG_GETARG_POINTER(1), &allocator));
	PG_RETURN_POINTER(into);
}

PG_FUNCTION_INFO_V1(retention_order_summary_serialize);

/*
 * order_summary_serialize(internal) -> bytea: the fixed fields, then the days, in this machine's
 * layout.
 */
Datum
retention_order_summary_serialize(PG_FUNCTION_ARGS)
{
	OrderSummary *summary = (OrderSummary *) PG_GETARG_POINTER(0);

	PG_RETURN_BYTEA_P(write_flat_state(summary, sizeof(OrderSummary), summary_days(summary),
									   summary->day_count * sizeof(int32_t), "order_summary",
									   SERIAL_HINT));
}

PG_FUNCTION_INFO_V1(retention_order_summary_deserialize);

/* order_summary_deserialize(bytea, internal) -> internal: the inverse of serialize. */
Datum
retention_order_summary_deserialize(PG_FUNCTION_ARGS)
{
	OrderSummary *summary = palloc0(sizeof(OrderSummary));
	Size		size;
	const char *days = read_flat_state(PG_GETARG_BYTEA_PP(0), summary, sizeof(OrderSummary), &size,
									   "order_summary");

	check_flat_state(summary->day_count, sizeof(int32_t), size, "order_summary");
	summary->days = NULL;
	summary->day_capacity = SUMMARY_INLINE_DAYS;
	if (summary->day_count > SUMMARY_INLINE_DAYS)
	{
		summary->day_capacity = summary->day_count;
		summary->days = palloc_extended(summary->day_count * sizeof(int32_t), MCXT_ALLOC_HUGE);
	}
	memcpy(summary_days(summary), days, size);
	PG_RETURN_POINTER(summary);
}

/*
 * Draws the facts from a summary. MATH_OVERFLOW, and no facts, where a sum
 * needs more than 38 digits.
 */
MathStatus
summary_finish(OrderSummary *summary, SummaryFacts *facts)
{
	facts->orders = summary->orders;
	facts->first_at = summary->first_at;
	facts->last_at = summary->last_at;
	summary_rhythm(summary, &facts->rhythm);
	return summary_revenue(summary, &facts->revenue) |
		summary_repeat_total(summary, &facts->repeat_total);
}

/*
 * Fills in the columns of the type order_summary; numerics are made in the current memory context.
 */
void
summary_columns(const SummaryFacts *facts, Datum *values, bool *nulls)
{
	int			days = facts->rhythm.purchase_days;

	nulls[COLUMN_ORDERS] = nulls[COLUMN_PURCHASE_DAYS] = nulls[COLUMN_REVENUE] = false;
	nulls[COLUMN_FIRST_ORDER_AT] = nulls[COLUMN_LAST_ORDER_AT] = facts->orders == 0;
	nulls[COLUMN_AVERAGE_ORDER_VALUE] = facts->orders == 0;
	nulls[COLUMN_REPEAT_VALUE] = nulls[COLUMN_AVERAGE_DAYS] = days < 2;
	nulls[COLUMN_DAYS_SD] = days < 3;
	values[COLUMN_ORDERS] = Int64GetDatum(facts->orders);
	values[COLUMN_PURCHASE_DAYS] = Int32GetDatum(days);
	values[COLUMN_FIRST_ORDER_AT] = TimestampTzGetDatum(facts->first_at);
	values[COLUMN_LAST_ORDER_AT] = TimestampTzGetDatum(facts->last_at);
	values[COLUMN_REVENUE] = amount_numeric(&facts->revenue);
	values[COLUMN_REPEAT_VALUE] = days < 2 ? 0 : amount_quotient(&facts->repeat_total, days - 1);
	values[COLUMN_AVERAGE_ORDER_VALUE] =
		facts->orders == 0 ? 0 : amount_quotient(&facts->revenue, facts->orders);
	values[COLUMN_AVERAGE_DAYS] = Float8GetDatum(facts->rhythm.average_gap);
	values[COLUMN_DAYS_SD] = Float8GetDatum(facts->rhythm.gap_sd);
}

/* Finds the result's row type, looked up once per query. */
static TupleDesc
result_type(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		TupleDesc	type;

		if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "order_summary's result is not a row type");
		fcinfo->flinfo->fn_extra = BlessTupleDesc(CreateTupleDescCopy(type));
		MemoryContextSwitchTo(previous);
	}
	return fcinfo->flinfo->fn_extra;
}

PG_FUNCTION_INFO_V1(retention_order_summary_final);

/* order_summary_final(internal) -> order_summary; NULL when no row counted. */
Datum
retention_order_summary_final(PG_FUNCTION_ARGS)
{
	Datum		values[SUMMARY_COLUMNS];
	bool		nulls[SUMMARY_COLUMNS];
	SummaryFacts facts;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	amount_check(summary_finish((OrderSummary *) PG_GETARG_POINTER(0), &facts));
	summary_columns(&facts, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(result_type(fcinfo), values, nulls)));
}
