/*
 * collect.c: retention._collect, which reads a metric's sources.
 *
 * The result is too large for a value, so it waits as the session's pending
 * collection until retention._collected or retention._load takes it, later in
 * the same transaction.
 */
#include "pg_compat.h"

#include "access/htup_details.h"
#include "executor/nodeHash.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "collector/collection.h"
#include "base/run_as.h"
#include "values/score_bounds.h"
#include "values/zone_table.h"

#define REPORT_COLUMNS 20

static Collection *pending = NULL;

static void
reset_pending(void *argument)
{
	if (pending == argument)
		pending = NULL;
}

/* Returns the collection that the session's latest _collect left, or an error. */
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

/* Tells the collection what is asked of it. */
static void
set_settings(Collection *collection, const CollectionRequest *request)
{
	collection->zone = zone_table(request->time_zone, collection->context);
	collection->as_of = request->as_of;
	collection->history_start = request->history_start;
	collection->rules.as_of_day = zone_day(collection->zone, collection->as_of);
	read_rules(request->rules, &collection->rules, collection->context);
}

/* Lists the names of all sources, each once, for what concerns them together. */
static const char *
relation_names(Collection *collection, const CollectionRequest *request)
{
	MemoryContext previous = MemoryContextSwitchTo(collection->context);
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < request->source_count; i++)
	{
		Oid			relation = request->sources[i].relation;
		int			j = 0;

		while (j < i && request->sources[j].relation != relation)
			j++;
		if (j == i)
			appendStringInfo(&names, "%s%s", i == 0 ? "" : ", ",
							 relation_label(collection->context, relation));
	}
	MemoryContextSwitchTo(previous);
	return names.data;
}

/* Reads everything on one snapshot, so that the sources agree with each other. */
static void
read_rows(Collection *collection, const CollectionRequest *request)
{
	collection->relations = relation_names(collection, request);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < request->source_count; i++)
		read_source(collection, request->sources[i].query, request->sources[i].relation,
					request->sources[i].is_refund);
	if (request->stored_query != NULL)
		read_stored_customers(collection, request->stored_query);
	PopActiveSnapshot();
	SPI_finish();
}

/* Counts the customers in each group: {"Champions": 12, ...}. */
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

/*
 * Reads the sources and, where that is asked for, the stored customers; finds the bounds that are
 * not given; scores everybody.
 */
static Datum
collect(FunctionCallInfo fcinfo, const CollectionRequest *request)
{
	Collection *collection = new_collection();

	set_settings(collection, request);
	read_rows(collection, request);
	build_customers(collection);
	set_bounds(collection);
	forget_collection();
	pending = collection;
	return make_report(fcinfo, collection);
}

PG_FUNCTION_INFO_V1(retention_collect_sources);

/*
 * _collect(sources, stored_query, as_of, history_start, time_zone, rules) -> report. Memory:
 * work_mem * hash_mem_multiplier, beyond which rows go to temporary files.
 */
Datum
retention_collect_sources(PG_FUNCTION_ARGS)
{
	CollectionRequest request;

	read_request(fcinfo, &request);
	return collect(fcinfo, &request);
}

PG_FUNCTION_INFO_V1(retention_collect);

/* Collects as _collect of 0.1.0 asks. Kept for 0.1.0, whose functions name it. */
Datum
retention_collect(PG_FUNCTION_ARGS)
{
	CollectionRequest request;

	read_old_request(fcinfo, &request);
	return collect(fcinfo, &request);
}
