/* amount.h: PostgreSQL's numeric to and from exact decimals. */
#ifndef RETENTION_AMOUNT_H
#define RETENTION_AMOUNT_H

#include "pg_compat.h"

#include "math/decimal.h"

extern MathStatus amount_parse(Datum numeric, Decimal *result);
extern double amount_double(Datum numeric);
extern double amount_near_double(Datum numeric);
extern void amount_read(Datum numeric, Decimal *result);
extern Datum amount_numeric(const Decimal *value);
extern Datum amount_quotient(const Decimal *sum, int64 count);
pg_noreturn extern void amount_overflow(void);

/* Raises the error that goes with a status. */
static inline void
amount_check(MathStatus status)
{
	if (unlikely(status != MATH_OK))
		amount_overflow();
}

#endif
