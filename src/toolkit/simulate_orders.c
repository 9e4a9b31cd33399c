/* simulate_orders.c: the set-returning function simulate_orders, over src/math/shop. */
#include "pg_compat.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "values/amount.h"
#include "math/shop.h"
#include "values/model_value.h"

enum
{
	ARGUMENT_CUSTOMERS,
	ARGUMENT_FROM,
	ARGUMENT_TO,
	ARGUMENT_SEED,
	ARGUMENT_PARAMETERS,		/* r, alpha, a, b, p, q, v */
	ARGUMENT_PURCHASE = ARGUMENT_PARAMETERS,	/* or two models */
	ARGUMENT_SPEND
};

enum
{
	COLUMN_CUSTOMER_ID,
	COLUMN_ORDER_ID,
	COLUMN_ORDERED_AT,
	COLUMN_AMOUNT,
	ORDER_COLUMNS
};

/* Limits the customers of one shop, and orders of one customer. */
#define MOST_CUSTOMERS INT64CONST(1000000000)
#define MOST_ORDERS ((int64) MOST_PURCHASES)

/* Holds the columns, and the state, of the rows that go out. */
typedef struct OrderWriter
{
	ReturnSetInfo *result;
	TimestampTz from;
	int64		next_order_id;
	MemoryContext row_context;
} OrderWriter;

/* Reads the parameters of the model of this name, from the argument `first` on. */
static const Model *
read_parameters(FunctionCallInfo fcinfo, int first, const char *name, double *parameters)
{
	const Model *model = model_find(name, strlen(name));

	for (int i = 0; i < model->parameter_count; i++)
	{
		double		most = model_most(model, i);

		parameters[i] = PG_GETARG_FLOAT8(first + i);
		if (!(parameters[i] >= LEAST_PARAMETER && parameters[i] <= most))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter %s must be from %g to %g, not %g",
							model->parameter_names[i], LEAST_PARAMETER, most, parameters[i]),
					 errhint("Times are in days; r / alpha is how often a customer buys a day.")));
	}
	return model;
}

static void
read_models(FunctionCallInfo fcinfo, ShopParameters *shop)
{
	const ModelValue *purchase = model_argument(fcinfo, ARGUMENT_PURCHASE, MODEL_OF_PURCHASES);
	const ModelValue *spend;

	shop->model = purchase->model;
	memcpy(shop->purchase, purchase->parameters, sizeof(shop->purchase));
	spend = model_argument(fcinfo, ARGUMENT_SPEND, MODEL_OF_SPEND);
	memcpy(shop->spend, spend->parameters, sizeof(shop->spend));
}

static void
check_range(int64 customers, TimestampTz from, TimestampTz to)
{
	if (customers < 0 || customers > MOST_CUSTOMERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("customers must be from 0 to " INT64_FORMAT ", not " INT64_FORMAT,
						MOST_CUSTOMERS, customers)));
	if (TIMESTAMP_NOT_FINITE(from) || TIMESTAMP_NOT_FINITE(to) || from >= to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the simulation must end after it starts"),
				 errdetail("It goes from %s to %s.", pstrdup(timestamptz_to_str(from)),
						   pstrdup(timestamptz_to_str(to)))));
}

static void
write_order(OrderWriter *writer, int64 customer, const ShopOrder *order)
{
	MemoryContext previous = MemoryContextSwitchTo(writer->row_context);
	Decimal		amount = {(int128_type) order->cents * 100, DECIMAL_BASE_DIGITS, 2};
	Datum		values[ORDER_COLUMNS];
	bool		nulls[ORDER_COLUMNS] = {false};

	values[COLUMN_CUSTOMER_ID] = Int64GetDatum(customer);
	values[COLUMN_ORDER_ID] = Int64GetDatum(writer->next_order_id++);
	values[COLUMN_ORDERED_AT] =
		TimestampTzGetDatum(writer->from + (int64) (order->day * SECS_PER_DAY) * USECS_PER_SEC);
	values[COLUMN_AMOUNT] = amount_numeric(&amount);
	tuplestore_putvalues(writer->result->setResult, writer->result->setDesc, values, nulls);
	MemoryContextSwitchTo(previous);
	MemoryContextReset(writer->row_context);
}

/* Writes one customer's orders; more than a model accepts of anybody are an error (54000). */
static void
write_customer(OrderWriter *writer, const ShopParameters *shop, uint64 seed, int64 number,
			   double days)
{
	ShopCustomer customer;
	ShopOrder	order;

	shop_customer(&customer, shop, seed, number, days);
	for (int64 orders = 0; shop_next_order(&customer, days, &order); orders++)
	{
		CHECK_FOR_INTERRUPTS();
		if (orders == MOST_ORDERS)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
							errmsg("customer " INT64_FORMAT " would have more than " INT64_FORMAT
								   " orders",
								   number, MOST_ORDERS),
							errdetail("This one buys %g times a day.", customer.drawn.rate),
							errhint("The mean of customers is r / alpha a day.")));
		write_order(writer, number, &order);
	}
}

/* Writes the orders of a shop into the set-returning function's result. */
static void
write_orders(FunctionCallInfo fcinfo, const ShopParameters *shop)
{
	int64		customers = PG_GETARG_INT64(ARGUMENT_CUSTOMERS);
	TimestampTz from = PG_GETARG_TIMESTAMPTZ(ARGUMENT_FROM);
	TimestampTz to = PG_GETARG_TIMESTAMPTZ(ARGUMENT_TO);
	uint64		seed = (uint64) PG_GETARG_INT64(ARGUMENT_SEED);
	double		days = ((double) to - (double) from) / USECS_PER_DAY;
	OrderWriter writer;

	check_range(customers, from, to);
	InitMaterializedSRF(fcinfo, 0);
	writer.result = (ReturnSetInfo *) fcinfo->resultinfo;
	writer.from = from;
	writer.next_order_id = 1;
	writer.row_context =
		AllocSetContextCreate(CurrentMemoryContext, "simulated order", ALLOCSET_SMALL_SIZES);
	for (int64 number = 1; number <= customers; number++)
		write_customer(&writer, shop, seed, number, days);
}

PG_FUNCTION_INFO_V1(retention_simulate_orders);

/*
 * simulate_orders(customers, from, to, seed, r, alpha, a, b, p, q, v) ->
 * (customer_id, order_id, ordered_at, amount): orders by customer and time, to
 * the second and the cent. The same arguments give the same rows everywhere.
 */
Datum
retention_simulate_orders(PG_FUNCTION_ARGS)
{
	ShopParameters shop;

	shop.model = read_parameters(fcinfo, ARGUMENT_PARAMETERS, "bgnbd", shop.purchase);
	read_parameters(fcinfo, ARGUMENT_PARAMETERS + shop.model->parameter_count, "gammagamma",
					shop.spend);
	write_orders(fcinfo, &shop);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(retention_simulate_orders_of_models);

/*
 * simulate_orders(customers, from, to, seed, purchase model, spend model): the same, by any models.
 */
Datum
retention_simulate_orders_of_models(PG_FUNCTION_ARGS)
{
	ShopParameters shop;

	read_models(fcinfo, &shop);
	write_orders(fcinfo, &shop);
	return (Datum) 0;
}
