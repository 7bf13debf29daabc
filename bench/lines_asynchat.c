/*
 * lines_asynchat.c - a server that answers each line with the same line, on
 * asynchat. A connection that does not take its answers is not read from
 * until half of what waits has gone.
 */
#include "server.h"

#include <asynchat.h>
#include <stdlib.h>
#include <unistd.h>

static void got_line(asynchat *chat, const void *line, size_t size)
{
    asyncore_dispatcher *d = &chat->dispatcher;

    if (asynchat_push(chat, line, size) < 0 ||
        asynchat_push(chat, "\r\n", 2) < 0)
        return;
    if (asyncore_queued(d) >= chat->limit)
        asyncore_set_readable(d, false);
}

static void drained(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, true);
}

static void chat_free(asyncore_dispatcher *d)
{
    free(d);
}

static const asynchat_handlers lines = {
    .dispatcher = {
        .name = "lines",
        .handle_drain = drained,
        .handle_free = chat_free,
    },
    .handle_frame = got_line,
};

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    asynchat *chat = malloc(sizeof *chat);

    (void)peer;
    if (chat == NULL) {
        close(fd);
        return;
    }
    if (asynchat_init(chat, &lines, fd, d->map) < 0) {
        free(chat);
        return;
    }
    asynchat_set_terminator(chat, "\r\n", 2);
}

static const asyncore_handlers server = {
    .name = "server",
    .handle_accepted = accepted,
};

int main(void)
{
    int fd = server_listen(0, 0);
    asyncore_dispatcher d;

    if (asyncore_dispatcher_init(&d, &server, fd, NULL) < 0)
        server_fail("asyncore");
    server_announce(fd);
    return asyncore_loop(NULL, -1, -1) < 0;
}
