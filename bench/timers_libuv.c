/*
 * timers_libuv.c - uv_timer_t: see timers.h.
 */
#include "timers.h"

#include <uv.h>

static uv_loop_t loop;
static uv_timer_t *timers;

static void go_off(uv_timer_t *timer)
{
    (void)timer;
    gone_off();
}

static void prepare(int n)
{
    int i;

    timers = calloc((size_t)n, sizeof *timers);
    if (timers == NULL || uv_loop_init(&loop) < 0)
        die("calloc");
    for (i = 0; i < n; i++)
        uv_timer_init(&loop, &timers[i]);
}

static void make_call(uv_timer_t *timer)
{
    void (**fn)(void) = timer->data;

    (*fn)();
}

static void call(void (*fn)(void))
{
    static void (*due)(void);
    static uv_timer_t soon;

    due = fn;
    if (soon.data == NULL)
        uv_timer_init(&loop, &soon);
    soon.data = &due;
    uv_timer_start(&soon, make_call, 0, 0);
}

static void set_one(int i, int ms)
{
    uv_timer_start(&timers[i], go_off, (uint64_t)ms, 0);
}

static void reset_one(int i)
{
    uv_timer_start(&timers[i], go_off, MINUTE_MS, 0);
}

static void cancel_one(int i)
{
    uv_timer_stop(&timers[i]);
}

static void turn(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
}

int main(int argc, char **argv)
{
    static const library calls = { prepare,   call,       set_one,
                                   reset_one, cancel_one, turn };

    run(argc, argv, &calls);
    return 0;
}
