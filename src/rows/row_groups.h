/*
 * row_groups.h: brings the rows of one key together.
 *
 * Rows are partitioned by their key's hash: a partition's keys then fit the
 * processor's cache, and partitions beyond the memory budget wait in files.
 */
#ifndef RETENTION_ROW_GROUPS_H
#define RETENTION_ROW_GROUPS_H

#include "rows/row_store.h"

#define NO_ROW PG_UINT32_MAX

/*
 * Holds what rows to be grouped begin with; the key follows somewhere. Partitions are the hash's
 * first bits.
 */
typedef struct KeyedRow
{
	StoredRow	stored;
	uint32		hash;
	uint16		key_length;
} KeyedRow;

/*
 * Takes the rows of one key: the first one's position, and so on through StoredRow.next to NO_ROW.
 */
typedef void (*RowGroupFunction) (void *argument, RowPartition *partition, uint32 first);

extern int	row_partition_bits(Size budget, Size expected_bytes);
extern void group_rows(RowStore *store, MemoryContext context, int partition_bits, Size key_offset,
					   RowGroupFunction function, void *argument);

#endif
