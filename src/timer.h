/*
 * Timers: the part that the loop needs of them. Level 2, beside the map, which
 * has the heap.
 */
#ifndef ASYNCORE__TIMER_H
#define ASYNCORE__TIMER_H

#include "map.h"

#include <asyncore.h>

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
