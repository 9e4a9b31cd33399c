/*
 * template.c: src/template with contexts in memory: tables of cases, and oracles for numbers, dates
 * and letters.
 */
#include "template_host.h"

#include <locale.h>
#include <time.h>
#include <wchar.h>
#include <wctype.h>

#define COUNT(array) (int) (sizeof(array) / sizeof((array)[0]))

typedef struct Rendering
{
	Pieces		pieces;
	TemplateHost host;
	TemplateOutput output;
	TemplateError error;
	bool		fine;
} Rendering;

/* Renders; the result is valid until it is closed. */
static void
render(Rendering *result, const char *source, size_t length, const char *context, bool escape)
{
	Node	   *node;
	TemplateValue value;
	TemplateProgram *program;

	memset(result, 0, sizeof(*result));
	result->host = node_host(&result->pieces);
	node = read_node(&result->pieces, &context);
	value = node_value(node);
	program = template_compile(&result->host, pieces_text(&result->pieces, source, length),
							   &result->error);
	result->fine = program != NULL && template_evaluate(program, &result->host, &value, escape,
														&result->output, &result->error);
	CHECK(result->fine == (result->error.fault == TEMPLATE_FINE));
}

static void
check_rendered(const char *source, const char *context, bool escape, const char *expected)
{
	Rendering	result;

	render(&result, source, strlen(source), context, escape);
	if (!result.fine || result.output.length != strlen(expected) ||
		strncmp(result.output.length > 0 ? result.output.data : "", expected, strlen(expected)) !=
			0)
	{
		fprintf(stderr, "%s with %s\nexpected: %s\ngot: %.*s\n%s\n", source, context, expected,
				(int) result.output.length, result.output.data, result.error.message);
		exit(1);
	}
	pieces_free(&result.pieces);
}

static void
check_error(const char *source, const char *context, TemplateFault fault, const char *message)
{
	Rendering	result;

	render(&result, source, strlen(source), context, true);
	if (result.error.fault != fault || strcmp(result.error.message, message) != 0)
	{
		fprintf(stderr, "%s with %s\nexpected: %d %s\ngot: %d %s\n", source, context, fault,
				message, result.error.fault, result.error.message);
		exit(1);
	}
	pieces_free(&result.pieces);
}

static void
check_texts(void)
{
	static const struct
	{
		const char *source;
		const char *context;
		const char *expected;
	} cases[] = {
		{"", "{}", ""},
		{"a { b } {{ x }} }} %} #}", "{x: 1}", "a { b } 1 }} %} #}"},
		{"{", "{}", "{"},
		{"{{ a.b.0.c }}", "{a: {b: [{c: 'x'}]}}", "x"},
		{"{{ a.0 }}{{ a.\"b c\" }}{{ a.'\"' }}", "{a: {0: 'x', b c: 'y', \": 'z'}}", "xyz"},
		{"{{a-b}}{{-a-}} {{a}}", "{a-b: 1, a: 2}", "122"},
		{"{{ a }}{{ a|safe }}{{ a|escape }}", "{a: '<&>\"'}",
		 "&lt;&amp;&gt;&quot;<&>\"&lt;&amp;&gt;&quot;"},
		{"{{ a|safe|escape }}{{ a|escape|safe }}{{ a|safe|default:'<' }}", "{a: ''}", "<"},
		{"{{ a|default:'<i>' }}{{ b|default:\"'\" }}{{ c|default:1.50 }}", "{b: null}",
		 "&lt;i&gt;&#39;1.50"},
		{"x{# {{ no }} {% no %} #}y{#- z -#} \n w", "{}", "xyw"},
		{"{% raw %}{{ a }}{% if %}{% raw %}{% endraw %}|", "{}", "{{ a }}{% if %}{% raw %}|"},
		{"a {%- raw -%} b {%- endraw -%} c", "{}", "abc"},
		{"{% if a %}A{% elif b == 2 %}B{% else %}C{% endif %}", "{b: 2.0}", "B"},
		{"{% if a %}A{% elif b %}B{% else %}C{% endif %}", "{a: 0, b: ''}", "C"},
		{"{% if not not a and not b or c %}1{% else %}0{% endif %}", "{a: true}", "1"},
		{"{% if not not not a %}1{% else %}0{% endif %}{% if not not not not a %}1{% else %}0{% "
		 "endif %}",
		 "{a: true}", "01"},
		{"{% if a or b and c %}1{% else %}0{% endif %}{% if (a or b) and c %}1{% else %}0{% endif "
		 "%}",
		 "{a: 1}", "10"},
		{"{% if (a and b) == true %}1{% endif %}{% if (a or b) == true %}2{% endif %}{% if (x and "
		 "a) == false %}3{% endif %}",
		 "{a: 7, b: 'x'}", "123"},
		{"{% if a > 3 %}1{% endif %}{% if a < 3 %}2{% endif %}{% if a == null %}3{% endif %}{% if "
		 "a == b %}4{% endif %}",
		 "{b: null}", "34"},
		{"{% if 'b' in a %}1{% endif %}{% if 2 in a %}2{% endif %}{% if '2' not in a %}3{% endif "
		 "%}{% if null in a %}4{% endif %}",
		 "{a: ['b', 2.00, [], null]}", "1234"},
		{"{% if 'ell' in a %}1{% endif %}{% if '' in a %}2{% endif %}{% if 'hello!' in a %}3{% "
		 "endif %}{% if x in a %}4{% endif %}{% if 1 in x %}5{% endif %}",
		 "{a: 'hello'}", "12"},
		{"{% if a|length >= 2 and a|first|upper == 'X' %}1{% endif %}", "{a: ['x', 'y']}", "1"},
		{"{% if '2025-01-02' > d and d >= '2025-01-01' %}1{% endif %}", "{d: '2025-01-01'}", "1"},
		{"{% for i in a %}{{ loop.index }}{% if loop.first %}f{% endif %}{% if loop.last %}l{% "
		 "endif %}{{ i.n }} {% endfor %}",
		 "{a: [{n: 'x'}, {n: 'y'}, {n: 'z'}]}", "1fx 2y 3lz "},
		{"{% for i in a limit:2 %}{{ i }}{% if loop.last %}.{% endif %}{% endfor %}{% for i in a "
		 "limit:0 %}x{% empty %}e{% endfor %}",
		 "{a: [1, 2, 3]}", "12.e"},
		{"{% for i in a %}{% for j in i %}{{ j }}{{ loop.index }}{% empty %}-{% endfor %}{{ "
		 "loop.index }};{% endfor %}",
		 "{a: [[5], [], [6, 7]]}", "511;-2;61723;"},
		{"{% for i in a %}{% for i in i.b %}{{ i }}{% endfor %}{% empty %}{{ i }}{% endfor %}",
		 "{a: [{b: [1, 2]}], i: 'no'}", "12"},
		{"{% for i in a %}x{% empty %}{{ i }}{{ loop }}{% endfor %}{{ i }}",
		 "{i: 'yes', loop: 'L'}", "yesLyes"},
		{"{% for i in a %}x{% endfor %}.", "{a: []}", "."},
		{"{{ n|round:2 }} {{ n|round }} {{ m|round:1 }} {{ z|round:2 }} {{ k|round:3 }}",
		 "{n: 12.5, m: -0.04, z: -0.995, k: 999.9995}", "12.50 13 0.0 -1.00 1000.000"},
		{"{{ a|length }}{{ b|length }}{{ c|length }}{{ d|length }}",
		 "{a: 'zażółć', b: [1, 2], c: {x: 1}, d: ''}", "6210"},
		{"{{ a|join:', ' }}|{{ b|join:'<' }}|{{ e|join:'' }}",
		 "{a: ['<', 1, true, null, 2.50], b: [1, 2], e: []}", "&lt;, 1, true, 2.50|1&lt;2|"},
		{"{{ a|first }}{{ a|last }}{{ e|first|default:'-' }}", "{a: [1, 2, 3], e: []}", "13-"},
		{"{{ a|truncate:8 }}|{{ a|truncate:9 }}|{{ b|truncate:7 }}|{{ n|truncate:4 }}",
		 "{a: 'żółwżółwx', b: 'abc def', n: 123456}", "żółwż...|żółwżółwx|abc def|1..."},
		{"{{ a|truncate:7 }}", "{a: 'abc def ghi'}", "abc..."},
		{"{{ a|json }},{{ b|json }},{{ n|json }},{{ m|json }},{{ a|json|escape }}",
		 "{a: 'a\"\\<ż>', b: true, n: 1.50}",
		 "\"a\\\"\\\\\\u003cż\\u003e\",true,1.50,null,&quot;a\\&quot;\\\\\\u003cż\\u003e&quot;"},
		{"{{ a|urlencode }}", "{a: 'a b&ż/~-._'}", "a%20b%26%C5%BC%2F~-._"},
		{"{{ a|upper }} {{ a|lower }} {{ a|capitalize }} {{ e|capitalize }}{{ t|upper }}",
		 "{a: 'éclair Ñandú ßΣς', e: '', t: true}",
		 "ÉCLAIR ÑANDÚ ßΣΣ éclair ñandú ßσς Éclair Ñandú ßΣς TRUE"},
		{"{{ d|date:'YYYY-MM-DD HH24:MI:SS' }}|{{ d|date:'FMDD/FMMM/YY FMHH12:MI am' }}",
		 "{d: '2025-03-04T15:06:07.123+02:00'}", "2025-03-04 15:06:07|4/3/25 3:06 pm"},
		{"{{ d|date:'Dy, FMDDth Month YYYY \"at\" HH PM' }}|{{ d|date:'DAY Mon MON mon dy' }}",
		 "{d: '2025-05-01'}", "Thu, 1st May 2025 at 12 AM|THURSDAY May MAY may thu"},
		{"{{ d|date:'FMDDth' }}{{ e|date:'FMDDth' }}{{ f|date:'DDth' }}{{ f|date:'\"\"' }}{{ "
		 "f|date:'' }}",
		 "{d: '2025-05-11', e: '2025-05-22 00:00', f: '2025-05-03 23:59:59Z'}", "11th22nd03rd"},
	};

	for (int i = 0; i < COUNT(cases); i++)
		check_rendered(cases[i].source, cases[i].context, true, cases[i].expected);
	check_rendered("{{ a }}{{ a|escape }}", "{a: '<'}", false, "<&lt;");
}

static void
check_errors(void)
{
	static const struct
	{
		const char *source;
		const char *context;
		TemplateFault fault;
		const char *message;
	}			cases[] = {
		{"Hi\nżółw {{ a.b }}", "{a: 1}", TEMPLATE_MISSING,
			"line 2, column 9: \"a.b\" is missing or null"},
		{"{{ a|upper }}", "{a: null}", TEMPLATE_MISSING,
			"line 1, column 4: \"a|upper\" is missing or null"},
		{"{{ a }}", "{a: [1]}", TEMPLATE_VALUE, "line 1, column 4: \"a\" is an array"},
		{"{{ a }}", "{a: {}}", TEMPLATE_VALUE, "line 1, column 4: \"a\" is an object"},
		{"{% for i in a %}{% endfor %}", "{}", TEMPLATE_MISSING,
			"line 1, column 1: \"a\" is missing or null"},
		{"{% for i in a %}{% endfor %}", "{a: 'x'}", TEMPLATE_VALUE,
			"line 1, column 1: \"a\" is text, not an array"},
		{"{% if a < 'x' %}{% endif %}", "{a: 1}", TEMPLATE_VALUE,
			"line 1, column 9: a number and text cannot be ordered"},
		{"{% if a < a %}{% endif %}", "{a: true}", TEMPLATE_VALUE,
			"line 1, column 9: a boolean and a boolean cannot be ordered"},
		{"{% if 1 in a %}{% endif %}", "{a: 'x'}", TEMPLATE_VALUE,
			"line 1, column 9: \"in\" finds only text in text, not a number"},
		{"{% if 1 in a %}{% endif %}", "{a: {}}", TEMPLATE_VALUE,
			"line 1, column 9: \"in\" needs an array or text on its right, not an object"},
		{"{{ a|round }}", "{a: '1'}", TEMPLATE_VALUE,
			"line 1, column 6: filter \"round\" needs a number, not text"},
		{"{{ a|join:',' }}", "{a: [[1]]}", TEMPLATE_VALUE,
			"line 1, column 6: filter \"join\" needs an array of texts or numbers, not an array"},
		{"{{ a|date:'YYYY' }}", "{a: '2025-02-29'}", TEMPLATE_DATE,
			"line 1, column 6: \"2025-02-29\" is no date"},
		{"{{ a|date:'yyyy' }}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 11: filter \"date\" does not know the pattern \"yyyy\""},
		{"{{ a|nope }}", "{}", TEMPLATE_SYNTAX, "line 1, column 6: there is no filter \"nope\""},
		{"{{ a|upper:1 }}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 12: filter \"upper\" takes no argument"},
		{"{{ a|truncate }}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 6: filter \"truncate\" needs an argument"},
		{"{{ a|truncate:3 }}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 15: filter \"truncate\" needs a whole number from 4 to 999999"},
		{"{{ a|round:'2' }}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 12: filter \"round\" needs a whole number from 0 to 30"},
		{"{{ a|join:1 }}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 11: filter \"join\" needs text in quotes"},
		{"{{ a|default:b }}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 14: text in quotes or a number expected, not \"b\""},
		{"{{ a", "{}", TEMPLATE_SYNTAX,
			"line 1, column 5: the template ends within a tag, before its \"}}\""},
		{"{{ a b }}", "{}", TEMPLATE_SYNTAX, "line 1, column 6: \"}}\" expected, not \"b\""},
		{"{{ }}", "{}", TEMPLATE_SYNTAX, "line 1, column 4: a path expected, not \"}}\""},
		{"{{ a. }}", "{}", TEMPLATE_SYNTAX, "line 1, column 6: a name expected after the dot"},
		{"{{ a|default:'x }}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 14: text without its closing quote"},
		{"{{ a ? b }}", "{}", TEMPLATE_SYNTAX, "line 1, column 6: unexpected \"?\""},
		{"{# a", "{}", TEMPLATE_SYNTAX, "line 1, column 1: a comment without its end \"#}\""},
		{"{% raw %} {% endif %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 1: {% raw %} without its {% endraw %}"},
		{"{% nope %}", "{}", TEMPLATE_SYNTAX, "line 1, column 4: there is no tag \"nope\""},
		{"{% if a %}", "{}", TEMPLATE_SYNTAX, "line 1, column 1: a block without its {% endif %}"},
		{"{% if a %}{% for i in b %}{% endif %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 27: {% endif %} without its {% if %}"},
		{"{% endfor %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 1: {% endfor %} without its {% for %}"},
		{"{% for i in a %}{% else %}{% endfor %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 17: {% else %} belongs to {% if %}, not to {% for %}"},
		{"{% if a %}{% else %}{% elif b %}{% endif %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 21: a branch after {% else %}"},
		{"{% for i in a %}{% empty %}{% empty %}{% endfor %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 28: a second {% empty %}"},
		{"{% for i in a|default:1 %}{% endfor %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 14: a loop's array takes no filters"},
		{"{% for loop in a %}{% endfor %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 8: \"loop\" cannot be a loop's variable"},
		{"{% for i in a limit:x %}{% endfor %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 21: a whole number of up to six digits expected, not \"x\""},
		{"{% for i in a %}{{ loop.length }}{% endfor %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 20: \"loop\" has no such property"},
		{"{% for i in a %}{% for j in loop.x %}{% endfor %}{% endfor %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 29: \"loop\" has no such property"},
		{"{% if a < b < c %}{% endif %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 13: \"%}\" expected, not \"<\""},
		{"{% if (a %}{% endif %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 10: \")\" expected, not \"%}\""},
		{"{% if a not b %}{% endif %}", "{}", TEMPLATE_SYNTAX,
			"line 1, column 13: \"in\" expected, not \"b\""},
	};

	for (int i = 0; i < COUNT(cases); i++)
		check_error(cases[i].source, cases[i].context, cases[i].fault, cases[i].message);
}

/* A text repeated, which the caller frees. */
static char *
repeated(const char *prefix, const char *text, int times, const char *suffix)
{
	char	   *result = malloc(strlen(prefix) + strlen(text) * times + strlen(suffix) + 1);
	char	   *next = result;

	CHECK(result != NULL);
	next = stpcpy(next, prefix);
	while (times-- > 0)
		next = stpcpy(next, text);
	strcpy(next, suffix);
	return result;
}

static void
check_limit(const char *source, const char *context, const char *message)
{
	Rendering	result;

	render(&result, source, strlen(source), context, true);
	if (message == NULL
			? !result.fine
			: result.error.fault != TEMPLATE_LIMIT || strstr(result.error.message, message) == NULL)
	{
		fprintf(stderr, "%.40s...: %s, not %s\n", source, result.error.message,
				message != NULL ? message : "fine");
		exit(1);
	}
	CHECK(result.output.capacity <= TEMPLATE_MAX_LENGTH);
	pieces_free(&result.pieces);
}

/* One before each limit, and one beyond. */
static void
check_limits(void)
{
	char	   *items = repeated("{a: [", "1, ", 400, "1]}");
	char	   *long_text = repeated("{a: '", "0123456789", 10000, "'}");
	char	   *inner;
	char	   *outer;

	for (int beyond = 0; beyond <= 1; beyond++)
	{
		inner = repeated("", "{% if a %}", TEMPLATE_MAX_DEPTH + beyond, "x");
		outer = repeated(inner, "{% endif %}", TEMPLATE_MAX_DEPTH + beyond, "");
		check_limit(outer, "{a: 1}", beyond ? "blocks within each other" : NULL);
		free(inner);
		free(outer);
		inner = repeated("{% if ", "1 == (", TEMPLATE_MAX_DEPTH + beyond, "a");
		outer = repeated(inner, ")", TEMPLATE_MAX_DEPTH + beyond, " %}{% endif %}");
		check_limit(outer, "{a: 1}", beyond ? "parentheses within each other" : NULL);
		free(inner);
		free(outer);
		outer = repeated("", "x", TEMPLATE_MAX_LENGTH + beyond, "");
		check_limit(outer, "{}", beyond ? "is longer than" : NULL);
		free(outer);
		outer = repeated("", "{{ a }}", 10 + beyond, "");
		check_limit(outer, long_text, beyond ? "the output would be longer" : NULL);
		free(outer);
	}
	check_limit("{% for i in a %}{% for i in a limit:100 %}{% endfor %}{% endfor %}", items, NULL);
	check_limit("{% for i in a %}{% for j in a %}{% endfor %}{% endfor %}", items,
				"turns of loops");
	outer = repeated("{% if ", "a|upper == 'x' or ", 700, "a %}{% endif %}");
	check_limit(outer, long_text, "too much to do");
	free(outer);
	free(items);
	free(long_text);
}

/* Rounding and comparison against whole numbers of thousandths. */
static void
check_numbers(void)
{
	for (int i = 0; i < 5000; i++)
	{
		int64_t		left = check_between(-200000, 200000) * (i % 2 ? 1 : 100);
		int64_t		right = i % 5 == 0 ? left : check_between(-200000, 200000);
		int64_t		hundredths = (llabs(left) + 5) / 10 * (left < 0 ? -1 : 1);
		char		context[200];
		char		expected[200];

		snprintf(context, sizeof(context), "{a: %s%lld.%03lld, b: %s%lld.%03lld00}",
				 left < 0 ? "-" : "", llabs(left) / 1000, llabs(left) % 1000, right < 0 ? "-" : "",
				 llabs(right) / 1000, llabs(right) % 1000);
		snprintf(expected, sizeof(expected), "%s%lld.%02lld %d%d%d", hundredths < 0 ? "-" : "",
				 llabs(hundredths) / 100, llabs(hundredths) % 100, left < right, left == right,
				 left >= right);
		check_rendered("{{ a|round:2 }} {% if a < b %}1{% else %}0{% endif %}{% if b == a %}1{% "
					   "else %}0{% endif %}{% if a >= b %}1{% else %}0{% endif %}",
					   context, true, expected);
	}
}

/* Dates of two thousand years against strftime. */
static void
check_dates(void)
{
	for (int i = 0; i < 3000; i++)
	{
		time_t		at =
			check_between(-62135596800 / 86400, 2932896) * 86400 + check_between(0, 86399);
		struct tm	fields;
		char		context[100];
		char		expected[100];

		CHECK(gmtime_r(&at, &fields) != NULL);
		snprintf(context, sizeof(context), "{d: '%04d-%02d-%02dT%02d:%02d:%02d'}",
				 fields.tm_year + 1900, fields.tm_mon + 1, fields.tm_mday, fields.tm_hour,
				 fields.tm_min, fields.tm_sec);
		strftime(expected, sizeof(expected), "%A %a %B %b %d %m %y %H %I %p %M %S", &fields);
		check_rendered("{{ d|date:'Day Dy Month Mon DD MM YY HH24 HH12 AM MI SS' }}", context, true,
					   expected);
	}
}

static void
check_letter(wchar_t letter)
{
	/*
	 * Their other case is beyond these alphabets, is more than one letter, or is known to newer
	 * libraries only.
	 */
	static const wchar_t others[] = {0xB5, 0xDF, 0x130, 0x131, 0x17F, 0x1E9E};
	char		context[20];
	char		expected[20];

	if (wmemchr(others, letter, COUNT(others)) != NULL)
		return;
	snprintf(context, sizeof(context), "{a: '%lc'}", letter);
	snprintf(expected, sizeof(expected), "%lc%lc", towupper(letter), towlower(letter));
	check_rendered("{{ a|upper }}{{ a|lower }}", context, true, expected);
}

/* The tables of letters against the C library's. */
static void
check_letters(void)
{
	static const wchar_t alphabets[][2] = {
		{0x80, 0x17F}, {0x1CD, 0x1DC}, {0x1F8, 0x21F}, {0x222, 0x233}, {0x386, 0x3CE},
		{0x400, 0x52F}, {0x531, 0x556}, {0x561, 0x586},
		{0x1E00, 0x1E95}, {0x1EA0, 0x1EFF}, {0x4E00, 0x4E20}
	};

	if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
		return;
	for (int i = 0; i < COUNT(alphabets); i++)
	{
		for (wchar_t letter = alphabets[i][0]; letter <= alphabets[i][1]; letter++)
			check_letter(letter);
	}
}

static int
one_byte(const char *at)
{
	return 1;
}

static int
too_long(const char *at)
{
	return 7;
}

/* In other encodings no byte above 127 changes, and no character reaches beyond its text. */
static void
check_encodings(void)
{
	int			(*lengths[]) (const char *) = {one_byte, too_long};

	for (int i = 0; i < COUNT(lengths); i++)
	{
		Pieces		pieces = {0};
		TemplateHost host = node_host(&pieces);
		TemplateOutput output = {NULL, 0, 0};
		TemplateError error;
		const char *context = "{a: 'a\xE9\xE9'}";
		TemplateValue value = node_value(read_node(&pieces, &context));
		TemplateText source = pieces_text(&pieces, "{{ a|upper }}{{ a|length }}\xE9", 28);
		TemplateProgram *program;

		host.character_length = lengths[i];
		program = template_compile(&host, source, &error);
		CHECK(program != NULL && template_evaluate(program, &host, &value, true, &output, &error));
		CHECK(output.length == 5 && memcmp(output.data,
										   i == 0 ? "A\xE9\xE9"
													"3\xE9"
												  : "A\xE9\xE9"
													"2\xE9",
										   5) == 0);
		pieces_free(&pieces);
	}
}

/* The paths of a template, joined. */
static void
check_paths(const char *source, const char *expected)
{
	Pieces		pieces = {0};
	TemplateHost host = node_host(&pieces);
	TemplateError error;
	TemplateProgram *program =
		template_compile(&host, pieces_text(&pieces, source, strlen(source)), &error);
	TemplateText *paths;
	size_t		count;
	char		joined[200] = "";

	CHECK(program != NULL);
	count = template_read_paths(program, &host, &paths);
	for (size_t i = 0; i < count; i++)
		snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%.*s ",
				 (int) paths[i].length, paths[i].data);
	if (strcmp(joined, expected) != 0)
		fprintf(stderr, "%s reads %s\n", source, joined);
	CHECK(strcmp(joined, expected) == 0);
	pieces_free(&pieces);
}

static void
check_variables(void)
{
	check_paths("", "");
	check_paths("{{ b.c }}{{ a }}{{ b.c|default:'x' }}{{ b }}", "a b b.c ");
	check_paths("{% for i in x.items %}{{ i.a }}{{ loop.index }}{% for j in i.b %}{{ j }}{{ k }}{% "
				"endfor %}{% empty %}{{ i }}{% endfor %}",
				"i k x.items ");
	check_paths("{% if a.\"b\" == c.'d e' and d in e.0.f %}{% elif not g %}{% endif %}{{ a.b }}",
				"a.b c.\"d e\" d e.0.f g ");
	check_paths("{{ a.'\"' }}{{ a.\"1x\" }}{{ a.'1' }}{{ a.'' }}{% raw %}{{ no }}{% endraw %}{# {{ "
				"no }} #}",
				"a.\"\" a.\"1x\" a.'\"' a.1 ");
}

/*
 * A program is rendered again and again with the same result, in the same buffer, and offers to be
 * interrupted.
 */
static void
check_reuse(void)
{
	const char *source = "{% for i in a %}{{ loop.index }}{{ i|upper }}{% if not loop.last %}, {% "
						 "endif %}{% endfor %}";
	const char *context = "{a: ['x', 'y', 'z']}";
	Pieces		pieces = {0};
	TemplateHost host = node_host(&pieces);
	TemplateError error;
	TemplateProgram *program =
		template_compile(&host, pieces_text(&pieces, source, strlen(source)), &error);
	TemplateValue value = node_value(read_node(&pieces, &context));
	TemplateOutput output = {NULL, 0, 0};

	for (int i = 0; i < 3; i++)
	{
		pieces.checks = 0;
		CHECK(template_evaluate(program, &host, &value, true, &output, &error));
		CHECK(output.length == 10 && memcmp(output.data, "1X, 2Y, 3Z", 10) == 0);
		CHECK(pieces.checks > 3 * 5);
	}
	pieces_free(&pieces);
}

int
main(void)
{
	check_texts();
	check_errors();
	check_limits();
	check_numbers();
	check_dates();
	check_letters();
	check_encodings();
	check_variables();
	check_reuse();
	return 0;
}
