/* predictions.h: what the toolkit's predictions and the profile share. */
#ifndef RETENTION_PREDICTIONS_H
#define RETENTION_PREDICTIONS_H

#include "values/model_value.h"

extern void check_history(const PurchaseHistory *history);
extern double customer_value(const ModelValue *purchase, const ModelValue *spend,
							 const PurchaseHistory *history, double m, double horizon,
							 double discount);

#endif
