/*
 * reply_libevent.c - the echo with bufferevents: see reply.h. What comes is
 * moved to the output without a copy. Lines are taken with evbuffer_readln, or
 * with "peek" as a last argument looked at where they lie, which spares the
 * copy that readln allocates.
 */
#include "reply.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

static struct event_base *base;

static void echo_bytes(struct bufferevent *connection, void *arg)
{
    (void)arg;
    messages++;
    evbuffer_add_buffer(bufferevent_get_output(connection),
                        bufferevent_get_input(connection));
}

static void echo_lines(struct bufferevent *connection, void *arg)
{
    struct evbuffer *in = bufferevent_get_input(connection);
    struct evbuffer *out = bufferevent_get_output(connection);
    size_t size;
    char *line;

    (void)arg;
    while ((line = evbuffer_readln(in, &size, EVBUFFER_EOL_CRLF_STRICT)) !=
           NULL) {
        messages++;
        evbuffer_add(out, line, size);
        evbuffer_add(out, "\r\n", 2);
        free(line);
    }
}

static void echo_peeked(struct bufferevent *connection, void *arg)
{
    struct evbuffer *in = bufferevent_get_input(connection);
    struct evbuffer *out = bufferevent_get_output(connection);
    struct evbuffer_ptr end;

    (void)arg;
    for (;;) {
        end = evbuffer_search_eol(in, NULL, NULL, EVBUFFER_EOL_CRLF_STRICT);
        if (end.pos < 0)
            return;
        messages++;
        evbuffer_add(out, evbuffer_pullup(in, end.pos), (size_t)end.pos);
        evbuffer_add(out, "\r\n", 2);
        evbuffer_drain(in, (size_t)end.pos + 2);
    }
}

static void over(struct bufferevent *connection, short what, void *arg)
{
    (void)what;
    (void)arg;
    bufferevent_free(connection);
}

void serve(void)
{
    if (event_base_loop(base, EVLOOP_NONBLOCK) < 0)
        die("event_base_loop");
}

static void add(int fd, bufferevent_data_cb read)
{
    struct bufferevent *connection =
        bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);

    if (connection == NULL)
        die("bufferevent_socket_new");
    bufferevent_setcb(connection, read, NULL, over, NULL);
    bufferevent_enable(connection, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    bool peek = argc > 1 && strcmp(argv[argc - 1], "peek") == 0;
    long rounds = parse_arguments(argc - peek, argv);
    int *loads = calloc((size_t)connections, sizeof *loads);
    struct event_config *config = event_config_new();
    int i;

    if (loads == NULL || config == NULL)
        die("calloc");
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK |
                                      EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    base = event_base_new_with_config(config);
    if (base == NULL)
        die("event_base_new_with_config");
    for (i = 0; i < connections; i++)
        add(open_connection(&loads[i]), !lines ? echo_bytes
                                        : peek ? echo_peeked
                                               : echo_lines);
    run(loads, rounds);
    return 0;
}
