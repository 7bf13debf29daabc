/*
 * pipes_libev.c - the ring with ev_io watchers. timeout is ev_timer_again;
 * lazy the third method of ev(3), "Be smart about timeouts". See pipes.h.
 */
#include "pipes.h"

#include <ev.h>

typedef struct reader {
    ev_io io;
    ev_timer timer;
    ev_tstamp active;
    pipe_end end;
} reader;

static void relay(struct ev_loop *loop, const reader *r)
{
    if (pass_on(&r->end, take(&r->end)))
        ev_break(loop, EVBREAK_ALL);
}

static void plain(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    relay(loop, io->data);
}

static void toggle(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    ev_io_stop(loop, io);
    ev_io_start(loop, io);
    relay(loop, io->data);
}

static void timeout(struct ev_loop *loop, ev_io *io, int events)
{
    reader *r = io->data;

    (void)events;
    ev_timer_again(loop, &r->timer);
    relay(loop, r);
}

static void lazy(struct ev_loop *loop, ev_io *io, int events)
{
    reader *r = io->data;

    (void)events;
    r->active = ev_now(loop);
    relay(loop, r);
}

static void idle(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)timer;
    (void)events;
    die("idle");
}

static void perhaps_idle(struct ev_loop *loop, ev_timer *timer, int events)
{
    reader *r = timer->data;
    ev_tstamp left = r->active + IDLE_MS / 1e3 - ev_now(loop);

    (void)events;
    if (left <= 0)
        die("idle");
    ev_timer_set(timer, left, 0.);
    ev_timer_start(loop, timer);
}

int main(int argc, char **argv)
{
    reader *all = open_pipes(argc, argv, sizeof *all, offsetof(reader, end));
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
    void (*handle)(struct ev_loop *, ev_io *, int) =
        is_mode("plain")     ? plain
        : is_mode("toggle")  ? toggle
        : is_mode("timeout") ? timeout
        : is_mode("lazy")    ? lazy
                             : NULL;
    int i;

    if (handle == NULL)
        usage(argv[0]);
    if (loop == NULL)
        die("ev_default_loop");
    for (i = 0; i < pipes; i++) {
        reader *r = &all[i];
        ev_io_init(&r->io, handle, r->end.fd, EV_READ);
        r->io.data = r;
        ev_io_start(loop, &r->io);
        r->timer.data = r;
        if (handle == timeout) {
            ev_timer_init(&r->timer, idle, 0., IDLE_MS / 1e3);
            ev_timer_again(loop, &r->timer);
        } else if (handle == lazy) {
            r->active = ev_now(loop);
            ev_timer_init(&r->timer, perhaps_idle, IDLE_MS / 1e3, 0.);
            ev_timer_start(loop, &r->timer);
        }
    }
    start_pipes();
    ev_run(loop, 0);
    return 0;
}
