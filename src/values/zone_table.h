/* zone_table.h: PostgreSQL's time zones as tables for src/math/zone. */
#ifndef RETENTION_ZONE_TABLE_H
#define RETENTION_ZONE_TABLE_H

#include "pg_compat.h"

#include "math/zone.h"

extern Zone *zone_table(const char *name, MemoryContext context);
extern Zone *zone_named(const text *name);
extern Zone *zone_utc(void);

#endif
