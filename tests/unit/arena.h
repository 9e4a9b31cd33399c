/*
 * arena.h: memory for the pure functions, all of it freed at once.
 *
 * Every piece comes from malloc, so that the address sanitizer sees its limits.
 */
#ifndef RETENTION_ARENA_H
#define RETENTION_ARENA_H

#include <string.h>

#include "math/host.h"

#include "check.h"

#define ARENA_PIECES 1024

typedef struct Arena
{
	int			count;
	void	   *pieces[ARENA_PIECES];
	int64_t		checks;			/* how often the code offered to be interrupted */
} Arena;

static inline void *
arena_allocate(void *context, size_t size)
{
	Arena	   *arena = context;
	void	   *memory = malloc(size);

	CHECK(memory != NULL && arena->count < ARENA_PIECES);
	memset(memory, 0xa5, size);
	arena->pieces[arena->count++] = memory;
	return memory;
}

/* Only what was allocated, and only once. */
static inline void
arena_release(void *context, void *memory)
{
	Arena	   *arena = context;
	int			i = 0;

	while (i < arena->count && arena->pieces[i] != memory)
		i++;
	CHECK(i < arena->count);
	arena->pieces[i] = arena->pieces[--arena->count];
	free(memory);
}

static inline void
arena_check(void *context)
{
	((Arena *) context)->checks++;
}

static inline MathHost
arena_host(Arena *arena)
{
	return (MathHost) {arena_allocate, arena_release, arena_check, arena};
}

static inline void
arena_close(Arena *arena)
{
	while (arena->count > 0)
		free(arena->pieces[--arena->count]);
}

#endif
