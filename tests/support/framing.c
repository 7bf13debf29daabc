/*
 * framing.c - see framing.h.
 *
 * What was delivered is written down like this, the stream consisting of the
 * letters a to d:
 *
 *     [ab]    handle_frame
 *     ab      collect_incoming_data, or a frame without a terminator: where
 *             these are cut is nobody's business
 *     |       found_terminator
 *     {ab}    what the end cut off a frame
 *     !       handle_overflow
 *     $       handle_close
 */
#include "framing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct text {
    char *data;
    size_t size, room;
} text;

static void add(text *t, const char *data, size_t size)
{
    if (t->room - t->size < size) {
        t->room = (t->size + size) * 2 + 64;
        t->data = realloc(t->data, t->room);
        if (t->data == NULL)
            abort();
    }
    if (size > 0)
        memcpy(t->data + t->size, data, size);
    t->size += size;
}

static void add_char(text *t, char c)
{
    add(t, &c, 1);
}

/* ---- The program ------------------------------------------------------- */

enum { DELIMITERS = 10, LONG = 100 };

static const char *delimiter(unsigned number, size_t *size)
{
    static char texts[DELIMITERS][LONG + 1] = {
        "a", "ab", "aab", "abab", "aaaa", "abcab", "dddcddd",
    };

    if (texts[7][0] == '\0') {
        memset(texts[7], 'a', LONG - 1);
        texts[7][LONG - 1] = 'b';
        for (int i = 0; i < LONG; i++) {
            texts[8][i] = "ab"[i % 2];
            texts[9][i] = i < LONG / 2 ? 'c' : 'd';
        }
    }
    *size = strlen(texts[number % DELIMITERS]);
    return texts[number % DELIMITERS];
}

typedef struct bytes {
    const unsigned char *at, *end;
} bytes;

static unsigned next(bytes *b)
{
    return b->at < b->end ? *b->at++ : 0;
}

/* What is done in the handler of a frame, or from outside. */
typedef struct action {
    unsigned code, argument;
} action;

enum { ACTIONS = 8, MOST_FRAMES = 1000 };

/* Either the asynchat or the reference does it. */
typedef struct actor {
    void (*set_delimiter)(void *self, const char *data, size_t size);
    void (*set_bytes)(void *self, size_t n);
    void (*set_reading)(void *self, bool reading);
    void (*set_whole)(void *self, bool whole); /* handle_frame's style */
    void (*nest)(void *self);
    void (*close)(void *self);
    void *self;
    bool whole;
    size_t frames;
} actor;

static void set_terminator(actor *a, action what)
{
    size_t size;
    const char *data = delimiter(what.argument, &size);

    if (what.code % 8 < 4)
        a->set_delimiter(a->self, data, size);
    else if (what.code % 8 < 7)
        a->set_bytes(a->self, what.argument % 32);
    else
        a->set_delimiter(a->self, NULL, 0);
}

/* In the handler of a frame. steady: the style stays. */
static void act(actor *a, action what, bool steady)
{
    /* Empty frames can go on for ever. */
    if (++a->frames > MOST_FRAMES)
        return;
    switch (what.code / 8 % 8) {
    case 0:
    case 1:
    case 2: set_terminator(a, what); break;
    case 3: a->set_reading(a->self, false); break;
    case 4:
        a->set_reading(a->self, false);
        set_terminator(a, what);
        a->set_reading(a->self, true);
        break;
    case 5: a->nest(a->self); break;
    case 6:
        if (!steady) {
            a->whole = !a->whole;
            a->set_whole(a->self, a->whole);
            set_terminator(a, what);
        }
        break;
    default:
        if (what.argument == 255)
            a->close(a->self);
        break;
    }
}

/* ---- The reference ----------------------------------------------------- */

typedef struct reference {
    actor actor;
    text in, out; /* in: what has come and was not delivered */
    enum { NOWHERE, AT_DELIMITER, AFTER_BYTES, WAITING } ends;
    const char *delimiter;
    size_t size, lacking, limit;
    bool reading, closed, eof, skipping, steady;
    const action *actions;
    size_t action_count;
} reference;

static void reference_set_delimiter(void *self, const char *data, size_t size)
{
    reference *r = self;

    r->ends = size > 0 ? AT_DELIMITER : NOWHERE;
    r->delimiter = data;
    r->size = size;
    r->skipping = false;
}

static void reference_set_bytes(void *self, size_t n)
{
    reference *r = self;

    r->ends = AFTER_BYTES;
    r->lacking = n;
    r->skipping = false;
}

static void reference_set_reading(void *self, bool reading)
{
    ((reference *)self)->reading = reading;
}

static void reference_set_whole(void *self, bool whole)
{
    (void)self, (void)whole;
}

static void reference_nest(void *self)
{
    (void)self;
}

static void reference_close(void *self)
{
    ((reference *)self)->closed = true;
}

/* The first so many bytes of what has come leave it. */
static void give(reference *r, size_t size, bool delivered)
{
    if (delivered)
        add(&r->out, r->in.data, size);
    r->in.size -= size;
    if (r->in.size > 0)
        memmove(r->in.data, r->in.data + size, r->in.size);
}

/* The frame is size bytes, followed by a delimiter of so many. */
static void end_frame(reference *r, size_t size, size_t delimiter_size)
{
    if (r->actor.whole)
        add_char(&r->out, '[');
    give(r, size, true);
    add_char(&r->out, r->actor.whole ? ']' : '|');
    give(r, delimiter_size, false);
    act(&r->actor, r->actions[r->actor.frames % r->action_count], r->steady);
}

/* How much has come before the delimiter, and whether that is there. */
static bool find_delimiter(const reference *r, size_t *before)
{
    size_t i;

    for (i = 0; i + r->size <= r->in.size; i++) {
        *before = i;
        if (memcmp(r->in.data + i, r->delimiter, r->size) == 0)
            return true;
    }
    for (; i < r->in.size; i++)
        if (memcmp(r->in.data + i, r->delimiter, r->in.size - i) == 0)
            break;
    *before = i;
    return false;
}

static bool step_to_delimiter(reference *r)
{
    size_t before;
    bool found = find_delimiter(r, &before);

    if (!r->skipping && r->limit > 0 && before > r->limit) {
        add_char(&r->out, '!');
        r->skipping = true;
    }
    if (r->skipping) {
        give(r, before + (found ? r->size : 0), false);
        r->skipping = !found;
        return found;
    }
    if (found)
        end_frame(r, before, r->size);
    else if (!r->actor.whole)
        give(r, before, true);
    return found;
}

/* Whether there may be another. */
static bool step(reference *r)
{
    size_t size = r->in.size;

    switch (r->ends) {
    case NOWHERE: give(r, size, true); return false;
    case AT_DELIMITER: return step_to_delimiter(r);
    case AFTER_BYTES:
        if (size >= r->lacking) {
            r->ends = WAITING;
            end_frame(r, r->lacking, 0);
            return true;
        }
        if (!r->actor.whole) {
            give(r, size, true);
            r->lacking -= size;
        }
        return false;
    default: return false;
    }
}

static void go_on(reference *r)
{
    while (r->reading && !r->closed && step(r))
        ;
    if (!r->eof || !r->reading || r->closed || r->ends == WAITING)
        return;
    if (r->in.size > 0 && !r->skipping) {
        if (r->actor.whole)
            add_char(&r->out, '{');
        give(r, r->in.size, true);
        if (r->actor.whole)
            add_char(&r->out, '}');
    }
    add_char(&r->out, '$');
    r->closed = true;
}

/* ---- The asynchat ------------------------------------------------------ */

typedef struct subject {
    asynchat chat;
    actor actor;
    text in, out;
    size_t taken, *cuts, cut_count, cut; /* of in */
    bool eof, over, steady;
    const action *actions;
    size_t action_count;
    int empty;
} subject;

static ssize_t take(asyncore_dispatcher *d, void *data, size_t size)
{
    subject *s = (subject *)d;
    size_t n;

    while (s->cut < s->cut_count && s->cuts[s->cut] == s->taken)
        s->cut++;
    if (s->cut == s->cut_count) {
        errno = EAGAIN;
        return s->eof ? 0 : -1;
    }
    n = s->cuts[s->cut] - s->taken;
    if (n > size)
        n = size;
    memcpy(data, s->in.data + s->taken, n);
    s->taken += n;
    return (ssize_t)n;
}

static subject *of(asynchat *chat)
{
    return (subject *)chat;
}

static void act_next(subject *s)
{
    act(&s->actor, s->actions[s->actor.frames % s->action_count], s->steady);
}

static void handle_frame(asynchat *chat, const void *data, size_t size)
{
    subject *s = of(chat);
    size_t left;

    if (asynchat_get_terminator(chat, &left) == NULL && left == SIZE_MAX) {
        add(&s->out, data, size);
        return;
    }
    add_char(&s->out, '[');
    add(&s->out, data, size);
    add_char(&s->out, ']');
    act_next(s);
}

static void collect(asynchat *chat, const void *data, size_t size)
{
    of(chat)->empty += size == 0;
    add(&of(chat)->out, data, size);
}

static void found(asynchat *chat)
{
    add_char(&of(chat)->out, '|');
    act_next(of(chat));
}

static void tail(asynchat *chat, const void *data, size_t size)
{
    text *out = &of(chat)->out;

    of(chat)->empty += size == 0;
    if (out->size > 0 && out->data[out->size - 1] == '}')
        out->size--;
    else
        add_char(out, '{');
    add(out, data, size);
    add_char(out, '}');
}

static void overflowed(asynchat *chat)
{
    add_char(&of(chat)->out, '!');
}

static void closed(asyncore_dispatcher *d)
{
    add_char(&((subject *)d)->out, '$');
    ((subject *)d)->over = true;
}

static const asynchat_handlers whole_style = {
    .dispatcher = { .recv = take, .handle_close = closed },
    .handle_frame = handle_frame,
    .collect_incoming_data = tail,
    .handle_overflow = overflowed,
};

static const asynchat_handlers piece_style = {
    .dispatcher = { .recv = take, .handle_close = closed },
    .collect_incoming_data = collect,
    .found_terminator = found,
    .handle_overflow = overflowed,
};

static void subject_set_delimiter(void *self, const char *data, size_t size)
{
    if (asynchat_set_terminator(self, data, size) < 0)
        abort();
}

static void subject_set_bytes(void *self, size_t n)
{
    if (asynchat_set_terminator_bytes(self, n) < 0)
        abort();
}

static void subject_set_reading(void *self, bool reading)
{
    asyncore_set_readable(self, reading);
}

static void subject_set_whole(void *self, bool whole)
{
    if (asyncore_set_handlers(self, whole ? &whole_style.dispatcher
                                          : &piece_style.dispatcher) < 0)
        abort();
}

static void subject_nest(void *self)
{
    if (asyncore_poll(((asyncore_dispatcher *)self)->map, 0) < 0)
        abort();
}

static void subject_close(void *self)
{
    asyncore_close(self);
    ((subject *)self)->over = true;
}

/* A socket with something to read for ever, so that what is read is the
   program's affair. */
static int always_readable(void)
{
    static int ends[2] = { -1, -1 };

    if (ends[0] < 0 && (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0 ||
                        send(ends[1], "x", 1, 0) != 1))
        abort();
    return dup(ends[0]);
}

/* Turns until nothing comes of it any more. */
static void turn(subject *s, asyncore_map *map)
{
    int quiet = 0;

    while (quiet < 3 && !s->over) {
        size_t before = s->out.size + s->taken;

        if (asyncore_poll(map, 0) < 0)
            abort();
        quiet = s->out.size + s->taken == before ? quiet + 1 : 0;
    }
}

/* ---- Both -------------------------------------------------------------- */

typedef struct pair {
    reference *r;
    subject *s;
    asyncore_map *map;
} pair;

static void feed(pair *p, const char *data, size_t size)
{
    size_t *cuts =
        realloc(p->s->cuts, (p->s->cut_count + 1) * sizeof *p->s->cuts);

    if (cuts == NULL)
        abort();
    p->s->cuts = cuts;
    add(&p->s->in, data, size);
    cuts[p->s->cut_count++] = p->s->in.size;
    turn(p->s, p->map);
    if (!p->r->closed) {
        add(&p->r->in, data, size);
        go_on(p->r);
    }
}

static void from_outside(pair *p, action what)
{
    if (p->s->over || p->r->closed)
        return;
    set_terminator(&p->s->actor, what);
    turn(p->s, p->map);
    set_terminator(&p->r->actor, what);
    go_on(p->r);
}

static void set_reading(pair *p, bool reading)
{
    if (p->s->over || p->r->closed)
        return;
    asyncore_set_readable(&p->s->chat.dispatcher, reading);
    turn(p->s, p->map);
    p->r->reading = reading;
    go_on(p->r);
}

static void operate(pair *p, bytes *program)
{
    unsigned code = next(program), argument;
    char data[2048];
    const char *long_one;
    size_t i, size;

    argument = next(program);
    switch (code % 8) {
    case 0:
    case 1:
        size = argument % 40;
        for (i = 0; i < size; i++)
            data[i] = (char)('a' + next(program) % 4);
        feed(p, data, size);
        break;
    case 2:
    case 3:
        long_one = delimiter(code / 8, &size);
        feed(p, long_one, argument < 128 ? size : argument % size);
        break;
    case 4: {
        action what = { code / 8, argument };
        from_outside(p, what);
        break;
    }
    case 5: set_reading(p, argument % 4 != 0); break;
    case 6:
        memset(data, "aabd"[code / 8 % 4], argument * 8);
        feed(p, data, argument * 8);
        break;
    default:
        if (argument < 32) {
            p->r->eof = p->s->eof = true;
            program->at = program->end;
        }
        break;
    }
}

static void run(pair *p, bytes *program)
{
    unsigned flags = next(program), limit = next(program);
    static action actions[ACTIONS];
    size_t count = flags / 8 % ACTIONS + 1;

    for (size_t i = 0; i < count; i++) {
        actions[i].code = next(program);
        actions[i].argument = next(program);
    }
    p->s->actions = p->r->actions = actions;
    p->s->action_count = p->r->action_count = count;
    p->s->actor.whole = p->r->actor.whole = (flags & 1) != 0;
    /* Pieces that come before an overflow depend on the cuts. */
    if ((flags & 3) == 3) {
        p->s->steady = p->r->steady = true;
        p->r->limit = limit % 64 + 1;
    }
    p->s->chat.frame_limit = p->r->limit;
    p->s->actor.set_whole(p->s, p->s->actor.whole);
    if (flags & 4) {
        action first = { limit, flags / 8 };
        from_outside(p, first);
    }
    while (program->at < program->end)
        operate(p, program);
    /* Whoever pauses goes on in the end, as often as it takes. */
    for (size_t i = 0; i < p->s->in.size + 64 && !p->r->closed; i++) {
        size_t before = p->r->actor.frames;

        set_reading(p, true);
        if (p->r->actor.frames == before && p->r->reading)
            break;
    }
}

static const char *difference(const reference *r, const subject *s)
{
    static char message[512];
    size_t i;

    if (s->empty > 0)
        return "collect_incoming_data without data";
    for (i = 0; i < r->out.size && i < s->out.size; i++)
        if (r->out.data[i] != s->out.data[i])
            break;
    if (i == r->out.size && i == s->out.size)
        return NULL;
    snprintf(message, sizeof message,
             "after %zu: expected \"%.*s\", got \"%.*s\"", i,
             (int)(r->out.size - i < 100 ? r->out.size - i : 100),
             r->out.data != NULL ? r->out.data + i : "",
             (int)(s->out.size - i < 100 ? s->out.size - i : 100),
             s->out.data != NULL ? s->out.data + i : "");
    return message;
}

const char *framing_check(asyncore_map *map, const unsigned char *program,
                          size_t size)
{
    reference r = { .actor = { reference_set_delimiter, reference_set_bytes,
                               reference_set_reading, reference_set_whole,
                               reference_nest, reference_close, &r, false, 0 },
                    .reading = true };
    subject s = { .actor = { subject_set_delimiter, subject_set_bytes,
                             subject_set_reading, subject_set_whole,
                             subject_nest, subject_close, &s, false, 0 } };
    pair p = { &r, &s, map };
    bytes b = { program, program + size };
    const char *result;

    if (asynchat_init(&s.chat, &whole_style, always_readable(), map) < 0)
        abort();
    /* A deadline takes another way through the parser. */
    if (size % 2 == 1 && asynchat_set_frame_timeout(&s.chat, 3600000) < 0)
        abort();
    run(&p, &b);
    result = difference(&r, &s);
    asyncore_close(&s.chat.dispatcher);
    free(r.in.data);
    free(r.out.data);
    free(s.in.data);
    free(s.out.data);
    free(s.cuts);
    return result;
}
