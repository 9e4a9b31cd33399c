/* evaluate.c: renders a compiled template with a context. */
#include "template/filters.h"

/* Follows one name; from anything but an object or array it leads nowhere. */
static void
follow_step(Evaluator *evaluator, const PathStep *step, TemplateValue *value)
{
	TemplateValue next = {.kind = TEMPLATE_ABSENT};
	const TemplateHost *host = evaluator->host;

	if (value->kind == TEMPLATE_OBJECT)
		host->member(host->context, value, step->name, &next);
	else if (value->kind == TEMPLATE_ARRAY && step->index < value->size)
		host->element(host->context, value, step->index, &next);
	*value = next;
}

static bool
follow_path(Evaluator *evaluator, const Path *path, uint32_t at, TemplateValue *value)
{
	*value = path->root == ROOT_CONTEXT ? *evaluator->context : evaluator->loops[path->root].item;
	for (uint32_t i = 0; i < path->step_count; i++)
		follow_step(evaluator, ITEM(evaluator->program->steps, PathStep, path->first_step + i),
					value);
	return template_work(evaluator, at, path->step_count * TEMPLATE_STEP_WORK);
}

static bool
print_fault(Evaluator *evaluator, const Instruction *print, const TemplateValue *value)
{
	TemplateText written = {evaluator->program->source.data + print->at, print->count};

	if (is_missing(value))
		return template_fault(&evaluator->site, TEMPLATE_MISSING, print->at,
							  "Say what to show instead by |default:\"...\", or show this part "
							  "only within {% if ... %}.",
							  "\"%.*s\" is missing or null", QUOTED(&evaluator->site, written));
	return template_fault(&evaluator->site, TEMPLATE_VALUE, print->at,
						  value->kind == TEMPLATE_ARRAY
							  ? "Show its elements by |join:\", \", or by {% for ... %}."
							  : "Show its members by their names, after a dot.",
						  "\"%.*s\" is %s", QUOTED(&evaluator->site, written),
						  template_kind_name(value->kind));
}

static bool
print_value(Evaluator *evaluator, const Instruction *print, TemplateValue *value)
{
	bool		escape = value->escaping == ESCAPE_AS_RENDERED ? evaluator->escape
															   : value->escaping == ESCAPE_ALWAYS;

	switch (value->kind)
	{
		case TEMPLATE_BOOLEAN:
			return template_write(evaluator, print->at,
								  value->truth ? (TemplateText) {"true", 4}
											   : (TemplateText) {"false", 5});
		case TEMPLATE_NUMBER:
			return template_write_number(evaluator, print->at, value) &&
				   template_write(evaluator, print->at, value->text);
		case TEMPLATE_STRING:
			return escape ? template_write_escaped(evaluator, print->at, value->text)
						  : template_write(evaluator, print->at, value->text);
		default:
			return print_fault(evaluator, print, value);
	}
}

static TemplateValue
loop_property(const Evaluator *evaluator, const Instruction *instruction)
{
	static const char digits[] = "0123456789";
	const Loop *loop = &evaluator->loops[instruction->slot];
	TemplateValue value = {.kind = TEMPLATE_BOOLEAN};
	uint32_t	number = loop->index + 1;
	char	   *text;
	int			length = 0;

	if (instruction->detail != LOOP_INDEX)
	{
		value.truth = instruction->detail == LOOP_FIRST ? loop->index == 0 : number == loop->count;
		return value;
	}
	for (uint32_t rest = number; rest > 0; rest /= 10)
		length++;
	text = template_allocate(evaluator->host, length);
	for (int i = length; i > 0; number /= 10)
		text[--i] = digits[number % 10];
	return (TemplateValue) {.kind = TEMPLATE_NUMBER, .text = {text, length}};
}

/* Begins a loop. Nothing to loop over is an error only where the template has no branch for it. */
static bool
begin_loop(Evaluator *evaluator, const Instruction *begin, bool *is_empty)
{
	const Path *path = ITEM(evaluator->program->paths, Path, begin->operand);
	Loop	   *loop = &evaluator->loops[begin->slot];

	*is_empty = true;
	if (!follow_path(evaluator, path, begin->at, &loop->array))
		return false;
	if (is_missing(&loop->array) && begin->detail)
		return true;
	if (is_missing(&loop->array))
		return template_fault(
			&evaluator->site, TEMPLATE_MISSING, begin->at,
			"Say what to show instead after {% empty %}, or loop only within {% if ... %}.",
			"\"%.*s\" is missing or null", QUOTED(&evaluator->site, path->source));
	if (loop->array.kind != TEMPLATE_ARRAY)
		return template_fault(&evaluator->site, TEMPLATE_VALUE, begin->at, NULL,
							  "\"%.*s\" is %s, not an array",
							  QUOTED(&evaluator->site, path->source),
							  template_kind_name(loop->array.kind));
	loop->index = 0;
	loop->count = loop->array.size < begin->count ? loop->array.size : begin->count;
	*is_empty = loop->count == 0;
	return true;
}

/* Takes the loop's next item. */
static bool
begin_turn(Evaluator *evaluator, const Instruction *instruction)
{
	Loop	   *loop = &evaluator->loops[instruction->slot];

	loop->item = (TemplateValue) {.kind = TEMPLATE_ABSENT};
	evaluator->host->element(evaluator->host->context, &loop->array, loop->index, &loop->item);
	return template_turn(evaluator, instruction->at);
}

/* Filters a value. What is missing stays so until a filter fills the gap. */
static bool
filter_value(Evaluator *evaluator, const Instruction *instruction, TemplateValue *value)
{
	const FilterCall *call = ITEM(evaluator->program->calls, FilterCall, instruction->operand);

	if (is_missing(value) && !call->filter->fills_gaps)
		return true;
	return call->filter->apply(evaluator, call, value);
}

static bool
push_path(Evaluator *evaluator, const Instruction *instruction)
{
	return follow_path(evaluator, ITEM(evaluator->program->paths, Path, instruction->operand),
					   instruction->at, &evaluator->stack[evaluator->top++]);
}

/* Replaces the top of the stack by a truth value. */
static void
set_top(Evaluator *evaluator, bool truth)
{
	evaluator->stack[evaluator->top - 1] =
		(TemplateValue) {.kind = TEMPLATE_BOOLEAN, .truth = truth};
}

static bool
compare_top(Evaluator *evaluator, const Instruction *instruction)
{
	TemplateValue *left = &evaluator->stack[evaluator->top - 2];
	bool		truth;

	if (!template_compare(evaluator, instruction, left, left + 1, &truth))
		return false;
	evaluator->top--;
	set_top(evaluator, truth);
	return true;
}

/* Carries out instructions that go by whether the top counts as true. */
static bool
judge_top(Evaluator *evaluator, const Instruction *instruction, uint32_t *next)
{
	bool		truth;

	if (!template_is_true(evaluator, instruction->at, &evaluator->stack[evaluator->top - 1],
						  &truth))
		return false;
	if (instruction->opcode == OP_NOT || instruction->opcode == OP_TRUTH)
		set_top(evaluator, truth == (instruction->opcode == OP_TRUTH));
	else if (instruction->opcode != OP_JUMP_UNLESS && truth == (instruction->opcode == OP_OR))
	{
		set_top(evaluator, truth);
		*next = instruction->target;
	}
	else
	{
		evaluator->top--;
		if (instruction->opcode == OP_JUMP_UNLESS && !truth)
			*next = instruction->target;
	}
	return true;
}

static bool
step_loop(Evaluator *evaluator, const Instruction *instruction, uint32_t *next)
{
	Loop	   *loop = &evaluator->loops[instruction->slot];
	bool		is_empty;

	if (instruction->opcode == OP_FOR)
	{
		if (!begin_loop(evaluator, instruction, &is_empty))
			return false;
		if (is_empty)
		{
			*next = instruction->target;
			return true;
		}
		return begin_turn(evaluator, instruction);
	}
	if (++loop->index == loop->count)
		return true;
	*next = instruction->target;
	return begin_turn(evaluator, instruction);
}

/* Carries out one instruction; `next` is the one that follows. */
static bool
step(Evaluator *evaluator, const Instruction *instruction, uint32_t *next)
{
	switch (instruction->opcode)
	{
		case OP_TEXT:
			return template_write(evaluator, instruction->at,
								  (TemplateText) {evaluator->program->source.data + instruction->at,
												  instruction->count});
		case OP_PRINT:
			return print_value(evaluator, instruction, &evaluator->stack[--evaluator->top]);
		case OP_PATH:
			return push_path(evaluator, instruction);
		case OP_LITERAL:
			evaluator->stack[evaluator->top++] =
				*ITEM(evaluator->program->literals, TemplateValue, instruction->operand);
			return true;
		case OP_LOOP:
			evaluator->stack[evaluator->top++] = loop_property(evaluator, instruction);
			return true;
		case OP_FILTER:
			return filter_value(evaluator, instruction, &evaluator->stack[evaluator->top - 1]);
		case OP_COMPARE:
			return compare_top(evaluator, instruction);
		case OP_JUMP:
			*next = instruction->target;
			return true;
		case OP_FOR:
		case OP_NEXT:
			return step_loop(evaluator, instruction, next);
		default:
			return judge_top(evaluator, instruction, next);
	}
}

/*
 * Renders into the output, from its beginning. Where that cannot be, returns
 * false, sets the error, and leaves the output with what means nothing.
 */
bool
template_evaluate(const TemplateProgram *program, const TemplateHost *host,
				  const TemplateValue *context, bool escape, TemplateOutput *output,
				  TemplateError *error)
{
	const Instruction *code = program->code.items;
	uint32_t	next = 0;
	Evaluator	evaluator;

	evaluator.site = (FaultSite) {host, program->source, error};
	evaluator.program = program;
	evaluator.host = host;
	evaluator.context = context;
	evaluator.escape = escape;
	evaluator.output = output;
	evaluator.turns = 0;
	evaluator.work = 0;
	evaluator.top = 0;
	error->fault = TEMPLATE_FINE;
	output->length = 0;
	while (code[next].opcode != OP_END)
	{
		const Instruction *instruction = &code[next++];

		if (!template_work(&evaluator, instruction->at, TEMPLATE_STEP_WORK) ||
			!step(&evaluator, instruction, &next))
			return false;
	}
	return true;
}
