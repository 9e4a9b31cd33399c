/*
 * score_bounds.c: rfm_score and recency_score, and the float8[] arguments of bounds that others
 * share.
 */
#include "values/score_bounds.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"

/* Rejects NaN, which has no place among values that are compared. */
void
reject_nan(double value)
{
	if (isnan(value))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("values and bounds to compare must not be NaN")));
}

static void
reject_shape(const char *name, int most)
{
	ereport(ERROR,
			(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
			 errmsg("%s must be an array of one dimension and at most %d elements", name, most)));
}

/*
 * Reads a float8[] of one dimension; NULL elements become absent bounds.
 * Returns their number. Errors name the argument by `name`.
 */
int
read_bounds(Datum array, const char *name, int most, PercentileBound *bounds)
{
	ArrayType  *list = DatumGetArrayTypeP(array);
	int			count = ArrayGetNItems(ARR_NDIM(list), ARR_DIMS(list));
	const bits8 *null_bits = ARR_NULLBITMAP(list);
	const double *next = (const double *) ARR_DATA_PTR(list);

	if (ARR_NDIM(list) > 1 || count > most)
		reject_shape(name, most);
	for (int i = 0; i < count; i++)
	{
		bounds[i].present = null_bits == NULL || (null_bits[i / 8] & (1 << (i % 8))) != 0;
		if (bounds[i].present)
		{
			bounds[i].value = *next++;
			reject_nan(bounds[i].value);
		}
	}
	return count;
}

/* Makes a float8[]; absent bounds become NULL. */
Datum
make_bounds(const PercentileBound *bounds, int count)
{
	Datum		values[SELECTION_MAX_FRACTIONS];
	bool		nulls[SELECTION_MAX_FRACTIONS];
	int			lower = 1;

	for (int i = 0; i < count; i++)
	{
		nulls[i] = !bounds[i].present;
		values[i] = Float8GetDatum(bounds[i].present ? bounds[i].value : 0);
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, &count, &lower, FLOAT8OID,
											  sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

PG_FUNCTION_INFO_V1(retention_rfm_score);

/*
 * rfm_score(value float8, bounds float8[]) -> int: 1 + the number of inclusive lower bounds
 * reached.
 */
Datum
retention_rfm_score(PG_FUNCTION_ARGS)
{
	double		value = PG_GETARG_FLOAT8(0);
	PercentileBound bounds[MAX_SCORE_BOUNDS];
	int			count = read_bounds(PG_GETARG_DATUM(1), "bounds", MAX_SCORE_BOUNDS, bounds);

	reject_nan(value);
	PG_RETURN_INT32(score_by_bounds(value, bounds, count));
}

PG_FUNCTION_INFO_V1(retention_recency_score);

/*
 * recency_score(days float8, limits float8[]) -> int: 1 + the number of inclusive upper limits met.
 */
Datum
retention_recency_score(PG_FUNCTION_ARGS)
{
	double		days = PG_GETARG_FLOAT8(0);
	PercentileBound limits[MAX_SCORE_BOUNDS];
	int			count = read_bounds(PG_GETARG_DATUM(1), "limits", MAX_SCORE_BOUNDS, limits);

	reject_nan(days);
	PG_RETURN_INT32(score_by_limits(days, limits, count));
}
