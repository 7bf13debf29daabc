/*
 * Other threads and signal handlers: what they may do to a map, and the
 * loop's answer. Level 3; the queue of calls is in the map, under its lock.
 */
#ifndef ASYNCORE__WAKEUP_H
#define ASYNCORE__WAKEUP_H

#include <asyncore.h>

bool asyncore__calls_pending(asyncore_map *map);

/* Takes note of a wakeup and makes the calls that were posted before; those
   that an asyncore_stop among them leaves over are made in the next turn. */
void asyncore__calls_run(asyncore_map *map);

/* Drops them. */
void asyncore__calls_clear(asyncore_map *map);

#endif
