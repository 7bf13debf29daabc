/*
 * The timeout of a dispatcher: asyncore_set_timeout, documented in asyncore.h.
 *
 * Activity only notes the time, that of the turn. The timer is set to when d
 * would have been silent for long enough if nothing more happened, or before,
 * and when it goes off it looks at what did: then it is set to the rest, or
 * the time has come.
 *
 * Invariant: while extra->silence > 0 (0: none), extra->timer is set, and not
 * to a time after extra->active + extra->silence.
 */
#include "dispatcher.h"
#include "extra.h"
#include "timer.h"

#include <errno.h>

static void went_off(void *arg);

/* The timer goes off at that time, or before. */
static void set_timer(asyncore_dispatcher *d, int64_t when)
{
    asyncore_timer *timer = &d->extra->timer;

    if (timer->map == NULL || timer->when > when)
        asyncore__timer_set(timer, d->map, when, went_off, d);
}

static void went_off(void *arg)
{
    asyncore_dispatcher *d = arg;
    asyncore__extra *extra = d->extra;
    bool over = extra->active + extra->silence <= d->map->now;

    if (over)
        extra->active = d->map->now;
    set_timer(d, extra->active + extra->silence);
    if (over && !d->closing)
        ASYNCORE__HANDLER(d, handle_timeout)(d);
}

int asyncore_set_timeout(asyncore_dispatcher *d, int64_t timeout_ms)
{
    asyncore__extra *extra;
    int64_t silence;

    if (!asyncore__in_map(d)) {
        errno = EBADF;
        return -1;
    }
    if (timeout_ms < 0) {
        if (d->extra != NULL) {
            d->extra->silence = 0;
            asyncore_timer_cancel(&d->extra->timer);
        }
        return 0;
    }
    if (timeout_ms > ASYNCORE__LONGEST_MS)
        timeout_ms = ASYNCORE__LONGEST_MS;
    silence = timeout_ms > 0 ? timeout_ms * ASYNCORE__NS_PER_MS : 1;
    extra = d->extra;
    /* What a handler may do with every message: the timer stays as it is. */
    if (extra != NULL && extra->silence == silence && d->map->timed) {
        extra->active = d->map->now;
        return 0;
    }
    extra = asyncore__extra_of(d);
    if (extra == NULL)
        return -1;
    extra->silence = silence;
    extra->active = asyncore__timers_now(d->map);
    set_timer(d, extra->active + silence);
    return 0;
}
