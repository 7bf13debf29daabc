/*
 * The child of a fork(2): asyncore_map_after_fork, documented in asyncore.h.
 *
 * What parent and child share afterwards is the kernel's: an epoll and its
 * registrations, the waker, and the open files behind all descriptors. Memory
 * is a copy, made at a moment in which other threads of the parent may have
 * been in the middle of something; the child does not have these threads. So
 * the first are made anew, and of what other threads touch nothing is believed.
 */
#include "map.h"
#include "resolver.h"
#include "signals.h"
#include "wakeup.h"

/* It belongs to the open file: giving it back would take it from the parent. */
static void leave_blocking_mode(asyncore_map *map)
{
    int fd;

    for (fd = 0; fd < map->size; fd++)
        if (map->slots[fd].d != NULL)
            map->slots[fd].d->blocking = 0;
}

int asyncore_map_after_fork(asyncore_map *map)
{
    map = asyncore__map(map);
    if (map == NULL)
        return -1;

    /* What other threads touch, each part of the map for itself: the threads
       are not here. Twice does no harm. */
    if (asyncore__calls_after_fork(map) < 0)
        return -1;

    /* What is shared with the parent. Afterwards nothing may fail. */
    if (asyncore__map_reopen(map) < 0)
        return -1;
    map->process = asyncore__process();
    asyncore__signals_after_fork(map);
    asyncore__resolver_after_fork(map);
    leave_blocking_mode(map);
    return 0;
}
