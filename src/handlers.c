/*
 * The base class's defaults, and the words it finds for a dispatcher: repr,
 * log, strerror. No state of its own.
 */
#include "dispatcher.h"
#include "extra.h"
#include "limit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* As many connections as one listener may accept in a turn. */
enum { ACCEPT_BATCH = 64 };

static void unhandled(asyncore_dispatcher *d, const char *event)
{
    asyncore_log_info(d, "warning", "unhandled %s event", event);
}

/* Not to be told of it for ever: what is ready stays so. */
void asyncore__handle_read(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, false);
    unhandled(d, "read");
}

void asyncore__handle_write(asyncore_dispatcher *d)
{
    asyncore_set_writable(d, false);
    unhandled(d, "write");
}

void asyncore__handle_expt(asyncore_dispatcher *d)
{
    unhandled(d, "incoming priority");
}

void asyncore__handle_connect(asyncore_dispatcher *d)
{
    unhandled(d, "connect");
}

void asyncore__handle_connect_error(asyncore_dispatcher *d,
                                    const asyncore_address *address, int error)
{
    char name[ASYNCORE_ADDRESS_TEXT], reason[128];

    asyncore_log_info(d, "warning", "no connection to %s (%s)",
                      asyncore_address_format(address, name, sizeof name),
                      asyncore_strerror(error, reason, sizeof reason));
}

/* Whoever puts it into a dispatcher now need not find out what it is. */
static void hand_over(asyncore_dispatcher *d, int fd,
                      const asyncore_address *peer)
{
    asyncore_map *map = d->map;

    map->guest = peer;
    map->guest_fd = fd;
    ASYNCORE__HANDLER(d, handle_accepted)(d, fd, peer);
    map->guest = NULL;
}

static void accept_limited(asyncore_dispatcher *d, int fd,
                           const asyncore_address *peer)
{
    asyncore__guest guest;

    if (asyncore__limits_admit(d, fd, peer, &guest)) {
        hand_over(d, fd, peer);
        asyncore__limits_seat(&guest);
    }
}

void asyncore__handle_accept(asyncore_dispatcher *d)
{
    asyncore_map *map = d->map;
    asyncore__ref ref = asyncore__ref_to(d);
    asyncore_address peer;
    int i, fd;

    for (i = 0; i < ACCEPT_BATCH && !map->stopping; i++) {
        fd = asyncore_accept(d, &peer);
        if (fd < 0)
            return;
        if (d->extra != NULL && d->extra->limits != NULL)
            accept_limited(d, fd, &peer);
        else
            hand_over(d, fd, &peer);
        d = asyncore__deref(&ref);
        if (d == NULL)
            return;
    }
}

void asyncore__handle_accepted(asyncore_dispatcher *d, int fd,
                               const asyncore_address *peer)
{
    (void)peer;
    asyncore__fd_close(fd);
    unhandled(d, "accepted");
}

void asyncore__handle_close(asyncore_dispatcher *d)
{
    asyncore__ref ref = asyncore__ref_to(d);

    unhandled(d, "close");
    asyncore_close(asyncore__deref(&ref));
}

void asyncore__handle_eof(asyncore_dispatcher *d)
{
    asyncore__end(d, d->error);
}

void asyncore__handle_error(asyncore_dispatcher *d, int error)
{
    char repr[ASYNCORE_REPR_TEXT], reason[128];
    bool passes = d->accepting && asyncore__is_shortage(error);
    asyncore__ref ref = asyncore__ref_to(d);

    asyncore_repr(d, repr, sizeof repr);
    asyncore_strerror(error, reason, sizeof reason);
    asyncore_log_info(d, "error", "uncaught error, %s channel %s (%s)",
                      passes ? "keeping" : "closing", repr, reason);
    d = asyncore__deref(&ref);
    if (d != NULL && !passes)
        asyncore__end(d, error);
}

void asyncore__handle_drain(asyncore_dispatcher *d)
{
    (void)d;
}

void asyncore__handle_timeout(asyncore_dispatcher *d)
{
    asyncore__end(d, ETIMEDOUT);
}

void asyncore__handle_stop(asyncore_dispatcher *d)
{
    if (!d->stream || asyncore_shutdown(d) < 0)
        asyncore_close(d);
}

ssize_t asyncore__recv(asyncore_dispatcher *d, void *data, size_t size)
{
    return asyncore__sock_recv(d->fd, data, size);
}

ssize_t asyncore__send(asyncore_dispatcher *d, const void *data, size_t size)
{
    return asyncore__sock_send(d->fd, data, size);
}

static void write_line(const char *type, const char *message)
{
    struct iovec pieces[4];
    const char *texts[4];
    int i;

    texts[0] = type;
    texts[1] = ": ";
    texts[2] = message;
    texts[3] = "\n";
    for (i = 0; i < 4; i++) {
        pieces[i].iov_base = (void *)(uintptr_t)texts[i];
        pieces[i].iov_len = strlen(texts[i]);
    }
    asyncore__write_log(pieces, 4);
}

void asyncore__log(asyncore_dispatcher *d, const char *message)
{
    (void)d;
    write_line("log", message);
}

/* What the default log_info does not print. */
static bool is_quiet(const asyncore_dispatcher *d, const char *type)
{
    return !d->debug && strcmp(type, "warning") == 0;
}

void asyncore__log_info(asyncore_dispatcher *d, const char *message,
                        const char *type)
{
    if (!is_quiet(d, type))
        write_line(type, message);
}

void asyncore_log(asyncore_dispatcher *d, const char *format, ...)
{
    char message[1024];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    ASYNCORE__HANDLER(d, log)(d, message);
}

void asyncore_log_info(asyncore_dispatcher *d, const char *type,
                       const char *format, ...)
{
    void (*log_info)(asyncore_dispatcher *, const char *, const char *) =
        ASYNCORE__HANDLER(d, log_info);
    char message[1024];
    va_list args;

    /* Connections end with an "unhandled close event", which is not worth
       putting into words for nobody. */
    if (log_info == asyncore__log_info && is_quiet(d, type))
        return;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    log_info(d, message, type);
}

char *asyncore_repr(const asyncore_dispatcher *d, char *text, size_t size)
{
    char name[ASYNCORE_ADDRESS_TEXT] = "";
    const char *state = "";
    asyncore_address address;

    if (d->accepting && asyncore_getsockname(d, &address) == 0)
        state = " listening ";
    else if (d->connected && asyncore_getpeername(d, &address) == 0)
        state = " connected ";
    else if (d->connected)
        state = " connected";
    if (state[0] != '\0' && state[strlen(state) - 1] == ' ')
        asyncore_address_format(&address, name, sizeof name);
    snprintf(text, size, "<%s%s%s at %p>",
             d->handlers->name != NULL ? d->handlers->name : "dispatcher",
             state, name, (const void *)d);
    return text;
}

/* Of strerror_r there are two, and either may be ours: GNU's returns the
   text, that of POSIX an int. */
static const char *gnu_text(const char *result, const char *text)
{
    (void)text;
    return result;
}

static const char *posix_text(int result, const char *text)
{
    return result == 0 ? text : "";
}

char *asyncore_strerror(int error, char *text, size_t size)
{
    char room[128] = "";
    const char *found;
    int before = errno;

    found = _Generic(strerror_r(error, room, sizeof room),
                     char *: gnu_text,
                     int: posix_text)(strerror_r(error, room, sizeof room),
                                      room);
    if (*found != '\0')
        snprintf(text, size, "%s", found);
    else
        snprintf(text, size, "Unknown error %d", error);
    errno = before;
    return text;
}
