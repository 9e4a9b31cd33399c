/* selection.h: exact percentile bounds by radix selection. */
#ifndef RETENTION_SELECTION_H
#define RETENTION_SELECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "math/host.h"

/* Sets the most fractions of one call. */
#define SELECTION_MAX_FRACTIONS 32

/*
 * Gives values that are read several times: next gives a block of them and its length, 0 at the
 * end; rewind starts again. No value is NaN.
 */
typedef struct SelectionSource
{
	void		(*rewind) (struct SelectionSource *source);
	size_t		(*next) (struct SelectionSource *source, const double **block);
} SelectionSource;

/* Describes a source over an array. */
typedef struct ArraySource
{
	SelectionSource source;
	const MathHost *host;
	const double *values;
	size_t		count;
	size_t		position;
} ArraySource;

/* Holds a bound; present is false where no value lies above the percentile. */
typedef struct PercentileBound
{
	double		value;
	bool		present;
} PercentileBound;

extern SelectionSource *selection_array(ArraySource *array, const double *values, size_t count,
										const MathHost *host);
extern void selection_percentile_bounds(SelectionSource *source, int64_t count,
										const double *fractions, int fraction_count,
										PercentileBound *bounds);

#endif
