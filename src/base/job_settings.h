/* job_settings.h: the settings that the engine's work is done under, whatever the session has. */
#ifndef RETENTION_JOB_SETTINGS_H
#define RETENTION_JOB_SETTINGS_H

#include "pg_compat.h"

extern void pin_job_settings(void);

#endif
