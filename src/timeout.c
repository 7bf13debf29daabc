/*
 * The timeout of a dispatcher: asyncore_set_timeout, documented in asyncore.h.
 *
 * Activity only notes the time. The timer is set to when d would have been
 * silent for long enough if nothing more happened, and when it goes off it
 * looks at what did: then it is set to the rest, or the time has come.
 */
#include "dispatcher.h"
#include "extra.h"
#include "stats.h"

#include <errno.h>

#define NS_PER_MS INT64_C(1000000)

static void went_off(void *arg);

static void set_timer(asyncore_dispatcher *d, int64_t ns)
{
    (void)asyncore_call_later(&d->extra->silence, d->map,
                              (ns + NS_PER_MS - 1) / NS_PER_MS, went_off, d);
}

static void went_off(void *arg)
{
    asyncore_dispatcher *d = arg;
    asyncore__extra *extra = d->extra;
    int64_t now = asyncore__now(), left = extra->active + extra->after - now;
    const char *class_name;
    asyncore__ref ref;

    if (left > 0) {
        set_timer(d, left);
        return;
    }
    extra->active = now;
    set_timer(d, extra->after);
    if (d->closing)
        return;
    ref = asyncore__ref_to(d);
    class_name = asyncore__class_name(d);
    ASYNCORE__HANDLER(d, handle_timeout)(d);
    asyncore__lap(ref.map, &ref, class_name, "handle_timeout");
}

int asyncore_set_timeout(asyncore_dispatcher *d, int64_t timeout_ms)
{
    if (!asyncore__in_map(d)) {
        errno = EBADF;
        return -1;
    }
    if (timeout_ms < 0) {
        if (d->extra != NULL)
            asyncore_timer_cancel(&d->extra->silence);
        return 0;
    }
    if (timeout_ms > INT64_MAX / 4 / NS_PER_MS)
        timeout_ms = INT64_MAX / 4 / NS_PER_MS;
    if (asyncore__extra_of(d) == NULL)
        return -1;
    d->extra->after = timeout_ms * NS_PER_MS;
    d->extra->active = asyncore__now();
    set_timer(d, d->extra->after);
    return 0;
}
