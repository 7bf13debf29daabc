/*
 * A dispatcher's life: from _init over the socket calls that set it up to
 * asyncore_close. The base class's table.
 */
#include "dispatcher.h"

#include <errno.h>
#include <string.h>

static const asyncore__class dispatcher_class = {
    .handlers =
        {
            .name = "dispatcher",
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
            .recv = asyncore__recv,
            .send = asyncore__send,
            .log = asyncore__log,
            .log_info = asyncore__log_info,
        },
    .send = asyncore__send_now,
    .queued = asyncore__queued_none,
    .shutdown = asyncore__shutdown_now,
    .release = asyncore__release_nothing,
};

static int fail(int error)
{
    errno = error;
    return -1;
}

/* ---- Coming into being ------------------------------------------------- */

/* Custom are those that do not read by recv(2) and write by send(2) alone, or
   look out for urgent data. */
void asyncore__classify(asyncore_dispatcher *d)
{
    d->custom = ASYNCORE__HANDLER(d, recv) != asyncore__recv ||
                ASYNCORE__HANDLER(d, send) != asyncore__send ||
                d->handlers->handle_expt != NULL;
}

int asyncore__init_empty(asyncore_dispatcher *d, const asyncore__class *base,
                         const asyncore_handlers *handlers, asyncore_map *map)
{
    memset(d, 0, sizeof *d);
    d->fd = -1;
    d->map = asyncore__map(map);
    if (d->map == NULL)
        return -1;
    d->reading = 1;
    d->handlers = handlers;
    d->base = base;
    asyncore__classify(d);
    return 0;
}

int asyncore__init(asyncore_dispatcher *d, const asyncore__class *base,
                   const asyncore_handlers *handlers, int fd, asyncore_map *map)
{
    if (asyncore__init_empty(d, base, handlers, map) < 0) {
        if (fd >= 0)
            asyncore__fd_close(fd);
        return -1;
    }
    return fd >= 0 ? asyncore_set_socket(d, fd) : 0;
}

int asyncore_dispatcher_init(asyncore_dispatcher *d,
                             const asyncore_handlers *handlers, int fd,
                             asyncore_map *map)
{
    return asyncore__init(d, &dispatcher_class, handlers, fd, map);
}

static int enter_map(asyncore_dispatcher *d, asyncore_map *map)
{
    if (asyncore__map_add(map, d) < 0)
        return -1;
    d->asked = 0;
    d->lost = 0;
    if (d->accepting)
        asyncore__provide(map);
    if (asyncore__needs_asking(d)) {
        if (asyncore__map_ask(d) < 0) {
            asyncore__map_remove(d);
            return -1;
        }
        /* Predicates are not put from inside a set-up call. */
        d->interest = 0;
        return 0;
    }
    asyncore__update(d);
    return 0;
}

int asyncore__adopt(asyncore_dispatcher *d, int fd,
                    const asyncore__sock_kind *kind)
{
    bool retired;

    /* Evicted, and not closed since: nothing of it goes along. */
    if (d->evicted)
        asyncore_close(d);
    retired = d->retired;
    if (retired)
        asyncore__map_unretire(d);
    d->fd = fd;
    d->error = kind->error;
    d->stream = kind->stream;
    d->connecting = kind->connecting;
    d->connected = kind->connected;
    d->accepting = kind->listening;
    d->reading = 1;
    if (enter_map(d, d->map) == 0) {
        d->freed = 0;
        return 0;
    }
    asyncore__fd_close(fd);
    d->fd = -1;
    d->connecting = d->connected = d->accepting = 0;
    if (retired)
        asyncore__map_retire(d);
    return -1;
}

/* What the map has just accepted is a stream, connected and non-blocking. Its
   peer tells whether it is that still: the number may have been closed and
   opened anew. */
static bool is_guest(const asyncore_map *map, int fd)
{
    return map->guest != NULL && map->guest_fd == fd &&
           asyncore__sock_is_to(fd, &map->guest->any, map->guest->size);
}

static int examine(const asyncore_map *map, int fd, asyncore__sock_kind *kind)
{
    if (is_guest(map, fd)) {
        *kind = (asyncore__sock_kind){ .stream = true, .connected = true };
        return 0;
    }
    if (asyncore__sock_identify(fd, kind) < 0)
        return -1;
    return asyncore__fd_set_blocking(fd, false);
}

int asyncore_set_socket(asyncore_dispatcher *d, int fd)
{
    asyncore__sock_kind kind;
    int error;

    if (d->fd >= 0)
        error = EEXIST;
    else if (examine(d->map, fd, &kind) < 0)
        error = errno;
    else
        return asyncore__adopt(d, fd, &kind);
    asyncore__fd_close(fd);
    return fail(error);
}

int asyncore_create_socket(asyncore_dispatcher *d, int family, int type)
{
    asyncore__sock_kind kind = {
        .stream = type != SOCK_DGRAM && type != SOCK_RAW,
    };
    int fd;

    if (d->fd >= 0)
        return fail(EEXIST);
    fd = asyncore__sock_open(family, type);
    return fd < 0 ? -1 : asyncore__adopt(d, fd, &kind);
}

int asyncore_add_channel(asyncore_dispatcher *d, asyncore_map *map)
{
    if (d->fd < 0)
        return fail(EBADF);
    if (asyncore__in_map(d))
        return fail(EEXIST);
    map = asyncore__map(map);
    return map == NULL ? -1 : enter_map(d, map);
}

int asyncore_del_channel(asyncore_dispatcher *d)
{
    if (!asyncore__in_map(d))
        return 0;
    /* What its class is about to deliver, its deadline, and the attempts to
       connect it are here. */
    if (d->serving || d->draining || d->naming)
        return fail(EBUSY);
    asyncore__map_remove(d);
    /* Whoever takes it out in its handle_close keeps it. */
    d->closing = 0;
    return 0;
}

int asyncore_set_handlers(asyncore_dispatcher *d,
                          const asyncore_handlers *handlers)
{
    const asyncore_handlers *before = d->handlers;

    d->handlers = handlers;
    asyncore__classify(d);
    if (asyncore__in_map(d))
        d->map->ask_again = true;
    if (asyncore__in_map(d) && asyncore__needs_asking(d)) {
        if (!d->asked && asyncore__map_ask(d) < 0) {
            d->handlers = before;
            asyncore__classify(d);
            return -1;
        }
        return 0;
    }
    asyncore__update(d);
    return 0;
}

const asyncore_handlers *asyncore_base(const asyncore_dispatcher *d)
{
    return &d->base->handlers;
}

static void count_end(const asyncore_dispatcher *d)
{
    if (d->connected && d->stream)
        d->map->counters.closed++;
}

static void close_descriptor(asyncore_dispatcher *d)
{
    int fd = d->fd, error = errno;

    if (asyncore__in_map(d)) {
        count_end(d);
        asyncore__map_forget(d);
        asyncore__fed(d->map);
    }
    d->fd = -1;
    if (d->blocking && !d->lost)
        (void)asyncore__fd_set_blocking(fd, true);
    /* One that was closed behind our back may be a stranger's by now. */
    if (!d->lost)
        asyncore__fd_close(fd);
    errno = error;
}

void asyncore__disown(asyncore_dispatcher *d, bool retired, bool freed)
{
    close_descriptor(d);
    d->connecting = d->naming = d->accepting = 0;
    d->freed = freed;
    if (retired)
        asyncore__map_retire(d);
}

int asyncore__take_over(asyncore_dispatcher *d, int fd)
{
    asyncore__map_unwatch(d);
    if (asyncore__fd_replace(d->fd, fd) < 0)
        return -1;
    d->naming = 0;
    asyncore__update(d);
    return 0;
}

/* ---- Set-up calls ------------------------------------------------------ */

void asyncore_set_reuse_addr(asyncore_dispatcher *d)
{
    int error = errno;

    (void)asyncore__sock_reuse_address(d->fd);
    errno = error;
}

int asyncore_set_reuse_port(asyncore_dispatcher *d)
{
    return asyncore__sock_reuse_port(d->fd);
}

int asyncore_bind(asyncore_dispatcher *d, const asyncore_address *address)
{
    return asyncore__sock_bind(d->fd, &address->any, address->size);
}

int asyncore_listen(asyncore_dispatcher *d, int backlog)
{
    if (asyncore__sock_listen(d->fd, backlog) < 0)
        return -1;
    if (!d->asked && asyncore__in_map(d) && asyncore__map_ask(d) < 0)
        return -1;
    asyncore__provide(d->map);
    d->accepting = 1;
    return 0;
}

static int listen_at(asyncore_dispatcher *d, const asyncore_address *address,
                     int backlog)
{
    static const struct in6_addr anywhere = IN6ADDR_ANY_INIT;

    if (address->any.sa_family == AF_UNIX)
        asyncore__sock_unlink_stale(&address->un, address->size);
    else
        asyncore_set_reuse_addr(d);
    if (address->any.sa_family == AF_INET6 &&
        memcmp(&address->in6.sin6_addr, &anywhere, sizeof anywhere) == 0)
        asyncore__sock_take_v4(d->fd);
    if (asyncore_bind(d, address) < 0)
        return -1;
    return asyncore_listen(d, backlog);
}

int asyncore_listen_on(asyncore_dispatcher *d, const char *text, int backlog)
{
    bool retired = d->retired, freed = d->freed;
    asyncore_address address;

    if (asyncore_address_resolve(&address, text) < 0 ||
        asyncore_create_socket(d, address.any.sa_family, SOCK_STREAM) < 0)
        return -1;
    if (listen_at(d, &address, backlog) == 0)
        return 0;
    asyncore__disown(d, retired, freed);
    return -1;
}

int asyncore_connect(asyncore_dispatcher *d, const asyncore_address *address)
{
    if (d->fd < 0)
        return fail(EBADF);
    if (d->connecting)
        return fail(EALREADY);
    if (d->stream && d->connected)
        return fail(EISCONN);
    if (asyncore__sock_connect(d->fd, &address->any, address->size) < 0)
        return -1;
    /* One that stands at once is reported by the next turn, as all are: the
       socket is writable then. */
    if (d->stream)
        d->connecting = 1;
    else
        d->connected = 1;
    asyncore__update(d);
    return 0;
}

int asyncore_getsockname(const asyncore_dispatcher *d,
                         asyncore_address *address)
{
    address->size = sizeof address->storage;
    return asyncore__sock_name(d->fd, &address->any, &address->size);
}

int asyncore_getpeername(const asyncore_dispatcher *d,
                         asyncore_address *address)
{
    address->size = sizeof address->storage;
    return asyncore__sock_peer(d->fd, &address->any, &address->size);
}

/* ---- The end ----------------------------------------------------------- */

void asyncore_close(asyncore_dispatcher *d)
{
    if (d == NULL || d->handlers == NULL)
        return;
    if (d->evicted)
        asyncore__map_unevict(d);
    /* What release frees may be the user's, who is not to queue more. */
    d->shut = 1;
    d->base->release(d);
    if (d->fd >= 0)
        close_descriptor(d);
    d->connected = d->connecting = d->accepting = d->closing = 0;
    d->writing = d->queued = d->flow = 0;
    d->primed = d->held = d->serving = d->draining = 0;
    d->eof = d->shut = d->muted = d->lost = 0;
    d->naming = d->blocking = d->sigpipe = 0;
    if (d->handlers->handle_free != NULL && !d->retired && !d->freed)
        asyncore__map_retire(d);
}
