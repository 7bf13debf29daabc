/*
 * echo_libevent.c - an echo server on libevent's plain events: one, embedded
 * in each connection, which waits for reading, or else for room for what is
 * left of an answer.
 */
#include "server.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct connection {
    struct event event;
    unsent *rest; /* NULL: none */
} connection;

static char buffer[SERVER_BUFFER];

static void end(connection *c)
{
    event_del(&c->event);
    close(event_get_fd(&c->event));
    free(c->rest);
    free(c);
}

static void ready(int fd, short events, void *arg);

static void wait_for(connection *c, short events)
{
    struct event_base *base = event_get_base(&c->event);
    int fd = event_get_fd(&c->event);

    event_del(&c->event);
    if (event_assign(&c->event, base, fd, events | EV_PERSIST, ready, c) < 0 ||
        event_add(&c->event, NULL) < 0)
        server_fail("event_add");
}

static void flush(connection *c)
{
    switch (server_flush(c->rest)) {
    case 1:
        c->rest = NULL;
        wait_for(c, EV_READ);
        break;
    case -1: end(c); break;
    }
}

static void ready(int fd, short events, void *arg)
{
    connection *c = arg;
    ssize_t n, sent;

    (void)events;
    if (c->rest != NULL) {
        flush(c);
        return;
    }
    n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            end(c);
        return;
    }
    sent = send(fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent == n)
        return;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        end(c);
        return;
    }
    if (sent < 0)
        sent = 0;
    c->rest = server_keep(fd, buffer + sent, (size_t)(n - sent));
    wait_for(c, EV_WRITE);
}

static void accepted(struct evconnlistener *listener, int fd,
                     struct sockaddr *peer, int size, void *arg)
{
    connection *c = malloc(sizeof *c);

    (void)peer;
    (void)size;
    (void)arg;
    if (c == NULL)
        server_fail("malloc");
    c->rest = NULL;
    if (event_assign(&c->event, evconnlistener_get_base(listener), fd,
                     EV_READ | EV_PERSIST, ready, c) < 0 ||
        event_add(&c->event, NULL) < 0)
        server_fail("event_add");
}

int main(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base;
    int fd = server_listen(0, 0);

    if (config == NULL ||
        event_config_set_flag(config,
                              EVENT_BASE_FLAG_NOLOCK |
                                  EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) < 0 ||
        (base = event_base_new_with_config(config)) == NULL ||
        evconnlistener_new(base, accepted, NULL, LEV_OPT_CLOSE_ON_FREE, 0,
                           fd) == NULL)
        server_fail("libevent");
    event_config_free(config);
    server_announce(fd);
    return event_base_dispatch(base) < 0;
}
