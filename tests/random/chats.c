/*
 * chats.c - see random.h. What happens to those who chat, and what the model
 * knows of their frames.
 *
 *     a frame ends where its terminator first is, or after its bytes
 *     no piece goes beyond that, and none begins with what was given before
 *     nothing is given in a pause, nor after asynchat_close_when_done
 *     a frame over the limit is told, and left out to its end
 *     what is pushed, of all four kinds, comes out in that order
 *     a producer is freed once
 */
#include "random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- What happens to them ---------------------------------------------- */

static const char *const delimiters[] = { "a", "ab", "hg", "cab" };

static void any_terminator(soul *s)
{
    asynchat *chat = &s->a->chat;
    int result;

    if (s->skipping)
        s->lost = true;
    s->skipping = false;
    if (chance(2)) {
        s->frame.at = AT_DELIMITER;
        s->frame.delimiter = delimiters[any(4)];
        s->frame.size = strlen(s->frame.delimiter);
        result =
            asynchat_set_terminator(chat, s->frame.delimiter, s->frame.size);
    } else if (chance(5)) {
        s->frame.at = NOWHERE;
        result = asynchat_set_terminator(chat, NULL, 0);
    } else {
        s->frame.at = AFTER_BYTES;
        s->frame.size = chance(4) ? 0 : any(200);
        result = asynchat_set_terminator_bytes(chat, s->frame.size);
    }
    s->since = s->read;
    if (result < 0)
        complain("set_terminator: %s", strerror(errno));
}

static void push_bytes(soul *s)
{
    static unsigned char data[100000];
    size_t size = chance(6) ? any(sizeof data) + 1 : any(300), i;
    int life = s->life;
    bool could = s->open && !s->evicted && !s->draining;

    for (i = 0; i < size; i++)
        data[i] = byte_at(s, 1, s->sent + i);
    if (asynchat_push(&s->a->chat, data, size) < 0)
        return;
    if (!could)
        complain("pushed on a closed one");
    else if (life == s->life)
        s->sent += size;
}

static void push_shared(soul *s)
{
    static unsigned char data[20000];
    size_t size = any(sizeof data), i;
    int life = s->life, count;
    asynchat_shared *shared;

    for (i = 0; i < size; i++)
        data[i] = byte_at(s, 1, s->sent + i);
    shared = asynchat_shared_new(data, size);
    for (count = (int)any(3) + 1; count > 0; count--) {
        if (life != s->life || byte_at(s, 1, s->sent) != data[0])
            break;
        if (asynchat_push_shared(&s->a->chat, shared) < 0)
            break;
        if (life == s->life)
            s->sent += size;
        if (s->a == NULL)
            break;
    }
    asynchat_shared_free(shared);
}

static void push_file(soul *s)
{
    int64_t offset = (int64_t)(s->sent % PERIOD) + PERIOD * any(10);
    size_t size = any(50000);
    int life = s->life;

    if (asynchat_push_file(&s->a->chat, dup(play.file), offset,
                           (int64_t)size) == 0 &&
        life == s->life)
        s->sent += size;
}

typedef struct source {
    asynchat_producer producer;
    soul *s;
    int life;
    size_t at, end;
} source;

static ssize_t produce(asynchat_producer *producer, void *data, size_t size)
{
    source *p = (source *)(void *)producer;
    size_t i;

    if (!p->s->open || p->s->life != p->life) {
        complain("a producer outlives its channel");
        return 0;
    }
    if (!play.calm && chance(4)) {
        errno = EAGAIN;
        return -1;
    }
    size = any((uint32_t)size) + 1;
    if (size > p->end - p->at)
        size = p->end - p->at;
    for (i = 0; i < size; i++)
        ((unsigned char *)data)[i] = byte_at(p->s, 1, p->at + i);
    p->at += size;
    return (ssize_t)size;
}

static void free_source(asynchat_producer *producer)
{
    source *p = (source *)(void *)producer;

    play.sources--;
    free(p);
}

static void push_producer(soul *s)
{
    source *p = calloc(1, sizeof *p);
    size_t size = any(100000);
    int life = s->life;

    p->producer.more = produce;
    p->producer.free = free_source;
    p->s = s;
    p->life = life;
    p->at = s->sent;
    p->end = s->sent + size;
    play.sources++;
    if (asynchat_push_with_producer(&s->a->chat, &p->producer) == 0 &&
        life == s->life)
        s->sent += size;
}

void say_goodbye(soul *s)
{
    int life = s->life;

    if (!s->open || s->evicted || s->ending)
        return;
    if (asynchat_close_when_done(&s->a->chat, chance(2) ? -1 : (int)any(20)) ==
            0 &&
        s->open && s->life == life)
        s->draining = s->shut = true;
}

void something_of_chats(soul *s)
{
    if (s->a == NULL || !s->chat)
        return;
    switch (any(16)) {
    case 0:
    case 1:
    case 2:
    case 3: any_terminator(s); break;
    case 4:
    case 5:
    case 6: push_bytes(s); break;
    case 7:
    case 8: push_shared(s); break;
    case 9: push_file(s); break;
    case 10: push_producer(s); break;
    case 11:
    case 12: asynchat_producer_resume(&s->a->chat); break;
    case 13:
        if (chance(3))
            say_goodbye(s);
        break;
    case 14:
        if (s->open && s->map != NULL)
            asynchat_set_frame_timeout(&s->a->chat, any(6) - 1);
        break;
    default:
        if (chance(4)) {
            s->lost = s->cut = true;
            asynchat_discard_buffers(&s->a->chat);
        }
    }
}

/* ---- Their handlers ---------------------------------------------------- */

static size_t find_delimiter(const soul *s, size_t from)
{
    size_t at, i;

    for (at = from; at + s->frame.size <= s->written; at++) {
        for (i = 0; i < s->frame.size; i++)
            if (byte_at(s, 0, at + i) != (unsigned char)s->frame.delimiter[i])
                break;
        if (i == s->frame.size)
            return at;
    }
    return SIZE_MAX;
}

static void skip_frame(soul *s)
{
    size_t at;

    if (!s->skipping)
        return;
    s->skipping = false;
    at = find_delimiter(s, s->since);
    if (at == SIZE_MAX)
        complain("a skipped frame without an end");
    s->read = s->since = at + s->frame.size;
}

static void check_data(soul *s, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    size_t i;

    if (s->draining)
        complain("input after asynchat_close_when_done");
    if (s->lost)
        return;
    for (i = 0; i < size; i++)
        if (bytes[i] != byte_at(s, 0, s->read + i)) {
            complain("given what was not written");
            return;
        }
    if (s->read + size > s->written)
        complain("given more than was written");
}

/* What a handler of s does beside its work. asyncore_stop there leaves what
   was pushed, and how it ends, to come. */
static void leave(soul *s, bool stopped)
{
    if (!play.calm && chance(2))
        something_of_chats(s);
    mischief();
    if (play.stopped && !stopped)
        play.stopper = s;
    end();
}

static void frame_ends(soul *s, size_t size)
{
    size_t at;

    if (s->frame.at == AT_DELIMITER && !s->lost) {
        at = find_delimiter(s, s->since);
        if (at != s->read + size)
            complain("a frame ends at %zu, not at %zu", s->read + size, at);
        if (s->a->chat.frame_limit > 0 &&
            at - s->since > s->a->chat.frame_limit)
            complain("a frame over the limit");
    } else if (s->frame.at == AFTER_BYTES && size != s->frame.size &&
               !s->lost) {
        complain("a frame of %zu bytes, not %zu", size, s->frame.size);
    } else if (s->frame.at == SPENT) {
        complain("a frame too many");
    }
    s->read += size;
    if (s->frame.at == AT_DELIMITER)
        s->read += s->frame.size;
    else if (s->frame.at == AFTER_BYTES)
        s->frame.at = SPENT;
    s->since = s->read;
}

static void on_frame(asynchat *chat, const void *data, size_t size)
{
    soul *s = begin(&chat->dispatcher, "handle_frame");
    bool stopped = play.stopped;

    if (!chat->dispatcher.reading)
        complain("handle_frame in a pause");
    skip_frame(s);
    check_data(s, data, size);
    frame_ends(s, size);
    leave(s, stopped);
}

static void on_collect(asynchat *chat, const void *data, size_t size)
{
    soul *s = begin(&chat->dispatcher, "collect_incoming_data");
    bool stopped = play.stopped;
    size_t at;

    if (size == 0)
        complain("an empty piece");
    if (!chat->dispatcher.reading)
        complain("collect_incoming_data in a pause");
    skip_frame(s);
    check_data(s, data, size);
    if (s->lost) {
        leave(s, stopped);
        return;
    }
    if (s->frame.at == AT_DELIMITER) {
        at = find_delimiter(s, s->since);
        if (at < s->read + size)
            complain("the delimiter at %zu was overlooked", at);
    } else if (s->frame.at == AFTER_BYTES) {
        if (size > s->frame.size)
            complain("%zu bytes of a frame that has %zu", size, s->frame.size);
        s->frame.size -= size;
    }
    s->read += size;
    leave(s, stopped);
}

static void on_found(asynchat *chat)
{
    soul *s = begin(&chat->dispatcher, "found_terminator");
    bool stopped = play.stopped;

    if (s->draining)
        complain("found_terminator after asynchat_close_when_done");
    skip_frame(s);
    frame_ends(s, 0);
    leave(s, stopped);
}

static void on_overflow(asynchat *chat)
{
    soul *s = begin(&chat->dispatcher, "handle_overflow");
    size_t at;

    skip_frame(s);
    if (!s->lost) {
        if (s->frame.at != AT_DELIMITER || chat->frame_limit == 0)
            complain("an overflow of nothing");
        at = find_delimiter(s, s->since);
        if (at - s->since <= chat->frame_limit ||
            s->written - s->since <= chat->frame_limit)
            complain("an overflow too early");
    }
    s->skipping = true;
    end();
}

static void on_frame_timeout(asynchat *chat)
{
    soul *s = begin(&chat->dispatcher, "handle_frame_timeout");

    leave(s, play.stopped);
}

void check_end_of_chat(const soul *s, const char *name)
{
    const asynchat_handlers *class =
        (const asynchat_handlers *)s->a->chat.dispatcher.handlers;

    if (s->lost || s->draining || s->skipping || s->read == s->written)
        return;
    if (class->collect_incoming_data != NULL)
        complain("%s before %zu bytes of %zu", name, s->written - s->read,
                 s->written);
    else if (s->frame.at == AT_DELIMITER
                 ? find_delimiter(s, s->since) != SIZE_MAX
                 : s->frame.at != AFTER_BYTES ||
                       s->written - s->read >= s->frame.size)
        complain("%s before a frame that has come", name);
}

/* Frames, frames and what is cut off, pieces. */
#define CHAT(end, more) \
    { \
        .dispatcher = { .handle_connect = on_connect, \
                        .handle_close = on_close, \
                        .handle_error = on_error, \
                        .handle_drain = on_drain, \
                        .handle_stop = on_stop, \
                        .log_info = on_log, \
                        end }, \
        .handle_overflow = on_overflow, \
        .handle_frame_timeout = on_frame_timeout, more \
    }
#define FRAMES .handle_frame = on_frame
#define BOTH .handle_frame = on_frame, .collect_incoming_data = on_collect
#define PIECES .collect_incoming_data = on_collect, .found_terminator = on_found
#define FREE .handle_free = on_free
#define EOF_AND_FREE .handle_eof = on_eof, .handle_free = on_free
const asynchat_handlers chat_classes[CLASSES][2] = {
    [PLAIN] = { CHAT(.handle_free = NULL, FRAMES), CHAT(FREE, FRAMES) },
    [ASKED] = { CHAT(.handle_eof = on_eof, BOTH), CHAT(FREE, BOTH) },
    [HALVES] = { CHAT(.handle_eof = on_eof, PIECES),
                 CHAT(EOF_AND_FREE, PIECES) },
};

int repeating_file(void)
{
    FILE *file = tmpfile();
    int fd;

    for (int i = 0; i < 60000; i++)
        putc(i % PERIOD, file);
    fflush(file);
    fd = dup(fileno(file));
    fclose(file);
    return fd;
}
