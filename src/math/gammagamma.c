/*
 * gammagamma.c: Gamma-Gamma (Fader, Hardie 2013, "The Gamma-Gamma model of monetary value").
 *
 * The value of a purchase is gamma(p, nu), and nu is gamma(q, v) over
 * customers. m is the mean value of x purchases.
 */
#include "math/model.h"

#include <math.h>

#include "math/special.h"

/* Names the parameters. */
enum
{
	P,
	Q,
	V
};

/* Begins a fit at customary shapes, and the scale that gives the mean value. */
static bool
gammagamma_start(const ObservationBlocks *data, int attempt, double *parameters)
{
	Observation total = observations_total(data);

	parameters[P] = 3;
	parameters[Q] = 3;
	parameters[V] = total.values[0] / total.weight * (parameters[Q] - 1) / parameters[P];
	return attempt == 0;
}

/* Adds the part of the log-likelihood that x alone decides on; shape = p x + q. */
static void
add_count_part(const double *parameters, double x, double weight, Derivatives *result)
{
	double		p = parameters[P];
	double		q = parameters[Q];
	double		v = parameters[V];
	double		shape = p * x + q;
	double		second = trigamma(shape);

	result->value +=
		weight * (log_gamma(shape) - log_gamma(p * x) - log_gamma(q) + q * log(v) + p * x * log(x));
	result->gradient[P] += weight * x * (digamma(shape) - digamma(p * x) + log(x));
	result->gradient[Q] += weight * (digamma(shape) - digamma(q) + log(v));
	result->gradient[V] += weight * q / v;
	result->hessian[P][P] += weight * x * x * (second - trigamma(p * x));
	result->hessian[P][Q] += weight * x * second;
	result->hessian[Q][Q] += weight * (second - trigamma(q));
	result->hessian[Q][V] += weight / v;
	result->hessian[V][V] -= weight * q / (v * v);
}

/*
 * Adds a block's log-likelihood: (p x - 1) ln m - (p x + q) ln(x m + v) over its rows, and the part
 * of x.
 */
static void
gammagamma_add_likelihood(const Model *self, const double *parameters,
						  const ObservationBlock *block, double *scratch, Derivatives *result)
{
	double		x = block->x;
	double		shape = parameters[P] * x + parameters[Q];
	LogarithmSum values = NO_LOGARITHMS;
	LogarithmSum totals = NO_LOGARITHMS;
	double		logs;
	double		sum_log;
	double		sum_inverse = 0;
	double		sum_square = 0;

	for (int64_t i = 0; i < block->row_count; i++)
	{
		double		weight = block->rows[i].weight;
		double		m = block->values[block->rows[i].first];
		double		inverse = 1 / (x * m + parameters[V]);

		add_logarithm(&values, m, weight);
		add_logarithm(&totals, x * m + parameters[V], weight);
		sum_inverse += weight * inverse;
		sum_square += weight * inverse * inverse;
	}
	logs = logarithm_sum(&values);
	sum_log = logarithm_sum(&totals);
	add_count_part(parameters, x, block->weight, result);
	result->value += (parameters[P] * x - 1) * logs - shape * sum_log;
	result->gradient[P] += x * (logs - sum_log);
	result->gradient[Q] -= sum_log;
	result->gradient[V] -= shape * sum_inverse;
	result->hessian[P][V] -= x * sum_inverse;
	result->hessian[Q][V] -= sum_inverse;
	result->hessian[V][V] += shape * sum_square;
}

/*
 * Computes the mean value of future purchases, p (v + x m) / (p x + q - 1); the population's for x
 * = 0. A mean that is infinite does not exist.
 */
static MathStatus
gammagamma_expected_spend(const double *parameters, double x, double m, double *result)
{
	double		degrees = parameters[P] * x + parameters[Q] - 1;

	if (!(degrees > 0))
		return MATH_UNDEFINED;
	*result = parameters[P] * (parameters[V] + (x > 0 ? x * m : 0)) / degrees;
	return isfinite(*result) ? MATH_OK : MATH_UNDEFINED;
}

const Model gammagamma = {
	.name = "gammagamma", .kind = MODEL_OF_SPEND, .parameter_count = 3,
	.parameter_names = {"p", "q", "v"}, .is_scale = {false, false, true}, .prior = {4, 4, 0},
	.start = gammagamma_start, .add_likelihood = gammagamma_add_likelihood,
	.expected_spend = gammagamma_expected_spend
};
