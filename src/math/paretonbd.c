/* paretonbd.c: what Pareto/NBD says of one customer; see paretonbd.h. */
#include "math/paretonbd.h"

#include <math.h>

#include "math/lomax.h"
#include "math/special.h"

/*
 * Begins a fit at the purchase rate of the whole shop, and lives about as long as the history; at
 * the second attempt, much longer. False where there is no such attempt.
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

/* Computes the log-odds of having left: the integral over t_x..T against the alive term. */
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

/* Computes one customer's log-likelihood, without the term x! of the order of purchases. */
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
 * Computes the expected purchases of a customer who is alive (Fader, Hardie 2005, equation 41);
 * s = 1 is a limit.
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
 * Computes the probability that a customer who is alive buys again. The purchase and the lifetime
 * compete: it is the integral of the next purchase's density times the survival.
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
 * Holds what the density of leaving at t after k purchases is made of. Until t the purchases are
 * negative binomial, and the lifetime is a Lomax one:
 *
 *     gamma(shape+k)/(gamma(shape) k!) (a/(a+t))^shape (t/(a+t))^k  s/(b+t) (b/(b+t))^s.
 *
 * It is used over v = ln t, so times t, and as a logarithm, which is concave.
 */
typedef struct LeavingDensity
{
	double		shape;
	double		a;
	double		s;
	double		b;
	double		k;
	double		ways;			/* ln of gamma(shape+k)/(gamma(shape) k!) */
} LeavingDensity;

/* Returns the logarithm of the density over v. */
static double
leaving_density(const LeavingDensity *density, double v)
{
	double		t = exp(v);

	return density->ways + log(density->s * t / (density->b + t)) -
		   density->shape * log1p(t / density->a) - density->k * log1p(density->a / t) -
		   density->s * log1p(t / density->b);
}

/*
 * Finds where the density is largest at or below `end`, by bisection of its logarithm's derivative,
 * which falls from k + 1.
 */
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

/*
 * Returns the probability of k purchases and leaving before the end, both given that the customer
 * is alive at first; `end` is the logarithm of the horizon.
 */
static double
leaving_probability(const LeavingDensity *density, double end)
{
	double		mode = leaving_mode(density, end);

	return integrate_side(density, mode, end) + integrate_side(density, mode, -INFINITY);
}

/*
 * Computes the probabilities of k = 0..most purchases of a customer who is alive: alive at the end
 * too, or having left in between (Fader, Hardie, Jerath 2014, "Deriving the Conditional PMF of the
 * Pareto/NBD Model").
 */
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
			probabilities[k] += leaving_probability(&density, end);
	}
}

/* Draws one simulated customer: rate, then lifetime. */
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

const Model paretonbd = {
	.name = "paretonbd", .kind = MODEL_OF_PURCHASES, .parameter_count = 4,
	.parameter_names = {"r", "alpha", "s", "beta"}, .is_scale = {false, true, false, true},
	.prior = {0.6, 30, 0.6, 100}, .start = paretonbd_start,
	.add_likelihood = paretonbd_add_likelihood, .scratch_per_value = PARETONBD_SCRATCH,
	.log_likelihood = paretonbd_log_likelihood, .dropout_log_odds = paretonbd_dropout_log_odds,
	.expected_orders = paretonbd_expected_orders,
	.order_probability = paretonbd_order_probability,
	.order_distribution = paretonbd_order_distribution, .draw = paretonbd_draw,
	.scale_parameter = BETA
};
