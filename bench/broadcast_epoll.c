/*
 * broadcast_epoll.c - a server that answers each line, from whomever, with a
 * message to everybody, on epoll(7) alone: the yardstick. It queues nothing:
 * who does not take a message at once is disconnected.
 */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 1024, MOST = 65536 };

typedef struct channel {
    int fd;
    size_t at; /* in channels */
    struct channel *next;
} channel;

static channel *channels[MOST], *ended;
static size_t count;

static void end(channel *c)
{
    channels[c->at] = channels[--count];
    channels[c->at]->at = c->at;
    close(c->fd);
    /* There may be an event of its in the batch: it is freed after that. */
    c->fd = -1;
    c->next = ended;
    ended = c;
}

static void free_ended(void)
{
    while (ended != NULL) {
        channel *c = ended;
        ended = c->next;
        free(c);
    }
}

static void broadcast(void)
{
    static char message[SERVER_BROADCAST];
    size_t i;

    memset(message, 'x', sizeof message);
    for (i = count; i-- > 0;) {
        channel *c = channels[i];
        if (send(c->fd, message, sizeof message, MSG_NOSIGNAL) !=
            (ssize_t)sizeof message)
            end(c);
    }
}

/* Everything that came makes as many broadcasts as there are lines in it. */
static void receive(channel *c)
{
    static char buffer[SERVER_BUFFER];
    ssize_t i, n = recv(c->fd, buffer, sizeof buffer, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        end(c);
        return;
    }
    for (i = 0; i < n; i++)
        if (buffer[i] == '\n')
            broadcast();
}

static void accept_all(int epoll, int listener)
{
    struct epoll_event event = { .events = EPOLLIN };
    int fd;

    while ((fd = server_accept(listener)) >= 0) {
        channel *c = malloc(sizeof *c);
        if (c == NULL || count == MOST)
            server_fail("channel");
        c->fd = fd;
        c->at = count;
        channels[count++] = c;
        event.data.ptr = c;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            server_fail("epoll_ctl");
    }
}

int main(void)
{
    struct epoll_event events[BATCH], event = { .events = EPOLLIN };
    int listener = server_listen(0, 0), i, n;
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        server_fail("epoll");
    server_announce(listener);
    for (;;) {
        n = epoll_wait(epoll, events, BATCH, -1);
        for (i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                accept_all(epoll, listener);
            else if (((channel *)events[i].data.ptr)->fd >= 0)
                receive(events[i].data.ptr);
        }
        free_ended();
    }
}
