/*
 * test_stop.c - asyncore_stop_when_done, on a clock that moves only while the
 * loop waits: where something keeps a loop from ending, the program does not
 * hang, it is ended.
 */
#include "support/clock.h"
#include "support/world.h"

#include <asynchat.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINGER = 1000, PIECE = 4 };

/* ---- The class: an echo that reads little at a time --------------------- */

static int reads, stops, closes, error, freed;
static int64_t started;
static asyncore_dispatcher *other;  /* what relay sends to */
static asyncore_dispatcher *all[2]; /* what end_all ends */

static void echo_read(asyncore_dispatcher *d)
{
    char data[PIECE];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    reads++;
    if (n > 0)
        asyncore_send(d, data, (size_t)n);
}

static void echo_eof(asyncore_dispatcher *d)
{
    (void)asyncore_shutdown(d);
}

static void echo_close(asyncore_dispatcher *d)
{
    closes++;
    error = d->error;
}

static void echo_free(asyncore_dispatcher *d)
{
    freed++;
    free(d);
}

#define ECHO \
    .handle_read = echo_read, .handle_eof = echo_eof, \
    .handle_close = echo_close, .handle_free = echo_free

static const asyncore_handlers echo = { ECHO };

static void count_stop(asyncore_dispatcher *d)
{
    (void)d;
    stops++;
}

static const asyncore_handlers stubborn = {
    ECHO,
    .handle_stop = count_stop,
};

static void last_word(asyncore_dispatcher *d)
{
    stops++;
    asyncore_send(d, "bye", 3);
    (void)asyncore_shutdown(d);
}

static const asyncore_handlers polite = {
    ECHO,
    .handle_stop = last_word,
};

static void end_all(asyncore_dispatcher *d)
{
    (void)d;
    stops++;
    asyncore_close(all[0]);
    asyncore_close(all[1]);
}

static const asyncore_handlers ending = {
    ECHO,
    .handle_stop = end_all,
};

static void ignore(asyncore_dispatcher *d)
{
    (void)d;
}

static const asyncore_handlers half_closed = {
    .handle_read = echo_read,
    .handle_eof = ignore,
    .handle_close = echo_close,
    .handle_free = echo_free,
    .handle_stop = count_stop,
};

static void relay_read(asyncore_dispatcher *d)
{
    char data[PIECE];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0)
        asyncore_send(other, data, (size_t)n);
}

static const asyncore_handlers relay = {
    .handle_read = relay_read,
    .handle_close = echo_close,
    .handle_free = echo_free,
};

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    asyncore_dispatcher_with_send *c = malloc(sizeof *c);

    (void)peer;
    if (c == NULL)
        close(fd);
    else if (asyncore_dispatcher_with_send_init(c, &echo, fd, d->map) < 0)
        free(c);
}

static const asyncore_handlers server = {
    .handle_accepted = accepted,
};

/* ---- What the tests share ------------------------------------------------ */

static void freeze(void)
{
    reads = stops = closes = freed = 0;
    error = -1;
    clock_freeze();
    started = clock_now();
}

static int64_t passed(void)
{
    int64_t ms = (clock_now() - started) / CLOCK_MS;

    clock_release();
    return ms;
}

/* One of the class with a peer. */
static asyncore_dispatcher *make(world *w, const asyncore_handlers *class,
                                 int *peer)
{
    asyncore_dispatcher_with_send *c = malloc(sizeof *c);
    int ends[2];

    assert_non_null(c);
    peer_pair(SOCK_STREAM, ends);
    *peer = ends[1];
    assert_int_equal(
        asyncore_dispatcher_with_send_init(c, class, ends[0], w->map), 0);
    return &c->dispatcher;
}

static void assert_gets(int peer, const char *text)
{
    char data[64];
    size_t size = peer_read(peer, data, sizeof data);

    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size);
}

static bool has_ended(int peer)
{
    struct pollfd p = { .fd = peer, .events = POLLIN };

    return poll(&p, 1, 0) == 1;
}

/* ---- Tests ---------------------------------------------------------------- */

static void idle_ones_are_half_closed(void **state)
{
    world *w = world_of(state);
    int peer;

    make(w, &echo, &peer);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    assert_false(has_ended(peer));
    run_turns(w->map, 4);
    assert_gets(peer, "");
    assert_int_equal(closes, 0);
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(closes, 1);
    assert_int_equal(error, 0);
    assert_int_equal(freed, 1);
    assert_int_equal(passed(), 0);
}

static void what_was_received_is_answered(void **state)
{
    world *w = world_of(state);
    int peer;

    make(w, &echo, &peer);
    peer_write(peer, "twenty-two bytes of it", 22);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 10);
    assert_gets(peer, "twenty-two bytes of it");
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

static void what_comes_later_is_not_waited_for(void **state)
{
    world *w = world_of(state);
    int peer;

    make(w, &echo, &peer);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 4);
    peer_write(peer, "late", 4);
    run_turns(w->map, 4);
    assert_int_equal(reads, 1); /* and dropped: its send failed */
    assert_gets(peer, "");
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(error, 0);
    assert_int_equal(passed(), 0);
}

static void what_is_queued_is_sent(void **state)
{
    world *w = world_of(state);
    enum { SIZE = 4 << 20 };
    char *data = calloc(1, SIZE);
    size_t got = 0;
    asyncore_dispatcher *d;
    int peer;

    assert_non_null(data);
    d = make(w, &echo, &peer);
    assert_int_equal(asyncore_send(d, data, SIZE), SIZE);
    assert_true(asyncore_queued(d) > 0);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    while (got < SIZE) {
        run_turns(w->map, 4);
        got += peer_read(peer, data, 4096);
    }
    run_turns(w->map, 4);
    assert_gets(peer, "");
    free(data);
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

static void who_does_not_go_is_cut_off(void **state)
{
    static const char much[4 << 20];
    world *w = world_of(state);
    int idle, stuffed;

    make(w, &echo, &idle);
    asyncore_send(make(w, &echo, &stuffed), much, sizeof much);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), LINGER);
    assert_int_equal(freed, 2);
    assert_int_equal(closes, 0);
    assert_int_equal(asyncore_map_count(w->map), 0);
    close(idle);
    close(stuffed);
}

static void who_does_not_stop_sending_is_told_anyway(void **state)
{
    world *w = world_of(state);
    char data[4096];
    ssize_t n = 1;
    int peer;

    make(w, &echo, &peer);
    peer_write(peer, "much of it", 10);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    for (int i = 0; i < LINGER && n != 0; i++) {
        peer_write(peer, "more", PIECE);
        run_turns(w->map, 1);
        n = recv(peer, data, sizeof data, MSG_DONTWAIT);
        clock_advance(CLOCK_MS);
    }
    assert_int_equal(n, 0);
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_in_range(passed(), LINGER / 2, LINGER / 2 + 2);
}

static int64_t another_end;

static void set_another_end(asyncore_dispatcher *d)
{
    stops++;
    asyncore_stop_when_done(d->map, another_end);
}

static void turn_until(world *w, int64_t ms)
{
    while (clock_now() < started + ms * CLOCK_MS) {
        run_turns(w->map, 1);
        clock_advance(CLOCK_MS);
    }
}

/* Who is told in the middle may set another one. */
static void the_end_is_the_last_that_was_set(void **state)
{
    static const asyncore_handlers asking = {
        .handle_read = ignore,
        .handle_free = echo_free,
        .handle_stop = set_another_end,
    };
    world *w = world_of(state);

    for (another_end = -1; another_end <= 10 * LINGER;
         another_end += 10 * LINGER + 1) {
        asyncore_dispatcher *d;
        int peer;

        d = make(w, &asking, &peer);
        peer_write(peer, "x", 1); /* it is never done, and so told late */
        freeze();
        asyncore_stop_when_done(w->map, LINGER);
        turn_until(w, 10 * LINGER);
        assert_int_equal(stops, 1);
        assert_int_equal(freed, 0);
        turn_until(w, 12 * LINGER);
        assert_int_equal(freed, another_end >= 0);
        if (freed == 0)
            asyncore_close(d);
        run_turns(w->map, 1);
        (void)passed();
        close(peer);
    }
}

static void there_need_be_no_end(void **state)
{
    world *w = world_of(state);
    int peer;

    make(w, &stubborn, &peer);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    asyncore_stop_when_done(w->map, -1);
    assert_int_equal(asyncore_loop(w->map, 5 * LINGER, 10), 0);
    assert_int_equal(stops, 1);
    assert_int_equal(freed, 0);
    /* Or another one. */
    started = clock_now();
    asyncore_stop_when_done(w->map, LINGER / 2);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(stops, 1);
    assert_int_equal(freed, 1);
    assert_int_equal(passed(), LINGER / 2);
    close(peer);
}

static void asyncore_stop_is_for_now(void **state)
{
    world *w = world_of(state);
    int peer;

    make(w, &echo, &peer);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    asyncore_stop(w->map);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
    assert_int_equal(asyncore_map_count(w->map), 1);
    asyncore_close_all(w->map);
    assert_int_equal(freed, 1);
    close(peer);
}

static void who_waits_for_a_listener_is_served(void **state)
{
    enum { CLIENTS = 70 }; /* more than one accept's worth */
    world *w = world_of(state);
    asyncore_dispatcher *d = lend(w, sizeof *d);
    asyncore_address address = listen_at(w, d, &server);
    int peers[CLIENTS], late;

    for (int i = 0; i < CLIENTS; i++) {
        peers[i] = peer_connect(&address);
        peer_write(peers[i], "here", 4);
    }
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    assert_int_equal(d->fd, -1);
    late = socket(w->family, SOCK_STREAM, 0);
    assert_int_equal(connect(late, &address.any, address.size), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(late);
    run_turns(w->map, 6);
    for (int i = 0; i < CLIENTS; i++) {
        assert_gets(peers[i], "here");
        close(peers[i]);
    }
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(closes, CLIENTS);
    assert_int_equal(error, 0);
    assert_int_equal(passed(), 0);
}

static void others_are_heard_first(void **state)
{
    world *w = world_of(state);
    int peers[4];
    char said[3 * PIECE];

    /* On all backends some are served behind others. */
    make(w, &relay, &peers[0]);
    other = make(w, &relay, &peers[1]);
    make(w, &relay, &peers[2]);
    make(w, &relay, &peers[3]);
    for (int i = 0; i < 4; i++) {
        if (i != 1)
            peer_write(peers[i], "word", PIECE);
    }
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 6);
    assert_int_equal(peer_read(peers[1], said, sizeof said), sizeof said);
    assert_gets(peers[1], "");
    for (int i = 0; i < 4; i++)
        close(peers[i]);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

/* However many they are: a turn serves 256. */
static void a_crowd_is_heard_first(void **state)
{
    enum { CROWD = 400 };
    world *w = world_of(state);
    int *peers = lend(w, CROWD * sizeof *peers);
    char *said = lend(w, CROWD);
    size_t got = 0;

    other = make(w, &relay, &peers[0]);
    for (int i = 1; i < CROWD; i++) {
        make(w, &relay, &peers[i]);
        peer_write(peers[i], "w", 1);
    }
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    /* A unix socket holds few pieces, however small. */
    for (ssize_t n = -1; n != 0; got += n > 0 ? (size_t)n : 0) {
        run_turns(w->map, 2);
        n = recv(peers[0], said, CROWD, MSG_DONTWAIT);
    }
    assert_int_equal(got, CROWD - 1);
    for (int i = 0; i < CROWD; i++)
        close(peers[i]);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void timers_do_not_hold_it_up(void **state)
{
    world *w = world_of(state);
    asyncore_timer *timer = lend(w, sizeof *timer);
    int peer;

    make(w, &echo, &peer);
    freeze();
    asyncore_call_every(timer, w->map, LINGER / 10, nothing, NULL);
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 4);
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(closes, 1);
    assert_int_equal(passed(), 0);
    /* Nor has it been cancelled. */
    assert_ptr_equal(timer->map, w->map);
    asyncore_timer_cancel(timer);
}

static void an_empty_map_is_done(void **state)
{
    world *w = world_of(state);
    asyncore_timer *timer = lend(w, sizeof *timer);

    freeze();
    asyncore_call_every(timer, w->map, LINGER / 10, nothing, NULL);
    asyncore_stop_when_done(w->map, LINGER);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

static void stop_the_map(void *arg)
{
    asyncore_stop_when_done(arg, LINGER);
}

static void it_is_stopped_from_inside(void **state)
{
    world *w = world_of(state);
    int peer;

    make(w, &echo, &peer);
    freeze();
    assert_int_equal(asyncore_call_soon(w->map, stop_the_map, w->map), 0);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(freed, 1);
    assert_int_equal(passed(), LINGER);
    assert_gets(peer, "");
    close(peer);
}

static void free_the_map(void *arg)
{
    asyncore_stop_when_done(arg, LINGER);
    asyncore_map_free(arg);
}

static void the_map_may_be_freed_meanwhile(void **state)
{
    world *w = world_of(state);
    asyncore_map *map = asyncore_map_new(NULL);
    asyncore_map *worlds = w->map;
    int peer;

    assert_non_null(map);
    w->map = map;
    make(w, &echo, &peer);
    w->map = worlds;
    freeze();
    assert_int_equal(asyncore_call_soon(map, free_the_map, map), 0);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_int_equal(freed, 1);
    assert_int_equal(passed(), 0);
    close(peer);
}

static void the_map_can_be_used_again(void **state)
{
    world *w = world_of(state);
    int peer;

    for (int i = 0; i < 3; i++) {
        asyncore_dispatcher *d = make(w, &stubborn, &peer);
        freeze();
        asyncore_stop_when_done(w->map, LINGER);
        run_turns(w->map, 4);
        assert_int_equal(stops, 1);
        if (i == 0)
            asyncore_close(d);
        if (i == 1)
            asyncore_close_all(w->map);
        assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
        assert_int_equal(asyncore_map_count(w->map), 0);
        close(peer);
        /* Nobody is told, and nothing ends it, now. */
        d = make(w, &stubborn, &peer);
        assert_int_equal(asyncore_loop(w->map, 10 * LINGER, 4), 0);
        assert_int_equal(stops, 1);
        asyncore_close(d);
        close(peer);
        run_turns(w->map, 1);
        (void)passed();
    }
}

static void a_class_may_say_a_last_word(void **state)
{
    world *w = world_of(state);
    int peer;

    make(w, &polite, &peer);
    peer_write(peer, "hello", 5);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 6);
    assert_gets(peer, "hellobye");
    assert_int_equal(stops, 1);
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

static void a_class_may_go_on(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *d;
    int peer;

    d = make(w, &stubborn, &peer);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 6);
    assert_int_equal(stops, 1);
    peer_write(peer, "more", 4);
    run_turns(w->map, 2);
    (void)asyncore_shutdown(d);
    assert_gets(peer, "more");
    assert_int_equal(stops, 1);
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

static void it_may_end_others(void **state)
{
    world *w = world_of(state);
    int peers[2];

    all[0] = make(w, &ending, &peers[0]);
    all[1] = make(w, &ending, &peers[1]);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(stops, 1);
    assert_int_equal(freed, 2);
    assert_int_equal(passed(), 0);
    close(peers[0]);
    close(peers[1]);
}

static void who_pauses_is_waited_for(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *d;
    int peer;

    d = make(w, &echo, &peer);
    asyncore_set_readable(d, false);
    peer_write(peer, "unread", 6);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 6);
    assert_false(has_ended(peer));
    asyncore_set_readable(d, true);
    run_turns(w->map, 6);
    assert_gets(peer, "unread");
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

/* They know that they have to end. */
static void half_closed_ones_are_not_told(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *eof, *shut;
    int peers[2];

    eof = make(w, &half_closed, &peers[0]);
    shutdown(peers[0], SHUT_WR);
    shut = make(w, &half_closed, &peers[1]);
    (void)asyncore_shutdown(shut);
    run_turns(w->map, 2);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 6);
    assert_int_equal(stops, 0);
    assert_int_equal(asyncore_send(eof, "answer", 6), 6);
    (void)asyncore_shutdown(eof);
    assert_gets(peers[0], "answer");
    close(peers[0]);
    close(peers[1]);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(freed, 2);
    assert_int_equal(passed(), 0);
}

static void one_taken_out_is_not_told(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *d;
    int peer;

    d = make(w, &stubborn, &peer);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    assert_int_equal(asyncore_del_channel(d), 0);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(asyncore_add_channel(d, w->map), 0);
    run_turns(w->map, 4);
    assert_int_equal(stops, 0);
    assert_int_equal(passed(), 0);
    close(peer);
}

static void what_is_connecting_connects(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher_with_send *d = malloc(sizeof *d);
    asyncore_address address = fresh_address(w);
    int listener = peer_listen(w, &address), peer;

    assert_non_null(d);
    asyncore_dispatcher_with_send_init(d, &stubborn, -1, w->map);
    assert_int_equal(
        asyncore_create_socket(&d->dispatcher, w->family, SOCK_STREAM), 0);
    assert_int_equal(asyncore_connect(&d->dispatcher, &address), 0);
    asyncore_send(&d->dispatcher, "request", 7);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    assert_int_equal(stops, 0);
    run_turns(w->map, 8);
    assert_int_equal(stops, 1);
    peer = peer_accept(listener);
    (void)asyncore_shutdown(&d->dispatcher);
    assert_gets(peer, "request");
    close(peer);
    close(listener);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

/* Nobody answers: the backlog is full. */
static void what_does_not_connect_is_cut_off(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *d[4];
    asyncore_address address = fresh_address(w);
    int listener = peer_listen(w, &address);

    assert_int_equal(listen(listener, 0), 0);
    for (int i = 0; i < 4; i++) {
        d[i] = malloc(sizeof *d[i]);
        assert_non_null(d[i]);
        asyncore_dispatcher_init(d[i], &stubborn, -1, w->map);
        assert_int_equal(asyncore_create_socket(d[i], w->family, SOCK_STREAM),
                         0);
        assert_int_equal(asyncore_connect(d[i], &address), 0);
    }
    run_turns(w->map, 4);
    assert_true(d[3]->connecting);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 4);
    assert_int_equal(stops + d[0]->connecting + d[1]->connecting +
                         d[2]->connecting + d[3]->connecting,
                     4);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(freed, 4);
    assert_int_equal(passed(), LINGER);
    close(listener);
}

static asyncore_dispatcher *successor;
static int its_peer;

static void succeed(asyncore_dispatcher *d)
{
    int ends[2];

    echo_free(d);
    if (successor != NULL && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0) {
        asyncore_dispatcher_init(successor, &half_closed, ends[0], NULL);
        successor = NULL;
        its_peer = ends[1];
    }
}

static const asyncore_handlers succeeded = {
    .handle_read = echo_read,
    .handle_close = echo_close,
    .handle_free = succeed,
};

/* What is made in the end does not keep the loop, nor is it told. */
static void the_end_is_the_end(void **state)
{
    world *w = world_of(state);
    int peer;

    successor = malloc(sizeof *successor);
    assert_non_null(successor);
    make(w, &succeeded, &peer);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), LINGER);
    assert_null(successor);
    assert_int_equal(asyncore_map_count(w->map), 1);
    run_turns(w->map, 4);
    assert_int_equal(stops, 0);
    /* Unless that begins anew. */
    asyncore_stop_when_done(w->map, -1);
    run_turns(w->map, 4);
    assert_int_equal(stops, 1);
    asyncore_close_all(w->map);
    close(peer);
    close(its_peer);
}

static void what_has_no_connection_is_closed(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *d = lend(w, sizeof *d);
    asyncore_file_dispatcher *file = lend(w, sizeof *file);
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    asyncore_dispatcher_init(d, &half_closed, -1, w->map);
    d->handlers = &server;
    assert_int_equal(asyncore_create_socket(d, w->family, SOCK_STREAM), 0);
    asyncore_file_dispatcher_init(file, &server, ends[1], w->map);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(d->fd, -1);
    assert_int_equal(file->dispatcher.fd, -1);
    assert_int_equal(passed(), 0);
    close(ends[0]);
    close(ends[1]);
}

static void datagram_read(asyncore_dispatcher *d)
{
    char data[16];
    asyncore_address peer;
    ssize_t n = asyncore_recvfrom(d, data, sizeof data, &peer);

    if (n >= 0)
        asyncore_sendto(d, data, (size_t)n, &peer);
}

static const asyncore_handlers datagrams = {
    .handle_read = datagram_read,
};

static void datagrams_are_answered(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *d = lend(w, sizeof *d);
    asyncore_address address = fresh_address(w), own = fresh_address(w);
    char data[16];
    int peer;

    asyncore_dispatcher_init(d, &datagrams, -1, w->map);
    assert_int_equal(asyncore_create_socket(d, w->family, SOCK_DGRAM), 0);
    assert_int_equal(asyncore_bind(d, &address), 0);
    asyncore_getsockname(d, &address);
    peer = peer_socket(w->family, SOCK_DGRAM);
    assert_int_equal(bind(peer, &own.any, own.size), 0);
    assert_int_equal(connect(peer, &address.any, address.size), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(send(peer, "word", (size_t)i, 0), i);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(recv(peer, data, sizeof data, 0), i);
    close(peer);
}

static void chat_free(asyncore_dispatcher *d)
{
    freed++;
    free(d);
}

static void chat_frame(asynchat *chat, const void *data, size_t size)
{
    reads++;
    asynchat_push(chat, data, size);
}

static const asynchat_handlers chats = {
    .dispatcher.handle_close = echo_close,
    .dispatcher.handle_free = chat_free,
    .handle_frame = chat_frame,
};

static void an_asynchat_closes_when_done(void **state)
{
    world *w = world_of(state);
    asynchat *chat = malloc(sizeof *chat);
    int ends[2];

    assert_non_null(chat);
    peer_pair(SOCK_STREAM, ends);
    assert_int_equal(asynchat_init(chat, &chats, ends[0], w->map), 0);
    asynchat_set_terminator(chat, "\n", 1);
    peer_write(ends[1], "one\ntwo\nthr", 11);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 6);
    assert_gets(ends[1], "onetwo");
    assert_int_equal(asynchat_push(chat, "x", 1), -1);
    assert_int_equal(errno, ESHUTDOWN);
    peer_write(ends[1], "four\n", 5);
    run_turns(w->map, 2);
    assert_int_equal(reads, 2);
    close(ends[1]);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(closes, 1);
    assert_int_equal(error, 0);
    assert_int_equal(passed(), 0);
}

static int its_peer;

static void stop_and_linger(asynchat *chat, const void *data, size_t size)
{
    asyncore_map *map = chat->dispatcher.map;

    (void)data, (void)size;
    asynchat_push(chat, "x", 1);
    close(its_peer);
    asyncore_stop_when_done(map, LINGER);
    clock_advance(LINGER / 2 * CLOCK_MS);
    asyncore_poll(map, 0);
}

static void free_at_once(asyncore_dispatcher *d)
{
    closes++;
    asyncore_close(d);
    free(d);
}

/* It is told in the middle of its input; its answer finds nobody, and then it is
   gone, before it has been closed for want of a better end. */
static void an_asynchat_goes_as_it_is_told(void **state)
{
    static const asynchat_handlers class = {
        .dispatcher.handle_close = free_at_once,
        .handle_frame = stop_and_linger,
    };
    world *w = world_of(state);
    asynchat *chat = malloc(sizeof *chat);
    int ends[2];

    assert_non_null(chat);
    peer_pair(SOCK_STREAM, ends);
    its_peer = ends[1];
    assert_int_equal(asynchat_init(chat, &class, ends[0], w->map), 0);
    asynchat_set_terminator(chat, "\n", 1);
    peer_write(ends[1], "one\n", 4);
    freeze();
    run_turns(w->map, 2);
    assert_int_equal(closes, 1);
    assert_int_equal(asyncore_map_count(w->map), 0);
}

/* What it holds back itself is input too. */
static void an_asynchat_that_pauses_is_waited_for(void **state)
{
    world *w = world_of(state);
    asynchat *chat = malloc(sizeof *chat);
    int ends[2];

    assert_non_null(chat);
    peer_pair(SOCK_STREAM, ends);
    assert_int_equal(asynchat_init(chat, &chats, ends[0], w->map), 0);
    asynchat_set_terminator_bytes(chat, 1);
    peer_write(ends[1], "abc", 3);
    run_turns(w->map, 2); /* it has got "a" and holds "bc" */
    asyncore_set_readable(&chat->dispatcher, false);
    asynchat_set_terminator(chat, NULL, 0);
    freeze();
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 4);
    assert_int_equal(reads, 0);
    asyncore_set_readable(&chat->dispatcher, true);
    run_turns(w->map, 6);
    assert_gets(ends[1], "abc");
    close(ends[1]);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

static int no_memory;

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_realloc(void *memory, size_t size)
{
    if (no_memory > 0) {
        errno = ENOMEM;
        return NULL;
    }
    return __real_realloc(memory, size);
}

/* All are told nevertheless. */
static void without_memory_they_are_told_at_once(void **state)
{
    enum { COUNT = 20 };
    world *w = world_of(state);
    int peers[COUNT];

    for (int i = 0; i < COUNT; i++)
        make(w, &polite, &peers[i]);
    run_turns(w->map, 1); /* the backend has its memory */
    freeze();
    no_memory = 1;
    asyncore_stop_when_done(w->map, LINGER);
    run_turns(w->map, 4);
    no_memory = 0;
    assert_int_equal(stops, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_gets(peers[i], "bye");
        close(peers[i]);
    }
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(passed(), 0);
}

static int thaw_and_end(void **state)
{
    clock_release();
    no_memory = 0;
    return end_world(state);
}

#define STOP(test) \
    { \
#test, test, begin_unix, thaw_and_end, NULL \
    }
#define STOP_IPV4(test) \
    { \
#test " (IPv4)", test, begin_ipv4, thaw_and_end, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        STOP(idle_ones_are_half_closed),
        STOP(what_was_received_is_answered),
        STOP(what_comes_later_is_not_waited_for),
        STOP(what_is_queued_is_sent),
        STOP(who_does_not_go_is_cut_off),
        STOP(who_does_not_stop_sending_is_told_anyway),
        STOP(the_end_is_the_last_that_was_set),
        STOP(there_need_be_no_end),
        STOP(asyncore_stop_is_for_now),
        STOP(who_waits_for_a_listener_is_served),
        STOP_IPV4(who_waits_for_a_listener_is_served),
        STOP(others_are_heard_first),
        STOP(a_crowd_is_heard_first),
        STOP(timers_do_not_hold_it_up),
        STOP(an_empty_map_is_done),
        STOP(it_is_stopped_from_inside),
        STOP(the_map_may_be_freed_meanwhile),
        STOP(the_map_can_be_used_again),
        STOP(a_class_may_say_a_last_word),
        STOP(a_class_may_go_on),
        STOP(it_may_end_others),
        STOP(who_pauses_is_waited_for),
        STOP(half_closed_ones_are_not_told),
        STOP(one_taken_out_is_not_told),
        STOP_IPV4(what_is_connecting_connects),
        STOP_IPV4(what_does_not_connect_is_cut_off),
        STOP(the_end_is_the_end),
        STOP(what_has_no_connection_is_closed),
        STOP(datagrams_are_answered),
        STOP_IPV4(datagrams_are_answered),
        STOP(an_asynchat_closes_when_done),
        STOP(an_asynchat_goes_as_it_is_told),
        STOP(an_asynchat_that_pauses_is_waited_for),
        STOP(without_memory_they_are_told_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
