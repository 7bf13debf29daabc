/*
 * The loop: one turn asks, tells the poller what has changed, waits, and
 * serves what is ready. Where another loop waits instead, the first half is
 * asyncore_map_timeout, and a turn that need not wait follows. Knows the
 * order of these steps; what each of them means is known below.
 */
#include "dispatcher.h"
#include "guard.h"
#include "inspect.h"
#include "signals.h"
#include "stats.h"
#include "timer.h"
#include "wakeup.h"

#include <errno.h>

/* Events of one wait. With more, each has its turn in the next ones. */
enum { BATCH = 256 };

/* Those with predicates, and listeners. An entry whose dispatcher has gone, or
   has changed its class, is dropped here. */
static void ask_all(asyncore_map *map)
{
    size_t i = 0;
    bool stop;

    map->ask_again = false;
    stop = map->finishing != 0 && asyncore__stop_is_due(map);
    while (i < map->asked_count && !map->stopping) {
        asyncore_dispatcher *d = asyncore__deref(&map->asked[i]);
        if (d != NULL && asyncore__needs_asking(d)) {
            i++;
            if (!stop || !d->finishing || asyncore__stop_if_done(d))
                asyncore__ask(d);
            continue;
        }
        map->asked[i] = map->asked[--map->asked_count];
        if (d != NULL) {
            d->asked = 0;
            asyncore__update(d);
        }
    }
}

static void tell(asyncore_map *map, int fd)
{
    asyncore__slot *slot = &map->slots[fd];
    asyncore_dispatcher *d = slot->d;
    unsigned before;

    if (d == NULL)
        return;
    before = d->registered;
    d->registered = d->interest;
    if (before != d->interest &&
        map->backend->watch(map->poller, fd, slot->serial, before,
                            d->interest) < 0) {
        d->registered = 0;
        map->ask_again = true;
        if (d->accepting && asyncore__is_shortage(errno))
            asyncore__starve(d, errno);
        else
            asyncore__break(d, errno);
    } else if (asyncore__is_primed(d)) {
        map->ask_again = true;
        if (map->slow.on) {
            asyncore__inspect_primed(d, fd, slot->serial);
        } else {
            asyncore__ref ref = asyncore__ref_to(d);
            asyncore__dispatch(d, &ref, POLLIN);
        }
    }
}

static void tell_those(asyncore_map *map)
{
    while (map->telling != ASYNCORE__END && !map->stopping) {
        int fd = map->telling;
        map->telling = map->slots[fd].next_changed;
        map->slots[fd].next_changed = ASYNCORE__NOT_CHANGED;
        tell(map, fd);
    }
}

/* What handlers change meanwhile waits for the next turn, lest one that opens
   anew whatever fails here holds the loop up. */
static void tell_changes(asyncore_map *map)
{
    /* What asyncore_stop or the turn around this one has left. */
    if (map->telling != ASYNCORE__END)
        tell_those(map);
    if (map->changed == ASYNCORE__END || map->telling != ASYNCORE__END)
        return;
    map->telling = map->changed;
    map->changed = ASYNCORE__END;
    tell_those(map);
}

static void woken(asyncore_map *map)
{
    asyncore__calls_run(map);
    asyncore__signals_run(map);
}

/* Whether the slot's serial is later than since, that is, as serials go round,
   between since and the last one given. */
static bool is_later(const asyncore_map *map, const asyncore__slot *slot,
                     uint32_t since)
{
    return slot->serial - since - 1 < map->serial - since;
}

/* An event that is no dispatcher's. since: the last serial given before the
   wait. A slot whose serial is no later did not change hands in this turn, so
   an event with another serial comes from a registration that outlived its
   descriptor. */
static void serve_other(asyncore_map *map, const asyncore__event *event,
                        uint32_t since)
{
    if (event->fd == map->waker[0]) {
        map->waker_lost = (event->ready & POLLNVAL) != 0;
        woken(map);
    } else if (!is_later(map, &map->slots[event->fd], since)) {
        asyncore__map_renew(map);
    }
}

/* Whether it was a dispatcher's. */
ASYNCORE__APART static bool serve_any(asyncore_map *map,
                                      const asyncore__event *event,
                                      uint32_t since)
{
    asyncore__ref ref = { map, event->fd, event->serial };
    asyncore_dispatcher *d = asyncore__deref(&ref);

    if (d != NULL)
        asyncore__dispatch(d, &ref, event->ready);
    else
        serve_other(map, event, since);
    return d != NULL;
}

/* Returns how many were dispatchers'. */
static int serve(asyncore_map *map, const asyncore__event *events, int n,
                 uint32_t since)
{
    const asyncore__event *event, *end = events + n;
    int others = 0;

    for (event = events; event < end && !map->stopping; event++) {
        const asyncore__slot *slot = &map->slots[event->fd];
        /* Nearly always, and then there is nothing to look up again. */
        if (slot->serial == event->serial && event->ready == POLLIN &&
            slot->d->interest == (ASYNCORE__WATCH | POLLIN))
            ASYNCORE__HANDLER(slot->d, handle_read)(slot->d);
        else
            others += !serve_any(map, event, since);
    }
    return (int)(event - events) - others;
}

/* The same, where the map is looked into. */
static int serve_inspected(asyncore_map *map, const asyncore__event *events,
                           int n, uint32_t since)
{
    uint64_t turn = map->counters.turns;
    int i, served = 0;

    asyncore__lap_begin(map);
    for (i = 0; i < n && !map->stopping; i++) {
        const asyncore__event *event = &events[i];
        const asyncore__slot *slot = &map->slots[event->fd];
        if (slot->serial == event->serial) {
            asyncore__inspect(slot->d, event->fd, event->serial, event->ready);
            served++;
        } else {
            serve_other(map, event, since);
        }
    }
    if (i == n && n < BATCH)
        asyncore__guard_complete(map, turn);
    return served;
}

/* Whether anything can ever happen. */
static bool is_busy(asyncore_map *map)
{
    if (map->count > 0 || map->evicted != NULL)
        return true;
    if (map->guard != NULL)
        asyncore__guard_rest(map);
    return map->finishing == 0 &&
           (map->timers != NULL || asyncore__calls_pending(map) ||
            asyncore__signals_pending(map));
}

/* The first half of a turn: all that comes before its wait, which *timeout
   bounds. false: there is nothing to wait for. */
static bool prepare(asyncore_map *map, int *timeout)
{
    int64_t resume_at;

    if (map->resume_at != 0)
        *timeout = asyncore__starved_timeout(map, *timeout);
    resume_at = map->resume_at;
    if (map->evicted != NULL) {
        *timeout = 0;
        asyncore__end_evicted(map);
    }
    ask_all(map);
    tell_changes(map);
    /* The last one may have been closed by its predicate. */
    if (map->stopping || !is_busy(map))
        return false;
    /* There is something to do before the next wait. */
    if (map->ask_again || map->changed != ASYNCORE__END ||
        map->evicted != NULL || map->resume_at != resume_at ||
        (map->retired != NULL && map->depth == 1))
        *timeout = 0;
    *timeout = asyncore__timers_timeout(map, *timeout);
    asyncore__calls_resume(map);
    return true;
}

static int turn(asyncore_map *map, int timeout)
{
    asyncore__event events[BATCH];
    uint64_t set_before = map->timer_order;
    uint32_t since;
    int n, served;

    if (!prepare(map, &timeout))
        return 0;
    since = map->serial;
    n = map->backend->wait(map->poller, timeout, events, BATCH);
    if (n < 0)
        return -1;
    map->counters.turns++;
    asyncore__timers_wake(map);
    if (map->inspected)
        served = serve_inspected(map, events, n, since);
    else
        served = serve(map, events, n, since);
    map->counters.events += (unsigned)served;
    asyncore__timers_run(map, set_before);
    if (map->waker_lost) {
        map->waker_lost = false;
        errno = EBADF;
        return -1;
    }
    return served;
}

static void leave(asyncore_map *map)
{
    if (map->holds == 1) {
        map->stopping = false;
        if (map->finishing != 0 && map->count == 0)
            asyncore__map_finished(map);
    }
    asyncore__map_release(map);
}

static bool is_ours(const asyncore_map *map)
{
    if (asyncore__map_is_ours(map))
        return true;
    errno = ECHILD;
    return false;
}

/* The map, or NULL and errno. */
static asyncore_map *enter_loop(asyncore_map *map)
{
    map = asyncore__map(map);
    return map != NULL && is_ours(map) ? map : NULL;
}

/* A turn, of a map that is held and not to stop. */
static int enter_turn(asyncore_map *map, int timeout)
{
    int served = 0, error = 0;

    asyncore__map_enter(map);
    if (is_busy(map))
        served = turn(map, timeout);
    else
        woken(map); /* or another loop would find it ready for ever */
    if (served < 0)
        error = errno;
    asyncore__map_leave(map);
    asyncore__map_reap(map);
    if (served < 0)
        errno = error;
    /* It may be one inside another, in a predicate. */
    map->ask_again = true;
    return served;
}

int asyncore_poll(asyncore_map *map, int timeout_ms)
{
    int served = 0;

    map = enter_loop(map);
    if (map == NULL)
        return -1;
    asyncore__map_hold(map);
    asyncore__map_reap(map);
    if (!map->stopping)
        served = enter_turn(map, timeout_ms);
    leave(map);
    return served;
}

int asyncore_loop(asyncore_map *map, int timeout_ms, int count)
{
    int served = 0;

    map = enter_loop(map);
    if (map == NULL)
        return -1;
    asyncore__map_hold(map);
    asyncore__map_reap(map);
    while (served >= 0 && count != 0 && !map->stopping && is_busy(map)) {
        /* A handler may have forked. */
        served = is_ours(map) ? enter_turn(map, timeout_ms) : -1;
        if (count > 0)
            count--;
    }
    leave(map);
    return served < 0 ? -1 : 0;
}

int asyncore_map_timeout(asyncore_map *map)
{
    int timeout = -1;

    map = enter_loop(map);
    if (map == NULL)
        return 0;
    asyncore__map_hold(map);
    asyncore__map_reap(map);
    if (map->stopping) {
        /* The next asyncore_poll takes note of it. */
        asyncore__map_release(map);
        return 0;
    }
    asyncore__map_enter(map);
    if (prepare(map, &timeout)) {
        if (map->backend->is_ready != NULL &&
            map->backend->is_ready(map->poller))
            timeout = 0;
    } else if (map->stopping || map->retired != NULL) {
        timeout = 0;
    }
    asyncore__map_leave(map);
    asyncore__map_reap(map);
    map->ask_again = true;
    leave(map);
    return timeout;
}

int asyncore_map_pollfds(asyncore_map *map, struct pollfd *fds, int capacity)
{
    map = asyncore__map(map);
    return map != NULL ? map->backend->pollfds(map->poller, fds, capacity) : -1;
}

int asyncore_map_fileno(asyncore_map *map)
{
    map = asyncore__map(map);
    if (map == NULL)
        return -1;
    if (map->backend->descriptor == NULL) {
        errno = ENOTSUP;
        return -1;
    }
    return map->backend->descriptor(map->poller);
}

void asyncore_stop(asyncore_map *map)
{
    map = asyncore__map(map);
    if (map != NULL)
        map->stopping = true;
}
