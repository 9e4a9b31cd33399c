/*
 * portable.h: logarithm and exponential with the same bits on every platform.
 *
 * The C library's differ in the last bit from one system to the next, which
 * would give simulate_orders other rows. These use only the four IEEE 754
 * operations (and need -ffp-contract=off); their error is below 4e-16 relative.
 */
#ifndef RETENTION_PORTABLE_H
#define RETENTION_PORTABLE_H

extern double portable_log(double x);
extern double portable_exp(double x);

#endif
