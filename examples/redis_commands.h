/*
 * redis_commands.h - what redis_lite does with a request, whatever form it
 * came in, and how it replies.
 */
#ifndef REDIS_COMMANDS_H
#define REDIS_COMMANDS_H

#include "redis_keys.h"

#include <asynchat.h>

enum {
    MAX_WORDS = 1024, /* of a request */
    LINGER = 5000     /* ms for the last reply to arrive */
};

/* Does as the words, at least one, say, and replies. Runs handlers. */
void redis_run(asynchat *client, const struct text *words, size_t n);

/* Replies with an error, after which nothing could be understood, and closes
   the connection. Runs handlers. */
void redis_refuse(asynchat *client, const char *why);

#endif
