/*
 * Looking names up off the loop: see resolver.h.
 *
 * getaddrinfo(3) cannot be interrupted, and may take as long as it likes. So
 * its threads are nobody's to wait for: a thread knows the resolver and its
 * look-ups, never the map or a dispatcher, and what it finds cancelled when it
 * comes back it frees itself. The last of them frees a resolver whose map has
 * gone. They end when nothing waits, and are made when something does.
 */
#include "resolver.h"
#include "extra.h"
#include "sock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/* As many as may hang in getaddrinfo, while others wait. */
enum { THREADS = 4 };

/* Of the stack, which holds what the system's name services need. */
enum { STACK_SIZE = 512 * 1024 };

/* Waiting: in the queue. Running: a thread's. Done: its beginner's. */
typedef enum stage { WAITING, RUNNING, DONE } stage;

/* All but what is constant is under the resolver's lock. */
struct asyncore__lookup {
    asyncore__resolver *resolver;
    asyncore__lookup *next, **link; /* of those waiting */
    stage stage;
    int waker; /* -1: cancelled */
    asyncore__endpoint what;
    struct addrinfo *found; /* of the thread, until it is done */
    int error;              /* 0: found */
};

struct asyncore__resolver {
    pthread_mutex_t lock;
    asyncore__lookup *waiting, **end;
    int threads;
    bool abandoned; /* its map has gone */
};

static void destroy(asyncore__resolver *r)
{
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void free_lookup(asyncore__lookup *lookup)
{
    if (lookup->found != NULL)
        freeaddrinfo(lookup->found);
    free(lookup);
}

static void add(asyncore__resolver *r, asyncore__lookup *lookup)
{
    lookup->next = NULL;
    lookup->link = r->end;
    *r->end = lookup;
    r->end = &lookup->next;
}

static void take_out(asyncore__lookup *lookup)
{
    *lookup->link = lookup->next;
    if (lookup->next != NULL)
        lookup->next->link = lookup->link;
    else
        lookup->resolver->end = lookup->link;
}

/* ---- The threads -------------------------------------------------------- */

/* In a thread, with the lock, which it gives up meanwhile. */
static void serve(asyncore__resolver *r, asyncore__lookup *lookup)
{
    int error = 0;

    take_out(lookup);
    lookup->stage = RUNNING;
    pthread_mutex_unlock(&r->lock);
    if (asyncore__endpoint_look_up(&lookup->what, &lookup->found) < 0) {
        error = errno;
        lookup->found = NULL;
    }
    pthread_mutex_lock(&r->lock);
    if (lookup->waker == -1) {
        free_lookup(lookup);
        return;
    }
    lookup->error = error;
    lookup->stage = DONE;
    /* Under the lock, for the waker is closed by whoever cancels. */
    asyncore__waker_set(lookup->waker);
}

static void *run(void *arg)
{
    asyncore__resolver *r = arg;
    bool last;

    pthread_mutex_lock(&r->lock);
    while (r->waiting != NULL)
        serve(r, r->waiting);
    r->threads--;
    last = r->abandoned && r->threads == 0;
    pthread_mutex_unlock(&r->lock);
    if (last)
        destroy(r);
    return NULL;
}

/* An error number. Signals are for the threads of the program. */
static int start_thread(asyncore__resolver *r)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    int error = pthread_attr_init(&attributes);

    if (error != 0)
        return error;
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attributes, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

/* ---- The map's side ----------------------------------------------------- */

static asyncore__resolver *resolver_of(asyncore_map *map)
{
    asyncore__resolver *r = map->resolver;

    if (r != NULL)
        return r;
    r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    errno = pthread_mutex_init(&r->lock, NULL);
    if (errno != 0) {
        free(r);
        return NULL;
    }
    r->end = &r->waiting;
    map->resolver = r;
    return r;
}

/* Sees to it that a thread will look for the look-up. An error number: none
   will, and it is out of the queue. */
static int enqueue(asyncore__resolver *r, asyncore__lookup *lookup)
{
    bool more;
    int error;

    pthread_mutex_lock(&r->lock);
    add(r, lookup);
    more = r->threads < THREADS;
    r->threads += more;
    pthread_mutex_unlock(&r->lock);
    if (!more)
        return 0;
    error = start_thread(r);
    if (error == 0)
        return 0;
    pthread_mutex_lock(&r->lock);
    r->threads--;
    /* The others leave nothing waiting. */
    if (r->threads > 0 || lookup->stage != WAITING)
        error = 0;
    else
        take_out(lookup);
    pthread_mutex_unlock(&r->lock);
    return error;
}

asyncore__lookup *asyncore__lookup_start(asyncore_map *map,
                                         const asyncore__endpoint *what,
                                         int waker)
{
    asyncore__resolver *r = resolver_of(map);
    asyncore__lookup *lookup;
    int error;

    if (r == NULL)
        return NULL;
    lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL)
        return NULL;
    lookup->resolver = r;
    lookup->waker = waker;
    lookup->what = *what;
    error = enqueue(r, lookup);
    if (error == 0)
        return lookup;
    free(lookup);
    errno = error;
    return NULL;
}

int asyncore__lookup_finish(asyncore__lookup *lookup, struct addrinfo **found)
{
    asyncore__resolver *r = lookup->resolver;
    bool done;

    pthread_mutex_lock(&r->lock);
    done = lookup->stage == DONE;
    pthread_mutex_unlock(&r->lock);
    if (!done) {
        errno = EINPROGRESS;
        return -1;
    }
    *found = lookup->found;
    errno = lookup->error;
    lookup->found = NULL;
    done = lookup->error == 0;
    free(lookup);
    return done ? 0 : -1;
}

void asyncore__lookup_cancel(asyncore__lookup *lookup)
{
    asyncore__resolver *r = lookup->resolver;
    bool ours;

    pthread_mutex_lock(&r->lock);
    if (lookup->stage == WAITING)
        take_out(lookup);
    ours = lookup->stage != RUNNING;
    lookup->waker = -1;
    pthread_mutex_unlock(&r->lock);
    if (ours)
        free_lookup(lookup);
}

void asyncore__resolver_free(asyncore__resolver *r)
{
    bool last;

    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->abandoned = true;
    last = r->threads == 0;
    pthread_mutex_unlock(&r->lock);
    if (last)
        destroy(r);
}

/* ---- After a fork ------------------------------------------------------- */

/* Its thread is the parent's, which may have held the lock and been anywhere:
   an answer that is there is left alone. */
void asyncore__lookup_forget(asyncore__lookup *lookup)
{
    free(lookup);
}

void asyncore__resolver_after_fork(asyncore_map *map)
{
    asyncore_dispatcher *d;
    int fd;

    for (fd = -1; (d = asyncore_map_next(map, fd)) != NULL;) {
        fd = d->fd;
        if (d->naming)
            d->extra->naming->forked(d);
    }
    /* Its lock cannot be trusted, and so not be destroyed. */
    free(map->resolver);
    map->resolver = NULL;
}
