/*
 * What a backend is: numbers and masks, no dispatchers.
 *
 * A poller watches descriptors and says which are ready. Each registration
 * carries a serial, which comes back with its events, so that the map can
 * tell an event of a number's former owner. Masks are those of poll(2):
 * POLLIN, POLLPRI and POLLOUT ask; POLLERR, POLLHUP and POLLNVAL are told
 * unasked. ASYNCORE__WATCH stands in every mask that is registered, so that a
 * descriptor of which nothing is asked is still watched for its end.
 */
#ifndef ASYNCORE__POLLER_H
#define ASYNCORE__POLLER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

enum { ASYNCORE__WATCH = 0x40 };

/* Pollers pass over this one, of those above: POLLIN is not for handle_read. */
enum { ASYNCORE__NOT_READ = 0x80 };

/* In the order of struct epoll_event: see poller_epoll.c. */
typedef struct asyncore__event {
    uint32_t ready; /* as revents of poll(2) */
    int fd;
    uint32_t serial;
} asyncore__event;

typedef struct asyncore__poller asyncore__poller;

typedef struct asyncore__poller_class {
    const char *name;

    /* Descriptors from here on cannot be watched; 0: all can. */
    int fd_limit;

    /* A new poller that watches nothing; NULL and errno. */
    asyncore__poller *(*open)(void);
    void (*close)(asyncore__poller *poller);

    /*
     * From now on fd is watched for mask, under serial. old is the mask it was
     * watched for; 0 in either place stands for not at all. Removing works on
     * a descriptor that was closed, too. -1 and errno (EBADF, ENOMEM, ENOSPC)
     * leaves it unwatched; removing cannot fail.
     */
    int (*watch)(asyncore__poller *poller, int fd, uint32_t serial,
                 unsigned old, unsigned mask);

    /*
     * As watch for nothing, of a descriptor that is closed right after, or has
     * been, which may save the poller a call. NULL: there is no difference.
     */
    void (*forget)(asyncore__poller *poller, int fd, uint32_t serial,
                   unsigned old);

    /*
     * Waits up to timeout milliseconds (-1: for ever) and fills in up to
     * capacity events, at most one for each descriptor; when more are ready,
     * each has its turn in the calls that follow. 0 also when a signal came;
     * -1 and errno.
     */
    int (*wait)(asyncore__poller *poller, int timeout, asyncore__event *events,
                int capacity);

    /*
     * Watches nothing any more but fd, for POLLIN, and has got rid of
     * registrations that it cannot name. 0, or -1 with nothing changed. NULL
     * where there are none.
     */
    int (*renew)(asyncore__poller *poller, int fd, uint32_t serial);

    /*
     * What another loop has to wait for instead of wait: fills in up to
     * capacity of them, and returns how many there are.
     */
    int (*pollfds)(const asyncore__poller *poller, struct pollfd *fds,
                   int capacity);

    /*
     * The one descriptor that is readable when any of them is ready, the same
     * until the poller is closed; -1 and errno (EMFILE, ENFILE, ENOMEM,
     * ENOSPC). NULL: there is no such thing.
     */
    int (*descriptor)(asyncore__poller *poller);

    /* Whether some are ready that pollfds does not show. NULL: never. */
    bool (*is_ready)(const asyncore__poller *poller);
} asyncore__poller_class;

extern const asyncore__poller_class asyncore__poller_select;
extern const asyncore__poller_class asyncore__poller_poll;
#ifdef ASYNCORE_HAVE_EPOLL
extern const asyncore__poller_class asyncore__poller_epoll;
#endif

/* The names, the best first, ended by NULL. */
extern const char *const asyncore__poller_names[];

/* NULL: the best. Returns NULL for a name that is unknown. */
const asyncore__poller_class *asyncore__poller_find(const char *name);

#endif
