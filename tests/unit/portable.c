/* portable.c: src/math/portable against the C library's long double functions. */
#include "math/portable.h"

#include <float.h>
#include <math.h>

#include "check.h"

#define TOLERANCE 4e-16L

static void
check_log(double x)
{
	long double expected = logl(x);

	CHECK(fabsl(portable_log(x) - expected) <= TOLERANCE * fabsl(expected));
}

static void
check_exp(double x)
{
	long double expected = expl(x);

	CHECK(fabsl(portable_exp(x) - expected) <= TOLERANCE * expected);
}

static double
random_fraction(void)
{
	return (double) (check_random() >> 12) * 0x1p-52;
}

/* The exponents' and the interval's ends, where the reduction changes. */
static void
check_turning_points(void)
{
	for (int exponent = -1022; exponent <= 1023; exponent++)
	{
		double		power = ldexp(1, exponent);

		check_log(power);
		check_log(power * (1 + DBL_EPSILON));
		check_log(power * M_SQRT2);
		check_log(power * nextafter(M_SQRT2, 2));
		if (exponent > -1022)
			check_log(nextafter(power, 0));
	}
	for (int multiple = -1009; multiple <= 1009; multiple++)
	{
		check_exp((multiple + 0.5) * M_LN2);
		check_exp(nextafter((multiple + 0.5) * M_LN2, -INFINITY));
		check_exp(nextafter((multiple + 0.5) * M_LN2, INFINITY));
	}
	check_log(DBL_MIN);
	check_log(DBL_MAX);
}

static void
check_anywhere(void)
{
	for (int i = 0; i < 200000; i++)
	{
		check_log(ldexp(1 + random_fraction(), (int) check_between(-1022, 1023)));
		check_log(random_fraction() + 0x1p-54);
		check_log(1 + ldexp(random_fraction() - 0.5, (int) -check_between(0, 50)));
		check_exp(700 * (2 * random_fraction() - 1));
		check_exp(ldexp(random_fraction() - 0.5, (int) -check_between(0, 60)));
	}
}

static void
check_exact(void)
{
	CHECK(portable_log(1) == 0 && !signbit(portable_log(1)));
	CHECK(portable_exp(0) == 1 && portable_exp(-0.0) == 1);
	CHECK(portable_exp(-745.2) == 0 && portable_exp(-1e9) == 0 && portable_exp(-1e300) == 0);
	CHECK(portable_exp(-INFINITY) == 0);
}

/* Not merely near: these bits are the same everywhere. */
static void
check_bits(void)
{
	CHECK(portable_log(2) == 0x1.62e42fefa39efp-1);
	CHECK(portable_log(10) == 0x1.26bb1bbb55516p+1);
	CHECK(portable_log(0x1p-54) == -0x1.2b708872320e2p+5);
	CHECK(portable_log(0.7) == -0x1.6d3c324e13f5p-2);
	CHECK(portable_exp(1) == 0x1.5bf0a8b14576ap+1);
	CHECK(portable_exp(-10) == 0x1.7cd79b5647c9ap-15);
	CHECK(portable_exp(0.3) == 0x1.599058c8c1a96p+0);
}

int
main(void)
{
	check_exact();
	check_turning_points();
	check_anywhere();
	check_bits();
	return 0;
}
