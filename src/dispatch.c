/*
 * What readiness does: the table of asyncore_readwrite, in asyncore.h. Python's
 * handle_*_event, without its bugs.
 *
 * Every handler may close, free or reopen d, so after each d is looked up anew
 * and what is ready is held against what is wanted by then: an event that a
 * handler has made pointless is passed over.
 */
#include "dispatcher.h"
#include "timer.h"

#include <errno.h>

enum { ASKED = POLLIN | POLLPRI | POLLOUT };

/* In the kernel, or with its class: for later, for now (this is a turn inside
   of one of its handlers), or as a part of what it will be given. */
static bool has_unread(const asyncore_dispatcher *d)
{
    return d->primed || d->serving ||
           (d->base->holds_input != NULL && d->base->holds_input(d)) ||
           asyncore__sock_unread(d->fd);
}

/* What it broke of: SO_ERROR, unless that has been read, and so cleared. */
static int error_of(const asyncore_dispatcher *d)
{
    int error = asyncore__sock_error(d->fd);

    return error != 0 ? error : d->error;
}

/* Hung up or broken, and nothing is asked. It is over, unless a reader that
   pauses has left something unread. A hangup cannot be left unreported, so d
   is not watched until something is asked again. */
static void hung_up(asyncore_dispatcher *d, unsigned ready)
{
    int error = error_of(d);

    /* The end of a pipe whose reader has gone, which has no SO_ERROR. */
    if (error == 0 && (ready & POLLERR) != 0)
        error = d->sigpipe ? EPIPE : 0;
    if (error == 0 && (!d->stream || (!d->eof && has_unread(d)))) {
        d->muted = 1;
        asyncore__update(d);
    } else if (!d->stream) {
        asyncore__fail(d, error);
    } else {
        asyncore__end(d, error);
    }
}

unsigned asyncore__sort_out(asyncore_dispatcher *d, unsigned ready)
{
    unsigned asked = d->interest & ASKED;

    if (ready & POLLNVAL)
        asyncore__break(d, EBADF);
    else if ((ready & (POLLHUP | POLLERR)) == 0)
        return ready & ASKED;
    else if (asked != 0)
        return (ready & ASKED) | (asked & (POLLIN | POLLOUT));
    else
        hung_up(d, ready);
    return 0;
}

bool asyncore__connection_done(asyncore_dispatcher *d)
{
    int error = error_of(d);
    asyncore__ref ref;

    if (error != 0) {
        asyncore__end(d, error);
        return false;
    }
    d->connecting = 0;
    d->connected = 1;
    (void)asyncore__active(d);
    ref = asyncore__ref_to(d);
    asyncore__ask(d);
    d = asyncore__deref(&ref);
    if (d != NULL)
        ASYNCORE__HANDLER(d, handle_connect)(d);
    return true;
}

/* d, if it is still there and wants some of what is ready. */
static asyncore_dispatcher *still(const asyncore__ref *ref, unsigned *ready)
{
    asyncore_dispatcher *d = asyncore__deref(ref);

    if (d == NULL)
        return NULL;
    *ready &= d->interest;
    return *ready != 0 && !d->map->stopping ? d : NULL;
}

void asyncore__dispatch(asyncore_dispatcher *d, const asyncore__ref *ref,
                        unsigned ready)
{
    if (ready & ~(unsigned)ASKED)
        ready = asyncore__sort_out(d, ready);
    if (ready == 0 || (ready &= d->interest) == 0)
        return;
    if (d->accepting) {
        ASYNCORE__HANDLER(d, handle_accept)(d);
        return;
    }
    if (d->connecting) {
        if (d->naming) {
            /* Whoever is naming has an extra. NOLINTNEXTLINE */
            d->extra->naming->ready(d);
            return;
        }
        (void)asyncore__connection_done(d);
        d = still(ref, &ready);
        if (d == NULL)
            return;
    }
    if (ready & POLLIN) {
        ASYNCORE__HANDLER(d, handle_read)(d);
        ready &= ~(unsigned)POLLIN;
        if (ready == 0 || (d = still(ref, &ready)) == NULL)
            return;
    }
    if (ready & POLLOUT) {
        ASYNCORE__HANDLER(d, handle_write)(d);
        ready &= ~(unsigned)POLLOUT;
        if (ready == 0 || (d = still(ref, &ready)) == NULL)
            return;
    }
    ASYNCORE__HANDLER(d, handle_expt)(d);
}

void asyncore_readwrite(asyncore_dispatcher *d, int revents)
{
    asyncore_map *map = d->map;
    asyncore__ref ref;

    if (!asyncore__in_map(d))
        return;
    asyncore__map_enter(map);
    ref = asyncore__ref_to(d);
    /* In a loop that is not ours no turn may have read the clock for long. */
    if (d->extra != NULL)
        (void)asyncore__turn_time(map);
    if (asyncore__needs_asking(d)) {
        asyncore__ask(d);
        d = asyncore__deref(&ref);
    }
    if (d != NULL)
        asyncore__dispatch(d, &ref, (unsigned)revents);
    asyncore__map_leave(map);
}
