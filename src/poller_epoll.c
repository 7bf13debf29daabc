/*
 * The epoll(7) backend, of Linux.
 *
 * What the interface gets wrong, and what is done about it here:
 *
 * a) It cannot watch regular files and directories (EPERM). Those are ready
 *    always, for poll(2) as well: they are kept in a list, and reported by
 *    every wait.
 * b) A registration belongs to the open file, not to the number. One whose
 *    number was closed while a duplicate lives (in a child, say) goes on
 *    reporting and can be named by nobody. Its old serial gives it away, and
 *    renew replaces the whole epoll descriptor. As closing ends it in all
 *    other cases, none is ended by a call of its own before such a duplicate
 *    was met, and every one from then on.
 * c) For the same reason a number closed and opened again behind our back has
 *    no registration where we think it has (ENOENT), or has one where we
 *    think it has none (EEXIST): the other operation is right then.
 * d) One call changes one descriptor. The map asks for changes of what it
 *    wants only, once before each wait.
 * e) The descriptor of b) changes under a loop that watches it, which another
 *    epoll would not even notice. Such a loop is given one that stays, an
 *    epoll that watches ours.
 */
#include "poller.h"
#include "sock.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>

_Static_assert(POLLIN == EPOLLIN && POLLPRI == EPOLLPRI &&
                   POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
                   POLLHUP == EPOLLHUP,
               "epoll's masks are those of poll");

enum { ASKED = POLLIN | POLLPRI | POLLOUT };

/* The user's half of struct epoll_event, which is packed on x86-64 and there
   as long as our event: the kernel fills in ours then. */
typedef union ticket {
    uint64_t data;
    struct {
        int fd;
        uint32_t serial;
    };
} ticket;

typedef struct always_ready {
    int fd;
    uint32_t serial;
    unsigned mask;
} always_ready;

struct asyncore__poller {
    int epoll;
    int outer; /* watches epoll for another loop; -1: nobody has asked */
    bool has_outlived;   /* a registration its descriptor: see b) */
    always_ready *files; /* files[0..count) */
    int count, capacity;
    int next;  /* the file that is reported first */
    int asked; /* how many of them are asked for something */
};

static asyncore__poller *open_poller(void)
{
    asyncore__poller *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->outer = -1;
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (p->epoll == -1) {
        free(p);
        return NULL;
    }
    return p;
}

static void close_poller(asyncore__poller *p)
{
    asyncore__fd_close(p->epoll);
    if (p->outer != -1)
        asyncore__fd_close(p->outer);
    free(p->files);
    free(p);
}

static int find_file(const asyncore__poller *p, int fd)
{
    int i;

    for (i = 0; i < p->count; i++)
        if (p->files[i].fd == fd)
            return i;
    return -1;
}

static void set_file(asyncore__poller *p, int i, always_ready file)
{
    p->asked -= (p->files[i].mask & ASKED) != 0;
    p->asked += (file.mask & ASKED) != 0;
    p->files[i] = file;
}

static int add_file(asyncore__poller *p, always_ready file)
{
    if (p->count == p->capacity) {
        int capacity = p->capacity * 2 + 4;
        always_ready *files =
            realloc(p->files, (size_t)capacity * sizeof *files);
        if (files == NULL)
            return -1;
        p->files = files;
        p->capacity = capacity;
    }
    p->files[p->count].mask = 0;
    set_file(p, p->count++, file);
    return 0;
}

static void remove_file(asyncore__poller *p, int i)
{
    static const always_ready none;

    set_file(p, i, none);
    p->files[i] = p->files[--p->count];
}

static int control_of(int epoll, int operation, int fd, uint32_t serial,
                      unsigned mask)
{
    ticket t = { .fd = fd, .serial = serial };
    struct epoll_event event = { .events = mask & ASKED };

    event.data.u64 = t.data;
    return epoll_ctl(epoll, operation, fd, &event);
}

static int control(asyncore__poller *p, int operation, int fd, uint32_t serial,
                   unsigned mask)
{
    return control_of(p->epoll, operation, fd, serial, mask);
}

static int watch(asyncore__poller *p, int fd, uint32_t serial, unsigned old,
                 unsigned mask)
{
    always_ready file = { fd, serial, mask };
    int i = old != 0 && p->count > 0 ? find_file(p, fd) : -1;

    if (i >= 0) {
        if (mask != 0)
            set_file(p, i, file);
        else
            remove_file(p, i);
        return 0;
    }
    if (mask == 0) {
        if (old != 0)
            (void)control(p, EPOLL_CTL_DEL, fd, serial, 0);
        return 0;
    }
    if (old != 0 && control(p, EPOLL_CTL_MOD, fd, serial, mask) == 0)
        return 0;
    if (old != 0 && errno != ENOENT)
        return -1;
    if (control(p, EPOLL_CTL_ADD, fd, serial, mask) == 0)
        return 0;
    if (errno == EEXIST)
        return control(p, EPOLL_CTL_MOD, fd, serial, mask);
    return errno == EPERM ? add_file(p, file) : -1;
}

static void forget(asyncore__poller *p, int fd, uint32_t serial, unsigned old)
{
    if (p->has_outlived || (p->count > 0 && find_file(p, fd) >= 0))
        (void)watch(p, fd, serial, old, 0);
}

/* The files have up to half of the room, each its turn. */
static int report_files(asyncore__poller *p, asyncore__event *events,
                        int capacity)
{
    int i, n = 0, looked;

    i = p->next < p->count ? p->next : 0;
    for (looked = 0; looked < p->count && n < (capacity + 1) / 2; looked++) {
        unsigned ready = p->files[i].mask & (POLLIN | POLLOUT);
        if (ready != 0) {
            events[n].fd = p->files[i].fd;
            events[n].serial = p->files[i].serial;
            events[n++].ready = ready;
        }
        if (++i == p->count)
            i = 0;
    }
    p->next = i;
    return n;
}

static bool kernel_fills_in_ours(void)
{
    return sizeof(struct epoll_event) == sizeof(asyncore__event) &&
           offsetof(struct epoll_event, data) == offsetof(asyncore__event, fd);
}

static int wait_and_translate(asyncore__poller *p, int timeout,
                              asyncore__event *events, int capacity)
{
    struct epoll_event ready[256];
    int i, n, most = (int)(sizeof ready / sizeof ready[0]);

    n = epoll_wait(p->epoll, ready, capacity < most ? capacity : most, timeout);
    for (i = 0; i < n; i++) {
        ticket t = { ready[i].data.u64 };
        events[i].ready = ready[i].events;
        events[i].fd = t.fd;
        events[i].serial = t.serial;
    }
    return n;
}

static int wait_for_others(asyncore__poller *p, int timeout,
                           asyncore__event *events, int capacity)
{
    int n;

    if (kernel_fills_in_ours())
        n = epoll_wait(p->epoll, (struct epoll_event *)(void *)events, capacity,
                       timeout);
    else
        n = wait_and_translate(p, timeout, events, capacity);
    return n < 0 && errno == EINTR ? 0 : n;
}

static int wait_for(asyncore__poller *p, int timeout, asyncore__event *events,
                    int capacity)
{
    int n, files;

    if (p->asked == 0)
        return wait_for_others(p, timeout, events, capacity);
    files = report_files(p, events, capacity);
    if (files == capacity)
        return files;
    n = wait_for_others(p, 0, events + files, capacity - files);
    return n < 0 ? files : files + n;
}

static int watch_epoll(int outer, int epoll)
{
    struct epoll_event event = { .events = EPOLLIN };

    return epoll_ctl(outer, EPOLL_CTL_ADD, epoll, &event);
}

static int renew(asyncore__poller *p, int fd, uint32_t serial)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    p->has_outlived = true;
    if (epoll == -1)
        return -1;
    if (control_of(epoll, EPOLL_CTL_ADD, fd, serial, POLLIN) < 0 ||
        (p->outer != -1 && watch_epoll(p->outer, epoll) < 0)) {
        asyncore__fd_close(epoll);
        return -1;
    }
    if (p->outer != -1) {
        /* A child may have a duplicate, which would keep it registered. */
        (void)epoll_ctl(p->outer, EPOLL_CTL_DEL, p->epoll, NULL);
    }
    asyncore__fd_close(p->epoll);
    p->epoll = epoll;
    p->count = 0;
    p->asked = 0;
    return 0;
}

static int pollfds(const asyncore__poller *p, struct pollfd *fds, int capacity)
{
    if (capacity > 0)
        fds[0] = (struct pollfd){ .fd = p->epoll, .events = POLLIN };
    return 1;
}

static int descriptor(asyncore__poller *p)
{
    int outer;

    if (p->outer != -1)
        return p->outer;
    outer = epoll_create1(EPOLL_CLOEXEC);
    if (outer != -1 && watch_epoll(outer, p->epoll) < 0) {
        asyncore__fd_close(outer);
        outer = -1;
    }
    return p->outer = outer;
}

static bool is_ready(const asyncore__poller *p)
{
    return p->asked > 0;
}

const asyncore__poller_class asyncore__poller_epoll = {
    .name = "epoll",
    .open = open_poller,
    .close = close_poller,
    .watch = watch,
    .forget = forget,
    .wait = wait_for,
    .renew = renew,
    .pollfds = pollfds,
    .descriptor = descriptor,
    .is_ready = is_ready,
};
