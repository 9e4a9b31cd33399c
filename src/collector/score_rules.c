/* score_rules.c: the bounds of a collection's customers, and each one's scores and group. */
#include "pg_compat.h"

#include "collector/collection.h"

/* Reads values from the store in blocks of this many. */
#define VALUE_BLOCK 1000

enum
{
	FREQUENCY_VALUES,
	MONETARY_VALUES
};

typedef struct ValueRow
{
	StoredRow	stored;
	double		value;
} ValueRow;

/* Describes a selection source over one partition of the values. */
typedef struct ValueSource
{
	SelectionSource source;
	RowStore   *store;
	int			partition;
	RowCursor	cursor;
	double		block[VALUE_BLOCK];
} ValueSource;

/* Returns the value that the monetary score goes by. */
double
monetary_value(const SummaryFacts *facts)
{
	return decimal_to_double(&facts->revenue);
}

static void
add_value(RowStore *store, int partition, double value)
{
	((ValueRow *) row_store_append(store, partition, sizeof(ValueRow)))->value = value;
}

/* Keeps a customer's values for the dimensions whose bounds are percentiles. */
void
add_values(Collection *collection, const SummaryFacts *facts)
{
	if (collection->rules.frequency.by_percentile)
		add_value(collection->values, FREQUENCY_VALUES, (double) facts->orders);
	if (collection->rules.monetary.by_percentile)
		add_value(collection->values, MONETARY_VALUES, monetary_value(facts));
}

static void
rewind_values(SelectionSource *self)
{
	ValueSource *source = (ValueSource *) self;

	row_cursor_open(&source->cursor, source->store, source->partition);
}

static size_t
next_values(SelectionSource *self, const double **block)
{
	ValueSource *source = (ValueSource *) self;
	ValueRow   *row;
	size_t		count = 0;

	while (count < VALUE_BLOCK && (row = row_cursor_next(&source->cursor)) != NULL)
		source->block[count++] = row->value;
	*block = source->block;
	return count;
}

static void
set_rule_bounds(Collection *collection, ScoreRule *rule, int partition)
{
	ValueSource source = {.source = {rewind_values, next_values},
						  .store = collection->values,
						  .partition = partition};

	if (rule->by_percentile)
		selection_percentile_bounds(&source.source, collection->report.customers,
									rule->fractions, rule->count, rule->bounds);
}

/* Tells how many groups the rules tell apart, with repetitions: levels of r times f times m. */
int
cell_count(const ScoreRules *rules)
{
	return (rules->recency.count + 1) * (rules->frequency.count + 1) * (rules->monetary.count + 1);
}

/* Returns a combination of scores as an index, in ascending order of (r, f, m). */
static int
cell_index(const ScoreRules *rules, int r, int f, int m)
{
	return ((r - 1) * (rules->frequency.count + 1) + f - 1) * (rules->monetary.count + 1) + m - 1;
}

/* Returns a customer's scores and group; meaningless for one without orders. */
Scores
score_customer(const ScoreRules *rules, const SummaryFacts *facts)
{
	Scores		scores;

	scores.r = score_by_limits(rules->as_of_day - facts->rhythm.last_day, rules->recency.bounds,
							   rules->recency.count);
	scores.f =
		score_by_bounds((double) facts->orders, rules->frequency.bounds, rules->frequency.count);
	scores.m =
		score_by_bounds(monetary_value(facts), rules->monetary.bounds, rules->monetary.count);
	scores.group = rules->groups[cell_index(rules, scores.r, scores.f, scores.m)];
	return scores;
}

static void
count_groups(Collection *collection)
{
	ScoreRules *rules = &collection->rules;
	CollectionReport *report = &collection->report;
	RowCursor	cursor;
	CustomerRow *row;

	row_cursor_open(&cursor, collection->customers, 0);
	while ((row = row_cursor_next(&cursor)) != NULL)
	{
		if (row->facts.orders > 0)
		{
			Scores		scores = score_customer(rules, &row->facts);

			rules->group_sizes[cell_index(rules, scores.r, scores.f, scores.m)]++;
			report->last_order_at = Max(report->last_order_at, row->facts.last_at);
			report->most_orders = Max(report->most_orders, row->facts.orders);
		}
	}
}

/*
 * Finds the bounds that are percentiles, counts the customers in each cell, and notes what is
 * largest among them.
 */
void
set_bounds(Collection *collection)
{
	set_rule_bounds(collection, &collection->rules.frequency, FREQUENCY_VALUES);
	set_rule_bounds(collection, &collection->rules.monetary, MONETARY_VALUES);
	row_store_destroy(collection->values);
	count_groups(collection);
}
