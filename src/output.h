/*
 * Sending what does not fit at once: the part that dispatcher_with_send and
 * asynchat have in common. The queue itself is the subclass's.
 */
#ifndef ASYNCORE__OUTPUT_H
#define ASYNCORE__OUTPUT_H

#include "dispatcher.h"
#include "outqueue.h"

/* A subclass's queue, and the mark above which it is full. */
typedef struct asyncore__output {
    asyncore__outqueue **queue;
    size_t limit;
} asyncore__output;

/* What a source has done. */
typedef enum asyncore__emitted {
    ASYNCORE__EMITTED,    /* sent something, and may have more */
    ASYNCORE__EXHAUSTED,  /* it is finished */
    ASYNCORE__BLOCKED,    /* the kernel takes no more now */
    ASYNCORE__WAITING,    /* it has nothing now, and will say when it has */
    ASYNCORE__EMIT_FAILED /* routed: d may be gone */
} asyncore__emitted;

/* Something in the queue that makes its bytes itself. What emit could not send
   it puts in front of itself. */
typedef struct asyncore__source {
    asyncore__emitted (*emit)(struct asyncore__source *source,
                              asyncore_dispatcher *d,
                              asyncore__outqueue **queue);
} asyncore__source;

/* The bytes given to one call, and the least that one turn sends for a
   dispatcher that has them. */
enum { ASYNCORE__SEND_BUDGET = 256 * 1024 };

/* Sends what the kernel takes at once, if nothing is queued, and queues the
   rest. size, or -1, routed. */
ssize_t asyncore__output_send(asyncore_dispatcher *d, asyncore__output output,
                              const void *data, size_t size);

/* There was no memory to queue something: handle_error, and the end of the
   connection if a part of it was sent, for what follows would be taken for the
   rest. -1. */
int asyncore__output_lost(asyncore_dispatcher *d, bool cut);

/* After something was added to the queue: has it sent, and minds the limit. */
void asyncore__output_queued(asyncore_dispatcher *d, asyncore__output output);

/* What was to be sent has been up to the limit, though none of it may have had
   to be queued: has handle_drain run from the loop. */
void asyncore__output_full(asyncore_dispatcher *d);

/* handle_write: sends from the queue. handle_drain where it is due. */
void asyncore__output_flush(asyncore_dispatcher *d, asyncore__output output);

/* asyncore_shutdown: at once, or when the queue has drained. */
int asyncore__output_shutdown(asyncore_dispatcher *d, asyncore__output output);

#endif
