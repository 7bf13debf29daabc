/*
 * test_another_loop.c - a map inside a loop that is not the library's.
 *
 * The other loop waits for what asyncore_map_pollfds says, or in a second run
 * for the descriptor of asyncore_map_fileno in an epoll of its own, which is
 * told of it once. It never looks by itself: what does not wake it fails the
 * test.
 */
#include "support/accept.h"
#include "support/clock.h"
#include "support/link.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef ASYNCORE_HAVE_EPOLL
#include <sys/epoll.h>
#endif

enum { ROOM = 1024, CROWD = 300 };

static bool by_fileno;
static int outer = -1; /* the epoll of the second run */

static int use_fileno(void **state)
{
    (void)state;
    by_fileno = true;
    return 0;
}

static int begin(void **state)
{
    if (begin_unix(state) < 0)
        return -1;
#ifdef ASYNCORE_HAVE_EPOLL
    if (by_fileno) {
        struct epoll_event event = { .events = EPOLLIN };
        world *w = *state;
        int fd = asyncore_map_fileno(w->map);

        outer = epoll_create1(EPOLL_CLOEXEC);
        if (fd < 0 || epoll_ctl(outer, EPOLL_CTL_ADD, fd, &event) < 0)
            return -1;
    }
#endif
    return 0;
}

static int end(void **state)
{
    clock_release();
    if (by_fileno)
        close(outer);
    return end_world(state);
}

/* Whether anything is ready after so long a wait of the other loop. */
static bool wait_outside(asyncore_map *map, int timeout)
{
    static struct pollfd fds[ROOM];
    int count;

#ifdef ASYNCORE_HAVE_EPOLL
    if (by_fileno) {
        struct epoll_event event;

        return epoll_wait(outer, &event, 1, timeout) > 0;
    }
#endif
    count = asyncore_map_pollfds(map, fds, ROOM);
    assert_in_range(count, 1, ROOM);
    return poll(fds, (nfds_t)count, timeout) > 0;
}

/* One turn of the other loop. */
static int turn(asyncore_map *map)
{
    int timeout = asyncore_map_timeout(map);

    if (!wait_outside(map, timeout < 0 ? DEADLINE_MS : timeout) && timeout < 0)
        fail_msg("nothing has woken the other loop");
    return asyncore_poll(map, 0);
}

static bool is_awake(asyncore_map *map)
{
    return asyncore_map_timeout(map) == 0 || wait_outside(map, 0);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

/* ---- Descriptors ------------------------------------------------------- */

static void conversation(void **state)
{
    world *w = world_of(state);
    int peers[2];
    recorder *r[2];

    for (int i = 0; i < 2; i++)
        r[i] = join_pair(w, &recorder_handlers, &peers[i]);
    for (int round = 1; round <= 3; round++) {
        assert_false(is_awake(w->map));
        peer_write(peers[0], "x", 1);
        assert_int_equal(turn(w->map), 1);
        assert_int_equal(r[0]->size, round);
        peer_write(peers[0], "x", 1);
        peer_write(peers[1], "y", 1);
        assert_int_equal(turn(w->map), 2);
        assert_int_equal(r[0]->size, ++round);
    }
    asyncore_set_writable(&r[0]->dispatcher, true);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r[0]->ran.write, 1);
    asyncore_set_writable(&r[0]->dispatcher, false);
    assert_false(is_awake(w->map));
    close(peers[0]);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r[0]->ran.close, 1);
    assert_int_equal(r[0]->ran.free, 1);
    assert_false(is_awake(w->map));
    close(peers[1]);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(asyncore_map_count(w->map), 0);
    assert_int_equal(asyncore_map_timeout(w->map), -1);
    assert_false(is_awake(w->map));
}

/* More than one turn serves. */
static void crowd(void **state)
{
    world *w = world_of(state);
    static int peers[CROWD];
    recorder *last = NULL;
    int served = 0;

    for (int i = 0; i < CROWD; i++) {
        int ends[2];

        peer_pair(SOCK_STREAM, ends);
        peers[i] = ends[1];
        if (last == NULL || i % 10 == 0)
            last = lend(w, 10 * sizeof *last);
        assert_int_equal(asyncore_dispatcher_init(&last[i % 10].dispatcher,
                                                  &recorder_handlers, ends[0],
                                                  w->map),
                         0);
        peer_write(peers[i], "x", 1);
    }
    while (served < CROWD)
        served += turn(w->map);
    assert_int_equal(served, CROWD);
    assert_false(is_awake(w->map));
    for (int i = 0; i < CROWD; i++)
        close(peers[i]);
    while (asyncore_map_count(w->map) > 0)
        turn(w->map);
}

/* Nothing is asked of it, and its end is told nevertheless. */
static void end_of_a_quiet_one(void **state)
{
    world *w = world_of(state);
    int peers[2];
    recorder *r = join_pair(w, &recorder_handlers, &peers[0]);
    recorder *paused = join_pair(w, &recorder_handlers, &peers[1]);

    asyncore_set_readable(&r->dispatcher, false);
    asyncore_set_readable(&paused->dispatcher, false);
    peer_write(peers[1], "x", 1);
    assert_false(is_awake(w->map));
    run_turns(w->map, 3);
    assert_false(is_awake(w->map));
    close(peers[0]);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r->ran.close, 1);
    assert_false(is_awake(w->map));
    asyncore_set_readable(&paused->dispatcher, true);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(paused->size, 1);
    close(peers[1]);
}

/* The kernel calls it ready always; epoll does not. */
static void regular_file(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    char name[] = "/tmp/asyncore.XXXXXX";
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(write(fd, "text", 4), 4);
    lseek(fd, 0, SEEK_SET);
    assert_int_equal(
        asyncore_file_dispatcher_init(&r->file, &recorder_handlers, fd, w->map),
        0);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r->size, 4);
    asyncore_set_readable(&r->dispatcher, false);
    assert_false(is_awake(w->map));
    asyncore_set_readable(&r->dispatcher, true);
    assert_true(is_awake(w->map));
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r->ran.close, 1);
    assert_false(is_awake(w->map));
    close(fd);
}

static bool answer;

static bool ask(asyncore_dispatcher *d)
{
    (void)d;
    return answer;
}

static const asyncore_handlers asked = {
    .readable = ask,
    .handle_read = record_read,
};

static void predicates(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_pair(w, &asked, &peer);

    answer = false;
    peer_write(peer, "x", 1);
    assert_false(is_awake(w->map));
    answer = true;
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r->size, 1);
    assert_false(is_awake(w->map));
    close(peer);
}

/* A registration that outlives its descriptor has the poller make a new epoll;
   the other loop's own registration must not outlive that. */
static void left_behind(void **state)
{
    world *w = world_of(state);
    int peers[2], calls = 0, hold[2], copy, fd = asyncore_map_fileno(w->map);
    recorder *gone = join_pair(w, &recorder_handlers, &peers[0]);
    recorder *r = join_pair(w, &recorder_handlers, &peers[1]);
    char byte;
    pid_t pid;

    assert_false(is_awake(w->map));
    /* A child that has the old epoll, too. */
    assert_int_equal(pipe(hold), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(hold[1]);
        _exit(read(hold[0], &byte, 1) != 0);
    }
    copy = dup(gone->dispatcher.fd);
    close(gone->dispatcher.fd);
    asyncore_close(&gone->dispatcher);
    peer_write(peers[0], "x", 1);
    /* Seen on epoll alone. */
    for (int i = 0; i < 3; i++)
        if (is_awake(w->map))
            turn(w->map);
    assert_false(is_awake(w->map));
    assert_int_equal(asyncore_map_fileno(w->map), fd);
    peer_write(peers[1], "x", 1);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r->size, 1);
    assert_int_equal(asyncore_call_soon(w->map, count, &calls), 0);
    turn(w->map);
    assert_int_equal(calls, 1);
    close(hold[0]);
    close(hold[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(copy);
    close(peers[0]);
    close(peers[1]);
}

/* After a fork the other loop asks for it anew. */
static void after_a_fork(void **state)
{
    world *w = world_of(state);
    int peer, calls = 0, status = -1;
    recorder *r = join_pair(w, &recorder_handlers, &peer);
    pid_t pid;

    assert_false(is_awake(w->map));
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct pollfd fds[ROOM];
        int n;

        alarm(TEST_SECONDS);
        if (asyncore_map_after_fork(w->map) < 0 ||
            asyncore_call_soon(w->map, count, &calls) < 0)
            _exit(1);
        (void)asyncore_map_timeout(w->map);
        n = asyncore_map_pollfds(w->map, fds, ROOM);
        if (by_fileno) {
            fds[0].fd = asyncore_map_fileno(w->map);
            n = 1;
        }
        if (poll(fds, (nfds_t)n, DEADLINE_MS) != 1)
            _exit(2);
        _exit(asyncore_poll(w->map, 0) != 0 || calls != 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_false(is_awake(w->map));
    peer_write(peer, "x", 1);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r->size, 1);
    close(peer);
}

/* ---- Wakeups ----------------------------------------------------------- */

static void *post(void *arg)
{
    int *calls = arg;

    if (asyncore_call_soon(asyncore_socket_map(), count, calls) < 0)
        *calls = -1000;
    return NULL;
}

static void calls_of_other_threads(void **state)
{
    world *w = world_of(state);
    int calls = 0;

    for (int i = 1; i <= 3; i++) {
        pthread_t thread;

        assert_false(is_awake(w->map));
        assert_int_equal(pthread_create(&thread, NULL, post, &calls), 0);
        assert_int_equal(turn(w->map), 0);
        pthread_join(thread, NULL);
        assert_int_equal(calls, i);
    }
    assert_false(is_awake(w->map));
}

/* With nothing in the map it does not go on for ever. */
static void wakeup_of_an_empty_map(void **state)
{
    world *w = world_of(state);

    for (int i = 0; i < 3; i++) {
        assert_int_equal(asyncore_map_timeout(w->map), -1);
        asyncore_wakeup(w->map);
        assert_int_equal(turn(w->map), 0);
        assert_false(is_awake(w->map));
    }
}

static void signals(void **state)
{
    world *w = world_of(state);
    asyncore_signal_handler *handler = lend(w, sizeof *handler);
    int calls = 0;

    asyncore_signal(handler, w->map, SIGUSR1, count, &calls);
    for (int i = 1; i <= 3; i++) {
        assert_false(is_awake(w->map));
        raise(SIGUSR1);
        assert_int_equal(turn(w->map), 0);
        assert_int_equal(calls, i);
    }
    asyncore_signal_cancel(handler);
    assert_false(is_awake(w->map));
}

static void stop_map(void *arg)
{
    count(arg);
    asyncore_stop(NULL);
}

/* It ends a turn, and what that has left over is for the next. */
static void stopped(void **state)
{
    world *w = world_of(state);
    int peer, calls = 0;
    recorder *r = join_pair(w, &recorder_handlers, &peer);

    for (int i = 0; i < 3; i++)
        assert_int_equal(asyncore_call_soon(w->map, stop_map, &calls), 0);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(turn(w->map), 0);
        assert_int_equal(calls, i);
    }
    assert_false(is_awake(w->map));
    asyncore_stop(w->map);
    peer_write(peer, "x", 1);
    assert_int_equal(asyncore_map_timeout(w->map), 0);
    assert_int_equal(asyncore_map_timeout(w->map), 0);
    assert_int_equal(turn(w->map), 0);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r->size, 1);
    close(peer);
}

/* ---- Time -------------------------------------------------------------- */

static void timers(void **state)
{
    world *w = world_of(state);
    asyncore_timer *one = lend(w, 2 * sizeof *one), *beat = one + 1;
    int calls = 0, beats = 0, turns = 0;

    clock_freeze();
    assert_int_equal(asyncore_map_timeout(w->map), -1);
    asyncore_call_later(one, w->map, 50, count, &calls);
    assert_int_equal(asyncore_map_timeout(w->map), 50);
    clock_advance(20 * CLOCK_MS + 1);
    assert_int_equal(asyncore_map_timeout(w->map), 30);
    assert_int_equal(turn(w->map), 0);
    assert_int_equal(calls, 1);
    assert_int_equal(asyncore_map_timeout(w->map), -1);
    asyncore_call_later(one, w->map, 0, count, &calls);
    assert_int_equal(asyncore_map_timeout(w->map), 0);
    turn(w->map);
    assert_int_equal(calls, 2);
    asyncore_call_every(beat, w->map, 100, count, &beats);
    while (beats < 10) {
        turn(w->map);
        turns++;
    }
    assert_int_equal(turns, 10);
    asyncore_timer_cancel(beat);
}

static int shortages; /* so many accepts to come fail */

WRAP_ACCEPT
{
    if (shortages == 0)
        return REAL_ACCEPT();
    shortages--;
    errno = EMFILE;
    return -1;
}

/* A listener without descriptors waits, and is not waited for. */
static void shortage(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at = listen_at(w, &r->dispatcher, &recorder_handlers);
    int peer, timeout;

    clock_freeze();
    assert_false(is_awake(w->map));
    peer = peer_connect(&at);
    shortages = 1;
    turn(w->map);
    assert_int_equal(r->error, EMFILE);
    do
        timeout = asyncore_map_timeout(w->map);
    while (timeout == 0);
    assert_in_range(timeout, 90, 100);
    assert_false(wait_outside(w->map, timeout));
    assert_int_equal(r->ran.accepted, 0);
    assert_int_equal(asyncore_poll(w->map, 0), 1);
    assert_int_equal(r->ran.accepted, 1);
    assert_false(is_awake(w->map));
    close(peer);
}

/* ---- Handlers of the first half ---------------------------------------- */

static bool close_self(asyncore_dispatcher *d)
{
    asyncore_close(d);
    return true;
}

static const asyncore_handlers self_closing = {
    .readable = close_self,
    .handle_free = record_free,
};

static void freed_by_the_first_half(void **state)
{
    world *w = world_of(state);
    int peers[2];
    recorder *r = join_pair(w, &recorder_handlers, &peers[0]);

    asyncore_close(&r->dispatcher);
    assert_int_equal(r->ran.free, 0);
    (void)asyncore_map_timeout(w->map);
    assert_int_equal(r->ran.free, 1);
    r = join_pair(w, &self_closing, &peers[1]);
    (void)asyncore_map_timeout(w->map);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(asyncore_map_timeout(w->map), -1);
    close(peers[0]);
    close(peers[1]);
}

/* Closed behind the library's back, and its number taken. */
static void evicted(void **state)
{
    world *w = world_of(state);
    int peers[2], ends[2];
    recorder *r = join_pair(w, &recorder_handlers, &peers[0]);
    recorder *next = lend(w, sizeof *next);
    int fd = r->dispatcher.fd;

    peer_pair(SOCK_STREAM, ends);
    peers[1] = ends[1];
    assert_int_equal(dup2(ends[0], fd), fd);
    close(ends[0]);
    assert_int_equal(asyncore_dispatcher_init(&next->dispatcher,
                                              &recorder_handlers, fd, w->map),
                     0);
    assert_int_equal(asyncore_map_timeout(w->map), 0);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, EBADF);
    assert_false(is_awake(w->map));
    close(peers[1]);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(next->ran.close, 1);
    close(peers[0]);
}

static bool stop_it(asyncore_dispatcher *d)
{
    if (recorder_of(d)->ran.read++ == 0)
        asyncore_stop(d->map);
    return true;
}

static const asyncore_handlers stopping = {
    .readable = stop_it,
    .handle_read = record_read,
};

static void stopped_in_the_first_half(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_pair(w, &stopping, &peer);

    assert_int_equal(asyncore_map_timeout(w->map), 0);
    peer_write(peer, "x", 1);
    assert_int_equal(turn(w->map), 1);
    assert_int_equal(r->size, 1);
    close(peer);
}

static bool free_map(asyncore_dispatcher *d)
{
    asyncore_map_free(d->map);
    return true;
}

static const asyncore_handlers freeing = {
    .readable = free_map,
    .handle_free = record_free,
};

static void map_freed_in_the_first_half(void **state)
{
    world *w = world_of(state);
    asyncore_map *map = asyncore_map_new(NULL);
    recorder *r = lend(w, sizeof *r);
    int ends[2];

    assert_non_null(map);
    peer_pair(SOCK_STREAM, ends);
    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &freeing, ends[0], map), 0);
    assert_int_equal(asyncore_map_timeout(map), 0);
    assert_int_equal(r->ran.free, 1);
    close(ends[1]);
}

/* A whole turn of it in a handler, which serves the other one. */
static int inner;

static void turn_in_a_handler(asyncore_dispatcher *d)
{
    record_read(d);
    if (inner < 0) {
        (void)asyncore_map_timeout(d->map);
        inner = asyncore_poll(d->map, 0);
    }
}

static const asyncore_handlers nesting = {
    .handle_read = turn_in_a_handler,
};

static void nested(void **state)
{
    world *w = world_of(state);
    int peers[2];
    recorder *r[2];

    inner = -1;
    for (int i = 0; i < 2; i++) {
        r[i] = join_pair(w, &nesting, &peers[i]);
        peer_write(peers[i], "x", 1);
    }
    turn(w->map);
    assert_int_equal(inner, 1);
    assert_int_equal(r[0]->size + r[1]->size, 2);
    assert_false(is_awake(w->map));
    close(peers[0]);
    close(peers[1]);
}

/* ---- What is told ------------------------------------------------------ */

static void room(void **state)
{
    world *w = world_of(state);
    bool one = strcmp(asyncore_map_backend(w->map), "epoll") == 0;
    struct pollfd fds[5];
    int peers[3], all = one ? 1 : 4;

    for (int i = 0; i < 3; i++)
        (void)join_pair(w, &recorder_handlers, &peers[i]);
    (void)asyncore_map_timeout(w->map);
    assert_int_equal(asyncore_map_pollfds(w->map, NULL, 0), all);
    for (int capacity = 0; capacity <= 4; capacity++) {
        memset(fds, 0x55, sizeof fds);
        assert_int_equal(asyncore_map_pollfds(NULL, fds, capacity), all);
        for (int i = 0; i < 5; i++) {
            bool filled = i < capacity && i < all;

            assert_int_equal(fds[i].fd != 0x55555555, filled);
            assert_true(!filled || fds[i].events == POLLIN);
        }
    }
    for (int i = 0; i < 3; i++)
        close(peers[i]);
}

static void descriptor(void **state)
{
    world *w = world_of(state);
    int fd;

    errno = 0;
    fd = asyncore_map_fileno(w->map);
    if (strcmp(asyncore_map_backend(w->map), "epoll") == 0) {
        assert_true(fd >= 0);
        assert_int_equal(asyncore_map_fileno(NULL), fd);
    } else {
        assert_int_equal(fd, -1);
        assert_int_equal(errno, ENOTSUP);
    }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(conversation),
        CASE(crowd),
        CASE(end_of_a_quiet_one),
        CASE(regular_file),
        CASE(predicates),
        CASE(left_behind),
        CASE(after_a_fork),
        CASE(calls_of_other_threads),
        CASE(wakeup_of_an_empty_map),
        CASE(signals),
        CASE(stopped),
        CASE(timers),
        CASE(shortage),
        CASE(freed_by_the_first_half),
        CASE(evicted),
        CASE(stopped_in_the_first_half),
        CASE(map_freed_in_the_first_half),
        CASE(nested),
        CASE(room),
        CASE(descriptor),
    };
    int failed = cmocka_run_group_tests_name("pollfds", tests, NULL, NULL);
    const char *backend = getenv("ASYNCORE_BACKEND");

    if (backend != NULL && strcmp(backend, "epoll") == 0)
        failed +=
            cmocka_run_group_tests_name("fileno", tests, use_fileno, NULL);
    return failed;
}
