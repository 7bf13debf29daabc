/*
 * test_listener.c - a listener survives everything.
 */
#include "support/accept.h"
#include "support/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef ASYNCORE_HAVE_EPOLL
#include <sys/epoll.h>
#endif

/* ---- The kernel's part ------------------------------------------------- */

static int accept_error;    /* what accept fails with */
static int accept_failures; /* so often; -1: always */
static int accept_calls;
static int control_failures; /* so often epoll_ctl fails */
static int questions;        /* what a socket is */

WRAP_ACCEPT
{
    accept_calls++;
    if (accept_failures != 0) {
        accept_failures -= accept_failures > 0;
        errno = accept_error;
        return -1;
    }
    return REAL_ACCEPT();
}

#ifdef ASYNCORE_HAVE_EPOLL
static int control_error; /* with this */

int __real_epoll_ctl(int epoll, int operation, int fd,
                     struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd,
                     struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd,
                     struct epoll_event *event)
{
    if (control_failures > 0) {
        control_failures--;
        errno = control_error;
        return -1;
    }
    return __real_epoll_ctl(epoll, operation, fd, event);
}
#endif

int __real_getsockopt(int fd, int level, int option, void *value,
                      socklen_t *size);
int __wrap_getsockopt(int fd, int level, int option, void *value,
                      socklen_t *size);
int __wrap_getsockopt(int fd, int level, int option, void *value,
                      socklen_t *size)
{
    questions += option == SO_TYPE;
    return __real_getsockopt(fd, level, option, value, size);
}

static struct rlimit full_limit;

/* From now on so many descriptors can be opened, and no more. */
static void leave_descriptors(int count)
{
    struct rlimit limit = full_limit;
    int fd = 0;

    for (;; fd++)
        if (fcntl(fd, F_GETFD) == -1 && count-- == 0)
            break;
    limit.rlim_cur = (rlim_t)fd;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void leave_all(void)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &full_limit), 0);
}

static int remember_limit(void **state)
{
    (void)state;
    return getrlimit(RLIMIT_NOFILE, &full_limit);
}

static int end_all(void **state)
{
    accept_failures = control_failures = 0;
    setrlimit(RLIMIT_NOFILE, &full_limit);
    return end_world(state);
}

/* ---- Classes ----------------------------------------------------------- */

#define ENDINGS \
    .handle_close = record_close, .handle_error = record_error, \
    .handle_free = record_free, .log_info = record_log_info

static void echo(asyncore_dispatcher *d)
{
    char data[4096];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0)
        asyncore_send(d, data, (size_t)n);
}

static const asyncore_handlers channel = { .handle_read = echo, ENDINGS };

enum { MOST = 256 };

/* The accepted ones, in their order. */
static recorder *channels[MOST];

static void take(asyncore_dispatcher *d, int fd, const asyncore_address *peer)
{
    recorder *r = recorder_of(d);
    world *w = r->arg;
    recorder *c = lend(w, sizeof *c);

    (void)peer;
    if (asyncore_dispatcher_init(&c->dispatcher, &channel, fd, d->map) == 0)
        channels[r->ran.accepted++] = c;
}

static const asyncore_handlers serving = { .handle_accepted = take, ENDINGS };

static const asyncore_handlers counting = {
    .handle_accepted = record_accepted,
    ENDINGS,
};

static recorder *serve(world *w, const asyncore_handlers *handlers,
                       asyncore_address *at)
{
    recorder *r = lend(w, sizeof *r);

    r->arg = w;
    *at = listen_at(w, &r->dispatcher, handlers);
    accept_calls = 0;
    return r;
}

static void connect_all(int *peer, int count, const asyncore_address *at)
{
    for (int i = 0; i < count; i++)
        peer[i] = peer_connect(at);
}

static void close_each(const int *peer, int count)
{
    for (int i = 0; i < count; i++)
        close(peer[i]);
}

/* valgrind plays the limit: it takes the connection from the kernel, and then
   does not give it out. */
static void skip_if_the_limit_is_played(const int *peer, int count)
{
    struct rlimit less = full_limit;
    unsigned long long soft = 0;
    char line[256];
    FILE *limits;

    less.rlim_cur--;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    limits = fopen("/proc/self/limits", "r");
    while (limits != NULL && soft == 0 &&
           fgets(line, sizeof line, limits) != NULL)
        (void)sscanf(line, "Max open files %llu", &soft);
    leave_all();
    if (limits == NULL)
        return;
    fclose(limits);
    if (soft != less.rlim_cur) {
        close_each(peer, count);
        skip();
    }
}

/* The loop turns until the peer has something to read; 1: a byte of it, 0: the
   end, or a reset. */
static ssize_t answer(world *w, int peer)
{
    struct pollfd one = { .fd = peer, .events = POLLIN };
    char byte;
    ssize_t n;

    run_until(w->map, poll(&one, 1, 0) == 1);
    n = recv(peer, &byte, 1, MSG_DONTWAIT);
    return n < 0 && errno == ECONNRESET ? 0 : n;
}

static void assert_served(world *w, int peer)
{
    peer_write(peer, "?", 1);
    assert_int_equal(answer(w, peer), 1);
}

/* ---- Accepting --------------------------------------------------------- */

static void at_most_64_a_turn(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &counting, &at);
    int peer[100];

    connect_all(peer, 100, &at);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
    assert_int_equal(r->ran.accepted, 64);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
    assert_int_equal(r->ran.accepted, 100);
    assert_int_equal(accept_calls, 101);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    assert_int_equal(r->ran.error + r->ran.close, 0);
    close_each(peer, 100);
}

static void check_accepted(asyncore_dispatcher *d, int fd,
                           const asyncore_address *peer)
{
    recorder *r = recorder_of(d);
    const asyncore_address *client = r->arg;

    r->flag = (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 &&
              (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 &&
              peer->any.sa_family == client->any.sa_family;
    if (client->any.sa_family != AF_UNIX)
        r->flag &= peer->size == client->size &&
                   memcmp(&peer->any, &client->any, peer->size) == 0;
    r->ran.accepted++;
    close(fd);
}

static void what_handle_accepted_is_given(void **state)
{
    static const asyncore_handlers checking = {
        .handle_accepted = check_accepted,
        ENDINGS,
    };
    world *w = world_of(state);
    asyncore_address at, client;
    recorder *r = serve(w, &checking, &at);
    int peer = peer_connect(&at);

    memset(&client, 0, sizeof client);
    client.size = sizeof client.storage;
    assert_int_equal(getsockname(peer, &client.any, &client.size), 0);
    r->arg = &client;
    run_until(w->map, r->ran.accepted);
    assert_true(r->flag);
    close(peer);
}

static int kept = -1;

static void keep(asyncore_dispatcher *d, int fd, const asyncore_address *peer)
{
    (void)d;
    (void)peer;
    kept = fd;
}

/* The map knows it, until handle_accepted returns, by its peer's name. */
static void not_asked_what_it_is(void **state)
{
    static const asyncore_handlers keeping = {
        .handle_accepted = keep,
        ENDINGS,
    };
    world *w = world_of(state);
    recorder *later = lend(w, sizeof *later);
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);
    int peer[3];

    questions = 0;
    connect_all(peer, 2, &at);
    run_until(w->map, r->ran.accepted == 2);
    assert_int_equal(questions, w->family == AF_UNIX ? 2 : 0);
    assert_int_equal(asyncore_set_handlers(&r->dispatcher, &keeping), 0);
    peer[2] = peer_connect(&at);
    kept = -1;
    run_until(w->map, kept != -1);
    questions = 0;
    assert_int_equal(
        asyncore_dispatcher_init(&later->dispatcher, &channel, kept, w->map),
        0);
    assert_int_equal(questions, 1);
    for (int i = 0; i < 3; i++)
        assert_served(w, peer[i]);
    close_each(peer, 3);
}

/* It is one of datagrams then, to another peer where that can be, and
   blocking. */
static void take_another(asyncore_dispatcher *d, int fd,
                         const asyncore_address *peer)
{
    int other = socket(peer->any.sa_family, SOCK_DGRAM, 0);
    asyncore_address self;

    assert_int_equal(asyncore_getsockname(d, &self), 0);
    (void)connect(other, &self.any, self.size);
    assert_int_equal(dup2(other, fd), fd);
    close(other);
    take(d, fd, peer);
}

static void number_opened_anew(void **state)
{
    static const asyncore_handlers swapping = {
        .handle_accepted = take_another,
        ENDINGS,
    };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &swapping, &at);
    int peer = peer_connect(&at);

    run_until(w->map, r->ran.accepted);
    assert_false(channels[0]->dispatcher.stream);
    assert_true(fcntl(channels[0]->dispatcher.fd, F_GETFL) & O_NONBLOCK);
    asyncore_close(&channels[0]->dispatcher);
    close(peer);
}

/* Those who are accepted in there are others. */
static void turn_and_take(asyncore_dispatcher *d, int fd,
                          const asyncore_address *peer)
{
    assert_true(asyncore_poll(d->map, 0) >= 0);
    take(d, fd, peer);
}

static void turn_in_handle_accepted(void **state)
{
    static const asyncore_handlers turning = {
        .handle_accepted = turn_and_take,
        ENDINGS,
    };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &turning, &at);
    int peer[5];

    connect_all(peer, 5, &at);
    run_until(w->map, r->ran.accepted == 5);
    for (int i = 0; i < 5; i++) {
        assert_true(channels[i]->dispatcher.connected);
        assert_served(w, peer[i]);
    }
    close_each(peer, 5);
}

static void paused(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &counting, &at);
    int peer = peer_connect(&at);

    asyncore_set_readable(&r->dispatcher, false);
    assert_in_range(turns_during(w->map, 100), 1, FEW_TURNS);
    assert_int_equal(accept_calls, 0);
    asyncore_set_readable(&r->dispatcher, true);
    run_until(w->map, r->ran.accepted);
    close(peer);
}

static bool is_flagged(asyncore_dispatcher *d)
{
    return recorder_of(d)->flag;
}

/* Its class is asked every time, though the last answer was the same; another
   class's answer is worth nothing. */
static void with_a_predicate(void **state)
{
    static const asyncore_handlers asked = {
        .readable = is_flagged,
        .handle_accepted = record_accepted,
        ENDINGS,
    };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &asked, &at);
    int peer[3];

    r->flag = 1;
    peer[0] = peer_connect(&at);
    run_until(w->map, r->ran.accepted == 1);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    r->flag = 0;
    peer[1] = peer_connect(&at);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    assert_int_equal(r->ran.accepted, 1);
    r->flag = 1;
    run_until(w->map, r->ran.accepted == 2);
    asyncore_set_readable(&r->dispatcher, false);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    assert_int_equal(asyncore_set_handlers(&r->dispatcher, &counting), 0);
    peer[2] = peer_connect(&at);
    assert_in_range(turns_during(w->map, 50), 1, FEW_TURNS);
    assert_int_equal(r->ran.accepted, 2);
    asyncore_set_readable(&r->dispatcher, true);
    run_until(w->map, r->ran.accepted == 3);
    close_each(peer, 3);
}

static void accept_one(asyncore_dispatcher *d)
{
    int fd = asyncore_accept(d, NULL);

    recorder_of(d)->ran.accept++;
    if (fd >= 0)
        record_accepted(d, fd, NULL);
}

static void accept_by_oneself(asyncore_dispatcher *d)
{
    int fd = accept(d->fd, NULL, NULL);

    recorder_of(d)->ran.accept++;
    if (fd >= 0)
        record_accepted(d, fd, NULL);
}

static void handle_accept_of_ones_own(void **state)
{
    static const asyncore_handlers classes[] = {
        { .handle_accept = accept_one, ENDINGS },
        { .handle_accept = accept_by_oneself, ENDINGS },
    };
    world *w = world_of(state);

    for (int i = 0; i < 2; i++) {
        asyncore_address at;
        recorder *r = serve(w, &classes[i], &at);
        int peer[3];

        connect_all(peer, 3, &at);
        run_until(w->map, r->ran.accepted == 3);
        assert_int_equal(r->ran.accept, 3);
        assert_int_equal(asyncore_poll(w->map, 0), 0);
        assert_int_equal(asyncore_accept(&r->dispatcher, NULL), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(r->ran.error + r->ran.close, 0);
        asyncore_close(&r->dispatcher);
        assert_int_equal(asyncore_accept(&r->dispatcher, NULL), -1);
        assert_int_equal(errno, EBADF);
        close_each(peer, 3);
    }
}

static void adopted(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = lend(w, sizeof *r);
    int fd = peer_listen(w, &at), peer = peer_connect(&at);

    r->arg = w;
    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &serving, fd, w->map), 0);
    assert_true(r->dispatcher.accepting);
    assert_false(r->dispatcher.connected);
    assert_served(w, peer);
    close(peer);
}

static void unhandled(void **state)
{
    static const asyncore_handlers none = { ENDINGS };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &none, &at);
    int peer = peer_connect(&at);

    assert_int_equal(answer(w, peer), 0);
    assert_int_equal(r->ran.warning, 1);
    assert_int_equal(r->ran.close + r->ran.error, 0);
    close(peer);
}

/* ---- What handle_accepted may do --------------------------------------- */

static void fail_to_take(asyncore_dispatcher *d, int fd,
                         const asyncore_address *peer)
{
    recorder *r = recorder_of(d);

    if (r->ran.accepted < 3) {
        recorder *c = lend(r->arg, sizeof *c);

        /* The descriptor is no socket any more: _init fails and closes. */
        if (r->ran.accepted == 1)
            dup2(STDERR_FILENO, fd);
        else
            close(fd);
        if (r->ran.accepted > 0 &&
            asyncore_dispatcher_init(&c->dispatcher, &channel, fd, d->map) ==
                -1 &&
            errno == (r->ran.accepted == 1 ? ENOTSOCK : EBADF))
            r->ran.drain++;
        r->ran.accepted++;
        return;
    }
    take(d, fd, peer);
}

static void failure_in_handle_accepted(void **state)
{
    static const asyncore_handlers failing = {
        .handle_accepted = fail_to_take,
        ENDINGS,
    };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &failing, &at);
    int peer[4];

    connect_all(peer, 4, &at);
    for (int i = 0; i < 3; i++)
        assert_int_equal(answer(w, peer[i]), 0);
    assert_served(w, peer[3]);
    assert_int_equal(r->ran.drain, 2);
    assert_int_equal(r->ran.close + r->ran.error, 0);
    close_each(peer, 4);
}

static void close_listener(asyncore_dispatcher *d, int fd,
                           const asyncore_address *peer)
{
    record_accepted(d, fd, peer);
    asyncore_close(d);
}

static void scribble(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    (void)peer;
    close(fd);
    asyncore_close(d);
    memset(d, 0x55, sizeof *d);
}

static void closed_in_handle_accepted(void **state)
{
    static const asyncore_handlers closing = {
        .handle_accepted = close_listener,
        ENDINGS,
    };
    static const asyncore_handlers scribbling = { .handle_accepted = scribble };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &closing, &at);
    int peer[4];

    connect_all(peer, 4, &at);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_int_equal(r->ran.accepted, 1);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->ran.close, 0);
    close_each(peer, 4);
    serve(w, &scribbling, &at);
    connect_all(peer, 4, &at);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    close_each(peer, 4);
}

static void stop_after_one(asyncore_dispatcher *d, int fd,
                           const asyncore_address *peer)
{
    record_accepted(d, fd, peer);
    asyncore_stop(d->map);
}

static void stopped_in_handle_accepted(void **state)
{
    static const asyncore_handlers stopping = {
        .handle_accepted = stop_after_one,
        ENDINGS,
    };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &stopping, &at);
    int peer[4];

    connect_all(peer, 4, &at);
    for (int i = 1; i <= 4; i++) {
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        assert_int_equal(r->ran.accepted, i);
    }
    close_each(peer, 4);
}

/* ---- Connections that fail --------------------------------------------- */

static void reset_before_it_is_accepted(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);
    int peer[2];

    connect_all(peer, 2, &at);
    peer_reset(peer[0]);
    assert_served(w, peer[1]);
    assert_int_equal(r->ran.close + r->ran.error, 0);
    /* Some kernels give it out, broken, some do not. */
    if (r->ran.accepted == 2) {
        run_until(w->map, channels[0]->ran.free);
        assert_int_equal(channels[0]->ran.close, 1);
        assert_int_equal(channels[0]->ran.error, 0);
        if (w->family != AF_UNIX)
            assert_int_equal(channels[0]->close_error, ECONNRESET);
    }
    close(peer[1]);
}

static void errors_of_one_connection(void **state)
{
    static const int errors[] = {
        ECONNABORTED, EPROTO,    EPERM,      ENETDOWN,
        ENOPROTOOPT,  EHOSTDOWN, EOPNOTSUPP, ENETUNREACH,
        EHOSTUNREACH, ETIMEDOUT, EINTR,
    };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &counting, &at);

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        int peer = peer_connect(&at);

        accept_error = errors[i];
        accept_failures = 3;
        assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
        assert_int_equal(r->ran.accepted, i + 1);
        close(peer);
    }
    assert_int_equal(r->ran.error + r->ran.close, 0);
}

/* Nothing else of the map waits for a listener without end. */
static void endless_errors(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &counting, &at);
    int peer = peer_connect(&at);

    accept_error = ECONNABORTED;
    accept_failures = -1;
    for (int turn = 1; turn <= 3; turn++) {
        asyncore_poll(w->map, 0);
        assert_in_range(accept_calls, turn, 64 * turn);
    }
    assert_int_equal(r->ran.error + r->ran.close + r->ran.accepted, 0);
    accept_failures = 0;
    run_until(w->map, r->ran.accepted);
    close(peer);
}

static void errors_of_its_own(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &counting, &at);
    int peer = peer_connect(&at);

    accept_error = EINVAL;
    accept_failures = 1;
    asyncore_poll(w->map, DEADLINE_MS);
    assert_int_equal(r->ran.error, 1);
    assert_int_equal(r->error, EINVAL);
    assert_int_equal(r->ran.close + r->ran.accepted, 0);
    run_until(w->map, r->ran.accepted);
    close(peer);
}

/* ---- No descriptors ---------------------------------------------------- */

static void full(void **state)
{
    enum { CLIENTS = 12, FIT = 4 };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);
    int peer[CLIENTS], calls;

    connect_all(peer, CLIENTS, &at);
    leave_descriptors(FIT);
    run_until(w->map, r->ran.error);
    assert_int_equal(r->error, EMFILE);
    assert_int_equal(r->ran.accepted, FIT);
    /* Those that are in are served, those that are not learn of it. */
    for (int i = 0; i < FIT; i++)
        assert_served(w, peer[i]);
    for (int i = FIT; i < CLIENTS; i++)
        assert_int_equal(answer(w, peer[i]), 0);
    assert_int_equal(r->ran.error, 1);
    /* Nobody waits any more. */
    calls = accept_calls;
    assert_in_range(turns_during(w->map, 350), 1, 10);
    assert_in_range(accept_calls - calls, 0, 2);
    for (int i = 0; i < FIT; i++)
        assert_served(w, peer[i]);
    /* Room for new ones. */
    leave_all();
    close_each(peer + FIT, CLIENTS - FIT);
    connect_all(peer + FIT, 2, &at);
    assert_served(w, peer[FIT]);
    assert_served(w, peer[FIT + 1]);
    assert_int_equal(r->ran.error, 1);
    assert_int_equal(r->ran.close, 0);
    assert_int_equal(r->ran.accepted, FIT + 2);
    close_each(peer, FIT + 2);
}

/* As long as it lasts, with clients coming and being refused. */
static void reported_once(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);
    int peer;

    for (int shortage = 1; shortage <= 2; shortage++) {
        for (int i = 0; i < 4; i++) {
            peer = peer_connect(&at);
            leave_descriptors(0);
            assert_int_equal(answer(w, peer), 0);
            leave_all();
            close(peer);
            assert_int_equal(r->ran.error, shortage);
        }
        peer = peer_connect(&at);
        assert_served(w, peer);
        close(peer);
        run_until(w->map, channels[shortage - 1]->ran.free);
    }
    assert_int_equal(r->ran.accepted, 2);
}

static void quiet_while_full(void **state)
{
    enum { CLIENTS = 100 };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);
    int peer[CLIENTS];

    connect_all(peer, CLIENTS, &at);
    leave_descriptors(0);
    assert_in_range(turns_during(w->map, 350), 1, 15);
    /* One to see, one each to refuse. */
    assert_in_range(accept_calls, 1, CLIENTS + 10);
    assert_int_equal(r->ran.error, 1);
    assert_int_equal(r->ran.accepted, 0);
    leave_all();
    close_each(peer, CLIENTS);
}

/* Those that wait are let in as soon as one of the map's leaves. */
static void room_made_by_a_close(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);
    int peer[2];

    connect_all(peer, 2, &at);
    skip_if_the_limit_is_played(peer, 2);
    leave_descriptors(1);
    run_until(w->map, r->ran.error);
    assert_int_equal(r->ran.accepted, 1);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    asyncore_close(&channels[0]->dispatcher);
    assert_int_equal(asyncore_poll(w->map, 0), 1);
    assert_int_equal(r->ran.accepted, 2);
    leave_all();
    assert_served(w, peer[1]);
    close_each(peer, 2);
}

/* Descriptors that come back from elsewhere are found after a pause. */
static void room_made_elsewhere(void **state)
{
    enum { CLIENTS = 5 };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);
    int peer[CLIENTS];

    connect_all(peer, CLIENTS, &at);
    skip_if_the_limit_is_played(peer, CLIENTS);
    leave_descriptors(0);
    run_until(w->map, r->ran.error);
    leave_all();
    for (int i = 0; i < CLIENTS; i++)
        assert_served(w, peer[i]);
    assert_int_equal(r->ran.accepted, CLIENTS);
    assert_int_equal(r->ran.error, 1);
    close_each(peer, CLIENTS);
}

/* A copy keeps alive what was registered of one that is closed, and there is
   no descriptor for another epoll. */
static void full_while_a_copy_lives(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);
    int peer[2], copy;

    connect_all(peer, 2, &at);
    run_until(w->map, r->ran.accepted == 2);
    assert_served(w, peer[0]);
    copy = dup(channels[0]->dispatcher.fd);
    asyncore_close(&channels[0]->dispatcher);
    leave_descriptors(0);
    peer_write(peer[0], "?", 1);
    await(copy, POLLIN);
    assert_in_range(turns_during(w->map, 100), 1, FEW_TURNS);
    assert_served(w, peer[1]);
    leave_all();
    close(copy);
    close_each(peer, 2);
}

/* Nor is there where nobody listens. */
static void full_without_a_listener(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    int ends[2], copy;

    peer_pair(SOCK_STREAM, ends);
    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &channel, ends[0], w->map), 0);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    copy = dup(ends[0]);
    leave_descriptors(0);
    asyncore_close(&r->dispatcher);
    leave_descriptors(0);
    peer_write(ends[1], "?", 1);
    await(copy, POLLIN);
    /* Something to wait for. */
    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &channel, ends[1], w->map), 0);
    assert_in_range(turns_during(w->map, 100), 1, FEW_TURNS);
    leave_all();
    asyncore_close(&r->dispatcher);
    close(copy);
}

static int told(const int *peer, int count)
{
    struct pollfd p = { .events = POLLIN };
    int n = 0;

    for (int i = 0; i < count; i++) {
        p.fd = peer[i];
        n += poll(&p, 1, 0) == 1;
    }
    return n;
}

/* Those who wait for one do not keep those who wait for another from being
   told. */
static void full_for_two(void **state)
{
    enum { CLIENTS = 100 };
    world *w = world_of(state);
    asyncore_address at[2];
    recorder *r[2] = { serve(w, &serving, &at[0]), serve(w, &serving, &at[1]) };
    int peer[2][CLIENTS];

    connect_all(peer[0], CLIENTS, &at[0]);
    skip_if_the_limit_is_played(peer[0], CLIENTS);
    connect_all(peer[1], CLIENTS, &at[1]);
    leave_descriptors(0);
    run_until(w->map, r[0]->ran.error + r[1]->ran.error > 0);
    run_until(w->map, told(peer[0], CLIENTS) + told(peer[1], CLIENTS) > 0);
    /* It is the first time that anybody is. */
    assert_in_range(told(peer[0], CLIENTS), 1, CLIENTS - 1);
    assert_in_range(told(peer[1], CLIENTS), 1, CLIENTS - 1);
    leave_all();
    close_each(peer[0], CLIENTS);
    close_each(peer[1], CLIENTS);
}

static void full_for_an_adopted_one(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = lend(w, sizeof *r);
    int fd = peer_listen(w, &at), peer = peer_connect(&at);

    r->arg = w;
    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, &serving, fd, w->map), 0);
    leave_descriptors(0);
    assert_int_equal(answer(w, peer), 0);
    assert_int_equal(r->ran.error, 1);
    leave_all();
    close(peer);
}

static void all_shortages(void **state)
{
    static const int errors[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);

    for (int i = 0; i < 4; i++) {
        int peer = peer_connect(&at);

        accept_error = errors[i];
        accept_failures = 1;
        accept_calls = 0;
        run_until(w->map, accept_calls);
        /* It waits a while before the next. */
        run_turns(w->map, 2);
        assert_int_equal(accept_calls, 1);
        assert_served(w, peer);
        assert_int_equal(r->ran.error, i + 1);
        assert_int_equal(r->error, errors[i]);
        assert_int_equal(r->ran.close, 0);
        close(peer);
        run_until(w->map, channels[i]->ran.free);
    }
}

static void what_is_logged(void **state)
{
    static const asyncore_handlers quiet = {
        .name = "server",
        .handle_accepted = take,
    };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &quiet, &at);
    char text[2048], expected[512], address[ASYNCORE_ADDRESS_TEXT];
    int peer[3];

    connect_all(peer, 3, &at);
    capture_begin();
    leave_descriptors(0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(answer(w, peer[i]), 0);
    leave_all();
    capture_end(text, sizeof text);
    snprintf(expected, sizeof expected,
             "error: uncaught error, keeping channel <server listening %s at "
             "%p> (%s)\n",
             asyncore_address_format(&at, address, sizeof address), (void *)r,
             strerror(EMFILE));
    assert_string_equal(text, expected);
    close_each(peer, 3);
}

static void fail_hard(asyncore_dispatcher *d, int error)
{
    record_error(d, error);
    asyncore_close(d);
}

static void closed_in_handle_error(void **state)
{
    static const asyncore_handlers touchy = {
        .handle_accepted = take,
        .handle_error = fail_hard,
        .handle_close = record_close,
        .handle_free = record_free,
    };
    world *w = world_of(state);
    asyncore_address at;
    recorder *r = serve(w, &touchy, &at);
    int peer = peer_connect(&at);

    leave_descriptors(0);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_int_equal(r->ran.error, 1);
    assert_int_equal(r->ran.free, 1);
    leave_all();
    close(peer);
}

#ifdef ASYNCORE_HAVE_EPOLL
/* No memory to be watched, or too many of the user's are: it is tried again,
   though nothing else happens. */
static void not_to_be_watched(world *w, int error)
{
    asyncore_address at;
    recorder *r = serve(w, &serving, &at);
    int peer = peer_connect(&at);
    int64_t begin = now_ms();

    if (strcmp(asyncore_map_backend(w->map), "epoll") != 0) {
        close(peer);
        skip();
    }
    control_error = error;
    control_failures = 1;
    assert_true(asyncore_loop(w->map, DEADLINE_MS, 3) == 0);
    assert_int_equal(control_failures, 0);
    assert_true(now_ms() - begin < DEADLINE_MS / 2);
    assert_int_equal(r->ran.error, 1);
    assert_int_equal(r->error, error);
    assert_int_equal(r->ran.accepted, 1);
    close(peer);
}

static void no_memory_to_watch_it(void **state)
{
    not_to_be_watched(world_of(state), ENOMEM);
}

static void too_many_are_watched(void **state)
{
    not_to_be_watched(world_of(state), ENOSPC);
}

static void make_room(asyncore_dispatcher *d, int error)
{
    recorder *r = recorder_of(d);

    record_error(d, error);
    asyncore_close(r->arg);
}

/* What is closed then ends the wait before anybody has waited. */
static void memory_is_back_at_once(void **state)
{
    static const asyncore_handlers yielding = {
        .handle_accepted = record_accepted,
        .handle_error = make_room,
        .handle_free = record_free,
    };
    world *w = world_of(state);
    asyncore_address at, other;
    recorder *r = serve(w, &yielding, &at);
    recorder *spare = serve(w, &counting, &other);
    int peer = peer_connect(&at);

    if (strcmp(asyncore_map_backend(w->map), "epoll") != 0) {
        close(peer);
        skip();
    }
    r->arg = &spare->dispatcher;
    assert_int_equal(asyncore_poll(w->map, 0), 1);
    assert_int_equal(r->ran.accepted, 1);
    asyncore_set_readable(&r->dispatcher, false);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    asyncore_set_readable(&r->dispatcher, true);
    control_error = ENOMEM;
    control_failures = 1;
    close(peer);
    peer = peer_connect(&at);
    run_until(w->map, r->ran.accepted == 2);
    assert_int_equal(control_failures, 0);
    assert_int_equal(r->ran.error, 1);
    close(peer);
}
#endif

int main(void)
{
#define LISTENER(test, family, begin) \
    { \
#test " (" family ")", test, begin, end_all, NULL \
    }
#define EVERYWHERE(test) \
    LISTENER(test, "IPv4", begin_ipv4), LISTENER(test, "IPv6", begin_ipv6), \
        LISTENER(test, "unix", begin_unix)
    const struct CMUnitTest tests[] = {
        EVERYWHERE(at_most_64_a_turn),
        EVERYWHERE(what_handle_accepted_is_given),
        EVERYWHERE(not_asked_what_it_is),
        EVERYWHERE(number_opened_anew),
        EVERYWHERE(turn_in_handle_accepted),
        EVERYWHERE(paused),
        EVERYWHERE(with_a_predicate),
        EVERYWHERE(handle_accept_of_ones_own),
        EVERYWHERE(adopted),
        EVERYWHERE(unhandled),
        EVERYWHERE(failure_in_handle_accepted),
        EVERYWHERE(closed_in_handle_accepted),
        EVERYWHERE(stopped_in_handle_accepted),
        EVERYWHERE(reset_before_it_is_accepted),
        EVERYWHERE(errors_of_one_connection),
        EVERYWHERE(endless_errors),
        EVERYWHERE(errors_of_its_own),
        EVERYWHERE(full),
        EVERYWHERE(reported_once),
        EVERYWHERE(quiet_while_full),
        EVERYWHERE(room_made_by_a_close),
        EVERYWHERE(room_made_elsewhere),
        EVERYWHERE(full_while_a_copy_lives),
        EVERYWHERE(full_without_a_listener),
        EVERYWHERE(full_for_two),
        EVERYWHERE(full_for_an_adopted_one),
        EVERYWHERE(all_shortages),
        EVERYWHERE(what_is_logged),
        EVERYWHERE(closed_in_handle_error),
#ifdef ASYNCORE_HAVE_EPOLL
        EVERYWHERE(no_memory_to_watch_it),
        EVERYWHERE(too_many_are_watched),
        EVERYWHERE(memory_is_back_at_once),
#endif
    };

    return cmocka_run_group_tests(tests, remember_limit, NULL);
}
