/*
 * Other threads and signal handlers: see wakeup.h.
 *
 * The lock is held for a few pointers only: never while memory is got, a call
 * is made or the kernel is asked for something.
 */
#include "wakeup.h"
#include "map.h"
#include "sock.h"

#include <errno.h>
#include <stdlib.h>

struct asyncore__call {
    asyncore__call *next;
    void (*fn)(void *arg);
    void *arg;
};

void asyncore_wakeup(asyncore_map *map)
{
    asyncore__waker_set(map->waker[1]);
}

int asyncore_call_soon(asyncore_map *map, void (*fn)(void *arg), void *arg)
{
    asyncore__call *call;
    bool first;

    map = asyncore__map(map);
    if (map == NULL)
        return -1;
    call = malloc(sizeof *call);
    if (call == NULL)
        return -1;
    call->next = NULL;
    call->fn = fn;
    call->arg = arg;
    pthread_mutex_lock(&map->lock);
    first = map->calls == NULL;
    if (first)
        map->calls = call;
    else
        map->calls_end->next = call;
    map->calls_end = call;
    pthread_mutex_unlock(&map->lock);
    /* Whoever found the queue empty wakes the loop for those who follow. */
    if (first)
        asyncore_wakeup(map);
    return 0;
}

bool asyncore__calls_pending(asyncore_map *map)
{
    bool pending;

    pthread_mutex_lock(&map->lock);
    pending = map->calls != NULL;
    pthread_mutex_unlock(&map->lock);
    return pending;
}

static asyncore__call *take(asyncore_map *map)
{
    asyncore__call *calls;

    pthread_mutex_lock(&map->lock);
    calls = map->calls;
    map->calls = NULL;
    pthread_mutex_unlock(&map->lock);
    return calls;
}

/* Before whatever has been posted since, and due at once. */
static void put_back(asyncore_map *map, asyncore__call *calls)
{
    asyncore__call *last = calls;

    if (calls == NULL)
        return;
    while (last->next != NULL)
        last = last->next;
    pthread_mutex_lock(&map->lock);
    last->next = map->calls;
    if (map->calls == NULL)
        map->calls_end = last;
    map->calls = calls;
    pthread_mutex_unlock(&map->lock);
    asyncore_wakeup(map);
}

void asyncore__calls_run(asyncore_map *map)
{
    asyncore__call *calls;

    /* Cleared before the calls are taken: one posted in between sets it
       again, and costs no more than an empty turn. */
    asyncore__waker_clear(map->waker[0]);
    calls = take(map);
    while (calls != NULL && !map->stopping) {
        asyncore__call call = *calls;
        free(calls);
        calls = call.next;
        call.fn(call.arg);
    }
    put_back(map, calls);
}

void asyncore__calls_clear(asyncore_map *map)
{
    asyncore__call *calls = take(map);

    while (calls != NULL) {
        asyncore__call *next = calls->next;
        free(calls);
        calls = next;
    }
}
