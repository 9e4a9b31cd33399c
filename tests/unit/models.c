/*
 * models.c: the purchase and spend models against their definitions, integrated numerically, and
 * the fits against what a maximum is.
 */
#include "math/fit.h"
#include "math/model.h"

#include <math.h>
#include <string.h>

#include "arena.h"
#include "check.h"
#include "latent.h"

#define COUNT(array) (int) (sizeof(array) / sizeof((array)[0]))

/* Of a relative difference between the model and the numerical integration. */
#define EXACT 1e-10L

#define MOST_ROWS 1000

/* How many customers are drawn where a sample is compared with its distribution. */
#define DRAWS 20000

/* Parameters with the singular ones: a = 1, s = 1, a + b < 1, alpha = beta. */
static const double beta_geometric_sets[][MODEL_MAX_PARAMETERS] = {
	{0.243, 4.414, 0.793, 2.426}, {0.6, 22, 1, 1.5}, {2, 30, 0.4, 0.45}, {1.3, 100, 1 + 1e-9, 0.7}
};
static const double pareto_sets[][MODEL_MAX_PARAMETERS] = {
	{0.553, 10.578, 0.606, 11.668}, {1.2, 30, 1, 30}, {0.6, 50, 2.2, 8}, {2, 6, 1 - 1e-9, 40}
};

/* Customers: new, one-time, lapsed, regular, very frequent, and one who bought just now. */
static const PurchaseHistory histories[] = {
	{0, 0, 0}, {0, 0, 38.86}, {1, 3, 39}, {2, 30.43, 38.86}, {26, 30.86, 31}, {100, 200, 260},
	{3, 12, 12}
};
static const double horizons[] = {0.25, 30, 400};

/* What is being checked, for the message of a failure. */
static struct
{
	const char *name;
	const double *parameters;
	const PurchaseHistory *history;
	double		horizon;
}			current;

/* Fails with both numbers, relative to the larger of the expected one and the floor. */
static void
check_near(const char *what, double value, long double expected, long double floor,
		   long double tolerance)
{
	if (fabsl(value - expected) <= tolerance * fmaxl(fabsl(expected), floor))
		return;
	fprintf(stderr, "%s: %.17g, not %.17Lg\n", what, value, expected);
	if (current.history != NULL)
		fprintf(stderr, "%s(%.17g, %.17g, %.17g, %.17g), x %g, t_x %g, t %g, horizon %g\n",
				current.name, current.parameters[0], current.parameters[1], current.parameters[2],
				current.parameters[3], current.history->x, current.history->t_x, current.history->t,
				current.horizon);
	check_failed(__FILE__, __LINE__, what);
}

static const Model *
model_named(const char *name)
{
	const Model *model = model_find(name, (int) strlen(name));

	CHECK(model != NULL);
	return model;
}

/* Names are found whatever follows them, and nothing else is. */
static void
check_registry(void)
{
	static const char *const names[] = {"bgnbd", "mbgnbd", "paretonbd", "gammagamma"};

	for (int i = 0; i < COUNT(names); i++)
	{
		const Model *model = model_named(names[i]);

		CHECK(strcmp(model->name, names[i]) == 0);
		CHECK(model->kind == (i < 3 ? MODEL_OF_PURCHASES : MODEL_OF_SPEND));
		CHECK(model->parameter_count == (i < 3 ? 4 : 3));
	}
	CHECK(model_find("bgnbdx", 5) == model_named("bgnbd"));
	CHECK(model_find("bgnbd", 4) == NULL && model_find("", 0) == NULL &&
		  model_find("BGNBD", 5) == NULL);
	CHECK(model_at(-1) == NULL && model_at(3) != NULL && model_at(1000) == NULL);
}

/* The likelihood, and the probability to be alive with its odds. */
static void
check_past(const Model *model, const double *parameters, const PurchaseHistory *history,
		   const Posterior *posterior)
{
	double		odds = model->dropout_log_odds(model, parameters, history);

	check_near("likelihood", model->log_likelihood(model, parameters, history),
			   posterior->log_likelihood, 1, EXACT);
	check_near("p_alive", model_p_alive(model, parameters, history), posterior->p_alive, 0, EXACT);
	check_near("odds", exp(odds), (1 - posterior->p_alive) / posterior->p_alive, 1e-6L, EXACT);
	CHECK(posterior->p_alive < 1 || odds == -INFINITY);
}

/* The numbers of orders: given that the customer is alive, and given the history only. */
static void
check_distribution(const Model *model, const double *parameters, const PurchaseHistory *history,
				   double horizon, const Posterior *posterior)
{
	double		alive[8];
	double		all[8];

	alive[6] = all[6] = -77;
	model->order_distribution(model, parameters, history, horizon, 5, &NO_HOST, alive);
	model_order_distribution(model, parameters, history, horizon, 5, &NO_HOST, all);
	CHECK(alive[6] == -77 && all[6] == -77);
	for (int k = 0; k <= 5; k++)
	{
		long double expected = posterior_mean(posterior, customer_buys_exactly, horizon, k);

		check_near("distribution, alive", alive[k], expected, 1e-4L, EXACT);
		expected = expected * posterior->p_alive + (k == 0 ? 1 - posterior->p_alive : 0);
		check_near("distribution", all[k], expected, 1e-4L, EXACT);
	}
	model_order_distribution(model, parameters, history, horizon, 0, &NO_HOST, alive);
	CHECK(alive[0] == all[0]);
}

static void
check_future(const Model *model, const double *parameters, const PurchaseHistory *history,
			 double horizon, const Posterior *posterior)
{
	long double orders = posterior_mean(posterior, customer_orders, horizon, 0);
	long double buys = posterior_mean(posterior, customer_buys, horizon, 0);

	check_near("orders, alive", model->expected_orders(model, parameters, history, horizon), orders,
			   0, EXACT);
	check_near("orders", model_expected_orders(model, parameters, history, horizon),
			   orders * posterior->p_alive, 0, EXACT);
	check_near("probability, alive", model->order_probability(model, parameters, history, horizon),
			   buys, 0, EXACT);
	check_near("probability", model_order_probability(model, parameters, history, horizon),
			   buys * posterior->p_alive, 0, EXACT);
	check_distribution(model, parameters, history, horizon, posterior);
}

/* Weak and strong discounts, over a horizon and for ever. */
static void
check_discounts(const Model *model, const double *parameters, const PurchaseHistory *history,
				const Posterior *posterior)
{
	static const double rates[] = {0.00027, 0.02, 3};
	double		value;

	for (int i = 0; i < COUNT(rates); i++)
	{
		long double expected = posterior_mean(posterior, customer_orders, 365, rates[i]);

		current.horizon = rates[i];
		CHECK(model_discounted_orders(model, parameters, history, 365, rates[i], &NO_HOST,
									  &value) == MATH_OK);
		check_near("discounted", value, expected * posterior->p_alive, 0, 1e-9L);
		expected = posterior_mean(posterior, customer_orders, INFINITY, rates[i]);
		CHECK(model_discounted_orders(model, parameters, history, INFINITY, rates[i], &NO_HOST,
									  &value) == MATH_OK);
		check_near("discounted for ever", value, expected * posterior->p_alive, 0, 1e-9L);
	}
	CHECK(model_discounted_orders(model, parameters, history, 365, 0, &NO_HOST, &value) == MATH_OK);
	CHECK(value == model_expected_orders(model, parameters, history, 365));
	CHECK(model_discounted_orders(model, parameters, history, 0, 0.02, &NO_HOST, &value) ==
			  MATH_OK &&
		  value == 0);
	CHECK(model_discounted_orders(model, parameters, history, INFINITY, 0, &NO_HOST, &value) ==
		  MATH_UNDEFINED);
}

/* Within no time, nothing happens. */
static void
check_now(const Model *model, const double *parameters, const PurchaseHistory *history)
{
	double		probabilities[3];

	CHECK(model_expected_orders(model, parameters, history, 0) == 0);
	CHECK(model_order_probability(model, parameters, history, 0) == 0);
	model_order_distribution(model, parameters, history, 0, 2, &NO_HOST, probabilities);
	CHECK(probabilities[0] == 1 && probabilities[1] == 0 && probabilities[2] == 0);
}

/*
 * The mean over customers of the probability that the next order comes no later: what the quantile
 * is of.
 */
static void
check_next_order(const double *parameters, const PurchaseHistory *history,
				 const Posterior *posterior)
{
	static const double quantiles[] = {1e-6, 0.1, 0.5, 0.9};

	CHECK(model_next_order(parameters, history, 0) == 0);
	for (int i = 0; i < COUNT(quantiles); i++)
	{
		double		days = model_next_order(parameters, history, quantiles[i]);
		long double sum = 0;

		for (int64_t j = 0; j < posterior->count; j++)
			sum += posterior->customers[j].weight * -expm1l(-posterior->customers[j].rate * days);
		check_near("next order", quantiles[i], sum / posterior->total, 0, EXACT);
	}
}

static void
check_predictions(const Definition *definition, const double *parameters)
{
	const Model *model = model_named(definition->name);

	for (int i = 0; i < COUNT(histories); i++)
	{
		Posterior	posterior;

		current.name = model->name;
		current.parameters = parameters;
		current.history = &histories[i];
		current.horizon = horizons[i % COUNT(horizons)];
		posterior_open(&posterior, definition, parameters, &histories[i]);
		check_past(model, parameters, &histories[i], &posterior);
		check_now(model, parameters, &histories[i]);
		check_next_order(parameters, &histories[i], &posterior);
		check_future(model, parameters, &histories[i], horizons[i % COUNT(horizons)], &posterior);
		if (i % 3 == 0)
			check_discounts(model, parameters, &histories[i], &posterior);
		posterior_close(&posterior);
	}
	current.history = NULL;
}

/* The share of draws for which a statement holds is its probability, within 5 standard errors. */
static void
check_share(int hits, long double probability)
{
	double		error = sqrt((double) (probability * (1 - probability)) / DRAWS);

	CHECK(fabs(hits / (double) DRAWS - (double) probability) < 5 * error);
}

/* The share of a latent quantity that lies below a value. */
static long double
share_below(const Axis *axis, long double value)
{
	long double sum = 0;

	for (int i = 0; i < axis->count; i++)
	{
		/* One step of a logistic curve instead of a jump, as the draws are also counted. */
		sum +=
			expl(axis->points[i].log_prior - axis->log_total) / (1 + axis->points[i].value / value);
	}
	return sum;
}

/*
 * Draws come from the densities. A uniform variable decides, with the probability
 * value / (value + quantity), whether a draw counts: the mean is smooth, and so integrates well.
 */
static void
check_draws(const Definition *definition, const double *parameters)
{
	const Model *model = model_named(definition->name);
	Axis		rates;
	Axis		dropouts;
	RandomStream stream;
	int			slow = 0;
	int			loyal = 0;
	double		dropout = parameters[2] / (parameters[2] + parameters[3]);

	random_seed(&stream, 5, 17);
	for (int i = 0; i < DRAWS; i++)
	{
		DrawnCustomer customer;
		double		coin = (check_random() >> 11) * 0x1p-53;

		model->draw(model, parameters, &stream, &customer);
		CHECK(customer.drops_at_once == (strcmp(definition->name, "mbgnbd") == 0));
		CHECK(definition->at_random ? customer.dropout == 0 && customer.lifetime >= 0
									: isinf(customer.lifetime));
		slow += coin * (1 + customer.rate * parameters[1] / parameters[0]) < 1;
		loyal += definition->at_random ? customer.lifetime > parameters[3]
									   : coin * (1 + customer.dropout / dropout) < 1;
	}
	axis_of_rate(&rates, parameters[0], parameters[1], 0, 0);
	axis_of_probability(&dropouts, parameters[2], parameters[3], 0);
	check_share(slow, share_below(&rates, parameters[0] / parameters[1]));
	check_share(loyal,
				definition->at_random ? powl(2, -parameters[2]) : share_below(&dropouts, dropout));
	free(rates.points);
	free(dropouts.points);
}

/*
 * Gamma-Gamma's log-likelihood, and the mean of future purchases, from the density of the spend's
 * own rate. The mean's integrand falls like a gamma density of shape q - 1, so the axis is as wide
 * as that one needs.
 */
static long double
spend_by_definition(const double *parameters, double x, double m, long double *mean)
{
	double		p = parameters[0];
	Axis		rates;
	long double likelihood = 0;
	long double spend = 0;

	axis_of_rate(&rates, parameters[1] - 1, parameters[2], p * x + 1, x * m);
	for (int i = 0; i < rates.count; i++)
		rates.points[i].log_prior += rates.points[i].log_value;
	axis_close(&rates);
	for (int i = 0; i < rates.count; i++)
	{
		const struct Point *rate = &rates.points[i];
		long double log_density = x == 0 ? 0
										 : p * x * (rate->log_value + logl(x)) +
											   (p * x - 1) * logl(m) - x * rate->value * m -
											   lgammal((long double) p * x);
		long double weight = expl(log_density + rate->log_prior - rates.log_total);

		likelihood += weight;
		spend += weight * p / rate->value;
	}
	*mean = spend / likelihood;
	free(rates.points);
	return logl(likelihood);
}

/* Customers of one block, of x purchases. */
static void
check_spend_of(const double *parameters, double x)
{
	static const double values[] = {0, 0.5, 22.35, 400};
	static const BlockRow rows[] = {{1, 0, 1}, {2, 0, 3}, {3, 0, 0.5}};
	ObservationBlock block = {x, 4.5, values, COUNT(values), COUNT(rows), rows};
	const Model *model = model_named("gammagamma");
	Derivatives derivatives = {100};
	double	   *scratch = malloc(COUNT(values) * model->scratch_per_value * sizeof(double) + 1);
	long double expected = 100;

	for (int i = 0; i < COUNT(rows); i++)
	{
		double		m = values[rows[i].first];
		double		spend;
		long double mean;

		expected += rows[i].weight * spend_by_definition(parameters, x, m, &mean);
		CHECK(model->expected_spend(parameters, x, m, &spend) == MATH_OK);
		check_near("spend", spend, mean, 0, EXACT);
	}
	model->add_likelihood(model, parameters, &block, scratch, &derivatives);
	check_near("likelihood of spend", derivatives.value, expected, 1, EXACT);
	free(scratch);
}

/* The mean exists where p x + q > 1 and nowhere else. */
static void
check_spend(void)
{
	static const double sets[][MODEL_MAX_PARAMETERS] = {
		{6.25, 3.74, 15.4}, {0.9, 1.4, 3}, {30, 2, 0.7}};
	const Model *model = model_named("gammagamma");
	double		spend;
	long double mean;

	for (int i = 0; i < COUNT(sets); i++)
	{
		check_spend_of(sets[i], 1);
		check_spend_of(sets[i], 7);
		check_spend_of(sets[i], 90);
		spend_by_definition(sets[i], 0, 1, &mean);
		CHECK(model->expected_spend(sets[i], 0, 0, &spend) == MATH_OK);
		check_near("spend of all", spend, mean, 0, EXACT);
	}
	CHECK(model->expected_spend((double[]) {6, 0.9, 15}, 0, 0, &spend) == MATH_UNDEFINED);
	CHECK(model->expected_spend((double[]) {6, 1, 15}, 0, 0, &spend) == MATH_UNDEFINED);
	CHECK(model->expected_spend((double[]) {0.25, 0.5, 15}, 2, 3, &spend) == MATH_UNDEFINED);
	CHECK(model->expected_spend((double[]) {0.5, 0.75, 16}, 1, 4, &spend) == MATH_OK &&
		  spend == 40);
}

/* Customers of a shop whose days are counted whole, so that there are equal rows. */
static int
simulate(const Model *model, const double *parameters, int count, Observation *rows)
{
	RandomStream stream;

	random_seed(&stream, 3, 4);
	for (int i = 0; i < count; i++)
	{
		DrawnCustomer customer;
		double		age = (double) check_between(100, 400);
		double		last = 0;
		int			orders = 0;
		bool		leaves = false;

		model->draw(model, parameters, &stream, &customer);
		leaves = customer.drops_at_once && random_uniform(&stream) < customer.dropout;
		for (double at = 0; !leaves && orders < 300; orders++, last = at)
		{
			at += random_exponential(&stream, customer.rate);
			if (at > fmin(age, customer.lifetime))
				break;
			leaves = random_uniform(&stream) < customer.dropout;
		}
		rows[i] = (Observation) {orders, {orders > 0 ? ceil(last) : 0, age}, 1};
	}
	return count;
}

static int
simulate_spend(const double *parameters, int count, Observation *rows)
{
	RandomStream stream;

	random_seed(&stream, 3, 5);
	for (int i = 0; i < count; i++)
	{
		double		x = (double) check_between(1, 9);
		double		rate = random_gamma(&stream, parameters[1], parameters[2]);

		rows[i] =
			(Observation) {x, {ceil(random_gamma(&stream, parameters[0] * x, rate * x)), 0}, 1};
	}
	return count;
}

static ObservationBlocks
grouped(const Observation *rows, int count, const MathHost *host)
{
	ObservationBlocks blocks;

	CHECK(observations_group(rows, count, host, &blocks) == MATH_OK);
	return blocks;
}

/* The sum over all blocks, in the whole matrix: models fill in its upper triangle. */
static Derivatives
total(const Model *model, const double *parameters, const ObservationBlocks *data)
{
	Derivatives sum = {0};
	double	   *scratch = malloc(data->most_values * model->scratch_per_value * sizeof(double) + 1);

	CHECK(scratch != NULL);
	for (int i = 0; i < data->count; i++)
		model->add_likelihood(model, parameters, &data->blocks[i], scratch, &sum);
	for (int i = 0; i < model->parameter_count; i++)
	{
		for (int j = 0; j < i; j++)
			sum.hessian[i][j] = sum.hessian[j][i];
	}
	free(scratch);
	return sum;
}

/*
 * The derivative by a parameter's logarithm, from values at four points: its error is that of the
 * step's fourth power.
 */
static Derivatives
difference(const Model *model, const double *parameters, const ObservationBlocks *data, int by)
{
	static const double weights[] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12};
	static const int steps[] = {-2, -1, 1, 2};
	const double step = 1e-3;
	Derivatives result = {0};

	for (int i = 0; i < COUNT(steps); i++)
	{
		double		moved[MODEL_MAX_PARAMETERS];
		Derivatives at;

		memcpy(moved, parameters, sizeof(moved));
		moved[by] *= exp(steps[i] * step);
		at = total(model, moved, data);
		result.value += weights[i] / step * at.value;
		for (int j = 0; j < model->parameter_count; j++)
			result.gradient[j] += weights[i] / step * at.gradient[j];
	}
	return result;
}

/* The gradient is the value's derivative, and the Hessian the gradient's. */
static void
check_derivatives(const Model *model, const double *parameters, const ObservationBlocks *data)
{
	Derivatives sum = total(model, parameters, data);

	for (int i = 0; i < model->parameter_count; i++)
	{
		Derivatives by = difference(model, parameters, data, i);

		check_near("gradient", parameters[i] * sum.gradient[i], by.value, fabs(sum.value), 1e-9L);
		for (int j = 0; j < model->parameter_count; j++)
			check_near("Hessian", parameters[i] * parameters[j] * sum.hessian[i][j],
					   parameters[j] * by.gradient[j], fabs(sum.value), 1e-9L);
	}
}

/* The blocks' sum is that of the customers' own likelihoods. */
static void
check_sum(const Model *model, const double *parameters, const Observation *rows, int count,
		  const ObservationBlocks *data)
{
	long double sum = 0;

	for (int i = 0; i < count; i++)
	{
		PurchaseHistory history = {rows[i].x, rows[i].values[0], rows[i].values[1]};

		sum += rows[i].weight * model->log_likelihood(model, parameters, &history);
	}
	check_near("sum", total(model, parameters, data).value, sum, 0, 1e-12L);
}

/* At a maximum: no slope, and less to every side. */
static void
check_maximum(const Model *model, const ObservationBlocks *data, const FitResult *fit)
{
	Derivatives top = total(model, fit->parameters, data);

	CHECK(fit->converged && fit->iterations > 0 && fit->iterations < 20);
	CHECK(fit->gradient_norm >= 0 && fit->gradient_norm < 1e-4);
	check_near("maximum", fit->log_likelihood, top.value, 0, 1e-14L);
	for (int i = 0; i < model->parameter_count; i++)
	{
		CHECK(fabs(difference(model, fit->parameters, data, i).value) < 1e-4);
		for (int sign = -1; sign <= 1; sign += 2)
		{
			double		moved[MODEL_MAX_PARAMETERS];

			memcpy(moved, fit->parameters, sizeof(moved));
			moved[i] *= 1 + sign * 0.01;
			CHECK(total(model, moved, data).value < top.value);
		}
	}
}

/* The covariance is the inverse of minus the Hessian; the truth is not far away. */
static void
check_errors(const Model *model, const ObservationBlocks *data, const FitResult *fit,
			 const double *truth)
{
	Derivatives top = total(model, fit->parameters, data);

	for (int i = 0; i < model->parameter_count; i++)
	{
		check_near("error", fit->standard_errors[i], sqrtl(fit->covariance[i][i]), 0, 1e-12L);
		CHECK(fabs(fit->parameters[i] - truth[i]) < 5 * fit->standard_errors[i]);
		for (int j = 0; j < model->parameter_count; j++)
		{
			double		product = 0;

			for (int k = 0; k < model->parameter_count; k++)
				product -= fit->covariance[i][k] * top.hessian[k][j];
			product *= fit->standard_errors[j] / fit->standard_errors[i];
			check_near("covariance", product, i == j, 1, 1e-4L);
		}
	}
}

static FitResult
fitted(const Model *model, const Observation *rows, int count, double penalty)
{
	Arena		arena = {0};
	MathHost	host = arena_host(&arena);
	ObservationBlocks blocks = grouped(rows, count, &host);
	int			pieces = arena.count;
	FitResult	result;

	arena.checks = 0;
	fit_model(model, &blocks, penalty, &host, &result);
	CHECK(arena.checks > 0 && arena.count == pieces);
	arena_close(&arena);
	return result;
}

static void
check_same(const Model *model, const FitResult *a, const FitResult *b, long double tolerance)
{
	for (int i = 0; i < model->parameter_count; i++)
		check_near("same parameters", a->parameters[i], b->parameters[i], 0, tolerance);
	check_near("same likelihood", a->log_likelihood, b->log_likelihood, 0, tolerance);
}

static void
shuffle(Observation *rows, int count)
{
	for (int i = count - 1; i > 0; i--)
	{
		int			j = (int) check_between(0, i);
		Observation swap = rows[i];

		rows[i] = rows[j];
		rows[j] = swap;
	}
}

/* Rows come in any order, and one row of weight 3 is three rows. */
static void
check_rows(const Model *model, Observation *rows, int count, const FitResult *fit)
{
	Observation tripled[3 * MOST_ROWS];
	FitResult	again;

	shuffle(rows, count);
	again = fitted(model, rows, count, 0);
	check_same(model, &again, fit, 0);
	for (int i = 0; i < 3 * count; i++)
		tripled[i] = rows[i % count];
	shuffle(tripled, 3 * count);
	again = fitted(model, tripled, 3 * count, 0);
	check_same(model,
			   &(FitResult) {.parameters = {again.parameters[0], again.parameters[1],
											again.parameters[2], again.parameters[3]},
							 .log_likelihood = again.log_likelihood / 3},
			   fit, 1e-7L);
	for (int i = 0; i < count; i++)
		rows[i].weight = 3;
	check_same(model, &(FitResult[]) {fitted(model, rows, count, 0)}[0], &again, 0);
	for (int i = 0; i < count; i++)
		rows[i].weight = 1;
}

/* A penalty draws the parameters towards the prior: a heavy one all the way. */
static void
check_penalty(const Model *model, const Observation *rows, int count)
{
	FitResult	weak = fitted(model, rows, 2, 1);
	FitResult	strong = fitted(model, rows, count, 1e12);

	CHECK(weak.converged && weak.iterations < 30 && strong.converged && strong.iterations < 30);
	for (int i = 0; i < model->parameter_count; i++)
	{
		if (model->prior[i] > 0)
			check_near("prior", strong.parameters[i], model->prior[i], 0, 1e-6L);
	}
}

static void
check_fit(const Model *model, const double *truth, Observation *rows, int count)
{
	Arena		arena = {0};
	MathHost	host = arena_host(&arena);
	ObservationBlocks blocks = grouped(rows, count, &host);
	FitResult	fit = fitted(model, rows, count, 0);

	CHECK(blocks.weight == count && blocks.rows < count);
	if (model->kind == MODEL_OF_PURCHASES)
		check_sum(model, truth, rows, count, &blocks);
	check_derivatives(model, truth, &blocks);
	check_maximum(model, &blocks, &fit);
	check_errors(model, &blocks, &fit, truth);
	check_rows(model, rows, count, &fit);
	check_penalty(model, rows, count);
	arena_close(&arena);
}

/* Shops of the model's own customers. */
static void
check_fits(void)
{
	static const double truths[][MODEL_MAX_PARAMETERS] = {
		{0.6, 20, 0.8, 2.5}, {0.7, 20, 0.7, 2.5}, {0.7, 15, 0.8, 60}};
	static const double spend[MODEL_MAX_PARAMETERS] = {6, 4, 15};
	Observation rows[MOST_ROWS];

	for (int i = 0; i < COUNT(definitions); i++)
	{
		const Model *model = model_named(definitions[i].name);

		check_fit(model, truths[i], rows, simulate(model, truths[i], MOST_ROWS, rows));
	}
	check_fit(model_named("gammagamma"), spend, rows, simulate_spend(spend, MOST_ROWS, rows));
}

/* The derivatives where the formulas are singular, and far from any maximum. */
static void
check_odd_derivatives(const Definition *definition, const double *parameters)
{
	const Model *model = model_named(definition->name);
	Arena		arena = {0};
	MathHost	host = arena_host(&arena);
	Observation rows[COUNT(histories)];
	ObservationBlocks blocks;

	for (int i = 0; i < COUNT(histories); i++)
		rows[i] = (Observation) {histories[i].x, {histories[i].t_x, histories[i].t}, 1 + i / 2.0};
	blocks = grouped(rows, COUNT(histories), &host);
	check_sum(model, parameters, rows, COUNT(histories), &blocks);
	check_derivatives(model, parameters, &blocks);
	arena_close(&arena);
}

int
main(void)
{
	check_registry();
	for (int i = 0; i < COUNT(definitions); i++)
	{
		for (int j = 0; j < COUNT(pareto_sets); j++)
		{
			const double *parameters =
				definitions[i].at_random ? pareto_sets[j] : beta_geometric_sets[j];

			check_predictions(&definitions[i], parameters);
			check_draws(&definitions[i], parameters);
			check_odd_derivatives(&definitions[i], parameters);
		}
	}
	check_spend();
	check_fits();
	return 0;
}
