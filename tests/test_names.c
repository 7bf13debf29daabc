/*
 * test_names.c - asyncore_connect_name, up to the addresses: what is looked up,
 * in which threads, and what may happen before there is an answer. What comes
 * after it is in test_attempts.c.
 */
#include "support/caller.h"
#include "support/clock.h"
#include "support/names.h"
#include "support/world.h"

#include "resolver.h"
#include "sock.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static asyncore_map *map;
static caller client;
static asyncore_dispatcher *const d = &client.dispatcher;
static int listener;
static asyncore_address good;

/* ---- Shortages ---------------------------------------------------------- */

/* The call of each of these, by this thread, that fails; 0: none. */
static int fail_at, calls;
static const char *fail_what = "";
static pthread_t main_thread;

static bool fails(const char *what, int error)
{
    if (!pthread_equal(pthread_self(), main_thread) ||
        strcmp(what, fail_what) != 0 || ++calls != fail_at)
        return false;
    errno = error;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_eventfd(unsigned value, int flags);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg);
int __real_pthread_mutex_init(pthread_mutex_t *mutex,
                              const pthread_mutexattr_t *attributes);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_eventfd(unsigned value, int flags);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex,
                              const pthread_mutexattr_t *attributes);

void *__wrap_malloc(size_t size)
{
    return fails("memory", ENOMEM) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails("memory", ENOMEM) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails("memory", ENOMEM) ? NULL : __real_realloc(memory, size);
}

int __wrap_eventfd(unsigned value, int flags)
{
    return fails("eventfd", EMFILE) ? -1 : __real_eventfd(value, flags);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg)
{
    return fails("thread", EAGAIN)
               ? EAGAIN
               : __real_pthread_create(thread, attributes, run, arg);
}

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex,
                              const pthread_mutexattr_t *attributes)
{
    return fails("mutex", ENOMEM)
               ? ENOMEM
               : __real_pthread_mutex_init(mutex, attributes);
}

static void fail_call(const char *what, int n)
{
    fail_what = what;
    fail_at = n;
    calls = 0;
}

/* ---- The test ----------------------------------------------------------- */

static int threads_before;

static int set_up(void **state)
{
    (void)state;
    memset(&client, 0, sizeof client);
    fail_call("", 0);
    names_begin();
    threads_before = thread_count();
    good = serving_address(&listener);
    name_is("good.example", &good, 1);
    clock_freeze();
    map = asyncore_map_new(NULL);
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

static void expect_text(const char *text)
{
    for (int i = 0; i < 100 && strcmp(client.text, text) != 0; i++)
        assert_true(asyncore_poll(map, 0) >= 0);
    assert_string_equal(client.text, text);
}

static void look_up(asyncore_dispatcher *who, const char *host)
{
    assert_int_equal(asyncore_connect_name(who, host, "80"), 0);
}

static void look_up_held(const char *host)
{
    names_hold();
    look_up(d, host);
    names_await_inside(1);
}

/* ---- What is looked up -------------------------------------------------- */

static void numbers_need_no_thread(void **state)
{
    (void)state;
    fail_call("thread", 1);
    assert_int_equal(asyncore_connect_name(d, "127.0.0.1", port_of(&good)), 0);
    assert_true(d->connecting);
    assert_string_equal(client.text, "");
    expect_text("connect; ");
    assert_int_equal(names_asked(), 0);
}

static void numbers_of_ipv6(void **state)
{
    static const char *const hosts[] = { "::1", "2001:db8::1", "::1%lo",
                                         "fe80::1%lo" };

    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        assert_int_equal(asyncore_connect_name(d, hosts[i], "80"), 0);
        asyncore_close(d);
    }
    /* A zone that may not be there is a question. */
    assert_true(names_asked() <= 2);
}

static void a_name(void **state)
{
    (void)state;
    assert_int_equal(asyncore_connect_name(d, "good.example", "http"), 0);
    assert_true(d->connecting);
    assert_true(d->fd >= 0);
    assert_int_equal(asyncore_map_count(map), 1);
    await_readable(d->fd);
    assert_string_equal(client.text, "");
    expect_text("connect; ");
    assert_int_equal(names_asked(), 1);
    assert_string_equal(names_question(0), "good.example http");
    assert_false(names_was_open_to_signals());
}

static void no_such_name(void **state)
{
    static const struct {
        int result, error;
    } cases[] = {
        { EAI_NONAME, ENOENT }, { EAI_SERVICE, ENOENT }, { EAI_AGAIN, EAGAIN },
        { EAI_MEMORY, ENOMEM }, { EAI_FAIL, EIO },       { EAI_FAMILY, EINVAL },
#ifdef EAI_NODATA
        { EAI_NODATA, ENOENT },
#endif
    };
    char text[40];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        client.text[0] = '\0';
        name_fails("bad.example", cases[i].result);
        look_up(d, "bad.example");
        await_readable(d->fd);
        snprintf(text, sizeof text, "close %d; ", cases[i].error);
        expect_text(text);
        assert_int_equal(d->fd, -1);
    }
}

/* RFC 6761: nobody is asked. */
static void invalid(void **state)
{
    static const char *const hosts[] = { "invalid", "x.invalid", "x.INVALID.",
                                         "a.b.invalid" };
    char text[40];

    (void)state;
    snprintf(text, sizeof text, "close %d; ", ENOENT);
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        client.text[0] = '\0';
        look_up(d, hosts[i]);
        await_readable(d->fd);
        expect_text(text);
    }
    assert_int_equal(names_asked(), 0);
    look_up(d, "xinvalid");
    await_readable(d->fd);
    assert_int_equal(names_asked(), 1);
}

static void refused_at_once(void **state)
{
    char text[400];

    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(asyncore_connect_name(d, "", "80"), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(asyncore_connect_name(d, "good.example", ""), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(asyncore_connect_name(d, "good.example", "65536"), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(asyncore_connect_name(d, "127.0.0.1", "000080"), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(asyncore_connect_name(d, text, "80"), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(asyncore_connect_name(d, "good.example", text), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(d->fd, -1);
    assert_false(d->connecting);
    assert_int_equal(asyncore_create_socket(d, AF_INET, SOCK_STREAM), 0);
    assert_int_equal(asyncore_connect_name(d, "good.example", "80"), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(names_asked(), 0);
}

static void twice(void **state)
{
    (void)state;
    look_up_held("good.example");
    assert_int_equal(asyncore_connect_name(d, "good.example", "80"), -1);
    assert_int_equal(errno, EEXIST);
    names_let_go();
    await_readable(d->fd);
    expect_text("connect; ");
}

/* ---- Before there is an answer ------------------------------------------ */

static void closed_meanwhile(void **state)
{
    int before = open_descriptors();

    (void)state;
    look_up_held("good.example");
    asyncore_close(d);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    /* The same again, while that one is still being looked up. */
    look_up(d, "good.example");
    names_await_inside(2);
    names_let_go();
    await_readable(d->fd);
    expect_text("connect; ");
}

static void closed_when_answered(void **state)
{
    (void)state;
    look_up(d, "good.example");
    await_readable(d->fd);
    asyncore_close(d);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "");
}

/* Nothing of it is left to a connection of another kind. */
static void connect_otherwise(void)
{
    assert_int_equal(asyncore_create_socket(d, AF_INET, SOCK_STREAM), 0);
    assert_int_equal(asyncore_connect(d, &good), 0);
    client.text[0] = '\0';
    expect_text("connect; ");
    asyncore_close(d);
}

static void connected_otherwise(void **state)
{
    (void)state;
    fail_call("thread", 1);
    assert_int_equal(asyncore_connect_name(d, "good.example", "80"), -1);
    connect_otherwise();
    look_up_held("good.example");
    asyncore_close(d);
    connect_otherwise();
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
    look_up_held("good.example");
    peer_write(pair[1], "x", 1);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "");
    close(pair[1]);
}

static void map_freed_meanwhile(void **state)
{
    int before = open_descriptors();

    (void)state;
    look_up_held("good.example");
    asyncore_map_free(map);
    assert_true(open_descriptors() < before);
    assert_int_equal(d->fd, -1);
    names_let_go();
    await_threads(threads_before);
    map = asyncore_map_new(NULL);
    assert_int_equal(asyncore_dispatcher_init(d, &caller_class, -1, map), 0);
    look_up(d, "good.example");
    await_readable(d->fd);
    expect_text("connect; ");
}

static void timeout(void **state)
{
    int64_t started = clock_now();
    char text[60];

    (void)state;
    look_up_held("good.example");
    assert_int_equal(asyncore_set_timeout(d, 5000), 0);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    snprintf(text, sizeof text, "timeout; close %d; ", ETIMEDOUT);
    assert_string_equal(client.text, text);
    assert_int_equal((client.at - started) / CLOCK_MS, 5000);
}

static void sent_meanwhile(void **state)
{
    char data[10];
    int fd;

    (void)state;
    asyncore_dispatcher_with_send_init(&client.with_send, &caller_class, -1,
                                       map);
    look_up_held("good.example");
    assert_int_equal(asyncore_send(d, "hello", 5), 5);
    assert_int_equal(asyncore_queued(d), 5);
    assert_int_equal(asyncore_poll(map, 0), 0);
    names_let_go();
    await_readable(d->fd);
    expect_text("connect; ");
    asyncore_poll(map, 0);
    fd = peer_accept(listener);
    assert_int_equal(recv(fd, data, sizeof data, 0), 5);
    close(fd);
}

static void flags_meanwhile(void **state)
{
    (void)state;
    look_up_held("good.example");
    assert_int_equal(asyncore_set_handlers(d, &caller_asking), 0);
    asyncore_set_readable(d, false);
    asyncore_set_writable(d, true);
    for (int i = 0; i < 10; i++)
        assert_int_equal(asyncore_poll(map, 0), 0);
    assert_true(asyncore_readable(d));
    assert_false(asyncore_writable(d));
    assert_int_equal(client.asked, 0);
    names_let_go();
    await_readable(d->fd);
    expect_text("connect; ");
}

/* A loop of somebody else's. */
static void by_readwrite(void **state)
{
    (void)state;
    look_up(d, "good.example");
    await_readable(d->fd);
    asyncore_readwrite(d, 1);
    assert_int_equal(attempts(), 1);
    expect_text("connect; ");
}

static void again(caller *c)
{
    asyncore_close(&c->dispatcher);
    (void)asyncore_connect_name(&c->dispatcher, "good.example", "80");
}

static void again_in_close(void **state)
{
    char text[60];

    (void)state;
    client.on_close = again;
    look_up(d, "bad.example");
    await_readable(d->fd);
    snprintf(text, sizeof text, "close %d; ", ENOENT);
    expect_text(text);
    await_readable(d->fd);
    snprintf(text, sizeof text, "close %d; connect; ", ENOENT);
    expect_text(text);
}

static void freed_once(void **state)
{
    (void)state;
    asyncore_set_handlers(d, &caller_freed);
    look_up_held("good.example");
    asyncore_close(d);
    /* Back to life, and again. */
    look_up(d, "good.example");
    asyncore_close(d);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "free; ");
}

/* ---- Many --------------------------------------------------------------- */

enum { MANY = 60, THREADS = 4 };

static caller many[MANY];
static int many_connected;

static void count_connect(caller *c)
{
    (void)c;
    many_connected++;
}

static void start_many(void)
{
    many_connected = 0;
    for (int i = 0; i < MANY; i++) {
        memset(&many[i], 0, sizeof many[i]);
        many[i].on_connect = count_connect;
        asyncore_dispatcher_init(&many[i].dispatcher, &caller_class, -1, map);
        look_up(&many[i].dispatcher, "good.example");
    }
}

static void more_than_threads(void **state)
{
    (void)state;
    names_hold();
    start_many();
    names_await_inside(THREADS);
    assert_true(thread_count() <= threads_before + THREADS);
    assert_int_equal(asyncore_poll(map, 0), 0);
    names_let_go();
    for (int i = 0; i < MANY; i++)
        await_readable(many[i].dispatcher.fd);
    for (int i = 0; i < 100 && many_connected < MANY; i++)
        asyncore_poll(map, 0);
    assert_int_equal(many_connected, MANY);
    assert_int_equal(names_asked(), MANY);
    assert_int_equal(names_most_inside(), THREADS);
    await_threads(threads_before);
    asyncore_close_all(map);
}

/* Those that nobody waits for any more are not asked for. */
static void many_closed(void **state)
{
    (void)state;
    names_hold();
    start_many();
    names_await_inside(THREADS);
    for (int i = 0; i < MANY; i += 2)
        asyncore_close(&many[i].dispatcher);
    for (int i = MANY - 1; i > 0; i -= 2)
        asyncore_close(&many[i].dispatcher);
    assert_int_equal(asyncore_map_count(map), 0);
    names_let_go();
    await_threads(threads_before);
    assert_int_equal(names_asked(), THREADS);
    start_many();
    for (int i = 0; i < MANY; i++)
        await_readable(many[i].dispatcher.fd);
    asyncore_close_all(map);
}

static void many_and_the_map_freed(void **state)
{
    (void)state;
    names_hold();
    start_many();
    names_await_inside(THREADS);
    asyncore_map_free(map);
    map = NULL;
    names_let_go();
    await_threads(threads_before);
    assert_int_equal(names_asked(), THREADS);
}

/* Begun, closed and answered at the same time: for the thread sanitizer. */
static void in_a_hurry(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        start_many();
        for (int i = round % 7; i < MANY; i += 2) {
            asyncore_poll(map, 0);
            asyncore_close(&many[i].dispatcher);
        }
        asyncore_close_all(map);
    }
}

/* ---- Shortages ---------------------------------------------------------- */

static int expect_shortage(const char *what, int error)
{
    for (int n = 1;; n++) {
        int before = open_descriptors();

        fail_call(what, n);
        if (asyncore_connect_name(d, "good.example", "80") == 0) {
            fail_call("", 0);
            return n;
        }
        assert_int_equal(errno, error);
        fail_call("", 0);
        assert_int_equal(d->fd, -1);
        assert_false(d->connecting);
        assert_int_equal(asyncore_map_count(map), 0);
        assert_int_equal(open_descriptors(), before);
        assert_int_equal(asyncore_loop(map, -1, -1), 0);
    }
}

static void nothing_to_be_had(void **state)
{
    static const struct {
        const char *what;
        int error, least;
    } cases[] = {
        { "memory", ENOMEM, 4 },
        { "eventfd", EMFILE, 1 },
        { "mutex", ENOMEM, 1 },
        { "thread", EAGAIN, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
#ifndef ASYNCORE_HAVE_EVENTFD
        if (strcmp(cases[i].what, "eventfd") == 0)
            continue;
#endif
        client.text[0] = '\0';
        assert_true(expect_shortage(cases[i].what, cases[i].error) >
                    cases[i].least);
        await_readable(d->fd);
        expect_text("connect; ");
        asyncore_map_free(map);
        map = asyncore_map_new(NULL);
        assert_int_equal(asyncore_dispatcher_init(d, &caller_class, -1, map),
                         0);
    }
}

/* With a thread that is there already it goes on without another. */
static void no_further_thread(void **state)
{
    caller *second = &many[0];

    (void)state;
    look_up_held("good.example");
    memset(second, 0, sizeof *second);
    asyncore_dispatcher_init(&second->dispatcher, &caller_class, -1, map);
    fail_call("thread", 1);
    look_up(&second->dispatcher, "good.example");
    assert_int_equal(calls, 1);
    names_let_go();
    await_readable(d->fd);
    await_readable(second->dispatcher.fd);
    expect_text("connect; ");
    asyncore_close(&second->dispatcher);
}

/* A handle_free that is due stays so when opening anew fails. */
static void due_all_the_same(void **state)
{
    (void)state;
    asyncore_set_handlers(d, &caller_freed);
    look_up(d, "good.example");
    asyncore_close(d);
    fail_call("thread", 1);
    await_threads(threads_before);
    assert_int_equal(asyncore_connect_name(d, "good.example", "80"), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    assert_string_equal(client.text, "free; ");
}

static void no_memory_for_addresses(void **state)
{
    char text[40];

    (void)state;
    look_up(d, "good.example");
    await_readable(d->fd);
    fail_call("memory", 1);
    snprintf(text, sizeof text, "close %d; ", ENOMEM);
    expect_text(text);
}

/* ---- Fork --------------------------------------------------------------- */

static int child(void)
{
    char text[100];

    if (asyncore_map_after_fork(map) < 0)
        return 3;
#ifdef ASYNCORE_HAVE_EVENTFD
    /* An answer that the parent gets. */
    asyncore__waker_set(d->fd);
#endif
    for (int i = 0; i < 10; i++)
        asyncore_poll(map, 0);
    snprintf(text, sizeof text, "close %d; ", ECANCELED);
    if (strcmp(client.text, text) != 0)
        return 1;
    /* What is no look-up goes on. */
    if (strcmp(many[0].text, "connect; ") != 0)
        return 2;
    asyncore_map_free(map);
    return 0;
}

/* The parent keeps what it had. */
static void after_a_fork(void **state)
{
    caller *second = &many[0];
    int status;
    pid_t pid;

    (void)state;
    look_up_held("good.example");
    memset(second, 0, sizeof *second);
    asyncore_dispatcher_init(&second->dispatcher, &caller_class, -1, map);
    assert_int_equal(
        asyncore_connect_name(&second->dispatcher, "127.0.0.1", port_of(&good)),
        0);
    pid = fork();
    if (pid == 0)
        _exit(child());
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
#ifdef ASYNCORE_HAVE_EVENTFD
    /* The child has left it alone, and it is not ours. */
    await_readable(d->fd);
    assert_int_equal(asyncore_poll(map, 0), 1);
#endif
    names_let_go();
    await_readable(d->fd);
    expect_text("connect; ");
    assert_string_equal(second->text, "connect; ");
    asyncore_close(&second->dispatcher);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(numbers_need_no_thread),
        TEST(numbers_of_ipv6),
        TEST(a_name),
        TEST(no_such_name),
        TEST(invalid),
        TEST(refused_at_once),
        TEST(twice),
        TEST(closed_meanwhile),
        TEST(closed_when_answered),
        TEST(connected_otherwise),
        TEST(closed_by_another),
        TEST(map_freed_meanwhile),
        TEST(timeout),
        TEST(sent_meanwhile),
        TEST(flags_meanwhile),
        TEST(by_readwrite),
        TEST(again_in_close),
        TEST(freed_once),
        TEST(more_than_threads),
        TEST(many_closed),
        TEST(many_and_the_map_freed),
        TEST(in_a_hurry),
        TEST(nothing_to_be_had),
        TEST(no_further_thread),
        TEST(due_all_the_same),
        TEST(no_memory_for_addresses),
        TEST(after_a_fork),
    };

    main_thread = pthread_self();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
