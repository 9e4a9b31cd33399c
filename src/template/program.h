/* program.h: a compiled template, and what its parser and evaluator share. */
#ifndef RETENTION_TEMPLATE_PROGRAM_H
#define RETENTION_TEMPLATE_PROGRAM_H

#include "template/fault.h"

/* Names the instructions, which work on a stack of values. */
typedef enum Opcode
{
	OP_TEXT,					/* appends `count` bytes of the template from `at` */
	OP_PRINT,					/* pops a value and appends it; it is written in `count` bytes
								 * from `at` */
	OP_PATH,					/* pushes what path `operand` leads to */
	OP_LITERAL,					/* pushes literal `operand` */
	OP_LOOP,					/* pushes property `detail` of the loop in `slot` */
	OP_FILTER,					/* replaces the top by what filter call `operand` makes of it */
	OP_COMPARE,					/* pops two values, pushes whether comparison `detail` holds */
	OP_NOT,						/* replaces the top by its opposite */
	OP_TRUTH,					/* replaces the top by whether it counts as true */
	OP_AND,						/* if the top counts as false makes it false and jumps, else pops
								 * it */
	OP_OR,						/* if the top counts as true makes it true and jumps, else pops
								 * it */
	OP_JUMP,					/* goes on at `target` */
	OP_JUMP_UNLESS,				/* pops a value, jumps if it counts as false */
	OP_FOR,						/* begins the loop in `slot` over path `operand`, or jumps if
								 * there is nothing */
	OP_NEXT,					/* jumps to the loop's next turn, if there is one */
	OP_END
} Opcode;

typedef enum Comparison
{
	COMPARE_EQUAL,
	COMPARE_UNEQUAL,
	COMPARE_LESS,
	COMPARE_LESS_OR_EQUAL,
	COMPARE_GREATER,
	COMPARE_GREATER_OR_EQUAL,
	COMPARE_IN,
	COMPARE_NOT_IN
} Comparison;

typedef enum LoopProperty
{
	LOOP_INDEX,
	LOOP_FIRST,
	LOOP_LAST
} LoopProperty;

typedef struct Instruction
{
	uint8_t		opcode;
	uint8_t		detail;			/* of OP_FOR: whether it has an empty branch */
	uint16_t	slot;
	uint32_t	at;				/* in the template */
	uint32_t	operand;
	uint32_t	target;
	uint32_t	count;			/* of OP_FOR: its limit */
} Instruction;

#define NO_INDEX UINT32_MAX

/* Describes a member's name, which may be an array's index too. */
typedef struct PathStep
{
	TemplateText name;
	uint32_t	index;			/* or NO_INDEX */
} PathStep;

#define ROOT_CONTEXT -1

typedef struct Path
{
	int			root;			/* ROOT_CONTEXT, or the slot of a loop whose variable it is */
	uint32_t	first_step;
	uint32_t	step_count;
	TemplateText source;
} Path;

/* Describes a filter with its argument; a number's value is in `number`. */
typedef struct FilterCall
{
	const struct Filter *filter;
	TemplateValue argument;
	int			number;
	uint32_t	at;
} FilterCall;

typedef struct TemplateArray
{
	void	   *items;
	uint32_t	count;
	uint32_t	capacity;
} TemplateArray;

struct TemplateProgram
{
	TemplateText source;
	TemplateArray code;			/* of Instruction */
	TemplateArray paths;		/* of Path */
	TemplateArray steps;		/* of PathStep */
	TemplateArray literals;		/* of TemplateValue */
	TemplateArray calls;		/* of FilterCall */
};

#define ITEM(array, type, index) (&((type *) (array).items)[index])

/* program.c */
extern void *template_append(const TemplateHost *host, TemplateArray *array, size_t size);

/* Allocates memory that the host frees. */
static inline void *
template_allocate(const TemplateHost *host, size_t size)
{
	return host->resize(host->context, NULL, size);
}

/* Tells whether a text is that of a string constant. */
static inline bool
text_is(TemplateText text, const char *other)
{
	return __builtin_strlen(other) == text.length &&
		   __builtin_memcmp(text.data, other, text.length) == 0;
}

#endif
