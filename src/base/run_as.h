/*
 * run_as.h: running what others own with their rights: sources, views of
 * segments, relations of contacts, expressions of flows.
 */
#ifndef RETENTION_RUN_AS_H
#define RETENTION_RUN_AS_H

#include "pg_compat.h"

#include "executor/spi.h"
#include "tcop/dest.h"
#include "utils/relcache.h"

extern char *relation_label(MemoryContext context, Oid relation);
extern void check_columns(TupleDesc type, const Oid *expected, int count, const char *what);
extern void check_table(Relation relation, const Oid *expected, int count);
extern void watch_names(void);
extern void read_query(const char *query, DestReceiver *receiver, Oid relation);

#endif
