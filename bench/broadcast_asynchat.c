/*
 * broadcast_asynchat.c - a server that answers each line, from whomever, with
 * a message to everybody, on asynchat: the channels share one copy
 * (asynchat_push_shared). Who has a megabyte waiting is disconnected.
 */
#include "server.h"

#include <asynchat.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 65536, LIMIT = 1 << 20 };

typedef struct channel {
    asynchat chat;
    size_t at; /* in channels */
} channel;

static channel *channels[MOST];
static size_t count;

static void broadcast(void)
{
    static char data[SERVER_BROADCAST];
    asynchat_shared *message;
    size_t i;

    memset(data, 'x', sizeof data);
    message = asynchat_shared_new(data, sizeof data);
    if (message == NULL)
        server_fail("asynchat_shared_new");
    for (i = count; i-- > 0;) {
        asynchat *chat = &channels[i]->chat;
        if (asyncore_queued(&chat->dispatcher) >= LIMIT)
            asyncore_close(&chat->dispatcher);
        else
            asynchat_push_shared(chat, message);
    }
    asynchat_shared_free(message);
}

static void got_line(asynchat *chat, const void *line, size_t size)
{
    (void)chat;
    (void)line;
    (void)size;
    broadcast();
}

static void channel_free(asyncore_dispatcher *d)
{
    channel *c = (channel *)d;

    channels[c->at] = channels[--count];
    channels[c->at]->at = c->at;
    free(c);
}

static const asynchat_handlers broadcasting = {
    .dispatcher = {
        .name = "broadcast",
        .handle_free = channel_free,
    },
    .handle_frame = got_line,
};

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    channel *c = malloc(sizeof *c);

    (void)peer;
    if (c == NULL || count == MOST)
        server_fail("channel");
    if (asynchat_init(&c->chat, &broadcasting, fd, d->map) < 0) {
        free(c);
        return;
    }
    c->at = count;
    channels[count++] = c;
    asynchat_set_terminator(&c->chat, "\n", 1);
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
