/*
 * model_steps.c: whatever a model accepts, every function of src/math answers by a finite number
 * after a bounded number of steps. The compiler has the code call a function of ours at every
 * branch, which counts, and which ends what would not end.
 */
#include "math/fit.h"
#include "math/shop.h"

#include "model_invariants.h"

/* Branches taken by an answer, or by an entry of a distribution: some tenths of a millisecond. */
#define MOST_STEPS 50000

/*
 * Of an integral over time: some ten milliseconds; those of models such as shops have take a
 * hundredth.
 */
#define MOST_DISCOUNT_STEPS 4000000

/* The entries of a distribution that are asked for, beside the first. */
#define MOST_ENTRIES 3

#define COUNT(array) (int) (sizeof(array) / sizeof((array)[0]))

static const double shapes[] = {LEAST_PARAMETER, 1e-6, 0.3, 1, 1 + 1e-9, 50, 1e6, MOST_SHAPE};
static const double scales[] = {LEAST_PARAMETER, 1e-9, 1, 30, 1e9, MOST_SCALE};
static const double purchases[] = {0, 1, 7, 1000, MOST_PURCHASES};
static const double ages[] = {0, 0x1p-1074, 1e-9, 365, MOST_TIME};
static const double last[] = {0, 1e-12, 0.5, 1};
static const double horizons[] = {0, 0x1p-1074, 1e-9, 1, 36525, 1e9, MOST_TIME};
static const double rates[] = {0, 0x1p-1074, 1e-18, 1e-4, 1, 1e6, 1.7e308};
static const double quantiles[] = {0, 0x1p-1074, 0.5, 1 - 0x1p-53};
static const double amounts[] = {0x1p-1074, 0.01, 1e6, MOST_MONEY};

static int64_t steps;
static int64_t most_steps = INT64_MAX;
static const Question *asked;

void		__sanitizer_cov_trace_pc(void);

/* Called at every branch of src/math. */
void
__sanitizer_cov_trace_pc(void)
{
	if (++steps > most_steps)
		question_failed(asked, __FILE__, __LINE__, "a bounded number of steps");
}

/* Starts to count for one answer. */
static void
begin(int64_t most)
{
	steps = 0;
	most_steps = most;
}

/* Whether the answer, which has been given, is a number. */
static bool
is_answer(double value)
{
	return isfinite(value) && value >= 0;
}

/* Asks for all that is predicted for a horizon. */
static void
ask_horizon(const Question *question, int most)
{
	const Model *model = question->model;
	double		entries[MOST_ENTRIES + 1];

	begin(MOST_STEPS);
	HOLDS(is_answer(model_expected_orders(model, question->parameters, question->history,
										  question->horizon)));
	begin(MOST_STEPS);
	HOLDS(is_probability(model_order_probability(model, question->parameters, question->history,
												 question->horizon)));
	begin((most + 1) * MOST_STEPS);
	model_order_distribution(model, question->parameters, question->history, question->horizon,
							 most, &NO_HOST, entries);
	for (int k = 0; k <= most; k++)
		HOLDS(is_probability(entries[k]));
}

/* Asks for what is said of a customer without a horizon. */
static void
ask_customer(const Question *question, double quantile)
{
	const Model *model = question->model;

	begin(MOST_STEPS);
	HOLDS(is_probability(model_p_alive(model, question->parameters, question->history)));
	begin(MOST_STEPS);
	HOLDS(isfinite(model->log_likelihood(model, question->parameters, question->history)));
	begin(MOST_STEPS);
	HOLDS(is_answer(model_next_order(question->parameters, question->history, quantile)));
}

/*
 * Within a horizon, which may be infinite: undefined only where it is, and next to nothing is
 * discounted.
 */
static void
ask_discounted(const Question *question, double horizon, double rate)
{
	double		orders = 0;

	begin(MOST_DISCOUNT_STEPS);
	if (model_discounted_orders(question->model, question->parameters, question->history, horizon,
								rate, &NO_HOST, &orders) == MATH_OK)
		HOLDS(is_answer(orders));
	else
		HOLDS(isinf(horizon) && rate < 1e-18);
}

/* One step of a fit, at parameters where it may come by. */
static void
ask_likelihood(const Question *question)
{
	double		values[2] = {question->history->t_x, question->history->t};
	BlockRow	row = {0, values[0] < values[1], 1};
	ObservationBlock block = {question->history->x, 1, values, 1 + row.second, 1, &row};
	double	   *scratch = malloc(2 * question->model->scratch_per_value * sizeof(double) + 1);
	Derivatives derivatives = {0};

	CHECK(scratch != NULL);
	begin(MOST_STEPS);
	question->model->add_likelihood(question->model, question->parameters, &block, scratch,
									&derivatives);
	free(scratch);
}

/* The next value of a list, chosen at random. */
#define ANY(list) ((list)[check_between(0, COUNT(list) - 1)])

static double
any_parameter(const Model *model, int parameter)
{
	return model->is_scale[parameter] ? ANY(scales) : ANY(shapes);
}

/* Parameters and histories that anybody may ask for, in many combinations. */
static void
ask_at_random(const Model *model, int count)
{
	for (int i = 0; i < count; i++)
	{
		double		parameters[MODEL_MAX_PARAMETERS];
		PurchaseHistory history = {ANY(purchases), 0, ANY(ages)};
		Question	question = {model, parameters, &history, ANY(horizons)};

		for (int j = 0; j < model->parameter_count; j++)
			parameters[j] = any_parameter(model, j);
		history.t_x = history.x == 0 ? 0 : history.t * ANY(last);
		asked = &question;
		ask_customer(&question, ANY(quantiles));
		ask_horizon(&question, (int) check_between(0, MOST_ENTRIES));
		if (i % 8 == 0)
			ask_discounted(&question, i % 16 == 0 ? INFINITY : question.horizon, ANY(rates));
		ask_likelihood(&question);
	}
}

/* Spend takes no loops: the mean is a number, or does not exist. */
static void
ask_spend(const Model *model, int count)
{
	for (int i = 0; i < count; i++)
	{
		double		parameters[MODEL_MAX_PARAMETERS];
		PurchaseHistory history = {ANY(purchases), 0, 0};
		Question	question = {model, parameters, &history, 0};
		double		value = 0;

		for (int j = 0; j < MODEL_MAX_PARAMETERS; j++)
			parameters[j] = j < model->parameter_count ? any_parameter(model, j) : 0;
		asked = &question;
		begin(MOST_STEPS);
		if (model->expected_spend(parameters, history.x, ANY(amounts), &value) == MATH_OK)
			CHECK(is_answer(value));
	}
}

/* A simulated customer: the draw, and some orders. */
static void
draw_customers(const Model *model, const Model *spend, int count)
{
	for (int i = 0; i < count; i++)
	{
		ShopParameters shop = {.model = model};
		PurchaseHistory history = {0};
		Question	question = {model, shop.purchase, &history, 0};
		ShopCustomer customer;
		ShopOrder	order;

		for (int j = 0; j < MODEL_MAX_PARAMETERS; j++)
		{
			shop.purchase[j] = any_parameter(model, j);
			shop.spend[j] = j < spend->parameter_count ? any_parameter(spend, j) : 0;
		}
		asked = &question;
		begin(MOST_STEPS);
		shop_customer(&customer, &shop, 1, i, 3650);
		for (int j = 0; j < 10 && shop_next_order(&customer, 3650, &order); j++)
			CHECK(order.day >= 0 && order.day < 3650 && order.cents > 0);
	}
}

int
main(void)
{
	const Model *spend = model_named("gammagamma");

	ask_spend(spend, 100000);
	for (int i = 0; i < PURCHASE_MODELS; i++)
	{
		const Model *model = model_named(purchase_models[i]);

		ask_at_random(model, 10000);
		draw_customers(model, spend, 30000);
	}
	return 0;
}
