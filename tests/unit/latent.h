/*
 * latent.h: the purchase models by their definitions, for src/math's models.
 *
 * Nothing here is a formula of the papers. A customer whose rate and dropout
 * are known is spelt out; many such customers, weighted by the densities of
 * the model, give what the model says. The sum is a trapezoid rule in the
 * logarithm of a rate and the logit of a probability, which converges
 * exponentially for such functions.
 */
#ifndef RETENTION_LATENT_H
#define RETENTION_LATENT_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "math/model.h"

#include "check.h"

/* Weights below exp(-CUT) of the largest do not count. */
#define CUT 36.0L

/*
 * A customer whose rate and dropout are known: dropout is a probability after a purchase, or a
 * rate.
 */
typedef struct Customer
{
	long double rate;
	long double log_rate;
	long double dropout;
	long double log_dropout;
	long double log_stay;		/* of 1 - dropout where it is a probability */
	long double weight;			/* given the history, and that the customer is alive */
} Customer;

/*
 * The weights of customers who did what the history says and are alive, or gone; and when they buy
 * if alive.
 */
typedef struct Definition
{
	const char *name;
	bool		at_random;		/* customers leave at any time, not after a purchase */
	long double (*log_alive) (const Customer *customer, const PurchaseHistory *history);
	long double (*log_gone) (const Customer *customer, const PurchaseHistory *history);
} Definition;

/* What a history tells: the customers who may be alive, and the likelihood. */
typedef struct Posterior
{
	const Definition *definition;
	long double log_likelihood;
	long double p_alive;
	long double total;			/* of the weights */
	int64_t		count;
	Customer   *customers;
} Posterior;

/*
 * One latent quantity's values with the logarithms of their prior densities, which are not
 * normalised.
 */
typedef struct Axis
{
	int			count;
	long double log_total;
	struct Point
	{
		long double value;
		long double log_value;
		long double log_rest;
		long double log_prior;
	}		   *points;
} Axis;

/* BG/NBD: after the first purchase nobody leaves, so x purchases were x chances to leave. */
static inline long double
bgnbd_log_alive(const Customer *customer, const PurchaseHistory *history)
{
	return history->x * (customer->log_rate + customer->log_stay) - customer->rate * history->t;
}

static inline long double
bgnbd_log_gone(const Customer *customer, const PurchaseHistory *history)
{
	if (history->x == 0)
		return -INFINITY;
	return history->x * customer->log_rate + customer->log_dropout +
		(history->x - 1) * customer->log_stay - customer->rate * history->t_x;
}

/* MBG/NBD: one chance more, at the first purchase. */
static inline long double
mbgnbd_log_alive(const Customer *customer, const PurchaseHistory *history)
{
	return bgnbd_log_alive(customer, history) + customer->log_stay;
}

static inline long double
mbgnbd_log_gone(const Customer *customer, const PurchaseHistory *history)
{
	return history->x * (customer->log_rate + customer->log_stay) + customer->log_dropout -
		customer->rate * history->t_x;
}

/* Pareto/NBD: customers leave at a rate, whether they buy or not. */
static inline long double
paretonbd_log_alive(const Customer *customer, const PurchaseHistory *history)
{
	return history->x * customer->log_rate - (customer->rate + customer->dropout) * history->t;
}

/* The customer left between t_x and t, and did not buy before that. */
static inline long double
paretonbd_log_gone(const Customer *customer, const PurchaseHistory *history)
{
	long double both = customer->rate + customer->dropout;

	return history->x * customer->log_rate + customer->log_dropout - logl(both) -
		   both * history->t_x + logl(-expm1l(-both * ((long double) history->t - history->t_x)));
}

static const Definition definitions[] = {
	{"bgnbd", false, bgnbd_log_alive, bgnbd_log_gone},
	{"mbgnbd", false, mbgnbd_log_alive, mbgnbd_log_gone},
	{"paretonbd", true, paretonbd_log_alive, paretonbd_log_gone}
};

static inline void
axis_open(Axis *axis, long double low, long double high, long double step)
{
	axis->count = (int) ((high - low) / step) + 2;
	axis->points = malloc(axis->count * sizeof(struct Point));
	CHECK(axis->points != NULL);
	for (int i = 0; i < axis->count; i++)
		axis->points[i].log_value = low + i * step;
}

/* The sum of the densities, by which they are divided in the end. */
static inline void
axis_close(Axis *axis)
{
	long double most = -INFINITY;
	long double total = 0;

	for (int i = 0; i < axis->count; i++)
		most = fmaxl(most, axis->points[i].log_prior);
	for (int i = 0; i < axis->count; i++)
		total += expl(axis->points[i].log_prior - most);
	axis->log_total = most + logl(total);
}

/* A gamma density, wide enough for a customer with so many events in so long a time too. */
static inline void
axis_of_rate(Axis *axis, double shape, double rate, double events, double time)
{
	long double peak = (long double) shape + events;
	long double low = -logl((long double) rate + time) - CUT / shape;
	long double high = logl((peak + 10 * sqrtl(peak) + 60) / rate);

	axis_open(axis, low, high, fminl(0.15L, 0.65L / sqrtl(peak)));
	for (int i = 0; i < axis->count; i++)
	{
		struct Point *point = &axis->points[i];

		point->value = expl(point->log_value);
		point->log_rest = 0;
		point->log_prior = shape * point->log_value - rate * point->value;
	}
	axis_close(axis);
}

/* A beta density, wide enough for a customer who did not leave at so many chances too. */
static inline void
axis_of_probability(Axis *axis, double a, double b, double chances)
{
	long double low = -logl(b + chances + 2) - CUT / a;
	long double high = logl(a + 2) + CUT / b;

	axis_open(axis, low, high, fminl(0.2L, 0.65L / sqrtl(a + 1)));
	for (int i = 0; i < axis->count; i++)
	{
		struct Point *point = &axis->points[i];
		long double logit = point->log_value;

		point->log_value = -log1pl(expl(-logit));
		point->log_rest = -log1pl(expl(logit));
		point->value = expl(point->log_value);
		point->log_prior = a * point->log_value + b * point->log_rest;
	}
	axis_close(axis);
}

static inline Customer
customer_at(const struct Point *rate, const struct Point *dropout)
{
	return (Customer) {rate->value,		   rate->log_value,	  dropout->value,
					   dropout->log_value, dropout->log_rest, 0};
}

/* The largest logarithm of a weight, alive or gone: what the sums are relative to. */
static inline long double
largest_log_weight(const Axis *rates, const Axis *dropouts, const PurchaseHistory *history,
				   long double (*log_weight) (const Customer *, const PurchaseHistory *))
{
	long double most = -INFINITY;

	for (int i = 0; i < rates->count; i++)
	{
		for (int j = 0; j < dropouts->count; j++)
		{
			Customer	customer = customer_at(&rates->points[i], &dropouts->points[j]);

			most = fmaxl(most, rates->points[i].log_prior + dropouts->points[j].log_prior +
								   log_weight(&customer, history));
		}
	}
	return most;
}

/* The logarithm of the sum of weights; those customers that count go to keep if there is one. */
static inline long double
log_sum(const Axis *rates, const Axis *dropouts, const PurchaseHistory *history,
		long double (*log_weight) (const Customer *, const PurchaseHistory *), Posterior *keep)
{
	long double most = largest_log_weight(rates, dropouts, history, log_weight);
	long double total = 0;

	for (int i = 0; i < rates->count && most > -INFINITY; i++)
	{
		for (int j = 0; j < dropouts->count; j++)
		{
			Customer	customer = customer_at(&rates->points[i], &dropouts->points[j]);
			long double log_prior = rates->points[i].log_prior + dropouts->points[j].log_prior;
			long double below = log_prior + log_weight(&customer, history) - most;

			if (below < -CUT)
				continue;
			customer.weight = expl(below);
			total += customer.weight;
			if (keep != NULL)
				keep->customers[keep->count++] = customer;
		}
	}
	if (keep != NULL)
		keep->total = total;
	return most + logl(total) - rates->log_total - dropouts->log_total;
}

/* Everything that a history tells about a customer. */
static inline void
posterior_open(Posterior *posterior, const Definition *definition, const double *parameters,
			   const PurchaseHistory *history)
{
	Axis		rates;
	Axis		dropouts;
	long double log_alive;
	long double log_gone;

	axis_of_rate(&rates, parameters[0], parameters[1], history->x, history->t);
	if (definition->at_random)
		axis_of_rate(&dropouts, parameters[2], parameters[3], 1, history->t);
	else
		axis_of_probability(&dropouts, parameters[2], parameters[3], history->x);
	*posterior = (Posterior) {.definition = definition};
	posterior->customers = malloc((size_t) rates.count * dropouts.count * sizeof(Customer));
	CHECK(posterior->customers != NULL);
	log_alive = log_sum(&rates, &dropouts, history, definition->log_alive, posterior);
	log_gone = log_sum(&rates, &dropouts, history, definition->log_gone, NULL);
	posterior->p_alive = 1 / (1 + expl(log_gone - log_alive));
	posterior->log_likelihood = log_alive - logl(posterior->p_alive);
	free(rates.points);
	free(dropouts.points);
}

static inline void
posterior_close(Posterior *posterior)
{
	free(posterior->customers);
}

/* The probability of at least k events where so many are expected. */
static inline long double
at_least(int k, long double expected)
{
	long double term = expl(-expected);
	long double below = 0;
	long double above = 0;
	int			i = 0;

	for (; i < k; i++, term *= expected / i)
		below += term;
	if (expected > k)
		return 1 - below;
	for (; term > above * 1e-21L && i < k + 1000; i++, term *= expected / i)
		above += term;
	return above;
}

static inline long double
exactly(int k, long double expected)
{
	return k == 0 ? expl(-expected) : expl(k * logl(expected) - expected - lgammal(k + 1.0L));
}

/*
 * Purchases within the horizon, each worth exp(-discount time), from a customer who is alive now.
 */
static inline long double
customer_orders(const Customer *customer, bool at_random, double horizon, double discount)
{
	long double hazard =
		(at_random ? customer->dropout : customer->rate * customer->dropout) + discount;

	return customer->rate * -expm1l(-hazard * horizon) / hazard;
}

/* The probability that such a customer buys at all. */
static inline long double
customer_buys(const Customer *customer, bool at_random, double horizon, double unused)
{
	long double both = customer->rate + (at_random ? customer->dropout : 0);

	return customer->rate / both * -expm1l(-both * horizon);
}

/* The probability of k purchases: the customer stays all the time, or leaves after the last one. */
static inline long double
customer_buys_exactly(const Customer *customer, bool at_random, double horizon, double orders)
{
	int			k = (int) orders;
	long double all = exactly(k, customer->rate * horizon);
	long double both = customer->rate + customer->dropout;

	if (at_random)
		return all * expl(-customer->dropout * horizon) + customer->dropout / both *
															  powl(customer->rate / both, k) *
															  at_least(k + 1, both * horizon);
	if (k == 0)
		return all;
	return all * expl(k * customer->log_stay) +
		   expl(customer->log_dropout + (k - 1) * customer->log_stay) *
			   at_least(k, customer->rate * horizon);
}

/* The mean over the customers who may be alive. */
static inline long double
posterior_mean(const Posterior *posterior,
			   long double (*of)(const Customer *, bool, double, double), double horizon,
			   double detail)
{
	long double sum = 0;

	for (int64_t i = 0; i < posterior->count; i++)
	{
		const Customer *customer = &posterior->customers[i];

		sum += customer->weight * of(customer, posterior->definition->at_random, horizon, detail);
	}
	return sum / posterior->total;
}

#endif
