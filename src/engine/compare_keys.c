/*
 * compare_keys.c: retention._compare_keys, which tells how the keys that one
 * query finds differ from those that another one has stored.
 *
 * Rows are partitioned by a hash of the key, as in a refresh, so that sets
 * beyond the memory budget wait in temporary files.
 */
#include "pg_compat.h"

#include "common/hashfn.h"
#include "executor/nodeHash.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "values/key_text.h"
#include "base/run_as.h"
#include "rows/row_groups.h"

/* Estimates the bytes of a usual row. */
#define KEY_ROW_BYTES 32

/* Describes a key that a query returned. */
typedef struct KeyRow
{
	KeyedRow	keyed;
	bool		is_stored;
	char		key[FLEXIBLE_ARRAY_MEMBER];
} KeyRow;

typedef struct Comparison
{
	DestReceiver receiver;
	RowMemory	memory;
	RowStore   *rows;
	int			partition_bits;
	bool		is_stored;		/* the query that is running reads the stored keys */
	Oid			key_type;
	KeyBuffer	buffer;
	ReturnSetInfo *result;
	int64		members;
	int64		duplicate_rows;
	int64		null_rows;
} Comparison;

static void
start_keys(DestReceiver *self, int operation, TupleDesc type)
{
	Comparison *comparison = (Comparison *) self;

	if (type->natts != 1)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("a query for keys must have 1 column, not %d", type->natts)));
	comparison->key_type = TupleDescAttr(type, 0)->atttypid;
	reject_unknown_key_type(comparison->key_type);
}

static bool
receive_key(TupleTableSlot *slot, DestReceiver *self)
{
	Comparison *comparison = (Comparison *) self;
	bool		is_null;
	Datum		value = slot_getattr(slot, 1, &is_null);
	KeyText		key = {NULL, 0};
	KeyRow	   *row;
	uint32		hash;

	if (!is_null)
		key = key_text(&comparison->buffer, comparison->key_type, value);
	if (!is_usable_key(key))
	{
		comparison->null_rows++;
		return true;
	}
	hash = hash_bytes((const unsigned char *) key.data, key.length);
	row = row_store_append(comparison->rows, hash >> (32 - comparison->partition_bits),
						   offsetof(KeyRow, key) + key.length);
	row->keyed.hash = hash;
	row->keyed.key_length = key.length;
	row->is_stored = comparison->is_stored;
	memcpy(row->key, key.data, key.length);
	return true;
}

static void
read_keys(Comparison *comparison, text *query, bool is_stored, Oid relation)
{
	comparison->is_stored = is_stored;
	read_query(text_to_cstring(query), &comparison->receiver, relation);
}

static void
put_row(Comparison *comparison, const KeyRow *row, bool entered)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {false, false, true, true, true};

	values[0] = PointerGetDatum(cstring_to_text_with_len(row->key, row->keyed.key_length));
	values[1] = BoolGetDatum(entered);
	tuplestore_putvalues(comparison->result->setResult, comparison->result->setDesc, values, nulls);
	pfree(DatumGetPointer(values[0]));
}

/* Compares all rows of one key: found, stored, or both. */
static void
compare_group(void *argument, RowPartition *partition, uint32 first)
{
	Comparison *comparison = argument;
	KeyRow	   *row = row_at(partition, first);
	int64		found = 0;
	bool		is_stored = false;

	for (uint32 position = first; position != NO_ROW; position = row->keyed.stored.next)
	{
		CHECK_FOR_INTERRUPTS();
		row = row_at(partition, position);
		is_stored |= row->is_stored;
		found += !row->is_stored;
	}
	comparison->members += found > 0;
	comparison->duplicate_rows += Max(found - 1, 0);
	if (is_stored != (found > 0))
		put_row(comparison, row, found > 0);
}

static void
put_totals(Comparison *comparison)
{
	Datum values[5] = {0, 0, Int64GetDatum(comparison->members),
					   Int64GetDatum(comparison->duplicate_rows),
					   Int64GetDatum(comparison->null_rows)};
	bool		nulls[5] = {true, true, false, false, false};

	tuplestore_putvalues(comparison->result->setResult, comparison->result->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(retention_compare_keys);

/*
 * _compare_keys(found text, stored text, expected bigint, relation regclass) -> (customer_id,
 * entered, members, duplicate_rows, null_rows): a row for each key that only one of two queries
 * returns, entered where it is the first one, which is run with the rights of the relation's
 * owner; and a last row, without a key, that counts the first query's distinct keys, repeated
 * rows, and NULLs, blank keys, or keys that are too long to be stored. The second query must not
 * return a key twice. About so many rows are expected. Memory: as _collect.
 */
Datum
retention_compare_keys(PG_FUNCTION_ARGS)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "retention keys", ALLOCSET_DEFAULT_SIZES);
	Comparison	comparison = {
		.receiver = {.receiveSlot = receive_key, .rStartup = start_keys},
		.memory = {.context = context, .limit = get_hash_memory_limit()}
	};

	InitMaterializedSRF(fcinfo, 0);
	comparison.result = (ReturnSetInfo *) fcinfo->resultinfo;
	comparison.partition_bits =
		row_partition_bits(comparison.memory.limit, PG_GETARG_INT64(2) * KEY_ROW_BYTES);
	comparison.rows = row_store_create(context, &comparison.memory, 1 << comparison.partition_bits);
	SPI_connect();
	read_keys(&comparison, PG_GETARG_TEXT_PP(0), false, PG_GETARG_OID(3));
	read_keys(&comparison, PG_GETARG_TEXT_PP(1), true, InvalidOid);
	SPI_finish();
	group_rows(comparison.rows, context, comparison.partition_bits, offsetof(KeyRow, key),
			   compare_group, &comparison);
	put_totals(&comparison);
	MemoryContextDelete(context);
	return (Datum) 0;
}
