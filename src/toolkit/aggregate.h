/* aggregate.h: what the aggregates' support functions share. */
#ifndef RETENTION_AGGREGATE_H
#define RETENTION_AGGREGATE_H

#include "pg_compat.h"

#include "utils/memutils.h"

/* Returns the memory that lives as long as the aggregate's state; an error outside an aggregate. */
static inline MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this function is part of an aggregate and cannot be called by itself")));
	return context;
}

/* Says what to do about a state that is too large to pass from a parallel worker. */
#define SERIAL_HINT "Set max_parallel_workers_per_gather to 0 for this query."

/*
 * Makes a flat state: a head, then an array, in this machine's layout. `name` and `hint` are for
 * the error where that is more than a value can hold.
 */
static inline bytea *
write_flat_state(const void *head, Size head_size, const void *array, Size array_size,
				 const char *name, const char *hint)
{
	bytea	   *result;

	if (array_size > MaxAllocSize - VARHDRSZ - head_size)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("a state of %s would have %zu bytes, more than the 1 GB of a value",
							   name, array_size + head_size),
						errhint("%s", hint)));
	result = palloc(VARHDRSZ + head_size + array_size);
	SET_VARSIZE(result, VARHDRSZ + head_size + array_size);
	memcpy(VARDATA(result), head, head_size);
	if (array_size > 0)
		memcpy(VARDATA(result) + head_size, array, array_size);
	return result;
}

/*
 * Reads a flat state's head; returns its array and the array's size, still to be compared with what
 * the head says.
 */
static inline const char *
read_flat_state(const bytea *source, void *head, Size head_size, Size *array_size, const char *name)
{
	Size		size = VARSIZE_ANY_EXHDR(source);

	if (size < head_size)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("invalid state of %s, of %zu bytes", name, size)));
	memcpy(head, VARDATA_ANY(source), head_size);
	*array_size = size - head_size;
	return VARDATA_ANY(source) + head_size;
}

/* Rejects a flat state whose array is not as long as its head says. */
static inline void
check_flat_state(int64 count, Size element_size, Size array_size, const char *name)
{
	if (count < 0 || array_size % element_size != 0 || array_size / element_size != (uint64) count)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("invalid state of %s: %zu bytes for " INT64_FORMAT " elements", name,
							   array_size, count)));
}

#endif
