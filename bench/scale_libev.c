/*
 * scale_libev.c - a million ev_io watchers, with the ev_timer that an idle
 * timeout needs (io-timer) or without (io): see scale.h.
 */
#include "scale.h"

#include <ev.h>
#include <sys/socket.h>

typedef struct connection {
    ev_io io;
    ev_timer timer[]; /* one or none */
} connection;

static struct ev_loop *loop;
static void **all; /* of connection */

static void echo(struct ev_loop *l, ev_io *io, int events)
{
    char data[4096];
    ssize_t n = recv(io->fd, data, sizeof data, 0);

    (void)l;
    (void)events;
    if (n > 0) {
        messages++;
        if (send(io->fd, data, (size_t)n, MSG_NOSIGNAL) != n)
            die("send");
    }
}

static void idle(struct ev_loop *l, ev_timer *timer, int events)
{
    (void)l;
    (void)timer;
    (void)events;
    die("idle");
}

static void add(int i, int fd, size_t timer)
{
    connection *c = malloc(sizeof *c + timer);

    if (c == NULL)
        die("malloc");
    if (all == NULL)
        all = new_index();
    all[i] = c;
    ev_io_init(&c->io, echo, fd, EV_READ);
    ev_io_start(loop, &c->io);
    if (timer > 0)
        ev_timer_init(c->timer, idle, 0., IDLE_MS / 1e3);
}

static void add_io(int i, int fd)
{
    add(i, fd, 0);
}

static void add_io_timer(int i, int fd)
{
    add(i, fd, sizeof(ev_timer));
}

static void turn_once(void)
{
    ev_run(loop, EVRUN_NOWAIT);
}

static void toggle(int i)
{
    connection *c = all[i];

    ev_io_stop(loop, &c->io);
    ev_io_start(loop, &c->io);
}

static void set_timeout(int i)
{
    connection *c = all[i];

    ev_timer_again(loop, c->timer);
}

int main(int argc, char **argv)
{
    static const library kinds[] = {
        { "io", add_io, turn_once, toggle, NULL },
        { "io-timer", add_io_timer, turn_once, toggle, set_timeout },
        { NULL, NULL, NULL, NULL, NULL },
    };

    loop = ev_default_loop(EVBACKEND_EPOLL);
    if (loop == NULL)
        die("ev_default_loop");
    run(argc, argv, kinds);
    return 0;
}
