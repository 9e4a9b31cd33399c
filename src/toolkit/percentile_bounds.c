/*
 * percentile_bounds.c: the aggregate percentile_bounds(value, fractions).
 *
 * The state holds all values (8 bytes each); partial states are joined end to
 * end. The result comes from src/math/selection.
 */
#include "pg_compat.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "toolkit/aggregate.h"
#include "math_host.h"
#include "math/selection.h"
#include "values/score_bounds.h"

typedef struct PercentileState
{
	int64		count;
	int64		capacity;
	double	   *values;
	int			fraction_count;
	double		fractions[SELECTION_MAX_FRACTIONS];
} PercentileState;

/* Reads and checks the fractions, which are taken from the group's first row. */
static PercentileState *
new_state(MemoryContext context, Datum fractions)
{
	PercentileState *state = MemoryContextAllocZero(context, sizeof(PercentileState));
	PercentileBound list[SELECTION_MAX_FRACTIONS];

	state->fraction_count = read_bounds(fractions, "fractions", SELECTION_MAX_FRACTIONS, list);
	for (int i = 0; i < state->fraction_count; i++)
	{
		if (!list[i].present)
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("fractions must not hold null")));
		if (list[i].value < 0 || list[i].value > 1)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("fraction %g is not between 0 and 1", list[i].value),
					 errhint("The third of the way is written 1/3.0, not 33.")));
		state->fractions[i] = list[i].value;
	}
	return state;
}

static void
reserve(PercentileState *state, int64 more, MemoryContext context)
{
	if (state->count + more <= state->capacity)
		return;
	state->capacity = Max(state->count + more, Max(2 * state->capacity, 8));
	if (state->values == NULL)
		state->values = MemoryContextAllocHuge(context, state->capacity * sizeof(double));
	else
		state->values = repalloc_huge(state->values, state->capacity * sizeof(double));
}

PG_FUNCTION_INFO_V1(retention_percentile_bounds_transition);

/*
 * percentile_bounds_transition(internal, float8, float8[]) -> internal. NULL values are left out,
 * NaN is an error.
 */
Datum
retention_percentile_bounds_transition(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	PercentileState *state = PG_ARGISNULL(0) ? NULL : (PercentileState *) PG_GETARG_POINTER(0);
	double		value;

	if (state == NULL)
	{
		if (PG_ARGISNULL(2))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("fractions must not be null")));
		state = new_state(context, PG_GETARG_DATUM(2));
	}
	if (!PG_ARGISNULL(1))
	{
		value = PG_GETARG_FLOAT8(1);
		reject_nan(value);
		reserve(state, 1, context);
		state->values[state->count++] = value;
	}
	PG_RETURN_POINTER(state);
}

PG_FUNCTION_INFO_V1(retention_percentile_bounds_combine);

/*
 * percentile_bounds_combine(internal, internal) -> internal: appends the second's values to the
 * first.
 */
Datum
retention_percentile_bounds_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	PercentileState *into = PG_ARGISNULL(0) ? NULL : (PercentileState *) PG_GETARG_POINTER(0);
	PercentileState *from = PG_ARGISNULL(1) ? NULL : (PercentileState *) PG_GETARG_POINTER(1);

	if (from == NULL)
	{
		if (into == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(into);
	}
	if (into == NULL)
	{
		into = MemoryContextAlloc(context, sizeof(PercentileState));
		*into = *from;
		into->count = into->capacity = 0;
		into->values = NULL;
	}
	reserve(into, from->count, context);
	if (from->count > 0)
		memcpy(into->values + into->count, from->values, from->count * sizeof(double));
	into->count += from->count;
	PG_RETURN_POINTER(into);
}

PG_FUNCTION_INFO_V1(retention_percentile_bounds_serialize);

/*
 * percentile_bounds_serialize(internal) -> bytea: the state, then its values, in this machine's
 * layout.
 */
Datum
retention_percentile_bounds_serialize(PG_FUNCTION_ARGS)
{
	PercentileState *state = (PercentileState *) PG_GETARG_POINTER(0);

	PG_RETURN_BYTEA_P(write_flat_state(state, sizeof(PercentileState), state->values,
									   state->count * sizeof(double), "percentile_bounds",
									   SERIAL_HINT));
}

PG_FUNCTION_INFO_V1(retention_percentile_bounds_deserialize);

/* percentile_bounds_deserialize(bytea, internal) -> internal: the inverse of serialize. */
Datum
retention_percentile_bounds_deserialize(PG_FUNCTION_ARGS)
{
	PercentileState *state = palloc0(sizeof(PercentileState));
	Size		size;
	const char *values = read_flat_state(PG_GETARG_BYTEA_PP(0), state, sizeof(PercentileState),
										 &size, "percentile_bounds");

	check_flat_state(state->count, sizeof(double), size, "percentile_bounds");
	state->capacity = state->count;
	state->values = palloc_extended(Max(size, 1), MCXT_ALLOC_HUGE);
	memcpy(state->values, values, size);
	PG_RETURN_POINTER(state);
}

PG_FUNCTION_INFO_V1(retention_percentile_bounds_final);

/*
 * percentile_bounds_final(internal) -> float8[]: a bound a fraction, NULL where no value lies
 * above.
 */
Datum
retention_percentile_bounds_final(PG_FUNCTION_ARGS)
{
	PercentileState *state;
	ArraySource array;
	PercentileBound bounds[SELECTION_MAX_FRACTIONS];

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (PercentileState *) PG_GETARG_POINTER(0);
	selection_percentile_bounds(selection_array(&array, state->values, state->count,
												&INTERRUPTIBLE),
								state->count, state->fractions, state->fraction_count, bounds);
	PG_RETURN_DATUM(make_bounds(bounds, state->fraction_count));
}
