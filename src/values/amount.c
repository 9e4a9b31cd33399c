/*
 * amount.c: PostgreSQL's numeric to and from exact decimals.
 *
 * Reads and writes numeric's stored form directly (see the head of
 * PostgreSQL's numeric.c; unchanged since 9.1): a 16-bit header that holds
 * sign, display scale and weight when they are small, or sign and display
 * scale followed by a 16-bit weight, then the digits in base 10000.
 */
#include "values/amount.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#define FORM_MASK 0xC000
#define FORM_NEGATIVE 0x4000
#define FORM_SHORT 0x8000
#define FORM_SPECIAL 0xC000

#define LONG_SCALE_MASK 0x3FFF

#define SHORT_NEGATIVE 0x2000
#define SHORT_SCALE_MASK 0x1F80
#define SHORT_SCALE_SHIFT 7
#define SHORT_SCALE_MAX 63
#define SHORT_WEIGHT_SIGN 0x0040
#define SHORT_WEIGHT_MASK 0x003F
#define SHORT_WEIGHT_MAX 63
#define SHORT_WEIGHT_MIN (-64)

/* Reports a sum that exact decimals cannot hold. */
void
amount_overflow(void)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("amounts need more than 38 digits"),
		 errdetail("A customer's amounts are added exactly, in up to 38 digits, of which decimals "
				   "take a multiple of four."),
		 errhint("Round the amounts to the currency's decimals, as in amount::numeric(20, 4).")));
}

static void
reject_special(Datum numeric)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("amount must be a finite number, not %s",
					DatumGetCString(DirectFunctionCall1(numeric_out, numeric))),
			 errhint("Leave such rows out, for example by a view's WHERE.")));
}

/*
 * Reads a numeric. MATH_UNDEFINED for NaN and infinity, MATH_OVERFLOW for
 * values of more than 38 digits.
 */
MathStatus
amount_parse(Datum numeric, Decimal *result)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(numeric);
	const char *data;
	uint16		header;
	int16		weight;
	bool		negative;
	int			display_scale;
	int			size;

	if (VARATT_IS_EXTERNAL(value) || VARATT_IS_COMPRESSED(value))
		value = pg_detoast_datum(value);
	data = VARDATA_ANY(value);
	size = VARSIZE_ANY_EXHDR(value) - sizeof(header);
	memcpy(&header, data, sizeof(header));
	data += sizeof(header);
	if ((header & FORM_MASK) == FORM_SPECIAL)
		return MATH_UNDEFINED;
	if ((header & FORM_MASK) == FORM_SHORT)
	{
		negative = (header & SHORT_NEGATIVE) != 0;
		display_scale = (header & SHORT_SCALE_MASK) >> SHORT_SCALE_SHIFT;
		weight =
			(header & SHORT_WEIGHT_MASK) | (header & SHORT_WEIGHT_SIGN ? ~SHORT_WEIGHT_MASK : 0);
	}
	else
	{
		negative = (header & FORM_MASK) == FORM_NEGATIVE;
		display_scale = header & LONG_SCALE_MASK;
		memcpy(&weight, data, sizeof(weight));
		data += sizeof(weight);
		size -= sizeof(weight);
	}
	return decimal_from_digits(result, data, size / sizeof(uint16),
							   weight, negative, display_scale);
}

/* Reads a numeric. NaN and infinity are errors, and so are values of more than 38 digits. */
void
amount_read(Datum numeric, Decimal *result)
{
	MathStatus	status = amount_parse(numeric, result);

	if (unlikely(status == MATH_UNDEFINED))
		reject_special(numeric);
	amount_check(status);
}

/*
 * Returns an amount as the nearest double. Numbers that exact decimals cannot hold, such as the
 * quotient of a sum of 38 digits, take numeric's own cast.
 */
double
amount_double(Datum numeric)
{
	Decimal		amount;

	if (amount_parse(numeric, &amount) != MATH_OK)
		return DatumGetFloat8(DirectFunctionCall1(numeric_float8, numeric));
	return decimal_to_double(&amount);
}

/* Returns the same to within two units of the last place, quickly. */
double
amount_near_double(Datum numeric)
{
	Decimal		amount;

	if (amount_parse(numeric, &amount) != MATH_OK)
		return amount_double(numeric);
	return decimal_near_double(&amount);
}

PG_FUNCTION_INFO_V1(retention_double);

/*
 * _double(numeric) -> float8: what the cast gives to within two units of the last place, many times
 * as fast.
 */
Datum
retention_double(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(amount_near_double(PG_GETARG_DATUM(0)));
}

/* Makes a numeric, in the current memory context. */
Datum
amount_numeric(const Decimal *value)
{
	BaseDigits	form;
	bool		is_short;
	Size		size;
	struct varlena *result;
	uint16	   *header;

	decimal_to_digits(value, &form);
	is_short = form.display_scale <= SHORT_SCALE_MAX &&
		form.weight <= SHORT_WEIGHT_MAX && form.weight >= SHORT_WEIGHT_MIN;
	size = VARHDRSZ + (is_short ? 1 : 2) * sizeof(uint16) + form.count * sizeof(uint16);
	result = palloc(size);
	SET_VARSIZE(result, size);
	header = (uint16 *) VARDATA(result);
	if (is_short)
		*header++ = FORM_SHORT | (form.negative ? SHORT_NEGATIVE : 0) |
			form.display_scale << SHORT_SCALE_SHIFT |
			(form.weight < 0 ? SHORT_WEIGHT_SIGN : 0) | (form.weight & SHORT_WEIGHT_MASK);
	else
	{
		*header++ = (form.negative ? FORM_NEGATIVE : 0) | form.display_scale;
		*header++ = (uint16) form.weight;
	}
	memcpy(header, form.digits, form.count * sizeof(uint16));
	return PointerGetDatum(result);
}

/* Computes sum / count as numeric's own division gives it, in the current memory context. */
Datum
amount_quotient(const Decimal *sum, int64 count)
{
	Decimal		quotient;

	if (decimal_divide(sum, count, &quotient) == MATH_OK)
		return amount_numeric(&quotient);
	return DirectFunctionCall2(numeric_div, amount_numeric(sum),
							   NumericGetDatum(int64_to_numeric(count)));
}
