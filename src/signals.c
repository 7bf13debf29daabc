/*
 * Signals become calls in the loop: asyncore_signal, documented in asyncore.h.
 *
 * What a signal handler may do is little: it marks those who asked for the
 * signal, and wakes their maps. They stand in a list for each signal, which
 * belongs to the process, for so does the disposition.
 *
 * The lists are under a lock that a signal handler can take: it spins, and is
 * held only with every signal blocked, by a handler too, so that nobody waits
 * for a lock that the same thread holds further down its stack. A child may
 * find it held by a thread that it does not have; what that was at was a
 * pointer, whose old value is as good as the new one. So the lock names the
 * process of whoever holds it, and another process takes it over.
 */
#include "signals.h"
#include "map.h"
#include "sock.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

#ifdef NSIG
enum { SIGNALS = NSIG };
#else
enum { SIGNALS = 65 };
#endif

static atomic_int holder; /* 0: nobody */

/* Under the lock. */
static asyncore_signal_handler *handlers[SIGNALS];
static struct sigaction before[SIGNALS];

static void spin(int self)
{
    int found;

    do
        found = atomic_load_explicit(&holder, memory_order_relaxed);
    while (found == self || !atomic_compare_exchange_weak_explicit(
                                &holder, &found, self, memory_order_acquire,
                                memory_order_relaxed));
}

static void release(void)
{
    atomic_store_explicit(&holder, 0, memory_order_release);
}

static void lock(sigset_t *blocked)
{
    sigset_t all;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, blocked);
    spin(asyncore__process());
}

static void unlock(const sigset_t *blocked)
{
    int error = errno;

    release();
    (void)pthread_sigmask(SIG_SETMASK, blocked, NULL);
    errno = error;
}

/* Every signal is blocked here, see set_disposition. */
static void on_signal(int number)
{
    asyncore_signal_handler *h;
    int self = asyncore__process();

    spin(self);
    for (h = handlers[number]; h != NULL; h = h->next) {
        h->caught = self;
        /* Until asyncore_map_after_fork it is the parent's waker. */
        if (h->map->process == self)
            asyncore__waker_set(h->map->waker[1]);
    }
    release();
}

static int set_disposition(int number)
{
    struct sigaction action = { .sa_flags = SA_RESTART };

    action.sa_handler = on_signal;
    sigfillset(&action.sa_mask);
    return sigaction(number, &action, &before[number]);
}

int asyncore_signal(asyncore_signal_handler *handler, asyncore_map *map,
                    int number, void (*fn)(void *arg), void *arg)
{
    sigset_t blocked;
    int result = 0;

    map = asyncore__map(map);
    if (map == NULL)
        return -1;
    if (number <= 0 || number >= SIGNALS) {
        errno = EINVAL;
        return -1;
    }
    asyncore_signal_cancel(handler);
    *handler = (asyncore_signal_handler){
        .map = map,
        .fn = fn,
        .arg = arg,
        .number = number,
        .next_of_map = map->signals,
    };
    lock(&blocked);
    if (handlers[number] == NULL)
        result = set_disposition(number);
    if (result == 0) {
        handler->next = handlers[number];
        handlers[number] = handler;
    }
    unlock(&blocked);
    if (result == 0)
        map->signals = handler;
    else
        handler->map = NULL;
    return result;
}

static void remove_from_map(asyncore_signal_handler *handler)
{
    asyncore_signal_handler **link = &handler->map->signals;

    while (*link != handler)
        link = &(*link)->next_of_map;
    *link = handler->next_of_map;
    handler->map = NULL;
}

void asyncore_signal_cancel(asyncore_signal_handler *handler)
{
    asyncore_signal_handler **link;
    int number = handler->number;
    sigset_t blocked;

    if (handler->map == NULL)
        return;
    lock(&blocked);
    link = &handlers[number];
    while (*link != handler)
        link = &(*link)->next;
    *link = handler->next;
    if (handlers[number] == NULL)
        (void)sigaction(number, &before[number], NULL);
    unlock(&blocked);
    remove_from_map(handler);
}

/* The first of the map that is caught. */
static asyncore_signal_handler *find_caught(asyncore_map *map, bool take)
{
    asyncore_signal_handler *h;
    sigset_t blocked;

    if (map->signals == NULL)
        return NULL;
    lock(&blocked);
    for (h = map->signals; h != NULL && !h->caught; h = h->next_of_map)
        continue;
    if (h != NULL && take)
        h->caught = 0;
    unlock(&blocked);
    return h;
}

bool asyncore__signals_pending(asyncore_map *map)
{
    return find_caught(map, false) != NULL;
}

void asyncore__signals_run(asyncore_map *map)
{
    asyncore_signal_handler *h;
    int most = 0;

    /* A function that raises its own signal does not keep the loop here. */
    for (h = map->signals; h != NULL; h = h->next_of_map)
        most++;
    while (most-- > 0 && !map->stopping && (h = find_caught(map, true)) != NULL)
        h->fn(h->arg);
    /* What asyncore_stop has left over is for the next turn. */
    if (map->signals != NULL && map->stopping)
        asyncore_wakeup(map);
}

void asyncore__signals_after_fork(asyncore_map *map)
{
    asyncore_signal_handler *h;
    sigset_t blocked;

    if (map->signals == NULL)
        return;
    lock(&blocked);
    for (h = map->signals; h != NULL; h = h->next_of_map) {
        if (h->caught == map->process)
            asyncore__waker_set(map->waker[1]);
        else
            h->caught = 0;
    }
    unlock(&blocked);
}

void asyncore__signals_clear(asyncore_map *map)
{
    while (map->signals != NULL)
        asyncore_signal_cancel(map->signals);
}
