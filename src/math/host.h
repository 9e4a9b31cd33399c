/* host.h: what the pure functions ask of whoever calls them. */
#ifndef RETENTION_HOST_H
#define RETENTION_HOST_H

#include <stddef.h>

/*
 * Gives memory and interruption. allocate never returns NULL (it may leave by longjmp instead);
 * release takes back what allocate gave; check is called often during long computations and may
 * leave by longjmp too. Either of the last two may be NULL.
 */
typedef struct MathHost
{
	void	   *(*allocate) (void *context, size_t size);
	void		(*release) (void *context, void *memory);
	void		(*check) (void *context);
	void	   *context;
} MathHost;

/* Gives a host without anything, for computations that neither allocate nor can be interrupted. */
#define NO_HOST ((const MathHost) {NULL})

static inline void
host_check(const MathHost *host)
{
	if (host->check != NULL)
		host->check(host->context);
}

static inline void
host_release(const MathHost *host, void *memory)
{
	if (host->release != NULL && memory != NULL)
		host->release(host->context, memory);
}

#endif
