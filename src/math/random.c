/* random.c: reproducible random variates; see random.h. */
#include "math/random.h"

#include <math.h>

#include "math/portable.h"

#define GOLDEN_GAMMA UINT64_C(0x9e3779b97f4a7c15)

/* Mixes bits by the finalizer of SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t
mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Starts the stream that belongs to a seed and a substream, such as a customer's number. */
void
random_seed(RandomStream *stream, uint64_t seed, uint64_t substream)
{
	stream->state = mix(mix(seed + GOLDEN_GAMMA) ^ (substream * GOLDEN_GAMMA + 1));
}

/* Draws a uniform number on the open interval (0, 1): (k + 1/2) 2^-52, which is exact. */
double
random_uniform(RandomStream *stream)
{
	stream->state += GOLDEN_GAMMA;
	return ((double) (mix(stream->state) >> 12) + 0.5) * 0x1p-52;
}

/* Draws an exponential number with the given rate, above 0: its mean is 1 / rate. */
double
random_exponential(RandomStream *stream, double rate)
{
	return -portable_log(random_uniform(stream)) / rate;
}

/* Draws a standard normal number, by Marsaglia's polar method. */
static double
random_normal(RandomStream *stream)
{
	double		x,
				y,
				square;

	do
	{
		x = 2 * random_uniform(stream) - 1;
		y = 2 * random_uniform(stream) - 1;
		square = x * x + y * y;
	} while (square >= 1 || square == 0);
	return x * sqrt(-2 * portable_log(square) / square);
}

/*
 * Draws a gamma number with the given shape and rate, both above 0, by Marsaglia and Tsang (2000);
 * a shape below 1 is raised by 1 and corrected by a power of a uniform variate.
 */
double
random_gamma(RandomStream *stream, double shape, double rate)
{
	double		d,
				c;

	if (shape < 1)
	{
		double		boost = portable_exp(portable_log(random_uniform(stream)) / shape);

		return random_gamma(stream, shape + 1, rate) * boost;
	}
	d = shape - 1.0 / 3;
	c = 1 / sqrt(9 * d);
	for (;;)
	{
		double		x = random_normal(stream);
		double		v = 1 + c * x;

		if (v <= 0)
			continue;
		v = v * v * v;
		if (portable_log(random_uniform(stream)) < 0.5 * x * x + d - d * v + d * portable_log(v))
			return d * v / rate;
	}
}

/* Draws a beta(a, b) number, a and b above 0, from two gamma variates. */
double
random_beta(RandomStream *stream, double a, double b)
{
	double		x = random_gamma(stream, a, 1);
	double		y = random_gamma(stream, b, 1);

	return x + y > 0 ? x / (x + y) : 0.5;
}
