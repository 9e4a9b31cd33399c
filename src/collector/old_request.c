/* old_request.c: the arguments that _collect had in 0.1.0. Kept for 0.1.0. */
#include "pg_compat.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "collector/collection.h"

/* Names the arguments; what follows the zone are the attributes of _score_rules. */
enum
{
	OLD_QUERIES,
	OLD_RELATIONS,
	OLD_REFUNDS,
	OLD_STORED_QUERY,
	OLD_AS_OF,
	OLD_HISTORY_START,
	OLD_TIME_ZONE,
	OLD_RULES
};

/* Zips three arrays to sources; an error where they are not of one length. */
static void
read_old_sources(FunctionCallInfo fcinfo, CollectionRequest *request)
{
	int			counts[3];
	Datum	   *queries = read_array(PG_GETARG_DATUM(OLD_QUERIES), &counts[0], NULL);
	Datum	   *relations = read_array(PG_GETARG_DATUM(OLD_RELATIONS), &counts[1], NULL);
	Datum	   *refunds = read_array(PG_GETARG_DATUM(OLD_REFUNDS), &counts[2], NULL);

	if (counts[0] != counts[1] || counts[0] != counts[2])
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
						errmsg("queries, relations and refunds must have the same length")));
	request->source_count = counts[0];
	request->sources = palloc(counts[0] * sizeof(CollectedSource));
	for (int i = 0; i < counts[0]; i++)
		request->sources[i] = (CollectedSource) {TextDatumGetCString(queries[i]),
												 DatumGetObjectId(relations[i]),
												 DatumGetBool(refunds[i])};
}

/* Reads the arguments of 0.1.0; an error where one is null that must not be. */
void
read_old_request(FunctionCallInfo fcinfo, CollectionRequest *request)
{
	for (int i = 0; i < OLD_RULES; i++)
	{
		if (PG_ARGISNULL(i) && i != OLD_STORED_QUERY && i != OLD_HISTORY_START)
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("argument %d of retention._collect must not be null", i + 1)));
	}
	read_old_sources(fcinfo, request);
	request->stored_query = PG_ARGISNULL(OLD_STORED_QUERY)
		? NULL : text_to_cstring(PG_GETARG_TEXT_PP(OLD_STORED_QUERY));
	request->as_of = PG_GETARG_TIMESTAMPTZ(OLD_AS_OF);
	request->history_start = PG_ARGISNULL(OLD_HISTORY_START)
		? EARLIEST_TIME : Max(EARLIEST_TIME, PG_GETARG_TIMESTAMPTZ(OLD_HISTORY_START));
	request->time_zone = text_to_cstring(PG_GETARG_TEXT_PP(OLD_TIME_ZONE));
	memcpy(request->rules, &fcinfo->args[OLD_RULES], sizeof(request->rules));
}
