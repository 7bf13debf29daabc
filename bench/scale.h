/*
 * scale.h - what all scale_* programs have in common: the questions. The
 * kernel is stood in for, see kernel.h, so that there may be a million
 * connections.
 *
 *     scale_LIBRARY KIND COUNT TURNS
 *
 * makes COUNT connections of that KIND, each allocated by itself with malloc
 * as a server does, which send back what they receive: 64 bytes that end with
 * CR LF. It prints what it has found out as "name value" lines:
 *
 *     idle        bytes a connection (but for the first 100), by the books of
 *                 malloc: what it has given out, with its own overhead
 *     idle-rss    the same as resident memory, which is what is really used
 *     used(-rss)  after a message on every one of them
 *     timeout(-rss)  with an idle timeout set besides, on every one
 *     turn        nanoseconds of a turn in which 100 of them have a message,
 *                 the same 100 each time: the median of TURNS
 *     cold        the same with another 100 in every turn
 *     reads, writes, others    calls of the kernel for a message, in these
 *     allocations              and of malloc, calloc and realloc
 *     toggle      calls of the kernel when 10,000 of them stop and start to be
 *                 waited for, each twice, up to the end of the next wait,
 *                 without the wait itself
 */
#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include "kernel.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BUSY = 100, TOGGLED = 10000, IDLE_MS = 60000 };

/* What a library does for its program. i counts the connections from 0. */
typedef struct library {
    const char *kind;
    void (*add)(int i, int fd);
    void (*turn)(void); /* which does not wait */
    void (*toggle)(int i);
    void (*set_timeout)(int i); /* NULL: this kind has none */
} library;

static long messages; /* that the server has had */
static int count;

_Noreturn static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Room for a pointer to each connection, which is the benchmark's own: it is
   written to, so that it is in memory before anything is measured. */
static inline void **new_index(void)
{
    void **index = malloc((size_t)count * sizeof *index);

    if (index == NULL)
        die("malloc");
    memset(index, 1, (size_t)count * sizeof *index);
    return index;
}

/* What callgrind is to count: --toggle-collect=serve. */
__attribute__((noinline)) static void serve(const library *l, long until)
{
    while (messages < until)
        l->turn();
}

/* ---- Memory ------------------------------------------------------------ */

typedef struct footprint {
    double allocated, resident;
} footprint;

static footprint measure(void)
{
    struct mallinfo2 info = mallinfo2();
    footprint now = { .allocated = (double)(info.uordblks + info.hblkhd) };
    FILE *file = fopen("/proc/self/statm", "r");
    long pages;

    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        die("/proc/self/statm");
    fclose(file);
    now.resident = (double)pages * (double)sysconf(_SC_PAGESIZE);
    return now;
}

static void print_growth(const char *name, footprint before)
{
    footprint now = measure();

    printf("%s %.1f\n%s-rss %.1f\n", name,
           (now.allocated - before.allocated) / (count - BUSY), name,
           (now.resident - before.resident) / (count - BUSY));
}

/* ---- Turns ------------------------------------------------------------- */

static uint32_t random_number(void)
{
    static uint32_t state = 2463534242;

    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* BUSY different ones, one from each of as many parts. */
static void choose(int *sockets)
{
    int i, part = count / BUSY;

    for (i = 0; i < BUSY; i++)
        sockets[i] =
            KERNEL_FIRST + i * part + (int)(random_number() % (uint32_t)part);
}

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void turn(const library *l)
{
    kernel_deliver();
    serve(l, messages + BUSY);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_turn(const library *l, const char *name, long turns,
                       bool others)
{
    static int sockets[BUSY];
    double *took = calloc((size_t)turns, sizeof *took);
    long i;

    if (took == NULL)
        die("calloc");
    choose(sockets);
    kernel_busy(sockets, BUSY);
    for (i = 0; i < turns; i++) {
        if (others)
            choose(sockets);
        kernel_deliver();
        took[i] = now_ns();
        serve(l, messages + BUSY);
        took[i] = now_ns() - took[i];
    }
    qsort(took, (size_t)turns, sizeof *took, by_size);
    printf("%s %.0f\n", name, took[turns / 2]);
    free(took);
}

static void print_calls(const library *l)
{
    enum { TURNS = 100 };
    long reads = kernel_reads, writes = kernel_writes, others = kernel_others;
    long allocations = kernel_allocations;
    int i;

    for (i = 0; i < TURNS; i++)
        turn(l);
    printf("reads %.3f\nwrites %.3f\nothers %.3f\nallocations %.3f\n",
           (double)(kernel_reads - reads) / TURNS / BUSY,
           (double)(kernel_writes - writes) / TURNS / BUSY,
           (double)(kernel_others - others) / TURNS / BUSY,
           (double)(kernel_allocations - allocations) / TURNS / BUSY);
}

static void message_to_all(const library *l, int all)
{
    int sockets[BUSY], at, i;

    for (at = 0; at + BUSY <= all; at += BUSY) {
        for (i = 0; i < BUSY; i++)
            sockets[i] = KERNEL_FIRST + at + i;
        kernel_busy(sockets, BUSY);
        turn(l);
        /* What is to be written may wait for a turn of its own. */
        l->turn();
    }
    kernel_busy(NULL, 0);
}

static void print_toggle(const library *l)
{
    int i, toggled = count < TOGGLED ? count : TOGGLED;
    long before;

    kernel_busy(NULL, 0);
    l->turn();
    before = kernel_others;
    for (i = 0; i < 2 * toggled; i++)
        l->toggle(i % toggled);
    l->turn();
    printf("toggle %ld\n", kernel_others - before - 1);
}

static void run(int argc, char **argv, const library *libraries)
{
    static const char message[] =
        "12345678901234567890123456789012345678901234567890123456789012\r\n";
    const library *l = libraries;
    footprint before;
    long turns;
    int i;

    if (argc == 4)
        while (l->kind != NULL && strcmp(l->kind, argv[1]) != 0)
            l++;
    if (argc != 4 || l->kind == NULL || (count = atoi(argv[2])) < BUSY) {
        fprintf(stderr, "usage: %s KIND COUNT TURNS\n", argv[0]);
        exit(2);
    }
    turns = atol(argv[3]);
    if (turns < 1)
        exit(2);
    /* Whether malloc gives the end of the heap back depends on what else a
       program has there. */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    kernel_open(count, message, sizeof message - 1);
    /* What is needed once is not counted. */
    for (i = 0; i < BUSY; i++)
        l->add(i, KERNEL_FIRST + i);
    message_to_all(l, BUSY);
    before = measure();
    for (; i < count; i++)
        l->add(i, KERNEL_FIRST + i);
    l->turn();
    print_growth("idle", before);
    print_turn(l, "turn", turns, false);
    print_turn(l, "cold", turns, true);
    print_calls(l);
    message_to_all(l, count);
    print_growth("used", before);
    print_toggle(l);
    if (l->set_timeout == NULL)
        return;
    for (i = 0; i < count; i++)
        l->set_timeout(i);
    l->turn();
    print_growth("timeout", before);
}

#endif
