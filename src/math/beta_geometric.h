/*
 * beta_geometric.h: what BG/NBD and MBG/NBD share.
 *
 * A customer leaves after a purchase with a probability p that is beta(a, b)
 * over customers; the models differ in whether the first purchase counts.
 * The parameters are r, alpha, a, b.
 */
#ifndef RETENTION_BETA_GEOMETRIC_H
#define RETENTION_BETA_GEOMETRIC_H

#include "math/model.h"

/*
 * Describes a customer who is alive: purchases at a gamma(shape, scale) rate, dropout after each by
 * beta(a, b).
 */
typedef struct Alive
{
	double		shape;
	double		scale;
	double		a;
	double		b;
} Alive;

extern double alive_expected_orders(const Alive *alive, double horizon);

extern bool beta_geometric_start(const ObservationBlocks *data, int attempt, double *parameters);
extern void beta_geometric_add_likelihood(const Model *self, const double *parameters,
										  const ObservationBlock *block, double *scratch,
										  Derivatives *result);
extern double beta_geometric_log_likelihood(const Model *self, const double *parameters,
											const PurchaseHistory *history);
extern double beta_geometric_dropout_log_odds(const Model *self, const double *parameters,
											  const PurchaseHistory *history);
extern double beta_geometric_expected_orders(const Model *self, const double *parameters,
											 const PurchaseHistory *history, double horizon);
extern double beta_geometric_order_probability(const Model *self, const double *parameters,
											   const PurchaseHistory *history, double horizon);
extern void beta_geometric_order_distribution(const Model *self, const double *parameters,
											  const PurchaseHistory *history, double horizon,
											  int most, const MathHost *host,
											  double *probabilities);
extern void beta_geometric_draw(const Model *self, const double *parameters, RandomStream *stream,
								DrawnCustomer *customer);

/*
 * Counts the doubles of scratch for each value of a block: the logarithm and the inverse of alpha +
 * value
 */
#define BETA_GEOMETRIC_SCRATCH 2

/* Gives a model of the family: its name, and the chances to leave at the first purchase. */
#define BETA_GEOMETRIC_MODEL(model_name, chances) \
	{ \
		.name = (model_name), .kind = MODEL_OF_PURCHASES, .parameter_count = 4, \
		.parameter_names = {"r", "alpha", "a", "b"}, .is_scale = {false, true}, \
		.prior = {0.6, 30, 1, 3}, .start = beta_geometric_start, \
		.add_likelihood = beta_geometric_add_likelihood, \
		.scratch_per_value = BETA_GEOMETRIC_SCRATCH, \
		.log_likelihood = beta_geometric_log_likelihood, \
		.dropout_log_odds = beta_geometric_dropout_log_odds, \
		.expected_orders = beta_geometric_expected_orders, \
		.order_probability = beta_geometric_order_probability, \
		.order_distribution = beta_geometric_order_distribution, .draw = beta_geometric_draw, \
		.scale_parameter = 1, .first_chances = (chances) \
	}

#endif
