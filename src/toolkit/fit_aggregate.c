/*
 * fit_aggregate.c: the aggregates fit, fit_state and merge, and the function fit(fit_state).
 *
 * The state is the list of observations. Where they are many and fill it up,
 * equal ones are made one (src/math/observations), so that memory follows the
 * number of distinct rows. A fit_state is the same list in a flat form.
 */
#include "pg_compat.h"

#include <math.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "toolkit/aggregate.h"
#include "math_host.h"
#include "values/model_value.h"
#include "toolkit/predictions.h"

/* Says that up to this many rows the list just grows. */
#define GROUP_FROM (INT64CONST(1) << 20)

/* Says how many stored rows go by between two looks for an interrupt. */
#define ROWS_PER_CHECK 65536

/*
 * Numbers the arguments of the transition function: the state, the model, and then the observation.
 */
#define FIRST_VALUE 2

typedef struct FitState
{
	const Model *model;
	int64		count;
	int64		capacity;
	Observation *rows;
} FitState;

/*
 * Holds the head of a fit_state; the rows follow. The marker tells another version or byte order.
 */
typedef struct StateHeader
{
	uint32		marker;
	char		model[16];
	uint32		unused;
	int64		count;
} StateHeader;

#define STATE_MARKER 0x52460001

static void *
host_allocate(void *context, size_t size)
{
	return MemoryContextAllocHuge(context, size);
}

static void
host_free(void *context, void *memory)
{
	pfree(memory);
}

/* Groups the state's rows, in a memory context of its own that the caller is to delete. */
static MemoryContext
group_rows(const FitState *state, MathHost *host, ObservationBlocks *blocks)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "grouped observations", ALLOCSET_DEFAULT_SIZES);

	*host = (MathHost) {host_allocate, host_free, check_for_interrupts, context};
	if (observations_group(state->rows, state->count, host, blocks) != MATH_OK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many different times or values to fit"),
				 errhint("Round times to days, and values to the currency's decimals.")));
	return context;
}

/* Makes equal rows one. */
static void
compact(FitState *state)
{
	ObservationBlocks blocks;
	MathHost	host;
	MemoryContext context = group_rows(state, &host, &blocks);

	state->count = observations_list(&blocks, state->rows);
	MemoryContextDelete(context);
}

static FitState *
new_state(MemoryContext context, const Model *model)
{
	FitState   *state = MemoryContextAllocZero(context, sizeof(FitState));

	state->model = model;
	return state;
}

/* Makes room for more rows. */
static void
reserve(FitState *state, int64 more, MemoryContext context)
{
	if (state->count + more <= state->capacity)
		return;
	if (state->count >= GROUP_FROM && state->model->kind == MODEL_OF_PURCHASES)
		compact(state);
	if (2 * (state->count + more) <= state->capacity)
		return;
	state->capacity = Max(state->count + more, Max(2 * state->capacity, 64));
	if (state->rows == NULL)
		state->rows = MemoryContextAllocHuge(context, state->capacity * sizeof(Observation));
	else
		state->rows = repalloc_huge(state->rows, state->capacity * sizeof(Observation));
}

static void
reject_value(const char *message, double value, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg(message, value),
					errdetail("An observation is one customer: x counts purchases, times are in "
							  "days or any other unit."),
					errhint("%s", hint)));
}

/* Rejects a history that cannot be, as do the prediction functions. */
static void
check_purchases(const Observation *row)
{
	check_history(&(PurchaseHistory) {row->x, row->values[0], row->values[1]});
}

static void
check_spend(const Observation *row)
{
	if (!(row->x >= 1 && row->x <= MOST_PURCHASES) || row->x != floor(row->x))
		reject_value("x must be a whole number of purchases, from 1 to a million, not %.15g",
					 row->x,
					 "Leave out customers without a repeat purchase: FILTER (WHERE x > 0).");
	if (!(row->values[0] > 0 && row->values[0] <= MOST_MONEY))
		reject_value(
			"m must be above zero and at most 1e40, not %g", row->values[0],
			"m is the mean value of the x purchases. Leave out free ones: FILTER (WHERE m > 0).");
}

/* Rejects an observation that cannot be; a weight of zero is none. */
static void
check_row(const Model *model, const Observation *row)
{
	if (model->kind == MODEL_OF_SPEND)
		check_spend(row);
	else
		check_purchases(row);
	if (!(row->weight >= 0 && row->weight <= MOST_WEIGHT))
		reject_value("weight must be from 0 to 1e15, not %g", row->weight,
					 "A row of weight 3 stands for three customers.");
}

/* Reads the arguments from FIRST_VALUE on as an observation of the model. */
static void
read_row(FunctionCallInfo fcinfo, const Model *model, Observation *row)
{
	int			given = PG_NARGS() - FIRST_VALUE;
	int			needed = model->kind == MODEL_OF_SPEND ? 2 : 3;

	if (given != needed && given != needed + 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model %s cannot be fitted to %d arguments", model->name, given),
				 errdetail("Its observations are %s, and an optional weight.",
						   model->kind == MODEL_OF_SPEND ? "x and m" : "x, t_x and t"),
				 errhint("Write %s.", model->kind == MODEL_OF_SPEND ? "fit('gammagamma', x, m)"
																	: "fit('mbgnbd', x, t_x, t)")));
	/* Adding 0 turns -0 into 0. */
	row->x = PG_GETARG_FLOAT8(FIRST_VALUE) + 0.0;
	row->values[0] = PG_GETARG_FLOAT8(FIRST_VALUE + 1) + 0.0;
	row->values[1] = needed == 3 ? PG_GETARG_FLOAT8(FIRST_VALUE + 2) + 0.0 : 0;
	row->weight = given > needed ? PG_GETARG_FLOAT8(FIRST_VALUE + needed) : 1;
	check_row(model, row);
}

/* Reads the model named by the second argument, which has to be the same in all rows. */
static const Model *
read_name(FunctionCallInfo fcinfo, const FitState *state)
{
	text	   *name;

	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("the model to fit must not be null"),
						errdetail("The first argument names it."),
						errhint("Write fit('mbgnbd', x, t_x, t).")));
	name = PG_GETARG_TEXT_PP(1);
	if (state == NULL)
		return model_named(name);
	if (model_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) != state->model)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a fit is of one model, not of \"%s\" and \"%s\"",
							   state->model->name, text_to_cstring(name)),
						errdetail("The first argument differs from row to row."),
						errhint("GROUP BY it.")));
	return state->model;
}

PG_FUNCTION_INFO_V1(retention_fit_transition);

/*
 * fit_transition(internal, model text, x, t_x, t [, weight]) or (..., x, m [, weight]) -> internal.
 * Rows with a null are left out; what cannot be is an error.
 */
Datum
retention_fit_transition(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	FitState   *state = PG_ARGISNULL(0) ? NULL : (FitState *) PG_GETARG_POINTER(0);
	const Model *model = read_name(fcinfo, state);
	Observation row;

	if (state == NULL)
		state = new_state(context, model);
	for (int i = FIRST_VALUE; i < PG_NARGS(); i++)
	{
		if (PG_ARGISNULL(i))
			PG_RETURN_POINTER(state);
	}
	read_row(fcinfo, model, &row);
	if (row.weight > 0)
	{
		reserve(state, 1, context);
		state->rows[state->count++] = row;
	}
	PG_RETURN_POINTER(state);
}

static void
append_state(FitState *into, const FitState *from, MemoryContext context)
{
	if (into->model != from->model)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("states of the models %s and %s cannot be merged", into->model->name,
							   from->model->name),
						errdetail("Their observations are kept for one model each."),
						errhint("fit(state, model) fits another model to the same observations.")));
	reserve(into, from->count, context);
	if (from->count > 0)
		memcpy(into->rows + into->count, from->rows, from->count * sizeof(Observation));
	into->count += from->count;
}

PG_FUNCTION_INFO_V1(retention_fit_combine);

/* fit_combine(internal, internal) -> internal: appends the second's observations to the first. */
Datum
retention_fit_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	FitState   *into = PG_ARGISNULL(0) ? NULL : (FitState *) PG_GETARG_POINTER(0);
	FitState   *from = PG_ARGISNULL(1) ? NULL : (FitState *) PG_GETARG_POINTER(1);

	if (from != NULL)
	{
		if (into == NULL)
			into = new_state(context, from->model);
		append_state(into, from, context);
	}
	if (into == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(into);
}

/* Writes the flat form: of distinct rows in order, so that equal data have equal bytes. */
static bytea *
write_state(FitState *state)
{
	StateHeader header = {.marker = STATE_MARKER};

	compact(state);
	header.count = state->count;
	strlcpy(header.model, state->model->name, sizeof(header.model));
	return write_flat_state(&header, sizeof(header), state->rows,
							state->count * sizeof(Observation), "fit",
							"Round times to days; or fit without states, and with "
							"max_parallel_workers_per_gather = 0.");
}

static void
reject_state(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), errmsg("invalid fit_state"),
					errdetail("%s", detail),
					errhint("Values of fit_state are made by the aggregate fit_state, on servers "
							"of the same byte order.")));
}

/* Reads the flat form and checks all of it, for it may come from anywhere. */
static FitState *
read_state(bytea *source, MemoryContext context)
{
	StateHeader header;
	Size		size;
	const char *rows;
	const Model *model;
	FitState   *state;

	if (VARSIZE_ANY_EXHDR(source) < sizeof(header))
		reject_state("It is too short.");
	rows = read_flat_state(source, &header, sizeof(header), &size, "fit");
	if (header.marker != STATE_MARKER)
		reject_state("It is of another version or byte order, or something else.");
	model = model_find(header.model, strnlen(header.model, sizeof(header.model)));
	if (model == NULL)
		reject_state("It is of a model that is not known here.");
	check_flat_state(header.count, sizeof(Observation), size, "fit");
	state = new_state(context, model);
	reserve(state, header.count, context);
	state->count = header.count;
	if (size > 0)
		memcpy(state->rows, rows, size);
	for (int64 i = 0; i < state->count; i++)
	{
		Observation *row = &state->rows[i];

		if (i % ROWS_PER_CHECK == 0)
			CHECK_FOR_INTERRUPTS();
		/* Adding 0 turns -0 into 0. */
		row->x += 0.0;
		row->values[0] += 0.0;
		row->values[1] += 0.0;
		check_row(model, row);
	}
	return state;
}

PG_FUNCTION_INFO_V1(retention_fit_serialize);

/*
 * fit_serialize(internal) -> bytea: the flat form; also the final function of fit_state and merge,
 * null without rows.
 */
Datum
retention_fit_serialize(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_BYTEA_P(write_state((FitState *) PG_GETARG_POINTER(0)));
}

PG_FUNCTION_INFO_V1(retention_fit_deserialize);

/* fit_deserialize(bytea, internal) -> internal: the inverse of serialize. */
Datum
retention_fit_deserialize(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(read_state(PG_GETARG_BYTEA_PP(0), CurrentMemoryContext));
}

PG_FUNCTION_INFO_V1(retention_merge_transition);

/* merge_transition(internal, fit_state) -> internal: adds a stored state. */
Datum
retention_merge_transition(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	FitState   *into = PG_ARGISNULL(0) ? NULL : (FitState *) PG_GETARG_POINTER(0);

	if (!PG_ARGISNULL(1))
	{
		FitState   *from = read_state(PG_GETARG_BYTEA_PP(1), CurrentMemoryContext);

		if (into == NULL)
			into = new_state(context, from->model);
		append_state(into, from, context);
		if (from->rows != NULL)
			pfree(from->rows);
	}
	if (into == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(into);
}

/*
 * Rejects rows that cannot be fitted. A likelihood needs customers that differ; with a prior any
 * will do.
 */
static void
check_rows(const ObservationBlocks *blocks, double penalty)
{
	if (blocks->rows >= 2 || (penalty > 0 && blocks->rows > 0))
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 blocks->weight > 1 ? errmsg("a model cannot be fitted to customers who are all alike")
							: errmsg("a model cannot be fitted to fewer than two customers"),
		 errdetail("There are " INT64_FORMAT " different observations, of a total weight of %g.",
				   (int64) blocks->rows, blocks->weight),
		 errhint(
			 "fit(fit_state(...), penalty => 1) leans on customary parameters, and needs one.")));
}

/* Fits a model to the state's observations. */
static Datum
fit_rows(FunctionCallInfo fcinfo, const FitState *state, const Model *model, double penalty)
{
	ObservationBlocks blocks;
	MathHost	host;
	MemoryContext context = group_rows(state, &host, &blocks);
	FitResult	result;

	check_rows(&blocks, penalty);
	fit_model(model, &blocks, penalty, &host, &result);
	MemoryContextDelete(context);
	return model_result(fcinfo, model, &result, blocks.weight, penalty);
}

PG_FUNCTION_INFO_V1(retention_fit_final);

/* fit_final(internal) -> model: the fit by maximum likelihood. */
Datum
retention_fit_final(PG_FUNCTION_ARGS)
{
	FitState   *state = PG_ARGISNULL(0) ? NULL : (FitState *) PG_GETARG_POINTER(0);

	if (state == NULL)
		check_rows(&(ObservationBlocks) {0}, 0);
	PG_RETURN_DATUM(fit_rows(fcinfo, state, state->model, 0));
}

PG_FUNCTION_INFO_V1(retention_fit_stored);

/*
 * fit(state fit_state, model text, penalty float8) -> model: fits the model that the state was made
 * for, or another one of the same observations. penalty, 0 or more, weighs the prior.
 */
Datum
retention_fit_stored(PG_FUNCTION_ARGS)
{
	FitState   *state;
	const Model *model;
	double		penalty;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	state = read_state(PG_GETARG_BYTEA_PP(0), CurrentMemoryContext);
	penalty = PG_GETARG_FLOAT8(2);
	model = PG_ARGISNULL(1) ? state->model : model_named(PG_GETARG_TEXT_PP(1));
	if (model->kind != state->model->kind)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model %s cannot be fitted to observations for %s", model->name,
						state->model->name),
				 errdetail("Those of purchases are x, t_x and t; those of spend are x and m."),
				 errhint("Make a state for %s.", model->name)));
	if (!(penalty >= 0) || isinf(penalty))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("penalty must be finite and not negative, not %g", penalty),
				 errdetail("It weighs a prior on the logarithms of the parameters."),
				 errhint("1 is the customary weight, 0 none.")));
	PG_RETURN_DATUM(fit_rows(fcinfo, state, model, penalty));
}
