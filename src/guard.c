/*
 * The spin guard: asyncore_set_spin_guard, documented in asyncore.h.
 *
 * Whoever is reported ready in LIMIT turns running and within a second, while
 * its handlers change nothing, makes the loop spin. Nothing changed means: no
 * byte passed and nobody was accepted by a call of the library, on any
 * dispatcher, none came to the map or left it, and d itself is as it was to
 * the last bit. Those who work on d->fd by themselves are seen by nobody but
 * the kernel, which is asked now and then, and the last time around.
 *
 * Such a dispatcher is throttled: for a while it is not watched for what it
 * spun on, and after that it has one try, which doubles the while or ends it.
 * Whatever changes ends it, too: that it wants something else (known when its
 * interest is computed, in asyncore__guard_filter), or that something comes of
 * what it is still watched for.
 *
 * Invariant: d->throttled exactly for those in a map whose record, which has
 * their serial, has something masked; they are in the list of those.
 */
#include "guard.h"
#include "stats.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS INT64_C(1000000)
#define NEVER INT64_MAX

enum { LIMIT = 1000, WITHIN_MS = 1000, SHORTEST_MS = 10, LONGEST_MS = 1000 };

/* Events between two looks at the kernel: no power of two, for what it tells
   of datagrams comes round again after so many. */
enum { LOOK_EVERY = 61 };

enum { ASKED = POLLIN | POLLPRI | POLLOUT };

/* Of a descriptor, under that serial. */
typedef struct record {
    uint32_t serial;
    int count;                         /* of events running, without effect */
    uint64_t turn;                     /* of the last */
    int64_t since;                     /* the first */
    unsigned char ready;               /* in each of them */
    unsigned char masked;              /* not watched for now */
    unsigned char interest;            /* d's, when they came */
    unsigned char wishes;              /* the same, but for what is masked */
    bool told;                         /* its spinning was reported */
    bool listed;                       /* among those with something masked */
    const asyncore_handlers *handlers; /* when it was throttled */
    uint64_t print;                    /* of the last look, see sock.h */
    bool moved;                        /* it was another before */
    int pause_ms;                      /* 0: it has not been throttled */
    int64_t until;
    int next;
} record;

struct asyncore__guard {
    uint64_t complete; /* the last turn that served all who were ready */
    asyncore_timer timer;
    int64_t soonest; /* when it goes off; NEVER: it is not set */
    int throttled;   /* the first; may hold some that are it no more */
    record *records;
    int size;
};

static record *find(const asyncore__guard *guard, int fd)
{
    return guard != NULL && fd < guard->size ? &guard->records[fd] : NULL;
}

/* The record of ref, made or made anew where it has to be. NULL: ENOMEM. */
static record *make(asyncore__guard *guard, const asyncore__ref *ref)
{
    record *r;

    if (ref->fd >= guard->size) {
        int size = ref->map->size;
        record *records =
            realloc(guard->records, (size_t)size * sizeof *records);
        if (records == NULL)
            return NULL;
        memset(records + guard->size, 0,
               (size_t)(size - guard->size) * sizeof *records);
        guard->records = records;
        guard->size = size;
    }
    r = &guard->records[ref->fd];
    if (r->serial != ref->serial) {
        bool listed = r->listed;
        int next = r->next;
        *r = (record){ .serial = ref->serial, .listed = listed, .next = next };
    }
    return r;
}

/* ---- Throttled ---------------------------------------------------------- */

static void set_timer(asyncore_map *map, int64_t now, int64_t until);

/* Something has changed. */
static void calm(asyncore_dispatcher *d, record *r)
{
    d->throttled = 0;
    r->masked = 0;
    r->count = 0;
}

/* It has one try. */
static void let_go(asyncore_map *map, asyncore_dispatcher *d, record *r,
                   int64_t now)
{
    r->ready = r->masked;
    r->interest = r->wishes;
    r->count = LIMIT - 1;
    r->turn = map->counters.turns;
    r->since = now;
    r->masked = 0;
    d->throttled = 0;
    asyncore__update(d);
}

/* Lets those go whose time has come, and sees to the rest. */
static void look_through(void *arg)
{
    asyncore_map *map = arg;
    asyncore__guard *guard = map->guard;
    int64_t now = asyncore__now(), soonest = NEVER;
    int fd, next = guard->throttled;

    guard->throttled = ASYNCORE__END;
    guard->soonest = NEVER;
    while ((fd = next) != ASYNCORE__END) {
        record *r = &guard->records[fd];
        asyncore_dispatcher *d = map->slots[fd].d;
        next = r->next;
        r->listed = false;
        if (d == NULL || !d->throttled)
            continue;
        if (r->until <= now) {
            let_go(map, d, r, now);
            continue;
        }
        r->listed = true;
        r->next = guard->throttled;
        guard->throttled = fd;
        if (r->until < soonest)
            soonest = r->until;
    }
    if (soonest != NEVER)
        set_timer(map, now, soonest);
}

static void set_timer(asyncore_map *map, int64_t now, int64_t until)
{
    map->guard->soonest = until;
    (void)asyncore_call_later(&map->guard->timer, map,
                              (until - now + NS_PER_MS - 1) / NS_PER_MS,
                              look_through, map);
}

static void throttle(asyncore_dispatcher *d, record *r, int64_t now)
{
    asyncore__guard *guard = d->map->guard;

    if (!d->throttled) {
        r->wishes = d->interest;
        r->handlers = d->handlers;
    }
    r->masked |= r->ready;
    /* Without reading, a hangup would be for nobody. */
    if (r->masked & POLLIN)
        r->masked |= POLLPRI;
    r->count = 0;
    r->pause_ms = r->pause_ms == 0 ? SHORTEST_MS : 2 * r->pause_ms;
    if (r->pause_ms > LONGEST_MS)
        r->pause_ms = LONGEST_MS;
    r->until = now + r->pause_ms * NS_PER_MS;
    d->throttled = 1;
    if (!r->listed) {
        r->listed = true;
        r->next = guard->throttled;
        guard->throttled = d->fd;
    }
    if (r->until < guard->soonest)
        set_timer(d->map, now, r->until);
    asyncore__update(d);
}

unsigned asyncore__guard_filter(asyncore_dispatcher *d, unsigned wishes)
{
    record *r = find(d->map->guard, d->fd);
    unsigned rest;

    if (wishes != r->wishes || d->handlers != r->handlers) {
        calm(d, r);
        return wishes;
    }
    rest = wishes & ~(unsigned)r->masked;
    /* Watched for nothing but its end, it would be found before what it has
       not read. */
    return (rest & ASKED) != 0 ? rest : 0;
}

void asyncore__guard_rest(asyncore_map *map)
{
    asyncore_timer_cancel(&map->guard->timer);
    map->guard->soonest = NEVER;
}

/* ---- An event ----------------------------------------------------------- */

/* Whether this event is one more of those that r counts. */
static bool goes_on(const asyncore__guard *guard, const record *r,
                    const asyncore_dispatcher *d, unsigned ready)
{
    return r->count > 0 && r->turn >= guard->complete &&
           r->interest == d->interest && (r->ready & ready) != 0;
}

void asyncore__guard_begin(asyncore_dispatcher *d, const asyncore__ref *ref,
                           unsigned ready, asyncore__probe *probe)
{
    asyncore_map *map = d->map;
    record *r = make(map->guard, ref);

    probe->known = r != NULL;
    if (r == NULL)
        return;
    if (!goes_on(map->guard, r, d, ready)) {
        r->count = 0;
        r->ready = (unsigned char)ready;
        r->interest = d->interest;
        /* It is the first of others. */
        if (!d->throttled)
            r->pause_ms = 0;
    }
    r->ready &= (unsigned char)ready;
    probe->ref = *ref;
    memcpy(&probe->before, d, sizeof *d);
    probe->counters = map->counters;
    probe->serial = map->serial;
    probe->looked = r->count >= LIMIT - 1;
    if (probe->looked)
        probe->print = asyncore__fd_print(ref->fd);
}

static bool has_changed(const asyncore__probe *probe,
                        const asyncore_dispatcher *d)
{
    const asyncore__counters *before = &probe->counters;
    const asyncore__counters *now = &d->map->counters;

    return now->received != before->received || now->sent != before->sent ||
           now->accepted != before->accepted || now->empty != before->empty ||
           d->map->serial != probe->serial ||
           /* Its bytes then and now. NOLINTNEXTLINE */
           memcmp(d, &probe->before, sizeof *d) != 0;
}

static void look(record *r, int fd)
{
    uint64_t print = asyncore__fd_print(fd);

    r->moved = r->count > LOOK_EVERY && (r->moved || print != r->print);
    r->print = print;
}

/* Whether the handlers did what the library could not see: this time, or
   earlier in a run of events. */
static bool has_worked(const asyncore__probe *probe, const record *r)
{
    return probe->print != asyncore__fd_print(probe->ref.fd) ||
           (r->pause_ms == 0 && (r->moved || probe->print != r->print)) ||
           asyncore__fd_ready(probe->ref.fd, r->ready) == 0;
}

static void report(asyncore_dispatcher *d, unsigned ready)
{
    char repr[ASYNCORE_REPR_TEXT];
    const char *why = "has out-of-band data, and it is not taken";

    if (d->accepting)
        why = "has connections waiting, and none is accepted";
    else if ((ready & POLLIN) && (ready & POLLOUT))
        why = "is ready to read and to write, and neither is done";
    else if (ready & POLLIN)
        why = "is ready to read, and nothing is read";
    else if (ready & POLLOUT)
        why = "is ready to write, and nothing is written";
    asyncore_repr(d, repr, sizeof repr);
    asyncore_log_info(d, "spin", "%s %s, again and again", repr, why);
}

void asyncore__guard_end(const asyncore__probe *probe)
{
    asyncore_map *map = probe->ref.map;
    asyncore_dispatcher *d;
    record *r;
    int64_t now;

    /* d may have gone, or the guard. */
    if (!probe->known || (d = asyncore__deref(&probe->ref)) == NULL)
        return;
    r = find(map->guard, probe->ref.fd);
    if (r == NULL || r->serial != probe->ref.serial)
        return;
    /* A turn inside its handler has judged it. */
    if (d->throttled != probe->before.throttled)
        return;
    r->turn = map->counters.turns;
    if (has_changed(probe, d)) {
        bool throttled = d->throttled;
        calm(d, r);
        if (throttled)
            asyncore__update(d);
        return;
    }
    if (++r->count == 1)
        r->since = asyncore__now();
    if (r->count % LOOK_EVERY == 0)
        look(r, probe->ref.fd);
    if (r->count < LIMIT || !probe->looked)
        return;
    now = asyncore__now();
    if (now - r->since > WITHIN_MS * NS_PER_MS || has_worked(probe, r)) {
        r->count = 0;
        return;
    }
    throttle(d, r, now);
    if (!r->told) {
        r->told = true;
        report(d, r->ready);
    }
}

void asyncore__guard_complete(asyncore_map *map, uint64_t turn)
{
    if (map->guard != NULL && turn > map->guard->complete)
        map->guard->complete = turn;
}

/* ---- On and off --------------------------------------------------------- */

static asyncore__guard *new_guard(void)
{
    asyncore__guard *guard = calloc(1, sizeof *guard);

    if (guard != NULL) {
        guard->soonest = NEVER;
        guard->throttled = ASYNCORE__END;
    }
    return guard;
}

static void free_guard(asyncore_map *map)
{
    asyncore__guard *guard = map->guard;
    int fd;

    for (fd = guard->throttled; fd != ASYNCORE__END;
         fd = guard->records[fd].next) {
        asyncore_dispatcher *d = map->slots[fd].d;
        if (d != NULL && d->throttled) {
            d->throttled = 0;
            asyncore__update(d);
        }
    }
    asyncore_timer_cancel(&guard->timer);
    free(guard->records);
    free(guard);
    map->guard = NULL;
}

int asyncore_set_spin_guard(asyncore_map *map, bool on)
{
    map = asyncore__map(map);
    if (map == NULL)
        return -1;
    if (on && map->guard == NULL) {
        map->guard = new_guard();
        if (map->guard == NULL)
            return -1;
    } else if (!on && map->guard != NULL) {
        free_guard(map);
    }
    asyncore__set_inspected(map);
    return 0;
}
