/*
 * beta_geometric.c: see beta_geometric.h; BG/NBD's formulas with k = x + first_chances chances to
 * leave.
 */
#include "math/beta_geometric.h"

#include <math.h>

#include "math/special.h"

/* Names the parameters. */
enum
{
	R,
	ALPHA,
	A,
	B
};

/* Describes the customer as one who is alive. */
static Alive
alive_customer(const Model *self, const double *parameters, const PurchaseHistory *history)
{
	return (Alive) {parameters[R] + history->x, parameters[ALPHA] + history->t,
		parameters[A], parameters[B] + history->x + self->first_chances};
}

/* Computes the expected purchases within the horizon, 0 or more, of a customer who is alive. */
double
beta_geometric_expected_orders(const Model *self, const double *parameters,
							   const PurchaseHistory *history, double horizon)
{
	Alive		alive = alive_customer(self, parameters, history);

	return horizon > 0 ? alive_expected_orders(&alive, horizon) : 0;
}

/*
 * Begins a fit at the purchase rate of the whole shop, and customary values of the others; at the
 * second attempt, next to no dropout. False where there is no such attempt.
 */
bool
beta_geometric_start(const ObservationBlocks *data, int attempt, double *parameters)
{
	Observation total = observations_total(data);
	double		time = total.values[1];

	parameters[R] = 0.6;
	parameters[ALPHA] = total.x > 0 && time > 0 ? 0.3 * time / total.x : time / total.weight + 1e-3;
	parameters[A] = attempt == 0 ? 0.8 : 0.005;
	parameters[B] = attempt == 0 ? 3 : 8;
	return attempt < 2;
}

/*
 * Computes the log-odds of having left: D = ln(a / (b + k - 1)) + (r + x) ln((alpha + T) / (alpha +
 * t_x)). Minus infinity where there was no chance to leave.
 */
double
beta_geometric_dropout_log_odds(const Model *self, const double *parameters,
								const PurchaseHistory *history)
{
	double		chances = history->x + self->first_chances;

	if (chances == 0)
		return -INFINITY;
	return log(parameters[A] / (parameters[B] + (chances - 1))) +
		   (parameters[R] + history->x) *
			   log1p((history->t - history->t_x) / (parameters[ALPHA] + history->t_x));
}

/* Adds the part of the log-likelihood that x alone decides on, with its derivatives by r, a, b. */
static void
add_count_part(const double *parameters, double x, double chances, double weight,
			   Derivatives *result)
{
	RisingFactorial rate,
				stay,
				all;

	rising_factorial(parameters[R], x, &rate);
	rising_factorial(parameters[B], chances, &stay);
	rising_factorial(parameters[A] + parameters[B], chances, &all);
	result->value +=
		weight * (rate.log + stay.log - all.log + parameters[R] * log(parameters[ALPHA]));
	result->gradient[R] += weight * (rate.first + log(parameters[ALPHA]));
	result->gradient[ALPHA] += weight * parameters[R] / parameters[ALPHA];
	result->gradient[A] -= weight * all.first;
	result->gradient[B] += weight * (stay.first - all.first);
	result->hessian[R][R] += weight * rate.second;
	result->hessian[R][ALPHA] += weight / parameters[ALPHA];
	result->hessian[ALPHA][ALPHA] -=
		weight * parameters[R] / (parameters[ALPHA] * parameters[ALPHA]);
	result->hessian[A][A] -= weight * all.second;
	result->hessian[A][B] -= weight * all.second;
	result->hessian[B][B] += weight * (stay.second - all.second);
}

/* Adds -(r + x) ln(alpha + T) over the rows. */
static void
add_age_part(const double *parameters, const ObservationBlock *block, const double *logs,
			 const double *inverses, Derivatives *result)
{
	double		shape = parameters[R] + block->x;
	double		sum_log = 0;
	double		sum_inverse = 0;
	double		sum_square = 0;

	for (int64_t i = 0; i < block->row_count; i++)
	{
		const BlockRow *row = &block->rows[i];
		double		weighted = row->weight * inverses[row->second];

		sum_log += row->weight * logs[row->second];
		sum_inverse += weighted;
		sum_square += weighted * inverses[row->second];
	}
	result->value -= shape * sum_log;
	result->gradient[R] -= sum_log;
	result->gradient[ALPHA] -= shape * sum_inverse;
	result->hessian[R][ALPHA] -= sum_inverse;
	result->hessian[ALPHA][ALPHA] += shape * sum_square;
}

/*
 * Sums over rows of q = P(not alive), of its variance q (1 - q), and of both times D's derivatives.
 */
typedef struct DropoutSums
{
	double		odds;			/* of those above zero, for ln(1 + e^D) = D + ln(1 + e^-D) */
	LogarithmSum tails;
	double		q;
	double		q_log;
	double		q_inverse;
	double		q_square;
	double		v;
	double		v_log;
	double		v_inverse;
	double		v_log_log;
	double		v_log_inverse;
	double		v_inverse_inverse;
} DropoutSums;

static void
sum_dropout(const ObservationBlock *block, double shape, double log_odds,
			const double *logs, const double *inverses, DropoutSums *sums)
{
	for (int64_t i = 0; i < block->row_count; i++)
	{
		const BlockRow *row = &block->rows[i];
		double		log_ratio = logs[row->second] - logs[row->first];
		double		inverse = inverses[row->second] - inverses[row->first];
		double		odds = shape * log_ratio + log_odds;
		double		tail = exp(-fabs(odds));
		double		share = 1 / (1 + tail);
		double		q = row->weight * (odds > 0 ? share : tail * share);
		double		v = row->weight * tail * share * share;

		sums->odds += odds > 0 ? row->weight * odds : 0;
		add_logarithm(&sums->tails, 1 + tail, row->weight);
		sums->q += q;
		sums->q_log += q * log_ratio;
		sums->q_inverse += q * inverse;
		sums->q_square += q * inverse * (inverses[row->second] + inverses[row->first]);
		sums->v += v;
		sums->v_log += v * log_ratio;
		sums->v_inverse += v * inverse;
		sums->v_log_log += v * log_ratio * log_ratio;
		sums->v_log_inverse += v * log_ratio * inverse;
		sums->v_inverse_inverse += v * inverse * inverse;
	}
}

/* Adds ln(1 + e^D): its gradient is q D', its Hessian q D'' + q (1 - q) D' D'^T. */
static void
add_dropout_part(const double *parameters, const ObservationBlock *block, double chances,
				 const double *logs, const double *inverses, Derivatives *result)
{
	double		shape = parameters[R] + block->x;
	double		by_a = 1 / parameters[A];
	double		by_b = -1 / (parameters[B] + (chances - 1));
	DropoutSums s = {.tails = NO_LOGARITHMS};

	sum_dropout(block, shape, log(-parameters[A] * by_b), logs, inverses, &s);
	result->value += s.odds + logarithm_sum(&s.tails);
	result->gradient[R] += s.q_log;
	result->gradient[ALPHA] += shape * s.q_inverse;
	result->gradient[A] += s.q * by_a;
	result->gradient[B] += s.q * by_b;
	result->hessian[R][R] += s.v_log_log;
	result->hessian[R][ALPHA] += s.q_inverse + shape * s.v_log_inverse;
	result->hessian[R][A] += s.v_log * by_a;
	result->hessian[R][B] += s.v_log * by_b;
	result->hessian[ALPHA][ALPHA] += shape * (shape * s.v_inverse_inverse - s.q_square);
	result->hessian[ALPHA][A] += shape * s.v_inverse * by_a;
	result->hessian[ALPHA][B] += shape * s.v_inverse * by_b;
	result->hessian[A][A] += (s.v - s.q) * by_a * by_a;
	result->hessian[A][B] += s.v * by_a * by_b;
	result->hessian[B][B] += (s.v + s.q) * by_b * by_b;
}

/*
 * Adds a block's log-likelihood, with its derivatives in the upper triangle:
 * ln L = [ln gamma(r+x)/gamma(r) + r ln alpha + ln B(a, b+k)/B(a, b)] - (r+x)
 * ln(alpha+T) + ln(1 + e^D).
 */
void
beta_geometric_add_likelihood(const Model *self, const double *parameters,
							  const ObservationBlock *block, double *scratch, Derivatives *result)
{
	double	   *logs = scratch;
	double	   *inverses = scratch + block->value_count;
	double		chances = block->x + self->first_chances;

	for (int32_t i = 0; i < block->value_count; i++)
	{
		logs[i] = log(parameters[ALPHA] + block->values[i]);
		inverses[i] = 1 / (parameters[ALPHA] + block->values[i]);
	}
	add_count_part(parameters, block->x, chances, block->weight, result);
	add_age_part(parameters, block, logs, inverses, result);
	if (chances > 0)
		add_dropout_part(parameters, block, chances, logs, inverses, result);
}

/* Computes one customer's log-likelihood, without the term x! of the order of purchases. */
double
beta_geometric_log_likelihood(const Model *self, const double *parameters,
							  const PurchaseHistory *history)
{
	double		odds = beta_geometric_dropout_log_odds(self, parameters, history);
	double		chances = history->x + self->first_chances;
	RisingFactorial rate,
				stay,
				all;

	rising_factorial(parameters[R], history->x, &rate);
	rising_factorial(parameters[B], chances, &stay);
	rising_factorial(parameters[A] + parameters[B], chances, &all);
	return rate.log + stay.log - all.log - parameters[R] * log1p(history->t / parameters[ALPHA]) -
		history->x * log(parameters[ALPHA] + history->t) + softplus(odds);
}

/*
 * Computes the probability that a customer who is alive buys within the horizon. The time to the
 * next purchase is Lomax distributed: nobody leaves before it.
 */
double
beta_geometric_order_probability(const Model *self, const double *parameters,
								 const PurchaseHistory *history, double horizon)
{
	return -expm1(-(parameters[R] + history->x) *
				  log1p(horizon / (parameters[ALPHA] + history->t)));
}

/*
 * Computes the probabilities of k = 0..most purchases of a customer who is alive. With N the
 * purchases that a customer who never left would make, negative binomial, k purchases mean N = k
 * and all survived, or N >= k and gone at the k-th.
 */
void
beta_geometric_order_distribution(const Model *self, const double *parameters,
								  const PurchaseHistory *history, double horizon, int most,
								  const MathHost *host, double *probabilities)
{
	Alive		alive = alive_customer(self, parameters, history);
	double		log_z = log(horizon / (alive.scale + horizon));
	/* it may be too small for exp */
	double		log_exactly = -alive.shape * log1p(horizon / alive.scale);
	double		at_least = 1;
	double		survived = 1;

	probabilities[0] = exp(log_exactly);
	for (int k = 1; k <= most; k++)
	{
		double		leave = alive.a / (alive.a + alive.b + k - 1);

		at_least = fmax(at_least - exp(log_exactly), 0);
		log_exactly += log((alive.shape + k - 1) / k) + log_z;
		probabilities[k] = survived * leave * at_least;
		survived *= 1 - leave;
		probabilities[k] += survived * exp(log_exactly);
	}
}

/* Draws one simulated customer: rate, then dropout. */
void
beta_geometric_draw(const Model *self, const double *parameters, RandomStream *stream,
					DrawnCustomer *customer)
{
	customer->rate = random_gamma(stream, parameters[R], parameters[ALPHA]);
	customer->dropout = random_beta(stream, parameters[A], parameters[B]);
	customer->drops_at_once = self->first_chances > 0;
	customer->lifetime = INFINITY;
}
