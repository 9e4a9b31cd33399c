/* here.c: which database this is, for flows must not run in copies of it. */
#include "pg_compat.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(retention_here);

/*
 * _here() -> text: the identifier of the cluster, which a promoted standby
 * keeps, and the number of the database in it, which a renamed one keeps. A
 * restored dump has others.
 */
Datum
retention_here(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(),
											  MyDatabaseId)));
}
