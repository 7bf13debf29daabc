/*
 * test_timeout.c - asyncore_set_timeout, on a clock that moves only while the
 * loop waits.
 */
#include "map.h"
#include "support/clock.h"

#include <asynchat.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static asyncore_map *map;
static asyncore_dispatcher_with_send with_send;
static asyncore_dispatcher *const d = &with_send.dispatcher;
static int peer;
static int timeouts, closes, error;
static int64_t started, timed_out_at;

static void count_timeout(asyncore_dispatcher *dispatcher)
{
    (void)dispatcher;
    timeouts++;
    timed_out_at = clock_now();
}

static void close_on_timeout(asyncore_dispatcher *dispatcher)
{
    count_timeout(dispatcher);
    asyncore_close(dispatcher);
}

static void note_close(asyncore_dispatcher *dispatcher)
{
    closes++;
    error = dispatcher->error;
    timed_out_at = clock_now();
}

static void read_some(asyncore_dispatcher *dispatcher)
{
    char data[16];

    (void)asyncore_recv(dispatcher, data, sizeof data);
}

static const asyncore_handlers counting = {
    .handle_read = read_some,
    .handle_close = note_close,
    .handle_timeout = count_timeout,
};

static const asyncore_handlers closing = {
    .handle_read = read_some,
    .handle_close = note_close,
    .handle_timeout = close_on_timeout,
};

static const asyncore_handlers plain = {
    .handle_read = read_some,
    .handle_close = note_close,
};

static int set_up(void **state)
{
    int pair[2];

    (void)state;
    timeouts = closes = error = 0;
    map = asyncore_map_new(NULL);
    if (map == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return -1;
    peer = pair[0];
    clock_freeze();
    started = clock_now();
    return asyncore_dispatcher_with_send_init(&with_send, &plain, pair[1], map);
}

static int tear_down(void **state)
{
    (void)state;
    asyncore_map_free(map);
    close(peer);
    clock_release();
    return 0;
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Turns until so many milliseconds have passed. */
static void turn_for(int64_t ms)
{
    asyncore_timer end = { 0 };

    asyncore_call_later(&end, map, ms, nothing, NULL);
    while (end.map != NULL)
        assert_true(asyncore_poll(map, -1) >= 0);
}

static int64_t passed(void)
{
    return (timed_out_at - started) / CLOCK_MS;
}

static void silence_closes(void **state)
{
    (void)state;
    assert_int_equal(asyncore_set_timeout(d, 1000), 0);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_int_equal(closes, 1);
    assert_int_equal(error, ETIMEDOUT);
    assert_int_equal(passed(), 1000);
}

static void what_is_received_puts_it_off(void **state)
{
    (void)state;
    asyncore_set_timeout(d, 1000);
    for (int i = 0; i < 5; i++) {
        turn_for(900);
        assert_int_equal(write(peer, "x", 1), 1);
        turn_for(0);
    }
    asyncore_loop(map, -1, -1);
    assert_int_equal(error, ETIMEDOUT);
    assert_int_equal(passed(), 5 * 900 + 1000);
}

static void what_is_sent_puts_it_off(void **state)
{
    (void)state;
    asyncore_set_timeout(d, 1000);
    turn_for(600);
    assert_int_equal(asyncore_send(d, "x", 1), 1);
    asyncore_loop(map, -1, -1);
    assert_int_equal(passed(), 1600);
}

/* What is only queued is not sent. */
static void a_peer_that_does_not_read(void **state)
{
    static char much[1 << 20];

    (void)state;
    asyncore_set_timeout(d, 1000);
    asyncore_send(d, much, sizeof much);
    assert_true(asyncore_queued(d) > 0);
    turn_for(500);
    asyncore_send(d, much, sizeof much);
    asyncore_loop(map, -1, -1);
    assert_int_equal(error, ETIMEDOUT);
    assert_int_equal(passed(), 1000);
}

static void an_override_has_it_again(void **state)
{
    (void)state;
    asyncore_set_handlers(d, &counting);
    asyncore_set_timeout(d, 100);
    turn_for(1050);
    assert_int_equal(timeouts, 10);
    assert_int_equal(closes, 0);
}

static void closed_in_its_handler(void **state)
{
    (void)state;
    asyncore_set_handlers(d, &closing);
    asyncore_set_timeout(d, 100);
    asyncore_loop(map, -1, -1);
    assert_int_equal(timeouts, 1);
    assert_int_equal(closes, 0);
}

static void turned_off_and_changed(void **state)
{
    (void)state;
    asyncore_set_handlers(d, &counting);
    asyncore_set_timeout(d, 100);
    assert_int_equal(asyncore_set_timeout(d, -1), 0);
    turn_for(1000);
    assert_int_equal(timeouts, 0);
    asyncore_set_timeout(d, 500);
    turn_for(300);
    asyncore_set_timeout(d, 200);
    turn_for(250);
    assert_int_equal(timeouts, 1);
    assert_int_equal(passed(), 1000 + 300 + 200);
}

/* It is of the connection, and of its map. */
static void ends_with_both(void **state)
{
    int pair[2];

    (void)state;
    asyncore_set_handlers(d, &counting);
    asyncore_set_timeout(d, 100);
    asyncore_close(d);
    assert_int_equal(asyncore_set_timeout(d, 100), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(asyncore_set_socket(d, pair[1]), 0);
    turn_for(1000);
    assert_int_equal(timeouts, 0);
    asyncore_set_timeout(d, 100);
    asyncore_del_channel(d);
    turn_for(1000);
    assert_int_equal(timeouts, 0);
    assert_int_equal(asyncore_add_channel(d, map), 0);
    turn_for(1000);
    assert_int_equal(timeouts, 0);
    close(pair[0]);
}

/* A connection that does not come to be: nobody answers, for the backlog of
   the listener is full. */
static void connecting(void **state)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), fds[8];
    asyncore_address address;
    asyncore_dispatcher c;
    size_t i;

    (void)state;
    asyncore_close(d);
    asyncore_address_parse(&address, "127.0.0.1:0");
    assert_int_equal(bind(listener, &address.any, address.size), 0);
    assert_int_equal(listen(listener, 0), 0);
    getsockname(listener, &address.any, &address.size);
    for (i = 0; i < 8; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], &address.any, address.size);
    }
    asyncore_dispatcher_init(&c, &plain, -1, map);
    assert_int_equal(asyncore_create_socket(&c, AF_INET, SOCK_STREAM), 0);
    assert_int_equal(asyncore_connect(&c, &address), 0);
    assert_int_equal(asyncore_set_timeout(&c, 3000), 0);
    asyncore_loop(map, -1, -1);
    assert_int_equal(closes, 1);
    assert_int_equal(error, ETIMEDOUT);
    assert_int_equal(passed(), 3000);
    while (i > 0)
        close(fds[--i]);
    close(listener);
}

static asynchat chat;

static void chat_close(asyncore_dispatcher *dispatcher)
{
    note_close(dispatcher);
}

static void drop(asynchat *c, const void *data, size_t size)
{
    (void)c;
    (void)data;
    (void)size;
}

static const asynchat_handlers chatting = {
    .dispatcher = { .handle_close = chat_close },
    .handle_frame = drop,
};

static void of_an_asynchat(void **state)
{
    int pair[2];

    (void)state;
    asyncore_close(d);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(asynchat_init(&chat, &chatting, pair[1], map), 0);
    asyncore_set_timeout(&chat.dispatcher, 1000);
    turn_for(800);
    assert_int_equal(write(pair[0], "x", 1), 1);
    turn_for(0);
    asyncore_loop(map, -1, -1);
    assert_int_equal(error, ETIMEDOUT);
    assert_int_equal(passed(), 1800);
    close(pair[0]);
}

static int result;

static void put_off(asyncore_dispatcher *dispatcher)
{
    read_some(dispatcher);
    result |= asyncore_set_timeout(dispatcher, 60000);
}

static const asyncore_handlers putting_off = {
    .handle_read = put_off,
    .handle_close = note_close,
};

/* Activity reads no clock and sets no timer, nor does it to set the same time
   again: so many messages, and no more readings than turns need. */
static void activity_costs_a_store(void **state)
{
    static const asyncore_handlers *const classes[] = { &plain, &putting_off };
    uint64_t timers_set;
    int before;

    (void)state;
    asyncore_set_timeout(d, 60000);
    timers_set = map->timer_order;
    for (int i = 0; i < 2; i++) {
        asyncore_set_handlers(d, classes[i]);
        before = clock_reads();
        for (int j = 0; j < 1000; j++) {
            assert_int_equal(write(peer, "x", 1), 1);
            assert_int_equal(asyncore_poll(map, -1), 1);
        }
        assert_int_equal(clock_reads() - before, 2 * 1000);
    }
    assert_int_equal(result, 0);
    before = clock_reads();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(asyncore_send(d, "x", 1), 1);
    assert_int_equal(clock_reads() - before, 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(asyncore_set_timeout(d, 60000 + i), 0);
    assert_int_equal(map->timer_order, timers_set);
    asyncore_set_timeout(d, -1);
    before = clock_reads();
    assert_int_equal(asyncore_poll(map, 0), 0);
    assert_int_equal(clock_reads() - before, 0);
}

static void set_again_by_a_handler(asyncore_dispatcher *dispatcher)
{
    char data[16];

    /* Not by asyncore_recv, which would put it off itself. */
    (void)recv(dispatcher->fd, data, sizeof data, 0);
    result |= asyncore_set_timeout(dispatcher, 1000);
}

/* To set it puts it off, in a handler and outside, where no turn has read the
   clock for long. */
static void setting_it_again_puts_it_off(void **state)
{
    static const asyncore_handlers setting = {
        .handle_read = set_again_by_a_handler,
        .handle_close = note_close,
    };

    (void)state;
    result = 0;
    asyncore_set_handlers(d, &setting);
    asyncore_set_timeout(d, 1000);
    for (int i = 0; i < 5; i++) {
        turn_for(900);
        assert_int_equal(write(peer, "x", 1), 1);
        turn_for(0);
    }
    assert_int_equal(result, 0);
    for (int i = 0; i < 5; i++) {
        clock_advance(900 * CLOCK_MS);
        assert_int_equal(asyncore_set_timeout(d, 1000), 0);
        assert_int_equal(asyncore_send(d, "x", 1), 1);
    }
    assert_int_equal(closes, 0);
    asyncore_loop(map, -1, -1);
    assert_int_equal(passed(), 10 * 900 + 1000);
}

/* Time that a handler has taken before it sets one is not taken from it. */
static void set_late_in_a_turn(asyncore_dispatcher *dispatcher)
{
    read_some(dispatcher);
    clock_advance(5000 * CLOCK_MS);
    result |= asyncore_set_timeout(dispatcher, 1000);
}

static void set_by_a_slow_handler(void **state)
{
    static const asyncore_handlers slow = {
        .handle_read = set_late_in_a_turn,
        .handle_close = note_close,
    };

    (void)state;
    result = 0;
    asyncore_set_handlers(d, &slow);
    asyncore_set_timeout(d, 60000);
    assert_int_equal(write(peer, "x", 1), 1);
    asyncore_loop(map, -1, -1);
    assert_int_equal(result, 0);
    assert_int_equal(passed(), 6000);
}

/* In a loop of one's own, whose turns are not the map's. */
static void of_a_foreign_loop(void **state)
{
    (void)state;
    asyncore_set_timeout(d, 1000);
    for (int i = 0; i < 5; i++) {
        clock_advance(900 * CLOCK_MS);
        assert_int_equal(write(peer, "x", 1), 1);
        asyncore_readwrite(d, POLLIN);
        assert_int_equal(asyncore_poll(map, 0), 0);
    }
    assert_int_equal(closes, 0);
    asyncore_loop(map, -1, -1);
    assert_int_equal(passed(), 5 * 900 + 1000);
}

static void at_once(void **state)
{
    (void)state;
    asyncore_set_handlers(d, &counting);
    assert_int_equal(asyncore_set_timeout(d, 0), 0);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(asyncore_poll(map, -1), 0);
        assert_int_equal(timeouts, i);
    }
    assert_true(passed() <= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(silence_closes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_received_puts_it_off, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_sent_puts_it_off, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_peer_that_does_not_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_override_has_it_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(closed_in_its_handler, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(turned_off_and_changed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(ends_with_both, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connecting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_an_asynchat, set_up, tear_down),
        cmocka_unit_test_setup_teardown(activity_costs_a_store, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(setting_it_again_puts_it_off, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(set_by_a_slow_handler, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(of_a_foreign_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(at_once, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
