/*
 * The gentle end of a map: asyncore_stop_when_done, documented in asyncore.h.
 *
 * A connection that has to end is "finishing", and asked before every wait, as
 * those with predicates are, whether there is anything left to read. Whether
 * there is, the kernel knows: a handler may have read a part of it only.
 *
 * map->finishing counts the turns down, to 1, in which nobody is told yet: so
 * many that everything ready has been served once.
 */
#include "dispatcher.h"

enum {
    TURN = 256,   /* as many as one turn serves, at least */
    BATCHES = 65, /* of those waiting for a listener, 64 in each */
};

bool asyncore__stop_is_due(asyncore_map *map)
{
    if (map->finishing == 1)
        return true;
    map->finishing--;
    map->ask_again = true;
    return false;
}

static void tell(asyncore_dispatcher *d)
{
    d->finishing = 0;
    if (!d->closing && !d->eof && !d->shut)
        ASYNCORE__HANDLER(d, handle_stop)(d);
}

bool asyncore__stop_if_done(asyncore_dispatcher *d)
{
    asyncore__ref ref = asyncore__ref_to(d);

    if (d->connecting || d->serving ||
        (!d->eof &&
         (d->primed || (asyncore__fd_ready(d->fd, POLLIN) & POLLIN) != 0)))
        return true;
    tell(d);
    return asyncore__deref(&ref) != NULL;
}

/* To close it with somebody waiting would reset him. */
static void end_listener(asyncore_dispatcher *d)
{
    asyncore__ref ref = asyncore__ref_to(d);
    int i;

    for (i = 0; i < BATCHES && d != NULL &&
                (asyncore__fd_ready(d->fd, POLLIN) & POLLIN) != 0;
         i++) {
        asyncore_readwrite(d, POLLIN);
        d = asyncore__deref(&ref);
    }
    asyncore_close(d);
}

static void begin(asyncore_map *map)
{
    asyncore_dispatcher *d;
    int fd;

    for (fd = -1; (d = asyncore_map_next(map, fd)) != NULL;) {
        fd = d->fd;
        if (d->accepting)
            end_listener(d);
    }
    for (fd = -1; (d = asyncore_map_next(map, fd)) != NULL;) {
        fd = d->fd;
        d->finishing = 1;
        if (!d->asked && asyncore__map_ask(d) < 0)
            tell(d);
    }
    map->finishing = 2 + (int)(map->count / TURN);
}

static void lingered(void *arg)
{
    asyncore_map *map = arg;

    asyncore_close_all(map);
    asyncore__map_finished(map);
    asyncore_stop(map);
}

/* A peer that sends without an end is told in the middle, so that it sees the
   end of what we say before it is cut off. */
static void half_over(void *arg)
{
    asyncore_map *map = arg;
    asyncore_dispatcher *d;

    /* First, for whoever is told may set another end. */
    (void)asyncore_call_later(
        &map->linger, map, map->linger_ms - map->linger_ms / 2, lingered, map);
    for (int fd = -1; (d = asyncore_map_next(map, fd)) != NULL;) {
        fd = d->fd;
        if (d->finishing)
            tell(d);
    }
}

void asyncore_stop_when_done(asyncore_map *map, int64_t linger_ms)
{
    map = asyncore__map(map);
    if (map == NULL)
        return;
    asyncore__map_hold(map);
    asyncore__map_enter(map);
    if (map->finishing == 0)
        begin(map);
    map->linger_ms = linger_ms;
    if (linger_ms < 0)
        asyncore_timer_cancel(&map->linger);
    else
        (void)asyncore_call_later(&map->linger, map, linger_ms / 2, half_over,
                                  map);
    asyncore__map_leave(map);
    asyncore__map_release(map);
}
