/*
 * alive.c: the expected purchases of a customer of BG/NBD or MBG/NBD who is alive.
 *
 * With w = t / scale, it is the mean of g(p) = (1 - (1 + p w)^-shape) / p over
 * p ~ beta(a, b). A series gives it in a fraction of a microsecond for all but
 * odd customers, numerical integration in some ten for these.
 */
#include "math/beta_geometric.h"

#include <math.h>

#define SERIES_Z 0.98			/* above, the series needs thousands of terms */
#define SERIES_LOSS 1e4			/* how much larger than the result its terms may be */
#define SERIES_LEAST (-10.0)	/* below, its terms alternate and cancel */
#define SERIES_MOST_POWER 200.0	/* of e: beyond, its sum may overflow */
#define PRECISION 1e-17

/*
 * Computes the purchases by a series. With z = t / (scale + t), c = a + b - 1, d = c - shape:
 * Euler's transformation of the Gauss hypergeometric function in the published formula (Fader,
 * Hardie, Lee 2005, equation 10) gives
 *
 *     c (1 - (1-z)^(a-1)) / (a-1) - (1-z)^(a-1) sum_n t_n,
 *     t_1 = d z,  t_(n+1) = t_n (d + n) (a - 1 + n) / ((c + n) (n + 1)) z,
 *
 * in which a = 1 is nothing special.
 */
static double
series(const Alive *alive, double z)
{
	double		log_rest = log1p(-z);
	double		e = alive->a - 1;
	double		c = e + alive->b;
	double		d = c - alive->shape;
	double		power = exp(e * log_rest);
	double		first = fabs(e * log_rest) < 1e-300 ? -log_rest : -expm1(e * log_rest) / e;
	double		term = d * z;
	double		sum = term;

	for (double n = 1; fabs(term) > PRECISION * fabs(sum); n++)
	{
		term *= (d + n) * (e + n) * z / ((c + n) * (n + 1));
		sum += term;
	}
	return c * first - power * sum;
}

/* Computes g(p) of the file's head, with p w given as a product that may be large. */
static double
purchases_at(const Alive *alive, double w, double p)
{
	return -expm1(-alive->shape * log1p(p * w)) / p;
}

/*
 * Sums of the beta density, up to a constant, and of its product with g, along y = ln(p / (1-p)).
 */
typedef struct Sums
{
	double		density;
	double		purchases;
} Sums;

/*
 * Adds the points y, y + step, y + 2 step, ... up to where g and the density
 * have become an exponential function, whose rest is a geometric series.
 */
static void
add_side(const Alive *alive, double w, double y, double step, double peak, Sums *sums)
{
	double		reach = 40 + log1p(fmax(w, 0) * (alive->shape + 1)) + log1p(alive->a + alive->b);
	double		decay = step > 0 ? alive->b : alive->a;

	for (;; y += step)
	{
		double		p = y < 0 ? exp(y) / (1 + exp(y)) : 1 / (1 + exp(-y));
		double		density =
			exp(alive->a * y -
				(alive->a + alive->b) * (y > 0 ? y + log1p(exp(-y)) : log1p(exp(y))) - peak);
		double		value = density * purchases_at(alive, w, p);

		if (fabs(y) > reach)
		{
			double		rest = -1 / expm1(-decay * fabs(step));

			sums->density += density * rest;
			sums->purchases += value * rest;
			return;
		}
		sums->density += density;
		sums->purchases += value;
		/* Or equal: the products may be too small for a number. */
		if (density <= PRECISION * sums->density && value <= PRECISION * sums->purchases &&
			decay * fabs(step) > 1e-3)
			return;
	}
}

/*
 * Computes the mean of g by the trapezoidal rule in y = ln(p / (1-p)): both integrands are analytic
 * there, so that the error falls exponentially with the step (Trefethen, Weideman 2014).
 */
static double
integral(const Alive *alive, double horizon)
{
	double		a = alive->a;
	double		b = alive->b;
	double		mode = log(a) - log(b);
	double		peak =
		a * mode - (a + b) * (mode > 0 ? mode + log1p(exp(-mode)) : log1p(exp(mode)));
	double		step = fmin(0.25, 0.5 * sqrt(1 / a + 1 / b));
	double		w = horizon / alive->scale;
	Sums		sums = {0};

	add_side(alive, w, mode, step, peak, &sums);
	add_side(alive, w, mode - step, -step, peak, &sums);
	return sums.purchases / sums.density;
}

/*
 * Computes the expected purchases until the horizon, which is above 0 and in the unit of time of
 * scale; 0 or more (Fader, Hardie, Lee 2005, equation 10).
 */
double
alive_expected_orders(const Alive *alive, double horizon)
{
	double		z = horizon / (alive->scale + horizon);
	double		c = alive->a + alive->b - 1;
	double		d = c - alive->shape;

	if (z <= SERIES_Z && d >= SERIES_LEAST && fabs(c) + fabs(d) <= SERIES_LOSS * alive->shape &&
		-alive->a * log1p(-z) <= SERIES_MOST_POWER)
		return series(alive, z);
	return integral(alive, horizon);
}
