/*
 * Timers: the part that the loop needs of them. Level 2, beside the map; the heap is in the
 * map.
 */
#ifndef ASYNCORE__TIMER_H
#define ASYNCORE__TIMER_H

#include "map.h"

#include <asyncore.h>

/* A dispatcher's, from asyncore_set_timeout. In nanoseconds. */
typedef struct asyncore__timeout {
    asyncore_timer timer; /* set to a time that is not too late */
    int64_t after, active;
} asyncore__timeout;

/* d is not silent. */
static inline void asyncore__active(asyncore_dispatcher *d)
{
    if (d->timeout != NULL)
        d->timeout->active = d->map->now;
}

/* d has none any more. */
void asyncore__timeout_clear(asyncore_dispatcher *d);

/* After a wait: what time it is, if anybody has to know. */
void asyncore__timers_wake(asyncore_map *map);

/* timeout (milliseconds, -1: for ever), bounded by the first timer. */
int asyncore__timers_timeout(const asyncore_map *map, int timeout);

/* Calls those that are due, of those that were set when map->timer_order was
   last: one that is set in a turn has to wait for the next. */
void asyncore__timers_run(asyncore_map *map, uint64_t last);

/* None is set any more. */
void asyncore__timers_clear(asyncore_map *map);

#endif
