/* program.c: the arrays of a compiled template grow. */
#include "template/program.h"

/* Makes room for one more item, and returns it. */
void *
template_append(const TemplateHost *host, TemplateArray *array, size_t size)
{
	if (array->count == array->capacity)
	{
		array->capacity = array->capacity == 0 ? 8 : array->capacity * 2;
		array->items = host->resize(host->context, array->items, array->capacity * size);
	}
	return (char *) array->items + array->count++ * size;
}
