/* predictions.c: what a model of purchases or of spend says of a customer. */
#include "pg_compat.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "math_host.h"
#include "values/model_value.h"
#include "toolkit/predictions.h"

/* Says that a rate of discount is given for a year of so many days. */
#define DISCOUNT_YEAR 365

/* Sets the most orders that order_distribution lists. */
#define MOST_ORDERS 10000

static void
reject(const char *message, const char *detail, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", message),
					errdetail("%s", detail), errhint("%s", hint)));
}

/* Rejects histories that cannot be, in any unit of time. */
void
check_history(const PurchaseHistory *history)
{
	double		x = history->x;
	double		t_x = history->t_x;
	double		t = history->t;
	const char *meaning = "x counts repeat purchases, t_x is the time from the first purchase to "
						  "the last, t from the first until now.";

	if (likely(x >= 0 && x <= MOST_PURCHASES && x == floor(x) && t_x >= 0 && t >= t_x &&
			   t <= MOST_TIME && (x > 0 || t_x == 0)))
		return;
	if (!(x >= 0 && x <= MOST_PURCHASES) || x != floor(x))
		reject(psprintf("x must be a whole number of repeat purchases, at most %.15g, not %.15g",
						MOST_PURCHASES, x), meaning,
			   "A customer of one purchase has x = 0.");
	if (!(t_x >= 0) || isinf(t_x))
		reject(psprintf("t_x must be finite and not negative, not %g", t_x), meaning,
			   "It is 0 for a customer of one purchase.");
	if (!(t >= t_x && t <= MOST_TIME))
		reject(psprintf("t must be at least t_x = %g and at most %g, not %g", t_x, MOST_TIME, t),
			   meaning,
			   "Purchases after the time of the prediction do not count.");
	reject(psprintf("t_x must be 0 where x is 0, not %g", t_x), meaning,
		   "Without a repeat purchase the last one is the first.");
}

/* Reads x, t_x and t, from the argument `first` on. */
static PurchaseHistory
read_history(FunctionCallInfo fcinfo, int first)
{
	PurchaseHistory history = {PG_GETARG_FLOAT8(first), PG_GETARG_FLOAT8(first + 1),
							   PG_GETARG_FLOAT8(first + 2)};

	check_history(&history);
	return history;
}

static double
read_horizon(FunctionCallInfo fcinfo, int number, bool may_be_infinite)
{
	double		horizon = PG_GETARG_FLOAT8(number);

	if (!(horizon >= 0 && (horizon <= MOST_TIME || (isinf(horizon) && may_be_infinite))))
		reject(psprintf("horizon must be from 0 to %g%s, not %g", MOST_TIME,
						may_be_infinite ? " or infinite" : "", horizon),
			   "It is how long from now on to look ahead, in the model's unit of time.",
			   "A year is 365.");
	return horizon;
}

/* Reads the model and history of a function (model, x, t_x, t, ...). */
#define READ_CUSTOMER(value, history) \
	const ModelValue *value = model_argument(fcinfo, 0, MODEL_OF_PURCHASES); \
	PurchaseHistory history = read_history(fcinfo, 1)

PG_FUNCTION_INFO_V1(retention_p_alive);

/* p_alive(model, x, t_x, t) -> float8: the probability that the customer has not left for good. */
Datum
retention_p_alive(PG_FUNCTION_ARGS)
{
	READ_CUSTOMER(value, history);

	PG_RETURN_FLOAT8(model_p_alive(value->model, value->parameters, &history));
}

PG_FUNCTION_INFO_V1(retention_log_likelihood);

/* log_likelihood(model, x, t_x, t) -> float8: of one customer, without the term x!. */
Datum
retention_log_likelihood(PG_FUNCTION_ARGS)
{
	READ_CUSTOMER(value, history);

	PG_RETURN_FLOAT8(value->model->log_likelihood(value->model, value->parameters, &history));
}

PG_FUNCTION_INFO_V1(retention_expected_orders);

/* expected_orders(model, x, t_x, t, horizon) -> float8: expected purchases within the horizon. */
Datum
retention_expected_orders(PG_FUNCTION_ARGS)
{
	READ_CUSTOMER(value, history);

	PG_RETURN_FLOAT8(model_expected_orders(value->model, value->parameters, &history,
										   read_horizon(fcinfo, 4, false)));
}

PG_FUNCTION_INFO_V1(retention_order_probability);

/*
 * order_probability(model, x, t_x, t, horizon) -> float8: of a purchase or more within the horizon.
 */
Datum
retention_order_probability(PG_FUNCTION_ARGS)
{
	READ_CUSTOMER(value, history);

	PG_RETURN_FLOAT8(model_order_probability(value->model, value->parameters, &history,
											 read_horizon(fcinfo, 4, false)));
}

PG_FUNCTION_INFO_V1(retention_order_distribution);

/*
 * order_distribution(model, x, t_x, t, horizon, most int) -> float8[]: the probabilities of 0, 1,
 * ..., most purchases.
 */
Datum
retention_order_distribution(PG_FUNCTION_ARGS)
{
	READ_CUSTOMER(value, history);
	double		horizon = read_horizon(fcinfo, 4, false);
	int			most = PG_GETARG_INT32(5);
	double	   *probabilities;
	Datum	   *elements;

	if (most < 0 || most > MOST_ORDERS)
		reject(psprintf("most must be from 0 to %d, not %d", MOST_ORDERS, most),
			   "It is the largest number of purchases whose probability is wanted.",
			   "20 will do for most customers.");
	probabilities = palloc((most + 1) * sizeof(double));
	elements = palloc((most + 1) * sizeof(Datum));
	model_order_distribution(value->model, value->parameters, &history, horizon, most,
							 &INTERRUPTIBLE, probabilities);
	for (int k = 0; k <= most; k++)
		elements[k] = Float8GetDatum(probabilities[k]);
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, most + 1, FLOAT8OID, sizeof(float8),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Tells whether the text is this word. */
static bool
is_word(const text *value, const char *word)
{
	return VARSIZE_ANY_EXHDR(value) == strlen(word) &&
		   memcmp(VARDATA_ANY(value), word, strlen(word)) == 0;
}

PG_FUNCTION_INFO_V1(retention_next_order_days);

/*
 * next_order_days(model, x, t_x, t, quantile, from) -> float8: the time until the next purchase of
 * a customer who stays, from now, or from the last purchase on as it looked then.
 */
Datum
retention_next_order_days(PG_FUNCTION_ARGS)
{
	READ_CUSTOMER(value, history);
	double		quantile = PG_GETARG_FLOAT8(4);
	text	   *from = PG_GETARG_TEXT_PP(5);

	if (!(quantile >= 0 && quantile < 1))
		reject(psprintf("quantile must be at least 0 and below 1, not %g", quantile),
			   "It is the probability that the next purchase has come by then.",
			   "0.5 is the median.");
	if (is_word(from, "last order"))
		history.t = history.t_x;
	else if (!is_word(from, "now"))
		reject(psprintf("from must be 'now' or 'last order', not '%s'", text_to_cstring(from)),
			   "The time to the next purchase is counted from there on.",
			   "From the last order it is a date that does not move as time goes by.");
	PG_RETURN_FLOAT8(model_next_order(value->parameters, &history, quantile));
}

/* Computes the purchases within a horizon, each worth e^(-rate t). */
static double
discounted_orders(const ModelValue *value, const PurchaseHistory *history, double horizon,
				  double rate)
{
	double		result;

	if (!(rate >= 0) || isinf(rate))
		reject(psprintf("rate of discount must be finite and not negative, not %g", rate),
			   "A purchase at time t counts e^(-rate t).",
			   "A tenth a year is ln(1.1) / 365 a day.");
	if (model_discounted_orders(value->model, value->parameters, history, horizon, rate,
								&INTERRUPTIBLE, &result) != MATH_OK)
		reject(psprintf("an infinite horizon needs more of a discount than a rate of %g", rate),
			   "Without one, the expected number of purchases may be infinite.",
			   "Give a finite horizon, or a larger rate.");
	return result;
}

PG_FUNCTION_INFO_V1(retention_discounted_orders);

/*
 * discounted_orders(model, x, t_x, t, horizon, rate) -> float8: expected purchases, each worth
 * e^(-rate t).
 */
Datum
retention_discounted_orders(PG_FUNCTION_ARGS)
{
	READ_CUSTOMER(value, history);

	PG_RETURN_FLOAT8(discounted_orders(value, &history, read_horizon(fcinfo, 4, true),
									   PG_GETARG_FLOAT8(5)));
}

/* Computes the mean value of a customer's future purchases after x of mean value m. */
static double
expected_spend(const ModelValue *value, double x, double m)
{
	double		result;

	if (!(x >= 0 && x <= MOST_PURCHASES) || x != floor(x))
		reject(psprintf("x must be a whole number of purchases, at most %.15g, not %.15g",
						MOST_PURCHASES, x),
			   "It is how many purchases m is the mean of.",
			   "A customer without any has x = 0, and no m.");
	if (x > 0 && !(m > 0 && m <= MOST_MONEY))
		reject(psprintf("m must be above zero and at most %g, not %g", MOST_MONEY, m),
			   "It is the mean value of the x purchases.",
			   "A customer without any has x = 0, and no m.");
	if (value->model->expected_spend(value->parameters, x, m, &result) != MATH_OK)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("the expected spend of this customer is infinite"),
						errdetail("The Gamma-Gamma model has a mean only where p x + q is above 1; "
								  "here q is %g.",
								  value->parameters[1]),
						errhint("So heavy a tail means that a few values are extremely large, or "
								"that there are too few customers to fit.")));
	return result;
}

/*
 * Computes the value of the purchases within the horizon, times in days, discounted by a rate a
 * year; m is not looked at where x is 0.
 */
double
customer_value(const ModelValue *purchase, const ModelValue *spend, const PurchaseHistory *history,
			   double m, double horizon, double discount)
{
	if (!(discount >= 0) || isinf(discount))
		reject(psprintf("discount must be finite and not negative, not %g", discount),
			   "Money a year from now is worth 1 / (1 + discount) of money now.",
			   "0.1 is ten per cent a year.");
	return discounted_orders(purchase, history, horizon, log1p(discount) / DISCOUNT_YEAR) *
		expected_spend(spend, history->x, m);
}

PG_FUNCTION_INFO_V1(retention_expected_spend);

/*
 * expected_spend(model, x, m) -> float8: the mean value of the customer's future purchases; m may
 * be null where x is 0.
 */
Datum
retention_expected_spend(PG_FUNCTION_ARGS)
{
	double		x;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	x = PG_GETARG_FLOAT8(1);
	if (PG_ARGISNULL(2) && x != 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(expected_spend(model_argument(fcinfo, 0, MODEL_OF_SPEND), x,
									PG_ARGISNULL(2) ? 0 : PG_GETARG_FLOAT8(2)));
}

PG_FUNCTION_INFO_V1(retention_clv);

/*
 * clv(purchase model, spend model, x, t_x, t, m, horizon, discount) -> float8: the value of the
 * purchases within the horizon, times in days, discounted by a rate a year. m may be null where x
 * is 0.
 */
Datum
retention_clv(PG_FUNCTION_ARGS)
{
	enum
	{
		PURCHASE, SPEND, X, T_X, T, M, HORIZON, DISCOUNT
	};
	const ModelValue *purchase;
	PurchaseHistory history;
	double		horizon;

	for (int i = PURCHASE; i <= DISCOUNT; i++)
	{
		if (PG_ARGISNULL(i) && (i != M || PG_GETARG_FLOAT8(X) != 0))
			PG_RETURN_NULL();
	}
	purchase = model_argument(fcinfo, PURCHASE, MODEL_OF_PURCHASES);
	history = read_history(fcinfo, X);
	horizon = read_horizon(fcinfo, HORIZON, true);
	PG_RETURN_FLOAT8(customer_value(purchase, model_argument(fcinfo, SPEND, MODEL_OF_SPEND),
									&history, PG_ARGISNULL(M) ? 0 : PG_GETARG_FLOAT8(M), horizon,
									PG_GETARG_FLOAT8(DISCOUNT)));
}
