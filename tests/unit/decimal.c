/* decimal.c: src/math/decimal against the digits in number.h. */
#include "math/decimal.h"

#include "number.h"

/* 170141183460469231731687303715884105727 */
#define LARGEST ((int128_type) (~(uint128_type) 0 >> 1))

/* Whether value * 10^scale fits into 128 bits. */
static bool
fits(Number value, int scale)
{
	Number		limit = number_of_mantissa(LARGEST, scale);

	return compare_sizes(&value, &limit) <= 0;
}

/* Any size is as likely as any other, and short fractions more than long ones. */
static int128_type
random_mantissa(int most_bits)
{
	uint128_type bits = (uint128_type) check_random() << 64 | check_random();
	int128_type mantissa = (int128_type) (bits >> (128 - check_between(1, most_bits)));

	return check_random() % 2 ? -mantissa : mantissa;
}

static Decimal
random_decimal(int most_bits)
{
	return (Decimal) {random_mantissa(most_bits), (int) check_between(0, 4) * 4,
					  (int) check_between(0, 16)};
}

static int
last_nonzero(const uint16_t *digits, int count)
{
	while (count > 0 && digits[count - 1] == 0)
		count--;
	return count;
}

/* numeric's digits -> Decimal -> numeric's digits. The first bytes lie at an odd address. */
static void
check_round_trip(const uint16_t *digits, int count, int weight, bool negative)
{
	char		unaligned[1 + 12 * sizeof(uint16_t)];
	Number		expected = number_of_base_digits(digits, count, weight, negative);
	int			scale = count > weight + 1 ? (count - weight - 1) * 4 : 0;
	Decimal		decimal;
	BaseDigits	result;
	int			leading = 0;

	memcpy(unaligned + 1, digits, count * sizeof(uint16_t));
	if (decimal_from_digits(&decimal, unaligned + 1, count, weight, negative, 7) != MATH_OK)
	{
		CHECK(!fits(expected, scale));
		return;
	}
	CHECK(decimal.scale % 4 == 0 && decimal.scale >= 0 && decimal.display_scale == 7);
	CHECK(equal(number_of(&decimal), expected));
	decimal_to_digits(&decimal, &result);
	while (leading < count && digits[leading] == 0)
		leading++;
	CHECK(result.count == last_nonzero(digits, count) - (leading == count ? 0 : leading));
	CHECK(memcmp(result.digits, digits + leading, result.count * sizeof(uint16_t)) == 0);
	CHECK(result.count == 0 || result.weight == weight - leading);
	CHECK(result.negative == (negative && result.count > 0) && result.display_scale == 7);
}

static void
check_round_trips(void)
{
	const uint16_t largest[] = {170, 1411, 8346, 469, 2317, 3168, 7303, 7158, 8410, 5727, 0};
	uint16_t	beyond[11];
	Decimal		decimal;

	for (int i = 0; i < 20000; i++)
	{
		uint16_t	digits[12];
		int			count = (int) check_between(0, 11);

		for (int j = 0; j < count; j++)
			digits[j] = check_random() % 3 ? (uint16_t) check_between(0, 9999) : 0;
		check_round_trip(digits, count, (int) check_between(-14, 14), check_random() % 2);
	}
	memcpy(beyond, largest, sizeof(largest));
	beyond[9]++;
	CHECK(decimal_from_digits(&decimal, largest, 10, 9, 0, 0) == MATH_OK);
	CHECK(decimal.mantissa == LARGEST);
	CHECK(decimal_from_digits(&decimal, largest, 10, 9, 1, 0) == MATH_OK);
	CHECK(decimal_from_digits(&decimal, beyond, 10, 9, 0, 0) == MATH_OVERFLOW);
	CHECK(decimal_from_digits(&decimal, beyond, 10, 9, 1, 0) == MATH_OVERFLOW);
	CHECK(decimal_from_digits(&decimal, largest, 1, 32767, 0, 0) == MATH_OVERFLOW);
}

static void
check_sums(void)
{
	for (int i = 0; i < 50000; i++)
	{
		Decimal		a = random_decimal(127);
		Decimal		b = random_decimal(127);
		Number		expected = add(number_of(&a), number_of(&b));
		int			scale = a.scale > b.scale ? a.scale : b.scale;
		bool		possible =
			fits(number_of(&a), scale) && fits(number_of(&b), scale) && fits(expected, scale);
		Decimal		sum = a;

		CHECK((decimal_add(&sum, &b) == MATH_OK) == possible);
		if (possible)
		{
			CHECK(equal(number_of(&sum), expected));
			CHECK(sum.display_scale ==
				  (a.display_scale > b.display_scale ? a.display_scale : b.display_scale));
		}
	}
}

static void
check_quotient(const Decimal *dividend, int64_t divisor, bool must_fit)
{
	Decimal		quotient;
	Number		result;

	if (decimal_divide(dividend, divisor, &quotient) != MATH_OK)
	{
		CHECK(!must_fit);
		return;
	}
	result = number_of(&quotient);
	CHECK(quotient.display_scale >= dividend->display_scale);
	CHECK(quotient.scale % 4 == 0 && quotient.scale >= quotient.display_scale);
	CHECK(is_zero(&result) || first_place(&result) + 1 + quotient.display_scale >= 16);
	CHECK(equal(result, divide(number_of(dividend), divisor, quotient.display_scale)));
}

static void
check_quotients(void)
{
	for (int i = 0; i < 30000; i++)
	{
		Decimal		any = random_decimal(127);
		Decimal		money = {check_between(-1000000000000, 1000000000000) * 100, 4, 2};

		check_quotient(&any, (int64_t) (check_random() >> check_between(1, 63)) | 1, false);
		check_quotient(&money, check_between(1, 1000000), true);
	}
	/*
	 * These have one decimal more than is shown, a 5: among them are halves to round away from
	 * zero.
	 */
	for (int64_t odd = -99; odd < 100; odd += 2)
	{
		for (int power = 0; power < 40; power++)
			check_quotient(&(Decimal) {odd, 0, 0}, INT64_C(1) << power, true);
	}
	check_quotient(&(Decimal) {-LARGEST - 1, 0, 0}, 1, false);
}

static void
check_doubles(void)
{
	for (int i = 0; i < 20000; i++)
	{
		Decimal		decimal = {random_mantissa(127), (int) check_between(0, 20) * 4, 0};
		Number		number = number_of(&decimal);
		char		text[LENGTH + 3];
		int			length = 0;

		text[length++] = number.negative ? '-' : '+';
		for (int j = LENGTH - 1; j >= 0; j--)
		{
			text[length++] = (char) ('0' + number.digits[j]);
			if (j == DECIMALS)
				text[length++] = '.';
		}
		text[length] = '\0';
		CHECK(decimal_to_double(&decimal) == strtod(text, NULL));
	}
}

int
main(void)
{
	check_round_trips();
	check_sums();
	check_quotients();
	check_doubles();
	return 0;
}
