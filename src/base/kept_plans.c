/*
 * kept_plans.c: statements that are run again and again over few rows, such as
 * that of a flow's node in each tick, are planned once a session.
 */
#include "base/kept_plans.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Limits the plans that a session keeps; then it begins anew. One takes about 200 kB. */
#define MOST_PLANS 256

/*
 * Holds what a plan is found by. The planner inlines by rights, so each role has plans of its own.
 */
typedef struct PlanKey
{
	uint64		statement;
	Oid			role;
} PlanKey;

typedef struct KeptPlan
{
	PlanKey		key;
	char	   *statement;
	SPIPlanPtr	plan;			/* knows the types of its arguments */
} KeptPlan;

static HTAB *kept = NULL;

static void
make_table(void)
{
	HASHCTL		control = {
		.keysize = sizeof(PlanKey), .entrysize = sizeof(KeptPlan), .hcxt = TopMemoryContext};

	kept = hash_create("kept plans of retention", MOST_PLANS, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
forget_plan(KeptPlan *entry)
{
	SPI_freeplan(entry->plan);
	pfree(entry->statement);
	hash_search(kept, &entry->key, HASH_REMOVE, NULL);
}

static void
forget_all(void)
{
	HASH_SEQ_STATUS scan;
	KeptPlan   *entry;

	hash_seq_init(&scan, kept);
	while ((entry = hash_seq_search(&scan)) != NULL)
		forget_plan(entry);
}

/* Prepares one plan for whatever arguments: the planner takes arrays for short then. */
static SPIPlanPtr
prepare(const char *statement, ParamListInfo arguments)
{
	Oid		   *types = palloc(arguments->numParams * sizeof(Oid));
	SPIPlanPtr	plan;

	for (int i = 0; i < arguments->numParams; i++)
		types[i] = arguments->params[i].ptype;
	plan = SPI_prepare_cursor(statement, arguments->numParams, types, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "a statement cannot be prepared: %s", SPI_result_code_string(SPI_result));
	pfree(types);
	return plan;
}

/*
 * Tells whether a plan is the statement's, for arguments of these types: one of ours may have been
 * made anew.
 */
static bool
fits(const KeptPlan *entry, const char *statement, ParamListInfo arguments)
{
	if (strcmp(entry->statement, statement) != 0 ||
		SPI_getargcount(entry->plan) != arguments->numParams)
		return false;
	for (int i = 0; i < arguments->numParams; i++)
		if (SPI_getargtypeid(entry->plan, i) != arguments->params[i].ptype)
			return false;
	return true;
}

static void
keep(PlanKey key, const char *statement, SPIPlanPtr plan)
{
	char	   *copy = MemoryContextStrdup(TopMemoryContext, statement);
	KeptPlan   *entry = hash_search(kept, &key, HASH_ENTER, NULL);

	entry->statement = copy;
	entry->plan = plan;
	SPI_keepplan(plan);
}

/*
 * Returns the session's plan of a statement for a role, whose rights must be those of now, and for
 * arguments of these types. The server makes it anew when what it reads has changed. Needs an SPI
 * connection. Errors: the statement's own.
 */
SPIPlanPtr
kept_plan(const char *statement, Oid role, ParamListInfo arguments)
{
	PlanKey		key;
	KeptPlan   *entry;
	SPIPlanPtr	plan;

	if (kept == NULL)
		make_table();
	memset(&key, 0, sizeof(key));
	key.statement = hash_bytes_extended((const unsigned char *) statement, strlen(statement), 0);
	key.role = role;
	entry = hash_search(kept, &key, HASH_FIND, NULL);
	if (entry != NULL && fits(entry, statement, arguments))
		return entry->plan;
	plan = prepare(statement, arguments);
	if (entry != NULL)
		forget_plan(entry);
	else if (hash_get_num_entries(kept) >= MOST_PLANS)
		forget_all();
	keep(key, statement, plan);
	return plan;
}
