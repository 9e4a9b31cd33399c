/*
 * unreadable.c: what a collection had to leave out, counted by source and
 * reason, with an example of each.
 *
 * A row that cannot be read concerns nobody but its customer: a typing error
 * from years ago must not keep all others from being scored.
 */
#include "pg_compat.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "collector/collection.h"

/* Cuts texts of examples to this: a key may be of any length. */
#define MAX_EXAMPLE_BYTES 2000

/* Names the reasons as SQL shows them; see the comment of retention.unreadable_row. */
static const char *const reason_names[] = {
	[TIME_OUT_OF_RANGE] = "time out of range",
	[AMOUNT_NOT_FINITE] = "amount not finite",
	[AMOUNT_TOO_LONG] = "amount too long",
	[KEY_TOO_LONG] = "key too long",
	[SUM_TOO_LONG] = "sum too long"
};

/* Copies text for an example, into the collection's memory, of a few pages at most. */
char *
clipped_text(const Collection *collection, const char *data, int length)
{
	int			bytes = pg_mbcliplen(data, length, MAX_EXAMPLE_BYTES);
	char	   *text = MemoryContextAlloc(collection->context, bytes + 1);

	memcpy(text, data, bytes);
	text[bytes] = '\0';
	return text;
}

/*
 * Counts rows of a relation that are left out for a reason. Returns the count
 * where these are the first ones, for the caller to give the example, and else
 * NULL. There are few counts, so they are found one by one.
 */
Unreadable *
count_unreadable(Collection *collection, const char *relation, UnreadableReason reason, int64 rows)
{
	MemoryContext previous;
	Unreadable *made;
	ListCell   *cell;

	foreach(cell, collection->unreadable)
	{
		Unreadable *known = lfirst(cell);

		if (known->reason != reason || strcmp(known->relation, relation) != 0)
			continue;
		known->rows += rows;
		return NULL;
	}
	previous = MemoryContextSwitchTo(collection->context);
	made = palloc0(sizeof(Unreadable));
	made->relation = pstrdup(relation);
	made->reason = reason;
	made->rows = rows;
	collection->unreadable = lappend(collection->unreadable, made);
	MemoryContextSwitchTo(previous);
	return made;
}

static void
append_member(StringInfo json, const char *name, const char *value)
{
	appendStringInfo(json, ", \"%s\": ", name);
	if (value == NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, value);
}

/*
 * Writes the counts as jsonb: an array of objects with relation, reason, row_count and the example;
 * empty where all was read.
 */
Datum
unreadable_json(const Collection *collection)
{
	StringInfoData json;
	ListCell   *cell;

	initStringInfo(&json);
	foreach(cell, collection->unreadable)
	{
		Unreadable *counted = lfirst(cell);

		appendStringInfo(&json, "%s{\"row_count\": " INT64_FORMAT,
						 json.len == 0 ? "[" : ", ", counted->rows);
		append_member(&json, "relation", counted->relation);
		append_member(&json, "reason", reason_names[counted->reason]);
		append_member(&json, "customer_id", counted->customer);
		append_member(&json, "order_id", counted->order_id);
		append_member(&json, "value", counted->value);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoString(&json, json.len == 0 ? "[]" : "]");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}
