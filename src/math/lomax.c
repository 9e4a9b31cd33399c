/*
 * lomax.c: see lomax.h.
 *
 * The integral is taken in u = ln(1 + t/a), a being the smaller scale: there
 * the singularities are at least pi away from the real line.
 */
#include "math/lomax.h"

#include <math.h>

#include "math/special.h"

#define SERIES_Z 0.75			/* above, the series needs many terms */

/*
 * Limits a rule: it is exact to about 1e-13 over an interval of u no longer than this, in which the
 * function falls by no more than this.
 */
typedef struct RuleLimit
{
	const QuadratureRule *rule;
	double		length;
	double		fall;			/* of the logarithm */
} RuleLimit;

static const RuleLimit rule_limits[] = {
	{&quadrature_5, 0.5, 0.8},
	{&quadrature_8, 1.6, 4},
	{&quadrature_12, 3, 9}
};

#define RULES ((int) (sizeof(rule_limits) / sizeof(rule_limits[0])))

/* Computes the logarithm of the product's value at `to` where it is 1 at `from`; 0 or less. */
double
lomax_log_ratio(const LomaxProduct *product, double from, double to)
{
	return -product->m * log1p((to - from) / (product->a + from)) -
		product->n * log1p((to - from) / (product->b + from));
}

/* Computes the slope of the integrand's logarithm at u; it falls with u. */
static double
slope(const LomaxProduct *product, double u)
{
	double		ratio = product->a / product->b;

	return 1 - product->m - product->n * ratio / (ratio + (1 - ratio) * exp(-u));
}

/*
 * Computes the integral of e^((1-m) u) (1 + a/b (e^u - 1))^-n over from..from+length, by one rule.
 */
static double
integrate_panel(const LomaxProduct *product, double from, double length, const QuadratureRule *rule)
{
	double		ratio = product->a / product->b;
	double		sum = 0;

	for (int i = 0; i < rule->count; i++)
	{
		double		u = from + length * rule->nodes[i];

		sum += rule->weights[i] * exp((1 - product->m) * u - product->n * log1p(ratio * expm1(u)));
	}
	return sum * length;
}

/*
 * Computes the same over 0..end, in panels which the longest rule can do, the last one by as short
 * a rule as will do.
 */
static double
integrate(const LomaxProduct *product, double end)
{
	const RuleLimit *longest = &rule_limits[RULES - 1];
	double		steepness = fabs(slope(product, 0));
	double		sum = 0;

	for (double u = 0, panel; u < end; u += panel)
	{
		const RuleLimit *limit = rule_limits;
		double		next;
		double		part;

		panel = fmin(longest->length, end - u);
		while ((next = fabs(slope(product, u + panel)),
				fmax(steepness, next) * panel > longest->fall))
			panel /= 2;
		while (limit < longest &&
			   (panel > limit->length || fmax(steepness, next) * panel > limit->fall))
			limit++;
		if (!(u + panel > u))
			break;				/* the rest is shorter than numbers can tell */
		part = integrate_panel(product, u, panel, limit->rule);
		sum += part;
		steepness = next;
		if (part < 1e-17 * sum && slope(product, u + panel) < 0)
			break;
	}
	return sum;
}

/*
 * Computes the difference of the tails, the integrals from 0 and from length to infinity. A tail
 * is, for m + n > 1, (a + t) / (m + n - 1) F(1, n; m + n; (b - a) / (b + t)) times the function at
 * t, with Gauss's hypergeometric function (Fader, Hardie 2005, "A note on deriving the Pareto/NBD
 * model").
 */
static double
subtract_tails(const LomaxProduct *product, double length, double fall)
{
	double		sum = product->m + product->n;
	double		first_z = (product->b - product->a) / product->b;
	double		second_z = (product->b - product->a) / (product->b + length);
	double		first_term = 1;
	double		second_term = 1;
	double		first = 1;
	double		second = 1;

	/* Side by side, as neither waits for the other. */
	for (double k = 0; first_term > 1e-17 * first; k++)
	{
		double		factor = (product->n + k) / (sum + k);

		first_term *= factor * first_z;
		second_term *= factor * second_z;
		first += first_term;
		second += second_term;
	}
	return (product->a * first - exp(-fall) * (product->a + length) * second) / (sum - 1);
}

/*
 * Computes the integral over from..to of the product that is 1 at `from`: as a difference of two
 * tails where these are quick and the difference keeps its digits, else by quadrature. It has the
 * unit of from and to, and is 0 where to is not above from.
 */
double
lomax_integral(const LomaxProduct *product, double from, double to)
{
	LomaxProduct seen = {product->m, product->a + from, product->n, product->b + from};
	double		length = to - from;
	double		end;
	double		fall;

	if (!(length > 0))
		return 0;
	if (seen.a > seen.b)
		seen = (LomaxProduct) {product->n, product->b + from, product->m, product->a + from};
	end = log1p(length / seen.a);
	fall = seen.m * end + seen.n * log1p(length / seen.b);
	if (fall > 1.5 && seen.m + seen.n > 1.01 && seen.b - seen.a <= SERIES_Z * seen.b)
		return subtract_tails(&seen, length, fall);
	return seen.a * integrate(&seen, end);
}
