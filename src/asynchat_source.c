/*
 * What asynchat sends and does not hold: files, and what producers make. Each
 * is a source in the queue, see output.h, and asked for bytes when those before
 * it are gone.
 */
#include "asynchat_impl.h"

#include <errno.h>
#include <stdlib.h>

/* Adds a source made of memory of its own; release frees it, here too where it
   cannot be added. source may be NULL, for want of memory. */
static int push_source(asynchat *chat, asyncore__source *source,
                       void (*release)(void *source))
{
    asyncore_dispatcher *d = &chat->dispatcher;

    if (asynchat__begin_push(d) < 0) {
        int error = errno;
        release(source);
        errno = error;
        return -1;
    }
    if (asyncore__outqueue_append_source(&chat->output, source, release) < 0) {
        release(source);
        return asyncore__output_lost(d, false);
    }
    asyncore__output_queued(d, asynchat__output_of(chat));
    return 0;
}

/* Sends what a source has made; what is left goes in front of it, all of it
   after an error, which may be survived. */
static asyncore__emitted send_made(asyncore_dispatcher *d,
                                   asyncore__outqueue **queue, const char *data,
                                   size_t size)
{
    ssize_t n = asyncore__give(d, data, size);
    int error = errno;
    size_t sent = n < 0 ? 0 : (size_t)n;

    if (n >= 0)
        asyncore__gave(d, n);
    if (sent == size)
        return ASYNCORE__EMITTED;
    if (asyncore__outqueue_prepend(queue, data + sent, size - sent) < 0) {
        (void)asyncore__output_lost(d, true);
        return ASYNCORE__EMIT_FAILED;
    }
    return n < 0 && asyncore__send_failed(d, error) < 0 ? ASYNCORE__EMIT_FAILED
                                                        : ASYNCORE__BLOCKED;
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
        return asynchat__is_open(&chat->dispatcher)
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
        return asynchat__is_open(&chat->dispatcher)
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
        asyncore__output_queued(&chat->dispatcher, asynchat__output_of(chat));
    }
}
