/* variables.c: which paths of the context a template reads. */
#include "template/parser.h"

#include <stdlib.h>
#include <string.h>

/* Tells whether a step has to be written in quotes. */
static bool
needs_quotes(TemplateText name)
{
	size_t		digits = 0;

	while (digits < name.length && name.data[digits] >= '0' && name.data[digits] <= '9')
		digits++;
	return name.length == 0 || (digits < name.length && template_name_end(name, 0) < name.length);
}

/* Writes a path the way a template would: the same text for the same path. */
static TemplateText
write_path(const TemplateProgram *program, const TemplateHost *host, const Path *path)
{
	size_t		length = 0;
	char	   *text = template_allocate(host, path->source.length + 2 * path->step_count);

	for (uint32_t i = 0; i < path->step_count; i++)
	{
		TemplateText name = ITEM(program->steps, PathStep, path->first_step + i)->name;
		bool		is_quoted = needs_quotes(name);
		char		quote = is_quoted && memchr(name.data, '"', name.length) != NULL ? '\'' : '"';

		if (i > 0)
			text[length++] = '.';
		if (is_quoted)
			text[length++] = quote;
		memcpy(text + length, name.data, name.length);
		length += name.length;
		if (is_quoted)
			text[length++] = quote;
	}
	return (TemplateText) {text, length};
}

static int
compare_paths(const void *left, const void *right)
{
	const TemplateText *a = left;
	const TemplateText *b = right;
	int			result = memcmp(a->data, b->data, a->length < b->length ? a->length : b->length);

	return result != 0 ? result : a->length < b->length ? -1 : a->length > b->length;
}

/*
 * Lists the distinct paths into the context, in the order of their bytes; returns their number.
 * What is read through a loop's variable belongs to the array.
 */
size_t
template_read_paths(const TemplateProgram *program, const TemplateHost *host, TemplateText **paths)
{
	TemplateText *result =
		template_allocate(host, (program->paths.count + 1) * sizeof(TemplateText));
	size_t		count = 0;
	size_t		distinct = 0;

	for (uint32_t i = 0; i < program->paths.count; i++)
	{
		const Path *path = ITEM(program->paths, Path, i);

		if (path->root == ROOT_CONTEXT)
			result[count++] = write_path(program, host, path);
	}
	qsort(result, count, sizeof(TemplateText), compare_paths);
	for (size_t i = 0; i < count; i++)
	{
		if (distinct == 0 || compare_paths(&result[distinct - 1], &result[i]) != 0)
			result[distinct++] = result[i];
	}
	*paths = result;
	return distinct;
}
