/*
 * collection.h: a full read of a metric's sources, on its way to scored customers.
 *
 *   order_reader.c      the sources' and the stored customers' rows -> row store, by key
 *   unreadable.c        what of that had to be left out, counted by reason
 *   customer_builder.c  a customer's rows -> one CustomerRow
 *   score_rules.c       all customers' values -> bounds -> scores and groups
 *   request.c           the arguments of the SQL function
 *   old_request.c       those that it had in 0.1.0
 *   collect.c           the SQL function that runs these
 *   collected.c         the SQL functions that hand out the result
 */
#ifndef RETENTION_COLLECTION_H
#define RETENTION_COLLECTION_H

#include "pg_compat.h"

#include "datatype/timestamp.h"
#include "nodes/execnodes.h"

#include "math/scores.h"
#include "math/summary.h"
#include "math/zone.h"
#include "toolkit/order_summary.h"
#include "rows/row_groups.h"

typedef enum RowKind
{
	ROW_ORDER,
	ROW_REFUND,
	ROW_STORED_CUSTOMER
} RowKind;

/* Describes an order id: exact up to 16 bytes, beyond that a 128-bit hash. */
typedef struct OrderToken
{
	uint64		part[2];
} OrderToken;

/* Holds the text of an order id that its token does not tell, as much of it as an example shows. */
typedef struct KeptId
{
	uint16		length;
	char		text[FLEXIBLE_ARRAY_MEMBER];
} KeptId;

#define MAX_KEPT_ID_BYTES 500

/*
 * Describes a row of the partitioned store. `units` is the amount in steps of 1/10000; an amount
 * that does not fit is wide. The key follows, and then, aligned: the Decimal of a wide amount, the
 * token of a row that has one, and the KeptId of a refund whose id is a hash there. The row of a
 * stored customer has its StoredCustomer there.
 */
typedef struct OrderRow
{
	StoredRow	stored;			/* begins like a KeyedRow, whose padding it uses */
	uint32		hash;
	uint16		key_length;
	uint8		kind:4;
	uint8		wide:1;
	uint8		has_token:1;
	uint8		keeps_id:1;
	uint8		display_scale;
	int64		at;
	int64		units;
	char		key[FLEXIBLE_ARRAY_MEMBER];
} OrderRow;

/*
 * Holds the facts of retention.customer that orders determine. Compared as bytes, so without holes.
 */
typedef struct StoredFacts
{
	int64		orders;
	int64		first_at;
	int64		last_at;
	double		average_gap;
	double		gap_sd;
	int64		purchase_days;
	uint64		revenue_hash;
	uint64		repeat_hash;
} StoredFacts;

typedef struct StoredCustomer
{
	StoredFacts facts;
	double		revenue;
	int16		r;
	int16		f;
	int16		m;
	uint16		group_length;
	char		group[FLEXIBLE_ARRAY_MEMBER];
} StoredCustomer;

/* Tells how the orders of a customer differ from those that are stored. */
typedef enum FactChange
{
	FACTS_SAME,
	FACTS_DAYS,					/* the same orders on other local days: another time zone */
	FACTS_ORDER,				/* more, or later, or larger orders */
	FACTS_REFUND,				/* fewer or smaller ones */
	FACTS_EXPIRED				/* orders left the history window */
} FactChange;

/*
 * Describes a customer's summary, with the stored customer's scores; the key and the stored group
 * follow.
 */
typedef struct CustomerRow
{
	StoredRow	stored;
	SummaryFacts facts;
	uint8		change;
	bool		is_stored;
	int16		r;
	int16		f;
	int16		m;
	uint16		key_length;
	uint16		group_length;
	char		text[FLEXIBLE_ARRAY_MEMBER];
} CustomerRow;

/* Describes one dimension's rule: bounds that are given, or percentiles to find them by. */
typedef struct ScoreRule
{
	int			count;
	bool		by_percentile;
	double		fractions[MAX_SCORE_BOUNDS];
	PercentileBound bounds[MAX_SCORE_BOUNDS];
} ScoreRule;

typedef struct ScoreRules
{
	int32		as_of_day;
	ScoreRule	recency;
	ScoreRule	frequency;
	ScoreRule	monetary;
	text	  **groups;			/* by score, as cell_index has it */
	int64	   *group_sizes;
} ScoreRules;

typedef struct Scores
{
	int			r;
	int			f;
	int			m;
	text	   *group;
} Scores;

/* Describes a source as _collect is given it: a row of retention._collected_source. */
typedef struct CollectedSource
{
	const char *query;
	Oid			relation;		/* whose owner's rights the query is run with */
	bool		is_refund;
} CollectedSource;

/* Says how many attributes retention._score_rules has. */
#define RULE_ATTRIBUTES 6

/* Holds what _collect is asked for. */
typedef struct CollectionRequest
{
	int			source_count;
	CollectedSource *sources;
	const char *stored_query;	/* or NULL */
	int64		as_of;
	int64		history_start;
	const char *time_zone;
	NullableDatum rules[RULE_ATTRIBUTES];	/* a row of retention._score_rules */
} CollectionRequest;

/* Holds what was read, and what was left out and why. */
typedef struct CollectionReport
{
	int64		rows_read;
	int64		without_customer;
	int64		without_time;
	int64		without_amount;
	int64		after_as_of;
	int64		before_history;
	int64		refund_rows;
	int64		customers;
	int64		customers_without_orders;
	int64		orders;
	int64		next_order_at;	/* the first one after as_of, or PG_INT64_MAX */
	int64		first_order_at; /* the first one counted, or PG_INT64_MAX */
	int64		last_order_at;	/* of all customers, or PG_INT64_MIN */
	int64		most_orders;	/* of one customer */
	int64		unmatched_refunds;	/* rows whose order id no order of their customer has */
	char	   *unmatched_refund;	/* such an order id, or NULL */
} CollectionReport;

/*
 * Begins the calendar a month before 4713-01-01 BC: from then on an instant is a local date in
 * every time zone.
 */
#define EARLIEST_TIME ((INT64CONST(38) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)

/* Tells why a row, or a customer with all rows, is left out. */
typedef enum UnreadableReason
{
	READABLE,
	TIME_OUT_OF_RANGE,			/* infinite, or earlier than days can be counted in every zone */
	AMOUNT_NOT_FINITE,
	AMOUNT_TOO_LONG,			/* more than 38 digits */
	KEY_TOO_LONG,
	SUM_TOO_LONG				/* the customer's amounts add up to more than 38 digits */
} UnreadableReason;

/* Holds what was left out of a source for one reason, with the first row as an example. */
typedef struct Unreadable
{
	const char *relation;
	UnreadableReason reason;
	int64		rows;
	char	   *customer;
	char	   *order_id;		/* NULL where there is none */
	char	   *value;			/* likewise */
} Unreadable;

typedef struct Collection
{
	MemoryContext context;
	RowMemory	memory;
	int			partition_bits;
	RowStore   *orders;			/* OrderRows */
	RowStore   *customers;		/* CustomerRows, in one partition */
	RowStore   *values;			/* frequency and monetary values, a partition each */
	Zone	   *zone;
	int64		as_of;
	int64		history_start;
	int64		stored_customers;
	int64		lost_customers;	/* stored ones without an order any more, though time took none
								 * from them */
	ScoreRules	rules;
	CollectionReport report;
	List	   *unreadable;		/* of Unreadable */
	const char *relations;		/* the names of all sources */
} Collection;

/* collect.c */
extern Collection *pending_collection(void);
extern void forget_collection(void);

/* request.c */
extern Datum *read_array(Datum array, int *count, bool **nulls);
extern void read_request(FunctionCallInfo fcinfo, CollectionRequest *request);
extern void read_rules(const NullableDatum *attributes, ScoreRules *rules, MemoryContext context);

/* old_request.c */
extern void read_old_request(FunctionCallInfo fcinfo, CollectionRequest *request);

/* order_reader.c */
extern void read_source(Collection *collection, const char *query, Oid relation, bool refunds);
extern void read_stored_customers(Collection *collection, const char *query);

/* unreadable.c */
extern Unreadable *count_unreadable(Collection *collection, const char *relation,
									UnreadableReason reason, int64 rows);
extern char *clipped_text(const Collection *collection, const char *data, int length);
extern Datum unreadable_json(const Collection *collection);

/* customer_builder.c */
extern void build_customers(Collection *collection);
extern uint64 numeric_hash(Datum numeric);

/* score_rules.c */
extern void add_values(Collection *collection, const SummaryFacts *facts);
extern void set_bounds(Collection *collection);
extern Scores score_customer(const ScoreRules *rules, const SummaryFacts *facts);
extern int	cell_count(const ScoreRules *rules);
extern double monetary_value(const SummaryFacts *facts);

/* Returns what follows a row's key. */
static inline void *
order_row_extra(OrderRow *row)
{
	return row->key + TYPEALIGN(8, row->key_length);
}

/* Returns the token of a row that has one. */
static inline OrderToken *
order_row_token(OrderRow *row)
{
	return (OrderToken *) ((char *) order_row_extra(row) + (row->wide ? sizeof(Decimal) : 0));
}

/* Returns the id of a row that keeps it. */
static inline KeptId *
order_row_id(OrderRow *row)
{
	return (KeptId *) (order_row_token(row) + 1);
}

#endif
