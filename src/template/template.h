/*
 * template.h: message templates, compiled once and rendered often.
 *
 * The language is described in docs/templates.md. Nothing here knows PostgreSQL:
 * the values that a template prints are reached through a table of callbacks.
 */
#ifndef RETENTION_TEMPLATE_H
#define RETENTION_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits, in bytes, the length of a template, and of what it renders to. */
#define TEMPLATE_MAX_LENGTH (1024 * 1024)

/* Limits blocks within blocks, and parentheses within parentheses. */
#define TEMPLATE_MAX_DEPTH 32

/* Limits the turns of all loops of one rendering; elements that `in` and join look at count too. */
#define TEMPLATE_MAX_TURNS 100000

/*
 * Limits the bytes that filters and comparisons read and instructions, of TEMPLATE_STEP_WORK each,
 * in one rendering.
 */
#define TEMPLATE_MAX_WORK (64 * 1024 * 1024)
#define TEMPLATE_STEP_WORK 8

/* Limits the decimals of round, and characters of truncate. */
#define TEMPLATE_MAX_DECIMALS 30
#define TEMPLATE_MIN_TRUNCATE 4

typedef struct TemplateText
{
	const char *data;
	size_t		length;
} TemplateText;

typedef enum TemplateKind
{
	TEMPLATE_ABSENT,			/* there is no such thing */
	TEMPLATE_NULL,
	TEMPLATE_BOOLEAN,
	TEMPLATE_NUMBER,
	TEMPLATE_STRING,
	TEMPLATE_ARRAY,
	TEMPLATE_OBJECT
} TemplateKind;

/* Tells what the filters escape and safe ask for; the last one counts. */
typedef enum TemplateEscaping
{
	ESCAPE_AS_RENDERED,
	ESCAPE_ALWAYS,
	ESCAPE_NEVER
} TemplateEscaping;

typedef struct TemplateValue
{
	TemplateKind kind;
	TemplateEscaping escaping;
	bool		truth;			/* of a boolean */
	TemplateText text;			/* of a string; of a number NULL until the host has written it */
	size_t		size;			/* of an array or object */
	const void *handle;			/* the host's: a number, an array or an object */
} TemplateValue;

typedef struct TemplateOutput
{
	char	   *data;
	size_t		length;
	size_t		capacity;
} TemplateOutput;

/*
 * Holds what the caller provides. resize allocates if memory is NULL, keeps the content otherwise,
 * and never returns NULL (it may leave by longjmp instead); check is called in every loop and may
 * leave likewise. member and element set the kind to TEMPLATE_ABSENT where there is nothing.
 * number_text writes a number as digits with at most one sign and point. character_length tells how
 * many bytes the character has that begins with a byte above 127; NULL means that all text is
 * UTF-8. to_utf8, which URLs need, may be NULL.
 */
typedef struct TemplateHost
{
	void	   *(*resize) (void *context, void *memory, size_t size);
	void		(*check) (void *context);
	void		(*member) (void *context, const TemplateValue *object, TemplateText name,
						   TemplateValue *member);
	void		(*element) (void *context, const TemplateValue *array, size_t index,
							TemplateValue *element);
	TemplateText (*number_text) (void *context, const TemplateValue *number);
	int			(*character_length) (const char *at);
	TemplateText (*to_utf8) (void *context, TemplateText text);
	void	   *context;
} TemplateHost;

typedef enum TemplateFault
{
	TEMPLATE_FINE,
	TEMPLATE_SYNTAX,			/* the template does not parse */
	TEMPLATE_MISSING,			/* nothing to print or to loop over */
	TEMPLATE_VALUE,				/* a value of the wrong kind */
	TEMPLATE_DATE,				/* text that is no date */
	TEMPLATE_LIMIT				/* too long, too deep or too much work */
} TemplateFault;

#define TEMPLATE_MESSAGE_SIZE 512

typedef struct TemplateError
{
	TemplateFault fault;
	int			line;			/* both from 1, in characters; 0 if it is about no place */
	int			column;
	TemplateText source_line;	/* the line of the template, or the beginning of a long one */
	const char *hint;			/* or NULL */
	char		message[TEMPLATE_MESSAGE_SIZE];
} TemplateError;

typedef struct TemplateProgram TemplateProgram;

extern TemplateProgram *template_compile(const TemplateHost *host, TemplateText source,
										 TemplateError *error);
extern bool template_evaluate(const TemplateProgram *program, const TemplateHost *host,
							  const TemplateValue *context, bool escape, TemplateOutput *output,
							  TemplateError *error);
extern size_t template_read_paths(const TemplateProgram *program, const TemplateHost *host,
								  TemplateText **paths);
extern int	template_clip(const TemplateHost *host, TemplateText text, int most);

#endif
