/*
 * timers_libev.c - ev_timer: see timers.h.
 */
#include "timers.h"

#include <ev.h>

static struct ev_loop *loop;
static ev_timer *timers;

static void go_off(struct ev_loop *l, ev_timer *timer, int events)
{
    (void)l;
    (void)timer;
    (void)events;
    gone_off();
}

static void prepare(int n)
{
    int i;

    loop = ev_default_loop(EVBACKEND_EPOLL);
    timers = calloc((size_t)n, sizeof *timers);
    if (loop == NULL || timers == NULL)
        die("calloc");
    for (i = 0; i < n; i++)
        ev_init(&timers[i], go_off);
}

static void make_call(struct ev_loop *l, ev_timer *timer, int events)
{
    void (**fn)(void) = timer->data;

    (void)l;
    (void)events;
    (*fn)();
}

static void call(void (*fn)(void))
{
    static void (*due)(void);
    static ev_timer soon;

    due = fn;
    ev_timer_init(&soon, make_call, 0., 0.);
    soon.data = &due;
    ev_timer_start(loop, &soon);
}

static void set_one(int i, int ms)
{
    ev_timer_set(&timers[i], ms / 1e3, 0.);
    ev_timer_start(loop, &timers[i]);
}

static void reset_one(int i)
{
    timers[i].repeat = MINUTE_MS / 1e3;
    ev_timer_again(loop, &timers[i]);
}

static void cancel_one(int i)
{
    ev_timer_stop(loop, &timers[i]);
}

static void turn(void)
{
    ev_run(loop, EVRUN_NOWAIT);
}

int main(int argc, char **argv)
{
    static const library calls = { prepare,   call,       set_one,
                                   reset_one, cancel_one, turn };

    run(argc, argv, &calls);
    return 0;
}
