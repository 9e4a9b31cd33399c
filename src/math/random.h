/* random.h: reproducible random variates, the same on every platform. */
#ifndef RETENTION_RANDOM_H
#define RETENTION_RANDOM_H

#include <stdint.h>

typedef struct RandomStream
{
	uint64_t	state;
} RandomStream;

extern void random_seed(RandomStream *stream, uint64_t seed, uint64_t substream);
extern double random_uniform(RandomStream *stream);
extern double random_exponential(RandomStream *stream, double rate);
extern double random_gamma(RandomStream *stream, double shape, double rate);
extern double random_beta(RandomStream *stream, double a, double b);

#endif
