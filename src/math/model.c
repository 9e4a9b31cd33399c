/* model.c: the registry of models, and what follows for all of them alike; see model.h. */
#include "math/model.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "math/special.h"

/* Ends the integral: beyond this many times the discount's own time, e^-45, nothing counts. */
#define DISCOUNT_REACH 45.0

/*
 * Begins the integral: before this part of the discount's own time next to nothing is discounted.
 */
#define DISCOUNT_START 1e-17

#define REGISTER(model) &model,

static const Model *const registry[] = {
	MODELS(REGISTER)
};

/* Returns the model at an index from 0 on; NULL behind the last. */
const Model *
model_at(int index)
{
	return index >= 0 && index < (int) (sizeof(registry) / sizeof(registry[0])) ? registry[index]
																				: NULL;
}

/* Finds the model of this name, which need not end with a zero byte; NULL where there is none. */
const Model *
model_find(const char *name, int length)
{
	const Model *model;

	for (int i = 0; (model = model_at(i)) != NULL; i++)
	{
		if ((int) strlen(model->name) == length && memcmp(model->name, name, length) == 0)
			return model;
	}
	return NULL;
}

/*
 * Returns the largest value that a parameter may have: another one for times and money than for
 * shapes.
 */
double
model_most(const Model *model, int parameter)
{
	return model->is_scale[parameter] ? MOST_SCALE : MOST_SHAPE;
}

static double
within_one(double probability)
{
	return probability < 0 ? 0 : probability > 1 ? 1 : probability;
}

/* Computes the probability, 0 to 1, that the customer has not left by the end of the history. */
double
model_p_alive(const Model *model, const double *parameters, const PurchaseHistory *history)
{
	return 1 / (1 + exp(model->dropout_log_odds(model, parameters, history)));
}

/*
 * Computes the expected purchases, 0 or more, within the horizon after the history. The horizon is
 * 0 or more, in the unit of time of the parameters.
 */
double
model_expected_orders(const Model *model, const double *parameters, const PurchaseHistory *history,
					  double horizon)
{
	return model_p_alive(model, parameters, history) *
		   model->expected_orders(model, parameters, history, horizon);
}

/*
 * Computes the probability, 0 to 1, of a purchase or more within the horizon after the history. The
 * horizon is 0 or more, in the unit of time of the parameters.
 */
double
model_order_probability(const Model *model, const double *parameters,
						const PurchaseHistory *history, double horizon)
{
	return within_one(model_p_alive(model, parameters, history) *
					  model->order_probability(model, parameters, history, horizon));
}

/*
 * Computes the probabilities of 0..most purchases within the horizon after the history. The horizon
 * is 0 or more, in the unit of time of the parameters.
 */
void
model_order_distribution(const Model *model, const double *parameters,
						 const PurchaseHistory *history, double horizon, int most,
						 const MathHost *host, double *probabilities)
{
	double		alive = model_p_alive(model, parameters, history);

	model->order_distribution(model, parameters, history, horizon, most, host, probabilities);
	for (int k = 0; k <= most; k++)
		probabilities[k] = within_one(alive * probabilities[k] + (k == 0 ? 1 - alive : 0));
}

/*
 * Computes the quantile, 0 <= quantile < 1, of the time from the history's end to the next purchase
 * of a customer who stays alive. A gamma rate makes it Lomax distributed: P(later than t) = (1 + t
 * / (alpha + T))^-(r + x).
 */
double
model_next_order(const double *parameters, const PurchaseHistory *history, double quantile)
{
	double		time =
		(parameters[1] + history->t) * expm1(-log1p(-quantile) / (parameters[0] + history->x));

	return time < DBL_MAX ? time : DBL_MAX;
}

/*
 * Computes the integral of rate e^(-rate t) times the expected purchases until t, over 0..horizon:
 * by panels in u = ln(1 + t / scale), where the expectation has no singularity nearer than pi (see
 * alive.c). It may be steep at first, so that the panels begin short.
 */
static double
discounted_integral(const Model *model, const double *parameters, const PurchaseHistory *history,
					double horizon, double rate, const MathHost *host)
{
	double		scale = parameters[model->scale_parameter] + history->t;
	double		steepness = parameters[0] + history->x + parameters[2];
	double		end = log1p(horizon / scale);
	double		sum = 0;

	for (double u = log1p(DISCOUNT_START / (rate * scale)), width = fmin(1, 3 / steepness); u < end;
		 u += width, width = fmin(1, 2 * width))
	{
		host_check(host);
		width = fmin(fmin(width, log1p(3 / (rate * scale * exp(u)))), end - u);
		if (!(u + width > u))
			break;				/* the rest is shorter than numbers can tell */
		for (int i = 0; i < quadrature_12.count; i++)
		{
			double		at = u + width * quadrature_12.nodes[i];
			double		t = scale * expm1(at);

			sum += width * quadrature_12.weights[i] * rate * scale * exp(at - rate * t) *
				model->expected_orders(model, parameters, history, t);
		}
	}
	return sum;
}

/*
 * Computes the expected purchases within the horizon, which may be infinite, each worth e^(-rate
 * t): by parts, e^(-rate horizon) E(horizon) + integral of rate e^(-rate t) E(t). MATH_UNDEFINED
 * where the horizon is infinite and nothing is discounted, or next to nothing: that sum need not be
 * finite.
 */
MathStatus
model_discounted_orders(const Model *model, const double *parameters,
						const PurchaseHistory *history, double horizon, double rate,
						const MathHost *host, double *result)
{
	double		alive = model_p_alive(model, parameters, history);

	if (isinf(horizon) && DISCOUNT_REACH > rate * MOST_TIME)
		return MATH_UNDEFINED;
	if (rate > 0)
		horizon = fmin(horizon, DISCOUNT_REACH / rate);
	*result = exp(-rate * horizon) * model->expected_orders(model, parameters, history, horizon);
	if (rate > 0)
		*result += discounted_integral(model, parameters, history, horizon, rate, host);
	*result *= alive;
	return MATH_OK;
}
