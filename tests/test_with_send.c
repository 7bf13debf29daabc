/*
 * test_with_send.c - buffered output, half-close in both directions, and what
 * becomes of output that nobody takes.
 */
#include "support/link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENDINGS \
    .handle_close = record_close, .handle_error = record_error, \
    .handle_drain = record_drain, .handle_free = record_free, \
    .log_info = record_log_info

static const asyncore_handlers plain = {
    .name = "plain",
    .handle_read = record_read,
    .handle_connect = record_connect,
    ENDINGS,
};

/* Goes on after the peer has finished. */
static const asyncore_handlers half = {
    .handle_read = record_read,
    .handle_connect = record_connect,
    .handle_eof = record_eof,
    ENDINGS,
};

/* More than the kernel takes of one connection. */
enum { MUCH = 8 << 20 };

static char *much;

static int make_much(void **state)
{
    (void)state;
    much = malloc(MUCH);
    if (much == NULL)
        return -1;
    for (size_t i = 0; i < MUCH; i++)
        much[i] = (char)(i * 7 + i / 253);
    return 0;
}

static int drop_much(void **state)
{
    (void)state;
    free(much);
    return 0;
}

/* Reads from the peer what there is, up to size bytes from much + at. */
static size_t take(int peer, size_t at, size_t size)
{
    static char data[65536];
    ssize_t n =
        recv(peer, data, size < sizeof data ? size : sizeof data, MSG_DONTWAIT);

    if (n < 0) {
        assert_int_equal(errno, EAGAIN);
        return 0;
    }
    assert_memory_equal(data, much + at, (size_t)n);
    return (size_t)n;
}

/* The loop turns until the peer has size bytes more. */
static void take_all(world *w, int peer, size_t at, size_t size)
{
    int64_t until = now_ms() + DEADLINE_MS;

    for (size_t end = at + size; at < end;) {
        assert_true(asyncore_poll(w->map, 0) >= 0);
        at += take(peer, at, end - at);
        assert_true(now_ms() < until);
    }
}

/* The peer sees the end of our data, and nothing before. */
static void take_end(int peer)
{
    char byte;

    await(peer, POLLIN);
    assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), 0);
}

static void send_much(recorder *r, size_t at, size_t size)
{
    assert_int_equal(asyncore_send(&r->dispatcher, much + at, size), size);
}

/* ---- The queue --------------------------------------------------------- */

static void takes_all(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &plain, &peer);
    asyncore_dispatcher *d = &r->dispatcher;

    assert_int_equal(asyncore_queued(d), 0);
    send_much(r, 0, 100);
    assert_int_equal(asyncore_queued(d), 0);
    assert_false(asyncore_writable(d));
    assert_int_equal(asyncore_send(d, much, 0), 0);
    send_much(r, 100, MUCH - 300);
    assert_in_range(asyncore_queued(d), 1, MUCH - 300);
    assert_true(asyncore_writable(d));
    send_much(r, MUCH - 200, 200);
    take_all(w, peer, 0, MUCH);
    run_until(w->map, asyncore_queued(d) == 0);
    assert_null(r->with_send.output);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    send_much(r, 0, 10);
    take_all(w, peer, 0, 10);
    assert_int_equal(r->ran.close + r->ran.error + r->ran.warning, 0);
    close(peer);
}

/* Whoever asks for writing, and thinks better of it, has not asked for what is
   queued, and cannot stop it. */
static void asked_for_writing_meanwhile(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &plain, &peer);

    send_much(r, 0, MUCH);
    asyncore_set_writable(&r->dispatcher, true);
    asyncore_set_writable(&r->dispatcher, false);
    assert_true(asyncore_writable(&r->dispatcher));
    take_all(w, peer, 0, MUCH);
    close(peer);
}

/* A peer that does not read holds up neither itself nor others. */
static void a_peer_that_does_not_read(void **state)
{
    world *w = world_of(state);
    int peer, others_peer;
    recorder *r = join_with_send(w, &plain, &peer);
    recorder *other = join_with_send(w, &plain, &others_peer);

    send_much(r, 0, MUCH);
    run_turns(w->map, 5);
    assert_in_range(turns_during(w->map, 100), 1, FEW_TURNS);
    peer_write(peer, "x", 1);
    peer_write(others_peer, "x", 1);
    run_until(w->map, r->size == 1 && other->size == 1);
    asyncore_close(&r->dispatcher);
    assert_int_equal(asyncore_queued(&r->dispatcher), 0);
    close(peer);
    close(others_peer);
}

static void reset_with_output_queued(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &plain, &peer);

    send_much(r, 0, MUCH);
    asyncore_set_readable(&r->dispatcher, false);
    run_turns(w->map, 1);
    peer_reset(peer);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->ran.close, 1);
    assert_true(r->close_error == ECONNRESET || r->close_error == EPIPE);
    assert_int_equal(r->ran.error, 0);
    assert_int_equal(asyncore_queued(&r->dispatcher), 0);
    assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
    assert_int_equal(errno, EBADF);
}

static void unasked_writing_stops(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &plain, &peer);

    asyncore_set_writable(&r->dispatcher, true);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    assert_int_equal(r->ran.warning, 1);
    assert_false(asyncore_writable(&r->dispatcher));
    close(peer);
}

/* A transport that takes a little, and now and then nothing. */
static int calls_of_send;

static ssize_t send_a_little(asyncore_dispatcher *d, const void *data,
                             size_t size)
{
    if (calls_of_send++ % 3 == 2) {
        errno = EAGAIN;
        return -1;
    }
    return asyncore_base(d)->send(d, data, size < 1000 ? size : 1000);
}

static void transport_of_ones_own(void **state)
{
    static const asyncore_handlers slow = {
        .handle_read = record_read,
        .send = send_a_little,
        ENDINGS,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &slow, &peer);

    calls_of_send = 0;
    for (size_t i = 0; i < 100; i++)
        send_much(r, i * 1234, 1234);
    take_all(w, peer, 0, 123400);
    assert_int_equal(asyncore_queued(&r->dispatcher), 0);
    assert_true(calls_of_send > 120);
    close(peer);
}

/* ---- The limit --------------------------------------------------------- */

enum { PRODUCED = MUCH / 8 };

static void drain(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);

    record_drain(d);
    r->flag |= asyncore_queued(d) > r->with_send.limit / 2;
    while (asyncore_queued(d) < r->with_send.limit && r->size < PRODUCED) {
        size_t left = PRODUCED - r->size, part = left < 5000 ? left : 5000;

        asyncore_send(d, much + r->size, part);
        r->size += part;
        r->flag |= asyncore_queued(d) >= r->with_send.limit + 5000;
    }
}

/* A producer that pauses at the limit: memory is bounded, nothing is lost. */
static void limit(void **state)
{
    static const asyncore_handlers producing = {
        .send = send_a_little,
        .handle_drain = drain,
        .handle_close = record_close,
        .handle_error = record_error,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &producing, &peer);

    assert_int_equal(r->with_send.limit, 65536);
    r->with_send.limit = 40000;
    drain(&r->dispatcher);
    assert_int_equal(r->ran.drain, 1);
    assert_in_range(asyncore_queued(&r->dispatcher), 40000, 44999);
    take_all(w, peer, 0, PRODUCED);
    assert_int_equal(r->size, PRODUCED);
    assert_in_range(r->ran.drain, PRODUCED / 40000, PRODUCED / 20000 + 1);
    assert_false(r->flag);
    close(peer);
}

static void drained_once(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &plain, &peer);

    send_much(r, 0, MUCH);
    assert_int_equal(r->ran.drain, 0);
    take_all(w, peer, 0, MUCH);
    run_until(w->map, asyncore_queued(&r->dispatcher) == 0);
    assert_int_equal(r->ran.drain, 1);
    r->with_send.limit = 2 * MUCH;
    send_much(r, 0, MUCH);
    take_all(w, peer, 0, MUCH);
    assert_int_equal(r->ran.drain, 1);
    close(peer);
}

static void close_when_drained(asyncore_dispatcher *d)
{
    record_drain(d);
    asyncore_close(d);
}

static void closed_in_handle_drain(void **state)
{
    static const asyncore_handlers leaving = {
        .handle_read = record_read,
        .handle_drain = close_when_drained,
        .handle_close = record_close,
        .handle_free = record_free,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &leaving, &peer);

    r->with_send.limit = 1;
    send_much(r, 0, MUCH);
    take_all(w, peer, 0, MUCH);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->ran.drain, 1);
    assert_int_equal(r->ran.close, 0);
    take_end(peer);
    close(peer);
}

/* ---- While connecting -------------------------------------------------- */

static recorder *connecting(world *w, const asyncore_handlers *handlers,
                            const asyncore_address *to)
{
    recorder *r = lend(w, sizeof *r);

    assert_int_equal(
        asyncore_dispatcher_with_send_init(&r->with_send, handlers, -1, w->map),
        0);
    assert_int_equal(
        asyncore_create_socket(&r->dispatcher, w->family, SOCK_STREAM), 0);
    errno = 0;
    assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(asyncore_connect(&r->dispatcher, to), 0);
    return r;
}

static void send_on_connect(asyncore_dispatcher *d)
{
    record_connect(d);
    asyncore_send(d, much + 500, 500);
}

static void sending_while_connecting(void **state)
{
    static const asyncore_handlers greeting = {
        .handle_read = record_read,
        .handle_connect = send_on_connect,
        ENDINGS,
    };
    world *w = world_of(state);
    asyncore_address at;
    int listener = peer_listen(w, &at), peer;
    recorder *r = connecting(w, &greeting, &at);

    send_much(r, 0, 200);
    send_much(r, 200, 300);
    assert_int_equal(asyncore_queued(&r->dispatcher), 500);
    peer = peer_accept(listener);
    take_all(w, peer, 0, 1000);
    assert_int_equal(r->ran.connect, 1);
    assert_int_equal(asyncore_queued(&r->dispatcher), 0);
    close(listener);
    close(peer);
}

static void refused_with_output_queued(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r;

    close(peer_listen(w, &at));
    r = connecting(w, &plain, &at);
    send_much(r, 0, 200);
    assert_int_equal(asyncore_shutdown(&r->dispatcher), 0);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, ECONNREFUSED);
    assert_int_equal(r->ran.connect + r->ran.error, 0);
    assert_int_equal(asyncore_queued(&r->dispatcher), 0);
}

static void shutting_down_while_connecting(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int listener = peer_listen(w, &at);

    for (size_t size = 0; size <= 200; size += 200) {
        recorder *r = connecting(w, &plain, &at);
        int peer;

        send_much(r, 0, size);
        assert_int_equal(asyncore_shutdown(&r->dispatcher), 0);
        assert_int_equal(asyncore_shutdown(&r->dispatcher), 0);
        assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
        assert_int_equal(errno, ESHUTDOWN);
        peer = peer_accept(listener);
        run_until(w->map, r->ran.connect);
        take_all(w, peer, 0, size);
        run_until(w->map, asyncore_poll(w->map, 0) == 0);
        take_end(peer);
        peer_write(peer, "y", 1);
        run_until(w->map, r->size == 1);
        close(peer);
        run_until(w->map, r->ran.free);
        assert_int_equal(r->close_error, 0);
    }
    close(listener);
}

static bool is_waiting_for_an_answer(int fd)
{
    struct tcp_info info;
    socklen_t size = sizeof info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           info.tcpi_state == TCP_SYN_SENT;
}

/* A listener with no room leaves connections half way, for a second or so. */
static void a_connection_under_way(void **state)
{
    world *w = world_of(state);
    asyncore_address at = fresh_address(w);
    int listener = peer_socket(w->family, SOCK_STREAM), fill[4], peer;
    recorder *r, *p = lend(w, sizeof *p);
    int64_t until = now_ms() + DEADLINE_MS;
    bool half_way;

    assert_int_equal(bind(listener, &at.any, at.size), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, &at.any, &at.size), 0);
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(w->family, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], &at.any, at.size);
    }
    r = connecting(w, &plain, &at);
    connect_to(&p->dispatcher, &plain, &at);
    half_way = is_waiting_for_an_answer(r->dispatcher.fd) &&
               is_waiting_for_an_answer(p->dispatcher.fd);
    if (half_way) {
        send_much(r, 0, 200);
        assert_int_equal(asyncore_shutdown(&r->dispatcher), 0);
        assert_int_equal(asyncore_shutdown(&p->dispatcher), -1);
        assert_int_equal(errno, ENOTCONN);
        assert_int_equal(asyncore_send(&p->dispatcher, "x", 1), -1);
        assert_int_equal(errno, ENOTCONN);
        assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
        assert_int_equal(r->ran.connect + p->ran.connect, 0);
        assert_int_equal(r->ran.close + p->ran.close, 0);
    }
    for (int i = 0; i < 4; i++)
        peer_reset(fill[i]);
    while (half_way && !(r->ran.connect && p->ran.connect)) {
        /* Room again; the kernel repeats what it had dropped. */
        peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (peer >= 0)
            close(peer);
        assert_true(asyncore_poll(w->map, 20) >= 0);
        assert_int_equal(r->dispatcher.fd == -1 && !r->ran.connect, 0);
        assert_int_equal(p->dispatcher.fd == -1 && !p->ran.connect, 0);
        assert_true(now_ms() < until);
    }
    close(listener);
    if (!half_way)
        skip();
}

/* ---- The ends of a connection ------------------------------------------ */

static void shutdown_sends_first(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &plain, &peer);
    asyncore_dispatcher *d = &r->dispatcher;

    send_much(r, 0, MUCH);
    assert_int_equal(asyncore_shutdown(d), 0);
    assert_int_equal(asyncore_shutdown(d), 0);
    errno = 0;
    assert_int_equal(asyncore_send(d, "x", 1), -1);
    assert_int_equal(errno, ESHUTDOWN);
    take_all(w, peer, 0, MUCH);
    run_until(w->map, asyncore_queued(d) == 0);
    take_end(peer);
    assert_int_equal(asyncore_shutdown(d), 0);
    /* The other direction goes on. */
    peer_write(peer, "answer", 6);
    run_until(w->map, r->size == 6);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    assert_int_equal(r->ran.close, 0);
    close(peer);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, 0);
    assert_int_equal(r->ran.error, 0);
}

static void shutdown_without_a_queue(void **state)
{
    world *w = world_of(state);
    recorder *u = lend(w, sizeof *u);
    int peer;
    recorder *r = join(w, &plain, &peer);

    assert_int_equal(asyncore_shutdown(&r->dispatcher), 0);
    take_end(peer);
    errno = 0;
    assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
    assert_int_equal(errno, ESHUTDOWN);
    close(peer);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->close_error, 0);
    assert_int_equal(asyncore_shutdown(&r->dispatcher), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(
        asyncore_dispatcher_init(&u->dispatcher, &plain, -1, w->map), 0);
    assert_int_equal(
        asyncore_create_socket(&u->dispatcher, w->family, SOCK_STREAM), 0);
    assert_int_equal(asyncore_shutdown(&u->dispatcher), -1);
    assert_int_equal(errno, ENOTCONN);
    asyncore_close(&u->dispatcher);
    u = join_pipe(w, &plain, true, &peer);
    assert_int_equal(asyncore_shutdown(&u->dispatcher), -1);
    assert_int_equal(errno, ENOTSOCK);
    close(peer);
}

/* The peer's end, by default, is ours. */
static void end_closes(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &plain, &peer);

    send_much(r, 0, MUCH);
    shutdown(peer, SHUT_WR);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, 0);
    close(peer);
}

static void end_with_an_answer_to_come(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &half, &peer);
    asyncore_dispatcher *d = &r->dispatcher;
    char byte;

    peer_write(peer, "question", 8);
    shutdown(peer, SHUT_WR);
    run_until(w->map, r->ran.eof);
    assert_int_equal(r->size, 8);
    assert_int_equal(r->ran.eof, 1);
    assert_int_equal(asyncore_recv(d, &byte, 1), 0);
    assert_int_equal(r->ran.eof, 1);
    assert_false(asyncore_readable(d));
    assert_in_range(turns_during(w->map, 150), 1, FEW_TURNS);
    assert_int_equal(r->ran.close, 0);
    send_much(r, 0, MUCH);
    assert_int_equal(asyncore_shutdown(d), 0);
    take_all(w, peer, 0, MUCH);
    run_until(w->map, r->ran.free);
    take_end(peer);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, 0);
    assert_int_equal(r->ran.read, 2);
    assert_int_equal(r->ran.error, 0);
    close(peer);
}

/* It has shut down already when the peer's end comes: the loop ends it. */
static void both_ends(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &half, &peer);

    assert_int_equal(asyncore_shutdown(&r->dispatcher), 0);
    run_turns(w->map, 2);
    peer_write(peer, "last words", 10);
    shutdown(peer, SHUT_WR);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->size, 10);
    assert_int_equal(r->ran.eof, 1);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, 0);
    close(peer);
}

static void shut_down_in_handle_eof(asyncore_dispatcher *d)
{
    record_eof(d);
    asyncore_send(d, much, MUCH);
    asyncore_shutdown(d);
}

static void answer_in_handle_eof(void **state)
{
    static const asyncore_handlers answering = {
        .handle_read = record_read,
        .handle_eof = shut_down_in_handle_eof,
        ENDINGS,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join_with_send(w, &answering, &peer);

    shutdown(peer, SHUT_WR);
    run_until(w->map, r->ran.eof);
    take_all(w, peer, 0, MUCH);
    run_until(w->map, r->ran.free);
    take_end(peer);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, 0);
    close(peer);
}

static void break_after_the_end(void **state)
{
    world *w = world_of(state);

    for (int queued = 0; queued < 2; queued++) {
        int peer;
        recorder *r = join_with_send(w, &half, &peer);

        shutdown(peer, SHUT_WR);
        run_until(w->map, r->ran.eof);
        if (queued)
            send_much(r, 0, MUCH);
        run_turns(w->map, 1);
        if (queued)
            peer_reset(peer);
        else
            peer_break(r->dispatcher.fd, peer);
        run_until(w->map, r->ran.free);
        assert_int_equal(r->ran.close, 1);
        assert_true(r->close_error == ECONNRESET || r->close_error == EPIPE);
        assert_int_equal(r->ran.eof, 1);
        assert_int_equal(r->ran.error, 0);
    }
}

/* ---- SIGPIPE ----------------------------------------------------------- */

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals = signals + 1;
}

static void send_until_it_fails(recorder *r)
{
    for (int i = 0; i < 3 && r->ran.close == 0; i++)
        asyncore_send(&r->dispatcher, "x", 1);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
}

static void no_sigpipe(void **state)
{
    struct sigaction action = { .sa_handler = count_signal }, before;
    world *w = world_of(state);
    recorder *r;
    int peer;

    assert_int_equal(sigaction(SIGPIPE, &action, &before), 0);
    signals = 0;
    r = join_pair(w, &plain, &peer);
    close(peer);
    send_until_it_fails(r);
    assert_int_equal(r->close_error, EPIPE);

    r = join_pipe(w, &plain, false, &peer);
    close(peer);
    send_until_it_fails(r);
    assert_int_equal(r->close_error, EPIPE);

    r = join_with_send(w, &plain, &peer);
    send_much(r, 0, MUCH);
    close(peer);
    run_until(w->map, r->ran.close);

    r = join(w, &plain, &peer);
    assert_int_equal(asyncore_shutdown(&r->dispatcher), 0);
    assert_int_equal(asyncore_sendto(&r->dispatcher, "x", 1, NULL), -1);
    assert_int_equal(errno, EPIPE);
    close(peer);

    sigaction(SIGPIPE, &before, NULL);
    assert_int_equal(signals, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define EVERYWHERE(test) IN_IPV4(test), IN_IPV6(test), IN_UNIX(test)
        EVERYWHERE(takes_all),
        EVERYWHERE(asked_for_writing_meanwhile),
        EVERYWHERE(a_peer_that_does_not_read),
        EVERYWHERE(reset_with_output_queued),
        EVERYWHERE(unasked_writing_stops),
        EVERYWHERE(transport_of_ones_own),
        EVERYWHERE(limit),
        EVERYWHERE(drained_once),
        EVERYWHERE(closed_in_handle_drain),
        EVERYWHERE(sending_while_connecting),
        IN_IPV4(refused_with_output_queued),
        IN_IPV6(refused_with_output_queued),
        EVERYWHERE(shutting_down_while_connecting),
        IN_IPV4(a_connection_under_way),
        EVERYWHERE(shutdown_sends_first),
        EVERYWHERE(shutdown_without_a_queue),
        EVERYWHERE(end_closes),
        EVERYWHERE(end_with_an_answer_to_come),
        EVERYWHERE(both_ends),
        EVERYWHERE(answer_in_handle_eof),
        EVERYWHERE(break_after_the_end),
        EVERYWHERE(no_sigpipe),
    };

    return cmocka_run_group_tests(tests, make_much, drop_much);
}
