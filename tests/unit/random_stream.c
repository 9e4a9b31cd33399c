/*
 * random_stream.c: src/math/random's streams: their bits, their independence, and variates at the
 * ends.
 */
#include "math/random.h"

#include <math.h>

#include "check.h"

#define DRAWS 40000

/*
 * SplitMix64's published output for the seed 1234567, and the states whose output is 0 and
 * 2^64 - 1.
 */
static void
check_uniform(void)
{
	const uint64_t known[] = {
		UINT64_C(6457827717110365317), UINT64_C(3203168211198807973), UINT64_C(9817491932198370423),
		UINT64_C(4593380528125082431), UINT64_C(16408922859458223821)
	};
	RandomStream stream = {1234567};
	RandomStream lowest = {UINT64_C(0x61c8864680b583eb)};
	RandomStream highest = {UINT64_C(0x31628af67b2131ab)};
	double		high = random_uniform(&highest);

	for (int i = 0; i < 5; i++)
		CHECK(fabs(random_uniform(&stream) - (double) known[i] * 0x1p-64) <= 0x1p-52);
	CHECK(random_uniform(&lowest) > 0);
	CHECK(high > 0.999 && high < 1);
}

/* Neighbouring substreams and seeds are as good as independent. */
static void
check_streams(void)
{
	double		along_substreams = 0;
	double		along_seeds = 0;

	for (uint64_t i = 0; i < DRAWS; i++)
	{
		RandomStream streams[3];

		random_seed(&streams[0], 5, i);
		random_seed(&streams[1], 5, i + 1);
		random_seed(&streams[2], 6, i);
		CHECK(streams[0].state != streams[1].state && streams[0].state != streams[2].state);
		along_substreams +=
			(random_uniform(&streams[0]) - 0.5) * (random_uniform(&streams[1]) - 0.5);
		along_seeds += (random_uniform(&streams[0]) - 0.5) * (random_uniform(&streams[2]) - 0.5);
	}
	CHECK(fabs(along_substreams / DRAWS) < 5 / 12.0 / sqrt(DRAWS));
	CHECK(fabs(along_seeds / DRAWS) < 5 / 12.0 / sqrt(DRAWS));
}

/* Shapes and rates far from any shop's give no error and nothing below zero. */
static void
check_extremes(void)
{
	RandomStream stream;

	random_seed(&stream, 3, 3);
	for (int i = 0; i < 1000; i++)
	{
		CHECK(random_gamma(&stream, 1e-9, 1) >= 0);
		CHECK(random_gamma(&stream, 1e-300, 1) >= 0);
		CHECK(fabs(random_gamma(&stream, 1e12, 1e12) - 1) < 1e-5);
		CHECK(random_beta(&stream, 1e-9, 1e-9) >= 0 && random_beta(&stream, 1e-9, 1e9) <= 1);
		CHECK(random_exponential(&stream, 0) == INFINITY);
	}
}

/* Not merely near: these bits are the same everywhere, or simulate_orders would give other rows. */
static void
check_bits(void)
{
	RandomStream stream;

	random_seed(&stream, 1, 1);
	CHECK(random_uniform(&stream) == 0x1.e23fa809a3a5fp-1);
	CHECK(random_exponential(&stream, 0.5) == 0x1.0c036d9a50234p+0);
	CHECK(random_gamma(&stream, 0.55, 22) == 0x1.01ae2ce011d21p-7);
	CHECK(random_gamma(&stream, 3.74, 15.44) == 0x1.fa994b2b6e2cbp-3);
	CHECK(random_beta(&stream, 0.8, 4) == 0x1.8148c96f41cf4p-4);
	random_seed(&stream, UINT64_MAX, UINT64_MAX);
	CHECK(random_gamma(&stream, 6.25, 1) == 0x1.430ce5684f935p+1);
}

int
main(void)
{
	check_uniform();
	check_streams();
	check_extremes();
	check_bits();
	return 0;
}
