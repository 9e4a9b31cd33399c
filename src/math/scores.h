/* scores.h: a value's score against ascending bounds or descending limits. */
#ifndef RETENTION_SCORES_H
#define RETENTION_SCORES_H

#include "math/selection.h"

/* Sets the most bounds or limits of one score: ten levels. */
#define MAX_SCORE_BOUNDS 9

/*
 * Returns 1 + the number of inclusive lower bounds that the value reaches. An absent bound is never
 * reached.
 */
static inline int
score_by_bounds(double value, const PercentileBound *bounds, int count)
{
	int			score = 1;

	for (int i = 0; i < count; i++)
		score += bounds[i].present && value >= bounds[i].value;
	return score;
}

/* Returns 1 + the number of inclusive upper limits that the days since the last order meet. */
static inline int
score_by_limits(double days, const PercentileBound *limits, int count)
{
	int			score = 1;

	for (int i = 0; i < count; i++)
		score += limits[i].present && days <= limits[i].value;
	return score;
}

#endif
