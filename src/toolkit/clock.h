/* clock.h: the engine's one clock. */
#ifndef RETENTION_CLOCK_H
#define RETENTION_CLOCK_H

#include "pg_compat.h"

#include "utils/timestamp.h"

extern void clock_define_setting(void);
extern TimestampTz clock_now(void);

#endif
