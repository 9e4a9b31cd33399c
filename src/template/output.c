/*
 * output.c: appends text to what is rendered, as it is or with HTML's special characters escaped.
 */
#include "template/evaluator.h"

#include <string.h>

/* Makes room for more bytes, within the limit. */
static bool
reserve(Evaluator *evaluator, uint32_t at, size_t more)
{
	TemplateOutput *output = evaluator->output;
	size_t		needed = output->length + more;

	if (needed <= output->capacity)
		return true;
	if (needed > TEMPLATE_MAX_LENGTH)
		return template_fault(&evaluator->site, TEMPLATE_LIMIT, at,
							  "Show less of long values by |truncate, or of arrays by limit.",
							  "the output would be longer than %d bytes", TEMPLATE_MAX_LENGTH);
	output->capacity = output->capacity * 2 > needed ? output->capacity * 2 : needed * 2;
	if (output->capacity > TEMPLATE_MAX_LENGTH)
		output->capacity = TEMPLATE_MAX_LENGTH;
	output->data =
		evaluator->host->resize(evaluator->host->context, output->data, output->capacity);
	return true;
}

/* Appends text as it is; an error names the place `at`. */
bool
template_write(Evaluator *evaluator, uint32_t at, TemplateText text)
{
	if (!reserve(evaluator, at, text.length))
		return false;
	if (text.length > 0)
		memcpy(evaluator->output->data + evaluator->output->length, text.data, text.length);
	evaluator->output->length += text.length;
	return true;
}

static const TemplateText entities[] = {
	{"&amp;", 5}, {"&lt;", 4}, {"&gt;", 4}, {"&quot;", 6}, {"&#39;", 5}
};

/* Tells for every byte 1 + the number of its entity, or 0. */
static const uint8_t entity_of[256] = {['&'] = 1, ['<'] = 2, ['>'] = 3, ['"'] = 4, ['\''] = 5};

/* Appends text so that HTML shows it as it is, also within quotes. */
bool
template_write_escaped(Evaluator *evaluator, uint32_t at, TemplateText text)
{
	size_t		start = 0;

	for (size_t i = 0; i < text.length; i++)
	{
		int			entity = entity_of[(unsigned char) text.data[i]];

		if (entity == 0)
			continue;
		if (!template_write(evaluator, at, (TemplateText) {text.data + start, i - start}) ||
			!template_write(evaluator, at, entities[entity - 1]))
			return false;
		start = i + 1;
	}
	return template_write(evaluator, at, (TemplateText) {text.data + start, text.length - start});
}
