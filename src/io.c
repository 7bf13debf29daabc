/*
 * The I/O calls, and where their failures go: handle_close for the end of a
 * connection, handle_error for the rest.
 *
 * A handler may have freed d before it returns. After one has run, d is known
 * only through an asyncore__ref.
 */
#include "dispatcher.h"

#include <errno.h>

/* An interrupted call has done nothing, and will be asked for again. */
static bool would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* Beside Python's set, those of the network, which mean the same to a stream. */
bool asyncore__is_disconnect(int error)
{
    switch (error) {
    case ECONNRESET:
    case ENOTCONN:
    case ESHUTDOWN:
    case ECONNABORTED:
    case EPIPE:
    case EBADF:
    case ECONNREFUSED:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case ENETRESET: return true;
    default: return false;
    }
}

void asyncore__end(asyncore_dispatcher *d, int error)
{
    asyncore_map *map = d->map;
    asyncore__ref ref;

    if (d->closing)
        return;
    d->error = error;
    /* It will be told when it is back in a map. */
    if (!asyncore__in_map(d))
        return;
    ref = asyncore__ref_to(d);
    d->closing = 1;
    asyncore__update(d);
    asyncore__map_enter(map);
    ASYNCORE__HANDLER(d, handle_close)(d);
    d = asyncore__deref(&ref);
    if (d != NULL)
        asyncore_close(d);
    asyncore__map_leave(map);
}

void asyncore__fail(asyncore_dispatcher *d, int error)
{
    asyncore_map *map = d->map;
    int before = d->error;
    asyncore__ref ref;

    if (d->closing || !asyncore__in_map(d))
        return;
    ref = asyncore__ref_to(d);
    d->error = error;
    asyncore__map_enter(map);
    ASYNCORE__HANDLER(d, handle_error)(d, error);
    d = asyncore__deref(&ref);
    /* It did not die of it. */
    if (d != NULL)
        d->error = before;
    asyncore__map_leave(map);
}

void asyncore__break(asyncore_dispatcher *d, int error)
{
    asyncore_map *map = d->map;
    asyncore__ref ref = asyncore__ref_to(d);

    if (error == EBADF) {
        d->lost = 1;
        asyncore__update(d);
    }
    asyncore__map_enter(map);
    asyncore__fail(d, error);
    d = asyncore__deref(&ref);
    if (d != NULL)
        asyncore__end(d, error);
    asyncore__map_leave(map);
}

void asyncore__end_evicted(asyncore_map *map)
{
    asyncore_dispatcher *d;

    while ((d = map->evicted) != NULL && !map->stopping) {
        /* It lost its number in its handle_close. */
        if (d->closing) {
            asyncore_close(d);
            continue;
        }
        d->error = EBADF;
        d->closing = 1;
        /* In no map, it can be known by nothing but whether it is closed. */
        asyncore__map_begin_end(d);
        ASYNCORE__HANDLER(d, handle_close)(d);
        if (asyncore__map_is_ending(map, d))
            asyncore_close(d);
    }
}

ASYNCORE__COLD int asyncore__io_failed(asyncore_dispatcher *d, int error)
{
    if (would_block(error))
        error = EAGAIN;
    else if (error == EBADF && !asyncore__fd_is_open(d->fd))
        asyncore__break(d, error);
    else if (d->stream && asyncore__is_disconnect(error))
        asyncore__end(d, error);
    else
        asyncore__fail(d, error);
    errno = error;
    return -1;
}

/* Whether data can pass at all. */
static bool is_open(const asyncore_dispatcher *d)
{
    return d->connected || (d->fd >= 0 && !d->stream);
}

ASYNCORE__COLD static int not_open(const asyncore_dispatcher *d)
{
    errno = d->fd < 0 ? EBADF : ENOTCONN;
    return -1;
}

ASYNCORE__COLD int asyncore__ended(asyncore_dispatcher *d)
{
    asyncore_map *map = d->map;

    if (!d->closing && asyncore__in_map(d)) {
        d->eof = 1;
        asyncore__update(d);
        asyncore__map_enter(map);
        /* That it broke was found out before, and what had come is read. */
        if (d->error != 0)
            asyncore__end(d, d->error);
        else
            ASYNCORE__HANDLER(d, handle_eof)(d);
        asyncore__map_leave(map);
    }
    return 0;
}

/* What became of a read, which returned n: n, or -1, routed. */
static inline ssize_t took(asyncore_dispatcher *d, ssize_t n)
{
    if (n > 0) {
        asyncore__received(d, n);
        return n;
    }
    if (n < 0)
        return asyncore__io_failed(d, errno);
    if (d->stream)
        return asyncore__ended(d);
    asyncore__passed_empty(d);
    return 0;
}

ASYNCORE__APART static ssize_t recv_other(asyncore_dispatcher *d, void *data,
                                          size_t size)
{
    if (!is_open(d))
        return not_open(d);
    if (size == 0 || d->eof)
        return 0;
    return took(d, ASYNCORE__HANDLER(d, recv)(d, data, size));
}

ssize_t asyncore_recv(asyncore_dispatcher *d, void *data, size_t size)
{
    /* Bits of one word, and one test for them. */
    if (!d->connected || d->eof || d->custom || size == 0)
        return recv_other(d, data, size);
    return took(d, asyncore__sock_recv(d->fd, data, size));
}

ASYNCORE__APART static ssize_t send_other(asyncore_dispatcher *d,
                                          const void *data, size_t size)
{
    if (!d->connecting && !is_open(d))
        return not_open(d);
    if (d->shut) {
        errno = ESHUTDOWN;
        return -1;
    }
    return d->base->send(d, data, size);
}

ssize_t asyncore_send(asyncore_dispatcher *d, const void *data, size_t size)
{
    if (!d->connected || d->shut)
        return send_other(d, data, size);
    return d->base->send(d, data, size);
}

ssize_t asyncore__send_now(asyncore_dispatcher *d, const void *data,
                           size_t size)
{
    if (!is_open(d))
        return not_open(d);
    return asyncore__transmit(d, data, size);
}

ASYNCORE__COLD ssize_t asyncore__send_failed(asyncore_dispatcher *d, int error)
{
    return would_block(error) ? 0 : asyncore__io_failed(d, error);
}

ssize_t asyncore_recvfrom(asyncore_dispatcher *d, void *data, size_t size,
                          asyncore_address *peer)
{
    struct sockaddr *address = NULL;
    socklen_t *address_size = NULL;
    ssize_t n;

    if (peer != NULL) {
        peer->size = sizeof peer->storage;
        peer->any.sa_family = AF_UNSPEC;
        address = &peer->any;
        address_size = &peer->size;
    }
    n = asyncore__sock_recvfrom(d->fd, data, size, address, address_size);
    if (n >= 0)
        asyncore__received(d, n);
    if (n == 0)
        asyncore__passed_empty(d);
    return n;
}

ssize_t asyncore_sendto(asyncore_dispatcher *d, const void *data, size_t size,
                        const asyncore_address *peer)
{
    ssize_t n = asyncore__sock_sendto(d->fd, data, size,
                                      peer != NULL ? &peer->any : NULL,
                                      peer != NULL ? peer->size : 0);

    if (n >= 0)
        asyncore__gave(d, n);
    if (n == 0)
        asyncore__passed_empty(d);
    return n;
}

size_t asyncore_queued(const asyncore_dispatcher *d)
{
    return d->base->queued(d);
}

size_t asyncore__queued_none(const asyncore_dispatcher *d)
{
    (void)d;
    return 0;
}

int asyncore_shutdown(asyncore_dispatcher *d)
{
    if (!d->connecting && !is_open(d))
        return not_open(d);
    return d->shut ? 0 : d->base->shutdown(d);
}

int asyncore__shutdown_now(asyncore_dispatcher *d)
{
    /* While connecting, Linux would take it for a change of mind. */
    if (!is_open(d))
        return not_open(d);
    if (asyncore__sock_shutdown(d->fd) < 0)
        return -1;
    d->shut = 1;
    return 0;
}

void asyncore__release_nothing(asyncore_dispatcher *d)
{
    (void)d;
}
