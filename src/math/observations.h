/* observations.h: the data of a fit: rows of a history, or of a spend, with weights. */
#ifndef RETENTION_OBSERVATIONS_H
#define RETENTION_OBSERVATIONS_H

#include <stdint.h>

#include "math/host.h"
#include "math/status.h"

/*
 * Describes one customer, or several alike. Purchase models: values are t_x and T. Spend models:
 * values[0] is the mean value of the x purchases, values[1] is 0.
 */
typedef struct Observation
{
	double		x;
	double		values[2];
	double		weight;
} Observation;

/*
 * Describes a row of a block: which of the block's values are t_x and T, and how many customers it
 * stands for.
 */
typedef struct BlockRow
{
	int32_t		first;
	int32_t		second;
	double		weight;
} BlockRow;

/*
 * Holds observations of one x, all of them unless they are very many, with the distinct values
 * among them in ascending order.
 */
typedef struct ObservationBlock
{
	double		x;
	double		weight;
	const double *values;
	int32_t		value_count;
	int64_t		row_count;
	const BlockRow *rows;
} ObservationBlock;

/* Holds blocks in ascending order of x; equal rows are one. */
typedef struct ObservationBlocks
{
	int			count;
	int32_t		most_values;	/* of one block */
	int64_t		rows;
	double		weight;
	const ObservationBlock *blocks;
} ObservationBlocks;

extern MathStatus observations_group(const Observation *observations, int64_t count,
									 const MathHost *host, ObservationBlocks *result);
extern Observation observations_total(const ObservationBlocks *blocks);
extern int64_t observations_list(const ObservationBlocks *blocks, Observation *result);

#endif
