/*
 * echo_epoll.c - an echo server on epoll(7) alone: the yardstick.
 *
 *     echo_epoll [THREADS]
 *
 * It holds nothing for a connection but its descriptor, in epoll's own data,
 * where a connection that does not take its answer has what is left of it
 * instead; it is not read from until that has gone.
 */
#include "server.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 1024 };

/* epoll's data: a descriptor, or a pointer with the lowest bit set. */
static uint64_t of_fd(int fd)
{
    return (uint64_t)(unsigned)fd << 1;
}

static uint64_t of_unsent(unsent *rest)
{
    return (uint64_t)(uintptr_t)rest | 1;
}

static void watch(int epoll, int operation, int fd, uint32_t events,
                  uint64_t data)
{
    struct epoll_event event = { .events = events, .data = { .u64 = data } };

    if (epoll_ctl(epoll, operation, fd, &event) < 0)
        server_fail("epoll_ctl");
}

static void accept_all(int epoll, int listener)
{
    int fd;

    while ((fd = server_accept(listener)) >= 0)
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, of_fd(fd));
}

static void echo(int epoll, int fd, char *buffer)
{
    ssize_t n = recv(fd, buffer, SERVER_BUFFER, 0), sent;

    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            close(fd);
        return;
    }
    sent = send(fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent == n)
        return;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        close(fd);
        return;
    }
    if (sent < 0)
        sent = 0;
    watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT,
          of_unsent(server_keep(fd, buffer + sent, (size_t)(n - sent))));
}

static void flush(int epoll, unsent *rest)
{
    int fd = rest->fd;

    switch (server_flush(rest)) {
    case 1: watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN, of_fd(fd)); break;
    case -1:
        free(rest);
        close(fd);
        break;
    }
}

static _Noreturn void serve(int listener)
{
    struct epoll_event events[BATCH];
    char *buffer = malloc(SERVER_BUFFER);
    int epoll = epoll_create1(EPOLL_CLOEXEC), i, n;

    if (buffer == NULL || epoll < 0)
        server_fail("epoll_create1");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, of_fd(listener));
    for (;;) {
        n = epoll_wait(epoll, events, BATCH, -1);
        for (i = 0; i < n; i++) {
            uint64_t data = events[i].data.u64;
            if (data == of_fd(listener))
                accept_all(epoll, listener);
            else if ((data & 1) != 0)
                flush(epoll, (unsent *)(uintptr_t)(data - 1));
            else
                echo(epoll, (int)(data >> 1), buffer);
        }
    }
}

typedef struct worker {
    int number, listener;
} worker;

static void *work(void *arg)
{
    worker *w = arg;

    server_pin(w->number);
    serve(w->listener);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1, i;
    int listener = server_listen(0, threads > 1);
    int port = server_announce(listener);
    worker *workers = calloc((size_t)threads, sizeof *workers);
    pthread_t id;

    if (workers == NULL)
        server_fail("calloc");
    for (i = 1; i < threads; i++) {
        workers[i].number = i;
        workers[i].listener = server_listen(port, 1);
        if (pthread_create(&id, NULL, work, &workers[i]) != 0)
            server_fail("pthread_create");
    }
    if (threads > 1)
        server_pin(0);
    serve(listener);
}
