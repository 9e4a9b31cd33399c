/* row_store.c: rows by partition, in memory or in temporary files; see row_store.h. */
#include "rows/row_store.h"

#include <sys/mman.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Takes chunks of the usual size from blocks that are never given back. */
#define CHUNK_STRIDE (offsetof(RowChunk, data) + CHUNK_BYTES)
#define MIN_BLOCK_BYTES (16 * CHUNK_STRIDE)
#define MAX_BLOCK_BYTES ((Size) 16 * 1024 * 1024)
#define HUGE_PAGE_BYTES ((uintptr_t) 2 * 1024 * 1024)

/* Asks for large pages: rows are spread over many partitions, and each 4 kB page costs a fault. */
static void
prefer_huge_pages(char *block, Size size)
{
#ifdef MADV_HUGEPAGE
	uintptr_t	start = TYPEALIGN(HUGE_PAGE_BYTES, (uintptr_t) block);
	uintptr_t	end = TYPEALIGN_DOWN(HUGE_PAGE_BYTES, (uintptr_t) block + size);

	if (start < end)
		(void) madvise((void *) start, end - start, MADV_HUGEPAGE);
#endif
}

static void
add_block(RowMemory *memory)
{
	Size		size = Max(MIN_BLOCK_BYTES, Min(memory->limit / 8, MAX_BLOCK_BYTES));

	memory->block_next = MemoryContextAlloc(memory->context, size);
	memory->block_end = memory->block_next + size;
	prefer_huge_pages(memory->block_next, size);
}

/* Gets a chunk for rows of `size` bytes: from the pool, unless it is larger than the others. */
static RowChunk *
take_chunk(RowMemory *memory, Size size)
{
	RowChunk   *chunk = memory->free_chunks;

	memory->used += size;
	if (size > CHUNK_BYTES)
		return MemoryContextAllocHuge(memory->context, offsetof(RowChunk, data) + size);
	if (chunk != NULL)
	{
		memory->free_chunks = chunk->next_free;
		return chunk;
	}
	if ((Size) (memory->block_end - memory->block_next) < CHUNK_STRIDE)
		add_block(memory);
	chunk = (RowChunk *) memory->block_next;
	memory->block_next += CHUNK_STRIDE;
	return chunk;
}

static void
give_chunk(RowMemory *memory, RowChunk *chunk)
{
	memory->used -= chunk->size;
	if (chunk->size > CHUNK_BYTES)
	{
		pfree(chunk);
		return;
	}
	chunk->next_free = memory->free_chunks;
	memory->free_chunks = chunk;
}

/* Makes a store; its memory belongs to a child of the given context. */
RowStore *
row_store_create(MemoryContext parent, RowMemory *memory, int partitions)
{
	MemoryContext context = AllocSetContextCreate(parent, "retention rows", ALLOCSET_DEFAULT_SIZES);
	RowStore   *store = MemoryContextAllocZero(context, sizeof(RowStore));

	store->context = context;
	store->memory = memory;
	store->partition_count = partitions;
	store->partitions = MemoryContextAllocZero(context, partitions * sizeof(RowPartition));
	return store;
}

/* Notes how full the last chunk is, ahead of anything that looks at the chunks. */
static void
close_chunk(RowPartition *partition)
{
	RowChunk   *chunk;

	if (partition->next == NULL)
		return;
	chunk = partition->chunks[partition->chunk_count - 1];
	chunk->used = partition->next - chunk->data;
	partition->bytes += chunk->used;
	partition->next = partition->end = NULL;
}

static void
free_chunks(RowStore *store, RowPartition *partition)
{
	for (int i = 0; i < partition->chunk_count; i++)
		give_chunk(store->memory, partition->chunks[i]);
	partition->chunk_count = 0;
}

/* Moves all of a partition's chunks to its file. */
static void
spill_partition(RowStore *store, RowPartition *partition)
{
	close_chunk(partition);
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
	RowChunk   *chunk = take_chunk(store->memory, size);

	chunk->used = 0;
	chunk->size = size;
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

/* Starts a new chunk for a row of `size` bytes, after spilling where the budget is used up. */
void
row_store_make_room(RowStore *store, int number, Size size)
{
	RowPartition *partition = &store->partitions[number];
	Size		chunk_size = Max(size, CHUNK_BYTES);
	RowChunk   *chunk;

	close_chunk(partition);
	if (store->memory->used + chunk_size > store->memory->limit)
	{
		for (int i = 0; i < store->partition_count; i++)
			spill_partition(store, &store->partitions[i]);
	}
	chunk = add_chunk(store, partition, chunk_size);
	partition->next = chunk->data;
	partition->end = chunk->data + chunk_size;
}

/* Counts the bytes of a partition's rows, in memory or not. */
Size
row_store_bytes(RowStore *store, int number)
{
	close_chunk(&store->partitions[number]);
	return store->partitions[number].bytes;
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

	close_chunk(partition);
	rewind_file(partition);
	for (; partition->file_chunks > 0; partition->file_chunks--)
	{
		uint32		used;
		RowChunk   *chunk;

		CHECK_FOR_INTERRUPTS();
		read_exactly(partition->file, &used, sizeof(used));
		chunk = add_chunk(store, partition, Max(used, CHUNK_BYTES));
		read_exactly(partition->file, chunk->data, used);
		chunk->used = used;
	}
}

/* Forgets a partition's rows. */
void
row_store_release(RowStore *store, int number)
{
	RowPartition *partition = &store->partitions[number];

	close_chunk(partition);
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
	close_chunk(cursor->partition);
	rewind_file(cursor->partition);
	if (cursor->partition->file_chunks > 0)
	{
		/* Chunks of one row may be larger than the others: see next_chunk. */
		cursor->read_chunk =
			MemoryContextAlloc(store->context, offsetof(RowChunk, data) + CHUNK_BYTES);
		cursor->read_chunk->size = CHUNK_BYTES;
	}
}

/* Reads the next chunk: those of the file, then those in memory. NULL at the end. */
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

/* Returns the next row, or NULL at the end. It stays in place until the call after. */
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
