/*
 * asynchat's parser: a byte stream becomes frames.
 *
 * Between two reads nothing is held but, in chat->input, either the part of a
 * frame that has come (for handle_frame) or input not looked at yet (after a
 * pause; d->primed), never both, for a pause can begin only where a handler
 * runs, and then no part is held. The beginning of a delimiter at the end of
 * the input is held as a number, matched: the bytes are those of the
 * delimiter. They are put in front of what is read next.
 *
 * Every handler may close, pause, switch: what is true after one is looked up
 * anew, and a turn of the parser has no state but its position.
 */
#include "asynchat_parser.h"
#include "extra.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* count of a frame that has grown over its limit: drop up to the delimiter. */
#define SKIPPING SIZE_MAX

/* ---- What is held back -------------------------------------------------- */

int asynchat__hold(asynchat *chat, const char *data, size_t size)
{
    struct asynchat__input *in = chat->input;
    size_t used = in != NULL ? in->end : 0;

    if (size == 0)
        return 0;
    if (in == NULL || in->capacity - used < size) {
        size_t capacity = used + size + (used + size) / 2;
        if (capacity < size || capacity > SIZE_MAX - sizeof *in) {
            errno = ENOMEM;
            return -1;
        }
        in = realloc(chat->input, sizeof *in + capacity);
        if (in == NULL)
            return -1;
        if (chat->input == NULL)
            in->begin = 0;
        in->capacity = capacity;
        chat->input = in;
    }
    memcpy(in->data + used, data, size);
    in->end = used + size;
    return 0;
}

struct asynchat__input *asynchat__take_held(asynchat *chat)
{
    struct asynchat__input *in = chat->input;

    chat->input = NULL;
    chat->dispatcher.primed = 0;
    return in;
}

bool asynchat__holds_input(const asyncore_dispatcher *d)
{
    const asynchat *chat = (const asynchat *)d;

    return !d->draining && (chat->input != NULL || chat->matched > 0);
}

void asynchat__drop_input(asynchat *chat)
{
    free(asynchat__take_held(chat));
    chat->matched = 0;
}

/* ---- Finding the delimiter ---------------------------------------------- */

/* The search for the delimiter is for its last byte, with memchr, which is the
   fastest there is. */
static bool ends_here(const char *at, const char *delimiter, size_t before)
{
    return at[0] == delimiter[0] &&
           (before < 2 || memcmp(at, delimiter, before) == 0);
}

/* find, when that byte was met by itself. Data full of it is memmem's. */
static const char *find_on(const char *data, const char *end,
                           const char *delimiter, size_t size)
{
    const size_t before = size - 1;
    const char *at = data;
    int false_alarms;

    for (false_alarms = 0; false_alarms < 16; false_alarms++) {
        if ((size_t)(end - at) < size)
            return NULL;
        at =
            memchr(at + before, delimiter[before], (size_t)(end - at) - before);
        if (at == NULL)
            return NULL;
        at -= before;
        if (ends_here(at, delimiter, before))
            return at;
        at++;
    }
    return memmem(at, (size_t)(end - at), delimiter, size);
}

/* As memmem(3). */
static const char *find(const char *data, const char *end,
                        const char *delimiter, size_t size)
{
    const size_t before = size - 1;
    const char *at;

    if ((size_t)(end - data) < size)
        return NULL;
    at =
        memchr(data + before, delimiter[before], (size_t)(end - data) - before);
    if (at == NULL)
        return NULL;
    at -= before;
    return ends_here(at, delimiter, before)
               ? at
               : find_on(at + 1, end, delimiter, size);
}

/* How many bytes of the delimiter, not all, the data ends with:
   find_prefix_at_end. */
static size_t prefix_at_end(const char *data, const char *end,
                            const char *delimiter, size_t size)
{
    const char *at = data;

    if ((size_t)(end - data) >= size)
        at = end - (size - 1);
    for (; at < end; at++) {
        at = memchr(at, delimiter[0], (size_t)(end - at));
        if (at == NULL)
            return 0;
        if (memcmp(at, delimiter, (size_t)(end - at)) == 0)
            return (size_t)(end - at);
    }
    return 0;
}

/* ---- Delivery: the handlers --------------------------------------------- */

static const asynchat_handlers *class_of(const asynchat *chat)
{
    return (const asynchat_handlers *)chat->dispatcher.handlers;
}

static bool is_here(const asynchat__parser *p)
{
    return asyncore__is_there(&p->ref);
}

static void collect(asynchat *chat, const char *data, size_t size)
{
    if (size > 0 && class_of(chat)->collect_incoming_data != NULL)
        class_of(chat)->collect_incoming_data(chat, data, size);
}

/* A part of a frame, held when the class was another, or cut off. */
static bool deliver_part(asynchat__parser *p)
{
    struct asynchat__input *part = asynchat__take_held(p->chat);

    collect(p->chat, part->data, part->end);
    free(part);
    return is_here(p);
}

/* A frame is lost. A class may survive that, and is given the next one, if
   anybody can tell where that begins. */
static bool lose(asynchat__parser *p)
{
    asyncore_dispatcher *d = &p->chat->dispatcher;

    free(asynchat__take_held(p->chat));
    if (p->chat->delimiter != NULL)
        asyncore__fail(d, ENOMEM);
    else
        asyncore__break(d, ENOMEM);
    return is_here(p);
}

bool asynchat__parse_failed(asynchat__parser *p)
{
    if (p->chat->delimiter != NULL)
        p->chat->count = SKIPPING;
    return lose(p);
}

static bool deliver_frame(asynchat__parser *p, const char *data, size_t size)
{
    struct asynchat__input *part;

    if (p->chat->input == NULL) {
        class_of(p->chat)->handle_frame(p->chat, data, size);
        return is_here(p);
    }
    if (asynchat__hold(p->chat, data, size) < 0)
        return lose(p);
    part = asynchat__take_held(p->chat);
    class_of(p->chat)->handle_frame(p->chat, part->data, part->end);
    free(part);
    return is_here(p);
}

static bool overflow(asynchat__parser *p)
{
    asynchat *chat = p->chat;
    const asynchat_handlers *class = class_of(chat);

    chat->count = SKIPPING;
    free(asynchat__take_held(chat));
    if (class->handle_overflow != NULL)
        class->handle_overflow(chat);
    else
        asyncore__fail(&chat->dispatcher, EMSGSIZE);
    return is_here(p);
}

/* size bytes of the frame, and whether it ends with them. False: chat may be
   gone. */
static bool deliver(asynchat__parser *p, const char *data, size_t size,
                    bool ends)
{
    asynchat *chat = p->chat;
    bool skipped = false;

    if (chat->delimiter != NULL) {
        skipped = chat->count == SKIPPING;
        if (!skipped && chat->frame_limit > 0 &&
            (chat->count > chat->frame_limit ||
             size > chat->frame_limit - chat->count)) {
            if (!overflow(p))
                return false;
            /* Its handler may have set another terminator. */
            if (chat->count == SKIPPING && ends)
                chat->count = 0;
            return true;
        }
        if (ends)
            chat->count = 0;
        else if (!skipped)
            chat->count += size;
    } else if (ends) {
        chat->mode = ASYNCHAT__SPENT;
    }
    if (skipped)
        return true;
    if (class_of(chat)->handle_frame != NULL) {
        if (ends || (chat->delimiter == NULL && chat->mode == ASYNCHAT__NONE))
            return deliver_frame(p, data, size);
        return asynchat__hold(chat, data, size) == 0 ||
               asynchat__parse_failed(p);
    }
    collect(chat, data, size);
    if (!is_here(p))
        return false;
    if (ends && class_of(chat)->found_terminator != NULL)
        class_of(chat)->found_terminator(chat);
    return is_here(p);
}

/* ---- The parser --------------------------------------------------------- */

/* Whether collect_incoming_data gets size bytes by themselves before the frame
   ends: it may pause, or switch. */
static bool goes_ahead(const asynchat *chat, size_t size)
{
    return size > 0 && class_of(chat)->handle_frame == NULL;
}

/* A frame that came in one piece, the one most often seen: there is nothing to
   note before its handler runs. */
static bool is_whole(const asynchat *chat, size_t size)
{
    return class_of(chat)->handle_frame != NULL && chat->count == 0 &&
           chat->input == NULL &&
           (size <= chat->frame_limit || chat->frame_limit == 0);
}

/* Up to the delimiter, or all but what may be its beginning. */
static bool parse_to_delimiter(asynchat__parser *p)
{
    const char *delimiter = p->chat->delimiter, *data = p->at;
    size_t size = p->chat->mode;
    const char *found = find(data, p->end, delimiter, size);

    if (found != NULL && is_whole(p->chat, (size_t)(found - data))) {
        p->at = found + size;
        class_of(p->chat)->handle_frame(p->chat, data, (size_t)(found - data));
        return is_here(p);
    }
    if (found != NULL) {
        bool ends = !goes_ahead(p->chat, (size_t)(found - data));
        p->at = ends ? found + size : found;
        return deliver(p, data, (size_t)(found - data), ends);
    }
    p->at = p->end - prefix_at_end(data, p->end, delimiter, size);
    if (p->at > data)
        return deliver(p, data, (size_t)(p->at - data), false);
    p->chat->matched = (unsigned)(p->end - p->at);
    p->at = p->end;
    return true;
}

static bool parse_bytes(asynchat__parser *p)
{
    asynchat *chat = p->chat;
    const char *data = p->at;
    size_t size = (size_t)(p->end - p->at);

    if (size > chat->count)
        size = chat->count;
    chat->count -= size;
    p->at += size;
    return deliver(p, data, size, chat->count == 0 && !goes_ahead(chat, size));
}

static bool parse_all(asynchat__parser *p)
{
    const char *data = p->at;

    p->at = p->end;
    return deliver(p, data, (size_t)(p->end - data), false);
}

/* A predicate replaces the flag. It is asked before a turn, not in one. */
static bool takes_input(const asynchat *chat)
{
    const asyncore_dispatcher *d = &chat->dispatcher;

    return (d->reading || d->handlers->readable != NULL) && !d->draining &&
           !d->map->stopping &&
           !(chat->delimiter == NULL && chat->mode == ASYNCHAT__SPENT);
}

static bool can_go_on(const asynchat__parser *p)
{
    return (p->at < p->end || asynchat__is_due(p->chat)) &&
           takes_input(p->chat);
}

bool asynchat__parse_plainly(asynchat__parser *p)
{
    bool here = true;

    while (here && can_go_on(p)) {
        if (p->chat->input != NULL && class_of(p->chat)->handle_frame == NULL)
            here = deliver_part(p);
        else if (p->chat->delimiter != NULL)
            here = parse_to_delimiter(p);
        else if (p->chat->mode == ASYNCHAT__BYTES)
            here = parse_bytes(p);
        else
            here = parse_all(p);
        if (p->in_steps)
            break;
    }
    return here;
}

/* One step, at most to the end of a frame; looks whether one is under way
   then. Under another terminator than before, none has begun. */
static bool parse_step(asynchat__parser *p)
{
    asynchat *chat = p->chat;
    bool counted = chat->delimiter == NULL && chat->mode == ASYNCHAT__BYTES;
    size_t lacking = chat->count;
    const char *at = p->at;
    bool within;

    p->in_steps = true;
    if (!asynchat__parse_plainly(p))
        return false;
    p->in_steps = false;
    if (chat->delimiter != NULL)
        within = chat->count > 0 || chat->matched > 0;
    else
        within = counted && chat->mode == ASYNCHAT__BYTES &&
                 chat->count == lacking - (size_t)(p->at - at);
    asynchat__note_frame(chat, within);
    return true;
}

/* Of a chat whose frames have a deadline. After the end of the frame
   that had begun there is nothing to look at but how it stands at the end:
   what is under way then has begun now. Of counted bytes that are not held for
   handle_frame, only steps tell whether any has come. */
bool asynchat__parse_in_time(asynchat__parser *p)
{
    asynchat *chat = p->chat;

    while (can_go_on(p) && (chat->dispatcher.extra->begun > 0 ||
                            class_of(chat)->handle_frame == NULL)) {
        if (!parse_step(p))
            return false;
    }
    if (class_of(chat)->handle_frame == NULL)
        return true;
    if (!asynchat__parse_plainly(p))
        return false;
    asynchat__note_frame(chat, chat->delimiter != NULL
                                   ? chat->count > 0 || chat->matched > 0
                                   : chat->input != NULL);
    return true;
}

bool asynchat__parse_end(asynchat__parser *p)
{
    asynchat *chat = p->chat;
    const char *delimiter = chat->delimiter;
    size_t matched = chat->matched;

    chat->matched = 0;
    if (chat->delimiter != NULL && chat->count == SKIPPING)
        return true;
    if (chat->input != NULL) {
        /* In one piece: its handler may pause, or want no more. */
        if (delimiter != NULL && asynchat__hold(chat, delimiter, matched) < 0)
            return asynchat__parse_failed(p);
        return deliver_part(p);
    }
    collect(chat, delimiter, matched);
    return is_here(p);
}
