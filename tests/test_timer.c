/*
 * test_timer.c - timers, on a clock that moves only while the loop waits, so
 * that times can be told to the nanosecond and no test takes any.
 */
#include "support/clock.h"
#include "support/recorder.h"
#include "support/world.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What ran, in order, each by its letter. */
static char trace[256];
static size_t traced;

typedef struct note {
    asyncore_timer timer;
    char letter;
    int runs;
    int64_t ran_at;
    asyncore_map *map;
    struct note *other;
    int peer;
} note;

static void write_trace(char letter)
{
    if (traced < sizeof trace - 1)
        trace[traced++] = letter;
    trace[traced] = '\0';
}

static void ran(void *arg)
{
    note *n = arg;

    n->runs++;
    n->ran_at = clock_now();
    write_trace(n->letter);
}

static int begin_frozen(void **state)
{
    if (begin_unix(state) < 0)
        return -1;
    traced = 0;
    trace[0] = '\0';
    clock_freeze();
    return 0;
}

static int end_frozen(void **state)
{
    clock_release();
    return end_world(state);
}

static note *new_note(world *w, char letter)
{
    note *n = lend(w, sizeof *n);

    n->letter = letter;
    n->map = w->map;
    n->peer = -1;
    return n;
}

static note *later(world *w, char letter, int64_t delay, void (*fn)(void *))
{
    note *n = new_note(w, letter);

    assert_int_equal(asyncore_call_later(&n->timer, w->map, delay, fn, n), 0);
    return n;
}

/* A dispatcher that always has something to read; counts how often it is told.
   Its peer's descriptor goes to *peer. */
static recorder *restless(world *w, const asyncore_handlers *handlers,
                          int *peer)
{
    recorder *r = lend(w, sizeof *r);
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    *peer = ends[1];
    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, handlers, ends[0], w->map), 0);
    peer_write(ends[1], "x", 1);
    return r;
}

static void count_only(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.read++;
}

static const asyncore_handlers counting = {
    .handle_read = count_only,
    .handle_close = record_close,
};

/* ---- Once -------------------------------------------------------------- */

static void once(void **state)
{
    world *w = world_of(state);
    int64_t start = clock_now();
    note *n = later(w, 'a', 250, ran);

    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(n->runs, 1);
    assert_true(n->ran_at >= start + 250 * CLOCK_MS);
    assert_true(n->ran_at <= start + 251 * CLOCK_MS);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(n->runs, 1);
}

/* Whatever the clock says below the millisecond, the wait is rounded up: so
   never too early, nor is there a turn that finds nothing to do yet. */
static void never_early(void **state)
{
    world *w = world_of(state);
    note *n = new_note(w, 'a');

    for (int i = 0; i < 300; i++) {
        int64_t start, delay = i % 40 + 1;
        int waits;

        clock_advance(i * 7919 + 1);
        start = clock_now();
        asyncore_call_later(&n->timer, w->map, delay, ran, n);
        clock_advance(i * 104729 % CLOCK_MS);
        waits = clock_waits();
        assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
        assert_int_equal(n->runs, i + 1);
        assert_true(n->ran_at >= start + delay * CLOCK_MS);
        assert_true(n->ran_at <= start + (delay + 1) * CLOCK_MS);
        assert_true(clock_waits() - waits <= 2);
    }
}

/* A delay begins when it is set, not when the turn did. */
static note *slow_other;

static void slow(void *arg)
{
    note *n = arg;

    ran(n);
    clock_advance(500 * CLOCK_MS);
    asyncore_call_later(&slow_other->timer, n->map, 100, ran, slow_other);
}

static void from_a_slow_callback(void **state)
{
    world *w = world_of(state);
    note *n;

    slow_other = new_note(w, 'b');
    n = later(w, 'a', 10, slow);
    asyncore_loop(w->map, -1, -1);
    assert_string_equal(trace, "ab");
    assert_true(slow_other->ran_at >= n->ran_at + 600 * CLOCK_MS);
    assert_true(slow_other->ran_at <= n->ran_at + 601 * CLOCK_MS);
}

static void extremes(void **state)
{
    static const int64_t month = INT64_C(31) * 24 * 3600 * 1000;
    world *w = world_of(state);
    int64_t start = clock_now();
    note *far = later(w, 'a', month, ran);
    note *never = later(w, 'b', INT64_MAX, ran);
    note *beat = new_note(w, 'c');
    note *past = later(w, 'd', INT64_MIN, ran);

    asyncore_call_every(&beat->timer, w->map, INT64_MAX, ran, beat);
    for (int shift = 36; shift < 63; shift++) {
        note *n = later(w, 'e', INT64_C(1) << shift, ran);

        assert_int_equal(asyncore_poll(w->map, 0), 0);
        assert_int_equal(n->runs, 0);
        asyncore_timer_cancel(&n->timer);
    }
    while (far->runs == 0 && clock_waits() < 100)
        assert_int_equal(asyncore_poll(w->map, -1), 0);
    assert_string_equal(trace, "da");
    assert_int_equal(past->ran_at, start);
    assert_true(far->ran_at >= start + month * CLOCK_MS);
    assert_true(far->ran_at <= start + (month + 1) * CLOCK_MS);
    asyncore_timer_cancel(&never->timer);
    asyncore_timer_cancel(&beat->timer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(never->runs, 0);
    assert_int_equal(beat->runs, 0);
}

/* ---- Order ------------------------------------------------------------- */

/* A row of them in one piece of memory. */
static note *new_row(world *w, size_t count)
{
    note *row = lend(w, count * sizeof *row);

    for (size_t i = 0; i < count; i++) {
        row[i].letter = (char)('a' + i % 26);
        row[i].map = w->map;
    }
    return row;
}

static void order_among_equals(void **state)
{
    world *w = world_of(state);
    note *row = new_row(w, 26);

    for (int i = 0; i < 26; i++)
        asyncore_call_later(&row[i].timer, w->map, 20, ran, &row[i]);
    asyncore_loop(w->map, -1, -1);
    assert_string_equal(trace, "abcdefghijklmnopqrstuvwxyz");
}

/* Set at other times, but due at once; one that is set anew goes last. */
static void order_of_moments(void **state)
{
    world *w = world_of(state);
    note *row = new_row(w, 6);

    asyncore_call_later(&row[0].timer, w->map, 30, ran, &row[0]);
    asyncore_call_later(&row[1].timer, w->map, 20, ran, &row[1]);
    asyncore_call_later(&row[2].timer, w->map, 30, ran, &row[2]);
    clock_advance(10 * CLOCK_MS);
    asyncore_call_later(&row[3].timer, w->map, 20, ran, &row[3]);
    asyncore_call_later(&row[4].timer, w->map, 9, ran, &row[4]);
    asyncore_call_later(&row[5].timer, w->map, 21, ran, &row[5]);
    asyncore_call_later(&row[0].timer, w->map, 20, ran, &row[0]);
    clock_advance(1000 * CLOCK_MS);
    assert_int_equal(asyncore_poll(w->map, -1), 0);
    assert_string_equal(trace, "ebcdaf");
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
}

static void set_anew(void **state)
{
    world *w = world_of(state);
    int64_t start = clock_now();
    note *n = later(w, 'a', 1000, ran);
    note *m = later(w, 'b', 10, ran);

    asyncore_call_later(&n->timer, w->map, 20, ran, n);
    asyncore_call_later(&m->timer, w->map, 500, ran, m);
    asyncore_loop(w->map, -1, -1);
    assert_string_equal(trace, "ab");
    assert_true(n->ran_at < start + 21 * CLOCK_MS);
    assert_true(m->ran_at >= start + 500 * CLOCK_MS);
}

/* To a later time by a few stores: it keeps its place, however many others are
   set. To an earlier one it has to move. */
static void set_anew_where_it_is(void **state)
{
    world *w = world_of(state);
    note *a = later(w, 'a', 50, ran), *b = later(w, 'b', 60, ran);
    int64_t key = a->timer.key;

    for (int i = 1; i <= 10; i++)
        asyncore_call_later(&a->timer, w->map, 60 + i, ran, a);
    assert_true(a->timer.key == key);
    asyncore_call_later(&b->timer, w->map, 40, ran, b);
    assert_true(b->timer.key < key);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_string_equal(trace, "ba");
}

static void two_maps(void **state)
{
    world *w = world_of(state);
    asyncore_map *other = asyncore_map_new(NULL);
    note *n = later(w, 'a', 10, ran);
    note *m = later(w, 'b', 10, ran);

    asyncore_call_later(&n->timer, other, 10, ran, n);
    asyncore_loop(w->map, -1, -1);
    assert_string_equal(trace, "b");
    assert_int_equal(m->runs, 1);
    asyncore_loop(other, -1, -1);
    assert_string_equal(trace, "ba");
    asyncore_map_free(other);
}

static void default_map(void **state)
{
    world *w = world_of(state);
    note *n = new_note(w, 'a');

    assert_int_equal(asyncore_call_later(&n->timer, NULL, 5, ran, n), 0);
    asyncore_loop(NULL, -1, -1);
    assert_string_equal(trace, "a");
}

/* ---- Repeating --------------------------------------------------------- */

static void cancel_after_20(void *arg)
{
    note *n = arg;

    ran(n);
    if (n->runs == 20)
        asyncore_timer_cancel(&n->timer);
}

/* Each turn comes 7 ms late; the beat does not. */
static void no_drift(void **state)
{
    world *w = world_of(state);
    int64_t start = clock_now();
    note *n = new_note(w, 'a');

    clock_set_lateness(7 * CLOCK_MS);
    asyncore_call_every(&n->timer, w->map, 100, cancel_after_20, n);
    for (int i = 1; i <= 20; i++) {
        while (n->runs < i)
            assert_int_equal(asyncore_poll(w->map, -1), 0);
        assert_true(n->ran_at >= start + i * 100 * CLOCK_MS);
        assert_true(n->ran_at <= start + (i * 100 + 8) * CLOCK_MS);
    }
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(n->runs, 20);
}

/* What a stall swallowed is left out: one late call, and then the beat. */
static void no_burst(void **state)
{
    world *w = world_of(state);
    int64_t start = clock_now();
    note *n = new_note(w, 'a');

    asyncore_call_every(&n->timer, w->map, 100, ran, n);
    clock_advance(1050 * CLOCK_MS);
    for (int i = 0; i < 10; i++)
        asyncore_poll(w->map, 0);
    assert_int_equal(n->runs, 1);
    asyncore_poll(w->map, -1);
    assert_int_equal(n->runs, 2);
    assert_true(n->ran_at >= start + 1100 * CLOCK_MS);
    assert_true(n->ran_at <= start + 1101 * CLOCK_MS);
    asyncore_poll(w->map, -1);
    assert_int_equal(n->runs, 3);
    assert_true(n->ran_at >= start + 1200 * CLOCK_MS);
    asyncore_timer_cancel(&n->timer);

    /* Late by exactly one interval: the beat that is due then is its own. */
    start = clock_now();
    asyncore_call_every(&n->timer, w->map, 100, ran, n);
    clock_advance(200 * CLOCK_MS);
    for (int i = 0; i < 10; i++)
        asyncore_poll(w->map, 0);
    assert_true(n->runs <= 5);
    asyncore_poll(w->map, -1);
    assert_true(n->ran_at >= start + 300 * CLOCK_MS);
    assert_true(n->ran_at <= start + 301 * CLOCK_MS);
    asyncore_timer_cancel(&n->timer);
}

static void slow_beat(void *arg)
{
    ran(arg);
    clock_advance(250 * CLOCK_MS);
}

/* A callback that takes longer than its interval does not starve the rest. */
static void slower_than_its_interval(void **state)
{
    world *w = world_of(state);
    int64_t start = clock_now();
    note *n = new_note(w, 'a');
    int peer;
    recorder *r = restless(w, &counting, &peer);

    asyncore_call_every(&n->timer, w->map, 100, slow_beat, n);
    for (int i = 0; i < 20; i++) {
        clock_advance(100 * CLOCK_MS);
        asyncore_poll(w->map, 0);
        assert_true(n->runs <= i + 1);
    }
    assert_true(r->ran.read >= 10);
    assert_true(n->runs >= 10);
    assert_true(n->ran_at - start >= n->runs * 100 * CLOCK_MS);
    asyncore_timer_cancel(&n->timer);
    asyncore_close(&r->dispatcher);
    close(peer);
}

static void into_once(void *arg)
{
    note *n = arg;

    ran(n);
    if (n->runs == 3)
        asyncore_call_later(&n->timer, n->map, 5, ran, n);
}

static void into_every(void *arg)
{
    note *n = arg;

    ran(n);
    asyncore_call_every(&n->timer, n->map, 50, cancel_after_20, n);
}

static void once_and_every(void **state)
{
    world *w = world_of(state);
    note *n = new_note(w, 'a');
    note *m = later(w, 'b', 3, into_every);
    int64_t start = clock_now();

    asyncore_call_every(&n->timer, w->map, 10, into_once, n);
    asyncore_loop(w->map, -1, -1);
    assert_int_equal(n->runs, 4);
    assert_true(n->ran_at >= start + 35 * CLOCK_MS);
    assert_int_equal(m->runs, 20);
    assert_true(m->ran_at >= start + (3 + 19 * 50) * CLOCK_MS);
    assert_true(m->ran_at <= start + (3 + 19 * 50 + 2) * CLOCK_MS);
}

/* ---- From callbacks ---------------------------------------------------- */

static void cancel_other(void *arg)
{
    note *n = arg;

    ran(n);
    asyncore_timer_cancel(&n->other->timer);
    asyncore_timer_cancel(&n->timer);
}

static void cancel(void **state)
{
    world *w = world_of(state);
    note *row = new_row(w, 3);
    note *unset = new_note(w, 'x');

    asyncore_timer_cancel(&unset->timer);
    asyncore_call_later(&row[0].timer, w->map, 10, ran, &row[0]);
    asyncore_timer_cancel(&row[0].timer);
    asyncore_timer_cancel(&row[0].timer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(clock_waits(), 0);

    /* One of the same moment, which is due already. */
    row[1].other = &row[2];
    asyncore_call_later(&row[1].timer, w->map, 10, cancel_other, &row[1]);
    asyncore_call_later(&row[2].timer, w->map, 10, ran, &row[2]);
    asyncore_loop(w->map, -1, -1);
    assert_string_equal(trace, "b");
}

static void restart_other(void *arg)
{
    note *n = arg;

    ran(n);
    asyncore_call_later(&n->other->timer, n->map, 5, ran, n->other);
}

static void restart(void **state)
{
    world *w = world_of(state);
    note *row = new_row(w, 4);

    for (int i = 0; i < 4; i++)
        row[i].other = &row[3 - i];
    asyncore_call_later(&row[0].timer, w->map, 10, restart_other, &row[0]);
    asyncore_call_later(&row[1].timer, w->map, 10, ran, &row[1]);
    asyncore_call_later(&row[2].timer, w->map, 10, restart_other, &row[2]);
    asyncore_call_later(&row[3].timer, w->map, 10, ran, &row[3]);
    asyncore_loop(w->map, -1, -1);
    /* a sends d 5 ms on; c has b, which ran, run again. */
    assert_string_equal(trace, "abcdb");
}

static void free_both(void *arg)
{
    note *n = arg, *other = n->other;

    ran(n);
    asyncore_timer_cancel(&n->timer);
    free(n);
    if (other != NULL) {
        asyncore_timer_cancel(&other->timer);
        free(other);
    }
}

static note *loose_note(world *w, char letter)
{
    note *n = calloc(1, sizeof *n);

    assert_non_null(n);
    n->letter = letter;
    n->map = w->map;
    return n;
}

/* Itself and another of its moment, which has run or not, one-shot or not. */
static void free_from_a_callback(void **state)
{
    world *w = world_of(state);
    note *a, *b;

    for (int kind = 0; kind < 8; kind++) {
        traced = 0;
        a = loose_note(w, 'a');
        b = loose_note(w, 'b');
        a->other = kind & 1 ? b : NULL;
        b->other = kind & 1 ? NULL : a;
        if (kind & 2)
            asyncore_call_every(&a->timer, w->map, 10,
                                kind & 1 ? free_both : ran, a);
        else
            asyncore_call_later(&a->timer, w->map, 10,
                                kind & 1 ? free_both : ran, a);
        if (kind & 4)
            asyncore_call_every(&b->timer, w->map, 10,
                                kind & 1 ? ran : free_both, b);
        else
            asyncore_call_later(&b->timer, w->map, 10,
                                kind & 1 ? ran : free_both, b);
        asyncore_loop(w->map, -1, -1);
        assert_string_equal(trace, kind & 1 ? "a" : "ab");
    }
}

/* ---- The next turn ----------------------------------------------------- */

static void again_at_once(void *arg)
{
    note *n = arg;

    ran(n);
    asyncore_call_later(&n->timer, n->map, n->letter == 'n' ? -3 : 0,
                        again_at_once, n);
}

/* One that sets itself anew for at once runs once in a turn, and leaves the
   others their turn. */
static void no_starvation(void **state)
{
    world *w = world_of(state);
    note *n = later(w, 'a', 0, again_at_once);
    note *m = later(w, 'n', 0, again_at_once);
    note *once_due = later(w, 'b', 1, ran);
    int peer;
    recorder *r = restless(w, &counting, &peer);

    for (int i = 1; i <= 50; i++) {
        clock_advance(CLOCK_MS / 10);
        assert_int_equal(asyncore_poll(w->map, -1), 1);
        assert_int_equal(n->runs, i);
        assert_int_equal(m->runs, i);
        assert_int_equal(r->ran.read, i);
    }
    assert_int_equal(once_due->runs, 1);
    asyncore_timer_cancel(&n->timer);
    asyncore_timer_cancel(&m->timer);
    asyncore_close(&r->dispatcher);
    close(peer);
}

/* Due at once does not mean to wait. */
static void at_once_without_others(void **state)
{
    world *w = world_of(state);
    int64_t start = clock_now();
    note *n = later(w, 'a', 0, ran);

    assert_int_equal(asyncore_poll(w->map, -1), 0);
    assert_int_equal(n->runs, 1);
    assert_int_equal(clock_now(), start);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
}

static void set_in_read(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);
    note *n = r->arg;

    if (r->ran.read++ == 0)
        asyncore_call_later(&n->timer, d->map, 0, ran, n);
}

static const asyncore_handlers setting = { .handle_read = set_in_read };

static void from_a_handler(void **state)
{
    world *w = world_of(state);
    note *n = new_note(w, 'a');
    int peer;
    recorder *r = restless(w, &setting, &peer);

    r->arg = n;
    asyncore_poll(w->map, -1);
    assert_int_equal(r->ran.read, 1);
    assert_int_equal(n->runs, 0);
    asyncore_poll(w->map, -1);
    assert_int_equal(n->runs, 1);
    asyncore_close(&r->dispatcher);
    close(peer);
}

static void posted(void *arg)
{
    note *n = arg;

    write_trace('p');
    asyncore_call_later(&n->timer, n->map, 1, ran, n);
}

static void post(void *arg)
{
    note *n = arg;

    ran(n);
    asyncore_call_soon(n->map, posted, n->other);
}

/* A posted call sets a timer, whose callback posts a call. */
static void with_call_soon(void **state)
{
    world *w = world_of(state);
    note *a = new_note(w, 'a'), *b = new_note(w, 'b');

    a->other = b;
    asyncore_call_later(&a->timer, w->map, 10, post, a);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_string_equal(trace, "apb");
}

static void close_other(void *arg)
{
    note *n = arg;

    ran(n);
    asyncore_close((asyncore_dispatcher *)n->other);
}

static void set_in_free(asyncore_dispatcher *d)
{
    note *n = recorder_of(d)->arg;

    recorder_of(d)->ran.free++;
    asyncore_call_later(&n->timer, d->map, 4, ran, n);
}

static const asyncore_handlers set_when_freed = {
    .handle_read = record_read,
    .handle_free = set_in_free,
};

/* A timer closes a dispatcher, whose handle_free sets a timer, which runs in
   the same loop though nothing else is left. */
static void from_handle_free(void **state)
{
    world *w = world_of(state);
    note *n = new_note(w, 'a'), *m = new_note(w, 'b');
    recorder *r = lend(w, sizeof *r);
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    asyncore_dispatcher_init(&r->dispatcher, &set_when_freed, ends[0], w->map);
    r->arg = m;
    n->other = (note *)(void *)r;
    asyncore_call_later(&n->timer, w->map, 10, close_other, n);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_string_equal(trace, "ab");
    assert_int_equal(r->ran.free, 1);
    close(ends[1]);
}

static void poll_within(void *arg)
{
    note *n = arg;

    ran(n);
    clock_advance(20 * CLOCK_MS);
    asyncore_poll(n->map, 0);
    write_trace('.');
}

/* A nested turn runs what is due, each once, itself not again. */
static void nested(void **state)
{
    world *w = world_of(state);
    note *beat = new_note(w, 'b');

    later(w, 'a', 10, poll_within);
    later(w, 'c', 10, ran);
    later(w, 'd', 25, ran);
    later(w, 'e', 100, ran);
    asyncore_call_every(&beat->timer, w->map, 40, cancel_after_20, beat);
    assert_int_equal(asyncore_loop(w->map, -1, 2), 0);
    assert_string_equal(trace, "acd.b");
    asyncore_timer_cancel(&beat->timer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_string_equal(trace, "acd.be");
}

/* ---- Loops ------------------------------------------------------------- */

static void timeouts(void **state)
{
    world *w = world_of(state);
    int64_t start = clock_now();
    note *n = later(w, 'a', 100, ran);

    assert_int_equal(asyncore_poll(w->map, 30), 0);
    assert_int_equal(clock_now(), start + 30 * CLOCK_MS);
    assert_int_equal(asyncore_loop(w->map, 30, 2), 0);
    assert_int_equal(clock_now(), start + 90 * CLOCK_MS);
    assert_int_equal(n->runs, 0);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    assert_int_equal(n->runs, 0);
    assert_int_equal(asyncore_poll(w->map, 30), 0);
    assert_int_equal(n->runs, 1);
    assert_int_equal(clock_now(), start + 100 * CLOCK_MS);
}

/* It goes on until the last has run, and then it ends. */
static void end_of_loop(void **state)
{
    world *w = world_of(state);

    for (int i = 1; i <= 20; i++)
        later(w, 'a', i * 10, ran);
    assert_int_equal(asyncore_loop(w->map, 1000, -1), 0);
    assert_int_equal(traced, 20);
    assert_int_equal(asyncore_poll(w->map, 1000), 0);
    assert_true(clock_waits() < 45);
}

static void stop(void *arg)
{
    note *n = arg;

    ran(n);
    asyncore_stop(n->map);
}

static void stop_from_a_timer(void **state)
{
    world *w = world_of(state);
    note *beat = new_note(w, 'b');

    asyncore_call_every(&beat->timer, w->map, 10, stop, beat);
    later(w, 'c', 10, ran);
    later(w, 'd', 0, stop);
    later(w, 'e', 0, ran);
    asyncore_loop(w->map, -1, -1);
    assert_string_equal(trace, "d");
    asyncore_loop(w->map, -1, -1);
    assert_string_equal(trace, "deb");
    asyncore_loop(w->map, -1, -1);
    assert_string_equal(trace, "debcb");
    asyncore_timer_cancel(&beat->timer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
}

static void free_map(void *arg)
{
    note *n = arg;

    ran(n);
    asyncore_map_free(n->map);
}

/* The map goes: its timers are not set any more, and may be set in another. */
static void map_freed(void **state)
{
    world *w = world_of(state);
    note *row = new_row(w, 5);
    asyncore_map *map;

    for (int within = 0; within < 2; within++) {
        map = asyncore_map_new(NULL);
        traced = 0;
        for (int i = 1; i < 5; i++)
            asyncore_call_later(&row[i].timer, map, 10 * (i / 2), ran, &row[i]);
        asyncore_call_every(&row[4].timer, map, 10, ran, &row[4]);
        if (within) {
            row[0].map = map;
            asyncore_call_every(&row[0].timer, map, 1, free_map, &row[0]);
            asyncore_timer_cancel(&row[1].timer);
            asyncore_loop(map, -1, -1);
            assert_string_equal(trace, "a");
        } else {
            asyncore_map_free(map);
        }
        asyncore_timer_cancel(&row[2].timer);
        asyncore_call_later(&row[3].timer, w->map, 10, ran, &row[3]);
        asyncore_loop(w->map, -1, -1);
        assert_string_equal(trace, within ? "ad" : "d");
    }
}

/* A loop without timers does not ask what time it is. */
static void no_clock_without_timers(void **state)
{
    world *w = world_of(state);
    int peer, reads;
    recorder *r = restless(w, &counting, &peer);
    note *n;

    reads = clock_reads();
    run_turns(w->map, 100);
    asyncore_loop(w->map, -1, 100);
    assert_int_equal(r->ran.read, 200);
    assert_int_equal(clock_reads(), reads);
    n = later(w, 'a', 10, ran);
    asyncore_timer_cancel(&n->timer);
    later(w, 'b', 0, ran);
    run_turns(w->map, 1);
    reads = clock_reads();
    run_turns(w->map, 100);
    assert_int_equal(clock_reads(), reads);
    asyncore_close(&r->dispatcher);
    close(peer);
}

static bool take_time(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);

    if (r->flag)
        clock_advance(30 * CLOCK_MS);
    return true;
}

static void read_for_long(asyncore_dispatcher *d)
{
    char data[16];

    if (asyncore_recv(d, data, sizeof data) > 0)
        clock_advance(300 * CLOCK_MS);
}

/* The time that handlers take does not make a wait longer, and what becomes
   due meanwhile is not waited for. */
static void handlers_take_time(void **state)
{
    static const asyncore_handlers slow_to_read = {
        .handle_read = read_for_long,
    };
    static const asyncore_handlers slow_to_ask = {
        .readable = take_time,
        .handle_read = record_read,
    };
    world *w = world_of(state);
    int64_t start = clock_now();
    note *n = later(w, 'a', 100, ran), *m;
    int peer[2], waits;
    recorder *r = restless(w, &slow_to_read, &peer[0]);

    assert_int_equal(asyncore_poll(w->map, -1), 1);
    waits = clock_waits();
    if (n->runs == 0)
        assert_int_equal(asyncore_poll(w->map, -1), 0);
    assert_true(clock_waits() - waits <= 1);
    assert_int_equal(n->runs, 1);
    assert_int_equal(n->ran_at, start + 300 * CLOCK_MS);

    /* One that another handler's turn and a predicate come before. */
    asyncore_close(&r->dispatcher);
    r = restless(w, &slow_to_ask, &peer[1]);
    assert_int_equal(asyncore_poll(w->map, -1), 1);
    r->flag = true;
    start = clock_now();
    m = later(w, 'b', 100, ran);
    assert_int_equal(asyncore_poll(w->map, -1), 0);
    assert_int_equal(m->runs, 1);
    assert_int_equal(m->ran_at, start + 100 * CLOCK_MS);
    asyncore_close(&r->dispatcher);
    close(peer[0]);
    close(peer[1]);
}

/* ---- Many -------------------------------------------------------------- */

enum { MANY = 1000000 / ONE_IN };

typedef struct one {
    asyncore_timer timer;
    uint64_t order; /* of its last setting */
    int64_t when, every;
    bool set;
} one;

static struct {
    one *all;
    uint64_t random, order;
    size_t set, ran;
    bool wrong;
    int64_t when;        /* of the last that ran */
    uint64_t last_order; /* likewise */
    asyncore_map *map;
} many;

static uint64_t draw(uint64_t below)
{
    many.random ^= many.random << 13;
    many.random ^= many.random >> 7;
    many.random ^= many.random << 17;
    return many.random % below;
}

static void set_one(one *o);

/* The order in which they run must be that of (when, order), each once and at
   its time: that leaves but one sequence. */
static void one_ran(void *arg)
{
    one *o = arg;

    many.wrong |= !o->set || clock_now() < o->when;
    many.wrong |= clock_now() >= o->when + CLOCK_MS;
    many.wrong |= o->when < many.when ||
                  (o->when == many.when && o->order < many.last_order);
    many.when = o->when;
    many.last_order = o->order;
    many.ran++;
    if (o->every > 0 && draw(4) > 0) {
        /* Its next beat was set before it ran. */
        o->order = many.order++;
        while (o->when <= clock_now())
            o->when += o->every;
    } else {
        asyncore_timer_cancel(&o->timer);
        o->set = false;
        many.set--;
    }
    if (draw(16) == 0)
        set_one(&many.all[draw(MANY)]);
}

static void set_one(one *o)
{
    int64_t delay = (int64_t)draw(5000) + 1;

    many.set += !o->set;
    o->set = true;
    o->order = many.order++;
    o->when = clock_now() + delay * CLOCK_MS;
    o->every = draw(8) == 0 ? delay * CLOCK_MS : 0;
    if (o->every > 0)
        asyncore_call_every(&o->timer, many.map, delay, one_ran, o);
    else
        asyncore_call_later(&o->timer, many.map, delay, one_ran, o);
}

static void a_million(void **state)
{
    world *w = world_of(state);
    const char *seed = getenv("ASYNCORE_SEED");

    memset(&many, 0, sizeof many);
    many.map = w->map;
    many.all = lend(w, MANY * sizeof *many.all);
    many.random = seed != NULL ? strtoull(seed, NULL, 10) : 1;
    print_message("ASYNCORE_SEED=%llu\n", (unsigned long long)many.random);
    many.random = many.random * UINT64_C(2862933555777941757) + 3037000493;
    for (size_t i = 0; i < MANY; i++)
        set_one(&many.all[i]);
    for (size_t i = 0; i < MANY; i++) {
        one *o = &many.all[draw(MANY)];

        if (draw(2) == 0) {
            set_one(o);
        } else {
            asyncore_timer_cancel(&o->timer);
            many.set -= o->set;
            o->set = false;
        }
        if (i % 1000 == 0)
            asyncore_poll(w->map, (int)draw(3));
    }
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_false(many.wrong);
    assert_int_equal(many.set, 0);
    assert_true(many.ran > MANY / 2);
}

/* ------------------------------------------------------------------------ */

#define FROZEN(test) \
    { \
#test, test, begin_frozen, end_frozen, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        FROZEN(once),
        FROZEN(never_early),
        FROZEN(from_a_slow_callback),
        FROZEN(extremes),
        FROZEN(order_among_equals),
        FROZEN(order_of_moments),
        FROZEN(set_anew),
        FROZEN(set_anew_where_it_is),
        FROZEN(two_maps),
        FROZEN(default_map),
        FROZEN(no_drift),
        FROZEN(no_burst),
        FROZEN(slower_than_its_interval),
        FROZEN(once_and_every),
        FROZEN(cancel),
        FROZEN(restart),
        FROZEN(free_from_a_callback),
        FROZEN(no_starvation),
        FROZEN(at_once_without_others),
        FROZEN(from_a_handler),
        FROZEN(with_call_soon),
        FROZEN(from_handle_free),
        FROZEN(nested),
        FROZEN(timeouts),
        FROZEN(end_of_loop),
        FROZEN(stop_from_a_timer),
        FROZEN(map_freed),
        FROZEN(no_clock_without_timers),
        FROZEN(handlers_take_time),
        FROZEN(a_million),
    };

    return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
