/* What the pure functions answer; the bindings turn it into an SQL error. */
#ifndef RETENTION_STATUS_H
#define RETENTION_STATUS_H

typedef enum MathStatus
{
	MATH_OK,
	MATH_OVERFLOW,				/* a decimal needs more than 38 digits */
	MATH_UNDEFINED,				/* a mean that does not exist, an amount that is no number */
	MATH_TOO_MANY				/* more distinct values than fit the packed keys */
} MathStatus;

#endif
