/*
 * A row with some of its fields changed, by name: SQL itself has only ROW(...), which names none.
 */
#include "pg_compat.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

/* Describes a field that a call changes: its place, and how a literal for it is read. */
typedef struct
{
	int			place;
	bool		is_literal;
	FmgrInfo	input;
	Oid			io_param;
	int32		typmod;
} ChangedField;

/* Holds what a call site does, found out once. */
typedef struct
{
	TupleDesc	columns;
	int			field_count;
	ChangedField fields[FLEXIBLE_ARRAY_MEMBER];
} FieldChanges;

/* Finds the column of this name; an error where the row has none. */
static Form_pg_attribute
find_column(TupleDesc columns, const char *name)
{
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);

		if (!column->attisdropped && strcmp(NameStr(column->attname), name) == 0)
			return column;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("type %s has no field \"%s\"", format_type_be(columns->tdtypeid), name)));
}

/* Finds the field that arguments number, its name, and number + 1, its value, change. */
static void
find_field(FunctionCallInfo fcinfo, TupleDesc columns, int number, ChangedField *field)
{
	Form_pg_attribute column;
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, number + 1);
	Oid			input;

	if (!get_fn_expr_arg_stable(fcinfo->flinfo, number) || PG_ARGISNULL(number))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the names of fields must be constants")));
	column = find_column(columns, get_fn_expr_argtype(fcinfo->flinfo, number) == UNKNOWNOID ?
						 PG_GETARG_CSTRING(number) : text_to_cstring(PG_GETARG_TEXT_PP(number)));
	field->place = column->attnum - 1;
	field->is_literal = type == UNKNOWNOID;
	field->typmod = column->atttypmod;
	if (field->is_literal)
	{
		getTypeInputInfo(column->atttypid, &input, &field->io_param);
		fmgr_info_cxt(input, &field->input, fcinfo->flinfo->fn_mcxt);
	}
	else if (!IsBinaryCoercible(type, column->atttypid))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("field \"%s\" of type %s cannot be set to a value of type %s",
							   NameStr(column->attname), format_type_be(column->atttypid),
							   format_type_be(type))));
}

/* Finds out what a call changes; kept for the calls that follow. */
static FieldChanges *
find_changes(FunctionCallInfo fcinfo)
{
	int			count = (PG_NARGS() - 1) / 2;
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	FieldChanges *changes;

	if (PG_NARGS() % 2 == 0 || get_fn_expr_variadic(fcinfo->flinfo))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("fields are given as names and values, in turn")));
	changes = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt,
								 offsetof(FieldChanges, fields) + count * sizeof(ChangedField));
	changes->columns = lookup_rowtype_tupdesc_copy(type, -1);
	changes->field_count = count;
	for (int i = 0; i < count; i++)
		find_field(fcinfo, changes->columns, 1 + 2 * i, &changes->fields[i]);
	return changes;
}

/* Spreads a row into its values; a null one has none. */
static void
spread_row(FunctionCallInfo fcinfo, TupleDesc columns, Datum *values, bool *nulls)
{
	HeapTupleHeader header;
	HeapTupleData tuple;

	memset(nulls, true, columns->natts);
	if (PG_ARGISNULL(0))
		return;
	header = PG_GETARG_HEAPTUPLEHEADER(0);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, columns, values, nulls);
}

PG_FUNCTION_INFO_V1(retention_with_fields);

/*
 * _with_fields(row anyelement, VARIADIC names and values "any") -> the row with
 * these fields changed. A null row is one of nulls. Names are constants. Errors:
 * 42703 for a name that the type has not, 42804 for a value of another type,
 * 22023 where a value is missing or a name is no constant.
 */
Datum
retention_with_fields(PG_FUNCTION_ARGS)
{
	FieldChanges *changes = fcinfo->flinfo->fn_extra;
	Datum	   *values;
	bool	   *nulls;

	if (changes == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		fcinfo->flinfo->fn_extra = changes = find_changes(fcinfo);
		MemoryContextSwitchTo(before);
	}
	values = palloc0(changes->columns->natts * sizeof(Datum));
	nulls = palloc(changes->columns->natts * sizeof(bool));
	spread_row(fcinfo, changes->columns, values, nulls);
	for (int i = 0; i < changes->field_count; i++)
	{
		ChangedField *field = &changes->fields[i];
		int			number = 2 + 2 * i;

		nulls[field->place] = PG_ARGISNULL(number);
		if (nulls[field->place])
			continue;
		values[field->place] = !field->is_literal
								   ? PG_GETARG_DATUM(number)
								   : InputFunctionCall(&field->input, PG_GETARG_CSTRING(number),
													   field->io_param, field->typmod);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(changes->columns, values, nulls)));
}
