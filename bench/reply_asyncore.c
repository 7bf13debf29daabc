/*
 * reply_asyncore.c - the echo with dispatcher_with_send, and by lines with
 * asynchat: see reply.h.
 */
#include "reply.h"

#include <asynchat.h>

static void echo_read(asyncore_dispatcher *d)
{
    char data[LARGEST];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0) {
        messages++;
        asyncore_send(d, data, (size_t)n);
    }
}

static void echo_line(asynchat *chat, const void *line, size_t size)
{
    messages++;
    asynchat_push(chat, line, size);
    asynchat_push(chat, "\r\n", 2);
}

static void echo_free(asyncore_dispatcher *d)
{
    free(d);
}

static const asyncore_handlers echo = {
    .name = "echo",
    .handle_read = echo_read,
    .handle_free = echo_free,
};

static const asynchat_handlers line_echo = {
    .dispatcher = { .name = "line echo", .handle_free = echo_free },
    .handle_frame = echo_line,
};

void serve(void)
{
    if (asyncore_poll(NULL, 0) < 0)
        die("asyncore_poll");
}

static void add_bytes(int fd)
{
    asyncore_dispatcher_with_send *d = malloc(sizeof *d);

    if (d == NULL || asyncore_dispatcher_with_send_init(d, &echo, fd, NULL) < 0)
        die("asyncore_dispatcher_with_send_init");
}

static void add_lines(int fd)
{
    asynchat *chat = malloc(sizeof *chat);

    if (chat == NULL || asynchat_init(chat, &line_echo, fd, NULL) < 0 ||
        asynchat_set_terminator(chat, "\r\n", 2) < 0)
        die("asynchat_init");
}

int main(int argc, char **argv)
{
    long rounds = parse_arguments(argc, argv);
    int *loads = calloc((size_t)connections, sizeof *loads);
    int i;

    if (loads == NULL)
        die("calloc");
    for (i = 0; i < connections; i++) {
        if (lines)
            add_lines(open_connection(&loads[i]));
        else
            add_bytes(open_connection(&loads[i]));
    }
    run(loads, rounds);
    asyncore_map_free(asyncore_socket_map());
    return 0;
}
