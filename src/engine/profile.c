/*
 * profile.c: the profile's predicted columns from the columns of retention.customer.
 *
 * They say what the toolkit's functions of the same names say. Taking the
 * stored facts themselves spares each column a dozen steps of the executor to
 * make x, t_x and t.
 */
#include "pg_compat.h"

#include <math.h>

#include "fmgr.h"

#include "values/amount.h"
#include "toolkit/clock.h"
#include "toolkit/predictions.h"
#include "values/zone_table.h"

/*
 * Stands for never: a hundred years of days are as good, and lead to a date that every tool can
 * show.
 */
#define NEVER 36525.0

/* Names the arguments that all of them begin with. */
enum
{
	PURCHASE,
	PURCHASE_DAYS,
	AVERAGE_DAYS,
	FIRST_ORDER_AT,
	TIME_ZONE,
	FURTHER
};

/* Computes today in a zone, which is asked for again and again. */
static int32
today_in(Zone *zone)
{
	static Zone *last_zone = NULL;
	static TimestampTz last_now;
	static int32 last_day;
	TimestampTz now = clock_now();

	if (zone != last_zone || now != last_now)
	{
		last_day = zone_day(zone, now);
		last_zone = zone;
		last_now = now;
	}
	return last_day;
}

/* Reads x and t_x as the refresh found them: they have to agree, whatever the time zone is now. */
static void
read_rhythm(FunctionCallInfo fcinfo, PurchaseHistory *history)
{
	history->x = PG_GETARG_INT32(PURCHASE_DAYS) - 1;
	history->t_x =
		PG_ARGISNULL(AVERAGE_DAYS) ? 0 : rint(PG_GETARG_FLOAT8(AVERAGE_DAYS) * history->x);
}

/*
 * Reads the customer's history until today, in calendar days of the zone; not before the last
 * order.
 */
static PurchaseHistory
read_facts(FunctionCallInfo fcinfo)
{
	Zone	   *zone = zone_named(PG_GETARG_TEXT_PP(TIME_ZONE));
	PurchaseHistory history;

	read_rhythm(fcinfo, &history);
	history.t =
		fmax(today_in(zone) - zone_day(zone, PG_GETARG_TIMESTAMPTZ(FIRST_ORDER_AT)), history.t_x);
	return history;
}

/*
 * Tells whether one of the first `count` arguments is null that must not be. Without a model there
 * is no prediction.
 */
static bool
has_null(FunctionCallInfo fcinfo, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (PG_ARGISNULL(i) && i != AVERAGE_DAYS)
			return true;
	}
	return false;
}

PG_FUNCTION_INFO_V1(retention_profile_p_alive);

/* _p_alive(purchase, purchase_days, average_days, first_order_at, time_zone) -> float8 */
Datum
retention_profile_p_alive(PG_FUNCTION_ARGS)
{
	const ModelValue *value;
	PurchaseHistory history;

	if (has_null(fcinfo, FURTHER))
		PG_RETURN_NULL();
	value = model_argument(fcinfo, PURCHASE, MODEL_OF_PURCHASES);
	history = read_facts(fcinfo);
	PG_RETURN_FLOAT8(model_p_alive(value->model, value->parameters, &history));
}

/* Computes a prediction over the days that follow the common arguments. */
static Datum
predict(FunctionCallInfo fcinfo,
		double (*prediction)(const Model *, const double *, const PurchaseHistory *, double))
{
	const ModelValue *value;
	PurchaseHistory history;

	if (has_null(fcinfo, FURTHER + 1))
		PG_RETURN_NULL();
	value = model_argument(fcinfo, PURCHASE, MODEL_OF_PURCHASES);
	history = read_facts(fcinfo);
	PG_RETURN_FLOAT8(prediction(value->model, value->parameters, &history,
								PG_GETARG_INT32(FURTHER)));
}

PG_FUNCTION_INFO_V1(retention_profile_expected_orders);

/*
 * _expected_orders(purchase, purchase_days, average_days, first_order_at, time_zone, days
 * int) -> float8
 */
Datum
retention_profile_expected_orders(PG_FUNCTION_ARGS)
{
	return predict(fcinfo, model_expected_orders);
}

PG_FUNCTION_INFO_V1(retention_profile_order_probability);

/*
 * _order_probability(purchase, purchase_days, average_days, first_order_at, time_zone, days
 * int) -> float8
 */
Datum
retention_profile_order_probability(PG_FUNCTION_ARGS)
{
	return predict(fcinfo, model_order_probability);
}

PG_FUNCTION_INFO_V1(retention_profile_clv);

/*
 * _clv(purchase, purchase_days, average_days, first_order_at, time_zone, days int, spend, discount,
 * repeat_value) -> float8; repeat_value is null for a customer without repeat orders.
 */
Datum
retention_profile_clv(PG_FUNCTION_ARGS)
{
	enum
	{
		DAYS = FURTHER, SPEND, DISCOUNT, REPEAT_VALUE
	};
	const ModelValue *purchase;
	const ModelValue *spend;
	PurchaseHistory history;
	double		m;

	if (has_null(fcinfo, REPEAT_VALUE))
		PG_RETURN_NULL();
	purchase = model_argument(fcinfo, PURCHASE, MODEL_OF_PURCHASES);
	spend = model_argument(fcinfo, SPEND, MODEL_OF_SPEND);
	history = read_facts(fcinfo);
	m = PG_ARGISNULL(REPEAT_VALUE) ? 0 : amount_near_double(PG_GETARG_DATUM(REPEAT_VALUE));
	PG_RETURN_FLOAT8(customer_value(purchase, spend, &history, m,
									PG_GETARG_INT32(DAYS), PG_GETARG_FLOAT8(DISCOUNT)));
}

PG_FUNCTION_INFO_V1(retention_profile_next_order_days);

/*
 * _next_order_days(purchase, purchase_days, average_days, quantile) -> int: whole days from the
 * last order to the next one of a customer who stays, at most a hundred years.
 */
Datum
retention_profile_next_order_days(PG_FUNCTION_ARGS)
{
	enum
	{
		QUANTILE = AVERAGE_DAYS + 1
	};
	const ModelValue *value;
	PurchaseHistory history;

	if (has_null(fcinfo, QUANTILE + 1))
		PG_RETURN_NULL();
	value = model_argument(fcinfo, PURCHASE, MODEL_OF_PURCHASES);
	read_rhythm(fcinfo, &history);
	history.t = history.t_x;
	PG_RETURN_INT32((int32) ceil(fmin(model_next_order(value->parameters, &history,
													   PG_GETARG_FLOAT8(QUANTILE)),
									  NEVER)));
}
