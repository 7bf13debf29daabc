/*
 * A queue of bytes waiting to be sent: see outqueue.h.
 *
 *     queue -> chunk -> chunk -> chunk       first ... last
 *              [....DDDDDDDD][DDDDDD....]    begin <= end <= capacity
 *
 * Invariants, for a queue that is not NULL:
 *     size == sum over the chunks of end - begin, and > 0
 *     begin < end in every chunk
 *     only the last chunk has room behind end
 */
#include "outqueue.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct chunk {
    struct chunk *next;
    size_t begin, end, capacity;
    char data[];
} chunk;

struct asyncore__outqueue {
    chunk *first, *last;
    size_t size;
};

/* The least allocation, so that many small sends do not make many chunks. */
enum { CHUNK_SIZE = 4096 - 64 };

size_t asyncore__outqueue_size(const asyncore__outqueue *queue)
{
    return queue != NULL ? queue->size : 0;
}

static chunk *new_chunk(const char *data, size_t size)
{
    size_t room = CHUNK_SIZE - offsetof(chunk, data);
    size_t capacity = size > room ? size : room;
    chunk *c;

    if (capacity > SIZE_MAX - sizeof *c)
        return NULL;
    c = malloc(sizeof *c + capacity);
    if (c == NULL)
        return NULL;
    c->next = NULL;
    c->begin = 0;
    c->end = size;
    c->capacity = capacity;
    memcpy(c->data, data, size);
    return c;
}

static int append_first(asyncore__outqueue **queue, const char *data,
                        size_t size)
{
    asyncore__outqueue *q = malloc(sizeof *q);

    if (q == NULL)
        return -1;
    q->first = q->last = new_chunk(data, size);
    if (q->first == NULL) {
        free(q);
        return -1;
    }
    q->size = size;
    *queue = q;
    return 0;
}

int asyncore__outqueue_append(asyncore__outqueue **queue, const void *data,
                              size_t size)
{
    asyncore__outqueue *q = *queue;
    chunk *last;
    size_t fits;

    if (size == 0)
        return 0;
    if (q == NULL)
        return append_first(queue, data, size);
    last = q->last;
    fits = last->capacity - last->end;
    if (fits > size)
        fits = size;
    if (fits < size) {
        last->next = new_chunk((const char *)data + fits, size - fits);
        if (last->next == NULL)
            return -1;
        q->last = last->next;
    }
    memcpy(last->data + last->end, data, fits);
    last->end += fits;
    q->size += size;
    return 0;
}

size_t asyncore__outqueue_peek(const asyncore__outqueue *queue,
                               struct iovec *pieces, size_t count)
{
    chunk *c = queue != NULL ? queue->first : NULL;
    size_t n = 0;

    for (; c != NULL && n < count; c = c->next, n++) {
        pieces[n].iov_base = c->data + c->begin;
        pieces[n].iov_len = c->end - c->begin;
    }
    return n;
}

void asyncore__outqueue_consume(asyncore__outqueue **queue, size_t size)
{
    asyncore__outqueue *q = *queue;

    if (q == NULL)
        return;
    if (size >= q->size) {
        asyncore__outqueue_clear(queue);
        return;
    }
    q->size -= size;
    while (size >= q->first->end - q->first->begin) {
        chunk *c = q->first;
        size -= c->end - c->begin;
        q->first = c->next;
        free(c);
    }
    q->first->begin += size;
}

void asyncore__outqueue_clear(asyncore__outqueue **queue)
{
    asyncore__outqueue *q = *queue;

    if (q == NULL)
        return;
    while (q->first != NULL) {
        chunk *c = q->first;
        q->first = c->next;
        free(c);
    }
    free(q);
    *queue = NULL;
}
