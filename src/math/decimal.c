/* decimal.c: exact decimal numbers of up to 38 digits; see decimal.h. */
#include "math/decimal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Follows numeric, whose division gives at least this many significant digits, in at most so many
 * decimals.
 */
#define MIN_SIGNIFICANT_DIGITS 16
#define MAX_DISPLAY_SCALE 1000

/*
 * Bounds what is exact: integers up to here, and powers of ten up to 10^22, are exact as doubles.
 */
#define MAX_EXACT_DOUBLE ((int128_type) 1 << 53)
#define MAX_EXACT_POWER 22

/* Computes value *= 10^power, for power >= 0. */
static MathStatus
multiply_by_power(int128_type *value, int power)
{
	for (; power > 0 && *value != 0; power--)
	{
		if (__builtin_mul_overflow(*value, 10, value))
			return MATH_OVERFLOW;
	}
	return MATH_OK;
}

static uint128_type
magnitude(int128_type value)
{
	return value < 0 ? -(uint128_type) value : (uint128_type) value;
}

/*
 * Reads numeric's base-10000 digits (native 16-bit integers, not necessarily
 * aligned). MATH_OVERFLOW where the value needs more than 38 digits.
 */
MathStatus
decimal_from_digits(Decimal *result, const void *digits, int count,
					int weight, int negative, int display_scale)
{
	const char *next = digits;
	int128_type mantissa = 0;
	int			fraction = count - 1 - weight;

	for (int i = 0; i < count; i++, next += sizeof(uint16_t))
	{
		uint16_t	digit;

		memcpy(&digit, next, sizeof(digit));
		if (__builtin_mul_overflow(mantissa, DECIMAL_BASE, &mantissa) ||
			__builtin_add_overflow(mantissa, digit, &mantissa))
			return MATH_OVERFLOW;
	}
	if (fraction < 0 && mantissa != 0 &&
		(fraction < -DECIMAL_MAX_BASE_DIGITS ||
		 multiply_by_power(&mantissa, -fraction * DECIMAL_BASE_DIGITS) != MATH_OK))
		return MATH_OVERFLOW;
	result->mantissa = negative ? -mantissa : mantissa;
	result->scale = fraction > 0 && mantissa != 0 ? fraction * DECIMAL_BASE_DIGITS : 0;
	result->display_scale = display_scale;
	return MATH_OK;
}

/* Writes numeric's base-10000 digits, without zeros at either end. */
void
decimal_to_digits(const Decimal *value, BaseDigits *result)
{
	uint128_type rest = magnitude(value->mantissa);
	uint16_t	reversed[DECIMAL_MAX_BASE_DIGITS + 1];
	int			count = 0;
	int			trailing = 0;

	while (rest > UINT64_MAX)
	{
		reversed[count++] = (uint16_t) (rest % DECIMAL_BASE);
		rest /= DECIMAL_BASE;
	}
	for (uint64_t low = (uint64_t) rest; low > 0; low /= DECIMAL_BASE)
		reversed[count++] = (uint16_t) (low % DECIMAL_BASE);
	while (trailing < count && reversed[trailing] == 0)
		trailing++;
	result->weight = count == 0 ? 0 : count - 1 - value->scale / DECIMAL_BASE_DIGITS;
	result->negative = value->mantissa < 0;
	result->display_scale = value->display_scale;
	result->count = count - trailing;
	for (int i = 0; i < result->count; i++)
		result->digits[i] = reversed[count - 1 - i];
}

/* Rewrites the value with a larger scale. */
static MathStatus
decimal_align(Decimal *value, int scale)
{
	if (multiply_by_power(&value->mantissa, scale - value->scale) != MATH_OK)
		return MATH_OVERFLOW;
	value->scale = scale;
	return MATH_OK;
}

/* Does decimal_add for operands of different scales. */
MathStatus
decimal_add_unaligned(Decimal *sum, const Decimal *addend)
{
	Decimal		aligned = *addend;
	MathStatus	status;

	status = sum->scale < aligned.scale
		? decimal_align(sum, aligned.scale)
		: decimal_align(&aligned, sum->scale);
	return status == MATH_OK ? decimal_add(sum, &aligned) : status;
}

/* Finds the first base-10000 digit of a value, and that digit's weight. */
static void
leading_digit(uint128_type value, int scale, int *digit, int *weight)
{
	*weight = 0;
	*digit = 0;
	if (value == 0)
		return;
	for (; value >= DECIMAL_BASE; value /= DECIMAL_BASE)
		(*weight)++;
	*digit = (int) value;
	*weight -= scale / DECIMAL_BASE_DIGITS;
}

/*
 * Tells the number of decimals that numeric's division chooses: at least 16 significant digits, and
 * not fewer decimals than the dividend shows (select_div_scale in PostgreSQL's numeric.c).
 */
static int
quotient_scale(const Decimal *dividend, int64_t divisor)
{
	int			digit1,
				weight1,
				digit2,
				weight2,
				scale;

	leading_digit(magnitude(dividend->mantissa), dividend->scale, &digit1, &weight1);
	leading_digit((uint128_type) divisor, 0, &digit2, &weight2);
	scale = MIN_SIGNIFICANT_DIGITS -
		(weight1 - weight2 - (digit1 <= digit2 ? 1 : 0)) * DECIMAL_BASE_DIGITS;
	if (scale < dividend->display_scale)
		scale = dividend->display_scale;
	if (scale > MAX_DISPLAY_SCALE)
		scale = MAX_DISPLAY_SCALE;
	return scale < 0 ? 0 : scale;
}

/* Computes value / divisor, rounded half away from zero; both positive. */
static uint128_type
divide_rounded(uint128_type value, uint128_type divisor)
{
	uint128_type quotient;
	uint128_type rest;

	if (value <= UINT64_MAX && divisor <= UINT64_MAX)
	{
		quotient = (uint64_t) value / (uint64_t) divisor;
		rest = (uint64_t) value % (uint64_t) divisor;
	}
	else
	{
		quotient = value / divisor;
		rest = value - quotient * divisor;
	}
	return rest >= divisor - rest ? quotient + 1 : quotient;
}

/*
 * Computes dividend / divisor, for a positive divisor, to the digits that numeric's division gives.
 * MATH_OVERFLOW where an intermediate result needs more than 38 digits: the caller then divides
 * with numeric itself.
 */
MathStatus
decimal_divide(const Decimal *dividend, int64_t divisor, Decimal *quotient)
{
	int			shown = quotient_scale(dividend, divisor);
	int			stored =
		(shown + DECIMAL_BASE_DIGITS - 1) / DECIMAL_BASE_DIGITS * DECIMAL_BASE_DIGITS;
	int128_type numerator = dividend->mantissa;
	int128_type denominator = divisor;
	int128_type rounded;

	if (multiply_by_power(&numerator, shown - dividend->scale) != MATH_OK ||
		multiply_by_power(&denominator, dividend->scale - shown) != MATH_OK)
		return MATH_OVERFLOW;
	rounded = (int128_type) divide_rounded(magnitude(numerator), (uint128_type) denominator);
	if (multiply_by_power(&rounded, stored - shown) != MATH_OK)
		return MATH_OVERFLOW;
	quotient->mantissa = numerator < 0 ? (int128_type) -(uint128_type) rounded : rounded;
	quotient->scale = stored;
	quotient->display_scale = shown;
	return MATH_OK;
}

/* Lists powers of ten that are exact. */
static const double power[] = {
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
};

/* Returns a double within two units of the last place, quickly. */
double
decimal_near_double(const Decimal *value)
{
	if (value->scale > MAX_EXACT_POWER)
		return decimal_to_double(value);
	return (double) value->mantissa / power[value->scale];
}

/* Returns the nearest double: what numeric's cast to double precision gives. */
double
decimal_to_double(const Decimal *value)
{
	uint128_type size = magnitude(value->mantissa);
	char		text[80];
	double		result;

	/* One rounding of two exact operands is correct. */
	if (size <= (uint128_type) MAX_EXACT_DOUBLE && value->scale <= MAX_EXACT_POWER)
		return (double) (int64_t) value->mantissa / power[value->scale];
	snprintf(text, sizeof(text), "%llu%019llue-%d",
			 (unsigned long long) (size / 10000000000000000000ULL),
			 (unsigned long long) (size % 10000000000000000000ULL),
			 value->scale);
	result = strtod(text, NULL);
	return value->mantissa < 0 ? -result : result;
}
