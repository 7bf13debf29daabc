/*
 * The spin guard: a descriptor that is reported ready over and over while
 * nothing comes of it. Level 3; what it remembers of descriptors is its own,
 * and there only while it is on.
 */
#ifndef ASYNCORE__GUARD_H
#define ASYNCORE__GUARD_H

#include "dispatcher.h"

typedef struct asyncore__guard asyncore__guard;

/* How things were before the handlers of an event ran. */
typedef struct asyncore__probe {
    bool known; /* else there was no memory to watch it */
    asyncore__ref ref;
    asyncore_dispatcher before;
    asyncore__counters counters;
    uint32_t serial; /* the map's */
    bool looked;     /* the kernel was asked, too */
    uint64_t print;
} asyncore__probe;

/* Around the handlers of one event of d, which run for what is in ready. */
void asyncore__guard_begin(asyncore_dispatcher *d, const asyncore__ref *ref,
                           unsigned ready, asyncore__probe *probe);
void asyncore__guard_end(const asyncore__probe *probe);

/* The events of that turn have been served: all that were ready. */
void asyncore__guard_complete(asyncore_map *map, uint64_t turn);

/* What of its wishes a throttled d is watched for. */
unsigned asyncore__guard_filter(asyncore_dispatcher *d, unsigned wishes);

/* The map is empty: there is nobody whose time could come. */
void asyncore__guard_rest(asyncore_map *map);

#endif
