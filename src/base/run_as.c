/*
 * run_as.c: runs statements with another role's rights, as REFRESH MATERIALIZED
 * VIEW runs its query with the owner's: in a security-restricted operation, so
 * that nothing of theirs outlives it, and with the settings of a job.
 */
#include "base/run_as.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "base/job_settings.h"
#include "base/kept_plans.h"

/* Holds what is restored afterwards. An error restores it too, with its (sub)transaction. */
typedef struct RightsScope
{
	Oid			user;
	int			security_context;
	int			settings_level;
} RightsScope;

/* Goes on with a role's rights, in a security-restricted operation, under the settings of a job. */
static void
rights_enter(RightsScope *scope, Oid role)
{
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(role, scope->security_context | SECURITY_RESTRICTED_OPERATION);
	scope->settings_level = NewGUCNestLevel();
	pin_job_settings();
}

/* Goes back to the rights and settings of before; settings that were made meanwhile are undone. */
static void
rights_leave(const RightsScope *scope)
{
	AtEOXact_GUC(false, scope->settings_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/* Tells who owns a relation; an error (42P01) where there is none of this number. */
static Oid
relation_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation with OID %u does not exist", relation)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Makes a relation's name for messages, as regclass writes it, in a memory context. */
char *
relation_label(MemoryContext context, Oid relation)
{
	MemoryContext previous = MemoryContextSwitchTo(context);
	char	   *label =
		DatumGetCString(DirectFunctionCall1(regclassout, ObjectIdGetDatum(relation)));

	MemoryContextSwitchTo(previous);
	return label;
}

/* Rejects (42804) rows that do not have exactly these types of columns. `what` names the rows. */
void
check_columns(TupleDesc type, const Oid *expected, int count, const char *what)
{
	if (type->natts != count)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("%s must have %d columns, not %d", what, count, type->natts)));
	for (int i = 0; i < count; i++)
	{
		Oid			found = TupleDescAttr(type, i)->atttypid;

		if (found != expected[i])
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
							errmsg("column %d of %s must have type %s, not %s", i + 1, what,
								   format_type_be(expected[i]), format_type_be(found))));
	}
}

/* Rejects what is no table (42809), or has not exactly these types of columns. */
void
check_table(Relation relation, const Oid *expected, int count)
{
	const char *name = RelationGetRelationName(relation);

	if (relation->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a table", name)));
	check_columns(RelationGetDescr(relation), expected, count, name);
}

/* Names all that the statement which is analysed next may name; InvalidOid: anything. */
static Oid	only_relation = InvalidOid;

static post_parse_analyze_hook_type next_hook = NULL;

/* Tells whether a query, not yet rewritten, names any table or view but one. */
static bool
names_another(Node *node, void *relation)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		return entry->rtekind == RTE_RELATION && entry->relid != *(Oid *) relation;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, names_another, relation, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, names_another, relation);
}

/*
 * Looks at what the names of a statement have turned out to mean, before
 * anything of it is planned or run.
 */
static void
check_names(ParseState *state, Query *query, JumbleState *jumble)
{
	Oid			relation = only_relation;
	Node	   *node = (Node *) query;

	only_relation = InvalidOid;
	if (next_hook != NULL)
		next_hook(state, query, jumble);
	if (query->commandType == CMD_UTILITY && IsA(query->utilityStmt, ExplainStmt))
		node = ((ExplainStmt *) query->utilityStmt)->query;
	if (OidIsValid(relation) && names_another(node, &relation))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("%s was renamed while it was being read",
							   relation_label(CurrentMemoryContext, relation)),
						errhint("It is found by its new name the next time.")));
}

/* Has names checked in this session from now on. */
void
watch_names(void)
{
	next_hook = post_parse_analyze_hook;
	post_parse_analyze_hook = check_names;
}

/*
 * Holds what is said of a relation that cannot be read. Made before, for then nothing can be looked
 * up.
 */
typedef struct Reading
{
	char	   *label;			/* the relation's name; NULL: it is none of others */
	char	   *owner;
} Reading;

static Reading
reading_of(Oid relation, Oid role)
{
	if (!OidIsValid(relation))
		return (Reading) {NULL, NULL};
	return (Reading) {
		.label = relation_label(CurrentMemoryContext, relation),
		.owner = GetUserNameFromId(role, true)
	};
}

/*
 * Has an error say what could not be read, and what to do, rather than where in
 * our functions that was noticed. Its SQLSTATE stays, and a hint of theirs, but
 * for those that explain names and types by our query.
 */
static void
tell_reading(ErrorData *error, const Reading *reading)
{
	bool		is_of_names = ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
		ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION;

	/* Nested, or our own. */
	if (strncmp(error->message, reading->label, strlen(reading->label)) != 0)
		error->message = psprintf("%s cannot be read: %s", reading->label, error->message);
	if (error->hint == NULL || is_of_names)
		error->hint =
			psprintf("Mend it, or what it reads: it is read with the rights of its owner %s, and "
					 "with search_path = pg_catalog, pg_temp.",
					 reading->owner == NULL ? "" : reading->owner);
	error->internalquery = NULL;
	error->internalpos = 0;
	error->cursorpos = 0;
}

/*
 * Goes on with an error of a statement. One that says "cancelled" and comes
 * from the statement itself, such as from another server that it has asked, is
 * no cancelling of ours: it becomes operator_intervention, which passes as well.
 */
static void
rethrow(MemoryContext context, const Reading *reading)
{
	ErrorData  *error;
	bool		is_interrupt;

	if (geterrcode() != ERRCODE_QUERY_CANCELED && reading->label == NULL)
		PG_RE_THROW();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	is_interrupt = error->funcname != NULL && strcmp(error->funcname, "ProcessInterrupts") == 0;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && !is_interrupt)
		error->sqlerrcode = ERRCODE_OPERATOR_INTERVENTION;
	if (reading->label != NULL)
		error->context = NULL;
	if (reading->label != NULL && !is_interrupt)
		tell_reading(error, reading);
	FlushErrorState();
	ReThrowError(error);
}

/* Describes a statement, and how it is run. */
typedef struct Statement
{
	const char *text;
	Oid			role;			/* whose rights it has; InvalidOid: those of now */
	Oid			relation;		/* the only one that it may name; InvalidOid: it may name any */
	bool		keeps_plan;		/* whether it is planned once a session, for few rows */
} Statement;

static int
execute(const Statement *statement, const SPIExecuteOptions *options)
{
	if (statement->keeps_plan)
		return SPI_execute_plan_extended(kept_plan(statement->text, statement->role,
												   options->params),
										 options);
	return SPI_execute_extended(statement->text, options);
}

static int
run_checked(const Statement *statement, const SPIExecuteOptions *options)
{
	MemoryContext context = CurrentMemoryContext;
	Reading		reading = reading_of(statement->relation, statement->role);
	volatile int status = 0;

	only_relation = statement->relation;
	PG_TRY();
	{
		status = execute(statement, options);
	}
	PG_CATCH();
	{
		only_relation = InvalidOid;
		rethrow(context, &reading);
	}
	PG_END_TRY();
	only_relation = InvalidOid;
	return status;
}

static void
ignore(DestReceiver *self)
{
}

/*
 * Runs a statement. Its rows go to options->dest. Where a relation is given it
 * must name no other one (55006): a name was made of it, which may mean a
 * stranger's by now, and what that runs would have the role's rights. Needs an
 * SPI connection.
 */
static void
run_statement(const Statement *statement, SPIExecuteOptions *options)
{
	RightsScope scope;
	int			status;

	options->dest->rShutdown = ignore;
	options->dest->rDestroy = ignore;
	options->dest->mydest = DestNone;
	if (OidIsValid(statement->role))
		rights_enter(&scope, statement->role);
	status = run_checked(statement, options);
	if (OidIsValid(statement->role))
		rights_leave(&scope);
	if (status < 0)
		elog(ERROR, "a statement failed: %s", SPI_result_code_string(status));
}

/*
 * Runs a query on the active snapshot. Where a relation is given the query must
 * name no other one (55006), and has the rights of its owner (42P01: it is
 * gone); InvalidOid: it is one of our own. Its rows go to receiver, which needs
 * rStartup and receiveSlot only. Needs an SPI connection.
 */
void
read_query(const char *query, DestReceiver *receiver, Oid relation)
{
	SPIExecuteOptions options = {.read_only = true, .dest = receiver};
	Statement	statement = {.text = query, .relation = relation};

	if (OidIsValid(relation))
		statement.role = relation_owner(relation);
	run_statement(&statement, &options);
}

/* Puts the rows of a statement into a set-returning function's result. */
typedef struct ResultReceiver
{
	DestReceiver receiver;
	ReturnSetInfo *result;
} ResultReceiver;

static void
start_result(DestReceiver *self, int operation, TupleDesc type)
{
	TupleDesc	expected = ((ResultReceiver *) self)->result->setDesc;
	Oid		   *types = palloc(expected->natts * sizeof(Oid));

	for (int i = 0; i < expected->natts; i++)
		types[i] = TupleDescAttr(expected, i)->atttypid;
	check_columns(type, types, expected->natts, "the statement's result");
	pfree(types);
}

static bool
receive_result(TupleTableSlot *slot, DestReceiver *self)
{
	tuplestore_puttupleslot(((ResultReceiver *) self)->result->setResult, slot);
	return true;
}

/* Makes the function's arguments from the third one on $1, $2, ... of the statement. */
static ParamListInfo
statement_parameters(FunctionCallInfo fcinfo)
{
	int			count = PG_NARGS() - 2;
	ParamListInfo list = makeParamList(count);

	for (int i = 0; i < count; i++)
	{
		list->params[i].value = PG_ARGISNULL(i + 2) ? (Datum) 0 : PG_GETARG_DATUM(i + 2);
		list->params[i].isnull = PG_ARGISNULL(i + 2);
		list->params[i].pflags = PARAM_FLAG_CONST;
		list->params[i].ptype = get_fn_expr_argtype(fcinfo->flinfo, i + 2);
	}
	return list;
}

/* Puts the rows of the statement, whose text is the second argument, into the function's result. */
static Datum
put_query(FunctionCallInfo fcinfo, Statement statement)
{
	ResultReceiver receiver = {
		.receiver = {.receiveSlot = receive_result, .rStartup = start_result},
		.result = (ReturnSetInfo *) fcinfo->resultinfo
	};
	SPIExecuteOptions options = {.dest = &receiver.receiver};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	options.params = statement_parameters(fcinfo);
	statement.text = text_to_cstring(PG_GETARG_TEXT_PP(1));
	SPI_connect();
	run_statement(&statement, &options);
	SPI_finish();
	return (Datum) 0;
}

static void
reject_null_arguments(FunctionCallInfo fcinfo, const char *whose)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("the %s and the statement must not be null", whose)));
}

/* Reads the role that the first argument names. */
static Oid
author_of(FunctionCallInfo fcinfo)
{
	reject_null_arguments(fcinfo, "role");
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(PG_GETARG_OID(0))))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of the flow, role %u, does not exist any more",
						PG_GETARG_OID(0)),
				 errhint("A superuser can give the flow to another role by set_flow_owner.")));
	return PG_GETARG_OID(0);
}

PG_FUNCTION_INFO_V1(retention_query_as);

/*
 * _query_as(role regrole, statement text, VARIADIC arguments "any") -> setof
 * record: the rows of a statement, run with the role's rights in a
 * security-restricted operation. Errors: 22004 without a role or statement,
 * 42704 where there is no such role, 42804 where the rows are not of the
 * columns that the caller expects, and the statement's own.
 */
Datum
retention_query_as(PG_FUNCTION_ARGS)
{
	return put_query(fcinfo, (Statement) {.role = author_of(fcinfo)});
}

PG_FUNCTION_INFO_V1(retention_query_kept);

/*
 * _query_kept(role regrole, statement text, VARIADIC arguments "any") -> setof
 * record: as _query_as, by the plan that the session has of the statement. It
 * suits arrays of few elements, and the settings of the planner that it was
 * first run with. Within another's statement, which might have it throw away
 * the plan by which that is run, it keeps none.
 */
Datum
retention_query_kept(PG_FUNCTION_ARGS)
{
	return put_query(fcinfo, (Statement) {.role = author_of(fcinfo),
										  .keeps_plan = !InSecurityRestrictedOperation()});
}

PG_FUNCTION_INFO_V1(retention_query_of);

/*
 * _query_of(relation regclass, statement text, VARIADIC arguments "any") ->
 * setof record: the rows of a statement that names this relation, run as
 * _query_as runs it with the rights of the relation's owner. Errors also:
 * 42P01 where the relation is gone, 55006 where the statement names another.
 */
Datum
retention_query_of(PG_FUNCTION_ARGS)
{
	reject_null_arguments(fcinfo, "relation");
	return put_query(fcinfo, (Statement) {.role = relation_owner(PG_GETARG_OID(0)),
										  .relation = PG_GETARG_OID(0)});
}

PG_FUNCTION_INFO_V1(retention_caller);

/*
 * _caller() -> regrole: the role that called, seen from a function that runs
 * as its owner: who is logged in, or was chosen by SET ROLE. An error (42501)
 * within a security-restricted operation, where what runs is another's.
 */
Datum
retention_caller(PG_FUNCTION_ARGS)
{
	if (InSecurityRestrictedOperation())
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("this cannot be called from a view, a segment or an expression of a flow")));
	PG_RETURN_OID(GetOuterUserId());
}
