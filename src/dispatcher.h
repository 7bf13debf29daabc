/*
 * What the parts of the base class share with each other and with the
 * library's subclasses.
 */
#ifndef ASYNCORE__DISPATCHER_H
#define ASYNCORE__DISPATCHER_H

#include "extra.h"
#include "map.h"
#include "sock.h"

#include <asyncore.h>
#include <errno.h>

/* For what hardly ever runs, or less often: kept out of the functions that
   always do, whose registers it would take. */
#if defined(__GNUC__)
#define ASYNCORE__COLD __attribute__((cold, noinline))
#define ASYNCORE__APART __attribute__((noinline))
#else
#define ASYNCORE__COLD
#define ASYNCORE__APART
#endif

/*
 * A base class: its table, in which nothing is NULL but the predicates and
 * handle_free, and what a subclass with output of its own does otherwise.
 */
typedef struct asyncore__class {
    asyncore_handlers handlers;

    /* asyncore_send, asyncore_queued, asyncore_shutdown on an open d. */
    ssize_t (*send)(asyncore_dispatcher *d, const void *data, size_t size);
    size_t (*queued)(const asyncore_dispatcher *d);
    int (*shutdown)(asyncore_dispatcher *d);

    /* Where there are frames: one is late; whether d holds a part of one. NULL
       elsewhere. */
    void (*frame_late)(asyncore_dispatcher *d);
    bool (*holds_input)(const asyncore_dispatcher *d);

    /* Gives up what it holds, before d->fd is closed. */
    void (*release)(asyncore_dispatcher *d);
} asyncore__class;

/* The handler that runs: the class's own or the inherited one. */
#define ASYNCORE__HANDLER(d, member) \
    ((d)->handlers->member != NULL ? (d)->handlers->member \
                                   : (d)->base->handlers.member)

/* ---- dispatcher.c: a dispatcher's life -------------------------------- */

/* _init for every class. */
int asyncore__init(asyncore_dispatcher *d, const asyncore__class *base,
                   const asyncore_handlers *handlers, int fd,
                   asyncore_map *map);

/* As _init, without a descriptor; -1 when there is no map. */
int asyncore__init_empty(asyncore_dispatcher *d, const asyncore__class *base,
                         const asyncore_handlers *handlers, asyncore_map *map);

/* fd becomes that of d, which has none, or is closed on failure. */
int asyncore__adopt(asyncore_dispatcher *d, int fd,
                    const asyncore__sock_kind *kind);

/* As d was before it was given a descriptor, which is closed: for what fails
   after that. errno is kept. */
void asyncore__disown(asyncore_dispatcher *d, bool retired, bool freed);

/* d, which asyncore_connect_name has, goes on with the connection of the socket
   fd, under its own number. fd stays open. */
int asyncore__take_over(asyncore_dispatcher *d, int fd);

/* Its class is new: what it has of its own is noted. */
void asyncore__classify(asyncore_dispatcher *d);

/* ---- interest.c -------------------------------------------------------- */

/* Whether its class is to be asked before every wait. */
bool asyncore__needs_asking(const asyncore_dispatcher *d);

/* Computes d->interest, after something it depends on has changed. */
void asyncore__update(asyncore_dispatcher *d);

/* The same, and asks the predicates, which may close d. */
void asyncore__ask(asyncore_dispatcher *d);

/* ---- io.c: where failures go ------------------------------------------ */

/* error has ended d's connection: handle_close, once, and close. */
void asyncore__end(asyncore_dispatcher *d, int error);

/* error is not the end of a connection: handle_error. */
void asyncore__fail(asyncore_dispatcher *d, int error);

/* The kernel cannot watch d: handle_error, and then it is over. */
void asyncore__break(asyncore_dispatcher *d, int error);

/* handle_close for those whose number was taken over. */
void asyncore__end_evicted(asyncore_map *map);

/* The peer has finished sending: handle_eof. 0. */
int asyncore__ended(asyncore_dispatcher *d);

/* Whether error means that the peer of a stream is gone. */
bool asyncore__is_disconnect(int error);

/* What became of an I/O call on the transport, which failed with errno:
   routed, -1. */
int asyncore__io_failed(asyncore_dispatcher *d, int error);

/* The same of a write: 0 when it would block, or -1, routed. */
ssize_t asyncore__send_failed(asyncore_dispatcher *d, int error);

/* What became of a write, which returned n: n, 0 when it would block, or -1,
   routed. */
static inline ssize_t asyncore__sent(asyncore_dispatcher *d, ssize_t n)
{
    if (n < 0)
        return asyncore__send_failed(d, errno);
    asyncore__gave(d, n);
    return n;
}

/* The transport: recv and send as the class has them. */
static inline ssize_t asyncore__take(asyncore_dispatcher *d, void *data,
                                     size_t size)
{
    if (d->custom)
        return ASYNCORE__HANDLER(d, recv)(d, data, size);
    return asyncore__sock_recv(d->fd, data, size);
}

static inline ssize_t asyncore__give(asyncore_dispatcher *d, const void *data,
                                     size_t size)
{
    if (d->custom)
        return ASYNCORE__HANDLER(d, send)(d, data, size);
    return asyncore__sock_send(d->fd, data, size);
}

/* The bytes that the transport took, or -1, routed. d is connected. */
static inline ssize_t asyncore__transmit(asyncore_dispatcher *d,
                                         const void *data, size_t size)
{
    return asyncore__sent(d, asyncore__give(d, data, size));
}

/* The same, of any d, and for classes without a queue. */
ssize_t asyncore__send_now(asyncore_dispatcher *d, const void *data,
                           size_t size);
size_t asyncore__queued_none(const asyncore_dispatcher *d);
int asyncore__shutdown_now(asyncore_dispatcher *d);
void asyncore__release_nothing(asyncore_dispatcher *d);

/* ---- listener.c -------------------------------------------------------- */

/* Whether error is a lack of descriptors or memory, which passes. */
bool asyncore__is_shortage(int error);

/* A listener met it: reported once, and all of the map wait. */
void asyncore__starve(asyncore_dispatcher *d, int error);

/* The map has a listener: a descriptor is put by for it. */
void asyncore__provide(asyncore_map *map);

/* A descriptor has come back. */
void asyncore__fed(asyncore_map *map);

/* Bounds timeout by the end of the wait, which there is. */
int asyncore__starved_timeout(asyncore_map *map, int timeout);

/* ---- timeout.c: of a d that has extra->frame set ----------------------- */

/* The first byte of a frame has come, just now. */
void asyncore__frame_begins(asyncore_dispatcher *d);

/* extra->frame is new: it holds for the frame that has begun, too. */
void asyncore__frame_timeout_changed(asyncore_dispatcher *d);

/* d, which has an extra, is read from again: its time begins anew. */
void asyncore__frame_resumes(asyncore_dispatcher *d);

/* ---- stop.c ------------------------------------------------------------ */

/* Once before every wait, while map->finishing: whether handle_stop may run
   now. */
bool asyncore__stop_is_due(asyncore_map *map);

/* It runs if d, which is finishing, has nothing to read. Whether d is still
   there. */
bool asyncore__stop_if_done(asyncore_dispatcher *d);

/* ---- dispatch.c -------------------------------------------------------- */

/* asyncore_readwrite of d, in a handler frame; ref is to d. */
void asyncore__dispatch(asyncore_dispatcher *d, const asyncore__ref *ref,
                        unsigned ready);

/* The steps of asyncore__dispatch, for those who look into each. What
   poll(2) tells unasked is done; what is left of ready is for handlers. 0: d
   may be gone. */
unsigned asyncore__sort_out(asyncore_dispatcher *d, unsigned ready);

/* d, which was connecting, is ready: whether the connection stands. */
bool asyncore__connection_done(asyncore_dispatcher *d);

/* ---- handlers.c: the defaults, for the tables of base classes ---------- */

void asyncore__handle_read(asyncore_dispatcher *d);
void asyncore__handle_write(asyncore_dispatcher *d);
void asyncore__handle_expt(asyncore_dispatcher *d);
void asyncore__handle_connect(asyncore_dispatcher *d);
void asyncore__handle_connect_error(asyncore_dispatcher *d,
                                    const asyncore_address *address, int error);
void asyncore__handle_accept(asyncore_dispatcher *d);
void asyncore__handle_accepted(asyncore_dispatcher *d, int fd,
                               const asyncore_address *peer);
void asyncore__handle_close(asyncore_dispatcher *d);
void asyncore__handle_eof(asyncore_dispatcher *d);
void asyncore__handle_error(asyncore_dispatcher *d, int error);
void asyncore__handle_drain(asyncore_dispatcher *d);
void asyncore__handle_timeout(asyncore_dispatcher *d);
void asyncore__handle_stop(asyncore_dispatcher *d);
ssize_t asyncore__recv(asyncore_dispatcher *d, void *data, size_t size);
ssize_t asyncore__send(asyncore_dispatcher *d, const void *data, size_t size);
void asyncore__log(asyncore_dispatcher *d, const char *message);
void asyncore__log_info(asyncore_dispatcher *d, const char *message,
                        const char *type);

#endif
