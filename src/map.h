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
#include "sock.h"

#include <asyncore.h>
#include <pthread.h>

/*
 * Invariants, for 0 <= fd < size:
 *     slots[fd].d == NULL, or slots[fd].d->fd == fd, its map is this one, and
 *         it is listed; no others are
 *     count == the number of slots with d != NULL and !d->inner
 *     every registration and every removal gives the slot a new serial, even
 *         while somebody is there, odd while not: an event whose serial is the
 *         slot's has a dispatcher. The waker is watched under 0, and its slot
 *         is vacant
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

enum { ASYNCORE__WAKER_SERIAL = 0, ASYNCORE__VACANT = 1 };

/* A dispatcher as one remembers it while handlers run. */
typedef struct asyncore__ref {
    asyncore_map *map;
    int fd;
    uint32_t serial;
} asyncore__ref;

/* By whom a connection is counted: see limit.c. */
typedef struct asyncore__peer asyncore__peer;

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

/* By subject, for there are few of them. NOLINTNEXTLINE */
struct asyncore_map {
    const asyncore__poller_class *backend;
    asyncore__poller *poller;
    asyncore__slot *slots;
    int size, capacity;
    int changed, telling; /* two lists: the second has its turn now */
    uint32_t serial;      /* the last even one given */
    size_t count;

    int depth;     /* handlers of this map on the stack */
    int holds;     /* loops, turns and others that need the map to stay */
    bool stopping; /* asyncore_stop: leave them all */
    bool doomed;   /* asyncore_map_free: when they are left */

    /* Those that are asked before every wait; may hold some that have gone. */
    asyncore__ref *asked;
    size_t asked_count, asked_capacity;
    bool ask_again; /* their answers may be others by now */

    uint64_t renewed; /* the turn in which the poller was, last */

    asyncore_dispatcher *retired, **retired_end; /* due for handle_free */
    asyncore_dispatcher *evicted;                /* due for handle_close */
    asyncore_dispatcher *evicting;               /* those in it now */

    int process; /* whose it is: see fork.c */
    asyncore__counters counters;
    bool inspected; /* slow.on, or there is a guard */
    asyncore__slow slow;
    struct asyncore__guard *guard; /* against spins: see guard.c; or NULL */

    asyncore_signal_handler *signals; /* see signals.c */

    struct asyncore__resolver *resolver; /* see resolver.c; NULL: none yet */

    int finishing;         /* asyncore_stop_when_done: see stop.c; 0: no */
    asyncore_timer linger; /* set to the half, and then the end, of */
    int64_t linger_ms;

    asyncore_timer *timers; /* a heap: see timer.c */
    int64_t now;            /* by the clock, when timeouts looked last ... */
    bool timed;             /* ... in this turn, after its wait */
    uint64_t timer_order;

    /* asynchat's receive buffer, and what it gathers to send: lent to one
       channel at a time, see asynchat_impl.h. Made when first needed. */
    char *receive_buffer;
    struct asyncore__cork *cork;
    bool corked; /* the cork is lent, to one that is d->corking */

    /* The connection that handle_accepted is being given; NULL: none. */
    const asyncore_address *guest;
    int guest_fd;

    /* A listener's lack of descriptors: see listener.c. */
    int64_t resume_at; /* listeners wait until then; 0: none has to */
    bool refuse;       /* they have waited in vain */
    bool reported;     /* this shortage was */
    int reserve;       /* a descriptor to give up, or -1 */

    /* counted[fd], for fd below counted_size: NULL, or the peer by whom the
       dispatcher in slots[fd] is counted. Made when first needed. */
    asyncore__peer **counted;
    int counted_size;

    /* Other threads: see wakeup.c. */
    int waker[2];
    bool waker_lost; /* somebody has closed it */
    pthread_mutex_t lock;
    asyncore__call *calls, *calls_end; /* under lock */
    asyncore__call *due, *due_end;     /* taken from there, not yet made */
};

asyncore_map *asyncore__map(asyncore_map *map);

/* Whether a child has asyncore_map_after_fork behind it. Release builds take
   that for granted. */
static inline bool asyncore__map_is_ours(const asyncore_map *map)
{
#ifdef NDEBUG
    (void)map;
    return true;
#else
    return map->process == asyncore__process();
#endif
}

/* fd has a slot: it can be watched. EMFILE, ENOMEM. */
int asyncore__map_reserve(asyncore_map *map, int fd);

/* The number is the map's own. A child that closed a descriptor before it came
   here finds it in use anew at once: whoever had it is evicted. */
void asyncore__map_claim(asyncore_map *map, int fd);

/*
 * Enters d under d->fd, which is in no map; whoever stood there is evicted.
 * ENOMEM, EMFILE.
 */
int asyncore__map_add(asyncore_map *map, asyncore_dispatcher *d);
void asyncore__map_remove(asyncore_dispatcher *d);

/* The same, of one whose descriptor is closed right after, or has been. */
void asyncore__map_forget(asyncore_dispatcher *d);

/* The poller forgets d, until the next asyncore__map_touch. */
void asyncore__map_unwatch(asyncore_dispatcher *d);

static inline bool asyncore__in_map(const asyncore_dispatcher *d)
{
    return d->listed;
}

/* To one that is in no map: refers to nobody. */
static inline asyncore__ref asyncore__ref_to(const asyncore_dispatcher *d)
{
    asyncore__ref ref = { d->map, d->map->waker[0], ASYNCORE__WAKER_SERIAL };

    if (asyncore__in_map(d)) {
        ref.fd = d->fd;
        ref.serial = d->map->slots[d->fd].serial;
    }
    return ref;
}

/* The dispatcher, or NULL when it has left the map since. */
static inline asyncore_dispatcher *asyncore__deref(const asyncore__ref *ref)
{
    const asyncore__slot *slot = &ref->map->slots[ref->fd];

    return slot->serial == ref->serial ? slot->d : NULL;
}

/* Whether the dispatcher is in the map still. */
static inline bool asyncore__is_there(const asyncore__ref *ref)
{
    return ref->map->slots[ref->fd].serial == ref->serial;
}

/* Whether d is to be told of input that it has itself. */
static inline bool asyncore__is_primed(const asyncore_dispatcher *d)
{
    return d->primed && (d->interest & POLLIN) != 0;
}

/* d->interest may have changed: the poller is told before the next wait. One
   that was changed last and changes back leaves nothing to tell. */
static inline void asyncore__map_touch(asyncore_dispatcher *d)
{
    asyncore_map *map = d->map;
    asyncore__slot *slot = &map->slots[d->fd];

    if (d->interest != d->registered || asyncore__is_primed(d)) {
        if (slot->next_changed == ASYNCORE__NOT_CHANGED) {
            slot->next_changed = map->changed;
            map->changed = d->fd;
        }
    } else if (map->changed == d->fd) {
        map->changed = slot->next_changed;
        slot->next_changed = ASYNCORE__NOT_CHANGED;
    }
}

/* d has the cork no more, if it had it. */
static inline void asyncore__map_uncork(asyncore_dispatcher *d)
{
    if (d->corking) {
        d->corking = 0;
        d->map->corked = false;
    }
}

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

/* asyncore_stop_when_done is over. */
void asyncore__map_finished(asyncore_map *map);

/* All the poller's registrations are void: a new start. */
void asyncore__map_renew(asyncore_map *map);

/* A new poller, and a new waker, which it watches. -1 and errno with nothing
   changed. */
int asyncore__map_reopen(asyncore_map *map);

/* The map is doomed: it ends, if nobody is in it any more. */
void asyncore__map_end(asyncore_map *map);

/* Around every handler, so that nothing is freed under it; the map stays. */
static inline void asyncore__map_enter(asyncore_map *map)
{
    map->depth++;
}

static inline void asyncore__map_leave(asyncore_map *map)
{
    map->depth--;
    if (map->doomed)
        asyncore__map_end(map);
}

/* Around a loop or a turn: the map stays until it is released. */
static inline void asyncore__map_hold(asyncore_map *map)
{
    map->holds++;
}

static inline void asyncore__map_release(asyncore_map *map)
{
    map->holds--;
    if (map->doomed)
        asyncore__map_end(map);
}

void asyncore__map_free_retired(asyncore_map *map);

/* handle_free for all that are due, unless a handler is running. */
static inline void asyncore__map_reap(asyncore_map *map)
{
    if (map->retired != NULL)
        asyncore__map_free_retired(map);
}

#endif
