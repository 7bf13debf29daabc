/*
 * lines_bufferevent.c - a server that answers each line with the same line,
 * on libevent's bufferevents.
 *
 *     lines_bufferevent [readln|pullup|at-once]
 *
 * readln: evbuffer_readln, which gives each line as a string of its own.
 * pullup: the end of the line is searched, and the line looked at where it
 * lies; nothing is allocated for it. at-once: what has come is looked at in one
 * piece, answered in one piece, and the answer written at once, behind the back
 * of the bufferevent, which writes only what is left.
 */
#include "server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 65536, LONGEST = 65536 };

static bufferevent_data_cb received;

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
    /* Lines that had come before the pause. */
    received(b, NULL);
}

static void bound(struct bufferevent *b, struct evbuffer *input,
                  struct evbuffer *output)
{
    if (evbuffer_get_length(output) >= LIMIT) {
        bufferevent_disable(b, EV_READ);
        bufferevent_setwatermark(b, EV_WRITE, LIMIT / 2, 0);
        bufferevent_setcb(b, NULL, drained, ended, NULL);
    } else if (evbuffer_get_length(input) > LONGEST) {
        bufferevent_free(b);
    }
}

static void received_readln(struct bufferevent *b, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(b);
    struct evbuffer *output = bufferevent_get_output(b);
    size_t size;
    char *line;

    (void)arg;
    while (evbuffer_get_length(output) < LIMIT &&
           (line = evbuffer_readln(input, &size, EVBUFFER_EOL_CRLF_STRICT)) !=
               NULL) {
        evbuffer_add(output, line, size);
        evbuffer_add(output, "\r\n", 2);
        free(line);
    }
    bound(b, input, output);
}

static void received_pullup(struct bufferevent *b, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(b);
    struct evbuffer *output = bufferevent_get_output(b);

    (void)arg;
    while (evbuffer_get_length(output) < LIMIT) {
        struct evbuffer_ptr at =
            evbuffer_search_eol(input, NULL, NULL, EVBUFFER_EOL_CRLF_STRICT);
        if (at.pos < 0)
            break;
        evbuffer_add(output, evbuffer_pullup(input, at.pos), (size_t)at.pos);
        evbuffer_add(output, "\r\n", 2);
        evbuffer_drain(input, (size_t)at.pos + 2);
    }
    bound(b, input, output);
}

/* The end of the last line in there. */
static size_t lines_in(const char *data, size_t size)
{
    const char *lf = data, *stop = data + size;
    size_t lines = 0;

    while ((lf = memchr(lf, '\n', (size_t)(stop - lf))) != NULL) {
        lf++;
        if (lf - data >= 2 && lf[-2] == '\r')
            lines = (size_t)(lf - data);
    }
    return lines;
}

static void received_at_once(struct bufferevent *b, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(b);
    struct evbuffer *output = bufferevent_get_output(b);
    const char *data = (const char *)evbuffer_pullup(input, -1);
    size_t size = lines_in(data, evbuffer_get_length(input));

    (void)arg;
    if (size > 0) {
        int was_empty = evbuffer_get_length(output) == 0;

        if (was_empty)
            bufferevent_disable(b, EV_WRITE);
        evbuffer_add(output, data, size);
        evbuffer_drain(input, size);
        if (was_empty) {
            evbuffer_unfreeze(output, 1);
            evbuffer_write(output, bufferevent_getfd(b));
            evbuffer_freeze(output, 1);
            if (evbuffer_get_length(output) > 0)
                bufferevent_enable(b, EV_WRITE);
        }
    }
    bound(b, input, output);
}

static bufferevent_data_cb received = received_readln;

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
    bufferevent_enable(b, received == received_at_once ? EV_READ
                                                       : EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    struct event_config *config = event_config_new();
    struct event_base *base;
    int fd = server_listen(0, 0);

    if (argc > 1 && strcmp(argv[1], "pullup") == 0)
        received = received_pullup;
    if (argc > 1 && strcmp(argv[1], "at-once") == 0)
        received = received_at_once;
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
