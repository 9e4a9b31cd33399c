/* fault.h: errors with their place in the template, and characters. */
#ifndef RETENTION_TEMPLATE_FAULT_H
#define RETENTION_TEMPLATE_FAULT_H

#include "template/template.h"

/* Sets the most bytes of a name or value that a message quotes. */
#define TEMPLATE_MAX_QUOTE 80

/* Stands for the place of errors that are about no place in the template. */
#define TEMPLATE_NOWHERE SIZE_MAX

/* Tells where errors go, and what they are about. The first one stays. */
typedef struct FaultSite
{
	const TemplateHost *host;
	TemplateText source;
	TemplateError *error;
} FaultSite;

extern bool template_fault(const FaultSite *site, TemplateFault fault, size_t at, const char *hint,
						   const char *format, ...) __attribute__((format(printf, 5, 6)));
extern size_t template_character(const TemplateHost *host, const char *at, size_t left);
extern size_t template_characters(const TemplateHost *host, TemplateText text);

/* Gives the arguments for %.*s of a text in a message. */
#define QUOTED(site, text) template_clip((site)->host, text, TEMPLATE_MAX_QUOTE), (text).data

#endif
