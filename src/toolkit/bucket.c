/* bucket.c: stable buckets of keys, for A/B arms and hold-outs. */
#include "pg_compat.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"

#define BUCKETS 10000

/*
 * Adds a text's bytes in UTF-8, whatever the database's encoding is; without an encoding, its bytes
 * as they are.
 */
static bool
hash_text(pg_cryptohash_ctx *hash, Datum argument)
{
	text	   *string = DatumGetTextPP(argument);
	char	   *data = VARDATA_ANY(string);
	int			length = VARSIZE_ANY_EXHDR(string);
	char	   *converted =
		GetDatabaseEncoding() == PG_SQL_ASCII ? data : pg_server_to_any(data, length, PG_UTF8);

	return pg_cryptohash_update(hash, (uint8 *) converted,
								converted == data ? length : strlen(converted)) == 0;
}

PG_FUNCTION_INFO_V1(retention_bucket);

/*
 * bucket(key text, salt text) -> int, 0 to 9999: the first four bytes of
 * sha256(salt, a zero byte, key), both in UTF-8, as a big-endian number modulo 10000.
 */
Datum
retention_bucket(PG_FUNCTION_ARGS)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];

	if (hash == NULL || pg_cryptohash_init(hash) < 0 || !hash_text(hash, PG_GETARG_DATUM(1)) ||
		pg_cryptohash_update(hash, (const uint8 *) "", 1) < 0 ||
		!hash_text(hash, PG_GETARG_DATUM(0)) ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute a SHA-256 digest");
	pg_cryptohash_free(hash);
	PG_RETURN_INT32(((uint32) digest[0] << 24 | digest[1] << 16 | digest[2] << 8 | digest[3]) %
					BUCKETS);
}
