/*
 * The map: see map.h. Who is in it, who has left, and the life of the map
 * itself.
 */
#include "map.h"
#include "extra.h"
#include "limit.h"
#include "resolver.h"
#include "signals.h"
#include "sock.h"
#include "stats.h"
#include "timer.h"
#include "wakeup.h"

#include <errno.h>
#include <stdlib.h>

/* How often asyncore_close_all empties a map that handle_free fills again. */
enum { CLOSE_ALL_ROUNDS = 1000 };

static asyncore_map *default_map;

asyncore_map *asyncore_socket_map(void)
{
    if (default_map == NULL)
        default_map = asyncore_map_new(NULL);
    return default_map;
}

asyncore_map *asyncore_set_socket_map(asyncore_map *map)
{
    asyncore_map *before = default_map;

    default_map = map;
    return before;
}

asyncore_map *asyncore__map(asyncore_map *map)
{
    return map != NULL ? map : asyncore_socket_map();
}

const char *const *asyncore_backends(void)
{
    return asyncore__poller_names;
}

const char *asyncore_map_backend(asyncore_map *map)
{
    map = asyncore__map(map);
    return map != NULL ? map->backend->name : NULL;
}

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
    d->next = map->evicted;
    map->evicted = d;
}

/* The number is the map's own. A child that closed a descriptor before it came
   here finds it in use anew at once. */
static void claim(asyncore_map *map, int fd)
{
    asyncore_dispatcher *d = asyncore_map_get(map, fd);

    if (d == NULL)
        return;
    d->registered = 0;
    evict(d);
}

static int watch_waker(asyncore_map *map)
{
    int fd = map->waker[0];

    if (!fits(map, fd)) {
        errno = EMFILE;
        return -1;
    }
    if (make_slot(map, fd) < 0)
        return -1;
    claim(map, fd);
    claim(map, map->waker[1]);
    return map->backend->watch(map->poller, fd, ASYNCORE__WAKER_SERIAL, 0,
                               ASYNCORE__WATCH | POLLIN);
}

static int open_waker(asyncore_map *map)
{
    if (asyncore__waker_open(map->waker) < 0)
        return -1;
    if (watch_waker(map) == 0)
        return 0;
    asyncore__waker_close(map->waker);
    return -1;
}

static asyncore_map *new_map(const asyncore__poller_class *backend)
{
    asyncore_map *map = calloc(1, sizeof *map);

    if (map == NULL)
        return NULL;
    map->backend = backend;
    map->changed = map->telling = ASYNCORE__END;
    map->reserve = -1;
    map->retired_end = &map->retired;
    map->process = asyncore__process();
    map->poller = backend->open();
    if (map->poller == NULL)
        goto no_poller;
    if (open_waker(map) < 0)
        goto no_waker;
    errno = pthread_mutex_init(&map->lock, NULL);
    if (errno != 0)
        goto no_lock;
    return map;

no_lock:
    asyncore__waker_close(map->waker);
no_waker:
    free(map->slots);
    backend->close(map->poller);
no_poller:
    free(map);
    return NULL;
}

asyncore_map *asyncore_map_new(const char *name)
{
    const asyncore__poller_class *backend;

    if (name == NULL)
        name = getenv("ASYNCORE_BACKEND");
    backend = asyncore__poller_find(name);
    if (backend == NULL) {
        errno = EINVAL;
        return NULL;
    }
    return new_map(backend);
}

static void destroy(asyncore_map *map)
{
    asyncore__signals_clear(map);
    asyncore__calls_clear(map);
    asyncore__resolver_free(map->resolver);
    asyncore__timers_clear(map);
    (void)asyncore_set_spin_guard(map, false);
    if (map->reserve != -1)
        asyncore__fd_close(map->reserve);
    map->backend->close(map->poller);
    asyncore__waker_close(map->waker);
    pthread_mutex_destroy(&map->lock);
    free(map->receive_buffer);
    free(map->cork);
    free(map->counted);
    free(map->asked);
    free(map->slots);
    free(map);
}

void asyncore_map_free(asyncore_map *map)
{
    if (map == NULL || map->doomed)
        return;
    if (map == default_map)
        default_map = NULL;
    map->doomed = true;
    map->stopping = true;
    asyncore__timers_clear(map);
    asyncore__signals_clear(map);
    asyncore__map_hold(map);
    asyncore_close_all(map);
    asyncore__map_release(map);
}

void asyncore__map_end(asyncore_map *map)
{
    if (map->depth > 0 || map->holds > 0)
        return;
    asyncore__map_hold(map);
    asyncore_close_all(map);
    destroy(map);
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

    if (!fits(map, d->fd)) {
        errno = EMFILE;
        return -1;
    }
    if (make_slot(map, d->fd) < 0)
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

/* The poller knows none of them: it is told before the next wait. */
static void touch_all(asyncore_map *map)
{
    int fd;

    for (fd = 0; fd < map->size; fd++) {
        asyncore_dispatcher *d = map->slots[fd].d;
        if (d != NULL) {
            d->registered = 0;
            asyncore__map_touch(d);
        }
    }
}

int asyncore__map_reopen(asyncore_map *map)
{
    asyncore__poller *before = map->poller, *poller = map->backend->open();
    int waker[2] = { map->waker[0], map->waker[1] };
    struct pollfd own;

    if (poller == NULL)
        return -1;
    if (map->backend->pollfds(poller, &own, 1) > 0)
        claim(map, own.fd);
    map->poller = poller;
    if (open_waker(map) < 0) {
        map->backend->close(poller);
        map->poller = before;
        map->waker[0] = waker[0];
        map->waker[1] = waker[1];
        return -1;
    }
    map->backend->close(before);
    asyncore__waker_close(waker);
    touch_all(map);
    return 0;
}

void asyncore__map_renew(asyncore_map *map)
{
    int fd;

    if (map->backend->renew == NULL || map->backend->renew(map->poller) < 0)
        return;
    touch_all(map);
    fd = map->waker[0];
    (void)map->backend->watch(map->poller, fd, ASYNCORE__WAKER_SERIAL, 0,
                              ASYNCORE__WATCH | POLLIN);
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

void asyncore_close_all(asyncore_map *map)
{
    asyncore_dispatcher *d;
    int round, fd;

    map = asyncore__map(map);
    if (map == NULL)
        return;
    asyncore__map_hold(map);
    for (round = 0; round < CLOSE_ALL_ROUNDS; round++) {
        while (map->evicted != NULL)
            asyncore_close(map->evicted);
        while (map->evicting != NULL)
            asyncore_close(map->evicting);
        for (fd = -1; (d = asyncore_map_next(map, fd)) != NULL;) {
            fd = d->fd;
            asyncore_close(d);
        }
        if (map->depth > 0 || map->retired == NULL)
            break;
        asyncore__map_reap(map);
    }
    if (map->depth == 0)
        asyncore__map_finished(map);
    asyncore__map_release(map);
}

void asyncore__map_finished(asyncore_map *map)
{
    map->finishing = 0;
    asyncore_timer_cancel(&map->linger);
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
