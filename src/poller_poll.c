/*
 * The poll(2) backend.
 *
 * What the interface gets wrong, and what is done about it here:
 *
 * a) It knows no registrations: the whole array goes to the kernel and is
 *    looked through after every wait. So the array is kept, and the look ends
 *    with the last ready entry.
 * b) It knows no serials: they stand beside the array.
 * c) It has no order. The look begins where the last one ended, so that with
 *    more ready than are asked for, none starves.
 *
 * Invariants, for 0 <= i < count:
 *     place[fds[i].fd] == i; place[fd] == -1 for every other fd < places
 *     serials[i] is that of fds[i]
 */
#include "poller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct asyncore__poller {
    struct pollfd *fds;
    uint32_t *serials;
    int *place;
    int count, capacity, places;
    int next; /* where the next look begins */
};

static asyncore__poller *open_poller(void)
{
    return calloc(1, sizeof(asyncore__poller));
}

static void close_poller(asyncore__poller *p)
{
    free(p->fds);
    free(p->serials);
    free(p->place);
    free(p);
}

static int grow(void **array, int count, size_t size)
{
    void *larger = realloc(*array, (size_t)count * size);

    if (larger == NULL)
        return -1;
    *array = larger;
    return 0;
}

static int make_room(asyncore__poller *p, int fd)
{
    if (fd >= p->places) {
        int places = fd + fd / 2 + 16;
        void *place = p->place;
        if (grow(&place, places, sizeof *p->place) < 0)
            return -1;
        p->place = place;
        while (p->places < places)
            p->place[p->places++] = -1;
    }
    if (p->count == p->capacity) {
        int capacity = p->capacity + p->capacity / 2 + 16;
        void *fds = p->fds, *serials = p->serials;
        int failed = grow(&fds, capacity, sizeof *p->fds) < 0 ||
                     grow(&serials, capacity, sizeof *p->serials) < 0;
        p->fds = fds;
        p->serials = serials;
        if (failed)
            return -1;
        p->capacity = capacity;
    }
    return 0;
}

static void forget(asyncore__poller *p, int fd)
{
    int hole = p->place[fd], last = --p->count;

    p->fds[hole] = p->fds[last];
    p->serials[hole] = p->serials[last];
    p->place[p->fds[hole].fd] = hole;
    p->place[fd] = -1;
}

static int watch(asyncore__poller *p, int fd, uint32_t serial, unsigned old,
                 unsigned mask)
{
    int i;

    if (mask == 0) {
        if (old != 0)
            forget(p, fd);
        return 0;
    }
    if (old == 0) {
        if (make_room(p, fd) < 0)
            return -1;
        p->place[fd] = p->count++;
    }
    i = p->place[fd];
    p->fds[i].fd = fd;
    p->fds[i].events = (short)(mask & (POLLIN | POLLPRI | POLLOUT));
    p->fds[i].revents = 0;
    p->serials[i] = serial;
    return 0;
}

static int wait_for(asyncore__poller *p, int timeout, asyncore__event *events,
                    int capacity)
{
    int left = poll(p->fds, (nfds_t)p->count, timeout);
    int i, n = 0, looked = 0;

    if (left <= 0)
        return left == 0 || errno == EINTR || errno == EAGAIN ? 0 : -1;
    i = p->next < p->count ? p->next : 0;
    for (; left > 0 && n < capacity && looked < p->count; looked++) {
        const struct pollfd *fd = &p->fds[i];
        if (fd->revents != 0) {
            events[n].fd = fd->fd;
            events[n].serial = p->serials[i];
            events[n++].ready = (unsigned short)fd->revents;
            left--;
        }
        if (++i == p->count)
            i = 0;
    }
    p->next = left > 0 ? i : 0;
    return n;
}

static int pollfds(const asyncore__poller *p, struct pollfd *fds, int capacity)
{
    int i;

    for (i = 0; i < p->count && i < capacity; i++)
        fds[i] = p->fds[i];
    return p->count;
}

const asyncore__poller_class asyncore__poller_poll = {
    .name = "poll",
    .open = open_poller,
    .close = close_poller,
    .watch = watch,
    .wait = wait_for,
    .pollfds = pollfds,
};
