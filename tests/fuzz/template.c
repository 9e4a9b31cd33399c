/*
 * template.c: any template with any context.
 *
 * The first byte says how the others are read. A template is either the bytes
 * themselves or pieces of the language, one for each byte; the context comes
 * from what follows the template's end, a byte of 0 or 255.
 */
#include "template_host.h"

#define COUNT(array) (int) (sizeof(array) / sizeof((array)[0]))

#define MOST_NODES 200
#define MOST_SOURCE 4000

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of the input, and where the pieces of memory are. */
typedef struct Input
{
	const uint8_t *data;
	size_t		size;
	int			nodes;
	Pieces		pieces;
} Input;

/* Zero when nothing is left. */
static unsigned
next_byte(Input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

static const char *const fragments[] = {
	"{{ ", " }}", "{% if ", "{% elif ", "{% else %}", "{% endif %}", "{% for i in ", "{% for a in ",
	" %}", "{% empty %}", "{% endfor %}",
	"{% raw %}", "{% endraw %}", "{#", "#}", "{{- ", "-}}", "{%- ", "-%}", " and ", " or ", " not ",
	" in ", "(", ")", " == ", " != ",
	" < ", " <= ", " > ", " >= ", "a", "b", "c", "i", "loop", ".", ".a", ".0", ".\"b c\"", ".1",
	"loop.index", "loop.first", "loop.last",
	" limit:2", "|default:'<'", "|default:0", "|upper", "|lower", "|capitalize", "|escape", "|safe",
	"|round:2", "|round",
	"|date:'FMDDth Month YYYY \"at\" HH12:MI am'", "|date:", "|urlencode", "|json", "|length",
	"|join:', '", "|first", "|last", "|truncate:5",
	"|truncate:", ":", "|", "\"", "'", "1", "-2.50", "true", "false", "null", "text ", "<", "&",
	"\n", " ", "\xC5\xBC", "\xFF",
	"{% if a %}", "{% for i in b %}", "{{ a }}", "{{ i }}", "{{ i.a|default:1 }}",
	"{{ loop.index }}", "{% if a in b %}", "{% if i < a %}"
};

static TemplateText
next_source(Input *input)
{
	char		source[MOST_SOURCE + 64];
	size_t		length = 0;
	unsigned	mode = next_byte(input);
	unsigned	byte;

	while (length < MOST_SOURCE && input->size > 0 &&
		   (byte = next_byte(input)) != (mode % 2 ? 0 : 255))
	{
		const char *fragment = fragments[byte % COUNT(fragments)];

		if (mode % 2)
			source[length++] = byte;
		else
			length = stpcpy(source + length, fragment) - source;
	}
	return pieces_text(&input->pieces, source, length);
}

/* Text with what HTML minds, or a date, or any bytes. */
static TemplateText
next_text(Input *input)
{
	static const char *const texts[] = {
		"<b>", "2025-01-31",   "2024-02-29T23:59:59.9+01:00", "",
		"a",   "it's & \"x\"", "\xC5\xBC\xC3\xB3\xC5\x82w",	  "9999-12-31 00:00"};
	unsigned	choice = next_byte(input);
	size_t		length;
	TemplateText text;

	if (choice < 128)
		return pieces_text(&input->pieces, texts[choice % COUNT(texts)],
						   strlen(texts[choice % COUNT(texts)]));
	length = choice % 16 < input->size ? choice % 16 : input->size;
	text = pieces_text(&input->pieces, (const char *) input->data, length);
	input->data += length;
	input->size -= length;
	return text;
}

static TemplateText
next_number(Input *input)
{
	char		digits[80];
	int			count = 0;
	unsigned	shape = next_byte(input);

	if (shape & 1)
		digits[count++] = '-';
	for (int i = 0; i <= (int) (shape >> 1) % 20; i++)
		digits[count++] = '0' + next_byte(input) % 10;
	if (shape & 64)
	{
		digits[count++] = '.';
		for (int i = 0; i <= (int) (shape >> 3) % 30; i++)
			digits[count++] = '0' + next_byte(input) % 10;
	}
	return pieces_text(&input->pieces, digits, count);
}

static Node *
next_node(Input *input, int depth)
{
	static const char *const names[] = {"a", "b", "c", "b c", "0", "loop"};
	unsigned	choice = next_byte(input);
	Node	   *node = new_node(&input->pieces, depth == 0	? TEMPLATE_OBJECT
												: depth > 5 ? choice % 4 + 1
															: choice % 6 + 1);

	node->truth = choice & 64;
	if (node->kind == TEMPLATE_STRING)
		node->text = next_text(input);
	else if (node->kind == TEMPLATE_NUMBER)
		node->text = next_number(input);
	else if (node->kind >= TEMPLATE_ARRAY)
	{
		for (int i = next_byte(input) % 6; i > 0 && input->nodes++ < MOST_NODES; i--)
		{
			const char *name = names[i - 1];
			Node	   *child = next_node(input, depth + 1);

			child->name = pieces_text(&input->pieces, name, strlen(name));
			add_child(&input->pieces, node, child);
		}
	}
	return node;
}

static bool
has(TemplateText text, const char *word)
{
	for (size_t at = 0; at + strlen(word) <= text.length; at++)
	{
		if (memcmp(text.data + at, word, strlen(word)) == 0)
			return true;
	}
	return false;
}

/* Every error says what, and where if it is about a place. */
static void
check_error(const TemplateError *error, TemplateText source)
{
	CHECK(error->fault != TEMPLATE_FINE && error->message[0] != '\0' &&
		  strlen(error->message) < sizeof(error->message));
	CHECK(error->line > 0 && error->column > 0);
	CHECK(error->source_line.data >= source.data &&
		  error->source_line.data + error->source_line.length <= source.data + source.length);
}

/* Values bring no markup of their own. */
static void
check_output(const TemplateOutput *output, TemplateText source, bool escape)
{
	TemplateText text = {output->data, output->length};

	CHECK(output->length <= output->capacity && output->capacity <= TEMPLATE_MAX_LENGTH);
	if (!escape || has(source, "safe") || has(source, "<") || has(source, ">") ||
		has(source, "\"") || has(source, "'"))
		return;
	CHECK(!has(text, "<") && !has(text, ">") && !has(text, "\"") && !has(text, "'"));
}

static void
check_paths(const TemplateProgram *program, const TemplateHost *host)
{
	TemplateText *paths;
	size_t		count = template_read_paths(program, host, &paths);

	for (size_t i = 0; i < count; i++)
	{
		CHECK(paths[i].length > 0);
		CHECK(i == 0 || paths[i].length != paths[i - 1].length ||
			  memcmp(paths[i].data, paths[i - 1].data, paths[i].length) != 0);
	}
}

static int
strange_length(const char *at)
{
	return (unsigned char) *at % 8;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input		input = {data, size};
	unsigned	flags = next_byte(&input);
	TemplateText source = next_source(&input);
	TemplateValue context = node_value(next_node(&input, 0));
	TemplateHost host = node_host(&input.pieces);
	TemplateOutput output = {NULL, 0, 0};
	TemplateError error;
	TemplateProgram *program;

	host.character_length = flags & 2 ? strange_length : NULL;
	program = template_compile(&host, source, &error);
	CHECK((program != NULL) == (error.fault == TEMPLATE_FINE));
	if (program == NULL)
		check_error(&error, source);
	else
	{
		check_paths(program, &host);
		if (template_evaluate(program, &host, &context, flags & 1, &output, &error))
			check_output(&output, source, flags & 1);
		else
			check_error(&error, source);
	}
	pieces_free(&input.pieces);
	return 0;
}
