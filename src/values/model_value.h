/* model_value.h: the SQL type retention.model in C. */
#ifndef RETENTION_MODEL_VALUE_H
#define RETENTION_MODEL_VALUE_H

#include "pg_compat.h"

#include "fmgr.h"
#include "math/fit.h"

/* Describes a model with its parameters, as the prediction functions need it. */
typedef struct ModelValue
{
	const Model *model;
	double		parameters[MODEL_MAX_PARAMETERS];
} ModelValue;

extern const Model *model_named(const text *name);
extern const ModelValue *model_argument(FunctionCallInfo fcinfo, int number, ModelKind kind);
extern Datum model_result(FunctionCallInfo fcinfo, const Model *model, const FitResult *fit,
						  double weight, double penalty);

#endif
