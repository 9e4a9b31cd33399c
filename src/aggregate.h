/* aggregate.h: what the aggregates' support functions share. */
#ifndef RETENTION_AGGREGATE_H
#define RETENTION_AGGREGATE_H

#include "pg_compat.h"

/* The memory that lives as long as the aggregate's state; an error outside an aggregate. */
static inline MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("this function is part of an aggregate and cannot be called by itself")));
	return context;
}

#endif
