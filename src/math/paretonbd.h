/*
 * paretonbd.h: Pareto/NBD (Schmittlein, Morrison, Colombo 1987, "Counting Your Customers: Who Are
 * They and What Will They Do Next?").
 *
 * While alive a customer buys at a gamma(r, alpha) rate; the lifetime is exponential, at a
 * gamma(s, beta) rate. With R = r + x, the likelihood of x, t_x and T is (Fader, Hardie 2005, "A
 * Note on Deriving the Pareto/NBD Model and Related Expressions")
 *
 *     gamma(R)/gamma(r) alpha^r beta^s [ (alpha+T)^-R (beta+T)^-s
 *         + s integral over t_x..T of (alpha+t)^-R (beta+t)^-(s+1) dt ].
 *
 * The first term in brackets is of customers who are alive, the second of those who are gone: they
 * left at t.
 */
#ifndef RETENTION_PARETONBD_H
#define RETENTION_PARETONBD_H

#include "math/model.h"

/* Names the parameters; shapes have no unit, alpha and beta are times. */
enum
{
	R,
	ALPHA,
	S,
	BETA
};

/* Says how many doubles of scratch paretonbd_add_likelihood needs for each value of a block. */
#define PARETONBD_SCRATCH 23

extern void paretonbd_add_likelihood(const Model *self, const double *parameters,
									 const ObservationBlock *block, double *scratch,
									 Derivatives *result);

#endif
