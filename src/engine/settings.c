/* settings.c: the module's initialisation, and its settings. */
#include "pg_compat.h"

#include "utils/guc.h"

#include "toolkit/clock.h"
#include "base/run_as.h"

PG_MODULE_MAGIC;

void _PG_init(void);

/* Says whether retention._tell says what was done; read there. */
static bool progress = true;

/* Defines the settings, and watches names, when a session loads the module. */
void
_PG_init(void)
{
	clock_define_setting();
	watch_names();
	DefineCustomBoolVariable("retention.progress",
							 "Whether the engine tells the client, step by step, what it has done.",
							 "Off for scheduled jobs, as client_min_messages holds back no INFO.",
							 &progress, true, PGC_USERSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("retention");
}
