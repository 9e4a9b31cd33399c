/* parse.c: a template's text, tags and blocks. */
#include "template/parser.h"

#include <string.h>

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Adds literal text; white space is left out where the tags next to it ask for that. */
static void
emit_text(Parser *parser, uint32_t start, uint32_t end, bool trim_end)
{
	const char *source = parser->program->source.data;

	while (parser->trim_next && start < end && is_space(source[start]))
		start++;
	while (trim_end && end > start && is_space(source[end - 1]))
		end--;
	parser->trim_next = false;
	if (end > start)
		template_instruction(parser, template_emit(parser, OP_TEXT, start))->count = end - start;
}

/* Tells where the next tag begins, or the template's end. */
static uint32_t
find_tag(TemplateText source, uint32_t start)
{
	const char *end = source.data + source.length;
	const char *at = source.data + start;

	while (at < end && (at = memchr(at, '{', end - at)) != NULL)
	{
		if (at + 1 < end && (at[1] == '{' || at[1] == '%' || at[1] == '#'))
			return at - source.data;
		at++;
	}
	return source.length;
}

static bool
syntax_fault(Parser *parser, uint32_t at, const char *hint, const char *message)
{
	return template_fault(&parser->site, TEMPLATE_SYNTAX, at, hint, "%s", message);
}

/* Leaves out everything up to the comment's end. */
static bool
parse_comment(Parser *parser, uint32_t at)
{
	TemplateText source = parser->program->source;
	uint32_t	end = at + 2;

	while (end + 1 < source.length && (source.data[end] != '#' || source.data[end + 1] != '}'))
		end++;
	if (end + 1 >= source.length)
		return syntax_fault(
			parser, at, "Text with braces of its own can stand between {% raw %} and {% endraw %}.",
			"a comment without its end \"#}\"");
	parser->trim_next = source.data[end - 1] == '-' && end - 1 > at + 1;
	parser->position = end + 2;
	return true;
}

/* Opens a block; the innermost one is the last. */
static Block *
open_block(Parser *parser, uint32_t at, bool is_loop)
{
	Block	   *block = &parser->blocks[parser->block_count];

	if (parser->block_count == TEMPLATE_MAX_DEPTH)
	{
		template_fault(&parser->site, TEMPLATE_LIMIT, at, NULL,
					   "more than %d blocks within each other", TEMPLATE_MAX_DEPTH);
		return NULL;
	}
	parser->block_count++;
	*block = (Block) {.is_loop = is_loop, .at = at, .skip = NO_JUMP, .exits = NO_JUMP};
	return block;
}

/* Finds the innermost block, which must be an if or a for. */
static Block *
current_block(Parser *parser, uint32_t at, bool is_loop, const char *tag)
{
	Block	   *block = parser->block_count > 0 ? &parser->blocks[parser->block_count - 1] : NULL;

	if (block != NULL && block->is_loop == is_loop)
		return block;
	if (block != NULL && block->is_loop && strcmp(tag, "else") == 0)
		syntax_fault(parser, at, "What a loop shows for an empty array follows {% empty %}.",
					 "{% else %} belongs to {% if %}, not to {% for %}");
	else
		template_fault(&parser->site, TEMPLATE_SYNTAX, at,
					   "Blocks end in the reverse order of their beginning.",
					   "{%% %s %%} without its {%% %s %%}", tag, is_loop ? "for" : "if");
	return NULL;
}

/* Ends a branch: a jump to the block's end, and whoever skips the branch goes on behind it. */
static void
end_branch(Parser *parser, Block *block, uint32_t at)
{
	uint32_t	jump = template_emit(parser, OP_JUMP, at);

	template_instruction(parser, jump)->target = block->exits;
	block->exits = jump;
	if (block->skip != NO_JUMP)
		template_instruction(parser, block->skip)->target = parser->program->code.count;
	block->skip = NO_JUMP;
}

/* Ends a block: all jumps to its end get their target. */
static void
close_block(Parser *parser, Block *block)
{
	uint32_t	end = parser->program->code.count;

	if (block->skip != NO_JUMP)
		template_instruction(parser, block->skip)->target = end;
	while (block->exits != NO_JUMP)
	{
		Instruction *jump = template_instruction(parser, block->exits);

		block->exits = jump->target;
		jump->target = end;
	}
	parser->block_count--;
}

static bool
parse_branch_condition(Parser *parser, Block *block, uint32_t at)
{
	if (!template_parse_condition(parser))
		return false;
	block->skip = template_emit(parser, OP_JUMP_UNLESS, at);
	return template_expect_close(parser);
}

static bool
parse_if(Parser *parser, uint32_t at)
{
	Block	   *block = open_block(parser, at, false);

	return block != NULL && parse_branch_condition(parser, block, at);
}

/* Reads elif or else: another branch of an if. */
static bool
parse_branch(Parser *parser, uint32_t at, bool is_last)
{
	Block	   *block = current_block(parser, at, false, is_last ? "else" : "elif");

	if (block == NULL)
		return false;
	if (block->is_last_branch)
		return syntax_fault(parser, at, NULL, "a branch after {% else %}");
	block->is_last_branch = is_last;
	end_branch(parser, block, at);
	return is_last ? template_expect_close(parser) : parse_branch_condition(parser, block, at);
}

static bool
parse_elif(Parser *parser, uint32_t at)
{
	return parse_branch(parser, at, false);
}

static bool
parse_else(Parser *parser, uint32_t at)
{
	return parse_branch(parser, at, true);
}

static bool
parse_endif(Parser *parser, uint32_t at)
{
	Block	   *block = current_block(parser, at, false, "endif");

	if (block == NULL)
		return false;
	close_block(parser, block);
	return template_expect_close(parser);
}

/* Reads limit:4 at the end of a for. */
static bool
parse_limit(Parser *parser, uint32_t *limit)
{
	TemplateText digits;

	*limit = UINT32_MAX;
	if (!template_take_name(parser, "limit"))
		return true;
	if (!template_take_symbol(parser, ":"))
		return template_expected(parser, "\":\"");
	digits = parser->token.text;
	if (parser->token.kind != TOKEN_NUMBER || digits.length > 6 ||
		memchr(digits.data, '.', digits.length) != NULL || digits.data[0] == '-')
		return template_expected(parser, "a whole number of up to six digits");
	*limit = 0;
	for (size_t i = 0; i < digits.length; i++)
		*limit = *limit * 10 + (digits.data[i] - '0');
	template_next_token(parser);
	return true;
}

/* Reads the name that a loop gives to its items; not one with another meaning. */
static bool
parse_loop_variable(Parser *parser, TemplateText *variable)
{
	static const char *const reserved[] = {"loop", "and",  "or",	"not",
										   "in",   "true", "false", "null"};

	*variable = parser->token.text;
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
	{
		if (template_is_name(parser, reserved[i]))
			return template_fault(&parser->site, TEMPLATE_SYNTAX, parser->token.at,
								  "Choose another name for the items.",
								  "\"%s\" cannot be a loop's variable", reserved[i]);
	}
	if (parser->token.kind != TOKEN_NAME)
		return template_expected(parser, "a name for the items");
	template_next_token(parser);
	return template_take_name(parser, "in") || template_expected(parser, "\"in\"");
}

static bool
parse_for(Parser *parser, uint32_t at)
{
	TemplateText variable;
	uint32_t	path;
	uint32_t	limit;
	Block	   *block;
	Instruction *begin;

	if (!parse_loop_variable(parser, &variable) || !template_parse_path(parser, &path))
		return false;
	if (parser->token.kind == TOKEN_SYMBOL && text_is(parser->token.text, "|"))
		return syntax_fault(parser, parser->token.at,
							"What to show without an array follows {% empty %}.",
							"a loop's array takes no filters");
	if (!parse_limit(parser, &limit) || !template_expect_close(parser) ||
		(block = open_block(parser, at, true)) == NULL)
		return false;
	block->variable = variable;
	block->skip = template_emit(parser, OP_FOR, at);
	begin = template_instruction(parser, block->skip);
	begin->slot = parser->block_count - 1;
	begin->operand = path;
	begin->count = limit;
	return true;
}

/* Goes round the loop again while there are items. */
static void
emit_next(Parser *parser, Block *block, uint32_t at)
{
	Instruction *next = template_instruction(parser, template_emit(parser, OP_NEXT, at));

	next->slot = parser->block_count - 1;
	next->target = block->skip + 1;
}

static bool
parse_empty(Parser *parser, uint32_t at)
{
	Block	   *block = current_block(parser, at, true, "empty");

	if (block == NULL)
		return false;
	if (block->is_last_branch)
		return syntax_fault(parser, at, NULL, "a second {% empty %}");
	emit_next(parser, block, at);
	template_instruction(parser, block->skip)->detail = true;
	end_branch(parser, block, at);
	block->is_last_branch = true;
	block->variable.data = NULL;
	return template_expect_close(parser);
}

static bool
parse_endfor(Parser *parser, uint32_t at)
{
	Block	   *block = current_block(parser, at, true, "endfor");

	if (block == NULL)
		return false;
	if (!block->is_last_branch)
		emit_next(parser, block, at);
	close_block(parser, block);
	return template_expect_close(parser);
}

/* Tells whether {% endraw %} stands at a place; the token is its end then. */
static bool
is_endraw(Parser *parser, uint32_t at)
{
	TemplateText source = parser->program->source;

	parser->position = at + 2;
	if (parser->position < source.length && source.data[parser->position] == '-')
		parser->position++;
	while (parser->position < source.length && is_space(source.data[parser->position]))
		parser->position++;
	if (!text_is((TemplateText) {source.data + parser->position,
								 template_name_end(source, parser->position) - parser->position},
				 "endraw"))
		return false;
	template_next_token(parser);
	template_next_token(parser);
	return true;
}

/* Takes everything up to {% endraw %} as text. */
static bool
parse_raw(Parser *parser, uint32_t at)
{
	TemplateText source = parser->program->source;
	uint32_t	start = parser->position;
	bool		trim = parser->trim_next;

	if (!template_expect_close(parser))
		return false;
	for (uint32_t end = start; (end = find_tag(source, end)) < source.length; end++)
	{
		if (source.data[end + 1] == '%' && is_endraw(parser, end))
		{
			bool		trim_after = parser->trim_next;

			parser->trim_next = trim;
			emit_text(parser, start, end, source.data[end + 2] == '-');
			parser->trim_next = trim_after;
			return template_expect_close(parser);
		}
	}
	return syntax_fault(parser, at, NULL, "{% raw %} without its {% endraw %}");
}

static const struct
{
	const char *name;
	bool		(*parse) (Parser *parser, uint32_t at);
}			tags[] = {
	{"if", parse_if}, {"elif", parse_elif}, {"else", parse_else}, {"endif", parse_endif},
	{"for", parse_for}, {"empty", parse_empty}, {"endfor", parse_endfor}, {"raw", parse_raw}
};

static bool
parse_block_tag(Parser *parser, uint32_t at)
{
	Token		name = parser->token;

	if (name.kind == TOKEN_NONE)
		return false;
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
	{
		if (template_take_name(parser, tags[i].name))
			return tags[i].parse(parser, at);
	}
	if (name.kind != TOKEN_NAME)
		return template_expected(parser, "a tag's name");
	return template_fault(&parser->site, TEMPLATE_SYNTAX, name.at,
						  "The tags are if, elif, else, endif, for, empty, endfor, raw and endraw.",
						  "there is no tag \"%.*s\"", QUOTED(&parser->site, name.text));
}

/* Reads a tag and goes on behind it. */
static bool
parse_tag(Parser *parser, uint32_t at)
{
	TemplateText source = parser->program->source;
	char		kind = source.data[at + 1];

	if (kind == '#')
		return parse_comment(parser, at);
	parser->close = kind == '%' ? "%}" : "}}";
	parser->position = at + 2;
	if (parser->position < source.length && source.data[parser->position] == '-')
		parser->position++;
	template_next_token(parser);
	return kind == '%' ? parse_block_tag(parser, at) : template_parse_print(parser);
}

/* Reads text and tags in turn, up to the template's end. */
static bool
parse_template(Parser *parser)
{
	TemplateText source = parser->program->source;
	bool		fine = true;

	while (fine && parser->position < source.length)
	{
		uint32_t	tag = find_tag(source, parser->position);

		parser->site.host->check(parser->site.host->context);
		emit_text(parser, parser->position, tag,
				  tag + 2 < source.length && source.data[tag + 2] == '-');
		parser->position = tag;
		if (tag < source.length)
			fine = parse_tag(parser, tag);
	}
	if (!fine || parser->site.error->fault != TEMPLATE_FINE)
		return false;
	if (parser->block_count > 0)
		return template_fault(&parser->site, TEMPLATE_SYNTAX,
							  parser->blocks[parser->block_count - 1].at, NULL,
							  "a block without its {%% %s %%}",
							  parser->blocks[parser->block_count - 1].is_loop ? "endfor" : "endif");
	template_emit(parser, OP_END, source.length);
	return true;
}

/*
 * Compiles a template; NULL and an error if it does not parse. The program
 * refers to the source and lives in memory that the host gives.
 */
TemplateProgram *
template_compile(const TemplateHost *host, TemplateText source, TemplateError *error)
{
	TemplateProgram *program = template_allocate(host, sizeof(TemplateProgram));
	Parser		parser = {.site = {host, source, error}, .program = program};

	*error = (TemplateError) {.fault = TEMPLATE_FINE};
	*program = (TemplateProgram) {.source = source};
	if (source.length > TEMPLATE_MAX_LENGTH)
	{
		template_fault(&parser.site, TEMPLATE_LIMIT, TEMPLATE_NOWHERE, NULL,
					   "a template of %zu bytes is longer than %d", source.length,
					   TEMPLATE_MAX_LENGTH);
		return NULL;
	}
	return parse_template(&parser) ? program : NULL;
}
