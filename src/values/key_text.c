/*
 * key_text.c: writes keys of the usual types as text, as their output functions do but without
 * allocating.
 */
#include "values/key_text.h"

#include "catalog/pg_type.h"

static KeyText
uuid_text(char *buffer, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";
	char	   *next = buffer;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*next++ = '-';
		*next++ = digits[uuid->data[i] >> 4];
		*next++ = digits[uuid->data[i] & 0x0F];
	}
	return (KeyText) {buffer, next - buffer};
}

/*
 * Tells whether a key is empty or all white space; retention._key_condition says the same in SQL.
 */
bool
is_white_space(KeyText key)
{
	int			i = 0;

	while (i < key.length && (key.data[i] == ' ' || (key.data[i] >= '\t' && key.data[i] <= '\r')))
		i++;
	return i == key.length;
}

/* Tells whether key_text reads values of this type; retention._key_type has the same list. */
bool
is_native_key_type(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID || type == UUIDOID ||
		type == TEXTOID || type == VARCHAROID;
}

/*
 * Rejects keys of a type that key_text does not read: queries cast keys of all other types to text.
 */
void
reject_unknown_key_type(Oid type)
{
	if (!is_native_key_type(type))
		elog(ERROR, "keys of type %u are not cast to text", type);
}

/*
 * Writes a key of a native type as text: in the value, or in the buffer until its next use. A
 * compressed value is unpacked in the current context.
 */
KeyText
key_text(KeyBuffer *buffer, Oid type, Datum value)
{
	char	   *text = *buffer;
	struct varlena *string;

	switch (type)
	{
		case INT2OID:
			return (KeyText) {text, pg_lltoa(DatumGetInt16(value), text)};
		case INT4OID:
			return (KeyText) {text, pg_lltoa(DatumGetInt32(value), text)};
		case INT8OID:
			return (KeyText) {text, pg_lltoa(DatumGetInt64(value), text)};
		case UUIDOID:
			return uuid_text(text, DatumGetUUIDP(value));
		default:
			string = PG_DETOAST_DATUM_PACKED(value);
			return (KeyText) {VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string)};
	}
}
