/*
 * test_dispatch.c - what readiness does: the table of asyncore_readwrite, by
 * the kernel's word and by hand.
 */
#include "support/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define ENDINGS \
    .handle_close = record_close, .handle_error = record_error, \
    .handle_free = record_free, .log_info = record_log_info

static const asyncore_handlers plain = {
    .name = "plain",
    .handle_read = record_read,
    .handle_write = record_write,
    .handle_connect = record_connect,
    ENDINGS,
};

/* A little at a time, so that what is left has to be reported again. */
static void read_a_little(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);
    char data[100];
    ssize_t n;

    r->ran.read++;
    n = asyncore_recv(d, data, sizeof data);
    for (ssize_t i = 0; i < n; i++)
        if (data[i] != (char)(r->size++ * 7))
            r->flag = true;
}

static const asyncore_handlers small_reader = {
    .handle_read = read_a_little,
    ENDINGS,
};

static void fill(char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (char)(i * 7);
}

static void assert_over(const recorder *r, int error)
{
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, error);
    assert_int_equal(r->ran.error, 0);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->dispatcher.fd, -1);
}

/* ---- The end of a connection ------------------------------------------- */

static void all_is_read_before_the_end(void **state)
{
    world *w = world_of(state);
    char data[3000];
    int peer;
    recorder *r = join(w, &small_reader, &peer);

    fill(data, sizeof data);
    peer_write(peer, data, sizeof data);
    close(peer);
    await(r->dispatcher.fd, POLLRDHUP);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->size, sizeof data);
    assert_false(r->flag);
    assert_over(r, 0);
}

static void all_of_a_pipe_is_read_before_the_end(void **state)
{
    world *w = world_of(state);
    char data[3000];
    int peer;
    recorder *r = join_pipe(w, &small_reader, true, &peer);

    fill(data, sizeof data);
    assert_int_equal(write(peer, data, sizeof data), sizeof data);
    close(peer);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->size, sizeof data);
    assert_false(r->flag);
    assert_over(r, 0);
}

static void all_is_read_before_a_reset(void **state)
{
    world *w = world_of(state);
    char data[3000];
    int peer;
    recorder *r = join(w, &small_reader, &peer);

    fill(data, sizeof data);
    peer_write(peer, data, sizeof data);
    peer_break(r->dispatcher.fd, peer);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->size, sizeof data);
    assert_false(r->flag);
    assert_over(r, ECONNRESET);
}

static void reset(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &plain, &peer);

    peer_break(r->dispatcher.fd, peer);
    run_until(w->map, r->ran.free);
    assert_over(r, ECONNRESET);
}

static void reset_with_nothing_asked(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &plain, &peer);

    asyncore_set_readable(&r->dispatcher, false);
    run_turns(w->map, 2);
    peer_break(r->dispatcher.fd, peer);
    run_until(w->map, r->ran.free);
    assert_over(r, ECONNRESET);
    assert_int_equal(r->ran.read, 0);
}

/* Unlike a hangup, it does not wait for what is unread. */
static void reset_behind_what_is_unread(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &plain, &peer);

    asyncore_set_readable(&r->dispatcher, false);
    peer_write(peer, "unread", 6);
    await(r->dispatcher.fd, POLLIN);
    run_turns(w->map, 2);
    peer_break(r->dispatcher.fd, peer);
    run_until(w->map, r->ran.free);
    assert_over(r, ECONNRESET);
    assert_int_equal(r->ran.read, 0);
}

static void hangup_with_nothing_asked(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &plain, &peer);

    asyncore_set_readable(&r->dispatcher, false);
    assert_int_equal(asyncore_shutdown(&r->dispatcher), 0);
    run_turns(w->map, 2);
    close(peer);
    run_until(w->map, r->ran.free);
    assert_over(r, 0);
    assert_int_equal(r->ran.read, 0);
}

/* Of TCP, only both directions' ends are a hangup. */
static void one_end_with_nothing_asked_waits(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &plain, &peer);

    asyncore_set_readable(&r->dispatcher, false);
    shutdown(peer, SHUT_WR);
    await(r->dispatcher.fd, POLLRDHUP);
    assert_in_range(turns_during(w->map, 150), 1, FEW_TURNS);
    assert_int_equal(r->ran.close + r->ran.read, 0);
    asyncore_set_readable(&r->dispatcher, true);
    run_until(w->map, r->ran.free);
    assert_over(r, 0);
    close(peer);
}

static void keeps_what_is_unread(world *w, recorder *r, size_t size)
{
    asyncore_dispatcher *d = &r->dispatcher;

    await(d->fd, 0);
    assert_in_range(turns_during(w->map, 150), 1, FEW_TURNS);
    assert_int_equal(r->ran.close + r->ran.read, 0);
    /* A look at it, and another pause. */
    asyncore_set_readable(d, true);
    run_until(w->map, r->size > 0);
    asyncore_set_readable(d, false);
    assert_in_range(turns_during(w->map, 150), 1, FEW_TURNS);
    assert_int_equal(r->size, 100);
    assert_int_equal(r->ran.close, 0);
    asyncore_set_readable(d, true);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->size, size);
    assert_false(r->flag);
    assert_over(r, 0);
}

static void pause_behind_a_hangup(void **state)
{
    world *w = world_of(state);
    char data[3000];
    int peer;
    recorder *r = join(w, &small_reader, &peer);

    fill(data, sizeof data);
    asyncore_set_readable(&r->dispatcher, false);
    assert_int_equal(asyncore_shutdown(&r->dispatcher), 0);
    peer_write(peer, data, sizeof data);
    close(peer);
    keeps_what_is_unread(w, r, sizeof data);
}

static void pause_of_a_pipe_behind_a_hangup(void **state)
{
    world *w = world_of(state);
    char data[3000];
    int peer;
    recorder *r = join_pipe(w, &small_reader, true, &peer);

    fill(data, sizeof data);
    asyncore_set_readable(&r->dispatcher, false);
    assert_int_equal(write(peer, data, sizeof data), sizeof data);
    close(peer);
    keeps_what_is_unread(w, r, sizeof data);
}

static bool never(asyncore_dispatcher *d)
{
    return recorder_of(d)->flag;
}

/* The same for a class with a predicate, which its flag answers. */
static void predicate_behind_a_hangup(void **state)
{
    static const asyncore_handlers asked = {
        .readable = never,
        .handle_read = record_read,
        ENDINGS,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join_pair(w, &asked, &peer);

    peer_write(peer, "last words", 10);
    close(peer);
    assert_in_range(turns_during(w->map, 150), 1, FEW_TURNS);
    assert_int_equal(r->ran.close, 0);
    r->flag = true;
    run_until(w->map, r->ran.free);
    assert_int_equal(r->size, 10);
    assert_over(r, 0);
}

static void reader_of_a_pipe_gone(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_pipe(w, &plain, false, &peer);

    run_turns(w->map, 2);
    assert_int_equal(r->ran.close, 0);
    close(peer);
    run_until(w->map, r->ran.free);
    assert_over(r, EPIPE);
}

/* handle_close may read what is left, and is not told twice, nor is anything
   else told, in the turns that it runs itself. */
static void read_and_poll(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);

    record_read(d);
    record_close(d);
    r->flag = turns_during(d->map, 50) > FEW_TURNS;
}

static void turns_inside_handle_close(void **state)
{
    static const asyncore_handlers polling = {
        .handle_read = record_read,
        .handle_close = read_and_poll,
        .handle_error = record_error,
        .handle_free = record_free,
    };
    world *w = world_of(state);
    int peer, other;
    recorder *r = join(w, &polling, &peer);
    recorder *idle = join_pair(w, &plain, &other);

    close(peer);
    run_until(w->map, r->ran.free);
    assert_false(r->flag);
    assert_int_equal(r->ran.read, 2);
    assert_over(r, 0);
    assert_int_equal(idle->ran.close, 0);
    close(other);
}

/* What fails inside handle_close is not told once more. */
static void use_what_is_over(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);
    char byte;

    record_close(d);
    if (r->ran.close > 3)
        return;
    for (int i = 0; i < 3; i++) {
        r->flag |= asyncore_send(d, "x", 1) >= 0;
        r->flag |= asyncore_recv(d, &byte, 1) > 0;
    }
    asyncore_base(d)->handle_error(d, EIO);
    asyncore_base(d)->handle_eof(d);
}

static void use_inside_handle_close(void **state)
{
    static const asyncore_handlers stubborn = {
        .handle_read = record_read,
        .handle_close = use_what_is_over,
        .handle_error = record_error,
        .handle_eof = record_eof,
        .handle_free = record_free,
        .log_info = record_log_info,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &stubborn, &peer);

    peer_break(r->dispatcher.fd, peer);
    run_until(w->map, r->ran.free);
    assert_over(r, ECONNRESET);
    assert_int_equal(r->ran.eof, 0);
    assert_false(r->flag);
}

/* An error that handle_error let pass is not told of an orderly end. */
static ssize_t fail_to_send(asyncore_dispatcher *d, const void *data,
                            size_t size)
{
    (void)d;
    (void)data;
    (void)size;
    errno = ENOBUFS;
    return -1;
}

static void orderly_after_an_error(void **state)
{
    static const asyncore_handlers unlucky = {
        .handle_read = record_read,
        .send = fail_to_send,
        ENDINGS,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &unlucky, &peer);

    assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
    assert_int_equal(errno, ENOBUFS);
    assert_int_equal(r->ran.error, 1);
    assert_int_equal(r->error, ENOBUFS);
    assert_int_equal(r->ran.close, 0);
    close(peer);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, 0);
}

/* ---- Connections that broke before they got here ----------------------- */

static int broken(world *w, const char *last_words)
{
    int fd, peer;

    join_plain(w, &fd, &peer);
    peer_write(peer, last_words, strlen(last_words));
    peer_break(fd, peer);
    return fd;
}

static void broken_before_init(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);

    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &plain, broken(w, ""), w->map),
        0);
    assert_true(r->dispatcher.connected);
    assert_int_equal(r->ran.close, 0);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->size, 0);
    assert_over(r, ECONNRESET);
}

static void broken_before_init_with_data(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);

    assert_int_equal(asyncore_dispatcher_init(&r->dispatcher, &plain,
                                              broken(w, "last words"), w->map),
                     0);
    run_until(w->map, r->ran.free);
    assert_memory_equal(r->data, "last words", 10);
    assert_int_equal(r->size, 10);
    assert_over(r, ECONNRESET);
}

static void broken_before_init_and_paused(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);

    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &plain, broken(w, ""), w->map),
        0);
    asyncore_set_readable(&r->dispatcher, false);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->ran.read, 0);
    assert_over(r, ECONNRESET);
}

static void broken_before_init_with_handle_eof(void **state)
{
    static const asyncore_handlers half = {
        .handle_read = record_read,
        .handle_eof = record_eof,
        ENDINGS,
    };
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);

    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &half, broken(w, ""), w->map),
        0);
    run_until(w->map, r->ran.free);
    assert_over(r, ECONNRESET);
}

/* ---- Connecting -------------------------------------------------------- */

static void connects(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at;
    int listener = peer_listen(w, &at), peer;

    connect_to(&r->dispatcher, &plain, &at);
    assert_true(r->dispatcher.connecting);
    assert_false(r->dispatcher.connected);
    assert_int_equal(asyncore_connect(&r->dispatcher, &at), -1);
    assert_int_equal(errno, EALREADY);
    assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(r->ran.connect, 0);
    peer = peer_accept(listener);
    peer_write(peer, "welcome", 7);
    run_until(w->map, r->size == 7);
    assert_int_equal(r->ran.connect, 1);
    assert_true(r->dispatcher.connected);
    assert_false(r->dispatcher.connecting);
    assert_int_equal(asyncore_connect(&r->dispatcher, &at), -1);
    assert_int_equal(errno, EISCONN);
    assert_int_equal(r->ran.write, 0);
    assert_int_equal(r->ran.close + r->ran.error, 0);
    close(peer);
    close(listener);
}

/* The same readiness reports the connection and sends what has waited. */
static void connects_and_writes(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at;
    int listener = peer_listen(w, &at), peer;

    connect_to(&r->dispatcher, &plain, &at);
    asyncore_set_writable(&r->dispatcher, true);
    await(r->dispatcher.fd, POLLOUT);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
    assert_int_equal(r->ran.connect, 1);
    assert_int_equal(r->ran.write, 1);
    peer = peer_accept(listener);
    close(peer);
    close(listener);
}

static void close_in_handle_connect(asyncore_dispatcher *d)
{
    record_connect(d);
    asyncore_close(d);
}

static void closed_in_handle_connect(void **state)
{
    static const asyncore_handlers shy = {
        .handle_read = record_read,
        .handle_write = record_write,
        .handle_connect = close_in_handle_connect,
        ENDINGS,
    };
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at;
    int listener = peer_listen(w, &at);

    connect_to(&r->dispatcher, &shy, &at);
    asyncore_set_writable(&r->dispatcher, true);
    run_until(w->map, r->ran.free);
    assert_int_equal(r->ran.connect, 1);
    assert_int_equal(r->ran.write + r->ran.read + r->ran.close, 0);
    close(listener);
}

static void refused(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    asyncore_address at = fresh_address(w);
    int mute = peer_socket(w->family, SOCK_STREAM);

    assert_int_equal(bind(mute, &at.any, at.size), 0);
    at.size = sizeof at.storage;
    assert_int_equal(getsockname(mute, &at.any, &at.size), 0);
    if (w->family == AF_UNIX) {
        assert_int_equal(
            asyncore_dispatcher_init(&r->dispatcher, &plain, -1, w->map), 0);
        assert_int_equal(
            asyncore_create_socket(&r->dispatcher, AF_UNIX, SOCK_STREAM), 0);
        assert_int_equal(asyncore_connect(&r->dispatcher, &at), -1);
        assert_int_equal(errno, ECONNREFUSED);
        assert_false(r->dispatcher.connecting);
        assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
        assert_int_equal(r->ran.close + r->ran.error + r->ran.connect, 0);
        assert_int_equal(listen(mute, 1), 0);
        assert_int_equal(asyncore_connect(&r->dispatcher, &at), 0);
        run_until(w->map, r->ran.connect);
    } else {
        connect_to(&r->dispatcher, &plain, &at);
        run_until(w->map, r->ran.free);
        assert_over(r, ECONNREFUSED);
        assert_int_equal(r->ran.connect, 0);
    }
    close(mute);
}

/* A unix socket does not queue up for a full backlog. */
static void full_backlog(void **state)
{
    enum { MOST = 16 };
    world *w = world_of(state);
    recorder *r[MOST];
    asyncore_address at = fresh_address(w);
    int listener = peer_socket(AF_UNIX, SOCK_STREAM), count = 0, failed = 0;

    assert_int_equal(bind(listener, &at.any, at.size), 0);
    assert_int_equal(listen(listener, 1), 0);
    for (; failed == 0; count++) {
        assert_true(count < MOST);
        r[count] = lend(w, sizeof *r[count]);
        assert_int_equal(
            asyncore_dispatcher_init(&r[count]->dispatcher, &plain, -1, w->map),
            0);
        assert_int_equal(
            asyncore_create_socket(&r[count]->dispatcher, AF_UNIX, SOCK_STREAM),
            0);
        failed = asyncore_connect(&r[count]->dispatcher, &at);
    }
    assert_int_equal(errno, EAGAIN);
    count--;
    assert_true(count > 0);
    assert_false(r[count]->dispatcher.connecting);
    run_turns(w->map, 3);
    for (int i = 0; i < count; i++)
        assert_int_equal(r[i]->ran.connect, 1);
    assert_int_equal(r[count]->ran.connect + r[count]->ran.close, 0);
    close(peer_accept(listener));
    assert_int_equal(asyncore_connect(&r[count]->dispatcher, &at), 0);
    run_until(w->map, r[count]->ran.connect);
    close(listener);
}

/* ---- The table, by hand ------------------------------------------------ */

static const asyncore_handlers complete = {
    .handle_read = record_read,
    .handle_write = record_write,
    .handle_expt = record_expt,
    ENDINGS,
};

typedef struct row {
    int revents;
    bool reading, writing;
    int read, write, expt, close, error;
} row;

static void rows(void **state)
{
    static const row table[] = {
        { POLLIN, true, false, .read = 1 },
        { POLLIN, true, true, .read = 1 },
        { POLLIN, false, false, .read = 0 },
        { POLLIN, false, true, .read = 0 },
        { POLLOUT, true, false, .read = 0 },
        { POLLOUT, true, true, .write = 1 },
        { POLLOUT, false, true, .write = 1 },
        { POLLPRI, true, false, .expt = 1 },
        { POLLPRI, false, true, .read = 0 },
        { POLLIN | POLLPRI, true, false, .read = 1, .expt = 1 },
        { POLLIN | POLLOUT, true, true, .read = 1, .write = 1 },
        { POLLIN | POLLOUT | POLLPRI, true, true, 1, 1, 1, 0, 0 },
        { POLLIN | POLLRDNORM, true, true, .read = 1 },
        { POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND, false, false,
          .read = 0 },
        { POLLHUP, true, false, .read = 1 },
        { POLLERR, true, false, .read = 1 },
        { POLLHUP, true, true, .read = 1, .write = 1 },
        { POLLERR, false, true, .write = 1 },
        { POLLHUP | POLLERR | POLLIN, false, true, .write = 1 },
        { POLLHUP | POLLPRI, true, false, .read = 1, .expt = 1 },
        { POLLHUP, false, false, .close = 1 },
        { POLLERR, false, false, .close = 1 },
        { POLLHUP | POLLIN | POLLOUT, false, false, .close = 1 },
        { POLLNVAL, true, true, .close = 1, .error = 1 },
        { POLLNVAL, false, false, .close = 1, .error = 1 },
        { 0, true, true, .read = 0 },
    };
    world *w = world_of(state);

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const row *t = &table[i];
        int peer, copy;
        recorder *r = join_pair(w, &complete, &peer);

        /* Given up with POLLNVAL, the descriptor is not the library's. */
        copy = r->dispatcher.fd;
        asyncore_set_readable(&r->dispatcher, t->reading);
        asyncore_set_writable(&r->dispatcher, t->writing);
        asyncore_readwrite(&r->dispatcher, t->revents);
        if (r->ran.read != t->read || r->ran.write != t->write ||
            r->ran.expt != t->expt || r->ran.close != t->close ||
            r->ran.error != t->error)
            fail_msg("row %zu: read %d write %d expt %d close %d error %d", i,
                     r->ran.read, r->ran.write, r->ran.expt, r->ran.close,
                     r->ran.error);
        if (t->error > 0) {
            assert_int_equal(r->error, EBADF);
            assert_int_equal(r->close_error, EBADF);
            close(copy);
        }
        asyncore_close(&r->dispatcher);
        close(peer);
    }
}

/* Those that an earlier handler has made pointless do not run. */
static void stop_writing(asyncore_dispatcher *d)
{
    record_read(d);
    asyncore_set_writable(d, false);
}

static void close_self(asyncore_dispatcher *d)
{
    record_read(d);
    asyncore_close(d);
}

/* The lowest free number is the one just given up. */
static void reopen(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);
    int before = d->fd;

    record_read(d);
    asyncore_close(d);
    asyncore_create_socket(d, AF_UNIX, SOCK_DGRAM);
    asyncore_set_writable(d, true);
    r->flag = d->fd == before;
}

static void close_writer(asyncore_dispatcher *d)
{
    record_write(d);
    asyncore_close(d);
}

static void what_a_handler_made_pointless(void **state)
{
    static const asyncore_handlers stopping = {
        .handle_read = stop_writing,
        .handle_write = record_write,
        .handle_expt = record_expt,
        ENDINGS,
    };
    static const asyncore_handlers closing = {
        .handle_read = close_self,
        .handle_write = record_write,
        .handle_expt = record_expt,
        ENDINGS,
    };
    static const asyncore_handlers reopening = {
        .handle_read = reopen,
        .handle_write = record_write,
        .handle_expt = record_expt,
        ENDINGS,
    };
    static const asyncore_handlers writing = {
        .handle_read = record_read,
        .handle_write = close_writer,
        .handle_expt = record_expt,
        ENDINGS,
    };
    static const struct {
        const asyncore_handlers *class;
        int write, expt;
    } cases[] = {
        { &stopping, 0, 1 },
        { &closing, 0, 0 },
        { &reopening, 0, 0 },
        { &writing, 1, 0 },
    };
    world *w = world_of(state);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int peer;
        recorder *r = join_pair(w, cases[i].class, &peer);

        asyncore_set_writable(&r->dispatcher, true);
        asyncore_readwrite(&r->dispatcher, POLLIN | POLLOUT | POLLPRI);
        assert_int_equal(r->ran.read, 1);
        assert_int_equal(r->ran.write, cases[i].write);
        assert_int_equal(r->ran.expt, cases[i].expt);
        assert_int_equal(r->flag, cases[i].class == &reopening);
        asyncore_close(&r->dispatcher);
        close(peer);
    }
}

static void not_in_a_map(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join_pair(w, &complete, &peer);

    asyncore_del_channel(&r->dispatcher);
    asyncore_readwrite(&r->dispatcher, POLLIN | POLLNVAL);
    peer_write(peer, "x", 1);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.read + r->ran.error + r->ran.close, 0);
    assert_int_equal(asyncore_add_channel(&r->dispatcher, w->map), 0);
    run_until(w->map, r->size == 1);
    close(peer);
}

/* ---- Defaults and swaps ------------------------------------------------ */

static void unhandled_read_stops(void **state)
{
    static const asyncore_handlers deaf = { ENDINGS };
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &deaf, &peer);

    peer_write(peer, "x", 1);
    run_until(w->map, r->ran.warning);
    assert_in_range(turns_during(w->map, 150), 1, FEW_TURNS);
    assert_int_equal(r->ran.warning, 1);
    assert_false(asyncore_readable(&r->dispatcher));
    assert_int_equal(r->ran.close + r->ran.error, 0);
    close(peer);
}

static void unhandled_write_stops(void **state)
{
    static const asyncore_handlers dumb = { ENDINGS };
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &dumb, &peer);

    asyncore_set_writable(&r->dispatcher, true);
    assert_in_range(turns_during(w->map, 100), 1, FEW_TURNS);
    assert_int_equal(r->ran.warning, 1);
    assert_false(asyncore_writable(&r->dispatcher));
    close(peer);
}

static void read_greeting(asyncore_dispatcher *d)
{
    char data[5];

    if (asyncore_recv(d, data, 5) == 5) {
        recorder_of(d)->flag = true;
        asyncore_set_handlers(d, &plain);
    }
}

static void swap_in_handle_read(void **state)
{
    static const asyncore_handlers greeting = {
        .handle_read = read_greeting,
        ENDINGS,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &greeting, &peer);

    peer_write(peer, "helloworld", 10);
    run_until(w->map, r->size == 5);
    assert_true(r->flag);
    assert_memory_equal(r->data, "world", 5);
    close(peer);
    run_until(w->map, r->ran.free);
    assert_over(r, 0);
}

static ssize_t loud_recv(asyncore_dispatcher *d, void *data, size_t size)
{
    ssize_t n = asyncore_base(d)->recv(d, data, size);

    if (n > 0)
        *(char *)data = 'R';
    return n;
}

static ssize_t loud_send(asyncore_dispatcher *d, const void *data, size_t size)
{
    (void)data;
    return asyncore_base(d)->send(d, "S", size < 1 ? size : 1);
}

/* One of the two is enough. */
static const asyncore_handlers loud_reader = {
    .handle_read = record_read,
    .recv = loud_recv,
    ENDINGS,
};

static const asyncore_handlers loud_writer = {
    .handle_read = record_read,
    .send = loud_send,
    ENDINGS,
};

static bool no_memory;

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_realloc(void *memory, size_t size)
{
    errno = ENOMEM;
    return no_memory ? NULL : __real_realloc(memory, size);
}

/* What goes in and what comes out, of a byte each way. */
static void pass(world *w, recorder *r, int peer, char in, char out)
{
    size_t before = r->size;
    char byte;

    peer_write(peer, "x", 1);
    run_until(w->map, r->size == before + 1);
    assert_int_equal(r->data[before], in);
    assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), 1);
    peer_read(peer, &byte, 1);
    assert_int_equal(byte, out);
}

static void the_transport_is_the_class_s(void **state)
{
    static const asyncore_handlers asked_reader = {
        .readable = never,
        .handle_read = record_read,
        ENDINGS,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join_pair(w, &plain, &peer);
    asyncore_dispatcher *d = &r->dispatcher;

    pass(w, r, peer, 'x', 'x');
    assert_int_equal(asyncore_set_handlers(d, &loud_reader), 0);
    pass(w, r, peer, 'R', 'x');
    assert_int_equal(asyncore_set_handlers(d, &loud_writer), 0);
    pass(w, r, peer, 'x', 'S');
    no_memory = true;
    assert_int_equal(asyncore_set_handlers(d, &asked_reader), -1);
    no_memory = false;
    pass(w, r, peer, 'x', 'S');
    assert_int_equal(asyncore_set_handlers(d, &plain), 0);
    pass(w, r, peer, 'x', 'x');
    close(peer);
}

/* ---- Out-of-band data -------------------------------------------------- */

static void take_urgent(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);
    char byte = 0;

    record_expt(d);
    r->flag = recv(d->fd, &byte, 1, MSG_OOB) == 1 && byte == '!';
}

static void out_of_band(void **state)
{
    static const asyncore_handlers urgent = {
        .handle_read = record_read,
        .handle_expt = take_urgent,
        ENDINGS,
    };
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &urgent, &peer);

    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    run_until(w->map, r->ran.expt);
    assert_true(r->flag);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    assert_int_equal(r->ran.expt, 1);
    assert_int_equal(r->size, 0);
    peer_write(peer, "x", 1);
    run_until(w->map, r->size == 1);
    close(peer);
}

/* A hostile byte does not wake those that do not know of such. */
static void out_of_band_unasked(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = join(w, &plain, &peer);

    peer_write(peer, "ab", 2);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    run_until(w->map, r->size == 2);
    assert_in_range(turns_during(w->map, 100), 1, FEW_TURNS);
    peer_write(peer, "cd", 2);
    run_until(w->map, r->size == 4);
    assert_memory_equal(r->data, "abcd", 4);
    assert_int_equal(r->ran.expt + r->ran.close + r->ran.error, 0);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    close(peer);
}

/* ---- Descriptors closed behind the library's back ---------------------- */

static void assert_serves(world *w, recorder *r, int peer)
{
    size_t before = r->size;

    peer_write(peer, "?", 1);
    run_until(w->map, r->size == before + 1);
    assert_int_equal(asyncore_send(&r->dispatcher, "!", 1), 1);
    await(peer, POLLIN);
    assert_int_equal(read(peer, &(char){ 0 }, 1), 1);
    assert_int_equal(r->ran.close + r->ran.error, 0);
}

static void assert_lost(const recorder *r)
{
    assert_int_equal(r->ran.error, 1);
    assert_int_equal(r->error, EBADF);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, EBADF);
    assert_int_equal(r->ran.free, 1);
}

static void closed_and_touched(void **state)
{
    world *w = world_of(state);
    int peer, others_peer, fd;
    recorder *r = join(w, &plain, &peer);
    recorder *other = join(w, &plain, &others_peer);

    run_turns(w->map, 1);
    fd = r->dispatcher.fd;
    close(fd);
    asyncore_set_writable(&r->dispatcher, true);
    run_until(w->map, r->ran.free);
    assert_lost(r);
    assert_int_equal(r->ran.read + r->ran.write, 0);
    assert_int_equal(asyncore_map_count(w->map), 1);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    assert_serves(w, other, others_peer);
    close(peer);
    close(others_peer);
}

/* Several, with nothing asked, between others, before they were ever waited
   for: all are told, none twice. */
static void several_closed(void **state)
{
    enum { COUNT = 9 };
    world *w = world_of(state);
    recorder *r[COUNT];
    int peer[COUNT];

    for (int i = 0; i < COUNT; i++)
        r[i] = join_pair(w, &plain, &peer[i]);
    for (int i = 0; i < COUNT; i += 2) {
        close(r[i]->dispatcher.fd);
        asyncore_set_readable(&r[i]->dispatcher, i % 4 == 0);
    }
    for (int i = 0; i < COUNT; i += 2)
        run_until(w->map, r[i]->ran.free);
    for (int i = 0; i < COUNT; i++) {
        if (i % 2 == 0)
            assert_lost(r[i]);
        else
            assert_serves(w, r[i], peer[i]);
        close(peer[i]);
    }
}

static void closed_and_used(void **state)
{
    world *w = world_of(state);
    int peer, others_peer;
    char byte;
    recorder *r = join(w, &plain, &peer);
    recorder *other = join(w, &plain, &others_peer);

    run_turns(w->map, 1);
    close(r->dispatcher.fd);
    assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
    assert_int_equal(errno, EBADF);
    run_until(w->map, r->ran.free);
    assert_lost(r);
    assert_int_equal(asyncore_recv(&r->dispatcher, &byte, 1), -1);
    assert_int_equal(errno, EBADF);
    assert_serves(w, other, others_peer);
    close(peer);
    close(others_peer);
}

/* Whoever finds out, the number may be a stranger's, which stays open. */
static void strangers_are_not_closed(void **state)
{
    world *w = world_of(state);
    int peer, stranger[2], fd;
    recorder *r = join_pair(w, &plain, &peer);

    run_turns(w->map, 1);
    fd = r->dispatcher.fd;
    close(fd);
    assert_int_equal(pipe(stranger), 0);
    assert_true(stranger[0] == fd || stranger[1] == fd);
    asyncore_readwrite(&r->dispatcher, POLLNVAL);
    run_until(w->map, r->ran.free);
    assert_lost(r);
    assert_true(fcntl(stranger[0], F_GETFD) != -1);
    assert_true(fcntl(stranger[1], F_GETFD) != -1);
    close(stranger[0]);
    close(stranger[1]);
    close(peer);
}

static void number_taken_over(void **state)
{
    world *w = world_of(state);
    recorder *heir = lend(w, sizeof *heir);
    int peer, heirs_peer, fd;
    recorder *r = join(w, &plain, &peer);

    run_turns(w->map, 1);
    fd = r->dispatcher.fd;
    join_plain(w, &heir->error, &heirs_peer);
    assert_int_equal(dup2(heir->error, fd), fd);
    close(heir->error);
    heir->error = 0;
    assert_int_equal(
        asyncore_dispatcher_init(&heir->dispatcher, &plain, fd, w->map), 0);
    assert_int_equal(r->ran.close, 0);
    assert_int_equal(asyncore_map_count(w->map), 1);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    assert_over(r, EBADF);
    assert_int_equal(heir->dispatcher.fd, fd);
    assert_ptr_equal(asyncore_map_get(w->map, fd), &heir->dispatcher);
    asyncore_close(&r->dispatcher);
    assert_serves(w, heir, heirs_peer);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    close(peer);
    close(heirs_peer);
}

/* The old file lives on under another number, and goes on being ready. */
static void number_taken_over_while_a_copy_lives(void **state)
{
    world *w = world_of(state);
    recorder *heir = lend(w, sizeof *heir);
    int peer, heirs[2], fd, copy;
    recorder *r = join(w, &plain, &peer);

    run_turns(w->map, 1);
    fd = r->dispatcher.fd;
    copy = dup(fd);
    peer_pair(SOCK_STREAM, heirs);
    assert_int_equal(dup2(heirs[0], fd), fd);
    close(heirs[0]);
    assert_int_equal(
        asyncore_dispatcher_init(&heir->dispatcher, &plain, fd, w->map), 0);
    run_until(w->map, r->ran.close);
    assert_over(r, EBADF);
    peer_write(peer, "for nobody", 10);
    await(copy, POLLIN);
    assert_in_range(turns_during(w->map, 100), 1, FEW_TURNS);
    assert_int_equal(heir->ran.read, 0);
    assert_serves(w, heir, heirs[1]);
    close(copy);
    close(peer);
    close(heirs[1]);
}

/* The same without an heir: it goes on being served by its number, until that
   is found closed. */
static void closed_while_a_copy_lives(void **state)
{
    world *w = world_of(state);
    int peer, others_peer, copy;
    recorder *r = join(w, &plain, &peer);
    recorder *other = join(w, &plain, &others_peer);

    run_turns(w->map, 1);
    copy = dup(r->dispatcher.fd);
    close(r->dispatcher.fd);
    peer_write(peer, "for nobody", 10);
    await(copy, POLLIN);
    run_until(w->map, r->ran.free);
    assert_lost(r);
    assert_in_range(turns_during(w->map, 100), 1, FEW_TURNS);
    assert_serves(w, other, others_peer);
    close(copy);
    close(peer);
    close(others_peer);
}

/* The same, by asyncore_close: what is registered has no name any more. */
static void ended_while_a_copy_lives(void **state)
{
    world *w = world_of(state);
    int peer, others_peer;
    recorder *other = join(w, &plain, &others_peer);

    for (int i = 0; i < 3; i++) {
        recorder *r = join(w, &plain, &peer);
        int copy = dup(r->dispatcher.fd);

        run_turns(w->map, 1);
        asyncore_close(&r->dispatcher);
        peer_write(peer, "for nobody", 10);
        await(copy, POLLIN);
        assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
        assert_int_equal(r->ran.read + r->ran.close, 0);
        assert_serves(w, other, others_peer);
        close(copy);
        close(peer);
    }
    close(others_peer);
}

/* ---- Turns within turns, and leaving them ------------------------------ */

static void read_and_turn(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);

    record_read(d);
    if (r->ran.drain++ == 0)
        r->flag = asyncore_poll(d->map, 0) >= 1;
}

static void turn_within_a_turn(void **state)
{
    enum { COUNT = 8 };
    static const asyncore_handlers nesting = {
        .handle_read = read_and_turn,
        ENDINGS,
    };
    world *w = world_of(state);
    recorder *r[COUNT];
    int peer[COUNT];

    for (int i = 0; i < COUNT; i++) {
        r[i] = join_pair(w, &nesting, &peer[i]);
        peer_write(peer[i], "x", 1);
    }
    for (int i = 0; i < COUNT; i++)
        run_until(w->map, r[i]->size == 1);
    run_turns(w->map, 2);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(r[i]->size, 1);
        assert_int_equal(r[i]->ran.close + r[i]->ran.error, 0);
        close(peer[i]);
    }
}

static void read_and_stop(asyncore_dispatcher *d)
{
    record_read(d);
    asyncore_stop(d->map);
}

static void stop_loses_nothing(void **state)
{
    enum { COUNT = 8 };
    static const asyncore_handlers stopping = {
        .handle_read = read_and_stop,
        .handle_write = record_write,
        ENDINGS,
    };
    world *w = world_of(state);
    recorder *r[COUNT];
    int peer[COUNT], done;

    for (int i = 0; i < COUNT; i++) {
        r[i] = join_pair(w, &stopping, &peer[i]);
        asyncore_set_writable(&r[i]->dispatcher, true);
        peer_write(peer[i], "x", 1);
    }
    for (int turn = 1; turn <= COUNT; turn++) {
        assert_true(asyncore_loop(w->map, DEADLINE_MS, 100) == 0);
        for (int i = done = 0; i < COUNT; i++)
            done += r[i]->ran.read;
        /* Those that write have their turn as well, and it is not theirs to
           stop. */
        assert_int_equal(done, turn);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(r[i]->size, 1);
        assert_int_equal(r[i]->ran.read, 1);
        close(peer[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define EVERYWHERE(test) IN_IPV4(test), IN_IPV6(test), IN_UNIX(test)
        EVERYWHERE(all_is_read_before_the_end),
        IN_UNIX(all_of_a_pipe_is_read_before_the_end),
        EVERYWHERE(all_is_read_before_a_reset),
        EVERYWHERE(reset),
        EVERYWHERE(reset_with_nothing_asked),
        EVERYWHERE(reset_behind_what_is_unread),
        EVERYWHERE(hangup_with_nothing_asked),
        EVERYWHERE(one_end_with_nothing_asked_waits),
        EVERYWHERE(pause_behind_a_hangup),
        IN_UNIX(pause_of_a_pipe_behind_a_hangup),
        IN_UNIX(predicate_behind_a_hangup),
        IN_UNIX(reader_of_a_pipe_gone),
        EVERYWHERE(turns_inside_handle_close),
        EVERYWHERE(use_inside_handle_close),
        EVERYWHERE(orderly_after_an_error),
        EVERYWHERE(broken_before_init),
        EVERYWHERE(broken_before_init_with_data),
        EVERYWHERE(broken_before_init_and_paused),
        EVERYWHERE(broken_before_init_with_handle_eof),
        EVERYWHERE(connects),
        EVERYWHERE(connects_and_writes),
        EVERYWHERE(closed_in_handle_connect),
        EVERYWHERE(refused),
        IN_UNIX(full_backlog),
        IN_UNIX(rows),
        IN_UNIX(what_a_handler_made_pointless),
        IN_UNIX(not_in_a_map),
        EVERYWHERE(unhandled_read_stops),
        EVERYWHERE(unhandled_write_stops),
        EVERYWHERE(swap_in_handle_read),
        IN_UNIX(the_transport_is_the_class_s),
        IN_IPV4(out_of_band),
        IN_IPV6(out_of_band),
        IN_IPV4(out_of_band_unasked),
        IN_IPV6(out_of_band_unasked),
        EVERYWHERE(closed_and_touched),
        IN_UNIX(several_closed),
        EVERYWHERE(closed_and_used),
        IN_UNIX(strangers_are_not_closed),
        EVERYWHERE(number_taken_over),
        EVERYWHERE(number_taken_over_while_a_copy_lives),
        EVERYWHERE(closed_while_a_copy_lives),
        EVERYWHERE(ended_while_a_copy_lives),
        IN_UNIX(turn_within_a_turn),
        IN_UNIX(stop_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
