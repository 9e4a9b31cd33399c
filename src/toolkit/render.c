/*
 * render.c: render, _try_render and template_variables: message templates with the values of a
 * jsonb.
 */
#include "pg_compat.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "template/template.h"

/* Says how many templates a call site keeps compiled. */
#define CACHED_TEMPLATES 8

/* Sets room for what most templates render to, at first. */
#define FIRST_OUTPUT 4096

/* Describes a template with its program, or with the error for which it has none. */
typedef struct CachedTemplate
{
	MemoryContext context;
	TemplateText source;
	TemplateProgram *program;
	TemplateError error;
} CachedTemplate;

/*
 * Holds what a call site keeps between its calls: the templates by their last use, and memory to
 * render into.
 */
typedef struct RenderCache
{
	int			count;
	size_t		length;			/* of all sources; unless there is only one, they are not longer
								 * than one may be */
	CachedTemplate *templates[CACHED_TEMPLATES];
	TemplateOutput output;
	TupleDesc	result_type;	/* of _try_render */
} RenderCache;

/* Allocates in the context given; what is there already stays in its own. */
static void *
host_resize(void *context, void *memory, size_t size)
{
	return memory == NULL ? MemoryContextAlloc((MemoryContext) context, size)
						  : repalloc(memory, size);
}

static void
host_check(void *context)
{
	CHECK_FOR_INTERRUPTS();
}

static void
set_container(TemplateValue *value, JsonbContainer *container)
{
	value->kind = JsonContainerIsObject(container) ? TEMPLATE_OBJECT : TEMPLATE_ARRAY;
	value->size = JsonContainerSize(container);
	value->handle = container;
}

/*
 * Turns jsonb's value into a template's, of which only the kind has been set. Text and containers
 * stay in place.
 */
static void
set_value(TemplateValue *value, const JsonbValue *json)
{
	switch (json->type)
	{
		case jbvNull:
			value->kind = TEMPLATE_NULL;
			break;
		case jbvBool:
			value->kind = TEMPLATE_BOOLEAN;
			value->truth = json->val.boolean;
			break;
		case jbvNumeric:
			value->kind = TEMPLATE_NUMBER;
			value->handle = json->val.numeric;
			break;
		case jbvString:
			value->kind = TEMPLATE_STRING;
			value->text = (TemplateText) {json->val.string.val, json->val.string.len};
			break;
		case jbvBinary:
			set_container(value, json->val.binary.data);
			break;
		default:
			elog(ERROR, "unexpected type of jsonb value: %d", (int) json->type);
	}
}

static void
host_member(void *context, const TemplateValue *object, TemplateText name, TemplateValue *member)
{
	JsonbValue	json;

	if (getKeyJsonValueFromContainer((JsonbContainer *) object->handle, name.data, name.length,
									 &json) != NULL)
		set_value(member, &json);
}

static void
host_element(void *context, const TemplateValue *array, size_t index, TemplateValue *element)
{
	JsonbValue *json = getIthJsonbValueFromContainer((JsonbContainer *) array->handle, index);

	if (json == NULL)
		return;
	set_value(element, json);
	pfree(json);
}

static TemplateText
host_number_text(void *context, const TemplateValue *number)
{
	char	   *text =
		DatumGetCString(DirectFunctionCall1(numeric_out, PointerGetDatum(number->handle)));

	return (TemplateText) {text, strlen(text)};
}

static int
host_character_length(const char *at)
{
	return pg_encoding_mblen(GetDatabaseEncoding(), at);
}

static TemplateText
host_to_utf8(void *context, TemplateText text)
{
	char	   *converted = pg_server_to_any(text.data, text.length, PG_UTF8);

	return (TemplateText) {converted, converted == text.data ? text.length : strlen(converted)};
}

/*
 * Makes a host that allocates in this context. Without an encoding, bytes are characters and stay
 * as they are.
 */
static TemplateHost
make_host(MemoryContext context)
{
	bool		is_utf8 = GetDatabaseEncoding() == PG_UTF8;
	bool		is_unknown = GetDatabaseEncoding() == PG_SQL_ASCII;

	return (TemplateHost) {
		.resize = host_resize, .check = host_check, .member = host_member, .element = host_element,
		.number_text = host_number_text, .character_length = is_utf8 ? NULL : host_character_length,
		.to_utf8 = is_utf8 || is_unknown ? NULL : host_to_utf8, .context = context
	};
}

static TemplateText
template_argument(Datum argument)
{
	text	   *template = DatumGetTextPP(argument);

	return (TemplateText) {VARDATA_ANY(template), VARSIZE_ANY_EXHDR(template)};
}

static RenderCache *
call_cache(FunctionCallInfo fcinfo)
{
	RenderCache *cache = fcinfo->flinfo->fn_extra;

	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(RenderCache));
		cache->output.data = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, FIRST_OUTPUT);
		cache->output.capacity = FIRST_OUTPUT;
		fcinfo->flinfo->fn_extra = cache;
	}
	return cache;
}

/* Compiles a template in memory of its own. Errors are kept like programs. */
static CachedTemplate *
compile(MemoryContext parent, TemplateText source)
{
	MemoryContext context =
		AllocSetContextCreate(parent, "retention template", ALLOCSET_SMALL_SIZES);
	CachedTemplate *template = MemoryContextAllocZero(context, sizeof(CachedTemplate));
	char	   *copy = MemoryContextAlloc(context, source.length + 1);
	TemplateHost host = make_host(context);

	memcpy(copy, source.data, source.length);
	template->context = context;
	template->source = (TemplateText) {copy, source.length};
	template->program = template_compile(&host, template->source, &template->error);
	return template;
}

/* Puts a template first; the others keep their order, up to the place that it leaves. */
static void
put_first(RenderCache *cache, CachedTemplate *template, int place)
{
	memmove(cache->templates + 1, cache->templates, place * sizeof(CachedTemplate *));
	cache->templates[0] = template;
}

/* Forgets the template that was not used for longest. */
static void
drop_last(RenderCache *cache)
{
	CachedTemplate *template = cache->templates[--cache->count];

	cache->length -= template->source.length;
	MemoryContextDelete(template->context);
}

/* Finds the compiled template: one of those kept, or a new one. */
static CachedTemplate *
find_template(RenderCache *cache, MemoryContext parent, TemplateText source)
{
	CachedTemplate *template;

	for (int i = 0; i < cache->count; i++)
	{
		template = cache->templates[i];
		if (template->source.length == source.length &&
			memcmp(template->source.data, source.data, source.length) == 0)
		{
			if (i > 0)
				put_first(cache, template, i);
			return template;
		}
	}
	template = compile(parent, source);
	while (cache->count == CACHED_TEMPLATES ||
		   (cache->count > 0 && cache->length + source.length > TEMPLATE_MAX_LENGTH))
		drop_last(cache);
	cache->length += source.length;
	put_first(cache, template, cache->count++);
	return template;
}

/* Renders into the cache's output; false and an error if that cannot be. */
static bool
render(FunctionCallInfo fcinfo, RenderCache *cache, TemplateError *error)
{
	CachedTemplate *template =
		find_template(cache, fcinfo->flinfo->fn_mcxt, template_argument(PG_GETARG_DATUM(0)));
	Jsonb	   *json = PG_GETARG_JSONB_P(1);
	TemplateHost host = make_host(CurrentMemoryContext);
	TemplateValue context = {.kind = TEMPLATE_OBJECT};

	if (template->program == NULL)
	{
		*error = template->error;
		return false;
	}
	if (!JB_ROOT_IS_OBJECT(json))
	{
		*error =
			(TemplateError) {.fault = TEMPLATE_VALUE, .message = "the context is not an object"};
		return false;
	}
	set_container(&context, &json->root);
	return template_evaluate(template->program, &host, &context, PG_GETARG_BOOL(2), &cache->output,
							 error);
}

static int
error_code(TemplateFault fault)
{
	switch (fault)
	{
		case TEMPLATE_SYNTAX:
			return ERRCODE_SYNTAX_ERROR;
		case TEMPLATE_MISSING:
			return ERRCODE_NULL_VALUE_NOT_ALLOWED;
		case TEMPLATE_DATE:
			return ERRCODE_INVALID_DATETIME_FORMAT;
		case TEMPLATE_LIMIT:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		default:
			return ERRCODE_INVALID_PARAMETER_VALUE;
	}
}

static void
raise_error(const TemplateError *error)
{
	ereport(ERROR,
			(errcode(error_code(error->fault)),
			 errmsg(error->fault == TEMPLATE_SYNTAX ? "template does not parse: %s"
													: "template cannot be rendered: %s",
					error->message),
			 error->line > 0 ? errdetail("Line %d of the template is: %.*s", error->line,
										 (int) error->source_line.length, error->source_line.data)
							 : 0,
			 error->hint != NULL ? errhint("%s", error->hint) : 0));
}

PG_FUNCTION_INFO_V1(retention_render);

/*
 * render(template text, context jsonb, escape boolean) -> text, of up to 1 MB.
 * Errors: 42601 the template does not parse; 22004 a value is missing;
 * 22023 one is of the wrong kind; 22007 one is no date; 54000 too long or too much work.
 */
Datum
retention_render(PG_FUNCTION_ARGS)
{
	RenderCache *cache = call_cache(fcinfo);
	TemplateError error;

	if (!render(fcinfo, cache, &error))
		raise_error(&error);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(cache->output.data, cache->output.length));
}

PG_FUNCTION_INFO_V1(retention_try_render);

/*
 * _try_render(template text, context jsonb, escape boolean) -> (rendered text, error text):
 * what render gives, or why it cannot, of which one is null.
 */
Datum
retention_try_render(PG_FUNCTION_ARGS)
{
	RenderCache *cache = call_cache(fcinfo);
	bool		nulls[2] = {false, false};
	Datum		values[2] = {0, 0};
	TemplateError error;

	if (cache->result_type == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (get_call_result_type(fcinfo, NULL, &cache->result_type) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		cache->result_type = BlessTupleDesc(CreateTupleDescCopy(cache->result_type));
		MemoryContextSwitchTo(previous);
	}
	nulls[0] = !render(fcinfo, cache, &error);
	nulls[1] = !nulls[0];
	if (nulls[0])
		values[1] = CStringGetTextDatum(error.message);
	else
		values[0] =
			PointerGetDatum(cstring_to_text_with_len(cache->output.data, cache->output.length));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(cache->result_type, values, nulls)));
}

PG_FUNCTION_INFO_V1(retention_template_variables);

/*
 * template_variables(template text) -> text[]: the paths of the context that a
 * template reads, each once, by their bytes. Errors: 42601 and 54000, if it does not parse.
 */
Datum
retention_template_variables(PG_FUNCTION_ARGS)
{
	TemplateHost host = make_host(CurrentMemoryContext);
	TemplateError error;
	TemplateProgram *program =
		template_compile(&host, template_argument(PG_GETARG_DATUM(0)), &error);
	TemplateText *paths;
	Datum	   *names;
	int			count;

	if (program == NULL)
		raise_error(&error);
	count = template_read_paths(program, &host, &paths);
	names = palloc((count + 1) * sizeof(Datum));
	for (int i = 0; i < count; i++)
		names[i] = PointerGetDatum(cstring_to_text_with_len(paths[i].data, paths[i].length));
	PG_RETURN_ARRAYTYPE_P(construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT));
}
