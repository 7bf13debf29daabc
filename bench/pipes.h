/*
 * pipes.h - what all pipes_* programs have in common: the ring.
 *
 *     pipes_LIBRARY MODE EVENTS [PIPES [ACTIVE]]
 *
 * PIPES (1000) socket pairs, of which ACTIVE (100) have a byte in them. An
 * event reads the byte and writes it to the next pair of the ring, and after
 * EVENTS events the program ends. That is libevent's old benchmark, kept going
 * for ever: every turn of a loop finds ACTIVE sockets ready.
 *
 * The modes are what a server does besides, at every event:
 *
 *     plain     nothing
 *     toggle    stops watching the socket, and starts again
 *     timeout   resets an idle timeout of 60 s, with the call that the library
 *               has for it
 *     lazy      the same by hand: notes the time; the timer looks at it when
 *               it goes off, and sleeps on for what is left
 *
 * A program prints nothing: instructions are counted by callgrind, as the
 * difference of two runs with different EVENTS, so that setting up and tearing
 * down cancel out. What is counted is all that runs in the process between two
 * events: the library, the handler, and the C library's entries to the system
 * calls, of which everybody makes two an event, recv(2) and send(2), and one a
 * turn.
 */
#ifndef BENCH_PIPES_H
#define BENCH_PIPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IDLE_MS = 60000 };

/* What a program keeps for a pair. */
typedef struct pipe_end {
    int fd;   /* it is read here */
    int next; /* its byte goes there */
} pipe_end;

static int pipes = 1000, active = 100;
static long events_left;
static const char *mode;

_Noreturn static void die(const char *what)
{
    perror(what);
    exit(1);
}

static inline bool is_mode(const char *name)
{
    return strcmp(mode, name) == 0;
}

_Noreturn static void usage(const char *program)
{
    fprintf(stderr,
            "usage: %s plain|toggle|timeout|lazy EVENTS [PIPES [ACTIVE]]\n",
            program);
    exit(2);
}

static char *ring;
static size_t ring_stride;

static pipe_end *end_at(int i)
{
    return (pipe_end *)(void *)(ring + (size_t)i * ring_stride);
}

/* The ring, as an array of things of size bytes, zero but for a pipe_end at the
   offset. */
static void *open_pipes(int argc, char **argv, size_t size, size_t offset)
{
    struct rlimit limit;
    char *all;
    int i;

    if (argc < 3)
        usage(argv[0]);
    mode = argv[1];
    events_left = atol(argv[2]);
    if (argc > 3)
        pipes = atoi(argv[3]);
    if (argc > 4)
        active = atoi(argv[4]);
    if (events_left < 1 || active < 1 || pipes < active)
        usage(argv[0]);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    all = calloc((size_t)pipes, size);
    if (all == NULL)
        die("calloc");
    ring = all + offset;
    ring_stride = size;
    for (i = 0; i < pipes; i++) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
            die("socketpair");
        end_at(i)->fd = ends[0];
        end_at((i + pipes - 1) % pipes)->next = ends[1];
    }
    return all;
}

/* Has the first bytes written, evenly over the ring. */
static void start_pipes(void)
{
    int i;

    for (i = 0; i < active; i++)
        if (send(end_at((int)((long)i * pipes / active))->next, "x", 1, 0) != 1)
            die("send");
}

/* The second half of an event. True: it was the last. */
static inline bool pass_on(const pipe_end *end, char byte)
{
    if (send(end->next, &byte, 1, MSG_NOSIGNAL) != 1)
        die("send");
    return --events_left == 0;
}

/* The first half, where the library leaves it to its user. */
static inline char take(const pipe_end *end)
{
    char byte;

    if (recv(end->fd, &byte, 1, 0) != 1)
        die("recv");
    return byte;
}

#endif
