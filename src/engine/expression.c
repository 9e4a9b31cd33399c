/*
 * expression.c: whether a text is one SQL expression, so that it can be put into a query between
 * parentheses.
 */
#include "pg_compat.h"

#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "base/job_settings.h"

/*
 * Tells whether a query as PL/pgSQL reads it, SELECT in front of the text, selects one value and
 * has no other clause.
 */
static bool
is_single_value(const SelectStmt *query)
{
	return query->op == SETOP_NONE && list_length(query->targetList) == 1 &&
		   query->distinctClause == NIL && query->intoClause == NULL && query->fromClause == NIL &&
		   query->whereClause == NULL && query->groupClause == NIL && query->havingClause == NULL &&
		   query->windowClause == NIL && query->valuesLists == NIL && query->sortClause == NIL &&
		   query->limitOffset == NULL && query->limitCount == NULL && query->lockingClause == NIL &&
		   query->withClause == NULL && ((ResTarget *) linitial(query->targetList))->name == NULL;
}

/*
 * Tells whether anything in a parse tree is a parameter: those that a query has are the engine's
 * own.
 */
static bool
has_parameter(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, ParamRef) || raw_expression_tree_walker(node, has_parameter, context);
}

/* Reads a text as a job will, whatever the session makes of backslashes. */
static List *
parse_as_job(const char *expression)
{
	int			settings_level = NewGUCNestLevel();
	List	   *statements;

	pin_job_settings();
	statements = raw_parser(expression, RAW_PARSE_PLPGSQL_EXPR);
	AtEOXact_GUC(false, settings_level);
	return statements;
}

/* Says how deep expressions may go, far below what the stack allows wherever they are run. */
#define MAX_EXPRESSION_DEPTH 500

/* Tells whether a parse tree goes deeper than the levels that are left. */
static bool
is_deeper(Node *node, void *context)
{
	int		   *levels_left = context;
	bool		result;

	if (node == NULL)
		return false;
	if (*levels_left == 0)
		return true;
	(*levels_left)--;
	result = raw_expression_tree_walker(node, is_deeper, context);
	(*levels_left)++;
	return result;
}

PG_FUNCTION_INFO_V1(retention_check_expression);

/*
 * _check_expression(expression text) -> void: an error (42601) unless the text
 * is exactly one SQL expression: no second statement, no further clause, no
 * name; without parameters (42P02), and not nested too deep (54001).
 */
Datum
retention_check_expression(PG_FUNCTION_ARGS)
{
	List	   *statements = parse_as_job(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Node	   *statement =
		list_length(statements) == 1 ? linitial_node(RawStmt, statements)->stmt : NULL;
	int			levels = MAX_EXPRESSION_DEPTH;

	if (statement == NULL || !IsA(statement, SelectStmt) ||
		!is_single_value((SelectStmt *) statement))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("it is not a single SQL expression"),
				 errhint("Put a query between parentheses.")));
	if (is_deeper(statement, &levels))
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("it is nested deeper than %d levels", MAX_EXPRESSION_DEPTH)));
	if (has_parameter(statement, NULL))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_PARAMETER),
						errmsg("it must not have parameters such as $1")));
	PG_RETURN_VOID();
}
