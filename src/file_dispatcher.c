/*
 * file_dispatcher: a dispatcher for what is no socket. Its transport is
 * read(2) and write(2), on a duplicate of the user's descriptor.
 */
#include "dispatcher.h"

#include <errno.h>

static ssize_t file_recv(asyncore_dispatcher *d, void *data, size_t size)
{
    return asyncore__file_read(d->fd, data, size);
}

static ssize_t file_send(asyncore_dispatcher *d, const void *data, size_t size)
{
    return asyncore__file_write(d->fd, data, size, d->sigpipe);
}

/* The user has a duplicate: closing would not end the registration. */
static void release(asyncore_dispatcher *d)
{
    if (asyncore__in_map(d))
        asyncore__map_unwatch(d);
}

static const asyncore__class file_class = {
    .handlers =
        {
            .name = "file_dispatcher",
            .handle_read = asyncore__handle_read,
            .handle_write = asyncore__handle_write,
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
            .recv = file_recv,
            .send = file_send,
            .log = asyncore__log,
            .log_info = asyncore__log_info,
        },
    .send = asyncore__send_now,
    .queued = asyncore__queued_none,
    .shutdown = asyncore__shutdown_now,
    .release = release,
};

int asyncore_file_dispatcher_init(asyncore_file_dispatcher *file,
                                  const asyncore_handlers *handlers, int fd,
                                  asyncore_map *map)
{
    static const asyncore__sock_kind stream = {
        .stream = true,
        .connected = true,
    };
    asyncore_dispatcher *d = &file->dispatcher;
    asyncore__file_kind kind;
    int copy;

    if (asyncore__init_empty(d, &file_class, handlers, map) < 0)
        return -1;
    copy = asyncore__file_dup(fd, &kind);
    if (copy < 0)
        return -1;
    if (asyncore__adopt(d, copy, &stream) < 0) {
        if (kind.blocking)
            (void)asyncore__fd_set_blocking(fd, true);
        return -1;
    }
    d->blocking = kind.blocking;
    d->sigpipe = kind.sigpipe;
    if (kind.write_only)
        asyncore_set_readable(d, false);
    return 0;
}
