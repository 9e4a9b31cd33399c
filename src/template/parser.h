/* parser.h: the parser's state, shared by its files scan.c, expression.c and parse.c. */
#ifndef RETENTION_TEMPLATE_PARSER_H
#define RETENTION_TEMPLATE_PARSER_H

#include "template/program.h"

typedef enum TokenKind
{
	TOKEN_NAME,
	TOKEN_STRING,				/* without its quotes */
	TOKEN_NUMBER,
	TOKEN_SYMBOL,
	TOKEN_CLOSE,				/* the tag's end */
	TOKEN_NONE					/* after an error */
} TokenKind;

typedef struct Token
{
	TokenKind	kind;
	uint32_t	at;
	TemplateText text;
} Token;

/* Describes an if or for that is open. */
typedef struct Block
{
	bool		is_loop;
	bool		is_last_branch;	/* else or empty has been seen */
	uint32_t	at;
	uint32_t	skip;			/* the jump to the next branch */
	uint32_t	exits;			/* the last of the jumps to the end, each with the previous one
								 * as its target */
	TemplateText variable;		/* of a loop, NULL in its empty branch */
} Block;

typedef struct Parser
{
	FaultSite	site;
	TemplateProgram *program;
	uint32_t	position;		/* after the token */
	Token		token;
	const char *close;			/* how the tag ends */
	bool		trim_next;		/* white space after the tag is left out */
	int			parentheses;
	int			block_count;
	Block		blocks[TEMPLATE_MAX_DEPTH];
} Parser;

#define NO_JUMP UINT32_MAX

extern void template_next_token(Parser *parser);
extern bool template_is_name(const Parser *parser, const char *name);
extern bool template_take_symbol(Parser *parser, const char *symbol);
extern bool template_take_name(Parser *parser, const char *name);
extern uint32_t template_name_end(TemplateText source, uint32_t position);
extern bool template_expect_close(Parser *parser);
extern bool template_expected(Parser *parser, const char *what);

extern uint32_t template_emit(Parser *parser, Opcode opcode, uint32_t at);
extern Instruction *template_instruction(Parser *parser, uint32_t index);
extern bool template_parse_condition(Parser *parser);
extern bool template_parse_print(Parser *parser);
extern bool template_parse_path(Parser *parser, uint32_t *path);

#endif
