/*
 * scale_libevent.c - a million events, or bufferevents: see scale.h. All
 * timeouts are in the queue for one duration.
 */
#include "scale.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <sys/socket.h>

static struct event_base *base;
static const struct timeval *common;
static void **all;

static void echo(evutil_socket_t fd, short events, void *arg)
{
    char data[4096];
    ssize_t n = recv(fd, data, sizeof data, 0);

    (void)events;
    (void)arg;
    if (n > 0) {
        messages++;
        if (send(fd, data, (size_t)n, MSG_NOSIGNAL) != n)
            die("send");
    }
}

static void echo_buffered(struct bufferevent *connection, void *arg)
{
    (void)arg;
    messages++;
    evbuffer_add_buffer(bufferevent_get_output(connection),
                        bufferevent_get_input(connection));
}

static void over(struct bufferevent *connection, short what, void *arg)
{
    (void)connection;
    (void)what;
    (void)arg;
    die("over");
}

static void keep(int i, void *connection)
{
    if (connection == NULL)
        die("new");
    if (all == NULL)
        all = new_index();
    all[i] = connection;
}

static void add_event(int i, int fd)
{
    keep(i, event_new(base, fd, EV_READ | EV_PERSIST, echo, NULL));
    if (event_add(all[i], NULL) < 0)
        die("event_add");
}

static void add_bufferevent(int i, int fd)
{
    keep(i, bufferevent_socket_new(base, fd, 0));
    bufferevent_setcb(all[i], echo_buffered, NULL, over, NULL);
    bufferevent_enable(all[i], EV_READ | EV_WRITE);
}

static void turn_once(void)
{
    if (event_base_loop(base, EVLOOP_NONBLOCK) < 0)
        die("event_base_loop");
}

static void toggle_event(int i)
{
    event_del(all[i]);
    event_add(all[i], NULL);
}

static void toggle_bufferevent(int i)
{
    bufferevent_disable(all[i], EV_READ);
    bufferevent_enable(all[i], EV_READ);
}

static void set_event_timeout(int i)
{
    event_add(all[i], common);
}

static void set_bufferevent_timeout(int i)
{
    bufferevent_set_timeouts(all[i], common, NULL);
}

int main(int argc, char **argv)
{
    static const library kinds[] = {
        { "event", add_event, turn_once, toggle_event, set_event_timeout },
        { "bufferevent", add_bufferevent, turn_once, toggle_bufferevent,
          set_bufferevent_timeout },
        { NULL, NULL, NULL, NULL, NULL },
    };
    struct event_config *config = event_config_new();
    const struct timeval idle = { .tv_sec = IDLE_MS / 1000 };

    if (config == NULL)
        die("event_config_new");
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK |
                                      EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    base = event_base_new_with_config(config);
    event_config_free(config);
    if (base == NULL)
        die("event_base_new_with_config");
    common = event_base_init_common_timeout(base, &idle);
    run(argc, argv, kinds);
    return 0;
}
