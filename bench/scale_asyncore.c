/*
 * scale_asyncore.c - a million plain dispatchers, dispatchers with_send or
 * asynchat channels: see scale.h.
 */
#include "scale.h"

#include <asynchat.h>

static void echo_read(asyncore_dispatcher *d)
{
    char data[4096];
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

static void add_plain(int i, int fd)
{
    asyncore_dispatcher *d = malloc(sizeof *d);

    (void)i;
    if (d == NULL || asyncore_dispatcher_init(d, &echo, fd, NULL) < 0)
        die("asyncore_dispatcher_init");
}

static void add_with_send(int i, int fd)
{
    asyncore_dispatcher_with_send *d = malloc(sizeof *d);

    (void)i;
    if (d == NULL || asyncore_dispatcher_with_send_init(d, &echo, fd, NULL) < 0)
        die("asyncore_dispatcher_with_send_init");
}

static void add_asynchat(int i, int fd)
{
    asynchat *chat = malloc(sizeof *chat);

    (void)i;
    if (chat == NULL || asynchat_init(chat, &line_echo, fd, NULL) < 0 ||
        asynchat_set_terminator(chat, "\r\n", 2) < 0)
        die("asynchat_init");
}

static void turn_once(void)
{
    if (asyncore_poll(NULL, 0) < 0)
        die("asyncore_poll");
}

static void toggle(int i)
{
    asyncore_dispatcher *d = asyncore_map_get(NULL, KERNEL_FIRST + i);

    asyncore_set_readable(d, false);
    asyncore_set_readable(d, true);
}

static void set_timeout(int i)
{
    asyncore_dispatcher *d = asyncore_map_get(NULL, KERNEL_FIRST + i);

    if (asyncore_set_timeout(d, IDLE_MS) < 0)
        die("asyncore_set_timeout");
}

int main(int argc, char **argv)
{
    static const library kinds[] = {
        { "dispatcher", add_plain, turn_once, toggle, set_timeout },
        { "with_send", add_with_send, turn_once, toggle, set_timeout },
        { "asynchat", add_asynchat, turn_once, toggle, set_timeout },
        { NULL, NULL, NULL, NULL, NULL },
    };

    run(argc, argv, kinds);
    return 0;
}
