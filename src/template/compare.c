/* compare.c: what counts as true, and the comparisons of conditions. */
#include "template/evaluator.h"

#include <string.h>

/*
 * Tells whether a value counts as true. False are: nothing, null, false, zero, empty text and empty
 * arrays and objects.
 */
bool
template_is_true(Evaluator *evaluator, uint32_t at, TemplateValue *value, bool *truth)
{
	switch (value->kind)
	{
		case TEMPLATE_ABSENT:
		case TEMPLATE_NULL:
			*truth = false;
			break;
		case TEMPLATE_BOOLEAN:
			*truth = value->truth;
			break;
		case TEMPLATE_NUMBER:
			if (!template_write_number(evaluator, at, value))
				return false;
			*truth = !template_is_zero(value->text);
			break;
		case TEMPLATE_STRING:
			*truth = value->text.length > 0;
			break;
		default:
			*truth = value->size > 0;
	}
	return true;
}

static bool
same_text(TemplateText left, TemplateText right)
{
	return left.length == right.length &&
		   (left.length == 0 || memcmp(left.data, right.data, left.length) == 0);
}

/* Compares two texts in the order of the bytes: that of ISO dates and of ASCII text. */
static int
compare_texts(TemplateText left, TemplateText right)
{
	size_t		common = left.length < right.length ? left.length : right.length;
	int			result = common == 0 ? 0 : memcmp(left.data, right.data, common);

	return result != 0 ? result : left.length < right.length ? -1 : left.length > right.length;
}

/* Gets two numbers' digits, and pays for the comparison. */
static bool
prepare_pair(Evaluator *evaluator, uint32_t at, TemplateValue *left, TemplateValue *right)
{
	if (left->kind == TEMPLATE_NUMBER && (!template_write_number(evaluator, at, left) ||
										  !template_write_number(evaluator, at, right)))
		return false;
	return template_work(evaluator, at,
						 left->text.length < right->text.length ? left->text.length
																: right->text.length);
}

/*
 * Compares two values. What is missing equals null and only that; values of different kinds are not
 * equal, nor are arrays and objects to anything.
 */
static bool
are_equal(Evaluator *evaluator, uint32_t at, TemplateValue *left, TemplateValue *right, bool *truth)
{
	if (is_missing(left) || is_missing(right) || left->kind != right->kind)
	{
		*truth = is_missing(left) && is_missing(right);
		return true;
	}
	*truth = false;
	if (left->kind == TEMPLATE_BOOLEAN)
		*truth = left->truth == right->truth;
	else if (left->kind == TEMPLATE_NUMBER || left->kind == TEMPLATE_STRING)
	{
		if (!prepare_pair(evaluator, at, left, right))
			return false;
		*truth = left->kind == TEMPLATE_STRING ? same_text(left->text, right->text) :
			template_compare_numbers(left->text, right->text) == 0;
	}
	return true;
}

/*
 * Compares two numbers or two texts; nothing and null are in no order with anything, so that all
 * comparisons are false.
 */
static bool
are_ordered(Evaluator *evaluator, const Instruction *instruction, TemplateValue *left,
			TemplateValue *right, bool *truth)
{
	int			order;

	*truth = false;
	if (is_missing(left) || is_missing(right))
		return true;
	if (left->kind != right->kind ||
		(left->kind != TEMPLATE_NUMBER && left->kind != TEMPLATE_STRING))
		return template_fault(&evaluator->site, TEMPLATE_VALUE, instruction->at,
							  "Two numbers or two texts have an order.",
							  "%s and %s cannot be ordered", template_kind_name(left->kind),
							  template_kind_name(right->kind));
	if (!prepare_pair(evaluator, instruction->at, left, right))
		return false;
	order = left->kind == TEMPLATE_STRING ? compare_texts(left->text, right->text)
										  : template_compare_numbers(left->text, right->text);
	*truth = instruction->detail == COMPARE_LESS			? order < 0
			 : instruction->detail == COMPARE_LESS_OR_EQUAL ? order <= 0
			 : instruction->detail == COMPARE_GREATER		? order > 0
															: order >= 0;
	return true;
}

/* Tells whether the text is part of another, which is not shorter. */
static bool
contains(TemplateText whole, TemplateText part)
{
	const char *at = whole.data;
	const char *last = whole.data + whole.length - part.length;

	if (part.length == 0)
		return true;
	while (at <= last && (at = memchr(at, part.data[0], last - at + 1)) != NULL)
	{
		if (memcmp(at, part.data, part.length) == 0)
			return true;
		at++;
	}
	return false;
}

static bool
is_in_text(Evaluator *evaluator, uint32_t at, TemplateText whole, TemplateValue *part, bool *truth)
{
	size_t		work;

	*truth = false;
	if (is_missing(part))
		return true;
	if (part->kind != TEMPLATE_STRING)
		return template_fault(&evaluator->site, TEMPLATE_VALUE, at, NULL,
							  "\"in\" finds only text in text, not %s",
							  template_kind_name(part->kind));
	if (part->text.length > whole.length)
		return true;
	/* As many bytes as the search can look at. */
	work = (whole.length - part->text.length + 1) * (1 + part->text.length / 16);
	if (!template_work(evaluator, at, whole.length + work))
		return false;
	*truth = contains(whole, part->text);
	return true;
}

static bool
is_in_array(Evaluator *evaluator, uint32_t at, TemplateValue *array, TemplateValue *value,
			bool *truth)
{
	*truth = false;
	for (size_t i = 0; i < array->size && !*truth; i++)
	{
		TemplateValue element = {.kind = TEMPLATE_ABSENT};

		if (!template_turn(evaluator, at))
			return false;
		evaluator->host->element(evaluator->host->context, array, i, &element);
		if (!are_equal(evaluator, at, &element, value, truth))
			return false;
	}
	return true;
}

static bool
is_in(Evaluator *evaluator, uint32_t at, TemplateValue *value, TemplateValue *whole, bool *truth)
{
	*truth = false;
	if (is_missing(whole))
		return true;
	if (whole->kind == TEMPLATE_ARRAY)
		return is_in_array(evaluator, at, whole, value, truth);
	if (whole->kind == TEMPLATE_STRING)
		return is_in_text(evaluator, at, whole->text, value, truth);
	return template_fault(&evaluator->site, TEMPLATE_VALUE, at, NULL,
						  "\"in\" needs an array or text on its right, not %s",
						  template_kind_name(whole->kind));
}

/* Tells whether a comparison holds. False is returned after an error. */
bool
template_compare(Evaluator *evaluator, const Instruction *instruction, TemplateValue *left,
				 TemplateValue *right, bool *truth)
{
	bool		fine;

	switch (instruction->detail)
	{
		case COMPARE_EQUAL:
		case COMPARE_UNEQUAL:
			fine = are_equal(evaluator, instruction->at, left, right, truth);
			break;
		case COMPARE_IN:
		case COMPARE_NOT_IN:
			fine = is_in(evaluator, instruction->at, left, right, truth);
			break;
		default:
			return are_ordered(evaluator, instruction, left, right, truth);
	}
	if (instruction->detail == COMPARE_UNEQUAL || instruction->detail == COMPARE_NOT_IN)
		*truth = !*truth;
	return fine;
}
