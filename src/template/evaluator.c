/* evaluator.c: what an evaluation may spend, and what all its files do with values. */
#include "template/evaluator.h"

/* Counts a turn of a loop, or an element that is looked at. */
bool
template_turn(Evaluator *evaluator, uint32_t at)
{
	if (++evaluator->turns > TEMPLATE_MAX_TURNS)
		return template_fault(&evaluator->site, TEMPLATE_LIMIT, at, "End long loops by limit.",
							  "more than %d turns of loops and elements looked at",
							  TEMPLATE_MAX_TURNS);
	return true;
}

/* Counts bytes that are read or made, and instructions. */
bool
template_work(Evaluator *evaluator, uint32_t at, size_t amount)
{
	evaluator->host->check(evaluator->host->context);
	evaluator->work += amount;
	if (evaluator->work > TEMPLATE_MAX_WORK)
		return template_fault(&evaluator->site, TEMPLATE_LIMIT, at,
							  "Loop over fewer items, or use shorter values.",
							  "the template has too much to do for one message");
	return true;
}

/* Gets a number's digits from the host, once. */
bool
template_write_number(Evaluator *evaluator, uint32_t at, TemplateValue *number)
{
	if (number->text.data != NULL)
		return true;
	number->text = evaluator->host->number_text(evaluator->host->context, number);
	return template_work(evaluator, at, number->text.length);
}

/* Returns what a kind is called in messages. */
const char *
template_kind_name(TemplateKind kind)
{
	static const char *const names[] = {"nothing", "null",	   "a boolean", "a number",
										"text",	   "an array", "an object"};

	return names[kind];
}
