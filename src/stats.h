/*
 * What a map can tell of itself: its counters, and how long its handlers take.
 * Level 2, beside the map, which has the numbers.
 */
#ifndef ASYNCORE__STATS_H
#define ASYNCORE__STATS_H

#include "map.h"

#include <asyncore.h>

/* Whether turns go the way that is looked into has changed, perhaps. */
static inline void asyncore__set_inspected(asyncore_map *map)
{
    map->inspected = map->slow.on || map->guard != NULL;
}

void asyncore__lap_start(asyncore_map *map);
void asyncore__lap_end(asyncore_map *map, const asyncore__ref *ref,
                       const char *class_name, const char *handler);

/* From here on it is the next one that holds the loop. */
static inline void asyncore__lap_begin(asyncore_map *map)
{
    if (map->slow.on)
        asyncore__lap_start(map);
}

/* The one that has held it until now was the handler of the class, for the
   dispatcher of ref; or, without both, a timer or the like. Logs, and so runs
   the user's code, if that was too long. */
static inline void asyncore__lap(asyncore_map *map, const asyncore__ref *ref,
                                 const char *class_name, const char *handler)
{
    if (map->slow.on)
        asyncore__lap_end(map, ref, class_name, handler);
}

/* handle_free, with a lap of its own, for it may run outside a turn. */
void asyncore__lap_free(asyncore_dispatcher *d);

/* As asyncore_repr calls it. */
static inline const char *asyncore__class_name(const asyncore_dispatcher *d)
{
    return d->handlers->name != NULL ? d->handlers->name : "dispatcher";
}

#endif
