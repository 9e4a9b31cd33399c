/*
 * model_invariants.h: what holds for every model, customer and horizon, however
 * extreme, for model_extremes.c and the fuzzer.
 */
#ifndef RETENTION_MODEL_INVARIANTS_H
#define RETENTION_MODEL_INVARIANTS_H

#include <math.h>
#include <string.h>

#include "math/model.h"

#include "check.h"

/* Of a relative difference that rounding may make. */
#define NOISE 1e-10

/* Of a distribution, its first entries. */
#define FIRST_ENTRIES 4

/* The models of purchases. */
static const char *const purchase_models[] = {"bgnbd", "mbgnbd", "paretonbd"};

#define PURCHASE_MODELS 3

/* What is asked about one customer; the horizon is for the message of a failure. */
typedef struct Question
{
	const Model *model;
	const double *parameters;
	const PurchaseHistory *history;
	double		horizon;
} Question;

/* Like CHECK, for functions with a question: says which customer it was. */
#define HOLDS(condition) \
	((condition) ? (void) 0 : question_failed(question, __FILE__, __LINE__, #condition))

/* What is predicted for a horizon. */
typedef struct Prediction
{
	double		orders;
	double		probability;
} Prediction;

static inline void
question_failed(const Question *question, const char *file, int line, const char *condition)
{
	const double *parameters = question->parameters;
	const PurchaseHistory *history = question->history;

	fprintf(stderr, "%s {%.17g, %.17g, %.17g, %.17g}, x %.17g, t_x %.17g, t %.17g, horizon %.17g\n",
			question->model->name, parameters[0], parameters[1], parameters[2], parameters[3],
			history->x, history->t_x, history->t, question->horizon);
	check_failed(file, line, condition);
}

static inline const Model *
model_named(const char *name)
{
	const Model *model = model_find(name, (int) strlen(name));

	CHECK(model != NULL);
	return model;
}

static inline bool
is_probability(double value)
{
	return value >= 0 && value <= 1;
}

static inline bool
is_close(double value, double expected, double tolerance)
{
	return value == expected ||
		   fabs(value - expected) <= tolerance * (fabs(value) + fabs(expected));
}

/*
 * The logarithm of gamma(base + n) / gamma(base): of a few factors, rather than the difference of
 * two large numbers.
 */
static inline long double
log_rising(long double base, double n)
{
	long double product = 1;

	if (n > 16)
		return lgammal(base + n) - lgammal(base);
	for (int i = 0; i < n; i++)
		product *= base + i;
	return logl(product);
}

/*
 * The log-likelihood of the history and of being alive, from which the dropout odds are absent;
 * terms is the size that rounding is relative to.
 */
static inline long double
log_alive(const Question *question, double *terms)
{
	const PurchaseHistory *history = question->history;
	const double *parameters = question->parameters;
	double		chances = history->x + question->model->first_chances;
	long double buying = log_rising(parameters[0], history->x) -
						 history->x * logl((long double) parameters[1] + history->t) -
						 parameters[0] * log1pl((long double) history->t / parameters[1]);
	bool		at_random = strcmp(question->model->name, "paretonbd") == 0;
	long double staying;

	if (at_random)
		staying = -parameters[2] * log1pl((long double) history->t / parameters[3]);
	else
		staying = log_rising(parameters[3], chances) -
				  log_rising((long double) parameters[2] + parameters[3], chances);
	*terms = (parameters[0] + history->x) *
				 (fabs(log(parameters[1])) + fabs(log(parameters[1] + history->t))) +
			 fabs((double) log_rising(parameters[0], history->x)) + fabs((double) staying) +
			 (at_random ? parameters[2] * fabs(log(parameters[3])) : 0);
	return buying + staying;
}

/* A likelihood is that of being alive over the probability to be alive. */
static inline void
check_likelihood(const Question *question)
{
	double		likelihood =
		question->model->log_likelihood(question->model, question->parameters, question->history);
	double		odds =
		question->model->dropout_log_odds(question->model, question->parameters, question->history);
	double		p_alive = model_p_alive(question->model, question->parameters, question->history);
	double		terms;
	double		alive = (double) log_alive(question, &terms);
	double		less_alive = odds > 0 ? odds + log1p(exp(-odds)) : log1p(exp(odds));

	HOLDS(isfinite(likelihood));
	HOLDS(odds < INFINITY);
	HOLDS(is_probability(p_alive));
	HOLDS(fabs(p_alive - exp(-less_alive)) <= 1e-12);
	HOLDS(fabs(likelihood - alive - less_alive) <= 1e-12 * (1 + terms + fabs(odds > 0 ? odds : 0)));
}

/*
 * The first entries of a distribution, which know the probability of none and stay below the
 * expectation.
 */
static inline void
check_distribution(const Question *question, double horizon, const Prediction *prediction)
{
	double		entries[FIRST_ENTRIES + 2];
	double		sum = 0;
	double		orders = 0;

	entries[FIRST_ENTRIES + 1] = -77;
	question->model->order_distribution(question->model, question->parameters, question->history,
										horizon, FIRST_ENTRIES, &NO_HOST, entries);
	HOLDS(entries[FIRST_ENTRIES + 1] == -77);
	for (int i = 0; i <= FIRST_ENTRIES; i++)
	{
		HOLDS(entries[i] >= 0);
		sum += entries[i];
		orders += i * entries[i];
	}
	HOLDS(sum <= 1 + 1e-9);
	HOLDS(fabs(entries[0] - (1 - prediction->probability)) <= 1e-9);
	HOLDS(orders <= prediction->orders * (1 + 1e-9) + 1e-14);
}

/*
 * A customer who is alive buys no less often than once or never, and no more
 * often than one who will never leave.
 */
static inline Prediction
check_horizon(const Question *question, double horizon)
{
	const PurchaseHistory *history = question->history;
	double		most =
		(question->parameters[0] + history->x) / (question->parameters[1] + history->t) * horizon;
	Prediction	prediction;

	prediction.orders =
		question->model->expected_orders(question->model, question->parameters, history, horizon);
	prediction.probability =
		question->model->order_probability(question->model, question->parameters, history, horizon);
	HOLDS(isfinite(prediction.orders) && prediction.orders >= 0);
	HOLDS(is_probability(prediction.probability));
	HOLDS(prediction.orders <= most * (1 + NOISE));
	HOLDS(prediction.orders >= prediction.probability * (1 - NOISE));
	check_distribution(question, horizon, &prediction);
	return prediction;
}

/* What the model says of a customer of whom nobody knows whether alive. */
static inline void
check_unconditional(const Question *question, double horizon, const Prediction *alive)
{
	double		p_alive = model_p_alive(question->model, question->parameters, question->history);
	double		orders =
		model_expected_orders(question->model, question->parameters, question->history, horizon);
	double		probability =
		model_order_probability(question->model, question->parameters, question->history, horizon);
	double		entries[2];

	model_order_distribution(question->model, question->parameters, question->history, horizon, 1,
							 &NO_HOST, entries);
	HOLDS(is_close(orders, p_alive * alive->orders, 1e-14));
	HOLDS(is_close(probability, p_alive * alive->probability, 1e-14));
	HOLDS(is_probability(entries[0]) && is_probability(entries[1]));
	HOLDS(fabs(entries[0] - (1 - probability)) <= 1e-9);
	HOLDS(entries[1] <= p_alive);
}

/*
 * Discounting makes less of the orders, and more of it even less, but not less than if all came at
 * the end.
 */
static inline void
check_discounted(const Question *question, double horizon)
{
	double		orders =
		model_expected_orders(question->model, question->parameters, question->history, horizon);
	double		before = orders * (1 + 1e-8);

	for (double rate = 1e-4; rate < 1; rate *= 100)
	{
		double		discounted;

		HOLDS(model_discounted_orders(question->model, question->parameters, question->history,
									  horizon, rate, &NO_HOST, &discounted) == MATH_OK);
		HOLDS(isfinite(discounted) && discounted >= 0);
		HOLDS(discounted <= before);
		HOLDS(discounted >= orders * exp(-rate * horizon) * (1 - 1e-8));
		before = discounted * (1 + 1e-8);
	}
}

/* The next order's time: never before now, and later for a larger quantile. */
static inline void
check_next_order(const Question *question)
{
	static const double quantiles[] = {0, 1e-9, 0.1, 0.5, 0.9, 0.999};
	double		before = 0;

	for (int i = 0; i < (int) (sizeof(quantiles) / sizeof(quantiles[0])); i++)
	{
		double		days = model_next_order(question->parameters, question->history, quantiles[i]);

		HOLDS(isfinite(days) && days >= before);
		before = days;
	}
}

/* Everything about a customer, the horizons in ascending order: more time, more orders. */
static inline void
check_customer(Question *question, const double *horizons, int count)
{
	Prediction	before = {0, 0};

	check_likelihood(question);
	check_next_order(question);
	for (int i = 0; i < count; i++)
	{
		Prediction	prediction;

		question->horizon = horizons[i];
		prediction = check_horizon(question, horizons[i]);
		HOLDS(prediction.orders >= before.orders * (1 - NOISE));
		HOLDS(prediction.probability >= before.probability * (1 - NOISE));
		check_unconditional(question, horizons[i], &prediction);
		before = prediction;
	}
}

/*
 * The derivatives of the likelihood, for the customer alone, are numbers, and its value is that of
 * log_likelihood.
 */
static inline void
check_derivatives(const Question *question)
{
	const PurchaseHistory *history = question->history;
	double		values[2] = {history->t_x, history->t};
	BlockRow	row = {0, history->t_x < history->t, 1};
	ObservationBlock block = {history->x, 1, values, 1 + row.second, 1, &row};
	double	   *scratch = malloc(2 * question->model->scratch_per_value * sizeof(double) + 1);
	double		likelihood =
		question->model->log_likelihood(question->model, question->parameters, history);
	Derivatives derivatives = {0};

	CHECK(scratch != NULL);
	question->model->add_likelihood(question->model, question->parameters, &block, scratch,
									&derivatives);
	HOLDS(is_close(derivatives.value, likelihood, 1e-9) ||
		  fabs(derivatives.value - likelihood) < 1e-8);
	for (int i = 0; i < question->model->parameter_count; i++)
	{
		HOLDS(isfinite(derivatives.gradient[i]));
		for (int j = 0; j < question->model->parameter_count; j++)
			HOLDS(isfinite(derivatives.hessian[i][j]));
	}
	free(scratch);
}

#endif
