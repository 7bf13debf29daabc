/*
 * What a map can tell of itself: asyncore_map_stats and
 * asyncore_set_slow_callback_duration, documented in asyncore.h.
 *
 * The time is taken in laps. One reading of the clock ends the lap of one
 * handler and begins that of the next, for nothing worth mentioning lies
 * between; only a wait does, and after it a lap begins anew. So a handler that
 * runs a nested asyncore_poll holds the loop from the end of that.
 */
#include "stats.h"
#include "sock.h"

#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#define NS_PER_MS INT64_C(1000000)

void asyncore_map_stats(asyncore_map *map, asyncore_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    map = asyncore__map(map);
    if (map == NULL)
        return;
    stats->turns = map->counters.turns;
    stats->events = map->counters.events;
    stats->received = map->counters.received;
    stats->sent = map->counters.sent;
    stats->accepted = map->counters.accepted;
    stats->closed = map->counters.closed;
    stats->slow = map->slow.count;
    stats->longest_ns = map->slow.longest;
    memcpy(stats->longest, map->slow.name, sizeof stats->longest);
}

int asyncore_set_slow_callback_duration(asyncore_map *map, int64_t limit_ms)
{
    map = asyncore__map(map);
    if (map == NULL)
        return -1;
    if (limit_ms > INT64_MAX / NS_PER_MS)
        limit_ms = INT64_MAX / NS_PER_MS;
    map->slow.on = limit_ms >= 0;
    map->slow.limit = map->slow.on ? limit_ms * NS_PER_MS : 0;
    asyncore__lap_begin(map);
    asyncore__set_inspected(map);
    return 0;
}

void asyncore__lap_start(asyncore_map *map)
{
    map->slow.since = asyncore__now();
}

static void report(const asyncore__ref *ref, const char *name, int64_t ns)
{
    asyncore_dispatcher *d = ref != NULL ? asyncore__deref(ref) : NULL;
    long long ms = (long long)(ns / NS_PER_MS);
    char line[160]; /* more than enough */
    struct iovec piece;

    if (d != NULL) {
        asyncore_log_info(d, "slow", "%s held the loop for %lld ms", name, ms);
        return;
    }
    piece.iov_base = line;
    piece.iov_len = (size_t)snprintf(
        line, sizeof line, "slow: %s held the loop for %lld ms\n", name, ms);
    asyncore__write_log(&piece, 1);
}

void asyncore__lap_end(asyncore_map *map, const asyncore__ref *ref,
                       const char *class_name, const char *handler)
{
    char name[sizeof map->slow.name] = "";
    int64_t now, ns;

    now = asyncore__now();
    ns = now - map->slow.since;
    map->slow.since = now;
    if (ns <= map->slow.longest && ns <= map->slow.limit)
        return;
    snprintf(name, sizeof name, "%s%s%s", class_name != NULL ? class_name : "",
             class_name != NULL ? "." : "", handler);
    if (ns > map->slow.longest) {
        map->slow.longest = ns;
        memcpy(map->slow.name, name, sizeof name);
    }
    if (ns > map->slow.limit) {
        map->slow.count++;
        report(ref, name, ns);
        asyncore__lap_start(map);
    }
}

void asyncore__lap_free(asyncore_dispatcher *d)
{
    const char *class_name = asyncore__class_name(d);
    asyncore_map *map = d->map;

    asyncore__lap_start(map);
    if (d->handlers->handle_free != NULL)
        d->handlers->handle_free(d);
    asyncore__lap(map, NULL, class_name, "handle_free");
}
