/*
 * test_asynchat_deadline.c - the time that a frame may take, on a clock that
 * moves only while the loop waits.
 */
#include "map.h"
#include "support/chatter.h"
#include "support/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LIMIT = 5000 };

static int64_t started, late_at;
static int late, silent;

static int64_t passed(void)
{
    return (late_at - started) / CLOCK_MS;
}

static void close_noted(asyncore_dispatcher *d)
{
    late_at = clock_now();
    chatter_close(d);
}

static void frame_late(asynchat *chat)
{
    (void)chat;
    late++;
    late_at = clock_now();
}

static void frame_late_and_close(asynchat *chat)
{
    frame_late(chat);
    asyncore_close(&chat->dispatcher);
}

static void silence(asyncore_dispatcher *d)
{
    (void)d;
    silent++;
}

#define DISPATCHER \
    .handle_connect = chatter_connect, .handle_error = chatter_error, \
    .handle_close = close_noted, .handle_free = chatter_free, \
    .log_info = chatter_log

static const asynchat_handlers frames = {
    .dispatcher = { DISPATCHER },
    .handle_frame = chatter_frame,
    .handle_overflow = chatter_overflow,
};

static const asynchat_handlers pieces = {
    .dispatcher = { DISPATCHER },
    .collect_incoming_data = chatter_collect,
    .found_terminator = chatter_found,
    .handle_overflow = chatter_overflow,
};

/* Is told, and keeps the connection. */
static const asynchat_handlers patient = {
    .dispatcher = { DISPATCHER, .handle_timeout = silence },
    .handle_frame = chatter_frame,
    .handle_frame_timeout = frame_late,
};

/* Only of silence. */
static const asynchat_handlers pinging = {
    .dispatcher = { DISPATCHER, .handle_timeout = silence },
    .handle_frame = chatter_frame,
};

static const asynchat_handlers closing = {
    .dispatcher = { DISPATCHER },
    .handle_frame = chatter_frame,
    .handle_frame_timeout = frame_late_and_close,
};

static const asynchat_handlers *const styles[] = { &frames, &pieces };

/* calloc, of which one call may fail. */
static bool no_memory;
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    if (no_memory) {
        errno = ENOMEM;
        return NULL;
    }
    return __real_calloc(n, size);
}

static int set_up(void **state)
{
    if (begin_unix(state) < 0)
        return -1;
    late = silent = 0;
    late_at = 0;
    clock_freeze();
    started = clock_now();
    return 0;
}

static int tear_down(void **state)
{
    clock_release();
    return end_chat(state);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Turns until so many milliseconds have passed. */
static void turn_for(world *w, int64_t ms)
{
    asyncore_timer end = { 0 };

    asyncore_call_later(&end, w->map, ms, nothing, NULL);
    while (end.map != NULL)
        assert_true(asyncore_poll(w->map, -1) >= 0);
}

/* The peer sends it, and it is read. */
static void tell(world *w, int peer, const char *text)
{
    peer_write(peer, text, strlen(text));
    turn_for(w, 0);
    turn_for(w, 0);
}

/* With lines, and the time that they may take. */
static chatter *begin(world *w, const asynchat_handlers *class, int *peer)
{
    chatter *c = chatter_pair(w, class, peer);

    assert_int_equal(asynchat_set_terminator(&c->chat, "\r\n", 2), 0);
    assert_int_equal(asynchat_set_frame_timeout(&c->chat, LIMIT), 0);
    started = clock_now();
    return c;
}

/* It has not ended yet, and does so many milliseconds after it has begun. */
static void assert_ends_at(world *w, const chatter *c, int64_t ms)
{
    assert_int_equal(c->closed, 0);
    for (int i = 0; i < 1000 && c->closed == 0; i++)
        turn_for(w, 1000);
    assert_int_equal(c->closed, 1);
    assert_int_equal(passed(), ms);
    assert_non_null(strstr(c->text, "<close "));
    assert_int_equal(atoi(strstr(c->text, "<close ") + 7), ETIMEDOUT);
}

static void assert_lasts(world *w, const chatter *c)
{
    turn_for(w, 100 * LIMIT);
    assert_int_equal(c->closed, 0);
}

/* ---- A frame ----------------------------------------------------------- */

static void a_byte_a_second(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 4; how++) {
        chatter *c = begin(w, styles[how % 2], &peer);

        if (how >= 2)
            asynchat_set_terminator_bytes(&c->chat, 100);
        turn_for(w, 1000);
        for (int i = 0; i < 5; i++) {
            tell(w, peer, "x");
            turn_for(w, 999);
        }
        /* Begun at 1000. */
        assert_ends_at(w, c, 6000);
        close(peer);
    }
}

/* The first byte that there is may be that of the delimiter. */
static void half_a_delimiter(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        tell(w, peer, "\r");
        assert_ends_at(w, c, LIMIT);
        close(peer);
    }
}

/* What ends one frame and begins the next comes in one piece. */
static void frames_that_overlap(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        tell(w, peer, "a");
        for (int i = 0; i < 20; i++) {
            turn_for(w, 4000);
            tell(w, peer, i % 2 ? "b\r\na" : "b\r\n\r\nab\r\n\r");
        }
        assert_int_equal(c->at_frame, 10 + 3 * 10);
        assert_ends_at(w, c, 80000 + LIMIT);
        close(peer);
    }
}

static void counted_frames_that_overlap(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        asynchat_set_terminator_bytes(&c->chat, 3);
        tell(w, peer, "a");
        for (int i = 0; i < 20; i++) {
            turn_for(w, 4000);
            tell(w, peer, "bc");
            /* It has waited for a terminator meanwhile. */
            turn_for(w, 2 * LIMIT);
            asynchat_set_terminator_bytes(&c->chat, 3);
            tell(w, peer, "a");
        }
        assert_int_equal(c->at_frame, 20);
        assert_ends_at(w, c, 20 * (4000 + 2 * LIMIT) + LIMIT);
        close(peer);
    }
}

static void three_more(chatter *c, int at)
{
    (void)at;
    asynchat_set_terminator_bytes(&c->chat, 3);
}

/* The same number again, set by the handler, is another frame. */
static void counted_frames_in_a_row(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        c->on_frame = three_more;
        asynchat_set_terminator_bytes(&c->chat, 3);
        for (int i = 0; i < 20; i++) {
            tell(w, peer, "aaabbbc");
            turn_for(w, 4000);
            tell(w, peer, "cc");
            turn_for(w, LIMIT + 1);
        }
        assert_int_equal(c->at_frame, 60);
        started = clock_now();
        tell(w, peer, "aaab");
        assert_ends_at(w, c, LIMIT);
        close(peer);
    }
}

static void header_and_body(chatter *c, int at)
{
    if (at % 2 == 1)
        asynchat_set_terminator_bytes(&c->chat, 3);
    else
        asynchat_set_terminator(&c->chat, "\r\n", 2);
}

static void frames_of_two_kinds(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        c->on_frame = header_and_body;
        for (int i = 0; i < 20; i++) {
            tell(w, peer, "he");
            turn_for(w, 3000);
            tell(w, peer, "ad\r\nb");
            turn_for(w, 3000);
            tell(w, peer, "od");
            turn_for(w, LIMIT + 1);
            tell(w, peer, "head\r\nbo");
            turn_for(w, 3000);
            tell(w, peer, "d");
        }
        assert_int_equal(c->at_frame, 20 * 4);
        started = clock_now();
        tell(w, peer, "head\r\n");
        turn_for(w, 2 * LIMIT);
        tell(w, peer, "b");
        assert_ends_at(w, c, 3 * LIMIT);
        close(peer);
    }
}

/* Nothing has begun, or there is nothing to be complete. */
static void idle(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        assert_lasts(w, c);
        tell(w, peer, "frame\r\n");
        assert_lasts(w, c);
        asynchat_set_terminator_bytes(&c->chat, 3);
        assert_lasts(w, c);
        tell(w, peer, "abc");
        assert_lasts(w, c);
        asynchat_set_terminator(&c->chat, NULL, 0);
        tell(w, peer, "x");
        assert_lasts(w, c);
        asyncore_close(base_of(c));
        close(peer);
    }
}

/* One that is skipped is late like another; the next begins anew, though it
   is skipped too. */
static void skipped(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        c->chat.frame_limit = 5;
        tell(w, peer, "abc");
        turn_for(w, 1000);
        tell(w, peer, "defghi");
        turn_for(w, 3000);
        tell(w, peer, "x\r\nabcdefghi");
        turn_for(w, 3000);
        assert_int_equal(c->closed, 0);
        tell(w, peer, "abc\r\nabcdef\r\nab");
        assert_ends_at(w, c, 7000 + LIMIT);
        close(peer);
    }
    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        c->chat.frame_limit = 5;
        tell(w, peer, "abc");
        for (int i = 0; i < 4; i++) {
            turn_for(w, 1000);
            tell(w, peer, "defghi");
        }
        assert_ends_at(w, c, LIMIT);
        close(peer);
    }
}

/* ---- Not the peer's doing ----------------------------------------------- */

static void paused(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        tell(w, peer, "a");
        turn_for(w, 1000);
        asyncore_set_readable(base_of(c), false);
        turn_for(w, 1000);
        peer_write(peer, "b\r", 2);
        assert_lasts(w, c);
        started = clock_now();
        asyncore_set_readable(base_of(c), true);
        turn_for(w, 4999);
        tell(w, peer, "\nc");
        assert_int_equal(c->at_frame, 1);

        /* One that is over when the timer goes off. */
        started = clock_now();
        turn_for(w, 1000);
        asyncore_set_readable(base_of(c), false);
        turn_for(w, 3900);
        asyncore_set_readable(base_of(c), true);
        assert_ends_at(w, c, 4900 + LIMIT);
        close(peer);
    }
}

static bool may_read;

static bool readable(asyncore_dispatcher *d)
{
    (void)d;
    return may_read;
}

static void paused_by_a_predicate(void **state)
{
    static const asynchat_handlers asked = {
        .dispatcher = { DISPATCHER, .readable = readable },
        .handle_frame = chatter_frame,
    };
    world *w = world_of(state);
    int peer;
    chatter *c;

    may_read = true;
    c = begin(w, &asked, &peer);
    tell(w, peer, "a");
    may_read = false;
    turn_for(w, 0);
    assert_lasts(w, c);
    turn_for(w, 3000);
    may_read = true;
    turn_for(w, 0);
    started = clock_now();
    assert_ends_at(w, c, LIMIT);
    close(peer);
}

static void pause_at_each(chatter *c, int at)
{
    (void)at;
    asyncore_set_readable(base_of(c), false);
}

/* What is held back here is not late. */
static void complete_but_not_delivered(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        c->on_frame = pause_at_each;
        tell(w, peer, "a\r\nb\r\nc\r\nd");
        for (int i = 1; i <= 3; i++) {
            assert_int_equal(c->at_frame, i);
            assert_lasts(w, c);
            started = clock_now();
            asyncore_set_readable(base_of(c), true);
            turn_for(w, 0);
        }
        assert_ends_at(w, c, LIMIT);
        close(peer);
    }
}

static void pause_at_a_piece(chatter *c, const char *data, size_t size)
{
    (void)data;
    (void)size;
    asyncore_set_readable(base_of(c), false);
}

/* All of it has been collected, and found_terminator is what is due. */
static void paused_between_piece_and_end(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int counted = 0; counted < 2; counted++) {
        chatter *c = begin(w, &pieces, &peer);

        if (counted)
            asynchat_set_terminator_bytes(&c->chat, 3);
        c->on_piece = pause_at_a_piece;
        tell(w, peer, counted ? "abc" : "abc\r\n");
        assert_lasts(w, c);
        assert_int_equal(c->at_frame, 0);
        c->on_piece = NULL;
        asyncore_set_readable(base_of(c), true);
        assert_lasts(w, c);
        assert_int_equal(c->at_frame, 1);
        asyncore_close(base_of(c));
        close(peer);
    }
}

/* A handler takes long, in turns of its own; its frame is complete. */
static void turns_within(chatter *c, int at)
{
    asyncore_timer end = { 0 };

    (void)at;
    asyncore_call_later(&end, base_of(c)->map, 3 * LIMIT, nothing, NULL);
    while (end.map != NULL)
        asyncore_poll(base_of(c)->map, -1);
}

static void nested_turns(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        c->on_frame = turns_within;
        tell(w, peer, "a");
        turn_for(w, 1000);
        tell(w, peer, "b\r\nc");
        assert_int_equal(c->closed, 0);
        assert_int_equal(c->at_frame, 1);
        started = clock_now();
        assert_ends_at(w, c, LIMIT);
        close(peer);
    }
}

/* A terminator in the middle: what has come is looked at anew, or was
   delivered and is no part of the frame that begins. */
static void switched_from_outside(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int how = 0; how < 2; how++) {
        chatter *c = begin(w, styles[how], &peer);

        tell(w, peer, "abc");
        turn_for(w, 4000);
        asynchat_set_terminator(&c->chat, "\n", 1);
        if (how == 1)
            assert_lasts(w, c);
        started = clock_now();
        if (how == 1)
            tell(w, peer, "d");
        assert_ends_at(w, c, LIMIT);
        close(peer);

        c = begin(w, styles[how], &peer);
        tell(w, peer, "abc");
        asynchat_set_terminator(&c->chat, NULL, 0);
        assert_lasts(w, c);
        asyncore_close(base_of(c));
        close(peer);
    }
}

static void another_at_a_piece(chatter *c, const char *data, size_t size)
{
    (void)data;
    (void)size;
    asynchat_set_terminator(&c->chat, "\n", 1);
}

static void switched_by_a_piece(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = begin(w, &pieces, &peer);

    c->on_piece = another_at_a_piece;
    for (int i = 0; i < 3; i++) {
        tell(w, peer, "abc");
        turn_for(w, 4000);
    }
    c->on_piece = NULL;
    assert_lasts(w, c);
    started = clock_now();
    tell(w, peer, "d");
    assert_ends_at(w, c, LIMIT);
    close(peer);
}

static void no_more_deadlines(chatter *c, const char *data, size_t size)
{
    (void)data;
    (void)size;
    asynchat_set_frame_timeout(&c->chat, -1);
}

static void turned_off_by_a_piece(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = begin(w, &pieces, &peer);

    c->on_piece = no_more_deadlines;
    tell(w, peer, "abc");
    assert_lasts(w, c);
    asyncore_close(base_of(c));
    close(peer);
}

/* ---- What happens then -------------------------------------------------- */

static void an_override_has_it_again(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = begin(w, &patient, &peer);

    tell(w, peer, "a");
    for (int i = 1; i <= 5; i++) {
        turn_for(w, LIMIT + 1);
        assert_int_equal(late, i);
        assert_int_equal(passed(), i * LIMIT);
    }
    tell(w, peer, "\r\n");
    assert_lasts(w, c);
    assert_int_equal(late, 5);
    assert_string_equal(c->text, "[a]");
    asyncore_close(base_of(c));
    close(peer);
}

static void closed_in_its_handler(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = begin(w, &closing, &peer);

    tell(w, peer, "a");
    turn_for(w, 10 * LIMIT);
    assert_int_equal(late, 1);
    assert_int_equal(c->closed, 0);
    assert_int_equal(c->freed, 1);
    close(peer);
}

/* Who pings a silent peer need not know of frames. */
static void silence_is_another_matter(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = begin(w, &pinging, &peer);

    asyncore_set_timeout(base_of(c), 1000);
    turn_for(w, 3500);
    assert_int_equal(silent, 3);
    tell(w, peer, "a");
    turn_for(w, 3400);
    assert_int_equal(silent, 6);
    assert_ends_at(w, c, 3500 + LIMIT);
    close(peer);
}

static void both_at_once(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = begin(w, &patient, &peer);

    asyncore_set_timeout(base_of(c), LIMIT);
    tell(w, peer, "a");
    turn_for(w, LIMIT);
    turn_for(w, 0);
    assert_int_equal(late, 1);
    assert_int_equal(silent, 1);
    /* Each goes on without the other. */
    asyncore_set_timeout(base_of(c), -1);
    turn_for(w, LIMIT);
    assert_int_equal(late, 2);
    assert_int_equal(silent, 1);
    asyncore_set_timeout(base_of(c), 2 * LIMIT);
    asynchat_set_frame_timeout(&c->chat, -1);
    turn_for(w, 2 * LIMIT + 1);
    assert_int_equal(late, 2);
    assert_int_equal(silent, 2);
    asyncore_close(base_of(c));
    close(peer);
}

/* The silent time is not shortened by a frame's, nor by the end of it. */
static void silence_after_frames(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = begin(w, &frames, &peer);

    asyncore_set_timeout(base_of(c), 60000);
    for (int i = 0; i < 30; i++) {
        tell(w, peer, "a");
        turn_for(w, 3000);
        tell(w, peer, "\r\n");
    }
    assert_ends_at(w, c, 30 * 3000 + 60000);
    close(peer);
}

/* ---- Setting it -------------------------------------------------------- */

static void set_and_changed(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = begin(w, &patient, &peer);

    /* For the frame that has begun, too. */
    tell(w, peer, "a");
    turn_for(w, 1000);
    assert_int_equal(asynchat_set_frame_timeout(&c->chat, 2000), 0);
    turn_for(w, 1100);
    assert_int_equal(late, 1);
    assert_int_equal(passed(), 2000);
    asynchat_set_frame_timeout(&c->chat, 3000);
    turn_for(w, 3000);
    assert_int_equal(late, 2);
    assert_int_equal(passed(), 5000);
    assert_int_equal(asynchat_set_frame_timeout(&c->chat, -1), 0);
    assert_lasts(w, c);
    assert_int_equal(late, 2);
    /* The first, in the middle of one: from the next byte. */
    asynchat_set_frame_timeout(&c->chat, INT64_MAX);
    asynchat_set_frame_timeout(&c->chat, 1000);
    assert_lasts(w, c);
    assert_int_equal(late, 2);
    started = clock_now();
    tell(w, peer, "b");
    turn_for(w, 1001);
    assert_int_equal(late, 3);
    assert_int_equal(passed(), 1000);
    asyncore_close(base_of(c));
    close(peer);
}

static void without_memory_or_map(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &frames, &peer);

    assert_int_equal(asynchat_set_frame_timeout(&c->chat, -1), 0);
    no_memory = true;
    assert_int_equal(asynchat_set_frame_timeout(&c->chat, 1), -1);
    assert_int_equal(errno, ENOMEM);
    no_memory = false;
    asyncore_del_channel(base_of(c));
    assert_int_equal(asynchat_set_frame_timeout(&c->chat, 1), -1);
    assert_int_equal(errno, EBADF);
    asyncore_add_channel(base_of(c), w->map);
    asyncore_close(base_of(c));
    assert_int_equal(asynchat_set_frame_timeout(&c->chat, 1), -1);
    assert_int_equal(errno, EBADF);
    close(peer);
}

static void ends_with_the_connection(void **state)
{
    world *w = world_of(state);
    int ends[2], peer;
    chatter *c = begin(w, &frames, &peer);

    tell(w, peer, "a");
    asyncore_close(base_of(c));
    close(peer);
    peer_pair(SOCK_STREAM, ends);
    assert_int_equal(asyncore_set_socket(base_of(c), ends[0]), 0);
    asynchat_set_terminator(&c->chat, "\r\n", 2);
    tell(w, ends[1], "a");
    assert_lasts(w, c);
    asynchat_set_frame_timeout(&c->chat, LIMIT);
    tell(w, ends[1], "a");
    asyncore_del_channel(base_of(c));
    turn_for(w, 2 * LIMIT);
    asyncore_add_channel(base_of(c), w->map);
    assert_lasts(w, c);
    asyncore_close(base_of(c));
    close(ends[1]);
}

/* The end of what the peer sends ends the last frame, complete or not. */
static void ends_with_the_stream(void **state)
{
    static const asynchat_handlers half = {
        .dispatcher = { DISPATCHER, .handle_eof = chatter_eof },
        .handle_frame = chatter_frame,
        .collect_incoming_data = chatter_tail,
    };
    world *w = world_of(state);
    int peer;
    chatter *c = begin(w, &half, &peer);

    tell(w, peer, "a");
    shutdown(peer, SHUT_WR);
    assert_lasts(w, c);
    assert_string_equal(c->text, "{a}<eof>");
    assert_null(w->map->timers);
    asyncore_close(base_of(c));
    close(peer);

    c = begin(w, &frames, &peer);
    tell(w, peer, "a");
    assert_int_equal(asynchat_close_when_done(&c->chat, -1), 0);
    assert_lasts(w, c);
    assert_null(w->map->timers);
    tell(w, peer, "b");
    assert_lasts(w, c);
    close(peer);
    turn_for(w, 0);
    assert_int_equal(c->closed, 1);
}

/* ---- What it costs ----------------------------------------------------- */

/* Frames set no timer but once in the time that they may take, and need none
   when there are none; the clock is read by turns only. */
static void costs_stores(void **state)
{
    world *w = world_of(state);
    uint64_t timers_set;
    int peer, reads;
    chatter *c = begin(w, &frames, &peer);

    assert_null(w->map->timers);
    peer_write(peer, "a", 1);
    assert_int_equal(asyncore_poll(w->map, -1), 1);
    timers_set = w->map->timer_order;
    reads = clock_reads();
    for (int i = 0; i < 1000; i++) {
        peer_write(peer, "b\r\na", 4);
        assert_int_equal(asyncore_poll(w->map, -1), 1);
    }
    assert_int_equal(c->at_frame, 1000);
    assert_int_equal(clock_reads() - reads, 2 * 1000);
    assert_int_equal(w->map->timer_order, timers_set);
    peer_write(peer, "\r\n", 2);
    assert_int_equal(asyncore_poll(w->map, -1), 1);
    turn_for(w, LIMIT);
    assert_null(w->map->timers);
    reads = clock_reads();
    for (int i = 0; i < 10; i++)
        assert_int_equal(asyncore_poll(w->map, 0), 0);
    assert_int_equal(clock_reads(), reads);
    asyncore_close(base_of(c));
    close(peer);
}

/* ---- At random --------------------------------------------------------- */

static uint64_t random_state;

static unsigned draw(unsigned below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % below;
}

/* A stream of lines, of which those that begin with a digit are followed by so
   many bytes, as someone would read it who looks at a byte at a time. */
typedef struct model {
    unsigned lacking;
    bool within, half, first_is_digit;
    unsigned digit;
    int64_t begun;
    int frames;
} model;

static void model_ends(model *m)
{
    m->within = m->half = false;
    m->lacking = 0;
    m->frames++;
}

static void model_takes(model *m, char byte, int64_t now)
{
    if (!m->within) {
        m->within = true;
        m->begun = now;
        m->digit = m->lacking == 0 && byte >= '1' && byte <= '9'
                       ? (unsigned)(byte - '0')
                       : 0;
    }
    if (m->lacking > 0) {
        if (--m->lacking == 0)
            model_ends(m);
    } else if (m->half && byte == '\n') {
        unsigned digit = m->digit;

        model_ends(m);
        m->lacking = digit;
    } else {
        m->half = byte == '\r';
    }
}

static int first_byte;

static void note_first(chatter *c, const char *data, size_t size)
{
    (void)c;
    if (first_byte < 0 && size > 0)
        first_byte = (unsigned char)data[0];
}

static void as_the_line_says(chatter *c, int byte)
{
    size_t lacking;
    bool line = asynchat_get_terminator(&c->chat, &lacking) != NULL;

    if (line && byte >= '1' && byte <= '9')
        asynchat_set_terminator_bytes(&c->chat, (size_t)(byte - '0'));
    else
        asynchat_set_terminator(&c->chat, "\r\n", 2);
}

static void line_or_body(chatter *c, int at)
{
    (void)at;
    as_the_line_says(c, first_byte);
    first_byte = -1;
}

static void frame_line_or_body(asynchat *chat, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    chatter_of(chat)->at_frame++;
    as_the_line_says(chatter_of(chat), size > 0 ? bytes[0] : -1);
}

static void run_at_random(world *w, const asynchat_handlers *class)
{
    static const char alphabet[] = "\r\n\r\n\r\n\r\nabc1359";
    model m = { .lacking = 0 };
    int peer;
    chatter *c = begin(w, class, &peer);

    first_byte = -1;
    c->on_piece = note_first;
    c->on_frame = line_or_body;
    for (int i = 0; i < 100 && c->closed == 0; i++) {
        char bytes[20];
        unsigned size = draw(sizeof bytes);

        for (unsigned j = 0; j < size; j++)
            bytes[j] = alphabet[draw(sizeof alphabet - 1)];
        peer_write(peer, bytes, size);
        turn_for(w, 0);
        for (unsigned j = 0; j < size; j++)
            model_takes(&m, bytes[j], clock_now());
        assert_int_equal(c->at_frame, m.frames);
        turn_for(w, draw(LIMIT / 2));
        if (m.within && clock_now() >= m.begun + LIMIT * CLOCK_MS) {
            turn_for(w, 0);
            assert_int_equal(c->closed, 1);
            assert_true(late_at < m.begun + (LIMIT + 1) * CLOCK_MS);
            assert_true(late_at >= m.begun + LIMIT * CLOCK_MS);
        } else {
            assert_int_equal(c->closed, 0);
        }
    }
    asyncore_close(base_of(c));
    close(peer);
    settle(w);
}

static void at_random(void **state)
{
    static const asynchat_handlers whole = {
        .dispatcher = { DISPATCHER },
        .handle_frame = frame_line_or_body,
    };
    world *w = world_of(state);
    const char *seed = getenv("ASYNCORE_SEED");

    random_state = seed != NULL ? strtoull(seed, NULL, 10) : 1;
    print_message("ASYNCORE_SEED=%llu\n", (unsigned long long)random_state);
    random_state =
        random_state * UINT64_C(2862933555777941757) + UINT64_C(3037000493);
    for (int i = 0; i < 100; i++)
        run_at_random(w, i % 2 ? &whole : &pieces);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_byte_a_second),
        CASE(half_a_delimiter),
        CASE(frames_that_overlap),
        CASE(counted_frames_that_overlap),
        CASE(counted_frames_in_a_row),
        CASE(frames_of_two_kinds),
        CASE(idle),
        CASE(skipped),
        CASE(paused),
        CASE(paused_by_a_predicate),
        CASE(complete_but_not_delivered),
        CASE(paused_between_piece_and_end),
        CASE(nested_turns),
        CASE(switched_from_outside),
        CASE(switched_by_a_piece),
        CASE(turned_off_by_a_piece),
        CASE(an_override_has_it_again),
        CASE(closed_in_its_handler),
        CASE(silence_is_another_matter),
        CASE(both_at_once),
        CASE(silence_after_frames),
        CASE(set_and_changed),
        CASE(without_memory_or_map),
        CASE(ends_with_the_connection),
        CASE(ends_with_the_stream),
        CASE(costs_stores),
        CASE(at_random),
    };

    return cmocka_run_group_tests_name("asynchat_deadline", tests, NULL, NULL);
}
