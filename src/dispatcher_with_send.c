/*
 * dispatcher_with_send: a dispatcher with an output queue. Written as a
 * subclass: it knows the queue and the calls of the base class.
 */
#include "dispatcher.h"
#include "outqueue.h"

#include <errno.h>

/* Pieces given to one sendmsg(2). */
enum { GATHER = 32 };

enum { DEFAULT_LIMIT = 65536 };

static asyncore_dispatcher_with_send *self(asyncore_dispatcher *d)
{
    return (asyncore_dispatcher_with_send *)d;
}

static void set_queued(asyncore_dispatcher *d, bool queued)
{
    if (d->queued != queued) {
        d->queued = queued;
        asyncore__update(d);
    }
}

static ssize_t send_buffered(asyncore_dispatcher *d, const void *data,
                             size_t size)
{
    asyncore_dispatcher_with_send *w = self(d);
    ssize_t n = 0;

    if (w->output == NULL && !d->connecting) {
        n = asyncore__send_now(d, data, size);
        if (n < 0 || (size_t)n == size)
            return n;
    }
    if (asyncore__outqueue_append(&w->output, (const char *)data + n,
                                  size - (size_t)n) < 0) {
        asyncore__fail(d, ENOMEM);
        errno = ENOMEM;
        return -1;
    }
    if (asyncore__outqueue_size(w->output) >= w->limit)
        d->flow = 1;
    set_queued(d, w->output != NULL);
    return (ssize_t)size;
}

static size_t queued(const asyncore_dispatcher *d)
{
    const asyncore_dispatcher_with_send *w =
        (const asyncore_dispatcher_with_send *)d;

    return asyncore__outqueue_size(w->output);
}

static int shutdown_when_drained(asyncore_dispatcher *d)
{
    if (self(d)->output == NULL && !d->connecting)
        return asyncore__shutdown_now(d);
    d->shut = 1;
    set_queued(d, true);
    return 0;
}

static void release(asyncore_dispatcher *d)
{
    asyncore__outqueue_clear(&self(d)->output);
}

/* As much as one call takes; -1, routed, when d may be gone. */
static ssize_t send_some(asyncore_dispatcher *d)
{
    struct iovec pieces[GATHER];
    size_t count;

    /* A transport of the class's own knows no gathering. */
    if (d->handlers->send != NULL) {
        (void)asyncore__outqueue_peek(self(d)->output, pieces, 1);
        return asyncore__send_now(d, pieces[0].iov_base, pieces[0].iov_len);
    }
    count = asyncore__outqueue_peek(self(d)->output, pieces, GATHER);
    return asyncore__sent(d, asyncore__sock_sendv(d->fd, pieces, count));
}

static void handle_write(asyncore_dispatcher *d)
{
    asyncore_dispatcher_with_send *w = self(d);

    if (w->output != NULL) {
        ssize_t n = send_some(d);
        if (n < 0)
            return;
        asyncore__outqueue_consume(&w->output, (size_t)n);
    } else if (!d->queued) {
        asyncore__handle_write(d);
        return;
    }
    if (w->output == NULL) {
        set_queued(d, false);
        /* Otherwise both sides would wait for each other's end for ever. */
        if (d->shut && asyncore__sock_shutdown(d->fd) < 0) {
            (void)asyncore__io_failed(d, errno);
            return;
        }
    }
    if (d->flow && asyncore__outqueue_size(w->output) <= w->limit / 2) {
        d->flow = 0;
        ASYNCORE__HANDLER(d, handle_drain)(d);
    }
}

static const asyncore__class with_send_class = {
    .handlers =
        {
            .name = "dispatcher_with_send",
            .handle_read = asyncore__handle_read,
            .handle_write = handle_write,
            .handle_expt = asyncore__handle_expt,
            .handle_connect = asyncore__handle_connect,
            .handle_accept = asyncore__handle_accept,
            .handle_accepted = asyncore__handle_accepted,
            .handle_close = asyncore__handle_close,
            .handle_eof = asyncore__handle_eof,
            .handle_error = asyncore__handle_error,
            .handle_drain = asyncore__handle_drain,
            .recv = asyncore__recv,
            .send = asyncore__send,
            .log = asyncore__log,
            .log_info = asyncore__log_info,
        },
    .send = send_buffered,
    .queued = queued,
    .shutdown = shutdown_when_drained,
    .release = release,
};

int asyncore_dispatcher_with_send_init(asyncore_dispatcher_with_send *d,
                                       const asyncore_handlers *handlers,
                                       int fd, asyncore_map *map)
{
    d->limit = DEFAULT_LIMIT;
    d->output = NULL;
    return asyncore__init(&d->dispatcher, &with_send_class, handlers, fd, map);
}
