/* model_value.c: reads and makes values of the type retention.model; make_model. */
#include "values/model_value.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Names the columns of the type retention.model, in its order. */
enum
{
	COLUMN_KIND,
	COLUMN_PARAMETERS,
	COLUMN_NAMES,
	COLUMN_STANDARD_ERRORS,
	COLUMN_COVARIANCE,
	COLUMN_LOG_LIKELIHOOD,
	COLUMN_N,
	COLUMN_ITERATIONS,
	COLUMN_CONVERGED,
	COLUMN_GRADIENT_NORM,
	COLUMN_PENALTY,
	MODEL_COLUMNS
};

/*
 * Counts the models that one call site has seen last: those of a profile's metrics, or a purchase
 * and a spend model.
 */
#define CACHED_MODELS 4

typedef struct CachedModel
{
	Size		size;
	char	   *bytes;			/* the argument's, to be recognized by */
	ModelValue	value;
} CachedModel;

typedef struct ModelCache
{
	int			count;
	int			oldest;
	CachedModel models[CACHED_MODELS];
} ModelCache;

/* Lists as "a, b, c" the models there are, or a model's parameters. */
static const char *
list_models(void)
{
	StringInfoData list;
	const Model *model;

	initStringInfo(&list);
	for (int i = 0; (model = model_at(i)) != NULL; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", model->name);
	return list.data;
}

static const char *
list_parameters(const Model *model)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < model->parameter_count; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", model->parameter_names[i]);
	return list.data;
}

/* Finds the model of this name, or reports an error that lists those there are. */
const Model *
model_named(const text *name)
{
	int			length = VARSIZE_ANY_EXHDR(name);
	const Model *model = model_find(VARDATA_ANY(name), length);

	if (model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%.*s\" does not exist", length, VARDATA_ANY(name)),
				 errdetail("The models are %s.", list_models()),
				 errhint("Names are in lower case.")));
	return model;
}

static void
reject_parameters(const Model *model, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("model %s takes %d parameters above zero", model->name, model->parameter_count),
			 errdetail("%s", detail),
			 errhint("Its parameters are %s, in this order: from %g to %g, those that are times or "
					 "money to %g.",
					 list_parameters(model), LEAST_PARAMETER, MOST_SHAPE, MOST_SCALE)));
}

/* Reads the parameters of a model; whatever is wrong with them is an error. */
static void
read_parameters(const Model *model, ArrayType *array, double *parameters)
{
	const double *values = (const double *) ARR_DATA_PTR(array);
	int			count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) != 1 || count != model->parameter_count)
		reject_parameters(model, psprintf("The array has %d elements in %d dimensions.", count,
										  ARR_NDIM(array)));
	if (array_contains_nulls(array))
		reject_parameters(model, "One of them is null.");
	for (int i = 0; i < count; i++)
	{
		if (!(values[i] >= LEAST_PARAMETER && values[i] <= model_most(model, i)))
			reject_parameters(model, psprintf("Parameter %s is %g.", model->parameter_names[i],
											  values[i]));
		parameters[i] = values[i];
	}
}

static void
read_model(struct varlena *argument, ModelValue *value)
{
	HeapTupleHeader row = (HeapTupleHeader) pg_detoast_datum(argument);
	bool		no_kind;
	bool		no_parameters;
	Datum		kind = GetAttributeByNum(row, COLUMN_KIND + 1, &no_kind);
	Datum		parameters = GetAttributeByNum(row, COLUMN_PARAMETERS + 1, &no_parameters);

	if (no_kind || no_parameters)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a model needs its kind and its parameters"),
				 errdetail("%s is null.", no_kind ? "kind" : "parameters"),
				 errhint("make_model(kind, parameters) makes one; fit finds one.")));
	value->model = model_named(DatumGetTextPP(kind));
	read_parameters(value->model, DatumGetArrayTypeP(parameters), value->parameters);
}

/* Finds the cached model that was read from the same bytes, or one just read. */
static CachedModel *
find_model(FmgrInfo *function, struct varlena *argument)
{
	ModelCache *cache = function->fn_extra;
	CachedModel *cached;
	Size		size = VARSIZE_ANY_EXHDR(argument);
	ModelValue	value;

	if (cache == NULL)
		cache = function->fn_extra = MemoryContextAllocZero(function->fn_mcxt, sizeof(ModelCache));
	for (int i = 0; i < cache->count; i++)
	{
		cached = &cache->models[i];
		if (cached->size == size && memcmp(cached->bytes, VARDATA_ANY(argument), size) == 0)
			return cached;
	}
	read_model(argument, &value);
	cached = &cache->models[cache->oldest];
	cache->oldest = (cache->oldest + 1) % CACHED_MODELS;
	cache->count = Min(cache->count + 1, CACHED_MODELS);
	if (cached->bytes != NULL)
		pfree(cached->bytes);
	cached->bytes = MemoryContextAlloc(function->fn_mcxt, size);
	memcpy(cached->bytes, VARDATA_ANY(argument), size);
	cached->size = size;
	cached->value = value;
	return cached;
}

/*
 * Reads a function's argument of the type retention.model; an error where it is of another kind, or
 * none.
 */
const ModelValue *
model_argument(FunctionCallInfo fcinfo, int number, ModelKind kind)
{
	struct varlena *argument = (struct varlena *) PG_GETARG_POINTER(number);
	CachedModel *cached;

	if (VARATT_IS_EXTERNAL(argument) || VARATT_IS_COMPRESSED(argument))
		argument = pg_detoast_datum(argument);
	cached = find_model(fcinfo->flinfo, argument);
	if (cached->value.model->kind != kind)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a model of %s", cached->value.model->name,
						kind == MODEL_OF_SPEND ? "spend" : "purchases"),
				 errdetail(
					 "Models of purchases tell when customers buy, models of spend for how much."),
				 errhint("This argument takes %s.",
						 kind == MODEL_OF_SPEND ? "gammagamma" : "bgnbd, mbgnbd or paretonbd")));
	return &cached->value;
}

static Datum
make_doubles(const double *values, int count)
{
	Datum		elements[MODEL_MAX_PARAMETERS];

	for (int i = 0; i < count; i++)
		elements[i] = Float8GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, count, FLOAT8OID, sizeof(float8),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static Datum
make_matrix(const FitResult *fit, int count)
{
	Datum		elements[MODEL_MAX_PARAMETERS * MODEL_MAX_PARAMETERS];
	int			dimensions[2] = {count, count};
	int			lower[2] = {1, 1};

	for (int i = 0; i < count * count; i++)
		elements[i] = Float8GetDatum(fit->covariance[i / count][i % count]);
	return PointerGetDatum(construct_md_array(elements, NULL, 2, dimensions, lower, FLOAT8OID,
											  sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static Datum
make_names(const Model *model)
{
	Datum		elements[MODEL_MAX_PARAMETERS];

	for (int i = 0; i < model->parameter_count; i++)
		elements[i] = CStringGetTextDatum(model->parameter_names[i]);
	return PointerGetDatum(construct_array(elements, model->parameter_count, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/*
 * Makes a value of the type retention.model, which the function returns. Without standard errors
 * (the Hessian was singular) these and the covariance are null.
 */
Datum
model_result(FunctionCallInfo fcinfo, const Model *model, const FitResult *fit, double weight,
			 double penalty)
{
	int			count = model->parameter_count;
	TupleDesc	type;
	Datum		values[MODEL_COLUMNS];
	bool		nulls[MODEL_COLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is not of type retention.model");
	values[COLUMN_KIND] = CStringGetTextDatum(model->name);
	values[COLUMN_PARAMETERS] = make_doubles(fit->parameters, count);
	values[COLUMN_NAMES] = make_names(model);
	values[COLUMN_STANDARD_ERRORS] = make_doubles(fit->standard_errors, count);
	values[COLUMN_COVARIANCE] = make_matrix(fit, count);
	nulls[COLUMN_STANDARD_ERRORS] = nulls[COLUMN_COVARIANCE] = !isfinite(fit->standard_errors[0]);
	values[COLUMN_LOG_LIKELIHOOD] = Float8GetDatum(fit->log_likelihood);
	values[COLUMN_N] = Float8GetDatum(weight);
	values[COLUMN_ITERATIONS] = Int32GetDatum(fit->iterations);
	values[COLUMN_CONVERGED] = BoolGetDatum(fit->converged);
	values[COLUMN_GRADIENT_NORM] = Float8GetDatum(fit->gradient_norm);
	values[COLUMN_PENALTY] = Float8GetDatum(penalty);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls));
}

PG_FUNCTION_INFO_V1(retention_make_model);

/*
 * make_model(kind text, parameters float8[]) -> model: with known parameters; what a fit would tell
 * is null. Errors: 22023 a parameter is outside of what math/model.h accepts.
 */
Datum
retention_make_model(PG_FUNCTION_ARGS)
{
	const Model *model = model_named(PG_GETARG_TEXT_PP(0));
	double		parameters[MODEL_MAX_PARAMETERS];
	TupleDesc	type;
	Datum		values[MODEL_COLUMNS] = {0};
	bool		nulls[MODEL_COLUMNS];

	read_parameters(model, PG_GETARG_ARRAYTYPE_P(1), parameters);
	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is not of type retention.model");
	memset(nulls, true, sizeof(nulls));
	nulls[COLUMN_KIND] = nulls[COLUMN_PARAMETERS] = nulls[COLUMN_NAMES] = false;
	values[COLUMN_KIND] = CStringGetTextDatum(model->name);
	values[COLUMN_PARAMETERS] = make_doubles(parameters, model->parameter_count);
	values[COLUMN_NAMES] = make_names(model);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls));
}

PG_FUNCTION_INFO_V1(retention_models);

/* models() -> (kind, purpose, parameters): the models there are. */
Datum
retention_models(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const Model *model;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; (model = model_at(i)) != NULL; i++)
	{
		Datum		values[] = {
			CStringGetTextDatum(model->name),
			CStringGetTextDatum(model->kind == MODEL_OF_SPEND ? "spend" : "purchase"),
			make_names(model)
		};
		bool		nulls[lengthof(values)] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
