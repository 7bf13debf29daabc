/*
 * pipes_epoll.c - the ring by epoll(7) alone, written for this one purpose: the
 * handler is inlined into the loop, and there is nothing general about it.
 * What a library costs is what it takes more than this.
 *
 * toggle: interest is noted, and the kernel told before the wait where it
 * differs from what it was told last. timeout: all have the same timeout, so
 * those that were active last are at the end of a list, which the wait's
 * timeout is taken from the head of. lazy: the time is noted, and all are looked
 * at once a minute. See pipes.h.
 */
#include "pipes.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

enum { BATCH = 256 };

typedef struct watched {
    pipe_end end;
    uint32_t wanted, told;
    bool changed;
    struct watched *next_changed;
    int64_t active;
    struct watched *older, *newer;
} watched;

static int epoll;
static watched *changed;
static watched oldest = { .older = &oldest, .newer = &oldest };
static int64_t now;

static int64_t clock_ms(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void control(watched *w, int operation)
{
    struct epoll_event event = { .events = w->wanted, .data.ptr = w };

    if (epoll_ctl(epoll, operation, w->end.fd, &event) < 0)
        die("epoll_ctl");
    w->told = w->wanted;
}

static inline void want(watched *w, uint32_t wanted)
{
    w->wanted = wanted;
    if (!w->changed) {
        w->changed = true;
        w->next_changed = changed;
        changed = w;
    }
}

static void tell_changes(void)
{
    watched *w;

    while ((w = changed) != NULL) {
        changed = w->next_changed;
        w->changed = false;
        if (w->wanted != w->told)
            control(w, EPOLL_CTL_MOD);
    }
}

static inline void append(watched *w)
{
    w->active = now;
    w->older = oldest.older;
    w->newer = &oldest;
    oldest.older->newer = w;
    oldest.older = w;
}

static inline void was_active(watched *w)
{
    w->older->newer = w->newer;
    w->newer->older = w->older;
    append(w);
}

static int until_timeout(void)
{
    int64_t left = oldest.newer->active + IDLE_MS - now;

    if (left < 0)
        die("idle");
    return (int)left;
}

/* Every so often all would be looked at. */
static int until_looked_at(void)
{
    static int64_t at;

    if (at == 0)
        at = now + IDLE_MS;
    if (at <= now)
        die("idle");
    return (int)(at - now);
}

/* Once for each mode, which is known when this is compiled. */
static inline __attribute__((always_inline)) void loop(bool toggle,
                                                       bool timeout, bool lazy)
{
    for (;;) {
        struct epoll_event events[BATCH];
        int i, n;
        if (toggle)
            tell_changes();
        n = epoll_wait(epoll, events, BATCH,
                       timeout ? until_timeout()
                       : lazy  ? until_looked_at()
                               : -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        if (timeout || lazy)
            now = clock_ms();
        for (i = 0; i < n; i++) {
            watched *w = events[i].data.ptr;
            if ((events[i].events & EPOLLIN) == 0)
                die("event");
            if (toggle) {
                want(w, 0);
                want(w, EPOLLIN);
            }
            if (timeout)
                was_active(w);
            if (lazy)
                w->active = now;
            if (pass_on(&w->end, take(&w->end)))
                return;
        }
    }
}

int main(int argc, char **argv)
{
    watched *all = open_pipes(argc, argv, sizeof *all, offsetof(watched, end));
    int i;

    epoll = epoll_create1(EPOLL_CLOEXEC);
    now = clock_ms();
    for (i = 0; i < pipes; i++) {
        all[i].wanted = EPOLLIN;
        control(&all[i], EPOLL_CTL_ADD);
        append(&all[i]);
    }
    start_pipes();
    if (is_mode("plain"))
        loop(false, false, false);
    else if (is_mode("toggle"))
        loop(true, false, false);
    else if (is_mode("timeout"))
        loop(false, true, false);
    else if (is_mode("lazy"))
        loop(false, false, true);
    else
        usage(argv[0]);
    return 0;
}
