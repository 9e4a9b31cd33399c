/*
 * date.c: dates and times of ISO 8601 as text, written by a pattern. Names are English; zones are
 * not converted.
 */
#include "template/filters.h"

#include <string.h>

/* Describes a date and time as it is written; without a time it is midnight. */
typedef struct DateFields
{
	int			year;
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			second;
} DateFields;

static const char *const months[] = {
	"January", "February", "March", "April", "May", "June", "July", "August", "September",
	"October", "November", "December"
};

static const char *const weekdays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
									   "Thursday", "Friday", "Saturday"};

typedef enum PatternKind
{
	PATTERN_YEAR,
	PATTERN_SHORT_YEAR,
	PATTERN_MONTH,
	PATTERN_DAY,
	PATTERN_HOUR,
	PATTERN_HOUR_12,
	PATTERN_MINUTE,
	PATTERN_SECOND,
	PATTERN_MONTH_NAME,
	PATTERN_SHORT_MONTH_NAME,
	PATTERN_DAY_NAME,
	PATTERN_SHORT_DAY_NAME,
	PATTERN_HALF
} PatternKind;

/*
 * Lists the pieces of patterns: longer ones stand before those that they begin with. The case of
 * names is that of the pattern.
 */
static const struct
{
	const char *text;
	PatternKind kind;
}			patterns[] = {
	{"YYYY", PATTERN_YEAR}, {"YY", PATTERN_SHORT_YEAR}, {"MM", PATTERN_MONTH},
	{"MI", PATTERN_MINUTE}, {"DD", PATTERN_DAY},
	{"HH24", PATTERN_HOUR}, {"HH12", PATTERN_HOUR_12}, {"HH", PATTERN_HOUR_12},
	{"SS", PATTERN_SECOND},
	{"Month", PATTERN_MONTH_NAME}, {"MONTH", PATTERN_MONTH_NAME}, {"month", PATTERN_MONTH_NAME},
	{"Mon", PATTERN_SHORT_MONTH_NAME}, {"MON", PATTERN_SHORT_MONTH_NAME},
	{"mon", PATTERN_SHORT_MONTH_NAME},
	{"Day", PATTERN_DAY_NAME}, {"DAY", PATTERN_DAY_NAME}, {"day", PATTERN_DAY_NAME},
	{"Dy", PATTERN_SHORT_DAY_NAME}, {"DY", PATTERN_SHORT_DAY_NAME}, {"dy", PATTERN_SHORT_DAY_NAME},
	{"AM", PATTERN_HALF}, {"PM", PATTERN_HALF}, {"am", PATTERN_HALF}, {"pm", PATTERN_HALF}
};

/* Describes one piece of a pattern: text to be copied if its number is negative. */
typedef struct Piece
{
	int			pattern;
	bool		is_bare;		/* FM: without leading zeros */
	bool		has_suffix;		/* th */
	TemplateText text;
} Piece;

static bool
begins_with(TemplateText text, size_t at, const char *prefix)
{
	size_t		length = strlen(prefix);

	return text.length - at >= length && memcmp(text.data + at, prefix, length) == 0;
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Reads text in double quotes, or one character; letters are none. */
static bool
next_literal(TemplateText pattern, size_t *at, Piece *piece)
{
	const char *start = pattern.data + *at;
	const char *end;

	if (is_letter(*start))
		return false;
	piece->pattern = -1;
	piece->text = (TemplateText) {start, 1};
	if (*start == '"' && (end = memchr(start + 1, '"', pattern.length - *at - 1)) != NULL)
	{
		piece->text = (TemplateText) {start + 1, end - start - 1};
		*at += 2;
	}
	*at += piece->text.length;
	return true;
}

/* Reads a pattern's next piece; false if it is unknown. */
static bool
next_piece(TemplateText pattern, size_t *at, Piece *piece)
{
	size_t		start = *at;
	int			count = sizeof(patterns) / sizeof(patterns[0]);

	*piece = (Piece) {.is_bare = begins_with(pattern, start, "FM")};
	if (piece->is_bare)
		start += 2;
	for (piece->pattern = 0; piece->pattern < count; piece->pattern++)
	{
		if (begins_with(pattern, start, patterns[piece->pattern].text))
			break;
	}
	if (piece->pattern == count)
		return !piece->is_bare && next_literal(pattern, at, piece);
	*at = start + strlen(patterns[piece->pattern].text);
	piece->has_suffix =
		patterns[piece->pattern].kind <= PATTERN_SECOND && begins_with(pattern, *at, "th");
	if (piece->has_suffix)
		*at += 2;
	return true;
}

/* Tells whether all of a pattern is known; if not, gives the letters that are not. */
bool
template_check_pattern(TemplateText pattern, TemplateText *unknown)
{
	Piece		piece;
	size_t		at = 0;

	while (at < pattern.length)
	{
		if (next_piece(pattern, &at, &piece))
			continue;
		*unknown = (TemplateText) {pattern.data + at, 0};
		while (at < pattern.length && is_letter(pattern.data[at]))
			at++;
		unknown->length = pattern.data + at - unknown->data;
		return false;
	}
	return true;
}

/* Reads digits, at least and at most so many. */
static bool
take_digits(TemplateText text, size_t *at, size_t least, size_t most, int *number)
{
	size_t		start = *at;

	*number = 0;
	while (*at < text.length && *at - start < most && text.data[*at] >= '0' &&
		   text.data[*at] <= '9')
		*number = *number * 10 + (text.data[(*at)++] - '0');
	return *at - start >= least;
}

static bool
take_character(TemplateText text, size_t *at, char c)
{
	if (*at >= text.length || text.data[*at] != c)
		return false;
	(*at)++;
	return true;
}

static bool
is_leap(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int
days_of_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

static bool
read_date(TemplateText text, size_t *at, DateFields *date)
{
	return take_digits(text, at, 4, 6, &date->year) && take_character(text, at, '-') &&
		   take_digits(text, at, 2, 2, &date->month) && take_character(text, at, '-') &&
		   take_digits(text, at, 2, 2, &date->day) && date->year >= 1 && date->month >= 1 &&
		   date->month <= 12 && date->day >= 1 &&
		   date->day <= days_of_month(date->year, date->month);
}

/* Reads hours and minutes, with or without seconds and their fraction. */
static bool
read_time(TemplateText text, size_t *at, DateFields *date)
{
	int			fraction;

	if (!take_digits(text, at, 2, 2, &date->hour) || !take_character(text, at, ':') ||
		!take_digits(text, at, 2, 2, &date->minute))
		return false;
	if (take_character(text, at, ':') && !take_digits(text, at, 2, 2, &date->second))
		return false;
	if (take_character(text, at, '.') && !take_digits(text, at, 1, 9, &fraction))
		return false;
	return date->hour < 24 && date->minute < 60 && date->second < 60;
}

/* Reads Z, or a sign with hours, minutes and seconds: what is written is not changed by it. */
static bool
read_zone(TemplateText text, size_t *at)
{
	int			ignored;

	if (take_character(text, at, 'Z') || *at == text.length)
		return true;
	if ((!take_character(text, at, '+') && !take_character(text, at, '-')) ||
		!take_digits(text, at, 2, 2, &ignored))
		return false;
	while (*at < text.length)
	{
		take_character(text, at, ':');
		if (!take_digits(text, at, 2, 2, &ignored))
			return false;
	}
	return true;
}

static bool
read_timestamp(TemplateText text, DateFields *date)
{
	size_t		at = 0;

	*date = (DateFields) {0};
	if (!read_date(text, &at, date))
		return false;
	if (at == text.length)
		return true;
	return (take_character(text, &at, 'T') || take_character(text, &at, ' ')) &&
		   read_time(text, &at, date) && read_zone(text, &at) && at == text.length;
}

/* Returns the day of the week, 0 for Sunday; the first of January of the year 1 was a Monday. */
static int
weekday(const DateFields *date)
{
	int			before = date->year - 1;
	int			days = before * 365 + before / 4 - before / 100 + before / 400 + date->day;

	for (int month = 1; month < date->month; month++)
		days += days_of_month(date->year, month);
	return days % 7;
}

/* Returns the number that a pattern of numbers writes, and its width. */
static int
field_value(PatternKind kind, const DateFields *date, int *width)
{
	*width = kind == PATTERN_YEAR ? 4 : 2;
	switch (kind)
	{
		case PATTERN_YEAR:
			return date->year;
		case PATTERN_SHORT_YEAR:
			return date->year % 100;
		case PATTERN_MONTH:
			return date->month;
		case PATTERN_DAY:
			return date->day;
		case PATTERN_HOUR:
			return date->hour;
		case PATTERN_HOUR_12:
			return (date->hour + 11) % 12 + 1;
		case PATTERN_MINUTE:
			return date->minute;
		default:
			return date->second;
	}
}

/* Returns st, nd, rd or th. */
static const char *
ordinal_suffix(int number)
{
	static const char *const suffixes[] = {"th", "st", "nd", "rd"};

	return number % 10 > 3 || (number % 100 > 10 && number % 100 < 14) ? suffixes[0]
																	   : suffixes[number % 10];
}

/* Writes a number; returns the end. */
static char *
write_number(char *next, const Piece *piece, const DateFields *date)
{
	int			width;
	int			number = field_value(patterns[piece->pattern].kind, date, &width);
	char		digits[12];
	int			count = 0;

	for (int rest = number; rest > 0 || count < (piece->is_bare ? 1 : width); rest /= 10)
		digits[count++] = '0' + rest % 10;
	while (count > 0)
		*next++ = digits[--count];
	if (piece->has_suffix)
	{
		memcpy(next, ordinal_suffix(number), 2);
		next += 2;
	}
	return next;
}

/* Writes a name in the case of its pattern: the first two letters show which. Returns the end. */
static char *
write_name(char *next, const char *name, size_t length, const char *pattern)
{
	for (size_t i = 0; i < length; i++)
	{
		bool		is_upper = pattern[i == 0 ? 0 : 1] < 'a';
		bool		is_letter_upper = name[i] < 'a';

		*next++ = is_upper == is_letter_upper ? name[i] : name[i] ^ 32;
	}
	return next;
}

static char *
write_piece(char *next, const Piece *piece, const DateFields *date)
{
	const char *pattern = patterns[piece->pattern].text;
	const char *month = months[date->month - 1];
	const char *day = weekdays[weekday(date)];

	switch (patterns[piece->pattern].kind)
	{
		case PATTERN_MONTH_NAME:
			return write_name(next, month, strlen(month), pattern);
		case PATTERN_SHORT_MONTH_NAME:
			return write_name(next, month, 3, pattern);
		case PATTERN_DAY_NAME:
			return write_name(next, day, strlen(day), pattern);
		case PATTERN_SHORT_DAY_NAME:
			return write_name(next, day, 3, pattern);
		case PATTERN_HALF:
			return write_name(next, date->hour < 12 ? "AM" : "PM", 2, pattern);
		default:
			return write_number(next, piece, date);
	}
}

/* Renders a date by a pattern. Three letters of a pattern make nine at most. */
static TemplateText
write_date(const TemplateHost *host, TemplateText pattern, const DateFields *date)
{
	char	   *result = template_allocate(host, pattern.length * 5 + 1);
	char	   *next = result;
	Piece		piece;
	size_t		at = 0;

	while (at < pattern.length && next_piece(pattern, &at, &piece))
	{
		if (piece.pattern >= 0)
			next = write_piece(next, &piece, date);
		else
		{
			memcpy(next, piece.text.data, piece.text.length);
			next += piece.text.length;
		}
	}
	return (TemplateText) {result, next - result};
}

/* Writes a date, which is text of ISO 8601, by a pattern. */
bool
template_filter_date(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	DateFields	date;

	if (value->kind != TEMPLATE_STRING)
		return template_fault(&evaluator->site, TEMPLATE_VALUE, call->at, NULL,
							  "filter \"date\" needs text, not %s",
							  template_kind_name(value->kind));
	if (!read_timestamp(value->text, &date))
		return template_fault(&evaluator->site, TEMPLATE_DATE, call->at,
							  "Dates look like 2025-01-31 or 2025-01-31T12:30:00+01:00.",
							  "\"%.*s\" is no date", QUOTED(&evaluator->site, value->text));
	if (!template_work(evaluator, call->at, call->argument.text.length * 5))
		return false;
	value->text = write_date(evaluator->host, call->argument.text, &date);
	return true;
}
