/*
 * number.h: arithmetic on decimal digits as taught at school, for decimal.c.
 *
 * A Number is written out digit by digit, so nothing here can round or overflow.
 */
#ifndef RETENTION_NUMBER_H
#define RETENTION_NUMBER_H

#include <stdbool.h>
#include <string.h>

#include "math/decimal.h"

#include "check.h"

#define DECIMALS 120			/* digits right of the point */
#define LENGTH 240

/* digits[i] counts 10^(i - DECIMALS). */
typedef struct Number
{
	bool		negative;
	uint8_t		digits[LENGTH];
} Number;

static inline Number
number_of_mantissa(int128_type mantissa, int scale)
{
	Number		number = {.negative = mantissa < 0};
	uint128_type rest = mantissa < 0 ? -(uint128_type) mantissa : (uint128_type) mantissa;

	for (int i = DECIMALS - scale; rest > 0; i++, rest /= 10)
		number.digits[i] = rest % 10;
	return number;
}

static inline Number
number_of(const Decimal *decimal)
{
	return number_of_mantissa(decimal->mantissa, decimal->scale);
}

static inline Number
number_of_base_digits(const uint16_t *digits, int count, int weight, bool negative)
{
	Number		number = {.negative = negative};

	for (int i = 0; i < count; i++)
	{
		int			place = DECIMALS + (weight - i) * 4;

		for (int j = 0, rest = digits[i]; j < 4; j++, rest /= 10)
			number.digits[place + j] = rest % 10;
	}
	return number;
}

static inline int
compare_sizes(const Number *a, const Number *b)
{
	for (int i = LENGTH - 1; i >= 0; i--)
	{
		if (a->digits[i] != b->digits[i])
			return a->digits[i] - b->digits[i];
	}
	return 0;
}

static inline bool
is_zero(const Number *number)
{
	static const Number zero;

	return compare_sizes(number, &zero) == 0;
}

static inline bool
equal(Number a, Number b)
{
	return compare_sizes(&a, &b) == 0 && (is_zero(&a) || a.negative == b.negative);
}

static inline Number
add(Number a, Number b)
{
	int			sign = a.negative == b.negative ? 1 : -1;
	int			carry = 0;

	if (sign < 0 && compare_sizes(&a, &b) < 0)
		return add(b, a);
	for (int i = 0; i < LENGTH; i++)
	{
		int			digit = a.digits[i] + sign * b.digits[i] + carry;

		carry = digit < 0 ? -1 : digit / 10;
		a.digits[i] = (digit + 10) % 10;
	}
	CHECK(carry == 0);
	return a;
}

/* Long division, rounded half away from zero to so many decimals. */
static inline Number
divide(Number dividend, int64_t divisor, int decimals)
{
	Number		quotient = {.negative = dividend.negative};
	Number		half = {.negative = dividend.negative};
	__int128	rest = 0;

	half.digits[DECIMALS - decimals - 1] = 5;
	for (int i = LENGTH - 1; i >= 0; i--)
	{
		rest = rest * 10 + dividend.digits[i];
		quotient.digits[i] = (uint8_t) (rest / divisor);
		rest %= divisor;
	}
	quotient = add(quotient, half);
	memset(quotient.digits, 0, DECIMALS - decimals);
	return quotient;
}

/* The place of the first significant digit: 0 for units, -1 for tenths. */
static inline int
first_place(const Number *number)
{
	int			i = LENGTH - 1;

	while (i > 0 && number->digits[i] == 0)
		i--;
	return i - DECIMALS;
}

#endif
