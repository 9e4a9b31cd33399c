/* filters.h: what a value goes through between path and print. */
#ifndef RETENTION_TEMPLATE_FILTERS_H
#define RETENTION_TEMPLATE_FILTERS_H

#include "template/evaluator.h"

typedef enum ArgumentRule
{
	ARGUMENT_NONE,
	ARGUMENT_ANY,				/* text or a number */
	ARGUMENT_TEXT,
	ARGUMENT_PATTERN,			/* of a date */
	ARGUMENT_CHARACTERS,		/* a whole number */
	ARGUMENT_DECIMALS			/* a whole number, 0 if left out */
} ArgumentRule;

/* Describes a filter. apply changes the value, which is never absent nor null unless fills_gaps. */
typedef struct Filter
{
	const char *name;
	ArgumentRule argument;
	bool		fills_gaps;
	bool		(*apply) (Evaluator *evaluator, const FilterCall *call, TemplateValue *value);
} Filter;

extern const Filter *template_filter(TemplateText name);
extern bool template_check_argument(const FaultSite *site, FilterCall *call, bool given,
									uint32_t at);

/* date.c */
extern bool template_check_pattern(TemplateText pattern, TemplateText *unknown);
extern bool template_filter_date(Evaluator *evaluator, const FilterCall *call,
								 TemplateValue *value);

/* letters.c */
extern TemplateText template_change_case(Evaluator *evaluator, TemplateText text, bool upper,
										 bool first_only);

#endif
