/* score_bounds.h: float8[] arguments of bounds, limits and fractions. */
#ifndef RETENTION_SCORE_BOUNDS_H
#define RETENTION_SCORE_BOUNDS_H

#include "pg_compat.h"

#include "math/scores.h"

extern int	read_bounds(Datum array, const char *name, int most, PercentileBound *bounds);
extern Datum make_bounds(const PercentileBound *bounds, int count);
extern void reject_nan(double value);

#endif
