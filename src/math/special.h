/* special.h: the gamma function's logarithm and its derivatives, and integration by Gauss and Legendre. */
#ifndef RETENTION_SPECIAL_H
#define RETENTION_SPECIAL_H

/* The logarithm of gamma(r + n) / gamma(r), and its first two derivatives by r. */
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

/* Nodes on 0..1 and their weights, which add up to 1. */
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
