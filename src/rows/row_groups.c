/*
 * row_groups.c: a partition's rows are linked by key in a small open-addressed
 * table; partitions that are too large for that are split first.
 */
#include "rows/row_groups.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#define MIN_PARTITION_BITS 4
#define MAX_PARTITION_BITS 10

/*
 * Splits partitions that do not fit the budget, or the processor's cache, by further bits of the
 * hash.
 */
#define CACHE_BYTES ((Size) 1024 * 1024)
#define SPLIT_BITS 4
#define MAX_HASH_BITS 28

/* Holds the rows of a key: the first and the last of a chain through StoredRow.next. */
typedef struct Chain
{
	uint32		hash;
	uint32		first;			/* NO_ROW in an empty slot */
	uint32		last;
} Chain;

typedef struct Grouping
{
	MemoryContext context;
	Size		key_offset;
	RowGroupFunction function;
	void	   *argument;
	Chain	   *slots;
	uint32		size;			/* a power of two */
	uint32		used;
} Grouping;

/*
 * Chooses as many partitions as leave each a few chunks of the budget, at most 1024; fewer for so
 * few bytes that most of the chunks would stay empty.
 */
int
row_partition_bits(Size budget, Size expected_bytes)
{
	int			bits = pg_leftmost_one_pos64(Max(Min(budget / 4, expected_bytes) / CHUNK_BYTES, 1));

	return Max(MIN_PARTITION_BITS, Min(bits, MAX_PARTITION_BITS));
}

static void
empty_table(Grouping *table)
{
	for (uint32 i = 0; i < table->size; i++)
		table->slots[i].first = NO_ROW;
	table->used = 0;
}

static void
grow_table(Grouping *table)
{
	Grouping	old = *table;

	table->size = Max(1024, 2 * old.size);
	table->slots = MemoryContextAllocHuge(table->context, table->size * sizeof(Chain));
	empty_table(table);
	for (uint32 i = 0; i < old.size; i++)
	{
		uint32		slot = old.slots[i].hash & (table->size - 1);

		if (old.slots[i].first == NO_ROW)
			continue;
		while (table->slots[slot].first != NO_ROW)
			slot = (slot + 1) & (table->size - 1);
		table->slots[slot] = old.slots[i];
	}
	table->used = old.used;
	if (old.slots != NULL)
		pfree(old.slots);
}

static bool
same_key(const Grouping *table, const KeyedRow *a, const KeyedRow *b)
{
	return a->key_length == b->key_length &&
		   memcmp((const char *) a + table->key_offset, (const char *) b + table->key_offset,
				  a->key_length) == 0;
}

/* Appends a row to its key's chain. */
static void
chain_row(Grouping *table, RowPartition *partition, KeyedRow *row, uint32 position)
{
	uint32		slot;

	row->stored.next = NO_ROW;
	if (table->used * 2 >= table->size)
		grow_table(table);
	for (slot = row->hash & (table->size - 1); table->slots[slot].first != NO_ROW;
		 slot = (slot + 1) & (table->size - 1))
	{
		Chain	   *chain = &table->slots[slot];
		KeyedRow   *last;

		if (chain->hash != row->hash)
			continue;
		last = row_at(partition, chain->last);
		if (same_key(table, last, row))
		{
			last->stored.next = position;
			chain->last = position;
			return;
		}
	}
	table->slots[slot] = (Chain) {row->hash, position, position};
	table->used++;
}

static void
group_loaded_partition(Grouping *table, RowStore *store, int number)
{
	RowPartition *partition = &store->partitions[number];
	RowCursor	cursor;
	KeyedRow   *row;

	empty_table(table);
	row_cursor_open(&cursor, store, number);
	while ((row = row_cursor_next(&cursor)) != NULL)
		chain_row(table, partition, row, row_cursor_position(&cursor, &row->stored));
	for (uint32 slot = 0; slot < table->size; slot++)
	{
		if (table->slots[slot].first != NO_ROW)
			table->function(table->argument, partition, table->slots[slot].first);
	}
}

static void group_partition(Grouping *table, RowStore *store, int number, int hash_bits);

/* Splits a partition that is too large by the next bits of the hash. */
static void
split_partition(Grouping *table, RowStore *store, int number, int hash_bits)
{
	RowStore   *parts = row_store_create(table->context, store->memory, 1 << SPLIT_BITS);
	RowCursor	cursor;
	KeyedRow   *row;

	row_cursor_open(&cursor, store, number);
	while ((row = row_cursor_next(&cursor)) != NULL)
	{
		int			part = (row->hash >> (32 - hash_bits - SPLIT_BITS)) & ((1 << SPLIT_BITS) - 1);

		memcpy(row_store_append(parts, part, row->stored.size), row, row->stored.size);
	}
	row_store_release(store, number);
	for (int part = 0; part < parts->partition_count; part++)
		group_partition(table, parts, part, hash_bits + SPLIT_BITS);
	row_store_destroy(parts);
}

/*
 * Groups the rows of a partition. One that is too large is split, unless the
 * hash has no more bits to give: the rows of one key have to fit in memory.
 */
static void
group_partition(Grouping *table, RowStore *store, int number, int hash_bits)
{
	Size		bytes = row_store_bytes(store, number);

	CHECK_FOR_INTERRUPTS();
	if (bytes == 0)
		return;
	if (bytes > Min(store->memory->limit, CACHE_BYTES) && hash_bits + SPLIT_BITS <= MAX_HASH_BITS)
	{
		split_partition(table, store, number, hash_bits);
		return;
	}
	row_store_load(store, number);
	group_loaded_partition(table, store, number);
	row_store_release(store, number);
}

/*
 * Calls the function for each key of a store's KeyedRows, whose keys are at an offset. The rows are
 * forgotten on the way, and the store is destroyed.
 */
void
group_rows(RowStore *store, MemoryContext context, int partition_bits, Size key_offset,
		   RowGroupFunction function, void *argument)
{
	Grouping	table = {
		.context = context, .key_offset = key_offset, .function = function, .argument = argument};

	grow_table(&table);
	for (int number = 0; number < store->partition_count; number++)
		group_partition(&table, store, number, partition_bits);
	pfree(table.slots);
	row_store_destroy(store);
}
