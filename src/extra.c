/*
 * What few dispatchers have: see extra.h.
 */
#include "extra.h"
#include "limit.h"

#include <stdlib.h>

asyncore__extra *asyncore__extra_of(asyncore_dispatcher *d)
{
    if (d->extra == NULL) {
        d->extra = calloc(1, sizeof *d->extra);
        if (d->extra != NULL)
            d->extra->silence = -1;
    }
    return d->extra;
}

void asyncore__extra_clear(asyncore_dispatcher *d)
{
    if (d->extra != NULL) {
        if (d->extra->naming != NULL)
            d->extra->naming->release(d->extra->naming);
        asyncore_timer_cancel(&d->extra->timer);
        if (d->extra->limits != NULL)
            asyncore__limits_leave(d->extra->limits);
        free(d->extra);
        d->extra = NULL;
    }
}
