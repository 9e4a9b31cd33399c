/*
 * random.c: src/math/random against the distributions' moments and distribution functions.
 *
 * The seeds are fixed, so a test that passes once passes always; the tolerances
 * are those that a right generator exceeds once in thousands of seeds.
 */
#include "math/random.h"

#include <math.h>

#include "check.h"

#define DRAWS 40000

typedef double (*Draw) (RandomStream *stream, const double *parameters);

static double
draw_uniform(RandomStream *stream, const double *parameters)
{
	return random_uniform(stream);
}

static double
draw_exponential(RandomStream *stream, const double *parameters)
{
	return random_exponential(stream, parameters[0]);
}

static double
draw_gamma(RandomStream *stream, const double *parameters)
{
	return random_gamma(stream, parameters[0], parameters[1]);
}

static double
draw_beta(RandomStream *stream, const double *parameters)
{
	return random_beta(stream, parameters[0], parameters[1]);
}

/*
 * The sample's mean and variance lie within 5 standard errors; moment4 is the fourth central
 * moment.
 */
static void
check_moments(Draw draw, const double *parameters, double mean, double variance, double moment4)
{
	RandomStream stream;
	double		sum = 0;
	double		squares = 0;

	random_seed(&stream, 42, 7);
	for (int i = 0; i < DRAWS; i++)
	{
		double		x = draw(&stream, parameters);

		CHECK(x >= 0 && isfinite(x));
		sum += x - mean;
		squares += (x - mean) * (x - mean);
	}
	CHECK(fabs(sum / DRAWS) < 5 * sqrt(variance / DRAWS));
	CHECK(fabs(squares / DRAWS - variance) < 5 * sqrt((moment4 - variance * variance) / DRAWS));
}

static void
check_gamma_moments(double shape, double rate)
{
	check_moments(draw_gamma, (double[]) {shape, rate}, shape / rate, shape / (rate * rate),
				  (3 * shape * shape + 6 * shape) / pow(rate, 4));
}

static void
check_beta_moments(double a, double b)
{
	double		sum = a + b;
	double		variance = a * b / (sum * sum * (sum + 1));
	double		excess =
		6 * ((a - b) * (a - b) * (sum + 1) - a * b * (sum + 2)) / (a * b * (sum + 2) * (sum + 3));

	check_moments(draw_beta, (double[]) {a, b}, a / sum, variance,
				  (3 + excess) * variance * variance);
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Kolmogorov and Smirnov: the largest distance from the distribution function. */
static void
check_distribution(Draw draw, const double *parameters, double (*distribution) (double))
{
	static double values[DRAWS];
	RandomStream stream;

	random_seed(&stream, 1, 1);
	for (int i = 0; i < DRAWS; i++)
		values[i] = distribution(draw(&stream, parameters));
	qsort(values, DRAWS, sizeof(double), compare);
	for (int i = 0; i < DRAWS; i++)
		CHECK(fabs(values[i] - (i + 0.5) / DRAWS) < 1.95 / sqrt(DRAWS));
}

static double
identity(double x)
{
	return x;
}

static double
unit_exponential(double x)
{
	return 1 - exp(-x);
}

/* Of gamma with shape 1/2. */
static double
half_gamma(double x)
{
	return erf(sqrt(x));
}

/* Of gamma with shape 3. */
static double
gamma_of_three(double x)
{
	return 1 - exp(-x) * (1 + x + x * x / 2);
}

/* Of beta(1/2, 1/2). */
static double
arcsine(double x)
{
	return 2 * asin(sqrt(x)) / M_PI;
}

/* Of beta(2, 4): five draws with at least two below x. */
static double
beta_of_two_four(double x)
{
	return 1 - pow(1 - x, 5) - 5 * x * pow(1 - x, 4);
}

static void
check_distributions(void)
{
	check_distribution(draw_uniform, NULL, identity);
	check_distribution(draw_exponential, (double[]) {1}, unit_exponential);
	check_distribution(draw_gamma, (double[]) {1, 1}, unit_exponential);
	check_distribution(draw_gamma, (double[]) {0.5, 1}, half_gamma);
	check_distribution(draw_gamma, (double[]) {3, 1}, gamma_of_three);
	check_distribution(draw_beta, (double[]) {0.5, 0.5}, arcsine);
	check_distribution(draw_beta, (double[]) {2, 4}, beta_of_two_four);
}

int
main(void)
{
	const double shapes[] = {0.05, 0.3, 0.55, 1, 1.001, 3.74, 50};

	for (int i = 0; i < 7; i++)
		check_gamma_moments(shapes[i], 22);
	check_beta_moments(0.8, 4);
	check_beta_moments(3, 2);
	check_beta_moments(0.2, 0.3);
	check_moments(draw_exponential, (double[]) {0.25}, 4, 16, 9 * 256);
	check_distributions();
	return 0;
}
