/* request.c: what the SQL function _collect is asked for. */
#include "pg_compat.h"

#include "executor/executor.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "collector/collection.h"
#include "values/score_bounds.h"

/* Names the arguments of _collect, of which some may be null. */
enum
{
	ARGUMENT_SOURCES,
	ARGUMENT_STORED_QUERY,
	ARGUMENT_AS_OF,
	ARGUMENT_HISTORY_START,
	ARGUMENT_TIME_ZONE,
	ARGUMENT_RULES
};

/* Names the attributes of retention._collected_source. */
enum
{
	SOURCE_QUERY,
	SOURCE_RELATION,
	SOURCE_IS_REFUND,
	SOURCE_ATTRIBUTES
};

/* Names the attributes of retention._score_rules. */
enum
{
	RULE_RECENCY_LIMITS,
	RULE_FREQUENCY_PERCENTILES,
	RULE_FREQUENCY_BOUNDS,
	RULE_MONETARY_PERCENTILES,
	RULE_MONETARY_BOUNDS,
	RULE_GROUPS
};

StaticAssertDecl(RULE_GROUPS + 1 == RULE_ATTRIBUTES, "RULE_ATTRIBUTES must count the rules");

static void
reject_null(bool is_null, const char *what)
{
	if (is_null)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("%s of retention._collect must not be null", what)));
}

/* Takes a row apart into as many attributes as it must have. */
static void
read_row(Datum row, int count, NullableDatum *attributes)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);

	for (int i = 0; i < count; i++)
		attributes[i].value = GetAttributeByNum(header, i + 1, &attributes[i].isnull);
}

/* Lists an array's elements and counts them; an error where one is null and nulls is NULL. */
Datum *
read_array(Datum array, int *count, bool **nulls)
{
	ArrayType  *list = DatumGetArrayTypeP(array);
	Datum	   *values;
	int16		length;
	bool		by_value;
	char		alignment;

	get_typlenbyvalalign(ARR_ELEMTYPE(list), &length, &by_value, &alignment);
	deconstruct_array(list, ARR_ELEMTYPE(list), length, by_value, alignment, &values, nulls, count);
	return values;
}

static CollectedSource
read_collected_source(Datum row)
{
	NullableDatum attributes[SOURCE_ATTRIBUTES];

	read_row(row, SOURCE_ATTRIBUTES, attributes);
	for (int i = 0; i < SOURCE_ATTRIBUTES; i++)
		reject_null(attributes[i].isnull, "a source's query, relation and is_refund");
	return (CollectedSource) {
		.query = TextDatumGetCString(attributes[SOURCE_QUERY].value),
		.relation = DatumGetObjectId(attributes[SOURCE_RELATION].value),
		.is_refund = DatumGetBool(attributes[SOURCE_IS_REFUND].value)
	};
}

static void
read_sources(Datum array, CollectionRequest *request)
{
	Datum	   *rows = read_array(array, &request->source_count, NULL);

	request->sources = palloc(request->source_count * sizeof(CollectedSource));
	for (int i = 0; i < request->source_count; i++)
		request->sources[i] = read_collected_source(rows[i]);
}

/* Reads the arguments of _collect; an error where one is null that must not be. */
void
read_request(FunctionCallInfo fcinfo, CollectionRequest *request)
{
	reject_null(PG_ARGISNULL(ARGUMENT_SOURCES), "sources");
	reject_null(PG_ARGISNULL(ARGUMENT_AS_OF), "as_of");
	reject_null(PG_ARGISNULL(ARGUMENT_TIME_ZONE), "time_zone");
	reject_null(PG_ARGISNULL(ARGUMENT_RULES), "rules");
	read_sources(PG_GETARG_DATUM(ARGUMENT_SOURCES), request);
	request->stored_query = PG_ARGISNULL(ARGUMENT_STORED_QUERY)
		? NULL : text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_STORED_QUERY));
	request->as_of = PG_GETARG_TIMESTAMPTZ(ARGUMENT_AS_OF);
	request->history_start = PG_ARGISNULL(ARGUMENT_HISTORY_START)
		? EARLIEST_TIME : Max(EARLIEST_TIME, PG_GETARG_TIMESTAMPTZ(ARGUMENT_HISTORY_START));
	request->time_zone = text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_TIME_ZONE));
	read_row(PG_GETARG_DATUM(ARGUMENT_RULES), RULE_ATTRIBUTES, request->rules);
}

/* Reads a rule whose bounds are given, or else found by percentiles. */
static void
read_rule(const NullableDatum *percentiles, const NullableDatum *bounds, ScoreRule *rule)
{
	PercentileBound fractions[MAX_SCORE_BOUNDS];

	rule->by_percentile = bounds->isnull;
	if (!rule->by_percentile)
	{
		rule->count = read_bounds(bounds->value, "bounds", MAX_SCORE_BOUNDS, rule->bounds);
		return;
	}
	rule->count = read_bounds(percentiles->value, "percentiles", MAX_SCORE_BOUNDS, fractions);
	for (int i = 0; i < rule->count; i++)
		rule->fractions[i] = fractions[i].value;
}

/* Reads the names of the groups, by cell_index, and copies them into the context. */
static void
read_groups(Datum array, ScoreRules *rules, MemoryContext context)
{
	int			count;
	bool	   *nulls;
	Datum	   *names = read_array(array, &count, &nulls);
	MemoryContext previous;

	if (count != cell_count(rules))
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
						errmsg("%d groups are given for %d combinations of scores", count,
							   cell_count(rules))));
	previous = MemoryContextSwitchTo(context);
	rules->groups = palloc0(count * sizeof(text *));
	rules->group_sizes = palloc0(count * sizeof(int64));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("groups must not hold null")));
		rules->groups[i] = DatumGetTextPCopy(names[i]);
	}
	MemoryContextSwitchTo(previous);
}

/*
 * Reads the rules of a request, but for the day that recency counts from. What they keep goes into
 * the context. Errors: null where there must be a value, too many bounds, NaN, or another number of
 * groups than the bounds tell apart.
 */
void
read_rules(const NullableDatum *attributes, ScoreRules *rules, MemoryContext context)
{
	reject_null(attributes[RULE_RECENCY_LIMITS].isnull, "recency_limits");
	reject_null(attributes[RULE_FREQUENCY_PERCENTILES].isnull, "frequency_percentiles");
	reject_null(attributes[RULE_MONETARY_PERCENTILES].isnull, "monetary_percentiles");
	reject_null(attributes[RULE_GROUPS].isnull, "groups");
	rules->recency.count = read_bounds(attributes[RULE_RECENCY_LIMITS].value, "recency_limits",
									   MAX_SCORE_BOUNDS, rules->recency.bounds);
	read_rule(&attributes[RULE_FREQUENCY_PERCENTILES], &attributes[RULE_FREQUENCY_BOUNDS],
			  &rules->frequency);
	read_rule(&attributes[RULE_MONETARY_PERCENTILES], &attributes[RULE_MONETARY_BOUNDS],
			  &rules->monetary);
	read_groups(attributes[RULE_GROUPS].value, rules, context);
}
