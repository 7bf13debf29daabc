/*
 * test_signals.c - signals that become calls in the loop: asyncore_signal.
 */
#include <asyncore.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static asyncore_map *map;

static int set_up(void **state)
{
    (void)state;
    map = asyncore_map_new(NULL);
    return map == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    asyncore_map_free(map);
    return 0;
}

static void count(void *arg)
{
    ++*(int *)arg;
}

/* A loop that a signal handler alone does not keep going. */
static void keep(void *arg)
{
    (void)arg;
}

static bool is_default(int number)
{
    struct sigaction now;

    assert_int_equal(sigaction(number, NULL, &now), 0);
    return (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL;
}

/* Turns until *counter is wanted, ten seconds at most. */
static void turn_until(asyncore_map *m, const int *counter, int wanted)
{
    asyncore_timer deadline = { 0 };

    asyncore_call_later(&deadline, m, 10000, keep, NULL);
    while (*counter != wanted && deadline.map != NULL)
        asyncore_poll(m, -1);
    asyncore_timer_cancel(&deadline);
    assert_int_equal(*counter, wanted);
}

static void called_from_the_loop(void **state)
{
    asyncore_signal_handler handler = { 0 };
    int calls = 0;

    (void)state;
    assert_int_equal(asyncore_signal(&handler, map, SIGUSR1, count, &calls), 0);
    raise(SIGUSR1);
    assert_int_equal(calls, 0);
    turn_until(map, &calls, 1);
    raise(SIGUSR1);
    raise(SIGUSR1);
    turn_until(map, &calls, 2);
    asyncore_signal_cancel(&handler);
    asyncore_signal_cancel(&handler);
    assert_true(is_default(SIGUSR1));
}

static void former_handler(int number)
{
    (void)number;
}

static void disposition_comes_back(void **state)
{
    struct sigaction former = { .sa_handler = former_handler }, now;
    asyncore_signal_handler one = { 0 }, two = { 0 };
    int calls = 0;

    (void)state;
    sigaction(SIGUSR2, &former, NULL);
    asyncore_signal(&one, map, SIGUSR2, count, &calls);
    asyncore_signal(&two, map, SIGUSR2, count, &calls);
    raise(SIGUSR2);
    turn_until(map, &calls, 2);
    asyncore_signal_cancel(&one);
    raise(SIGUSR2);
    turn_until(map, &calls, 3);
    asyncore_signal_cancel(&two);
    sigaction(SIGUSR2, NULL, &now);
    assert_ptr_equal(now.sa_handler, former_handler);
    former.sa_handler = SIG_DFL;
    sigaction(SIGUSR2, &former, NULL);
}

static void set_anew(void **state)
{
    asyncore_signal_handler handler = { 0 };
    int first = 0, second = 0;

    (void)state;
    asyncore_signal(&handler, map, SIGUSR1, count, &first);
    asyncore_signal(&handler, map, SIGUSR2, count, &second);
    assert_true(is_default(SIGUSR1));
    raise(SIGUSR2);
    turn_until(map, &second, 1);
    assert_int_equal(first, 0);
    asyncore_signal_cancel(&handler);
    assert_true(is_default(SIGUSR2));
}

static void map_free_cancels(void **state)
{
    asyncore_signal_handler handler = { 0 };
    asyncore_map *other = asyncore_map_new(NULL);
    int calls = 0;

    (void)state;
    asyncore_signal(&handler, other, SIGUSR1, count, &calls);
    raise(SIGUSR1);
    asyncore_map_free(other);
    assert_null(handler.map);
    assert_true(is_default(SIGUSR1));
    assert_int_equal(calls, 0);
}

static void cannot_be_caught(void **state)
{
    static const int numbers[] = { SIGKILL, SIGSTOP, 0, -1, 10000 };
    asyncore_signal_handler handler = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        errno = 0;
        assert_int_equal(asyncore_signal(&handler, map, numbers[i], keep, NULL),
                         -1);
        assert_int_equal(errno, EINVAL);
        assert_null(handler.map);
    }
}

static void does_not_keep_a_loop_going(void **state)
{
    asyncore_signal_handler handler = { 0 };
    int calls = 0;

    (void)state;
    asyncore_signal(&handler, map, SIGUSR1, count, &calls);
    assert_int_equal(asyncore_loop(map, -1, -1), 0);
    asyncore_signal_cancel(&handler);
}

static asyncore_signal_handler pair[2];
static int pair_calls;

/* Each ends the other, and itself: only one of them is called. */
static void cancel_both(void *arg)
{
    (void)arg;
    pair_calls++;
    asyncore_signal_cancel(&pair[0]);
    asyncore_signal_cancel(&pair[1]);
}

static void cancelled_from_a_call(void **state)
{
    (void)state;
    pair_calls = 0;
    asyncore_signal(&pair[0], map, SIGUSR1, cancel_both, NULL);
    asyncore_signal(&pair[1], map, SIGUSR1, cancel_both, NULL);
    raise(SIGUSR1);
    turn_until(map, &pair_calls, 1);
    asyncore_poll(map, 0);
    assert_int_equal(pair_calls, 1);
    assert_true(is_default(SIGUSR1));
}

static void raise_again(void *arg)
{
    if (++*(int *)arg < 100)
        raise(SIGUSR1);
}

/* Each has a turn of its own: others are served between. */
static void raised_from_a_call(void **state)
{
    asyncore_signal_handler handler = { 0 };
    asyncore_timer deadline = { 0 };
    int calls = 0;

    (void)state;
    asyncore_signal(&handler, map, SIGUSR1, raise_again, &calls);
    asyncore_call_later(&deadline, map, 10000, keep, NULL);
    raise(SIGUSR1);
    asyncore_poll(map, -1);
    assert_int_equal(calls, 1);
    turn_until(map, &calls, 100);
    asyncore_timer_cancel(&deadline);
    asyncore_signal_cancel(&handler);
}

static void stop_first(void *arg)
{
    count(arg);
    asyncore_stop(map);
}

static void stopped_by_a_call(void **state)
{
    asyncore_signal_handler one = { 0 }, two = { 0 };
    asyncore_timer deadline = { 0 };
    int calls = 0;

    (void)state;
    asyncore_signal(&one, map, SIGUSR1, stop_first, &calls);
    asyncore_signal(&two, map, SIGUSR1, stop_first, &calls);
    asyncore_call_later(&deadline, map, 10000, keep, NULL);
    raise(SIGUSR1);
    asyncore_loop(map, -1, -1);
    assert_int_equal(calls, 1);
    asyncore_loop(map, -1, -1);
    assert_int_equal(calls, 2);
    asyncore_timer_cancel(&deadline);
    asyncore_signal_cancel(&one);
    asyncore_signal_cancel(&two);
}

enum { THREADS = 4, ROUNDS = 200 };

/* A loop of its own, which sets and cancels while signals come. */
static void *run(void *arg)
{
    int *calls = arg;
    asyncore_map *own = asyncore_map_new(NULL);
    asyncore_signal_handler handler = { 0 }, other = { 0 };

    for (int i = 0; own != NULL && i < ROUNDS; i++) {
        int unused = 0, before = *calls;

        asyncore_signal(&handler, own, SIGUSR1, count, calls);
        asyncore_signal(&other, own, SIGUSR2, count, &unused);
        pthread_kill(pthread_self(), SIGUSR1);
        asyncore_signal_cancel(&other);
        while (*calls == before)
            asyncore_poll(own, 0);
        if (i % 3 == 0)
            asyncore_signal_cancel(&handler);
    }
    asyncore_map_free(own);
    return NULL;
}

static void maps_in_several_threads(void **state)
{
    asyncore_signal_handler keeper = { 0 };
    pthread_t threads[THREADS];
    int calls[THREADS] = { 0 }, own = 0;

    (void)state;
    /* Or a late one would find the default. */
    asyncore_signal(&keeper, map, SIGUSR1, count, &own);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &calls[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        assert_true(calls[i] >= ROUNDS);
    turn_until(map, &own, 1);
    asyncore_signal_cancel(&keeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(called_from_the_loop),
        cmocka_unit_test(disposition_comes_back),
        cmocka_unit_test(set_anew),
        cmocka_unit_test(map_free_cancels),
        cmocka_unit_test(cannot_be_caught),
        cmocka_unit_test(does_not_keep_a_loop_going),
        cmocka_unit_test(cancelled_from_a_call),
        cmocka_unit_test(raised_from_a_call),
        cmocka_unit_test(stopped_by_a_call),
        cmocka_unit_test(maps_in_several_threads),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
