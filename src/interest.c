/*
 * What a dispatcher wants to be waited for: by its flags, or as the predicates
 * of its class have it. The result is d->interest, of which the map tells the
 * poller before the next wait.
 */
#include "dispatcher.h"
#include "guard.h"

bool asyncore__needs_asking(const asyncore_dispatcher *d)
{
    return d->accepting || d->finishing || d->handlers->readable != NULL ||
           d->handlers->writable != NULL;
}

static bool is_over(const asyncore_dispatcher *d)
{
    return d->closing || d->lost;
}

/* Of a connection. */
static unsigned wish(const asyncore_dispatcher *d, bool readable, bool writable)
{
    unsigned mask = ASYNCORE__WATCH;

    if (readable)
        mask |= POLLIN | (d->handlers->handle_expt != NULL ? POLLPRI : 0u);
    if (writable)
        mask |= POLLOUT;
    return mask;
}

/* What it wants to be watched for. */
static unsigned wishes(const asyncore_dispatcher *d, bool readable,
                       bool writable)
{
    unsigned mask = ASYNCORE__WATCH;

    if (d->accepting) {
        if (d->map->resume_at != 0)
            return 0;
        return readable ? mask | POLLIN | ASYNCORE__NOT_READ : mask;
    }
    if (d->connecting)
        return mask | (d->naming ? POLLIN | ASYNCORE__NOT_READ : POLLOUT);
    if (d->stream && !d->connected)
        return 0;
    return wish(d, readable && !d->eof && !d->held, writable);
}

static unsigned interest(asyncore_dispatcher *d, bool readable, bool writable)
{
    /* A turn inside its handler has nothing to tell it. */
    if (is_over(d))
        return 0;
    if (d->throttled)
        return asyncore__guard_filter(d, wishes(d, readable, writable));
    return wishes(d, readable, writable);
}

static void set_interest(asyncore_dispatcher *d, unsigned mask)
{
    if (mask != ASYNCORE__WATCH)
        d->muted = 0;
    if (d->muted)
        mask = 0;
    if (d->extra != NULL && (mask & ~d->interest & POLLIN) != 0)
        asyncore__frame_resumes(d);
    d->interest = (unsigned char)mask;
    asyncore__map_touch(d);
}

/* A connection of which nothing unusual is known: what it wants to wait for
   is in its flags. */
static bool is_plain(const asyncore_dispatcher *d)
{
    return d->connected && d->stream && !d->apart && !d->asked && !d->closing &&
           !d->lost && !d->eof && !d->held && !d->muted && !d->throttled &&
           !d->custom;
}

static void update_plain(asyncore_dispatcher *d)
{
    d->interest = ASYNCORE__WATCH | (d->reading ? POLLIN : 0) |
                  (d->writing | d->queued ? POLLOUT : 0);
    asyncore__map_touch(d);
}

ASYNCORE__APART static void update_other(asyncore_dispatcher *d)
{
    /* Those that are asked will be, before the next wait. */
    if (asyncore__in_map(d) &&
        (is_over(d) || d->connecting ||
         (d->handlers->readable == NULL && d->handlers->writable == NULL)))
        set_interest(d, interest(d, d->reading, d->writing || d->queued));
}

void asyncore__update(asyncore_dispatcher *d)
{
    if (is_plain(d))
        update_plain(d);
    else
        update_other(d);
}

/* Puts the class's predicates, if it has any; false if d has gone since. */
static bool ask(asyncore_dispatcher *d, bool *readable, bool *writable)
{
    const asyncore_handlers *h = d->handlers;
    asyncore__ref ref = asyncore__ref_to(d);

    *readable = d->reading;
    *writable = d->writing || d->queued;
    if (is_over(d) || d->naming ||
        (d->stream && !d->connected && !d->connecting && !d->accepting))
        return true;
    if (h->readable != NULL) {
        *readable = h->readable(d);
        if (asyncore__deref(&ref) == NULL)
            return false;
    }
    if (h->writable != NULL && !d->accepting) {
        *writable = h->writable(d);
        if (asyncore__deref(&ref) == NULL)
            return false;
    }
    /* They may have sent something, or have left the class, whose answers
       count no more. */
    if (h->readable == NULL || d->handlers != h)
        *readable = d->reading;
    if (h->writable == NULL || d->accepting || d->handlers != h)
        *writable = d->writing || d->queued;
    return true;
}

/* Every turn asks the listeners, and hardly ever is there anything new. */
static bool is_waiting_listener(const asyncore_dispatcher *d)
{
    return d->accepting && d->reading &&
           d->interest == (ASYNCORE__WATCH | POLLIN | ASYNCORE__NOT_READ) &&
           d->registered == d->interest && d->map->resume_at == 0 &&
           d->handlers->readable == NULL;
}

void asyncore__ask(asyncore_dispatcher *d)
{
    bool readable, writable;

    if (is_waiting_listener(d))
        return;
    if (ask(d, &readable, &writable))
        set_interest(d, interest(d, readable, writable));
}

static bool wants(asyncore_dispatcher *d, unsigned event)
{
    bool readable, writable, wanted;
    asyncore_map *map = d->map;

    if (!asyncore__in_map(d))
        return false;
    asyncore__map_enter(map);
    wanted = ask(d, &readable, &writable) &&
             (interest(d, readable, writable) & event) != 0;
    asyncore__map_leave(map);
    return wanted;
}

bool asyncore_readable(asyncore_dispatcher *d)
{
    return wants(d, POLLIN);
}

bool asyncore_writable(asyncore_dispatcher *d)
{
    return wants(d, POLLOUT);
}

/* One bit of the interest of a plain d, which is what its flags say. */
static inline void set_bit(asyncore_dispatcher *d, unsigned bit, bool on)
{
    d->interest = (unsigned char)((d->interest & ~bit) | (on ? bit : 0));
    asyncore__map_touch(d);
}

void asyncore_set_readable(asyncore_dispatcher *d, bool readable)
{
    /* Before the store, which a load of the whole word would wait for. */
    bool plain = is_plain(d);

    d->reading = readable;
    if (plain)
        set_bit(d, POLLIN, readable);
    else
        update_other(d);
}

void asyncore_set_writable(asyncore_dispatcher *d, bool writable)
{
    bool plain = is_plain(d);

    d->writing = writable;
    if (plain)
        set_bit(d, POLLOUT, writable || d->queued);
    else
        update_other(d);
}
