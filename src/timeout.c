/*
 * Two timeouts of a dispatcher, on one timer: asyncore_set_timeout, documented
 * in asyncore.h, and what asynchat_set_frame_timeout needs (when frames begin
 * and end is asynchat's to know).
 *
 * Activity, and the beginning of a frame, only note the time, that of the
 * turn. The timer is set to when one of the two would be over if nothing more
 * happened, or before, and when it goes off it looks at what did: then it is
 * set to the rest, or the time has come. Between frames nobody needs it: the
 * next that begins sets it, which is once in a frame's time at most.
 *
 * Invariants: while extra->silence >= 0, extra->timer is set, and not to a time
 * after extra->active + extra->silence; while extra->begun > 0, not to one
 * after extra->begun + extra->frame.
 */
#include "dispatcher.h"
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

/* When d has been silent for long enough. */
static int64_t silent_at(const asyncore__extra *extra)
{
    return extra->active + extra->silence * ASYNCORE__NS_PER_MS;
}

/* Until one of the two is over; nothing, if there is neither. */
static void set_timer_for_both(asyncore_dispatcher *d)
{
    const asyncore__extra *extra = d->extra;

    if (extra->silence >= 0)
        set_timer(d, silent_at(extra));
    if (extra->begun > 0)
        set_timer(d, extra->begun + extra->frame);
}

/* The peer is not to blame for what we do not read. */
static void excuse_frame(asyncore_dispatcher *d, int64_t now)
{
    if (d->eof || d->draining)
        d->extra->begun = 0;
    else if (d->serving || (d->interest & POLLIN) == 0)
        d->extra->begun = now;
}

static void went_off(void *arg)
{
    asyncore_dispatcher *d = arg;
    asyncore__extra *extra = d->extra;
    int64_t now = d->map->now;
    bool late, silent;

    if (extra->begun > 0)
        excuse_frame(d, now);
    late = extra->begun > 0 && extra->begun + extra->frame <= now;
    /* If both, this has its turn next. */
    silent = !late && extra->silence >= 0 && silent_at(extra) <= now;
    if (late)
        extra->begun = now;
    if (silent)
        extra->active = now;
    set_timer_for_both(d);
    if (d->closing)
        return;
    if (late)
        d->base->frame_late(d);
    else if (silent)
        ASYNCORE__HANDLER(d, handle_timeout)(d);
}

void asyncore__frame_begins(asyncore_dispatcher *d)
{
    d->extra->begun = asyncore__turn_time(d->map);
    set_timer(d, d->extra->begun + d->extra->frame);
}

void asyncore__frame_timeout_changed(asyncore_dispatcher *d)
{
    if (d->extra->frame == 0)
        d->extra->begun = 0;
    set_timer_for_both(d);
}

void asyncore__frame_resumes(asyncore_dispatcher *d)
{
    if (d->extra->begun > 0)
        d->extra->begun = asyncore__turn_time(d->map);
}

static int set_anew(asyncore_dispatcher *d, int64_t timeout_ms)
{
    asyncore__extra *extra = asyncore__extra_of(d);

    if (extra == NULL)
        return -1;
    if (timeout_ms > ASYNCORE__LONGEST_MS)
        timeout_ms = ASYNCORE__LONGEST_MS;
    extra->silence = timeout_ms;
    extra->active = asyncore__timers_now(d->map);
    set_timer(d, silent_at(extra));
    return 0;
}

static void set_never(asyncore_dispatcher *d)
{
    d->extra->silence = -1;
    asyncore_timer_cancel(&d->extra->timer);
    set_timer_for_both(d);
}

int asyncore_set_timeout(asyncore_dispatcher *d, int64_t timeout_ms)
{
    if (!asyncore__in_map(d)) {
        errno = EBADF;
        return -1;
    }
    /* What a handler may do with every message: the timer stays as it is. */
    if (d->extra != NULL && d->extra->silence == timeout_ms && d->map->timed) {
        d->extra->active = d->map->now;
        return 0;
    }
    if (timeout_ms >= 0)
        return set_anew(d, timeout_ms);
    if (d->extra != NULL)
        set_never(d);
    return 0;
}
