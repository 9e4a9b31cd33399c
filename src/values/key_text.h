/* key_text.h: the keys of customers and orders as text. */
#ifndef RETENTION_KEY_TEXT_H
#define RETENTION_KEY_TEXT_H

#include "pg_compat.h"

#include "utils/builtins.h"
#include "utils/uuid.h"

/*
 * Limits keys: longer ones would not fit the indexes of retention.customer and its like, whose
 * entries may take a third of a page.
 */
#define MAX_KEY_LENGTH 2000

/* Gives room for a number or uuid as text. */
typedef char KeyBuffer[MAXINT8LEN + UUID_LEN * 2 + 5];

/* Points to text in place: of a text value, or in a buffer. */
typedef struct KeyText
{
	const char *data;
	int			length;
} KeyText;

/*
 * Tells whether a key is too long to be indexed. Rows of such customers are skipped and counted, so
 * that a single one does not stop the others.
 */
static inline bool
is_long_key(KeyText key)
{
	return key.length > MAX_KEY_LENGTH;
}

extern bool is_white_space(KeyText key);

/* Tells whether a key names nobody, as imports write guests: empty, or nothing but white space. */
static inline bool
is_blank_key(KeyText key)
{
	return key.length == 0 || ((unsigned char) key.data[0] <= ' ' && is_white_space(key));
}

/* Tells whether a key is a customer's. */
static inline bool
is_usable_key(KeyText key)
{
	return !is_long_key(key) && !is_blank_key(key);
}

extern bool is_native_key_type(Oid type);
extern void reject_unknown_key_type(Oid type);
extern KeyText key_text(KeyBuffer *buffer, Oid type, Datum value);

#endif
