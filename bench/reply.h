/*
 * reply.h - what all reply_* programs have in common: the load.
 *
 *     reply_LIBRARY bytes|lines ROUNDS [CONNECTIONS [SIZE]]
 *
 * CONNECTIONS (50) socket pairs, at one end of each a server's connection of
 * the library, at the other the load. In a round the load sends a message of
 * SIZE (64) bytes on every one, the server has a turn, or as many as it needs,
 * and the load takes and compares what has come back.
 *
 *     bytes   whatever comes is sent back, by the library's buffered output,
 *             which would keep what the socket does not take
 *     lines   the message is a line, ended by CR LF; the server takes it apart,
 *             is given the line without its end, and sends it with one
 *
 * The server's turns are the calls of serve(), and callgrind counts in there
 * only (--toggle-collect=serve): the library, the handlers and the C library's
 * entries to the system calls, but nothing of the load.
 */
#ifndef BENCH_REPLY_H
#define BENCH_REPLY_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LARGEST = 16384 };

static int connections = 50;
static size_t message_size = 64;
static bool lines;
static long messages; /* that the server has had */

/* One turn of the server, which does not wait. In the library's program. */
__attribute__((noinline)) void serve(void);

_Noreturn static void die(const char *what)
{
    perror(what);
    exit(1);
}

_Noreturn static void usage(const char *program)
{
    fprintf(stderr, "usage: %s bytes|lines ROUNDS [CONNECTIONS [SIZE]]\n",
            program);
    exit(2);
}

static long parse_arguments(int argc, char **argv)
{
    if (argc < 3)
        usage(argv[0]);
    lines = strcmp(argv[1], "lines") == 0;
    if (!lines && strcmp(argv[1], "bytes") != 0)
        usage(argv[0]);
    if (argc > 3)
        connections = atoi(argv[3]);
    if (argc > 4)
        message_size = (size_t)atol(argv[4]);
    if (connections < 1 || message_size < 3 || message_size > LARGEST)
        usage(argv[0]);
    return atol(argv[2]);
}

/* The server's end; the load's is *load. */
static int open_connection(int *load)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
        die("socketpair");
    *load = ends[0];
    return ends[1];
}

/* A server may need another turn to send. */
static void check_reply(int fd, const char *message)
{
    static char reply[LARGEST];
    ssize_t n;

    while ((n = recv(fd, reply, sizeof reply, 0)) < 0 && errno == EAGAIN)
        serve();
    if (n != (ssize_t)message_size || memcmp(reply, message, message_size) != 0)
        die("reply");
}

static void run(const int *loads, long rounds)
{
    static char message[LARGEST];
    long round;
    int i;

    memset(message, 'x', message_size);
    memcpy(message + message_size - 2, "\r\n", 2);
    for (round = 0; round < rounds; round++) {
        long before = messages;
        for (i = 0; i < connections; i++)
            if (send(loads[i], message, message_size, 0) !=
                (ssize_t)message_size)
                die("send");
        while (messages < before + connections)
            serve();
        for (i = 0; i < connections; i++)
            check_reply(loads[i], message);
    }
}

#endif
