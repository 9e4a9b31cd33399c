/* scan.c: the words within a tag. */
#include "template/parser.h"

#include <string.h>

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Tells whether a byte may be in a name: letters, the underscore, and everything beyond ASCII. */
static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
		   (unsigned char) c >= 0x80;
}

/* Returns the character at a place, or 0 behind the end. */
static char
peek(TemplateText source, uint32_t at)
{
	return at < source.length ? source.data[at] : 0;
}

/*
 * Tells where the name ends that begins at a place: there, if none does. A hyphen belongs to it
 * between letters and digits.
 */
uint32_t
template_name_end(TemplateText source, uint32_t position)
{
	uint32_t	end = position;

	if (!is_letter(peek(source, position)))
		return position;
	for (;;)
	{
		char		c = peek(source, end);
		char		next = peek(source, end + 1);

		if (!is_letter(c) && !is_digit(c) && !(c == '-' && (is_letter(next) || is_digit(next))))
			return end;
		end++;
	}
}

/* Tells where the number ends that begins at a place: there, if none does. */
static uint32_t
number_end(TemplateText source, uint32_t position)
{
	uint32_t	end = position + (peek(source, position) == '-');

	if (!is_digit(peek(source, end)))
		return position;
	while (is_digit(peek(source, end)))
		end++;
	if (peek(source, end) == '.' && is_digit(peek(source, end + 1)))
	{
		end++;
		while (is_digit(peek(source, end)))
			end++;
	}
	return end;
}

/* Returns the length of the operator or punctuation mark at a place. */
static uint32_t
symbol_length(TemplateText source, uint32_t position)
{
	char		c = peek(source, position);

	if (c != 0 && strchr("=!<>", c) != NULL && peek(source, position + 1) == '=')
		return 2;
	return c != 0 && strchr("|:.()<>", c) != NULL ? 1 : 0;
}

static void
set_token(Parser *parser, TokenKind kind, uint32_t start, uint32_t end)
{
	parser->token.kind = kind;
	parser->token.at = parser->position;
	parser->token.text = (TemplateText) {parser->program->source.data + start, end - start};
	parser->position = end;
}

static void
scan_string(Parser *parser)
{
	TemplateText source = parser->program->source;
	uint32_t	start = parser->position + 1;
	const char *end = memchr(source.data + start, source.data[start - 1], source.length - start);

	if (end == NULL)
	{
		parser->token.kind = TOKEN_NONE;
		template_fault(&parser->site, TEMPLATE_SYNTAX, parser->position,
					   "Text begins and ends with the same quote, \" or '.",
					   "text without its closing quote");
		return;
	}
	set_token(parser, TOKEN_STRING, start, end - source.data);
	parser->position++;
}

/* Tells whether the tag's end stands here; takes it. */
static bool
scan_close(Parser *parser)
{
	TemplateText source = parser->program->source;
	uint32_t	at = parser->position;
	bool		trim = peek(source, at) == '-';
	uint32_t	close = at + trim;

	if (peek(source, close) != parser->close[0] || peek(source, close + 1) != parser->close[1])
		return false;
	set_token(parser, TOKEN_CLOSE, at, close + 2);
	parser->trim_next = trim;
	return true;
}

static void
scan_fault(Parser *parser)
{
	TemplateText source = parser->program->source;
	TemplateText rest = {source.data + parser->position, source.length - parser->position};

	parser->token.kind = TOKEN_NONE;
	if (rest.length == 0)
		template_fault(&parser->site, TEMPLATE_SYNTAX, parser->position,
					   "Text with braces of its own can stand between {% raw %} and {% endraw %}.",
					   "the template ends within a tag, before its \"%s\"", parser->close);
	else
		template_fault(&parser->site, TEMPLATE_SYNTAX, parser->position, NULL,
					   "unexpected \"%.*s\"",
					   (int) template_character(parser->site.host, rest.data, rest.length),
					   rest.data);
}

/* Reads the next word of the tag; after an error there is none. */
void
template_next_token(Parser *parser)
{
	TemplateText source = parser->program->source;
	uint32_t	start;
	uint32_t	end;

	while (is_space(peek(source, parser->position)))
		parser->position++;
	start = parser->position;
	if (scan_close(parser))
		return;
	if (peek(source, start) == '"' || peek(source, start) == '\'')
		scan_string(parser);
	else if ((end = template_name_end(source, start)) > start)
		set_token(parser, TOKEN_NAME, start, end);
	else if ((end = number_end(source, start)) > start)
		set_token(parser, TOKEN_NUMBER, start, end);
	else if ((end = start + symbol_length(source, start)) > start)
		set_token(parser, TOKEN_SYMBOL, start, end);
	else
		scan_fault(parser);
}

/* Tells whether the token is this name. */
bool
template_is_name(const Parser *parser, const char *name)
{
	return parser->token.kind == TOKEN_NAME && text_is(parser->token.text, name);
}

/* Tells whether the token is this symbol; if so goes on to the next. */
bool
template_take_symbol(Parser *parser, const char *symbol)
{
	if (parser->token.kind != TOKEN_SYMBOL || !text_is(parser->token.text, symbol))
		return false;
	template_next_token(parser);
	return true;
}

/* Tells whether the token is this name; if so goes on to the next. */
bool
template_take_name(Parser *parser, const char *name)
{
	if (!template_is_name(parser, name))
		return false;
	template_next_token(parser);
	return true;
}

/* Reports the error that something else stands here. */
bool
template_expected(Parser *parser, const char *what)
{
	return template_fault(&parser->site, TEMPLATE_SYNTAX, parser->token.at, NULL,
						  "%s expected, not \"%.*s\"", what,
						  QUOTED(&parser->site, parser->token.text));
}

/* Expects that the tag ends here; what follows it is not read yet. */
bool
template_expect_close(Parser *parser)
{
	char		what[] = "\"%}\"";

	memcpy(what + 1, parser->close, 2);
	return parser->token.kind == TOKEN_CLOSE || template_expected(parser, what);
}
