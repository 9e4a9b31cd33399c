/* scores.c: src/math/scores against the definition, by counting. */
#include "math/scores.h"

#include <math.h>

#include "check.h"

/* A bound at NAN stands for an absent one, which must never be looked at. */
static PercentileBound
bound_at(double value)
{
	return (PercentileBound) {isnan(value) ? -INFINITY : value, !isnan(value)};
}

static int
score(double value, double first, double second, int count)
{
	const PercentileBound bounds[] = {bound_at(first), bound_at(second)};

	return score_by_bounds(value, bounds, count);
}

static int
recency(double days, double first, double second, int count)
{
	PercentileBound limits[] = {bound_at(first), bound_at(second)};

	limits[0].value = isnan(first) ? INFINITY : first;
	limits[1].value = isnan(second) ? INFINITY : second;
	return score_by_limits(days, limits, count);
}

static void
check_bounds(void)
{
	CHECK(score(1, 2, 3, 2) == 1 && score(2, 2, 3, 2) == 2 && score(3, 2, 3, 2) == 3);
	CHECK(score(nextafter(2, 0), 2, 3, 2) == 1 && score(nextafter(3, 0), 2, 3, 2) == 2);
	CHECK(score(INFINITY, 2, 3, 2) == 3 && score(-INFINITY, 2, 3, 2) == 1);
	CHECK(score(-0.0, 0.0, 1, 2) == 2 && score(0.0, -0.0, 1, 2) == 2);
	CHECK(score(5, NAN, 3, 2) == 2 && score(5, 2, NAN, 2) == 2 && score(5, NAN, NAN, 2) == 1);
	CHECK(score(5, 2, 3, 1) == 2 && score(5, 2, 3, 0) == 1);
	/* Equal bounds are reached together. */
	CHECK(score(2, 2, 2, 2) == 3 && score(1, 2, 2, 2) == 1);
}

static void
check_limits(void)
{
	CHECK(recency(0, 365, 180, 2) == 3 && recency(180, 365, 180, 2) == 3);
	CHECK(recency(nextafter(180, 999), 365, 180, 2) == 2 && recency(365, 365, 180, 2) == 2);
	CHECK(recency(nextafter(365, 999), 365, 180, 2) == 1 && recency(INFINITY, 365, 180, 2) == 1);
	CHECK(recency(0, NAN, 180, 2) == 2 && recency(0, 365, NAN, 2) == 2 &&
		  recency(0, NAN, NAN, 2) == 1);
	CHECK(recency(0, 365, 180, 1) == 2 && recency(0, 365, 180, 0) == 1);
}

/* Bounds at 1..9: the score of x is 1 + floor(x) within 1..10; limits at 9..1 mirror it. */
static void
check_levels(void)
{
	PercentileBound bounds[MAX_SCORE_BOUNDS];
	PercentileBound limits[MAX_SCORE_BOUNDS];

	for (int i = 0; i < MAX_SCORE_BOUNDS; i++)
	{
		bounds[i] = bound_at(i + 1);
		limits[i] = bound_at(MAX_SCORE_BOUNDS - i);
	}
	for (int tenths = -20; tenths <= 120; tenths++)
	{
		double		x = tenths / 10.0;
		int			level = tenths < 0 ? 0 : tenths / 10 > 9 ? 9 : tenths / 10;
		int			reached = tenths <= 0 ? 0 : (tenths + 9) / 10 > 10 ? 10 : (tenths + 9) / 10;

		CHECK(score_by_bounds(x, bounds, MAX_SCORE_BOUNDS) == 1 + level);
		CHECK(score_by_limits(x, limits, MAX_SCORE_BOUNDS) == (reached == 0 ? 10 : 11 - reached));
	}
}

int
main(void)
{
	check_bounds();
	check_limits();
	check_levels();
	return 0;
}
