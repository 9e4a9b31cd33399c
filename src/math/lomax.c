/* lomax.c: see lomax.h. */
#include "math/lomax.h"

#include <math.h>

#include "math/special.h"

#define SERIES_Z 0.75			/* above, the series needs many terms */
#define SHORT_PANEL 0.3			/* of a panel: one quadrature is exact to rounding, and cheap */
#define NEGLIGIBLE 1e-19

/* The logarithm of the product's value at `to` where it is 1 at `from`; 0 or less. */
double
lomax_log_ratio(const LomaxProduct *product, double from, double to)
{
	return -product->m * log1p((to - from) / (product->a + from)) -
		product->n * log1p((to - from) / (product->b + from));
}

/*
 * How long an interval that starts at `at` may be for the 8-point rule to be
 * exact to about 1e-13: the function falls by no more than e^2, and the
 * singularities at -a and -b are at least as far away as the interval is long.
 */
double
lomax_panel(const LomaxProduct *product, double at)
{
	double		a = product->a + at;
	double		b = product->b + at;

	return fmin(fmin(a, b), 2 / (product->m / a + product->n / b));
}

/* Integral over one panel of the product that is 1 at `from`. */
static double
integrate_panel(const LomaxProduct *product, double from, double length)
{
	double		sum = 0;

	for (int i = 0; i < quadrature_8.count; i++)
		sum += quadrature_8.weights[i] *
			exp(lomax_log_ratio(product, from, from + length * quadrature_8.nodes[i]));
	return sum * length;
}

static double
integrate(const LomaxProduct *product, double from, double to)
{
	double		sum = 0;
	double		value = 1;

	for (double at = from; at < to && value > NEGLIGIBLE;)
	{
		double		end = at + lomax_panel(product, at);

		end = end < to ? end : to;
		if (!(end > at))
			break;				/* the rest is shorter than numbers can tell */
		sum += value * integrate_panel(product, at, end - at);
		value *= exp(lomax_log_ratio(product, at, end));
		at = end;
	}
	return sum;
}

/* F(1, m; c; z), Gauss's hypergeometric function, for 0 <= z <= SERIES_Z and m < c. */
static double
hypergeometric(double m, double c, double z)
{
	double		term = 1;
	double		sum = 1;

	for (double n = 0; term > 1e-17 * sum; n++)
	{
		term *= (m + n) * z / (c + n);
		sum += term;
	}
	return sum;
}

/*
 * Integral from `at` to infinity of the product that is 1 there, for m + n > 1:
 * (b + at) / (m + n - 1) F(1, m; m + n; (a - b) / (a + at)), a being the larger
 * of the two (Fader, Hardie 2005, "A note on deriving the Pareto/NBD model").
 */
static double
tail(const LomaxProduct *product, double at)
{
	double		sum = product->m + product->n;

	if (product->a >= product->b)
		return (product->b + at) / (sum - 1) *
			hypergeometric(product->m, sum, (product->a - product->b) / (product->a + at));
	return (product->a + at) / (sum - 1) *
		hypergeometric(product->n, sum, (product->b - product->a) / (product->b + at));
}

/*
 * Integral over from..to of the product that is 1 at `from`: as a difference
 * of two tails where these are quick and the difference keeps its digits, else
 * by quadrature.
 */
double
lomax_integral(const LomaxProduct *product, double from, double to)
{
	double		larger = fmax(product->a, product->b) + from;

	if (to - from <= SHORT_PANEL * lomax_panel(product, from))
		return to > from ? integrate_panel(product, from, to - from) : 0;
	if (product->m + product->n > 1.01 && fabs(product->a - product->b) <= SERIES_Z * larger)
		return tail(product, from) - exp(lomax_log_ratio(product, from, to)) * tail(product, to);
	return integrate(product, from, to);
}
