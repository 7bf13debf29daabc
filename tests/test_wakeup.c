/*
 * test_wakeup.c - what other threads and signal handlers may do to a loop.
 */
#include "support/link.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 8, CALLS = 1000000 / THREADS, FOREVER = -1 };

/* The thread sanitizer does not know select(2), and holds a signal back until
   the next call that it knows. */
#ifdef __SANITIZE_THREAD__
#define UNTIL_A_SIGNAL 100
#else
#define UNTIL_A_SIGNAL FOREVER
#endif

/* A loop that is not woken would never end. */
static int set_up(void **state)
{
    alarm(TEST_SECONDS);
    return begin_unix(state);
}

static int tear_down(void **state)
{
    alarm(0);
    return end_world(state);
}

/* Notes its argument's number in the order in which the calls are made. */
typedef struct note {
    int number;
    asyncore_map *map;
} note;

static int made[64];
static int made_count;

static void notes_from_here(void)
{
    made_count = 0;
}

static void make(void *arg)
{
    const note *n = arg;

    if (made_count < 64)
        made[made_count] = n->number;
    made_count++;
}

static void assert_made_in_order(int count)
{
    assert_int_equal(made_count, count);
    for (int i = 0; i < count; i++)
        assert_int_equal(made[i], i);
}

static void post(asyncore_map *map, void (*fn)(void *arg), void *arg)
{
    assert_int_equal(asyncore_call_soon(map, fn, arg), 0);
}

static void stop(void *map)
{
    asyncore_stop(map);
}

/* ---- Calls ------------------------------------------------------------- */

static void in_order(void **state)
{
    world *w = world_of(state);
    note n[10];

    notes_from_here();
    for (int i = 0; i < 10; i++) {
        n[i].number = i;
        post(i % 2 ? w->map : NULL, make, &n[i]);
    }
    assert_int_equal(made_count, 0);
    assert_int_equal(asyncore_poll(w->map, FOREVER), 0);
    assert_made_in_order(10);
    /* The loop ends with them, an empty map is not waited for. */
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    assert_int_equal(asyncore_poll(w->map, FOREVER), 0);
    assert_made_in_order(10);
}

static void the_loop_ends_when_they_are_made(void **state)
{
    world *w = world_of(state);
    note n = { 0, NULL };

    notes_from_here();
    post(w->map, make, &n);
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    assert_int_equal(made_count, 1);
}

static void make_and_post(void *arg)
{
    note *n = arg;

    make(n);
    n->number++;
    if (n->number < 5)
        asyncore_call_soon(n->map, make_and_post, n);
}

/* One posted by a call is made in the next turn. */
static void from_a_call(void **state)
{
    world *w = world_of(state);
    note n = { 0, w->map };

    notes_from_here();
    post(w->map, make_and_post, &n);
    for (int turn = 1; turn <= 5; turn++) {
        assert_int_equal(asyncore_poll(w->map, FOREVER), 0);
        assert_made_in_order(turn);
    }
    n.number = 0;
    notes_from_here();
    post(w->map, make_and_post, &n);
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    assert_made_in_order(5);
}

static void read_and_post(asyncore_dispatcher *d)
{
    record_read(d);
    asyncore_call_soon(d->map, make, recorder_of(d)->arg);
}

static const asyncore_handlers posting = {
    .handle_read = read_and_post,
    .handle_write = record_write,
    .handle_close = record_close,
    .handle_free = record_free,
};

static void from_a_handler(void **state)
{
    world *w = world_of(state);
    note n = { 0, w->map };
    int peer;
    recorder *r = join_pair(w, &posting, &peer);

    r->arg = &n;
    notes_from_here();
    peer_write(peer, "x", 1);
    run_until(w->map, r->size == 1);
    run_until(w->map, made_count == 1);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    assert_int_equal(made_count, 1);
    close(peer);
}

static void close_it(void *arg)
{
    asyncore_close(arg);
}

/* A call may do what a handler may. */
static void closing_in_a_call(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_pair(w, &posting, &peer);

    post(w->map, close_it, &r->dispatcher);
    post(w->map, close_it, &r->dispatcher);
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->ran.close, 0);
    close(peer);
}

static void stop_keeps_the_rest(void **state)
{
    world *w = world_of(state);
    note n[4];
    int peer;

    join_pair(w, &posting, &peer);
    notes_from_here();
    for (int i = 0; i < 4; i++) {
        n[i].number = i;
        post(w->map, make, &n[i]);
        if (i == 1)
            post(w->map, stop, w->map);
    }
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    assert_made_in_order(2);
    assert_int_equal(asyncore_poll(w->map, FOREVER), 0);
    assert_made_in_order(4);
    close(peer);
}

/* Those that a stop left over come before those posted after it. */
static void stop_and_post(void *arg)
{
    note *n = arg;

    asyncore_stop(n->map);
    asyncore_call_soon(n->map, make, n);
}

static void stop_keeps_the_order(void **state)
{
    world *w = world_of(state);
    note n[4] = { { 0, w->map }, { 1, w->map }, { 2, w->map }, { 3, w->map } };

    notes_from_here();
    post(w->map, make, &n[0]);
    post(w->map, stop_and_post, &n[2]);
    post(w->map, make, &n[1]);
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    assert_made_in_order(1);
    post(w->map, make, &n[3]);
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    assert_made_in_order(4);
}

static void make_and_turn(void *arg)
{
    note *n = arg;

    make(n);
    asyncore_call_soon(n->map, make, n + 2);
    asyncore_poll(n->map, FOREVER);
}

/* A turn inside a call goes on where that was. */
static void turn_inside_a_call(void **state)
{
    world *w = world_of(state);
    note n[4] = { { 0, w->map }, { 1, w->map }, { 2, w->map }, { 3, w->map } };

    notes_from_here();
    post(w->map, make_and_turn, &n[0]);
    post(w->map, make, &n[1]);
    assert_int_equal(asyncore_poll(w->map, FOREVER), 0);
    assert_made_in_order(3);
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    assert_made_in_order(3);
}

static void only_turn(void *arg)
{
    note *n = arg;

    make(n);
    asyncore_poll(n->map, FOREVER);
}

/* What was posted before the turn is made in it, though nothing is posted
   meanwhile that would wake it. */
static void waiting_inside_a_call(void **state)
{
    world *w = world_of(state);
    note n[2] = { { 0, w->map }, { 1, w->map } };
    int peer;

    join_pair(w, &posting, &peer);
    notes_from_here();
    post(w->map, only_turn, &n[0]);
    post(w->map, make, &n[1]);
    assert_int_equal(asyncore_poll(w->map, FOREVER), 0);
    assert_made_in_order(2);
    close(peer);
}

static void dropped_with_the_map(void **state)
{
    note n = { 0, NULL };
    asyncore_map *map = asyncore_map_new(NULL);

    (void)state;
    notes_from_here();
    for (int i = 0; i < 5; i++)
        post(map, make, &n);
    post(map, stop, map);
    for (int i = 0; i < 5; i++)
        post(map, make, &n);
    assert_int_equal(asyncore_loop(map, FOREVER, -1), 0);
    assert_int_equal(made_count, 5);
    asyncore_map_free(map);
    assert_int_equal(made_count, 5);
}

static void free_the_map(void *map)
{
    asyncore_map_free(map);
}

static void map_freed_in_a_call(void **state)
{
    note n = { 0, NULL };
    asyncore_map *map = asyncore_map_new(NULL);

    (void)state;
    notes_from_here();
    post(map, free_the_map, map);
    post(map, make, &n);
    asyncore_loop(map, FOREVER, -1);
    assert_int_equal(made_count, 0);
}

/* ---- Threads ----------------------------------------------------------- */

typedef struct worker {
    pthread_t thread;
    asyncore_map *map;
    int next; /* the number of the call that is due */
    bool failed;
} worker;

typedef struct numbered {
    worker *of;
    int number;
} numbered;

static int workers_done;

static void check_number(void *arg)
{
    numbered *call = arg;
    worker *w = call->of;

    w->failed |= call->number != w->next++;
    if (w->next == CALLS && ++workers_done == THREADS)
        asyncore_stop(w->map);
    free(call);
}

static void *post_many(void *arg)
{
    worker *w = arg;

    for (int i = 0; i < CALLS; i++) {
        numbered *call = malloc(sizeof *call);

        if (call == NULL)
            abort();
        call->of = w;
        call->number = i;
        if (asyncore_call_soon(w->map, check_number, call) < 0)
            abort();
        if (i % 70 == 0)
            asyncore_wakeup(w->map);
    }
    return NULL;
}

/* A million calls from eight threads, each thread's in its order. */
static void many_threads(void **state)
{
    world *w = world_of(state);
    worker workers[THREADS];
    int peer;

    join_pair(w, &posting, &peer);
    workers_done = 0;
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){ .map = w->map };
        assert_int_equal(
            pthread_create(&workers[i].thread, NULL, post_many, &workers[i]),
            0);
    }
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].next, CALLS);
        assert_false(workers[i].failed);
    }
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    close(peer);
}

/* Back and forth: each end wakes the other, waiting without end. */
typedef struct player {
    asyncore_map *mine;
    struct player *other;
    int *left;
} player;

static void play(void *arg)
{
    player *p = arg;

    if (--*p->left <= 0) {
        asyncore_stop(p->mine);
        asyncore_call_soon(p->other->mine, stop, p->other->mine);
    } else {
        asyncore_call_soon(p->other->mine, play, p->other);
    }
}

static void *play_in_a_thread(void *arg)
{
    player *p = arg;

    asyncore_loop(p->mine, FOREVER, -1);
    return NULL;
}

static void two_loops(void **state)
{
    world *w = world_of(state);
    asyncore_map *map = asyncore_map_new(NULL);
    int left = 2000, ends[2][2];
    player a = { w->map, NULL, &left }, b = { map, &a, &left };
    recorder *r[2];
    pthread_t thread;

    a.other = &b;
    for (int i = 0; i < 2; i++) {
        peer_pair(SOCK_STREAM, ends[i]);
        r[i] = lend(w, sizeof *r[i]);
        assert_int_equal(asyncore_dispatcher_init(&r[i]->dispatcher, &posting,
                                                  ends[i][0],
                                                  i == 0 ? w->map : map),
                         0);
    }
    assert_int_equal(pthread_create(&thread, NULL, play_in_a_thread, &b), 0);
    post(map, play, &b);
    assert_int_equal(asyncore_loop(w->map, FOREVER, -1), 0);
    pthread_join(thread, NULL);
    assert_true(left <= 0);
    asyncore_map_free(map);
    close(ends[0][1]);
    close(ends[1][1]);
}

/* ---- Wakeups and signals ----------------------------------------------- */

static void woken_once(void **state)
{
    world *w = world_of(state);
    int peer;

    join_pair(w, &posting, &peer);
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j <= i * 1000; j++)
            asyncore_wakeup(w->map);
        assert_int_equal(asyncore_poll(w->map, FOREVER), 0);
        assert_in_range(turns_during(w->map, 30), 1, FEW_TURNS);
    }
    close(peer);
}

static asyncore_map *woken;
static volatile sig_atomic_t errno_was_kept;

static void wake(int number)
{
    int before = errno;

    (void)number;
    errno = EXDEV;
    asyncore_wakeup(woken);
    errno_was_kept = errno == EXDEV;
    errno = before;
}

/* It is woken already, and more would not fit: that is not told. */
static int write_error;

/* What wakes a loop is a write; only a test without threads counts. */
static bool counts_writes;
static int writes;

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    int error = write_error;

    if (counts_writes)
        writes++;
    if (error == 0)
        return __real_write(fd, data, size);
    if (error == EINTR)
        write_error = EAGAIN;
    errno = error;
    return -1;
}

static void errno_is_kept(void **state)
{
    world *w = world_of(state);

    errno = EXDEV;
    asyncore_wakeup(w->map);
    assert_int_equal(errno, EXDEV);
    write_error = EINTR;
    asyncore_wakeup(w->map);
    assert_int_equal(write_error, EAGAIN);
    write_error = 0;
    assert_int_equal(errno, EXDEV);
    asyncore_poll(w->map, 0);
}

/* Calls that are posted before the loop has come to the first cost it one
   waking. */
static void wakings_are_one(void **state)
{
    world *w = world_of(state);
    note n[64];
    int peer;

    join_pair(w, &posting, &peer);
    for (int round = 1; round <= 3; round++) {
        notes_from_here();
        writes = 0;
        counts_writes = true;
        for (int i = 0; i < 64; i++) {
            n[i].number = i;
            post(w->map, make, &n[i]);
        }
        counts_writes = false;
        assert_int_equal(writes, 1);
        assert_int_equal(asyncore_poll(w->map, FOREVER), 0);
        assert_made_in_order(64);
        assert_in_range(turns_during(w->map, 10), 1, FEW_TURNS);
    }
    close(peer);
}

static void *signal_the_main_thread(void *arg)
{
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

static void from_a_signal_handler(void **state)
{
    struct sigaction action = { .sa_handler = wake, .sa_flags = SA_RESTART };
    struct sigaction before;
    world *w = world_of(state);
    pthread_t self = pthread_self(), thread;
    int64_t until;
    int peer;

    join_pair(w, &posting, &peer);
    woken = w->map;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    for (int i = 0; i < 50; i++) {
        errno_was_kept = 0;
        assert_int_equal(
            pthread_create(&thread, NULL, signal_the_main_thread, &self), 0);
        /* An interrupted wait and one that is woken are both a turn. */
        for (until = now_ms() + DEADLINE_MS; !errno_was_kept;) {
            assert_int_equal(asyncore_poll(w->map, UNTIL_A_SIGNAL), 0);
            assert_true(now_ms() < until);
        }
        pthread_join(thread, NULL);
        assert_true(errno_was_kept);
        assert_int_equal(asyncore_poll(w->map, 0), 0);
    }
    errno_was_kept = 0;
    raise(SIGUSR1);
    assert_true(errno_was_kept);
    assert_int_equal(asyncore_poll(w->map, FOREVER), 0);
    sigaction(SIGUSR1, &before, NULL);
    close(peer);
}

/* Its wakeup has its turn among many that are ready. */
static void busy_map_is_woken_too(void **state)
{
    world *w = world_of(state);
    note n = { 0, w->map };
    int peer[60];

    for (int i = 0; i < 60; i++) {
        recorder *r = join_pair(w, &posting, &peer[i]);

        r->arg = &n;
        asyncore_set_writable(&r->dispatcher, true);
    }
    notes_from_here();
    post(w->map, make, &n);
    for (int turn = 0; turn < 3; turn++)
        asyncore_poll(w->map, FOREVER);
    assert_int_equal(made_count, 1);
    for (int i = 0; i < 60; i++)
        close(peer[i]);
}

static void forget_errno(asyncore_dispatcher *d)
{
    record_free(d);
    errno = ENOENT;
}

static void close_the_other(void *r)
{
    asyncore_close(&((recorder *)r)->dispatcher);
}

/* As daemons do with all that they do not know. */
static void own_descriptors_closed(void **state)
{
    static const asyncore_handlers forgetful = { .handle_free = forget_errno };
    world *w = world_of(state);
    asyncore_timer timer = { 0 };
    struct pollfd fds[4];
    int peer, others_peer, count;
    recorder *r = join_pair(w, &recorder_handlers, &peer);
    recorder *other = join_pair(w, &forgetful, &others_peer);

    asyncore_poll(w->map, 0);
    count = asyncore_map_pollfds(w->map, fds, 4);
    assert_in_range(count, 1, 4);
    for (int i = 0; i < count; i++)
        if (fds[i].fd != r->dispatcher.fd && fds[i].fd != other->dispatcher.fd)
            close(fds[i].fd);
    asyncore_call_later(&timer, w->map, 0, close_the_other, other);
    errno = 0;
    assert_int_equal(asyncore_loop(w->map, FOREVER, 100), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(asyncore_poll(w->map, FOREVER), -1);
    asyncore_timer_cancel(&timer);
    close(peer);
    close(others_peer);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(in_order),
        CASE(the_loop_ends_when_they_are_made),
        CASE(from_a_call),
        CASE(from_a_handler),
        CASE(closing_in_a_call),
        CASE(stop_keeps_the_rest),
        CASE(stop_keeps_the_order),
        CASE(turn_inside_a_call),
        CASE(waiting_inside_a_call),
        CASE(dropped_with_the_map),
        CASE(map_freed_in_a_call),
        CASE(many_threads),
        CASE(two_loops),
        CASE(woken_once),
        CASE(wakings_are_one),
        CASE(errno_is_kept),
        CASE(from_a_signal_handler),
        CASE(busy_map_is_woken_too),
        CASE(own_descriptors_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
