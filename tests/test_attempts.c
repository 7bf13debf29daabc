/*
 * test_attempts.c - asyncore_connect_name, from the addresses on: who is
 * tried, when, who wins, and what may happen meanwhile. The clock moves only
 * while the loop waits.
 */
#include "support/caller.h"
#include "support/clock.h"
#include "support/names.h"
#include "support/world.h"

#include "dispatcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static asyncore_map *map;
static caller client;
static asyncore_dispatcher *const d = &client.dispatcher;
static int descriptors, listener;
static int64_t started;
static bool dup3_fails;

int __real_dup3(int fd, int new, int flags);
int __wrap_dup3(int fd, int new, int flags);

int __wrap_dup3(int fd, int new, int flags)
{
    if (!dup3_fails)
        return __real_dup3(fd, new, flags);
    errno = EBUSY;
    return -1;
}

static int pollers_opened;

#ifdef ASYNCORE_HAVE_EPOLL
int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);

int __wrap_epoll_create1(int flags)
{
    pollers_opened++;
    return __real_epoll_create1(flags);
}
#endif

static int set_up(void **state)
{
    (void)state;
    memset(&client, 0, sizeof client);
    dup3_fails = false;
    names_begin();
    clock_freeze();
    started = clock_now();
    map = asyncore_map_new(NULL);
    descriptors = open_descriptors();
    return map != NULL ? asyncore_dispatcher_init(d, &caller_class, -1, map)
                       : -1;
}

static int tear_down(void **state)
{
    (void)state;
    asyncore_map_free(map);
    clock_release();
    names_end();
    return 0;
}

/* Has d connect to the addresses, behind one name, and waits for the answer,
   so that the loop has something to do. */
static void connect_to_all(const asyncore_address *addresses, int count)
{
    name_is("service.example", addresses, count);
    assert_int_equal(asyncore_connect_name(d, "service.example", "80"), 0);
    await_readable(d->fd);
}

#define CONNECT_TO(...) \
    do { \
        const asyncore_address all_[] = { __VA_ARGS__ }; \
        connect_to_all(all_, (int)(sizeof all_ / sizeof all_[0])); \
    } while (0)

/* Turns till the transcript is complete. */
static void expect_text(const char *text)
{
    for (int i = 0; i < 1000 && strcmp(client.text, text) != 0; i++)
        assert_true(asyncore_poll(map, -1) >= 0);
    assert_string_equal(client.text, text);
}

static int64_t passed(void)
{
    return (client.at - started) / CLOCK_MS;
}

static void nothing(void *arg)
{
    (void)arg;
}

static void turn_for(int64_t ms)
{
    asyncore_timer end = { 0 };

    asyncore_call_later(&end, map, ms, nothing, NULL);
    while (end.map != NULL)
        assert_true(asyncore_poll(map, -1) >= 0);
}

static void expect_attempt(int i, const asyncore_address *to, int64_t ms)
{
    attempt a = attempt_at(i);

    assert_true(i < attempts());
    assert_int_equal(a.to.size, to->size);
    assert_memory_equal(&a.to.any, &to->any, to->size);
    assert_int_equal((a.at - started) / CLOCK_MS, ms);
}

static void expect_peer(const asyncore_address *address)
{
    asyncore_address peer;

    assert_int_equal(asyncore_getpeername(d, &peer), 0);
    assert_int_equal(peer.in.sin_port, address->in.sin_port);
}

/* ---- Who is tried, and when --------------------------------------------- */

static asyncore_address a6(int i)
{
    char text[40];

    snprintf(text, sizeof text, "[2001:db8::%d]:80", i);
    return failing_address(text, ENETUNREACH);
}

static asyncore_address a4(int i)
{
    char text[40];

    snprintf(text, sizeof text, "192.0.2.%d:80", i);
    return failing_address(text, EHOSTUNREACH);
}

static void expect_order(const char *order)
{
    for (int i = 0; i < attempts(); i++) {
        asyncore_address to = attempt_at(i).to;
        int number = to.any.sa_family == AF_INET6
                         ? to.in6.sin6_addr.s6_addr[15]
                         : (int)(ntohl(to.in.sin_addr.s_addr) & 255);

        assert_int_equal(order[2 * i],
                         to.any.sa_family == AF_INET6 ? '6' : '4');
        assert_int_equal(order[2 * i + 1] - '0', number);
    }
    assert_int_equal(strlen(order), 2 * attempts());
    assert_int_equal(client.errors, attempts());
}

static void families_in_turn(void **state)
{
    (void)state;
    CONNECT_TO(a6(1), a6(2), a6(3), a4(1), a4(2));
    asyncore_loop(map, -1, -1);
    expect_order("6141624263");
}

static void the_first_one_s_family_first(void **state)
{
    (void)state;
    CONNECT_TO(a4(1), a6(1), a6(2), a6(3), a4(2));
    asyncore_loop(map, -1, -1);
    expect_order("4161426263");
}

static void one_family(void **state)
{
    (void)state;
    CONNECT_TO(a4(3), a4(1), a4(2));
    asyncore_loop(map, -1, -1);
    expect_order("434142");
}

static void each_once(void **state)
{
    (void)state;
    CONNECT_TO(a4(1), a4(1), a6(1), a4(2), a6(1), a4(1));
    asyncore_loop(map, -1, -1);
    expect_order("416142");
}

static void not_for_ever(void **state)
{
    asyncore_address all[40];

    (void)state;
    for (int i = 0; i < 40; i++)
        all[i] = a4(i + 1);
    connect_to_all(all, 40);
    asyncore_loop(map, -1, -1);
    assert_int_equal(client.errors, 32);
    assert_int_equal(attempts(), 32);
    assert_non_null(strstr(client.text, "close"));
}

/* A refused, a silent and a good address behind one name. */
static void the_good_one_is_found(void **state)
{
    asyncore_address refusing = refusing_address();
    asyncore_address silent = silent_address();
    asyncore_address good = serving_address(&listener);

    (void)state;
    CONNECT_TO(refusing, silent, good);
    expect_text("error 111; connect; ");
    assert_int_equal(passed(), 250);
    expect_attempt(0, &refusing, 0);
    expect_attempt(1, &silent, 0);
    expect_attempt(2, &good, 250);
    assert_int_equal(attempts(), 3);
    assert_memory_equal(&client.about[0], &refusing, refusing.size);
    expect_peer(&good);
}

static void so_long_between(void **state)
{
    asyncore_address one = silent_address(), two = silent_address();
    asyncore_address three = refusing_address(), four = silent_address();
    asyncore_address good = serving_address(&listener);

    (void)state;
    CONNECT_TO(one, two, three, four, good);
    expect_text("error 111; connect; ");
    expect_attempt(0, &one, 0);
    expect_attempt(1, &two, 250);
    expect_attempt(2, &three, 500);
    expect_attempt(3, &four, 500);
    expect_attempt(4, &good, 750);
    assert_int_equal(passed(), 750);
}

static void a_good_one_is_not_doubted(void **state)
{
    asyncore_address good = serving_address(&listener);

    (void)state;
    CONNECT_TO(good, silent_address());
    expect_text("connect; ");
    turn_for(1000);
    assert_int_equal(attempts(), 1);
    assert_int_equal(passed(), 0);
}

/* The one before it answers while it is under way, or the other way round. */
static void the_first_to_connect_wins(void **state)
{
    asyncore_address silent = silent_address();
    asyncore_address good = serving_address(&listener);
    int before = open_descriptors();

    (void)state;
    CONNECT_TO(silent, good, silent_address());
    expect_text("connect; ");
    assert_int_equal(passed(), 250);
    expect_peer(&good);
    /* The silent address that was not tried has nine descriptors. */
    assert_int_equal(open_descriptors(), before + 9 + 1);
    turn_for(1000);
    assert_string_equal(client.text, "connect; ");
    assert_int_equal(attempts(), 2);
}

/* ---- What d is meanwhile, and after ------------------------------------- */

static void keeps_its_number(void **state)
{
    asyncore_address good = serving_address(&listener);
    int fd;

    (void)state;
    CONNECT_TO(refusing_address(), good);
    fd = d->fd;
    assert_true(d->connecting);
    assert_false(d->connected);
    expect_text("error 111; connect; ");
    assert_int_equal(d->fd, fd);
    assert_true(d->connected);
    assert_false(d->connecting);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_ptr_equal(asyncore_map_get(map, fd), d);
}

static void the_map_has_one(void **state)
{
    asyncore_address to;

    (void)state;
    CONNECT_TO(silent_address(), silent_address(), silent_address());
    turn_for(600);
    assert_int_equal(attempts(), 3);
    assert_int_equal(asyncore_map_count(map), 1);
    assert_ptr_equal(asyncore_map_next(map, -1), d);
    assert_null(asyncore_map_next(map, d->fd));
    for (int i = 0; i < 3; i++)
        assert_null(asyncore_map_get(map, attempt_at(i).fd));
    assert_int_equal(asyncore_del_channel(d), -1);
    assert_int_equal(errno, EBUSY);
    assert_int_equal(asyncore_add_channel(d, map), -1);
    assert_int_equal(errno, EEXIST);
    to = attempt_at(0).to;
    assert_int_equal(asyncore_connect(d, &to), -1);
    assert_int_equal(errno, EALREADY);
    asyncore_close_all(map);
    assert_int_equal(asyncore_map_count(map), 0);
    assert_string_equal(client.text, "");
}

static void all_fail(void **state)
{
    asyncore_address one = failing_address("192.0.2.1:80", ENETUNREACH);
    asyncore_address two = refusing_address();
    asyncore_address three = failing_address("192.0.2.3:80", EACCES);
    char text[100];
    int before;

    (void)state;
    before = open_descriptors();
    CONNECT_TO(one, two, three);
    asyncore_loop(map, -1, -1);
    snprintf(text, sizeof text, "error %d; error %d; error %d; close %d; ",
             ENETUNREACH, ECONNREFUSED, EACCES, ENETUNREACH);
    assert_string_equal(client.text, text);
    assert_memory_equal(&client.about[0], &one, one.size);
    assert_memory_equal(&client.about[1], &two, two.size);
    assert_memory_equal(&client.about[2], &three, three.size);
    assert_int_equal(d->fd, -1);
    assert_int_equal(open_descriptors(), before);
}

static char logged[300];

static void note_log(asyncore_dispatcher *dispatcher, const char *message,
                     const char *type)
{
    (void)dispatcher;
    if (logged[0] == '\0')
        snprintf(logged, sizeof logged, "%s: %s", type, message);
}

static void says_so_by_default(void **state)
{
    static const asyncore_handlers quiet = { .log_info = note_log };

    (void)state;
    logged[0] = '\0';
    asyncore_set_handlers(d, &quiet);
    CONNECT_TO(failing_address("192.0.2.1:80", ECONNREFUSED));
    asyncore_loop(map, -1, -1);
    assert_string_equal(logged, "warning: no connection to 192.0.2.1:80 "
                                "(Connection refused)");
}

static void a_class_with_predicates(void **state)
{
    asyncore_address good = serving_address(&listener);

    (void)state;
    asyncore_set_handlers(d, &caller_asking);
    CONNECT_TO(silent_address(), good);
    turn_for(100);
    assert_int_equal(client.asked, 0);
    expect_text("connect; ");
    assert_int_equal(asyncore_poll(map, 0), 0);
    assert_true(client.asked > 0);
}

static void another_class_meanwhile(void **state)
{
    asyncore_address good = serving_address(&listener);

    (void)state;
    CONNECT_TO(silent_address(), good);
    turn_for(100);
    assert_int_equal(asyncore_set_handlers(d, &caller_asking), 0);
    turn_for(100);
    assert_int_equal(client.asked, 0);
    expect_text("connect; ");
}

/* ---- A limit to the time ------------------------------------------------ */

static void timeout(void **state)
{
    char text[100];
    int before;

    (void)state;
    before = open_descriptors();
    CONNECT_TO(silent_address(), silent_address());
    assert_int_equal(asyncore_set_timeout(d, 3000), 0);
    asyncore_loop(map, -1, -1);
    snprintf(text, sizeof text, "timeout; close %d; ", ETIMEDOUT);
    assert_string_equal(client.text, text);
    assert_int_equal(passed(), 3000);
    assert_int_equal(open_descriptors(), before + 2 * 9);
}

static void go_on(caller *c)
{
    (void)c;
}

/* An override that only notes it: the attempts go on. */
static void timeout_survived(void **state)
{
    asyncore_address good = serving_address(&listener);

    (void)state;
    client.on_timeout = go_on;
    CONNECT_TO(silent_address(), silent_address(), good);
    assert_int_equal(asyncore_set_timeout(d, 200), 0);
    expect_text("timeout; timeout; connect; ");
    assert_int_equal(passed(), 500);
    /* It is of the connection, too. */
    turn_for(250);
    assert_string_equal(client.text, "timeout; timeout; connect; timeout; ");
    assert_int_equal(passed(), 700);
}

/* ---- Sending before ----------------------------------------------------- */

static void expect_received(const char *text)
{
    char data[100];
    size_t size = 0;
    int fd = peer_accept(listener);

    turn_for(0);
    while (size < strlen(text)) {
        ssize_t n = recv(fd, data + size, sizeof data - size, 0);
        assert_true(n > 0);
        size += (size_t)n;
    }
    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size);
    close(fd);
}

static void sent_before(void **state)
{
    asyncore_address good = serving_address(&listener);

    (void)state;
    asyncore_dispatcher_with_send_init(&client.with_send, &caller_class, -1,
                                       map);
    CONNECT_TO(refusing_address(), silent_address(), good);
    assert_int_equal(asyncore_send(d, "hello, ", 7), 7);
    turn_for(100);
    assert_int_equal(asyncore_send(d, "world", 5), 5);
    assert_int_equal(asyncore_queued(d), 12);
    expect_text("error 111; connect; ");
    expect_received("hello, world");
}

static void pushed_before(void **state)
{
    asyncore_address good = serving_address(&listener);
    asynchat_shared *shared = asynchat_shared_new("world", 5);

    (void)state;
    asynchat_init(&client.chat, &caller_chat, -1, map);
    CONNECT_TO(silent_address(), good);
    assert_int_equal(asynchat_push(&client.chat, "hello, ", 7), 0);
    assert_int_equal(asynchat_push_shared(&client.chat, shared), 0);
    asynchat_shared_free(shared);
    assert_int_equal(asynchat_close_when_done(&client.chat, 5000), 0);
    expect_text("connect; ");
    expect_received("hello, world");
    asyncore_loop(map, -1, -1);
    assert_string_equal(client.text, "connect; close 0; ");
}

static void shut_down_before(void **state)
{
    asyncore_address good = serving_address(&listener);
    char data[10];
    int fd;

    (void)state;
    asyncore_dispatcher_with_send_init(&client.with_send, &caller_class, -1,
                                       map);
    CONNECT_TO(good);
    assert_int_equal(asyncore_send(d, "x", 1), 1);
    assert_int_equal(asyncore_shutdown(d), 0);
    expect_text("connect; ");
    turn_for(0);
    fd = peer_accept(listener);
    assert_int_equal(recv(fd, data, sizeof data, 0), 1);
    assert_int_equal(recv(fd, data, sizeof data, 0), 0);
    close(fd);
}

static void a_plain_one_cannot(void **state)
{
    char data[10];

    (void)state;
    CONNECT_TO(silent_address());
    assert_int_equal(asyncore_send(d, "x", 1), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(asyncore_recv(d, data, sizeof data), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(asyncore_shutdown(d), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_string_equal(client.text, "");
}

/* ---- The end, at any time ----------------------------------------------- */

static void closed_while_trying(void **state)
{
    int before = open_descriptors();

    (void)state;
    CONNECT_TO(silent_address(), silent_address(), silent_address());
    turn_for(300);
    assert_int_equal(attempts(), 2);
    asyncore_close(d);
    assert_int_equal(open_descriptors(), before + 3 * 9);
    turn_for(1000);
    assert_int_equal(attempts(), 2);
    assert_string_equal(client.text, "");
}

static void close_it(caller *c)
{
    asyncore_close(&c->dispatcher);
}

static void closed_in_connect_error(void **state)
{
    int before = open_descriptors();

    (void)state;
    client.on_error = close_it;
    CONNECT_TO(refusing_address(), silent_address());
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "error 111; ");
    assert_int_equal(attempts(), 1);
    assert_int_equal(open_descriptors(), before + 1 + 9);
}

/* While others are under way, and the failure is a later one's. */
static void closed_in_a_later_error(void **state)
{
    (void)state;
    client.on_error = close_it;
    CONNECT_TO(silent_address(), refusing_address(), silent_address());
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "error 111; ");
    assert_int_equal(attempts(), 2);
}

static void closed_at_once_refused(void **state)
{
    (void)state;
    client.on_error = close_it;
    CONNECT_TO(failing_address("192.0.2.1:80", EACCES), silent_address());
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_int_equal(attempts(), 1);
    assert_int_equal(client.errors, 1);
}

static void read_and_close(asyncore_dispatcher *other)
{
    asyncore_close(other);
    asyncore_close(d);
}

static void closed_by_another(void **state)
{
    static const asyncore_handlers killer = { .handle_read = read_and_close };
    asyncore_dispatcher other;
    int pair[2];

    (void)state;
    peer_pair(SOCK_STREAM, pair);
    asyncore_dispatcher_init(&other, &killer, pair[0], map);
    CONNECT_TO(silent_address(), silent_address());
    turn_for(300);
    peer_write(pair[1], "x", 1);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "");
    close(pair[1]);
}

static void free_map(caller *c)
{
    asyncore_map_free(c->dispatcher.map);
    map = NULL;
}

static void map_freed_in_connect_error(void **state)
{
    (void)state;
    client.on_error = free_map;
    CONNECT_TO(silent_address(), refusing_address(), silent_address());
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "error 111; ");
}

static void map_freed_while_trying(void **state)
{
    (void)state;
    CONNECT_TO(silent_address(), silent_address());
    turn_for(300);
    asyncore_map_free(map);
    map = NULL;
    assert_int_equal(d->fd, -1);
    assert_string_equal(client.text, "");
}

static void stop(caller *c)
{
    asyncore_stop(c->dispatcher.map);
}

/* What is left is for the next loop, and nothing is lost. */
static void stopped_in_connect_error(void **state)
{
    static const char *const texts[] = {
        "error 111; ",
        "error 111; error 111; ",
        "error 111; error 111; close 111; ",
    };

    (void)state;
    client.on_error = stop;
    CONNECT_TO(failing_address("192.0.2.1:80", ECONNREFUSED),
               failing_address("192.0.2.2:80", ECONNREFUSED));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(asyncore_loop(map, -1, -1), 0);
        assert_string_equal(client.text, texts[i]);
    }
    assert_int_equal(asyncore_map_count(map), 0);
}

static void turn_inside(caller *c)
{
    for (int i = 0; i < 10 && c->dispatcher.connecting; i++)
        (void)asyncore_poll(c->dispatcher.map, -1);
}

/* The winner is found while the loser's handler runs. */
static void loop_inside_connect_error(void **state)
{
    asyncore_address good = serving_address(&listener);

    (void)state;
    client.on_error = turn_inside;
    CONNECT_TO(silent_address(), refusing_address(), good, silent_address());
    /* The good one comes as the next, and wins inside. */
    expect_text("error 111; connect; ");
    assert_int_equal(attempts(), 3);
    expect_peer(&good);
}

static int socket_in_close;

static void turn_in_close(caller *c)
{
    asyncore_address name;

    (void)asyncore_poll(c->dispatcher.map, 0);
    socket_in_close = asyncore_getsockname(&c->dispatcher, &name);
}

/* It has given up, and is told so: whether it would have come to something, or
   failed, makes no difference any more. */
static void loop_inside_close(void **state)
{
    asyncore_address good = serving_address(&listener);
    char text[100];

    (void)state;
    client.on_close = turn_in_close;
    CONNECT_TO(good);
    assert_int_equal(asyncore_poll(map, 0), 1);
    assert_int_equal(attempts(), 1);
    asyncore__end(d, ETIMEDOUT);
    snprintf(text, sizeof text, "close %d; ", ETIMEDOUT);
    assert_string_equal(client.text, text);
    assert_int_equal(socket_in_close, -1);
    assert_int_equal(asyncore_map_count(map), 0);
}

static void wait_in_close(caller *c)
{
    (void)c;
    turn_for(1000);
}

/* Nobody else is tried. */
static void wait_inside_close(void **state)
{
    char text[100];

    (void)state;
    client.on_close = wait_in_close;
    CONNECT_TO(silent_address(), silent_address());
    turn_for(100);
    asyncore__end(d, ETIMEDOUT);
    snprintf(text, sizeof text, "close %d; ", ETIMEDOUT);
    assert_string_equal(client.text, text);
    assert_int_equal(attempts(), 1);
}

static void connect_again(caller *c)
{
    if (++*(int *)c->arg < 4) {
        asyncore_close(&c->dispatcher);
        (void)asyncore_connect_name(&c->dispatcher, "127.0.0.1",
                                    port_of(&c->about[0]));
    }
}

static void again_in_close(void **state)
{
    int count = 0;

    (void)state;
    client.arg = &count;
    client.on_close = connect_again;
    CONNECT_TO(refusing_address());
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "error 111; close 111; error 111; close "
                                     "111; error 111; close 111; error 111; "
                                     "close 111; ");
}

static void again_in_connect_error(void **state)
{
    int count = 0;

    (void)state;
    client.arg = &count;
    client.on_error = connect_again;
    CONNECT_TO(refusing_address(), silent_address());
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "error 111; error 111; error 111; error "
                                     "111; close 111; ");
    assert_int_equal(attempts(), 4);
}

/* ---- Behind the library's back ------------------------------------------ */

static asyncore_dispatcher other;
static int ends[2];

static const asyncore_handlers quiet_class = { .name = "other" };

/* The number is somebody else's from now on. */
static void take_number(int fd)
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 &&
        dup2(ends[0], fd) == fd)
        (void)asyncore_dispatcher_init(&other, &quiet_class, fd, map);
}

static void drop_other(void)
{
    asyncore_close(&other);
    close(ends[0]);
    close(ends[1]);
}

/* It has failed, and the next one has its turn. */
static void an_attempt_evicted(void **state)
{
    asyncore_address good = serving_address(&listener);
    char text[100];

    (void)state;
    CONNECT_TO(silent_address(), good);
    turn_for(100);
    assert_int_equal(attempts(), 1);
    take_number(attempt_at(0).fd);
    snprintf(text, sizeof text, "error %d; connect; ", EBADF);
    expect_text(text);
    assert_int_equal(passed(), 100);
    assert_int_equal(other.fd, attempt_at(0).fd);
    drop_other();
}

static void evict_first(asyncore_dispatcher *evictor)
{
    asyncore_close(evictor);
    take_number(attempt_at(0).fd);
}

static int wake_evictor;

static void call_evictor(caller *c)
{
    if (c->errors == 1)
        (void)!write(wake_evictor, "x", 1);
}

/* When all the others have failed, it is still to be heard of. */
static void the_last_one_evicted(void **state)
{
    static const asyncore_handlers evictor_class = { .handle_read =
                                                         evict_first };
    asyncore_dispatcher evictor;
    int pair[2];
    char text[100];

    (void)state;
    peer_pair(SOCK_STREAM, pair);
    asyncore_dispatcher_init(&evictor, &evictor_class, pair[0], map);
    wake_evictor = pair[1];
    client.on_error = call_evictor;
    CONNECT_TO(silent_address(), failing_address("192.0.2.1:80", EACCES));
    snprintf(text, sizeof text, "error %d; error %d; close %d; ", EACCES, EBADF,
             EBADF);
    expect_text(text);
    drop_other();
    close(pair[1]);
}

/* Of a dispatcher that is being told of its end. */
static void evicted_inside_close(void **state)
{
    char text[100];

    (void)state;
    client.on_close = turn_in_close;
    CONNECT_TO(silent_address(), silent_address());
    turn_for(100);
    take_number(attempt_at(0).fd);
    asyncore__end(d, ETIMEDOUT);
    snprintf(text, sizeof text, "close %d; ", ETIMEDOUT);
    assert_string_equal(client.text, text);
    drop_other();
}

/* And closed with all the others before it is told. */
static void evicted_and_closed(void **state)
{
    (void)state;
    CONNECT_TO(silent_address(), silent_address());
    turn_for(100);
    take_number(attempt_at(0).fd);
    asyncore_close_all(map);
    assert_int_equal(asyncore_map_count(map), 0);
    assert_string_equal(client.text, "");
    drop_other();
}

static void d_evicted(void **state)
{
    char text[100];

    (void)state;
    CONNECT_TO(silent_address(), silent_address());
    turn_for(300);
    take_number(d->fd);
    snprintf(text, sizeof text, "close %d; ", EBADF);
    expect_text(text);
    assert_int_equal(asyncore_map_count(map), 1);
    drop_other();
}

/* What kept the number may live on, in a child, and is not listened to. */
static void the_former_descriptor(void **state)
{
    asyncore_address good = serving_address(&listener);
    int copy;

    (void)state;
#ifndef ASYNCORE_HAVE_EVENTFD
    skip();
#endif
    CONNECT_TO(good);
    copy = dup(d->fd);
    expect_text("connect; ");
    turn_for(0);
    asyncore__waker_set(copy);
    assert_int_equal(asyncore_poll(map, 0), 0);
    close(copy);
}

/* The attempt's file lives on as d's, but under its own number nothing does
   that only another epoll descriptor would get rid of. */
static void no_registration_is_left(void **state)
{
    asyncore_address good = serving_address(&listener);

    (void)state;
    pollers_opened = 0;
    CONNECT_TO(good);
    expect_text("connect; ");
    for (int i = 0; i < 3; i++)
        turn_for(0);
    assert_int_equal(pollers_opened, 0);
}

static void no_exchange(void **state)
{
    asyncore_address good = serving_address(&listener);
    char text[100];
    int before = open_descriptors();

    (void)state;
#ifndef ASYNCORE_HAVE_DUP3
    skip();
#endif
    dup3_fails = true;
    CONNECT_TO(good);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    snprintf(text, sizeof text, "close %d; ", EBUSY);
    assert_string_equal(client.text, text);
    assert_int_equal(open_descriptors(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(families_in_turn),
        TEST(the_first_one_s_family_first),
        TEST(one_family),
        TEST(each_once),
        TEST(not_for_ever),
        TEST(the_good_one_is_found),
        TEST(so_long_between),
        TEST(a_good_one_is_not_doubted),
        TEST(the_first_to_connect_wins),
        TEST(keeps_its_number),
        TEST(the_map_has_one),
        TEST(all_fail),
        TEST(says_so_by_default),
        TEST(a_class_with_predicates),
        TEST(another_class_meanwhile),
        TEST(timeout),
        TEST(timeout_survived),
        TEST(sent_before),
        TEST(pushed_before),
        TEST(shut_down_before),
        TEST(a_plain_one_cannot),
        TEST(closed_while_trying),
        TEST(closed_in_connect_error),
        TEST(closed_in_a_later_error),
        TEST(closed_at_once_refused),
        TEST(closed_by_another),
        TEST(map_freed_in_connect_error),
        TEST(map_freed_while_trying),
        TEST(stopped_in_connect_error),
        TEST(loop_inside_connect_error),
        TEST(loop_inside_close),
        TEST(wait_inside_close),
        TEST(again_in_close),
        TEST(again_in_connect_error),
        TEST(an_attempt_evicted),
        TEST(the_last_one_evicted),
        TEST(evicted_inside_close),
        TEST(evicted_and_closed),
        TEST(d_evicted),
        TEST(the_former_descriptor),
        TEST(no_registration_is_left),
        TEST(no_exchange),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
