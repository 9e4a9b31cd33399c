/*
 * capture_changes.c: the trigger that notes which customers a statement changed.
 *
 * It appends to retention.change_log, and nothing else: writers never wait for
 * each other, and need no right on the log, which is written below the level
 * of privileges. A statement costs one row, or one for each page of keys.
 *
 * Of tables that only know their order the ids of orders are noted, and whose
 * these are is looked up by process_changes: by then all is there that was
 * committed together, and writers read nothing.
 *
 * Logical replication fires triggers for rows only, and has no statements: what
 * it applies is noted row by row, up to a number of rows for each transaction.
 */
#include "pg_compat.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "values/key_text.h"
#include "base/run_as.h"

/* Limits the keys of one row of the log: what fits its page, in bytes of text and in number. */
#define MAX_ROW_BYTES 6000
#define MAX_ROW_KEYS 512

/*
 * Says for how few keys a list is enough: so few are compared one by one, for most statements have
 * one and should not pay for an empty hash table.
 */
#define MAX_LISTED_KEYS 8
#define KEY_SLOTS (2 * MAX_ROW_KEYS)

/*
 * Limits how many rows of a transaction are noted one by one; of an initial copy of millions it is
 * then said once that anything may have changed.
 */
#define MAX_REPLICATED_ROWS 5000

enum
{
	LOG_RELATION,
	LOG_CUSTOMER_IDS,
	LOG_CHANGED_AT,
	LOG_DUE_AT,
	LOG_ORDER_IDS,
	LOG_VIA_ID,
	LOG_COLUMNS
};

/* Holds keys that wait for their row in the log, each of them once. */
typedef struct Capture
{
	Relation	log;
	Oid			relation_id;
	int			via_id;			/* of tracked_via: keys are ids of orders there; 0: of customers */
	bool		is_missing_key; /* an order's id is too long to be noted */
	int			count;
	Size		bytes;
	Datum		keys[MAX_ROW_KEYS]; /* text */
	uint16		slots[KEY_SLOTS];	/* hash table, of more than MAX_LISTED_KEYS: 1 + the index of
									 * a key, or 0 */
	MemoryContext context;		/* the keys */
	MemoryContext row_context;	/* what is needed for one row of the transition table */
} Capture;

/*
 * Tells how a column's values become keys: by themselves, by a cast to text, or by their output
 * function.
 */
typedef struct KeyColumn
{
	AttrNumber	number;
	Oid			type;
	Oid			collation;
	bool		is_native;		/* key_text writes it */
	bool		is_cast;
	FmgrInfo	function;		/* the cast, unless it leaves the bytes as they are; or the
								 * output function */
} KeyColumn;

/* Holds what this transaction has noted row by row. */
static struct
{
	FullTransactionId transaction;
	int			rows;
	List	   *spent_relations;	/* of which has been noted that anything may have changed */
} replicated;

/*
 * Opens the log, which has to be what the extension made: rows are written by
 * the numbers of its columns.
 */
static Relation
open_log(void)
{
	static const Oid types[LOG_COLUMNS] = {
		REGCLASSOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTARRAYOID, INT4OID
	};
	Oid			schema = get_namespace_oid("retention", false);
	Relation	log = table_open(get_relname_relid("change_log", schema), RowExclusiveLock);

	check_table(log, types, LOG_COLUMNS);
	return log;
}

/* Appends a row to the log; without keys it says that anything may have changed. */
static void
append_to_log(Capture *capture, ArrayType *keys)
{
	TupleTableSlot *slot = table_slot_create(capture->log, NULL);
	bool		has_orders = keys != NULL && capture->via_id != 0;

	slot->tts_values[LOG_RELATION] = ObjectIdGetDatum(capture->relation_id);
	slot->tts_values[LOG_CUSTOMER_IDS] = PointerGetDatum(keys);
	slot->tts_values[LOG_CHANGED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	slot->tts_values[LOG_ORDER_IDS] = PointerGetDatum(keys);
	slot->tts_values[LOG_VIA_ID] = Int32GetDatum(capture->via_id);
	memset(slot->tts_isnull, false, LOG_COLUMNS * sizeof(bool));
	slot->tts_isnull[LOG_CUSTOMER_IDS] = keys == NULL || has_orders;
	slot->tts_isnull[LOG_DUE_AT] = true;
	slot->tts_isnull[LOG_ORDER_IDS] = slot->tts_isnull[LOG_VIA_ID] = !has_orders;
	ExecStoreVirtualTuple(slot);
	simple_table_tuple_insert(capture->log, slot);
	ExecDropSingleTupleTableSlot(slot);
}

static void
flush_keys(Capture *capture)
{
	if (capture->count == 0)
		return;
	append_to_log(capture,
				  construct_array(capture->keys, capture->count, TEXTOID, -1, false, TYPALIGN_INT));
	MemoryContextReset(capture->context);
	capture->count = 0;
	capture->bytes = 0;
}

static bool
is_key(Datum known, KeyText key)
{
	text	   *text_known = DatumGetTextPP(known);

	return VARSIZE_ANY_EXHDR(text_known) == key.length &&
		   memcmp(VARDATA_ANY(text_known), key.data, key.length) == 0;
}

/* Finds the slot of a key: its own, or the empty one where it belongs. */
static uint16 *
find_slot(Capture *capture, KeyText key)
{
	uint32		slot = hash_bytes((const unsigned char *) key.data, key.length) % KEY_SLOTS;

	while (capture->slots[slot] != 0 && !is_key(capture->keys[capture->slots[slot] - 1], key))
		slot = (slot + 1) % KEY_SLOTS;
	return &capture->slots[slot];
}

/* Fills the hash table with the keys listed so far. */
static void
hash_keys(Capture *capture)
{
	memset(capture->slots, 0, sizeof(capture->slots));
	for (int i = 0; i < capture->count; i++)
	{
		text	   *known = DatumGetTextPP(capture->keys[i]);

		*find_slot(capture, (KeyText) {VARDATA_ANY(known), VARSIZE_ANY_EXHDR(known)}) = i + 1;
	}
}

static bool
is_captured(Capture *capture, KeyText key)
{
	if (capture->count > MAX_LISTED_KEYS)
		return *find_slot(capture, key) != 0;
	for (int i = 0; i < capture->count; i++)
		if (is_key(capture->keys[i], key))
			return true;
	return false;
}

static void
add_key(Capture *capture, KeyText key)
{
	MemoryContext previous;

	if (is_captured(capture, key))
		return;
	if (capture->count == MAX_ROW_KEYS ||
		(capture->count > 0 && capture->bytes + key.length > MAX_ROW_BYTES))
		flush_keys(capture);
	previous = MemoryContextSwitchTo(capture->context);
	capture->keys[capture->count++] =
		PointerGetDatum(cstring_to_text_with_len(key.data, key.length));
	MemoryContextSwitchTo(previous);
	capture->bytes += key.length + VARHDRSZ;
	if (capture->count > MAX_LISTED_KEYS + 1)
		*find_slot(capture, key) = capture->count;
	else if (capture->count == MAX_LISTED_KEYS + 1)
		hash_keys(capture);
}

/*
 * Calls a cast as the parser does: with the type modifier, and with whether it is explicit, where
 * it is declared with these.
 */
static Datum
call_cast(KeyColumn *column, Datum value, bool *is_null)
{
	LOCAL_FCINFO(call, 3);
	Datum		result;

	InitFunctionCallInfoData(*call, &column->function, column->function.fn_nargs, column->collation,
							 NULL, NULL);
	call->args[0] = (NullableDatum) {value, false};
	call->args[1] = (NullableDatum) {Int32GetDatum(-1), false};
	call->args[2] = (NullableDatum) {BoolGetDatum(true), false};
	result = FunctionCallInvoke(call);
	*is_null = call->isnull;
	return result;
}

/*
 * Writes a key of a type that key_text does not know as the cast to text in the engine's queries
 * writes it; false where that is NULL.
 */
static bool
cast_to_text(KeyColumn *column, Datum value, KeyText *key)
{
	bool		is_null = false;
	text	   *result;

	if (!column->is_cast)
	{
		key->data = OutputFunctionCall(&column->function, value);
		key->length = strlen(key->data);
		return true;
	}
	if (OidIsValid(column->function.fn_oid))
		value = call_cast(column, value, &is_null);
	if (is_null)
		return false;
	result = DatumGetTextPP(value);
	*key = (KeyText) {VARDATA_ANY(result), VARSIZE_ANY_EXHDR(result)};
	return true;
}

/* Finds how values of the column's type are written as text. */
static void
find_cast(KeyColumn *column)
{
	Oid			function;
	bool		is_varlena;

	switch (find_coercion_pathway(TEXTOID, column->type, COERCION_EXPLICIT, &function))
	{
		case COERCION_PATH_FUNC:
		case COERCION_PATH_RELABELTYPE:
			column->is_cast = true;
			break;
		default:
			column->is_cast = false;
			getTypeOutputInfo(column->type, &function, &is_varlena);
	}
	column->function.fn_oid = InvalidOid;
	if (OidIsValid(function))
		fmgr_info(function, &column->function);
}

/* Finds the column, which may be gone or have another name since the trigger was made. */
static bool
find_column(Relation relation, const char *name, KeyColumn *column)
{
	TupleDesc	type = RelationGetDescr(relation);

	for (int i = 0; i < type->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(type, i);

		if (attribute->attisdropped || strcmp(NameStr(attribute->attname), name) != 0)
			continue;
		column->number = i + 1;
		column->type = getBaseType(attribute->atttypid);
		column->collation = attribute->attcollation;
		column->is_native = is_native_key_type(column->type);
		if (!column->is_native)
			find_cast(column);
		return true;
	}
	return false;
}

/*
 * Adds a key unless it is nobody's. A blank order id is an id. Where one is too
 * long to be noted, it is said that anything may have changed.
 */
static void
add_usable_key(Capture *capture, KeyText key)
{
	if (capture->via_id == 0 ? is_usable_key(key) : !is_long_key(key))
		add_key(capture, key);
	else if (capture->via_id != 0)
		capture->is_missing_key = true;
}

/* Adds the key that a row has in a column. */
static void
capture_key(Capture *capture, TupleTableSlot *slot, KeyColumn *column)
{
	bool		is_null;
	Datum		value = slot_getattr(slot, column->number, &is_null);
	MemoryContext previous;
	KeyBuffer	buffer;
	KeyText		key;

	if (is_null)
		return;
	previous = MemoryContextSwitchTo(capture->row_context);
	if (column->is_native)
		key = key_text(&buffer, column->type, value);
	if (column->is_native || cast_to_text(column, value, &key))
		add_usable_key(capture, key);
	MemoryContextSwitchTo(previous);
	MemoryContextReset(capture->row_context);
}

/* Adds the keys of a column of a transition table. */
static void
capture_column(Capture *capture, Relation relation, Tuplestorestate *rows, KeyColumn *column)
{
	TupleTableSlot *slot =
		MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple);

	tuplestore_select_read_pointer(rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND));
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		capture_key(capture, slot, column);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_select_read_pointer(rows, 0);
}

/*
 * Has dates and the like written as the engine's queries do, whatever the session's settings; see
 * retention._read_metric.
 */
static void
pin_formats(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO, YMD"}, {"intervalstyle", "postgres"}, {"extra_float_digits", "1"},
		{"bytea_output", "hex"}, {"timezone", "UTC"}
	};

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Adds the keys of one column, named by an argument of the trigger. Where that
 * is gone nothing can be said of who changed.
 */
static void
capture_argument(Capture *capture, TriggerData *trigger, const char *name)
{
	KeyColumn	column;
	int			nest_level = 0;

	if (!find_column(trigger->tg_relation, name, &column))
	{
		append_to_log(capture, NULL);
		return;
	}
	if (!column.is_native)
	{
		nest_level = NewGUCNestLevel();
		pin_formats();
	}
	if (trigger->tg_oldtable != NULL)
		capture_column(capture, trigger->tg_relation, trigger->tg_oldtable, &column);
	if (trigger->tg_newtable != NULL)
		capture_column(capture, trigger->tg_relation, trigger->tg_newtable, &column);
	if (trigger->tg_trigslot != NULL)
		capture_key(capture, trigger->tg_trigslot, &column);
	if (trigger->tg_newslot != NULL)
		capture_key(capture, trigger->tg_newslot, &column);
	if (nest_level > 0)
		AtEOXact_GUC(true, nest_level);
}

static void
forget_replicated(void)
{
	replicated.rows = 0;
	replicated.spent_relations = NIL;
}

/* Forgets what a rolled-back subtransaction has noted: it is gone, so nothing may rely on it. */
static void
after_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
					 void *argument)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_replicated();
}

/* Forgets what earlier transactions have noted. */
static void
enter_transaction(void)
{
	static bool is_registered = false;
	FullTransactionId current = GetTopFullTransactionId();

	if (!is_registered)
		RegisterSubXactCallback(after_subtransaction, NULL);
	is_registered = true;
	if (!FullTransactionIdEquals(replicated.transaction, current))
		forget_replicated();
	replicated.transaction = current;
}

/*
 * Counts a row that is captured by itself. False where it need not be looked
 * at: the transaction has had too many, and it has been noted that anything
 * may have changed.
 */
static bool
count_replicated_row(Capture *capture)
{
	MemoryContext previous;

	enter_transaction();
	if (++replicated.rows <= MAX_REPLICATED_ROWS)
		return true;
	if (!list_member_oid(replicated.spent_relations, capture->relation_id))
	{
		append_to_log(capture, NULL);
		previous = MemoryContextSwitchTo(TopTransactionContext);
		replicated.spent_relations = lappend_oid(replicated.spent_relations, capture->relation_id);
		MemoryContextSwitchTo(previous);
	}
	return false;
}

/* Tells whether all that a trigger's event concerns can be told by looking at rows. */
static bool
has_rows(const TriggerData *trigger)
{
	return TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		trigger->tg_oldtable != NULL || trigger->tg_newtable != NULL;
}

/*
 * Notes the keys of all columns that the trigger's arguments name: those of
 * customers, then an empty one, then, in pairs, a number of retention.tracked_via
 * and a column of ids of orders there.
 */
static void
capture_arguments(Capture *capture, TriggerData *trigger)
{
	char	  **arguments = trigger->tg_trigger->tgargs;
	int			count = trigger->tg_trigger->tgnargs;
	int			i;

	for (i = 0; i < count && arguments[i][0] != '\0'; i++)
		capture_argument(capture, trigger, arguments[i]);
	for (i++; i + 1 < count; i += 2)
	{
		flush_keys(capture);
		capture->via_id = pg_strtoint32(arguments[i]);
		capture_argument(capture, trigger, arguments[i + 1]);
	}
	flush_keys(capture);
	if (capture->is_missing_key)
		append_to_log(capture, NULL);
}

static void
capture_event(Capture *capture, TriggerData *trigger)
{
	if (!has_rows(trigger))
		append_to_log(capture, NULL);
	else if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || count_replicated_row(capture))
		capture_arguments(capture, trigger);
}

PG_FUNCTION_INFO_V1(retention_capture_changes);

/*
 * Trigger, after a statement or a row, with the columns of keys as arguments,
 * as capture_arguments has them: appends the distinct customers, and orders, of
 * the old and new rows to retention.change_log; after TRUNCATE, or where a
 * column is gone, a row without any. NULL and blank keys are nobody's.
 */
Datum
retention_capture_changes(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Capture    *capture;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		trigger->tg_trigger->tgnargs == 0)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("retention._capture_changes must be called by a trigger after a "
							   "statement or a row"),
						errhint("retention.track() makes these triggers.")));
	capture = palloc(sizeof(Capture));
	capture->via_id = 0;
	capture->is_missing_key = false;
	capture->count = 0;
	capture->bytes = 0;
	capture->log = open_log();
	capture->relation_id = RelationGetRelid(trigger->tg_relation);
	capture->context =
		AllocSetContextCreate(CurrentMemoryContext, "retention keys", ALLOCSET_SMALL_SIZES);
	capture->row_context =
		AllocSetContextCreate(CurrentMemoryContext, "retention row", ALLOCSET_SMALL_SIZES);
	capture_event(capture, trigger);
	table_close(capture->log, NoLock);
	MemoryContextDelete(capture->context);
	MemoryContextDelete(capture->row_context);
	PG_RETURN_POINTER(NULL);
}
