/* row_store.c: rows by partition, in memory or in temporary files; see row_store.h. */
#include "row_store.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Makes a store; its memory belongs to a child of the given context. */
RowStore *
row_store_create(MemoryContext parent, MemoryBudget *budget, int partitions)
{
	MemoryContext context = AllocSetContextCreate(parent, "retention rows", ALLOCSET_DEFAULT_SIZES);
	RowStore   *store = MemoryContextAllocZero(context, sizeof(RowStore));

	store->context = context;
	store->budget = budget;
	store->partition_count = partitions;
	store->partitions = MemoryContextAllocZero(context, partitions * sizeof(RowPartition));
	return store;
}

static void
free_chunks(RowStore *store, RowPartition *partition)
{
	for (int i = 0; i < partition->chunk_count; i++)
	{
		store->budget->used -= partition->chunks[i]->size;
		pfree(partition->chunks[i]);
	}
	partition->chunk_count = 0;
}

/* Moves all of a partition's chunks to its file. */
static void
spill_partition(RowStore *store, RowPartition *partition)
{
	if (partition->chunk_count == 0)
		return;
	if (partition->file == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(store->context);
		ResourceOwner owner = CurrentResourceOwner;

		/* The file lives as long as the collection: to the end of the (sub)transaction. */
		CurrentResourceOwner = CurTransactionResourceOwner;
		partition->file = BufFileCreateTemp(false);
		CurrentResourceOwner = owner;
		MemoryContextSwitchTo(previous);
	}
	for (int i = 0; i < partition->chunk_count; i++)
	{
		RowChunk   *chunk = partition->chunks[i];

		BufFileWrite(partition->file, &chunk->used, sizeof(chunk->used));
		BufFileWrite(partition->file, chunk->data, chunk->used);
	}
	partition->file_chunks += partition->chunk_count;
	free_chunks(store, partition);
}

static RowChunk *
add_chunk(RowStore *store, RowPartition *partition, Size size)
{
	RowChunk   *chunk = MemoryContextAlloc(store->context, offsetof(RowChunk, data) + size);

	chunk->used = 0;
	chunk->size = size;
	store->budget->used += size;
	if (partition->chunk_count == partition->chunk_capacity)
	{
		partition->chunk_capacity = Max(16, 2 * partition->chunk_capacity);
		partition->chunks = partition->chunks == NULL
			? MemoryContextAlloc(store->context, partition->chunk_capacity * sizeof(RowChunk *))
			: repalloc_huge(partition->chunks, partition->chunk_capacity * sizeof(RowChunk *));
	}
	partition->chunks[partition->chunk_count++] = chunk;
	return chunk;
}

/*
 * Reserves a row of `size` bytes (with its StoredRow, which is filled in) for
 * the caller to write. Past the budget, the store's rows go to files first.
 */
void *
row_store_append(RowStore *store, int number, Size size)
{
	RowPartition *partition = &store->partitions[number];
	RowChunk   *chunk = partition->chunk_count > 0 ? partition->chunks[partition->chunk_count - 1] : NULL;
	StoredRow  *row;

	size = TYPEALIGN(8, size);
	if (chunk == NULL || chunk->used + size > chunk->size)
	{
		Size		chunk_size = Max(size, CHUNK_BYTES);

		if (store->budget->used + chunk_size > store->budget->limit)
		{
			for (int i = 0; i < store->partition_count; i++)
				spill_partition(store, &store->partitions[i]);
		}
		chunk = add_chunk(store, partition, chunk_size);
	}
	row = (StoredRow *) (chunk->data + chunk->used);
	row->size = size;
	chunk->used += size;
	partition->bytes += size;
	return row;
}

static void
read_exactly(BufFile *file, void *target, Size size)
{
	if (BufFileRead(file, target, size) != size)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read the rows of a refresh from a temporary file")));
}

static void
rewind_file(RowPartition *partition)
{
	if (partition->file != NULL && BufFileSeek(partition->file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not rewind a temporary file")));
}

/* Brings all rows of a partition back into memory, whatever the budget. */
void
row_store_load(RowStore *store, int number)
{
	RowPartition *partition = &store->partitions[number];

	rewind_file(partition);
	for (; partition->file_chunks > 0; partition->file_chunks--)
	{
		uint32		used;
		RowChunk   *chunk;

		CHECK_FOR_INTERRUPTS();
		read_exactly(partition->file, &used, sizeof(used));
		chunk = add_chunk(store, partition, used);
		read_exactly(partition->file, chunk->data, used);
		chunk->used = used;
	}
}

/* Forgets a partition's rows. */
void
row_store_release(RowStore *store, int number)
{
	RowPartition *partition = &store->partitions[number];

	free_chunks(store, partition);
	if (partition->chunks != NULL)
		pfree(partition->chunks);
	if (partition->file != NULL)
		BufFileClose(partition->file);
	memset(partition, 0, sizeof(*partition));
}

/* Forgets the store. */
void
row_store_destroy(RowStore *store)
{
	for (int i = 0; i < store->partition_count; i++)
		row_store_release(store, i);
	MemoryContextDelete(store->context);
}

/* Starts reading at a partition's first row. No row may be appended meanwhile. */
void
row_cursor_open(RowCursor *cursor, RowStore *store, int number)
{
	memset(cursor, 0, sizeof(*cursor));
	cursor->partition = &store->partitions[number];
	rewind_file(cursor->partition);
	if (cursor->partition->file_chunks > 0)
	{
		/* Chunks of one row may be larger than the others: see next_chunk. */
		cursor->read_chunk = MemoryContextAlloc(store->context, offsetof(RowChunk, data) + CHUNK_BYTES);
		cursor->read_chunk->size = CHUNK_BYTES;
	}
}

/* The next chunk: those of the file, then those in memory. NULL at the end. */
static RowChunk *
next_chunk(RowCursor *cursor)
{
	RowPartition *partition = cursor->partition;
	int			number = cursor->next_chunk++;
	uint32		used;

	if (number >= partition->file_chunks)
	{
		number -= partition->file_chunks;
		return number < partition->chunk_count ? partition->chunks[number] : NULL;
	}
	read_exactly(partition->file, &used, sizeof(used));
	if (used > cursor->read_chunk->size)
	{
		cursor->read_chunk = repalloc_huge(cursor->read_chunk, offsetof(RowChunk, data) + used);
		cursor->read_chunk->size = used;
	}
	read_exactly(partition->file, cursor->read_chunk->data, used);
	cursor->read_chunk->used = used;
	return cursor->read_chunk;
}

/* The next row, or NULL at the end. It stays in place until the call after. */
void *
row_cursor_next(RowCursor *cursor)
{
	StoredRow  *row;

	while (cursor->chunk == NULL || cursor->offset >= cursor->chunk->used)
	{
		CHECK_FOR_INTERRUPTS();
		cursor->chunk = next_chunk(cursor);
		cursor->offset = 0;
		if (cursor->chunk == NULL)
		{
			if (cursor->read_chunk != NULL)
				pfree(cursor->read_chunk);
			cursor->read_chunk = NULL;
			return NULL;
		}
	}
	row = (StoredRow *) (cursor->chunk->data + cursor->offset);
	cursor->offset += row->size;
	return row;
}
