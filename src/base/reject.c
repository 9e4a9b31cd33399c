/*
 * reject.c: errors that are told to users. They carry one line that says what
 * is wrong and one that says what to do, and not where in our functions it was
 * noticed.
 */
#include "pg_compat.h"

#include "utils/builtins.h"

/* Lists the errors that our SQL names, as PostgreSQL's documentation does. */
static const struct
{
	const char *name;
	int			code;
}			conditions[] = {
	{"invalid_parameter_value", ERRCODE_INVALID_PARAMETER_VALUE},
	{"null_value_not_allowed", ERRCODE_NULL_VALUE_NOT_ALLOWED},
	{"numeric_value_out_of_range", ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE},
	{"no_data_found", ERRCODE_NO_DATA_FOUND},
	{"feature_not_supported", ERRCODE_FEATURE_NOT_SUPPORTED},
	{"insufficient_privilege", ERRCODE_INSUFFICIENT_PRIVILEGE},
	{"datatype_mismatch", ERRCODE_DATATYPE_MISMATCH},
	{"wrong_object_type", ERRCODE_WRONG_OBJECT_TYPE},
	{"undefined_column", ERRCODE_UNDEFINED_COLUMN},
	{"undefined_object", ERRCODE_UNDEFINED_OBJECT},
	{"undefined_table", ERRCODE_UNDEFINED_TABLE},
	{"duplicate_object", ERRCODE_DUPLICATE_OBJECT},
	{"object_in_use", ERRCODE_OBJECT_IN_USE},
	{"object_not_in_prerequisite_state", ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{"configuration_limit_exceeded", ERRCODE_CONFIGURATION_LIMIT_EXCEEDED},
	{"query_canceled", ERRCODE_QUERY_CANCELED},
	{"trigger_protocol_violated", ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED}
};

/* Finds the code of a condition's name, or of an SQLSTATE that an error had. */
static int
error_code(const char *name)
{
	for (int i = 0; i < lengthof(conditions); i++)
		if (strcmp(conditions[i].name, name) == 0)
			return conditions[i].code;
	if (strlen(name) == 5)
		return MAKE_SQLSTATE(name[0], name[1], name[2], name[3], name[4]);
	elog(ERROR, "there is no condition \"%s\"", name);
}

/* Reads a text argument; null where it is null or empty. */
static char *
text_or_null(FunctionCallInfo fcinfo, int argument)
{
	char	   *value =
		PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));

	return value == NULL || *value == '\0' ? NULL : value;
}

PG_FUNCTION_INFO_V1(retention_reject_unless);

/*
 * _reject_unless(valid boolean, message text, hint text, code text, detail
 * text) -> void: an error of this message unless valid is true. The code is
 * the name of a condition, or an SQLSTATE; hint and detail may be empty.
 */
Datum
retention_reject_unless(PG_FUNCTION_ARGS)
{
	char	   *message;
	char	   *hint;
	char	   *detail;
	int			code;

	if (!PG_ARGISNULL(0) && PG_GETARG_BOOL(0))
		PG_RETURN_VOID();
	message = text_or_null(fcinfo, 1);
	hint = text_or_null(fcinfo, 2);
	code = error_code(PG_ARGISNULL(3) ? "invalid_parameter_value"
									  : text_to_cstring(PG_GETARG_TEXT_PP(3)));
	detail = text_or_null(fcinfo, 4);
	/* Whoever catches it has kept the stack of contexts. */
	error_context_stack = NULL;
	ereport(ERROR, (errcode(code),
					errmsg("%s", message == NULL ? "this is not possible" : message),
					detail == NULL ? 0 : errdetail("%s", detail),
					hint == NULL ? 0 : errhint("%s", hint)));
}
