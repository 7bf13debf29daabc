/*
 * Timers: asyncore_call_later and its kin, documented in asyncore.h. A pairing
 * heap, whose links are in the user's timers: setting one is a constant
 * number of steps, cancelling one O(log n) amortized (Fredman, Sedgewick,
 * Sleator and Tarjan, 1986), and neither needs memory.
 *
 *     root
 *      |child
 *      a <-> b <-> c        next, previous; a's previous is root
 *            |child
 *            d
 *
 * The heap is by key and key_order, which were when and order when the timer
 * was put there. One that is set anew to a later time, as a deadline is with
 * every message, stays where it is: it is found not to be due when its key is,
 * and is put back then. So it costs no step in the heap but one in the time
 * that it was first set to, and perhaps a turn in which nothing happens.
 *
 * Invariants: no child's key is before its parent's; key <= when; order ==
 * key_order exactly where it was not set anew since, and then key == when;
 * timer->map != NULL exactly for those in the heap of that map.
 *
 * The clock is read when a timer is set and, while one is, twice a turn: before
 * the wait, for handlers have taken their time since it was read last, and
 * after it, for those that are due. What becomes due while handlers run then
 * is called in the next turn, which does not wait.
 */
#include "timer.h"
#include "sock.h"
#include "stats.h"

#include <limits.h>

#define NS_PER_MS ASYNCORE__NS_PER_MS
#define LONGEST_MS ASYNCORE__LONGEST_MS

static bool is_before(const asyncore_timer *a, const asyncore_timer *b)
{
    return a->key < b->key || (a->key == b->key && a->key_order < b->key_order);
}

/* Either may be NULL. Both are roots. */
static asyncore_timer *merge(asyncore_timer *a, asyncore_timer *b)
{
    if (a == NULL || b == NULL)
        return a != NULL ? a : b;
    if (is_before(b, a)) {
        asyncore_timer *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    b->previous = a;
    if (a->child != NULL)
        a->child->previous = b;
    a->child = b;
    return a;
}

/* One heap of a list of siblings: in pairs from the left, and those from the
   right, which is what makes the amortized bound. */
static asyncore_timer *merge_siblings(asyncore_timer *first)
{
    asyncore_timer *pairs = NULL, *heap = NULL;

    while (first != NULL) {
        asyncore_timer *a = first, *b = a->next;
        first = b != NULL ? b->next : NULL;
        a->next = a->previous = NULL;
        if (b != NULL)
            b->next = b->previous = NULL;
        a = merge(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs != NULL) {
        asyncore_timer *a = pairs;
        pairs = a->next;
        a->next = NULL;
        heap = merge(heap, a);
    }
    return heap;
}

static void put_in(asyncore_map *map, asyncore_timer *timer)
{
    timer->map = map;
    timer->key = timer->when;
    timer->key_order = timer->order;
    timer->child = timer->next = timer->previous = NULL;
    map->timers = merge(map->timers, timer);
}

static void take_out(asyncore_map *map, asyncore_timer *timer)
{
    asyncore_timer *children = merge_siblings(timer->child);

    if (timer == map->timers) {
        map->timers = children;
    } else {
        if (timer->previous->child == timer)
            timer->previous->child = timer->next;
        else
            timer->previous->next = timer->next;
        if (timer->next != NULL)
            timer->next->previous = timer->previous;
        map->timers = merge(map->timers, children);
    }
    timer->map = NULL;
}

int64_t asyncore__timers_now(asyncore_map *map)
{
    map->now = asyncore__now();
    return map->now;
}

/* The first timer, if it is due. Of those that only seem to be, for they were set
   anew since they got their key, each is put back on the way. */
static asyncore_timer *first_due(asyncore_map *map, int64_t now)
{
    asyncore_timer *timer;

    while ((timer = map->timers) != NULL && timer->key <= now) {
        if (timer->key_order == timer->order)
            return timer;
        take_out(map, timer);
        put_in(map, timer);
    }
    return NULL;
}

void asyncore__timer_set(asyncore_timer *timer, asyncore_map *map, int64_t when,
                         void (*fn)(void *arg), void *arg)
{
    bool stays = timer->map == map && timer->key <= when;

    if (!stays)
        asyncore_timer_cancel(timer);
    timer->fn = fn;
    timer->arg = arg;
    timer->when = when;
    timer->every = 0;
    timer->order = ++map->timer_order;
    if (!stays)
        put_in(map, timer);
}

int asyncore_call_later(asyncore_timer *timer, asyncore_map *map,
                        int64_t delay_ms, void (*fn)(void *arg), void *arg)
{
    map = asyncore__map(map);
    if (map == NULL)
        return -1;
    if (delay_ms < 0)
        delay_ms = 0;
    if (delay_ms > LONGEST_MS)
        delay_ms = LONGEST_MS;
    asyncore__timer_set(timer, map, asyncore__now() + delay_ms * NS_PER_MS, fn,
                        arg);
    return 0;
}

int asyncore_call_every(asyncore_timer *timer, asyncore_map *map,
                        int64_t interval_ms, void (*fn)(void *arg), void *arg)
{
    if (interval_ms < 1)
        interval_ms = 1;
    if (interval_ms > LONGEST_MS)
        interval_ms = LONGEST_MS;
    if (asyncore_call_later(timer, map, interval_ms, fn, arg) < 0)
        return -1;
    timer->every = interval_ms * NS_PER_MS;
    return 0;
}

void asyncore_timer_cancel(asyncore_timer *timer)
{
    if (timer->map != NULL)
        take_out(timer->map, timer);
}

int asyncore__timers_bound(asyncore_map *map, int timeout)
{
    int64_t now, left;

    if (timeout == 0)
        return 0;
    now = asyncore__now();
    if (first_due(map, now) != NULL)
        return 0;
    left = map->timers->key - now;
    left = (left + NS_PER_MS - 1) / NS_PER_MS;
    if (left > INT_MAX)
        left = INT_MAX;
    return timeout < 0 || timeout > left ? (int)left : timeout;
}

/* The next beat after now; those between are left out. */
static void set_again(asyncore_map *map, asyncore_timer *timer, int64_t now)
{
    timer->when += ((now - timer->when) / timer->every + 1) * timer->every;
    timer->order = ++map->timer_order;
    put_in(map, timer);
}

void asyncore__timers_run_due(asyncore_map *map, uint64_t last)
{
    int64_t now = map->now;
    asyncore_timer *timer;

    while (!map->stopping && (timer = first_due(map, now)) != NULL &&
           timer->order <= last) {
        take_out(map, timer);
        if (timer->every > 0)
            set_again(map, timer, now);
        timer->fn(timer->arg);
        asyncore__lap(map, NULL, NULL, "a timer");
    }
}

void asyncore__timers_clear(asyncore_map *map)
{
    while (map->timers != NULL)
        take_out(map, map->timers);
}
