/*
 * What few dispatchers have: see extra.h.
 */
#include "extra.h"

#include <stdlib.h>

asyncore__extra *asyncore__extra_of(asyncore_dispatcher *d)
{
    if (d->extra == NULL) {
        d->extra = calloc(1, sizeof *d->extra);
        d->apart = d->extra != NULL;
    }
    return d->extra;
}

void asyncore__extra_clear(asyncore_dispatcher *d)
{
    if (d->extra != NULL) {
        asyncore_timer_cancel(&d->extra->silence);
        free(d->extra);
        d->extra = NULL;
    }
}
