/*
 * lines_epoll.c - a server that answers each line with the same line, on
 * epoll(7) alone: the yardstick of those with a framing of their own.
 *
 * The lines that came together are answered together. A connection keeps the
 * beginning of a line that has not ended yet, and what is left of an answer;
 * while there is such a rest it is not read from.
 */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 1024, LONGEST = 65536 };

typedef struct connection {
    int fd;
    unsent *rest; /* of an answer; NULL: none */
    char *begun;  /* a line; NULL: none */
    size_t size;  /* of that */
} connection;

/* What a connection had begun is put in front of what it receives. */
static char input[LONGEST + SERVER_BUFFER];
static char output[LONGEST + SERVER_BUFFER];

static void end(connection *c)
{
    close(c->fd);
    free(c->rest);
    free(c->begun);
    free(c);
}

static void watch(int epoll, int operation, connection *c, uint32_t events)
{
    struct epoll_event event = { .events = events, .data = { .ptr = c } };

    if (epoll_ctl(epoll, operation, c->fd, &event) < 0)
        server_fail("epoll_ctl");
}

/* A whole line, without its CR LF; returns where the answer goes on. */
static char *answer(char *to, const char *line, size_t size)
{
    memcpy(to, line, size);
    memcpy(to + size, "\r\n", 2);
    return to + size + 2;
}

/* Returns whether the connection is still there. */
static int send_answers(int epoll, connection *c, size_t size)
{
    ssize_t sent = send(c->fd, output, size, MSG_NOSIGNAL);

    if (sent == (ssize_t)size)
        return 1;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        end(c);
        return 0;
    }
    if (sent < 0)
        sent = 0;
    c->rest = server_keep(c->fd, output + sent, size - (size_t)sent);
    watch(epoll, EPOLL_CTL_MOD, c, EPOLLOUT);
    return 1;
}

static void keep_begun(connection *c, const char *data, size_t size)
{
    if (size == 0)
        return;
    c->begun = size <= LONGEST ? malloc(size) : NULL;
    if (c->begun == NULL) {
        end(c);
        return;
    }
    memcpy(c->begun, data, size);
    c->size = size;
}

static void receive(int epoll, connection *c)
{
    char *at = input, *to = output, *stop, *lf;
    ssize_t n = recv(c->fd, input + c->size, SERVER_BUFFER, 0);

    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            end(c);
        return;
    }
    stop = input + c->size + n;
    if (c->begun != NULL) {
        memcpy(input, c->begun, c->size);
        free(c->begun);
        c->begun = NULL;
    }
    lf = input + c->size;
    c->size = 0;
    while ((lf = memchr(lf, '\n', (size_t)(stop - lf))) != NULL) {
        lf++;
        if (lf - at < 2 || lf[-2] != '\r')
            continue;
        to = answer(to, at, (size_t)(lf - 2 - at));
        at = lf;
    }
    if (to == output || send_answers(epoll, c, (size_t)(to - output)))
        keep_begun(c, at, (size_t)(stop - at));
}

static void flush(int epoll, connection *c)
{
    switch (server_flush(c->rest)) {
    case 1:
        c->rest = NULL;
        watch(epoll, EPOLL_CTL_MOD, c, EPOLLIN);
        break;
    case -1: end(c); break;
    }
}

static void accept_all(int epoll, int listener)
{
    int fd;

    while ((fd = server_accept(listener)) >= 0) {
        connection *c = calloc(1, sizeof *c);
        if (c == NULL)
            server_fail("calloc");
        c->fd = fd;
        watch(epoll, EPOLL_CTL_ADD, c, EPOLLIN);
    }
}

int main(void)
{
    connection listener = { .fd = server_listen(0, 0) };
    int epoll = epoll_create1(EPOLL_CLOEXEC), i, n;
    struct epoll_event events[BATCH];

    if (epoll < 0)
        server_fail("epoll_create1");
    watch(epoll, EPOLL_CTL_ADD, &listener, EPOLLIN);
    server_announce(listener.fd);
    for (;;) {
        n = epoll_wait(epoll, events, BATCH, -1);
        for (i = 0; i < n; i++) {
            connection *c = events[i].data.ptr;
            if (c == &listener)
                accept_all(epoll, listener.fd);
            else if (c->rest != NULL)
                flush(epoll, c);
            else
                receive(epoll, c);
        }
    }
}
