/* fault.c: errors with their place in the template, and characters; see fault.h. */
#include "template/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Counts the bytes of the UTF-8 character with this first byte. */
static int
utf8_length(unsigned char first)
{
	return first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
}

/* Counts the bytes of the character at a place with `left` bytes, one or more. */
size_t
template_character(const TemplateHost *host, const char *at, size_t left)
{
	int			length;

	if ((unsigned char) *at < 0x80)
		return 1;
	length = host->character_length != NULL ? host->character_length(at)
											: utf8_length((unsigned char) *at);
	return length < 1 ? 1 : (size_t) length > left ? left : (size_t) length;
}

/* Counts the characters of a text. */
size_t
template_characters(const TemplateHost *host, TemplateText text)
{
	size_t		count = 0;

	for (size_t at = 0; at < text.length;
		 at += template_character(host, text.data + at, text.length - at))
		count++;
	return count;
}

/* Counts the bytes of as many whole characters as fit. */
int
template_clip(const TemplateHost *host, TemplateText text, int most)
{
	size_t		at = 0;

	while (at < text.length)
	{
		size_t		next = at + template_character(host, text.data + at, text.length - at);

		if (next > (size_t) most)
			break;
		at = next;
	}
	return (int) at;
}

/* Fills in line, column and the line's text. */
static void
locate(const FaultSite *site, size_t at)
{
	TemplateError *error = site->error;
	const char *start = site->source.data;
	const char *end = site->source.data + site->source.length;
	const char *place = start + at;
	const char *next;

	error->line = 1;
	while (start < place && (next = memchr(start, '\n', place - start)) != NULL)
	{
		error->line++;
		start = next + 1;
	}
	error->column =
		1 + (int) template_characters(site->host, (TemplateText) {start, place - start});
	next = start < end ? memchr(start, '\n', end - start) : NULL;
	error->source_line = (TemplateText) {start, (next != NULL ? next : end) - start};
	error->source_line.length =
		template_clip(site->host, error->source_line, 2 * TEMPLATE_MAX_QUOTE);
}

/* Records an error, unless there is one. Returns false, so that it can be returned. */
bool
template_fault(const FaultSite *site, TemplateFault fault, size_t at, const char *hint,
			   const char *format, ...)
{
	TemplateError *error = site->error;
	int			length = 0;
	va_list		arguments;

	if (error->fault != TEMPLATE_FINE)
		return false;
	error->fault = fault;
	error->hint = hint;
	if (at != TEMPLATE_NOWHERE)
	{
		locate(site, at);
		length = snprintf(error->message, sizeof(error->message),
						  "line %d, column %d: ", error->line, error->column);
	}
	va_start(arguments, format);
	vsnprintf(error->message + length, sizeof(error->message) - length, format, arguments);
	va_end(arguments);
	return false;
}
