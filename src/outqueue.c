/*
 * A queue of what waits to be sent: see outqueue.h.
 *
 *     queue -> piece -> piece -> piece       first ... last
 *              [..DDDDDDDD]      [DDDDDD....]
 *                 at, left                room
 *
 * Three kinds of piece, told apart by release and left:
 *     copied:   release == NULL, at is in bytes, room is free behind the data
 *     borrowed: release != NULL, left > 0, room == 0
 *     source:   release != NULL, left == 0, room == 0
 *
 * Invariants, for a queue that is not NULL:
 *     first != NULL; size == the sum of left over the pieces
 *     left > 0 in every piece that is not a source
 */
#include "outqueue.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct piece {
    struct piece *next;
    const char *at;
    size_t left, room;
    void (*release)(void *owner);
    void *owner;
    char bytes[];
} piece;

struct asyncore__outqueue {
    piece *first, *last;
    size_t size;
};

/* The least allocation, so that many small sends do not make many pieces. */
enum { PIECE_SIZE = 4096 - 64 };

size_t asyncore__outqueue_size(const asyncore__outqueue *queue)
{
    return queue != NULL ? queue->size : 0;
}

static piece *new_piece(size_t room)
{
    piece *p;

    if (room > SIZE_MAX - sizeof *p)
        return NULL;
    p = malloc(sizeof *p + room);
    if (p != NULL)
        *p = (piece){ .at = p->bytes, .room = room };
    return p;
}

static piece *copy_piece(const void *data, size_t size)
{
    size_t least = PIECE_SIZE - sizeof(piece);
    piece *p = new_piece(size > least ? size : least);

    if (p != NULL) {
        memcpy(p->bytes, data, size);
        p->left = size;
        p->room -= size;
    }
    return p;
}

static piece *owned_piece(const void *data, size_t size,
                          void (*release)(void *owner), void *owner)
{
    piece *p = new_piece(0);

    if (p != NULL) {
        p->at = data;
        p->left = size;
        p->release = release;
        p->owner = owner;
    }
    return p;
}

/* Takes p, which may be NULL: -1 then, as when there is no memory for the
   queue itself. */
static int link_piece(asyncore__outqueue **queue, piece *p, int front)
{
    asyncore__outqueue *q = *queue;

    if (p == NULL)
        return -1;
    if (q == NULL) {
        q = malloc(sizeof *q);
        if (q == NULL) {
            free(p);
            return -1;
        }
        *q = (asyncore__outqueue){ .first = p, .last = p };
        *queue = q;
    } else if (front) {
        p->next = q->first;
    } else {
        q->last->next = p;
        q->last = p;
    }
    if (front)
        q->first = p;
    q->size += p->left;
    return 0;
}

int asyncore__outqueue_append(asyncore__outqueue **queue, const void *data,
                              size_t size)
{
    piece *last = NULL;
    size_t fits = 0;

    if (size == 0)
        return 0;
    if (*queue != NULL) {
        last = (*queue)->last;
        fits = last->room < size ? last->room : size;
    }
    if (fits < size &&
        link_piece(queue, copy_piece((const char *)data + fits, size - fits),
                   0) < 0)
        return -1;
    if (fits > 0) {
        size_t end = (size_t)(last->at - last->bytes) + last->left;
        memcpy(last->bytes + end, data, fits);
        last->left += fits;
        last->room -= fits;
        (*queue)->size += fits;
    }
    return 0;
}

int asyncore__outqueue_prepend(asyncore__outqueue **queue, const void *data,
                               size_t size)
{
    return size > 0 ? link_piece(queue, copy_piece(data, size), 1) : 0;
}

int asyncore__outqueue_append_borrowed(asyncore__outqueue **queue,
                                       const void *data, size_t size,
                                       void (*release)(void *owner),
                                       void *owner)
{
    return link_piece(queue, owned_piece(data, size, release, owner), 0);
}

int asyncore__outqueue_append_source(asyncore__outqueue **queue, void *source,
                                     void (*release)(void *source))
{
    return link_piece(queue, owned_piece(NULL, 0, release, source), 0);
}

static int is_source(const piece *p)
{
    return p->release != NULL && p->left == 0;
}

void *asyncore__outqueue_source(const asyncore__outqueue *queue)
{
    return queue != NULL && is_source(queue->first) ? queue->first->owner
                                                    : NULL;
}

size_t asyncore__outqueue_peek(const asyncore__outqueue *queue,
                               struct iovec *pieces, size_t count)
{
    const piece *p = queue != NULL ? queue->first : NULL;
    size_t n = 0;

    for (; p != NULL && !is_source(p) && n < count; p = p->next, n++) {
        pieces[n].iov_base = (void *)(uintptr_t)p->at;
        pieces[n].iov_len = p->left;
    }
    return n;
}

/* The queue is in order before release runs, which may be the user's. */
static void drop_first(asyncore__outqueue **queue)
{
    asyncore__outqueue *q = *queue;
    piece *p = q->first;

    q->first = p->next;
    q->size -= p->left;
    if (q->first == NULL) {
        free(q);
        *queue = NULL;
    }
    if (p->release != NULL)
        p->release(p->owner);
    free(p);
}

void asyncore__outqueue_drop_source(asyncore__outqueue **queue)
{
    if (asyncore__outqueue_source(*queue) != NULL)
        drop_first(queue);
}

void asyncore__outqueue_consume(asyncore__outqueue **queue, size_t size)
{
    while (size > 0 && *queue != NULL && !is_source((*queue)->first)) {
        piece *p = (*queue)->first;
        if (size < p->left) {
            p->at += size;
            p->left -= size;
            (*queue)->size -= size;
            return;
        }
        size -= p->left;
        drop_first(queue);
    }
}

void asyncore__outqueue_clear(asyncore__outqueue **queue)
{
    asyncore__outqueue *q = *queue;

    *queue = NULL;
    while (q != NULL)
        drop_first(&q);
}
