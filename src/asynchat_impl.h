/*
 * What the two halves of asynchat share: input (framing) and output (queue).
 */
#ifndef ASYNCORE__ASYNCHAT_IMPL_H
#define ASYNCORE__ASYNCHAT_IMPL_H

#include "output.h"

#include <asynchat.h>
#include <stdlib.h>

static inline asynchat *asynchat__self(asyncore_dispatcher *d)
{
    return (asynchat *)d;
}

/* The largest delimiter: half of what is received at once. */
enum { ASYNCHAT__BUFFER_SIZE = 65536, ASYNCHAT__DELIMITER_SIZE = 32768 };

/* ---- asynchat_input.c --------------------------------------------------- */

/* handle_read. */
void asynchat__read(asyncore_dispatcher *d);

/* A buffer of BUFFER_SIZE bytes of the map, to be given back; NULL: ENOMEM. */
static inline char *asynchat__take_buffer(asyncore_map *map)
{
    char *buffer = map->receive_buffer;

    map->receive_buffer = NULL;
    return buffer != NULL ? buffer : malloc(ASYNCHAT__BUFFER_SIZE);
}

static inline void asynchat__give_buffer(asyncore_map *map, char *buffer)
{
    if (map->receive_buffer != NULL)
        free(map->receive_buffer);
    map->receive_buffer = buffer;
}

/* ---- asynchat_parser.c -------------------------------------------------- */

/* Whether anything is held back. */
bool asynchat__holds_input(const asyncore_dispatcher *d);

/* Drops it. */
void asynchat__drop_input(asynchat *chat);

/* ---- asynchat_deadline.c ------------------------------------------------ */

/* Input was looked at, of a chat that has a frame timeout: whether it has
   ended within a frame, of which at least a byte has come. */
void asynchat__note_frame(asynchat *chat, bool within);

/* What the class does when a frame is late. */
void asynchat__frame_late(asyncore_dispatcher *d);

/* ---- asynchat_output.c -------------------------------------------------- */

struct asyncore__cork {
    size_t size;
    char data[ASYNCHAT__BUFFER_SIZE];
};

/* handle_write, and what the class does otherwise. */
void asynchat__write(asyncore_dispatcher *d);
ssize_t asynchat__send(asyncore_dispatcher *d, const void *data, size_t size);
size_t asynchat__queued(const asyncore_dispatcher *d);
int asynchat__shutdown(asyncore_dispatcher *d);

/* The map's; NULL: ENOMEM. */
struct asyncore__cork *asynchat__new_cork(asyncore_map *map);

/* Around d's being given input: what is pushed between the two is sent at the
   end, which may run handlers. */
static inline void asynchat__begin_input(asyncore_dispatcher *d)
{
    struct asyncore__cork *c = d->map->cork;

    d->serving = 1;
    if (c == NULL)
        c = asynchat__new_cork(d->map);
    if (c != NULL && !d->map->corked) {
        c->size = 0;
        d->map->corked = true;
        d->corking = 1;
    }
}

void asynchat__end_input(asyncore_dispatcher *d);

/* Whether anything can be pushed; if not, errno says why. */
bool asynchat__is_open(const asyncore_dispatcher *d);

/* The same, and what is pushed next goes into the queue. 0, or -1, routed. */
int asynchat__begin_push(asyncore_dispatcher *d);

static inline asyncore__output asynchat__output_of(asynchat *chat)
{
    asyncore__output output = { &chat->output, chat->limit };

    return output;
}

/* Drops everything. */
void asynchat__drop_output(asynchat *chat);

#endif
