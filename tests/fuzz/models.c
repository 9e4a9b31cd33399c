/*
 * models.c: the purchase and spend models with any parameters, customers and small data sets.
 *
 * The first byte says what is tried, the others are numbers: each of three bytes, of
 * which the first may choose a special value.
 */
#include "math/fit.h"
#include "math/model.h"

#include "arena.h"
#include "model_invariants.h"

#define COUNT(array) (int) (sizeof(array) / sizeof((array)[0]))

#define MOST_ROWS 24

/* A fit that takes longer than this will never end. */
#define MOST_ITERATIONS 1000

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of the input. */
typedef struct Input
{
	const uint8_t *data;
	size_t		size;
} Input;

/* Zero when nothing is left. */
static unsigned
next_byte(Input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

/* From low to high, evenly in the logarithm. */
static double
next_number(Input *input, double low, double high)
{
	double		share = (next_byte(input) * 256 + next_byte(input)) / 65535.0;

	return fmin(fmax(low * exp(share * log(high / low)), low), high);
}

static double
next_parameter(Input *input)
{
	static const double special[] = {1,			  2,	0.5, 1 - 1e-9, 1 + 1e-9, 1 - 0x1p-53,
									 1 + 0x1p-52, 1e-6, 1e6, 3,		   10};
	unsigned	choice = next_byte(input);

	return choice < COUNT(special) ? special[choice] : next_number(input, 1e-6, 1e6);
}

/*
 * Times end with T, from an hour to a hundred years; t_x is anywhere from just after 0, also next
 * to T.
 */
static PurchaseHistory
next_history(Input *input, double most_orders)
{
	PurchaseHistory history;
	unsigned	choice = next_byte(input);

	history.x = choice < 8 ? choice : floor(next_number(input, 1, most_orders));
	history.t = next_number(input, 1.0 / 24, 36525);
	choice = next_byte(input);
	if (history.x == 0)
		history.t_x = 0;
	else if (choice < 4)
		history.t_x = (double[]) {history.t, nextafter(history.t, 0), 0x1p-1074, 1e-9}[choice];
	else
		history.t_x = history.t * next_number(input, 1e-12, 1);
	return history;
}

/* Everything about one customer, and two horizons in ascending order. */
static void
try_customer(Input *input)
{
	double		parameters[MODEL_MAX_PARAMETERS];
	double		horizons[2];
	PurchaseHistory history;
	Question	question = {model_named(purchase_models[next_byte(input) % PURCHASE_MODELS]),
							parameters, &history};

	for (int i = 0; i < MODEL_MAX_PARAMETERS; i++)
		parameters[i] = next_parameter(input);
	history = next_history(input, 100000);
	horizons[0] = next_number(input, 1e-3, 1e5);
	horizons[1] = horizons[0] * next_number(input, 1, 1e3);
	check_customer(&question, horizons, 2);
	check_derivatives(&question);
	check_discounted(&question, horizons[0]);
}

/* A spend is a number above zero, or the model says that there is none. */
static void
try_spend(Input *input)
{
	double		parameters[MODEL_MAX_PARAMETERS] = {next_parameter(input), next_parameter(input),
													next_parameter(input)};
	unsigned	choice = next_byte(input);
	double		x = choice < 8 ? choice : floor(next_number(input, 1, 100000));
	double		m = x == 0 ? 0 : next_number(input, 0.01, 1e9);
	double		spend = -1;
	MathStatus	status = model_named("gammagamma")->expected_spend(parameters, x, m, &spend);

	if (parameters[0] * x + parameters[1] > 1)
		CHECK(status == MATH_OK && spend > 0 && isfinite(spend));
	else
		CHECK(status == MATH_UNDEFINED);
}

/*
 * As many rows as the input has, one at least, with weights, so that there are equal ones and heavy
 * ones.
 */
static int
next_rows(Input *input, ModelKind kind, Observation *rows)
{
	int			count = 0;

	do
	{
		PurchaseHistory history = next_history(input, 2000);
		double		weight = 1 + next_byte(input) % 100;

		if (kind == MODEL_OF_PURCHASES)
			rows[count++] = (Observation) {history.x, {history.t_x, history.t}, weight};
		else
			rows[count++] = (Observation) {history.x + 1, {history.t, 0}, weight};
	} while (input->size > 0 && count < MOST_ROWS);
	return count;
}

/* Numbers, whether or not the fit has converged; what has, is at the top. */
static void
check_fit(const Model *model, const FitResult *fit)
{
	CHECK(fit->iterations > 0 && fit->iterations <= MOST_ITERATIONS);
	CHECK(isfinite(fit->log_likelihood));
	CHECK(fit->gradient_norm >= 0 && isfinite(fit->gradient_norm));
	for (int i = 0; i < model->parameter_count; i++)
	{
		CHECK(fit->parameters[i] > 0 && isfinite(fit->parameters[i]));
		if (fit->converged)
			CHECK(fit->standard_errors[i] > 0 && isfinite(fit->covariance[i][i]));
	}
}

static void
try_fit(Input *input)
{
	static const double penalties[] = {0, 0, 1e-3, 0.1, 1, 1000};
	const Model *model = model_at(next_byte(input) % 4);
	double		penalty = penalties[next_byte(input) % COUNT(penalties)];
	Arena		arena = {0};
	MathHost	host = arena_host(&arena);
	Observation rows[MOST_ROWS];
	int			count = next_rows(input, model->kind, rows);
	ObservationBlocks blocks;
	FitResult	fit;
	int			pieces;

	CHECK(observations_group(rows, count, &host, &blocks) == MATH_OK);
	pieces = arena.count;
	fit_model(model, &blocks, penalty, &host, &fit);
	CHECK(arena.count == pieces);
	check_fit(model, &fit);
	arena_close(&arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input		input = {data, size};
	unsigned	choice = next_byte(&input) % 8;

	if (choice < 5)
		try_customer(&input);
	else if (choice == 5)
		try_spend(&input);
	else
		try_fit(&input);
	return 0;
}
