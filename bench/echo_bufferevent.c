/*
 * echo_bufferevent.c - an echo server on libevent's bufferevents: what has
 * come moves from one evbuffer to the other without a copy. A connection that
 * does not take its answers is not read from until half of what waits has
 * gone.
 */
#include "server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

enum { LIMIT = 65536 };

static void received(struct bufferevent *b, void *arg);

static void ended(struct bufferevent *b, short what, void *arg)
{
    (void)what;
    (void)arg;
    bufferevent_free(b);
}

static void drained(struct bufferevent *b, void *arg)
{
    (void)arg;
    bufferevent_setcb(b, received, NULL, ended, NULL);
    bufferevent_enable(b, EV_READ);
}

static void received(struct bufferevent *b, void *arg)
{
    struct evbuffer *output = bufferevent_get_output(b);

    (void)arg;
    evbuffer_add_buffer(output, bufferevent_get_input(b));
    /* A write callback is called for every write: only while it is needed. */
    if (evbuffer_get_length(output) >= LIMIT) {
        bufferevent_disable(b, EV_READ);
        bufferevent_setwatermark(b, EV_WRITE, LIMIT / 2, 0);
        bufferevent_setcb(b, NULL, drained, ended, NULL);
    }
}

static void accepted(struct evconnlistener *listener, int fd,
                     struct sockaddr *peer, int size, void *arg)
{
    struct bufferevent *b = bufferevent_socket_new(
        evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);

    (void)peer;
    (void)size;
    (void)arg;
    if (b == NULL)
        server_fail("bufferevent_socket_new");
    bufferevent_set_max_single_read(b, SERVER_BUFFER);
    bufferevent_set_max_single_write(b, SERVER_BUFFER);
    bufferevent_setcb(b, received, NULL, ended, NULL);
    bufferevent_enable(b, EV_READ | EV_WRITE);
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
