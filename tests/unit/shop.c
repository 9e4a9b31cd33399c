/*
 * shop.c: src/math/shop: every order's limits, and the models' expectations by numerical
 * integration.
 */
#include "math/shop.h"

#include <math.h>
#include <string.h>

#include "check.h"

#define DAYS 730.5
#define CUSTOMERS 30000
#define STEPS 400

#define SHAPE 0.55
#define RATE 22.0
#define P 6.25
#define Q 6.0
#define V 30.0

static ShopParameters shop = {.purchase = {SHAPE, RATE, 2, 3}, .spend = {P, Q, V}};

/* What one customer did. */
typedef struct History
{
	int64_t		orders;
	double		cents;
	uint64_t	digest;
} History;

static History
history_of(uint64_t seed, int64_t number, double days)
{
	ShopCustomer customer;
	ShopOrder	order;
	History		history = {0};
	double		before = 0;

	memset(&customer, 0xff, sizeof(customer));
	shop_customer(&customer, &shop, seed, number, days);
	while (shop_next_order(&customer, days, &order))
	{
		uint64_t	bits;

		CHECK(order.day >= before && order.day < days && order.cents >= 1);
		before = order.day;
		history.orders++;
		history.cents += (double) order.cents;
		memcpy(&bits, &order.day, sizeof(bits));
		history.digest = history.digest * 31 + bits + (uint64_t) order.cents;
	}
	CHECK(history.orders >= 1);
	CHECK(!shop_next_order(&customer, days, &order));
	return history;
}

/* A customer depends on the seed and its own number only, not on those before it. */
static void
check_independence(void)
{
	uint64_t	digests[100];

	for (int i = 0; i < 100; i++)
		digests[i] = history_of(9, i + 1, DAYS).digest;
	for (int i = 99; i >= 0; i--)
	{
		CHECK(history_of(9, i + 1, DAYS).digest == digests[i]);
		CHECK(history_of(10, i + 1, DAYS).digest != digests[i]);
		CHECK(i == 0 || digests[i] != digests[i - 1]);
	}
}

/*
 * Repeat orders expected in t days from a customer with dropout p (Fader, Hardie, Lee 2005), over
 * all rates.
 */
static double
expected_given_dropout(double t, double p)
{
	return (1 - pow(RATE / (RATE + p * t), SHAPE)) / p;
}

/* Its mean over p ~ beta(2, 3), whose density is 12 p (1-p)^2, and t uniform on 0..DAYS. */
static double
expected_repeats(void)
{
	double		sum = 0;

	for (int i = 0; i < STEPS; i++)
	{
		double		p = (i + 0.5) / STEPS;

		for (int j = 0; j < STEPS; j++)
			sum += 12 * p * (1 - p) * (1 - p) * expected_given_dropout((j + 0.5) / STEPS * DAYS, p);
	}
	return sum / ((double) STEPS * STEPS);
}

/* The share of customers with one order: the mean of (alpha / (alpha + t))^r. */
static double
expected_once(void)
{
	double		one_less = 1 - SHAPE;

	return pow(RATE, SHAPE) *
		(pow(RATE + DAYS, one_less) - pow(RATE, one_less)) / (one_less * DAYS);
}

static void
check_mean(double sum, double squares, double expected)
{
	double		mean = sum / CUSTOMERS;
	double		error = sqrt((squares / CUSTOMERS - mean * mean) / CUSTOMERS);

	CHECK(error < 0.05 * expected);
	CHECK(fabs(mean - expected) < 5 * error);
}

/*
 * Customers' mean order values have mean 100 p v / (q - 1) cents whatever their number of orders.
 */
static void
check_expectations(void)
{
	double		once = 0;
	double		repeats = 0;
	double		repeats_squared = 0;
	double		values = 0;
	double		values_squared = 0;

	for (int64_t number = 1; number <= CUSTOMERS; number++)
	{
		History		history = history_of(1, number, DAYS);
		double		repeat = (double) history.orders - 1;
		double		value = history.cents / (double) history.orders;

		once += repeat == 0;
		repeats += repeat;
		repeats_squared += repeat * repeat;
		values += value;
		values_squared += value * value;
	}
	check_mean(once, once, expected_once());
	check_mean(repeats, repeats_squared, expected_repeats());
	check_mean(values, values_squared, 100 * P * V / (Q - 1));
}

/* The least and the largest amounts there are: a cent, and 10^15 of them. */
static void
check_amounts(double v, int64_t expected)
{
	ShopParameters extreme = shop;

	extreme.spend[2] = v;
	for (int64_t number = 1; number <= 100; number++)
	{
		ShopCustomer customer;
		ShopOrder	order;

		shop_customer(&customer, &extreme, 1, number, DAYS);
		while (shop_next_order(&customer, DAYS, &order))
			CHECK(order.cents == expected);
	}
}

int
main(void)
{
	shop.model = model_find("bgnbd", 5);
	check_independence();
	check_expectations();
	check_amounts(1e-9, 1);
	check_amounts(1e300, INT64_C(1000000000000000));
	for (int64_t number = 1; number <= 1000; number++)
	{
		history_of(2, number, 1e-6);
		history_of(3, number, 36525);
	}
	return 0;
}
