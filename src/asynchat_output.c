/*
 * asynchat's output: pieces of several kinds become writes.
 *
 * What is pushed while a channel is given input goes into the map's cork,
 * which is sent in one call when the input is used up. The cork has one owner
 * at a time, from the beginning of its input to the end, who is d->corking and
 * in the map for as long: another channel, as in a nested asyncore_poll, does
 * without. For the owner, what is in the cork comes before its queue, which is
 * empty for as long as it is not.
 */
#include "asynchat_impl.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static asyncore__output output_of(asynchat *chat)
{
    asyncore__output output = { &chat->output, chat->limit };

    return output;
}

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

    /* What failed runs handlers: the cork is out of their reach. */
    map->cork = NULL;
    d->corking = 0;
    n = asyncore__sent(d, n);
    if (n >= 0)
        n = asyncore__output_send_rest(d, output_of(asynchat__self(d)), c->data,
                                       c->size, (size_t)n);
    if (map->cork != NULL)
        free(map->cork);
    map->cork = c;
    c->size = 0;
    d = asyncore__deref(&ref);
    c->corked = d != NULL;
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
    struct asyncore__cork *c = map->cork = malloc(sizeof *c);

    if (c != NULL) {
        c->corked = false;
        c->size = 0;
    }
    return c;
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
    d->corking = 0;
    c->corked = false;
}

/* ---- Pushing ------------------------------------------------------------ */

/* Whether anything can be pushed; if not, errno says why. */
static bool is_open(const asyncore_dispatcher *d)
{
    if (d->fd >= 0 && !d->shut && (d->connected || d->connecting))
        return true;
    errno = d->fd < 0 ? EBADF : d->shut ? ESHUTDOWN : ENOTCONN;
    return false;
}

ssize_t asynchat__send(asyncore_dispatcher *d, const void *data, size_t size)
{
    if (cork(d, data, size))
        return (ssize_t)size;
    if (uncork(d) < 0 || !is_open(d))
        return -1;
    return asyncore__output_send(d, output_of(asynchat__self(d)), data, size);
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

    asyncore__output_flush(d, output_of(asynchat__self(d)));
    d = asyncore__deref(&ref);
    /* The peer had finished before; now so have we. */
    if (d != NULL && d->draining && d->eof && asynchat__self(d)->output == NULL)
        asyncore__end(d, 0);
}

int asynchat__shutdown(asyncore_dispatcher *d)
{
    if (uncork(d) < 0)
        return -1;
    return asyncore__output_shutdown(d, output_of(asynchat__self(d)));
}

void asynchat__drop_output(asynchat *chat)
{
    asyncore_dispatcher *d = &chat->dispatcher;

    if (d->corking) {
        d->corking = 0;
        d->map->cork->corked = false;
        d->map->cork->size = 0;
    }
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

    if (!is_open(d) || uncork(d) < 0 || !is_open(d))
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
    asyncore__output_queued(d, output_of(chat));
    return 0;
}

/* ---- Sources ------------------------------------------------------------ */

/* Adds a source made of memory of its own; release frees it, here too where it
   cannot be added. source may be NULL, for want of memory. */
static int push_source(asynchat *chat, asyncore__source *source,
                       void (*release)(void *source))
{
    asyncore_dispatcher *d = &chat->dispatcher;

    if (!is_open(d) || uncork(d) < 0 || !is_open(d)) {
        int error = errno;
        release(source);
        errno = error;
        return -1;
    }
    if (asyncore__outqueue_append_source(&chat->output, source, release) < 0) {
        release(source);
        return asyncore__output_lost(d, false);
    }
    asyncore__output_queued(d, output_of(chat));
    return 0;
}

/* Sends what a source has made; what is left goes in front of it. */
static asyncore__emitted send_made(asyncore_dispatcher *d,
                                   asyncore__outqueue **queue, const char *data,
                                   size_t size)
{
    ssize_t n = asyncore__send_now(d, data, size);

    if (n < 0)
        return ASYNCORE__EMIT_FAILED;
    if ((size_t)n == size)
        return ASYNCORE__EMITTED;
    if (asyncore__outqueue_prepend(queue, data + n, size - (size_t)n) < 0) {
        (void)asyncore__output_lost(d, true);
        return ASYNCORE__EMIT_FAILED;
    }
    return ASYNCORE__BLOCKED;
}

static asyncore__emitted emit_failed(asyncore_dispatcher *d, int error)
{
    asyncore__fail(d, error);
    return ASYNCORE__EMIT_FAILED;
}

/* The source at the front is broken: a class that survives it goes on with
   what is behind. */
static asyncore__emitted give_up(asyncore_dispatcher *d,
                                 asyncore__outqueue **queue, int error)
{
    asyncore__ref ref = asyncore__ref_to(d);

    asyncore__outqueue_drop_source(queue);
    if (asyncore__deref(&ref) == NULL)
        return ASYNCORE__EMIT_FAILED;
    return emit_failed(d, error);
}

typedef struct file_source {
    asyncore__source source;
    int fd;
    int64_t offset, left;
} file_source;

static void release_file(void *source)
{
    file_source *file = source;

    asyncore__fd_close(file->fd);
    free(file);
}

static asyncore__emitted emit_by_reading(file_source *file,
                                         asyncore_dispatcher *d,
                                         asyncore__outqueue **queue)
{
    asyncore_map *map = d->map;
    char *buffer = asynchat__take_buffer(map);
    asyncore__emitted emitted;
    ssize_t n;

    if (buffer == NULL)
        return emit_failed(d, ENOMEM);
    n = asyncore__file_pread(file->fd, buffer,
                             file->left < ASYNCHAT__BUFFER_SIZE
                                 ? (size_t)file->left
                                 : ASYNCHAT__BUFFER_SIZE,
                             file->offset);
    if (n > 0) {
        file->offset += n;
        file->left -= n;
        emitted = send_made(d, queue, buffer, (size_t)n);
    } else {
        emitted = give_up(d, queue, n == 0 ? EIO : errno);
    }
    asynchat__give_buffer(map, buffer);
    return emitted;
}

/* Not for these two descriptors, or the file's: reading it tells. */
static bool concerns_the_file(int error)
{
    switch (error) {
    case EINVAL:
    case ENOSYS:
    case EOPNOTSUPP:
    case EBADF:
    case EIO:
    case EOVERFLOW:
    case ESPIPE: return true;
    default: return false;
    }
}

static asyncore__emitted emit_file(asyncore__source *source,
                                   asyncore_dispatcher *d,
                                   asyncore__outqueue **queue)
{
    file_source *file = (file_source *)source;
    size_t most = ASYNCORE__SEND_BUDGET;
    ssize_t n;

    if (file->left == 0)
        return ASYNCORE__EXHAUSTED;
    if (d->handlers->send != NULL)
        return emit_by_reading(file, d, queue);
    if (file->left < (int64_t)most)
        most = (size_t)file->left;
    n = asyncore__sock_sendfile(d->fd, file->fd, file->offset, most);
    if (n < 0 && concerns_the_file(errno))
        return emit_by_reading(file, d, queue);
    if (n == 0)
        return give_up(d, queue, EIO);
    n = asyncore__sent(d, n);
    if (n < 0)
        return ASYNCORE__EMIT_FAILED;
    file->offset += n;
    file->left -= n;
    return (size_t)n == most ? ASYNCORE__EMITTED : ASYNCORE__BLOCKED;
}

int asynchat_push_file(asynchat *chat, int fd, int64_t offset, int64_t size)
{
    file_source *file = malloc(sizeof *file);

    if (file == NULL) {
        asyncore__fd_close(fd);
        return is_open(&chat->dispatcher)
                   ? asyncore__output_lost(&chat->dispatcher, false)
                   : -1;
    }
    file->source.emit = emit_file;
    file->fd = fd;
    file->offset = offset;
    file->left = size > 0 ? size : 0;
    return push_source(chat, &file->source, release_file);
}

typedef struct producer_source {
    asyncore__source source;
    asynchat_producer *producer;
    bool waiting; /* it said EAGAIN */
} producer_source;

static void free_producer(asynchat_producer *producer)
{
    if (producer->free != NULL)
        producer->free(producer);
}

static void release_producer(void *source)
{
    producer_source *p = source;
    asynchat_producer *producer = p->producer;

    free(p);
    free_producer(producer);
}

static asyncore__emitted emit_produced(asyncore__source *source,
                                       asyncore_dispatcher *d,
                                       asyncore__outqueue **queue)
{
    producer_source *p = (producer_source *)source;
    asyncore_map *map = d->map;
    asyncore__emitted emitted;
    char *buffer;
    ssize_t n;

    if (p->waiting)
        return ASYNCORE__WAITING;
    buffer = asynchat__take_buffer(map);
    if (buffer == NULL)
        return emit_failed(d, ENOMEM);
    n = p->producer->more(p->producer, buffer, ASYNCHAT__BUFFER_SIZE);
    if (n > 0) {
        emitted = send_made(d, queue, buffer, (size_t)n);
    } else if (n == 0) {
        emitted = ASYNCORE__EXHAUSTED;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        p->waiting = true;
        emitted = ASYNCORE__WAITING;
    } else {
        emitted = give_up(d, queue, errno);
    }
    asynchat__give_buffer(map, buffer);
    return emitted;
}

int asynchat_push_with_producer(asynchat *chat, asynchat_producer *producer)
{
    producer_source *p = malloc(sizeof *p);

    if (p == NULL) {
        free_producer(producer);
        return is_open(&chat->dispatcher)
                   ? asyncore__output_lost(&chat->dispatcher, false)
                   : -1;
    }
    p->source.emit = emit_produced;
    p->producer = producer;
    p->waiting = false;
    return push_source(chat, &p->source, release_producer);
}

void asynchat_producer_resume(asynchat *chat)
{
    asyncore__source *source = asyncore__outqueue_source(chat->output);

    if (source != NULL && source->emit == emit_produced) {
        ((producer_source *)source)->waiting = false;
        asyncore__output_queued(&chat->dispatcher, output_of(chat));
    }
}
