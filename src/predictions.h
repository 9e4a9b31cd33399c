/* predictions.h: a customer's history as arguments of SQL functions. */
#ifndef RETENTION_PREDICTIONS_H
#define RETENTION_PREDICTIONS_H

#include "math/model.h"

extern void check_history(const PurchaseHistory *history);

#endif
