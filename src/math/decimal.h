/*
 * decimal.h: exact decimal numbers of up to 38 digits.
 *
 * PostgreSQL's numeric is exact but slow to add: sums of money are kept as one
 * 128-bit integer and a power of ten, which holds every real amount, and are
 * turned back into numeric with the same digits that numeric's own arithmetic
 * gives.
 */
#ifndef RETENTION_DECIMAL_H
#define RETENTION_DECIMAL_H

#include <stdint.h>

#include "math/status.h"

/* Asks for no more alignment than PostgreSQL's allocator gives: 8 bytes. */
typedef __int128 int128_type __attribute__((aligned(8)));
typedef unsigned __int128 uint128_type __attribute__((aligned(8)));

/* Gives the base of numeric's stored digits. */
#define DECIMAL_BASE 10000
#define DECIMAL_BASE_DIGITS 4

/* Says that a 128-bit integer has at most this many digits in base 10000. */
#define DECIMAL_MAX_BASE_DIGITS 10

/*
 * Holds the value mantissa * 10^-scale, shown with display_scale decimals. The scale is a multiple
 * of 4, not below zero.
 */
typedef struct Decimal
{
	int128_type mantissa;
	int32_t		scale;
	int32_t		display_scale;
} Decimal;

/* Holds numeric's stored form: the sum of digits[i] * 10000^(weight - i). */
typedef struct BaseDigits
{
	int			count;
	int			weight;
	int			negative;
	int			display_scale;
	uint16_t	digits[DECIMAL_MAX_BASE_DIGITS + 1];
} BaseDigits;

extern MathStatus decimal_from_digits(Decimal *result, const void *digits, int count,
									  int weight, int negative, int display_scale);
extern void decimal_to_digits(const Decimal *value, BaseDigits *result);
extern MathStatus decimal_add_unaligned(Decimal *sum, const Decimal *addend);
extern MathStatus decimal_divide(const Decimal *dividend, int64_t divisor, Decimal *quotient);
extern double decimal_near_double(const Decimal *value);
extern double decimal_to_double(const Decimal *value);

/* Computes sum += addend, exactly; the display scale becomes the larger of the two. */
static inline MathStatus
decimal_add(Decimal *sum, const Decimal *addend)
{
	if (sum->scale != addend->scale)
		return decimal_add_unaligned(sum, addend);
	if (sum->display_scale < addend->display_scale)
		sum->display_scale = addend->display_scale;
	return __builtin_add_overflow(sum->mantissa, addend->mantissa, &sum->mantissa)
		? MATH_OVERFLOW : MATH_OK;
}

#endif
