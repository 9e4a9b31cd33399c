/* fit.h: maximum likelihood for any model of model.h. */
#ifndef RETENTION_FIT_H
#define RETENTION_FIT_H

#include "math/model.h"

/* Holds what a fit found, in the model's parameters. */
typedef struct FitResult
{
	double		parameters[MODEL_MAX_PARAMETERS];
	double		standard_errors[MODEL_MAX_PARAMETERS];	/* NaN where the Hessian is singular */
	double		covariance[MODEL_MAX_PARAMETERS][MODEL_MAX_PARAMETERS];
	double		log_likelihood; /* without the penalty */
	double		gradient_norm;	/* of the penalised log-likelihood by the parameters' logarithms,
								 * largest component */
	int			iterations;
	bool		converged;
} FitResult;

extern void fit_model(const Model *model, const ObservationBlocks *data, double penalty,
					  const MathHost *host, FitResult *result);

#endif
