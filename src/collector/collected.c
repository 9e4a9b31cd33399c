/*
 * collected.c: hands out what _collect has read: as the rows that differ from
 * the stored customers, or straight into an empty table.
 */
#include "pg_compat.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "collector/collection.h"
#include "base/run_as.h"
#include "values/score_bounds.h"

/* Names the columns of _collected's rows, which begin with the key and the summary. */
enum
{
	COLUMN_KEY,
	COLUMN_SUMMARY,
	COLUMN_R = COLUMN_SUMMARY + SUMMARY_COLUMNS,
	COLUMN_F,
	COLUMN_M,
	COLUMN_GROUP,
	COLUMN_PREVIOUS_R,
	COLUMN_PREVIOUS_F,
	COLUMN_PREVIOUS_M,
	COLUMN_PREVIOUS_GROUP,
	COLUMN_CAUSE,
	COLLECTED_COLUMNS
};

/* Names the columns of retention.customer: the metric, then those up to the group, then these. */
enum
{
	CUSTOMER_METRIC,
	CUSTOMER_KEY,
	CUSTOMER_PREVIOUS_GROUP = CUSTOMER_KEY + COLUMN_GROUP + 1,
	CUSTOMER_CHANGED_AT,
	CUSTOMER_KNOWN_AT,
	CUSTOMER_COLUMNS
};

/* Sends rows to the table in batches. */
#define LOAD_BATCH 500

/* Holds what a stored customer's scores were made with. */
typedef struct PreviousRules
{
	ScoreRules	rules;
	bool		settings_changed;
	int64		orders_until;	/* up to then other orders counted, by other settings;
								 * PG_INT64_MIN: the same ones */
} PreviousRules;

/* Describes a bulk load under way. */
typedef struct Loader
{
	Relation	relation;
	Datum		metric;
	Datum		changed_at;
	BulkInsertState bulk;
	MemoryContext batch_context;
	TupleTableSlot *slots[LOAD_BATCH];
	int			count;
	int64		total;
} Loader;

/* Fills in the key, the summary, the scores and the group: what both kinds of rows begin with. */
static void
fill_columns(CustomerRow *row, const Scores *scores, Datum *values, bool *nulls)
{
	bool		gone = row->facts.orders == 0;

	values[COLUMN_KEY] = PointerGetDatum(cstring_to_text_with_len(row->text, row->key_length));
	nulls[COLUMN_KEY] = false;
	summary_columns(&row->facts, values + COLUMN_SUMMARY, nulls + COLUMN_SUMMARY);
	values[COLUMN_R] = Int16GetDatum(scores->r);
	values[COLUMN_F] = Int16GetDatum(scores->f);
	values[COLUMN_M] = Int16GetDatum(scores->m);
	values[COLUMN_GROUP] = PointerGetDatum(scores->group);
	nulls[COLUMN_R] = nulls[COLUMN_F] = nulls[COLUMN_M] = nulls[COLUMN_GROUP] = gone;
}

static bool
is_stored_group(const CustomerRow *row, const text *group)
{
	return VARSIZE_ANY_EXHDR(group) == row->group_length &&
		memcmp(VARDATA_ANY(group), row->text + row->key_length, row->group_length) == 0;
}

/*
 * Tells whether the customer's orders can differ by anything but which ones count: where that has
 * changed, by a later one.
 */
static bool
has_news(const CustomerRow *row, const PreviousRules *previous)
{
	return previous->orders_until == PG_INT64_MIN ||
		(row->facts.orders > 0 && row->facts.last_at > previous->orders_until);
}

/*
 * Tells why a customer is no longer what is stored. The thresholds are the cause of a move where
 * the customer as of now would still be in the stored group by the previous ones.
 */
static const char *
cause_of(const CustomerRow *row, const Scores *scores, const PreviousRules *previous)
{
	bool		same_orders = row->change == FACTS_SAME || row->change == FACTS_DAYS;

	if (previous->settings_changed &&
		((row->is_stored && same_orders) || !has_news(row, previous)))
		return "settings";
	if (!row->is_stored)
		return "order";
	if (row->facts.orders > 0 && !previous->settings_changed &&
		!is_stored_group(row, scores->group) &&
		is_stored_group(row, score_customer(&previous->rules, &row->facts).group))
		return "threshold";
	if (same_orders || row->change == FACTS_EXPIRED)
		return "time";
	return row->change == FACTS_ORDER ? "order" : "refund";
}

static bool
differs(const CustomerRow *row, const Scores *scores)
{
	if (!row->is_stored || row->change != FACTS_SAME || row->facts.orders == 0)
		return true;
	return scores->r != row->r || scores->f != row->f || scores->m != row->m ||
		!is_stored_group(row, scores->group);
}

static void
put_change(ReturnSetInfo *result, CustomerRow *row, const Scores *scores,
		   const PreviousRules *previous)
{
	Datum		values[COLLECTED_COLUMNS];
	bool		nulls[COLLECTED_COLUMNS] = {false};

	fill_columns(row, scores, values, nulls);
	values[COLUMN_PREVIOUS_R] = Int16GetDatum(row->r);
	values[COLUMN_PREVIOUS_F] = Int16GetDatum(row->f);
	values[COLUMN_PREVIOUS_M] = Int16GetDatum(row->m);
	values[COLUMN_PREVIOUS_GROUP] =
		PointerGetDatum(cstring_to_text_with_len(row->text + row->key_length, row->group_length));
	nulls[COLUMN_PREVIOUS_R] = nulls[COLUMN_PREVIOUS_F] = nulls[COLUMN_PREVIOUS_M] =
		!row->is_stored;
	nulls[COLUMN_PREVIOUS_GROUP] = !row->is_stored;
	values[COLUMN_CAUSE] = CStringGetTextDatum(cause_of(row, scores, previous));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Replaces bounds by those of the previous refresh, where there are as many. */
static void
take_previous_bounds(FunctionCallInfo fcinfo, int argument, ScoreRule *rule)
{
	PercentileBound bounds[MAX_SCORE_BOUNDS];

	if (!PG_ARGISNULL(argument) && read_bounds(PG_GETARG_DATUM(argument), "previous bounds",
											   MAX_SCORE_BOUNDS, bounds) == rule->count)
		memcpy(rule->bounds, bounds, sizeof(bounds));
}

static Scores
scores_of(const Collection *collection, const CustomerRow *row)
{
	Scores		none = {0};

	return row->facts.orders > 0 ? score_customer(&collection->rules, &row->facts) : none;
}

PG_FUNCTION_INFO_V1(retention_collected);

/*
 * _collected(previous_frequency_bounds, previous_monetary_bounds,
 * settings_changed, orders_until) -> the customers that differ from the stored
 * ones, with both scores and the cause; orders is 0 where a stored customer has
 * none any more. Where other settings decided on which orders count, orders_until
 * is the time of the refresh that went by them: later orders are news. Takes the
 * pending collection.
 */
Datum
retention_collected(PG_FUNCTION_ARGS)
{
	Collection *collection = pending_collection();
	PreviousRules previous = {
		.rules = collection->rules,
		.settings_changed = PG_GETARG_BOOL(2),
		.orders_until = PG_ARGISNULL(3) ? PG_INT64_MIN : PG_GETARG_TIMESTAMPTZ(3)
	};
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "retention row", ALLOCSET_SMALL_SIZES);
	RowCursor	cursor;
	CustomerRow *row;

	take_previous_bounds(fcinfo, 0, &previous.rules.frequency);
	take_previous_bounds(fcinfo, 1, &previous.rules.monetary);
	InitMaterializedSRF(fcinfo, 0);
	row_cursor_open(&cursor, collection->customers, 0);
	while ((row = row_cursor_next(&cursor)) != NULL)
	{
		Scores		scores = scores_of(collection, row);
		MemoryContext caller;

		if (!differs(row, &scores))
			continue;
		caller = MemoryContextSwitchTo(row_context);
		put_change((ReturnSetInfo *) fcinfo->resultinfo, row, &scores, &previous);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(row_context);
	}
	forget_collection();
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(retention_collected_loss);

/*
 * _collected_loss() -> (customers, lost): of the stored customers that the
 * pending collection was compared with, how many there are, and how many have
 * no order any more. Those whose orders left the history window are not lost.
 */
Datum
retention_collected_loss(PG_FUNCTION_ARGS)
{
	Collection *collection = pending_collection();
	Datum		values[2] = {
		Int64GetDatum(collection->stored_customers),
		Int64GetDatum(collection->lost_customers)
	};
	bool		nulls[2] = {false, false};
	TupleDesc	type;

	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "_collected_loss's result is not a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls));
}

static void
flush_batch(Loader *loader)
{
	CHECK_FOR_INTERRUPTS();
	if (loader->count > 0)
		table_multi_insert(loader->relation, loader->slots, loader->count,
						   GetCurrentCommandId(true), 0, loader->bulk);
	for (int i = 0; i < loader->count; i++)
		ExecClearTuple(loader->slots[i]);
	loader->total += loader->count;
	loader->count = 0;
	MemoryContextReset(loader->batch_context);
}

static void
load_customer(Loader *loader, CustomerRow *row, const Scores *scores)
{
	TupleTableSlot *slot;
	MemoryContext caller;

	if (loader->count == LOAD_BATCH)
		flush_batch(loader);
	if (loader->slots[loader->count] == NULL)
		loader->slots[loader->count] = table_slot_create(loader->relation, NULL);
	slot = loader->slots[loader->count++];
	caller = MemoryContextSwitchTo(loader->batch_context);
	slot->tts_values[CUSTOMER_METRIC] = loader->metric;
	slot->tts_isnull[CUSTOMER_METRIC] = false;
	fill_columns(row, scores, slot->tts_values + CUSTOMER_KEY, slot->tts_isnull + CUSTOMER_KEY);
	slot->tts_isnull[CUSTOMER_PREVIOUS_GROUP] = true;
	slot->tts_values[CUSTOMER_CHANGED_AT] = loader->changed_at;
	slot->tts_isnull[CUSTOMER_CHANGED_AT] = false;
	slot->tts_isnull[CUSTOMER_KNOWN_AT] = true;
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(caller);
}

static void
load_all(Loader *loader, Collection *collection)
{
	RowCursor	cursor;
	CustomerRow *row;

	loader->bulk = GetBulkInsertState();
	loader->batch_context =
		AllocSetContextCreate(CurrentMemoryContext, "retention batch", ALLOCSET_DEFAULT_SIZES);
	row_cursor_open(&cursor, collection->customers, 0);
	while ((row = row_cursor_next(&cursor)) != NULL)
	{
		Scores		scores = scores_of(collection, row);

		if (row->facts.orders > 0)
			load_customer(loader, row, &scores);
	}
	flush_batch(loader);
	for (int i = 0; i < LOAD_BATCH && loader->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(loader->slots[i]);
	FreeBulkInsertState(loader->bulk);
	table_finish_bulk_insert(loader->relation, 0);
}

/* Rejects what is no table with the columns of retention.customer. */
static void
check_customer_table(Relation relation)
{
	static const Oid types[CUSTOMER_COLUMNS] = {
		TEXTOID,	TEXTOID,	INT8OID,	INT4OID,   TIMESTAMPTZOID, TIMESTAMPTZOID,
		NUMERICOID, NUMERICOID, NUMERICOID, FLOAT8OID, FLOAT8OID,	   INT2OID,
		INT2OID,	INT2OID,	TEXTOID,	TEXTOID,   TIMESTAMPTZOID, TIMESTAMPTZOID};

	check_table(relation, types, CUSTOMER_COLUMNS);
}

/*
 * Locks a table and its indexes as rebuilding them needs, without waiting:
 * whoever reads the table, or loads it for another metric, might be waiting
 * for us.
 */
static Relation
lock_at_once(Oid relation_id)
{
	Relation	relation;
	List	   *indexes;
	ListCell   *cell;
	bool		locked = true;

	if (!ConditionalLockRelationOid(relation_id, ShareRowExclusiveLock))
		return NULL;
	relation = table_open(relation_id, NoLock);
	indexes = RelationGetIndexList(relation);
	foreach(cell, indexes)
		locked = locked && ConditionalLockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
	if (locked)
		return relation;
	table_close(relation, NoLock);
	return NULL;
}

/* Opens the table to load. NULL where it is not empty, or in use. */
static Relation
open_empty(Oid relation_id)
{
	Relation	relation = lock_at_once(relation_id);

	if (relation == NULL)
		return NULL;
	if (pg_class_aclcheck(relation_id, GetUserId(), ACL_INSERT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(relation));
	check_customer_table(relation);
	if (RelationGetNumberOfBlocks(relation) == 0)
		return relation;
	table_close(relation, NoLock);
	return NULL;
}

PG_FUNCTION_INFO_V1(retention_load);

/*
 * _load(state regclass, metric text, as_of timestamptz) -> bigint: writes the
 * pending collection into a table like retention.customer that has no pages
 * yet, then builds its indexes. NULL, and nothing done, where the table is not
 * empty or in use. Needs the right to insert.
 */
Datum
retention_load(PG_FUNCTION_ARGS)
{
	Oid			relation_id = PG_GETARG_OID(0);
	Collection *collection = pending_collection();
	Loader		loader = {
		.relation = open_empty(relation_id),
		.metric = PG_GETARG_DATUM(1),
		.changed_at = PG_GETARG_DATUM(2)
	};

	if (loader.relation == NULL)
		PG_RETURN_NULL();
	load_all(&loader, collection);
	table_close(loader.relation, NoLock);
	CommandCounterIncrement();
	rebuild_indexes(relation_id);
	forget_collection();
	PG_RETURN_INT64(loader.total);
}
