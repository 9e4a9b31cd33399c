/*
 * special.h: the gamma function's logarithm and its derivatives, and integration by Gauss and
 * Legendre.
 */
#ifndef RETENTION_SPECIAL_H
#define RETENTION_SPECIAL_H

#include <math.h>

/* Holds the logarithm of gamma(r + n) / gamma(r), and its first two derivatives by r. */
typedef struct RisingFactorial
{
	double		log;
	double		first;
	double		second;
} RisingFactorial;

extern double log_gamma(double x);
extern double digamma(double x);
extern double trigamma(double x);
extern void rising_factorial(double r, double n, RisingFactorial *result);

/* Computes ln(1 + e^x). */
static inline double
softplus(double x)
{
	return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

/*
 * Describes a weighted sum of logarithms: of values of weight 1 the product is kept, and one
 * logarithm taken of many.
 */
typedef struct LogarithmSum
{
	double		sum;
	double		product;
} LogarithmSum;

#define NO_LOGARITHMS ((LogarithmSum) {0, 1})

static inline double
logarithm_sum(const LogarithmSum *logarithms)
{
	return logarithms->sum + log(logarithms->product);
}

/* Adds weight ln(value), value > 0. */
static inline void
add_logarithm(LogarithmSum *logarithms, double value, double weight)
{
	double		product = logarithms->product * value;

	if (weight == 1 && product > 1e-250 && product < 1e250)
	{
		logarithms->product = product;
		return;
	}
	logarithms->sum = logarithm_sum(logarithms) + weight * log(value);
	logarithms->product = 1;
}

/* Holds nodes on 0..1 and their weights, which add up to 1. */
typedef struct QuadratureRule
{
	int			count;
	double		nodes[12];
	double		weights[12];
} QuadratureRule;

extern const QuadratureRule quadrature_3;
extern const QuadratureRule quadrature_5;
extern const QuadratureRule quadrature_8;
extern const QuadratureRule quadrature_12;

#endif
