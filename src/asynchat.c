/*
 * asynchat: its table, its beginning and its end. Framing is in
 * asynchat_parser.c, the queue in asynchat_output.c.
 */
#include "asynchat_impl.h"

#include <errno.h>
#include <stdlib.h>

enum { DEFAULT_LIMIT = 65536, DEFAULT_FRAME_LIMIT = 65536 };

static void release(asyncore_dispatcher *d)
{
    asynchat *chat = asynchat__self(d);

    if (d->draining && chat->linger != NULL) {
        asyncore_timer_cancel(chat->linger);
        free(chat->linger);
        chat->linger = NULL;
    }
    asynchat__drop_input(chat);
    chat->delimiter = NULL;
    chat->mode = 0;
    chat->count = 0;
    asynchat__drop_output(chat);
}

static void handle_close(asyncore_dispatcher *d)
{
    asyncore_close(d);
}

static void handle_stop(asyncore_dispatcher *d)
{
    asyncore__ref ref = asyncore__ref_to(d);

    /* It may fail in sending what was gathered, and d be gone. */
    if (asynchat_close_when_done(asynchat__self(d), -1) < 0)
        asyncore_close(asyncore__deref(&ref));
}

static const asyncore__class asynchat_class = {
    .handlers =
        {
            .name = "asynchat",
            .handle_read = asynchat__read,
            .handle_write = asynchat__write,
            .handle_expt = asyncore__handle_expt,
            .handle_connect = asyncore__handle_connect,
            .handle_connect_error = asyncore__handle_connect_error,
            .handle_accept = asyncore__handle_accept,
            .handle_accepted = asyncore__handle_accepted,
            .handle_close = handle_close,
            .handle_eof = asyncore__handle_eof,
            .handle_error = asyncore__handle_error,
            .handle_drain = asyncore__handle_drain,
            .handle_timeout = asyncore__handle_timeout,
            .handle_stop = handle_stop,
            .recv = asyncore__recv,
            .send = asyncore__send,
            .log = asyncore__log,
            .log_info = asyncore__log_info,
        },
    .send = asynchat__send,
    .queued = asynchat__queued,
    .shutdown = asynchat__shutdown,
    .frame_late = asynchat__frame_late,
    .holds_input = asynchat__holds_input,
    .release = release,
};

int asynchat_init(asynchat *chat, const asynchat_handlers *handlers, int fd,
                  asyncore_map *map)
{
    *chat = (asynchat){
        .limit = DEFAULT_LIMIT,
        .frame_limit = DEFAULT_FRAME_LIMIT,
    };
    return asyncore__init(&chat->dispatcher, &asynchat_class,
                          &handlers->dispatcher, fd, map);
}

static void lingered(void *arg)
{
    asyncore__end(arg, ETIMEDOUT);
}

int asynchat_close_when_done(asynchat *chat, int linger_ms)
{
    asyncore_dispatcher *d = &chat->dispatcher;
    asyncore_timer *linger = NULL;

    if (d->draining)
        return 0;
    if (!asyncore__in_map(d)) {
        errno = EBADF;
        return -1;
    }
    if (linger_ms >= 0) {
        linger = calloc(1, sizeof *linger);
        if (linger == NULL)
            return -1;
    }
    if (asyncore_shutdown(d) < 0) {
        free(linger);
        return -1;
    }
    asynchat__drop_input(chat);
    d->draining = 1;
    d->reading = 1;
    d->held = 0;
    asyncore__update(d);
    chat->linger = linger;
    if (linger != NULL)
        (void)asyncore_call_later(linger, d->map, linger_ms, lingered, d);
    return 0;
}

void asynchat_discard_buffers(asynchat *chat)
{
    asyncore_dispatcher *d = &chat->dispatcher;

    /* The loop is to half-close, even if it waits for a producer only. */
    if (d->shut && chat->output != NULL)
        (void)asynchat__shutdown(d);
    if (!d->draining)
        asynchat__drop_input(chat);
    d->flow = 0;
    /* The last, for a producer's free may close chat. */
    asynchat__drop_output(chat);
}
