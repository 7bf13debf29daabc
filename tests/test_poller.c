/*
 * test_poller.c - a backend by itself, through poller.h: numbers and masks.
 */
#include "poller.h"

#include "support/world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    WATCH = ASYNCORE__WATCH,
    IN = ASYNCORE__WATCH | POLLIN,
    OUT = ASYNCORE__WATCH | POLLOUT,
    ROOM = 64
};

typedef struct fixture {
    const asyncore__poller_class *class;
    asyncore__poller *poller;
    asyncore__event events[ROOM];
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);

    if (f == NULL)
        return -1;
    f->class = asyncore__poller_find(getenv("ASYNCORE_BACKEND"));
    f->poller = f->class->open();
    *state = f;
    return f->poller != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    fixture *f = *state;

    f->class->close(f->poller);
    free(f);
    return 0;
}

static void watch(fixture *f, int fd, uint32_t serial, unsigned old,
                  unsigned mask)
{
    assert_int_equal(f->class->watch(f->poller, fd, serial, old, mask), 0);
}

static int wait_for(fixture *f, int timeout)
{
    return f->class->wait(f->poller, timeout, f->events, ROOM);
}

/* One wait that finds exactly one event, of fd; what is ready. */
static unsigned only(fixture *f, int fd, uint32_t serial)
{
    assert_int_equal(wait_for(f, DEADLINE_MS), 1);
    assert_int_equal(f->events[0].fd, fd);
    assert_int_equal(f->events[0].serial, serial);
    return f->events[0].ready;
}

/* A backend may need a wait or two to find that there is nothing. */
static void nothing(fixture *f)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(wait_for(f, 0), 0);
}

static void tcp_pair(int ends[2])
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t size = sizeof a;
    int listener = peer_socket(AF_INET, SOCK_STREAM);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &size), 0);
    ends[0] = peer_socket(AF_INET, SOCK_STREAM);
    assert_int_equal(connect(ends[0], (struct sockaddr *)&a, size), 0);
    ends[1] = peer_accept(listener);
    close(listener);
}

static void close_both(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

/* Descriptors up to count more than now can be opened. */
static bool have_descriptors(rlim_t count)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return false;
    if (limit.rlim_cur >= count + 64)
        return true;
    limit.rlim_cur = limit.rlim_max;
    return limit.rlim_max >= count + 64 &&
           setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* ---- What is asked ----------------------------------------------------- */

static void names(void **state)
{
    (void)state;
    for (int i = 0; asyncore__poller_names[i] != NULL; i++)
        assert_string_equal(
            asyncore__poller_find(asyncore__poller_names[i])->name,
            asyncore__poller_names[i]);
    assert_string_equal(asyncore__poller_find(NULL)->name,
                        asyncore__poller_names[0]);
    assert_null(asyncore__poller_find(""));
    assert_null(asyncore__poller_find("epol"));
    assert_int_equal(asyncore__poller_find("select")->fd_limit, FD_SETSIZE);
    assert_int_equal(asyncore__poller_find("poll")->fd_limit, 0);
}

static void masks(void **state)
{
    fixture *f = *state;
    char byte;
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 7, 0, IN);
    nothing(f);
    watch(f, ends[0], 7, IN, IN | POLLOUT);
    assert_int_equal(only(f, ends[0], 7), POLLOUT);
    peer_write(ends[1], "x", 1);
    assert_int_equal(only(f, ends[0], 7), POLLIN | POLLOUT);
    watch(f, ends[0], 7, IN | POLLOUT, OUT);
    assert_int_equal(only(f, ends[0], 7), POLLOUT);
    watch(f, ends[0], 7, OUT, IN);
    assert_int_equal(only(f, ends[0], 7), POLLIN);
    assert_int_equal(only(f, ends[0], 7), POLLIN);
    watch(f, ends[0], 7, IN, WATCH);
    nothing(f);
    watch(f, ends[0], 7, WATCH, IN);
    assert_int_equal(only(f, ends[0], 7), POLLIN);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    nothing(f);
    watch(f, ends[0], 7, IN, 0);
    close_both(ends);
}

static void removal(void **state)
{
    fixture *f = *state;
    int a[2], b[2];

    peer_pair(SOCK_STREAM, a);
    peer_pair(SOCK_STREAM, b);
    watch(f, a[0], 1, 0, OUT);
    watch(f, b[0], 2, 0, OUT);
    assert_int_equal(wait_for(f, 0), 2);
    watch(f, a[0], 1, OUT, 0);
    assert_int_equal(only(f, b[0], 2), POLLOUT);
    watch(f, b[0], 2, OUT, 0);
    nothing(f);
    watch(f, a[0], 3, 0, OUT);
    assert_int_equal(only(f, a[0], 3), POLLOUT);
    watch(f, a[0], 3, OUT, 0);
    nothing(f);
    close_both(a);
    close_both(b);
}

static void out_of_band(void **state)
{
    fixture *f = *state;
    int ends[2];

    tcp_pair(ends);
    watch(f, ends[0], 1, 0, WATCH | POLLPRI);
    nothing(f);
    assert_int_equal(send(ends[1], "!", 1, MSG_OOB), 1);
    assert_int_equal(only(f, ends[0], 1), POLLPRI);
    watch(f, ends[0], 1, WATCH | POLLPRI, IN);
    nothing(f);
    watch(f, ends[0], 1, IN, 0);
    close_both(ends);
}

static void serials_of_full_width(void **state)
{
    fixture *f = *state;
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 0xfffffffeu, 0, OUT);
    assert_int_equal(only(f, ends[0], 0xfffffffeu), POLLOUT);
    watch(f, ends[0], 0xfffffffeu, OUT, 0);
    close_both(ends);
}

/* ---- What is told unasked ---------------------------------------------- */

static void hangup_unasked(void **state)
{
    fixture *f = *state;
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 1, 0, WATCH);
    nothing(f);
    close(ends[1]);
    assert_true(only(f, ends[0], 1) & POLLHUP);
    assert_true(only(f, ends[0], 1) & POLLHUP);
    watch(f, ends[0], 1, WATCH, 0);
    nothing(f);
    close(ends[0]);
}

static void reset_unasked(void **state)
{
    fixture *f = *state;
    int ends[2];

    tcp_pair(ends);
    watch(f, ends[0], 1, 0, WATCH);
    nothing(f);
    peer_reset(ends[1]);
    assert_int_equal(only(f, ends[0], 1) & (POLLERR | POLLHUP),
                     POLLERR | POLLHUP);
    watch(f, ends[0], 1, WATCH, 0);
    close(ends[0]);
}

static void reader_of_a_pipe_gone_unasked(void **state)
{
    fixture *f = *state;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    watch(f, ends[1], 1, 0, WATCH);
    nothing(f);
    close(ends[0]);
    assert_true(only(f, ends[1], 1) & POLLERR);
    watch(f, ends[1], 1, WATCH, 0);
    close(ends[1]);
}

static void hangup_makes_what_is_asked_ready(void **state)
{
    fixture *f = *state;
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 1, 0, IN);
    close(ends[1]);
    assert_true(only(f, ends[0], 1) & (POLLIN | POLLHUP));
    watch(f, ends[0], 1, IN, OUT);
    assert_true(only(f, ends[0], 1) & (POLLOUT | POLLHUP));
    watch(f, ends[0], 1, OUT, 0);
    close(ends[0]);
}

/* Nothing is asked, and data is there, which hides the end from select. */
static void end_behind_unread_data(void **state)
{
    fixture *f = *state;
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 1, 0, WATCH);
    peer_write(ends[1], "x", 1);
    nothing(f);
    close(ends[1]);
    assert_true(only(f, ends[0], 1) & POLLHUP);
    watch(f, ends[0], 1, WATCH, 0);
    close(ends[0]);
}

/* The other end goes when the wait has begun. */
static int closed_in_select = -1;

int __real_select(int n, fd_set *in, fd_set *out, fd_set *pri,
                  struct timeval *time);
int __wrap_select(int n, fd_set *in, fd_set *out, fd_set *pri,
                  struct timeval *time);
int __wrap_select(int n, fd_set *in, fd_set *out, fd_set *pri,
                  struct timeval *time)
{
    if (closed_in_select != -1)
        close(closed_in_select);
    closed_in_select = -1;
    return __real_select(n, in, out, pri, time);
}

static void end_comes_while_it_waits(void **state)
{
    fixture *f = *state;
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 1, 0, WATCH);
    peer_write(ends[1], "x", 1);
    nothing(f);
    if (strcmp(f->class->name, "select") == 0)
        closed_in_select = ends[1];
    else
        close(ends[1]);
    assert_true(only(f, ends[0], 1) & POLLHUP);
    watch(f, ends[0], 1, WATCH, 0);
    close(ends[0]);
}

static void unread_data_is_read_meanwhile(void **state)
{
    fixture *f = *state;
    int ends[2];
    char byte;

    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 1, 0, WATCH);
    for (int i = 0; i < 3; i++) {
        peer_write(ends[1], "x", 1);
        nothing(f);
        assert_int_equal(read(ends[0], &byte, 1), 1);
        nothing(f);
    }
    peer_write(ends[1], "x", 1);
    nothing(f);
    watch(f, ends[0], 1, WATCH, IN);
    assert_int_equal(only(f, ends[0], 1), POLLIN);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    watch(f, ends[0], 1, IN, WATCH);
    close(ends[1]);
    assert_true(only(f, ends[0], 1) & POLLHUP);
    watch(f, ends[0], 1, WATCH, 0);
    close(ends[0]);
}

/* One whose data hides its end goes, and its number comes back. */
static void hidden_one_is_replaced(void **state)
{
    fixture *f = *state;
    int a[2], b[2];

    peer_pair(SOCK_STREAM, a);
    watch(f, a[0], 1, 0, WATCH);
    peer_write(a[1], "x", 1);
    nothing(f);
    watch(f, a[0], 1, WATCH, 0);
    close(a[1]);
    nothing(f);
    peer_pair(SOCK_STREAM, b);
    assert_int_equal(dup2(b[0], a[0]), a[0]);
    watch(f, a[0], 2, 0, IN);
    nothing(f);
    peer_write(b[1], "x", 1);
    assert_int_equal(only(f, a[0], 2), POLLIN);
    watch(f, a[0], 2, IN, 0);
    close(a[0]);
    close_both(b);
}

static void unread_data_does_not_spin(void **state)
{
    fixture *f = *state;
    int ends[2], waits = 0;
    int64_t until;

    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 1, 0, WATCH);
    peer_write(ends[1], "x", 1);
    for (until = now_ms() + 300; now_ms() < until; waits++)
        assert_int_equal(wait_for(f, (int)(until - now_ms())), 0);
    assert_in_range(waits, 1, 10);
    watch(f, ends[0], 1, WATCH, 0);
    close_both(ends);
}

/* ---- Files ------------------------------------------------------------- */

static int temporary_file(void)
{
    char name[] = "/tmp/asyncore.XXXXXX";
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static void regular_file_is_always_ready(void **state)
{
    fixture *f = *state;
    int fd = temporary_file(), ends[2];

    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 2, 0, IN);
    watch(f, fd, 1, 0, IN);
    for (int i = 0; i < 3; i++)
        assert_int_equal(only(f, fd, 1), POLLIN);
    watch(f, fd, 1, IN, IN | POLLOUT);
    assert_int_equal(only(f, fd, 1), POLLIN | POLLOUT);
    watch(f, fd, 1, IN | POLLOUT, OUT);
    assert_int_equal(only(f, fd, 1), POLLOUT);
    peer_write(ends[1], "x", 1);
    assert_int_equal(wait_for(f, DEADLINE_MS), 2);
    watch(f, fd, 1, OUT, WATCH);
    assert_int_equal(wait_for(f, 0), 1);
    assert_int_equal(only(f, ends[0], 2), POLLIN);
    watch(f, ends[0], 2, IN, 0);
    nothing(f);
    watch(f, fd, 1, WATCH, 0);
    nothing(f);
    watch(f, fd, 3, 0, IN);
    assert_int_equal(only(f, fd, 3), POLLIN);
    watch(f, fd, 3, IN, 0);
    close(fd);
    close_both(ends);
}

static void idle_file_lets_it_wait(void **state)
{
    fixture *f = *state;
    int fd = temporary_file(), other = temporary_file();
    int64_t begin;

    watch(f, fd, 1, 0, WATCH);
    nothing(f);
    begin = now_ms();
    assert_int_equal(wait_for(f, 50), 0);
    assert_true(now_ms() - begin >= 45);
    watch(f, other, 2, 0, IN);
    assert_int_equal(only(f, other, 2), POLLIN);
    watch(f, other, 2, IN, 0);
    watch(f, fd, 1, WATCH, 0);
    close(fd);
    close(other);
}

/* ---- Fairness ---------------------------------------------------------- */

enum { MANY = 300, CAPACITY = 7 };

/* Waits until each of fds has been reported rounds times, CAPACITY at a time;
   fails if one has waited for much longer than its turn. */
static void all_have_their_turn(fixture *f, const int *fds, int count,
                                int rounds, int bound)
{
    int *seen = calloc(FD_SETSIZE, sizeof *seen);
    int waits = 0, least = 0;

    assert_non_null(seen);
    while (least < rounds) {
        int n = f->class->wait(f->poller, DEADLINE_MS, f->events, CAPACITY);

        assert_in_range(n, 1, CAPACITY);
        assert_true(++waits <= rounds * bound);
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < i; j++)
                assert_int_not_equal(f->events[i].fd, f->events[j].fd);
            assert_int_equal(f->events[i].serial, f->events[i].fd + 1000);
            seen[f->events[i].fd]++;
        }
        least = rounds;
        for (int i = 0; i < count; i++)
            if (seen[fds[i]] < least)
                least = seen[fds[i]];
    }
    free(seen);
}

static void none_starves(void **state)
{
    fixture *f = *state;
    int fds[MANY], others[MANY];

    if (!have_descriptors(2 * MANY))
        skip();
    for (int i = 0; i < MANY; i++) {
        int ends[2];

        assert_int_equal(pipe(ends), 0);
        fds[i] = ends[0];
        others[i] = ends[1];
        assert_int_equal(write(ends[1], "x", 1), 1);
        watch(f, fds[i], (uint32_t)fds[i] + 1000, 0, IN);
    }
    all_have_their_turn(f, fds, MANY, 10, MANY / CAPACITY + 2);
    for (int i = 0; i < MANY; i++) {
        watch(f, fds[i], 0, IN, 0);
        close(fds[i]);
        close(others[i]);
    }
}

/* Files, which are ready by definition, take no turn from those that are. */
static void none_starves_beside_files(void **state)
{
    enum { FILES = 20, PIPES = 60 };
    fixture *f = *state;
    int fds[FILES + PIPES], others[PIPES];

    for (int i = 0; i < FILES; i++)
        fds[i] = temporary_file();
    for (int i = 0; i < PIPES; i++) {
        int ends[2];

        assert_int_equal(pipe(ends), 0);
        fds[FILES + i] = ends[0];
        others[i] = ends[1];
        assert_int_equal(write(ends[1], "x", 1), 1);
    }
    for (int i = 0; i < FILES + PIPES; i++)
        watch(f, fds[i], (uint32_t)fds[i] + 1000, 0, IN);
    all_have_their_turn(f, fds, FILES + PIPES, 10, 2 * PIPES / CAPACITY + 5);
    for (int i = 0; i < FILES + PIPES; i++) {
        watch(f, fds[i], 0, IN, 0);
        close(fds[i]);
    }
    for (int i = 0; i < PIPES; i++)
        close(others[i]);
}

/* Nor do those that have ended and are not taken away. */
static void none_starves_behind_an_end(void **state)
{
    fixture *f = *state;
    int ended[2], busy[2];

    peer_pair(SOCK_STREAM, ended);
    peer_pair(SOCK_STREAM, busy);
    watch(f, ended[0], 1, 0, WATCH);
    watch(f, busy[0], 2, 0, IN);
    peer_write(ended[1], "x", 1);
    nothing(f);
    close(ended[1]);
    peer_write(busy[1], "x", 1);
    assert_int_equal(wait_for(f, DEADLINE_MS), 2);
    assert_int_equal(f->events[0].fd + f->events[1].fd, ended[0] + busy[0]);
    watch(f, ended[0], 1, WATCH, 0);
    watch(f, busy[0], 2, IN, 0);
    close(ended[0]);
    close_both(busy);
}

/* ---- Against poll(2) --------------------------------------------------- */

enum { SOCKETS = 40 };

typedef struct model {
    int ends[SOCKETS][2];
    unsigned mask[SOCKETS];
    uint32_t serial[SOCKETS];
    uint32_t last;
} model;

static void change_something(fixture *f, model *m)
{
    static const unsigned choice[] = { 0, WATCH, IN, OUT, IN | POLLOUT };
    int i = rand() % SOCKETS;
    char byte;

    switch (rand() % 6) {
    case 0:
    case 1:
    case 2: {
        unsigned mask = choice[rand() % 5];
        if (mask == m->mask[i])
            return;
        if (m->mask[i] == 0)
            m->serial[i] = ++m->last;
        watch(f, m->ends[i][0], m->serial[i], m->mask[i], mask);
        m->mask[i] = mask;
        return;
    }
    case 3: (void)!send(m->ends[i][1], "x", 1, MSG_NOSIGNAL); return;
    case 4: (void)!recv(m->ends[i][0], &byte, 1, MSG_DONTWAIT); return;
    default:
        if (rand() % 4 == 0)
            shutdown(m->ends[i][1], SHUT_RDWR);
        return;
    }
}

/* Whether the event says what poll(2) does, as far as it was asked. */
static void compare(const fixture *f, const model *m, int n)
{
    for (int i = 0; i < SOCKETS; i++) {
        struct pollfd truth = { .fd = m->ends[i][0] };
        unsigned asked = m->mask[i] & (POLLIN | POLLOUT);
        const asyncore__event *event = NULL;

        if (m->mask[i] == 0)
            truth.fd = -1;
        truth.events = (short)asked;
        poll(&truth, 1, 0);
        for (int j = 0; j < n; j++)
            if (f->events[j].fd == m->ends[i][0])
                event = &f->events[j];
        assert_int_equal(event != NULL, truth.revents != 0);
        if (event == NULL)
            continue;
        assert_int_equal(event->serial, m->serial[i]);
        if ((truth.revents & (POLLHUP | POLLERR)) == 0)
            assert_int_equal(event->ready, truth.revents);
        else if (asked == 0)
            assert_true(event->ready & (POLLHUP | POLLERR));
    }
}

static void as_poll_says(void **state)
{
    fixture *f = *state;
    model m = { .last = 0 };

    srand(20);
    for (int i = 0; i < SOCKETS; i++)
        peer_pair(SOCK_STREAM, m.ends[i]);
    for (int step = 0; step < 5000; step++) {
        change_something(f, &m);
        if (rand() % 3 == 0)
            compare(f, &m, wait_for(f, 0));
        if (rand() % 100 == 0) {
            int i = rand() % SOCKETS;

            if (m.mask[i] != 0)
                watch(f, m.ends[i][0], m.serial[i], m.mask[i], 0);
            m.mask[i] = 0;
            close_both(m.ends[i]);
            peer_pair(SOCK_STREAM, m.ends[i]);
        }
    }
    for (int i = 0; i < SOCKETS; i++) {
        watch(f, m.ends[i][0], m.serial[i], m.mask[i], 0);
        close_both(m.ends[i]);
    }
}

/* ---- Descriptors closed behind its back -------------------------------- */

static void closed_descriptor(void **state)
{
    fixture *f = *state;
    int gone[2], here[2];

    peer_pair(SOCK_STREAM, gone);
    peer_pair(SOCK_STREAM, here);
    watch(f, gone[0], 1, 0, IN);
    watch(f, here[0], 2, 0, IN);
    close_both(gone);
    if (f->class->renew != NULL) {
        errno = 0;
        assert_int_equal(
            f->class->watch(f->poller, gone[0], 1, IN, IN | POLLOUT), -1);
        assert_int_equal(errno, EBADF);
        errno = 0;
        assert_int_equal(f->class->watch(f->poller, gone[0], 1, 0, IN), -1);
        assert_int_equal(errno, EBADF);
    } else {
        assert_int_equal(only(f, gone[0], 1), POLLNVAL);
        assert_int_equal(only(f, gone[0], 1), POLLNVAL);
    }
    watch(f, gone[0], 1, IN, 0);
    nothing(f);
    peer_write(here[1], "x", 1);
    assert_int_equal(only(f, here[0], 2), POLLIN);
    watch(f, here[0], 2, IN, 0);
    close_both(here);
}

static void closed_descriptors_all_told(void **state)
{
    fixture *f = *state;
    int gone[20][2];

    if (f->class->renew != NULL)
        skip();
    for (int i = 0; i < 20; i++) {
        peer_pair(SOCK_STREAM, gone[i]);
        watch(f, gone[i][0], (uint32_t)i, 0, i % 2 == 0 ? IN : WATCH);
    }
    for (int i = 0; i < 20; i++)
        close_both(gone[i]);
    for (int left = 20; left > 0;) {
        int n = f->class->wait(f->poller, DEADLINE_MS, f->events, CAPACITY);

        assert_in_range(n, 1, CAPACITY);
        for (int i = 0; i < n; i++) {
            uint32_t which = f->events[i].serial;

            assert_int_equal(f->events[i].ready, POLLNVAL);
            assert_int_equal(f->events[i].fd, gone[which][0]);
            watch(f, gone[which][0], which, which % 2 == 0 ? IN : WATCH, 0);
            left--;
        }
    }
    nothing(f);
}

/* The registration went with the old owner; the number has a new one. */
static void number_opened_anew(void **state)
{
    fixture *f = *state;
    int a[2], b[2];

    peer_pair(SOCK_STREAM, a);
    peer_pair(SOCK_STREAM, b);
    watch(f, a[0], 1, 0, IN);
    assert_int_equal(dup2(b[0], a[0]), a[0]);
    watch(f, a[0], 2, IN, IN | POLLOUT);
    assert_int_equal(only(f, a[0], 2), POLLOUT);
    peer_write(b[1], "x", 1);
    assert_int_equal(only(f, a[0], 2), POLLIN | POLLOUT);
    watch(f, a[0], 2, IN | POLLOUT, 0);
    close_both(a);
    close_both(b);
}

/* It was removed while the number was closed, which the kernel did not hear of
   for the file lived on; then the file got its number back. */
static void registration_left_over(void **state)
{
    fixture *f = *state;
    int ends[2], copy;

    peer_pair(SOCK_STREAM, ends);
    copy = dup(ends[0]);
    watch(f, ends[0], 1, 0, IN);
    close(ends[0]);
    watch(f, ends[0], 1, IN, 0);
    assert_int_equal(dup2(copy, ends[0]), ends[0]);
    watch(f, ends[0], 2, 0, OUT);
    assert_int_equal(only(f, ends[0], 2), POLLOUT);
    watch(f, ends[0], 2, OUT, 0);
    nothing(f);
    close(copy);
    close_both(ends);
}

static void renewal(void **state)
{
    fixture *f = *state;
    int a[2], b[2], kept[2], file, copy;

    if (f->class->renew == NULL)
        skip();
    peer_pair(SOCK_STREAM, a);
    peer_pair(SOCK_STREAM, b);
    file = temporary_file();
    copy = dup(a[0]);
    watch(f, a[0], 1, 0, IN);
    close(a[0]);
    watch(f, a[0], 1, IN, 0);
    assert_int_equal(dup2(b[0], a[0]), a[0]);
    watch(f, a[0], 2, 0, IN);
    nothing(f);
    /* Nothing can take it away: its old serial gives it away. */
    peer_write(a[1], "x", 1);
    assert_int_equal(only(f, a[0], 1), POLLIN);
    watch(f, file, 3, 0, IN);
    assert_int_equal(wait_for(f, DEADLINE_MS), 2);
    peer_pair(SOCK_STREAM, kept);
    assert_int_equal(f->class->renew(f->poller, -1, 4), -1);
    assert_int_equal(wait_for(f, DEADLINE_MS), 2);
    assert_int_equal(f->class->renew(f->poller, kept[0], 4), 0);
    nothing(f);
    peer_write(kept[1], "x", 1);
    assert_int_equal(only(f, kept[0], 4), POLLIN);
    watch(f, kept[0], 4, IN, 0);
    watch(f, a[0], 2, 0, IN);
    nothing(f);
    peer_write(b[1], "x", 1);
    assert_int_equal(only(f, a[0], 2), POLLIN);
    watch(f, file, 3, 0, IN);
    assert_int_equal(wait_for(f, DEADLINE_MS), 2);
    watch(f, file, 3, IN, 0);
    watch(f, a[0], 2, IN, 0);
    nothing(f);
    close(file);
    close(copy);
    close_both(a);
    close_both(b);
    close_both(kept);
}

static void numbers_up_to_the_limit(void **state)
{
    fixture *f = *state;
    int high = FD_SETSIZE - 1, ends[2];

    if (!have_descriptors(FD_SETSIZE))
        skip();
    peer_pair(SOCK_STREAM, ends);
    assert_int_equal(dup2(ends[0], high), high);
    watch(f, high, 1, 0, IN);
    watch(f, ends[1], 2, 0, OUT);
    assert_int_equal(only(f, ends[1], 2), POLLOUT);
    peer_write(ends[1], "x", 1);
    assert_int_equal(wait_for(f, DEADLINE_MS), 2);
    watch(f, high, 1, IN, 0);
    assert_int_equal(only(f, ends[1], 2), POLLOUT);
    watch(f, ends[1], 2, OUT, 0);
    close(high);
    close_both(ends);
}

/* ---- Time and signals -------------------------------------------------- */

static void timeouts(void **state)
{
    fixture *f = *state;
    int64_t begin = now_ms();
    int ends[2];

    assert_int_equal(wait_for(f, 0), 0);
    assert_int_equal(wait_for(f, 50), 0);
    assert_true(now_ms() - begin >= 45);
    peer_pair(SOCK_STREAM, ends);
    watch(f, ends[0], 1, 0, IN);
    begin = now_ms();
    assert_int_equal(wait_for(f, 50), 0);
    assert_true(now_ms() - begin >= 45);
    peer_write(ends[1], "x", 1);
    assert_int_equal(wait_for(f, -1), 1);
    watch(f, ends[0], 1, IN, 0);
    close_both(ends);
}

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals = signals + 1;
}

static void signal_ends_the_wait(void **state)
{
    static const struct itimerval soon = { .it_interval = { 0, 20000 },
                                           .it_value = { 0, 20000 } };
    static const struct itimerval never;
    struct sigaction action = { .sa_handler = count_signal }, before;
    fixture *f = *state;
    int n;

    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    errno = 0;
    n = wait_for(f, -1);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(n, 0);
    assert_true(signals > 0);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        CASE(masks),
        CASE(removal),
        CASE(out_of_band),
        CASE(serials_of_full_width),
        CASE(hangup_unasked),
        CASE(reset_unasked),
        CASE(reader_of_a_pipe_gone_unasked),
        CASE(hangup_makes_what_is_asked_ready),
        CASE(end_behind_unread_data),
        CASE(end_comes_while_it_waits),
        CASE(unread_data_is_read_meanwhile),
        CASE(hidden_one_is_replaced),
        CASE(unread_data_does_not_spin),
        CASE(regular_file_is_always_ready),
        CASE(idle_file_lets_it_wait),
        CASE(none_starves),
        CASE(none_starves_beside_files),
        CASE(none_starves_behind_an_end),
        CASE(as_poll_says),
        CASE(closed_descriptor),
        CASE(closed_descriptors_all_told),
        CASE(number_opened_anew),
        CASE(registration_left_over),
        CASE(renewal),
        CASE(numbers_up_to_the_limit),
        CASE(timeouts),
        CASE(signal_ends_the_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
