/*
 * echo_asyncore.c - an echo server on libasyncore: dispatcher_with_send.
 *
 *     echo_asyncore [THREADS]
 *
 * Each thread has a map and a listener of its own. A connection that does not
 * take its answers is not read from until half of what waits has gone.
 */
#include "server.h"

#include <asyncore.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void echo_read(asyncore_dispatcher *d)
{
    static _Thread_local char buffer[SERVER_BUFFER];
    ssize_t n = asyncore_recv(d, buffer, sizeof buffer);

    if (n > 0 && asyncore_send(d, buffer, (size_t)n) > 0 &&
        asyncore_queued(d) >= ((asyncore_dispatcher_with_send *)d)->limit)
        asyncore_set_readable(d, false);
}

static void echo_drain(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, true);
}

static void echo_free(asyncore_dispatcher *d)
{
    free(d);
}

static const asyncore_handlers echo = {
    .name = "echo",
    .handle_read = echo_read,
    .handle_drain = echo_drain,
    .handle_free = echo_free,
};

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    asyncore_dispatcher_with_send *c = malloc(sizeof *c);

    (void)peer;
    if (c == NULL)
        close(fd);
    else if (asyncore_dispatcher_with_send_init(c, &echo, fd, d->map) < 0)
        free(c);
}

static const asyncore_handlers server = {
    .name = "server",
    .handle_accepted = accepted,
};

static void serve(int fd)
{
    asyncore_map *map = asyncore_map_new("epoll");
    asyncore_dispatcher d;

    if (map == NULL || asyncore_dispatcher_init(&d, &server, fd, map) < 0 ||
        asyncore_loop(map, -1, -1) < 0)
        server_fail("asyncore");
}

typedef struct worker {
    int number, listener;
} worker;

static void *work(void *arg)
{
    worker *w = arg;

    server_pin(w->number);
    serve(w->listener);
    return NULL;
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
    return 0;
}
