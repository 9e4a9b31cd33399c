/*
 * model.h: the purchase and spend models behind one structure.
 *
 * A model is a file that fills in a Model, and a line in the list
 * MODELS. Times are in days, or in whatever unit the model was fitted in.
 *
 * All purchase models let a customer buy as a Poisson process while alive, at
 * a rate that is gamma distributed over customers: their first two parameters
 * are its shape r and its rate alpha.
 */
#ifndef RETENTION_MODEL_H
#define RETENTION_MODEL_H

#include <stdbool.h>

#include "math/observations.h"
#include "math/random.h"

#define MODEL_MAX_PARAMETERS 4

/*
 * Says what models accept of parameters, customers and questions; every shop is well inside, in any
 * unit of time or money. Within it every function answers by a finite number after a bounded number
 * of steps (tests/unit/model_steps.c).
 */
#define LEAST_PARAMETER 1e-12
#define MOST_SHAPE 1e12
#define MOST_SCALE 1e40			/* of the parameters that are times or money */
#define MOST_PURCHASES 1e6
#define MOST_TIME 1e20			/* a century in nanoseconds is 3e18 */
#define MOST_MONEY 1e40			/* amounts have up to 38 digits */
#define MOST_WEIGHT 1e15		/* customers that a row of a fit stands for */

/*
 * Holds what is known of a customer: x repeat purchases, the last one t_x after the first, observed
 * until t.
 */
typedef struct PurchaseHistory
{
	double		x;
	double		t_x;
	double		t;
} PurchaseHistory;

/* Describes a log-likelihood with its first and second derivatives by the parameters. */
typedef struct Derivatives
{
	double		value;
	double		gradient[MODEL_MAX_PARAMETERS];
	double		hessian[MODEL_MAX_PARAMETERS][MODEL_MAX_PARAMETERS];
} Derivatives;

/* Tells how one simulated customer buys. */
typedef struct DrawnCustomer
{
	double		rate;			/* purchases a day while alive */
	double		dropout;		/* probability of leaving after a purchase */
	bool		drops_at_once;	/* after the first purchase too */
	double		lifetime;		/* days after which the customer leaves in any case */
} DrawnCustomer;

typedef enum ModelKind
{
	MODEL_OF_PURCHASES,			/* observations are x, t_x, t */
	MODEL_OF_SPEND				/* observations are x, m */
} ModelKind;

typedef struct Model Model;

struct Model
{
	const char *name;
	ModelKind	kind;
	int			parameter_count;
	const char *parameter_names[MODEL_MAX_PARAMETERS];
	bool		is_scale[MODEL_MAX_PARAMETERS]; /* a time or money, the others being shapes */
	double		prior[MODEL_MAX_PARAMETERS];	/* centre of the weak prior, for small shops */

	/*
	 * Fitting: where to start, at the first attempt or at another one where that led nowhere (false
	 * where there is no other); and the sum over one block of the log-likelihood's derivatives,
	 * added to result.
	 */
	bool		(*start) (const ObservationBlocks *data, int attempt, double *parameters);
	void (*add_likelihood)(const Model *self, const double *parameters,
						   const ObservationBlock *block, double *scratch, Derivatives *result);
	int			scratch_per_value;	/* doubles of scratch that add_likelihood needs for each
									 * value of a block */

	/*
	 * Purchases. dropout_log_odds: log of P(not alive) / P(alive), -inf for certainly alive.
	 * The others hold for a customer who is alive at t.
	 */
	double		(*log_likelihood) (const Model *self, const double *parameters,
								   const PurchaseHistory *history);
	double		(*dropout_log_odds) (const Model *self, const double *parameters,
									 const PurchaseHistory *history);
	double		(*expected_orders) (const Model *self, const double *parameters,
									const PurchaseHistory *history, double horizon);
	double		(*order_probability) (const Model *self, const double *parameters,
									  const PurchaseHistory *history, double horizon);
	void		(*order_distribution) (const Model *self, const double *parameters,
									   const PurchaseHistory *history, double horizon, int most,
									   const MathHost *host, double *probabilities);
	void		(*draw) (const Model *self, const double *parameters, RandomStream *stream,
						 DrawnCustomer *customer);

	/* Spend: MATH_UNDEFINED where the mean does not exist. */
	MathStatus	(*expected_spend) (const double *parameters, double x, double m, double *result);

	int			scale_parameter;	/* expected orders are a smooth function of horizon / (this
									 * parameter + t) */
	int			first_chances;	/* of leaving at the first purchase itself: 0 or 1 (the
								 * beta-geometric models) */
};

/* Lists every model there is: a line for each. */
#define MODELS(MODEL) \
	MODEL(bgnbd) \
	MODEL(mbgnbd) \
	MODEL(paretonbd) \
	MODEL(gammagamma)

#define DECLARE_MODEL(model) extern const Model model;

MODELS(DECLARE_MODEL)

extern const Model *model_find(const char *name, int length);
extern const Model *model_at(int index);

extern double model_most(const Model *model, int parameter);
extern double model_p_alive(const Model *model, const double *parameters,
							const PurchaseHistory *history);
extern double model_expected_orders(const Model *model, const double *parameters,
									const PurchaseHistory *history, double horizon);
extern double model_order_probability(const Model *model, const double *parameters,
									  const PurchaseHistory *history, double horizon);
extern void model_order_distribution(const Model *model, const double *parameters,
									 const PurchaseHistory *history, double horizon, int most,
									 const MathHost *host, double *probabilities);
extern double model_next_order(const double *parameters, const PurchaseHistory *history,
							   double quantile);
extern MathStatus model_discounted_orders(const Model *model, const double *parameters,
										  const PurchaseHistory *history, double horizon,
										  double rate, const MathHost *host, double *result);

#endif
