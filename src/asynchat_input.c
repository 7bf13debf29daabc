/*
 * asynchat's input: terminators, and what is read and given to the parser.
 */
#include "asynchat_parser.h"
#include "extra.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Terminators -------------------------------------------------------- */

/* What is held was held under the old terminator: it becomes input again. */
static int look_again(asynchat *chat)
{
    asyncore_dispatcher *d = &chat->dispatcher;

    if (asynchat__hold(chat, chat->delimiter, chat->matched) < 0)
        return -1;
    chat->matched = 0;
    d->primed = chat->input != NULL;
    return 0;
}

static int set_terminator(asynchat *chat, const char *delimiter, unsigned mode,
                          size_t count)
{
    asyncore_dispatcher *d = &chat->dispatcher;
    bool from_outside = !d->serving && !d->draining;

    if (from_outside && look_again(chat) < 0)
        return -1;
    chat->delimiter = delimiter;
    chat->mode = mode;
    chat->count = count;
    if (from_outside) {
        if (asynchat__is_due(chat))
            d->primed = 1;
        /* A handler may set one without knowing that chat was closed. */
        if (asyncore__in_map(d) && d->extra != NULL)
            d->extra->begun = 0;
        d->held = 0;
        asyncore__update(d);
    }
    return 0;
}

int asynchat_set_terminator(asynchat *chat, const void *delimiter, size_t size)
{
    if (size > ASYNCHAT__DELIMITER_SIZE) {
        errno = EINVAL;
        return -1;
    }
    if (delimiter == NULL || size == 0)
        return set_terminator(chat, NULL, ASYNCHAT__NONE, 0);
    return set_terminator(chat, delimiter, (unsigned)size, 0);
}

int asynchat_set_terminator_bytes(asynchat *chat, size_t n)
{
    return set_terminator(chat, NULL, ASYNCHAT__BYTES, n);
}

const void *asynchat_get_terminator(const asynchat *chat, size_t *size)
{
    if (chat->delimiter != NULL)
        *size = chat->mode;
    else
        *size = chat->mode == ASYNCHAT__NONE ? SIZE_MAX : chat->count;
    return chat->delimiter;
}

/* ---- Reading ------------------------------------------------------------ */

/* The peer has finished, after asynchat_close_when_done: so do we, when all is
   sent. */
static void end_drained(asyncore_dispatcher *d)
{
    if (asynchat__self(d)->output == NULL)
        asyncore__end(d, 0);
    else
        d->eof = 1;
}

ASYNCORE__COLD static void receive_failed(asynchat__parser *p, ssize_t n)
{
    asyncore_dispatcher *d = &p->chat->dispatcher;
    int error = errno;

    if (n < 0 && (error == EAGAIN || error == EWOULDBLOCK))
        return;
    /* Another error may be survived. */
    if ((n == 0 || asyncore__is_disconnect(error)) && !asynchat__parse_end(p))
        return;
    if (n < 0)
        (void)asyncore__io_failed(d, error);
    else if (d->draining)
        end_drained(d);
    else
        (void)asyncore__ended(d);
}

/* What the parser has not taken, as it is to pause, say, is for later. */
static void keep_rest(asynchat__parser *p)
{
    asynchat *chat = p->chat;

    if (p->at < p->end &&
        asynchat__hold(chat, p->at, (size_t)(p->end - p->at)) < 0)
        (void)asynchat__parse_failed(p);
    else
        chat->dispatcher.primed = p->at < p->end || asynchat__is_due(chat);
}

/* One read from the transport. */
static void receive(asynchat__parser *p, char *buffer)
{
    asynchat *chat = p->chat;
    asyncore_dispatcher *d = &chat->dispatcher;
    size_t held = chat->matched;
    ssize_t n = asyncore__take(d, buffer + held, ASYNCHAT__BUFFER_SIZE - held);

    if (n <= 0) {
        receive_failed(p, n);
        return;
    }
    if (held > 0)
        memcpy(buffer, chat->delimiter, held);
    chat->matched = 0;
    p->at = buffer;
    p->end = buffer + held + n;
    asyncore__received(d, n);
    if (!asynchat__parse(p))
        return;
    if ((p->at < p->end || chat->delimiter == NULL) && !d->draining)
        keep_rest(p);
}

/* What was left when reading paused. */
static void parse_held(asynchat__parser *p)
{
    asynchat *chat = p->chat;
    asyncore_dispatcher *d = &chat->dispatcher;
    struct asynchat__input *in = asynchat__take_held(chat);

    /* An empty frame may be due without any: handlers get no NULL. */
    p->at = in != NULL ? in->data + in->begin : "";
    p->end = in != NULL ? in->data + in->end : p->at;
    if (asynchat__parse(p) && !d->draining) {
        d->primed = p->at < p->end || asynchat__is_due(chat);
        if (in != NULL && p->at < p->end) {
            in->begin = (size_t)(p->at - in->data);
            chat->input = in;
            return;
        }
    }
    free(in);
}

/* After asynchat_close_when_done. */
static void discard(asyncore_dispatcher *d, char *buffer)
{
    ssize_t n = asyncore__take(d, buffer, ASYNCHAT__BUFFER_SIZE);

    /* No sign of life, for it is not waited for. */
    if (n > 0)
        d->map->counters.received += (uint64_t)n;
    else if (n < 0)
        (void)asyncore__io_failed(d, errno);
    else
        end_drained(d);
}

static void give_input(asyncore_dispatcher *d, asynchat__parser *p)
{
    asyncore_map *map = d->map;
    char *buffer;

    if (d->primed) {
        parse_held(p);
        return;
    }
    buffer = asynchat__take_buffer(map);
    if (buffer == NULL)
        asyncore__fail(d, ENOMEM);
    else if (d->draining)
        discard(d, buffer);
    else
        receive(p, buffer);
    asynchat__give_buffer(map, buffer);
}

/* After input: whether more of it is waited for. */
static void settle(asyncore_dispatcher *d)
{
    const asynchat *chat = asynchat__self(d);
    bool held = chat->delimiter == NULL && chat->mode == ASYNCHAT__SPENT &&
                !d->draining;

    if (d->held != held || d->primed || d->eof) {
        d->held = held;
        asyncore__update(d);
    }
}

void asynchat__read(asyncore_dispatcher *d)
{
    asynchat__parser p = { .ref = asyncore__ref_to(d),
                           .chat = asynchat__self(d) };

    /* Input for one that is being given input, from a nested asyncore_poll:
       later, lest it come out of order. */
    if (d->serving) {
        d->held = 1;
        asyncore__update(d);
        return;
    }
    asynchat__begin_input(d);
    give_input(d, &p);
    if (!asyncore__is_there(&p.ref))
        return;
    settle(d);
    asynchat__end_input(d);
}
