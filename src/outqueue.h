/*
 * A queue of bytes waiting to be sent: what the kernel did not take.
 *
 * Appending and consuming are linear in the bytes; a drained queue holds
 * nothing. Knows memory only: no descriptors, no dispatchers.
 */
#ifndef ASYNCORE__OUTQUEUE_H
#define ASYNCORE__OUTQUEUE_H

#include <stddef.h>
#include <sys/uio.h>

/* NULL is the empty queue: it has no allocation of its own. */
typedef struct asyncore__outqueue asyncore__outqueue;

size_t asyncore__outqueue_size(const asyncore__outqueue *queue);

/* Copies data to the end. 0, or -1 and ENOMEM, the queue as it was. */
int asyncore__outqueue_append(asyncore__outqueue **queue, const void *data,
                              size_t size);

/* Points up to count pieces at the front of the queue; returns how many. */
size_t asyncore__outqueue_peek(const asyncore__outqueue *queue,
                               struct iovec *pieces, size_t count);

/* Drops size bytes, at most all, from the front. */
void asyncore__outqueue_consume(asyncore__outqueue **queue, size_t size);

void asyncore__outqueue_clear(asyncore__outqueue **queue);

#endif
