/*
 * test_stats.c - what a map tells of itself: counters, and handlers that hold
 * the loop for too long, on a clock that they move themselves.
 */
#include "support/clock.h"
#include "support/world.h"

#include <asynchat.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A dispatcher of any kind, whose handlers take as long as they are told. */
typedef struct member {
    union {
        asyncore_dispatcher dispatcher;
        asyncore_dispatcher_with_send with_send;
        asyncore_file_dispatcher file;
        asynchat chat;
    };
    int peer;
} member;

static asyncore_map *map;
static member m;
static asyncore_dispatcher *const d = &m.dispatcher;
static int64_t takes_ms;
static int lines;
static char line[1200];

static void take_time(void)
{
    clock_advance(takes_ms * CLOCK_MS);
}

static void note_line(asyncore_dispatcher *dispatcher, const char *message,
                      const char *type)
{
    (void)dispatcher;
    lines++;
    snprintf(line, sizeof line, "%s: %s", type, message);
}

static void slow_read(asyncore_dispatcher *dispatcher)
{
    char data[4096];

    take_time();
    (void)asyncore_recv(dispatcher, data, sizeof data);
}

static void slow_write(asyncore_dispatcher *dispatcher)
{
    take_time();
    asyncore_set_writable(dispatcher, false);
}

static void slow_expt(asyncore_dispatcher *dispatcher)
{
    char byte;

    take_time();
    (void)recv(dispatcher->fd, &byte, 1, MSG_OOB);
}

static void slow(asyncore_dispatcher *dispatcher)
{
    (void)dispatcher;
    take_time();
}

static void slow_accepted(asyncore_dispatcher *dispatcher, int fd,
                          const asyncore_address *peer)
{
    (void)dispatcher;
    (void)peer;
    take_time();
    close(fd);
}

static const asyncore_handlers sloth = {
    .name = "sloth",
    .handle_read = slow_read,
    .handle_write = slow_write,
    .handle_expt = slow_expt,
    .handle_connect = slow,
    .handle_accepted = slow_accepted,
    .handle_close = slow,
    .handle_timeout = slow,
    .log_info = note_line,
};

static int set_up(void **state)
{
    (void)state;
    takes_ms = 0;
    lines = 0;
    line[0] = '\0';
    memset(&m, 0, sizeof m);
    m.peer = -1;
    map = asyncore_map_new(NULL);
    clock_freeze();
    return map == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    asyncore_map_free(map);
    if (m.peer != -1)
        close(m.peer);
    clock_release();
    return 0;
}

/* One end for m, the other for m.peer. */
static int pair_up(void)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    m.peer = pair[0];
    return pair[1];
}

static void join(const asyncore_handlers *handlers)
{
    assert_int_equal(asyncore_dispatcher_with_send_init(&m.with_send, handlers,
                                                        pair_up(), map),
                     0);
}

static void turns(int count)
{
    while (count-- > 0)
        assert_true(asyncore_poll(map, 0) >= 0);
}

static asyncore_stats stats_now(void)
{
    asyncore_stats stats;

    asyncore_map_stats(map, &stats);
    return stats;
}

static void listen_anywhere(asyncore_address *at,
                            const asyncore_handlers *handlers)
{
    assert_int_equal(asyncore_dispatcher_init(d, handlers, -1, map), 0);
    assert_int_equal(asyncore_listen_on(d, "127.0.0.1:0", 16), 0);
    assert_int_equal(asyncore_getsockname(d, at), 0);
}

/* ---- Counters ----------------------------------------------------------- */

static void nothing_at_first(void **state)
{
    asyncore_stats stats, zero;

    (void)state;
    memset(&stats, 0xff, sizeof stats);
    memset(&zero, 0, sizeof zero);
    asyncore_map_stats(map, &stats);
    assert_memory_equal(&stats, &zero, sizeof zero);
}

static void turns_and_events(void **state)
{
    (void)state;
    join(&sloth);
    turns(3);
    assert_int_equal(stats_now().turns, 3);
    assert_int_equal(stats_now().events, 0);
    assert_int_equal(write(m.peer, "x", 1), 1);
    turns(2);
    assert_int_equal(stats_now().turns, 5);
    assert_int_equal(stats_now().events, 1);
    /* One event, though it has two handlers. */
    assert_int_equal(write(m.peer, "x", 1), 1);
    asyncore_set_writable(d, true);
    turns(1);
    assert_int_equal(stats_now().events, 2);
    asyncore_close(d);
    turns(4);
    assert_int_equal(stats_now().turns, 6);
}

static void bytes(void **state)
{
    char data[] = "hello";

    (void)state;
    join(&sloth);
    assert_int_equal(asyncore_send(d, data, 5), 5);
    assert_int_equal(stats_now().sent, 5);
    assert_int_equal(write(m.peer, data, 4), 4);
    turns(1);
    assert_int_equal(stats_now().received, 4);
    assert_int_equal(asyncore_recv(d, data, sizeof data), -1);
    assert_int_equal(stats_now().received, 4);
    assert_int_equal(stats_now().sent, 5);
}

/* What waits in the queue has not been sent. */
static void queued_bytes(void **state)
{
    enum { SIZE = 3 * 1024 * 1024 };
    static const asyncore_handlers sender = { .handle_read = slow_read };
    char *data = calloc(1, SIZE);
    size_t got = 0;

    (void)state;
    join(&sender);
    assert_non_null(data);
    assert_int_equal(asyncore_send(d, data, SIZE), SIZE);
    assert_true(asyncore_queued(d) > 0);
    while (got < SIZE) {
        ssize_t n = recv(m.peer, data, SIZE, MSG_DONTWAIT);
        assert_int_equal(stats_now().sent, SIZE - asyncore_queued(d));
        if (n > 0)
            got += (size_t)n;
        turns(1);
    }
    assert_int_equal(got, SIZE);
    assert_int_equal(stats_now().sent, SIZE);
    free(data);
}

static void drop(asynchat *chat, const void *data, size_t size)
{
    (void)chat;
    (void)data;
    (void)size;
}

static void bytes_of_an_asynchat(void **state)
{
    static const asynchat_handlers chatting = { .handle_frame = drop };
    char name[] = "/tmp/asyncore.XXXXXX";
    int file = mkstemp(name);
    asynchat_shared *shared;

    (void)state;
    unlink(name);
    assert_int_equal(write(file, "0123456789", 10), 10);
    assert_int_equal(asynchat_init(&m.chat, &chatting, pair_up(), map), 0);
    assert_int_equal(write(m.peer, "abcde", 5), 5);
    turns(1);
    assert_int_equal(stats_now().received, 5);
    assert_int_equal(asynchat_push(&m.chat, "xy", 2), 0);
    shared = asynchat_shared_new("z", 1);
    assert_int_equal(asynchat_push_shared(&m.chat, shared), 0);
    asynchat_shared_free(shared);
    assert_int_equal(asynchat_push_file(&m.chat, file, 0, 10), 0);
    turns(3);
    assert_int_equal(stats_now().sent, 13);
    /* What is dropped has been received, too. */
    asynchat_close_when_done(&m.chat, -1);
    assert_int_equal(write(m.peer, "late", 4), 4);
    turns(2);
    assert_int_equal(stats_now().received, 9);
}

static void bytes_of_files(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(
        asyncore_file_dispatcher_init(&m.file, &sloth, ends[0], map), 0);
    assert_int_equal(write(ends[1], "abc", 3), 3);
    turns(1);
    assert_int_equal(stats_now().received, 3);
    close(ends[0]);
    close(ends[1]);
}

static void bytes_of_datagrams(void **state)
{
    asyncore_address at;
    char data[16];

    (void)state;
    assert_int_equal(asyncore_dispatcher_init(d, &sloth, -1, map), 0);
    assert_int_equal(asyncore_create_socket(d, AF_INET, SOCK_DGRAM), 0);
    asyncore_address_parse(&at, "127.0.0.1:0");
    assert_int_equal(asyncore_bind(d, &at), 0);
    asyncore_getsockname(d, &at);
    assert_int_equal(asyncore_sendto(d, "abcdef", 6, &at), 6);
    assert_int_equal(asyncore_recvfrom(d, data, sizeof data, NULL), 6);
    assert_int_equal(asyncore_recvfrom(d, data, sizeof data, NULL), -1);
    assert_int_equal(stats_now().sent, 6);
    assert_int_equal(stats_now().received, 6);
}

static void accepted_and_closed(void **state)
{
    asyncore_dispatcher client;
    asyncore_address at;
    asyncore_stats stats;

    (void)state;
    listen_anywhere(&at, &sloth);
    for (int i = 0; i < 3; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, &at.any, at.size), 0);
        close(fd);
    }
    turns(2);
    stats = stats_now();
    assert_int_equal(stats.accepted, 3);
    assert_int_equal(stats.events, 1);
    assert_int_equal(stats.closed, 0);
    /* The peer's end, our own, and that of none. */
    m.peer = socket(AF_INET, SOCK_STREAM, 0);
    asyncore_dispatcher_init(&client, &sloth, -1, map);
    asyncore_create_socket(&client, AF_INET, SOCK_STREAM);
    asyncore_connect(&client, &at);
    turns(4);
    assert_int_equal(client.fd, -1);
    assert_int_equal(stats_now().closed, 1);
    asyncore_dispatcher_init(&client, &sloth, pair_up(), map);
    asyncore_close(&client);
    asyncore_close(&client);
    assert_int_equal(stats_now().closed, 2);
    asyncore_create_socket(&client, AF_INET, SOCK_STREAM);
    asyncore_close(&client);
    asyncore_close(d);
    assert_int_equal(stats_now().closed, 2);
}

/* Closed behind the library's back, and found by who has its number next. */
static void closed_unseen(void **state)
{
    asyncore_dispatcher next;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    join(&sloth);
    assert_int_equal(dup2(pair[0], d->fd), d->fd);
    assert_int_equal(asyncore_dispatcher_init(&next, &sloth, d->fd, map), 0);
    assert_int_equal(stats_now().closed, 1);
    turns(1);
    assert_int_equal(d->fd, -1);
    assert_int_equal(stats_now().closed, 1);
    asyncore_close(&next);
    assert_int_equal(stats_now().closed, 2);
    close(pair[0]);
    close(pair[1]);
}

/* The counters of the map that it was in are none of its business. */
static void out_of_its_map(void **state)
{
    asyncore_map *other = asyncore_map_new(NULL);

    (void)state;
    join(&sloth);
    asyncore_set_timeout(d, 1000);
    assert_int_equal(asyncore_del_channel(d), 0);
    assert_int_equal(asyncore_send(d, "abc", 3), 3);
    assert_int_equal(stats_now().sent, 0);
    asyncore_map_free(map);
    map = other;
    assert_int_equal(asyncore_send(d, "abc", 3), 3);
    assert_int_equal(asyncore_add_channel(d, map), 0);
    assert_int_equal(asyncore_send(d, "abc", 3), 3);
    assert_int_equal(stats_now().sent, 3);
}

/* ---- Slow handlers ------------------------------------------------------ */

#define LIMIT_MS 50

static void time_it(int64_t ms)
{
    assert_int_equal(asyncore_set_slow_callback_duration(map, LIMIT_MS), 0);
    takes_ms = ms;
}

static void assert_line(const char *expected)
{
    assert_string_equal(line, expected);
    line[0] = '\0';
}

static void longer_than_the_limit(void **state)
{
    asyncore_stats stats;

    (void)state;
    join(&sloth);
    time_it(LIMIT_MS);
    assert_int_equal(write(m.peer, "x", 1), 1);
    turns(1);
    assert_int_equal(lines, 0);
    stats = stats_now();
    assert_int_equal(stats.slow, 0);
    assert_int_equal(stats.longest_ns, LIMIT_MS * CLOCK_MS);
    assert_string_equal(stats.longest, "sloth.handle_read");
    takes_ms = LIMIT_MS + 3;
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(write(m.peer, "x", 1), 1);
        turns(3);
        assert_line("slow: sloth.handle_read held the loop for 53 ms");
        assert_int_equal(lines, i);
    }
    asyncore_set_writable(d, true);
    takes_ms = 60;
    turns(1);
    stats = stats_now();
    assert_int_equal(stats.slow, 3);
    assert_int_equal(stats.longest_ns, 60 * CLOCK_MS);
    assert_string_equal(stats.longest, "sloth.handle_write");
}

static void not_asked_for(void **state)
{
    (void)state;
    join(&sloth);
    takes_ms = 1000;
    assert_int_equal(write(m.peer, "x", 1), 1);
    turns(1);
    time_it(1000);
    assert_int_equal(asyncore_set_slow_callback_duration(map, -1), 0);
    assert_int_equal(write(m.peer, "x", 1), 1);
    turns(1);
    assert_int_equal(lines, 0);
    assert_int_equal(stats_now().slow, 0);
    assert_int_equal(stats_now().longest_ns, 0);
}

/* Only one of an event's two is slow. */
static void quick_read(asyncore_dispatcher *dispatcher)
{
    char data[16];

    (void)asyncore_recv(dispatcher, data, sizeof data);
}

static void quick_write(asyncore_dispatcher *dispatcher)
{
    asyncore_set_writable(dispatcher, false);
}

static void one_of_two(void **state)
{
    static const asyncore_handlers quick_reader = {
        .handle_read = quick_read,
        .handle_write = slow_write,
        .log_info = note_line,
    };

    (void)state;
    join(&quick_reader);
    time_it(70);
    assert_int_equal(write(m.peer, "x", 1), 1);
    asyncore_set_writable(d, true);
    turns(1);
    assert_int_equal(lines, 1);
    assert_line("slow: dispatcher.handle_write held the loop for 70 ms");
    assert_int_equal(stats_now().received, 1);
}

static void out_of_band(void **state)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
    asyncore_address at;

    (void)state;
    asyncore_address_parse(&at, "127.0.0.1:0");
    assert_int_equal(bind(listener, &at.any, at.size), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, &at.any, &at.size);
    m.peer = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(m.peer, &at.any, at.size), 0);
    fd = accept(listener, NULL, NULL);
    assert_int_equal(asyncore_dispatcher_init(d, &sloth, fd, map), 0);
    assert_int_equal(send(m.peer, "!", 1, MSG_OOB), 1);
    time_it(70);
    turns(1);
    assert_line("slow: sloth.handle_expt held the loop for 70 ms");
    close(listener);
}

static void connections(void **state)
{
    asyncore_dispatcher client;
    asyncore_address at;

    (void)state;
    listen_anywhere(&at, &sloth);
    asyncore_dispatcher_init(&client, &sloth, -1, map);
    asyncore_create_socket(&client, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(&client, &at), 0);
    time_it(70);
    asyncore_set_readable(d, false);
    turns(1);
    assert_line("slow: sloth.handle_connect held the loop for 70 ms");
    asyncore_set_readable(d, true);
    asyncore_set_readable(&client, false);
    turns(1);
    assert_line("slow: sloth.handle_accept held the loop for 70 ms");
    /* Refused: nobody listens any more. */
    asyncore_close(&client);
    asyncore_close(d);
    asyncore_create_socket(&client, AF_INET, SOCK_STREAM);
    assert_int_equal(asyncore_connect(&client, &at), 0);
    capture_begin();
    turns(1);
    capture_end(line, sizeof line);
    assert_non_null(
        strstr(line, "slow: sloth.handle_close held the loop for 70 ms\n"));
}

/* Who has gone by then has no log of its own. */
static void gone(void **state)
{
    static const asyncore_handlers mortal = {
        .handle_close = slow,
        .handle_free = slow,
        .log_info = note_line,
    };

    (void)state;
    join(&mortal);
    asyncore_set_readable(d, false);
    turns(1);
    close(m.peer);
    m.peer = -1;
    time_it(70);
    capture_begin();
    turns(1);
    capture_end(line, sizeof line);
    assert_int_equal(lines, 0);
    assert_string_equal(
        line, "slow: dispatcher.handle_close held the loop for 70 ms\n"
              "slow: dispatcher.handle_free held the loop for 70 ms\n");
    assert_int_equal(stats_now().slow, 2);
}

static void slow_call(void *arg)
{
    (void)arg;
    take_time();
}

static void no_dispatcher(void **state)
{
    asyncore_signal_handler handler = { 0 };
    asyncore_timer timer = { 0 };

    (void)state;
    join(&sloth);
    time_it(70);
    capture_begin();
    asyncore_call_soon(map, slow_call, NULL);
    turns(1);
    asyncore_call_later(&timer, map, 0, slow_call, NULL);
    turns(1);
    asyncore_signal(&handler, map, SIGUSR1, slow_call, NULL);
    raise(SIGUSR1);
    turns(1);
    asyncore_signal_cancel(&handler);
    capture_end(line, sizeof line);
    assert_string_equal(line, "slow: a call held the loop for 70 ms\n"
                              "slow: a timer held the loop for 70 ms\n"
                              "slow: a signal held the loop for 70 ms\n");
    assert_int_equal(stats_now().slow, 3);
    assert_string_equal(stats_now().longest, "a call");
}

static void a_timeout(void **state)
{
    (void)state;
    join(&sloth);
    asyncore_set_timeout(d, 1000);
    time_it(70);
    assert_int_equal(asyncore_poll(map, -1), 0);
    assert_line("slow: sloth.handle_timeout held the loop for 70 ms");
    assert_int_equal(lines, 1);
}

/* Waiting is nobody's fault, in a nested turn either. */
static void nest(asyncore_dispatcher *dispatcher)
{
    quick_read(dispatcher);
    (void)asyncore_poll(map, 500);
    take_time();
}

static void nested(void **state)
{
    static const asyncore_handlers nesting = {
        .name = "nest",
        .handle_read = nest,
        .log_info = note_line,
    };

    (void)state;
    join(&nesting);
    time_it(0);
    assert_int_equal(write(m.peer, "x", 1), 1);
    turns(1);
    assert_int_equal(lines, 0);
    takes_ms = 70;
    assert_int_equal(write(m.peer, "x", 1), 1);
    turns(1);
    assert_line("slow: nest.handle_read held the loop for 70 ms");
}

/* The report is a handler like any other: it may do anything. */
static void close_and_stop(asyncore_dispatcher *dispatcher, const char *message,
                           const char *type)
{
    note_line(dispatcher, message, type);
    asyncore_close(dispatcher);
    asyncore_stop(map);
    asyncore_set_slow_callback_duration(map, -1);
    take_time();
}

static void closed_by_its_report(void **state)
{
    static const asyncore_handlers suicidal = {
        .handle_read = slow_read,
        .handle_write = slow_write,
        .log_info = close_and_stop,
    };

    (void)state;
    join(&suicidal);
    time_it(70);
    assert_int_equal(write(m.peer, "x", 1), 1);
    asyncore_set_writable(d, true);
    turns(1);
    assert_int_equal(lines, 1);
    assert_int_equal(d->fd, -1);
    assert_int_equal(asyncore_map_count(map), 0);
}

static void log_slowly(asyncore_dispatcher *dispatcher, const char *message,
                       const char *type)
{
    note_line(dispatcher, message, type);
    clock_advance(70 * CLOCK_MS);
}

/* Who reads is slow, and the log is, but who writes is not. */
static void the_report_takes_time(void **state)
{
    static const asyncore_handlers verbose = {
        .handle_read = slow_read,
        .handle_write = quick_write,
        .log_info = log_slowly,
    };

    (void)state;
    join(&verbose);
    time_it(60);
    assert_int_equal(write(m.peer, "x", 1), 1);
    asyncore_set_writable(d, true);
    turns(1);
    assert_int_equal(lines, 1);
    assert_line("slow: dispatcher.handle_read held the loop for 60 ms");
}

static void free_the_map(asyncore_dispatcher *dispatcher)
{
    (void)dispatcher;
    take_time();
    asyncore_map_free(map);
}

static void map_freed_by_a_handler(void **state)
{
    static const asyncore_handlers freeing = {
        .handle_read = free_the_map,
        .log_info = note_line,
    };

    (void)state;
    join(&freeing);
    time_it(70);
    assert_int_equal(asyncore_set_spin_guard(map, true), 0);
    assert_int_equal(write(m.peer, "x", 1), 1);
    capture_begin();
    (void)asyncore_poll(map, 0);
    capture_end(line, sizeof line);
    map = asyncore_map_new(NULL);
    assert_string_equal(
        line, "slow: dispatcher.handle_read held the loop for 70 ms\n");
}

/* ---- What it costs ------------------------------------------------------ */

/* Readings of the clock in a turn with so many handlers. */
static int readings(int handlers)
{
    int before = clock_reads();

    if (handlers > 0)
        assert_int_equal(write(m.peer, "x", 1), 1);
    if (handlers > 1)
        asyncore_set_writable(d, true);
    turns(1);
    return clock_reads() - before;
}

static void two_readings_a_turn(void **state)
{
    (void)state;
    join(&sloth);
    for (int i = 0; i <= 2; i++)
        assert_int_equal(readings(i), 0);
    time_it(0);
    assert_in_range(readings(0), 0, 1);
    assert_int_equal(readings(1), 2);
    assert_int_equal(readings(2), 3);
    asyncore_set_slow_callback_duration(map, -1);
    for (int i = 0; i <= 2; i++)
        assert_int_equal(readings(i), 0);
    assert_int_equal(asyncore_set_spin_guard(map, true), 0);
    for (int i = 0; i <= 2; i++)
        assert_int_equal(readings(i), 0);
}

static void any_limit(void **state)
{
    static const int64_t limits[] = { INT64_MIN, -1, INT64_MAX };

    (void)state;
    join(&sloth);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        assert_int_equal(asyncore_set_slow_callback_duration(map, limits[i]),
                         0);
        takes_ms = 100000;
        (void)readings(1);
        assert_int_equal(lines, 0);
    }
    assert_int_equal(asyncore_set_slow_callback_duration(map, 0), 0);
    takes_ms = 1;
    (void)readings(1);
    assert_line("slow: sloth.handle_read held the loop for 1 ms");
    takes_ms = 0;
    (void)readings(1);
    assert_int_equal(lines, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_at_first),
        TEST(turns_and_events),
        TEST(bytes),
        TEST(queued_bytes),
        TEST(bytes_of_an_asynchat),
        TEST(bytes_of_files),
        TEST(bytes_of_datagrams),
        TEST(accepted_and_closed),
        TEST(closed_unseen),
        TEST(out_of_its_map),
        TEST(longer_than_the_limit),
        TEST(not_asked_for),
        TEST(one_of_two),
        TEST(out_of_band),
        TEST(connections),
        TEST(gone),
        TEST(no_dispatcher),
        TEST(a_timeout),
        TEST(nested),
        TEST(closed_by_its_report),
        TEST(the_report_takes_time),
        TEST(map_freed_by_a_handler),
        TEST(two_readings_a_turn),
        TEST(any_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
