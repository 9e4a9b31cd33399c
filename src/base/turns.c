/*
 * turns.c: locks by which jobs take turns. They are no advisory ones, which
 * any role of the database could take, and have all jobs wait.
 */
#include "pg_compat.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lock.h"

PG_FUNCTION_INFO_V1(retention_take_lock);

/*
 * _take_lock(relation regclass, number integer, waits boolean, shares boolean) -> boolean: takes a
 * lock that belongs to a table of ours, of which it has 65,536: numbers that differ by so many are
 * the same. Nothing but this takes it, and it is kept until the (sub)transaction ends; those who
 * share it have it beside each other. False where another one has it, and it is not to be waited
 * for. In 0.1.0 nobody shared, and there was no such argument.
 */
Datum
retention_take_lock(PG_FUNCTION_ARGS)
{
	LOCKTAG		tag;
	LOCKMODE	mode = PG_NARGS() > 3 && PG_GETARG_BOOL(3) ? ShareLock : ExclusiveLock;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, PG_GETARG_OID(0),
					   (uint16) PG_GETARG_INT32(1));
	PG_RETURN_BOOL(LockAcquire(&tag, mode, false, !PG_GETARG_BOOL(2)) != LOCKACQUIRE_NOT_AVAIL);
}
