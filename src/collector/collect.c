/*
 * collect.c: retention._collect, which reads a metric's sources.
 *
 * The result is too large for a value, so it waits as the session's pending
 * collection until retention._collected or retention._load takes it, later in
 * the same transaction.
 */
#include "pg_compat.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/nodeHash.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "collector/collection.h"
#include "base/run_as.h"
#include "values/score_bounds.h"
#include "values/zone_table.h"

enum
{
	ARGUMENT_QUERIES,
	ARGUMENT_RELATIONS,
	ARGUMENT_REFUNDS,
	ARGUMENT_STORED_QUERY,
	ARGUMENT_AS_OF,
	ARGUMENT_HISTORY_START,
	ARGUMENT_TIME_ZONE,
	ARGUMENT_RECENCY_LIMITS,
	ARGUMENT_FREQUENCY_PERCENTILES,
	ARGUMENT_FREQUENCY_BOUNDS,
	ARGUMENT_MONETARY_PERCENTILES,
	ARGUMENT_MONETARY_BOUNDS,
	ARGUMENT_GROUPS
};

#define REPORT_COLUMNS 20

/* The sources, as the arguments give them. */
typedef struct SourceList
{
	int			count;
	Datum	   *queries;
	Datum	   *relations;		/* whose owners' rights the queries are run with */
	Datum	   *refunds;
} SourceList;

static Collection *pending = NULL;

static void
reset_pending(void *argument)
{
	if (pending == argument)
		pending = NULL;
}

/* The collection that the session's latest _collect left, or an error. */
Collection *
pending_collection(void)
{
	if (pending == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nothing has been collected"),
				 errhint("retention.refresh() calls retention._collect() first.")));
	return pending;
}

/* Frees the pending collection, if there is one. */
void
forget_collection(void)
{
	if (pending != NULL)
	{
		if (pending->customers != NULL)
			row_store_destroy(pending->customers);
		MemoryContextDelete(pending->context);
	}
	pending = NULL;
}

/*
 * Makes a collection; it goes with the (sub)transaction at the latest. While
 * it is filled it is not yet the pending one: a source may be a view that
 * calls what collects in turn.
 */
static Collection *
new_collection(void)
{
	MemoryContext context;
	Collection *collection;
	MemoryContextCallback *callback;

	context = AllocSetContextCreate(CurTransactionContext, "retention collection",
									ALLOCSET_DEFAULT_SIZES);
	collection = MemoryContextAllocZero(context, sizeof(Collection));
	callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));
	callback->func = reset_pending;
	callback->arg = collection;
	MemoryContextRegisterResetCallback(context, callback);
	collection->context = context;
	collection->memory.context = context;
	collection->memory.limit = get_hash_memory_limit();
	collection->partition_bits = row_partition_bits(collection->memory.limit, MaxAllocHugeSize);
	collection->orders =
		row_store_create(context, &collection->memory, 1 << collection->partition_bits);
	collection->customers = row_store_create(context, &collection->memory, 1);
	collection->values = row_store_create(context, &collection->memory, 2);
	collection->report.next_order_at = PG_INT64_MAX;
	collection->report.first_order_at = PG_INT64_MAX;
	collection->report.last_order_at = PG_INT64_MIN;
	return collection;
}

static Datum *
read_array(FunctionCallInfo fcinfo, int argument, Oid type, int *count, bool **nulls)
{
	Datum	   *values;
	int16		length;
	bool		by_value;
	char		alignment;
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(argument);

	if (ARR_ELEMTYPE(array) != type)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("argument %d of retention._collect must be an array of %s",
							   argument + 1, format_type_be(type))));
	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	deconstruct_array(array, type, length, by_value, alignment, &values, nulls, count);
	return values;
}

static void
read_sources_list(FunctionCallInfo fcinfo, SourceList *list)
{
	int			counts[3];

	list->queries = read_array(fcinfo, ARGUMENT_QUERIES, TEXTOID, &counts[0], NULL);
	list->relations = read_array(fcinfo, ARGUMENT_RELATIONS, REGCLASSOID, &counts[1], NULL);
	list->refunds = read_array(fcinfo, ARGUMENT_REFUNDS, BOOLOID, &counts[2], NULL);
	list->count = counts[0];
	if (counts[0] != counts[1] || counts[0] != counts[2])
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
						errmsg("queries, relations and refunds must have the same length")));
}

/* A rule whose bounds are given, or else found by percentiles. */
static void
read_rule(FunctionCallInfo fcinfo, int percentiles, int bounds, ScoreRule *rule)
{
	PercentileBound fractions[MAX_SCORE_BOUNDS];

	rule->by_percentile = PG_ARGISNULL(bounds);
	if (!rule->by_percentile)
	{
		rule->count =
			read_bounds(PG_GETARG_DATUM(bounds), "bounds", MAX_SCORE_BOUNDS, rule->bounds);
		return;
	}
	rule->count =
		read_bounds(PG_GETARG_DATUM(percentiles), "percentiles", MAX_SCORE_BOUNDS, fractions);
	for (int i = 0; i < rule->count; i++)
		rule->fractions[i] = fractions[i].value;
}

/* The names of the groups, by cell_index. */
static void
read_groups(FunctionCallInfo fcinfo, Collection *collection)
{
	ScoreRules *rules = &collection->rules;
	int			count;
	bool	   *nulls;
	Datum	   *names = read_array(fcinfo, ARGUMENT_GROUPS, TEXTOID, &count, &nulls);

	if (count != cell_count(rules))
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
						errmsg("%d groups are given for %d combinations of scores", count,
							   cell_count(rules))));
	rules->groups = MemoryContextAllocZero(collection->context, count * sizeof(text *));
	rules->group_sizes = MemoryContextAllocZero(collection->context, count * sizeof(int64));
	for (int i = 0; i < count; i++)
	{
		MemoryContext previous = MemoryContextSwitchTo(collection->context);

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("groups must not hold null")));
		rules->groups[i] = DatumGetTextPCopy(names[i]);
		MemoryContextSwitchTo(previous);
	}
}

static void
read_settings(FunctionCallInfo fcinfo, Collection *collection)
{
	ScoreRules *rules = &collection->rules;

	collection->zone =
		zone_table(text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_TIME_ZONE)), collection->context);
	collection->as_of = PG_GETARG_TIMESTAMPTZ(ARGUMENT_AS_OF);
	collection->history_start = PG_ARGISNULL(ARGUMENT_HISTORY_START)
		? EARLIEST_TIME : Max(EARLIEST_TIME, PG_GETARG_TIMESTAMPTZ(ARGUMENT_HISTORY_START));
	rules->as_of_day = zone_day(collection->zone, collection->as_of);
	rules->recency.count = read_bounds(PG_GETARG_DATUM(ARGUMENT_RECENCY_LIMITS), "recency_limits",
									   MAX_SCORE_BOUNDS, rules->recency.bounds);
	read_rule(fcinfo, ARGUMENT_FREQUENCY_PERCENTILES, ARGUMENT_FREQUENCY_BOUNDS, &rules->frequency);
	read_rule(fcinfo, ARGUMENT_MONETARY_PERCENTILES, ARGUMENT_MONETARY_BOUNDS, &rules->monetary);
	read_groups(fcinfo, collection);
}

/* The names of all sources, each once, for what concerns them together. */
static const char *
relation_names(Collection *collection, const SourceList *sources)
{
	MemoryContext previous = MemoryContextSwitchTo(collection->context);
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < sources->count; i++)
	{
		int			j = 0;

		while (j < i && sources->relations[j] != sources->relations[i])
			j++;
		if (j == i)
			appendStringInfo(&names, "%s%s", i == 0 ? "" : ", ",
							 relation_label(collection->context,
											DatumGetObjectId(sources->relations[i])));
	}
	MemoryContextSwitchTo(previous);
	return names.data;
}

/* Reads everything on one snapshot, so that the sources agree with each other. */
static void
read_rows(FunctionCallInfo fcinfo, Collection *collection, const SourceList *sources)
{
	collection->relations = relation_names(collection, sources);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < sources->count; i++)
		read_source(collection, TextDatumGetCString(sources->queries[i]),
					DatumGetObjectId(sources->relations[i]), DatumGetBool(sources->refunds[i]));
	if (!PG_ARGISNULL(ARGUMENT_STORED_QUERY))
		read_stored_customers(collection,
							  text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_STORED_QUERY)));
	PopActiveSnapshot();
	SPI_finish();
}

/* The number of customers in each group: {"Champions": 12, ...}. */
static Datum
group_sizes(const ScoreRules *rules)
{
	StringInfoData json;
	int			cells = cell_count(rules);

	initStringInfo(&json);
	for (int i = 0; i < cells; i++)
	{
		int64		size = 0;
		bool		named = false;

		for (int j = 0; j < cells; j++)
		{
			if (strcmp(text_to_cstring(rules->groups[i]), text_to_cstring(rules->groups[j])) != 0)
				continue;
			named |= j < i;
			size += rules->group_sizes[j];
		}
		if (named)
			continue;
		appendStringInfoString(&json, json.len == 0 ? "{" : ", ");
		escape_json(&json, text_to_cstring(rules->groups[i]));
		appendStringInfo(&json, ": " INT64_FORMAT, size);
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static Datum
make_report(FunctionCallInfo fcinfo, const Collection *collection)
{
	const CollectionReport *report = &collection->report;
	const ScoreRules *rules = &collection->rules;
	bool		nulls[REPORT_COLUMNS] = {false};
	Datum		values[REPORT_COLUMNS] = {
		Int64GetDatum(report->rows_read),
		Int64GetDatum(report->without_customer),
		Int64GetDatum(report->without_time),
		Int64GetDatum(report->without_amount),
		Int64GetDatum(report->after_as_of),
		Int64GetDatum(report->before_history),
		Int64GetDatum(report->refund_rows),
		Int64GetDatum(report->orders),
		Int64GetDatum(report->customers),
		Int64GetDatum(report->customers_without_orders),
		TimestampTzGetDatum(report->first_order_at),
		TimestampTzGetDatum(report->next_order_at),
		make_bounds(rules->frequency.bounds, rules->frequency.count),
		make_bounds(rules->monetary.bounds, rules->monetary.count),
		group_sizes(rules),
		TimestampTzGetDatum(report->last_order_at),
		Int64GetDatum(report->most_orders),
		unreadable_json(collection),
		Int64GetDatum(report->unmatched_refunds),
		PointerGetDatum(report->unmatched_refund == NULL ? NULL
						: cstring_to_text(report->unmatched_refund))
	};
	TupleDesc	type;

	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "_collect's result is not a row type");
	nulls[10] = report->first_order_at == PG_INT64_MAX;
	nulls[11] = report->next_order_at == PG_INT64_MAX;
	nulls[15] = report->last_order_at == PG_INT64_MIN;
	nulls[19] = report->unmatched_refund == NULL;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls));
}

/* All arguments but these have to be there. */
static void
reject_nulls(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < PG_NARGS(); i++)
	{
		if (PG_ARGISNULL(i) && i != ARGUMENT_STORED_QUERY && i != ARGUMENT_HISTORY_START &&
			i != ARGUMENT_FREQUENCY_BOUNDS && i != ARGUMENT_MONETARY_BOUNDS)
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("argument %d of retention._collect must not be null", i + 1)));
	}
}

PG_FUNCTION_INFO_V1(retention_collect);

/*
 * _collect(queries, relations, refunds, stored_query, as_of, history_start,
 * time_zone, recency_limits, frequency_percentiles, frequency_bounds,
 * monetary_percentiles, monetary_bounds, groups) -> report: reads the sources
 * and, where that is given, the stored customers; finds the bounds that are
 * not given; scores everybody. Memory: work_mem * hash_mem_multiplier, beyond
 * which rows go to temporary files.
 */
Datum
retention_collect(PG_FUNCTION_ARGS)
{
	Collection *collection;
	SourceList	sources;

	reject_nulls(fcinfo);
	collection = new_collection();
	read_settings(fcinfo, collection);
	read_sources_list(fcinfo, &sources);
	read_rows(fcinfo, collection, &sources);
	build_customers(collection);
	set_bounds(collection);
	forget_collection();
	pending = collection;
	return make_report(fcinfo, collection);
}
