/*
 * test_guard.c - the spin guard: who is caught, who is not, and that nobody
 * misses anything while he is.
 *
 * The clock stands still but for waits, so that a wait in which nothing is
 * ready takes as long as it was asked to: how long a dispatcher is left alone
 * is how far the clock has gone on.
 */
#include "support/clock.h"
#include "support/world.h"

#include <asyncore.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* So many events without effect are a spin. */
enum { SPIN = 1000 };

typedef struct member {
    union {
        asyncore_dispatcher dispatcher;
        asyncore_dispatcher_with_send with_send;
        asyncore_file_dispatcher file;
    };
    int peer;
    int reads, writes, accepts, closes, lines;
    char line[400];
} member;

static asyncore_map *map;
static member m;
static asyncore_dispatcher *const d = &m.dispatcher;
static bool out_of_memory;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    errno = ENOMEM;
    return out_of_memory ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    errno = ENOMEM;
    return out_of_memory ? NULL : __real_realloc(old, size);
}

static member *self(asyncore_dispatcher *dispatcher)
{
    return (member *)dispatcher;
}

/* ---- Classes ------------------------------------------------------------ */

static void only_count_read(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->reads++;
}

static void only_count_write(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->writes++;
}

static void only_count_accept(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->accepts++;
}

static void note_close(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->closes++;
}

static void note_line(asyncore_dispatcher *dispatcher, const char *message,
                      const char *type)
{
    member *which = self(dispatcher);

    which->lines++;
    snprintf(which->line, sizeof which->line, "%s: %s", type, message);
}

static bool always(asyncore_dispatcher *dispatcher)
{
    (void)dispatcher;
    return true;
}

static void echo(asyncore_dispatcher *dispatcher)
{
    char data[4096];
    ssize_t n = asyncore_recv(dispatcher, data, sizeof data);

    self(dispatcher)->reads++;
    if (n > 0)
        asyncore_send(dispatcher, data, (size_t)n);
}

static const asyncore_handlers idle = {
    .name = "idle",
    .handle_read = only_count_read,
    .handle_write = only_count_write,
    .handle_accept = only_count_accept,
    .handle_close = note_close,
    .log_info = note_line,
};

static const asyncore_handlers echoing = {
    .name = "echo",
    .handle_read = echo,
    .handle_close = note_close,
    .log_info = note_line,
};

/* Python's habit. */
static const asyncore_handlers eager = {
    .name = "eager",
    .writable = always,
    .handle_read = echo,
    .handle_write = only_count_write,
    .handle_close = note_close,
    .log_info = note_line,
};

/* A test's own, to begin with an idle one. */
static asyncore_handlers h;

/* ---- Where it happens --------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    memset(&m, 0, sizeof m);
    m.peer = -1;
    h = idle;
    map = asyncore_map_new(NULL);
    clock_freeze();
    return map == NULL || asyncore_set_spin_guard(map, true) < 0;
}

static int tear_down(void **state)
{
    (void)state;
    out_of_memory = false;
    asyncore_map_free(map);
    if (m.peer != -1)
        close(m.peer);
    clock_release();
    return 0;
}

static void join_as(member *which, const asyncore_handlers *handlers, int type)
{
    int pair[2];

    assert_int_equal(
        socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    which->peer = pair[0];
    assert_int_equal(asyncore_dispatcher_with_send_init(&which->with_send,
                                                        handlers, pair[1], map),
                     0);
}

static void join(const asyncore_handlers *handlers)
{
    join_as(&m, handlers, SOCK_STREAM);
}

static void tell(const void *data, size_t size)
{
    assert_int_equal(send(m.peer, data, size, 0), size);
}

static void turns(int count)
{
    while (count-- > 0)
        assert_true(asyncore_poll(map, -1) >= 0);
}

/* The milliseconds of one turn. */
static int64_t turn_takes(void)
{
    int64_t before = clock_now();

    turns(1);
    return (clock_now() - before) / CLOCK_MS;
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Turns until so many milliseconds have passed; how many that took. */
static int turns_for(int64_t ms)
{
    asyncore_timer end = { 0 };
    int count = 0;

    asyncore_call_later(&end, map, ms, nothing, NULL);
    while (end.map != NULL) {
        assert_true(asyncore_poll(map, -1) >= 0);
        count++;
    }
    return count;
}

static bool says(const member *which, const char *what)
{
    return which->lines == 1 && strncmp(which->line, "spin: <", 7) == 0 &&
           strstr(which->line, what) != NULL;
}

/* counter has gone up to SPIN, and goes on by one after 10, 20, 40... ms. */
static void assert_backs_off(const int *counter)
{
    static const int64_t pauses[] = { 10,  20,  40,   80,   160,
                                      320, 640, 1000, 1000, 1000 };

    assert_int_equal(*counter, SPIN);
    for (int i = 0; i < 10; i++) {
        int64_t before = clock_now();

        /* One waits, one tries. */
        turns(2);
        assert_int_equal(*counter, SPIN + 1 + i);
        assert_int_equal((clock_now() - before) / CLOCK_MS, pauses[i]);
    }
}

/* ---- Who is caught ------------------------------------------------------ */

static void always_writable(void **state)
{
    (void)state;
    join(&eager);
    turns(SPIN - 1);
    assert_int_equal(m.lines, 0);
    turns(1);
    assert_true(says(&m, "<eager connected"));
    assert_true(says(&m, "is ready to write, and nothing is written"));
    assert_backs_off(&m.writes);
    assert_int_equal(m.lines, 1);
    /* A minute. */
    assert_in_range(turns_for(60000), 60, 200);
}

static void writable_by_flag(void **state)
{
    (void)state;
    join(&idle);
    asyncore_set_writable(d, true);
    turns(SPIN);
    assert_true(says(&m, "is ready to write, and nothing is written"));
    assert_backs_off(&m.writes);
}

static void never_reads(void **state)
{
    (void)state;
    join(&idle);
    tell("x", 1);
    turns(SPIN);
    assert_true(says(&m, "is ready to read, and nothing is read"));
    assert_backs_off(&m.reads);
}

static void neither(void **state)
{
    (void)state;
    join(&idle);
    tell("x", 1);
    asyncore_set_writable(d, true);
    turns(SPIN);
    assert_true(says(&m, "is ready to read and to write"));
    assert_int_equal(m.writes, SPIN);
    assert_backs_off(&m.reads);
    assert_int_equal(m.writes, m.reads);
}

static void never_accepts(void **state)
{
    asyncore_address at;
    int fd;

    (void)state;
    assert_int_equal(asyncore_dispatcher_init(d, &idle, -1, map), 0);
    assert_int_equal(asyncore_listen_on(d, "127.0.0.1:0", 16), 0);
    asyncore_getsockname(d, &at);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, &at.any, at.size), 0);
    turns(SPIN);
    assert_true(says(&m, "<idle listening 127.0.0.1"));
    assert_true(says(&m, "has connections waiting, and none is accepted"));
    assert_backs_off(&m.accepts);
    close(fd);
}

static void an_end_unread(void **state)
{
    (void)state;
    join(&idle);
    close(m.peer);
    m.peer = -1;
    turns(SPIN);
    assert_true(says(&m, "is ready to read, and nothing is read"));
    assert_backs_off(&m.reads);
    assert_int_equal(m.closes, 0);
}

static void a_file_unread(void **state)
{
    char name[] = "/tmp/asyncore.XXXXXX";
    int fd = mkstemp(name);

    (void)state;
    unlink(name);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(asyncore_file_dispatcher_init(&m.file, &idle, fd, map), 0);
    turns(SPIN);
    assert_true(says(&m, "is ready to read, and nothing is read"));
    assert_backs_off(&m.reads);
    close(fd);
}

/* A transport that cannot send now, whatever the kernel says. */
static ssize_t send_nothing(asyncore_dispatcher *dispatcher, const void *data,
                            size_t size)
{
    (void)data;
    (void)size;
    self(dispatcher)->writes++;
    errno = EAGAIN;
    return -1;
}

static void a_transport_that_waits(void **state)
{
    static const asyncore_handlers blocked = {
        .handle_read = echo,
        .send = send_nothing,
        .log_info = note_line,
    };

    (void)state;
    join(&blocked);
    assert_int_equal(asyncore_send(d, "x", 1), 1);
    turns(SPIN);
    assert_true(says(&m, "is ready to write, and nothing is written"));
}

/* Among them everybody has his turn only now and then. */
static void more_than_a_turn_serves(void **state)
{
    enum { COUNT = 300 };
    struct rlimit limit;
    member *many = calloc(COUNT, sizeof *many);
    int caught = 0;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2 * COUNT + 50)
        skip();
    for (int i = 0; i < COUNT; i++)
        join_as(&many[i], &eager, SOCK_STREAM);
    turns(2 * SPIN);
    for (int i = 0; i < COUNT; i++) {
        caught += says(&many[i], "is ready to write");
        close(many[i].peer);
        asyncore_close(&many[i].dispatcher);
    }
    assert_int_equal(caught, COUNT);
    free(many);
}

/* ---- What goes on meanwhile --------------------------------------------- */

static void reading_goes_on(void **state)
{
    char back[16];

    (void)state;
    join(&eager);
    turns(SPIN);
    tell("hello", 5);
    assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.reads, 1);
    assert_int_equal(recv(m.peer, back, sizeof back, 0), 5);
    /* Something has changed: from the beginning. */
    m.writes = 0;
    turns(SPIN);
    assert_backs_off(&m.writes);
    assert_int_equal(m.lines, 1);
}

/* And what was not watched is watched at once. */
static void writing_goes_on_after_it(void **state)
{
    (void)state;
    h.handle_read = echo;
    join(&h);
    asyncore_set_writable(d, true);
    turns(SPIN);
    tell("hello", 5);
    assert_int_equal(turn_takes(), 0);
    assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.reads, 1);
    assert_int_equal(m.writes, SPIN + 1);
}

/* A change between two events, and the next spin is a first one. */
static void from_the_beginning(void **state)
{
    char data[16];

    (void)state;
    join(&idle);
    tell("x", 1);
    turns(SPIN + 12);
    assert_int_equal(recv(d->fd, data, sizeof data, 0), 1);
    assert_int_equal(asyncore_poll(map, 5000), 0);
    assert_int_equal(asyncore_poll(map, 5000), 0);
    tell("x", 1);
    m.reads = 0;
    turns(SPIN);
    assert_backs_off(&m.reads);
}

/* Interested in what never comes, it would be told of its end for ever. */
static void one_with_an_eye_on_expt(void **state)
{
    (void)state;
    h.handle_expt = only_count_accept;
    join(&h);
    close(m.peer);
    m.peer = -1;
    turns(SPIN);
    assert_backs_off(&m.reads);
    assert_int_equal(m.accepts, 0);
}

static void others_go_on(void **state)
{
    static member other;

    (void)state;
    join(&idle);
    join_as(&other, &echoing, SOCK_STREAM);
    tell("x", 1);
    turns(SPIN);
    assert_int_equal(m.lines, 1);
    for (int i = 1; i <= 100; i++) {
        assert_int_equal(send(other.peer, "x", 1, 0), 1);
        assert_int_equal(turn_takes(), 0);
        assert_int_equal(other.reads, i);
    }
    assert_int_equal(m.reads, SPIN);
    assert_int_equal(other.lines, 0);
    asyncore_close(&other.dispatcher);
    close(other.peer);
}

/* One that spins beside a busy one is still one that spins. */
static void beside_a_busy_one(void **state)
{
    static member other;

    (void)state;
    join(&idle);
    memset(&other, 0, sizeof other);
    join_as(&other, &echoing, SOCK_STREAM);
    tell("x", 1);
    for (int i = 0; i < SPIN; i++) {
        char data[2];
        assert_int_equal(send(other.peer, "x", 1, 0), 1);
        turns(1);
        assert_int_equal(recv(other.peer, data, 2, 0), 1);
    }
    assert_int_equal(m.lines, 1);
    assert_int_equal(other.lines, 0);
    asyncore_close(&other.dispatcher);
    close(other.peer);
}

static void a_reader_that_wakes_up(void **state)
{
    (void)state;
    join(&idle);
    tell("hello", 5);
    turns(SPIN + 8);
    /* Another class: at once. */
    assert_int_equal(asyncore_set_handlers(d, &echoing), 0);
    assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.reads, SPIN + 4 + 1);
    assert_int_equal(m.lines, 1);
}

/* What was asked for otherwise is watched at once; what was not, not. */
static void another_wish(void **state)
{
    (void)state;
    join(&idle);
    asyncore_set_writable(d, true);
    turns(SPIN);
    asyncore_set_writable(d, false);
    assert_int_equal(asyncore_poll(map, 5), 0);
    asyncore_set_writable(d, true);
    assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.writes, SPIN + 1);
    turns(SPIN - 1);
    assert_int_equal(m.writes, 2 * SPIN);
    /* It was said. */
    assert_int_equal(m.lines, 1);
    assert_in_range(turns_for(9), 1, 3);
    assert_int_equal(m.writes, 2 * SPIN);
    assert_in_range(turns_for(2), 1, 3);
    assert_int_equal(m.writes, 2 * SPIN + 1);
}

static void the_end_is_found(void **state)
{
    (void)state;
    join(&eager);
    turns(SPIN);
    close(m.peer);
    m.peer = -1;
    /* For it still reads. */
    assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.closes, 1);

    m.lines = m.closes = 0;
    join(&idle);
    asyncore_set_readable(d, false);
    asyncore_set_writable(d, true);
    turns(SPIN);
    close(m.peer);
    m.peer = -1;
    turns(2);
    /* Asked for writing, it is told of room to write. */
    assert_int_equal(m.closes, 0);
    assert_int_equal(asyncore_send(d, "x", 1), -1);
    assert_int_equal(m.closes, 1);
}

static void what_came_before_the_end(void **state)
{
    (void)state;
    join(&idle);
    tell("hello", 5);
    turns(SPIN);
    close(m.peer);
    m.peer = -1;
    turns(10);
    assert_int_equal(m.closes, 0);
    asyncore_set_handlers(d, &echoing);
    m.reads = 0;
    turns(1);
    assert_int_equal(m.reads, 1);
    turns(1);
    assert_int_equal(m.closes, 1);
}

/* ---- Closing and the like ----------------------------------------------- */

static void closed_meanwhile(void **state)
{
    int64_t before;

    (void)state;
    join(&eager);
    turns(SPIN + 10);
    before = clock_now();
    asyncore_close(d);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_int_equal(clock_now(), before);
}

static void closing_it(void *arg)
{
    asyncore_close(arg);
}

static void closed_by_a_timer(void **state)
{
    asyncore_timer timer = { 0 };
    int64_t before;

    (void)state;
    join(&eager);
    turns(SPIN + 20);
    before = clock_now();
    asyncore_call_later(&timer, map, 3, closing_it, d);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_int_equal(clock_now() - before, 3 * CLOCK_MS);
}

static void reopened(void **state)
{
    int number, pair[2];

    (void)state;
    join(&eager);
    turns(SPIN);
    number = d->fd;
    m.lines = 0;
    asyncore_set_handlers(d, &echoing);
    asyncore_set_writable(d, true);
    asyncore_close(d);
    close(m.peer);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    m.peer = pair[0] == number ? pair[1] : pair[0];
    assert_int_equal(
        asyncore_set_socket(d, pair[0] == number ? pair[0] : pair[1]), 0);
    assert_int_equal(d->fd, number);
    m.reads = 0;
    tell("x", 1);
    assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.reads, 1);
    asyncore_set_handlers(d, &eager);
    turns(SPIN);
    /* Another socket has its own line. */
    assert_true(says(&m, "is ready to write"));
}

static void in_and_out_of_the_map(void **state)
{
    (void)state;
    join(&eager);
    turns(SPIN);
    asyncore_del_channel(d);
    assert_int_equal(asyncore_poll(map, -1), 0);
    assert_int_equal(asyncore_add_channel(d, map), 0);
    assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.writes, SPIN + 1);
}

static void turned_off(void **state)
{
    (void)state;
    join(&idle);
    asyncore_set_writable(d, true);
    turns(SPIN + 10);
    m.writes = 0;
    assert_int_equal(asyncore_set_spin_guard(map, false), 0);
    assert_int_equal(asyncore_set_spin_guard(map, false), 0);
    for (int i = 0; i < 2 * SPIN; i++)
        assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.writes, 2 * SPIN);
    assert_int_equal(asyncore_set_spin_guard(map, true), 0);
    assert_int_equal(asyncore_set_spin_guard(map, true), 0);
    turns(SPIN);
    assert_int_equal(turn_takes(), 10);
}

/* What its handlers, the report among them, do to everything. */
static void turn_it_off(asyncore_dispatcher *dispatcher, const char *message,
                        const char *type)
{
    note_line(dispatcher, message, type);
    asyncore_set_spin_guard(map, false);
}

static void close_it(asyncore_dispatcher *dispatcher, const char *message,
                     const char *type)
{
    note_line(dispatcher, message, type);
    asyncore_close(dispatcher);
    asyncore_stop(map);
}

static void off_and_on(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->writes++;
    asyncore_set_spin_guard(map, false);
    asyncore_set_spin_guard(map, true);
}

static void meddling(void **state)
{

    (void)state;
    h.log_info = turn_it_off;
    join(&h);
    asyncore_set_writable(d, true);
    turns(SPIN + 5);
    assert_int_equal(m.writes, SPIN + 5);
    h.log_info = close_it;
    asyncore_set_spin_guard(map, true);
    turns(SPIN - 1);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_int_equal(d->fd, -1);
    assert_int_equal(m.lines, 2);
    close(m.peer);
    h.handle_write = off_and_on;
    join(&h);
    asyncore_set_writable(d, true);
    turns(2 * SPIN);
    assert_int_equal(m.lines, 2);
    asyncore_close(d);
}

/* ---- Nesting and stopping ----------------------------------------------- */

static bool nesting;

static void poll_within(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->reads++;
    if (nesting)
        return;
    nesting = true;
    (void)asyncore_poll(map, 0);
    nesting = false;
}

static void nested(void **state)
{
    static member other;

    (void)state;
    h.handle_read = poll_within;
    join(&h);
    memset(&other, 0, sizeof other);
    join_as(&other, &idle, SOCK_STREAM);
    assert_int_equal(send(other.peer, "x", 1, 0), 1);
    tell("x", 1);
    turns(3 * SPIN);
    assert_int_equal(m.lines, 1);
    assert_int_equal(other.lines, 1);
    assert_in_range(turns_for(10000), 10, 60);
    asyncore_close(&other.dispatcher);
    close(other.peer);
}

static void stop_it(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->writes++;
    asyncore_stop(map);
}

static void stopped(void **state)
{

    (void)state;
    h.handle_write = stop_it;
    join(&h);
    asyncore_set_writable(d, true);
    for (int i = 0; i < SPIN; i++)
        assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_true(says(&m, "is ready to write"));
    assert_int_equal(turn_takes(), 10);
}

/* What a stop has left unserved was ready none the less. */
static void stop_every_other_time(asyncore_dispatcher *dispatcher)
{
    bool odd = ++self(dispatcher)->writes % 2;

    /* A change, so that it is not caught itself. */
    asyncore_set_readable(dispatcher, odd);
    if (!odd)
        asyncore_stop(map);
}

static void left_over_by_a_stop(void **state)
{
    static member others[2];

    (void)state;
    memset(others, 0, sizeof others);
    h.handle_write = stop_every_other_time;
    /* One of them is served before it. */
    join_as(&others[0], &h, SOCK_STREAM);
    join(&idle);
    join_as(&others[1], &h, SOCK_STREAM);
    asyncore_set_writable(d, true);
    for (int i = 0; i < 2; i++)
        asyncore_set_writable(&others[i].dispatcher, true);
    turns(4 * SPIN);
    assert_int_equal(m.lines, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(others[i].lines, 0);
        asyncore_close(&others[i].dispatcher);
        close(others[i].peer);
    }
}

/* ---- Who is not caught -------------------------------------------------- */

static void a_busy_echo(void **state)
{
    char data[64] = "";

    (void)state;
    join(&echoing);
    for (int i = 0; i < 3 * SPIN; i++) {
        tell(data, sizeof data);
        turns(1);
        assert_int_equal(recv(m.peer, data, sizeof data, 0), sizeof data);
    }
    assert_int_equal(m.reads, 3 * SPIN);
    assert_int_equal(m.lines, 0);
}

static void read_one(asyncore_dispatcher *dispatcher)
{
    char byte;

    self(dispatcher)->reads++;
    (void)asyncore_recv(dispatcher, &byte, 1);
}

static void a_byte_a_turn(void **state)
{
    char data[3 * SPIN] = "";

    (void)state;
    h.handle_read = read_one;
    join(&h);
    tell(data, sizeof data);
    turns(sizeof data);
    assert_int_equal(m.reads, sizeof data);
    assert_int_equal(m.lines, 0);
    assert_int_equal(asyncore_poll(map, 1), 0);
}

/* On d->fd by itself, as TLS libraries do. */
static void read_one_itself(asyncore_dispatcher *dispatcher)
{
    char byte;

    self(dispatcher)->reads++;
    (void)recv(dispatcher->fd, &byte, 1, 0);
}

/* Having spun before, too. */
static void read_one_in_time(asyncore_dispatcher *dispatcher)
{
    if (self(dispatcher)->reads < SPIN + 2)
        self(dispatcher)->reads++;
    else
        read_one_itself(dispatcher);
}

static void own_reading_at_last(void **state)
{
    (void)state;
    h.handle_read = read_one_in_time;
    join(&h);
    tell("hello", 5);
    turns(SPIN + 4);
    assert_int_equal(m.reads, SPIN + 2);
    assert_int_equal(turn_takes(), 40);
    for (int i = 0; i < 5; i++)
        assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.reads, SPIN + 2 + 5);
}

static void own_reading(void **state)
{
    char data[5 * SPIN] = "";

    (void)state;
    h.handle_read = read_one_itself;
    join(&h);
    tell(data, sizeof data);
    for (size_t i = 0; i < sizeof data; i++)
        assert_int_equal(turn_takes(), 0);
    assert_int_equal(m.reads, sizeof data);
    assert_int_equal(m.lines, 0);
}

/* Of the same size, so that their size tells nothing. */
static void own_datagrams(void **state)
{
    asyncore_address at;

    (void)state;
#ifndef SO_MEMINFO
    skip();
#endif
    h.handle_read = read_one_itself;
    assert_int_equal(asyncore_dispatcher_init(d, &h, -1, map), 0);
    assert_int_equal(asyncore_create_socket(d, AF_INET, SOCK_DGRAM), 0);
    asyncore_address_parse(&at, "127.0.0.1:0");
    assert_int_equal(asyncore_bind(d, &at), 0);
    asyncore_getsockname(d, &at);
    m.peer = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(m.peer, &at.any, at.size), 0);
    for (int i = 0; i < 20; i++)
        tell("x", 1);
    for (int i = 0; i < 3 * SPIN; i++) {
        tell("x", 1);
        assert_int_equal(turn_takes(), 0);
    }
    assert_int_equal(m.reads, 3 * SPIN);
    assert_int_equal(m.lines, 0);
}

static asyncore_address listen_with(void (*accept_one)(asyncore_dispatcher *))
{
    asyncore_address at;

    h.handle_accept = accept_one;
    assert_int_equal(asyncore_dispatcher_init(d, &h, -1, map), 0);
    assert_int_equal(asyncore_listen_on(d, "127.0.0.1:0", 16), 0);
    assert_int_equal(asyncore_getsockname(d, &at), 0);
    return at;
}

/* One that comes and goes, without TIME_WAIT. */
static void visit(const asyncore_address *at)
{
    struct linger now = { 1, 0 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, &at->any, at->size), 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void accept_itself(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->accepts++;
    close(accept(dispatcher->fd, NULL, NULL));
}

static void own_accepting(void **state)
{
    asyncore_address at;

    (void)state;
    at = listen_with(accept_itself);
    for (int i = 0; i < 2 * SPIN; i++) {
        visit(&at);
        turns(1);
    }
    assert_int_equal(m.accepts, 2 * SPIN);
    assert_int_equal(m.lines, 0);
}

static void accept_into_the_map(asyncore_dispatcher *dispatcher)
{
    asyncore_dispatcher client;

    self(dispatcher)->accepts++;
    if (asyncore_dispatcher_init(&client, &idle,
                                 accept(dispatcher->fd, NULL, NULL), map) == 0)
        asyncore_close(&client);
}

/* With more of them waiting. */
static void own_accepting_of_many(void **state)
{
    asyncore_address at;

    (void)state;
    at = listen_with(accept_into_the_map);
    visit(&at);
    for (int i = 0; i < 2 * SPIN; i++) {
        visit(&at);
        turns(1);
    }
    assert_int_equal(m.accepts, 2 * SPIN);
    assert_int_equal(m.lines, 0);
}

static void write_itself(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->writes++;
    (void)send(dispatcher->fd, "x", 1, MSG_NOSIGNAL);
}

static void own_writing(void **state)
{
    char data[4096];

    (void)state;
    h.handle_write = write_itself;
    join(&h);
    asyncore_set_writable(d, true);
    for (int i = 0; i < 3 * SPIN; i++) {
        assert_int_equal(turn_takes(), 0);
        if (i % 50 == 49)
            assert_true(recv(m.peer, data, sizeof data, 0) > 0);
    }
    assert_int_equal(m.writes, 3 * SPIN);
    assert_int_equal(m.lines, 0);
}

static void seek_itself(asyncore_dispatcher *dispatcher)
{
    char byte;

    self(dispatcher)->reads++;
    (void)!read(dispatcher->fd, &byte, 1);
}

static void own_reading_of_a_file(void **state)
{
    char name[] = "/tmp/asyncore.XXXXXX", data[3 * SPIN] = "";
    int fd = mkstemp(name);

    (void)state;
    unlink(name);
    assert_int_equal(write(fd, data, sizeof data), sizeof data);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    h.handle_read = seek_itself;
    assert_int_equal(asyncore_file_dispatcher_init(&m.file, &h, fd, map), 0);
    turns(sizeof data - 1);
    assert_int_equal(m.reads, sizeof data - 1);
    assert_int_equal(m.lines, 0);
    close(fd);
}

static void read_empty(asyncore_dispatcher *dispatcher)
{
    char byte;

    self(dispatcher)->reads++;
    if (self(dispatcher)->reads % 2 == 0)
        (void)asyncore_recv(dispatcher, &byte, 1);
    else
        (void)asyncore_recvfrom(dispatcher, &byte, 1, NULL);
}

static void empty_datagrams(void **state)
{
    asyncore_stats stats;

    (void)state;
    h.handle_read = read_empty;
    join_as(&m, &h, SOCK_DGRAM);
    for (int i = 0; i < 3 * SPIN; i++) {
        while (send(m.peer, "", 0, 0) == 0)
            continue;
        turns(1);
    }
    asyncore_map_stats(map, &stats);
    assert_int_equal(m.reads, 3 * SPIN);
    assert_int_equal(stats.received, 0);
    assert_int_equal(m.lines, 0);
}

/* A thousand times, but there was nothing between. */
static void now_and_then(void **state)
{
    char data[2];

    (void)state;
    join(&idle);
    for (int i = 0; i < 3 * SPIN; i++) {
        tell("x", 1);
        turns(1);
        assert_int_equal(recv(d->fd, data, sizeof data, 0), 1);
        assert_int_equal(asyncore_poll(map, 0), 0);
    }
    assert_int_equal(m.reads, 3 * SPIN);
    assert_int_equal(m.lines, 0);
}

/* Or somebody else is the slow one. */
static void once_a_frame(void **state)
{
    (void)state;
    join(&idle);
    tell("x", 1);
    for (int i = 0; i < 3 * SPIN; i++) {
        assert_int_equal(asyncore_poll(map, 0), 1);
        clock_advance(16 * CLOCK_MS);
    }
    assert_int_equal(m.lines, 0);
    assert_int_equal(m.reads, 3 * SPIN);
}

static int ticks;

static void tick(void *arg)
{
    asyncore_timer *timer = arg;

    if (++ticks < 3 * SPIN)
        asyncore_call_later(timer, map, 0, tick, timer);
}

static void timers(void **state)
{
    asyncore_timer timer = { 0 };

    (void)state;
    ticks = 0;
    join(&echoing);
    asyncore_call_later(&timer, map, 0, tick, &timer);
    while (timer.map != NULL)
        turns(1);
    assert_int_equal(ticks, 3 * SPIN);
    assert_int_equal(m.lines, 0);
}

/* It, or somebody else, changes its mind all the time. */
static void toggle(asyncore_dispatcher *dispatcher)
{
    self(dispatcher)->writes++;
    asyncore_set_readable(dispatcher, self(dispatcher)->writes % 2);
}

static void one_that_changes(void **state)
{
    (void)state;
    h.handle_write = toggle;
    join(&h);
    asyncore_set_writable(d, true);
    turns(3 * SPIN);
    assert_int_equal(m.writes, 3 * SPIN);
    assert_int_equal(m.lines, 0);
}

static void one_that_is_changed(void **state)
{
    (void)state;
    join(&idle);
    asyncore_set_writable(d, true);
    for (int i = 0; i < 3 * SPIN; i++) {
        asyncore_set_readable(d, i % 2);
        turns(1);
    }
    assert_int_equal(m.writes, 3 * SPIN);
    assert_int_equal(m.lines, 0);
}

static asyncore_handlers steps[2];

static void change_class(asyncore_dispatcher *dispatcher)
{
    asyncore_set_handlers(dispatcher, &steps[++self(dispatcher)->writes % 2]);
}

static void a_state_machine(void **state)
{
    (void)state;
    steps[0] = steps[1] = idle;
    steps[0].handle_write = steps[1].handle_write = change_class;
    join(&steps[0]);
    asyncore_set_writable(d, true);
    turns(3 * SPIN);
    assert_int_equal(m.writes, 3 * SPIN);
    assert_int_equal(m.lines, 0);
}

/* ---- Without memory ----------------------------------------------------- */

static void no_memory(void **state)
{
    (void)state;
    assert_int_equal(asyncore_set_spin_guard(map, false), 0);
    join(&eager);
    turns(1);
    out_of_memory = true;
    errno = 0;
    assert_int_equal(asyncore_set_spin_guard(map, true), -1);
    assert_int_equal(errno, ENOMEM);
    turns(2 * SPIN);
    out_of_memory = false;
    assert_int_equal(asyncore_set_spin_guard(map, true), 0);
    /* Not guarded, then; all else is as ever. */
    out_of_memory = true;
    turns(2 * SPIN);
    assert_int_equal(m.writes, 1 + 4 * SPIN);
    assert_int_equal(m.lines, 0);
    out_of_memory = false;
    turns(SPIN);
    assert_int_equal(m.lines, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(always_writable),
        TEST(writable_by_flag),
        TEST(never_reads),
        TEST(neither),
        TEST(never_accepts),
        TEST(an_end_unread),
        TEST(a_file_unread),
        TEST(a_transport_that_waits),
        TEST(more_than_a_turn_serves),
        TEST(reading_goes_on),
        TEST(writing_goes_on_after_it),
        TEST(from_the_beginning),
        TEST(one_with_an_eye_on_expt),
        TEST(others_go_on),
        TEST(beside_a_busy_one),
        TEST(a_reader_that_wakes_up),
        TEST(another_wish),
        TEST(the_end_is_found),
        TEST(what_came_before_the_end),
        TEST(closed_meanwhile),
        TEST(closed_by_a_timer),
        TEST(reopened),
        TEST(in_and_out_of_the_map),
        TEST(turned_off),
        TEST(meddling),
        TEST(nested),
        TEST(stopped),
        TEST(left_over_by_a_stop),
        TEST(a_busy_echo),
        TEST(a_byte_a_turn),
        TEST(own_reading),
        TEST(own_reading_at_last),
        TEST(own_datagrams),
        TEST(own_accepting),
        TEST(own_accepting_of_many),
        TEST(own_writing),
        TEST(own_reading_of_a_file),
        TEST(empty_datagrams),
        TEST(now_and_then),
        TEST(once_a_frame),
        TEST(timers),
        TEST(one_that_changes),
        TEST(one_that_is_changed),
        TEST(a_state_machine),
        TEST(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
