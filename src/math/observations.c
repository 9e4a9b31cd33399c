/*
 * observations.c: groups observations by x, t_x and T; see observations.h.
 *
 * Values are replaced by their ranks among the distinct ones, the three ranks
 * are packed into one integer, and the integers are sorted by radix: customers
 * counted in whole days have few distinct values, and so few passes.
 */
#include "math/observations.h"

#include <string.h>

#define RADIX_BITS 11
#define RADIX_SIZE (1 << RADIX_BITS)

/* Says how many rows go by between two looks for an interrupt, and make a block at most. */
#define ROWS_PER_CHECK 25000

typedef struct PackedRow
{
	uint64_t	key;
	double		weight;
} PackedRow;

/* Holds the distinct values of a column in a table with linear probing, and the rank of each. */
typedef struct RankTable
{
	const MathHost *host;
	uint64_t	mask;
	int32_t    *slots;			/* number of the value + 1, 0 for none */
	int32_t		count;
	int32_t		capacity;
	double	   *values;			/* by number */
	int32_t    *ranks;			/* by number */
	double	   *sorted;			/* by rank */
} RankTable;

/* Holds the numbers of an observation's values in their tables. */
typedef struct ValueNumbers
{
	int32_t		x;
	int32_t		values[2];
} ValueNumbers;

/* Holds what turns rows into blocks. */
typedef struct Grouping
{
	const MathHost *host;
	RankTable	counts;			/* of x */
	RankTable	times;
	int			time_bits;
	ValueNumbers *numbers;		/* of the observations */
	PackedRow  *work;
	uint64_t   *used;			/* a bit for each rank of times, within one block */
	int32_t    *local;			/* the rank's number within that block */
} Grouping;

/* Hashes a value. The highest bits come down first: whole numbers differ in them alone. */
static uint64_t
hash_value(double value)
{
	uint64_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	bits = (bits ^ (bits >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
	return bits ^ (bits >> 32);
}

static int32_t *
find_slot(const RankTable *table, double value)
{
	uint64_t	at = hash_value(value) & table->mask;

	while (table->slots[at] != 0 && table->values[table->slots[at] - 1] != value)
		at = (at + 1) & table->mask;
	return &table->slots[at];
}

/* Doubles the table: half of its slots stay free. */
static void
grow_table(RankTable *table)
{
	const MathHost *host = table->host;
	size_t		capacity = table->capacity == 0 ? 1024 : (size_t) table->capacity * 2;
	double	   *values = host->allocate(host->context, capacity * sizeof(double));

	if (table->count > 0)
		memcpy(values, table->values, table->count * sizeof(double));
	host_release(host, table->values);
	host_release(host, table->slots);
	table->values = values;
	table->slots = host->allocate(host->context, 2 * capacity * sizeof(int32_t));
	memset(table->slots, 0, 2 * capacity * sizeof(int32_t));
	table->mask = 2 * capacity - 1;
	table->capacity = (int32_t) capacity;
	for (int32_t i = 0; i < table->count; i++)
		*find_slot(table, table->values[i]) = i + 1;
}

/* Finds the number of a value, a new one if need be. */
static MathStatus
number_value(RankTable *table, double value, int32_t *number)
{
	int32_t    *slot;

	if (table->count == table->capacity)
	{
		if (table->count > INT32_MAX / 4)
			return MATH_TOO_MANY;
		grow_table(table);
	}
	slot = find_slot(table, value);
	if (*slot == 0)
	{
		table->values[table->count++] = value;
		*slot = table->count;
	}
	*number = *slot - 1;
	return MATH_OK;
}

static void
check_at(const MathHost *host, int64_t row)
{
	if (row % ROWS_PER_CHECK == 0)
		host_check(host);
}

/*
 * Sorts rows by key; the result is in rows or in spare. A digit that is the same everywhere needs
 * no pass.
 */
static PackedRow *
radix_sort(PackedRow *rows, PackedRow *spare, int64_t count, int bits, const MathHost *host)
{
	for (int shift = 0; shift < bits && count > 0; shift += RADIX_BITS)
	{
		int64_t		starts[RADIX_SIZE + 1] = {0};
		PackedRow  *swap = rows;

		for (int64_t i = 0; i < count; i++)
		{
			check_at(host, i);
			starts[((rows[i].key >> shift) & (RADIX_SIZE - 1)) + 1]++;
		}
		if (starts[((rows[0].key >> shift) & (RADIX_SIZE - 1)) + 1] == count)
			continue;
		for (int digit = 0; digit < RADIX_SIZE; digit++)
			starts[digit + 1] += starts[digit];
		for (int64_t i = 0; i < count; i++)
		{
			check_at(host, i);
			spare[starts[(rows[i].key >> shift) & (RADIX_SIZE - 1)]++] = rows[i];
		}
		rows = spare;
		spare = swap;
	}
	return rows;
}

/*
 * Puts the distinct values, none of which is negative, in order. Their bits are in the same order.
 */
static void
rank_values(RankTable *table)
{
	const MathHost *host = table->host;
	PackedRow  *rows =
		host->allocate(host->context, 2 * ((size_t) table->count + 1) * sizeof(PackedRow));
	PackedRow  *sorted;

	table->ranks = host->allocate(host->context, ((size_t) table->count + 1) * sizeof(int32_t));
	table->sorted = host->allocate(host->context, ((size_t) table->count + 1) * sizeof(double));
	for (int32_t i = 0; i < table->count; i++)
	{
		memcpy(&rows[i].key, &table->values[i], sizeof(double));
		rows[i].weight = i;
	}
	sorted = radix_sort(rows, rows + table->count, table->count, 64, host);
	for (int32_t rank = 0; rank < table->count; rank++)
	{
		memcpy(&table->sorted[rank], &sorted[rank].key, sizeof(double));
		table->ranks[(int32_t) sorted[rank].weight] = rank;
	}
	host_release(host, rows);
}

static int
bits_for(int32_t count)
{
	int			bits = 0;

	while (((int64_t) 1 << bits) < count)
		bits++;
	return bits;
}

static MathStatus
rank_columns(Grouping *grouping, const Observation *observations, int64_t count)
{
	const MathHost *host = grouping->host;

	grouping->counts.host = grouping->times.host = host;
	grouping->numbers = host->allocate(host->context, ((size_t) count + 1) * sizeof(ValueNumbers));
	for (int64_t i = 0; i < count; i++)
	{
		ValueNumbers *numbers = &grouping->numbers[i];

		check_at(host, i);
		if (number_value(&grouping->counts, observations[i].x, &numbers->x) != MATH_OK ||
			number_value(&grouping->times, observations[i].values[0], &numbers->values[0]) !=
				MATH_OK ||
			number_value(&grouping->times, observations[i].values[1], &numbers->values[1]) !=
				MATH_OK)
			return MATH_TOO_MANY;
	}
	rank_values(&grouping->counts);
	rank_values(&grouping->times);
	grouping->time_bits = bits_for(grouping->times.count);
	return bits_for(grouping->counts.count) + 2 * grouping->time_bits <= 64 ? MATH_OK
																			: MATH_TOO_MANY;
}

/* Lists the rows in order of x, T and t_x, equal ones made one. Their number goes to count. */
static PackedRow *
pack_rows(Grouping *grouping, const Observation *observations, int64_t *count)
{
	const MathHost *host = grouping->host;
	int			bits = grouping->time_bits;
	PackedRow  *rows = host->allocate(host->context, 2 * ((size_t) *count + 1) * sizeof(PackedRow));
	PackedRow  *sorted;
	int64_t		distinct = 0;

	grouping->work = rows;
	for (int64_t i = 0; i < *count; i++)
	{
		const ValueNumbers *numbers = &grouping->numbers[i];
		const int32_t *ranks = grouping->times.ranks;

		check_at(host, i);
		rows[i].key = (((uint64_t) grouping->counts.ranks[numbers->x] << bits |
						(uint64_t) ranks[numbers->values[1]])
					   << bits) |
					  (uint64_t) ranks[numbers->values[0]];
		rows[i].weight = observations[i].weight;
	}
	sorted =
		radix_sort(rows, rows + *count, *count, bits_for(grouping->counts.count) + 2 * bits, host);
	for (int64_t i = 0; i < *count; i++)
	{
		check_at(host, i);
		if (distinct > 0 && sorted[distinct - 1].key == sorted[i].key)
			sorted[distinct - 1].weight += sorted[i].weight;
		else
			sorted[distinct++] = sorted[i];
	}
	*count = distinct;
	return sorted;
}

static void
mark_rank(Grouping *grouping, int32_t rank)
{
	grouping->used[rank / 64] |= UINT64_C(1) << (rank % 64);
}

/* Numbers the marked ranks in ascending order, lists their values, and takes the marks away. */
static int32_t
number_ranks(Grouping *grouping, double *values)
{
	int32_t		count = 0;

	for (int32_t word = 0; word <= grouping->times.count / 64; word++)
	{
		for (uint64_t bits = grouping->used[word]; bits != 0; bits &= bits - 1)
		{
			int32_t		rank = word * 64 + __builtin_ctzll(bits);

			values[count] = grouping->times.sorted[rank];
			grouping->local[rank] = count++;
		}
		grouping->used[word] = 0;
	}
	return count;
}

/* Makes the block of the rows from..to, which have the same x. */
static void
make_block(Grouping *grouping, const PackedRow *packed, int64_t count, BlockRow *rows,
		   ObservationBlock *block)
{
	const MathHost *host = grouping->host;
	uint64_t	mask = (UINT64_C(1) << grouping->time_bits) - 1;
	int			bits = grouping->time_bits;
	int64_t		most = 2 * count < grouping->times.count ? 2 * count : grouping->times.count;
	double	   *values = host->allocate(host->context, (size_t) most * sizeof(double));

	block->x = grouping->counts.sorted[packed[0].key >> (2 * bits)];
	block->weight = 0;
	for (int64_t i = 0; i < count; i++)
	{
		mark_rank(grouping, (int32_t) (packed[i].key & mask));
		mark_rank(grouping, (int32_t) (packed[i].key >> bits & mask));
		block->weight += packed[i].weight;
	}
	block->value_count = number_ranks(grouping, values);
	for (int64_t i = 0; i < count; i++)
		rows[i] = (BlockRow) {grouping->local[packed[i].key & mask],
			grouping->local[packed[i].key >> bits & mask], packed[i].weight};
	block->values = values;
	block->rows = rows;
	block->row_count = count;
}

static void
make_blocks(Grouping *grouping, const PackedRow *packed, int64_t count, ObservationBlocks *result)
{
	const MathHost *host = grouping->host;
	int			x_shift = 2 * grouping->time_bits;
	size_t		most_blocks =
		(size_t) grouping->counts.count + (size_t) (count / ROWS_PER_CHECK) + 1;
	ObservationBlock *blocks =
		host->allocate(host->context, most_blocks * sizeof(ObservationBlock));
	BlockRow   *rows = host->allocate(host->context, ((size_t) count + 1) * sizeof(BlockRow));
	size_t		words = (size_t) grouping->times.count / 64 + 1;

	grouping->used = host->allocate(host->context, words * sizeof(uint64_t));
	grouping->local =
		host->allocate(host->context, ((size_t) grouping->times.count + 1) * sizeof(int32_t));
	memset(grouping->used, 0, words * sizeof(uint64_t));
	*result = (ObservationBlocks) {.rows = count, .blocks = blocks};
	for (int64_t from = 0, to; from < count; from = to)
	{
		ObservationBlock *block = &blocks[result->count++];

		host_check(host);
		for (to = from + 1; to < count &&
							packed[to].key >> x_shift == packed[from].key >> x_shift &&
							to - from < ROWS_PER_CHECK;)
			to++;
		make_block(grouping, packed + from, to - from, rows + from, block);
		result->weight += block->weight;
		if (block->value_count > result->most_values)
			result->most_values = block->value_count;
	}
}

static void
release_table(const MathHost *host, const RankTable *table)
{
	host_release(host, table->slots);
	host_release(host, table->values);
	host_release(host, table->ranks);
	host_release(host, table->sorted);
}

/*
 * Groups observations of any order: x whole and not negative, values not
 * negative. What the blocks are made of stays
 * allocated by the host.
 * MATH_TOO_MANY where the ranks do not fit into 64 bits: not below some 10^8
 * distinct values.
 */
MathStatus
observations_group(const Observation *observations, int64_t count, const MathHost *host,
				   ObservationBlocks *result)
{
	Grouping	grouping = {.host = host};
	PackedRow  *packed;
	MathStatus	status = rank_columns(&grouping, observations, count);

	if (status == MATH_OK)
	{
		packed = pack_rows(&grouping, observations, &count);
		make_blocks(&grouping, packed, count, result);
		host_release(host, grouping.work);
		host_release(host, grouping.used);
		host_release(host, grouping.local);
	}
	host_release(host, grouping.numbers);
	release_table(host, &grouping.counts);
	release_table(host, &grouping.times);
	return status;
}

/* Sums x, both values, and the weights, over all customers. */
Observation
observations_total(const ObservationBlocks *blocks)
{
	Observation total = {0, {0, 0}, blocks->weight};

	for (int i = 0; i < blocks->count; i++)
	{
		const ObservationBlock *block = &blocks->blocks[i];

		total.x += block->x * block->weight;
		for (int64_t j = 0; j < block->row_count; j++)
		{
			total.values[0] += block->rows[j].weight * block->values[block->rows[j].first];
			total.values[1] += block->rows[j].weight * block->values[block->rows[j].second];
		}
	}
	return total;
}

/* Writes the rows of all blocks, which are no more than were grouped; returns their number. */
int64_t
observations_list(const ObservationBlocks *blocks, Observation *result)
{
	int64_t		count = 0;

	for (int i = 0; i < blocks->count; i++)
	{
		const ObservationBlock *block = &blocks->blocks[i];

		for (int64_t j = 0; j < block->row_count; j++)
			result[count++] = (Observation) {
				block->x,
				{block->values[block->rows[j].first], block->values[block->rows[j].second]},
				block->rows[j].weight};
	}
	return count;
}
