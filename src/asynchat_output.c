/*
 * asynchat's output: pieces of several kinds become writes.
 *
 * What is pushed while a channel is given input goes into the map's cork,
 * which is sent in one call when the input is used up. One channel has the cork
 * at a time, from the beginning of its input to the end. It is d->corking, and
 * in the map, for as long; another, as in a nested asyncore_poll, does without.
 * What is in the cork comes before the channel's queue, which is empty for as
 * long as it is not.
 */
#include "asynchat_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- The cork ----------------------------------------------------------- */

/* Whether data went into the cork. */
static bool cork(asyncore_dispatcher *d, const void *data, size_t size)
{
    struct asyncore__cork *c;

    if (!d->corking || d->shut || asynchat__self(d)->output != NULL)
        return false;
    c = d->map->cork;
    if (size > sizeof c->data - c->size)
        return false;
    if (size > 0)
        memcpy(c->data + c->size, data, size);
    c->size += size;
    return true;
}

/* Of what is in c, the map's, n bytes are sent, or -1, errno. */
ASYNCORE__COLD static int send_rest(asyncore_dispatcher *d,
                                    struct asyncore__cork *c, ssize_t n)
{
    asyncore_map *map = d->map;
    asyncore__ref ref = asyncore__ref_to(d);
    int error = errno;
    size_t sent = n < 0 ? 0 : (size_t)n;

    /* What failed runs handlers: the cork is out of their reach. */
    map->cork = NULL;
    asyncore__map_uncork(d);
    if (n >= 0)
        asyncore__gave(d, n);
    /* Its pushes have succeeded: who survives an error has it queued. */
    if (n >= 0 || !asyncore__is_disconnect(error))
        (void)asyncore__output_send_rest(
            d, asynchat__output_of(asynchat__self(d)), c->data, c->size, sent);
    if (n < 0 && asyncore__is_there(&ref))
        (void)asyncore__send_failed(d, error);
    free(map->cork);
    map->cork = c;
    c->size = 0;
    d = asyncore__deref(&ref);
    map->corked = d != NULL;
    if (d == NULL)
        return -1;
    d->corking = 1;
    return 0;
}

/* Sends what is in c. -1, routed. */
static int send_cork(asyncore_dispatcher *d, struct asyncore__cork *c)
{
    bool full = c->size >= asynchat__self(d)->limit;
    ssize_t n = 0;

    if (d->connected)
        n = asyncore__give(d, c->data, c->size);
    if ((size_t)n == c->size) {
        c->size = 0;
        asyncore__gave(d, n);
    } else if (send_rest(d, c, n) < 0) {
        return -1;
    }
    /* A handler that saw this with asyncore_queued waits for handle_drain. */
    if (full)
        asyncore__output_full(d);
    return 0;
}

static int uncork(asyncore_dispatcher *d)
{
    return d->corking && d->map->cork->size > 0 ? send_cork(d, d->map->cork)
                                                : 0;
}

ASYNCORE__COLD struct asyncore__cork *asynchat__new_cork(asyncore_map *map)
{
    return map->cork = malloc(sizeof *map->cork);
}

void asynchat__end_input(asyncore_dispatcher *d)
{
    struct asyncore__cork *c;

    d->serving = 0;
    if (!d->corking)
        return;
    c = d->map->cork;
    if (c->size > 0 && send_cork(d, c) < 0)
        return;
    asyncore__map_uncork(d);
}

/* ---- Pushing ------------------------------------------------------------ */

bool asynchat__is_open(const asyncore_dispatcher *d)
{
    if (d->fd >= 0 && !d->shut && (d->connected || d->connecting))
        return true;
    errno = d->fd < 0 ? EBADF : d->shut ? ESHUTDOWN : ENOTCONN;
    return false;
}

int asynchat__begin_push(asyncore_dispatcher *d)
{
    return asynchat__is_open(d) && uncork(d) == 0 && asynchat__is_open(d) ? 0
                                                                          : -1;
}

ssize_t asynchat__send(asyncore_dispatcher *d, const void *data, size_t size)
{
    if (cork(d, data, size))
        return (ssize_t)size;
    if (uncork(d) < 0 || !asynchat__is_open(d))
        return -1;
    return asyncore__output_send(d, asynchat__output_of(asynchat__self(d)),
                                 data, size);
}

int asynchat_push(asynchat *chat, const void *data, size_t size)
{
    if (cork(&chat->dispatcher, data, size))
        return 0;
    return asyncore_send(&chat->dispatcher, data, size) < 0 ? -1 : 0;
}

size_t asynchat__queued(const asyncore_dispatcher *d)
{
    const asynchat *chat = (const asynchat *)d;
    size_t corked = d->corking ? d->map->cork->size : 0;

    return asyncore__outqueue_size(chat->output) + corked;
}

void asynchat__write(asyncore_dispatcher *d)
{
    asyncore__ref ref = asyncore__ref_to(d);

    asyncore__output_flush(d, asynchat__output_of(asynchat__self(d)));
    d = asyncore__deref(&ref);
    /* The peer had finished before; now so have we. */
    if (d != NULL && d->draining && d->eof && asynchat__self(d)->output == NULL)
        asyncore__end(d, 0);
}

int asynchat__shutdown(asyncore_dispatcher *d)
{
    if (uncork(d) < 0)
        return -1;
    return asyncore__output_shutdown(d, asynchat__output_of(asynchat__self(d)));
}

void asynchat__drop_output(asynchat *chat)
{
    asyncore__map_uncork(&chat->dispatcher);
    asyncore__outqueue_clear(&chat->output);
}

/* ---- Shared bytes ------------------------------------------------------- */

struct asynchat_shared {
    size_t references;
    size_t size;
    char data[];
};

asynchat_shared *asynchat_shared_new(const void *data, size_t size)
{
    asynchat_shared *shared = NULL;

    if (size <= SIZE_MAX - sizeof *shared)
        shared = malloc(sizeof *shared + size);
    if (shared == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    shared->references = 1;
    shared->size = size;
    if (size > 0)
        memcpy(shared->data, data, size);
    return shared;
}

void asynchat_shared_free(asynchat_shared *shared)
{
    if (shared != NULL && --shared->references == 0)
        free(shared);
}

static void release_shared(void *owner)
{
    asynchat_shared_free(owner);
}

int asynchat_push_shared(asynchat *chat, asynchat_shared *shared)
{
    asyncore_dispatcher *d = &chat->dispatcher;
    ssize_t n = 0;

    if (asynchat__begin_push(d) < 0)
        return -1;
    if (chat->output == NULL && d->connected) {
        n = asyncore__send_now(d, shared->data, shared->size);
        if (n < 0)
            return -1;
    }
    if ((size_t)n == shared->size)
        return 0;
    if (asyncore__outqueue_append_borrowed(&chat->output, shared->data + n,
                                           shared->size - (size_t)n,
                                           release_shared, shared) < 0)
        return asyncore__output_lost(d, n > 0);
    shared->references++;
    asyncore__output_queued(d, asynchat__output_of(chat));
    return 0;
}
