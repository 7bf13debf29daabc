/*
 * Sending what does not fit at once: see output.h.
 */
#include "output.h"

#include <errno.h>

/* Pieces given to one sendmsg(2). */
enum { GATHER = 64 };

static void set_queued(asyncore_dispatcher *d, bool queued)
{
    if (d->queued != queued) {
        d->queued = queued;
        asyncore__update(d);
    }
}

void asyncore__output_queued(asyncore_dispatcher *d, asyncore__output output)
{
    if (asyncore__outqueue_size(*output.queue) >= output.limit)
        d->flow = 1;
    set_queued(d, *output.queue != NULL);
}

void asyncore__output_full(asyncore_dispatcher *d)
{
    d->flow = 1;
    set_queued(d, true);
}

int asyncore__output_lost(asyncore_dispatcher *d, bool cut)
{
    if (cut)
        asyncore__break(d, ENOMEM);
    else
        asyncore__fail(d, ENOMEM);
    errno = ENOMEM;
    return -1;
}

ASYNCORE__COLD ssize_t asyncore__output_send_rest(asyncore_dispatcher *d,
                                                  asyncore__output output,
                                                  const void *data, size_t size,
                                                  size_t n)
{
    if (asyncore__outqueue_append(output.queue, (const char *)data + n,
                                  size - n) < 0)
        return asyncore__output_lost(d, n > 0);
    asyncore__output_queued(d, output);
    return (ssize_t)size;
}

ssize_t asyncore__output_send(asyncore_dispatcher *d, asyncore__output output,
                              const void *data, size_t size)
{
    ssize_t n = 0;

    if (size == 0)
        return 0;
    if (*output.queue == NULL && d->connected) {
        n = asyncore__transmit(d, data, size);
        if ((size_t)n == size || n < 0)
            return n;
    }
    return asyncore__output_send_rest(d, output, data, size, (size_t)n);
}

/* As many of the first pieces as the budget covers, the last one cut. */
static size_t gather(const asyncore__outqueue *queue, struct iovec *pieces,
                     size_t *bytes)
{
    size_t i, count = asyncore__outqueue_peek(queue, pieces, GATHER);

    *bytes = 0;
    for (i = 0; i < count && *bytes < ASYNCORE__SEND_BUDGET; i++) {
        size_t left = ASYNCORE__SEND_BUDGET - *bytes;
        if (pieces[i].iov_len > left)
            pieces[i].iov_len = left;
        *bytes += pieces[i].iov_len;
    }
    return i;
}

/* The bytes at the front, with one call. */
static asyncore__emitted send_bytes(asyncore_dispatcher *d,
                                    asyncore__outqueue **queue)
{
    struct iovec pieces[GATHER];
    size_t bytes, count = gather(*queue, pieces, &bytes);
    ssize_t n;

    /* A transport of the class's own knows no gathering. */
    if (d->handlers->send != NULL) {
        bytes = pieces[0].iov_len;
        n = asyncore__send_now(d, pieces[0].iov_base, bytes);
    } else {
        n = asyncore__sent(
            d, asyncore__sock_sendv(d->fd, pieces, (unsigned short)count));
    }
    if (n < 0)
        return ASYNCORE__EMIT_FAILED;
    asyncore__outqueue_consume(queue, (size_t)n);
    return (size_t)n == bytes ? ASYNCORE__EMITTED : ASYNCORE__BLOCKED;
}

/* One step: some bytes, or some of what the source at the front makes. */
static asyncore__emitted step(asyncore_dispatcher *d,
                              asyncore__outqueue **queue)
{
    asyncore__source *source = asyncore__outqueue_source(*queue);
    asyncore__emitted emitted;

    if (source == NULL)
        return send_bytes(d, queue);
    emitted = source->emit(source, d, queue);
    if (emitted != ASYNCORE__EXHAUSTED)
        return emitted;
    asyncore__outqueue_drop_source(queue);
    return ASYNCORE__EMITTED;
}

/* The steps of one turn, so that one with a gigabyte queued holds nobody up. */
enum { STEPS = 4 };

void asyncore__output_flush(asyncore_dispatcher *d, asyncore__output output)
{
    asyncore__emitted emitted = ASYNCORE__EMITTED;
    asyncore__ref ref = asyncore__ref_to(d);
    int i;

    /* It was asked for by the user alone: there is nothing, or a source waits. */
    if (!d->queued) {
        asyncore__handle_write(d);
        return;
    }
    for (i = 0;
         i < STEPS && *output.queue != NULL && emitted == ASYNCORE__EMITTED;
         i++) {
        emitted = step(d, output.queue);
        /* A source, or the release of one, may be the user's code. */
        if (emitted == ASYNCORE__EMIT_FAILED || asyncore__deref(&ref) == NULL)
            return;
    }
    set_queued(d, *output.queue != NULL && emitted != ASYNCORE__WAITING);
    /* Otherwise both sides would wait for each other's end for ever. */
    if (*output.queue == NULL && d->shut &&
        asyncore__sock_shutdown(d->fd) < 0) {
        int error = errno;

        /* Who survives that has it tried again. */
        set_queued(d, true);
        (void)asyncore__io_failed(d, error);
        return;
    }
    if (d->flow && asyncore__outqueue_size(*output.queue) <= output.limit / 2) {
        d->flow = 0;
        ASYNCORE__HANDLER(d, handle_drain)(d);
    }
}

int asyncore__output_shutdown(asyncore_dispatcher *d, asyncore__output output)
{
    if (*output.queue == NULL && !d->connecting)
        return asyncore__shutdown_now(d);
    d->shut = 1;
    set_queued(d, true);
    return 0;
}
