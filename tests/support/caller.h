/*
 * caller.h - a dispatcher that connects by name and writes down what it is
 * told.
 *
 * The transcript: "error 111; " for handle_connect_error, "connect; ",
 * "close 111; ", "timeout; ", "free; ", each with its errno. Handlers never
 * assert.
 */
#ifndef TESTS_SUPPORT_CALLER_H
#define TESTS_SUPPORT_CALLER_H

#include <asynchat.h>
#include <asyncore.h>

typedef struct caller caller;

struct caller {
    union {
        asyncore_dispatcher dispatcher;
        asyncore_dispatcher_with_send with_send;
        asynchat chat;
    };
    char text[2000];
    int errors;                 /* handle_connect_error ran so often */
    asyncore_address about[64]; /* and was told of these */
    int64_t at;                 /* when the last thing was told */
    int asked;                  /* a predicate was */
    void *arg;                  /* the test's own */

    /* What the test does besides. NULL: nothing. */
    void (*on_error)(caller *c);
    void (*on_connect)(caller *c);
    void (*on_close)(caller *c);
    void (*on_timeout)(caller *c); /* instead of the default */
};

/* Classes. The second has predicates, the third handle_free. */
extern const asyncore_handlers caller_class;
extern const asyncore_handlers caller_asking;
extern const asyncore_handlers caller_freed;
extern const asynchat_handlers caller_chat;

static inline caller *caller_of(asyncore_dispatcher *d)
{
    return (caller *)d;
}

#endif
