/* portable.c: logarithm and exponential from the four IEEE operations; see portable.h. */
#include "math/portable.h"

#include <stdint.h>
#include <string.h>

/* Splits ln 2 in two parts, the first short enough that its small multiples are exact. */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define SQRT2 1.41421356237309514547

#define MANTISSA_MASK UINT64_C(0x000fffffffffffff)
#define EXPONENT_BIAS 1023

/* Computes 2^exponent, for a normal number. */
static double
power_of_two(int exponent)
{
	uint64_t	bits = (uint64_t) (exponent + EXPONENT_BIAS) << 52;
	double		result;

	memcpy(&result, &bits, sizeof(result));
	return result;
}

/*
 * Computes ln x for a normal x > 0: x = 2^k m with m near 1, and ln m = 2 (s + s^3/3 + s^5/5 +
 * ...), s = (m-1)/(m+1), |s| < 0.172.
 */
double
portable_log(double x)
{
	uint64_t	bits;
	int			k;
	double		m,
				s,
				square,
				sum = 0;

	memcpy(&bits, &x, sizeof(bits));
	k = (int) (bits >> 52) - EXPONENT_BIAS;
	bits = (bits & MANTISSA_MASK) | ((uint64_t) EXPONENT_BIAS << 52);
	memcpy(&m, &bits, sizeof(m));
	if (m > SQRT2)
	{
		m *= 0.5;
		k++;
	}
	s = (m - 1) / (m + 1);
	square = s * s;
	for (int n = 21; n >= 3; n -= 2)
		sum = square * (sum + 1.0 / n);
	return k * LN2_HIGH + (2 * s + (2 * s * sum + k * LN2_LOW));
}

/* Computes e^x by its power series about the nearest multiple of ln 2; 0 below the normal range. */
double
portable_exp(double x)
{
	double		k,
				rest,
				sum = 1;

	if (x < -700)
		return 0;
	k = (double) (int) (x / 6.93147180559945286227e-01 + (x < 0 ? -0.5 : 0.5));
	rest = (x - k * LN2_HIGH) - k * LN2_LOW;
	for (int n = 14; n >= 1; n--)
		sum = 1 + sum * rest / n;
	return sum * power_of_two((int) k);
}
