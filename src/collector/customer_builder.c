/*
 * customer_builder.c: turns the partitioned rows into one CustomerRow a customer:
 * each customer's rows are netted by order id and summarised.
 */
#include "pg_compat.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "values/amount.h"
#include "collector/collection.h"

/* Describes an order: rows of one order id taken together. */
typedef struct NetOrder
{
	OrderToken	token;
	bool		is_order;		/* not only refunds */
	bool		is_placed;		/* nor only negative rows: there is what a refund could be of */
	int64		at;
	Decimal		amount;
} NetOrder;

typedef struct Builder
{
	Collection *collection;
	OrderSummary summary;
	MathStatus	status;			/* of the customer's sums so far */
	DayAllocator allocator;
	NetOrder   *orders;
	int			order_count;
	int			order_capacity;
	int64		unmatched;		/* the customer's refund rows that are of no order */
	OrderToken	unmatched_token;	/* of the first of them */
	MemoryContext scratch;
} Builder;

static void
row_amount(OrderRow *row, Decimal *amount)
{
	if (row->wide)
		memcpy(amount, order_row_extra(row), sizeof(Decimal));
	else
		*amount = (Decimal) {row->units, DECIMAL_BASE_DIGITS, row->display_scale};
	/* Shops write refunds with either sign. */
	if (row->kind == ROW_REFUND && amount->mantissa > 0)
		amount->mantissa = -amount->mantissa;
}

static void
add_net_order(Builder *builder, bool is_order, int64 at, const Decimal *amount)
{
	if (is_order && amount->mantissa > 0)
		builder->status |= summary_add_order(&builder->summary, at,
											 zone_day(builder->collection->zone, at),
											 amount, &builder->allocator);
	else
		builder->status |= summary_add_adjustment(&builder->summary, amount);
}

/* Keeps a row with an order id until all of its customer's rows are known. */
static void
keep_for_netting(Builder *builder, OrderRow *row, const Decimal *amount)
{
	NetOrder   *order;

	if (builder->order_count == builder->order_capacity)
	{
		builder->order_capacity = Max(64, 2 * builder->order_capacity);
		builder->orders =
			builder->orders == NULL
				? MemoryContextAllocHuge(builder->collection->context,
										 builder->order_capacity * sizeof(NetOrder))
				: repalloc_huge(builder->orders, builder->order_capacity * sizeof(NetOrder));
	}
	order = &builder->orders[builder->order_count++];
	memcpy(&order->token, order_row_token(row), sizeof(OrderToken));
	order->is_order = row->kind == ROW_ORDER;
	order->is_placed = order->is_order && amount->mantissa >= 0;
	order->at = row->at;
	order->amount = *amount;
}

static int
compare_tokens(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return memcmp(&((const NetOrder *) a)->token, &((const NetOrder *) b)->token,
				  sizeof(OrderToken));
}

/* Adds a row to the order that it is part of, which takes the time of its first order row. */
static MathStatus
merge_order(NetOrder *into, const NetOrder *row)
{
	if (row->is_order && (!into->is_order || row->at < into->at))
		into->at = row->at;
	into->is_order |= row->is_order;
	into->is_placed |= row->is_placed;
	return decimal_add(&into->amount, &row->amount);
}

/* Counts rows of an order id that are all refunds. */
static void
count_unmatched(Builder *builder, const OrderToken *token, int rows)
{
	if (builder->unmatched == 0)
		builder->unmatched_token = *token;
	builder->unmatched += rows;
}

/* Nets the rows of each order id and summarises the orders. */
static void
net_orders(Builder *builder)
{
	NetOrder   *orders = builder->orders;

	if (builder->order_count > 1)
		qsort(orders, builder->order_count, sizeof(NetOrder), compare_tokens);
	for (int i = 0; i < builder->order_count;)
	{
		NetOrder   *order = &orders[i];
		int			first = i;

		for (i++; i < builder->order_count && compare_tokens(order, &orders[i]) == 0; i++)
			builder->status |= merge_order(order, &orders[i]);
		add_net_order(builder, order->is_order, order->at, &order->amount);
		if (unlikely(!order->is_placed))
			count_unmatched(builder, &order->token, i - first);
	}
	builder->order_count = 0;
}

/*
 * Computes a numeric's fingerprint. Together with the value as a double, two amounts that differ
 * pass for equal with a chance below 2^-64.
 */
uint64
numeric_hash(Datum numeric)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(numeric);

	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value),
							   0);
}

static void
facts_to_compare(const SummaryFacts *facts, StoredFacts *result)
{
	int			days = facts->rhythm.purchase_days;

	result->orders = facts->orders;
	result->purchase_days = days;
	result->first_at = facts->first_at;
	result->last_at = facts->last_at;
	result->average_gap = facts->rhythm.average_gap;
	result->gap_sd = facts->rhythm.gap_sd;
	result->revenue_hash = numeric_hash(amount_numeric(&facts->revenue));
	result->repeat_hash =
		days < 2 ? 0 : numeric_hash(amount_quotient(&facts->repeat_total, days - 1));
}

/* Tells how the facts differ from the stored ones. */
static FactChange
classify_change(Builder *builder, const SummaryFacts *facts, const StoredCustomer *stored)
{
	MemoryContext previous = MemoryContextSwitchTo(builder->scratch);
	double		revenue = monetary_value(facts);
	StoredFacts current;

	facts_to_compare(facts, &current);
	MemoryContextSwitchTo(previous);
	MemoryContextReset(builder->scratch);
	if (revenue == stored->revenue && memcmp(&current, &stored->facts, sizeof(current)) == 0)
		return FACTS_SAME;
	if (current.revenue_hash == stored->facts.revenue_hash &&
		current.orders == stored->facts.orders && current.first_at == stored->facts.first_at &&
		current.last_at == stored->facts.last_at)
		return FACTS_DAYS;
	if (facts->orders > 0 && (facts->orders > stored->facts.orders ||
							  facts->last_at > stored->facts.last_at || revenue > stored->revenue))
		return FACTS_ORDER;
	if (stored->facts.first_at < builder->collection->history_start)
		return FACTS_EXPIRED;
	return FACTS_REFUND;
}

/* Writes the customer's row, and takes its values into account for the bounds. */
static void
append_customer(Builder *builder, const OrderRow *key_row, const SummaryFacts *facts,
				const StoredCustomer *stored)
{
	Collection *collection = builder->collection;
	int			group_length = stored != NULL ? stored->group_length : 0;
	CustomerRow *row =
		row_store_append(collection->customers, 0,
						 offsetof(CustomerRow, text) + key_row->key_length + group_length);

	row->facts = *facts;
	row->change = stored != NULL ? classify_change(builder, facts, stored) : FACTS_ORDER;
	row->is_stored = stored != NULL;
	row->r = stored != NULL ? stored->r : 0;
	row->f = stored != NULL ? stored->f : 0;
	row->m = stored != NULL ? stored->m : 0;
	row->key_length = key_row->key_length;
	row->group_length = group_length;
	memcpy(row->text, key_row->key, row->key_length);
	if (group_length > 0)
		memcpy(row->text + row->key_length, stored->group, group_length);
	if (facts->orders > 0)
		add_values(collection, facts);
}

/* Leaves a customer out whose amounts cannot be added, so that all others are counted. */
static void
leave_out_customer(Builder *builder, const OrderRow *key_row, int64 rows)
{
	Collection *collection = builder->collection;
	Unreadable *first = count_unreadable(collection, collection->relations, SUM_TOO_LONG, rows);

	if (first != NULL)
		first->customer = clipped_text(collection, key_row->key, key_row->key_length);
}

/*
 * Counts a stored customer, and one whose orders are gone from the sources, rather than from the
 * history window.
 */
static void
count_stored(Collection *collection, const SummaryFacts *facts, const StoredCustomer *stored)
{
	collection->stored_customers++;
	collection->lost_customers +=
		facts->orders == 0 && stored->facts.last_at >= collection->history_start;
}

/* Writes the order id of a row that has a token as text. */
static char *
order_id_text(const Collection *collection, OrderRow *row)
{
	const char *token = (const char *) order_row_token(row);

	if (row->keeps_id)
		return clipped_text(collection, order_row_id(row)->text, order_row_id(row)->length);
	return clipped_text(collection, token, strnlen(token, sizeof(OrderToken)));
}

/*
 * Reports a customer's refunds that are of no order; of the first customer, an order id as an
 * example.
 */
static void
report_unmatched(Builder *builder, RowPartition *partition, uint32 first)
{
	CollectionReport *report = &builder->collection->report;
	OrderRow   *row;

	report->unmatched_refunds += builder->unmatched;
	for (uint32 position = first; position != NO_ROW && report->unmatched_refund == NULL;
		 position = row->stored.next)
	{
		row = row_at(partition, position);
		if (row->has_token &&
			memcmp(order_row_token(row), &builder->unmatched_token, sizeof(OrderToken)) == 0)
			report->unmatched_refund = order_id_text(builder->collection, row);
	}
}

/*
 * Adds the rows of orders and refunds to the summary, or keeps them for netting; returns their
 * number. The stored customer, where there is one, goes to stored.
 */
static inline int64
add_rows(Builder *builder, RowPartition *partition, uint32 first, StoredCustomer **stored)
{
	int64		rows = 0;

	for (uint32 position = first, next; position != NO_ROW; position = next)
	{
		OrderRow   *row = row_at(partition, position);
		Decimal		amount;

		CHECK_FOR_INTERRUPTS();
		next = row->stored.next;
		if (row->kind == ROW_STORED_CUSTOMER)
		{
			*stored = order_row_extra(row);
			continue;
		}
		rows++;
		row_amount(row, &amount);
		if (row->has_token)
			keep_for_netting(builder, row, &amount);
		else
			add_net_order(builder, row->kind == ROW_ORDER, row->at, &amount);
	}
	return rows;
}

/* Summarises one customer's rows. */
static void
build_customer(void *argument, RowPartition *partition, uint32 first)
{
	Builder    *builder = argument;
	CollectionReport *report = &builder->collection->report;
	StoredCustomer *stored = NULL;
	SummaryFacts facts;
	int64		rows;

	summary_reset(&builder->summary);
	builder->status = MATH_OK;
	builder->unmatched = 0;
	rows = add_rows(builder, partition, first, &stored);
	net_orders(builder);
	if (unlikely((builder->status | summary_finish(&builder->summary, &facts)) != MATH_OK))
	{
		leave_out_customer(builder, row_at(partition, first), rows);
		summary_reset(&builder->summary);
		(void) summary_finish(&builder->summary, &facts);
		rows = 0;
	}
	else if (unlikely(builder->unmatched > 0))
		report_unmatched(builder, partition, first);
	report->orders += facts.orders;
	report->customers += facts.orders > 0;
	report->customers_without_orders += rows > 0 && facts.orders == 0;
	if (stored != NULL)
		count_stored(builder->collection, &facts, stored);
	if (facts.orders > 0 || stored != NULL)
		append_customer(builder, row_at(partition, first), &facts, stored);
}

/* Turns all rows that were read into customers; the rows are forgotten on the way. */
void
build_customers(Collection *collection)
{
	Builder		builder = {.collection = collection};

	builder.allocator = (DayAllocator) {summary_reallocate, collection->context};
	builder.scratch =
		AllocSetContextCreate(collection->context, "retention facts", ALLOCSET_SMALL_SIZES);
	group_rows(collection->orders, collection->context, collection->partition_bits,
			   offsetof(OrderRow, key), build_customer, &builder);
}
