/* selection.c: src/math/selection against sorting. */
#include "math/selection.h"

#include <math.h>
#include <string.h>

#include "check.h"

#define MOST_VALUES 20000

static const double fractions[] = {0,	 1,	  0.5, 1 / 3.0, 2 / 3.0, 0.1,	   0.2,		 0.25,
								   0.75, 0.8, 0.9, 0.99,	1e-9,	 1 - 1e-9, 0x1p-1074};

#define FRACTIONS (int) (sizeof(fractions) / sizeof(fractions[0]))

/*
 * A source that gives an array in blocks of 1 to 7 values, each from a place of its own that is
 * then spoilt.
 */
typedef struct BlockSource
{
	SelectionSource source;
	const double *values;
	size_t		count;
	size_t		position;
	double		block[7];
} BlockSource;

static void
block_rewind(SelectionSource *source)
{
	((BlockSource *) source)->position = 0;
}

static size_t
block_next(SelectionSource *source, const double **block)
{
	BlockSource *blocks = (BlockSource *) source;
	size_t		left = blocks->count - blocks->position;
	size_t		length = (size_t) check_between(1, 7);

	if (length > left)
		length = left;
	for (size_t i = 0; i < 7; i++)
		blocks->block[i] = i < length ? blocks->values[blocks->position + i] : NAN;
	blocks->position += length;
	*block = blocks->block;
	return length;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/*
 * By the definition: the smallest value with at least p of the values at or below it, and the next
 * above that.
 */
static PercentileBound
bound_by_sorting(const double *sorted, int count, double fraction)
{
	int			rank = (int) ceil(fraction * count);
	double		percentile = count > 0 ? sorted[rank < 1 ? 0 : rank - 1] : 0;

	for (int i = 0; i < count; i++)
	{
		if (sorted[i] > percentile)
			return (PercentileBound) {sorted[i], true};
	}
	return (PercentileBound) {0, false};
}

static void
check_source(SelectionSource *source, const double *sorted, int count)
{
	PercentileBound bounds[FRACTIONS];

	memset(bounds, 1, sizeof(bounds));
	selection_percentile_bounds(source, count, fractions, FRACTIONS, bounds);
	for (int i = 0; i < FRACTIONS; i++)
	{
		PercentileBound expected = bound_by_sorting(sorted, count, fractions[i]);

		CHECK(bounds[i].present == expected.present);
		CHECK(!expected.present || bounds[i].value == expected.value);
		CHECK(!expected.present || bounds[i].value != 0 || !signbit(bounds[i].value));
	}
}

static void
check_values(const double *values, int count)
{
	static double sorted[MOST_VALUES];
	ArraySource array;
	BlockSource blocks = {{block_rewind, block_next}, values, (size_t) count, 0, {0}};

	memcpy(sorted, values, count * sizeof(double));
	qsort(sorted, count, sizeof(double), compare);
	check_source(selection_array(&array, values, count, &NO_HOST), sorted, count);
	check_source(&blocks.source, sorted, count);
}

/* Any bits but NaN's: most are far from each other, and no two alike. */
static double
random_bits(void)
{
	uint64_t	bits = check_random();
	double		value;

	memcpy(&value, &bits, sizeof(value));
	return isnan(value) ? -INFINITY : value;
}

static double
random_value(int kind)
{
	static const double special[] = {0.0,		-0.0,		INFINITY, -INFINITY,
									 0x1p-1074, -0x1p-1074, 1,		  0x1.fffffffffffffp+1023};

	switch (kind)
	{
		case 0:
			return special[check_between(0, 7)];
		case 1:
			return (double) check_between(1, 4);
		case 2:
			return (double) check_between(-1000, 1000) / 100;
		case 3:
			return 1 + (double) check_between(0, 5) * 0x1p-52;
		case 4:
			return random_bits();
		default:
			return random_value((int) check_between(0, 4));
	}
}

static void
check_counts(int first, int last, int step)
{
	static double values[MOST_VALUES];

	for (int count = first; count <= last; count += step)
	{
		for (int kind = 0; kind <= 5; kind++)
		{
			for (int i = 0; i < count; i++)
				values[i] = random_value(kind);
			check_values(values, count);
		}
	}
}

/* As many fractions as are allowed, in any order and repeated. */
static void
check_many_fractions(void)
{
	double		falling[100];
	double		rising[100];
	double		list[SELECTION_MAX_FRACTIONS];
	PercentileBound bounds[SELECTION_MAX_FRACTIONS];
	ArraySource array;

	for (int i = 0; i < 100; i++)
		rising[i] = falling[99 - i] = i;
	for (int i = 0; i < SELECTION_MAX_FRACTIONS; i++)
		list[i] = (double) check_between(0, 10) / 10;
	selection_percentile_bounds(selection_array(&array, falling, 100, &NO_HOST), 100, list,
								SELECTION_MAX_FRACTIONS, bounds);
	for (int i = 0; i < SELECTION_MAX_FRACTIONS; i++)
	{
		PercentileBound expected = bound_by_sorting(rising, 100, list[i]);

		CHECK(bounds[i].present == expected.present);
		CHECK(!expected.present || bounds[i].value == expected.value);
	}
}

static void
count_check(void *context)
{
	++*(int *) context;
}

/* However many values an array has, every pass through it looks for interrupts. */
static void
check_interrupts(void)
{
	int			checks = 0;
	MathHost	host = {.check = count_check, .context = &checks};
	int			count = 300000;
	double	   *values = calloc(count, sizeof(double));
	PercentileBound bound;
	ArraySource array;

	CHECK(values != NULL);
	selection_percentile_bounds(selection_array(&array, values, count, &host), count, fractions, 1,
								&bound);
	CHECK(checks >= 6 * (count / 100000) && !bound.present);
	free(values);
}

int
main(void)
{
	check_counts(0, 40, 1);
	check_counts(41, 400, 31);
	check_counts(MOST_VALUES, MOST_VALUES, 1);
	check_many_fractions();
	check_interrupts();
	return 0;
}
