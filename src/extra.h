/*
 * What few dispatchers have: allocated when first needed, and gone with d's
 * place in its map. Those without pay a pointer.
 */
#ifndef ASYNCORE__EXTRA_H
#define ASYNCORE__EXTRA_H

#include "map.h"

#include <asyncore.h>

/* Times in nanoseconds. */
typedef struct asyncore__extra {
    /* Of asyncore_set_timeout: see timeout.c. */
    asyncore_timer silence; /* set to a time that is not too late */
    int64_t after, active;
} asyncore__extra;

/* d's, made if it has none. d is in its map. NULL: ENOMEM. */
asyncore__extra *asyncore__extra_of(asyncore_dispatcher *d);

/* d has none any more. */
void asyncore__extra_clear(asyncore_dispatcher *d);

/* d is not silent. Whether it is in its map; the map of one that is not may be
   another thread's, or gone. */
static inline bool asyncore__active(asyncore_dispatcher *d)
{
    /* One test for nearly all. */
    if (d->apart) {
        if (!asyncore__in_map(d))
            return false;
        d->extra->active = d->map->now;
    }
    return true;
}

/* The same, and so many bytes have passed; or none, in a datagram. */
static inline void asyncore__received(asyncore_dispatcher *d, ssize_t n)
{
    if (asyncore__active(d))
        d->map->counters.received += (uint64_t)n;
}

static inline void asyncore__gave(asyncore_dispatcher *d, ssize_t n)
{
    if (asyncore__active(d))
        d->map->counters.sent += (uint64_t)n;
}

static inline void asyncore__passed_empty(asyncore_dispatcher *d)
{
    if (asyncore__active(d))
        d->map->counters.empty++;
}

#endif
