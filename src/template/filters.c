/* filters.c: the filters but for dates and letters; see filters.h. */
#include "template/filters.h"

#include <string.h>

/*
 * Says what ends a text that was cut: plain dots, which every alphabet and every text message has.
 */
#define ELLIPSIS "..."

static bool
kind_fault(Evaluator *evaluator, const FilterCall *call, const TemplateValue *value,
		   const char *needed)
{
	return template_fault(&evaluator->site, TEMPLATE_VALUE, call->at, NULL,
						  "filter \"%s\" needs %s, not %s", call->filter->name, needed,
						  template_kind_name(value->kind));
}

/* Gets a number or boolean as text; says whether there is one. */
static bool
as_text(Evaluator *evaluator, uint32_t at, TemplateValue *value)
{
	if (value->kind == TEMPLATE_NUMBER && !template_write_number(evaluator, at, value))
		return false;
	if (value->kind == TEMPLATE_BOOLEAN)
		value->text = value->truth ? (TemplateText) {"true", 4} : (TemplateText) {"false", 5};
	value->kind = TEMPLATE_STRING;
	return true;
}

/* Makes text of a value that a filter of text is given, and pays for reading it. */
static bool
need_text(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	if (value->kind == TEMPLATE_ARRAY || value->kind == TEMPLATE_OBJECT)
		return kind_fault(evaluator, call, value, "text");
	return as_text(evaluator, call->at, value) &&
		   template_work(evaluator, call->at, value->text.length);
}

static bool
filter_default(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	TemplateEscaping escaping = value->escaping;

	if (is_missing(value) || (value->kind == TEMPLATE_STRING && value->text.length == 0))
	{
		*value = call->argument;
		value->escaping = escaping;
	}
	return true;
}

static bool
filter_case(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	if (!need_text(evaluator, call, value))
		return false;
	value->text = template_change_case(evaluator, value->text, call->filter->name[0] != 'l',
									   call->filter->name[0] == 'c');
	return true;
}

static bool
filter_escape(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	value->escaping = ESCAPE_ALWAYS;
	return true;
}

static bool
filter_safe(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	value->escaping = ESCAPE_NEVER;
	return true;
}

static bool
filter_round(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	if (value->kind != TEMPLATE_NUMBER)
		return kind_fault(evaluator, call, value, "a number");
	if (!template_write_number(evaluator, call->at, value) ||
		!template_work(evaluator, call->at, value->text.length + call->number))
		return false;
	value->text = template_round(evaluator->host, value->text, call->number);
	return true;
}

static bool
is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		   (c != 0 && strchr("-._~", c) != NULL);
}

/* Percent-encodes the UTF-8 bytes of everything but letters, digits and -._~ */
static bool
filter_urlencode(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	static const char digits[] = "0123456789ABCDEF";
	const TemplateHost *host = evaluator->host;
	TemplateText source;
	char	   *result;
	size_t		length = 0;

	if (!need_text(evaluator, call, value) ||
		!template_work(evaluator, call->at, value->text.length * 4))
		return false;
	source = host->to_utf8 != NULL ? host->to_utf8(host->context, value->text) : value->text;
	result = template_allocate(host, source.length * 3 + 1);
	for (size_t i = 0; i < source.length; i++)
	{
		unsigned char byte = source.data[i];

		if (is_unreserved(byte))
		{
			result[length++] = byte;
			continue;
		}
		result[length++] = '%';
		result[length++] = digits[byte >> 4];
		result[length++] = digits[byte & 15];
	}
	value->text = (TemplateText) {result, length};
	return true;
}

/* Counts characters of text, elements of an array, members of an object. */
static bool
filter_length(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	size_t		length = value->size;
	char	   *digits = template_allocate(evaluator->host, 20);
	int			first = 20;

	if (value->kind == TEMPLATE_BOOLEAN || value->kind == TEMPLATE_NUMBER)
		return kind_fault(evaluator, call, value, "text, an array or an object");
	if (!template_work(evaluator, call->at,
					   20 + (value->kind == TEMPLATE_STRING ? value->text.length : 0)))
		return false;
	if (value->kind == TEMPLATE_STRING)
		length = template_characters(evaluator->host, value->text);
	do
		digits[--first] = '0' + length % 10;
	while ((length /= 10) > 0);
	*value = (TemplateValue) {.kind = TEMPLATE_NUMBER, .text = {digits + first, 20 - first}};
	return true;
}

/* Appends to a text in memory that grows. */
static bool
append(Evaluator *evaluator, const FilterCall *call, TemplateOutput *result, TemplateText text)
{
	if (!template_work(evaluator, call->at, 2 * text.length))
		return false;
	if (result->length + text.length > result->capacity)
	{
		result->capacity = 2 * (result->length + text.length) + 64;
		result->data =
			evaluator->host->resize(evaluator->host->context, result->data, result->capacity);
	}
	if (text.length > 0)
		memcpy(result->data + result->length, text.data, text.length);
	result->length += text.length;
	return true;
}

/* Gets an array's element as text; nulls have none. */
static bool
element_text(Evaluator *evaluator, const FilterCall *call, const TemplateValue *array, size_t index,
			 TemplateValue *element)
{
	*element = (TemplateValue) {.kind = TEMPLATE_ABSENT};
	if (!template_turn(evaluator, call->at))
		return false;
	evaluator->host->element(evaluator->host->context, array, index, element);
	if (is_missing(element))
		return true;
	if (element->kind == TEMPLATE_ARRAY || element->kind == TEMPLATE_OBJECT)
		return kind_fault(evaluator, call, element, "an array of texts or numbers");
	return as_text(evaluator, call->at, element);
}

/* Joins the elements that are not null. */
static bool
filter_join(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	TemplateOutput result = {NULL, 0, 0};
	bool		is_first = true;

	if (value->kind != TEMPLATE_ARRAY)
		return kind_fault(evaluator, call, value, "an array");
	for (size_t i = 0; i < value->size; i++)
	{
		TemplateValue element;

		if (!element_text(evaluator, call, value, i, &element))
			return false;
		if (is_missing(&element))
			continue;
		if ((!is_first && !append(evaluator, call, &result, call->argument.text)) ||
			!append(evaluator, call, &result, element.text))
			return false;
		is_first = false;
	}
	*value = (TemplateValue) {.kind = TEMPLATE_STRING,
							  .escaping = value->escaping,
							  .text = {result.data == NULL ? "" : result.data, result.length}};
	return true;
}

/* Gets an array's first or last element; an empty array has none. */
static bool
filter_end(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	TemplateValue element = {.kind = TEMPLATE_ABSENT};

	if (value->kind != TEMPLATE_ARRAY)
		return kind_fault(evaluator, call, value, "an array");
	if (value->size > 0)
		evaluator->host->element(evaluator->host->context, value,
								 call->filter->name[0] == 'f' ? 0 : value->size - 1, &element);
	element.escaping = value->escaping;
	*value = element;
	return true;
}

/* Counts the bytes of the first characters. */
static size_t
prefix_length(const TemplateHost *host, TemplateText text, size_t characters)
{
	size_t		at = 0;

	while (at < text.length && characters-- > 0)
		at += template_character(host, text.data + at, text.length - at);
	return at;
}

/*
 * Cuts text so that it has as many characters as allowed, with the dots which say that it was cut.
 */
static bool
filter_truncate(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	size_t		length;
	char	   *result;

	if (!need_text(evaluator, call, value))
		return false;
	if (prefix_length(evaluator->host, value->text, call->number) == value->text.length)
		return true;
	length = prefix_length(evaluator->host, value->text, call->number - strlen(ELLIPSIS));
	while (length > 0 && value->text.data[length - 1] == ' ')
		length--;
	result = template_allocate(evaluator->host, length + strlen(ELLIPSIS));
	memcpy(result, value->text.data, length);
	memcpy(result + length, ELLIPSIS, strlen(ELLIPSIS));
	value->text = (TemplateText) {result, length + strlen(ELLIPSIS)};
	return true;
}

/* Tells how a character is written in JSON, and nowhere taken for HTML; NULL: as it is. */
static const char *
json_character(unsigned char c, char *code)
{
	static const char digits[] = "0123456789abcdef";

	if (c == '"' || c == '\\')
		return c == '"' ? "\\\"" : "\\\\";
	if (c >= ' ' && strchr("<>&'", c) == NULL)
		return NULL;
	memcpy(code, "\\u00", 4);
	code[4] = digits[c >> 4];
	code[5] = digits[c & 15];
	code[6] = 0;
	return code;
}

static bool
quote_json(Evaluator *evaluator, const FilterCall *call, TemplateText text, TemplateOutput *result)
{
	char		code[7];

	if (!append(evaluator, call, result, (TemplateText) {"\"", 1}))
		return false;
	for (size_t i = 0; i < text.length; i++)
	{
		const char *written = json_character(text.data[i], code);
		TemplateText next = written == NULL ? (TemplateText) {text.data + i, 1}
											: (TemplateText) {written, strlen(written)};

		if (!append(evaluator, call, result, next))
			return false;
	}
	return append(evaluator, call, result, (TemplateText) {"\"", 1});
}

/* Writes a value as JSON has it: text in quotes, nothing as null. */
static bool
filter_json(Evaluator *evaluator, const FilterCall *call, TemplateValue *value)
{
	TemplateOutput result = {NULL, 0, 0};

	if (is_missing(value))
		result = (TemplateOutput) {"null", 4, 4};
	else if (value->kind == TEMPLATE_ARRAY || value->kind == TEMPLATE_OBJECT)
		return kind_fault(evaluator, call, value, "text, a number or a boolean");
	else if (value->kind != TEMPLATE_STRING)
	{
		value->escaping = ESCAPE_NEVER;
		return as_text(evaluator, call->at, value);
	}
	else if (!quote_json(evaluator, call, value->text, &result))
		return false;
	*value = (TemplateValue) {
		.kind = TEMPLATE_STRING, .escaping = ESCAPE_NEVER, .text = {result.data, result.length}};
	return true;
}

static const Filter filters[] = {
	{"default", ARGUMENT_ANY, true, filter_default},
	{"upper", ARGUMENT_NONE, false, filter_case},
	{"lower", ARGUMENT_NONE, false, filter_case},
	{"capitalize", ARGUMENT_NONE, false, filter_case},
	{"escape", ARGUMENT_NONE, true, filter_escape},
	{"safe", ARGUMENT_NONE, true, filter_safe},
	{"round", ARGUMENT_DECIMALS, false, filter_round},
	{"date", ARGUMENT_PATTERN, false, template_filter_date},
	{"urlencode", ARGUMENT_NONE, false, filter_urlencode},
	{"json", ARGUMENT_NONE, true, filter_json},
	{"length", ARGUMENT_NONE, false, filter_length},
	{"join", ARGUMENT_TEXT, false, filter_join},
	{"first", ARGUMENT_NONE, false, filter_end},
	{"last", ARGUMENT_NONE, false, filter_end},
	{"truncate", ARGUMENT_CHARACTERS, false, filter_truncate}
};

/* Finds the filter of this name, or NULL. */
const Filter *
template_filter(TemplateText name)
{
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
	{
		if (text_is(name, filters[i].name))
			return &filters[i];
	}
	return NULL;
}

/* Reads a whole number within limits. */
static bool
read_whole(TemplateText text, int low, int high, int *number)
{
	*number = 0;
	for (size_t i = 0; i < text.length; i++)
	{
		if (text.data[i] < '0' || text.data[i] > '9' || i >= 6)
			return false;
		*number = *number * 10 + (text.data[i] - '0');
	}
	return *number >= low && *number <= high;
}

static bool
check_number(const FaultSite *site, FilterCall *call, uint32_t at, int low, int high)
{
	if (call->argument.kind == TEMPLATE_NUMBER &&
		read_whole(call->argument.text, low, high, &call->number))
		return true;
	return template_fault(site, TEMPLATE_SYNTAX, at, NULL,
						  "filter \"%s\" needs a whole number from %d to %d", call->filter->name,
						  low, high);
}

static bool
check_pattern(const FaultSite *site, const FilterCall *call, uint32_t at)
{
	TemplateText unknown;

	if (template_check_pattern(call->argument.text, &unknown))
		return true;
	return template_fault(site, TEMPLATE_SYNTAX, at,
						  "Patterns are YYYY, YY, MM, DD, HH24, HH12, MI, SS, AM, Month, Mon, Day "
						  "and Dy; FM before and th after a number; "
						  "other letters stand in double quotes.",
						  "filter \"date\" does not know the pattern \"%.*s\"",
						  QUOTED(site, unknown));
}

/* Tells whether a filter's argument is what it takes; errors are about the place `at`. */
bool
template_check_argument(const FaultSite *site, FilterCall *call, bool given, uint32_t at)
{
	ArgumentRule rule = call->filter->argument;

	if (rule == ARGUMENT_NONE && given)
		return template_fault(site, TEMPLATE_SYNTAX, at, NULL, "filter \"%s\" takes no argument",
							  call->filter->name);
	if (rule == ARGUMENT_NONE || (rule == ARGUMENT_DECIMALS && !given))
		return true;
	if (!given)
		return template_fault(site, TEMPLATE_SYNTAX, at,
							  "Arguments follow a colon: |truncate:30 or |default:\"there\".",
							  "filter \"%s\" needs an argument", call->filter->name);
	if (rule == ARGUMENT_DECIMALS)
		return check_number(site, call, at, 0, TEMPLATE_MAX_DECIMALS);
	if (rule == ARGUMENT_CHARACTERS)
		return check_number(site, call, at, TEMPLATE_MIN_TRUNCATE, 999999);
	if (rule != ARGUMENT_ANY && call->argument.kind != TEMPLATE_STRING)
		return template_fault(site, TEMPLATE_SYNTAX, at, NULL, "filter \"%s\" needs text in quotes",
							  call->filter->name);
	return rule != ARGUMENT_PATTERN || check_pattern(site, call, at);
}
