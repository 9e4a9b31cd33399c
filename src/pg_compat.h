/* Every difference between the supported major versions (15 to 18) lives here. */
#ifndef RETENTION_PG_COMPAT_H
#define RETENTION_PG_COMPAT_H

#include "postgres.h"

#include "fmgr.h"

#if PG_VERSION_NUM < 150000
#error "retention needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Allocates a setting's stored value: by guc_malloc from 16 on, by malloc before. */
#if PG_VERSION_NUM < 160000
#define guc_malloc(level, size) malloc(size)
#define guc_free(pointer) free(pointer)
#endif

/* Marks a function that does not return, before its declaration from 18 on. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* Tells of generated columns that are not stored, which exist from 18 on. */
#if PG_VERSION_NUM >= 180000
#define has_virtual_columns(type) ((type)->constr != NULL && (type)->constr->has_generated_virtual)
#else
#define has_virtual_columns(type) false
#endif

/* Rebuilds indexes; REINDEX's statement is passed along from 17 on. */
#if PG_VERSION_NUM >= 170000
#define rebuild_indexes(relation) reindex_relation(NULL, relation, 0, &(ReindexParams){0})
#else
#define rebuild_indexes(relation) reindex_relation(relation, 0, &(ReindexParams){0})
#endif

/*
 * Reads a date and time; DecodeDateTime reports which zone abbreviation it did not know from 16 on.
 */
#if PG_VERSION_NUM >= 160000
#define decode_date_time(field, type, fields, kind, tm, fsec, offset) \
	DecodeDateTime(field, type, fields, kind, tm, fsec, offset, &(DateTimeErrorExtra){0})
#else
#define decode_date_time DecodeDateTime
#endif

/*
 * Returns the kind of a zone abbreviation in lower case, which DecodeTimezoneAbbrev returns up to
 * 15 and stores from 16 on.
 */
#if PG_VERSION_NUM >= 160000
#define decode_zone_abbreviation(name, offset, zone) \
	({ \
		int kind_; \
		DecodeTimezoneAbbrev(0, name, &kind_, offset, zone, &(DateTimeErrorExtra) {0}) \
			? UNKNOWN_FIELD \
			: kind_; \
	})
#else
#define decode_zone_abbreviation(name, offset, zone) DecodeTimezoneAbbrev(0, name, offset, zone)
#endif

#endif
