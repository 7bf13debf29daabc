/*
 * Timers: the part that the loop and timeouts need of them. Level 2, beside
 * the map, which has the heap.
 */
#ifndef ASYNCORE__TIMER_H
#define ASYNCORE__TIMER_H

#include "map.h"

#include <asyncore.h>

#define ASYNCORE__NS_PER_MS INT64_C(1000000)

/* About 73 years: farther off than any program runs, and safe to add. */
#define ASYNCORE__LONGEST_MS (INT64_MAX / 4 / ASYNCORE__NS_PER_MS)

/* The clock, which becomes map->now. */
int64_t asyncore__timers_now(asyncore_map *map);

/* The same, but in a turn what it was when the wait ended, if a timer was set
   then: no reading of the clock. */
static inline int64_t asyncore__turn_time(asyncore_map *map)
{
    return map->timed ? map->now : asyncore__timers_now(map);
}

/* asyncore_call_later, by the clock. */
void asyncore__timer_set(asyncore_timer *timer, asyncore_map *map, int64_t when,
                         void (*fn)(void *arg), void *arg);

/* After a wait: what time it is, if anybody has to know. */
static inline void asyncore__timers_wake(asyncore_map *map)
{
    map->timed = map->timers != NULL;
    if (map->timed)
        (void)asyncore__timers_now(map);
}

int asyncore__timers_bound(asyncore_map *map, int timeout);

/* timeout (milliseconds, -1: for ever), bounded by the first timer. */
static inline int asyncore__timers_timeout(asyncore_map *map, int timeout)
{
    return map->timers != NULL ? asyncore__timers_bound(map, timeout) : timeout;
}

void asyncore__timers_run_due(asyncore_map *map, uint64_t last);

/* Calls those that were due after the wait, of those that were set when
   map->timer_order was last: one that is set in a turn has to wait for the
   next. */
static inline void asyncore__timers_run(asyncore_map *map, uint64_t last)
{
    if (map->timers != NULL)
        asyncore__timers_run_due(map, last);
    map->timed = false;
}

/* None is set any more. */
void asyncore__timers_clear(asyncore_map *map);

#endif
