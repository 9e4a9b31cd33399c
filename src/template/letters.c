/*
 * letters.c: upper and lower case.
 *
 * In UTF-8 the letters of the Latin, Greek, Cyrillic and Armenian alphabets
 * have their other case by the tables below, the same on every platform and in
 * every locale; letters whose other case is no single letter stay, such as the
 * German sharp s. In other encodings only ASCII letters have another case.
 */
#include "template/filters.h"

#include <string.h>

/*
 * Describes letters from first to last: the other case is at a distance, or, where that is 1,
 * letters stand in pairs, upper case before lower case.
 */
typedef struct LetterRange
{
	uint32_t	first;			/* of upper case */
	uint32_t	last;
	int32_t		distance;		/* to lower case */
} LetterRange;

static const LetterRange ranges[] = {
	{'A', 'Z', 32},
	{0xC0, 0xD6, 32}, {0xD8, 0xDE, 32},
	{0x100, 0x12F, 1}, {0x132, 0x137, 1}, {0x139, 0x148, 1}, {0x14A, 0x177, 1},
	{0x178, 0x178, -121}, {0x179, 0x17E, 1},
	{0x1CD, 0x1DC, 1}, {0x1DE, 0x1EF, 1}, {0x1F4, 0x1F5, 1}, {0x1F8, 0x21F, 1}, {0x222, 0x233, 1},
	{0x386, 0x386, 38}, {0x388, 0x38A, 37}, {0x38C, 0x38C, 64}, {0x38E, 0x38F, 63},
	{0x391, 0x3A1, 32}, {0x3A3, 0x3AB, 32},
	{0x400, 0x40F, 80}, {0x410, 0x42F, 32}, {0x460, 0x481, 1}, {0x48A, 0x4BF, 1},
	{0x4C0, 0x4C0, 15}, {0x4C1, 0x4CE, 1}, {0x4D0, 0x52F, 1},
	{0x531, 0x556, 48},
	{0x1E00, 0x1E95, 1}, {0x1EA0, 0x1EFF, 1}
};

#define FINAL_SIGMA 0x3C2
#define CAPITAL_SIGMA 0x3A3

/* Returns a letter's other case, or the same character. */
static uint32_t
other_case(uint32_t letter, bool upper)
{
	if (letter == FINAL_SIGMA && upper)
		return CAPITAL_SIGMA;
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
	{
		const LetterRange *range = &ranges[i];
		bool		is_paired = range->distance == 1;

		if (is_paired && letter >= range->first && letter <= range->last)
		{
			bool		is_lower = (letter - range->first) % 2 == 1;

			return is_lower == upper ? letter + (upper ? -1 : 1) : letter;
		}
		if (!is_paired && !upper && letter >= range->first && letter <= range->last)
			return letter + range->distance;
		if (!is_paired && upper && letter >= range->first + range->distance &&
			letter <= range->last + range->distance)
			return letter - range->distance;
	}
	return letter;
}

/* Decodes a character of two or three bytes; 0 for all others. */
static uint32_t
decode(const unsigned char *bytes, size_t length)
{
	if (length == 2 && (bytes[0] & 0xE0) == 0xC0)
		return (bytes[0] & 0x1F) << 6 | (bytes[1] & 0x3F);
	if (length == 3 && (bytes[0] & 0xF0) == 0xE0)
		return (bytes[0] & 0x0F) << 12 | (bytes[1] & 0x3F) << 6 | (bytes[2] & 0x3F);
	return 0;
}

/* Writes a character in as many bytes as before: no letter's other case has another length. */
static void
encode(char *bytes, size_t length, uint32_t letter)
{
	if (length == 2)
	{
		bytes[0] = 0xC0 | letter >> 6;
		bytes[1] = 0x80 | (letter & 0x3F);
	}
	else
	{
		bytes[0] = 0xE0 | letter >> 12;
		bytes[1] = 0x80 | (letter >> 6 & 0x3F);
		bytes[2] = 0x80 | (letter & 0x3F);
	}
}

/* Changes the character at a place, of `length` bytes. */
static void
change_character(char *at, size_t length, bool upper, bool is_utf8)
{
	char		from = upper ? 'a' : 'A';
	uint32_t	letter;
	uint32_t	other;

	if (length == 1)
	{
		if (*at >= from && *at <= from + 25)
			*at ^= 32;
		return;
	}
	letter = is_utf8 ? decode((const unsigned char *) at, length) : 0;
	other = letter == 0 ? 0 : other_case(letter, upper);
	if (other != letter)
		encode(at, length, other);
}

/* Makes a copy of the text in upper or lower case, or with only its first character changed. */
TemplateText
template_change_case(Evaluator *evaluator, TemplateText text, bool upper, bool first_only)
{
	const TemplateHost *host = evaluator->host;
	char	   *result = template_allocate(host, text.length + 1);
	size_t		length;

	if (text.length > 0)
		memcpy(result, text.data, text.length);
	for (size_t at = 0; at < text.length; at += length)
	{
		length = template_character(host, result + at, text.length - at);
		change_character(result + at, length, upper, host->character_length == NULL);
		if (first_only)
			break;
	}
	return (TemplateText) {result, text.length};
}
