/*
 * test_interest.c - what is waited for, and what it costs.
 */
#include "map.h"
#include "support/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#ifdef ASYNCORE_HAVE_EPOLL
#include <sys/epoll.h>
#endif

/* ---- What the library asks of libc, while counting is on --------------- */

static struct {
    bool on;
    int waits, controls, clocks, allocations, reads, writes;
} calls;

static void count(int *calls_of_a_kind)
{
    if (calls.on)
        ++*calls_of_a_kind;
}

#define COUNTED(kind, result, name, parameters, arguments) \
    result __real_##name parameters; \
    result __wrap_##name parameters; \
    result __wrap_##name parameters \
    { \
        count(&calls.kind); \
        return __real_##name arguments; \
    }

COUNTED(allocations, void *, malloc, (size_t size), (size))
COUNTED(allocations, void *, calloc, (size_t n, size_t size), (n, size))
COUNTED(allocations, void *, realloc, (void *old, size_t size), (old, size))
COUNTED(clocks, int, clock_gettime, (clockid_t id, struct timespec *t), (id, t))
COUNTED(reads, ssize_t, recv, (int fd, void *data, size_t size, int flags),
        (fd, data, size, flags))
COUNTED(writes, ssize_t, send,
        (int fd, const void *data, size_t size, int flags),
        (fd, data, size, flags))
COUNTED(writes, ssize_t, sendmsg,
        (int fd, const struct msghdr *message, int flags), (fd, message, flags))
COUNTED(waits, int, poll, (struct pollfd * fds, nfds_t n, int timeout),
        (fds, n, timeout))
COUNTED(waits, int, select,
        (int n, fd_set *in, fd_set *out, fd_set *pri, struct timeval *time),
        (n, in, out, pri, time))
#ifdef ASYNCORE_HAVE_EPOLL
COUNTED(waits, int, epoll_wait,
        (int fd, struct epoll_event *events, int n, int timeout),
        (fd, events, n, timeout))
COUNTED(controls, int, epoll_ctl,
        (int epoll, int operation, int fd, struct epoll_event *event),
        (epoll, operation, fd, event))
#endif

static void count_from_here(void)
{
    memset(&calls, 0, sizeof calls);
}

/* asyncore_poll, counted. */
static int counted_turn(asyncore_map *map, int timeout)
{
    int served;

    calls.on = true;
    served = asyncore_poll(map, timeout);
    calls.on = false;
    return served;
}

/* ---- Classes ----------------------------------------------------------- */

#define ENDINGS \
    .handle_close = record_close, .handle_error = record_error, \
    .handle_free = record_free, .log_info = record_log_info

static const asyncore_handlers plain = {
    .handle_read = record_read,
    .handle_write = record_write,
    .handle_connect = record_connect,
    ENDINGS,
};

/* The class with predicates: each counts, and answers a flag. */
static bool may_read, may_write;
static int asked_read, asked_write;

static bool readable(asyncore_dispatcher *d)
{
    (void)d;
    asked_read++;
    return may_read;
}

static bool writable(asyncore_dispatcher *d)
{
    (void)d;
    asked_write++;
    return may_write;
}

static const asyncore_handlers asked = {
    .readable = readable,
    .writable = writable,
    .handle_read = record_read,
    .handle_write = record_write,
    .handle_connect = record_connect,
    .handle_accepted = record_accepted,
    ENDINGS,
};

static void answer(bool read, bool write)
{
    may_read = read;
    may_write = write;
    asked_read = asked_write = 0;
}

/* ---- Predicates -------------------------------------------------------- */

static void asked_once_a_turn(void **state)
{
    world *w = world_of(state);
    int peer[3];
    recorder *r[3];

    for (int i = 0; i < 3; i++)
        r[i] = join(w, &asked, &peer[i]);
    answer(true, false);
    for (int turn = 1; turn <= 5; turn++) {
        assert_int_equal(asyncore_poll(w->map, 0), 0);
        assert_int_equal(asked_read, 3 * turn);
        assert_int_equal(asked_write, 3 * turn);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(r[i]->ran.write + r[i]->ran.read, 0);
    asyncore_close(&r[1]->dispatcher);
    answer(true, false);
    asyncore_poll(w->map, 0);
    assert_int_equal(asked_read, 2);
    for (int i = 0; i < 3; i++)
        close(peer[i]);
}

static void not_asked_by_set_up(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r;

    answer(true, true);
    r = join(w, &asked, &peer);
    asyncore_set_writable(&r->dispatcher, true);
    asyncore_set_handlers(&r->dispatcher, &asked);
    asyncore_del_channel(&r->dispatcher);
    asyncore_add_channel(&r->dispatcher, w->map);
    assert_int_equal(asked_read + asked_write, 0);
    assert_true(asyncore_readable(&r->dispatcher));
    assert_true(asyncore_writable(&r->dispatcher));
    assert_int_equal(asked_read, 2);
    asyncore_poll(w->map, 0);
    assert_int_equal(asked_read, 3);
    close(peer);
}

/* Their answers stand for the flags. */
static void answers(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &asked, &peer);

    peer_write(peer, "x", 1);
    await(r->dispatcher.fd, POLLIN);
    answer(false, false);
    asyncore_set_writable(&r->dispatcher, true);
    run_turns(w->map, 3);
    assert_int_equal(r->ran.read + r->ran.write, 0);
    answer(false, true);
    asyncore_set_writable(&r->dispatcher, false);
    run_turns(w->map, 3);
    assert_int_equal(r->ran.read, 0);
    assert_int_equal(r->ran.write, 3);
    answer(true, false);
    asyncore_set_readable(&r->dispatcher, false);
    run_turns(w->map, 3);
    assert_int_equal(r->ran.read, 1);
    assert_int_equal(r->ran.write, 3);
    close(peer);
}

static void swapped_for_flags(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &asked, &peer);

    answer(false, false);
    run_turns(w->map, 2);
    peer_write(peer, "x", 1);
    asyncore_set_handlers(&r->dispatcher, &plain);
    answer(false, false);
    run_until(w->map, r->ran.read);
    assert_int_equal(asked_read, 0);
    assert_int_equal(asyncore_set_handlers(&r->dispatcher, &asked), 0);
    answer(false, true);
    run_turns(w->map, 2);
    assert_int_equal(asked_read, 2);
    assert_int_equal(r->ran.write, 2);
    close(peer);
}

static bool leave_the_class(asyncore_dispatcher *d)
{
    asyncore_set_handlers(d, &plain);
    asyncore_poll(d->map, 0);
    return false;
}

/* What the predicate answers is not for the class that d is in by then, of
   which nobody asks. */
static void class_left_in_a_predicate(void **state)
{
    static const asyncore_handlers leaving = {
        .readable = leave_the_class,
        ENDINGS,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &leaving, &peer);

    asyncore_poll(w->map, 0);
    peer_write(peer, "x", 1);
    run_until(w->map, r->ran.read);
    close(peer);
}

/* Sends more than there is room for, of which the peer makes some. */
static bool send_much(asyncore_dispatcher *d)
{
    static char much[4 << 20];
    int peer = *(int *)recorder_of(d)->arg;

    if (!recorder_of(d)->flag) {
        recorder_of(d)->flag = true;
        asyncore_send(d, much, sizeof much);
        while (recv(peer, much, sizeof much, MSG_DONTWAIT) > 0)
            continue;
    }
    return false;
}

static void a_predicate_sends(void **state)
{
    static const asyncore_handlers sending = {
        .readable = send_much,
        ENDINGS,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &sending, &peer);

    r->arg = &peer;
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
    assert_true(r->flag);
    close(peer);
}

static void a_listener_is_asked_one(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at = listen_at(w, &r->dispatcher, &asked);
    int peer;

    answer(false, true);
    peer = peer_connect(&at);
    run_turns(w->map, 3);
    assert_int_equal(asked_read, 3);
    assert_int_equal(asked_write, 0);
    assert_int_equal(r->ran.accepted, 0);
    answer(true, true);
    run_until(w->map, r->ran.accepted);
    assert_int_equal(asked_write, 0);
    assert_int_equal(r->ran.write, 0);
    close(peer);
}

static void unconnected_is_not_asked(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at;
    int listener = peer_listen(w, &at);

    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &asked, -1, w->map), 0);
    assert_int_equal(
        asyncore_create_socket(&r->dispatcher, w->family, SOCK_STREAM), 0);
    answer(true, true);
    run_turns(w->map, 3);
    assert_int_equal(asked_read + asked_write, 0);
    answer(false, false);
    assert_int_equal(asyncore_connect(&r->dispatcher, &at), 0);
    run_until(w->map, r->ran.connect);
    assert_true(asked_read > 0);
    close(listener);
}

/* What a predicate closes: itself, or the one whose turn would be next or was
   before. */
static asyncore_dispatcher *victim;

static bool close_the_victim(asyncore_dispatcher *d)
{
    (void)d;
    asyncore_close(victim);
    return true;
}

static const asyncore_handlers closing_reader = {
    .readable = close_the_victim,
    .writable = writable,
    .handle_read = record_read,
    .handle_free = record_free,
};
static const asyncore_handlers closing_writer = {
    .writable = close_the_victim,
    .handle_read = record_read,
    .handle_write = record_write,
};

/* The last one gone, there is nothing to wait for. */
static void a_predicate_closes_the_last(void **state)
{
    world *w = world_of(state);
    const asyncore_handlers *classes[] = { &closing_reader, &closing_writer };

    for (int i = 0; i < 2; i++) {
        int64_t begin = now_ms();
        int peer;
        recorder *r = join(w, classes[i], &peer);

        victim = &r->dispatcher;
        answer(true, true);
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        assert_true(now_ms() - begin < DEADLINE_MS / 2);
        assert_int_equal(r->ran.free, i == 0);
        assert_int_equal(asked_write, 0);
        assert_int_equal(r->ran.read + r->ran.write, 0);
        close(peer);
    }
}

static void a_predicate_closes_another(void **state)
{
    world *w = world_of(state);

    for (int who = 0; who < 3; who++) {
        recorder *r[3];
        int peer[3];

        answer(true, true);
        for (int i = 0; i < 3; i++) {
            r[i] = join(w, i == 1 ? &closing_reader : &asked, &peer[i]);
            peer_write(peer[i], "x", 1);
            await(r[i]->dispatcher.fd, POLLIN);
        }
        victim = &r[who]->dispatcher;
        run_turns(w->map, 2);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(r[i]->ran.read, i != who);
            assert_int_equal(r[i]->ran.free, i == who);
            asyncore_close(&r[i]->dispatcher);
            close(peer[i]);
        }
    }
}

/* ---- Without predicates ------------------------------------------------ */

static void idle(void **state)
{
    world *w = world_of(state);
    recorder *listener = lend(w, sizeof *listener);
    int peer, others_peer;
    recorder *r, *other;

    listen_at(w, &listener->dispatcher, &plain);
    r = join(w, &plain, &peer);
    other = join_with_send(w, &plain, &others_peer);
    assert_in_range(turns_during(w->map, 150), 1, FEW_TURNS);
    assert_int_equal(r->ran.write + r->ran.read + r->ran.close, 0);
    assert_int_equal(other->ran.write + other->ran.read, 0);
    assert_int_equal(listener->ran.write + listener->ran.accept, 0);
    close(peer);
    close(others_peer);
}

static void one_wait_a_turn(void **state)
{
    world *w = world_of(state);
    int peer;

    join(w, &plain, &peer);
    run_turns(w->map, 1);
    count_from_here();
    calls.on = true;
    assert_int_equal(asyncore_loop(w->map, 1, 5), 0);
    calls.on = false;
    assert_int_equal(calls.waits, 5);
    close(peer);
}

static void writing_on_request(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &plain, &peer);

    asyncore_set_writable(&r->dispatcher, true);
    assert_true(asyncore_writable(&r->dispatcher));
    for (int turn = 1; turn <= 3; turn++) {
        assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
        assert_int_equal(r->ran.write, turn);
    }
    asyncore_set_writable(&r->dispatcher, false);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    assert_int_equal(r->ran.write, 3);
    close(peer);
}

/* The kernel would say "hung up" of it, for ever. */
static void unconnected_is_not_waited_for(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at;
    int listener = peer_listen(w, &at), peer;

    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &plain, -1, w->map), 0);
    assert_int_equal(
        asyncore_create_socket(&r->dispatcher, w->family, SOCK_STREAM), 0);
    asyncore_set_writable(&r->dispatcher, true);
    assert_false(asyncore_readable(&r->dispatcher));
    assert_false(asyncore_writable(&r->dispatcher));
    assert_int_equal(asyncore_map_count(w->map), 1);
    assert_in_range(turns_during(w->map, 100), 1, FEW_TURNS);
    assert_int_equal(r->ran.write + r->ran.read + r->ran.close + r->ran.connect,
                     0);
    assert_int_equal(asyncore_connect(&r->dispatcher, &at), 0);
    assert_false(asyncore_readable(&r->dispatcher));
    assert_true(asyncore_writable(&r->dispatcher));
    run_until(w->map, r->ran.connect && r->ran.write);
    peer = peer_accept(listener);
    close(listener);
    close(peer);
}

static void a_datagram_socket_is_waited_for(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at = fresh_address(w);
    int peer = peer_socket(w->family, SOCK_DGRAM);

    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &plain, -1, w->map), 0);
    assert_int_equal(
        asyncore_create_socket(&r->dispatcher, w->family, SOCK_DGRAM), 0);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    assert_int_equal(asyncore_bind(&r->dispatcher, &at), 0);
    assert_int_equal(asyncore_getsockname(&r->dispatcher, &at), 0);
    assert_int_equal(sendto(peer, "hello", 5, 0, &at.any, at.size), 5);
    run_until(w->map, r->size == 5);
    assert_int_equal(r->ran.write + r->ran.close + r->ran.error, 0);
    close(peer);
}

/* ---- What it costs ----------------------------------------------------- */

static void turning_back_and_forth_is_free(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &plain, &peer);
    asyncore_dispatcher *d = &r->dispatcher;

    run_turns(w->map, 1);
    count_from_here();
    for (int i = 0; i < 10; i++) {
        asyncore_set_writable(d, true);
        asyncore_set_readable(d, false);
        asyncore_set_readable(d, true);
        asyncore_set_writable(d, false);
        assert_int_equal(counted_turn(w->map, 0), 0);
    }
    assert_int_equal(calls.controls, 0);
    assert_int_equal(calls.waits, 10);
    assert_int_equal(calls.allocations, 0);
    /* One change, however long it takes to make up one's mind. */
    asyncore_set_writable(d, true);
    asyncore_set_readable(d, false);
    counted_turn(w->map, 0);
    counted_turn(w->map, 0);
    assert_int_equal(calls.controls,
                     strcmp(asyncore_map_backend(w->map), "epoll") == 0);
    assert_int_equal(r->ran.write, 2);
    close(peer);
}

static void echo(asyncore_dispatcher *d)
{
    char data[4096];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0)
        asyncore_send(d, data, (size_t)n);
}

enum { TIMEOUT = 60000 };

static void echo_and_put_off(asyncore_dispatcher *d)
{
    echo(d);
    asyncore_set_timeout(d, TIMEOUT);
}

static const asyncore_handlers echoing = { .handle_read = echo, ENDINGS };
static const asyncore_handlers putting_off = {
    .handle_read = echo_and_put_off,
    ENDINGS,
};

/* With a timeout or without, put off by hand or not. */
static void messages(world *w, const asyncore_handlers *class, bool timeout)
{
    enum { COUNT = 20, ROUNDS = 50, SIZE = 64 };
    recorder *listener = lend(w, sizeof *listener);
    char data[SIZE] = "", back[SIZE];
    int peer[COUNT];

    listen_at(w, &listener->dispatcher, &plain);
    for (int i = 0; i < COUNT; i++) {
        recorder *r = join_with_send(w, class, &peer[i]);

        if (timeout)
            assert_int_equal(asyncore_set_timeout(&r->dispatcher, TIMEOUT), 0);
    }
    run_turns(w->map, 2);
    count_from_here();
    for (int round = 0; round < ROUNDS; round++) {
        int served = 0;

        for (int i = 0; i < COUNT; i++)
            peer_write(peer[i], data, SIZE);
        while (served < COUNT) {
            int n = counted_turn(w->map, DEADLINE_MS);

            assert_true(n > 0);
            served += n;
        }
        for (int i = 0; i < COUNT; i++)
            assert_int_equal(peer_read(peer[i], back, SIZE), SIZE);
    }
    assert_int_equal(calls.reads, COUNT * ROUNDS);
    assert_int_equal(calls.writes, COUNT * ROUNDS);
    assert_int_equal(calls.allocations, 0);
    assert_int_equal(calls.controls, 0);
    assert_in_range(calls.waits, 1, COUNT * ROUNDS / 2);
    /* Before a wait and after it, however many are ready. */
    assert_int_equal(calls.clocks, timeout ? 2 * calls.waits : 0);
    for (int i = 0; i < COUNT; i++)
        close(peer[i]);
}

static void a_message_costs_two_calls(void **state)
{
    messages(world_of(state), &echoing, false);
}

static void with_a_timeout_too(void **state)
{
    messages(world_of(state), &echoing, true);
}

static void put_off_by_hand_too(void **state)
{
    messages(world_of(state), &putting_off, true);
}

/* ---- Many -------------------------------------------------------------- */

/* Descriptors up to this number can be opened. */
static bool have_numbers(rlim_t count_of_them)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return false;
    if (limit.rlim_cur < count_of_them) {
        limit.rlim_cur = limit.rlim_max;
        if (limit.rlim_max < count_of_them ||
            setrlimit(RLIMIT_NOFILE, &limit) < 0)
            return false;
    }
    return true;
}

typedef struct counter {
    asyncore_dispatcher dispatcher;
    int served;
} counter;

static void count_and_leave(asyncore_dispatcher *d)
{
    ((counter *)d)->served++;
}

static void join_and_close(world *w, bool with_copy)
{
    int peer, copy = -1;
    recorder *r = join(w, &plain, &peer);

    run_turns(w->map, 1);
    if (with_copy)
        copy = dup(r->dispatcher.fd);
    count_from_here();
    calls.on = true;
    asyncore_close(&r->dispatcher);
    calls.on = false;
    if (with_copy) {
        peer_write(peer, "x", 1);
        await(copy, POLLIN);
        assert_in_range(turns_during(w->map, 20), 1, FEW_TURNS);
        close(copy);
    }
    close(peer);
}

/* The kernel forgets one that is closed by itself, but for one of which there
   is a copy: from the first of those on, each is ended by a call. */
static void closing_is_not_told(void **state)
{
    world *w = world_of(state);
    bool is_epoll = strcmp(asyncore_map_backend(w->map), "epoll") == 0;
    recorder *file = lend(w, sizeof *file);
    FILE *empty = tmpfile();
    int peer;

    assert_non_null(empty);
    join(w, &plain, &peer);
    /* One that epoll cannot watch is forgotten as well. */
    assert_int_equal(asyncore_file_dispatcher_init(&file->file, &plain,
                                                   fileno(empty), w->map),
                     0);
    fclose(empty);
    run_until(w->map, file->ran.free);
    for (int i = 0; i < 3; i++) {
        join_and_close(w, false);
        assert_int_equal(calls.controls, 0);
    }
    join_and_close(w, true);
    assert_int_equal(calls.controls, 0);
    for (int i = 0; i < 3; i++) {
        join_and_close(w, i == 1);
        assert_int_equal(calls.controls, is_epoll);
    }
    close(peer);
}

/* The user's descriptor lives on, and is readable: it is not listened to. */
static void a_file_is_ended_by_a_call(void **state)
{
    world *w = world_of(state);
    recorder *file = lend(w, sizeof *file);
    int ends[2], peer;

    join(w, &plain, &peer);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(
        asyncore_file_dispatcher_init(&file->file, &plain, ends[0], w->map), 0);
    run_turns(w->map, 1);
    asyncore_close(&file->dispatcher);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_in_range(turns_during(w->map, 20), 1, FEW_TURNS);
    join_and_close(w, false);
    assert_int_equal(calls.controls, 0);
    close(ends[0]);
    close(ends[1]);
    close(peer);
}

/* However many outlive their descriptors, they cost one epoll descriptor more
   at once, and nothing before a wait that tells of none. */
static void many_outlive_at_once(void **state)
{
    enum { COUNT = 50 };
    world *w = world_of(state);
    bool is_epoll = strcmp(asyncore_map_backend(w->map), "epoll") == 0;
    int peer[COUNT], copy[COUNT], stays;
    recorder *r[COUNT];

    join(w, &plain, &stays);
    for (int i = 0; i < COUNT; i++)
        r[i] = join(w, &plain, &peer[i]);
    run_turns(w->map, 1);
    for (int i = 0; i < COUNT; i++) {
        copy[i] = dup(r[i]->dispatcher.fd);
        asyncore_close(&r[i]->dispatcher);
        peer_write(peer[i], "x", 1);
        await(copy[i], POLLIN);
    }
    count_from_here();
    for (int i = 0; i < 3; i++)
        counted_turn(w->map, 0);
    /* The waker, and the one that stays. */
    assert_int_equal(calls.controls, is_epoll ? 2 : 0);
    for (int i = 0; i < COUNT; i++) {
        close(copy[i]);
        close(peer[i]);
    }
    close(stays);
}

/* A serial that the registration's is half of all behind is the later one. */
static void long_outlived(void **state)
{
    world *w = world_of(state);
    int peer, stays, copy;
    recorder *r = join(w, &plain, &peer);

    join(w, &plain, &stays);
    run_turns(w->map, 1);
    copy = dup(r->dispatcher.fd);
    asyncore_close(&r->dispatcher);
    w->map->serial += UINT32_C(0x80000010);
    peer_write(peer, "x", 1);
    await(copy, POLLIN);
    assert_in_range(turns_during(w->map, 20), 1, FEW_TURNS);
    close(copy);
    close(peer);
    close(stays);
}

/* All are ready, always: each is served again before any is for a third
   time or so. The bound is twice what it takes with 256 to a turn. */
static void none_starves(void **state)
{
    enum { MOST = 10000, ROUNDS = 4 };
    static const asyncore_handlers leaving = { .handle_read = count_and_leave };
    world *w = world_of(state);
    bool is_select = strcmp(asyncore_map_backend(w->map), "select") == 0;
    int many = is_select ? FD_SETSIZE - 64 : MOST;
    int turns = 2 * ROUNDS * (many / 256 + 1), ends[2];
    counter *c;

    if (!have_numbers((rlim_t)many + 64))
        skip();
    c = calloc((size_t)many, sizeof *c);
    assert_non_null(c);
    peer_pair(SOCK_STREAM, ends);
    for (int i = 0; i < many; i++) {
        int fd = dup(ends[0]);

        assert_true(fd >= 0);
        assert_int_equal(
            asyncore_dispatcher_init(&c[i].dispatcher, &leaving, fd, w->map),
            0);
    }
    assert_int_equal(asyncore_map_count(w->map), many);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    peer_write(ends[1], "x", 1);
    await(ends[0], POLLIN);
    for (int turn = 0; turn < turns; turn++)
        assert_true(asyncore_poll(w->map, 0) > 0);
    for (int i = 0; i < many; i++)
        assert_in_range(c[i].served, ROUNDS, 4 * ROUNDS);
    asyncore_close_all(w->map);
    free(c);
    close(ends[0]);
    close(ends[1]);
}

static void numbers_that_select_cannot_watch(void **state)
{
    world *w = world_of(state);
    recorder *high = lend(w, sizeof *high);
    bool is_select = strcmp(asyncore_map_backend(w->map), "select") == 0;
    int ends[2], peer, fd, result;
    recorder *low = join_pair(w, &plain, &peer);

    if (!have_numbers(FD_SETSIZE + 64)) {
        close(peer);
        skip();
    }
    peer_pair(SOCK_STREAM, ends);
    fd = fcntl(ends[0], F_DUPFD_CLOEXEC, FD_SETSIZE);
    assert_true(fd >= FD_SETSIZE);
    close(ends[0]);
    errno = 0;
    result = asyncore_dispatcher_init(&high->dispatcher, &plain, fd, w->map);
    if (is_select) {
        assert_int_equal(result, -1);
        assert_int_equal(errno, EMFILE);
        assert_int_equal(high->dispatcher.fd, -1);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
        assert_int_equal(asyncore_map_count(w->map), 1);
        asyncore_close(&high->dispatcher);
    } else {
        assert_int_equal(result, 0);
        peer_write(ends[1], "x", 1);
        run_until(w->map, high->size == 1);
    }
    peer_write(peer, "x", 1);
    run_until(w->map, low->size == 1);
    close(ends[1]);
    close(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define EVERYWHERE(test) IN_IPV4(test), IN_IPV6(test), IN_UNIX(test)
        IN_UNIX(asked_once_a_turn),
        IN_UNIX(not_asked_by_set_up),
        IN_UNIX(answers),
        IN_UNIX(swapped_for_flags),
        IN_UNIX(class_left_in_a_predicate),
        IN_UNIX(a_predicate_sends),
        EVERYWHERE(a_listener_is_asked_one),
        EVERYWHERE(unconnected_is_not_asked),
        IN_UNIX(a_predicate_closes_the_last),
        IN_UNIX(a_predicate_closes_another),
        EVERYWHERE(idle),
        IN_UNIX(one_wait_a_turn),
        EVERYWHERE(writing_on_request),
        EVERYWHERE(unconnected_is_not_waited_for),
        EVERYWHERE(a_datagram_socket_is_waited_for),
        IN_UNIX(turning_back_and_forth_is_free),
        EVERYWHERE(a_message_costs_two_calls),
        IN_UNIX(with_a_timeout_too),
        IN_UNIX(put_off_by_hand_too),
        EVERYWHERE(closing_is_not_told),
        EVERYWHERE(a_file_is_ended_by_a_call),
        EVERYWHERE(many_outlive_at_once),
        EVERYWHERE(long_outlived),
        IN_UNIX(none_starves),
        IN_UNIX(numbers_that_select_cannot_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
