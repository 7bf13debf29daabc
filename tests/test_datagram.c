/*
 * test_datagram.c - datagram sockets: nothing that one datagram brings, an
 * empty one or an error, is the end of the socket.
 */
#include "support/recorder.h"
#include "support/world.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* d, initialised and bound; where. */
static asyncore_address bind_at(world *w, asyncore_dispatcher *d,
                                const asyncore_handlers *handlers)
{
    asyncore_address a = fresh_address(w);

    assert_int_equal(asyncore_dispatcher_init(d, handlers, -1, w->map), 0);
    assert_int_equal(asyncore_create_socket(d, w->family, SOCK_DGRAM), 0);
    assert_int_equal(asyncore_bind(d, &a), 0);
    assert_int_equal(asyncore_getsockname(d, &a), 0);
    return a;
}

static int peer_bind(world *w, asyncore_address *at)
{
    int fd = peer_socket(w->family, SOCK_DGRAM);

    *at = fresh_address(w);
    assert_int_equal(bind(fd, &at->any, at->size), 0);
    at->size = sizeof at->storage;
    assert_int_equal(getsockname(fd, &at->any, &at->size), 0);
    return fd;
}

static void peer_send(int fd, const char *text, const asyncore_address *to)
{
    assert_int_equal(sendto(fd, text, strlen(text), 0, &to->any, to->size),
                     strlen(text));
}

static void check_untouched(const recorder *r)
{
    assert_true(r->dispatcher.fd >= 0);
    assert_int_equal(r->ran.close + r->ran.error + r->ran.eof, 0);
    assert_int_equal(r->ran.free + r->ran.warning, 0);
}

static void echo_read(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);
    asyncore_address from;
    char data[2000];
    ssize_t n = asyncore_recvfrom(d, data, sizeof data, &from);

    r->ran.read++;
    if (n >= 0)
        r->flag = asyncore_sendto(d, data, (size_t)n, &from) == n;
}

static const asyncore_handlers echo = {
    .name = "udp echo",
    .handle_read = echo_read,
    .handle_write = record_write,
    .handle_eof = record_eof,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
};

/* Unconnected, unlike a stream, it is waited for. */
static void echoes(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at = bind_at(w, &r->dispatcher, &echo);
    asyncore_address own, from;
    char data[64], here[ASYNCORE_ADDRESS_TEXT], there[ASYNCORE_ADDRESS_TEXT];
    int peer = peer_bind(w, &own);

    assert_true(asyncore_readable(&r->dispatcher));
    run_turns(w->map, 2);
    assert_int_equal(r->ran.read + r->ran.write, 0);
    for (int i = 1; i <= 3; i++) {
        r->flag = false;
        peer_send(peer, "spam", &at);
        run_until(w->map, r->flag);
        assert_int_equal(r->ran.read, i);
        from.size = sizeof from.storage;
        assert_int_equal(
            recvfrom(peer, data, sizeof data, 0, &from.any, &from.size), 4);
        assert_memory_equal(data, "spam", 4);
        assert_string_equal(asyncore_address_format(&from, here, sizeof here),
                            asyncore_address_format(&at, there, sizeof there));
    }
    check_untouched(r);
    asyncore_set_writable(&r->dispatcher, true);
    run_until(w->map, r->ran.write > 0);
    asyncore_close(&r->dispatcher);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->ran.close, 0);
    close(peer);
}

typedef struct reader {
    recorder recorder;
    int sizes[8]; /* what recv returned */
    int count;
} reader;

static void read_size(asyncore_dispatcher *d)
{
    reader *r = (reader *)d;
    char data[8];

    if (r->count < 8)
        r->sizes[r->count++] = (int)asyncore_recv(d, data, sizeof data);
}

static const asyncore_handlers sizing = {
    .handle_read = read_size,
    .handle_eof = record_eof,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
};

/* An empty one is a datagram, and its boundaries are kept. */
static void sizes(void **state)
{
    world *w = world_of(state);
    reader *r = lend(w, sizeof *r);
    asyncore_address at = bind_at(w, &r->recorder.dispatcher, &sizing);
    asyncore_address own;
    int peer = peer_bind(w, &own);

    peer_send(peer, "", &at);
    peer_send(peer, "eggs", &at);
    peer_send(peer, "", &at);
    peer_send(peer, "longer than that", &at);
    peer_send(peer, "end", &at);
    run_until(w->map, r->count == 5);
    run_turns(w->map, 2);
    assert_int_equal(r->count, 5);
    assert_int_equal(r->sizes[0], 0);
    assert_int_equal(r->sizes[1], 4);
    assert_int_equal(r->sizes[2], 0);
    assert_int_equal(r->sizes[3], 8);
    assert_int_equal(r->sizes[4], 3);
    check_untouched(&r->recorder);
    close(peer);
}

/* recvfrom and sendto answer for one datagram, and run nothing. */
static void single_failures(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at = bind_at(w, &r->dispatcher, &echo);
    asyncore_address own, nobody = fresh_address(w);
    static char big[1 << 20];
    char data[16];
    int peer = peer_bind(w, &own);
    ssize_t n;

    (void)at;
    assert_int_equal(asyncore_recvfrom(&r->dispatcher, data, sizeof data, NULL),
                     -1);
    assert_int_equal(errno, EAGAIN);
    errno = 0;
    assert_int_equal(asyncore_sendto(&r->dispatcher, big, sizeof big, &own),
                     -1);
    assert_true(errno == EMSGSIZE || errno == ENOBUFS);
    if (w->family == AF_UNIX) {
        assert_int_equal(asyncore_sendto(&r->dispatcher, "x", 1, &nobody), -1);
        assert_int_equal(errno, ENOENT);
        /* A full queue. */
        do
            n = asyncore_sendto(&r->dispatcher, "x", 1, &own);
        while (n == 1);
        assert_int_equal(n, -1);
        assert_int_equal(errno, EAGAIN);
    }
    errno = 0;
    assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
    assert_true(errno == EDESTADDRREQ || errno == ENOTCONN);
    assert_int_equal(r->ran.close, 0);
    assert_true(r->dispatcher.fd >= 0);
    asyncore_close(&r->dispatcher);
    assert_int_equal(asyncore_recvfrom(&r->dispatcher, data, sizeof data, NULL),
                     -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(asyncore_sendto(&r->dispatcher, "x", 1, &own), -1);
    assert_int_equal(errno, EBADF);
    close(peer);
    run_turns(w->map, 1);
}

/* To whom and from whom is the kernel's affair. */
static void connected(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at, own;
    char data[16];
    int peer = peer_bind(w, &own);

    at = bind_at(w, &r->dispatcher, &recorder_handlers);
    assert_false(r->dispatcher.connected);
    assert_int_equal(asyncore_connect(&r->dispatcher, &own), 0);
    assert_true(r->dispatcher.connected);
    assert_false(r->dispatcher.connecting);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), 4);
    assert_int_equal(recv(peer, data, sizeof data, 0), 4);
    peer_send(peer, "", &at);
    peer_send(peer, "eggs", &at);
    run_until(w->map, r->size == 4);
    assert_memory_equal(r->data, "eggs", 4);
    assert_int_equal(r->ran.read, 2);
    check_untouched(r);
    assert_int_equal(asyncore_send(&r->dispatcher, "", 0), 0);
    assert_int_equal(recv(peer, data, sizeof data, 0), 0);
    close(peer);
}

/* Nobody is there: an error to be told of, and the socket lives. */
static void refused(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address own;
    char data[16];
    int peer;

    if (w->family == AF_UNIX)
        skip();
    peer = peer_bind(w, &own);
    bind_at(w, &r->dispatcher, &recorder_handlers);
    assert_int_equal(asyncore_connect(&r->dispatcher, &own), 0);
    close(peer);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), 4);
        run_until(w->map, r->ran.error == i);
        assert_int_equal(r->error, ECONNREFUSED);
        assert_int_equal(r->ran.close, 0);
        assert_true(r->dispatcher.fd >= 0);
        run_turns(w->map, 3);
        assert_int_equal(r->ran.error, i);
    }
    /* Somebody comes: it works as if nothing had been. */
    peer = peer_socket(w->family, SOCK_DGRAM);
    assert_int_equal(bind(peer, &own.any, own.size), 0);
    assert_int_equal(asyncore_send(&r->dispatcher, "eggs", 4), 4);
    assert_int_equal(recv(peer, data, sizeof data, 0), 4);
    assert_int_equal(r->ran.close + r->ran.free, 0);
    close(peer);
}

/* The same where nobody reads: the error must not keep the loop awake. */
static void refused_unasked(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address own;
    int peer;

    if (w->family == AF_UNIX)
        skip();
    peer = peer_bind(w, &own);
    bind_at(w, &r->dispatcher, &recorder_handlers);
    assert_int_equal(asyncore_connect(&r->dispatcher, &own), 0);
    asyncore_set_readable(&r->dispatcher, false);
    close(peer);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), 4);
    run_until(w->map, r->ran.error == 1);
    assert_int_equal(r->error, ECONNREFUSED);
    run_turns(w->map, 3);
    assert_int_equal(r->ran.error, 1);
    assert_int_equal(r->ran.close + r->ran.free, 0);
    assert_true(r->dispatcher.fd >= 0);
}

/* Its own kind of peer goes away: still no end. */
static void unix_peer_gone(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address own;
    int peer;

    if (w->family != AF_UNIX)
        skip();
    peer = peer_bind(w, &own);
    bind_at(w, &r->dispatcher, &recorder_handlers);
    assert_int_equal(asyncore_connect(&r->dispatcher, &own), 0);
    close(peer);
    run_turns(w->map, 3);
    assert_int_equal(r->ran.close, 0);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), -1);
    assert_int_equal(r->ran.error, 1);
    assert_int_equal(r->error, ECONNREFUSED);
    assert_int_equal(r->ran.close, 0);
    assert_true(r->dispatcher.fd >= 0);
}

/* The default: it is logged, and the socket closed with its reason. */
static void refused_by_default(void **state)
{
    static const asyncore_handlers plain = {
        .handle_read = record_read,
        .handle_close = record_close,
        .handle_free = record_free,
        .log_info = record_log_info,
    };
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address own;
    int peer;

    if (w->family == AF_UNIX)
        skip();
    peer = peer_bind(w, &own);
    bind_at(w, &r->dispatcher, &plain);
    assert_int_equal(asyncore_connect(&r->dispatcher, &own), 0);
    close(peer);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), 4);
    run_until(w->map, r->ran.close > 0);
    assert_int_equal(r->close_error, ECONNREFUSED);
    assert_int_equal(strncmp(r->log, "error: ", 7), 0);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->ran.free, 1);
}

#define ON_ALL(test) IN_IPV4(test), IN_IPV6(test), IN_UNIX(test)
#define ON_INTERNET(test) IN_IPV4(test), IN_IPV6(test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(echoes),
        ON_ALL(sizes),
        ON_ALL(single_failures),
        ON_ALL(connected),
        ON_INTERNET(refused),
        ON_INTERNET(refused_unasked),
        ON_INTERNET(refused_by_default),
        IN_UNIX(unix_peer_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
