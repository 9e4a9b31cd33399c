/* kept_plans.h: statements that are planned once a session. */
#ifndef RETENTION_KEPT_PLANS_H
#define RETENTION_KEPT_PLANS_H

#include "pg_compat.h"

#include "executor/spi.h"

extern SPIPlanPtr kept_plan(const char *statement, Oid role, ParamListInfo arguments);

#endif
