/*
 * The timeout of a dispatcher: asyncore_set_timeout, documented in asyncore.h.
 *
 * Activity only notes the time. The timer is set to when d would have been
 * silent for long enough if nothing more happened, and when it goes off it
 * looks at what did: then it is set to the rest, or the time has come.
 */
#include "dispatcher.h"
#include "timer.h"

#include <errno.h>
#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)

static void went_off(void *arg);

static void set_timer(asyncore_dispatcher *d, int64_t ns)
{
    (void)asyncore_call_later(&d->timeout->timer, d->map,
                              (ns + NS_PER_MS - 1) / NS_PER_MS, went_off, d);
}

static void went_off(void *arg)
{
    asyncore_dispatcher *d = arg;
    asyncore__timeout *t = d->timeout;
    int64_t now = asyncore__now(), left = t->active + t->after - now;

    if (left > 0) {
        set_timer(d, left);
        return;
    }
    t->active = now;
    set_timer(d, t->after);
    if (!d->closing)
        ASYNCORE__HANDLER(d, handle_timeout)(d);
}

int asyncore_set_timeout(asyncore_dispatcher *d, int64_t timeout_ms)
{
    if (!asyncore__in_map(d)) {
        errno = EBADF;
        return -1;
    }
    if (timeout_ms < 0) {
        asyncore__timeout_clear(d);
        return 0;
    }
    if (timeout_ms > INT64_MAX / 4 / NS_PER_MS)
        timeout_ms = INT64_MAX / 4 / NS_PER_MS;
    if (d->timeout == NULL)
        d->timeout = calloc(1, sizeof *d->timeout);
    if (d->timeout == NULL)
        return -1;
    d->timeout->after = timeout_ms * NS_PER_MS;
    d->timeout->active = asyncore__now();
    set_timer(d, d->timeout->after);
    return 0;
}
