/*
 * A queue of what waits to be sent: bytes copied in, bytes borrowed, and
 * sources that make bytes when there is room for them.
 *
 * Appending and consuming are linear in the bytes; a drained queue holds
 * nothing. Knows memory only: no descriptors, no dispatchers, and of a source
 * no more than how to free it.
 */
#ifndef ASYNCORE__OUTQUEUE_H
#define ASYNCORE__OUTQUEUE_H

#include <stddef.h>
#include <sys/uio.h>

/* NULL is the empty queue: it has no allocation of its own. */
typedef struct asyncore__outqueue asyncore__outqueue;

/* The bytes in it, those that sources will make not counted. */
size_t asyncore__outqueue_size(const asyncore__outqueue *queue);

/* Copies data to the end, or to the front. 0, or -1 and ENOMEM, the queue as
   it was. */
int asyncore__outqueue_append(asyncore__outqueue **queue, const void *data,
                              size_t size);
int asyncore__outqueue_prepend(asyncore__outqueue **queue, const void *data,
                               size_t size);

/* Adds size > 0 bytes at the end that stay where they are until
   release(owner). -1 and ENOMEM: owner is not released. */
int asyncore__outqueue_append_borrowed(asyncore__outqueue **queue,
                                       const void *data, size_t size,
                                       void (*release)(void *owner),
                                       void *owner);

/* Adds a source, on the same terms. */
int asyncore__outqueue_append_source(asyncore__outqueue **queue, void *source,
                                     void (*release)(void *source));

/* The source at the front, or NULL where bytes are. */
void *asyncore__outqueue_source(const asyncore__outqueue *queue);

/* Drops and releases it. */
void asyncore__outqueue_drop_source(asyncore__outqueue **queue);

/* Points up to count pieces at the bytes at the front, up to a source;
   returns how many. */
size_t asyncore__outqueue_peek(const asyncore__outqueue *queue,
                               struct iovec *pieces, size_t count);

/* Drops size bytes from the front; at most those up to a source. */
void asyncore__outqueue_consume(asyncore__outqueue **queue, size_t size);

/* Drops and releases everything. */
void asyncore__outqueue_clear(asyncore__outqueue **queue);

#endif
