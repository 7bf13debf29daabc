/*
 * test_asyncore.c - the cases of CPython's test_asyncore under their own
 * names, each on IPv4, IPv6 and unix sockets, on the backend that
 * ASYNCORE_BACKEND names.
 *
 * What is asserted is what the header says. Where that differs from Python on
 * purpose, a comment at the place tells how.
 */
#include "support/recorder.h"
#include "support/world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static recorder *new_recorder(world *w)
{
    return lend(w, sizeof(recorder));
}

/* A connected pair: the recorder's end is the library's, peer is ours. */
static recorder *new_connected(world *w, const asyncore_handlers *handlers,
                               int *peer)
{
    recorder *r = new_recorder(w);
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    *peer = ends[1];
    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, handlers, ends[0], w->map), 0);
    return r;
}

/* ---- HelperFunctionTests ----------------------------------------------- */

static void stop_in_handler(asyncore_dispatcher *d)
{
    recorder_of(d)->flag = true;
    asyncore_stop(d->map);
}

static const asyncore_handlers exiting_reader = {
    .handle_read = stop_in_handler,
    .handle_write = record_write,
    .handle_free = record_free,
};
static const asyncore_handlers exiting_writer = {
    .handle_write = stop_in_handler,
    .handle_free = record_free,
};
static const asyncore_handlers exiting_expt = {
    .handle_expt = stop_in_handler,
    .handle_read = record_read,
    .handle_free = record_free,
};

static ssize_t crash_recv(asyncore_dispatcher *d, void *data, size_t size)
{
    (void)d, (void)data, (void)size;
    errno = EIO;
    return -1;
}

static ssize_t crash_send(asyncore_dispatcher *d, const void *data, size_t size)
{
    (void)d, (void)data, (void)size;
    errno = EIO;
    return -1;
}

static void write_byte(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.write++;
    asyncore_send(d, "x", 1);
}

static const asyncore_handlers crashing = {
    .handle_read = record_read,
    .handle_write = write_byte,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .recv = crash_recv,
    .send = crash_send,
};

/*
 * ExitNow is asyncore_stop: it leaves the loop from any handler, at once. An
 * exception is a failed I/O call: it arrives in handle_error.
 */
static void readwriteexc(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r;
    int listener, peer;

    r = new_connected(w, &exiting_reader, &peer);
    asyncore_set_writable(&r->dispatcher, true);
    peer_write(peer, "x", 1);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_true(r->flag);
    assert_int_equal(r->ran.write, 0);
    r->flag = false;
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_true(r->flag);
    asyncore_close(&r->dispatcher);
    close(peer);

    r = new_connected(w, &exiting_writer, &peer);
    asyncore_set_writable(&r->dispatcher, true);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_true(r->flag);
    asyncore_close(&r->dispatcher);
    close(peer);

    listener = peer_listen(w, &at);
    r = new_recorder(w);
    connect_to(&r->dispatcher, &exiting_expt, &at);
    peer = peer_accept(listener);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_true(r->flag);
    asyncore_close(&r->dispatcher);
    close(peer);
    close(listener);

    r = new_connected(w, &crashing, &peer);
    peer_write(peer, "x", 1);
    run_until(w->map, r->ran.error > 0);
    assert_int_equal(r->error, EIO);
    assert_int_equal(r->ran.close, 0);
    assert_true(r->dispatcher.fd >= 0);
    asyncore_close(&r->dispatcher);
    close(peer);

    r = new_connected(w, &crashing, &peer);
    asyncore_set_writable(&r->dispatcher, true);
    run_until(w->map, r->ran.error > 0);
    assert_int_equal(r->error, EIO);
    assert_int_equal(r->ran.close, 0);
    asyncore_close(&r->dispatcher);
    close(peer);
}

static const asyncore_handlers everything = {
    .handle_read = record_read,
    .handle_write = record_write,
    .handle_expt = record_expt,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
};

enum asked { FOR_NOTHING, FOR_READ, FOR_WRITE, FOR_BOTH };

/*
 * A single flag runs a single handler, and only if it was asked for. Unlike
 * Python's, a hangup goes to whoever was asked for, because unread data may
 * be behind it; handle_close is for when nobody was.
 */
static void readwrite(void **state)
{
    static const struct {
        int revents;
        enum asked asked;
        int read, write, expt, close, error;
    } cases[] = {
        { POLLIN, FOR_READ, 1, 0, 0, 0, 0 },
        { POLLIN, FOR_BOTH, 1, 0, 0, 0, 0 },
        { POLLIN, FOR_WRITE, 0, 0, 0, 0, 0 },
        { POLLOUT, FOR_WRITE, 0, 1, 0, 0, 0 },
        { POLLOUT, FOR_BOTH, 0, 1, 0, 0, 0 },
        { POLLOUT, FOR_READ, 0, 0, 0, 0, 0 },
        { POLLPRI, FOR_READ, 0, 0, 1, 0, 0 },
        { POLLIN | POLLOUT | POLLPRI, FOR_BOTH, 1, 1, 1, 0, 0 },
        { POLLHUP, FOR_READ, 1, 0, 0, 0, 0 },
        { POLLHUP, FOR_WRITE, 0, 1, 0, 0, 0 },
        { POLLHUP, FOR_NOTHING, 0, 0, 0, 1, 0 },
        { POLLERR, FOR_READ, 1, 0, 0, 0, 0 },
        { POLLERR, FOR_WRITE, 0, 1, 0, 0, 0 },
        { POLLERR, FOR_NOTHING, 0, 0, 0, 1, 0 },
        { POLLIN | POLLHUP, FOR_READ, 1, 0, 0, 0, 0 },
        { POLLNVAL, FOR_READ, 0, 0, 0, 1, 1 },
        { 0, FOR_BOTH, 0, 0, 0, 0, 0 },
    };
    world *w = world_of(state);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum asked asked = cases[i].asked;
        int peer;
        recorder *r = new_connected(w, &everything, &peer);
        bool fatal = cases[i].close > 0;

        asyncore_set_readable(&r->dispatcher,
                              asked == FOR_READ || asked == FOR_BOTH);
        asyncore_set_writable(&r->dispatcher,
                              asked == FOR_WRITE || asked == FOR_BOTH);
        if (cases[i].revents & POLLNVAL)
            close(r->dispatcher.fd);
        asyncore_readwrite(&r->dispatcher, cases[i].revents);
        assert_int_equal(r->ran.read, cases[i].read);
        assert_int_equal(r->ran.write, cases[i].write);
        assert_int_equal(r->ran.expt, cases[i].expt);
        assert_int_equal(r->ran.close, cases[i].close);
        assert_int_equal(r->ran.error, cases[i].error);
        assert_int_equal(r->ran.warning, 0);
        assert_int_equal(r->dispatcher.fd == -1, fatal);
        asyncore_close(&r->dispatcher);
        close(peer);
    }
    run_turns(w->map, 1);
}

static void check_closeall(world *w, bool by_default)
{
    recorder *all[10];
    int peers[10];

    for (int i = 0; i < 10; i++)
        all[i] = new_connected(w, &everything, &peers[i]);
    assert_int_equal(asyncore_map_count(w->map), 10);
    if (by_default) {
        /* Whatever is the default when it is called, not when it was made. */
        asyncore_map *other = asyncore_map_new(NULL);

        assert_non_null(other);
        assert_ptr_equal(asyncore_set_socket_map(other), w->map);
        asyncore_close_all(NULL);
        assert_int_equal(asyncore_map_count(w->map), 10);
        assert_ptr_equal(asyncore_set_socket_map(w->map), other);
        asyncore_map_free(other);
        asyncore_close_all(NULL);
    } else {
        asyncore_close_all(w->map);
    }
    assert_int_equal(asyncore_map_count(w->map), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(all[i]->dispatcher.fd, -1);
        assert_int_equal(all[i]->ran.free, 1);
        assert_int_equal(all[i]->ran.close, 0);
        close(peers[i]);
    }
}

static void closeall(void **state)
{
    check_closeall(world_of(state), false);
}

static void closeall_default(void **state)
{
    check_closeall(world_of(state), true);
}

static const asyncore_handlers uncaptured = {
    .name = "spam",
    .handle_read = record_read,
    .handle_close = record_close,
    .recv = crash_recv,
    .log_info = record_log_info,
};

/*
 * There is no traceback to make compact. What stands in for it is the line
 * that the default handle_error logs: who it was and what went wrong.
 */
static void compact_traceback(void **state)
{
    world *w = world_of(state);
    char who[ASYNCORE_REPR_TEXT];
    char why[128];
    int peer;
    recorder *r = new_connected(w, &uncaptured, &peer);

    asyncore_repr(&r->dispatcher, who, sizeof who);
    asyncore_strerror(EIO, why, sizeof why);
    peer_write(peer, "x", 1);
    run_until(w->map, r->ran.close > 0);
    assert_int_equal(r->close_error, EIO);
    assert_int_equal(strncmp(r->log, "error: ", 7), 0);
    assert_non_null(strstr(r->log, who));
    assert_non_null(strstr(r->log, why));
    assert_int_equal(r->dispatcher.fd, -1);
    close(peer);
}

/* ---- DispatcherTests --------------------------------------------------- */

/*
 * Python's bare dispatcher is readable and writable. Ours has no socket to
 * wait for; one with a connection is readable, and writable when it has
 * something to write.
 */
static void basic(void **state)
{
    static const asyncore_handlers none = { .name = NULL };
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    int peer;

    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &none, -1, w->map), 0);
    assert_int_equal(r->dispatcher.fd, -1);
    assert_false(asyncore_readable(&r->dispatcher));
    assert_false(asyncore_writable(&r->dispatcher));
    assert_int_equal(asyncore_map_count(w->map), 0);

    r = new_connected(w, &none, &peer);
    assert_true(asyncore_readable(&r->dispatcher));
    assert_false(asyncore_writable(&r->dispatcher));
    asyncore_set_writable(&r->dispatcher, true);
    assert_true(asyncore_writable(&r->dispatcher));
    asyncore_set_readable(&r->dispatcher, false);
    assert_false(asyncore_readable(&r->dispatcher));
    asyncore_close(&r->dispatcher);
    close(peer);
}

static void repr(void **state)
{
    static const asyncore_handlers none = { .name = NULL };
    world *w = world_of(state);
    char expected[2 * ASYNCORE_REPR_TEXT];
    char text[ASYNCORE_REPR_TEXT];
    char where[ASYNCORE_ADDRESS_TEXT];
    asyncore_address at;
    recorder *server = new_recorder(w);
    recorder *bare = new_recorder(w);
    recorder *client = new_recorder(w);

    asyncore_dispatcher_init(&bare->dispatcher, &none, -1, w->map);
    snprintf(expected, sizeof expected, "<dispatcher at %p>", (void *)bare);
    assert_string_equal(asyncore_repr(&bare->dispatcher, text, sizeof text),
                        expected);
    memset(text, 'x', sizeof text);
    asyncore_repr(&bare->dispatcher, text, 6);
    assert_string_equal(text, "<disp");
    assert_int_equal(text[6], 'x');

    at = listen_at(w, &server->dispatcher, &recorder_handlers);
    asyncore_address_format(&at, where, sizeof where);
    snprintf(expected, sizeof expected, "<recorder listening %s at %p>", where,
             (void *)server);
    assert_string_equal(asyncore_repr(&server->dispatcher, text, sizeof text),
                        expected);

    connect_to(&client->dispatcher, &recorder_handlers, &at);
    run_until(w->map, client->ran.connect > 0);
    snprintf(expected, sizeof expected, "<recorder connected %s at %p>", where,
             (void *)client);
    assert_string_equal(asyncore_repr(&client->dispatcher, text, sizeof text),
                        expected);
    asyncore_close(&client->dispatcher);
    asyncore_close(&server->dispatcher);
    run_turns(w->map, 1);
}

static void log_line(void **state)
{
    static const asyncore_handlers none = { .name = NULL };
    static const asyncore_handlers own = { .log = record_log };
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    char text[4096], longest[3000];

    asyncore_dispatcher_init(&r->dispatcher, &none, -1, w->map);
    capture_begin();
    asyncore_log(&r->dispatcher, "Lovely spam! %s", "Wonderful spam!");
    asyncore_log(&r->dispatcher, "I don't like spam!");
    capture_end(text, sizeof text);
    assert_string_equal(text, "log: Lovely spam! Wonderful spam!\n"
                              "log: I don't like spam!\n");

    memset(longest, 'y', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    asyncore_set_handlers(&r->dispatcher, &own);
    asyncore_log(&r->dispatcher, "%s", longest);
    assert_int_equal(strlen(r->log), 5 + 1023);
}

/* Whoever read standard error has gone: that ends no server. */
static void log_without_reader(void **state)
{
    static const asyncore_handlers none = { .name = NULL };
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    int standard_error = dup(2), ends[2];
    sigset_t pending;

    asyncore_dispatcher_init(&r->dispatcher, &none, -1, w->map);
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    dup2(ends[1], 2);
    close(ends[1]);
    signal(SIGPIPE, SIG_DFL);
    errno = ENOENT;
    asyncore_log(&r->dispatcher, "Is anybody there?");
    dup2(standard_error, 2);
    close(standard_error);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(sigpending(&pending), 0);
    assert_false(sigismember(&pending, SIGPIPE));
}

static void log_info(void **state)
{
    static const asyncore_handlers none = { .name = NULL };
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    char text[4096];

    asyncore_dispatcher_init(&r->dispatcher, &none, -1, w->map);
    capture_begin();
    asyncore_log_info(&r->dispatcher, "EGGS", "Have you got anything %s spam?",
                      "without");
    asyncore_log_info(&r->dispatcher, "info", "Why can't she have egg bacon?");
    asyncore_log_info(&r->dispatcher, "warning", "It's got spam in it");
    asyncore_log_info(&r->dispatcher, "SPAM", "THAT'S got spam in it!");
    capture_end(text, sizeof text);
    assert_string_equal(text, "EGGS: Have you got anything without spam?\n"
                              "info: Why can't she have egg bacon?\n"
                              "SPAM: THAT'S got spam in it!\n");
}

static void unhandled(void **state)
{
    static const asyncore_handlers none = { .name = NULL };
    world *w = world_of(state);
    const asyncore_handlers *base;
    char text[4096];
    int peer;
    recorder *r = new_connected(w, &none, &peer);

    base = asyncore_base(&r->dispatcher);
    for (int debug = 0; debug < 2; debug++) {
        r->dispatcher.debug = debug != 0;
        capture_begin();
        asyncore_set_writable(&r->dispatcher, true);
        base->handle_expt(&r->dispatcher);
        base->handle_read(&r->dispatcher);
        base->handle_write(&r->dispatcher);
        base->handle_connect(&r->dispatcher);
        capture_end(text, sizeof text);
        /* Unhandled means no longer asked for, so that it cannot spin. */
        assert_false(asyncore_readable(&r->dispatcher));
        assert_false(asyncore_writable(&r->dispatcher));
        if (debug)
            assert_string_equal(text,
                                "warning: unhandled incoming priority event\n"
                                "warning: unhandled read event\n"
                                "warning: unhandled write event\n"
                                "warning: unhandled connect event\n");
        else
            assert_string_equal(text, "");
    }
    r->dispatcher.debug = 1;
    asyncore_set_readable(&r->dispatcher, true);
    capture_begin();
    base->handle_accepted(&r->dispatcher, dup(peer), NULL);
    peer_write(peer, "x", 1);
    run_turns(w->map, 3);
    base->handle_close(&r->dispatcher);
    capture_end(text, sizeof text);
    assert_string_equal(text, "warning: unhandled accepted event\n"
                              "warning: unhandled read event\n"
                              "warning: unhandled close event\n");
    assert_int_equal(r->dispatcher.fd, -1);
    close(peer);
}

static void strerror_(void **state)
{
    char text[128], tiny[4];

    (void)world_of(state);
    assert_ptr_equal(asyncore_strerror(EPERM, text, sizeof text), text);
    assert_string_equal(text, strerror(EPERM));
    assert_string_not_equal(asyncore_strerror(-1, text, sizeof text), "");
    assert_string_not_equal(asyncore_strerror(123456, text, sizeof text), "");
    assert_string_not_equal(asyncore_strerror(EPERM, tiny, sizeof tiny), "");
    assert_true(strlen(tiny) < sizeof tiny);
}

/* ---- DispatcherWithSendTests ------------------------------------------- */

static bool never(asyncore_dispatcher *d)
{
    (void)d;
    return false;
}

static const asyncore_handlers noread = {
    .readable = never,
    .handle_connect = record_connect,
    .handle_close = record_close,
    .log_info = record_log_info,
};

/* Sent while connecting, in three pieces, it arrives whole and in order. */
static void send_(void **state)
{
    static const char data[] = "Suppose there isn't a 16-ton weight?";
    world *w = world_of(state);
    char got[256];
    asyncore_address at;
    int listener = peer_listen(w, &at);
    int peer;
    recorder *r = new_recorder(w);
    asyncore_dispatcher *d = &r->dispatcher;
    size_t size = sizeof data - 1;

    assert_int_equal(
        asyncore_dispatcher_with_send_init(&r->with_send, &noread, -1, NULL),
        0);
    assert_int_equal(asyncore_create_socket(d, w->family, SOCK_STREAM), 0);
    assert_int_equal(asyncore_connect(d, &at), 0);
    assert_true(d->connecting);
    assert_int_equal(asyncore_send(d, data, sizeof data - 1), size);
    assert_int_equal(asyncore_send(d, data, sizeof data - 1), size);
    assert_int_equal(asyncore_send(d, "\n", 1), 1);
    run_until(w->map, r->ran.connect > 0 && asyncore_queued(d) == 0);
    asyncore_close(d);

    peer = peer_accept(listener);
    assert_int_equal(peer_read(peer, got, sizeof got), 2 * size + 1);
    assert_memory_equal(got, data, size);
    assert_memory_equal(got + size, data, size);
    assert_int_equal(got[2 * size], '\n');
    assert_int_equal(r->ran.close, 0);
    assert_int_equal(r->ran.warning, 0);
    close(peer);
    close(listener);
}

/* ---- FileWrapperTest --------------------------------------------------- */

static const char sleeping[] = "It's not dead, it's sleeping!";

static int open_file(world *w, int flags)
{
    asyncore_address a;
    int family = w->family;
    int fd;

    w->family = AF_UNIX;
    a = fresh_address(w);
    w->family = family;
    fd = open(a.un.sun_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, sleeping, sizeof sleeping - 1),
                     sizeof sleeping - 1);
    close(fd);
    fd = open(a.un.sun_path, flags | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void file_recv(void **state)
{
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    asyncore_dispatcher *d = &r->dispatcher;
    char data[64];
    int fd = open_file(w, O_RDONLY);

    assert_int_equal(
        asyncore_file_dispatcher_init(&r->file, &recorder_handlers, fd, w->map),
        0);
    close(fd);
    assert_int_not_equal(d->fd, fd);
    assert_true(d->connected);
    assert_int_equal(asyncore_recv(d, data, 13), 13);
    assert_memory_equal(data, "It's not dead", 13);
    assert_int_equal(asyncore_recv(d, data, 6), 6);
    assert_memory_equal(data, ", it's", 6);
    asyncore_close(d);
    assert_int_equal(asyncore_recv(d, data, 1), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(r->ran.close, 0);
    assert_int_equal(r->ran.error, 0);
    run_turns(w->map, 1);
}

static void file_send(void **state)
{
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    char data[128];
    int fd = open_file(w, O_RDWR | O_APPEND);
    int reader = dup(fd);

    assert_int_equal(
        asyncore_file_dispatcher_init(&r->file, &recorder_handlers, fd, w->map),
        0);
    close(fd);
    assert_int_equal(asyncore_send(&r->dispatcher, "Come again?", 11), 11);
    assert_int_equal(
        asyncore_send(&r->dispatcher, "I want to buy some cheese.", 26), 26);
    asyncore_close(&r->dispatcher);
    assert_int_equal(pread(reader, data, sizeof data, 0),
                     sizeof sleeping - 1 + 11 + 26);
    assert_memory_equal(data,
                        "It's not dead, it's sleeping!"
                        "Come again?I want to buy some cheese.",
                        sizeof sleeping - 1 + 11 + 26);
    close(reader);
    run_turns(w->map, 1);
}

/* No backend may refuse a regular file: epoll_ctl does. */
static void file_dispatcher(void **state)
{
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    int fd = open_file(w, O_RDONLY);

    assert_int_equal(
        asyncore_file_dispatcher_init(&r->file, &recorder_handlers, fd, w->map),
        0);
    close(fd);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, 2), 0);
    assert_int_equal(r->size, sizeof sleeping - 1);
    assert_memory_equal(r->data, sleeping, sizeof sleeping - 1);
    asyncore_close(&r->dispatcher);
    run_turns(w->map, 1);
}

/*
 * Python's wrapper warns when it is collected without having been closed. C
 * has nobody who would notice; the map is the last that can give the
 * descriptor back, and does.
 */
static void resource_warning(void **state)
{
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    asyncore_map *map = asyncore_map_new(NULL);
    int fd = open_file(w, O_RDONLY);
    int copy;

    assert_non_null(map);
    assert_int_equal(
        asyncore_file_dispatcher_init(&r->file, &recorder_handlers, fd, map),
        0);
    copy = r->dispatcher.fd;
    close(fd);
    asyncore_map_free(map);
    assert_int_equal(fcntl(copy, F_GETFD), -1);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->ran.close, 0);
}

/* The second close must not hit whoever has the number by then. */
static void close_twice(void **state)
{
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    int fd = open_file(w, O_RDONLY);
    int copy;

    assert_int_equal(
        asyncore_file_dispatcher_init(&r->file, &recorder_handlers, fd, w->map),
        0);
    copy = r->dispatcher.fd;
    close(copy);
    asyncore_close(&r->dispatcher);
    assert_int_equal(r->dispatcher.fd, -1);
    assert_int_equal(asyncore_map_count(w->map), 0);
    assert_int_equal(dup2(fd, copy), copy);
    asyncore_close(&r->dispatcher);
    assert_int_equal(r->dispatcher.fd, -1);
    assert_int_equal(fcntl(copy, F_GETFD), 0);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->ran.close, 0);
    close(copy);
    close(fd);
}

/* ---- BaseTestAPI ------------------------------------------------------- */

/* A listener that makes one channel of what it accepts. */
typedef struct server {
    recorder listener;
    recorder channel;
    const asyncore_handlers *handlers;
    void (*started)(recorder *channel);
} server;

static void serve(asyncore_dispatcher *d, int fd, const asyncore_address *peer)
{
    server *s = (server *)d;

    (void)peer;
    s->listener.ran.accepted++;
    if (s->listener.ran.accepted > 1)
        close(fd);
    else if (asyncore_dispatcher_init(&s->channel.dispatcher, s->handlers, fd,
                                      d->map) == 0 &&
             s->started != NULL)
        s->started(&s->channel);
}

static const asyncore_handlers serving = {
    .name = "server",
    .handle_accepted = serve,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
};

static server *new_server(world *w, const asyncore_handlers *handlers,
                          void (*started)(recorder *channel),
                          asyncore_address *at)
{
    server *s = lend(w, sizeof *s);

    s->handlers = handlers;
    s->started = started;
    *at = listen_at(w, &s->listener.dispatcher, &serving);
    return s;
}

/* The listener is as it was; what it made has seen nothing untoward. */
static void check_server(const server *s)
{
    assert_true(s->listener.dispatcher.accepting);
    assert_int_equal(s->listener.ran.close, 0);
    assert_int_equal(s->listener.ran.error, 0);
    assert_int_equal(s->listener.ran.free, 0);
    assert_int_equal(s->listener.ran.warning, 0);
    assert_int_equal(s->channel.ran.error, 0);
}

static const asyncore_handlers quiet = {
    .name = "quiet",
    .handle_connect = record_connect,
    .handle_read = record_read,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
};

static void flag_connect(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.connect++;
    recorder_of(d)->flag = d->connected && !d->connecting;
}

static const asyncore_handlers connecting = {
    .handle_connect = flag_connect,
    .handle_close = record_close,
    .handle_error = record_error,
    .log_info = record_log_info,
};

static void handle_connect(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    server *s = new_server(w, &quiet, NULL, &at);
    recorder *c = new_recorder(w);

    connect_to(&c->dispatcher, &connecting, &at);
    /* Never from inside connect, even where it succeeds at once. */
    assert_int_equal(c->ran.connect, 0);
    assert_true(c->dispatcher.connecting);
    assert_false(c->dispatcher.connected);
    run_until(w->map, c->flag);
    run_turns(w->map, 3);
    assert_int_equal(c->ran.connect, 1);
    assert_int_equal(c->ran.close + c->ran.error + c->ran.warning, 0);
    check_server(s);
}

/* Python reports it as an uncaught error. */
static void connect_refused(void **state)
{
    world *w = world_of(state);
    recorder *c = new_recorder(w);
    asyncore_dispatcher *d = &c->dispatcher;
    asyncore_address at = fresh_address(w);
    int taken = peer_socket(w->family, SOCK_STREAM);

    /* Bound, but not listening. */
    assert_int_equal(bind(taken, &at.any, at.size), 0);
    at.size = sizeof at.storage;
    assert_int_equal(getsockname(taken, &at.any, &at.size), 0);
    if (w->family == AF_UNIX) {
        assert_int_equal(
            asyncore_dispatcher_init(d, &recorder_handlers, -1, w->map), 0);
        assert_int_equal(asyncore_create_socket(d, AF_UNIX, SOCK_STREAM), 0);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(asyncore_connect(d, &at), -1);
            assert_int_equal(errno, ECONNREFUSED);
            assert_false(d->connecting);
        }
        run_turns(w->map, 3);
        assert_int_equal(c->ran.close, 0);
        assert_true(d->fd >= 0);
    } else {
        connect_to(d, &recorder_handlers, &at);
        asyncore_set_writable(d, true);
        run_until(w->map, c->ran.close > 0);
        assert_int_equal(c->close_error, ECONNREFUSED);
        run_turns(w->map, 2);
        assert_int_equal(c->ran.close, 1);
        assert_int_equal(c->ran.free, 1);
        assert_false(d->connecting);
    }
    assert_int_equal(c->ran.connect + c->ran.read + c->ran.write, 0);
    assert_int_equal(c->ran.error + c->ran.warning, 0);
    close(taken);
}

static void flag_accept(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.accept++;
    recorder_of(d)->flag = true;
}

static const asyncore_handlers accepting = {
    .handle_accept = flag_accept,
    .handle_accepted = record_accepted,
    .handle_close = record_close,
    .handle_error = record_error,
    .log_info = record_log_info,
};

static void handle_accept(void **state)
{
    world *w = world_of(state);
    recorder *s = new_recorder(w);
    recorder *c = new_recorder(w);
    asyncore_address at = listen_at(w, &s->dispatcher, &accepting);

    run_turns(w->map, 2);
    assert_int_equal(s->ran.accept, 0);
    connect_to(&c->dispatcher, &quiet, &at);
    run_until(w->map, s->flag);
    assert_int_equal(s->ran.accepted, 0);
    assert_int_equal(s->ran.close + s->ran.error + s->ran.warning, 0);
}

typedef struct accepted {
    recorder recorder;
    asyncore_address peer;
    int descriptor_flags;
    int status_flags;
} accepted;

static void keep_accepted(asyncore_dispatcher *d, int fd,
                          const asyncore_address *peer)
{
    accepted *a = (accepted *)d;

    a->peer = *peer;
    a->descriptor_flags = fcntl(fd, F_GETFD);
    a->status_flags = fcntl(fd, F_GETFL);
    a->recorder.ran.accepted++;
    a->recorder.flag = true;
    close(fd);
}

static const asyncore_handlers keeping = {
    .handle_accept = record_accept,
    .handle_accepted = keep_accepted,
    .handle_close = record_close,
    .handle_error = record_error,
    .log_info = record_log_info,
};

static void handle_accepted(void **state)
{
    world *w = world_of(state);
    accepted *s = lend(w, sizeof *s);
    recorder *c = new_recorder(w);
    char from[ASYNCORE_ADDRESS_TEXT], own[ASYNCORE_ADDRESS_TEXT];
    asyncore_address at = listen_at(w, &s->recorder.dispatcher, &keeping);

    connect_to(&c->dispatcher, &quiet, &at);
    assert_int_equal(asyncore_getsockname(&c->dispatcher, &at), 0);
    run_until(w->map, s->recorder.flag);
    assert_int_equal(s->recorder.ran.accept, 1);
    assert_int_equal(s->recorder.ran.accepted, 1);
    assert_int_equal(s->recorder.ran.close + s->recorder.ran.error, 0);
    assert_true(s->descriptor_flags & FD_CLOEXEC);
    assert_true(s->status_flags & O_NONBLOCK);
    assert_string_equal(asyncore_address_format(&s->peer, from, sizeof from),
                        asyncore_address_format(&at, own, sizeof own));
}

static void send_kilobyte(recorder *channel)
{
    char data[1024];

    memset(data, 'x', sizeof data);
    asyncore_send(&channel->dispatcher, data, sizeof data);
}

static void flag_read(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.read++;
    recorder_of(d)->flag = true;
}

static const asyncore_handlers reading = {
    .handle_connect = record_connect,
    .handle_read = flag_read,
    .handle_close = record_close,
    .handle_error = record_error,
    .log_info = record_log_info,
};

static void handle_read(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    server *s = new_server(w, &quiet, send_kilobyte, &at);
    recorder *c = new_recorder(w);
    char data[2048];
    int seen;

    connect_to(&c->dispatcher, &reading, &at);
    run_until(w->map, c->flag);
    assert_int_equal(c->ran.connect, 1);
    /* What is left is reported again. */
    seen = c->ran.read;
    run_turns(w->map, 1);
    assert_int_equal(c->ran.read, seen + 1);
    assert_int_equal(asyncore_recv(&c->dispatcher, data, 1000), 1000);
    run_turns(w->map, 1);
    assert_int_equal(c->ran.read, seen + 2);
    assert_int_equal(asyncore_recv(&c->dispatcher, data, sizeof data), 24);
    run_turns(w->map, 1);
    assert_int_equal(c->ran.read, seen + 2);
    assert_int_equal(asyncore_recv(&c->dispatcher, data, sizeof data), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(c->ran.close + c->ran.error + c->ran.warning, 0);
    check_server(s);
}

static void handle_write(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    server *s = new_server(w, &quiet, NULL, &at);
    recorder *c = new_recorder(w);

    connect_to(&c->dispatcher, &recorder_handlers, &at);
    run_until(w->map, c->ran.connect > 0);
    /* Python would call it for ever from here on. */
    run_turns(w->map, 3);
    assert_int_equal(c->ran.write, 0);
    asyncore_set_writable(&c->dispatcher, true);
    run_until(w->map, c->ran.write >= 2);
    asyncore_set_writable(&c->dispatcher, false);
    c->ran.write = 0;
    run_turns(w->map, 3);
    assert_int_equal(c->ran.write, 0);
    assert_int_equal(c->ran.close + c->ran.error + c->ran.warning, 0);
    check_server(s);
}

static void close_channel(recorder *channel)
{
    asyncore_close(&channel->dispatcher);
}

static void handle_close(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    server *s = new_server(w, &quiet, close_channel, &at);
    recorder *c = new_recorder(w);

    connect_to(&c->dispatcher, &recorder_handlers, &at);
    run_until(w->map, c->ran.close > 0);
    assert_int_equal(c->close_error, 0);
    /* It did not close itself: the library did, after handle_close. */
    assert_int_equal(c->dispatcher.fd, -1);
    run_turns(w->map, 3);
    assert_int_equal(c->ran.close, 1);
    assert_int_equal(c->ran.free, 1);
    assert_int_equal(c->ran.error + c->ran.warning, 0);
    /* It closed itself: that is no event. */
    assert_int_equal(s->channel.ran.close, 0);
    assert_int_equal(s->channel.ran.free, 1);
    check_server(s);
}

/* d is still open in handle_close, and whatever is tried with it there finds
   the end again. */
static void try_everything(asyncore_dispatcher *d)
{
    char data[16];

    record_close(d);
    recorder_of(d)->flag = d->fd >= 0 && d->closing;
    for (int i = 0; i < 3; i++) {
        asyncore_send(d, "x", 1);
        asyncore_recv(d, data, sizeof data);
        asyncore_readwrite(d, POLLIN | POLLOUT | POLLHUP);
        asyncore_poll(d->map, 0);
    }
}

static const asyncore_handlers inquisitive = {
    .handle_connect = record_connect,
    .handle_read = record_read,
    .handle_write = write_byte,
    .handle_close = try_everything,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
};

static void handle_close_once(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int listener = peer_listen(w, &at);

    for (int reset = 0; reset < 2; reset++) {
        recorder *c = new_recorder(w);
        int peer;

        connect_to(&c->dispatcher, &inquisitive, &at);
        peer = peer_accept(listener);
        run_until(w->map, c->ran.connect > 0);
        asyncore_set_writable(&c->dispatcher, true);
        if (reset)
            peer_reset(peer);
        else
            close(peer);
        run_until(w->map, c->ran.close > 0);
        run_turns(w->map, 3);
        assert_true(c->flag);
        if (reset && w->family != AF_UNIX)
            assert_int_equal(c->close_error, ECONNRESET);
        assert_int_equal(c->ran.close, 1);
        assert_int_equal(c->ran.free, 1);
        assert_int_equal(c->ran.error, 0);
        assert_int_equal(c->dispatcher.fd, -1);
    }
    close(listener);
}

static void send_nuls(asyncore_dispatcher *d)
{
    static const char data[128];

    recorder_of(d)->ran.write++;
    asyncore_send(d, data, sizeof data);
}

static const asyncore_handlers sending = {
    .handle_connect = record_connect,
    .handle_write = send_nuls,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
};

static void read_and_close(asyncore_dispatcher *d)
{
    record_read(d);
    asyncore_close(d);
}

static const asyncore_handlers hanging_up = {
    .handle_read = read_and_close,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
};

/* ECONNRESET and EPIPE are ends, and raise no SIGPIPE. */
static void handle_close_after_conn_broken(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    server *s = new_server(w, &hanging_up, NULL, &at);
    recorder *c = new_recorder(w);

    connect_to(&c->dispatcher, &sending, &at);
    asyncore_set_readable(&c->dispatcher, false);
    asyncore_set_writable(&c->dispatcher, true);
    run_until(w->map, c->ran.close > 0);
    assert_true(c->close_error == EPIPE || c->close_error == ECONNRESET);
    assert_int_equal(c->dispatcher.error, c->close_error);
    run_turns(w->map, 3);
    assert_int_equal(c->ran.close, 1);
    assert_int_equal(c->ran.free, 1);
    assert_int_equal(c->ran.error + c->ran.warning, 0);
    check_server(s);
}

static void send_urgent(recorder *channel)
{
    send(channel->dispatcher.fd, "\xf4", 1, MSG_OOB | MSG_NOSIGNAL);
}

static void take_urgent(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);

    r->ran.expt++;
    r->flag = recv(d->fd, r->data, 1, MSG_OOB) == 1;
}

static const asyncore_handlers urgent = {
    .handle_connect = record_connect,
    .handle_expt = take_urgent,
    .handle_close = record_close,
    .handle_error = record_error,
    .log_info = record_log_info,
};

static const asyncore_handlers not_urgent = {
    .handle_connect = record_connect,
    .handle_read = record_read,
    .handle_close = record_close,
    .handle_error = record_error,
    .log_info = record_log_info,
};

static void handle_expt(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *c, *deaf;
    int listener, peer;

    if (w->family == AF_UNIX)
        skip();
    server *s = new_server(w, &quiet, send_urgent, &at);
    c = new_recorder(w);
    connect_to(&c->dispatcher, &urgent, &at);
    run_until(w->map, c->flag);
    assert_int_equal((unsigned char)c->data[0], 0xf4);
    assert_int_equal(c->ran.expt, 1);
    assert_int_equal(c->ran.close + c->ran.error, 0);
    check_server(s);

    /* A class that does not know of it cannot be woken by it. */
    listener = peer_listen(w, &at);
    deaf = new_recorder(w);
    connect_to(&deaf->dispatcher, &not_urgent, &at);
    peer = peer_accept(listener);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    peer_write(peer, "after", 5);
    run_until(w->map, deaf->size == 5);
    run_turns(w->map, 2);
    assert_memory_equal(deaf->data, "after", 5);
    assert_int_equal(deaf->ran.warning, 0);
    close(peer);
    close(listener);
}

static const asyncore_handlers failing = {
    .handle_connect = record_connect,
    .handle_write = write_byte,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
    .send = crash_send,
};

static void handle_error(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    server *s = new_server(w, &quiet, NULL, &at);
    recorder *c = new_recorder(w);

    connect_to(&c->dispatcher, &failing, &at);
    asyncore_set_writable(&c->dispatcher, true);
    run_until(w->map, c->ran.error > 0);
    assert_int_equal(c->error, EIO);
    assert_int_equal(c->ran.error, 1);
    /* An override that does not close keeps it open. */
    assert_true(c->dispatcher.connected);
    assert_int_equal(c->ran.close, 0);
    assert_int_equal(c->ran.warning, 0);
    check_server(s);
}

static void check_flags(const recorder *r, bool connected, bool listening)
{
    assert_int_equal(r->dispatcher.connected, connected);
    assert_int_equal(r->dispatcher.accepting, listening);
}

static void connection_attributes(void **state)
{
    world *w = world_of(state);
    asyncore_address at, other;
    char here[ASYNCORE_ADDRESS_TEXT], there[ASYNCORE_ADDRESS_TEXT];
    server *s = new_server(w, &quiet, NULL, &at);
    recorder *c = new_recorder(w);

    connect_to(&c->dispatcher, &quiet, &at);
    check_flags(&s->listener, false, true);
    check_flags(c, false, false);
    assert_true(c->dispatcher.connecting);
    assert_int_equal(asyncore_connect(&c->dispatcher, &at), -1);

    run_until(w->map, c->ran.connect > 0 && s->listener.ran.accepted > 0);
    check_flags(&s->listener, false, true);
    check_flags(c, true, false);
    check_flags(&s->channel, true, false);
    assert_false(c->dispatcher.connecting);
    assert_ptr_equal(c->dispatcher.map, w->map);
    assert_ptr_equal(asyncore_map_get(w->map, c->dispatcher.fd),
                     &c->dispatcher);
    assert_int_equal(asyncore_getpeername(&c->dispatcher, &other), 0);
    assert_string_equal(asyncore_address_format(&at, here, sizeof here),
                        asyncore_address_format(&other, there, sizeof there));
    assert_int_equal(asyncore_connect(&c->dispatcher, &at), -1);
    assert_int_equal(errno, EISCONN);
    check_flags(c, true, false);

    asyncore_close(&c->dispatcher);
    check_flags(&s->listener, false, true);
    check_flags(c, false, false);
    assert_false(c->dispatcher.connecting);
    assert_false(c->dispatcher.closing);
    assert_int_equal(c->dispatcher.fd, -1);

    asyncore_close(&s->listener.dispatcher);
    check_flags(&s->listener, false, false);
    run_until(w->map, s->channel.ran.close > 0);
    check_flags(&s->channel, false, false);
    assert_int_equal(c->ran.close + s->listener.ran.close, 0);
}

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;

    assert_int_equal(getsockopt(fd, SOL_SOCKET, option, &value, &size), 0);
    return value;
}

static void create_socket(void **state)
{
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    asyncore_dispatcher *d = &r->dispatcher;
    int fd;

    assert_int_equal(asyncore_dispatcher_init(d, &quiet, -1, w->map), 0);
    assert_int_equal(asyncore_create_socket(d, w->family, SOCK_STREAM), 0);
    fd = d->fd;
    assert_int_equal(socket_option(fd, SO_TYPE), SOCK_STREAM);
    assert_int_equal(socket_option(fd, SO_DOMAIN), w->family);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(asyncore_map_count(w->map), 1);

    /* Python would leak the first. */
    assert_int_equal(asyncore_create_socket(d, w->family, SOCK_STREAM), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(d->fd, fd);

    /* Unconnected, it is in the map and never waited for. */
    assert_false(asyncore_readable(d));
    assert_false(asyncore_writable(d));
    run_turns(w->map, 3);
    assert_int_equal(r->ran.read + r->ran.close + r->ran.warning, 0);
    asyncore_close(d);
    assert_int_equal(asyncore_map_count(w->map), 0);
    assert_int_equal(asyncore_create_socket(d, w->family, 12345), -1);
    assert_int_equal(d->fd, -1);
    assert_int_equal(asyncore_map_count(w->map), 0);
    run_turns(w->map, 1);
}

static void bind_(void **state)
{
    world *w = world_of(state);
    recorder *first = new_recorder(w);
    recorder *second = new_recorder(w);
    asyncore_address at = fresh_address(w);

    asyncore_dispatcher_init(&first->dispatcher, &quiet, -1, w->map);
    assert_int_equal(
        asyncore_create_socket(&first->dispatcher, w->family, SOCK_STREAM), 0);
    assert_int_equal(asyncore_bind(&first->dispatcher, &at), 0);
    assert_int_equal(asyncore_listen(&first->dispatcher, 5), 0);
    assert_int_equal(asyncore_getsockname(&first->dispatcher, &at), 0);
    if (w->family != AF_UNIX)
        assert_int_not_equal(at.in.sin_port, 0);

    asyncore_dispatcher_init(&second->dispatcher, &quiet, -1, w->map);
    assert_int_equal(
        asyncore_create_socket(&second->dispatcher, w->family, SOCK_STREAM), 0);
    errno = 0;
    assert_int_equal(asyncore_bind(&second->dispatcher, &at), -1);
    assert_int_equal(errno, EADDRINUSE);
    assert_true(second->dispatcher.fd >= 0);
    assert_int_equal(second->ran.error + second->ran.close, 0);
}

static void set_reuse_addr(void **state)
{
    world *w = world_of(state);
    recorder *r = new_recorder(w);
    asyncore_dispatcher *d = &r->dispatcher;
    int fd;

    if (w->family == AF_UNIX)
        skip();
    fd = peer_socket(w->family, SOCK_STREAM);
    assert_int_equal(asyncore_dispatcher_init(d, &quiet, fd, w->map), 0);
    assert_int_equal(socket_option(d->fd, SO_REUSEADDR), 0);
    asyncore_close(d);
    assert_int_equal(asyncore_create_socket(d, w->family, SOCK_STREAM), 0);
    asyncore_set_reuse_addr(d);
    assert_int_not_equal(socket_option(d->fd, SO_REUSEADDR), 0);
    /* Python's ignores errors, and so must this. */
    asyncore_close(d);
    asyncore_set_reuse_addr(d);
    run_turns(w->map, 1);
}

/* A peer that is gone with an RST before it is accepted harms nobody. */
static void quick_connect(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    server *s = new_server(w, &quiet, NULL, &at);
    recorder *c = new_recorder(w);

    if (w->family == AF_UNIX)
        skip();
    peer_reset(peer_connect(&at));
    run_until(w->map, s->channel.ran.close > 0 || s->listener.ran.accepted > 0);
    connect_to(&c->dispatcher, &quiet, &at);
    run_until(w->map, c->ran.connect > 0 && s->listener.ran.accepted > 1);
    run_until(w->map, s->channel.ran.close > 0);
    assert_int_equal(s->channel.ran.close, 1);
    check_server(s);
}

#define ONCE(name, test) \
    { \
        name, test, begin_ipv4, end_world, NULL \
    }
#define ON_ALL(test) IN_IPV4(test), IN_IPV6(test), IN_UNIX(test)
#define ON_ALL_AS(name, test) \
    { name " (IPv4)", test, begin_ipv4, end_world, NULL }, \
        { name " (IPv6)", test, begin_ipv6, end_world, NULL }, \
    { \
        name " (unix)", test, begin_unix, end_world, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONCE("readwriteexc", readwriteexc),
        ONCE("readwrite", readwrite),
        ONCE("closeall", closeall),
        ONCE("closeall_default", closeall_default),
        ONCE("compact_traceback", compact_traceback),
        ONCE("basic", basic),
        ON_ALL(repr),
        ONCE("log", log_line),
        ONCE("log without a reader", log_without_reader),
        ONCE("log_info", log_info),
        ONCE("unhandled", unhandled),
        ONCE("strerror", strerror_),
        ON_ALL_AS("send", send_),
        ONCE("recv (file)", file_recv),
        ONCE("send (file)", file_send),
        ONCE("dispatcher (file)", file_dispatcher),
        ONCE("resource_warning", resource_warning),
        ONCE("close_twice", close_twice),
        ON_ALL(handle_connect),
        ON_ALL(connect_refused),
        ON_ALL(handle_accept),
        ON_ALL(handle_accepted),
        ON_ALL(handle_read),
        ON_ALL(handle_write),
        ON_ALL(handle_close),
        ON_ALL(handle_close_once),
        ON_ALL(handle_close_after_conn_broken),
        ON_ALL(handle_expt),
        ON_ALL(handle_error),
        ON_ALL(connection_attributes),
        ON_ALL(create_socket),
        ON_ALL_AS("bind", bind_),
        ON_ALL(set_reuse_addr),
        ON_ALL(quick_connect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
