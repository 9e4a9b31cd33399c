/*
 * fit.c: maximum likelihood by Newton's method on the parameters' logarithms.
 *
 * The Hessian is analytic, so that some ten evaluations do. Where it is not
 * negative definite, or a step leads down, its diagonal is raised (Levenberg
 * 1944, Marquardt 1963).
 */
#include "math/fit.h"

#include <math.h>

#define MOST_ITERATIONS 200
#define MOST_STEP 2.0			/* of a logarithm, at once */
#define MOST_DISTANCE 18.0		/* of a logarithm from the start: the parameter runs to 0 or
								 * infinity */
#define MOST_DAMPING 1e12
#define MOST_ERROR 10.0			/* standard error of a logarithm */

/*
 * Gives the gain that a full step promises, below which its end is the maximum for all purposes:
 * 1e-5 standard errors.
 */
#define CONVERGED_GAIN 1e-10

/* Sums of many terms are not more exact than this; a step may seem to lead down by so much. */
#define VALUE_NOISE 1e-12

/* Gives the standard deviation of the prior of a parameter's logarithm. */
#define PRIOR_SD 1.5

typedef double Vector[MODEL_MAX_PARAMETERS];
typedef double Matrix[MODEL_MAX_PARAMETERS][MODEL_MAX_PARAMETERS];

typedef struct Fit
{
	const Model *model;
	const ObservationBlocks *data;
	const MathHost *host;
	double		penalty;
	Vector		prior;			/* logarithms */
	Vector		start;			/* logarithms */
	double	   *scratch;
	int			count;			/* of parameters */
} Fit;

/*
 * Describes a point with what the penalised log-likelihood is there, by logarithms; the matrix is
 * the negative Hessian.
 */
typedef struct Point
{
	Vector		logs;
	double		value;
	double		log_likelihood;
	Vector		gradient;
	Matrix		information;
} Point;

/* Passes from parameters to their logarithms: d/d ln p = p d/dp. */
static void
to_logarithms(const Fit *fit, const double *parameters, const Derivatives *sums, Point *point)
{
	point->log_likelihood = point->value = sums->value;
	for (int i = 0; i < fit->count; i++)
	{
		double		away = (point->logs[i] - fit->prior[i]) / PRIOR_SD;

		point->gradient[i] = parameters[i] * sums->gradient[i];
		for (int j = i; j < fit->count; j++)
			point->information[i][j] = point->information[j][i] =
				-parameters[i] * parameters[j] * sums->hessian[i][j];
		point->information[i][i] += fit->penalty / (PRIOR_SD * PRIOR_SD) - point->gradient[i];
		point->gradient[i] -= fit->penalty * away / PRIOR_SD;
		point->value -= 0.5 * fit->penalty * away * away;
	}
}

static void
evaluate(const Fit *fit, Point *point)
{
	Derivatives sums = {0};
	Vector		parameters;

	for (int i = 0; i < fit->count; i++)
		parameters[i] = exp(point->logs[i]);
	for (int i = 0; i < fit->data->count; i++)
	{
		host_check(fit->host);
		fit->model->add_likelihood(fit->model, parameters, &fit->data->blocks[i], fit->scratch,
								   &sums);
	}
	to_logarithms(fit, parameters, &sums, point);
}

/* Decomposes a symmetric matrix into L L^T; false where it is not positive definite. */
static bool
decompose(int count, Matrix matrix, double damping, Matrix result)
{
	for (int i = 0; i < count; i++)
	{
		for (int j = 0; j <= i; j++)
		{
			double		sum = matrix[i][j] + (i == j ? damping * (fabs(matrix[i][i]) + 1e-6) : 0);

			for (int k = 0; k < j; k++)
				sum -= result[i][k] * result[j][k];
			if (i == j && !(sum > 1e-13 * fabs(matrix[i][i])))
				return false;
			result[i][j] = i == j ? sqrt(sum) : sum / result[j][j];
		}
	}
	return true;
}

static void
solve(int count, Matrix factor, const double *right, double *result)
{
	for (int i = 0; i < count; i++)
	{
		result[i] = right[i];
		for (int k = 0; k < i; k++)
			result[i] -= factor[i][k] * result[k];
		result[i] /= factor[i][i];
	}
	for (int i = count - 1; i >= 0; i--)
	{
		for (int k = i + 1; k < count; k++)
			result[i] -= factor[k][i] * result[k];
		result[i] /= factor[i][i];
	}
}

/*
 * Finds the step to take, no longer than MOST_STEP; raises the damping as far as it must. Returns
 * the promised gain, or -1 where there is no step.
 */
static double
find_step(const Fit *fit, Point *point, double *damping, double *step)
{
	Matrix		factor;
	double		longest = 0;
	double		gain = 0;

	while (!decompose(fit->count, point->information, *damping, factor))
	{
		*damping = fmax(10 * *damping, 1e-4);
		if (*damping > MOST_DAMPING)
			return -1;
	}
	solve(fit->count, factor, point->gradient, step);
	for (int i = 0; i < fit->count; i++)
	{
		gain += step[i] * point->gradient[i] / 2;
		longest = fmax(longest, fabs(step[i]));
	}
	for (int i = 0; i < fit->count; i++)
		step[i] *= longest > MOST_STEP ? MOST_STEP / longest : 1;
	return gain;
}

/* Tells whether a parameter has run off, or out of what a model accepts. */
static bool
is_lost(const Fit *fit, const Point *point)
{
	for (int i = 0; i < fit->count; i++)
	{
		if (!(fabs(point->logs[i] - fit->start[i]) < MOST_DISTANCE) ||
			point->logs[i] < log(LEAST_PARAMETER) ||
			point->logs[i] > log(model_most(fit->model, i)))
			return true;
	}
	return false;
}

/* Climbs from the point; returns whether the maximum was found. */
static bool
climb(const Fit *fit, Point *point, int *iterations)
{
	double		damping = 0;

	evaluate(fit, point);
	for (*iterations = 1; *iterations < MOST_ITERATIONS && isfinite(point->value); ++*iterations)
	{
		Point		next = *point;
		Vector		step;
		double		gain = find_step(fit, point, &damping, step);
		bool		last = damping == 0 && gain < CONVERGED_GAIN;

		if (gain < 0)
			return false;
		for (int i = 0; i < fit->count; i++)
			next.logs[i] += step[i];
		if (is_lost(fit, &next))
			return false;
		evaluate(fit, &next);
		if (next.value >= point->value - VALUE_NOISE * fabs(point->value))
		{
			*point = next;
			damping = damping > 1e-6 ? damping / 10 : 0;
		}
		else
			damping = fmax(10 * damping, 1e-3);
		if (last)
			return true;
		if (damping > MOST_DAMPING)
			return false;
	}
	return false;
}

/*
 * Sets covariance and errors. Covariance is the inverse of the information; NaN where it has none.
 * A parameter that may as well be e^10 times as large is not determined, however flat the top of
 * the likelihood.
 */
static void
set_covariance(const Fit *fit, Point *point, FitResult *result)
{
	Matrix		factor;
	bool		regular = decompose(fit->count, point->information, 0, factor);

	for (int i = 0; i < fit->count; i++)
	{
		Vector		unit = {0};
		Vector		column = {NAN, NAN, NAN, NAN};

		unit[i] = 1;
		if (regular)
			solve(fit->count, factor, unit, column);
		for (int j = 0; j <= i; j++)
			result->covariance[i][j] = result->covariance[j][i] =
				column[j] * result->parameters[i] * result->parameters[j];
		result->standard_errors[i] = sqrt(result->covariance[i][i]);
		result->converged = result->converged && sqrt(column[i]) < MOST_ERROR;
	}
}

/* Returns the nearest value that the model accepts. */
static double
acceptable(const Fit *fit, int parameter, double value)
{
	return fmin(fmax(value, LEAST_PARAMETER), model_most(fit->model, parameter));
}

/* Climbs from an attempt's start; false where there is no such attempt. */
static bool
try_start(Fit *fit, int attempt, Point *point, FitResult *result)
{
	Vector		parameters;
	int			iterations;

	if (!fit->model->start(fit->data, attempt, parameters))
		return false;
	for (int i = 0; i < fit->count; i++)
	{
		fit->start[i] = point->logs[i] = log(acceptable(fit, i, parameters[i]));
		/* The prior's centre; one that depends on the data, given as 0, is the start. */
		fit->prior[i] = fit->model->prior[i] > 0 ? log(fit->model->prior[i]) : fit->start[i];
	}
	result->converged = climb(fit, point, &iterations);
	result->iterations += iterations;
	for (int i = 0; i < fit->count; i++)
	{
		result->parameters[i] = acceptable(fit, i, exp(point->logs[i]));
		result->gradient_norm = fmax(i == 0 ? 0 : result->gradient_norm, fabs(point->gradient[i]));
	}
	result->log_likelihood = point->log_likelihood;
	set_covariance(fit, point, result);
	return true;
}

/*
 * Fits a model to grouped observations, of which there is at least one. penalty, 0 or more, weighs
 * a normal prior on the parameters' logarithms, so that small shops have a maximum too; it supposes
 * days. Where the likelihood has no maximum or it is not found from any start, converged is false,
 * and the parameters are the best that were seen.
 */
void
fit_model(const Model *model, const ObservationBlocks *data, double penalty, const MathHost *host,
		  FitResult *result)
{
	Fit			fit = {model, data, host, penalty, .count = model->parameter_count};
	Point		point = {{0}};
	FitResult	next = {{0}};

	fit.scratch =
		host->allocate(host->context, ((size_t) data->most_values * model->scratch_per_value + 1) *
										  sizeof(double));
	for (int attempt = 0;
		 (attempt == 0 || !result->converged) && try_start(&fit, attempt, &point, &next); attempt++)
	{
		if (attempt == 0 || next.converged || next.log_likelihood > result->log_likelihood)
			*result = next;
		result->iterations = next.iterations;
	}
	host_release(host, fit.scratch);
}
