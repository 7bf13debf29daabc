/*
 * What asynchat's parser is given, and what its input is made of.
 *
 * How a frame ends is in three members of asynchat:
 *
 *     delimiter != NULL   at the delimiter, of mode bytes; count have come
 *     mode == NONE        nowhere
 *     mode == BYTES       after count more bytes
 *     mode == SPENT       it was BYTES, and no other was set: input waits
 */
#ifndef ASYNCORE__ASYNCHAT_PARSER_H
#define ASYNCORE__ASYNCHAT_PARSER_H

#include "asynchat_impl.h"

enum { ASYNCHAT__NONE, ASYNCHAT__BYTES, ASYNCHAT__SPENT };

/* No byte is lacking: such a frame needs no input to end. */
static inline bool asynchat__is_due(const asynchat *chat)
{
    return chat->delimiter == NULL && chat->mode == ASYNCHAT__BYTES &&
           chat->count == 0;
}

struct asynchat__input {
    size_t begin, end, capacity;
    char data[];
};

/* Adds to chat->input. ENOMEM. */
int asynchat__hold(asynchat *chat, const char *data, size_t size);

/* Takes what is held out of chat, so that handlers cannot change it. */
struct asynchat__input *asynchat__take_held(asynchat *chat);

/* Where the parser is. */
typedef struct asynchat__parser {
    asyncore__ref ref;
    asynchat *chat;
    const char *at, *end;
    bool in_steps;
} asynchat__parser;

/* Delivers what there is from at on, as far as chat takes input. These return
   false if chat may be gone. */
bool asynchat__parse_plainly(asynchat__parser *p);
bool asynchat__parse_in_time(asynchat__parser *p);

static inline bool asynchat__parse(asynchat__parser *p)
{
    const asyncore__extra *extra = p->chat->dispatcher.extra;

    /* Its frames may have a deadline. */
    return extra != NULL && extra->frame > 0 ? asynchat__parse_in_time(p)
                                             : asynchat__parse_plainly(p);
}

/* Delivers what the end of the stream leaves unfinished. */
bool asynchat__parse_end(asynchat__parser *p);

/* What is to be held of a frame cannot be: handle_error, and the end of the
   connection unless a delimiter will tell where the next frame begins. */
bool asynchat__parse_failed(asynchat__parser *p);

#endif
