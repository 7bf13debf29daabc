/*
 * timers_asyncore.c - asyncore_call_later: see timers.h.
 */
#include "timers.h"

#include <asyncore.h>

static asyncore_timer *timers;

static void go_off(void *arg)
{
    (void)arg;
    gone_off();
}

static void prepare(int n)
{
    timers = calloc((size_t)n, sizeof *timers);
    if (timers == NULL)
        die("calloc");
}

static void make_call(void *arg)
{
    void (*const *fn)(void) = arg;

    (*fn)();
}

static void call(void (*fn)(void))
{
    static void (*due)(void);

    due = fn;
    if (asyncore_call_soon(asyncore_socket_map(), make_call, &due) < 0)
        die("asyncore_call_soon");
}

static void set_one(int i, int ms)
{
    asyncore_call_later(&timers[i], NULL, ms, go_off, NULL);
}

static void reset_one(int i)
{
    asyncore_call_later(&timers[i], NULL, MINUTE_MS, go_off, NULL);
}

static void cancel_one(int i)
{
    asyncore_timer_cancel(&timers[i]);
}

static void turn(void)
{
    if (asyncore_poll(NULL, 0) < 0)
        die("asyncore_poll");
}

int main(int argc, char **argv)
{
    static const library calls = { prepare,   call,       set_one,
                                   reset_one, cancel_one, turn };

    run(argc, argv, &calls);
    return 0;
}
