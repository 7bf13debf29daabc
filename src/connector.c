/*
 * asyncore_connect_name, documented in asyncore.h: look the name up, and then
 * connect to what answers first (RFC 8305, "happy eyeballs").
 *
 * Meanwhile d is in its map under a descriptor that only keeps the number, and
 * wakes it when a look-up is done. The attempts are dispatchers of a class of
 * our own, with their sockets in the same map. The socket that has connected
 * takes the place of d's descriptor, still connecting, so that the turn after
 * treats it like any other connection.
 *
 * A connector lives as long as d->naming. Any handler of d may be its end, and
 * that of the attempt whose handler is on the stack: neither is looked at again
 * once one has run.
 */
#include "dispatcher.h"
#include "extra.h"
#include "resolver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* RFC 8305, section 5: the recommended Connection Attempt Delay. */
enum { ATTEMPT_DELAY_MS = 250 };

/* A name may have any number of addresses; each attempt has a socket. */
enum { MOST_ADDRESSES = 32 };

typedef struct connector connector;

typedef struct attempt {
    asyncore_dispatcher dispatcher; /* closed: not begun, or failed */
    connector *connector;
    asyncore_address address;
} attempt;

struct connector {
    asyncore__naming naming;
    asyncore_dispatcher *d;
    int waker[2];             /* the first is d->fd */
    asyncore__lookup *lookup; /* NULL: not under way */
    bool orphaned;            /* by a fork */
    asyncore_timer delay;
    attempt *attempts; /* those from next on have not begun */
    int count, next;
    int error; /* of the first */
};

static connector *connector_of(const asyncore_dispatcher *d)
{
    return (connector *)d->extra->naming;
}

static void release(asyncore__naming *naming)
{
    connector *c = (connector *)naming;
    int i;

    if (c->lookup != NULL)
        asyncore__lookup_cancel(c->lookup);
    asyncore_timer_cancel(&c->delay);
    for (i = 0; i < c->next; i++)
        asyncore_close(&c->attempts[i].dispatcher);
    if (c->waker[1] != c->waker[0])
        asyncore__fd_close(c->waker[1]);
    free(c->attempts);
    free(c);
}

/* ---- The attempts ------------------------------------------------------- */

static void go_on(void *arg);

static attempt *attempt_of(asyncore_dispatcher *d)
{
    return (attempt *)d;
}

/* It goes on in the next turn, so that c and d may be gone by then, or a loop
   in the handler have gone on with it. */
static void address_failed(connector *c, const attempt *a, int error)
{
    asyncore_dispatcher *d = c->d;
    asyncore_address address = a->address;

    if (a == c->attempts)
        c->error = error;
    (void)asyncore_call_later(&c->delay, d->map, 0, go_on, c);
    ASYNCORE__HANDLER(d, handle_connect_error)(d, &address, error);
}

static void attempt_connected(asyncore_dispatcher *socket)
{
    connector *c = attempt_of(socket)->connector;
    asyncore_dispatcher *d = c->d;

    /* Too late; and what has d's number may be a stranger's by now. */
    if (d->closing) {
        asyncore_close(socket);
    } else if (asyncore__take_over(d, socket->fd) < 0) {
        asyncore__end(d, errno);
    } else {
        d->extra->naming = NULL;
        /* Its file lives on under d's number: closing would not end that. */
        asyncore__map_unwatch(socket);
        release(&c->naming);
    }
}

static void attempt_failed(asyncore_dispatcher *socket, int error)
{
    attempt *a = attempt_of(socket);
    connector *c = a->connector;

    asyncore_close(socket);
    if (!c->d->closing)
        address_failed(c, a, error);
}

static void attempt_closed(asyncore_dispatcher *socket)
{
    attempt_failed(socket, socket->error);
}

static void say_nothing(asyncore_dispatcher *socket, const char *message,
                        const char *type)
{
    (void)socket, (void)message, (void)type;
}

static const asyncore_handlers attempt_class = {
    .name = "asyncore_connect_name",
    .handle_connect = attempt_connected,
    .handle_close = attempt_closed,
    .handle_error = attempt_failed,
    .log_info = say_nothing,
};

static int begin(connector *c, attempt *a)
{
    asyncore_dispatcher *socket = &a->dispatcher;

    if (asyncore_dispatcher_init(socket, &attempt_class, -1, c->d->map) < 0)
        return -1;
    a->connector = c;
    socket->inner = 1;
    if (asyncore_create_socket(socket, a->address.any.sa_family, SOCK_STREAM) ==
            0 &&
        asyncore_connect(socket, &a->address) == 0)
        return 0;
    asyncore_close(socket);
    return -1;
}

static bool is_trying(const connector *c)
{
    int i;

    for (i = 0; i < c->next; i++)
        if (c->attempts[i].dispatcher.fd >= 0 ||
            c->attempts[i].dispatcher.evicted)
            return true;
    return false;
}

/* The next address, or the end. */
static void go_on(void *arg)
{
    connector *c = arg;

    if (c->d->closing)
        return;
    if (c->next < c->count) {
        attempt *a = &c->attempts[c->next++];
        if (begin(c, a) < 0)
            address_failed(c, a, errno);
        else if (c->next < c->count)
            (void)asyncore_call_later(&c->delay, c->d->map, ATTEMPT_DELAY_MS,
                                      go_on, c);
    } else if (!is_trying(c)) {
        asyncore__end(c->d, c->error);
    }
}

/* ---- The addresses ------------------------------------------------------ */

static bool has(const connector *c, const struct addrinfo *info)
{
    int i;

    for (i = 0; i < c->count; i++)
        if (c->attempts[i].address.size == info->ai_addrlen &&
            memcmp(&c->attempts[i].address.any, info->ai_addr,
                   info->ai_addrlen) == 0)
            return true;
    return false;
}

/* The next one of the family, or of any other. */
static const struct addrinfo *find(const struct addrinfo *info, int family,
                                   bool others)
{
    while (info != NULL && (info->ai_family != family) != others)
        info = info->ai_next;
    return info;
}

static int new_attempts(connector *c, int count)
{
    c->attempts = calloc((size_t)count, sizeof *c->attempts);
    return c->attempts != NULL ? 0 : -1;
}

/* Those of the first one's family, and the others, in turn. Each once: some
   hosts files make two of one. */
static int take_addresses(connector *c, const struct addrinfo *found)
{
    int family = found->ai_family;
    const struct addrinfo *left[2];
    int room = 0, turn = 0;

    left[0] = found;
    left[1] = find(found, family, true);
    for (; found != NULL && room < MOST_ADDRESSES; found = found->ai_next)
        room++;
    if (new_attempts(c, room) < 0)
        return -1;
    while (c->count < room && (left[0] != NULL || left[1] != NULL)) {
        const struct addrinfo *info = left[turn];
        if (info != NULL) {
            left[turn] = find(info->ai_next, family, turn == 1);
            if (has(c, info))
                continue;
            asyncore__address_of(&c->attempts[c->count++].address, info);
        }
        turn = !turn;
    }
    return 0;
}

/* d->fd is readable. */
static void ready(asyncore_dispatcher *d)
{
    connector *c = connector_of(d);
    struct addrinfo *found;
    int result;

    /* In a child: it is the parent's answer, who will want to know. */
    if (c->orphaned)
        return;
    asyncore__waker_clear(d->fd);
    if (c->lookup == NULL)
        return;
    result = asyncore__lookup_finish(c->lookup, &found);
    if (result < 0 && errno == EINPROGRESS)
        return;
    c->lookup = NULL;
    if (result == 0) {
        result = take_addresses(c, found);
        freeaddrinfo(found);
    }
    if (result == 0)
        go_on(c);
    else
        asyncore__end(d, errno);
}

static void cancelled(void *arg)
{
    connector *c = arg;

    asyncore__end(c->d, ECANCELED);
}

static void forked(asyncore_dispatcher *d)
{
    connector *c = connector_of(d);

    if (c->lookup == NULL)
        return;
    asyncore__lookup_forget(c->lookup);
    c->lookup = NULL;
    c->orphaned = true;
    (void)asyncore_call_later(&c->delay, d->map, 0, cancelled, c);
}

/* ---- The beginning ------------------------------------------------------ */

static int look_up(connector *c, const asyncore__endpoint *what)
{
    asyncore_address address;

    if (asyncore__endpoint_address(what, &address) == 0) {
        if (new_attempts(c, 1) < 0)
            return -1;
        c->attempts[c->count++].address = address;
        (void)asyncore_call_later(&c->delay, c->d->map, 0, go_on, c);
        return 0;
    }
    if (errno != EINVAL)
        return -1;
    c->lookup = asyncore__lookup_start(c->d->map, what, c->waker[1]);
    return c->lookup != NULL ? 0 : -1;
}

static connector *new_connector(asyncore_dispatcher *d)
{
    connector *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->naming.ready = ready;
    c->naming.forked = forked;
    c->naming.release = release;
    c->d = d;
    if (asyncore__waker_open(c->waker) == 0)
        return c;
    free(c);
    return NULL;
}

/* d gets c, and its descriptor, which on failure is closed. */
static int adopt(asyncore_dispatcher *d, connector *c)
{
    static const asyncore__sock_kind kind = {
        .stream = true,
        .connecting = true,
    };
    bool retired = d->retired, freed = d->freed;

    if (asyncore__adopt(d, c->waker[0], &kind) < 0)
        return -1;
    if (asyncore__extra_of(d) == NULL) {
        asyncore__disown(d, retired, freed);
        return -1;
    }
    d->extra->naming = &c->naming;
    d->naming = 1;
    asyncore__update(d);
    return 0;
}

int asyncore_connect_name(asyncore_dispatcher *d, const char *host,
                          const char *service)
{
    asyncore__endpoint what;
    bool retired, freed;
    connector *c;

    if (d->fd >= 0) {
        errno = EEXIST;
        return -1;
    }
    if (asyncore__endpoint_set(&what, host, service) < 0)
        return -1;
    /* Nothing of that connection goes along. */
    if (d->evicted)
        asyncore_close(d);
    retired = d->retired;
    freed = d->freed;
    c = new_connector(d);
    if (c == NULL)
        return -1;
    if (adopt(d, c) < 0) {
        release(&c->naming);
        return -1;
    }
    if (look_up(c, &what) < 0) {
        asyncore__disown(d, retired, freed);
        return -1;
    }
    return 0;
}
