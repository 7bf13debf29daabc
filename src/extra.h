/*
 * What few dispatchers have: allocated when first needed, and gone with d's
 * place in its map. Those without pay a pointer.
 */
#ifndef ASYNCORE__EXTRA_H
#define ASYNCORE__EXTRA_H

#include "map.h"

#include <asyncore.h>

/*
 * While d->naming: what asyncore_connect_name, of level 5, does about d, which
 * is in its map under a descriptor that is readable when it has something to
 * do. See connector.c.
 */
typedef struct asyncore__naming {
    void (*ready)(asyncore_dispatcher *d);
    void (*forked)(asyncore_dispatcher *d);           /* see resolver.h */
    void (*release)(struct asyncore__naming *naming); /* d leaves its map */
} asyncore__naming;

typedef struct asyncore__extra {
    /* See timeout.c. Times in nanoseconds but for the first. */
    asyncore_timer timer;
    int64_t silence, active; /* asyncore_set_timeout; when d was active last */
    int64_t frame, begun;    /* asynchat_set_frame_timeout; 0: none has begun */

    asyncore__naming *naming; /* NULL but while d->naming */
    asyncore_limits *limits;  /* of asyncore_set_limits; NULL: none */
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
        /* Apart, but in its map: it has one. NOLINTNEXTLINE */
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
