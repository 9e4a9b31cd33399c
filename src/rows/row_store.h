/*
 * row_store.h: rows of bytes, kept by partition, in memory up to a budget and
 * in temporary files beyond it.
 */
#ifndef RETENTION_ROW_STORE_H
#define RETENTION_ROW_STORE_H

#include "pg_compat.h"

#include "storage/buffile.h"

/*
 * Describes memory that several stores share: a budget, and a pool of chunks for what they append.
 */
typedef struct RowMemory
{
	MemoryContext context;
	Size		limit;
	Size		used;
	struct RowChunk *free_chunks;
	char	   *block_next;		/* chunks not yet used, of the latest block */
	char	   *block_end;
} RowMemory;

/* Begins every row with its size; the link is for whoever reads the rows. */
typedef struct StoredRow
{
	uint32		size;
	uint32		next;
} StoredRow;

typedef struct RowChunk
{
	struct RowChunk *next_free;
	uint32		used;
	uint32		size;
	char		data[FLEXIBLE_ARRAY_MEMBER];
} RowChunk;

typedef struct RowPartition
{
	char	   *next;			/* where the next row goes, in the last chunk */
	char	   *end;			/* of that chunk */
	RowChunk  **chunks;
	int			chunk_count;
	int			chunk_capacity;
	Size		bytes;			/* of all rows but those of the last chunk */
	int			file_chunks;
	BufFile    *file;
} RowPartition;

typedef struct RowStore
{
	MemoryContext context;
	RowMemory  *memory;
	int			partition_count;
	RowPartition *partitions;
} RowStore;

/* Reads a partition's rows in turn, whether they are in memory or not. */
typedef struct RowCursor
{
	RowPartition *partition;
	RowChunk   *chunk;
	RowChunk   *read_chunk;		/* memory for chunks that come from the file */
	uint32		offset;
	int			next_chunk;
} RowCursor;

/* Counts positions in units of 8 bytes; a chunk has this many of them. */
#define CHUNK_UNITS 2032
#define CHUNK_BYTES (CHUNK_UNITS * 8)

extern RowStore *row_store_create(MemoryContext parent, RowMemory *memory, int partitions);
extern void row_store_make_room(RowStore *store, int partition, Size size);
extern Size row_store_bytes(RowStore *store, int partition);
extern void row_store_load(RowStore *store, int partition);
extern void row_store_release(RowStore *store, int partition);
extern void row_store_destroy(RowStore *store);

extern void row_cursor_open(RowCursor *cursor, RowStore *store, int partition);
extern void *row_cursor_next(RowCursor *cursor);

/*
 * Reserves a row of `size` bytes (with its StoredRow, whose size is filled in)
 * for the caller to write. Past the budget, the store's rows go to files first.
 */
static inline void *
row_store_append(RowStore *store, int number, Size size)
{
	RowPartition *partition = &store->partitions[number];
	StoredRow  *row;

	size = TYPEALIGN(8, size);
	if (unlikely((Size) (partition->end - partition->next) < size))
		row_store_make_room(store, number, size);
	row = (StoredRow *) partition->next;
	row->size = size;
	partition->next += size;
	return row;
}

/* Returns the position of the row that row_cursor_next returned; the partition must be loaded. */
static inline uint32
row_cursor_position(const RowCursor *cursor, const StoredRow *row)
{
	return (uint32) (cursor->next_chunk - 1) * CHUNK_UNITS +
		(uint32) (((const char *) row - cursor->chunk->data) / 8);
}

/* Returns the row at a position of a loaded partition. */
static inline void *
row_at(const RowPartition *partition, uint32 position)
{
	return partition->chunks[position / CHUNK_UNITS]->data + (Size) (position % CHUNK_UNITS) * 8;
}

#endif
