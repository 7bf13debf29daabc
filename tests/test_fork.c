/*
 * test_fork.c - a map in the child of a fork: asyncore_map_after_fork.
 *
 * A child never returns into the test: it exits, with 0 or the line of the
 * check that failed. What the library shows of readiness is looked at from
 * outside, through asyncore_map_pollfds.
 */
#include "map.h"

#include "support/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child, and only there. */
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            print_error("child: line %d: %s\n", __LINE__, #condition); \
            _exit(__LINE__ % 255 + 1); \
        } \
    } while (0)

/* Turns the loop of a child until the condition holds. */
#define CHECK_UNTIL(map, condition) \
    do { \
        int64_t until_ = now_ms() + DEADLINE_MS; \
        while (!(condition)) { \
            CHECK(now_ms() < until_); \
            CHECK(asyncore_poll(map, 20) >= 0); \
        } \
    } while (0)

/* Its time is limited, and its processor time, too: one that spins where every
   signal is blocked hears of no alarm. */
static pid_t fork_child(void)
{
    struct rlimit limit = { .rlim_cur = 20, .rlim_max = 20 };
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(TEST_SECONDS);
        (void)setrlimit(RLIMIT_CPU, &limit);
    }
    return pid;
}

/* The child (-1: one of them) has ended as it should. */
static void reap(pid_t pid)
{
    int status = -1;

    assert_true(waitpid(pid, &status, 0) > 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Whether a wait of the map would return at once. */
static bool is_awake(asyncore_map *map)
{
    struct pollfd fds[64];
    int timeout = asyncore_map_timeout(map);
    int count = asyncore_map_pollfds(map, fds, 64);

    return timeout == 0 || count > 64 || poll(fds, (nfds_t)count, 0) > 0;
}

/* One byte between the processes, by pipes that no map knows. */
typedef struct meeting {
    int parent[2], child[2];
} meeting;

static void meet(meeting *m)
{
    assert_int_equal(pipe(m->parent), 0);
    assert_int_equal(pipe(m->child), 0);
}

static void part(meeting *m)
{
    for (int i = 0; i < 2; i++) {
        close(m->parent[i]);
        close(m->child[i]);
    }
}

static bool tell(const int fds[2])
{
    return write(fds[1], "!", 1) == 1;
}

static bool hear(const int fds[2])
{
    struct pollfd one = { .fd = fds[0], .events = POLLIN };
    char byte;

    return poll(&one, 1, DEADLINE_MS) == 1 && read(fds[0], &byte, 1) == 1;
}

static void count(void *arg)
{
    ++*(int *)arg;
}

/* ---- Descriptors ------------------------------------------------------- */

/* Each of the two is served in one process, and closed in the other. */
static void both_are_served(void **state)
{
    world *w = world_of(state);
    int peers[2];
    recorder *mine = join_pair(w, &recorder_handlers, &peers[0]);
    recorder *its = join_pair(w, &recorder_handlers, &peers[1]);
    meeting m;
    pid_t pid;

    meet(&m);
    run_turns(w->map, 2);
    pid = fork_child();
    if (pid == 0) {
        CHECK(asyncore_map_after_fork(w->map) == 0);
        asyncore_close(&mine->dispatcher);
        CHECK(asyncore_poll(w->map, 0) == 0);
        CHECK(tell(m.child) && hear(m.parent));
        CHECK_UNTIL(w->map, its->size == 3);
        CHECK(memcmp(its->data, "its", 3) == 0);
        CHECK(mine->size == 0);
        CHECK(asyncore_send(&its->dispatcher, "thanks", 6) == 6);
        CHECK_UNTIL(w->map, its->size == 6);
        asyncore_map_free(w->map);
        _exit(0);
    }
    assert_true(hear(m.child));
    asyncore_close(&its->dispatcher);
    peer_write(peers[0], "mine", 4);
    run_until(w->map, mine->size == 4);
    peer_write(peers[1], "its", 3);
    assert_true(tell(m.parent));
    assert_int_equal(peer_read(peers[1], mine->data, 6), 6);
    assert_memory_equal(mine->data, "thanks", 6);
    peer_write(peers[1], "end", 3);
    reap(pid);
    assert_int_equal(its->size, 0);
    peer_write(peers[0], "more", 4);
    run_until(w->map, mine->size == 8);
    assert_int_equal(mine->ran.close + mine->ran.error, 0);
    part(&m);
    close(peers[0]);
    close(peers[1]);
}

/* Interest that the parent told its kernel of is told to the child's. */
static void interest_is_kept(void **state)
{
    world *w = world_of(state);
    int peers[3];
    recorder *r[3];
    pid_t pid;

    for (int i = 0; i < 3; i++)
        r[i] = join_pair(w, &recorder_handlers, &peers[i]);
    asyncore_set_readable(&r[0]->dispatcher, false);
    asyncore_set_writable(&r[1]->dispatcher, true);
    for (int i = 0; i < 2; i++)
        peer_write(peers[i], "x", 1);
    run_turns(w->map, 2);
    assert_int_equal(r[1]->ran.read, 1);
    pid = fork_child();
    if (pid == 0) {
        int written = r[1]->ran.write;

        CHECK(asyncore_map_after_fork(w->map) == 0);
        CHECK(asyncore_poll(w->map, 0) == 1);
        CHECK(r[1]->ran.write == written + 1);
        CHECK(r[0]->ran.read == 0);
        asyncore_set_readable(&r[0]->dispatcher, true);
        close(peers[2]);
        CHECK_UNTIL(w->map, r[0]->ran.read == 1);
        _exit(0);
    }
    reap(pid);
    run_turns(w->map, 2);
    assert_int_equal(r[0]->ran.read, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(r[i]->ran.close, 0);
        close(peers[i]);
    }
}

static void child_closes_everything(void **state)
{
    world *w = world_of(state);
    int peer, calls = 0;
    recorder *r = join_pair(w, &recorder_handlers, &peer);
    pid_t pid;

    run_turns(w->map, 2);
    pid = fork_child();
    if (pid == 0) {
        CHECK(asyncore_map_after_fork(w->map) == 0);
        asyncore_close_all(w->map);
        CHECK(r->ran.free == 1);
        CHECK(asyncore_loop(w->map, -1, -1) == 0);
        asyncore_set_socket_map(NULL);
        asyncore_map_free(w->map);
        _exit(0);
    }
    reap(pid);
    assert_int_equal(r->ran.free, 0);
    assert_false(is_awake(w->map));
    peer_write(peer, "x", 1);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
    assert_int_equal(r->size, 1);
    assert_int_equal(asyncore_call_soon(w->map, count, &calls), 0);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 0);
    assert_int_equal(calls, 1);
    close(peer);
    run_until(w->map, r->ran.close == 1);
}

/* A child of the child, and one that forks before it says so. */
static void generations(void **state)
{
    world *w = world_of(state);
    int peer, calls = 0;
    recorder *r = join_pair(w, &recorder_handlers, &peer);
    pid_t pid;

    pid = fork_child();
    if (pid == 0) {
        CHECK(asyncore_map_after_fork(w->map) == 0);
        CHECK(asyncore_map_after_fork(w->map) == 0);
        pid = fork();
        if (pid == 0)
            pid = fork();
        if (pid == 0) {
            CHECK(asyncore_map_after_fork(w->map) == 0);
            CHECK(asyncore_call_soon(w->map, count, &calls) == 0);
            CHECK_UNTIL(w->map, calls == 1);
            asyncore_close_all(w->map);
            _exit(0);
        }
        CHECK(waitpid(pid, &calls, 0) == pid && calls == 0);
        CHECK(asyncore_map_after_fork(w->map) == 0);
        peer_write(peer, "x", 1);
        CHECK_UNTIL(w->map, r->size == 1);
        _exit(0);
    }
    reap(pid);
    peer_write(peer, "y", 1);
    run_until(w->map, r->size == 1);
    assert_int_equal(r->data[0], 'y');
    close(peer);
}

static void regular_file(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    char name[] = "/tmp/asyncore.XXXXXX";
    int fd = mkstemp(name);
    pid_t pid;

    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(write(fd, "text", 4), 4);
    assert_int_equal(
        asyncore_file_dispatcher_init(&r->file, &recorder_handlers, fd, w->map),
        0);
    asyncore_set_readable(&r->dispatcher, false);
    run_turns(w->map, 2);
    pid = fork_child();
    if (pid == 0) {
        CHECK(asyncore_map_after_fork(w->map) == 0);
        lseek(fd, 0, SEEK_SET);
        asyncore_set_readable(&r->dispatcher, true);
        CHECK_UNTIL(w->map, r->size == 4);
        asyncore_map_free(w->map);
        _exit(0);
    }
    reap(pid);
    lseek(fd, 0, SEEK_SET);
    asyncore_set_readable(&r->dispatcher, true);
    run_until(w->map, r->size == 4);
    asyncore_close(&r->dispatcher);
    close(fd);
}

/* It belongs to the file that both have open. */
static void blocking_mode_is_the_parents(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    int ends[2];
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(asyncore_file_dispatcher_init(&r->file, &recorder_handlers,
                                                   ends[0], w->map),
                     0);
    pid = fork_child();
    if (pid == 0) {
        CHECK(asyncore_map_after_fork(w->map) == 0);
        asyncore_close_all(w->map);
        _exit(0);
    }
    reap(pid);
    assert_int_not_equal(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
    asyncore_close(&r->dispatcher);
    assert_int_equal(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
    close(ends[0]);
    close(ends[1]);
}

/* A child that closes with close(2) what is not for it, and only then says
   that it is one: the map's new descriptors take the numbers. */
static void closed_too_early(void **state)
{
    world *w = world_of(state);
    int peers[4], calls = 0;
    recorder *r[4];
    pid_t pid;

    for (int i = 0; i < 4; i++)
        r[i] = join_pair(w, &recorder_handlers, &peers[i]);
    run_turns(w->map, 2);
    pid = fork_child();
    if (pid == 0) {
        for (int i = 0; i < 3; i++)
            close(r[i]->dispatcher.fd);
        CHECK(asyncore_map_after_fork(w->map) == 0);
        CHECK_UNTIL(w->map, r[0]->ran.error + r[0]->ran.close > 0);
        CHECK_UNTIL(w->map, r[1]->ran.error + r[1]->ran.close > 0);
        CHECK_UNTIL(w->map, r[2]->ran.error + r[2]->ran.close > 0);
        CHECK(asyncore_call_soon(w->map, count, &calls) == 0);
        CHECK_UNTIL(w->map, calls == 1);
        peer_write(peers[3], "x", 1);
        CHECK_UNTIL(w->map, r[3]->size == 1);
        CHECK(asyncore_map_count(w->map) == 1);
        asyncore_map_free(w->map);
        _exit(0);
    }
    reap(pid);
    for (int i = 0; i < 4; i++) {
        peer_write(peers[i], "x", 1);
        run_until(w->map, r[i]->size == 1);
        close(peers[i]);
    }
}

/* ---- Forgotten --------------------------------------------------------- */

static void forgotten(void **state)
{
#ifdef NDEBUG
    (void)state;
    skip();
#else
    world *w = world_of(state);
    int peer, calls = 0;
    recorder *r = join_pair(w, &recorder_handlers, &peer);
    pid_t pid;

    run_turns(w->map, 2);
    assert_int_equal(asyncore_call_soon(w->map, count, &calls), 0);
    pid = fork_child();
    if (pid == 0) {
        errno = 0;
        CHECK(asyncore_poll(w->map, -1) == -1 && errno == ECHILD);
        errno = 0;
        CHECK(asyncore_loop(w->map, -1, -1) == -1 && errno == ECHILD);
        CHECK(asyncore_map_timeout(w->map) == 0);
        CHECK(calls == 0);
        asyncore_close(&r->dispatcher);
        asyncore_set_socket_map(NULL);
        asyncore_map_free(w->map);
        CHECK(r->ran.free == 1);
        _exit(0);
    }
    reap(pid);
    run_until(w->map, calls == 1);
    peer_write(peer, "x", 1);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
    assert_int_equal(r->size, 1);
    pid = fork_child();
    if (pid == 0) {
        CHECK(asyncore_poll(w->map, -1) == -1);
        CHECK(asyncore_map_after_fork(w->map) == 0);
        CHECK(asyncore_poll(w->map, 0) == 0);
        _exit(0);
    }
    reap(pid);
    close(peer);
#endif
}

#ifndef NDEBUG
static pid_t forked;

static void fork_in_a_loop(void *map)
{
    forked = fork_child();
    if (forked > 0)
        asyncore_stop(map);
}
#endif

/* The child comes back into the middle of its parent's asyncore_loop. */
static void forgotten_in_a_loop(void **state)
{
#ifdef NDEBUG
    (void)state;
    skip();
#else
    world *w = world_of(state);
    int peer, result;
    recorder *r = join_pair(w, &recorder_handlers, &peer);

    run_turns(w->map, 2);
    peer_write(peer, "x", 1);
    assert_int_equal(asyncore_call_soon(w->map, fork_in_a_loop, w->map), 0);
    asyncore_set_readable(&r->dispatcher, false);
    errno = 0;
    result = asyncore_loop(w->map, -1, -1);
    if (forked == 0) {
        CHECK(result == -1 && errno == ECHILD);
        _exit(0);
    }
    assert_int_equal(result, 0);
    reap(forked);
    close(peer);
#endif
}

/* ---- Wakeups, calls, timers -------------------------------------------- */

/* Neither wakes the other, and neither takes the other's wakeup. */
static void wakeups(void **state)
{
    world *w = world_of(state);
    int peer, calls = 0;
    meeting m;
    pid_t pid;

    (void)join_pair(w, &recorder_handlers, &peer);
    meet(&m);
    run_turns(w->map, 2);
    pid = fork_child();
    if (pid == 0) {
        CHECK(asyncore_map_after_fork(w->map) == 0);
        CHECK(asyncore_call_soon(w->map, count, &calls) == 0);
        CHECK(is_awake(w->map));
        CHECK(tell(m.child) && hear(m.parent));
        CHECK(asyncore_poll(w->map, -1) == 0);
        CHECK(calls == 1);
        CHECK(asyncore_poll(w->map, 0) == 0);
        CHECK(!is_awake(w->map));
        CHECK(tell(m.child) && hear(m.parent));
        CHECK(!is_awake(w->map));
        asyncore_wakeup(w->map);
        CHECK(asyncore_poll(w->map, -1) == 0);
        _exit(0);
    }
    assert_true(hear(m.child));
    assert_false(is_awake(w->map));
    assert_true(tell(m.parent));
    assert_true(hear(m.child));
    asyncore_wakeup(w->map);
    assert_true(is_awake(w->map));
    assert_true(tell(m.parent));
    reap(pid);
    assert_true(is_awake(w->map));
    assert_int_equal(asyncore_poll(w->map, -1), 0);
    assert_int_equal(calls, 0);
    part(&m);
    close(peer);
}

static void posted_calls_are_the_parents(void **state)
{
    world *w = world_of(state);
    int calls = 0;
    pid_t pid;

    for (int i = 0; i < 5; i++)
        assert_int_equal(asyncore_call_soon(w->map, count, &calls), 0);
    pid = fork_child();
    if (pid == 0) {
        CHECK(asyncore_map_after_fork(w->map) == 0);
        CHECK(asyncore_loop(w->map, -1, -1) == 0);
        CHECK(calls == 0);
        CHECK(asyncore_call_soon(w->map, count, &calls) == 0);
        CHECK(asyncore_loop(w->map, -1, -1) == 0);
        CHECK(calls == 1);
        asyncore_set_socket_map(NULL);
        asyncore_map_free(w->map);
        _exit(0);
    }
    reap(pid);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(calls, 5);
}

static asyncore_map *forking_map;
static pid_t forked;

static void fork_here(void *arg)
{
    count(arg);
    forked = fork();
    if (forked == 0 && asyncore_map_after_fork(forking_map) < 0)
        _exit(1);
}

/* In a call, with more of them due. */
static void fork_in_a_call(void **state)
{
    world *w = world_of(state);
    int calls = 0, forks = 0;

    forking_map = w->map;
    forked = -1;
    assert_int_equal(asyncore_call_soon(w->map, count, &calls), 0);
    assert_int_equal(asyncore_call_soon(w->map, fork_here, &forks), 0);
    assert_int_equal(asyncore_call_soon(w->map, count, &calls), 0);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    if (forked == 0) {
        CHECK(calls == 1 && forks == 1);
        asyncore_set_socket_map(NULL);
        asyncore_map_free(w->map);
        _exit(0);
    }
    assert_true(forked > 0);
    reap(forked);
    assert_int_equal(calls, 2);
    assert_int_equal(forks, 1);
}

/* The lock is held at the fork, and the list is in the middle of something. */
static void lock_is_held(void **state)
{
    world *w = world_of(state);
    int calls = 0;
    pid_t pid;

    pthread_mutex_lock(&w->map->lock);
    pid = fork_child();
    if (pid == 0) {
        w->map->calls = (asyncore__call *)w;
        w->map->calls_end = NULL;
        CHECK(asyncore_map_after_fork(w->map) == 0);
        CHECK(asyncore_loop(w->map, -1, -1) == 0);
        CHECK(asyncore_call_soon(w->map, count, &calls) == 0);
        CHECK(asyncore_loop(w->map, -1, -1) == 0);
        CHECK(calls == 1);
        asyncore_set_socket_map(NULL);
        asyncore_map_free(w->map);
        _exit(0);
    }
    pthread_mutex_unlock(&w->map->lock);
    reap(pid);
}

static void timers_stay(void **state)
{
    world *w = world_of(state);
    asyncore_timer *one = lend(w, 2 * sizeof *one), *two = one + 1;
    int calls = 0;
    pid_t pid;

    asyncore_call_later(one, w->map, 1, count, &calls);
    asyncore_call_later(two, w->map, 5, count, &calls);
    pid = fork_child();
    if (pid == 0) {
        CHECK(asyncore_map_after_fork(w->map) == 0);
        asyncore_timer_cancel(two);
        CHECK(asyncore_loop(w->map, -1, -1) == 0);
        CHECK(calls == 1);
        _exit(0);
    }
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(calls, 2);
    reap(pid);
}

/* ---- In a handler ------------------------------------------------------ */

/* A worker for each connection. Its dispatcher is in the child only. */
static recorder worker;
static int workers;

static void worker_accepted(asyncore_dispatcher *d, int fd,
                            const asyncore_address *peer)
{
    (void)peer;
    recorder_of(d)->ran.accepted++;
    forked = fork();
    if (forked != 0) {
        close(fd);
        workers += forked > 0;
        return;
    }
    if (asyncore_map_after_fork(d->map) < 0)
        _exit(1);
    /* The listener, and whatever else there is. */
    asyncore_close_all(d->map);
    if (asyncore_dispatcher_with_send_init(&worker.with_send,
                                           &recorder_handlers, fd, d->map) < 0)
        _exit(2);
}

static const asyncore_handlers forking_listener = {
    .handle_accepted = worker_accepted,
    .handle_free = record_free,
    .handle_error = record_error,
};

/* The child's end of worker_accepted: echoes until the peer leaves. */
static void work(world *w, const int peers[3])
{
    for (int i = 0; i < 3; i++)
        close(peers[i]);
    CHECK_UNTIL(w->map, worker.size == 4);
    CHECK(asyncore_send(&worker.dispatcher, worker.data, 4) == 4);
    CHECK_UNTIL(w->map, worker.ran.close == 1);
    CHECK(worker.ran.free == 1);
    CHECK(asyncore_map_count(w->map) == 0);
    asyncore_set_socket_map(NULL);
    asyncore_map_free(w->map);
    _exit(0);
}

static void worker_for_each_connection(void **state)
{
    world *w = world_of(state);
    recorder *listener = lend(w, sizeof *listener);
    asyncore_address at =
        listen_at(w, &listener->dispatcher, &forking_listener);
    int peers[3], other;
    recorder *bystander = join_pair(w, &recorder_handlers, &other);
    int64_t until = now_ms() + DEADLINE_MS;
    char data[4];

    memset(&worker, 0, sizeof worker);
    workers = 0;
    for (int i = 0; i < 3; i++)
        peers[i] = peer_connect(&at);
    /* It has something to read in the turn in which the fork is. */
    peer_write(other, "x", 1);
    while (workers < 3) {
        assert_true(asyncore_poll(w->map, 20) >= 0);
        if (forked == 0)
            work(w, peers);
        assert_true(now_ms() < until);
    }
    run_until(w->map, bystander->size == 1);
    for (int i = 0; i < 3; i++) {
        peer_write(peers[i], "ping", 4);
        assert_int_equal(peer_read(peers[i], data, 4), 4);
        assert_memory_equal(data, "ping", 4);
    }
    assert_int_equal(listener->ran.accepted, 3);
    assert_int_equal(listener->ran.free + listener->ran.error, 0);
    for (int i = 0; i < 3; i++) {
        close(peers[i]);
        reap(-1);
    }
    peer_write(other, "y", 1);
    run_until(w->map, bystander->size == 2);
    close(other);
}

/* ---- Other threads ----------------------------------------------------- */

enum { FORKS = 25, AHEAD = 200 };

/* Held while nothing is to be had from the threads. */
static pthread_mutex_t pause_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool enough;
static atomic_int posted, made;

static void make(void *arg)
{
    (void)arg;
    made++;
}

static bool goes_on(void)
{
    pthread_mutex_lock(&pause_lock);
    pthread_mutex_unlock(&pause_lock);
    return !enough;
}

static void *post_all_the_time(void *arg)
{
    while (goes_on())
        if (posted - made < AHEAD && asyncore_call_soon(arg, make, NULL) == 0)
            posted++;
    return NULL;
}

static void *signal_all_the_time(void *arg)
{
    asyncore_signal_handler handler = { 0 };

    while (goes_on()) {
        asyncore_signal(&handler, arg, SIGUSR2, count, NULL);
        asyncore_signal_cancel(&handler);
    }
    return NULL;
}

/* At any moment of theirs. Nothing of the parent's is lost, and the child can
   do all that it could alone. */
static void threads_go_on(void **state)
{
    world *w = world_of(state);
    asyncore_map *other = asyncore_map_new(NULL);
    asyncore_signal_handler *handler = lend(w, sizeof *handler);
    pthread_t threads[2];
    int peer, signals = 0, calls = 0;
    recorder *r = join_pair(w, &recorder_handlers, &peer);

    enough = false;
    posted = made = 0;
    run_turns(w->map, 2);
    assert_int_equal(asyncore_signal(handler, w->map, SIGUSR1, count, &signals),
                     0);
    assert_int_equal(
        pthread_create(&threads[0], NULL, post_all_the_time, w->map), 0);
    assert_int_equal(
        pthread_create(&threads[1], NULL, signal_all_the_time, other), 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork_child();

        if (pid == 0) {
            raise(SIGUSR1);
            CHECK(asyncore_map_after_fork(w->map) == 0);
            CHECK(asyncore_call_soon(w->map, count, &calls) == 0);
            CHECK_UNTIL(w->map, calls == 1 && signals == 1);
            asyncore_set_socket_map(NULL);
            asyncore_map_free(w->map);
            _exit(0);
        }
        pthread_mutex_lock(&pause_lock);
        assert_true(asyncore_poll(w->map, 0) >= 0);
        reap(pid);
        pthread_mutex_unlock(&pause_lock);
    }
    enough = true;
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    run_until(w->map, made == posted);
    assert_int_equal(signals, 0);
    asyncore_signal_cancel(handler);
    asyncore_map_free(other);
    peer_write(peer, "x", 1);
    run_until(w->map, r->size == 1);
    close(peer);
}

/* ---- Signals ----------------------------------------------------------- */

static bool is_default(int number)
{
    struct sigaction now;

    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

/* Those that come to the child are the child's, also before it says so. */
static void signals_to_the_child(void **state)
{
    world *w = world_of(state);
    asyncore_signal_handler *handler = lend(w, sizeof *handler);
    int peer, calls = 0;
    pid_t pid;

    (void)join_pair(w, &recorder_handlers, &peer);
    asyncore_signal(handler, w->map, SIGUSR1, count, &calls);
    run_turns(w->map, 2);
    pid = fork_child();
    if (pid == 0) {
        raise(SIGUSR1);
        CHECK(asyncore_map_after_fork(w->map) == 0);
        CHECK_UNTIL(w->map, calls == 1);
        CHECK(asyncore_poll(w->map, 0) == 0);
        CHECK(!is_awake(w->map));
        raise(SIGUSR1);
        CHECK(asyncore_poll(w->map, -1) == 0);
        CHECK(calls == 2);
        asyncore_signal_cancel(handler);
        CHECK(is_default(SIGUSR1));
        asyncore_signal(handler, w->map, SIGUSR1, count, &calls);
        raise(SIGUSR1);
        CHECK_UNTIL(w->map, calls == 3);
        asyncore_set_socket_map(NULL);
        asyncore_map_free(w->map);
        CHECK(is_default(SIGUSR1));
        _exit(0);
    }
    reap(pid);
    assert_false(is_awake(w->map));
    assert_int_equal(calls, 0);
    raise(SIGUSR1);
    run_until(w->map, calls == 1);
    asyncore_signal_cancel(handler);
    close(peer);
}

/* One that came before the fork is the parent's alone. */
static void signals_to_the_parent(void **state)
{
    world *w = world_of(state);
    asyncore_signal_handler *one = lend(w, 2 * sizeof *one), *two = one + 1;
    int calls[2] = { 0, 0 };
    pid_t pid;

    asyncore_signal(one, w->map, SIGUSR1, count, &calls[0]);
    asyncore_signal(two, w->map, SIGUSR2, count, &calls[1]);
    raise(SIGUSR1);
    pid = fork_child();
    if (pid == 0) {
        raise(SIGUSR2);
        CHECK(asyncore_map_after_fork(w->map) == 0);
        CHECK_UNTIL(w->map, calls[1] == 1);
        CHECK(asyncore_loop(w->map, -1, -1) == 0);
        CHECK(calls[0] == 0);
        _exit(0);
    }
    reap(pid);
    run_until(w->map, calls[0] == 1);
    assert_int_equal(calls[1], 0);
    asyncore_signal_cancel(one);
    asyncore_signal_cancel(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_IPV4(both_are_served),
        IN_UNIX(both_are_served),
        IN_UNIX(interest_is_kept),
        IN_UNIX(child_closes_everything),
        IN_UNIX(generations),
        IN_UNIX(regular_file),
        IN_UNIX(blocking_mode_is_the_parents),
        IN_UNIX(closed_too_early),
        IN_UNIX(forgotten),
        IN_UNIX(forgotten_in_a_loop),
        IN_UNIX(wakeups),
        IN_UNIX(posted_calls_are_the_parents),
        IN_UNIX(fork_in_a_call),
        IN_UNIX(lock_is_held),
        IN_UNIX(timers_stay),
        IN_IPV4(worker_for_each_connection),
        IN_UNIX(worker_for_each_connection),
        IN_UNIX(threads_go_on),
        IN_UNIX(signals_to_the_child),
        IN_UNIX(signals_to_the_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
