/*
 * order_reader.c: reads the sources of a metric, and the customers as stored,
 * into the partitioned row store.
 *
 * Rows come straight from the executor through a DestReceiver: no tuple is
 * copied, and nothing is grouped by the executor.
 */
#include "pg_compat.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "values/amount.h"
#include "collector/collection.h"
#include "values/key_text.h"
#include "base/run_as.h"

/* Names the columns of a source's query. */
enum
{
	SOURCE_KEY,
	SOURCE_AT,
	SOURCE_AMOUNT,
	SOURCE_ORDER_ID
};

/* Names the columns of the query for stored customers. */
enum
{
	STORED_KEY,
	STORED_SUMMARY,
	STORED_R = STORED_SUMMARY + SUMMARY_COLUMNS,
	STORED_F,
	STORED_M,
	STORED_GROUP
};

/*
 * Limits the steps: smaller ones than 10^-36 leave no digit for anything that such an amount could
 * be added to.
 */
#define MAX_AMOUNT_SCALE 36

typedef struct Reader
{
	DestReceiver receiver;
	Collection *collection;
	const char *relation;		/* for messages */
	RowKind		kind;
	Oid			key_type;
	Oid			order_id_type;	/* InvalidOid where the source has none */
	KeyBuffer	text;
	KeyBuffer	order_text;
} Reader;

static OrderToken
order_token(KeyText id)
{
	OrderToken	token = {{0, 0}};

	if (id.length <= sizeof(token))
		memcpy(&token, id.data, id.length);
	else
	{
		token.part[0] = hash_bytes_extended((const unsigned char *) id.data, id.length, 1);
		token.part[1] = hash_bytes_extended((const unsigned char *) id.data, id.length, 2);
	}
	return token;
}

/* Reserves a row with room for `extra` bytes behind the key, and writes the key. */
static OrderRow *
append_row(Reader *reader, KeyText key, Size extra)
{
	Collection *collection = reader->collection;
	uint32		hash = hash_bytes((const unsigned char *) key.data, key.length);
	OrderRow   *row =
		row_store_append(collection->orders, hash >> (32 - collection->partition_bits),
						 offsetof(OrderRow, key) + TYPEALIGN(8, key.length) + extra);

	row->hash = hash;
	row->key_length = key.length;
	row->kind = reader->kind;
	row->wide = false;
	row->has_token = false;
	row->keeps_id = false;
	memcpy(row->key, key.data, key.length);
	return row;
}

/* Computes the amount in steps of 1/10000; false where it is not whole in them, or too large. */
static bool
amount_in_units(const Decimal *amount, int64 *units)
{
	int128_type value = amount->mantissa;

	if (amount->scale > DECIMAL_BASE_DIGITS || amount->display_scale > PG_UINT8_MAX)
		return false;
	if (amount->scale == 0 && __builtin_mul_overflow(value, DECIMAL_BASE, &value))
		return false;
	*units = (int64) value;
	return *units == value;
}

static bool
has_order_id(const Reader *reader, const TupleTableSlot *slot)
{
	return OidIsValid(reader->order_id_type) && !slot->tts_isnull[SOURCE_ORDER_ID];
}

/* Returns the order id of a row that has one. */
static KeyText
row_order_id(Reader *reader, TupleTableSlot *slot)
{
	return key_text(&reader->order_text, reader->order_id_type, slot->tts_values[SOURCE_ORDER_ID]);
}

/* Writes a value as text by its type's output function. */
static char *
output_text(PGFunction output, Datum value)
{
	return DatumGetCString(DirectFunctionCall1(output, value));
}

/* Counts a row that cannot be read, and shows it where it is the first one of its kind. */
static void
leave_out(Reader *reader, TupleTableSlot *slot, KeyText key, UnreadableReason reason)
{
	Unreadable *first = count_unreadable(reader->collection, reader->relation, reason, 1);
	char	   *value;

	if (first == NULL)
		return;
	first->customer = clipped_text(reader->collection, key.data, key.length);
	if (has_order_id(reader, slot))
	{
		KeyText		id = row_order_id(reader, slot);

		first->order_id = clipped_text(reader->collection, id.data, id.length);
	}
	if (reason == KEY_TOO_LONG)
		value = psprintf("%d bytes", key.length);
	else if (reason == TIME_OUT_OF_RANGE)
		value = output_text(timestamptz_out, slot->tts_values[SOURCE_AT]);
	else
		value = output_text(numeric_out, slot->tts_values[SOURCE_AMOUNT]);
	first->value = clipped_text(reader->collection, value, strlen(value));
	pfree(value);
}

/* Reads a row's amount, in units where it is whole in these and else as a Decimal. */
static UnreadableReason
read_amount(Datum numeric, Decimal *amount, int64 *units, bool *wide)
{
	MathStatus	status = amount_parse(numeric, amount);

	if (unlikely(status != MATH_OK))
		return status == MATH_UNDEFINED ? AMOUNT_NOT_FINITE : AMOUNT_TOO_LONG;
	*wide = !amount_in_units(amount, units);
	return unlikely(*wide && amount->scale > MAX_AMOUNT_SCALE) ? AMOUNT_TOO_LONG : READABLE;
}

/* Tells how much text is kept of an order id: of refunds, for one may be shown as an example. */
static int
kept_id_length(const Reader *reader, KeyText id, const Decimal *amount)
{
	if (id.length <= sizeof(OrderToken) || (reader->kind != ROW_REFUND && amount->mantissa >= 0))
		return 0;
	return pg_mbcliplen(id.data, id.length, MAX_KEPT_ID_BYTES);
}

/* Writes the order id of a row, of which so much text is kept. */
static void
write_order_id(OrderRow *row, KeyText id, int kept)
{
	OrderToken	token = order_token(id);
	KeptId	   *text;

	row->has_token = true;
	memcpy(order_row_token(row), &token, sizeof(OrderToken));
	if (kept == 0)
		return;
	row->keeps_id = true;
	text = order_row_id(row);
	text->length = kept;
	memcpy(text->text, id.data, kept);
}

/* Keeps an order's row, unless something is wrong with it, which it returns. */
static UnreadableReason
keep_order(Reader *reader, TupleTableSlot *slot, KeyText key, int64 at)
{
	bool		has_id = has_order_id(reader, slot);
	KeyText		id = {NULL, 0};
	Decimal		amount;
	int64		units = 0;
	Size		extra = 0;
	int			kept = 0;
	bool		wide;
	OrderRow   *row;
	UnreadableReason problem = read_amount(slot->tts_values[SOURCE_AMOUNT], &amount, &units, &wide);

	if (unlikely(problem != READABLE))
		return problem;
	if (unlikely(is_long_key(key)))
		return KEY_TOO_LONG;
	if (has_id)
	{
		id = row_order_id(reader, slot);
		kept = kept_id_length(reader, id, &amount);
		extra = sizeof(OrderToken) + (kept == 0 ? 0 : offsetof(KeptId, text) + kept);
	}
	row = append_row(reader, key, extra + (wide ? sizeof(Decimal) : 0));
	row->at = at;
	row->units = units;
	row->display_scale = wide ? 0 : amount.display_scale;
	row->wide = wide;
	if (wide)
		memcpy(order_row_extra(row), &amount, sizeof(Decimal));
	if (has_id)
		write_order_id(row, id, kept);
	return READABLE;
}

/* Takes a row that has all it needs: keeps it where it is of use, or says what is wrong with it. */
static UnreadableReason
take_order(Reader *reader, TupleTableSlot *slot, KeyText key)
{
	CollectionReport *report = &reader->collection->report;
	int64		at = DatumGetTimestampTz(slot->tts_values[SOURCE_AT]);
	UnreadableReason problem;

	if (at > reader->collection->as_of)
	{
		if (TIMESTAMP_IS_NOEND(at))
			return TIME_OUT_OF_RANGE;
		report->after_as_of++;
		report->next_order_at = Min(report->next_order_at, at);
		return READABLE;
	}
	if (at < reader->collection->history_start)
	{
		if (at < EARLIEST_TIME)
			return TIME_OUT_OF_RANGE;
		report->before_history++;
		return READABLE;
	}
	problem = keep_order(reader, slot, key, at);
	if (problem == READABLE)
	{
		report->refund_rows += reader->kind == ROW_REFUND;
		report->first_order_at = Min(report->first_order_at, at);
	}
	return problem;
}

/* Receives a row of a source: counts it, and keeps it where it is of use. */
static bool
receive_order(TupleTableSlot *slot, DestReceiver *self)
{
	Reader	   *reader = (Reader *) self;
	CollectionReport *report = &reader->collection->report;
	KeyText		key = {NULL, 0};
	UnreadableReason problem;

	slot_getallattrs(slot);
	report->rows_read++;
	if (!slot->tts_isnull[SOURCE_KEY])
		key = key_text(&reader->text, reader->key_type, slot->tts_values[SOURCE_KEY]);
	if (is_blank_key(key))
		report->without_customer++;
	else if (slot->tts_isnull[SOURCE_AT])
		report->without_time++;
	else if (slot->tts_isnull[SOURCE_AMOUNT])
		report->without_amount++;
	else if (unlikely((problem = take_order(reader, slot, key)) != READABLE))
		leave_out(reader, slot, key, problem);
	return true;
}

/* Fills the facts as build_customers makes them from orders, for comparison by bytes. */
static void
stored_facts(TupleTableSlot *slot, StoredFacts *facts)
{
	Datum	   *values = slot->tts_values + STORED_SUMMARY;
	bool	   *nulls = slot->tts_isnull + STORED_SUMMARY;

	facts->orders = DatumGetInt64(values[COLUMN_ORDERS]);
	facts->purchase_days = DatumGetInt32(values[COLUMN_PURCHASE_DAYS]);
	facts->first_at = DatumGetTimestampTz(values[COLUMN_FIRST_ORDER_AT]);
	facts->last_at = DatumGetTimestampTz(values[COLUMN_LAST_ORDER_AT]);
	facts->average_gap =
		nulls[COLUMN_AVERAGE_DAYS] ? 0 : DatumGetFloat8(values[COLUMN_AVERAGE_DAYS]);
	facts->gap_sd = nulls[COLUMN_DAYS_SD] ? 0 : DatumGetFloat8(values[COLUMN_DAYS_SD]);
	facts->revenue_hash = numeric_hash(values[COLUMN_REVENUE]);
	facts->repeat_hash = nulls[COLUMN_REPEAT_VALUE] ? 0 : numeric_hash(values[COLUMN_REPEAT_VALUE]);
}

/* Receives a customer as stored. */
static bool
receive_stored_customer(TupleTableSlot *slot, DestReceiver *self)
{
	Reader	   *reader = (Reader *) self;
	KeyText		key;
	KeyText		group = {"", 0};
	OrderRow   *row;
	StoredCustomer *customer;

	slot_getallattrs(slot);
	key = key_text(&reader->text, TEXTOID, slot->tts_values[STORED_KEY]);
	if (!slot->tts_isnull[STORED_GROUP])
		group = key_text(&reader->text, TEXTOID, slot->tts_values[STORED_GROUP]);
	row = append_row(reader, key, offsetof(StoredCustomer, group) + group.length);
	customer = order_row_extra(row);
	stored_facts(slot, &customer->facts);
	customer->revenue = amount_double(slot->tts_values[STORED_SUMMARY + COLUMN_REVENUE]);
	customer->r = DatumGetInt16(slot->tts_values[STORED_R]);
	customer->f = DatumGetInt16(slot->tts_values[STORED_F]);
	customer->m = DatumGetInt16(slot->tts_values[STORED_M]);
	customer->group_length = group.length;
	memcpy(customer->group, group.data, group.length);
	return true;
}

static void
start_source(DestReceiver *self, int operation, TupleDesc type)
{
	Reader	   *reader = (Reader *) self;
	Oid			types[SOURCE_ORDER_ID + 1];
	bool		has_order_id = type->natts > SOURCE_ORDER_ID;

	for (int i = 0; i < Min(type->natts, lengthof(types)); i++)
		types[i] = TupleDescAttr(type, i)->atttypid;
	types[SOURCE_AT] = TIMESTAMPTZOID;
	types[SOURCE_AMOUNT] = NUMERICOID;
	check_columns(type, types, has_order_id ? SOURCE_ORDER_ID + 1 : SOURCE_ORDER_ID,
				  "a source's query");
	reader->key_type = types[SOURCE_KEY];
	reject_unknown_key_type(reader->key_type);
	reader->order_id_type = has_order_id ? types[SOURCE_ORDER_ID] : InvalidOid;
	if (has_order_id)
		reject_unknown_key_type(reader->order_id_type);
}

static void
start_stored_customers(DestReceiver *self, int operation, TupleDesc type)
{
	static const Oid types[] = {TEXTOID,	INT8OID,	INT4OID,	TIMESTAMPTZOID, TIMESTAMPTZOID,
								NUMERICOID, NUMERICOID, NUMERICOID, FLOAT8OID,		FLOAT8OID,
								INT2OID,	INT2OID,	INT2OID,	TEXTOID};

	check_columns(type, types, lengthof(types), "the query for stored customers");
}

static void
name_relation(void *reader)
{
	errcontext("reading %s", ((Reader *) reader)->relation);
}

/*
 * Runs a query on the active snapshot, with the rights of a relation's owner if
 * one is given; its rows go to the reader.
 */
static void
run_query(Reader *reader, const char *query, Oid relation)
{
	ErrorContextCallback context = {error_context_stack, name_relation, reader};

	error_context_stack = &context;
	read_query(query, &reader->receiver, relation);
	error_context_stack = context.previous;
}

/*
 * Reads a source by its query, whose columns are customer key, time, amount
 * and, where the source has one, order id, with the rights of the relation's
 * owner. Needs an SPI connection. Errors: 42P01 where the relation is gone,
 * 42804 for a query with other columns, and the query's own.
 */
void
read_source(Collection *collection, const char *query, Oid relation, bool refunds)
{
	Reader		reader = {
		.receiver.rStartup = start_source,
		.receiver.receiveSlot = receive_order,
		.collection = collection,
		.relation = relation_label(collection->context, relation),
		.kind = refunds ? ROW_REFUND : ROW_ORDER
	};

	run_query(&reader, query, relation);
}

/*
 * Reads customers as stored, by a query with the key, the columns of the
 * summary, r, f, m and the group. Needs an SPI connection.
 */
void
read_stored_customers(Collection *collection, const char *query)
{
	Reader		reader = {
		.receiver.rStartup = start_stored_customers,
		.receiver.receiveSlot = receive_stored_customer,
		.collection = collection,
		.relation = "stored customers",
		.kind = ROW_STORED_CUSTOMER
	};

	run_query(&reader, query, InvalidOid);
}
