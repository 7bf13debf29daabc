/*
 * echo_libev.c - an echo server on libev: one ev_io in each connection, which
 * waits for reading, or else for room for what is left of an answer.
 */
#include "server.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct connection {
    ev_io io;
    unsent *rest; /* NULL: none */
} connection;

static char buffer[SERVER_BUFFER];

static void end(struct ev_loop *loop, connection *c)
{
    ev_io_stop(loop, &c->io);
    close(c->io.fd);
    free(c->rest);
    free(c);
}

static void wait_for(struct ev_loop *loop, connection *c, int events)
{
    ev_io_stop(loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(loop, &c->io);
}

static void flush(struct ev_loop *loop, connection *c)
{
    switch (server_flush(c->rest)) {
    case 1:
        c->rest = NULL;
        wait_for(loop, c, EV_READ);
        break;
    case -1: end(loop, c); break;
    }
}

static void ready(struct ev_loop *loop, ev_io *io, int events)
{
    connection *c = (connection *)io;
    ssize_t n, sent;

    (void)events;
    if (c->rest != NULL) {
        flush(loop, c);
        return;
    }
    n = recv(io->fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            end(loop, c);
        return;
    }
    sent = send(io->fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent == n)
        return;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        end(loop, c);
        return;
    }
    if (sent < 0)
        sent = 0;
    c->rest = server_keep(io->fd, buffer + sent, (size_t)(n - sent));
    wait_for(loop, c, EV_WRITE);
}

static void accept_all(struct ev_loop *loop, ev_io *io, int events)
{
    int fd;

    (void)events;
    while ((fd = server_accept(io->fd)) >= 0) {
        connection *c = malloc(sizeof *c);
        if (c == NULL)
            server_fail("malloc");
        c->rest = NULL;
        ev_io_init(&c->io, ready, fd, EV_READ);
        ev_io_start(loop, &c->io);
    }
}

int main(void)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    int fd = server_listen(0, 0);
    ev_io listener;

    if (loop == NULL)
        server_fail("ev_loop_new");
    ev_io_init(&listener, accept_all, fd, EV_READ);
    ev_io_start(loop, &listener);
    server_announce(fd);
    ev_run(loop, 0);
    return 0;
}
