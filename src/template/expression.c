/* expression.c: paths, filters and conditions become instructions. */
#include "template/parser.h"

#include "template/filters.h"

#include <string.h>

/* Adds an instruction; returns its index. */
uint32_t
template_emit(Parser *parser, Opcode opcode, uint32_t at)
{
	Instruction *instruction =
		template_append(parser->site.host, &parser->program->code, sizeof(Instruction));

	*instruction = (Instruction) {.opcode = opcode, .at = at};
	return parser->program->code.count - 1;
}

/* Returns an instruction, valid until the next one is added. */
Instruction *
template_instruction(Parser *parser, uint32_t index)
{
	return ITEM(parser->program->code, Instruction, index);
}

/* Finds the slot of the innermost loop whose body this is, or -1. */
static int
innermost_loop(const Parser *parser)
{
	int			slot = parser->block_count - 1;

	while (slot >= 0 && parser->blocks[slot].variable.data == NULL)
		slot--;
	return slot;
}

/* Finds the slot of the innermost loop with this variable, or ROOT_CONTEXT. */
static int
find_variable(const Parser *parser, TemplateText name)
{
	int			slot = parser->block_count - 1;

	for (; slot >= 0; slot--)
	{
		TemplateText variable = parser->blocks[slot].variable;

		if (variable.data != NULL && variable.length == name.length &&
			memcmp(variable.data, name.data, name.length) == 0)
			break;
	}
	return slot;
}

static void
add_step(Parser *parser, TemplateText name, uint32_t index)
{
	PathStep   *step =
		template_append(parser->site.host, &parser->program->steps, sizeof(PathStep));

	*step = (PathStep) {name, index};
}

/* Reads digits as an index, or NO_INDEX if no array is that long. */
static uint32_t
index_of(TemplateText digits)
{
	uint32_t	index = 0;

	if (digits.length > 9)
		return NO_INDEX;
	for (size_t i = 0; i < digits.length; i++)
		index = index * 10 + (digits.data[i] - '0');
	return index;
}

/* Reads digits after a dot; says whether there are any. */
static bool
parse_index(Parser *parser)
{
	TemplateText source = parser->program->source;
	uint32_t	start = parser->position;
	uint32_t	end = start;

	while (end < source.length && source.data[end] >= '0' && source.data[end] <= '9')
		end++;
	if (end == start)
		return false;
	add_step(parser, (TemplateText) {source.data + start, end - start},
			 index_of((TemplateText) {source.data + start, end - start}));
	parser->position = end;
	return true;
}

/* Reads what follows a dot: a name, digits, or any text in quotes. */
static bool
parse_step(Parser *parser)
{
	TemplateText source = parser->program->source;
	uint32_t	start = parser->position;
	uint32_t	end = template_name_end(source, start);

	if (end > start)
	{
		add_step(parser, (TemplateText) {source.data + start, end - start}, NO_INDEX);
		parser->position = end;
		return true;
	}
	if (parse_index(parser))
		return true;
	if (start < source.length && (source.data[start] == '"' || source.data[start] == '\''))
	{
		template_next_token(parser);
		add_step(parser, parser->token.text, NO_INDEX);
		return parser->token.kind == TOKEN_STRING;
	}
	return template_fault(&parser->site, TEMPLATE_SYNTAX, start,
						  "Between dots stands a name, a number, or text in quotes.",
						  "a name expected after the dot");
}

static bool
is_keyword(TemplateText name)
{
	static const char *const keywords[] = {"and", "or", "not", "in", "true", "false", "null"};

	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
	{
		if (text_is(name, keywords[i]))
			return true;
	}
	return false;
}

static bool
loop_fault(Parser *parser, uint32_t at)
{
	return template_fault(&parser->site, TEMPLATE_SYNTAX, at,
						  "Within a loop there are loop.index, loop.first and loop.last.",
						  "\"loop\" has no such property");
}

/* Reads names joined by dots; the token is the first. */
bool
template_parse_path(Parser *parser, uint32_t *path)
{
	Token		first = parser->token;
	TemplateText source = parser->program->source;
	Path		result = {.root = find_variable(parser, first.text),
						  .first_step = parser->program->steps.count};

	if (first.kind != TOKEN_NAME || is_keyword(first.text))
		return template_expected(parser, "a path");
	if (result.root == ROOT_CONTEXT && text_is(first.text, "loop") &&
		innermost_loop(parser) >= 0)
		return loop_fault(parser, first.at);
	if (result.root == ROOT_CONTEXT)
		add_step(parser, first.text, NO_INDEX);
	while (parser->position < source.length && source.data[parser->position] == '.')
	{
		parser->position++;
		if (!parse_step(parser))
			return false;
	}
	result.step_count = parser->program->steps.count - result.first_step;
	result.source = (TemplateText) {first.text.data, parser->position - first.at};
	*path = parser->program->paths.count;
	*(Path *) template_append(parser->site.host, &parser->program->paths, sizeof(Path)) = result;
	template_next_token(parser);
	return true;
}

/* Reads loop.index, loop.first or loop.last. */
static bool
parse_loop_property(Parser *parser)
{
	static const char *const properties[] = {"index", "first", "last"};
	uint32_t	at = parser->token.at;
	uint32_t	instruction = template_emit(parser, OP_LOOP, at);
	int			property = 0;

	template_next_token(parser);
	if (!template_take_symbol(parser, "."))
		return loop_fault(parser, at);
	while (property < 3 && !template_take_name(parser, properties[property]))
		property++;
	if (property == 3)
		return loop_fault(parser, at);
	template_instruction(parser, instruction)->detail = property;
	template_instruction(parser, instruction)->slot = innermost_loop(parser);
	return true;
}

static bool
parse_variable(Parser *parser)
{
	uint32_t	at = parser->token.at;
	uint32_t	path;

	if (template_is_name(parser, "loop") && innermost_loop(parser) >= 0)
		return parse_loop_property(parser);
	if (!template_parse_path(parser, &path))
		return false;
	template_instruction(parser, template_emit(parser, OP_PATH, at))->operand = path;
	return true;
}

/* Reads text or a number as a value; goes on to the next token. */
static bool
parse_literal(Parser *parser, TemplateValue *literal)
{
	if (parser->token.kind != TOKEN_STRING && parser->token.kind != TOKEN_NUMBER)
		return false;
	literal->kind = parser->token.kind == TOKEN_STRING ? TEMPLATE_STRING : TEMPLATE_NUMBER;
	literal->text = parser->token.text;
	template_next_token(parser);
	return true;
}

/* Reads a filter's name and argument, after the bar. */
static bool
parse_filter(Parser *parser)
{
	FilterCall	call = {.at = parser->token.at};
	TemplateText name = parser->token.text;
	bool		given;
	uint32_t	argument_at;

	if (parser->token.kind != TOKEN_NAME)
		return template_expected(parser, "a filter");
	call.filter = template_filter(name);
	if (call.filter == NULL)
		return template_fault(
			&parser->site, TEMPLATE_SYNTAX, call.at,
			"The filters are default, upper, lower, capitalize, escape, safe, round, date, "
			"urlencode, json, length, join, first, last and truncate.",
			"there is no filter \"%.*s\"", QUOTED(&parser->site, name));
	template_next_token(parser);
	given = template_take_symbol(parser, ":");
	argument_at = given ? parser->token.at : call.at;
	if (given && !parse_literal(parser, &call.argument))
		return template_expected(parser, "text in quotes or a number");
	if (!template_check_argument(&parser->site, &call, given, argument_at))
		return false;
	*(FilterCall *) template_append(parser->site.host, &parser->program->calls,
									sizeof(FilterCall)) = call;
	template_instruction(parser, template_emit(parser, OP_FILTER, call.at))->operand =
		parser->program->calls.count - 1;
	return true;
}

/* Reads a path or property of the loop, with its filters. */
static bool
parse_filtered(Parser *parser)
{
	bool		fine = parse_variable(parser);

	while (fine && template_take_symbol(parser, "|"))
		fine = parse_filter(parser);
	return fine;
}

/* Reads what stands between {{ and }}: the token is the first. */
bool
template_parse_print(Parser *parser)
{
	uint32_t	at = parser->token.at;
	uint32_t	print;
	uint32_t	end;

	if (!parse_filtered(parser))
		return false;
	for (end = parser->token.at; strchr(" \t\r\n", parser->program->source.data[end - 1]) != NULL;)
		end--;
	print = template_emit(parser, OP_PRINT, at);
	template_instruction(parser, print)->count = end - at;
	return template_expect_close(parser);
}

static void
emit_literal(Parser *parser, uint32_t at, TemplateValue literal)
{
	*(TemplateValue *) template_append(parser->site.host, &parser->program->literals,
									   sizeof(TemplateValue)) = literal;
	template_instruction(parser, template_emit(parser, OP_LITERAL, at))->operand =
		parser->program->literals.count - 1;
}

static bool
parse_parenthesis(Parser *parser, uint32_t at)
{
	if (++parser->parentheses > TEMPLATE_MAX_DEPTH)
		return template_fault(&parser->site, TEMPLATE_LIMIT, at, NULL,
							  "more than %d parentheses within each other", TEMPLATE_MAX_DEPTH);
	if (!template_parse_condition(parser))
		return false;
	parser->parentheses--;
	return template_take_symbol(parser, ")") || template_expected(parser, "\")\"");
}

static bool
parse_operand(Parser *parser)
{
	uint32_t	at = parser->token.at;
	TemplateValue literal = {.kind = TEMPLATE_BOOLEAN};

	if (template_take_symbol(parser, "("))
		return parse_parenthesis(parser, at);
	if (template_take_name(parser, "true"))
		literal.truth = true;
	else if (template_take_name(parser, "null"))
		literal.kind = TEMPLATE_NULL;
	else if (!template_take_name(parser, "false") && !parse_literal(parser, &literal))
		return parse_filtered(parser);
	emit_literal(parser, at, literal);
	return true;
}

/* Reads a comparison's operator, if there is one. */
static bool
take_comparison(Parser *parser, Comparison *comparison)
{
	static const char *const symbols[] = {"==", "!=", "<", "<=", ">", ">="};

	for (int i = 0; i < 6; i++)
	{
		if (template_take_symbol(parser, symbols[i]))
		{
			*comparison = COMPARE_EQUAL + i;
			return true;
		}
	}
	*comparison = template_is_name(parser, "not") ? COMPARE_NOT_IN : COMPARE_IN;
	if (template_take_name(parser, "not"))
		return template_take_name(parser, "in") || template_expected(parser, "\"in\"");
	return template_take_name(parser, "in");
}

static bool
parse_comparison(Parser *parser)
{
	Comparison	comparison;
	uint32_t	at;

	if (!parse_operand(parser))
		return false;
	at = parser->token.at;
	if (!take_comparison(parser, &comparison))
		return parser->site.error->fault == TEMPLATE_FINE;
	if (!parse_operand(parser))
		return false;
	template_instruction(parser, template_emit(parser, OP_COMPARE, at))->detail = comparison;
	return true;
}

static bool
parse_not(Parser *parser)
{
	uint32_t	at = parser->token.at;
	int			count = 0;

	while (template_take_name(parser, "not"))
		count++;
	if (!parse_comparison(parser))
		return false;
	/* Two make a truth value of anything; more would say the same again. */
	for (count = count > 2 ? 2 - count % 2 : count; count > 0; count--)
		template_emit(parser, OP_NOT, at);
	return true;
}

/* Reads terms joined by `and` or by `or`, of which only the needed ones are evaluated. */
static bool
parse_chain(Parser *parser, const char *name, Opcode opcode, bool (*parse_term) (Parser *parser))
{
	uint32_t	at = parser->token.at;
	bool		is_chain = false;

	if (!parse_term(parser))
		return false;
	while (template_take_name(parser, name))
	{
		uint32_t	jump = template_emit(parser, opcode, at);

		is_chain = true;
		if (!parse_term(parser))
			return false;
		template_instruction(parser, jump)->target = parser->program->code.count;
	}
	if (is_chain)
		template_emit(parser, OP_TRUTH, at);
	return true;
}

static bool
parse_and(Parser *parser)
{
	return parse_chain(parser, "and", OP_AND, parse_not);
}

/* Reads an expression of if and elif; leaves its value on the stack. */
bool
template_parse_condition(Parser *parser)
{
	return parse_chain(parser, "or", OP_OR, parse_and);
}
