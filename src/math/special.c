/*
 * special.c: see special.h. Arguments are above zero. Each function steps up
 * to ASYMPTOTIC_FROM by its recurrence and uses Stirling's series there
 * (Abramowitz and Stegun 6.1.41, 6.3.18, 6.4.12), which errs by less than 1e-16.
 */
#include "math/special.h"

#include <math.h>

#define ASYMPTOTIC_FROM 10.0

/* Counts the terms that are cheaper to multiply than to get from the series. */
#define DIRECT_TERMS 24

#define HALF_LOG_2_PI 0.91893853320467274178

const QuadratureRule quadrature_3 = {
	3,
	{0.11270166537925831148, 0.5, 0.88729833462074168852},
	{5.0 / 18, 8.0 / 18, 5.0 / 18}
};

const QuadratureRule quadrature_5 = {
	5,
	{0.04691007703066800360, 0.23076534494715845448, 0.5, 0.76923465505284154552,
		0.95308992296933199640},
	{0.11846344252809454376, 0.23931433524968323402, 0.28444444444444444444, 0.23931433524968323402,
	0.11846344252809454376}
};

const QuadratureRule quadrature_8 = {
	8,
	{0.01985507175123188416, 0.10166676129318663020, 0.23723379504183550709, 0.40828267875217509753,
	0.59171732124782490247, 0.76276620495816449291, 0.89833323870681336980, 0.98014492824876811584},
	{0.05061426814518812958, 0.11119051722668723527, 0.15685332293894364367, 0.18134189168918099148,
	0.18134189168918099148, 0.15685332293894364367, 0.11119051722668723527, 0.05061426814518812958}
};

const QuadratureRule quadrature_12 = {
	12,
	{0.00921968287664037465, 0.04794137181476257166, 0.11504866290284765648, 0.20634102285669127635,
	0.31608425050090990312, 0.43738329574426554226, 0.56261670425573445774, 0.68391574949909009688,
	0.79365897714330872365, 0.88495133709715234352, 0.95205862818523742834, 0.99078031712335962535},
	{0.02358766819325591360, 0.05346966299765921548, 0.08003916427167311317, 0.10158371336153296087,
	0.11674626826917740438, 0.12457352290670139250, 0.12457352290670139250, 0.11674626826917740438,
	0.10158371336153296087, 0.08003916427167311317, 0.05346966299765921548, 0.02358766819325591360}
};

/* Returns what Stirling's series adds to (x - 1/2) ln x - x + ln(2 pi)/2. */
static double
stirling_rest(double x)
{
	double		inverse = 1 / x;
	double		square = inverse * inverse;

	return inverse * (1.0 / 12 - square * (1.0 / 360 - square * (1.0 / 1260 - square * (1.0 / 1680 -
		square * (1.0 / 1188 - square * (691.0 / 360360 - square * (1.0 / 156)))))));
}

static double
digamma_asymptotic(double x)
{
	double		inverse = 1 / x;
	double		square = inverse * inverse;

	return log(x) - 0.5 * inverse -
		   square *
			   (1.0 / 12 -
				square *
					(1.0 / 120 -
					 square * (1.0 / 252 -
							   square * (1.0 / 240 -
										 square * (1.0 / 132 - square * (691.0 / 32760 -
																		 square * (1.0 / 12)))))));
}

static double
trigamma_asymptotic(double x)
{
	double		inverse = 1 / x;
	double		square = inverse * inverse;

	return inverse + 0.5 * square +
		   inverse * square *
			   (1.0 / 6 -
				square *
					(1.0 / 30 -
					 square * (1.0 / 42 -
							   square * (1.0 / 30 -
										 square * (5.0 / 66 - square * (691.0 / 2730 -
																		square * (7.0 / 6)))))));
}

/* Computes ln gamma(x) for x > 0: by Stirling's series, after raising x to where it is exact. */
double
log_gamma(double x)
{
	double		product = 1;

	for (; x < ASYMPTOTIC_FROM; x += 1)
		product *= x;
	return (x - 0.5) * log(x) - x + HALF_LOG_2_PI + stirling_rest(x) - log(product);
}

/* Computes the derivative of ln gamma(x) for x > 0, by Stirling's series like log_gamma. */
double
digamma(double x)
{
	double		sum = 0;

	for (; x < ASYMPTOTIC_FROM; x += 1)
		sum += 1 / x;
	return digamma_asymptotic(x) - sum;
}

/* Computes the second derivative of ln gamma(x) for x > 0, by Stirling's series like log_gamma. */
double
trigamma(double x)
{
	double		sum = 0;

	for (; x < ASYMPTOTIC_FROM; x += 1)
		sum += 1 / (x * x);
	return trigamma_asymptotic(x) + sum;
}

/*
 * Computes ln gamma(r+n)/gamma(r) for r > 0 and a whole number n >= 0, exact to rounding for any n,
 * since no two large numbers are subtracted.
 */
void
rising_factorial(double r, double n, RisingFactorial *result)
{
	double		product = 1;
	double		to;

	*result = (RisingFactorial) {0, 0, 0};
	for (int i = 0; n > 0 && (i < DIRECT_TERMS || r < ASYMPTOTIC_FROM); i++)
	{
		product *= r;
		result->first += 1 / r;
		result->second -= 1 / (r * r);
		r += 1;
		n -= 1;
		if (product > 1e250 || product < 1e-250)
		{
			result->log += log(product);
			product = 1;
		}
	}
	result->log += log(product);
	if (n == 0)
		return;
	to = r + n;
	result->log +=
		(r - 0.5) * log1p(n / r) + n * (log(to) - 1) + stirling_rest(to) - stirling_rest(r);
	result->first += digamma_asymptotic(to) - digamma_asymptotic(r);
	result->second += trigamma_asymptotic(to) - trigamma_asymptotic(r);
}
