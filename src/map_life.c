/*
 * A map's life: how it is made, made anew and ended, and the map that NULL
 * stands for. Knows of everything that a map has, but only how to be rid of it.
 */
#include "map.h"
#include "resolver.h"
#include "signals.h"
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

static int watch_waker(asyncore_map *map)
{
    int fd = map->waker[0];

    if (asyncore__map_reserve(map, fd) < 0)
        return -1;
    asyncore__map_claim(map, fd);
    asyncore__map_claim(map, map->waker[1]);
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
    if (backend->renew != NULL)
        map->reserve = asyncore__sock_reserve();
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
    /* It is there still, for it is held here. NOLINTNEXTLINE */
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
        asyncore__map_claim(map, own.fd);
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

/* Lest the descriptor that is wanting keep the loop awake: the reserve is one,
   and there is room for it again when the old one of the poller has gone. */
static int renew_poller(asyncore_map *map)
{
    int fd = map->waker[0];
    int result = map->backend->renew(map->poller, fd, ASYNCORE__WAKER_SERIAL);

    if (result < 0 && map->reserve != -1) {
        asyncore__fd_close(map->reserve);
        result = map->backend->renew(map->poller, fd, ASYNCORE__WAKER_SERIAL);
        map->reserve = asyncore__sock_reserve();
    }
    return result;
}

void asyncore__map_renew(asyncore_map *map)
{
    if (map->backend->renew == NULL || map->renewed == map->counters.turns)
        return;
    map->renewed = map->counters.turns;
    if (renew_poller(map) == 0)
        touch_all(map);
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
