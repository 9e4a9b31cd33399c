/*
 * selection.c: exact percentile bounds by radix selection.
 *
 * A double's bits, with the sign folded in, sort like the double. The wanted
 * rank's value is found digit by digit from the top: count the values by their
 * next digit among those that share the digits found so far, and step into the
 * digit that holds the rank. That takes six passes whatever the data, and no
 * memory that grows with them.
 */
#include "math/selection.h"

#include <math.h>
#include <string.h>

#define DIGIT_BITS 11
#define DIGIT_VALUES (1 << DIGIT_BITS)
#define KEY_BITS 64

/* Says how many values of an array go by between two looks for an interrupt. */
#define BLOCK_VALUES 65536

/* Holds the search for one fraction's order statistic. */
typedef struct RankSearch
{
	uint64_t	prefix;			/* the digits found, in place */
	int64_t		rank;			/* 1-based, among the values with this prefix */
	int64_t		counts[DIGIT_VALUES];
} RankSearch;

/* Maps a double to an integer of the same order; -0 and 0 are one value. */
static inline uint64_t
key_of(double value)
{
	uint64_t	bits;

	value += 0.0;
	memcpy(&bits, &value, sizeof(bits));
	return bits >> 63 ? ~bits : bits | (UINT64_C(1) << 63);
}

static double
value_of(uint64_t key)
{
	uint64_t	bits = key >> 63 ? key & ~(UINT64_C(1) << 63) : ~key;
	double		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static void
array_rewind(SelectionSource *source)
{
	((ArraySource *) source)->position = 0;
}

static size_t
array_next(SelectionSource *source, const double **block)
{
	ArraySource *array = (ArraySource *) source;

	size_t		left = array->count - array->position;
	size_t		length = left < BLOCK_VALUES ? left : BLOCK_VALUES;

	host_check(array->host);
	*block = array->values + array->position;
	array->position += length;
	return length;
}

/* Makes an array a source, which asks the host for interrupts. */
SelectionSource *
selection_array(ArraySource *array, const double *values, size_t count, const MathHost *host)
{
	array->source.rewind = array_rewind;
	array->source.next = array_next;
	array->host = host;
	array->values = values;
	array->count = count;
	array->position = 0;
	return &array->source;
}

/* Counts the values that share the search's prefix above `shift + bits` by their next digit. */
static void
count_digits(RankSearch *search, const double *block, size_t length, int shift, int bits)
{
	int			above = shift + bits;

	for (size_t i = 0; i < length; i++)
	{
		uint64_t	key = key_of(block[i]);

		if (above == KEY_BITS || key >> above == search->prefix >> above)
			search->counts[(key >> shift) & ((1 << bits) - 1)]++;
	}
}

/* Steps into the digit that holds the rank. */
static void
choose_digit(RankSearch *search, int shift)
{
	int			digit = 0;

	while (search->rank > search->counts[digit])
		search->rank -= search->counts[digit++];
	search->prefix |= (uint64_t) digit << shift;
	memset(search->counts, 0, sizeof(search->counts));
}

/* Finds the values at all the wanted ranks; their keys are left in prefix. */
static void
find_ranks(SelectionSource *source, RankSearch *searches, int count)
{
	for (int top = KEY_BITS; top > 0; top -= DIGIT_BITS)
	{
		int			bits = top < DIGIT_BITS ? top : DIGIT_BITS;
		const double *block;
		size_t		length;

		source->rewind(source);
		while ((length = source->next(source, &block)) > 0)
		{
			for (int i = 0; i < count; i++)
				count_digits(&searches[i], block, length, top - bits, bits);
		}
		for (int i = 0; i < count; i++)
			choose_digit(&searches[i], top - bits);
	}
}

/* Finds the smallest value strictly above each value found. */
static void
find_next_above(SelectionSource *source, const RankSearch *searches, int count,
				PercentileBound *bounds)
{
	const double *block;
	size_t		length;

	for (int i = 0; i < count; i++)
		bounds[i].present = false;
	source->rewind(source);
	while ((length = source->next(source, &block)) > 0)
	{
		for (int i = 0; i < count; i++)
		{
			double		found = value_of(searches[i].prefix);

			for (size_t j = 0; j < length; j++)
			{
				if (block[j] > found && (!bounds[i].present || block[j] < bounds[i].value))
				{
					bounds[i].value = block[j] + 0.0;	/* never -0 */
					bounds[i].present = true;
				}
			}
		}
	}
}

/*
 * Finds for each fraction p in 0..1 the smallest value strictly above percentile_disc(p), if any.
 * percentile_disc(p) is the value at rank ceil(p * count), at least 1. At most
 * SELECTION_MAX_FRACTIONS fractions.
 */
void
selection_percentile_bounds(SelectionSource *source, int64_t count,
							const double *fractions, int fraction_count,
							PercentileBound *bounds)
{
	static RankSearch searches[SELECTION_MAX_FRACTIONS];

	for (int i = 0; i < fraction_count; i++)
	{
		int64_t		rank = (int64_t) ceil(fractions[i] * (double) count);

		memset(&searches[i], 0, sizeof(RankSearch));
		searches[i].rank = rank < 1 ? 1 : rank;
		bounds[i].present = false;
	}
	if (count == 0)
		return;
	find_ranks(source, searches, fraction_count);
	find_next_above(source, searches, fraction_count, bounds);
}
