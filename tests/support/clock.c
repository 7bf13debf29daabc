/*
 * clock.c - see clock.h. A wait without end in which nothing is ready would
 * hang the test; it ends the program instead.
 */
#include "clock.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/select.h>
#include <time.h>
#ifdef ASYNCORE_HAVE_EPOLL
#include <sys/epoll.h>
#endif

static bool frozen;
static int64_t now, lateness;
static int reads, waits;

int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_select(int end, fd_set *in, fd_set *out, fd_set *pri,
                  struct timeval *time);
int __wrap_select(int end, fd_set *in, fd_set *out, fd_set *pri,
                  struct timeval *time);

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    if (!frozen)
        return __real_clock_gettime(clock, time);
    reads++;
    time->tv_sec = (time_t)(now / 1000000000);
    time->tv_nsec = (long)(now % 1000000000);
    return 0;
}

static void pass(int64_t nanoseconds)
{
    if (nanoseconds < 0) {
        fprintf(stderr, "a wait that nothing would end\n");
        abort();
    }
    now += nanoseconds + (nanoseconds > 0 ? lateness : 0);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    int n;

    if (!frozen)
        return __real_poll(fds, count, timeout);
    waits++;
    n = __real_poll(fds, count, 0);
    if (n == 0)
        pass(timeout * CLOCK_MS);
    return n;
}

int __wrap_select(int end, fd_set *in, fd_set *out, fd_set *pri,
                  struct timeval *time)
{
    struct timeval at_once = { 0, 0 };
    int n;

    if (!frozen)
        return __real_select(end, in, out, pri, time);
    waits++;
    n = __real_select(end, in, out, pri, &at_once);
    if (n == 0)
        pass(time == NULL ? -1
                          : time->tv_sec * INT64_C(1000000000) +
                                time->tv_usec * INT64_C(1000));
    return n;
}

#ifdef ASYNCORE_HAVE_EPOLL
int __real_epoll_wait(int epoll, struct epoll_event *events, int room,
                      int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int room,
                      int timeout);

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int room,
                      int timeout)
{
    int n;

    if (!frozen)
        return __real_epoll_wait(epoll, events, room, timeout);
    waits++;
    n = __real_epoll_wait(epoll, events, room, 0);
    if (n == 0)
        pass(timeout * CLOCK_MS);
    return n;
}
#endif

void clock_freeze(void)
{
    now = INT64_C(86400123456789);
    lateness = 0;
    reads = waits = 0;
    frozen = true;
}

void clock_release(void)
{
    frozen = false;
}

int64_t clock_now(void)
{
    return now;
}

void clock_advance(int64_t nanoseconds)
{
    now += nanoseconds;
}

void clock_set_lateness(int64_t nanoseconds)
{
    lateness = nanoseconds;
}

int clock_reads(void)
{
    return reads;
}

int clock_waits(void)
{
    return waits;
}
