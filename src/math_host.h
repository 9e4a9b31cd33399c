/* math_host.h: the server as a host of src/math. */
#ifndef RETENTION_MATH_HOST_H
#define RETENTION_MATH_HOST_H

#include "miscadmin.h"

#include "math/host.h"

static inline void
check_for_interrupts(void *context)
{
	CHECK_FOR_INTERRUPTS();
}

/* Serves computations that need no memory. */
#define INTERRUPTIBLE ((const MathHost) {.check = check_for_interrupts})

#endif
