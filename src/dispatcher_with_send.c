/*
 * dispatcher_with_send: a dispatcher with an output queue. Written as a
 * subclass: it knows the queue and the calls of the base class.
 */
#include "output.h"

enum { DEFAULT_LIMIT = 65536 };

static asyncore__output output_of(asyncore_dispatcher *d)
{
    asyncore_dispatcher_with_send *w = (asyncore_dispatcher_with_send *)d;
    asyncore__output output = { &w->output, w->limit };

    return output;
}

static ssize_t send_buffered(asyncore_dispatcher *d, const void *data,
                             size_t size)
{
    return asyncore__output_send(d, output_of(d), data, size);
}

static size_t queued(const asyncore_dispatcher *d)
{
    const asyncore_dispatcher_with_send *w =
        (const asyncore_dispatcher_with_send *)d;

    return asyncore__outqueue_size(w->output);
}

static int shutdown_when_drained(asyncore_dispatcher *d)
{
    return asyncore__output_shutdown(d, output_of(d));
}

static void release(asyncore_dispatcher *d)
{
    asyncore__outqueue_clear(output_of(d).queue);
}

static void handle_write(asyncore_dispatcher *d)
{
    asyncore__output_flush(d, output_of(d));
}

static const asyncore__class with_send_class = {
    .handlers =
        {
            .name = "dispatcher_with_send",
            .handle_read = asyncore__handle_read,
            .handle_write = handle_write,
            .handle_expt = asyncore__handle_expt,
            .handle_connect = asyncore__handle_connect,
            .handle_connect_error = asyncore__handle_connect_error,
            .handle_accept = asyncore__handle_accept,
            .handle_accepted = asyncore__handle_accepted,
            .handle_close = asyncore__handle_close,
            .handle_eof = asyncore__handle_eof,
            .handle_error = asyncore__handle_error,
            .handle_drain = asyncore__handle_drain,
            .handle_timeout = asyncore__handle_timeout,
            .handle_stop = asyncore__handle_stop,
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
