/*
 * paretonbd.c: Pareto/NBD (Schmittlein, Morrison, Colombo 1987).
 *
 * While alive a customer buys at a gamma(r, alpha) rate; the lifetime is
 * exponential with a gamma(s, beta) rate. With R = r + x, the likelihood is
 *
 *     gamma(R)/gamma(r) alpha^r beta^s [ (alpha+T)^-R (beta+T)^-s
 *         + s integral over t_x..T of (alpha+t)^-R (beta+t)^-(s+1) dt ].
 */
#include "math/model.h"

#include <math.h>
#include <string.h>

#include "math/lomax.h"
#include "math/special.h"

/* The parameters by name. */
enum
{
	R,
	ALPHA,
	S,
	BETA
};

/*
 * The derivatives of (alpha+t)^-R (beta+t)^-(s+1) by the parameters are made of
 * products of these factors.
 */
enum
{
	ONE,
	LOG_ALPHA,
	INVERSE_ALPHA,
	LOG_BETA,
	INVERSE_BETA,
	FACTORS
};

/* Products of two factors: the moments, stored as an upper triangle. */
#define MOMENTS (FACTORS * (FACTORS + 1) / 2)

/* Where the product of factors i <= j is stored. */
#define MOMENT(i, j) ((i) * FACTORS - (i) * ((i) - 1) / 2 + (j) - (i))

/* One distinct time of a block. */
typedef struct TimePoint
{
	double		factors[FACTORS];
	double		step;			/* the function's value at the next time over that at this one */
	double		exponent;		/* ln of the function */
	double		integral_weight;	/* of moments in the block's sum */
	double		alive_weight;	/* of this time's own factors in the sum over those alive */
	double		moments[MOMENTS];	/* integrals from here to the block's last time, relative to
									 * the function here */
} TimePoint;

/* An integrand that has fallen by so much, e^-44, adds nothing. */
#define LOG_NEGLIGIBLE (-44.0)

#define SCRATCH ((int) (sizeof(TimePoint) / sizeof(double)))

/*
 * The purchase rate of the whole shop, and lives about as long as the history; at the second
 * attempt, much longer.
 */
static bool
paretonbd_start(const ObservationBlocks *data, int attempt, double *parameters)
{
	Observation total = observations_total(data);
	double		time = total.values[1];

	parameters[R] = 0.6;
	parameters[ALPHA] = total.x > 0 && time > 0 ? 0.4 * time / total.x : time / total.weight + 1e-3;
	parameters[S] = attempt == 0 ? 0.6 : 0.05;
	parameters[BETA] = 0.4 * time / total.weight + 1e-3;
	return attempt < 2;
}

static void
set_factors(const double *parameters, double t, double *factors)
{
	factors[ONE] = 1;
	factors[LOG_ALPHA] = log(parameters[ALPHA] + t);
	factors[INVERSE_ALPHA] = 1 / (parameters[ALPHA] + t);
	factors[LOG_BETA] = log(parameters[BETA] + t);
	factors[INVERSE_BETA] = 1 / (parameters[BETA] + t);
}

static void
add_products(const double *factors, double weight, double *moments)
{
	for (int i = 0; i < FACTORS; i++)
	{
		double		weighted = weight * factors[i];

		for (int j = i; j < FACTORS; j++)
			*moments++ += weighted * factors[j];
	}
}

/*
 * Adds the moments' integrals over one panel, relative to the function where its logarithm is
 * exponent.
 */
static void
add_panel(const LomaxProduct *product, const double *parameters, double from, double length,
		  const QuadratureRule *rule, double exponent, double *moments)
{
	double		factors[FACTORS];

	for (int i = 0; i < rule->count; i++)
	{
		set_factors(parameters, from + length * rule->nodes[i], factors);
		add_products(factors,
					 length * rule->weights[i] *
						 exp(-product->m * factors[LOG_ALPHA] - product->n * factors[LOG_BETA] -
							 exponent),
					 moments);
	}
}

/*
 * How long an interval that starts at `at` may be for the 8-point rule to be
 * exact to about 1e-13: the function falls by no more than e^2, and the
 * singularities at -alpha and -beta are at least as far away as the interval is long.
 */
static double
panel_length(const LomaxProduct *product, double at)
{
	double		a = product->a + at;
	double		b = product->b + at;

	return fmin(fmin(a, b), 2 / (product->m / a + product->n / b));
}

/*
 * Adds the moments' integrals over from..to, relative to the function at from, whose logarithm
 * there is exponent.
 */
static void
add_interval(const LomaxProduct *product, const double *parameters, double from, double to,
			 double exponent, double *moments)
{
	for (double at = from; at < to && lomax_log_ratio(product, from, at) > LOG_NEGLIGIBLE;)
	{
		double		panel = panel_length(product, at);
		double		end = at + panel < to ? at + panel : to;

		if (!(end > at))
			return;				/* the rest is shorter than numbers can tell */
		/* As exact as the longer rule where the interval is a twenty-fifth of a panel. */
		add_panel(product, parameters, at, end - at,
				  to - from < 0.04 * panel ? &quadrature_3 : &quadrature_8, exponent, moments);
		at = end;
	}
}

/* Fills in a block's times, from the last to the first. */
static void
set_points(const LomaxProduct *product, const double *parameters, const ObservationBlock *block,
		   TimePoint *points)
{
	memset(points, 0, block->value_count * sizeof(TimePoint));
	for (int32_t i = block->value_count - 1; i >= 0; i--)
	{
		TimePoint  *point = &points[i];

		set_factors(parameters, block->values[i], point->factors);
		point->exponent =
			-product->m * point->factors[LOG_ALPHA] - product->n * point->factors[LOG_BETA];
		if (i == block->value_count - 1)
			continue;
		point->step = exp(points[i + 1].exponent - point->exponent);
		add_interval(product, parameters, block->values[i], block->values[i + 1],
					 point->exponent, point->moments);
		for (int j = 0; j < MOMENTS; j++)
			point->moments[j] += point->step * points[i + 1].moments[j];
	}
}

/*
 * Adds one row. Relative to the function at t_x, the bracket is N = alive + s J with
 * J = moments(t_x) - fall moments(T); the second derivatives of J and of the
 * first term are linear, so only their weights are noted, for add_linear_part.
 */
static void
add_row(const double *parameters, double shape, double weight, TimePoint *first, TimePoint *second,
		LogarithmSum *totals, Derivatives *result)
{
	double		fall = exp(second->exponent - first->exponent);
	double		alive = fall / second->factors[INVERSE_BETA];
	double		s = parameters[S];
	double		gone = first->moments[ONE] - fall * second->moments[ONE];
	double		total = alive + s * gone;
	double		scale = 1 / total;
	double		slopes[MODEL_MAX_PARAMETERS];
	double		sums[FACTORS];

	for (int i = LOG_ALPHA; i < FACTORS; i++)
		sums[i] = first->moments[i] - fall * second->moments[i];
	slopes[R] = -(alive * second->factors[LOG_ALPHA] + s * sums[LOG_ALPHA]) * scale;
	slopes[ALPHA] =
		-shape * (alive * second->factors[INVERSE_ALPHA] + s * sums[INVERSE_ALPHA]) * scale;
	slopes[S] = -(alive * second->factors[LOG_BETA] + s * sums[LOG_BETA] - gone) * scale;
	slopes[BETA] =
		-s * (alive * second->factors[INVERSE_BETA] + (s + 1) * sums[INVERSE_BETA]) * scale;
	add_logarithm(totals, total, weight);
	result->value += weight * first->exponent;
	for (int i = 0; i < MODEL_MAX_PARAMETERS; i++)
	{
		result->gradient[i] += weight * slopes[i];
		for (int j = i; j < MODEL_MAX_PARAMETERS; j++)
			result->hessian[i][j] -= weight * slopes[i] * slopes[j];
	}
	first->integral_weight += weight * scale;
	second->integral_weight -= weight * scale * fall;
	second->alive_weight += weight * scale * alive;
}

/*
 * The second derivatives of (alpha+t)^-R (beta+t)^-n by r, alpha, n and beta, which are
 * linear in the moments, times scale.
 */
static void
add_second_derivatives(const double *moments, double shape, double n, double scale,
					   Derivatives *result)
{
	result->hessian[R][R] += scale * moments[MOMENT(LOG_ALPHA, LOG_ALPHA)];
	result->hessian[R][ALPHA] +=
		scale * (shape * moments[MOMENT(LOG_ALPHA, INVERSE_ALPHA)] - moments[INVERSE_ALPHA]);
	result->hessian[R][S] += scale * moments[MOMENT(LOG_ALPHA, LOG_BETA)];
	result->hessian[R][BETA] += scale * n * moments[MOMENT(LOG_ALPHA, INVERSE_BETA)];
	result->hessian[ALPHA][ALPHA] +=
		scale * shape * (shape + 1) * moments[MOMENT(INVERSE_ALPHA, INVERSE_ALPHA)];
	result->hessian[ALPHA][S] += scale * shape * moments[MOMENT(INVERSE_ALPHA, LOG_BETA)];
	result->hessian[ALPHA][BETA] +=
		scale * shape * n * moments[MOMENT(INVERSE_ALPHA, INVERSE_BETA)];
	result->hessian[S][S] += scale * moments[MOMENT(LOG_BETA, LOG_BETA)];
	result->hessian[S][BETA] +=
		scale * (n * moments[MOMENT(LOG_BETA, INVERSE_BETA)] - moments[INVERSE_BETA]);
	result->hessian[BETA][BETA] +=
		scale * n * (n + 1) * moments[MOMENT(INVERSE_BETA, INVERSE_BETA)];
}

/*
 * Adds N''/N of all rows: the alive term's, s J'', and what s itself adds, J' once for each of both
 * orders.
 */
static void
add_linear_part(const double *parameters, double shape, const TimePoint *points, int32_t count,
				Derivatives *result)
{
	double		alive[MOMENTS] = {0};
	double		gone[MOMENTS] = {0};

	for (int32_t i = 0; i < count; i++)
	{
		add_products(points[i].factors, points[i].alive_weight, alive);
		for (int j = 0; j < MOMENTS; j++)
			gone[j] += points[i].integral_weight * points[i].moments[j];
	}
	add_second_derivatives(alive, shape, parameters[S], 1, result);
	add_second_derivatives(gone, shape, parameters[S] + 1, parameters[S], result);
	result->hessian[R][S] -= gone[LOG_ALPHA];
	result->hessian[ALPHA][S] -= shape * gone[INVERSE_ALPHA];
	result->hessian[S][S] -= 2 * gone[LOG_BETA];
	result->hessian[S][BETA] -= (parameters[S] + 1) * gone[INVERSE_BETA];
}

/* Adds the part that x alone decides on: ln gamma(R)/gamma(r) + r ln alpha + s ln beta. */
static void
add_count_part(const double *parameters, double x, double weight, Derivatives *result)
{
	RisingFactorial rate;

	rising_factorial(parameters[R], x, &rate);
	result->value += weight * (rate.log + parameters[R] * log(parameters[ALPHA]) +
							   parameters[S] * log(parameters[BETA]));
	result->gradient[R] += weight * (rate.first + log(parameters[ALPHA]));
	result->gradient[ALPHA] += weight * parameters[R] / parameters[ALPHA];
	result->gradient[S] += weight * log(parameters[BETA]);
	result->gradient[BETA] += weight * parameters[S] / parameters[BETA];
	result->hessian[R][R] += weight * rate.second;
	result->hessian[R][ALPHA] += weight / parameters[ALPHA];
	result->hessian[ALPHA][ALPHA] -=
		weight * parameters[R] / (parameters[ALPHA] * parameters[ALPHA]);
	result->hessian[S][BETA] += weight / parameters[BETA];
	result->hessian[BETA][BETA] -= weight * parameters[S] / (parameters[BETA] * parameters[BETA]);
}

/*
 * Adds a block's log-likelihood, with its derivatives in the upper triangle. The integral is
 * cumulated over the block's distinct times, so that a row costs one exponential.
 */
static void
paretonbd_add_likelihood(const Model *self, const double *parameters, const ObservationBlock *block,
						 double *scratch, Derivatives *result)
{
	TimePoint  *points = (TimePoint *) scratch;
	double		shape = parameters[R] + block->x;
	LomaxProduct product = {shape, parameters[ALPHA], parameters[S] + 1, parameters[BETA]};
	LogarithmSum totals = NO_LOGARITHMS;

	set_points(&product, parameters, block, points);
	for (int64_t i = 0; i < block->row_count; i++)
		add_row(parameters, shape, block->rows[i].weight, &points[block->rows[i].first],
				&points[block->rows[i].second], &totals, result);
	result->value += logarithm_sum(&totals);
	add_linear_part(parameters, shape, points, block->value_count, result);
	add_count_part(parameters, block->x, block->weight, result);
}

/* The log-odds of having left: the integral over t_x..T against the alive term. */
static double
paretonbd_dropout_log_odds(const Model *self, const double *parameters,
						   const PurchaseHistory *history)
{
	LomaxProduct product = {parameters[R] + history->x, parameters[ALPHA], parameters[S] + 1,
							parameters[BETA]};
	double		integral = lomax_integral(&product, history->t_x, history->t);

	return log(parameters[S] * integral / (parameters[BETA] + history->t)) -
		lomax_log_ratio(&product, history->t_x, history->t);
}

/* One customer's log-likelihood, without the term x! of the order of purchases. */
static double
paretonbd_log_likelihood(const Model *self, const double *parameters,
						 const PurchaseHistory *history)
{
	double		odds = paretonbd_dropout_log_odds(self, parameters, history);
	RisingFactorial rate;

	rising_factorial(parameters[R], history->x, &rate);
	return rate.log - parameters[R] * log1p(history->t / parameters[ALPHA]) -
		   history->x * log(parameters[ALPHA] + history->t) -
		   parameters[S] * log1p(history->t / parameters[BETA]) + softplus(odds);
}

/*
 * Expected purchases of a customer who is alive (Fader, Hardie 2005, equation 41); s = 1 is a
 * limit.
 */
static double
paretonbd_expected_orders(const Model *self, const double *parameters,
						  const PurchaseHistory *history, double horizon)
{
	double		scale = parameters[BETA] + history->t;
	double		stretch = log1p(horizon / scale);
	double		e = (1 - parameters[S]) * stretch;
	double		life = fabs(e) < 1e-300 ? stretch : stretch * (expm1(e) / e);

	return (parameters[R] + history->x) / (parameters[ALPHA] + history->t) * scale * life;
}

/*
 * The purchase and the lifetime compete: the integral of the purchase's density times the survival.
 */
static double
paretonbd_order_probability(const Model *self, const double *parameters,
							const PurchaseHistory *history, double horizon)
{
	double		shape = parameters[R] + history->x;
	double		scale = parameters[ALPHA] + history->t;
	LomaxProduct product = {shape + 1, scale, parameters[S], parameters[BETA] + history->t};

	return fmin(shape / scale * lomax_integral(&product, 0, horizon), 1);
}

/*
 * The density of leaving at t after k purchases, over v = ln t and as a logarithm:
 * ways + ln(s t/(b+t)) + shape ln(a/(a+t)) + k ln(t/(a+t)) + s ln(b/(b+t)). It is concave.
 */
typedef struct LeavingDensity
{
	double		shape;
	double		a;
	double		s;
	double		b;
	double		k;
	double		ways;
} LeavingDensity;

static double
leaving_density(const LeavingDensity *density, double v)
{
	double		t = exp(v);

	return density->ways + log(density->s * t / (density->b + t)) -
		   density->shape * log1p(t / density->a) - density->k * log1p(density->a / t) -
		   density->s * log1p(t / density->b);
}

/* Where it is largest at or below `end`, by bisection of its derivative, which falls from k + 1. */
static double
leaving_mode(const LeavingDensity *density, double end)
{
	double		low = end - 700;
	double		high = end;

	for (int i = 0; i < 60; i++)
	{
		double		middle = i == 0 ? end : (low + high) / 2;
		double		t = exp(middle);

		if ((density->b - density->s * t) / (density->b + t) +
			(density->k * density->a - density->shape * t) / (density->a + t) > 0)
			low = middle;
		else
			high = middle;
	}
	return high;
}

/*
 * Integrates from the mode towards `to`, in panels over which the density falls by no more than
 * e^9.
 */
static double
integrate_side(const LeavingDensity *density, double mode, double to)
{
	double		top = leaving_density(density, mode);
	double		level = top;
	double		sum = 0;

	for (double at = mode, panel; at != to && level > top - 40; at += panel)
	{
		panel = fmax(fmin(to - at, 3), -3);
		while (level - leaving_density(density, at + panel) > 9)
			panel /= 2;
		for (int i = 0; i < quadrature_12.count; i++)
			sum += fabs(panel) * quadrature_12.weights[i] *
				exp(leaving_density(density, at + panel * quadrature_12.nodes[i]));
		if (at + panel == at)
			break;
		level = leaving_density(density, at + panel);
	}
	return sum;
}

/* k purchases: alive at the end, or having left in between (Fader, Hardie, Jerath 2014). */
static void
paretonbd_order_distribution(const Model *self, const double *parameters,
							 const PurchaseHistory *history, double horizon, int most,
							 const MathHost *host, double *probabilities)
{
	LeavingDensity density = {parameters[R] + history->x, parameters[ALPHA] + history->t,
		parameters[S], parameters[BETA] + history->t, 0, 0};
	double		log_u = log(horizon / (density.a + horizon));
	double		stay =
		-density.shape * log1p(horizon / density.a) - density.s * log1p(horizon / density.b);
	double		end = log(horizon);

	for (int k = 0; k <= most; k++)
	{
		host_check(host);
		density.k = k;
		density.ways += k > 0 ? log((density.shape + k - 1) / k) : 0;
		probabilities[k] =
			horizon > 0 ? exp(density.ways + stay + (k > 0 ? k * log_u : 0)) : k == 0;
		if (horizon > 0)
		{
			double		mode = leaving_mode(&density, end);

			probabilities[k] +=
				integrate_side(&density, mode, end) + integrate_side(&density, mode, -INFINITY);
		}
	}
}

/* The draws of one simulated customer: rate, then lifetime. */
static void
paretonbd_draw(const Model *self, const double *parameters, RandomStream *stream,
			   DrawnCustomer *customer)
{
	customer->rate = random_gamma(stream, parameters[R], parameters[ALPHA]);
	customer->dropout = 0;
	customer->drops_at_once = false;
	customer->lifetime =
		random_exponential(stream, random_gamma(stream, parameters[S], parameters[BETA]));
}

const Model paretonbd = {.name = "paretonbd",
						 .kind = MODEL_OF_PURCHASES,
						 .parameter_count = 4,
						 .parameter_names = {"r", "alpha", "s", "beta"},
						 .is_scale = {false, true, false, true},
						 .prior = {0.6, 30, 0.6, 100},
						 .start = paretonbd_start,
						 .add_likelihood = paretonbd_add_likelihood,
						 .scratch_per_value = SCRATCH,
						 .log_likelihood = paretonbd_log_likelihood,
						 .dropout_log_odds = paretonbd_dropout_log_odds,
						 .expected_orders = paretonbd_expected_orders,
						 .order_probability = paretonbd_order_probability,
						 .order_distribution = paretonbd_order_distribution,
						 .draw = paretonbd_draw,
						 .scale_parameter = BETA};
