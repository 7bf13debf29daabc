/*
 * asynchat's deadline for a frame: asynchat_set_frame_timeout, documented in
 * asynchat.h. Who knows where frames begin and end is asynchat_parser.c, who
 * has the timer is timeout.c; this stands between them.
 */
#include "asynchat_impl.h"
#include "extra.h"
#include "timer.h"

#include <errno.h>

int asynchat_set_frame_timeout(asynchat *chat, int64_t timeout_ms)
{
    asyncore_dispatcher *d = &chat->dispatcher;

    if (!asyncore__in_map(d)) {
        errno = EBADF;
        return -1;
    }
    if (timeout_ms < 0 && d->extra == NULL)
        return 0;
    if (asyncore__extra_of(d) == NULL)
        return -1;
    if (timeout_ms > ASYNCORE__LONGEST_MS)
        timeout_ms = ASYNCORE__LONGEST_MS;
    if (timeout_ms < 0)
        d->extra->frame = 0;
    else
        d->extra->frame = timeout_ms * ASYNCORE__NS_PER_MS + (timeout_ms == 0);
    asyncore__frame_timeout_changed(d);
    return 0;
}

void asynchat__note_frame(asynchat *chat, bool within)
{
    asyncore_dispatcher *d = &chat->dispatcher;

    /* A handler may have turned it off. */
    if (!within || d->extra->frame == 0)
        d->extra->begun = 0;
    else if (d->extra->begun == 0)
        asyncore__frame_begins(d);
}

void asynchat__frame_late(asyncore_dispatcher *d)
{
    const asynchat_handlers *class = (const asynchat_handlers *)d->handlers;

    if (class->handle_frame_timeout != NULL)
        class->handle_frame_timeout(asynchat__self(d));
    else
        asyncore__end(d, ETIMEDOUT);
}
