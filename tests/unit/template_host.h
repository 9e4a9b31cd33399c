/*
 * template_host.h: contexts for templates, without a server.
 *
 * Every text and piece of memory comes from malloc in its exact size, so that
 * the address sanitizer sees its limits.
 */
#ifndef RETENTION_TEMPLATE_HOST_H
#define RETENTION_TEMPLATE_HOST_H

#include <string.h>

#include "template/template.h"

#include "check.h"

/* Memory that is freed at once. */
typedef struct Pieces
{
	void	  **items;
	size_t		count;
	size_t		capacity;
	size_t		checks;			/* how often the code offered to be interrupted */
} Pieces;

/* A value of a context; members have names, elements have none. */
typedef struct Node
{
	TemplateKind kind;
	bool		truth;
	TemplateText name;
	TemplateText text;
	size_t		count;
	struct Node **children;
} Node;

static inline void *
pieces_resize(void *context, void *memory, size_t size)
{
	Pieces	   *pieces = context;
	size_t		place = pieces->count;
	void	   *result = realloc(memory, size == 0 ? 1 : size);

	CHECK(result != NULL);
	if (memory == NULL)
	{
		memset(result, 0xa5, size);
		if (pieces->count == pieces->capacity)
		{
			pieces->capacity = 2 * pieces->capacity + 64;
			pieces->items = realloc(pieces->items, pieces->capacity * sizeof(void *));
			CHECK(pieces->items != NULL);
		}
		pieces->items[pieces->count++] = result;
		return result;
	}
	do
		CHECK(place > 0);
	while (pieces->items[--place] != memory);
	pieces->items[place] = result;
	return result;
}

static inline void
pieces_check(void *context)
{
	((Pieces *) context)->checks++;
}

static inline void
pieces_free(Pieces *pieces)
{
	while (pieces->count > 0)
		free(pieces->items[--pieces->count]);
	free(pieces->items);
	*pieces = (Pieces) {0};
}

static inline TemplateText
pieces_text(Pieces *pieces, const char *data, size_t length)
{
	char	   *copy = pieces_resize(pieces, NULL, length);

	if (length > 0)
		memcpy(copy, data, length);
	return (TemplateText) {copy, length};
}

static inline Node *
new_node(Pieces *pieces, TemplateKind kind)
{
	Node	   *node = pieces_resize(pieces, NULL, sizeof(Node));

	*node = (Node) {.kind = kind};
	return node;
}

static inline void
add_child(Pieces *pieces, Node *parent, Node *child)
{
	parent->children =
		pieces_resize(pieces, parent->children, (parent->count + 1) * sizeof(Node *));
	parent->children[parent->count++] = child;
}

static inline TemplateValue
node_value(const Node *node)
{
	TemplateValue value = {
		.kind = node->kind, .truth = node->truth, .size = node->count, .handle = node};

	if (node->kind == TEMPLATE_STRING)
		value.text = node->text;
	return value;
}

static inline void
node_member(void *context, const TemplateValue *object, TemplateText name, TemplateValue *member)
{
	const Node *node = object->handle;

	CHECK(node->kind == TEMPLATE_OBJECT);
	for (size_t i = 0; i < node->count; i++)
	{
		const Node *child = node->children[i];

		if (child->name.length == name.length &&
			memcmp(child->name.data, name.data, name.length) == 0)
			*member = node_value(child);
	}
}

static inline void
node_element(void *context, const TemplateValue *array, size_t index, TemplateValue *element)
{
	const Node *node = array->handle;

	CHECK(node->kind == TEMPLATE_ARRAY && index < node->count);
	*element = node_value(node->children[index]);
}

static inline TemplateText
node_number_text(void *context, const TemplateValue *number)
{
	return ((const Node *) number->handle)->text;
}

static inline TemplateHost
node_host(Pieces *pieces)
{
	return (TemplateHost) {.resize = pieces_resize,
						   .check = pieces_check,
						   .member = node_member,
						   .element = node_element,
						   .number_text = node_number_text,
						   .context = pieces};
}

/*
 * Reads JSON in which names are not quoted, text stands in single quotes, and blanks stand only
 * after , and :
 */
static inline Node *
read_node(Pieces *pieces, const char **next)
{
	static const char ends[] = ",]} ";
	const char *start = *next;
	size_t		length = strcspn(start, ends);
	Node	   *node;

	if (*start == '\'')
	{
		node = new_node(pieces, TEMPLATE_STRING);
		length = strcspn(start + 1, "'");
		node->text = pieces_text(pieces, start + 1, length);
		*next = start + length + 2;
		return node;
	}
	if (*start == '[' || *start == '{')
	{
		node = new_node(pieces, *start == '[' ? TEMPLATE_ARRAY : TEMPLATE_OBJECT);
		for (start++; *start != ']' && *start != '}'; start += strspn(start, ", "))
		{
			size_t		name = node->kind == TEMPLATE_OBJECT ? strcspn(start, ":") : 0;
			const char *value = start + name + (node->kind == TEMPLATE_OBJECT);
			Node	   *child;

			value += strspn(value, " ");
			child = read_node(pieces, &value);
			child->name = pieces_text(pieces, start, name);
			add_child(pieces, node, child);
			start = value;
		}
		*next = start + 1;
		return node;
	}
	CHECK(length > 0);
	node = new_node(pieces, *start == 'n'					 ? TEMPLATE_NULL
							: *start == 't' || *start == 'f' ? TEMPLATE_BOOLEAN
															 : TEMPLATE_NUMBER);
	node->truth = *start == 't';
	node->text = pieces_text(pieces, start, length);
	*next = start + length;
	return node;
}

#endif
