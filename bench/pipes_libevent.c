/*
 * pipes_libevent.c - the ring with persistent events. timeout lets libevent
 * put the timeout off by itself, as it does for a persistent event, in its
 * queue for a duration that many have in common
 * (event_base_init_common_timeout); readd calls event_add instead, and heap
 * leaves the timeouts in the heap. toggle collects the changes for the next
 * wait (EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST). See pipes.h.
 */
#include "pipes.h"

#include <event2/event.h>
#include <event2/event_struct.h>

typedef struct reader {
    struct event event;
    pipe_end end;
    struct event timer;
    struct timeval active;
} reader;

static struct event_base *base;
static const struct timeval idle_time = { .tv_sec = IDLE_MS / 1000 };
static const struct timeval *common;

static void relay(const reader *r, short events)
{
    if (events & EV_TIMEOUT)
        die("idle");
    if (pass_on(&r->end, take(&r->end)))
        event_base_loopbreak(base);
}

static void plain(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    relay(arg, events);
}

static void toggle(evutil_socket_t fd, short events, void *arg)
{
    reader *r = arg;

    (void)fd;
    event_del(&r->event);
    event_add(&r->event, NULL);
    relay(r, events);
}

static void readd(evutil_socket_t fd, short events, void *arg)
{
    reader *r = arg;

    (void)fd;
    event_add(&r->event, common);
    relay(r, events);
}

static void lazy(evutil_socket_t fd, short events, void *arg)
{
    reader *r = arg;

    (void)fd;
    event_base_gettimeofday_cached(base, &r->active);
    relay(r, events);
}

static void perhaps_idle(evutil_socket_t fd, short events, void *arg)
{
    reader *r = arg;
    struct timeval now, until, left;

    (void)fd;
    (void)events;
    event_base_gettimeofday_cached(base, &now);
    evutil_timeradd(&r->active, &idle_time, &until);
    if (evutil_timercmp(&until, &now, <=))
        die("idle");
    evutil_timersub(&until, &now, &left);
    event_add(&r->timer, &left);
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    int flags = EVENT_BASE_FLAG_NOLOCK;

    if (config == NULL)
        die("event_config_new");
    if (is_mode("toggle"))
        flags |= EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST;
    event_config_set_flag(config, flags);
    base = event_base_new_with_config(config);
    event_config_free(config);
    if (base == NULL)
        die("event_base_new_with_config");
    return base;
}

int main(int argc, char **argv)
{
    reader *all = open_pipes(argc, argv, sizeof *all, offsetof(reader, end));
    bool timeout = is_mode("timeout") || is_mode("heap") || is_mode("readd");
    event_callback_fn handle = is_mode("plain")    ? plain
                               : is_mode("toggle") ? toggle
                               : is_mode("readd")  ? readd
                               : is_mode("lazy")   ? lazy
                               : timeout           ? plain
                                                   : NULL;
    int i;

    if (handle == NULL)
        usage(argv[0]);
    new_base();
    common = is_mode("heap") ? &idle_time
                             : event_base_init_common_timeout(base, &idle_time);
    for (i = 0; i < pipes; i++) {
        reader *r = &all[i];
        event_assign(&r->event, base, r->end.fd, EV_READ | EV_PERSIST, handle,
                     r);
        event_add(&r->event, timeout ? common : NULL);
        if (handle == lazy) {
            event_base_gettimeofday_cached(base, &r->active);
            evtimer_assign(&r->timer, base, perhaps_idle, r);
            event_add(&r->timer, common);
        }
    }
    start_pipes();
    event_base_loop(base, 0);
    return 0;
}
