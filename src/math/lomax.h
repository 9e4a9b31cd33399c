/*
 * lomax.h: integrals of the product of two Lomax survival functions, from which Pareto/NBD is made.
 */
#ifndef RETENTION_LOMAX_H
#define RETENTION_LOMAX_H

/*
 * Describes ((a + from) / (a + t))^m ((b + from) / (b + t))^n as a function of t >= from; a, b > 0.
 */
typedef struct LomaxProduct
{
	double		m;
	double		a;
	double		n;
	double		b;
} LomaxProduct;

extern double lomax_log_ratio(const LomaxProduct *product, double from, double to);
extern double lomax_integral(const LomaxProduct *product, double from, double to);

#endif
