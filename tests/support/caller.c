/*
 * caller.c - see caller.h.
 */
#include "caller.h"
#include "clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void ASYNCORE_PRINTF(2, 3) say(caller *c, const char *format, ...)
{
    size_t size = strlen(c->text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(c->text + size, sizeof c->text - size, format, arguments);
    va_end(arguments);
    c->at = clock_now();
}

static void caller_error(asyncore_dispatcher *d,
                         const asyncore_address *address, int error)
{
    caller *c = caller_of(d);

    say(c, "error %d; ", error);
    if (c->errors < 64)
        c->about[c->errors] = *address;
    c->errors++;
    if (c->on_error != NULL)
        c->on_error(c);
}

static void caller_connect(asyncore_dispatcher *d)
{
    caller *c = caller_of(d);

    say(c, "connect; ");
    if (c->on_connect != NULL)
        c->on_connect(c);
}

static void caller_close(asyncore_dispatcher *d)
{
    caller *c = caller_of(d);

    say(c, "close %d; ", d->error);
    if (c->on_close != NULL)
        c->on_close(c);
}

static void caller_timeout(asyncore_dispatcher *d)
{
    caller *c = caller_of(d);

    say(c, "timeout; ");
    if (c->on_timeout != NULL)
        c->on_timeout(c);
    else
        asyncore_base(d)->handle_timeout(d);
}

static void caller_free(asyncore_dispatcher *d)
{
    say(caller_of(d), "free; ");
}

static void caller_read(asyncore_dispatcher *d)
{
    char data[100];

    (void)asyncore_recv(d, data, sizeof data);
}

static bool yes(asyncore_dispatcher *d)
{
    caller_of(d)->asked++;
    return true;
}

static bool no(asyncore_dispatcher *d)
{
    caller_of(d)->asked++;
    return false;
}

const asyncore_handlers caller_class = {
    .handle_read = caller_read,
    .handle_connect = caller_connect,
    .handle_connect_error = caller_error,
    .handle_close = caller_close,
    .handle_timeout = caller_timeout,
};

const asyncore_handlers caller_asking = {
    .readable = yes,
    .writable = no,
    .handle_read = caller_read,
    .handle_connect = caller_connect,
    .handle_connect_error = caller_error,
    .handle_close = caller_close,
    .handle_timeout = caller_timeout,
};

const asyncore_handlers caller_freed = {
    .handle_read = caller_read,
    .handle_connect = caller_connect,
    .handle_connect_error = caller_error,
    .handle_close = caller_close,
    .handle_timeout = caller_timeout,
    .handle_free = caller_free,
};

static void drop(asynchat *chat, const void *data, size_t size)
{
    (void)chat, (void)data, (void)size;
}

const asynchat_handlers caller_chat = {
    .dispatcher = { .handle_connect = caller_connect,
                    .handle_connect_error = caller_error,
                    .handle_close = caller_close,
                    .handle_timeout = caller_timeout },
    .handle_frame = drop,
};
