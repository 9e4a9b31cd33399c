/*
 * paretonbd_likelihood.c: the log-likelihood of Pareto/NBD, with derivatives, over many customers.
 *
 * paretonbd.h has the likelihood. Here its integrand is called the kernel:
 *
 *     g(t) = (alpha+t)^-R (beta+t)^-(s+1),
 *
 * and a customer's bracket is g(t_x) N with
 *
 *     N = alive + s gone,   alive = g(T)/g(t_x) (beta+T),
 *     gone = integral over t_x..T of g(t)/g(t_x) dt.
 *
 * Each derivative of g by a parameter is g times a factor:
 *
 *     by r: -ln(alpha+t),  by alpha: -R/(alpha+t),  by s: -ln(beta+t),  by beta: -(s+1)/(beta+t),
 *
 * so all first and second derivatives of the integral are integrals of g times a product of at most
 * two of these. Such integrals are called moments. They are cumulated over the distinct times of a
 * block, from the last to the first; the integral over t_x..T is then a difference of two of them,
 * and a row costs one exponential.
 *
 * With N' and N'' the derivatives of the bracket over g(t_x), those of ln N are N'/N and
 * N''/N - (N'/N)^2. N' is needed for each row, N'' only summed over all, and it is linear in the
 * moments: rows note only with which weight they need a time's moments.
 */
#include "math/paretonbd.h"

#include <math.h>
#include <string.h>

#include "math/lomax.h"
#include "math/special.h"

/* Names what the kernel's derivatives are made of: 1, and for t ln(alpha+t), 1/(alpha+t), ... */
enum
{
	ONE,
	LOG_ALPHA,
	INVERSE_ALPHA,
	LOG_BETA,
	INVERSE_BETA,
	FACTORS
};

/* Counts the products of two factors, of which the upper triangle is stored row by row. */
#define MOMENTS (FACTORS * (FACTORS + 1) / 2)

/* Tells where the product of factors i <= j is stored; that of ONE and j is at j. */
#define MOMENT(i, j) ((i) * FACTORS - (i) * ((i) - 1) / 2 + (j) - (i))

/* Holds what is known of one distinct time t of a block. */
typedef struct TimePoint
{
	double		factors[FACTORS];	/* at t */
	double		log_kernel;		/* ln g(t) */
	double		moments[MOMENTS];	/* integrals from t to the block's last time of g(u)/g(t) du
									 * times two factors at u */
	double		gone_weight;	/* with which the rows' N''/N have the moments */
	double		alive_weight;	/* with which they have the products of the factors */
} TimePoint;

_Static_assert(sizeof(TimePoint) == PARETONBD_SCRATCH * sizeof(double),
			   "PARETONBD_SCRATCH must be the size of a TimePoint");

/* Cuts integrals off where the kernel has fallen by so much, e^-44: the rest adds nothing. */
#define LOG_NEGLIGIBLE (-44.0)

/* Holds N of one row and its parts; kernels are relative to that at t_x. */
typedef struct Bracket
{
	double		fall;			/* g(T)/g(t_x) */
	double		alive;
	double		gone[FACTORS];	/* the integral with each factor; with ONE it is that of N */
	double		inverse;		/* 1/N */
} Bracket;

static void
set_factors(const LomaxProduct *kernel, double t, double *factors)
{
	factors[ONE] = 1;
	factors[LOG_ALPHA] = log(kernel->a + t);
	factors[INVERSE_ALPHA] = 1 / (kernel->a + t);
	factors[LOG_BETA] = log(kernel->b + t);
	factors[INVERSE_BETA] = 1 / (kernel->b + t);
}

/* Returns ln g(t) of the time whose factors these are. */
static double
log_kernel(const LomaxProduct *kernel, const double *factors)
{
	return -kernel->m * factors[LOG_ALPHA] - kernel->n * factors[LOG_BETA];
}

/* Adds weight times the products of two factors. */
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

/* Adds the moments over one panel, relative to the kernel whose logarithm is log_unit. */
static void
add_panel(const LomaxProduct *kernel, double from, double length, const QuadratureRule *rule,
		  double log_unit, double *moments)
{
	double		factors[FACTORS];

	for (int i = 0; i < rule->count; i++)
	{
		set_factors(kernel, from + length * rule->nodes[i], factors);
		add_products(factors,
					 length * rule->weights[i] * exp(log_kernel(kernel, factors) - log_unit),
					 moments);
	}
}

/*
 * Tells how long a panel that starts at `at` may be for the 8-point rule to be exact to about
 * 1e-13: the kernel falls by no more than e^2, and the singularities at -alpha and -beta are at
 * least as far away as the panel is long.
 */
static double
panel_length(const LomaxProduct *kernel, double at)
{
	double		a = kernel->a + at;
	double		b = kernel->b + at;

	return fmin(fmin(a, b), 2 / (kernel->m / a + kernel->n / b));
}

/* Adds the moments over from..to, relative to g(from), whose logarithm is log_unit. */
static void
add_interval(const LomaxProduct *kernel, double from, double to, double log_unit, double *moments)
{
	for (double at = from; at < to && lomax_log_ratio(kernel, from, at) > LOG_NEGLIGIBLE;)
	{
		double		panel = panel_length(kernel, at);
		double		end = at + panel < to ? at + panel : to;

		if (!(end > at))
			return;				/* the rest is shorter than numbers can tell */
		/* As exact as the longer rule where the interval is a twenty-fifth of a panel. */
		add_panel(kernel, at, end - at, to - from < 0.04 * panel ? &quadrature_3 : &quadrature_8,
				  log_unit, moments);
		at = end;
	}
}

/* Cumulates the moments: those over t..next, and from there on what the next time has. */
static void
set_moments(const LomaxProduct *kernel, double t, double next_t, const TimePoint *next,
			TimePoint *point)
{
	double		fall = exp(next->log_kernel - point->log_kernel);

	add_interval(kernel, t, next_t, point->log_kernel, point->moments);
	for (int i = 0; i < MOMENTS; i++)
		point->moments[i] += fall * next->moments[i];
}

/* Fills in a block's times, from the last to the first. */
static void
set_points(const LomaxProduct *kernel, const ObservationBlock *block, TimePoint *points)
{
	memset(points, 0, block->value_count * sizeof(TimePoint));
	for (int32_t i = block->value_count - 1; i >= 0; i--)
	{
		set_factors(kernel, block->values[i], points[i].factors);
		points[i].log_kernel = log_kernel(kernel, points[i].factors);
		if (i < block->value_count - 1)
			set_moments(kernel, block->values[i], block->values[i + 1], &points[i + 1],
						&points[i]);
	}
}

/* Computes N of a row with t_x and T, and what its first derivatives need; returns N. */
static inline double
set_bracket(double s, const TimePoint *t_x, const TimePoint *t, Bracket *bracket)
{
	double		n;

	bracket->fall = exp(t->log_kernel - t_x->log_kernel);
	bracket->alive = bracket->fall / t->factors[INVERSE_BETA];
	for (int i = ONE; i < FACTORS; i++)
		bracket->gone[i] =
			t_x->moments[MOMENT(ONE, i)] - bracket->fall * t->moments[MOMENT(ONE, i)];
	n = bracket->alive + s * bracket->gone[ONE];
	bracket->inverse = 1 / n;
	return n;
}

/*
 * Computes N'/N by each parameter. The alive term has s where the kernel has s + 1; s stands before
 * the integral too.
 */
static inline void
set_slopes(double shape, double s, const TimePoint *t, const Bracket *bracket, double *slopes)
{
	const double *gone = bracket->gone;
	double		alive = bracket->alive;

	slopes[R] = -(alive * t->factors[LOG_ALPHA] + s * gone[LOG_ALPHA]) * bracket->inverse;
	slopes[ALPHA] = -shape * (alive * t->factors[INVERSE_ALPHA] + s * gone[INVERSE_ALPHA]) *
					bracket->inverse;
	slopes[S] =
		-(alive * t->factors[LOG_BETA] + s * gone[LOG_BETA] - gone[ONE]) * bracket->inverse;
	slopes[BETA] = -s * (alive * t->factors[INVERSE_BETA] + (s + 1) * gone[INVERSE_BETA]) *
				   bracket->inverse;
}

/* Adds N'/N to the gradient, and -(N'/N)^2 to the Hessian. */
static inline void
add_slopes(const double *slopes, double weight, Derivatives *result)
{
	for (int i = 0; i < MODEL_MAX_PARAMETERS; i++)
	{
		result->gradient[i] += weight * slopes[i];
		for (int j = i; j < MODEL_MAX_PARAMETERS; j++)
			result->hessian[i][j] -= weight * slopes[i] * slopes[j];
	}
}

/* Notes with which weight N''/N of a row has the moments from t_x on less those from T on. */
static inline void
note_weights(const Bracket *bracket, double weight, TimePoint *t_x, TimePoint *t)
{
	t_x->gone_weight += weight * bracket->inverse;
	t->gone_weight -= weight * bracket->inverse * bracket->fall;
	t->alive_weight += weight * bracket->inverse * bracket->alive;
}

/* Adds ln(g(t_x) N) of each row with its derivatives, but for N''/N. */
static void
add_rows(const LomaxProduct *kernel, double s, const ObservationBlock *block, TimePoint *points,
		 Derivatives *result)
{
	LogarithmSum logarithms = NO_LOGARITHMS;

	for (int64_t i = 0; i < block->row_count; i++)
	{
		double		weight = block->rows[i].weight;
		TimePoint  *t_x = &points[block->rows[i].first];
		TimePoint  *t = &points[block->rows[i].second];
		Bracket		bracket;
		double		slopes[MODEL_MAX_PARAMETERS];

		add_logarithm(&logarithms, set_bracket(s, t_x, t, &bracket), weight);
		result->value += weight * t_x->log_kernel;
		set_slopes(kernel->m, s, t, &bracket, slopes);
		add_slopes(slopes, weight, result);
		note_weights(&bracket, weight, t_x, t);
	}
	result->value += logarithm_sum(&logarithms);
}

/*
 * Adds scale times the second derivatives of (alpha+t)^-shape (beta+t)^-n by r, alpha, n (as s) and
 * beta, summed or integrated over t as the moments are.
 */
static void
add_second_derivatives(const double *moments, double shape, double n, double scale,
					   Derivatives *result)
{
	double		(*hessian)[MODEL_MAX_PARAMETERS] = result->hessian;

	hessian[R][R] += scale * moments[MOMENT(LOG_ALPHA, LOG_ALPHA)];
	hessian[R][ALPHA] += scale * (shape * moments[MOMENT(LOG_ALPHA, INVERSE_ALPHA)] -
								  moments[MOMENT(ONE, INVERSE_ALPHA)]);
	hessian[R][S] += scale * moments[MOMENT(LOG_ALPHA, LOG_BETA)];
	hessian[R][BETA] += scale * n * moments[MOMENT(LOG_ALPHA, INVERSE_BETA)];
	hessian[ALPHA][ALPHA] +=
		scale * shape * (shape + 1) * moments[MOMENT(INVERSE_ALPHA, INVERSE_ALPHA)];
	hessian[ALPHA][S] += scale * shape * moments[MOMENT(INVERSE_ALPHA, LOG_BETA)];
	hessian[ALPHA][BETA] += scale * shape * n * moments[MOMENT(INVERSE_ALPHA, INVERSE_BETA)];
	hessian[S][S] += scale * moments[MOMENT(LOG_BETA, LOG_BETA)];
	hessian[S][BETA] += scale * (n * moments[MOMENT(LOG_BETA, INVERSE_BETA)] -
								 moments[MOMENT(ONE, INVERSE_BETA)]);
	hessian[BETA][BETA] += scale * n * (n + 1) * moments[MOMENT(INVERSE_BETA, INVERSE_BETA)];
}

/*
 * Adds N''/N of all rows: the second derivatives of the alive term, s times those of the integral,
 * and since s stands before it the integral's first derivatives, twice for s itself.
 */
static void
add_curvature(const LomaxProduct *kernel, double s, const TimePoint *points, int32_t count,
			  Derivatives *result)
{
	double		alive[MOMENTS] = {0};
	double		gone[MOMENTS] = {0};

	for (int32_t i = 0; i < count; i++)
	{
		add_products(points[i].factors, points[i].alive_weight, alive);
		for (int j = 0; j < MOMENTS; j++)
			gone[j] += points[i].gone_weight * points[i].moments[j];
	}
	add_second_derivatives(alive, kernel->m, s, 1, result);
	add_second_derivatives(gone, kernel->m, s + 1, s, result);
	result->hessian[R][S] -= gone[MOMENT(ONE, LOG_ALPHA)];
	result->hessian[ALPHA][S] -= kernel->m * gone[MOMENT(ONE, INVERSE_ALPHA)];
	result->hessian[S][S] -= 2 * gone[MOMENT(ONE, LOG_BETA)];
	result->hessian[S][BETA] -= (s + 1) * gone[MOMENT(ONE, INVERSE_BETA)];
}

/* Adds what x alone decides on: ln gamma(R)/gamma(r) + r ln alpha + s ln beta, weight times. */
static void
add_count_part(const double *parameters, double x, double weight, Derivatives *result)
{
	double		r = parameters[R];
	double		alpha = parameters[ALPHA];
	double		s = parameters[S];
	double		beta = parameters[BETA];
	RisingFactorial rate;

	rising_factorial(r, x, &rate);
	result->value += weight * (rate.log + r * log(alpha) + s * log(beta));
	result->gradient[R] += weight * (rate.first + log(alpha));
	result->gradient[ALPHA] += weight * r / alpha;
	result->gradient[S] += weight * log(beta);
	result->gradient[BETA] += weight * s / beta;
	result->hessian[R][R] += weight * rate.second;
	result->hessian[R][ALPHA] += weight / alpha;
	result->hessian[ALPHA][ALPHA] -= weight * r / (alpha * alpha);
	result->hessian[S][BETA] += weight / beta;
	result->hessian[BETA][BETA] -= weight * s / (beta * beta);
}

/*
 * Adds a block's log-likelihood, with its derivatives by the parameters in the upper triangle.
 * Expects parameters and observations within the limits of model.h, and PARETONBD_SCRATCH doubles
 * of scratch for each value of the block; has no errors.
 */
void
paretonbd_add_likelihood(const Model *self, const double *parameters,
						 const ObservationBlock *block, double *scratch, Derivatives *result)
{
	TimePoint  *points = (TimePoint *) scratch;
	double		s = parameters[S];
	LomaxProduct kernel = {parameters[R] + block->x, parameters[ALPHA], s + 1, parameters[BETA]};

	set_points(&kernel, block, points);
	add_rows(&kernel, s, block, points, result);
	add_curvature(&kernel, s, points, block->value_count, result);
	add_count_part(parameters, block->x, block->weight, result);
}
