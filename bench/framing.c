/*
 * framing.c - how fast asynchat finds the ends of frames.
 *
 *     framing [search|bytes] [SIZE]
 *
 * search (default 4 GiB): buffers of 64 KiB with lines of 1 KiB, once for
 * handle_frame and once for collect_incoming_data and found_terminator; in
 * GB/s. The transport hands out the same buffer again and again, with a copy
 * as recv(2) makes one; what that alone costs is printed first. No kernel.
 *
 * bytes (default 1 MiB): the same lines a byte at a time. Prints nothing but
 * how many lines there were: for callgrind, which counts instructions.
 */
#include <asynchat.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <poll.h>

enum { BUFFER = 65536, LINE = 1024 };

typedef struct channel {
    asynchat chat;
    uint64_t left, lines, sum;
    size_t at, most;
} channel;

static char buffer[BUFFER];

static ssize_t receive(asyncore_dispatcher *d, void *data, size_t size)
{
    channel *c = (channel *)d;
    size_t n = BUFFER - c->at;

    if (n > size)
        n = size;
    if (n > c->most)
        n = c->most;
    if (n > c->left)
        n = (size_t)c->left;
    if (n == 0) {
        errno = EAGAIN;
        return -1;
    }
    memcpy(data, buffer + c->at, n);
    c->at = (c->at + n) % BUFFER;
    c->left -= n;
    return (ssize_t)n;
}

static void frame(asynchat *chat, const void *data, size_t size)
{
    channel *c = (channel *)chat;

    (void)data;
    c->lines++;
    c->sum += size;
}

static void collect(asynchat *chat, const void *data, size_t size)
{
    (void)data;
    ((channel *)chat)->sum += size;
}

static void found(asynchat *chat)
{
    ((channel *)chat)->lines++;
}

static const asynchat_handlers frames = {
    .dispatcher = { .recv = receive },
    .handle_frame = frame,
};

static const asynchat_handlers pieces = {
    .dispatcher = { .recv = receive },
    .collect_incoming_data = collect,
    .found_terminator = found,
};

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t run(const asynchat_handlers *handlers, const char *delimiter,
                    uint64_t size, size_t most)
{
    channel c = { .left = size, .most = most };
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0 ||
        asynchat_init(&c.chat, handlers, ends[0], NULL) < 0 ||
        asynchat_set_terminator(&c.chat, delimiter, strlen(delimiter)) < 0) {
        perror("framing");
        exit(1);
    }
    while (c.left > 0)
        asyncore_readwrite(&c.chat.dispatcher, POLLIN);
    asyncore_close(&c.chat.dispatcher);
    close(ends[1]);
    return c.lines;
}

static void search(const char *what, const asynchat_handlers *handlers,
                   const char *delimiter, uint64_t size)
{
    double begun = seconds(), took;
    uint64_t lines = run(handlers, delimiter, size, BUFFER);

    took = seconds() - begun;
    printf("%-44s %6.1f GB/s  %llu lines\n", what, (double)size / took / 1e9,
           (unsigned long long)lines);
}

static void copy(uint64_t size)
{
    static char to[BUFFER];
    double begun = seconds();
    uint64_t i;

    for (i = 0; i < size; i += BUFFER) {
        memcpy(to, buffer, BUFFER);
        __asm__ volatile("" : : "r"(to) : "memory");
    }
    printf("%-44s %6.1f GB/s\n", "the copy alone",
           (double)size / (seconds() - begun) / 1e9);
}

int main(int argc, char **argv)
{
    bool bytes = argc > 1 && strcmp(argv[1], "bytes") == 0;
    uint64_t size = bytes ? 1 << 20 : UINT64_C(4) << 30;
    size_t i;

    if (argc > 2)
        size = strtoull(argv[2], NULL, 10);
    for (i = 0; i < BUFFER; i++)
        buffer[i] = (char)('a' + i % 26);
    for (i = LINE; i <= BUFFER; i += LINE)
        memcpy(buffer + i - 2, "\r\n", 2);
    if (bytes) {
        printf("%llu lines\n",
               (unsigned long long)run(&frames, "\r\n", size, 1));
        return 0;
    }
    copy(size);
    search("handle_frame, CR LF", &frames, "\r\n", size);
    search("collect and found, CR LF", &pieces, "\r\n", size);
    search("handle_frame, LF", &frames, "\n", size);
    return 0;
}
