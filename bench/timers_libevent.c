/*
 * timers_libevent.c - timer events: see timers.h. Those of a minute are in the
 * queue for one duration (event_base_init_common_timeout).
 */
#include "timers.h"

#include <event2/event.h>
#include <event2/event_struct.h>

static struct event_base *base;
static const struct timeval *minute;
static struct event *timers;

static void go_off(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    (void)arg;
    gone_off();
}

static void prepare(int n)
{
    static const struct timeval time = { .tv_sec = MINUTE_MS / 1000 };
    struct event_config *config = event_config_new();
    int i;

    timers = calloc((size_t)n, sizeof *timers);
    if (config == NULL || timers == NULL)
        die("calloc");
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    base = event_base_new_with_config(config);
    if (base == NULL)
        die("event_base_new_with_config");
    minute = event_base_init_common_timeout(base, &time);
    for (i = 0; i < n; i++)
        evtimer_assign(&timers[i], base, go_off, NULL);
}

static void make_call(evutil_socket_t fd, short events, void *arg)
{
    void (**fn)(void) = arg;

    (void)fd;
    (void)events;
    (*fn)();
}

static void call(void (*fn)(void))
{
    static void (*due)(void);
    static struct event soon;

    due = fn;
    evtimer_assign(&soon, base, make_call, &due);
    event_active(&soon, EV_TIMEOUT, 0);
}

static void set_one(int i, int ms)
{
    struct timeval time = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

    event_add(&timers[i], &time);
}

static void reset_one(int i)
{
    event_add(&timers[i], minute);
}

static void cancel_one(int i)
{
    event_del(&timers[i]);
}

static void turn(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
}

int main(int argc, char **argv)
{
    static const library calls = { prepare,   call,       set_one,
                                   reset_one, cancel_one, turn };

    run(argc, argv, &calls);
    return 0;
}
