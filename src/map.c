/*
 * The map: see map.h. Who is in it, and who has left.
 */
#include "map.h"
#include "extra.h"
#include "limit.h"
#include "stats.h"

#include <errno.h>
#include <stdlib.h>

static bool fits(const asyncore_map *map, int fd)
{
    return map->backend->fd_limit == 0 || fd < map->backend->fd_limit;
}

/* Makes slots[fd] exist. Only those up to the highest descriptor used are
   written to, so that room to grow costs address space and no memory. */
static int make_slot(asyncore_map *map, int fd)
{
    static const asyncore__slot empty = {
        .serial = ASYNCORE__VACANT,
        .next_changed = ASYNCORE__NOT_CHANGED,
    };

    if (fd >= map->capacity) {
        size_t capacity = (size_t)fd + (size_t)fd / 2 + 16;
        asyncore__slot *slots = realloc(map->slots, capacity * sizeof *slots);
        if (slots == NULL)
            return -1;
        map->slots = slots;
        map->capacity = (int)capacity;
    }
    while (map->size <= fd)
        map->slots[map->size++] = empty;
    return 0;
}

int asyncore__map_reserve(asyncore_map *map, int fd)
{
    if (!fits(map, fd)) {
        errno = EMFILE;
        return -1;
    }
    return make_slot(map, fd);
}

/* d's descriptor was closed behind our back, for the number is in use anew:
   there is nothing to close. It has its handle_close from the next turn. */
static void evict(asyncore_dispatcher *d)
{
    asyncore_map *map = d->map;

    asyncore__map_remove(d);
    if (d->connected && d->stream)
        map->counters.closed++;
    d->fd = -1;
    d->connected = d->connecting = d->accepting = 0;
    d->evicted = 1;
    asyncore__map_uncork(d);
    d->next = map->evicted;
    map->evicted = d;
}

void asyncore__map_claim(asyncore_map *map, int fd)
{
    asyncore_dispatcher *d = asyncore_map_get(map, fd);

    if (d == NULL)
        return;
    d->registered = 0;
    evict(d);
}

static bool take_out(asyncore_dispatcher **link, asyncore_dispatcher *d)
{
    while (*link != NULL && *link != d)
        link = &(*link)->next;
    if (*link == NULL)
        return false;
    *link = d->next;
    d->next = NULL;
    return true;
}

void asyncore__map_begin_end(asyncore_dispatcher *d)
{
    (void)take_out(&d->map->evicted, d);
    d->next = d->map->evicting;
    d->map->evicting = d;
}

bool asyncore__map_is_ending(const asyncore_map *map,
                             const asyncore_dispatcher *d)
{
    const asyncore_dispatcher *other = map->evicting;

    while (other != NULL && other != d)
        other = other->next;
    return other != NULL;
}

void asyncore__map_unevict(asyncore_dispatcher *d)
{
    if (!take_out(&d->map->evicted, d))
        (void)take_out(&d->map->evicting, d);
    d->evicted = 0;
}

int asyncore__map_add(asyncore_map *map, asyncore_dispatcher *d)
{
    asyncore__slot *slot;

    if (asyncore__map_reserve(map, d->fd) < 0)
        return -1;
    if (map->slots[d->fd].d != NULL)
        evict(map->slots[d->fd].d);
    slot = &map->slots[d->fd];
    slot->d = d;
    slot->serial = map->serial += 2;
    d->map = map;
    d->registered = 0;
    d->listed = 1;
    d->apart = 0;
    d->throttled = 0;
    map->count += !d->inner;
    return 0;
}

void asyncore__map_unwatch(asyncore_dispatcher *d)
{
    asyncore_map *map = d->map;

    /* A child's epoll is its parent's. */
    if (asyncore__map_is_ours(map))
        map->backend->watch(map->poller, d->fd, map->slots[d->fd].serial,
                            d->registered, 0);
    d->registered = 0;
}

void asyncore__map_remove(asyncore_dispatcher *d)
{
    asyncore_map *map = d->map;
    asyncore__slot *slot = &map->slots[d->fd];

    asyncore__extra_clear(d);
    if (d->fd < map->counted_size)
        asyncore__limits_uncount(map, d->fd);
    asyncore__map_unwatch(d);
    d->listed = 0;
    d->finishing = 0;
    d->apart = 1;
    slot->d = NULL;
    slot->serial = map->serial + 1;
    map->serial += 2;
    map->count -= !d->inner;
}

void asyncore__map_forget(asyncore_dispatcher *d)
{
    asyncore_map *map = d->map;

    /* Without the reserve there may be no way to get rid of what outlives the
       descriptor: see asyncore__map_renew. */
    if (map->backend->forget != NULL && map->reserve != -1 &&
        asyncore__map_is_ours(map)) {
        map->backend->forget(map->poller, d->fd, map->slots[d->fd].serial,
                             d->registered);
        d->registered = 0;
    }
    asyncore__map_remove(d);
}

static void forget_asked_gone(asyncore_map *map)
{
    size_t i, kept = 0;

    for (i = 0; i < map->asked_count; i++)
        if (asyncore__deref(&map->asked[i]) != NULL)
            map->asked[kept++] = map->asked[i];
    map->asked_count = kept;
}

int asyncore__map_ask(asyncore_dispatcher *d)
{
    asyncore_map *map = d->map;

    /* Not while the list is being gone through. */
    if (map->asked_count == map->asked_capacity && map->depth == 0)
        forget_asked_gone(map);
    if (map->asked_count == map->asked_capacity) {
        size_t capacity = map->asked_capacity * 2 + 8;
        asyncore__ref *asked = realloc(map->asked, capacity * sizeof *asked);
        if (asked == NULL)
            return -1;
        map->asked = asked;
        map->asked_capacity = capacity;
    }
    map->asked[map->asked_count++] = asyncore__ref_to(d);
    d->asked = 1;
    return 0;
}

void asyncore__map_retire(asyncore_dispatcher *d)
{
    d->retired = 1;
    d->next = NULL;
    *d->map->retired_end = d;
    d->map->retired_end = &d->next;
}

void asyncore__map_unretire(asyncore_dispatcher *d)
{
    asyncore_dispatcher **link = &d->map->retired;

    while (*link != d)
        link = &(*link)->next;
    *link = d->next;
    if (d->map->retired_end == &d->next)
        d->map->retired_end = link;
    d->next = NULL;
    d->retired = 0;
}

void asyncore__map_free_retired(asyncore_map *map)
{
    asyncore_dispatcher *d;

    if (map->depth > 0)
        return;
    while ((d = map->retired) != NULL) {
        asyncore__map_unretire(d);
        asyncore__map_enter(map);
        d->freed = 1;
        if (map->slow.on)
            asyncore__lap_free(d);
        else if (d->handlers->handle_free != NULL)
            d->handlers->handle_free(d);
        asyncore__map_leave(map);
    }
}

size_t asyncore_map_count(asyncore_map *map)
{
    map = asyncore__map(map);
    return map != NULL ? map->count : 0;
}

asyncore_dispatcher *asyncore_map_get(asyncore_map *map, int fd)
{
    asyncore_dispatcher *d = NULL;

    map = asyncore__map(map);
    if (map != NULL && fd >= 0 && fd < map->size)
        d = map->slots[fd].d;
    return d != NULL && !d->inner ? d : NULL;
}

asyncore_dispatcher *asyncore_map_next(asyncore_map *map, int fd)
{
    map = asyncore__map(map);
    if (map == NULL || fd >= map->size)
        return NULL;
    for (fd = fd < 0 ? 0 : fd + 1; fd < map->size; fd++)
        if (map->slots[fd].d != NULL && !map->slots[fd].d->inner)
            return map->slots[fd].d;
    return NULL;
}
