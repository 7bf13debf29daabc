/*
 * broadcast_bufferevent.c - a server that answers each line, from whomever,
 * with a message to everybody, on libevent: the bufferevents share one copy
 * (evbuffer_add_reference). Who has a megabyte waiting is disconnected.
 *
 *     broadcast_bufferevent [at-once]
 *
 * at-once: it is written at once, behind the back of the bufferevent, which
 * writes only what is left.
 */
#include "server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 65536, LIMIT = 1 << 20 };

typedef struct channel {
    struct bufferevent *b;
    size_t at; /* in channels */
} channel;

typedef struct message {
    size_t references;
    char data[SERVER_BROADCAST];
} message;

static int at_once;
static channel *channels[MOST];
static size_t count;

static void end(channel *c)
{
    channels[c->at] = channels[--count];
    channels[c->at]->at = c->at;
    bufferevent_free(c->b);
    free(c);
}

static void ended(struct bufferevent *b, short what, void *arg)
{
    (void)b;
    (void)what;
    end(arg);
}

static void drop(message *m)
{
    if (--m->references == 0)
        free(m);
}

static void sent(const void *data, size_t size, void *arg)
{
    (void)data;
    (void)size;
    drop(arg);
}

/* One that fails is told of it when it reads. */
static void write_now(struct bufferevent *b, struct evbuffer *output)
{
    evbuffer_unfreeze(output, 1);
    evbuffer_write(output, bufferevent_getfd(b));
    evbuffer_freeze(output, 1);
    if (evbuffer_get_length(output) > 0)
        bufferevent_enable(b, EV_WRITE);
}

/* It has written what was left. */
static void drained(struct bufferevent *b, void *arg)
{
    (void)arg;
    bufferevent_disable(b, EV_WRITE);
}

static void broadcast(void)
{
    message *m = malloc(sizeof *m);
    size_t i;

    if (m == NULL)
        server_fail("malloc");
    m->references = 1;
    memset(m->data, 'x', sizeof m->data);
    for (i = count; i-- > 0;) {
        struct evbuffer *output = bufferevent_get_output(channels[i]->b);
        if (evbuffer_get_length(output) >= LIMIT) {
            end(channels[i]);
            continue;
        }
        m->references++;
        if (evbuffer_add_reference(output, m->data, sizeof m->data, sent, m) <
            0)
            server_fail("evbuffer_add_reference");
        if (at_once && evbuffer_get_length(output) == sizeof m->data)
            write_now(channels[i]->b, output);
    }
    drop(m);
}

static void received(struct bufferevent *b, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(b);
    size_t size;
    char *line;

    (void)arg;
    while ((line = evbuffer_readln(input, &size, EVBUFFER_EOL_LF)) != NULL) {
        free(line);
        broadcast();
    }
}

static void accepted(struct evconnlistener *listener, int fd,
                     struct sockaddr *peer, int size, void *arg)
{
    struct bufferevent *b = bufferevent_socket_new(
        evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
    channel *c = malloc(sizeof *c);

    (void)peer;
    (void)size;
    (void)arg;
    if (b == NULL || c == NULL || count == MOST)
        server_fail("channel");
    c->b = b;
    c->at = count;
    channels[count++] = c;
    bufferevent_setcb(b, received, at_once ? drained : NULL, ended, c);
    bufferevent_enable(b, at_once ? EV_READ : EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    struct event_config *config = event_config_new();
    struct event_base *base;
    int fd = server_listen(0, 0);

    at_once = argc > 1 && strcmp(argv[1], "at-once") == 0;
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
