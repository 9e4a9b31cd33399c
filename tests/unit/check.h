/* check.h: what the unit tests share. A failed check ends the program with status 1. */
#ifndef RETENTION_CHECK_H
#define RETENTION_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) \
	((condition) ? (void) 0 : check_failed(__FILE__, __LINE__, #condition))

static inline void
check_failed(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
	exit(1);
}

/*
 * Reproducible random numbers that owe nothing to the code under test:
 * xorshift64* (Vigna 2016).
 */
static uint64_t check_random_state = UINT64_C(0x853c49e6748fea9b);

static inline uint64_t
check_random(void)
{
	check_random_state ^= check_random_state >> 12;
	check_random_state ^= check_random_state << 25;
	check_random_state ^= check_random_state >> 27;
	return check_random_state * UINT64_C(0x2545f4914f6cdd1d);
}

/* Uniform on low..high, both included. */
static inline int64_t
check_between(int64_t low, int64_t high)
{
	return low + (int64_t) (check_random() % ((uint64_t) (high - low) + 1));
}

#endif
