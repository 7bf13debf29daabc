/*
 * A listener's accept, which survives everything.
 *
 * Three kinds of failure. A connection that broke while it waited, and errors
 * of the network that accept(2) hands down from it: the next one is taken. A
 * shortage of descriptors or memory: it is reported once, and all listeners
 * of the map are not waited for until one of the map's descriptors is closed
 * or PAUSE_MS are over. After a pause in vain, those who still wait are
 * refused: a descriptor held in reserve is given up for each in turn, so that
 * they learn that nobody will come, and the listener, with nobody waiting, is
 * quiet. Anything else is an error of the listener itself.
 */
#include "dispatcher.h"

#include <errno.h>

#define NS_PER_MS INT64_C(1000000)

enum { PAUSE_MS = 100, REFUSE_BATCH = 64, ABORTED_BATCH = 64 };

/* ENOSPC: of what a user may have in epoll(7). */
bool asyncore__is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS ||
           error == ENOMEM || error == ENOSPC;
}

/* See accept(2): "Linux accept() passes already-pending network errors on the
   new socket as an error code". EPERM is a firewall's. */
static bool concerns_one_connection(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
    case ECONNRESET:
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default: return false;
    }
}

static void refuse_those_waiting(asyncore_map *map, int listener)
{
    int i, fd;

    for (i = 0; i < REFUSE_BATCH && map->reserve != -1; i++) {
        asyncore__fd_close(map->reserve);
        fd = asyncore__sock_accept(listener, NULL, NULL);
        if (fd != -1)
            asyncore__fd_close(fd);
        map->reserve = asyncore__sock_reserve();
        if (fd == -1)
            break;
    }
}

void asyncore__starve(asyncore_dispatcher *d, int error)
{
    asyncore_map *map = d->map;

    if (map->refuse)
        refuse_those_waiting(map, d->fd);
    map->resume_at = asyncore__now() + PAUSE_MS * NS_PER_MS;
    if (!map->reported) {
        map->reported = true;
        asyncore__fail(d, error);
    }
}

void asyncore__fed(asyncore_map *map)
{
    map->resume_at = 0;
    map->refuse = false;
}

int asyncore__starved_timeout(asyncore_map *map, int timeout)
{
    int64_t left = map->resume_at - asyncore__now();

    if (left <= 0) {
        map->resume_at = 0;
        map->refuse = true;
        return timeout;
    }
    left = (left + NS_PER_MS - 1) / NS_PER_MS;
    return timeout < 0 || timeout > left ? (int)left : timeout;
}

void asyncore__provide(asyncore_map *map)
{
    if (map->reserve == -1)
        map->reserve = asyncore__sock_reserve();
}

/* What accept(2) gave is worth having: the shortage is over. */
static void accepted(asyncore_map *map)
{
    map->reported = false;
    map->refuse = false;
    asyncore__provide(map);
}

int asyncore_accept(asyncore_dispatcher *d, asyncore_address *peer)
{
    asyncore_address unused;
    int i, fd;

    if (d->fd < 0) {
        errno = EBADF;
        return -1;
    }
    if (peer == NULL)
        peer = &unused;
    for (i = 0; i < ABORTED_BATCH; i++) {
        peer->size = sizeof peer->storage;
        fd = asyncore__sock_accept(d->fd, &peer->any, &peer->size);
        if (fd != -1) {
            accepted(d->map);
            if (asyncore__active(d))
                d->map->counters.accepted++;
            return fd;
        }
        if (asyncore__is_shortage(errno)) {
            asyncore__starve(d, errno);
            break;
        }
        if (!concerns_one_connection(errno))
            return asyncore__io_failed(d, errno);
    }
    errno = EAGAIN;
    return -1;
}
