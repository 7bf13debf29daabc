/*
 * The map: descriptor -> {dispatcher, serial}, and what a dispatcher leaves
 * behind when it has gone.
 *
 * Knows who is there and who is due; never calls a handler but through those
 * above it, and never decides what to wait for: d->interest is the
 * dispatcher's word (level 3), this only passes it to the poller.
 *
 * Between two handler calls others hold an asyncore__ref, never a pointer.
 */
#ifndef ASYNCORE__MAP_H
#define ASYNCORE__MAP_H

#include "poller.h"

#include <asyncore.h>
#include <pthread.h>

/*
 * Invariants, for 0 <= fd < size:
 *     slots[fd].d == NULL, or slots[fd].d->fd == fd, its map is this one, and
 *         it is listed; no others are
 *     count == the number of slots with d != NULL
 *     every registration and every removal gives the slot a new serial
 *     slots[fd].next_changed == NOT_CHANGED, or the slot is in the list that
 *         begins with changed or telling; a slot whose d->interest differs from
 *         d->registered, or whose d is primed, is in it
 */
typedef struct asyncore__slot {
    asyncore_dispatcher *d;
    uint32_t serial;
    int next_changed;
} asyncore__slot;

enum { ASYNCORE__END = -1, ASYNCORE__NOT_CHANGED = -2 };

/* A dispatcher as one remembers it while handlers run. */
typedef struct asyncore__ref {
    asyncore_map *map;
    int fd;
    uint32_t serial;
} asyncore__ref;

/* A call from asyncore_call_soon. */
typedef struct asyncore__call asyncore__call;

/* As asyncore_stats tells them; empty: datagrams without a byte, which are
   no less of an event. */
typedef struct asyncore__counters {
    uint64_t turns, events, received, sent, accepted, closed, empty;
} asyncore__counters;

/* How long handlers take, in nanoseconds: see stats.c. */
typedef struct asyncore__slow {
    bool on;
    int64_t limit;
    int64_t since; /* when the one that runs now began */
    uint64_t count;
    int64_t longest;
    char name[64]; /* whose that was */
} asyncore__slow;

struct asyncore_map {
    const asyncore__poller_class *backend;
    asyncore__poller *poller;
    asyncore__slot *slots;
    int size, capacity;
    int changed, telling; /* two lists: the second has its turn now */
    uint32_t serial;      /* the last one given */
    size_t count;

    int depth;     /* handlers of this map on the stack */
    int holds;     /* loops, turns and others that need the map to stay */
    bool stopping; /* asyncore_stop: leave them all */
    bool doomed;   /* asyncore_map_free: when they are left */

    /* Those that are asked before every wait; may hold some that have gone. */
    asyncore__ref *asked;
    size_t asked_count, asked_capacity;
    bool ask_again; /* their answers may be others by now */

    asyncore_dispatcher *retired, **retired_end; /* due for handle_free */
    asyncore_dispatcher *evicted;                /* due for handle_close */
    asyncore_dispatcher *evicting;               /* those in it now */

    asyncore__counters counters;
    bool inspected; /* slow.on, or there is a guard */
    asyncore__slow slow;
    struct asyncore__guard *guard; /* against spins: see guard.c; or NULL */

    asyncore_signal_handler *signals; /* see signals.c */

    asyncore_timer *timers; /* a heap: see timer.c */
    int64_t now;            /* when this turn's wait ended, if one is set */
    uint64_t timer_order;

    /* asynchat's receive buffer, and what it gathers to send: lent to one
       channel at a time, see asynchat_impl.h. Made when first needed. */
    char *receive_buffer;
    struct asyncore__cork *cork;

    /* A listener's lack of descriptors: see listener.c. */
    int64_t resume_at; /* listeners wait until then; 0: none has to */
    bool refuse;       /* they have waited in vain */
    bool reported;     /* this shortage was */
    int reserve;       /* a descriptor to give up, or -1 */

    /* Other threads: see wakeup.c. */
    int waker[2];
    pthread_mutex_t lock;
    asyncore__call *calls, *calls_end; /* under lock */
    asyncore__call *due, *due_end;     /* taken from there, not yet made */
};

asyncore_map *asyncore__map(asyncore_map *map);

/*
 * Enters d under d->fd, which is in no map; whoever stood there is evicted.
 * ENOMEM, EMFILE.
 */
int asyncore__map_add(asyncore_map *map, asyncore_dispatcher *d);
void asyncore__map_remove(asyncore_dispatcher *d);

static inline bool asyncore__in_map(const asyncore_dispatcher *d)
{
    return d->listed;
}

asyncore__ref asyncore__ref_to(const asyncore_dispatcher *d);

/* The dispatcher, or NULL when it has left the map since. */
static inline asyncore_dispatcher *asyncore__deref(const asyncore__ref *ref)
{
    const asyncore__slot *slot = &ref->map->slots[ref->fd];

    return slot->serial == ref->serial ? slot->d : NULL;
}

/* Whether d is to be told of input that it has itself. */
static inline bool asyncore__is_primed(const asyncore_dispatcher *d)
{
    return d->primed && (d->interest & POLLIN) != 0;
}

/* d->interest may have changed: the poller is told before the next wait. */
void asyncore__map_touch(asyncore_dispatcher *d);

/* Has d asked before every wait. ENOMEM. */
int asyncore__map_ask(asyncore_dispatcher *d);

/* Due for handle_free, or no longer. */
void asyncore__map_retire(asyncore_dispatcher *d);
void asyncore__map_unretire(asyncore_dispatcher *d);

/* Of those evicted: d's handle_close begins; it has not been closed since. */
void asyncore__map_begin_end(asyncore_dispatcher *d);
bool asyncore__map_is_ending(const asyncore_map *map,
                             const asyncore_dispatcher *d);
void asyncore__map_unevict(asyncore_dispatcher *d);

/* All the poller's registrations are void: a new start. */
void asyncore__map_renew(asyncore_map *map);

/* Around every handler, so that nothing is freed under it; the map stays. */
void asyncore__map_enter(asyncore_map *map);
void asyncore__map_leave(asyncore_map *map);

/* Around a loop or a turn: the map stays until it is released. */
void asyncore__map_hold(asyncore_map *map);
void asyncore__map_release(asyncore_map *map);

/* handle_free for all that are due, unless a handler is running. */
void asyncore__map_reap(asyncore_map *map);

#endif
