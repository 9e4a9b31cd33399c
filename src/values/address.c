/*
 * address.c: the one way to write an address, so that two spellings can be compared.
 *
 * Telephone numbers become E.164, such as +48600100200, where their country is known: by a plus or
 * the prefix of calls abroad, or as given beside them. All others keep their digits, and a plus.
 */
#include "pg_compat.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "calling_plans.h"

/*
 * Limits the digits: those of E.164 at most; shorter ones than the least are no numbers of persons.
 */
#define MOST_DIGITS 15
#define LEAST_DIGITS 7

/* Says that longer texts are no telephone numbers. */
#define LONGEST_NUMBER 64

/* Describes a text in UTF-8, or, in a database without an encoding, in bytes. */
typedef struct Span
{
	const char *data;
	int			length;
} Span;

/* Describes a number as read: its digits, and whether a plus stands before them. */
typedef struct Dialled
{
	char		digits[LONGEST_NUMBER + 1];
	int			length;
	bool		has_plus;
} Dialled;

/*
 * Reads the character at the begin of a span, and the bytes it takes; bytes that are no UTF-8 are
 * taken one by one.
 */
static pg_wchar
next_character(Span span, int *bytes)
{
	const unsigned char *data = (const unsigned char *) span.data;

	*bytes = pg_utf_mblen(data);
	if (*bytes > span.length || !pg_utf8_islegal(data, *bytes))
	{
		*bytes = 1;
		return 0xFFFD;
	}
	return utf8_to_unicode(data);
}

/*
 * Tells whether a character is not seen: spaces of all widths, joiners, marks of direction, soft
 * hyphens.
 */
static bool
is_blank(pg_wchar c)
{
	return c <= ' ' || (c >= 0x7F && c <= 0xA0) || c == 0xAD || c == 0x1680 || c == 0x180E ||
		   (c >= 0x2000 && c <= 0x200F) || (c >= 0x2028 && c <= 0x202F) ||
		   (c >= 0x205F && c <= 0x206F) || c == 0x3000 || c == 0xFEFF;
}

/* Returns a span without what is not seen at either end. */
static Span
trimmed(Span span)
{
	int			bytes;
	int			end = 0;

	while (span.length > 0 && is_blank(next_character(span, &bytes)))
		span = (Span) {span.data + bytes, span.length - bytes};
	for (int at = 0; at < span.length; at += bytes)
		if (!is_blank(next_character((Span) {span.data + at, span.length - at}, &bytes)))
			end = at + bytes;
	return (Span) {span.data, end};
}

/* Returns the value of a digit: ours, a wide one, Arabic or Persian; else -1. */
static int
digit_value(pg_wchar c)
{
	static const pg_wchar zeros[] = {'0', 0xFF10, 0x0660, 0x06F0};

	for (int i = 0; i < lengthof(zeros); i++)
		if (c >= zeros[i] && c <= zeros[i] + 9)
			return c - zeros[i];
	return -1;
}

/*
 * Tells whether a character may stand between digits: not seen, or brackets, dots, slashes, dashes
 * of all widths.
 */
static bool
is_separator(pg_wchar c)
{
	return is_blank(c) || (c < 0x80 && strchr("()[]./-_~", c) != NULL) || c == 0xB7 ||
		(c >= 0x2010 && c <= 0x2015) || c == 0x2022 || c == 0x2212 || c == 0xFF08 || c == 0xFF09 ||
		c == 0xFF0D || c == 0xFF0E || c == 0xFF0F;
}

/* Reads a telephone number; false where the text is none. */
static bool
read_number(Span span, Dialled *number)
{
	int			bytes;

	*number = (Dialled) {.length = 0};
	if (span.length >= 4 && pg_strncasecmp(span.data, "tel:", 4) == 0)
		span = (Span) {span.data + 4, span.length - 4};
	for (; span.length > 0; span = (Span) {span.data + bytes, span.length - bytes})
	{
		pg_wchar	c = next_character(span, &bytes);
		int			digit = digit_value(c);

		if (digit >= 0 && number->length < LONGEST_NUMBER)
			number->digits[number->length++] = '0' + digit;
		else if ((c == '+' || c == 0xFF0B) && number->length == 0)
			number->has_plus = true;
		else if (!is_separator(c))
			return false;
	}
	return number->length > 0;
}

static bool
begins_with(const char *digits, const char *prefix)
{
	return *prefix != '\0' && strncmp(digits, prefix, strlen(prefix)) == 0;
}

/* Finds the plan of a country; null where there is none of this name. */
static const CallingPlan *
plan_of_country(Span country)
{
	for (int i = 0; i < lengthof(calling_plans); i++)
		if (country.length == 2 && pg_strncasecmp(country.data, calling_plans[i].country, 2) == 0)
			return &calling_plans[i];
	return NULL;
}

/* Finds the plan whose calling code an international number begins with. */
static const CallingPlan *
plan_of_number(const char *digits)
{
	for (int i = 0; i < lengthof(calling_plans); i++)
		if (begins_with(digits, calling_plans[i].code))
			return &calling_plans[i];
	return NULL;
}

/* Returns a national number without what it is only dialled with: a trunk prefix, a zero. */
static const char *
without_trunk(const CallingPlan *plan, const char *digits)
{
	bool		is_long = strlen(digits) > plan->longest;
	bool		drops_zero = digits[0] == '0' && (is_long || !plan->keeps_zero);

	if (begins_with(digits, plan->trunk) && (plan->trunk[0] == '0' ? drops_zero : is_long))
		return digits + strlen(plan->trunk);
	return digits + (drops_zero ? 1 : 0);
}

/*
 * Returns the digits after the prefix of calls abroad, from the calling code on; null where the
 * number has none.
 */
static const char *
after_exit(const CallingPlan *home, const char *digits)
{
	if (home != NULL && begins_with(digits, home->exit))
		return digits + strlen(home->exit);
	return begins_with(digits, "00") ? digits + 2 : NULL;
}

/*
 * Finds a number's plan, and its digits after calling code and trunk prefix; false where they are
 * not known.
 */
static bool
find_subscriber(const Dialled *number, const CallingPlan *home, const CallingPlan **plan,
				const char **subscriber)
{
	const char *abroad = number->has_plus ? number->digits : after_exit(home, number->digits);

	*plan = home;
	if (abroad == NULL && home == NULL)
		return false;
	if (abroad == NULL && begins_with(number->digits, home->code) &&
		strlen(number->digits) > home->longest &&
		strlen(without_trunk(home, number->digits)) > home->longest)
		abroad = number->digits;	/* the plus was left out */
	if (abroad != NULL)
	{
		abroad += strspn(abroad, "0");	/* +00 and the like: no calling code begins with a zero */
		*plan = plan_of_number(abroad);
	}
	if (*plan == NULL)
		return false;
	*subscriber =
		without_trunk(*plan, abroad == NULL ? number->digits : abroad + strlen((*plan)->code));
	return strlen((*plan)->code) + strlen(*subscriber) >= LEAST_DIGITS &&
		strlen((*plan)->code) + strlen(*subscriber) <= MOST_DIGITS;
}

/* Reads an argument in UTF-8, without what is not seen around it. */
static Span
argument_span(Datum argument)
{
	text	   *string = DatumGetTextPP(argument);
	char	   *data = VARDATA_ANY(string);
	int			length = VARSIZE_ANY_EXHDR(string);
	char	   *converted =
		GetDatabaseEncoding() == PG_SQL_ASCII ? data : pg_server_to_any(data, length, PG_UTF8);

	return trimmed((Span) {converted, converted == data ? length : strlen(converted)});
}

/* Makes a span in UTF-8 a value. */
static text *
span_text(Span span)
{
	char	   *copy = pnstrdup(span.data, span.length);

	return cstring_to_text(GetDatabaseEncoding() == PG_SQL_ASCII
							   ? copy
							   : pg_any_to_server(copy, span.length, PG_UTF8));
}

/* Writes an address in small letters: first the plain ones, which are the same in all languages. */
static text *
small_letters(text *address)
{
	char	   *plain = asc_tolower(VARDATA_ANY(address), VARSIZE_ANY_EXHDR(address));

	return cstring_to_text(str_tolower(plain, strlen(plain), DEFAULT_COLLATION_OID));
}

/*
 * Writes a telephone number in the normal way, and in national its other two spellings where its
 * country is known.
 */
static text *
normal_number(Span address, const CallingPlan *home, char *national[2])
{
	Dialled		number;
	const CallingPlan *plan;
	const char *subscriber;

	national[0] = national[1] = NULL;
	if (!read_number(address, &number))
		return span_text(address);
	if (!find_subscriber(&number, home, &plan, &subscriber))
		return cstring_to_text(psprintf("%s%s", number.has_plus ? "+" : "", number.digits));
	if (plan == home)
	{
		national[0] = pstrdup(subscriber);
		national[1] = psprintf("%s%s", plan->trunk, subscriber);
	}
	return cstring_to_text(psprintf("+%s%s", plan->code, subscriber));
}

/*
 * Writes an address of a channel as all compare it, and the national spellings of a telephone
 * number.
 */
static text *
normal_address(FunctionCallInfo fcinfo, char *national[2])
{
	char	   *channel = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Span		address = argument_span(PG_GETARG_DATUM(1));
	const CallingPlan *home =
		PG_ARGISNULL(2) ? NULL : plan_of_country(argument_span(PG_GETARG_DATUM(2)));

	national[0] = national[1] = NULL;
	if (strcmp(channel, "sms") == 0)
		return normal_number(address, home, national);
	return strcmp(channel, "email") == 0 ? small_letters(span_text(address)) : span_text(address);
}

PG_FUNCTION_INFO_V1(retention_normal_address);

/*
 * _normal_address(channel text, address text, country text) -> text: an address in the one way that
 * all are compared in. Mail in small letters; telephone numbers in E.164, national ones by the
 * country (ISO 3166, two letters; null: not known), else their digits. Spaces and what is not seen
 * are trimmed. Null for a null channel or address.
 */
Datum
retention_normal_address(PG_FUNCTION_ARGS)
{
	char	   *national[2];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(normal_address(fcinfo, national));
}

PG_FUNCTION_INFO_V1(retention_address_spellings);

/*
 * _address_spellings(channel text, address text, country text) -> text[]: the normal address, and
 * what _normal_address makes of its other spellings where it is not told the country: without the
 * plus, with it, or national.
 */
Datum
retention_address_spellings(PG_FUNCTION_ARGS)
{
	Datum		spellings[4];
	int			count = 0;
	char	   *national[2];
	char	   *normal;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	spellings[count++] = PointerGetDatum(normal_address(fcinfo, national));
	normal = text_to_cstring(DatumGetTextPP(spellings[0]));
	if (normal[0] == '+')
		spellings[count++] = CStringGetTextDatum(normal + 1);
	else if (strcmp(text_to_cstring(PG_GETARG_TEXT_PP(0)), "sms") == 0)
		spellings[count++] = CStringGetTextDatum(psprintf("+%s", normal));
	for (int i = 0; i < lengthof(national) && national[i] != NULL; i++)
		spellings[count++] = CStringGetTextDatum(national[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(spellings, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * Computes one of the two digests of HMAC (RFC 2104): of the key, each byte XORed with pad, and
 * what follows it.
 */
static void
padded_digest(bytea *key, uint8 pad, const uint8 *data, Size length, uint8 *digest)
{
	uint8		block[PG_SHA256_BLOCK_LENGTH] = {0};
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);

	memcpy(block, VARDATA_ANY(key), Min(VARSIZE_ANY_EXHDR(key), sizeof(block)));
	for (int i = 0; i < sizeof(block); i++)
		block[i] ^= pad;
	if (hash == NULL || pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, block, sizeof(block)) < 0 ||
		pg_cryptohash_update(hash, data, length) < 0 ||
		pg_cryptohash_final(hash, digest, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute a SHA-256 digest");
	pg_cryptohash_free(hash);
}

PG_FUNCTION_INFO_V1(retention_keyed_hash);

/*
 * _keyed_hash(key bytea, address text) -> text: "hash:" and HMAC-SHA256 of the address's bytes in
 * hexadecimal digits. The key has 64 bytes at most.
 */
Datum
retention_keyed_hash(PG_FUNCTION_ARGS)
{
	bytea	   *key = PG_GETARG_BYTEA_PP(0);
	text	   *address = PG_GETARG_TEXT_PP(1);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char		hexadecimal[2 * PG_SHA256_DIGEST_LENGTH + 1];

	padded_digest(key, 0x36, (uint8 *) VARDATA_ANY(address), VARSIZE_ANY_EXHDR(address), digest);
	padded_digest(key, 0x5C, digest, sizeof(digest), digest);
	for (int i = 0; i < sizeof(digest); i++)
		sprintf(hexadecimal + 2 * i, "%02x", digest[i]);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("hash:%s", hexadecimal)));
}
