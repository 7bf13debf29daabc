/*
 * Events on a map that is looked into: see inspect.h. Knows the order of the
 * handlers of one event, as dispatch.c has it, and their names.
 */
#include "inspect.h"
#include "guard.h"
#include "stats.h"

/* One handler, for the bits that are its. */
static void run(asyncore_dispatcher *d, const asyncore__ref *ref,
                unsigned ready, const char *handler)
{
    asyncore_map *map = d->map;
    const char *class_name = asyncore__class_name(d);

    asyncore__dispatch(d, ref, ready);
    asyncore__lap(map, ref, class_name, handler);
}

static void finish_connecting(asyncore_dispatcher *d, const asyncore__ref *ref)
{
    asyncore_map *map = d->map;
    const char *class_name = asyncore__class_name(d);
    bool stands = asyncore__connection_done(d);

    asyncore__lap(map, ref, class_name,
                  stands ? "handle_connect" : "handle_close");
}

static void run_each(asyncore_dispatcher *d, const asyncore__ref *ref,
                     unsigned ready)
{
    static const struct {
        unsigned bit;
        const char *handler;
    } each[] = {
        { POLLIN, "handle_read" },
        { POLLOUT, "handle_write" },
        { POLLPRI, "handle_expt" },
    };
    size_t i;

    if (d->accepting) {
        run(d, ref, ready, "handle_accept");
        return;
    }
    if (d->naming) {
        run(d, ref, ready, "handle_connect_error");
        return;
    }
    if (d->connecting)
        finish_connecting(d, ref);
    for (i = 0; i < sizeof each / sizeof each[0]; i++) {
        d = asyncore__deref(ref);
        if (d == NULL || ref->map->stopping)
            return;
        if (ready & each[i].bit & d->interest)
            run(d, ref, each[i].bit, each[i].handler);
    }
}

/* What is left of ready for handlers, after those of the end. */
static unsigned end(asyncore_dispatcher *d, const asyncore__ref *ref,
                    unsigned ready)
{
    asyncore_map *map = d->map;
    const char *class_name = asyncore__class_name(d);
    bool error = (ready & POLLNVAL) != 0 || !d->stream;

    ready = asyncore__sort_out(d, ready);
    if (ready == 0)
        asyncore__lap(map, ref, class_name,
                      error ? "handle_error" : "handle_close");
    return ready;
}

void asyncore__inspect(asyncore_dispatcher *d, int fd, uint32_t serial,
                       unsigned ready)
{
    asyncore_map *map = d->map;
    asyncore__ref ref = { map, fd, serial };
    bool guarded = map->guard != NULL;
    asyncore__probe probe;

    if (ready & ~(unsigned)(POLLIN | POLLOUT | POLLPRI)) {
        ready = end(d, &ref, ready);
        if (ready == 0)
            return;
    }
    ready &= d->interest;
    if (ready == 0)
        return;
    if (guarded)
        asyncore__guard_begin(d, &ref, ready, &probe);
    run_each(d, &ref, ready);
    if (guarded)
        asyncore__guard_end(&probe);
}

void asyncore__inspect_primed(asyncore_dispatcher *d, int fd, uint32_t serial)
{
    asyncore__ref ref = { d->map, fd, serial };

    asyncore__lap_begin(d->map);
    run_each(d, &ref, POLLIN);
}
