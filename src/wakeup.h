/*
 * Other threads and signal handlers: what they may do to a map, and the
 * loop's answer. Level 3; the queue of calls is in the map, under its lock.
 */
#ifndef ASYNCORE__WAKEUP_H
#define ASYNCORE__WAKEUP_H

#include "map.h"

#include <asyncore.h>

bool asyncore__calls_pending(asyncore_map *map);

/* Takes note of a wakeup and makes the calls that were posted before. */
void asyncore__calls_run(asyncore_map *map);

/* Before a wait: those that an asyncore_stop among them left over, or that
   are behind the one which runs this turn, are made in this turn. */
static inline void asyncore__calls_resume(asyncore_map *map)
{
    if (map->due != NULL)
        asyncore_wakeup(map);
}

/* Drops them. */
void asyncore__calls_clear(asyncore_map *map);

/* The same in a child, with a new lock where the old one is held for ever by a
   thread that is not there. -1 and errno. */
int asyncore__calls_after_fork(asyncore_map *map);

#endif
