/*
 * relation_fingerprint.c: tells, without reading a table, that nobody changed it.
 *
 * VACUUM marks a page in the visibility map when all its rows are visible to
 * everyone, and any insert, update or delete clears the mark. Setting a mark
 * is logged and stamps the map's page with the log position. So a table whose
 * pages are all marked, with the same stamps, size and file as before, has not
 * been changed in between. The same bytes can be read otherwise, so how columns
 * are read belongs to it. Take the fingerprint before the snapshot that reads
 * the table.
 */
#include "pg_compat.h"

#include "access/relation.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* Finds the latest log position at which a mark was set. */
static XLogRecPtr
latest_mark(Relation relation)
{
	XLogRecPtr	latest = InvalidXLogRecPtr;
	BlockNumber blocks;

	if (!smgrexists(RelationGetSmgr(relation), VISIBILITYMAP_FORKNUM))
		return latest;
	blocks = RelationGetNumberOfBlocksInFork(relation, VISIBILITYMAP_FORKNUM);
	for (BlockNumber block = 0; block < blocks; block++)
	{
		Buffer		buffer =
			ReadBufferExtended(relation, VISIBILITYMAP_FORKNUM, block, RBM_NORMAL, NULL);
		XLogRecPtr	position;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		position = PageGetLSN(BufferGetPage(buffer));
		UnlockReleaseBuffer(buffer);
		latest = Max(latest, position);
	}
	return latest;
}

/*
 * Tells whether the map vouches for a relation. Only a permanent heap has a map, and one that is
 * logged; row security may hide rows by who asks, and a virtual column may be redefined without a
 * change to any row.
 */
static bool
can_vouch(Relation relation)
{
	char		kind = relation->rd_rel->relkind;

	if (relation->rd_rel->relrowsecurity || has_virtual_columns(RelationGetDescr(relation)))
		return false;
	if (kind == RELKIND_PARTITIONED_TABLE)
		return true;
	return (kind == RELKIND_RELATION || kind == RELKIND_MATVIEW) && RelationNeedsWAL(relation) &&
		relation->rd_tableam == GetHeapamTableAmRoutine();
}

/* Appends which column has a name, and of what type: this can change while the file does not. */
static void
append_column(Relation relation, const char *name, StringInfo result)
{
	TupleDesc	type = RelationGetDescr(relation);

	for (int i = 0; i < type->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(type, i);

		if (!column->attisdropped && strcmp(NameStr(column->attname), name) == 0)
			appendStringInfo(result, ",%d:%u:%d:%u", column->attnum, column->atttypid,
							 column->atttypmod, column->attcollation);
	}
}

/* Appends one relation's part; false where nothing can be said of it. */
static bool
append_fingerprint(Oid relation_id, const Datum *columns, int count, StringInfo result)
{
	Relation	relation = relation_open(relation_id, AccessShareLock);
	bool		vouched = can_vouch(relation);

	appendStringInfo(result, "%u/%u", relation_id, relation->rd_rel->relowner);
	for (int i = 0; i < count; i++)
		append_column(relation, NameStr(*DatumGetName(columns[i])), result);
	if (vouched && relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		BlockNumber blocks = RelationGetNumberOfBlocks(relation);
		BlockNumber visible;

		visibilitymap_count(relation, &visible, NULL);
		vouched = visible == blocks;
		appendStringInfo(result, "/%u/%u/%X:%X", relation->rd_rel->relfilenode, blocks,
						 LSN_FORMAT_ARGS(latest_mark(relation)));
	}
	appendStringInfoChar(result, ' ');
	relation_close(relation, AccessShareLock);
	return vouched;
}

PG_FUNCTION_INFO_V1(retention_relation_fingerprint);

/*
 * _relation_fingerprint(regclass, columns name[]) -> text: equal for two
 * moments between which neither the relation's rows nor the owner, place and
 * types of these columns have changed; NULL where this cannot be told (pages
 * that VACUUM has not seen since they changed, views, foreign, temporary and
 * unlogged tables, other storage than the heap, row security). Partitions and
 * inheriting tables included. Never equal in two clusters.
 */
Datum
retention_relation_fingerprint(PG_FUNCTION_ARGS)
{
	List	   *relations = find_all_inheritors(PG_GETARG_OID(0), AccessShareLock, NULL);
	StringInfoData result;
	Datum	   *columns;
	int			count;
	ListCell   *cell;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &columns, NULL, &count);
	initStringInfo(&result);
	appendStringInfo(&result, UINT64_FORMAT " ", GetSystemIdentifier());
	foreach(cell, relations)
	{
		if (!append_fingerprint(lfirst_oid(cell), columns, count, &result))
			PG_RETURN_NULL();
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(result.data, result.len));
}
