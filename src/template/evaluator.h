/* evaluator.h: the evaluator's state, shared with filters and comparisons. */
#ifndef RETENTION_TEMPLATE_EVALUATOR_H
#define RETENTION_TEMPLATE_EVALUATOR_H

#include "template/program.h"

/* Describes a loop that is running. */
typedef struct Loop
{
	TemplateValue array;
	TemplateValue item;
	uint32_t	index;			/* from 0 */
	uint32_t	count;
} Loop;

/* Sizes the stack: every parenthesis may keep the left side of one comparison. */
#define STACK_SIZE (TEMPLATE_MAX_DEPTH + 4)

typedef struct Evaluator
{
	FaultSite	site;
	const TemplateProgram *program;
	const TemplateHost *host;
	const TemplateValue *context;
	bool		escape;
	TemplateOutput *output;
	uint32_t	turns;
	size_t		work;
	int			top;			/* values on the stack */
	TemplateValue stack[STACK_SIZE];
	Loop		loops[TEMPLATE_MAX_DEPTH];
} Evaluator;

/* evaluator.c */
extern bool template_turn(Evaluator *evaluator, uint32_t at);
extern bool template_work(Evaluator *evaluator, uint32_t at, size_t amount);
extern bool template_write_number(Evaluator *evaluator, uint32_t at, TemplateValue *number);
extern const char *template_kind_name(TemplateKind kind);

static inline bool
is_missing(const TemplateValue *value)
{
	return value->kind <= TEMPLATE_NULL;
}

/* output.c */
extern bool template_write(Evaluator *evaluator, uint32_t at, TemplateText text);
extern bool template_write_escaped(Evaluator *evaluator, uint32_t at, TemplateText text);

/* compare.c */
extern bool template_is_true(Evaluator *evaluator, uint32_t at, TemplateValue *value, bool *truth);
extern bool template_compare(Evaluator *evaluator, const Instruction *instruction,
							 TemplateValue *left, TemplateValue *right, bool *truth);

/* number.c */
extern int	template_compare_numbers(TemplateText left, TemplateText right);
extern bool template_is_zero(TemplateText number);
extern TemplateText template_round(const TemplateHost *host, TemplateText number, size_t decimals);

#endif
