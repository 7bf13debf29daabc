/*
 * timeout.c - what a timeout costs a message, and a timer its setting.
 *
 *     timeout none|silence|again|lines|late|timers COUNT ROUNDS
 *
 * So many connections, two of them at the ends of each pair of sockets, that
 * send one message of 64 bytes to and fro until it has been received COUNT *
 * ROUNDS / 2 times. none: dispatchers without a timeout; silence: with one of
 * 60 s; again: with one that the handler sets anew with every message. lines:
 * an asynchat, a line each, without a time in which to be complete; late: with
 * one of 60 s.
 *
 * timers: so many timers, each set to a random time within a second; then
 * COUNT * ROUNDS times one, picked at random, is set to another; then all run.
 *
 * Prints nothing: it is for callgrind and strace. The difference between two
 * numbers of rounds is free of what it takes to begin.
 */
#include <asynchat.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 64, TIMEOUT = 60000 };

typedef union connection {
    asyncore_dispatcher d;
    asynchat chat;
} connection;

static size_t echoed;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void echo(asyncore_dispatcher *d)
{
    char data[SIZE];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0 && asyncore_send(d, data, (size_t)n) == n)
        echoed++;
}

static void echo_again(asyncore_dispatcher *d)
{
    char data[SIZE];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    asyncore_set_timeout(d, TIMEOUT);
    if (n > 0 && asyncore_send(d, data, (size_t)n) == n)
        echoed++;
}

static void echo_line(asynchat *chat, const void *data, size_t size)
{
    char line[SIZE];

    memcpy(line, data, size);
    line[size] = '\n';
    asynchat_push(chat, line, size + 1);
    echoed++;
}

static const asyncore_handlers plain = { .handle_read = echo };
static const asyncore_handlers again = { .handle_read = echo_again };
static const asynchat_handlers lines = { .handle_frame = echo_line };

static void begin(connection *c, const char *what, int fd)
{
    if (strcmp(what, "lines") == 0 || strcmp(what, "late") == 0) {
        if (asynchat_init(&c->chat, &lines, fd, NULL) < 0 ||
            asynchat_set_terminator(&c->chat, "\n", 1) < 0 ||
            (strcmp(what, "late") == 0 &&
             asynchat_set_frame_timeout(&c->chat, TIMEOUT) < 0))
            fail("asynchat");
    } else if (asyncore_dispatcher_init(
                   &c->d, strcmp(what, "again") == 0 ? &again : &plain, fd,
                   NULL) < 0 ||
               (strcmp(what, "none") != 0 &&
                asyncore_set_timeout(&c->d, TIMEOUT) < 0)) {
        fail("dispatcher");
    }
}

static void messages(const char *what, size_t count, size_t rounds)
{
    connection *all = calloc(count, sizeof *all);
    char message[SIZE];
    int ends[2];
    size_t i;

    if (all == NULL)
        fail("calloc");
    memset(message, 'x', sizeof message);
    message[SIZE - 1] = '\n';
    for (i = 0; i + 1 < count; i += 2) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
            fail("socketpair");
        begin(&all[i], what, ends[0]);
        begin(&all[i + 1], what, ends[1]);
        if (write(ends[0], message, SIZE) != SIZE)
            fail("write");
    }
    while (echoed < count / 2 * rounds)
        if (asyncore_poll(NULL, -1) < 0)
            fail("poll");
    asyncore_close_all(NULL);
    free(all);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void timers(size_t count, size_t rounds)
{
    asyncore_timer *all = calloc(count, sizeof *all);
    uint64_t random = 1;
    size_t i;

    if (all == NULL)
        fail("calloc");
    for (i = 0; i < count + count * rounds; i++) {
        random = random * UINT64_C(6364136223846793005) + 1;
        asyncore_call_later(&all[i < count ? i : random % count], NULL,
                            (int64_t)(random >> 32) % 1000, nothing, NULL);
    }
    if (asyncore_loop(NULL, -1, -1) < 0)
        fail("loop");
    free(all);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    if (strcmp(argv[1], "timers") == 0)
        timers(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    else
        messages(argv[1], strtoull(argv[2], NULL, 10),
                 strtoull(argv[3], NULL, 10));
    return 0;
}
