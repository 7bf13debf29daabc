/*
 * timers.h - what all timers_* programs have in common: COUNT timers, and what
 * is done with them.
 *
 *     timers_LIBRARY COUNT ROUNDS
 *
 * The timers are the user's, in an array. Everything but expire is done in a
 * handler, as programs do it: most libraries know the time there without
 * asking. Prints, as "name value" lines, nanoseconds for one timer, the median
 * of the ROUNDS:
 *
 *     set      anew, to a random time within a minute; in random order
 *     reset    of those, to a minute from now, as an idle timeout is; with the
 *              call for it, if there is one; in another random order
 *     cancel   of those, in yet another
 *     expire   after they have been set as for "set", the minute is over, and
 *              all are called, as many in a turn as the library likes
 *
 * The clock is real, but the benchmark can put it forward (--wrap).
 */
#ifndef BENCH_TIMERS_H
#define BENCH_TIMERS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Nothing goes off by itself while it is measured. */
enum { SOON_MS = 10000, MINUTE_MS = 60000 };

typedef struct library {
    void (*prepare)(int count);
    void (*call)(void (*fn)(void)); /* from the loop, in its next turn */
    void (*set)(int i, int ms);
    void (*reset)(int i); /* to MINUTE_MS */
    void (*cancel)(int i);
    void (*turn)(void); /* which does not wait */
} library;

static const library *used;
static int count;
static int *order, *delays; /* random */
static long called;         /* timers that have gone off */
static time_t ahead;        /* of the real clock, in seconds */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = __real_clock_gettime(clock, now);

    now->tv_sec += ahead;
    return result;
}

_Noreturn static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void gone_off(void)
{
    called++;
}

/* ---- What callgrind may count: --toggle-collect=NAME ------------------- */

__attribute__((noinline)) static void set(void)
{
    int i;

    for (i = 0; i < count; i++)
        used->set(order[i], delays[i]);
}

__attribute__((noinline)) static void reset(void)
{
    int i;

    for (i = 0; i < count; i++)
        used->reset(order[i]);
}

__attribute__((noinline)) static void cancel(void)
{
    int i;

    for (i = 0; i < count; i++)
        used->cancel(order[i]);
}

__attribute__((noinline)) static void expire(void)
{
    while (called < count)
        used->turn();
}

/* ------------------------------------------------------------------------ */

static uint32_t random_number(void)
{
    static uint32_t state = 2463534242;

    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void shuffle(void)
{
    int i;

    for (i = 0; i < count; i++) {
        int j = (int)(random_number() % (uint32_t)(i + 1));
        order[i] = order[j];
        order[j] = i;
        delays[i] = SOON_MS + (int)(random_number() % (MINUTE_MS - SOON_MS));
    }
}

static double now_ns(void)
{
    struct timespec now;

    __real_clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double took;

static void timed(void (*fn)(void))
{
    double begun = now_ns();

    fn();
    took = now_ns() - begun;
}

static void timed_set(void)
{
    timed(set);
}

static void timed_reset(void)
{
    timed(reset);
}

static void timed_cancel(void)
{
    timed(cancel);
}

/* In a handler. */
static double within(void (*fn)(void))
{
    shuffle();
    took = -1;
    used->call(fn);
    while (took < 0)
        used->turn();
    return took;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_median(const char *name, double *times, int rounds)
{
    qsort(times, (size_t)rounds, sizeof *times, by_size);
    printf("%s %.1f\n", name, times[rounds / 2] / count);
}

static void run(int argc, char **argv, const library *l)
{
    double *times[4];
    int i, rounds;

    if (argc != 3 || (count = atoi(argv[1])) < 1 ||
        (rounds = atoi(argv[2])) < 1) {
        fprintf(stderr, "usage: %s COUNT ROUNDS\n", argv[0]);
        exit(2);
    }
    used = l;
    order = calloc((size_t)count, sizeof *order);
    delays = calloc((size_t)count, sizeof *delays);
    for (i = 0; i < 4; i++)
        times[i] = calloc((size_t)rounds, sizeof *times[i]);
    if (order == NULL || delays == NULL || times[3] == NULL)
        die("calloc");
    l->prepare(count);
    for (i = 0; i < rounds; i++) {
        times[0][i] = within(timed_set);
        times[1][i] = within(timed_reset);
        times[2][i] = within(timed_cancel);
        within(timed_set);
        ahead += 2 * MINUTE_MS / 1000;
        called = 0;
        timed(expire);
        times[3][i] = took;
    }
    print_median("set", times[0], rounds);
    print_median("reset", times[1], rounds);
    print_median("cancel", times[2], rounds);
    print_median("expire", times[3], rounds);
}

#endif
