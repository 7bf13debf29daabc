/*
 * chatter.h - an asynchat that writes down what its handlers are given.
 *
 * The transcript reads like this:
 *
 *     [ab]             handle_frame with "ab"
 *     ab               collect_incoming_data, joined with what was before
 *     |                found_terminator
 *     {ab}             collect_incoming_data in a class with handle_frame,
 *                      once or several times
 *     <connect> <eof> <overflow> <drain>
 *     <error 5>        handle_error with errno 5
 *     <close 0>        handle_close, d->error being 0
 *
 * As with recorder.h, handlers never assert.
 */
#ifndef TESTS_SUPPORT_CHATTER_H
#define TESTS_SUPPORT_CHATTER_H

#include "world.h"

#include <asynchat.h>

typedef struct chatter chatter;

struct chatter {
    asynchat chat;
    char *text; /* the transcript, ended by NUL */
    size_t size, room;
    bool bare;     /* without the marks: the bytes alone */
    int empty;     /* collect_incoming_data without data: never */
    int calls;     /* of handle_frame, collect and found together */
    int freed;     /* handle_free */
    int closed;    /* handle_close */
    int at_frame;  /* handle_frame or found_terminator: so many */
    void *arg;     /* the test's own */
    chatter *next; /* of those to be freed */

    /* What the test does in handle_frame or found_terminator, and in
       collect_incoming_data; at is which frame it is, from 1. NULL: nothing. */
    void (*on_frame)(chatter *c, int at);
    void (*on_piece)(chatter *c, const char *data, size_t size);
};

static inline chatter *chatter_of(const asynchat *chat)
{
    return (chatter *)(uintptr_t)chat;
}

static inline asyncore_dispatcher *base_of(chatter *c)
{
    return &c->chat.dispatcher;
}

/* With handle_frame; with collect and found; both with handle_error left to
   the library, and the log kept quiet. */
extern const asynchat_handlers chatter_frames;
extern const asynchat_handlers chatter_pieces;

/* Their parts, for tables of a test's own. */
void chatter_connect(asyncore_dispatcher *d);
void chatter_eof(asyncore_dispatcher *d);
void chatter_error(asyncore_dispatcher *d, int error); /* and no more */
void chatter_close(asyncore_dispatcher *d);
void chatter_drain(asyncore_dispatcher *d);
void chatter_free(asyncore_dispatcher *d);
void chatter_log(asyncore_dispatcher *d, const char *message, const char *type);
void chatter_frame(asynchat *chat, const void *data, size_t size);
void chatter_collect(asynchat *chat, const void *data, size_t size);
void chatter_found(asynchat *chat);
void chatter_tail(asynchat *chat, const void *data, size_t size);
void chatter_overflow(asynchat *chat); /* and no more */

/* The teardown of a world with chatters. */
int end_chat(void **state);

/* A chatter that lives until then, not yet initialised. */
chatter *new_chatter(void);

/* One with a connected pair of unix sockets, whose other end is *peer. */
chatter *chatter_pair(world *w, const asynchat_handlers *handlers, int *peer);

/* One on a TCP connection, which can be reset. */
chatter *chatter_tcp(world *w, const asynchat_handlers *handlers, int *peer);

/* Forgets what was written down. */
void chatter_clear(chatter *c);

/* The peer sends text, and the loop turns till it has been dealt with. */
void say(world *w, int peer, const char *text);

/* As many turns as anything might need that waits for nothing. */
void settle(world *w);

#endif
