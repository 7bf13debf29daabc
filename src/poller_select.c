/*
 * The select(2) backend.
 *
 * What the interface gets wrong, and what is done about it here:
 *
 * a) Its sets end at FD_SETSIZE, and a larger number is written past their
 *    end. fd_limit keeps those out.
 * b) It reports no hangup. Where something is asked, a hangup makes the
 *    descriptor readable, or writable if it is an error, which is all that is
 *    needed. Where nothing is asked the descriptor is put into the read set,
 *    and poll(2) is asked what it means; when it is but data, which hides the
 *    end from select, it is looked at again before every wait and every
 *    100 ms until something is asked of it.
 * c) One closed descriptor fails the call (EBADF) and does not say which.
 *    poll(2) does.
 * d) The lowest descriptors come first. The look begins where the last one
 *    ended, so that with more ready than are asked for, none starves.
 */
#include "poller.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/select.h>

enum { ASKED = POLLIN | POLLPRI | POLLOUT, HIDDEN_CHECK_MS = 100 };

/* Invariants: masks[fd] == 0 for fd >= end; an fd is in hidden only if
   masks[fd] == ASYNCORE__WATCH. */
struct asyncore__poller {
    fd_set in, out, pri; /* what is asked, and in for watching the rest */
    fd_set hidden;
    int hidden_count;
    int end;
    int next; /* where the next look begins */
    uint32_t serials[FD_SETSIZE];
    unsigned char masks[FD_SETSIZE];
};

static asyncore__poller *open_poller(void)
{
    asyncore__poller *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    FD_ZERO(&p->in);
    FD_ZERO(&p->out);
    FD_ZERO(&p->pri);
    FD_ZERO(&p->hidden);
    return p;
}

static void close_poller(asyncore__poller *p)
{
    free(p);
}

static void put(fd_set *set, int fd, bool member)
{
    if (member)
        FD_SET(fd, set);
    else
        FD_CLR(fd, set);
}

static void hide(asyncore__poller *p, int fd, bool hidden)
{
    if ((FD_ISSET(fd, &p->hidden) != 0) != hidden)
        p->hidden_count += hidden ? 1 : -1;
    put(&p->hidden, fd, hidden);
    put(&p->in, fd, !hidden);
}

static int watch(asyncore__poller *p, int fd, uint32_t serial, unsigned old,
                 unsigned mask)
{
    (void)old;
    hide(p, fd, false);
    put(&p->in, fd, mask == ASYNCORE__WATCH || (mask & POLLIN) != 0);
    put(&p->out, fd, (mask & POLLOUT) != 0);
    put(&p->pri, fd, (mask & POLLPRI) != 0);
    p->masks[fd] = (unsigned char)mask;
    p->serials[fd] = serial;
    if (mask != 0 && fd >= p->end)
        p->end = fd + 1;
    while (p->end > 0 && p->masks[p->end - 1] == 0)
        p->end--;
    return 0;
}

/* How fd has ended, of which nothing is asked; 0 if it has not. */
static unsigned ended(int fd)
{
    struct pollfd one = { .fd = fd };

    return poll(&one, 1, 0) > 0 ? (unsigned short)one.revents : 0;
}

/* What readiness select found for fd, in the terms of poll. */
static unsigned found(asyncore__poller *p, int fd, const fd_set *in,
                      const fd_set *out, const fd_set *pri)
{
    unsigned ready = 0;

    if (FD_ISSET(fd, in)) {
        if (p->masks[fd] & ASKED)
            return POLLIN | (FD_ISSET(fd, out) ? POLLOUT : 0u) |
                   (FD_ISSET(fd, pri) ? POLLPRI : 0u);
        ready = ended(fd);
        if (ready == 0)
            hide(p, fd, true);
    } else {
        ready = (FD_ISSET(fd, out) ? POLLOUT : 0u) |
                (FD_ISSET(fd, pri) ? POLLPRI : 0u);
    }
    return ready;
}

/* What one look over the descriptors has found. */
typedef struct round_trip {
    asyncore__event *events;
    int capacity, count;
} round_trip;

static bool collect(round_trip *trip, const asyncore__poller *p, int fd,
                    unsigned ready)
{
    if (ready != 0) {
        asyncore__event event = { ready, fd, p->serials[fd] };
        trip->events[trip->count++] = event;
    }
    return trip->count < trip->capacity;
}

/* The descriptors whose end select's own sets do not show: the hidden ones, or
   after EBADF the others. */
static int look_for_ended(const asyncore__poller *p, bool hidden,
                          asyncore__event *events, int capacity)
{
    round_trip trip = { events, capacity, 0 };
    int fd;

    for (fd = 0; fd < p->end; fd++) {
        unsigned ready;
        if (p->masks[fd] == 0 || (FD_ISSET(fd, &p->hidden) != 0) != hidden)
            continue;
        ready = ended(fd);
        if (!hidden)
            ready &= POLLNVAL;
        if (!collect(&trip, p, fd, ready))
            break;
    }
    return trip.count;
}

static int look(asyncore__poller *p, int left, const fd_set *in,
                const fd_set *out, const fd_set *pri, asyncore__event *events,
                int capacity)
{
    round_trip trip = { events, capacity, 0 };
    int fd = p->next < p->end ? p->next : 0, looked, end = p->end;

    for (looked = 0; looked < end && left > 0; looked++) {
        int bits = (FD_ISSET(fd, in) != 0) + (FD_ISSET(fd, out) != 0) +
                   (FD_ISSET(fd, pri) != 0);
        left -= bits;
        if (bits > 0 && !collect(&trip, p, fd, found(p, fd, in, out, pri)))
            left = 0;
        if (++fd == end)
            fd = 0;
    }
    p->next = fd;
    return trip.count;
}

/* One call of select. *go_on: nothing has happened, as far as one waits for
   it; a signal is something. */
static int wait_once(asyncore__poller *p, int timeout, asyncore__event *events,
                     int capacity, bool *go_on)
{
    fd_set in = p->in, out = p->out, pri = p->pri;
    struct timeval time, *limit = NULL;
    int n, hidden = 0;

    *go_on = false;
    /* They have up to half of the room: the rest has its turn beside them. */
    if (p->hidden_count > 0) {
        hidden = look_for_ended(p, true, events, (capacity + 1) / 2);
        events += hidden;
        capacity -= hidden;
        if (hidden > 0)
            timeout = 0;
    }
    if (timeout >= 0) {
        time.tv_sec = timeout / 1000;
        time.tv_usec = timeout % 1000 * 1000L;
        limit = &time;
    }
    n = capacity > 0 ? select(p->end, &in, &out, &pri, limit) : 0;
    if (n < 0 && errno == EBADF)
        return hidden + look_for_ended(p, false, events, capacity);
    if (n < 0)
        return hidden > 0 || errno == EINTR ? hidden : -1;
    if (n > 0)
        n = look(p, n, &in, &out, &pri, events, capacity);
    *go_on = hidden + n == 0;
    return hidden + n;
}

static int wait_for(asyncore__poller *p, int timeout, asyncore__event *events,
                    int capacity)
{
    bool go_on = true;
    int n = 0;

    while (go_on) {
        int hidden = p->hidden_count, step = timeout;
        if (hidden > 0 && (step < 0 || step > HIDDEN_CHECK_MS))
            step = HIDDEN_CHECK_MS;
        n = wait_once(p, step, events, capacity, &go_on);
        /* One more is hidden now: it was not the time that has run out. */
        if (p->hidden_count > hidden)
            continue;
        if (step == timeout)
            break;
        if (timeout > 0)
            timeout -= step;
    }
    return n;
}

/* poll(2) shows the end of those of which nothing is asked. */
static int pollfds(const asyncore__poller *p, struct pollfd *fds, int capacity)
{
    int fd, n = 0;

    for (fd = 0; fd < p->end; fd++) {
        if (p->masks[fd] == 0)
            continue;
        if (n < capacity)
            fds[n] = (struct pollfd){
                .fd = fd,
                .events = (short)(p->masks[fd] & ASKED),
            };
        n++;
    }
    return n;
}

const asyncore__poller_class asyncore__poller_select = {
    .name = "select",
    .fd_limit = FD_SETSIZE,
    .open = open_poller,
    .close = close_poller,
    .watch = watch,
    .wait = wait_for,
    .pollfds = pollfds,
};
