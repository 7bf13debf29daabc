/*
 * Other threads and signal handlers: see wakeup.h.
 *
 * The lock is held for a few pointers only: never while memory is got, a call
 * is made or the kernel is asked for something.
 */
#include "wakeup.h"
#include "sock.h"
#include "stats.h"

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

    if (map->due != NULL)
        return true;
    pthread_mutex_lock(&map->lock);
    pending = map->calls != NULL;
    pthread_mutex_unlock(&map->lock);
    return pending;
}

/* What was posted comes after what is due already. */
static void take(asyncore_map *map)
{
    pthread_mutex_lock(&map->lock);
    if (map->calls != NULL) {
        if (map->due == NULL)
            map->due = map->calls;
        else
            map->due_end->next = map->calls;
        map->due_end = map->calls_end;
        map->calls = NULL;
    }
    pthread_mutex_unlock(&map->lock);
}

void asyncore__calls_run(asyncore_map *map)
{
    /* Cleared before the calls are taken: one posted in between sets it
       again, and costs no more than an empty turn. */
    asyncore__waker_clear(map->waker[0]);
    take(map);
    while (map->due != NULL && !map->stopping) {
        asyncore__call call = *map->due;
        free(map->due);
        map->due = call.next;
        call.fn(call.arg);
        asyncore__lap(map, NULL, NULL, "a call");
    }
}

/* Those that are due are this thread's alone. */
static void drop_due(asyncore_map *map)
{
    while (map->due != NULL) {
        asyncore__call *next = map->due->next;
        free(map->due);
        map->due = next;
    }
}

/* Nobody posts any more. Whoever has the lock nevertheless is a thread that
   was in the middle of it when its process forked: then nothing can be said of
   what it posted, and that stays where it is, without an owner. */
static bool is_held_for_ever(asyncore_map *map)
{
    if (pthread_mutex_trylock(&map->lock) != 0)
        return true;
    pthread_mutex_unlock(&map->lock);
    return false;
}

void asyncore__calls_clear(asyncore_map *map)
{
    if (!is_held_for_ever(map))
        take(map);
    drop_due(map);
}

int asyncore__calls_after_fork(asyncore_map *map)
{
    bool held = is_held_for_ever(map);

    asyncore__calls_clear(map);
    map->calls = NULL;
    if (held)
        errno = pthread_mutex_init(&map->lock, NULL);
    return held && errno != 0 ? -1 : 0;
}
