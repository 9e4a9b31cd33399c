/* number.c: decimal numbers as they are written, of any length: exact comparison and rounding. */
#include "template/evaluator.h"

#include <string.h>

/* Describes a number's digits before and after the point, without leading zeros. */
typedef struct Digits
{
	bool		is_negative;
	TemplateText whole;
	TemplateText fraction;
} Digits;

static Digits
split(TemplateText number)
{
	const char *next = number.data;
	const char *end = number.data + number.length;
	const char *point;
	Digits		digits = {.is_negative = next < end && *next == '-'};

	next += digits.is_negative;
	while (next < end && *next == '0')
		next++;
	point = next < end ? memchr(next, '.', end - next) : NULL;
	digits.whole = (TemplateText) {next, (point != NULL ? point : end) - next};
	digits.fraction =
		point != NULL ? (TemplateText) {point + 1, end - point - 1} : (TemplateText) {end, 0};
	return digits;
}

static bool
all_zero(TemplateText digits)
{
	for (size_t i = 0; i < digits.length; i++)
	{
		if (digits.data[i] != '0')
			return false;
	}
	return true;
}

/* Tells whether a number is zero, of whatever sign. */
bool
template_is_zero(TemplateText number)
{
	Digits		digits = split(number);

	return digits.whole.length == 0 && all_zero(digits.fraction);
}

/* Tells which fraction is greater: zeros at the end do not matter. */
static int
compare_fractions(TemplateText left, TemplateText right)
{
	size_t		common = left.length < right.length ? left.length : right.length;
	int			result = common == 0 ? 0 : memcmp(left.data, right.data, common);

	if (result != 0)
		return result;
	if (!all_zero((TemplateText) {left.data + common, left.length - common}))
		return 1;
	return all_zero((TemplateText) {right.data + common, right.length - common}) ? 0 : -1;
}

/* Returns a number below, at or above 0 as left is less than, equal to or greater than right. */
int
template_compare_numbers(TemplateText left, TemplateText right)
{
	Digits		a = split(left);
	Digits		b = split(right);
	int			result;

	if (a.is_negative != b.is_negative)
		return template_is_zero(left) && template_is_zero(right) ? 0 : a.is_negative ? -1 : 1;
	if (a.whole.length != b.whole.length)
		result = a.whole.length < b.whole.length ? -1 : 1;
	else
	{
		result = a.whole.length == 0 ? 0 : memcmp(a.whole.data, b.whole.data, a.whole.length);
		if (result == 0)
			result = compare_fractions(a.fraction, b.fraction);
	}
	return a.is_negative ? -result : result;
}

/* Adds one in the last place; the digits may have a point among them. The first digit is a 0. */
static void
count_up(char *digits, size_t length)
{
	for (char *digit = digits + length - 1; digit >= digits; digit--)
	{
		if (*digit == '.')
			continue;
		if (*digit != '9')
		{
			++*digit;
			return;
		}
		*digit = '0';
	}
}

/* Rounds half away from zero; the result has exactly this many decimals. */
TemplateText
template_round(const TemplateHost *host, TemplateText number, size_t decimals)
{
	Digits		digits = split(number);
	size_t		length = 1 + digits.whole.length;
	char	   *buffer = template_allocate(host, length + decimals + 3);
	char	   *start = buffer + 1;
	size_t		kept = digits.fraction.length < decimals ? digits.fraction.length : decimals;

	start[0] = '0';
	memcpy(start + 1, digits.whole.data, digits.whole.length);
	if (decimals > 0)
	{
		start[length++] = '.';
		memset(start + length, '0', decimals);
		if (kept > 0)
			memcpy(start + length, digits.fraction.data, kept);
		length += decimals;
	}
	if (digits.fraction.length > decimals && digits.fraction.data[decimals] >= '5')
		count_up(start, length);
	while (length > 1 && start[0] == '0' && start[1] != '.')
	{
		start++;
		length--;
	}
	if (digits.is_negative && !template_is_zero((TemplateText) {start, length}))
	{
		*--start = '-';
		length++;
	}
	return (TemplateText) {start, length};
}
