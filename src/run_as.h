/*
 * run_as.h: running what others own with their rights: sources, views of
 * segments, relations of contacts, expressions of flows.
 */
#ifndef RETENTION_RUN_AS_H
#define RETENTION_RUN_AS_H

#include "pg_compat.h"

#include "access/tupdesc.h"
#include "executor/spi.h"
#include "tcop/dest.h"

/* What is restored afterwards. An error restores it too, with its (sub)transaction. */
typedef struct RightsScope
{
	Oid			user;
	int			security_context;
	int			settings_level;
} RightsScope;

extern void rights_enter(RightsScope *scope, Oid role);
extern void rights_leave(const RightsScope *scope);
extern Oid	relation_owner(Oid relation);
extern char *relation_label(MemoryContext context, Oid relation);
extern void check_columns(TupleDesc type, const Oid *expected, int count, const char *what);
extern void watch_names(void);
extern void run_statement(const char *statement, SPIExecuteOptions *options,
						  Oid role, Oid relation);

#endif
